//! `bal` mode: everything that the list makes possible, side by side.
//!
//! As soon as the list is decoded and the parent accounts read, the state root is computed from its reduced columns while
//! the senders are recovered and the tasks run; the list's hash and the body's roots are tasks of the same pool.
//! A resident store is read in one pass before that, by the threads of the block. Any other one is read beside it all, by
//! readers: threads of their own that mostly sleep, which also compute the root, as it may ask the store for nodes.
//! [`ParentReads`] names the other arrangements, for comparison.

use super::changes::{ListedChanges, intern_code_rows};
use super::check::check_body_roots;
use super::input::ParentReads;
use super::job::Job;
use super::outcome::{BlockOutcome, Candidate, ParentReadCount, Unchecked, seal};
use super::recover::Recovering;
use super::root::update_tries;
use super::timeline::Stage;
use crate::arena::store::{ParentAccount, SlotQuery, StoreError};
use crate::arena::{AccountId, CodeId, Column, Id};
use crate::bal::{self, BalColumns, Limits, Means, Sidecar};
use crate::exec::arrivals::{Arrivals, Progress};
use crate::exec::base::{ParentRows, PreState, fetch_codes};
use crate::exec::block::{ListState, WorkerScratch, run_with_list};
use crate::exec::cancel::CancelToken;
use crate::exec::error::{BlockError, InvalidBlock};
use crate::exec::fork::{Fork, ForkRules, TX_GAS_LIMIT_MAX};
use crate::exec::halt::Fault;
use crate::exec::signers::SignerRows;
use crate::exec::system::SYSTEM_CONTRACTS;
use crate::exec::tx::{SYSTEM_CALL_GAS, SYSTEM_CALL_RESERVOIR};
use crate::exec::universe::Universe;
use crate::exec::wire::Block;
use crate::trie::StateTries;
use alloy_primitives::U256;
use rayon::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Number of readers: how many calls a store is asked at a time. They cost a sleeping thread each.
pub(super) const READERS: usize = 8;

/// A list without a sidecar.
static NO_SIDECAR: Sidecar = Sidecar { existence: Vec::new() };

pub(super) fn execute(
    job: &Job<'_>,
    tries: Option<&mut StateTries>,
    scratches: &[Mutex<WorkerScratch>],
    columns: &mut BalColumns,
    names: &mut Universe,
    unchecked: Vec<Unchecked>,
) -> Result<BlockOutcome, BlockError> {
    let block = job.block;
    let header = &block.header;
    let rules = job.input.rules;
    let Some(bytes) = &job.input.bal else {
        return Err(InvalidBlock::BalPresence.into());
    };
    let given_sidecar = job.input.sidecar.unwrap_or(&NO_SIDECAR);
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
            check_feasible(columns, block, rules.fork_rules())?;
        }
        names.fill(columns.addresses().as_slice(), columns.slot_keys().as_slice(), columns.slot_accounts().as_slice());
        let rows_at = columns.rows_per_index(block.transactions.len());
        let sidecar = &given_sidecar.resolve(columns).map_err(InvalidBlock::Sidecar)?;
        job.clock.record(Stage::Decode, start);

        let start = job.clock.now();
        let code_hashes = bal::code_hashes(columns);
        let code_rows = &intern_code_rows(columns, &code_hashes, job.codes);
        let once = Mutex::new(Some((code_hashes, tries)));
        let update = |parents: &Column<AccountId, ParentAccount>| {
            let Some((code_hashes, tries)) = once.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let start = job.clock.now();
            let listed = ListedChanges { bal: columns, sidecar, parents, code_hashes };
            let _ = root.set(update_tries(rules, block.transactions.len(), job.store, listed, tries));
            job.clock.record(Stage::Root, start);
        };
        let run = |parent: ParentRows<'_>| {
            let recovering = Recovering::new(rules, block, job.means(), 2 * scratches.len());
            let context = job.context(SignerRows::Arriving(&recovering.signers));
            let list = ListState {
                bal: columns,
                sidecar,
                names,
                parent,
                code_rows,
                rows_at: &rows_at,
                refused,
                shuffle: job.shuffle,
            };
            let help = || recovering.help();
            let result = run_with_list(&context, &list, job.store, job.codes, scratches, &help, job.clock.zero);
            recovering.check_complete()?;
            result
        };

        let readers = match job.reads {
            ParentReads::OnePass => {
                let pre = read_pre_state(job, columns)?;
                job.clock.record(Stage::Read, start);
                return rayon::scope(|inner| {
                    inner.spawn(|_| update(&pre.accounts));
                    run(ParentRows::Known(&pre))
                });
            }
            ParentReads::OnDemand => None,
            ParentReads::Before | ParentReads::Beside => job.readers,
        };
        let (store, codes) = (job.store, job.codes);
        let arrivals = &Arrivals::new(columns, names, &block.transactions, store, codes, readers.is_none());
        let tasks = || run(ParentRows::Arriving(arrivals));
        let update_if_there = || arrivals.parents().map(|parents| update(&parents));
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
                match arrivals.read_next() {
                    Progress::Done => return,
                    Progress::Some => job.clock.record(Stage::Read, start),
                    Progress::AllAccounts => {
                        job.clock.record(Stage::Read, start);
                        all_accounts();
                    }
                }
            }
            arrivals.stop();
        };
        // A fault here is reported from the arrivals, which name the first.
        let root_task = || drop(update_if_there());
        let reader_count = READERS.min(arrivals.batch_count());
        let read = &read;
        let result = if job.reads == ParentReads::Before {
            readers.in_place_scope(|scope| (0..reader_count).for_each(|_| scope.spawn(|_| read(&|| ()))));
            readers.in_place_scope(|scope| {
                if arrivals.first_error().is_none() {
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
        match arrivals.first_error() {
            Some(error) => Err(error.clone().into()),
            None => result,
        }
    });

    // Errors in the order that does not depend on who was first: header and list before tasks (see `exec::error`).
    if let Some(Err(fault)) = body_roots.into_inner() {
        return Err(InvalidBlock::Header(fault).into());
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
    let executed = result?;
    let Some(root) = root.into_inner() else {
        return Err(BlockError::Cancelled("the root task did not run".to_owned()));
    };
    let (changes, roots) = root?;
    let sidecar = given_sidecar.clone();
    let reads = ParentReadCount { accounts: columns.account_count(), slots: columns.slot_count() };
    seal(job, Candidate { executed, reads, bal: bytes.clone(), sidecar, changes, roots, unchecked })
}

/// Refuses a list that declares more than the transactions' gas can pay (EIP-7928, gas-budget feasibility).
///
/// This is the check before the first transaction, with what the transactions may spend at most in place of the block's
/// gas; slots of the system contracts do not count, as their reads cost no block gas (ethereum/EIPs#12277).
fn check_feasible(columns: &BalColumns, block: &Block, rules: &ForkRules) -> Result<(), BlockError> {
    let sum = |limits: &mut dyn Iterator<Item = u64>| limits.fold(0, u64::saturating_add).min(block.header.gas_limit);
    let rows = block.transactions.rows();
    let means = Means {
        tx_count: rows.len(),
        execution: sum(&mut rows.iter().map(|tx| tx.gas_limit.min(TX_GAS_LIMIT_MAX))),
        state: sum(&mut rows.iter().map(|tx| tx.gas_limit)),
        system: SYSTEM_CONTRACTS.len() as u64 * (SYSTEM_CALL_GAS + SYSTEM_CALL_RESERVOIR),
        code_byte: rules.state_code_byte,
    };
    Ok(columns.check_affordable(&means, &SYSTEM_CONTRACTS).map_err(InvalidBlock::Bal)?)
}

/// Rows of one read task.
const READ_CHUNK: usize = 1024;
/// Codes of one task that checks and analyses them: two rounds of lanes, up to 400 KB.
const CODE_CHUNK: usize = 16;

/// Reads the parent state of everything that the list names, in batches on all threads.
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
    let fetched = fetch_codes(store, job.codes, &accounts, &codes)?;
    let provide = |codes: &[_]| job.codes.provide_all_checked(codes);
    let results: Vec<Result<(), StoreError>> = fetched.par_chunks(CODE_CHUNK).map(provide).collect();
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(PreState {
        accounts: Column::<AccountId, _>::from(accounts),
        codes: Column::from(codes),
        slots: Column::from(slots),
    })
}

/// Runs `read` over the whole of `out`, on all threads where it is long. Of several errors the first in order is reported,
/// whoever met his first.
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
