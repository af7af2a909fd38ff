//! Every precompile beside its twin of `revm-precompile`: edge inputs and random ones, in every fork.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use revm_precompile::{PrecompileSpecId, Precompiles};

/// Addresses of all precompiles there are.
fn numbers() -> impl Iterator<Item = u16> {
    (1..=0x11).chain([0x100])
}

pub(super) fn address(number: u16) -> Address {
    Address::left_padding_from(&number.to_be_bytes())
}

/// The twin of [`run`].
fn twin(fork: Fork, address: &Address, input: &[u8], gas_limit: u64) -> Option<(u64, Vec<u8>)> {
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

/// Runs both and compares: all the gas there is, exactly what it takes, and one less.
pub(super) fn agree(fork: Fork, number: u16, input: &[u8]) -> Option<Vec<u8>> {
    let address = address(number);
    let compare = |gas_limit: u64| {
        let mut output = vec![0xee];
        let gas = run(fork, &address, input, gas_limit, &mut output);
        assert_eq!(output[0], 0xee, "what was there before stays");
        let ours = gas.map(|gas| (gas, output[1..].to_vec()));
        assert!(gas.is_some() || output.len() == 1, "a failure returns nothing");
        let theirs = twin(fork, &address, input, gas_limit);
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

/// A reproducible stream of bytes.
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

    /// Fewer than `bound` bytes.
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
            // Neither gas nor input: a precompile fails or succeeds, a plain address always fails the look-up.
            let known = number(fork, &address) != 0;
            assert!(known || run(fork, &address, &[], u64::MAX, &mut Vec::new()).is_none());
            assert!(known || twin(fork, &address, &[], u64::MAX).is_none(), "{fork:?} {candidate:#x}");
        }
    }
}

#[test]
fn lengths_that_are_not_the_usual_ones() {
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
                // Small enough not to read as lengths or coordinates out of range.
                noise.iter_mut().enumerate().filter(|(index, _)| index % 32 < 31).for_each(|(_, byte)| *byte = 0);
                agree(fork, number, &noise);
            }
        }
    }
}

#[test]
fn ecrecover_takes_what_the_twin_takes() {
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
fn p256_takes_what_the_twin_takes() {
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

        // The other s is valid, too.
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
        // A coordinate or scalar plus the modulus, where that fits.
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
