//! Accounts of a task: accessed set (EIP-2929), first load, values, transfers, code.
//!
//! In: account ids. Out: values as of now, and changes with journal records. Methods that read a value record in
//! [`seen`] how the task depends on the value at its start.
//! Relies on: the caller has loaded the account before it reads or changes a value.
//! Not here: addresses to ids (`ids`).

use super::TxState;
use super::journal::Undo;
use super::rows::{AccountRow, flag, seen};
use crate::arena::code::Code;
use crate::arena::store::StoreError;
use crate::arena::{AccountId, CodeId};
use crate::exec::evm::halt::{Fault, Halt};
use crate::exec::evm::precompile;
use alloy_primitives::{Address, B256, U256};

impl<'b> TxState<'b> {
    /// The row of an account, reset to blank if its epoch is not the current one.
    #[inline]
    fn stamp(&mut self, id: AccountId) -> &mut AccountRow {
        let row = &mut self.rows.accounts[id];
        if row.epoch != self.rows.epoch {
            row.epoch = self.rows.epoch;
            row.seen = 0;
            row.need = 0;
            row.flags = if row.precompile != 0 && self.precompiles_warm { flag::WARM } else { 0 };
        }
        row
    }

    /// Whether the account is in the accessed set (EIP-2929).
    #[inline]
    pub fn is_warm(&mut self, id: AccountId) -> bool {
        self.stamp(id).has(flag::WARM)
    }

    /// The id of an address if it has one, and whether the account is in the accessed set. Does not extend the id map.
    #[inline]
    pub fn peek_account(&mut self, address: &Address) -> (Option<AccountId>, bool) {
        match self.ids.get().account(address) {
            Some(id) => (Some(id), self.is_warm(id)),
            None => {
                let is_precompile = self.precompiles_warm && precompile::number(self.fork, address) != 0;
                let is_listed = || self.rows.warm_outside.as_ref().is_some_and(|warm| warm.accounts.contains(address));
                (None, is_precompile || is_listed())
            }
        }
    }

    /// Adds an address to the accessed set before the first frame, whether or not the block access list
    /// contains it. Loads nothing.
    pub fn warm_name(&mut self, address: &Address) -> Option<AccountId> {
        let id = self.account_id_if_known(address);
        match id {
            Some(id) => {
                self.warm(id);
            }
            None => {
                self.rows.warm_outside.get_or_insert_default().accounts.insert(*address);
            }
        }
        id
    }

    /// The id of the account whose address is the low 20 bytes of `word`, if it is in the lookup cache, warm
    /// and loaded.
    #[inline(always)]
    pub fn warm_account(&mut self, word: &U256) -> Option<AccountId> {
        let id = self.rows.lookup_cache.account(word)?;
        let row = &self.rows.accounts[id];
        let ready =
            row.epoch == self.rows.epoch && row.flags & (flag::WARM | flag::LOADED) == flag::WARM | flag::LOADED;
        ready.then_some(id)
    }

    /// Stores the id for an address word in the lookup cache, for [`Self::warm_account`].
    #[inline]
    pub fn remember_account(&mut self, word: &U256, id: AccountId) {
        self.rows.lookup_cache.remember_account(word, id);
    }

    /// Adds the account to the accessed set; returns whether it was cold. Loads nothing.
    #[inline]
    pub fn warm(&mut self, id: AccountId) -> bool {
        let row = self.stamp(id);
        let cold = !row.has(flag::WARM);
        if cold {
            row.flags |= flag::WARM;
            self.rows.undo.push(Undo::AccountFlag(id, flag::WARM));
        }
        cold
    }

    /// Loads the account if this task has not loaded it yet. From then on it counts as accessed (EIP-7928).
    #[inline]
    pub fn load(&mut self, id: AccountId) -> Result<&mut AccountRow, Halt> {
        if !self.stamp(id).has(flag::LOADED) {
            self.load_first(id)?;
        }
        Ok(&mut self.rows.accounts[id])
    }

    #[cold]
    fn load_first(&mut self, id: AccountId) -> Result<(), Halt> {
        let address = self.ids.get().addresses()[id];
        let base = match self.base.account(id, &address) {
            Ok(base) => base,
            Err(fault) => return Err(self.fail(fault)),
        };
        let row = &mut self.rows.accounts[id];
        row.flags |= flag::LOADED
            | if base.exists { flag::EXISTS | flag::EXISTED } else { 0 }
            | if base.has_storage { flag::HAS_STORAGE } else { 0 };
        (row.nonce, row.balance, row.code) = (base.nonce, base.balance, base.code);
        (row.nonce_start, row.balance_start, row.code_start) = (base.nonce, base.balance, base.code);
        self.rows.touched_accounts.push(id);
        Ok(())
    }

    /// The row of an account that is loaded in this task.
    #[inline]
    pub fn row(&self, id: AccountId) -> &AccountRow {
        debug_assert!(self.rows.accounts[id].epoch == self.rows.epoch && self.rows.accounts[id].has(flag::LOADED));
        &self.rows.accounts[id]
    }

    /// Balance of a loaded account, wei. Records that the task depends on it.
    #[inline]
    pub fn balance(&mut self, id: AccountId) -> U256 {
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::BALANCE;
        row.balance
    }

    /// Whether a loaded account has at least this much, wei. If it has, only the lower bound
    /// [`AccountRow::need`] is recorded, so that concurrent credits and debits by other transactions invalidate
    /// this task only where they change the answer.
    #[inline]
    pub fn can_pay(&mut self, id: AccountId, amount: U256) -> bool {
        let row = &mut self.rows.accounts[id];
        let Some(left) = row.balance.checked_sub(amount) else {
            row.seen |= seen::BALANCE;
            return false;
        };
        // The part of the balance at the start without which the payments so far would fail.
        match u128::try_from(row.balance_start.saturating_sub(left)) {
            Ok(need) if is_common(&row.balance) && is_common(&row.balance_start) => row.need = row.need.max(need),
            _ => row.seen |= seen::BALANCE,
        }
        true
    }

    /// Subtracts from the balance of a loaded account and touches it. Returns false and changes nothing if it has less.
    #[inline]
    pub fn debit(&mut self, id: AccountId, amount: U256) -> bool {
        if !self.can_pay(id, amount) {
            return false;
        }
        let row = &mut self.rows.accounts[id];
        if !amount.is_zero() {
            self.rows.undo.push(Undo::Balance(id, row.balance));
            row.balance -= amount;
        }
        self.set_flag(id, flag::TOUCHED);
        true
    }

    /// Nonce of a loaded account. Records that the task depends on it.
    #[inline]
    pub fn nonce(&mut self, id: AccountId) -> u64 {
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::NONCE;
        row.nonce
    }

    /// Whether a loaded account is empty in the sense of EIP-161: no nonce, no balance, no code.
    #[inline]
    pub fn is_empty(&mut self, id: AccountId) -> bool {
        self.rows.accounts[id].look_if_empty()
    }

    /// Whether a loaded account has a leaf in the state trie, or will have one because it is not empty (for the
    /// refund of EIP-7702).
    pub fn is_in_state(&mut self, id: AccountId) -> bool {
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::EXISTS;
        row.has(flag::EXISTS) || !row.look_if_empty()
    }

    /// Whether a loaded account exists, in the sense of forks before EIP-161.
    pub fn exists(&mut self, id: AccountId) -> bool {
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::EXISTS;
        row.has(flag::EXISTS | flag::TOUCHED) || !row.look_if_empty()
    }

    /// The number of the precompile at this account's address in this fork; 0 for any other account.
    #[inline]
    pub fn precompile(&self, id: AccountId) -> u16 {
        self.rows.accounts[id].precompile
    }

    /// Sets flags, with a journal record by which a revert clears them.
    pub fn set_flag(&mut self, id: AccountId, flags: u8) {
        let row = &mut self.rows.accounts[id];
        let new = flags & !row.flags;
        if new != 0 {
            row.flags |= new;
            self.rows.undo.push(Undo::AccountFlag(id, new));
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
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::BALANCE;
        if row.balance != balance {
            self.rows.undo.push(Undo::Balance(id, row.balance));
            row.balance = balance;
        }
        self.set_flag(id, flag::TOUCHED);
    }

    /// Adds to the balance of a loaded account and touches it, without recording a dependency on the balance:
    /// such additions commute.
    #[inline]
    pub fn credit(&mut self, id: AccountId, amount: U256) {
        let row = &mut self.rows.accounts[id];
        // The sum of all balances is far below 2^128. In a pre-state that violates this the sum may saturate;
        // then the result depends on the balance.
        let sum = row.balance.saturating_add(amount);
        if !is_common(&sum) {
            row.seen |= seen::BALANCE;
        }
        if row.balance != sum {
            self.rows.undo.push(Undo::Balance(id, row.balance));
            row.balance = sum;
        }
        self.set_flag(id, flag::TOUCHED);
    }

    /// Sets the nonce of a loaded account and touches it.
    #[inline]
    pub fn set_nonce(&mut self, id: AccountId, nonce: u64) {
        let row = &mut self.rows.accounts[id];
        row.seen |= seen::NONCE;
        self.rows.undo.push(Undo::Nonce(id, row.nonce));
        row.nonce = nonce;
        self.set_flag(id, flag::TOUCHED);
    }

    /// Sets the code of a loaded account and touches it.
    pub fn set_code(&mut self, id: AccountId, code: CodeId) {
        let row = &mut self.rows.accounts[id];
        self.rows.undo.push(Undo::Code(id, row.code));
        row.code = code;
        self.set_flag(id, flag::TOUCHED);
    }

    /// Transfers value between two loaded accounts. Returns false and changes nothing if the sender's balance
    /// is too low.
    #[inline]
    pub fn transfer(&mut self, from: AccountId, to: AccountId, value: U256) -> bool {
        if value.is_zero() {
            self.touch(from);
            self.touch(to);
            return true;
        }
        if from == to {
            let can_pay = self.can_pay(from, value);
            if can_pay {
                self.touch(from);
            }
            return can_pay;
        }
        let paid = self.debit(from, value);
        if paid {
            self.credit(to, value);
        }
        paid
    }

    /// The code of an id; its bytes are fetched if the arena does not have them yet.
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

    /// Hash of an ancestor block (BLOCKHASH).
    pub fn block_hash(&mut self, number: u64) -> Result<B256, Halt> {
        self.base.block_hash(number).map_err(|fault| self.fail(fault))
    }
}

/// Whether a balance is in the range of real balances, so that sums of a few of them stay far below 2^256.
#[inline]
fn is_common(balance: &U256) -> bool {
    let limbs = balance.as_limbs();
    limbs[2] | limbs[3] == 0
}
