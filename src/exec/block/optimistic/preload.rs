//! The canonical preload: parent values of exactly what the block will write, out of the shared cache.
//!
//! In: the block's final changes and the cache that its workers filled. Out: a store that answers for the written
//! accounts and slots from memory and passes everything else on, counted. Only parent values are taken, never a written
//! one: nothing speculative gets here. A slot that no task read (the storage of an account that the block itself made or
//! wiped) is not in the cache and would be read.
//! Not here: trie nodes, which are passed on uncounted: they are the trie's own business.

use super::cache::SharedCache;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::exec::block::tasks::Recording;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use core::sync::atomic::{AtomicUsize, Ordering};
use hashbrown::HashMap;

/// Parent values of what is about to be written, before a store.
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
    /// Takes the parent values of everything that a recorded list and its existence log change out of the cache.
    pub fn new(cache: &SharedCache, codes: &CodeArena, store: &'b dyn StateStore, recording: &Recording) -> Self {
        let mut preload =
            Self { store, accounts: HashMap::default(), slots: HashMap::default(), store_reads: AtomicUsize::new(0) };
        let Recording { list, existence_log, .. } = recording;
        let bal = &list.columns;
        let mut take_account = |address: Address| {
            if let Some(parent) = cache.parent_account(&address, codes) {
                preload.accounts.insert(address, parent);
            }
        };
        for account in bal.addresses().ids() {
            let address = bal.addresses()[account];
            let mut is_written = !(bal.balances().indices(account).is_empty()
                && bal.nonces().indices(account).is_empty()
                && bal.codes().indices(account).is_empty());
            for slot in bal.slots(account).filter(|slot| !bal.storage().indices(*slot).is_empty()) {
                is_written = true;
                let key = bal.slot_keys()[slot];
                let id = cache.slot_id(cache.account_id(&address), &key);
                if let Some(value) = cache.slot(id).parent.get() {
                    preload.slots.insert(SlotQuery { address, key }, value);
                }
            }
            if is_written {
                take_account(address);
            }
        }
        existence_log.existence.iter().for_each(|event| take_account(event.0));
        preload
    }

    /// Accounts and slots held.
    pub fn len(&self) -> (usize, usize) {
        (self.accounts.len(), self.slots.len())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.slots.is_empty()
    }

    /// Accounts and slots that had to be read from the store after all.
    pub fn store_reads(&self) -> usize {
        self.store_reads.load(Ordering::Relaxed)
    }
}

impl StateStore for Preload<'_> {
    fn is_resident(&self) -> bool {
        self.store.is_resident()
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

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.store.codes(hashes, out)
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.store.block_hashes(numbers, out)
    }

    fn trie_nodes(&self, hashes: &[B256], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.store.trie_nodes(hashes, out)
    }

    fn is_cancelled(&self) -> bool {
        self.store.is_cancelled()
    }
}
