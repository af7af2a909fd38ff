//! `Lines`: nodes as runs of cache lines, named by the number of their first line.
//!
//! Regions are reserved whole and never move; a run lies within one region. Runs are handed out one after the other,
//! so that nodes made together lie together, and recycled by length. A recycled run keeps its old content until its
//! new owner overwrites it.
//!
//! All regions but the first are one large page: a state's nodes lie all over the arena, and most of a random access
//! is finding its page. The first is small, for tries that never need more; numbers of lines are as if it were the
//! end of a whole one, so that finding a line's region is a shift.

use crate::arena::prefetch::{LINE, prefetch_lines};
use crate::arena::region::{LARGE_PAGE, Region};

/// log2 of a region's lines.
const REGION_LOG: u32 = LARGE_PAGE.trailing_zeros() - LINE.trailing_zeros();
const REGION: u32 = 1 << REGION_LOG;
/// Lines of the first region: a quarter of a mebibyte.
const FIRST: u32 = REGION / 8;
/// Runs between asking for one and handing it out.
const SOON: usize = 8;
/// The longest run.
pub(super) const RUN_MAX: usize = 10;

/// Runs of lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Each with the offset that its first byte has in its numbering.
    regions: Vec<(Region, usize)>,
    /// Recycled runs by length.
    free: [Vec<u32>; RUN_MAX + 1],
    /// The first line not handed out yet.
    next: u32,
}

impl Default for Lines {
    fn default() -> Self {
        Self { regions: Vec::new(), free: [const { Vec::new() }; RUN_MAX + 1], next: REGION - FIRST }
    }
}

impl Lines {
    /// A run of `lines` lines, to overwrite.
    #[inline]
    pub(super) fn alloc(&mut self, lines: usize) -> u32 {
        let Some(line) = self.free[lines].pop() else { return self.grow(lines) };
        // Runs were let go of long ago: what comes soon is asked for.
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
            // The end of a region serves shorter runs.
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

    /// Adds a region, backed by memory, where the last one is nearly full: what comes next shall not wait for it.
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

    /// Hands a run back.
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

    /// Where a line lies, for hints: null if nowhere.
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
        self.bytes(line, N).first_chunk().expect("cut to that length")
    }

    #[inline(always)]
    pub(super) fn array_mut<const N: usize>(&mut self, line: u32) -> &mut [u8; N] {
        self.bytes_mut(line, N).first_chunk_mut().expect("cut to that length")
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
