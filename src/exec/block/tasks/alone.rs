//! One task of a block, executed without the others on parent state plus block access list (BAL).
//!
//! In: a block's context, the decoded BAL, an index. Out: [`TaskAlone`]: outcome, logs, changes, and where they differ from
//! what the BAL claims for the index.
//! Relies on: `context` to run the task, `verify` to compare it.
//! Not here: whether the block has enough gas left for a transaction, which depends on the tasks before it.

use super::context::BlockContext;
use super::from_bal::ListState;
use super::scratch::WorkerScratch;
use crate::arena::code::CodeArena;
use crate::arena::{BlockAccessIndex, CodeId};
use crate::exec::block::code_loader::CodeLoader;
use crate::exec::block::error::{BlockError, Mismatch, MismatchField};
use crate::exec::block::verify::{task_matches, task_mismatches};
use crate::exec::evm::state::{Logs, TxState};
use crate::exec::interpreter::calls::CallTree;
use crate::exec::tx::TxOutcome;
use alloy_primitives::{Address, Bytes, U256};
use std::sync::Mutex;

/// A value that a task changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FieldChange {
    /// The account.
    pub address: Address,
    /// The field: balance in wei, nonce, code (its keccak256) or storage.
    pub field: MismatchField,
    /// Key of the slot, for storage.
    pub slot: Option<U256>,
    /// The value before the task.
    pub before: U256,
    /// The value after it.
    pub after: U256,
}

/// What one task did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskAlone {
    /// Its block access index: 0 for the system calls before the transactions, 1 for the first transaction.
    pub index: BlockAccessIndex,
    /// Gas and status; default values for system calls.
    pub outcome: TxOutcome,
    /// Output of the transaction's outermost call.
    pub output: Bytes,
    /// Requests of the task, type byte first (EIP-7685), without deposits.
    pub requests: Vec<Vec<u8>>,
    /// The accounts and slots that it changed, by address and slot.
    pub changes: Vec<FieldChange>,
    /// Where its changes differ from those that the list claims for its index; empty: they are equal.
    pub mismatches: Vec<Mismatch>,
    /// Calls and creations, if they were asked for.
    pub calls: Option<CallTree>,
    logs: Logs,
}

impl TaskAlone {
    /// Its logs, each as emitter, topics and data.
    pub fn logs(&self) -> impl ExactSizeIterator<Item = (&Address, &[alloy_primitives::B256], &[u8])> {
        (0..self.logs.len()).map(|log| self.logs.get(log))
    }
}

/// Runs the task at `index` alone. `keeps_calls`: its calls are kept, unless the context has a trace or the scratch memory a
/// profile.
///
/// # Errors
/// The task is invalid, accesses what the list does not name, or cannot read; or the block was cancelled.
pub fn run_alone(
    context: &BlockContext<'_>,
    list: &ListState<'_>,
    loader: &CodeLoader<'_>,
    scratch: &Mutex<WorkerScratch>,
    index: BlockAccessIndex,
    keeps_calls: bool,
) -> Result<TaskAlone, BlockError> {
    let mut scratch = scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut runner = scratch.begin_run(context.loop_kind);
    runner.calls = keeps_calls.then(Box::default);
    let mut evm = list.machine(context, loader, &mut scratch);
    let mut requests = Vec::new();
    let outcome = context.run_task(&mut evm, &mut runner, index, &mut requests);
    let result = outcome.map_err(|error| error.into_block_error(index)).map(|outcome| {
        let (codes, claims) = (loader.codes(), list.claims(context.rules.fork));
        let mismatches = match task_matches(&evm.state, &claims, index) {
            true => Vec::new(),
            false => task_mismatches(&evm.state, &claims, codes, index),
        };
        TaskAlone {
            index,
            outcome,
            output: context.tx_at(index).map_or_else(Bytes::new, |_| Bytes::copy_from_slice(evm.return_data())),
            requests,
            changes: changes(&evm.state, codes),
            mismatches,
            calls: runner.calls.take().map(|calls| *calls),
            logs: evm.state.take_logs(),
        }
    });
    (scratch.evm, scratch.state) = evm.into_scratch();
    scratch.end_run(runner);
    result
}

/// The changes of a settled task.
fn changes(state: &TxState<'_>, codes: &CodeArena) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let hash = |code: CodeId| U256::from_be_bytes(codes.hash(code).0);
    for &id in state.touched_accounts() {
        let (address, row) = (state.address(id), state.row(id));
        let fields = [
            (MismatchField::Balance, row.balance_start, row.settled_balance()),
            (MismatchField::Nonce, U256::from(row.nonce_start), U256::from(row.settled_nonce())),
            (MismatchField::Code, hash(row.code_start), hash(row.code)),
        ];
        let changed = fields.into_iter().filter(|(_, before, after)| before != after);
        changes.extend(changed.map(|(field, before, after)| FieldChange { address, field, slot: None, before, after }));
    }
    let ids = state.ids.get();
    for &id in state.touched_slots() {
        let row = state.slot_row(id);
        if row.value != row.start {
            let (address, slot) = (ids.addresses()[ids.owners()[id]], Some(ids.keys()[id]));
            let (before, after) = (row.start, row.value);
            changes.push(FieldChange { address, field: MismatchField::Storage, slot, before, after });
        }
    }
    changes.sort_unstable_by_key(|change| (change.address, change.slot.is_some(), change.slot, change.field));
    changes
}
