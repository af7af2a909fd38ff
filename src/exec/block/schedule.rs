//! Schedule: which task a worker takes next, and from which index on tasks no longer matter.
//!
//! In: claims and ends of tasks, from any worker in any order. Out: task indices; the bound above which nothing counts.
//! Relies on: the block's error is that of the lowest index that has one, so what lies above a failed task is never
//! looked at. All atomics live here; `tests/loom` tries every order of events among few workers.
//! Not here: what a task does, whose error is reported (`block`).

use crate::arena::cancel::CancelToken;
use crate::exec::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The shared state of one block's workers.
#[derive(Debug)]
pub struct TaskQueue<'b> {
    task_count: u32,
    next: AtomicU32,
    /// Tasks above this index do not matter.
    last: AtomicU32,
    /// Execution gas of the transactions that ended, and the highest index among them.
    gas: AtomicU64,
    highest: AtomicU32,
    gas_limit: u64,
    /// The block is refused whatever its tasks do.
    refused: &'b AtomicBool,
    cancel: Option<&'b CancelToken>,
    /// The order in which tasks are taken; that of the block where it is empty.
    order: &'b [u32],
    /// Tests: another order.
    shuffle: Option<u64>,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the task at this index.
    Run(u32),
    /// The block was given up or refused before the task at this index ran.
    Cancelled(u32),
    /// Nothing is left.
    Done,
}

impl<'b> TaskQueue<'b> {
    /// Tasks `0..task_count` of a block with this gas limit; `order` has all of them, or none: that of the block.
    pub fn new(
        task_count: u32,
        gas_limit: u64,
        refused: &'b AtomicBool,
        cancel: Option<&'b CancelToken>,
        order: &'b [u32],
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

    /// Claims a task.
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

    /// The task at `index` failed: nothing above it matters.
    pub fn failed(&self, index: u32) {
        self.last.fetch_min(index, Ordering::Relaxed);
    }

    /// The transaction at `index` ended with this execution gas.
    ///
    /// Early rejection, sound: if the gas of any set of ended transactions exceeds the block's limit, then either one of
    /// the tasks up to the highest of the set fails, or all of them did what the block says, and then one of these
    /// transactions had no room (each uses at most the gas that admission asks room for). Both are errors at or below
    /// the highest index of the set, so nothing above it matters.
    pub fn ended(&self, index: u32, execution_gas: u64) {
        // The index is noted before its gas, so that whoever sees the sum sees the index of each summand.
        self.highest.fetch_max(index, Ordering::AcqRel);
        let before = self.gas.fetch_add(execution_gas, Ordering::AcqRel);
        if before.saturating_add(execution_gas) > self.gas_limit {
            self.failed(self.highest.load(Ordering::Acquire));
        }
    }
}

/// A permutation of `0..count`: an affine map by a unit of the ring.
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
