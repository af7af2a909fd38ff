//! Errors of the tries.

use crate::arena::store::StoreError;
use alloy_primitives::B256;

/// Why an update of the tries failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// A node that the update needs cannot be read from the store. The tries are as before the
    /// call.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The savepoint belongs to other tries, or was discarded by a commit or a rollback.
    #[error("the savepoint belongs to other tries, or was discarded by a commit or a rollback")]
    StaleSavepoint,
    /// The columns of an update disagree in length, or its slot ranges are not monotone.
    #[error("malformed update: {0}")]
    Malformed(&'static str),
    /// An address, or a slot key within one account, occurs twice. The value is its keccak256.
    #[error("malformed update: the key {0} occurs twice")]
    Duplicate(B256),
}
