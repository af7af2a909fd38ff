//! `balustrade run`: executes blocks and prints where their time goes.
//!
//! In: bundles, fixtures, folders and archives of them. Out: a row per block, and totals.
//! Blocks run one at a time, and documents are read between them, so that no other work of the
//! command competes with a block that is timed.
//! Not here: protocol rules.

use super::contents::no_block;
use super::devnet::{self, Devnet};
use super::engine::{Accepted, Chain, Engine, Failure, Latency, List, modes};
use super::explain::{self, Subject};
use super::follow::{Feed, Stopped};
use super::output::{OutputError, OutputFile};
use super::report::{self, BlockRow, ModesRow, RunSummary};
use super::slow_block::{EvmCounts, SlowBlock};
use super::trace::Lines;
use super::{ExecArgs, Status, chain, input_path, interrupt, store};
use alloy_primitives::Bytes;
use balustrade::BlockOutcome;
use balustrade::arena::store::StoreCounts;
use balustrade::exec::block::optimistic::Speculation;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::executor::{ParentReadCount, Span};
use balustrade::formats::chain::ChainReader;
use balustrade::formats::{self, BlockTest, Bundle, Content, Expected};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  balustrade run                                   # a generated chain
  balustrade run block.json.gz --mode all --repeat 20
  balustrade run blocks.tar.zst --threads 8 --json
  balustrade run bad.json.gz --explain bad.md      # why is this block rejected?";

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Bundles or fixtures: files, folders, .tar.gz or .tar.zst archives, `-` for JSON on standard
    /// input; without any, a generated chain of 60 blocks
    #[arg(value_name = "INPUT", value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Execute each block this many times and report the execution of median time
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: u32,
    /// Write the EIP-3155 trace of all transactions to this file, with a summary line after each
    /// transaction. A rejected block's trace ends at its error. With `--mode all` the traces of all
    /// modes are compared. Transactions run one after another in every mode, and the reported times
    /// include tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write everything known about rejected blocks to this Markdown file: header and execution side
    /// by side, differences from the block access list and from the file's receipts, all
    /// transactions with their hashes, and the EIP-3155 trace of the first transaction that differs
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
    /// Write each block's slow-block object (times, reads and writes in the form that other clients
    /// log) to this file, one per line; with --json the block's line contains it too
    #[arg(long, value_name = "FILE")]
    slow_blocks: Option<PathBuf>,
    /// Also count SLOAD, SSTORE, call and create instructions for the slow-block objects; each
    /// block is executed once more for this, outside the measured time
    #[arg(long, conflicts_with = "trace")]
    evm_counts: bool,
    /// Cancel a block after this many seconds; by default there is no limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_limit: Option<Duration>,
    /// Delay every call of the state store by MICROS microseconds, and by ITEM more for each item
    /// of the call; by default no delay
    #[arg(long, value_name = "MICROS[,ITEM]", value_parser = Latency::parse)]
    latency: Option<Latency>,
    /// Choose the rules of bundles by block number and time from this chain's schedule (mainnet,
    /// sepolia, hoodi, holesky or a geth-style genesis file) instead of the fork that they name;
    /// test fixtures keep their own network
    #[arg(long, value_name = "NAME|FILE", value_parser = chain::of_arg)]
    chain: Option<Box<ChainConfig>>,
    /// Execute the blocks of these chain files on the head of the store in this folder, each on the one before. The
    /// store is not changed
    #[arg(long, value_name = "DIR", requires = "inputs", conflicts_with = "chain")]
    store: Option<PathBuf>,
    #[command(flatten)]
    exec: ExecArgs,
}

/// Runs the command.
pub fn main(args: &RunArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mut engine = match Engine::new(args.exec.threads, args.exec.loop_kind) {
        Ok(engine) => engine,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    engine.time_limit = args.time_limit;
    engine.latency = args.latency;
    let create = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::create).transpose();
    let files = || Ok::<_, OutputError>((create(&args.trace)?, create(&args.slow_blocks)?, create(&args.explain)?));
    let (trace, slow_blocks, explain) = match files() {
        Ok(files) => files,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    if let Some(file) = trace {
        engine.start_trace(Lines::File(file));
    }
    let mut run = Run {
        args,
        engine,
        slow_blocks,
        explain,
        rows: Vec::new(),
        compared: Vec::new(),
        summary: RunSummary::default(),
        list_mismatch: false,
        status: Status::Good,
    };
    if let Some(dir) = &args.store {
        if let Err(error) = run.on_store(dir) {
            run.unusable(&error);
        }
    } else if args.inputs.is_empty() {
        run.devnet();
    } else {
        run.files();
    }
    run.finish()
}

/// Parses a number of seconds, such as the value of `--time-limit`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The state of the command between blocks.
struct Run<'a> {
    args: &'a RunArgs,
    engine: Engine,
    slow_blocks: Option<OutputFile>,
    explain: Option<OutputFile>,
    rows: Vec<BlockRow>,
    compared: Vec<ModesRow>,
    summary: RunSummary,
    /// Whether the block access list of any block differed from its execution.
    list_mismatch: bool,
    status: Status,
}

/// The JSON line of a block. The slow-block object comes last, with its fields in the order of the
/// other clients, so that their scripts can read it.
#[derive(Serialize)]
struct JsonRow {
    #[serde(flatten)]
    row: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_block: Option<SlowBlock>,
}

/// The executions of a block in one mode: the times of all of them, and the result of the last one.
#[derive(Default)]
struct Repeats {
    times: Vec<Times>,
    last: Option<Accepted>,
}

/// The figures that differ between two executions of a block.
struct Times {
    elapsed_ns: u64,
    timeline: Vec<Span>,
    speculation: Option<Speculation>,
    reads: ParentReadCount,
    store: Option<StoreCounts>,
}

impl Repeats {
    fn push(&mut self, accepted: Accepted) {
        let BlockOutcome { elapsed_ns, ref timeline, speculation, reads, .. } = accepted.outcome;
        self.times.push(Times { elapsed_ns, timeline: timeline.clone(), speculation, reads, store: accepted.store });
        self.last = Some(accepted);
    }

    /// Returns the result with the times of the median execution, and the time of each execution in
    /// nanoseconds.
    fn into_median(mut self) -> Option<(Accepted, Vec<u64>)> {
        let repeats_ns = self.times.iter().map(|times| times.elapsed_ns).collect();
        self.times.sort_by_key(|times| times.elapsed_ns);
        let Times { elapsed_ns, timeline, speculation, reads, store } = self.times.swap_remove(self.times.len() / 2);
        let mut median = self.last?;
        median.store = store;
        let outcome = &mut median.outcome;
        (outcome.elapsed_ns, outcome.timeline, outcome.speculation, outcome.reads) =
            (elapsed_ns, timeline, speculation, reads);
        Some((median, repeats_ns))
    }
}

/// One block to execute, and what its file says about it.
struct Step<'a> {
    name: String,
    fork: &'a str,
    rules: Option<ChainRules>,
    block: &'a Bytes,
    list: List<'a>,
    expect_exception: Option<&'a str>,
    expected: Expected,
    /// The block test and the block's position in it, where the block is from one.
    test: Option<(&'a BlockTest, usize)>,
}

impl<'a> Step<'a> {
    fn subject(&'a self, rules: &'a ChainRules) -> Subject<'a> {
        let Self { ref name, block, list, ref expected, test, .. } = *self;
        Subject { name, rules, block, list, expected, test }
    }
}

impl Run<'_> {
    fn files(&mut self) {
        let paths = &self.args.inputs;
        let bar = report::progress_bytes(formats::total_bytes(paths));
        for path in paths {
            let read = formats::each_document(path, &mut report::reading(Some(&bar)), &mut |document| {
                bar.set_message(document.short_name());
                match Content::parse(&document, None) {
                    Ok(Content::Bundle(bundle)) => bar.suspend(|| self.bundle(&bundle)),
                    Ok(Content::Tests(tests)) => bar.suspend(|| tests.iter().for_each(|test| self.test(test))),
                    Err(error) => bar.suspend(|| self.unusable(&error)),
                }
                interrupt::flow()
            });
            match read {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => bar.suspend(|| self.unusable(&error)),
            }
        }
        bar.finish_and_clear();
    }

    /// Executes the generated chain: each block is built outside the measured time, then executed
    /// like any other.
    fn devnet(&mut self) {
        let mut devnet = Devnet::default();
        let rules = Devnet::rules();
        let mut chain = match Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header) {
            Ok(chain) => chain,
            Err(error) => return self.unusable(&error),
        };
        let bar = report::progress_blocks(devnet::BLOCKS);
        for number in 1..=devnet::BLOCKS {
            match self.engine.build_devnet(&mut chain, &mut devnet) {
                Ok(built) => self.step(
                    &mut chain,
                    &Step {
                        name: format!("devnet-{number:02}"),
                        fork: Fork::Amsterdam.name(),
                        rules: Some(rules),
                        block: &built.block,
                        list: Some(&built.bal).into(),
                        expect_exception: None,
                        expected: Expected::default(),
                        test: None,
                    },
                ),
                Err(error) => return self.unusable(&format_args!("devnet-{number:02}: {error}")),
            }
            bar.inc(1);
            // The next block needs this one as its parent.
            if self.status != Status::Good {
                break;
            }
        }
        bar.finish_and_clear();
    }

    /// Executes the blocks of chain files that follow the head of a store, up to the first that is invalid. They are kept
    /// in memory alone.
    fn on_store(&mut self, dir: &Path) -> Result<(), String> {
        let (db, config, _) = store::open_db(dir, 1).map_err(|error| format!("{}: {error}", dir.display()))?;
        let head = db.head().number;
        let mut chain = Chain::of_db(db.detached(head).map_err(|error| error.to_string())?);
        let reader = ChainReader::open(&self.args.inputs, None).map_err(|error| error.to_string())?;
        let mut feed = Feed::of_files(reader, &chain, None).map_err(|error| error.to_string())?;
        let bar = feed.bar();
        while self.status == Status::Good {
            let block = match feed.next(&chain) {
                Ok(Some(block)) => block,
                Ok(None) | Err(Stopped::Interrupted) => break,
                Err(stopped) => return Err(stopped.to_string()),
            };
            let rules = config.rules_of(&block.header);
            let step = Step {
                name: block.header.number.to_string(),
                fork: rules.fork.name(),
                rules: Some(rules),
                block: &block.item.block,
                list: block.list(),
                expect_exception: None,
                expected: Expected::default(),
                test: None,
            };
            bar.suspend(|| self.step(&mut chain, &step));
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn bundle(&mut self, bundle: &Bundle) {
        let header = Header::of_block(&bundle.block).ok();
        let (mut fork, mut rules) = (bundle.fork_name.as_str(), bundle.rules);
        let config = self.args.chain.as_deref();
        if let (Some(config), Some(header)) = (config, &header) {
            if config.chain_id != bundle.chain_id {
                let (found, asked) = (bundle.chain_id, config.chain_id);
                return self.unusable(&format_args!("{}: of chain {found}, --chain is {asked}", bundle.name));
            }
            let scheduled = config.rules_of(header);
            (fork, rules) = (scheduled.fork.name(), Some(scheduled));
        }
        match Chain::of_bundle_with(bundle, config.cloned()) {
            Ok(mut chain) => self.step(
                &mut chain,
                &Step {
                    name: bundle.name.clone(),
                    fork,
                    rules,
                    block: &bundle.block,
                    list: List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() },
                    expect_exception: None,
                    expected: bundle.expected.clone(),
                    test: None,
                },
            ),
            Err(error) => self.unusable(&format_args!("{}: {error}", bundle.name)),
        }
    }

    fn test(&mut self, test: &BlockTest) {
        if interrupt::flow().is_break() {
            return;
        }
        let mut chain = match Chain::of_test(test) {
            Ok(chain) => chain,
            Err(error) => return self.unusable(&format_args!("{}: {error}", test.name)),
        };
        for (number, block) in test.blocks.iter().enumerate() {
            if interrupt::flow().is_break() {
                return;
            }
            let step = Step {
                name: format!("{} #{}", test.name, number + 1),
                fork: &test.network_name,
                rules: chain.rules_of(test, block),
                block: &block.rlp,
                list: block.bal.as_ref().into(),
                expect_exception: block.expect_exception.as_deref(),
                expected: Expected::default(),
                test: Some((test, number)),
            };
            self.step(&mut chain, &step);
        }
    }

    /// Executes a block in every requested mode, `--repeat` times each; the last execution moves
    /// the chain's head.
    fn step(&mut self, chain: &mut Chain, step: &Step<'_>) {
        let Some(rules) = step.rules else {
            return self.unusable(&format_args!("{}: the fork {} is not supported", step.name, step.fork));
        };
        let evm = match self.evm_counts(chain, &rules, step) {
            Ok(evm) => evm,
            Err(failure) => return self.refused(step, &failure, &[]),
        };
        let modes = modes(self.args.exec.mode);
        // Modes alternate, so that other load on the machine affects all of them. The trace of the
        // first execution is written; those of the others are compared with it by hash.
        let mut runs: Vec<Repeats> = modes.iter().map(|_| Repeats::default()).collect();
        for repeat in 1..=self.args.repeat {
            for (at, mode) in modes.iter().enumerate() {
                let keep = at + 1 == modes.len() && repeat == self.args.repeat;
                self.engine.write_trace(at == 0 && repeat == 1);
                match self.engine.execute_or_record(chain, &rules, step.block, step.list, *mode, keep) {
                    Ok(accepted) => runs[at].push(accepted),
                    Err(failure) => return self.rejected(chain, &rules, step, &failure),
                }
            }
        }
        let subject = step.subject(&rules);
        if let Some(accepted) = runs.first().and_then(|runs| runs.last.as_ref()) {
            let lines = subject.differences(&accepted.outcome);
            if !lines.is_empty() {
                return self.refused(step, &Failure::Host(explain::DISAGREEMENT.to_owned()), &lines);
            }
        }
        let mut first: Option<Accepted> = None;
        let mut compared = Vec::with_capacity(modes.len());
        for (accepted, repeats_ns) in runs.into_iter().filter_map(Repeats::into_median) {
            if let Some(what) = first.as_ref().and_then(|first| first.difference(&accepted)) {
                return self.refused(step, &Failure::Invalid { what, classes: Vec::new() }, &[]);
            }
            self.summary.add(&accepted.outcome);
            let row = BlockRow::new(step.name.clone(), step.fork.to_owned(), &accepted, repeats_ns);
            compared.push(row.clone());
            let slow_block = self.counts_asked().then(|| SlowBlock::new(&accepted, evm, chain, &self.engine));
            self.write_slow_block(slow_block.as_ref());
            if self.args.exec.json {
                report::json_line(&JsonRow { row: row.json(), slow_block });
            } else {
                self.rows.push(row);
            }
            first.get_or_insert(accepted);
        }
        self.compared.extend(ModesRow::new(&compared));
    }

    /// Returns the instruction counts of a block, if they are requested.
    fn evm_counts(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        step: &Step<'_>,
    ) -> Result<Option<EvmCounts>, Failure> {
        if !(self.args.evm_counts && self.counts_asked()) {
            return Ok(None);
        }
        let workers = self.engine.watched(chain, rules, step.block, step.list)?;
        Ok(Some(EvmCounts::of(&workers)))
    }

    fn counts_asked(&self) -> bool {
        self.args.exec.json || self.slow_blocks.is_some()
    }

    /// Appends a block's object to the slow-block file.
    fn write_slow_block(&mut self, slow_block: Option<&SlowBlock>) {
        let (Some(file), Some(slow_block)) = (&mut self.slow_blocks, slow_block) else { return };
        let written = serde_json::to_writer(&mut *file, slow_block).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
            let fault = file.fault(error);
            self.slow_blocks = None;
            self.unusable(&fault);
        }
    }

    /// Reports a rejected block with the transaction and the accounts that differ, and writes them
    /// to the file of `--explain`.
    fn rejected(&mut self, chain: &mut Chain, rules: &ChainRules, step: &Step<'_>, failure: &Failure) {
        let subject = step.subject(rules);
        let mut causes = Vec::new();
        if let Failure::Invalid { what, classes } = failure
            && step.expect_exception.is_none()
        {
            if let Some(file) = self.explain.take() {
                match subject.write(&mut self.engine, chain, what, file) {
                    Ok(file) => self.explain = Some(file),
                    Err(error) => self.unusable(&error),
                }
            }
            causes = subject.causes(&mut self.engine, chain, classes);
        }
        self.refused(step, failure, &causes);
    }

    fn refused(&mut self, step: &Step<'_>, failure: &Failure, causes: &[String]) {
        let (what, status) = match failure {
            Failure::Invalid { .. } if step.expect_exception.is_some() => {
                self.summary.refused_as_expected += 1;
                return;
            }
            Failure::Invalid { what, classes } => {
                self.summary.invalid += 1;
                self.list_mismatch |= classes.contains(&"BlockException.INVALID_BLOCK_ACCESS_LIST");
                (what, Status::Failed)
            }
            Failure::Host(what) => (what, Status::Unusable),
        };
        self.status = self.status.max(status);
        if self.args.exec.json {
            let mut line = json!({
                "block": step.name, "fork": step.fork, "valid": false, "error": what,
                "kind": if status == Status::Failed { "invalid" } else { "host" },
            });
            if !causes.is_empty() {
                line["causes"] = json!(causes);
            }
            report::json_line(&line);
        } else {
            let causes: String = causes.iter().map(|cause| format!("\n  {cause}")).collect();
            report::complain(&format_args!("{}: {what}{causes}", step.name));
        }
    }

    fn unusable(&mut self, error: &dyn std::fmt::Display) {
        report::complain(error);
        self.status = Status::Unusable;
    }

    fn finish(mut self) -> Status {
        if let Some(Err(error)) = self.slow_blocks.take().map(OutputFile::finish) {
            self.unusable(&error);
        }
        // If no block was rejected, no file is created.
        if let Some(file) = self.explain.take().filter(|file| !file.is_empty()) {
            let path = file.path().display().to_string();
            match file.finish() {
                Ok(_) if !self.args.exec.json => report::line(&format!("explanation of rejected blocks: {path}")),
                Ok(_) => {}
                Err(error) => self.unusable(&error),
            }
        }
        // A rejected block's trace is completed as well: it shows the execution up to the error.
        if let Err(error) = self.engine.finish_trace() {
            self.unusable(&error);
        }
        if self.summary.is_empty() {
            self.status = no_block(self.status);
        }
        if self.args.exec.json {
            let mut line = self.summary.json();
            if !self.compared.is_empty() {
                line["summary"]["compared"] = self.compared.iter().map(ModesRow::json).collect();
            }
            report::json_line(&line);
        } else {
            if !self.rows.is_empty() {
                report::line(&report::block_title(&self.rows));
                report::line(&report::block_table(&self.rows).to_string());
                if !self.compared.is_empty() {
                    report::line(&report::modes_table(&self.compared).to_string());
                }
                report::unchecked_lines(&self.rows).iter().for_each(|line| report::line(line));
            }
            self.summary.lines("verified").iter().for_each(|line| report::line(line));
            if self.list_mismatch {
                report::line(
                    "`balustrade bal verify` shows every disagreement of a list with the execution, not only the first",
                );
            } else if self.args.inputs.is_empty() && self.status == Status::Good {
                report::line(
                    "next: `balustrade profile` shows where the time goes; `balustrade workload --help` makes larger blocks",
                );
            }
        }
        self.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balustrade::Mode;
    use balustrade::exec::interpreter::LoopKind;

    #[test]
    fn sealed_devnet_blocks_verify_in_every_mode_and_hold_what_they_promise() {
        let mut devnet = Devnet::default();
        let rules = Devnet::rules();
        let mut chain = Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header).expect("a genesis");
        let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
        for _ in 0..2 {
            let built = engine.build_devnet(&mut chain, &mut devnet).expect("valid transactions");
            let mut run = |mode, keep| {
                engine.execute_or_record(&mut chain, &rules, &built.block, Some(&built.bal).into(), Some(mode), keep)
            };
            let sequential = run(Mode::Sequential, false).expect("valid");
            let bal = run(Mode::Bal, true).expect("valid");
            assert_eq!(sequential.difference(&bal), None);
            assert_eq!(bal.outcome.hash, built.header.hash());
            assert!(bal.outcome.transactions.iter().all(|transaction| transaction.success));
            assert!((25_000_000..50_000_000).contains(&bal.outcome.gas_used), "{}", bal.outcome.gas_used);
        }
    }
}
