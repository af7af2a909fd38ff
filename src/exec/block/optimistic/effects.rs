//! What one run of a task saw and did, taken out of its worker's rows; whether it still holds; how it becomes final.
//!
//! A run holds if every value that its course depended on is the one that a run now would see. Then the run would go the
//! same way again, and its writes are those of sequential execution: absolute where it knew the value before, relative
//! where it did not look, or only whether there was enough. Reads carry the version they saw; equal versions of a slot need no comparison, and a newer
//! version with the same value is no conflict.
//! Not here: when to ask (`schedule`).

use super::base::View;
use super::cache::SharedCache;
use super::overlay::{AccountWrite, BalanceWrite, Version};
use crate::arena::code::{CodeArena, EMPTY_CODE};
use crate::arena::{AccountId, BlockAccessIndex, SlotId};
use crate::bal::{ExistenceLog, Recorder};
use crate::exec::evm::state::{AccountRow, BaseAccount, TxState, flag, seen};
use alloy_primitives::U256;

/// An account that a task touched.
#[derive(Clone, Copy, Debug)]
struct AccountEffect {
    id: AccountId,
    /// What it was when the task began, as far as the task knew.
    start: BaseAccount,
    version: Version,
    /// What of it the task looked at.
    seen: u8,
    /// What its balance had to be at least.
    need: u128,
    write: AccountWrite,
}

/// A slot that a task touched.
#[derive(Clone, Copy, Debug)]
struct SlotEffect {
    id: SlotId,
    /// What the task read, and who wrote that; nothing where it knew without asking (a new account's storage).
    read: Option<(U256, Version)>,
    write: Option<U256>,
}

/// Everything that one run of a task saw and did.
#[derive(Debug, Default)]
pub struct Effects {
    incarnation: u32,
    accounts: Vec<AccountEffect>,
    slots: Vec<SlotEffect>,
}

/// What a settled task did to an account.
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
        // An account with code exists, and no touch changes that: calling a contract writes nothing.
        exists: (row.has(flag::TOUCHED | flag::DESTROYED) && !(exists && row.code_start != EMPTY_CODE))
            .then_some(exists),
        wiped: row.has(flag::DESTROYED),
    }
}

impl Effects {
    /// Takes the effects of a settled task out of a worker's state, in place of what was here.
    pub fn take(&mut self, state: &TxState<'_>, view: &mut View<'_>, incarnation: u32) {
        self.incarnation = incarnation;
        self.accounts.clear();
        self.slots.clear();
        let names = state.names.get();
        for &local in state.touched_accounts() {
            let row = state.row(local);
            let (id, version) = view.account_read(local, &names.addresses()[local]);
            let (start, write) = (row.start(), write_of(row));
            self.accounts.push(AccountEffect { id, start, version, seen: row.seen, need: row.need, write });
        }
        for &local in state.touched_slots() {
            let row = state.slot_row(local);
            let owner = names.owners()[local];
            let (id, version) = view.slot_read(local, owner, &names.addresses()[owner], &names.keys()[local]);
            let read = version.map(|version| (row.start, version));
            self.slots.push(SlotEffect { id, read, write: (row.value != row.start).then_some(row.value) });
        }
    }

    /// Shows the writes to the tasks above.
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

    /// Takes back what [`Self::write_ahead`] showed.
    pub fn withdraw(&self, cache: &SharedCache, index: BlockAccessIndex) {
        for effect in self.accounts.iter().filter(|effect| !effect.write.is_none()) {
            cache.account(effect.id).versions.withdraw(index);
        }
        for effect in self.slots.iter().filter(|effect| effect.write.is_some()) {
            cache.slot(effect.id).versions.withdraw(index);
        }
    }

    /// Whether a run of the task now would see what this one saw.
    pub fn holds(&self, cache: &SharedCache, index: BlockAccessIndex) -> bool {
        self.accounts.iter().all(|effect| effect.holds(cache, index))
            && self.slots.iter().all(|effect| effect.holds(cache, index))
    }

    /// Makes the writes final and records accesses, changes, and what no list can say (`existence_log`, before Cancun).
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
    /// Whether a task that did not look at the balance would have done the same with this one: all that it paid was there,
    /// and all that it added has room (what it saw itself stayed below 2^128).
    fn balance_suffices(&self, balance: &U256) -> bool {
        u128::try_from(balance).is_ok_and(|balance| balance >= self.need)
    }
}

impl SlotEffect {
    fn holds(&self, cache: &SharedCache, index: BlockAccessIndex) -> bool {
        let Some((value, version)) = self.read else { return true };
        let cell = cache.slot(self.id);
        let wiped = cache.account(cell.account).versions.last_wipe(index);
        match cell.versions.read(index, wiped) {
            Some((now, now_version)) => now_version == version || now == value,
            None => version == Version::Parent || cell.parent.get() == Some(value),
        }
    }
}
