//! `bal` mode: execution from a block access list, with all stages in parallel.
//!
//! In: a [`Job`] whose block has a block access list, the parent's tries, scratch memory of the
//! workers. Out: a [`BlockOutcome`].
//!
//! Once the list is decoded and the parent accounts are read, the state root is computed from the
//! list's reduced columns while senders are recovered and tasks run. The list's hash and the body's
//! roots are tasks of the same pool. A resident store is read in one pass before that, by the
//! threads of the block. Any other store is read in parallel with everything else by reader
//! threads, which wait for the store most of the time; they also compute the state root, since it
//! may read trie nodes from the store. [`PrefetchStrategy`] has other strategies, for comparison.
//! Reading an account gives the hash of its code; the code itself is loaded when a task needs it
//! (`exec::block::code_loader`).
//! Not here: execution of a task and its verification against the list (`exec::block`), the tries.

use super::check::{check_body_roots, resolve_existence_log};
use super::input::PrefetchStrategy;
use super::job::Job;
use super::outcome::{BlockOutcome, Candidate, ParentReadCount, Unchecked, seal};
use super::recover::Recovering;
use super::root::update_tries;
use super::timeline::Stage;
use crate::arena::cancel::CancelToken;
use crate::arena::code::CodeArena;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::arena::{AccountId, CodeId, Column, Id};
use crate::bal::{self, BalColumns, BalError, BalRule, GasBudget, Limits, ListedChanges};
use crate::exec::block::code_loader::{CodeLoader, Expectation};
use crate::exec::block::error::{BlockError, InternalFault, InvalidBlock};
use crate::exec::block::prefetch::{Prefetch, Progress};
use crate::exec::block::providers::{ParentRows, PreState};
use crate::exec::block::system::{SYSTEM_CONTRACTS, only_uses_own_storage};
use crate::exec::block::tasks::{ListState, WorkerScratch, run_with_list};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::rules::fork::{Fork, ForkRules, TX_GAS_LIMIT_MAX};
use crate::exec::senders::rows::SenderRows;
use crate::exec::tx::{SYSTEM_CALL_GAS, SYSTEM_CALL_RESERVOIR};
use crate::exec::wire::Block;
use crate::trie::StateTries;
use alloy_primitives::{Address, B256, U256};
use rayon::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Number of reader threads, which is the number of concurrent calls to the store.
pub(super) const READERS: usize = 8;

pub(super) fn execute(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    scratches: &[Mutex<WorkerScratch>],
    columns: &mut BalColumns,
    id_map: &mut IdMap,
    unchecked: Vec<Unchecked>,
) -> Result<BlockOutcome, BlockError> {
    let block = job.block;
    let header = &block.header;
    let rules = job.input.rules;
    let Some(bytes) = &job.input.bal else {
        return Err(InvalidBlock::BalPresence.into());
    };
    let body_roots = OnceLock::new();
    let root = OnceLock::new();
    let amsterdam = rules.fork >= Fork::Amsterdam;
    let refused = &job.list_hash.refused;

    let result = rayon::scope(|scope| {
        scope.spawn(|_| {
            let start = job.clock.now();
            let roots = check_body_roots(block);
            if roots.is_err() {
                refused.store(true, Ordering::Relaxed);
            }
            let _ = body_roots.set(roots);
            job.clock.record(Stage::BodyRoots, start);
        });

        let start = job.clock.now();
        let limits = if amsterdam {
            Limits::amsterdam(block.transactions.len(), header.gas_limit)
        } else {
            Limits { tx_count: block.transactions.len(), ..Limits::format_only() }
        };
        bal::decode_into(columns, bytes, &limits).map_err(InvalidBlock::Bal)?;
        let columns = &*columns;
        if amsterdam {
            check_feasible(columns, block, rules.fork_rules(), job.store)?;
        }
        id_map.fill(columns.addresses().as_slice(), columns.slot_keys().as_slice(), columns.slot_accounts().as_slice());
        let existence_log = &resolve_existence_log(job, Some(columns))?;
        let mut rows_at = columns.rows_per_index(block.transactions.len());
        existence_log.count_into(&mut rows_at);
        job.clock.record(Stage::Decode, start);

        let start = job.clock.now();
        let code_hashes = bal::code_hashes(columns);
        let code_rows = &intern_code_rows(columns, &code_hashes, job.codes);
        let (once, code_hashes) = (Mutex::new(Some(tries)), &code_hashes);
        let update = |parents: &Column<AccountId, ParentAccount>| {
            let Some(tries) = once.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let start = job.clock.now();
            let clears_storage = rules.fork < Fork::Cancun;
            let listed = ListedChanges { bal: columns, existence_log, parents, code_hashes, clears_storage };
            let _ = root.set(update_tries(rules, block.transactions.len(), job.store, &listed, tries));
            job.clock.record(Stage::Root, start);
        };
        let loader = &CodeLoader::new(job.store, job.codes);
        let run = |parent: ParentRows<'_>| {
            let recovering = Recovering::new(rules, block, job.recovery_context(), 2 * scratches.len());
            let context = job.context(SenderRows::Arriving(&recovering.rows));
            let list = ListState {
                bal: columns,
                existence_log,
                id_map,
                parent,
                code_rows,
                rows_at: &rows_at,
                refused,
                shuffle: job.shuffle,
            };
            let help = || recovering.help();
            let result = run_with_list(&context, &list, loader, scratches, &help, job.clock.zero);
            recovering.check_complete()?;
            result
        };

        let readers = match job.reads {
            PrefetchStrategy::OnePass => {
                let pre = read_pre_state(job, columns)?;
                if pre.codes.iter().any(|(_, code)| job.codes.get(*code).is_none()) {
                    let expectation = Expectation::new(columns, id_map, &block.transactions);
                    loader.note(pre.codes.iter().map(|(account, code)| (account, *code)), &expectation);
                }
                job.clock.record(Stage::Read, start);
                return rayon::scope(|inner| {
                    inner.spawn(|_| update(&pre.accounts));
                    run(ParentRows::Known(&pre))
                });
            }
            PrefetchStrategy::OnDemand => None,
            PrefetchStrategy::Before | PrefetchStrategy::Beside => job.readers,
        };
        let prefetch = &Prefetch::new(columns, id_map, &block.transactions, loader, readers.is_none());
        let tasks = || {
            let result = run(ParentRows::Prefetching(prefetch));
            loader.stop();
            result
        };
        let update_if_there = || prefetch.parents().map(|parents| update(&parents));
        let Some(readers) = readers else {
            let executed = tasks()?;
            return match update_if_there() {
                Ok(()) => Ok(executed),
                Err(Fault::Store(error)) => Err(error.into()),
                Err(fault) => Err(BlockError::Cancelled(format!("while the parent state was read: {fault}"))),
            };
        };
        let is_over = || refused.load(Ordering::Relaxed) || job.input.cancel.is_some_and(CancelToken::is_cancelled);
        let read = |all_accounts: &(dyn Fn() + Sync)| {
            while !is_over() {
                let start = job.clock.now();
                let progress = prefetch.read_next();
                // Rows and codes alternate, since tasks wait for both; but the state root starts
                // before any code is loaded.
                let more_codes = progress != Progress::AllAccounts && loader.load_expected();
                if progress != Progress::Done || more_codes {
                    job.clock.record(Stage::Read, start);
                }
                match progress {
                    Progress::Done if !more_codes => return,
                    Progress::Done | Progress::Some => {}
                    Progress::AllAccounts => all_accounts(),
                }
            }
            prefetch.stop();
        };
        // An error here is dropped: `prefetch.first_error` below reports the first one.
        let root_task = || drop(update_if_there());
        let reader_count = READERS.min(prefetch.batch_count());
        let read = &read;
        let result = if job.reads == PrefetchStrategy::Before {
            readers.in_place_scope(|scope| (0..reader_count).for_each(|_| scope.spawn(|_| read(&|| ()))));
            readers.in_place_scope(|scope| {
                if prefetch.first_error().is_none() {
                    scope.spawn(|_| root_task());
                }
                tasks()
            })
        } else {
            readers.in_place_scope(|scope| {
                (0..reader_count).for_each(|_| scope.spawn(|_| read(&root_task)));
                if columns.account_count() == 0 {
                    scope.spawn(|_| root_task());
                }
                tasks()
            })
        };
        match prefetch.first_error() {
            Some(error) => Err(error.clone().into()),
            None => result,
        }
    });

    // Errors in a fixed order, independent of timing: header and list before tasks (see
    // `exec::block::error`).
    match body_roots.into_inner() {
        Some(roots) => roots.map_err(InvalidBlock::Header)?,
        None => return Err(InternalFault::UncheckedBody.into()),
    }
    if let Err(BlockError::Invalid(invalid)) = &result
        && matches!(**invalid, InvalidBlock::Bal(_))
    {
        return Err(BlockError::Invalid(invalid.clone()));
    }
    if let Some(claimed) = header.block_access_list_hash
        && let produced = job.list_hash.of(bytes)
        && claimed != produced
    {
        return Err(InvalidBlock::BalHash { claimed, produced }.into());
    }
    let (executed, checked) = result?;
    let Some(root) = root.into_inner() else {
        return Err(BlockError::Cancelled("the root task did not run".to_owned()));
    };
    let (changes, roots) = root?;
    let changes = changes.release(&checked);
    let existence_log = job.input.existence_log.cloned().unwrap_or_default();
    let reads = ParentReadCount { accounts: columns.account_count(), slots: columns.slot_count() };
    seal(job, Candidate { executed, reads, bal: bytes.clone(), existence_log, changes, roots, checked, unchecked })
}

/// Refuses a block access list with more entries than the block's gas can pay for (EIP-7928,
/// gas-budget feasibility).
///
/// The check is made before the first transaction, so the budget is the sum of the transactions'
/// gas limits (at most the block's gas limit) instead of the gas used. Slots of the system
/// contracts do not count, since their reads cost no block gas (ethereum/EIPs#12277).
///
/// A system call reads slots of other accounts only if its contract's code is neither that of its
/// EIP nor empty. So if a list exceeds the transactions' budget, the six system contracts are read
/// from the parent state: each whose code is such a different one, or is changed in this block,
/// adds the gas of a system call to the budget (15,000 slots at most).
fn check_feasible(
    columns: &BalColumns,
    block: &Block,
    rules: &ForkRules,
    store: &dyn StateStore,
) -> Result<(), BlockError> {
    let sum = |limits: &mut dyn Iterator<Item = u64>| limits.fold(0, u64::saturating_add).min(block.header.gas_limit);
    let rows = block.transactions.rows();
    let mut budget = GasBudget {
        tx_count: rows.len(),
        execution: sum(&mut rows.iter().map(|tx| tx.gas_limit.min(TX_GAS_LIMIT_MAX))),
        state: sum(&mut rows.iter().map(|tx| tx.gas_limit)),
        system: SYSTEM_CONTRACTS.len() as u64 * (SYSTEM_CALL_GAS + SYSTEM_CALL_RESERVOIR),
        code_byte: rules.state_code_byte,
    };
    let mut checked = columns.check_affordable(&budget, &SYSTEM_CONTRACTS);
    if matches!(checked, Err(BalError { rule: BalRule::UnaffordableSlots { .. }, .. })) {
        let calls = system_calls_of_other_code(columns, store)?;
        if calls > 0 {
            budget.execution = budget.execution.saturating_add(calls * SYSTEM_CALL_GAS);
            checked = columns.check_affordable(&budget, &SYSTEM_CONTRACTS);
        }
    }
    Ok(checked.map_err(InvalidBlock::Bal)?)
}

/// Number of system contracts whose calls may read storage of other accounts: those whose code in
/// the parent state is neither that of their EIP nor empty, and those whose code the list changes.
fn system_calls_of_other_code(columns: &BalColumns, store: &dyn StateStore) -> Result<u64, StoreError> {
    let mut parents = SYSTEM_CONTRACTS.map(|_| ParentAccount::default());
    store.accounts(&SYSTEM_CONTRACTS, &mut parents)?;
    let reaches_others = |(contract, parent): (&Address, &ParentAccount)| {
        let listed = columns.addresses().as_slice().binary_search(contract);
        let is_changed = listed.is_ok_and(|row| !columns.codes().rows(AccountId::new(row)).is_empty());
        is_changed || !only_uses_own_storage(contract, &parent.code_hash)
    };
    Ok(SYSTEM_CONTRACTS.iter().zip(&parents).filter(|pair| reaches_others(*pair)).count() as u64)
}

/// Rows that one task reads in a call of the store.
const READ_CHUNK: usize = 1024;

/// Reads the accounts and slots of the list, in batches on all threads. Codes are read when a task
/// needs them.
fn read_pre_state(job: &Job<'_>, bal: &BalColumns) -> Result<PreState, StoreError> {
    let store = job.store;
    let addresses = bal.addresses().as_slice();
    let mut accounts = vec![ParentAccount::default(); addresses.len()];
    in_chunks(&mut accounts, |range, out| store.accounts(&addresses[range], out))?;

    let mut slots = vec![U256::ZERO; bal.slot_count()];
    let (keys, owners) = (bal.slot_keys().as_slice(), bal.slot_accounts().as_slice());
    in_chunks(&mut slots, |range, out| {
        let queries: Vec<_> = owners[range.clone()]
            .iter()
            .zip(&keys[range])
            .map(|(owner, key)| SlotQuery { address: addresses[owner.index()], key: *key })
            .collect();
        store.slots(&queries, out)
    })?;

    let codes: Vec<CodeId> = accounts.iter().map(|account| job.codes.intern(account.code_hash)).collect();
    Ok(PreState {
        accounts: Column::<AccountId, _>::from(accounts),
        codes: Column::from(codes),
        slots: Column::from(slots),
    })
}

/// Runs `read` over all of `out`, on all threads if it is longer than a chunk. Returns the error of
/// the lowest chunk, independent of timing.
fn in_chunks<T: Send>(
    out: &mut [T],
    read: impl Fn(core::ops::Range<usize>, &mut [T]) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    if out.len() <= READ_CHUNK {
        return read(0..out.len(), out);
    }
    let chunks = out.par_chunks_mut(READ_CHUNK).enumerate();
    let results: Vec<Result<(), StoreError>> = chunks
        .map(|(chunk, out)| {
            let start = chunk * READ_CHUNK;
            read(start..start + out.len(), out)
        })
        .collect();
    results.into_iter().collect()
}

/// Adds the code of every code row of a list to the arena and returns their ids.
fn intern_code_rows(bal: &BalColumns, hashes: &[B256], codes: &CodeArena) -> Vec<CodeId> {
    hashes.iter().enumerate().map(|(row, hash)| codes.insert(*hash, bal.code_shared(row))).collect()
}
