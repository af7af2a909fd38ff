//! Optimistic parallel execution: for blocks that bring no access list.
//!
//! ```text
//! reader (one per worker) ─► cache (shared parent values) ─► overlay (writes by index) ─► base ─► machine
//!      machine ─► effects (reads with versions, writes per field) ─► schedule: validate in order ─► commit ─► preload
//! ```
//!
//! Workers run transactions ahead of their turn on what is known so far. In block order each run is either found to hold
//! (every value that it depended on is the final one) and becomes final, or is repeated on the final state of everything
//! below it. So by induction each committed run is the one of sequential execution, whatever the timing: outcome, list,
//! errors do not depend on the number of threads; only the counts in [`Speculation`] do.
//! The shape is that of Block-STM (Gelashvili et al., 2022) with an in-order commit that folds versions away.
//! Not here: roots and the last checks (the library's entry point).

pub mod base;
pub mod cache;
mod claims;
pub mod cost;
pub mod effects;
pub mod overlay;
pub mod preload;
pub mod reader;
mod schedule;
#[cfg(test)]
mod tests;

pub use preload::Preload;
pub use schedule::run_optimistic;

use super::tasks::{Executed, Recording};
use cache::SharedCache;

/// How speculation went. Depends on timing; nothing else of a block's outcome does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Speculation {
    /// Workers.
    pub workers: usize,
    /// Runs ahead of their turn.
    pub executions: usize,
    /// Of these, those that had seen a value which was not final.
    pub conflicts: usize,
    /// Runs beyond the first of each transaction.
    pub re_executions: usize,
    /// Accounts read from the store.
    pub account_reads: usize,
    /// Slots read from the store.
    pub slot_reads: usize,
    /// Parent values that tasks asked for and that did not have to be read from the store again.
    pub reads_saved: usize,
    /// Accounts and slots read from the store after execution, to write the block's changes back.
    pub write_back_reads: usize,
}

/// A block executed optimistically, before any root.
#[derive(Debug)]
pub struct Speculated {
    /// What executing it gave.
    pub executed: Executed,
    /// What it recorded.
    pub recording: Recording,
    /// How it went.
    pub speculation: Speculation,
    /// Parent values of everything that was met.
    pub cache: SharedCache,
}
