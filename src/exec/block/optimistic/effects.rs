//! Effects of one run of a task: its reads and writes, their validation and their commit.
//!
//! In: the settled state of a worker after a run. Out: the read set with versions, and the writes per field.
//! A run is valid if every value that its control flow depended on equals the value that a run now would read. A new
//! run would then execute the same way, so the writes are those of sequential execution. Balance writes are absolute
//! where the run read the balance, and differences where it did not, or checked only that the balance was large
//! enough. Reads carry the version that they saw. Equal versions of a slot need no comparison of values, and a newer
//! version with the same value is no conflict.
//! Relies on: `evm::state` to record which fields a run depends on; `cache` and `overlay` for current values.
//! Not here: when runs are validated and committed (`schedule`).

use super::cache::SharedCache;
use super::overlay::{AccountWrite, BalanceWrite, Version};
use super::provider::View;
use crate::arena::code::{CodeArena, EMPTY_CODE};
use crate::arena::{AccountId, BlockAccessIndex, SlotId};
use crate::bal::{ExistenceLog, Recorder};
use crate::exec::evm::state::{AccountRow, AccountState, TxState, flag, seen};
use alloy_primitives::U256;

/// An account that a task touched.
#[derive(Clone, Copy, Debug)]
struct AccountEffect {
    id: AccountId,
    /// Its value at the start of the task, as the task read it.
    start: AccountState,
    version: Version,
    /// Bits of [`seen`]: the fields that the task's control flow depends on.
    seen: u8,
    /// Minimum balance at the start for everything that the account paid, wei.
    need: u128,
    write: AccountWrite,
}

/// A slot that a task touched.
#[derive(Clone, Copy, Debug)]
struct SlotEffect {
    id: SlotId,
    /// The value that the task read and its writer; `None` where the task needed no read (a new account's storage).
    read: Option<(U256, Version)>,
    write: Option<U256>,
}

/// Reads and writes of one run of a task.
#[derive(Debug, Default)]
pub struct Effects {
    incarnation: u32,
    accounts: Vec<AccountEffect>,
    slots: Vec<SlotEffect>,
}

/// The changes that a settled task made to an account.
fn write_of(row: &AccountRow) -> AccountWrite {
    let (nonce, balance) = (row.settled_nonce(), row.settled_balance());
    let exists = row.has(flag::EXISTS);
    AccountWrite {
        nonce: (nonce != row.nonce_start).then_some(nonce),
        balance: if balance == row.balance_start {
            BalanceWrite::Kept
        } else if row.seen & seen::BALANCE != 0 {
            BalanceWrite::Set(balance)
        } else if balance > row.balance_start {
            BalanceWrite::Add(balance - row.balance_start)
        } else {
            BalanceWrite::Sub(row.balance_start - balance)
        },
        code: (row.code != row.code_start).then_some(row.code),
        // An account with code exists, and touching it does not change that: calling a contract writes nothing.
        exists: (row.has(flag::TOUCHED | flag::DESTROYED) && !(exists && row.code_start != EMPTY_CODE))
            .then_some(exists),
        storage_cleared: row.has(flag::DESTROYED),
    }
}

impl Effects {
    /// Replaces the content by the effects of the settled task in a worker's state.
    pub fn take(&mut self, state: &TxState<'_>, view: &mut View<'_>, incarnation: u32) {
        self.incarnation = incarnation;
        self.accounts.clear();
        self.slots.clear();
        let id_map = state.ids.get();
        for &local in state.touched_accounts() {
            let row = state.row(local);
            let (id, version) = view.account_read(local, &id_map.addresses()[local]);
            let (start, write) = (row.start(), write_of(row));
            self.accounts.push(AccountEffect { id, start, version, seen: row.seen, need: row.need, write });
        }
        for &local in state.touched_slots() {
            let row = state.slot_row(local);
            let owner = id_map.owners()[local];
            let (id, version) = view.slot_read(local, owner, &id_map.addresses()[owner], &id_map.keys()[local]);
            let read = version.map(|version| (row.start, version));
            self.slots.push(SlotEffect { id, read, write: (row.value != row.start).then_some(row.value) });
        }
    }

    /// Publishes the writes as speculative to the tasks above `index`.
    pub fn write_ahead(&self, cache: &SharedCache, index: BlockAccessIndex) {
        for effect in self.accounts.iter().filter(|effect| !effect.write.is_none()) {
            cache.account(effect.id).versions.write_ahead(index, self.incarnation, effect.write);
        }
        for effect in &self.slots {
            if let Some(value) = effect.write {
                cache.slot(effect.id).versions.write_ahead(index, self.incarnation, value);
            }
        }
    }

    /// Removes the writes that [`Self::write_ahead`] published.
    pub fn withdraw(&self, cache: &SharedCache, index: BlockAccessIndex) {
        for effect in self.accounts.iter().filter(|effect| !effect.write.is_none()) {
            cache.account(effect.id).versions.withdraw(index);
        }
        for effect in self.slots.iter().filter(|effect| effect.write.is_some()) {
            cache.slot(effect.id).versions.withdraw(index);
        }
    }

    /// Whether the run is valid: a run of the task now would read the same values.
    pub fn holds(&self, cache: &SharedCache, index: BlockAccessIndex) -> bool {
        self.accounts.iter().all(|effect| effect.holds(cache, index))
            && self.slots.iter().all(|effect| effect.holds(cache, index))
    }

    /// Commits the writes. Records accesses and changes, and before Cancun the existence changes that no block access
    /// list can express (`existence_log`).
    pub fn commit(
        &self,
        cache: &SharedCache,
        index: BlockAccessIndex,
        recorder: &mut Recorder,
        mut existence_log: Option<&mut ExistenceLog>,
        codes: &CodeArena,
    ) {
        for effect in &self.accounts {
            let (id, write) = (effect.id, &effect.write);
            recorder.touch_account(id);
            if write.is_none() {
                continue;
            }
            let cell = cache.account(id);
            let parent = cell.parent.get().unwrap_or_default();
            let (before, after) = cell.versions.commit(index, self.incarnation, write, &parent);
            if let Some(existence_log) = existence_log.as_deref_mut()
                && let Some(exists) = after.existence_event(&before)
            {
                existence_log.existence.push((cell.address, index.0, exists));
            }
            if write.balance != BalanceWrite::Kept {
                recorder.balance(id, index, after.balance);
            }
            if let Some(nonce) = write.nonce {
                recorder.nonce(id, index, nonce);
            }
            if let Some(code) = write.code {
                recorder.code(id, index, codes.get(code).map_or(&[], |code| code.bytes()));
            }
        }
        for effect in &self.slots {
            recorder.touch_slot(effect.id);
            if let Some(value) = effect.write {
                cache.slot(effect.id).versions.commit(index, self.incarnation, value);
                recorder.slot(effect.id, index, value);
            }
        }
    }
}

impl AccountEffect {
    fn holds(&self, cache: &SharedCache, index: BlockAccessIndex) -> bool {
        let cell = cache.account(self.id);
        let Some(parent) = cell.parent.get() else { return false };
        let (now, version) = cell.versions.read(index, &parent);
        if version == Version::Parent && self.version == Version::Parent {
            return true;
        }
        let start = &self.start;
        let same = |what: u8, is_same: bool| self.seen & what == 0 || is_same;
        now.code == start.code
            && now.has_storage == start.has_storage
            && same(seen::NONCE, now.nonce == start.nonce)
            && same(seen::BALANCE, now.balance == start.balance)
            && same(seen::EMPTY, now.is_empty() == start.is_empty())
            && same(seen::EXISTS, now.exists == start.exists)
            && (now.balance == start.balance || self.balance_suffices(&now.balance))
    }
}

impl AccountEffect {
    /// Whether a task that did not read the balance would have executed the same way with `balance`: it covers
    /// everything that the account paid, and credits cannot overflow (it is below 2^128).
    fn balance_suffices(&self, balance: &U256) -> bool {
        u128::try_from(balance).is_ok_and(|balance| balance >= self.need)
    }
}

impl SlotEffect {
    fn holds(&self, cache: &SharedCache, index: BlockAccessIndex) -> bool {
        let Some((value, version)) = self.read else { return true };
        let cell = cache.slot(self.id);
        let cleared_at = cache.account(cell.account).versions.last_clearing(index);
        match cell.versions.read(index, cleared_at) {
            Some((now, now_version)) => now_version == version || now == value,
            None => version == Version::Parent || cell.parent.get() == Some(value),
        }
    }
}
