//! Four Keccak states in the four 64-bit lanes of AVX2 registers.
//!
//! Unsafe boundary: AVX2 is detected at run time. Reference implementation: the scalar path of
//! `kernel.rs`; `tests.rs` compares both over all lengths.
#![allow(unsafe_code)]

use super::RATE;
use super::rounds::{ROUND, rounds};
use alloy_primitives::B256;
use core::arch::x86_64::*;

/// Digests of four padded messages.
///
/// # Panics
/// When AVX2 is not available, or the messages are not whole blocks of equal count.
#[inline]
pub(super) fn hash(messages: &[&[u8]; 4], digests: &mut [B256; 4]) {
    assert!(is_x86_feature_detected!("avx2"));
    let bytes = messages[0].len();
    assert!(bytes.is_multiple_of(RATE) && messages.iter().all(|message| message.len() == bytes));
    // SAFETY: AVX2 was detected; all four messages have `bytes` readable bytes, a multiple of the rate.
    unsafe { hash_avx2(messages, bytes / RATE, digests) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(xor(a, b), c)
}

/// `a ^ (!b & c)`.
#[inline]
#[target_feature(enable = "avx2")]
fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(a, _mm256_andnot_si256(b, c))
}

/// Rotations by 8 and 56 bits are one shuffle, all others two shifts by a register, because
/// `64 - N` cannot be a const argument on stable Rust.
#[inline]
#[target_feature(enable = "avx2")]
fn rol<const N: i32>(a: __m256i) -> __m256i {
    if N == 8 {
        let turn = _mm256_set_epi64x(
            0x0e0d_0c0b_0a09_080f,
            0x0605_0403_0201_0007,
            0x0e0d_0c0b_0a09_080f,
            0x0605_0403_0201_0007,
        );
        return _mm256_shuffle_epi8(a, turn);
    }
    if N == 56 {
        let turn = _mm256_set_epi64x(
            0x080f_0e0d_0c0b_0a09,
            0x0007_0605_0403_0201,
            0x080f_0e0d_0c0b_0a09,
            0x0007_0605_0403_0201,
        );
        return _mm256_shuffle_epi8(a, turn);
    }
    let left = _mm_cvtsi32_si128(N);
    let right = _mm_cvtsi32_si128(64 - N);
    _mm256_or_si256(_mm256_sll_epi64(a, left), _mm256_srl_epi64(a, right))
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(a: u64) -> __m256i {
    _mm256_set1_epi64x(a as i64)
}

/// Transposes a matrix of four rows of four words.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(r: [__m256i; 4]) -> [__m256i; 4] {
    let a = [
        _mm256_unpacklo_epi64(r[0], r[1]),
        _mm256_unpackhi_epi64(r[0], r[1]),
        _mm256_unpacklo_epi64(r[2], r[3]),
        _mm256_unpackhi_epi64(r[2], r[3]),
    ];
    [
        _mm256_permute2x128_si256::<0x20>(a[0], a[2]),
        _mm256_permute2x128_si256::<0x20>(a[1], a[3]),
        _mm256_permute2x128_si256::<0x31>(a[0], a[2]),
        _mm256_permute2x128_si256::<0x31>(a[1], a[3]),
    ]
}

/// # Safety
/// Every message has at least `blocks * RATE` readable bytes.
#[target_feature(enable = "avx2")]
unsafe fn hash_avx2(messages: &[&[u8]; 4], blocks: usize, digests: &mut [B256; 4]) {
    let mut a = [_mm256_setzero_si256(); 25];
    for block in 0..blocks {
        let start = block * RATE;
        // SAFETY: the caller guarantees `blocks * RATE` bytes, and a block has 17 words.
        let word = |lane: usize, word: usize| unsafe { messages[lane].as_ptr().add(start + word * 8) };
        for quarter in 0..4 {
            let mut rows = [_mm256_setzero_si256(); 4];
            for (lane, row) in rows.iter_mut().enumerate() {
                // SAFETY: four words from word 0, 4, 8 or 12 end at word 16.
                *row = unsafe { _mm256_loadu_si256(word(lane, quarter * 4).cast()) };
            }
            let columns = transpose(rows);
            for (i, column) in columns.into_iter().enumerate() {
                a[quarter * 4 + i] = xor(a[quarter * 4 + i], column);
            }
        }
        // SAFETY: word 16 is the block's last word.
        let last = |lane: usize| unsafe { word(lane, 16).cast::<i64>().read_unaligned() };
        a[16] = xor(a[16], _mm256_set_epi64x(last(3), last(2), last(1), last(0)));

        let mut c = [_mm256_setzero_si256(); 5];
        for (x, parity) in c.iter_mut().enumerate() {
            *parity = xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
        }
        rounds!(a, c, ROUND, xor, xor3, chi, rol, splat);
    }
    // The first four words of each state are its digest.
    let rows = transpose([a[0], a[1], a[2], a[3]]);
    for (digest, row) in digests.iter_mut().zip(rows) {
        // SAFETY: a digest has 32 writable bytes.
        unsafe { _mm256_storeu_si256(digest.as_mut_ptr().cast(), row) };
    }
}
