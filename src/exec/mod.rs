//! Columns to produced accesses: transactions, frames, gas, system calls, verification.
//!
//! In: decoded block, pre-state columns. Out: receipts, produced changes, gas in both dimensions.
//! Not here: tries and roots (the `trie` room), RLP of access lists (the `bal` room).

pub mod fork;
pub mod wire;
