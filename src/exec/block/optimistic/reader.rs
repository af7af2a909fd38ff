//! Reader of the parent state, one per worker.
//!
//! In: an address or a slot. Out: its value in the parent state, from the store, which may be a flat state, a snapshot
//! or a trie. A reader holds two references and a number, is copied to each worker, and has no mutable state.
//! Not here: writes of earlier transactions (`overlay`), values already read (`cache`).

use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::exec::evm::state::AccountState;
use alloy_primitives::{Address, U256};

/// Reads the parent state for one worker.
#[derive(Clone, Copy)]
pub struct Reader<'b> {
    /// The store of the parent state.
    pub store: &'b dyn StateStore,
    /// The arena that assigns ids to codes.
    pub codes: &'b CodeArena,
    /// Number of the worker that it belongs to.
    pub worker: u32,
}

impl core::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reader").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Reader<'_> {
    /// An account of the parent state.
    ///
    /// # Errors
    /// The store's.
    pub fn account(&self, address: &Address) -> Result<AccountState, StoreError> {
        let mut out = [ParentAccount::default()];
        self.store.accounts(core::slice::from_ref(address), &mut out)?;
        Ok(self.resolve(&out[0]))
    }

    /// Accounts of the parent state, in one batch.
    ///
    /// # Errors
    /// The store's.
    pub fn accounts(&self, addresses: &[Address]) -> Result<Vec<AccountState>, StoreError> {
        let mut out = vec![ParentAccount::default(); addresses.len()];
        self.store.accounts(addresses, &mut out)?;
        Ok(out.iter().map(|parent| self.resolve(parent)).collect())
    }

    fn resolve(&self, parent: &ParentAccount) -> AccountState {
        AccountState {
            exists: parent.exists,
            has_storage: parent.has_storage,
            nonce: parent.nonce,
            balance: parent.balance,
            code: self.codes.intern(parent.code_hash),
        }
    }

    /// A slot of the parent state.
    ///
    /// # Errors
    /// The store's.
    pub fn slot(&self, address: &Address, key: &U256) -> Result<U256, StoreError> {
        let mut out = [U256::ZERO];
        self.store.slots(&[SlotQuery { address: *address, key: *key }], &mut out)?;
        Ok(out[0])
    }
}
