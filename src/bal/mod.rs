//! EIP-7928 block access lists (BAL): decoding, queries, reduction to state changes, encoding.
//!
//! In: the RLP of a list, or accesses and changes recorded by an execution.
//! Out: [`BalColumns`], and values, state changes, bytes and differences computed from them.
//! Relies on: `arena` ids, columns, offsets and state changes.
//! Not here: opcodes, gas and tries; which accesses an execution makes and must list (`exec`).
//!
//! ```text
//! bytes ─► decode ─► BalColumns ─┬─► value before / at an index
//!                        ▲       ├─► reduce ─► StateChanges
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
mod record;
mod reduce;
mod rlp;
#[cfg(any(test, feature = "internals"))]
pub mod sample;
mod show;
mod within;

#[cfg(test)]
mod tests;

pub use access::AccessSet;
pub use columns::{BalColumns, Changes, CodeRange};
pub use decode::{decode, decode_into};
pub use diff::{Divergence, DivergenceValue, diff};
pub use encode::{encode, encode_into};
pub use error::{BalError, BalField, BalRule};
pub use existence::{ExistenceColumns, ExistenceDifference, ExistenceFault, ExistenceLog, exists_before};
pub use limits::{CODE_LEN_MAX_AMSTERDAM, GasBudget, ITEM_COST, Limits, READ_COST};
pub use record::{RecordedKeys, RecordedList, Recorder};
pub use reduce::{ListedChanges, ListedParents, code_hashes, reduce};
pub use show::show;
pub use within::ListedValues;

use crate::arena::keccak::keccak256;
use alloy_primitives::B256;

/// The header's `block_access_list_hash`: keccak256 of the list's RLP.
///
/// Needs only the bytes, so it can run in parallel with [`decode()`]. [`decode()`] accepts canonical
/// encodings only, so for a valid list this is also the hash of [`encode()`]'s output.
pub fn bal_hash(bytes: &[u8]) -> B256 {
    keccak256(bytes)
}
