//! Reference implementation for tests: the field and the curve in affine coordinates, with
//! general-purpose big integers and explicit cases.

use alloy_primitives::{U256, uint};

pub(in crate::exec::senders) const P: U256 =
    uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F_U256);
pub(in crate::exec::senders) const N: U256 =
    uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
pub(in crate::exec::senders) const LAMBDA: U256 =
    uint!(0x5363AD4CC05C30E0A5261C028812645A122E22EA20816678DF02967C1B23BD72_U256);
pub(in crate::exec::senders) const G: Point = Some((
    uint!(0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798_U256),
    uint!(0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8_U256),
));

/// An affine point; `None` is the point at infinity.
pub(in crate::exec::senders) type Point = Option<(U256, U256)>;

pub(in crate::exec::senders) fn mul(a: U256, b: U256) -> U256 {
    a.mul_mod(b, P)
}

pub(in crate::exec::senders) fn sub(a: U256, b: U256) -> U256 {
    a.add_mod(P - b % P, P)
}

pub(in crate::exec::senders) fn invert(a: U256) -> U256 {
    a.inv_mod(P).unwrap_or_default()
}

pub(in crate::exec::senders) fn add(a: Point, b: Point) -> Point {
    let (Some((x1, y1)), Some((x2, y2))) = (a, b) else { return a.or(b) };
    let slope = if x1 != x2 {
        mul(sub(y2, y1), invert(sub(x2, x1)))
    } else if y1 == y2 {
        mul(mul(U256::from(3), mul(x1, x1)), invert(mul(U256::from(2), y1)))
    } else {
        return None;
    };
    let x = sub(sub(mul(slope, slope), x1), x2);
    Some((x, sub(mul(slope, sub(x1, x)), y1)))
}

pub(in crate::exec::senders) fn multiply(k: U256, point: Point) -> Point {
    let mut sum = None;
    for i in (0..256).rev() {
        sum = add(sum, sum);
        if k.bit(i) {
            sum = add(sum, point);
        }
    }
    sum
}

/// A small deterministic random number generator (xorshift64*).
pub(in crate::exec::senders) struct Numbers(pub(in crate::exec::senders) u64);

impl Numbers {
    pub(in crate::exec::senders) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A random 256-bit number.
    pub(in crate::exec::senders) fn word(&mut self) -> U256 {
        U256::from_limbs([self.next(), self.next(), self.next(), self.next()])
    }

    /// A random number from 1 to n - 1.
    pub(in crate::exec::senders) fn scalar(&mut self) -> U256 {
        self.word() % (N - U256::ONE) + U256::ONE
    }

    /// A random curve point, of unknown discrete logarithm.
    pub(in crate::exec::senders) fn point(&mut self) -> (U256, U256) {
        loop {
            let x = self.word() % P;
            let square = mul(mul(x, x), x).add_mod(U256::from(7), P);
            let y = square.pow_mod((P + U256::ONE) >> 2, P);
            if mul(y, y) == square {
                return (x, if self.next() & 1 == 1 { y } else { P - y });
            }
        }
    }
}
