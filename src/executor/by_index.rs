//! State roots after each transaction: receipts before Byzantium contain them.
//!
//! In: the columns of a block access list, its existence log, the parent accounts. Out: the root
//! after each transaction, and the tries updated to the end of the block. The same in every mode: a
//! verified list holds the changes of each index.
//! Not here: the one update per block of later forks (`root`).

use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::store::StateStore;
use crate::arena::{AccountId, BlockAccessIndex, Id, SlotId};
use crate::bal::{ListedChanges, exists_before};
use crate::exec::block::system::takes_part_in_dao_transfer;
use crate::exec::rules::fork::{ChainRules, DaoTransfer};
use crate::trie::{StateTries, TrieError};
use alloy_primitives::B256;

/// Updates the tries index by index and returns the root after each of `tx_count` transactions.
pub(super) fn update(
    listed: &ListedChanges<'_>,
    rules: &ChainRules,
    tx_count: usize,
    tries: &mut StateTries,
    store: &dyn StateStore,
) -> Result<Vec<B256>, TrieError> {
    let rows = rows_by_index(listed, rules);
    let mut rows = rows.as_slice();
    let mut roots = Vec::with_capacity(tx_count);
    for index in (0..tx_count + 2).map(BlockAccessIndex::new) {
        let end = rows.partition_point(|row| row.when == index);
        let (own, later) = rows.split_at(end);
        rows = later;
        let changes = changes_at(listed, own);
        if !changes.is_empty() {
            tries.update(&changes, store)?;
        }
        if (1..=tx_count).contains(&index.index()) {
            roots.push(tries.root());
        }
    }
    Ok(roots)
}

/// One change of the block access list, or one event of the existence log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// Index at which it takes effect in the state root.
    when: BlockAccessIndex,
    account: AccountId,
    slot: Option<SlotId>,
    /// Index at which the list has it.
    index: BlockAccessIndex,
}

/// Every change of the list and every event of the existence log, by the index of effect.
fn rows_by_index(listed: &ListedChanges<'_>, rules: &ChainRules) -> Vec<Row> {
    let ListedChanges { bal, existence_log, .. } = *listed;
    let mut rows: Vec<Row> = Vec::with_capacity(bal.change_count());
    for account in bal.addresses().ids() {
        // Published lists record mainnet's DAO transfer at the last index of its block, but the
        // state roots in the receipts include it from index 0.
        let is_early = rules.dao_transfer == DaoTransfer::Last && takes_part_in_dao_transfer(&bal.addresses()[account]);
        let row = |index: BlockAccessIndex, slot| Row {
            when: if is_early { BlockAccessIndex(0) } else { index },
            account,
            slot,
            index,
        };
        rows.extend(bal.balances().indices(account).iter().map(|at| row(*at, None)));
        rows.extend(bal.nonces().indices(account).iter().map(|at| row(*at, None)));
        rows.extend(bal.codes().indices(account).iter().map(|at| row(*at, None)));
        for slot in bal.slots(account) {
            rows.extend(bal.storage().indices(slot).iter().map(|at| row(*at, Some(slot))));
        }
    }
    let event = |at: BlockAccessIndex, account| Row { when: at, account, slot: None, index: at };
    rows.extend(existence_log.existence().iter().map(|(account, at, _)| event(*at, *account)));
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The state changes of one index, from its rows.
fn changes_at(listed: &ListedChanges<'_>, rows: &[Row]) -> StateChanges {
    let ListedChanges { bal, existence_log, parents, code_hashes, .. } = *listed;
    let mut changes = StateChanges::default();
    for group in rows.chunk_by(|a, b| a.account == b.account) {
        let Row { account, index, .. } = group[0];
        let parent = &parents[account];
        let existed = exists_before(bal, existence_log, parent, account, index);
        let status = match exists_before(bal, existence_log, parent, account, BlockAccessIndex(index.0 + 1)) {
            false if existed => AccountStatus::Deleted,
            // Created and deleted in the same index: no trie update.
            false => continue,
            true if bal.storage_cleared_at(account, index) => AccountStatus::StorageCleared,
            true => AccountStatus::Kept,
        };
        let code_hash = bal.codes().row_at(account, index).map(|row| code_hashes[row]);
        let (nonce, balance) = (bal.nonce_at(account, index), bal.balance_at(account, index));
        changes.push_account(bal.addresses()[account], status, nonce, balance, code_hash);
        for slot in group.iter().filter_map(|row| row.slot) {
            changes.push_slot(bal.slot_keys()[slot], bal.slot_at(slot, index).unwrap_or_default());
        }
    }
    changes
}
