//! State roots index by index: receipts before Byzantium hold the root after their transaction.
//!
//! In: a list's columns and sidecar, the parent accounts. Out: the root after each transaction, the tries updated to the
//! end of the block. The same for every mode: what a list claims at an index is what happened there once it is verified.
//! Not here: the one update per block of later forks (`changes`).

use super::StateChanges;
use crate::arena::store::{ParentAccount, StateStore};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, SlotId};
use crate::bal::{BalColumns, SidecarColumns, exists_before};
use crate::trie::{Fate, StateTries, TrieError};
use alloy_primitives::B256;

/// Updates the tries index by index and returns the root after each of `tx_count` transactions.
pub(super) fn update(
    bal: &BalColumns,
    sidecar: &SidecarColumns,
    parents: &Column<AccountId, ParentAccount>,
    code_hashes: &[B256],
    tx_count: usize,
    tries: &mut StateTries,
    store: &dyn StateStore,
) -> Result<Vec<B256>, TrieError> {
    let rows = rows_by_index(bal, sidecar);
    let mut rows = rows.as_slice();
    let mut roots = Vec::with_capacity(tx_count);
    for index in (0..tx_count + 2).map(BlockAccessIndex::new) {
        let end = rows.partition_point(|row| row.0 == index);
        let (own, later) = rows.split_at(end);
        rows = later;
        let changes = changes_at(bal, sidecar, parents, code_hashes, index, own);
        if !changes.is_empty() {
            tries.update(&changes.as_update(), store)?;
        }
        if (1..=tx_count).contains(&index.index()) {
            roots.push(tries.root());
        }
    }
    Ok(roots)
}

type Row = (BlockAccessIndex, AccountId, Option<SlotId>);

/// Every change of the list and every event of the sidecar: by index, account, slot.
fn rows_by_index(bal: &BalColumns, sidecar: &SidecarColumns) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::with_capacity(bal.change_count());
    for account in bal.addresses().ids() {
        rows.extend(bal.balances().indices(account).iter().map(|at| (*at, account, None)));
        rows.extend(bal.nonces().indices(account).iter().map(|at| (*at, account, None)));
        rows.extend(bal.codes().indices(account).iter().map(|at| (*at, account, None)));
        for slot in bal.slots(account) {
            rows.extend(bal.storage().indices(slot).iter().map(|at| (*at, account, Some(slot))));
        }
    }
    rows.extend(sidecar.wipes().iter().map(|(account, at)| (*at, *account, None)));
    rows.extend(sidecar.existence().iter().map(|(account, at, _)| (*at, *account, None)));
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// What changes at one index, from its rows.
fn changes_at(
    bal: &BalColumns,
    sidecar: &SidecarColumns,
    parents: &Column<AccountId, ParentAccount>,
    code_hashes: &[B256],
    index: BlockAccessIndex,
    rows: &[Row],
) -> StateChanges {
    let mut changes = StateChanges::default();
    changes.slot_starts.push(0);
    for group in rows.chunk_by(|a, b| a.1 == b.1) {
        let account = group[0].1;
        let after = BlockAccessIndex(index.0 + 1);
        let existed = exists_before(bal, sidecar, &parents[account], account, index);
        let fate = match exists_before(bal, sidecar, &parents[account], account, after) {
            false if existed => Fate::Deleted,
            // Came and went within the index: the tries never hear of it.
            false => continue,
            true if sidecar.wiped_at(account, index) => Fate::Wiped,
            true => Fate::Kept,
        };
        for slot in group.iter().filter_map(|row| row.2) {
            changes.slot_keys.push(bal.slot_keys()[slot]);
            changes.slot_values.push(bal.slot_at(slot, index).unwrap_or_default());
        }
        changes.addresses.push(bal.addresses()[account]);
        changes.fates.push(fate);
        changes.nonces.push(bal.nonce_at(account, index));
        changes.balances.push(bal.balance_at(account, index));
        changes.code_hashes.push(bal.codes().row_at(account, index).map(|row| code_hashes[row]));
        changes.slot_starts.push(changes.slot_keys.len() as u32);
    }
    changes
}
