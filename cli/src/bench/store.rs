//! `bench store`: measures the cost of a slow store for the parent state, and the effect of
//! prefetching by the block access list.
//!
//! In: bundles, or the first blocks of the chain that `run` generates; delays of the store. Out:
//! the median time of each block, from the raw bytes to the last check, and the number of store
//! calls: in `sequential` mode (without prefetch), in `optimistic` mode (workers prefetch), and in
//! `bal` mode with each prefetch strategy.
//! The strategies alternate; analysed codes are kept from one run to the next unless `--cold` is
//! given.
//! Not here: the strategies (`PrefetchStrategy`).

use super::super::contents::no_block;
use super::super::engine::{Accepted, Engine, Failure, Latency};
use super::super::measure::median;
use super::super::{Status, report};
use super::BenchArgs;
use super::blocks::{Subject, each_block, elapsed_ns, engines};
use balustrade::Mode;
use balustrade::executor::PrefetchStrategy;
use clap::Args;
use serde_json::{Map, json};
use std::path::PathBuf;

/// Number of generated blocks if no input is given.
const BLOCKS: usize = 3;

/// Options of `bench store`.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Bundles: files, folders, .tar.gz or .tar.zst archives; without any, blocks of the generated
    /// chain
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Delay of every store call in microseconds, and of every item of the call; may be given
    /// several times
    #[arg(long, value_name = "MICROS[,ITEM]", value_parser = Latency::parse,
        default_values = ["0", "20,1", "100,2", "500,5"])]
    latency: Vec<Latency>,
    /// Number of runs of each block with each delay and strategy; the median is reported
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    /// Clear the code cache before every run, so that codes are read from the store too
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    bench: BenchArgs,
}

/// A mode, and in `bal` mode a prefetch strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    mode: Mode,
    reads: Option<PrefetchStrategy>,
}

const WAYS: [Way; 6] = [
    Way { mode: Mode::Sequential, reads: None },
    Way { mode: Mode::Optimistic, reads: None },
    Way { mode: Mode::Bal, reads: Some(PrefetchStrategy::OnDemand) },
    Way { mode: Mode::Bal, reads: Some(PrefetchStrategy::OnePass) },
    Way { mode: Mode::Bal, reads: Some(PrefetchStrategy::Before) },
    Way { mode: Mode::Bal, reads: Some(PrefetchStrategy::Beside) },
];

impl Way {
    fn name(self) -> String {
        self.reads.map_or_else(|| self.mode.name().to_owned(), |reads| format!("bal {}", reads.name()))
    }
}

/// One block with one delay: time and store calls of each way.
struct Row {
    block: String,
    latency: Latency,
    ns: [f64; WAYS.len()],
    calls: [usize; WAYS.len()],
}

/// Runs the command.
pub(super) fn run(args: &StoreArgs) -> Result<Status, Failure> {
    let mut engines = engines([args.bench.threads()])?;
    let mut bench = Bench { args, rows: Vec::new() };
    let status = each_block(&args.inputs, BLOCKS, &mut engines, &mut |engines, subject| {
        let done = bench.block(&mut engines[0], subject);
        (engines[0].latency, engines[0].parent_reads) = (None, None);
        done
    });
    Ok(if bench.rows.is_empty() { no_block(status) } else { bench.print(status) })
}

struct Bench<'a> {
    args: &'a StoreArgs,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Runs one block in every way with every delay.
    fn block(&mut self, engine: &mut Engine, subject: &mut Subject<'_>) -> Result<(), Failure> {
        for latency in &self.args.latency {
            let execute = |subject: &mut Subject<'_>, way: usize| {
                let way = WAYS[way];
                (engine.latency, engine.parent_reads) = (Some(*latency), way.reads);
                if self.args.cold {
                    engine.forget_codes();
                }
                subject.execute(engine, way.mode)
            };
            let keep = |done: &Accepted| (elapsed_ns(done), done.store.map_or(0, |counts| counts.batches));
            let runs = subject.in_turns((self.args.repeat as usize, 0), WAYS.len(), execute, keep)?;
            let mut row = Row { block: subject.name.to_owned(), latency: *latency, ns: [0.0; _], calls: [0; _] };
            for (way, runs) in runs.iter().enumerate() {
                row.ns[way] = median(&runs.iter().map(|(ns, _)| *ns).collect::<Vec<_>>());
                row.calls[way] = runs.last().map_or(0, |(_, calls)| *calls);
            }
            if self.args.bench.json {
                report::json_line(&row.json());
            }
            self.rows.push(row);
        }
        Ok(())
    }

    /// Prints the totals per delay.
    fn print(self, status: Status) -> Status {
        let mut table = report::table();
        let mut header = vec!["block".to_owned(), "µs per call,item".to_owned()];
        header.extend(WAYS.map(|way| format!("{} ms", way.name())));
        header.push("calls on demand".to_owned());
        header.push("calls beside".to_owned());
        header.push("beside / before".to_owned());
        table.set_header(header);
        for row in &self.rows {
            let mut cells = vec![row.block.clone(), row.latency.to_string()];
            cells.extend(row.ns.map(|ns| format!("{:.2}", ns / 1e6)));
            cells.extend([ON_DEMAND, BESIDE].map(|way| row.calls[way].to_string()));
            cells.push(format!("{:.2}", row.ns[BESIDE] / row.ns[BEFORE]));
            table.add_row(cells);
        }
        report::right_align(&mut table, 1);
        let totals: Vec<_> = self.args.latency.iter().map(|latency| self.total(*latency)).collect();
        if self.args.bench.json {
            report::json_line(&json!({"summary": {
                "blocks": self.rows.len() / self.args.latency.len().max(1),
                "threads": self.args.bench.threads(),
                "repeat": self.args.repeat,
                "cold": self.args.cold,
                "by_latency": totals,
            }}));
        } else {
            report::line(&table.to_string());
            for total in totals {
                report::line(&format!(
                    "{} µs: no prefetch takes {:.2} times, prefetch before execution {:.2} times as long as prefetch during it",
                    total["latency"].as_str().unwrap_or_default(),
                    total["on_demand_vs_beside"].as_f64().unwrap_or(f64::NAN),
                    total["before_vs_beside"].as_f64().unwrap_or(f64::NAN),
                ));
            }
        }
        status
    }

    /// Sums over all blocks with one delay.
    fn total(&self, latency: Latency) -> serde_json::Value {
        let rows = || self.rows.iter().filter(|row| row.latency == latency);
        let sum = |way: usize| rows().map(|row| row.ns[way]).sum::<f64>();
        let mut total: Map<_, _> = WAYS
            .iter()
            .enumerate()
            .map(|(at, way)| (format!("{} ns", way.name()).replace(' ', "_"), json!(sum(at))))
            .collect();
        total.insert("latency".to_owned(), json!(latency.to_string()));
        total.insert("on_demand_vs_beside".to_owned(), json!(sum(ON_DEMAND) / sum(BESIDE)));
        total.insert("before_vs_beside".to_owned(), json!(sum(BEFORE) / sum(BESIDE)));
        total.into()
    }
}

/// Indexes into [`WAYS`].
const ON_DEMAND: usize = 2;
const BEFORE: usize = 4;
const BESIDE: usize = 5;

impl Row {
    fn json(&self) -> serde_json::Value {
        let ways: Map<_, _> = WAYS
            .iter()
            .enumerate()
            .map(|(at, way)| (way.name(), json!({"ns": self.ns[at], "store_calls": self.calls[at]})))
            .collect();
        json!({"block": self.block, "latency": self.latency.to_string(), "ways": ways})
    }
}
