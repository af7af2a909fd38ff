//! Optimistic execution: each transaction becomes final, whichever of its runs are discarded meanwhile.

use super::explore;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::claims::TxClaims;
use crate::sync::{AtomicU32, Fault, Mutex, Ordering};
use loom::sync::atomic::AtomicBool;
use loom::thread;
use std::sync::Arc;

/// A run of a transaction: how many transactions were final when it began. It is valid if all lower ones were.
struct Run {
    saw: u32,
}

/// The protocol of `optimistic/schedule.rs` with the real claims: workers run transactions and commit finished runs.
struct Block {
    claims: TxClaims,
    waiting: Vec<Mutex<Option<Run>>>,
    /// Number of final transactions.
    commits: Mutex<u32>,
    is_final: AtomicU32,
    running: Vec<AtomicBool>,
    /// Whether a run of transaction `i` is valid only if transaction `i - 1` was final when it began.
    depends: &'static [bool],
}

impl Block {
    fn new(chains: Vec<(Option<TxIndex>, Option<TxIndex>)>, depends: &'static [bool]) -> Self {
        let count = chains.len();
        Self {
            claims: TxClaims::new(chains),
            waiting: (0..count).map(|_| Mutex::new(None)).collect(),
            commits: Mutex::new(0),
            is_final: AtomicU32::new(0),
            running: (0..count).map(|_| AtomicBool::new(false)).collect(),
            depends,
        }
    }

    fn holds(&self, tx: usize, run: &Run) -> bool {
        !self.depends[tx] || run.saw >= tx as u32
    }

    fn work(&self) {
        while !self.claims.is_over() {
            if self.claims.is_exhausted() {
                self.commit_ready();
                thread::yield_now();
                continue;
            }
            let mut next = self.claims.hand_out();
            while let Some(tx) = next.take()
                && self.claims.claim(tx).is_some()
            {
                let at = tx.0 as usize;
                assert!(!self.running[at].swap(true, Ordering::AcqRel), "two workers run {at}");
                let run = Run { saw: self.is_final.load(Ordering::Acquire) };
                self.running[at].store(false, Ordering::Release);
                let before = self.waiting[at].lock().expect("no thread panics").replace(run);
                assert!(before.is_none(), "a run of {at} is lost");
                next = self.claims.has_run(tx);
                self.commit_ready();
            }
        }
    }

    fn commit_ready(&self) {
        let Ok(mut count) = self.commits.try_lock() else { return };
        while let Some(waiting) = self.waiting.get(*count as usize)
            && !self.claims.is_over()
        {
            let Some(run) = waiting.lock().expect("no thread panics").take() else { return };
            let at = *count as usize;
            *count += 1;
            self.is_final.store(*count, Ordering::Release);
            if !self.holds(at, &run) {
                self.drop_misled(at);
            }
        }
        self.claims.end();
    }

    fn drop_misled(&self, committed: usize) {
        let mut first = None;
        for at in committed + 1..self.waiting.len() {
            let mut waiting = self.waiting[at].lock().expect("no thread panics");
            if waiting.as_ref().is_none_or(|run| self.holds(at, run)) {
                continue;
            }
            *waiting = None;
            drop(waiting);
            self.claims.release(TxIndex(at as u32));
            first.get_or_insert(BlockAccessIndex(at as u32 + 1));
        }
        if let Some(index) = first {
            self.claims.hand_out_from(index);
        }
    }
}

/// Runs a block on two workers. Termination is a part of the property, because loom reports a lost run as a livelock.
fn run_block(chains: &[(Option<u32>, Option<u32>)], depends: &'static [bool]) {
    let chains = chains.iter().map(|(before, after)| (before.map(TxIndex), after.map(TxIndex))).collect();
    let block = Arc::new(Block::new(chains, depends));
    let other = {
        let block = Arc::clone(&block);
        thread::spawn(move || block.work())
    };
    block.work();
    other.join().expect("it only counts");
    assert_eq!(*block.commits.lock().expect("no thread panics"), depends.len() as u32);
}

#[test]
fn every_transaction_becomes_final_whichever_runs_are_discarded() {
    explore(2, || run_block(&[(None, None), (None, None), (None, None)], &[false, true, true]));
}

#[test]
fn transactions_of_one_sender_are_all_run() {
    explore(2, || run_block(&[(None, Some(1)), (Some(0), Some(2)), (Some(1), None)], &[false, true, true]));
    explore(2, || run_block(&[(None, Some(2)), (None, None), (Some(0), None)], &[false, true, false]));
}

#[test]
#[should_panic(expected = "maximum number of branches")]
fn broken_if_rescheduling_reads_and_writes_in_two_steps() {
    let _broken = Fault::Torn("fetch_min").inject();
    explore(2, || run_block(&[(None, None), (None, None), (None, None)], &[false, true, true]));
}

/// Two workers claim the same transaction, as they may when it is rescheduled.
fn claim_twice() {
    let claims = Arc::new(TxClaims::new(vec![(None, None)]));
    let other = {
        let claims = Arc::clone(&claims);
        thread::spawn(move || claims.claim(TxIndex(0)))
    };
    let claimed = [claims.claim(TxIndex(0)), other.join().expect("it only claims")];
    assert_eq!(claimed.iter().flatten().count(), 1, "not exactly one worker claimed it: {claimed:?}");
}

#[test]
fn one_of_two_workers_claims_a_transaction() {
    explore(3, claim_twice);
}

#[test]
#[should_panic(expected = "not exactly one worker claimed it")]
fn broken_if_two_workers_can_claim_one_transaction() {
    let _broken = Fault::Torn("fetch_or").inject();
    explore(3, claim_twice);
}

#[test]
#[should_panic(expected = "maximum number of branches")]
fn broken_if_the_end_of_a_run_is_recorded_in_two_steps() {
    let _broken = Fault::Torn("fetch_or").inject();
    explore(2, || run_block(&[(None, Some(1)), (Some(0), None)], &[false, true]));
}
