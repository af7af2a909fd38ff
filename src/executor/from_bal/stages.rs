//! The stages of a block after its list is decoded: reads of the parent state, sender recovery, tasks, state root.
//!
//! In: a [`DecodedList`], the parent's tries, memory of the workers. Out: [`Completed`], or an error of the store or of a
//! task.
//!
//! Once the parent accounts are read, the state root is computed from the list while senders are recovered and tasks
//! run. A resident store is read in one pass before that, by the threads of the block. Any other store is read in
//! parallel with everything else by reader threads, which wait for the store most of the time; they also compute the
//! state root, since it may read trie nodes from the store. [`PrefetchStrategy`] has other strategies, for comparison.
//! Reading an account gives the hash of its code; the code itself is loaded when a task needs it
//! (`exec::block::code_loader`).
//! Relies on: `exec::block` to run and verify the tasks, `root_task`.
//! Not here: checks of the header and the list's hash, and which of several errors is reported (`from_bal`).

use super::list::DecodedList;
use super::parent_state::read_pre_state;
use super::root_task::{RootResult, RootTask};
use crate::arena::cancel::CancelToken;
use crate::arena::store::{SlotQuery, StoreError};
use crate::bal::ListedParents;
use crate::exec::block::code_loader::{CodeLoader, Expectation};
use crate::exec::block::error::BlockError;
use crate::exec::block::prefetch::{Prefetch, Progress};
use crate::exec::block::providers::ParentRows;
use crate::exec::block::tasks::{Executed, WorkerScratch, run_with_list};
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::halt::Fault;
use crate::exec::senders::rows::SenderRows;
use crate::executor::input::PrefetchStrategy;
use crate::executor::job::Job;
use crate::executor::recover::Recovering;
use crate::executor::timeline::Stage;
use crate::trie::StateTries;
use rayon::ThreadPool;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock};

/// Number of reader threads, which is the number of concurrent calls to the store.
pub(in crate::executor) const READERS: usize = 8;

/// Result of the tasks.
type TasksResult = Result<(Executed, ListChecked), BlockError>;
/// Result of the tasks, and the parent state that was read for them.
type ReadResult = Result<((Executed, ListChecked), ListedParents), BlockError>;

/// A block whose tasks all ran and did what the list claims.
pub(super) struct Completed {
    pub(super) executed: Executed,
    pub(super) checked: ListChecked,
    pub(super) parents: ListedParents,
    /// `None` if the root task did not run.
    pub(super) root: Option<RootResult>,
}

/// What the stages of one block share.
pub(super) struct Stages<'a> {
    job: &'a Job<'a>,
    list: &'a DecodedList<'a>,
    scratches: &'a [Mutex<WorkerScratch>],
    loader: CodeLoader<'a>,
    root: RootTask<'a>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(
        job: &'a Job<'a>,
        list: &'a DecodedList<'a>,
        scratches: &'a [Mutex<WorkerScratch>],
        tries: Option<&'a mut StateTries>,
    ) -> Self {
        let loader = CodeLoader::new(job.store, job.codes);
        Self { job, list, scratches, loader, root: RootTask::new(job, list, tries) }
    }

    /// Runs all stages, with the parent state read as the block's [`PrefetchStrategy`] says.
    pub(super) fn run(self) -> Result<Completed, BlockError> {
        let result = match (self.job.reads, self.job.readers) {
            (PrefetchStrategy::OnePass, _) => self.read_in_one_pass(),
            (PrefetchStrategy::Before, Some(readers)) => self.read_before(readers),
            (PrefetchStrategy::Beside, Some(readers)) => self.read_beside(readers),
            (PrefetchStrategy::OnDemand, _) | (_, None) => self.read_on_demand(),
        };
        let ((executed, checked), parents) = result?;
        Ok(Completed { executed, checked, parents, root: self.root.into_result() })
    }

    /// Everything is read before the first task, by the threads of the block.
    fn read_in_one_pass(&self) -> ReadResult {
        let Self { job, list, .. } = self;
        let start = job.clock.now();
        let queries = self.announce()?;
        let pre = read_pre_state(job.store, job.codes, list.columns, &queries)?;
        if pre.codes.iter().any(|(_, code)| job.codes.get(*code).is_none()) {
            let expectation = Expectation::new(list.columns, list.id_map, &job.block.transactions);
            self.loader.note(pre.codes.iter().map(|(account, code)| (account, *code)), &expectation);
        }
        job.clock.record(Stage::Read, start);
        let tasks = rayon::scope(|scope| {
            scope.spawn(|_| self.root.run(&pre.parents.accounts));
            self.run_tasks(ParentRows::Known(&pre))
        })?;
        Ok((tasks, pre.parents))
    }

    /// Each task reads what it needs, row by row; the state root comes after the last task.
    fn read_on_demand(&self) -> ReadResult {
        self.announce()?;
        let prefetch = self.prefetch(true);
        let executed = self.run_tasks(ParentRows::Prefetching(&prefetch))?;
        match self.compute_root(&prefetch) {
            Ok(()) => Ok((executed, prefetch.rows())),
            Err(Fault::Store(error)) => Err(error.into()),
            Err(fault) => Err(BlockError::Cancelled(format!("while the parent state was read: {fault}"))),
        }
    }

    /// Everything is read before the first task, by reader threads.
    fn read_before(&self, readers: &ThreadPool) -> ReadResult {
        self.announce()?;
        let prefetch = &self.prefetch(false);
        readers.in_place_scope(|scope| {
            (0..reader_count(prefetch)).for_each(|_| scope.spawn(|_| self.read(prefetch, || ())));
        });
        let result = readers.in_place_scope(|scope| {
            if prefetch.first_error().is_none() {
                scope.spawn(|_| self.try_compute_root(prefetch));
            }
            self.run_tasks_beside_readers(prefetch)
        });
        first_error_or(prefetch, result)
    }

    /// Everything is announced and read by reader threads while the tasks run. The reader that completes the accounts
    /// computes the state root.
    fn read_beside(&self, readers: &ThreadPool) -> ReadResult {
        let prefetch = &self.prefetch(false);
        let compute_root = || self.try_compute_root(prefetch);
        let compute_root = &compute_root;
        let refused = OnceLock::new();
        let result = readers.in_place_scope(|scope| {
            scope.spawn(|scope| {
                if let Err(error) = self.announce() {
                    let _ = refused.set(error);
                    return prefetch.stop();
                }
                (0..reader_count(prefetch)).for_each(|_| scope.spawn(|_| self.read(prefetch, compute_root)));
                // Without accounts no reader completes them.
                if self.list.columns.account_count() == 0 {
                    scope.spawn(|_| compute_root());
                }
            });
            self.run_tasks_beside_readers(prefetch)
        });
        match refused.into_inner() {
            Some(error) => Err(error.into()),
            None => first_error_or(prefetch, result),
        }
    }

    /// Names the accounts and slots of the list to the store; returns the slots.
    fn announce(&self) -> Result<Vec<SlotQuery>, StoreError> {
        let columns = self.list.columns;
        let queries = columns.slot_queries();
        self.job.store.announce(columns.addresses().as_slice(), &queries)?;
        Ok(queries)
    }

    fn prefetch(&self, on_demand: bool) -> Prefetch<'_> {
        let DecodedList { columns, id_map, .. } = *self.list;
        Prefetch::new(columns, id_map, &self.job.block.transactions, &self.loader, on_demand)
    }

    /// Computes the state root once all parent accounts are read; waits for them.
    fn compute_root(&self, prefetch: &Prefetch<'_>) -> Result<(), Fault> {
        prefetch.parents().map(|parents| self.root.run(&parents))
    }

    /// [`Self::compute_root`] beside readers. An error here is dropped: [`first_error_or`] reports the first one.
    fn try_compute_root(&self, prefetch: &Prefetch<'_>) {
        let _ = self.compute_root(prefetch);
    }

    /// Reads batches and expected codes until none is left or the block is over; the work of one reader thread. Calls
    /// `all_accounts` if it completes the accounts.
    fn read(&self, prefetch: &Prefetch<'_>, all_accounts: impl Fn()) {
        let Self { job, loader, .. } = self;
        while !self.is_over() {
            let start = job.clock.now();
            let progress = prefetch.read_next();
            // Rows and codes alternate, since tasks wait for both; but the state root starts
            // before any code is loaded.
            let more_codes = progress != Progress::AllAccounts && loader.load_expected();
            if progress != Progress::Done || more_codes {
                job.clock.record(Stage::Read, start);
            }
            match progress {
                Progress::Done if !more_codes => return,
                Progress::Done | Progress::Some => {}
                Progress::AllAccounts => all_accounts(),
            }
        }
        prefetch.stop();
    }

    /// Whether the block is refused or cancelled, so that nothing more needs to be read.
    fn is_over(&self) -> bool {
        let is_refused = self.job.list_hash.refused.load(Ordering::Relaxed);
        is_refused || self.job.input.cancel.is_some_and(CancelToken::is_cancelled)
    }

    fn run_tasks_beside_readers(&self, prefetch: &Prefetch<'_>) -> TasksResult {
        let result = self.run_tasks(ParentRows::Prefetching(prefetch));
        self.loader.stop();
        result
    }

    /// Recovers the senders and runs and verifies all tasks.
    fn run_tasks(&self, parent: ParentRows<'_>) -> TasksResult {
        let Self { job, list, scratches, loader, .. } = self;
        let recovering = Recovering::new(job.input.rules, job.block, job.recovery_context(), 2 * scratches.len());
        let context = job.context(SenderRows::Arriving(&recovering.rows));
        let list = list.state(job, parent);
        let result = run_with_list(&context, &list, loader, scratches, &|| recovering.help(), job.clock.zero);
        recovering.check_complete()?;
        result
    }
}

/// No more readers than batches.
fn reader_count(prefetch: &Prefetch<'_>) -> usize {
    READERS.min(prefetch.batch_count())
}

/// An error of the store that a reader met precedes the result of the tasks, which may have waited for that read.
fn first_error_or(prefetch: &Prefetch<'_>, result: TasksResult) -> ReadResult {
    match prefetch.first_error() {
        Some(error) => Err(error.clone().into()),
        None => Ok((result?, prefetch.rows())),
    }
}
