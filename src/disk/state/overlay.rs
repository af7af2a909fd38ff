//! Changes since the last checkpoint, by hashed key.
//!
//! In: the changes of committed blocks. Out: values that precede those of the pages; at a checkpoint,
//! all of them sorted.

use ahash::RandomState;
use alloy_primitives::{B256, Bytes, U256};
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Fields of an account besides its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) nonce: u64,
    pub(super) balance: U256,
    pub(super) code_hash: B256,
}

/// A changed account.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountChange {
    /// `None`: the account does not exist.
    pub(super) fields: Option<Fields>,
    /// Whether the slots in pages no longer exist.
    pub(super) is_cleared: bool,
    /// Changed slots; zero for slots that no longer exist.
    pub(super) slots: Map<B256, U256>,
}

/// Accounts and codes that changed since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) accounts: Map<B256, AccountChange>,
    pub(super) codes: Map<B256, Bytes>,
    slots: usize,
}

impl Overlay {
    /// The change of an account; `fields` are those of the pages.
    pub(super) fn entry(&mut self, key: B256, fields: Option<Fields>) -> &mut AccountChange {
        self.accounts.entry(key).or_insert_with(|| AccountChange { fields, ..AccountChange::default() })
    }

    /// Notes that an account changed this many slots; for [`Self::bytes`].
    pub(super) fn add_slots(&mut self, slots: usize) {
        self.slots += slots;
    }

    /// Bytes of memory, about; slots that change repeatedly are counted each time.
    pub(super) fn bytes(&self) -> usize {
        let codes: usize = self.codes.values().map(|code| code.len()).sum();
        self.accounts.len() * size_of::<(B256, AccountChange)>() + self.slots * size_of::<(B256, U256)>() + codes
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.codes.is_empty()
    }
}
