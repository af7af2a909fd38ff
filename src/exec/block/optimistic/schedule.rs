//! Scheduling of optimistic execution: runs transactions speculatively, validates and commits them in block order.
//!
//! In: a block's context, its store. Out: [`Speculated`], or the error of sequential execution.
//! `claims` hands out transactions in block order. Workers try to take one lock, without waiting for it; its holder
//! commits all runs that are ready. It validates each run in block order. An invalid run is repeated at once, as
//! everything below it is committed by then; later runs that its writes invalidate are dropped and handed out again.
//! A run that started when everything below it was committed needs no validation, so a single worker does little more
//! than sequential execution.
//! Relies on: `claims`, `cache`, `effects`, and `tasks` to run one task.
//! Not here: the reads and writes of a run (`effects`).

use super::cache::{ReadCounts, SharedCache};
use super::claims::TxClaims;
use super::effects::Effects;
use super::provider::{OptimisticState, View};
use super::reader::Reader;
use super::{Speculated, Speculation};
use crate::arena::code::CodeArena;
use crate::arena::store::StateStore;
use crate::arena::{AccountId, BlockAccessIndex, Id, TxIndex};
use crate::bal::{ExistenceLog, ListedParents, RecordedKeys, Recorder};
use crate::exec::block::error::BlockError;
use crate::exec::block::tasks::{
    BlockContext, Executed, Recording, TaskError, TaskSpan, WorkerScratch, current_thread,
};
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::{Logs, TxState};
use crate::exec::interpreter::Runner;
use crate::exec::rules::fork::Fork;
use crate::exec::senders::rows::SenderRows;
use crate::exec::sync::{AtomicU32, Ordering};
use crate::exec::tx::TxOutcome;
use ahash::RandomState;
use alloy_primitives::Address;
use core::cell::RefCell;
use hashbrown::HashMap;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Instant;

/// Maximum number of later runs that are validated after a conflict: enough for the runs in flight, few enough that a
/// sequence of conflicts stays cheap.
const SWEEP_MAX: usize = 64;

/// Accounts per store call when reading ahead.
const READ_CHUNK: usize = 256;

/// State shared by all workers of a block.
struct Schedule<'b> {
    context: &'b BlockContext<'b>,
    store: &'b dyn StateStore,
    codes: &'b CodeArena,
    cache: &'b SharedCache,
    clock: Instant,
    claims: TxClaims,
    /// Number of committed transactions.
    committed: AtomicU32,
    /// Ended runs that wait for their commit, by transaction.
    waiting: Vec<Mutex<Option<Run>>>,
    commits: Mutex<Commits>,
}

/// A run that ended without an error.
struct Done {
    outcome: TxOutcome,
    effects: Effects,
    span: TaskSpan,
}

/// A run that waits for its commit.
struct Run {
    worker: u32,
    /// Number of earlier runs of the transaction.
    incarnation: u32,
    /// Whether everything below was committed when it started. Such a run needs no validation.
    is_final: bool,
    result: Result<Done, TaskError>,
}

/// Everything committed so far.
#[derive(Default)]
struct Commits {
    /// Number of committed transactions.
    count: usize,
    executed: Executed,
    recorder: Recorder,
    existence_log: ExistenceLog,
    speculation: Speculation,
    error: Option<BlockError>,
}

impl Commits {
    /// Commits a run's effects.
    fn take_in(&mut self, schedule: &Schedule<'_>, index: BlockAccessIndex, effects: &Effects) {
        let existence_log = (schedule.context.rules.fork < Fork::Cancun).then_some(&mut self.existence_log);
        effects.commit(schedule.cache, index, &mut self.recorder, existence_log, schedule.codes);
    }
}

/// One worker's machine.
struct Worker<'s, 'v, 'b> {
    schedule: &'s Schedule<'b>,
    view: &'v RefCell<View<'b>>,
    evm: Evm<'v>,
    runner: Runner,
    number: u32,
    /// Effects of committed runs, kept to reuse their memory.
    spare: Vec<Effects>,
}

/// Runs the block optimistically on the threads of the current rayon pool, with one worker per scratch.
///
/// # Errors
/// Those of sequential execution, for any number of workers.
pub fn run_optimistic(
    context: &BlockContext<'_>,
    store: &dyn StateStore,
    codes: &CodeArena,
    scratches: &[Mutex<WorkerScratch>],
    clock: Instant,
) -> Result<Speculated, BlockError> {
    let tx_count = context.tx_count();
    let cache = SharedCache::default();
    let schedule = Schedule {
        context,
        store,
        codes,
        cache: &cache,
        clock,
        claims: TxClaims::new(sender_chains(tx_count, &context.senders)),
        committed: AtomicU32::new(0),
        waiting: (0..tx_count).map(|_| Mutex::default()).collect(),
        commits: Mutex::default(),
    };
    let mut counts = ReadCounts::default();
    counts.add(&schedule.read_ahead());
    // The system calls run and commit before the workers start, so all transactions read the state after them.
    counts.add(&schedule.run_phase(BlockAccessIndex(0), scratches)?);

    // Trace lines are written as they are produced. A single worker runs every transaction in block order, after all
    // before it are committed, so that none runs twice.
    let workers = if context.trace.is_some() { 1 } else { scratches.len() }.min(tx_count);
    // A worker has the number of its pool thread, which is also the number of the reader in `read_ahead` there.
    let shares = rayon::broadcast(|thread| {
        let number = thread.index();
        let scratch = scratches.get(number).filter(|_| number < workers)?;
        Some(schedule.with_worker(number as u32, scratch, |worker| worker.work()))
    });
    {
        let mut commits = schedule.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = commits.error.take() {
            return Err(error);
        }
        for (logs, worker_counts) in shares.into_iter().map(Option::unwrap_or_default) {
            commits.executed.logs.workers.push(logs);
            counts.add(&worker_counts);
        }
    }
    counts.add(&schedule.run_phase(BlockAccessIndex::new(tx_count + 1), scratches)?);

    let commits = schedule.commits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Commits { mut executed, recorder, existence_log, mut speculation, .. } = commits;
    executed.add_deposits(context.rules)?;
    speculation.workers = workers;
    speculation.account_reads = counts.account_reads;
    speculation.slot_reads = counts.slot_reads;
    speculation.reads_saved = counts.asked.saturating_sub(counts.account_reads + counts.slot_reads);
    let recording = recording(&cache, &recorder, existence_log, codes, &counts);
    Ok(Speculated { executed, recording, speculation, cache })
}

/// Index of the current thread in its rayon pool, which is the number of its worker; 0 outside a pool.
fn thread_number() -> u32 {
    rayon::current_thread_index().unwrap_or_default() as u32
}

/// For each transaction, the same sender's previous and next transaction.
fn sender_chains(tx_count: usize, senders: &SenderRows<'_>) -> Vec<(Option<TxIndex>, Option<TxIndex>)> {
    let mut chains = vec![(None, None); tx_count];
    let mut last: HashMap<Address, usize, RandomState> = HashMap::default();
    for at in 0..tx_count {
        if let Some(before) = senders.sender(TxIndex::new(at)).and_then(|sender| last.insert(sender, at)) {
            chains[at].0 = Some(TxIndex::new(before));
            chains[before].1 = Some(TxIndex::new(at));
        }
    }
    chains
}

/// Ends the block for all workers when one panics, so that no other worker waits for it forever.
struct EndOnPanic<'a>(&'a TxClaims);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

impl<'b> Schedule<'b> {
    /// Drops the runs above `tx` that the repetition of `tx` made invalid, withdraws their writes, and hands their
    /// transactions out again. Without this, in a chain of dependent transactions, each would again read an invalid
    /// value from the one before it, to the end of the chain.
    fn drop_misled(&self, tx: TxIndex, speculation: &mut Speculation) {
        let above = tx.index() + 1;
        let mut first_dropped = None;
        for (at, waiting) in self.waiting.iter().enumerate().skip(above).take(SWEEP_MAX) {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(run) = &*waiting else { continue };
            let index = BlockAccessIndex::new(at + 1);
            if let Ok(done) = &run.result {
                if done.effects.holds(self.cache, index) {
                    continue;
                }
                done.effects.withdraw(self.cache, index);
            }
            *waiting = None;
            drop(waiting);
            speculation.conflicts += 1;
            speculation.re_executions += 1;
            self.claims.release(TxIndex::new(at));
            first_dropped.get_or_insert(index);
        }
        if let Some(index) = first_dropped {
            self.claims.hand_out_from(index);
        }
    }

    /// Reads the accounts that transactions are certain to access (senders, targets, coinbase) into the cache, in
    /// batches on all threads. Errors are discarded: a task that needs such an account reads it again.
    fn read_ahead(&self) -> ReadCounts {
        let transactions = self.context.block.transactions.rows();
        let senders = (0..transactions.len()).filter_map(|tx| self.context.senders.sender(TxIndex::new(tx)));
        let mut ids: Vec<AccountId> = senders
            .chain(transactions.iter().filter_map(|tx| tx.to))
            .chain([self.context.env.coinbase])
            .map(|address| self.cache.account_id(&address))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let read = |ids: &[AccountId]| {
            let reader = Reader { store: self.store, codes: self.codes, worker: thread_number() };
            self.cache.read_accounts(ids, &reader).unwrap_or_default()
        };
        let account_reads = ids.par_chunks(READ_CHUNK).map(read).sum();
        ReadCounts { account_reads, ..ReadCounts::default() }
    }

    /// Calls `work` with a worker that has its own reader, view and machine. Returns its result and the worker's reads.
    fn with_worker<T>(
        &self,
        number: u32,
        scratch: &Mutex<WorkerScratch>,
        work: impl FnOnce(&mut Worker<'_, '_, 'b>) -> T,
    ) -> (T, ReadCounts) {
        let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let runner = scratch.begin_run(self.context.loop_kind);
        let (state, evm) = (core::mem::take(&mut scratch.state), core::mem::take(&mut scratch.evm));
        let reader = Reader { store: self.store, codes: self.codes, worker: number };
        let view = RefCell::new(View::new(self.cache, reader));
        let base = Box::new(OptimisticState { view: &view });
        let rules = self.context.rules;
        let state = TxState::new(state, None, base, self.codes, rules.fork);
        let mut evm = Evm::new(evm, rules, &self.context.env, state);
        evm.cancel = self.context.cancel;
        evm.recoveries.candidates = self.context.senders.candidates();
        let mut worker = Worker { schedule: self, view: &view, evm, runner, number, spare: Vec::new() };
        let done = work(&mut worker);
        (scratch.evm, scratch.state) = worker.evm.into_scratch();
        scratch.end_run(worker.runner);
        let counts = view.borrow().counts;
        (done, counts)
    }

    /// Returns [`BlockError::Cancelled`] if the block was cancelled; `index` is the next task to commit.
    fn check_cancelled(&self, index: BlockAccessIndex) -> Result<(), BlockError> {
        match self.context.cancel {
            Some(token) if token.is_cancelled() => Err(self.context.cancelled_at(index)),
            _ => Ok(()),
        }
    }

    /// Runs and commits the system phase at `index`, before or after all transactions.
    fn run_phase(&self, index: BlockAccessIndex, scratches: &[Mutex<WorkerScratch>]) -> Result<ReadCounts, BlockError> {
        self.check_cancelled(index)?;
        let number = thread_number();
        let scratch = scratches.get(number as usize).unwrap_or(&scratches[0]);
        let (result, counts) = self.with_worker(number, scratch, |worker| {
            let mut requests = Vec::new();
            worker.run(index, 0, &mut requests).map(|done| (done, requests))
        });
        let (Done { effects, span, .. }, requests) = result.map_err(|error| error.into_block_error(index))?;
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.take_in(self, index, &effects);
        commits.executed.requests.extend(requests);
        commits.executed.spans.push(span);
        Ok(counts)
    }
}

impl Worker<'_, '_, '_> {
    /// Runs the task at `index` on the current committed and speculative writes below it.
    fn run(
        &mut self,
        index: BlockAccessIndex,
        incarnation: u32,
        requests: &mut Vec<Vec<u8>>,
    ) -> Result<Done, TaskError> {
        let clock = self.schedule.clock;
        let start_ns = clock.elapsed().as_nanos() as u64;
        let outcome = self.schedule.context.run_task(&mut self.evm, &mut self.runner, index, requests)?;
        let mut effects = self.spare.pop().unwrap_or_default();
        effects.take(&self.evm.state, &mut self.view.borrow_mut(), incarnation);
        let end_ns = clock.elapsed().as_nanos() as u64;
        let span = TaskSpan { index, worker: self.number, thread: current_thread(), start_ns, end_ns };
        Ok(Done { outcome, effects, span })
    }

    /// Runs and commits transactions until the block is over. Returns the logs of all runs of this worker.
    fn work(&mut self) -> Logs {
        let schedule = self.schedule;
        let claims = &schedule.claims;
        let _guard = EndOnPanic(claims);
        while !claims.is_over() {
            if claims.is_exhausted() {
                // Nothing is left to run: the runs of other workers are about to end.
                self.commit_ready();
                std::thread::yield_now();
                continue;
            }
            let mut next = claims.hand_out();
            while let Some(tx) = next.take()
                && let Some(incarnation) = claims.claim(tx)
            {
                self.run_ahead(tx, incarnation);
                next = claims.has_run(tx);
                self.commit_ready();
            }
        }
        self.evm.state.take_logs()
    }

    /// Runs a transaction speculatively and stores the run for its commit.
    fn run_ahead(&mut self, tx: TxIndex, incarnation: u32) {
        let schedule = self.schedule;
        let index = BlockAccessIndex(tx.0 + 1);
        let is_final = schedule.committed.load(Ordering::Acquire) == tx.0;
        let result = self.run(index, incarnation, &mut Vec::new());
        // A run that needs no validation is committed at once, so its writes need not be published before.
        if let Ok(done) = &result
            && !is_final
        {
            done.effects.write_ahead(schedule.cache, index);
        }
        let run = Run { worker: self.number, incarnation, is_final, result };
        *schedule.waiting[tx.index()].lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// Commits all runs that are ready, in block order, unless another worker is doing so.
    fn commit_ready(&mut self) {
        let schedule = self.schedule;
        let mut commits = match schedule.commits.try_lock() {
            Ok(commits) => commits,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        while let Some(waiting) = schedule.waiting.get(commits.count)
            && !schedule.claims.is_over()
        {
            let Some(run) = waiting.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            if let Err(error) = self.commit(&mut commits, run) {
                commits.error = Some(error);
                schedule.claims.end();
                return;
            }
            commits.count += 1;
            schedule.committed.store(commits.count as u32, Ordering::Release);
        }
        schedule.claims.end();
    }

    /// Commits the next transaction in block order; everything below it is committed.
    fn commit(&mut self, commits: &mut Commits, run: Run) -> Result<(), BlockError> {
        let schedule = self.schedule;
        let Schedule { cache, context, .. } = *schedule;
        let tx = TxIndex::new(commits.count);
        let index = BlockAccessIndex(tx.0 + 1);
        schedule.check_cancelled(index)?;
        let Run { mut worker, incarnation, is_final, mut result } = run;
        commits.speculation.executions += 1 + incarnation as usize;
        // A run may have failed because of a value that was not final. Failures are rare, so every one is repeated.
        let failed = result.is_err();
        let holds = is_final || matches!(&result, Ok(done) if done.effects.holds(cache, index));
        if !holds {
            if let Ok(done) = &result {
                done.effects.withdraw(cache, index);
            }
            result = self.run(index, incarnation + 1, &mut Vec::new());
            worker = self.number;
            commits.speculation.re_executions += 1;
            commits.speculation.conflicts += usize::from(!failed || result.is_ok());
        }
        match result {
            Ok(Done { outcome, effects, span }) => {
                commits.executed.include(context, index, worker, Ok(outcome))?;
                commits.take_in(schedule, index, &effects);
                commits.executed.spans.push(span);
                self.spare.push(effects);
                if !holds {
                    schedule.drop_misled(tx, &mut commits.speculation);
                }
                Ok(())
            }
            Err(error) => commits.executed.include(context, index, worker, Err(error)),
        }
    }
}

/// The block's recording, from committed values and parent values alone.
fn recording(
    cache: &SharedCache,
    recorder: &Recorder,
    mut existence_log: ExistenceLog,
    codes: &CodeArena,
    counts: &ReadCounts,
) -> Recording {
    let (addresses, slot_keys, slot_accounts) = cache.recorded_keys();
    let keys = RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts };
    let list = recorder.finish(&keys);
    existence_log.existence.sort_unstable();
    let accounts = list.account_ids.iter().map(|(_, id)| cache.parent_account(*id, codes).unwrap_or_default());
    let slots = list.slot_ids.iter().map(|(_, id)| cache.slot(*id).parent.get().unwrap_or_default());
    Recording {
        parents: ListedParents {
            accounts: accounts.collect::<Vec<_>>().into(),
            slots: slots.collect::<Vec<_>>().into(),
        },
        list,
        existence_log,
        store_reads: (counts.account_reads, counts.slot_reads),
        checked: ListChecked::recorded(),
    }
}
