//! A store that may panic, made one that fails.
//!
//! The host's code runs on our threads in the middle of a block. Its panic ends here, as [`StoreError::Failed`], so that
//! it never unwinds through arenas and tries that are half written. Not here: panics of our own, which are bugs.

use super::{ParentAccount, SlotQuery, StateStore, StoreError};
use alloy_primitives::{Address, B256, Bytes, U256};
use core::any::Any;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// A store whose panics are errors.
pub(crate) struct Guarded<'a>(pub(crate) &'a dyn StateStore);

/// Runs one call. What the store leaves in `out` when it panics is not looked at: the call failed.
fn guard(call: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    StoreError::Failed(format!("it panicked: {}", text.unwrap_or("no message")))
}

impl StateStore for Guarded<'_> {
    fn is_resident(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.0.is_resident())).unwrap_or(false)
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        guard(|| self.0.accounts(addresses, out))
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        guard(|| self.0.slots(slots, out))
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        guard(|| self.0.codes(hashes, out))
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        guard(|| self.0.block_hashes(numbers, out))
    }

    fn trie_nodes(&self, hashes: &[B256], out: &mut [Bytes]) -> Result<(), StoreError> {
        guard(|| self.0.trie_nodes(hashes, out))
    }
}
