//! From the columns of a block access list to the state root.
//!
//! In: the changes of a given or recorded block access list, the parent accounts, the tries. Out:
//! the root after the block, and before Byzantium the root after each transaction. On an error the
//! tries are restored ([`undo_on_error`]).
//! Not here: verification of the list.

use super::by_index;
use super::job::last_index;
use crate::arena::changes::StateChanges;
use crate::arena::store::{StateStore, StoreError};
use crate::bal::{self, ListedChanges};
use crate::exec::block::error::{BlockError, InternalFault};
use crate::exec::block::tasks::Recording;
use crate::exec::block::verify::Claimed;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::trie::{StateTries, TrieError};
use alloy_primitives::B256;

/// State roots computed for a block.
#[derive(Debug)]
pub(super) struct Roots {
    /// State root after the block, if one was computed.
    pub(super) state: Option<B256>,
    /// Why there is no state root, if there is none.
    pub(super) without_state: &'static str,
    /// State root after each transaction; before Byzantium receipts contain it.
    pub(super) by_transaction: Option<Vec<B256>>,
}

impl Default for Roots {
    fn default() -> Self {
        Self { state: None, without_state: "no tries are given", by_transaction: None }
    }
}

/// Reduces the recorded block access list to its final values and updates the tries.
pub(super) fn update_from_recording(
    rules: &ChainRules,
    tx_count: usize,
    store: &dyn StateStore,
    recording: &Recording,
    tries: Option<&mut StateTries>,
) -> Result<(StateChanges, Roots), BlockError> {
    let bal = &recording.list.columns;
    let code_hashes = bal::code_hashes(bal);
    let existence_log =
        recording.existence_log.resolve(bal, last_index(tx_count)).map_err(InternalFault::RecordedExistence)?;
    let listed = ListedChanges {
        bal,
        existence_log: &existence_log,
        parents: &recording.parents.accounts,
        code_hashes: &code_hashes,
        clears_storage: rules.fork < Fork::Cancun,
    };
    let (changes, roots) = update_tries(rules, tx_count, store, &listed, tries)?;
    Ok((changes.release(&recording.checked), roots))
}

/// [`update_from_recording`] on tries that are restored afterwards, also on an error; earlier
/// uncommitted updates stay.
pub(super) fn roots_from_recording(
    rules: &ChainRules,
    tx_count: usize,
    store: &dyn StateStore,
    recording: &Recording,
    mut tries: Option<&mut StateTries>,
) -> Result<(StateChanges, Roots), BlockError> {
    let before = tries.as_deref_mut().map(StateTries::savepoint);
    let updated = update_from_recording(rules, tx_count, store, recording, tries.as_deref_mut());
    if let (Some(tries), Some(before)) = (tries, before) {
        tries.rollback_to(before).map_err(trie_error)?;
    }
    updated
}

/// Reduces the block access list to its final values and updates the tries. The list may not be
/// verified yet: the changes are returned as [`Claimed`], and the caller rolls the tries back if
/// verification fails.
pub(super) fn update_tries(
    rules: &ChainRules,
    tx_count: usize,
    store: &dyn StateStore,
    listed: &ListedChanges<'_>,
    mut tries: Option<&mut StateTries>,
) -> Result<(Claimed<StateChanges>, Roots), BlockError> {
    let mut roots = Roots::default();
    let by_transaction = rules.fork < Fork::Byzantium;
    if by_transaction && let Some(tries) = tries.as_deref_mut() {
        let after_each = by_index::update(listed, rules, tx_count, tries, store).map_err(trie_error)?;
        roots.by_transaction = Some(after_each);
        roots.state = Some(tries.root());
    }
    let changes = bal::reduce(listed);
    if !by_transaction && let Some(tries) = tries {
        roots.state = Some(tries.update(&changes, store).map_err(trie_error)?);
    }
    Ok((Claimed::new(changes), roots))
}

/// Runs a block on the tries. If it fails, they are restored, earlier uncommitted updates included.
pub(super) fn undo_on_error<T>(
    mut tries: Option<&mut StateTries>,
    run: impl FnOnce(Option<&mut StateTries>) -> Result<T, BlockError>,
) -> Result<T, BlockError> {
    let before = tries.as_deref_mut().map(StateTries::savepoint);
    let result = run(tries.as_deref_mut());
    if result.is_err()
        && let (Some(tries), Some(before)) = (tries, before)
    {
        tries.rollback_to(before).map_err(trie_error)?;
    }
    result
}

/// Converts an error of the tries. The changes made here are well-formed, so anything but a store
/// error means that the store's data is corrupt.
pub(super) fn trie_error(error: TrieError) -> BlockError {
    match error {
        TrieError::Store(error) => error.into(),
        error => StoreError::Corrupt(error.to_string()).into(),
    }
}
