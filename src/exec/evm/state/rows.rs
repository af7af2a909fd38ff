//! Rows: an account and a slot within one task, and the account as the task found it.
//!
//! A row whose epoch is not the task's is blank. Not here: who changes rows (`accounts`, `slots`), and how a change is
//! undone (`journal`).

use crate::arena::CodeId;
use crate::arena::code::EMPTY_CODE;
use alloy_primitives::U256;

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

/// Bits of [`AccountRow::flags`].
pub mod flag {
    /// In the accessed set of EIP-2929; undone by a revert.
    pub const WARM: u8 = 1;
    /// Values are loaded, and the account counts as accessed (EIP-7928); never undone.
    pub const LOADED: u8 = 1 << 1;
    /// The state has a leaf for it.
    pub const EXISTS: u8 = 1 << 2;
    /// Created in this transaction (EIP-6780); of a slot: its account was.
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
    /// The balance itself; without it only that it was at least [`AccountRow::need`](super::AccountRow::need).
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
    pub(super) epoch: u32,
    /// See [`flag`].
    pub flags: u8,
    /// See [`seen`].
    pub seen: u8,
    /// The number of a precompile of this fork; 0 for any other account.
    pub precompile: u16,
    pub(super) nonce: u64,
    pub(super) balance: U256,
    /// Code now.
    pub code: CodeId,
    /// Code when the task began.
    pub code_start: CodeId,
    /// Nonce when the task began.
    pub nonce_start: u64,
    /// Balance when the task began.
    pub balance_start: U256,
    /// What the balance at the start had to be at least, for all that the account paid, wei. Never undone. More than 128
    /// bits are no need but a look at the balance itself.
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
    pub(super) fn settled(&self) -> BaseAccount {
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
    pub(super) fn look_if_empty(&mut self) -> bool {
        let seen = self.seen;
        let looked_at = |what| seen & what != 0;
        // A balance that grew is not zero, wherever it began; a known nonce that is not zero decides alone.
        if self.code != EMPTY_CODE
            || (!looked_at(seen::BALANCE) && self.balance > self.balance_start)
            || (looked_at(seen::NONCE) && self.nonce != 0)
        {
            return false;
        }
        // What was paid may have been all that there was.
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

    /// Balance when the task is over, wei. For whoever takes results; what runs asks [`TxState::balance`](super::TxState::balance).
    #[inline]
    pub fn settled_balance(&self) -> U256 {
        self.balance
    }

    /// Nonce when the task is over. For whoever takes results; what runs asks [`TxState::nonce`](super::TxState::nonce).
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
    pub(super) epoch: u32,
    /// [`flag::WARM`], [`flag::LOADED`]; [`flag::CREATED`] where the account was created in this transaction.
    pub flags: u8,
    /// Value now.
    pub value: U256,
    /// Value when the task began.
    pub start: U256,
}

impl SlotRow {
    pub(super) const BLANK: Self = Self { epoch: 0, flags: 0, value: U256::ZERO, start: U256::ZERO };

    /// The original value that SSTORE is priced by (EIP-2200): that before the transaction, zero in a created account.
    #[inline(always)]
    pub fn original(&self) -> U256 {
        if self.flags & flag::CREATED == 0 { self.start } else { U256::ZERO }
    }
}
