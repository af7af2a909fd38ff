//! A state in hash maps with its tries, and the values before its last blocks.
//!
//! In: changes of blocks. Out: the state after them, or before them.
//! Relies on: `chain` for the number of blocks that can be reverted, and for the headers.
//! Not here: the head.

use super::chain::{forgotten_hash, keep_last};
use super::{DbError, Link};
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::store::{MemoryStore, StateStore};
use crate::exec::wire::Header;
use crate::trie::StateTries;
use alloy_primitives::B256;
use rayon::prelude::*;
use std::collections::VecDeque;

/// The state at the head.
#[derive(Debug)]
pub(super) struct Memory {
    store: MemoryStore,
    /// The tries of `store`; on top of it at most one executed block, uncommitted.
    tries: StateTries,
    /// The values before each of the last blocks, the head's last.
    befores: VecDeque<StateChanges>,
}

impl Memory {
    /// The state after block `number` with the hash `hash`.
    pub(super) fn new(mut store: MemoryStore, tries: StateTries, number: u64, hash: B256) -> Self {
        store.insert_block_hash(number, hash);
        Self { store, tries, befores: VecDeque::new() }
    }

    pub(super) fn store(&self) -> &MemoryStore {
        &self.store
    }

    pub(super) fn parts(&mut self) -> (&dyn StateStore, &mut StateTries) {
        (&self.store, &mut self.tries)
    }

    /// Undoes the update of an executed block.
    pub(super) fn rollback(&mut self) {
        self.tries.rollback();
    }

    /// Keeps the values before the last `blocks` blocks.
    pub(super) fn trim(&mut self, blocks: usize) {
        keep_last(&mut self.befores, blocks);
    }

    /// Commits the next blocks, whose update the tries have; `changes`, in order, have the effect of all of them. The last
    /// `reverts` blocks, these included, can then be reverted. Several blocks are committed on all threads of the current
    /// rayon pool.
    pub(super) fn commit(&mut self, links: &[Link<'_>], changes: &[&StateChanges], reverts: usize) {
        if reverts > 0 {
            match links {
                // To hand a single block to another thread takes longer than to copy it.
                [link] => self.befores.push_back(with_storage(link.before, &self.store)),
                links => {
                    let befores = links.par_iter().map(|link| with_storage(link.before, &self.store));
                    self.befores.extend(befores.collect::<Vec<_>>());
                }
            }
        }
        self.trim(reverts);
        self.tries.commit();
        StateChanges::apply_all(changes, &mut self.store);
        for Link { head, .. } in links {
            self.store.insert_block_hash(head.header.number, head.hash);
            if let Some(number) = forgotten_hash(head.header.number, reverts) {
                self.store.remove_block_hash(number);
            }
        }
    }

    /// Undoes the last block; `parent` is the header of the block before.
    pub(super) fn revert(&mut self, parent: &Header) -> Result<(), DbError> {
        let Some(before) = self.befores.back() else { return Ok(()) };
        let (number, expected) = (parent.number, parent.state_root);
        let found = self.tries.update(before, &self.store)?;
        if found != expected {
            self.tries.rollback();
            return Err(DbError::StateRoot { number, expected, found });
        }
        self.tries.commit();
        before.apply_to(&mut self.store);
        self.befores.pop_back();
        self.store.remove_block_hash(number + 1);
        Ok(())
    }
}

/// Adds to the values before a block the whole storage of the accounts from which the block removed it. `store` is the
/// state before the block.
pub(super) fn with_storage(before: &StateChanges, store: &MemoryStore) -> StateChanges {
    if !before.statuses.contains(&AccountStatus::StorageCleared) {
        return before.clone();
    }
    let mut whole = StateChanges::default();
    for (row, address) in before.addresses.iter().enumerate() {
        let (nonce, balance, code_hash) = (before.nonces[row], before.balances[row], before.code_hashes[row]);
        whole.push_account(*address, before.statuses[row], nonce, balance, code_hash);
        before.slots(row).for_each(|(key, value)| whole.push_slot(key, value));
        if before.statuses[row] == AccountStatus::StorageCleared
            && let Some(account) = store.account(address)
        {
            account.storage.iter().for_each(|(key, value)| whole.push_slot(*key, *value));
        }
    }
    whole
}
