//! Balustrade: a data-oriented executor of Ethereum blocks.
//!
//! In: a block, its block access list (BAL, EIP-7928) if it has one, and a store with the parent
//! state. Out: a [`BlockOutcome`] with receipts, state changes and the state root, or a typed
//! error. With a block access list the stages of a block run in parallel:
//!
//! ```text
//! BAL bytes ─► decode ─► BalColumns ─┬─► reduce ─► StateChanges ─► trie ──► state root ───────────┐
//! parent state (batched reads) ──────┤                                                            ├─► BlockOutcome
//! transactions ─► senders ───────────┴─► execute ─► effects of each task ─► verify ─► Verified ───┘
//! ```
//!
//! Without one, the tasks run sequentially or optimistically and record the block access list; the
//! state root is then computed from the recorded list.
//!
//! Modules import downwards only: `arena ← bal ← {exec, trie} ← executor`. `exec` and `trie` never
//! import each other; [`executor`] is the one module that uses both.

pub mod arena;
pub mod bal;
pub mod exec;
pub mod executor;
#[cfg(feature = "formats")]
pub mod formats;
pub mod trie;

pub use arena::cancel::CancelToken;
pub use arena::changes::{AccountStatus, StateChanges};
pub use arena::store::{
    EMPTY_ROOT, KECCAK_EMPTY, LatencyStore, MemoryAccount, MemoryStore, ParentAccount, SlotQuery, StateStore,
    StoreError, WitnessStore,
};
pub use bal::{BalColumns, ExistenceLog, Limits as ListLimits, decode as decode_list};
pub use exec::block::error::{BlockError, InvalidBlock};
pub use exec::interpreter::LoopKind;
pub use exec::rules::fork::{ChainRules, Fork};
pub use exec::rules::header::{next_base_fee, next_excess_blob_gas};
pub use exec::rules::ommers::Ancestry;
pub use exec::senders::SenderCache;
pub use exec::tx::TxOutcome;
pub use exec::wire::{Header, ReceiptList};
pub use executor::{
    Binding, BlockInput, BlockOutcome, Body, BuildError, BuiltBlock, Check, Diagnosis, Executor, ExecutorBuilder,
    Incomplete, MemoryUse, Mode, Options, Pool, PrefetchStrategy, Recovery, Unchecked,
};
pub use trie::{StateTries, TrieError};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
