//! Input of an update: the changed accounts and slots of a block, as borrowed columns.

use alloy_primitives::{Address, B256, U256};

/// Status of a changed account after the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum AccountStatus {
    /// The account exists after the block. Its storage is that of the parent state with the listed
    /// slots changed.
    #[default]
    Kept,
    /// The account exists after the block, but its storage in the parent state was cleared; only
    /// the listed slots exist. (Before EIP-6780: a contract that self-destructed and was created
    /// again.)
    StorageCleared,
    /// The account does not exist after the block. Its fields and slots in the update are ignored.
    Deleted,
}

/// State changes of a block, as borrowed columns: one row per changed account, in any order, each
/// address at most once.
///
/// A field that is `None` keeps its parent value (for a new account: nonce 0, balance 0, no code).
#[derive(Clone, Copy, Debug, Default)]
pub struct StateUpdate<'a> {
    /// Changed accounts.
    pub addresses: &'a [Address],
    /// Status of each account.
    pub statuses: &'a [AccountStatus],
    /// Nonce after the block, one per account.
    pub nonces: &'a [Option<u64>],
    /// Balance after the block in wei, one per account.
    pub balances: &'a [Option<U256>],
    /// Code hash after the block, one per account.
    pub code_hashes: &'a [Option<B256>],
    /// Start of each account's rows in the slot columns: account `i` has rows
    /// `slot_starts[i]..slot_starts[i + 1]`. One element more than accounts.
    pub slot_starts: &'a [u32],
    /// Changed storage keys, unhashed; each key at most once per account.
    pub slot_keys: &'a [U256],
    /// Their values after the block; zero deletes the slot.
    pub slot_values: &'a [U256],
    /// keccak256 of each address; `None`: computed by the update.
    pub hashed_addresses: Option<&'a [B256]>,
    /// keccak256 of each slot key (32 bytes, big-endian); `None`: computed by the update.
    pub hashed_slots: Option<&'a [B256]>,
}
