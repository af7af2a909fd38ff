//! The accounts and slots that several block access lists name, and their values before each of the blocks.
//!
//! In: lists in block order, the state before the first block. Out: the parent state of each block, and the changes of all
//! blocks together. Nothing is executed: the values come from the lists, which the caller verifies.
//! Relies on: blocks of Cancun or later, whose lists hold every value that a block leaves.
//! Not here: decoding of lists (`bal`), execution.

use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError, in_chunks};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::bal::{BalColumns, ExistenceColumns, ListedParents, exists_before};
use crate::exec::block::providers::PreState;
use crate::exec::evm::ids::IdMap;
use alloy_primitives::{B256, U256};

/// Above every index of a block: values before it are those after the block.
const END: BlockAccessIndex = BlockAccessIndex(u32::MAX);

/// Rows of [`MergedState`] for the accounts and slots of one list, by the ids of the list.
#[derive(Debug, Default)]
pub(super) struct ListRows {
    accounts: Vec<AccountId>,
    slots: Vec<SlotId>,
}

/// All accounts and slots of several lists, each with its value before the next block.
#[derive(Debug, Default)]
pub(super) struct MergedState {
    names: IdMap,
    accounts: Column<AccountId, ParentAccount>,
    slots: Column<SlotId, U256>,
    /// Accounts with a changed field, by a block so far.
    changed: Column<AccountId, bool>,
    /// Changed slots, by a block so far.
    changed_slots: Column<SlotId, bool>,
}

impl MergedState {
    /// Adds the names of a list. To be called for all lists before [`Self::read`].
    pub(super) fn resolve(&mut self, list: &BalColumns) -> ListRows {
        let names = &mut self.names;
        let account = |address| names.account(address).unwrap_or_else(|| names.add_account(*address));
        let accounts: Vec<AccountId> = list.addresses().as_slice().iter().map(account).collect();
        let slots = list.slot_keys().as_slice().iter().zip(list.slot_accounts().as_slice()).map(|(key, owner)| {
            let owner = accounts[owner.index()];
            names.slot(owner, key).unwrap_or_else(|| names.add_slot(owner, *key))
        });
        let slots = slots.collect();
        ListRows { accounts, slots }
    }

    /// Reads all names from the state before the first block, on all threads of the current rayon pool.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn read(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        let addresses = self.names.addresses().as_slice();
        let slots = self.names.keys().as_slice().iter().zip(self.names.owners().as_slice());
        let queries: Vec<SlotQuery> =
            slots.map(|(key, owner)| SlotQuery { address: addresses[owner.index()], key: *key }).collect();
        store.announce(addresses, &queries)?;
        let mut accounts = vec![ParentAccount::default(); addresses.len()];
        in_chunks(&mut accounts, |range, out| store.accounts(&addresses[range], out))?;
        let mut values = vec![U256::ZERO; queries.len()];
        in_chunks(&mut values, |range, out| store.slots(&queries[range], out))?;
        self.changed = vec![false; accounts.len()].into();
        self.changed_slots = vec![false; values.len()].into();
        (self.accounts, self.slots) = (accounts.into(), values.into());
        Ok(())
    }

    /// The values of a list's names before the next block.
    pub(super) fn pre_state(&self, rows: &ListRows, codes: &CodeArena) -> PreState {
        let accounts: Vec<_> = rows.accounts.iter().map(|row| self.accounts[*row]).collect();
        let slots: Vec<_> = rows.slots.iter().map(|row| self.slots[*row]).collect();
        let codes: Vec<CodeId> = accounts.iter().map(|account| codes.intern(account.code_hash)).collect();
        PreState { parents: ListedParents { accounts: accounts.into(), slots: slots.into() }, codes: codes.into() }
    }

    /// Applies the last value of everything that the next block's list changes; `code_hashes` are the keccak256 of its
    /// code rows. Returns false if the block deletes an
    /// account that had storage: its slots are then no longer known here, so no further block may follow.
    pub(super) fn advance(&mut self, columns: &BalColumns, code_hashes: &[B256], rows: &ListRows) -> bool {
        let no_log = ExistenceColumns::default();
        let mut is_known = true;
        for account in columns.addresses().ids() {
            let row = rows.accounts[account.index()];
            let mut has_value = false;
            for slot in columns.slots(account) {
                let Some(value) = columns.slot_post(slot) else { continue };
                let slot = rows.slots[slot.index()];
                self.slots[slot] = value;
                self.changed_slots[slot] = true;
                has_value |= !value.is_zero();
            }
            let (nonce, balance) = (columns.nonce_post(account), columns.balance_post(account));
            let code = columns.codes().row_last(account);
            let state = &mut self.accounts[row];
            state.has_storage |= has_value;
            if nonce.is_none() && balance.is_none() && code.is_none() {
                continue;
            }
            self.changed[row] = true;
            if !exists_before(columns, &no_log, state, account, END) {
                is_known &= !state.has_storage;
                *state = ParentAccount::default();
                continue;
            }
            state.exists = true;
            state.nonce = nonce.unwrap_or(state.nonce);
            state.balance = balance.unwrap_or(state.balance);
            if let Some(code) = code {
                state.code_hash = code_hashes[code];
            }
        }
        is_known
    }

    /// Everything that the blocks so far changed, with its value after them, for the state root: without codes. A changed
    /// account has all its fields.
    pub(super) fn changes(&self) -> StateChanges {
        let mut slots: Vec<(AccountId, SlotId)> = self
            .changed_slots
            .iter()
            .filter_map(|(slot, changed)| changed.then_some((self.names.owners()[slot], slot)))
            .collect();
        slots.sort_unstable();
        let mut slots = slots.into_iter().peekable();
        let mut changes = StateChanges::default();
        for (account, changed) in self.changed.iter() {
            if !changed && slots.peek().is_none_or(|(owner, _)| *owner != account) {
                continue;
            }
            let ParentAccount { exists, nonce, balance, code_hash, .. } = self.accounts[account];
            let status = if exists { AccountStatus::Kept } else { AccountStatus::Deleted };
            let address = self.names.addresses()[account];
            changes.push_account(address, status, Some(nonce), Some(balance), Some(code_hash));
            while let Some((_, slot)) = slots.next_if(|(owner, _)| *owner == account) {
                changes.push_slot(self.names.keys()[slot], self.slots[slot]);
            }
        }
        changes
    }
}
