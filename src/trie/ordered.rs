//! Roots of tries from rlp(index) to a list's items: transactions root, receipts root, withdrawals
//! root.
//!
//! In: the items' encodings. Out: the root. The keys depend only on the number of items, so the
//! trie's shape is computed top down in one pass; then it is hashed bottom up, each level in
//! batches on the current rayon pool.
//! Source: Yellow Paper, 4.3.2 and appendix D.

use super::EMPTY_ROOT;
use super::node::Item;
use crate::arena::keccak::{keccak256, keccak256_many};
use alloy_primitives::B256;
use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;
use rayon::prelude::*;

/// Number of nodes of a level that one task encodes and hashes.
const CHUNK: usize = 128;

/// A node over the sorted rows `lo..hi`, whose keys agree in the first `depth` nibbles.
#[derive(Clone, Copy)]
struct Span {
    lo: usize,
    hi: usize,
    depth: usize,
    /// Row of the parent branch; `nibble` is the position in it.
    parent: usize,
    nibble: u8,
    /// Row of this branch, if the span has more than one key.
    branch: usize,
}

/// A key: rlp(index), at most five bytes.
#[derive(Clone, Copy)]
struct Key {
    bytes: [u8; 5],
    nibbles: usize,
    row: usize,
}

impl Key {
    fn new(row: usize) -> Self {
        // RLP of the index: a single byte for 1..0x80, else a length and the significant bytes.
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

    /// Number of bytes that [`Self::put_path`] appends.
    fn path_len(from: usize, to: usize) -> usize {
        let bytes = 1 + (to - from) / 2;
        bytes + usize::from(bytes > 1)
    }

    /// Appends nibbles `from..to` in hex-prefix encoding, as an RLP string.
    fn put_path(&self, from: usize, to: usize, leaf: bool, out: &mut BumpVec<'_, u8>) {
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
fn put_header(list: bool, len: usize, out: &mut BumpVec<'_, u8>) {
    let base = if list { 0xc0 } else { 0x80 };
    if len < 56 {
        out.push(base + len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let skip = len.leading_zeros() as usize / 8;
        out.push(base + 55 + (bytes.len() - skip) as u8);
        out.extend_from_slice_copy(&bytes[skip..]);
    }
}

/// Length of the RLP header of `len` bytes.
fn header_len(len: usize) -> usize {
    if len < 56 { 1 } else { 1 + size_of::<usize>() - len.leading_zeros() as usize / 8 }
}

fn is_own_rlp(bytes: &[u8]) -> bool {
    bytes.len() == 1 && bytes[0] < 0x80
}

/// Root of the trie from rlp(index) to `items[index]`. No item may be empty, since an empty value
/// means that the key is absent.
///
/// # Panics
/// When there are 2^32 items or more.
pub fn ordered_root(items: &[&[u8]]) -> B256 {
    assert!(u32::try_from(items.len()).is_ok(), "more items than a block can hold");
    if items.is_empty() {
        return EMPTY_ROOT;
    }
    // Rows in the order of their keys: 1..=127 (single bytes), then 0 (0x80), then the others.
    let count = items.len();
    let rows = (1..count.min(128)).chain(core::iter::once(0)).chain(128..count.max(128));
    let keys: Vec<Key> = rows.map(Key::new).collect();

    let mut spans = Vec::with_capacity(count + count / 8 + 2);
    spans.push(Span { lo: 0, hi: count, depth: 0, parent: usize::MAX, nibble: 0, branch: 0 });
    let mut branches = 0;
    let mut levels = vec![0];
    let mut next = 0;
    while next < spans.len() {
        let end = spans.len();
        for at in next..end {
            let Span { mut lo, hi, depth, .. } = spans[at];
            if hi - lo == 1 {
                continue;
            }
            let parent = branches;
            branches += 1;
            spans[at].branch = parent;
            let fork = fork(&keys, lo, hi, depth);
            while lo < hi {
                let nibble = keys[lo].nibble(fork);
                let len = keys[lo..hi].iter().take_while(|key| key.nibble(fork) == nibble).count();
                spans.push(Span { lo, hi: lo + len, depth: fork + 1, parent, nibble, branch: 0 });
                lo += len;
            }
        }
        next = end;
        levels.push(next);
    }

    // Items of each branch's children, by nibble.
    let mut children: Vec<[Option<Item>; 16]> = vec![[None; 16]; branches];
    let mut root = EMPTY_ROOT;
    for level in levels.windows(2).rev() {
        let nodes = &spans[level[0]..level[1]];
        let hashed: Vec<Vec<(Item, B256)>> =
            nodes.par_chunks(CHUNK).map(|nodes| hash_nodes(&keys, items, nodes, &children)).collect();
        for (span, (item, hash)) in nodes.iter().zip(hashed.into_iter().flatten()) {
            match children.get_mut(span.parent) {
                Some(parent) => parent[span.nibble as usize] = Some(item),
                None => root = hash,
            }
        }
    }
    root
}

/// Item of each node for its parent, and its hash.
fn hash_nodes(keys: &[Key], items: &[&[u8]], nodes: &[Span], children: &[[Option<Item>; 16]]) -> Vec<(Item, B256)> {
    // Owns all encodings until they are hashed.
    let arena = Bump::new();
    let encode = |span: &Span| match span.hi - span.lo {
        1 => leaf(&keys[span.lo], span.depth, items[keys[span.lo].row], &arena),
        _ => branch(&children[span.branch], &arena),
    };
    let encoded = BumpVec::from_iter_in(nodes.iter().map(encode), &arena);
    let mut hashes = vec![B256::ZERO; nodes.len()];
    keccak256_many(&encoded, &mut hashes);
    let as_item = |body: &[u8], hash: &B256| if body.len() < 32 { Item::embedded(body) } else { Item::hash(hash) };
    let finish = |((span, body), hash): ((&Span, &&[u8]), B256)| {
        let item = as_item(body, &hash);
        let fork = fork(keys, span.lo, span.hi, span.depth);
        if span.hi - span.lo == 1 || fork == span.depth {
            return (item, hash);
        }
        // The keys share more nibbles: an extension leads to the branch and takes its place in the
        // parent.
        let key = &keys[span.lo];
        let mut extension = rlp_list(Key::path_len(span.depth, fork) + item.as_rlp().len(), &arena);
        key.put_path(span.depth, fork, false, &mut extension);
        extension.extend_from_slice_copy(item.as_rlp());
        let hash = keccak256(&extension);
        (as_item(&extension, &hash), hash)
    };
    nodes.iter().zip(&encoded).zip(hashes).map(finish).collect()
}

/// The first nibble in which the keys `lo..hi` differ; the end of the key if there is only one.
fn fork(keys: &[Key], lo: usize, hi: usize, depth: usize) -> usize {
    let (first, last) = (&keys[lo], &keys[hi - 1]);
    if hi - lo == 1 {
        return first.nibbles;
    }
    (depth..first.nibbles.min(last.nibbles)).find(|i| first.nibble(*i) != last.nibble(*i)).unwrap_or(depth)
}

/// Starts an RLP list of `len` bytes of items; the header is written.
fn rlp_list(len: usize, arena: &Bump) -> BumpVec<'_, u8> {
    let mut out = BumpVec::with_capacity_in(header_len(len) + len, arena);
    put_header(true, len, &mut out);
    out
}

/// The RLP of a leaf `depth` nibbles below the root.
fn leaf<'a>(key: &Key, depth: usize, item: &[u8], arena: &'a Bump) -> &'a [u8] {
    let own = is_own_rlp(item);
    let item_len = item.len() + if own { 0 } else { header_len(item.len()) };
    let mut out = rlp_list(Key::path_len(depth, key.nibbles) + item_len, arena);
    key.put_path(depth, key.nibbles, true, &mut out);
    if !own {
        put_header(false, item.len(), &mut out);
    }
    out.extend_from_slice_copy(item);
    out.into_bump_slice()
}

/// The RLP of a branch without a value.
fn branch<'a>(children: &[Option<Item>; 16], arena: &'a Bump) -> &'a [u8] {
    let len = |child: &Option<Item>| child.as_ref().map_or(1, |item| item.as_rlp().len());
    let mut out = rlp_list(children.iter().map(len).sum::<usize>() + 1, arena);
    for child in children {
        match child {
            Some(item) => out.extend_from_slice_copy(item.as_rlp()),
            None => out.push(0x80),
        }
    }
    out.push(0x80);
    out.into_bump_slice()
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
    fn lists_with_keys_of_three_bytes() {
        let items: Vec<Vec<u8>> = (0..70_000usize).map(|i| i.to_be_bytes().to_vec()).collect();
        let slices: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        assert_eq!(ordered_root(&slices), oracle(&items));
    }
}
