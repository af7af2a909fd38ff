//! Bottom-up restructuring after deletions: branches lose children, and a branch with a single
//! child is replaced by it.
//!
//! In: visits with lost children in `removed`. Out: a trie in its canonical shape; all nodes that
//! need a new hash are on the work list. The remaining child of a collapsing branch must be in
//! memory, since its kind decides how it merges with the path above; those that are stubs are read
//! from the store together, level by level.
//! Not here: hashing.

use super::TrieError;
use super::descent::{
    BELOW_EXTENSION, CHILD_CHANGED, CHILD_GONE, DEAD, Descent, RESHAPED, ROOT, Shards, Survivor, TOOK_OVER,
};
use super::node::{Extension, Kind, Ref, set_nibble};
use super::shard::Shard;
use crate::arena::keccak::Width;
use crate::arena::node::nibble;
use crate::arena::path::NodePath;
use crate::arena::store::StateStore;

impl Descent {
    /// Applies all deletions.
    ///
    /// # Errors
    /// [`TrieError::Store`] if a remaining child cannot be read.
    pub(super) fn collapse(
        &mut self,
        shards: Shards<'_, '_>,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        if !self.removals {
            return Ok(());
        }
        let mut survivors: Vec<Survivor> = Vec::new();
        for depth in (0..self.losing.len()).rev() {
            survivors.clear();
            for i in 0..self.losing[depth].len() {
                let v = self.losing[depth][i] as usize;
                let visit = self.visits[v];
                if visit.state & DEAD != 0 {
                    continue;
                }
                let shard = &mut *shards[visit.shard as usize];
                if visit.node.kind() == Kind::Extension {
                    self.settle_extension(shard, v);
                } else if let Some(survivor) = self.settle_branch(shard, v) {
                    survivors.push(survivor);
                }
            }
            if !survivors.is_empty() {
                self.resolve_survivors(shards, &survivors, store, width)?;
                for survivor in &survivors {
                    let shard = self.visits[survivor.visit].shard as usize;
                    self.give_way(&mut *shards[shard], survivor.visit, survivor.nibble);
                }
            }
        }
        Ok(())
    }

    fn settle_extension(&mut self, shard: &mut Shard, v: usize) {
        let visit = self.visits[v];
        if visit.removed & CHILD_GONE != 0 {
            shard.free(visit.node);
            self.remove(v);
        } else if visit.removed & CHILD_CHANGED != 0 {
            let Extension { key, start, end, child, .. } = shard.extension(visit.node);
            if child.kind() == Kind::Extension {
                shard.change_extension(child, |below| {
                    (start..end).for_each(|i| set_nibble(&mut below.key, i as usize, nibble(&key, i as usize)));
                    below.start = start;
                });
            }
            if !child.kind().is_branch() {
                let path = NodePath::new(self.key_of(self.recs[visit.lo as usize]), end as usize);
                self.vacated.push((v as u32, path));
                self.take_over(shard, v, child);
            }
        }
    }

    /// Removes lost children from a branch. Returns the only child left if it must be read from the
    /// store first.
    fn settle_branch(&mut self, shard: &mut Shard, v: usize) -> Option<Survivor> {
        let visit = self.visits[v];
        let branch = shard.branch(visit.node);
        let left = branch.mask & !visit.removed;
        match left.count_ones() {
            0 => {
                shard.free(visit.node);
                self.remove(v);
            }
            1 => {
                let n = left.trailing_zeros() as u8;
                if branch.child(n) == Ref::STUB {
                    let item = branch.item(n);
                    let hash = item.as_hash().copied().unwrap_or_default();
                    return Some(Survivor { visit: v, nibble: n, hash });
                }
                self.give_way(shard, v, n);
            }
            _ => {
                let node = shard.reshape(visit.node, left);
                self.visits[v].state |= RESHAPED;
                if node != visit.node {
                    self.visits[v].node = node;
                    self.attach(shard, v);
                }
            }
        }
        None
    }

    /// Replaces a branch whose single child is `n` by that child.
    fn give_way(&mut self, shard: &mut Shard, v: usize, n: u8) {
        let visit = self.visits[v];
        let depth = visit.depth;
        let (child, item) = (shard.branch(visit.node).child(n), shard.branch(visit.node).item(n));
        let path = NodePath::new(self.key_of(self.recs[visit.lo as usize]), depth as usize).child(n);
        self.survivors.push((v as u32, path));
        if child.kind().is_branch() {
            let mut key = [0; 32];
            set_nibble(&mut key, depth as usize, n);
            let extension = Extension { key, start: depth, end: depth + 1, child, item };
            shard.free(visit.node);
            self.visits[v].node = shard.new_extension(extension);
            for child in self.children_of(v) {
                self.visits[child].state |= BELOW_EXTENSION;
            }
            self.attach(shard, v);
            self.notify_extension(v);
            return;
        }
        if child.kind() == Kind::Extension {
            shard.change_extension(child, |below| {
                set_nibble(&mut below.key, depth as usize, n);
                below.start = depth;
            });
        }
        self.vacated.push((v as u32, path));
        self.take_over(shard, v, child);
    }

    /// Replaces the visit's node by its only child, a leaf or an extension.
    fn take_over(&mut self, shard: &mut Shard, v: usize, child: Ref) {
        shard.free(self.visits[v].node);
        self.visits[v].node = child;
        self.visits[v].state |= TOOK_OVER;
        self.attach(shard, v);
        self.notify_extension(v);
    }

    /// If the parent is an extension, notes that its child is no branch any more, so that the two
    /// are merged.
    fn notify_extension(&mut self, v: usize) {
        let parent = self.visits[v].parent;
        if parent & ROOT == 0 && self.visits[parent as usize].node.kind() == Kind::Extension {
            self.lose(parent, CHILD_CHANGED);
        }
    }
}
