//! The rest of one recovery whose multiple of the nonce point is known: the lanes work on one signature.
//!
//! In: a [`Multiple`], the message hash, the parity of the nonce point. Out: the public key.
//! u1 G is a sum of 56 entries of a table, one for each window of five bits of u1: every lane adds seven of them, then the
//! lanes are added to one another. No doubling is needed.
//! Not here: batches (`recover.rs`).

use core::arch::x86_64::*;
use std::sync::OnceLock;

use alloy_primitives::{B256, U256};

use super::super::Multiple;
use super::super::scalar::{self, ORDER};
use super::field::{
    Fe, add, canonical, carry, constant, from_words, invert, is_zero, mul, select, shift, splat, sqr, sub, tighten,
    to_words,
};
use super::generator::{X, Y};
use super::group::{
    Addend, Jacobian, NONCE_WINDOW, NonceTable, Rows, add_mixed, coordinates, digits, double, odd_multiples, rows,
};
use super::{from_array, to_array};

/// Width of a window of u1 in bits: that of the tables of odd multiples.
const WINDOW: u32 = NONCE_WINDOW;
const ENTRIES: usize = 1 << (WINDOW - 1);
/// Windows that each lane adds; window w belongs to lane w % 8.
const ROUNDS: usize = 7;
/// Bits of all windows: at least 257, for u1 + n, and a sign.
const BITS: u32 = 8 * ROUNDS as u32 * WINDOW;

/// `rows[w][i]` is (2i + 1) 2^(5w) G, affine: 56 KiB.
struct WindowTable {
    rows: Box<[[__m512i; ENTRIES]; 8 * ROUNDS]>,
}

impl WindowTable {
    /// The table of this process, built at first use.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn get() -> &'static Self {
        static TABLE: OnceLock<WindowTable> = OnceLock::new();
        TABLE.get_or_init(|| Self::build())
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn build() -> Self {
        let one = constant([1, 0, 0, 0, 0]);
        let mut power = Jacobian { x: [constant(X)], y: [constant(Y)], z: [one] };
        let mut table = Box::new([[_mm512_setzero_si512(); ENTRIES]; 8 * ROUNDS]);
        for windows in table.as_chunks_mut::<8>().0 {
            // The powers of two of these eight windows, one per lane.
            let (mut x, mut y, mut z) = (one, one, one);
            for lane in 0..8 {
                x = select(1 << lane, &x, &power.x[0]);
                y = select(1 << lane, &y, &power.y[0]);
                z = select(1 << lane, &z, &power.z[0]);
                (0..WINDOW).for_each(|_| double(&mut power));
            }
            let (x, y) = affine(&x, &y, &invert(&z));
            let mut multiples = [NonceTable::new()];
            let z = odd_multiples(&[x], &[y], &mut multiples)[0];
            let z_inverse = invert(&z);
            for i in 0..ENTRIES {
                let (x, y) = multiples[0].row(i).map_or((x, y), |row| coordinates(*row));
                let (x, y) = affine(&x, &y, &z_inverse);
                for (window, row) in windows.iter_mut().zip(rows(&x, &y)) {
                    window[i] = row;
                }
            }
        }
        Self { rows: table }
    }

    /// The points of the windows of round `round`, one per lane, for these digits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lookup(&self, round: usize, windows: [u64; 8]) -> Addend<1> {
        let (index, negative) = digits::<WINDOW>(from_array(windows));
        let mut picked: Rows = [_mm512_setzero_si512(); 8];
        for lane in 0..8 {
            picked[lane] = self.rows[8 * round + lane][index[lane] as usize % ENTRIES];
        }
        let (x, y) = coordinates(picked);
        Addend { x: [x], y: [y], negative: [negative] }
    }
}

/// (X / Z^2, Y / Z^3), canonical.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(x: &Fe, y: &Fe, z_inverse: &Fe) -> (Fe, Fe) {
    let squared = sqr(z_inverse);
    (canonical(&mul(x, &squared)), canonical(&mul(y, &mul(&squared, z_inverse))))
}

/// The windows of (u + 2^280 - 1) / 2 for an odd u; five bits each, the lowest first. Window e stands for the digit
/// 2e + 1 - 32, and u is the sum of all digits times their powers of 32.
#[inline]
fn windows(u: [u64; 5]) -> [u64; 8 * ROUNDS] {
    // 2^280 - 1 has all bits set below bit 280; u is odd, so the sum is even.
    let mut sum = [0; 5];
    let mut over = false;
    for i in 0..5 {
        let ones = if i < 4 { u64::MAX } else { (1 << (BITS - 256)) - 1 };
        let (word, first) = u[i].overflowing_add(ones);
        let (word, second) = word.overflowing_add(u64::from(over));
        (sum[i], over) = (word, first || second);
    }
    let mut out = [0; 8 * ROUNDS];
    for (w, out) in out.iter_mut().enumerate() {
        let position = w * WINDOW as usize + 1;
        let (i, bit) = (position / 64, position % 64);
        let next = sum.get(i + 1).map_or(0, |next| next << 1 << (63 - bit));
        *out = (sum[i] >> bit | next) & ((1 << WINDOW) - 1);
    }
    out
}

/// P + Q in every lane ("add-1998-cmo-2" of the Explicit-Formulas Database). Exceptional cases make Z zero, as in
/// [`add_mixed`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn add_jacobian(p: &Jacobian<1>, q: &Jacobian<1>) -> Jacobian<1> {
    let (pzz, qzz) = (sqr(&p.z[0]), sqr(&q.z[0]));
    let u = mul(&p.x[0], &qzz);
    let s = mul(&p.y[0], &mul(&qzz, &q.z[0]));
    let h = carry(&sub::<2>(&mul(&q.x[0], &pzz), &u));
    let r = carry(&sub::<2>(&mul(&q.y[0], &mul(&pzz, &p.z[0])), &s));
    let hh = sqr(&h);
    let hhh = mul(&h, &hh);
    let v = mul(&u, &hh);
    let x = tighten(&sub::<4>(&sqr(&r), &add(&hhh, &shift::<1>(&v))));
    let product = mul(&r, &carry(&sub::<2>(&v, &x)));
    let y = tighten(&sub::<2>(&product, &mul(&s, &hhh)));
    Jacobian { x: [x], y: [y], z: [mul(&mul(&p.z[0], &q.z[0]), &h)] }
}

/// The points of the lanes `BY` places further on.
#[inline]
#[target_feature(enable = "avx512f")]
fn rotate<const BY: i32>(p: &Jacobian<1>) -> Jacobian<1> {
    let mut out = *p;
    for fe in [&mut out.x[0], &mut out.y[0], &mut out.z[0]] {
        for limb in &mut fe.0 {
            *limb = _mm512_alignr_epi64::<BY>(*limb, *limb);
        }
    }
    out
}

/// The public key of -z/r G + multiple, or - multiple where the nonce point is odd: x and y as words, least significant
/// first. `None` if an exceptional case of the addition law occurred or the key is the point at infinity.
#[target_feature(enable = "avx512f,avx512ifma,bmi2,adx")]
pub(super) fn complete(multiple: &Multiple, hash: &B256, is_odd: bool) -> Option<([u64; 4], [u64; 4])> {
    let one = constant([1, 0, 0, 0, 0]);
    let z = U256::from_be_bytes(hash.0).into_limbs();
    let u1 = scalar::negate(&scalar::mul_redc(&z, &multiple.r_inverse));
    // n is odd: u1 or u1 + n is.
    let (sum, over) = U256::from_limbs(u1).overflowing_add(U256::from_limbs(ORDER));
    let [w0, w1, w2, w3] = if u1[0] & 1 == 1 { u1 } else { sum.into_limbs() };
    let windows = windows([w0, w1, w2, w3, u64::from(u1[0] & 1 == 0 && over)]);
    let table = WindowTable::get();
    let (windows, _) = windows.as_chunks::<8>();
    let Addend { x, y, negative } = table.lookup(0, windows[0]);
    let negated = tighten(&sub::<2>(&constant([0; 5]), &y[0]));
    let mut sum = Jacobian { x, y: [select(negative[0], &y[0], &negated)], z: [one] };
    for (round, windows) in windows.iter().enumerate().skip(1) {
        add_mixed(&mut sum, &table.lookup(round, *windows), None);
    }
    sum = add_jacobian(&sum, &rotate::<4>(&sum));
    sum = add_jacobian(&sum, &rotate::<2>(&sum));
    sum = add_jacobian(&sum, &rotate::<1>(&sum));
    let (x, y) = (from_words(multiple.x.map(|word| splat(word))), from_words(multiple.y.map(|word| splat(word))));
    add_mixed(&mut sum, &Addend { x: [x], y: [y], negative: [if is_odd { 0xff } else { 0 }] }, None);
    if is_zero(&sum.z[0]) & 1 == 1 {
        return None;
    }
    let (x, y) = affine(&sum.x[0], &sum.y[0], &invert(&sum.z[0]));
    let first = |fe: &Fe| to_words(fe).map(|word| to_array(word)[0]);
    Some((first(&x), first(&y)))
}
