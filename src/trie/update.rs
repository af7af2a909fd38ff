//! One update: keys hashed and sorted, shards dealt to workers, storage roots, account leaves, state root.
//!
//! In: [`StateUpdate`] columns and a store. Out: the new root; the tries changed in place, undoable.
//! Each worker owns whole shards for the time of the update and does every phase for all of them together, so that
//! its kernel calls are filled from all its tries.

use super::changes::{NodeChanges, NodePath};
use super::descent::{Descent, Rec, Root, Shards, Source};
use super::hash::HashCount;
use super::node::Ref;
use super::shard::{Mark, Shard};
use super::top::{SHARDS, Top};
use super::{EMPTY_ROOT, Fate, StateUpdate, TrieError};
use crate::arena::keccak::{Width, hash_addresses, hash_fixed};
use crate::arena::store::StateStore;
use alloy_primitives::B256;
use rayon::prelude::*;

/// Below so many accounts and slots an update is not worth a second thread.
const PARALLEL_ROWS_MIN: usize = 256;
/// Leaves between asking for one and filling it.
const AHEAD: usize = 8;

/// What all workers of an update share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) update: &'a StateUpdate<'a>,
    /// keccak256 of each address.
    pub(super) hashed: &'a [B256],
    pub(super) store: &'a dyn StateStore,
    pub(super) width: Width,
    /// Whether changes are logged.
    pub(super) log: bool,
}

/// No changed storage.
const NO_ROOT: u32 = u32::MAX;
/// No leaf: the account is deleted.
const NO_LEAF: u32 = u32::MAX;

/// The work lists of one thread; kept from update to update for their memory.
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
    count: HashCount,
    changes: NodeChanges,
}

impl Worker {
    fn new() -> Self {
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
        }
    }

    /// Forgets the last update.
    fn clear(&mut self) {
        self.accounts.clear();
        self.storage.clear();
    }

    /// Runs all phases for this worker's shards; `groups` has the update rows of each.
    fn run(
        &mut self,
        context: &Context<'_>,
        shards: Shards<'_, '_>,
        groups: &[(usize, &[u32])],
        top: &Top,
    ) -> Result<(), TrieError> {
        let Context { update, store, width, .. } = *context;
        self.count = HashCount::default();
        self.changes.clear();
        self.add_accounts(context, groups, top)?;
        self.accounts.descend(shards, Source::Accounts, store, width)?;
        self.add_storage(context, shards)?;
        self.storage.descend(shards, Source::Slots(update.slot_values), store, width)?;
        self.storage.collapse(shards, store, width)?;
        self.storage.hash(shards, width, &mut self.count);
        self.fill_accounts(context, shards);
        self.accounts.collapse(shards, store, width)?;
        self.accounts.hash(shards, width, &mut self.count);
        if context.log {
            self.log(shards);
        }
        Ok(())
    }

    fn log(&mut self, shards: Shards<'_, '_>) {
        let (accounts, storage, changes) = (&self.accounts, &self.storage, &mut self.changes);
        accounts.wiped.iter().for_each(|owner| changes.wipe(*owner));
        storage.log(shards, |root| accounts.keys[storage.roots[root as usize].owner as usize], changes);
        accounts.log(shards, |_| B256::ZERO, changes);
        for (key, v) in accounts.keys.iter().zip(&accounts.leaf_of) {
            let visit = accounts.visits.get(*v as usize).filter(|_| *v != NO_LEAF);
            let account = visit.map(|visit| shards[visit.shard as usize].account(visit.node));
            changes.account(*key, account.as_ref());
        }
    }

    fn add_accounts(&mut self, context: &Context<'_>, groups: &[(usize, &[u32])], top: &Top) -> Result<(), TrieError> {
        self.accounts.clear();
        self.rows.clear();
        self.shard_of.clear();
        for (local, (shard, rows)) in groups.iter().enumerate() {
            let lo = self.accounts.recs.len();
            for row in *rows {
                let row = *row as usize;
                let hash = &context.hashed[row];
                let live = context.update.fates[row] != Fate::Deleted;
                self.accounts.recs.push(Rec::new(hash, self.accounts.keys.len(), row, live));
                self.accounts.keys.push(*hash);
            }
            self.accounts.sort(lo)?;
            // Keys in sorted order, so that later passes over them run along the trie.
            for (i, rec) in self.accounts.recs[lo..].iter_mut().enumerate() {
                rec.key = (lo + i) as u32;
                self.accounts.keys[lo + i] = context.hashed[rec.row()];
                self.rows.push(rec.row() as u32);
                self.shard_of.push(local as u8);
            }
            let root = Root { node: top.nodes[*shard], hash: top.hashes[*shard], owner: *shard as u32 };
            self.accounts.add_root(root, local, 1, lo);
        }
        self.accounts.leaf_of.resize(self.accounts.keys.len(), NO_LEAF);
        Ok(())
    }

    /// Lists the storage tries of all accounts found, with their sorted hashed keys.
    fn add_storage(&mut self, context: &Context<'_>, shards: Shards<'_, '_>) -> Result<(), TrieError> {
        let update = context.update;
        self.storage.clear();
        self.slot_rows.clear();
        self.jobs.clear();
        self.root_of.clear();
        self.root_of.resize(self.rows.len(), NO_ROOT);
        for (i, row) in self.rows.iter().enumerate() {
            let row = *row as usize;
            let slots = update.slot_starts[row]..update.slot_starts[row + 1];
            if update.fates[row] != Fate::Deleted && !slots.is_empty() {
                self.jobs.push((i as u32, slots.len() as u32));
                self.slot_rows.extend(slots);
            }
        }
        let (rows, keys) = (&self.slot_rows, &mut self.storage.keys);
        keys.resize(rows.len(), B256::ZERO);
        match update.hashed_slots {
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
            self.storage.sort(lo)?;
            let shard = self.shard_of[*i as usize] as usize;
            let leaf = self.accounts.visits[self.accounts.leaf_of[*i as usize] as usize].node;
            let account = shards[shard].account(leaf);
            let wiped = update.fates[self.rows[*i as usize] as usize] == Fate::Wiped;
            let root = if wiped {
                Root { node: Ref::NONE, hash: EMPTY_ROOT, owner: *i }
            } else {
                Root { node: account.storage, hash: account.storage_root, owner: *i }
            };
            self.root_of[*i as usize] = self.storage.roots.len() as u32;
            self.storage.add_root(root, shard, 0, lo);
        }
        Ok(())
    }

    /// Writes the fields of all account leaves.
    fn fill_accounts(&mut self, context: &Context<'_>, shards: Shards<'_, '_>) {
        let update = context.update;
        for i in 0..self.rows.len() {
            let ahead = self.accounts.leaf_of.get(i + AHEAD).copied().unwrap_or(NO_LEAF);
            if let Some(ahead) = self.accounts.visits.get(ahead as usize) {
                shards[ahead.shard as usize].prefetch(ahead.node);
            }
            let row = self.rows[i] as usize;
            if update.fates[row] == Fate::Deleted {
                continue;
            }
            let v = self.accounts.leaf_of[i] as usize;
            let visit = self.accounts.visits[v];
            let shard = &mut *shards[visit.shard as usize];
            let mut account = shard.account(visit.node);
            account.nonce = update.nonces[row].unwrap_or(account.nonce);
            account.balance = update.balances[row].unwrap_or(account.balance);
            account.code_hash = update.code_hashes[row].unwrap_or(account.code_hash);
            if update.fates[row] == Fate::Wiped {
                if account.storage != Ref::NONE {
                    self.accounts.wiped.push(self.accounts.keys[i]);
                }
                shard.free_below(account.storage, &mut self.accounts.dropped_wide);
                (account.storage, account.storage_root) = (Ref::NONE, EMPTY_ROOT);
            }
            if self.root_of[i] != NO_ROOT {
                let root = &self.storage.roots[self.root_of[i] as usize];
                account.storage = root.node;
                account.storage_root = if root.node == Ref::NONE { EMPTY_ROOT } else { root.hash };
            }
            let node = shard.set_account(visit.node, &account);
            if node != visit.node {
                self.accounts.visits[v].node = node;
                self.accounts.attach(shard, v);
            }
        }
    }
}

/// Checks the shape of an update.
fn check(update: &StateUpdate<'_>) -> Result<(), TrieError> {
    let accounts = update.addresses.len();
    let columns = [update.fates.len(), update.nonces.len(), update.balances.len(), update.code_hashes.len()];
    if columns.iter().any(|len| *len != accounts) {
        return Err(TrieError::Malformed("account columns differ in length"));
    }
    let slots = update.slot_keys.len();
    if update.slot_values.len() != slots {
        return Err(TrieError::Malformed("slot columns differ in length"));
    }
    if update.hashed_addresses.is_some_and(|hashed| hashed.len() != accounts)
        || update.hashed_slots.is_some_and(|hashed| hashed.len() != slots)
    {
        return Err(TrieError::Malformed("hashed keys differ in number from keys"));
    }
    let starts = update.slot_starts;
    if accounts > 0 && (starts.len() != accounts + 1 || starts[accounts] as usize > slots) || !starts.is_sorted() {
        return Err(TrieError::Malformed("slot ranges do not fit"));
    }
    if accounts.max(slots) >= 1 << 30 {
        return Err(TrieError::Malformed("more than 2^30 rows"));
    }
    Ok(())
}

/// What all updates share; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    hashed: Vec<B256>,
    /// Update rows, grouped by shard.
    order: Vec<u32>,
    workers: Vec<Worker>,
}

impl Scratch {
    /// The only children that collapsing branches of the last update gave way to: owner and path in its trie.
    pub(super) fn survivors(&self) -> Vec<(B256, NodePath)> {
        let mut survivors = Vec::new();
        for Worker { accounts, storage, .. } in &self.workers {
            survivors.extend(accounts.survivors.iter().map(|(_, path)| (B256::ZERO, *path)));
            for (v, path) in &storage.survivors {
                let owner = storage.roots[storage.root_row(*v)].owner;
                survivors.push((accounts.keys[owner as usize], *path));
            }
        }
        survivors
    }
}

/// The tries' side of an update.
pub(super) struct Tries<'a> {
    pub(super) shards: &'a mut [Shard],
    pub(super) top: &'a mut Top,
    pub(super) scratch: &'a mut Scratch,
    pub(super) count: &'a mut HashCount,
    pub(super) changes: &'a mut Option<NodeChanges>,
    pub(super) width: Width,
}

impl Tries<'_> {
    /// Starts an update: marks in all journals to go back to.
    pub(super) fn begin(&mut self) -> Vec<Mark> {
        self.shards.iter_mut().map(Shard::begin).collect()
    }

    /// Applies `update`; on an error everything is as before.
    ///
    /// # Errors
    /// [`TrieError`].
    pub(super) fn update(&mut self, update: &StateUpdate<'_>, store: &dyn StateStore) -> Result<B256, TrieError> {
        check(update)?;
        *self.count = HashCount::default();
        let marks = self.begin();
        let top = self.top.clone();
        self.scratch.workers.iter_mut().for_each(Worker::clear);
        let result = self.apply(update, store);
        if result.is_err() {
            self.shards.iter_mut().zip(&marks).for_each(|(shard, mark)| shard.rollback(mark));
            *self.top = top;
        }
        result
    }

    fn apply(&mut self, update: &StateUpdate<'_>, store: &dyn StateStore) -> Result<B256, TrieError> {
        let accounts = update.addresses.len();
        if accounts == 0 {
            return Ok(self.top.root);
        }
        let width = self.width;
        self.top.resolve(self.shards, true, store, width)?;
        let rows = accounts + update.slot_keys.len();
        let threads = if rows < PARALLEL_ROWS_MIN { 1 } else { rayon::current_num_threads().min(SHARDS) };
        let Scratch { hashed, order, workers } = &mut *self.scratch;
        let hashed: &[B256] = match update.hashed_addresses {
            Some(hashed) => hashed,
            None => {
                hashed.resize(accounts, B256::ZERO);
                self.count.add(accounts, 1);
                let chunk = accounts.div_ceil(threads).next_multiple_of(8);
                if threads == 1 {
                    hash_addresses(width, update.addresses, hashed);
                } else {
                    let chunks = update.addresses.par_chunks(chunk).zip(hashed.par_chunks_mut(chunk));
                    chunks.for_each(|(addresses, hashed)| hash_addresses(width, addresses, hashed));
                }
                hashed
            }
        };
        let context = Context { update, hashed, store, width, log: self.changes.is_some() };
        let starts = group_by_shard(hashed, order);
        let owner = deal(update, &starts, order, threads);
        workers.resize_with(workers.len().max(threads), Worker::new);

        let mut shards: Vec<Vec<&mut Shard>> = (0..threads).map(|_| Vec::with_capacity(SHARDS)).collect();
        let mut groups: Vec<Vec<(usize, &[u32])>> = vec![Vec::with_capacity(SHARDS); threads];
        for (n, shard) in self.shards.iter_mut().enumerate() {
            let rows = &order[starts[n]..starts[n + 1]];
            if !rows.is_empty() {
                shards[owner[n]].push(shard);
                groups[owner[n]].push((n, rows));
            }
        }
        let top = &*self.top;
        let mut results = vec![Ok(()); threads];
        if threads == 1 {
            results[0] = workers[0].run(&context, &mut shards[0], &groups[0], top);
        } else {
            rayon::scope(|scope| {
                let tasks = workers.iter_mut().zip(&mut shards).zip(&groups).zip(&mut results);
                for (((worker, shards), groups), result) in tasks {
                    let context = &context;
                    scope.spawn(move |_| *result = worker.run(context, shards, groups, top));
                }
            });
        }
        results.into_iter().collect::<Result<(), TrieError>>()?;
        let was = self.changes.is_some().then(|| self.top.clone());
        for worker in &mut workers[..threads] {
            for root in &worker.accounts.roots {
                self.top.nodes[root.owner as usize] = root.node;
                self.top.hashes[root.owner as usize] = root.hash;
            }
            *self.count += worker.count;
        }
        let root = self.top.close(self.shards, true, store, width, self.count)?;
        if let (Some(changes), Some(was)) = (self.changes.as_mut(), was) {
            workers[..threads].iter_mut().for_each(|worker| changes.append(&mut worker.changes));
            self.top.log(&was, self.shards, B256::ZERO, changes);
        }
        Ok(root)
    }
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

/// Deals shards to threads, heaviest first, each to the thread with the least to do.
fn deal(update: &StateUpdate<'_>, starts: &[usize; SHARDS + 1], order: &[u32], threads: usize) -> [usize; SHARDS] {
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
    let mut load = [0; SHARDS];
    for (weight, n) in weights {
        let thread = (0..threads).min_by_key(|thread| load[*thread]).unwrap_or(0);
        owner[n] = thread;
        load[thread] += weight;
    }
    owner
}
