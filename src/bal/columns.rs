//! `BalColumns`: a block access list as columns over dense ids.
//!
//! In: rows from the decoder or the recorder. Out: values before an index, at an index and after
//! the block.
//! Relies on: ids ascend (accounts by address, slots by account then key, changed and read together) and indices
//! strictly ascend inside a change list, as `decode` checks and `record` produces.
//! Not here: values of the parent state; a field without an earlier change has its parent value.
//!
//! ```text
//! AccountId ─ addresses ─ slot_offsets ─► SlotId ─ slot_keys ─ slot_accounts
//!     │                                      └─ storage: Changes<SlotId, U256>    (no rows: a read slot)
//!     └─ balances, nonces, codes: Changes<AccountId, _>
//! Changes: offsets per parent ─► rows: index column, value column
//! ```

use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::store::SlotQuery;
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, Offsets, SlotId};
use alloy_primitives::{Address, Bytes, U256};
use core::ops::Range;
use rayon::prelude::*;

/// Fewer slots than this are converted by one job.
const QUERIES_PER_JOB: usize = 4_096;

/// Change lists of one field. Each parent (account or slot) has a range of rows; a row is a block
/// access index and the value after that index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<P, V> {
    pub(super) offsets: Offsets<P>,
    pub(super) indices: Vec<BlockAccessIndex>,
    pub(super) values: Vec<V>,
}

impl<P, V> Default for Changes<P, V> {
    fn default() -> Self {
        Self { offsets: Offsets::default(), indices: Vec::new(), values: Vec::new() }
    }
}

impl<P, V> HeapBytes for Changes<P, V> {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.offsets, &self.indices, &self.values])
    }
}

impl<P: Id, V> Changes<P, V> {
    /// Number of rows of all parents together.
    #[inline]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether no parent has a change.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Row range of `parent`.
    #[inline]
    pub fn rows(&self, parent: P) -> Range<usize> {
        self.offsets.range(parent)
    }

    /// Indices of `parent`'s changes, strictly ascending.
    #[inline]
    pub fn indices(&self, parent: P) -> &[BlockAccessIndex] {
        &self.indices[self.rows(parent)]
    }

    /// Values of `parent`'s changes, in the order of their indices.
    #[inline]
    pub fn values(&self, parent: P) -> &[V] {
        &self.values[self.rows(parent)]
    }

    /// Index of a row.
    #[inline]
    pub fn index(&self, row: usize) -> BlockAccessIndex {
        self.indices[row]
    }

    /// Value of a row.
    #[inline]
    pub fn value(&self, row: usize) -> &V {
        &self.values[row]
    }

    /// The row in force at the start of `index`: the last change below it. `None`: the parent value
    /// is in force.
    #[inline]
    pub fn row_before(&self, parent: P, index: BlockAccessIndex) -> Option<usize> {
        let rows = self.rows(parent);
        let below = count_below(&self.indices[rows.clone()], index);
        below.checked_sub(1).map(|last| rows.start + last)
    }

    /// The row of the change at exactly `index`.
    #[inline]
    pub fn row_at(&self, parent: P, index: BlockAccessIndex) -> Option<usize> {
        let rows = self.rows(parent);
        let row = rows.start + count_below(&self.indices[rows.clone()], index);
        (row < rows.end && self.indices[row] == index).then_some(row)
    }

    /// The row in force after the block: the last change. `None`: the parent value is in force.
    #[inline]
    pub fn row_last(&self, parent: P) -> Option<usize> {
        let rows = self.rows(parent);
        (!rows.is_empty()).then(|| rows.end - 1)
    }

    /// Value in force at the start of `index`; `None`: the parent value.
    #[inline]
    pub fn before(&self, parent: P, index: BlockAccessIndex) -> Option<&V> {
        self.row_before(parent, index).map(|row| &self.values[row])
    }

    /// Value of the change at exactly `index`; `None`: no such change.
    #[inline]
    pub fn at(&self, parent: P, index: BlockAccessIndex) -> Option<&V> {
        self.row_at(parent, index).map(|row| &self.values[row])
    }

    /// Value after the block; `None`: the parent value.
    #[inline]
    pub fn last(&self, parent: P) -> Option<&V> {
        self.row_last(parent).map(|row| &self.values[row])
    }

    /// `parent`'s changes as (index, value), by ascending index.
    pub fn iter(&self, parent: P) -> impl ExactSizeIterator<Item = (BlockAccessIndex, &V)> {
        self.indices(parent).iter().copied().zip(self.values(parent))
    }

    pub(super) fn clear(&mut self) {
        self.offsets.clear();
        self.indices.clear();
        self.values.clear();
    }
}

/// Number of elements below `index` in an ascending slice.
#[inline]
fn count_below(indices: &[BlockAccessIndex], index: BlockAccessIndex) -> usize {
    // Most lists have few rows: counting them needs no branch that could be mispredicted.
    if indices.len() <= 16 {
        indices.iter().map(|i| usize::from(*i < index)).sum()
    } else {
        indices.partition_point(|i| *i < index)
    }
}

/// Byte range of a code in [`BalColumns`]' buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeRange {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl CodeRange {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// Length of the code in bytes.
    #[inline]
    pub fn len_bytes(self) -> usize {
        self.len as usize
    }
}

/// An immutable block access list, shared by all tasks of a block. Has no public mutating method.
#[derive(Clone, Debug, Default)]
pub struct BalColumns {
    pub(super) addresses: Column<AccountId, Address>,
    pub(super) slot_offsets: Offsets<AccountId>,
    pub(super) slot_keys: Column<SlotId, U256>,
    pub(super) slot_accounts: Column<SlotId, AccountId>,
    pub(super) storage: Changes<SlotId, U256>,
    pub(super) balances: Changes<AccountId, U256>,
    pub(super) nonces: Changes<AccountId, u64>,
    pub(super) codes: Changes<AccountId, CodeRange>,
    /// The buffer of the code ranges: the input of the decoder, or the recorder's code bytes.
    pub(super) blob: Bytes,
    /// Working memory of the decoder, kept for the next block.
    pub(super) scratch: Scratch,
}

/// Working memory for merging an account's slots; its content is not part of the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// The account's changed keys.
    pub(super) changed_keys: Vec<U256>,
    /// Per changed slot of the account, one past its last row. In the AVX-512 decoder, preceded by
    /// the first row of the first slot.
    pub(super) row_ends: Vec<u32>,
    /// The account's read keys.
    pub(super) read_keys: Vec<U256>,
    /// Per slot, changed or read, in key order, one past its last row.
    pub(super) merged_ends: Vec<u32>,
}

impl HeapBytes for Scratch {
    fn heap_bytes(&self) -> usize {
        let Self { changed_keys, row_ends, read_keys, merged_ends } = self;
        sum_heap_bytes([changed_keys, row_ends, read_keys, merged_ends])
    }
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.changed_keys.clear();
        self.row_ends.clear();
        self.read_keys.clear();
        self.merged_ends.clear();
    }
}

/// Without the buffer of the codes, which is shared with the list's bytes.
impl HeapBytes for BalColumns {
    fn heap_bytes(&self) -> usize {
        let Self {
            addresses,
            slot_offsets,
            slot_keys,
            slot_accounts,
            storage,
            balances,
            nonces,
            codes,
            blob: _,
            scratch,
        } = self;
        sum_heap_bytes([addresses, slot_offsets, slot_keys, slot_accounts, storage, balances, nonces, codes, scratch])
    }
}

impl BalColumns {
    /// Number of listed accounts.
    #[inline]
    pub fn account_count(&self) -> usize {
        self.addresses.len()
    }

    /// Number of listed slots, changed and read.
    #[inline]
    pub fn slot_count(&self) -> usize {
        self.slot_keys.len()
    }

    /// EIP-7928's `bal_items`: number of addresses and slots.
    #[inline]
    pub fn item_count(&self) -> usize {
        self.account_count() + self.slot_count()
    }

    /// Number of listed changes, of all fields together.
    #[inline]
    pub fn change_count(&self) -> usize {
        self.storage.len() + self.balances.len() + self.nonces.len() + self.codes.len()
    }

    /// Number of slots listed without a change.
    pub fn read_count(&self) -> usize {
        self.slot_keys.ids().filter(|slot| self.is_read_only(*slot)).count()
    }

    /// Addresses, strictly ascending.
    #[inline]
    pub fn addresses(&self) -> &Column<AccountId, Address> {
        &self.addresses
    }

    /// Keys of slots, strictly ascending within an account.
    #[inline]
    pub fn slot_keys(&self) -> &Column<SlotId, U256> {
        &self.slot_keys
    }

    /// The account of each slot.
    #[inline]
    pub fn slot_accounts(&self) -> &Column<SlotId, AccountId> {
        &self.slot_accounts
    }

    /// All slots in the form in which a store is asked for them, in list order. Uses the current rayon pool.
    pub fn slot_queries(&self) -> Vec<SlotQuery> {
        let (owners, keys) = (self.slot_accounts.as_slice(), self.slot_keys.as_slice());
        let query = |(owner, key): (&AccountId, &U256)| SlotQuery { address: self.addresses[*owner], key: *key };
        owners.par_iter().zip(keys).with_min_len(QUERIES_PER_JOB).map(query).collect()
    }

    /// Slots per account, as ranges of [`SlotId`]s.
    #[inline]
    pub fn slot_offsets(&self) -> &Offsets<AccountId> {
        &self.slot_offsets
    }

    /// Storage changes. A slot without rows is a `storage_reads` entry.
    #[inline]
    pub fn storage(&self) -> &Changes<SlotId, U256> {
        &self.storage
    }

    /// Balance changes.
    #[inline]
    pub fn balances(&self) -> &Changes<AccountId, U256> {
        &self.balances
    }

    /// Nonce changes.
    #[inline]
    pub fn nonces(&self) -> &Changes<AccountId, u64> {
        &self.nonces
    }

    /// Code changes; [`Self::code_bytes`] gives a row's bytes.
    #[inline]
    pub fn codes(&self) -> &Changes<AccountId, CodeRange> {
        &self.codes
    }

    /// The id of an address; O(log accounts).
    pub fn find(&self, address: &Address) -> Option<AccountId> {
        self.addresses.as_slice().binary_search(address).ok().map(AccountId::new)
    }

    /// The id of an account's slot; O(log slots of the account).
    pub fn find_slot(&self, account: AccountId, key: &U256) -> Option<SlotId> {
        let range = self.slot_offsets.range(account);
        let keys = &self.slot_keys.as_slice()[range.clone()];
        keys.binary_search(key).ok().map(|i| SlotId::new(range.start + i))
    }

    /// An account's slots, by ascending key.
    #[inline]
    pub fn slots(&self, account: AccountId) -> impl ExactSizeIterator<Item = SlotId> + use<> {
        self.slot_offsets.range(account).map(SlotId::new)
    }

    /// Whether the slot is listed without a change.
    #[inline]
    pub fn is_read_only(&self, slot: SlotId) -> bool {
        self.storage.rows(slot).is_empty()
    }

    /// Whether the list contains a change of the account or of one of its slots.
    pub fn is_changed(&self, account: AccountId) -> bool {
        let slots = self.slot_offsets.range(account);
        !self.balances.rows(account).is_empty()
            || !self.nonces.rows(account).is_empty()
            || !self.codes.rows(account).is_empty()
            || slots.into_iter().any(|slot| !self.is_read_only(SlotId::new(slot)))
    }

    /// Balance in wei at the start of `index`; `None`: the parent's.
    #[inline]
    pub fn balance_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<U256> {
        self.balances.before(account, index).copied()
    }

    /// Nonce at the start of `index`; `None`: the parent's.
    #[inline]
    pub fn nonce_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<u64> {
        self.nonces.before(account, index).copied()
    }

    /// Code at the start of `index`; `None`: the parent's; empty: no code.
    #[inline]
    pub fn code_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<&[u8]> {
        self.code_row_before(account, index).map(|row| self.code_bytes(row))
    }

    /// Row of the code in force at the start of `index`; `None`: the parent's code.
    #[inline]
    pub fn code_row_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<usize> {
        self.codes.row_before(account, index)
    }

    /// The last index below `index` at which the account's code became empty. Before EIP-6780
    /// (Cancun) this means a SELFDESTRUCT, which also clears the storage. Not meaningful from
    /// Prague on, where a cleared delegation (EIP-7702) looks the same and clears no storage.
    pub fn storage_cleared_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<BlockAccessIndex> {
        let rows = self.codes.rows(account);
        rows.rev()
            .find(|row| self.codes.index(*row) < index && self.codes.value(*row).len == 0)
            .map(|row| self.codes.index(row))
    }

    /// Whether the account's code becomes empty at exactly this index, see [`Self::storage_cleared_before`].
    pub fn storage_cleared_at(&self, account: AccountId, index: BlockAccessIndex) -> bool {
        self.codes.at(account, index).is_some_and(|code| code.len == 0)
    }

    /// Slot value at the start of `index`; `None`: the parent's.
    #[inline]
    pub fn slot_before(&self, slot: SlotId, index: BlockAccessIndex) -> Option<U256> {
        self.storage.before(slot, index).copied()
    }

    /// New balance in wei that the list declares at `index`; `None`: no change.
    #[inline]
    pub fn balance_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<U256> {
        self.balances.at(account, index).copied()
    }

    /// New nonce that the list declares at `index`; `None`: no change.
    #[inline]
    pub fn nonce_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<u64> {
        self.nonces.at(account, index).copied()
    }

    /// New code that the list declares at `index`; `None`: no change.
    #[inline]
    pub fn code_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<&[u8]> {
        self.codes.row_at(account, index).map(|row| self.code_bytes(row))
    }

    /// New slot value that the list declares at `index`; `None`: no change.
    #[inline]
    pub fn slot_at(&self, slot: SlotId, index: BlockAccessIndex) -> Option<U256> {
        self.storage.at(slot, index).copied()
    }

    // The four values after the block are for hosts that read a list; here only the reduction uses two of them.

    /// Balance in wei after the block; `None`: the parent's.
    #[inline]
    pub fn balance_post(&self, account: AccountId) -> Option<U256> {
        self.balances.last(account).copied()
    }

    /// Nonce after the block; `None`: the parent's.
    #[inline]
    pub fn nonce_post(&self, account: AccountId) -> Option<u64> {
        self.nonces.last(account).copied()
    }

    /// Code after the block; `None`: the parent's; empty: no code.
    #[inline]
    pub fn code_post(&self, account: AccountId) -> Option<&[u8]> {
        self.codes.row_last(account).map(|row| self.code_bytes(row))
    }

    /// Slot value after the block; `None`: the parent's (the slot is only read).
    #[inline]
    pub fn slot_post(&self, slot: SlotId) -> Option<U256> {
        self.storage.last(slot).copied()
    }

    /// The bytes of a code row.
    ///
    /// # Panics
    /// When `row` is not below `codes().len()`.
    #[inline]
    pub fn code_bytes(&self, row: usize) -> &[u8] {
        &self.blob[self.codes.values[row].range()]
    }

    /// The bytes of a code row, as a reference-counted slice of the list's buffer.
    ///
    /// # Panics
    /// When `row` is not below `codes().len()`.
    pub fn code_shared(&self, row: usize) -> Bytes {
        self.blob.slice(self.codes.values[row].range())
    }

    /// All code rows with their bytes, in row order.
    pub fn code_rows(&self) -> impl ExactSizeIterator<Item = (usize, &[u8])> {
        (0..self.codes.len()).map(|row| (row, self.code_bytes(row)))
    }

    /// Number of declared changes per block access index, of all fields together: `tx_count + 2`
    /// counts.
    ///
    /// Verification compares them with the number of matching changes in the execution. This
    /// detects declared changes that no transaction made, without a search for them. Rows above the
    /// last index are not counted; decoding with the block's limits rejects them.
    pub fn rows_per_index(&self, tx_count: usize) -> Vec<u32> {
        let mut counts = vec![0u32; tx_count + 2];
        for indices in [&self.storage.indices, &self.balances.indices, &self.nonces.indices, &self.codes.indices] {
            for index in indices {
                if let Some(count) = counts.get_mut(index.index()) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// Removes all rows and keeps the allocated memory.
    pub(super) fn clear(&mut self) {
        self.addresses.clear();
        self.slot_offsets.clear();
        self.slot_keys.clear();
        self.slot_accounts.clear();
        self.storage.clear();
        self.balances.clear();
        self.nonces.clear();
        self.codes.clear();
        self.blob = Bytes::new();
    }
}

/// Lists are equal if their content is; positions of codes in the buffers do not matter.
impl PartialEq for BalColumns {
    fn eq(&self, other: &Self) -> bool {
        self.addresses == other.addresses
            && self.slot_offsets == other.slot_offsets
            && self.slot_keys == other.slot_keys
            && self.storage == other.storage
            && self.balances == other.balances
            && self.nonces == other.nonces
            && self.codes.offsets == other.codes.offsets
            && self.codes.indices == other.codes.indices
            && self.code_rows().eq(other.code_rows())
    }
}

impl Eq for BalColumns {}
