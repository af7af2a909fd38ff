//! Tests arithmetic modulo the group order against general-purpose big integers.

use super::reference::{LAMBDA, N, Numbers};
use super::*;
use crate::exec::senders::scalar::{ORDER, invert_all, mul_redc, negate, regular, split};

/// Numbers below 2^256 near the limits of carries and reductions.
fn edges() -> Vec<U256> {
    let mut all = Vec::new();
    for x in [U256::ZERO, N, N >> 1, LAMBDA, N - LAMBDA, U256::ONE << 128, U256::ONE << 129, U256::ONE << 192] {
        all.extend((0..3u64).map(|d| x.wrapping_add(U256::from(d))));
        all.extend((1..3u64).map(|d| x.wrapping_sub(U256::from(d))));
    }
    all.extend(
        (0..16u32)
            .map(|mask| U256::from_limbs(core::array::from_fn(|i| if mask >> i & 1 == 1 { u64::MAX } else { 0 }))),
    );
    all
}

#[test]
fn arithmetic_agrees_with_big_integers() {
    assert_eq!(U256::from_limbs(ORDER), N);
    let two_256 = U256::MAX % N + U256::ONE;
    let mut numbers = Numbers(21);
    let mut all = edges();
    all.extend((0..200).map(|_| numbers.word()));
    for &a in &all {
        let reduced = a % N;
        assert_eq!(U256::from_limbs(negate(reduced.as_limbs())), (N - reduced) % N);
        for &b in &all {
            let product = U256::from_limbs(mul_redc(a.as_limbs(), (b % N).as_limbs()));
            assert!(product < N);
            assert_eq!(product.mul_mod(two_256, N), a.mul_mod(b, N), "{a} * {b}");
        }
    }
    let items: Vec<_> = all.iter().map(|a| *a % N).filter(|a| !a.is_zero()).collect();
    let mut inverses: Vec<_> = items.iter().map(|a| a.into_limbs()).collect();
    invert_all(&mut inverses, &mut vec![[0; 4]; items.len()]);
    for (item, inverse) in items.iter().zip(inverses) {
        assert_eq!(item.mul_mod(U256::from_limbs(inverse), N), two_256);
    }
}

#[test]
fn halves_are_odd_and_short_and_recombine_to_the_scalar() {
    let mut numbers = Numbers(22);
    let mut all = edges();
    all.extend((0..20_000).map(|_| numbers.word()));
    // Numbers near multiples of lambda, where the rounding of the lattice quotients changes.
    all.extend((0..2_000).map(|_| {
        let product = U256::from(numbers.next()).mul_mod(LAMBDA, N);
        product.add_mod(U256::from(numbers.next() % 3), N)
    }));
    for k in all.into_iter().map(|k| k % N) {
        let (k1, k2) = split(k.as_limbs());
        let number = |half: [u64; 3]| {
            let negative = half[2] >> 63 == 1;
            let half = U256::from_limbs([half[0], half[1], half[2], if negative { u64::MAX } else { 0 }]);
            let magnitude = if negative { half.wrapping_neg() } else { half };
            assert!(magnitude.bit(0) && magnitude < U256::ONE << 129, "{magnitude:x} of {k}");
            if negative { N - magnitude } else { magnitude }
        };
        assert_eq!(number(k1).add_mod(number(k2).mul_mod(LAMBDA, N), N), k);
        for (half, bits) in [(k1, 130), (k2, 130), (k1, 132)] {
            let recoded = regular(half, bits);
            assert!(recoded[2] >> (bits - 128) == 0);
        }
    }
}
