//! Runs suites of independent tests, many at a time: the part that `blocktest` and `statetest`
//! share.
//!
//! In: paths, and a function that runs the tests of a document. Out: a line per failed test (with
//! `--json`: per test), a table per network, and totals; with `--geth` the output of go-ethereum's
//! `evm`. A panic is a failed test; the worker's engine is then discarded and built anew for the
//! next test.
//! Not here: how a single test is run and judged.

use super::engine::{Engine, Failure};
use super::output::{self, StderrData};
use super::pipeline::{self, Paths};
use super::trace::{FieldArgs, Lines};
use super::{Status, interrupt, report};
use alloy_primitives::B256;
use balustrade::exec::interpreter::LoopKind;
use balustrade::formats::{Document, InputError};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// Options of go-ethereum's `evm statetest` and `evm blocktest`, under the same names.
#[derive(Clone, Debug, Args)]
pub struct GethArgs {
    /// Print as go-ethereum's `evm` does: one JSON array of all results (one array per file where
    /// file names come from standard input), and `{"stateRoot": ...}` on standard error after each
    /// state test. The exit status is 0 even where tests fail, and 1 where a file cannot be read.
    /// This is the default if the command is called `evm`
    #[arg(long)]
    pub geth: bool,
    /// Write an EIP-3155 trace to standard error, one test after another, with `{"stateRoot": ...}`
    /// after each test
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    fields: FieldArgs,
    /// Number of files that run at the same time with --geth; by default, and with --trace, 1. The lines on standard
    /// error of several files come in any order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Print lines for people instead of JSON with --geth
    #[arg(long)]
    human: bool,
    /// Accepted for compatibility: no state is printed
    #[arg(long, hide = true)]
    _dump: bool,
}

impl GethArgs {
    /// Returns the options with go-ethereum's meaning: its `--json` asks for a trace.
    pub fn called_evm(self, json: bool) -> Self {
        Self { geth: true, trace: self.trace || json, ..self }
    }

    /// The target of the trace's lines: standard error.
    fn lines(&self) -> Lines {
        Lines::Stderr { left_out: self.fields.left_out(self.geth), out: BufWriter::new(StderrData) }
    }

    /// Writes the state root line that ends a test to standard error, if `--geth` or `--trace` is
    /// given.
    pub fn write_root(&self, root: B256, pass: Option<bool>) {
        if self.geth || self.trace {
            let pass = pass.map_or(String::new(), |pass| format!(", \"pass\": {pass}"));
            // `StderrData` records its errors, and `output::finish` reports them.
            let _ = StderrData.write_all(format!("{{\"stateRoot\": \"{root}\"{pass}}}\n").as_bytes());
        }
    }
}

/// The result of one test.
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// The network's or fork's name.
    pub network: String,
    /// Number of the test's blocks.
    pub blocks: usize,
    /// State root after the last block, where it is known.
    pub state_root: Option<B256>,
    /// Whether the test passed.
    pub outcome: Outcome,
}

/// How a test ended.
pub enum Outcome {
    /// The results are those of the fixture.
    Passed,
    /// The test's fork or transaction is not supported; the reason.
    Skipped(String),
    /// The results differ from the fixture, or the test could not be run.
    Failed(TestFailure),
}

/// Why a test failed: its kind, which is counted, and a description.
pub struct TestFailure {
    kind: &'static str,
    what: String,
}

impl TestFailure {
    /// A failure of this kind.
    pub fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }

    /// The environment failed before the test's verdict was known: a store, threads, an unsupported
    /// fork.
    pub fn host(what: impl Into<String>) -> Self {
        Self::new(Self::HOST, what)
    }

    /// The kind of failures that [`Self::host`] creates.
    const HOST: &'static str = "host";
}

/// How a suite runs.
#[derive(Clone, Copy, Debug)]
pub struct SuiteArgs<'a> {
    /// Threads of each worker's engine; `None`: one per processor.
    pub threads: Option<u16>,
    /// Interpreter loop to run.
    pub loop_kind: LoopKind,
    /// Whether to print JSON lines.
    pub json: bool,
    /// Options for output in go-ethereum's form.
    pub geth: &'a GethArgs,
}

/// One worker, whose engine is created by its first test.
#[derive(Debug)]
pub struct Worker<'a> {
    exec: SuiteArgs<'a>,
    engine: Option<Engine>,
}

impl Worker<'_> {
    /// Runs one test. An error and a panic of `test` are both failures of the test.
    pub fn run<T>(&mut self, test: impl FnOnce(&mut Engine) -> Result<T, TestFailure>) -> Result<T, TestFailure> {
        self.run_owned(|mut engine| {
            let result = test(&mut engine);
            (Some(engine), result)
        })
    }

    /// [`Self::run`] for a test that takes the engine and gives it back; `None`: the engine is gone.
    pub fn run_owned<T>(
        &mut self,
        test: impl FnOnce(Engine) -> (Option<Engine>, Result<T, TestFailure>),
    ) -> Result<T, TestFailure> {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let engine = match self.engine.take() {
                Some(engine) => engine,
                None => {
                    let mut engine = Engine::new(self.exec.threads, self.exec.loop_kind)
                        .map_err(|error: Failure| TestFailure::host(error.to_string()))?;
                    if self.exec.geth.trace {
                        engine.start_trace(self.exec.geth.lines());
                    }
                    engine
                }
            };
            let (engine, result) = test(engine);
            self.engine = engine;
            result
        }));
        result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(TestFailure::new("panic", text))
        })
    }
}

/// Runs `work` on every document of `paths` and prints the results in the order of the documents.
/// Without paths, they are read from standard input. There is one worker per processor, each with
/// its own engine; with `--geth` or `--trace`, which write to standard error, there is one worker unless `--workers` says
/// otherwise.
/// Ctrl-C cancels the running tests, each of which reports its position, and prints the totals of
/// the finished ones.
pub fn run(
    paths: &[PathBuf],
    exec: SuiteArgs<'_>,
    work: impl Fn(&mut Worker<'_>, &Document) -> Result<Vec<TestResult>, InputError> + Sync,
) -> Status {
    let GethArgs { geth, trace, .. } = *exec.geth;
    let paths = if paths.is_empty() { Paths::Lines { until_blank: geth } } else { Paths::Given(paths) };
    if let Err(status) = interrupt::install() {
        return status;
    }
    let start = Instant::now();
    let mut totals = Totals::default();
    let mut results_of_geth = Vec::new();
    let workers = match geth || trace {
        true => usize::from(exec.geth.workers.filter(|_| !trace).unwrap_or(1)),
        false => std::thread::available_parallelism().map_or(1, |count| count.get()),
    };
    let print = if exec.geth.human { print_geth_lines } else { print_geth };
    let started = pipeline::each_in_parallel(
        paths,
        workers,
        || Worker { exec, engine: None },
        |worker, document| work(worker, &document),
        |result| match result.and_then(|result| result) {
            Ok(results) if geth => {
                results_of_geth.extend(results.iter().map(GethResult::of));
                if matches!(paths, Paths::Lines { .. }) {
                    print(&core::mem::take(&mut results_of_geth));
                }
            }
            Ok(results) => results.iter().for_each(|result| totals.add(result, exec.json)),
            Err(error) => {
                report::complain(&error);
                totals.status = Status::Unusable;
                if geth {
                    // go-ethereum also exits at the first unreadable file and reads no further
                    // names from standard input.
                    let _ = output::finish(Status::Good);
                    std::process::exit(1);
                }
            }
        },
    );
    if let Err(error) = started {
        report::complain(&format_args!("cannot start threads: {error}"));
        return Status::Unusable;
    }
    if !geth {
        if totals.is_empty() && totals.status == Status::Good && interrupt::flow().is_continue() {
            report::complain(&"no test was run: the input holds none, or the options select none of them");
            totals.status = Status::Unusable;
        }
        return totals.print(start.elapsed().as_secs_f64(), exec.json);
    }
    if let Paths::Given(_) = paths {
        print(&results_of_geth);
    }
    Status::Good
}

/// One result in go-ethereum's JSON form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GethResult {
    name: String,
    pass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_root: Option<B256>,
    fork: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl GethResult {
    fn of(result: &TestResult) -> Self {
        let error = match &result.outcome {
            Outcome::Passed => None,
            Outcome::Skipped(why) => Some(why.clone()),
            Outcome::Failed(TestFailure { kind, what }) => Some(format!("{kind}: {what}")),
        };
        Self {
            name: result.name.clone(),
            pass: error.is_none(),
            state_root: result.state_root,
            fork: result.network.clone(),
            error,
        }
    }
}

/// Prints results as one JSON array.
fn print_geth(results: &[GethResult]) {
    let text = serde_json::to_string_pretty(results).unwrap_or_default();
    report::line(&text);
}

/// Prints results as lines for people, and how many passed.
fn print_geth_lines(results: &[GethResult]) {
    for GethResult { name, fork, error, .. } in results {
        report::line(&match error {
            None => format!("[PASS] {name}"),
            Some(error) => format!("[FAIL] {name}: fork {fork}: {error}"),
        });
    }
    let passed = results.iter().filter(|result| result.pass).count();
    report::line(&format!("--\n{passed} tests passed, {} tests failed.", results.len() - passed));
}

/// Counts per network, and the status of the command.
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
            Outcome::Failed(failure) => {
                let status = if failure.kind == TestFailure::HOST { Status::Unusable } else { Status::Failed };
                (1, status, Some(failure.kind), Some(failure.what.as_str()))
            }
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
            if let Some(root) = result.state_root {
                line["stateRoot"] = json!(root);
            }
            if let (Some(kind), Some(what)) = (kind, what) {
                line["kind"] = json!(kind);
                line["error"] = json!(what);
            }
            report::json_line(&line);
        } else if let (Some(kind), Some(what)) = (kind, what) {
            report::line(&format!("{kind}: {}\n    {what}", result.name));
        }
    }

    fn is_empty(&self) -> bool {
        self.networks.is_empty()
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
        if self.is_empty() {
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
            "{passed} passed, {failed} failed, {skipped} skipped; {} in {seconds:.1} s",
            report::counted(self.blocks as u64, "block")
        ));
        self.status
    }
}
