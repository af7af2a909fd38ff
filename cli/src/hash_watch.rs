//! A store that notes the lowest block number whose hash it was asked for: the ancestors that a witness must have.
//!
//! In: a store. Out: the same answers.

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::{ParentAccount, SlotQuery, StateStore, StoreError};
use std::sync::atomic::{AtomicU64, Ordering};

/// The store.
pub struct HashWatch<'a> {
    store: &'a dyn StateStore,
    /// `u64::MAX` before a question.
    lowest: AtomicU64,
}

impl<'a> HashWatch<'a> {
    /// Notes the questions to `store` from now on.
    pub const fn new(store: &'a dyn StateStore) -> Self {
        Self { store, lowest: AtomicU64::new(u64::MAX) }
    }

    /// The lowest number so far.
    pub fn lowest(&self) -> Option<u64> {
        Some(self.lowest.load(Ordering::Relaxed)).filter(|number| *number != u64::MAX)
    }
}

impl StateStore for HashWatch<'_> {
    fn is_resident(&self) -> bool {
        self.store.is_resident()
    }
    fn call_rows(&self) -> usize {
        self.store.call_rows()
    }
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.store.announce(accounts, slots)
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.store.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.store.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.store.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        if let Some(lowest) = numbers.iter().min() {
            self.lowest.fetch_min(*lowest, Ordering::Relaxed);
        }
        self.store.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.store.trie_nodes(nodes, out)
    }
    fn is_cancelled(&self) -> bool {
        self.store.is_cancelled()
    }
}
