//! The top of a trie that is distributed over the shards: sixteen subtries by the first nibble, and
//! the root above them.
//!
//! In: nodes one nibble below the root, one per shard, with their hashes. Out: the root hash. The
//! account trie is always distributed; a storage trie is once many of its slots change in one
//! update, so that all workers share the work.
//! Relies on: a node one nibble below the root is never embedded (its path alone takes 32 bytes).

use super::EMPTY_ROOT;
use super::count::HashCount;
use super::hash::{encode, root_hash};
use super::node::{Extension, Item, Kind, Ref, branch_kind, item_at, message_len, set_nibble, write_frame};
use super::resolve::{fetch, resolve_below_top};
use super::shard::Shard;
use crate::arena::keccak::{RATE, Width, keccak256};
use crate::arena::node::{Child, Node, decode};
use crate::arena::path::{NodePath, NodeQuery};
use crate::arena::store::{StateStore, StoreError};
use alloy_primitives::B256;

/// Number of shards, and of children of a distributed root.
pub(super) const SHARDS: usize = 16;

/// The root of a distributed trie.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// Nodes one nibble below the root by first nibble, each in the shard of that number.
    pub(super) nodes: [Ref; SHARDS],
    /// Hashes of these nodes.
    pub(super) hashes: [B256; SHARDS],
    pub(super) root: B256,
    /// Whether only the root hash is known.
    pub(super) stub: bool,
}

impl Top {
    /// A trie of which only the root hash is known.
    pub(super) fn from_root(root: B256) -> Self {
        Self { nodes: [Ref::NONE; SHARDS], hashes: [B256::ZERO; SHARDS], root, stub: root != EMPTY_ROOT }
    }

    /// Reads the root node from the store and distributes its children over the shards. `owner` is the hashed address of
    /// the storage trie's account, or zero for the account trie.
    ///
    /// # Errors
    /// [`StoreError`]; the top does not change then.
    pub(super) fn resolve(
        &mut self,
        shards: &mut [Shard],
        owner: B256,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), StoreError> {
        if !self.stub {
            return Ok(());
        }
        let corrupt = || StoreError::Corrupt("trie node: cannot be the root of a trie with 32-byte keys".into());
        let query = NodeQuery { owner, path: NodePath::default(), hash: self.root };
        let rlp = fetch(&[query], store, width)?.pop().unwrap_or_default();
        let (mut nodes, mut hashes) = ([Ref::NONE; SHARDS], [B256::ZERO; SHARDS]);
        match decode(&rlp)? {
            Node::Branch(children) => {
                for (n, child) in children.iter().enumerate() {
                    match child {
                        Child::Empty => {}
                        Child::Hash(hash) => (nodes[n], hashes[n]) = (Ref::STUB, **hash),
                        Child::Embedded(_) => return Err(corrupt()),
                    }
                }
            }
            Node::Extension { path, child } if path.len() == 1 => {
                let n = path.nibble(0) as usize;
                let Child::Hash(hash) = child else { return Err(corrupt()) };
                (nodes[n], hashes[n]) = (Ref::STUB, *hash);
            }
            Node::Extension { path, .. } | Node::Leaf { path, .. } => {
                let n = path.nibble(0) as usize;
                let shard = &mut shards[n];
                let mut node = shard.import(&rlp, &[0; 32], 0, owner == B256::ZERO)?;
                if node.kind() == Kind::Extension {
                    shard.change_extension(node, |extension| extension.start = 1);
                }
                if node.kind().is_branch() {
                    node = Ref::NONE;
                }
                nodes[n] = node;
                hashes[n] = root_hash(shard, node, 1, &mut HashCount::default());
            }
        }
        (self.nodes, self.hashes, self.stub) = (nodes, hashes, false);
        Ok(())
    }

    /// Computes the root hash from the present subtries; `owner` as in [`Self::resolve`].
    ///
    /// # Errors
    /// [`StoreError`] if a single subtrie is left whose top node, with which the root merges,
    /// cannot be read.
    pub(super) fn close(
        &mut self,
        shards: &mut [Shard],
        owner: B256,
        store: &dyn StateStore,
        width: Width,
        count: &mut HashCount,
    ) -> Result<B256, StoreError> {
        if let Some(n) = self.single()
            && self.nodes[n] == Ref::STUB
        {
            self.nodes[n] = resolve_below_top(&mut shards[n], &self.hashes[n], owner, n as u8, store, width)?;
        }
        let rlp = self.encode(shards);
        self.root = if rlp.is_empty() { EMPTY_ROOT } else { keccak256(&rlp) };
        count.add(usize::from(!rlp.is_empty()), rlp.len() / RATE + 1);
        Ok(self.root)
    }

    /// RLP of the root node; empty for an empty trie. A single node below the root must be in memory.
    pub(super) fn encode(&self, shards: &[Shard]) -> Vec<u8> {
        let present = (0..SHARDS).filter(|n| self.nodes[*n] != Ref::NONE);
        let mask = present.clone().fold(0u16, |mask, n| mask | 1 << n);
        let mut rlp = Vec::with_capacity(4 * RATE);
        match mask.count_ones() {
            0 => {}
            1 => {
                let n = mask.trailing_zeros() as usize;
                self.encode_only(&shards[n], n as u8, &mut rlp);
            }
            children => {
                let kind = branch_kind(children);
                rlp.resize(kind.blocks() * RATE, 0);
                write_frame(mask, &mut rlp);
                for n in present {
                    let at = item_at(kind, mask, n as u8);
                    rlp[at..at + 33].copy_from_slice(&Item::hash(&self.hashes[n]).0);
                }
                rlp.truncate(message_len(mask));
            }
        }
        rlp
    }

    /// The RLP of the root above a single subtrie, whose top node is in memory.
    fn encode_only(&self, shard: &Shard, n: u8, out: &mut Vec<u8>) {
        let node = self.nodes[n as usize];
        let mut bytes = [0; RATE];
        match node.kind() {
            Kind::Extension => {
                let mut extension = shard.extension(node);
                set_nibble(&mut extension.key, 0, n);
                let len = extension.encode(0, &mut bytes);
                out.extend_from_slice(&bytes[..len]);
            }
            kind if kind.is_branch() => {
                let mut extension =
                    Extension { end: 1, item: Item::hash(&self.hashes[n as usize]), ..Extension::default() };
                set_nibble(&mut extension.key, 0, n);
                let len = extension.encode(0, &mut bytes);
                out.extend_from_slice(&bytes[..len]);
            }
            _ => encode(shard, node, 0, out),
        }
    }
}
