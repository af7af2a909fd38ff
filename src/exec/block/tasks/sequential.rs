//! Sequential execution: the tasks run one after another and are recorded.
//!
//! In: a block's context, a store with the parent state. Out: [`Executed`] and a [`Recording`], or the error of the
//! first task that fails.
//! Relies on: `context` to run one task, `recording` to record it.
//! Not here: comparison with a given block access list, state root (`executor`).

use super::context::BlockContext;
use super::executed::{Executed, TaskSpan, current_thread};
use super::recording::{Recording, record, record_events};
use super::scratch::{SequentialScratch, WorkerScratch};
use crate::arena::BlockAccessIndex;
use crate::arena::cancel::CancelToken;
use crate::arena::code::CodeArena;
use crate::arena::store::StateStore;
use crate::bal::{ExistenceLog, ListedParents, RecordedKeys, Recorder};
use crate::exec::block::error::BlockError;
use crate::exec::block::providers::OverlayState;
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::TxState;
use crate::exec::interpreter::Runner;
use crate::exec::rules::fork::Fork;
use std::time::Instant;

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
    };
    let result = run.run_tasks(&mut evm, &mut runner);
    let SequentialRun { mut existence_log, mut executed, .. } = run;
    executed.logs.workers.push(evm.state.take_logs());
    (scratch.evm, scratch.state) = evm.into_scratch();
    scratch.end_run(runner);
    result?;
    executed.add_deposits(context.rules)?;
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
}

impl<'b> SequentialRun<'b, '_> {
    fn run_tasks(&mut self, evm: &mut Evm<'b>, runner: &mut Runner) -> Result<(), BlockError> {
        for index in 0..self.context.tx_count() as u32 + 2 {
            let index = BlockAccessIndex(index);
            if self.context.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(self.context.cancelled_at(index));
            }
            self.run_next(evm, runner, index)?;
        }
        Ok(())
    }

    /// Runs the task at `index`, records it and commits its changes.
    fn run_next(&mut self, evm: &mut Evm<'b>, runner: &mut Runner, index: BlockAccessIndex) -> Result<(), BlockError> {
        let Self { context, executed, .. } = self;
        let start_ns = self.clock.elapsed().as_nanos() as u64;
        let outcome = context.run_admitted(evm, runner, index, &executed.gas, &mut executed.requests)?;
        record(&evm.state, self.recorder, self.codes, index);
        if context.rules.fork < Fork::Cancun {
            record_events(&evm.state, &mut self.existence_log, index);
        }
        evm.state.commit();
        let end_ns = self.clock.elapsed().as_nanos() as u64;
        executed.spans.push(TaskSpan { index, worker: 0, thread: current_thread(), start_ns, end_ns });
        if context.tx_at(index).is_some() {
            executed.push(0, outcome);
        }
        Ok(())
    }
}
