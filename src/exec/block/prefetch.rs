//! Prefetch: reads the parent state of all accounts and slots of a block access list (BAL), in batches, on reader
//! threads beside the tasks; or, in on-demand mode, row by row on the threads of the tasks.
//!
//! In: a BAL, the targets of the block's transactions, a store. Out: accounts and slots, each available once its batch
//! has been read.
//! Reading order: accounts before slots, because the state root needs all accounts. Within each kind, by the first task
//! that is known to need the item: the first index that changes it (0 for the system calls), or the first transaction
//! sent to it. The rest follows in list order. A batch that a task waits for is read before all others.
//!
//! There is no deadlock: readers wait for the store only, tasks wait for readers only and sleep meanwhile (`queue`),
//! and no reader thread runs tasks. The partition into batches depends on the block and the store alone. The reported error of
//! several ([`Prefetch::first_error`], the first in reading order) depends on block and store alone, because all
//! batches before a failed one are still read.
//! Relies on: `code_loader`, which loads the codes; an account is read with the hash of its code.
//! Not here: starting readers and tasks (`executor`).

mod queue;

use super::code_loader::{CodeLoader, Expectation};
use crate::arena::store::{ParentAccount, SlotQuery, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::bal::{BalColumns, ListedParents};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::wire::Transactions;
use alloy_primitives::U256;
use queue::Queue;
use std::sync::OnceLock;

/// An account of the parent state and the arena's id of its code.
pub type PrefetchedAccount = (ParentAccount, CodeId);

/// Accounts or slots: the order in which they are read, and their batches.
struct Rows<I, T> {
    /// Ids in reading order.
    order: Vec<I>,
    /// Position of each id in `order`.
    places: Column<I, u32>,
    /// Ids per batch.
    batch_len: usize,
    batches: Vec<OnceLock<Result<Vec<T>, StoreError>>>,
}

impl<I: Id, T: Copy> Rows<I, T> {
    /// Unread rows, to be read in ascending order of `first_need`.
    fn new(first_need: &Column<I, u32>, batch_len: usize) -> Self {
        let mut order: Vec<I> = first_need.ids().collect();
        order.sort_unstable_by_key(|id| (first_need[*id], *id));
        // List order inside a batch keeps the slots of one account adjacent for the store.
        order.chunks_mut(batch_len).for_each(<[I]>::sort_unstable);
        let mut places = Column::from(vec![0; order.len()]);
        for (place, id) in order.iter().enumerate() {
            places[*id] = place as u32;
        }
        let batches = (0..order.len().div_ceil(batch_len)).map(|_| OnceLock::new()).collect();
        Self { order, places, batch_len, batches }
    }

    /// The batch of an id, and the id's position in the batch.
    #[inline]
    fn find(&self, id: I) -> (usize, usize) {
        let place = self.places[id] as usize;
        (place / self.batch_len, place % self.batch_len)
    }

    /// The ids of a batch.
    fn ids(&self, batch: usize) -> &[I] {
        let start = batch * self.batch_len;
        &self.order[start..self.order.len().min(start + self.batch_len)]
    }

    /// The row of an id; `None` if it has not been read.
    fn read(&self, id: I) -> Option<T> {
        let (batch, place) = self.find(id);
        self.batches[batch].get()?.as_ref().ok()?.get(place).copied()
    }

    fn first_error(&self) -> Option<&StoreError> {
        self.batches.iter().find_map(|batch| batch.get()?.as_ref().err())
    }
}

/// Progress after reading one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More rows are available.
    Some,
    /// All accounts are available. Returned once.
    AllAccounts,
    /// Nothing was left to read.
    Done,
}

/// The parent state of all accounts and slots of a block access list while it is being read.
pub struct Prefetch<'b> {
    bal: &'b BalColumns,
    loader: &'b CodeLoader<'b>,
    expectation: Expectation<'b>,
    accounts: Rows<AccountId, PrefetchedAccount>,
    slots: Rows<SlotId, U256>,
    /// Whether there are no readers, and each task reads missing rows itself, one by one.
    on_demand: bool,
    queue: Queue,
}

impl core::fmt::Debug for Prefetch<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Prefetch").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Stops the prefetch when a reader panics, so that no task waits for that reader forever.
struct StopOnPanic<'a, 'b>(&'a Prefetch<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl<'b> Prefetch<'b> {
    /// A prefetch of which nothing has been read. `on_demand`: there are no readers, and each task reads its rows
    /// itself, one by one.
    pub fn new(
        bal: &'b BalColumns,
        id_map: &IdMap,
        transactions: &Transactions,
        loader: &'b CodeLoader<'b>,
        on_demand: bool,
    ) -> Self {
        let expectation = Expectation::new(bal, id_map, transactions);
        let (accounts, slots) = first_needs(bal, id_map, transactions);
        let batch_len = if on_demand { 1 } else { loader.store().call_rows().max(1) };
        let accounts = Rows::new(&accounts, batch_len);
        let slots = Rows::new(&slots, batch_len);
        let queue = Queue::new(accounts.batches.len(), slots.batches.len());
        Self { bal, loader, expectation, accounts, slots, on_demand, queue }
    }

    /// Number of batches, of accounts and slots together.
    pub fn batch_count(&self) -> usize {
        self.accounts.batches.len() + self.slots.batches.len()
    }

    /// Reads the next batch. Any number of readers may call this concurrently.
    pub fn read_next(&self) -> Progress {
        let Some(batch) = self.queue.take() else { return Progress::Done };
        let _guard = StopOnPanic(self);
        let failed = match batch.checked_sub(self.accounts.batches.len()) {
            None => {
                let rows = self.read_accounts(self.accounts.ids(batch));
                self.accounts.batches[batch].get_or_init(|| rows).is_err()
            }
            Some(of_slots) => {
                let rows = self.read_slots(self.slots.ids(of_slots));
                self.slots.batches[of_slots].get_or_init(|| rows).is_err()
            }
        };
        if self.queue.done(batch, failed) { Progress::AllAccounts } else { Progress::Some }
    }

    /// Stops reading: no further batch is taken, and tasks that wait for one get [`Fault::Cancelled`].
    pub fn stop(&self) {
        self.queue.stop();
    }

    /// The first error in reading order. Deterministic only once all readers are done.
    pub fn first_error(&self) -> Option<&StoreError> {
        self.accounts.first_error().or_else(|| self.slots.first_error())
    }

    /// An account of the parent state; blocks until it has been read.
    ///
    /// # Errors
    /// The store's, or [`Fault::Cancelled`] where reading stopped before this account.
    #[inline]
    pub fn account(&self, id: AccountId) -> Result<PrefetchedAccount, Fault> {
        let (batch, place) = self.accounts.find(id);
        let rows = match self.accounts.batches[batch].get() {
            Some(rows) => rows,
            None if self.on_demand => return self.read_one(&self.accounts, batch, Self::read_accounts),
            None => self.wait(&self.accounts.batches[batch], batch)?,
        };
        Ok(rows.as_ref().map_err(Clone::clone)?[place])
    }

    /// A slot of the parent state; blocks until it has been read.
    ///
    /// # Errors
    /// As [`Self::account`].
    #[inline]
    pub fn slot(&self, id: SlotId) -> Result<U256, Fault> {
        let (batch, place) = self.slots.find(id);
        let rows = match self.slots.batches[batch].get() {
            Some(rows) => rows,
            None if self.on_demand => return self.read_one(&self.slots, batch, Self::read_slots),
            None => self.wait(&self.slots.batches[batch], self.accounts.batches.len() + batch)?,
        };
        Ok(rows.as_ref().map_err(Clone::clone)?[place])
    }

    /// All accounts, by id of the list; blocks until they have been read.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn parents(&self) -> Result<Column<AccountId, ParentAccount>, Fault> {
        let parents: Result<Vec<_>, Fault> = self.bal.addresses().ids().map(|id| Ok(self.account(id)?.0)).collect();
        Ok(parents?.into())
    }

    /// All accounts and slots that have been read, by id of the list; the others have their default values.
    pub fn rows(&self) -> ListedParents {
        let accounts = self.bal.addresses().ids().map(|id| self.accounts.read(id).map(|(account, _)| account));
        let slots = self.bal.slot_keys().ids().map(|id| self.slots.read(id));
        ListedParents {
            accounts: accounts.map(Option::unwrap_or_default).collect::<Vec<_>>().into(),
            slots: slots.map(Option::unwrap_or_default).collect::<Vec<_>>().into(),
        }
    }

    /// Waits for a batch. If no reader has taken it yet, it is read next.
    #[cold]
    fn wait<'a, T>(
        &self,
        rows: &'a OnceLock<Result<Vec<T>, StoreError>>,
        batch: usize,
    ) -> Result<&'a Result<Vec<T>, StoreError>, Fault> {
        self.queue.wait(batch, || rows.get()).ok_or(Fault::Cancelled)
    }

    /// Reads one row for the calling task. Two tasks may read the same row at the same time. An error is returned to
    /// the task and not stored.
    fn read_one<I: Id, T: Copy>(
        &self,
        rows: &Rows<I, T>,
        batch: usize,
        read: impl Fn(&Self, &[I]) -> Result<Vec<T>, StoreError>,
    ) -> Result<T, Fault> {
        let row = read(self, rows.ids(batch))?[0];
        let _ = rows.batches[batch].set(Ok(vec![row]));
        Ok(row)
    }

    fn read_accounts(&self, ids: &[AccountId]) -> Result<Vec<PrefetchedAccount>, StoreError> {
        let addresses: Vec<_> = ids.iter().map(|id| self.bal.addresses()[*id]).collect();
        let mut accounts = vec![ParentAccount::default(); ids.len()];
        self.loader.store().accounts(&addresses, &mut accounts)?;
        let codes = self.loader.codes();
        let codes: Vec<CodeId> = accounts.iter().map(|account| codes.intern(account.code_hash)).collect();
        // In on-demand mode each code is loaded alone.
        if !self.on_demand {
            self.loader.note(ids.iter().copied().zip(codes.iter().copied()), &self.expectation);
        }
        Ok(accounts.into_iter().zip(codes).collect())
    }

    fn read_slots(&self, ids: &[SlotId]) -> Result<Vec<U256>, StoreError> {
        let bal = self.bal;
        let query =
            |id: &SlotId| SlotQuery { address: bal.addresses()[bal.slot_accounts()[*id]], key: bal.slot_keys()[*id] };
        let queries: Vec<SlotQuery> = ids.iter().map(query).collect();
        let mut values = vec![U256::ZERO; ids.len()];
        self.loader.store().slots(&queries, &mut values)?;
        Ok(values)
    }
}

/// For each account and slot, the first block access index that is known to need it: the index of its first change, or
/// of the first transaction sent to it. An account and its slots all get the minimum of their indices. `u32::MAX` where
/// the list gives no index.
fn first_needs(
    bal: &BalColumns,
    id_map: &IdMap,
    transactions: &Transactions,
) -> (Column<AccountId, u32>, Column<SlotId, u32>) {
    let first = |indices: &[BlockAccessIndex]| indices.first().map_or(u32::MAX, |index| index.0);
    let mut accounts: Column<AccountId, u32> = bal
        .addresses()
        .ids()
        .map(|id| {
            let fields = [bal.balances().indices(id), bal.nonces().indices(id), bal.codes().indices(id)];
            fields.into_iter().map(first).min().unwrap_or(u32::MAX)
        })
        .collect::<Vec<_>>()
        .into();
    let mut slots: Column<SlotId, u32> =
        bal.slot_keys().ids().map(|id| first(bal.storage().indices(id))).collect::<Vec<_>>().into();
    for (index, tx) in (1u32..).zip(transactions.rows()) {
        if let Some(id) = tx.to.as_ref().and_then(|to| id_map.account(to)) {
            accounts[id] = accounts[id].min(index);
        }
    }
    for (id, owner) in bal.slot_accounts().iter() {
        accounts[*owner] = accounts[*owner].min(slots[id]);
    }
    for (id, owner) in bal.slot_accounts().iter() {
        slots[id] = slots[id].min(accounts[*owner]);
    }
    (accounts, slots)
}

#[cfg(test)]
mod tests;
