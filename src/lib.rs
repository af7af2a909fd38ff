//! Balustrade: a data-oriented executor of Ethereum blocks.
//!
//! ```text
//! BAL bytes ─► scan ─► decode ─► BalColumns ─┬─► reduce ─► PostState ─► trie ──► candidate root ─┐
//! parent reads (batches) ──────► PreState ───┤                                                   ├─► BlockOutcome
//! transactions ─► senders ───────────────────┴─► execute ─► produced columns ─► verify ─► Verified┘
//! ```
//!
//! Imports follow the data: `arena ← bal ← {exec, trie} ← lib.rs`. `exec` and `trie` never see each other;
//! they run side by side and meet once, here.

pub mod arena;
pub mod bal;
pub mod exec;
pub mod executor;
#[cfg(feature = "formats")]
pub mod formats;
pub mod trie;

pub use exec::block::error::{BlockError, InvalidBlock};
pub use executor::{BlockInput, BlockOutcome, Executor, Mode, Options};
