//! Log of changed nodes, for a client to write to its database.
//!
//! In: the hashed visits of an update. Out: [`NodeChanges`], a log as columns. Applied in order to
//! a store keyed by path, it results in exactly the nodes of the new tries. A store keyed by hash
//! inserts the rows with a node and ignores the others.
//! Not here: writing to a store.

use super::descent::{CLEAN, DEAD, Descent, ROOT, TOOK_OVER, Visit};
use super::hash::encode;
use super::node::{Account, Item, Kind, Ref};
use super::shard::Shard;
use super::top::{SHARDS, Top};
use crate::arena::keccak::keccak256;
use crate::arena::node::LeafAccount;
use crate::arena::path::NodePath;
use alloy_primitives::B256;

/// Kind of a row of [`NodeChanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node is stored at the path.
    Put,
    /// No separate node is at the path any more: it was deleted, has moved, or is embedded in its
    /// parent.
    Delete,
    /// All nodes of the account's storage trie are deleted.
    Wipe,
}

/// Log of changes to all tries, as columns of equal length, and the changed account leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChanges {
    /// Kind of each row.
    pub changes: Vec<Change>,
    /// Hashed address of the storage trie's account; zero for the account trie.
    pub owners: Vec<B256>,
    /// Path of each node in its trie.
    pub paths: Vec<NodePath>,
    /// keccak256 of the node; zero unless [`Change::Put`].
    pub hashes: Vec<B256>,
    /// End of each node's RLP in `rlp`, in bytes; it starts at the end of the row before.
    pub rlp_ends: Vec<u32>,
    /// RLP of all nodes, concatenated.
    pub rlp: Vec<u8>,
    /// Hashed addresses of changed account leaves.
    pub account_keys: Vec<B256>,
    /// New content of each of these leaves; `None` if the account was deleted. As long as
    /// `account_keys`.
    pub accounts: Vec<Option<LeafAccount>>,
}

/// Lengths of the columns of [`NodeChanges`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogLength {
    rows: usize,
    rlp: usize,
    accounts: usize,
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

    pub(super) fn clear_storage(&mut self, owner: B256) {
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

    /// Adds a node with its present content. A node embedded in its parent is logged as deleted,
    /// since it is not stored separately.
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

    /// Present lengths of the columns.
    pub(super) fn length(&self) -> LogLength {
        LogLength { rows: self.changes.len(), rlp: self.rlp.len(), accounts: self.accounts.len() }
    }

    /// Removes what was logged after the log had these lengths.
    pub(super) fn truncate(&mut self, LogLength { rows, rlp, accounts }: LogLength) {
        self.changes.truncate(rows);
        self.owners.truncate(rows);
        self.paths.truncate(rows);
        self.hashes.truncate(rows);
        self.rlp_ends.truncate(rows);
        self.rlp.truncate(rlp);
        self.account_keys.truncate(accounts);
        self.accounts.truncate(accounts);
    }

    pub(super) fn clear(&mut self) {
        self.truncate(LogLength::default());
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
        // A visit without keys is a part of a node that the keys of the visit above have split.
        let above = &self.visits[visit.parent as usize];
        let path = NodePath::new(self.key_of(self.recs[above.lo as usize]), above.depth as usize);
        path.child(visit.nibble)
    }

    /// The row of `roots` with the root of a visit's trie.
    pub(super) fn root_row(&self, v: u32) -> usize {
        let mut visit = &self.visits[v as usize];
        while visit.parent & ROOT == 0 {
            visit = &self.visits[visit.parent as usize];
        }
        (visit.parent & !ROOT) as usize
    }

    /// Logs all visits.
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

    /// The hash of a visit's node as stored in the parent.
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
    /// The nibble of the only node below the root, if there is exactly one: the root then merges
    /// with it and is no branch.
    pub(super) fn single(&self) -> Option<usize> {
        let mut present = (0..SHARDS).filter(|n| self.nodes[*n] != Ref::NONE);
        present.next().filter(|_| present.next().is_none())
    }

    /// The path of the only node left below the root, with which the root merges, if there were
    /// several before.
    pub(super) fn survivor(&self, was: &Self) -> Option<NodePath> {
        let single = self.single()?;
        was.single().is_none().then(|| NodePath::default().child(single as u8))
    }

    /// Logs the root, and the nodes below it that are stored separately, or no longer, because the
    /// root ceased or began to merge with them.
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
