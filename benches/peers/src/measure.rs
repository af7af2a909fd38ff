//! Clocks, interleaving and medians.
//!
//! In: closures. Out: nanoseconds. Contestants take turns within each round, so that other load on the machine affects
//! all of them alike; ratios are formed per round, and their median is reported.
//! Not here: what is measured.

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

/// The median; `None` for an empty slice.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// Median over rounds of `peer / ours`.
pub(crate) fn median_ratio(peer: &[f64], ours: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect();
    median(&ratios)
}

/// The geometric mean; `None` without values.
pub(crate) fn geomean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u32);
    for value in values {
        sum += value.ln();
        count += 1;
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_means() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median_ratio(&[4.0, 9.0, 2.0], &[2.0, 3.0, 1.0]), Some(2.0));
        assert!((geomean([1.0, 4.0]).unwrap_or_default() - 2.0).abs() < 1e-12);
        assert_eq!(geomean([]), None);
    }
}
