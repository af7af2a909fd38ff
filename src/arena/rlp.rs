//! Reads headers of untrusted RLP items: the one reader below the cursors of access lists, blocks and trie nodes.
//!
//! In: bytes, the position of an item, the end of the list that encloses it. Out: the item's kind and payload, or the
//! violated rule. Accepts the shortest encodings only; every length is checked against the end.
//! Source: Yellow Paper, appendix B.
//! Not here: which kind is expected, and where an error lies (each cursor has its own error type with its positions);
//! the branch-free forms of short items in access lists (`bal::rlp`).

use core::ops::Range;

/// A violated rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RlpFault {
    /// The item does not end at or before the end.
    Truncated,
    /// A length in long form that is below 56 or has a leading zero.
    Length,
    /// A single byte below 0x80 in long form.
    Byte,
}

/// An item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) is_list: bool,
    pub(crate) payload: Range<usize>,
}

/// Reads the item at `at`, which must end at or before `end`.
#[inline(always)]
pub(crate) fn item(bytes: &[u8], at: usize, end: usize) -> Result<Item, RlpFault> {
    let bytes = bytes.get(..end).ok_or(RlpFault::Truncated)?;
    let first = *bytes.get(at).ok_or(RlpFault::Truncated)?;
    let is_list = first >= 0xc0;
    let (start, len) = match first {
        0..0x80 => (at, 1),
        0x80..0xb8 => (at + 1, usize::from(first - 0x80)),
        0xc0..0xf8 => (at + 1, usize::from(first - 0xc0)),
        0xb8..0xc0 | 0xf8.. => {
            let width = usize::from(first - if is_list { 0xf7 } else { 0xb7 });
            let start = at + 1 + width;
            let digits = bytes.get(at + 1..start).ok_or(RlpFault::Truncated)?;
            // At most 8 bytes, so the shift cannot overflow.
            let len = digits.iter().fold(0u64, |len, digit| len << 8 | u64::from(*digit));
            if digits[0] == 0 || len < 56 {
                return Err(RlpFault::Length);
            }
            (start, usize::try_from(len).map_err(|_| RlpFault::Truncated)?)
        }
    };
    if len > end - start {
        return Err(RlpFault::Truncated);
    }
    if first == 0x81 && bytes[start] < 0x80 {
        return Err(RlpFault::Byte);
    }
    Ok(Item { is_list, payload: start..start + len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_encodings_are_read() {
        let read = |bytes: &[u8]| item(bytes, 0, bytes.len()).map(|item| (item.is_list, item.payload));
        assert_eq!(read(&[0x7f, 0]), Ok((false, 0..1)));
        assert_eq!(read(&[0x82, 1, 2]), Ok((false, 1..3)));
        assert_eq!(read(&[0xc1, 1]), Ok((true, 1..2)));
        let long = [&[0xf8, 56][..], &[0; 56]].concat();
        assert_eq!(read(&long), Ok((true, 2..58)));
        assert_eq!(item(&long, 0, 57).map(drop), Err(RlpFault::Truncated));
        for (bytes, fault) in [
            (&[][..], RlpFault::Truncated),
            (&[0x81], RlpFault::Truncated),
            (&[0xb8], RlpFault::Truncated),
            (&[0xc2, 1], RlpFault::Truncated),
            (&[0xff, 255, 255, 255, 255, 255, 255, 255, 255], RlpFault::Truncated),
            (&[0x81, 0x7f], RlpFault::Byte),
            (&[0xb8, 55], RlpFault::Length),
            (&[0xf9, 0, 56], RlpFault::Length),
        ] {
            assert_eq!(read(bytes), Err(fault), "{bytes:?}");
        }
        assert_eq!(item(&[1], 0, 2).map(drop), Err(RlpFault::Truncated), "an end outside of the bytes");
    }
}
