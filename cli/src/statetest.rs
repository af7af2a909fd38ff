//! `balustrade statetest`: runs EEST and GeneralStateTests state tests.
//!
//! In: fixtures. Out: one result per transaction and fork, printed by `suite`.
//! A case passes if the transaction is rejected with an exception that the fixture names, or if it
//! results in the fixture's state root and logs hash.
//! Not here: protocol rules.

use super::engine::{Engine, Failure};
use super::suite::{self, GethArgs, Outcome, SuiteArgs, TestFailure, TestResult};
use super::{Status, interrupt, loop_parser, names_like};
use alloy_primitives::B256;
use balustrade::exec::interpreter::LoopKind;
use balustrade::formats::{StateCase, StateTest, parse_tests};
use clap::Args;
use regex::Regex;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  balustrade statetest fixtures/state_tests
  balustrade statetest suite.tar.zst --run push0 --json
  balustrade statetest test.json --trace";

/// Options of `statetest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatetestArgs {
    /// Fixture files, folders, .tar.gz or .tar.zst archives; without any, paths are read from
    /// standard input, one per line
    paths: Vec<PathBuf>,
    /// Run only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Run only the cases of this fork; by default all
    #[arg(long, value_name = "NAME", alias = "statetest.fork")]
    fork: Option<String>,
    /// Run only the case at this index of each test, counted from 0; by default all
    #[arg(long, value_name = "N", alias = "statetest.index")]
    index: Option<usize>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    geth: GethArgs,
}

impl StatetestArgs {
    /// Returns the options with the meaning that they have for go-ethereum's `evm`.
    pub fn called_evm(self) -> Self {
        Self { json: false, geth: self.geth.called_evm(self.json), ..self }
    }
}

/// Runs the command. Each case has a single transaction, so one thread executes it.
pub fn main(args: &StatetestArgs) -> Status {
    let geth = &args.geth;
    let exec = SuiteArgs { threads: Some(1), loop_kind: args.loop_kind, json: args.json, geth };
    suite::run(&args.paths, exec, |worker, document| {
        let tests: Vec<StateTest> = parse_tests(document, Some(&names_like(args.run.as_ref())))?;
        let cases =
            tests.iter().flat_map(|test| test.cases.iter().enumerate().map(move |(place, case)| (test, place, case)));
        let wanted = cases.filter(|(_, place, case)| {
            args.index.is_none_or(|index| index == *place)
                && args.fork.as_ref().is_none_or(|fork| *fork == case.fork_name)
        });
        let results = wanted.take_while(|_| interrupt::flow().is_continue()).map(|(test, _, case)| {
            let (state_root, outcome) = worker
                .run(|engine| run_case(engine, test, case))
                .unwrap_or_else(|failure| (None, Outcome::Failed(failure)));
            if let Some(root) = state_root {
                geth.write_root(root, None);
            }
            let name = if geth.geth { test.name.clone() } else { name_of(test, case) };
            TestResult { name, network: case.fork_name.clone(), blocks: 1, state_root, outcome }
        });
        Ok(results.collect())
    })
}

/// The test's name; if it has several cases, with the fork and the case's indexes.
fn name_of(test: &StateTest, case: &StateCase) -> String {
    match (test.cases.len(), case.indexes) {
        (1, _) => test.name.clone(),
        (_, [data, gas, value]) => format!("{} {} data {data} gas {gas} value {value}", test.name, case.fork_name),
    }
}

/// Runs a case; returns the state root after it, and its outcome.
fn run_case(engine: &mut Engine, test: &StateTest, case: &StateCase) -> Result<(Option<B256>, Outcome), TestFailure> {
    let Some(rules) = case.rules else {
        return Ok((None, Outcome::Skipped(format!("the fork {} is not supported", case.fork_name))));
    };
    let transaction = match &case.transaction {
        Ok(transaction) => transaction,
        Err(why) => return Ok((None, Outcome::Skipped(why.clone()))),
    };
    let (state_root, result) = engine
        .transact(&test.pre, &rules, &test.block(&rules, transaction))
        .map_err(|failure| TestFailure::host(failure.to_string()))?;
    let outcome = judge(case, state_root, result.map(|done| done.logs_hash));
    Ok((Some(state_root), outcome.map_or_else(Outcome::Failed, |()| Outcome::Passed)))
}

/// Compares the result of a case with what its fixture expects.
fn judge(case: &StateCase, state_root: B256, logs_hash: Result<B256, Failure>) -> Result<(), TestFailure> {
    match (logs_hash, &case.expect_exception) {
        (Err(Failure::Host(what)), _) => Err(TestFailure::host(what)),
        (Err(Failure::Invalid { what, .. }), None) => Err(TestFailure::new("refused a valid transaction", what)),
        (Ok(_), Some(expected)) => {
            Err(TestFailure::new("accepted an invalid transaction", format!("expected {expected}")))
        }
        (Err(Failure::Invalid { what, classes }), Some(expected)) => {
            if expected.split('|').any(|name| classes.contains(&name)) {
                return Ok(());
            }
            Err(TestFailure::new("wrong exception", format!("expected {expected}, found {classes:?}: {what}")))
        }
        (Ok(_), None) if state_root != case.state_root => {
            let expected = case.state_root;
            Err(TestFailure::new("state root", format!("expected {expected}, found {state_root}")))
        }
        (Ok(logs_hash), None) if logs_hash != case.logs_hash => {
            let expected = case.logs_hash;
            Err(TestFailure::new("logs", format!("expected hash {expected}, found {logs_hash}")))
        }
        (Ok(_), None) => Ok(()),
    }
}
