//! Hashed keys of an update, where its caller has them already.
//!
//! In: a caller that stores its state by hashed keys. Out: input of
//! [`StateTries::update_hashed`](super::StateTries::update_hashed), beside the changes.
//! Not here: the changes ([`StateChanges`](crate::arena::changes::StateChanges)), hashing of keys (`update`, `worker`).

use alloy_primitives::B256;

/// keccak256 of the keys in the columns of a [`StateChanges`](crate::arena::changes::StateChanges).
#[derive(Clone, Copy, Debug)]
pub struct HashedKeys<'a> {
    /// Of each address.
    pub addresses: &'a [B256],
    /// Of each slot key (32 bytes, big-endian).
    pub slots: &'a [B256],
}
