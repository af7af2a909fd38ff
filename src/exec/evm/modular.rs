//! MULMOD with a repeated modulus: division by a cached reciprocal.
//!
//! In: factors and modulus of each MULMOD. Out: the product modulo the modulus.
//! Contracts mostly use MULMOD with the modulus of one field, thousands of times. The reciprocal is computed
//! after a few uses in a row. Source: Möller and Granlund, "Improved division by invariant integers" (2011):
//! algorithm 4 with words as digits (its proof holds for any base), algorithms 5 and 6 for divisors of two limbs.
//! Reference implementation: `U256::mul_mod`, which the tests compare with. Not here: gas.

use alloy_primitives::{U256, U512};

type Limbs = [u64; 4];

#[inline(always)]
#[cfg(tail_calls)]
pub(in crate::exec) fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[inline(always)]
#[cfg(tail_calls)]
pub(in crate::exec) fn split(value: u128) -> (u64, u64) {
    ((value >> 64) as u64, value as u64)
}

/// The reciprocal of a normalised divisor of two limbs (its top bit is set), from the reciprocal of its upper
/// limb, `of_upper = (2^128 - 1) / d1 - 2^64` (algorithm 6).
#[inline(always)]
#[cfg(tail_calls)]
pub(in crate::exec) fn reciprocal_of_two(of_upper: u64, d1: u64, d0: u64) -> u64 {
    let mut v = of_upper;
    let (mut p, carried) = d1.wrapping_mul(v).overflowing_add(d0);
    if carried {
        v = v.wrapping_sub(1);
        if p >= d1 {
            v = v.wrapping_sub(1);
            p -= d1;
        }
        p = p.wrapping_sub(d1);
    }
    let (t1, t0) = split(u128::from(v) * u128::from(d0));
    let (p, carried) = p.overflowing_add(t1);
    if carried {
        v = v.wrapping_sub(1);
        if join(p, t0) >= join(d1, d0) {
            v = v.wrapping_sub(1);
        }
    }
    v
}

/// `u2:u1:u0 / d` where `u2:u1 < d` and `v` is the reciprocal of `d`: quotient digit and remainder (algorithm 5).
#[inline(always)]
#[cfg(tail_calls)]
pub(in crate::exec) fn div_three_by_two(u2: u64, u1: u64, u0: u64, d: u128, v: u64) -> (u64, u128) {
    let (d1, d0) = split(d);
    let (q1, q0) = split((u128::from(v) * u128::from(u2)).wrapping_add(join(u2, u1)));
    let r1 = u1.wrapping_sub(q1.wrapping_mul(d1));
    let r = join(r1, u0).wrapping_sub(u128::from(d0) * u128::from(q1)).wrapping_sub(d);
    let low = (r >> 64) as u64 >= q0;
    let q1 = q1.wrapping_add(u64::from(!low));
    let r = if low { r.wrapping_add(d) } else { r };
    if r >= d { (q1.wrapping_add(1), r - d) } else { (q1, r) }
}

/// The upper limb of `high:low` shifted left by `shift` (below 64).
#[inline(always)]
pub(in crate::exec) fn shifted(high: u64, low: u64, shift: u32) -> u64 {
    high << shift | (low >> 1) >> (63 - shift)
}

/// Uses of a modulus in a row before its reciprocal is computed, which takes as long as about ten divisions.
const USES_BEFORE_RECIPROCAL: u32 = 4;

/// The last modulus, and its reciprocal once it has been used a few times in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptModulus {
    modulus: Limbs,
    uses: u32,
    /// `None` before `USES_BEFORE_RECIPROCAL` uses, and for a modulus below 2^192.
    divisor: Option<Divisor>,
}

/// A normalised divisor: one digit of 256 bits.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    /// The modulus, shifted left until its top bit is set.
    d: Limbs,
    /// The number of bits by which it was shifted.
    shift: u32,
    /// `(2^512 - 1) / d - 2^256`.
    reciprocal: Limbs,
}

impl KeptModulus {
    /// `a * b` modulo `modulus` (MULMOD); 0 for a zero modulus.
    #[inline]
    pub fn mulmod(&mut self, a: U256, b: U256, modulus: U256) -> U256 {
        let limbs = *modulus.as_limbs();
        let differs = (limbs[0] ^ self.modulus[0])
            | (limbs[1] ^ self.modulus[1])
            | (limbs[2] ^ self.modulus[2])
            | (limbs[3] ^ self.modulus[3]);
        if differs != 0 {
            *self = Self { modulus: limbs, uses: 1, divisor: None };
            return a.mul_mod(b, modulus);
        }
        match &self.divisor {
            Some(divisor) => {
                // If both factors are below the modulus, so is the upper half of the product: one digit less to divide.
                let below = less(a.as_limbs(), &limbs) & less(b.as_limbs(), &limbs);
                U256::from_limbs(divisor.reduce(product(a.as_limbs(), b.as_limbs()), below))
            }
            None => {
                self.uses = self.uses.saturating_add(1);
                if self.uses == USES_BEFORE_RECIPROCAL {
                    self.divisor = Divisor::new(&limbs);
                }
                a.mul_mod(b, modulus)
            }
        }
    }
}

#[inline(always)]
fn less(a: &Limbs, b: &Limbs) -> bool {
    let (_, borrow) = a[0].borrowing_sub(b[0], false);
    let (_, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (_, borrow) = a[2].borrowing_sub(b[2], borrow);
    a[3].borrowing_sub(b[3], borrow).1
}

/// The sum modulo 2^256 and the carry.
#[inline(always)]
fn add(a: &Limbs, b: &Limbs, carry: bool) -> (Limbs, bool) {
    let (r0, carry) = a[0].carrying_add(b[0], carry);
    let (r1, carry) = a[1].carrying_add(b[1], carry);
    let (r2, carry) = a[2].carrying_add(b[2], carry);
    let (r3, carry) = a[3].carrying_add(b[3], carry);
    ([r0, r1, r2, r3], carry)
}

/// The difference modulo 2^256 and the borrow.
#[inline(always)]
fn sub(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (r0, borrow) = a[0].borrowing_sub(b[0], false);
    let (r1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (r2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (r3, borrow) = a[3].borrowing_sub(b[3], borrow);
    ([r0, r1, r2, r3], borrow)
}

/// The full product of two words.
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

/// The lower half of the product of two words.
#[inline(always)]
fn product_low(a: &Limbs, b: &Limbs) -> Limbs {
    let mut product = [0; 4];
    for row in 0..4 {
        let mut carry = 0;
        for column in 0..4 - row {
            (product[row + column], carry) = a[row].carrying_mul_add(b[column], product[row + column], carry);
        }
    }
    product
}

impl Divisor {
    #[inline(never)]
    fn new(modulus: &Limbs) -> Option<Self> {
        if modulus[3] == 0 {
            return None;
        }
        let shift = modulus[3].leading_zeros();
        let d = [
            modulus[0] << shift,
            shifted(modulus[1], modulus[0], shift),
            shifted(modulus[2], modulus[1], shift),
            shifted(modulus[3], modulus[2], shift),
        ];
        // (2^512 - 1 - d * 2^256) / d. It is below 2^256, because d is at least 2^255.
        let numerator = U512::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX, !d[0], !d[1], !d[2], !d[3]]);
        let quotient = numerator / U512::from(U256::from_limbs(d));
        let [v0, v1, v2, v3, ..] = quotient.into_limbs();
        Some(Self { d, shift, reciprocal: [v0, v1, v2, v3] })
    }

    /// The remainder of `high:low` for `high` below the divisor (algorithm 4, with digits of 256 bits).
    #[inline(always)]
    fn remainder(&self, high: &Limbs, low: &Limbs) -> Limbs {
        let [q0, q1, q2, q3, q4, q5, q6, q7] = product(&self.reciprocal, high);
        let (below, carry) = add(&[q0, q1, q2, q3], low, false);
        let (digit, _) = add(&[q4, q5, q6, q7], high, carry);
        // The estimate plus one is too large by at most one; in that case the remainder is greater than `below`.
        let (digit, _) = add(&digit, &[0; 4], true);
        let (r, _) = sub(low, &product_low(&digit, &self.d));
        let r = if less(&below, &r) { add(&r, &self.d, false).0 } else { r };
        let (reduced, is_below) = sub(&r, &self.d);
        if is_below { r } else { reduced }
    }

    /// A product modulo the modulus. `below`: whether its upper half is less than the modulus.
    #[inline(always)]
    fn reduce(&self, x: [u64; 8], below: bool) -> Limbs {
        let shift = self.shift;
        let up = |index: usize| shifted(x[index], x[index - 1], shift);
        let high = [up(4), up(5), up(6), up(7)];
        let high = if below { high } else { self.remainder(&[shifted(0, x[7], shift), 0, 0, 0], &high) };
        let r = self.remainder(&high, &[x[0] << shift, up(1), up(2), up(3)]);
        let down = |high: u64, low: u64| low >> shift | (high << 1) << (63 - shift);
        [down(r[1], r[0]), down(r[2], r[1]), down(r[3], r[2]), r[3] >> shift]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_reciprocals_agree_with_division() {
        let mut words =
            vec![U256::ZERO, U256::ONE, U256::MAX, U256::MAX - U256::ONE, U256::ONE << 255, U256::ONE << 192];
        words.extend((185..256).map(|bit| U256::MAX >> (255 - bit)));
        let mut state = 3u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        words.extend((0..120).map(|_| U256::from_limbs([next(), next(), next(), next()]) >> (next() % 70)));
        // Limbs of all ones or all zeros give the largest digits and estimates that are too large.
        for bits in 0..64u32 {
            let limb = |index: u32| match bits >> (2 * index) & 3 {
                0 => 0,
                1 => 1,
                2 => 1 << 63,
                _ => u64::MAX,
            };
            words.push(U256::from_limbs([limb(0), limb(1), limb(2), u64::MAX]));
            words.push(U256::from_limbs([limb(0), limb(1), limb(2), 1 << 63]));
        }
        let mut kept = KeptModulus::default();
        for modulus in &words {
            for (index, a) in words.iter().enumerate() {
                for step in [3, 8, 11] {
                    let b = words[(index * 7 + step) % words.len()];
                    let expected = a.mul_mod(b, *modulus);
                    assert_eq!(kept.mulmod(*a, b, *modulus), expected, "{a:#x} * {b:#x} % {modulus:#x}");
                }
            }
        }
    }
}
