//! Merges the changes of consecutive blocks: the last value of everything that changed.
//!
//! In: what each block's list says, and the state before the first block. Out: changes with the effect of all blocks;
//! whether each changed account exists after each block; the values before each block.
//! Every account and slot has one row for all blocks ([`IdMap`]), so the state before is read once, and each block costs
//! one look-up per changed name.
//! For blocks of Cancun or later: existence follows from nonce, balance and code, and no block clears the storage of an
//! account that it keeps.
//! Not here: decoding lists (`apply`), the state root.

use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::store::{KECCAK_EMPTY, ParentAccount, SlotQuery, StateStore, StoreError, in_chunks};
use crate::arena::{AccountId, Column, SlotId};
use crate::exec::evm::ids::IdMap;
use alloy_primitives::U256;

/// Fields that a block has set since the first one, and whether the account existed before it.
const NONCE: u8 = 1;
const BALANCE: u8 = 2;
const CODE: u8 = 4;
const EXISTED: u8 = 8;

/// Consecutive blocks as one.
#[derive(Debug)]
pub(super) struct Merged {
    /// The changes of all blocks.
    pub(super) changes: StateChanges,
    /// The values before each block, if they were asked for; else empty changes. One element per block that was merged:
    /// fewer than were given if one of the others has to begin a merge of its own.
    pub(super) befores: Vec<StateChanges>,
}

/// Merges blocks, at least the first. `blocks` are the changes of each, reduced without the accounts before them: their
/// statuses are set here. `store` is the state before the first block. With `keeps_before` the values before each block
/// are returned. A block that removes the storage of an account is then not merged with those before it, because the
/// store has the whole storage only as it was before the first block.
///
/// # Errors
/// [`StoreError`].
pub(super) fn merge(
    blocks: &mut [StateChanges],
    store: &dyn StateStore,
    keeps_before: bool,
) -> Result<Merged, StoreError> {
    let (ids, rows) = names(blocks);
    let mut merge = Merge::new(ids, store, keeps_before)?;
    let mut befores = vec![StateChanges::default(); blocks.len()];
    for at in 0..blocks.len() {
        merge.push(at as u32 + 1, &mut blocks[at], &rows[at], keeps_before.then_some(&mut befores[at]));
        if keeps_before && at > 0 && merge.removed_storage {
            return self::merge(&mut blocks[..at], store, keeps_before);
        }
        merge.removed_storage = false;
    }
    Ok(Merged { changes: merge.changes(blocks), befores })
}

/// The rows of a block's changes, in their order.
#[derive(Debug, Default)]
struct Rows {
    accounts: Vec<AccountId>,
    slots: Vec<SlotId>,
}

/// Gives every changed account and slot of the blocks an id.
fn names(blocks: &[StateChanges]) -> (IdMap, Vec<Rows>) {
    let mut ids = IdMap::default();
    let resolve = |changes: &StateChanges| {
        let mut rows = Rows::default();
        for (row, address) in changes.addresses.iter().enumerate() {
            let account = ids.account(address).unwrap_or_else(|| ids.add_account(*address));
            rows.accounts.push(account);
            for (key, _) in changes.slots(row) {
                rows.slots.push(ids.slot(account, &key).unwrap_or_else(|| ids.add_slot(account, key)));
            }
        }
        rows
    };
    let rows = blocks.iter().map(resolve).collect();
    (ids, rows)
}

/// The state after the blocks so far, as far as they change it. Blocks are counted from 1.
struct Merge {
    ids: IdMap,
    accounts: Column<AccountId, ParentAccount>,
    flags: Column<AccountId, u8>,
    /// The last block that deleted the account; 0: none.
    deleted: Column<AccountId, u32>,
    slots: Column<SlotId, U256>,
    /// The last block that changed the slot; 0: none.
    written: Column<SlotId, u32>,
    /// Whether the last block deleted an account with storage.
    removed_storage: bool,
}

impl Merge {
    fn new(ids: IdMap, store: &dyn StateStore, reads_slots: bool) -> Result<Self, StoreError> {
        let addresses = ids.addresses().as_slice();
        let mut accounts = vec![ParentAccount::default(); addresses.len()];
        let mut slots = vec![U256::ZERO; ids.keys().len()];
        let query = |(key, owner): (&U256, &AccountId)| SlotQuery { address: ids.addresses()[*owner], key: *key };
        let queries: Vec<SlotQuery> = match reads_slots {
            true => ids.keys().as_slice().iter().zip(ids.owners().as_slice()).map(query).collect(),
            false => Vec::new(),
        };
        let read = &mut slots[..queries.len()];
        if store.is_resident() {
            in_chunks(&mut accounts, |range, out| store.accounts(&addresses[range], out))?;
            in_chunks(read, |range, out| store.slots(&queries[range], out))?;
        } else {
            store.announce(addresses, &queries)?;
            store.accounts(addresses, &mut accounts)?;
            store.slots(&queries, read)?;
        }
        let flags: Vec<u8> = accounts.iter().map(|account| EXISTED * u8::from(account.exists)).collect();
        Ok(Self {
            deleted: vec![0; accounts.len()].into(),
            written: vec![0; slots.len()].into(),
            accounts: accounts.into(),
            flags: flags.into(),
            slots: slots.into(),
            ids,
            removed_storage: false,
        })
    }

    /// Adds block number `block`: sets the statuses of its changes and adds the values before it to `before`.
    fn push(&mut self, block: u32, changes: &mut StateChanges, rows: &Rows, mut before: Option<&mut StateChanges>) {
        for (row, id) in rows.accounts.iter().enumerate() {
            let id = *id;
            let slots = changes.slot_starts[row] as usize..changes.slot_starts[row + 1] as usize;
            let now = self.accounts[id];
            let (nonce, balance, code_hash) = (changes.nonces[row], changes.balances[row], changes.code_hashes[row]);
            let mut after = ParentAccount {
                nonce: nonce.unwrap_or(now.nonce),
                balance: balance.unwrap_or(now.balance),
                code_hash: code_hash.unwrap_or(now.code_hash),
                ..now
            };
            let set = [(nonce.is_some(), NONCE), (balance.is_some(), BALANCE), (code_hash.is_some(), CODE)];
            let set = set.iter().filter(|(is_set, _)| *is_set).fold(0, |set, (_, flag)| set | flag);
            if set != 0 {
                after.exists = after.nonce != 0 || !after.balance.is_zero() || after.code_hash != KECCAK_EMPTY;
            }
            changes.statuses[row] = if after.exists { AccountStatus::Kept } else { AccountStatus::Deleted };
            if let Some(before) = &mut before {
                let values =
                    rows.slots[slots.clone()].iter().map(|slot| match self.written[*slot] < self.deleted[id] {
                        true => U256::ZERO,
                        false => self.slots[*slot],
                    });
                changes.push_before(row, &now, values, before);
            }
            if !after.exists {
                self.removed_storage |= now.has_storage;
                self.accounts[id] = ParentAccount::default();
                self.flags[id] |= NONCE | BALANCE | CODE;
                self.deleted[id] = block;
                continue;
            }
            self.flags[id] |= set;
            for slot in slots {
                let value = changes.slot_values[slot];
                self.slots[rows.slots[slot]] = value;
                self.written[rows.slots[slot]] = block;
                after.has_storage |= !value.is_zero();
            }
            self.accounts[id] = after;
        }
    }

    /// The changes of all blocks together.
    fn changes(&self, blocks: &[StateChanges]) -> StateChanges {
        let owners = self.ids.owners();
        let is_left = |slot: SlotId, owner: AccountId| self.written[slot] > self.deleted[owner];
        let left = || owners.iter().filter(|(slot, owner)| is_left(*slot, **owner));
        // Slots by account: counted, then each put behind those of its account.
        let mut starts = vec![0u32; self.accounts.len() + 1];
        left().for_each(|(_, owner)| starts[owner.0 as usize + 1] += 1);
        for account in 0..self.accounts.len() {
            starts[account + 1] += starts[account];
        }
        let count = starts.last().map_or(0, |count| *count as usize);
        let mut next = starts.clone();
        let (mut keys, mut values) = (vec![U256::ZERO; count], vec![U256::ZERO; count]);
        for (slot, owner) in left() {
            let next = &mut next[owner.0 as usize];
            keys[*next as usize] = self.ids.keys()[slot];
            values[*next as usize] = self.slots[slot];
            *next += 1;
        }
        let status = |(id, account): (AccountId, &ParentAccount)| match account.exists {
            false => AccountStatus::Deleted,
            true if self.deleted[id] > 0 && self.flags[id] & EXISTED != 0 => AccountStatus::StorageCleared,
            true => AccountStatus::Kept,
        };
        let rows = || self.accounts.iter().map(|(id, account)| (self.flags[id], account));
        StateChanges {
            addresses: self.ids.addresses().as_slice().to_vec(),
            statuses: self.accounts.iter().map(status).collect(),
            nonces: rows().map(|(set, account)| (set & NONCE != 0).then_some(account.nonce)).collect(),
            balances: rows().map(|(set, account)| (set & BALANCE != 0).then_some(account.balance)).collect(),
            code_hashes: rows().map(|(set, account)| (set & CODE != 0).then_some(account.code_hash)).collect(),
            slot_starts: starts,
            slot_keys: keys,
            slot_values: values,
            codes: blocks.iter().flat_map(|changes| changes.codes.iter().cloned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::store::MemoryStore;
    use crate::trie::StateTries;
    use alloy_primitives::{Address, Bytes};
    use proptest::prelude::*;

    /// A change of one account: nonce, balance and code (0: the empty one), and slots.
    type Change = (u8, Option<u8>, Option<u8>, Option<u8>, Vec<(u8, u8)>);

    fn change() -> impl Strategy<Value = Change> {
        let field = || proptest::option::of(0..3u8);
        (0..4u8, field(), field(), field(), proptest::collection::vec((0..4u8, 0..3u8), 0..4))
    }

    fn block(changes: &[Change]) -> StateChanges {
        let mut out = StateChanges::default();
        for (name, nonce, balance, code, slots) in changes {
            let address = Address::repeat_byte(*name);
            if out.addresses.contains(&address) || nonce.or(*balance).or(*code).is_none() && slots.is_empty() {
                continue;
            }
            let code = code.map(|code| Bytes::from(vec![code; usize::from(code)]));
            let hash = code.as_ref().map(crate::arena::keccak::keccak256);
            out.push_account(address, AccountStatus::Kept, nonce.map(u64::from), balance.map(U256::from), hash);
            let mut keys = Vec::new();
            for (key, value) in slots {
                if !keys.contains(key) {
                    keys.push(*key);
                    out.push_slot(U256::from(*key), U256::from(*value));
                }
            }
            out.codes.extend(hash.zip(code));
        }
        out
    }

    fn root(store: &MemoryStore) -> alloy_primitives::B256 {
        StateTries::from_memory(store).expect("a state").root()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Blocks applied one by one, and merged: the same states, and the values before each lead back.
        #[test]
        fn merged_blocks_have_the_effect_of_all(
            first in proptest::collection::vec(change(), 0..4),
            blocks in proptest::collection::vec(proptest::collection::vec(change(), 0..4), 1..6),
        ) {
            let mut store = MemoryStore::default();
            let mut start = [block(&first)];
            merge(&mut start, &store, false).expect("in memory").changes.apply_to(&mut store);
            let mut blocks: Vec<StateChanges> = blocks.iter().map(|changes| block(changes)).collect();
            let mut rest = &mut blocks[..];
            while !rest.is_empty() {
                let Merged { changes, befores } = merge(rest, &store, true).expect("in memory");
                let (done, left) = rest.split_at_mut(befores.len());
                let mut states = vec![store.clone()];
                for block in &*done {
                    let mut next = states[states.len() - 1].clone();
                    block.apply_to(&mut next);
                    states.push(next);
                }
                let mut at_once = store.clone();
                let mut tries = StateTries::from_memory(&store).expect("a state");
                let found = tries.update(&changes, &store).expect("in memory");
                changes.apply_to(&mut at_once);
                prop_assert_eq!(found, root(&at_once));
                prop_assert_eq!(found, root(&states[done.len()]));
                for (at, before) in befores.iter().enumerate().rev() {
                    let back = super::super::memory::with_storage(before, &states[at]);
                    let mut state = states[at + 1].clone();
                    back.apply_to(&mut state);
                    prop_assert_eq!(root(&state), root(&states[at]));
                }
                // Without the values before, nothing separates the blocks.
                let mut all: Vec<StateChanges> = done.iter().chain(&*left).cloned().collect();
                let whole = merge(&mut all, &store, false).expect("in memory");
                prop_assert_eq!(whole.befores.len(), all.len());
                let (mut one_by_one, mut at_once) = (store.clone(), store.clone());
                all.iter().for_each(|block| block.apply_to(&mut one_by_one));
                whole.changes.apply_to(&mut at_once);
                prop_assert_eq!(root(&at_once), root(&one_by_one));
                store = states.swap_remove(done.len());
                rest = left;
            }
        }
    }
}
