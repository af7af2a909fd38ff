//! Outcomes of the header: what a block produced, or why it did not; views of both.

#![allow(unsafe_code, reason = "the functions take pointers of the host")]

use crate::changes::{Columns, bytes_of};
use crate::failure::{Failure, caught, status_of};
use crate::pointer;
use crate::types::{BalBytes, BalChanges, BalMode, BalStatus, BalSummary};
use alloy_primitives::B256;
use balustrade::list::{Id, TxIndex};
use balustrade::outcome::Check;
use balustrade::{BlockOutcome, Mode, StateChanges};
use core::ptr::null;
use std::sync::OnceLock;

/// What became of a block. Every call that is given a place for one makes one, whatever its status.
#[derive(Debug)]
pub struct BalOutcome {
    result: Result<Done, Failure>,
}

/// An outcome, and the forms of its parts that are made for the header.
#[derive(Debug)]
pub(crate) struct Done {
    outcome: BlockOutcome,
    receipts_root: B256,
    /// RLP of the list of requests.
    requests: Vec<u8>,
    unchecked: String,
    changes: OnceLock<Columns>,
    before: OnceLock<Columns>,
}

impl Done {
    /// `receipts_root`: that of the block's header, with which execution compared the receipts.
    pub(crate) fn new(outcome: BlockOutcome, receipts_root: B256) -> Self {
        let mut requests = Vec::new();
        alloy_rlp::encode_list::<_, [u8]>(
            &outcome.requests.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &mut requests,
        );
        let unchecked: Vec<String> = outcome.unchecked.iter().map(ToString::to_string).collect();
        Self {
            outcome,
            receipts_root,
            requests,
            unchecked: unchecked.join(", "),
            changes: OnceLock::new(),
            before: OnceLock::new(),
        }
    }

    fn summary(&self) -> BalSummary {
        let outcome = &self.outcome;
        let has_receipts_root = outcome.unchecked.iter().all(|unchecked| unchecked.check != Check::ReceiptsRoot);
        BalSummary {
            size: size_of::<BalSummary>() as u32,
            mode: match outcome.mode {
                Mode::Bal => BalMode::BalByList,
                Mode::Sequential => BalMode::BalSequential,
                Mode::Optimistic => BalMode::BalOptimistic,
                // `Mode` may get more ways to run a block.
                _ => BalMode::BalAutomatic,
            } as u32,
            number: outcome.number,
            gas_used: outcome.gas_used,
            transactions: outcome.transactions.len() as u64,
            elapsed_ns: outcome.elapsed_ns,
            hash: outcome.hash.0,
            state_root: outcome.state_root.unwrap_or_default().0,
            receipts_root: if has_receipts_root { self.receipts_root.0 } else { [0; 32] },
            has_state_root: u8::from(outcome.state_root.is_some()),
            has_receipts_root: u8::from(has_receipts_root),
            is_complete: u8::from(outcome.unchecked.is_empty()),
            reserved: [0; 5],
        }
    }
}

impl BalOutcome {
    pub(crate) fn new(result: Result<Done, Failure>) -> Self {
        Self { result }
    }

    pub(crate) fn status(&self) -> BalStatus {
        self.result.as_ref().map_or_else(|failure| failure.status, |_| BalStatus::BalOk)
    }

    fn done(&self) -> Result<&Done, Failure> {
        self.result.as_ref().map_err(|_| Failure::usage("the block has no outcome"))
    }
}

/// The bytes that `view` finds; none where it fails, for a null pointer too.
///
/// # Safety
/// `outcome` is null or points to an outcome that lives for `'a`.
unsafe fn view<'a>(
    outcome: *const BalOutcome,
    view: impl FnOnce(&'a BalOutcome) -> Result<&'a [u8], Failure>,
) -> BalBytes {
    // SAFETY: the caller's guarantee; an outcome is changed inside `OnceLock` alone.
    let found = caught(|| view(unsafe { pointer::object(outcome, "outcome") }?));
    found.map_or(BalBytes { ptr: null(), len: 0 }, bytes_of)
}

/// Writes numbers and hashes of the outcome of a valid block. BAL_USAGE for a block that has none.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed; `out` is null or points to a bal_summary.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_summary(outcome: *const BalOutcome, out: *mut BalSummary) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        unsafe { pointer::sized(out) }?;
        // SAFETY: the caller's guarantee.
        let place = unsafe { pointer::place(out, "out") }?;
        // SAFETY: the caller's guarantee; an outcome is changed inside `OnceLock` alone.
        place.set(unsafe { pointer::object(outcome, "outcome") }?.done()?.summary());
        Ok(())
    })
}

/// RLP of the block access list (EIP-7928): the given one, or the recorded one.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_list(outcome: *const BalOutcome) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe { view(outcome, |outcome| Ok(&outcome.done()?.outcome.bal)) }
}

/// RLP of the list of the requests, each a string: type byte, then data (EIP-7685).
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_requests(outcome: *const BalOutcome) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe { view(outcome, |outcome| Ok(&outcome.done()?.requests)) }
}

/// The receipt of a transaction in its EIP-2718 encoding; empty where there is no such transaction.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_receipt(outcome: *const BalOutcome, transaction: usize) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe {
        view(outcome, |outcome| {
            let receipts = &outcome.done()?.outcome.receipts;
            Ok(if transaction < receipts.len() { receipts.encoded(TxIndex::new(transaction)) } else { &[] })
        })
    }
}

/// The checks that could not be made, as text; empty if all were made.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_unchecked(outcome: *const BalOutcome) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe { view(outcome, |outcome| Ok(outcome.done()?.unchecked.as_bytes())) }
}

/// Why the call failed, as text in UTF-8 without a zero byte at its end; empty for BAL_OK.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_error(outcome: *const BalOutcome) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe { view(outcome, |outcome| Ok(outcome.result.as_ref().err().map_or(&[], |failure| failure.text.as_bytes()))) }
}

/// Name number `index` of the exception classes of the execution-spec tests that the error of an invalid block belongs
/// to, the most specific first; empty where there is none.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_class(outcome: *const BalOutcome, index: usize) -> BalBytes {
    // SAFETY: the caller's guarantee.
    unsafe {
        view(outcome, |outcome| {
            let class = outcome.result.as_ref().err().and_then(|failure| failure.classes.get(index));
            Ok(class.map_or(&[], |class| class.as_bytes()))
        })
    }
}

/// Everything that the block changed, with its values after the block. Null for a block without an outcome.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_changes(outcome: *const BalOutcome) -> *const BalChanges {
    // SAFETY: the caller's guarantee.
    unsafe { columns(outcome, |done| (&done.changes, &done.outcome.changes)) }
}

/// The same accounts in the same order with their values before the block, for a host that undoes blocks. An account that
/// did not exist is BAL_DELETED, one whose storage the block cleared is BAL_STORAGE_CLEARED; both without slots.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_before(outcome: *const BalOutcome) -> *const BalChanges {
    // SAFETY: the caller's guarantee.
    unsafe { columns(outcome, |done| (&done.before, &done.outcome.before)) }
}

/// # Safety
/// `outcome` is null or points to an outcome that lives.
unsafe fn columns(
    outcome: *const BalOutcome,
    of: impl FnOnce(&Done) -> (&OnceLock<Columns>, &StateChanges),
) -> *const BalChanges {
    let found = caught(|| {
        // SAFETY: the caller's guarantee; an outcome is changed inside `OnceLock` alone.
        let (made, changes) = of(unsafe { pointer::object(outcome, "outcome") }?.done()?);
        Ok(&raw const made.get_or_init(|| Columns::new(changes)).view)
    });
    found.unwrap_or(null())
}

/// Frees an outcome and all views of it. Null is ignored.
///
/// # Safety
/// `outcome` is null or an outcome that is not freed and not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_outcome_free(outcome: *mut BalOutcome) {
    // SAFETY: the caller's guarantee.
    unsafe { pointer::free(outcome) }
}
