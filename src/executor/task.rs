//! Execution of one transaction of a block, without the transactions before it.
//!
//! In: a block with its block access list, the parent state, a block access index. Out: [`TaskAlone`]. The list has the value
//! of every field before each index, so that no other task runs. Only what the task accesses is read from the store.
//! Not here: whether the block is valid ([`Executor::execute`]).

use super::Executor;
use super::check::{check_body_roots, decode};
use super::from_bal::DecodedList;
use super::input::{BlockInput, Mode, Options, PrefetchStrategy};
use super::job::{Job, ListHash};
use super::outcome::{Check, Unchecked};
use super::recover::recover_one;
use super::timeline::Clock;
use crate::arena::store::{Guarded, StateStore};
use crate::arena::{BlockAccessIndex, Id, TxIndex};
use crate::exec::block::code_loader::CodeLoader;
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::prefetch::Prefetch;
use crate::exec::block::providers::ParentRows;
use crate::exec::block::tasks::{TaskAlone, run_alone};
use std::time::{Duration, Instant};

/// Result of [`Executor::execute_task`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskOutcome {
    /// What the task did.
    pub task: TaskAlone,
    /// What was not checked. Besides what [`Executor::execute`] could not check, this is all that needs the other tasks.
    pub unchecked: Vec<Unchecked>,
    /// Time until the block and its list were decoded and hashed.
    pub decoded: Duration,
    /// Time of the task itself, with the sender's recovery and the reads from the store.
    pub executed: Duration,
}

impl Executor {
    /// Executes the task at a block access index alone: 0 for the system calls before the transactions, 1 for the first
    /// transaction. The values before it are those of the block access list below the index, else those of `store`, which
    /// has the parent state. Traces are written ([`Self::trace_to`]); else, with `keeps_calls`, calls and creations are
    /// kept.
    ///
    /// The header is checked alone, the body's roots and the list's hash are compared with it, and the task's changes are
    /// compared with the list ([`TaskAlone::mismatches`]). The changes of the other tasks are believed, as the list says
    /// them: they are proven if the header is of a valid block. Returns `None` if the block has no such index.
    ///
    /// # Errors
    /// [`BlockError`]: the block or the list is refused before the task; there is no list ([`InvalidBlock::BalPresence`]);
    /// the task is invalid, or accesses what the list does not name; the store failed; it was cancelled.
    pub fn execute_task(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        index: BlockAccessIndex,
        options: Options,
        keeps_calls: bool,
    ) -> Result<Option<TaskOutcome>, BlockError> {
        let start = Instant::now();
        let (clock, list_hash) = (Clock::new(start), ListHash::default());
        self.codes.evict(self.code_bytes_max);
        let store: &dyn StateStore = &Guarded { store, cancel: input.cancel };
        let Self { pool, codes, scratches, bal, id_map, trace, .. } = self;
        let trace = trace.as_ref();
        pool.install(|| {
            let (block, mut unchecked) = decode(input)?;
            let given = input.bal.as_ref().ok_or(InvalidBlock::BalPresence)?;
            if index.index() > block.transactions.len() + 1 {
                return Ok(None);
            }
            let job = Job {
                input,
                block: &block,
                store,
                codes,
                mode: Mode::Bal,
                loop_kind: options.loop_kind,
                trace,
                recovery: options.recovery,
                clock: &clock,
                list_hash: &list_hash,
                shuffle: None,
                reads: PrefetchStrategy::OnDemand,
                readers: None,
            };
            let (hash, (roots, list)) = rayon::join(
                || block.header.block_access_list_hash.map(|claimed| (claimed, list_hash.of(given))),
                || rayon::join(|| check_body_roots(&job), || DecodedList::new(&job, given, bal, id_map)),
            );
            roots.map_err(InvalidBlock::Header)?;
            let list = list?;
            if let Some((claimed, produced)) = hash.filter(|(claimed, produced)| claimed != produced) {
                return Err(InvalidBlock::BalHash { claimed, produced }.into());
            }
            let decoded = start.elapsed();
            let reason = "the other tasks were not executed";
            let checks = [Check::Transactions, Check::Gas, Check::ReceiptsRoot, Check::Requests, Check::StateRoot];
            unchecked.extend(checks.map(|check| Unchecked { check, reason }));
            if block.header.block_access_list_hash.is_none() {
                let reason = "the header has no hash of the list";
                unchecked.push(Unchecked { check: Check::ListHash, reason });
            }
            let tx = index.0.checked_sub(1).map(TxIndex).filter(|tx| tx.index() < block.transactions.len());
            let recovered = recover_one(input.rules, &block, tx, job.recovery_context());
            let context = job.context(recovered.rows());
            let loader = CodeLoader::new(store, codes);
            let prefetch = Prefetch::new(list.columns, list.id_map, &block.transactions, &loader, true);
            let state = list.state(&job, ParentRows::Prefetching(&prefetch));
            let task = run_alone(&context, &state, &loader, &scratches[0], index, keeps_calls)?;
            Ok(Some(TaskOutcome { task, unchecked, decoded, executed: start.elapsed().saturating_sub(decoded) }))
        })
    }
}
