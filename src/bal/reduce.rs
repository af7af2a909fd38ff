//! Reduces a list to the state changes of its block: the last value of each changed field.
//!
//! In: a list and its existence log, the listed accounts in the parent state ([`ListedChanges`]). Out:
//! [`StateChanges`], the input of the state trie update and part of a block's outcome.
//! Spec: EIP-7928; the value at a field's highest index is its post-state value. EIP-161: an account left without
//! nonce, balance and code is deleted. EIP-8246: a destroyed account keeps its balance and so remains.
//! Relies on: indices strictly ascend within a change list, so the highest one is in its last row.
//! Not here: verification of the list, hashing of keys, and tries.
//!
//! Each task reduces a contiguous range of accounts and writes its own part of the output columns. The result does not
//! depend on the number of threads.

use super::{BalColumns, ExistenceColumns, exists_before};
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::keccak256;
use crate::arena::store::{ParentAccount, StateStore, StoreError};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, SlotId};
use alloy_primitives::{Address, B256, U256};
use core::ops::Range;
use rayon::prelude::*;

/// Minimum number of accounts and slots for which parallel reduction is faster.
const PARALLEL_ITEMS_MIN: usize = 8_192;

/// Above every index of a block: values before it are those after the block.
const END: BlockAccessIndex = BlockAccessIndex(u32::MAX);

/// What the state changes of a block are computed from.
#[derive(Clone, Copy, Debug)]
pub struct ListedChanges<'a> {
    /// The list.
    pub bal: &'a BalColumns,
    /// Its existence log; empty from Cancun on.
    pub existence_log: &'a ExistenceColumns,
    /// The listed accounts in the parent state, one row per account of the list.
    pub parents: &'a Column<AccountId, ParentAccount>,
    /// keccak256 of each code row of the list ([`code_hashes`]).
    pub code_hashes: &'a [B256],
    /// Whether SELFDESTRUCT clears storage: true before Cancun (EIP-6780).
    pub clears_storage: bool,
}

impl ListedChanges<'_> {
    /// Status of an account after the block.
    fn status(&self, account: AccountId) -> AccountStatus {
        match exists_before(self.bal, self.existence_log, &self.parents[account], account, END) {
            false => AccountStatus::Deleted,
            true if self.clears_storage && self.bal.storage_cleared_before(account, END).is_some() => {
                AccountStatus::StorageCleared
            }
            true => AccountStatus::Kept,
        }
    }

    /// Zeroes the values of changed slots of `account` that were last written before its storage was cleared: they are
    /// zero after the block, although their last row in the list is not.
    fn clear_older_slots(&self, account: AccountId, values: &mut [U256]) {
        let Some(cleared) = self.bal.storage_cleared_before(account, END) else { return };
        let last_rows = self.bal.slots(account).filter_map(|slot| self.bal.storage.row_last(slot));
        for (value, row) in values.iter_mut().zip(last_rows) {
            if self.bal.storage.index(row) < cleared {
                *value = U256::ZERO;
            }
        }
    }

    /// Adds accounts that were created or removed without a change of a field or slot: they occur only in the existence
    /// log.
    fn push_unlisted(&self, changes: &mut StateChanges) {
        let events = self.existence_log.existence().chunk_by(|a, b| a.0 == b.0).map(|events| events[0].0);
        for account in events.filter(|account| !self.bal.is_changed(*account)) {
            match (self.parents[account].exists, self.status(account)) {
                (false, AccountStatus::Deleted) | (true, AccountStatus::Kept) => {}
                (_, status) => changes.push_account(self.bal.addresses[account], status, None, None, None),
            }
        }
    }
}

/// Reduces a list, on the threads of the current rayon pool. Accounts and the slots of each account are in the order of
/// the list; accounts that occur only in the existence log follow.
///
/// # Panics
/// When the list has more accounts or code rows than `parents` or `code_hashes` has rows.
pub fn reduce(listed: &ListedChanges<'_>) -> StateChanges {
    let bal = listed.bal;
    let threads = if bal.item_count() < PARALLEL_ITEMS_MIN { 1 } else { rayon::current_num_threads() };
    let mut changes = reduce_in_parts(listed, if threads == 1 { 1 } else { 4 * threads });
    if !bal.codes.is_empty() {
        let rows = bal.addresses.ids().filter_map(|account| bal.codes.row_last(account));
        changes.codes = rows.map(|row| (listed.code_hashes[row], bal.code_shared(row))).collect();
    }
    listed.push_unlisted(&mut changes);
    changes
}

/// The listed accounts and slots in the parent state, by the ids of a list.
#[derive(Clone, Debug, Default)]
pub struct ListedParents {
    /// The accounts.
    pub accounts: Column<AccountId, ParentAccount>,
    /// The values of the slots. Zero also where execution did not need the value: in an account that the block created,
    /// or whose storage it had cleared.
    pub slots: Column<SlotId, U256>,
}

impl ListedParents {
    /// The values before the block of everything that `changes` holds, which were reduced from `bal`: the accounts of
    /// `changes` in the same order, with the fields and slots that are changed there
    /// (`StateChanges::push_before`); and these accounts with all fields.
    ///
    /// # Panics
    /// When the ids or `changes` are those of another list.
    pub fn before(&self, bal: &BalColumns, changes: &StateChanges) -> (StateChanges, Vec<ParentAccount>) {
        let mut before = StateChanges::default();
        before.reserve(changes.len(), changes.slot_keys.len());
        let mut accounts = Vec::with_capacity(changes.len());
        let mut listed = bal.addresses.ids();
        for (row, address) in changes.addresses.iter().enumerate() {
            // Changed accounts are in list order; those that only the existence log has follow.
            let account = listed.by_ref().find(|account| bal.addresses[*account] == *address);
            let account = account.or_else(|| bal.find(address)).expect("changes of the list's accounts");
            let changed = bal.slots(account).filter(|slot| !bal.is_read_only(*slot));
            changes.push_before(row, &self.accounts[account], changed.map(|slot| self.slots[slot]), &mut before);
            accounts.push(self.accounts[account]);
        }
        (before, accounts)
    }
}

impl BalColumns {
    /// The state changes according to this list, for a block of Cancun or later. Nothing is executed, and the list is
    /// not verified.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot read the parent accounts.
    pub fn state_changes(&self, store: &dyn StateStore) -> Result<StateChanges, StoreError> {
        let mut parents = vec![ParentAccount::default(); self.account_count()];
        store.accounts(self.addresses.as_slice(), &mut parents)?;
        Ok(self.changes_on(parents))
    }

    /// [`Self::state_changes`] without the parent accounts, as if none existed: their statuses are not known.
    pub(crate) fn last_values(&self) -> StateChanges {
        self.changes_on(vec![ParentAccount::default(); self.account_count()])
    }

    fn changes_on(&self, parents: Vec<ParentAccount>) -> StateChanges {
        reduce(&ListedChanges {
            bal: self,
            existence_log: &ExistenceColumns::default(),
            parents: &parents.into(),
            code_hashes: &code_hashes(self),
            clears_storage: false,
        })
    }
}

/// Counts the rows of each part, then fills all parts in parallel, each in its own range of the
/// output.
fn reduce_in_parts(listed: &ListedChanges<'_>, parts: usize) -> StateChanges {
    let ranges = account_ranges(listed.bal, parts);
    let counts: Vec<Count> = ranges.par_iter().map(|accounts| Count::of(listed.bal, accounts.clone())).collect();
    let mut changes = blank_rows(counts.iter().fold(Count::default(), |sum, count| Count {
        accounts: sum.accounts + count.accounts,
        slots: sum.slots + count.slots,
    }));
    let mut rest = Part::all(&mut changes);
    let tasks: Vec<_> = ranges.into_iter().zip(counts).map(|(accounts, count)| (accounts, rest.take(count))).collect();
    tasks.into_par_iter().for_each(|(accounts, part)| part.fill(listed, accounts));
    changes
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

/// Columns with this many rows, whose content [`Part::fill`] replaces.
fn blank_rows(count: Count) -> StateChanges {
    StateChanges {
        addresses: vec![Address::ZERO; count.accounts],
        statuses: vec![AccountStatus::Kept; count.accounts],
        nonces: vec![None; count.accounts],
        balances: vec![None; count.accounts],
        code_hashes: vec![None; count.accounts],
        slot_starts: vec![0; count.accounts + 1],
        slot_keys: vec![U256::ZERO; count.slots],
        slot_values: vec![U256::ZERO; count.slots],
        codes: Vec::new(),
    }
}

/// The output rows of one range of accounts.
struct Part<'a> {
    /// Position of the part's first slot among all changed slots.
    first_slot: usize,
    addresses: &'a mut [Address],
    statuses: &'a mut [AccountStatus],
    nonces: &'a mut [Option<u64>],
    balances: &'a mut [Option<U256>],
    code_hashes: &'a mut [Option<B256>],
    /// Per account, one past its last slot.
    slot_ends: &'a mut [u32],
    slot_keys: &'a mut [U256],
    slot_values: &'a mut [U256],
}

impl<'a> Part<'a> {
    /// All rows as one part, to be split.
    fn all(changes: &'a mut StateChanges) -> Self {
        Self {
            first_slot: 0,
            addresses: &mut changes.addresses,
            statuses: &mut changes.statuses,
            nonces: &mut changes.nonces,
            balances: &mut changes.balances,
            code_hashes: &mut changes.code_hashes,
            slot_ends: &mut changes.slot_starts[1..],
            slot_keys: &mut changes.slot_keys,
            slot_values: &mut changes.slot_values,
        }
    }

    /// Splits off a part with the first `count` rows.
    fn take(&mut self, count: Count) -> Self {
        let Count { accounts, slots } = count;
        let first_slot = self.first_slot;
        self.first_slot += slots;
        Self {
            first_slot,
            addresses: take_first(&mut self.addresses, accounts),
            statuses: take_first(&mut self.statuses, accounts),
            nonces: take_first(&mut self.nonces, accounts),
            balances: take_first(&mut self.balances, accounts),
            code_hashes: take_first(&mut self.code_hashes, accounts),
            slot_ends: take_first(&mut self.slot_ends, accounts),
            slot_keys: take_first(&mut self.slot_keys, slots),
            slot_values: take_first(&mut self.slot_values, slots),
        }
    }

    fn fill(self, listed: &ListedChanges<'_>, accounts: Range<usize>) {
        let bal = listed.bal;
        let starts = bal.storage.offsets.starts();
        let (mut row, mut end) = (0, 0);
        for account in accounts.map(AccountId::new) {
            let first = end;
            for slot in bal.slot_offsets.range(account) {
                // Whether a slot is changed is unpredictable: always write, and advance only if it
                // is changed.
                let is_changed = starts[slot] != starts[slot + 1];
                let last = starts[slot + 1].saturating_sub(1) as usize;
                if let (Some(value), Some(out)) = (bal.storage.values.get(last), self.slot_values.get_mut(end)) {
                    *out = *value;
                    self.slot_keys[end] = bal.slot_keys[SlotId::new(slot)];
                }
                end += usize::from(is_changed);
            }
            if end == first && !has_changed_field(bal, account) {
                continue;
            }
            let status = listed.status(account);
            if status == AccountStatus::StorageCleared {
                listed.clear_older_slots(account, &mut self.slot_values[first..end]);
            }
            self.addresses[row] = bal.addresses[account];
            self.statuses[row] = status;
            self.nonces[row] = bal.nonce_post(account);
            self.balances[row] = bal.balance_post(account);
            self.code_hashes[row] = bal.codes.row_last(account).map(|row| listed.code_hashes[row]);
            self.slot_ends[row] = (self.first_slot + end) as u32;
            row += 1;
        }
    }
}

/// Splits off the first `count` rows of a column, at most all of them.
fn take_first<'a, T>(column: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    column.split_off_mut(..count).unwrap_or_default()
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
