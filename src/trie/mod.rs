//! State roots: the account trie and all storage tries as nodes in flat memory, updated block by
//! block.
//!
//! In: the state changes of a block as columns ([`StateChanges`](crate::StateChanges)), and a store for trie nodes that
//! are not in memory. Out: the state root, and on request the changed nodes, proofs and witnesses.
//!
//! ```
//! use alloy_primitives::{Address, U256};
//! use balustrade::{AccountStatus, MemoryStore, StateChanges, StateTries};
//!
//! let store = MemoryStore::default();
//! let mut tries = StateTries::empty();
//! let mut changes = StateChanges::default();
//! changes.push_account(Address::repeat_byte(1), AccountStatus::Kept, Some(1), Some(U256::from(7)), None);
//! changes.push_slot(U256::from(3), U256::from(30));
//! changes.push_slot(U256::from(4), U256::from(40));
//! changes.push_account(Address::repeat_byte(2), AccountStatus::Kept, None, Some(U256::from(9)), None);
//! let parent = tries.root();
//! let root = tries.update(&changes, &store)?;
//! tries.rollback(); // restores the parent state
//! assert_eq!(tries.root(), parent);
//! assert_eq!(tries.update(&changes, &store)?, root);
//! tries.commit(); // makes the update permanent
//!
//! // Two uncommitted blocks, of which the second is undone.
//! tries.update(&changes, &store)?;
//! let after_first = tries.savepoint();
//! changes.nonces[0] = Some(2);
//! tries.update(&changes, &store)?;
//! tries.rollback_to(after_first)?;
//! # Ok::<(), balustrade::trie::TrieError>(())
//! ```
//!
//! Algorithm (measurements are in the commit messages): a branch is stored as its padded RLP with
//! the references of its children in front, so hashing copies nothing and a child's digest is
//! written to its parent as one 32-byte store. Keys are sorted once. All tries are descended
//! together, level by level, with prefetches a few nodes ahead. The list of visited nodes is the
//! work list for hashing bottom up, eight nodes per call of the Keccak kernel. The state is divided
//! into sixteen shards by the first nibble of the hashed address, which are distributed over the
//! threads of the current rayon pool; the root does not depend on the number of threads.
//!
//! Relies on: `arena::keccak`, `arena::node` (strict decoding), `arena::store`.
//! Not here: which accounts a block changes or deletes (EIP-161, EIP-6780); the caller decides
//! that.

mod assignment;
mod changes;
mod collapse;
mod count;
mod descent;
mod encoded;
mod error;
mod evict;
mod hash;
mod input;
mod lines;
mod node;
mod ordered;
mod proof;
mod read;
mod resolve;
mod savepoint;
mod shard;
#[cfg(feature = "disk")]
mod single;
#[cfg(test)]
mod tests;
mod top;
mod tries;
mod tuned;
mod update;
mod wide;
mod worker;

pub use changes::{Change, NodeChanges};
pub use count::HashCount;
pub use error::TrieError;
pub use input::HashedKeys;
pub use ordered::ordered_root;
pub use proof::{AccountProof, ProofError, SlotProof, verify_account, verify_slot};
pub use savepoint::Savepoint;
#[cfg(feature = "disk")]
pub use single::ItemBytes;
#[cfg(feature = "disk")]
pub(crate) use single::{put_account_leaf, put_branch, put_extension, put_slot_leaf};
pub use tries::StateTries;

/// Root of the empty trie: keccak256(0x80).
pub use crate::arena::store::EMPTY_ROOT;
