//! The account trie and all storage tries of a state, with commit and rollback.

use super::changes::NodeChanges;
use super::count::HashCount;
use super::error::TrieError;
use super::input::{AccountStatus, StateUpdate};
use super::savepoint::Savepoints;
use super::shard::Shard;
use super::top::{SHARDS, Top};
use super::update::{Saved, Scratch, Tries, Tuning};
use super::wide::WideTries;
use crate::arena::keccak::Width;
use crate::arena::store::{EMPTY_ROOT, MemoryStore, StateStore};
use alloy_primitives::B256;

/// The account trie and every storage trie, as far as they are in memory.
///
/// [`Self::from_flat`], [`Self::from_memory`], [`Self::update`], [`Self::witness`] and [`Self::evict`] work in parallel on the
/// current rayon pool: the one whose `install` encloses the call, else rayon's global pool, which is then started.
#[derive(Debug)]
pub struct StateTries {
    pub(super) shards: Vec<Shard>,
    pub(super) top: Top,
    pub(super) savepoints: Savepoints,
    /// Tops of storage tries that are spread over the shards.
    pub(super) wide: WideTries,
    pub(super) scratch: Scratch,
    pub(super) tuning: Tuning,
    pub(super) count: HashCount,
    /// What updates since the last commit changed, where that is wanted.
    pub(super) changes: Option<NodeChanges>,
    pub(super) width: Width,
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

    /// A state of which only the root is known; nodes come from the store as they are needed.
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
        }
    }

    /// A whole state, given as the update that makes it out of nothing; committed.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] and [`TrieError::Duplicate`].
    pub fn from_flat(state: &StateUpdate<'_>) -> Result<Self, TrieError> {
        let mut tries = Self::empty();
        tries.update(state, &MemoryStore::default())?;
        tries.commit();
        // Work lists as large as a state are not needed again.
        tries.scratch = Scratch::default();
        Ok(tries)
    }

    /// The tries of a store in memory; committed.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] where the state has more than 2^30 slots.
    pub fn from_memory(store: &MemoryStore) -> Result<Self, TrieError> {
        let rows = store.len();
        let (mut addresses, mut nonces) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut balances, mut code_hashes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut slot_starts, mut slot_keys, mut slot_values) = (vec![0], Vec::new(), Vec::new());
        for (address, account) in store.iter() {
            addresses.push(*address);
            nonces.push(Some(account.nonce));
            balances.push(Some(account.balance));
            code_hashes.push(Some(account.code_hash));
            for (key, value) in &account.storage {
                slot_keys.push(*key);
                slot_values.push(*value);
            }
            let end = u32::try_from(slot_keys.len()).map_err(|_| TrieError::Malformed("more than 2^30 rows"))?;
            slot_starts.push(end);
        }
        Self::from_flat(&StateUpdate {
            addresses: &addresses,
            statuses: &vec![AccountStatus::Kept; rows],
            nonces: &nonces,
            balances: &balances,
            code_hashes: &code_hashes,
            slot_starts: &slot_starts,
            slot_keys: &slot_keys,
            slot_values: &slot_values,
            hashed_addresses: None,
            hashed_slots: None,
        })
    }

    /// The state root, uncommitted updates included.
    pub fn root(&self) -> B256 {
        self.top.root
    }

    /// Applies `update` and returns the new state root, computed on the threads of the current rayon pool.
    ///
    /// May be called repeatedly before [`Self::commit`]: each call builds on the one before (several blocks; state roots
    /// after every transaction, for receipts before Byzantium).
    ///
    /// # Errors
    /// [`TrieError`]; the tries are then as before the call, with all earlier uncommitted updates.
    pub fn update(&mut self, update: &StateUpdate<'_>, store: &dyn StateStore) -> Result<B256, TrieError> {
        self.parts().update(update, store)
    }

    pub(super) fn parts(&mut self) -> Tries<'_> {
        let Self { shards, top, savepoints: _, wide, scratch, tuning, count, changes, width } = self;
        Tries { shards, top, wide, scratch, count, changes, width: *width, tuning: *tuning }
    }

    /// What the last update hashed.
    pub fn hash_count(&self) -> HashCount {
        self.count
    }

    /// Forces a hashing width (tests, benches); the default is the machine's widest.
    pub fn set_width(&mut self, width: Width) {
        self.width = width;
    }

    /// Whether updates log what they change, for [`Self::changes`]. Off at first; it costs a copy of every changed
    /// node.
    pub fn set_log(&mut self, on: bool) {
        self.changes = on.then(NodeChanges::default);
    }

    /// What the updates since the last commit changed, in order; empty unless [`Self::set_log`] is on.
    pub fn changes(&self) -> Option<&NodeChanges> {
        self.changes.as_ref()
    }

    pub(super) fn clear_changes(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.clear();
        }
    }
}
