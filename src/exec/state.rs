//! Transaction-local state: rows by dense id, stamped with the transaction's epoch, undone through a journal.
//!
//! In: a [`Universe`] of names and a [`Base`] that knows every value as of the start of the task. Out: for each account
//! and slot touched by the task, the value it had and the value it has.
//! Rows are never cleared: a row whose epoch is not the current one is blank. Reverts undo small records.
//! Relies on: ids index rows (rows grow with the universe).
//! Not here: gas, and what a value change costs.

use super::fork::{Fork, ForkRules};
use super::halt::{Fault, Halt};
use super::lookaside::Lookaside;
use super::precompile;
use super::universe::Universe;
use crate::arena::code::{Code, CodeArena, EMPTY_CODE};
use crate::arena::store::StoreError;
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, SlotId};
use ahash::RandomState;
use alloy_primitives::{Address, B256, U256};
use hashbrown::HashMap;

/// An account as of the start of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseAccount {
    /// Whether the state has a leaf for it.
    pub exists: bool,
    /// Whether its storage is non-empty (EIP-7610).
    pub has_storage: bool,
    /// Nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Code.
    pub code: CodeId,
}

impl Default for BaseAccount {
    fn default() -> Self {
        Self { exists: false, has_storage: false, nonce: 0, balance: U256::ZERO, code: EMPTY_CODE }
    }
}

impl BaseAccount {
    /// Empty in the sense of EIP-161: no nonce, no balance, no code.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.code == EMPTY_CODE && self.balance.is_zero()
    }

    /// Whether the account exists after a task that found it as `before`, where its fields do not tell: it exists though
    /// empty, or it went without a change of any field.
    #[inline]
    pub fn existence_event(&self, before: &Self) -> Option<bool> {
        let changed = self.balance != before.balance || self.nonce != before.nonce || self.code != before.code;
        let told = if changed { !self.is_empty() } else { before.exists };
        (self.exists != told).then_some(self.exists)
    }
}

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
    fn unlisted_sender(&self, _address: &Address) -> Option<BaseAccount> {
        None
    }
    /// Takes an account's value at the end of a task, where later tasks of the same worker build on it. `wiped`: its
    /// storage is gone (SELFDESTRUCT before Cancun). A base with a block access list knows the values already.
    fn commit_account(&mut self, _id: AccountId, _account: BaseAccount, _wiped: bool) {}
    /// Takes a slot's value at the end of a task.
    fn commit_slot(&mut self, _id: SlotId, _account: AccountId, _value: U256) {}
}

/// Names: shared and closed (block access list), or owned and growing.
#[derive(Debug)]
pub enum Names<'b> {
    /// The list's names; a name that is not there is an access outside the list.
    Closed(&'b Universe),
    /// Names as they are met.
    Growing(Box<Universe>),
}

impl Names<'_> {
    /// The names known now.
    #[inline(always)]
    pub fn get(&self) -> &Universe {
        match self {
            Self::Closed(universe) => universe,
            Self::Growing(universe) => universe,
        }
    }
}

/// Bits of [`AccountRow::flags`].
pub mod flag {
    /// In the accessed set of EIP-2929; undone by a revert.
    pub const WARM: u8 = 1;
    /// Values are loaded, and the account counts as accessed (EIP-7928); never undone.
    pub const LOADED: u8 = 1 << 1;
    /// The state has a leaf for it.
    pub const EXISTS: u8 = 1 << 2;
    /// Created in this transaction (EIP-6780).
    pub const CREATED: u8 = 1 << 3;
    /// Self-destructed in this transaction.
    pub const DESTROYED: u8 = 1 << 4;
    /// Touched in the sense of EIP-161.
    pub const TOUCHED: u8 = 1 << 5;
    /// Had storage when the task began.
    pub const HAS_STORAGE: u8 = 1 << 6;
    /// Existed when the task began.
    pub const EXISTED: u8 = 1 << 7;
}

/// Bits of [`AccountRow::seen`]: what of an account's value at the start a task's course depends on, beyond its code
/// and whether it had storage. Never undone: what was looked at was looked at. An optimistic task whose bits are unset
/// need not run again when that value turns out to be another one.
pub mod seen {
    /// The balance itself.
    pub const BALANCE: u8 = 1;
    /// The nonce itself.
    pub const NONCE: u8 = 1 << 1;
    /// Whether the account is empty (EIP-161).
    pub const EMPTY: u8 = 1 << 2;
    /// Whether the state has a leaf for it.
    pub const EXISTS: u8 = 1 << 3;
}

/// One account within one transaction.
#[derive(Clone, Copy, Debug)]
pub struct AccountRow {
    epoch: u32,
    /// See [`flag`].
    pub flags: u8,
    /// See [`seen`].
    pub seen: u8,
    /// Always warm: a precompile of this fork, by its number; 0 for any other account.
    pub precompile: u16,
    nonce: u64,
    balance: U256,
    /// Code now.
    pub code: CodeId,
    /// Code when the task began.
    pub code_start: CodeId,
    /// Nonce when the task began.
    pub nonce_start: u64,
    /// Balance when the task began.
    pub balance_start: U256,
}

impl AccountRow {
    const BLANK: Self = Self {
        epoch: 0,
        flags: 0,
        seen: 0,
        precompile: 0,
        nonce: 0,
        balance: U256::ZERO,
        code: EMPTY_CODE,
        code_start: EMPTY_CODE,
        nonce_start: 0,
        balance_start: U256::ZERO,
    };

    /// Whether the account exists after the task, where its fields do not tell: it exists though empty, or it went
    /// without a change of any field. Ask only of a settled row.
    #[inline]
    pub fn existence_event(&self) -> Option<bool> {
        self.settled().existence_event(&self.start())
    }

    /// The account when the task began, as far as the task knew.
    #[inline]
    pub fn start(&self) -> BaseAccount {
        BaseAccount {
            exists: self.has(flag::EXISTED),
            has_storage: self.has(flag::HAS_STORAGE),
            nonce: self.nonce_start,
            balance: self.balance_start,
            code: self.code_start,
        }
    }

    /// The account when the task is over and settled.
    #[inline]
    fn settled(&self) -> BaseAccount {
        BaseAccount {
            exists: self.has(flag::EXISTS),
            has_storage: self.has(flag::HAS_STORAGE) && !self.has(flag::DESTROYED),
            nonce: self.nonce,
            balance: self.balance,
            code: self.code,
        }
    }

    /// [`Self::is_empty`], noted in [`Self::seen`] where the value at the start decides it.
    #[inline]
    fn look_if_empty(&mut self) -> bool {
        let looked_at = |what| self.seen & what != 0;
        // A balance that nobody looked at only grows; a known nonce that is not zero decides alone.
        if self.code != EMPTY_CODE
            || (!looked_at(seen::BALANCE) && self.balance != self.balance_start)
            || (looked_at(seen::NONCE) && self.nonce != 0)
        {
            return false;
        }
        self.seen |= match (looked_at(seen::BALANCE), looked_at(seen::NONCE)) {
            (true, _) if !self.balance.is_zero() => return false,
            (true, _) => seen::NONCE,
            (false, true) => seen::BALANCE,
            (false, false) => seen::EMPTY,
        };
        self.settled().is_empty()
    }

    /// Balance when the task is over, wei. For whoever takes results; what runs asks [`TxState::balance`].
    #[inline]
    pub fn settled_balance(&self) -> U256 {
        self.balance
    }

    /// Nonce when the task is over. For whoever takes results; what runs asks [`TxState::nonce`].
    #[inline]
    pub fn settled_nonce(&self) -> u64 {
        self.nonce
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// One slot within one transaction.
#[derive(Clone, Copy, Debug)]
pub struct SlotRow {
    epoch: u32,
    /// [`flag::WARM`] and [`flag::LOADED`].
    pub flags: u8,
    /// Value now.
    pub value: U256,
    /// Value when the task began ("original" in EIP-2200).
    pub original: U256,
}

impl SlotRow {
    const BLANK: Self = Self { epoch: 0, flags: 0, value: U256::ZERO, original: U256::ZERO };
}

/// A record that undoes one change.
#[derive(Clone, Copy, Debug)]
enum Undo {
    AccountFlag(AccountId, u8),
    SlotWarm(SlotId),
    Balance(AccountId, U256),
    Nonce(AccountId, u64),
    Code(AccountId, CodeId),
    Slot(SlotId, U256),
    Transient(u32, U256),
}

/// A point that a frame can be undone to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    undo: u32,
    logs: u32,
    log_bytes: u32,
}

/// Logs of the tasks of one worker, as columns.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Emitter by log.
    pub addresses: Vec<Address>,
    /// Topics by log: how many, and which (unused ones are zero).
    pub topics: Vec<(u8, [B256; 4])>,
    /// End of each log's data in `data`.
    pub data_ends: Vec<u32>,
    /// Data of all logs.
    pub data: Vec<u8>,
}

impl Logs {
    /// Number of logs.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is no log.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Adds a log.
    pub fn push(&mut self, address: Address, topics: &[B256], data: &[u8]) {
        let mut padded = [B256::ZERO; 4];
        padded[..topics.len()].copy_from_slice(topics);
        self.addresses.push(address);
        self.topics.push((topics.len() as u8, padded));
        self.data.extend_from_slice(data);
        self.data_ends.push(self.data.len() as u32);
    }

    /// Log `index`: emitter, topics, data.
    pub fn get(&self, index: usize) -> (&Address, &[B256], &[u8]) {
        let start = index.checked_sub(1).map_or(0, |before| self.data_ends[before] as usize);
        let (count, topics) = &self.topics[index];
        let data = &self.data[start..self.data_ends[index] as usize];
        (&self.addresses[index], &topics[..usize::from(*count)], data)
    }

    fn truncate(&mut self, logs: usize, bytes: usize) {
        self.addresses.truncate(logs);
        self.topics.truncate(logs);
        self.data_ends.truncate(logs);
        self.data.truncate(bytes);
    }

    /// Forgets all logs and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0, 0);
    }
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
    logs: Logs,
    epoch: u32,
    universe: Box<Universe>,
    lookaside: Box<Lookaside>,
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
    epoch: u32,
    fork: Fork,
    lookaside: Box<Lookaside>,
    /// Spare universe of a closed state, given back with the scratch.
    spare: Option<Box<Universe>>,
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
        closed: Option<&'b Universe>,
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
            logs: self.logs,
            epoch: self.epoch,
            universe,
            lookaside: self.lookaside,
        }
    }

    fn grow_rows(&mut self) {
        let universe = self.names.get();
        for id in self.accounts.len()..universe.account_count() {
            let precompile = precompile::number(self.fork, &universe.addresses()[AccountId(id as u32)]);
            self.accounts.push(AccountRow { precompile, ..AccountRow::BLANK });
        }
        self.slots.resize(universe.slot_count(), SlotRow::BLANK);
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
        self.fault = None;
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Once in four billion tasks stamps would repeat: blank every row by hand.
            self.accounts.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.slots.as_mut_slice().iter_mut().for_each(|row| row.epoch = 0);
            self.epoch = 1;
        }
    }

    /// Makes everything that happens from here on part of a new transaction of the same task as far as EIP-2929 and
    /// EIP-1153 go (system calls of one phase are calls of their own), while touched values stay as they are.
    pub fn begin_call_of_same_task(&mut self) {
        for index in 0..self.touched_accounts.len() {
            let row = &mut self.accounts[self.touched_accounts[index]];
            row.flags &= !(flag::WARM | flag::CREATED | flag::DESTROYED);
        }
        for index in 0..self.touched_slots.len() {
            let row = &mut self.slots[self.touched_slots[index]];
            row.flags &= !flag::WARM;
        }
        self.transient.clear();
        self.transient_index.clear();
        self.undo.clear();
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

    // Names.

    /// The id of an address. With a closed universe an address outside is a fault.
    #[inline]
    pub fn account_id(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match self.names.get().account(address) {
            Some(id) => Ok(id),
            None => self.add_account(address),
        }
    }

    /// The id of an address if it can have one: a name that is only warmed (EIP-2930) need not be in the list.
    pub fn account_id_if_known(&mut self, address: &Address) -> Option<AccountId> {
        match self.names.get().account(address) {
            Some(id) => Some(id),
            None if matches!(self.names, Names::Closed(_)) => None,
            None => self.add_account(address).ok(),
        }
    }

    #[cold]
    fn add_account(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match &mut self.names {
            Names::Closed(_) => Err(self.fail(Fault::UnlistedAccount(*address))),
            Names::Growing(universe) => {
                let id = universe.add_account(*address);
                self.grow_rows();
                Ok(id)
            }
        }
    }

    /// The id of a slot. With a closed universe a slot outside is a fault.
    #[inline]
    pub fn slot_id(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match self.names.get().slot(account, key) {
            Some(id) => Ok(id),
            None => self.add_slot(account, key),
        }
    }

    /// The id of a slot if it can have one, see [`Self::account_id_if_known`].
    pub fn slot_id_if_known(&mut self, account: AccountId, key: &U256) -> Option<SlotId> {
        match self.names.get().slot(account, key) {
            Some(id) => Some(id),
            None if matches!(self.names, Names::Closed(_)) => None,
            None => self.add_slot(account, key).ok(),
        }
    }

    #[cold]
    fn add_slot(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match &mut self.names {
            Names::Closed(universe) => {
                let address = universe.addresses()[account];
                Err(self.fail(Fault::UnlistedSlot(address, *key)))
            }
            Names::Growing(universe) => {
                let id = universe.add_slot(account, *key);
                self.slots.resize(universe.slot_count(), SlotRow::BLANK);
                Ok(id)
            }
        }
    }

    /// The address behind an id.
    #[inline]
    pub fn address(&self, id: AccountId) -> Address {
        self.names.get().addresses()[id]
    }

    // Accounts.

    /// The row, blank where this transaction has not seen the account.
    #[inline]
    fn stamp(&mut self, id: AccountId) -> &mut AccountRow {
        let row = &mut self.accounts[id];
        if row.epoch != self.epoch {
            row.epoch = self.epoch;
            row.seen = 0;
            row.flags = if row.precompile != 0 { flag::WARM } else { 0 };
        }
        row
    }

    /// Whether the account is in the accessed set (EIP-2929).
    #[inline]
    pub fn is_warm(&mut self, id: AccountId) -> bool {
        self.stamp(id).has(flag::WARM)
    }

    /// The id of an address if it has one, and whether the account is in the accessed set. Adds no name.
    #[inline]
    pub fn peek_account(&mut self, address: &Address) -> (Option<AccountId>, bool) {
        match self.names.get().account(address) {
            Some(id) => (Some(id), self.is_warm(id)),
            None => (None, precompile::number(self.fork, address) != 0),
        }
    }

    /// The id of the account that a word names, if the account is warm and loaded.
    #[inline(always)]
    pub fn warm_account(&mut self, word: &U256) -> Option<AccountId> {
        let id = self.lookaside.account(word)?;
        let row = &self.accounts[id];
        let ready = row.epoch == self.epoch && row.flags & (flag::WARM | flag::LOADED) == flag::WARM | flag::LOADED;
        ready.then_some(id)
    }

    /// Remembers which account a word names, for [`Self::warm_account`].
    #[inline]
    pub fn remember_account(&mut self, word: &U256, id: AccountId) {
        self.lookaside.remember_account(word, id);
    }

    /// The slot's id, if the slot is warm and loaded.
    #[inline(always)]
    pub fn ready_slot(&mut self, account: AccountId, key: &U256) -> Option<SlotId> {
        let id = self.lookaside.slot(account, key)?;
        let row = &self.slots[id];
        let ready = row.epoch == self.epoch && row.flags & (flag::WARM | flag::LOADED) == flag::WARM | flag::LOADED;
        ready.then_some(id)
    }

    /// Remembers a slot's id, for [`Self::ready_slot`].
    #[inline]
    pub fn remember_slot(&mut self, account: AccountId, key: &U256, id: SlotId) {
        self.lookaside.remember_slot(account, key, id);
    }

    /// Puts the account into the accessed set; returns whether it was cold. Loads nothing.
    #[inline]
    pub fn warm(&mut self, id: AccountId) -> bool {
        let row = self.stamp(id);
        let cold = !row.has(flag::WARM);
        if cold {
            row.flags |= flag::WARM;
            self.undo.push(Undo::AccountFlag(id, flag::WARM));
        }
        cold
    }

    /// The account with its values; from here on it counts as accessed.
    #[inline]
    pub fn load(&mut self, id: AccountId) -> Result<&mut AccountRow, Halt> {
        if !self.stamp(id).has(flag::LOADED) {
            self.load_first(id)?;
        }
        Ok(&mut self.accounts[id])
    }

    #[cold]
    fn load_first(&mut self, id: AccountId) -> Result<(), Halt> {
        let address = self.names.get().addresses()[id];
        let base = match self.base.account(id, &address) {
            Ok(base) => base,
            Err(fault) => return Err(self.fail(fault)),
        };
        let row = &mut self.accounts[id];
        row.flags |= flag::LOADED
            | if base.exists { flag::EXISTS | flag::EXISTED } else { 0 }
            | if base.has_storage { flag::HAS_STORAGE } else { 0 };
        (row.nonce, row.balance, row.code) = (base.nonce, base.balance, base.code);
        (row.nonce_start, row.balance_start, row.code_start) = (base.nonce, base.balance, base.code);
        self.touched_accounts.push(id);
        Ok(())
    }

    /// A row that is known to be loaded in this task.
    #[inline]
    pub fn row(&self, id: AccountId) -> &AccountRow {
        debug_assert!(self.accounts[id].epoch == self.epoch && self.accounts[id].has(flag::LOADED));
        &self.accounts[id]
    }

    /// Balance of a loaded account, wei.
    #[inline]
    pub fn balance(&mut self, id: AccountId) -> U256 {
        let row = &mut self.accounts[id];
        row.seen |= seen::BALANCE;
        row.balance
    }

    /// Nonce of a loaded account.
    #[inline]
    pub fn nonce(&mut self, id: AccountId) -> u64 {
        let row = &mut self.accounts[id];
        row.seen |= seen::NONCE;
        row.nonce
    }

    /// Whether a loaded account is empty in the sense of EIP-161: no nonce, no balance, no code.
    #[inline]
    pub fn is_empty(&mut self, id: AccountId) -> bool {
        self.accounts[id].look_if_empty()
    }

    /// Whether a loaded account has a leaf in the state or is about to (the refund of EIP-7702).
    pub fn is_in_state(&mut self, id: AccountId) -> bool {
        let row = &mut self.accounts[id];
        row.seen |= seen::EXISTS;
        row.has(flag::EXISTS) || !row.look_if_empty()
    }

    /// Whether a loaded account is in the state, as forks before EIP-161 ask it.
    pub fn exists(&mut self, id: AccountId) -> bool {
        let row = &mut self.accounts[id];
        row.seen |= seen::EXISTS;
        row.has(flag::EXISTS | flag::TOUCHED) || !row.look_if_empty()
    }

    /// The number of a precompile of this fork; 0 for any other account.
    #[inline]
    pub fn precompile(&self, id: AccountId) -> u16 {
        self.accounts[id].precompile
    }

    /// Sets flags, to be cleared by a revert.
    pub fn set_flag(&mut self, id: AccountId, flags: u8) {
        let row = &mut self.accounts[id];
        let new = flags & !row.flags;
        if new != 0 {
            row.flags |= new;
            self.undo.push(Undo::AccountFlag(id, new));
        }
    }

    /// Touches the account in the sense of EIP-161. The account must be loaded.
    #[inline]
    pub fn touch(&mut self, id: AccountId) {
        self.set_flag(id, flag::TOUCHED);
    }

    /// Sets the balance of a loaded account and touches it.
    #[inline]
    pub fn set_balance(&mut self, id: AccountId, balance: U256) {
        let row = &mut self.accounts[id];
        row.seen |= seen::BALANCE;
        if row.balance != balance {
            self.undo.push(Undo::Balance(id, row.balance));
            row.balance = balance;
        }
        self.set_flag(id, flag::TOUCHED);
    }

    /// Adds to the balance of a loaded account and touches it, without looking at it: such additions commute.
    #[inline]
    pub fn credit(&mut self, id: AccountId, amount: U256) {
        let row = &mut self.accounts[id];
        // The sum of all balances is far below 2^256; a hostile pre-state that is not saturates, and is looked at.
        let sum = row.balance.checked_add(amount).unwrap_or_else(|| {
            row.seen |= seen::BALANCE;
            U256::MAX
        });
        if row.balance != sum {
            self.undo.push(Undo::Balance(id, row.balance));
            row.balance = sum;
        }
        self.set_flag(id, flag::TOUCHED);
    }

    /// Sets the nonce of a loaded account and touches it.
    #[inline]
    pub fn set_nonce(&mut self, id: AccountId, nonce: u64) {
        let row = &mut self.accounts[id];
        row.seen |= seen::NONCE;
        self.undo.push(Undo::Nonce(id, row.nonce));
        row.nonce = nonce;
        self.set_flag(id, flag::TOUCHED);
    }

    /// Sets the code of a loaded account and touches it.
    pub fn set_code(&mut self, id: AccountId, code: CodeId) {
        let row = &mut self.accounts[id];
        self.undo.push(Undo::Code(id, row.code));
        row.code = code;
        self.set_flag(id, flag::TOUCHED);
    }

    /// Moves value between two loaded accounts. Returns false, and changes nothing, where the sender lacks it.
    #[inline]
    pub fn transfer(&mut self, from: AccountId, to: AccountId, value: U256) -> bool {
        if value.is_zero() {
            self.touch(from);
            self.touch(to);
            return true;
        }
        let Some(left) = self.balance(from).checked_sub(value) else {
            return false;
        };
        if from != to {
            self.set_balance(from, left);
            self.credit(to, value);
        } else {
            self.touch(from);
            self.touch(to);
        }
        true
    }

    /// The code of an id, its bytes fetched where need be.
    #[inline]
    pub fn code(&mut self, id: CodeId) -> Result<&'b Code, Halt> {
        match self.codes.get(id) {
            Some(code) => Ok(code),
            None => self.fetch_code(id),
        }
    }

    #[cold]
    fn fetch_code(&mut self, id: CodeId) -> Result<&'b Code, Halt> {
        if let Err(fault) = self.base.code(id, self.codes) {
            return Err(self.fail(fault));
        }
        match self.codes.get(id) {
            Some(code) => Ok(code),
            None => {
                let hash = self.codes.hash(id);
                Err(self.fail(Fault::Store(StoreError::MissingCode(hash))))
            }
        }
    }

    /// Hash of an ancestor block.
    pub fn block_hash(&mut self, number: u64) -> Result<B256, Halt> {
        self.base.block_hash(number).map_err(|fault| self.fail(fault))
    }

    // Slots.

    #[inline]
    fn stamp_slot(&mut self, id: SlotId) -> &mut SlotRow {
        let row = &mut self.slots[id];
        if row.epoch != self.epoch {
            row.epoch = self.epoch;
            row.flags = 0;
        }
        row
    }

    /// Whether the slot is in the accessed set (EIP-2929).
    #[inline]
    pub fn is_slot_warm(&mut self, id: SlotId) -> bool {
        self.stamp_slot(id).flags & flag::WARM != 0
    }

    /// Puts the slot into the accessed set; returns whether it was cold. Loads nothing.
    #[inline]
    pub fn warm_slot(&mut self, id: SlotId) -> bool {
        let row = self.stamp_slot(id);
        let cold = row.flags & flag::WARM == 0;
        if cold {
            row.flags |= flag::WARM;
            self.undo.push(Undo::SlotWarm(id));
        }
        cold
    }

    /// The slot with its values; from here on it counts as accessed.
    #[inline]
    pub fn load_slot(&mut self, id: SlotId) -> Result<&SlotRow, Halt> {
        if self.stamp_slot(id).flags & flag::LOADED == 0 {
            self.load_slot_first(id)?;
        }
        Ok(&self.slots[id])
    }

    #[cold]
    fn load_slot_first(&mut self, id: SlotId) -> Result<(), Halt> {
        let names = self.names.get();
        let account = names.owners()[id];
        let (address, key) = (names.addresses()[account], names.keys()[id]);
        // The storage of an account that this transaction created or wiped is empty, whatever the base holds.
        let value = if self.accounts[account].epoch == self.epoch && self.accounts[account].has(flag::CREATED) {
            U256::ZERO
        } else {
            match self.base.slot(id, account, &address, &key) {
                Ok(value) => value,
                Err(fault) => return Err(self.fail(fault)),
            }
        };
        let row = &mut self.slots[id];
        row.flags |= flag::LOADED;
        (row.value, row.original) = (value, value);
        self.touched_slots.push(id);
        Ok(())
    }

    /// A slot row that is known to be loaded in this task.
    #[inline]
    pub fn slot_row(&self, id: SlotId) -> &SlotRow {
        &self.slots[id]
    }

    /// Sets the value of a loaded slot.
    #[inline]
    pub fn set_slot(&mut self, id: SlotId, value: U256) {
        let row = &mut self.slots[id];
        if row.value != value {
            self.undo.push(Undo::Slot(id, row.value));
            row.value = value;
        }
    }

    // Transient storage (EIP-1153).

    /// TLOAD.
    pub fn transient(&self, account: AccountId, key: &U256) -> U256 {
        if self.transient.is_empty() {
            return U256::ZERO;
        }
        self.transient_index.get(&(account, *key)).map_or(U256::ZERO, |index| self.transient[*index as usize].2)
    }

    /// TSTORE.
    pub fn set_transient(&mut self, account: AccountId, key: U256, value: U256) {
        let next = self.transient.len() as u32;
        let index = *self.transient_index.entry((account, key)).or_insert(next);
        if index == next {
            self.transient.push((account, key, U256::ZERO));
        }
        let slot = &mut self.transient[index as usize].2;
        self.undo.push(Undo::Transient(index, *slot));
        *slot = value;
    }

    // Frames.

    /// The point to which [`Self::revert`] can return.
    #[inline]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            undo: self.undo.len() as u32,
            logs: self.logs.len() as u32,
            log_bytes: self.logs.data.len() as u32,
        }
    }

    /// Undoes everything since the checkpoint. What was loaded stays accessed.
    pub fn revert(&mut self, to: Checkpoint) {
        while self.undo.len() > to.undo as usize {
            let Some(undo) = self.undo.pop() else { break };
            match undo {
                Undo::AccountFlag(id, flags) => {
                    // The touch of RIPEMD-160 outlives a revert: block 2,675,119 of mainnet deleted it so.
                    let cleared = self.fork >= Fork::SpuriousDragon;
                    let keep = if cleared && self.accounts[id].precompile == 3 { flag::TOUCHED } else { 0 };
                    self.accounts[id].flags &= !flags | keep;
                }
                Undo::SlotWarm(id) => self.slots[id].flags &= !flag::WARM,
                Undo::Balance(id, balance) => self.accounts[id].balance = balance,
                Undo::Nonce(id, nonce) => self.accounts[id].nonce = nonce,
                Undo::Code(id, code) => self.accounts[id].code = code,
                Undo::Slot(id, value) => self.slots[id].value = value,
                Undo::Transient(index, value) => self.transient[index as usize].2 = value,
            }
        }
        self.logs.truncate(to.logs as usize, to.log_bytes as usize);
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
                if self.accounts[self.names.get().owners()[id]].has(flag::DESTROYED) {
                    self.slots[id].value = U256::ZERO;
                }
            }
        }
    }
}
