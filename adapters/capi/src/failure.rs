//! Why a call failed: a status, a text, classes; and the function in which every call runs.
//!
//! In: the work of a call. Out: its result; a panic becomes `BAL_BUG`.

use crate::types::BalStatus;
use balustrade::{BlockError, InvalidBlock};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: BalStatus,
    pub(crate) text: String,
    /// Exception classes of the execution-spec tests; only for `BAL_INVALID`.
    pub(crate) classes: Vec<&'static str>,
}

impl Failure {
    fn new(status: BalStatus, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), classes: Vec::new() }
    }

    /// An argument of the caller is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(BalStatus::BalUsage, text)
    }

    /// The host failed.
    pub(crate) fn host(text: impl Into<String>) -> Self {
        Self::new(BalStatus::BalStore, text)
    }

    /// This library failed.
    pub(crate) fn bug(text: impl Into<String>) -> Self {
        Self::new(BalStatus::BalBug, text)
    }

    /// The block is invalid.
    pub(crate) fn invalid(invalid: &InvalidBlock) -> Self {
        Self { classes: invalid.eest_classes(), ..Self::new(BalStatus::BalInvalid, invalid.to_string()) }
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        let text = error.to_string();
        match error {
            BlockError::Invalid(invalid) => Self::invalid(&invalid),
            BlockError::Store(_) | BlockError::ParentState { .. } => Self::host(text),
            BlockError::Cancelled(_) => Self::new(BalStatus::BalCancelled, text),
            // `BlockError` may get more classes; one that this crate does not know is not the caller's fault.
            _ => Self::bug(text),
        }
    }
}

/// Runs the work of a call. Objects that a panic left half changed are not used again: their locks are poisoned.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Failure::bug(panic_text(&*payload))))
}

/// [`caught`] for a function that returns nothing but a status.
pub(crate) fn status_of(work: impl FnOnce() -> Result<(), Failure>) -> BalStatus {
    caught(work).map_or_else(|failure| failure.status, |()| BalStatus::BalOk)
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("a panic inside the library: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_bug_with_its_message() {
        let failure = caught::<()>(|| panic!("row {} is missing", 7)).expect_err("it panics");
        assert_eq!(failure.status, BalStatus::BalBug);
        assert_eq!(failure.text, "a panic inside the library: row 7 is missing");
        assert_eq!(status_of(|| std::panic::panic_any(7)), BalStatus::BalBug);
        assert_eq!(status_of(|| Ok(())), BalStatus::BalOk);
    }

    #[test]
    fn each_class_of_errors_has_its_status() {
        use balustrade::StoreError;
        let root = alloy_primitives::B256::ZERO;
        let status = |error: BlockError| Failure::from(error).status;
        assert_eq!(status(BlockError::Store(StoreError::Failed(String::new()))), BalStatus::BalStore);
        assert_eq!(status(BlockError::ParentState { expected: root, actual: root }), BalStatus::BalStore);
        assert_eq!(status(BlockError::Cancelled(String::new())), BalStatus::BalCancelled);
        let fault = balustrade::errors::InternalFault::UncheckedTask;
        assert_eq!(status(BlockError::Internal(fault)), BalStatus::BalBug);
        let invalid = Failure::from(BlockError::Invalid(Box::new(InvalidBlock::BalPresence)));
        assert_eq!((invalid.status, invalid.classes.len()), (BalStatus::BalInvalid, 1));
    }
}
