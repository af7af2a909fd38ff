//! Task queue of a block with a block access list: hands task indices to workers and skips tasks that cannot affect the
//! result.
//!
//! In: requests for a task, and ends of tasks, from any worker in any order. Out: task indices, each at most once.
//! Relies on: the block's error is that of the lowest index that has one, so tasks above a failed one need not run.
//! All atomics of this mode are in this file; `tests/loom` tests all interleavings of a few workers.
//! Not here: what a task does, and which error is reported (`tasks`).

use crate::arena::cancel::CancelToken;
use crate::exec::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Task indices of one block, shared by its workers.
#[derive(Debug)]
pub struct TaskQueue<'b> {
    task_count: u32,
    next: AtomicU32,
    /// Tasks above this index are skipped: they cannot affect the result.
    last: AtomicU32,
    /// Sum of the execution gas of the transactions that ended.
    gas: AtomicU64,
    /// Highest index among these transactions.
    highest: AtomicU32,
    gas_limit: u64,
    /// Set once the block is found invalid for a reason other than its tasks.
    refused: &'b AtomicBool,
    cancel: Option<&'b CancelToken>,
    /// The order in which tasks are handed out; block order where it is empty.
    order: Vec<u32>,
    /// For tests: seed of a random order, which replaces `order`.
    shuffle: Option<u64>,
}

/// The answer to a worker that asks for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the task at this index.
    Run(u32),
    /// The block was cancelled or found invalid before the task at this index ran.
    Cancelled(u32),
    /// No task is left.
    Done,
}

impl<'b> TaskQueue<'b> {
    /// A queue of the tasks `0..task_count` of a block with this gas limit. `order` is a permutation of them, or
    /// empty for block order.
    pub fn new(
        task_count: u32,
        gas_limit: u64,
        refused: &'b AtomicBool,
        cancel: Option<&'b CancelToken>,
        order: Vec<u32>,
        shuffle: Option<u64>,
    ) -> Self {
        Self {
            task_count,
            next: AtomicU32::new(0),
            last: AtomicU32::new(u32::MAX),
            gas: AtomicU64::new(0),
            highest: AtomicU32::new(0),
            gas_limit,
            refused,
            cancel,
            order,
            shuffle,
        }
    }

    /// Takes the next task for the calling worker.
    pub fn next(&self) -> Next {
        loop {
            let claimed = self.next.fetch_add(1, Ordering::Relaxed);
            if claimed >= self.task_count {
                return Next::Done;
            }
            let index = match self.shuffle {
                Some(seed) => permute(claimed, self.task_count, seed),
                None => self.order.get(claimed as usize).copied().unwrap_or(claimed),
            };
            if index > self.last.load(Ordering::Relaxed) {
                continue;
            }
            if self.refused.load(Ordering::Relaxed) || self.cancel.is_some_and(CancelToken::is_cancelled) {
                return Next::Cancelled(index);
            }
            return Next::Run(index);
        }
    }

    /// Records that the task at `index` failed: tasks above it are skipped.
    pub fn failed(&self, index: u32) {
        self.last.fetch_min(index, Ordering::Relaxed);
    }

    /// Records that the transaction at `index` ended with this execution gas.
    ///
    /// Skips tasks early where the block must fail. Suppose the gas of a set of ended transactions exceeds the
    /// block's gas limit. Then either a task up to the highest index of the set fails, or all of these tasks are
    /// correct and one of the transactions fails admission, because each uses at most the gas that admission checks
    /// for. Both are errors at or below the highest index of the set, so tasks above it cannot affect the result.
    pub fn ended(&self, index: u32, execution_gas: u64) {
        // The index is stored before its gas is added, so a thread that reads the sum also reads the index of each
        // summand.
        self.highest.fetch_max(index, Ordering::AcqRel);
        let before = self.gas.fetch_add(execution_gas, Ordering::AcqRel);
        if before.saturating_add(execution_gas) > self.gas_limit {
            self.failed(self.highest.load(Ordering::Acquire));
        }
    }
}

/// Image of `at` under a permutation of `0..count` given by `seed`: an affine map whose factor is coprime to `count`.
fn permute(at: u32, count: u32, seed: u64) -> u32 {
    let count = u64::from(count);
    let is_unit = |step: u64| {
        let (mut a, mut b) = (step, count);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let step = (1 + seed % count..).find(|step| is_unit(*step)).unwrap_or(1);
    // Both factors are below 2^33.
    ((u64::from(at) * step + seed / 7 % count) % count) as u32
}
