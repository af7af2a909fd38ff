//! Prefetch: the parent state of a list's names, read in batches beside whoever needs it.
//!
//! In: a list, the targets of the block's transactions, a store. Out: rows, each from the moment its batch is there.
//! Accounts come before slots (the state root needs all of them); among each kind, what an early task needs comes first,
//! as far as the list tells: system calls, then by the first index that changes the name or the first transaction that
//! is sent to it, then the rest in list order. What a task has to wait for comes before all of that.
//!
//! Nobody can be stuck: readers wait for nothing but the store, tasks wait for readers only, asleep (`queue`). Readers are
//! not the threads that run tasks. Which batches there are, and the error reported of several
//! ([`Prefetch::first_error`]: the first in reading order, since all batches before a failed one are still read), depends
//! on block and store alone.
//! Codes are not part of this: an account arrives with the hash of its code (`code_loader`).
//! Not here: who reads, and when the tasks begin (the library's entry point).

mod queue;

use super::code_loader::{CodeLoader, Expectation};
use crate::arena::store::{ParentAccount, SlotQuery, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, SlotId};
use crate::bal::BalColumns;
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::wire::Transactions;
use alloy_primitives::U256;
use queue::Queue;
use std::sync::OnceLock;

/// Rows of one batch: enough that a call's own cost is shared by many, few enough that the first rows are soon there.
const BATCH: usize = 128;

/// An account of the parent state and the arena's id of its code.
pub type PrefetchedAccount = (ParentAccount, CodeId);

/// Rows of one kind: the order in which they are read, and their batches.
struct Rows<I, T> {
    /// Names in reading order.
    order: Vec<I>,
    /// Place of each name in it.
    places: Column<I, u32>,
    /// Names per batch.
    batch_len: usize,
    batches: Vec<OnceLock<Result<Vec<T>, StoreError>>>,
}

impl<I: Id, T: Copy> Rows<I, T> {
    /// Rows in ascending order of `first_need`.
    fn new(first_need: &Column<I, u32>, batch_len: usize) -> Self {
        let mut order: Vec<I> = first_need.ids().collect();
        order.sort_unstable_by_key(|id| (first_need[*id], *id));
        // Inside a batch in list order: a store then finds the slots of one account side by side.
        order.chunks_mut(batch_len).for_each(<[I]>::sort_unstable);
        let mut places = Column::from(vec![0; order.len()]);
        for (place, id) in order.iter().enumerate() {
            places[*id] = place as u32;
        }
        let batches = (0..order.len().div_ceil(batch_len)).map(|_| OnceLock::new()).collect();
        Self { order, places, batch_len, batches }
    }

    /// The batch of a name and its place in there.
    #[inline]
    fn find(&self, id: I) -> (usize, usize) {
        let place = self.places[id] as usize;
        (place / self.batch_len, place % self.batch_len)
    }

    /// The names of a batch.
    fn names(&self, batch: usize) -> &[I] {
        let start = batch * self.batch_len;
        &self.order[start..self.order.len().min(start + self.batch_len)]
    }

    fn first_error(&self) -> Option<&StoreError> {
        self.batches.iter().find_map(|batch| batch.get()?.as_ref().err())
    }
}

/// What reading one batch led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More rows are there.
    Some,
    /// The last account is there.
    AllAccounts,
    /// Nothing was left to read.
    Done,
}

/// The parent state of a list's names while it arrives.
pub struct Prefetch<'b> {
    bal: &'b BalColumns,
    loader: &'b CodeLoader<'b>,
    expectation: Expectation<'b>,
    accounts: Rows<AccountId, PrefetchedAccount>,
    slots: Rows<SlotId, U256>,
    /// Whether each task reads what it lacks itself, row by row.
    on_demand: bool,
    queue: Queue,
}

impl core::fmt::Debug for Prefetch<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arrivals").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Stops the arrivals when a reader panics, so that no task waits for it.
struct StopOnPanic<'a, 'b>(&'a Prefetch<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl<'b> Prefetch<'b> {
    /// Nothing read yet. `on_demand`: there are no readers, and each task reads its rows itself, one by one.
    pub fn new(
        bal: &'b BalColumns,
        names: &IdMap,
        transactions: &Transactions,
        loader: &'b CodeLoader<'b>,
        on_demand: bool,
    ) -> Self {
        let expectation = Expectation::new(bal, names, transactions);
        let (accounts, slots) = first_needs(bal, names, transactions);
        let batch_len = if on_demand { 1 } else { BATCH };
        let accounts = Rows::new(&accounts, batch_len);
        let slots = Rows::new(&slots, batch_len);
        let queue = Queue::new(accounts.batches.len(), slots.batches.len());
        Self { bal, loader, expectation, accounts, slots, on_demand, queue }
    }

    /// Number of batches.
    pub fn batch_count(&self) -> usize {
        self.accounts.batches.len() + self.slots.batches.len()
    }

    /// Reads the next batch. Any number of readers may do so at a time.
    pub fn read_next(&self) -> Progress {
        let Some(batch) = self.queue.take() else { return Progress::Done };
        let _guard = StopOnPanic(self);
        let failed = match batch.checked_sub(self.accounts.batches.len()) {
            None => {
                let rows = self.read_accounts(self.accounts.names(batch));
                self.accounts.batches[batch].get_or_init(|| rows).is_err()
            }
            Some(of_slots) => {
                let rows = self.read_slots(self.slots.names(of_slots));
                self.slots.batches[of_slots].get_or_init(|| rows).is_err()
            }
        };
        if self.queue.done(batch, failed) { Progress::AllAccounts } else { Progress::Some }
    }

    /// No batch is read any more; whoever waits for one is told so.
    pub fn stop(&self) {
        self.queue.stop();
    }

    /// The first error in reading order; to be asked when all readers are done.
    pub fn first_error(&self) -> Option<&StoreError> {
        self.accounts.first_error().or_else(|| self.slots.first_error())
    }

    /// An account of the parent state, awaited if need be.
    ///
    /// # Errors
    /// The store's, or [`Fault::Cancelled`] where the account is not read any more.
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

    /// A slot of the parent state, awaited if need be.
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

    /// All accounts, by id of the list; for when they are there.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn parents(&self) -> Result<Column<AccountId, ParentAccount>, Fault> {
        let parents: Result<Vec<_>, Fault> = self.bal.addresses().ids().map(|id| Ok(self.account(id)?.0)).collect();
        Ok(parents?.into())
    }

    /// Waits for a batch, ahead of its turn if no reader has it yet.
    #[cold]
    fn wait<'a, T>(
        &self,
        rows: &'a OnceLock<Result<Vec<T>, StoreError>>,
        batch: usize,
    ) -> Result<&'a Result<Vec<T>, StoreError>, Fault> {
        self.queue.wait(batch, || rows.get()).ok_or(Fault::Cancelled)
    }

    /// Reads one row for the task that asks. Two tasks may do so at a time; errors are not kept: they are the task's.
    fn read_one<I: Id, T: Copy>(
        &self,
        rows: &Rows<I, T>,
        batch: usize,
        read: impl Fn(&Self, &[I]) -> Result<Vec<T>, StoreError>,
    ) -> Result<T, Fault> {
        let row = read(self, rows.names(batch))?[0];
        let _ = rows.batches[batch].set(Ok(vec![row]));
        Ok(row)
    }

    fn read_accounts(&self, ids: &[AccountId]) -> Result<Vec<PrefetchedAccount>, StoreError> {
        let addresses: Vec<_> = ids.iter().map(|id| self.bal.addresses()[*id]).collect();
        let mut accounts = vec![ParentAccount::default(); ids.len()];
        self.loader.store().accounts(&addresses, &mut accounts)?;
        let codes = self.loader.codes();
        let codes: Vec<CodeId> = accounts.iter().map(|account| codes.intern(account.code_hash)).collect();
        // On demand each code is loaded alone.
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

/// For each account and slot, the first block access index that is known to need it: that of its first change, or of the
/// first transaction sent to it; a slot that is only read counts as its account. `u32::MAX` where the list does not tell.
fn first_needs(
    bal: &BalColumns,
    names: &IdMap,
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
        if let Some(id) = tx.to.as_ref().and_then(|to| names.account(to)) {
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
