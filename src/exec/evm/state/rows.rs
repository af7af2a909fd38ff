//! Rows: an account and a slot within one task, and an account as of the start of the task.
//!
//! A row whose epoch is not the task's counts as blank. Not here: changes of rows (`accounts`, `slots`) and
//! their undoing (`journal`).

use crate::arena::CodeId;
use crate::arena::code::EMPTY_CODE;
use alloy_primitives::U256;

/// An account as of the start of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Whether the account has a leaf in the state trie.
    pub exists: bool,
    /// Whether its storage is non-empty (EIP-7610).
    pub has_storage: bool,
    /// The nonce; 0 if the account does not exist.
    pub nonce: u64,
    /// Balance, wei.
    pub balance: U256,
    /// Id of the code.
    pub code: CodeId,
}

impl Default for AccountState {
    fn default() -> Self {
        Self { exists: false, has_storage: false, nonce: 0, balance: U256::ZERO, code: EMPTY_CODE }
    }
}

impl AccountState {
    /// Empty in the sense of EIP-161: no nonce, no balance, no code.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.code == EMPTY_CODE && self.balance.is_zero()
    }

    /// Whether the account exists after a task that found it as `before`; `None` if that follows from its fields. An
    /// account with changed fields is taken to exist unless it is empty, an unchanged one to exist if it did before.
    #[inline]
    pub fn existence_event(&self, before: &Self) -> Option<bool> {
        let changed = self.balance != before.balance || self.nonce != before.nonce || self.code != before.code;
        let told = if changed { !self.is_empty() } else { before.exists };
        (self.exists != told).then_some(self.exists)
    }
}

/// Bits of [`AccountRow::flags`].
pub mod flag {
    /// In the accessed set (EIP-2929); a revert clears it.
    pub const WARM: u8 = 1;
    /// The values are loaded, and the account or slot counts as accessed (EIP-7928); a revert does not clear it.
    pub const LOADED: u8 = 1 << 1;
    /// The account has a leaf in the state trie.
    pub const EXISTS: u8 = 1 << 2;
    /// The account was created in this transaction (EIP-6780). In a slot's row: its account was.
    pub const CREATED: u8 = 1 << 3;
    /// Self-destructed in this transaction.
    pub const DESTROYED: u8 = 1 << 4;
    /// Touched in the sense of EIP-161.
    pub const TOUCHED: u8 = 1 << 5;
    /// The account had storage when the task began.
    pub const HAS_STORAGE: u8 = 1 << 6;
    /// The account existed when the task began.
    pub const EXISTED: u8 = 1 << 7;
}

/// Bits of [`AccountRow::seen`]: on which parts of an account's value at the start the task depends, beyond its
/// code and whether it had storage. A revert does not clear them, because the reads happened. An optimistic
/// task need not run again when a part whose bit is not set turns out to differ.
pub mod seen {
    /// The exact balance. Without this bit the task relies only on a balance of at least
    /// [`AccountRow::need`](super::AccountRow::need).
    pub const BALANCE: u8 = 1;
    /// The exact nonce.
    pub const NONCE: u8 = 1 << 1;
    /// Whether the account is empty (EIP-161).
    pub const EMPTY: u8 = 1 << 2;
    /// Whether the account has a leaf in the state trie.
    pub const EXISTS: u8 = 1 << 3;
}

/// One account within one transaction.
#[derive(Clone, Copy, Debug)]
pub struct AccountRow {
    pub(super) epoch: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Bits of [`seen`].
    pub seen: u8,
    /// The number of the precompile at this account's address in this fork; 0 for any other account.
    pub precompile: u16,
    pub(super) nonce: u64,
    pub(super) balance: U256,
    /// Id of the current code.
    pub code: CodeId,
    /// Id of the code when the task began.
    pub code_start: CodeId,
    /// The nonce when the task began.
    pub nonce_start: u64,
    /// The balance when the task began, wei.
    pub balance_start: U256,
    /// The least balance at the start, wei, with which all payments of the account so far succeed. A revert
    /// does not lower it. If that exceeds 128 bits, [`seen::BALANCE`] is set instead.
    pub need: u128,
}

impl AccountRow {
    pub(super) const BLANK: Self = Self {
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
        need: 0,
    };

    /// [`AccountState::existence_event`] of the task. Only for a settled row.
    #[inline]
    pub fn existence_event(&self) -> Option<bool> {
        self.settled().existence_event(&self.start())
    }

    /// The account when the task began, as the state provider returned it.
    #[inline]
    pub fn start(&self) -> AccountState {
        AccountState {
            exists: self.has(flag::EXISTED),
            has_storage: self.has(flag::HAS_STORAGE),
            nonce: self.nonce_start,
            balance: self.balance_start,
            code: self.code_start,
        }
    }

    /// The account at the end of the task, after it was settled.
    #[inline]
    pub(super) fn settled(&self) -> AccountState {
        AccountState {
            exists: self.has(flag::EXISTS),
            has_storage: self.has(flag::HAS_STORAGE) && !self.has(flag::DESTROYED),
            nonce: self.nonce,
            balance: self.balance,
            code: self.code,
        }
    }

    /// [`Self::is_empty`]; sets [`seen::EMPTY`] if the answer depends on the account's value at the start.
    #[inline]
    pub(super) fn look_if_empty(&mut self) -> bool {
        let seen = self.seen;
        let looked_at = |what| seen & what != 0;
        // A balance that grew is not zero, whatever it was at the start. A nonce that was already read and is
        // not zero decides without the balance.
        if self.code != EMPTY_CODE
            || (!looked_at(seen::BALANCE) && self.balance > self.balance_start)
            || (looked_at(seen::NONCE) && self.nonce != 0)
        {
            return false;
        }
        // The payments may have used up the whole balance, so the answer depends on its exact value.
        self.seen |= if self.balance < self.balance_start { seen::BALANCE } else { 0 };
        let seen = self.seen;
        let looked_at = |what| seen & what != 0;
        self.seen |= match (looked_at(seen::BALANCE), looked_at(seen::NONCE)) {
            (true, _) if !self.balance.is_zero() => return false,
            (true, _) => seen::NONCE,
            (false, true) => seen::BALANCE,
            (false, false) => seen::EMPTY,
        };
        self.settled().is_empty()
    }

    /// Balance at the end of the task, wei, for collecting results. During execution use
    /// [`TxState::balance`](super::TxState::balance), which records the read.
    #[inline]
    pub fn settled_balance(&self) -> U256 {
        self.balance
    }

    /// Nonce at the end of the task, for collecting results. During execution use
    /// [`TxState::nonce`](super::TxState::nonce), which records the read.
    #[inline]
    pub fn settled_nonce(&self) -> u64 {
        self.nonce
    }

    /// Whether any of these flags is set.
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// One slot within one transaction.
#[derive(Clone, Copy, Debug)]
pub struct SlotRow {
    pub(super) epoch: u32,
    /// [`flag::WARM`], [`flag::LOADED`]; [`flag::CREATED`] if the account was created in this transaction.
    pub flags: u8,
    /// The current value.
    pub value: U256,
    /// The value when the task began.
    pub start: U256,
}

impl SlotRow {
    pub(super) const BLANK: Self = Self { epoch: 0, flags: 0, value: U256::ZERO, start: U256::ZERO };

    /// The original value in the sense of EIP-2200: the value before the transaction; zero in an account created in it.
    #[inline(always)]
    pub fn original(&self) -> U256 {
        if self.flags & flag::CREATED == 0 { self.start } else { U256::ZERO }
    }
}
