//! Versioned overlay: the writes of a block's tasks to one account or slot, by block access index.
//!
//! In: writes, speculative and committed. Out: the value that a task at an index reads, and the version of its writer.
//! A read at an index returns the committed value with the speculative writes below that index applied to it.
//! Account fields are versioned separately. Amounts added to or taken from a balance (fees, plain transfers) are stored
//! as differences, so that tasks that only credit or pay do not depend on each other. A commit folds a write into the
//! committed value, so only uncommitted transactions have entries in the list.
//! Relies on: commits come in index order, and a task reads at an index above everything committed.
//! Not here: parent values (`cache`), validation of reads (`effects`).

use crate::arena::{BlockAccessIndex, CodeId};
use crate::exec::evm::state::AccountState;
use crate::exec::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use alloy_primitives::U256;
use smallvec::SmallVec;

/// The writer of a value: the parent state, or a run of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No task of this block.
    Parent,
    /// A run of a task.
    Written {
        /// Block access index of the writer.
        index: BlockAccessIndex,
        /// Number of the run, 0 for the first.
        incarnation: u32,
    },
}

/// Change of a balance by a task, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalanceWrite {
    /// No change.
    #[default]
    Kept,
    /// Set to this value; the task read the previous value.
    Set(U256),
    /// Increased by this amount; the task did not read the previous value.
    Add(U256),
    /// Decreased by this amount; the task checked only that the balance was large enough.
    Sub(U256),
}

/// Changes of an account by a task, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountWrite {
    /// New nonce, if it changed.
    pub nonce: Option<u64>,
    /// Balance change.
    pub balance: BalanceWrite,
    /// New code, if it changed.
    pub code: Option<CodeId>,
    /// Whether the account exists afterwards, if the task determined that (by touching or destroying it).
    pub exists: Option<bool>,
    /// Whether its storage is cleared (SELFDESTRUCT before Cancun).
    pub storage_cleared: bool,
}

impl AccountWrite {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the write to an account. The balance saturates at its bounds; validation before a commit ensures that a
    /// committed balance never does.
    fn apply(&self, account: &mut AccountState) {
        account.nonce = self.nonce.unwrap_or(account.nonce);
        account.code = self.code.unwrap_or(account.code);
        account.exists = self.exists.unwrap_or(account.exists);
        account.has_storage &= !self.storage_cleared;
        match self.balance {
            BalanceWrite::Kept => {}
            BalanceWrite::Set(balance) => account.balance = balance,
            BalanceWrite::Add(amount) => account.balance = account.balance.saturating_add(amount),
            BalanceWrite::Sub(amount) => account.balance = account.balance.saturating_sub(amount),
        }
    }
}

/// A speculative write, not committed yet.
#[derive(Clone, Copy, Debug)]
struct Ahead<W> {
    index: BlockAccessIndex,
    incarnation: u32,
    write: W,
}

/// Speculative writes, sorted by index.
type AheadList<W> = SmallVec<[Ahead<W>; 2]>;

fn put_ahead<W>(list: &mut AheadList<W>, ahead: Ahead<W>) {
    match list.binary_search_by_key(&ahead.index, |ahead| ahead.index) {
        Ok(at) => list[at] = ahead,
        Err(at) => list.insert(at, ahead),
    }
}

fn drop_ahead<W>(list: &mut AheadList<W>, index: BlockAccessIndex) {
    if let Ok(at) = list.binary_search_by_key(&index, |ahead| ahead.index) {
        list.remove(at);
    }
}

/// All writes to one account.
#[derive(Debug, Default)]
pub struct AccountVersions {
    /// Whether anything was ever written. Until then reads need no lock.
    written: AtomicBool,
    /// Whether the storage was ever cleared.
    storage_cleared: AtomicBool,
    inner: Mutex<AccountInner>,
}

#[derive(Debug, Default)]
struct AccountInner {
    committed: Option<(AccountState, Version)>,
    storage_cleared_at: Option<BlockAccessIndex>,
    ahead: AheadList<AccountWrite>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl AccountVersions {
    /// The account before the task at `index`, and its last writer.
    pub fn read(&self, index: BlockAccessIndex, parent: &AccountState) -> (AccountState, Version) {
        if !self.written.load(Ordering::Acquire) {
            return (*parent, Version::Parent);
        }
        let inner = lock(&self.inner);
        let (mut account, mut version) = inner.committed.unwrap_or((*parent, Version::Parent));
        for ahead in inner.ahead.iter().take_while(|ahead| ahead.index < index) {
            ahead.write.apply(&mut account);
            version = Version::Written { index: ahead.index, incarnation: ahead.incarnation };
        }
        (account, version)
    }

    /// The last index below `index` that cleared the account's storage.
    pub fn last_clearing(&self, index: BlockAccessIndex) -> Option<BlockAccessIndex> {
        if !self.storage_cleared.load(Ordering::Acquire) {
            return None;
        }
        let inner = lock(&self.inner);
        let ahead = inner.ahead.iter().rev().find(|ahead| ahead.write.storage_cleared && ahead.index < index);
        ahead.map(|ahead| ahead.index).or(inner.storage_cleared_at)
    }

    /// Publishes a speculative write to the tasks above `index`.
    pub fn write_ahead(&self, index: BlockAccessIndex, incarnation: u32, write: AccountWrite) {
        let mut inner = lock(&self.inner);
        put_ahead(&mut inner.ahead, Ahead { index, incarnation, write });
        self.announce(&write);
    }

    /// Removes the speculative write that [`Self::write_ahead`] published.
    pub fn withdraw(&self, index: BlockAccessIndex) {
        drop_ahead(&mut lock(&self.inner).ahead, index);
    }

    /// Commits a write and returns the account before and after it.
    pub fn commit(
        &self,
        index: BlockAccessIndex,
        incarnation: u32,
        write: &AccountWrite,
        parent: &AccountState,
    ) -> (AccountState, AccountState) {
        let mut inner = lock(&self.inner);
        drop_ahead(&mut inner.ahead, index);
        let (before, _) = inner.committed.unwrap_or((*parent, Version::Parent));
        let mut account = before;
        write.apply(&mut account);
        inner.committed = Some((account, Version::Written { index, incarnation }));
        if write.storage_cleared {
            inner.storage_cleared_at = Some(index);
        }
        self.announce(write);
        (before, account)
    }

    fn announce(&self, write: &AccountWrite) {
        self.written.store(true, Ordering::Release);
        if write.storage_cleared {
            self.storage_cleared.store(true, Ordering::Release);
        }
    }
}

/// All writes to one slot.
#[derive(Debug, Default)]
pub struct SlotVersions {
    written: AtomicBool,
    inner: Mutex<SlotInner>,
}

#[derive(Debug, Default)]
struct SlotInner {
    committed: Option<Ahead<U256>>,
    ahead: AheadList<U256>,
}

impl SlotVersions {
    /// The value before the task at `index` and its writer; `None` where no task below wrote the slot or cleared it.
    /// `cleared_at` is the last index below `index` that cleared the account's storage; values written before it are zero.
    pub fn read(&self, index: BlockAccessIndex, cleared_at: Option<BlockAccessIndex>) -> Option<(U256, Version)> {
        let cleared_value = || cleared_at.map(|index| (U256::ZERO, Version::Written { index, incarnation: 0 }));
        if !self.written.load(Ordering::Acquire) {
            return cleared_value();
        }
        let inner = lock(&self.inner);
        let ahead = inner.ahead.iter().rev().find(|ahead| ahead.index < index);
        match ahead.or(inner.committed.as_ref()) {
            Some(last) if cleared_at.is_none_or(|cleared_at| last.index > cleared_at) => {
                let Ahead { index, incarnation, write } = *last;
                Some((write, Version::Written { index, incarnation }))
            }
            _ => cleared_value(),
        }
    }

    /// Publishes a speculative write to the tasks above `index`.
    pub fn write_ahead(&self, index: BlockAccessIndex, incarnation: u32, value: U256) {
        put_ahead(&mut lock(&self.inner).ahead, Ahead { index, incarnation, write: value });
        self.written.store(true, Ordering::Release);
    }

    /// Removes the speculative write that [`Self::write_ahead`] published.
    pub fn withdraw(&self, index: BlockAccessIndex) {
        drop_ahead(&mut lock(&self.inner).ahead, index);
    }

    /// Commits a write.
    pub fn commit(&self, index: BlockAccessIndex, incarnation: u32, value: U256) {
        let mut inner = lock(&self.inner);
        drop_ahead(&mut inner.ahead, index);
        inner.committed = Some(Ahead { index, incarnation, write: value });
        self.written.store(true, Ordering::Release);
    }
}
