//! The thread pool of an executor: named threads, bound to processors where that cannot hurt.
//!
//! In: how many threads, their names, whether each is bound to a processor. Out: a builder of a rayon pool.
//! Not here: what the threads do.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;

/// The thread pool that an [`Executor`](super::Executor) runs blocks on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Pool {
    /// A pool that belongs to the executor.
    Own {
        /// Number of threads; 0 counts as 1.
        threads: usize,
    },
    /// A pool of the host. Between blocks the host's other work has its threads; while a block runs, both share them.
    ///
    /// The executor then starts no thread for a block whose store is resident (see
    /// [`StateStore::is_resident`](crate::arena::store::StateStore::is_resident)). For the first block whose store is not
    /// resident it starts reader threads of its own, which wait for the store's answers.
    ///
    /// Several executors may run blocks on one pool at the same time, with one exception: if the methods of their store
    /// themselves run rayon jobs on this pool, two blocks in [`Mode::Optimistic`](super::Mode::Optimistic) at the same
    /// time can wait for each other forever, because a thread that waits for its job may take up a task of the other block.
    Shared(Arc<ThreadPool>),
}

/// Whether the threads of an executor are bound to processors.
///
/// A block takes a few milliseconds and its stages hand over some ten times. A thread that slept meanwhile is sometimes woken
/// on the processor of the thread that woke it, and waits there for a whole time slice (3 ms and more) while another
/// processor is idle. Binding avoids that. In a process with other busy threads it can do harm: a bound thread cannot move
/// away from a processor that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// No thread is bound: each has the affinity of the thread that builds the executor.
    #[default]
    Never,
    /// On Linux, where the pool has as many threads as the process may use processors, and at least two, each thread is
    /// bound to one processor. Other pools, and those of other systems, are not bound.
    OneEach,
}

/// What the pool of an executor is made of: `threads` threads, named `name-0`, `name-1` and so on.
pub fn pool_builder(threads: usize, binding: Binding, name: &str) -> ThreadPoolBuilder {
    let name = name.to_owned();
    let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(move |index| format!("{name}-{index}"));
    let processors = match binding {
        Binding::Never => None,
        Binding::OneEach => processors::one_each(threads),
    };
    match processors {
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
    fn a_pool_has_its_threads_bound_or_not() {
        for threads in [1, 2, 3, std::thread::available_parallelism().map_or(1, Into::into)] {
            for binding in [Binding::Never, Binding::OneEach] {
                let pool = pool_builder(threads, binding, "test").build().expect("threads");
                assert_eq!(pool.current_num_threads(), threads);
                let names = pool.broadcast(|_| std::thread::current().name().map(str::to_owned));
                assert_eq!(names[threads - 1].as_deref(), Some(format!("test-{}", threads - 1).as_str()));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn as_many_threads_as_processors_get_one_each() {
        let processors_of_this_thread = || {
            let mask = rustix::thread::sched_getaffinity(None).expect("the mask of this thread");
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| mask.is_set(*processor)).collect::<Vec<_>>()
        };
        let allowed = processors_of_this_thread();
        let masks = |binding| {
            let pool = pool_builder(allowed.len(), binding, "test").build().expect("threads");
            pool.broadcast(|_| processors_of_this_thread())
        };
        let bound = masks(Binding::OneEach);
        let mut distinct = bound.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() == allowed.len(), "{bound:?}");
        assert!(bound.iter().all(|mask| mask.len() == 1), "{bound:?}");
        assert!(masks(Binding::Never).iter().all(|mask| *mask == allowed));
    }
}
