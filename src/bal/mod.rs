//! EIP-7928 block access lists: bytes to columns, columns to values, columns to bytes.
//!
//! In: a list's RLP, or what an execution recorded. Out: [`BalColumns`] and what follows from them.
//! Relies on: `arena` ids, columns and offsets.
//! Not here: opcodes, gas, tries; who may access what is decided by `exec`.
//!
//! ```text
//! bytes ─► decode ─► BalColumns ─┬─► value before / at an index
//!                        ▲       ├─► reduce ─► Reduced ─► PostAccount
//! rows  ─► Recorder ─────┘       ├─► encode ─► bytes
//!                                └─► diff, show
//! ```

mod access;
mod columns;
mod decode;
mod diff;
mod encode;
mod error;
mod existence;
mod limits;
mod post_state;
mod record;
mod reduce;
mod rlp;
pub mod sample;
mod show;

#[cfg(test)]
mod tests;

pub use access::AccessSet;
pub use columns::{BalColumns, Changes, CodeRange};
pub use decode::{decode, decode_into};
pub use diff::{Divergence, DivergenceValue, diff};
pub use encode::{encode, encode_into};
pub use error::{BalError, BalField, BalRule};
pub use existence::{ExistenceColumns, ExistenceDifference, ExistenceFault, ExistenceLog};
pub use limits::{CODE_LEN_MAX_AMSTERDAM, GasBudget, ITEM_COST, Limits, READ_COST};
pub use post_state::{PostAccount, exists_before};
pub use record::{RecordedKeys, RecordedList, Recorder};
pub use reduce::{Reduced, code_hashes, reduce, reduce_into, reduce_with_hashes};
pub use show::show;

use crate::arena::keccak::keccak256;
use alloy_primitives::B256;

/// What the header commits to: keccak256 of the list's wire bytes.
///
/// It reads nothing but the bytes, so it can run as a task of its own beside [`decode`]. A list that decodes is
/// canonical, hence this is also the hash of its encoding.
pub fn bal_hash(bytes: &[u8]) -> B256 {
    keccak256(bytes)
}
