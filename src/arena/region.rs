//! `Region`: one aligned allocation of fixed capacity, initialised from its start on demand.
//!
//! In: a capacity in bytes, and whether large pages are wanted. Out: zeroed bytes that never move.
//! The allocation itself is not zeroed; [`Region::extend`] zeroes the bytes that it makes usable.
//! So memory that the allocator reuses is zeroed only as far as it is needed. With large pages
//! (Linux, 2 MiB each) random accesses are 16 to 20 per cent faster. The request for large pages is
//! a hint that the system may refuse.
//! Not here: the layout of the content.
//!
//! Unsafe boundary. Invariant: `ptr` was allocated with `layout`, and the first `len` bytes are
//! initialised. Reference implementation: `Vec<u8>`, with which the test compares it.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Size of a large page in bytes.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Bytes at a fixed address; dereferences to the first `len` bytes, the usable ones.
#[derive(Debug)]
pub(crate) struct Region {
    ptr: NonNull<u8>,
    len: usize,
    layout: Layout,
}

// SAFETY: a region is the only owner of its bytes, like a `Vec<u8>`.
unsafe impl Send for Region {}
// SAFETY: shared access only reads.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves `capacity` bytes, aligned to cache lines, or to large pages where those are wanted.
    ///
    /// # Panics
    /// When `capacity` is zero, or exceeds `isize::MAX` once rounded up to the alignment.
    pub(crate) fn new(capacity: usize, large_pages: bool) -> Self {
        assert!(capacity > 0, "the capacity of a region is zero");
        let align = if large_pages { LARGE_PAGE } else { 64 };
        let layout = Layout::from_size_align(capacity, align).expect("the capacity of a region exceeds isize::MAX");
        // SAFETY: the layout has bytes.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Miri does not support `madvise`.
        #[cfg(all(target_os = "linux", not(miri)))]
        if large_pages {
            // Failure is ignored: it affects speed only.
            // SAFETY: the region owns the bytes, and the hint changes neither their content nor their
            // protection.
            let _ = unsafe { rustix::mm::madvise(ptr.as_ptr().cast(), capacity, rustix::mm::Advice::LinuxHugepage) };
        }
        Self { ptr, len: 0, layout }
    }

    /// Asks the system (Linux) to back the whole region with physical memory now, rather than at
    /// the first access to each page.
    pub(crate) fn populate(&mut self) {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let (start, len) = (self.ptr.as_ptr().cast(), self.layout.size());
            // Failure (an older kernel, out of memory) is ignored: it affects speed only.
            // SAFETY: the region owns the bytes, and their content does not change.
            let _ = unsafe { rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxPopulateWrite) };
        }
    }

    /// Makes the bytes up to `len` usable; newly usable bytes are zero. A smaller `len` changes
    /// nothing.
    ///
    /// # Panics
    /// When `len` exceeds the capacity.
    #[inline]
    pub(crate) fn extend(&mut self, len: usize) {
        assert!(len <= self.layout.size(), "a region does not grow");
        if len > self.len {
            // SAFETY: the bytes lie within the allocation.
            unsafe { self.ptr.as_ptr().add(self.len).write_bytes(0, len - self.len) };
            self.len = len;
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

impl Deref for Region {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the region owns the first `len` bytes, and they are initialised.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Region {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the region owns the first `len` bytes, they are initialised, and `self` is
        // borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_holds_the_same_bytes_as_a_vec_and_never_moves() {
        let sizes = [(64, false), (100_000, false), (LARGE_PAGE, true), (2 * LARGE_PAGE, true)];
        // Miri takes minutes for a large page.
        let sizes = if cfg!(miri) { &sizes[..2] } else { &sizes[..] };
        for &(capacity, large_pages) in sizes {
            // In the second pass the allocator may return memory with old content.
            for _ in 0..2 {
                let (mut region, mut vec) = (Region::new(capacity, large_pages), Vec::<u8>::new());
                let start = region.as_ptr();
                if large_pages {
                    region.populate();
                }
                for part in 1..=4 {
                    region.extend(capacity * part / 4);
                    vec.resize(capacity * part / 4, 0);
                    assert_eq!(*region, *vec);
                    for at in (0..vec.len()).step_by(37) {
                        (region[at], vec[at]) = (at as u8 | 1, at as u8 | 1);
                    }
                }
                region.extend(1);
                assert_eq!((region.len(), region.as_ptr()), (capacity, start));
                assert_eq!(start.align_offset(if large_pages { LARGE_PAGE } else { 64 }), 0);
                assert_eq!(*region, *vec);
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not grow")]
    fn a_region_does_not_grow() {
        Region::new(64, false).extend(65);
    }
}
