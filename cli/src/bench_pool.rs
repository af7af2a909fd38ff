//! Thread pools of the benches: of a given size, each thread bound to a processor where that is possible.

use balustrade::Binding;
use balustrade::executor::pool_builder;

/// The system refused to start threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {error}")]
pub(super) struct PoolError {
    threads: usize,
    error: rayon::ThreadPoolBuildError,
}

/// Starts a thread pool of this size.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool, PoolError> {
    let threads = threads.max(1);
    pool_builder(threads, Binding::OneEach, "balustrade").build().map_err(|error| PoolError { threads, error })
}
