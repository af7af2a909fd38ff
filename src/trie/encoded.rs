//! Encoded nodes of one block, kept until there are enough for a full kernel call.
//!
//! Filled and hashed by `hash`; `descent` owns one per worker.

use super::count::HashCount;
use super::node::{LEAF_BYTES, Span};
use crate::arena::keccak::{LANES_MAX, Width};

/// Encoded nodes of one block (leaves, extensions) waiting for a full kernel call.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: [[u8; LEAF_BYTES]; LANES_MAX],
    /// Where each message lies in its row of `bytes`.
    pub(super) spans: [Span; LANES_MAX],
    /// The visit that each belongs to.
    pub(super) visits: [u32; LANES_MAX],
    /// Rows in use.
    pub(super) used: usize,
    pub(super) width: Width,
    /// What was hashed since the last time this was asked.
    pub(super) count: HashCount,
}

impl Default for Encoded {
    fn default() -> Self {
        Self {
            bytes: [[0; LEAF_BYTES]; LANES_MAX],
            spans: [Span { start: 0, len: 0 }; LANES_MAX],
            visits: [0; LANES_MAX],
            used: 0,
            width: Width::One,
            count: HashCount::default(),
        }
    }
}

impl Encoded {
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.count = HashCount::default();
    }
}
