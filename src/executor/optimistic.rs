//! Optimistic mode: transactions run speculatively on all threads; everything else is as in
//! sequential mode.
//!
//! The state root is computed over a preload of the parent values that execution has read, so that
//! after execution no account and no slot is read from the store again.

use super::job::Job;
use super::outcome::{BlockOutcome, ParentReadCount, Unchecked};
use super::sequential::{Recorded, check_recorded_list, finish, prepare};
use crate::exec::block::error::BlockError;
use crate::exec::block::optimistic::{Preload, Speculated, Speculation, run_optimistic};
use crate::exec::block::tasks::WorkerScratch;
use crate::trie::StateTries;
use std::sync::Mutex;

pub(super) fn execute(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    scratches: &[Mutex<WorkerScratch>],
    unchecked: Vec<Unchecked>,
) -> Result<BlockOutcome, BlockError> {
    let recovered = prepare(job)?;
    let context = job.context(recovered.rows());
    let Speculated { executed, recording, speculation, cache } =
        run_optimistic(&context, job.store, job.codes, scratches, job.clock.zero)?;
    check_recorded_list(job, &recording)?;
    let preload = Preload::new(&cache, job.codes, job.store, &recording);
    let write_back = Job { store: &preload, ..*job };
    let mut outcome = finish(&write_back, tries, Recorded { executed, recording, unchecked })?;
    outcome.reads = ParentReadCount { accounts: speculation.account_reads, slots: speculation.slot_reads };
    outcome.speculation = Some(Speculation { write_back_reads: preload.store_reads(), ..speculation });
    Ok(outcome)
}
