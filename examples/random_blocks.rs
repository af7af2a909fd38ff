//! Random blocks in every mode, many: `cargo run --release --example random_blocks -- COUNT [SEED [PART OF [FOLDER]]]`.
//!
//! Blocks of the seeds SEED to SEED + COUNT - 1, each executed in all modes, by all loops and on 1, 2, 3 and 8 threads. The
//! parts `0 OF` to `OF-1 OF` together try the very blocks of one whole run. The last line counts what was executed. Where two
//! executions differ, the block goes to FOLDER (by default the current one) as a bundle, and the status is 1; it is 2 where
//! the arguments are wrong or the system refuses threads or files.

#[path = "../tests/random/mod.rs"]
mod random;

use random::block::{Forks, Generator};
use random::bundle::bundle;
use random::check::Checker;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

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

fn run() -> Result<bool, String> {
    const USAGE: &str = "usage: random_blocks COUNT [SEED [PART OF [FOLDER]]]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) => text.parse().map_err(|_| USAGE.to_owned()),
        None => Ok(default),
    };
    if arguments.is_empty() || arguments.len() > 5 {
        return Err(USAGE.to_owned());
    }
    let (count, seed, part, parts) = (number(0, 0)?, number(1, 1)?, number(2, 0)?, number(3, 1)?);
    if part >= parts {
        return Err(USAGE.to_owned());
    }
    let folder = Path::new(arguments.get(4).map_or(".", String::as_str));

    let mut generator = Generator::new(Forks::All)?;
    let mut checker = Checker::new()?;
    let (mut differences, mut unbuildable, mut said) = (0u64, 0u64, 0);
    let start = Instant::now();
    for offset in (part..count).step_by(usize::try_from(parts).map_err(|_| USAGE)?) {
        let seed = seed.wrapping_add(offset);
        let mut block = match generator.block(seed) {
            Ok(block) => block,
            Err(error) => {
                eprintln!("seed {seed}: not sealed: {}", error.error);
                unbuildable += 1;
                continue;
            }
        };
        if let Err(difference) = checker.check(&mut block) {
            let path = folder.join(format!("random-{seed}.json"));
            std::fs::write(&path, bundle(&block, None).to_string())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            println!("DIFFERENCE seed {seed}: {difference}: {}", path.display());
            differences += 1;
        }
        if checker.tally.blocks / 5_000 > said {
            said = checker.tally.blocks / 5_000;
            eprintln!("{} blocks, {differences} differences, {:.0?}", checker.tally.blocks, start.elapsed());
        }
    }
    println!("{}, {unbuildable} not sealed, {differences} differences, {:.0?}", checker.tally, start.elapsed());
    Ok(differences == 0 && unbuildable == 0)
}
