//! Arithmetic in the field of p = 2^256 - 2^32 - 977, in eight lanes.
//!
//! In and out: [`Fe`], eight elements in five registers of 52-bit limbs, one element per lane. The
//! multiplier (vpmadd52) reads only the low 52 bits of each limb and ignores the rest. So every
//! function states which of these forms it takes and returns:
//!
//! - *tight*: limbs 0..=3 below 2^52, limb 4 below 2^48 + 2^8: a value below 2^256 + 2^216.
//!   Returned by products, squares and [`tighten`].
//! - *sum*: limbwise sum or difference of tight elements, without carries. A difference adds a
//!   multiple of p whose limbs are larger than those subtracted ([`P`]), so that no limb is
//!   negative. Must not be multiplied.
//! - *factor*: a sum below 2^260 after [`carry`]: the low 52 bits of each limb are correct; the
//!   higher bits have been added to the next limb, but not cleared. May only be multiplied and
//!   squared.
//!
//! Cost in vpmadd52 instructions, of which Zen 5 executes two per cycle: product 66 and square 46,
//! of which the reduction takes 16 each; `tighten` 1. They are the bottleneck; carries, masks and
//! sums run on other ports at the same time.
//!
//! Not here: curve points; encoding of keys.

use core::arch::x86_64::*;

/// Eight field elements, one per lane; limb `i` has weight 2^(52 i).
#[derive(Clone, Copy)]
pub(super) struct Fe(pub(super) [__m512i; 5]);

pub(super) const LIMB_MASK: u64 = (1 << 52) - 1;
const TOP_MASK: u64 = (1 << 48) - 1;
/// 2^256 mod p, a number of 33 bits.
const FOLD_256: u64 = 0x1_0000_03d1;
/// 2^260 mod p, a number of 37 bits.
const FOLD_260: u64 = FOLD_256 << 4;

/// `P[k]`: limbs of k * p, each k times the limb of p, so each is larger than the limb of any sum
/// of k - 1 tight elements.
pub(super) const P: [[u64; 5]; 18] = {
    let p = [LIMB_MASK + 1 - FOLD_256, LIMB_MASK, LIMB_MASK, LIMB_MASK, TOP_MASK];
    let mut table = [[0; 5]; 18];
    let mut k = 0;
    while k < 18 {
        let mut i = 0;
        while i < 5 {
            table[k][i] = k as u64 * p[i];
            i += 1;
        }
        k += 1;
    }
    table
};

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x.cast_signed())
}

/// The same constant in all lanes; `limbs` is tight.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn constant(limbs: [u64; 5]) -> Fe {
    Fe([splat(limbs[0]), splat(limbs[1]), splat(limbs[2]), splat(limbs[3]), splat(limbs[4])])
}

/// Per lane, `a` if the bit of `mask` is 0, `b` if it is 1.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn select(mask: __mmask8, a: &Fe, b: &Fe) -> Fe {
    let mut out = *a;
    for i in 0..5 {
        out.0[i] = _mm512_mask_mov_epi64(a.0[i], mask, b.0[i]);
    }
    out
}

/// Limbwise `a + b`: sums in, sum out.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(a: &Fe, b: &Fe) -> Fe {
    let mut out = *a;
    for i in 0..5 {
        out.0[i] = _mm512_add_epi64(a.0[i], b.0[i]);
    }
    out
}

/// Limbwise `a + K * p - b`, for `b` a sum of at most K - 1 tight elements; sum out.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn sub<const K: usize>(a: &Fe, b: &Fe) -> Fe {
    let mut out = *a;
    for i in 0..5 {
        out.0[i] = _mm512_sub_epi64(_mm512_add_epi64(a.0[i], splat(P[K][i])), b.0[i]);
    }
    out
}

/// Limbwise `a * 2^S`; sum out.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn shift<const S: u32>(a: &Fe) -> Fe {
    let mut out = *a;
    for i in 0..5 {
        out.0[i] = _mm512_slli_epi64::<S>(a.0[i]);
    }
    out
}

/// Converts a sum below 2^260 to a factor.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn carry(a: &Fe) -> Fe {
    let mut out = *a;
    for i in 1..5 {
        out.0[i] = _mm512_add_epi64(a.0[i], _mm512_srli_epi64::<52>(out.0[i - 1]));
    }
    out
}

/// Converts a sum with limbs below 2^60 to a tight element: folds the part above 2^256, then does
/// one carry pass.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tighten(a: &Fe) -> Fe {
    let mut c = a.0;
    let over = _mm512_srli_epi64::<48>(c[4]);
    c[4] = _mm512_and_si512(c[4], splat(TOP_MASK));
    c[0] = _mm512_madd52lo_epu64(c[0], over, splat(FOLD_256));
    for i in 1..5 {
        c[i] = _mm512_add_epi64(c[i], _mm512_srli_epi64::<52>(c[i - 1]));
        c[i - 1] = _mm512_and_si512(c[i - 1], splat(LIMB_MASK));
    }
    Fe(c)
}

/// Reduces ten product columns below 2^59 (the last below 2^52, the total below 2^520) to a tight
/// element.
///
/// The upper five columns are folded with 2^260 = `FOLD_260` mod p; of each, the part above 52 bits
/// is folded separately. This takes four multiplier instructions more than carrying along the
/// columns first, but carrying is a chain of eight dependent steps, and latency is the limit here.
/// The part above 2^256 is then estimated from column 4 before the carries into it are added, and
/// folded with `FOLD_256`. So one carry pass suffices, and the last carry (below 2^8) remains in
/// limb 4.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce(mut c: [__m512i; 10]) -> Fe {
    let fold = splat(FOLD_260);
    let above_260 = _mm512_madd52hi_epu64(_mm512_setzero_si512(), c[9], fold);
    for i in (0..5).rev() {
        c[i] = _mm512_madd52lo_epu64(c[i], c[5 + i], fold);
    }
    for i in (1..5).rev() {
        c[i] = _mm512_madd52hi_epu64(c[i], c[4 + i], fold);
    }
    for i in (1..5).rev() {
        c[i] = _mm512_madd52lo_epu64(c[i], _mm512_srli_epi64::<52>(c[4 + i]), fold);
    }
    let over = _mm512_add_epi64(_mm512_slli_epi64::<4>(above_260), _mm512_srli_epi64::<48>(c[4]));
    c[4] = _mm512_and_si512(c[4], splat(TOP_MASK));
    c[0] = _mm512_madd52lo_epu64(c[0], over, splat(FOLD_256));
    c[1] = _mm512_madd52hi_epu64(c[1], over, splat(FOLD_256));
    for i in 1..5 {
        c[i] = _mm512_add_epi64(c[i], _mm512_srli_epi64::<52>(c[i - 1]));
        c[i - 1] = _mm512_and_si512(c[i - 1], splat(LIMB_MASK));
    }
    Fe([c[0], c[1], c[2], c[3], c[4]])
}

/// Product of two factors or tight elements; tight.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul(a: &Fe, b: &Fe) -> Fe {
    // Low and high halves accumulate in separate registers, so that no chain of additions is longer
    // than five.
    let mut low = [_mm512_setzero_si512(); 9];
    let mut high = [_mm512_setzero_si512(); 9];
    for i in 0..5 {
        for j in 0..5 {
            low[i + j] = _mm512_madd52lo_epu64(low[i + j], a.0[i], b.0[j]);
            high[i + j] = _mm512_madd52hi_epu64(high[i + j], a.0[i], b.0[j]);
        }
    }
    let mut c = [low[0]; 10];
    for k in 1..9 {
        c[k] = _mm512_add_epi64(low[k], high[k - 1]);
    }
    c[9] = high[8];
    reduce(c)
}

/// Square of a factor or tight element; tight. The ten mixed products are computed once and doubled
/// per column. The upper columns are computed first, because they are reduced first.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sqr(a: &Fe) -> Fe {
    let zero = _mm512_setzero_si512();
    let mut low = [zero; 8];
    let mut high = [zero; 8];
    for i in (0..5).rev() {
        for j in (i + 1..5).rev() {
            low[i + j] = _mm512_madd52lo_epu64(low[i + j], a.0[i], a.0[j]);
            high[i + j] = _mm512_madd52hi_epu64(high[i + j], a.0[i], a.0[j]);
        }
    }
    let mut c = [zero; 10];
    for k in 1..9 {
        let mixed = if k == 8 { high[7] } else { _mm512_add_epi64(low[k], high[k - 1]) };
        c[k] = _mm512_add_epi64(mixed, mixed);
    }
    for i in (0..5).rev() {
        c[2 * i] = _mm512_madd52lo_epu64(c[2 * i], a.0[i], a.0[i]);
        c[2 * i + 1] = _mm512_madd52hi_epu64(c[2 * i + 1], a.0[i], a.0[i]);
    }
    reduce(c)
}

/// The representative in 0..p of a tight element.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn canonical(a: &Fe) -> Fe {
    // Below 2^256 after a second fold: if the element is 2^256 or more, its remainder is below
    // 2^216.
    let a = tighten(a);
    let fold = constant([FOLD_256, 0, 0, 0, 0]);
    let mut shifted = add(&a, &fold);
    for i in 1..5 {
        shifted.0[i] = _mm512_add_epi64(shifted.0[i], _mm512_srli_epi64::<52>(shifted.0[i - 1]));
        shifted.0[i - 1] = _mm512_and_si512(shifted.0[i - 1], splat(LIMB_MASK));
    }
    // a >= p if and only if a + 2^256 - p >= 2^256.
    let at_least_p = _mm512_cmpgt_epu64_mask(shifted.0[4], splat(TOP_MASK));
    shifted.0[4] = _mm512_and_si512(shifted.0[4], splat(TOP_MASK));
    select(at_least_p, &a, &shifted)
}

/// Mask of the lanes in which a tight element is 0 mod p.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn is_zero(a: &Fe) -> __mmask8 {
    let a = canonical(a).0;
    let any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(a[0], a[1]), _mm512_or_si512(a[2], a[3])), a[4]);
    _mm512_testn_epi64_mask(any, any)
}

/// The four 64-bit words of a canonical element, the lowest first.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn to_words(a: &Fe) -> [__m512i; 4] {
    let [a0, a1, a2, a3, a4] = a.0;
    [
        _mm512_or_si512(a0, _mm512_slli_epi64::<52>(a1)),
        _mm512_or_si512(_mm512_srli_epi64::<12>(a1), _mm512_slli_epi64::<40>(a2)),
        _mm512_or_si512(_mm512_srli_epi64::<24>(a2), _mm512_slli_epi64::<28>(a3)),
        _mm512_or_si512(_mm512_srli_epi64::<36>(a3), _mm512_slli_epi64::<16>(a4)),
    ]
}

/// Converts four 64-bit words, the lowest first, to a tight element.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn from_words(w: [__m512i; 4]) -> Fe {
    let mask = splat(LIMB_MASK);
    let pair = |low: __m512i, high: __m512i| _mm512_and_si512(_mm512_or_si512(low, high), mask);
    Fe([
        _mm512_and_si512(w[0], mask),
        pair(_mm512_srli_epi64::<52>(w[0]), _mm512_slli_epi64::<12>(w[1])),
        pair(_mm512_srli_epi64::<40>(w[1]), _mm512_slli_epi64::<24>(w[2])),
        pair(_mm512_srli_epi64::<28>(w[2]), _mm512_slli_epi64::<36>(w[3])),
        _mm512_srli_epi64::<16>(w[3]),
    ])
}

/// Transposes eight rows of eight words: word `j` of row `i` becomes word `i` of row `j`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]);
    }
    // pairs[2i + h] holds columns h, 2 + h, 4 + h, 6 + h of rows 2i and 2i + 1, one 128-bit part each.
    let mut out = r;
    for h in 0..2 {
        let low02 = _mm512_shuffle_i64x2::<0b10_00_10_00>(pairs[h], pairs[2 + h]);
        let high02 = _mm512_shuffle_i64x2::<0b11_01_11_01>(pairs[h], pairs[2 + h]);
        let low46 = _mm512_shuffle_i64x2::<0b10_00_10_00>(pairs[4 + h], pairs[6 + h]);
        let high46 = _mm512_shuffle_i64x2::<0b11_01_11_01>(pairs[4 + h], pairs[6 + h]);
        out[h] = _mm512_shuffle_i64x2::<0b10_00_10_00>(low02, low46);
        out[4 + h] = _mm512_shuffle_i64x2::<0b11_01_11_01>(low02, low46);
        out[2 + h] = _mm512_shuffle_i64x2::<0b10_00_10_00>(high02, high46);
        out[6 + h] = _mm512_shuffle_i64x2::<0b11_01_11_01>(high02, high46);
    }
    out
}

/// K groups of eight lanes. Interleaving the operations on K independent groups hides instruction
/// latency.
pub(super) type Groups<const K: usize> = [Fe; K];

/// `a * b` in K groups.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_groups<const K: usize>(a: &Groups<K>, b: &Groups<K>) -> Groups<K> {
    let mut out = *a;
    for k in 0..K {
        out[k] = mul(&a[k], &b[k]);
    }
    out
}

/// `a^2` in K groups.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sqr_groups<const K: usize>(a: &Groups<K>) -> Groups<K> {
    let mut out = *a;
    for k in 0..K {
        out[k] = sqr(&a[k]);
    }
    out
}

/// `a *= b` in K groups; in place, which saves a copy of the result.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_assign<const K: usize>(a: &mut Groups<K>, b: &Groups<K>) {
    for k in 0..K {
        a[k] = mul(&a[k], &b[k]);
    }
}

/// `a^(2^n) * b` in K groups.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn sqr_times_then_mul<const K: usize>(a: &Groups<K>, n: usize, b: &Groups<K>) -> Groups<K> {
    let mut t = *a;
    for _ in 0..n {
        for k in 0..K {
            t[k] = sqr(&t[k]);
        }
    }
    mul_assign(&mut t, b);
    t
}

/// a^(2^n - 1) for n = 2, 22, 223: powers for the runs of ones in the exponents below.
#[target_feature(enable = "avx512f,avx512ifma")]
fn ones<const K: usize>(a: &Groups<K>) -> (Groups<K>, Groups<K>, Groups<K>) {
    let x2 = sqr_times_then_mul(a, 1, a);
    let x3 = sqr_times_then_mul(&x2, 1, a);
    let x6 = sqr_times_then_mul(&x3, 3, &x3);
    let x9 = sqr_times_then_mul(&x6, 3, &x3);
    let x11 = sqr_times_then_mul(&x9, 2, &x2);
    let x22 = sqr_times_then_mul(&x11, 11, &x11);
    let x44 = sqr_times_then_mul(&x22, 22, &x22);
    let x88 = sqr_times_then_mul(&x44, 44, &x44);
    let x176 = sqr_times_then_mul(&x88, 88, &x88);
    let x220 = sqr_times_then_mul(&x176, 44, &x44);
    let x223 = sqr_times_then_mul(&x220, 3, &x3);
    (x2, x22, x223)
}

/// Square root a^((p + 1) / 4), with 253 squares and 13 products; unspecified where `a` is not a
/// square.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sqrt<const K: usize>(a: &Groups<K>) -> Groups<K> {
    // (p + 1) / 4 in binary: 223 ones, 0, 22 ones, 0000, 11, 00.
    let (x2, x22, x223) = ones(a);
    let t = sqr_times_then_mul(&x223, 23, &x22);
    let t = sqr_times_then_mul(&t, 6, &x2);
    sqr_groups(&sqr_groups(&t))
}

/// Inverse a^(p - 2), with 255 squares and 15 products; 0 for 0.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn invert(a: &Fe) -> Fe {
    // p - 2 in binary: 223 ones, 0, 22 ones, 0000, 1, 0, 11, 0, 1.
    let a = [*a];
    let (x2, x22, x223) = ones(&a);
    let t = sqr_times_then_mul(&x223, 23, &x22);
    let t = sqr_times_then_mul(&t, 5, &a);
    let t = sqr_times_then_mul(&t, 3, &x2);
    sqr_times_then_mul(&t, 2, &a)[0]
}
