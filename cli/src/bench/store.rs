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

use super::super::contents::{each_content, no_block};
use super::super::devnet::Devnet;
use super::super::engine::{Accepted, Chain, Engine, Failure, Latency, List};
use super::super::{Status, interrupt, report};
use super::{BenchArgs, median};
use alloy_primitives::Bytes;
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::executor::PrefetchStrategy;
use balustrade::formats::{Bundle, Content};
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
pub(super) fn main(args: &StoreArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let engine = match Engine::new(Some(args.bench.threads() as u16), LoopKind::default()) {
        Ok(engine) => engine,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let mut bench = Bench { args, engine, rows: Vec::new(), status: Status::Good };
    if args.inputs.is_empty() {
        bench.devnet();
    } else {
        bench.files();
    }
    bench.finish()
}

struct Bench<'a> {
    args: &'a StoreArgs,
    engine: Engine,
    rows: Vec<Row>,
    status: Status,
}

impl Bench<'_> {
    fn devnet(&mut self) {
        let rules = Devnet::rules();
        let mut devnet = Devnet::default();
        let mut chain = match Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header) {
            Ok(chain) => chain,
            Err(error) => return self.refused("genesis", &error),
        };
        for number in 1..=BLOCKS {
            let name = format!("devnet-{number:02}");
            let built = match self.engine.build_devnet(&mut chain, &mut devnet) {
                Ok(built) => built,
                Err(error) => return self.refused(&name, &error),
            };
            let list = List::from(Some(&built.bal));
            self.block(&mut chain, &name, &rules, &built.block, list);
            self.engine.latency = None;
            if let Err(error) =
                self.engine.execute_or_record(&mut chain, &rules, &built.block, list, Some(Mode::Bal), true)
            {
                return self.refused(&name, &error);
            }
        }
    }

    fn files(&mut self) {
        each_content(&self.args.inputs, &mut |name, content| match content {
            Ok(Content::Bundle(bundle)) => self.bundle(&bundle),
            Ok(Content::Tests(_)) => self.unusable(&format_args!("{name} is no bundle")),
            Err(error) => self.unusable(&error),
        });
    }

    fn bundle(&mut self, bundle: &Bundle) {
        let Some(rules) = bundle.rules else {
            return self.unusable(&format_args!("{}: the fork {} is not supported", bundle.name, bundle.fork_name));
        };
        let mut chain = match Chain::of_bundle(bundle) {
            Ok(chain) => chain,
            Err(error) => return self.refused(&bundle.name, &error),
        };
        // The existence log that a bundle may lack is recorded once, outside the measured time.
        self.engine.latency = None;
        let given = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
        let list = match self.engine.complete_list(&mut chain, &rules, &bundle.block, given) {
            Ok(list) => list,
            Err(error) => return self.refused(&bundle.name, &error),
        };
        self.block(&mut chain, &bundle.name, &rules, &bundle.block, list.as_list());
    }

    /// Runs one block in every way with every delay; the chain's head does not change.
    fn block(&mut self, chain: &mut Chain, name: &str, rules: &ChainRules, block: &Bytes, list: List<'_>) {
        let mut first: Option<Accepted> = None;
        for latency in &self.args.latency {
            let mut times = WAYS.map(|_| Vec::with_capacity(self.args.repeat as usize));
            let mut calls = [0; WAYS.len()];
            for _ in 0..self.args.repeat {
                for (way, (times, calls)) in WAYS.iter().zip(times.iter_mut().zip(&mut calls)) {
                    self.engine.latency = Some(*latency);
                    self.engine.parent_reads = way.reads;
                    if self.args.cold {
                        self.engine.forget_codes();
                    }
                    let list = if way.mode == Mode::Bal { list } else { List::default() };
                    let done = match self.engine.execute_or_record(chain, rules, block, list, Some(way.mode), false) {
                        Ok(done) => done,
                        Err(error) => return self.refused(name, &error),
                    };
                    if let Some(what) = first.as_ref().and_then(|first| first.difference(&done)) {
                        return self.refused(name, &Failure::Invalid { what, classes: Vec::new() });
                    }
                    times.push(done.outcome.elapsed_ns as f64);
                    *calls = done.store.map_or(0, |counts| counts.batches);
                    first.get_or_insert(done);
                }
            }
            let row = Row { block: name.to_owned(), latency: *latency, ns: times.map(median), calls };
            if self.args.bench.json {
                report::json_line(&row.json());
            }
            self.rows.push(row);
        }
    }

    fn refused(&mut self, block: &str, failure: &Failure) {
        report::complain(&format_args!("{block}: {failure}"));
        let status = if matches!(failure, Failure::Host(_)) { Status::Unusable } else { Status::Failed };
        self.status = self.status.max(status);
    }

    fn unusable(&mut self, error: &dyn std::fmt::Display) {
        report::complain(error);
        self.status = Status::Unusable;
    }

    /// Prints the totals per delay.
    fn finish(self) -> Status {
        if self.rows.is_empty() {
            return no_block(self.status);
        }
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
        self.status
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
