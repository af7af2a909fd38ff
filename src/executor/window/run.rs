//! Tasks, state roots and checks of the blocks of a window, on the threads of one pool.
//!
//! In: the blocks, each with the state before it. Out: the outcomes of the first blocks that are proven.
//!
//! Each worker goes through the blocks in order and joins those that have tasks left. Between two blocks it computes the
//! next state root if none is being computed, and makes the last checks of blocks whose tasks and root are done. So no
//! thread waits at the end of a block.
//! Relies on: `BlockTasks` for the tasks of a block.
//! Not here: decoding and the states before each block (`window`).

use crate::arena::changes::StateChanges;
use crate::arena::store::StateStore;
use crate::bal::{self, ExistenceLog, ListedChanges};
use crate::exec::block::error::BlockError;
use crate::exec::block::providers::PreState;
use crate::exec::block::tasks::{BlockTasks, Executed, WorkerScratch};
use crate::exec::block::verify::{Claimed, ListChecked};
use crate::executor::from_bal::DecodedList;
use crate::executor::job::Job;
use crate::executor::outcome::{BlockOutcome, Candidate, ParentReadCount, Unchecked, seal};
use crate::executor::recover::Recovering;
use crate::executor::root::{Roots, update_tries};
use crate::executor::timeline::Stage;
use crate::trie::{Savepoint, StateTries};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use rayon::Yield;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A block of a window with everything that its tasks need.
pub(super) struct WindowBlock<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) list: &'a DecodedList<'a>,
    pub(super) state: &'a PreState,
    pub(super) recovering: &'a Recovering<'a>,
    pub(super) tasks: BlockTasks<'a>,
    /// Checks of the header that could not be made.
    pub(super) unchecked: &'a [Unchecked],
}

impl WindowBlock<'_> {
    fn listed(&self) -> ListedChanges<'_> {
        ListedChanges {
            bal: self.list.columns,
            existence_log: &self.list.existence_log,
            parents: &self.state.parents.accounts,
            code_hashes: &self.list.code_hashes,
            clears_storage: false,
        }
    }

    /// Makes the last checks.
    fn seal(&self, progress: Progress) -> Result<BlockOutcome, BlockError> {
        let Self { job, list, state, .. } = self;
        let Progress { executed: Some((executed, checked)), roots: Some(roots), changes, .. } = progress else {
            return Err(BlockError::Cancelled("a task of the block did not run".to_owned()));
        };
        self.recovering.check_complete()?;
        let columns = list.columns;
        let changes = changes.unwrap_or_else(|| Claimed::new(bal::reduce(&self.listed()))).release(&checked);
        seal(
            job,
            Candidate {
                executed,
                reads: ParentReadCount { accounts: columns.account_count(), slots: columns.slot_count() },
                bal: job.input.bal.clone().unwrap_or_default(),
                existence_log: ExistenceLog::default(),
                changes,
                columns,
                parents: &state.parents,
                roots,
                checked,
                unchecked: self.unchecked.to_vec(),
            },
        )
    }
}

/// What is known of a block so far.
#[derive(Default)]
struct Progress {
    executed: Option<(Executed, ListChecked)>,
    roots: Option<Roots>,
    /// Changes that the root was computed from.
    changes: Option<Claimed<StateChanges>>,
    outcome: Option<BlockOutcome>,
}

/// The state roots, in block order.
struct RootChain<'a> {
    tries: &'a mut StateTries,
    /// The block whose root is next.
    next: usize,
    /// The tries before each block so far.
    before: Vec<Savepoint>,
}

/// The run of all blocks of a window.
pub(super) struct Run<'a> {
    blocks: &'a [WindowBlock<'a>],
    /// Supplies trie nodes.
    store: &'a dyn StateStore,
    chain: Mutex<RootChain<'a>>,
    /// The changes of all blocks, if only the last root is computed.
    merged: Option<StateChanges>,
    progress: Vec<Mutex<Progress>>,
    /// Blocks whose tasks and root are done, and whose last checks no worker has begun.
    ready: Mutex<Vec<usize>>,
    /// The lowest block that failed so far, else the number of blocks.
    end: AtomicUsize,
    /// Number of outcomes.
    sealed: AtomicUsize,
    /// A worker panicked: the others stop, so that the panic reaches the caller.
    aborted: AtomicBool,
}

impl<'a> Run<'a> {
    /// With `merged` only the root after the last block is computed.
    pub(super) fn new(
        blocks: &'a [WindowBlock<'a>],
        tries: &'a mut StateTries,
        store: &'a dyn StateStore,
        merged: Option<StateChanges>,
    ) -> Self {
        let before = vec![tries.savepoint()];
        Self {
            blocks,
            store,
            chain: Mutex::new(RootChain { tries, next: 0, before }),
            merged,
            progress: blocks.iter().map(|_| Mutex::default()).collect(),
            ready: Mutex::default(),
            end: AtomicUsize::new(blocks.len()),
            sealed: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
        }
    }

    /// Runs everything on the threads of the current pool. The tries then hold the updates of the blocks whose outcomes
    /// are returned.
    pub(super) fn outcomes(self, scratches: &[Mutex<WorkerScratch>], clock: Instant) -> Vec<BlockOutcome> {
        // One worker for each thread of the pool: a thread that waits for a part of a state root must not begin the work
        // of another one, which would wait for that root.
        rayon::broadcast(|thread| {
            let _abort = AbortOnPanic(&self.aborted);
            self.work(thread.index(), &scratches[thread.index()], clock);
        });
        let Self { blocks, chain, merged, progress, .. } = self;
        let RootChain { tries, before, .. } = chain.into_inner().unwrap_or_else(PoisonError::into_inner);
        let progress =
            progress.into_iter().map(|progress| progress.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut outcomes: Vec<BlockOutcome> = progress.map_while(|progress| progress.outcome).collect();
        if merged.is_some() && outcomes.len() < blocks.len() {
            outcomes.clear();
        }
        if outcomes.len() < blocks.len()
            && let Some(savepoint) = before.get(outcomes.len())
        {
            // Cannot fail: the savepoint is one of these tries, and nothing was committed since.
            let _ = tries.rollback_to(*savepoint);
        }
        outcomes
    }

    /// The work of one thread.
    fn work(&self, worker: usize, scratch: &Mutex<WorkerScratch>, clock: Instant) {
        for (row, block) in self.blocks.iter().enumerate() {
            if row >= self.end() {
                break;
            }
            self.next_root(row);
            self.seal_ready();
            if block.tasks.join(worker, scratch, || block.recovering.help(), clock) {
                match block.tasks.finish() {
                    Ok(executed) => self.advance(row, |progress| progress.executed = Some(executed)),
                    Err(_) => self.fail(row),
                }
            }
        }
        while !self.is_over() {
            if !self.seal_ready() && !self.next_root(self.blocks.len()) && rayon::yield_now() != Some(Yield::Executed) {
                std::thread::yield_now();
            }
        }
    }

    /// The lowest block that failed so far, else the number of blocks.
    fn end(&self) -> usize {
        self.end.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        let end = self.end();
        self.aborted.load(Ordering::Relaxed)
            || if end == self.blocks.len() {
                self.sealed.load(Ordering::Acquire) == end
            } else {
                (0..end).all(|row| self.lock(row).outcome.is_some())
            }
    }

    fn lock(&self, row: usize) -> MutexGuard<'_, Progress> {
        self.progress[row].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the window before this block.
    fn fail(&self, row: usize) {
        self.end.fetch_min(row, Ordering::AcqRel);
        self.blocks[row..].iter().for_each(|block| block.job.list_hash.refused.store(true, Ordering::Relaxed));
    }

    /// Notes a result of a block. The last checks can be made when the tasks and the root are done.
    fn advance(&self, row: usize, note: impl FnOnce(&mut Progress)) {
        let mut progress = self.lock(row);
        note(&mut progress);
        if progress.executed.is_some() && progress.roots.is_some() {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        }
    }

    /// Makes the last checks of the lowest block that is ready. Returns false if none is.
    fn seal_ready(&self) -> bool {
        let row = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(place) = (0..ready.len()).min_by_key(|place| ready[*place]) else { return false };
            ready.swap_remove(place)
        };
        let progress = core::mem::take(&mut *self.lock(row));
        match self.blocks[row].seal(progress) {
            Ok(outcome) => {
                self.lock(row).outcome = Some(outcome);
                self.sealed.fetch_add(1, Ordering::AcqRel);
            }
            Err(_) => self.fail(row),
        }
        true
    }

    /// Computes the next state root if it is that of block `last` or of one before, and no other thread computes one.
    fn next_root(&self, last: usize) -> bool {
        let Ok(mut chain) = self.chain.try_lock() else { return false };
        let row = chain.next;
        if row > last || row >= self.end() {
            return false;
        }
        chain.next = row + 1;
        let chain = &mut *chain;
        match &self.merged {
            None => self.root_of(row, chain),
            Some(changes) => {
                chain.next = self.blocks.len();
                self.last_root(changes, chain);
            }
        }
        true
    }

    fn root_of(&self, row: usize, chain: &mut RootChain<'_>) {
        let WindowBlock { job, .. } = self.blocks[row];
        let start = job.clock.now();
        let tx_count = job.block.transactions.len();
        let tries = Some(&mut *chain.tries);
        match update_tries(job.input.rules, tx_count, self.store, &self.blocks[row].listed(), tries) {
            Ok((changes, roots)) => {
                chain.before.push(chain.tries.savepoint());
                job.clock.record(Stage::Root, start);
                self.advance(row, |progress| (progress.changes, progress.roots) = (Some(changes), Some(roots)));
            }
            Err(_) => self.fail(row),
        }
    }

    fn last_root(&self, changes: &StateChanges, chain: &mut RootChain<'_>) {
        match chain.tries.update(changes, self.store) {
            Ok(root) => {
                let last = self.blocks.len() - 1;
                let without_state = "only the root after the last block of the window is computed";
                let none = || Roots { without_state, ..Roots::default() };
                (0..last).for_each(|row| self.advance(row, |progress| progress.roots = Some(none())));
                let roots = Roots { state: Some(root), ..Roots::default() };
                self.advance(last, |progress| progress.roots = Some(roots));
            }
            Err(_) => self.fail(0),
        }
    }
}

/// Stops the other workers if this one panics.
struct AbortOnPanic<'a>(&'a AtomicBool);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
