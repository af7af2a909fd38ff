//! Mutated blocks are refused by all modes, without a panic. Not here: the long run (`examples/mutate.rs`).

mod hostile;

use balustrade::Executor;
use hostile::report::Report;
use hostile::{Rng, cases, mutators, trial};
use std::ops::ControlFlow;

#[test]
fn mutants_of_fixture_blocks_are_refused() {
    let mut executor = Executor::new(2).expect("threads");
    let mut rng = Rng(7);
    let mut report = Report::default();
    cases::each_fixture(0, 41, &mut |mut chain| {
        for block in chain.take_valid() {
            for _ in 0..4 {
                trial::try_one(&mut executor, &mut chain, &block, &mut rng, &mut report);
            }
            chain.advance(&mut executor, &block).expect("a valid block");
        }
        if report.total() < 1_500 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{}", report.table());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

#[test]
fn mutants_of_older_lists_and_existence_logs_are_refused() {
    let mut executor = Executor::new(2).expect("threads");
    let mut rng = Rng(11);
    let mut report = Report::default();
    let mut visit = |chain: cases::Chain, per_block: usize, total_max: usize| {
        trial::try_older_chain(&mut executor, chain, per_block, &mut rng, &mut report);
        if report.total() < total_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    cases::each_older_bundle(60_000, &mut |chain| visit(chain, 20, 1_000));
    cases::each_older_fixture(0, 19, &mut |chain| visit(chain, 4, 3_000));
    println!("{}", report.table());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    for mutator in mutators::names().filter(|name| name.starts_with("existence: ")) {
        assert!(report.total() == 0 || report.count_of(mutator) > 0, "{mutator} was never drawn");
    }
}

#[test]
fn a_list_without_any_one_of_its_items_is_refused() {
    let mut executor = Executor::new(2).expect("threads");
    let mut report = Report::default();
    cases::each_fixture(7, 97, &mut |mut chain| {
        for block in chain.take_valid() {
            trial::try_every_drop(&mut executor, &mut chain, &block, &mut report);
            chain.advance(&mut executor, &block).expect("a valid block");
        }
        if report.total() < 1_500 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{}", report.table());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}
