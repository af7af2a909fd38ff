//! Where a task's values come from: the parent state plus a block access list, or the tasks before it.
//!
//! [`BalState`]: the last change below the task's index, else the parent value; shared columns, no store. The parent
//! values are all there, or arrive while the tasks run ([`ParentRows`]).
//! [`Overlay`]: what earlier tasks of the same thread left, else the store, one question at a time.

use super::code_loader::{CodeLoader, load_one};
use super::prefetch::{Prefetch, PrefetchedAccount};
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::bal::{BalColumns, ExistenceColumns, exists_before};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::state::{Base, BaseAccount};
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256, U256};

/// The parent state of everything that a list names.
#[derive(Clone, Debug, Default)]
pub struct PreState {
    /// Accounts as the store gave them.
    pub accounts: Column<AccountId, ParentAccount>,
    /// The arena's id of each account's code.
    pub codes: Column<AccountId, CodeId>,
    /// Slot values.
    pub slots: Column<SlotId, U256>,
}

/// Where the tasks of a block with a list find the parent state of its names.
#[derive(Clone, Copy, Debug)]
pub enum ParentRows<'b> {
    /// All of it was read before.
    Known(&'b PreState),
    /// It is being read.
    Prefetching(&'b Prefetch<'b>),
}

impl ParentRows<'_> {
    #[inline]
    fn account(&self, id: AccountId) -> Result<PrefetchedAccount, Fault> {
        match self {
            Self::Known(pre) => Ok((pre.accounts[id], pre.codes[id])),
            Self::Prefetching(prefetch) => prefetch.account(id),
        }
    }

    #[inline]
    fn slot(&self, id: SlotId) -> Result<U256, Fault> {
        match self {
            Self::Known(pre) => Ok(pre.slots[id]),
            Self::Prefetching(prefetch) => prefetch.slot(id),
        }
    }
}

/// Parent state plus list: what every task of a block with a list starts from.
pub struct BalState<'b> {
    /// The list.
    pub bal: &'b BalColumns,
    /// What the list cannot say.
    pub existence_log: &'b ExistenceColumns,
    /// The parent state.
    pub parent: ParentRows<'b>,
    /// The arena's id of each code row of the list.
    pub code_rows: &'b [CodeId],
    /// Loads codes; its store also answers for block hashes and for senders that the list does not name.
    pub loader: &'b CodeLoader<'b>,
    /// Whether SELFDESTRUCT clears storage: before Cancun.
    wipes: bool,
    index: BlockAccessIndex,
}

impl<'b> BalState<'b> {
    /// A base that stands before the transactions.
    pub fn new(
        bal: &'b BalColumns,
        existence_log: &'b ExistenceColumns,
        parent: ParentRows<'b>,
        code_rows: &'b [CodeId],
        loader: &'b CodeLoader<'b>,
        fork: Fork,
    ) -> Self {
        let wipes = fork < Fork::Cancun;
        Self { bal, existence_log, parent, code_rows, loader, wipes, index: BlockAccessIndex(0) }
    }
}

impl Base for BalState<'_> {
    fn begin_task(&mut self, index: BlockAccessIndex) {
        self.index = index;
    }

    fn account(&mut self, id: AccountId, _address: &Address) -> Result<BaseAccount, Fault> {
        let (bal, index) = (self.bal, self.index);
        let (parent, parent_code) = self.parent.account(id)?;
        let balance = bal.balance_before(id, index);
        let nonce = bal.nonce_before(id, index);
        let code = bal.code_row_before(id, index).map(|row| self.code_rows[row]);
        let wiped = self.wipes && parent.has_storage && bal.wiped_before(id, index).is_some();
        Ok(BaseAccount {
            exists: exists_before(bal, self.existence_log, &parent, id, index),
            has_storage: parent.has_storage && !wiped,
            nonce: nonce.unwrap_or(parent.nonce),
            balance: balance.unwrap_or(parent.balance),
            code: code.unwrap_or(parent_code),
        })
    }

    fn unlisted_sender(&mut self, address: &Address) -> Result<Option<BaseAccount>, Fault> {
        let mut out = [ParentAccount::default()];
        self.loader.store().accounts(&[*address], &mut out)?;
        let [parent] = out;
        Ok(Some(BaseAccount {
            exists: parent.exists,
            has_storage: parent.has_storage,
            nonce: parent.nonce,
            balance: parent.balance,
            code: self.loader.codes().intern(parent.code_hash),
        }))
    }

    fn slot(&mut self, id: SlotId, account: AccountId, _address: &Address, _key: &U256) -> Result<U256, Fault> {
        let changes = self.bal.storage();
        let row = changes.row_before(id, self.index);
        if self.wipes
            && let Some(wiped) = self.bal.wiped_before(account, self.index)
            && row.is_none_or(|row| changes.index(row) < wiped)
        {
            return Ok(U256::ZERO);
        }
        match row {
            Some(row) => Ok(*changes.value(row)),
            None => self.parent.slot(id),
        }
    }

    fn code(&mut self, id: CodeId, _codes: &CodeArena) -> Result<(), Fault> {
        self.loader.load(id)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        fetch_block_hash(self.loader.store(), number)
    }
}

/// Asks the store for one block hash.
pub(in crate::exec) fn fetch_block_hash(store: &dyn StateStore, number: u64) -> Result<B256, Fault> {
    let mut out = [B256::ZERO];
    store.block_hashes(&[number], &mut out)?;
    Ok(out[0])
}

/// What a block's tasks have left so far, by id of a growing universe.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Accounts that were read, with their newest values.
    pub accounts: Column<AccountId, Option<BaseAccount>>,
    /// How often the account's storage was wiped; 0 means that the parent's still counts.
    pub wipes: Column<AccountId, u32>,
    /// The accounts as the parent state had them.
    pub parents: Column<AccountId, ParentAccount>,
    /// Slots that were read: how often the storage had been wiped by then, and the newest value. A value from before
    /// the last wipe is zero.
    pub slots: Column<SlotId, Option<(u32, U256)>>,
    /// Accounts that were read from the store.
    pub account_reads: usize,
    /// Slots that were read from the store.
    pub slot_reads: usize,
}

impl Overlay {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.accounts.clear();
        self.wipes.clear();
        self.parents.clear();
        self.slots.clear();
        (self.account_reads, self.slot_reads) = (0, 0);
    }

    fn account_slot(&mut self, id: AccountId) -> &mut Option<BaseAccount> {
        if id.index() >= self.accounts.len() {
            self.accounts.resize(id.index() + 1, None);
            self.wipes.resize(id.index() + 1, 0);
            self.parents.resize(id.index() + 1, ParentAccount::default());
        }
        &mut self.accounts[id]
    }

    fn slot_slot(&mut self, id: SlotId) -> &mut Option<(u32, U256)> {
        if id.index() >= self.slots.len() {
            self.slots.resize(id.index() + 1, None);
        }
        &mut self.slots[id]
    }
}

/// An [`Overlay`] over a store: the base of sequential execution.
pub struct OverlayState<'b> {
    /// What earlier tasks left.
    pub overlay: &'b mut Overlay,
    /// The parent state.
    pub store: &'b dyn StateStore,
    /// All codes.
    pub codes: &'b CodeArena,
}

impl Base for OverlayState<'_> {
    fn account(&mut self, id: AccountId, address: &Address) -> Result<BaseAccount, Fault> {
        if let Some(account) = *self.overlay.account_slot(id) {
            return Ok(account);
        }
        let mut out = [ParentAccount::default()];
        self.store.accounts(&[*address], &mut out)?;
        let [parent] = out;
        let account = BaseAccount {
            exists: parent.exists,
            has_storage: parent.has_storage,
            nonce: parent.nonce,
            balance: parent.balance,
            code: self.codes.intern(parent.code_hash),
        };
        self.overlay.account_reads += 1;
        *self.overlay.account_slot(id) = Some(account);
        self.overlay.parents[id] = parent;
        Ok(account)
    }

    fn slot(&mut self, id: SlotId, account: AccountId, address: &Address, key: &U256) -> Result<U256, Fault> {
        let wipes = self.overlay.wipes.get(account).copied().unwrap_or_default();
        let known = self.overlay.slot_slot(id);
        let value = match *known {
            Some((at, value)) if at == wipes => return Ok(value),
            _ if wipes > 0 => U256::ZERO,
            _ => {
                let mut out = [U256::ZERO];
                self.store.slots(&[SlotQuery { address: *address, key: *key }], &mut out)?;
                self.overlay.slot_reads += 1;
                out[0]
            }
        };
        *self.overlay.slot_slot(id) = Some((wipes, value));
        Ok(value)
    }

    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
        load_one(self.store, id, codes)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        fetch_block_hash(self.store, number)
    }

    fn commit_account(&mut self, id: AccountId, account: BaseAccount, wiped: bool) {
        *self.overlay.account_slot(id) = Some(account);
        if wiped {
            self.overlay.wipes[id] += 1;
        }
    }

    fn commit_slot(&mut self, id: SlotId, account: AccountId, value: U256) {
        let wipes = self.overlay.wipes.get(account).copied().unwrap_or_default();
        *self.overlay.slot_slot(id) = Some((wipes, value));
    }
}
