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
    let builder = balustrade::executor::pool_builder(wanted, balustrade::Binding::OneEach, "balustrade");
    builder.build_global().map_err(|error| failed(&error))?;
    Ok(wanted)
}
