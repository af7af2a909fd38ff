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
        if at < limit {
            let head = self.bytes[at];
            let end = at + 1 + usize::from(head.wrapping_sub(0xc0));
            if (0xc0..0xf8).contains(&head) && end <= limit {
                self.pos = at + 1;
                return Ok(end);
            }
        }
        self.list_long(limit)
    }

    /// Lists of 56 bytes and more, and everything that is no list.
    #[inline(never)]
    fn list_long(&mut self, limit: usize) -> Result<usize, Fault> {
        let at = self.pos;
        if at >= limit {
            return Err(Fault { rule: BalRule::Truncated, at });
        }
        match self.bytes[at] {
            0..0xc0 => Err(Fault { rule: BalRule::ExpectedList, at }),
            0xc0..0xf8 => Err(Fault { rule: BalRule::Truncated, at }),
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

    /// Reads an integer of at most 256 bits.
    #[inline(always)]
    pub(super) fn word(&mut self, limit: usize) -> Result<U256, Fault> {
        let at = self.pos;
        if at < limit {
            let head = self.bytes[at];
            // A byte below 0x80 is its own one-byte value: same load, no header.
            let is_string = head >= 0x80;
            let (start, len) = if is_string { (at + 1, usize::from(head.wrapping_sub(0x80))) } else { (at, 1) };
            let end = start + len;
            if len <= 32 && end <= limit {
                let canonical = match len {
                    0 => true,
                    1 => is_string == (self.bytes[start] >= 0x80) && head != 0,
                    _ => self.bytes[start] != 0,
                };
                if canonical {
                    self.pos = end;
                    return Ok(load_be(self.bytes, end, len));
                }
            }
        }
        Err(self.integer_fault(limit, 256))
    }

    /// Reads an integer of at most 64 bits.
    #[inline(always)]
    pub(super) fn uint64(&mut self, limit: usize) -> Result<u64, Fault> {
        let at = self.pos;
        let word = self.word(limit)?;
        if self.pos - at > 9 {
            return Err(Fault { rule: BalRule::IntegerTooWide { bits: 64 }, at });
        }
        Ok(word.as_limbs()[0])
    }

    /// Reads a block access index.
    #[inline(always)]
    pub(super) fn index(&mut self, limit: usize) -> Result<BlockAccessIndex, Fault> {
        let at = self.pos;
        // Indices below 128 are one byte: zero is 0x80.
        if at < limit && matches!(self.bytes[at], 1..=0x80) {
            self.pos = at + 1;
            return Ok(BlockAccessIndex(u32::from(self.bytes[at] & 0x7f)));
        }
        // 128 to 255 in two bytes, to 65,535 in three: the usual ones of a full block.
        if limit - at >= 3 {
            let (head, high, low) = (self.bytes[at], self.bytes[at + 1], self.bytes[at + 2]);
            if head == 0x81 && high >= 0x80 {
                self.pos = at + 2;
                return Ok(BlockAccessIndex(u32::from(high)));
            }
            if head == 0x82 && high != 0 {
                self.pos = at + 3;
                return Ok(BlockAccessIndex(u32::from(high) << 8 | u32::from(low)));
            }
        }
        self.index_wide(limit)
    }

    #[inline(never)]
    fn index_wide(&mut self, limit: usize) -> Result<BlockAccessIndex, Fault> {
        let at = self.pos;
        let word = self.word(limit)?;
        u32::try_from(word).map(BlockAccessIndex).map_err(|_| Fault { rule: BalRule::IntegerTooWide { bits: 32 }, at })
    }

    /// Names what is wrong with the integer at the cursor.
    #[cold]
    #[inline(never)]
    fn integer_fault(&mut self, limit: usize, bits: u16) -> Fault {
        let at = self.pos;
        let rule = match self.string(limit) {
            Err(fault) => fault.rule,
            Ok(range) if range.len() > 32 => BalRule::IntegerTooWide { bits },
            Ok(_) => BalRule::LeadingZero,
        };
        Fault { rule, at }
    }
}

/// Per length in bytes, the limbs' bits that belong to the value.
const MASKS: [[u64; 4]; 33] = {
    let mut masks = [[0u64; 4]; 33];
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

/// The big-endian integer of `len` (at most 32) bytes that ends before `end`.
#[inline(always)]
fn load_be(bytes: &[u8], end: usize, len: usize) -> U256 {
    // One 32-byte window that ends with the item, whatever its length; what precedes the item is masked away.
    let Some(window) = bytes[..end].last_chunk::<32>() else {
        return U256::from_be_slice(&bytes[end - len..end]);
    };
    let limb = |i: usize| {
        let at = 24 - 8 * i;
        let mut be = [0u8; 8];
        be.copy_from_slice(&window[at..at + 8]);
        u64::from_be_bytes(be) & MASKS[len][i]
    };
    U256::from_limbs([limb(0), limb(1), limb(2), limb(3)])
}
