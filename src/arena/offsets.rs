//! `Offsets<P>`: lists of different lengths, stored as one row range per parent.
//!
//! Rows of parent `p` are `starts[p]..starts[p + 1]`. This replaces nested vectors (as arrow-rs's
//! `OffsetBuffer` does).

use super::Id;
use super::heap::HeapBytes;
use core::marker::PhantomData;
use core::ops::Range;

/// Row ranges of parents numbered by `P`; monotone by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets<P> {
    starts: Vec<u32>,
    parent: PhantomData<fn(P) -> P>,
}

impl<P> Default for Offsets<P> {
    fn default() -> Self {
        Self { starts: vec![0], parent: PhantomData }
    }
}

impl<P> HeapBytes for Offsets<P> {
    fn heap_bytes(&self) -> usize {
        self.starts.heap_bytes()
    }
}

impl<P: Id> Offsets<P> {
    /// No parents yet, with capacity for `parents` of them.
    pub fn with_capacity(parents: usize) -> Self {
        let mut starts = Vec::with_capacity(parents + 1);
        starts.push(0);
        Self { starts, parent: PhantomData }
    }

    /// Adds the next parent, whose range ends at `row_end` (one past its last row).
    ///
    /// # Panics
    /// When `row_end` is below the previous parent's end or does not fit 32 bits; both are bugs of
    /// the caller.
    #[inline]
    pub fn close(&mut self, row_end: usize) {
        let end = u32::try_from(row_end).expect("offsets fit 32 bits");
        assert!(self.starts.last().is_some_and(|last| *last <= end), "offsets must not decrease");
        self.starts.push(end);
    }

    /// Adds parents, one per row end.
    ///
    /// # Panics
    /// When an end is below the one before it; that is a bug of the caller.
    pub fn extend_ends(&mut self, row_ends: &[u32]) {
        let first = self.starts.last().zip(row_ends.first());
        assert!(first.is_none_or(|(last, first)| last <= first), "offsets must not decrease");
        assert!(row_ends.is_sorted(), "offsets must not decrease");
        self.starts.extend_from_slice(row_ends);
    }

    /// Row range of `parent`.
    #[inline(always)]
    pub fn range(&self, parent: P) -> Range<usize> {
        let i = parent.index();
        self.starts[i] as usize..self.starts[i + 1] as usize
    }

    /// The first row of each parent, followed by the end of the last parent's rows: `len() + 1`
    /// elements.
    #[inline]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Number of parents.
    #[inline]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no parent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Total number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1] as usize
    }

    /// Removes all parents and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.starts.truncate(1);
    }
}
