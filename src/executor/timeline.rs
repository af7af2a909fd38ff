//! When each stage of a block ran, on one clock.

use crate::exec::block::tasks::current_thread;
use std::sync::Mutex;
use std::time::Instant;

/// A stage of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Stage {
    /// Block and list bytes to columns.
    Decode,
    /// Parent state from the store.
    Read,
    /// Senders and authorities from signatures.
    Recover,
    /// Tasks on one worker, verification of each against the list included.
    Execute,
    /// Admission, accesses, receipts, requests and all commitments but the state root.
    Verify,
    /// State root from the reduced columns.
    Root,
    /// keccak256 of the list's bytes.
    ListHash,
    /// Roots of transactions and withdrawals.
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

/// One stage's run, in nanoseconds since the block's bytes were handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Span {
    /// Which stage.
    pub stage: Stage,
    /// Which worker, where the stage runs on several.
    pub worker: Option<u32>,
    /// Which thread of the pool.
    pub thread: u32,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
}

/// The block's clock and what it has measured.
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

    /// Notes a stage that began at `start_ns` and ends now. A handful of calls per block: a lock is no matter.
    pub(super) fn record(&self, stage: Stage, start_ns: u64) {
        self.push(Span { stage, worker: None, thread: current_thread(), start_ns, end_ns: self.now() });
    }

    /// Notes a part of a stage that began at `start_ns` and ends now; parts that follow one another on a thread are one.
    pub(super) fn extend(&self, stage: Stage, start_ns: u64) {
        /// What lies between two parts of one stage, at most.
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
