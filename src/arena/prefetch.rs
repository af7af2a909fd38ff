//! CPU cache prefetch hints as safe functions.
//!
//! In: addresses, of which none need be valid. Out: nothing; a hint changes no value.
//! Unsafe boundary. The reference implementation is an empty function.
#![allow(unsafe_code)]

/// Size of a cache line in bytes.
pub(crate) const LINE: usize = 64;

/// Prefetches `count` cache lines, starting with the one at `first`.
#[inline(always)]
pub(crate) fn prefetch_lines(first: *const u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in 0..count {
            // SAFETY: a prefetch does not access memory architecturally, and ignores unmapped
            // addresses.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line * LINE).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, count);
}

/// The start of a node, and the second cache line to prefetch: the first one again, or the next
/// one.
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

/// Prefetches many nodes. The loop contains only hints, so that as many loads as possible are in
/// flight at once.
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
