//! The id map: assigns a dense id to every account and slot that a block may touch, and resolves addresses and
//! keys to ids.
//!
//! With a block access list (BAL) the map is closed: an id is the position in the list, and an address or slot
//! without an id is an access outside the list. Without a BAL the map grows during execution, and ids are in
//! order of first access.
//! Relies on: each address or key is resolved once; all later accesses index columns by id.
//! Not here: the values of accounts and slots (`state`), and what happens on an access outside the list
//! (`state::ids`).

use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::{AccountId, Column, Id, SlotId};
use ahash::RandomState;
use alloy_primitives::{Address, U256};
use core::hash::{BuildHasher, Hasher};
use hashbrown::HashTable;

/// Addresses and slot keys by id, and the hash tables that resolve them to ids.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    addresses: Column<AccountId, Address>,
    keys: Column<SlotId, U256>,
    owners: Column<SlotId, AccountId>,
    by_address: HashTable<AccountId>,
    by_key: HashTable<SlotId>,
    seed: RandomState,
}

/// Hash of a slot: its account's id and its key's limbs, keyed with the map's random seed.
#[inline]
fn hash_slot(seed: &RandomState, account: AccountId, key: &U256) -> u64 {
    let limbs = key.as_limbs();
    let mut hasher = seed.build_hasher();
    hasher.write_u64(limbs[0] ^ u64::from(account.0).rotate_left(32));
    hasher.write_u64(limbs[1] ^ limbs[2].rotate_left(17));
    hasher.write_u64(limbs[3]);
    hasher.finish()
}

#[inline]
fn hash_address(seed: &RandomState, address: &Address) -> u64 {
    let mut hasher = seed.build_hasher();
    let (head, tail) = address.split_at(16);
    hasher.write_u128(u128::from_ne_bytes(head.try_into().unwrap_or_default()));
    hasher.write_u32(u32::from_ne_bytes(tail.try_into().unwrap_or_default()));
    hasher.finish()
}

impl HeapBytes for IdMap {
    fn heap_bytes(&self) -> usize {
        let Self { addresses, keys, owners, by_address, by_key, seed: _ } = self;
        sum_heap_bytes([addresses, keys, owners, by_address, by_key])
    }
}

impl IdMap {
    /// Number of accounts.
    #[inline]
    pub fn account_count(&self) -> usize {
        self.addresses.len()
    }

    /// Number of slots.
    #[inline]
    pub fn slot_count(&self) -> usize {
        self.keys.len()
    }

    /// Addresses by id.
    #[inline]
    pub fn addresses(&self) -> &Column<AccountId, Address> {
        &self.addresses
    }

    /// Slot keys by id.
    #[inline]
    pub fn keys(&self) -> &Column<SlotId, U256> {
        &self.keys
    }

    /// The account that a slot belongs to, by slot id.
    #[inline]
    pub fn owners(&self) -> &Column<SlotId, AccountId> {
        &self.owners
    }

    /// The id of an address; `None` if the map does not contain it.
    #[inline]
    pub fn account(&self, address: &Address) -> Option<AccountId> {
        let hash = hash_address(&self.seed, address);
        self.by_address.find(hash, |id| self.addresses[*id] == *address).copied()
    }

    /// The id of a slot of `account`; `None` if the map does not contain it.
    #[inline]
    pub fn slot(&self, account: AccountId, key: &U256) -> Option<SlotId> {
        let hash = hash_slot(&self.seed, account, key);
        self.by_key.find(hash, |id| self.keys[*id] == *key && self.owners[*id] == account).copied()
    }

    /// Adds an account. The map must not contain its address yet.
    pub fn add_account(&mut self, address: Address) -> AccountId {
        let id = self.addresses.push(address);
        let (seed, addresses) = (&self.seed, &self.addresses);
        let hash = hash_address(seed, &address);
        self.by_address.insert_unique(hash, id, |id| hash_address(seed, &addresses[*id]));
        id
    }

    /// Adds a slot. The map must not contain it yet.
    pub fn add_slot(&mut self, account: AccountId, key: U256) -> SlotId {
        let id = self.keys.push(key);
        self.owners.push(account);
        let (seed, keys, owners) = (&self.seed, &self.keys, &self.owners);
        let hash = hash_slot(seed, account, &key);
        self.by_key.insert_unique(hash, id, |id| hash_slot(seed, owners[*id], &keys[*id]));
        id
    }

    /// Replaces the contents: ids are the positions in `addresses` and `keys`; `owners` holds the account of each slot.
    /// Addresses must be unique, and so must slots. The memory of the previous block is reused.
    pub fn fill<'a>(&mut self, addresses: &'a [Address], keys: &'a [U256], owners: &'a [AccountId]) {
        self.clear();
        let Self { addresses: own_addresses, keys: own_keys, owners: own_owners, by_address, by_key, seed } = self;
        own_addresses.as_mut_vec().extend_from_slice(addresses);
        own_keys.as_mut_vec().extend_from_slice(keys);
        own_owners.as_mut_vec().extend_from_slice(owners);
        by_address.reserve(addresses.len(), |id| hash_address(seed, &own_addresses[*id]));
        by_key.reserve(keys.len(), |id| hash_slot(seed, own_owners[*id], &own_keys[*id]));
        for (index, address) in addresses.iter().enumerate() {
            by_address.insert_unique(hash_address(seed, address), AccountId::new(index), |_| unreachable_hash());
        }
        for (index, (key, owner)) in keys.iter().zip(owners).enumerate() {
            by_key.insert_unique(hash_slot(seed, *owner, key), SlotId::new(index), |_| unreachable_hash());
        }
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.keys.clear();
        self.owners.clear();
        self.by_address.clear();
        self.by_key.clear();
    }
}

/// The hasher argument of insertions into a table that was reserved for all its entries: it never grows, so it never
/// rehashes an entry.
fn unreachable_hash() -> u64 {
    debug_assert!(false, "a reserved table does not grow");
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_keys_resolve_to_the_ids_that_they_were_given() {
        let mut id_map = IdMap::default();
        let addresses: Vec<_> = (0..500u64).map(|i| Address::left_padding_from(&i.to_be_bytes())).collect();
        let accounts: Vec<_> = addresses.iter().map(|address| id_map.add_account(*address)).collect();
        let slots: Vec<_> =
            (0..4_000u64).map(|i| id_map.add_slot(accounts[(i % 7) as usize], U256::from(i / 7))).collect();
        for (address, id) in addresses.iter().zip(&accounts) {
            assert_eq!(id_map.account(address), Some(*id));
        }
        for (i, id) in slots.iter().enumerate() {
            assert_eq!(id_map.slot(accounts[i % 7], &U256::from(i / 7)), Some(*id));
        }
        assert_eq!(id_map.slot(accounts[8], &U256::ZERO), None);

        let mut filled = IdMap::default();
        filled.fill(&addresses, id_map.keys().as_slice(), id_map.owners().as_slice());
        assert_eq!(filled.account(&addresses[77]), Some(AccountId(77)));
        assert_eq!(filled.slot(accounts[3], &U256::from(5)), Some(SlotId(38)));
    }
}
