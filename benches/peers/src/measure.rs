//! Clocks of processor time.
//!
//! In: closures. Out: nanoseconds. Contestants take turns within each round, so that other load on the machine affects
//! all of them alike; ratios are formed per round, and their median is reported.
//! Not here: turns and medians (`balustrade_cli::measure`). The command measures wall time, since it also runs where
//! these clocks do not exist.

use rustix::time::{ClockId, clock_gettime};

/// Source of time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// CPU time of the calling thread: for work on one thread that never waits.
    Thread,
    /// CPU time of the process: for work bound to one processor, on any number of threads.
    Process,
    /// Wall time.
    Wall,
}

impl Clock {
    /// Wall time, but CPU time on one processor: there the two differ only by the time of other processes.
    pub(crate) fn for_threads(threads: usize) -> Self {
        if threads == 1 { Self::Process } else { Self::Wall }
    }

    fn now_ns(self) -> u64 {
        let id = match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
            Self::Wall => ClockId::Monotonic,
        };
        let time = clock_gettime(id);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// A started stopwatch.
pub(crate) struct Stopwatch {
    clock: Clock,
    start_ns: u64,
}

impl Stopwatch {
    pub(crate) fn start(clock: Clock) -> Self {
        Self { clock, start_ns: clock.now_ns() }
    }

    /// Nanoseconds since the start.
    pub(crate) fn ns(&self) -> f64 {
        (self.clock.now_ns() - self.start_ns) as f64
    }
}

/// Mean time of one call of `run` in ns, over `calls` calls.
pub(crate) fn sample(clock: Clock, calls: u32, run: &mut dyn FnMut()) -> f64 {
    let watch = Stopwatch::start(clock);
    for _ in 0..calls {
        run();
    }
    watch.ns() / f64::from(calls)
}

/// Number of calls that take `slice_ns`, given the time of one call.
pub(crate) fn calls_in(slice_ns: f64, once_ns: f64) -> u32 {
    (slice_ns / once_ns.max(20.0)).clamp(1.0, 1_000_000.0) as u32
}
