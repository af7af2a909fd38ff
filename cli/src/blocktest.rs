//! `balustrade blocktest`: EEST block tests, many at a time.
//!
//! In: fixtures. Out: results as `suite` prints them.
//! A test passes when each block is accepted or refused as the fixture says, for a reason that it names, and the head
//! ends at its last hash. Not here: protocol rules.

use super::engine::{Accepted, Chain, Engine, Failure, modes};
use super::input::{BlockTest, Content, FixtureBlock, InputError};
use super::suite::{self, GethArgs, Outcome, SuiteArgs, TestFailure, TestResult};
use super::{ExecArgs, ModeArg, Status, interrupt, names_like};
use alloy_primitives::B256;
use balustrade::Mode;
use clap::Args;
use regex::Regex;
use std::path::PathBuf;

/// Options of `blocktest`.
#[derive(Debug, Args)]
pub struct BlocktestArgs {
    /// Fixture files, folders, .tar.gz or .tar.zst archives; read from standard input, one per line, if none is given
    paths: Vec<PathBuf>,
    /// Only tests whose name matches this regular expression
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    geth: GethArgs,
}

impl BlocktestArgs {
    /// The same as go-ethereum's `evm` takes them.
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
            let ended = worker.run(|engine| run_test(engine, geth, mode, &test));
            let (state_root, outcome) = ended.unwrap_or_else(|failure| (None, Outcome::Failed(failure)));
            if geth.trace {
                // Whoever reads the trace waits for its end, also where no root is known.
                geth.write_root(state_root.unwrap_or_default(), Some(matches!(outcome, Outcome::Passed)));
            }
            TestResult { outcome, state_root, blocks: test.blocks.len(), network: test.network_name, name: test.name }
        });
        Ok(results.collect())
    })
}

/// Runs one test in every mode asked for; returns the state root at its head beside its outcome.
fn run_test(
    engine: &mut Engine,
    geth: &GethArgs,
    mode: Option<ModeArg>,
    test: &BlockTest,
) -> Result<(Option<B256>, Outcome), TestFailure> {
    if test.network.is_none() {
        return Ok((None, Outcome::Skipped(format!("the network {} is not supported", test.network_name))));
    }
    let mut first: Option<(Vec<Accepted>, B256)> = None;
    for mode in modes(mode) {
        let (accepted, root) = run_chain(engine, first.is_none().then_some(geth), test, *mode)?;
        if let Some((first, _)) = &first
            && let Some(difference) = first.iter().zip(&accepted).find_map(|(a, b)| a.difference(b))
        {
            return Err(TestFailure::new("modes differ", difference));
        }
        first.get_or_insert((accepted, root));
    }
    Ok((first.map(|(_, root)| root), Outcome::Passed))
}

/// Runs the test's blocks in one mode and returns what was proved about the valid ones, and the head's state root.
fn run_chain(
    engine: &mut Engine,
    trace_to: Option<&GethArgs>,
    test: &BlockTest,
    mode: Option<Mode>,
) -> Result<(Vec<Accepted>, B256), TestFailure> {
    let mut chain = Chain::of_test(test).map_err(|error| TestFailure::new("genesis", error.to_string()))?;
    let mut executed = Vec::new();
    for (number, block) in test.blocks.iter().enumerate() {
        let at = |kind, what: String| TestFailure::new(kind, format!("block {} of the test: {what}", number + 1));
        match (run_block(engine, &mut chain, test, block, mode), &block.expect_exception) {
            (Ok(_), Some(expected)) => return Err(at("accepted an invalid block", format!("expected {expected}"))),
            (Err(Failure::Host(what)), _) => return Err(at("host", what)),
            (Err(Failure::Invalid { what, .. }), None) => return Err(at("refused a valid block", what)),
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
                if let Some(geth) = trace_to {
                    geth.write_trace(&done.outcome.traces);
                }
                executed.push(done);
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

/// Block gas, execution and state.
fn dimensions(block: &Accepted) -> (u64, u64) {
    (block.outcome.gas.execution, block.outcome.gas.state)
}

/// Runs one block and moves the head if it is valid.
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
