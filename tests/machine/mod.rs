//! A state provider over a store in memory, to run frames without blocks or transactions.

pub(crate) mod programs;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::arena::{AccountId, CodeId, SlotId};
use balustrade::exec::evm::halt::Fault;
use balustrade::exec::evm::state::{AccountState, StateProvider};

/// A state provider that reads from a memory store.
#[derive(Debug)]
pub(crate) struct StoreBase<'a> {
    /// The state before the run.
    pub(crate) store: &'a MemoryStore,
    /// The arena that gives ids to the accounts' code hashes.
    pub(crate) codes: &'a CodeArena,
}

impl StateProvider for StoreBase<'_> {
    fn account(&mut self, _: AccountId, address: &Address) -> Result<AccountState, Fault> {
        let mut account = [ParentAccount::default()];
        self.store.accounts(&[*address], &mut account)?;
        let ParentAccount { exists, nonce, balance, code_hash, has_storage } = account[0];
        Ok(AccountState { exists, nonce, balance, has_storage, code: self.codes.intern(code_hash) })
    }
    fn slot(&mut self, _: SlotId, _: AccountId, address: &Address, key: &U256) -> Result<U256, Fault> {
        let mut value = [U256::ZERO];
        self.store.slots(&[SlotQuery { address: *address, key: *key }], &mut value)?;
        Ok(value[0])
    }
    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
        let hash = codes.hash(id);
        let mut code: [Option<Bytes>; 1] = [None];
        self.store.codes(&[hash], &mut code)?;
        let code = code[0].take().ok_or(StoreError::MissingCode(hash))?;
        codes.provide(id, code);
        Ok(())
    }
    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        let mut hash = [B256::ZERO];
        self.store.block_hashes(&[number], &mut hash)?;
        Ok(hash[0])
    }
}
