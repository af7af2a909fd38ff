//! Memory and ids; no protocol rules.
//!
//! In: nothing; this module imports no other module of the crate.
//! Out: typed ids, columns, the code arena, state changes, the state store trait and Keccak, on which
//! all other modules build.
//! Not here: forks, opcodes and trie construction.

pub mod cancel;
pub mod changes;
pub mod code;
mod column;
pub(crate) mod heap;
mod id;
#[cfg(feature = "disk")]
pub(crate) mod input;
pub mod keccak;
pub mod node;
mod offsets;
pub mod path;
pub(crate) mod prefetch;
pub(crate) mod region;
pub(crate) mod rlp;
pub mod store;

pub use column::Column;
pub use id::{AccountId, BlockAccessIndex, CodeId, Id, SlotId, TxIndex};
pub use offsets::Offsets;
