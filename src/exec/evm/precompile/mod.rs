//! Precompiles: their addresses by fork, their gas, and their execution.
//!
//! In: fork, precompile number, input bytes, gas limit. Out: gas used; output appended to the caller's buffer.
//! Relies on: for each precompile the fastest maintained crate, by measurement (`benches/precompiles.rs`
//! compares them). Gas and padding of the common ones are computed here, so that they write into the caller's
//! buffer and allocate nothing. The reference implementation is `revm-precompile`; the tests compare every
//! precompile with it.
//!
//! | precompile | here | `revm-precompile`'s |
//! |---|---|---|
//! | ECRECOVER | the senders' libsecp256k1 and lanes | an older libsecp256k1 |
//! | SHA2-256, RIPEMD-160, BLAKE2F | the same | `sha2`, `ripemd`, its own |
//! | MODEXP | `ruint`, `aws-lc-sys`, `aurora-engine-modexp` | `aurora-engine-modexp` |
//! | BN254 | `ark-bn254`, with less work | `ark-bn254` |
//! | point evaluation | `blst`, see `kzg` | `blst` |
//! | BLS12-381 | the same | `blst` |
//! | P256VERIFY | `aws-lc-rs` | `p256` |
//!
//! Sources: Yellow Paper appendix E, EIP-152, 196, 197, 198, 1108, 2537, 2565, 4844, 7823, 7883, 7951.
//! Not here: value transfer and frames.

mod bn254;
mod ecrecover;
mod kzg;
mod modexp;
mod p256;
pub mod profile;
#[cfg(test)]
mod tests;

pub use ecrecover::Recoveries;
pub(super) use ecrecover::Results;

use super::gas::words;
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256};
use revm_precompile::kzg_point_evaluation::RETURN_VALUE;
use revm_precompile::{Crypto, EthPrecompileResult, bls12_381, crypto};

/// The number of the precompile at `address` (the address as an integer); 0 if there is none in this fork.
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
    // EIP-7951 gives P256VERIFY the address 0x100, apart from the others.
    let known = number <= last || (number == 0x100 && fork >= Fork::Osaka);
    if known { number } else { 0 }
}

/// Runs the precompile of this number (see [`number`]) with at most `gas_limit` gas. Appends its output to `output` and
/// returns the gas used. `None` if it rejected its input or ran out of gas: then all gas passed to it is consumed, and
/// `output` is unchanged.
///
/// The libraries allocate in pairings, most modular exponentiations, P256VERIFY and the operations on
/// BLS12-381. Nothing else allocates.
pub fn run(
    fork: Fork,
    number: u16,
    input: &[u8],
    gas_limit: u64,
    recoveries: &mut Recoveries<'_>,
    output: &mut Vec<u8>,
) -> Option<u64> {
    let crypto = crypto();
    let istanbul = fork >= Fork::Istanbul;
    let within = |gas: u64| (gas <= gas_limit).then_some(gas);
    let per_word = |base: u64, word: u64| within(base + word * words(input.len() as u64));
    match number {
        1 => {
            let gas = within(3_000)?;
            if let Some(address) = recoveries.ecrecover(input) {
                output.extend_from_slice(address.as_slice());
            }
            Some(gas)
        }
        2 => {
            let gas = per_word(60, 12)?;
            output.extend_from_slice(&crypto.sha256(input));
            Some(gas)
        }
        3 => {
            let gas = per_word(600, 120)?;
            output.extend_from_slice(&crypto.ripemd160(input));
            Some(gas)
        }
        4 => {
            let gas = per_word(15, 3)?;
            output.extend_from_slice(input);
            Some(gas)
        }
        5 => modexp::run(fork, input, gas_limit, output),
        6 => {
            let gas = within(if istanbul { 150 } else { 500 })?;
            output.extend_from_slice(&bn254::add(&padded(input, 0))?);
            Some(gas)
        }
        7 => {
            let gas = within(if istanbul { 6_000 } else { 40_000 })?;
            output.extend_from_slice(&bn254::mul(&padded(input, 0))?);
            Some(gas)
        }
        8 => {
            let (base, per_pair) = if istanbul { (45_000, 34_000) } else { (100_000, 80_000) };
            let gas = within(base + per_pair * (input.len() / bn254::PAIR) as u64)?;
            let is_one = bn254::pairing(input)?;
            output.extend_from_slice(B256::with_last_byte(is_one.into()).as_slice());
            Some(gas)
        }
        9 => {
            let (gas, state) = blake2f(crypto, input, gas_limit)?;
            output.extend_from_slice(&state);
            Some(gas)
        }
        10 => {
            let gas = within(50_000)?;
            if !kzg::holds(input) {
                return None;
            }
            output.extend_from_slice(RETURN_VALUE);
            Some(gas)
        }
        0x100 => {
            // An invalid signature is no failure: the output is empty.
            let gas = within(6_900)?;
            if p256::verify(input) {
                output.extend_from_slice(B256::with_last_byte(1).as_slice());
            }
            Some(gas)
        }
        _ => {
            let result = run_by_library(number, input, gas_limit)?.ok()?;
            output.extend_from_slice(&result.bytes);
            Some(result.gas_used)
        }
    }
}

/// The precompiles whose gas and execution are both left to `revm-precompile`.
fn run_by_library(number: u16, input: &[u8], gas: u64) -> Option<EthPrecompileResult> {
    Some(match number {
        0x0b => bls12_381::g1_add::g1_add(input, gas),
        0x0c => bls12_381::g1_msm::g1_msm(input, gas),
        0x0d => bls12_381::g2_add::g2_add(input, gas),
        0x0e => bls12_381::g2_msm::g2_msm(input, gas),
        0x0f => bls12_381::pairing::pairing(input, gas),
        0x10 => bls12_381::map_fp_to_g1::map_fp_to_g1(input, gas),
        0x11 => bls12_381::map_fp2_to_g2::map_fp2_to_g2(input, gas),
        _ => return None,
    })
}

/// `N` bytes of the input from `offset` on, zeros beyond its end.
fn padded<const N: usize>(input: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(rest) = input.get(offset..) {
        let len = rest.len().min(N);
        bytes[..len].copy_from_slice(&rest[..len]);
    }
    bytes
}

/// BLAKE2F (EIP-152) of rounds, state, message, offset counters and final-block flag. Returns its gas and the
/// new state.
fn blake2f(crypto: &dyn Crypto, input: &[u8], gas_limit: u64) -> Option<(u64, [u8; 64])> {
    let input: &[u8; 213] = input.try_into().ok()?;
    let rounds = u32::from_be_bytes(*input.first_chunk()?);
    let gas = u64::from(rounds);
    let is_last = match input[212] {
        0 => false,
        1 => true,
        _ => return None,
    };
    if gas > gas_limit {
        return None;
    }
    let (words, _) = input[4..].as_chunks::<8>();
    let word = |index: usize| u64::from_le_bytes(words[index]);
    let mut state: [u64; 8] = core::array::from_fn(word);
    let message: [u64; 16] = core::array::from_fn(|index| word(8 + index));
    crypto.blake2_compress(rounds, &mut state, &message, &[word(24), word(25)], is_last);
    let mut out = [0; 64];
    for (bytes, word) in out.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Some((gas, out))
}
