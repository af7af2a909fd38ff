//! Decoder with AVX-512: the same columns as the portable decoder for valid lists, `None` for
//! invalid ones.
//!
//! In: untrusted bytes. Out: filled columns, or `None`. After `None` the portable decoder decodes
//! the list again and decides. It is the reference implementation of this file, and the only code
//! that rejects lists.
//! Spec: EIP-7928, as in `decode`.
//! Relies on: the tables in `rlp`; AVX-512 F, BW and VL, and BMI2, detected at run time.
//! Not here: errors.
//!
//! Why it is faster: an integer of any length is one masked load that ends with the item, reversed
//! by two shuffles. Changes are located sequentially, but decoded eight at a time ([`gathered`]).
//! The order of slots is checked once, after the merge of changed and read slots: the merged keys
//! strictly ascend if and only if both lists do and share no key. Rows are written into spare
//! capacity, which is reserved once per list from its length in bytes.
//!
//! Unsafe boundaries and why they are sound:
//! - calling `Wide::list` requires CPU features, which [`try_decode`] detects;
//! - masked loads access only bytes of the item, whose end was checked against the input before;
//! - slots are written below the reserved capacity, which is checked for each slot: a valid list of
//!   `n` bytes has at most `256 + n / 3` slots (keys are minimal and strictly ascend: 128 keys take
//!   one byte, 128 take two, all others more).
#![allow(unsafe_code)]

use super::{changes, code};
use crate::arena::prefetch::prefetch_lines;
use crate::arena::{AccountId, Id};
use crate::bal::columns::Scratch;
use crate::bal::rlp::{self, Cursor, INTEGER_FORMS, LIST_FORMS};
use crate::bal::{BalColumns, Limits};
use alloy_primitives::{Address, U256};
use core::arch::x86_64::*;
use core::hint::select_unpredictable;
use core::mem::MaybeUninit;

mod gathered;
#[cfg(test)]
mod tests;

use gathered::Gathered;

/// Whether the CPU has the features that this file requires.
pub(in crate::bal) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi2")
}

/// Decodes a list into empty columns. `None`: their content is unspecified, and the portable
/// decoder must be used.
pub(in crate::bal) fn try_decode(columns: &mut BalColumns, bytes: &[u8], limits: &Limits) -> Option<()> {
    if !is_available() || u32::try_from(bytes.len()).is_err() {
        return None;
    }
    let gathered = || Gathered::new(limits.index_max());
    let mut wide = Wide {
        bytes,
        item_max: limits.item_max(),
        limits,
        columns,
        storage: gathered(),
        balances: gathered(),
        nonces: gathered(),
    };
    // SAFETY: the CPU has the features that `list` is compiled for.
    unsafe { wide.list() }
}

struct Wide<'a> {
    bytes: &'a [u8],
    item_max: usize,
    limits: &'a Limits,
    columns: &'a mut BalColumns,
    storage: Gathered,
    balances: Gathered,
    nonces: Gathered,
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
        let columns = &mut *self.columns;
        self.storage.read_words(self.bytes, &mut columns.storage)?;
        self.balances.read_words(self.bytes, &mut columns.balances)?;
        self.nonces.read_uint64s(self.bytes, &mut columns.nonces)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn account(&mut self, cursor: &mut Cursor<'_>, limit: usize) -> Option<()> {
        prefetch_ahead(self.bytes, cursor.pos);
        let end = cursor.list(limit).ok()?;
        let account = AccountId::new(self.columns.addresses.len());
        self.address(cursor, end)?;

        // Most accounts list no slots: two empty lists.
        if head(self.bytes, cursor.pos) as u16 == 0xc0c0 {
            cursor.pos += 2;
            self.columns.slot_offsets.close(self.columns.slot_keys.len());
        } else {
            self.slots(cursor, end, account)?;
        }

        let (bytes, columns) = (self.bytes, &mut *self.columns);
        let balances_end = cursor.list(end).ok()?;
        let read = |gathered: &mut Gathered| gathered.read_words(bytes, &mut columns.balances);
        self.balances.list(bytes, cursor.pos, balances_end, read)?;
        cursor.pos = balances_end;
        let nonces_end = cursor.list(end).ok()?;
        let read = |gathered: &mut Gathered| gathered.read_uint64s(bytes, &mut columns.nonces);
        self.nonces.list(bytes, cursor.pos, nonces_end, read)?;
        cursor.pos = nonces_end;
        let is_codeless = (cursor.pos + 1 == end) & (head(cursor.bytes, cursor.pos) as u8 == 0xc0);
        if !is_codeless {
            let limits = self.limits;
            let codes_end = cursor.list(end).ok()?;
            if codes_end != end {
                return None;
            }
            let index_max = limits.index_max();
            changes(cursor, codes_end, index_max, &mut columns.codes, |_, _, _| None, |c, end| code(c, end, limits))
                .ok()?;
        }
        // The value is the same, but this way it does not depend on decoding the account's items.
        cursor.pos = end;
        columns.balances.offsets.close(columns.balances.indices.len() + self.balances.len);
        columns.nonces.offsets.close(columns.nonces.indices.len() + self.nonces.len);
        columns.codes.offsets.close(columns.codes.indices.len());
        Some(())
    }

    /// Decodes both slot lists of an account.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn slots(&mut self, cursor: &mut Cursor<'_>, end: usize, account: AccountId) -> Option<()> {
        let columns = &mut *self.columns;
        columns.scratch.clear();
        columns.scratch.row_ends.push(columns.storage.offsets.rows() as u32);
        let changes_end = cursor.list(end).ok()?;
        if cursor.pos < changes_end {
            self.storage_changes(cursor.pos, changes_end)?;
        }
        cursor.pos = changes_end;
        let reads_end = cursor.list(end).ok()?;
        if cursor.pos < reads_end {
            self.storage_reads(cursor.pos, reads_end)?;
        }
        cursor.pos = reads_end;
        self.close_slots(account)
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

    /// Maximum number of slots in a list of `len_bytes` bytes, within the limits.
    fn slot_max(&self, len_bytes: usize) -> usize {
        let limit = self.item_max - self.columns.addresses.len() - self.columns.slot_keys.len();
        (256 + len_bytes / 3).min(limit)
    }

    /// Decodes the changed slots of an account from `pos` to `end`; their order is checked after
    /// the merge.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn storage_changes(&mut self, mut pos: usize, end: usize) -> Option<()> {
        let (bytes, slot_max) = (self.bytes, self.slot_max(end - pos));
        let BalColumns { storage, scratch: Scratch { changed_keys, row_ends, .. }, .. } = &mut *self.columns;
        changed_keys.reserve(slot_max);
        row_ends.reserve(slot_max);
        let mut slot = 0;
        while pos < end {
            prefetch_ahead(bytes, pos);
            let (slot_start, slot_end) = list(bytes, pos, end)?;
            // SAFETY: `list` returns an end at or below `end`, and `Cursor::list` checked `end`
            // against the input.
            let (key, key_end) = unsafe { word(bytes, slot_start, slot_end) }?;
            if slot >= slot_max {
                return None;
            }
            // SAFETY: `slot < slot_max`, and capacity for `slot_max` slots was reserved.
            unsafe { write_word(changed_keys.as_mut_ptr().add(slot), key) };

            let (changes_start, changes_end) = list(bytes, key_end, slot_end)?;
            if (changes_end != slot_end) | (changes_start == changes_end) {
                return None;
            }
            let read = |gathered: &mut Gathered| gathered.read_words(bytes, storage);
            self.storage.list(bytes, changes_start, changes_end, read)?;
            let row = storage.indices.len() + self.storage.len;
            // SAFETY: capacity for `slot_max` further ends was reserved, after the one already
            // pushed.
            unsafe { row_ends.as_mut_ptr().add(slot + 1).write(row as u32) };
            slot += 1;
            pos = slot_end;
        }
        // SAFETY: all slots up to these counts are written, within the capacities.
        unsafe {
            changed_keys.set_len(slot);
            row_ends.set_len(slot + 1);
        }
        Some(())
    }

    /// Decodes the read slots of an account from `pos` to `end`; their order is checked after the
    /// merge.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn storage_reads(&mut self, mut pos: usize, end: usize) -> Option<()> {
        let slot_max = self.slot_max(end - pos);
        let keys = &mut self.columns.scratch.read_keys;
        keys.reserve(slot_max);
        let mut slot = 0;
        while pos < end {
            prefetch_ahead(self.bytes, pos);
            // SAFETY: `Cursor::list` checked `end` against the input.
            let (key, key_end) = unsafe { word(self.bytes, pos, end) }?;
            if slot >= slot_max {
                return None;
            }
            // SAFETY: `slot < slot_max`, and capacity for `slot_max` slots was reserved.
            unsafe { write_word(keys.as_mut_ptr().add(slot), key) };
            slot += 1;
            pos = key_end;
        }
        // SAFETY: all slots up to this count are written, within the capacity.
        unsafe { keys.set_len(slot) };
        Some(())
    }

    /// Merges the account's slots by key and closes their row ranges.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn close_slots(&mut self, account: AccountId) -> Option<()> {
        let BalColumns { addresses, slot_offsets, slot_keys, slot_accounts, storage, scratch, .. } = &mut *self.columns;
        let Scratch { changed_keys, row_ends, read_keys, merged_ends } = scratch;
        let (keys, slots) = (slot_keys.as_mut_vec(), changed_keys.len() + read_keys.len());
        let (first_slot, slot_count) = (keys.len(), keys.len() + slots);
        if addresses.len() + slot_count > self.item_max {
            return None;
        }
        keys.reserve(slots);
        merged_ends.reserve(slots);
        let (key_rows, end_rows) =
            (&mut keys.spare_capacity_mut()[..slots], &mut merged_ends.spare_capacity_mut()[..slots]);
        merge((changed_keys, row_ends), read_keys, (key_rows, end_rows));
        // SAFETY: `merge` wrote all of these rows.
        unsafe {
            keys.set_len(slot_count);
            merged_ends.set_len(slots);
        }
        if !is_ascending(&keys[first_slot..]) {
            return None;
        }
        storage.offsets.extend_ends(merged_ends);
        slot_accounts.resize(slot_count, account);
        slot_offsets.close(slot_count);
        Some(())
    }
}

/// Prefetches the input half a page ahead: the list is not in the cache yet, and the hardware
/// prefetchers stop at page boundaries.
#[inline(always)]
fn prefetch_ahead(bytes: &[u8], pos: usize) {
    prefetch_lines(bytes.as_ptr().wrapping_add(pos + 2048), 1);
}

/// Eight bytes from `pos`, little-endian; bytes beyond the input are zero.
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

/// Start and end of the content of the list at `pos`, which must end at or before `limit`.
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

/// The integer at `pos`, which must end at or before `limit`, and its end.
///
/// # Safety
/// - `limit <= bytes.len()`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn word(bytes: &[u8], pos: usize, limit: usize) -> Option<(__m256i, usize)> {
    let head = head(bytes, pos);
    let form = INTEGER_FORMS[usize::from(head as u8)];
    // The next item's position depends on this length; computing it is faster than the table
    // look-up.
    let end = pos + usize::from(if head as u8 >= 0x80 { (head as u8) - 0x7f } else { 1 });
    if (u16::from((head >> 8) as u8) < form.next_min) | (end > limit) {
        return None;
    }
    // SAFETY: the item is `bytes[pos..end]`, and `end <= limit <= bytes.len()`.
    Some((unsafe { load_word(bytes, end, mask_of(form.len)) }, end))
}

/// A mask with the highest `len` bits set (at most 32), one per byte of an integer.
#[inline(always)]
fn mask_of(len: u8) -> u32 {
    (0xffff_ffff_0000_0000u64 >> len) as u32
}

/// The big-endian integer that ends before `end` and has one byte per bit of `mask`, converted to
/// the byte order of `U256`.
///
/// # Safety
/// - `mask` is [`mask_of`] a length.
/// - That length is at most `end`, and `end <= bytes.len()`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn load_word(bytes: &[u8], end: usize, mask: u32) -> __m256i {
    let window = bytes.as_ptr().wrapping_add(end).wrapping_sub(32).cast::<i8>();
    // SAFETY: the mask selects only the item's bytes, which are in `bytes`; masked-out bytes are
    // not accessed.
    let big_endian = unsafe { _mm256_maskz_loadu_epi8(mask, window) };
    let reversed = _mm256_set_epi8(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    );
    _mm256_permute4x64_epi64::<0b01_00_11_10>(_mm256_shuffle_epi8(big_endian, reversed))
}

/// Stores a word.
///
/// # Safety
/// - `to` is valid for writes of 32 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn write_word(to: *mut U256, word: __m256i) {
    // SAFETY: guaranteed by the caller; `U256` is four little-endian limbs, lowest first, and every
    // bit pattern is valid.
    unsafe { _mm256_storeu_si256(to.cast(), word) };
}

/// Merges changed and read slots by key, with each slot's row end.
///
/// `row_ends` contains the first row of the first slot, then the row end of each changed slot. All
/// of the output is written, also if the lists do not ascend.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn merge(
    (changed, row_ends): (&[U256], &[u32]),
    reads: &[U256],
    (keys, ends): (&mut [MaybeUninit<U256>], &mut [MaybeUninit<u32>]),
) {
    let count = changed.len() + reads.len();
    assert!(row_ends.len() == changed.len() + 1 && keys.len() == count && ends.len() == count);
    let (mut row, mut next_changed, mut next_read) = (0, 0, 0);
    if let (Some(last), Some(first)) = (changed.last(), reads.first())
        && last >= first
    {
        // Which list has the next key is unpredictable, so there is no branch on it. Comparing the
        // highest limbs decides, except between small keys, which are adjacent in the order. Both
        // candidates for the next key are loaded before the comparison is done.
        let highest = |keys: &[U256], at: usize| keys.get(at).map_or(0, |key| key.as_limbs()[3]);
        let (mut change_high, mut read_high) = (highest(changed, 0), highest(reads, 0));
        while next_changed < changed.len() && next_read < reads.len() {
            let (change, read) = (&changed[next_changed], &reads[next_read]);
            let (change_next, read_next) = (highest(changed, next_changed + 1), highest(reads, next_read + 1));
            let is_change = if change_high == read_high { rlp::is_less(change, read) } else { change_high < read_high };
            keys[row].write(*select_unpredictable(is_change, change, read));
            next_changed += usize::from(is_change);
            next_read += usize::from(!is_change);
            ends[row].write(row_ends[next_changed]);
            row += 1;
            change_high = select_unpredictable(is_change, change_next, change_high);
            read_high = select_unpredictable(is_change, read_high, read_next);
        }
    }
    let (changed, row_ends, reads) = (&changed[next_changed..], &row_ends[next_changed..], &reads[next_read..]);
    let (changed_keys, read_keys) = keys[row..].split_at_mut(changed.len());
    changed_keys.write_copy_of_slice(changed);
    read_keys.write_copy_of_slice(reads);
    let (changed_ends, read_ends) = ends[row..].split_at_mut(changed.len());
    changed_ends.write_copy_of_slice(&row_ends[1..]);
    read_ends.fill(MaybeUninit::new(row_ends[changed.len()]));
}

/// Whether keys strictly ascend. Merged keys do if and only if both lists do and have no key in
/// common.
fn is_ascending(keys: &[U256]) -> bool {
    keys.windows(2).all(|pair| {
        let [a, b] = [&pair[0], &pair[1]];
        let (a_high, b_high) = (a.as_limbs()[3], b.as_limbs()[3]);
        if a_high == b_high { rlp::is_less(a, b) } else { a_high < b_high }
    })
}
