//! The state root of a block as one of its tasks.
//!
//! In: a decoded list, the parent's tries; then the parent accounts, from the thread that first has all of them. Out:
//! the block's state changes and its roots. The list may not be verified yet, so the changes are [`Claimed`].
//! Relies on: `executor::root`, which reduces the list and updates the tries.
//! Not here: when the parent accounts are complete (`stages`).

use super::list::DecodedList;
use crate::arena::changes::StateChanges;
use crate::arena::store::ParentAccount;
use crate::arena::{AccountId, Column};
use crate::bal::ListedChanges;
use crate::exec::block::error::BlockError;
use crate::exec::block::verify::Claimed;
use crate::exec::rules::fork::Fork;
use crate::executor::job::Job;
use crate::executor::root::{Roots, update_tries};
use crate::executor::timeline::Stage;
use crate::trie::StateTries;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Result of a [`RootTask`].
pub(super) type RootResult = Result<(Claimed<StateChanges>, Roots), BlockError>;

/// Computes the state root once, on the thread that calls [`RootTask::run`] first.
pub(super) struct RootTask<'a> {
    job: &'a Job<'a>,
    list: &'a DecodedList<'a>,
    /// The tries, if any are given; the first call takes them.
    input: Mutex<Option<Option<&'a mut StateTries>>>,
    result: OnceLock<RootResult>,
}

impl<'a> RootTask<'a> {
    pub(super) fn new(job: &'a Job<'a>, list: &'a DecodedList<'a>, tries: Option<&'a mut StateTries>) -> Self {
        Self { job, list, input: Mutex::new(Some(tries)), result: OnceLock::new() }
    }

    /// Computes the changes and the root, unless an earlier call does. `parents` are the listed accounts in the parent
    /// state.
    pub(super) fn run(&self, parents: &Column<AccountId, ParentAccount>) {
        let Some(tries) = self.input.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let Self { job, list, .. } = self;
        let start = job.clock.now();
        let rules = job.input.rules;
        let listed = ListedChanges {
            bal: list.columns,
            existence_log: &list.existence_log,
            parents,
            code_hashes: &list.code_hashes,
            clears_storage: rules.fork < Fork::Cancun,
        };
        let _ = self.result.set(update_tries(rules, job.block.transactions.len(), job.store, &listed, tries));
        job.clock.record(Stage::Root, start);
    }

    /// The result; `None` if the task did not run.
    pub(super) fn into_result(self) -> Option<RootResult> {
        self.result.into_inner()
    }
}
