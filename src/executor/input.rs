//! Arguments of [`Executor::execute`](super::Executor::execute): a block, the data that it is
//! checked against, and options.
//! Not here: reading them from files (`formats`).

use super::recover::Recovery;
use crate::arena::cancel::CancelToken;
use crate::bal::ExistenceLog;
#[cfg(doc)]
use crate::exec::block::optimistic::cost::speculation_pays;
use crate::exec::interpreter::LoopKind;
use crate::exec::rules::fork::ChainRules;
use crate::exec::rules::ommers::Ancestry;
use crate::exec::senders::SenderCache;
use crate::exec::wire::{Header, assemble_with_withdrawals};
use alloy_primitives::Bytes;

/// How a block's tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Mode {
    /// In parallel, each task on the state that the block access list gives for its index
    /// (EIP-7928). Requires [`BlockInput::bal`].
    Bal,
    /// One after another, recording the block access list.
    Sequential,
    /// In parallel without a block access list: transactions run speculatively, are validated in
    /// block order and executed again if a value that they read has changed. Records the block
    /// access list.
    Optimistic,
}

impl Mode {
    /// The mode's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bal => "bal",
            Self::Sequential => "sequential",
            Self::Optimistic => "optimistic",
        }
    }
}

/// One block to execute. [`BlockInput::new`] makes one; the `with_*` methods or the fields add to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockInput<'a> {
    /// Rules of the block's fork and chain.
    pub rules: &'a ChainRules,
    /// RLP of [header, transactions, ommers, withdrawals?].
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928). Allowed for blocks of older forks, too.
    pub bal: Option<Bytes>,
    /// Account events of a block before Cancun that a block access list cannot express (see
    /// [`ExistenceLog`]). In every mode the block is invalid if the log is not canonical, if it
    /// differs from what execution produces, or if it is not empty for a block of Cancun or later.
    /// Without a log [`Mode::Bal`] assumes that there are no such events; the other modes record
    /// them and compare nothing.
    pub existence_log: Option<&'a ExistenceLog>,
    /// The parent's header. Without it the rules that relate a header to its parent are not
    /// checked, nor that the given state is the parent's.
    pub parent: Option<&'a Header>,
    /// Ancestors that the block's ommers are checked against. Without them some ommer rules are not
    /// checked.
    pub ancestry: Option<Ancestry<'a>>,
    /// Set if the source dropped the ommers from the body, as some archives do: their hash and
    /// rewards are then not checked. Ignored unless the block is older than Paris and its body has
    /// no ommers.
    pub ommers_omitted: bool,
    /// Token that cancels the block while it runs.
    pub cancel: Option<&'a CancelToken>,
    /// Senders recovered earlier, for instance by the mempool. They are not recovered again.
    pub known_senders: Option<&'a SenderCache>,
}

impl<'a> BlockInput<'a> {
    /// A block from its parts, as a host holds them that has received an execution payload: `header` with all its fields,
    /// the transactions in their EIP-2718 encoding, the RLP of each withdrawal (EIP-4895). Without ommers, without a list,
    /// whose parent is not at hand. The withdrawals are part of the block if the header has a `withdrawals_root`;
    /// execution compares the header's roots with the parts.
    pub fn from_parts<T: AsRef<[u8]>>(
        rules: &'a ChainRules,
        header: &Header,
        transactions: &[T],
        withdrawals: &[Vec<u8>],
    ) -> Self {
        Self::new(rules, assemble_with_withdrawals(header, transactions, withdrawals).into())
    }

    /// A block without block access list, parent header, ancestry, cancel token and known senders.
    pub fn new(rules: &'a ChainRules, block: Bytes) -> Self {
        Self {
            rules,
            block,
            bal: None,
            existence_log: None,
            parent: None,
            ancestry: None,
            ommers_omitted: false,
            cancel: None,
            known_senders: None,
        }
    }

    /// Adds the RLP of the block access list.
    pub fn with_list(self, bal: Bytes) -> Self {
        Self { bal: Some(bal), ..self }
    }

    /// The same with its existence log (a block before Cancun).
    pub fn with_existence_log(self, existence_log: &'a ExistenceLog) -> Self {
        Self { existence_log: Some(existence_log), ..self }
    }

    /// Adds the parent's header.
    pub fn with_parent(self, parent: &'a Header) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// Adds senders recovered earlier.
    pub fn with_known_senders(self, known: &'a SenderCache) -> Self {
        Self { known_senders: Some(known), ..self }
    }

    /// Adds the ancestors that ommers are checked against.
    pub fn with_ancestry(self, ancestry: Ancestry<'a>) -> Self {
        Self { ancestry: Some(ancestry), ..self }
    }

    /// Adds a token that cancels the block.
    pub fn with_cancel(self, cancel: &'a CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }
}

/// How to execute a block. [`Options::new`] and [`Options::automatic`] make them; the `with_*` methods or the
/// fields change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How tasks run. `None`: [`Mode::Bal`] if the block has a block access list, else
    /// [`Mode::Optimistic`] if the cost model expects it to be faster,
    /// else [`Mode::Sequential`].
    pub mode: Option<Mode>,
    /// Which interpreter loop executes the code.
    pub loop_kind: LoopKind,
    /// How senders and authorities are recovered.
    pub recovery: Recovery,
    /// How [`Mode::Bal`] reads the parent state. `None`: [`PrefetchStrategy::OnePass`] for a
    /// resident store, else [`PrefetchStrategy::Beside`].
    pub parent_reads: Option<PrefetchStrategy>,
}

impl Options {
    /// The default interpreter loop and this mode.
    pub fn new(mode: Mode) -> Self {
        Self { mode: Some(mode), ..Self::automatic() }
    }

    /// The default interpreter loop; the mode is chosen per block.
    pub fn automatic() -> Self {
        Self { mode: None, loop_kind: LoopKind::default(), recovery: Recovery::default(), parent_reads: None }
    }

    /// The same with this dispatch loop.
    pub fn with_loop(self, loop_kind: LoopKind) -> Self {
        Self { loop_kind, ..self }
    }

    /// The same with this recovery of senders.
    pub fn with_recovery(self, recovery: Recovery) -> Self {
        Self { recovery, ..self }
    }

    /// The same with this way to read the parent state; `None` leaves it to the store.
    pub fn with_parent_reads(self, parent_reads: Option<PrefetchStrategy>) -> Self {
        Self { parent_reads, ..self }
    }
}

/// How the parent state of the accounts and slots in a block access list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefetchStrategy {
    /// In one pass by the threads of the block, before the first task. For stores that answer from
    /// memory.
    OnePass,
    /// Row by row, when a task needs it; the state root is computed after the last task. This is
    /// what a client without prefetch does. An error of the store is then reported by the task (see
    /// docs/errors.md).
    OnDemand,
    /// In batches by reader threads, before the first task.
    Before,
    /// In batches by reader threads, in parallel with sender recovery, execution and the state
    /// root.
    Beside,
}

impl PrefetchStrategy {
    /// All strategies.
    pub const ALL: [Self; 4] = [Self::OnePass, Self::OnDemand, Self::Before, Self::Beside];

    /// The strategy's name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnePass => "one-pass",
            Self::OnDemand => "on-demand",
            Self::Before => "before",
            Self::Beside => "beside",
        }
    }

    /// Whether it needs reader threads.
    pub(super) const fn has_readers(self) -> bool {
        matches!(self, Self::Before | Self::Beside)
    }
}
