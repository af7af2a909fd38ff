//! Runs blocks on the library's executor for all commands; they do not call it directly.
//!
//! In: the state at the head of a chain, a block's bytes, a mode. Out: the verified outcome, or the
//! reason of the rejection.
//! Relies on: `balustrade::Executor`. Not here: comparing the outcome with what a test or a user
//! expects.

use super::ModeArg;
use super::devnet::Devnet;
use super::hash_watch::HashWatch;
use super::output::{OutputError, OutputFile};
use super::trace::{Lines, Trace};
use alloy_primitives::{Address, B256, Bytes};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::cancel::CancelToken;
use balustrade::arena::store::{
    LatencyStore, MemoryStore, ParentAccount, SlotQuery, StateStore, StoreCounts, WitnessStore,
};
use balustrade::bal::ExistenceLog;
use balustrade::db::DiskOptions;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::interpreter::profile::WorkerProfile;
use balustrade::exec::interpreter::trace::TraceSink;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::ommers::{Ancestor, Ancestry};
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::{
    Body, BuiltBlock, Diagnosis, PrefetchStrategy, Recovery, TaskOutcome, Transacted, Unverified,
};
use balustrade::formats::{BlockTest, Bundle, BundleState, FixtureBlock};
use balustrade::trie::StateTries;
use balustrade::{
    Binding, BlockError, BlockInput, BlockOutcome, DbError, Executor, Mode, Options, ReplayError, StateChanges,
    StateDb, WindowOptions,
};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A block that the executor accepted, and how it was executed.
#[derive(Debug)]
pub struct Accepted {
    /// The mode that executed its transactions.
    pub mode: Mode,
    /// The verified outcome.
    pub outcome: BlockOutcome,
    /// Calls and items that a delayed store was asked for; `None` without [`Engine::latency`].
    pub store: Option<StoreCounts>,
    /// The lowest block number whose hash the block asked for (BLOCKHASH); `None` without [`Engine::watch_hashes`], or if
    /// it asked for none.
    pub lowest_hash: Option<u64>,
    /// Keccak-256 hash of the block's EIP-3155 lines, if it was traced.
    pub trace: Option<B256>,
}

impl Accepted {
    /// Returns the first kind of result in which two executions of one block differ, as a sentence.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (one, two) = (&self.outcome, &other.outcome);
        let what = if !one.receipts.iter().eq(two.receipts.iter()) {
            "receipts"
        } else if one.bal != two.bal {
            "the block access list"
        } else if one.gas != two.gas {
            "gas"
        } else if one.requests != two.requests {
            "requests"
        } else if one.state_root != two.state_root {
            "the state root"
        } else if one.existence_log != two.existence_log {
            "the existence log"
        } else if one.changes != two.changes {
            "the changes"
        } else if one.before != two.before {
            "the values before the block"
        } else if self.trace != other.trace {
            "the trace"
        } else {
            return None;
        };
        Some(format!("{} and {} differ in {what}", self.mode.name(), other.mode.name()))
    }
}

/// The block access list that is given with a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct List<'a> {
    /// RLP of the block access list (EIP-7928).
    pub bal: Option<&'a Bytes>,
    /// Existence log: what a block access list cannot express before Cancun.
    pub existence_log: Option<&'a ExistenceLog>,
}

impl List<'_> {
    /// Whether nothing has to be recorded for an execution from the list. Before Byzantium a block also needs an existence
    /// log.
    pub fn is_complete(&self, rules: &ChainRules) -> bool {
        self.bal.is_some() && (rules.fork >= Fork::Byzantium || self.existence_log.is_some())
    }
}

impl<'a> From<Option<&'a Bytes>> for List<'a> {
    fn from(bal: Option<&'a Bytes>) -> Self {
        Self { bal, existence_log: None }
    }
}

/// A block access list and an existence log that this value owns.
#[derive(Debug)]
pub struct OwnedList {
    bal: Bytes,
    existence_log: ExistenceLog,
}

impl OwnedList {
    /// A list and an existence log that are given; what is missing is empty.
    pub fn of(list: List<'_>) -> Self {
        Self {
            bal: list.bal.cloned().unwrap_or_default(),
            existence_log: list.existence_log.cloned().unwrap_or_default(),
        }
    }

    /// Borrows both, for an execution of their block.
    pub fn as_list(&self) -> List<'_> {
        List { bal: Some(&self.bal), existence_log: Some(&self.existence_log) }
    }
}

/// Why a block was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The block or its block access list is invalid.
    #[error("{what}")]
    Invalid {
        /// Description of the error with its location in the block.
        what: String,
        /// Names of the execution-spec-tests exceptions that describe the error.
        classes: Vec<&'static str>,
    },
    /// The environment failed, not the block: a store, the thread pool, an unsupported fork.
    #[error("{0}")]
    Host(String),
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Invalid(invalid) => {
                Self::Invalid { what: invalid.to_string(), classes: invalid.eest_classes() }
            }
            error => Self::Host(error.to_string()),
        }
    }
}

/// A chain at whose head blocks are executed.
#[derive(Debug)]
pub struct Chain {
    state: State,
    ommers_omitted: bool,
}

#[derive(Debug)]
enum State {
    /// A whole state, which blocks move forward.
    Db(Box<StateDb>),
    /// The parent state of a bundle's block.
    Bundle(Box<Parent>),
}

/// The parent of one block, of which parts may be missing.
#[derive(Debug)]
struct Parent {
    store: ParentStore,
    tries: Option<StateTries>,
    header: Option<Header>,
    /// The chain whose rules check ommers, where it is known.
    config: Option<ChainConfig>,
    ancestors: Vec<Ancestor>,
}

#[derive(Debug)]
enum ParentStore {
    Memory(MemoryStore),
    Witness(WitnessStore),
    Live(LiveStore),
}

/// A state that is read from elsewhere while a block runs.
struct LiveStore(Arc<dyn StateStore>);

impl std::fmt::Debug for LiveStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LiveStore").finish_non_exhaustive()
    }
}

impl ParentStore {
    /// In the form that the executor takes.
    fn as_dyn(&self) -> &dyn StateStore {
        match self {
            Self::Memory(store) => store,
            Self::Witness(store) => store,
            Self::Live(store) => &*store.0,
        }
    }
}

impl Chain {
    /// Creates a chain at a genesis with this state; `header` builds the genesis header from the
    /// state root.
    ///
    /// # Errors
    /// [`Failure::Host`]: the tries cannot be built.
    pub fn at_genesis(state: MemoryStore, header: impl FnOnce(B256) -> Header) -> Result<Self, Failure> {
        let db = StateDb::at_genesis(state, header).map_err(|error| Failure::Host(error.to_string()))?;
        // The commands revert no block.
        Ok(Self::of_db(db.with_window(0)))
    }

    /// Creates a chain at the head of a whole state.
    pub fn of_db(db: StateDb) -> Self {
        Self { state: State::Db(Box::new(db)), ommers_omitted: false }
    }

    /// Creates a chain at the genesis of a test.
    ///
    /// # Errors
    /// [`Failure::Host`]: the genesis does not decode, or its state root is not that of the test's
    /// pre-state.
    pub fn of_test(test: &BlockTest) -> Result<Self, Failure> {
        let genesis = genesis_of(test)?;
        let db = StateDb::in_memory(test.pre.clone(), genesis).map_err(of_genesis)?;
        Ok(Self::of_db(scheduled(db.with_window(0), test)))
    }

    /// Creates a chain at the genesis of a test, with its state on disk in the folder `path`.
    ///
    /// # Errors
    /// Those of [`Self::of_test`]; [`Failure::Host`]: the state cannot be written.
    pub fn of_test_on_disk(test: &BlockTest, path: &Path) -> Result<Self, Failure> {
        let (genesis, ids) = (genesis_of(test)?, (1, None));
        let db = StateDb::create_from(path, DiskOptions::default(), ids, &test.pre, genesis).map_err(of_genesis)?;
        Ok(Self::of_db(scheduled(db, test)))
    }

    /// Closes the state on disk in the folder `path`, which is this chain's, and opens it again.
    ///
    /// # Errors
    /// [`Failure::Host`]: the state cannot be read, or its head is not the one that was committed last.
    pub fn reopen(&mut self, test: &BlockTest, path: &Path) -> Result<(), Failure> {
        let host = |error: DbError| Failure::Host(error.to_string());
        let head = self.head_hash();
        // A folder has one state at a time.
        let closed = StateDb::at_genesis(MemoryStore::default(), |_| Header::default()).map_err(host)?;
        self.state = State::Db(Box::new(closed));
        let (db, _) = StateDb::open(path, DiskOptions::default()).map_err(host)?;
        self.state = State::Db(Box::new(scheduled(db, test)));
        if self.head_hash() == head {
            return Ok(());
        }
        Err(Failure::Host(format!("opened again, the head is {}, and block {head} was committed", self.head_hash())))
    }

    /// Creates a chain at the parent of a bundle's block, which cannot become the head.
    ///
    /// # Errors
    /// [`Failure::Host`]: the block's hash or the root of the pre-state is not the one that the
    /// file names, or the parent's header does not decode.
    pub fn of_bundle(bundle: &Bundle) -> Result<Self, Failure> {
        Self::of_bundle_with(bundle, None)
    }

    /// [`Self::of_bundle`] with this schedule in place of that of the bundle's chain.
    ///
    /// # Errors
    /// Those of [`Self::of_bundle`].
    pub fn of_bundle_with(bundle: &Bundle, config: Option<ChainConfig>) -> Result<Self, Failure> {
        // A block without a decodable header is an invalid block, which is found when it is
        // executed.
        if let Ok(header) = Header::of_block(&bundle.block)
            && header.hash() != bundle.hash
        {
            let (found, claimed) = (header.hash(), bundle.hash);
            return Err(Failure::Host(format!("holds block {found}, the file says {claimed}")));
        }
        let header = bundle.parent_header.as_ref().map(|rlp| Header::decode(rlp)).transpose();
        let header = header.map_err(|error| Failure::Host(format!("the parent's header: {error}")))?;
        let (store, tries) = match &bundle.state {
            BundleState::Witness { root, nodes, codes } => {
                let mut store = WitnessStore::new(*root, nodes.iter().cloned(), codes.iter().cloned());
                for (number, hash) in &bundle.block_hashes {
                    store.insert_block_hash(*number, *hash);
                }
                (ParentStore::Witness(store), Some(StateTries::from_root(*root)))
            }
            BundleState::Complete { store, root } => {
                (ParentStore::Memory(store.clone()), Some(tries_of(store, *root)?))
            }
            BundleState::Partial(store) => (ParentStore::Memory(store.clone()), None),
        };
        let config = config.or_else(|| ChainConfig::of_chain_id(bundle.chain_id));
        let parent = Parent { store, tries, header, config, ancestors: bundle.ancestors.clone() };
        Ok(Self { state: State::Bundle(Box::new(parent)), ommers_omitted: bundle.ommers_omitted > 0 })
    }

    /// Creates a chain at the parent, with this header, of one block, which cannot become the head. The store has the state
    /// after the parent, with its trie nodes; `ancestors` are the parent and those before it, as ommers need them.
    pub fn of_live(store: Arc<dyn StateStore>, header: Header, config: ChainConfig, ancestors: Vec<Ancestor>) -> Self {
        let tries = Some(StateTries::from_root(header.state_root));
        let store = ParentStore::Live(LiveStore(store));
        let parent = Parent { store, tries, header: Some(header), config: Some(config), ancestors };
        Self { state: State::Bundle(Box::new(parent)), ommers_omitted: false }
    }

    /// Hash of the head: the last block that was kept, or the genesis.
    pub fn head_hash(&self) -> B256 {
        match &self.state {
            State::Db(db) => db.head_hash(),
            State::Bundle(parent) => parent.header.as_ref().map_or(B256::ZERO, Header::hash),
        }
    }

    /// Header of the head; `None` for a bundle without its parent's header.
    pub fn head(&self) -> Option<&Header> {
        match &self.state {
            State::Db(db) => Some(db.head()),
            State::Bundle(parent) => parent.header.as_ref(),
        }
    }

    /// The whole state that blocks move forward.
    ///
    /// # Errors
    /// [`Failure::Host`]: the chain is the parent state of a bundle.
    pub fn db(&mut self) -> Result<&mut StateDb, Failure> {
        match &mut self.state {
            State::Db(db) => Ok(db),
            State::Bundle(_) => Err(Failure::Host("the parent state of a bundle has no block to keep or undo".into())),
        }
    }

    /// Writes the state of a store on disk, so that opening it applies no block of its log.
    ///
    /// # Errors
    /// [`Failure::Host`]: the state cannot be written.
    pub fn checkpoint(&mut self) -> Result<(), Failure> {
        self.db()?.checkpoint().map_err(|error| Failure::Host(error.to_string()))
    }

    /// Undoes all blocks above block `number`.
    ///
    /// # Errors
    /// [`Failure::Host`]: the values before these blocks are not kept.
    pub fn revert_to(&mut self, number: u64) -> Result<(), Failure> {
        self.db()?.revert_to(number).map_err(|error| Failure::Host(error.to_string()))
    }

    /// Hash of an ancestor of the head, if it is known.
    pub fn block_hash(&self, number: u64) -> Option<B256> {
        let mut hash = [B256::ZERO];
        self.store().block_hashes(&[number], &mut hash).ok().map(|()| hash[0])
    }

    /// The whole state at the head; `None` where only a witness is known.
    pub fn memory(&self) -> Option<&MemoryStore> {
        match &self.state {
            State::Db(db) => db.memory(),
            State::Bundle(parent) => match &parent.store {
                ParentStore::Memory(store) => Some(store),
                ParentStore::Witness(_) | ParentStore::Live(_) => None,
            },
        }
    }

    /// The code hash of each account; `KECCAK_EMPTY` where the store cannot answer.
    pub fn code_hashes(&self, addresses: &[Address]) -> Vec<B256> {
        let mut accounts = vec![ParentAccount::default(); addresses.len()];
        // One request per account: a witness may lack the paths of some accounts, and then a whole
        // batch fails.
        for (address, account) in addresses.iter().zip(&mut accounts) {
            if self.store().accounts(&[*address], core::slice::from_mut(account)).is_err() {
                *account = ParentAccount::default();
            }
        }
        accounts.into_iter().map(|account| account.code_hash).collect()
    }

    /// Returns the trie nodes for a block that reads these accounts and slots and makes these
    /// changes.
    ///
    /// # Errors
    /// [`Failure::Host`]: the chain has no tries, or the changes do not fit them.
    pub fn witness(
        &mut self,
        addresses: &[Address],
        slots: &[SlotQuery],
        changes: &StateChanges,
    ) -> Result<Vec<Bytes>, Failure> {
        let (store, tries) = self.parts();
        let tries = tries.ok_or_else(|| Failure::Host("a witness needs state tries".into()))?;
        tries.witness(store, addresses, slots, changes).map_err(|error| Failure::Host(error.to_string()))
    }

    /// The state at the head in the form that the executor takes.
    pub fn store(&self) -> &dyn StateStore {
        match &self.state {
            State::Db(db) => db.store(),
            State::Bundle(parent) => parent.store.as_dyn(),
        }
    }

    /// The state at the head and its tries, for work that leaves them as they are.
    fn parts(&mut self) -> (&dyn StateStore, Option<&mut StateTries>) {
        match &mut self.state {
            State::Db(db) => {
                let (store, tries) = db.parts();
                (store, Some(tries))
            }
            State::Bundle(parent) => (parent.store.as_dyn(), parent.tries.as_mut()),
        }
    }

    /// Executes a block on the head with `run`. If it is valid and `keep` is set, it becomes the head; the block of a
    /// bundle does not.
    fn execute(
        &mut self,
        input: &BlockInput<'_>,
        keep: bool,
        run: impl FnOnce(&BlockInput<'_>, &dyn StateStore, Option<&mut StateTries>) -> Result<BlockOutcome, BlockError>,
    ) -> Result<BlockOutcome, Failure> {
        let mut input = input.clone();
        input.ommers_omitted = self.ommers_omitted;
        match &mut self.state {
            State::Db(db) => {
                let outcome = db.execute_with(&input, |input, store, tries| run(input, store, Some(tries)))?;
                if keep {
                    db.commit(&outcome).map_err(|error| Failure::Host(error.to_string()))?;
                }
                Ok(outcome)
            }
            State::Bundle(parent) => {
                let Parent { store, tries, header, config, ancestors } = &mut **parent;
                input.parent = header.as_ref();
                input.ancestry = config.as_ref().map(|chain| Ancestry { chain, blocks: ancestors });
                let outcome = run(&input, store.as_dyn(), tries.as_mut())?;
                if let Some(tries) = tries {
                    tries.rollback();
                }
                Ok(outcome)
            }
        }
    }

    /// Returns the rules of a test's block by the number and time in its header; where the header
    /// does not decode, those of the next block after the head. `None` if the test's network is not
    /// supported.
    pub fn rules_of(&self, test: &BlockTest, block: &FixtureBlock) -> Option<ChainRules> {
        let network = test.network.as_ref()?;
        let (number, timestamp) = match (Header::of_block(&block.rlp), self.head()) {
            (Ok(header), _) => (header.number, header.timestamp),
            (Err(_), Some(head)) => (head.number.saturating_add(1), head.timestamp.saturating_add(1)),
            (Err(_), None) => (0, 0),
        };
        Some(network.rules(number, timestamp))
    }
}

/// The genesis header of a test.
fn genesis_of(test: &BlockTest) -> Result<Header, Failure> {
    let genesis = Block::decode(test.genesis.clone()).map_err(|error| Failure::Host(error.to_string()))?;
    Ok(genesis.header)
}

/// A state with the fork schedule of a test.
fn scheduled(db: StateDb, test: &BlockTest) -> StateDb {
    match &test.network {
        Some(network) => db.with_schedule(network.clone()),
        None => db,
    }
}

fn of_genesis(error: DbError) -> Failure {
    match error {
        DbError::StateRoot { expected, found, .. } => other_root(found, expected),
        error => Failure::Host(error.to_string()),
    }
}

/// Builds the tries of a whole state, whose root must equal `root` if one is given.
fn tries_of(store: &MemoryStore, root: Option<B256>) -> Result<StateTries, Failure> {
    let tries = StateTries::from_memory(store).map_err(|error| Failure::Host(error.to_string()))?;
    match root {
        Some(root) if root != tries.root() => Err(other_root(tries.root(), root)),
        _ => Ok(tries),
    }
}

fn other_root(found: B256, claimed: B256) -> Failure {
    Failure::Host(format!(
        "the pre-state has the root {found}, the file says {claimed}: it has to hold the state after the parent block"
    ))
}

/// The executor with its threads, arenas and analysed codes, which are reused for all blocks.
#[derive(Debug)]
pub struct Engine {
    executor: Executor,
    loop_kind: LoopKind,
    /// Target of EIP-3155 lines; `None`: executions are not traced.
    trace: Option<Arc<Mutex<Trace>>>,
    /// Time after which the execution of a block is cancelled; `None`: no limit.
    pub time_limit: Option<Duration>,
    /// Artificial delay of the store in executions; `None`: none.
    pub latency: Option<Latency>,
    /// Whether to note the block hashes that executions ask for.
    pub watch_hashes: bool,
    /// How `bal` mode reads the parent state; `None`: as [`Options::parent_reads`] says.
    pub parent_reads: Option<PrefetchStrategy>,
    /// How senders are recovered from signatures.
    pub recovery: Recovery,
}

fn lock(trace: &Mutex<Trace>) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Artificial delay of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Delay of each call.
    pub per_batch: Duration,
    /// Additional delay for each item of a call.
    pub per_item: Duration,
}

impl Latency {
    /// Parses `MICROS` or `MICROS,ITEM`: microseconds per call, and per item (default 0).
    ///
    /// # Errors
    /// One of them is not an unsigned integer.
    pub fn parse(text: &str) -> Result<Self, std::num::ParseIntError> {
        let (batch, item) = text.split_once(',').unwrap_or((text, "0"));
        let micros = |text: &str| text.parse().map(Duration::from_micros);
        Ok(Self { per_batch: micros(batch)?, per_item: micros(item)? })
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.per_batch.as_micros(), self.per_item.as_micros())
    }
}

impl Engine {
    /// Creates an engine with this many threads per block (`None`: one per processor) and this
    /// interpreter loop.
    ///
    /// # Errors
    /// [`Failure::Host`]: the system refuses the threads.
    pub fn new(threads: Option<u16>, loop_kind: LoopKind) -> Result<Self, Failure> {
        let available = || std::thread::available_parallelism().map_or(1, |count| count.get());
        let threads = threads.map_or_else(available, usize::from);
        let builder = Executor::builder().threads(threads).binding(Binding::OneEach);
        let executor = builder.build().map_err(|error| Failure::Host(error.to_string()))?;
        Ok(Self {
            executor,
            loop_kind,
            trace: None,
            time_limit: None,
            latency: None,
            watch_hashes: false,
            parent_reads: None,
            recovery: Recovery::default(),
        })
    }

    /// Clears the cache of Keccak hashes, which must not carry over from one timed execution of a
    /// block to the next.
    pub fn forget_hashes(&mut self) {
        self.executor.forget_hashes();
    }

    /// Number of threads per block.
    pub fn threads(&self) -> usize {
        self.executor.threads()
    }

    /// Writes EIP-3155 lines of all following executions to `lines`.
    pub fn start_trace(&mut self, lines: Lines) {
        self.trace = Some(Arc::new(Mutex::new(Trace::new(lines))));
    }

    /// Sets whether trace lines are written and hashed, or hashed only.
    pub fn write_trace(&mut self, written: bool) {
        if let Some(trace) = &self.trace {
            lock(trace).written = written;
        }
    }

    /// Ends the trace and completes its file.
    ///
    /// # Errors
    /// Some of its lines could not be written.
    pub fn finish_trace(&mut self) -> Result<(), OutputError> {
        self.executor.trace_to(None);
        match self.take_trace()? {
            Some(file) => file.finish().map(drop),
            None => Ok(()),
        }
    }

    /// Ends the trace and returns its file.
    fn take_trace(&mut self) -> Result<Option<OutputFile>, OutputError> {
        let trace = self.trace.take().and_then(Arc::into_inner);
        trace.map_or(Ok(None), |trace| trace.into_inner().unwrap_or_else(PoisonError::into_inner).into_file())
    }

    /// Executes a block sequentially until it ends or fails, and writes the EIP-3155 lines of its
    /// transaction `tx` to `file`, which is returned. The head does not change.
    ///
    /// # Errors
    /// A line could not be written.
    pub fn trace_transaction(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        tx: u32,
        file: OutputFile,
    ) -> Result<OutputFile, OutputError> {
        let path = file.path().to_owned();
        let outer = self.trace.take();
        self.start_trace(Lines::OneTransaction { tx, ended: 0, file });
        // The block was rejected before; the trace ends where it is rejected.
        let _ = self.execute(chain, rules, block, List::default(), Some(Mode::Sequential), false);
        self.executor.trace_to(None);
        let file = self.take_trace();
        self.trace = outer;
        // No other owner of the trace is left, so that its file is returned.
        file?.ok_or_else(|| OutputError { path, error: std::io::ErrorKind::BrokenPipe.into() })
    }

    /// Executes a valid block sequentially and returns the EIP-3155 lines of its transactions; `None`: they have more than
    /// `max` bytes. The head does not change.
    ///
    /// # Errors
    /// [`Failure`]: the block is invalid, or the environment failed.
    pub fn trace_block(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        list: List<'_>,
        max: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let outer = self.trace.take();
        self.start_trace(Lines::Memory { bytes: Vec::new(), max, is_cut: false });
        let run = self.execute_or_record(chain, rules, block, list, Some(Mode::Sequential), false);
        self.executor.trace_to(None);
        let trace = core::mem::replace(&mut self.trace, outer);
        let lines =
            trace.and_then(Arc::into_inner).map(|trace| trace.into_inner().unwrap_or_else(PoisonError::into_inner));
        run.map(|_| lines.and_then(Trace::into_memory))
    }

    /// Calls `run`, with tracing if it is on; returns its result and the hash of the lines.
    fn traced<T>(&mut self, run: impl FnOnce(&mut Executor) -> T) -> (T, Option<B256>) {
        self.executor.trace_to(self.trace.clone().map(TraceSink::new));
        let result = run(&mut self.executor);
        self.executor.trace_to(None);
        (result, self.trace.as_ref().map(|trace| lock(trace).take_hash()))
    }

    /// Counts instructions from now on and measures their time. With `timed` false the same form of
    /// the loop runs but measures nothing.
    pub fn start_profile(&mut self, timed: bool) {
        self.executor.start_profile(timed);
    }

    /// Returns what each worker measured since [`Self::start_profile`].
    pub fn take_profile(&mut self) -> Vec<WorkerProfile> {
        self.executor.take_profile()
    }

    /// Executes a block sequentially to count and time its instructions; the head does not change.
    ///
    /// # Errors
    /// [`Failure`]: the block is invalid, or the environment failed.
    pub fn watched(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        list: List<'_>,
    ) -> Result<Vec<WorkerProfile>, Failure> {
        self.start_profile(true);
        let run = self.execute_or_record(chain, rules, block, list, Some(Mode::Sequential), false);
        let workers = self.take_profile();
        run.map(|_| workers)
    }

    /// Claims the tasks of the following blocks in an order drawn from `seed`; with `None` in the
    /// usual order.
    pub fn shuffle_tasks(&mut self, seed: Option<u64>) {
        self.executor.shuffle_tasks(seed);
    }

    /// Clears the code cache: the next block reads its codes from the store.
    pub fn forget_codes(&mut self) {
        self.executor.forget_codes();
    }

    /// Length in bytes of the code with this hash, if it is in the code cache.
    pub fn code_len(&self, hash: B256) -> Option<usize> {
        let codes = self.executor.codes();
        codes.get(codes.intern(hash)).map(|code| code.bytes().len())
    }

    /// Builds and seals a block on the chain's head, which does not change. Ctrl-C cancels it; the
    /// time limit applies to executions only.
    ///
    /// # Errors
    /// [`Failure`]: a transaction is not valid in the block, the chain has no tries, or the build
    /// was cancelled.
    pub fn build<'b>(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        template: &Header,
        body: impl Into<Body<'b>>,
    ) -> Result<BuiltBlock, Failure> {
        let (store, tries) = chain.parts();
        let tries = tries.ok_or_else(|| Failure::Host("a build needs state tries".into()))?;
        let cancel = Some(super::interrupt::token());
        Ok(self.executor.build_body(rules, template, body.into(), store, tries, cancel)?)
    }

    /// [`Self::build`] on a whole state, with the executor's error, which has the place of an invalid transaction.
    ///
    /// # Errors
    /// Those of [`Executor::build_body`].
    pub fn build_on(
        &mut self,
        db: &mut StateDb,
        rules: &ChainRules,
        template: &Header,
        body: Body<'_>,
    ) -> Result<BuiltBlock, BlockError> {
        let (store, tries) = db.parts();
        self.executor.build_body(rules, template, body, store, tries, Some(super::interrupt::token()))
    }

    /// Runs only the transactions of a block on a state. If a transaction is not valid in the
    /// block, the returned root is that of the unchanged state.
    ///
    /// # Errors
    /// [`Failure::Host`]: the tries cannot be built.
    pub fn transact(
        &mut self,
        state: &MemoryStore,
        rules: &ChainRules,
        block: &Bytes,
    ) -> Result<(B256, Result<Transacted, Failure>), Failure> {
        let mut tries = tries_of(state, None)?;
        let root_before = tries.root();
        let cancel = self.cancel_token();
        let options = Options::new(Mode::Sequential).with_loop(self.loop_kind);
        let (result, _) =
            self.traced(|executor| executor.transact(rules, block.clone(), state, &mut tries, options, Some(&cancel)));
        let root = result.as_ref().map_or(root_before, |done| done.state_root);
        Ok((root, result.map_err(Failure::from)))
    }

    /// Builds the next block of the generated chain on the chain's head, which does not change.
    ///
    /// # Errors
    /// Those of [`Self::build`]; [`Failure::Host`] where the chain has no head.
    pub fn build_devnet(&mut self, chain: &mut Chain, devnet: &mut Devnet) -> Result<BuiltBlock, Failure> {
        let Some(template) = chain.head().map(Devnet::template) else {
            return Err(Failure::Host("the chain has no head to build on".into()));
        };
        let transactions = devnet.transactions(template.base_fee.unwrap_or_default());
        let body = Body { transactions: &transactions, withdrawals: &devnet.withdrawals(template.number) };
        self.build(chain, &Devnet::rules(), &template, body)
    }

    /// Returns the given block access list and existence log; what is missing is recorded by a
    /// sequential execution that does not change the head. Callers that execute a block many times
    /// in `bal` mode do this once.
    ///
    /// # Errors
    /// [`Failure`]: the block is invalid, or the environment failed.
    pub fn complete_list(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        given: List<'_>,
    ) -> Result<OwnedList, Failure> {
        let recorded = self.execute_or_record(chain, rules, block, given, Some(Mode::Sequential), false)?.outcome;
        Ok(OwnedList {
            bal: given.bal.cloned().unwrap_or(recorded.bal),
            existence_log: given.existence_log.cloned().unwrap_or(recorded.existence_log),
        })
    }

    /// Executes a block on the chain's head. Without a mode it runs in `bal` mode if it has a block
    /// access list, else in the mode that the cost model predicts to be faster. In `bal` mode a
    /// missing list is recorded first, outside the measured time. If the block is valid and `keep`
    /// is set, it becomes the head.
    ///
    /// Before Amsterdam the header does not commit to the list, so it may be recorded; from
    /// Amsterdam on it must be given.
    ///
    /// # Errors
    /// [`Failure`]; the chain is then unchanged.
    pub fn execute_or_record(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        list: List<'_>,
        mode: Option<Mode>,
        keep: bool,
    ) -> Result<Accepted, Failure> {
        let List { bal, existence_log } = list;
        let is_bal = mode.map_or(bal.is_some(), |mode| mode == Mode::Bal);
        // What is missing is recorded outside the measured time.
        if is_bal && rules.fork < Fork::Amsterdam && !list.is_complete(rules) {
            let nothing = List::default();
            let trace = self.trace.take();
            let recorded = self.execute(chain, rules, block, nothing, Some(Mode::Sequential), false);
            self.trace = trace;
            let recorded = recorded?.outcome;
            let list = List {
                bal: bal.or(Some(&recorded.bal)),
                existence_log: existence_log.or(Some(&recorded.existence_log)),
            };
            return self.execute(chain, rules, block, list, mode, keep);
        }
        self.execute(chain, rules, block, list, mode, keep)
    }

    /// Executes consecutive blocks on the chain's head and makes each the head, several at a time
    /// where they have block access lists; `done` takes each outcome. Ctrl-C cancels the window that
    /// runs.
    ///
    /// # Errors
    /// [`Failure`] of the first block that is not accepted; the blocks before it are kept.
    pub fn replay<'b>(
        &mut self,
        chain: &mut Chain,
        blocks: impl Iterator<Item = BlockInput<'b>>,
        window: WindowOptions,
        mut done: impl FnMut(Accepted),
    ) -> Result<(), Failure> {
        let options = Options::automatic().with_loop(self.loop_kind).with_recovery(self.recovery);
        let blocks = blocks.map(|block| block.with_cancel(super::interrupt::token()));
        for outcome in chain.db()?.replay(&mut self.executor, blocks, options, window) {
            let outcome = outcome.map_err(|error| match error {
                ReplayError::Block(error) => error.into(),
                error => Failure::Host(error.to_string()),
            })?;
            done(Accepted { mode: outcome.mode, outcome, store: None, lowest_hash: None, trace: None });
        }
        Ok(())
    }

    /// Executes the task at a block access index of the block on the chain's head, without the other tasks; `None`: the
    /// block has no such index.
    ///
    /// # Errors
    /// [`Failure`]: the task or the list is invalid, or the environment failed.
    pub fn execute_task(
        &mut self,
        chain: &Chain,
        rules: &ChainRules,
        block: &Bytes,
        list: List<'_>,
        index: BlockAccessIndex,
        keeps_calls: bool,
    ) -> Result<Option<TaskOutcome>, Failure> {
        let cancel = self.cancel_token();
        let mut input = BlockInput::new(rules, block.clone()).with_cancel(&cancel);
        (input.bal, input.existence_log) = (list.bal.cloned(), list.existence_log);
        input.ommers_omitted = chain.ommers_omitted;
        input.parent = chain.head();
        let options = Options::automatic().with_loop(self.loop_kind).with_recovery(self.recovery);
        let (result, _) =
            self.traced(|executor| executor.execute_task(&input, chain.store(), index, options, keeps_calls));
        Ok(result?)
    }

    /// Returns every point in which a block access list and the block's execution on the chain's
    /// head disagree.
    ///
    /// # Errors
    /// [`Failure`]: the block or its list does not decode, or the environment failed.
    pub fn diagnose(
        &mut self,
        chain: &Chain,
        rules: &ChainRules,
        block: &Bytes,
        bal: &Bytes,
    ) -> Result<Diagnosis, Failure> {
        let cancel = self.cancel_token();
        let input = BlockInput::new(rules, block.clone()).with_list(bal.clone()).with_cancel(&cancel);
        Ok(self.executor.diagnose(&input, chain.store())?)
    }

    /// Executes a block on the chain's head and compares the result with nothing; the head does not
    /// change.
    ///
    /// # Errors
    /// [`Failure`]: the block does not decode, a transaction is invalid, or the environment failed.
    pub fn unverified(&mut self, chain: &mut Chain, rules: &ChainRules, block: &Bytes) -> Result<Unverified, Failure> {
        let cancel = self.cancel_token();
        let input = BlockInput::new(rules, block.clone()).with_cancel(&cancel);
        let (store, tries) = chain.parts();
        Ok(self.executor.execute_unverified(&input, store, tries)?)
    }

    /// The token that Ctrl-C cancels, with the time limit counted from now on.
    fn cancel_token(&self) -> CancelToken {
        let token = super::interrupt::token();
        // A deadline that the clock cannot represent is never reached.
        let deadline = self.time_limit.and_then(|limit| Instant::now().checked_add(limit));
        deadline.map_or_else(|| token.clone(), |deadline| token.with_deadline(deadline))
    }

    fn execute(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        List { bal, existence_log }: List<'_>,
        mode: Option<Mode>,
        keep: bool,
    ) -> Result<Accepted, Failure> {
        let cancel = self.cancel_token();
        let mut input = BlockInput::new(rules, block.clone()).with_cancel(&cancel);
        input.bal = bal.cloned();
        input.existence_log = existence_log;
        let options = mode.map_or_else(Options::automatic, Options::new);
        let options =
            options.with_loop(self.loop_kind).with_parent_reads(self.parent_reads).with_recovery(self.recovery);
        let (latency, watch_hashes) = (self.latency, self.watch_hashes);
        let (mut store_counts, mut lowest_hash, mut trace) = (None, None, None);
        let outcome = chain.execute(&input, keep, |input, store, tries| {
            let delayed = latency.map(|Latency { per_batch, per_item }| LatencyStore::new(store, per_batch, per_item));
            let store = delayed.as_ref().map_or(store, |delayed| delayed as &dyn StateStore);
            let watch = watch_hashes.then(|| HashWatch::new(store));
            let store = watch.as_ref().map_or(store, |watch| watch as &dyn StateStore);
            let (result, hash) = self.traced(|executor| executor.execute(input, store, tries, options));
            (store_counts, trace) = (delayed.as_ref().map(LatencyStore::counts), hash);
            lowest_hash = watch.as_ref().and_then(HashWatch::lowest);
            result
        })?;
        Ok(Accepted { mode: outcome.mode, outcome, store: store_counts, lowest_hash, trace })
    }
}

/// The executions that `--mode` asks for; in the entry `None`, [`Engine::execute_or_record`]
/// chooses the mode.
pub const fn modes(mode: Option<ModeArg>) -> &'static [Option<Mode>] {
    match mode {
        None => &[None],
        Some(ModeArg::Bal) => &[Some(Mode::Bal)],
        Some(ModeArg::Sequential) => &[Some(Mode::Sequential)],
        Some(ModeArg::Optimistic) => &[Some(Mode::Optimistic)],
        Some(ModeArg::All) => &[Some(Mode::Sequential), Some(Mode::Optimistic), Some(Mode::Bal)],
    }
}
