//! A store that adds the latency of a disk or a remote node to another store.
//!
//! In: another store, and delays per call and per item. Out: its answers, delayed; counts of calls
//! and items.
//! The calling thread sleeps, so that other threads can run, as during disk access. The system's
//! timer adds about 60 microseconds to every sleep.
//! Announced rows are passed on without delay and without being counted: the reads themselves are delayed and counted.
//! Not here: queues and their depth; calls from several threads wait independently.

use super::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::arena::path::NodeQuery;
use alloy_primitives::{Address, B256, Bytes, U256};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

/// A store with delayed answers.
#[derive(Debug)]
pub struct LatencyStore<S> {
    /// The store that answers.
    pub inner: S,
    /// Delay per call.
    pub per_batch: Duration,
    /// Additional delay per item of a call.
    pub per_item: Duration,
    batches: AtomicUsize,
    accounts: AtomicUsize,
    slots: AtomicUsize,
    nodes: AtomicUsize,
}

/// Number of calls and items that a [`LatencyStore`] has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Calls of any kind.
    pub batches: usize,
    /// Accounts read.
    pub accounts: usize,
    /// Slots read.
    pub slots: usize,
    /// Trie nodes read.
    pub nodes: usize,
}

impl<S> LatencyStore<S> {
    /// Wraps `inner`. With both delays zero the store only counts.
    pub fn new(inner: S, per_batch: Duration, per_item: Duration) -> Self {
        let [batches, accounts, slots, nodes] = Default::default();
        Self { inner, per_batch, per_item, batches, accounts, slots, nodes }
    }

    /// Calls and items so far.
    pub fn counts(&self) -> StoreCounts {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        StoreCounts {
            batches: count(&self.batches),
            accounts: count(&self.accounts),
            slots: count(&self.slots),
            nodes: count(&self.nodes),
        }
    }

    fn wait(&self, items: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        let delay = self.per_batch + self.per_item * u32::try_from(items).unwrap_or(u32::MAX);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

impl<S: StateStore> StateStore for LatencyStore<S> {
    fn is_resident(&self) -> bool {
        self.per_batch.is_zero() && self.per_item.is_zero() && self.inner.is_resident()
    }

    fn call_rows(&self) -> usize {
        self.inner.call_rows()
    }

    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.inner.announce(accounts, slots)
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.accounts.fetch_add(addresses.len(), Ordering::Relaxed);
        self.wait(addresses.len());
        self.inner.accounts(addresses, out)
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.slots.fetch_add(slots.len(), Ordering::Relaxed);
        self.wait(slots.len());
        self.inner.slots(slots, out)
    }

    fn codes_are_checked(&self) -> bool {
        self.inner.codes_are_checked()
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        if !hashes.is_empty() {
            self.wait(hashes.len());
        }
        self.inner.codes(hashes, out)
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.wait(numbers.len());
        self.inner.block_hashes(numbers, out)
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.nodes.fetch_add(nodes.len(), Ordering::Relaxed);
        self.wait(nodes.len());
        self.inner.trie_nodes(nodes, out)
    }

    fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::store::MemoryStore;
    use std::time::Instant;

    #[test]
    fn answers_are_those_of_the_inner_store_after_a_delay() {
        let mut inner = MemoryStore::default();
        let address = Address::repeat_byte(7);
        inner.insert_account(address, 1, U256::from(5), crate::arena::store::KECCAK_EMPTY, []);
        let store = LatencyStore::new(inner, Duration::from_micros(300), Duration::from_micros(100));
        let mut out = [ParentAccount::default(); 2];
        let start = Instant::now();
        store.accounts(&[address, Address::ZERO], &mut out).unwrap();
        assert!(start.elapsed() >= Duration::from_micros(500));
        assert_eq!((out[0].balance, out[1].exists), (U256::from(5), false));
        assert_eq!(store.counts(), StoreCounts { batches: 1, accounts: 2, ..StoreCounts::default() });
    }
}
