//! Positions of trie nodes.

use alloy_primitives::B256;

/// Number of nibbles of a key: 32 bytes.
pub const KEY_NIBBLES: usize = 64;

/// The first nibble from `from` on in which two keys differ; [`KEY_NIBBLES`] if there is none. Earlier nibbles are ignored.
pub(crate) fn fork(a: &[u8; 32], b: &[u8; 32], from: usize) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    for (i, (a, b)) in words.enumerate().skip(from / 16) {
        let looked_at = u64::MAX >> (4 * from.saturating_sub(16 * i));
        let differ = (u64::from_be_bytes(*a) ^ u64::from_be_bytes(*b)) & looked_at;
        if differ != 0 {
            return i * 16 + differ.leading_zeros() as usize / 4;
        }
    }
    KEY_NIBBLES
}

/// Position of a node in its trie: the nibbles from the root to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodePath {
    /// Nibbles from the root, two per byte, the first in the upper half; zero beyond `len`.
    pub nibbles: [u8; 32],
    /// Number of nibbles, at most 64.
    pub len: u8,
}

impl NodePath {
    /// The first `len` nibbles of `key`; at most 64.
    pub fn new(key: &[u8; 32], len: usize) -> Self {
        let len = len.min(KEY_NIBBLES);
        let mut nibbles = [0; 32];
        nibbles[..len.div_ceil(2)].copy_from_slice(&key[..len.div_ceil(2)]);
        if len % 2 == 1 {
            nibbles[len / 2] &= 0xf0;
        }
        Self { nibbles, len: len as u8 }
    }

    /// The path extended by nibble `n`.
    pub(crate) fn child(mut self, n: u8) -> Self {
        let at = self.len as usize;
        self.nibbles[at / 2] |= if at.is_multiple_of(2) { n << 4 } else { n };
        self.len += 1;
        self
    }
}

/// Identifies one trie node of the parent state, by position and by hash: a store may look it up by
/// either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeQuery {
    /// keccak256 of the address of the storage trie's account; zero for the account trie.
    pub owner: B256,
    /// Nibbles from the root of the trie to the node.
    pub path: NodePath,
    /// keccak256 of the node.
    pub hash: B256,
}
