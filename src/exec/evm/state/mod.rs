//! Transaction-local state: rows by dense id, each with the epoch of its task, and a journal for reverts.
//!
//! In: an [`IdMap`] and a state provider ([`StateProvider`]), which has all values as of the start of the task. Out: for each
//! account and slot that the task loaded, its value at the start and its value at the end.
//! Rows are not cleared between tasks: a row whose epoch is not the current one counts as blank.
//! Relies on: ids index rows; the row columns grow with the id map.
//! Not here: gas of accesses and changes (`host`).

mod accounts;
mod ids;
mod journal;
mod logs;
mod rows;
mod slots;

pub use ids::StateIds;
pub use journal::Checkpoint;
pub use logs::Logs;
pub use rows::{AccountRow, AccountState, SlotRow, flag, seen};

use super::halt::{Fault, Halt};
use super::ids::IdMap;
use super::lookup_cache::LookupCache;
use crate::arena::code::{CodeArena, EMPTY_CODE};
use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, SlotId};
use crate::exec::rules::fork::{Fork, ForkRules};
use ahash::RandomState;
use alloy_primitives::{Address, B256, U256};
use hashbrown::{HashMap, HashSet};
use journal::Undo;

/// A state provider: the source of a task's values. Called once per account, slot and task, at the first access.
pub trait StateProvider {
    /// Starts a task: reads that follow refer to the state at this block access index.
    fn begin_task(&mut self, _index: BlockAccessIndex) {}
    /// The account as of the start of the task.
    fn account(&mut self, id: AccountId, address: &Address) -> Result<AccountState, Fault>;
    /// The slot as of the start of the task.
    fn slot(&mut self, id: SlotId, account: AccountId, address: &Address, key: &U256) -> Result<U256, Fault>;
    /// Loads a code's bytes into the arena if it does not have them.
    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault>;
    /// Hash of an ancestor block (BLOCKHASH).
    fn block_hash(&mut self, number: u64) -> Result<B256, Fault>;
    /// The sender's account in the parent state, if the block access list does not contain the sender.
    fn unlisted_sender(&mut self, _address: &Address) -> Result<Option<AccountState>, Fault> {
        Ok(None)
    }
    /// Stores an account's value at the end of a task, if later tasks of the same worker build on it.
    /// `storage_cleared`: its storage was cleared (SELFDESTRUCT before Cancun). Does nothing in a provider with a
    /// block access list, which has all values.
    fn commit_account(&mut self, _id: AccountId, _account: AccountState, _storage_cleared: bool) {}
    /// Stores a slot's value at the end of a task, as [`Self::commit_account`] does.
    fn commit_slot(&mut self, _id: SlotId, _account: AccountId, _value: U256) {}
}

/// Addresses and slots that an access list (EIP-2930) warmed although the block access list does not contain
/// them. Warming is no fault; an access is charged the warm price, and only then it is a fault.
#[derive(Debug, Default)]
struct WarmOutside {
    accounts: HashSet<Address, RandomState>,
    slots: HashSet<(AccountId, U256), RandomState>,
}

/// The columns of a [`TxState`].
#[derive(Debug, Default)]
struct StateRows {
    accounts: Column<AccountId, AccountRow>,
    slots: Column<SlotId, SlotRow>,
    undo: Vec<Undo>,
    touched_accounts: Vec<AccountId>,
    touched_slots: Vec<SlotId>,
    transient: Vec<(AccountId, U256, U256)>,
    transient_index: HashMap<(AccountId, U256), u32, RandomState>,
    warm_outside: Option<Box<WarmOutside>>,
    epoch: u32,
    lookup_cache: Box<LookupCache>,
}

/// Memory of a [`TxState`], kept between blocks.
#[derive(Debug, Default)]
pub struct StateScratch {
    rows: StateRows,
    logs: Logs,
    id_map: Box<IdMap>,
}

impl HeapBytes for WarmOutside {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.accounts, &self.slots])
    }
}

impl HeapBytes for StateScratch {
    fn heap_bytes(&self) -> usize {
        let Self { rows, logs, id_map } = self;
        size_of_val(&*rows.lookup_cache)
            + sum_heap_bytes([
                &rows.accounts,
                &rows.slots,
                &rows.undo,
                &rows.touched_accounts,
                &rows.touched_slots,
                &rows.transient,
                &rows.transient_index,
                &rows.warm_outside,
                logs,
                id_map,
            ])
    }
}

impl StateScratch {
    /// The id map of the last block that was executed without a block access list.
    pub fn id_map(&self) -> &IdMap {
        &self.id_map
    }
}

/// The state that one worker's transactions read and change.
pub struct TxState<'b> {
    /// The id map of accounts and slots.
    pub ids: StateIds<'b>,
    /// The state provider: values as of the start of the task.
    pub base: Box<dyn StateProvider + 'b>,
    /// The code arena.
    pub codes: &'b CodeArena,
    /// Logs of all tasks of this worker so far; those of the current task come last.
    pub logs: Logs,
    /// The reason why execution has to stop; set when a method returned [`Halt::Fault`].
    pub fault: Option<Fault>,
    rows: StateRows,
    /// Whether precompiles are in the accessed set from the start (EIP-2929), as in every transaction.
    precompiles_warm: bool,
    fork: Fork,
    /// The growing id map while the state uses a closed one; returned with the scratch.
    spare: Option<Box<IdMap>>,
}

impl core::fmt::Debug for TxState<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TxState").field("epoch", &self.rows.epoch).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl<'b> TxState<'b> {
    /// A state over `base`. `closed` is the id map of a block access list; without it an empty map grows during
    /// execution. `fork` decides which addresses are precompiles.
    pub fn new(
        scratch: StateScratch,
        closed: Option<&'b IdMap>,
        base: Box<dyn StateProvider + 'b>,
        codes: &'b CodeArena,
        fork: Fork,
    ) -> Self {
        let StateScratch { mut rows, mut logs, mut id_map } = scratch;
        // Ids have other meanings in this block: rows start blank, and their precompile numbers are set again.
        rows.accounts.clear();
        rows.slots.clear();
        rows.lookup_cache.clear();
        logs.clear();
        let (ids, spare) = match closed {
            Some(closed) => (StateIds::Closed(closed), Some(id_map)),
            None => {
                id_map.clear();
                (StateIds::Growing(id_map), None)
            }
        };
        let mut state = Self { ids, base, codes, logs, fault: None, rows, precompiles_warm: true, fork, spare };
        state.grow_rows();
        state.begin();
        state
    }

    /// Ends the block: returns the memory for the next one.
    pub fn into_scratch(self) -> StateScratch {
        let id_map = match self.ids {
            StateIds::Growing(id_map) => id_map,
            StateIds::Closed(_) => self.spare.unwrap_or_default(),
        };
        StateScratch { rows: self.rows, logs: self.logs, id_map }
    }

    /// Sets the block access index of the next task.
    pub fn set_index(&mut self, index: BlockAccessIndex) {
        self.base.begin_task(index);
    }

    /// Starts a task: nothing is loaded, warm, touched or journaled. Logs of earlier tasks stay.
    pub fn begin(&mut self) {
        self.rows.undo.clear();
        self.rows.touched_accounts.clear();
        self.rows.touched_slots.clear();
        if !self.rows.transient.is_empty() {
            self.rows.transient.clear();
            self.rows.transient_index.clear();
        }
        if let Some(warm) = &mut self.rows.warm_outside {
            warm.accounts.clear();
            warm.slots.clear();
        }
        self.fault = None;
        self.precompiles_warm = true;
        self.rows.epoch = self.rows.epoch.wrapping_add(1);
        if self.rows.epoch == 0 {
            // The epoch has wrapped after 2^32 tasks: reset the epochs of all rows, so that none seems current.
            self.rows.accounts.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.rows.slots.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.rows.epoch = 1;
        }
    }

    /// Starts a task that consists of system calls, see [`Self::begin_system_call`]. Before Amsterdam
    /// precompiles are cold in system calls.
    pub fn begin_system_task(&mut self) {
        self.begin();
        self.precompiles_warm = self.fork >= Fork::Amsterdam;
    }

    /// Starts a system call within its task: clears the accessed sets (EIP-2929), except for precompiles since
    /// Amsterdam, transient storage (EIP-1153) and the set of created accounts (EIP-6780). Values stay as the
    /// previous calls left them.
    pub fn begin_system_call(&mut self) {
        // Each account or slot that is warm now has a journal record, even if it was never loaded.
        for undo in self.rows.undo.drain(..) {
            match undo {
                Undo::AccountFlag(id, flags) => self.rows.accounts[id].flags &= !(flags & flag::WARM),
                Undo::SlotWarm(id) => self.rows.slots[id].flags &= !flag::WARM,
                _ => {}
            }
        }
        for index in 0..self.rows.touched_accounts.len() {
            let row = &mut self.rows.accounts[self.rows.touched_accounts[index]];
            row.flags &= !(flag::CREATED | flag::DESTROYED);
        }
        for index in 0..self.rows.touched_slots.len() {
            self.rows.slots[self.rows.touched_slots[index]].flags &= !flag::CREATED;
        }
        self.rows.transient.clear();
        self.rows.transient_index.clear();
    }

    /// Takes the logs of all tasks so far. The columns left for the next block have room for as many.
    pub fn take_logs(&mut self) -> Logs {
        let next = Logs::with_room_of(&self.logs);
        core::mem::replace(&mut self.logs, next)
    }

    /// Accounts that this task loaded, in order of first access.
    pub fn touched_accounts(&self) -> &[AccountId] {
        &self.rows.touched_accounts
    }

    /// Slots that this task loaded, in order of first access.
    pub fn touched_slots(&self) -> &[SlotId] {
        &self.rows.touched_slots
    }

    /// Records a fault, unless there already is one, and returns [`Halt::Fault`].
    #[cold]
    pub fn fail(&mut self, fault: Fault) -> Halt {
        self.fault.get_or_insert(fault);
        Halt::Fault
    }

    /// Passes the settled values of all accounts and slots that this task loaded to the state provider.
    pub fn commit(&mut self) {
        for index in 0..self.rows.touched_accounts.len() {
            let id = self.rows.touched_accounts[index];
            let row = &self.rows.accounts[id];
            let account = row.settled();
            self.base.commit_account(id, account, row.has(flag::DESTROYED));
        }
        for index in 0..self.rows.touched_slots.len() {
            let id = self.rows.touched_slots[index];
            let account = self.ids.get().owners()[id];
            self.base.commit_slot(id, account, self.rows.slots[id].value);
        }
    }

    /// Settles the end of a transaction: applies self-destructs and the removal of empty accounts (EIP-161) to
    /// the rows.
    pub fn settle(&mut self, rules: &ForkRules) {
        let mut storage_cleared = false;
        for index in 0..self.rows.touched_accounts.len() {
            let row = &mut self.rows.accounts[self.rows.touched_accounts[index]];
            if row.has(flag::DESTROYED) {
                row.seen |= seen::BALANCE | seen::NONCE;
                row.nonce = 0;
                row.code = EMPTY_CODE;
                // EIP-8246: the remaining balance is not burnt.
                if !rules.at_least(Fork::Amsterdam) {
                    row.balance = U256::ZERO;
                }
                row.flags &= !flag::EXISTS;
                if !row.balance.is_zero() {
                    row.flags |= flag::EXISTS;
                }
                storage_cleared = true;
            } else if row.has(flag::TOUCHED) {
                let gone = rules.at_least(Fork::SpuriousDragon) && row.look_if_empty();
                row.flags = if gone { row.flags & !flag::EXISTS } else { row.flags | flag::EXISTS };
            }
        }
        if storage_cleared {
            for index in 0..self.rows.touched_slots.len() {
                let id = self.rows.touched_slots[index];
                let owner = &self.rows.accounts[self.ids.get().owners()[id]];
                if owner.has(flag::DESTROYED) {
                    let row = &mut self.rows.slots[id];
                    row.value = if keeps_storage(owner, rules) { row.start } else { U256::ZERO };
                }
            }
            for index in 0..self.rows.touched_accounts.len() {
                let row = &mut self.rows.accounts[self.rows.touched_accounts[index]];
                if keeps_storage(row, rules) {
                    row.flags &= !flag::DESTROYED;
                }
            }
        }
    }
}

/// Whether the account's storage survives its self-destruct. Since Cancun only an account created in the same
/// transaction is destroyed (EIP-6780), and a block access list cannot express that storage from before the
/// creation is deleted.
fn keeps_storage(row: &AccountRow, rules: &ForkRules) -> bool {
    rules.at_least(Fork::Cancun) && row.has(flag::HAS_STORAGE)
}
