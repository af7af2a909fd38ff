//! Transaction-local state: rows by dense id, stamped with the transaction's epoch, undone through a journal.
//!
//! In: a [`IdMap`] of names and a [`Base`] that knows every value as of the start of the task. Out: for each account
//! and slot touched by the task, the value it had and the value it has.
//! Rows are never cleared: a row whose epoch is not the current one is blank. Reverts undo small records.
//! Relies on: ids index rows (rows grow with the universe).
//! Not here: gas, and what a value change costs.

mod accounts;
mod journal;
mod logs;
mod names;
mod rows;
mod slots;

pub use journal::Checkpoint;
pub use logs::Logs;
pub use names::Names;
pub use rows::{AccountRow, BaseAccount, SlotRow, flag, seen};

use super::halt::{Fault, Halt};
use super::ids::IdMap;
use super::lookup_cache::LookupCache;
use crate::arena::code::{CodeArena, EMPTY_CODE};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, SlotId};
use crate::exec::rules::fork::{Fork, ForkRules};
use ahash::RandomState;
use alloy_primitives::{Address, B256, U256};
use hashbrown::{HashMap, HashSet};
use journal::Undo;

/// Where a task's values come from. Called once per account and slot and task, at the first touch.
pub trait Base {
    /// Tells at which block access index the coming questions stand.
    fn begin_task(&mut self, _index: BlockAccessIndex) {}
    /// The account as of the start of the task.
    fn account(&mut self, id: AccountId, address: &Address) -> Result<BaseAccount, Fault>;
    /// The slot as of the start of the task.
    fn slot(&mut self, id: SlotId, account: AccountId, address: &Address, key: &U256) -> Result<U256, Fault>;
    /// Makes a code's bytes known to the arena.
    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault>;
    /// Hash of an ancestor block (BLOCKHASH).
    fn block_hash(&mut self, number: u64) -> Result<B256, Fault>;
    /// The account of a transaction's sender that the list does not name, as the parent state has it.
    fn unlisted_sender(&mut self, _address: &Address) -> Result<Option<BaseAccount>, Fault> {
        Ok(None)
    }
    /// Takes an account's value at the end of a task, where later tasks of the same worker build on it. `wiped`: its
    /// storage is gone (SELFDESTRUCT before Cancun). A base with a block access list knows the values already.
    fn commit_account(&mut self, _id: AccountId, _account: BaseAccount, _wiped: bool) {}
    /// Takes a slot's value at the end of a task.
    fn commit_slot(&mut self, _id: SlotId, _account: AccountId, _value: U256) {}
}

/// Names outside a closed universe that a transaction has warmed without using them (EIP-2930): no fault by themselves, but
/// whoever uses one pays the warm price, and only then it is one.
#[derive(Debug, Default)]
struct WarmOutside {
    accounts: HashSet<Address, RandomState>,
    slots: HashSet<(AccountId, U256), RandomState>,
}

/// Memory of a [`TxState`] that outlives the block.
#[derive(Debug, Default)]
pub struct StateScratch {
    accounts: Column<AccountId, AccountRow>,
    slots: Column<SlotId, SlotRow>,
    undo: Vec<Undo>,
    touched_accounts: Vec<AccountId>,
    touched_slots: Vec<SlotId>,
    transient: Vec<(AccountId, U256, U256)>,
    transient_index: HashMap<(AccountId, U256), u32, RandomState>,
    warm_outside: Option<Box<WarmOutside>>,
    logs: Logs,
    epoch: u32,
    universe: Box<IdMap>,
    lookaside: Box<LookupCache>,
}

impl StateScratch {
    /// The names that the last block without a list was about.
    pub fn names(&self) -> &IdMap {
        &self.universe
    }
}

/// The state that one worker's transactions see and change.
pub struct TxState<'b> {
    /// Names of accounts and slots.
    pub names: Names<'b>,
    /// Values as of the start of the task.
    pub base: Box<dyn Base + 'b>,
    /// All codes.
    pub codes: &'b CodeArena,
    /// Logs of all tasks of this worker so far; a task's own logs are the tail.
    pub logs: Logs,
    /// Why execution had to stop, when a method returned [`Halt::Fault`].
    pub fault: Option<Fault>,
    accounts: Column<AccountId, AccountRow>,
    slots: Column<SlotId, SlotRow>,
    undo: Vec<Undo>,
    touched_accounts: Vec<AccountId>,
    touched_slots: Vec<SlotId>,
    transient: Vec<(AccountId, U256, U256)>,
    transient_index: HashMap<(AccountId, U256), u32, RandomState>,
    warm_outside: Option<Box<WarmOutside>>,
    /// Whether precompiles are in the accessed set from the start (EIP-2929): in every transaction.
    precompiles_warm: bool,
    epoch: u32,
    fork: Fork,
    lookaside: Box<LookupCache>,
    /// Spare universe of a closed state, given back with the scratch.
    spare: Option<Box<IdMap>>,
}

impl core::fmt::Debug for TxState<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TxState").field("epoch", &self.epoch).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl<'b> TxState<'b> {
    /// A state over `base`. `closed` holds the names of a block access list; without it the universe grows.
    /// `fork` decides which addresses are precompiles.
    pub fn new(
        scratch: StateScratch,
        closed: Option<&'b IdMap>,
        base: Box<dyn Base + 'b>,
        codes: &'b CodeArena,
        fork: Fork,
    ) -> Self {
        let StateScratch {
            mut accounts,
            mut slots,
            undo,
            touched_accounts,
            touched_slots,
            transient,
            transient_index,
            warm_outside,
            mut logs,
            epoch,
            mut universe,
            mut lookaside,
        } = scratch;
        // Ids mean other names in this block: rows start blank, and their precompile numbers are set anew.
        accounts.clear();
        slots.clear();
        logs.clear();
        lookaside.clear();
        let (names, spare) = match closed {
            Some(closed) => (Names::Closed(closed), Some(universe)),
            None => {
                universe.clear();
                (Names::Growing(universe), None)
            }
        };
        let mut state = Self {
            names,
            base,
            codes,
            logs,
            fault: None,
            accounts,
            slots,
            undo,
            touched_accounts,
            touched_slots,
            transient,
            transient_index,
            warm_outside,
            precompiles_warm: true,
            epoch,
            fork,
            lookaside,
            spare,
        };
        state.grow_rows();
        state.begin();
        state
    }

    /// Gives the memory back for the next block.
    pub fn into_scratch(self) -> StateScratch {
        let universe = match self.names {
            Names::Growing(universe) => universe,
            Names::Closed(_) => self.spare.unwrap_or_default(),
        };
        StateScratch {
            accounts: self.accounts,
            slots: self.slots,
            undo: self.undo,
            touched_accounts: self.touched_accounts,
            touched_slots: self.touched_slots,
            transient: self.transient,
            transient_index: self.transient_index,
            warm_outside: self.warm_outside,
            logs: self.logs,
            epoch: self.epoch,
            universe,
            lookaside: self.lookaside,
        }
    }

    /// Sets the block access index of the coming task.
    pub fn set_index(&mut self, index: BlockAccessIndex) {
        self.base.begin_task(index);
    }

    /// Starts a task: nothing is loaded, warm, touched or journaled. Logs of earlier tasks stay.
    pub fn begin(&mut self) {
        self.undo.clear();
        self.touched_accounts.clear();
        self.touched_slots.clear();
        if !self.transient.is_empty() {
            self.transient.clear();
            self.transient_index.clear();
        }
        if let Some(warm) = &mut self.warm_outside {
            warm.accounts.clear();
            warm.slots.clear();
        }
        self.fault = None;
        self.precompiles_warm = true;
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Once in four billion tasks stamps would repeat: blank every row by hand.
            self.accounts.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.slots.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.epoch = 1;
        }
    }

    /// Starts a task of system calls, see [`Self::begin_system_call`]. Before Amsterdam precompiles are cold in it.
    pub fn begin_system_task(&mut self) {
        self.begin();
        self.precompiles_warm = self.fork >= Fork::Amsterdam;
    }

    /// Starts a system call within its task: accessed sets (EIP-2929), transient storage (EIP-1153) and the set of created
    /// accounts (EIP-6780) are empty again, precompiles of Amsterdam apart. Values stay as the calls before left them.
    pub fn begin_system_call(&mut self) {
        // Warmth that no revert took back has a record, also where the account or slot was never loaded.
        for undo in self.undo.drain(..) {
            match undo {
                Undo::AccountFlag(id, flags) => self.accounts[id].flags &= !(flags & flag::WARM),
                Undo::SlotWarm(id) => self.slots[id].flags &= !flag::WARM,
                _ => {}
            }
        }
        for index in 0..self.touched_accounts.len() {
            let row = &mut self.accounts[self.touched_accounts[index]];
            row.flags &= !(flag::CREATED | flag::DESTROYED);
        }
        for index in 0..self.touched_slots.len() {
            self.slots[self.touched_slots[index]].flags &= !flag::CREATED;
        }
        self.transient.clear();
        self.transient_index.clear();
    }

    /// The logs of all tasks so far, to be kept by whoever takes them. The next block's begin with as much room.
    pub fn take_logs(&mut self) -> Logs {
        let next = Logs::with_room_of(&self.logs);
        core::mem::replace(&mut self.logs, next)
    }

    /// Accounts loaded by this task, in order of first touch.
    pub fn touched_accounts(&self) -> &[AccountId] {
        &self.touched_accounts
    }

    /// Slots loaded by this task, in order of first touch.
    pub fn touched_slots(&self) -> &[SlotId] {
        &self.touched_slots
    }

    /// Records a fault and returns the halt that stands for it.
    #[cold]
    pub fn fail(&mut self, fault: Fault) -> Halt {
        self.fault.get_or_insert(fault);
        Halt::Fault
    }

    /// Hands the settled values of everything touched to the base.
    pub fn commit(&mut self) {
        for index in 0..self.touched_accounts.len() {
            let id = self.touched_accounts[index];
            let row = &self.accounts[id];
            let account = row.settled();
            self.base.commit_account(id, account, row.has(flag::DESTROYED));
        }
        for index in 0..self.touched_slots.len() {
            let id = self.touched_slots[index];
            let account = self.names.get().owners()[id];
            self.base.commit_slot(id, account, self.slots[id].value);
        }
    }

    /// Settles the end of a transaction: self-destructs and EIP-161 removals take effect on the rows.
    pub fn settle(&mut self, rules: &ForkRules) {
        let mut wiped = false;
        for index in 0..self.touched_accounts.len() {
            let row = &mut self.accounts[self.touched_accounts[index]];
            if row.has(flag::DESTROYED) {
                row.seen |= seen::BALANCE | seen::NONCE;
                row.nonce = 0;
                row.code = EMPTY_CODE;
                // EIP-8246: what is left in the account is not burnt.
                if !rules.at_least(Fork::Amsterdam) {
                    row.balance = U256::ZERO;
                }
                row.flags &= !flag::EXISTS;
                if !row.balance.is_zero() {
                    row.flags |= flag::EXISTS;
                }
                wiped = true;
            } else if row.has(flag::TOUCHED) {
                let gone = rules.at_least(Fork::SpuriousDragon) && row.look_if_empty();
                row.flags = if gone { row.flags & !flag::EXISTS } else { row.flags | flag::EXISTS };
            }
        }
        if wiped {
            for index in 0..self.touched_slots.len() {
                let id = self.touched_slots[index];
                let owner = &self.accounts[self.names.get().owners()[id]];
                if owner.has(flag::DESTROYED) {
                    let row = &mut self.slots[id];
                    row.value = if keeps_storage(owner, rules) { row.start } else { U256::ZERO };
                }
            }
            for index in 0..self.touched_accounts.len() {
                let row = &mut self.accounts[self.touched_accounts[index]];
                if keeps_storage(row, rules) {
                    row.flags &= !flag::DESTROYED;
                }
            }
        }
    }
}

/// Whether storage of the account outlives its self-destruct: from Cancun on only a created account is destroyed
/// (EIP-6780), and storage that was there before the creation is no list's to delete.
fn keeps_storage(row: &AccountRow, rules: &ForkRules) -> bool {
    rules.at_least(Fork::Cancun) && row.has(flag::HAS_STORAGE)
}
