//! Builds a list from the accesses and changes of an execution.
//!
//! In: accesses and changes in any order, by ids in order of first access. Out: sorted columns and
//! their RLP.
//! Spec: EIP-7928, recording semantics; `storage_reads` are the accessed slots without a change at
//! any index.
//! Relies on: the caller records a change only if the value at the end of an index differs from
//! that at its start.
//! Not here: which accesses must be recorded (`exec`); the assignment of ids.
//!
//! Recording only appends to vectors and sets bits. Addresses and keys are read once, in
//! [`Recorder::finish`].

use super::{AccessSet, BalColumns, Changes, CodeRange, encode};
use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, Offsets, SlotId};
use alloy_primitives::{Address, Bytes, U256};

/// Addresses and slot keys of the ids passed to a [`Recorder`].
#[derive(Clone, Copy, Debug)]
pub struct RecordedKeys<'a> {
    /// Address of each account.
    pub addresses: &'a Column<AccountId, Address>,
    /// Key of each slot.
    pub slot_keys: &'a Column<SlotId, U256>,
    /// Account of each slot.
    pub slot_accounts: &'a Column<SlotId, AccountId>,
}

/// The list built by [`Recorder::finish`].
#[derive(Clone, Debug)]
pub struct RecordedList {
    /// Canonical RLP.
    pub bytes: Bytes,
    /// The same list as columns; its ids are ranks by address and key.
    pub columns: BalColumns,
    /// For each account of the list, the id with which it was recorded.
    pub account_ids: Column<AccountId, AccountId>,
    /// For each slot of the list, the id with which it was recorded.
    pub slot_ids: Column<SlotId, SlotId>,
}

/// Changes of one field, in order of recording.
#[derive(Clone, Debug)]
struct Rows<P, V> {
    parents: Vec<P>,
    indices: Vec<BlockAccessIndex>,
    values: Vec<V>,
}

impl<P, V> Default for Rows<P, V> {
    fn default() -> Self {
        Self { parents: Vec::new(), indices: Vec::new(), values: Vec::new() }
    }
}

/// Collects accesses and changes of a block, or those of one worker.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    accounts: AccessSet<AccountId>,
    slots: AccessSet<SlotId>,
    storage: Rows<SlotId, U256>,
    balances: Rows<AccountId, U256>,
    nonces: Rows<AccountId, u64>,
    codes: Rows<AccountId, CodeRange>,
    code_bytes: Vec<u8>,
}

impl<P, V> HeapBytes for Rows<P, V> {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.parents, &self.indices, &self.values])
    }
}

impl HeapBytes for Recorder {
    fn heap_bytes(&self) -> usize {
        let Self { accounts, slots, storage, balances, nonces, codes, code_bytes } = self;
        sum_heap_bytes([accounts, slots, storage, balances, nonces, codes, code_bytes])
    }
}

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an access to an account.
    #[inline]
    pub fn touch_account(&mut self, account: AccountId) {
        self.accounts.insert(account);
    }

    /// Records an access to a slot; [`Self::finish`] also lists its account.
    #[inline]
    pub fn touch_slot(&mut self, slot: SlotId) {
        self.slots.insert(slot);
    }

    /// Records all accesses of a worker.
    pub fn touch_all(&mut self, accounts: &AccessSet<AccountId>, slots: &AccessSet<SlotId>) {
        self.accounts.union_with(accounts);
        self.slots.union_with(slots);
    }

    /// Records a slot's value at the end of `index`, if it differs from the one at its start. If
    /// there are several calls for a slot and an index, the last one counts; the same holds for the
    /// other fields.
    #[inline]
    pub fn slot(&mut self, slot: SlotId, index: BlockAccessIndex, new_value: U256) {
        self.slots.insert(slot);
        self.storage.push(slot, index, new_value);
    }

    /// Records a balance in wei at the end of `index`.
    #[inline]
    pub fn balance(&mut self, account: AccountId, index: BlockAccessIndex, post_balance: U256) {
        self.accounts.insert(account);
        self.balances.push(account, index, post_balance);
    }

    /// Records a nonce at the end of `index`.
    #[inline]
    pub fn nonce(&mut self, account: AccountId, index: BlockAccessIndex, new_nonce: u64) {
        self.accounts.insert(account);
        self.nonces.push(account, index, new_nonce);
    }

    /// Records a code at the end of `index`; empty if it was cleared.
    ///
    /// # Panics
    /// When the codes of a block exceed 4 GiB together, which no block gas limit allows.
    pub fn code(&mut self, account: AccountId, index: BlockAccessIndex, new_code: &[u8]) {
        self.accounts.insert(account);
        let start = self.code_bytes.len();
        assert!(u32::try_from(start + new_code.len()).is_ok(), "codes of a block exceed 4 GiB");
        self.code_bytes.extend_from_slice(new_code);
        self.codes.push(account, index, CodeRange { start: start as u32, len: new_code.len() as u32 });
    }

    /// Adds the records of another recorder with the same ids. If both have a change of the same
    /// field at the same index, that of `other` counts.
    pub fn merge(&mut self, other: &Self) {
        self.touch_all(&other.accounts, &other.slots);
        self.storage.extend(&other.storage);
        self.balances.extend(&other.balances);
        self.nonces.extend(&other.nonces);
        for (row, range) in other.codes.values.iter().enumerate() {
            let code = &other.code_bytes[range.start as usize..(range.start + range.len) as usize];
            self.code(other.codes.parents[row], other.codes.indices[row], code);
        }
    }

    /// Accounts accessed so far, without those of which only a slot access was recorded.
    pub fn accounts(&self) -> &AccessSet<AccountId> {
        &self.accounts
    }

    /// Slots accessed so far.
    pub fn slots(&self) -> &AccessSet<SlotId> {
        &self.slots
    }

    /// Number of rows recorded so far.
    pub fn row_count(&self) -> usize {
        self.storage.parents.len() + self.balances.parents.len() + self.nonces.parents.len() + self.codes.parents.len()
    }

    /// Removes all records and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.accounts.clear();
        self.slots.clear();
        self.storage.clear();
        self.balances.clear();
        self.nonces.clear();
        self.codes.clear();
        self.code_bytes.clear();
    }

    /// Builds the sorted list. The records are kept; call [`Self::clear`] before the next block.
    ///
    /// # Panics
    /// When `recorded` lacks a recorded id.
    pub fn finish(&self, recorded: &RecordedKeys<'_>) -> RecordedList {
        let mut columns = BalColumns { blob: Bytes::copy_from_slice(&self.code_bytes), ..BalColumns::default() };
        let (account_ids, account_ranks) = self.rank_accounts(recorded, &mut columns);
        let (slot_ids, slot_ranks) = self.rank_slots(recorded, &account_ranks, &mut columns);
        columns.storage = self.storage.group(&slot_ranks, columns.slot_keys.len());
        columns.balances = self.balances.group(&account_ranks, columns.addresses.len());
        columns.nonces = self.nonces.group(&account_ranks, columns.addresses.len());
        columns.codes = self.codes.group(&account_ranks, columns.addresses.len());
        RecordedList { bytes: encode(&columns), columns, account_ids, slot_ids }
    }

    /// Sorts the accessed accounts by address; returns the recorded id of each rank, and the rank of each recorded id.
    fn rank_accounts(
        &self,
        recorded: &RecordedKeys<'_>,
        columns: &mut BalColumns,
    ) -> (Column<AccountId, AccountId>, Column<AccountId, AccountId>) {
        let mut listed = self.accounts.clone();
        for slot in self.slots.iter() {
            listed.insert(recorded.slot_accounts[slot]);
        }
        let mut order: Vec<AccountId> = listed.iter().collect();
        order.sort_unstable_by_key(|account| recorded.addresses[*account]);
        let mut ranks = Column::default();
        ranks.resize(recorded.addresses.len(), AccountId::default());
        for account in &order {
            ranks[*account] = columns.addresses.push(recorded.addresses[*account]);
        }
        (order.into(), ranks)
    }

    /// Sorts the accessed slots by account and key; returns the recorded id of each rank, and the rank of each recorded
    /// id.
    fn rank_slots(
        &self,
        recorded: &RecordedKeys<'_>,
        account_ranks: &Column<AccountId, AccountId>,
        columns: &mut BalColumns,
    ) -> (Column<SlotId, SlotId>, Column<SlotId, SlotId>) {
        let mut order: Vec<(AccountId, SlotId)> =
            self.slots.iter().map(|slot| (account_ranks[recorded.slot_accounts[slot]], slot)).collect();
        order.sort_unstable_by(|(a, slot_a), (b, slot_b)| {
            a.cmp(b).then_with(|| recorded.slot_keys[*slot_a].cmp(&recorded.slot_keys[*slot_b]))
        });
        let mut ranks = Column::default();
        ranks.resize(recorded.slot_keys.len(), SlotId::default());
        for &(account, slot) in &order {
            while columns.slot_offsets.len() < account.index() {
                columns.slot_offsets.close(columns.slot_keys.len());
            }
            ranks[slot] = columns.slot_keys.push(recorded.slot_keys[slot]);
            columns.slot_accounts.push(account);
        }
        while columns.slot_offsets.len() < columns.addresses.len() {
            columns.slot_offsets.close(columns.slot_keys.len());
        }
        (order.into_iter().map(|(_, slot)| slot).collect::<Vec<_>>().into(), ranks)
    }
}

impl<P: Id, V: Copy> Rows<P, V> {
    #[inline]
    fn push(&mut self, parent: P, index: BlockAccessIndex, value: V) {
        self.parents.push(parent);
        self.indices.push(index);
        self.values.push(value);
    }

    fn extend(&mut self, other: &Self) {
        self.parents.extend_from_slice(&other.parents);
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
    }

    fn clear(&mut self) {
        self.parents.clear();
        self.indices.clear();
        self.values.clear();
    }

    /// Converts the rows to change lists of `parent_count` parents, renumbered by `ranks`.
    fn group(&self, ranks: &Column<P, P>, parent_count: usize) -> Changes<P, V> {
        // The row number in the key keeps the order of recording among equal (parent, index), so
        // that the last row of each can be used.
        let mut order: Vec<(P, BlockAccessIndex, u32)> = self
            .parents
            .iter()
            .zip(&self.indices)
            .enumerate()
            .map(|(row, (parent, index))| (ranks[*parent], *index, row as u32))
            .collect();
        order.sort_unstable();
        let mut changes = Changes {
            offsets: Offsets::with_capacity(parent_count),
            indices: Vec::with_capacity(order.len()),
            values: Vec::with_capacity(order.len()),
        };
        for (at, (parent, index, row)) in order.iter().enumerate() {
            if order.get(at + 1).is_some_and(|next| (next.0, next.1) == (*parent, *index)) {
                continue;
            }
            while changes.offsets.len() < parent.index() {
                changes.offsets.close(changes.indices.len());
            }
            changes.indices.push(*index);
            changes.values.push(self.values[*row as usize]);
        }
        while changes.offsets.len() < parent_count {
            changes.offsets.close(changes.indices.len());
        }
        changes
    }
}
