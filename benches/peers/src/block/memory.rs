//! Memory of one arrangement on one block, each measured in a separate process.
//!
//! In: a block, an arrangement. Out: the resident set before the first run and its peak over three runs, from
//! `/proc/self/status`; `null` on systems without this file.

use super::case::Case;
use super::contestants;
use crate::PeersError;
use crate::report::{Report, Row, row};
use serde_json::{Map, Value};
use std::process::Command;
use std::rc::Rc;

const RUNS: usize = 3;

/// Runs one arrangement in this process and prints the memory it used.
pub(super) fn measure_here(case: Case, threads: usize, name: &str, report: &mut Report) -> Result<(), PeersError> {
    let case = Rc::new(case);
    let failed = |who, difference| PeersError::Mismatch { what: case.name.clone(), who, difference };
    let mut contestants =
        contestants(&case, threads, |other| other == name).map_err(|(who, error)| failed(who, error))?;
    let mut before = None;
    for contestant in &mut contestants {
        for _ in 0..RUNS {
            contestant.prepare();
            before = before.or_else(|| status_mb("VmRSS:"));
            contestant.run().map_err(|error| failed(contestant.name(), error))?;
        }
    }
    report.row(&row! { "before_mb": before, "peak_mb": status_mb("VmHWM:") });
    Ok(())
}

/// Measures each arrangement in a child process. Returns the row member `memory_mb`: before and peak, in MB, by
/// arrangement.
pub(super) fn in_own_processes(
    document: &str,
    threads: usize,
    names: impl Iterator<Item = &'static str>,
) -> Result<Row, PeersError> {
    let failed = |reason: String| PeersError::Input { path: document.into(), reason };
    if !std::path::Path::new(document).is_file() {
        // A document inside an archive has no path to pass to a child process.
        return Ok(Row::new());
    }
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut by_name = Map::new();
    for name in names {
        let output = Command::new(&program)
            .args(["block", document, "--memory-of", name, "--threads", &threads.to_string()])
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let measured: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed(String::from_utf8_lossy(&output.stderr).into_owned()))?;
        by_name.insert(name.to_owned(), measured);
    }
    Ok(row! { "memory_mb": by_name })
}

fn status_mb(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1024)
}
