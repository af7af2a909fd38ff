//! State changes of a block, as columns.
//!
//! In: the reduced columns of a block access list, its existence log, the parent accounts. Out:
//! [`StateChanges`]: the input of the state trie, and what a client writes to its store.
//! Not here: verification of the list.

use crate::arena::code::CodeArena;
use crate::arena::store::{MemoryStore, ParentAccount, StateStore, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, Column};
use crate::bal::{BalColumns, ExistenceColumns, Reduced, exists_before};
use crate::exec::rules::fork::Fork;
use crate::trie::{AccountStatus, StateUpdate};
use alloy_primitives::{Address, B256, Bytes, U256};

/// What the state changes of a block are computed from.
pub(super) struct ListedChanges<'a> {
    pub(super) bal: &'a BalColumns,
    pub(super) existence_log: &'a ExistenceColumns,
    pub(super) parents: &'a Column<AccountId, ParentAccount>,
    pub(super) code_hashes: Vec<B256>,
}

/// Changed accounts and slots with their values after the block: one row per account; the slots of
/// each account are a range of the slot columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StateChanges {
    /// Changed accounts.
    pub addresses: Vec<Address>,
    /// Status of each account after the block.
    pub statuses: Vec<AccountStatus>,
    /// Nonce after the block; `None` if unchanged.
    pub nonces: Vec<Option<u64>>,
    /// Balance in wei after the block; `None` if unchanged.
    pub balances: Vec<Option<U256>>,
    /// keccak256 of the code after the block; `None` if unchanged.
    pub code_hashes: Vec<Option<B256>>,
    /// Slots of account `i` are rows `slot_starts[i]..slot_starts[i + 1]` of the slot columns.
    pub slot_starts: Vec<u32>,
    /// Keys of changed slots, unhashed.
    pub slot_keys: Vec<U256>,
    /// Their values after the block; zero deletes the slot.
    pub slot_values: Vec<U256>,
    /// Codes that the block deployed, each with its keccak256.
    pub codes: Vec<(B256, Bytes)>,
}

impl StateChanges {
    /// State changes according to a block access list, for blocks of Cancun or later. Nothing is
    /// executed and the list is not verified.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot read the parent accounts.
    pub fn of_list(bal: &BalColumns, store: &dyn StateStore) -> Result<Self, StoreError> {
        let mut parents = vec![ParentAccount::default(); bal.account_count()];
        store.accounts(bal.addresses().as_slice(), &mut parents)?;
        let existence_log = ExistenceColumns::default();
        Ok(Self::from_list(bal, &crate::bal::reduce(bal), &parents.into(), &existence_log, Fork::Cancun))
    }

    /// State changes from the reduced columns of a list and its existence log, over the parent
    /// accounts.
    pub(super) fn from_list(
        bal: &BalColumns,
        reduced: &Reduced,
        parents: &Column<AccountId, ParentAccount>,
        existence_log: &ExistenceColumns,
        fork: Fork,
    ) -> Self {
        let clears_storage = fork < Fork::Cancun;
        let end = BlockAccessIndex(u32::MAX);
        let status = |account: AccountId| match exists_before(bal, existence_log, &parents[account], account, end) {
            false => AccountStatus::Deleted,
            true if clears_storage && bal.storage_cleared_before(account, end).is_some() => {
                AccountStatus::StorageCleared
            }
            true => AccountStatus::Kept,
        };
        let mut changes = Self::from_reduced(bal, reduced, |position| status(reduced.accounts[position]));
        for (position, account) in reduced.accounts.iter().enumerate() {
            // A slot last written before its account's storage was cleared is zero, although its
            // last row in the list is not.
            if changes.statuses[position] == AccountStatus::StorageCleared
                && let Some(cleared) = bal.storage_cleared_before(*account, end)
            {
                for row in reduced.slot_range(position) {
                    let last = bal.storage().row_last(reduced.slots[row]).map(|row| bal.storage().index(row));
                    if last.is_some_and(|last| last < cleared) {
                        changes.slot_values[row] = U256::ZERO;
                    }
                }
            }
        }
        // Accounts that occur only in the existence log: no field and no slot of theirs changed.
        let events = existence_log.existence().iter().map(|event| event.0);
        let mut bare: Vec<AccountId> = events.filter(|id| reduced.accounts.binary_search(id).is_err()).collect();
        bare.sort_unstable();
        bare.dedup();
        for account in bare {
            match (parents[account].exists, status(account)) {
                (false, AccountStatus::Deleted) | (true, AccountStatus::Kept) => {}
                (_, status) => changes.push_bare(bal.addresses()[account], status),
            }
        }
        changes
    }

    /// The changes of reduced columns; `status` gives each changed account's status.
    fn from_reduced(bal: &BalColumns, reduced: &Reduced, status: impl Fn(usize) -> AccountStatus) -> Self {
        let mut changes = Self {
            slot_starts: Vec::with_capacity(reduced.accounts.len() + 1),
            slot_values: reduced.slot_values.clone(),
            ..Self::default()
        };
        changes.slot_starts.push(0);
        changes.slot_keys.extend(reduced.slots.iter().map(|slot| bal.slot_keys()[*slot]));
        for (position, account) in reduced.accounts.iter().enumerate() {
            changes.addresses.push(bal.addresses()[*account]);
            changes.statuses.push(status(position));
            changes.nonces.push(reduced.nonces[position]);
            changes.balances.push(reduced.balances[position]);
            changes.code_hashes.push(reduced.code_hash(position));
            changes.slot_starts.push(reduced.slot_range(position).end as u32);
            if let Some(row) = reduced.code_rows[position] {
                let row = row as usize;
                changes.codes.push((reduced.code_hashes[row], bal.code_shared(row)));
            }
        }
        changes
    }

    /// Adds a row for a change that a block access list cannot express (EIP-161 removals, cleared
    /// storage).
    fn push_bare(&mut self, address: Address, status: AccountStatus) {
        self.addresses.push(address);
        self.statuses.push(status);
        self.nonces.push(None);
        self.balances.push(None);
        self.code_hashes.push(None);
        self.slot_starts.push(self.slot_keys.len() as u32);
    }

    /// The changes as input of [`StateTries::update`](crate::trie::StateTries::update).
    pub fn as_update(&self) -> StateUpdate<'_> {
        StateUpdate {
            addresses: &self.addresses,
            statuses: &self.statuses,
            nonces: &self.nonces,
            balances: &self.balances,
            code_hashes: &self.code_hashes,
            slot_starts: &self.slot_starts,
            slot_keys: &self.slot_keys,
            slot_values: &self.slot_values,
            ..StateUpdate::default()
        }
    }

    /// Writes the changes to a store in memory: the parent state of the next block.
    pub fn apply_to(&self, store: &mut MemoryStore) {
        for (row, address) in self.addresses.iter().enumerate() {
            if self.statuses[row] == AccountStatus::Deleted {
                store.remove_account(address);
                continue;
            }
            let slots = self.slot_starts[row] as usize..self.slot_starts[row + 1] as usize;
            let slots = self.slot_keys[slots.clone()].iter().copied().zip(self.slot_values[slots].iter().copied());
            let cleared = self.statuses[row] == AccountStatus::StorageCleared;
            store.update_account(address, self.nonces[row], self.balances[row], self.code_hashes[row], cleared, slots);
        }
        for (_, code) in &self.codes {
            store.insert_code(code.clone());
        }
    }

    /// Number of changed accounts.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// Adds the code of every code row of a list to the arena and returns their ids.
pub(super) fn intern_code_rows(bal: &BalColumns, hashes: &[B256], codes: &CodeArena) -> Vec<crate::arena::CodeId> {
    hashes.iter().enumerate().map(|(row, hash)| codes.insert(*hash, bal.code_shared(row))).collect()
}
