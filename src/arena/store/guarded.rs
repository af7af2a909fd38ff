//! A wrapper around the host's store that turns panics into errors and checks for cancellation.
//!
//! In: a host's store and an optional cancel token. Out: a store that never panics.
//! The host's code runs on the executor's threads in the middle of a block. A panic in it becomes
//! [`StoreError::Failed`], so that it never unwinds through partly written arenas and tries. Once
//! the block is cancelled, the store is no longer called.
//! Not here: panics of this crate, which are bugs.

use super::{CALL_ROWS, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::arena::cancel::CancelToken;
use crate::arena::path::NodeQuery;
use alloy_primitives::{Address, B256, Bytes, U256};
use core::any::Any;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// Calls `store` until `cancel` is cancelled; panics of `store` become errors.
pub(crate) struct Guarded<'a> {
    pub(crate) store: &'a dyn StateStore,
    pub(crate) cancel: Option<&'a CancelToken>,
}

impl Guarded<'_> {
    /// Runs one call. Unwind safety: callers do not read `out` after an error, so its content after
    /// a panic does not matter.
    fn guard(&self, call: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        if self.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(&*panic)))
    }
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    StoreError::Failed(format!("it panicked: {}", text.unwrap_or("no message")))
}

impl StateStore for Guarded<'_> {
    fn is_resident(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.store.is_resident())).unwrap_or(false)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(CancelToken::is_cancelled)
    }

    fn call_rows(&self) -> usize {
        catch_unwind(AssertUnwindSafe(|| self.store.call_rows())).unwrap_or(CALL_ROWS)
    }

    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.guard(|| self.store.announce(accounts, slots))
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.guard(|| self.store.accounts(addresses, out))
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.guard(|| self.store.slots(slots, out))
    }

    fn codes_are_checked(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.store.codes_are_checked())).unwrap_or(false)
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.guard(|| self.store.codes(hashes, out))
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.guard(|| self.store.block_hashes(numbers, out))
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.guard(|| self.store.trie_nodes(nodes, out))
    }
}
