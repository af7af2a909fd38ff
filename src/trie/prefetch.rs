//! Prefetch hints, as a safe function over slices.
//!
//! The one door for `unsafe` in the trie. Its checked twin is doing nothing: a hint changes no value.
#![allow(unsafe_code)]

use super::lines::LINE;

/// Asks for the cache lines of `bytes`.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for at in (0..bytes.len()).step_by(LINE) {
            // SAFETY: `at` lies within the slice; a prefetch neither reads nor writes.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().add(at).cast()) };
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
        super::prefetch(&row[..0]);
        super::prefetch(&row[199..]);
        assert_eq!(row, [7u8; 200]);
    }
}
