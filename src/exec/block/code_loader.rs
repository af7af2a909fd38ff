//! Loads codes of the parent state: each when a task first runs it or reads its bytes, several in one call.
//!
//! In: the code hashes of the accounts that a block access list names. Out: bytes in the [`CodeArena`], checked against
//! their hashes. A listed account alone loads nothing: BALANCE and EXTCODEHASH need no bytes, and a list may name
//! thousands of contracts that nothing runs.
//!
//! When a task needs a code that is missing, codes of other listed accounts are loaded in the same call: one call of the
//! store then serves them all, and eight hashes computed together take about as long as one. They are taken from the
//! class of the code that was missing. *Expected* codes belong to system contracts, to targets of transactions, and to
//! accounts of which the list names slots or changes of the nonce: their code runs or is looked at. *Other* codes may
//! belong to libraries and implementations behind proxies, or to contracts that are only asked for their balance: they
//! are loaded only once one of them was needed. For a store that is not resident, readers load expected codes ahead of the
//! tasks ([`CodeLoader::load_expected`]). What is loaded before it is needed is bounded ([`AHEAD_BYTES_MAX`]).
//!
//! Errors: whatever goes wrong with a code that no task has asked for is dropped, and that code counts as not loaded. The
//! task that needs it asks the store again and meets the error itself, so that the block's error depends on the tasks
//! and the store alone, not on which codes were loaded together.
//! Not here: which accounts were read (`arrivals`, the library's entry point).

use super::system::SYSTEM_CONTRACTS;
use crate::arena::code::CodeArena;
use crate::arena::keccak::Width;
use crate::arena::store::{StateStore, StoreError};
use crate::arena::{AccountId, CodeId};
use crate::bal::{AccessSet, BalColumns};
use crate::exec::evm::halt::Fault;
use crate::exec::evm::ids::IdMap;
use crate::exec::wire::Transactions;
use ahash::RandomState;
use alloy_primitives::{B256, Bytes};
use core::sync::atomic::{AtomicBool, Ordering};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most codes of one call: two rounds of eight lanes, sorted by length.
const BATCH: usize = 16;

/// The most bytes of code loaded in a block before a task has asked for them. The codes of a mainnet block are a few MiB.
pub const AHEAD_BYTES_MAX: usize = 16 << 20;

/// How likely a listed account's code is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The list or a transaction says that it is run or looked at.
    Expected,
    /// The list names the account and says nothing about its code.
    Other,
}

/// Codes of listed accounts that were not known when their accounts were read.
#[derive(Debug, Default)]
struct Missing {
    classes: HashMap<CodeId, Class, RandomState>,
    expected: Vec<CodeId>,
    others: Vec<CodeId>,
    /// Bytes of codes that were loaded before a task asked for them.
    ahead_bytes: usize,
}

impl Missing {
    fn of_class(&mut self, class: Class) -> &mut Vec<CodeId> {
        match class {
            Class::Expected => &mut self.expected,
            Class::Other => &mut self.others,
        }
    }
}

/// The codes of one block's parent state. Threads may share it: a code that two of them need at the same moment may be
/// fetched by both, and is kept and counted once.
pub struct CodeLoader<'b> {
    store: &'b dyn StateStore,
    codes: &'b CodeArena,
    missing: Mutex<Missing>,
    /// Whether codes beside the one that a task needs are worth loading.
    in_batches: bool,
    stopped: AtomicBool,
}

impl core::fmt::Debug for CodeLoader<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CodeLoader").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl<'b> CodeLoader<'b> {
    /// A loader that knows of no listed account.
    pub fn new(store: &'b dyn StateStore, codes: &'b CodeArena) -> Self {
        // Where a call costs nothing and codes are hashed one after another, a batch saves nothing.
        let in_batches = !store.is_resident() || Width::detect() == Width::Eight;
        Self { store, codes, missing: Mutex::default(), in_batches, stopped: AtomicBool::new(false) }
    }

    /// The parent state.
    pub fn store(&self) -> &'b dyn StateStore {
        self.store
    }

    /// Where the codes are kept.
    pub fn codes(&self) -> &'b CodeArena {
        self.codes
    }

    fn lock(&self) -> MutexGuard<'_, Missing> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of listed accounts that were read: their ids and those of their codes. Loads nothing.
    pub fn note(&self, accounts: impl Iterator<Item = (AccountId, CodeId)>, expectation: &Expectation<'_>) {
        if !self.in_batches {
            return;
        }
        let unknown: Vec<_> = accounts.filter(|(_, code)| self.codes.get(*code).is_none()).collect();
        if unknown.is_empty() {
            return;
        }
        let missing = &mut *self.lock();
        for (account, code) in unknown {
            let class = if expectation.is_expected(account) { Class::Expected } else { Class::Other };
            // Of accounts that share a code one that is expected to run it decides.
            let known = missing.classes.get(&code);
            if known.is_none_or(|known| *known == Class::Other && class == Class::Expected) {
                missing.classes.insert(code, class);
                missing.of_class(class).push(code);
            }
        }
    }

    /// Makes the bytes of a code known to the arena, for a task that runs or reads it.
    ///
    /// # Errors
    /// The store's: it failed, lacks this code, or gave bytes that hash to something else.
    pub fn load(&self, id: CodeId) -> Result<(), Fault> {
        if self.codes.get(id).is_some() {
            return Ok(());
        }
        let mut batch: SmallVec<[CodeId; BATCH]> = SmallVec::new();
        batch.push(id);
        if self.in_batches {
            let missing = &mut *self.lock();
            if let Some(class) = missing.classes.get(&id).copied() {
                self.take_others(missing, class, &mut batch);
            }
        }
        if batch.len() > 1 {
            self.load_ahead(&batch, Some(id));
            if self.codes.get(id).is_some() {
                return Ok(());
            }
        }
        load_one(self.store, id, self.codes)
    }

    /// Loads the next expected codes, before a task asks for them. Returns false where none are left, where enough was
    /// loaded, or after [`Self::stop`]. The store's errors are left to the tasks that need these codes.
    pub fn load_expected(&self) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        let mut batch = SmallVec::new();
        self.take_others(&mut self.lock(), Class::Expected, &mut batch);
        if !batch.is_empty() {
            self.load_ahead(&batch, None);
        }
        !batch.is_empty()
    }

    /// No code is loaded ahead any more: all tasks are done.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Fills a batch with codes of a class that are not loaded yet. A code is taken once.
    fn take_others(&self, missing: &mut Missing, class: Class, batch: &mut SmallVec<[CodeId; BATCH]>) {
        if missing.ahead_bytes >= AHEAD_BYTES_MAX {
            return;
        }
        while batch.len() < BATCH
            && let Some(id) = missing.of_class(class).pop()
        {
            if self.codes.get(id).is_none() && !batch.contains(&id) {
                batch.push(id);
            }
        }
    }

    /// Loads what the store has of a batch, and counts all but `needed` as loaded ahead.
    fn load_ahead(&self, batch: &[CodeId], needed: Option<CodeId>) {
        let hashes: SmallVec<[B256; BATCH]> = batch.iter().map(|id| self.codes.hash(*id)).collect();
        let mut found: SmallVec<[Option<Bytes>; BATCH]> = batch.iter().map(|_| None).collect();
        if self.store.codes(&hashes, &mut found).is_err() {
            return;
        }
        let found: Vec<(CodeId, Bytes)> = batch.iter().zip(found).filter_map(|(id, code)| Some((*id, code?))).collect();
        let ahead = found.iter().filter(|(id, _)| Some(*id) != needed).map(|(_, code)| code.len()).sum::<usize>();
        self.lock().ahead_bytes += ahead;
        // A code with another hash is left out, and whoever needs it is told.
        let _ = self.codes.provide_checked(&found);
    }
}

/// Asks the store for one code.
///
/// # Errors
/// The store's: it failed, lacks this code, or gave bytes that hash to something else.
pub(in crate::exec) fn load_one(store: &dyn StateStore, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
    let hash = codes.hash(id);
    let mut out = [None];
    store.codes(&[hash], &mut out)?;
    let [code] = out;
    codes.provide_checked(&[(id, code.ok_or(StoreError::MissingCode(hash))?)])?;
    Ok(())
}

/// What a list and the transactions of its block tell about which accounts' codes are needed.
pub struct Expectation<'b> {
    bal: &'b BalColumns,
    /// Targets of transactions, and system contracts.
    targets: AccessSet<AccountId>,
}

impl core::fmt::Debug for Expectation<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Expectation").finish_non_exhaustive()
    }
}

impl<'b> Expectation<'b> {
    /// The expectation of a list, whose names are `names`.
    pub fn new(bal: &'b BalColumns, names: &IdMap, transactions: &Transactions) -> Self {
        let mut targets = AccessSet::with_room_for(bal.account_count());
        let called = transactions.rows().iter().filter_map(|tx| tx.to.as_ref()).chain(&SYSTEM_CONTRACTS);
        for target in called.filter_map(|address| names.account(address)) {
            targets.insert(target);
        }
        Self { bal, targets }
    }

    /// Whether the account is a system contract or the target of a transaction, or the list names slots of it or changes of
    /// its nonce.
    pub fn is_expected(&self, id: AccountId) -> bool {
        self.targets.contains(id) || self.bal.slots(id).len() > 0 || !self.bal.nonces().indices(id).is_empty()
    }
}

#[cfg(test)]
mod tests;
