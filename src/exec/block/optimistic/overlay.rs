//! The overlay: what the block's tasks wrote, per account and slot, versioned by block access index.
//!
//! A read at an index sees the last writer below it: what is committed, then what was written ahead of its commit.
//! Accounts keep their fields apart; what is added to a balance or taken from it (fees, plain transfers) is kept as such,
//! so that those who only add or pay do not depend on each other. Committing folds a write into the committed value, so lists hold no more than
//! the transactions in flight.
//! Relies on: commits come in index order; whoever reads at an index reads above everything committed.
//! Not here: the parent state (`cache`), and whether a read still holds (`effects`).

use crate::arena::{BlockAccessIndex, CodeId};
use crate::exec::evm::state::BaseAccount;
use crate::exec::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use alloy_primitives::U256;
use smallvec::SmallVec;

/// Who wrote a value: the parent state, or a run of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Nobody in this block.
    Parent,
    /// A task, and which of its runs.
    Written {
        /// Block access index of the writer.
        index: BlockAccessIndex,
        /// 0 for its first run.
        incarnation: u32,
    },
}

/// What a task did to a balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalanceWrite {
    /// Nothing.
    #[default]
    Kept,
    /// Left it at this value, knowing what it was.
    Set(U256),
    /// Added to it, whatever it was.
    Add(U256),
    /// Took from it, knowing that it was enough.
    Sub(U256),
}

/// What a task did to an account, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountWrite {
    /// Nonce, where it changed.
    pub nonce: Option<u64>,
    /// Balance.
    pub balance: BalanceWrite,
    /// Code, where it changed.
    pub code: Option<CodeId>,
    /// Whether the state has a leaf for it, where the task decided that.
    pub exists: Option<bool>,
    /// Whether its storage is gone (SELFDESTRUCT before Cancun).
    pub wiped: bool,
}

impl AccountWrite {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The account after the write. A balance beyond its bounds saturates: whoever commits makes sure that none does.
    fn apply(&self, account: &mut BaseAccount) {
        account.nonce = self.nonce.unwrap_or(account.nonce);
        account.code = self.code.unwrap_or(account.code);
        account.exists = self.exists.unwrap_or(account.exists);
        account.has_storage &= !self.wiped;
        match self.balance {
            BalanceWrite::Kept => {}
            BalanceWrite::Set(balance) => account.balance = balance,
            BalanceWrite::Add(amount) => account.balance = account.balance.saturating_add(amount),
            BalanceWrite::Sub(amount) => account.balance = account.balance.saturating_sub(amount),
        }
    }
}

/// A write ahead of its commit.
#[derive(Clone, Copy, Debug)]
struct Ahead<W> {
    index: BlockAccessIndex,
    incarnation: u32,
    write: W,
}

/// Writes ahead of their commit, by index.
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
    /// Whether anything was ever written; until then nobody need lock.
    written: AtomicBool,
    /// The same for wiped storage.
    wiped: AtomicBool,
    inner: Mutex<AccountInner>,
}

#[derive(Debug, Default)]
struct AccountInner {
    committed: Option<(BaseAccount, Version)>,
    wiped_at: Option<BlockAccessIndex>,
    ahead: AheadList<AccountWrite>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl AccountVersions {
    /// The account as a task at `index` finds it, and its last writer.
    pub fn read(&self, index: BlockAccessIndex, parent: &BaseAccount) -> (BaseAccount, Version) {
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

    /// The last index below `index` that wiped the account's storage.
    pub fn last_wipe(&self, index: BlockAccessIndex) -> Option<BlockAccessIndex> {
        if !self.wiped.load(Ordering::Acquire) {
            return None;
        }
        let inner = lock(&self.inner);
        let ahead = inner.ahead.iter().rev().find(|ahead| ahead.write.wiped && ahead.index < index);
        ahead.map(|ahead| ahead.index).or(inner.wiped_at)
    }

    /// Shows a write to the tasks above `index` before it is known to be final.
    pub fn write_ahead(&self, index: BlockAccessIndex, incarnation: u32, write: AccountWrite) {
        let mut inner = lock(&self.inner);
        put_ahead(&mut inner.ahead, Ahead { index, incarnation, write });
        self.announce(&write);
    }

    /// Takes back what [`Self::write_ahead`] showed.
    pub fn withdraw(&self, index: BlockAccessIndex) {
        drop_ahead(&mut lock(&self.inner).ahead, index);
    }

    /// Makes a write final and returns the account before and after it.
    pub fn commit(
        &self,
        index: BlockAccessIndex,
        incarnation: u32,
        write: &AccountWrite,
        parent: &BaseAccount,
    ) -> (BaseAccount, BaseAccount) {
        let mut inner = lock(&self.inner);
        drop_ahead(&mut inner.ahead, index);
        let (before, _) = inner.committed.unwrap_or((*parent, Version::Parent));
        let mut account = before;
        write.apply(&mut account);
        inner.committed = Some((account, Version::Written { index, incarnation }));
        if write.wiped {
            inner.wiped_at = Some(index);
        }
        self.announce(write);
        (before, account)
    }

    fn announce(&self, write: &AccountWrite) {
        self.written.store(true, Ordering::Release);
        if write.wiped {
            self.wiped.store(true, Ordering::Release);
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
    /// The value as a task at `index` finds it, and who wrote it; nothing where no task below did. `wiped` is the last
    /// index below that wiped the account's storage: older values are zero.
    pub fn read(&self, index: BlockAccessIndex, wiped: Option<BlockAccessIndex>) -> Option<(U256, Version)> {
        let wiped_value = || wiped.map(|index| (U256::ZERO, Version::Written { index, incarnation: 0 }));
        if !self.written.load(Ordering::Acquire) {
            return wiped_value();
        }
        let inner = lock(&self.inner);
        let ahead = inner.ahead.iter().rev().find(|ahead| ahead.index < index);
        match ahead.or(inner.committed.as_ref()) {
            Some(last) if wiped.is_none_or(|wiped| last.index > wiped) => {
                let Ahead { index, incarnation, write } = *last;
                Some((write, Version::Written { index, incarnation }))
            }
            _ => wiped_value(),
        }
    }

    /// Shows a write to the tasks above `index` before it is known to be final.
    pub fn write_ahead(&self, index: BlockAccessIndex, incarnation: u32, value: U256) {
        put_ahead(&mut lock(&self.inner).ahead, Ahead { index, incarnation, write: value });
        self.written.store(true, Ordering::Release);
    }

    /// Takes back what [`Self::write_ahead`] showed.
    pub fn withdraw(&self, index: BlockAccessIndex) {
        drop_ahead(&mut lock(&self.inner).ahead, index);
    }

    /// Makes a write final.
    pub fn commit(&self, index: BlockAccessIndex, incarnation: u32, value: U256) {
        let mut inner = lock(&self.inner);
        drop_ahead(&mut inner.ahead, index);
        inner.committed = Some(Ahead { index, incarnation, write: value });
        self.written.store(true, Ordering::Release);
    }
}
