//! A bounded cursor over untrusted RLP.
//!
//! In: bytes and the end of the list around the next item. Out: items, or the rule broken and the byte where.
//! Relies on: nothing; every read is bounds-checked, every length is held against the list around it.
//! Not here: what the items mean, and their order (`decode`).

use super::BalRule;
use crate::arena::BlockAccessIndex;
use alloy_primitives::{Address, U256};
use core::ops::Range;

/// The rule broken and the first byte of the item that breaks it.
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
    /// Enters a list that lies before `limit`; returns its end.
    #[inline(always)]
    pub(super) fn list(&mut self, limit: usize) -> Result<usize, Fault> {
        let at = self.pos;
        if let Some([head, next]) = self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied() {
            // Entries of one slot fall on either side of 56 bytes: no branch between the two forms.
            let is_long = head == 0xf8;
            let start = at + 1 + usize::from(is_long);
            let end = start + usize::from(if is_long { next } else { head.wrapping_sub(0xc0) });
            if (head >= 0xc0) & (head <= 0xf8) & (!is_long | (next >= 56)) & (end <= limit) {
                self.pos = start;
                return Ok(end);
            }
        }
        self.list_any(limit)
    }

    /// Lists of any length, and everything that is no list.
    #[inline(never)]
    fn list_any(&mut self, limit: usize) -> Result<usize, Fault> {
        let at = self.pos;
        if at >= limit {
            return Err(Fault { rule: BalRule::Truncated, at });
        }
        match self.bytes[at] {
            0..0xc0 => Err(Fault { rule: BalRule::ExpectedList, at }),
            head @ 0xc0..0xf8 => {
                let (start, len) = (at + 1, usize::from(head - 0xc0));
                if limit - start < len {
                    return Err(Fault { rule: BalRule::Truncated, at });
                }
                self.pos = start;
                Ok(start + len)
            }
            head => {
                let len = self.long_length(at, usize::from(head - 0xf7), limit)?;
                Ok(self.pos + len)
            }
        }
    }

    /// Reads a length of `width` bytes after the head at `at` and checks that as many bytes follow.
    fn long_length(&mut self, at: usize, width: usize, limit: usize) -> Result<usize, Fault> {
        let start = at + 1;
        if limit - start < width {
            return Err(Fault { rule: BalRule::Truncated, at });
        }
        // Up to 8 bytes: fits without overflow.
        let len = self.bytes[start..start + width].iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        if self.bytes[start] == 0 || len < 56 {
            return Err(Fault { rule: BalRule::NonCanonicalLength, at });
        }
        if len > (limit - start - width) as u64 {
            return Err(Fault { rule: BalRule::Truncated, at });
        }
        self.pos = start + width;
        Ok(len as usize)
    }

    /// Reads a string that lies before `limit`; returns where its bytes are.
    #[inline]
    pub(super) fn string(&mut self, limit: usize) -> Result<Range<usize>, Fault> {
        let at = self.pos;
        if at >= limit {
            return Err(Fault { rule: BalRule::Truncated, at });
        }
        let range = match self.bytes[at] {
            0..0x80 => at..at + 1,
            head @ 0x80..0xb8 => {
                let start = at + 1;
                let len = usize::from(head - 0x80);
                if limit - start < len {
                    return Err(Fault { rule: BalRule::Truncated, at });
                }
                if len == 1 && self.bytes[start] < 0x80 {
                    return Err(Fault { rule: BalRule::NonCanonicalByte, at });
                }
                start..start + len
            }
            head @ 0xb8..0xc0 => {
                let len = self.long_length(at, usize::from(head - 0xb7), limit)?;
                self.pos..self.pos + len
            }
            0xc0.. => return Err(Fault { rule: BalRule::ExpectedString, at }),
        };
        self.pos = range.end;
        Ok(range)
    }

    /// Reads an address.
    #[inline]
    pub(super) fn address(&mut self, limit: usize) -> Result<Address, Fault> {
        let at = self.pos;
        let range = self.string(limit)?;
        let bytes = &self.bytes[range];
        Address::try_from(bytes).map_err(|_| Fault { rule: BalRule::AddressLength, at })
    }

    /// Looks at an integer of at most 256 bits, without moving; returns it with its end.
    ///
    /// None where it is broken, or near either end of the input: then [`Self::word`] reads it again, or says why not.
    #[inline(always)]
    pub(super) fn peek_word(&self, limit: usize) -> Option<(U256, usize)> {
        let at = self.pos;
        let [head, first] = *self.bytes.get(at..)?.first_chunk()?;
        // A byte below 0x80 is its own one-byte value: same load, no header.
        let has_head = head >= 0x80;
        let len = usize::from(if has_head { head - 0x80 } else { 1 });
        let end = at + usize::from(has_head) + len;
        let lead = if has_head { first } else { head | 0x80 * u8::from(head != 0) };
        if (end > limit) | (len > 32) | (lead < LEAD_MIN[len & 63]) {
            return None;
        }
        Some((load_word(self.bytes, end, len)?, end))
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

    /// Looks at the change `[index, integer]` that lies before `limit`, without moving.
    ///
    /// None where anything is unusual (broken, or within eight bytes of the input's end): then the item is read again
    /// in small steps, which name what is wrong. All of header, index and value header lie in eight bytes, and
    /// lengths of either integer are as good as random, so nothing here branches on them.
    #[inline(always)]
    pub(super) fn change(&self, limit: usize) -> Option<Change> {
        let head = u64::from_le_bytes(*self.bytes.get(self.pos..)?.first_chunk()?);
        let byte = |at: usize| (head >> (8 * (at & 7))) as u8;
        let payload = usize::from(byte(0).wrapping_sub(0xc0));
        let end = self.pos + 1 + payload;

        let index_head = byte(1);
        let index_len = usize::from(index_head.saturating_sub(0x80));
        let index_bytes = u64::from(((head >> 16) as u32).swap_bytes());
        let single = if index_head < 0x80 { index_head } else { 0 };
        let index = (index_bytes >> (32 - 8 * index_len.min(4))) as u32 | u32::from(single);

        // A value that fills one byte is itself, or the empty string; a longer one has a header.
        let room = payload.wrapping_sub(1 + index_len);
        let (value_head, first) = (byte(2 + index_len), byte(3 + index_len));
        let is_single = room == 1;
        let len = room.wrapping_sub(usize::from(!is_single | (value_head == 0x80)));
        let is_short = is_single & (value_head.wrapping_sub(1) < 0x80);
        let is_long = !is_single & (usize::from(value_head) == 0x80 + len) & (first >= LEAD_MIN[len & 63]);
        let is_index = (index_head != 0) & (index_len <= 4) & (index >= INDEX_MIN[index_len & 7]);
        (is_index & (is_short | is_long) & (len <= 32) & (end <= limit)).then_some(Change {
            index: BlockAccessIndex(index),
            len,
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

/// Per length in bytes, the least first byte of a minimal integer with a header; no length above 32 has any.
const LEAD_MIN: [u8; 64] = {
    let mut least = [1; 64];
    (least[0], least[1]) = (0, 0x80);
    least
};

/// Per length in bytes, the least index written so; a byte below 0x80 stands for itself.
const INDEX_MIN: [u32; 8] = [0, 0x80, 1 << 8, 1 << 16, 1 << 24, u32::MAX, u32::MAX, u32::MAX];

/// Per length in bytes, the limbs' bits that belong to the value.
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

/// The big-endian integer of `len` (at most 32) bytes that ends before `end`; none near the input's start.
///
/// One 32-byte window that ends with the item, whatever its length; what precedes the item is masked away.
#[inline(always)]
pub(super) fn load_word(bytes: &[u8], end: usize, len: usize) -> Option<U256> {
    let window: &[u8; 32] = bytes.get(..end)?.last_chunk()?;
    let (limbs, _) = window.as_chunks::<8>();
    let mask = &MASKS[len & 63];
    let limb = |i: usize| u64::from_be_bytes(limbs[3 - i]) & mask[i];
    Some(U256::from_limbs([limb(0), limb(1), limb(2), limb(3)]))
}

/// The big-endian integer of `len` bytes that ends before `end`; none near the input's start, or above 8 bytes.
#[inline(always)]
pub(super) fn load_uint64(bytes: &[u8], end: usize, len: usize) -> Option<u64> {
    let window: &[u8; 8] = bytes.get(..end)?.last_chunk()?;
    (len <= 8).then(|| u64::from_be_bytes(*window) & MASKS[len & 63][0])
}

/// Whether `a < b`, without a branch: which limb decides is as good as random.
#[inline(always)]
pub(super) fn is_less(a: &U256, b: &U256) -> bool {
    let halves = |word: &U256| {
        let [l0, l1, l2, l3] = *word.as_limbs();
        (u128::from(l3) << 64 | u128::from(l2), u128::from(l1) << 64 | u128::from(l0))
    };
    let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
    (a_high < b_high) | ((a_high == b_high) & (a_low < b_low))
}
