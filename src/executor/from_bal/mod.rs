//! `bal` mode: execution from a block access list, with all stages in parallel.
//!
//! In: a [`Job`] whose block has a block access list, the parent's tries, scratch memory of the
//! workers. Out: a [`BlockOutcome`], or the first error in the order of `exec::block::error`.
//!
//! The body's roots are checked by a task of the same pool, as the list's hash is ([`ListHash`](super::job::ListHash)).
//! Meanwhile the list is decoded (`list`), and the parent state is read, tasks are run and the state root is computed
//! (`stages`).
//! Relies on: `stages` to run everything after the list is decoded.
//! Not here: execution of a task and its verification against the list (`exec::block`), the tries.

mod feasible;
mod list;
mod parent_state;
mod root_task;
mod stages;

pub(super) use stages::READERS;

use super::check::check_body_roots;
use super::job::Job;
use super::outcome::{BlockOutcome, Candidate, ParentReadCount, Unchecked, seal};
use crate::bal::BalColumns;
use crate::exec::block::error::{BlockError, InternalFault, InvalidBlock};
use crate::exec::block::tasks::WorkerScratch;
use crate::exec::evm::ids::IdMap;
use crate::exec::rules::header::HeaderFault;
use crate::trie::StateTries;
pub(super) use list::DecodedList;
use stages::{Completed, Stages};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock};

pub(super) fn execute(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    scratches: &[Mutex<WorkerScratch>],
    columns: &mut BalColumns,
    id_map: &mut IdMap,
    unchecked: Vec<Unchecked>,
) -> Result<BlockOutcome, BlockError> {
    let Some(bytes) = &job.input.bal else {
        return Err(InvalidBlock::BalPresence.into());
    };
    let body_roots = OnceLock::new();
    let result = rayon::scope(|scope| {
        scope.spawn(|_| {
            let roots = check_body_roots(job);
            if roots.is_err() {
                job.list_hash.refused.store(true, Ordering::Relaxed);
            }
            let _ = body_roots.set(roots);
        });
        let list = DecodedList::new(job, bytes, columns, id_map)?;
        Stages::new(job, &list, scratches, tries).run()
    });
    let Completed { executed, checked, parents, root } = in_order(job, bytes, body_roots.into_inner(), result)?;
    let root = root.unwrap_or_else(|| Err(BlockError::Cancelled("the root task did not run".to_owned())));
    let (changes, roots) = root?;
    let changes = changes.release(&checked);
    let existence_log = job.input.existence_log.cloned().unwrap_or_default();
    let reads = ParentReadCount { accounts: columns.account_count(), slots: columns.slot_count() };
    let (bal, parents) = (bytes.clone(), &parents);
    seal(job, Candidate { executed, reads, bal, existence_log, changes, columns, parents, roots, checked, unchecked })
}

/// The result of the stages, unless an error of the header or of the list precedes it. Errors are reported in a fixed
/// order, independent of timing: header and list before tasks (see `exec::block::error`).
fn in_order(
    job: &Job<'_>,
    bytes: &[u8],
    body_roots: Option<Result<(), HeaderFault>>,
    result: Result<Completed, BlockError>,
) -> Result<Completed, BlockError> {
    match body_roots {
        Some(roots) => roots.map_err(InvalidBlock::Header)?,
        None => return Err(InternalFault::UncheckedBody.into()),
    }
    let is_of_list =
        |error: &BlockError| matches!(error, BlockError::Invalid(i) if matches!(**i, InvalidBlock::Bal(_)));
    if result.as_ref().is_err_and(is_of_list) {
        return result;
    }
    if let Some(claimed) = job.block.header.block_access_list_hash
        && let produced = job.list_hash.of(bytes)
        && claimed != produced
    {
        return Err(InvalidBlock::BalHash { claimed, produced }.into());
    }
    result
}
