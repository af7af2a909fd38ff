//! MULMOD by a modulus that stays: division with the modulus's reciprocal kept.
//!
//! Contracts that use MULMOD use it with the modulus of one field, thousands of times. The reciprocal is made at the second
//! use in a row. Source: Möller and Granlund, "Improved division by invariant integers" (2011), algorithms 5 and 6.
//! Twin: `arithmetic::mulmod`.

use super::arithmetic;
use alloy_primitives::U256;

type Limbs = [u64; 4];

#[inline(always)]
pub(in crate::exec::interpreter) fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[inline(always)]
pub(in crate::exec::interpreter) fn split(value: u128) -> (u64, u64) {
    ((value >> 64) as u64, value as u64)
}

/// The reciprocal of a divisor of two limbs whose top bit is set, from that of its upper limb, `(2^128 - 1) / d1 - 2^64`.
#[inline(always)]
pub(in crate::exec::interpreter) fn reciprocal_of_two(of_upper: u64, d1: u64, d0: u64) -> u64 {
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

/// `u2:u1:u0 / d` for `u2:u1 < d`, `v` the reciprocal of `d`: digit and remainder.
#[inline(always)]
pub(in crate::exec::interpreter) fn div_three_by_two(u2: u64, u1: u64, u0: u64, d: u128, v: u64) -> (u64, u128) {
    let (d1, d0) = split(d);
    let (q1, q0) = split((u128::from(v) * u128::from(u2)).wrapping_add(join(u2, u1)));
    let r1 = u1.wrapping_sub(q1.wrapping_mul(d1));
    let r = join(r1, u0).wrapping_sub(u128::from(d0) * u128::from(q1)).wrapping_sub(d);
    let low = (r >> 64) as u64 >= q0;
    let q1 = q1.wrapping_add(u64::from(!low));
    let r = if low { r.wrapping_add(d) } else { r };
    if r >= d { (q1.wrapping_add(1), r - d) } else { (q1, r) }
}

/// Limb `high` shifted up, filled from `low`.
#[inline(always)]
pub(in crate::exec::interpreter) fn shifted(high: u64, low: u64, shift: u32) -> u64 {
    high << shift | (low >> 1) >> (63 - shift)
}

/// The last modulus, and from its second use on what division by it wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptModulus {
    modulus: Limbs,
    /// The modulus with its top bit set, by how much it was shifted for that, and its upper half's reciprocal; none where
    /// its top limb is zero.
    divisor: Option<(Limbs, u32, u64)>,
}

impl KeptModulus {
    /// `a * b` modulo `modulus`; 0 for a zero modulus.
    #[inline]
    pub fn mulmod(&mut self, a: U256, b: U256, modulus: U256) -> U256 {
        let limbs = *modulus.as_limbs();
        let differs = (limbs[0] ^ self.modulus[0])
            | (limbs[1] ^ self.modulus[1])
            | (limbs[2] ^ self.modulus[2])
            | (limbs[3] ^ self.modulus[3]);
        if differs != 0 {
            *self = Self { modulus: limbs, divisor: None };
            return arithmetic::mulmod(a, b, modulus);
        }
        match &self.divisor {
            Some((divisor, shift, reciprocal)) => {
                // Factors below the modulus leave the upper half of the product below it: a digit less.
                let below = less(a.as_limbs(), &limbs) & less(b.as_limbs(), &limbs);
                U256::from_limbs(reduce(product(a.as_limbs(), b.as_limbs()), below, divisor, *shift, *reciprocal))
            }
            None => {
                self.divisor = divisor_of(&limbs);
                arithmetic::mulmod(a, b, modulus)
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

#[inline(never)]
fn divisor_of(modulus: &Limbs) -> Option<(Limbs, u32, u64)> {
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
    let of_upper = (join(!d[3], u64::MAX) / u128::from(d[3])) as u64;
    Some((d, shift, reciprocal_of_two(of_upper, d[3], d[2])))
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

/// One digit: the remainder of `r:low` by the divisor, for `r` below it.
#[inline(always)]
fn next_remainder(r: Limbs, low: u64, d: &Limbs, v: u64) -> Limbs {
    let top = join(d[3], d[2]);
    if join(r[3], r[2]) == top {
        return remainder_of_largest_digit(r, low, d);
    }
    let (digit, upper) = div_three_by_two(r[3], r[2], r[1], top, v);
    let (p0, carry) = digit.carrying_mul(d[0], 0);
    let (p1, p2) = digit.carrying_mul(d[1], carry);
    let (r0, borrow) = low.borrowing_sub(p0, false);
    let (r1, borrow) = r[0].borrowing_sub(p1, borrow);
    let (upper, below) = upper.overflowing_sub(u128::from(p2) + u128::from(borrow));
    let (r3, r2) = split(upper);
    let r = [r0, r1, r2, r3];
    if below { add(r, d) } else { r }
}

#[inline(always)]
fn add(r: Limbs, d: &Limbs) -> Limbs {
    let (r0, carry) = r[0].carrying_add(d[0], false);
    let (r1, carry) = r[1].carrying_add(d[1], carry);
    let (r2, carry) = r[2].carrying_add(d[2], carry);
    let (r3, _) = r[3].carrying_add(d[3], carry);
    [r0, r1, r2, r3]
}

/// Where the upper halves are equal the digit is `2^64 - 1`, or one less: `r:low - (d << 64) + d`, and `d` once more where that
/// is negative.
#[cold]
fn remainder_of_largest_digit(r: Limbs, low: u64, d: &Limbs) -> Limbs {
    let (r1, borrow) = r[0].borrowing_sub(d[0], false);
    let (r2, borrow) = r[1].borrowing_sub(d[1], borrow);
    // The limbs above cancel; what is negative here is so by less than 2^192, and `d` is at least 2^255.
    let r3 = 0u64.wrapping_sub(u64::from(borrow));
    add([low, r1, r2, r3], d)
}

/// A product modulo the modulus; `below`: its upper half is less than the modulus.
#[inline(always)]
fn reduce(x: [u64; 8], below: bool, d: &Limbs, shift: u32, v: u64) -> Limbs {
    let up = |index: usize| shifted(x[index], x[index - 1], shift);
    let r = if below {
        [up(4), up(5), up(6), up(7)]
    } else {
        next_remainder([up(5), up(6), up(7), shifted(0, x[7], shift)], up(4), d, v)
    };
    let r = next_remainder(r, up(3), d, v);
    let r = next_remainder(r, up(2), d, v);
    let r = next_remainder(r, up(1), d, v);
    let r = next_remainder(r, x[0] << shift, d, v);
    let down = |high: u64, low: u64| low >> shift | (high << 1) << (63 - shift);
    [down(r[1], r[0]), down(r[2], r[1]), down(r[3], r[2]), r[3] >> shift]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U512;

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
        // Limbs of all ones and of none: largest digits, and estimates that are too large.
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
                for step in [3, 8] {
                    let b = words[(index * 7 + step) % words.len()];
                    let expected = arithmetic::mulmod(*a, b, *modulus);
                    assert_eq!(kept.mulmod(*a, b, *modulus), expected, "{a:#x} * {b:#x} % {modulus:#x}");
                }
            }
        }
    }

    #[test]
    fn the_largest_digit_leaves_the_right_remainder() {
        let d = [5, 7, 9, 1 << 63];
        let v = reciprocal_of_two((join(!d[3], u64::MAX) / u128::from(d[3])) as u64, d[3], d[2]);
        for (r0, r1, low) in [(0, 0, 0), (4, 7, 11), (u64::MAX, 6, u64::MAX), (0, 7, 3), (3, 2, 1)] {
            let r = [r0, r1, 9, 1 << 63];
            let numerator = (U512::from(U256::from_limbs(r)) << 64) | U512::from(low);
            let expected: U512 = numerator % U512::from(U256::from_limbs(d));
            assert_eq!(next_remainder(r, low, &d, v), expected.as_limbs()[..4], "{r:?} {low}");
        }
    }
}
