//! The parent state of a block access list, read in one pass before the first task.
//!
//! In: a decoded list and its slots as queries, a store that answers from memory. Out: [`PreState`], or the error of the
//! first batch that failed.
//! Relies on: the threads of the current rayon pool.
//! Not here: reads while the tasks run (`exec::block::prefetch`), codes (`exec::block::code_loader`).

use crate::arena::CodeId;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError, in_chunks};
use crate::bal::{BalColumns, ListedParents};
use crate::exec::block::providers::PreState;
use alloy_primitives::U256;

/// Reads the accounts and slots (`queries`) of the list, in batches on all threads. Codes are read when a task
/// needs them.
pub(super) fn read_pre_state(
    store: &dyn StateStore,
    codes: &CodeArena,
    bal: &BalColumns,
    queries: &[SlotQuery],
) -> Result<PreState, StoreError> {
    let addresses = bal.addresses().as_slice();
    let mut accounts = vec![ParentAccount::default(); addresses.len()];
    in_chunks(&mut accounts, |range, out| store.accounts(&addresses[range], out))?;

    let mut slots = vec![U256::ZERO; queries.len()];
    in_chunks(&mut slots, |range, out| store.slots(&queries[range], out))?;

    let codes: Vec<CodeId> = accounts.iter().map(|account| codes.intern(account.code_hash)).collect();
    Ok(PreState { parents: ListedParents { accounts: accounts.into(), slots: slots.into() }, codes: codes.into() })
}
