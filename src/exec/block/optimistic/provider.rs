//! State provider of a speculative task: reads from overlay, cache and reader, and records the version of each read.
//!
//! In: a worker's ids and the task's index. Out: values, and for each the shared id and the version that the task read.
//! A [`View`] holds one worker's mapping from its ids to shared ids, and the reads of its running task. The provider
//! inside the machine and the worker that owns the machine share the view.
//! Relies on: `cache` for values.
//! Not here: validation of reads (`effects`).

use super::cache::{ReadCounts, SharedCache};
use super::overlay::Version;
use super::reader::Reader;
use crate::arena::code::CodeArena;
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::exec::block::code_loader::load_one;
use crate::exec::block::providers::fetch_block_hash;
use crate::exec::evm::halt::Fault;
use crate::exec::evm::state::{AccountState, StateProvider};
use alloy_primitives::{Address, B256, U256};
use core::cell::RefCell;

/// The shared id for one of a worker's ids, and the version that the worker's task number `task` read.
#[derive(Clone, Copy, Debug)]
struct Seen<I> {
    shared: I,
    task: u32,
    version: Version,
}

/// One worker's view of the shared cache.
#[derive(Debug)]
pub struct View<'b> {
    /// The shared cache.
    pub cache: &'b SharedCache,
    /// The worker's reader of the parent state.
    pub reader: Reader<'b>,
    /// Number of reads so far.
    pub counts: ReadCounts,
    accounts: Column<AccountId, Option<Seen<AccountId>>>,
    slots: Column<SlotId, Option<Seen<SlotId>>>,
    index: BlockAccessIndex,
    task: u32,
}

impl<'b> View<'b> {
    /// A view without reads.
    pub fn new(cache: &'b SharedCache, reader: Reader<'b>) -> Self {
        Self {
            cache,
            reader,
            counts: ReadCounts::default(),
            accounts: Column::default(),
            slots: Column::default(),
            index: BlockAccessIndex(0),
            task: 0,
        }
    }

    /// The shared id of an account.
    fn shared_account(&mut self, local: AccountId, address: &Address) -> AccountId {
        if let Some(Some(seen)) = self.accounts.get(local) {
            return seen.shared;
        }
        self.cache.account_id(address)
    }

    /// The shared id of a slot.
    fn shared_slot(&mut self, local: SlotId, owner: AccountId, address: &Address, key: &U256) -> SlotId {
        if let Some(Some(seen)) = self.slots.get(local) {
            return seen.shared;
        }
        let account = self.shared_account(owner, address);
        self.cache.slot_id(account, key)
    }

    /// The shared id of an account of the running task, and the version that the task read.
    pub(super) fn account_read(&mut self, local: AccountId, address: &Address) -> (AccountId, Version) {
        match self.accounts.get(local) {
            Some(Some(seen)) => (seen.shared, seen.version),
            _ => (self.cache.account_id(address), Version::Parent),
        }
    }

    /// The shared id of a slot of the running task, and the version that the task read; `None` if it did not read the
    /// slot.
    pub(super) fn slot_read(
        &mut self,
        local: SlotId,
        owner: AccountId,
        address: &Address,
        key: &U256,
    ) -> (SlotId, Option<Version>) {
        match self.slots.get(local) {
            Some(Some(seen)) => (seen.shared, (seen.task == self.task).then_some(seen.version)),
            _ => (self.shared_slot(local, owner, address, key), None),
        }
    }
}

/// Sets a row of a column that grows with the worker's ids.
fn set<I: Id, T: Clone>(column: &mut Column<I, Option<T>>, id: I, value: T) {
    if id.index() >= column.len() {
        column.resize(id.index() + 1, None);
    }
    column[id] = Some(value);
}

/// The state provider of a worker's machine: a handle to its view.
#[derive(Debug)]
pub struct OptimisticState<'v, 'b> {
    /// The view, shared with the worker.
    pub view: &'v RefCell<View<'b>>,
}

impl StateProvider for OptimisticState<'_, '_> {
    fn begin_task(&mut self, index: BlockAccessIndex) {
        let mut view = self.view.borrow_mut();
        view.index = index;
        view.task += 1;
    }

    fn account(&mut self, id: AccountId, address: &Address) -> Result<AccountState, Fault> {
        let view = &mut *self.view.borrow_mut();
        let shared = view.shared_account(id, address);
        let (account, version) = view.cache.read_account(shared, view.index, &view.reader, &mut view.counts)?;
        let task = view.task;
        set(&mut view.accounts, id, Seen { shared, task, version });
        Ok(account)
    }

    fn slot(&mut self, id: SlotId, account: AccountId, address: &Address, key: &U256) -> Result<U256, Fault> {
        let view = &mut *self.view.borrow_mut();
        let shared = view.shared_slot(id, account, address, key);
        let (value, version) = view.cache.read_slot(shared, view.index, &view.reader, &mut view.counts)?;
        let task = view.task;
        set(&mut view.slots, id, Seen { shared, task, version });
        Ok(value)
    }

    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
        let store = self.view.borrow().reader.store;
        load_one(store, id, codes)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        let store = self.view.borrow().reader.store;
        fetch_block_hash(store, number)
    }
}
