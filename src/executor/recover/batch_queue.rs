//! Lock-free distribution of signature batches to threads.
//!
//! In: the number of batches. Out: batch numbers, each to exactly one thread, and the signal that
//! the last batch of authorities is complete.
//!
//! No call blocks. `tests/loom` checks all interleavings of a few threads.
//! Not here: the contents of a batch.

use crate::exec::sync::{AtomicUsize, Ordering};

/// Batches of a block, by number: those of senders, then those of authorities, then those of candidates for ECRECOVER.
#[derive(Debug)]
pub(super) struct BatchQueue {
    sender_batches: usize,
    authority_batches: usize,
    candidate_batches: usize,
    /// The next batch to hand out.
    next: AtomicUsize,
    authorities_left: AtomicUsize,
}

impl BatchQueue {
    pub(super) fn new(sender_batches: usize, authority_batches: usize, candidate_batches: usize) -> Self {
        Self {
            sender_batches,
            authority_batches,
            candidate_batches,
            next: AtomicUsize::new(0),
            authorities_left: AtomicUsize::new(authority_batches),
        }
    }

    pub(super) fn batch_count(&self) -> usize {
        self.sender_batches + self.authority_batches + self.candidate_batches
    }

    /// Position of a batch among those of authorities; `None` for one of senders or candidates.
    pub(super) fn authority_batch(&self, batch: usize) -> Option<usize> {
        batch.checked_sub(self.sender_batches).filter(|at| *at < self.authority_batches)
    }

    /// Position of a batch among those of candidates; `None` for one of senders or authorities.
    pub(super) fn candidate_batch(&self, batch: usize) -> Option<usize> {
        batch.checked_sub(self.sender_batches + self.authority_batches)
    }

    /// The next batch, which no other thread gets; `None` if all are taken.
    pub(super) fn take(&self) -> Option<usize> {
        // Relaxed suffices: only the number matters, since the input of a batch was written before
        // the distribution began. Each thread makes one call more than it gets batches.
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|batch| *batch < self.batch_count())
    }

    /// Reports that a batch of authorities is complete. Returns true for the last one; the caller
    /// then sees the results of all of them.
    pub(super) fn complete_authorities(&self) -> bool {
        self.authorities_left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
