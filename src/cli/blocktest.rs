//! `balustrade blocktest`: EEST block tests, many at a time.
//!
//! In: fixtures. Out: a line per failed test (with `--json` per test), a table per network, totals.
//! A test passes when each block is accepted or refused as the fixture says, for a reason that it names, and the head
//! ends at its last hash. Not here: protocol rules.

use super::engine::{Accepted, Chain, Engine, Failure, modes};
use super::input::{BlockTest, Content, Document, FixtureBlock, InputError};
use super::{ExecArgs, Status, pipeline, report};
use balustrade::Mode;
use clap::Args;
use regex::Regex;
use serde_json::json;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

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
}

/// What became of one test.
struct TestResult {
    name: String,
    network: String,
    blocks: usize,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    /// The rules are not supported.
    Skipped(String),
    Failed(TestFailure),
}

/// Why a test failed, as its kind and its words.
struct TestFailure {
    kind: &'static str,
    what: String,
}

impl TestFailure {
    fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

/// Runs the command.
pub fn main(args: &BlocktestArgs) -> Status {
    let paths = match pipeline::paths_or_stdin(&args.paths) {
        Ok(paths) => paths,
        Err(error) => {
            report::complain(&format_args!("standard input: {error}"));
            return Status::Unusable;
        }
    };
    let start = Instant::now();
    let mut totals = Totals::default();
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    pipeline::each_in_parallel(
        &paths,
        workers,
        || None,
        |engine, document| run_document(engine, args, &document),
        |result| match result.and_then(|result| result) {
            Ok(results) => results.iter().for_each(|result| totals.add(result, args.exec.json)),
            Err(error) => {
                report::complain(&error);
                totals.status = Status::Unusable;
            }
        },
    );
    totals.print(start.elapsed().as_secs_f64(), args.exec.json)
}

fn run_document(
    engine: &mut Option<Engine>,
    args: &BlocktestArgs,
    document: &Document,
) -> Result<Vec<TestResult>, InputError> {
    let tests = match Content::parse(document, args.run.as_ref())? {
        Content::Tests(tests) => tests,
        Content::Bundle(_) => return Err(InputError::NotTests { name: document.name.clone() }),
    };
    Ok(tests.into_iter().map(|test| run_test(engine, &args.exec, test)).collect())
}

/// Runs one test in every mode asked for. A panic is a failed test, and costs the worker its engine.
fn run_test(engine: &mut Option<Engine>, args: &ExecArgs, test: BlockTest) -> TestResult {
    let outcome = catch_unwind(AssertUnwindSafe(|| run_modes(engine, args, &test))).unwrap_or_else(|panic| {
        *engine = None;
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Outcome::Failed(TestFailure::new("panic", text))
    });
    TestResult { blocks: test.blocks.len(), network: test.network_name, name: test.name, outcome }
}

fn run_modes(engine: &mut Option<Engine>, args: &ExecArgs, test: &BlockTest) -> Outcome {
    if test.network.is_none() {
        return Outcome::Skipped(format!("the network {} is not supported", test.network_name));
    }
    let engine = match engine {
        Some(engine) => engine,
        None => match Engine::new(args.threads) {
            Ok(made) => engine.insert(made),
            Err(error) => return Outcome::Failed(TestFailure::new("host", error.to_string())),
        },
    };
    let mut first: Option<Vec<Accepted>> = None;
    for mode in modes(args.mode) {
        let executed = match run_chain(engine, test, *mode) {
            Ok(executed) => executed,
            Err(failure) => return Outcome::Failed(failure),
        };
        if let Some(first) = &first
            && let Some(difference) = first.iter().zip(&executed).find_map(|(a, b)| a.difference(b))
        {
            return Outcome::Failed(TestFailure::new("modes differ", difference));
        }
        first.get_or_insert(executed);
    }
    Outcome::Passed
}

/// Runs the test's blocks in one mode and returns what was proved about the valid ones.
fn run_chain(engine: &mut Engine, test: &BlockTest, mode: Option<Mode>) -> Result<Vec<Accepted>, TestFailure> {
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
                executed.push(done);
            }
        }
    }
    if chain.head_hash() != test.last_block_hash {
        let (found, expected) = (chain.head_hash(), test.last_block_hash);
        return Err(TestFailure::new("wrong head", format!("expected {expected}, found {found}")));
    }
    Ok(executed)
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
    engine.execute_or_record(chain, &rules, &block.rlp, block.bal.as_ref(), mode, true)
}

/// Counts by network, and the command's status.
#[derive(Default)]
struct Totals {
    networks: BTreeMap<String, [u64; 3]>,
    blocks: usize,
    status: Status,
}

impl Totals {
    fn add(&mut self, result: &TestResult, json: bool) {
        let counts = self.networks.entry(result.network.clone()).or_default();
        self.blocks += result.blocks;
        let (column, status, kind, what) = match &result.outcome {
            Outcome::Passed => (0, Status::Good, None, None),
            Outcome::Failed(failure) => (1, Status::Failed, Some(failure.kind), Some(failure.what.as_str())),
            Outcome::Skipped(why) => (2, Status::Unusable, Some("skipped"), Some(why.as_str())),
        };
        counts[column] += 1;
        self.status = self.status.max(status);
        if json {
            let mut line = json!({
                "name": result.name,
                "pass": column == 0,
                "fork": result.network,
                "blocks": result.blocks,
            });
            if let (Some(kind), Some(what)) = (kind, what) {
                line["kind"] = json!(kind);
                line["error"] = json!(what);
            }
            report::json_line(&line);
        } else if let (Some(kind), Some(what)) = (kind, what) {
            report::line(&format!("{kind}: {}\n    {what}", result.name));
        }
    }

    fn print(&self, seconds: f64, json: bool) -> Status {
        let mut sum = [0; 3];
        for counts in self.networks.values() {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let [passed, failed, skipped] = sum;
        if json {
            report::json_line(&json!({"summary": {
                "passed": passed,
                "failed": failed,
                "skipped": skipped,
                "blocks": self.blocks,
                "seconds": seconds,
                "fallbacks": 0,
            }}));
            return self.status;
        }
        let mut table = report::table();
        table.set_header(["network", "passed", "failed", "skipped"]);
        for (network, counts) in &self.networks {
            table.add_row([network.clone(), counts[0].to_string(), counts[1].to_string(), counts[2].to_string()]);
        }
        report::right_align(&mut table, 1);
        report::line(&table.to_string());
        report::line(&format!(
            "{passed} passed, {failed} failed, {skipped} skipped; {} blocks in {seconds:.1} s",
            self.blocks
        ));
        self.status
    }
}
