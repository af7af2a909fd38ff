//! The baseline reader: a worker's own way to the parent state.
//!
//! In: a name. Out: its value in the parent state, from whatever stands behind the store (a flat state, a snapshot, a
//! trie). A reader is three words, copied to each worker; it holds no state of the block and changes none.
//! Not here: what earlier transactions did (`overlay`), who read what before (`cache`).

use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::exec::evm::state::BaseAccount;
use alloy_primitives::{Address, U256};

/// Reads the parent state for one worker.
#[derive(Clone, Copy)]
pub struct Reader<'b> {
    /// Where values come from.
    pub store: &'b dyn StateStore,
    /// Where codes get their ids.
    pub codes: &'b CodeArena,
    /// Whose reader it is.
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
    pub fn account(&self, address: &Address) -> Result<BaseAccount, StoreError> {
        let mut out = [ParentAccount::default()];
        self.store.accounts(core::slice::from_ref(address), &mut out)?;
        Ok(self.resolve(&out[0]))
    }

    /// Accounts of the parent state, in one batch.
    ///
    /// # Errors
    /// The store's.
    pub fn accounts(&self, addresses: &[Address]) -> Result<Vec<BaseAccount>, StoreError> {
        let mut out = vec![ParentAccount::default(); addresses.len()];
        self.store.accounts(addresses, &mut out)?;
        Ok(out.iter().map(|parent| self.resolve(parent)).collect())
    }

    fn resolve(&self, parent: &ParentAccount) -> BaseAccount {
        BaseAccount {
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
