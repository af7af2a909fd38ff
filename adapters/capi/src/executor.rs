//! Executors of the header, and the two calls that execute a block.

#![allow(unsafe_code, reason = "the functions take pointers of the host")]

use crate::cancel::BalCancel;
use crate::failure::{Failure, caught, status_of};
use crate::outcome::{BalOutcome, Done};
use crate::pointer;
use crate::store::HostStore;
use crate::tries::{BalTries, locked};
use crate::types::{BAL_BOUND, BalBytes, BalMode, BalOptions, BalRules, BalStatus, BalStore};
use crate::witness::Witness;
use alloy_primitives::Bytes;
use balustrade::{
    Binding, BlockInput, ChainRules, Executor, Header, InvalidBlock, Mode, Options, StateStore, StateTries,
};
use std::sync::Mutex;

/// Threads, memory and codes that are kept from block to block.
#[derive(Debug)]
pub struct BalExecutor {
    executor: Mutex<Executor>,
    options: Options,
}

/// Makes an executor. `options` may be null: the defaults. BAL_STORE when the operating system refuses the threads.
///
/// # Safety
/// `options` is null or points to a bal_options, `out` is null or points to memory for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_executor_new(options: *const BalOptions, out: *mut *mut BalExecutor) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        let default = BalOptions { size: 0, flags: 0, threads: 0, mode: 0, code_bytes_max: 0 };
        // SAFETY: the caller's guarantee.
        let options = if options.is_null() { default } else { unsafe { pointer::sized(options) }? };
        out.set(pointer::give(new_executor(options)?));
        Ok(())
    })
}

fn new_executor(options: BalOptions) -> Result<BalExecutor, Failure> {
    let BalOptions { flags, threads, mode, code_bytes_max, .. } = options;
    if flags & !BAL_BOUND != 0 {
        return Err(Failure::usage(format!("bal_options.flags has unknown bits: {flags:#x}")));
    }
    let mode = match mode {
        mode if mode == BalMode::BalAutomatic as u32 => Options::automatic(),
        mode if mode == BalMode::BalByList as u32 => Options::new(Mode::Bal),
        mode if mode == BalMode::BalSequential as u32 => Options::new(Mode::Sequential),
        mode if mode == BalMode::BalOptimistic as u32 => Options::new(Mode::Optimistic),
        other => return Err(Failure::usage(format!("{other} is no bal_mode"))),
    };
    let mut builder = Executor::builder();
    if flags & BAL_BOUND != 0 {
        builder = builder.binding(Binding::OneEach);
    }
    if threads > 0 {
        builder = builder.threads(threads as usize);
    }
    if code_bytes_max > 0 {
        builder = builder.code_bytes_max(usize::try_from(code_bytes_max).unwrap_or(usize::MAX));
    }
    let executor = builder.build().map_err(|error| Failure::host(error.to_string()))?;
    Ok(BalExecutor { executor: Mutex::new(executor), options: mode })
}

/// Frees an executor, which no call uses any more. Null is ignored.
///
/// # Safety
/// `executor` is null or from bal_executor_new, not freed and not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_executor_free(executor: *mut BalExecutor) {
    // SAFETY: the caller's guarantee.
    unsafe { pointer::free(executor) }
}

/// Executes a block and checks it against its header and its list.
///
/// block          RLP of [header, transactions, ommers, withdrawals?]
/// list           RLP of the block access list; empty: the block has none. A block before Cancun that creates or
///                deletes empty accounts runs without a list only.
/// parent_header  RLP of the parent's header; empty: what relates the block to its parent is not checked
/// store          the state before the block
/// tries          the tries of that state; null: no state root is computed. With BAL_OK they hold the block's update,
///                uncommitted; with any other status they are as before the call.
/// cancel         may be null
/// outcome        set to an outcome whatever the status, to be freed with bal_outcome_free; only where `outcome` itself
///                is null there is none
///
/// # Safety
/// Pointers are null or as the header says; `store` keeps its contract until the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_execute(
    executor: *mut BalExecutor,
    rules: *const BalRules,
    block: BalBytes,
    list: BalBytes,
    parent_header: BalBytes,
    store: *const BalStore,
    tries: *mut BalTries,
    cancel: *const BalCancel,
    outcome: *mut *mut BalOutcome,
) -> BalStatus {
    let work = || {
        // SAFETY: the caller's guarantee; an executor is changed behind its lock alone.
        let executor = unsafe { pointer::object(executor, "executor") }?;
        // SAFETY: the caller's guarantee.
        let rules = unsafe { pointer::sized(rules) }?.check()?;
        // SAFETY: the caller's guarantee.
        let (block, list) = unsafe { (pointer::bytes(block, "block")?, pointer::bytes(list, "list")?) };
        // SAFETY: the caller's guarantee.
        let parent = unsafe { pointer::bytes(parent_header, "parent_header") }?;
        // SAFETY: the caller's guarantee; the store is dropped before this call returns.
        let store = unsafe { HostStore::new(pointer::sized(store)?) }?;
        // SAFETY: the caller's guarantee; tries are changed behind their lock alone.
        let tries = if tries.is_null() { None } else { Some(unsafe { pointer::object(tries, "tries") }?) };
        // SAFETY: the caller's guarantee; a token is changed through an atomic alone.
        let cancel = if cancel.is_null() { None } else { Some(unsafe { pointer::object(cancel, "cancel") }?) };
        let parent = match parent {
            [] => None,
            rlp => Some(Header::decode(rlp).map_err(|error| Failure::usage(format!("parent_header: {error}")))?),
        };
        let mut tries = tries.map(BalTries::lock).transpose()?;
        let job = Job { executor, rules: &rules, block, list, parent: parent.as_ref(), cancel };
        job.run(&store, tries.as_deref_mut())
    };
    // SAFETY: the caller's guarantee.
    unsafe { answer(outcome, work) }
}

/// Executes a block from a witness: JSON of debug_executionWitness, or RLP of [headers, codes, state, ...]. Its headers
/// must contain the parent's. All checks are made that the witness allows, the state root among them. The other
/// arguments are those of bal_execute.
///
/// # Safety
/// Pointers are null or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_execute_stateless(
    executor: *mut BalExecutor,
    rules: *const BalRules,
    block: BalBytes,
    list: BalBytes,
    witness: BalBytes,
    outcome: *mut *mut BalOutcome,
) -> BalStatus {
    let work = || {
        // SAFETY: the caller's guarantee; an executor is changed behind its lock alone.
        let executor = unsafe { pointer::object(executor, "executor") }?;
        // SAFETY: the caller's guarantee.
        let rules = unsafe { pointer::sized(rules) }?.check()?;
        // SAFETY: the caller's guarantee.
        let (block, list) = unsafe { (pointer::bytes(block, "block")?, pointer::bytes(list, "list")?) };
        // SAFETY: the caller's guarantee.
        let witness = unsafe { pointer::bytes(witness, "witness") }?;
        let (store, parent) = Witness::decode(witness)?.into_store(header_of(block)?.parent_hash)?;
        let mut tries = StateTries::from_root(parent.state_root);
        let job = Job { executor, rules: &rules, block, list, parent: Some(&parent), cancel: None };
        job.run(&store, Some(&mut tries))
    };
    // SAFETY: the caller's guarantee.
    unsafe { answer(outcome, work) }
}

/// The arguments of a block that are the host's no longer: checked, as references.
struct Job<'a> {
    executor: &'a BalExecutor,
    rules: &'a ChainRules,
    block: &'a [u8],
    list: &'a [u8],
    parent: Option<&'a Header>,
    cancel: Option<&'a BalCancel>,
}

impl Job<'_> {
    fn run(&self, store: &dyn StateStore, tries: Option<&mut StateTries>) -> Result<Done, Failure> {
        // The executor may keep parts of a block for the next one, so it gets a copy.
        let mut input = BlockInput::new(self.rules, Bytes::copy_from_slice(self.block));
        input.bal = (!self.list.is_empty()).then(|| Bytes::copy_from_slice(self.list));
        input.parent = self.parent;
        input.cancel = self.cancel.map(|cancel| &cancel.0);
        let mut executor = locked(&self.executor.executor, "the executor's threads")?;
        let outcome = executor.execute(&input, store, tries, self.executor.options)?;
        Ok(Done::new(outcome, header_of(self.block)?.receipts_root))
    }
}

fn header_of(block: &[u8]) -> Result<Header, Failure> {
    Header::of_block(block).map_err(|error| Failure::invalid(&InvalidBlock::Wire(error)))
}

/// Runs a call, gives its outcome to the host, and returns its status.
///
/// # Safety
/// `out` is null or points to memory for a pointer.
unsafe fn answer(out: *mut *mut BalOutcome, work: impl FnOnce() -> Result<Done, Failure>) -> BalStatus {
    // SAFETY: the caller's guarantee.
    let Ok(out) = (unsafe { pointer::place(out, "outcome") }) else { return BalStatus::BalUsage };
    let outcome = BalOutcome::new(caught(work));
    let status = outcome.status();
    out.set(pointer::give(outcome));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{bal_outcome_error, bal_outcome_free};

    /// A function of the header whose work panics.
    unsafe extern "C" fn panics(out: *mut *mut BalOutcome) -> BalStatus {
        // SAFETY: the caller gives a place.
        unsafe { answer(out, || panic!("inside")) }
    }

    #[test]
    fn a_panic_does_not_leave_the_function_and_has_an_outcome() {
        let mut outcome = core::ptr::null_mut();
        // SAFETY: a place of this function.
        assert_eq!(unsafe { panics(&mut outcome) }, BalStatus::BalBug);
        // SAFETY: the outcome that was just made.
        let text = unsafe { bal_outcome_error(outcome) };
        // SAFETY: borrowed from the outcome, which still lives.
        let text = unsafe { core::slice::from_raw_parts(text.ptr, text.len) };
        assert_eq!(text, b"a panic inside the library: inside");
        // SAFETY: not freed before.
        unsafe { bal_outcome_free(outcome) };
        // SAFETY: null is allowed.
        assert_eq!(unsafe { panics(core::ptr::null_mut()) }, BalStatus::BalUsage);
    }

    #[test]
    fn an_executor_that_failed_is_not_used_again() {
        let executor = Mutex::new(());
        let held = || {
            let _held = locked(&executor, "the executor's threads")?;
            assert!(locked(&executor, "x").is_err_and(|failure| failure.status == BalStatus::BalUsage));
            panic!("while it runs")
        };
        assert!(caught::<()>(held).is_err_and(|failure| failure.status == BalStatus::BalBug));
        assert!(locked(&executor, "x").is_err_and(|failure| failure.status == BalStatus::BalBug));
    }
}
