//! The library's entry: rules, block bytes, list bytes and a store in, a proven outcome out.
//!
//! [`Executor`] keeps threads, arenas and analysed codes across blocks. `exec` and `trie` run side by side and meet
//! here; making a [`BlockOutcome`] consumes a [`Verified`] token, so that no unproven root gets out.
//! Not here: how a task runs (`exec`), how a root is made (`trie`), how a list is read (`bal`).

mod build;
mod by_index;
mod changes;
mod diagnose;
mod list;
mod optimistic;
mod outcome;
mod pool;
mod recover;
mod root;
mod sequential;
#[cfg(feature = "serde")]
mod serialize;
mod timeline;
mod transact;

pub use build::{Body, BuiltBlock};
pub use changes::StateChanges;
pub use diagnose::{Diagnosis, Point};
use list::ListHash;
pub use list::ParentReads;
pub use outcome::{BlockOutcome, Check, Incomplete, ParentReadCount, Unchecked};
pub use pool::pool_builder;
pub use recover::Recovery;
pub use timeline::{Span, Stage};
pub use transact::Transacted;

use crate::arena::BlockAccessIndex;
use crate::arena::code::CodeArena;
use crate::arena::store::{Guarded, StateStore};
use crate::bal::{BalColumns, Sidecar, SidecarColumns, SidecarFault};
use crate::exec::block::{BlockContext, WorkerScratch};
use crate::exec::cancel::CancelToken;
use crate::exec::error::{BlockError, InvalidBlock};
use crate::exec::fork::{ChainRules, Fork};
use crate::exec::header::{HeaderFault, check_against_parent, check_alone};
use crate::exec::interpreter::LoopKind;
use crate::exec::interpreter::profile::{OpcodeProfile, WorkerProfile};
use crate::exec::interpreter::trace::TraceSink;
use crate::exec::ommers::{Ancestry, check_ommers};
use crate::exec::optimistic::cost::speculation_pays;
use crate::exec::senders::SenderCache;
use crate::exec::signers::SignerRows;
use crate::exec::universe::Universe;
use crate::exec::wire::{Block, Header};
use crate::trie::{StateTries, ordered_root};
use alloy_primitives::Bytes;
use recover::Means;
use root::undo_on_error;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;
use timeline::Clock;

#[cfg(doc)]
use crate::exec::verify::Verified;

/// How a block's tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Mode {
    /// As equals, in parallel, from the block access list. The block must bring one.
    Bal,
    /// One after another, recording the list.
    Sequential,
    /// In parallel without a list: ahead of their turn, checked and, where need be, repeated in it; recording the list.
    Optimistic,
}

impl Mode {
    /// As the command line writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bal => "bal",
            Self::Sequential => "sequential",
            Self::Optimistic => "optimistic",
        }
    }
}

/// One block to execute.
#[derive(Clone, Debug)]
pub struct BlockInput<'a> {
    /// The rules in force for it.
    pub rules: &'a ChainRules,
    /// RLP of [header, transactions, ommers, withdrawals?].
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928). A block of an older fork may bring one, too.
    pub bal: Option<Bytes>,
    /// What the list cannot say about a block before Cancun (see [`Sidecar`]). A claim that is not canonical, that no
    /// execution produced, or that stands beside a later block makes the block invalid in every mode. Without a sidecar
    /// [`Mode::Bal`] takes the block for one without such events; the other modes record them and compare nothing.
    pub sidecar: Option<&'a Sidecar>,
    /// The parent's header; without it the rules that relate the two stay unchecked, and so does whether the state given
    /// is the parent's.
    pub parent: Option<&'a Header>,
    /// What the block's ommers are checked against; without it some of their rules stay unchecked.
    pub ancestry: Option<Ancestry<'a>>,
    /// Ommers that the body should have and lacks (some archives drop them): their rewards and hash stay unchecked. Has a
    /// meaning only for a block before the merge whose body has no ommers; of any other block the ommers are checked.
    pub ommers_omitted: bool,
    /// Who may stop the block while it runs.
    pub cancel: Option<&'a CancelToken>,
    /// Senders that the caller has recovered before, as a mempool has: those are not recovered again.
    pub known_senders: Option<&'a SenderCache>,
}

impl<'a> BlockInput<'a> {
    /// A block without a list, whose parent is not at hand.
    pub fn new(rules: &'a ChainRules, block: Bytes) -> Self {
        Self {
            rules,
            block,
            bal: None,
            sidecar: None,
            parent: None,
            ancestry: None,
            ommers_omitted: false,
            cancel: None,
            known_senders: None,
        }
    }

    /// The same with its block access list.
    pub fn with_list(self, bal: Bytes) -> Self {
        Self { bal: Some(bal), ..self }
    }

    /// The same with its parent's header.
    pub fn with_parent(self, parent: &'a Header) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// The same with what the caller knows of its senders.
    pub fn with_known_senders(self, known: &'a SenderCache) -> Self {
        Self { known_senders: Some(known), ..self }
    }

    /// The same with what its ommers are checked against.
    pub fn with_ancestry(self, ancestry: Ancestry<'a>) -> Self {
        Self { ancestry: Some(ancestry), ..self }
    }

    /// The same, to be stopped by this token.
    pub fn with_cancel(self, cancel: &'a CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }
}

/// How to execute it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How tasks run; without a word on it the block decides: [`Mode::Bal`] if it brings a list, else
    /// [`Mode::Optimistic`] where that can win (see [`speculation_pays`]), else [`Mode::Sequential`].
    pub mode: Option<Mode>,
    /// Which dispatch loop runs them.
    pub loop_kind: LoopKind,
    /// How the senders are recovered.
    pub recovery: Recovery,
    /// How [`Mode::Bal`] reads the parent state; without a word on it the store decides: [`ParentReads::OnePass`] where
    /// it is resident, else [`ParentReads::Beside`].
    pub parent_reads: Option<ParentReads>,
}

impl Options {
    /// The default loop in this mode.
    pub fn new(mode: Mode) -> Self {
        Self { mode: Some(mode), ..Self::automatic() }
    }

    /// The default loop in the mode that the block calls for.
    pub fn automatic() -> Self {
        Self { mode: None, loop_kind: LoopKind::default(), recovery: Recovery::default(), parent_reads: None }
    }
}

/// Most bytes of code, with decoded forms, kept from block to block (estimated).
const CODE_BYTES_KEPT: usize = 1 << 30;

/// Executes blocks; keeps its threads, memory and codes from one to the next.
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
    trace: Option<TraceSink>,
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
            trace: None,
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

    /// Forgets all codes: the next block asks the store for those that it runs.
    pub fn forget_codes(&mut self) {
        self.codes.evict(0);
    }

    /// Tests: tasks are taken in an order drawn from `seed`, not in that of the block.
    #[doc(hidden)]
    pub fn shuffle_tasks(&mut self, seed: Option<u64>) {
        self.shuffle = seed;
    }

    /// Writes the EIP-3155 lines of all transactions that run from now on to `sink`, each transaction's summary line last;
    /// without a sink none. A traced block runs one task after another in every mode, so that its lines come in block
    /// order and none is kept; a block that is refused leaves the lines up to where execution ended.
    pub fn trace_to(&mut self, sink: Option<TraceSink>) {
        self.trace = sink;
    }

    /// Executes one block and checks it against its header and its list.
    ///
    /// `tries` hold the parent's state: after the last commit, or after the updates of earlier blocks that are not
    /// committed yet. Where `input` gives the parent's header their root is compared with its `state_root` before anything
    /// runs. The state root after the block is computed and checked; the tries then hold the block's update, uncommitted,
    /// on top of what was uncommitted before. The caller commits all of it ([`StateTries::commit`]) or undoes this block
    /// alone ([`StateTries::savepoint`] before the call, [`StateTries::rollback_to`] after it). `store` answers from the
    /// same state as the tries.
    ///
    /// The outcome is a proof that the block is valid only if all checks were made: [`BlockOutcome`] says what that takes,
    /// [`BlockOutcome::require_complete`] demands it.
    ///
    /// # Errors
    /// [`BlockError`]: the block is invalid, the store failed, the state is not the parent's, or the caller gave up. The
    /// tries are then exactly as before the call, with whatever was uncommitted in them.
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

    /// [`Self::execute`], the state being the parent's; on an error the tries may hold a part of the block's update.
    fn execute_on(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        tries: Option<&mut StateTries>,
        options: Options,
        clock: Clock,
    ) -> Result<BlockOutcome, BlockError> {
        self.codes.evict(CODE_BYTES_KEPT);
        let store: &dyn StateStore = &Guarded { store, cancel: input.cancel };
        let reads = self.arrange_reads(input, store, options);
        let Self { pool, readers, codes, scratches, bal, names, shuffle, trace } = self;
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
                    Mode::Bal => list::execute(&job, tries, scratches, bal, names, unchecked),
                    Mode::Sequential => sequential::execute(&job, tries, &scratches[0], unchecked),
                    Mode::Optimistic => optimistic::execute(&job, tries, scratches, unchecked),
                }
            })
        })
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

/// Everything that the stages of one block share.
struct Job<'a> {
    input: &'a BlockInput<'a>,
    block: &'a Block,
    store: &'a dyn StateStore,
    codes: &'a CodeArena,
    mode: Mode,
    loop_kind: LoopKind,
    trace: Option<&'a TraceSink>,
    recovery: Recovery,
    clock: &'a Clock,
    list_hash: &'a ListHash,
    shuffle: Option<u64>,
    reads: ParentReads,
    readers: Option<&'a rayon::ThreadPool>,
}

impl Job<'_> {
    /// What the recovery of senders goes by.
    fn means(&self) -> Means<'_> {
        Means {
            cancel: self.input.cancel,
            known: self.input.known_senders,
            recovery: self.recovery,
            clock: Some(self.clock),
        }
    }

    /// What all tasks of the block share.
    fn context<'b>(&'b self, signers: SignerRows<'b>) -> BlockContext<'b> {
        let Self { input, block, loop_kind, trace, .. } = *self;
        let mut context = BlockContext::new(input.rules, block, signers, loop_kind).traced(trace);
        context.cancel = input.cancel;
        context
    }
}

/// The block access index of the work after the transactions.
fn last_index(tx_count: usize) -> BlockAccessIndex {
    BlockAccessIndex(u32::try_from(tx_count.saturating_add(1)).unwrap_or(u32::MAX))
}

/// The given sidecar by id of the given list, empty where one of them is missing.
///
/// # Errors
/// Why the sidecar is refused before the block runs.
fn resolve_sidecar(job: &Job<'_>, list: Option<&BalColumns>) -> Result<SidecarColumns, InvalidBlock> {
    let Some(sidecar) = job.input.sidecar else { return Ok(SidecarColumns::default()) };
    if job.input.rules.fork >= Fork::Cancun && !sidecar.is_empty() {
        return Err(InvalidBlock::Sidecar(SidecarFault::AfterCancun));
    }
    let last = last_index(job.block.transactions.len());
    let resolved = match list {
        Some(list) => sidecar.resolve(list, last),
        None => sidecar.check(last).map(|()| SidecarColumns::default()),
    };
    resolved.map_err(InvalidBlock::Sidecar)
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

/// Refuses tries that do not hold the state after the parent.
fn check_parent_state(parent: Option<&Header>, tries: Option<&StateTries>) -> Result<(), BlockError> {
    match (parent.map(|parent| parent.state_root), tries.map(StateTries::root)) {
        (Some(expected), Some(actual)) if expected != actual => Err(BlockError::ParentState { expected, actual }),
        _ => Ok(()),
    }
}

/// A block whose own header is in order, and what of that could not be checked.
fn decode(input: &BlockInput<'_>) -> Result<(Block, Vec<Unchecked>), BlockError> {
    let block = Block::decode(input.block.clone()).map_err(InvalidBlock::Wire)?;
    let mut unchecked = Vec::new();
    check_header(input, &block, &mut unchecked)?;
    Ok((block, unchecked))
}

fn check_header(input: &BlockInput<'_>, block: &Block, unchecked: &mut Vec<Unchecked>) -> Result<(), BlockError> {
    check_alone(input.rules, block).map_err(InvalidBlock::Header)?;
    match input.parent {
        Some(parent) => check_against_parent(input.rules, &block.header, parent).map_err(InvalidBlock::Header)?,
        None => {
            let reason = "the parent's header is not given";
            unchecked.push(Unchecked { check: Check::ParentRules, reason });
            unchecked.push(Unchecked { check: Check::ParentState, reason });
        }
    }
    if input.ommers_omitted && input.rules.fork < Fork::Paris && block.ommers.is_empty() {
        let reason = "the source dropped the ommers of this block";
        unchecked.push(Unchecked { check: Check::Ommers, reason });
        unchecked.push(Unchecked { check: Check::OmmerRules, reason });
    } else if block.ommers_hash() != block.header.ommers_hash {
        return Err(InvalidBlock::Header(HeaderFault::Ommers).into());
    } else if let Some(reason) = check_ommers(block, input.ancestry)
        .map_err(|(index, fault)| BlockError::from(InvalidBlock::Ommer { index, fault }))?
    {
        unchecked.push(Unchecked { check: Check::OmmerRules, reason });
    }
    if input.rules.fork < Fork::Paris {
        unchecked.push(Unchecked { check: Check::Seal, reason: "ethash is not verified" });
    }
    Ok(())
}

/// The roots that header and body must agree on; a task of its own beside execution.
fn check_body_roots(block: &Block) -> Result<(), HeaderFault> {
    let transactions: Vec<&[u8]> = (0..block.transactions.len())
        .map(|index| block.transactions.encoded(crate::arena::TxIndex(index as u32)))
        .collect();
    if ordered_root(&transactions) != block.header.transactions_root {
        return Err(HeaderFault::TransactionsRoot);
    }
    if let Some(root) = block.header.withdrawals_root {
        let withdrawals: Vec<&[u8]> = block.withdrawals_encoded().collect();
        if ordered_root(&withdrawals) != root {
            return Err(HeaderFault::WithdrawalsRoot);
        }
    }
    Ok(())
}
