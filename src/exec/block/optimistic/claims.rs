//! TxClaims of transactions: assigns transactions to workers, and assigns them again after their runs were dropped.
//!
//! In: requests of workers, ends of runs, dropped runs. Out: transactions, each claimed by one worker per run.
//! One counter hands out transactions in block order. An atomic word per transaction holds its progress. When a run is
//! dropped, the counter is set back to its transaction. Two transactions of one sender are not started at the same
//! time, because the nonce of the second would be wrong: the worker that ran the first then runs the second.
//! Relies on: a worker tries to claim each transaction that it takes from the counter, and runs each one that it
//! claims. Validation happens elsewhere, so an error here can waste or lose a run, but not change an outcome.
//! `tests/loom` tests all interleavings of a few workers.
//! Not here: running, validating and committing (`schedule`).

use crate::arena::{BlockAccessIndex, Id, TxIndex};
use crate::exec::sync::{AtomicBool, AtomicU32, Ordering};

/// Progress of a transaction: bits of [`TxClaims::progress`]. The bits above them count its dropped runs.
mod progress {
    /// A worker has claimed it.
    pub(super) const CLAIMED: u32 = 1;
    /// Its run has ended.
    pub(super) const RAN: u32 = 1 << 1;
    /// The sender's next transaction was handed out and waits: the worker that runs this one runs that one next.
    pub(super) const FOLLOWED: u32 = 1 << 2;
    /// Adds one dropped run to the count.
    pub(super) const DROPPED_UNIT: u32 = 1 << 3;
}

/// The transactions of a block, claimed by several workers for speculative runs.
#[derive(Debug)]
pub(super) struct TxClaims {
    /// Block access index of the next transaction to hand out.
    next: AtomicU32,
    /// Set when every transaction is committed, or the block has failed.
    over: AtomicBool,
    /// For each transaction, the same sender's previous and next transaction.
    chains: Vec<(Option<TxIndex>, Option<TxIndex>)>,
    /// Bits of [`progress`], by transaction.
    progress: Vec<AtomicU32>,
}

impl TxClaims {
    /// TxClaims of `chains.len()` transactions. `chains` holds, for each transaction, the same sender's previous and
    /// next one.
    pub(super) fn new(chains: Vec<(Option<TxIndex>, Option<TxIndex>)>) -> Self {
        Self {
            next: AtomicU32::new(1),
            over: AtomicBool::new(chains.is_empty()),
            progress: chains.iter().map(|_| AtomicU32::new(0)).collect(),
            chains,
        }
    }

    /// Whether the block is over for all workers.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the block for all workers.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether every transaction has been handed out. Dropped ones may be handed out again.
    pub(super) fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) as usize > self.chains.len()
    }

    /// Hands out the next transaction in block order; `None` where none is left.
    pub(super) fn hand_out(&self) -> Option<TxIndex> {
        let index = self.next.fetch_add(1, Ordering::AcqRel);
        (index as usize <= self.chains.len()).then(|| TxIndex(index - 1))
    }

    /// TxClaims a transaction for the calling worker and returns the number of its run, from 0. `None` where another
    /// worker has claimed it, or where the sender's previous transaction has not run: the worker that runs that one
    /// then claims this one.
    pub(super) fn claim(&self, tx: TxIndex) -> Option<u32> {
        if let Some(before) = self.chains[tx.index()].0 {
            let progress = self.progress[before.index()].fetch_or(progress::FOLLOWED, Ordering::AcqRel);
            if progress & progress::RAN == 0 {
                return None;
            }
        }
        let progress = self.progress[tx.index()].fetch_or(progress::CLAIMED, Ordering::AcqRel);
        (progress & progress::CLAIMED == 0).then_some(progress / progress::DROPPED_UNIT)
    }

    /// Records that the run of a transaction ended. Returns the sender's next transaction if it waits for this one.
    pub(super) fn has_run(&self, tx: TxIndex) -> Option<TxIndex> {
        let progress = self.progress[tx.index()].fetch_or(progress::RAN, Ordering::AcqRel);
        self.chains[tx.index()].1.filter(|_| progress & progress::FOLLOWED != 0)
    }

    /// Makes a transaction whose run was dropped claimable again.
    pub(super) fn release(&self, tx: TxIndex) {
        self.progress[tx.index()].fetch_add(progress::DROPPED_UNIT, Ordering::AcqRel);
        self.progress[tx.index()].fetch_and(!(progress::CLAIMED | progress::RAN), Ordering::AcqRel);
    }

    /// Sets the counter back, so that the transaction at `index` and all above it are handed out again.
    pub(super) fn hand_out_from(&self, index: BlockAccessIndex) {
        self.next.fetch_min(index.0, Ordering::AcqRel);
    }
}
