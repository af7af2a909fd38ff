//! Decodes a list from RLP into columns and checks every rule, in one pass.
//!
//! In: untrusted bytes and the block's limits. Out: `BalColumns`, or the first violated rule and
//! its position.
//! Spec: EIP-7928, RLP data structures, ordering and uniqueness, size constraint.
//! Relies on: `rlp`, which accepts canonical items only.
//! Not here: the hash (`bal_hash`, a separate task), and whether the list matches an execution
//! (`exec`).
//!
//! Memory: the content of the columns is largest for accounts with 128 reads of one byte each: 34
//! bytes per byte of input. Including reserved and doubled capacity, it stays below 128 bytes per
//! byte of input plus 64 KiB. With limits that bound the number of items, it stays below 200 bytes
//! per item plus 48 bytes per byte of input. Codes are never copied: the columns hold a reference
//! to the input.

#[cfg(target_arch = "x86_64")]
pub(super) mod wide;

use super::rlp::{Cursor, Fault, is_less, load_uint64, load_word};
use super::{BalColumns, BalError, BalField, BalRule, Changes, CodeRange, Limits};
use crate::arena::{AccountId, BlockAccessIndex, Id};
use alloy_primitives::{Bytes, U256};

/// Decodes and checks a list.
///
/// # Errors
/// The first violated rule in wire order, with its position. A slot listed both as changed and as
/// read is detected after its account's reads are decoded.
pub fn decode(bytes: &Bytes, limits: &Limits) -> Result<BalColumns, BalError> {
    let mut columns = BalColumns::default();
    decode_into(&mut columns, bytes, limits)?;
    Ok(columns)
}

/// Like [`decode`], into existing columns, whose memory is reused. After an error they are empty.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(columns: &mut BalColumns, bytes: &Bytes, limits: &Limits) -> Result<(), BalError> {
    columns.clear();
    columns.blob = bytes.clone();
    #[cfg(target_arch = "x86_64")]
    if wide::try_decode(columns, bytes, limits).is_some() {
        return Ok(());
    }
    decode_portable(columns, bytes, limits)
}

/// The decoder for all machines. It also produces the error whenever the AVX-512 decoder returned
/// `None`.
pub(super) fn decode_portable(columns: &mut BalColumns, bytes: &Bytes, limits: &Limits) -> Result<(), BalError> {
    columns.clear();
    columns.blob = bytes.clone();
    let mut decoder = Decoder {
        cursor: Cursor { bytes, pos: 0 },
        limits: *limits,
        index_max: limits.index_max(),
        item_max: limits.item_max(),
        columns,
        field: BalField::Account,
        in_account: false,
        account_slots: 0,
    };
    match decoder.list() {
        Ok(()) => Ok(()),
        Err(stop) => {
            let error = decoder.locate(stop);
            columns.clear();
            Err(error)
        }
    }
}

/// Why decoding stopped, with the slot and index of the fault if they are not in the decoder's
/// state.
struct Stop {
    fault: Fault,
    slot: Option<U256>,
    index: Option<BlockAccessIndex>,
}

impl From<Fault> for Stop {
    #[cold]
    fn from(fault: Fault) -> Self {
        Self { fault, slot: None, index: None }
    }
}

impl Stop {
    #[cold]
    fn at_slot(rule: BalRule, at: usize, slot: U256) -> Self {
        Self { fault: Fault { rule, at }, slot: Some(slot), index: None }
    }

    #[cold]
    fn at_index(rule: BalRule, at: usize, index: BlockAccessIndex) -> Self {
        Self { fault: Fault { rule, at }, slot: None, index: Some(index) }
    }
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    limits: Limits,
    index_max: u32,
    item_max: usize,
    columns: &'a mut BalColumns,
    /// Current position in the list, for the error.
    field: BalField,
    in_account: bool,
    /// Position in `slot_keys` of the current account's first slot.
    account_slots: usize,
}

impl Decoder<'_> {
    fn list(&mut self) -> Result<(), Stop> {
        let len = self.cursor.bytes.len();
        if len == 0 || u32::try_from(len).is_err() {
            return Err(Fault { rule: BalRule::InputLength, at: 0 }.into());
        }
        let end = self.cursor.list(len)?;
        if end != len {
            return Err(Fault { rule: BalRule::TrailingBytes, at: end }.into());
        }
        while self.cursor.pos < end {
            self.account(end)?;
        }
        Ok(())
    }

    fn account(&mut self, limit: usize) -> Result<(), Stop> {
        self.field = BalField::Account;
        self.in_account = false;
        let end = self.cursor.list(limit)?;
        self.address(end)?;

        self.field = BalField::StorageChanges;
        let storage_end = self.cursor.list(end)?;
        self.storage_changes(storage_end)?;
        self.field = BalField::StorageReads;
        let reads_end = self.cursor.list(end)?;
        self.storage_reads(reads_end)?;

        self.field = BalField::BalanceChanges;
        let balances_end = self.cursor.list(end)?;
        let columns = &mut *self.columns;
        changes(&mut self.cursor, balances_end, self.index_max, &mut columns.balances, load_word, |c, end| {
            c.word(end)
        })?;
        self.field = BalField::NonceChanges;
        let nonces_end = self.cursor.list(end)?;
        changes(&mut self.cursor, nonces_end, self.index_max, &mut columns.nonces, load_uint64, |c, end| {
            c.uint64(end)
        })?;
        self.field = BalField::CodeChanges;
        let codes_end = self.cursor.list(end)?;
        let limits = self.limits;
        changes(
            &mut self.cursor,
            codes_end,
            self.index_max,
            &mut columns.codes,
            |_, _, _| None,
            |c, end| code(c, end, &limits),
        )?;
        if codes_end != end {
            self.field = BalField::Account;
            return Err(Fault { rule: BalRule::FieldCount { expected: 6 }, at: codes_end }.into());
        }
        columns.balances.offsets.close(columns.balances.indices.len());
        columns.nonces.offsets.close(columns.nonces.indices.len());
        columns.codes.offsets.close(columns.codes.indices.len());
        Ok(())
    }

    fn address(&mut self, limit: usize) -> Result<(), Stop> {
        let at = self.cursor.pos;
        let address = self.cursor.address(limit)?;
        let addresses = self.columns.addresses.as_mut_vec();
        let previous = addresses.last().copied();
        addresses.push(address);
        self.in_account = true;
        if let Some(previous) = previous
            && previous >= address
        {
            let rule = if previous == address { BalRule::DuplicateAccount } else { BalRule::AccountOrder };
            return Err(Fault { rule, at }.into());
        }
        self.check_items(at)
    }

    #[inline(always)]
    fn check_items(&self, at: usize) -> Result<(), Stop> {
        if self.columns.addresses.len() + self.columns.slot_keys.len() > self.item_max {
            let max = self.limits.item_count_max.unwrap_or(u64::MAX);
            return Err(Fault { rule: BalRule::ItemLimit { max }, at }.into());
        }
        Ok(())
    }

    fn storage_changes(&mut self, end: usize) -> Result<(), Stop> {
        self.account_slots = self.columns.slot_keys.len();
        self.columns.scratch.row_ends.clear();
        while self.cursor.pos < end {
            let slot_end = self.cursor.list(end)?;
            self.slot_key(self.account_slots, slot_end)?;
            let at = self.cursor.pos;
            let changes_end = self.cursor.list(slot_end)?;
            if self.cursor.pos == changes_end {
                return Err(Fault { rule: BalRule::EmptySlotChanges, at }.into());
            }
            let storage = &mut self.columns.storage;
            changes(&mut self.cursor, changes_end, self.index_max, storage, load_word, |c, end| c.word(end))?;
            if changes_end != slot_end {
                return Err(Fault { rule: BalRule::FieldCount { expected: 2 }, at: changes_end }.into());
            }
            self.columns.scratch.row_ends.push(storage.indices.len() as u32);
        }
        Ok(())
    }

    /// Appends the slot key at the cursor, which must be above the previous one in the same list.
    #[inline(always)]
    fn slot_key(&mut self, list_start: usize, limit: usize) -> Result<(), Stop> {
        let at = self.cursor.pos;
        let keys = self.columns.slot_keys.as_mut_vec();
        let previous = keys[list_start..].last();
        if let Some((key, end)) = self.cursor.peek_word(limit)
            && previous.is_none_or(|previous| is_less(previous, &key))
        {
            keys.push(key);
            self.cursor.pos = end;
        } else {
            let key = self.cursor.word(limit)?;
            if let Some(previous) = previous
                && *previous >= key
            {
                let rule = if *previous == key { BalRule::DuplicateSlot } else { BalRule::SlotOrder };
                return Err(Stop::at_slot(rule, at, key));
            }
            keys.push(key);
        }
        self.check_items(at)
    }

    fn storage_reads(&mut self, end: usize) -> Result<(), Stop> {
        let at = self.cursor.pos;
        let list_start = self.account_slots + self.columns.scratch.row_ends.len();
        while self.cursor.pos < end {
            self.slot_key(list_start, end)?;
        }
        self.merge_slots(at)?;
        let columns = &mut *self.columns;
        let account = AccountId::new(columns.addresses.len() - 1);
        columns.slot_accounts.resize(columns.slot_keys.len(), account);
        columns.slot_offsets.close(columns.slot_keys.len());
        Ok(())
    }

    /// Merges changed and read slots of the account by key and closes their row ranges.
    ///
    /// Change rows do not move: read slots have none, and changed slots keep their order.
    fn merge_slots(&mut self, at: usize) -> Result<(), Stop> {
        let columns = &mut *self.columns;
        let (offsets, scratch) = (&mut columns.storage.offsets, &mut columns.scratch);
        let keys = &mut columns.slot_keys.as_mut_vec()[self.account_slots..];
        let changed_count = scratch.row_ends.len();
        let (changed, reads) = keys.split_at(changed_count);
        let mut row_end = offsets.rows();

        if let (Some(last), Some(first)) = (changed.last(), reads.first())
            && last >= first
        {
            scratch.changed_keys.clear();
            scratch.changed_keys.extend_from_slice(changed);
            let (mut next_changed, mut next_read) = (0, changed_count);
            // In-place merge: the write position `next_changed + next_read - changed_count` is
            // below `next_read` until all changed keys are used, and then the remaining read keys
            // are already in place.
            while next_changed < changed_count && next_read < keys.len() {
                let (change, read) = (&scratch.changed_keys[next_changed], &keys[next_read]);
                // Which list has the next key is unpredictable, so there is no branch on it.
                // Comparing the highest limbs decides, except between small keys, which are
                // adjacent in the order.
                let (change_high, read_high) = (change.as_limbs()[3], read.as_limbs()[3]);
                let is_change = if change_high == read_high {
                    if change == read {
                        return Err(Stop::at_slot(BalRule::SlotChangedAndRead, at, *read));
                    }
                    is_less(change, read)
                } else {
                    change_high < read_high
                };
                keys[next_changed + next_read - changed_count] =
                    *core::hint::select_unpredictable(is_change, change, read);
                row_end = core::hint::select_unpredictable(is_change, scratch.row_ends[next_changed] as usize, row_end);
                offsets.close(row_end);
                next_changed += usize::from(is_change);
                next_read += usize::from(!is_change);
            }
            let out = next_changed + next_read - changed_count;
            keys[out..out + changed_count - next_changed].copy_from_slice(&scratch.changed_keys[next_changed..]);
            for end in &scratch.row_ends[next_changed..] {
                row_end = *end as usize;
                offsets.close(row_end);
            }
            for _ in next_read..keys.len() {
                offsets.close(row_end);
            }
        } else {
            for end in &scratch.row_ends {
                row_end = *end as usize;
                offsets.close(row_end);
            }
            for _ in reads {
                offsets.close(row_end);
            }
        }
        Ok(())
    }

    #[cold]
    fn locate(&self, stop: Stop) -> BalError {
        let Stop { fault, slot, index } = stop;
        let last_slot = || {
            let slots = self.columns.slot_keys.as_slice();
            (self.field == BalField::StorageChanges && slots.len() > self.account_slots)
                .then(|| slots.last().copied())
                .flatten()
        };
        BalError {
            rule: fault.rule,
            offset: fault.at,
            address: self.in_account.then(|| self.columns.addresses.as_slice().last().copied()).flatten(),
            field: self.field,
            slot: slot.or_else(last_slot),
            index,
        }
    }
}

/// Appends the change list that ends at `end`.
///
/// Fast path: `load` reads a well-formed value, given its end and its length. Where
/// [`Cursor::change`] or `load` returns `None`, `read` decodes the value step by step and returns
/// the violated rule.
#[inline(always)]
fn changes<'a, P, V>(
    cursor: &mut Cursor<'a>,
    end: usize,
    index_max: u32,
    out: &mut Changes<P, V>,
    load: impl Fn(&[u8], usize, usize) -> Option<V>,
    read: impl Fn(&mut Cursor<'a>, usize) -> Result<V, Fault>,
) -> Result<(), Stop> {
    let mut index_min = 0u64;
    while cursor.pos < end {
        // Both branches push separately: a value merged from both would be passed through memory.
        if let Some(change) = cursor.change(end)
            && (u64::from(change.index.0) >= index_min) & (change.index.0 <= index_max)
            && let Some(value) = load(cursor.bytes, change.end, change.len)
        {
            cursor.pos = change.end;
            index_min = u64::from(change.index.0) + 1;
            out.indices.push(change.index);
            out.values.push(value);
        } else {
            let index = change_in_steps(cursor, end, index_min, index_max, out, &read)?;
            index_min = u64::from(index.0) + 1;
        }
    }
    Ok(())
}

/// Reads one change and appends it. Its index must be at least `index_min`, the previous index plus
/// one.
#[inline(never)]
fn change_in_steps<'a, P, V>(
    cursor: &mut Cursor<'a>,
    end: usize,
    index_min: u64,
    index_max: u32,
    out: &mut Changes<P, V>,
    read: impl Fn(&mut Cursor<'a>, usize) -> Result<V, Fault>,
) -> Result<BlockAccessIndex, Stop> {
    let item_end = cursor.list(end)?;
    let at = cursor.pos;
    let index = cursor.index(item_end)?;
    if index.0 > index_max {
        return Err(Stop::at_index(BalRule::IndexBeyondBlock { max: index_max }, at, index));
    }
    if u64::from(index.0) < index_min {
        let is_duplicate = u64::from(index.0) + 1 == index_min;
        let rule = if is_duplicate { BalRule::DuplicateIndex } else { BalRule::IndexOrder };
        return Err(Stop::at_index(rule, at, index));
    }
    let value = read(cursor, item_end).map_err(|fault| Stop { fault, slot: None, index: Some(index) })?;
    if cursor.pos != item_end {
        return Err(Stop::at_index(BalRule::FieldCount { expected: 2 }, cursor.pos, index));
    }
    out.indices.push(index);
    out.values.push(value);
    Ok(index)
}

/// Reads a code and checks it against the fork's limits.
fn code(cursor: &mut Cursor<'_>, end: usize, limits: &Limits) -> Result<CodeRange, Fault> {
    let at = cursor.pos;
    let range = cursor.string(end)?;
    let bytes = &cursor.bytes[range.clone()];
    if bytes.len() > limits.code_len_max {
        return Err(Fault { rule: BalRule::CodeTooLong { max: limits.code_len_max }, at });
    }
    let is_delegation = bytes.len() == 23 && bytes.starts_with(&[0xef, 0x01, 0x00]);
    if limits.ef_reserved && bytes.first() == Some(&0xef) && !is_delegation {
        return Err(Fault { rule: BalRule::ReservedCode, at });
    }
    // No truncation: the input is shorter than 4 GiB.
    Ok(CodeRange { start: range.start as u32, len: range.len() as u32 })
}
