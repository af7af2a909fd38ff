//! Mutated blocks, many: `cargo run --release --example mutate -- COUNT|drops [SEED [THREADS [PART OF]]]`.
//!
//! With `drops` every item of every list is dropped once, and the seed means nothing. Else about COUNT mutants of all valid
//! Amsterdam blocks at hand, and as many per block of the lists and sidecars of blocks before Cancun. Every chain draws from
//! a seed of its own, so that the parts `0 OF` to `OF-1 OF` together try the very mutants of one whole run. Prints the
//! counts per mutator and per check; exits with 1 where a mutant was accepted wrongly or caused a panic.

#[path = "../tests/hostile/mod.rs"]
mod hostile;

use balustrade::Executor;
use balustrade::exec::fork::Fork;
use hostile::report::Report;
use hostile::{Rng, cases, trial};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

/// Valid blocks of the fixtures, about.
const FIXTURE_BLOCKS: usize = 14_000;
/// Mutants of each bundle per pass; their blocks are a hundred times larger.
const PER_BUNDLE: usize = 8;

fn main() -> ExitCode {
    let every_drop = std::env::args().nth(1).is_some_and(|argument| argument == "drops");
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().ok());
    let Some(count) = arguments.next().flatten().or(every_drop.then_some(0)) else {
        eprintln!("usage: mutate COUNT|drops [SEED [THREADS [PART OF]]]");
        return ExitCode::from(2);
    };
    let seed = arguments.next().flatten().unwrap_or(1);
    let threads = arguments.next().flatten().unwrap_or(2) as usize;
    let part = arguments.next().flatten().unwrap_or(0);
    let parts = arguments.next().flatten().unwrap_or(1).max(1);
    let mut executor = match Executor::new(threads) {
        Ok(executor) => executor,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let count = count as usize;
    let (per_block, per_bundle) = match every_drop {
        true => (0, 0),
        false => (count.div_ceil(FIXTURE_BLOCKS).max(1), PER_BUNDLE),
    };
    let start = Instant::now();
    let mut report = Report::default();
    let mut said = 0;
    let mut number = 0;
    let mut visit = |mut chain: cases::Chain, per_block: usize, report: &mut Report| {
        number += 1;
        if number % parts != part {
            return ControlFlow::Continue(());
        }
        let mut rng = Rng(Rng(seed ^ number).next());
        if chain.rules.fork < Fork::Cancun {
            trial::try_older_chain(&mut executor, chain, per_block, &mut rng, report);
            return ControlFlow::Continue(());
        }
        for block in chain.take_valid() {
            if every_drop {
                trial::try_every_drop(&mut executor, &mut chain, &block, report);
            }
            for _ in 0..per_block {
                trial::try_one(&mut executor, &mut chain, &block, &mut rng, report);
            }
            if let Err(error) = chain.advance(&mut executor, &block) {
                report.finding("a valid block is refused", format!("{}: {error}", chain.name));
            }
        }
        if report.total() / 10_000 > said {
            said = report.total() / 10_000;
            eprintln!("{} mutants, {} findings, {:.0?}", report.total(), report.findings.len(), start.elapsed());
        }
        ControlFlow::Continue(())
    };
    // Dropping each of thousands of items of a large block would take hours.
    cases::each_bundle(if every_drop { 0 } else { 400_000 }, &mut |chain| visit(chain, per_bundle, &mut report));
    cases::each_fixture(0, 1, &mut |chain| visit(chain, per_block, &mut report));
    if !every_drop {
        cases::each_older_bundle(400_000, &mut |chain| visit(chain, per_bundle, &mut report));
        cases::each_older_fixture(0, 1, &mut |chain| visit(chain, per_block, &mut report));
    }
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
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
