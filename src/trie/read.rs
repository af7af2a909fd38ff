//! Reads of accounts and slots from the tries, and from the store's trie nodes where a path leaves
//! memory.
//!
//! In: addresses and keys. Out: their values, uncommitted updates included. The tries do not
//! change: parts of paths that are not in memory are followed through nodes of the store, all keys
//! together, level by level, and these nodes are not kept.

use super::StateTries;
use super::node::{Account, Kind, Ref};
use super::resolve::fetch;
use super::shard::Shard;
use super::top::Top;
use crate::arena::keccak::{hash_addresses, hash_slots};
use crate::arena::node::{At, Walk, decode_account, decode_slot, nibble, walk_all};
use crate::arena::path::KEY_NIBBLES;
use crate::arena::store::{EMPTY_ROOT, ParentAccount, SlotQuery, StateStore, StoreError};
use alloy_primitives::{Address, B256, U256};

/// Where a path through the nodes in memory ends.
enum Found {
    Leaf(Ref),
    Absent,
    /// At a node that is only in the store.
    Below {
        hash: B256,
        depth: usize,
    },
}

/// Follows `key` from `node`, which is `depth` nibbles below its root and has the hash `hash`.
fn find(shard: &Shard, mut node: Ref, mut hash: B256, mut depth: usize, key: &B256) -> Found {
    loop {
        match node.kind() {
            Kind::None | Kind::Wide => return Found::Absent,
            Kind::Stub => return Found::Below { hash, depth },
            Kind::Slot | Kind::Plain | Kind::Contract => {
                return if shard.leaf_key(node) == &key.0 { Found::Leaf(node) } else { Found::Absent };
            }
            Kind::Extension => {
                let extension = shard.extension(node);
                let end = extension.end as usize;
                if (depth..end).any(|i| nibble(&extension.key, i) != nibble(key, i)) {
                    return Found::Absent;
                }
                hash = extension.item.as_hash().copied().unwrap_or_default();
                (node, depth) = (extension.child, end);
            }
            Kind::Branch1 | Kind::Branch2 | Kind::Branch3 | Kind::Branch4 => {
                debug_assert!(depth < KEY_NIBBLES);
                let branch = shard.branch(node);
                let n = nibble(key, depth);
                node = branch.child(n);
                if node == Ref::STUB {
                    hash = branch.item(n).as_hash().copied().unwrap_or_default();
                }
                depth += 1;
            }
        }
    }
}

impl Top {
    /// Follows `key` from the root; the shard is that of its first nibble.
    fn find(&self, shards: &[Shard], key: &B256) -> Found {
        if self.stub {
            return Found::Below { hash: self.root, depth: 0 };
        }
        let n = nibble(key, 0) as usize;
        find(&shards[n], self.nodes[n], self.hashes[n], 1, key)
    }
}

/// Storage trie of one account: its shard, top node and root hash.
#[derive(Clone, Copy)]
struct Storage {
    shard: usize,
    node: Ref,
    root: B256,
}

impl StateTries {
    fn walk_store(&self, walks: &mut [Walk], store: &dyn StateStore) -> Result<(), StoreError> {
        walk_all(walks, |nodes, out| {
            out.clone_from_slice(&fetch(nodes, store, self.width)?);
            Ok(())
        })
    }

    /// The accounts of hashed addresses.
    pub(super) fn find_accounts(
        &self,
        store: &dyn StateStore,
        keys: &[B256],
    ) -> Result<Vec<Option<Account>>, StoreError> {
        let mut accounts = vec![None; keys.len()];
        let (mut walks, mut rows) = (Vec::new(), Vec::new());
        for (row, key) in keys.iter().enumerate() {
            match self.top.find(&self.shards, key) {
                Found::Leaf(node) => accounts[row] = Some(self.shards[nibble(key, 0) as usize].account(node)),
                Found::Absent => {}
                Found::Below { hash, depth } => {
                    walks.push(Walk { owner: B256::ZERO, key: *key, at: At::Below { hash, depth } });
                    rows.push(row);
                }
            }
        }
        self.walk_store(&mut walks, store)?;
        for (walk, row) in walks.iter().zip(rows) {
            if let At::Value(value) = &walk.at {
                let leaf = decode_account(value)?;
                let storage = if leaf.storage_root == EMPTY_ROOT { Ref::NONE } else { Ref::STUB };
                accounts[row] = Some(Account {
                    nonce: leaf.nonce,
                    balance: leaf.balance,
                    storage_root: leaf.storage_root,
                    code_hash: leaf.code_hash,
                    storage,
                });
            }
        }
        Ok(accounts)
    }

    /// Reads accounts by address, uncommitted updates included. Nodes that are not in memory are
    /// read from the store and not kept.
    ///
    /// # Errors
    /// [`StoreError`] if the store lacks a node or returns a wrong one.
    ///
    /// # Panics
    /// When the two slices differ in length.
    pub fn accounts(
        &self,
        store: &dyn StateStore,
        addresses: &[Address],
        out: &mut [ParentAccount],
    ) -> Result<(), StoreError> {
        assert_eq!(addresses.len(), out.len(), "one answer per question");
        let mut keys = vec![B256::ZERO; addresses.len()];
        hash_addresses(self.width, addresses, &mut keys);
        for (account, out) in self.find_accounts(store, &keys)?.into_iter().zip(out) {
            *out = account.map_or_else(ParentAccount::default, |account| ParentAccount {
                exists: true,
                nonce: account.nonce,
                balance: account.balance,
                code_hash: account.code_hash,
                has_storage: account.storage_root != EMPTY_ROOT,
            });
        }
        Ok(())
    }

    /// Reads slot values by address and key, uncommitted updates included. Consecutive queries of
    /// the same account are faster, as its account is then looked up once.
    ///
    /// # Errors
    /// [`StoreError`] if the store lacks a node or returns a wrong one.
    ///
    /// # Panics
    /// When the two slices differ in length.
    pub fn slots(&self, store: &dyn StateStore, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        assert_eq!(slots.len(), out.len(), "one answer per question");
        let mut owners: Vec<Address> = slots.iter().map(|slot| slot.address).collect();
        owners.dedup();
        let mut owner_keys = vec![B256::ZERO; owners.len()];
        hash_addresses(self.width, &owners, &mut owner_keys);
        let accounts = self.find_accounts(store, &owner_keys)?;
        let storage: Vec<Storage> = accounts
            .iter()
            .zip(&owner_keys)
            .map(|(account, key)| {
                let account = account.unwrap_or_default();
                Storage { shard: nibble(key, 0) as usize, node: account.storage, root: account.storage_root }
            })
            .collect();

        let slot_keys: Vec<U256> = slots.iter().map(|slot| slot.key).collect();
        let mut keys = vec![B256::ZERO; slots.len()];
        hash_slots(self.width, &slot_keys, &mut keys);
        let (mut walks, mut rows) = (Vec::new(), Vec::new());
        let mut owner = 0;
        for (row, (slot, key)) in slots.iter().zip(&keys).enumerate() {
            owner += usize::from(owners[owner] != slot.address);
            let Storage { mut shard, node, root } = storage[owner];
            let found = if node.kind() == Kind::Wide {
                shard = nibble(key, 0) as usize;
                self.wide.get(node).find(&self.shards, key)
            } else {
                find(&self.shards[shard], node, root, 0, key)
            };
            match found {
                Found::Leaf(node) => out[row] = self.shards[shard].slot_value(node),
                Found::Absent => out[row] = U256::ZERO,
                Found::Below { hash, depth } => {
                    walks.push(Walk { owner: owner_keys[owner], key: *key, at: At::Below { hash, depth } });
                    rows.push(row);
                }
            }
        }
        self.walk_store(&mut walks, store)?;
        for (walk, row) in walks.iter().zip(rows) {
            out[row] = match &walk.at {
                At::Value(value) => decode_slot(value)?,
                At::Absent | At::Below { .. } => U256::ZERO,
            };
        }
        Ok(())
    }
}
