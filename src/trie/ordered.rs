//! Tries over lists: from rlp(index) to the item. Transactions, receipts and withdrawals have their roots from these.
//!
//! In: the items' encodings. Out: the root. The keys are known, so the trie's shape is laid out top down in one pass
//! and hashed bottom up, every level in one batch.
//! Source: Yellow Paper, 4.3.2 and appendix D.

use super::EMPTY_ROOT;
use super::node::Item;
use crate::arena::keccak::{keccak256, keccak256_many};
use alloy_primitives::B256;

/// A node over the sorted rows `lo..hi`, whose keys agree in the first `depth` nibbles.
#[derive(Clone, Copy)]
struct Span {
    lo: usize,
    hi: usize,
    depth: usize,
    /// The node above, and which of its children this is.
    parent: usize,
    nibble: u8,
}

/// A key of at most five bytes as nibbles.
#[derive(Clone, Copy)]
struct Key {
    bytes: [u8; 5],
    nibbles: usize,
    row: usize,
}

impl Key {
    fn new(row: usize) -> Self {
        // RLP of the number: small ones are their own byte, others a length and their significant bytes.
        let mut bytes = [0; 5];
        let len = match row {
            1..0x80 => {
                bytes[0] = row as u8;
                1
            }
            _ => {
                let significant = 4 - (row as u32).leading_zeros() as usize / 8;
                bytes[0] = 0x80 + significant as u8;
                bytes[1..=significant].copy_from_slice(&(row as u32).to_be_bytes()[4 - significant..]);
                1 + significant
            }
        };
        Self { bytes, nibbles: len * 2, row }
    }

    fn nibble(&self, i: usize) -> u8 {
        if i.is_multiple_of(2) { self.bytes[i / 2] >> 4 } else { self.bytes[i / 2] & 0xf }
    }

    /// Appends nibbles `from..to` in hex prefix form, as an RLP string.
    fn put_path(&self, from: usize, to: usize, leaf: bool, out: &mut Vec<u8>) {
        let flag = if leaf { 0x20 } else { 0 };
        let odd = (to - from) % 2;
        let bytes = 1 + (to - from) / 2;
        if bytes > 1 {
            out.push(0x80 + bytes as u8);
        }
        out.push(if odd == 1 { flag | 0x10 | self.nibble(from) } else { flag });
        out.extend((from + odd..to).step_by(2).map(|i| self.nibble(i) << 4 | self.nibble(i + 1)));
    }
}

/// Appends a string or list header for `len` bytes.
fn put_header(list: bool, len: usize, out: &mut Vec<u8>) {
    let base = if list { 0xc0 } else { 0x80 };
    if len < 56 {
        out.push(base + len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let skip = len.leading_zeros() as usize / 8;
        out.push(base + 55 + (bytes.len() - skip) as u8);
        out.extend_from_slice(&bytes[skip..]);
    }
}

fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.len() != 1 || bytes[0] >= 0x80 {
        put_header(false, bytes.len(), out);
    }
    out.extend_from_slice(bytes);
}

/// Root of the trie from rlp(index) to `items[index]`. No item may be empty (an empty value means no entry).
///
/// # Panics
/// When there are 2^32 items or more.
pub fn ordered_root(items: &[&[u8]]) -> B256 {
    assert!(u32::try_from(items.len()).is_ok(), "more items than a block can hold");
    if items.is_empty() {
        return EMPTY_ROOT;
    }
    // Sorted by key: 1..=127 are their own bytes, zero is 0x80, longer numbers follow in order.
    let count = items.len();
    let rows = (1..count.min(128)).chain(core::iter::once(0)).chain(128..count.max(128));
    let keys: Vec<Key> = rows.map(Key::new).collect();

    let mut spans = vec![Span { lo: 0, hi: count, depth: 0, parent: usize::MAX, nibble: 0 }];
    let mut levels = vec![0];
    let mut next = 0;
    while next < spans.len() {
        let end = spans.len();
        for parent in next..end {
            let Span { lo, hi, depth, .. } = spans[parent];
            let fork = fork(&keys, lo, hi, depth);
            let mut lo = lo;
            while hi - lo > 0 && fork < keys[lo].nibbles && spans[parent].hi - spans[parent].lo > 1 {
                let nibble = keys[lo].nibble(fork);
                let len = keys[lo..hi].iter().take_while(|key| key.nibble(fork) == nibble).count();
                spans.push(Span { lo, hi: lo + len, depth: fork + 1, parent, nibble });
                lo += len;
            }
        }
        next = end;
        levels.push(next);
    }

    // A branch's children, as items, are gathered in a row of sixteen at the branch.
    let mut children: Vec<[Option<Item>; 16]> = vec![[None; 16]; spans.len()];
    let mut root = EMPTY_ROOT;
    for level in levels.windows(2).rev() {
        let nodes = level[0]..level[1];
        let bodies: Vec<Vec<u8>> =
            nodes.clone().map(|node| encode(&keys, items, &spans[node], &children[node])).collect();
        // A branch below a path of its own is hashed first, then the extension that leads to it.
        let hashed = |bodies: &[Vec<u8>]| {
            let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
            let mut hashes = vec![B256::ZERO; slices.len()];
            keccak256_many(&slices, &mut hashes);
            hashes
        };
        let hashes = hashed(&bodies);
        for ((node, body), hash) in nodes.zip(&bodies).zip(hashes) {
            let span = spans[node];
            let mut item = if body.len() < 32 { Item::embedded(body) } else { Item::hash(&hash) };
            let mut whole = hash;
            let fork = fork(&keys, span.lo, span.hi, span.depth);
            if span.hi - span.lo > 1 && fork > span.depth {
                let mut payload = Vec::with_capacity(48);
                keys[span.lo].put_path(span.depth, fork, false, &mut payload);
                payload.extend_from_slice(item.as_rlp());
                let mut extension = Vec::with_capacity(48);
                put_header(true, payload.len(), &mut extension);
                extension.extend_from_slice(&payload);
                whole = keccak256(&extension);
                item = if extension.len() < 32 { Item::embedded(&extension) } else { Item::hash(&whole) };
            }
            match children.get_mut(span.parent) {
                Some(parent) => parent[span.nibble as usize] = Some(item),
                None => root = whole,
            }
        }
    }
    root
}

/// The nibble at which the keys `lo..hi` part; the end of the key where there is only one.
fn fork(keys: &[Key], lo: usize, hi: usize, depth: usize) -> usize {
    let (first, last) = (&keys[lo], &keys[hi - 1]);
    if hi - lo == 1 {
        return first.nibbles;
    }
    (depth..first.nibbles.min(last.nibbles)).find(|i| first.nibble(*i) != last.nibble(*i)).unwrap_or(depth)
}

/// RLP of the leaf or branch of a span (without the extension above a branch).
fn encode(keys: &[Key], items: &[&[u8]], span: &Span, children: &[Option<Item>; 16]) -> Vec<u8> {
    let mut payload = Vec::new();
    if span.hi - span.lo == 1 {
        let key = &keys[span.lo];
        let item = items[key.row];
        payload.reserve(item.len() + 16);
        key.put_path(span.depth, key.nibbles, true, &mut payload);
        put_string(item, &mut payload);
    } else {
        payload.reserve(17 + 16 * 32);
        for child in children {
            match child {
                Some(item) => payload.extend_from_slice(item.as_rlp()),
                None => payload.push(0x80),
            }
        }
        payload.push(0x80);
    }
    let mut out = Vec::with_capacity(payload.len() + 9);
    put_header(true, payload.len(), &mut out);
    out.extend_from_slice(&payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_trie::{HashBuilder, Nibbles};

    fn oracle(items: &[Vec<u8>]) -> B256 {
        let mut leaves: Vec<(Vec<u8>, &Vec<u8>)> =
            items.iter().enumerate().map(|(i, item)| (alloy_rlp::encode(i), item)).collect();
        leaves.sort();
        let mut builder = HashBuilder::default();
        leaves.iter().for_each(|(key, item)| builder.add_leaf(Nibbles::unpack(key), item));
        builder.root()
    }

    #[test]
    fn lists_of_all_sizes() {
        for size in [1usize, 2, 5, 31, 32, 33, 100, 700] {
            for count in (0..=40).chain([126, 127, 128, 129, 130, 200, 255, 256, 257, 300, 1000]) {
                let items: Vec<Vec<u8>> = (0..count).map(|i| vec![(i % 251) as u8 + 1; size + i % 3]).collect();
                let slices: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
                assert_eq!(ordered_root(&slices), oracle(&items), "{count} items of {size} bytes");
            }
        }
    }

    #[test]
    fn a_list_with_keys_of_three_bytes() {
        let items: Vec<Vec<u8>> = (0..70_000usize).map(|i| i.to_be_bytes().to_vec()).collect();
        let slices: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        assert_eq!(ordered_root(&slices), oracle(&items));
    }
}
