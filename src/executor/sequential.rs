//! Sequential mode: tasks run one after another and record the block access list; the state root is
//! computed from the recorded list. Also the parts that optimistic mode shares: [`prepare`],
//! [`check_recorded_list`] and [`finish`].

use super::check::{check_body_roots, check_item_limit, resolve_existence_log};
use super::job::Job;
use super::outcome::{BlockOutcome, Candidate, ParentReadCount, Unchecked, seal};
use super::recover::{Recovered, recover};
use super::root::update_from_recording;
use super::timeline::Stage;
use crate::bal::{self, ExistenceDifference, ExistenceLog, Limits};
use crate::exec::block::error::{BlockError, InternalFault, InvalidBlock, Mismatch, MismatchField};
use crate::exec::block::tasks::{Executed, Recording, WorkerScratch, run_sequential};
use crate::exec::rules::fork::Fork;
use crate::trie::StateTries;
use alloy_primitives::U256;
use std::sync::Mutex;

pub(super) fn execute(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    scratch: &Mutex<WorkerScratch>,
    unchecked: Vec<Unchecked>,
) -> Result<BlockOutcome, BlockError> {
    let recovered = prepare(job)?;
    let context = job.context(recovered.rows());
    let mut scratch = scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (executed, recording) = run_sequential(&context, job.store, job.codes, &mut scratch, job.clock.zero)?;
    check_recorded_list(job, &recording)?;
    finish(job, tries, Recorded { executed, recording, unchecked })
}

/// Work before execution without a block access list: the body's roots, the checks of a given list,
/// and the recovery of senders and authorities.
pub(super) fn prepare(job: &Job<'_>) -> Result<Recovered, BlockError> {
    let (body, recovered) =
        rayon::join(|| check_body_roots(job), || recover(job.input.rules, job.block, job.recovery_context()));
    body.map_err(InvalidBlock::Header)?;
    check_given_list(job)?;
    recovered
}

/// An executed block with its recorded block access list.
pub(super) struct Recorded {
    pub(super) executed: Executed,
    pub(super) recording: Recording,
    pub(super) unchecked: Vec<Unchecked>,
}

/// Computes the state root from the recorded changes and makes the remaining checks.
pub(super) fn finish(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    recorded: Recorded,
) -> Result<BlockOutcome, BlockError> {
    let Recorded { executed, recording, unchecked } = recorded;
    let start = job.clock.now();
    let n = job.block.transactions.len();
    let (changes, roots) = update_from_recording(job.input.rules, n, job.store, &recording, tries)?;
    job.clock.record(Stage::Root, start);
    let Recording { list, existence_log, parents, store_reads: (accounts, slots), checked } = recording;
    let reads = ParentReadCount { accounts, slots };
    let (bal, columns) = (list.bytes, &list.columns);
    let parents = &parents;
    seal(job, Candidate { executed, reads, bal, existence_log, changes, columns, parents, roots, checked, unchecked })
}

/// Checks a given block access list: it must be well-formed and have the hash in the header. A
/// given existence log must be canonical. A correct list is then announced to the store.
fn check_given_list(job: &Job<'_>) -> Result<(), BlockError> {
    let start = job.clock.now();
    let header = &job.block.header;
    let mut columns = None;
    if let Some(bytes) = &job.input.bal {
        let mut limits = Limits::format_only();
        if job.input.rules.fork >= Fork::Amsterdam {
            limits = Limits::amsterdam(job.block.transactions.len(), header.gas_limit);
        }
        columns = Some(bal::decode(bytes, &limits).map_err(InvalidBlock::Bal)?);
        if let Some(claimed) = header.block_access_list_hash {
            let produced = bal::bal_hash(bytes);
            if claimed != produced {
                return Err(InvalidBlock::BalHash { claimed, produced }.into());
            }
        }
    }
    resolve_existence_log(job, columns.as_ref())?;
    if let Some(columns) = &columns {
        job.store.announce(columns.addresses().as_slice(), &columns.slot_queries())?;
    }
    job.clock.record(Stage::Decode, start);
    Ok(())
}

/// Checks the recorded block access list: it must equal the given one, be within the item limit and
/// have the hash in the header. The recorded existence log must equal the given one.
pub(super) fn check_recorded_list(job: &Job<'_>, recording: &Recording) -> Result<(), BlockError> {
    let start = job.clock.now();
    let header = &job.block.header;
    let recorded = &recording.list;
    if let Some(given) = &job.input.bal
        && *given != recorded.bytes
    {
        let mismatch = bal::decode(given, &Limits::format_only())
            .ok()
            .and_then(|given| bal::diff(&given, &recorded.columns).into_iter().next());
        return Err(match mismatch {
            Some(divergence) => InvalidBlock::Divergence(Box::new(divergence)).into(),
            None => {
                InvalidBlock::BalHash { claimed: bal::bal_hash(given), produced: bal::bal_hash(&recorded.bytes) }.into()
            }
        });
    }
    if let Some(given) = job.input.existence_log {
        check_recorded_existence_log(given, &recording.existence_log)?;
    }
    if let Some(claimed) = header.block_access_list_hash {
        check_item_limit(recorded, job.block.transactions.len(), header.gas_limit)?;
        let produced = bal::bal_hash(&recorded.bytes);
        if claimed != produced {
            return Err(InvalidBlock::BalHash { claimed, produced }.into());
        }
    }
    job.clock.record(Stage::ListHash, start);
    Ok(())
}

/// The events that execution produced must be those of the given existence log.
fn check_recorded_existence_log(given: &ExistenceLog, recorded: &ExistenceLog) -> Result<(), BlockError> {
    if given == recorded {
        return Ok(());
    }
    let difference = given.first_difference(recorded);
    let ExistenceDifference { address, index, a, b } = difference.ok_or(InternalFault::ExistenceComparison)?;
    let field = MismatchField::Existence;
    let [claimed, produced] = [a, b].map(|exists| exists.map(U256::from));
    let mismatch = Mismatch { address, field, slot: None, index: Some(index), claimed, produced };
    Err(InvalidBlock::Mismatch(Box::new(mismatch)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    #[test]
    fn unequal_existence_logs_without_a_difference_are_an_internal_fault() {
        let event = (Address::repeat_byte(1), 1, true);
        let once = ExistenceLog { existence: vec![event] };
        let twice = ExistenceLog { existence: vec![event, event] };
        assert_eq!(check_recorded_existence_log(&once, &once), Ok(()));
        assert_eq!(check_recorded_existence_log(&twice, &once), Err(InternalFault::ExistenceComparison.into()));
    }
}
