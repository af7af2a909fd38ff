//! Resolution of stubs: reads a batch of nodes from the store, checks them and adds them to a
//! shard.
//!
//! In: hashes. Out: nodes in a shard. A node whose hash is wrong, that does not decode or that is
//! impossible at its position in the trie gives [`StoreError::Corrupt`]. Resolution is journaled
//! like any change: a rollback removes the nodes.

use super::TrieError;
use super::descent::{Descent, ROOT, Shards, Survivor};
use super::node::{Account, Extension, Item, Kind, Ref, set_nibble};
use super::shard::Shard;
use crate::arena::keccak::{Batch, Width};
use crate::arena::node::{Child, Node, Path, decode, decode_account, decode_slot};
use crate::arena::path::{KEY_NIBBLES, NodePath, NodeQuery};
use crate::arena::store::{EMPTY_ROOT, StateStore, StoreError};
use alloy_primitives::{B256, Bytes};

/// Reads nodes from the store and checks each against its hash.
///
/// # Errors
/// The store's error, or [`StoreError::Corrupt`] for a wrong hash.
pub(super) fn fetch(queries: &[NodeQuery], store: &dyn StateStore, width: Width) -> Result<Vec<Bytes>, StoreError> {
    let mut nodes = vec![Bytes::new(); queries.len()];
    if queries.is_empty() {
        return Ok(nodes);
    }
    store.trie_nodes(queries, &mut nodes)?;
    let mut digests = vec![B256::ZERO; queries.len()];
    let mut batch = Batch::new(width);
    for (row, node) in nodes.iter().enumerate() {
        batch.push(node, row, &mut digests);
    }
    batch.finish(&mut digests);
    match digests.iter().zip(queries).find(|(digest, query)| **digest != query.hash) {
        Some((digest, query)) => Err(StoreError::Corrupt(format!("trie node {} hashes to {digest}", query.hash))),
        None => Ok(nodes),
    }
}

fn misplaced() -> StoreError {
    StoreError::Corrupt("trie node: impossible at its position in the trie".into())
}

/// Copies `path` into `key` from nibble `at` on.
fn lay(key: &mut [u8; 32], path: &Path, at: usize) {
    for i in 0..path.len() {
        set_nibble(key, at + i, path.nibble(i));
    }
}

impl Shard {
    /// Decodes the node `rlp` into memory. The node is `depth` nibbles below its root along `key`,
    /// of which only the nibbles before `depth` are used. `accounts`: whether leaves are accounts
    /// or storage slots.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the node does not decode or is impossible at this position.
    pub(super) fn import(
        &mut self,
        rlp: &[u8],
        key: &[u8; 32],
        depth: usize,
        accounts: bool,
    ) -> Result<Ref, StoreError> {
        let mut key = *key;
        match decode(rlp)? {
            Node::Leaf { path, value } => {
                if depth + path.len() != KEY_NIBBLES {
                    return Err(misplaced());
                }
                lay(&mut key, &path, depth);
                if !accounts {
                    return Ok(self.new_slot(&B256::from(key), &decode_slot(value)?));
                }
                let leaf = decode_account(value)?;
                let storage = if leaf.storage_root == EMPTY_ROOT { Ref::NONE } else { Ref::STUB };
                let account = Account {
                    nonce: leaf.nonce,
                    balance: leaf.balance,
                    storage_root: leaf.storage_root,
                    code_hash: leaf.code_hash,
                    storage,
                };
                Ok(self.new_account(&key, &account))
            }
            Node::Extension { path, child } => {
                let end = depth + path.len();
                if end >= KEY_NIBBLES {
                    return Err(misplaced());
                }
                lay(&mut key, &path, depth);
                let (child, item) = self.import_child(child, &key, end, accounts)?;
                if child != Ref::STUB && !child.kind().is_branch() {
                    return Err(misplaced());
                }
                Ok(self.new_extension(Extension { key, start: depth as u8, end: end as u8, child, item }))
            }
            Node::Branch(children) => {
                if depth >= KEY_NIBBLES {
                    return Err(misplaced());
                }
                let present = (0..16u8).filter(|n| children[*n as usize] != Child::Empty);
                let branch = self.new_branch(present.clone().fold(0, |mask, n| mask | 1 << n));
                for n in present {
                    set_nibble(&mut key, depth, n);
                    let (child, item) = self.import_child(children[n as usize], &key, depth + 1, accounts)?;
                    self.set_ref(branch, n, child);
                    self.set_item(branch, n, &item);
                }
                Ok(branch)
            }
        }
    }

    fn import_child(
        &mut self,
        child: Child<'_>,
        key: &[u8; 32],
        depth: usize,
        accounts: bool,
    ) -> Result<(Ref, Item), StoreError> {
        match child {
            Child::Empty => Ok((Ref::NONE, Item::default())),
            Child::Hash(hash) => Ok((Ref::STUB, Item::hash(hash))),
            Child::Embedded(rlp) => Ok((self.import(rlp, key, depth, accounts)?, Item::embedded(rlp))),
        }
    }
}

impl Descent {
    /// Reads the nodes of the visits `stubs` from the store into memory.
    ///
    /// # Errors
    /// [`TrieError::Store`].
    pub(super) fn resolve(
        &mut self,
        shards: Shards<'_, '_>,
        stubs: &[u32],
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        if stubs.is_empty() {
            return Ok(());
        }
        let query = |v: &u32| {
            let visit = self.visits[*v as usize];
            let root = &self.roots[self.root_row(*v)];
            let hash = if visit.parent & ROOT != 0 {
                root.hash
            } else {
                let above = self.visits[visit.parent as usize].node;
                let shard = &shards[visit.shard as usize];
                let item = match above.kind() {
                    Kind::Extension => shard.extension(above).item,
                    _ => shard.branch(above).item(visit.nibble),
                };
                *item.as_hash().ok_or_else(misplaced)?
            };
            let path = NodePath::new(self.key_of(self.recs[visit.lo as usize]), visit.depth as usize);
            Ok(NodeQuery { owner: root.key, path, hash })
        };
        let queries: Vec<NodeQuery> = stubs.iter().map(query).collect::<Result<_, StoreError>>()?;
        let nodes = fetch(&queries, store, width)?;
        for (v, rlp) in stubs.iter().zip(&nodes) {
            let visit = self.visits[*v as usize];
            let shard = &mut *shards[visit.shard as usize];
            let key = *self.key_of(self.recs[visit.lo as usize]);
            let node = shard.import(rlp, &key, visit.depth as usize, self.accounts)?;
            let below_extension =
                visit.parent & ROOT == 0 && self.visits[visit.parent as usize].node.kind() == Kind::Extension;
            if below_extension && !node.kind().is_branch() {
                return Err(misplaced().into());
            }
            self.visits[*v as usize].node = node;
            self.attach(shard, *v as usize);
        }
        Ok(())
    }

    /// Reads the children that deletions left as only children from the store into memory.
    ///
    /// # Errors
    /// [`TrieError::Store`].
    pub(super) fn resolve_survivors(
        &mut self,
        shards: Shards<'_, '_>,
        survivors: &[Survivor],
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        let query = |survivor: &Survivor| {
            let visit = &self.visits[survivor.visit];
            let owner = self.roots[self.root_row(survivor.visit as u32)].key;
            let path = NodePath::new(self.key_of(self.recs[visit.lo as usize]), visit.depth as usize);
            NodeQuery { owner, path: path.child(survivor.nibble), hash: survivor.hash }
        };
        let queries: Vec<NodeQuery> = survivors.iter().map(query).collect();
        let nodes = fetch(&queries, store, width)?;
        for (survivor, rlp) in survivors.iter().zip(&nodes) {
            let visit = self.visits[survivor.visit];
            let shard = &mut *shards[visit.shard as usize];
            let mut key = self.key_of(self.recs[visit.lo as usize]).0;
            set_nibble(&mut key, visit.depth as usize, survivor.nibble);
            let node = shard.import(rlp, &key, visit.depth as usize + 1, self.accounts)?;
            shard.set_ref(visit.node, survivor.nibble, node);
        }
        Ok(())
    }
}

/// Reads a node one nibble below a root that is distributed over the shards from the store into
/// memory.
///
/// # Errors
/// [`StoreError`].
pub(super) fn resolve_below_top(
    shard: &mut Shard,
    hash: &B256,
    owner: B256,
    first: u8,
    store: &dyn StateStore,
    width: Width,
) -> Result<Ref, StoreError> {
    let path = NodePath::default().child(first);
    let nodes = fetch(&[NodeQuery { owner, path, hash: *hash }], store, width)?;
    shard.import(&nodes[0], &path.nibbles, 1, owner == B256::ZERO)
}
