//! The deal: who takes which batch of signatures, and who hands over all authorities.
//!
//! Nobody waits here. `tests/loom` tries every order of events among few threads. Not here: what a batch holds.

use crate::exec::sync::{AtomicUsize, Ordering};

/// Batches of a block, by number: those of senders, then those of authorities.
#[derive(Debug)]
pub(super) struct Deal {
    sender_batches: usize,
    authority_batches: usize,
    /// The next batch that nobody has taken.
    next: AtomicUsize,
    authorities_left: AtomicUsize,
}

impl Deal {
    pub(super) fn new(sender_batches: usize, authority_batches: usize) -> Self {
        Self {
            sender_batches,
            authority_batches,
            next: AtomicUsize::new(0),
            authorities_left: AtomicUsize::new(authority_batches),
        }
    }

    pub(super) fn batch_count(&self) -> usize {
        self.sender_batches + self.authority_batches
    }

    /// Place of a batch among those of authorities; none: it is one of senders.
    pub(super) fn authority_batch(&self, batch: usize) -> Option<usize> {
        batch.checked_sub(self.sender_batches)
    }

    /// A batch that nobody else gets; none is left.
    pub(super) fn take(&self) -> Option<usize> {
        // Only the number counts: what goes into a batch was there before the deal. Each thread asks once too often.
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|batch| *batch < self.batch_count())
    }

    /// Says that a batch of authorities is there; whether it was the last, behind which all of them are seen.
    pub(super) fn authorities_arrived(&self) -> bool {
        self.authorities_left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
