//! The curve y^2 = x^3 + 7 in lanes: doubling, mixed addition, and odd multiples of one point per
//! lane.
//!
//! In and out: points in Jacobian coordinates (x = X / Z^2, y = Y / Z^3), all tight.
//! The formulas do not check for exceptional cases (an addition of equal points, of inverse points,
//! or of infinity). Each of these makes Z zero mod p, and every later doubling and addition
//! multiplies Z by a factor, so Z remains zero. One test of the final Z therefore finds exactly the
//! lanes in which an exceptional case occurred; other lanes are not affected.
//!
//! Cost (product M: 66, square S: 46 vpmadd52 instructions): `double` 2M + 5S, `add_mixed` 8M + 3S
//! (9M + 3S with `scale`), odd multiples 4M + 2S and another 5M + S each.
//!
//! Not here: the order of additions (`recover.rs`), the generator's table (`generator.rs`).

use core::arch::x86_64::*;

use super::field::{
    Fe, Groups, add, canonical, carry, constant, from_words, mul, mul_assign, mul_groups, shift, splat, sqr,
    sqr_groups, sub, tighten, to_words, transpose,
};
use super::to_array;

/// Width in bits of the nonce multiplier's digits. A table of one nonce point contains
/// `1 << (NONCE_WINDOW - 1)` odd multiples.
pub(super) const NONCE_WINDOW: u32 = 5;
const NONCE_MULTIPLES: usize = 1 << (NONCE_WINDOW - 1);

/// A primitive cube root of 1 mod p: (beta * x, y) is lambda times (x, y) (the GLV endomorphism).
pub(super) const BETA: [u64; 5] =
    [0x9_6c28_7195_01ee, 0x7_512f_5899_5c13, 0xc_3434_e99c_f049, 0x0_7106_e644_79ea, 0x7ae9_6a2b_657c];

/// K groups of eight points.
#[derive(Clone, Copy)]
pub(super) struct Jacobian<const K: usize> {
    pub(super) x: Groups<K>,
    pub(super) y: Groups<K>,
    pub(super) z: Groups<K>,
}

/// Affine points to add, coordinates as factors, and the mask of lanes in which the negative point
/// is added.
#[derive(Clone, Copy)]
pub(super) struct Addend<const K: usize> {
    pub(super) x: Groups<K>,
    pub(super) y: Groups<K>,
    pub(super) negative: [__mmask8; K],
}

/// 2P ("dbl-2009-l" of the Explicit-Formulas Database).
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn double<const K: usize>(p: &mut Jacobian<K>) {
    let a = sqr_groups(&p.x);
    let b = sqr_groups(&p.y);
    let mut two_y = p.y;
    let mut x_plus_b = p.x;
    let mut e = p.x;
    for k in 0..K {
        two_y[k] = carry(&shift::<1>(&p.y[k]));
        x_plus_b[k] = carry(&add(&p.x[k], &b[k]));
        e[k] = carry(&add(&a[k], &shift::<1>(&a[k])));
    }
    mul_assign(&mut p.z, &two_y);
    let c = sqr_groups(&b);
    let g = sqr_groups(&x_plus_b);
    let f = sqr_groups(&e);
    let mut w = g;
    for k in 0..K {
        // With 3 p added, no limb of g - a - c is negative, and the result is at most a sum of 4
        // tight elements. So 17 p suffices for x, where four times that is subtracted.
        let d = shift::<1>(&sub::<3>(&g[k], &add(&a[k], &c[k])));
        p.x[k] = tighten(&sub::<17>(&f[k], &shift::<1>(&d)));
        w[k] = carry(&sub::<2>(&d, &p.x[k]));
    }
    let product = mul_groups(&e, &w);
    for k in 0..K {
        p.y[k] = tighten(&sub::<9>(&product[k], &shift::<3>(&c[k])));
    }
}

/// P + Q for an affine Q. With `scale` s, Q is given on an isomorphic curve, and (x s^2, y s^3) is
/// added.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn add_mixed<const K: usize>(p: &mut Jacobian<K>, q: &Addend<K>, scale: Option<&Groups<K>>) {
    let scaled;
    let z = match scale {
        Some(s) => {
            scaled = mul_groups(&p.z, s);
            &scaled
        }
        None => &p.z,
    };
    let zz = sqr_groups(z);
    let u = mul_groups(&q.x, &zz);
    let zzz = mul_groups(&zz, z);
    let mut h = u;
    for k in 0..K {
        h[k] = carry(&sub::<2>(&u[k], &p.x[k]));
    }
    let s = mul_groups(&q.y, &zzz);
    let hh = sqr_groups(&h);
    let mut r = s;
    for k in 0..K {
        let mut t = s[k];
        for i in 0..5 {
            t.0[i] = _mm512_mask_sub_epi64(t.0[i], q.negative[k], splat(super::field::P[2][i]), t.0[i]);
        }
        r[k] = carry(&sub::<2>(&t, &p.y[k]));
    }
    mul_assign(&mut p.z, &h);
    let hhh = mul_groups(&h, &hh);
    let v = mul_groups(&p.x, &hh);
    let rr = sqr_groups(&r);
    let y_hhh = mul_groups(&p.y, &hhh);
    let mut w = v;
    for k in 0..K {
        p.x[k] = tighten(&sub::<4>(&rr[k], &add(&hhh[k], &shift::<1>(&v[k]))));
        w[k] = carry(&sub::<2>(&v[k], &p.x[k]));
    }
    let product = mul_groups(&r, &w);
    for k in 0..K {
        p.y[k] = tighten(&sub::<2>(&product[k], &y_hhh[k]));
    }
}

/// Eight rows of (x, y), four words each.
pub(super) type Rows = [__m512i; 8];

/// Converts two canonical coordinates to rows: row `l` is the point of lane `l`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn rows(x: &Fe, y: &Fe) -> Rows {
    let [x0, x1, x2, x3] = to_words(x);
    let [y0, y1, y2, y3] = to_words(y);
    transpose([x0, x1, x2, x3, y0, y1, y2, y3])
}

/// Converts eight rows to coordinates, one point per lane.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn coordinates(rows: Rows) -> (Fe, Fe) {
    let [x0, x1, x2, x3, y0, y1, y2, y3] = transpose(rows);
    (from_words([x0, x1, x2, x3]), from_words([y0, y1, y2, y3]))
}

/// Decodes the digits of eight scalars: the table index of each lane, and the mask of lanes with a
/// negative digit. `window` is the window e of a regular recoding of width W: the digit is 2e + 1 -
/// 2^W, its table index (|digit| - 1) / 2.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn digits<const W: u32>(window: __m512i) -> ([u64; 8], __mmask8) {
    let t = _mm512_sub_epi64(window, splat(1 << (W - 1)));
    let index = _mm512_xor_si512(t, _mm512_srai_epi64::<63>(t));
    (to_array(index), _mm512_cmplt_epi64_mask(t, _mm512_setzero_si512()))
}

/// Table of P, 3P, ..., 31P for one point P per lane, and of lambda times these, as affine points
/// of a common isomorphic curve.
pub(super) struct NonceTable {
    /// `rows[0][i][l]` is (2i + 1) P of lane `l`; `rows[1][i][l]` is lambda times that.
    rows: [[Rows; NONCE_MULTIPLES]; 2],
}

impl NonceTable {
    /// A table of zeros, to be filled by [`odd_multiples`].
    #[target_feature(enable = "avx512f")]
    pub(super) fn new() -> Self {
        Self { rows: [[[_mm512_setzero_si512(); 8]; NONCE_MULTIPLES]; 2] }
    }

    /// The `i`-th odd multiples, one per lane; `None` after the last one.
    pub(super) fn row(&self, i: usize) -> Option<&Rows> {
        self.rows[0].get(i)
    }

    /// The points for one digit per lane, from the multiples of P (`lambda` 0) or of lambda P (1).
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn lookup(&self, lambda: usize, window: __m512i) -> (Fe, Fe, __mmask8) {
        let (index, negative) = digits::<NONCE_WINDOW>(window);
        let table = &self.rows[lambda];
        let mut picked = table[0];
        for l in 0..8 {
            picked[l] = table[index[l] as usize % NONCE_MULTIPLES][l];
        }
        let (x, y) = coordinates(picked);
        (x, y, negative)
    }
}

/// Fills the tables with the odd multiples of the affine points (x, y). Returns Z such that an
/// entry (X, Y) represents (X / Z^2, Y / Z^3).
///
/// Co-Z chain (Meloni 2007): after the doubling, 2P and P have the same Z, and each addition P_i +
/// 2P also gives 2P with the new Z. The factors X1 - X2 of Z are stored. Backwards from the last
/// multiple, their products scale every multiple to the last Z. Exceptional cases are impossible:
/// the group order is an odd prime, so 2P is none of ±P, ±3P, ..., ±31P.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn odd_multiples<const K: usize>(x: &Groups<K>, y: &Groups<K>, tables: &mut [NonceTable; K]) -> Groups<K> {
    // Doubling of an affine point: S = 4 x y^2, M = 3 x^2, 2P = (M^2 - 2S, M (S - X) - 8 y^4), P = (S, 8 y^4), Z = 2y.
    let mut xs = [*x; NONCE_MULTIPLES];
    let mut ys = [*y; NONCE_MULTIPLES];
    let mut ratios = [*x; NONCE_MULTIPLES];
    let mut double_x = *x;
    let mut double_y = *y;
    let xx = sqr_groups(x);
    let yy = sqr_groups(y);
    let s = mul_groups(x, &yy);
    let yyyy = sqr_groups(&yy);
    let mut m = xx;
    for k in 0..K {
        xs[0][k] = tighten(&shift::<2>(&s[k]));
        ys[0][k] = tighten(&shift::<3>(&yyyy[k]));
        m[k] = carry(&add(&xx[k], &shift::<1>(&xx[k])));
    }
    let mm = sqr_groups(&m);
    let mut t = mm;
    for k in 0..K {
        double_x[k] = tighten(&sub::<3>(&mm[k], &shift::<1>(&xs[0][k])));
        t[k] = carry(&sub::<2>(&xs[0][k], &double_x[k]));
    }
    let product = mul_groups(&m, &t);
    for k in 0..K {
        double_y[k] = tighten(&sub::<2>(&product[k], &ys[0][k]));
    }
    for i in 1..NONCE_MULTIPLES {
        let mut h = *x;
        let mut g = *y;
        for k in 0..K {
            h[k] = carry(&sub::<2>(&double_x[k], &xs[i - 1][k]));
            g[k] = carry(&sub::<2>(&double_y[k], &ys[i - 1][k]));
        }
        ratios[i] = h;
        let c = sqr_groups(&h);
        let w1 = mul_groups(&double_x, &c);
        let w2 = mul_groups(&xs[i - 1], &c);
        let gg = sqr_groups(&g);
        let mut d = h;
        for k in 0..K {
            d[k] = carry(&sub::<2>(&w1[k], &w2[k]));
            xs[i][k] = tighten(&sub::<3>(&gg[k], &add(&w1[k], &w2[k])));
        }
        let a1 = mul_groups(&double_y, &d);
        for k in 0..K {
            d[k] = carry(&sub::<2>(&w1[k], &xs[i][k]));
        }
        let product = mul_groups(&g, &d);
        for k in 0..K {
            ys[i][k] = tighten(&sub::<2>(&product[k], &a1[k]));
        }
        double_x = w1;
        double_y = a1;
    }

    let last = NONCE_MULTIPLES - 1;
    store(tables, last, &xs[last], &ys[last]);
    let mut scale = ratios[last];
    for i in (0..last).rev() {
        let scale2 = sqr_groups(&scale);
        let scale3 = mul_groups(&scale2, &scale);
        store(tables, i, &mul_groups(&xs[i], &scale2), &mul_groups(&ys[i], &scale3));
        if i > 0 {
            scale = mul_groups(&scale, &ratios[i]);
        }
    }
    let mut two_y = *y;
    for k in 0..K {
        two_y[k] = carry(&shift::<1>(&y[k]));
    }
    mul_groups(&two_y, &scale)
}

/// Stores the `i`-th multiples, and lambda times them, in the tables.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store<const K: usize>(tables: &mut [NonceTable; K], i: usize, x: &Groups<K>, y: &Groups<K>) {
    let beta = constant(BETA);
    for k in 0..K {
        let y = canonical(&y[k]);
        tables[k].rows[0][i] = rows(&canonical(&x[k]), &y);
        tables[k].rows[1][i] = rows(&canonical(&mul(&x[k], &beta)), &y);
    }
}

/// x^3 + 7, the right side of the curve equation; tight.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn right_side(x: &Fe) -> Fe {
    tighten(&add(&mul(&sqr(x), x), &constant([7, 0, 0, 0, 0])))
}
