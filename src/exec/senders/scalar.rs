//! Arithmetic modulo the group order n: the two scalars of a recovery, and their split by the curve's endomorphism.
//!
//! In: z, r, s as four 64-bit words, least significant first. Out: u1 = -z/r and u2 = s/r, each as two odd halves of at
//! most 129 bits and a sign, recoded to regular odd digits.
//! Spec: SEC 1 section 4.1.6; Gallant, Lambert, Vanstone 2001 (the split); Joye, Tunstall 2009 (regular digits).
//! Not here: parallel lanes. This part is a twentieth of the work of a recovery, and scalar multiplication is fast
//! enough for it. All functions are `inline(always)`, so that callers compiled with BMI2 and ADX use these
//! instructions.

use alloy_primitives::U256;

/// A number below 2^256 as four words, least significant first.
pub(super) type Words = [u64; 4];

/// Order n of the group.
pub(super) const ORDER: Words = [0xbfd2_5e8c_d036_4141, 0xbaae_dce6_af48_a03b, 0xffff_ffff_ffff_fffe, u64::MAX];
/// 2^256 - n, which is 2^256 mod n.
const ORDER_COMPLEMENT: Words = [0x402d_a173_2fc9_bebf, 0x4551_2319_50b7_5fc4, 1, 0];
/// 2^512 mod n.
const SQUARE_OF_2_256: Words =
    [0x896c_f214_67d7_d140, 0x7414_96c2_0e7c_f878, 0xe697_f5e4_5bcd_07c6, 0x9d67_1cd5_81c6_9bc5];
/// -1 / n mod 2^64.
const MINUS_ORDER_INVERSE: u64 = 0x4b0d_ff66_5588_b13f;

// Short basis of the lattice {(i, j): i + j * lambda = 0 mod n}: (a1, b1) and (a2, b2) with b1 < 0 and b2 = a1.
const A1: [u64; 3] = [0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd, 0];
const A2: [u64; 3] = [0x57c1_108d_9d44_cfd8, 0x14ca_50f7_a8e2_f3f6, 1];
const MINUS_B1: [u64; 3] = [0x6f54_7fa9_0abf_e4c3, 0xe443_7ed6_010e_8828, 0];
// 2^384 * b2 / n and 2^384 * -b1 / n, rounded.
const G1: Words = [0xe893_209a_45db_b031, 0x3daa_8a14_71e8_ca7f, 0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd];
const G2: Words = [0x1571_b4ae_8ac4_7f71, 0x2212_08ac_9df5_06c6, 0x6f54_7fa9_0abf_e4c4, 0xe443_7ed6_010e_8828];

/// `a + b * c + carry` as low word and new carry; cannot overflow 128 bits.
#[inline(always)]
const fn mac(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
    let t = a as u128 + b as u128 * c as u128 + carry as u128;
    (t as u64, (t >> 64) as u64)
}

/// Full product of two 256-bit numbers.
#[inline(always)]
fn mul_wide(a: &Words, b: &Words) -> [u64; 8] {
    let mut t = [0u64; 8];
    for i in 0..4 {
        let mut carry = 0;
        for j in 0..4 {
            (t[i + j], carry) = mac(t[i + j], a[i], b[j], carry);
        }
        t[i + 4] = carry;
    }
    t
}

/// `a * b / 2^256` modulo the order, below n; a is any 256-bit number, b is below n.
///
/// Montgomery multiplication, reduced word by word. [`invert_all`] returns inverses with a factor 2^256, which cancels
/// the division by 2^256 here.
#[inline(always)]
pub(super) fn mul_redc(a: &Words, b: &Words) -> Words {
    let mut t = [0u64; 4];
    let mut top = 0;
    for word in a {
        let mut carry = 0;
        for j in 0..4 {
            (t[j], carry) = mac(t[j], *word, b[j], carry);
        }
        let (t4, over) = u64::overflowing_add(top, carry);
        let m = t[0].wrapping_mul(MINUS_ORDER_INVERSE);
        let (_, mut carry) = mac(t[0], m, ORDER[0], 0);
        for j in 1..4 {
            (t[j - 1], carry) = mac(t[j], m, ORDER[j], carry);
        }
        let (t3, over2) = t4.overflowing_add(carry);
        t[3] = t3;
        top = u64::from(over) + u64::from(over2);
    }
    // Below 2n: one subtraction, which is an addition of 2^256 - n.
    let mut reduced = t;
    let carry = add_complement(&mut reduced);
    if top | carry != 0 { reduced } else { t }
}

/// `a += 2^256 - n`; returns the carry out of 2^256.
#[inline(always)]
fn add_complement(a: &mut Words) -> u64 {
    let mut carry = 0;
    for (word, complement) in a.iter_mut().zip(ORDER_COMPLEMENT) {
        (*word, carry) = mac(*word, complement, 1, carry);
    }
    carry
}

/// n - a for a below n, and 0 for 0.
#[inline(always)]
pub(super) fn negate(a: &Words) -> Words {
    if *a == [0; 4] {
        return *a;
    }
    let mut out = [0u64; 4];
    let mut borrow = false;
    for i in 0..4 {
        let (d, b1) = ORDER[i].overflowing_sub(a[i]);
        let (d, b2) = d.overflowing_sub(u64::from(borrow));
        out[i] = d;
        borrow = b1 || b2;
    }
    out
}

/// Replaces every item x by 2^256 / x mod n, so that `mul_redc(a, item)` is a / x, with a single inversion
/// (Montgomery's trick). `scratch` must be at least as long as `items`.
///
/// Items must be in 1..=n-1; callers replace invalid ones by 1.
#[inline(always)]
pub(super) fn invert_all(items: &mut [Words], scratch: &mut [Words]) {
    // 2^256 mod n.
    let mut product = ORDER_COMPLEMENT;
    for (item, before) in items.iter().zip(scratch.iter_mut()) {
        *before = product;
        product = mul_redc(&product, item);
    }
    // For k items, `product` is now their product divided by 2^(256 (k - 1)). Its inverse times 2^256 is 2^(256 k)
    // divided by their product. Each step of the loop below takes 2^256 / x of the last item from that, and leaves the
    // same form for the items before it.
    let inverse = U256::from_limbs(product).inv_mod(U256::from_limbs(ORDER));
    let mut inverse = mul_redc(&inverse.unwrap_or_default().into_limbs(), &SQUARE_OF_2_256);
    for (item, before) in items.iter_mut().zip(scratch.iter()).rev() {
        let own = mul_redc(&inverse, before);
        inverse = mul_redc(&inverse, item);
        *item = own;
    }
}

/// Product modulo 2^192.
#[inline(always)]
fn mul_low(a: &[u64; 3], b: &[u64; 3]) -> [u64; 3] {
    let (t0, c) = mac(0, a[0], b[0], 0);
    let (t1, c) = mac(0, a[0], b[1], c);
    let t2 = a[0].wrapping_mul(b[2]).wrapping_add(c);
    let (t1, c) = mac(t1, a[1], b[0], 0);
    let t2 = t2.wrapping_add(a[1].wrapping_mul(b[1])).wrapping_add(c).wrapping_add(a[2].wrapping_mul(b[0]));
    [t0, t1, t2]
}

#[inline(always)]
fn add_low(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    let (t0, c0) = a[0].overflowing_add(b[0]);
    let (t1, c1) = a[1].overflowing_add(b[1]);
    let (t1, c2) = t1.overflowing_add(u64::from(c0));
    [t0, t1, a[2].wrapping_add(b[2]).wrapping_add(u64::from(c1)).wrapping_add(u64::from(c2))]
}

#[inline(always)]
fn sub_low(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    add_low(add_low(a, [!b[0], !b[1], !b[2]]), [1, 0, 0])
}

/// The integer near k * g / 2^384 with the given parity. It differs from the exact quotient by at most 1, plus a
/// rounding error below 2^-100 from `g`.
#[inline(always)]
fn quotient(k: &Words, g: &Words, odd: bool) -> [u64; 3] {
    let t = mul_wide(k, g);
    let low = t[6];
    add_low([low, t[7], 0], [u64::from((low & 1 == 1) != odd), 0, 0])
}

/// Splits k (below n) into odd k1, k2 with k = k1 + k2 * lambda mod n, as 192-bit two's complement.
///
/// Both halves are within +-2^129. Modulo 2 the basis is (1, 1), (0, 1), so the parities of the two quotients can be
/// chosen to make both halves odd. The quotients are then off by up to 1 instead of 1/2, which gives
/// |k1| <= a1 + a2 < 1.28 * 2^128 and |k2| <= -b1 + b2 < 1.09 * 2^128.
#[inline(always)]
pub(super) fn split(k: &Words) -> ([u64; 3], [u64; 3]) {
    let c1_odd = k[0] & 1 == 0;
    let c1 = quotient(k, &G1, c1_odd);
    let c2 = quotient(k, &G2, !c1_odd);
    let k1 = sub_low(sub_low([k[0], k[1], k[2]], mul_low(&c1, &A1)), mul_low(&c2, &A2));
    let k2 = sub_low(mul_low(&c1, &MINUS_B1), mul_low(&c2, &A1));
    (k1, k2)
}

/// Regular recoding of an odd k, |k| < 2^bits, for windows of any width w that divides `bits`. `bits` is above 128.
///
/// Returns E = (k + 2^bits - 1) / 2. Every w-bit window e of E stands for the odd digit 2e + 1 - 2^w, so no digit is
/// zero and the sign of k needs no case distinction.
#[inline(always)]
pub(super) fn regular(k: [u64; 3], bits: u32) -> [u64; 3] {
    let t = add_low(k, sub_low([0, 0, 1 << (bits - 128)], [1, 0, 0]));
    [t[0] >> 1 | t[1] << 63, t[1] >> 1 | t[2] << 63, t[2] >> 1]
}
