//! The tasks of one block: their shared context, sequential execution, and execution from a block access list (BAL).
//!
//! In: a decoded block, its senders, the parent state, and the BAL for [`run_with_list`]. Out: [`Executed`], with
//! either a [`Recording`] or [`ListChecked`]; or the error of the lowest failing index.
//! - [`run_sequential`] runs the tasks one after another and records the BAL.
//! - [`run_with_list`] runs the tasks in parallel, each on parent state plus BAL, and proves that each task made
//!   exactly the changes that the BAL claims for its index.
//!
//! Relies on: `tx` and `system` to run one task, `verify` to check it.
//! Not here: optimistic execution (`optimistic`), decoding, signature recovery, reading the parent state and state
//! roots (`executor`).

use super::admission::BlockGas;
use super::code_loader::CodeLoader;
use super::error::{BlockError, InternalFault, InvalidBlock, Mismatch, MismatchField};
use super::providers::{BalState, Overlay, OverlayState, ParentRows};
use super::schedule::{Next, TaskQueue};
use super::system::{PhaseError, SystemInputs, collect_deposits};
use super::verify::{ListChecked, ListClaims, TaskChecked, TaskDifference, TasksChecked, check_task};
use crate::arena::cancel::CancelToken;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, StateStore, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId, TxIndex};
use crate::bal::{AccessSet, BalColumns, ExistenceColumns, ExistenceLog, RecordedKeys, RecordedList, Recorder};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::evm::machine::{BlockEnv, Evm, EvmScratch};
use crate::exec::evm::state::{Logs, StateScratch, TxState};
use crate::exec::interpreter::profile::{OpcodeProfile, WorkerProfile};
use crate::exec::interpreter::trace::{Eip3155, TraceSink};
use crate::exec::interpreter::{LoopKind, Runner};
use crate::exec::rules::fork::{ChainRules, Fork, TX_GAS_LIMIT_MAX};
use crate::exec::rules::header::blob_base_fee;
use crate::exec::senders::rows::SenderRows;
use crate::exec::tx::{TxError, TxInput, TxInvalid, TxOutcome};
use crate::exec::wire::{Block, LogRef, ReceiptLogs};
use alloy_primitives::{Address, U256};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Instant;

/// Inputs that all tasks of a block share.
#[derive(Debug)]
pub struct BlockContext<'b> {
    /// The chain's rules at this block.
    pub rules: &'b ChainRules,
    /// The block.
    pub block: &'b Block,
    /// The block's fields that instructions read.
    pub env: BlockEnv,
    /// Senders of its transactions and authorities of its authorizations (EIP-7702).
    pub senders: SenderRows<'b>,
    /// The dispatch loop that runs frames.
    pub loop_kind: LoopKind,
    /// Whether the system phases before and after the transactions run. State tests have neither.
    pub system_phases: bool,
    /// Receives the EIP-3155 trace of the transactions. The tasks of a traced block run one after another.
    pub trace: Option<&'b TraceSink>,
    /// Cancels the block.
    pub cancel: Option<&'b CancelToken>,
    inputs: SystemInputs,
}

impl<'b> BlockContext<'b> {
    /// A context with system phases, without trace and without cancellation.
    pub fn new(rules: &'b ChainRules, block: &'b Block, senders: SenderRows<'b>, loop_kind: LoopKind) -> Self {
        let header = &block.header;
        let env = BlockEnv {
            chain_id: rules.chain_id,
            number: header.number,
            timestamp: header.timestamp,
            coinbase: header.coinbase,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee.unwrap_or_default(),
            difficulty: if rules.fork >= Fork::Paris {
                U256::from_be_bytes(header.mix_hash.0)
            } else {
                header.difficulty
            },
            blob_base_fee: blob_base_fee(rules, header.excess_blob_gas.unwrap_or_default()),
            slot_number: header.slot_number.unwrap_or_default(),
        };
        Self {
            rules,
            block,
            env,
            senders,
            loop_kind,
            system_phases: true,
            trace: None,
            cancel: None,
            inputs: SystemInputs::of(block),
        }
    }

    /// The same context with the given trace sink, or without tracing.
    pub fn traced(self, trace: Option<&'b TraceSink>) -> Self {
        Self { trace, ..self }
    }

    /// Number of transactions.
    pub fn tx_count(&self) -> usize {
        self.block.transactions.len()
    }

    fn tx_input(&'b self, index: TxIndex) -> TxInput<'b> {
        let transactions = &self.block.transactions;
        TxInput {
            transactions,
            index,
            sender: self.senders.sender(index),
            authorities: self.senders.authorities(transactions.authorization_rows(index)),
        }
    }

    /// Checks that the gas limit of the transaction at `index` fits into the gas left in the block. System phases
    /// always pass.
    pub(in crate::exec) fn room(&self, index: BlockAccessIndex, gas: &BlockGas) -> Result<(), TxInvalid> {
        if index.0 == 0 || index.0 as usize > self.tx_count() {
            return Ok(());
        }
        let tx_limit = self.block.transactions.row(TxIndex(index.0 - 1)).gas_limit;
        gas.admit(self.rules.fork_rules(), self.block.header.gas_limit, tx_limit)
    }

    /// The first fault that the transaction has independent of the state and of the block's gas. Such a fault takes
    /// precedence over [`TxInvalid::GasAllowance`].
    pub(in crate::exec) fn static_fault(&'b self, evm: &Evm<'b>, tx: TxIndex) -> Option<TxInvalid> {
        evm.static_fault(&self.tx_input(tx))
    }

    /// The error of a block that was cancelled before the task at `index` was done.
    pub(in crate::exec) fn cancelled_at(&self, index: BlockAccessIndex) -> BlockError {
        BlockError::Cancelled(format!("before the task at index {} of 0 to {} was done", index.0, self.tx_count() + 1))
    }

    /// Runs the task at `index` on the state of `evm`. Afterwards the state is settled but not committed.
    pub(in crate::exec) fn run_task(
        &'b self,
        evm: &mut Evm<'b>,
        runner: &mut Runner,
        index: BlockAccessIndex,
        requests: &mut Vec<Vec<u8>>,
    ) -> Result<TxOutcome, TaskError> {
        evm.state.set_index(index);
        let n = self.tx_count() as u32;
        let is_tx = (1..=n).contains(&index.0);
        runner.trace = self.trace.filter(|_| is_tx).map(|sink| Box::new(Eip3155::new(sink.clone())));
        if runner.trace.is_some() {
            let tx = TxIndex(index.0 - 1);
            evm.return_data.clear();
            let outcome = evm.execute_tx(&self.tx_input(tx), runner)?;
            if let Some(trace) = &mut runner.trace {
                trace.summary(tx.0, &evm.return_data, outcome.gas_paid, outcome.success);
            }
            return Ok(outcome);
        }
        if is_tx {
            return Ok(evm.execute_tx(&self.tx_input(TxIndex(index.0 - 1)), runner)?);
        }
        if !self.system_phases {
            return Ok(TxOutcome::default());
        }
        if index.0 == 0 {
            evm.pre_execution(&self.inputs, runner)?;
        } else {
            evm.post_execution(self.block, requests, runner)?;
        }
        // Logs of system calls appear in no receipt.
        Ok(TxOutcome::default())
    }
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::exec) enum TaskError {
    Tx(TxInvalid),
    Phase(Box<InvalidBlock>),
    Mismatch(Box<Mismatch>),
    Internal(InternalFault),
    Fault(Fault),
}

impl From<TaskDifference> for TaskError {
    fn from(difference: TaskDifference) -> Self {
        match difference {
            TaskDifference::Mismatch(mismatch) => Self::Mismatch(mismatch),
            TaskDifference::Internal(fault) => Self::Internal(fault),
        }
    }
}

impl From<TxInvalid> for TaskError {
    fn from(invalid: TxInvalid) -> Self {
        Self::Tx(invalid)
    }
}

impl From<TxError> for TaskError {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Invalid(invalid) => Self::Tx(invalid),
            TxError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<PhaseError> for TaskError {
    fn from(error: PhaseError) -> Self {
        match error {
            PhaseError::Invalid(invalid) => Self::Phase(invalid),
            PhaseError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl TaskError {
    /// Converts to the block's error, for the task at `index`.
    pub(in crate::exec) fn into_block_error(self, index: BlockAccessIndex) -> BlockError {
        let mismatch = |address, field, slot| {
            let index = Some(index);
            InvalidBlock::Mismatch(Box::new(Mismatch { address, field, slot, index, claimed: None, produced: None }))
                .into()
        };
        match self {
            Self::Tx(fault) => InvalidBlock::Tx { index: TxIndex(index.0.saturating_sub(1)), fault }.into(),
            Self::Phase(invalid) => BlockError::Invalid(invalid),
            Self::Mismatch(mismatch) => InvalidBlock::Mismatch(mismatch).into(),
            Self::Internal(fault) => fault.into(),
            Self::Fault(Fault::UnlistedAccount(address)) => mismatch(address, MismatchField::UnlistedAccount, None),
            Self::Fault(Fault::UnlistedSlot(address, key)) => mismatch(address, MismatchField::UnlistedSlot, Some(key)),
            Self::Fault(Fault::Store(error)) if error != StoreError::Cancelled => BlockError::Store(error),
            Self::Fault(fault) => BlockError::Cancelled(format!("at index {}: {fault}", index.0)),
        }
    }
}

/// The time that one task took on a worker, in nanoseconds since the start of the block's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TaskSpan {
    /// Block access index of the task.
    pub index: BlockAccessIndex,
    /// Number of the worker that ran it.
    pub worker: u32,
    /// Index of the worker's thread in the rayon pool.
    pub thread: u32,
    /// Start, ns.
    pub start_ns: u64,
    /// End, ns.
    pub end_ns: u64,
}

/// Index of the current thread in its rayon pool; 0 outside a pool.
pub fn current_thread() -> u32 {
    rayon::current_thread_index().unwrap_or_default() as u32
}

/// Logs of a block in transaction order.
#[derive(Clone, Debug, Default)]
pub struct BlockLogs {
    pub(in crate::exec) workers: Vec<Logs>,
    /// For each transaction, the worker that ran it and the range in that worker's logs.
    pub(in crate::exec) ranges: Vec<(u32, core::ops::Range<usize>)>,
}

impl BlockLogs {
    /// Logs of one transaction, each as emitter, topics and data.
    pub fn of(
        &self,
        tx: TxIndex,
    ) -> impl ExactSizeIterator<Item = (&Address, &[alloy_primitives::B256], &[u8])> + Clone {
        let (worker, range) = &self.ranges[tx.index()];
        let logs = &self.workers[*worker as usize];
        range.clone().map(move |index| logs.get(index))
    }
}

/// Result of executing a block, before roots are computed.
#[derive(Debug, Default)]
pub struct Executed {
    /// Outcome of each transaction.
    pub outcomes: Vec<TxOutcome>,
    /// Logs of all transactions.
    pub logs: BlockLogs,
    /// Requests, type byte first (EIP-7685).
    pub requests: Vec<Vec<u8>>,
    /// Gas of the block.
    pub gas: BlockGas,
    /// Start and end of each task, by block access index.
    pub spans: Vec<TaskSpan>,
    /// The encoded logs and blooms of receipts, one element per worker; empty where workers did not encode them.
    pub receipt_logs: Vec<ReceiptLogs>,
    /// For each transaction, its element of `receipt_logs` and the row in there; empty where `receipt_logs` is.
    pub receipt_places: Vec<(u32, u32)>,
}

impl Executed {
    /// An empty result with capacity for `tx_count` transactions.
    pub(in crate::exec) fn with_room_for(tx_count: usize) -> Self {
        Self {
            outcomes: Vec::with_capacity(tx_count),
            logs: BlockLogs { workers: Vec::new(), ranges: Vec::with_capacity(tx_count) },
            spans: Vec::with_capacity(tx_count + 2),
            ..Self::default()
        }
    }

    /// Appends the result of the next transaction in block order, after checking that its gas limit fits into the gas
    /// left.
    ///
    /// # Errors
    /// A fault of the transaction alone, else [`TxInvalid::GasAllowance`], else the task's error.
    pub(in crate::exec) fn include(
        &mut self,
        context: &BlockContext<'_>,
        index: BlockAccessIndex,
        worker: u32,
        result: Result<TxOutcome, TaskError>,
    ) -> Result<(), BlockError> {
        let tx = TxIndex(index.0 - 1);
        let is_static = matches!(&result, Err(TaskError::Tx(fault)) if fault.is_static());
        if !is_static {
            let tx_limit = context.block.transactions.row(tx).gas_limit;
            self.gas
                .admit(context.rules.fork_rules(), context.block.header.gas_limit, tx_limit)
                .map_err(|fault| BlockError::from(InvalidBlock::Tx { index: tx, fault }))?;
        }
        let outcome = result.map_err(|error| error.into_block_error(index))?;
        self.gas.add(&outcome);
        self.logs.ranges.push((worker, outcome.logs.clone()));
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Collects the deposit requests from the logs (EIP-6110) and puts them before the other requests.
    pub(in crate::exec) fn add_deposits(&mut self, rules: &ChainRules) -> Result<(), InvalidBlock> {
        if rules.fork < Fork::Prague {
            return Ok(());
        }
        let mut deposits = vec![0x00];
        for index in 0..self.outcomes.len() {
            let tx = TxIndex::new(index);
            collect_deposits(&rules.deposit_contract, tx, self.logs.of(tx), &mut deposits)?;
        }
        if deposits.len() > 1 {
            self.requests.insert(0, deposits);
        }
        Ok(())
    }
}

/// Memory of one worker, reused from block to block.
#[derive(Debug, Default)]
pub struct WorkerScratch {
    /// Rows, journal and logs of the transaction state.
    pub state: StateScratch,
    /// Stack and memory of the machine.
    pub evm: EvmScratch,
    /// Counts and times of the instructions that this worker ran; `None` without profiling.
    profile: Option<Box<OpcodeProfile>>,
    /// Overlay and recorder of sequential execution.
    pub sequential: SequentialScratch,
}

impl WorkerScratch {
    /// Starts profiling: everything that this worker runs from now on adds to `profile`.
    pub fn start_profile(&mut self, profile: WorkerProfile) {
        let WorkerProfile { opcodes, precompiles } = profile;
        (self.profile, self.evm.precompiles) = (Some(Box::new(opcodes)), Some(Box::new(precompiles)));
    }

    /// Ends profiling and returns the profile since [`Self::start_profile`]; `None` where none was started.
    pub fn take_profile(&mut self) -> Option<WorkerProfile> {
        let (opcodes, precompiles) = (self.profile.take()?, self.evm.precompiles.take()?);
        Some(WorkerProfile { opcodes: *opcodes, precompiles: *precompiles })
    }

    /// The runner of this worker's frames. It takes the profile; [`Self::end_run`] returns it.
    pub(in crate::exec) fn begin_run(&mut self, kind: LoopKind) -> Runner {
        Runner { profile: self.profile.take(), ..kind.into() }
    }

    /// Takes the profile back from the runner of [`Self::begin_run`].
    pub(in crate::exec) fn end_run(&mut self, runner: Runner) {
        self.profile = runner.profile;
    }
}

/// Memory of sequential execution: the block's state so far, and the recorded accesses and changes.
#[derive(Debug, Default)]
pub struct SequentialScratch {
    overlay: Overlay,
    recorder: Recorder,
}

/// What sequential or optimistic execution records besides its result.
#[derive(Debug)]
pub struct Recording {
    /// The recorded block access list.
    pub list: RecordedList,
    /// Existence changes that the list cannot express; empty from Cancun on.
    pub existence_log: ExistenceLog,
    /// The listed accounts in the parent state.
    pub parents: Column<AccountId, ParentAccount>,
    /// Number of accounts and of slots that were read from the store.
    pub store_reads: (usize, usize),
    /// Proof that list and existence log match the execution; trivial, as they were recorded from it.
    pub checked: ListChecked,
}

/// Runs the tasks one after another and records the block access list.
///
/// # Errors
/// That of the first task that fails, or [`BlockError::Cancelled`].
pub fn run_sequential(
    context: &BlockContext<'_>,
    store: &dyn StateStore,
    codes: &CodeArena,
    scratch: &mut WorkerScratch,
    clock: Instant,
) -> Result<(Executed, Recording), BlockError> {
    let mut runner = scratch.begin_run(context.loop_kind);
    let WorkerScratch { state, evm, sequential: SequentialScratch { mut overlay, mut recorder }, .. } =
        core::mem::take(scratch);
    overlay.clear();
    recorder.clear();
    let mut existence_log = ExistenceLog::default();
    let base = Box::new(OverlayState { overlay: &mut overlay, store, codes });
    let state = TxState::new(state, None, base, codes, context.rules.fork);
    let mut evm = Evm::new(evm, context.rules, &context.env, state);
    evm.cancel = context.cancel;
    let mut executed = Executed::with_room_for(context.tx_count());
    let result = sequential_tasks(
        context,
        &mut evm,
        &mut runner,
        &mut executed,
        &mut recorder,
        &mut existence_log,
        codes,
        clock,
    );
    executed.logs.workers.push(evm.state.take_logs());
    let (evm, state) = evm.into_scratch();
    let recorded = result.and_then(|()| {
        executed.add_deposits(context.rules)?;
        let id_map = state.id_map();
        let list = recorder.finish(&RecordedKeys {
            addresses: id_map.addresses(),
            slot_keys: id_map.keys(),
            slot_accounts: id_map.owners(),
        });
        let parents = parents_of(&list, id_map, &overlay);
        Ok((list, parents))
    });
    let store_reads = (overlay.account_reads, overlay.slot_reads);
    *scratch =
        WorkerScratch { state, evm, profile: runner.profile, sequential: SequentialScratch { overlay, recorder } };
    let (list, parents) = recorded?;
    existence_log.existence.sort_unstable();
    let recording = Recording { list, existence_log, parents, store_reads, checked: ListChecked::recorded() };
    Ok((executed, recording))
}

/// The listed accounts in the parent state, by the ids of the list.
fn parents_of(list: &RecordedList, id_map: &IdMap, overlay: &Overlay) -> Column<AccountId, ParentAccount> {
    let of = |address: &Address| id_map.account(address).and_then(|id| overlay.parents.get(id)).copied();
    list.columns.addresses().as_slice().iter().map(|address| of(address).unwrap_or_default()).collect::<Vec<_>>().into()
}

#[expect(clippy::too_many_arguments, reason = "its only caller owns all of them")]
fn sequential_tasks<'b>(
    context: &'b BlockContext<'b>,
    evm: &mut Evm<'b>,
    runner: &mut Runner,
    executed: &mut Executed,
    recorder: &mut Recorder,
    existence_log: &mut ExistenceLog,
    codes: &CodeArena,
    clock: Instant,
) -> Result<(), BlockError> {
    for index in 0..context.tx_count() as u32 + 2 {
        let index = BlockAccessIndex(index);
        let is_tx = index.0 > 0 && index.0 as usize <= context.tx_count();
        if context.cancel.is_some_and(CancelToken::is_cancelled) {
            return Err(context.cancelled_at(index));
        }
        let room = context.room(index, &executed.gas);
        let start_ns = clock.elapsed().as_nanos() as u64;
        let result = match room {
            Ok(()) => context.run_task(evm, runner, index, &mut executed.requests),
            // A fault of the transaction alone takes precedence over too little gas left in the block.
            Err(no_room) => Err(context.static_fault(evm, TxIndex(index.0 - 1)).unwrap_or(no_room).into()),
        };
        let outcome = result.map_err(|error| error.into_block_error(index))?;
        record(&evm.state, recorder, codes, index);
        if context.rules.fork < Fork::Cancun {
            record_events(&evm.state, existence_log, index);
        }
        evm.state.commit();
        let end_ns = clock.elapsed().as_nanos() as u64;
        executed.spans.push(TaskSpan { index, worker: 0, thread: current_thread(), start_ns, end_ns });
        if is_tx {
            executed.gas.add(&outcome);
            executed.logs.ranges.push((0, outcome.logs.clone()));
            executed.outcomes.push(outcome);
        }
    }
    Ok(())
}

/// Adds the accesses and changes of a settled task to the recorder.
pub(in crate::exec) fn record(
    state: &TxState<'_>,
    recorder: &mut Recorder,
    codes: &CodeArena,
    index: BlockAccessIndex,
) {
    for &id in state.touched_accounts() {
        recorder.touch_account(id);
        let row = state.row(id);
        if row.settled_balance() != row.balance_start {
            recorder.balance(id, index, row.settled_balance());
        }
        if row.settled_nonce() != row.nonce_start {
            recorder.nonce(id, index, row.settled_nonce());
        }
        if row.code != row.code_start {
            recorder.code(id, index, codes.get(row.code).map_or(&[], |code| code.bytes()));
        }
    }
    for &id in state.touched_slots() {
        recorder.touch_slot(id);
        let row = state.slot_row(id);
        if row.value != row.start {
            recorder.slot(id, index, row.value);
        }
    }
}

/// Adds the existence changes of a settled task that no block access list can express.
fn record_events(state: &TxState<'_>, existence_log: &mut ExistenceLog, index: BlockAccessIndex) {
    for &id in state.touched_accounts() {
        let row = state.row(id);
        if let Some(exists) = row.existence_event() {
            existence_log.existence.push((state.address(id), index.0, exists));
        }
    }
}

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

/// Runs all tasks in parallel, each on parent state plus block access list, on the threads of the current rayon pool,
/// and verifies them. Each worker calls `recover` before its first task; once all workers have called it, every sender
/// and authority is recovered or being recovered.
///
/// # Errors
/// The error of the lowest index that has one, independent of timing. All lower tasks matched the list, so the failing
/// task ran on the same state as in sequential execution.
pub fn run_with_list(
    context: &BlockContext<'_>,
    list: &ListState<'_>,
    loader: &CodeLoader<'_>,
    scratches: &[Mutex<WorkerScratch>],
    recover: &(dyn Fn() + Sync),
    clock: Instant,
) -> Result<(Executed, ListChecked), BlockError> {
    let task_count = context.tx_count() as u32 + 2;
    let gas_limit = context.block.header.gas_limit;
    // Trace lines are written as they are produced, so one worker runs the tasks in block order.
    let (workers_max, shuffle) = if context.trace.is_some() { (1, None) } else { (scratches.len(), list.shuffle) };
    let workers = workers_max.min(task_count as usize);
    let rows = context.block.transactions.rows();
    let order = task_order(rows.len(), |row| rows[row].gas_limit, workers);
    let schedule = TaskQueue::new(task_count, gas_limit, list.refused, context.cancel, &order, shuffle);
    let shares: Mutex<Vec<(usize, WorkerShare)>> = Mutex::new(Vec::with_capacity(workers));
    let started = AtomicUsize::new(0);
    rayon::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|_| {
                let worker = started.fetch_add(1, Ordering::Relaxed);
                recover();
                let share = work(context, list, loader, &scratches[worker], worker, &schedule, clock);
                shares.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((worker, share));
            });
        }
    });
    let mut shares = shares.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    shares.sort_unstable_by_key(|(worker, _)| *worker);
    let shares: Vec<_> = shares.into_iter().map(|(_, share)| share).collect();
    merge(context, list, shares)
}

/// Number of leading transactions that keep their place in the order: their senders are recovered first.
const HEAD: usize = 16;
/// A transaction is moved forward if its gas exceeds this fraction (1/64) of the gas of one worker's part.
const LONG_SHARE: u64 = 64;

/// The order in which `workers` take the tasks of a block in `bal` mode, as block access indices; empty for block
/// order.
///
/// The first 16 transactions keep their place. Of the others, those with a high gas limit come first, in descending
/// order, so that no worker runs a long one after the others are done. A gas limit is an upper bound, so every
/// transaction that comes late is short. `gas_limit` returns the gas limit of a transaction by its position in the
/// block, from 0; `transactions` is their number.
pub fn task_order(transactions: usize, gas_limit: impl Fn(usize) -> u64, workers: usize) -> Vec<u32> {
    if workers < 2 || transactions <= HEAD {
        return Vec::new();
    }
    let gas = |index: &u32| gas_limit(*index as usize - 1).min(TX_GAS_LIMIT_MAX);
    let (head, indices) = (HEAD as u32, transactions as u32);
    let sum = (head + 1..=indices).map(|index| gas(&index)).fold(0, u64::saturating_add);
    let long_min = sum / (LONG_SHARE * workers as u64);
    let mut order = Vec::with_capacity(transactions + 2);
    order.extend(0..=head);
    order.extend((head + 1..=indices).filter(|index| gas(index) > long_min));
    order[HEAD + 1..].sort_by_key(|index| core::cmp::Reverse(gas(index)));
    order.extend((head + 1..=indices).filter(|index| gas(index) <= long_min));
    order.push(indices + 1);
    order
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
    let (state, evm) = (core::mem::take(&mut scratch.state), core::mem::take(&mut scratch.evm));
    let ListState { bal, existence_log, parent, code_rows, .. } = *list;
    let codes = loader.codes();
    let base = Box::new(BalState::new(bal, existence_log, parent, code_rows, loader, context.rules.fork));
    let state = TxState::new(state, Some(list.id_map), base, codes, context.rules.fork);
    let mut evm = Evm::new(evm, context.rules, &context.env, state);
    evm.cancel = context.cancel;
    let mut share = WorkerShare {
        // Tasks are taken one by one, so one worker may run all of them.
        results: Vec::with_capacity(context.tx_count() + 2),
        spans: Vec::with_capacity(context.tx_count() + 2),
        accounts: AccessSet::with_room_for(list.bal.account_count()),
        slots: AccessSet::with_room_for(list.bal.slot_count()),
        ..WorkerShare::default()
    };
    let existence_log = (context.rules.fork < Fork::Cancun).then_some(list.existence_log);
    let claims = ListClaims { bal: list.bal, existence_log, code_rows: list.code_rows, rows_at: list.rows_at };
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
