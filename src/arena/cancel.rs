//! Giving up: a flag that other threads set, and a moment after which nobody waits any more.
//!
//! Whoever works long looks now and then: workers between tasks and where a frame is entered, the loops each
//! [`POLL_GAS`] of a frame's gas, sender recovery between batches, the tries between batches of rows, everyone before the
//! store is asked. So a block stops within one answer of the store or one precompile, and else within milliseconds.
//! Not here: giving up tasks whose outcome no longer matters (`exec::block::tasks`).

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Gas that a frame spends between two looks at the token: less than a millisecond of the cheapest instructions.
pub const POLL_GAS: u64 = 1 << 20;

/// Asks blocks that run with it to stop. Clones share the flag; once cancelled it stays so.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl CancelToken {
    /// A token that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token with the same flag that also counts as cancelled from `deadline` on; the flag itself stays as it is.
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { flag: Arc::clone(&self.flag), deadline: Some(deadline) }
    }

    /// Stops all blocks that run with this token or a clone of it. Callable from anywhere, as often as one likes.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
