//! [`StateTries`]: the account trie and all storage tries of a state, with commit and rollback.
//!
//! In: [`StateChanges`] of blocks, a store. Out: state roots.
//! Not here: how an update is computed (`update.rs`), reads (`read.rs`), savepoints
//! (`savepoint.rs`), eviction (`evict.rs`).

use super::changes::{LogLength, NodeChanges};
use super::count::HashCount;
use super::error::TrieError;
use super::input::HashedKeys;
use super::savepoint::{Entry, Savepoint, Savepoints};
use super::shard::Shard;
use super::top::{SHARDS, Top};
use super::update::{Saved, Scratch, Tries, Tuning};
use super::wide::WideTries;
use crate::arena::changes::StateChanges;
use crate::arena::keccak::Width;
use crate::arena::store::{EMPTY_ROOT, MemoryStore, StateStore};
use alloy_primitives::B256;

/// The account trie and every storage trie. Nodes that are not in memory are read from a store when
/// they are needed.
///
/// [`Self::from_flat`], [`Self::from_memory`], [`Self::update`], [`Self::witness`] and [`Self::evict`] work in parallel on the
/// current rayon pool: the one whose `install` encloses the call, else rayon's global pool, which is then started.
#[derive(Debug)]
pub struct StateTries {
    pub(super) shards: Vec<Shard>,
    pub(super) top: Top,
    pub(super) savepoints: Savepoints,
    /// Tops of storage tries that are distributed over the shards.
    pub(super) wide: WideTries,
    pub(super) scratch: Scratch,
    pub(super) tuning: Tuning,
    pub(super) count: HashCount,
    /// Log of the updates since the last commit, if [`Self::set_log`] is on.
    pub(super) changes: Option<NodeChanges>,
    pub(super) width: Width,
    /// The commit interval that began when all nodes were in the store.
    pub(super) stored_age: Option<u32>,
}

impl Default for StateTries {
    fn default() -> Self {
        Self::empty()
    }
}

impl StateTries {
    /// The empty state.
    pub fn empty() -> Self {
        Self::from_root(EMPTY_ROOT)
    }

    /// A state of which only the root is known; nodes are read from the store when they are needed.
    pub fn from_root(root: B256) -> Self {
        let top = Top::from_root(root);
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            savepoints: Savepoints::at_commit(Saved::at_commit(top.clone())),
            top,
            wide: WideTries::default(),
            scratch: Scratch::default(),
            tuning: Tuning::default(),
            count: HashCount::default(),
            changes: None,
            width: Width::detect(),
            stored_age: None,
        }
    }

    /// A complete state, given as changes of the empty state; committed.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] or [`TrieError::Duplicate`].
    pub fn from_flat(state: &StateChanges) -> Result<Self, TrieError> {
        let mut tries = Self::empty();
        tries.update(state, &MemoryStore::default())?;
        tries.commit();
        // Work lists of the size of a whole state are not needed again.
        tries.scratch = Scratch::default();
        Ok(tries)
    }

    /// The tries of the state in a [`MemoryStore`]; committed.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] if the state has 2^30 accounts or slots or more.
    pub fn from_memory(store: &MemoryStore) -> Result<Self, TrieError> {
        Self::from_flat(&StateChanges::from_memory(store))
    }

    /// The state root, uncommitted updates included.
    pub fn root(&self) -> B256 {
        self.top.root
    }

    /// Applies `changes` and returns the new state root, computed on the threads of the current rayon pool. Their codes
    /// are ignored.
    ///
    /// May be called repeatedly before [`Self::commit`]; each call builds on the one before (for
    /// several blocks, or for state roots after every transaction as in receipts before Byzantium).
    ///
    /// # Errors
    /// [`TrieError`]; the tries are then as before the call, earlier uncommitted updates included.
    pub fn update(&mut self, changes: &StateChanges, store: &dyn StateStore) -> Result<B256, TrieError> {
        self.parts().update(changes, None, store)
    }

    /// [`Self::update`] with the hashes of all keys, for a caller that has them: they are not computed again. The
    /// unhashed keys in `changes` are then ignored. Wrong hashes give the root of another state.
    ///
    /// # Errors
    /// As [`Self::update`]; [`TrieError::Malformed`] also when the numbers of hashes and keys differ.
    pub fn update_hashed(
        &mut self,
        changes: &StateChanges,
        keys: HashedKeys<'_>,
        store: &dyn StateStore,
    ) -> Result<B256, TrieError> {
        self.parts().update(changes, Some(keys), store)
    }

    pub(super) fn parts(&mut self) -> Tries<'_> {
        let Self { shards, top, savepoints: _, wide, scratch, tuning, count, changes, width, stored_age: _ } = self;
        Tries { shards, top, wide, scratch, count, changes, width: *width, tuning: *tuning }
    }

    /// Hashes computed by the last update.
    #[cfg(feature = "internals")]
    pub fn hash_count(&self) -> HashCount {
        self.count
    }

    /// Sets the number of Keccak lanes (for tests and benches). The default is the widest that the
    /// processor supports.
    #[cfg(any(test, feature = "internals"))]
    pub fn set_width(&mut self, width: Width) {
        self.width = width;
    }

    /// Whether updates log changed nodes, for [`Self::changes`]. Off by default, as it costs a copy
    /// of every changed node. For hosts that keep trie nodes on disk; the executor, which has no disk, does not use it.
    pub fn set_log(&mut self, on: bool) {
        self.changes = on.then(NodeChanges::default);
    }

    /// Changes of the updates since the last commit, in order; `None` unless [`Self::set_log`] is
    /// on.
    pub fn changes(&self) -> Option<&NodeChanges> {
        self.changes.as_ref()
    }

    pub(super) fn clear_changes(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.clear();
        }
    }

    /// Marks the present state, uncommitted updates included, so that [`Self::rollback_to`] can
    /// restore it.
    ///
    /// Savepoints form a stack. A savepoint is discarded by [`Self::commit`], by
    /// [`Self::rollback`], and by [`Self::rollback_to`] an older one. For a state that is already
    /// marked the existing savepoint is returned.
    pub fn savepoint(&mut self) -> Savepoint {
        let saved = self.parts().save();
        if let Some(last) = self.savepoints.0.last()
            && last.saved.is_same_update(&saved)
        {
            return last.savepoint;
        }
        let log = self.changes().map_or_else(LogLength::default, NodeChanges::length);
        let entry = Entry::new(saved, log);
        let savepoint = entry.savepoint;
        self.savepoints.0.push(entry);
        savepoint
    }

    /// Undoes all updates since `savepoint`, which stays valid; later savepoints are discarded.
    /// Updates before it that were uncommitted stay uncommitted.
    ///
    /// # Errors
    /// [`TrieError::StaleSavepoint`]; the tries do not change.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), TrieError> {
        let entries = &self.savepoints.0;
        let row = entries.binary_search_by_key(&savepoint.0, |entry| entry.savepoint.0);
        self.restore(row.map_err(|_| TrieError::StaleSavepoint)?);
        Ok(())
    }

    /// Makes all updates since the last commit permanent and recycles the memory of the nodes that
    /// they replaced. All savepoints are discarded.
    pub fn commit(&mut self) {
        self.shards.iter_mut().for_each(Shard::commit);
        self.wide.commit();
        self.savepoints = Savepoints::at_commit(self.parts().save());
        self.clear_changes();
    }

    /// Undoes all updates since the last commit. All savepoints are discarded but that of the last
    /// commit's state.
    pub fn rollback(&mut self) {
        self.restore(0);
    }

    /// Restores the savepoint at this row.
    fn restore(&mut self, row: usize) {
        self.savepoints.0.truncate(row + 1);
        let Some(Entry { saved, log, .. }) = self.savepoints.0.last() else { return };
        let (saved, log) = (saved.clone(), *log);
        self.parts().undo(saved);
        if let Some(changes) = &mut self.changes {
            changes.truncate(log);
        }
    }
}
