//! What threads share: the one door to atomics and locks for everything that is modelled.
//!
//! `tests/loom` compiles the files that take their atomics from here once more, on loom's: `schedule`,
//! `arrivals/queue`, `optimistic/claims`, `optimistic/overlay`, and `executor/recover/deal`. Not here: locks that guard a worker's own things.

pub use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard};
