//! Columns to produced accesses: transactions, frames, gas, system calls, verification.
//!
//! In: decoded block, pre-state columns. Out: receipts, produced changes, gas in both dimensions.
//! Each module imports the ones above it in this list, and `sync`, which names the atomics and locks:
//! `wire` (bytes), `rules` (forks, chains, headers), `senders` (signatures), `evm` (one worker's machine), `interpreter` (the
//! dispatch loops), `tx` (one transaction), `block` (all tasks of a block).
//! Not here: tries and roots (`trie`), RLP of access lists (`bal`).

pub mod block;
pub mod evm;
pub mod interpreter;
pub mod rules;
pub mod senders;
pub mod sync;
pub mod tx;
pub mod wire;
