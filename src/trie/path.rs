//! Paths of nodes: the nibbles from a trie's root to a node.

use super::node::set_nibble;

/// Position of a node in its trie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodePath {
    /// Nibbles from the root, two per byte, the first in the upper half; zero beyond `len`.
    pub nibbles: [u8; 32],
    /// Number of nibbles.
    pub len: u8,
}

impl NodePath {
    pub(super) fn new(key: &[u8; 32], len: usize) -> Self {
        let mut nibbles = [0; 32];
        nibbles[..len.div_ceil(2)].copy_from_slice(&key[..len.div_ceil(2)]);
        if len % 2 == 1 {
            nibbles[len / 2] &= 0xf0;
        }
        Self { nibbles, len: len as u8 }
    }

    /// The path extended by nibble `n`.
    pub(super) fn child(mut self, n: u8) -> Self {
        set_nibble(&mut self.nibbles, self.len as usize, n);
        self.len += 1;
        self
    }
}
