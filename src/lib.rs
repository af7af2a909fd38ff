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

pub use arena::cancel::CancelToken;
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
    Incomplete, Mode, Options, Pool, PrefetchStrategy, Recovery, StateChanges, Unchecked,
};
pub use trie::{AccountStatus, StateTries, StateUpdate, TrieError};
