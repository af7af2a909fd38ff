//! Distribution of the shards of an update over the threads.
//!
//! In: the owner of each shard and a phase of the update. Out: the phase run on all threads.
//! Not here: the choice of owners (`update.rs`), the phases (`worker.rs`).

use super::TrieError;
use super::shard::Shard;
use super::top::SHARDS;
use super::worker::{Group, Worker};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::time::Instant;

/// How long a thread that has finished spins while others still work before it sleeps: waking a
/// thread takes 20 to 30 us.
const SPIN_TIME: Duration = Duration::from_micros(100);

/// Assignment of shards and their update rows to threads.
pub(super) struct Assignment<'a> {
    pub(super) owner: [usize; SHARDS],
    pub(super) groups: Vec<Vec<Group<'a>>>,
}

impl Assignment<'_> {
    /// Runs one phase on all threads and returns the error of the lowest worker, independent of
    /// timing.
    pub(super) fn run(
        &self,
        workers: &mut [Worker],
        shards: &mut [Shard],
        phase: impl Fn(&mut Worker, &mut [&mut Shard], &[Group<'_>]) -> Result<(), TrieError> + Sync,
    ) -> Result<(), TrieError> {
        let mut shards_of: Vec<Vec<&mut Shard>> = workers.iter().map(|_| Vec::with_capacity(SHARDS)).collect();
        for (shard, owner) in shards.iter_mut().zip(self.owner) {
            shards_of[owner].push(shard);
        }
        if let [worker] = workers {
            return phase(worker, &mut shards_of[0], &self.groups[0]);
        }
        let mut results = vec![Ok(()); workers.len()];
        let (started, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        rayon::scope(|scope| {
            let mut tasks = workers.iter_mut().zip(&mut shards_of).zip(&self.groups).zip(&mut results);
            let own = tasks.next();
            let others = tasks.len();
            for (((worker, shards), groups), result) in tasks {
                let (phase, started, done) = (&phase, &started, &done);
                scope.spawn(move |_| {
                    started.fetch_add(1, Ordering::Relaxed);
                    *result = phase(worker, shards, groups);
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            if let Some((((worker, shards), groups), result)) = own {
                *result = phase(worker, shards, groups);
            }
            // If a task has not been started by another thread, this thread runs it at the end of
            // the scope instead of spinning.
            if started.load(Ordering::Relaxed) == others {
                let until = Instant::now() + SPIN_TIME;
                while done.load(Ordering::Relaxed) < others && Instant::now() < until {
                    core::hint::spin_loop();
                }
            }
        });
        results.into_iter().collect()
    }
}
