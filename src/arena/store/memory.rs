//! A store over hash maps in memory, for a genesis or a test's `pre` allocation.
//!
//! In: accounts, codes and block hashes. Out: their values as a [`StateStore`].
//! Not here: trie nodes.

use super::{KECCAK_EMPTY, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::arena::keccak::keccak256;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, RandomState>;

/// One account with its whole storage.
#[derive(Clone, Debug)]
pub struct MemoryAccount {
    /// Nonce: number of transactions sent by the account, or of contracts created by it.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code.
    pub code_hash: B256,
    /// Non-zero slots.
    pub storage: Map<U256, U256>,
}

impl Default for MemoryAccount {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, storage: Map::default() }
    }
}

impl MemoryAccount {
    /// Changes the given fields, as [`MemoryStore::update_account`] does.
    pub(crate) fn update(
        &mut self,
        nonce: Option<u64>,
        balance: Option<U256>,
        code_hash: Option<B256>,
        clear_storage: bool,
        slots: impl Iterator<Item = (U256, U256)>,
    ) {
        self.nonce = nonce.unwrap_or(self.nonce);
        self.balance = balance.unwrap_or(self.balance);
        self.code_hash = code_hash.unwrap_or(self.code_hash);
        if clear_storage {
            self.storage.clear();
        }
        for (key, value) in slots {
            if value.is_zero() {
                self.storage.remove(&key);
            } else {
                self.storage.insert(key, value);
            }
        }
    }
}

/// The whole state in hash maps. It holds no trie; the `trie` module builds tries from it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    accounts: Map<Address, MemoryAccount>,
    codes: Map<B256, Bytes>,
    block_hashes: Map<u64, B256>,
}

impl MemoryStore {
    /// Adds or replaces an account; slots with value zero are dropped. The code itself is added by
    /// [`Self::insert_code`].
    pub fn insert_account(
        &mut self,
        address: Address,
        nonce: u64,
        balance: U256,
        code_hash: B256,
        storage: impl IntoIterator<Item = (U256, U256)>,
    ) {
        let storage = storage.into_iter().filter(|(_, value)| !value.is_zero()).collect();
        self.accounts.insert(address, MemoryAccount { nonce, balance, code_hash, storage });
    }

    /// Removes an account with its storage.
    pub fn remove_account(&mut self, address: &Address) {
        self.accounts.remove(address);
    }

    /// Changes the given fields of an account, or creates it. `None` leaves a field unchanged;
    /// slots with value zero are removed. `clear_storage` clears the storage before `slots` are
    /// written.
    pub fn update_account(
        &mut self,
        address: &Address,
        nonce: Option<u64>,
        balance: Option<U256>,
        code_hash: Option<B256>,
        clear_storage: bool,
        slots: impl Iterator<Item = (U256, U256)>,
    ) {
        let account = self.accounts.entry(*address).or_default();
        account.update(nonce, balance, code_hash, clear_storage, slots);
    }

    /// Takes an account with its storage out of the store.
    pub(crate) fn take_account(&mut self, address: &Address) -> Option<MemoryAccount> {
        self.accounts.remove(address)
    }

    /// Puts an account into the store.
    pub(crate) fn put_account(&mut self, address: Address, account: MemoryAccount) {
        self.accounts.insert(address, account);
    }

    /// Adds a code and returns its hash.
    pub fn insert_code(&mut self, code: Bytes) -> B256 {
        if code.is_empty() {
            return KECCAK_EMPTY;
        }
        let hash = keccak256(&code);
        self.codes.insert(hash, code);
        hash
    }

    /// Sets the hash that BLOCKHASH gives for `number`.
    pub fn insert_block_hash(&mut self, number: u64, hash: B256) {
        self.block_hashes.insert(number, hash);
    }

    /// Removes the hash of block `number`.
    pub fn remove_block_hash(&mut self, number: u64) {
        self.block_hashes.remove(&number);
    }

    /// The block hashes by number, in unspecified order.
    pub fn iter_block_hashes(&self) -> impl ExactSizeIterator<Item = (&u64, &B256)> {
        self.block_hashes.iter()
    }

    /// All accounts, in unspecified order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Address, &MemoryAccount)> {
        self.accounts.iter()
    }

    /// One account.
    pub fn account(&self, address: &Address) -> Option<&MemoryAccount> {
        self.accounts.get(address)
    }

    /// All codes by hash, in unspecified order.
    pub fn iter_codes(&self) -> impl ExactSizeIterator<Item = (&B256, &Bytes)> {
        self.codes.iter()
    }

    /// The code with this hash.
    pub fn code(&self, hash: &B256) -> Option<&Bytes> {
        self.codes.get(hash)
    }

    /// One account, mutable.
    pub fn account_mut(&mut self, address: &Address) -> Option<&mut MemoryAccount> {
        self.accounts.get_mut(address)
    }

    /// Number of accounts.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is no account.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

impl StateStore for MemoryStore {
    fn is_resident(&self) -> bool {
        true
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        for (address, out) in addresses.iter().zip(out) {
            *out = self.accounts.get(address).map_or_else(ParentAccount::default, |account| ParentAccount {
                exists: true,
                nonce: account.nonce,
                balance: account.balance,
                code_hash: account.code_hash,
                has_storage: !account.storage.is_empty(),
            });
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        // Queries usually come grouped by account: one account look-up serves the group.
        let mut last: Option<(Address, Option<&MemoryAccount>)> = None;
        for (query, out) in slots.iter().zip(out) {
            let account = match last {
                Some((address, account)) if address == query.address => account,
                _ => self.accounts.get(&query.address),
            };
            last = Some((query.address, account));
            *out = account.and_then(|account| account.storage.get(&query.key).copied()).unwrap_or_default();
        }
        Ok(())
    }

    fn codes_are_checked(&self) -> bool {
        // [`MemoryStore::insert_code`] computes the hash under which it keeps a code.
        true
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        for (hash, out) in hashes.iter().zip(out) {
            *out = self.codes.get(hash).cloned();
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        for (number, out) in numbers.iter().zip(out) {
            *out = *self.block_hashes.get(number).ok_or(StoreError::MissingBlockHash(*number))?;
        }
        Ok(())
    }
}
