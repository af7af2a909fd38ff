//! The executor's own atomics under loom: every order of events, and every value that the memory model lets a thread see,
//! among few workers and few tasks (bounded preemptions; `LOOM_MAX_PREEMPTIONS` raises the bound).
//!
//! The files with atomics are compiled here once more, from the same source, with loom's types behind `sync`, which a test
//! can break to show that its model would notice. Parent values in the optimistic cache are std's `OnceLock` under std's
//! `Mutex`, code analyses std's `OnceLock`: not ours to model.
//! Not here: real threads (`tests/determinism.rs`, `tests/optimistic`).

#![allow(dead_code, unreachable_pub, missing_docs, reason = "whole files of the library are compiled in")]

mod models;
pub mod sync;

/// What the files below call the library's rooms.
mod arena {
    pub use balustrade::arena::{BlockAccessIndex, CodeId, Id, TxIndex, cancel};
}
mod exec {
    pub use crate::sync;
    pub mod evm {
        pub mod state {
            pub use balustrade::exec::evm::state::BaseAccount;
        }
    }
}

#[path = "../../src/exec/block/optimistic/claims.rs"]
mod claims;
#[path = "../../src/executor/recover/deal.rs"]
mod deal;
#[path = "../../src/exec/block/optimistic/overlay.rs"]
mod overlay;
#[path = "../../src/exec/block/prefetch/queue.rs"]
mod queue;
#[path = "../../src/exec/block/schedule.rs"]
mod schedule;
