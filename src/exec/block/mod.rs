//! All tasks of one block: system calls, transactions, what follows them; in each mode.
//!
//! In: a decoded block, its senders, the parent state, and the access list where there is one. Out: outcomes in block order,
//! the recorded list or the proof that the given one matches, or the error that comes first in the documented order.
//! Relies on: `tx` and everything below it, `bal`.
//! Not here: roots of tries and of the body (`executor`).

pub mod admission;
pub mod base;
pub mod code_loader;
pub mod diagnose;
pub mod error;
pub mod optimistic;
pub mod prefetch;
pub mod schedule;
#[cfg(test)]
mod schedule_tests;
pub mod system;
pub mod tasks;
pub mod verify;
