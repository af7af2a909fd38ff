//! What execution without a block access list (BAL) records.
//!
//! In: the settled state of each task. Out: rows of a [`Recorder`], and events of the existence log; in the end a
//! [`Recording`].
//! Relies on: `evm::state` for the accounts and slots that a task accessed, with their values before and after it.
//! Not here: the order of the rows in the recorded BAL (`bal`).

use crate::arena::BlockAccessIndex;
use crate::arena::code::CodeArena;
use crate::bal::{ExistenceLog, ListedParents, RecordedList, Recorder};
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::state::TxState;

/// What sequential or optimistic execution records besides its result.
#[derive(Debug)]
pub struct Recording {
    /// The recorded block access list.
    pub list: RecordedList,
    /// Existence changes that the list cannot express; empty from Cancun on.
    pub existence_log: ExistenceLog,
    /// The listed accounts and slots in the parent state.
    pub parents: ListedParents,
    /// Number of accounts and of slots that were read from the store.
    pub store_reads: (usize, usize),
    /// Proof that list and existence log match the execution; trivial, as they were recorded from it.
    pub checked: ListChecked,
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
pub(super) fn record_events(state: &TxState<'_>, existence_log: &mut ExistenceLog, index: BlockAccessIndex) {
    for &id in state.touched_accounts() {
        let row = state.row(id);
        if let Some(exists) = row.existence_event() {
            existence_log.existence.push((state.address(id), index.0, exists));
        }
    }
}
