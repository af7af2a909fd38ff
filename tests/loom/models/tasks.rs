//! The task queue of `bal` mode: each task runs once, unless lower tasks already refuse the block.

use super::explore;
use crate::schedule::{Next, TaskQueue};
use crate::sync::{AtomicBool, Fault, Ordering};
use loom::thread;
use std::sync::Arc;

/// Runs the tasks of a block with this gas each; those in `failing` fail. Asserts the properties of the queue.
fn run_tasks(gas: &'static [u64], gas_limit: u64, failing: &'static [u32], workers: usize) {
    run_shuffled(gas, gas_limit, failing, workers, None);
}

/// As [`run_tasks`], with shuffled tasks if there is a seed.
fn run_shuffled(gas: &'static [u64], gas_limit: u64, failing: &'static [u32], workers: usize, seed: Option<u64>) {
    let refused: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let schedule = Arc::new(TaskQueue::new(gas.len() as u32, gas_limit, refused, None, Vec::new(), seed));
    let work = move |schedule: &TaskQueue<'_>| {
        let mut ran = Vec::new();
        while let Next::Run(index) = schedule.next() {
            ran.push(index);
            if failing.contains(&index) {
                schedule.failed(index);
            } else {
                schedule.ended(index, gas[index as usize]);
            }
        }
        ran
    };
    let others: Vec<_> = (1..workers)
        .map(|_| {
            let schedule = Arc::clone(&schedule);
            thread::spawn(move || work(&schedule))
        })
        .collect();
    let mut ran = work(&schedule);
    others.into_iter().for_each(|other| ran.extend(other.join().expect("it only counts")));
    ran.sort_unstable();
    // If a task did not run, lower tasks must refuse the block: one failed, or they exceed the gas limit.
    assert!(ran.windows(2).all(|pair| pair[0] < pair[1]), "a task ran twice: {ran:?}");
    let missing = (0..gas.len() as u32).find(|index| !ran.contains(index));
    if let Some(missing) = missing {
        let below = ran.iter().filter(|index| **index < missing);
        let spent: u64 = below.clone().map(|index| gas[*index as usize]).sum();
        let failed = below.clone().any(|index| failing.contains(index));
        assert!(failed || spent > gas_limit, "{missing} did not run, of {ran:?}");
    }
}

#[test]
fn every_task_below_a_failed_one_runs() {
    explore(3, || run_tasks(&[0; 4], 100, &[1, 2], 2));
    explore(2, || run_tasks(&[0; 3], 100, &[1], 3));
}

/// Tasks 0 and 2 together exceed the gas limit and are taken before task 1.
fn too_much_gas_around_a_task() {
    run_shuffled(&[70, 10, 60], 100, &[], 2, Some(1));
}

#[test]
fn early_rejection_by_gas_loses_no_task_that_decides_the_error() {
    explore(3, || run_tasks(&[0, 60, 40, 60], 100, &[], 2));
    explore(2, || run_tasks(&[70, 10, 60], 100, &[], 3));
    explore(3, too_much_gas_around_a_task);
}

#[test]
#[should_panic(expected = "a task ran twice")]
fn broken_if_a_claim_reads_and_writes_in_two_steps() {
    let _broken = Fault::Torn("fetch_add").inject();
    explore(3, || run_tasks(&[0; 3], 100, &[], 2));
}

#[test]
#[should_panic(expected = "did not run")]
fn broken_if_gas_is_visible_before_its_task_index() {
    let _broken = Fault::Relaxed.inject();
    explore(3, too_much_gas_around_a_task);
}

#[test]
#[should_panic(expected = "did not run")]
fn broken_if_the_highest_index_is_lost() {
    let _broken = Fault::Torn("fetch_max").inject();
    explore(3, too_much_gas_around_a_task);
}

/// A block that is cancelled at any time reports the first task that did not run.
fn cancel_a_block(tasks: u32) {
    let refused: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let schedule = Arc::new(TaskQueue::new(tasks, u64::MAX, refused, None, Vec::new(), None));
    let work = |schedule: &TaskQueue<'_>| {
        let mut ran = Vec::new();
        loop {
            match schedule.next() {
                Next::Run(index) => ran.push(index),
                Next::Cancelled(index) => return (ran, Some(index)),
                Next::Done => return (ran, None),
            }
        }
    };
    let other = {
        let schedule = Arc::clone(&schedule);
        thread::spawn(move || work(&schedule))
    };
    let caller = thread::spawn(|| refused.store(true, Ordering::Relaxed));
    let (mut ran, here) = work(&schedule);
    let (also_ran, there) = other.join().expect("it only counts");
    caller.join().expect("it only stores");
    ran.extend(also_ran);
    let missing = (0..tasks).find(|index| !ran.contains(index));
    assert_eq!(
        missing,
        here.into_iter().chain(there).min(),
        "another task is reported than the first that did not run, {ran:?} ran"
    );
}

#[test]
fn a_cancelled_block_reports_the_first_task_that_did_not_run() {
    explore(3, || cancel_a_block(3));
}

#[test]
#[should_panic(expected = "another task is reported than the first that did not run")]
fn broken_if_two_workers_are_cancelled_at_one_task() {
    let _broken = Fault::Torn("fetch_add").inject();
    explore(3, || cancel_a_block(3));
}
