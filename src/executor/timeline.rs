//! Start and end of each stage of a block, on one clock.

use crate::exec::block::tasks::current_thread;
use std::sync::Mutex;
use std::time::Instant;

/// A stage of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stage {
    /// Decoding of the block and of the block access list.
    Decode,
    /// Reads of the parent state from the store.
    Read,
    /// Recovery of senders and authorities from signatures.
    Recover,
    /// Tasks on one worker, including the verification of each against the block access list.
    Execute,
    /// Admission, accesses, receipts, requests and all header commitments but the state root.
    Verify,
    /// State root from the reduced block access list.
    Root,
    /// keccak256 of the block access list's RLP.
    ListHash,
    /// Transactions root and withdrawals root.
    BodyRoots,
}

impl Stage {
    /// All stages in the order in which they begin.
    pub const ALL: [Self; 8] = [
        Self::Decode,
        Self::ListHash,
        Self::BodyRoots,
        Self::Read,
        Self::Root,
        Self::Recover,
        Self::Execute,
        Self::Verify,
    ];

    /// The stage's name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Read => "read",
            Self::Recover => "recover",
            Self::Execute => "execute",
            Self::Verify => "verify",
            Self::Root => "root",
            Self::ListHash => "list_hash",
            Self::BodyRoots => "body_roots",
        }
    }
}

/// One run of a stage. Times are nanoseconds since the call that executes the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Span {
    /// The stage.
    pub stage: Stage,
    /// Number of the worker, for stages that run on several.
    pub worker: Option<u32>,
    /// Number of the thread.
    pub thread: u32,
    /// Start in nanoseconds.
    pub start_ns: u64,
    /// End in nanoseconds.
    pub end_ns: u64,
}

/// The clock of one block, and the spans recorded so far.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) zero: Instant,
    spans: Mutex<Vec<Span>>,
}

impl Clock {
    pub(super) fn new(zero: Instant) -> Self {
        Self { zero, spans: Mutex::default() }
    }

    /// Nanoseconds since the clock began.
    pub(super) fn now(&self) -> u64 {
        self.zero.elapsed().as_nanos() as u64
    }

    /// Records a stage that began at `start_ns` and ends now. There are a few calls per block, so
    /// the cost of the lock does not matter.
    pub(super) fn record(&self, stage: Stage, start_ns: u64) {
        self.push(Span { stage, worker: None, thread: current_thread(), start_ns, end_ns: self.now() });
    }

    /// Records a part of a stage that began at `start_ns` and ends now. Consecutive parts on one
    /// thread are merged.
    pub(super) fn extend(&self, stage: Stage, start_ns: u64) {
        /// Longest gap between two parts that are merged.
        const GAP_NS: u64 = 20_000;
        let (thread, end_ns) = (current_thread(), self.now());
        let mut spans = self.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match spans.iter_mut().rev().find(|span| span.thread == thread) {
            Some(last) if last.stage == stage && start_ns.saturating_sub(last.end_ns) < GAP_NS => last.end_ns = end_ns,
            _ => spans.push(Span { stage, worker: None, thread, start_ns, end_ns }),
        }
    }

    pub(super) fn push(&self, span: Span) {
        self.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(span);
    }

    /// All spans so far, by start.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans = self.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        spans.sort_unstable_by_key(|span| (span.start_ns, span.stage, span.worker));
        spans
    }
}
