//! Mutated blocks, the long run:
//! `cargo run --release --example mutate -- COUNT|drops [SEED [THREADS [PART OF [JOBS]]]]`.
//!
//! With `drops` every item of every list is dropped once, and the seed has no effect; else about COUNT mutants of all
//! valid Amsterdam blocks in the shared folder are tried, and as many per block of the lists and existence logs of
//! blocks before Cancun. Without that folder, only the blocks of `tests/data` are tried. JOBS executors (one per processor) run in parallel with THREADS threads each (2).
//! Every chain of blocks has its own seed, so that the mutants do not depend on JOBS, and the parts `0 OF` to `OF-1 OF`
//! together try the mutants of one whole run. Prints the counts per mutator and per check. The status is 1 if a mutant
//! was accepted wrongly or caused a panic, and 2 if the arguments are wrong or the system refuses threads.

#[path = "../tests/hostile/mod.rs"]
mod hostile;

use balustrade::Executor;
use balustrade::exec::rules::fork::Fork;
use balustrade_cli::testing::has_shared;
use hostile::report::Report;
use hostile::{Rng, cases, trial};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

const USAGE: &str = "usage: mutate COUNT|drops [SEED [THREADS [PART OF [JOBS]]]]";

/// Approximate number of valid blocks in the fixtures.
const FIXTURE_BLOCKS: usize = 14_000;
/// Approximate number of valid blocks in `tests/data`.
const STORED_BLOCKS: usize = 100;
/// Mutants of each bundle; its block is about a hundred times as large as a block of the fixtures.
const PER_BUNDLE: usize = 8;

/// A chain, and the number of mutants of its blocks.
struct Work {
    chain: cases::Chain,
    /// The chain's position among all of them, from 1; part of the seed of its mutants.
    number: u64,
    /// Mutants of each block; `None`: every item of its list is dropped in turn instead.
    mutants: Option<usize>,
}

impl Work {
    fn run(mut self, seed: u64, executor: &mut Executor, report: &mut Report) {
        let mut rng = Rng(Rng(seed ^ self.number).next());
        if self.chain.rules.fork < Fork::Cancun {
            trial::try_older_chain(executor, self.chain, self.mutants.unwrap_or(0), &mut rng, report);
            return;
        }
        for block in self.chain.take_valid() {
            match self.mutants {
                None => trial::try_every_drop(executor, &mut self.chain, &block, report),
                Some(mutants) => {
                    for _ in 0..mutants {
                        trial::try_one(executor, &mut self.chain, &block, &mut rng, report);
                    }
                }
            }
            if let Err(error) = self.chain.advance(executor, &block) {
                report.finding("a valid block is refused", format!("{}: {error}", self.chain.name));
            }
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(report) if report.findings.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Report, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let every_drop = arguments.first().is_some_and(|argument| argument == "drops");
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) => text.parse().map_err(|_| USAGE.to_owned()),
        None => Ok(default),
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let count = if every_drop { 0 } else { number(0, 0)? };
    let (seed, threads, part, parts) = (number(1, 1)?, number(2, 2)?, number(3, 0)?, number(4, 1)?);
    let jobs = number(5, processors as u64)?;
    if arguments.is_empty() || arguments.len() > 6 || part >= parts || jobs == 0 {
        return Err(USAGE.to_owned());
    }
    let (count, threads) = (count as usize, threads as usize);
    let executors: Vec<Executor> =
        (0..jobs).map(|_| Executor::new(threads).map_err(|error| error.to_string())).collect::<Result<_, _>>()?;

    let start = Instant::now();
    let tried = AtomicUsize::new(0);
    // This thread reads chains, the workers try them. The channel is short, because a chain holds its whole state.
    let (sender, receiver) = mpsc::sync_channel::<Work>(2 * executors.len());
    let receiver = Mutex::new(receiver);
    let work_off = |mut executor: Executor| {
        let mut report = Report::default();
        loop {
            let next = receiver.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
            let Ok(work) = next else { return report };
            let before = report.total();
            work.run(seed, &mut executor, &mut report);
            let own = report.total() - before;
            let all = tried.fetch_add(own, Ordering::Relaxed) + own;
            if all / 10_000 > (all - own) / 10_000 {
                eprintln!("{all} mutants, {} findings of this worker, {:.0?}", report.findings.len(), start.elapsed());
            }
        }
    };
    let report = std::thread::scope(|scope| {
        let workers: Vec<_> = executors.into_iter().map(|executor| scope.spawn(|| work_off(executor))).collect();
        let mut chains = 0;
        let mut visit = |chain: cases::Chain, mutants: Option<usize>| {
            chains += 1;
            if chains % parts != part {
                return ControlFlow::Continue(());
            }
            // Sending fails only if all workers have panicked.
            match sender.send(Work { chain, number: chains, mutants }) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        // `drops` leaves out bundles: dropping each of thousands of items of a large block would take hours.
        let (bundle_bytes_max, per_bundle, per_block) = match every_drop {
            true => (0, None, None),
            false => (400_000, Some(PER_BUNDLE), Some(count.div_ceil(FIXTURE_BLOCKS).max(1))),
        };
        let per_stored = per_block.map(|_| count.div_ceil(STORED_BLOCKS).max(1));
        if has_shared() {
            cases::each_bundle(bundle_bytes_max, &mut |chain| visit(chain, per_bundle));
            cases::each_fixture(0, 1, &mut |chain| visit(chain, per_block));
            if !every_drop {
                cases::each_older_bundle(bundle_bytes_max, &mut |chain| visit(chain, per_bundle));
                cases::each_older_fixture(0, 1, &mut |chain| visit(chain, per_block));
            }
        } else {
            println!("without the shared folder: the blocks of tests/data alone");
            cases::each_stored(&mut |chain| visit(chain, per_stored));
            if !every_drop {
                cases::each_older_stored(&mut |chain| visit(chain, per_stored));
            }
        }
        drop(sender);
        let mut report = Report::default();
        for worker in workers {
            match worker.join() {
                Ok(own) => report.merge(own),
                Err(_) => report.finding("panic", "of a worker, outside the executor".to_owned()),
            }
        }
        report
    });
    println!("{}", report.table());
    println!(
        "{} mutants, {} with the state root recomputed from the wrong list, {} drawn without a difference, {:.0?}",
        report.total(),
        report.resealed(),
        report.unchanged,
        start.elapsed()
    );
    for (kind, what) in &report.findings {
        println!("FINDING {kind}: {}", what.chars().take(2_000).collect::<String>());
    }
    println!("{} findings", report.findings.len());
    Ok(report)
}
