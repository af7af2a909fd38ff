//! Merkle proofs and execution witnesses: the nodes that prove the value of a key, and those that a
//! block needs.
//!
//! In: tries, and a store for nodes that are not in memory. Out: RLP of nodes, from the root down.
//! Proofs have the shape of `eth_getProof`; a witness is the set of nodes from which
//! [`StateTries::from_root`] over a [`WitnessStore`](crate::arena::store::WitnessStore) can answer
//! every read of a block and compute its state root: the paths of everything accessed, and the
//! children that deletions leave as only children.
//! Not here: codes and ancestor headers.

use super::error::TrieError;
use super::hash::encode;
use super::input::HashedKeys;
use super::node::{Kind, Ref};
use super::resolve::fetch;
use super::top::{SHARDS, Top};
use super::tries::StateTries;
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::{hash_addresses, hash_slots, keccak256};
use crate::arena::node::{LeafAccount, Step, decode_account, decode_slot, nibble, step};
use crate::arena::path::{KEY_NIBBLES, NodePath, NodeQuery};
use crate::arena::store::{EMPTY_ROOT, SlotQuery, StateStore, StoreError};
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use hashbrown::HashSet;

/// Proof of one storage slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The key, unhashed.
    pub key: U256,
    /// The value; zero if the slot is not in the trie.
    pub value: U256,
    /// RLP of nodes from the storage root down; empty for an account without storage.
    pub nodes: Vec<Bytes>,
}

/// Proof of one account and some of its slots (`eth_getProof`, EIP-1186).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account.
    pub address: Address,
    /// The account's leaf; `None` if it does not exist.
    pub account: Option<LeafAccount>,
    /// RLP of nodes from the state root down.
    pub nodes: Vec<Bytes>,
    /// Proofs of the requested slots, in order.
    pub slots: Vec<SlotProof>,
}

/// Why a proof is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A node's hash is not the one in its parent, or not the root.
    #[error("proof node {position} does not hash to {expected}")]
    WrongNode {
        /// Position in the proof, from 0.
        position: usize,
        /// The hash in the parent, or the root.
        expected: B256,
    },
    /// The path continues below the last node.
    #[error("incomplete proof: the node {0} is missing")]
    Incomplete(B256),
    /// Nodes follow after the end of the path.
    #[error("the proof has nodes after the end of the path")]
    Surplus,
    /// A node does not decode.
    #[error(transparent)]
    Malformed(#[from] StoreError),
}

/// Follows `key` through the nodes of a proof.
fn verify<'a>(root: &B256, key: &B256, nodes: &'a [Bytes]) -> Result<Option<&'a [u8]>, ProofError> {
    if *root == EMPTY_ROOT && nodes.is_empty() {
        return Ok(None);
    }
    let (mut expected, mut depth) = (*root, 0);
    for (position, node) in nodes.iter().enumerate() {
        if keccak256(node) != expected {
            return Err(ProofError::WrongNode { position, expected });
        }
        match step(node, key, depth)? {
            Step::Below { hash, depth: below } => (expected, depth) = (*hash, below),
            _ if position + 1 < nodes.len() => return Err(ProofError::Surplus),
            Step::Absent => return Ok(None),
            Step::Value(value) => return Ok(Some(value)),
        }
    }
    Err(ProofError::Incomplete(expected))
}

/// Verifies a proof of an account in the state with root `state_root`. Returns `None` if the
/// account does not exist.
///
/// # Errors
/// [`ProofError`] if the proof is invalid.
pub fn verify_account(
    state_root: &B256,
    address: &Address,
    nodes: &[Bytes],
) -> Result<Option<LeafAccount>, ProofError> {
    Ok(verify(state_root, &keccak256(address), nodes)?.map(decode_account).transpose()?)
}

/// Verifies a proof of a slot in the storage trie with root `storage_root`. Returns zero if the
/// slot is absent.
///
/// # Errors
/// [`ProofError`] if the proof is invalid.
pub fn verify_slot(storage_root: &B256, key: &U256, nodes: &[Bytes]) -> Result<U256, ProofError> {
    let value = verify(storage_root, &keccak256(key.to_be_bytes::<32>()), nodes)?;
    Ok(value.map(decode_slot).transpose()?.unwrap_or_default())
}

/// Nodes collected so far, each once.
#[derive(Default)]
struct Gathered {
    seen: HashSet<B256, RandomState>,
    nodes: Vec<Bytes>,
}

impl Gathered {
    fn add(&mut self, hash: &B256, node: impl FnOnce() -> Bytes) {
        if self.seen.insert(*hash) {
            self.nodes.push(node());
        }
    }
}

/// A subtrie: its top node with hash and depth, and its shard.
#[derive(Clone, Copy)]
struct Place {
    /// Hashed address of the storage trie's account; zero for the account trie.
    owner: B256,
    shard: usize,
    node: Ref,
    hash: B256,
    depth: usize,
}

impl StateTries {
    /// Adds the nodes of a storage trie along `key` that start above nibble `end`.
    fn gather_storage(
        &self,
        place: Place,
        key: &B256,
        end: usize,
        store: &dyn StateStore,
        out: &mut Gathered,
    ) -> Result<(), StoreError> {
        match place.node.kind() {
            Kind::Wide => self.gather_top(place.owner, self.wide.get(place.node), key, end, store, out),
            _ => self.gather(place, key, end, store, out),
        }
    }

    /// Adds the nodes along `key` that start above nibble `end`, from `place` down.
    fn gather(
        &self,
        place: Place,
        key: &B256,
        end: usize,
        store: &dyn StateStore,
        out: &mut Gathered,
    ) -> Result<(), StoreError> {
        let Place { owner, shard, mut node, mut hash, mut depth } = place;
        let shard = &self.shards[shard];
        let mut own = true;
        while depth <= end {
            if own && !matches!(node.kind(), Kind::None | Kind::Stub) {
                out.add(&hash, || {
                    let mut rlp = Vec::new();
                    encode(shard, node, depth, &mut rlp);
                    rlp.into()
                });
            }
            let item = match node.kind() {
                Kind::Stub => return self.gather_stored(owner, (hash, depth), key, end, store, out),
                Kind::None | Kind::Wide | Kind::Slot | Kind::Plain | Kind::Contract => return Ok(()),
                Kind::Extension => {
                    let extension = shard.extension(node);
                    if (depth..extension.end as usize).any(|i| nibble(&extension.key, i) != nibble(key, i)) {
                        return Ok(());
                    }
                    (node, depth) = (extension.child, extension.end as usize);
                    extension.item
                }
                _ if depth == KEY_NIBBLES => return Ok(()),
                _ => {
                    let branch = shard.branch(node);
                    let n = nibble(key, depth);
                    if branch.child(n) == Ref::NONE {
                        return Ok(());
                    }
                    (node, depth) = (branch.child(n), depth + 1);
                    branch.item(n)
                }
            };
            own = item.as_hash().is_some();
            hash = item.as_hash().copied().unwrap_or_default();
        }
        Ok(())
    }

    /// As [`Self::gather`], in the store, from the node with this hash and depth down.
    fn gather_stored(
        &self,
        owner: B256,
        (mut hash, mut depth): (B256, usize),
        key: &B256,
        end: usize,
        store: &dyn StateStore,
        out: &mut Gathered,
    ) -> Result<(), StoreError> {
        while depth <= end {
            let query = NodeQuery { owner, path: NodePath::new(key, depth), hash };
            let node = fetch(&[query], store, self.width)?.pop().unwrap_or_default();
            out.add(&hash, || node.clone());
            match step(&node, key, depth)? {
                Step::Below { hash: below, depth: further } => (hash, depth) = (*below, further),
                Step::Absent | Step::Value(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Adds the nodes of the account trie along a hashed address.
    fn gather_account(
        &self,
        key: &B256,
        end: usize,
        store: &dyn StateStore,
        out: &mut Gathered,
    ) -> Result<(), StoreError> {
        self.gather_top(B256::ZERO, &self.top, key, end, store, out)
    }

    fn gather_top(
        &self,
        owner: B256,
        top: &Top,
        key: &B256,
        end: usize,
        store: &dyn StateStore,
        out: &mut Gathered,
    ) -> Result<(), StoreError> {
        if top.root == EMPTY_ROOT {
            return Ok(());
        }
        let single = top.single();
        if top.stub || single.is_some_and(|n| top.nodes[n] == Ref::STUB) {
            return self.gather_stored(owner, (top.root, 0), key, end, store, out);
        }
        out.add(&top.root, || top.encode(&self.shards).into());
        let n = nibble(key, 0) as usize;
        debug_assert!(n < SHARDS);
        let mut place = Place { owner, shard: n, node: top.nodes[n], hash: top.hashes[n], depth: 1 };
        if single == Some(n) && place.node.kind() == Kind::Extension {
            // The root is this extension with one more nibble at the front.
            let extension = self.shards[n].extension(place.node);
            if (1..extension.end as usize).any(|i| nibble(&extension.key, i) != nibble(key, i)) {
                return Ok(());
            }
            let hash = extension.item.as_hash().copied().unwrap_or_default();
            place = Place { node: extension.child, hash, depth: extension.end as usize, ..place };
        } else if single == Some(n) && place.node.kind().is_leaf() {
            return Ok(());
        }
        self.gather(place, key, end, store, out)
    }

    /// The tops of the storage tries of hashed addresses.
    fn storage_places(&self, keys: &[B256], store: &dyn StateStore) -> Result<Vec<Place>, StoreError> {
        let accounts = self.find_accounts(store, keys)?;
        let place = |(account, key): (Option<super::node::Account>, &B256)| {
            let account = account.unwrap_or_default();
            let (shard, node) = (nibble(key, 0) as usize, account.storage);
            Place { owner: *key, shard, node, hash: account.storage_root, depth: 0 }
        };
        Ok(accounts.into_iter().zip(keys).map(place).collect())
    }

    /// Makes a proof of an account and some of its slots, uncommitted updates included.
    ///
    /// # Errors
    /// [`StoreError`] if a node of a path is neither in memory nor in the store.
    pub fn prove(&self, store: &dyn StateStore, address: &Address, keys: &[U256]) -> Result<AccountProof, StoreError> {
        let hashed = keccak256(address);
        let account = self.find_accounts(store, &[hashed])?[0];
        let mut nodes = Gathered::default();
        self.gather_account(&hashed, KEY_NIBBLES, store, &mut nodes)?;
        let place = self.storage_places(&[hashed], store)?[0];
        let queries: Vec<SlotQuery> = keys.iter().map(|key| SlotQuery { address: *address, key: *key }).collect();
        let mut values = vec![U256::ZERO; keys.len()];
        self.slots(store, &queries, &mut values)?;
        let mut slots = Vec::with_capacity(keys.len());
        for (key, value) in keys.iter().zip(values) {
            let mut nodes = Gathered::default();
            self.gather_storage(place, &keccak256(key.to_be_bytes::<32>()), KEY_NIBBLES, store, &mut nodes)?;
            slots.push(SlotProof { key: *key, value, nodes: nodes.nodes });
        }
        let account = account.map(|account| LeafAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: account.storage_root,
            code_hash: account.code_hash,
        });
        Ok(AccountProof { address: *address, account, nodes: nodes.nodes, slots })
    }

    /// The nodes of the present state needed by a block that reads `addresses` and `slots` and
    /// makes `changes`; each once, in unspecified order. The tries do not change.
    ///
    /// # Errors
    /// [`TrieError`] if the changes cannot be applied.
    pub fn witness(
        &mut self,
        store: &dyn StateStore,
        addresses: &[Address],
        slots: &[SlotQuery],
        changes: &StateChanges,
    ) -> Result<Vec<Bytes>, TrieError> {
        self.witness_of(store, addresses, slots, changes, None)
    }

    /// [`Self::witness`], with the hashes of the keys of `update` if the caller has them.
    pub(super) fn witness_of(
        &mut self,
        store: &dyn StateStore,
        addresses: &[Address],
        slots: &[SlotQuery],
        update: &StateChanges,
        hashed: Option<HashedKeys<'_>>,
    ) -> Result<Vec<Bytes>, TrieError> {
        let survivors = self.survivors(update, hashed, store)?;
        let mut out = Gathered::default();

        let mut keys = vec![B256::ZERO; addresses.len()];
        hash_addresses(self.width, addresses, &mut keys);
        match hashed {
            Some(hashed) => keys.extend_from_slice(hashed.addresses),
            None => {
                keys.resize(addresses.len() + update.addresses.len(), B256::ZERO);
                hash_addresses(self.width, &update.addresses, &mut keys[addresses.len()..]);
            }
        }
        for key in &keys {
            self.gather_account(key, KEY_NIBBLES, store, &mut out)?;
        }

        // Slots of the update, each with its account, then the slots that are only read.
        let updated = &keys[addresses.len()..];
        let mut owners: Vec<B256> = Vec::new();
        let mut slot_keys: Vec<B256> = vec![B256::ZERO; update.slot_keys.len()];
        match hashed {
            Some(hashed) => slot_keys.copy_from_slice(hashed.slots),
            None => hash_slots(self.width, &update.slot_keys, &mut slot_keys),
        }
        let mut wanted: Vec<(usize, B256)> = Vec::with_capacity(slot_keys.len() + slots.len());
        let kept = |i: &usize| update.statuses[*i] == AccountStatus::Kept;
        for (i, owner) in updated.iter().enumerate().filter(|(i, _)| kept(i)) {
            let rows = update.slot_starts[i] as usize..update.slot_starts[i + 1] as usize;
            wanted.extend(slot_keys[rows].iter().map(|key| (owners.len(), *key)));
            owners.push(*owner);
        }
        let mut last = None;
        for slot in slots {
            if last != Some(slot.address) {
                let owner = keccak256(slot.address);
                self.gather_account(&owner, KEY_NIBBLES, store, &mut out)?;
                owners.push(owner);
                last = Some(slot.address);
            }
            wanted.push((owners.len() - 1, keccak256(slot.key.to_be_bytes::<32>())));
        }
        let places = self.storage_places(&owners, store)?;
        for (owner, key) in &wanted {
            self.gather_storage(places[*owner], key, KEY_NIBBLES, store, &mut out)?;
        }

        for (owner, path) in survivors {
            let (key, end) = (B256::from(path.nibbles), path.len as usize);
            if owner == B256::ZERO {
                self.gather_account(&key, end, store, &mut out)?;
            } else {
                let place = self.storage_places(&[owner], store)?[0];
                self.gather_storage(place, &key, end, store, &mut out)?;
            }
        }
        Ok(out.nodes)
    }

    /// Owner and path of each child that the update's deletions leave as an only child, which must
    /// be known to collapse its branch. The tries do not change.
    fn survivors(
        &mut self,
        update: &StateChanges,
        hashed: Option<HashedKeys<'_>>,
        store: &dyn StateStore,
    ) -> Result<Vec<(B256, NodePath)>, TrieError> {
        let changes = self.changes.take();
        let mut tries = self.parts();
        let saved = tries.begin();
        let result = tries.update(update, hashed, store);
        let survivors = tries.scratch.survivors();
        tries.undo(saved);
        self.changes = changes;
        result.map(|_| survivors)
    }
}
