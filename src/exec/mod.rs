//! Columns to produced accesses: transactions, frames, gas, system calls, verification.
//!
//! In: decoded block, pre-state columns. Out: receipts, produced changes, gas in both dimensions.
//! Not here: tries and roots (the `trie` room), RLP of access lists (the `bal` room).

pub mod admission;
pub mod arrivals;
pub mod base;
pub mod block;
pub mod call;
pub mod chain;
pub mod code_loader;
mod dao;
pub mod diagnose;
pub mod error;
pub mod evm;
pub mod fork;
pub mod gas;
pub mod halt;
pub mod header;
pub mod host;
pub mod interpreter;
pub mod lookaside;
pub mod ommers;
pub mod optimistic;
pub mod precompile;
#[cfg(feature = "reference-loop")]
pub mod reference;
pub mod schedule;
#[cfg(test)]
mod schedule_tests;
pub mod senders;
pub mod signers;
pub mod state;
pub mod sync;
pub mod system;
pub mod tx;
pub mod universe;
pub mod verify;
pub mod watch;
pub mod wire;

pub use crate::arena::cancel;
