//! Shared read cache: all accounts and slots that any worker has accessed, with their parent values.
//!
//! In: addresses and slot keys, readers of the parent state. Out: ids that are the same for all workers, and values.
//! Each worker has ids of its own; the cache adds a shared id, which a worker looks up once per account or slot. Cells
//! never move, so access by id takes no lock. The first worker that needs a parent value reads it under the cell's
//! lock, so each value is read from the store once.
//! Relies on: `overlay` for the writes of tasks, which the same cells hold; `reader` for parent values.
//! Not here: validation of reads (`effects`).

use super::overlay::{AccountVersions, SlotVersions, Version};
use super::reader::Reader;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, SlotId};
use crate::exec::evm::state::AccountState;
use ahash::RandomState;
use alloy_primitives::{Address, U256};
use hashbrown::HashTable;
use std::sync::{Mutex, OnceLock, RwLock};

/// A value of the parent state, empty until a worker has read it.
#[derive(Debug)]
pub struct Parent<T> {
    value: OnceLock<(T, u32)>,
    filling: Mutex<()>,
}

impl<T> Default for Parent<T> {
    fn default() -> Self {
        Self { value: OnceLock::new(), filling: Mutex::default() }
    }
}

impl<T: Copy> Parent<T> {
    /// The value; `None` if no worker has read it.
    pub fn get(&self) -> Option<T> {
        self.value.get().map(|(value, _)| *value)
    }

    /// Number of the worker that read the value; `None` if no worker has.
    pub fn reader(&self) -> Option<u32> {
        self.value.get().map(|(_, worker)| *worker)
    }

    /// The value. If no worker has read it, calls `read` and increments `reads`.
    fn get_or_read(
        &self,
        worker: u32,
        reads: &mut usize,
        read: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some((value, _)) = self.value.get() {
            return Ok(*value);
        }
        let _filling = self.filling.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((value, _)) = self.value.get() {
            return Ok(*value);
        }
        let value = read()?;
        *reads += 1;
        Ok(self.value.get_or_init(|| (value, worker)).0)
    }
}

/// One account: address, parent value, versions.
#[derive(Debug)]
pub struct AccountCell {
    /// Its address.
    pub address: Address,
    /// Its parent value.
    pub parent: Parent<AccountState>,
    /// Writes of tasks.
    pub versions: AccountVersions,
}

/// One slot: account and key, parent value, versions.
#[derive(Debug)]
pub struct SlotCell {
    /// Its account.
    pub account: AccountId,
    /// Its key.
    pub key: U256,
    /// Its parent value.
    pub parent: Parent<U256>,
    /// Writes of tasks.
    pub versions: SlotVersions,
}

/// Number of a worker's reads of the parent state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Accounts read from the store.
    pub account_reads: usize,
    /// Slots read from the store.
    pub slot_reads: usize,
    /// Parent values that tasks read, from the cache or the store.
    pub asked: usize,
}

impl ReadCounts {
    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        self.account_reads += other.account_reads;
        self.slot_reads += other.slot_reads;
        self.asked += other.asked;
    }
}

const SHARDS: usize = 64;

/// Hash and id of each cell of one shard.
type Shard = RwLock<HashTable<(u64, u32)>>;

/// Cells by id, and a sharded hash table from address or slot key to id.
#[derive(Debug)]
struct Table<C> {
    cells: boxcar::Vec<C>,
    shards: Box<[Shard]>,
}

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self { cells: boxcar::Vec::new(), shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl<C> Table<C> {
    /// The id of the cell with this hash for which `is_it` returns true; a new cell from `make` if there is none.
    fn id(&self, hash: u64, is_it: impl Fn(&C) -> bool, make: impl FnOnce() -> C) -> u32 {
        let shard = &self.shards[(hash >> 57) as usize % SHARDS];
        let known = |entry: &(u64, u32)| entry.0 == hash && self.cells.get(entry.1 as usize).is_some_and(&is_it);
        if let Some((_, id)) = shard.read().unwrap_or_else(|poisoned| poisoned.into_inner()).find(hash, known) {
            return *id;
        }
        let mut shard = shard.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, id)) = shard.find(hash, known) {
            return *id;
        }
        let id = self.cells.push(make()) as u32;
        shard.insert_unique(hash, (hash, id), |entry| entry.0);
        id
    }
}

/// The accounts and slots of a block without a block access list, shared by all workers.
#[derive(Debug, Default)]
pub struct SharedCache {
    accounts: Table<AccountCell>,
    slots: Table<SlotCell>,
    seed: RandomState,
}

impl SharedCache {
    /// The id of an address, the same for all workers.
    pub fn account_id(&self, address: &Address) -> AccountId {
        let make =
            || AccountCell { address: *address, parent: Parent::default(), versions: AccountVersions::default() };
        AccountId(self.accounts.id(self.seed.hash_one(address), |cell| cell.address == *address, make))
    }

    /// The id of a slot, the same for all workers.
    pub fn slot_id(&self, account: AccountId, key: &U256) -> SlotId {
        let is_it = |cell: &SlotCell| cell.account == account && cell.key == *key;
        let make = || SlotCell { account, key: *key, parent: Parent::default(), versions: SlotVersions::default() };
        SlotId(self.slots.id(self.seed.hash_one((account.0, key)), is_it, make))
    }

    /// The cell of an account.
    ///
    /// # Panics
    /// On an id that this cache did not give.
    #[inline]
    pub fn account(&self, id: AccountId) -> &AccountCell {
        &self.accounts.cells[id.index()]
    }

    /// The cell of a slot.
    ///
    /// # Panics
    /// On an id that this cache did not give.
    #[inline]
    pub fn slot(&self, id: SlotId) -> &SlotCell {
        &self.slots.cells[id.index()]
    }

    /// The account before the task at `index`, from overlay, cache or the worker's reader, and its last writer.
    ///
    /// # Errors
    /// The store's.
    pub fn read_account(
        &self,
        id: AccountId,
        index: BlockAccessIndex,
        reader: &Reader<'_>,
        counts: &mut ReadCounts,
    ) -> Result<(AccountState, Version), StoreError> {
        let cell = self.account(id);
        let read = || reader.account(&cell.address);
        let parent = cell.parent.get_or_read(reader.worker, &mut counts.account_reads, read)?;
        let (account, version) = cell.versions.read(index, &parent);
        counts.asked += usize::from(version == Version::Parent);
        Ok((account, version))
    }

    /// Reads these accounts of the parent state in one batch, except those already in the cache. Returns the number
    /// read.
    ///
    /// # Errors
    /// The store's; the cache is then unchanged.
    pub fn read_accounts(&self, ids: &[AccountId], reader: &Reader<'_>) -> Result<usize, StoreError> {
        let missing: Vec<&AccountCell> =
            ids.iter().map(|id| self.account(*id)).filter(|cell| cell.parent.get().is_none()).collect();
        let addresses: Vec<Address> = missing.iter().map(|cell| cell.address).collect();
        for (cell, account) in missing.iter().zip(reader.accounts(&addresses)?) {
            cell.parent.value.get_or_init(|| (account, reader.worker));
        }
        Ok(missing.len())
    }

    /// The slot before the task at `index`, from overlay, cache or the worker's reader, and its last writer.
    ///
    /// # Errors
    /// The store's.
    pub fn read_slot(
        &self,
        id: SlotId,
        index: BlockAccessIndex,
        reader: &Reader<'_>,
        counts: &mut ReadCounts,
    ) -> Result<(U256, Version), StoreError> {
        let cell = self.slot(id);
        let account = self.account(cell.account);
        if let Some(written) = cell.versions.read(index, account.versions.last_clearing(index)) {
            return Ok(written);
        }
        counts.asked += 1;
        let read = || reader.slot(&account.address, &cell.key);
        let value = cell.parent.get_or_read(reader.worker, &mut counts.slot_reads, read)?;
        Ok((value, Version::Parent))
    }

    /// An account of the parent state; `None` if no worker has read it.
    pub fn parent_account(&self, id: AccountId, codes: &CodeArena) -> Option<ParentAccount> {
        let parent = self.account(id).parent.get()?;
        Some(ParentAccount {
            exists: parent.exists,
            nonce: parent.nonce,
            balance: parent.balance,
            code_hash: codes.hash(parent.code),
            has_storage: parent.has_storage,
        })
    }

    /// Addresses, slot keys and the accounts of slots, by shared id, for a [`Recorder`](crate::bal::Recorder). Call
    /// it only while no worker adds cells.
    pub fn recorded_keys(&self) -> (Column<AccountId, Address>, Column<SlotId, U256>, Column<SlotId, AccountId>) {
        let addresses: Vec<_> = self.accounts.cells.iter().map(|(_, cell)| cell.address).collect();
        let keys: Vec<_> = self.slots.cells.iter().map(|(_, cell)| cell.key).collect();
        let owners: Vec<_> = self.slots.cells.iter().map(|(_, cell)| cell.account).collect();
        (addresses.into(), keys.into(), owners.into())
    }
}
