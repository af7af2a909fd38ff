//! Cancel tokens of the header.

#![allow(unsafe_code, reason = "the functions take pointers of the host")]

use crate::failure::status_of;
use crate::pointer;
use crate::types::BalStatus;
use balustrade::CancelToken;
use std::time::{Duration, Instant};

/// Stops the blocks that run with it. May be used from any thread while a block runs.
#[derive(Debug)]
pub struct BalCancel(pub(crate) CancelToken);

/// Makes a token. `timeout_ms`: it is also cancelled after this many milliseconds from now; 0: it has no time-out.
///
/// # Safety
/// `out` is null or points to memory for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_cancel_new(timeout_ms: u64, out: *mut *mut BalCancel) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        let mut token = CancelToken::new();
        let deadline = Instant::now().checked_add(Duration::from_millis(timeout_ms));
        // A time beyond the clock's range never comes.
        if let Some(deadline) = deadline.filter(|_| timeout_ms > 0) {
            token = token.with_deadline(deadline);
        }
        out.set(pointer::give(BalCancel(token)));
        Ok(())
    })
}

/// Stops the blocks that run with this token, now and later.
///
/// # Safety
/// `cancel` is null or from bal_cancel_new and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_cancel_set(cancel: *const BalCancel) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee; a token is changed through an atomic alone.
        unsafe { pointer::object(cancel, "cancel") }?.0.cancel();
        Ok(())
    })
}

/// Frees a token, which no call uses any more. Null is ignored.
///
/// # Safety
/// `cancel` is null or from bal_cancel_new, not freed and not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_cancel_free(cancel: *mut BalCancel) {
    // SAFETY: the caller's guarantee.
    unsafe { pointer::free(cancel) }
}
