//! Memory and ids; no protocol rules.
//!
//! In: nothing. Out: the typed ids, columns, stores and hashes that every other room is built from.
//! Not here: anything that knows a fork, an opcode or a trie.

pub mod cancel;
pub mod code;
mod column;
mod id;
pub mod keccak;
pub mod node;
mod offsets;
pub(crate) mod prefetch;
pub(crate) mod region;
pub mod store;

pub use column::Column;
pub use id::{AccountId, BlockAccessIndex, CodeId, Id, SlotId, TxIndex};
pub use offsets::Offsets;
