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
mod error;
mod evict;
mod hash;
mod input;
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
mod tries;
mod tuned;
mod update;
mod wide;
mod worker;
pub mod workload;

pub use changes::{Change, NodeChanges};
pub use count::HashCount;
pub use error::TrieError;
pub use input::{AccountStatus, StateUpdate};
pub use ordered::ordered_root;
pub use path::NodePath;
pub use proof::{AccountProof, ProofError, SlotProof, verify_account, verify_slot};
pub use savepoint::Savepoint;
pub use tries::StateTries;

/// Root of a trie without any key: keccak256(0x80).
pub use crate::arena::store::EMPTY_ROOT;
