//! The thread pool of an executor: named threads, bound to processors where that cannot hurt.
//!
//! Not here: the work that runs on them.

use rayon::ThreadPoolBuilder;

/// Builder of an executor's pool of `threads` named threads.
///
/// Where there are as many threads as processors that the process may use, each thread is bound to
/// one of them. A block takes a few milliseconds, in which its stages wake other threads some ten
/// times. Without binding, the scheduler sometimes places a woken thread on the processor of the
/// thread that woke it, where it waits for a whole time slice (3 ms and more) while another
/// processor is idle. Measured with two threads and pauses of 20 ms between blocks: see the commit
/// that added this.
pub fn pool_builder(threads: usize) -> ThreadPoolBuilder {
    let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("balustrade-{index}"));
    match processors::one_each(threads) {
        Some(processors) => builder.start_handler(move |index| processors.bind(index)),
        None => builder,
    }
}

#[cfg(target_os = "linux")]
mod processors {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// As many processors as threads.
    pub(super) struct Processors(Vec<usize>);

    /// The processors that the process may use, if there are exactly `threads`.
    pub(super) fn one_each(threads: usize) -> Option<Processors> {
        let allowed = sched_getaffinity(None).ok()?;
        let chosen: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
        (threads > 1 && chosen.len() == threads).then_some(Processors(chosen))
    }

    impl Processors {
        /// Binds the calling thread to the processor at `index`. If the system call fails, the
        /// thread stays unbound.
        pub(super) fn bind(&self, index: usize) {
            let mut one = CpuSet::new();
            one.set(self.0[index]);
            let _ = sched_setaffinity(None, &one);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod processors {
    /// Nothing is bound on this system.
    pub(super) enum Processors {}

    pub(super) fn one_each(_threads: usize) -> Option<Processors> {
        None
    }

    impl Processors {
        pub(super) fn bind(&self, _index: usize) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_its_threads_wherever_they_may_run() {
        for threads in [1, 2, 3, std::thread::available_parallelism().map_or(1, Into::into)] {
            let pool = pool_builder(threads).build().expect("threads");
            assert_eq!(pool.current_num_threads(), threads);
            let names = pool.broadcast(|_| std::thread::current().name().map(str::to_owned));
            assert_eq!(names[threads - 1].as_deref(), Some(format!("balustrade-{}", threads - 1).as_str()));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn as_many_threads_as_processors_get_one_each() {
        let allowed = rustix::thread::sched_getaffinity(None).expect("the mask of this process").count() as usize;
        let masks = pool_builder(allowed).build().expect("threads").broadcast(|_| {
            let mask = rustix::thread::sched_getaffinity(None).expect("the mask of this thread");
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| mask.is_set(*processor)).collect::<Vec<_>>()
        });
        let mut distinct = masks.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(masks.iter().all(|mask| mask.len() == 1) && distinct.len() == allowed, "{masks:?}");
    }
}
