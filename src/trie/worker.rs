//! The phases of an update for the shards of one thread.
//!
//! In: rows of an update, by shard. Out: the tries of these shards, updated and hashed, with the
//! nodes below the root in `roots`. A worker runs every phase for all its shards together, so that
//! its kernel calls are filled from all its tries.
//! Relies on: every shard belongs to exactly one worker, in the same order in all phases.
//! Not here: the distribution over threads (`update.rs`, `assignment.rs`).

use super::changes::NodeChanges;
use super::count::HashCount;
use super::descent::{Descent, Rec, Root, Shards, Source};
use super::error::TrieError;
use super::node::Ref;
use super::shard::Shard;
use super::top::{SHARDS, Top};
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::{Width, hash_fixed};
use crate::arena::path::NodePath;
use crate::arena::prefetch::prefetch_lines;
use crate::arena::store::{EMPTY_ROOT, StateStore, StoreError};
use alloy_primitives::B256;

/// Number of leaves that are prefetched together.
const AHEAD: usize = 16;

/// The input of an update.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) update: &'a StateChanges,
    /// keccak256 of each address.
    pub(super) hashed: &'a [B256],
    /// keccak256 of each slot key; `None`: computed by the workers.
    pub(super) hashed_slots: Option<&'a [B256]>,
    pub(super) store: &'a dyn StateStore,
}

/// What all workers of an update share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) input: Input<'a>,
    pub(super) width: Width,
    /// The account trie's top before the update.
    pub(super) top: &'a Top,
    /// Whether changes are logged.
    pub(super) log: bool,
}

impl Context<'_> {
    /// Ends the update if it was cancelled.
    fn check_cancelled(&self) -> Result<(), TrieError> {
        if self.input.store.is_cancelled() { Err(StoreError::Cancelled.into()) } else { Ok(()) }
    }
}

/// Maximum accounts and slots of a batch: enough to fill the kernel's lanes on every level, few
/// enough for the L2 cache.
const BATCH_ROWS: usize = 3000;
/// Marks an account without changed storage.
const NO_ROOT: u32 = u32::MAX;
/// Marks an account without a leaf: it is deleted.
const NO_LEAF: u32 = u32::MAX;
/// Bit that marks the owner of a root, or the root of an account, as a wide trie.
const WIDE_ROOT: u32 = 1 << 31;

/// A shard and its rows of the update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub(super) shard: usize,
    pub(super) rows: &'a [u32],
    /// Number of changed accounts and slots.
    pub(super) weight: usize,
}

/// The update of one wide trie.
#[derive(Debug)]
pub(super) struct WideJob {
    /// Hashed address of the account.
    pub(super) owner: B256,
    /// The top after the update.
    pub(super) top: Top,
    /// The top before the update.
    pub(super) was: Top,
    /// Reference for the account's leaf.
    pub(super) node: Ref,
    /// Number in the table, if the trie was wide before the update.
    pub(super) index: Option<u32>,
    /// Hashed keys and their update rows, by shard.
    pub(super) keys: Vec<(B256, u32)>,
    pub(super) starts: [usize; SHARDS + 1],
}

impl WideJob {
    /// Hashed keys and update rows of one shard.
    pub(super) fn keys_of(&self, shard: usize) -> &[(B256, u32)] {
        &self.keys[self.starts[shard]..self.starts[shard + 1]]
    }
}

/// The work lists of one thread; kept from update to update to reuse their memory.
#[derive(Debug)]
pub(super) struct Worker {
    accounts: Descent,
    storage: Descent,
    /// Update row of each account key.
    rows: Vec<u32>,
    /// Row in `storage.roots` of each account key, or [`NO_ROOT`].
    root_of: Vec<u32>,
    /// Shard (of this worker) of each account key.
    shard_of: Vec<u8>,
    /// Update row of each storage key.
    slot_rows: Vec<u32>,
    /// Storage tries with changed slots: row in `root_of`, and how many keys.
    jobs: Vec<(u32, u32)>,
    pub(super) count: HashCount,
    pub(super) changes: NodeChanges,
    /// Nodes below the account trie's root, by shard (`owner`).
    pub(super) roots: Vec<Root>,
    /// Only children that replaced their branch: owner and path in its trie.
    pub(super) survivors: Vec<(B256, NodePath)>,
    /// Wide tries of accounts that were deleted or whose storage was cleared.
    pub(super) dropped_wide: Vec<u32>,
}

impl Worker {
    pub(super) fn new() -> Self {
        Self {
            accounts: Descent::new(true),
            storage: Descent::new(false),
            rows: Vec::new(),
            root_of: Vec::new(),
            shard_of: Vec::new(),
            slot_rows: Vec::new(),
            jobs: Vec::new(),
            count: HashCount::default(),
            changes: NodeChanges::default(),
            roots: Vec::new(),
            survivors: Vec::new(),
            dropped_wide: Vec::new(),
        }
    }

    /// Clears the results of the last update; each phase clears its own lists.
    pub(super) fn clear(&mut self) {
        self.count = HashCount::default();
        self.changes.clear();
        self.roots.clear();
        self.survivors.clear();
        self.dropped_wide.clear();
    }

    /// Runs all phases, for a few shards at a time, so that the nodes that a batch has read are
    /// still in the cache when they are hashed.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn run(
        &mut self,
        context: &Context<'_>,
        shards: Shards<'_, '_>,
        groups: &[Group<'_>],
    ) -> Result<(), TrieError> {
        let mut start = 0;
        while start < groups.len() {
            let (mut end, mut weight) = (start + 1, groups[start].weight);
            while end < groups.len() && weight + groups[end].weight <= BATCH_ROWS {
                weight += groups[end].weight;
                end += 1;
            }
            let (shards, groups) = (&mut shards[start..end], &groups[start..end]);
            start = end;
            if weight > 0 {
                self.find_accounts(context, shards, groups)?;
                self.update_storage(context, shards, groups, &[])?;
                self.finish(context, shards, &[])?;
            }
        }
        Ok(())
    }

    /// First phase: finds or creates the leaves of all changed accounts. `groups` has the update
    /// rows of each shard.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn find_accounts(
        &mut self,
        context: &Context<'_>,
        shards: Shards<'_, '_>,
        groups: &[Group<'_>],
    ) -> Result<(), TrieError> {
        context.check_cancelled()?;
        self.add_accounts(context, groups)?;
        self.accounts.descend(shards, Source::Accounts, context.input.store, context.width)
    }

    /// Second phase: updates the storage tries, and this worker's subtries of the wide tries
    /// `jobs`.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn update_storage(
        &mut self,
        context: &Context<'_>,
        shards: Shards<'_, '_>,
        groups: &[Group<'_>],
        jobs: &[WideJob],
    ) -> Result<(), TrieError> {
        let Context { input: Input { update, store, .. }, width, .. } = *context;
        context.check_cancelled()?;
        self.add_storage(context, shards)?;
        for (j, job) in jobs.iter().enumerate() {
            for (local, group) in groups.iter().enumerate() {
                let lo = self.storage.recs.len();
                for (hash, row) in job.keys_of(group.shard) {
                    let live = !update.slot_values[*row as usize].is_zero();
                    self.storage.recs.push(Rec::new(hash, self.storage.keys.len(), *row as usize, live));
                    self.storage.keys.push(*hash);
                }
                if lo == self.storage.recs.len() {
                    continue;
                }
                self.storage.sort(lo, 1)?;
                let owner = WIDE_ROOT | (j as u32) << 4 | group.shard as u32;
                let (node, hash) = (job.top.nodes[group.shard], job.top.hashes[group.shard]);
                self.storage.add_root(Root { node, hash, owner, key: job.owner }, local, 1, lo);
            }
        }
        self.storage.descend(shards, Source::Slots(&update.slot_values), store, width)?;
        self.storage.collapse(shards, store, width)?;
        self.storage.hash(shards, width, &mut self.count);
        Ok(())
    }

    /// Third phase: fills the account leaves and hashes the nodes above them.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn finish(
        &mut self,
        context: &Context<'_>,
        shards: Shards<'_, '_>,
        jobs: &[WideJob],
    ) -> Result<(), TrieError> {
        let Context { input: Input { store, .. }, width, .. } = *context;
        context.check_cancelled()?;
        self.fill_accounts(context, shards, jobs);
        self.accounts.collapse(shards, store, width)?;
        self.accounts.hash(shards, width, &mut self.count);
        if context.log {
            self.log(shards);
        }
        self.roots.extend_from_slice(&self.accounts.roots);
        for descent in [&mut self.accounts, &mut self.storage] {
            self.dropped_wide.append(&mut descent.dropped_wide);
            let owner = |v: u32| descent.roots[descent.root_row(v)].key;
            self.survivors.extend(descent.survivors.iter().map(|(v, path)| (owner(*v), *path)));
        }
        Ok(())
    }

    /// The top nodes of this worker's subtries of wide tries: job, shard, node and hash.
    pub(super) fn wide_parts(&self) -> impl Iterator<Item = (usize, usize, Ref, B256)> {
        let wide = self.storage.roots.iter().filter(|root| root.owner & WIDE_ROOT != 0);
        wide.map(|root| ((root.owner & !WIDE_ROOT) as usize >> 4, root.owner as usize & 0xf, root.node, root.hash))
    }

    /// Excludes the storage of this worker's account `i` from the second phase, as the wide job
    /// `job` updates it.
    pub(super) fn set_wide(&mut self, i: usize, job: usize) {
        self.root_of[i] = WIDE_ROOT | job as u32;
    }

    /// Accounts that exist after the update and have changed slots: their number, update row, local
    /// shard and leaf.
    pub(super) fn with_slots<'a>(
        &'a self,
        update: &'a StateChanges,
    ) -> impl Iterator<Item = (usize, usize, usize, Ref)> + 'a {
        let rows = self.rows.iter().map(|row| *row as usize).enumerate();
        let changed = rows.filter(|(_, row)| {
            update.statuses[*row] != AccountStatus::Deleted && update.slot_starts[*row] < update.slot_starts[*row + 1]
        });
        changed.map(|(i, row)| {
            let visit = &self.accounts.visits[self.accounts.leaf_of[i] as usize];
            (i, row, visit.shard as usize, visit.node)
        })
    }

    fn log(&mut self, shards: Shards<'_, '_>) {
        let (accounts, storage, changes) = (&self.accounts, &self.storage, &mut self.changes);
        accounts.cleared.iter().for_each(|owner| changes.clear_storage(*owner));
        storage.log(shards, changes);
        accounts.log(shards, changes);
        for (key, v) in accounts.keys.iter().zip(&accounts.leaf_of) {
            let visit = accounts.visits.get(*v as usize).filter(|_| *v != NO_LEAF);
            let account = visit.map(|visit| shards[visit.shard as usize].account(visit.node));
            changes.account(*key, account.as_ref());
        }
    }

    fn add_accounts(&mut self, context: &Context<'_>, groups: &[Group<'_>]) -> Result<(), TrieError> {
        self.accounts.clear();
        self.rows.clear();
        self.shard_of.clear();
        for (local, group) in groups.iter().enumerate() {
            let lo = self.accounts.recs.len();
            for row in group.rows {
                let row = *row as usize;
                let hash = &context.input.hashed[row];
                let live = context.input.update.statuses[row] != AccountStatus::Deleted;
                self.accounts.recs.push(Rec::new(hash, self.accounts.keys.len(), row, live));
                self.accounts.keys.push(*hash);
            }
            self.accounts.sort(lo, 1)?;
            // Keys are stored in sorted order, so that later passes access the trie in order.
            for (i, rec) in self.accounts.recs[lo..].iter_mut().enumerate() {
                rec.key = (lo + i) as u32;
                self.accounts.keys[lo + i] = context.input.hashed[rec.row()];
                self.rows.push(rec.row() as u32);
                self.shard_of.push(local as u8);
            }
            let (node, hash) = (context.top.nodes[group.shard], context.top.hashes[group.shard]);
            let root = Root { node, hash, owner: group.shard as u32, key: B256::ZERO };
            self.accounts.add_root(root, local, 1, lo);
        }
        self.accounts.leaf_of.resize(self.accounts.keys.len(), NO_LEAF);
        self.root_of.clear();
        self.root_of.resize(self.rows.len(), NO_ROOT);
        Ok(())
    }

    /// Adds the storage tries of all accounts with changed slots, with their sorted hashed keys.
    fn add_storage(&mut self, context: &Context<'_>, shards: Shards<'_, '_>) -> Result<(), TrieError> {
        let update = context.input.update;
        self.storage.clear();
        self.slot_rows.clear();
        self.jobs.clear();
        for (i, row) in self.rows.iter().enumerate() {
            let row = *row as usize;
            let slots = update.slot_starts[row]..update.slot_starts[row + 1];
            if update.statuses[row] != AccountStatus::Deleted && !slots.is_empty() && self.root_of[i] == NO_ROOT {
                self.jobs.push((i as u32, slots.len() as u32));
                self.slot_rows.extend(slots);
            }
        }
        let (rows, keys) = (&self.slot_rows, &mut self.storage.keys);
        keys.resize(rows.len(), B256::ZERO);
        match context.input.hashed_slots {
            Some(hashed) => keys.iter_mut().zip(rows).for_each(|(key, row)| *key = hashed[*row as usize]),
            None => {
                let key = |i: usize| update.slot_keys[rows[i] as usize].to_be_bytes::<32>();
                hash_fixed(context.width, rows.len(), key, keys);
                self.count.add(rows.len(), 1);
            }
        }
        let mut key = 0usize;
        for (i, slots) in &self.jobs {
            let lo = self.storage.recs.len();
            for _ in 0..*slots {
                let row = self.slot_rows[key] as usize;
                let live = !update.slot_values[row].is_zero();
                self.storage.recs.push(Rec::new(&self.storage.keys[key], key, row, live));
                key += 1;
            }
            self.storage.sort(lo, 0)?;
            let shard = self.shard_of[*i as usize] as usize;
            let leaf = self.accounts.visits[self.accounts.leaf_of[*i as usize] as usize].node;
            let account = shards[shard].account(leaf);
            let cleared = update.statuses[self.rows[*i as usize] as usize] == AccountStatus::StorageCleared;
            let (node, hash) = if cleared { (Ref::NONE, EMPTY_ROOT) } else { (account.storage, account.storage_root) };
            let root = Root { node, hash, owner: *i, key: self.accounts.keys[*i as usize] };
            self.root_of[*i as usize] = self.storage.roots.len() as u32;
            self.storage.add_root(root, shard, 0, lo);
        }
        Ok(())
    }

    /// Prefetches the leaves and update rows of the next accounts.
    #[inline(always)]
    fn prefetch_accounts(&self, context: &Context<'_>, shards: &[&mut Shard], start: usize) {
        let StateChanges { nonces, balances, code_hashes, .. } = context.input.update;
        let end = self.rows.len().min(start + AHEAD);
        for i in start..end {
            let row = self.rows[i] as usize;
            prefetch_lines((&raw const nonces[row]).cast(), 1);
            prefetch_lines((&raw const balances[row]).cast(), 1);
            prefetch_lines((&raw const code_hashes[row]).cast(), 1);
            if let Some(visit) = self.accounts.visits.get(self.accounts.leaf_of[i] as usize) {
                shards[visit.shard as usize].prefetch(visit.node);
            }
        }
    }

    /// Writes the fields of all account leaves. `tuned.rs` compiles this for processor features.
    #[inline(always)]
    pub(super) fn fill_accounts_here(&mut self, context: &Context<'_>, shards: Shards<'_, '_>, jobs: &[WideJob]) {
        let update = context.input.update;
        self.prefetch_accounts(context, shards, 0);
        for i in 0..self.rows.len() {
            if i % AHEAD == 0 {
                self.prefetch_accounts(context, shards, i + AHEAD);
            }
            let row = self.rows[i] as usize;
            if update.statuses[row] == AccountStatus::Deleted {
                continue;
            }
            let v = self.accounts.leaf_of[i] as usize;
            let visit = self.accounts.visits[v];
            let shard = &mut *shards[visit.shard as usize];
            let mut account = shard.account(visit.node);
            account.nonce = update.nonces[row].unwrap_or(account.nonce);
            account.balance = update.balances[row].unwrap_or(account.balance);
            account.code_hash = update.code_hashes[row].unwrap_or(account.code_hash);
            if update.statuses[row] == AccountStatus::StorageCleared {
                if account.storage != Ref::NONE {
                    self.accounts.cleared.push(self.accounts.keys[i]);
                }
                shard.free_below(account.storage, &mut self.accounts.dropped_wide);
                (account.storage, account.storage_root) = (Ref::NONE, EMPTY_ROOT);
            }
            match self.root_of[i] {
                NO_ROOT => {}
                wide if wide & WIDE_ROOT != 0 => {
                    let job = &jobs[(wide & !WIDE_ROOT) as usize];
                    (account.storage, account.storage_root) = (job.node, job.top.root);
                }
                root => {
                    let root = &self.storage.roots[root as usize];
                    account.storage = root.node;
                    account.storage_root = if root.node == Ref::NONE { EMPTY_ROOT } else { root.hash };
                }
            }
            let node = shard.set_account(visit.node, &account);
            if node != visit.node {
                self.accounts.visits[v].node = node;
                self.accounts.attach(shard, v);
            }
            self.accounts.encode_leaf(shard, v);
        }
    }
}
