//! The atomics and locks of all code that `tests/loom` checks.
//!
//! `tests/loom` compiles these files again with loom's types in place of this module: `block/schedule`,
//! `block/prefetch/queue`, `block/optimistic/claims`, `block/optimistic/overlay`, and `executor/recover/batch_queue`.
//! Not here: locks around data that one worker owns; they come from `std` directly.

pub use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard};
