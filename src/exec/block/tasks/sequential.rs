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
use crate::arena::cancel::CancelToken;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, StateStore};
use crate::arena::{AccountId, BlockAccessIndex, Column, TxIndex};
use crate::bal::{ExistenceLog, RecordedKeys, RecordedList, Recorder};
use crate::exec::block::error::BlockError;
use crate::exec::block::providers::{Overlay, OverlayState};
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::ids::IdMap;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::TxState;
use crate::exec::interpreter::Runner;
use crate::exec::rules::fork::Fork;
use alloy_primitives::Address;
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
