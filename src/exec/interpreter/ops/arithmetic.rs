//! Arithmetic modulo 2^256. The first argument is the top of the stack.

use alloy_primitives::U256;

/// ADD: the sum modulo 2^256.
#[inline(always)]
pub fn add(a: U256, b: U256) -> U256 {
    a.wrapping_add(b)
}

/// MUL: the product modulo 2^256.
#[inline(always)]
pub fn mul(a: U256, b: U256) -> U256 {
    a.wrapping_mul(b)
}

/// SUB: `a - b` modulo 2^256.
#[inline(always)]
pub fn sub(a: U256, b: U256) -> U256 {
    a.wrapping_sub(b)
}

/// DIV: `a / b`, rounded down; 0 for a zero divisor.
#[inline]
pub fn div(a: U256, b: U256) -> U256 {
    if b.is_zero() { U256::ZERO } else { a.wrapping_div(b) }
}

/// MOD: the remainder of `a / b`; 0 for a zero modulus.
#[inline]
pub fn rem(a: U256, b: U256) -> U256 {
    if b.is_zero() { U256::ZERO } else { a.wrapping_rem(b) }
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

/// SDIV: signed division, truncated toward zero; -2^255 / -1 is -2^255, and 0 for a zero divisor.
#[inline]
pub fn sdiv(a: U256, b: U256) -> U256 {
    let quotient = div(magnitude(a), magnitude(b));
    if negative(&a) != negative(&b) { quotient.wrapping_neg() } else { quotient }
}

/// SMOD: the remainder of signed division, with the sign of the dividend; 0 for a zero modulus.
#[inline]
pub fn smod(a: U256, b: U256) -> U256 {
    let remainder = rem(magnitude(a), magnitude(b));
    if negative(&a) { remainder.wrapping_neg() } else { remainder }
}

/// ADDMOD: `(a + b) % modulus`, where the sum is not reduced modulo 2^256; 0 for a zero modulus.
#[inline]
pub fn addmod(a: U256, b: U256, modulus: U256) -> U256 {
    if modulus.is_zero() {
        return U256::ZERO;
    }
    let reduce = |word: U256| if word < modulus { word } else { rem(word, modulus) };
    let (sum, carried) = reduce(a).overflowing_add(reduce(b));
    if carried || sum >= modulus { sum.wrapping_sub(modulus) } else { sum }
}

/// MULMOD: `(a * b) % modulus`, where the product is not reduced modulo 2^256; 0 for a zero modulus.
#[inline]
pub fn mulmod(a: U256, b: U256, modulus: U256) -> U256 {
    a.mul_mod(b, modulus)
}

/// EXP without its gas: a shift for powers of two, else square and multiply.
#[inline]
pub fn pow(base: U256, exponent: U256) -> U256 {
    let limbs = base.as_limbs();
    if limbs[0].is_power_of_two() && limbs[1] | limbs[2] | limbs[3] == 0 {
        let doublings = u64::from(limbs[0].trailing_zeros());
        return match u64::try_from(exponent).ok().and_then(|exponent| exponent.checked_mul(doublings)) {
            Some(shift @ 0..=255) => U256::ONE << shift as usize,
            _ if doublings == 0 => U256::ONE,
            _ => U256::ZERO,
        };
    }
    let bits = exponent.bit_len();
    if bits == 0 {
        return U256::ONE;
    }
    let mut power = base;
    for bit in (0..bits - 1).rev() {
        power = power.wrapping_mul(power);
        if exponent.bit(bit) {
            power = power.wrapping_mul(base);
        }
    }
    power
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_agree_with_ruint() {
        let words = [0u64, 1, 2, 3, 4, 7, 255, 256, 257, 1 << 33].map(U256::from);
        let words = [&words[..], &[U256::MAX, U256::MAX - U256::from(2), U256::ONE << 255]].concat();
        for base in &words {
            for exponent in &words {
                assert_eq!(pow(*base, *exponent), base.wrapping_pow(*exponent), "{base} ^ {exponent}");
            }
        }
    }

    #[test]
    fn sums_reduce_without_overflow() {
        let words = [U256::ZERO, U256::ONE, U256::from(10), U256::MAX, U256::MAX - U256::ONE, U256::ONE << 255];
        for a in words {
            for b in words {
                for modulus in words {
                    assert_eq!(addmod(a, b, modulus), a.add_mod(b, modulus), "{a} + {b} % {modulus}");
                }
            }
        }
    }
}
