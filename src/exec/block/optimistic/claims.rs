//! Claims: which worker runs which transaction next, and which come back to be run again.
//!
//! One counter hands out transactions in order; a word of bits per transaction says how far it has come. A dropped run
//! gives its transaction back: the counter falls to it. Two transactions of one sender never start at the same time on
//! purpose (the second's nonce would be wrong): whoever runs the first then runs the second.
//! Relies on: what a worker takes from the counter it claims or leaves to whoever has it, and what it claims it runs;
//! whether a run holds is found out elsewhere, so nothing here can make a wrong outcome, only a wasted or a lost run.
//! `tests/loom` tries every order of events among few workers. Not here: runs, and when they become final (`schedule`).

use crate::arena::{BlockAccessIndex, Id, TxIndex};
use crate::exec::sync::{AtomicBool, AtomicU32, Ordering};

/// How far a transaction has come: bits of [`Claims::progress`]; above them, how often it was dropped.
mod progress {
    /// A worker has taken it.
    pub(super) const CLAIMED: u32 = 1;
    /// It ran.
    pub(super) const RAN: u32 = 1 << 1;
    /// Its sender's next transaction came to its turn before; whoever runs this one runs that one, too.
    pub(super) const FOLLOWED: u32 = 1 << 2;
    /// One run dropped.
    pub(super) const DROPPED_UNIT: u32 = 1 << 3;
}

/// The transactions of a block, to be run ahead of their turn by several workers.
#[derive(Debug)]
pub(super) struct Claims {
    /// Block access index of the next transaction to run ahead.
    next: AtomicU32,
    /// Set when every transaction is final, or one is found invalid.
    over: AtomicBool,
    /// The sender's transaction before and after each one.
    chains: Vec<(Option<TxIndex>, Option<TxIndex>)>,
    /// Bits of [`progress`], by transaction.
    progress: Vec<AtomicU32>,
}

impl Claims {
    /// For each transaction, the one before and the one after it with the same sender.
    pub(super) fn new(chains: Vec<(Option<TxIndex>, Option<TxIndex>)>) -> Self {
        Self {
            next: AtomicU32::new(1),
            over: AtomicBool::new(chains.is_empty()),
            progress: chains.iter().map(|_| AtomicU32::new(0)).collect(),
            chains,
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the block for all workers.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether every transaction has been handed out; some may come back.
    pub(super) fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) as usize > self.chains.len()
    }

    /// The next transaction in order.
    pub(super) fn hand_out(&self) -> Option<TxIndex> {
        let index = self.next.fetch_add(1, Ordering::AcqRel);
        (index as usize <= self.chains.len()).then(|| TxIndex(index - 1))
    }

    /// Takes a transaction for a worker and returns the number of its run; nothing where another worker has it, or where
    /// it must wait for its sender's last one: whoever runs that one then runs this one, too.
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

    /// Notes that a transaction ran; returns its sender's next one if that waits for it.
    pub(super) fn has_run(&self, tx: TxIndex) -> Option<TxIndex> {
        let progress = self.progress[tx.index()].fetch_or(progress::RAN, Ordering::AcqRel);
        self.chains[tx.index()].1.filter(|_| progress & progress::FOLLOWED != 0)
    }

    /// Lets a transaction whose run was dropped be claimed again, once it is handed out anew.
    pub(super) fn give_back(&self, tx: TxIndex) {
        self.progress[tx.index()].fetch_add(progress::DROPPED_UNIT, Ordering::AcqRel);
        self.progress[tx.index()].fetch_and(!(progress::CLAIMED | progress::RAN), Ordering::AcqRel);
    }

    /// Hands out the transaction at `index`, and all above it, anew.
    pub(super) fn hand_out_from(&self, index: BlockAccessIndex) {
        self.next.fetch_min(index.0, Ordering::AcqRel);
    }
}
