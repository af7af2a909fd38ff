//! `bench window`: measures chains of generated blocks, block after block and in windows of blocks.
//!
//! In: families of workloads. Out: for each family, number of threads and size of windows, the median time of the whole
//! chain: bytes of blocks and lists in memory to the last state root, each block once, with an executor that knows no code
//! at the start of the chain, as a client that follows a chain. The arrangements alternate; between two runs the blocks are
//! undone.
//! Not here: chains in files (`replay`).

use super::super::engine::Failure;
use super::super::measure::{in_turns, median, median_ratio};
use super::super::{Status, report, workload};
use super::BenchArgs;
use alloy_primitives::Bytes;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::{BlockInput, Executor, Options, Roots, StateDb, WindowOptions};
use clap::Args;
use serde_json::json;
use std::time::Instant;

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
        Ok(Self { db, rules: generator.rules, blocks, gas })
    }

    /// Executes the chain and undoes it. Returns the seconds of the execution.
    fn run(&mut self, threads: usize, window: WindowOptions) -> Result<f64, Failure> {
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
        let mut count = 0;
        for outcome in &mut replay {
            outcome.map_err(|error| host(error.to_string()))?;
            count += 1;
        }
        let (seconds, alone) = (start.elapsed().as_secs_f64(), replay.alone());
        drop(replay);
        if count != self.blocks.len() || alone > 0 {
            return Err(super::wrong(format!("{count} blocks, {alone} of them outside their windows")));
        }
        self.db.revert_to(first).map_err(|error| host(error.to_string()))?;
        Ok(seconds)
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
    let mut ratios = Vec::new();
    for family in &args.families {
        let mut chain = Generated::new(family, args)?;
        let times = in_turns((args.runs as usize, 1), arrangements.len(), |arrangement| {
            let (threads, window) = arrangements[arrangement];
            chain.run(threads, window)
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
    }
    if args.bench.json {
        report::json_line(&json!({"summary": {"rows": ratios.len()}}));
    } else {
        report::right_align(&mut table, 1);
        report::line(&table.to_string());
    }
    Ok(Status::Good)
}
