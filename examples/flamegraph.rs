//! Flamegraph of a workload in one dispatch loop, which runs it repeatedly.
//!
//! `cargo run --release --example flamegraph -- WORKLOAD.json LOOP OUT.svg [SECONDS]`; workloads as for `bench loop`,
//! loops as for `--loop`. On standard output: time per run, samples, and the functions that were most often on top of
//! the stack, in percent of the samples. Instructions of the default loop jump to one another, so that each sample has
//! one handler directly above `tail::run`.

use balustrade::exec::interpreter::LoopKind;
use balustrade_cli::loop_workload::{Workload, with_runner};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Samples per second of processor time; a prime, so that sampling does not align with periodic work.
const FREQUENCY: i32 = 997;
/// Number of functions printed.
const LISTED: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, loop_name, out, rest @ ..] = arguments.as_slice() else {
        return Err("usage: flamegraph WORKLOAD.json LOOP OUT.svg [SECONDS]".into());
    };
    let kind = LoopKind::from_name(loop_name).ok_or("no loop of this name")?;
    let seconds = rest.first().map_or(Ok(5), |text| text.parse())?;
    let workload = Workload::read(Path::new(file))?;
    let mut runs = 0u32;
    let mut elapsed = Duration::ZERO;
    let report = with_runner(&workload, kind, |run| {
        // Code is decoded after a few runs.
        for _ in 0..8 {
            run(false)?;
        }
        let guard = pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).build();
        let start = Instant::now();
        while elapsed < Duration::from_secs(seconds) {
            run(false)?;
            runs += 1;
            elapsed = start.elapsed();
        }
        Ok(guard.and_then(|guard| guard.report().build()))
    })??;

    let mut leaves: BTreeMap<String, isize> = BTreeMap::new();
    for (frames, count) in &report.data {
        // A frame lists what was inlined into it, innermost first; the function itself comes last.
        let leaf =
            frames.frames.first().and_then(|symbols| symbols.last()).map_or_else(String::new, |symbol| symbol.name());
        *leaves.entry(leaf).or_default() += count;
    }
    let samples: isize = leaves.values().sum();
    let mut leaves: Vec<_> = leaves.into_iter().collect();
    leaves.sort_by_key(|(_, count)| -count);
    println!(
        "{} in the {loop_name} loop: {:.1} us a run, {samples} samples",
        workload.name,
        elapsed.as_secs_f64() * 1e6 / f64::from(runs)
    );
    for (name, count) in leaves.iter().take(LISTED) {
        println!("{:5.1} %  {name}", *count as f64 * 100.0 / samples as f64);
    }

    let mut options = pprof::flamegraph::Options::default();
    options.title = format!("{}, {loop_name} loop", workload.name);
    options.min_width = 0.1;
    report.flamegraph_with_options(File::create(out)?, &mut options)?;
    Ok(())
}
