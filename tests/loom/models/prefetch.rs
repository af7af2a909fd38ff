//! Prefetched batches of the parent state: each is read once, and a task that waits for one gets it or is told that it
//! will not be read.

use super::explore;
use crate::queue::Queue;
use crate::sync::{AtomicU32, Fault, Ordering};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// Two batches, the first one of accounts, with concurrent readers and tasks.
struct Block {
    queue: Queue,
    /// 0 until a batch is read; stands for the library's empty `OnceLock`.
    batches: [AtomicU32; BATCHES],
    read: Mutex<Vec<usize>>,
    failing: Option<usize>,
}

const BATCHES: usize = 2;
const GOOD: u32 = 1;
const BAD: u32 = 2;

impl Block {
    fn new(failing: Option<usize>) -> Arc<Self> {
        let batches = core::array::from_fn(|_| AtomicU32::new(0));
        Arc::new(Self { queue: Queue::new(1, BATCHES - 1), batches, read: Mutex::new(Vec::new()), failing })
    }

    /// Reads all remaining batches.
    fn read(&self) {
        while let Some(batch) = self.queue.take() {
            let failed = self.failing == Some(batch);
            self.read.lock().expect("no thread panics").push(batch);
            self.batches[batch].store(if failed { BAD } else { GOOD }, Ordering::Release);
            let is_last = self.queue.done(batch, failed);
            assert_eq!(is_last, batch == 0 && !failed, "batch {batch} is the last one of accounts");
        }
    }

    /// Needs a batch, as a task does.
    fn need(&self, batch: usize) -> Option<u32> {
        let find = || Some(self.batches[batch].load(Ordering::Acquire)).filter(|found| *found != 0);
        find().or_else(|| self.queue.wait(batch, find))
    }
}

/// Runs readers and tasks that need the batches `needed`; returns the result of each task.
fn run_block(block: &Arc<Block>, readers: usize, needed: &[usize]) -> Vec<Option<u32>> {
    let tasks: Vec<_> = (needed.iter().copied())
        .map(|batch| {
            let block = Arc::clone(block);
            thread::spawn(move || block.need(batch))
        })
        .collect();
    let others: Vec<_> = (1..readers)
        .map(|_| {
            let block = Arc::clone(block);
            thread::spawn(move || block.read())
        })
        .collect();
    block.read();
    others.into_iter().for_each(|other| other.join().expect("it only reads"));
    let mut read = block.read.lock().expect("no thread panics").clone();
    read.sort_unstable();
    assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "a batch is read twice: {read:?}");
    assert!(block.failing.is_some() || read.len() == BATCHES, "a batch is not read: {read:?}");
    tasks.into_iter().map(|task| task.join().expect("it only waits")).collect()
}

fn two_tasks_wait() {
    let block = Block::new(None);
    assert_eq!(run_block(&block, 1, &[0, 1]), [Some(GOOD), Some(GOOD)]);
}

#[test]
fn a_waiting_task_gets_its_batch_which_is_read_once() {
    explore(3, two_tasks_wait);
    explore(2, || {
        let block = Block::new(None);
        assert_eq!(run_block(&block, 2, &[1]), [Some(GOOD)]);
    });
}

#[test]
fn no_task_waits_behind_a_failed_batch_and_all_before_it_are_read() {
    explore(3, || {
        let block = Block::new(Some(0));
        let got = run_block(&block, 2, &[1]);
        assert!(matches!(got[..], [Some(GOOD) | None]), "{got:?}");
        assert_eq!(block.batches[0].load(Ordering::Acquire), BAD);
    });
    explore(3, || {
        let block = Block::new(Some(1));
        assert_eq!(run_block(&block, 2, &[0]), [Some(GOOD)]);
    });
}

#[test]
fn no_task_waits_for_a_cancelled_block() {
    explore(3, || {
        let block = Block::new(None);
        let task = {
            let block = Arc::clone(&block);
            thread::spawn(move || block.need(1))
        };
        block.queue.stop();
        assert_eq!(block.queue.take(), None);
        assert_eq!(task.join().expect("it only waits"), None);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn broken_if_only_one_waiting_task_is_woken() {
    let _broken = Fault::WakesOne.inject();
    explore(3, two_tasks_wait);
}
