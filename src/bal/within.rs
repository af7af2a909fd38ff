//! The state within a block: the parent state under the changes of a block access list (EIP-7928) below an index.
//!
//! In: a list, its existence log, values of the parent state. Out: the account or slot before the task at an index.
//! Not here: reading the parent state.

use super::columns::BalColumns;
use super::existence::{ExistenceColumns, exists_before};
use crate::arena::store::ParentAccount;
use crate::arena::{AccountId, BlockAccessIndex, SlotId};
use alloy_primitives::U256;

/// A block access list and what it cannot express.
#[derive(Clone, Copy, Debug)]
pub struct ListedValues<'b> {
    /// The list.
    pub bal: &'b BalColumns,
    /// Existence changes that the list cannot express; empty from Cancun on.
    pub existence_log: &'b ExistenceColumns,
    /// Whether SELFDESTRUCT clears storage: true before Cancun (EIP-6780).
    pub clears_storage: bool,
}

impl ListedValues<'_> {
    /// An account before the task at `index`. If a code row of the list is returned, it is the account's code; else
    /// `code_hash` is right.
    #[inline]
    pub fn account_before(
        &self,
        id: AccountId,
        parent: &ParentAccount,
        index: BlockAccessIndex,
    ) -> (ParentAccount, Option<usize>) {
        let bal = self.bal;
        let cleared = self.clears_storage && parent.has_storage && bal.storage_cleared_before(id, index).is_some();
        let account = ParentAccount {
            exists: exists_before(bal, self.existence_log, parent, id, index),
            has_storage: parent.has_storage && !cleared,
            nonce: bal.nonce_before(id, index).unwrap_or(parent.nonce),
            balance: bal.balance_before(id, index).unwrap_or(parent.balance),
            code_hash: parent.code_hash,
        };
        (account, bal.code_row_before(id, index))
    }

    /// The value of a slot of `account` before the task at `index`; `None`: that of the parent state.
    #[inline]
    pub fn slot_before(&self, id: SlotId, account: AccountId, index: BlockAccessIndex) -> Option<U256> {
        let changes = self.bal.storage();
        let row = changes.row_before(id, index);
        if self.clears_storage
            && let Some(cleared) = self.bal.storage_cleared_before(account, index)
            && row.is_none_or(|row| changes.index(row) < cleared)
        {
            return Some(U256::ZERO);
        }
        row.map(|row| *changes.value(row))
    }
}
