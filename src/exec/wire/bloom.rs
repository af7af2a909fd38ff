//! Log blooms, with the bit positions of seen addresses and topics remembered.
//!
//! In: logs. Out: [`Bloom`]s. Spec: yellow paper 4.3.1 (M3:2048).
//! Relies on: most logs of a block repeat few addresses and topics, so their hashes are worth keeping while it runs.

use crate::arena::keccak::keccak256;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bloom};
use hashbrown::HashMap;

/// Positions kept at most: enough for any block, small enough to stay in cache.
const REMEMBERED_MAX: usize = 1 << 14;

/// Accrues blooms; keep one per worker and [`clear`](Self::clear) it between blocks.
#[derive(Clone, Debug, Default)]
pub struct BloomBuilder {
    addresses: HashMap<Address, Bits, RandomState>,
    topics: HashMap<B256, Bits, RandomState>,
}

/// The three bit positions of one item, each below 2048.
type Bits = [u16; 3];

impl BloomBuilder {
    /// Adds a log to `bloom`.
    pub fn accrue(&mut self, bloom: &mut Bloom, address: &Address, topics: &[B256]) {
        set(bloom, remembered(&mut self.addresses, address));
        for topic in topics {
            set(bloom, remembered(&mut self.topics, topic));
        }
    }

    /// Forgets every hash and keeps the memory.
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.topics.clear();
    }
}

fn remembered<K: AsRef<[u8]> + Copy + Eq + core::hash::Hash>(map: &mut HashMap<K, Bits, RandomState>, key: &K) -> Bits {
    if let Some(bits) = map.get(key) {
        return *bits;
    }
    if map.len() == REMEMBERED_MAX {
        map.clear();
    }
    let hash = keccak256(key);
    let bits = [0, 2, 4].map(|i| u16::from_be_bytes([hash[i], hash[i + 1]]) & 0x7ff);
    map.insert(*key, bits);
    bits
}

fn set(bloom: &mut Bloom, bits: Bits) {
    for bit in bits {
        // Bit 0 is the lowest bit of the last byte.
        bloom.0[255 - usize::from(bit >> 3)] |= 1 << (bit & 7);
    }
}
