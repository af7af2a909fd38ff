//! Optimistic parallel execution, for blocks without a block access list (BAL).
//!
//! ```text
//! reader (one per worker) ─► cache (shared parent values) ─► overlay (writes by index) ─► base ─► machine
//!      machine ─► effects (reads with versions, writes per field) ─► schedule: validate in order ─► commit ─► preload
//! ```
//!
//! In: a block, its senders, the parent state. Out: [`Speculated`]: the outcomes, the recorded BAL, and the parent
//! values that were read; or the error of sequential execution.
//!
//! Workers run transactions speculatively on the writes known so far. Then, in block order, each run is validated: if
//! every value that it depended on is the final one, it is committed; otherwise the transaction is repeated on the
//! committed state of everything below it. So, by induction, each committed run equals that of sequential execution,
//! independent of timing: outcome, BAL and errors do not depend on the number of threads; only the counts in
//! [`Speculation`] do.
//! The design follows Block-STM (Gelashvili et al., 2022), with commits in block order that replace versions by one
//! committed value.
//! Relies on: `tasks` to run one task.
//! Not here: state and receipt roots, comparison with the header (`executor`).

pub mod cache;
mod claims;
pub mod cost;
pub mod effects;
pub mod overlay;
pub mod preload;
pub mod provider;
pub mod reader;
mod schedule;
#[cfg(test)]
mod tests;

pub use preload::Preload;
pub use schedule::run_optimistic;

use super::tasks::{Executed, Recording};
use cache::SharedCache;

/// Counts of a speculative execution. They depend on timing; nothing else in a block's outcome does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Speculation {
    /// Number of workers.
    pub workers: usize,
    /// Speculative runs.
    pub executions: usize,
    /// Speculative runs that had read a value which was not final.
    pub conflicts: usize,
    /// Runs beyond the first of each transaction.
    pub re_executions: usize,
    /// Accounts read from the store.
    pub account_reads: usize,
    /// Slots read from the store.
    pub slot_reads: usize,
    /// Reads of parent values that the shared cache served without a read from the store.
    pub reads_saved: usize,
    /// Accounts and slots read from the store after execution, to write the block's changes back.
    pub write_back_reads: usize,
}

/// Result of an optimistic execution, before roots are computed.
#[derive(Debug)]
pub struct Speculated {
    /// Outcomes, logs, requests and gas.
    pub executed: Executed,
    /// The recorded block access list and what belongs to it.
    pub recording: Recording,
    /// Counts of runs and reads.
    pub speculation: Speculation,
    /// Parent values of the accounts and slots that were read.
    pub cache: SharedCache,
}
