//! Decode with AVX-512: the same columns for valid lists, nothing for any other.
//!
//! In: untrusted bytes. Out: filled columns, or "not here": then the portable decoder, this file's twin, decides and
//! names what is wrong. So the kernels only say yes or no, and a list is refused by one piece of code alone.
//! Spec: EIP-7928, as in `decode`.
//! Relies on: `rlp`'s tables of forms; AVX-512 F, BW and VL, asked for at run time.
//! Not here: errors.
//!
//! What it gains: a word of any length is one masked load that ends with the item, reversed by two shuffles; an order
//! check is two byte compares whose masks compare as integers; rows are written behind the vectors' ends, for which
//! each account reserves once what its bytes can hold.
//!
//! Unsafe doors, and what they rest on:
//! - calling `Wide::list` needs the CPU features, which [`try_decode`] asks for;
//! - masked loads read only bytes of the item, whose end is checked against the input before;
//! - writes stay below the capacity reserved, because a list of `n` bytes holds at most `n / 3` changes of three bytes,
//!   and at most `256 + n / 3` slots (strictly ascending minimal keys: 128 of one byte, 128 of two), and because the
//!   item limit is checked before a slot is written.
#![allow(unsafe_code)]

use super::{changes, code};
use crate::arena::{AccountId, BlockAccessIndex, Id};
use crate::bal::columns::Scratch;
use crate::bal::rlp::{self, Cursor, INDEX_FORMS, INTEGER_FORMS, LIST_FORMS, load_uint64};
use crate::bal::{BalColumns, Changes, Limits};
use alloy_primitives::{Address, U256};
use core::arch::x86_64::*;
use core::hint::select_unpredictable;

#[cfg(test)]
mod tests;

/// Decodes a list into empty columns; `None`: they hold nothing of use, and the portable decoder must be asked.
pub(in crate::bal) fn try_decode(columns: &mut BalColumns, bytes: &[u8], limits: &Limits) -> Option<()> {
    let is_available = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi2");
    if !is_available || u32::try_from(bytes.len()).is_err() {
        return None;
    }
    let mut wide = Wide { bytes, index_max: limits.index_max(), item_max: limits.item_max(), limits, columns };
    // SAFETY: the CPU has the features that `list` is compiled for.
    unsafe { wide.list() }
}

struct Wide<'a> {
    bytes: &'a [u8],
    index_max: u32,
    item_max: usize,
    limits: &'a Limits,
    columns: &'a mut BalColumns,
}

impl Wide<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn list(&mut self) -> Option<()> {
        let mut cursor = Cursor { bytes: self.bytes, pos: 0 };
        let end = cursor.list(self.bytes.len()).ok()?;
        if end != self.bytes.len() {
            return None;
        }
        while cursor.pos < end {
            self.account(&mut cursor, end)?;
        }
        Some(())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn account(&mut self, cursor: &mut Cursor<'_>, limit: usize) -> Option<()> {
        let end = cursor.list(limit).ok()?;
        let account = AccountId::new(self.columns.addresses.len());
        self.address(cursor, end)?;

        let first_slot = self.columns.slot_keys.len();
        let changes_end = cursor.list(end).ok()?;
        let len_bytes = changes_end - cursor.pos;
        self.columns.scratch.row_ends.clear();
        if len_bytes > 0 {
            self.reserve_slots(len_bytes);
            reserve_rows(&mut self.columns.storage, len_bytes);
            self.storage_changes(cursor.pos, changes_end)?;
        }
        cursor.pos = changes_end;
        let reads_end = cursor.list(end).ok()?;
        let len_bytes = reads_end - cursor.pos;
        if len_bytes > 0 {
            self.reserve_slots(len_bytes);
            self.storage_reads(cursor.pos, reads_end)?;
        }
        cursor.pos = reads_end;
        self.close_slots(account, first_slot)?;

        let index_max = self.index_max;
        let columns = &mut *self.columns;
        let balances_end = cursor.list(end).ok()?;
        reserve_rows(&mut columns.balances, balances_end - cursor.pos);
        // SAFETY: the list lies in the input, and its rows were just reserved.
        unsafe { word_changes(cursor.bytes, cursor.pos, balances_end, index_max, &mut columns.balances)? };
        cursor.pos = balances_end;
        let nonces_end = cursor.list(end).ok()?;
        changes(cursor, nonces_end, index_max, &mut columns.nonces, load_uint64, |c, end| c.uint64(end)).ok()?;
        let codes_end = cursor.list(end).ok()?;
        if codes_end != end {
            return None;
        }
        let limits = self.limits;
        changes(cursor, codes_end, index_max, &mut columns.codes, |_, _, _| None, |c, end| code(c, end, limits))
            .ok()?;
        columns.balances.offsets.close(columns.balances.indices.len());
        columns.nonces.offsets.close(columns.nonces.indices.len());
        columns.codes.offsets.close(columns.codes.indices.len());
        Some(())
    }

    fn address(&mut self, cursor: &mut Cursor<'_>, limit: usize) -> Option<()> {
        let [0x94, address @ ..] = self.bytes.get(cursor.pos..limit)?.first_chunk::<21>()? else { return None };
        cursor.pos += 21;
        let addresses = self.columns.addresses.as_mut_vec();
        let prefix = |address: &[u8; 20]| address.first_chunk().map_or(0, |prefix| u64::from_be_bytes(*prefix));
        let is_ascending = addresses.last().is_none_or(|previous| {
            let (previous_prefix, next_prefix) = (prefix(&previous.0.0), prefix(address));
            previous_prefix < next_prefix || (previous_prefix == next_prefix && previous.0.0 < *address)
        });
        addresses.push(Address::from(*address));
        (is_ascending && addresses.len() + self.columns.slot_keys.len() <= self.item_max).then_some(())
    }

    /// Makes room for the slots that a list of so many bytes can hold, within the limits.
    fn reserve_slots(&mut self, len_bytes: usize) {
        let slot_max = self.item_max - self.columns.addresses.len();
        let keys = self.columns.slot_keys.as_mut_vec();
        let slots = (256 + len_bytes / 3).min(slot_max - keys.len());
        keys.reserve(slots);
    }

    /// Reads the changed slots of an account from `pos` to `end`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn storage_changes(&mut self, mut pos: usize, end: usize) -> Option<()> {
        let mut previous = None;
        let slot_max = self.item_max - self.columns.addresses.len();
        let BalColumns { slot_keys, storage, scratch, .. } = &mut *self.columns;
        let (keys, row_ends) = (slot_keys.as_mut_vec(), &mut scratch.row_ends);
        while pos < end {
            let (slot_start, slot_end) = list(self.bytes, pos, end)?;
            let (key, key_end) = word(self.bytes, slot_start, slot_end)?;
            if previous.is_some_and(|previous| !is_less(previous, key)) | (keys.len() >= slot_max) {
                return None;
            }
            previous = Some(key);
            // SAFETY: `reserve_slots` made room for all slots of this list.
            unsafe { push_word(keys, key) };

            // Most slots change once. Then eight bytes hold the headers of list and change, and whether the change
            // fills the slot is known a load earlier than a loop would know it.
            let head = head(self.bytes, key_end);
            let change = Change::from_head(head >> 8);
            let is_only = (head as u8 == change.payload.wrapping_add(0xc1))
                & (key_end + 2 + usize::from(change.payload) == slot_end)
                & (change.index_len < 4);
            if is_only {
                if !change.is_canonical | (change.index > self.index_max) {
                    return None;
                }
                // SAFETY: the value ends with the slot, in the input; `account` reserved for the rows of all slots.
                unsafe { push_change(storage, self.bytes, &change, slot_end) };
            } else {
                let (changes_start, changes_end) = list(self.bytes, key_end, slot_end)?;
                if (changes_end != slot_end) | (changes_start == changes_end) {
                    return None;
                }
                // SAFETY: the list lies in the input; `account` reserved for the rows of all slots.
                unsafe { word_changes(self.bytes, changes_start, changes_end, self.index_max, storage)? };
            }
            row_ends.push(storage.indices.len() as u32);
            pos = slot_end;
        }
        Some(())
    }

    /// Reads the read slots of an account from `pos` to `end`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn storage_reads(&mut self, mut pos: usize, end: usize) -> Option<()> {
        let mut previous = None;
        let keys = self.columns.slot_keys.as_mut_vec();
        let slot_max = self.item_max - self.columns.addresses.len();
        while pos < end {
            let (key, key_end) = word(self.bytes, pos, end)?;
            if previous.is_some_and(|previous| !is_less(previous, key)) | (keys.len() >= slot_max) {
                return None;
            }
            previous = Some(key);
            // SAFETY: `reserve_slots` made room for all slots of this list.
            unsafe { push_word(keys, key) };
            pos = key_end;
        }
        Some(())
    }

    /// Brings the account's slots into key order and closes their row ranges.
    fn close_slots(&mut self, account: AccountId, first_slot: usize) -> Option<()> {
        let columns = &mut *self.columns;
        let slot_count = columns.slot_keys.len();
        if slot_count > first_slot {
            let keys = &mut columns.slot_keys.as_mut_vec()[first_slot..];
            let rows = columns.storage.offsets.rows() as u32;
            merge(keys, rows, &mut columns.scratch)?;
            columns.storage.offsets.extend_ends(&columns.scratch.merged_ends);
            columns.slot_accounts.resize(slot_count, account);
        }
        columns.slot_offsets.close(slot_count);
        Some(())
    }
}

/// Makes room for the rows that a list of so many bytes can hold.
fn reserve_rows<P, V>(changes: &mut Changes<P, V>, len_bytes: usize) {
    changes.indices.reserve(len_bytes / 3);
    changes.values.reserve(len_bytes / 3);
}

/// Eight bytes from `pos`, zero beyond the input.
#[inline(always)]
fn head(bytes: &[u8], pos: usize) -> u64 {
    match bytes.get(pos..).and_then(<[u8]>::first_chunk) {
        Some(head) => u64::from_le_bytes(*head),
        None => head_at_end(bytes, pos),
    }
}

#[cold]
#[inline(never)]
fn head_at_end(bytes: &[u8], pos: usize) -> u64 {
    let rest = bytes.get(pos..).unwrap_or_default();
    rest.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte))
}

/// Content of the list at `pos`, which lies before `limit`.
#[inline(always)]
fn list(bytes: &[u8], pos: usize, limit: usize) -> Option<(usize, usize)> {
    let head = head(bytes, pos);
    let (first, next) = (head as u8, (head >> 8) as u8);
    let form = LIST_FORMS[usize::from(first)];
    let start = pos + usize::from(form.head_len);
    let end = start + usize::from(form.len | (next & form.len_mask));
    if (u16::from(next) >= form.next_min) & (end <= limit) {
        return Some((start, end));
    }
    let mut cursor = Cursor { bytes, pos };
    let end = cursor.list(limit).ok()?;
    Some((cursor.pos, end))
}

/// The integer at `pos`, which lies before `limit`, and its end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn word(bytes: &[u8], pos: usize, limit: usize) -> Option<(__m256i, usize)> {
    let head = head(bytes, pos);
    let form = INTEGER_FORMS[usize::from(head as u8)];
    // The next item's place hangs on this length: computed, it is known before the table's answer.
    let end = pos + usize::from(if head as u8 >= 0x80 { (head as u8) - 0x7f } else { 1 });
    if (u16::from((head >> 8) as u8) < form.next_min) | (end > limit) {
        return None;
    }
    // SAFETY: the item ends before `limit`, which lies in the input.
    Some((unsafe { load_word(bytes, end, form.len) }, end))
}

/// The big-endian integer of `len` bytes that ends before `end`, in the byte order of `U256`.
///
/// # Safety
/// `len <= 32` and `len <= end <= bytes.len()`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn load_word(bytes: &[u8], end: usize, len: u8) -> __m256i {
    let mask = (0xffff_ffff_0000_0000u64 >> len) as u32;
    let window = bytes.as_ptr().wrapping_add(end).wrapping_sub(32).cast::<i8>();
    // SAFETY: the mask leaves only the item's bytes, which lie in `bytes`; the others are not accessed.
    let big_endian = unsafe { _mm256_maskz_loadu_epi8(mask, window) };
    let reversed = _mm256_set_epi8(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    );
    _mm256_permute4x64_epi64::<0b01_00_11_10>(_mm256_shuffle_epi8(big_endian, reversed))
}

/// Whether `a < b`: the highest byte that differs decides, as does the highest bit of the two masks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn is_less(a: __m256i, b: __m256i) -> bool {
    _mm256_cmplt_epu8_mask(a, b) > _mm256_cmplt_epu8_mask(b, a)
}

/// Appends a word.
///
/// # Safety
/// The vector has room for it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn push_word(words: &mut Vec<U256>, word: __m256i) {
    let len = words.len();
    debug_assert!(len < words.capacity());
    // SAFETY: the row lies in the capacity; `U256` is four little-endian limbs, lowest first, any bits allowed.
    unsafe {
        _mm256_storeu_si256(words.as_mut_ptr().add(len).cast(), word);
        words.set_len(len + 1);
    }
}

/// What the first eight bytes say about a change `[index, integer]`.
struct Change {
    index: u32,
    /// Bytes of the index after its first.
    index_len: u8,
    /// Bytes of the value.
    len: u8,
    /// Bytes of index and value, which follow the change's one byte of header.
    payload: u8,
    /// Whether header, index and value are minimal and fill the change.
    is_canonical: bool,
}

impl Change {
    /// As `Cursor::change`: lengths are as good as random, so nothing branches on them.
    #[inline(always)]
    fn from_head(head: u64) -> Self {
        let payload = (head as u8).wrapping_sub(0xc0);
        let index_form = INDEX_FORMS[usize::from((head >> 8) as u8)];
        let index_bytes = u64::from(((head >> 16) as u32).swap_bytes());
        let index = (index_bytes >> (32 - 8 * index_form.len)) as u32 | u32::from(index_form.single);
        let rest = head >> (16 + 8 * index_form.len);
        let form = INTEGER_FORMS[usize::from(rest as u8)];
        let is_canonical = (payload == 1 + index_form.len + form.room)
            & (u16::from((rest >> 8) as u8) >= form.next_min)
            & (index >= index_form.min);
        Self { index, index_len: index_form.len, len: form.len, payload, is_canonical }
    }
}

/// Appends the change whose value ends before `end`.
///
/// # Safety
/// The change is canonical, `end` is its end and lies in `bytes`, and both columns have room for a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn push_change<P>(out: &mut Changes<P, U256>, bytes: &[u8], change: &Change, end: usize) {
    let row = out.indices.len();
    debug_assert!(row < out.indices.capacity() && row == out.values.len());
    // SAFETY: as the caller vouches.
    unsafe {
        let value = load_word(bytes, end, change.len);
        push_word(&mut out.values, value);
        out.indices.as_mut_ptr().add(row).write(BlockAccessIndex(change.index));
        out.indices.set_len(row + 1);
    }
}

/// Appends the changes `[index, word]` from `pos` to `end`.
///
/// # Safety
/// `end <= bytes.len()`, and both columns have room for `(end - pos) / 3` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn word_changes<P>(
    bytes: &[u8],
    mut pos: usize,
    end: usize,
    index_max: u32,
    out: &mut Changes<P, U256>,
) -> Option<()> {
    let mut index_min = 0u64;
    while pos < end {
        let change = Change::from_head(head(bytes, pos));
        let item_end = pos + 1 + usize::from(change.payload);
        let is_index = (u64::from(change.index) >= index_min) & (change.index <= index_max);
        if !(is_index & change.is_canonical & (item_end <= end)) {
            return None;
        }
        // SAFETY: the value ends with the change, in the input. Each change takes three bytes of the list at least,
        // so its row lies in the room that the caller made.
        unsafe { push_change(out, bytes, &change, item_end) };
        index_min = u64::from(change.index) + 1;
        pos = item_end;
    }
    Some(())
}

/// Merges `keys`, first the changed ones (as many as `row_ends`), then the read ones; `merged_ends` becomes each slot's
/// row end.
///
/// `rows` is the end before the first of them. `None` where a key is in both lists.
fn merge(keys: &mut [U256], rows: u32, scratch: &mut Scratch) -> Option<()> {
    let Scratch { row_ends, merged_ends: ends, changed_keys } = scratch;
    ends.clear();
    let changed_count = row_ends.len();
    let key_count = keys.len();
    let (changed, reads) = keys.split_at(changed_count);
    let is_interleaved = matches!((changed.last(), reads.first()), (Some(last), Some(first)) if last >= first);
    if !is_interleaved {
        ends.extend_from_slice(row_ends);
        ends.resize(key_count, row_ends.last().copied().unwrap_or(rows));
        return Some(());
    }
    changed_keys.clear();
    changed_keys.extend_from_slice(changed);
    ends.resize(key_count, 0);
    let (mut next_changed, mut next_read, mut end) = (0, changed_count, rows);
    // Which list is next is as good as random: no branch on it. The highest limb decides, except among small keys,
    // which lie together; both candidates for the next one are loaded before it is known which is wanted. Writing
    // never overtakes reading, as in the portable decoder.
    let high = |keys: &[U256], at: usize| keys.get(at).map_or(0, |key| key.as_limbs()[3]);
    let (mut change_high, mut read_high) = (high(changed_keys, 0), high(keys, next_read));
    while next_changed < changed_count && next_read < key_count {
        let (change, read) = (&changed_keys[next_changed], &keys[next_read]);
        let (change_next, read_next) = (high(changed_keys, next_changed + 1), high(keys, next_read + 1));
        let is_change = if change_high == read_high {
            if change == read {
                return None;
            }
            rlp::is_less(change, read)
        } else {
            change_high < read_high
        };
        let at = next_changed + next_read - changed_count;
        end = select_unpredictable(is_change, row_ends[next_changed], end);
        keys[at] = *select_unpredictable(is_change, change, read);
        ends[at] = end;
        next_changed += usize::from(is_change);
        next_read += usize::from(!is_change);
        change_high = select_unpredictable(is_change, change_next, change_high);
        read_high = select_unpredictable(is_change, read_high, read_next);
    }
    let at = next_changed + next_read - changed_count;
    let left = changed_count - next_changed;
    keys[at..at + left].copy_from_slice(&changed_keys[next_changed..]);
    ends[at..at + left].copy_from_slice(&row_ends[next_changed..]);
    let end = row_ends.last().copied().unwrap_or(rows);
    ends[at + left..].fill(end);
    Some(())
}
