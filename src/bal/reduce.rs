//! Reduces a list to its post-state: the last value of each changed field.
//!
//! In: `BalColumns`. Out: [`Reduced`], columns over the changed accounts and slots, the input of
//! the state trie update.
//! Spec: EIP-7928; the value at a field's highest index is its post-state value.
//! Relies on: indices strictly ascend within a change list, so the highest one is in its last row.
//! Not here: parent values, hashing of keys, and tries.
//!
//! Each task reduces a contiguous range of accounts and writes its own part of the output. The
//! result does not depend on the number of threads.

use super::BalColumns;
use crate::arena::keccak::keccak256;
use crate::arena::{AccountId, Id, SlotId};
use alloy_primitives::{B256, U256};
use core::ops::Range;
use rayon::prelude::*;

/// Minimum number of accounts and slots for which parallel reduction is faster.
const PARALLEL_ITEMS_MIN: usize = 8_192;

/// Post-state values of all fields that the list changes. Positions number the changed accounts,
/// and the changed slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduced {
    /// Accounts with a change of any field or slot; ascending.
    pub accounts: Vec<AccountId>,
    /// Per changed account, the balance in wei; `None`: the parent's.
    pub balances: Vec<Option<U256>>,
    /// Per changed account, the nonce; `None`: the parent's.
    pub nonces: Vec<Option<u64>>,
    /// Per changed account, the row of its code in [`BalColumns::codes`]; `None`: the parent's.
    pub code_rows: Vec<Option<u32>>,
    /// Per changed account, one past its last changed slot.
    slot_ends: Vec<u32>,
    /// Changed slots, ascending.
    pub slots: Vec<SlotId>,
    /// Per changed slot, its value; zero deletes the slot.
    pub slot_values: Vec<U256>,
    /// keccak256 of every code row of the list, not only of each account's last one.
    pub code_hashes: Vec<B256>,
}

impl Reduced {
    /// Positions in `slots` and `slot_values` of the changed slots of the changed account at `position`.
    pub fn slot_range(&self, position: usize) -> Range<usize> {
        let start = if position == 0 { 0 } else { self.slot_ends[position - 1] };
        start as usize..self.slot_ends[position] as usize
    }

    /// Code hash of the changed account at `position`; `None`: the parent's.
    pub fn code_hash(&self, position: usize) -> Option<B256> {
        self.code_rows[position].map(|row| self.code_hashes[row as usize])
    }

    /// Resizes the columns to `count`. The content of rows is unspecified until [`Part::fill`]
    /// writes them.
    fn resize(&mut self, count: Count) {
        self.accounts.resize(count.accounts, AccountId::default());
        self.balances.resize(count.accounts, None);
        self.nonces.resize(count.accounts, None);
        self.code_rows.resize(count.accounts, None);
        self.slot_ends.resize(count.accounts, 0);
        self.slots.resize(count.slots, SlotId::default());
        self.slot_values.resize(count.slots, U256::ZERO);
    }

    /// All rows as one part, to be split.
    fn as_part(&mut self) -> Part<'_> {
        Part {
            first_slot: 0,
            accounts: &mut self.accounts,
            balances: &mut self.balances,
            nonces: &mut self.nonces,
            code_rows: &mut self.code_rows,
            slot_ends: &mut self.slot_ends,
            slots: &mut self.slots,
            slot_values: &mut self.slot_values,
        }
    }
}

/// Reduces a list, on the threads of the current rayon pool.
pub fn reduce(bal: &BalColumns) -> Reduced {
    reduce_with_hashes(bal, code_hashes(bal))
}

/// Like [`reduce`], with the result of [`code_hashes`] passed in.
pub fn reduce_with_hashes(bal: &BalColumns, code_hashes: Vec<B256>) -> Reduced {
    let mut reduced = Reduced::default();
    reduce_into(&mut reduced, bal, code_hashes);
    reduced
}

/// Like [`reduce_with_hashes`], into existing columns, whose memory is reused.
pub fn reduce_into(reduced: &mut Reduced, bal: &BalColumns, code_hashes: Vec<B256>) {
    let threads = if bal.item_count() < PARALLEL_ITEMS_MIN { 1 } else { rayon::current_num_threads() };
    let parts = if threads == 1 { 1 } else { 4 * threads };
    reduce_in_parts(reduced, bal, parts);
    reduced.code_hashes = code_hashes;
}

/// Counts the rows of each part, then fills all parts in parallel, each in its own range of the
/// output.
fn reduce_in_parts(reduced: &mut Reduced, bal: &BalColumns, parts: usize) {
    let ranges = account_ranges(bal, parts);
    let counts: Vec<Count> = ranges.par_iter().map(|accounts| Count::of(bal, accounts.clone())).collect();
    reduced.resize(counts.iter().fold(Count::default(), |sum, count| Count {
        accounts: sum.accounts + count.accounts,
        slots: sum.slots + count.slots,
    }));
    let mut rest = reduced.as_part();
    let mut tasks = Vec::with_capacity(ranges.len());
    for (accounts, count) in ranges.into_iter().zip(counts) {
        let (part, after) = rest.split(count);
        tasks.push((accounts, part));
        rest = after;
    }
    tasks.into_par_iter().for_each(|(accounts, part)| part.fill(bal, accounts));
}

/// Number of changed accounts and of changed slots in a range of accounts.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    accounts: usize,
    slots: usize,
}

impl Count {
    fn of(bal: &BalColumns, accounts: Range<usize>) -> Self {
        let mut count = Self::default();
        let rows = bal.storage.offsets.starts();
        for account in accounts.map(AccountId::new) {
            let slots = bal.slot_offsets.range(account);
            let starts = &rows[slots.start..=slots.end];
            let changed = starts.iter().zip(&starts[1..]).filter(|(start, end)| start != end).count();
            count.slots += changed;
            count.accounts += usize::from(changed > 0 || has_changed_field(bal, account));
        }
        count
    }
}

fn has_changed_field(bal: &BalColumns, account: AccountId) -> bool {
    !(bal.balances.rows(account).is_empty()
        && bal.nonces.rows(account).is_empty()
        && bal.codes.rows(account).is_empty())
}

/// The output rows of one range of accounts.
struct Part<'a> {
    /// Position of the part's first slot among all changed slots.
    first_slot: u32,
    accounts: &'a mut [AccountId],
    balances: &'a mut [Option<U256>],
    nonces: &'a mut [Option<u64>],
    code_rows: &'a mut [Option<u32>],
    slot_ends: &'a mut [u32],
    slots: &'a mut [SlotId],
    slot_values: &'a mut [U256],
}

impl Part<'_> {
    fn split(self, count: Count) -> (Self, Self) {
        let (accounts, accounts_after) = self.accounts.split_at_mut(count.accounts);
        let (balances, balances_after) = self.balances.split_at_mut(count.accounts);
        let (nonces, nonces_after) = self.nonces.split_at_mut(count.accounts);
        let (code_rows, code_rows_after) = self.code_rows.split_at_mut(count.accounts);
        let (slot_ends, slot_ends_after) = self.slot_ends.split_at_mut(count.accounts);
        let (slots, slots_after) = self.slots.split_at_mut(count.slots);
        let (slot_values, slot_values_after) = self.slot_values.split_at_mut(count.slots);
        let part =
            Part { first_slot: self.first_slot, accounts, balances, nonces, code_rows, slot_ends, slots, slot_values };
        let after = Part {
            first_slot: self.first_slot + count.slots as u32,
            accounts: accounts_after,
            balances: balances_after,
            nonces: nonces_after,
            code_rows: code_rows_after,
            slot_ends: slot_ends_after,
            slots: slots_after,
            slot_values: slot_values_after,
        };
        (part, after)
    }

    fn fill(self, bal: &BalColumns, accounts: Range<usize>) {
        let (mut position, mut at) = (0, 0);
        let rows = bal.storage.offsets.starts();
        for account in accounts.map(AccountId::new) {
            let slots_before = at;
            for slot in bal.slot_offsets.range(account) {
                // Whether a slot is changed is unpredictable: always write, and advance only if it
                // is changed.
                let is_changed = rows[slot] != rows[slot + 1];
                let last = rows[slot + 1].saturating_sub(1) as usize;
                if let (Some(value), Some(out)) = (bal.storage.values.get(last), self.slot_values.get_mut(at)) {
                    *out = *value;
                    self.slots[at] = SlotId::new(slot);
                }
                at += usize::from(is_changed);
            }
            if at > slots_before || has_changed_field(bal, account) {
                self.accounts[position] = account;
                self.balances[position] = bal.balance_post(account);
                self.nonces[position] = bal.nonce_post(account);
                self.code_rows[position] = bal.codes.row_last(account).map(|row| row as u32);
                self.slot_ends[position] = self.first_slot + at as u32;
                position += 1;
            }
        }
    }
}

/// keccak256 of every code row of the list, on the threads of the current rayon pool.
pub fn code_hashes(bal: &BalColumns) -> Vec<B256> {
    (0..bal.codes.len()).into_par_iter().map(|row| keccak256(bal.code_bytes(row))).collect()
}

/// Splits the accounts into at most `parts` contiguous ranges with about equal numbers of accounts
/// and slots.
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
