//! What an update leaves for a client to write: changed nodes, vacated places, account leaves.
//!
//! In: the visits of an update, hashed. Out: [`NodeChanges`], a log as columns. Applied in order to a store by path
//! it leaves exactly the nodes of the new tries; a store by hash takes the rows with a node and ignores the others.
//! Not here: writing anything.

use super::descent::{CLEAN, DEAD, Descent, ROOT, TOOK_OVER, Visit};
use super::hash::encode;
use super::node::{Account, Item, Kind, Ref};
use super::path::NodePath;
use super::shard::Shard;
use super::top::{SHARDS, Top};
use crate::arena::keccak::keccak256;
use crate::arena::node::LeafAccount;
use alloy_primitives::B256;

/// What a row of [`NodeChanges`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node is at that path from now on.
    Put,
    /// No node of its own is at that path any more (it is gone, has moved, or is embedded in its parent).
    Delete,
    /// All nodes of that account's storage trie are gone.
    Wipe,
}

/// A log of changes to all tries, as columns of equal length, and the changed account leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChanges {
    /// What happened.
    pub changes: Vec<Change>,
    /// Hashed address of the storage trie's account; zero for the account trie.
    pub owners: Vec<B256>,
    /// Where.
    pub paths: Vec<NodePath>,
    /// keccak256 of the node; zero unless [`Change::Put`].
    pub hashes: Vec<B256>,
    /// End of the node's RLP in `rlp`; it starts where that of the row before ends.
    pub rlp_ends: Vec<u32>,
    /// The nodes, one after the other.
    pub rlp: Vec<u8>,
    /// Hashed addresses of changed account leaves.
    pub account_keys: Vec<B256>,
    /// Their new content; `None` where the account is gone. As long as `account_keys`.
    pub accounts: Vec<Option<LeafAccount>>,
}

impl NodeChanges {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// RLP of the node of row `row`; empty unless [`Change::Put`].
    ///
    /// # Panics
    /// When there is no such row.
    pub fn node(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.rlp_ends[row - 1] as usize };
        &self.rlp[start..self.rlp_ends[row] as usize]
    }

    fn push(&mut self, change: Change, owner: B256, path: NodePath, hash: B256) {
        self.changes.push(change);
        self.owners.push(owner);
        self.paths.push(path);
        self.hashes.push(hash);
        self.rlp_ends.push(self.rlp.len() as u32);
    }

    pub(super) fn wipe(&mut self, owner: B256) {
        self.push(Change::Wipe, owner, NodePath::default(), B256::ZERO);
    }

    pub(super) fn delete(&mut self, owner: B256, path: NodePath) {
        self.push(Change::Delete, owner, path, B256::ZERO);
    }

    pub(super) fn account(&mut self, key: B256, account: Option<&Account>) {
        self.account_keys.push(key);
        self.accounts.push(account.map(|account| LeafAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: account.storage_root,
            code_hash: account.code_hash,
        }));
    }

    /// Adds a node as it stands; one that is embedded in its parent has no place of its own.
    fn put(&mut self, owner: B256, path: NodePath, shard: &Shard, node: Ref, hash: Option<B256>) {
        let start = self.rlp.len();
        encode(shard, node, path.len as usize, &mut self.rlp);
        if self.rlp.len() - start < 32 && path.len > 0 {
            self.rlp.truncate(start);
            return self.delete(owner, path);
        }
        let hash = hash.unwrap_or_else(|| keccak256(&self.rlp[start..]));
        self.push(Change::Put, owner, path, hash);
    }

    fn put_rlp(&mut self, owner: B256, path: NodePath, rlp: &[u8], hash: B256) {
        self.rlp.extend_from_slice(rlp);
        self.push(Change::Put, owner, path, hash);
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.owners.clear();
        self.paths.clear();
        self.hashes.clear();
        self.rlp_ends.clear();
        self.rlp.clear();
        self.account_keys.clear();
        self.accounts.clear();
    }

    /// Moves all rows of `other` to the end.
    pub(super) fn append(&mut self, other: &mut Self) {
        let base = self.rlp.len() as u32;
        self.changes.append(&mut other.changes);
        self.owners.append(&mut other.owners);
        self.paths.append(&mut other.paths);
        self.hashes.append(&mut other.hashes);
        self.rlp_ends.extend(other.rlp_ends.drain(..).map(|end| base + end));
        self.rlp.append(&mut other.rlp);
        self.account_keys.append(&mut other.account_keys);
        self.accounts.append(&mut other.accounts);
    }
}

impl Descent {
    /// The path of a visit.
    pub(super) fn path_of(&self, visit: &Visit) -> NodePath {
        if visit.lo < visit.hi {
            return NodePath::new(self.key_of(self.recs[visit.lo as usize]), visit.depth as usize);
        }
        // A visit without keys is a part of something broken up by the keys of the visit above.
        let above = &self.visits[visit.parent as usize];
        let path = NodePath::new(self.key_of(self.recs[above.lo as usize]), above.depth as usize);
        path.child(visit.nibble)
    }

    /// The row of `roots` that a visit's trie hangs on.
    pub(super) fn root_row(&self, v: u32) -> usize {
        let mut visit = &self.visits[v as usize];
        while visit.parent & ROOT == 0 {
            visit = &self.visits[visit.parent as usize];
        }
        (visit.parent & !ROOT) as usize
    }

    /// Logs every visit.
    pub(super) fn log(&self, shards: &[&mut Shard], changes: &mut NodeChanges) {
        let owner_of = |v: usize| self.roots[self.root_row(v as u32)].key;
        for (v, path) in &self.vacated {
            changes.delete(owner_of(*v as usize), *path);
        }
        for (v, visit) in self.visits.iter().enumerate() {
            let below_taken = visit.parent & ROOT == 0 && self.visits[visit.parent as usize].state & TOOK_OVER != 0;
            if visit.state & DEAD != 0 {
                changes.delete(owner_of(v), self.path_of(visit));
                continue;
            }
            if visit.state & CLEAN != 0 || below_taken {
                continue;
            }
            let (owner, path) = (owner_of(v), self.path_of(visit));
            let shard = &*shards[visit.shard as usize];
            let hash = self.hash_above(shard, visit);
            changes.put(owner, path, shard, visit.node, hash);
        }
    }

    /// The visit's hash as the node above has it.
    fn hash_above(&self, shard: &Shard, visit: &Visit) -> Option<B256> {
        if visit.parent & ROOT != 0 {
            return Some(self.roots[(visit.parent & !ROOT) as usize].hash);
        }
        let above = self.visits[visit.parent as usize].node;
        let item = match above.kind() {
            Kind::Extension => shard.extension(above).item,
            kind if kind.is_branch() => shard.branch(above).item(visit.nibble),
            _ => Item::embedded(&[0xc0]),
        };
        item.as_hash().copied()
    }
}

impl Top {
    /// Whether the root is no branch but merges with the single node below it.
    pub(super) fn single(&self) -> Option<usize> {
        let mut present = (0..SHARDS).filter(|n| self.nodes[*n] != Ref::NONE);
        present.next().filter(|_| present.next().is_none())
    }

    /// The path of a single node that the root has to merge with, where there were more before.
    pub(super) fn survivor(&self, was: &Self) -> Option<NodePath> {
        let single = self.single()?;
        was.single().is_none().then(|| NodePath::default().child(single as u8))
    }

    /// Logs the root, and what its becoming or ceasing to be a branch means for the nodes below.
    pub(super) fn log(&self, was: &Self, shards: &[Shard], owner: B256, changes: &mut NodeChanges) {
        let below = |n: usize| NodePath::default().child(n as u8);
        let merges = |n: usize| !self.nodes[n].kind().is_branch();
        if let Some(n) = was.single()
            && self.single().is_none()
            && self.nodes[n] == was.nodes[n]
            && self.nodes[n] != Ref::STUB
        {
            changes.put(owner, below(n), &shards[n], self.nodes[n], Some(self.hashes[n]));
        }
        if let Some(n) = self.single()
            && merges(n)
        {
            changes.delete(owner, below(n));
        }
        let rlp = self.encode(shards);
        if rlp.is_empty() {
            changes.delete(owner, NodePath::default());
        } else {
            changes.put_rlp(owner, NodePath::default(), &rlp, self.root);
        }
    }
}
