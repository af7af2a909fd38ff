//! `peers loop`: interpreter workloads, each one call transaction of the Cancun fork.
//!
//! In: workload files. Out: per workload the time of a whole transaction in our loops, in revm and in LEVM, and of
//! revm's bare interpreter; the ratios to our selected loop. Gas, success and output must be equal.
//! A whole transaction: validity, fees, the call, refunds, settlement, from a flat state in memory and with analysed
//! code. Nothing else is kept between runs: our machine drops ids, values and hashes, revm's journal is finalized, LEVM
//! gets a new database. All three keep their buffers. The construction of our machine, which a block does once for all
//! its transactions, is measured separately in each round and subtracted.
//! Times are CPU times of the single thread that does the work.

mod levm;
mod ours;
mod revm;

use crate::flame::{self, Sampled};
use crate::measure::{Clock, calls_in, sample};
use crate::report::{Report, Row, rounded, row};
use crate::{CommonArgs, FlameArgs, PeersError, threads};
use alloy_primitives::{Bytes, keccak256};
use balustrade::exec::interpreter::LoopKind;
use balustrade_cli::measure::workload::Workload;
use balustrade_cli::measure::{geomean, in_turns, median, median_ratio};
use clap::Args;
use std::convert::Infallible;
use std::path::PathBuf;

/// Options of `loop`.
#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    /// Workload files and folders of them
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// Our loop that ratios refer to
    #[arg(long = "loop", value_name = "NAME", default_value = LoopKind::default().name(), value_parser = loop_kind)]
    kind: LoopKind,
    /// Measure only this one of our loops
    #[arg(long)]
    only: bool,
    /// Milliseconds that each contestant runs per round
    #[arg(long, value_name = "MS", default_value_t = 3.0)]
    slice: f64,
    #[command(flatten)]
    flame: FlameArgs,
    #[command(flatten)]
    common: CommonArgs,
}

fn loop_kind(name: &str) -> Result<LoopKind, String> {
    let names = LoopKind::ALL.map(LoopKind::name).join(", ");
    LoopKind::from_name(name).ok_or_else(|| format!("one of {names}"))
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether the call succeeded.
    pub(crate) success: bool,
    /// Gas that the sender paid for, including intrinsic gas.
    pub(crate) gas: u64,
    /// The call's return data.
    pub(crate) output: Bytes,
}

/// An implementation that can run a workload repeatedly.
pub(crate) trait Contestant {
    /// One run, measured.
    fn run(&mut self);
    /// The part of a run that a block does once, not per transaction. Returns whether there is one: then it is measured
    /// and subtracted.
    fn setup(&mut self) -> bool {
        false
    }
    /// One run with its result; `None` if this contestant does not support the workload.
    fn outcome(&mut self) -> Result<Option<Outcome>, String>;
}

impl Sampled for dyn Contestant {
    fn run(&mut self) -> Result<(), String> {
        Contestant::run(self);
        Ok(())
    }
}

/// A workload with a ratio below this is measured again before it counts as slower.
const SLOWER: f64 = 0.97;

/// Speed of evmone (July 2025) relative to revm's whole transaction, as a geometric mean per group of workloads: evmone
/// in the faster of its modes, the baseline interpreter, and in the faster of its builds: computed goto, gcc, analysed
/// code. Measured once, on another day, against the same revm (43.0.3).
///
/// evmone is not a peer of this run. `geomean_vs_evmone_by_revm` is a ratio of ratios: over all workloads of these
/// groups the geometric mean of (our speed / revm's, in this run) / (evmone's speed / revm's, from this table). Using a
/// group's mean instead of each workload's figure does not change the mean over the group; 97 of the 117 workloads of
/// the table are run here.
fn evmone(group: &str) -> Option<f64> {
    Some(match group {
        "ipsilon-main" => 1.51,
        "ipsilon-micro" => 2.39,
        "evm-bench" => 1.17,
        "levm-bench" => 1.42,
        "synthetic" => 1.34,
        _ => return None,
    })
}

/// Least number of calls that measure the construction of a machine.
const SETUP_CALLS: u32 = 100;

/// Runs the command.
pub(crate) fn main(args: &LoopArgs) -> Result<(), PeersError> {
    threads::bind(Some(1))?;
    let workloads = Workload::find(&args.paths)?;
    let ours = format!("{}_ns", args.kind.name());
    let columns = ["workload", &ours, "revm_ns", "ethrex_levm_ns", "mgas_per_s", "vs_revm", "vs_revm_bare", "vs_levm"];
    let mut report = Report::new(args.common.json, &columns);
    let (mut vs_revm, mut vs_levm, mut slower) = (Vec::new(), Vec::new(), 0);
    for workload in &workloads {
        let mut contest = Contest::new(workload, args)?;
        let mut measured = contest.measure(args);
        if measured.ratio(revm::NAME) < SLOWER {
            let again = contest.measure(args);
            slower += u32::from(again.ratio(revm::NAME) < SLOWER);
            measured.merge(&again);
        }
        vs_revm.push(measured.ratio(revm::NAME));
        vs_levm.push(measured.ratio(levm::NAME));
        report.row(&measured.row(workload, &contest.outcome));
        if let Some(folder) = &args.flame.flamegraphs {
            for (name, contestant, _) in &mut contest.contestants {
                flame::record_flamegraph(folder, &workload.name, name, contestant.as_mut())?;
            }
        }
    }
    let over_evmone =
        (workloads.iter().zip(&vs_revm)).filter_map(|(workload, ratio)| Some(ratio / evmone(&workload.group)?));
    let vs_evmone = geomean(over_evmone);
    report.summary(&row! {
        "workloads": workloads.len(),
        "loop": args.kind.name(),
        "geomean_vs_revm": rounded(geomean(vs_revm)),
        "geomean_vs_levm": rounded(geomean(vs_levm)),
        "geomean_vs_evmone_by_revm": rounded(vs_evmone),
        "slower_than_revm": slower,
    });
    Ok(())
}

/// All contestants on one workload; the first is our selected loop.
struct Contest {
    contestants: Vec<(&'static str, Box<dyn Contestant>, u32)>,
    outcome: Outcome,
}

impl Contest {
    fn new(workload: &Workload, args: &LoopArgs) -> Result<Self, PeersError> {
        let mismatch = |who, difference| PeersError::Mismatch { what: workload.name.clone(), who, difference };
        let mut candidates: Vec<(&'static str, Box<dyn Contestant>)> = Vec::new();
        let others = LoopKind::ALL.into_iter().filter(|kind| *kind != args.kind && !args.only);
        for kind in std::iter::once(args.kind).chain(others) {
            let ours = ours::Ours::new(workload, kind).map_err(|error| mismatch(kind.name(), error))?;
            candidates.push((kind.name(), Box::new(ours)));
        }
        let revm = |error| mismatch(revm::NAME, error);
        candidates.push((revm::NAME, Box::new(revm::Transaction::new(workload).map_err(revm)?)));
        candidates.push((revm::BARE_NAME, Box::new(revm::Bare::new(workload).map_err(revm)?)));
        let levm = levm::Levm::new(workload).map_err(|error| mismatch(levm::NAME, error))?;
        candidates.push((levm::NAME, Box::new(levm)));

        let mut agreed: Option<Outcome> = None;
        let mut contestants = Vec::new();
        for (name, mut contestant) in candidates {
            let Some(outcome) = contestant.outcome().map_err(|error| mismatch(name, error))? else { continue };
            match &agreed {
                Some(agreed) if name == revm::BARE_NAME => {
                    if (agreed.success, &agreed.output) != (outcome.success, &outcome.output) {
                        return Err(mismatch(name, format!("{outcome:?} instead of {agreed:?}")));
                    }
                }
                Some(agreed) if *agreed != outcome => {
                    return Err(mismatch(name, format!("{outcome:?} instead of {agreed:?}")));
                }
                Some(_) => {}
                None => agreed = Some(outcome),
            }
            // Warm-up: codes are decoded after a few runs, caches are filled, and the number of calls per slice is
            // measured.
            sample(Clock::Thread, 8, &mut || contestant.run());
            let once = sample(Clock::Thread, 1, &mut || contestant.run());
            let calls = calls_in(args.slice * 1e6, once);
            contestants.push((name, contestant, calls));
        }
        let outcome = agreed.unwrap_or(Outcome { success: false, gas: 0, output: Bytes::new() });
        Ok(Self { contestants, outcome })
    }

    fn measure(&mut self, args: &LoopArgs) -> Measured {
        let names: Vec<&'static str> = self.contestants.iter().map(|(name, ..)| *name).collect();
        let run = |at: usize| {
            let (_, contestant, calls) = &mut self.contestants[at];
            let run_ns = sample(Clock::Thread, *calls, &mut || contestant.run());
            let mut has_setup = false;
            let setup_ns = sample(Clock::Thread, (*calls).max(SETUP_CALLS), &mut || has_setup = contestant.setup());
            Ok::<_, Infallible>(if has_setup { run_ns - setup_ns } else { run_ns })
        };
        let Ok(times) = in_turns((args.common.rounds as usize, 0), names.len(), run);
        Measured { times: names.into_iter().zip(times).collect() }
    }
}

/// Nanoseconds per run by round, for each contestant; the first is our selected loop.
struct Measured {
    times: Vec<(&'static str, Vec<f64>)>,
}

impl Measured {
    /// The median ratio to our selected loop; NaN if the contestant did not run.
    fn ratio(&self, name: &str) -> f64 {
        let of = |peer: &(_, Vec<f64>)| median_ratio(&peer.1, &self.times[0].1);
        self.times.iter().find(|(found, _)| *found == name).map_or(f64::NAN, of)
    }

    fn merge(&mut self, other: &Self) {
        for ((_, times), (_, more)) in self.times.iter_mut().zip(&other.times) {
            times.extend(more);
        }
    }

    fn row(&self, workload: &Workload, outcome: &Outcome) -> Row {
        let mut row = row! { "workload": workload.name, "group": workload.group, "gas": outcome.gas };
        for (name, times) in &self.times {
            row.push((format!("{name}_ns"), rounded(median(times))));
        }
        let ours = self.times.first().map_or(f64::NAN, |(_, times)| median(times));
        row.extend(row! {
            "mgas_per_s": rounded(outcome.gas as f64 * 1000.0 / ours),
            "vs_revm": rounded(self.ratio(revm::NAME)),
            "vs_revm_bare": rounded(self.ratio(revm::BARE_NAME)),
            "vs_levm": rounded(self.ratio(levm::NAME)),
            "output_hash": keccak256(&outcome.output),
        });
        row
    }
}
