//! `bench window`: measures chains of generated blocks, block after block and in windows of blocks.
//!
//! In: families of workloads. Out: for each family, number of threads and size of windows, the median time of the whole
//! chain: bytes of blocks and lists in memory to the last state root, each block once, with an executor that knows no code
//! at the start of the chain, as a client that follows a chain. The arrangements alternate; between two runs the blocks are
//! undone; their results are compared outside the measured runs. From the run in windows on one thread, times on more threads are predicted (`scaling::model`).
//! Not here: chains in files (`replay`).

use super::super::engine::Failure;
use super::super::measure::{in_turns, median, median_ratio};
use super::super::{Status, report, workload};
use super::BenchArgs;
use super::scaling::model::{WindowWork, Work};
use alloy_primitives::{B256, Bytes, Keccak256};
use balustrade::exec::rules::fork::ChainRules;
use balustrade::executor::Stage;
use balustrade::outcome::TxOutcome;
use balustrade::{BlockInput, BlockOutcome, Executor, Options, Roots, StateDb, WindowOptions};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Numbers of threads for which times are predicted.
const PREDICTED: [usize; 5] = [2, 4, 8, 16, 64];

/// Options of `bench window`.
#[derive(Clone, Debug, Args)]
pub struct WindowArgs {
    /// Families of workloads, separated by commas
    #[arg(value_name = "FAMILIES", value_delimiter = ',', default_value = "devnet,erc20,storage")]
    families: Vec<String>,
    /// Gas of each block in millions
    #[arg(long, value_name = "MGAS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    gas: u64,
    /// Number of blocks of each chain
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    blocks: u64,
    /// Number of accounts in the state, without contracts
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=20_000_000))]
    accounts: u64,
    /// Number of blocks in a window, beside block after block
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=4096))]
    window: u16,
    /// Also measure windows of which only the last state root is computed
    #[arg(long)]
    last: bool,
    /// Number of runs of each arrangement; the median is reported
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    #[command(flatten)]
    bench: BenchArgs,
}

/// A chain of blocks with lists, and the state before it.
struct Generated {
    db: StateDb,
    rules: ChainRules,
    blocks: Vec<(Bytes, Bytes)>,
    gas: u64,
    /// Hash of each block's results, by number.
    results: BTreeMap<u64, B256>,
}

impl Generated {
    fn new(family: &str, args: &WindowArgs) -> Result<Self, Failure> {
        let mut generator = workload::generator(family, args.gas, args.accounts)?;
        let host = |what: &str| Failure::Host(what.to_owned());
        let state = generator.chain.memory().ok_or_else(|| host("no state"))?.clone();
        let head = generator.chain.head().ok_or_else(|| host("no header"))?.clone();
        let (mut blocks, mut gas) = (Vec::new(), 0);
        let bar = report::progress_blocks(args.blocks);
        for _ in 0..args.blocks {
            let made = generator.next_block().map_err(|error| host(&error.to_string()))?;
            generator.advance(&made).map_err(|error| host(&error.to_string()))?;
            gas += made.outcome.gas_used;
            blocks.push((made.built.block, made.built.bal));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let db = StateDb::in_memory(state, head).map_err(|error| host(&error.to_string()))?;
        Ok(Self { db, rules: generator.rules, blocks, gas, results: BTreeMap::new() })
    }

    /// Executes the chain and undoes it. Returns the seconds of the execution, and what each block's stages and tasks took.
    /// The first execution notes the results of each block, and `compares` compares with them.
    fn run(&mut self, threads: usize, window: WindowOptions, compares: bool) -> Result<(f64, Vec<Work>), Failure> {
        let host = |what: String| Failure::Host(what);
        let first = self.db.head().number;
        let mut executor = Executor::builder()
            .threads(threads)
            .binding(balustrade::Binding::OneEach)
            .build()
            .map_err(|error| host(error.to_string()))?;
        let blocks = self.blocks.iter();
        let inputs = blocks.map(|(block, list)| BlockInput::new(&self.rules, block.clone()).with_list(list.clone()));
        let start = Instant::now();
        let mut replay = self.db.replay(&mut executor, inputs, Options::automatic(), window);
        let mut works = Vec::with_capacity(self.blocks.len());
        for outcome in &mut replay {
            let outcome = outcome.map_err(|error| host(error.to_string()))?;
            if compares {
                let result = result_of(&outcome);
                if *self.results.entry(outcome.number).or_insert(result) != result {
                    return Err(super::wrong(format!("block {} has another result in windows", outcome.number)));
                }
            }
            works.push(work_of(&outcome));
        }
        let (seconds, alone) = (start.elapsed().as_secs_f64(), replay.alone());
        drop(replay);
        if works.len() != self.blocks.len() || alone > 0 {
            return Err(super::wrong(format!("{} blocks, {alone} of them outside their windows", works.len())));
        }
        self.db.revert_to(first).map_err(|error| host(error.to_string()))?;
        Ok((seconds, works))
    }
}

/// Hash of everything in an outcome that does not depend on times and threads.
fn result_of(outcome: &BlockOutcome) -> B256 {
    let BlockOutcome { hash, receipts, requests, gas, changes, before, transactions, .. } = outcome;
    let mut hasher = Keccak256::new();
    receipts.iter().for_each(|receipt| hasher.update(receipt));
    hasher.update(format!("{hash} {requests:?} {gas:?} {changes:?} {before:?}"));
    for TxOutcome { success, gas_paid, gas_execution, gas_state, created, .. } in transactions {
        hasher.update(format!("{success} {gas_paid} {gas_execution} {gas_state} {created:?}"));
    }
    hasher.finalize()
}

/// The stages and tasks of a block that ran on one thread.
fn work_of(outcome: &BlockOutcome) -> Work {
    let stage = |stage| report::busy_ns(&outcome.timeline, stage) as f64;
    let tasks = outcome.tasks.iter().map(|task| (task.end_ns - task.start_ns) as f64).collect();
    let (verify, signatures) = (stage(Stage::Verify), outcome.transactions.len());
    Work { verify, tasks, signatures, ..Work::of_stages(stage) }
}

/// Predictions from a run on one thread.
struct Prediction {
    windows: Vec<WindowWork>,
    /// Seconds of that run.
    seconds: f64,
}

impl Prediction {
    fn new(works: &[Work], seconds: f64) -> Self {
        // The states before the blocks of a window are in the timeline of its first block.
        let windows: Vec<&[Work]> = works.chunk_by(|_, next| next.read == 0.0).collect();
        let sum: f64 = works.iter().map(Work::total).sum();
        let rest = (seconds * 1e9 - sum).max(0.0) / windows.len().max(1) as f64;
        let windows = windows.into_iter().map(|blocks| {
            let states = blocks.iter().map(|block| block.read).sum();
            WindowWork { blocks: blocks.to_vec(), states, rest }
        });
        Self { windows: windows.collect(), seconds }
    }

    /// Seconds on so many threads.
    fn seconds(&self, threads: usize) -> f64 {
        self.windows.iter().map(|window| window.simulate(threads)).sum::<f64>() / 1e9
    }

    fn json(&self, measured: Option<(usize, f64)>) -> Value {
        let predicted = PREDICTED.map(|threads| {
            let seconds = self.seconds(threads);
            json!({"threads": threads, "seconds": seconds, "speed_up": self.seconds / seconds})
        });
        let error = measured.map(|(threads, seconds)| {
            json!({
                "threads": threads, "measured_seconds": seconds, "error": self.seconds(threads) / seconds - 1.0,
            })
        });
        let parts = self.parts().into_iter().map(|(share, name)| json!({"part": name, "share_of_one_thread": share}));
        json!({"predicted": predicted, "check": error, "serial": parts.collect::<Vec<_>>()})
    }

    /// The serial parts of all windows, as shares of the time on one thread.
    fn parts(&self) -> Vec<(f64, &'static str)> {
        let mut sums: Vec<(f64, &'static str)> = Vec::new();
        for (ns, name) in self.windows.iter().flat_map(WindowWork::serial_parts) {
            let share = ns / 1e9 / self.seconds;
            match sums.iter_mut().find(|sum| sum.1 == name) {
                Some(sum) => sum.0 += share,
                None => sums.push((share, name)),
            }
        }
        sums.sort_by(|one, two| two.0.total_cmp(&one.0));
        sums
    }

    fn print(&self, family: &str, measured: Option<(usize, f64)>) {
        let speed_ups = PREDICTED.map(|threads| format!("{:.2}", self.seconds / self.seconds(threads)));
        report::line(&format!("{family}, windows predicted on {PREDICTED:?} threads: {}", speed_ups.join(" ")));
        if let Some((threads, seconds)) = measured {
            let error = 100.0 * (self.seconds(threads) / seconds - 1.0);
            report::line(&format!("  against the measurement on {threads} threads: {error:+.1} %"));
        }
        let parts = self.parts().into_iter().map(|(share, name)| format!("{name} {:.1} %", 100.0 * share));
        report::line(&format!("  serial, of the time on one thread: {}", parts.collect::<Vec<_>>().join(", ")));
    }
}

/// Measures and prints the results.
pub(super) fn run(args: &WindowArgs) -> Result<Status, Failure> {
    let mut table = report::table();
    table.set_header(["family", "threads", "blocks together", "ms/block", "blocks/s", "Mgas/s", "to one by one"]);
    let together = WindowOptions::new(usize::from(args.window));
    let mut arrangements = Vec::new();
    for threads in args.bench.thread_counts() {
        arrangements.push((threads, WindowOptions::new(1)));
        arrangements.push((threads, together));
        if args.last {
            arrangements.push((threads, together.with_roots(Roots::Last)));
        }
    }
    let (mut ratios, mut predictions) = (Vec::new(), Vec::new());
    for family in &args.families {
        let mut chain = Generated::new(family, args)?;
        // The fastest run in windows on one thread is the one that other work on the machine disturbed least.
        let mut single: Option<(f64, Vec<Work>)> = None;
        // Outside the measured runs, all results are compared.
        for (threads, window) in &arrangements {
            chain.run(*threads, *window, true)?;
        }
        let times = in_turns((args.runs as usize, 0), arrangements.len(), |arrangement| {
            let (threads, window) = arrangements[arrangement];
            let (seconds, works) = chain.run(threads, window, false)?;
            let is_window = window.blocks > 1 && window.roots == Roots::Every;
            if threads == 1 && is_window && single.as_ref().is_none_or(|best| seconds < best.0) {
                single = Some((seconds, works));
            }
            Ok::<f64, Failure>(seconds)
        })?;
        let mut alone = 0;
        for (row, (threads, window)) in arrangements.iter().enumerate() {
            if window.blocks == 1 {
                alone = row;
            }
            let seconds = median(&times[row]);
            let ratio = median_ratio(&times[alone], &times[row]);
            let blocks = chain.blocks.len() as f64;
            let name = match (window.blocks, window.roots) {
                (1, _) => "one by one".to_owned(),
                (count, Roots::Last) => format!("{count}, last root"),
                (count, _) => count.to_string(),
            };
            table.add_row([
                family.clone(),
                threads.to_string(),
                name,
                format!("{:.3}", seconds * 1e3 / blocks),
                format!("{:.0}", blocks / seconds),
                format!("{:.0}", chain.gas as f64 / seconds / 1e6),
                format!("{ratio:.2}"),
            ]);
            let line = json!({
                "family": family, "threads": threads, "window": window.blocks, "last_root_only": window.roots == Roots::Last,
                "blocks": chain.blocks.len(), "gas": chain.gas, "seconds": seconds, "ratio_to_one_by_one": ratio,
            });
            if args.bench.json {
                report::json_line(&line);
            }
            ratios.push(line);
        }
        let Some((seconds, works)) = single else { continue };
        let prediction = Prediction::new(&works, seconds);
        let measured = arrangements.iter().position(|(threads, window)| *threads > 1 && *window == together);
        let fastest = |row: usize| times[row].iter().copied().fold(f64::INFINITY, f64::min);
        let measured = measured.map(|row| (arrangements[row].0, fastest(row)));
        if args.bench.json {
            let mut line = prediction.json(measured);
            line["family"] = json!(family);
            report::json_line(&line);
        }
        predictions.push((family.clone(), prediction, measured));
    }
    if args.bench.json {
        report::json_line(&json!({"summary": {"rows": ratios.len()}}));
    } else {
        report::right_align(&mut table, 1);
        report::line(&table.to_string());
        predictions.iter().for_each(|(family, prediction, measured)| prediction.print(family, *measured));
    }
    Ok(Status::Good)
}
