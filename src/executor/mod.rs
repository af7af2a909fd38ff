//! The library's entry: rules, block bytes, list bytes and a store in, a proven outcome out.
//!
//! [`Executor`] keeps threads, arenas and analysed codes across blocks. `exec` and `trie` run side by side and meet
//! here; making a [`BlockOutcome`] consumes a [`Verified`] token, so that no unproven root gets out.
//! Not here: how a task runs (`exec`), how a root is made (`trie`), how a list is read (`bal`).

mod build;
mod by_index;
mod changes;
mod check;
mod diagnose;
mod input;
mod job;
mod list;
mod optimistic;
mod outcome;
mod pool;
mod recover;
mod root;
mod sequential;
mod timeline;
mod transact;

pub use build::{Body, BuiltBlock};
pub use changes::StateChanges;
pub use diagnose::{Diagnosis, Point};
pub use input::{BlockInput, Mode, Options, ParentReads};
pub use outcome::{BlockOutcome, Check, ParentReadCount, Unchecked};
pub use pool::pool_builder;
pub use recover::Recovery;
pub use timeline::{Span, Stage};
pub use transact::Transacted;

use crate::arena::code::CodeArena;
use crate::arena::store::{Guarded, StateStore};
use crate::bal::BalColumns;
use crate::exec::block::WorkerScratch;
use crate::exec::error::BlockError;
use crate::exec::interpreter::profile::{OpcodeProfile, WorkerProfile};
use crate::exec::optimistic::cost::speculation_pays;
use crate::exec::universe::Universe;
use crate::exec::wire::Block;
use crate::trie::StateTries;
use check::decode;
use job::{Job, ListHash};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;
use timeline::Clock;

#[cfg(doc)]
use crate::exec::verify::Verified;

/// Most bytes of analysed code kept from block to block (estimated).
const CODE_BYTES_KEPT: usize = 1 << 30;

/// Executes blocks; keeps its threads, memory and analysed codes from one to the next.
#[derive(Debug)]
pub struct Executor {
    pool: rayon::ThreadPool,
    /// Threads that wait for stores which are not resident; made when the first such store comes along.
    readers: Option<rayon::ThreadPool>,
    codes: CodeArena,
    scratches: Vec<Mutex<WorkerScratch>>,
    bal: BalColumns,
    names: Universe,
    shuffle: Option<u64>,
}

impl Executor {
    /// An executor with this many threads, at least one. On Linux, as many as the process has processors are bound to one
    /// each; fewer or more run wherever the system puts them.
    ///
    /// # Errors
    /// When the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = threads.max(1);
        Ok(Self {
            pool: pool_builder(threads).build()?,
            readers: None,
            codes: CodeArena::default(),
            scratches: (0..threads).map(|_| Mutex::default()).collect(),
            bal: BalColumns::default(),
            names: Universe::default(),
            shuffle: None,
        })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.scratches.len()
    }

    /// Codes seen so far.
    pub fn codes(&self) -> &CodeArena {
        &self.codes
    }

    /// Forgets all remembered hashes of mapping keys: the next block computes its own (benches).
    pub fn forget_hashes(&mut self) {
        for scratch in &mut self.scratches {
            scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).evm.forget_hashes();
        }
    }

    /// Counts and times instructions and precompiles from now on, until [`Self::take_profile`]. Blocks run slower. Where it
    /// is not `timed` they run in the form that is watched, but nothing is measured (see [`OpcodeProfile::untimed`]).
    pub fn start_profile(&mut self, timed: bool) {
        for scratch in &mut self.scratches {
            let opcodes = if timed { OpcodeProfile::default() } else { OpcodeProfile::untimed() };
            let profile = WorkerProfile { opcodes, ..WorkerProfile::default() };
            scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).start_profile(profile);
        }
    }

    /// What each worker measured since [`Self::start_profile`], by worker; empty where nothing was asked for. Runs that
    /// optimistic mode repeated count each time.
    pub fn take_profile(&mut self) -> Vec<WorkerProfile> {
        let scratches = self.scratches.iter_mut();
        scratches
            .filter_map(|scratch| scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take_profile())
            .collect()
    }

    /// Forgets all analysed codes: the next block runs on cold code.
    pub fn forget_codes(&mut self) {
        self.codes.evict(0);
    }

    /// Tests: tasks are taken in an order drawn from `seed`, not in that of the block.
    #[doc(hidden)]
    pub fn shuffle_tasks(&mut self, seed: Option<u64>) {
        self.shuffle = seed;
    }

    /// Executes one block and proves it against its header and its list.
    ///
    /// With `tries` (at the parent's root) the state root is computed and checked; they then hold the block's update,
    /// uncommitted: the caller commits it or rolls it back. Without them the state root stays unchecked, as the
    /// outcome says.
    ///
    /// # Errors
    /// [`BlockError`]: the block is invalid, the store failed, or the caller gave up. The tries are then as before.
    pub fn execute(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        mut tries: Option<&mut StateTries>,
        options: Options,
    ) -> Result<BlockOutcome, BlockError> {
        let clock = Clock::new(Instant::now());
        self.codes.evict(CODE_BYTES_KEPT);
        let store: &dyn StateStore = &Guarded { store, cancel: input.cancel };
        let reads = self.arrange_reads(input, store, options);
        let Self { pool, readers, codes, scratches, bal, names, shuffle } = self;
        let (readers, shuffle) = (readers.as_ref(), *shuffle);
        let list_hash = ListHash::default();
        let result = pool.install(|| {
            rayon::scope(|scope| {
                if matches!(options.mode, None | Some(Mode::Bal)) {
                    list_hash.begin(scope, input, &clock);
                }
                let start = clock.now();
                let (block, unchecked) =
                    decode(input).inspect_err(|_| list_hash.refused.store(true, Ordering::Relaxed))?;
                clock.record(Stage::Decode, start);
                let mode = options.mode.unwrap_or_else(|| mode_for(input, &block, scratches.len()));
                let Options { loop_kind, trace, recovery, .. } = options;
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
                    Mode::Bal => list::execute(&job, tries.as_deref_mut(), scratches, bal, names, unchecked),
                    Mode::Sequential => sequential::execute(&job, tries.as_deref_mut(), &scratches[0], unchecked),
                    Mode::Optimistic => optimistic::execute(&job, tries.as_deref_mut(), scratches, unchecked),
                }
            })
        });
        if result.is_err()
            && let Some(tries) = tries
        {
            tries.rollback();
        }
        result
    }

    /// How this block's parent state is read, with the readers that this takes. Where the system refuses them the threads
    /// of the block do without.
    fn arrange_reads(&mut self, input: &BlockInput<'_>, store: &dyn StateStore, options: Options) -> ParentReads {
        let by_store = || if store.is_resident() { ParentReads::OnePass } else { ParentReads::Beside };
        let reads = options.parent_reads.unwrap_or_else(by_store);
        let may_read = input.bal.is_some() && matches!(options.mode, None | Some(Mode::Bal));
        if !reads.has_readers() || !may_read {
            return reads;
        }
        if self.readers.is_none() {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(list::READERS);
            self.readers = builder.thread_name(|index| format!("balustrade-reader-{index}")).build().ok();
        }
        if self.readers.is_some() { reads } else { ParentReads::OnePass }
    }
}

/// The mode that a block calls for.
fn mode_for(input: &BlockInput<'_>, block: &Block, threads: usize) -> Mode {
    if input.bal.is_some() {
        Mode::Bal
    } else if speculation_pays(threads, block.transactions.len(), block.header.gas_used) {
        Mode::Optimistic
    } else {
        Mode::Sequential
    }
}
