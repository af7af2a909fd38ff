//! `balustrade determinism`: executes each block in every mode, with several numbers of threads and
//! in several orders of tasks, and checks that all results are equal.
//!
//! In: bundles and block tests, with valid and invalid blocks. Out: every difference; per mode,
//! number of threads and order a digest over all results in the order of the input. The status is 1
//! unless all digests of a mode are equal.
//! A result is everything in an outcome except times, or the text and the classes of the error.
//! Not here: whether the result is correct (`run`, `blocktest`).

use super::contents::no_block;
use super::engine::{Accepted, Chain, Engine, Failure, List, OwnedList};
use super::{Status, input_path, interrupt, report};
use alloy_primitives::{B256, Bytes, keccak256};
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::formats::{self, BlockTest, Bundle, Content};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const THREADS: [u16; 5] = [1, 2, 3, 8, 16];
const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];

const EXAMPLES: &str = "Examples:
  balustrade determinism block.json.gz
  balustrade determinism blocks/ --json";

/// Options of `determinism`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeterminismArgs {
    /// Bundles or fixtures: files, folders, .tar.gz or .tar.zst archives
    #[arg(value_name = "INPUT", required = true, value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Execute only every Nth document
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// One combination of thread count and task order, and the digest of its results so far.
struct Schedule {
    engine: Engine,
    threads: u16,
    is_shuffled: bool,
    digests: [B256; MODES.len()],
}

/// The state of the command between blocks.
struct Gate {
    schedules: Vec<Schedule>,
    blocks: u64,
    executions: u64,
    differences: u64,
    status: Status,
}

/// Runs the command.
pub fn main(args: &DeterminismArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mut gate = match Gate::new() {
        Ok(gate) => gate,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let mut number = 0u32;
    for path in &args.inputs {
        let read = formats::each_document(path, &mut report::reading(None), &mut |document| {
            number = number.wrapping_add(1);
            if number.is_multiple_of(args.every) {
                match Content::parse(&document, None) {
                    Ok(Content::Bundle(bundle)) => gate.bundle(&bundle),
                    Ok(Content::Tests(tests)) => tests.iter().for_each(|test| gate.test(test)),
                    Err(error) => gate.unusable(&error),
                }
            }
            interrupt::flow()
        });
        match read {
            Ok(flow) if flow.is_break() => break,
            Ok(_) => {}
            Err(error) => gate.unusable(&error),
        }
    }
    if gate.blocks == 0 {
        gate.status = no_block(gate.status);
    }
    gate.print(args.json)
}

/// Hash of everything that two executions of a block must have in common.
fn answer(result: &Result<Accepted, Failure>) -> B256 {
    let text = match result {
        Ok(Accepted { outcome, .. }) => {
            let transactions: Vec<_> = outcome
                .transactions
                .iter()
                .map(|tx| (tx.success, tx.gas_paid, tx.gas_execution, tx.gas_state, tx.logs.len(), tx.created))
                .collect();
            format!(
                "{:?}",
                (
                    (outcome.hash, outcome.number, outcome.state_root, outcome.gas, outcome.gas_used),
                    outcome.receipts.iter().map(keccak256).collect::<Vec<_>>(),
                    (transactions, &outcome.requests, &outcome.bal),
                    (&outcome.changes, &outcome.unchecked, &outcome.existence_log),
                )
            )
        }
        Err(failure) => format!("{failure:?}"),
    };
    keccak256(text)
}

impl Gate {
    fn new() -> Result<Self, Failure> {
        let ways = [false, true].into_iter().flat_map(|is_shuffled| THREADS.map(|threads| (threads, is_shuffled)));
        let schedules = ways.map(|(threads, is_shuffled)| {
            let mut engine = Engine::new(Some(threads), LoopKind::default())?;
            engine.shuffle_tasks(is_shuffled.then(|| u64::from(threads) * 0x9e37_79b9));
            Ok(Schedule { engine, threads, is_shuffled, digests: [B256::ZERO; MODES.len()] })
        });
        let schedules = schedules.collect::<Result<_, Failure>>()?;
        Ok(Self { schedules, blocks: 0, executions: 0, differences: 0, status: Status::Good })
    }

    fn bundle(&mut self, bundle: &Bundle) {
        let list = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
        match (Chain::of_bundle(bundle), bundle.rules) {
            (Ok(mut chain), Some(rules)) => self.block(&mut chain, &bundle.name, &rules, &bundle.block, list),
            (Ok(_), None) => self.unusable(&format_args!("{}: the fork is not supported", bundle.name)),
            (Err(error), _) => self.unusable(&format_args!("{}: {error}", bundle.name)),
        }
    }

    fn test(&mut self, test: &BlockTest) {
        let mut chain = match Chain::of_test(test) {
            Ok(chain) => chain,
            Err(error) => return self.unusable(&format_args!("{}: {error}", test.name)),
        };
        for (number, block) in test.blocks.iter().enumerate() {
            let name = format!("{} #{}", test.name, number + 1);
            match chain.rules_of(test, block) {
                Some(rules) => self.block(&mut chain, &name, &rules, &block.rlp, block.bal.as_ref().into()),
                None => return self.unusable(&format_args!("{name}: the fork is not supported")),
            }
        }
    }

    /// Executes a block with every schedule and in every mode; the last execution moves the head.
    fn block(&mut self, chain: &mut Chain, name: &str, rules: &ChainRules, block: &Bytes, given: List<'_>) {
        if interrupt::flow().is_break() {
            return;
        }
        self.blocks += 1;
        // A missing list is recorded once, on one thread, so that all schedules execute with the
        // same list.
        let recorder = &mut self.schedules[0].engine;
        let complete = recorder.complete_list(chain, rules, block, given).ok();
        let list = complete.as_ref().map_or(given, OwnedList::as_list);
        let ways = self.schedules.len();
        for (m, mode) in MODES.into_iter().enumerate() {
            if mode == Mode::Bal && list.bal.is_none() {
                continue;
            }
            let mut first = None;
            for (way, schedule) in self.schedules.iter_mut().enumerate() {
                // Only the tasks of `bal` mode can run in another order.
                if schedule.is_shuffled && mode != Mode::Bal {
                    continue;
                }
                let list = if mode == Mode::Bal { list } else { given };
                let keep = mode == Mode::Bal && way + 1 == ways;
                let result = schedule.engine.execute_or_record(chain, rules, block, list, Some(mode), keep);
                self.executions += 1;
                let answer = answer(&result);
                let digest = &mut schedule.digests[m];
                *digest = keccak256([*digest, answer].concat());
                if *first.get_or_insert(answer) != answer {
                    self.differences += 1;
                    self.status = self.status.max(Status::Failed);
                    let (threads, mode) = (schedule.threads, mode.name());
                    report::complain(&format_args!("{name}: {mode} with {threads} threads has a different result"));
                }
            }
        }
    }

    fn unusable(&mut self, error: &dyn std::fmt::Display) {
        report::complain(error);
        self.status = Status::Unusable;
    }

    fn print(&self, json: bool) -> Status {
        let rows = MODES.into_iter().enumerate().flat_map(|(m, mode)| {
            let of_mode = move |schedule: &&Schedule| !schedule.is_shuffled || mode == Mode::Bal;
            self.schedules.iter().filter(of_mode).map(move |schedule| (mode, schedule, schedule.digests[m]))
        });
        let Self { blocks, executions, differences, .. } = self;
        if json {
            for (mode, Schedule { threads, is_shuffled, .. }, digest) in rows {
                let mode = mode.name();
                report::json_line(&json!({
                    "mode": mode, "threads": threads, "shuffled": is_shuffled, "digest": digest,
                }));
            }
            report::json_line(&json!({"summary": {
                "blocks": blocks, "executions": executions, "differences": differences,
            }}));
            return self.status;
        }
        let mut table = report::table();
        table.set_header(["mode", "threads", "order", "digest of all results"]);
        for (mode, Schedule { threads, is_shuffled, .. }, digest) in rows {
            let order = if *is_shuffled { "shuffled" } else { "block" };
            table.add_row([mode.name(), &threads.to_string(), order, &digest.to_string()]);
        }
        report::line(&table.to_string());
        let [blocks, executions, differences] =
            [(*blocks, "block"), (*executions, "execution"), (*differences, "difference")]
                .map(|(count, noun)| report::counted(count, noun));
        report::line(&format!("{blocks}, {executions}, {differences}"));
        self.status
    }
}
