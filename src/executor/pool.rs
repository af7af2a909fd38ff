//! The threads that a block runs on.
//!
//! Not here: what they do. A thread pool per executor, named, and bound to processors where that cannot hurt.

use rayon::ThreadPoolBuilder;

/// What the pools of executors are made of: `threads` named threads.
///
/// Where there are as many threads as processors that the process may use, each thread is bound to one of them. A block
/// takes a few milliseconds and its stages hand over some ten times; a thread that slept meanwhile is sometimes woken on
/// the processor of the one that woke it, and waits there for a whole time slice (3 ms and more) while another
/// processor idles. Measured with two threads and pauses of 20 ms between blocks: see the commit that added this.
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
        /// Binds the calling thread to the processor at `index`. Where it is refused, the thread stays unbound.
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
