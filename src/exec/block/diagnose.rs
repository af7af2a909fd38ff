//! Slow sequential execution that records every access, for diagnosis.
//!
//! In: a block on its parent state, accounts and slots of interest. Out: the block access list (BAL) of the tasks up to
//! the first error, and which instructions accessed the accounts and slots of interest.
//! The claimed BAL is not used, so its errors cannot affect the result.
//! Separate from `tasks::run_sequential`, which returns no recording when a task fails and has no watcher.
//! Relies on: `tasks` to run and record one task, `interpreter::watch` to observe accesses.
//! Not here: the comparison with a claimed BAL (`executor`).

use super::admission::BlockGas;
use super::error::BlockError;
use super::providers::{Overlay, OverlayState};
use super::tasks::{BlockContext, WorkerScratch, record};
use crate::arena::BlockAccessIndex;
use crate::arena::code::CodeArena;
use crate::arena::store::StateStore;
use crate::bal::{RecordedKeys, RecordedList, Recorder};
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::TxState;
use crate::exec::interpreter::Runner;
use crate::exec::interpreter::watch::{Name, Touches, Watch};
use std::collections::{BTreeMap, BTreeSet};

/// Result of a recorded execution.
#[derive(Debug)]
pub struct Recorded {
    /// The recorded block access list; where execution ended early, of the tasks before the error.
    pub list: RecordedList,
    /// Block access index and error where execution ended early.
    pub stopped: Option<(BlockAccessIndex, BlockError)>,
    /// Instructions that accessed the accounts and slots of interest, by block access index.
    pub touches: BTreeMap<(Name, BlockAccessIndex), Touches>,
}

/// Runs the block's tasks in order and records accesses to the accounts and slots `names`. If `names` is empty, the
/// context's dispatch loop runs without a watcher.
pub fn run_recorded(
    context: &BlockContext<'_>,
    store: &dyn StateStore,
    codes: &CodeArena,
    scratch: &mut WorkerScratch,
    names: BTreeSet<Name>,
) -> Recorded {
    let mut overlay = Overlay::default();
    let mut recorder = Recorder::new();
    let base = Box::new(OverlayState { overlay: &mut overlay, store, codes });
    let (state, evm) = (core::mem::take(&mut scratch.state), core::mem::take(&mut scratch.evm));
    let state = TxState::new(state, None, base, codes, context.rules.fork);
    let mut evm = Evm::new(evm, context.rules, &context.env, state);
    evm.cancel = context.cancel;
    evm.recoveries.candidates = context.senders.candidates();
    let watch = (!names.is_empty()).then(|| Box::new(Watch::for_names(names)));
    let mut runner = Runner { watch, ..context.loop_kind.into() };
    let mut gas = BlockGas::default();
    let mut requests = Vec::new();
    let mut stopped = None;
    for index in 0..context.tx_count() as u32 + 2 {
        let index = BlockAccessIndex(index);
        let tx = context.tx_at(index);
        if let Some(watch) = &mut runner.watch {
            watch.begin(index, tx.map(|tx| tx.0));
        }
        let admitted = context.admit(index, &gas);
        let result = context.run_admitted(&mut evm, &mut runner, index, admitted, &mut requests);
        match result {
            Ok(outcome) if tx.is_some() => gas.add(&outcome),
            Ok(_) => {}
            Err(error) => {
                stopped = Some((index, error));
                break;
            }
        }
        record(&evm.state, &mut recorder, codes, index);
        evm.state.commit();
    }
    let touches = runner.watch.map(|watch| watch.touches).unwrap_or_default();
    (scratch.evm, scratch.state) = evm.into_scratch();
    let id_map = scratch.state.id_map();
    let list = recorder.finish(&RecordedKeys {
        addresses: id_map.addresses(),
        slot_keys: id_map.keys(),
        slot_accounts: id_map.owners(),
    });
    Recorded { list, stopped, touches }
}
