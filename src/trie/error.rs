//! Why an update of the tries fails.

use crate::arena::store::StoreError;
use alloy_primitives::B256;

/// Why there is no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// A node that the update needs cannot be had. The tries are as before the call.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The columns of an update disagree in length, or its slot ranges are not monotone.
    #[error("malformed update: {0}")]
    Malformed(&'static str),
    /// An address, or a key within one account, occurs twice (named by its keccak).
    #[error("malformed update: the key {0} occurs twice")]
    Duplicate(B256),
}
