//! Changes of a generated state, block by block, without execution.
//!
//! In: a number of rows, a seed. Out: the state, 30 % accounts and the rest slots, and blocks whose
//! names are drawn evenly from all rows. A block changes half of its names; it neither creates nor
//! deletes rows, so that the values after it are all that a store has to take.
//! Relies on: the generated state. Not here: transactions that make such changes (`state_blocks`).

use super::super::devnet::Random;
use super::state::{Sizes, State};
use alloy_primitives::{Address, B256, U256, keccak256};
use balustrade::{AccountStatus, SlotQuery, StateChanges};
use std::collections::{BTreeMap, BTreeSet};

/// An account by both of its names.
#[derive(Clone, Copy, Debug)]
pub struct AccountName {
    /// The address.
    pub address: Address,
    /// keccak256 of the address.
    pub hashed: B256,
}

/// A slot by all of its names.
#[derive(Clone, Copy, Debug)]
pub struct SlotName {
    /// The row of its account in [`ChangingBlock::accounts`].
    pub account: usize,
    /// The key.
    pub key: U256,
    /// keccak256 of the key as 32 bytes.
    pub hashed: B256,
}

/// A changed account: fields, slots or both.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// The row in [`ChangingBlock::accounts`].
    pub account: usize,
    /// Nonce and balance after the block; `None` if only slots change.
    pub fields: Option<(u64, U256)>,
    /// Rows in [`ChangingBlock::slots`] with the values after the block, which are never zero.
    pub slots: Vec<(usize, U256)>,
}

/// What one block reads and changes.
#[derive(Clone, Debug, Default)]
pub struct ChangingBlock {
    /// Block number.
    pub number: u64,
    /// All accounts that are read: the drawn ones, and those of the slots. Sorted by hashed address.
    pub accounts: Vec<AccountName>,
    /// All slots that are read, sorted by account and hashed key.
    pub slots: Vec<SlotName>,
    /// Sorted by account.
    pub changed: Vec<Changed>,
    /// The same changes.
    pub changes: StateChanges,
    /// The same changes as bytes, about as many as the block access list would have: for each changed account its
    /// address, its fields if they change, the keys and values of its changed slots.
    pub list: Vec<u8>,
}

impl ChangingBlock {
    /// The addresses of all accounts.
    pub fn addresses(&self) -> Vec<Address> {
        self.accounts.iter().map(|name| name.address).collect()
    }

    /// All slots as queries.
    pub fn queries(&self) -> Vec<SlotQuery> {
        let query = |slot: &SlotName| SlotQuery { address: self.accounts[slot.account].address, key: slot.key };
        self.slots.iter().map(query).collect()
    }

    /// Number of names that are read.
    pub fn names(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }

    /// [`Self::list`] with other values: `fields` returns those of an account by its row in [`Self::accounts`], `slot`
    /// that of a slot by its row in [`Self::slots`].
    pub fn list_with(&self, fields: impl Fn(usize) -> (u64, U256), slot: impl Fn(usize) -> U256) -> Vec<u8> {
        let mut out = Vec::with_capacity(60 * self.changed.len() + 64 * self.changes.slot_keys.len());
        for changed in &self.changed {
            out.extend(self.accounts[changed.account].address);
            if changed.fields.is_some() {
                let (nonce, balance) = fields(changed.account);
                out.extend(nonce.to_be_bytes());
                out.extend(balance.to_be_bytes::<32>());
            }
            for (row, _) in &changed.slots {
                out.extend(self.slots[*row].key.to_be_bytes::<32>());
                out.extend(slot(*row).to_be_bytes::<32>());
            }
        }
        out
    }
}

/// The names of a block, before values are given to them.
#[derive(Clone, Debug)]
pub struct Names {
    /// Accounts by index, and whether they change.
    accounts: BTreeMap<u64, bool>,
    /// Slots by the index of their account and their key, and whether they change.
    slots: BTreeMap<(u64, u64), bool>,
}

/// A state, and the blocks on it.
#[derive(Debug)]
pub struct ChangingState {
    state: State,
    /// Number of slots of all contracts before each one, and last of all.
    starts: Vec<u64>,
}

impl ChangingState {
    /// A state of about `rows` accounts and slots.
    pub fn new(rows: u64) -> Self {
        let accounts = rows * 3 / 10;
        let sizes = Sizes { accounts, contracts: accounts / 4, slots: rows - accounts, senders: 0, seed: 16 };
        let state = State::new(sizes);
        let mut total = 0;
        let start = |index| {
            let start = total;
            total += state.slots_of(index);
            start
        };
        let starts = (0..=state.sizes().contracts).map(start).collect();
        Self { state, starts }
    }

    /// The state before the first block.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Number of accounts and of slots.
    pub fn rows(&self) -> (u64, u64) {
        (self.state.account_count(), self.starts.last().copied().unwrap_or_default())
    }

    /// `count` different names, every second of them changed, drawn by this seed. A state with few rows has fewer.
    pub fn names(&self, seed: u64, count: usize) -> Names {
        let mut random = Random(seed);
        let accounts_there = self.state.sizes().accounts;
        let (_, slots_there) = self.rows();
        let mut names = Names { accounts: BTreeMap::new(), slots: BTreeMap::new() };
        let accounts = (count * 3 / 10).min(accounts_there as usize / 2);
        while names.accounts.len() < accounts {
            let changes = names.accounts.len().is_multiple_of(2);
            names.accounts.entry(random.below(accounts_there)).or_insert(changes);
        }
        let slots = (count - accounts).min(slots_there as usize / 2);
        while names.slots.len() < slots {
            let changes = names.slots.len().is_multiple_of(2);
            let row = random.below(slots_there);
            let index = self.starts.partition_point(|start| *start <= row) - 1;
            names.slots.entry((index as u64, row - self.starts[index])).or_insert(changes);
        }
        names
    }

    /// Block `number` with these names; the number decides on the values.
    pub fn block(&self, names: &Names, number: u64) -> ChangingBlock {
        let mut random = Random(!number);
        let of_slots = names.slots.keys().map(|(index, _)| *index);
        let indexes: BTreeSet<u64> = names.accounts.keys().copied().chain(of_slots).collect();
        let name = |index: u64| {
            let address = self.state.address(index);
            (AccountName { address, hashed: keccak256(address) }, index)
        };
        let mut accounts: Vec<(AccountName, u64)> = indexes.into_iter().map(name).collect();
        accounts.sort_unstable_by_key(|(name, _)| name.hashed);
        let mut block = ChangingBlock { number, ..ChangingBlock::default() };
        for (row, (name, index)) in accounts.into_iter().enumerate() {
            let changes = names.accounts.get(&index).copied().unwrap_or_default();
            let fields = changes.then(|| (number + random.below(1 << 20), U256::from(random.next_u64()) << 20));
            let slots = names.slots.range((index, 0)..(index + 1, 0)).map(|((_, key), changes)| {
                let key = U256::from(*key);
                (SlotName { account: row, key, hashed: keccak256(key.to_be_bytes::<32>()) }, *changes)
            });
            let mut slots: Vec<(SlotName, bool)> = slots.collect();
            slots.sort_unstable_by_key(|(slot, _)| slot.hashed);
            let mut changed = Changed { account: row, fields, slots: Vec::new() };
            for (slot, changes) in slots {
                if changes {
                    changed.slots.push((block.slots.len(), U256::from(random.next_u64() | 1)));
                }
                block.slots.push(slot);
            }
            block.accounts.push(name);
            if changed.fields.is_some() || !changed.slots.is_empty() {
                let (nonce, balance) = changed.fields.unzip();
                block.changes.push_account(name.address, AccountStatus::Kept, nonce, balance, None);
                for (row, value) in &changed.slots {
                    block.changes.push_slot(block.slots[*row].key, *value);
                }
                block.changed.push(changed);
            }
        }
        let slots: BTreeMap<usize, U256> = block.changed.iter().flat_map(|changed| changed.slots.clone()).collect();
        let fields: BTreeMap<usize, (u64, U256)> =
            block.changed.iter().filter_map(|changed| Some((changed.account, changed.fields?))).collect();
        block.list = block.list_with(|row| fields[&row], |row| slots[&row]);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balustrade::{ParentAccount, StateStore};

    #[test]
    fn half_of_the_names_change_and_all_exist() {
        let changing = ChangingState::new(20_000);
        let (accounts, slots) = changing.rows();
        assert!(accounts.abs_diff(6_000) < 10 && slots.abs_diff(14_000) < 1_600, "{accounts} {slots}");
        let names = changing.names(5, 1_000);
        let block = changing.block(&names, 1);
        assert_eq!(block.slots.len(), 700);
        assert!((300..1_000).contains(&block.accounts.len()));
        assert_eq!(block.changes.slot_keys.len(), 350);
        assert_eq!(block.changed.iter().filter(|changed| changed.fields.is_some()).count(), 150);
        assert!(block.accounts.is_sorted_by(|one, two| one.hashed < two.hashed));
        assert_eq!(block.names(), block.accounts.len() + 700);
        let mut parents = vec![ParentAccount::default(); block.accounts.len()];
        changing.state().accounts(&block.addresses(), &mut parents).expect("answers");
        assert!(parents.iter().all(|parent| parent.exists));
        let mut values = vec![U256::ZERO; 700];
        changing.state().slots(&block.queries(), &mut values).expect("answers");
        assert!(values.iter().all(|value| !value.is_zero()));
        let again = changing.block(&names, 2);
        assert_eq!(again.changes.addresses, block.changes.addresses);
        assert_ne!(again.changes, block.changes);
        assert_eq!(block.list.len(), 20 * block.changed.len() + 40 * 150 + 64 * 350);
    }
}
