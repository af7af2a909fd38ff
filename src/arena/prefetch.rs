//! Prefetch hints, as a safe function.
//!
//! An unsafe door. Its checked twin is doing nothing: a hint changes no value.
#![allow(unsafe_code)]

/// Bytes of a line of the cache.
pub(crate) const LINE: usize = 64;

/// Asks for the `count` cache lines from `first` on.
#[inline(always)]
pub(crate) fn prefetch_lines(first: *const u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in 0..count {
            // SAFETY: a prefetch neither reads nor writes, and an address without memory is passed over.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line * LINE).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, count);
}

/// Where a node starts and where the second line to ask for is: the first again, or the next.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    first: *const u8,
    second: *const u8,
}

impl Default for Head {
    fn default() -> Self {
        Self { first: core::ptr::null(), second: core::ptr::null() }
    }
}

impl Head {
    #[inline(always)]
    pub(crate) fn new(first: *const u8, two: bool) -> Self {
        Self { first, second: first.wrapping_add(usize::from(two) * LINE) }
    }
}

/// Asks for many nodes at once: nothing but hints stands between them, so that as many as possible are under way.
#[inline(always)]
pub(crate) fn prefetch_heads(heads: &[Head]) {
    for head in heads {
        prefetch_lines(head.first, 1);
        prefetch_lines(head.second, 1);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_changes_nothing() {
        let row = [7u8; 200];
        super::prefetch_lines(row.as_ptr(), 4);
        super::prefetch_lines(core::ptr::null(), 3);
        super::prefetch_heads(&[super::Head::default(), super::Head::new(row.as_ptr(), true)]);
        assert_eq!(row, [7u8; 200]);
    }
}
