//! What an update consists of: the changed accounts and slots of a block, as borrowed columns.

use alloy_primitives::{Address, B256, U256};

/// What becomes of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum AccountStatus {
    /// It exists after the block; its storage is the parent's with the listed slots changed.
    #[default]
    Kept,
    /// It exists after the block, but its parent storage is gone; only the listed slots exist.
    /// (Before EIP-6780, a contract that destroyed itself and was created again.)
    StorageCleared,
    /// It does not exist after the block; its fields and slots in the update are not looked at.
    Deleted,
}

/// A block's effect on the state, as borrowed columns: one row per changed account, in any order, no address twice.
///
/// A field that is `None` keeps its parent value (for a new account: nonce 0, balance 0, no code).
#[derive(Clone, Copy, Debug, Default)]
pub struct StateUpdate<'a> {
    /// Changed accounts.
    pub addresses: &'a [Address],
    /// One per account.
    pub statuses: &'a [AccountStatus],
    /// Nonce after the block, one per account.
    pub nonces: &'a [Option<u64>],
    /// Balance after the block in wei, one per account.
    pub balances: &'a [Option<U256>],
    /// Code hash after the block, one per account.
    pub code_hashes: &'a [Option<B256>],
    /// Rows of the slot columns: account `i` owns `slot_starts[i]..slot_starts[i + 1]`; one more than accounts.
    pub slot_starts: &'a [u32],
    /// Changed storage keys as the contract wrote them; no key twice in one account.
    pub slot_keys: &'a [U256],
    /// Their values after the block; zero deletes the slot.
    pub slot_values: &'a [U256],
    /// keccak256 of each address, where the caller has them already.
    pub hashed_addresses: Option<&'a [B256]>,
    /// keccak256 of each slot key, where the caller has them already.
    pub hashed_slots: Option<&'a [B256]>,
}
