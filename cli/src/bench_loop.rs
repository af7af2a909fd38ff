//! `bench loop`: runs interpreter workloads, each one call transaction, repeatedly on one thread.
//!
//! In: files of `{name, code, calldata, gas, accounts}`. Out: per workload ns per transaction, gas,
//! Mgas/s and output hash.
//! A run is a whole transaction: validity checks, fees, the call, refunds, settlement. The
//! machine's memory, the ids of accounts and slots, and the analysed code are kept between runs, as
//! within a block; values, warm sets and logs are reset.
//! Not here: other EVMs for comparison (a workspace member of its own).

use super::loop_workload::{BenchError, BenchRow, Workload, measure};
use super::report;
use balustrade::exec::interpreter::LoopKind;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Measures all workloads in `paths` and prints the results.
pub fn run(paths: &[PathBuf], json: bool, loop_kind: LoopKind) -> Result<(), BenchError> {
    let workloads = Workload::find(paths)?;
    if !json {
        report::line(&format!("{:32} {:>14} {:>12} {:>10}  output", "workload", "ns/run", "gas", "Mgas/s"));
    }
    let mut log_sum = 0.0;
    for workload in &workloads {
        let row = measure(workload, loop_kind, Duration::from_millis(200), 9)?;
        log_sum += row.mgas_per_s.max(f64::MIN_POSITIVE).ln();
        if json {
            report::json_line(&row);
        } else {
            let BenchRow { name, ns_per_run, gas, mgas_per_s, output_hash, .. } = row;
            report::line(&format!("{name:32} {ns_per_run:>14.1} {gas:>12} {mgas_per_s:>10.1}  {output_hash}"));
        }
    }
    let geomean = (log_sum / workloads.len().max(1) as f64).exp();
    if json {
        report::json_line(&json!({"summary": {
            "workloads": workloads.len(), "loop": loop_kind.name(), "geomean_mgas_per_s": geomean,
        }}));
    } else {
        report::line(&format!("{} workloads, geometric mean {geomean:.1} Mgas/s", workloads.len()));
    }
    Ok(())
}
