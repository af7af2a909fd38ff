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
