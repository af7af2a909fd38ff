//! The host's door: parent state, asked for in batches.
//!
//! One narrow trait, everything else is concrete. Each method answers a whole batch, so that a disk or a remote
//! store can serve it at full queue depth. A store error is the host's, can be retried, and never turns a valid
//! block into an invalid one.

mod guarded;
mod latency;
mod memory;
mod witness;

pub(crate) use guarded::Guarded;
pub use latency::{LatencyStore, StoreCounts};
pub use memory::{MemoryAccount, MemoryStore};
pub use witness::WitnessStore;

use alloy_primitives::{Address, B256, Bytes, U256};

/// keccak256 of no bytes: the code hash of an account without code.
pub const KECCAK_EMPTY: B256 = alloy_primitives::KECCAK256_EMPTY;

/// Root of the empty trie: keccak256(0x80).
pub const EMPTY_ROOT: B256 =
    alloy_primitives::b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// An account as the parent state holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentAccount {
    /// Whether the state trie has a leaf for it. All other fields are their defaults where not.
    pub exists: bool,
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// keccak256 of the code; [`KECCAK_EMPTY`] without code.
    pub code_hash: B256,
    /// Whether its storage trie is non-empty (EIP-7610 asks, no value does).
    pub has_storage: bool,
}

impl Default for ParentAccount {
    fn default() -> Self {
        Self { exists: false, nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, has_storage: false }
    }
}

/// One storage slot of the parent state, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotQuery {
    /// The contract.
    pub address: Address,
    /// The key as the contract wrote it (not hashed).
    pub key: U256,
}

/// What went wrong in the store; never a statement about the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no trie node of this hash.
    #[error("the store lacks the trie node {0}; supply a complete witness for the block")]
    MissingNode(B256),
    /// The store has no trie node of this hash, which lies on the path of an account or of a slot.
    #[error(
        "the store lacks the trie node {hash}, {depth} nibbles down the path of {}; supply a complete witness for the \
         block",
        shown_place(address, slot)
    )]
    MissingPath {
        /// keccak256 of the node.
        hash: B256,
        /// Nibbles from the root of the account trie to the node, or from that of the storage trie if there is a slot.
        depth: usize,
        /// The account whose path it is on.
        address: Address,
        /// The slot's key as the contract wrote it, if the node is of the account's storage trie.
        slot: Option<U256>,
    },
    /// The store has no code of this hash.
    #[error("the store lacks the code {0}; supply a complete witness for the block")]
    MissingCode(B256),
    /// The store has no header hash for this block number.
    #[error("the store lacks the hash of block {0}; supply the ancestor headers that BLOCKHASH needs")]
    MissingBlockHash(u64),
    /// Bytes of the store do not decode as what they should be, or do not hash to their name.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The store failed; the same call may succeed later.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The caller gave the block up; the store was not asked.
    #[error("the caller gave up")]
    Cancelled,
}

fn shown_place(address: &Address, slot: &Option<U256>) -> String {
    slot.map_or_else(|| format!("account {address}"), |slot| format!("slot {slot:#x} of account {address}"))
}

/// Parent state, asked for in batches. `out` has one element per question, in the order of the questions.
///
/// Every method is called from pool threads; an implementation answers concurrently or locks inside. A method that panics
/// counts as one that returns [`StoreError::Failed`].
pub trait StateStore: Send + Sync {
    /// Whether answers cost no more than a look into this process's memory. They are then read in one pass, by the threads
    /// that run the block; any other store is asked by readers that wait beside them.
    fn is_resident(&self) -> bool {
        false
    }
    /// Accounts by address. An absent account is [`ParentAccount::default`], not an error.
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError>;
    /// Slot values. An absent slot is zero, not an error.
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError>;
    /// Codes by hash; nothing where the store lacks one (a witness holds only the codes that were read, so a code
    /// that is missing is an error only once something reads it). [`KECCAK_EMPTY`] is never asked for.
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError>;
    /// Hashes of ancestor blocks by number (BLOCKHASH).
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError>;
    /// RLP of trie nodes by hash, of the account trie and of storage tries alike.
    fn trie_nodes(&self, hashes: &[B256], out: &mut [Bytes]) -> Result<(), StoreError>;
    /// Whether the caller has given up, so that long work that needs no answer stops, too. Stores need not care: the
    /// executor answers for them.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl<S: StateStore + ?Sized> StateStore for &S {
    fn is_resident(&self) -> bool {
        (**self).is_resident()
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        (**self).accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        (**self).slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        (**self).codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        (**self).block_hashes(numbers, out)
    }
    fn trie_nodes(&self, hashes: &[B256], out: &mut [Bytes]) -> Result<(), StoreError> {
        (**self).trie_nodes(hashes, out)
    }
    fn is_cancelled(&self) -> bool {
        (**self).is_cancelled()
    }
}
