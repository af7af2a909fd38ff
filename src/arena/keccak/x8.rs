//! Eight Keccak states in the eight 64-bit lanes of AVX-512 registers.
//!
//! Checked twin: the scalar path of `kernel.rs`; `tests.rs` compares them over all lengths.
#![allow(unsafe_code)]

use super::RATE;
use super::kernel::{ROUND, rounds};
use alloy_primitives::B256;
use core::arch::x86_64::*;

/// Digests of eight padded messages.
///
/// # Panics
/// When AVX-512 is absent, or the messages are not whole blocks of one count.
#[inline]
pub(super) fn hash(messages: &[&[u8]; 8], digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    let bytes = messages[0].len();
    assert!(bytes.is_multiple_of(RATE) && messages.iter().all(|message| message.len() == bytes));
    // SAFETY: AVX-512F was detected; all eight messages have `bytes` readable bytes, a multiple of the rate.
    unsafe { hash_avx512(messages, bytes / RATE, digests) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// `a ^ (!b & c)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rol<const N: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi64::<N>(a)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(a: u64) -> __m512i {
    _mm512_set1_epi64(a as i64)
}

/// Turns eight rows of eight words into eight columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    let a = [
        _mm512_unpacklo_epi64(r[0], r[1]),
        _mm512_unpackhi_epi64(r[0], r[1]),
        _mm512_unpacklo_epi64(r[2], r[3]),
        _mm512_unpackhi_epi64(r[2], r[3]),
        _mm512_unpacklo_epi64(r[4], r[5]),
        _mm512_unpackhi_epi64(r[4], r[5]),
        _mm512_unpacklo_epi64(r[6], r[7]),
        _mm512_unpackhi_epi64(r[6], r[7]),
    ];
    // Pairs of 128-bit lanes: even ones (0x88) and odd ones (0xdd) of two registers.
    let even = |x, y| _mm512_shuffle_i64x2::<0x88>(x, y);
    let odd = |x, y| _mm512_shuffle_i64x2::<0xdd>(x, y);
    let (e0, o0) = (even(a[0], a[2]), odd(a[0], a[2]));
    let (e1, o1) = (even(a[1], a[3]), odd(a[1], a[3]));
    let (e2, o2) = (even(a[4], a[6]), odd(a[4], a[6]));
    let (e3, o3) = (even(a[5], a[7]), odd(a[5], a[7]));
    [even(e0, e2), even(e1, e3), even(o0, o2), even(o1, o3), odd(e0, e2), odd(e1, e3), odd(o0, o2), odd(o1, o3)]
}

/// Digests of eight messages of any lengths. A lane that is done goes on absorbing its last block, unheeded, so messages
/// of about the same length belong together. `tails[i]` is the padded rest of message `i` behind its whole blocks.
///
/// # Panics
/// When AVX-512 is absent.
pub(super) fn hash_uneven(messages: &[&[u8]; 8], tails: &[[u8; RATE]; 8], digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    // SAFETY: AVX-512F was detected.
    unsafe { hash_uneven_avx512(messages, tails, digests) }
}

/// Absorbs one block of each lane and permutes.
///
/// # Safety
/// Every pointer has `RATE` readable bytes behind it.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn absorb(a: &mut [__m512i; 25], blocks: [*const u8; 8]) {
    // SAFETY: the caller grants 17 words of each lane.
    let word = |lane: usize, word: usize| unsafe { blocks[lane].add(word * 8) };
    for half in 0..2 {
        let mut rows = [_mm512_setzero_si512(); 8];
        for (lane, row) in rows.iter_mut().enumerate() {
            // SAFETY: eight words from word 0 or 8 end at word 16.
            *row = unsafe { _mm512_loadu_si512(word(lane, half * 8).cast()) };
        }
        let columns = transpose(rows);
        for (i, column) in columns.into_iter().enumerate() {
            a[half * 8 + i] = xor(a[half * 8 + i], column);
        }
    }
    // SAFETY: word 16 is the block's last.
    let last = |lane: usize| unsafe { word(lane, 16).cast::<i64>().read_unaligned() };
    a[16] = xor(a[16], _mm512_set_epi64(last(7), last(6), last(5), last(4), last(3), last(2), last(1), last(0)));

    let mut c = [_mm512_setzero_si512(); 5];
    for (x, parity) in c.iter_mut().enumerate() {
        *parity = xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
    }
    let mut state = *a;
    rounds!(state, c, ROUND, xor, xor3, chi, rol, splat);
    *a = state;
}

/// The first four words of each state are its digest: one transposition, the upper four rows unused.
#[inline]
#[target_feature(enable = "avx512f")]
fn squeeze(a: &[__m512i; 25], digests: &mut [B256; 8], wanted: impl Fn(usize) -> bool) {
    let zero = _mm512_setzero_si512();
    let rows = transpose([a[0], a[1], a[2], a[3], zero, zero, zero, zero]);
    for (lane, (digest, row)) in digests.iter_mut().zip(rows).enumerate() {
        if wanted(lane) {
            // SAFETY: a digest has 32 writable bytes.
            unsafe { _mm256_storeu_si256(digest.as_mut_ptr().cast(), _mm512_castsi512_si256(row)) };
        }
    }
}

/// # Safety
/// AVX-512F is there.
#[target_feature(enable = "avx512f")]
unsafe fn hash_uneven_avx512(messages: &[&[u8]; 8], tails: &[[u8; RATE]; 8], digests: &mut [B256; 8]) {
    let mut a = [_mm512_setzero_si512(); 25];
    let whole = messages.map(|message| message.len() / RATE);
    let most = whole.iter().copied().max().unwrap_or(0);
    for block in 0..=most {
        let blocks = core::array::from_fn(|lane| match messages[lane].get(block * RATE..(block + 1) * RATE) {
            Some(bytes) => bytes.as_ptr(),
            None => tails[lane].as_ptr(),
        });
        // SAFETY: both are `RATE` bytes long.
        unsafe { absorb(&mut a, blocks) };
        if whole.contains(&block) {
            squeeze(&a, digests, |lane| whole[lane] == block);
        }
    }
}

/// # Safety
/// Every message has at least `blocks * RATE` readable bytes.
#[target_feature(enable = "avx512f")]
unsafe fn hash_avx512(messages: &[&[u8]; 8], blocks: usize, digests: &mut [B256; 8]) {
    let mut a = [_mm512_setzero_si512(); 25];
    for block in 0..blocks {
        // SAFETY: the caller grants `blocks * RATE` bytes of each message.
        unsafe { absorb(&mut a, messages.map(|message| message.as_ptr().add(block * RATE))) };
    }
    squeeze(&a, digests, |_| true);
}
