//! MODEXP (EIP-198): `base^exponent mod modulus` for numbers of any length.
//!
//! In: three lengths of 32 bytes, then the three numbers; bytes beyond the input are zero. Out: the result, as
//! long as the stated length of the modulus. Gas: EIP-198, since Berlin EIP-2565, since Osaka EIP-7883 with the
//! limits of EIP-7823.
//! Relies on `ruint`, AWS-LC and `aurora-engine-modexp`, each the fastest of those measured for its case:
//!
//! - `ruint`: an inversion modulo a known prime (exponent `m - 2`, by Fermat). Nearly every call on mainnet is
//!   one, because proof verifiers divide in BN254's scalar field. Its Lehmer GCD takes 0.5 us, the
//!   exponentiation 4.5 to 14;
//! - AWS-LC: an odd modulus over 32 bytes with an exponent over one byte, by Montgomery multiplication;
//! - `aurora-engine-modexp`: all other cases.
//!
//! Not here: arithmetic in BN254's base field (`bn254`).

mod awslc;
#[cfg(test)]
mod tests;

use super::padded;
use crate::exec::rules::fork::Fork;
use alloy_primitives::{U256, uint};
use std::borrow::Cow;

/// The largest length of a number, in bytes, since Osaka (EIP-7823).
const LENGTH_LIMIT: u64 = 1_024;

/// Prime moduli of fields in which contracts divide: for these `x^(m - 2)` is the inverse of x, and 0 for x = 0. Most
/// frequent first.
const PRIMES: [U256; 8] = [
    // BN254: scalar field, base field.
    uint!(0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001_U256),
    uint!(0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47_U256),
    // secp256k1: base field, scalar field.
    uint!(0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f_U256),
    uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256),
    // P-256: base field, scalar field.
    uint!(0xffffffff00000001000000000000000000000000ffffffffffffffffffffffff_U256),
    uint!(0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551_U256),
    // BLS12-381: scalar field.
    uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256),
    // Curve25519: base field.
    uint!(0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed_U256),
];

/// Runs MODEXP; arguments and results are those of [`super::run`].
pub(super) fn run(fork: Fork, input: &[u8], gas_limit: u64, output: &mut Vec<u8>) -> Option<u64> {
    let length = |index: usize| u64::try_from(U256::from_be_bytes(padded::<32>(input, 32 * index))).ok();
    // No gas suffices for a base or modulus of 2^64 bytes. An exponent of any length is cheap if both are empty.
    let (base_len, exponent_len, modulus_len) = (length(0)?, length(1).unwrap_or(u64::MAX), length(2)?);
    if fork >= Fork::Osaka && base_len.max(exponent_len).max(modulus_len) > LENGTH_LIMIT {
        return None;
    }
    let numbers = input.get(96..).unwrap_or_default();
    let head_len = exponent_len.min(32) as usize;
    let mut head = padded::<32>(numbers, usize::try_from(base_len).ok()?);
    // Only the exponent's first bytes as a number: the bytes after them belong to the modulus.
    head.copy_within(..head_len, 32 - head_len);
    head[..32 - head_len].fill(0);
    let gas = gas(fork, base_len, exponent_len, modulus_len, U256::from_be_bytes(head));
    if gas > gas_limit {
        return None;
    }
    if modulus_len == 0 {
        return Some(gas);
    }
    // With a modulus that is not empty, gas bounds all three lengths.
    let modulus = window(numbers, base_len.checked_add(exponent_len)?, modulus_len)?;
    let start = output.len();
    output.resize(start + modulus.len(), 0);
    let modulus = significant(&modulus);
    // EIP-198: the result modulo 0 is 0, as it is modulo 1.
    if !modulus.is_empty() && modulus != [1] {
        let (base, exponent) = (window(numbers, 0, base_len)?, window(numbers, base_len, exponent_len)?);
        power(significant(&base), significant(&exponent), modulus, &mut output[start..]);
    }
    Some(gas)
}

/// Gas of a call; `head` is the number in the exponent's first 32 bytes.
fn gas(fork: Fork, base_len: u64, exponent_len: u64, modulus_len: u64, head: U256) -> u64 {
    let longest = u128::from(base_len.max(modulus_len));
    let words = longest.div_ceil(8);
    let (complexity, per_byte, divisor, least) = match fork {
        // EIP-7883.
        _ if fork >= Fork::Osaka => (if longest <= 32 { 16 } else { 2 * words * words }, 16, 1, 500),
        // EIP-2565.
        _ if fork >= Fork::Berlin => (words * words, 8, 3, 200),
        // EIP-198.
        _ if longest <= 64 => (longest * longest, 8, 20, 0),
        _ if longest <= 1_024 => (longest * longest / 4 + 96 * longest - 3_072, 8, 20, 0),
        _ => (longest * longest / 16 + 480 * longest - 199_680, 8, 20, 0),
    };
    let beyond = per_byte * u128::from(exponent_len.saturating_sub(32));
    let iterations = (beyond + (head.bit_len() as u128).saturating_sub(1)).max(1);
    // A product above 128 bits saturates; it exceeds every gas limit, divided or not.
    u64::try_from(complexity.saturating_mul(iterations) / divisor).unwrap_or(u64::MAX).max(least)
}

/// `len` bytes of `bytes` from `offset` on, zeros beyond its end; `None` if `len` does not fit a `usize`.
fn window(bytes: &[u8], offset: u64, len: u64) -> Option<Cow<'_, [u8]>> {
    let len = usize::try_from(len).ok()?;
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    if let Some(whole) = rest.get(..len) {
        return Some(Cow::Borrowed(whole));
    }
    let mut copy = vec![0; len];
    copy[..rest.len()].copy_from_slice(rest);
    Some(Cow::Owned(copy))
}

/// A big-endian number without its leading zeros.
fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Writes `base^exponent mod modulus`, right-aligned, to `result`, which is all zeros and at least as long as
/// `modulus`. The numbers have no leading zeros, and the modulus is above 1.
fn power(base: &[u8], exponent: &[u8], modulus: &[u8], result: &mut [u8]) {
    if let Some(inverse) = inverse(base, exponent, modulus) {
        let start = result.len() - 32;
        result[start..].copy_from_slice(&inverse.to_be_bytes::<32>());
        return;
    }
    // Creating AWS-LC's numbers costs about as much as raising to the power of 3.
    if modulus.len() > 32 && exponent.len() > 1 && awslc::power(base, exponent, modulus, result).is_some() {
        return;
    }
    let value = aurora_engine_modexp::modexp(base, exponent, modulus);
    let value = significant(&value);
    let start = result.len() - value.len();
    result[start..].copy_from_slice(value);
}

/// The result by inversion, if modulus and exponent are one of [`PRIMES`] and that prime less 2.
fn inverse(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Option<U256> {
    if modulus.len() != 32 || exponent.len() != 32 || base.len() > 32 {
        return None;
    }
    let [base, exponent, modulus] = [base, exponent, modulus].map(U256::from_be_slice);
    if modulus - exponent != U256::from(2) || !PRIMES.contains(&modulus) {
        return None;
    }
    // Every modulus here is odd and above 2^253, so at most seven subtractions reduce the base, without a division.
    let mut base = base;
    while base >= modulus {
        base -= modulus;
    }
    Some(base.inv_mod(modulus).unwrap_or(U256::ZERO))
}
