//! Precompiles: which addresses they are in a fork, and how one is run.
//!
//! The arithmetic is `revm-precompile`'s (arkworks, blst, libsecp256k1 behind it). Gas and padding of the common ones are
//! ours, so that they write their output where it is wanted and allocate nothing; the twin is the library's own table.
//! Sources: Yellow Paper appendix E, EIP-152, 196, 197, 198, 1108, 2537, 2565, 4844, 7823, 7883, 7951.
//! Not here: value transfer and frames.

use super::fork::Fork;
use super::gas::words;
use alloy_primitives::Address;
use revm_precompile::{Crypto, EthPrecompileResult, bls12_381, bn254, crypto, kzg_point_evaluation, modexp, secp256r1};

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

/// Runs the precompile of this number (see [`number`]) with at most `gas_limit` gas. Appends its output to `output` and
/// returns the gas it used; `None` where it refused its input or ran out of gas: all gas given to it is gone, and
/// `output` is as before.
///
/// Pairings, modular exponentiation and the operations on BLS12-381 allocate inside their libraries; nothing else does.
pub fn run(fork: Fork, number: u16, input: &[u8], gas_limit: u64, output: &mut Vec<u8>) -> Option<u64> {
    let crypto = crypto();
    let istanbul = fork >= Fork::Istanbul;
    let within = |gas: u64| (gas <= gas_limit).then_some(gas);
    let per_word = |base: u64, word: u64| within(base + word * words(input.len() as u64));
    match number {
        1 => {
            let gas = within(3_000)?;
            if let Some(address) = ecrecover(crypto, &padded(input)) {
                output.extend_from_slice(&address);
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
        6 => {
            let gas = within(if istanbul { 150 } else { 500 })?;
            let points = padded::<128>(input);
            output.extend_from_slice(&crypto.bn254_g1_add(&points[..64], &points[64..]).ok()?);
            Some(gas)
        }
        7 => {
            let gas = within(if istanbul { 6_000 } else { 40_000 })?;
            let factors = padded::<96>(input);
            output.extend_from_slice(&crypto.bn254_g1_mul(&factors[..64], &factors[64..]).ok()?);
            Some(gas)
        }
        9 => {
            let (gas, state) = blake2f(crypto, input, gas_limit)?;
            output.extend_from_slice(&state);
            Some(gas)
        }
        _ => {
            let result = run_by_library(fork, number, input, gas_limit)?.ok()?;
            output.extend_from_slice(&result.bytes);
            Some(result.gas_used)
        }
    }
}

/// The precompiles that are the library's as a whole.
fn run_by_library(fork: Fork, number: u16, input: &[u8], gas: u64) -> Option<EthPrecompileResult> {
    use bn254::pair::{BYZANTIUM_PAIR_BASE, BYZANTIUM_PAIR_PER_POINT, ISTANBUL_PAIR_BASE, ISTANBUL_PAIR_PER_POINT};
    Some(match number {
        5 if fork >= Fork::Osaka => modexp::osaka_run(input, gas),
        5 if fork >= Fork::Berlin => modexp::berlin_run(input, gas),
        5 => modexp::byzantium_run(input, gas),
        8 if fork >= Fork::Istanbul => bn254::run_pair(input, ISTANBUL_PAIR_PER_POINT, ISTANBUL_PAIR_BASE, gas),
        8 => bn254::run_pair(input, BYZANTIUM_PAIR_PER_POINT, BYZANTIUM_PAIR_BASE, gas),
        0x0a => kzg_point_evaluation::run(input, gas),
        0x0b => bls12_381::g1_add::g1_add(input, gas),
        0x0c => bls12_381::g1_msm::g1_msm(input, gas),
        0x0d => bls12_381::g2_add::g2_add(input, gas),
        0x0e => bls12_381::g2_msm::g2_msm(input, gas),
        0x0f => bls12_381::pairing::pairing(input, gas),
        0x10 => bls12_381::map_fp_to_g1::map_fp_to_g1(input, gas),
        0x11 => bls12_381::map_fp2_to_g2::map_fp2_to_g2(input, gas),
        0x100 => secp256r1::p256_verify_osaka(input, gas),
        _ => return None,
    })
}

/// The input cut to `N` bytes, zeros where it is shorter.
fn padded<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let len = input.len().min(N);
    out[..len].copy_from_slice(&input[..len]);
    out
}

/// ECRECOVER: hash, v as a word, r, s. Nothing for a signature that recovers to nobody.
fn ecrecover(crypto: &dyn Crypto, input: &[u8; 128]) -> Option<[u8; 32]> {
    let (hash, rest) = input.split_first_chunk::<32>()?;
    let (v, rest) = rest.split_first_chunk::<32>()?;
    let signature = rest.first_chunk::<64>()?;
    let is_parity = v[..31].iter().all(|byte| *byte == 0) && matches!(v[31], 27 | 28);
    if !is_parity {
        return None;
    }
    crypto.secp256k1_ecrecover(signature, v[31] - 27, hash).ok()
}

/// BLAKE2F (EIP-152): rounds, state, message, offset, whether it is the last block. The gas, and the state.
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
    let word = |index: usize| u64::from_le_bytes(padded(&input[4 + 8 * index..]));
    let mut state: [u64; 8] = core::array::from_fn(word);
    let message: [u64; 16] = core::array::from_fn(|index| word(8 + index));
    crypto.blake2_compress(rounds, &mut state, &message, &[word(24), word(25)], is_last);
    let mut out = [0; 64];
    for (bytes, word) in out.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Some((gas, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_precompile::{PrecompileSpecId, Precompiles};

    /// The library's own table: the twin.
    fn by_table(fork: Fork, number: u16, input: &[u8], gas_limit: u64) -> Option<(u64, Vec<u8>)> {
        let spec = match fork {
            _ if fork >= Fork::Osaka => PrecompileSpecId::OSAKA,
            Fork::Prague => PrecompileSpecId::PRAGUE,
            Fork::Cancun => PrecompileSpecId::CANCUN,
            _ if fork >= Fork::Berlin => PrecompileSpecId::BERLIN,
            Fork::Istanbul => PrecompileSpecId::ISTANBUL,
            _ if fork >= Fork::Byzantium => PrecompileSpecId::BYZANTIUM,
            _ => PrecompileSpecId::HOMESTEAD,
        };
        let address = Address::left_padding_from(&number.to_be_bytes());
        let result = Precompiles::new(spec).get(&address)?.execute(input, gas_limit, 0).ok()?;
        result.status.is_success().then(|| (result.gas_used, result.bytes.to_vec()))
    }

    #[test]
    fn every_precompile_agrees_with_the_librarys_table() {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        // BN254's generator twice, and with a factor; a signature's shape; what a compression wants.
        let word = |value: u8| [[0; 31].as_slice(), &[value]].concat();
        let mut inputs: Vec<Vec<u8>> = vec![
            Vec::new(),
            [word(1), word(2), word(1), word(2)].concat(),
            [word(1), word(2), vec![0xab; 32]].concat(),
            [vec![7; 32], word(27), vec![9; 64]].concat(),
            [vec![7; 32], word(28), vec![9; 64], vec![1; 40]].concat(),
            [vec![7; 32], word(29), vec![9; 64]].concat(),
            [word(1), word(1), word(32), vec![5, 77], vec![0xfb; 32]].concat(),
        ];
        for last in 0..3 {
            inputs.push([&[0, 0, 0, 12][..], &[0x5a; 208], &[last]].concat());
        }
        for len in [1, 31, 32, 33, 64, 127, 128, 129, 160, 192, 213, 256, 384] {
            inputs.push((0..len).map(|_| next() as u8).collect());
        }
        for fork in Fork::ALL {
            let known = |number: &u16| super::number(fork, &Address::left_padding_from(&number.to_be_bytes())) != 0;
            for number in (0..0x14).chain([0xff, 0x100, 0x101]).filter(known) {
                for input in &inputs {
                    for gas_limit in [0, 11, 12, 14, 15, 150, 499, 500, 2_999, 3_000, 6_000, 40_000, 10_000_000] {
                        let mut output = vec![0xee];
                        let ours = run(fork, number, input, gas_limit, &mut output);
                        assert_eq!(output[0], 0xee);
                        let ours = ours.map(|gas| (gas, output[1..].to_vec()));
                        let expected = by_table(fork, number, input, gas_limit);
                        assert_eq!(ours, expected, "{fork:?} {number:#x} {gas_limit} {input:02x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_agree_with_the_library_for_every_fork() {
        for fork in Fork::ALL {
            for candidate in 0..0x200u16 {
                let address = Address::left_padding_from(&candidate.to_be_bytes());
                // No input, and all gas: a plain address is never in the table.
                let known = number(fork, &address) != 0;
                assert!(known || by_table(fork, candidate, &[], u64::MAX).is_none(), "{fork:?} {candidate:#x}");
            }
        }
    }
}
