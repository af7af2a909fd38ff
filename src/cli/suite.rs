//! Suites of independent tests, many at a time: what `blocktest` and `statetest` share.
//!
//! In: paths, and what to do with a document. Out: a line per failed test (with `--json` per test), a table per network,
//! totals. A panic is a failed test, and costs the worker its engine. Not here: what a test is.

use super::engine::{Engine, Failure};
use super::input::{Document, InputError};
use super::{Status, interrupt, pipeline, report};
use balustrade::exec::interpreter::LoopKind;
use serde_json::json;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// What became of one test.
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// The network's or fork's name.
    pub network: String,
    /// Number of its blocks.
    pub blocks: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a test ended.
pub enum Outcome {
    /// As the fixture says.
    Passed,
    /// The rules are not supported.
    Skipped(String),
    /// Not as the fixture says.
    Failed(TestFailure),
}

/// Why a test failed, as its kind and its words.
pub struct TestFailure {
    kind: &'static str,
    what: String,
}

impl TestFailure {
    /// A failure of this kind.
    pub fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

/// How a suite runs.
#[derive(Clone, Copy, Debug)]
pub struct SuiteArgs {
    /// Threads of each worker's engine; one per processor where not given.
    pub threads: Option<u16>,
    /// Which interpreter loop runs.
    pub loop_kind: LoopKind,
    /// Whether to print JSON lines.
    pub json: bool,
}

/// One worker's engine, made when it is first needed.
#[derive(Debug)]
pub struct Worker {
    threads: Option<u16>,
    loop_kind: LoopKind,
    engine: Option<Engine>,
}

impl Worker {
    /// Runs one test. What it returns as an error, and what it panics with, is its failure.
    pub fn run(&mut self, test: impl FnOnce(&mut Engine) -> Result<Outcome, TestFailure>) -> Outcome {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let engine = match self.engine.take() {
                Some(engine) => engine,
                None => Engine::new(self.threads, self.loop_kind)
                    .map_err(|error: Failure| TestFailure::new("host", error.to_string()))?,
            };
            test(self.engine.insert(engine))
        }));
        let failure = match result {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(failure)) => failure,
            Err(panic) => {
                self.engine = None;
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                TestFailure::new("panic", text)
            }
        };
        Outcome::Failed(failure)
    }
}

/// Runs `work` on every document of `paths` (of standard input's list where there are none), one worker per processor,
/// each with an engine of its own, and prints the results in the order of the documents. Ctrl-C gives up the tests that run,
/// each of which says where it stood, and sums up.
pub fn run(
    paths: &[PathBuf],
    exec: SuiteArgs,
    work: impl Fn(&mut Worker, &Document) -> Result<Vec<TestResult>, InputError> + Sync,
) -> Status {
    let paths = match pipeline::paths_or_stdin(paths) {
        Ok(paths) => paths,
        Err(error) => {
            report::complain(&format_args!("standard input: {error}"));
            return Status::Unusable;
        }
    };
    interrupt::install();
    let start = Instant::now();
    let mut totals = Totals::default();
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    pipeline::each_in_parallel(
        &paths,
        workers,
        || Worker { threads: exec.threads, loop_kind: exec.loop_kind, engine: None },
        |worker, document| work(worker, &document),
        |result| match result.and_then(|result| result) {
            Ok(results) => results.iter().for_each(|result| totals.add(result, exec.json)),
            Err(error) => {
                report::complain(&error);
                totals.status = Status::Unusable;
            }
        },
    );
    totals.print(start.elapsed().as_secs_f64(), exec.json)
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
