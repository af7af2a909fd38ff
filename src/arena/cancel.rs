//! Cancellation of running blocks: a flag that any thread can set, and an optional deadline.
//!
//! In: [`CancelToken::cancel`] from any thread. Out: [`CancelToken::is_cancelled`], polled at these
//! points: between tasks and on entry to a call frame; in the dispatch loops after each
//! [`POLL_GAS`] gas of a frame; between batches of sender recovery and of trie rows; before every
//! call of the state store. A running store call or precompile is not interrupted; apart from
//! these, a block stops within milliseconds.
//! Not here: aborting single tasks whose result is no longer needed (`exec::block::tasks`).

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Gas that a frame spends between two polls of the token: less than a millisecond of the cheapest
/// instructions.
pub const POLL_GAS: u64 = 1 << 20;

/// Stops the blocks that run with it. Clones share the flag; a set flag is never cleared.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl CancelToken {
    /// A token that is not cancelled and has no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token with the same flag that is also cancelled from `deadline` on. Reaching the deadline
    /// does not set the flag.
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { flag: Arc::clone(&self.flag), deadline: Some(deadline) }
    }

    /// Stops all blocks that run with this token or a clone of it. Can be called from any thread,
    /// and repeatedly.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is set or the deadline has passed.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
