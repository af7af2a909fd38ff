//! Several blocks with block access lists, executed together.
//!
//! In: consecutive blocks with their lists, the state before the first. Out: the outcome of each block that was proven, as
//! far as there was no error.
//!
//! The values before block *b* are the last ones in the lists below it, else those of the state before the first block
//! ([`state`]). So tasks of all blocks are run by one pool, those of the oldest block first, and a thread that finds no
//! task in a block goes on with the next one. State roots are computed in block order beside that, and each block is
//! verified as if it were executed alone (`run`).
//!
//! A block that cannot be executed here is left to [`Executor::execute`](super::Executor::execute), which also says why
//! a block is invalid: an error here only ends the window before its block.
//! Relies on: `from_bal` to decode a list, `exec::block::tasks` for the tasks of a block.
//! Not here: how many blocks are executed together, and keeping their outcomes (`db`).

mod run;
mod state;

use super::Executor;
use super::check::{check_body_roots, decode};
use super::from_bal::DecodedList;
use super::input::{BlockInput, Mode, Options, PrefetchStrategy};
use super::job::{Job, ListHash};
use super::outcome::{BlockOutcome, Unchecked};
use super::recover::Recovering;
use super::timeline::{Clock, Stage};
use crate::arena::code::CodeArena;
use crate::arena::heap::HeapBytes;
use crate::arena::path::NodeQuery;
use crate::arena::store::{Guarded, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::bal::BalColumns;
use crate::exec::block::code_loader::{CodeLoader, Expectation};
use crate::exec::block::providers::{ParentRows, PreState};
use crate::exec::block::tasks::{BlockTasks, WorkerScratch};
use crate::exec::evm::ids::IdMap;
use crate::exec::rules::fork::Fork;
use crate::exec::senders::rows::SenderRows;
use crate::exec::wire::{Block, Header};
use crate::trie::StateTries;
use alloy_primitives::{Address, B256, Bytes, U256};
use core::sync::atomic::{AtomicBool, Ordering};
use rayon::prelude::*;
use run::{Run, WindowBlock};
use state::MergedState;
use std::sync::Mutex;
use std::time::Instant;

/// Which state roots of a window are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// That of every block.
    #[default]
    Every,
    /// That of the last block, by one update with the changes of all blocks. It proves the state at the end. The outcomes
    /// of the blocks before name [`Check::StateRoot`](super::Check::StateRoot) as unchecked.
    Last,
}

/// Bytes of the columns of lists that are kept from window to window.
const LIST_BYTES_MAX: usize = 256 << 20;

/// Columns of a list and ids of its names; kept from window to window.
#[derive(Debug, Default)]
pub(super) struct ListMemory {
    columns: BalColumns,
    id_map: IdMap,
}

impl HeapBytes for ListMemory {
    fn heap_bytes(&self) -> usize {
        self.columns.heap_bytes() + self.id_map.heap_bytes()
    }
}

/// A block of a window, decoded. Its header is checked.
struct Decoded {
    block: Block,
    unchecked: Vec<Unchecked>,
    clock: Clock,
    list_hash: ListHash,
}

/// The store of a window: codes, trie nodes and hashes of blocks. Accounts and slots are read before the tasks; a later
/// question would need the state before its own block, so it ends the window.
struct WindowStore<'a> {
    base: &'a dyn StateStore,
    /// Number of the first block.
    first: u64,
    /// Hashes of the window's blocks.
    hashes: Vec<B256>,
}

impl WindowStore<'_> {
    fn not_here() -> StoreError {
        StoreError::Failed("accounts and slots are not read while a window of blocks runs".to_owned())
    }
}

impl StateStore for WindowStore<'_> {
    fn is_resident(&self) -> bool {
        self.base.is_resident()
    }
    fn accounts(&self, _: &[Address], _: &mut [ParentAccount]) -> Result<(), StoreError> {
        Err(Self::not_here())
    }
    fn slots(&self, _: &[SlotQuery], _: &mut [U256]) -> Result<(), StoreError> {
        Err(Self::not_here())
    }
    fn codes_are_checked(&self) -> bool {
        self.base.codes_are_checked()
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.base.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        for (number, out) in numbers.iter().zip(out) {
            let own = number.checked_sub(self.first).and_then(|row| self.hashes.get(usize::try_from(row).ok()?));
            match own {
                Some(hash) => *out = *hash,
                None => self.base.block_hashes(&[*number], core::slice::from_mut(out))?,
            }
        }
        Ok(())
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.base.trie_nodes(nodes, out)
    }
    fn is_cancelled(&self) -> bool {
        self.base.is_cancelled()
    }
}

impl Executor {
    /// Executes consecutive blocks with block access lists together, and checks each as [`Self::execute`] does. The
    /// first block's `parent` and the state in `store` and `tries` are as in `execute`; the parents of the other blocks
    /// are the blocks before them. Memory grows with the sum of the lists.
    ///
    /// Returns the outcomes of the first blocks, in order; the tries then hold the updates of exactly these, uncommitted.
    /// If there are fewer outcomes than blocks, the next block could not be proven here: it is invalid, has no list, is
    /// older than Cancun, or the store failed. [`Self::execute`] on the state after the last outcome decides, and returns
    /// the error. With [`Roots::Last`] there are
    /// outcomes only if all blocks up to the first without a list are proven.
    ///
    /// Times in an outcome count from the start of the window. `options.mode` and `options.parent_reads` are not used.
    /// With a trace ([`Self::trace_to`]) no block is executed.
    pub fn execute_window(
        &mut self,
        blocks: &[BlockInput<'_>],
        store: &dyn StateStore,
        tries: &mut StateTries,
        options: Options,
        roots: Roots,
    ) -> Vec<BlockOutcome> {
        let expected = blocks.first().and_then(|block| block.parent).map(|parent| parent.state_root);
        if self.trace.is_some() || expected.is_some_and(|root| root != tries.root()) {
            return Vec::new();
        }
        self.codes.evict(self.code_bytes_max);
        if self.lists.iter().map(HeapBytes::heap_bytes).sum::<usize>() > LIST_BYTES_MAX {
            self.lists.clear();
        }
        self.lists.resize_with(self.lists.len().max(blocks.len()), ListMemory::default);
        let Self { pool, codes, scratches, lists, shuffle, .. } = self;
        let cancel = blocks.first().and_then(|block| block.cancel);
        let store: &dyn StateStore = &Guarded { store, cancel };
        let window = Window { codes, scratches, shuffle: *shuffle, options, roots, zero: Instant::now() };
        pool.install(|| window.execute(blocks, store, tries, lists))
    }
}

/// What the blocks of a window share.
struct Window<'a> {
    codes: &'a CodeArena,
    scratches: &'a [Mutex<WorkerScratch>],
    shuffle: Option<u64>,
    options: Options,
    roots: Roots,
    zero: Instant,
}

impl Window<'_> {
    fn execute(
        &self,
        blocks: &[BlockInput<'_>],
        base: &dyn StateStore,
        tries: &mut StateTries,
        lists: &mut [ListMemory],
    ) -> Vec<BlockOutcome> {
        let blocks = &blocks[..count_until(blocks, |block| {
            let has_log = block.existence_log.is_some_and(|log| !log.is_empty());
            block.bal.is_some() && !has_log && block.rules.fork >= Fork::Cancun
        })];
        let headers: Vec<Header> = blocks.iter().map_while(|block| Header::of_block(&block.block).ok()).collect();
        let (Some(first), true) = (headers.first(), headers.len() == blocks.len() || self.roots == Roots::Every) else {
            return Vec::new();
        };
        let store = WindowStore { base, first: first.number, hashes: headers.iter().map(Header::hash).collect() };
        let inputs: Vec<BlockInput<'_>> = blocks
            .iter()
            .zip(&headers)
            .enumerate()
            .map(|(row, (block, _))| {
                let parent = row.checked_sub(1).map_or(block.parent, |before| Some(&headers[before]));
                BlockInput { parent, ..block.clone() }
            })
            .collect();
        let decoded: Vec<Decoded> = all_until_none(inputs.par_iter().map(|input| self.decode(input)));
        let jobs: Vec<Job<'_>> =
            inputs.iter().zip(&decoded).map(|(input, decoded)| self.job(input, decoded, &store)).collect();
        let lists: Vec<DecodedList<'_>> = all_until_none(jobs.par_iter().zip(&mut *lists).map(|(job, memory)| {
            check_body_roots(job).ok()?;
            let list = job.input.bal.as_ref()?;
            DecodedList::new(job, list, &mut memory.columns, &mut memory.id_map).ok()
        }));
        let batches = 2 * self.scratches.len();
        let recoverings: Vec<Recovering<'_>> = (jobs.par_iter().zip(&lists))
            .map(|(job, _)| Recovering::new(job.input.rules, job.block, job.recovery_context(), batches))
            .collect();
        let mut merged = MergedState::default();
        let states = self.beside_recovery(&recoverings, || {
            let start = decoded.first().map(|first| first.clock.now());
            let states = self.states(&mut merged, base, &lists);
            // For all blocks of the window, in the timeline of the first.
            decoded.first().zip(start).inspect(|(first, start)| first.clock.record(Stage::Read, *start));
            states
        });
        let Ok(states) = states else { return Vec::new() };
        if self.roots == Roots::Last && states.len() < blocks.len() {
            return Vec::new();
        }
        let loaders: Vec<CodeLoader<'_>> = states
            .par_iter()
            .zip(&jobs)
            .zip(&lists)
            .map(|((state, job), list)| {
                let loader = CodeLoader::new(&store, self.codes);
                if state.codes.as_slice().iter().any(|code| self.codes.get(*code).is_none()) {
                    let expectation = Expectation::new(list.columns, list.id_map, &job.block.transactions);
                    loader.note(state.codes.iter().map(|(account, code)| (account, *code)), &expectation);
                }
                loader
            })
            .collect();
        let contexts: Vec<_> = jobs
            .par_iter()
            .zip(&recoverings)
            .map(|(job, recovering)| job.context(SenderRows::Arriving(&recovering.rows)))
            .collect();
        let tasks: Vec<BlockTasks<'_>> = states
            .par_iter()
            .zip(&lists)
            .zip(&loaders)
            .zip(contexts.par_iter().zip(&jobs))
            .map(|(((state, list), loader), (context, job))| {
                let list = list.state(job, ParentRows::Known(state));
                BlockTasks::new(context, list, loader, self.scratches.len())
            })
            .collect();
        let parts = jobs.iter().zip(&lists).zip(&states).zip(&recoverings).zip(&decoded);
        let blocks: Vec<WindowBlock<'_>> = tasks
            .into_iter()
            .zip(parts)
            .map(|(tasks, ((((job, list), state), recovering), decoded))| WindowBlock {
                job,
                list,
                state,
                recovering,
                tasks,
                unchecked: &decoded.unchecked,
            })
            .collect();
        let merged = (self.roots == Roots::Last).then(|| merged.changes());
        let outcomes = Run::new(&blocks, tries, base, merged).outcomes(self.scratches, self.zero);
        // To return the memory of a window takes time, too.
        blocks.into_par_iter().for_each(drop);
        states.into_par_iter().for_each(drop);
        outcomes
    }

    /// Decodes a block and checks its header, and its list's hash.
    fn decode(&self, input: &BlockInput<'_>) -> Option<Decoded> {
        let clock = Clock::new(self.zero);
        let start = clock.now();
        let (block, unchecked) = decode(input).ok()?;
        clock.record(Stage::Decode, start);
        let (start, list_hash) = (clock.now(), ListHash::default());
        if let (Some(claimed), Some(list)) = (block.header.block_access_list_hash, &input.bal)
            && list_hash.of(list) != claimed
        {
            return None;
        }
        clock.record(Stage::ListHash, start);
        Some(Decoded { block, unchecked, clock, list_hash })
    }

    fn job<'b>(&'b self, input: &'b BlockInput<'b>, decoded: &'b Decoded, store: &'b dyn StateStore) -> Job<'b> {
        Job {
            input,
            block: &decoded.block,
            store,
            codes: self.codes,
            mode: Mode::Bal,
            loop_kind: self.options.loop_kind,
            trace: None,
            recovery: self.options.recovery,
            clock: &decoded.clock,
            list_hash: &decoded.list_hash,
            shuffle: self.shuffle,
            reads: PrefetchStrategy::OnePass,
            readers: None,
        }
    }

    /// The state before each block. All names are read in one batch. Fewer states than lists if a block's successors
    /// cannot be part of this window.
    fn states(
        &self,
        merged: &mut MergedState,
        base: &dyn StateStore,
        lists: &[DecodedList<'_>],
    ) -> Result<Vec<PreState>, StoreError> {
        let rows: Vec<_> = lists.iter().map(|list| merged.resolve(list.columns)).collect();
        merged.read(base)?;
        let mut states = Vec::with_capacity(lists.len());
        for (list, rows) in lists.iter().zip(&rows) {
            states.push(merged.pre_state(rows, self.codes));
            if !merged.advance(list.columns, &list.code_hashes, rows) {
                break;
            }
        }
        Ok(states)
    }

    /// Runs `other` on this thread while the other threads recover senders.
    fn beside_recovery<T>(&self, recoverings: &[Recovering<'_>], other: impl FnOnce() -> T) -> T {
        let is_done = AtomicBool::new(false);
        rayon::in_place_scope(|scope| {
            for _ in 1..self.scratches.len() {
                let is_done = &is_done;
                scope.spawn(move |_| {
                    let go_on = || !is_done.load(Ordering::Relaxed);
                    recoverings.iter().for_each(|recovering| recovering.help_while(go_on));
                });
            }
            let result = other();
            is_done.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// Number of first elements that all meet a condition.
fn count_until<T>(items: &[T], is_good: impl Fn(&T) -> bool) -> usize {
    items.iter().position(|item| !is_good(item)).unwrap_or(items.len())
}

/// The results before the first `None`.
fn all_until_none<T: Send>(items: impl IndexedParallelIterator<Item = Option<T>>) -> Vec<T> {
    let items: Vec<Option<T>> = items.with_max_len(1).collect();
    items.into_iter().map_while(|item| item).collect()
}
