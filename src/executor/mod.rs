//! The library's entry point: executes one block and checks it.
//!
//! In: the chain's rules, the block's RLP, its block access list if it has one, and a store with
//! the parent state. Out: a [`BlockOutcome`].
//!
//! [`Executor`] keeps threads, arenas and analysed codes from block to block. This is the one
//! module that uses both `exec` and `trie`, which may run in parallel. A [`BlockOutcome`] can only
//! be made from a [`Verified`] token, so no unverified state root is returned.
//! Not here: how a task runs (`exec`), how a state root is computed (`trie`), how a block access
//! list is decoded (`bal`).

mod build;
mod builder;
mod by_index;
mod check;
mod diagnose;
mod from_bal;
mod input;
mod job;
mod memory;
#[cfg(feature = "internals")]
mod observe;
mod optimistic;
mod outcome;
mod pool;
mod recover;
mod root;
mod sequential;
#[cfg(feature = "serde")]
mod serialize;
mod task;
mod timeline;
mod transact;
mod transition;
mod unverified;
mod window;

pub use build::BuiltBlock;
pub use builder::{BuildError, ExecutorBuilder};
pub use diagnose::{Diagnosis, Point};
pub use input::{BlockInput, Mode, Options, PrefetchStrategy};
pub use memory::MemoryUse;
pub use outcome::{BlockOutcome, Check, Incomplete, ParentReadCount, Unchecked};
pub use pool::{Binding, Pool, pool_builder};
pub use recover::Recovery;
pub use task::TaskOutcome;
pub use timeline::{Span, Stage};
pub use transact::Transacted;
pub use transition::{Body, Rejected, Rejection, Transition, TransitionInput};
pub use unverified::Unverified;
pub use window::Roots;

use crate::arena::code::CodeArena;
use crate::arena::store::{Guarded, StateStore};
use crate::bal::BalColumns;
use crate::exec::block::error::BlockError;
use crate::exec::block::optimistic::cost::speculation_pays;
use crate::exec::block::tasks::WorkerScratch;
use crate::exec::evm::ids::IdMap;
use crate::exec::interpreter::trace::TraceSink;
use crate::exec::wire::Block;
use crate::trie::StateTries;
use check::{check_parent_state, decode};
use job::{Job, ListHash};
use rayon::ThreadPool;
use root::undo_on_error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use timeline::Clock;
use window::ListMemory;

#[cfg(doc)]
use crate::exec::block::verify::Verified;

/// Executes blocks; keeps its threads, memory and codes from one to the next. All work is done on its pool and its reader
/// threads; rayon's global pool is not used.
#[derive(Debug)]
pub struct Executor {
    pool: Arc<ThreadPool>,
    /// Threads that wait for stores which are not resident; started for the first block with such a store.
    readers: Option<ThreadPool>,
    thread_name: String,
    code_bytes_max: usize,
    codes: CodeArena,
    scratches: Vec<Mutex<WorkerScratch>>,
    bal: BalColumns,
    id_map: IdMap,
    /// Lists of the blocks of a window.
    lists: Vec<ListMemory>,
    shuffle: Option<u64>,
    trace: Option<TraceSink>,
}

impl Executor {
    /// An executor with a pool of this many threads, at least one, and the defaults of [`ExecutorBuilder`].
    ///
    /// # Errors
    /// When the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Self, BuildError> {
        Self::builder().threads(threads).build()
    }

    /// Sets the thread pool, binding to processors, thread names and memory bounds of a new executor.
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::default()
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.scratches.len()
    }

    /// Runs `work` on the executor's threads.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Writes EIP-3155 trace lines of all transactions from now on to `sink`, with each
    /// transaction's summary line last; `None` ends tracing. In every mode a traced block runs its
    /// tasks sequentially, so that lines are written in block order and need no buffer. For an
    /// invalid block the lines up to the point where execution ended are written.
    pub fn trace_to(&mut self, sink: Option<TraceSink>) {
        self.trace = sink;
    }

    /// Executes one block and checks it against its header and its block access list.
    ///
    /// `tries` hold the parent's state, as of the last commit or with uncommitted updates of
    /// earlier blocks. If `input` has the parent's header, the tries' root is compared with its
    /// `state_root` before anything runs. The state root after the block is computed and checked;
    /// the tries then hold the block's update, uncommitted, on top of what was uncommitted before.
    /// The caller commits all of it ([`StateTries::commit`]) or undoes this block alone
    /// ([`StateTries::savepoint`] before the call, [`StateTries::rollback_to`] after it). `store`
    /// answers from the same state as the tries.
    ///
    /// The outcome proves that the block is valid only if all checks were made. [`BlockOutcome`]
    /// lists what they require; [`BlockOutcome::require_complete`] fails if one was not made.
    ///
    /// # Errors
    /// [`BlockError`]: the block is invalid, the store failed, the state is not the parent's, or
    /// the block was cancelled. The tries are then exactly as before the call, earlier uncommitted
    /// updates included.
    pub fn execute(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        tries: Option<&mut StateTries>,
        options: Options,
    ) -> Result<BlockOutcome, BlockError> {
        let clock = Clock::new(Instant::now());
        check_parent_state(input.parent, tries.as_deref())?;
        undo_on_error(tries, |tries| self.execute_on(input, store, tries, options, clock))
    }

    /// [`Self::execute`] after the check of the parent state. On an error the tries may hold a part
    /// of the block's update.
    fn execute_on(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        tries: Option<&mut StateTries>,
        options: Options,
        clock: Clock,
    ) -> Result<BlockOutcome, BlockError> {
        self.codes.evict(self.code_bytes_max);
        let store: &dyn StateStore = &Guarded { store, cancel: input.cancel };
        let reads = self.arrange_reads(input, store, options);
        let Self { pool, readers, codes, scratches, bal, id_map, shuffle, trace, .. } = self;
        let (readers, shuffle, trace) = (readers.as_ref(), *shuffle, trace.as_ref());
        let list_hash = ListHash::default();
        pool.install(|| {
            rayon::scope(|scope| {
                if matches!(options.mode, None | Some(Mode::Bal)) {
                    list_hash.begin(scope, input, &clock);
                }
                let start = clock.now();
                let (block, unchecked) =
                    decode(input).inspect_err(|_| list_hash.refused.store(true, Ordering::Relaxed))?;
                clock.record(Stage::Decode, start);
                let mode = options.mode.unwrap_or_else(|| mode_for(input, &block, scratches.len()));
                let Options { loop_kind, recovery, .. } = options;
                let job = Job {
                    input,
                    block: &block,
                    store,
                    codes,
                    mode,
                    loop_kind,
                    trace,
                    recovery,
                    clock: &clock,
                    list_hash: &list_hash,
                    shuffle,
                    reads,
                    readers,
                };
                match mode {
                    Mode::Bal => from_bal::execute(&job, tries, scratches, bal, id_map, unchecked),
                    Mode::Sequential => sequential::execute(&job, tries, &scratches[0], unchecked),
                    Mode::Optimistic => optimistic::execute(&job, tries, scratches, unchecked),
                }
            })
        })
    }

    /// The prefetch strategy of this block; starts the reader threads if it needs them. If the
    /// operating system cannot create them, the strategy is [`PrefetchStrategy::OnePass`].
    fn arrange_reads(&mut self, input: &BlockInput<'_>, store: &dyn StateStore, options: Options) -> PrefetchStrategy {
        let by_store = || if store.is_resident() { PrefetchStrategy::OnePass } else { PrefetchStrategy::Beside };
        let reads = options.parent_reads.unwrap_or_else(by_store);
        let may_read = input.bal.is_some() && matches!(options.mode, None | Some(Mode::Bal));
        if !reads.has_readers() || !may_read {
            return reads;
        }
        if self.readers.is_none() {
            let name = format!("{}-reader", self.thread_name);
            self.readers = pool_builder(from_bal::READERS, Binding::Never, &name).build().ok();
        }
        if self.readers.is_some() { reads } else { PrefetchStrategy::OnePass }
    }
}

/// The mode of a block for which the caller chose none.
fn mode_for(input: &BlockInput<'_>, block: &Block, threads: usize) -> Mode {
    if input.bal.is_some() {
        Mode::Bal
    } else if speculation_pays(threads, block.transactions.len(), block.header.gas_used) {
        Mode::Optimistic
    } else {
        Mode::Sequential
    }
}
