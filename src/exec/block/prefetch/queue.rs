//! Batch queue of the prefetch: which batch a reader takes next, and how tasks wait for a batch.
//!
//! In: batch numbers that tasks wait for, ends of reads. Out: batch numbers, each taken by one reader.
//! There is no deadlock: readers never wait here, and a task sleeps only until its batch is stored or reading stops
//! before it. `tests/loom` tests all interleavings of a few readers and tasks.
//! Not here: the contents of a batch (`prefetch`).

use crate::exec::sync::{Condvar, Mutex, MutexGuard};

/// The batches of a block, by number: first those of accounts, then those of slots.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    of_accounts: usize,
}

/// Which batches have not been read yet.
#[derive(Debug)]
struct State {
    /// The next batch in order, taken when `wanted` is empty.
    next: usize,
    /// Batches that tasks wait for. They are taken first.
    wanted: Vec<usize>,
    /// For each batch, whether a reader has taken it.
    taken: Vec<bool>,
    /// Batches from this number on are no longer read: one below failed, or reading was stopped.
    end: usize,
    /// Number of account batches that have not been read yet.
    accounts_left: usize,
}

impl State {
    fn take(&mut self) -> Option<usize> {
        while let Some(batch) = self.wanted.pop() {
            if batch < self.end && !core::mem::replace(&mut self.taken[batch], true) {
                return Some(batch);
            }
        }
        while self.next < self.end {
            let batch = self.next;
            self.next += 1;
            if !core::mem::replace(&mut self.taken[batch], true) {
                return Some(batch);
            }
        }
        None
    }
}

impl Queue {
    /// A queue of `of_accounts` batches of accounts, followed by `of_slots` batches of slots.
    pub(super) fn new(of_accounts: usize, of_slots: usize) -> Self {
        let end = of_accounts + of_slots;
        let state = State { next: 0, wanted: Vec::new(), taken: vec![false; end], end, accounts_left: of_accounts };
        Self { state: Mutex::new(state), changed: Condvar::new(), of_accounts }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes the next batch for a reader; `None` where none is left.
    pub(super) fn take(&self) -> Option<usize> {
        self.lock().take()
    }

    /// Records that a batch was read and wakes the waiting tasks. The reader has stored the batch before. If the read
    /// `failed`, no batch above it is taken any more. Returns whether this was the last batch of accounts.
    pub(super) fn done(&self, batch: usize, failed: bool) -> bool {
        let mut state = self.lock();
        let of_accounts = batch < self.of_accounts;
        if failed {
            state.end = state.end.min(batch);
        } else if of_accounts {
            state.accounts_left -= 1;
        }
        let is_last = !failed && of_accounts && state.accounts_left == 0;
        drop(state);
        self.changed.notify_all();
        is_last
    }

    /// Stops reading: no further batch is taken, and [`Self::wait`] returns `None` for batches that are not stored.
    pub(super) fn stop(&self) {
        self.lock().end = 0;
        self.changed.notify_all();
    }

    /// Waits until `find` returns the batch, and returns it. If no reader has taken the batch yet, it is read next.
    /// `None` where the batch is no longer read.
    #[cold]
    pub(super) fn wait<T>(&self, batch: usize, find: impl Fn() -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        if !state.taken[batch] {
            state.wanted.push(batch);
        }
        loop {
            if let Some(found) = find() {
                return Some(found);
            }
            if batch >= state.end {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Whether a task waits for a batch that no reader has taken.
    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        !self.lock().wanted.is_empty()
    }
}
