//! Flamegraph of a workload in one dispatch loop, which runs it repeatedly.
//!
//! `cargo run --release --example flamegraph -- WORKLOAD.json LOOP OUT.svg [SECONDS]`; workloads as for `bench loop`,
//! loops as for `--loop`. On standard output: time per run, samples, and the functions that were most often on top of
//! the stack, in percent of the samples. Instructions of the default loop jump to one another, so that each sample has
//! one handler directly above `tail::run`.

use balustrade::exec::interpreter::LoopKind;
use balustrade_cli::measure::flame::{self, Stacks};
use balustrade_cli::measure::sampler::{sample, shorten};
use balustrade_cli::measure::workload::{Workload, with_runner};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Number of functions printed.
const LISTED: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, loop_name, out, rest @ ..] = arguments.as_slice() else {
        return Err("usage: flamegraph WORKLOAD.json LOOP OUT.svg [SECONDS]".into());
    };
    let kind = LoopKind::from_name(loop_name).ok_or("no loop of this name")?;
    let length = Duration::from_secs(rest.first().map_or(Ok(5), |text| text.parse())?);
    let workload = Workload::read(Path::new(file))?;
    let (mut stacks, mut leaves) = (Stacks::new(), BTreeMap::<String, u64>::new());
    let mut elapsed = Duration::ZERO;
    let sampled = with_runner(&workload, kind, |run| {
        // Code is decoded after a few runs.
        for _ in 0..8 {
            run(false)?;
        }
        let once = || {
            let start = Instant::now();
            let done = run(false).map(drop);
            elapsed += start.elapsed();
            done
        };
        sample(
            length,
            |name, _| shorten(name),
            once,
            |_, frames, count| {
                // The last function of a frame is the one that the others were inlined into.
                let leaf = frames.first().and_then(|functions| functions.last()).cloned().unwrap_or_default();
                *leaves.entry(leaf).or_default() += count;
                let mut names = frames.concat();
                names.reverse();
                *stacks.entry(names.join(";")).or_default() += count;
            },
        )
    })??;
    println!(
        "{} in the {loop_name} loop: {:.1} us a run, {} samples",
        workload.name,
        elapsed.as_secs_f64() * 1e6 / sampled.repeats as f64,
        sampled.samples
    );
    let mut leaves: Vec<_> = leaves.into_iter().collect();
    leaves.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    for (name, count) in leaves.iter().take(LISTED) {
        println!("{:5.1} %  {name}", *count as f64 * 100.0 / sampled.samples as f64);
    }
    std::fs::write(out, flame::svg(format!("{}, {loop_name} loop", workload.name), &stacks, 0.1)?)?;
    Ok(())
}
