//! Batches of signatures: each is recovered once, and exactly one thread hands over all authorities.

use super::explore;
use crate::batch_queue::BatchQueue;
use crate::sync::{AtomicU32, Fault, Ordering};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

const SENDER_BATCHES: usize = 1;
const AUTHORITY_BATCHES: usize = 2;

struct Block {
    queue: BatchQueue,
    /// 0 until a batch is recovered; stands for the library's empty `OnceLock`.
    authorities: [AtomicU32; AUTHORITY_BATCHES],
    taken: Mutex<Vec<usize>>,
    /// For each hand-over, the number of authority batches that it found recovered.
    handed_over: Mutex<Vec<usize>>,
}

impl Block {
    /// Recovers all remaining batches.
    fn help(&self) {
        while let Some(batch) = self.queue.take() {
            self.taken.lock().expect("no thread panics").push(batch);
            let Some(at) = self.queue.authority_batch(batch) else { continue };
            self.authorities[at].store(1, Ordering::Release);
            if self.queue.complete_authorities() {
                let there = self.authorities.iter().filter(|cell| cell.load(Ordering::Acquire) == 1).count();
                self.handed_over.lock().expect("no thread panics").push(there);
            }
        }
    }
}

fn two_threads_help() {
    let block = Arc::new(Block {
        queue: BatchQueue::new(SENDER_BATCHES, AUTHORITY_BATCHES, 0),
        authorities: core::array::from_fn(|_| AtomicU32::new(0)),
        taken: Mutex::new(Vec::new()),
        handed_over: Mutex::new(Vec::new()),
    });
    let other = {
        let block = Arc::clone(&block);
        thread::spawn(move || block.help())
    };
    block.help();
    other.join().expect("it only recovers");
    let mut taken = block.taken.lock().expect("no thread panics").clone();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2], "each batch is taken once");
    assert_eq!(*block.handed_over.lock().expect("no thread panics"), [AUTHORITY_BATCHES], "one hands over all");
}

#[test]
fn each_batch_is_recovered_once_and_the_last_one_hands_over_all() {
    explore(3, two_threads_help);
}

#[test]
#[should_panic(expected = "one hands over all")]
fn broken_if_nothing_orders_the_batches_before_the_last() {
    let _broken = Fault::Relaxed.inject();
    explore(3, two_threads_help);
}

#[test]
#[should_panic(expected = "one hands over all")]
fn broken_if_the_countdown_reads_and_writes_in_two_steps() {
    let _broken = Fault::Torn("fetch_sub").inject();
    explore(3, two_threads_help);
}

#[test]
#[should_panic(expected = "each batch is taken once")]
fn broken_if_a_batch_is_taken_in_two_steps() {
    let _broken = Fault::Torn("fetch_add").inject();
    explore(3, two_threads_help);
}
