//! Prefetch hints, as a safe function over references.
//!
//! The one door for `unsafe` in the trie. Its checked twin is doing nothing: a hint changes no value.
#![allow(unsafe_code)]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the cache lines of `bytes` of `row`, from the byte at `start` on.
#[inline(always)]
pub(super) fn prefetch<T>(row: &T, start: usize, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let base = (row as *const T).cast::<i8>();
        let end = (start + bytes).min(size_of::<T>());
        let mut at = start;
        while at < end {
            // SAFETY: `at` lies within the row that the reference covers; a prefetch neither reads nor writes.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(base.add(at)) };
            at += LINE;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, start, bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_changes_nothing_and_stays_in_bounds() {
        let row = [7u8; 200];
        super::prefetch(&row, 0, 10_000);
        super::prefetch(&row, 199, 64);
        super::prefetch(&row, 500, 64);
        assert_eq!(row, [7u8; 200]);
    }
}
