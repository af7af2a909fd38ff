//! A bounds-checked cursor over untrusted RLP.
//!
//! In: bytes, and the end of the list that encloses the next item. Out: items, or the violated rule
//! and its byte offset.
//! Relies on: `arena::rlp`, which checks every length against the enclosing list. Lists, integers and changes of usual
//! lengths are read here without it and without branches on their lengths, which are unpredictable in a list; what does
//! not match such a form is read again by `arena::rlp`, which finds the error. Other inputs (`exec::wire`, trie nodes)
//! are short or larger than these forms, so these are not shared.
//! Not here: the meaning and the order of items (`decode`).

use super::BalRule;
use crate::arena::BlockAccessIndex;
use crate::arena::rlp::{self, RlpFault};
use alloy_primitives::{Address, U256};
use core::ops::Range;

/// A violated rule and the offset of the first byte of the item that violates it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) rule: BalRule,
    pub(super) at: usize,
}

/// Position in the input.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
}

impl Cursor<'_> {
    /// Moves to the content of the list at the cursor, which must end at or before `limit`; returns
    /// its end.
    #[inline(always)]
    pub(super) fn list(&mut self, limit: usize) -> Result<usize, Fault> {
        if let Some([head, next]) = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk).copied() {
            // Payloads of slot entries are both above and below 56 bytes, so there is no branch
            // between the two header forms.
            let form = LIST_FORMS[usize::from(head)];
            let start = self.pos + usize::from(form.head_len);
            let end = start + usize::from(form.len | (next & form.len_mask));
            if (u16::from(next) >= form.next_min) & (end <= limit) {
                self.pos = start;
                return Ok(end);
            }
        }
        self.list_any(limit)
    }

    /// Slow path of [`Self::list`]: lists of any length, and errors.
    #[inline(never)]
    fn list_any(&mut self, limit: usize) -> Result<usize, Fault> {
        let payload = self.item(limit, true)?;
        self.pos = payload.start;
        Ok(payload.end)
    }

    /// Reads a string that ends at or before `limit`; returns the range of its content.
    #[inline]
    pub(super) fn string(&mut self, limit: usize) -> Result<Range<usize>, Fault> {
        let payload = self.item(limit, false)?;
        self.pos = payload.end;
        Ok(payload)
    }

    /// The payload of the item at the cursor, a list or a string. A wrong kind is reported before a wrong length.
    #[inline(always)]
    fn item(&self, limit: usize, is_list: bool) -> Result<Range<usize>, Fault> {
        let at = self.pos;
        let fault = |rule| Fault { rule, at };
        if at < limit && self.bytes.get(at).is_some_and(|first| (*first >= 0xc0) != is_list) {
            return Err(fault(if is_list { BalRule::ExpectedList } else { BalRule::ExpectedString }));
        }
        match rlp::item(self.bytes, at, limit) {
            Ok(item) => Ok(item.payload),
            Err(RlpFault::Truncated) => Err(fault(BalRule::Truncated)),
            Err(RlpFault::Length) => Err(fault(BalRule::NonCanonicalLength)),
            Err(RlpFault::Byte) => Err(fault(BalRule::NonCanonicalByte)),
        }
    }

    /// Reads an address.
    #[inline]
    pub(super) fn address(&mut self, limit: usize) -> Result<Address, Fault> {
        let at = self.pos;
        let range = self.string(limit)?;
        let bytes = &self.bytes[range];
        Address::try_from(bytes).map_err(|_| Fault { rule: BalRule::AddressLength, at })
    }

    /// Decodes an integer of at most 256 bits without moving the cursor; returns it with its end.
    ///
    /// `None` if it is malformed or near either end of the input; [`Self::word`] then decodes it or
    /// returns the error.
    #[inline(always)]
    pub(super) fn peek_word(&self, limit: usize) -> Option<(U256, usize)> {
        let [head, next] = *self.bytes.get(self.pos..)?.first_chunk()?;
        let form = INTEGER_FORMS[usize::from(head)];
        let end = self.pos + usize::from(form.room);
        if (u16::from(next) < form.next_min) | (end > limit) {
            return None;
        }
        Some((load_word(self.bytes, end, usize::from(form.len))?, end))
    }

    /// Reads an integer of at most 256 bits.
    #[inline(never)]
    pub(super) fn word(&mut self, limit: usize) -> Result<U256, Fault> {
        let at = self.pos;
        let range = self.string(limit)?;
        let bytes = &self.bytes[range];
        if bytes.len() > 32 {
            return Err(Fault { rule: BalRule::IntegerTooWide { bits: 256 }, at });
        }
        if bytes.first() == Some(&0) {
            return Err(Fault { rule: BalRule::LeadingZero, at });
        }
        Ok(U256::from_be_slice(bytes))
    }

    /// Reads an integer of at most 64 bits.
    pub(super) fn uint64(&mut self, limit: usize) -> Result<u64, Fault> {
        let at = self.pos;
        let word = self.word(limit)?;
        u64::try_from(word).map_err(|_| Fault { rule: BalRule::IntegerTooWide { bits: 64 }, at })
    }

    /// Reads a block access index.
    pub(super) fn index(&mut self, limit: usize) -> Result<BlockAccessIndex, Fault> {
        let at = self.pos;
        let word = self.word(limit)?;
        u32::try_from(word).map(BlockAccessIndex).map_err(|_| Fault { rule: BalRule::IntegerTooWide { bits: 32 }, at })
    }

    /// Decodes the headers of a change `[index, integer]` that ends at or before `limit`, without
    /// moving the cursor.
    ///
    /// `None` if the change is malformed or within eight bytes of the input's end; it is then
    /// decoded step by step, which also finds the error. List header, index and value header fit
    /// into eight bytes. The lengths of both integers are unpredictable, so nothing here branches
    /// on them.
    #[inline(always)]
    pub(super) fn change(&self, limit: usize) -> Option<Change> {
        let head = u64::from_le_bytes(*self.bytes.get(self.pos..)?.first_chunk()?);
        let payload = usize::from((head as u8).wrapping_sub(0xc0));
        let end = self.pos + 1 + payload;

        let index_form = INDEX_FORMS[usize::from((head >> 8) as u8)];
        let index_bytes = u64::from(((head >> 16) as u32).swap_bytes());
        let index = (index_bytes >> (32 - 8 * index_form.len)) as u32 | u32::from(index_form.single);

        let rest = head >> (16 + 8 * index_form.len);
        let form = INTEGER_FORMS[usize::from(rest as u8)];
        let is_value =
            (payload == 1 + usize::from(index_form.len + form.room)) & ((rest >> 8) as u8 as u16 >= form.next_min);
        ((index >= index_form.min) & is_value & (end <= limit)).then_some(Change {
            index: BlockAccessIndex(index),
            len: usize::from(form.len),
            end,
        })
    }
}

/// A well-formed change: its value is the `len` bytes that end before `end`.
pub(super) struct Change {
    pub(super) index: BlockAccessIndex,
    pub(super) len: usize,
    pub(super) end: usize,
}

/// Properties of a list by its first byte. For a byte that does not begin such a list, `next_min`
/// is 256, which no byte reaches.
#[derive(Clone, Copy)]
pub(super) struct ListForm {
    /// Bytes of the header.
    pub(super) head_len: u8,
    /// Length of the content in bytes, unless the next byte contains it.
    pub(super) len: u8,
    /// 0xff if the next byte is the length, otherwise 0.
    pub(super) len_mask: u8,
    /// Minimum of the next byte in a canonical list.
    pub(super) next_min: u16,
}

/// Lists of up to 255 bytes by their first byte.
pub(super) static LIST_FORMS: [ListForm; 256] = {
    let mut forms = [ListForm { head_len: 1, len: 0, len_mask: 0, next_min: 256 }; 256];
    let mut head = 0xc0;
    while head < 0xf8 {
        forms[head] = ListForm { head_len: 1, len: (head - 0xc0) as u8, len_mask: 0, next_min: 0 };
        head += 1;
    }
    forms[0xf8] = ListForm { head_len: 2, len: 0, len_mask: 0xff, next_min: 56 };
    forms
};

/// As [`ListForm`], for integers of up to 256 bits.
#[derive(Clone, Copy)]
pub(super) struct IntegerForm {
    /// Bytes of the whole item.
    pub(super) room: u8,
    /// Bytes of the integer, at the end of the item.
    pub(super) len: u8,
    /// Minimum of the next byte in a minimal integer.
    pub(super) next_min: u16,
}

/// Integers of up to 256 bits by their first byte.
pub(super) static INTEGER_FORMS: [IntegerForm; 256] = {
    let mut forms = [IntegerForm { room: 1, len: 0, next_min: 256 }; 256];
    let mut head = 1;
    while head <= 0xa0 {
        forms[head] = match head {
            0..0x80 => IntegerForm { room: 1, len: 1, next_min: 0 },
            0x80 => IntegerForm { room: 1, len: 0, next_min: 0 },
            0x81 => IntegerForm { room: 2, len: 1, next_min: 0x80 },
            _ => IntegerForm { room: (head - 0x7f) as u8, len: (head - 0x80) as u8, next_min: 1 },
        };
        head += 1;
    }
    forms
};

/// As [`ListForm`], for indices.
#[derive(Clone, Copy)]
struct IndexForm {
    /// Minimum value of a minimally encoded integer of this form.
    min: u32,
    /// Bytes after the first byte.
    len: u8,
    /// The value, if the first byte is the whole integer.
    single: u8,
}

/// Indices by their first byte. A byte that does not begin an index decodes to zero, which is below
/// its minimum of one.
static INDEX_FORMS: [IndexForm; 256] = {
    let mut forms = [IndexForm { min: 1, len: 0, single: 0 }; 256];
    let mut head = 1;
    while head < 0x80 {
        forms[head].single = head as u8;
        head += 1;
    }
    forms[0x80].min = 0;
    forms[0x81] = IndexForm { min: 0x80, len: 1, single: 0 };
    forms[0x82] = IndexForm { min: 1 << 8, len: 2, single: 0 };
    forms[0x83] = IndexForm { min: 1 << 16, len: 3, single: 0 };
    forms[0x84] = IndexForm { min: 1 << 24, len: 4, single: 0 };
    forms
};

/// Per length in bytes, a mask of the limbs' bits that belong to the value.
const MASKS: [[u64; 4]; 64] = {
    let mut masks = [[0u64; 4]; 64];
    let mut len = 0usize;
    while len <= 32 {
        let mut limb = 0;
        while limb < 4 {
            let bytes = len.saturating_sub(8 * limb);
            masks[len][limb] = if bytes >= 8 { u64::MAX } else { (1u64 << (8 * bytes)) - 1 };
            limb += 1;
        }
        len += 1;
    }
    masks
};

/// The big-endian integer of `len` (at most 32) bytes that ends before `end`; `None` if `end` is
/// below 32.
///
/// Loads the 32 bytes before `end` regardless of the length, and masks out the bytes before the
/// integer.
#[inline(always)]
pub(super) fn load_word(bytes: &[u8], end: usize, len: usize) -> Option<U256> {
    let window: &[u8; 32] = bytes.get(..end)?.last_chunk()?;
    let (limbs, _) = window.as_chunks::<8>();
    let mask = &MASKS[len & 63];
    let limb = |i: usize| u64::from_be_bytes(limbs[3 - i]) & mask[i];
    Some(U256::from_limbs([limb(0), limb(1), limb(2), limb(3)]))
}

/// The big-endian integer of `len` bytes that ends before `end`; `None` if `end` is below 8 or
/// `len` above 8.
#[inline(always)]
pub(super) fn load_uint64(bytes: &[u8], end: usize, len: usize) -> Option<u64> {
    let window: &[u8; 8] = bytes.get(..end)?.last_chunk()?;
    (len <= 8).then(|| u64::from_be_bytes(*window) & MASKS[len & 63][0])
}

/// Whether `a < b`, without a branch: which limb decides is unpredictable.
#[inline(always)]
pub(super) fn is_less(a: &U256, b: &U256) -> bool {
    let halves = |word: &U256| {
        let [l0, l1, l2, l3] = *word.as_limbs();
        (u128::from(l3) << 64 | u128::from(l2), u128::from(l1) << 64 | u128::from(l0))
    };
    let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
    (a_high < b_high) | ((a_high == b_high) & (a_low < b_low))
}
