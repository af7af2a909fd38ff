//! State changes of a block, as columns: what `bal` reduces a block access list to, what `trie` computes the state
//! root from, and what an outcome returns to the caller.
//!
//! In: rows, from a reduction or one by one. Out: the columns.
//! Relies on: `store` for writing the changes to a store in memory.
//! Not here: where the changes come from (`bal`), the state root (`trie`).

use super::store::{MemoryAccount, MemoryStore, ParentAccount};
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use hashbrown::HashMap;
use rayon::prelude::*;
use smallvec::SmallVec;

/// Status of a changed account after the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum AccountStatus {
    /// The account exists after the block. Its storage is that of the parent state with the listed
    /// slots changed.
    #[default]
    Kept,
    /// The account exists after the block, but its storage in the parent state was cleared; only
    /// the listed slots exist. (Before EIP-6780: a contract that self-destructed and was created
    /// again.)
    StorageCleared,
    /// The account does not exist after the block. Its fields and slots are ignored.
    Deleted,
}

/// Changed accounts and slots with their values after the block: one row per account, in any order, each address at
/// most once; the slots of each account are a range of the slot columns.
///
/// A field that is `None` keeps its parent value (for a new account: nonce 0, balance 0, no code).
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
    /// Slots of account `i` are rows `slot_starts[i]..slot_starts[i + 1]` of the slot columns. One element more than
    /// accounts; may be empty if there is no account.
    pub slot_starts: Vec<u32>,
    /// Keys of changed slots, unhashed; each key at most once per account.
    pub slot_keys: Vec<U256>,
    /// Their values after the block; zero deletes the slot.
    pub slot_values: Vec<U256>,
    /// Codes that the block deployed, each with its keccak256.
    pub codes: Vec<(B256, Bytes)>,
}

impl StateChanges {
    /// Reserves room for more accounts and slots.
    pub(crate) fn reserve(&mut self, accounts: usize, slots: usize) {
        self.addresses.reserve(accounts);
        self.statuses.reserve(accounts);
        self.nonces.reserve(accounts);
        self.balances.reserve(accounts);
        self.code_hashes.reserve(accounts);
        self.slot_starts.reserve(accounts + 1);
        self.slot_keys.reserve(slots);
        self.slot_values.reserve(slots);
    }

    /// Adds an account without slots; [`Self::push_slot`] adds slots to it.
    pub fn push_account(
        &mut self,
        address: Address,
        status: AccountStatus,
        nonce: Option<u64>,
        balance: Option<U256>,
        code_hash: Option<B256>,
    ) {
        if self.slot_starts.is_empty() {
            self.slot_starts.push(0);
        }
        self.addresses.push(address);
        self.statuses.push(status);
        self.nonces.push(nonce);
        self.balances.push(balance);
        self.code_hashes.push(code_hash);
        self.slot_starts.push(self.slot_keys.len() as u32);
    }

    /// Adds a slot to the account added last.
    ///
    /// # Panics
    /// When no account was added yet.
    pub fn push_slot(&mut self, key: U256, value: U256) {
        self.slot_keys.push(key);
        self.slot_values.push(value);
        *self.slot_starts.last_mut().expect("an account") = self.slot_keys.len() as u32;
    }

    /// The changed slots of the account in this row, as key and value after the block.
    ///
    /// # Panics
    /// When `row` is not below [`Self::len`].
    pub fn slots(&self, row: usize) -> impl ExactSizeIterator<Item = (U256, U256)> {
        let rows = self.slot_starts[row] as usize..self.slot_starts[row + 1] as usize;
        self.slot_keys[rows.clone()].iter().copied().zip(self.slot_values[rows].iter().copied())
    }

    /// All accounts, slots and codes of a store in memory, as changes of the empty state.
    pub fn from_memory(store: &MemoryStore) -> Self {
        let mut all = Self::default();
        for (address, account) in store.iter() {
            let (nonce, balance, code_hash) = (Some(account.nonce), Some(account.balance), Some(account.code_hash));
            all.push_account(*address, AccountStatus::Kept, nonce, balance, code_hash);
            account.storage.iter().for_each(|(key, value)| all.push_slot(*key, *value));
        }
        all.codes = store.iter_codes().map(|(hash, code)| (*hash, code.clone())).collect();
        all
    }

    /// Adds to `before` the account in this row with the values that it had before the changes: `parent`, and `slots`, one
    /// value for each changed slot.
    ///
    /// An account that did not exist before is [`AccountStatus::Deleted`] and has no slots. An account that is deleted or
    /// whose storage is cleared is [`AccountStatus::StorageCleared`] and has no slots, as its storage before is not known
    /// here as a whole; if it is deleted, all its fields are set.
    ///
    /// # Panics
    /// When `row` is not below [`Self::len`].
    pub(crate) fn push_before(
        &self,
        row: usize,
        parent: &ParentAccount,
        slots: impl Iterator<Item = U256>,
        before: &mut Self,
    ) {
        let address = self.addresses[row];
        if !parent.exists {
            before.push_account(address, AccountStatus::Deleted, None, None, None);
            return;
        }
        let is_deleted = self.statuses[row] == AccountStatus::Deleted;
        let keeps_storage = self.statuses[row] == AccountStatus::Kept;
        before.push_account(
            address,
            if keeps_storage { AccountStatus::Kept } else { AccountStatus::StorageCleared },
            (is_deleted || self.nonces[row].is_some()).then_some(parent.nonce),
            (is_deleted || self.balances[row].is_some()).then_some(parent.balance),
            (is_deleted || self.code_hashes[row].is_some()).then_some(parent.code_hash),
        );
        if keeps_storage {
            self.slots(row).zip(slots).for_each(|((key, _), value)| before.push_slot(key, value));
        }
    }

    /// Writes the changes to a store in memory: the parent state of the next block.
    pub fn apply_to(&self, store: &mut MemoryStore) {
        for (row, address) in self.addresses.iter().enumerate() {
            if self.statuses[row] == AccountStatus::Deleted {
                store.remove_account(address);
                continue;
            }
            let (nonce, balance, code_hash) = (self.nonces[row], self.balances[row], self.code_hashes[row]);
            let clears_storage = self.statuses[row] == AccountStatus::StorageCleared;
            store.update_account(address, nonce, balance, code_hash, clears_storage, self.slots(row));
        }
        for (_, code) in &self.codes {
            store.insert_code(code.clone());
        }
    }

    /// Applies the changes of consecutive blocks to a store, in order. Accounts are changed on all threads of the current
    /// rayon pool.
    pub(crate) fn apply_all(blocks: &[&Self], store: &mut MemoryStore) {
        let [first, second, ..] = blocks else {
            return blocks.iter().for_each(|changes| changes.apply_to(store));
        };
        // For each account the blocks that change it, with its row there.
        let mut rows: HashMap<Address, SmallVec<[(u32, u32); 4]>, RandomState> =
            HashMap::with_capacity_and_hasher(first.len() + second.len(), RandomState::default());
        for (block, changes) in blocks.iter().enumerate() {
            for (row, address) in changes.addresses.iter().enumerate() {
                rows.entry(*address).or_default().push((block as u32, row as u32));
            }
        }
        let mut accounts: Vec<_> =
            rows.into_iter().map(|(address, rows)| (address, rows, store.take_account(&address))).collect();
        accounts.par_iter_mut().for_each(|(_, rows, account)| {
            for (block, row) in rows {
                blocks[*block as usize].apply_row(*row as usize, account);
            }
        });
        for (address, _, account) in accounts {
            if let Some(account) = account {
                store.put_account(address, account);
            }
        }
        for (_, code) in blocks.iter().flat_map(|changes| &changes.codes) {
            store.insert_code(code.clone());
        }
    }

    /// Applies one row to its account.
    fn apply_row(&self, row: usize, account: &mut Option<MemoryAccount>) {
        if self.statuses[row] == AccountStatus::Deleted {
            *account = None;
            return;
        }
        let (nonce, balance, code_hash) = (self.nonces[row], self.balances[row], self.code_hashes[row]);
        let clears_storage = self.statuses[row] == AccountStatus::StorageCleared;
        let account = account.get_or_insert_default();
        account.update(nonce, balance, code_hash, clears_storage, self.slots(row));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::store::StateStore;
    use alloy_primitives::keccak256;

    /// Changes of one block, drawn from `seed`: new, changed, cleared and deleted accounts.
    fn block(seed: u32) -> StateChanges {
        let mut changes = StateChanges::default();
        let mut left = keccak256(seed.to_be_bytes()).0.to_vec();
        let mut draw = |below: u8| left.pop().unwrap_or_default() % below;
        let first = draw(8);
        for name in 0..5 {
            let status = match draw(6) {
                0 => AccountStatus::Deleted,
                1 => AccountStatus::StorageCleared,
                _ => AccountStatus::Kept,
            };
            let nonce = (draw(2) == 0).then_some(u64::from(seed));
            changes.push_account(Address::repeat_byte((first + name) % 8), status, nonce, None, None);
            for key in 0..draw(3) {
                changes.push_slot(U256::from(key), U256::from(draw(3)));
            }
        }
        changes
    }

    #[test]
    fn blocks_together_leave_what_they_leave_one_by_one() {
        for first in 0..200 {
            let blocks: Vec<StateChanges> = (0..6).map(|at| block(6 * first + at)).collect();
            let (mut one, mut all) = (MemoryStore::default(), MemoryStore::default());
            blocks.iter().for_each(|changes| changes.apply_to(&mut one));
            StateChanges::apply_all(&blocks.iter().collect::<Vec<_>>(), &mut all);
            assert_eq!(one.len(), all.len());
            let addresses: Vec<Address> = (0..8).map(Address::repeat_byte).collect();
            let mut found = [vec![ParentAccount::default(); 8], vec![ParentAccount::default(); 8]];
            one.accounts(&addresses, &mut found[0]).expect("in memory");
            all.accounts(&addresses, &mut found[1]).expect("in memory");
            assert_eq!(found[0], found[1]);
            for (address, account) in one.iter() {
                assert_eq!(Some(&account.storage), all.account(address).map(|account| &account.storage));
            }
        }
    }
}
