//! Access to the parent state: the trait that a host implements, and stores that implement it.
//!
//! In: batches of addresses, slots, code hashes, block numbers or node hashes. Out: their values in
//! the parent state.
//! [`StateStore`] is the only trait that a host implements. Each method answers a whole batch, so
//! that a disk or a remote store can serve it at full queue depth. A [`StoreError`] is about the
//! host's store, not about the block: the call can be retried, and a store error never makes a
//! valid block invalid.
//! Not here: caching of values during a block, and writing to a store.

mod guarded;
mod latency;
mod memory;
mod witness;

pub(crate) use guarded::Guarded;
pub use latency::{LatencyStore, StoreCounts};
pub use memory::{MemoryAccount, MemoryStore};
pub use witness::WitnessStore;

use super::path::NodeQuery;
use alloy_primitives::{Address, B256, Bytes, U256};
use rayon::prelude::*;

/// keccak256 of no bytes: the code hash of an account without code.
pub const KECCAK_EMPTY: B256 = alloy_primitives::KECCAK256_EMPTY;

/// Root of the empty trie: keccak256 of the byte 0x80, the RLP of the empty string.
pub const EMPTY_ROOT: B256 =
    alloy_primitives::b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// Rows per call that [`StateStore::call_rows`] returns by default: large enough to spread the fixed cost of a call,
/// small enough that the first rows are available early.
pub(crate) const CALL_ROWS: usize = 128;

/// Rows that one thread reads in a call of a resident store.
const READ_CHUNK: usize = 1024;

/// Runs `read` over all of `out`, on all threads of the current rayon pool if it is longer than a chunk. Returns the
/// error of the lowest chunk, independent of timing.
pub(crate) fn in_chunks<T: Send>(
    out: &mut [T],
    read: impl Fn(core::ops::Range<usize>, &mut [T]) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    if out.len() <= READ_CHUNK {
        return read(0..out.len(), out);
    }
    let chunks = out.par_chunks_mut(READ_CHUNK).enumerate();
    let results: Vec<Result<(), StoreError>> = chunks
        .map(|(chunk, out)| {
            let start = chunk * READ_CHUNK;
            read(start..start + out.len(), out)
        })
        .collect();
    results.into_iter().collect()
}

/// An account as the parent state holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentAccount {
    /// Whether the state trie has a leaf for it. If not, all other fields have their default
    /// values.
    pub exists: bool,
    /// Nonce: number of transactions sent by the account, or of contracts created by it.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code; [`KECCAK_EMPTY`] for an account without code.
    pub code_hash: B256,
    /// Whether its storage trie is non-empty. Only the collision check of EIP-7610 uses this.
    pub has_storage: bool,
}

impl Default for ParentAccount {
    fn default() -> Self {
        Self { exists: false, nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, has_storage: false }
    }
}

/// Identifies one storage slot of the parent state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotQuery {
    /// Address of the contract.
    pub address: Address,
    /// The key as in SLOAD and SSTORE (not hashed).
    pub key: U256,
}

/// An error of the store; it says nothing about the validity of the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no trie node of this hash.
    #[error("the store lacks the trie node {0}; supply a complete witness for the block")]
    MissingNode(B256),
    /// The store has no trie node of this hash, which is on the path of an account or of a slot.
    #[error(
        "the store lacks the trie node {hash}, {depth} nibbles down the path of {}; supply a complete witness for the \
         block",
        shown_place(address, slot)
    )]
    MissingPath {
        /// keccak256 of the node.
        hash: B256,
        /// Number of nibbles from the root of the account trie to the node; with a slot, from the root
        /// of the storage trie.
        depth: usize,
        /// The account on whose path the node is.
        address: Address,
        /// The key of the slot, not hashed, if the node belongs to the account's storage trie.
        slot: Option<U256>,
    },
    /// The store has no code of this hash.
    #[error("the store lacks the code {0}; supply a complete witness for the block")]
    MissingCode(B256),
    /// The store has no header hash for this block number.
    #[error("the store lacks the hash of block {0}; supply the ancestor headers that BLOCKHASH needs")]
    MissingBlockHash(u64),
    /// Bytes from the store do not decode, or do not hash to the hash that was requested.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The store failed; the same call may succeed later.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The caller cancelled the block; the store was not called.
    #[error("cancelled by the caller")]
    Cancelled,
}

fn shown_place(address: &Address, slot: &Option<U256>) -> String {
    slot.map_or_else(|| format!("account {address}"), |slot| format!("slot {slot:#x} of account {address}"))
}

/// Reads the parent state in batches. `out` has one element per query, in the order of the queries.
///
/// Methods are called from several pool threads at the same time. A method that panics counts as
/// one that returns [`StoreError::Failed`].
///
/// A method may run rayon jobs, in the current pool or another one, but must not hold a lock while it
/// waits for them: the waiting thread may take up a task that calls the store again.
pub trait StateStore: Send + Sync {
    /// Whether every answer comes from this process's memory, without waiting. The threads that run
    /// the block then read the store directly, in one pass; any other store is read by separate
    /// reader threads, which may block.
    fn is_resident(&self) -> bool {
        false
    }
    /// Number of rows that a call of [`Self::accounts`] or [`Self::slots`] should have, as far as the block has so many.
    /// Reader threads use it; zero counts as one. Default: 128.
    fn call_rows(&self) -> usize {
        CALL_ROWS
    }
    /// Names all accounts and slots of a block access list, also those that are only read, so that the store can prepare
    /// the answers; it may wait for them. Called at most once per block, and only for a block with a list, before the
    /// rows of the list are read. The format of the list was checked; its hash may be compared with the header at the
    /// same time. Execution may also ask for rows that were not announced. Default: does nothing.
    fn announce(&self, _accounts: &[Address], _slots: &[SlotQuery]) -> Result<(), StoreError> {
        Ok(())
    }
    /// Accounts by address. An absent account is [`ParentAccount::default`], not an error.
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError>;
    /// Slot values. An absent slot is zero, not an error.
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError>;
    /// Codes by hash; `None` when the store lacks one. A witness holds only the codes that were
    /// read, so a missing code is an error only once execution reads it. [`KECCAK_EMPTY`] is never
    /// requested.
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError>;
    /// Whether this process compared every code with its hash when the store took it in, and no other process can have
    /// changed it since. The executor then does not hash the codes that [`Self::codes`] returns; a wrong one would be
    /// executed. Default: `false`, the executor hashes each code once, when it is first used. So a witness or a database
    /// keeps the default.
    fn codes_are_checked(&self) -> bool {
        false
    }
    /// Hashes of ancestor blocks by number (BLOCKHASH).
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError>;
    /// RLP of trie nodes, both of the account trie and of storage tries. Called for nodes that are not
    /// in the caller's [`StateTries`](crate::trie::StateTries). Default, for stores without tries:
    /// [`StoreError::MissingNode`] with the first hash.
    fn trie_nodes(&self, nodes: &[NodeQuery], _out: &mut [Bytes]) -> Result<(), StoreError> {
        nodes.first().map_or(Ok(()), |node| Err(StoreError::MissingNode(node.hash)))
    }
    /// Whether the caller has cancelled the block. Long computations poll this between store calls.
    /// Implementations keep the default; the executor wraps the store and answers from its cancel
    /// token.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl<S: StateStore + ?Sized> StateStore for &S {
    fn is_resident(&self) -> bool {
        (**self).is_resident()
    }
    fn call_rows(&self) -> usize {
        (**self).call_rows()
    }
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        (**self).announce(accounts, slots)
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        (**self).accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        (**self).slots(slots, out)
    }
    fn codes_are_checked(&self) -> bool {
        (**self).codes_are_checked()
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        (**self).codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        (**self).block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        (**self).trie_nodes(nodes, out)
    }
    fn is_cancelled(&self) -> bool {
        (**self).is_cancelled()
    }
}
