//! The outcome of a block, and the checks after execution.
//!
//! In: a [`Candidate`]: what a mode has executed, its changes and roots. Out: [`BlockOutcome`],
//! made only from a [`Verified`] token, with the checks that could not be made ([`Unchecked`]).
//! Not here: execution and the state root.

use super::input::Mode;
use super::job::Job;
use super::root::Roots;
use super::timeline::{Span, Stage};
use crate::arena::changes::StateChanges;
use crate::arena::keccak::keccak256;
use crate::arena::store::ParentAccount;
use crate::arena::{Id, TxIndex};
use crate::bal::{BalColumns, ExistenceLog, ListedParents};
use crate::exec::block::admission::BlockGas;
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::optimistic::Speculation;
use crate::exec::block::tasks::{BlockLogs, Executed, TaskSpan};
use crate::exec::block::verify::{ListChecked, Produced, Verified, commitments};
use crate::exec::rules::fork::Fork;
use crate::exec::tx::TxOutcome;
use crate::exec::wire::{Block, LogRef, ReceiptList, ReceiptLogs, ReceiptOutcome, encode_logs};
use crate::trie::ordered_root;
use alloy_primitives::{B256, Bytes};
use core::fmt;
use rayon::prelude::*;

/// A check that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Check {
    /// Rules that relate the header to its parent's: hash, number, timestamp, gas limit, base fee, excess blob gas,
    /// difficulty.
    ParentRules,
    /// Whether the state that the block ran on is the one after its parent.
    ParentState,
    /// Ommers hash and ommer rewards.
    Ommers,
    /// Rules that relate ommers to the block's ancestors and to their own parents.
    OmmerRules,
    /// Proof of work, the block's and its ommers' (ethash; blocks before the merge).
    Seal,
    /// State root after the block.
    StateRoot,
    /// Receipts root.
    ReceiptsRoot,
    /// The body: the transactions, their root and their signatures, withdrawals. Only without execution.
    Transactions,
    /// Gas used. Only without execution.
    Gas,
    /// Requests hash (EIP-7685). Only without execution.
    Requests,
    /// Hash of the block access list (EIP-7928). Only without execution.
    ListHash,
}

impl Check {
    /// The check's name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ParentRules => "parent_rules",
            Self::ParentState => "parent_state",
            Self::Ommers => "ommers",
            Self::OmmerRules => "ommer_rules",
            Self::Seal => "seal",
            Self::StateRoot => "state_root",
            Self::ReceiptsRoot => "receipts_root",
            Self::Transactions => "transactions",
            Self::Gas => "gas",
            Self::Requests => "requests",
            Self::ListHash => "list_hash",
        }
    }
}

/// A check that was not made, and why. Never counted as passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Unchecked {
    /// The check.
    pub check: Check,
    /// Why it was not made.
    pub reason: &'static str,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.check.name(), self.reason)
    }
}

/// Error of [`BlockOutcome::require_complete`]: some checks were not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Incomplete {
    /// The checks that were not made; at least one.
    pub unchecked: Vec<Unchecked>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not checked: ")?;
        for (at, unchecked) in self.unchecked.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{unchecked}")?;
        }
        Ok(())
    }
}

/// Numbers of accounts and slots read from the store for a block's execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ParentReadCount {
    /// Number of accounts.
    pub accounts: usize,
    /// Number of storage slots.
    pub slots: usize,
}

/// Result of a block's execution, consistent with its header and its block access list as far as
/// they were checked.
///
/// It proves that the block is valid, and that [`Self::state_root`] is the state root after it, if
/// [`Self::unchecked`] is empty ([`Self::require_complete`]). That requires:
/// - the parent's header ([`BlockInput::parent`](super::BlockInput::parent)), and tries whose root is its `state_root`;
/// - for a block with ommers (before the merge): the ommers themselves
///   ([`BlockInput::ommers_omitted`](super::BlockInput::ommers_omitted) not set) and its ancestors
///   ([`BlockInput::ancestry`](super::BlockInput::ancestry));
/// - a block of Paris or later: the ethash seal of older blocks is not verified, so their outcomes
///   are never complete.
///
/// The proof relies on inputs that are not checked: that the parent is valid, that the rules are
/// those of the block's number and time, and that the store answers from the state of the tries.
/// Codes and trie nodes are compared with their hashes; accounts, slots and ancestor hashes of the
/// store are not checked.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockOutcome {
    /// Block hash.
    pub hash: B256,
    /// Block number.
    pub number: u64,
    /// How the tasks ran.
    pub mode: Mode,
    /// Statistics of speculation; only in optimistic mode.
    pub speculation: Option<Speculation>,
    /// Numbers of accounts and slots read from the parent state.
    pub reads: ParentReadCount,
    /// Receipts in their EIP-2718 encoding, with the block's bloom.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize::receipts"))]
    pub receipts: ReceiptList,
    /// Outcome of each transaction.
    pub transactions: Vec<TxOutcome>,
    /// Logs by transaction. (Serialized as part of the receipts.)
    #[cfg_attr(feature = "serde", serde(skip))]
    pub logs: BlockLogs,
    /// Requests, type byte first (EIP-7685).
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize::hex_list"))]
    pub requests: Vec<Vec<u8>>,
    /// Gas in both dimensions (execution and state), and the gas that senders paid for.
    pub gas: BlockGas,
    /// `gas_used` of the header.
    pub gas_used: u64,
    /// State root after the block; `None` if no tries were given.
    pub state_root: Option<B256>,
    /// RLP of the block access list (EIP-7928): the given one, or the recorded one.
    pub bal: Bytes,
    /// Account events before Cancun that a block access list cannot express; empty for later
    /// blocks.
    pub existence_log: ExistenceLog,
    /// Everything that changed, with its value after the block. Computed from the block access list
    /// and the existence log, which are verified against every task; so the changes are correct
    /// even if the state root is unchecked.
    pub changes: StateChanges,
    /// The inverse of `changes`: the same accounts in the same order, with the values before the block
    /// of the fields and slots that changed. Applied to the state after the block it gives the state
    /// before it. Read from the store during execution, thus as correct as the store's answers. The
    /// same in every mode.
    ///
    /// An account that did not exist before the block is
    /// [`Deleted`](crate::AccountStatus::Deleted), without slots. An account that the block deleted,
    /// or whose storage it cleared (before Cancun), is
    /// [`StorageCleared`](crate::AccountStatus::StorageCleared), without slots: a
    /// [`StateStore`](crate::StateStore) cannot list the storage of an account, so the caller adds all
    /// slots that it had before the block. There are no codes: those that the block deployed stay.
    pub before: StateChanges,
    /// The changed accounts before the block with all their fields, in the rows of `changes`. (Not serialized: `before` has
    /// what changed.)
    #[cfg_attr(feature = "serde", serde(skip))]
    pub parents: Vec<ParentAccount>,
    /// `blob_gas_used` of the header; zero before Cancun.
    pub blob_gas_used: u64,
    /// Checks that could not be made. All others were made and passed.
    pub unchecked: Vec<Unchecked>,
    /// When each stage ran, in nanoseconds since the start of the call.
    pub timeline: Vec<Span>,
    /// When each task ran, on the same clock as `timeline`.
    pub tasks: Vec<TaskSpan>,
    /// Nanoseconds from the start of the call to the last check.
    pub elapsed_ns: u64,
    #[cfg_attr(feature = "serde", serde(skip))]
    _verified: Verified,
}

impl BlockOutcome {
    /// Returns the outcome if every check was made.
    ///
    /// # Errors
    /// [`Incomplete`] lists the checks that were not made. The outcome is then dropped; tries that
    /// were given still hold the block's update.
    pub fn require_complete(self) -> Result<Self, Incomplete> {
        if self.unchecked.is_empty() { Ok(self) } else { Err(Incomplete { unchecked: self.unchecked }) }
    }
}

/// What a mode hands over for the checks after execution.
pub(super) struct Candidate<'a> {
    pub(super) executed: Executed,
    pub(super) reads: ParentReadCount,
    pub(super) bal: Bytes,
    pub(super) existence_log: ExistenceLog,
    pub(super) changes: StateChanges,
    /// The list from which `changes` were reduced, and its accounts and slots in the parent state.
    pub(super) columns: &'a BalColumns,
    pub(super) parents: &'a ListedParents,
    pub(super) roots: Roots,
    /// Evidence that the list and the existence log, from which the changes were computed, match
    /// what the tasks did.
    pub(super) checked: ListChecked,
    pub(super) unchecked: Vec<Unchecked>,
}

/// Number of transactions whose logs one pool task encodes.
const LOGS_CHUNK: usize = 64;
/// Number of receipts that one pool task encodes; larger, as encoding is little more than copying.
const RECEIPT_CHUNK: usize = 256;

/// The receipts of an executed block. `roots`: the state roots after each transaction, for forks
/// before Byzantium.
pub(super) fn receipts_of(block: &Block, executed: &Executed, roots: Option<&[B256]>) -> ReceiptList {
    let mut gas_before = 0;
    let cumulative: Vec<u64> = executed
        .outcomes
        .iter()
        .map(|outcome| {
            gas_before += outcome.gas_paid;
            gas_before
        })
        .collect();
    let encoded_here: Vec<ReceiptLogs>;
    let encoded = if executed.receipt_logs.is_empty() {
        let encode = |chunk| {
            let first = chunk * LOGS_CHUNK;
            let logs_of = |row| executed.logs.of(TxIndex::new(first + row)).map(LogRef::from);
            ReceiptLogs::of(LOGS_CHUNK.min(cumulative.len() - first), logs_of)
        };
        encoded_here = (0..cumulative.len().div_ceil(LOGS_CHUNK)).into_par_iter().map(encode).collect();
        &encoded_here
    } else {
        &executed.receipt_logs
    };
    let logs_of = |tx: usize| match executed.receipt_places.get(tx) {
        Some((part, row)) => encoded[*part as usize].row(*row as usize),
        None => encoded[tx / LOGS_CHUNK].row(tx % LOGS_CHUNK),
    };
    let encode = |(chunk, outcomes): (usize, &[TxOutcome])| {
        let first = chunk * RECEIPT_CHUNK;
        let bytes = (first..first + outcomes.len()).map(|tx| logs_of(tx).1.len()).sum();
        let mut receipts = ReceiptList::with_room_for(outcomes.len(), bytes);
        for (tx, outcome) in (first..).zip(outcomes) {
            let status = match roots {
                Some(roots) => ReceiptOutcome::StateRoot(roots[tx]),
                None => ReceiptOutcome::Status(outcome.success),
            };
            let tx_type = block.transactions.row(TxIndex::new(tx)).tx_type;
            receipts.push(tx_type, status, cumulative[tx], logs_of(tx));
        }
        receipts
    };
    let mut chunks: Vec<ReceiptList> = executed.outcomes.par_chunks(RECEIPT_CHUNK).enumerate().map(encode).collect();
    if chunks.len() == 1 {
        return chunks.swap_remove(0);
    }
    let mut receipts = ReceiptList::default();
    receipts.extend(&chunks);
    receipts
}

/// keccak256 of the RLP of all logs of `count` transactions.
pub(super) fn logs_hash(logs: &BlockLogs, count: usize) -> B256 {
    let logs: Vec<LogRef<'_>> = (0..count).flat_map(|tx| logs.of(TxIndex::new(tx))).map(LogRef::from).collect();
    let mut encoded = Vec::new();
    encode_logs(logs.iter().copied(), &mut encoded);
    keccak256(encoded)
}

/// Computes receipts, checks the header's commitments and makes the outcome.
pub(super) fn seal(job: &Job<'_>, candidate: Candidate<'_>) -> Result<BlockOutcome, BlockError> {
    let Candidate { executed, reads, bal, existence_log, changes, columns, parents, roots, .. } = candidate;
    let Candidate { checked, mut unchecked, .. } = candidate;
    let state_root = roots.state;
    let start = job.clock.now();
    let header = &job.block.header;
    let byzantium = job.input.rules.fork >= Fork::Byzantium;
    let (receipts, (before, parents)) = rayon::join(
        || receipts_of(job.block, &executed, roots.by_transaction.as_deref()),
        || parents.before(columns, &changes),
    );
    let receipts_root = if byzantium || roots.by_transaction.is_some() {
        let items: Vec<&[u8]> = receipts.iter().collect();
        Some(ordered_root(&items))
    } else {
        let reason = "receipts before Byzantium contain state roots, and no tries are given";
        unchecked.push(Unchecked { check: Check::ReceiptsRoot, reason });
        None
    };
    if state_root.is_none() {
        let reason = roots.without_state;
        if job.input.parent.is_some() {
            unchecked.push(Unchecked { check: Check::ParentState, reason });
        }
        unchecked.push(Unchecked { check: Check::StateRoot, reason });
    }
    let produced = Produced {
        gas_used: executed.gas.used(),
        receipts_root,
        logs_bloom: receipts.bloom(),
        requests: &executed.requests,
        state_root,
    };
    let verified =
        commitments(header, &produced, checked).map_err(|invalid: InvalidBlock| BlockError::from(invalid))?;
    for worker in executed.spans.iter().map(|span| span.worker).collect::<std::collections::BTreeSet<_>>() {
        let own = || executed.spans.iter().filter(|span| span.worker == worker);
        let thread = own().next().map_or(0, |span| span.thread);
        let (start_ns, end_ns) =
            (own().map(|span| span.start_ns).min().unwrap_or(0), own().map(|span| span.end_ns).max().unwrap_or(0));
        job.clock.push(Span { stage: Stage::Execute, worker: Some(worker), thread, start_ns, end_ns });
    }
    job.clock.record(Stage::Verify, start);
    Ok(BlockOutcome {
        hash: job.block.header_hash,
        number: header.number,
        mode: job.mode,
        speculation: None,
        reads,
        receipts,
        transactions: executed.outcomes,
        logs: executed.logs,
        requests: executed.requests,
        gas: executed.gas,
        gas_used: header.gas_used,
        state_root,
        bal,
        existence_log,
        changes,
        before,
        parents,
        blob_gas_used: header.blob_gas_used.unwrap_or_default(),
        unchecked,
        timeline: job.clock.spans(),
        tasks: executed.spans,
        elapsed_ns: job.clock.now(),
        _verified: verified,
    })
}
