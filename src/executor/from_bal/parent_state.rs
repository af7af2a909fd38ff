//! The parent state of a block access list, read in one pass before the first task.
//!
//! In: a decoded list and its slots as queries, a store that answers from memory. Out: [`PreState`], or the error of the
//! first batch that failed.
//! Relies on: the threads of the current rayon pool.
//! Not here: reads while the tasks run (`exec::block::prefetch`), codes (`exec::block::code_loader`).

use crate::arena::CodeId;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::bal::{BalColumns, ListedParents};
use crate::exec::block::providers::PreState;
use alloy_primitives::U256;
use rayon::prelude::*;

/// Rows that one task reads in a call of the store.
const READ_CHUNK: usize = 1024;

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

/// Runs `read` over all of `out`, on all threads if it is longer than a chunk. Returns the error of
/// the lowest chunk, independent of timing.
fn in_chunks<T: Send>(
    out: &mut [T],
    read: impl Fn(core::ops::Range<usize>, &mut [T]) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    if out.len() <= READ_CHUNK {
        return read(0..out.len(), out);
    }
    let chunks = out.par_chunks_mut(READ_CHUNK).enumerate();
    let results: Vec<Result<(), StoreError>> = chunks
        .map(|(chunk, out)| {
            let start = chunk * READ_CHUNK;
            read(start..start + out.len(), out)
        })
        .collect();
    results.into_iter().collect()
}
