//! A bounds-checked cursor over untrusted RLP. Accepts only the shortest encodings; every error
//! contains the byte offset.
//!
//! In: bytes. Out: slices of them, integers, cursors over nested lists. Nothing is copied or
//! allocated.
//! Relies on: `arena::rlp`.
//! Not here: the meaning of items.

use super::error::{Field, WireError, WireErrorKind as Kind};
use crate::arena::rlp::{self, RlpFault};
use alloy_primitives::{Address, B256, U256};

/// A byte range of a block's RLP, which is shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The range `start..end`; both are below 4 GiB, which [`Cursor::within`] has checked.
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self { start: start as u32, end: end as u32 }
    }

    /// The range for indexing a slice.
    #[inline]
    pub const fn range(self) -> core::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the range is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Reads the items of one list, or of a whole input, in order.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

/// One item: its kind, its start and the range of its payload.
#[derive(Clone, Copy, Debug)]
struct Item {
    list: bool,
    start: usize,
    payload: Span,
}

impl<'a> Cursor<'a> {
    /// A cursor over a whole input; offsets count from its first byte.
    pub(super) fn new(bytes: &'a [u8], field: Field) -> Result<Self, WireError> {
        Self::within(bytes, 0, bytes.len(), field)
    }

    /// A cursor over `bytes[start..end]`; offsets count from the start of `bytes`.
    pub(super) fn within(bytes: &'a [u8], start: usize, end: usize, field: Field) -> Result<Self, WireError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(WireError { field, offset: 0, kind: Kind::TooLarge });
        }
        Ok(Self { bytes, at: start, end })
    }

    /// Offset of the next item.
    #[inline]
    pub(super) const fn offset(&self) -> usize {
        self.at
    }

    /// Whether every item has been read.
    #[inline]
    pub(super) const fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// An error with the offset of the next item.
    pub(super) const fn error(&self, field: Field, kind: Kind) -> WireError {
        WireError { field, offset: self.at, kind }
    }

    /// Returns an error unless every item has been read.
    pub(super) fn finish(&self, field: Field) -> Result<(), WireError> {
        if self.is_done() { Ok(()) } else { Err(self.error(field, Kind::TrailingBytes)) }
    }

    /// Whether the next item is a list; `false` if there is no next item.
    #[inline]
    pub(super) fn next_is_list(&self) -> bool {
        self.at < self.end && self.bytes[self.at] >= 0xc0
    }

    #[inline]
    fn item(&mut self, field: Field) -> Result<Item, WireError> {
        let start = self.at;
        let fail = |kind| WireError { field, offset: start, kind };
        let rlp::Item { is_list, payload } = rlp::item(self.bytes, start, self.end).map_err(|fault| {
            fail(if fault == RlpFault::Truncated { Kind::Truncated } else { Kind::NonCanonicalHeader })
        })?;
        self.at = payload.end;
        Ok(Item { list: is_list, start, payload: Span::new(payload.start, payload.end) })
    }

    /// Number of remaining items, found by reading their headers.
    pub(super) fn count(&self, field: Field) -> Result<usize, WireError> {
        let mut walk = self.clone();
        let mut count = 0;
        while !walk.is_done() {
            walk.item(field)?;
            count += 1;
        }
        Ok(count)
    }

    /// Reads a list; returns a cursor over its items.
    #[inline]
    pub(super) fn list(&mut self, field: Field) -> Result<Self, WireError> {
        let item = self.item(field)?;
        if !item.list {
            return Err(WireError { field, offset: item.start, kind: Kind::ExpectedList });
        }
        let range = item.payload.range();
        Ok(Self { bytes: self.bytes, at: range.start, end: range.end })
    }

    /// Reads a string; returns the range of its payload.
    #[inline]
    pub(super) fn string(&mut self, field: Field) -> Result<Span, WireError> {
        let item = self.item(field)?;
        if item.list {
            return Err(WireError { field, offset: item.start, kind: Kind::ExpectedString });
        }
        Ok(item.payload)
    }

    /// Reads a string; returns its payload.
    #[inline]
    pub(super) fn bytes(&mut self, field: Field) -> Result<&'a [u8], WireError> {
        let bytes = self.bytes;
        self.string(field).map(|span| &bytes[span.range()])
    }

    /// Reads an unsigned integer of at most `N` bytes; returns it as big-endian bytes, padded on
    /// the left.
    #[inline]
    fn integer<const N: usize>(&mut self, field: Field) -> Result<[u8; N], WireError> {
        let offset = self.at;
        let digits = self.bytes(field)?;
        if digits.first() == Some(&0) {
            return Err(WireError { field, offset, kind: Kind::LeadingZero });
        }
        if digits.len() > N {
            return Err(WireError { field, offset, kind: Kind::TooWide(8 * N as u16) });
        }
        let mut out = [0; N];
        out[N - digits.len()..].copy_from_slice(digits);
        Ok(out)
    }

    /// Reads an integer below 2^8.
    #[inline]
    pub(super) fn u8(&mut self, field: Field) -> Result<u8, WireError> {
        self.integer::<1>(field).map(|[byte]| byte)
    }

    /// Reads an integer below 2^64.
    #[inline]
    pub(super) fn u64(&mut self, field: Field) -> Result<u64, WireError> {
        self.integer(field).map(u64::from_be_bytes)
    }

    /// Reads an integer below 2^128.
    #[inline]
    pub(super) fn u128(&mut self, field: Field) -> Result<u128, WireError> {
        self.integer(field).map(u128::from_be_bytes)
    }

    /// Reads an integer below 2^256.
    #[inline]
    pub(super) fn u256(&mut self, field: Field) -> Result<U256, WireError> {
        self.integer(field).map(U256::from_be_bytes::<32>)
    }

    /// Reads a string of exactly `N` bytes.
    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self, field: Field) -> Result<&'a [u8; N], WireError> {
        let offset = self.at;
        let bytes = self.bytes(field)?;
        bytes.try_into().map_err(|_| WireError {
            field,
            offset,
            kind: Kind::WrongLength { expected: N, found: bytes.len() },
        })
    }

    /// Reads a 32-byte hash.
    #[inline]
    pub(super) fn hash(&mut self, field: Field) -> Result<B256, WireError> {
        self.fixed(field).map(|bytes| B256::new(*bytes))
    }

    /// Reads a 20-byte address.
    #[inline]
    pub(super) fn address(&mut self, field: Field) -> Result<Address, WireError> {
        self.fixed(field).map(|bytes| Address::new(*bytes))
    }
}
