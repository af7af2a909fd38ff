//! Recovery of one chunk of signatures.
//!
//! ```text
//! r, s, z ─► ranges ─► 1/r for all at once ─► u1, u2 ─► halves, digits ──────┐
//! r ─► x^3 + 7 ─► square root, parity ─► odd multiples of R, two tables ─► sum of four ─► 1/Z for all at once ─► Keccak
//! ```
//!
//! Cost per group of eight signatures (product M, square S): square root 14 M + 255 S; odd
//! multiples 138 M + 49 S; 125 doublings 250 M + 625 S; 51 additions of multiples of R 408 M + 153
//! S; 26 of multiples of G 234 M + 78 S; conversion to affine 7 M + 1 S and a share of 15 M + 255
//! S. In total 1051 M + 1161 S. With 66 and 46 multiplier instructions each, that is 123 thousand
//! per eight signatures, of which two are executed per cycle.
//!
//! Lanes are independent: an invalid signature is computed with arbitrary values, and its result is
//! discarded. Only the two inversions are shared between signatures; there, zero is replaced by
//! one.
//! Not here: formulas (`group.rs`).

use core::arch::x86_64::*;
use core::array;

use alloy_primitives::{Address, U256};

use crate::arena::keccak::{Lanes, PaddedBlocks, RATE, Width};

use super::super::scalar::{self, ORDER, Words};
use super::super::{Candidate, HALF_ORDER, Multiple, Signature, recover_scalar};
use super::field::{
    Fe, canonical, constant, from_words, invert, is_zero, mul, mul_groups, select, splat, sqr, sqrt, sub, tighten,
};
use super::generator::{GeneratorTable, WINDOW};
use super::group::{Addend, Jacobian, NONCE_WINDOW, NonceTable, add_mixed, double, odd_multiples, right_side, rows};
use super::{from_array, to_array};

/// Number of signatures that share their inversions.
pub(super) const CHUNK: usize = 128;
const GROUPS: usize = CHUNK / 8;

/// Lengths in bits of the recoded halves: the smallest multiples of the window widths that hold 129
/// bits and a sign.
pub(super) const NONCE_BITS: u32 = 130;
pub(super) const GENERATOR_BITS: u32 = 130_u32.div_ceil(WINDOW) * WINDOW;
const NONCE_TOP: u32 = NONCE_BITS - NONCE_WINDOW;
const _: () = assert!(NONCE_BITS.is_multiple_of(NONCE_WINDOW) && GENERATOR_BITS - WINDOW < NONCE_TOP);

/// Recoded halves of eight u1 (multipliers of G and lambda G) and of eight u2 (of R and lambda R),
/// three words each.
#[derive(Clone, Copy)]
pub(super) struct Multipliers {
    generator: [[[u64; 8]; 3]; 2],
    nonce: [[[u64; 8]; 3]; 2],
}

/// State of eight signatures during recovery.
#[derive(Clone, Copy)]
pub(super) struct Group {
    multipliers: Multipliers,
    /// Words of r, one signature per lane.
    r: [[u64; 8]; 4],
    /// The nonce points R, valid after [`decompress`].
    x: Fe,
    y: Fe,
    /// Mask of lanes whose nonce point has an odd y.
    odd: __mmask8,
    /// Mask of lanes with a signature that has passed all checks so far.
    valid: __mmask8,
}

impl Group {
    #[target_feature(enable = "avx512f")]
    pub(super) fn empty() -> Self {
        let no_halves = [[[0; 8]; 3]; 2];
        let multipliers = Multipliers { generator: no_halves, nonce: no_halves };
        let one = constant([1, 0, 0, 0, 0]);
        Self { multipliers, r: [[0; 8]; 4], x: one, y: one, odd: 0, valid: 0 }
    }
}

/// Recovers at most [`CHUNK`] signatures, each into the element of `out` at its position.
#[target_feature(enable = "avx512f,avx512ifma,bmi2,adx")]
pub(super) fn recover_chunk(signatures: &[Signature], out: &mut [Option<Address>]) {
    let mut groups = [Group::empty(); GROUPS];
    let groups = &mut groups[..signatures.len().min(CHUNK).div_ceil(8)];
    prepare(signatures, groups);
    let mut sums = sums::<true>(groups);
    finish(signatures, groups, &mut sums, out);
}

/// The multiples s / r of the nonce points of at most [`CHUNK`] candidates, each with the even y coordinate, into the
/// element of `out` at its position; `None` where r or s is out of range or r is not the x coordinate of a curve point.
#[target_feature(enable = "avx512f,avx512ifma,bmi2,adx")]
pub(super) fn multiply_chunk(candidates: &[Candidate], out: &mut [Option<Multiple>]) {
    let mut signatures = [Signature::default(); CHUNK];
    for (signature, Candidate { r, s }) in signatures.iter_mut().zip(candidates) {
        (signature.r, signature.s) = (*r, *s);
    }
    let signatures = &signatures[..candidates.len().min(CHUNK)];
    let mut groups = [Group::empty(); GROUPS];
    let groups = &mut groups[..signatures.len().div_ceil(8)];
    let inverses = prepare(signatures, groups);
    let mut sums = sums::<false>(groups);
    to_affine(&mut sums[..groups.len()], |i, exceptional, x, y| {
        let (group, rows) = (&groups[i], rows(x, y));
        for (lane, out) in out.iter_mut().skip(8 * i).take(8).enumerate() {
            let [x0, x1, x2, x3, y0, y1, y2, y3] = to_array(rows[lane]);
            let (x, y) = ([x0, x1, x2, x3], [y0, y1, y2, y3]);
            let is_good = (group.valid & !exceptional) >> lane & 1 == 1;
            *out = is_good.then(|| Multiple { x, y, r_inverse: inverses[8 * i + lane] });
        }
    });
}

/// Computes the nonce points R of all groups, and u2 R, with u1 G added if `GENERATOR` is set.
#[target_feature(enable = "avx512f,avx512ifma")]
fn sums<const GENERATOR: bool>(groups: &mut [Group]) -> [Jacobian<1>; GROUPS] {
    let one = constant([1, 0, 0, 0, 0]);
    // A square root is one dependent chain of squares: interleaving four groups hides its latency.
    // For the sums two groups suffice.
    let (fours, rest) = groups.as_chunks_mut::<4>();
    fours.iter_mut().for_each(|four| decompress(four));
    let (pairs, single) = rest.as_chunks_mut::<2>();
    pairs.iter_mut().for_each(|pair| decompress(pair));
    single.iter_mut().for_each(|group| decompress(array::from_mut(group)));

    let mut sums = [Jacobian { x: [one], y: [one], z: [one] }; GROUPS];
    let mut tables = [NonceTable::new(), NonceTable::new()];
    let (pairs, single) = groups.as_chunks::<2>();
    for (pair, sums) in pairs.iter().zip(sums.as_chunks_mut::<2>().0) {
        let sum = multiply::<GENERATOR, 2>(pair, &mut tables);
        for k in 0..2 {
            sums[k] = Jacobian { x: [sum.x[k]], y: [sum.y[k]], z: [sum.z[k]] };
        }
    }
    if let [group] = single {
        let [table, _] = &mut tables;
        sums[2 * pairs.len()] = multiply::<GENERATOR, 1>(array::from_ref(group), array::from_mut(table));
    }
    sums
}

/// The part modulo the group order: checks the ranges of r and s, computes 1/r, both multipliers
/// and their digits. Returns the inverses in the form of [`scalar::invert_all`].
#[target_feature(enable = "bmi2,adx")]
pub(super) fn prepare(signatures: &[Signature], groups: &mut [Group]) -> [Words; CHUNK] {
    let mut inverses = [[1, 0, 0, 0]; CHUNK];
    let mut scratch = [[0; 4]; CHUNK];
    let order = U256::from_limbs(ORDER);
    let count = signatures.len().min(CHUNK);
    for (i, signature) in signatures.iter().enumerate().take(count) {
        let s_max = if signature.low_s { HALF_ORDER } else { order - U256::ONE };
        let in_range = !signature.r.is_zero() && signature.r < order && !signature.s.is_zero() && signature.s <= s_max;
        let (group, lane) = (&mut groups[i / 8], i % 8);
        if in_range {
            group.valid |= 1 << lane;
            inverses[i] = signature.r.into_limbs();
        }
        group.odd |= u8::from(signature.y_parity) << lane;
        for (words, word) in group.r.iter_mut().zip(signature.r.as_limbs()) {
            words[lane] = *word;
        }
    }
    scalar::invert_all(&mut inverses[..count], &mut scratch[..count]);
    for (i, signature) in signatures.iter().enumerate().take(count) {
        let z = U256::from_be_bytes(signature.hash.0).into_limbs();
        let u1 = scalar::negate(&scalar::mul_redc(&z, &inverses[i]));
        let u2 = scalar::mul_redc(signature.s.as_limbs(), &inverses[i]);
        let (group, lane) = (&mut groups[i / 8], i % 8);
        recode(&u1, GENERATOR_BITS, lane, &mut group.multipliers.generator);
        recode(&u2, NONCE_BITS, lane, &mut group.multipliers.nonce);
    }
    inverses
}

/// Splits `k` (GLV) and stores the digits of its halves in one lane.
#[inline]
fn recode(k: &Words, bits: u32, lane: usize, out: &mut [[[u64; 8]; 3]; 2]) {
    let (k1, k2) = scalar::split(k);
    for (half, out) in [k1, k2].into_iter().zip(out) {
        for (word, out) in scalar::regular(half, bits).into_iter().zip(out) {
            out[lane] = word;
        }
    }
}

/// The window of `W` bits at bit `position` of eight three-word numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn window<const W: u32>(words: &[[u64; 8]; 3], position: u32) -> __m512i {
    let (i, bit) = ((position / 64) as usize % 3, position % 64);
    let low = _mm512_srl_epi64(from_array(words[i]), _mm_cvtsi32_si128(bit.cast_signed()));
    // A shift by 64 or more gives zero.
    let next = words.get(i + 1).copied().unwrap_or_default();
    let high = _mm512_sll_epi64(from_array(next), _mm_cvtsi32_si128((64 - bit).cast_signed()));
    _mm512_and_si512(_mm512_or_si512(low, high), splat((1 << W) - 1))
}

/// Computes the nonce points of K groups. Lanes whose r is not the x coordinate of a curve point
/// become invalid.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn decompress<const K: usize>(groups: &mut [Group; K]) {
    let mut square = [groups[0].x; K];
    for k in 0..K {
        groups[k].x = from_words(groups[k].r.map(from_array));
        square[k] = right_side(&groups[k].x);
    }
    let root = sqrt(&square);
    for k in 0..K {
        let difference = tighten(&sub::<2>(&sqr(&root[k]), &square[k]));
        groups[k].valid &= is_zero(&difference);
        let root = canonical(&root[k]);
        let odd = _mm512_test_epi64_mask(root.0[0], splat(1));
        groups[k].y = select(odd ^ groups[k].odd, &root, &negative(&root));
    }
}

/// -a of a tight element; tight.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn negative(a: &Fe) -> Fe {
    tighten(&sub::<2>(&constant([0; 5]), a))
}

/// u1 G + u2 R for K groups; u2 R unless `GENERATOR` is set.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn multiply<const GENERATOR: bool, const K: usize>(
    groups: &[Group; K],
    tables: &mut [NonceTable; K],
) -> Jacobian<K> {
    let one = constant([1, 0, 0, 0, 0]);
    let x = groups.map(|group| group.x);
    let y = groups.map(|group| group.y);
    let generator = GeneratorTable::get();
    let scale = odd_multiples(&x, &y, tables);
    let mut addend = Addend { x, y, negative: [0; K] };
    pick_nonce(groups, tables, 0, NONCE_TOP, &mut addend);
    let mut sum = Jacobian { x: addend.x, y: addend.y, z: [one; K] };
    for k in 0..K {
        sum.y[k] = select(addend.negative[k], &addend.y[k], &negative(&addend.y[k]));
    }
    pick_nonce(groups, tables, 1, NONCE_TOP, &mut addend);
    add_mixed(&mut sum, &addend, None);
    for position in (0..NONCE_TOP).rev() {
        double(&mut sum);
        if position.is_multiple_of(NONCE_WINDOW) {
            for lambda in 0..2 {
                pick_nonce(groups, tables, lambda, position, &mut addend);
                add_mixed(&mut sum, &addend, None);
            }
        }
        if GENERATOR && position.is_multiple_of(WINDOW) {
            for lambda in 0..2 {
                for k in 0..K {
                    let digit = window::<WINDOW>(&groups[k].multipliers.generator[lambda], position);
                    (addend.x[k], addend.y[k], addend.negative[k]) = generator.lookup(lambda, digit);
                }
                add_mixed(&mut sum, &addend, Some(&scale));
            }
        }
    }
    sum.z = mul_groups(&sum.z, &scale);
    sum
}

/// Looks up the points of the nonce digits at `position`.
#[inline]
#[target_feature(enable = "avx512f")]
fn pick_nonce<const K: usize>(
    groups: &[Group; K],
    tables: &[NonceTable; K],
    lambda: usize,
    position: u32,
    addend: &mut Addend<K>,
) {
    for k in 0..K {
        let digit = window::<NONCE_WINDOW>(&groups[k].multipliers.nonce[lambda], position);
        (addend.x[k], addend.y[k], addend.negative[k]) = tables[k].lookup(lambda, digit);
    }
}

/// Computes canonical affine coordinates of at most [`GROUPS`] groups, the last one first, with one inversion. Passes each
/// to `each` with its number and the mask of lanes whose Z is zero: there, an exceptional case of the addition law
/// occurred, or the point is at infinity, and the coordinates are arbitrary.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn to_affine(sums: &mut [Jacobian<1>], mut each: impl FnMut(usize, __mmask8, &Fe, &Fe)) {
    let one = constant([1, 0, 0, 0, 0]);
    let mut before = [one; GROUPS];
    let mut exceptional = [0; GROUPS];
    let mut product = one;
    for i in 0..sums.len() {
        exceptional[i] = is_zero(&sums[i].z[0]);
        sums[i].z[0] = select(exceptional[i], &sums[i].z[0], &one);
        before[i] = product;
        product = mul(&product, &sums[i].z[0]);
    }
    let mut inverse = invert(&product);
    for (i, sum) in sums.iter().enumerate().rev() {
        let own = mul(&inverse, &before[i]);
        inverse = mul(&inverse, &sum.z[0]);
        let squared = sqr(&own);
        let x = canonical(&mul(&sum.x[0], &squared));
        let y = canonical(&mul(&sum.y[0], &mul(&squared, &own)));
        each(i, exceptional[i], &x, &y);
    }
}

/// Computes the addresses.
///
/// libsecp256k1 recovers a signature with an exceptional case. Random signatures do not cause this; a constructed one
/// costs as much as a scalar recovery.
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(signatures: &[Signature], groups: &[Group], sums: &mut [Jacobian<1>; GROUPS], out: &mut [Option<Address>]) {
    let mut keys: [PaddedBlocks<RATE>; 8] = Default::default();
    to_affine(&mut sums[..groups.len()], |i, exceptional, x, y| {
        for (key, row) in keys.iter_mut().zip(rows(x, y)) {
            let [x0, x1, x2, x3, y0, y1, y2, y3] = to_array(row);
            for (bytes, word) in key.bytes_mut().chunks_exact_mut(8).zip([x3, x2, x1, x0, y3, y2, y1, y0]) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            key.pad(64);
        }
        let mut lanes = Lanes::default();
        keys.iter().for_each(|key| lanes.push(key.blocks(), 64));
        let digests = lanes.hash(Width::Eight);
        for (lane, (signature, out)) in signatures.iter().zip(out.iter_mut()).skip(8 * i).take(8).enumerate() {
            *out = if groups[i].valid >> lane & 1 == 0 {
                None
            } else if exceptional >> lane & 1 == 1 {
                recover_scalar(signature)
            } else {
                Some(Address::from_word(digests[lane]))
            };
        }
    });
}
