//! Units and heads as bytes, for the stores that write them.
//!
//! All numbers are least significant byte first. A unit is: flags, its owner unless it is that of the unit before, the
//! path, and, unless the unit was removed, its place. The item takes 33 bytes without its trailing zeros, a hash 32.

use super::{Head, PageId, UnitKey, UnitPlace};
use crate::arena::input::Input;
use crate::arena::path::{KEY_NIBBLES, NodePath};
use alloy_primitives::B256;

/// Bytes of an encoded head.
pub(super) const HEAD_BYTES: usize = 88;

/// The unit was removed: no place follows.
const REMOVED: u8 = 1;
/// An owner of 32 bytes follows.
const OWNER: u8 = 2;
/// The owner is that of the unit before.
const SAME_OWNER: u8 = 4;
/// The item is a hash, of which the first byte, 0xa0, is left out.
const HASH: u8 = 8;

/// Appends a head.
pub(super) fn put_head(out: &mut Vec<u8>, head: &Head) {
    out.extend(head.sequence.to_le_bytes());
    out.extend(head.number.to_le_bytes());
    out.extend(head.hash);
    out.extend(head.state_root);
    out.extend(head.record.to_le_bytes());
}

/// Reads what [`put_head`] wrote.
pub(super) fn head(input: &mut Input<'_>) -> Option<Head> {
    Some(Head {
        sequence: input.u64()?,
        number: input.u64()?,
        hash: input.hash()?,
        state_root: input.hash()?,
        record: input.u64()?,
    })
}

/// Appends a unit, or that it was removed. `before` is the owner of the unit before, if there is one.
pub(super) fn put_unit(out: &mut Vec<u8>, before: Option<B256>, key: &UnitKey, place: Option<&UnitPlace>) {
    let start = out.len();
    out.push(0);
    let mut flags = 0;
    match key.owner {
        Some(_) if key.owner == before => flags |= SAME_OWNER,
        Some(owner) => {
            flags |= OWNER;
            out.extend(owner);
        }
        None => {}
    }
    out.push(key.path.len);
    out.extend_from_slice(&key.path.nibbles[..usize::from(key.path.len).div_ceil(2).min(32)]);
    if let Some(place) = place {
        out.extend(place.page.0.to_le_bytes());
        out.extend(place.index.to_le_bytes());
        out.extend(place.leaves.to_le_bytes());
        if place.item[0] == 0xa0 {
            flags |= HASH;
            out.extend_from_slice(&place.item[1..]);
        } else {
            let length = place.item.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            out.push(length as u8);
            out.extend_from_slice(&place.item[..length]);
        }
    } else {
        flags |= REMOVED;
    }
    out[start] = flags;
}

/// Reads what [`put_unit`] wrote; `None` if the bytes are not such.
pub(super) fn unit(input: &mut Input<'_>, before: Option<B256>) -> Option<(UnitKey, Option<UnitPlace>)> {
    let flags = input.u8()?;
    let owner = match flags & (OWNER | SAME_OWNER) {
        0 => None,
        OWNER => Some(input.hash()?),
        SAME_OWNER => Some(before?),
        _ => return None,
    };
    let len = usize::from(input.u8()?);
    if len > KEY_NIBBLES {
        return None;
    }
    let mut nibbles = [0; 32];
    let bytes = len.div_ceil(2);
    nibbles[..bytes].copy_from_slice(input.take(bytes)?);
    let path = NodePath::new(&nibbles, len);
    let key = UnitKey { owner, path };
    if flags & REMOVED != 0 {
        return Some((key, None));
    }
    let (page, index, leaves) = (PageId(input.u32()?), input.u16()?, input.u16()?);
    let mut item = [0; 33];
    if flags & HASH != 0 {
        item[0] = 0xa0;
        item[1..].copy_from_slice(input.take(32)?);
    } else {
        let length = usize::from(input.u8()?);
        item.get_mut(..length)?.copy_from_slice(input.take(length)?);
    }
    Some((key, Some(UnitPlace { page, index, leaves, item })))
}
