//! A store over an execution witness: trie nodes by hash, codes, ancestor headers.
//!
//! In: the bytes of a witness, in any order. Out: accounts and slots, looked up through the trie
//! nodes from the parent state root.
//! The witness is untrusted. Nodes and codes are keyed by hashes computed here, so a forged node or
//! code is unreachable, and the genuine one is reported as missing. Block hashes are not
//! checked here.
//! Not here: which nodes a block needs (`trie` produces and checks witnesses).

use super::{EMPTY_ROOT, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::arena::keccak::{Batch, Width, hash_addresses, hash_slots, keccak256};
use crate::arena::node::{At, LeafAccount, Walk, decode_account, decode_slot, walk_all};
use crate::arena::path::NodeQuery;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, RandomState>;

/// A state store over the content of a `debug_executionWitness` response: nodes of the parent
/// state's tries, keyed by their keccak256.
#[derive(Clone, Debug, Default)]
pub struct WitnessStore {
    state_root: B256,
    nodes: Map<B256, Bytes>,
    codes: Map<B256, Bytes>,
    block_hashes: Map<u64, B256>,
}

/// A map from keccak256 to bytes; hashes are computed in batches.
fn by_hash(bytes: Vec<Bytes>) -> Map<B256, Bytes> {
    let mut hashes = vec![B256::ZERO; bytes.len()];
    let mut batch = Batch::new(Width::detect());
    for (row, message) in bytes.iter().enumerate() {
        batch.push(message, row, &mut hashes);
    }
    batch.finish(&mut hashes);
    hashes.into_iter().zip(bytes).collect()
}

impl WitnessStore {
    /// A store of the parent state with root `state_root`, over trie nodes (state trie and storage tries alike) and
    /// codes in any order.
    pub fn new(
        state_root: B256,
        nodes: impl IntoIterator<Item = Bytes>,
        codes: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        Self {
            state_root,
            nodes: by_hash(nodes.into_iter().collect()),
            codes: by_hash(codes.into_iter().collect()),
            block_hashes: Map::default(),
        }
    }

    /// Adds trie nodes, in any order.
    pub fn insert_nodes(&mut self, nodes: impl IntoIterator<Item = Bytes>) {
        self.nodes.extend(by_hash(nodes.into_iter().collect()));
    }

    /// Adds a code and returns its hash.
    pub fn insert_code(&mut self, code: Bytes) -> B256 {
        let hash = keccak256(&code);
        self.codes.insert(hash, code);
        hash
    }

    /// Sets the hash that BLOCKHASH gives for `number`.
    pub fn insert_block_hash(&mut self, number: u64, hash: B256) {
        self.block_hashes.insert(number, hash);
    }

    /// Root of the parent state.
    pub fn state_root(&self) -> B256 {
        self.state_root
    }

    /// Number of distinct trie nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn fetch(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        for (node, out) in nodes.iter().zip(out) {
            *out = self.nodes.get(&node.hash).cloned().ok_or(StoreError::MissingNode(node.hash))?;
        }
        Ok(())
    }

    /// Follows all walks to their ends; `place` returns the account or slot on whose path a walk is.
    fn walk(&self, walks: &mut [Walk], place: impl Fn(usize) -> (Address, Option<U256>)) -> Result<(), StoreError> {
        let missing = match walk_all(walks, |nodes, out| self.fetch(nodes, out)) {
            Err(StoreError::MissingNode(hash)) => hash,
            result => return result,
        };
        let stopped = walks.iter().enumerate().find_map(|(row, walk)| match walk.at {
            At::Below { hash, depth } if hash == missing => Some((row, depth)),
            _ => None,
        });
        let (row, depth) = stopped.ok_or(StoreError::MissingNode(missing))?;
        let (address, slot) = place(row);
        Err(StoreError::MissingPath { hash: missing, depth, address, slot })
    }

    /// Leaves of the accounts with these addresses, in order.
    fn leaves(&self, addresses: &[Address]) -> Result<Vec<Option<LeafAccount>>, StoreError> {
        let mut keys = vec![B256::ZERO; addresses.len()];
        hash_addresses(Width::detect(), addresses, &mut keys);
        let mut walks: Vec<Walk> =
            keys.into_iter().map(|key| Walk::from_root(B256::ZERO, &self.state_root, key)).collect();
        self.walk(&mut walks, |row| (addresses[row], None))?;
        let leaf = |walk: &Walk| match &walk.at {
            At::Value(value) => decode_account(value).map(Some),
            At::Absent | At::Below { .. } => Ok(None),
        };
        walks.iter().map(leaf).collect()
    }
}

impl StateStore for WitnessStore {
    fn is_resident(&self) -> bool {
        true
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        for (leaf, out) in self.leaves(addresses)?.into_iter().zip(out) {
            *out = leaf.map_or_else(ParentAccount::default, |leaf| ParentAccount {
                exists: true,
                nonce: leaf.nonce,
                balance: leaf.balance,
                code_hash: leaf.code_hash,
                has_storage: leaf.storage_root != EMPTY_ROOT,
            });
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        // Queries usually come grouped by account: each group looks up its storage root once.
        let mut owners: Vec<Address> = slots.iter().map(|slot| slot.address).collect();
        owners.dedup();
        let leaves = self.leaves(&owners)?;
        let mut owner_keys = vec![B256::ZERO; owners.len()];
        hash_addresses(Width::detect(), &owners, &mut owner_keys);

        let slot_keys: Vec<U256> = slots.iter().map(|slot| slot.key).collect();
        let mut keys = vec![B256::ZERO; slots.len()];
        hash_slots(Width::detect(), &slot_keys, &mut keys);
        let mut owner = 0;
        let mut walks: Vec<Walk> = Vec::with_capacity(slots.len());
        for (slot, key) in slots.iter().zip(keys) {
            owner += usize::from(owners[owner] != slot.address);
            let root = leaves[owner].map_or(EMPTY_ROOT, |leaf| leaf.storage_root);
            walks.push(Walk::from_root(owner_keys[owner], &root, key));
        }
        self.walk(&mut walks, |row| (slots[row].address, Some(slots[row].key)))?;
        for (walk, out) in walks.iter().zip(out) {
            *out = match &walk.at {
                At::Value(value) => decode_slot(value)?,
                At::Absent | At::Below { .. } => U256::ZERO,
            };
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        for (hash, out) in hashes.iter().zip(out) {
            *out = self.codes.get(hash).cloned();
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        for (number, out) in numbers.iter().zip(out) {
            *out = *self.block_hashes.get(number).ok_or(StoreError::MissingBlockHash(*number))?;
        }
        Ok(())
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.fetch(nodes, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_node_is_named_with_the_account_or_the_slot() {
        let (address, other) = (Address::repeat_byte(7), Address::repeat_byte(8));
        let missing = B256::repeat_byte(0xaa);
        let store = WitnessStore::new(missing, [], []);
        let error = store.accounts(&[address, other], &mut [ParentAccount::default(); 2]);
        assert_eq!(error, Err(StoreError::MissingPath { hash: missing, depth: 0, address, slot: None }));

        // One leaf, an account whose storage is not in the witness: nonce 0, balance 0, no code.
        let mut leaf = vec![0xf8, 0x44, 0x80, 0x80, 0xa0];
        leaf.extend(missing);
        leaf.push(0xa0);
        leaf.extend(super::super::KECCAK_EMPTY);
        let mut node = vec![0xf8, 0x6a, 0xa1, 0x20];
        node.extend(keccak256(address));
        node.extend([0xb8, 0x46]);
        node.extend(leaf);
        let store = WitnessStore::new(keccak256(&node), [node.into()], []);
        let key = U256::from(5);
        let error = store.slots(&[SlotQuery { address, key }], &mut [U256::ZERO]).expect_err("the storage is missing");
        assert_eq!(error, StoreError::MissingPath { hash: missing, depth: 0, address, slot: Some(key) });
        let text = error.to_string();
        assert!(text.contains(&format!("0 nibbles down the path of slot 0x5 of account {address}")), "{text}");
    }
}
