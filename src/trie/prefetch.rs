//! Prefetch hints, as a safe function over arrays.
//!
//! The one door for `unsafe` in the trie. Its checked twin is doing nothing: a hint changes no value.
#![allow(unsafe_code)]

use super::lines::LINE;

/// Asks for the cache lines of `bytes`, as many as it has when it starts with one.
#[inline(always)]
pub(super) fn prefetch<const N: usize>(bytes: &[u8; N]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in 0..N.div_ceil(LINE) {
            // SAFETY: the address lies within the array; a prefetch neither reads nor writes.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().add(line * LINE).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_changes_nothing() {
        let row = [7u8; 200];
        super::prefetch(&row);
        super::prefetch(&[0u8; 0]);
        super::prefetch(&[0u8; 64]);
        assert_eq!(row, [7u8; 200]);
    }
}
