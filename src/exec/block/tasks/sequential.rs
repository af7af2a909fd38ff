//! Sequential execution: the tasks run one after another and are recorded.
//!
//! In: a block's context, a store with the parent state. Out: [`Executed`] and a [`Recording`], or the error of the
//! first task that fails. With a [`Selection`], transactions that are invalid are left out instead.
//! Relies on: `context` to run one task, `recording` to record it.
//! Not here: comparison with a given block access list, state root (`executor`).

use super::context::BlockContext;
use super::executed::{Executed, TaskSpan, current_thread};
use super::recording::{Recording, record, record_events};
use super::scratch::{SequentialScratch, WorkerScratch};
use crate::arena::cancel::CancelToken;
use crate::arena::code::CodeArena;
use crate::arena::store::StateStore;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::bal::{ExistenceLog, ListedParents, RecordedKeys, Recorder};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::providers::OverlayState;
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::TxState;
use crate::exec::interpreter::Runner;
use crate::exec::rules::fork::Fork;
use crate::exec::tx::TxInvalid;
use std::time::Instant;

/// What a run left out that goes on without what is invalid.
#[derive(Debug, Default)]
pub struct Selection {
    /// The transactions that were left out, by their index among all, each with the rule that it breaks.
    pub rejected: Vec<(TxIndex, TxInvalid)>,
    /// Why the block of the other transactions is invalid: its deposit logs, or the phase after the transactions, which
    /// then left no change.
    pub fault: Option<Box<InvalidBlock>>,
    /// Number of blobs of the transactions that were not left out.
    blobs: u64,
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
    run(context, store, codes, scratch, clock, None)
}

/// [`run_sequential`] without the transactions that are invalid: they leave no trace in the result, whose indices are
/// those of a block of the others.
///
/// # Errors
/// Faults that say nothing about the block.
pub fn run_selecting(
    context: &BlockContext<'_>,
    store: &dyn StateStore,
    codes: &CodeArena,
    scratch: &mut WorkerScratch,
    clock: Instant,
) -> Result<(Executed, Recording, Selection), BlockError> {
    let mut selection = Selection::default();
    let (executed, recording) = run(context, store, codes, scratch, clock, Some(&mut selection))?;
    Ok((executed, recording, selection))
}

fn run(
    context: &BlockContext<'_>,
    store: &dyn StateStore,
    codes: &CodeArena,
    scratch: &mut WorkerScratch,
    clock: Instant,
    mut selection: Option<&mut Selection>,
) -> Result<(Executed, Recording), BlockError> {
    let mut runner = scratch.begin_run(context.loop_kind);
    let WorkerScratch { state, evm, sequential: SequentialScratch { overlay, recorder }, .. } = scratch;
    overlay.clear();
    recorder.clear();
    let base = Box::new(OverlayState { overlay, store, codes });
    let state = TxState::new(core::mem::take(state), None, base, codes, context.rules.fork);
    let mut evm = Evm::new(core::mem::take(evm), context.rules, &context.env, state);
    evm.cancel = context.cancel;
    evm.recoveries.candidates = context.senders.candidates();
    let mut run = SequentialRun {
        context,
        codes,
        recorder,
        existence_log: ExistenceLog::default(),
        executed: Executed::with_room_for(context.tx_count()),
        clock,
        selection: selection.as_deref_mut(),
    };
    let result = run.run_tasks(&mut evm, &mut runner);
    let SequentialRun { mut existence_log, mut executed, .. } = run;
    executed.logs.workers.push(evm.state.take_logs());
    (scratch.evm, scratch.state) = evm.into_scratch();
    scratch.end_run(runner);
    result?;
    match (executed.add_deposits(context.rules), selection) {
        (Err(fault), Some(selection)) => drop(selection.fault.get_or_insert(Box::new(fault))),
        (done, _) => done?,
    }
    let SequentialScratch { overlay, recorder } = &scratch.sequential;
    let id_map = scratch.state.id_map();
    let list = recorder.finish(&RecordedKeys {
        addresses: id_map.addresses(),
        slot_keys: id_map.keys(),
        slot_accounts: id_map.owners(),
    });
    existence_log.existence.sort_unstable();
    let accounts = list.account_ids.iter().map(|(_, id)| overlay.parents.get(*id).copied().unwrap_or_default());
    let slots = list.slot_ids.iter().map(|(_, id)| overlay.parent_slots.get(*id).copied().unwrap_or_default());
    let recording = Recording {
        parents: ListedParents {
            accounts: accounts.collect::<Vec<_>>().into(),
            slots: slots.collect::<Vec<_>>().into(),
        },
        list,
        existence_log,
        store_reads: (overlay.account_reads, overlay.slot_reads),
        checked: ListChecked::recorded(),
    };
    Ok((executed, recording))
}

/// A sequential run: its inputs, and what the tasks so far produced.
struct SequentialRun<'b, 'r> {
    context: &'b BlockContext<'b>,
    codes: &'r CodeArena,
    recorder: &'r mut Recorder,
    existence_log: ExistenceLog,
    executed: Executed,
    clock: Instant,
    selection: Option<&'r mut Selection>,
}

impl<'b> SequentialRun<'b, '_> {
    fn run_tasks(&mut self, evm: &mut Evm<'b>, runner: &mut Runner) -> Result<(), BlockError> {
        // The index in a block without the transactions that were left out.
        let mut index = BlockAccessIndex(0);
        for task in 0..self.context.tx_count() as u32 + 2 {
            let task = BlockAccessIndex(task);
            if self.context.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(self.context.cancelled_at(task));
            }
            match (self.run_next(evm, runner, task, index), &mut self.selection) {
                (Ok(()), _) => index.0 += 1,
                (Err(BlockError::Invalid(invalid)), Some(selection)) => match *invalid {
                    InvalidBlock::Tx { index, fault } => selection.rejected.push((index, fault)),
                    _ => selection.fault = Some(invalid),
                },
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs a task, records it at `index` and commits its changes.
    fn run_next(
        &mut self,
        evm: &mut Evm<'b>,
        runner: &mut Runner,
        task: BlockAccessIndex,
        index: BlockAccessIndex,
    ) -> Result<(), BlockError> {
        let Self { context, executed, selection, .. } = self;
        let start_ns = self.clock.elapsed().as_nanos() as u64;
        let tx = context.tx_at(task);
        let blobs = match (selection.as_ref(), tx) {
            (Some(selection), Some(tx)) => selection.blobs + context.block.transactions.blob_hashes(tx).len() as u64,
            _ => 0,
        };
        let mut admitted = context.admit(task, &executed.gas);
        if blobs > context.rules.blob_schedule.max {
            admitted = admitted.and(Err(TxInvalid::BlobAllowance));
        }
        let outcome = context.run_admitted(evm, runner, task, admitted, &mut executed.requests)?;
        record(&evm.state, self.recorder, self.codes, index);
        if context.rules.fork < Fork::Cancun {
            record_events(&evm.state, &mut self.existence_log, index);
        }
        evm.state.commit();
        let end_ns = self.clock.elapsed().as_nanos() as u64;
        executed.spans.push(TaskSpan { index, worker: 0, thread: current_thread(), start_ns, end_ns });
        if tx.is_some() {
            executed.push(0, outcome);
        }
        if let (Some(selection), Some(_)) = (selection, tx) {
            selection.blobs = blobs;
        }
        Ok(())
    }
}
