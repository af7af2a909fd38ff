//! Batches of blocking reads on several threads, for queue depth where there is no io_uring.
//!
//! In: a file and ranges of it. Out: their bytes, in order, or the first error that a thread met.
//! Threads start with the first batch that needs them and end when the pool is dropped.

use super::positioned::read_exact_at;
use alloy_primitives::Bytes;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Most threads. With 32 of them, batches of 5,000 random reads reached the limit of a device of 65,000 reads a second.
const THREADS_MAX: usize = 32;
/// Reads that one thread takes at a time.
const READS_AT_A_TIME: usize = 4;

/// An error of a read, with the offset.
pub(super) type ReadError = (u64, io::Error);

/// A pool of threads that read.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    threads: Vec<JoinHandle<()>>,
    queue: Option<(Sender<Arc<Batch>>, Queue)>,
}

/// Where the threads wait for batches.
type Queue = Arc<Mutex<Receiver<Arc<Batch>>>>;

/// A batch that several threads work on.
#[derive(Debug)]
struct Batch {
    file: Arc<File>,
    ranges: Vec<(u64, u32)>,
    /// The first range that no thread has taken.
    next: AtomicUsize,
    done: Sender<(usize, Result<Bytes, ReadError>)>,
}

impl Batch {
    fn work(&self) {
        loop {
            let first = self.next.fetch_add(READS_AT_A_TIME, Ordering::Relaxed);
            if first >= self.ranges.len() {
                return;
            }
            let last = (first + READS_AT_A_TIME).min(self.ranges.len());
            for (i, range) in self.ranges[first..last].iter().enumerate() {
                // Without a receiver the caller has met an error and has returned.
                if self.done.send((first + i, read(&self.file, *range))).is_err() {
                    return;
                }
            }
        }
    }
}

fn read(file: &File, (offset, bytes): (u64, u32)) -> Result<Bytes, ReadError> {
    let mut buffer = vec![0; bytes as usize];
    read_exact_at(file, offset, &mut buffer).map_err(|error| (offset, error))?;
    Ok(buffer.into())
}

impl Readers {
    /// Reads the ranges (offset, length in bytes) of a file into `out`, in order.
    pub(super) fn read(&self, file: &Arc<File>, ranges: &[(u64, u32)], out: &mut [Bytes]) -> Result<(), ReadError> {
        let threads = ranges.len().div_ceil(READS_AT_A_TIME).min(THREADS_MAX);
        if threads <= 1 {
            for (range, out) in ranges.iter().zip(out) {
                *out = read(file, *range)?;
            }
            return Ok(());
        }
        let (done, results) = channel();
        let batch = Batch { file: Arc::clone(file), ranges: ranges.to_vec(), next: AtomicUsize::new(0), done };
        self.start(threads, Arc::new(batch)).map_err(|error| (0, error))?;
        let mut missing = ranges.len();
        // The iteration ends when all threads have dropped the batch.
        for (i, bytes) in results {
            out[i] = bytes?;
            missing -= 1;
        }
        if missing > 0 { Err((0, io::Error::other("a reader thread ended early"))) } else { Ok(()) }
    }

    /// Gives a batch to `threads` threads.
    fn start(&self, threads: usize, batch: Arc<Batch>) -> io::Result<()> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = pool
            .queue
            .get_or_insert_with(|| {
                let (sender, receiver) = channel();
                (sender, Arc::new(Mutex::new(receiver)))
            })
            .clone();
        while pool.threads.len() < threads {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new().name("page reader".into()).spawn(move || run(&receiver))?;
            pool.threads.push(thread);
        }
        for _ in 0..threads {
            sender.send(Arc::clone(&batch)).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn run(queue: &Mutex<Receiver<Arc<Batch>>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(batch) => batch.work(),
            Err(_) => return,
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let pool = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Without a sender the threads end.
        pool.queue = None;
        for thread in pool.threads.drain(..) {
            // A thread that panicked has already failed its batch.
            let _ = thread.join();
        }
    }
}
