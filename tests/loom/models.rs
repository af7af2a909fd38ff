//! The models: what must hold after any order of events.

use crate::arena::{BlockAccessIndex, TxIndex};
use crate::claims::Claims;
use crate::exec::state::BaseAccount;
use crate::overlay::{AccountVersions, AccountWrite, BalanceWrite, SlotVersions, Version};
use crate::schedule::{Next, Schedule};
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering};
use alloy_primitives::U256;
use loom::sync::Arc;
use loom::thread;

/// Explores `model` with at most `preemptions` forced switches, unless the environment asks for more.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// What became of the tasks of a block: whether each one ran, and how it ended.
fn run_tasks(gas: &'static [u64], gas_limit: u64, failing: &'static [u32], workers: usize) {
    let refused: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let schedule = Arc::new(Schedule::new(gas.len() as u32, gas_limit, refused, None, &[], None));
    let work = move |schedule: &Schedule<'_>| {
        let mut ran = Vec::new();
        while let Next::Run(index) = schedule.next() {
            ran.push(index);
            if failing.contains(&index) {
                schedule.failed(index);
            } else {
                schedule.ended(index, gas[index as usize]);
            }
        }
        ran
    };
    let others: Vec<_> = (1..workers)
        .map(|_| {
            let schedule = Arc::clone(&schedule);
            thread::spawn(move || work(&schedule))
        })
        .collect();
    let mut ran = work(&schedule);
    others.into_iter().for_each(|other| ran.extend(other.join().expect("it only counts")));
    ran.sort_unstable();
    // No task runs twice, and where one did not run, those before it decide the block: one failed, or had no room.
    assert!(ran.windows(2).all(|pair| pair[0] < pair[1]), "{ran:?}");
    let missing = (0..gas.len() as u32).find(|index| !ran.contains(index));
    if let Some(missing) = missing {
        let below = ran.iter().filter(|index| **index < missing);
        let spent: u64 = below.clone().map(|index| gas[*index as usize]).sum();
        let failed = below.clone().any(|index| failing.contains(index));
        assert!(failed || spent > gas_limit, "{missing} did not run, of {ran:?}");
    }
}

#[test]
fn what_lies_below_a_failed_task_always_runs() {
    explore(3, || run_tasks(&[0; 4], 100, &[1, 2], 2));
    explore(2, || run_tasks(&[0; 3], 100, &[1], 3));
}

#[test]
fn early_rejection_by_gas_never_loses_a_task_that_counts() {
    explore(3, || run_tasks(&[0, 60, 40, 60], 100, &[], 2));
    explore(2, || run_tasks(&[70, 10, 60], 100, &[], 3));
}

/// A run of a transaction: how much was final when it began. It holds if all below was.
struct Run {
    saw: u32,
}

/// The protocol of `optimistic/schedule.rs` over real claims: workers run ahead and commit what is ready.
struct Block {
    claims: Claims,
    waiting: Vec<Mutex<Option<Run>>>,
    /// How many are final.
    commits: Mutex<u32>,
    is_final: AtomicU32,
    running: Vec<AtomicBool>,
    /// Whether transaction `i` needs the one below it to be final.
    depends: &'static [bool],
}

impl Block {
    fn new(chains: Vec<(Option<TxIndex>, Option<TxIndex>)>, depends: &'static [bool]) -> Self {
        let count = chains.len();
        Self {
            claims: Claims::new(chains),
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
                let before = self.waiting[at].lock().expect("nobody panics").replace(run);
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
            let Some(run) = waiting.lock().expect("nobody panics").take() else { return };
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
            let mut waiting = self.waiting[at].lock().expect("nobody panics");
            if waiting.as_ref().is_none_or(|run| self.holds(at, run)) {
                continue;
            }
            *waiting = None;
            drop(waiting);
            self.claims.give_back(TxIndex(at as u32));
            first.get_or_insert(BlockAccessIndex(at as u32 + 1));
        }
        if let Some(index) = first {
            self.claims.hand_out_from(index);
        }
    }
}

/// Runs a block on two workers; that it ends at all is the half of it, since loom finds a lost run as a livelock.
fn run_block(chains: &[(Option<u32>, Option<u32>)], depends: &'static [bool]) {
    let chains = chains.iter().map(|(before, after)| (before.map(TxIndex), after.map(TxIndex))).collect();
    let block = Arc::new(Block::new(chains, depends));
    let other = {
        let block = Arc::clone(&block);
        thread::spawn(move || block.work())
    };
    block.work();
    other.join().expect("it only counts");
    assert_eq!(*block.commits.lock().expect("nobody panics"), depends.len() as u32);
}

#[test]
fn every_transaction_becomes_final_whoever_drops_what() {
    explore(2, || run_block(&[(None, None), (None, None), (None, None)], &[false, true, true]));
}

#[test]
fn transactions_of_one_sender_are_all_run() {
    explore(2, || run_block(&[(None, Some(1)), (Some(0), Some(2)), (Some(1), None)], &[false, true, true]));
    explore(2, || run_block(&[(None, Some(2)), (None, None), (Some(0), None)], &[false, true, false]));
}

#[test]
fn who_knows_of_a_commit_sees_what_it_wrote() {
    explore(3, || {
        let (slot, account) = (Arc::new(SlotVersions::default()), Arc::new(AccountVersions::default()));
        let known = Arc::new(AtomicBool::new(false));
        let writer = {
            let (slot, account, known) = (Arc::clone(&slot), Arc::clone(&account), Arc::clone(&known));
            thread::spawn(move || {
                let write =
                    AccountWrite { balance: BalanceWrite::Add(U256::from(5)), wiped: true, ..Default::default() };
                slot.write_ahead(BlockAccessIndex(1), 0, U256::from(7));
                account.write_ahead(BlockAccessIndex(1), 0, write);
                slot.commit(BlockAccessIndex(1), 0, U256::from(7));
                account.commit(BlockAccessIndex(1), 0, &write, &BaseAccount::default());
                known.store(true, Ordering::Release);
            })
        };
        let knows = known.load(Ordering::Acquire);
        let reader = BlockAccessIndex(2);
        let written = Version::Written { index: BlockAccessIndex(1), incarnation: 0 };
        let found = slot.read(reader, None);
        assert!(found == Some((U256::from(7), written)) || found.is_none() && !knows, "{found:?}");
        let (found, version) = account.read(reader, &BaseAccount::default());
        match version {
            Version::Parent => assert!(!knows && found.balance.is_zero()),
            version => assert!(version == written && found.balance == U256::from(5)),
        }
        assert!(!knows || account.last_wipe(reader) == Some(BlockAccessIndex(1)));
        writer.join().expect("it only writes");
    });
}
