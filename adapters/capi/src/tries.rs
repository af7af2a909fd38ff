//! Tries of the header: the account trie and all storage tries of a state, from block to block.

#![allow(unsafe_code, reason = "the functions take pointers of the host")]

use crate::failure::{Failure, status_of};
use crate::pointer;
use crate::types::BalStatus;
use alloy_primitives::B256;
use balustrade::StateTries;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// The tries of a state. They begin with a root; nodes are read from the store when they are needed, and are kept.
#[derive(Debug)]
pub struct BalTries(Mutex<StateTries>);

impl BalTries {
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, StateTries>, Failure> {
        locked(&self.0, "the tries")
    }
}

/// The object for one call. A second call at the same time is refused rather than made to wait: a store that calls the
/// library with the objects of its own block would wait for ever.
pub(crate) fn locked<'a, T>(object: &'a Mutex<T>, name: &str) -> Result<MutexGuard<'a, T>, Failure> {
    object.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Failure::usage(format!("{name} are in use by another call")),
        TryLockError::Poisoned(_) => Failure::bug(format!("{name} were in use when the library failed: free them")),
    })
}

/// Makes the tries of the state with this root.
///
/// # Safety
/// `root` is null or points to 32 bytes, `out` is null or points to memory for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_tries_new(root: *const [u8; 32], out: *mut *mut BalTries) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        // SAFETY: the caller's guarantee.
        let root = unsafe { pointer::object(root, "root") }?;
        out.set(pointer::give(BalTries(Mutex::new(StateTries::from_root(B256::from(*root))))));
        Ok(())
    })
}

/// Writes the root of the present state, with what is not committed.
///
/// # Safety
/// `tries` is null or from bal_tries_new and not freed; `out` is null or points to 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_tries_root(tries: *const BalTries, out: *mut [u8; 32]) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        // SAFETY: the caller's guarantee; tries are changed behind their lock alone.
        let tries = unsafe { pointer::object(tries, "tries") }?;
        out.set(tries.lock()?.root().0);
        Ok(())
    })
}

/// Makes the blocks that were executed since the last commit permanent: they can no longer be undone. A host that keeps
/// a valid block commits before the next one.
///
/// # Safety
/// `tries` is null or from bal_tries_new and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_tries_commit(tries: *mut BalTries) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee; tries are changed behind their lock alone.
        unsafe { pointer::object(tries, "tries") }?.lock()?.commit();
        Ok(())
    })
}

/// Undoes all blocks that were executed since the last commit.
///
/// # Safety
/// `tries` is null or from bal_tries_new and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_tries_rollback(tries: *mut BalTries) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee; tries are changed behind their lock alone.
        unsafe { pointer::object(tries, "tries") }?.lock()?.rollback();
        Ok(())
    })
}

/// Frees tries, which no call uses any more. Null is ignored.
///
/// # Safety
/// `tries` is null or from bal_tries_new, not freed and not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_tries_free(tries: *mut BalTries) {
    // SAFETY: the caller's guarantee.
    unsafe { pointer::free(tries) }
}
