//! Division of 256-bit and 512-bit numerators, digit by digit with a precomputed reciprocal.
//!
//! Out: quotient and remainder as limbs, least significant first. Sources: Möller and Granlund, "Improved division by
//! invariant integers" (2011), algorithms 3 to 6; Knuth, TAOCP 2, 4.3.1, algorithm D, for divisors of three and four limbs.
//! Twin: `ruint`'s division, compared in the tests. Not here: division by zero (the instructions' matter).

type Limbs = [u64; 4];

/// Low and high half of a product.
#[inline(always)]
fn wide(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (product as u64, (product >> 64) as u64)
}

#[inline(always)]
fn join(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// First approximation of a reciprocal from the divisor's top nine bits.
static SEEDS: [u16; 256] = {
    let mut seeds = [0; 256];
    let mut index = 0;
    while index < 256 {
        seeds[index] = (((1 << 19) - 3 * (1 << 8)) / (256 + index)) as u16;
        index += 1;
    }
    seeds
};

/// `(2^128 - 1) / d - 2^64` for a divisor whose top bit is set (algorithm 3).
#[inline(always)]
fn reciprocal(d: u64) -> u64 {
    let v0 = u64::from(SEEDS[((d >> 55) & 0xff) as usize]);
    let d40 = (d >> 24) + 1;
    let v1 = (v0 << 11).wrapping_sub((v0 * v0).wrapping_mul(d40) >> 40).wrapping_sub(1);
    let v2 = (v1 << 13).wrapping_add(v1.wrapping_mul((1u64 << 60).wrapping_sub(v1.wrapping_mul(d40))) >> 47);
    let d0 = d & 1;
    let d63 = (d >> 1) + d0;
    let e = ((v2 >> 1) & 0u64.wrapping_sub(d0)).wrapping_sub(v2.wrapping_mul(d63));
    let v3 = (wide(v2, e).1 >> 1).wrapping_add(v2 << 31);
    let (low, high) = wide(v3, d);
    let carry = u64::from(low.checked_add(d).is_none());
    v3.wrapping_sub(high.wrapping_add(carry)).wrapping_sub(d)
}

/// `u1:u0 / d` for `u1 < d`, with the reciprocal of `d` (algorithm 4): digit and remainder.
#[inline(always)]
fn two_by_one(u1: u64, u0: u64, d: u64, v: u64) -> (u64, u64) {
    let q = (u128::from(v) * u128::from(u1)).wrapping_add(join(u0, u1));
    let (q0, q1) = (q as u64, ((q >> 64) as u64).wrapping_add(1));
    let r = u0.wrapping_sub(q1.wrapping_mul(d));
    let (q1, r) = if r > q0 { (q1.wrapping_sub(1), r.wrapping_add(d)) } else { (q1, r) };
    if r >= d { (q1.wrapping_add(1), r - d) } else { (q1, r) }
}

/// The reciprocal of a divisor of two limbs whose top bit is set (algorithm 6).
#[inline(always)]
fn reciprocal_of_two(d1: u64, d0: u64) -> u64 {
    let mut v = reciprocal(d1);
    let (mut p, carried) = d1.wrapping_mul(v).overflowing_add(d0);
    if carried {
        v = v.wrapping_sub(1);
        if p >= d1 {
            v = v.wrapping_sub(1);
            p -= d1;
        }
        p = p.wrapping_sub(d1);
    }
    let (t0, t1) = wide(v, d0);
    let (p, carried) = p.overflowing_add(t1);
    if carried {
        v = v.wrapping_sub(1);
        if join(t0, p) >= join(d0, d1) {
            v = v.wrapping_sub(1);
        }
    }
    v
}

/// `u2:u1:u0 / d1:d0` for `u2:u1 < d1:d0` (algorithm 5): digit and remainder.
#[inline(always)]
fn three_by_two(u2: u64, u1: u64, u0: u64, d: u128, v: u64) -> (u64, u128) {
    let (d0, d1) = (d as u64, (d >> 64) as u64);
    let q = (u128::from(v) * u128::from(u2)).wrapping_add(join(u1, u2));
    let (q0, q1) = (q as u64, (q >> 64) as u64);
    let r1 = u1.wrapping_sub(q1.wrapping_mul(d1));
    let r = join(u0, r1).wrapping_sub(u128::from(d0) * u128::from(q1)).wrapping_sub(d);
    let q1 = q1.wrapping_add(1);
    let (q1, r) = if (r >> 64) as u64 >= q0 { (q1.wrapping_sub(1), r.wrapping_add(d)) } else { (q1, r) };
    if r >= d { (q1.wrapping_add(1), r - d) } else { (q1, r) }
}

/// Number of limbs in use.
#[inline(always)]
fn limbs_of<const N: usize>(u: &[u64; N]) -> usize {
    let mut count = N;
    while count > 0 && u[count - 1] == 0 {
        count -= 1;
    }
    count
}

/// One digit of algorithm D: subtracts `digit * d` from `u[at..=at + D]` and returns the right digit.
#[inline(always)]
fn knuth_digit<const D: usize, const M: usize>(u: &mut [u64; M], at: usize, d: &[u64; D], top: u128, v: u64) -> u64 {
    let (u2, u1, u0) = (u[at + D], u[at + D - 1], u[at + D - 2]);
    let mut digit = if join(u1, u2) >= top { u64::MAX } else { three_by_two(u2, u1, u0, top, v).0 };
    let mut borrow = 0u64;
    for index in 0..D {
        let (low, high) = wide(digit, d[index]);
        let (low, carried) = low.overflowing_add(borrow);
        let (rest, borrowed) = u[at + index].overflowing_sub(low);
        u[at + index] = rest;
        borrow = high + u64::from(carried) + u64::from(borrowed);
    }
    let (rest, too_large) = u[at + D].overflowing_sub(borrow);
    u[at + D] = rest;
    if too_large {
        digit = digit.wrapping_sub(1);
        let mut carry = false;
        for index in 0..D {
            (u[at + index], carry) = u[at + index].carrying_add(d[index], carry);
        }
        u[at + D] = u[at + D].wrapping_add(u64::from(carry));
    }
    digit
}

/// Algorithm D for a divisor of `D` limbs, three or four. `count` limbs of the numerator are in use.
#[inline(always)]
fn knuth<const D: usize, const N: usize, const M: usize>(
    numerator: &[u64; N],
    count: usize,
    divisor: &Limbs,
) -> ([u64; N], Limbs) {
    let shift = divisor[D - 1].leading_zeros();
    let mut d = [0; D];
    for index in (0..D).rev() {
        let low = if index == 0 { 0 } else { divisor[index - 1] };
        d[index] = divisor[index] << shift | (low >> 1) >> (63 - shift);
    }
    let mut u = [0; M];
    u[0] = numerator[0] << shift;
    for index in 1..N {
        u[index] = numerator[index] << shift | (numerator[index - 1] >> 1) >> (63 - shift);
    }
    u[N] = (numerator[N - 1] >> 1) >> (63 - shift);
    let top = join(d[D - 2], d[D - 1]);
    let v = reciprocal_of_two(d[D - 1], d[D - 2]);
    let mut quotient = [0; N];
    let mut at = count + 1 - D;
    while at > 0 {
        at -= 1;
        quotient[at] = knuth_digit::<D, M>(&mut u, at, &d, top, v);
    }
    // The remainder is less than the divisor: limb D is zero again.
    let mut remainder = [0; 4];
    for index in 0..D {
        remainder[index] = u[index] >> shift | (u[index + 1] << 1) << (63 - shift);
    }
    (quotient, remainder)
}

/// Quotient and remainder; the divisor is not zero. `M` is `N + 1`.
#[inline(always)]
fn divide<const N: usize, const M: usize>(numerator: &[u64; N], divisor: &Limbs) -> ([u64; N], Limbs) {
    let mut quotient = [0; N];
    let (count, size) = (limbs_of(numerator), limbs_of(divisor));
    if count < size {
        return (quotient, core::array::from_fn(|index| numerator[index]));
    }
    match size {
        4 => knuth::<4, N, M>(numerator, count, divisor),
        3 => knuth::<3, N, M>(numerator, count, divisor),
        2 => {
            let shift = divisor[1].leading_zeros();
            let d = join(divisor[0], divisor[1]) << shift;
            let v = reciprocal_of_two((d >> 64) as u64, d as u64);
            let limb = |index: usize| {
                let low = if index == 0 { 0 } else { numerator[index - 1] };
                numerator[index] << shift | (low >> 1) >> (63 - shift)
            };
            let mut r = join(limb(count - 1), (numerator[count - 1] >> 1) >> (63 - shift));
            let mut at = count - 1;
            while at > 0 {
                at -= 1;
                (quotient[at], r) = three_by_two((r >> 64) as u64, r as u64, limb(at), d, v);
            }
            let r = r >> shift;
            (quotient, [r as u64, (r >> 64) as u64, 0, 0])
        }
        _ => {
            let shift = divisor[0].leading_zeros();
            let d = divisor[0] << shift;
            let v = reciprocal(d);
            let mut r = (numerator[count - 1] >> 1) >> (63 - shift);
            let mut at = count;
            while at > 0 {
                at -= 1;
                let low = if at == 0 { 0 } else { numerator[at - 1] };
                (quotient[at], r) = two_by_one(r, numerator[at] << shift | (low >> 1) >> (63 - shift), d, v);
            }
            (quotient, [r >> shift, 0, 0, 0])
        }
    }
}

/// Quotient and remainder of 256-bit words; the divisor is not zero.
#[inline]
pub fn divide_256(numerator: &Limbs, divisor: &Limbs) -> (Limbs, Limbs) {
    divide::<4, 5>(numerator, divisor)
}

/// Remainder of a 512-bit numerator; the divisor is not zero.
#[inline]
pub fn remainder_512(numerator: &[u64; 8], divisor: &Limbs) -> Limbs {
    divide::<8, 9>(numerator, divisor).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{U256, U512};

    fn words() -> Vec<U256> {
        let mut words = vec![U256::ONE, U256::from(3), U256::MAX, U256::from(u64::MAX), U256::from(u128::MAX)];
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        };
        for round in 0..400 {
            let word = U256::from_limbs([next(), next(), next(), next()]);
            words.push(word >> (next() % 256));
            // Limbs of all ones and of nothing: where digit estimates are off by one or two.
            let extreme = |bits: u64| if bits & 1 == 0 { 0 } else { u64::MAX };
            let bits = round as u64;
            words.push(U256::from_limbs([extreme(bits), extreme(bits >> 1), extreme(bits >> 2), next() | 1 << 63]));
            words.push(U256::from_limbs([next(), extreme(bits), extreme(bits >> 1), extreme(bits >> 2)]) | U256::ONE);
        }
        words
    }

    #[test]
    fn quotients_and_remainders_are_those_of_ruint() {
        let words = words();
        for (index, a) in words.iter().enumerate() {
            for b in words.iter().skip(index % 7).step_by(7).filter(|b| !b.is_zero()) {
                let (quotient, remainder) = divide_256(a.as_limbs(), b.as_limbs());
                assert_eq!((U256::from_limbs(quotient), U256::from_limbs(remainder)), a.div_rem(*b), "{a} / {b}");
            }
        }
    }

    #[test]
    fn wide_remainders_are_those_of_ruint() {
        let words = words();
        for (index, a) in words.iter().enumerate().step_by(3) {
            for b in words.iter().skip(index % 11).step_by(11) {
                for m in words.iter().skip(index % 53).step_by(53).filter(|m| !m.is_zero()) {
                    let product: U512 = a.widening_mul(*b);
                    let remainder = remainder_512(product.as_limbs(), m.as_limbs());
                    assert_eq!(U256::from_limbs(remainder), a.mul_mod(*b, *m), "{a} * {b} % {m}");
                }
            }
        }
    }
}
