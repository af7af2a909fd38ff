//! Mutators of the list's encoded bytes.

use super::{Mutator, Parts, flip_bit, remove};

fn on_bytes(parts: &mut Parts, change: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let mut bytes = parts.original_list.to_vec();
    let changed = change(&mut bytes);
    parts.raw_list = Some(bytes);
    changed
}

pub(super) const MUTATORS: &[Mutator] = &[
    ("bytes: flip a bit", |parts, rng| on_bytes(parts, |bytes| flip_bit(bytes, rng))),
    ("bytes: cut", |parts, rng| {
        on_bytes(parts, |bytes| {
            bytes.truncate(rng.below(bytes.len()));
            true
        })
    }),
    ("bytes: append", |parts, rng| {
        on_bytes(parts, |bytes| {
            bytes.push(rng.below(256) as u8);
            true
        })
    }),
    ("bytes: remove one", |parts, rng| on_bytes(parts, |bytes| remove(bytes, rng))),
    ("bytes: insert one", |parts, rng| {
        on_bytes(parts, |bytes| {
            let at = rng.below(bytes.len());
            bytes.insert(at, rng.below(256) as u8);
            true
        })
    }),
];
