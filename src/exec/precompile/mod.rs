//! Precompiles: which addresses they are in a fork, what each one costs, and how it is run.
//!
//! In: fork, address, input bytes, gas limit. Out: gas used, return data appended to the caller's buffer.
//! Relies on: for each precompile the fastest well-kept crate by measurement (`benches/precompiles.rs` has the pairs;
//! `revm-precompile` where it is that, and as the twin of everything in the tests):
//!
//! | precompile | here | instead of `revm-precompile`'s |
//! |---|---|---|
//! | ECRECOVER | `senders`' libsecp256k1 | an older libsecp256k1 |
//! | SHA2-256, RIPEMD-160, identity, BLAKE2F | the same crates | |
//! | MODEXP | see [`modexp`] | `aurora-engine-modexp` |
//! | BN254, point evaluation, BLS12-381 | the same crates | |
//! | P256VERIFY | `aws-lc-rs` | `p256` |
//!
//! Not here: value transfer and frames.

pub mod modexp;
mod p256;
#[cfg(test)]
mod tests;

use super::fork::Fork;
use super::senders::ecrecover_point;
use alloy_primitives::{Address, B256, U256, keccak256};
use revm_precompile::{EthPrecompileResult, blake2, bls12_381, bn254, hash, kzg_point_evaluation};
use sha2::{Digest, Sha256};

/// The number of the precompile at `address` (its address as an integer), 0 where there is none in this fork.
pub fn number(fork: Fork, address: &Address) -> u16 {
    let (head, tail) = address.split_at(18);
    if head.iter().any(|byte| *byte != 0) {
        return 0;
    }
    let number = u16::from_be_bytes([tail[0], tail[1]]);
    let last = match fork {
        _ if fork >= Fork::Prague => 0x11,
        _ if fork >= Fork::Cancun => 10,
        _ if fork >= Fork::Istanbul => 9,
        _ if fork >= Fork::Byzantium => 8,
        _ => 4,
    };
    // EIP-7951: P256VERIFY stands apart.
    let known = number <= last || (number == 0x100 && fork >= Fork::Osaka);
    if known { number } else { 0 }
}

/// Runs the precompile at `address` with at most `gas_limit` gas and appends what it returns to `output`.
///
/// Returns the gas used, at most `gas_limit`. `None` when there is no such precompile, when it refuses its input or runs
/// out of gas: all gas given to it is gone then, and `output` is as it was.
pub fn run(fork: Fork, address: &Address, input: &[u8], gas_limit: u64, output: &mut Vec<u8>) -> Option<u64> {
    let istanbul = fork >= Fork::Istanbul;
    match number(fork, address) {
        1 => {
            let gas = affordable(3_000, gas_limit)?;
            output.extend_from_slice(&ecrecover(input));
            Some(gas)
        }
        2 => {
            let gas = affordable(linear(60, 12, input), gas_limit)?;
            output.extend_from_slice(&Sha256::digest(input));
            Some(gas)
        }
        3 => append(hash::ripemd160_run(input, gas_limit), output),
        4 => {
            let gas = affordable(linear(15, 3, input), gas_limit)?;
            output.extend_from_slice(input);
            Some(gas)
        }
        5 => modexp::run(fork, input, gas_limit, output),
        6 => append(bn254::run_add(input, if istanbul { 150 } else { 500 }, gas_limit), output),
        7 => append(bn254::run_mul(input, if istanbul { 6_000 } else { 40_000 }, gas_limit), output),
        8 => {
            let (base, per_pair) = if istanbul { (45_000, 34_000) } else { (100_000, 80_000) };
            append(bn254::run_pair(input, per_pair, base, gas_limit), output)
        }
        9 => append(blake2::run(input, gas_limit), output),
        10 => append(kzg_point_evaluation::run(input, gas_limit), output),
        11 => append(bls12_381::g1_add::g1_add(input, gas_limit), output),
        12 => append(bls12_381::g1_msm::g1_msm(input, gas_limit), output),
        13 => append(bls12_381::g2_add::g2_add(input, gas_limit), output),
        14 => append(bls12_381::g2_msm::g2_msm(input, gas_limit), output),
        15 => append(bls12_381::pairing::pairing(input, gas_limit), output),
        16 => append(bls12_381::map_fp_to_g1::map_fp_to_g1(input, gas_limit), output),
        17 => append(bls12_381::map_fp2_to_g2::map_fp2_to_g2(input, gas_limit), output),
        0x100 => {
            // EIP-7951: an invalid signature is no failure, but an empty answer.
            let gas = affordable(6_900, gas_limit)?;
            if p256::verify(input) {
                output.extend_from_slice(B256::with_last_byte(1).as_slice());
            }
            Some(gas)
        }
        _ => None,
    }
}

/// What a `revm-precompile` function did, in our terms.
fn append(result: EthPrecompileResult, output: &mut Vec<u8>) -> Option<u64> {
    let result = result.ok()?;
    output.extend_from_slice(&result.bytes);
    Some(result.gas_used)
}

/// `gas` where the limit covers it.
fn affordable(gas: u64, gas_limit: u64) -> Option<u64> {
    (gas <= gas_limit).then_some(gas)
}

/// A price by the word of 32 bytes.
fn linear(base: u64, per_word: u64, input: &[u8]) -> u64 {
    base + per_word * input.len().div_ceil(32) as u64
}

/// The first `N` bytes of the input at `offset`, zeros where it has ended.
fn padded<const N: usize>(input: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(rest) = input.get(offset..) {
        let len = rest.len().min(N);
        bytes[..len].copy_from_slice(&rest[..len]);
    }
    bytes
}

/// ECRECOVER (yellow paper, appendix E): the signer's address in 32 bytes, nothing for an invalid signature.
fn ecrecover(input: &[u8]) -> Vec<u8> {
    let word = |index: usize| B256::new(padded(input, 32 * index));
    let v = word(1);
    if v[..31].iter().any(|byte| *byte != 0) || !matches!(v[31], 27 | 28) {
        return Vec::new();
    }
    let (r, s) = (U256::from_be_bytes(word(2).0), U256::from_be_bytes(word(3).0));
    let Some(point) = ecrecover_point(&word(0), &r, &s, v[31] == 28) else {
        return Vec::new();
    };
    let mut hash = keccak256(point);
    hash[..12].fill(0);
    hash.to_vec()
}
