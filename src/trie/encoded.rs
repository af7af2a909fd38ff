//! Buffer of encoded nodes of one Keccak block each, collected until there are enough for a full
//! kernel call.
//!
//! Filled and hashed by `hash.rs`; each [`Descent`](super::descent::Descent) has one.

use super::count::HashCount;
use super::node::{LEAF_BYTES, Span};
use crate::arena::keccak::{LANES_MAX, Width};

/// Encoded nodes of one Keccak block each (leaves, extensions) that wait for a full kernel call.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: [[u8; LEAF_BYTES]; LANES_MAX],
    /// Position of each message in its row of `bytes`.
    pub(super) spans: [Span; LANES_MAX],
    /// Index of the visit of each row.
    pub(super) visits: [u32; LANES_MAX],
    /// Rows in use.
    pub(super) used: usize,
    pub(super) width: Width,
    /// Hashes computed since the count was last taken.
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
