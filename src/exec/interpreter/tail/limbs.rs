//! Arithmetic and bitwise operations on words as four limbs in registers, least significant first.
//!
//! In and out: words. Reference implementation: `ops::{arithmetic, bitwise}`; the tests compare with it.
//! Relies on: the processor's 128-by-64-bit division, where there is one. Not here: gas and stack (`handlers`).

use super::machine::Limbs;
use crate::exec::evm::modular::{div_three_by_two, join, reciprocal_of_two, shifted, split};

#[inline(always)]
pub(super) fn small(value: u64) -> Limbs {
    [value, 0, 0, 0]
}

#[inline(always)]
pub(super) fn is_zero(a: Limbs) -> bool {
    a[0] | a[1] | a[2] | a[3] == 0
}

/// Whether the word is less than 2^64.
#[inline(always)]
pub(super) fn is_small(a: Limbs) -> bool {
    a[1] | a[2] | a[3] == 0
}

#[inline(always)]
pub(super) fn add(a: Limbs, b: Limbs) -> Limbs {
    let (l0, c) = a[0].carrying_add(b[0], false);
    let (l1, c) = a[1].carrying_add(b[1], c);
    let (l2, c) = a[2].carrying_add(b[2], c);
    let (l3, _) = a[3].carrying_add(b[3], c);
    [l0, l1, l2, l3]
}

/// The difference modulo 2^256, and the borrow.
#[inline(always)]
pub(super) fn sub_borrow(a: Limbs, b: Limbs) -> (Limbs, bool) {
    let (l0, c) = a[0].borrowing_sub(b[0], false);
    let (l1, c) = a[1].borrowing_sub(b[1], c);
    let (l2, c) = a[2].borrowing_sub(b[2], c);
    let (l3, c) = a[3].borrowing_sub(b[3], c);
    ([l0, l1, l2, l3], c)
}

#[inline(always)]
pub(super) fn sub(a: Limbs, b: Limbs) -> Limbs {
    sub_borrow(a, b).0
}

#[inline(always)]
pub(super) fn mul(a: Limbs, b: Limbs) -> Limbs {
    // Schoolbook, row by row; the products of the last limb need no upper half.
    let (l0, c) = a[0].carrying_mul(b[0], 0);
    let (l1, c) = a[0].carrying_mul(b[1], c);
    let (l2, c) = a[0].carrying_mul(b[2], c);
    let l3 = a[0].wrapping_mul(b[3]).wrapping_add(c);

    let (l1, c) = a[1].carrying_mul_add(b[0], l1, 0);
    let (l2, c) = a[1].carrying_mul_add(b[1], l2, c);
    let l3 = a[1].wrapping_mul(b[2]).wrapping_add(l3).wrapping_add(c);

    let (l2, c) = a[2].carrying_mul_add(b[0], l2, 0);
    let l3 = a[2].wrapping_mul(b[1]).wrapping_add(l3).wrapping_add(c);

    let l3 = a[3].wrapping_mul(b[0]).wrapping_add(l3);
    [l0, l1, l2, l3]
}

#[inline(always)]
pub(super) fn lt(a: Limbs, b: Limbs) -> bool {
    sub_borrow(a, b).1
}

#[inline(always)]
fn flip_sign(a: Limbs) -> Limbs {
    [a[0], a[1], a[2], a[3] ^ 1 << 63]
}

#[inline(always)]
pub(super) fn slt(a: Limbs, b: Limbs) -> bool {
    lt(flip_sign(a), flip_sign(b))
}

#[inline(always)]
pub(super) fn eq(a: Limbs, b: Limbs) -> bool {
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
}

#[inline(always)]
pub(super) fn byte(index: Limbs, value: Limbs) -> Limbs {
    if !is_small(index) || index[0] > 31 {
        return [0; 4];
    }
    let limb = match index[0] / 8 {
        0 => value[3],
        1 => value[2],
        2 => value[1],
        _ => value[0],
    };
    small(limb >> (56 - 8 * (index[0] % 8)) & 0xff)
}

#[inline(always)]
pub(super) fn shl(shift: Limbs, v: Limbs) -> Limbs {
    if !is_small(shift) || shift[0] > 255 {
        return [0; 4];
    }
    let k = shift[0] % 64;
    let up = |low: u64| (low >> 1) >> (63 - k);
    match shift[0] / 64 {
        0 => [v[0] << k, v[1] << k | up(v[0]), v[2] << k | up(v[1]), v[3] << k | up(v[2])],
        1 => [0, v[0] << k, v[1] << k | up(v[0]), v[2] << k | up(v[1])],
        2 => [0, 0, v[0] << k, v[1] << k | up(v[0])],
        _ => [0, 0, 0, v[0] << k],
    }
}

#[inline(always)]
pub(super) fn shr(shift: Limbs, v: Limbs) -> Limbs {
    if !is_small(shift) || shift[0] > 255 {
        return [0; 4];
    }
    let k = shift[0] % 64;
    let down = |high: u64| (high << 1) << (63 - k);
    match shift[0] / 64 {
        0 => [v[0] >> k | down(v[1]), v[1] >> k | down(v[2]), v[2] >> k | down(v[3]), v[3] >> k],
        1 => [v[1] >> k | down(v[2]), v[2] >> k | down(v[3]), v[3] >> k, 0],
        2 => [v[2] >> k | down(v[3]), v[3] >> k, 0, 0],
        _ => [v[3] >> k, 0, 0, 0],
    }
}

#[inline(always)]
pub(super) fn sar(shift: Limbs, v: Limbs) -> Limbs {
    let sign = (v[3] as i64 >> 63) as u64;
    if !is_small(shift) || shift[0] > 255 {
        return [sign; 4];
    }
    let k = shift[0] % 64;
    let down = |high: u64| (high << 1) << (63 - k);
    let top = (v[3] as i64 >> k) as u64;
    match shift[0] / 64 {
        0 => [v[0] >> k | down(v[1]), v[1] >> k | down(v[2]), v[2] >> k | down(v[3]), top],
        1 => [v[1] >> k | down(v[2]), v[2] >> k | down(v[3]), top, sign],
        2 => [v[2] >> k | down(v[3]), top, sign, sign],
        _ => [top, sign, sign, sign],
    }
}

#[inline(always)]
pub(super) fn signextend(index: Limbs, v: Limbs) -> Limbs {
    if !is_small(index) || index[0] > 30 {
        return v;
    }
    // Fills the bits above the sign bit within its limb, and all limbs above it.
    let unused = 56 - 8 * (index[0] % 8);
    let extend = |limb: u64| ((limb << unused) as i64 >> unused) as u64;
    let fill = |limb: u64| (limb as i64 >> 63) as u64;
    match index[0] / 8 {
        0 => {
            let top = extend(v[0]);
            [top, fill(top), fill(top), fill(top)]
        }
        1 => {
            let top = extend(v[1]);
            [v[0], top, fill(top), fill(top)]
        }
        2 => {
            let top = extend(v[2]);
            [v[0], v[1], top, fill(top)]
        }
        _ => [v[0], v[1], v[2], extend(v[3])],
    }
}

#[inline(always)]
pub(super) fn clz(v: Limbs) -> Limbs {
    let zeros = if v[3] != 0 {
        v[3].leading_zeros()
    } else if v[2] != 0 {
        64 + v[2].leading_zeros()
    } else if v[1] != 0 {
        128 + v[1].leading_zeros()
    } else {
        192 + v[0].leading_zeros()
    };
    small(u64::from(zeros))
}

/// `high:low / d`: quotient and remainder.
///
/// # Safety
/// - `high < d`: otherwise the quotient does not fit one limb and the processor's instruction traps.
#[inline(always)]
unsafe fn div_two_by_one(high: u64, low: u64, d: u64) -> (u64, u64) {
    debug_assert!(high < d);
    #[cfg(target_arch = "x86_64")]
    {
        let (quotient, remainder);
        // SAFETY: the caller guarantees `high < d`, so the quotient fits one limb. The instruction accesses no memory.
        unsafe {
            core::arch::asm!(
                "div {d}",
                d = in(reg) d,
                inlateout("rax") low => quotient,
                inlateout("rdx") high => remainder,
                options(pure, nomem, nostack)
            );
        }
        (quotient, remainder)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let value = u128::from(high) << 64 | u128::from(low);
        ((value / u128::from(d)) as u64, (value % u128::from(d)) as u64)
    }
}

/// Quotient and remainder of a word divided by one limb.
///
/// # Safety
/// - `d` is not zero.
#[inline(always)]
unsafe fn div_by_limb(a: Limbs, d: u64) -> (Limbs, u64) {
    let (q3, r) = if a[3] == 0 { (0, 0) } else { (a[3] / d, a[3] % d) };
    // SAFETY: `d` is not zero, as the caller guarantees; each `r` is zero or a remainder of a division by `d`.
    unsafe {
        let (q2, r) = if a[2] | r == 0 { (0, 0) } else { div_two_by_one(r, a[2], d) };
        let (q1, r) = if a[1] | r == 0 { (0, 0) } else { div_two_by_one(r, a[1], d) };
        let (q0, r) = div_two_by_one(r, a[0], d);
        ([q0, q1, q2, q3], r)
    }
}

/// The reciprocal of a normalised divisor of two limbs, `d1` the upper one.
///
/// # Safety
/// - The top bit of `d1` is set.
#[inline(always)]
unsafe fn reciprocal(d1: u64, d0: u64) -> u64 {
    // SAFETY: the top bit of `d1` is set, so it is clear in `!d1`.
    let upper = unsafe { div_two_by_one(!d1, u64::MAX, d1) }.0;
    reciprocal_of_two(upper, d1, d0)
}

/// The numerator shifted left by `shift`, which normalises the divisor: five limbs.
#[inline(always)]
fn normalised(a: Limbs, shift: u32) -> [u64; 5] {
    [
        a[0] << shift,
        shifted(a[1], a[0], shift),
        shifted(a[2], a[1], shift),
        shifted(a[3], a[2], shift),
        shifted(0, a[3], shift),
    ]
}

/// `u2:u1:u0 / d`: quotient digit and remainder (Knuth, The Art of Computer Programming, volume 2, 4.3.1). The
/// processor's division gives the estimate, which is at most two too large.
///
/// # Safety
/// - `u2:u1 < d`.
/// - The top bit of `d` is set.
#[inline(always)]
unsafe fn digit_of_two(u2: u64, u1: u64, u0: u64, d: u128) -> (u64, u128) {
    let (d1, d0) = split(d);
    if u2 == d1 {
        // The digit is 2^64 - 1 or one less: `r` is u - (2^64 - 1) * d, which is negative if nothing carries.
        let (r, carried) = join(u1.wrapping_sub(d0), u0).overflowing_add(d);
        return if carried { (u64::MAX, r) } else { (u64::MAX - 1, r.wrapping_add(d)) };
    }
    // SAFETY: `u2:u1 < d` gives `u2 <= d1`, and they are not equal here.
    let (mut digit, upper) = unsafe { div_two_by_one(u2, u1, d1) };
    let (mut r, mut below) = join(upper, u0).overflowing_sub(u128::from(digit) * u128::from(d0));
    while below {
        digit -= 1;
        let (sum, carried) = r.overflowing_add(d);
        (r, below) = (sum, !carried);
    }
    (digit, r)
}

/// Quotient and remainder of a word divided by two limbs.
///
/// # Safety
/// - `b[1]` is not zero; `b[2]` and `b[3]` are.
unsafe fn div_by_two(a: Limbs, b: Limbs) -> (Limbs, Limbs) {
    let shift = b[1].leading_zeros();
    let d = join(b[1], b[0]) << shift;
    let u = normalised(a, shift);
    // If upper limbs are zero, the digits that they give are zero, too.
    // SAFETY: the shift sets the top bit of `d`. `u[4]` is below 2^shift and so below `d`'s upper limb; where `a[3]` is
    // zero, so are `u[4]` and the bits of `u[3]` above the shift. Later digits begin with a remainder of a
    // division by `d`.
    let (q2, q1, q0, r) = unsafe {
        let (q2, r) = if a[3] == 0 { (0, join(u[3], u[2])) } else { digit_of_two(u[4], u[3], u[2], d) };
        let (r1, r0) = split(r);
        let (q1, r) = digit_of_two(r1, r0, u[1], d);
        let (r1, r0) = split(r);
        let (q0, r) = digit_of_two(r1, r0, u[0], d);
        (q2, q1, q0, r)
    };
    let (r1, r0) = split(r >> shift);
    ([q0, q1, q2, 0], [r0, r1, 0, 0])
}

/// One quotient digit of a division by three limbs, and the remainder: `x < d << 64`, most significant limb
/// first; `v` is the reciprocal of the two upper limbs of `d`.
#[inline(always)]
fn digit_of_three(x: [u64; 4], d: [u64; 3], v: u64) -> (u64, [u64; 3]) {
    let top = join(d[0], d[1]);
    if join(x[0], x[1]) == top {
        // The digit is the largest one, 2^64 - 1: the remainder is x - (2^64 - 1) * d.
        let (r0, carry) = x[3].carrying_add(d[2], false);
        let (r1, carry) = x[2].wrapping_sub(d[2]).carrying_add(d[1], carry);
        // `x[2] < d[2]`, so the subtraction borrowed one from the limb above.
        let r2 = d[0].wrapping_add(u64::from(carry)).wrapping_sub(1);
        return (u64::MAX, [r2, r1, r0]);
    }
    let (digit, r) = div_three_by_two(x[0], x[1], x[2], top, v);
    let (p1, p0) = split(u128::from(digit) * u128::from(d[2]));
    let (r0, borrow) = x[3].overflowing_sub(p0);
    let (r, below) = r.overflowing_sub(u128::from(p1) + u128::from(borrow));
    let (r2, r1) = split(r);
    if !below {
        return (digit, [r2, r1, r0]);
    }
    let (r0, carry) = r0.carrying_add(d[2], false);
    let (r1, carry) = r1.carrying_add(d[1], carry);
    let (r2, _) = r2.carrying_add(d[0], carry);
    (digit - 1, [r2, r1, r0])
}

/// Quotient and remainder of a word divided by three limbs.
///
/// # Safety
/// - `b[2]` is not zero; `b[3]` is.
unsafe fn div_by_three(a: Limbs, b: Limbs) -> (Limbs, Limbs) {
    let shift = b[2].leading_zeros();
    let d = [shifted(b[2], b[1], shift), shifted(b[1], b[0], shift), b[0] << shift];
    // SAFETY: the shift sets the top bit of `d[0]`.
    let v = unsafe { reciprocal(d[0], d[1]) };
    let u = normalised(a, shift);
    let (q1, r) = if a[3] == 0 { (0, [u[3], u[2], u[1]]) } else { digit_of_three([u[4], u[3], u[2], u[1]], d, v) };
    let (q0, r) = digit_of_three([r[0], r[1], r[2], u[0]], d, v);
    let down = |high: u64, low: u64| low >> shift | (high << 1) << (63 - shift);
    ([q0, q1, 0, 0], [down(r[1], r[2]), down(r[0], r[1]), r[0] >> shift, 0])
}

/// Quotient and remainder of a word divided by four limbs. The quotient is one digit, whose estimate from the
/// top limbs is at most two too large (Knuth, 4.3.1).
///
/// # Safety
/// - `b[3]` is not zero.
unsafe fn div_by_four(a: Limbs, b: Limbs) -> (Limbs, Limbs) {
    let shift = b[3].leading_zeros();
    let top = shifted(b[3], b[2], shift);
    // SAFETY: `shift < 64`, so the shifted-out bits are below 2^63, and the shift sets the top bit of `top`.
    let (mut digit, _) = unsafe { div_two_by_one(shifted(0, a[3], shift), shifted(a[3], a[2], shift), top) };
    let (p0, carry) = digit.carrying_mul(b[0], 0);
    let (p1, carry) = digit.carrying_mul(b[1], carry);
    let (p2, carry) = digit.carrying_mul(b[2], carry);
    let (p3, carry) = digit.carrying_mul(b[3], carry);
    let (mut r, below) = sub_borrow(a, [p0, p1, p2, p3]);
    // The part of the product above the word, plus the borrow. It becomes zero when the digit is right.
    let mut above = carry + u64::from(below);
    while above != 0 {
        digit -= 1;
        let sum = add(r, b);
        above -= u64::from(lt(sum, b));
        r = sum;
    }
    ([digit, 0, 0, 0], r)
}

/// Quotient and remainder of two words; both 0 for a zero divisor.
#[inline(always)]
pub(super) fn div_rem(a: Limbs, b: Limbs) -> (Limbs, Limbs) {
    // SAFETY: each call is made only if the divisor's highest limb that is not zero is the one that the callee
    // requires.
    unsafe {
        if b[3] != 0 {
            if lt(a, b) { ([0; 4], a) } else { div_by_four(a, b) }
        } else if b[2] != 0 {
            if lt(a, b) { ([0; 4], a) } else { div_by_three(a, b) }
        } else if b[1] != 0 {
            if lt(a, b) { ([0; 4], a) } else { div_by_two(a, b) }
        } else if b[0] != 0 {
            let (quotient, remainder) = div_by_limb(a, b[0]);
            (quotient, small(remainder))
        } else {
            ([0; 4], [0; 4])
        }
    }
}

/// ADDMOD; 0 for a zero modulus.
#[inline(always)]
pub(super) fn addmod(a: Limbs, b: Limbs, modulus: Limbs) -> Limbs {
    if is_zero(modulus) {
        return [0; 4];
    }
    let (a, b) = (reduced(a, modulus), reduced(b, modulus));
    let sum = add(a, b);
    let (less, borrow) = sub_borrow(sum, modulus);
    // The sum carried beyond 2^256, or it is not below the modulus.
    if lt(sum, a) || !borrow { less } else { sum }
}

/// ADDMOD if both words are below the modulus, otherwise `None`.
#[inline(always)]
pub(super) fn addmod_of_reduced(a: Limbs, b: Limbs, modulus: Limbs) -> Option<Limbs> {
    if !(lt(a, modulus) & lt(b, modulus)) {
        return None;
    }
    let sum = add(a, b);
    let (less, borrow) = sub_borrow(sum, modulus);
    Some(if lt(sum, a) || !borrow { less } else { sum })
}

/// A word modulo another one, which is not zero; often one subtraction suffices.
#[inline(always)]
fn reduced(a: Limbs, modulus: Limbs) -> Limbs {
    let (less, below) = sub_borrow(a, modulus);
    if below {
        a
    } else if lt(less, modulus) {
        less
    } else {
        div_rem(a, modulus).1
    }
}

#[inline(always)]
pub(super) fn is_negative(a: Limbs) -> bool {
    a[3] >> 63 == 1
}

#[inline(always)]
pub(super) fn negate_if(negative: bool, a: Limbs) -> Limbs {
    if negative { sub([0; 4], a) } else { a }
}

#[inline(always)]
pub(super) fn sdiv(a: Limbs, b: Limbs) -> Limbs {
    let (negative_a, negative_b) = (is_negative(a), is_negative(b));
    let (quotient, _) = div_rem(negate_if(negative_a, a), negate_if(negative_b, b));
    negate_if(negative_a != negative_b, quotient)
}

#[inline(always)]
pub(super) fn smod(a: Limbs, b: Limbs) -> Limbs {
    let (_, remainder) = div_rem(negate_if(is_negative(a), a), negate_if(is_negative(b), b));
    negate_if(is_negative(a), remainder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::interpreter::ops::{arithmetic, bitwise};
    use alloy_primitives::U256;

    /// Words of all sizes, some with limbs of all ones or all zeros.
    fn words() -> Vec<U256> {
        let mut words: Vec<_> = (0..256).map(|bit| U256::ONE << bit).collect();
        words.extend((0..256).map(|bit| U256::MAX >> bit));
        words.extend((0..256).map(|bit| U256::MAX << bit));
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        words.extend((0..300).map(|_| U256::from_limbs([next(), next(), next(), next()]) >> (next() % 256)));
        words.extend((0..40).map(U256::from));
        words
    }

    #[test]
    fn operations_agree_with_the_reference() {
        type Pair = (&'static str, fn(Limbs, Limbs) -> Limbs, fn(U256, U256) -> U256);
        let pairs: [Pair; 9] = [
            ("add", add, arithmetic::add),
            ("sub", sub, arithmetic::sub),
            ("mul", mul, arithmetic::mul),
            ("signextend", signextend, arithmetic::signextend),
            ("byte", byte, bitwise::byte),
            ("shl", shl, bitwise::shl),
            ("shr", shr, bitwise::shr),
            ("sar", sar, bitwise::sar),
            ("lt", |a, b| small(u64::from(lt(a, b))), bitwise::lt),
        ];
        let words = words();
        for a in &words {
            assert_eq!(clz(*a.as_limbs()), bitwise::clz(*a).into_limbs(), "clz {a}");
            for b in words.iter().rev().step_by(5).chain(&words[words.len() - 40..]) {
                for (name, kernel, body) in pairs {
                    let (left, right) = (a.into_limbs(), b.into_limbs());
                    assert_eq!(kernel(left, right), body(*a, *b).into_limbs(), "{name} {a:#x} {b:#x}");
                    assert_eq!(kernel(right, left), body(*b, *a).into_limbs(), "{name} {b:#x} {a:#x}");
                }
                assert_eq!(slt(a.into_limbs(), b.into_limbs()), bitwise::slt(*a, *b) == U256::ONE, "{a} {b}");
                assert_eq!(eq(a.into_limbs(), b.into_limbs()), a == b);
            }
        }
    }

    #[test]
    fn divisions_agree_with_the_reference() {
        let mut words = words();
        // Limbs that make digit estimates too large, or the remainder's upper limb equal to the divisor's.
        for bits in 0..256u32 {
            let limb = |index: u32| match bits >> (2 * index) & 3 {
                0 => 0,
                1 => 1,
                2 => 1 << 63,
                _ => u64::MAX,
            };
            words.push(U256::from_limbs([limb(0), limb(1), limb(2), limb(3)]));
        }
        for (index, a) in words.iter().enumerate() {
            for b in words.iter().skip(index % 3).step_by(3) {
                let (left, right) = (a.into_limbs(), b.into_limbs());
                let (quotient, remainder) = div_rem(left, right);
                assert_eq!(U256::from_limbs(quotient), arithmetic::div(*a, *b), "{a:#x} / {b:#x}");
                assert_eq!(U256::from_limbs(remainder), arithmetic::rem(*a, *b), "{a:#x} % {b:#x}");
                assert_eq!(U256::from_limbs(sdiv(left, right)), arithmetic::sdiv(*a, *b), "{a:#x} sdiv {b:#x}");
                assert_eq!(U256::from_limbs(smod(left, right)), arithmetic::smod(*a, *b), "{a:#x} smod {b:#x}");
                let c = words[(index * 5 + 1) % words.len()];
                let sum = addmod(left, right, c.into_limbs());
                assert_eq!(U256::from_limbs(sum), arithmetic::addmod(*a, *b, c), "{a:#x} + {b:#x} % {c:#x}");
            }
        }
    }

    #[test]
    fn division_by_a_limb_agrees_with_division_by_a_word() {
        for a in words() {
            for d in [1, 2, 3, 10, 1 << 32, 1_000_000_000_000_000_000, u64::MAX, u64::MAX - 1, 1 << 63] {
                // SAFETY: no divisor of the list is zero.
                let (quotient, remainder) = unsafe { div_by_limb(a.into_limbs(), d) };
                let d = U256::from(d);
                assert_eq!((U256::from_limbs(quotient), U256::from(remainder)), (a / d, a % d), "{a} / {d}");
            }
        }
    }
}
