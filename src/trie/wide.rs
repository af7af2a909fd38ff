//! Wide storage tries: storage tries distributed over all shards, like the account trie.
//!
//! In: an update in which one contract has a large part of all changed slots. Out: that contract's
//! trie as sixteen subtries below a [`Top`], one per shard, so that all threads share the work; its
//! account leaf refers to the top by its number in [`WideTries`]. A wide trie stays wide. Changes
//! are undone with those of the nodes.
//! Not here: updates of the subtries, which are the same as for any trie.

use super::assignment::Assignment;
use super::count::HashCount;
use super::error::TrieError;
use super::hash::root_hash;
use super::node::{Extension, Kind, Ref};
use super::shard::Shard;
use super::top::{SHARDS, Top};
use super::worker::{Context, WideJob, Worker};
use crate::arena::changes::AccountStatus;
use crate::arena::keccak::{Width, hash_fixed};
use crate::arena::node::nibble;
use crate::arena::store::{EMPTY_ROOT, StateStore, StoreError};
use alloy_primitives::B256;
use rayon::prelude::*;

/// Number of keys that one task hashes.
const HASHED_TOGETHER: usize = 1024;

/// The tops of wide tries, by number.
#[derive(Debug, Default)]
pub(super) struct WideTries {
    tops: Vec<Top>,
    /// Previous tops of changes since the last commit.
    undo: Vec<(u32, Top)>,
    /// Tops dropped since the last commit.
    dropped: Vec<u32>,
    /// Tops that can be reused.
    free: Vec<u32>,
    /// Tops created since the last commit.
    made: Vec<u32>,
}

/// Lengths of the undo lists at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WideMark {
    undo: usize,
    dropped: usize,
    made: usize,
}

impl WideTries {
    /// Whether no trie is wide.
    pub(super) fn is_empty(&self) -> bool {
        self.tops.len() == self.free.len()
    }

    pub(super) fn get(&self, node: Ref) -> &Top {
        &self.tops[node.row() as usize]
    }

    /// All tops, including unused ones.
    #[cfg(test)]
    pub(super) fn tops(&self) -> &[Top] {
        &self.tops
    }

    /// All tops, including unused ones.
    pub(super) fn tops_mut(&mut self) -> &mut [Top] {
        &mut self.tops
    }

    pub(super) fn mark(&self) -> WideMark {
        WideMark { undo: self.undo.len(), dropped: self.dropped.len(), made: self.made.len() }
    }

    pub(super) fn rollback(&mut self, mark: &WideMark) {
        for (index, top) in self.undo.drain(mark.undo..).rev() {
            self.tops[index as usize] = top;
        }
        self.dropped.truncate(mark.dropped);
        self.free.extend(self.made.drain(mark.made..));
    }

    pub(super) fn commit(&mut self) {
        self.undo.clear();
        self.made.clear();
        self.free.append(&mut self.dropped);
    }

    fn set(&mut self, index: u32, top: Top) {
        let old = core::mem::replace(&mut self.tops[index as usize], top);
        self.undo.push((index, old));
    }

    fn make(&mut self, top: Top) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.tops.push(Top::from_root(EMPTY_ROOT));
            self.tops.len() as u32 - 1
        });
        self.made.push(index);
        self.set(index, top);
        index
    }

    /// Drops a wide trie; its nodes are freed at the next commit.
    pub(super) fn drop_trie(&mut self, index: u32, shards: &mut [Shard]) {
        let top = core::mem::replace(&mut self.tops[index as usize], Top::from_root(EMPTY_ROOT));
        for (shard, node) in shards.iter_mut().zip(top.nodes) {
            shard.free_below(node, &mut Vec::new());
        }
        self.undo.push((index, top));
        self.dropped.push(index);
    }

    /// The wide tries that an update changes, among the accounts that the workers have found: those
    /// that are wide already, and those with at least `spread_min` changed slots, which are made
    /// wide.
    pub(super) fn jobs(
        &mut self,
        context: &Context<'_>,
        workers: &mut [Worker],
        assignment: &Assignment<'_>,
        shards: &mut [Shard],
        spread_min: Option<usize>,
    ) -> Result<Vec<WideJob>, TrieError> {
        let update = context.input.update;
        let mut jobs: Vec<WideJob> = Vec::new();
        for (worker, groups) in workers.iter_mut().zip(&assignment.groups) {
            let mut wide = Vec::new();
            let mut count = HashCount::default();
            for (i, row, local, leaf) in worker.with_slots(update) {
                let home = groups[local].shard;
                let slots = update.slot_starts[row]..update.slot_starts[row + 1];
                let account = shards[home].account(leaf);
                let is_wide = account.storage.kind() == Kind::Wide;
                if update.statuses[row] == AccountStatus::StorageCleared
                    || !is_wide && spread_min.is_none_or(|min| slots.len() < min)
                {
                    continue;
                }
                let (mut top, index) = if is_wide {
                    (self.get(account.storage).clone(), Some(account.storage.row()))
                } else {
                    let Some(top) = spread(account.storage, account.storage_root, home, shards) else { continue };
                    (top, None)
                };
                let owner = context.input.hashed[row];
                top.resolve(shards, owner, context.input.store, context.width)?;
                let (keys, starts) = hash_keys(context, slots, &mut count);
                wide.push((i, jobs.len()));
                jobs.push(WideJob { owner, was: top.clone(), top, node: account.storage, index, keys, starts });
            }
            wide.into_iter().for_each(|(i, job)| worker.set_wide(i, job));
            worker.count += count;
        }
        Ok(jobs)
    }

    /// Computes the root of a wide trie whose subtries are done, and stores its new top.
    pub(super) fn close(
        &mut self,
        job: &mut WideJob,
        shards: &mut [Shard],
        store: &dyn StateStore,
        width: Width,
        count: &mut HashCount,
    ) -> Result<(), StoreError> {
        let root = job.top.close(shards, job.owner, store, width, count)?;
        let index = match job.index {
            Some(index) => {
                self.set(index, job.top.clone());
                index
            }
            None => self.make(job.top.clone()),
        };
        job.node = Ref::new(Kind::Wide, index);
        if root == EMPTY_ROOT {
            self.drop_trie(index, shards);
            job.node = Ref::NONE;
        }
        Ok(())
    }
}

/// Hashes the slot keys of a range of update rows and sorts them by shard.
fn hash_keys(
    context: &Context<'_>,
    slots: core::ops::Range<u32>,
    count: &mut HashCount,
) -> (Vec<(B256, u32)>, [usize; SHARDS + 1]) {
    let rows = slots.start as usize..slots.end as usize;
    let mut keys: Vec<(B256, u32)> = match context.input.hashed_slots {
        Some(hashed) => hashed[rows].iter().copied().zip(slots).collect(),
        None => {
            let plain = &context.input.update.slot_keys[rows];
            let mut hashed = vec![B256::ZERO; plain.len()];
            plain.par_chunks(HASHED_TOGETHER).zip(hashed.par_chunks_mut(HASHED_TOGETHER)).for_each(|(keys, hashed)| {
                hash_fixed(context.width, keys.len(), |i| keys[i].to_be_bytes::<32>(), hashed);
            });
            count.add(plain.len(), 1);
            hashed.into_iter().zip(slots).collect()
        }
    };
    keys.sort_unstable_by_key(|(key, _)| key[0] >> 4);
    let starts = core::array::from_fn(|n| keys.partition_point(|(key, _)| usize::from(key[0] >> 4) < n));
    (keys, starts)
}

/// Distributes the nodes of a storage trie in shard `home` over all shards. `None` if it cannot be
/// distributed: its root is an extension, or a branch with embedded children.
fn spread(node: Ref, root: B256, home: usize, shards: &mut [Shard]) -> Option<Top> {
    let mut top = Top::from_root(EMPTY_ROOT);
    top.root = root;
    match node.kind() {
        Kind::None => {}
        Kind::Stub => return Some(Top::from_root(root)),
        kind if kind.is_branch() => {
            let nibbles = shards[home].branch(node).nibbles();
            if nibbles.clone().any(|n| shards[home].branch(node).item(n).as_hash().is_none()) {
                return None;
            }
            for n in nibbles {
                let branch = shards[home].branch(node);
                let (child, item) = (branch.child(n), branch.item(n));
                top.hashes[n as usize] = item.as_hash().copied().unwrap_or_default();
                top.nodes[n as usize] = move_below(child, home, n as usize, shards);
            }
            shards[home].free(node);
        }
        Kind::Slot => {
            let n = nibble(shards[home].leaf_key(node), 0) as usize;
            top.nodes[n] = move_below(node, home, n, shards);
            top.hashes[n] = root_hash(&shards[n], top.nodes[n], 1, &mut HashCount::default());
        }
        _ => return None,
    }
    Some(top)
}

/// Moves a node and its descendants from one shard to another.
fn move_below(node: Ref, from: usize, to: usize, shards: &mut [Shard]) -> Ref {
    match shards.get_disjoint_mut([from, to]) {
        Ok([from, to]) => copy_below(node, from, to),
        Err(_) => node,
    }
}

fn copy_below(node: Ref, from: &mut Shard, to: &mut Shard) -> Ref {
    let copy = match node.kind() {
        Kind::Slot => to.new_slot(&B256::from(*from.leaf_key(node)), &from.slot_value(node)),
        Kind::Extension => {
            let extension = from.extension(node);
            let child = copy_below(extension.child, from, to);
            to.new_extension(Extension { child, ..extension })
        }
        kind if kind.is_branch() => {
            let copy = to.new_branch(from.branch(node).mask);
            for n in from.branch(node).nibbles() {
                let (child, item) = (from.branch(node).child(n), from.branch(node).item(n));
                let child = copy_below(child, from, to);
                to.set_ref(copy, n, child);
                to.set_item(copy, n, &item);
            }
            copy
        }
        _ => return node,
    };
    from.free(node);
    copy
}
