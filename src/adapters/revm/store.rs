//! A database of revm as a state store, and a state store as a database of revm.

use crate::arena::store::{KECCAK_EMPTY, ParentAccount, SlotQuery, StateStore, StoreError};
use alloy_primitives::{Address, B256, Bytes, U256};
use core::fmt;
use revm_database::state::AccountInfo;
use revm_database::{DBErrorMarker, DatabaseRef, bytecode::Bytecode};

/// Says whether an account of a database has storage.
type StorageTest<D> = dyn Fn(&D, Address) -> Result<bool, <D as DatabaseRef>::Error> + Send + Sync;

/// A database of revm as a [`StateStore`] without trie nodes.
///
/// A row is one call of the database; a batch is dealt over reader threads unless the store is resident. The database
/// must answer `code_by_hash_ref` for every code hash that `basic_ref` returned.
///
/// A `DatabaseRef` does not say whether an account has storage: without [`Self::with_storage_test`] no account counts as
/// having some, as in revm. Only creations at such an address before Cancun (EIP-7610) depend on it.
pub struct RevmStore<D: DatabaseRef> {
    database: D,
    is_resident: bool,
    storage_test: Option<Box<StorageTest<D>>>,
}

impl<D: DatabaseRef + Send + Sync> RevmStore<D> {
    /// A store over a database that may wait: reader threads ask it.
    pub fn new(database: D) -> Self {
        Self { database, is_resident: false, storage_test: None }
    }

    /// A store over a database that answers from memory: the threads of the block ask it.
    pub fn resident(database: D) -> Self {
        Self { is_resident: true, ..Self::new(database) }
    }

    /// Sets how it is found out whether an account has storage.
    pub fn with_storage_test(
        mut self,
        has_storage: impl Fn(&D, Address) -> Result<bool, D::Error> + Send + Sync + 'static,
    ) -> Self {
        self.storage_test = Some(Box::new(has_storage));
        self
    }

    /// The database.
    pub fn into_inner(self) -> D {
        self.database
    }
}

impl<D: DatabaseRef> fmt::Debug for RevmStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevmStore").field("is_resident", &self.is_resident).finish_non_exhaustive()
    }
}

fn failed(error: impl fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl<D: DatabaseRef + Send + Sync> StateStore for RevmStore<D> {
    fn is_resident(&self) -> bool {
        self.is_resident
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        for (address, out) in addresses.iter().zip(out) {
            let Some(info) = self.database.basic_ref(*address).map_err(failed)? else {
                *out = ParentAccount::default();
                continue;
            };
            let AccountInfo { balance, nonce, code_hash, .. } = info;
            let has_storage = match &self.storage_test {
                Some(test) if nonce == 0 && code_hash == KECCAK_EMPTY => {
                    test(&self.database, *address).map_err(failed)?
                }
                _ => false,
            };
            *out = ParentAccount { exists: true, nonce, balance, code_hash, has_storage };
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        for (slot, out) in slots.iter().zip(out) {
            *out = self.database.storage_ref(slot.address, slot.key).map_err(failed)?;
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        for (hash, out) in hashes.iter().zip(out) {
            let code = self.database.code_by_hash_ref(*hash).map_err(failed)?.original_bytes();
            // Databases answer with the empty code for a hash that they do not know.
            *out = (!code.is_empty()).then_some(code);
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        for (number, out) in numbers.iter().zip(out) {
            *out = self.database.block_hash_ref(*number).map_err(failed)?;
        }
        Ok(())
    }
}

impl DBErrorMarker for StoreError {}

/// A state store as a database of revm. Each call is a batch of one row.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreRef<S>(pub S);

impl<S: StateStore> DatabaseRef for StoreRef<S> {
    type Error = StoreError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        let mut found = [ParentAccount::default()];
        self.0.accounts(&[address], &mut found)?;
        Ok(account_info(&found[0]))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StoreError> {
        if code_hash == KECCAK_EMPTY {
            return Ok(Bytecode::default());
        }
        let mut found = [None];
        self.0.codes(&[code_hash], &mut found)?;
        let [code] = found;
        code.map(bytecode).ok_or(StoreError::MissingCode(code_hash))
    }

    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, StoreError> {
        let mut found = [U256::ZERO];
        self.0.slots(&[SlotQuery { address, key }], &mut found)?;
        Ok(found[0])
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StoreError> {
        let mut found = [B256::ZERO];
        self.0.block_hashes(&[number], &mut found)?;
        Ok(found[0])
    }
}

/// An account without its code; `None` if it does not exist.
pub(super) fn account_info(account: &ParentAccount) -> Option<AccountInfo> {
    let ParentAccount { exists, nonce, balance, code_hash, .. } = *account;
    exists.then(|| AccountInfo { nonce, balance, code_hash, code: None, ..AccountInfo::default() })
}

/// A code as revm holds it. Codes that begin like a delegation (EIP-7702) and are none are from before London.
pub(super) fn bytecode(code: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}
