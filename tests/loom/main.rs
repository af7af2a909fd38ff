//! The executor's own atomics under loom: every interleaving, and every value that the memory model lets a thread read,
//! for few workers and few tasks (with bounded preemptions; `LOOM_MAX_PREEMPTIONS` raises the bound).
//!
//! The files with atomics are compiled here a second time, from the same source, with loom's types behind `sync`. A
//! test can weaken these types to show that its model detects the fault.
//! Not here: std's own types (parent values in the optimistic cache are std's `OnceLock` under std's `Mutex`, code
//! analyses are std's `OnceLock`), and real threads (`tests/determinism.rs`, `tests/optimistic`).

#![allow(dead_code, unreachable_pub, missing_docs, reason = "whole files of the library are compiled in")]

mod models;
pub mod sync;

/// The library's modules under the paths that the files below use.
mod arena {
    pub use balustrade::arena::{BlockAccessIndex, CodeId, Id, TxIndex, cancel};
}
mod exec {
    pub use crate::sync;
    pub mod evm {
        pub mod state {
            pub use balustrade::exec::evm::state::AccountState;
        }
    }
}

#[path = "../../src/executor/recover/batch_queue.rs"]
mod batch_queue;
#[path = "../../src/exec/block/optimistic/claims.rs"]
mod claims;
#[path = "../../src/exec/block/optimistic/overlay.rs"]
mod overlay;
#[path = "../../src/exec/block/prefetch/queue.rs"]
mod queue;
#[path = "../../src/exec/block/schedule.rs"]
mod schedule;
