//! `bench loop`: runs interpreter workloads, each one call transaction, repeatedly on one thread.
//!
//! In: files of `{name, code, calldata, gas, accounts}`. Out: per workload ns per transaction, gas,
//! Mgas/s and output hash.
//! A run is a whole transaction: validity checks, fees, the call, refunds, settlement. The
//! machine's memory, the ids of accounts and slots, and the analysed code are kept between runs, as
//! within a block; values, warm sets and logs are reset.
//! Not here: other EVMs for comparison (a workspace member of its own).

use super::super::measure::geomean;
use super::super::measure::workload::{BenchError, BenchRow, Workload, measure};
use super::super::{Status, report};
use balustrade::exec::interpreter::LoopKind;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Measures all workloads in `paths` on each of the loops and prints the results; the last JSON
/// line has one summary per loop.
pub(super) fn run(paths: &[PathBuf], json: bool, loops: &[LoopKind]) -> Status {
    let Err(error) = measure_all(paths, json, loops) else { return Status::Good };
    report::complain(&error);
    if matches!(error, BenchError::Transaction { .. }) { Status::Failed } else { Status::Unusable }
}

fn measure_all(paths: &[PathBuf], json: bool, loops: &[LoopKind]) -> Result<(), BenchError> {
    let workloads = Workload::find(paths)?;
    if !json {
        report::line(&format!(
            "{:32} {:9} {:>12} {:>12} {:>10}  output",
            "workload", "loop", "ns/run", "gas", "Mgas/s"
        ));
    }
    let mut speeds = vec![Vec::with_capacity(workloads.len()); loops.len()];
    // The loops alternate, so that a change of the machine's speed affects all of them.
    for workload in &workloads {
        for (kind, speeds) in loops.iter().zip(&mut speeds) {
            let row = measure(workload, *kind, Duration::from_millis(200), 9)?;
            speeds.push(row.mgas_per_s.max(f64::MIN_POSITIVE));
            if json {
                report::json_line(&row);
            } else {
                let BenchRow { name, loop_name, ns_per_run, gas, mgas_per_s, output_hash, .. } = row;
                // The whole hash is in the JSON.
                let output_hash = &output_hash.to_string()[..10];
                report::line(&format!(
                    "{name:32} {loop_name:9} {ns_per_run:>12.1} {gas:>12} {mgas_per_s:>10.1}  {output_hash}"
                ));
            }
        }
    }
    let count = workloads.len();
    let means: Vec<(&str, f64)> = loops.iter().map(|kind| kind.name()).zip(speeds.into_iter().map(geomean)).collect();
    if json {
        let loops = means.iter().map(|(name, geomean)| json!({"loop": name, "geomean_mgas_per_s": geomean}));
        let loops = loops.collect::<Vec<_>>();
        let mut summary = json!({"workloads": count, "loops": loops});
        if let [(name, geomean)] = means.as_slice() {
            summary["loop"] = json!(name);
            summary["geomean_mgas_per_s"] = json!(geomean);
        }
        report::json_line(&json!({"summary": summary}));
    } else {
        for (name, geomean) in means {
            report::line(&format!("{count} workloads on the {name} loop, geometric mean {geomean:.1} Mgas/s"));
        }
    }
    Ok(())
}
