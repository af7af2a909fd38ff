//! Random blocks in every mode, the long run:
//! `cargo run --release --example random_blocks -- COUNT [SEED [PART OF [FOLDER]]]`.
//!
//! Blocks of the seeds SEED to SEED + COUNT - 1, each executed in all modes, by all loops and on 1, 2, 3 and 8 threads;
//! as many blocks in parallel as there are processors. The parts `0 OF` to `OF-1 OF` together try the blocks of one
//! whole run. The last line counts what was executed. If two executions differ, the block is written to FOLDER (by
//! default the current one) as a bundle, and the status is 1. It is also 1 if a block cannot be sealed, and 2 if the
//! arguments are wrong or the system refuses threads or files.

#[path = "../tests/random/mod.rs"]
mod random;

use random::block::{Forks, Generator};
use random::bundle::bundle;
use random::check::{Checker, Tally};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "usage: random_blocks COUNT [SEED [PART OF [FOLDER]]]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Counts of one worker.
#[derive(Default)]
struct Found {
    tally: Tally,
    unsealed: u64,
    differences: u64,
}

fn run() -> Result<bool, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) => text.parse().map_err(|_| USAGE.to_owned()),
        None => Ok(default),
    };
    let (count, seed, part, parts) = (number(0, 0)?, number(1, 1)?, number(2, 0)?, number(3, 1)?);
    if arguments.is_empty() || arguments.len() > 5 || part >= parts {
        return Err(USAGE.to_owned());
    }
    let folder = Path::new(arguments.get(4).map_or(".", String::as_str));

    let start = Instant::now();
    let (next, done) = (AtomicU64::new(part), AtomicU64::new(0));
    let work_off = || -> Result<Found, String> {
        let (mut generator, mut checker, mut found) = (Generator::new(Forks::All)?, Checker::new()?, Found::default());
        loop {
            let offset = next.fetch_add(parts, Ordering::Relaxed);
            if offset >= count {
                return Ok(Found { tally: checker.tally, ..found });
            }
            let seed = seed.wrapping_add(offset);
            match generator.block(seed) {
                Ok(mut block) => {
                    if let Err(difference) = checker.check(&mut block) {
                        let path = folder.join(format!("random-{seed}.json"));
                        std::fs::write(&path, bundle(&block, None).to_string())
                            .map_err(|error| format!("{}: {error}", path.display()))?;
                        println!("DIFFERENCE seed {seed}: {difference}: {}", path.display());
                        found.differences += 1;
                    }
                }
                Err(error) => {
                    println!("NOT SEALED seed {seed}: {}", error.error);
                    found.unsealed += 1;
                }
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(5_000) {
                eprintln!("{done} blocks, {:.0?}", start.elapsed());
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work_off)).collect();
        let mut all = Found::default();
        for worker in workers {
            let own = worker.join().map_err(|_| "a worker panicked".to_owned())??;
            all.tally.merge(&own.tally);
            all.unsealed += own.unsealed;
            all.differences += own.differences;
        }
        Ok::<_, String>(all)
    })?;
    let Found { tally, unsealed, differences } = all;
    println!("{tally}, {unsealed} not sealed, {differences} differences, {:.0?}", start.elapsed());
    Ok(differences == 0 && unsealed == 0)
}
