//! State providers: the accounts and slots as of the start of a task.
//!
//! In: an account or slot id and the task's block access index. Out: its value before that task. Two providers:
//! - [`BalState`]: the last change below the task's index in the block access list (BAL), else the parent value. Tasks
//!   are independent of each other. Parent values are read before the tasks or while they run ([`ParentRows`]).
//! - [`OverlayState`]: the value that earlier tasks of the same thread left in the [`Overlay`], else the store's, with
//!   one call per account or slot.
//!
//! Relies on: the store for parent values, codes and block hashes; `bal` for the changes of a BAL.
//! Not here: the provider of optimistic execution (`optimistic/base`), changes inside a task (`evm::state`).

use super::code_loader::{CodeLoader, load_one};
use super::prefetch::{Prefetch, PrefetchedAccount};
use crate::arena::code::CodeArena;
use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::store::{ParentAccount, SlotQuery, StateStore};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::bal::{BalColumns, ExistenceColumns, ListedParents, ListedValues};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::state::{AccountState, StateProvider};
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256, U256};

/// The parent state of all accounts and slots of a block access list, read in full before the tasks.
#[derive(Clone, Debug, Default)]
pub struct PreState {
    /// Accounts and slots.
    pub parents: ListedParents,
    /// The arena's id of each account's code.
    pub codes: Column<AccountId, CodeId>,
}

/// The parent state of all accounts and slots of a block access list, read in full or being read.
#[derive(Clone, Copy, Debug)]
pub enum ParentRows<'b> {
    /// Everything was read before the first task.
    Known(&'b PreState),
    /// It is read while the tasks run; a task waits for values that have not been read yet.
    Prefetching(&'b Prefetch<'b>),
}

impl ParentRows<'_> {
    #[inline]
    fn account(&self, id: AccountId) -> Result<PrefetchedAccount, Fault> {
        match self {
            Self::Known(pre) => Ok((pre.parents.accounts[id], pre.codes[id])),
            Self::Prefetching(prefetch) => prefetch.account(id),
        }
    }

    #[inline]
    fn slot(&self, id: SlotId) -> Result<U256, Fault> {
        match self {
            Self::Known(pre) => Ok(pre.parents.slots[id]),
            Self::Prefetching(prefetch) => prefetch.slot(id),
        }
    }
}

/// State provider of a block with a block access list: parent state plus the listed changes below the task's index.
pub struct BalState<'b> {
    /// The block access list.
    values: ListedValues<'b>,
    /// The parent state.
    parent: ParentRows<'b>,
    /// The arena's id of each code row of the block access list.
    code_rows: &'b [CodeId],
    /// Loads codes. Its store also supplies block hashes and the accounts of unlisted senders.
    loader: &'b CodeLoader<'b>,
    index: BlockAccessIndex,
}

impl<'b> BalState<'b> {
    /// A provider for the task at index 0; [`StateProvider::begin_task`] sets the index of each task.
    pub fn new(
        bal: &'b BalColumns,
        existence_log: &'b ExistenceColumns,
        parent: ParentRows<'b>,
        code_rows: &'b [CodeId],
        loader: &'b CodeLoader<'b>,
        fork: Fork,
    ) -> Self {
        let values = ListedValues { bal, existence_log, clears_storage: fork < Fork::Cancun };
        Self { values, parent, code_rows, loader, index: BlockAccessIndex(0) }
    }
}

impl StateProvider for BalState<'_> {
    fn begin_task(&mut self, index: BlockAccessIndex) {
        self.index = index;
    }

    fn account(&mut self, id: AccountId, _address: &Address) -> Result<AccountState, Fault> {
        let (parent, parent_code) = self.parent.account(id)?;
        let (account, code) = self.values.account_before(id, &parent, self.index);
        let ParentAccount { exists, nonce, balance, has_storage, .. } = account;
        Ok(AccountState {
            exists,
            has_storage,
            nonce,
            balance,
            code: code.map_or(parent_code, |row| self.code_rows[row]),
        })
    }

    fn unlisted_sender(&mut self, address: &Address) -> Result<Option<AccountState>, Fault> {
        let mut out = [ParentAccount::default()];
        self.loader.store().accounts(&[*address], &mut out)?;
        let [parent] = out;
        Ok(Some(AccountState {
            exists: parent.exists,
            has_storage: parent.has_storage,
            nonce: parent.nonce,
            balance: parent.balance,
            code: self.loader.codes().intern(parent.code_hash),
        }))
    }

    fn slot(&mut self, id: SlotId, account: AccountId, _address: &Address, _key: &U256) -> Result<U256, Fault> {
        self.values.slot_before(id, account, self.index).map_or_else(|| self.parent.slot(id), Ok)
    }

    fn code(&mut self, id: CodeId, _codes: &CodeArena) -> Result<(), Fault> {
        self.loader.load(id)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        fetch_block_hash(self.loader.store(), number)
    }
}

/// Reads the hash of block `number` from the store.
pub(in crate::exec) fn fetch_block_hash(store: &dyn StateStore, number: u64) -> Result<B256, Fault> {
    let mut out = [B256::ZERO];
    store.block_hashes(&[number], &mut out)?;
    Ok(out[0])
}

/// The state that a block's tasks have read and written so far, by the ids of an `IdMap` that grows with the block.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Latest value of each account that was read; `None` where it was not.
    pub accounts: Column<AccountId, Option<AccountState>>,
    /// How often the account's storage was cleared; at 0 the parent's storage values hold.
    pub clearings: Column<AccountId, u32>,
    /// The accounts in the parent state.
    pub parents: Column<AccountId, ParentAccount>,
    /// For each slot that was read: how often the account's storage had been cleared when the value was stored, and the
    /// value. Where the storage was cleared since, the slot is zero.
    pub slots: Column<SlotId, Option<(u32, U256)>>,
    /// The values of slots in the parent state; zero where the value was not read.
    pub parent_slots: Column<SlotId, U256>,
    /// Number of accounts that were read from the store.
    pub account_reads: usize,
    /// Number of slots that were read from the store.
    pub slot_reads: usize,
}

impl HeapBytes for Overlay {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.accounts, &self.clearings, &self.parents, &self.slots, &self.parent_slots])
    }
}

impl Overlay {
    /// Removes all values and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.accounts.clear();
        self.clearings.clear();
        self.parents.clear();
        self.slots.clear();
        self.parent_slots.clear();
        (self.account_reads, self.slot_reads) = (0, 0);
    }

    fn account_slot(&mut self, id: AccountId) -> &mut Option<AccountState> {
        if id.index() >= self.accounts.len() {
            self.accounts.resize(id.index() + 1, None);
            self.clearings.resize(id.index() + 1, 0);
            self.parents.resize(id.index() + 1, ParentAccount::default());
        }
        &mut self.accounts[id]
    }

    fn slot_slot(&mut self, id: SlotId) -> &mut Option<(u32, U256)> {
        if id.index() >= self.slots.len() {
            self.slots.resize(id.index() + 1, None);
            self.parent_slots.resize(id.index() + 1, U256::ZERO);
        }
        &mut self.slots[id]
    }
}

/// An [`Overlay`] over a store: the state provider of sequential execution.
pub struct OverlayState<'b> {
    /// Values after the earlier tasks.
    pub overlay: &'b mut Overlay,
    /// The parent state.
    pub store: &'b dyn StateStore,
    /// Codes by id.
    pub codes: &'b CodeArena,
}

impl StateProvider for OverlayState<'_> {
    fn account(&mut self, id: AccountId, address: &Address) -> Result<AccountState, Fault> {
        if let Some(account) = *self.overlay.account_slot(id) {
            return Ok(account);
        }
        let mut out = [ParentAccount::default()];
        self.store.accounts(&[*address], &mut out)?;
        let [parent] = out;
        let account = AccountState {
            exists: parent.exists,
            has_storage: parent.has_storage,
            nonce: parent.nonce,
            balance: parent.balance,
            code: self.codes.intern(parent.code_hash),
        };
        self.overlay.account_reads += 1;
        *self.overlay.account_slot(id) = Some(account);
        self.overlay.parents[id] = parent;
        Ok(account)
    }

    fn slot(&mut self, id: SlotId, account: AccountId, address: &Address, key: &U256) -> Result<U256, Fault> {
        let clearings = self.overlay.clearings.get(account).copied().unwrap_or_default();
        let known = self.overlay.slot_slot(id);
        let value = match *known {
            Some((at, value)) if at == clearings => return Ok(value),
            _ if clearings > 0 => U256::ZERO,
            _ => {
                let mut out = [U256::ZERO];
                self.store.slots(&[SlotQuery { address: *address, key: *key }], &mut out)?;
                self.overlay.slot_reads += 1;
                self.overlay.parent_slots[id] = out[0];
                out[0]
            }
        };
        *self.overlay.slot_slot(id) = Some((clearings, value));
        Ok(value)
    }

    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
        load_one(self.store, id, codes)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        fetch_block_hash(self.store, number)
    }

    fn commit_account(&mut self, id: AccountId, account: AccountState, storage_cleared: bool) {
        *self.overlay.account_slot(id) = Some(account);
        if storage_cleared {
            self.overlay.clearings[id] += 1;
        }
    }

    fn commit_slot(&mut self, id: SlotId, account: AccountId, value: U256) {
        let clearings = self.overlay.clearings.get(account).copied().unwrap_or_default();
        *self.overlay.slot_slot(id) = Some((clearings, value));
    }
}
