//! The task queue on one thread. Several threads: `tests/loom`.

use super::schedule::{Next, TaskQueue};
use crate::arena::cancel::CancelToken;
use crate::exec::sync::AtomicBool;
use std::collections::BTreeSet;

fn drain(schedule: &TaskQueue<'_>) -> Vec<Next> {
    std::iter::from_fn(|| Some(schedule.next()).filter(|next| *next != Next::Done)).collect()
}

#[test]
fn every_random_order_contains_every_task() {
    let refused = AtomicBool::new(false);
    for count in 2..40 {
        for seed in 0..200 {
            let schedule = TaskQueue::new(count, u64::MAX, &refused, None, Vec::new(), Some(seed));
            let taken: BTreeSet<u32> = drain(&schedule)
                .into_iter()
                .map(|next| if let Next::Run(index) = next { index } else { panic!("{next:?}") })
                .collect();
            assert_eq!(taken, (0..count).collect(), "{seed}");
        }
    }
}

#[test]
fn a_given_order_is_kept_and_a_failure_skips_only_higher_indices() {
    let refused = AtomicBool::new(false);
    let order = [0, 3, 1, 4, 2];
    let schedule = TaskQueue::new(5, u64::MAX, &refused, None, order.to_vec(), None);
    assert_eq!(schedule.next(), Next::Run(0));
    assert_eq!(schedule.next(), Next::Run(3));
    schedule.failed(3);
    assert_eq!(drain(&schedule), [Next::Run(1), Next::Run(2)]);
}

#[test]
fn tasks_below_a_failed_one_still_run() {
    let refused = AtomicBool::new(false);
    let schedule = TaskQueue::new(10, u64::MAX, &refused, None, Vec::new(), Some(3));
    schedule.failed(6);
    schedule.failed(8);
    let mut taken = drain(&schedule);
    taken.sort_by_key(|next| if let Next::Run(index) = next { *index } else { u32::MAX });
    assert_eq!(taken, (0..=6).map(Next::Run).collect::<Vec<_>>());
}

#[test]
fn gas_above_the_limit_skips_tasks_above_the_highest_ended_index() {
    let refused = AtomicBool::new(false);
    let schedule = TaskQueue::new(10, 100, &refused, None, Vec::new(), None);
    schedule.ended(4, 60);
    schedule.ended(2, 40);
    // Gas up to the limit skips no task.
    let full = TaskQueue::new(10, 100, &refused, None, Vec::new(), None);
    full.ended(4, 60);
    full.ended(2, 40);
    assert_eq!(drain(&full).len(), 10);
    schedule.ended(3, 1);
    assert_eq!(drain(&schedule), (0..=4).map(Next::Run).collect::<Vec<_>>());
}

#[test]
fn an_invalid_or_cancelled_block_runs_no_more_tasks() {
    let (open, refused) = (AtomicBool::new(false), AtomicBool::new(true));
    assert_eq!(TaskQueue::new(3, 0, &refused, None, Vec::new(), None).next(), Next::Cancelled(0));
    let token = CancelToken::new();
    let schedule = TaskQueue::new(3, 0, &open, Some(&token), Vec::new(), None);
    assert_eq!(schedule.next(), Next::Run(0));
    token.cancel();
    assert_eq!(schedule.next(), Next::Cancelled(1));
    let late = CancelToken::new().with_deadline(std::time::Instant::now());
    assert_eq!(TaskQueue::new(3, 0, &open, Some(&late), Vec::new(), None).next(), Next::Cancelled(0));
}
