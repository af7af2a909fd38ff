//! Arithmetic modulo 2^256. The first argument is the top of the stack.

use crate::exec::evm::Evm;
use crate::exec::halt::Halt;
use crate::exec::host::charge;
use alloy_primitives::U256;

/// ADD.
#[inline(always)]
pub fn add(a: U256, b: U256) -> U256 {
    a.wrapping_add(b)
}

/// MUL.
#[inline(always)]
pub fn mul(a: U256, b: U256) -> U256 {
    a.wrapping_mul(b)
}

/// SUB.
#[inline(always)]
pub fn sub(a: U256, b: U256) -> U256 {
    a.wrapping_sub(b)
}

/// DIV; 0 for a zero divisor.
#[inline]
pub fn div(a: U256, b: U256) -> U256 {
    a.checked_div(b).unwrap_or_default()
}

/// MOD; 0 for a zero modulus.
#[inline]
pub fn rem(a: U256, b: U256) -> U256 {
    a.checked_rem(b).unwrap_or_default()
}

/// Whether a word is negative in two's complement.
#[inline(always)]
fn negative(a: &U256) -> bool {
    a.as_limbs()[3] >> 63 == 1
}

#[inline(always)]
fn magnitude(a: U256) -> U256 {
    if negative(&a) { a.wrapping_neg() } else { a }
}

/// SDIV: truncates toward zero; -2^255 / -1 is -2^255.
#[inline]
pub fn sdiv(a: U256, b: U256) -> U256 {
    let quotient = div(magnitude(a), magnitude(b));
    if negative(&a) != negative(&b) { quotient.wrapping_neg() } else { quotient }
}

/// SMOD: takes the sign of the dividend.
#[inline]
pub fn smod(a: U256, b: U256) -> U256 {
    let remainder = rem(magnitude(a), magnitude(b));
    if negative(&a) { remainder.wrapping_neg() } else { remainder }
}

/// ADDMOD: the sum is not reduced modulo 2^256.
#[inline]
pub fn addmod(a: U256, b: U256, modulus: U256) -> U256 {
    a.add_mod(b, modulus)
}

/// MULMOD: the product is not reduced modulo 2^256.
#[inline]
pub fn mulmod(a: U256, b: U256, modulus: U256) -> U256 {
    a.mul_mod(b, modulus)
}

/// EXP without its gas.
#[inline]
pub fn pow(base: U256, exponent: U256) -> U256 {
    base.wrapping_pow(exponent)
}

/// EXP.
#[inline]
pub fn exp(evm: &mut Evm<'_>, left: &mut u64, base: U256, exponent: U256) -> Result<U256, Halt> {
    charge(left, evm.rules.exp_byte * exponent.byte_len() as u64)?;
    Ok(pow(base, exponent))
}

/// SIGNEXTEND: the sign is the top bit of byte `index`, counted from the least significant.
#[inline]
pub fn signextend(index: U256, value: U256) -> U256 {
    let limbs = index.as_limbs();
    if limbs[0] > 30 || limbs[1] | limbs[2] | limbs[3] != 0 {
        return value;
    }
    let sign_bit = 8 * limbs[0] as usize + 7;
    let mask = (U256::ONE << (sign_bit + 1)).wrapping_sub(U256::ONE);
    if value.bit(sign_bit) { value | !mask } else { value & mask }
}
