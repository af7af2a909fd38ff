//! Compares results and gas with `revm-precompile`, and each implementation of the power with `aurora-engine-modexp`.

use super::super::tests::{Random, agree};
use super::*;

fn input(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    for number in [base, exponent, modulus] {
        input.extend_from_slice(&U256::from(number.len()).to_be_bytes::<32>());
    }
    for number in [base, exponent, modulus] {
        input.extend_from_slice(number);
    }
    input
}

/// The power by `aurora-engine-modexp`, without parsing of the precompile's input.
fn reference(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let value = aurora_engine_modexp::modexp(base, exponent, modulus);
    let value = significant(&value);
    let mut result = vec![0; modulus.len() - value.len()];
    result.extend_from_slice(value);
    result
}

const FORKS: [Fork; 3] = [Fork::Byzantium, Fork::Berlin, Fork::Osaka];

#[test]
fn gas_agrees_with_revm_for_all_lengths() {
    use revm_precompile::modexp::{berlin_gas_calc, byzantium_gas_calc, osaka_gas_calc};
    let mut random = Random::new(5);
    let lengths = [
        0,
        1,
        7,
        8,
        9,
        31,
        32,
        33,
        63,
        64,
        65,
        1_023,
        1_024,
        1_025,
        4_096,
        1 << 20,
        1 << 32,
        1 << 33,
        1 << 62,
        u64::MAX - 1,
        u64::MAX,
    ];
    for base in lengths {
        for modulus in lengths {
            // For longer exponents revm's iteration count saturates; ours is exact.
            for exponent in lengths.into_iter().filter(|len| *len < 1 << 59) {
                for head in [U256::ZERO, U256::ONE, U256::from(2), U256::MAX, random.word()] {
                    assert_eq!(
                        gas(Fork::Byzantium, base, exponent, modulus, head),
                        byzantium_gas_calc(base, exponent, modulus, &head)
                    );
                    assert_eq!(
                        gas(Fork::Berlin, base, exponent, modulus, head),
                        berlin_gas_calc(base, exponent, modulus, &head)
                    );
                    assert_eq!(
                        gas(Fork::Osaka, base, exponent, modulus, head),
                        osaka_gas_calc(base, exponent, modulus, &head)
                    );
                }
            }
        }
    }
}

#[test]
fn lengths_beyond_the_input() {
    let huge = [
        U256::ZERO,
        U256::ONE,
        U256::from(32),
        U256::from(1_024),
        U256::from(1_025),
        U256::from(u32::MAX),
        U256::from(u64::MAX),
        U256::from(u64::MAX) + U256::ONE,
        U256::MAX,
    ];
    let mut random = Random::new(6);
    for base in huge {
        for exponent in huge {
            for modulus in huge {
                // Skips lengths of the exponent for which computing the power would take long.
                if exponent > U256::from(2_000) && exponent <= U256::from(u32::MAX) {
                    continue;
                }
                let mut bytes: Vec<u8> =
                    [base, exponent, modulus].iter().flat_map(|len| len.to_be_bytes::<32>()).collect();
                for fork in FORKS {
                    agree(fork, 5, &bytes);
                }
                bytes.extend_from_slice(&random.bytes(70));
                for fork in FORKS {
                    agree(fork, 5, &bytes);
                }
            }
        }
    }
}

#[test]
fn powers_agree_with_revm() {
    let mut random = Random::new(7);
    let number = |random: &mut Random, longest: usize| {
        let len = random.below(longest + 1);
        let mut bytes = random.bytes(len);
        match random.below(8) {
            0 => bytes.fill(0),
            1 => {
                bytes.fill(0);
                bytes.iter_mut().last().into_iter().for_each(|byte| *byte = 1);
            }
            2 => bytes.fill(0xff),
            3 => bytes.iter_mut().take(len / 2).for_each(|byte| *byte = 0),
            4 => bytes.iter_mut().skip(len / 2).for_each(|byte| *byte = 0),
            _ => {}
        }
        bytes
    };
    for case in 0..6_000 {
        let longest = [8, 33, 40, 70, 140, 300][case % 6];
        let [base, modulus] = [0, 1].map(|_| number(&mut random, longest));
        let longest = [2, 33, 40, 70][random.below(4)];
        let exponent = number(&mut random, longest);
        agree(FORKS[case % 3], 5, &input(&base, &exponent, &modulus));
    }
}

#[test]
fn awslc_agrees_with_aurora() {
    let mut random = Random::new(8);
    for case in 0..600 {
        let longest = [32, 64, 150, 300, 1_024][case % 5];
        let mut modulus = random.short(longest);
        modulus.push(random.below(128) as u8 * 2 + 1);
        if significant(&modulus) == [1] {
            continue;
        }
        let base = random.short(2 * longest);
        let exponent = random.short(40);
        let mut result = vec![0; modulus.len()];
        awslc::power(&base, &exponent, &modulus, &mut result).unwrap();
        assert_eq!(result, reference(&base, &exponent, &modulus));
    }
    // Rejected: an even modulus, an empty modulus, and a result that is too short.
    assert_eq!(awslc::power(&[3], &[2], &[8], &mut [0]), None);
    assert_eq!(awslc::power(&[3], &[2], &[], &mut []), None);
    assert_eq!(awslc::power(&[0xff; 8], &[1], &[0xff; 9], &mut [0; 2]), None);
}

#[test]
fn inverses_agree_with_powers() {
    let mut random = Random::new(9);
    for modulus in PRIMES {
        let exponent = modulus - U256::from(2);
        let mut bases = vec![
            U256::ZERO,
            U256::ONE,
            U256::from(2),
            U256::MAX,
            modulus,
            modulus - U256::ONE,
            modulus.saturating_add(U256::ONE),
            modulus.saturating_mul(U256::from(2)),
        ];
        bases.extend((0..300).map(|_| random.word()));
        bases.extend((0..300).map(|_| random.word() >> random.below(256)));
        for base in bases {
            let [base, exponent, modulus] = [base, exponent, modulus].map(|number| number.to_be_bytes::<32>());
            let inverse = inverse(significant(&base), &exponent, &modulus).unwrap();
            assert_eq!(inverse.to_be_bytes::<32>().to_vec(), reference(&base, &exponent, &modulus));
            agree(Fork::Osaka, 5, &input(&base, &exponent, &modulus));
            let padded = [&[0; 5][..], &base].concat();
            agree(Fork::Osaka, 5, &input(&padded, &exponent, &modulus));
            agree(Fork::Osaka, 5, &input(&base, &exponent, &[&[0; 3][..], &modulus].concat()));
        }
        // No inversion: another exponent, another modulus, a base that is too long.
        let (exponent, modulus) = (exponent.to_be_bytes::<32>(), modulus.to_be_bytes::<32>());
        assert_eq!(inverse(&[3], &modulus, &modulus), None);
        assert_eq!(inverse(&[3], &exponent, &exponent), None);
        assert_eq!(inverse(&[3; 33], &exponent, &modulus), None);
        agree(Fork::Osaka, 5, &input(&[3; 33], &exponent, &modulus));
    }
}
