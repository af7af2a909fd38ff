//! Diagnosis finds every difference between list and execution, and names the instructions that accessed each slot.

mod hostile;

use balustrade::Executor;
use balustrade::bal::{self, BalField, Limits};
use hostile::cases::{self, Visit};
use hostile::mutators::Part;
use hostile::{Rng, trial};
use std::ops::ControlFlow;

/// Diagnoses wrong lists of each valid block; returns the numbers of blocks, wrong lists, points at slots, and points
/// at written slots.
fn diagnose(each: impl FnOnce(Visit<'_>)) -> [usize; 4] {
    let mut executors = [1, 3].map(|threads| Executor::new(threads).expect("threads"));
    let mut rng = Rng(11);
    let mut counts = [0; 4];
    each(&mut |mut chain| {
        for block in chain.take_valid() {
            let honest = executors[0].diagnose(&chain.input(&block), &chain.store).expect("it decodes");
            assert!(honest.points.is_empty() && honest.stopped.is_none(), "{}: {:?}", chain.name, honest.points);
            assert_eq!(honest.produced, block.bal);
            let produced = bal::decode(&block.bal, &Limits::format_only()).expect("it decodes");
            for _ in 0..3 {
                let Some(mutant) = trial::draw(&mut chain, &block, &mut rng) else { continue };
                if mutant.part != Part::List {
                    continue;
                }
                let Ok(claimed) = bal::decode(&mutant.block.bal, &Limits::format_only()) else { continue };
                let found = executors[0].diagnose(&chain.input(&mutant.block), &chain.store).expect("it decodes");
                let expected = bal::diff(&claimed, &produced);
                assert!(!expected.is_empty());
                assert_eq!(found.points.len(), expected.len(), "{}: {}", chain.name, mutant.name);
                for (point, divergence) in found.points.iter().zip(&expected) {
                    assert_eq!((point.address, point.field), (divergence.address, divergence.field));
                    assert_eq!((&point.claimed, &point.produced), (&divergence.a, &divergence.b));
                    assert_eq!(point.touches.len(), point.touch_count.min(point.touches.len()));
                    // Only code reads and writes slots.
                    if point.slot.is_some() && point.produced.is_some() {
                        assert!(point.touch_count > 0, "{}: {point}", chain.name);
                        assert!(point.touches.iter().all(|touch| ["SLOAD", "SSTORE"].contains(&touch.opcode)));
                        assert!(point.touches.iter().all(|touch| touch.contract == point.address));
                        counts[2] += 1;
                    }
                    if point.field == BalField::StorageChanges && point.produced.is_some() {
                        assert!(point.touches.iter().any(|touch| touch.opcode == "SSTORE"), "{point}");
                        counts[3] += 1;
                    }
                    let json = serde_json::to_value(point).expect("JSON");
                    for key in ["address", "field", "claimed", "produced", "touches", "touch_count"] {
                        assert!(json.get(key).is_some(), "{key}: {json}");
                    }
                }
                let again = executors[1].diagnose(&chain.input(&mutant.block), &chain.store).expect("it decodes");
                assert_eq!((again.points, again.produced), (found.points, found.produced));
                counts[1] += 1;
            }
            chain.advance(&mut executors[0], &block).expect("a valid block");
            counts[0] += 1;
        }
        if counts[0] < 250 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("blocks, wrong lists, points at slots, points at written slots: {counts:?}");
    counts
}

#[test]
fn every_wrong_list_is_explained_completely() {
    let [blocks, lists, at_slots, at_written] = diagnose(cases::each_stored);
    assert!(blocks > 30 && lists > 40 && at_slots > 5 && at_written > 5);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn every_wrong_list_of_the_suite_is_explained_completely() {
    let [blocks, lists, at_slots, at_written] = diagnose(|visit| cases::each_fixture(2, 45, visit));
    assert!(blocks >= 250 && lists > 250 && at_slots > 50 && at_written > 50);
}
