//! Tasks of a list: each runs once, or what kept it from running decides the block.

use super::explore;
use crate::schedule::{Next, TaskQueue};
use crate::sync::{AtomicBool, Fault, Ordering};
use loom::thread;
use std::sync::Arc;

/// What became of the tasks of a block: whether each one ran, and how it ended.
fn run_tasks(gas: &'static [u64], gas_limit: u64, failing: &'static [u32], workers: usize) {
    run_shuffled(gas, gas_limit, failing, workers, None);
}

/// The same, in another order than that of the block where a seed says so.
fn run_shuffled(gas: &'static [u64], gas_limit: u64, failing: &'static [u32], workers: usize, seed: Option<u64>) {
    let refused: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let schedule = Arc::new(TaskQueue::new(gas.len() as u32, gas_limit, refused, None, &[], seed));
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
    // Where a task did not run, those before it decide the block: one failed, or had no room.
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
fn what_lies_below_a_failed_task_always_runs() {
    explore(3, || run_tasks(&[0; 4], 100, &[1, 2], 2));
    explore(2, || run_tasks(&[0; 3], 100, &[1], 3));
}

/// Too much gas in the tasks 0 and 2, which are taken before task 1.
fn too_much_gas_around_a_task() {
    run_shuffled(&[70, 10, 60], 100, &[], 2, Some(1));
}

#[test]
fn early_rejection_by_gas_never_loses_a_task_that_counts() {
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
fn broken_if_gas_is_seen_before_whose_it_is() {
    let _broken = Fault::Relaxed.inject();
    explore(3, too_much_gas_around_a_task);
}

#[test]
#[should_panic(expected = "did not run")]
fn broken_if_the_highest_index_is_lost() {
    let _broken = Fault::Torn("fetch_max").inject();
    explore(3, too_much_gas_around_a_task);
}

/// A block that is given up at any moment: its first task that did not run is the one at which it says so.
fn give_up(tasks: u32) {
    let refused: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let schedule = Arc::new(TaskQueue::new(tasks, u64::MAX, refused, None, &[], None));
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
    assert_eq!(missing, here.into_iter().chain(there).min(), "given up elsewhere than said, {ran:?} ran");
}

#[test]
fn a_block_that_is_given_up_says_where_it_stood() {
    explore(3, || give_up(3));
}

#[test]
#[should_panic(expected = "given up elsewhere than said")]
fn broken_if_two_workers_are_given_up_at_one_task() {
    let _broken = Fault::Torn("fetch_add").inject();
    explore(3, || give_up(3));
}
