//! All tasks of one block, in each execution mode: system calls before the transactions, the transactions, and
//! withdrawals, rewards and request contracts after them. Each task has its own block access index.
//!
//! In: a decoded block, its senders, the parent state, and the block access list (BAL) where the block has one.
//! Out: outcomes in block order; the recorded BAL, or the proof that the given BAL matches the execution; or the first
//! error in the order that `error` documents.
//! Relies on: `tx` and the modules below it, `bal`.
//! Not here: state root, transactions root, receipts root (`executor`).

pub mod admission;
pub mod code_loader;
pub mod diagnose;
pub mod error;
pub mod optimistic;
pub mod prefetch;
pub mod providers;
pub mod schedule;
#[cfg(test)]
mod schedule_tests;
pub mod system;
pub mod tasks;
pub mod verify;
