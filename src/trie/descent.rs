//! Top-down pass: finds the position of all keys in all tries of a worker, level by level, and
//! inserts new keys.
//!
//! In: sorted keys per trie. Out: one [`Visit`] per node on their paths, listed by depth, with all
//! new keys inserted; deletions are only recorded (`removed`), for `collapse.rs`.
//!
//! A visit is a node (or an empty position where one will be created) and the range of keys below
//! it. A level is visited after all levels above it, and nodes are prefetched in bursts, so that
//! the cache misses of a level overlap. A branch that gains children is rewritten before any of
//! them is visited, so the position of a visit in its parent does not change during the pass.
//! Not here: hashing, fields of accounts.

use super::TrieError;
use super::encoded::Encoded;
use super::node::{Extension, Kind, Ref, branch_kind, item_at, item_of_rank, rank};
use super::shard::Shard;
use crate::arena::keccak::Width;
use crate::arena::node::nibble;
use crate::arena::path::{KEY_NIBBLES, NodePath, fork};
use crate::arena::prefetch::{Head, prefetch_heads};
use crate::arena::store::StateStore;
use alloy_primitives::{B256, U256};

/// Step at a node, by kind: 0 pass a branch or an extension, 1 change a leaf, 2 create a node.
const STEP_OF: [usize; 16] = [2, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2];

/// Number of visits whose nodes are prefetched together.
const BURST: usize = 32;

/// Prefetch distance, in branches, before one is rewritten.
const AHEAD: usize = 16;

/// A key to sort: its first 64 bits, its position in the key column, and its row in the update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rec {
    pub(super) prefix: u64,
    pub(super) key: u32,
    /// Twice the row, plus one if the key has a value after the update.
    row_live: u32,
}

impl Rec {
    #[inline(always)]
    pub(super) fn new(hash: &B256, key: usize, row: usize, live: bool) -> Self {
        let prefix = u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
        Self { prefix, key: key as u32, row_live: (row as u32) << 1 | u32::from(live) }
    }

    #[inline(always)]
    pub(super) fn row(self) -> usize {
        (self.row_live >> 1) as usize
    }

    /// Whether the key has a value after the update (otherwise it is deleted).
    #[inline(always)]
    pub(super) fn live(self) -> bool {
        self.row_live & 1 == 1
    }
}

/// Nothing below has changed, so the node is not hashed.
pub(super) const CLEAN: u8 = 1;
/// The node was deleted.
pub(super) const DEAD: u8 = 2;
/// The node was created by this pass; visits of its children are listed.
const MADE: u8 = 4;
/// The visit's node was replaced by its only child; visits of that child are void.
pub(super) const TOOK_OVER: u8 = 8;

/// The branch lost children in `collapse.rs`: the offsets in its children's visits are wrong.
pub(super) const RESHAPED: u8 = 16;
/// The node is embedded: its parent contains its RLP, not its hash.
pub(super) const EMBEDDED: u8 = 32;
/// The parent is an extension.
pub(super) const BELOW_EXTENSION: u8 = 64;

/// A position in a trie: the node there, and the keys below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) node: Ref,
    /// Keys `recs[lo..hi]`.
    pub(super) lo: u32,
    pub(super) hi: u32,
    /// Row of the parent's visit; with [`ROOT`] set, row of `roots`.
    pub(super) parent: u32,
    /// Deleted children of a branch, by nibble; for an extension [`CHILD_GONE`] or
    /// [`CHILD_CHANGED`].
    pub(super) removed: u16,
    pub(super) shard: u8,
    pub(super) depth: u8,
    /// Nibble in the parent.
    pub(super) nibble: u8,
    pub(super) state: u8,
    /// Offset of the child in the parent's message, if the parent is a branch and not [`RESHAPED`].
    pub(super) at: u16,
    /// The first visit of a branch's children, which are consecutive.
    pub(super) first_child: u32,
    pub(super) child_count: u8,
}

/// Bit in [`Visit::parent`] that marks it as a row of `roots`.
pub(super) const ROOT: u32 = 1 << 31;
/// An extension's child was deleted.
pub(super) const CHILD_GONE: u16 = 1;
/// An extension's child is no branch any more.
pub(super) const CHILD_CHANGED: u16 = 2;

/// The top of one descent: a storage trie's root, or a node below a root that is distributed over
/// the shards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) node: Ref,
    /// Hash of the node; for [`Ref::STUB`] the one to read from the store.
    pub(super) hash: B256,
    /// Row or number with a meaning for the caller only.
    pub(super) owner: u32,
    /// Hashed address of the storage trie's account; zero for the account trie.
    pub(super) key: B256,
}

/// The shards that one worker owns during an update.
pub(super) type Shards<'a, 'b> = &'a mut [&'b mut Shard];

/// Content of new and changed leaves.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// Storage slots: values by row of the update.
    Slots(&'a [U256]),
    /// Accounts: leaves are created empty and filled later (`worker.rs`).
    Accounts,
}

/// Work lists of one pass over many tries; kept from update to update to reuse their memory.
#[derive(Debug)]
pub(super) struct Descent {
    /// Hashed keys.
    pub(super) keys: Vec<B256>,
    /// Order of the keys within each trie.
    pub(super) recs: Vec<Rec>,
    /// Buffer for sorting.
    unsorted: Vec<Rec>,
    pub(super) roots: Vec<Root>,
    pub(super) visits: Vec<Visit>,
    /// Visits by depth.
    pub(super) levels: Vec<Vec<u32>>,
    /// Visits of branches and extensions by depth.
    pub(super) inner: Vec<Vec<u32>>,
    /// Visits with children that were deleted or changed their kind, by depth.
    pub(super) losing: Vec<Vec<u32>>,
    /// Per visit the node's hash, or its RLP if it is [`EMBEDDED`], once computed.
    pub(super) digests: Vec<B256>,
    /// Leaves that wait for a full kernel call.
    pub(super) encoded: Box<Encoded>,
    /// Visit of each key's leaf, for accounts.
    pub(super) leaf_of: Vec<u32>,
    /// Whether the leaves are accounts.
    pub(super) accounts: bool,
    /// Whether any node was deleted.
    pub(super) removals: bool,
    /// Number of visits of nodes that are not in memory yet.
    stubs: usize,
    /// Visits of the current level by step: branches and extensions, leaves, empty positions.
    steps: [Vec<u32>; 3],
    /// Branches of the current level that gain children, with their new masks.
    growing: Vec<(u32, u16)>,
    /// Wide storage tries of deleted accounts.
    pub(super) dropped_wide: Vec<u32>,
    /// Hashed addresses of accounts whose whole storage was deleted.
    pub(super) cleared: Vec<B256>,
    /// Paths from which nodes moved up, each with a visit of the same trie.
    pub(super) vacated: Vec<(u32, NodePath)>,
    /// Paths of only children that replaced their branch, each with a visit of the same trie.
    pub(super) survivors: Vec<(u32, NodePath)>,
}

/// The last child of a collapsing branch, if it is not in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survivor {
    pub(super) visit: usize,
    pub(super) nibble: u8,
    pub(super) hash: B256,
}

impl Descent {
    pub(super) fn new(accounts: bool) -> Self {
        Self {
            keys: Vec::new(),
            recs: Vec::new(),
            unsorted: Vec::new(),
            roots: Vec::new(),
            visits: Vec::new(),
            levels: vec![Vec::new(); KEY_NIBBLES + 1],
            inner: vec![Vec::new(); KEY_NIBBLES + 1],
            losing: vec![Vec::new(); KEY_NIBBLES + 1],
            digests: Vec::new(),
            encoded: Box::default(),
            leaf_of: Vec::new(),
            accounts,
            removals: false,
            stubs: 0,
            steps: [const { Vec::new() }; 3],
            growing: Vec::new(),
            dropped_wide: Vec::new(),
            cleared: Vec::new(),
            vacated: Vec::new(),
            survivors: Vec::new(),
        }
    }

    /// Clears all lists and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.recs.clear();
        self.roots.clear();
        self.visits.clear();
        self.levels.iter_mut().for_each(Vec::clear);
        self.inner.iter_mut().for_each(Vec::clear);
        self.digests.clear();
        self.encoded.clear();
        self.leaf_of.clear();
        if self.removals {
            self.losing.iter_mut().for_each(Vec::clear);
        }
        self.removals = false;
        self.stubs = 0;
        self.growing.clear();
        self.dropped_wide.clear();
        self.cleared.clear();
        self.vacated.clear();
        self.survivors.clear();
    }

    /// Sorts `recs[lo..]`, keys of one trie that agree in their first `shared` nibbles.
    ///
    /// # Errors
    /// [`TrieError::Duplicate`].
    pub(super) fn sort(&mut self, lo: usize, shared: u32) -> Result<(), TrieError> {
        let keys = &self.keys;
        let recs = &mut self.recs[lo..];
        sort_by_prefix(recs, shared, &mut self.unsorted);
        if recs.array_windows().all(|[a, b]| a.prefix != b.prefix) {
            return Ok(());
        }
        // Different hashes that agree in 64 bits occur only if they were chosen by an attacker;
        // otherwise it is a duplicate.
        recs.sort_unstable_by(|a, b| keys[a.key as usize].cmp(&keys[b.key as usize]));
        match recs.array_windows().find(|[a, b]| keys[a.key as usize] == keys[b.key as usize]) {
            Some([twice, _]) => Err(TrieError::Duplicate(keys[twice.key as usize])),
            None => Ok(()),
        }
    }

    /// Adds a trie with the keys `recs[lo..]` and the top `root`, `depth` nibbles below its trie's
    /// root.
    pub(super) fn add_root(&mut self, root: Root, shard: usize, depth: usize, lo: usize) {
        let (lo, mut hi) = (lo as u32, self.recs.len() as u32);
        if root.node == Ref::NONE {
            hi = self.retain(lo, hi, |_, rec| rec.live());
        }
        let parent = ROOT | self.roots.len() as u32;
        self.roots.push(root);
        if lo < hi {
            self.push(Visit {
                node: root.node,
                lo,
                hi,
                parent,
                removed: 0,
                shard: shard as u8,
                depth: depth as u8,
                nibble: 0,
                state: 0,
                at: 0,
                first_child: 0,
                child_count: 0,
            });
        }
    }

    #[inline(always)]
    fn push(&mut self, visit: Visit) -> usize {
        if visit.node == Ref::STUB {
            self.stubs += 1;
        }
        let index = self.visits.len();
        self.levels[visit.depth as usize].push(index as u32);
        self.visits.push(visit);
        index
    }

    /// The visits of a branch's children.
    #[inline(always)]
    pub(super) fn children_of(&self, v: usize) -> core::ops::Range<usize> {
        let Visit { first_child, child_count, .. } = self.visits[v];
        first_child as usize..first_child as usize + child_count as usize
    }

    #[inline(always)]
    pub(super) fn key_of(&self, rec: Rec) -> &B256 {
        &self.keys[rec.key as usize]
    }

    #[inline(always)]
    fn nibble_of(&self, rec: Rec, depth: usize) -> u8 {
        if depth < 16 { (rec.prefix >> (60 - 4 * depth)) as u8 & 0xf } else { nibble(self.key_of(rec), depth) }
    }

    /// Keeps the keys of `recs[lo..hi]` for which `keep` holds, moved to the front in the same
    /// order; returns their end.
    fn retain(&mut self, lo: u32, hi: u32, keep: impl Fn(&Self, Rec) -> bool) -> u32 {
        let mut end = lo;
        for i in lo..hi {
            let rec = self.recs[i as usize];
            if keep(self, rec) {
                self.recs[end as usize] = rec;
                end += 1;
            }
        }
        end
    }

    /// Descends with all keys to their leaves. `tuned.rs` compiles this for processor features.
    ///
    /// # Errors
    /// [`TrieError::Store`] if a node on a path cannot be read.
    #[inline(always)]
    pub(super) fn descend_here(
        &mut self,
        shards: Shards<'_, '_>,
        source: Source<'_>,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        self.encoded.width = width;
        for depth in 0..=KEY_NIBBLES {
            if self.stubs > 0 {
                let stubs = self.levels[depth].iter().copied();
                let stubs: Vec<u32> = stubs.filter(|v| self.visits[*v as usize].node == Ref::STUB).collect();
                self.stubs -= stubs.len();
                self.resolve(shards, &stubs, store, width)?;
            }
            if self.levels[depth].is_empty() {
                continue;
            }
            self.sort_steps(depth);
            let [inner, leaves, empty] = core::mem::take(&mut self.steps);
            for (i, v) in inner.iter().map(|v| *v as usize).enumerate() {
                self.prefetch_ahead(shards, &inner, i);
                self.inner[depth].push(v as u32);
                let Visit { node, shard, .. } = self.visits[v];
                let shard = &mut *shards[shard as usize];
                if node.kind() == Kind::Extension { self.extension(shard, v) } else { self.branch(shard, v) }
            }
            for (i, v) in leaves.iter().map(|v| *v as usize).enumerate() {
                self.prefetch_ahead(shards, &leaves, i);
                self.leaf(&mut *shards[self.visits[v].shard as usize], source, v);
            }
            for (i, v) in empty.iter().map(|v| *v as usize).enumerate() {
                self.prefetch_ahead(shards, &empty, i);
                self.create(&mut *shards[self.visits[v].shard as usize], source, v);
            }
            self.steps = [inner, leaves, empty];
            self.reshape(shards);
        }
        Ok(())
    }

    /// Distributes the visits of a level over one loop per step, since the branch predictor cannot
    /// predict the kind of the next node. Parts of split nodes need no step.
    #[inline(always)]
    fn sort_steps(&mut self, depth: usize) {
        let level = &self.levels[depth];
        for steps in &mut self.steps {
            steps.resize(steps.len().max(level.len()), 0);
        }
        let mut used = [0; 3];
        let [inner, leaves, empty] = &mut self.steps;
        let lists = [&mut inner[..], &mut leaves[..], &mut empty[..]];
        for v in level {
            let visit = &self.visits[*v as usize];
            if visit.state & MADE != 0 {
                continue;
            }
            let class = STEP_OF[visit.node.kind() as usize];
            lists[class][used[class]] = *v;
            used[class] += 1;
        }
        for (steps, used) in self.steps.iter_mut().zip(used) {
            steps.truncate(used);
        }
    }

    /// Prefetches the next burst at the start of each burst of `steps`, and the first one before
    /// all.
    #[inline(always)]
    fn prefetch_ahead(&self, shards: &[&mut Shard], steps: &[u32], i: usize) {
        if i == 0 {
            self.prefetch(shards, steps, 0);
        }
        if i.is_multiple_of(BURST) {
            self.prefetch(shards, steps, i + BURST);
        }
    }

    /// Hints that the nodes of a burst of visits will be read soon.
    ///
    /// A prefetch with a TLB miss stalls later instructions until the page walk is done, as a load
    /// does. In a short loop the page walks of many prefetches overlap.
    #[inline(always)]
    fn prefetch(&self, shards: &[&mut Shard], level: &[u32], start: usize) {
        let end = level.len().min(start + BURST);
        let mut heads = [Head::default(); BURST];
        for (v, head) in level.get(start..end).unwrap_or_default().iter().zip(&mut heads) {
            let visit = &self.visits[*v as usize];
            // If a node will be created, its reference will be written to the parent.
            let node = match visit.node {
                Ref::NONE if visit.parent & ROOT == 0 => self.visits[visit.parent as usize].node,
                node => node,
            };
            *head = shards[visit.shard as usize].head(node);
        }
        // A prefetch of a null address costs as much as one of an unmapped page, so only real
        // addresses are passed.
        prefetch_heads(&heads[..end.saturating_sub(start)]);
    }

    /// Writes the reference of the visit's node to its parent.
    pub(super) fn attach(&mut self, shard: &mut Shard, v: usize) {
        let visit = self.visits[v];
        if visit.parent & ROOT != 0 {
            self.roots[(visit.parent & !ROOT) as usize].node = visit.node;
            return;
        }
        let above = self.visits[visit.parent as usize].node;
        if above.kind() == Kind::Extension {
            shard.change_extension(above, |extension| extension.child = visit.node);
        } else {
            shard.set_ref(above, visit.nibble, visit.node);
        }
    }

    /// Removes the visit's node from the trie and notes the loss in its parent's visit.
    pub(super) fn remove(&mut self, v: usize) {
        let visit = &mut self.visits[v];
        visit.state |= DEAD;
        let (parent, nibble) = (visit.parent, visit.nibble);
        self.removals = true;
        if parent & ROOT != 0 {
            self.roots[(parent & !ROOT) as usize].node = Ref::NONE;
            return;
        }
        let is_extension = self.visits[parent as usize].node.kind() == Kind::Extension;
        self.lose(parent, if is_extension { CHILD_GONE } else { 1 << nibble });
    }

    /// Notes which children a branch or an extension has lost.
    pub(super) fn lose(&mut self, v: u32, lost: u16) {
        let visit = &mut self.visits[v as usize];
        if visit.removed == 0 {
            self.losing[visit.depth as usize].push(v);
        }
        visit.removed |= lost;
    }

    fn place(&mut self, shard: &mut Shard, v: usize, node: Ref) {
        self.visits[v].node = node;
        self.attach(shard, v);
    }

    /// Fills an empty position with a leaf, or with a new branch above several keys.
    #[inline(always)]
    fn create(&mut self, shard: &mut Shard, source: Source<'_>, v: usize) {
        let Visit { lo, hi, .. } = self.visits[v];
        if hi - lo > 1 {
            return self.split(shard, v, Ref::NONE);
        }
        let rec = self.recs[lo as usize];
        let key = &self.keys[rec.key as usize];
        let node = match source {
            Source::Slots(values) => shard.new_slot(key, &values[rec.row()]),
            Source::Accounts => {
                self.leaf_of[rec.key as usize] = v as u32;
                shard.new_account(key, &Default::default())
            }
        };
        self.place(shard, v, node);
        if let Source::Slots(_) = source {
            self.encode_leaf(shard, v);
        }
    }

    #[inline(always)]
    fn leaf(&mut self, shard: &mut Shard, source: Source<'_>, v: usize) {
        let Visit { node, lo, mut hi, .. } = self.visits[v];
        if lo == hi {
            // A split above has moved the leaf: only its encoding changes.
            return self.encode_leaf(shard, v);
        }
        if hi - lo > 1 {
            let leaf_key = B256::from(*shard.leaf_key(node));
            hi = self.retain(lo, hi, |this, rec| rec.live() || *this.key_of(rec) == leaf_key);
            self.visits[v].hi = hi;
            if lo == hi {
                self.visits[v].state |= CLEAN;
                return;
            }
        }
        let rec = self.recs[lo as usize];
        if hi - lo == 1 && rec.live() && self.key_of(rec).0 == *shard.leaf_key(node) {
            match source {
                Source::Slots(values) => {
                    shard.set_slot(node, &values[rec.row()]);
                    self.encode_leaf(shard, v);
                }
                Source::Accounts => self.leaf_of[rec.key as usize] = v as u32,
            }
            return;
        }
        let leaf_key = B256::from(*shard.leaf_key(node));
        let same = (lo..hi).find(|i| *self.key_of(self.recs[*i as usize]) == leaf_key);
        match same.map(|i| (i, self.recs[i as usize])) {
            Some((i, rec)) if !rec.live() => {
                if node.kind() == Kind::Contract && shard.account(node).storage != Ref::NONE {
                    self.cleared.push(leaf_key);
                }
                shard.free_below(node, &mut self.dropped_wide);
                if hi - lo == 1 {
                    return self.remove(v);
                }
                self.recs.copy_within(i as usize + 1..hi as usize, i as usize);
                self.visits[v].hi = hi - 1;
                self.visits[v].node = Ref::NONE;
                self.create(shard, source, v);
            }
            None if hi - lo == 1 && !self.recs[lo as usize].live() => self.visits[v].state |= CLEAN,
            _ => self.split(shard, v, node),
        }
    }

    /// Creates a branch above at least two different keys: those of the visit, and that of `leaf`
    /// if there is one.
    #[inline(never)]
    fn split(&mut self, shard: &mut Shard, v: usize, leaf: Ref) {
        let Visit { lo, hi, depth, .. } = self.visits[v];
        let first = *self.key_of(self.recs[lo as usize]);
        let last = *self.key_of(self.recs[hi as usize - 1]);
        let leaf_key = (leaf != Ref::NONE).then(|| *shard.leaf_key(leaf));
        let start = depth as usize;
        let end = fork(&first, &last, start).min(leaf_key.map_or(KEY_NIBBLES, |key| fork(&first, &key, start)));
        let leaf_nibble = leaf_key.map(|key| nibble(&key, end));
        let mut mask = leaf_nibble.map_or(0, |n| 1u16 << n);
        for rec in &self.recs[lo as usize..hi as usize] {
            mask |= 1 << self.nibble_of(*rec, end);
        }
        let branch = shard.new_branch(mask);
        let b = self.place_branch(shard, v, branch, &first, end);
        self.children(shard, b, |n| if leaf_nibble == Some(n) { leaf } else { Ref::NONE });
    }

    /// Puts a new branch at depth `end` on a visit's path, below an extension if that is deeper
    /// than the visit. Returns the branch's visit.
    fn place_branch(&mut self, shard: &mut Shard, v: usize, branch: Ref, key: &[u8; 32], end: usize) -> usize {
        let visit = self.visits[v];
        let start = visit.depth;
        self.visits[v].state |= MADE;
        self.list_inner(v);
        if start as usize == end {
            self.place(shard, v, branch);
            return v;
        }
        let extension = Extension { key: *key, start, end: end as u8, child: branch, ..Extension::default() };
        let extension = shard.new_extension(extension);
        self.place(shard, v, extension);
        let b = self.push(Visit {
            node: branch,
            parent: v as u32,
            depth: end as u8,
            nibble: 0,
            state: MADE | BELOW_EXTENSION,
            removed: 0,
            ..visit
        });
        self.list_inner(b);
        b
    }

    /// Adds a visit whose node is now a branch or an extension to `inner`.
    fn list_inner(&mut self, v: usize) {
        let list = &mut self.inner[self.visits[v].depth as usize];
        // An extension that is split has been listed already, as the last one of its level.
        if list.last() != Some(&(v as u32)) {
            list.push(v as u32);
        }
    }

    /// Adds a visit for every child of a new branch, with the keys below it; `old` gives the nodes
    /// that move there.
    fn children(&mut self, shard: &mut Shard, b: usize, old: impl Fn(u8) -> Ref) {
        let visit = self.visits[b];
        let (nibbles, mask) = (shard.branch(visit.node).nibbles(), shard.branch(visit.node).mask);
        self.visits[b].first_child = self.visits.len() as u32;
        self.visits[b].child_count = mask.count_ones() as u8;
        let mut lo = visit.lo;
        for n in nibbles {
            let hi = self.group_end(lo, visit.hi, visit.depth as usize, n);
            let node = old(n);
            // References of a new branch are initially `Ref::NONE`.
            if node != Ref::NONE {
                shard.set_ref(visit.node, n, node);
            }
            self.push(Visit {
                node,
                lo,
                hi,
                parent: b as u32,
                removed: 0,
                shard: visit.shard,
                depth: visit.depth + 1,
                nibble: n,
                state: 0,
                at: item_at(visit.node.kind(), mask, n) as u16,
                first_child: 0,
                child_count: 0,
            });
            lo = hi;
        }
    }

    /// End of the keys from `lo` on that have nibble `n` at `depth`.
    #[inline(always)]
    fn group_end(&self, lo: u32, hi: u32, depth: usize, n: u8) -> u32 {
        let mut end = lo;
        while end < hi && self.nibble_of(self.recs[end as usize], depth) == n {
            end += 1;
        }
        end
    }

    #[inline(always)]
    fn branch(&mut self, shard: &mut Shard, v: usize) {
        let visit = self.visits[v];
        let depth = visit.depth as usize;
        let kind = visit.node.kind();
        let had = shard.touch(visit.node);
        let branch = shard.branch(visit.node);
        let mut mask = had;
        let mut lo = visit.lo;
        let listed = self.visits.len();
        while lo < visit.hi {
            let n = self.nibble_of(self.recs[lo as usize], depth);
            let end = if lo + 1 == visit.hi { visit.hi } else { self.group_end(lo + 1, visit.hi, depth, n) };
            let mut hi = end;
            let (mut node, mut at) = (Ref::NONE, 0);
            if had >> n & 1 == 1 {
                let rank = rank(had, n);
                node = branch.child_at(rank);
                at = item_of_rank(kind, n, rank) as u16;
            } else {
                hi = self.retain(lo, hi, |_, rec| rec.live());
                if lo == hi {
                    lo = end;
                    continue;
                }
                mask |= 1 << n;
            }
            self.push(Visit {
                node,
                lo,
                hi,
                parent: v as u32,
                removed: 0,
                shard: visit.shard,
                depth: visit.depth + 1,
                nibble: n,
                state: 0,
                at,
                first_child: 0,
                child_count: 0,
            });
            lo = end;
        }
        self.visits[v].first_child = listed as u32;
        self.visits[v].child_count = (self.visits.len() - listed) as u8;
        if mask != had {
            // The whole old branch will be read to rewrite it, which is done after its lines were
            // prefetched.
            shard.prefetch_message(visit.node);
            self.growing.push((v as u32, mask));
            let kind = branch_kind(mask.count_ones());
            for child in &mut self.visits[listed..] {
                child.at = item_at(kind, mask, child.nibble) as u16;
            }
        } else if listed == self.visits.len() {
            self.visits[v].state |= CLEAN;
        }
    }

    /// Rewrites the branches of a level that gained children.
    fn reshape(&mut self, shards: Shards<'_, '_>) {
        for i in 0..self.growing.len() {
            let (v, mask) = self.growing[i];
            if let Some((ahead, _)) = self.growing.get(i + AHEAD) {
                let visit = &self.visits[*ahead as usize];
                shards[visit.shard as usize].prefetch_message(visit.node);
                if visit.parent & ROOT == 0 {
                    shards[visit.shard as usize].prefetch(self.visits[visit.parent as usize].node);
                }
            }
            let visit = self.visits[v as usize];
            let shard = &mut *shards[visit.shard as usize];
            let node = shard.reshape(visit.node, mask);
            if node != visit.node {
                self.place(shard, v as usize, node);
            }
        }
        self.growing.clear();
    }

    fn extension(&mut self, shard: &mut Shard, v: usize) {
        let visit = self.visits[v];
        let Extension { key, start, end, child, item } = shard.extension(visit.node);
        let (from, to) = (start as usize, end as usize);
        let on_path = |this: &Self, rec: Rec| fork(this.key_of(rec), &key, from) >= to;
        let hi = self.retain(visit.lo, visit.hi, |this, rec| rec.live() || on_path(this, rec));
        self.visits[v].hi = hi;
        if visit.lo == hi {
            // A part of a split extension has no keys and a new encoding; any other extension
            // without keys left has no changes.
            if visit.lo < visit.hi {
                self.visits[v].state |= CLEAN;
            }
            return;
        }
        let first = *self.key_of(self.recs[visit.lo as usize]);
        let last = *self.key_of(self.recs[hi as usize - 1]);
        let fork = fork(&first, &key, from).min(fork(&last, &key, from));
        let below = Visit { node: child, lo: visit.lo, hi, parent: v as u32, removed: 0, nibble: 0, ..visit };
        if fork >= to {
            self.push(Visit { depth: end, state: BELOW_EXTENSION, ..below });
            return;
        }
        // Some keys leave the path at nibble `fork`: a branch is created there, with the rest of
        // the path below it.
        let along = nibble(&key, fork);
        let mut mask = 1u16 << along;
        for rec in &self.recs[visit.lo as usize..hi as usize] {
            mask |= 1 << self.nibble_of(*rec, fork);
        }
        let branch = shard.new_branch(mask);
        let rest = if fork + 1 < to {
            shard.new_extension(Extension { key, start: fork as u8 + 1, end, child, item })
        } else {
            child
        };
        shard.free(visit.node);
        let b = self.place_branch(shard, v, branch, &key, fork);
        if rest == child {
            // The old child moves up unchanged, so its hash stays valid; it is visited only if
            // there are keys below it.
            shard.set_item(branch, along, &item);
        }
        let listed = self.visits.len();
        self.children(shard, b, |n| if n == along { rest } else { Ref::NONE });
        if rest == child {
            for c in listed..self.visits.len() {
                let visit = &mut self.visits[c];
                if visit.nibble == along && visit.lo == visit.hi {
                    self.stubs -= usize::from(visit.node == Ref::STUB);
                    visit.node = Ref::NONE;
                    visit.state |= CLEAN | MADE;
                }
            }
        }
    }
}

/// Fewer keys than this are sorted by comparison.
const SCATTER_MIN: usize = 12;
/// Maximum bits of a bucket number.
const SCATTER_BITS: u32 = 10;
/// Bound on the shift in the insertion sort; beyond it falls back to `sort_unstable` (adversarial
/// keys).
const MOVES_MAX: usize = 64;

/// Sorts by prefix: a bucket sort by the leading bits, then an insertion sort. Hashed keys are
/// uniform, so with about as many buckets as keys each key is then near its final position.
fn sort_by_prefix(recs: &mut [Rec], shared: u32, unsorted: &mut Vec<Rec>) {
    if recs.len() < SCATTER_MIN {
        return recs.sort_unstable_by_key(|rec| rec.prefix);
    }
    let bits = recs.len().ilog2().min(SCATTER_BITS);
    let bucket = |rec: &Rec| ((rec.prefix << (4 * shared)) >> (64 - bits)) as usize & ((1 << SCATTER_BITS) - 1);
    let mut ends = [0u32; 1 << SCATTER_BITS];
    for rec in &*recs {
        ends[bucket(rec)] += 1;
    }
    let mut end = 0;
    for place in &mut ends[..1 << bits] {
        let count = *place;
        *place = end;
        end += count;
    }
    unsorted.clear();
    unsorted.extend_from_slice(recs);
    for rec in &*unsorted {
        let place = &mut ends[bucket(rec)];
        recs[*place as usize] = *rec;
        *place += 1;
    }
    for i in 1..recs.len() {
        let rec = recs[i];
        let mut at = i;
        while at > 0 && recs[at - 1].prefix > rec.prefix {
            recs[at] = recs[at - 1];
            at -= 1;
            if i - at > MOVES_MAX {
                recs[at] = rec;
                return recs.sort_unstable_by_key(|rec| rec.prefix);
            }
        }
        recs[at] = rec;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_any_distribution_are_sorted() {
        let mut x = 1u64;
        let mut draw = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        // Uniform, all in one bucket, half of them, all equal; descending, so that every key has to
        // move.
        let shapes: [fn(u64, u64) -> u64; 5] =
            [|key, _| key, |key, _| key >> 40, |key, i| key >> (40 * (i & 1)), |_, _| 7, |_, i| u64::MAX / (i + 2)];
        for count in [0, 1, 2, 11, 12, 13, 70, 1000, 5000] {
            for shape in shapes {
                for shared_nibbles in [0, 1] {
                    let prefix = |key: u64| (key >> (4 * shared_nibbles)) | (3 * shared_nibbles) << 60;
                    let mut recs: Vec<Rec> = (0..count)
                        .map(|i| Rec { prefix: prefix(shape(draw(), i)), key: i as u32, row_live: 0 })
                        .collect();
                    let mut expected: Vec<(u64, u32)> = recs.iter().map(|rec| (rec.prefix, rec.key)).collect();
                    sort_by_prefix(&mut recs, shared_nibbles as u32, &mut Vec::new());
                    assert!(recs.is_sorted_by_key(|rec| rec.prefix));
                    let mut sorted: Vec<(u64, u32)> = recs.iter().map(|rec| (rec.prefix, rec.key)).collect();
                    expected.sort_unstable();
                    sorted.sort_unstable();
                    assert_eq!(sorted, expected);
                }
            }
        }
    }
}
