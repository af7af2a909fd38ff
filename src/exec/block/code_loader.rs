//! Loads codes of the parent state when a task first runs them or reads their bytes, several codes per store call.
//!
//! In: the code hashes of the accounts in a block access list (BAL). Out: code bytes in the [`CodeArena`], checked
//! against their hashes here or by the store. Reading a listed account loads no code: BALANCE and EXTCODEHASH need no bytes, and a BAL may
//! hold thousands of contracts that no task runs.
//!
//! When a task needs a code that is not loaded, codes of other listed accounts are loaded in the same call: the store
//! is called once for all of them, and hashing eight codes together takes about as long as hashing one. The other
//! codes are of the same class as the needed one:
//! - *Expected* codes belong to system contracts, to targets of transactions, and to accounts with slots or nonce
//!   changes in the BAL. Tasks are likely to run or read them.
//! - *Other* codes may belong to libraries, to implementations behind proxies, or to contracts whose balance alone is
//!   read. They are loaded only after a task needed one of them.
//!
//! For a store that is not resident, reader threads load expected codes before tasks need them
//! ([`CodeLoader::load_expected`]). The bytes loaded before a task needs them are bounded ([`AHEAD_BYTES_MAX`]).
//!
//! Errors: if a code that no task has asked for fails to load, the error is discarded and the code stays unloaded. The
//! task that needs it calls the store again and returns the error of that call. So the block's error depends only on
//! the tasks and the store, not on which codes were loaded together.
//! Relies on: the store for bytes, the arena for ids and analysis.
//! Not here: reading accounts (`prefetch`, `executor`).

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

/// Maximum number of codes per store call: two groups of eight Keccak lanes, sorted by length.
const BATCH: usize = 16;

/// Maximum bytes of code per block that are loaded before a task asks for them. The codes of a mainnet block take a few
/// MiB.
pub const AHEAD_BYTES_MAX: usize = 16 << 20;

/// How likely a listed account's code is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The list or a transaction indicates that a task runs or reads it.
    Expected,
    /// The account is listed, but nothing indicates that its code is needed.
    Other,
}

/// Codes of listed accounts that were not in the arena when their accounts were read.
#[derive(Debug, Default)]
struct Missing {
    classes: HashMap<CodeId, Class, RandomState>,
    expected: Vec<CodeId>,
    others: Vec<CodeId>,
    /// Bytes of code that were loaded before a task asked for them.
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

/// Loads the codes of one block's parent state. It can be shared by threads: a code that two threads need at the same
/// time may be read by both, but is stored and counted once.
pub struct CodeLoader<'b> {
    store: &'b dyn StateStore,
    codes: &'b CodeArena,
    missing: Mutex<Missing>,
    /// Whether a store call loads further codes besides the one that a task needs.
    in_batches: bool,
    stopped: AtomicBool,
}

impl core::fmt::Debug for CodeLoader<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CodeLoader").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl<'b> CodeLoader<'b> {
    /// A loader without listed accounts; [`Self::note`] adds them.
    pub fn new(store: &'b dyn StateStore, codes: &'b CodeArena) -> Self {
        // A batch saves nothing where a store call is free and codes are not hashed, or one after another.
        let is_hashed = Width::detect() == Width::Eight && !store.codes_are_checked();
        let in_batches = !store.is_resident() || is_hashed;
        Self { store, codes, missing: Mutex::default(), in_batches, stopped: AtomicBool::new(false) }
    }

    /// The store of the parent state.
    pub fn store(&self) -> &'b dyn StateStore {
        self.store
    }

    /// The arena that holds the codes.
    pub fn codes(&self) -> &'b CodeArena {
        self.codes
    }

    fn lock(&self) -> MutexGuard<'_, Missing> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers listed accounts after they were read, each with the id of its code. Loads no code.
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
            // A code shared by several accounts is expected if it is expected for one of them.
            let known = missing.classes.get(&code);
            if known.is_none_or(|known| *known == Class::Other && class == Class::Expected) {
                missing.classes.insert(code, class);
                missing.of_class(class).push(code);
            }
        }
    }

    /// Loads the bytes of a code into the arena, for a task that runs or reads it.
    ///
    /// # Errors
    /// The store fails, lacks this code, or returns bytes with another hash.
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

    /// Loads the next batch of expected codes before a task asks for them. Returns false where none are left, where
    /// [`AHEAD_BYTES_MAX`] is reached, or after [`Self::stop`]. Errors are discarded: a task that needs such a code
    /// calls the store again.
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

    /// Stops [`Self::load_expected`], as all tasks are done.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Fills a batch with codes of a class that are not loaded yet, and removes them from `missing`.
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

    /// Loads the codes of a batch that the store has. Counts the bytes of all but `needed` towards [`AHEAD_BYTES_MAX`].
    fn load_ahead(&self, batch: &[CodeId], needed: Option<CodeId>) {
        let hashes: SmallVec<[B256; BATCH]> = batch.iter().map(|id| self.codes.hash(*id)).collect();
        let mut found: SmallVec<[Option<Bytes>; BATCH]> = batch.iter().map(|_| None).collect();
        if self.store.codes(&hashes, &mut found).is_err() {
            return;
        }
        let found: Vec<(CodeId, Bytes)> = batch.iter().zip(found).filter_map(|(id, code)| Some((*id, code?))).collect();
        let ahead = found.iter().filter(|(id, _)| Some(*id) != needed).map(|(_, code)| code.len()).sum::<usize>();
        self.lock().ahead_bytes += ahead;
        // A code with another hash is not stored. The task that needs it gets the error from its own call of the store.
        let _ = provide(self.store, &found, self.codes);
    }
}

/// Reads one code from the store into the arena.
///
/// # Errors
/// The store fails, lacks this code, or returns bytes with another hash.
pub(in crate::exec) fn load_one(store: &dyn StateStore, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
    let hash = codes.hash(id);
    let mut out = [None];
    store.codes(&[hash], &mut out)?;
    let [code] = out;
    Ok(provide(store, &[(id, code.ok_or(StoreError::MissingCode(hash))?)], codes)?)
}

/// Stores codes that `store` returned in the arena. Hashes them first, unless the store has done so.
///
/// # Errors
/// [`StoreError::Corrupt`] for the first code whose bytes have another hash.
fn provide(store: &dyn StateStore, found: &[(CodeId, Bytes)], codes: &CodeArena) -> Result<(), StoreError> {
    if !store.codes_are_checked() {
        return codes.provide_checked(found);
    }
    found.iter().for_each(|(id, bytes)| codes.provide(*id, bytes));
    Ok(())
}

/// Predicts from a block access list and the block's transactions which accounts' codes tasks will need.
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
    /// The expectation for a list, whose addresses and slot keys are in `id_map`.
    pub fn new(bal: &'b BalColumns, id_map: &IdMap, transactions: &Transactions) -> Self {
        let mut targets = AccessSet::with_room_for(bal.account_count());
        let called = transactions.rows().iter().filter_map(|tx| tx.to.as_ref()).chain(&SYSTEM_CONTRACTS);
        for target in called.filter_map(|address| id_map.account(address)) {
            targets.insert(target);
        }
        Self { bal, targets }
    }

    /// Whether the account is a system contract or the target of a transaction, or has slots or nonce changes in the
    /// list.
    pub fn is_expected(&self, id: AccountId) -> bool {
        self.targets.contains(id) || self.bal.slots(id).len() > 0 || !self.bal.nonces().indices(id).is_empty()
    }
}

#[cfg(test)]
mod tests;
