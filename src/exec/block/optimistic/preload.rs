//! Preload: the parent values of all accounts and slots that the block changes, taken from the shared cache.
//!
//! In: the block's committed changes, and the cache that the workers filled. Out: a store that serves the changed
//! accounts and slots from memory, and forwards and counts all other account and slot reads.
//! Only parent values are taken, no written ones, so no speculative value can be in the preload. A slot that no task
//! read (of an account that the block created or whose storage it cleared) is not in the cache and is read from the
//! store.
//! Not here: codes, block hashes and trie nodes, which are forwarded without being counted.

use super::cache::SharedCache;
use crate::arena::AccountId;
use crate::arena::code::CodeArena;
use crate::arena::path::NodeQuery;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::exec::block::tasks::Recording;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use core::sync::atomic::{AtomicUsize, Ordering};
use hashbrown::HashMap;

/// A store with the parent values of all changed accounts and slots in memory.
pub struct Preload<'b> {
    store: &'b dyn StateStore,
    accounts: HashMap<Address, ParentAccount, RandomState>,
    slots: HashMap<SlotQuery, U256, RandomState>,
    store_reads: AtomicUsize,
}

impl core::fmt::Debug for Preload<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Preload")
            .field("accounts", &self.accounts.len())
            .field("slots", &self.slots.len())
            .field("store_reads", &self.store_reads)
            .finish_non_exhaustive()
    }
}

impl<'b> Preload<'b> {
    /// Takes the parent values of everything that a recorded block access list and its existence log change from the
    /// cache.
    pub fn new(cache: &SharedCache, codes: &CodeArena, store: &'b dyn StateStore, recording: &Recording) -> Self {
        let mut preload =
            Self { store, accounts: HashMap::default(), slots: HashMap::default(), store_reads: AtomicUsize::new(0) };
        let Recording { list, existence_log, .. } = recording;
        let bal = &list.columns;
        let mut take_account = |id: AccountId| {
            if let Some(parent) = cache.parent_account(id, codes) {
                preload.accounts.insert(cache.account(id).address, parent);
            }
        };
        for account in bal.addresses().ids() {
            let address = bal.addresses()[account];
            let mut is_written = !(bal.balances().indices(account).is_empty()
                && bal.nonces().indices(account).is_empty()
                && bal.codes().indices(account).is_empty());
            for slot in bal.slots(account).filter(|slot| !bal.storage().indices(*slot).is_empty()) {
                is_written = true;
                if let Some(value) = cache.slot(list.slot_ids[slot]).parent.get() {
                    preload.slots.insert(SlotQuery { address, key: bal.slot_keys()[slot] }, value);
                }
            }
            if is_written {
                take_account(list.account_ids[account]);
            }
        }
        existence_log.existence.iter().for_each(|event| take_account(cache.account_id(&event.0)));
        preload
    }

    /// Number of accounts and of slots held.
    pub fn len(&self) -> (usize, usize) {
        (self.accounts.len(), self.slots.len())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.slots.is_empty()
    }

    /// Number of accounts and slots that were read from the store because the cache did not have them.
    pub fn store_reads(&self) -> usize {
        self.store_reads.load(Ordering::Relaxed)
    }
}

impl StateStore for Preload<'_> {
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
        for (address, out) in addresses.iter().zip(out) {
            match self.accounts.get(address) {
                Some(parent) => *out = *parent,
                None => {
                    self.store_reads.fetch_add(1, Ordering::Relaxed);
                    self.store.accounts(core::slice::from_ref(address), core::slice::from_mut(out))?;
                }
            }
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        for (slot, out) in slots.iter().zip(out) {
            match self.slots.get(slot) {
                Some(value) => *out = *value,
                None => {
                    self.store_reads.fetch_add(1, Ordering::Relaxed);
                    self.store.slots(core::slice::from_ref(slot), core::slice::from_mut(out))?;
                }
            }
        }
        Ok(())
    }

    fn codes_are_checked(&self) -> bool {
        self.store.codes_are_checked()
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.store.codes(hashes, out)
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.store.block_hashes(numbers, out)
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.store.trie_nodes(nodes, out)
    }

    fn is_cancelled(&self) -> bool {
        self.store.is_cancelled()
    }
}
