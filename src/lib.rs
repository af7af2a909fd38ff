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
//! The interface is re-exported here and in the modules below. With the feature `internals` the
//! modules `arena`, `bal`, `db`, `exec`, `executor` and `trie` are public too, for research; they may
//! change in every version. They import downwards only: `arena ← bal ← {exec, trie} ← executor`.
//! `exec` and `trie` never import each other; they meet in `executor`. `db` is above it.
//! Other features: `alloy` (conversions from and to alloy's types), `revm` (its databases and bundles), `formats` (readers of bundles and test fixtures), `serde` (`Serialize` for
//! outcomes and errors), `reference-loop` (the instructions of `revm-interpreter` as a dispatch loop).

#![warn(unnameable_types)]
// Without `internals`, the modules are private, and items that only tests, benches and the command use have no use.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unreachable_pub, unused_imports))]

mod adapters;
#[cfg(not(feature = "internals"))]
mod arena;
#[cfg(feature = "internals")]
pub mod arena;
#[cfg(not(feature = "internals"))]
mod bal;
#[cfg(feature = "internals")]
pub mod bal;
#[cfg(not(feature = "internals"))]
mod db;
#[cfg(feature = "internals")]
pub mod db;
#[cfg(all(feature = "disk", not(feature = "internals")))]
mod disk;
#[cfg(all(feature = "disk", feature = "internals"))]
pub mod disk;
#[cfg(not(feature = "internals"))]
mod exec;
#[cfg(feature = "internals")]
pub mod exec;
#[cfg(not(feature = "internals"))]
mod executor;
#[cfg(feature = "internals")]
pub mod executor;
#[cfg(feature = "formats")]
pub mod formats;
#[cfg(not(feature = "internals"))]
mod trie;
#[cfg(feature = "internals")]
pub mod trie;

pub use arena::cancel::CancelToken;
pub use arena::changes::{AccountStatus, StateChanges};
pub use arena::path::NodeQuery;
pub use arena::store::{
    EMPTY_ROOT, KECCAK_EMPTY, LatencyStore, MemoryAccount, MemoryStore, ParentAccount, SlotQuery, StateStore,
    StoreCounts, StoreError, WitnessStore,
};
pub use bal::ExistenceLog;
pub use db::{Applied, ApplyError, DbError, ListedBlock, Replay, ReplayError, StateDb, StateWithin, WindowOptions};
pub use exec::block::error::{BlockError, InvalidBlock};
pub use exec::interpreter::LoopKind;
pub use exec::interpreter::trace::TraceSink;
pub use exec::rules::fork::{ChainRules, Fork};
pub use exec::rules::header::{next_base_fee, next_excess_blob_gas};
pub use exec::senders::SenderCache;
pub use exec::wire::Header;
pub use executor::{
    Binding, BlockInput, BlockOutcome, Body, BuildError, BuiltBlock, Diagnosis, Executor, ExecutorBuilder, Incomplete,
    MemoryUse, Mode, Options, Pool, PrefetchStrategy, Recovery, Rejected, Rejection, Roots, Transition,
    TransitionInput, Unchecked,
};
pub use trie::{StateTries, TrieError};

/// Databases and results of revm: a `DatabaseRef` as a [`StateStore`] and back. [`BlockOutcome`] has the methods
/// `to_bundle_state` and `to_execution_result`.
#[cfg(feature = "revm")]
pub mod revm {
    pub use crate::adapters::revm::{ExecutionResult, RevmStore, StoreRef};
}

/// Chains: fork schedules by block number and time, and the ancestors that ommers are checked against.
pub mod chain {
    pub use crate::exec::rules::chain::{ChainConfig, ChainError, Step};
    pub use crate::exec::rules::fork::{BlobSchedule, DaoExtraData, DaoTransfer, ForkRules};
    pub use crate::exec::rules::ommers::{ANCESTORS_NEEDED, Ancestor, Ancestry};
}

/// Block access lists (EIP-7928) as columns.
pub mod list {
    pub use crate::arena::{AccountId, BlockAccessIndex, CodeId, Column, Id, Offsets, SlotId, TxIndex};
    pub use crate::bal::{
        BalColumns, Changes, CodeRange, Divergence, DivergenceValue, ExistenceColumns, Limits, bal_hash, decode, diff,
        encode, show,
    };
}

/// The parts of a [`BlockOutcome`] and of a [`Diagnosis`].
pub mod outcome {
    pub use crate::exec::block::admission::BlockGas;
    pub use crate::exec::block::optimistic::Speculation;
    pub use crate::exec::block::tasks::{BlockLogs, FieldChange, TaskAlone, TaskSpan};
    pub use crate::exec::interpreter::calls::{Call, CallTree};
    pub use crate::exec::interpreter::watch::Touch;
    pub use crate::exec::tx::TxOutcome;
    pub use crate::exec::wire::{ReceiptList, ReceiptOutcome};
    pub use crate::executor::{Check, ParentReadCount, Point, Span, Stage, TaskOutcome, Transacted, Unverified};
}

/// State on disk ([`StateDb::create`], [`StateDb::open`]): how it is kept, and its errors.
#[cfg(feature = "disk")]
pub mod storage {
    pub use crate::db::{DiskOptions, LoggedBlock, NewState, Opened};
    pub use crate::disk::DiskError;
    pub use crate::disk::files::ReadMethod;
    pub use crate::disk::log::LogOptions;
    pub use crate::disk::store::{OpenOptions, PagesKind};
}

/// State roots, proofs (EIP-1186) and changed trie nodes.
pub mod tries {
    pub use crate::arena::node::LeafAccount;
    pub use crate::arena::path::NodePath;
    pub use crate::trie::{
        AccountProof, Change, HashedKeys, NodeChanges, Savepoint, SlotProof, ordered_root, verify_account, verify_slot,
    };
}

/// The details of errors.
pub mod errors {
    pub use crate::bal::{BalError, BalField, BalRule, ExistenceDifference, ExistenceFault};
    pub use crate::exec::block::error::{InternalFault, Mismatch, MismatchField};
    pub use crate::exec::rules::header::HeaderFault;
    pub use crate::exec::rules::ommers::OmmerFault;
    pub use crate::exec::tx::TxInvalid;
    pub use crate::exec::wire::{Field, WireError, WireErrorKind};
    pub use crate::trie::ProofError;
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the example of the page about hosts.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct LibraryPage;

/// Compiles the example of the page about state on disk.
#[cfg(all(doctest, feature = "disk"))]
#[doc = include_str!("../docs/storage.md")]
struct StoragePage;

/// Compiles the example of the page about adapters.
#[cfg(all(doctest, feature = "revm"))]
#[doc = include_str!("../docs/adapters.md")]
struct AdaptersPage;
