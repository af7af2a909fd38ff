//! Execution from a block access list (BAL): the tasks run in parallel, each on parent state plus BAL.
//!
//! In: a block's context, the decoded BAL, the parent state. Out: [`Executed`] and the proof that each task made exactly
//! the changes that the BAL claims for its index ([`ListChecked`]), or the error of the lowest index that has one.
//! Relies on: `context` to run one task, `verify` to check it, `schedule` to hand the tasks out.
//! Not here: decoding, sender recovery, reading the parent state, state root (`executor`).

use super::context::BlockContext;
use super::error::TaskError;
use super::executed::{Executed, TaskSpan, current_thread};
use super::order::task_order;
use super::scratch::WorkerScratch;
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Id, SlotId};
use crate::bal::{AccessSet, BalColumns, ExistenceColumns};
use crate::exec::block::code_loader::CodeLoader;
use crate::exec::block::error::{BlockError, Mismatch, MismatchField};
use crate::exec::block::providers::{BalState, ParentRows};
use crate::exec::block::schedule::{Next, TaskQueue};
use crate::exec::block::verify::{ListChecked, ListClaims, TaskChecked, TasksChecked, check_task};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::{Logs, TxState};
use crate::exec::rules::fork::Fork;
use crate::exec::tx::TxOutcome;
use crate::exec::wire::{LogRef, ReceiptLogs};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A block access list with everything that its tasks need of it.
#[derive(Clone, Copy, Debug)]
pub struct ListState<'b> {
    /// The list.
    pub bal: &'b BalColumns,
    /// Existence changes that the list cannot express; empty from Cancun on.
    pub existence_log: &'b ExistenceColumns,
    /// Ids of the listed addresses and slot keys.
    pub id_map: &'b IdMap,
    /// The parent state of all listed accounts and slots.
    pub parent: ParentRows<'b>,
    /// The arena's id of each code row of the list.
    pub code_rows: &'b [CodeId],
    /// Number of listed changes per block access index, including the events of the existence log.
    pub rows_at: &'b [u32],
    /// Set by another thread once the block is found invalid for another reason; remaining tasks are then not run.
    pub refused: &'b AtomicBool,
    /// For tests: seed of a random task order; `None` outside tests.
    pub shuffle: Option<u64>,
}

impl<'b> ListState<'b> {
    /// The machine of a worker, with its memory, on parent state plus list.
    pub(super) fn machine(
        &self,
        context: &'b BlockContext<'b>,
        loader: &'b CodeLoader<'b>,
        scratch: &mut WorkerScratch,
    ) -> Evm<'b> {
        let (state, evm) = (core::mem::take(&mut scratch.state), core::mem::take(&mut scratch.evm));
        let Self { bal, existence_log, parent, code_rows, id_map, .. } = *self;
        let fork = context.rules.fork;
        let base = Box::new(BalState::new(bal, existence_log, parent, code_rows, loader, fork));
        let state = TxState::new(state, Some(id_map), base, loader.codes(), fork);
        let mut evm = Evm::new(evm, context.rules, &context.env, state);
        evm.cancel = context.cancel;
        evm.recoveries.candidates = context.senders.candidates();
        evm
    }

    /// What the list claims, to compare a task with.
    pub(super) fn claims(&self, fork: Fork) -> ListClaims<'b> {
        let existence_log = (fork < Fork::Cancun).then_some(self.existence_log);
        ListClaims { bal: self.bal, existence_log, code_rows: self.code_rows, rows_at: self.rows_at }
    }
}

/// The outcome of a task and the proof that it did what the list claims, or why it has none.
type CheckedResult = Result<(TxOutcome, TaskChecked), TaskError>;

/// Results of one worker.
#[derive(Debug, Default)]
struct WorkerShare {
    results: Vec<(BlockAccessIndex, CheckedResult)>,
    spans: Vec<TaskSpan>,
    accounts: AccessSet<AccountId>,
    slots: AccessSet<SlotId>,
    logs: Logs,
    /// Receipt encoding of the logs; one row per task in the order of `results`.
    receipt_logs: ReceiptLogs,
    requests: Vec<Vec<u8>>,
}

/// The tasks of one block, which workers join and leave. Several blocks may have tasks at the same time.
#[derive(Debug)]
pub struct BlockTasks<'b> {
    context: &'b BlockContext<'b>,
    list: ListState<'b>,
    loader: &'b CodeLoader<'b>,
    queue: TaskQueue<'b>,
    shares: Mutex<Shares>,
}

/// The workers of a block.
#[derive(Debug, Default)]
struct Shares {
    /// Number of workers that have joined and not left.
    active: usize,
    /// Whether no task is left to hand out, so that no further worker joins.
    closed: bool,
    /// Results of the workers that left, with their numbers.
    ended: Vec<(usize, WorkerShare)>,
}

impl<'b> BlockTasks<'b> {
    /// The tasks of a block on parent state plus block access list. About `workers` workers will join.
    pub fn new(context: &'b BlockContext<'b>, list: ListState<'b>, loader: &'b CodeLoader<'b>, workers: usize) -> Self {
        let task_count = context.tx_count() as u32 + 2;
        let gas_limit = context.block.header.gas_limit;
        let shuffle = list.shuffle.filter(|_| context.trace.is_none());
        let rows = context.block.transactions.rows();
        let order = task_order(rows.len(), |row| rows[row].gas_limit, workers);
        let queue = TaskQueue::new(task_count, gas_limit, list.refused, context.cancel, order, shuffle);
        Self { context, list, loader, queue, shares: Mutex::default() }
    }

    /// Runs and verifies tasks until none is left to start. `worker` is the caller's number, by which results are sorted;
    /// each number joins at most once. `recover` is called before the first task; once all workers have called it, every
    /// sender and authority must be recovered or being recovered. Returns true on the last worker to leave: all tasks have
    /// then ended. Returns false at once if no task is left.
    pub fn join(&self, worker: usize, scratch: &Mutex<WorkerScratch>, recover: impl FnOnce(), clock: Instant) -> bool {
        {
            let mut shares = self.lock();
            if shares.closed {
                return false;
            }
            shares.active += 1;
        }
        recover();
        let share = work(self.context, &self.list, self.loader, scratch, worker, &self.queue, clock);
        let mut shares = self.lock();
        shares.closed = true;
        shares.active -= 1;
        shares.ended.push((worker, share));
        shares.active == 0
    }

    /// The result, after [`Self::join`] has returned true: the tasks in block order, and the proof that each did what the
    /// list claims.
    ///
    /// # Errors
    /// The error of the lowest index that has one, independent of timing. All lower tasks matched the list, so the failing
    /// task ran on the same state as in sequential execution.
    pub fn finish(&self) -> Result<(Executed, ListChecked), BlockError> {
        let mut shares = core::mem::take(&mut self.lock().ended);
        shares.sort_unstable_by_key(|(worker, _)| *worker);
        merge(self.context, &self.list, shares.into_iter().map(|(_, share)| share).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs all tasks of one block in parallel, on the threads of the current rayon pool, and verifies them. `recover` is as
/// in [`BlockTasks::join`].
///
/// # Errors
/// Those of [`BlockTasks::finish`].
pub fn run_with_list(
    context: &BlockContext<'_>,
    list: &ListState<'_>,
    loader: &CodeLoader<'_>,
    scratches: &[Mutex<WorkerScratch>],
    recover: &(dyn Fn() + Sync),
    clock: Instant,
) -> Result<(Executed, ListChecked), BlockError> {
    // Trace lines are written as they are produced, so one worker runs the tasks in block order.
    let workers_max = if context.trace.is_some() { 1 } else { scratches.len() };
    let workers = workers_max.min(context.tx_count() + 2);
    let tasks = BlockTasks::new(context, *list, loader, workers);
    let started = AtomicUsize::new(0);
    rayon::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|_| {
                let worker = started.fetch_add(1, Ordering::Relaxed);
                tasks.join(worker, &scratches[worker], recover, clock);
            });
        }
    });
    tasks.finish()
}

fn work(
    context: &BlockContext<'_>,
    list: &ListState<'_>,
    loader: &CodeLoader<'_>,
    scratch: &Mutex<WorkerScratch>,
    worker: usize,
    schedule: &TaskQueue<'_>,
    clock: Instant,
) -> WorkerShare {
    let mut scratch = scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut runner = scratch.begin_run(context.loop_kind);
    let codes = loader.codes();
    let mut evm = list.machine(context, loader, &mut scratch);
    let mut share = WorkerShare {
        // Tasks are taken one by one, so one worker may run all of them.
        results: Vec::with_capacity(context.tx_count() + 2),
        spans: Vec::with_capacity(context.tx_count() + 2),
        accounts: AccessSet::with_room_for(list.bal.account_count()),
        slots: AccessSet::with_room_for(list.bal.slot_count()),
        ..WorkerShare::default()
    };
    let claims = list.claims(context.rules.fork);
    loop {
        let index = match schedule.next() {
            Next::Run(index) => BlockAccessIndex(index),
            Next::Cancelled(index) => {
                share.results.push((BlockAccessIndex(index), Err(TaskError::Fault(Fault::Cancelled))));
                break;
            }
            Next::Done => break,
        };
        let start_ns = clock.elapsed().as_nanos() as u64;
        let outcome = context.run_task(&mut evm, &mut runner, index, &mut share.requests);
        let result = outcome.and_then(|outcome| Ok((outcome, check_task(&evm.state, &claims, codes, index)?)));
        for id in evm.state.touched_accounts() {
            share.accounts.insert(*id);
        }
        for id in evm.state.touched_slots() {
            share.slots.insert(*id);
        }
        match &result {
            Ok((outcome, _)) => schedule.ended(index.0, outcome.gas_execution),
            Err(_) => schedule.failed(index.0),
        }
        share.results.push((index, result));
        let end_ns = clock.elapsed().as_nanos() as u64;
        share.spans.push(TaskSpan { index, worker: worker as u32, thread: current_thread(), start_ns, end_ns });
    }
    share.logs = evm.state.take_logs();
    (scratch.evm, scratch.state) = evm.into_scratch();
    scratch.end_run(runner);
    share.receipt_logs = ReceiptLogs::of(share.results.len(), |row| {
        let logs = share.results[row].1.as_ref().map_or(0..0, |(outcome, _)| outcome.logs.clone());
        logs.map(|log| LogRef::from(share.logs.get(log)))
    });
    share
}

/// The worker that ran a task, the row of the result among that worker's results, and the result.
type PlacedResult = (u32, u32, CheckedResult);

/// Puts the workers' results into block order, checks admission, and checks that every listed item was accessed.
fn merge(
    context: &BlockContext<'_>,
    list: &ListState<'_>,
    shares: Vec<WorkerShare>,
) -> Result<(Executed, ListChecked), BlockError> {
    let n = context.tx_count();
    let mut executed = Executed::with_room_for(n);
    executed.receipt_places.reserve(n);
    let mut slots: Vec<Option<PlacedResult>> = (0..n + 2).map(|_| None).collect();
    let mut accounts = AccessSet::with_room_for(list.bal.account_count());
    let mut slot_set = AccessSet::with_room_for(list.bal.slot_count());
    for (worker, share) in shares.into_iter().enumerate() {
        for (row, (index, result)) in share.results.into_iter().enumerate() {
            slots[index.0 as usize] = Some((worker as u32, row as u32, result));
        }
        accounts.union_with(&share.accounts);
        slot_set.union_with(&share.slots);
        executed.spans.extend(share.spans);
        executed.requests.extend(share.requests);
        executed.logs.workers.push(share.logs);
        executed.receipt_logs.push(share.receipt_logs);
    }
    executed.spans.sort_unstable_by_key(|span| span.index);
    let mut tasks = TasksChecked::default();
    for (index, slot) in slots.into_iter().enumerate() {
        let access_index = BlockAccessIndex::new(index);
        // A task is missing only above one that failed, where this pass ends first, or when the block was cancelled.
        let Some((worker, row, result)) = slot else {
            return Err(context.cancelled_at(access_index));
        };
        let result = result.map(|(outcome, checked)| {
            tasks.add(checked);
            outcome
        });
        if index == 0 || index > n {
            result.map_err(|error| error.into_block_error(access_index))?;
            continue;
        }
        executed.include(context, access_index, worker, result)?;
        executed.receipt_places.push((worker, row));
    }
    let checked = ListChecked::given(&tasks, n + 2, unaccessed(list.bal, &accounts, &slot_set))?;
    executed.add_deposits(context.rules)?;
    Ok((executed, checked))
}

/// The first listed account, else the first listed slot, that no task accessed.
fn unaccessed(bal: &BalColumns, accounts: &AccessSet<AccountId>, slots: &AccessSet<SlotId>) -> Option<Mismatch> {
    let mismatch = |address, field, slot| Mismatch { address, field, slot, index: None, claimed: None, produced: None };
    if let Some(id) = accounts.first_missing(bal.account_count()) {
        return Some(mismatch(bal.addresses()[id], MismatchField::UnaccessedAccount, None));
    }
    let id = slots.first_missing(bal.slot_count())?;
    let address = bal.addresses()[bal.slot_accounts()[id]];
    Some(mismatch(address, MismatchField::UnaccessedSlot, Some(bal.slot_keys()[id])))
}
