//! Execution of a block: transactions, call frames, gas, system calls, and verification against the block access list.
//!
//! In: a decoded block and its parent state. Out: receipts, state changes, gas in both dimensions (EIP-8037).
//! A module imports only modules above it in this list, and `sync` (atomics and locks):
//! - `wire`: block, transaction, header and receipt encodings
//! - `rules`: forks, chains, header rules
//! - `senders`: signature recovery
//! - `evm`: the machine of one worker
//! - `interpreter`: the dispatch loops
//! - `tx`: one transaction
//! - `block`: all tasks of a block
//!
//! Not here: tries and state roots (`trie`), RLP of block access lists (`bal`).

pub mod block;
pub mod evm;
pub mod interpreter;
pub mod rules;
pub mod senders;
pub mod sync;
pub mod tx;
pub mod wire;
