//! What a caller hands in: a block with what it is checked against, and how to execute it.

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
pub enum Mode {
    /// As equals, in parallel, from the block access list. The block must bring one.
    Bal,
    /// One after another, recording the list.
    Sequential,
    /// In parallel without a list: ahead of their turn, checked and, where need be, repeated in it; recording the list.
    Optimistic,
}

impl Mode {
    /// As the command line writes it.
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
    /// The rules in force for it.
    pub rules: &'a ChainRules,
    /// RLP of [header, transactions, ommers, withdrawals?].
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928). A block of an older fork may bring one, too.
    pub bal: Option<Bytes>,
    /// What the list cannot say about a block before Cancun (see [`ExistenceLog`]). A claim that is not canonical, that no
    /// execution produced, or that stands beside a later block makes the block invalid in every mode. Without an existence log
    /// [`Mode::Bal`] takes the block for one without such events; the other modes record them and compare nothing.
    pub existence_log: Option<&'a ExistenceLog>,
    /// The parent's header; without it the rules that relate the two stay unchecked, and so does whether the state given
    /// is the parent's.
    pub parent: Option<&'a Header>,
    /// What the block's ommers are checked against; without it some of their rules stay unchecked.
    pub ancestry: Option<Ancestry<'a>>,
    /// Ommers that the body should have and lacks (some archives drop them): their rewards and hash stay unchecked. Has a
    /// meaning only for a block before the merge whose body has no ommers; of any other block the ommers are checked.
    pub ommers_omitted: bool,
    /// Who may stop the block while it runs.
    pub cancel: Option<&'a CancelToken>,
    /// Senders that the caller has recovered before, as a mempool has: those are not recovered again.
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

    /// A block without a list, whose parent is not at hand.
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

    /// The same with its block access list.
    pub fn with_list(self, bal: Bytes) -> Self {
        Self { bal: Some(bal), ..self }
    }

    /// The same with its existence log (a block before Cancun).
    pub fn with_existence_log(self, existence_log: &'a ExistenceLog) -> Self {
        Self { existence_log: Some(existence_log), ..self }
    }

    /// The same with its parent's header.
    pub fn with_parent(self, parent: &'a Header) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// The same with what the caller knows of its senders.
    pub fn with_known_senders(self, known: &'a SenderCache) -> Self {
        Self { known_senders: Some(known), ..self }
    }

    /// The same with what its ommers are checked against.
    pub fn with_ancestry(self, ancestry: Ancestry<'a>) -> Self {
        Self { ancestry: Some(ancestry), ..self }
    }

    /// The same, to be stopped by this token.
    pub fn with_cancel(self, cancel: &'a CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }
}

/// How to execute it. [`Options::new`] and [`Options::automatic`] make them; the `with_*` methods or the fields change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How tasks run; without a word on it the block decides: [`Mode::Bal`] if it brings a list, else
    /// [`Mode::Optimistic`] where that can win (see [`speculation_pays`]), else [`Mode::Sequential`].
    pub mode: Option<Mode>,
    /// Which dispatch loop runs them.
    pub loop_kind: LoopKind,
    /// How the senders are recovered.
    pub recovery: Recovery,
    /// How [`Mode::Bal`] reads the parent state; without a word on it the store decides: [`PrefetchStrategy::OnePass`] where
    /// it is resident, else [`PrefetchStrategy::Beside`].
    pub parent_reads: Option<PrefetchStrategy>,
}

impl Options {
    /// The default loop in this mode.
    pub fn new(mode: Mode) -> Self {
        Self { mode: Some(mode), ..Self::automatic() }
    }

    /// The default loop in the mode that the block calls for.
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

/// How the parent state of a list's names is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefetchStrategy {
    /// In one pass by the threads of the block, before the first task: for answers that lie in memory.
    OnePass,
    /// Row by row, by the task that needs it; the root waits for the last task. What a client without prefetch does; an
    /// error of the store is then one of the task (see docs/errors.md).
    OnDemand,
    /// In batches by the readers, before the first task.
    Before,
    /// In batches by the readers, beside recovery, execution and merkleization.
    Beside,
}

impl PrefetchStrategy {
    /// All arrangements.
    pub const ALL: [Self; 4] = [Self::OnePass, Self::OnDemand, Self::Before, Self::Beside];

    /// The arrangement's name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnePass => "one-pass",
            Self::OnDemand => "on-demand",
            Self::Before => "before",
            Self::Beside => "beside",
        }
    }

    /// Whether it needs the readers.
    pub(super) const fn has_readers(self) -> bool {
        matches!(self, Self::Before | Self::Beside)
    }
}
