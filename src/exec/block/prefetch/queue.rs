//! The queue: which batch a reader takes next, and how tasks wait for one.
//!
//! Nobody can be stuck: readers wait for nobody, tasks sleep until a reader has put their batch where they find it, or
//! until nobody will. `tests/loom` tries every order of events among few of both. Not here: what a batch holds.

use crate::exec::sync::{Condvar, Mutex, MutexGuard};

/// Batches of a block, by number; those of accounts come first.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    of_accounts: usize,
}

/// Which batches are still to be read.
#[derive(Debug)]
struct State {
    /// The next batch, if nobody waits for another one.
    next: usize,
    /// Batches that tasks wait for.
    wanted: Vec<usize>,
    /// Which batches a reader has taken.
    taken: Vec<bool>,
    /// Batches from here on are not read any more: one below failed, or the block was given up.
    end: usize,
    /// Batches of accounts that are not there yet.
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
    /// Batches `0..of_accounts` of accounts, and `of_slots` behind them.
    pub(super) fn new(of_accounts: usize, of_slots: usize) -> Self {
        let end = of_accounts + of_slots;
        let state = State { next: 0, wanted: Vec::new(), taken: vec![false; end], end, accounts_left: of_accounts };
        Self { state: Mutex::new(state), changed: Condvar::new(), of_accounts }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes the next batch for a reader; nothing where none is left.
    pub(super) fn take(&self) -> Option<usize> {
        self.lock().take()
    }

    /// Wakes whoever waits for a batch, which its reader has put where tasks find it. Where it `failed` none above it is
    /// read any more. Says whether it was the last one of accounts.
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

    /// No batch is read any more; whoever waits for one is told so.
    pub(super) fn stop(&self) {
        self.lock().end = 0;
        self.changed.notify_all();
    }

    /// Waits until `find` finds a batch, ahead of its turn if no reader has it yet; nothing where it is not read any more.
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
