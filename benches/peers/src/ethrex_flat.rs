//! A flat state in maps behind ethrex's database trait: codes are analysed, values are not cached.

use ethrex_common::types::{AccountState, ChainConfig, Code, CodeMetadata};
use ethrex_common::{Address, H256, U256};
use ethrex_levm::db::Database;
use ethrex_levm::errors::DatabaseError;
use rustc_hash::FxHashMap;

/// A state in hash maps: accounts, slots, block hashes and analysed codes.
#[derive(Debug, Default)]
pub(crate) struct EthrexFlat {
    pub(crate) accounts: FxHashMap<Address, AccountState>,
    pub(crate) slots: FxHashMap<(Address, H256), U256>,
    pub(crate) codes: FxHashMap<H256, Code>,
    pub(crate) block_hashes: FxHashMap<u64, H256>,
    pub(crate) config: ChainConfig,
}

impl Database for EthrexFlat {
    fn get_account_state(&self, address: Address) -> Result<AccountState, DatabaseError> {
        Ok(self.accounts.get(&address).copied().unwrap_or_default())
    }
    fn get_storage_value(&self, address: Address, key: H256) -> Result<U256, DatabaseError> {
        Ok(self.slots.get(&(address, key)).copied().unwrap_or_default())
    }
    fn get_block_hash(&self, number: u64) -> Result<H256, DatabaseError> {
        let missing = || DatabaseError::Custom(format!("no hash of block {number}"));
        self.block_hashes.get(&number).copied().ok_or_else(missing)
    }
    fn get_chain_config(&self) -> Result<ChainConfig, DatabaseError> {
        Ok(self.config)
    }
    fn get_account_code(&self, code_hash: H256) -> Result<Code, DatabaseError> {
        // Some inputs lack codes that nothing reads; their accounts are treated as accounts without code.
        Ok(self.codes.get(&code_hash).cloned().unwrap_or_default())
    }
    fn get_code_metadata(&self, code_hash: H256) -> Result<CodeMetadata, DatabaseError> {
        let length = self.codes.get(&code_hash).map_or(0, |code| code.len() as u64);
        Ok(CodeMetadata { length })
    }
}
