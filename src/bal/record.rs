//! Record: what an execution touched and changed, to a list.
//!
//! In: rows in any order, by ids of a universe that may have grown as it was touched. Out: columns and bytes.
//! Spec: EIP-7928, recording semantics; reads are the touched slots without a change at any index.
//! Relies on: the caller compares the value at an index's end with that at its start and records real changes only.
//! Not here: which accesses count (`exec`); hashing of keys (ids are resolved already).
//!
//! Recording appends to vectors and sets bits. Addresses and keys are looked at once, in [`Recorder::finish`].

use super::{AccessSet, BalColumns, Changes, CodeRange, encode};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, Offsets, SlotId};
use alloy_primitives::{Address, Bytes, U256};

/// The names behind the ids that a recorder was fed with.
#[derive(Clone, Copy, Debug)]
pub struct RecordedKeys<'a> {
    /// Address of each account.
    pub addresses: &'a Column<AccountId, Address>,
    /// Key of each slot.
    pub slot_keys: &'a Column<SlotId, U256>,
    /// Account of each slot.
    pub slot_accounts: &'a Column<SlotId, AccountId>,
}

/// A finished recording.
#[derive(Clone, Debug)]
pub struct RecordedList {
    /// Canonical RLP.
    pub bytes: Bytes,
    /// The same list as columns, ids in address and key order.
    pub columns: BalColumns,
}

/// Rows of one field, as they came.
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

/// Collects accesses and changes of a block, or of one worker's share of it.
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

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that an account was accessed.
    #[inline]
    pub fn touch_account(&mut self, account: AccountId) {
        self.accounts.insert(account);
    }

    /// Notes that a slot was accessed (and with it, in [`Self::finish`], its account).
    #[inline]
    pub fn touch_slot(&mut self, slot: SlotId) {
        self.slots.insert(slot);
    }

    /// Notes all accesses of a worker at once.
    pub fn touch_all(&mut self, accounts: &AccessSet<AccountId>, slots: &AccessSet<SlotId>) {
        self.accounts.union_with(accounts);
        self.slots.union_with(slots);
    }

    /// A slot's value at the end of `index`, where it differs from that at its start. The last call per slot and
    /// index counts; the same holds for the other fields.
    #[inline]
    pub fn slot(&mut self, slot: SlotId, index: BlockAccessIndex, new_value: U256) {
        self.slots.insert(slot);
        self.storage.push(slot, index, new_value);
    }

    /// A balance in wei at the end of `index`.
    #[inline]
    pub fn balance(&mut self, account: AccountId, index: BlockAccessIndex, post_balance: U256) {
        self.accounts.insert(account);
        self.balances.push(account, index, post_balance);
    }

    /// A nonce at the end of `index`.
    #[inline]
    pub fn nonce(&mut self, account: AccountId, index: BlockAccessIndex, new_nonce: u64) {
        self.accounts.insert(account);
        self.nonces.push(account, index, new_nonce);
    }

    /// A code at the end of `index`; empty where it was cleared.
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

    /// Adds what another recorder of the same universe holds; for an index that both have, `other` counts.
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

    /// Accounts accessed so far, without those that only a slot stands for.
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

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.accounts.clear();
        self.slots.clear();
        self.storage.clear();
        self.balances.clear();
        self.nonces.clear();
        self.codes.clear();
        self.code_bytes.clear();
    }

    /// Sorts what was recorded into a list. The recorder keeps its rows; [`Self::clear`] it for the next block.
    ///
    /// # Panics
    /// When an id was recorded that the universe does not name.
    pub fn finish(&self, universe: &RecordedKeys<'_>) -> RecordedList {
        let mut columns = BalColumns { blob: Bytes::copy_from_slice(&self.code_bytes), ..BalColumns::default() };
        let account_ranks = self.rank_accounts(universe, &mut columns);
        let slot_ranks = self.rank_slots(universe, &account_ranks, &mut columns);
        columns.storage = self.storage.group(&slot_ranks, columns.slot_keys.len());
        columns.balances = self.balances.group(&account_ranks, columns.addresses.len());
        columns.nonces = self.nonces.group(&account_ranks, columns.addresses.len());
        columns.codes = self.codes.group(&account_ranks, columns.addresses.len());
        RecordedList { bytes: encode(&columns), columns }
    }

    /// Orders the accessed accounts by address; returns the place of each universe id among them.
    fn rank_accounts(&self, universe: &RecordedKeys<'_>, columns: &mut BalColumns) -> Column<AccountId, AccountId> {
        let mut listed = self.accounts.clone();
        for slot in self.slots.iter() {
            listed.insert(universe.slot_accounts[slot]);
        }
        let mut order: Vec<AccountId> = listed.iter().collect();
        order.sort_unstable_by_key(|account| universe.addresses[*account]);
        let mut ranks = Column::default();
        ranks.resize(universe.addresses.len(), AccountId::default());
        for account in order {
            ranks[account] = columns.addresses.push(universe.addresses[account]);
        }
        ranks
    }

    /// Orders the accessed slots by account and key; returns the place of each universe id among them.
    fn rank_slots(
        &self,
        universe: &RecordedKeys<'_>,
        account_ranks: &Column<AccountId, AccountId>,
        columns: &mut BalColumns,
    ) -> Column<SlotId, SlotId> {
        let mut order: Vec<(AccountId, SlotId)> =
            self.slots.iter().map(|slot| (account_ranks[universe.slot_accounts[slot]], slot)).collect();
        order.sort_unstable_by(|(a, slot_a), (b, slot_b)| {
            a.cmp(b).then_with(|| universe.slot_keys[*slot_a].cmp(&universe.slot_keys[*slot_b]))
        });
        let mut ranks = Column::default();
        ranks.resize(universe.slot_keys.len(), SlotId::default());
        for (account, slot) in order {
            while columns.slot_offsets.len() < account.index() {
                columns.slot_offsets.close(columns.slot_keys.len());
            }
            ranks[slot] = columns.slot_keys.push(universe.slot_keys[slot]);
            columns.slot_accounts.push(account);
        }
        while columns.slot_offsets.len() < columns.addresses.len() {
            columns.slot_offsets.close(columns.slot_keys.len());
        }
        ranks
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

    /// Rows as change lists of `parent_count` parents, renumbered by `ranks`.
    fn group(&self, ranks: &Column<P, P>, parent_count: usize) -> Changes<P, V> {
        // Sorting (parent, index, row) keeps the order of arrival among equals, so that the last one can count.
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
