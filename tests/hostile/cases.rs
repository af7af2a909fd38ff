//! Blocks with their parent states, from `tests/data` and from the suites of the shared folder: Amsterdam blocks with
//! their block access lists, and older blocks, whose lists and existence logs must be recorded first.

use alloy_primitives::Bytes;
use balustrade::arena::store::{MemoryStore, WitnessStore};
use balustrade::bal::ExistenceLog;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::formats::{BlockTest, Bundle, BundleState, Content, Document, each_document, read_document};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, Executor, Mode, Options};
pub use balustrade_cli::testing::{shared, stored};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A block, its list and its existence log.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    /// Whether it is valid on the head of its chain.
    pub valid: bool,
    /// RLP of the block.
    pub rlp: Bytes,
    /// RLP of its list; empty if the list must be recorded first.
    pub bal: Bytes,
    /// Creations and deletions of empty accounts, which a list cannot express; `None` for blocks of Cancun and later.
    pub existence_log: Option<ExistenceLog>,
}

/// A state and the blocks that are executed on it, one after another.
#[derive(Debug)]
pub struct Chain {
    /// Name of the test or bundle.
    pub name: String,
    /// Rules of all its blocks.
    pub rules: ChainRules,
    /// State after the head.
    pub store: MemoryStore,
    /// Tries of `store`.
    pub tries: StateTries,
    /// Whether the state is complete. If not, `tries` are not used and roots stay unchecked.
    pub is_complete: bool,
    /// Header of the head, if it is known.
    pub head: Option<Header>,
    /// Remaining blocks, in order; an invalid one leaves the head as it is.
    pub blocks: Vec<ListedBlock>,
}

impl Chain {
    /// Takes the blocks and returns the valid ones.
    pub fn take_valid(&mut self) -> Vec<ListedBlock> {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.retain(|block| block.valid);
        blocks
    }

    /// The executor's input for a block on the head.
    pub fn input<'a>(&'a self, block: &'a ListedBlock) -> BlockInput<'a> {
        let mut input = BlockInput::new(&self.rules, block.rlp.clone()).with_list(block.bal.clone());
        input.existence_log = block.existence_log.as_ref();
        input.parent = self.head.as_ref();
        input
    }

    /// The block with the list and the existence log that its execution on the head records.
    pub fn record(&mut self, executor: &mut Executor, block: &ListedBlock) -> Result<ListedBlock, BlockError> {
        let mut input = self.input(block);
        (input.bal, input.existence_log) = (None, None);
        let outcome = executor.execute(&input, &self.store, None, Options::new(Mode::Sequential))?;
        Ok(ListedBlock { bal: outcome.bal, existence_log: Some(outcome.existence_log), ..block.clone() })
    }

    /// Executes a valid block in sequential mode and makes it the head.
    pub fn advance(&mut self, executor: &mut Executor, block: &ListedBlock) -> Result<(), BlockError> {
        let mut tries = std::mem::replace(&mut self.tries, StateTries::empty());
        let given = self.is_complete.then_some(&mut tries);
        let result = executor.execute(&self.input(block), &self.store, given, Options::new(Mode::Sequential));
        self.tries = tries;
        let outcome = result?;
        self.tries.commit();
        outcome.changes.apply_to(&mut self.store);
        self.store.insert_block_hash(outcome.number, outcome.hash);
        self.head = Header::of_block(&block.rlp).ok();
        Ok(())
    }
}

/// Is called with chain after chain until it breaks.
pub type Visit<'a> = &'a mut dyn FnMut(Chain) -> ControlFlow<()>;

/// Selects blocks by fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Blocks of Amsterdam.
    Amsterdam,
    /// Blocks before Cancun.
    PreCancun,
}

impl Age {
    fn selects(self, fork: Fork) -> bool {
        match self {
            Self::Amsterdam => fork == Fork::Amsterdam,
            Self::PreCancun => fork < Fork::Cancun,
        }
    }
}

/// One block test; `None` for networks that are not one selected fork.
fn chain_of_test(age: Age, test: BlockTest) -> Option<Chain> {
    Fork::from_name(&test.network_name).filter(|fork| age.selects(*fork))?;
    let head = Header::of_block(&test.genesis).ok()?;
    let rules = test.network.as_ref()?.rules(head.number, head.timestamp);
    let mut store = test.pre;
    store.insert_block_hash(head.number, head.hash());
    let blocks = test.blocks.into_iter().filter_map(|block| {
        let bal = match age {
            Age::Amsterdam => block.bal?,
            Age::PreCancun => Bytes::new(),
        };
        Some(ListedBlock { valid: block.expect_exception.is_none(), rlp: block.rlp, bal, existence_log: None })
    });
    let blocks: Vec<_> = blocks.collect();
    let tries = StateTries::from_memory(&store).ok()?;
    Some(Chain { name: test.name, rules, store, tries, is_complete: true, head: Some(head), blocks })
}

/// The block of a bundle with a flat pre-state; `None` for forks that are not selected, and for blocks whose ommers are
/// missing.
fn chain_of_bundle(age: Age, bundle: Bundle) -> Option<Chain> {
    let rules = bundle.rules.filter(|rules| age.selects(rules.fork) && bundle.ommers_omitted == 0)?;
    let (store, is_complete) = match bundle.state {
        BundleState::Complete { store, .. } => (store, true),
        BundleState::Partial(store) => (store, false),
        BundleState::Witness { .. } => return None,
    };
    let head = bundle.parent_header.and_then(|header| Header::decode(&header).ok());
    let (rlp, bal, existence_log) = (bundle.block, bundle.bal?, bundle.existence_log);
    let blocks = vec![ListedBlock { valid: true, rlp, bal, existence_log }];
    let tries = StateTries::from_memory(&store).ok()?;
    Some(Chain { name: bundle.name, rules, store, tries, is_complete, head, blocks })
}

/// Calls `visit` with the Amsterdam chains of `tests/data`; they include blocks that are invalid in every way.
pub fn each_stored(visit: Visit<'_>) {
    let _ = each_of_archive(Age::Amsterdam, &stored("chains.tar.zst"), 0, 1, visit);
}

/// As [`each_stored`], for chains before Cancun. Their lists and existence logs must be recorded first.
pub fn each_older_stored(visit: Visit<'_>) {
    if visit(bundle(&stored("existence-log.json.gz"))).is_continue() {
        let _ = each_of_archive(Age::PreCancun, &stored("chains.tar.zst"), 0, 1, visit);
    }
}

/// Calls `visit` with the Amsterdam chains of every `step`th file of the Amsterdam suite, starting with file `first`.
pub fn each_fixture(first: usize, step: usize, visit: Visit<'_>) {
    let _ = each_of_archive(Age::Amsterdam, &shared("fixtures/amsterdam.tar.zst"), first, step, visit);
}

/// As [`each_fixture`], for the chains before Cancun of the older suites, whose lists are not recorded yet.
pub fn each_older_fixture(first: usize, step: usize, visit: Visit<'_>) {
    for archive in ["eest-legacy", "eest-paris", "eest-shanghai"] {
        let path = shared(&format!("fixtures/{archive}.tar.zst"));
        if each_of_archive(Age::PreCancun, &path, first, step, visit).is_break() {
            return;
        }
    }
}

fn each_of_archive(age: Age, path: &Path, first: usize, step: usize, visit: Visit<'_>) -> ControlFlow<()> {
    let mut number = 0;
    let flow = each_document(path, &mut |_| (), &mut |document| {
        number += 1;
        if number <= first || !(number - 1 - first).is_multiple_of(step) {
            return ControlFlow::Continue(());
        }
        match Content::parse(&document, None).unwrap_or_else(|error| panic!("{error}")) {
            Content::Tests(tests) => {
                tests.into_iter().filter_map(|test| chain_of_test(age, test)).try_for_each(&mut *visit)
            }
            Content::Bundle(bundle) => chain_of_bundle(age, *bundle).map_or(ControlFlow::Continue(()), &mut *visit),
        }
    });
    flow.unwrap_or_else(|error| panic!("{error}"))
}

/// Calls `visit` with every Amsterdam bundle whose compressed file has at most `bytes_max` bytes.
pub fn each_bundle(bytes_max: u64, visit: Visit<'_>) {
    each_of_folder(Age::Amsterdam, "blocks", bytes_max, visit);
}

/// As [`each_bundle`], for mainnet blocks before Cancun, whose existence logs are not recorded yet. Their states are
/// incomplete.
pub fn each_older_bundle(bytes_max: u64, visit: Visit<'_>) {
    each_of_folder(Age::PreCancun, "bundles/prestate", bytes_max, visit);
}

fn each_of_folder(age: Age, part: &str, bytes_max: u64, visit: Visit<'_>) {
    let entries = shared(part).read_dir().expect("a folder").flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    files.retain(|path| path.metadata().is_ok_and(|meta| meta.len() <= bytes_max));
    files.sort();
    let _ = files.iter().filter_map(|path| chain_of_bundle(age, read_bundle(path))).try_for_each(visit);
}

/// The bundle in a file.
pub fn read_bundle(path: &Path) -> Bundle {
    let document: Document = read_document(path).unwrap_or_else(|error| panic!("{error}"));
    match Content::parse(&document, None) {
        Ok(Content::Bundle(bundle)) => *bundle,
        other => panic!("{} is no bundle: {other:?}", path.display()),
    }
}

/// The chain of a bundle of Amsterdam or before Cancun.
pub fn bundle(path: &Path) -> Chain {
    let bundle = read_bundle(path);
    let age = if bundle.rules.is_some_and(|rules| rules.fork < Fork::Cancun) { Age::PreCancun } else { Age::Amsterdam };
    chain_of_bundle(age, bundle).expect("a flat state and a selected fork")
}

/// A block whose parent state is a witness, with its list.
#[derive(Debug)]
pub struct WitnessCase {
    /// Rules of the block.
    pub rules: ChainRules,
    /// The block and its list.
    pub block: ListedBlock,
    /// Witness of its parent state.
    pub store: WitnessStore,
}

/// The block of a bundle with a witness.
pub fn witness(path: &Path) -> WitnessCase {
    let bundle = read_bundle(path);
    let BundleState::Witness { root, nodes, codes } = bundle.state else { panic!("{}: no witness", path.display()) };
    let mut store = WitnessStore::new(root, nodes, codes);
    bundle.block_hashes.iter().for_each(|(number, hash)| store.insert_block_hash(*number, *hash));
    let (rules, bal) = (bundle.rules.expect("a known fork"), bundle.bal.expect("a list"));
    let block = ListedBlock { valid: true, rlp: bundle.block, bal, existence_log: None };
    WitnessCase { rules, block, store }
}
