//! Word kernels on limbs in registers; twins of `ops::{arithmetic, bitwise}`, tested against them.

use super::machine::Limbs;

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

/// The difference, and whether it was negative.
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
    // Row by row; the last limb's products need no high half.
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
    // Bits above the sign within its limb, and whole limbs above that.
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

/// `high:low / d` for `high < d`: quotient and remainder.
#[inline(always)]
fn div_two_by_one(high: u64, low: u64, d: u64) -> (u64, u64) {
    debug_assert!(high < d);
    #[cfg(target_arch = "x86_64")]
    {
        let (quotient, remainder);
        // SAFETY: the quotient fits one limb because `high < d`, so the instruction does not trap.
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

/// Quotient and remainder of a word by one limb that is not zero.
#[inline(always)]
pub(super) fn div_by_limb(a: Limbs, d: u64) -> (Limbs, u64) {
    let (q3, r) = if a[3] == 0 { (0, 0) } else { (a[3] / d, a[3] % d) };
    let (q2, r) = if a[2] | r == 0 { (0, 0) } else { div_two_by_one(r, a[2], d) };
    let (q1, r) = if a[1] | r == 0 { (0, 0) } else { div_two_by_one(r, a[1], d) };
    let (q0, r) = div_two_by_one(r, a[0], d);
    ([q0, q1, q2, q3], r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::interpreter::ops::{arithmetic, bitwise};
    use alloy_primitives::U256;

    /// Words of all sizes, with limbs of all ones and none.
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
    fn kernels_agree_with_the_bodies() {
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
    fn a_limb_divides_as_a_word_does() {
        for a in words() {
            for d in [1, 2, 3, 10, 1 << 32, 1_000_000_000_000_000_000, u64::MAX, u64::MAX - 1, 1 << 63] {
                let (quotient, remainder) = div_by_limb(a.into_limbs(), d);
                let d = U256::from(d);
                assert_eq!((U256::from_limbs(quotient), U256::from(remainder)), (a / d, a % d), "{a} / {d}");
            }
        }
    }
}
