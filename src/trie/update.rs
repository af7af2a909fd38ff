//! One update of the tries: hashes and groups addresses, assigns shards to threads, runs the phases
//! and computes the root.
//!
//! In: [`StateChanges`] and a store. Out: the new root; the tries are changed in place and
//! the changes can be undone. Each thread owns whole shards during a phase. If one storage trie has
//! a large part of the work, it is distributed over all shards (`wide.rs`), and all threads finish
//! a phase before the next one starts; otherwise every thread runs all phases without waiting.
//! Not here: the phases (`worker.rs`).

use super::assignment::Assignment;
use super::changes::NodeChanges;
use super::count::HashCount;
use super::error::TrieError;
use super::input::HashedKeys;
use super::shard::{Mark, Shard};
use super::top::{SHARDS, Top};
use super::wide::{WideMark, WideTries};
use super::worker::{Context, Group, Input, Worker};
use crate::arena::changes::StateChanges;
use crate::arena::keccak::{LANES_MAX, Width, hash_addresses};
use crate::arena::path::NodePath;
use crate::arena::store::StateStore;
use alloy_primitives::{Address, B256};
use rayon::prelude::*;

/// Checks the lengths of an update's columns and its slot ranges.
fn check(update: &StateChanges, keys: Option<HashedKeys<'_>>) -> Result<(), TrieError> {
    let accounts = update.addresses.len();
    let columns = [update.statuses.len(), update.nonces.len(), update.balances.len(), update.code_hashes.len()];
    if columns.iter().any(|len| *len != accounts) {
        return Err(TrieError::Malformed("account columns differ in length"));
    }
    let slots = update.slot_keys.len();
    if update.slot_values.len() != slots {
        return Err(TrieError::Malformed("slot columns differ in length"));
    }
    if keys.is_some_and(|keys| keys.addresses.len() != accounts || keys.slots.len() != slots) {
        return Err(TrieError::Malformed("hashed keys differ in number from keys"));
    }
    let starts = &update.slot_starts;
    if accounts > 0 && (starts.len() != accounts + 1 || starts[accounts] as usize > slots) || !starts.is_sorted() {
        return Err(TrieError::Malformed("slot ranges are not monotone or exceed the slot columns"));
    }
    if accounts.max(slots) >= 1 << 30 {
        return Err(TrieError::Malformed("more than 2^30 rows"));
    }
    Ok(())
}

/// Buffers kept from update to update to reuse their memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    hashed: Vec<B256>,
    /// Update rows, grouped by shard.
    order: Vec<u32>,
    workers: Vec<Worker>,
    /// Only nodes left below distributed roots: owner and path in its trie.
    top_survivors: Vec<(B256, NodePath)>,
}

impl Scratch {
    /// Only children that replaced their branch in the last update: owner and path in its trie.
    pub(super) fn survivors(&self) -> Vec<(B256, NodePath)> {
        let mut survivors = self.top_survivors.clone();
        self.workers.iter().for_each(|worker| survivors.extend_from_slice(&worker.survivors));
        survivors
    }
}

/// The parts of [`StateTries`](super::StateTries) that an update changes.
pub(super) struct Tries<'a> {
    pub(super) shards: &'a mut [Shard],
    pub(super) top: &'a mut Top,
    pub(super) wide: &'a mut WideTries,
    pub(super) scratch: &'a mut Scratch,
    pub(super) count: &'a mut HashCount,
    pub(super) changes: &'a mut Option<NodeChanges>,
    pub(super) width: Width,
    pub(super) tuning: Tuning,
}

/// Number of addresses that one task hashes, a multiple of the kernel's lanes.
const HASHED_TOGETHER: usize = 8 * LANES_MAX;

/// Thresholds of parallel work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Updates with fewer accounts and slots run on one thread.
    pub(super) parallel_rows_min: usize,
    /// Storage tries with fewer changed slots are not made wide.
    pub(super) wide_slots_min: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { parallel_rows_min: 256, wide_slots_min: 512 }
    }
}

/// A state that can be restored.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    /// Equal in all shards, as they begin updates together.
    shards: Mark,
    top: Top,
    wide: WideMark,
}

impl Saved {
    /// The state of tries without uncommitted updates.
    pub(super) fn at_commit(top: Top) -> Self {
        Self { shards: Mark::default(), top, wide: WideMark::default() }
    }

    /// Whether no update was made between the two, which both must be states since the last commit.
    pub(super) fn is_same_update(&self, other: &Self) -> bool {
        self.shards == other.shards
    }
}

impl Tries<'_> {
    /// The present state, to be restored by [`Self::undo`].
    pub(super) fn save(&self) -> Saved {
        let shards = self.shards.first().map_or_else(Mark::default, Shard::mark);
        Saved { shards, top: self.top.clone(), wide: self.wide.mark() }
    }

    /// Starts an update; returns the state before it.
    pub(super) fn begin(&mut self) -> Saved {
        let saved = self.save();
        self.shards.iter_mut().for_each(Shard::begin);
        saved
    }

    /// Restores the state before an update.
    pub(super) fn undo(&mut self, saved: Saved) {
        self.shards.iter_mut().for_each(|shard| shard.rollback(saved.shards));
        *self.top = saved.top;
        self.wide.rollback(&saved.wide);
    }

    /// Applies `update`; `keys` are the hashes of its keys, if the caller has them. On an error the
    /// tries are as before; the error does not depend on the number of threads.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn update(
        &mut self,
        update: &StateChanges,
        keys: Option<HashedKeys<'_>>,
        store: &dyn StateStore,
    ) -> Result<B256, TrieError> {
        check(update, keys)?;
        *self.count = HashCount::default();
        let rows = update.addresses.len() + update.slot_keys.len();
        let threads = if rows < self.tuning.parallel_rows_min { 1 } else { rayon::current_num_threads().min(SHARDS) };
        let mut own = core::mem::take(&mut self.scratch.hashed);
        let hashed = keys.map(|keys| keys.addresses).unwrap_or_else(|| {
            own.resize(update.addresses.len(), B256::ZERO);
            self.count.add(own.len(), 1);
            hash_on(threads, self.width, &update.addresses, &mut own);
            &own
        });
        let input = Input { update, hashed, hashed_slots: keys.map(|keys| keys.slots), store };
        let mut result = self.attempt(input, threads);
        if result.is_err() && threads > 1 {
            // With several threads the error that occurs first depends on timing, so the update is
            // repeated on one thread.
            result = self.attempt(input, 1);
        }
        self.scratch.hashed = own;
        result
    }

    /// Applies an update on `threads` threads, and undoes it on an error.
    fn attempt(&mut self, input: Input<'_>, threads: usize) -> Result<B256, TrieError> {
        let saved = self.begin();
        self.scratch.workers.iter_mut().for_each(Worker::clear);
        self.scratch.top_survivors.clear();
        let result = self.apply(input, threads);
        if result.is_err() {
            self.undo(saved);
        }
        result
    }

    fn apply(&mut self, input: Input<'_>, threads: usize) -> Result<B256, TrieError> {
        let Input { update, hashed, store, .. } = input;
        if update.addresses.is_empty() {
            return Ok(self.top.root);
        }
        let width = self.width;
        self.top.resolve(self.shards, B256::ZERO, store, width)?;
        let Scratch { hashed: _, order, workers, top_survivors } = &mut *self.scratch;
        let was = self.top.clone();
        let context = Context { input, width, top: &was, log: self.changes.is_some() };
        let starts = group_by_shard(hashed, order);
        let owner = assign(update, &starts, order, threads);
        let mut assignment = Assignment { owner, groups: vec![Vec::with_capacity(SHARDS); threads] };
        for (n, owner) in owner.into_iter().enumerate() {
            let rows = &order[starts[n]..starts[n + 1]];
            let slots =
                |row: &u32| (update.slot_starts[*row as usize + 1] - update.slot_starts[*row as usize]) as usize;
            assignment.groups[owner].push(Group {
                shard: n,
                rows,
                weight: rows.iter().map(|row| 1 + slots(row)).sum(),
            });
        }
        workers.resize_with(workers.len().max(threads), Worker::new);
        let workers = &mut workers[..threads];

        let spread = spread_min(update, threads, self.tuning);
        let mut jobs = Vec::new();
        if self.wide.is_empty() && spread.is_none() {
            assignment.run(workers, self.shards, |worker, shards, groups| worker.run(&context, shards, groups))?;
        } else {
            assignment
                .run(workers, self.shards, |worker, shards, groups| worker.find_accounts(&context, shards, groups))?;
            jobs = self.wide.jobs(&context, workers, &assignment, self.shards, spread)?;
            assignment.run(workers, self.shards, |worker, shards, groups| {
                worker.update_storage(&context, shards, groups, &jobs)
            })?;
            for (job, n, node, hash) in workers.iter().flat_map(Worker::wide_parts) {
                (jobs[job].top.nodes[n], jobs[job].top.hashes[n]) = (node, hash);
            }
            for job in &mut jobs {
                self.wide.close(job, self.shards, store, width, self.count)?;
                top_survivors.extend(job.top.survivor(&job.was).map(|path| (job.owner, path)));
            }
            assignment.run(workers, self.shards, |worker, shards, _| worker.finish(&context, shards, &jobs))?;
        }
        for worker in &mut *workers {
            for root in &worker.roots {
                self.top.nodes[root.owner as usize] = root.node;
                self.top.hashes[root.owner as usize] = root.hash;
            }
            *self.count += worker.count;
            for dropped in worker.dropped_wide.drain(..) {
                self.wide.drop_trie(dropped, self.shards);
            }
        }
        let root = self.top.close(self.shards, B256::ZERO, store, width, self.count)?;
        top_survivors.extend(self.top.survivor(&was).map(|path| (B256::ZERO, path)));
        if let Some(changes) = self.changes {
            workers.iter_mut().for_each(|worker| changes.append(&mut worker.changes));
            jobs.iter().for_each(|job| job.top.log(&job.was, self.shards, job.owner, changes));
            self.top.log(&was, self.shards, B256::ZERO, changes);
        }
        Ok(root)
    }
}

/// keccak256 of each address, on all threads even if there are few: this wakes the threads before
/// the shards are assigned.
fn hash_on(threads: usize, width: Width, addresses: &[Address], hashed: &mut [B256]) {
    if threads == 1 {
        return hash_addresses(width, addresses, hashed);
    }
    let chunks = addresses.par_chunks(HASHED_TOGETHER).zip(hashed.par_chunks_mut(HASHED_TOGETHER));
    chunks.for_each(|(addresses, hashed)| hash_addresses(width, addresses, hashed));
}

/// The minimum number of changed slots of a storage trie to be distributed over the shards; `None`
/// if no trie has that many.
fn spread_min(update: &StateChanges, threads: usize, tuning: Tuning) -> Option<usize> {
    let rows = update.addresses.len() + update.slot_keys.len();
    // A trie with less than half of a thread's share is balanced well enough as part of its shard.
    let min = tuning.wide_slots_min.max(rows.div_ceil(2 * threads));
    let reached = update.slot_starts.windows(2).any(|slots| (slots[1] - slots[0]) as usize >= min);
    (threads > 1 && reached).then_some(min)
}

/// Sorts update rows by shard; rows of shard `n` are then `order[starts[n]..starts[n + 1]]`.
fn group_by_shard(hashed: &[B256], order: &mut Vec<u32>) -> [usize; SHARDS + 1] {
    let mut starts = [0; SHARDS + 1];
    for hash in hashed {
        starts[(hash[0] >> 4) as usize + 1] += 1;
    }
    for n in 0..SHARDS {
        starts[n + 1] += starts[n];
    }
    let mut next = starts;
    order.resize(hashed.len(), 0);
    for (row, hash) in hashed.iter().enumerate() {
        let place = &mut next[(hash[0] >> 4) as usize];
        order[*place] = row as u32;
        *place += 1;
    }
    starts
}

/// Delay of all threads but the calling one, as a weight of [`assign`]: they first wake up and load
/// the update from the calling thread's cache.
const LATE: usize = 40;

/// Assigns shards to threads, heaviest first, each to the thread with the least work.
fn assign(update: &StateChanges, starts: &[usize; SHARDS + 1], order: &[u32], threads: usize) -> [usize; SHARDS] {
    let mut owner = [0; SHARDS];
    if threads == 1 {
        return owner;
    }
    let weight = |row: &u32| {
        let row = *row as usize;
        3 + (update.slot_starts[row + 1] - update.slot_starts[row]) as usize * 2
    };
    let mut weights: [(usize, usize); SHARDS] = core::array::from_fn(|n| {
        let rows = &order[starts[n]..starts[n + 1]];
        (rows.iter().map(weight).sum(), n)
    });
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let mut load = [LATE; SHARDS];
    load[0] = 0;
    for (weight, n) in weights {
        let thread = (0..threads).min_by_key(|thread| load[*thread]).unwrap_or(0);
        owner[n] = thread;
        load[thread] += weight;
    }
    owner
}
