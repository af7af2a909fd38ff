//! Mutated blocks are refused by all modes, without a panic: those of `tests/data`, and, in tests that are ignored by
//! default, those of the suites. Not here: the long run (`examples/mutate.rs`).

mod hostile;

use balustrade::Executor;
use hostile::cases::{self, Chain, ListedBlock, Visit};
use hostile::report::Report;
use hostile::{Rng, mutators, trial};
use std::ops::ControlFlow;

/// Calls `try_block` with each valid block, until there are `total_max` mutants; returns their number.
fn try_blocks(
    each: impl FnOnce(Visit<'_>),
    total_max: usize,
    mut try_block: impl FnMut(&mut Executor, &mut Chain, &ListedBlock, &mut Report),
) -> usize {
    let mut executor = Executor::new(2).expect("threads");
    let mut report = Report::default();
    each(&mut |mut chain| {
        for block in chain.take_valid() {
            try_block(&mut executor, &mut chain, &block, &mut report);
            chain.advance(&mut executor, &block).expect("a valid block");
        }
        if report.total() < total_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{}", report.table());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report.total()
}

/// Tries `per_block` mutants of each valid block.
fn try_mutants(each: impl FnOnce(Visit<'_>), per_block: usize, total_max: usize) -> usize {
    let mut rng = Rng(7);
    try_blocks(each, total_max, |executor, chain, block, report| {
        (0..per_block).for_each(|_| trial::try_one(executor, chain, block, &mut rng, report));
    })
}

#[test]
fn mutants_are_refused() {
    assert!(try_mutants(cases::each_stored, 16, 2_000) > 400);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn mutants_of_fixture_blocks_are_refused() {
    assert!(try_mutants(|visit| cases::each_fixture(0, 41, visit), 4, 1_500) >= 1_000);
}

/// A source of chains: the chains, and the numbers of mutants per block and in total.
type Source<'a> = (&'a dyn Fn(Visit<'_>), usize, usize);

fn try_older_mutants(sources: &[Source<'_>]) {
    let mut executor = Executor::new(2).expect("threads");
    let mut rng = Rng(11);
    let mut report = Report::default();
    for (each, per_block, total_max) in sources {
        each(&mut |chain| {
            trial::try_older_chain(&mut executor, chain, *per_block, &mut rng, &mut report);
            if report.total() < *total_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    println!("{}", report.table());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.total() >= 1_000, "{} mutants", report.total());
    for mutator in mutators::names().filter(|name| name.starts_with("existence: ")) {
        assert!(report.count_of(mutator) > 0, "{mutator} was never drawn");
    }
}

#[test]
fn mutants_of_older_lists_and_existence_logs_are_refused() {
    try_older_mutants(&[(&cases::each_older_stored, 16, 1_000)]);
}

#[test]
#[ignore = "needs ../shared/fixtures and ../shared/bundles"]
fn mutants_of_older_suites_are_refused() {
    let bundles = |visit: Visit<'_>| cases::each_older_bundle(60_000, visit);
    let fixtures = |visit: Visit<'_>| cases::each_older_fixture(0, 19, visit);
    try_older_mutants(&[(&bundles, 20, 1_000), (&fixtures, 4, 3_000)]);
}

#[test]
fn a_list_without_any_one_of_its_items_is_refused() {
    assert!(try_blocks(cases::each_stored, 1_500, trial::try_every_drop) >= 1_500);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn a_list_of_the_suite_without_any_one_of_its_items_is_refused() {
    assert!(try_blocks(|visit| cases::each_fixture(7, 97, visit), 1_500, trial::try_every_drop) >= 1_500);
}
