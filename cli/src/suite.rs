//! Suites of independent tests, many at a time: what `blocktest` and `statetest` share.
//!
//! In: paths, and what to do with a document. Out: a line per failed test (with `--json` per test), a table per network,
//! totals; or, with `--geth`, what go-ethereum's `evm` prints. A panic is a failed test, and costs the worker its engine.
//! Not here: what a test is.

use super::engine::{Engine, Failure};
use super::input::{Document, InputError};
use super::pipeline::{self, Paths};
use super::{Status, interrupt, report};
use alloy_primitives::B256;
use balustrade::exec::interpreter::LoopKind;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// Options of go-ethereum's `evm statetest` and `evm blocktest`, under their names there.
#[derive(Clone, Debug, Args)]
pub struct GethArgs {
    /// Print as go-ethereum's `evm` does: one JSON array of all results, or with file names on standard input one per
    /// file, `{"stateRoot": ...}` on standard error after each state test; exit status 0 even where tests fail, 1 where a
    /// file cannot be read. Also without this option if the command is called `evm`
    #[arg(long)]
    pub geth: bool,
    /// Write EIP-3155 lines to standard error, one test after another, and `{"stateRoot": ...}` after each
    #[arg(long)]
    pub trace: bool,
    /// The form of the trace; there is one
    #[arg(long = "trace.format", value_name = "FORMAT", value_parser = ["json"], hide = true)]
    _format: Option<String>,
    /// Leave the stack out of the trace
    #[arg(long = "trace.nostack", alias = "nostack", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", hide_default_value = true)]
    no_stack: bool,
    /// Leave the return data out of the trace
    #[arg(long = "trace.noreturndata", alias = "noreturndata", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    no_return_data: Option<bool>,
    /// Memory and storage are never in the trace
    #[arg(long = "trace.nomemory", alias = "nomemory", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = ["true"], hide = true)]
    _no_memory: Option<String>,
    #[arg(long = "trace.nostorage", alias = "nostorage", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = ["true"], hide = true)]
    _no_storage: Option<String>,
}

impl GethArgs {
    /// The same as go-ethereum's `evm` takes them; its `--json` asks for a trace.
    pub fn called_evm(self, json: bool) -> Self {
        Self { geth: true, trace: self.trace || json, ..self }
    }

    /// Writes the lines of transactions to standard error; a reader that went away is no error of ours.
    pub fn write_trace(&self, traces: &[Vec<u8>]) {
        let mut out = std::io::BufWriter::new(std::io::stderr().lock());
        let no_return_data = self.no_return_data.unwrap_or(self.geth);
        for line in traces.iter().flat_map(|lines| lines.split_inclusive(|byte| *byte == b'\n')) {
            let line = if no_return_data { without(line, b",\"returnData\":\"", b"\"") } else { line.to_vec() };
            let line = if self.no_stack { without(&line, b",\"stack\":[", b"]") } else { line };
            if out.write_all(&line).is_err() {
                return;
            }
        }
    }

    /// Writes the line that ends a test on standard error, where there is to be one.
    pub fn write_root(&self, root: B256, pass: Option<bool>) {
        if self.geth || self.trace {
            let pass = pass.map_or(String::new(), |pass| format!(", \"pass\": {pass}"));
            let _ = writeln!(std::io::stderr().lock(), "{{\"stateRoot\": \"{root}\"{pass}}}");
        }
    }
}

/// A line of a trace without the field that begins with `start` and ends with `end`.
fn without(line: &[u8], start: &[u8], end: &[u8]) -> Vec<u8> {
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|window| window == part);
    let Some(from) = find(line, start) else { return line.to_vec() };
    let Some(len) = find(&line[from + start.len()..], end) else { return line.to_vec() };
    [&line[..from], &line[from + start.len() + len + end.len()..]].concat()
}

/// What became of one test.
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// The network's or fork's name.
    pub network: String,
    /// Number of its blocks.
    pub blocks: usize,
    /// State root at its end, where it is known.
    pub state_root: Option<B256>,
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
pub struct SuiteArgs<'a> {
    /// Threads of each worker's engine; one per processor where not given.
    pub threads: Option<u16>,
    /// Which interpreter loop runs.
    pub loop_kind: LoopKind,
    /// Whether to print JSON lines.
    pub json: bool,
    /// How go-ethereum would.
    pub geth: &'a GethArgs,
}

/// One worker's engine, made when it is first needed.
#[derive(Debug)]
pub struct Worker<'a> {
    exec: SuiteArgs<'a>,
    engine: Option<Engine>,
}

impl Worker<'_> {
    /// Runs one test. What it returns as an error, and what it panics with, is its failure.
    pub fn run<T>(&mut self, test: impl FnOnce(&mut Engine) -> Result<T, TestFailure>) -> Result<T, TestFailure> {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let engine = match self.engine.take() {
                Some(engine) => engine,
                None => Engine::new(self.exec.threads, self.exec.loop_kind)
                    .map_err(|error: Failure| TestFailure::new("host", error.to_string()))?,
            };
            let engine = self.engine.insert(engine);
            engine.trace = self.exec.geth.trace;
            test(engine)
        }));
        result.unwrap_or_else(|panic| {
            self.engine = None;
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(TestFailure::new("panic", text))
        })
    }
}

/// Runs `work` on every document of `paths` (of standard input's list where there are none), one worker per processor,
/// each with an engine of its own, and prints the results in the order of the documents. Where standard error takes part,
/// there is one worker. Ctrl-C gives up the tests that run, each of which says where it stood, and sums up.
pub fn run(
    paths: &[PathBuf],
    exec: SuiteArgs<'_>,
    work: impl Fn(&mut Worker<'_>, &Document) -> Result<Vec<TestResult>, InputError> + Sync,
) -> Status {
    let GethArgs { geth, trace, .. } = *exec.geth;
    let paths = if paths.is_empty() { Paths::Lines { until_blank: geth } } else { Paths::Given(paths) };
    interrupt::install();
    let start = Instant::now();
    let mut totals = Totals::default();
    let mut results_of_geth = Vec::new();
    let workers = match geth || trace {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, |count| count.get()),
    };
    pipeline::each_in_parallel(
        paths,
        workers,
        || Worker { exec, engine: None },
        |worker, document| work(worker, &document),
        |result| match result.and_then(|result| result) {
            Ok(results) if geth => {
                results_of_geth.extend(results.iter().map(GethResult::of));
                if matches!(paths, Paths::Lines { .. }) {
                    print_geth(&core::mem::take(&mut results_of_geth));
                }
            }
            Ok(results) => results.iter().for_each(|result| totals.add(result, exec.json)),
            Err(error) => {
                report::complain(&error);
                totals.status = Status::Unusable;
                if geth {
                    // As go-ethereum does, and whatever still waits to come on standard input.
                    std::process::exit(1);
                }
            }
        },
    );
    if !geth {
        return totals.print(start.elapsed().as_secs_f64(), exec.json);
    }
    if let Paths::Given(_) = paths {
        print_geth(&results_of_geth);
    }
    Status::Good
}

/// One result as go-ethereum prints it.
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

/// Prints one array.
fn print_geth(results: &[GethResult]) {
    let text = serde_json::to_string_pretty(results).unwrap_or_default();
    report::line(&text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_leave_a_trace_line() {
        let line = br#"{"pc":1,"stack":["0x1","0x2"],"returnData":"0xff","gasCost":"0x3"}"#;
        assert_eq!(without(line, b",\"stack\":[", b"]"), br#"{"pc":1,"returnData":"0xff","gasCost":"0x3"}"#);
        let both = without(&without(line, b",\"stack\":[", b"]"), b",\"returnData\":\"", b"\"");
        assert_eq!(both, br#"{"pc":1,"gasCost":"0x3"}"#);
        assert_eq!(without(&both, b",\"stack\":[", b"]"), both);
    }
}
