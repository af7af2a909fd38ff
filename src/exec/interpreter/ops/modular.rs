//! MULMOD by a modulus that stays: Barrett reduction with the modulus's reciprocal kept.
//!
//! Contracts that use MULMOD use it with the modulus of one field, thousands of times. The reciprocal is made at the second
//! use in a row. Source: Handbook of Applied Cryptography, algorithm 14.42. Twin: `arithmetic::mulmod`.

use super::arithmetic;
use alloy_primitives::{U256, U512};

type Limbs = [u64; 4];

/// The last modulus, and from its second use on its reciprocal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Barrett {
    modulus: Limbs,
    /// `(2^512 - 1) / modulus`; none where its top limb is zero: the algorithm wants a modulus of four limbs.
    reciprocal: Option<[u64; 5]>,
}

impl Barrett {
    /// `a * b` modulo `modulus`; 0 for a zero modulus.
    #[inline]
    pub fn mulmod(&mut self, a: U256, b: U256, modulus: U256) -> U256 {
        let limbs = *modulus.as_limbs();
        let differs = (limbs[0] ^ self.modulus[0])
            | (limbs[1] ^ self.modulus[1])
            | (limbs[2] ^ self.modulus[2])
            | (limbs[3] ^ self.modulus[3]);
        if differs != 0 {
            *self = Self { modulus: limbs, reciprocal: None };
            return arithmetic::mulmod(a, b, modulus);
        }
        match &self.reciprocal {
            Some(reciprocal) => U256::from_limbs(reduce(&product(a.as_limbs(), b.as_limbs()), &limbs, reciprocal)),
            None => {
                self.reciprocal = reciprocal_of(&modulus);
                arithmetic::mulmod(a, b, modulus)
            }
        }
    }
}

#[inline(never)]
fn reciprocal_of(modulus: &U256) -> Option<[u64; 5]> {
    if modulus.as_limbs()[3] == 0 {
        return None;
    }
    let quotient = U512::MAX / U512::from(*modulus);
    let limbs = quotient.as_limbs();
    Some([limbs[0], limbs[1], limbs[2], limbs[3], limbs[4]])
}

/// The whole product of two words.
#[inline(always)]
fn product(a: &Limbs, b: &Limbs) -> [u64; 8] {
    let mut product = [0; 8];
    for row in 0..4 {
        let mut carry = 0;
        for column in 0..4 {
            (product[row + column], carry) = a[row].carrying_mul_add(b[column], product[row + column], carry);
        }
        product[row + 4] = carry;
    }
    product
}

/// `x` modulo a modulus of four limbs.
#[inline(always)]
fn reduce(x: &[u64; 8], modulus: &Limbs, reciprocal: &[u64; 5]) -> Limbs {
    // The quotient's estimate: the upper limbs of x times the reciprocal.
    let mut wide = [0; 10];
    for row in 0..5 {
        let mut carry = 0;
        for column in 0..5 {
            (wide[row + column], carry) = x[3 + row].carrying_mul_add(reciprocal[column], wide[row + column], carry);
        }
        wide[row + 5] = carry;
    }
    // Its product with the modulus, as far as the five lowest limbs need it.
    let mut back = [0; 5];
    for row in 0..5 {
        let mut carry = 0;
        for column in 0..4 {
            if row + column < 5 {
                (back[row + column], carry) =
                    wide[5 + row].carrying_mul_add(modulus[column], back[row + column], carry);
            }
        }
        if row == 0 {
            back[4] = carry;
        }
    }
    let mut rest = [0; 5];
    let mut borrow = false;
    for index in 0..5 {
        (rest[index], borrow) = x[index].borrowing_sub(back[index], borrow);
    }
    // The estimate is at most three too small.
    loop {
        let mut less = [0; 5];
        let mut borrow = false;
        for index in 0..4 {
            (less[index], borrow) = rest[index].borrowing_sub(modulus[index], borrow);
        }
        (less[4], borrow) = rest[4].borrowing_sub(0, borrow);
        if borrow {
            return [rest[0], rest[1], rest[2], rest[3]];
        }
        rest = less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_reduce_as_they_do_by_division() {
        let mut words =
            vec![U256::ZERO, U256::ONE, U256::MAX, U256::MAX - U256::ONE, U256::ONE << 255, U256::ONE << 192];
        words.extend((185..256).map(|bit| U256::MAX >> (255 - bit)));
        let mut state = 3u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        words.extend((0..120).map(|_| U256::from_limbs([next(), next(), next(), next()]) >> (next() % 70)));
        let mut barrett = Barrett::default();
        for modulus in &words {
            for (index, a) in words.iter().enumerate() {
                let b = words[(index * 7 + 3) % words.len()];
                let expected = arithmetic::mulmod(*a, b, *modulus);
                assert_eq!(barrett.mulmod(*a, b, *modulus), expected, "{a:#x} * {b:#x} % {modulus:#x}");
            }
        }
    }
}
