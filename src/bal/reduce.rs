//! Reduce: the value each changed field holds once the block is over.
//!
//! In: frozen `BalColumns`. Out: [`Reduced`], columns over the changed accounts and slots, ready for the state trie.
//! Spec: EIP-7928; the highest index per field is the post-state.
//! Relies on: indices strictly ascend inside a change list, so the highest one is the list's last row.
//! Not here: parent values (`post_state`), key hashing and tries.
//!
//! Accounts are dealt out in contiguous ranges and the parts are joined in order: the result does not depend on the
//! number of threads.

use super::BalColumns;
use crate::arena::{AccountId, Id, SlotId};
use alloy_primitives::{B256, U256, keccak256};
use core::ops::Range;
use rayon::prelude::*;

/// Below this many accounts and slots a second thread costs more than it saves.
const PARALLEL_ITEMS_MIN: usize = 8_192;

/// Post-block values of everything that the list changes. Positions count changed accounts and changed slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduced {
    /// Accounts with any change, their slots' included; ascending.
    pub accounts: Vec<AccountId>,
    /// Per changed account, the balance in wei; none: the parent's.
    pub balances: Vec<Option<U256>>,
    /// Per changed account, the nonce; none: the parent's.
    pub nonces: Vec<Option<u64>>,
    /// Per changed account, the row of its code in [`BalColumns::codes`]; none: the parent's.
    pub code_rows: Vec<Option<u32>>,
    /// Per changed account, one past its last changed slot.
    slot_ends: Vec<u32>,
    /// Changed slots, ascending.
    pub slots: Vec<SlotId>,
    /// Per changed slot, its value; zero included, which deletes it.
    pub slot_values: Vec<U256>,
    /// keccak256 of every code row of the list (not only of the last ones).
    pub code_hashes: Vec<B256>,
}

impl Reduced {
    /// Positions in `slots` and `slot_values` of the changed slots of the changed account at `position`.
    pub fn slot_range(&self, position: usize) -> Range<usize> {
        let start = if position == 0 { 0 } else { self.slot_ends[position - 1] };
        start as usize..self.slot_ends[position] as usize
    }

    /// Code hash of the changed account at `position`; none: the parent's.
    pub fn code_hash(&self, position: usize) -> Option<B256> {
        self.code_rows[position].map(|row| self.code_hashes[row as usize])
    }

    /// Appends the changes of a range of accounts.
    fn push_range(&mut self, bal: &BalColumns, accounts: Range<usize>) {
        for account in accounts.map(AccountId::new) {
            let slots_before = self.slots.len();
            for slot in bal.slots(account) {
                if let Some(value) = bal.storage.last(slot) {
                    self.slots.push(slot);
                    self.slot_values.push(*value);
                }
            }
            let balance = bal.balance_post(account);
            let nonce = bal.nonce_post(account);
            let code_row = bal.codes.row_last(account);
            let is_changed =
                self.slots.len() > slots_before || balance.is_some() || nonce.is_some() || code_row.is_some();
            if is_changed {
                self.accounts.push(account);
                self.balances.push(balance);
                self.nonces.push(nonce);
                self.code_rows.push(code_row.map(|row| row as u32));
                self.slot_ends.push(self.slots.len() as u32);
            }
        }
    }

    /// Appends a later range's result.
    fn append(&mut self, part: &Self) {
        let slots_before = self.slots.len() as u32;
        self.accounts.extend_from_slice(&part.accounts);
        self.balances.extend_from_slice(&part.balances);
        self.nonces.extend_from_slice(&part.nonces);
        self.code_rows.extend_from_slice(&part.code_rows);
        self.slot_ends.extend(part.slot_ends.iter().map(|end| slots_before + end));
        self.slots.extend_from_slice(&part.slots);
        self.slot_values.extend_from_slice(&part.slot_values);
    }
}

/// Reduces a list, on the threads of the current rayon pool.
pub fn reduce(bal: &BalColumns) -> Reduced {
    reduce_with_hashes(bal, code_hashes(bal))
}

/// Like [`reduce`], with the code hashes computed beforehand by [`code_hashes`].
pub fn reduce_with_hashes(bal: &BalColumns, code_hashes: Vec<B256>) -> Reduced {
    let mut reduced = Reduced { code_hashes, ..Reduced::default() };
    if bal.item_count() < PARALLEL_ITEMS_MIN || rayon::current_num_threads() == 1 {
        reduced.push_range(bal, 0..bal.account_count());
        return reduced;
    }
    let parts: Vec<Reduced> = account_ranges(bal, 4 * rayon::current_num_threads())
        .into_par_iter()
        .map(|accounts| {
            let mut part = Reduced::default();
            part.push_range(bal, accounts);
            part
        })
        .collect();
    for part in &parts {
        reduced.append(part);
    }
    reduced
}

/// keccak256 of every code row of the list, on the threads of the current rayon pool.
pub fn code_hashes(bal: &BalColumns) -> Vec<B256> {
    (0..bal.codes.len()).into_par_iter().map(|row| keccak256(bal.code_bytes(row))).collect()
}

/// Splits the accounts into at most `parts` contiguous ranges of about equally many accounts and slots.
fn account_ranges(bal: &BalColumns, parts: usize) -> Vec<Range<usize>> {
    let share = bal.item_count().div_ceil(parts).max(1);
    let mut ranges = Vec::with_capacity(parts);
    let (mut start, mut items) = (0, 0);
    for account in 0..bal.account_count() {
        items += 1 + bal.slot_offsets.range(AccountId::new(account)).len();
        if items >= share {
            ranges.push(start..account + 1);
            (start, items) = (account + 1, 0);
        }
    }
    if start < bal.account_count() {
        ranges.push(start..bal.account_count());
    }
    ranges
}
