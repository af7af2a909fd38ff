//! Eight Keccak states in the eight 64-bit lanes of AVX-512 registers.
//!
//! Unsafe boundary: AVX-512F is detected at run time. Reference implementation: the scalar path of
//! `kernel.rs`; `tests.rs` compares both over all lengths.
#![allow(unsafe_code)]

use super::RATE;
use super::rounds::{ROUND, rounds};
use alloy_primitives::B256;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// Digests of eight padded messages. Finished lanes keep absorbing their last block; their output
/// is discarded.
///
/// # Panics
/// When AVX-512F is not available, or a message is empty or not whole blocks.
#[inline]
pub(super) fn hash(messages: &[&[u8]; 8], digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    assert!(messages.iter().all(|message| !message.is_empty() && message.len().is_multiple_of(RATE)));
    // SAFETY: AVX-512F was detected; all eight messages consist of whole blocks, at least one.
    unsafe { hash_avx512(messages, digests) }
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

/// Transposes a matrix of eight rows of eight words.
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
    // Of two registers, the even (0x88) or the odd (0xdd) 128-bit lanes.
    let even = |x, y| _mm512_shuffle_i64x2::<0x88>(x, y);
    let odd = |x, y| _mm512_shuffle_i64x2::<0xdd>(x, y);
    let (e0, o0) = (even(a[0], a[2]), odd(a[0], a[2]));
    let (e1, o1) = (even(a[1], a[3]), odd(a[1], a[3]));
    let (e2, o2) = (even(a[4], a[6]), odd(a[4], a[6]));
    let (e3, o3) = (even(a[5], a[7]), odd(a[5], a[7]));
    [even(e0, e2), even(e1, e3), even(o0, o2), even(o1, o3), odd(e0, e2), odd(e1, e3), odd(o0, o2), odd(o1, o3)]
}

/// Digests of eight unpadded messages of any lengths. Finished lanes keep absorbing their last
/// block and their output is discarded, so messages should have similar lengths. `tails[i]` is the
/// padded rest of message `i` after its whole blocks.
///
/// # Panics
/// When AVX-512F is not available.
pub(super) fn hash_uneven(messages: &[&[u8]; 8], tails: &[[u8; RATE]; 8], digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    // SAFETY: AVX-512F was detected.
    unsafe { hash_uneven_avx512(messages, tails, digests) }
}

/// The 17 words of one block of each lane.
///
/// # Safety
/// Every pointer is valid for reads of `RATE` bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(blocks: [*const u8; 8]) -> [__m512i; RATE / 8] {
    // SAFETY: the caller guarantees 17 words per lane.
    let word = |lane: usize, word: usize| unsafe { blocks[lane].add(word * 8) };
    let mut words = [_mm512_setzero_si512(); RATE / 8];
    for half in 0..2 {
        let mut rows = [_mm512_setzero_si512(); 8];
        for (lane, row) in rows.iter_mut().enumerate() {
            // SAFETY: eight words from word 0 or 8 end at word 16.
            *row = unsafe { _mm512_loadu_si512(word(lane, half * 8).cast()) };
        }
        words[half * 8..half * 8 + 8].copy_from_slice(&transpose(rows));
    }
    // SAFETY: word 16 is the block's last word.
    let last = |lane: usize| unsafe { word(lane, 16).cast::<i64>().read_unaligned() };
    words[16] = _mm512_set_epi64(last(7), last(6), last(5), last(4), last(3), last(2), last(1), last(0));
    words
}

/// Keccak-f[1600] of eight states. A macro, because a function would pass the states through
/// memory.
macro_rules! permute {
    ($a:ident) => {{
        let mut c = [_mm512_setzero_si512(); 5];
        for (x, parity) in c.iter_mut().enumerate() {
            *parity = xor3(xor3($a[x], $a[x + 5], $a[x + 10]), $a[x + 15], $a[x + 20]);
        }
        rounds!($a, c, ROUND, xor, xor3, chi, rol, splat);
    }};
}

/// Absorbs one block per lane and permutes. For the first block the previous state is zero and is
/// not read.
///
/// # Safety
/// As for [`load`]; unless `is_first`, an earlier call has written `state`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn absorb(state: &mut MaybeUninit<[__m512i; 25]>, is_first: bool, blocks: [*const u8; 8]) {
    let mut a = [_mm512_setzero_si512(); 25];
    // SAFETY: guaranteed by the caller.
    a[..RATE / 8].copy_from_slice(&unsafe { load(blocks) });
    if !is_first {
        // SAFETY: an earlier call wrote the state, as the caller guarantees.
        for (a, before) in a.iter_mut().zip(unsafe { state.assume_init_ref() }) {
            *a = xor(*a, *before);
        }
    }

    permute!(a);
    state.write(a);
}

/// Writes the digests of the `wanted` lanes: the first four words of each state. One transposition,
/// whose upper four input rows are unused.
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

/// Digests of eight padded messages of one block.
///
/// # Panics
/// When AVX-512F is not available.
#[inline]
pub(super) fn hash_blocks(blocks: &[&[u8; RATE]; 8], digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    // SAFETY: AVX-512F was detected.
    unsafe { hash_blocks_avx512(blocks, digests) }
}

#[target_feature(enable = "avx512f")]
fn hash_blocks_avx512(blocks: &[&[u8; RATE]; 8], digests: &mut [B256; 8]) {
    let mut a = [_mm512_setzero_si512(); 25];
    // SAFETY: every block has `RATE` bytes.
    a[..RATE / 8].copy_from_slice(&unsafe { load(blocks.map(|block| block.as_ptr())) });
    permute!(a);
    squeeze(&a, digests, |_| true);
}

/// Digests of eight keys of at most 32 bytes. A key is the first four words of its block; all other
/// words are zero except for the padding. A key of fewer than 32 bytes already contains the first
/// padding byte; for keys of 32 bytes (`whole`) it is in the fifth word.
///
/// # Panics
/// When AVX-512F is not available.
#[inline]
pub(super) fn hash_keys(keys: &[[u8; 32]; 8], whole: bool, digests: &mut [B256; 8]) {
    assert!(is_x86_feature_detected!("avx512f"));
    // SAFETY: AVX-512F was detected.
    unsafe { hash_keys_avx512(keys, whole, digests) }
}

#[target_feature(enable = "avx512f")]
fn hash_keys_avx512(keys: &[[u8; 32]; 8], whole: bool, digests: &mut [B256; 8]) {
    // SAFETY: a key has 32 readable bytes.
    let key = |lane: usize| unsafe { _mm256_loadu_si256(keys[lane].as_ptr().cast()) };
    // Keys `lane` and `lane + 2` in one register, so that the unpacked words are in lane order.
    let two = |lane: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(key(lane)), key(lane + 2));
    let (left, right) = ([two(0), two(1)], [two(4), two(5)]);
    let even = |pair: [__m512i; 2]| _mm512_unpacklo_epi64(pair[0], pair[1]);
    let odd = |pair: [__m512i; 2]| _mm512_unpackhi_epi64(pair[0], pair[1]);
    let mut a = [_mm512_setzero_si512(); 25];
    a[0] = _mm512_shuffle_i64x2::<0x88>(even(left), even(right));
    a[1] = _mm512_shuffle_i64x2::<0x88>(odd(left), odd(right));
    a[2] = _mm512_shuffle_i64x2::<0xdd>(even(left), even(right));
    a[3] = _mm512_shuffle_i64x2::<0xdd>(odd(left), odd(right));
    a[4] = splat(u64::from(whole));
    a[RATE / 8 - 1] = splat(1 << 63);
    permute!(a);
    squeeze(&a, digests, |_| true);
}

/// # Safety
/// AVX-512F is available.
#[target_feature(enable = "avx512f")]
unsafe fn hash_uneven_avx512(messages: &[&[u8]; 8], tails: &[[u8; RATE]; 8], digests: &mut [B256; 8]) {
    let mut a = MaybeUninit::uninit();
    let whole = messages.map(|message| message.len() / RATE);
    let most = whole.iter().copied().max().unwrap_or(0);
    for block in 0..=most {
        let blocks = core::array::from_fn(|lane| match messages[lane].get(block * RATE..(block + 1) * RATE) {
            Some(bytes) => bytes.as_ptr(),
            None => tails[lane].as_ptr(),
        });
        // SAFETY: both slices are `RATE` bytes long.
        unsafe { absorb(&mut a, block == 0, blocks) };
        if whole.contains(&block) {
            // SAFETY: `absorb` has written the state.
            squeeze(unsafe { a.assume_init_ref() }, digests, |lane| whole[lane] == block);
        }
    }
}

/// # Safety
/// AVX-512F is available; every message consists of whole blocks, at least one.
#[target_feature(enable = "avx512f")]
unsafe fn hash_avx512(messages: &[&[u8]; 8], digests: &mut [B256; 8]) {
    let mut blocks = [core::ptr::null(); 8];
    let (mut least, mut most) = (usize::MAX, 0);
    for (block, message) in blocks.iter_mut().zip(messages) {
        *block = message.as_ptr();
        least = least.min(message.len());
        most = most.max(message.len());
    }
    let mut a = MaybeUninit::uninit();
    // SAFETY: every message has at least one block.
    unsafe { absorb(&mut a, true, blocks) };
    let mut absorbed = RATE;
    loop {
        if absorbed >= least {
            // SAFETY: `absorb` has written the state.
            squeeze(unsafe { a.assume_init_ref() }, digests, |lane| messages[lane].len() == absorbed);
        }
        if absorbed == most {
            return;
        }
        for (block, message) in blocks.iter_mut().zip(messages) {
            *block = message.as_ptr().wrapping_add(absorbed.min(message.len() - RATE));
        }
        // SAFETY: each pointer points to a whole block of its message.
        unsafe { absorb(&mut a, false, blocks) };
        absorbed += RATE;
    }
}
