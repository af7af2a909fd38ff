//! One Keccak state in 25 of the 32 vector registers of AVX-512VL, which has three-operand logic
//! and rotation as single instructions. Needs no transposition.
//!
//! Unsafe boundary: AVX-512VL is detected at run time. Reference implementation: the scalar
//! assembly used by `alloy-primitives`; `tests.rs` compares both over all lengths.
#![allow(unsafe_code)]

use super::RATE;
use super::rounds::{ROUND, rounds};
use alloy_primitives::B256;
use core::arch::x86_64::*;

/// Whether this machine has AVX-512VL.
#[inline]
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512vl")
}

/// Keccak-256 of a message.
///
/// # Panics
/// When AVX-512VL is not available.
#[inline]
pub(super) fn hash(message: &[u8]) -> B256 {
    assert!(is_supported());
    // SAFETY: AVX-512VL was detected, and it implies AVX-512F.
    unsafe { hash_avx512vl(message) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn xor(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn xor3(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_ternarylogic_epi64::<0x96>(a, b, c)
}

/// `a ^ (!b & c)`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn chi(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_ternarylogic_epi64::<0xd2>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn rol<const N: i32>(a: __m128i) -> __m128i {
    _mm_rol_epi64::<N>(a)
}

/// A word in the lower half of a register. The upper half is permuted too, and its result is
/// discarded.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn splat(a: u64) -> __m128i {
    _mm_cvtsi64_si128(a as i64)
}

/// 64-bit words that one permutation absorbs.
const WORDS: usize = RATE / 8;

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn absorb(a: &mut [__m128i; 25], block: impl Fn(usize) -> u64) {
    for (word, lane) in a[..WORDS].iter_mut().enumerate() {
        *lane = xor(*lane, splat(block(word)));
    }
    let mut c = [_mm_setzero_si128(); 5];
    for (x, parity) in c.iter_mut().enumerate() {
        *parity = xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
    }
    let mut state = *a;
    rounds!(state, c, ROUND, xor, xor3, chi, rol, splat);
    *a = state;
}

/// The last block of a message: `rest`, fewer bytes than the rate, with padding. Built from whole
/// words, because a byte store followed by a load of the containing word stalls (no store
/// forwarding).
#[inline]
fn pad(rest: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let (whole, tail) = rest.as_chunks::<8>();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*bytes);
    }
    // Padding of Keccak, not of SHA-3: a 1 bit, zeros, a 1 bit at the block's end.
    words[whole.len()] = tail.iter().rev().fold(1, |word, byte| word << 8 | u64::from(*byte));
    words[WORDS - 1] |= 1 << 63;
    words
}

#[target_feature(enable = "avx512f,avx512vl")]
fn hash_avx512vl(message: &[u8]) -> B256 {
    let mut a = [_mm_setzero_si128(); 25];
    let (blocks, rest) = message.as_chunks::<RATE>();
    for block in blocks {
        let words = block.as_chunks::<8>().0;
        absorb(&mut a, |word| u64::from_le_bytes(words[word]));
    }
    let last = pad(rest);
    absorb(&mut a, |word| last[word]);
    let mut digest = B256::ZERO;
    for (word, lane) in digest.as_chunks_mut::<8>().0.iter_mut().zip(a) {
        *word = _mm_cvtsi128_si64(lane).to_le_bytes();
    }
    digest
}
