//! Batches of signatures: each is recovered once, and one thread hands over the authorities, all of them.

use super::explore;
use crate::deal::Deal;
use crate::sync::{AtomicU32, Fault, Ordering};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

const SENDER_BATCHES: usize = 1;
const AUTHORITY_BATCHES: usize = 2;

struct Block {
    deal: Deal,
    /// 0 until a batch is there, as the library's once-cells are empty.
    authorities: [AtomicU32; AUTHORITY_BATCHES],
    taken: Mutex<Vec<usize>>,
    /// How many authorities each one handed over who was the last.
    handed_over: Mutex<Vec<usize>>,
}

impl Block {
    /// Recovers whatever is left.
    fn help(&self) {
        while let Some(batch) = self.deal.take() {
            self.taken.lock().expect("nobody panics").push(batch);
            let Some(at) = self.deal.authority_batch(batch) else { continue };
            self.authorities[at].store(1, Ordering::Release);
            if self.deal.authorities_arrived() {
                let there = self.authorities.iter().filter(|cell| cell.load(Ordering::Acquire) == 1).count();
                self.handed_over.lock().expect("nobody panics").push(there);
            }
        }
    }
}

fn two_threads_help() {
    let block = Arc::new(Block {
        deal: Deal::new(SENDER_BATCHES, AUTHORITY_BATCHES),
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
    let mut taken = block.taken.lock().expect("nobody panics").clone();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2], "each batch is taken once");
    assert_eq!(*block.handed_over.lock().expect("nobody panics"), [AUTHORITY_BATCHES], "one hands over all");
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
fn broken_if_two_count_down_at_once() {
    let _broken = Fault::Torn("fetch_sub").inject();
    explore(3, two_threads_help);
}

#[test]
#[should_panic(expected = "each batch is taken once")]
fn broken_if_two_take_one_batch() {
    let _broken = Fault::Torn("fetch_add").inject();
    explore(3, two_threads_help);
}
