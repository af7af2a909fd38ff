//! `Lines`: allocator of nodes as runs of cache lines, identified by the number of their first
//! line.
//!
//! Regions are reserved whole and never move; a run is within one region. Runs are allocated one
//! after the other, so that nodes created together are adjacent, and recycled by length. A recycled
//! run keeps its old content until it is overwritten.
//!
//! Each region but the first is one huge page: accesses to a state's nodes are spread over the
//! whole arena, and most of the cost of such an access is its TLB miss. The first region is small,
//! for tries that never need more. Lines are numbered as if it were the end of a full region, so
//! that the region of a line is found by a shift.

use crate::arena::prefetch::{LINE, prefetch_lines};
use crate::arena::region::{LARGE_PAGE, Region};

/// log2 of the number of lines of a region.
const REGION_LOG: u32 = LARGE_PAGE.trailing_zeros() - LINE.trailing_zeros();
const REGION: u32 = 1 << REGION_LOG;
/// Number of lines of the first region (256 KiB).
const FIRST: u32 = REGION / 8;
/// Distance of the prefetch, in recycled runs of one length.
const SOON: usize = 8;
/// Lines of the longest run.
pub(super) const RUN_MAX: usize = 10;

/// Allocator of runs of cache lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Each region, with the offset in bytes at which its numbering starts.
    regions: Vec<(Region, usize)>,
    /// Recycled runs by length in lines.
    free: [Vec<u32>; RUN_MAX + 1],
    /// The first line that was never allocated.
    next: u32,
}

impl Default for Lines {
    fn default() -> Self {
        Self { regions: Vec::new(), free: [const { Vec::new() }; RUN_MAX + 1], next: REGION - FIRST }
    }
}

impl Lines {
    /// Allocates a run of `lines` lines with undefined content.
    #[inline]
    pub(super) fn alloc(&mut self, lines: usize) -> u32 {
        let Some(line) = self.free[lines].pop() else { return self.grow(lines) };
        // Recycled runs are rarely in the cache: prefetches one that is allocated soon.
        let left = &self.free[lines];
        if let Some(soon) = left.get(left.len().wrapping_sub(SOON)) {
            self.prefetch(*soon, lines);
        }
        line
    }

    fn grow(&mut self, lines: usize) -> u32 {
        let mut line = self.next;
        let left = (REGION - line % REGION) as usize;
        if left < lines {
            // The rest of the region is used for shorter runs.
            if let Some((region, skipped)) = self.regions.get_mut((line >> REGION_LOG) as usize) {
                region.extend(LARGE_PAGE - *skipped);
                self.free[left].push(line);
            }
            line = line.next_multiple_of(REGION);
            self.next = line;
        }
        let number = (line >> REGION_LOG) as usize;
        if number == self.regions.len() {
            self.add_region();
        }
        let (region, skipped) = &mut self.regions[number];
        region.extend((line % REGION) as usize * LINE + lines * LINE - *skipped);
        self.next = line + lines as u32;
        line
    }

    fn add_region(&mut self) {
        let first = self.regions.is_empty();
        let skipped = if first { (REGION - FIRST) as usize * LINE } else { 0 };
        self.regions.push((Region::new(LARGE_PAGE - skipped, !first), skipped));
    }

    /// Adds a region and populates its memory if the last one is nearly full, so that later
    /// allocations do not wait for page faults.
    pub(super) fn reserve(&mut self) {
        let size = if self.regions.len() > 1 { REGION } else { FIRST };
        let is_last = (self.next >> REGION_LOG) as usize + 1 == self.regions.len();
        if is_last && REGION - self.next % REGION < size / 4 {
            self.add_region();
            if let Some((region, _)) = self.regions.last_mut() {
                region.populate();
            }
        }
    }

    /// Recycles a run.
    #[inline]
    pub(super) fn free(&mut self, line: u32, lines: usize) {
        self.free[lines].push(line);
    }

    /// The first `len` bytes of the run at `line`.
    #[inline(always)]
    pub(super) fn bytes(&self, line: u32, len: usize) -> &[u8] {
        let (region, skipped) = &self.regions[(line >> REGION_LOG) as usize];
        let at = (line % REGION) as usize * LINE - skipped;
        &region[at..at + len]
    }

    /// Hints that the first `count` lines of the run at `line` will be read soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, line: u32, count: usize) {
        prefetch_lines(self.address(line), count);
    }

    /// Address of a line, for prefetch hints; null if there is no such line.
    #[inline(always)]
    pub(super) fn address(&self, line: u32) -> *const u8 {
        match self.regions.get((line >> REGION_LOG) as usize) {
            Some((region, skipped)) => {
                region.as_ptr().wrapping_add(((line % REGION) as usize * LINE).wrapping_sub(*skipped))
            }
            None => core::ptr::null(),
        }
    }

    #[inline(always)]
    pub(super) fn bytes_mut(&mut self, line: u32, len: usize) -> &mut [u8] {
        let (region, skipped) = &mut self.regions[(line >> REGION_LOG) as usize];
        let at = (line % REGION) as usize * LINE - *skipped;
        &mut region[at..at + len]
    }

    /// The first `N` bytes of the run at `line`.
    #[inline(always)]
    pub(super) fn array<const N: usize>(&self, line: u32) -> &[u8; N] {
        self.bytes(line, N).first_chunk().expect("the slice has N bytes")
    }

    #[inline(always)]
    pub(super) fn array_mut<const N: usize>(&mut self, line: u32) -> &mut [u8; N] {
        self.bytes_mut(line, N).first_chunk_mut().expect("the slice has N bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_are_recycled() {
        let mut lines = Lines::default();
        let lengths = [1usize, 10, 3, 8, 5, 2];
        let runs: Vec<(u32, usize)> = (0..50_000).map(|i| (lines.alloc(lengths[i % 6]), lengths[i % 6])).collect();
        for (i, (line, length)) in runs.iter().enumerate() {
            lines.bytes_mut(*line, length * LINE).fill(i as u8);
        }
        for (i, (line, length)) in runs.iter().enumerate() {
            let bytes = lines.bytes(*line, length * LINE);
            assert!(bytes.iter().all(|byte| *byte == i as u8));
            assert_eq!(bytes.as_ptr().align_offset(LINE), 0);
        }
        let next = lines.next;
        runs.iter().for_each(|(line, length)| lines.free(*line, *length));
        runs.iter().for_each(|(_, length)| assert!(lines.alloc(*length) < next));
        assert_eq!(lines.next, next);
    }
}
