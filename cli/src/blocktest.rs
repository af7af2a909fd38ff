//! `balustrade blocktest`: runs EEST block tests, many at a time.
//!
//! In: fixtures. Out: results, printed by `suite`.
//! A test passes if each block is accepted or rejected as the fixture says, if each rejection has
//! one of the exceptions that the fixture names, and if the last block hash of the chain is the
//! fixture's.
//! Not here: protocol rules.

use super::engine::{Accepted, Chain, Engine, Failure, modes};
use super::explain::Subject;
use super::suite::{self, GethArgs, Outcome, SuiteArgs, TestFailure, TestResult};
use super::{ExecArgs, ModeArg, Status, interrupt, names_like};
use alloy_primitives::B256;
use balustrade::Mode;
use balustrade::formats::{BlockTest, Content, Expected, FixtureBlock, InputError};
use clap::Args;
use regex::Regex;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const EXAMPLES: &str = "Examples:
  balustrade blocktest fixtures/blockchain_tests
  balustrade blocktest suite.tar.zst --run eip7928 --json
  balustrade blocktest test.json --mode all
  balustrade blocktest suite.tar.zst --store /dev/shm/states   # states on disk, opened again after each block";

/// Options of `blocktest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BlocktestArgs {
    /// Fixture files, folders, .tar.gz or .tar.zst archives; without any, paths are read from
    /// standard input, one per line
    paths: Vec<PathBuf>,
    /// Run only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Keep the state of each test on disk in a folder below DIR, closed and opened again after each
    /// block, and removed after the test
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    geth: GethArgs,
}

impl BlocktestArgs {
    /// Returns the options with the meaning that they have for go-ethereum's `evm`.
    pub fn called_evm(self) -> Self {
        let geth = self.geth.called_evm(self.exec.json);
        Self { exec: ExecArgs { json: false, ..self.exec }, geth, ..self }
    }
}

/// Runs the command.
pub fn main(args: &BlocktestArgs) -> Status {
    let ExecArgs { mode, threads, loop_kind, json } = args.exec;
    let geth = &args.geth;
    suite::run(&args.paths, SuiteArgs { threads, loop_kind, json, geth }, |worker, document| {
        let tests = match Content::parse(document, Some(&names_like(args.run.as_ref())))? {
            Content::Tests(tests) => tests,
            Content::Bundle(_) => return Err(InputError::NotTests { name: document.name.clone() }),
        };
        let wanted = tests.into_iter().take_while(|_| interrupt::flow().is_continue());
        let results = wanted.map(|test| {
            let ended = worker.run(|engine| run_test(engine, mode, &test, args.store.as_deref()));
            let (state_root, outcome) = ended.unwrap_or_else(|failure| (None, Outcome::Failed(failure)));
            if geth.trace {
                // A program that reads the trace waits for this line, so it is written even where
                // the root is not known.
                geth.write_root(state_root.unwrap_or_default(), Some(matches!(outcome, Outcome::Passed)));
            }
            TestResult { outcome, state_root, blocks: test.blocks.len(), network: test.network_name, name: test.name }
        });
        Ok(results.collect())
    })
}

/// Runs one test in every requested mode; returns the state root of its last block, and its
/// outcome.
fn run_test(
    engine: &mut Engine,
    mode: Option<ModeArg>,
    test: &BlockTest,
    store: Option<&Path>,
) -> Result<(Option<B256>, Outcome), TestFailure> {
    if test.network.is_none() {
        return Ok((None, Outcome::Skipped(format!("the network {} is not supported", test.network_name))));
    }
    let mut first: Option<(Vec<Accepted>, B256)> = None;
    for mode in modes(mode) {
        // Only the trace of the first mode is written; those of the others are compared by hash.
        engine.write_trace(first.is_none());
        let (accepted, root) = match store {
            Some(store) => run_on_disk(engine, test, *mode, store)?,
            None => {
                let mut chain = Chain::of_test(test).map_err(|error| TestFailure::new("genesis", error.to_string()))?;
                run_chain(engine, &mut chain, test, *mode, |_| Ok(()))?
            }
        };
        if let Some((first, _)) = &first
            && let Some(difference) = first.iter().zip(&accepted).find_map(|(a, b)| a.difference(b))
        {
            return Err(TestFailure::new("modes differ", difference));
        }
        first.get_or_insert((accepted, root));
    }
    Ok((first.map(|(_, root)| root), Outcome::Passed))
}

/// Results of a test's valid blocks, and the state root of the last one.
type Executed = (Vec<Accepted>, B256);

/// [`run_chain`] with the state in a new folder below `store`, closed and opened after each block.
fn run_on_disk(
    engine: &mut Engine,
    test: &BlockTest,
    mode: Option<Mode>,
    store: &Path,
) -> Result<Executed, TestFailure> {
    static FOLDERS: AtomicU64 = AtomicU64::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let path = store.join(format!("{}-{number}", std::process::id()));
    let run = |engine: &mut Engine| {
        let chain = Chain::of_test_on_disk(test, &path);
        let mut chain = chain.map_err(|error| TestFailure::new("genesis", error.to_string()))?;
        run_chain(engine, &mut chain, test, mode, |chain| chain.reopen(test, &path))
    };
    let result = run(engine);
    match std::fs::remove_dir_all(&path) {
        Ok(()) => result,
        Err(error) => result.and(Err(TestFailure::host(format!("cannot remove {}: {error}", path.display())))),
    }
}

/// Runs the test's blocks in one mode; calls `kept` after each that became the head.
fn run_chain(
    engine: &mut Engine,
    chain: &mut Chain,
    test: &BlockTest,
    mode: Option<Mode>,
    mut kept: impl FnMut(&mut Chain) -> Result<(), Failure>,
) -> Result<Executed, TestFailure> {
    let mut executed = Vec::new();
    for (number, block) in test.blocks.iter().enumerate() {
        let at = |kind, what: String| TestFailure::new(kind, format!("block {} of the test: {what}", number + 1));
        match (run_block(engine, chain, test, block, mode), &block.expect_exception) {
            (Ok(_), Some(expected)) => return Err(at("accepted an invalid block", format!("expected {expected}"))),
            (Err(Failure::Host(what)), _) => {
                return Err(TestFailure::host(format!("block {} of the test: {what}", number + 1)));
            }
            (Err(Failure::Invalid { what, classes }), None) => {
                let causes = causes(engine, chain, test, number, &classes);
                let causes: String = causes.iter().map(|cause| format!("\n    {cause}")).collect();
                return Err(at("refused a valid block", what + &causes));
            }
            (Err(Failure::Invalid { what, classes }), Some(expected)) => {
                if !expected.split('|').any(|name| classes.contains(&name)) {
                    return Err(at("wrong exception", format!("expected {expected}, found {classes:?}: {what}")));
                }
            }
            (Ok(done), None) => {
                if let Some(expected) = block.gas_dimensions.filter(|expected| *expected != dimensions(&done)) {
                    let found = dimensions(&done);
                    return Err(at("gas dimensions", format!("expected {expected:?}, found {found:?}")));
                }
                executed.push(done);
                kept(chain).map_err(|error| TestFailure::host(format!("block {} of the test: {error}", number + 1)))?;
            }
        }
    }
    if chain.head_hash() != test.last_block_hash {
        let (found, expected) = (chain.head_hash(), test.last_block_hash);
        return Err(TestFailure::new("wrong head", format!("expected {expected}, found {found}")));
    }
    let root = chain.head().map_or(B256::ZERO, |head| head.state_root);
    Ok((executed, root))
}

/// What differs from the fixture's state after the block, if the fixture states it.
fn causes(engine: &mut Engine, chain: &mut Chain, test: &BlockTest, number: usize, classes: &[&str]) -> Vec<String> {
    let block = &test.blocks[number];
    let Some(rules) = chain.rules_of(test, block) else { return Vec::new() };
    let subject = Subject {
        name: &test.name,
        rules: &rules,
        block: &block.rlp,
        list: block.bal.as_ref().into(),
        expected: &Expected::default(),
        test: Some((test, number)),
    };
    subject.causes(engine, chain, classes)
}

/// Gas of a block by dimension (EIP-8037): execution gas and state gas.
fn dimensions(block: &Accepted) -> (u64, u64) {
    (block.outcome.gas.execution, block.outcome.gas.state)
}

/// Executes one block; a valid one becomes the head of the chain.
fn run_block(
    engine: &mut Engine,
    chain: &mut Chain,
    test: &BlockTest,
    block: &FixtureBlock,
    mode: Option<Mode>,
) -> Result<Accepted, Failure> {
    let rules = chain.rules_of(test, block).ok_or_else(|| Failure::Host("the fork is not supported".into()))?;
    engine.execute_or_record(chain, &rules, &block.rlp, block.bal.as_ref().into(), mode, true)
}
