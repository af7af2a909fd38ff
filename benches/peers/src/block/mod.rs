//! `peers block`: whole blocks in our modes, in revm and in ethrex, each sequentially and driven by the block access
//! list.
//!
//! In: block bundles with complete pre-state and list. Out: per block and family the time from the raw bytes of block
//! and list to the last check, in all arrangements interleaved in one run. Every arrangement checks gas used, receipts
//! root, logs bloom, requests hash, list hash and state root against the header; an arrangement that refuses a block
//! ends the run.
//!
//! | arrangement | what it is |
//! |---|---|
//! | bal, sequential, optimistic | ours, on all threads of the run; `sequential-1` on one; `bal-cold` with cold codes |
//! | revm-seq | recovery in parallel, `EthBlockExecutor` over `State` with list builder, then the root |
//! | revm-bal | as reth does it: workers with `State::with_bal` recover and execute, the main thread commits in order, rebuilds the list and checks admission; the root from the list on a separate thread |
//! | ethrex-seq | `LEVM::execute_block` with list recording, `get_state_transitions`, then the root |
//! | ethrex-bal | as ethrex-blockchain does it: `synthesize_bal_updates` and the root, in parallel with `LEVM::execute_block_pipeline` with the list |
//!
//! The four peers compute the root with ethrex-trie (`ethrex_tries`). All start from maps in memory with analysed codes
//! and resident tries; those of the peers are copied before each run, so that they can be changed in place. Freeing the
//! allocations of a run is not measured for any arrangement.

pub(crate) mod case;
mod chart;
pub(crate) mod ethrex;
mod memory;
mod ours;
pub(crate) mod revm;

use crate::ethrex_tries::{AccountChange, AccountStatus, EthrexTries};
use crate::flame::{self, Sampled};
use crate::measure::{Clock, Stopwatch};
use crate::report::{Report, Row, rounded, row};
use crate::{CommonArgs, FlameArgs, PeersError, convert, threads};
use balustrade::Mode;
use balustrade::formats::each_document;
use balustrade_cli::measure::{geomean, in_turns, least, median};
use case::Case;
use clap::Args;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Options of `block`.
#[derive(Debug, Args)]
pub(crate) struct BlockArgs {
    /// Block bundles: files, folders, .tar.gz or .tar.zst archives; by default the blocks of the shared folder
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Only these arrangements, in addition to `bal` and `sequential-1`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Also measure the memory of each arrangement, in a separate process
    #[arg(long)]
    memory: bool,
    /// Draw the families as a chart
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
    /// Run this arrangement alone and print its memory (used by `--memory`)
    #[arg(long, value_name = "NAME", hide = true)]
    memory_of: Option<String>,
    #[command(flatten)]
    flame: FlameArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// One implementation and way to execute a block, with its own copy of the state.
pub(crate) trait Arrangement {
    /// Name in reports.
    fn name(&self) -> &'static str;
    /// Not measured: frees the allocations of the last run and restores the state before the block.
    fn prepare(&mut self);
    /// Measured: from the raw bytes to the last check.
    fn run(&mut self) -> Result<Stages, String>;
}

impl Sampled for dyn Arrangement {
    fn prepare(&mut self) {
        Arrangement::prepare(self);
    }

    fn run(&mut self) -> Result<(), String> {
        Arrangement::run(self).map(drop)
    }
}

/// Nanoseconds of each stage, in order of first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages(Vec<(&'static str, f64)>);

impl Stages {
    /// Adds time to a stage.
    pub(crate) fn add(&mut self, stage: &'static str, ns: f64) {
        match self.0.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += ns,
            None => self.0.push((stage, ns)),
        }
    }

    /// Adds another's stages.
    pub(crate) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(stage, ns)| self.add(stage, ns));
    }
}

/// A stopwatch for consecutive stages.
pub(crate) struct Laps {
    last: Instant,
    pub(crate) stages: Stages,
}

impl Laps {
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), stages: Stages::default() }
    }

    /// Adds the time since the last lap to this stage.
    pub(crate) fn lap(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.stages.add(stage, now.duration_since(self.last).as_nanos() as f64);
        self.last = now;
    }
}

const BAL: &str = "bal";
const SEQUENTIAL_ONE: &str = "sequential-1";
pub(crate) const PEERS: [&str; 4] = ["revm-seq", "revm-bal", "ethrex-seq", "ethrex-bal"];

/// Ratios in summary and family rows: name, the arrangement whose time is divided by that of `bal`.
const RATIOS: [(&str, &str); 7] = [
    ("vs_ethrex_bal", "ethrex-bal"),
    ("vs_ethrex_sequential", "ethrex-seq"),
    ("vs_revm_bal", "revm-bal"),
    ("vs_revm_sequential", "revm-seq"),
    ("bal_vs_sequential", SEQUENTIAL_ONE),
    ("bal_vs_sequential_same_threads", "sequential"),
    ("bal_vs_optimistic", "optimistic"),
];

/// Median nanoseconds by arrangement.
type Medians = BTreeMap<&'static str, f64>;

/// Sums over the blocks of one family.
#[derive(Default)]
struct Family {
    blocks: usize,
    transactions: usize,
    gas: u64,
    total_ns: Medians,
}

/// Runs the command.
pub(crate) fn main(args: &BlockArgs) -> Result<(), PeersError> {
    let threads = threads::bind(args.common.threads)?;
    let columns = ["block", "txs", "mgas", "bal_ms", "revm-seq", "revm-bal", "ethrex-seq", "ethrex-bal", "best_peer"];
    let mut report = Report::new(args.common.json || args.memory_of.is_some(), &columns);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let inputs = if args.inputs.is_empty() { vec![shared_blocks()] } else { args.inputs.clone() };
    for path in &inputs {
        let mut result = Ok(());
        let read = each_document(path, &mut |_| (), &mut |document| {
            result = match Case::read(&document) {
                Ok(case) => match &args.memory_of {
                    Some(name) => memory::measure_here(case, threads, name, &mut report),
                    None => one_block(case, &document.name, threads, args, &mut report, &mut families),
                },
                Err(reason) => {
                    eprintln!("skipped: {}: {reason}", document.name);
                    Ok(())
                }
            };
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
        let _ = read.map_err(|error| PeersError::Input { path: path.clone(), reason: error.to_string() })?;
    }
    if args.memory_of.is_some() {
        return Ok(());
    }
    report.section();
    for (name, family) in &families {
        report.row(&family.row(name));
    }
    report.summary(&summary(&families));
    match &args.chart {
        Some(path) => chart::write(path, &families, threads)
            .map_err(|error| PeersError::Input { path: path.clone(), reason: error.to_string() }),
        None => Ok(()),
    }
}

/// The folder `blocks` of the shared folder: `BALUSTRADE_SHARED`, else `../shared` beside the repository.
fn shared_blocks() -> PathBuf {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").into();
    std::env::var_os("BALUSTRADE_SHARED").map_or_else(beside, PathBuf::from).join("blocks")
}

fn one_block(
    case: Case,
    document: &str,
    threads: usize,
    args: &BlockArgs,
    report: &mut Report,
    families: &mut BTreeMap<String, Family>,
) -> Result<(), PeersError> {
    let case = Rc::new(case);
    let failed = |who, difference| PeersError::Mismatch { what: case.name.clone(), who, difference };
    let always = |name: &str| name == BAL || name == SEQUENTIAL_ONE;
    let wanted = |name: &str| args.only.is_empty() || always(name) || args.only.iter().any(|only| only == name);
    let mut contestants = contestants(&case, threads, wanted).map_err(|(who, error)| failed(who, error))?;

    // The first round warms up memory and codes and is not counted.
    let runs = in_turns((args.common.rounds as usize, 1), contestants.len(), |at| {
        let contestant = &mut contestants[at];
        contestant.prepare();
        let watch = Stopwatch::start(Clock::for_threads(threads));
        let result = contestant.run();
        let ns = watch.ns();
        result.map(|stages| (ns, stages)).map_err(|error| failed(contestant.name(), error))
    })?;
    let (mut medians, mut stages) = (Medians::new(), BTreeMap::new());
    for (contestant, runs) in contestants.iter().zip(runs) {
        let (times, splits): (Vec<f64>, Vec<Stages>) = runs.into_iter().unzip();
        medians.insert(contestant.name(), median(&times));
        stages.insert(contestant.name(), splits);
    }
    let mut row = block_row(&case, &medians, &stages);
    if args.memory {
        row.extend(memory::in_own_processes(document, threads, medians.keys().copied())?);
    }
    report.row(&row);
    if let Some(folder) = &args.flame.flamegraphs {
        for contestant in &mut contestants {
            flame::record_flamegraph(folder, &case.name, contestant.name(), contestant.as_mut())?;
        }
    }
    let family = families.entry(case.family.clone()).or_default();
    family.blocks += 1;
    family.transactions += case.transactions;
    family.gas += case.header.gas_used;
    for (name, ns) in medians {
        *family.total_ns.entry(name).or_default() += ns;
    }
    Ok(())
}

pub(crate) type Contestants = Vec<Box<dyn Arrangement>>;

/// The selected arrangements of a case.
pub(crate) fn contestants(
    case: &Rc<Case>,
    threads: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Contestants, (&'static str, String)> {
    let mut contestants: Contestants = Vec::new();
    let ours = [
        (BAL, Mode::Bal, threads),
        ("sequential", Mode::Sequential, threads),
        ("optimistic", Mode::Optimistic, threads),
        (SEQUENTIAL_ONE, Mode::Sequential, 1),
        ("bal-cold", Mode::Bal, threads),
    ];
    for (name, mode, threads) in ours.into_iter().filter(|(name, ..)| wanted(name)) {
        let ours = ours::Ours::new(name, case, mode, threads).map_err(|error| (name, error))?;
        contestants.push(Box::new(if name == "bal-cold" { ours.cold() } else { ours }));
    }
    if !PEERS.iter().any(|name| wanted(name)) {
        return Ok(contestants);
    }
    let resident = Rc::new(resident(case).map_err(|error| ("ethrex-trie", error))?);
    if wanted("revm-seq") || wanted("revm-bal") {
        let flat = Arc::new(revm::RevmFlat::new(case));
        for way in [revm::Way::Sequential, revm::Way::List].into_iter().filter(|way| wanted(way.name())) {
            contestants.push(Box::new(revm::Revm::new(case, way, threads, &flat, &resident)));
        }
    }
    if wanted("ethrex-seq") || wanted("ethrex-bal") {
        let flat = Arc::new(ethrex::flat(case, &resident));
        for way in [ethrex::Way::Sequential, ethrex::Way::List].into_iter().filter(|way| wanted(way.name())) {
            contestants.push(Box::new(ethrex::Ethrex::new(case, way, &flat, &resident)));
        }
    }
    Ok(contestants)
}

/// The tries of the pre-state, for the peers.
pub(crate) fn resident(case: &Case) -> Result<EthrexTries, String> {
    let mut slots: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (address, key, value) in case.slots() {
        slots.entry(address).or_default().push((convert::key(key), convert::word(value)));
    }
    let accounts: Vec<AccountChange> = case
        .accounts()
        .map(|(address, nonce, balance, code_hash)| AccountChange {
            address: convert::address(address),
            status: AccountStatus::Kept,
            nonce: Some(nonce),
            balance: Some(convert::word(balance)),
            code_hash: Some(convert::hash(code_hash)),
            slots: slots.remove(&address).unwrap_or_default(),
        })
        .collect();
    let mut tries = EthrexTries::default();
    tries.update(&accounts).map_err(|error| error.to_string())?;
    Ok(tries)
}

fn block_row(case: &Case, medians: &Medians, stages: &BTreeMap<&'static str, Vec<Stages>>) -> Row {
    let ggas = |ns: f64| case.header.gas_used as f64 / ns;
    let mut row = row! {
        "block": case.name,
        "family": case.family,
        "txs": case.transactions,
        "mgas": rounded(case.header.gas_used as f64 / 1e6),
    };
    for (name, ns) in medians {
        let key = if *name == BAL { "bal_ms".to_owned() } else { (*name).to_owned() };
        row.push((key, rounded(ns / 1e6)));
    }
    row.extend(row! { "ggas_per_s": rounded(medians.get(BAL).map_or(f64::NAN, |ns| ggas(*ns))) });
    ratios(medians, &mut row);
    let mut split = serde_json::Map::new();
    for (name, runs) in stages {
        let mut by_stage = BTreeMap::<&str, Vec<f64>>::new();
        for (stage, ns) in runs.iter().flat_map(|stages| &stages.0) {
            by_stage.entry(stage).or_default().push(*ns);
        }
        let members = by_stage.iter().map(|(stage, ns)| ((*stage).to_owned(), rounded(median(ns) / 1e6)));
        split.insert((*name).to_owned(), serde_json::Value::Object(members.collect()));
    }
    row.extend(row! { "stages_ms": split });
    row
}

/// Adds the ratios to our `bal` mode, and the ratio to the fastest peer.
fn ratios(total_ns: &Medians, row: &mut Row) {
    let Some(ours) = total_ns.get(BAL) else { return };
    for (key, name) in RATIOS {
        if let Some(ns) = total_ns.get(name) {
            row.push((key.to_owned(), rounded(ns / ours)));
        }
    }
    let best = least(PEERS.iter().filter_map(|name| total_ns.get(name)).copied());
    row.push(("best_peer".to_owned(), rounded(best / ours)));
}

impl Family {
    fn row(&self, name: &str) -> Row {
        let mut row = row! {
            "block": format!("family {name}"),
            "family": name,
            "blocks": self.blocks,
            "txs": self.transactions,
            "mgas": rounded(self.gas as f64 / 1e6),
        };
        for (name, ns) in &self.total_ns {
            let key = if *name == BAL { "bal_ms".to_owned() } else { (*name).to_owned() };
            row.push((key, rounded(ns / 1e6)));
        }
        for (name, ns) in &self.total_ns {
            row.push((format!("{name}_ggas_per_s"), rounded(self.gas as f64 / ns)));
        }
        ratios(&self.total_ns, &mut row);
        row
    }
}

/// Geometric means of the families' ratios.
fn summary(families: &BTreeMap<String, Family>) -> Row {
    let mut row = row! { "blocks": families.values().map(|family| family.blocks).sum::<usize>() };
    let ratio = |family: &Family, name: &str| Some(family.total_ns.get(name)? / family.total_ns.get(BAL)?);
    for (key, name) in RATIOS {
        let ratios: Vec<f64> = families.values().filter_map(|family| ratio(family, name)).collect();
        if !ratios.is_empty() {
            row.push((key.to_owned(), rounded(geomean(ratios))));
        }
    }
    row
}
