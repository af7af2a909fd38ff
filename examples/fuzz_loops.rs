//! Differential fuzzing of the dispatch loops without a fuzzing toolchain:
//! `cargo run --release --example fuzz_loops -- SECONDS [SEED]`.
//!
//! Runs scenarios from consecutive seeds until the time is over or two loops disagree. On a disagreement it prints the
//! seed and a minimized scenario that still shows it, and exits with status 1.

#[path = "../tests/differential/mod.rs"]
mod differential;

use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seconds)), seed) = (arguments.next(), arguments.next().and_then(Result::ok).unwrap_or(1)) else {
        eprintln!("usage: fuzz_loops SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let (mut cases, mut scenarios, mut reported) = (0, 0u64, Duration::ZERO);
    while start.elapsed() < limit {
        let seed = seed.wrapping_add(scenarios);
        // Short inputs give small programs; long inputs do not limit them.
        let len = 500 << (seed % 4);
        match differential::check(&differential::random_bytes(seed, len)) {
            Ok(run) => cases += run,
            Err(divergence) => {
                let divergence = differential::shrink(divergence);
                println!("seed {seed}: {:#?}\n{}", divergence.scenario, divergence.what);
                return ExitCode::FAILURE;
            }
        }
        scenarios += 1;
        if start.elapsed() >= reported + Duration::from_secs(60) {
            reported = start.elapsed();
            println!("{} s: {scenarios} scenarios, {cases} cases, no divergence", reported.as_secs());
        }
    }
    println!("{seconds} s: {scenarios} scenarios, {cases} cases, no divergence");
    ExitCode::SUCCESS
}
