//! The same processors and pool sizes for all contestants.
//!
//! Relies on: being called before anything else uses a pool. Not here: pools that contestants create themselves.

use crate::PeersError;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Binds the process to `threads` of the processors that it may use and sizes the global pool; returns their number.
///
/// Peers start their own threads; the binding limits the processors that these may use.
pub(crate) fn bind(threads: Option<u16>) -> Result<usize, PeersError> {
    let failed = |error: &dyn std::fmt::Display| PeersError::Threads(error.to_string());
    let allowed = sched_getaffinity(None).map_err(|error| failed(&error))?;
    let wanted = threads.map_or(allowed.count() as usize, usize::from);
    let mut chosen = CpuSet::new();
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(wanted) {
        chosen.set(cpu);
    }
    sched_setaffinity(None, &chosen).map_err(|error| failed(&error))?;
    builder(wanted).build_global().map_err(|error| failed(&error))?;
    Ok(wanted)
}

/// Each thread is bound to one processor, as the threads of our executor are: a thread that wakes on a busy processor
/// waits there for a time slice, which would distort the figures.
fn builder(threads: usize) -> rayon::ThreadPoolBuilder {
    balustrade::executor::pool_builder(threads, balustrade::Binding::OneEach, "balustrade")
}

/// A pool of `threads` threads on the processors that `bind` selected.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, PeersError> {
    builder(threads).build().map_err(|error| PeersError::Threads(error.to_string()))
}
