//! Columns to root: the account trie and all storage tries as flat nodes, updated a block at a time.
//!
//! In: what a block leaves behind, as columns ([`StateUpdate`]), and a store for nodes not yet in memory.
//! Out: the state root, and on request the changed nodes, proofs and witnesses.
//!
//! ```
//! use alloy_primitives::{Address, U256};
//! use balustrade::arena::store::MemoryStore;
//! use balustrade::trie::{Fate, StateTries, StateUpdate};
//!
//! let store = MemoryStore::default();
//! let mut tries = StateTries::empty();
//! let update = StateUpdate {
//!     addresses: &[Address::repeat_byte(1), Address::repeat_byte(2)],
//!     fates: &[Fate::Kept, Fate::Kept],
//!     nonces: &[Some(1), None],
//!     balances: &[Some(U256::from(7)), Some(U256::from(9))],
//!     code_hashes: &[None, None],
//!     slot_starts: &[0, 2, 2], // slots of row i: slot_starts[i]..slot_starts[i + 1]
//!     slot_keys: &[U256::from(3), U256::from(4)],
//!     slot_values: &[U256::from(30), U256::from(40)],
//!     ..StateUpdate::default()
//! };
//! let parent = tries.root();
//! let root = tries.update(&update, &store)?;
//! tries.rollback(); // the parent state, exactly
//! assert_eq!(tries.root(), parent);
//! assert_eq!(tries.update(&update, &store)?, root);
//! tries.commit(); // the new parent
//!
//! // Two blocks uncommitted; the second one is undone alone.
//! tries.update(&update, &store)?;
//! let after_first = tries.savepoint();
//! tries.update(&StateUpdate { nonces: &[Some(2), None], ..update }, &store)?;
//! tries.rollback_to(after_first)?;
//! # Ok::<(), balustrade::trie::TrieError>(())
//! ```
//!
//! How (measured reasons in the commit messages): a branch *is* its padded RLP message with the child references in
//! front, so hashing copies nothing and a child's digest is one 32-byte store into its parent. Keys are sorted once.
//! All tries descend together, level by level, with prefetches a few nodes ahead; the visits this leaves behind are
//! the work list for hashing bottom up, eight nodes to a kernel call. Sixteen shards by the first nibble of the
//! hashed address are dealt to the threads of the current rayon pool; the root does not depend on their number.
//!
//! Relies on: `arena::keccak`, `arena::node` (strict decoding), `arena::store`.
//! Not here: which accounts a block touches or deletes (EIP-161 and friends are the caller's).

mod changes;
mod collapse;
mod count;
mod deal;
mod descent;
mod encoded;
mod evict;
mod hash;
mod lines;
mod node;
mod ordered;
mod path;
mod proof;
mod read;
mod resolve;
mod savepoint;
mod shard;
#[cfg(test)]
mod tests;
mod top;
mod tuned;
mod update;
mod wide;
mod worker;
pub mod workload;

pub use changes::{Change, NodeChanges};
pub use count::HashCount;
pub use ordered::ordered_root;
pub use path::NodePath;
pub use proof::{AccountProof, ProofError, SlotProof, verify_account, verify_slot};
pub use savepoint::Savepoint;

use crate::arena::keccak::Width;
use crate::arena::store::{MemoryStore, StateStore, StoreError};
use alloy_primitives::{Address, B256, U256};
use savepoint::Savepoints;
use shard::Shard;
use top::{SHARDS, Top};
use update::{Saved, Scratch, Tries, Tuning};
use wide::WideTries;

/// Root of a trie without any key: keccak256(0x80).
pub use crate::arena::store::EMPTY_ROOT;

/// What becomes of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Fate {
    /// It exists after the block; its storage is the parent's with the listed slots changed.
    #[default]
    Kept,
    /// It exists after the block, but its parent storage is gone; only the listed slots exist.
    /// (Before EIP-6780, a contract that destroyed itself and was created again.)
    Wiped,
    /// It does not exist after the block; its fields and slots in the update are not looked at.
    Deleted,
}

/// A block's effect on the state, as borrowed columns: one row per changed account, in any order, no address twice.
///
/// A field that is `None` keeps its parent value (for a new account: nonce 0, balance 0, no code).
#[derive(Clone, Copy, Debug, Default)]
pub struct StateUpdate<'a> {
    /// Changed accounts.
    pub addresses: &'a [Address],
    /// One per account.
    pub fates: &'a [Fate],
    /// Nonce after the block, one per account.
    pub nonces: &'a [Option<u64>],
    /// Balance after the block in wei, one per account.
    pub balances: &'a [Option<U256>],
    /// Code hash after the block, one per account.
    pub code_hashes: &'a [Option<B256>],
    /// Rows of the slot columns: account `i` owns `slot_starts[i]..slot_starts[i + 1]`; one more than accounts.
    pub slot_starts: &'a [u32],
    /// Changed storage keys as the contract wrote them; no key twice in one account.
    pub slot_keys: &'a [U256],
    /// Their values after the block; zero deletes the slot.
    pub slot_values: &'a [U256],
    /// keccak256 of each address, where the caller has them already.
    pub hashed_addresses: Option<&'a [B256]>,
    /// keccak256 of each slot key, where the caller has them already.
    pub hashed_slots: Option<&'a [B256]>,
}

/// Why there is no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// A node that the update needs cannot be had. The tries are as before the call.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The savepoint is of other tries, or a commit or a rollback has discarded it.
    #[error("the savepoint is of other tries, or a commit or rollback has discarded it")]
    StaleSavepoint,
    /// The columns of an update disagree in length, or its slot ranges are not monotone.
    #[error("malformed update: {0}")]
    Malformed(&'static str),
    /// An address, or a key within one account, occurs twice (named by its keccak).
    #[error("malformed update: the key {0} occurs twice")]
    Duplicate(B256),
}

/// The account trie and every storage trie, as far as they are in memory.
#[derive(Debug)]
pub struct StateTries {
    shards: Vec<Shard>,
    top: Top,
    savepoints: Savepoints,
    /// Tops of storage tries that are spread over the shards.
    wide: WideTries,
    scratch: Scratch,
    tuning: Tuning,
    count: HashCount,
    /// What updates since the last commit changed, where that is wanted.
    changes: Option<NodeChanges>,
    width: Width,
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
            fates: &vec![Fate::Kept; rows],
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

    fn parts(&mut self) -> Tries<'_> {
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
}
