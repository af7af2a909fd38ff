//! `balustrade statetest`: EEST and GeneralStateTests state tests.
//!
//! In: fixtures. Out: results as `suite` prints them, one per transaction and fork.
//! A case passes when the transaction is refused for an exception that the fixture names, or leaves the state root and
//! the logs that it names. Not here: protocol rules.

use super::engine::{Engine, Failure};
use super::input::{StateCase, StateTest, parse_tests};
use super::suite::{self, Outcome, SuiteArgs, TestFailure, TestResult};
use super::{Status, interrupt, loop_of_name};
use balustrade::exec::interpreter::LoopKind;
use clap::Args;
use regex::Regex;
use std::path::PathBuf;

/// Options of `statetest`.
#[derive(Debug, Args)]
pub struct StatetestArgs {
    /// Fixture files, folders, .tar.gz or .tar.zst archives; read from standard input, one per line, if none is given
    paths: Vec<PathBuf>,
    /// Only tests whose name matches this regular expression
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Which interpreter loop runs
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_of_name, default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Runs the command. A single transaction runs on a single thread.
pub fn main(args: &StatetestArgs) -> Status {
    let exec = SuiteArgs { threads: Some(1), loop_kind: args.loop_kind, json: args.json };
    suite::run(&args.paths, exec, |worker, document| {
        let tests: Vec<StateTest> = parse_tests(document, args.run.as_ref())?;
        let cases = tests.iter().flat_map(|test| test.cases.iter().map(move |case| (test, case)));
        let results = cases.take_while(|_| interrupt::flow().is_continue()).map(|(test, case)| TestResult {
            name: name_of(test, case),
            network: case.fork_name.clone(),
            blocks: 1,
            outcome: worker.run(|engine| run_case(engine, test, case)),
        });
        Ok(results.collect())
    })
}

/// The test's name; with the case's place where there are several.
fn name_of(test: &StateTest, case: &StateCase) -> String {
    match (test.cases.len(), case.indexes) {
        (1, _) => test.name.clone(),
        (_, [data, gas, value]) => format!("{} {} data {data} gas {gas} value {value}", test.name, case.fork_name),
    }
}

fn run_case(engine: &mut Engine, test: &StateTest, case: &StateCase) -> Result<Outcome, TestFailure> {
    let Some(rules) = case.rules else {
        return Ok(Outcome::Skipped(format!("the fork {} is not supported", case.fork_name)));
    };
    let Some(transaction) = &case.transaction else {
        return Ok(Outcome::Skipped("the fixture has no signed transaction".to_owned()));
    };
    let result = engine.transact(&test.pre, &rules, &test.block(&rules, transaction));
    match (result, &case.expect_exception) {
        (Err(Failure::Host(what)), _) => Err(TestFailure::new("host", what)),
        (Err(Failure::Invalid { what, .. }), None) => Err(TestFailure::new("refused a valid transaction", what)),
        (Ok(_), Some(expected)) => {
            Err(TestFailure::new("accepted an invalid transaction", format!("expected {expected}")))
        }
        (Err(Failure::Invalid { what, classes }), Some(expected)) => {
            if expected.split('|').any(|name| classes.contains(&name)) {
                return Ok(Outcome::Passed);
            }
            Err(TestFailure::new("wrong exception", format!("expected {expected}, found {classes:?}: {what}")))
        }
        (Ok((state_root, _)), None) if state_root != case.state_root => {
            let expected = case.state_root;
            Err(TestFailure::new("state root", format!("expected {expected}, found {state_root}")))
        }
        (Ok((_, logs_hash)), None) if logs_hash != case.logs_hash => {
            let expected = case.logs_hash;
            Err(TestFailure::new("logs", format!("expected hash {expected}, found {logs_hash}")))
        }
        (Ok(_), None) => Ok(Outcome::Passed),
    }
}
