//! Comparisons, bitwise operations and shifts. The first argument is the top of the stack.

use alloy_primitives::U256;

/// A truth value as a word: 1 or 0.
#[inline(always)]
pub fn truth(value: bool) -> U256 {
    U256::from_limbs([u64::from(value), 0, 0, 0])
}

/// Maps two's complement order to unsigned order.
#[inline(always)]
fn flip_sign(a: U256) -> U256 {
    let mut limbs = *a.as_limbs();
    limbs[3] ^= 1 << 63;
    U256::from_limbs(limbs)
}

/// LT: 1 if `a < b`, unsigned.
#[inline(always)]
pub fn lt(a: U256, b: U256) -> U256 {
    truth(a < b)
}

/// GT: 1 if `a > b`, unsigned.
#[inline(always)]
pub fn gt(a: U256, b: U256) -> U256 {
    truth(a > b)
}

/// SLT: 1 if `a < b` in two's complement.
#[inline(always)]
pub fn slt(a: U256, b: U256) -> U256 {
    truth(flip_sign(a) < flip_sign(b))
}

/// SGT: 1 if `a > b` in two's complement.
#[inline(always)]
pub fn sgt(a: U256, b: U256) -> U256 {
    truth(flip_sign(a) > flip_sign(b))
}

/// EQ: 1 if both words are equal.
#[inline(always)]
pub fn eq(a: U256, b: U256) -> U256 {
    truth(a == b)
}

/// ISZERO: 1 if the word is zero.
#[inline(always)]
pub fn iszero(a: U256) -> U256 {
    truth(a.is_zero())
}

/// AND, bitwise.
#[inline(always)]
pub fn and(a: U256, b: U256) -> U256 {
    a & b
}

/// OR, bitwise.
#[inline(always)]
pub fn or(a: U256, b: U256) -> U256 {
    a | b
}

/// XOR, bitwise.
#[inline(always)]
pub fn xor(a: U256, b: U256) -> U256 {
    a ^ b
}

/// NOT, bitwise.
#[inline(always)]
pub fn not(a: U256) -> U256 {
    !a
}

/// A shift distance or byte index; values above 255 become 256.
#[inline(always)]
fn distance(a: &U256) -> usize {
    let limbs = a.as_limbs();
    if limbs[0] < 256 && limbs[1] | limbs[2] | limbs[3] == 0 { limbs[0] as usize } else { 256 }
}

/// BYTE: byte `index`, counted from the most significant; 0 beyond.
#[inline]
pub fn byte(index: U256, value: U256) -> U256 {
    let index = distance(&index);
    if index < 32 { U256::from(value.byte(31 - index)) } else { U256::ZERO }
}

/// SHL (EIP-145): shift left; 0 for distances above 255.
#[inline]
pub fn shl(shift: U256, value: U256) -> U256 {
    value << distance(&shift)
}

/// SHR (EIP-145): logical shift right; 0 for distances above 255.
#[inline]
pub fn shr(shift: U256, value: U256) -> U256 {
    value >> distance(&shift)
}

/// SAR (EIP-145): arithmetic shift right; only sign bits for distances above 255.
#[inline]
pub fn sar(shift: U256, value: U256) -> U256 {
    value.arithmetic_shr(distance(&shift))
}

/// CLZ (EIP-7939): leading zero bits; 256 for zero.
#[inline]
pub fn clz(value: U256) -> U256 {
    U256::from(value.leading_zeros())
}
