//! Compares every precompile with `revm-precompile`, for edge cases and random inputs, in every fork.

use super::*;
use crate::arena::keccak::keccak256;
use alloy_primitives::U256;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use revm_precompile::{PrecompileSpecId, Precompiles};
use sha2::{Digest, Sha256};

/// The numbers of all precompiles.
fn numbers() -> impl Iterator<Item = u16> {
    (1..=0x11).chain([0x100])
}

pub(super) fn address(number: u16) -> Address {
    Address::left_padding_from(&number.to_be_bytes())
}

/// The same precompile of `revm-precompile`: gas and output.
fn reference(fork: Fork, address: &Address, input: &[u8], gas_limit: u64) -> Option<(u64, Vec<u8>)> {
    let spec = match fork {
        _ if fork >= Fork::Osaka => PrecompileSpecId::OSAKA,
        Fork::Prague => PrecompileSpecId::PRAGUE,
        Fork::Cancun => PrecompileSpecId::CANCUN,
        _ if fork >= Fork::Berlin => PrecompileSpecId::BERLIN,
        Fork::Istanbul => PrecompileSpecId::ISTANBUL,
        _ if fork >= Fork::Byzantium => PrecompileSpecId::BYZANTIUM,
        _ => PrecompileSpecId::HOMESTEAD,
    };
    let result = Precompiles::new(spec).get(address)?.execute(input, gas_limit, 0).ok()?;
    (result.status.is_success() && result.gas_used <= gas_limit).then(|| (result.gas_used, result.bytes.to_vec()))
}

/// Runs both implementations and compares them: with unlimited gas, with exactly the gas needed, and with one less.
pub(super) fn agree(fork: Fork, number: u16, input: &[u8]) -> Option<Vec<u8>> {
    let address = address(number);
    let compare = |gas_limit: u64| {
        let mut output = vec![0xee];
        let gas = match super::number(fork, &address) {
            0 => None,
            number => run(fork, number, input, gas_limit, &mut Recoveries::default(), &mut output),
        };
        assert_eq!(output[0], 0xee, "what was there before stays");
        let ours = gas.map(|gas| (gas, output[1..].to_vec()));
        assert!(gas.is_some() || output.len() == 1, "a failure returns nothing");
        let theirs = reference(fork, &address, input, gas_limit);
        assert_eq!(ours, theirs, "{fork:?} {number:#x} limit {gas_limit} {}", alloy_primitives::hex::encode(input));
        ours
    };
    let (gas, output) = compare(1 << 30)?;
    compare(gas);
    if let Some(less) = gas.checked_sub(1) {
        compare(less);
    }
    Some(output)
}

/// A deterministic pseudorandom stream.
pub(super) struct Random(B256);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(B256::left_padding_from(&seed.to_be_bytes()))
    }

    pub(super) fn word(&mut self) -> U256 {
        self.0 = keccak256(self.0);
        self.0.into()
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.word() % U256::from(bound)).to::<usize>()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 32);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.word().to_be_bytes::<32>());
        }
        bytes.truncate(len);
        bytes
    }

    /// A random number of bytes, fewer than `bound`.
    pub(super) fn short(&mut self, bound: usize) -> Vec<u8> {
        let len = self.below(bound);
        self.bytes(len)
    }
}

#[test]
fn numbers_agree_with_the_library_for_every_fork() {
    for fork in Fork::ALL {
        for candidate in 0..0x200u16 {
            let address = address(candidate);
            // No input and unlimited gas. An address without a precompile must not be in the library's table.
            let known = number(fork, &address) != 0;
            assert!(known || reference(fork, &address, &[], u64::MAX).is_none(), "{fork:?} {candidate:#x}");
        }
    }
}

#[test]
fn unusual_input_lengths() {
    let mut random = Random::new(1);
    for fork in [Fork::Frontier, Fork::Byzantium, Fork::Istanbul, Fork::Berlin, Fork::Cancun, Fork::Prague, Fork::Osaka]
    {
        for number in numbers() {
            for len in
                [0, 1, 31, 32, 33, 63, 64, 65, 95, 96, 127, 128, 129, 159, 160, 161, 191, 192, 193, 212, 213, 214, 384]
            {
                agree(fork, number, &vec![0; len]);
                let mut noise = random.bytes(len);
                agree(fork, number, &noise);
                // Small numbers, so that they are not rejected as lengths or coordinates out of range.
                noise.iter_mut().enumerate().filter(|(index, _)| index % 32 < 31).for_each(|(_, byte)| *byte = 0);
                agree(fork, number, &noise);
            }
        }
    }
}

#[test]
fn well_formed_inputs() {
    // BN254: the generator twice, and with a scalar; inputs shaped for ECRECOVER, MODEXP and BLAKE2F.
    let word = |value: u8| [[0; 31].as_slice(), &[value]].concat();
    let mut inputs: Vec<Vec<u8>> = vec![
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
    for fork in Fork::ALL {
        for number in numbers() {
            for input in &inputs {
                agree(fork, number, input);
            }
        }
    }
}

#[test]
fn ecrecover_accepts_what_revm_accepts() {
    let mut random = Random::new(2);
    let order = uint_order();
    let mut recovered = 0;
    for case in 0..400 {
        let mut input = random.bytes(128);
        input[32..64].fill(0);
        input[63] = [27, 28, 26, 29, 0, 255][random.below(if case % 8 == 0 { 6 } else { 2 })];
        let edge = [U256::ZERO, U256::ONE, order - U256::ONE, order, order + U256::ONE, U256::MAX, order >> 1];
        match case % 8 {
            1 => input[64..96].copy_from_slice(&edge[random.below(7)].to_be_bytes::<32>()),
            2 => input[96..128].copy_from_slice(&edge[random.below(7)].to_be_bytes::<32>()),
            3 => input[32 + random.below(31)] = 1,
            4 => input.truncate(65 + random.below(63)),
            5 => input.extend_from_slice(&[7; 9]),
            _ => {}
        }
        recovered += usize::from(agree(Fork::Osaka, 1, &input).is_some_and(|output| !output.is_empty()));
    }
    assert!(recovered > 100, "{recovered}");
}

/// Order of secp256k1.
fn uint_order() -> U256 {
    alloy_primitives::uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256)
}

#[test]
fn p256_accepts_what_revm_accepts() {
    let mut random = Random::new(3);
    let order = alloy_primitives::uint!(0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551_U256);
    let prime = alloy_primitives::uint!(0xffffffff00000001000000000000000000000000ffffffffffffffffffffffff_U256);
    let mut valid = 0;
    for case in 0..60 {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let message = random.bytes(random_len(case));
        let signature = key.sign(&SystemRandom::new(), &message).unwrap();
        let mut input = Sha256::digest(&message).to_vec();
        input.extend_from_slice(signature.as_ref());
        input.extend_from_slice(&key.public_key().as_ref()[1..]);
        assert_eq!(agree(Fork::Osaka, 0x100, &input).unwrap().len(), 32);
        valid += 1;

        // The signature with n - s is valid, too.
        let s = U256::from_be_slice(&input[64..96]);
        let mut other = input.clone();
        other[64..96].copy_from_slice(&(order - s).to_be_bytes::<32>());
        assert_eq!(agree(Fork::Amsterdam, 0x100, &other).unwrap().len(), 32);

        let mut wrong = input.clone();
        wrong[random.below(160)] ^= 1 << random.below(8);
        agree(Fork::Osaka, 0x100, &wrong);
        for (at, word) in [32, 64, 96, 128].into_iter().flat_map(|at| {
            [U256::ZERO, U256::ONE, order, order - U256::ONE, prime, prime - U256::ONE, U256::MAX]
                .map(|word| (at, word))
        }) {
            let mut edge = input.clone();
            edge[at..at + 32].copy_from_slice(&word.to_be_bytes::<32>());
            agree(Fork::Osaka, 0x100, &edge);
        }
        // A coordinate or scalar plus the modulus, if that fits 256 bits.
        for (at, modulus) in [(32, order), (64, order), (96, prime), (128, prime)] {
            let (sum, over) = U256::from_be_slice(&input[at..at + 32]).overflowing_add(modulus);
            if !over {
                let mut edge = input.clone();
                edge[at..at + 32].copy_from_slice(&sum.to_be_bytes::<32>());
                agree(Fork::Osaka, 0x100, &edge);
            }
        }
        let mut infinity = input.clone();
        infinity[96..].fill(0);
        agree(Fork::Osaka, 0x100, &infinity);
    }
    assert_eq!(valid, 60);
}

fn random_len(case: usize) -> usize {
    case * 7 % 200
}

/// Edge cases of coordinates: 0, 1, the modulus and its neighbours, and the largest word.
fn edge_coordinates() -> [U256; 6] {
    let modulus = alloy_primitives::uint!(0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47_U256);
    [U256::ZERO, U256::ONE, modulus - U256::ONE, modulus, modulus + U256::ONE, U256::MAX]
}

/// A point of BN254's G1, as the precompiles encode it.
fn g1_point(random: &mut Random) -> Vec<u8> {
    let input = [U256::ONE, U256::from(2), random.word()].map(|word| word.to_be_bytes::<32>()).concat();
    agree(Fork::Osaka, 7, &input).unwrap()
}

#[test]
fn bn254_sums_and_products_agree_with_revm() {
    let mut random = Random::new(10);
    let order = alloy_primitives::uint!(0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001_U256);
    let modulus = edge_coordinates()[3];
    let mut scalars = vec![
        U256::ZERO,
        U256::ONE,
        U256::from(2),
        order - U256::ONE,
        order,
        order + U256::ONE,
        order >> 1,
        U256::MAX,
        U256::ONE << 127,
        U256::ONE << 128,
        // The endomorphism's eigenvalue, and the entries of the basis of its lattice.
        alloy_primitives::uint!(21888242871839275217838484774961031246154997185409878258781734729429964517155_U256),
        alloy_primitives::uint!(147946756881789319000765030803803410728_U256),
        alloy_primitives::uint!(9931322734385697763_U256),
        alloy_primitives::uint!(147946756881789319010696353538189108491_U256),
    ];
    scalars.extend((0..200).map(|_| random.word()));
    scalars.extend((0..100).map(|_| {
        let shift = random.below(256);
        random.word() >> shift
    }));
    let mut point = g1_point(&mut random);
    for (case, scalar) in scalars.iter().enumerate() {
        if case % 20 == 0 {
            point = g1_point(&mut random);
        }
        let input = [point.as_slice(), &scalar.to_be_bytes::<32>()].concat();
        let product = agree(Fork::Istanbul, 7, &input).unwrap();
        agree(Fork::Byzantium, 7, &input[..64 + case % 33]);
        // Another point, the same point, its negative, infinity; inputs that are too short and too long.
        let mut negative = point.clone();
        let y = U256::from_be_slice(&point[32..]);
        negative[32..].copy_from_slice(&(modulus - y).to_be_bytes::<32>());
        for other in [&product, &point, &negative, &vec![0; 64], &vec![1; 70]] {
            agree(Fork::Osaka, 6, &[point.as_slice(), other].concat());
            agree(Fork::Byzantium, 6, &[other.as_slice(), &point].concat());
        }
        // Points outside the curve, and coordinates outside the field.
        let mut outside = input.clone();
        outside[random.below(64)] ^= 1 << random.below(8);
        agree(Fork::Osaka, 7, &outside);
        agree(Fork::Osaka, 6, &outside);
    }
    for x in edge_coordinates() {
        for y in edge_coordinates() {
            let input = [x, y, U256::from(3)].map(|word| word.to_be_bytes::<32>()).concat();
            agree(Fork::Osaka, 7, &input);
            agree(Fork::Osaka, 6, &input);
            agree(Fork::Osaka, 6, &[point.as_slice(), &input].concat());
        }
    }
    // x or y plus the modulus represents the same element, but is not canonical.
    for at in [0, 32] {
        let mut input = point.clone();
        let word = U256::from_be_slice(&point[at..at + 32]) + modulus;
        input[at..at + 32].copy_from_slice(&word.to_be_bytes::<32>());
        assert_eq!(agree(Fork::Osaka, 6, &input), None);
    }
}
