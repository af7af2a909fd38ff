//! `Region`: one aligned piece of memory, reserved whole and made usable from its start.
//!
//! In: a length, and whether large pages are wanted. Out: zeroed bytes that never move.
//! Reserved memory costs nothing until it is used; what is used is zeroed by [`Region::extend`], so that memory from an
//! earlier owner is not zeroed whole. On large pages (Linux, two mebibytes each) random accesses find their page
//! sixteen to twenty per cent sooner: asking for them is a hint.
//! Not here: what lies in the bytes.
//!
//! Unsafe door. Contract: `ptr` comes from the allocator with the layout of `capacity` bytes, and the first `len` of
//! them are initialised. Checked twin: `Vec<u8>`, which the test compares it with.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Bytes of a large page.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Bytes at a fixed place; derefs to those usable so far.
#[derive(Debug)]
pub(crate) struct Region {
    ptr: NonNull<u8>,
    len: usize,
    layout: Layout,
}

// SAFETY: a region owns its bytes alone, like a `Vec<u8>`.
unsafe impl Send for Region {}
// SAFETY: shared access only reads.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves `capacity` bytes, aligned to cache lines, or to large pages where those are wanted.
    ///
    /// # Panics
    /// When `capacity` is zero or near the address space's end.
    pub(crate) fn new(capacity: usize, large_pages: bool) -> Self {
        assert!(capacity > 0, "a region has bytes");
        let align = if large_pages { LARGE_PAGE } else { 64 };
        let layout = Layout::from_size_align(capacity, align).expect("a region fits the address space");
        // SAFETY: the layout has bytes.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Miri knows no hints.
        #[cfg(all(target_os = "linux", not(miri)))]
        if large_pages {
            // A refusal changes nothing but speed.
            // SAFETY: the bytes are ours, and the hint changes neither their content nor their protection.
            let _ = unsafe { rustix::mm::madvise(ptr.as_ptr().cast(), capacity, rustix::mm::Advice::LinuxHugepage) };
        }
        Self { ptr, len: 0, layout }
    }

    /// Has the system back all of the region with memory now (Linux), rather than at the first use of each page.
    pub(crate) fn populate(&mut self) {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let (start, len) = (self.ptr.as_ptr().cast(), self.layout.size());
            // A refusal (an older kernel, no memory) changes nothing but speed.
            // SAFETY: the bytes are ours, and their content stays.
            let _ = unsafe { rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxPopulateWrite) };
        }
    }

    /// Makes the bytes up to `len` usable; new ones are zero.
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
        // SAFETY: the first `len` bytes are initialised and ours.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Region {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_vec_that_stays() {
        let sizes = [(64, false), (100_000, false), (LARGE_PAGE, true), (2 * LARGE_PAGE, true)];
        // Miri takes minutes for a large page.
        let sizes = if cfg!(miri) { &sizes[..2] } else { &sizes[..] };
        for &(capacity, large_pages) in sizes {
            // The second time the allocator may hand out used memory.
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
