//! Log blooms of many receipts, hashed in batches.
//!
//! In: logs. Out: [`Bloom`]s.
//! Spec: Yellow Paper 4.3.1 (M3:2048).
//! Logs of a block mostly repeat the same addresses and topics, so each distinct one is hashed once
//! per chunk of receipts, in a batch.
//! Not here: the rest of a receipt.

use crate::arena::keccak::keccak256_many;
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bloom};
use hashbrown::HashMap;

/// Receipts whose items are hashed in one batch: enough to fill the Keccak lanes, few enough to
/// stay in the cache.
const CHUNK: usize = 64;

/// Initial capacity per receipt for addresses and topics, enough for a few logs. The buffers grow
/// if there are more.
const ITEMS: usize = 16;

/// The three bit positions of one item, each below 2048.
type Bits = [u16; 3];

/// The bloom of each receipt. `logs_of` returns the address and the topics of each log of a
/// receipt.
pub(super) fn blooms<'a, L>(receipts: usize, logs_of: impl Fn(usize) -> L) -> Vec<Bloom>
where
    L: Iterator<Item = (&'a Address, &'a [B256])>,
{
    let mut blooms = vec![Bloom::ZERO; receipts];
    let room = ITEMS * receipts.min(CHUNK);
    let mut rows: HashMap<&[u8], u32, RandomState> = HashMap::with_capacity_and_hasher(room, RandomState::default());
    let (mut distinct, mut uses, mut ends) = (Vec::with_capacity(room), Vec::with_capacity(room), Vec::new());
    let (mut hashes, mut bits): (Vec<B256>, Vec<Bits>) = (Vec::with_capacity(room), Vec::with_capacity(room));
    for (chunk, blooms) in blooms.chunks_mut(CHUNK).enumerate() {
        rows.clear();
        distinct.clear();
        uses.clear();
        ends.clear();
        for receipt in (chunk * CHUNK..).take(blooms.len()) {
            for item in logs_of(receipt).flat_map(|(address, topics)| items(address, topics)) {
                uses.push(*rows.entry(item).or_insert_with(|| {
                    distinct.push(item);
                    distinct.len() as u32 - 1
                }));
            }
            ends.push(uses.len());
        }
        hashes.clear();
        hashes.resize(distinct.len(), B256::ZERO);
        keccak256_many(&distinct, &mut hashes);
        bits.clear();
        bits.extend(hashes.iter().map(|hash| [0, 2, 4].map(|i| u16::from_be_bytes([hash[i], hash[i + 1]]) & 0x7ff)));
        let mut start = 0;
        for (bloom, end) in blooms.iter_mut().zip(&ends) {
            uses[start..*end].iter().for_each(|row: &u32| set(bloom, bits[*row as usize]));
            start = *end;
        }
    }
    blooms
}

/// The items of a log that the bloom contains: its address and topics.
fn items<'a>(address: &'a Address, topics: &'a [B256]) -> impl Iterator<Item = &'a [u8]> {
    core::iter::once(address.as_slice()).chain(topics.iter().map(|topic| topic.as_slice()))
}

fn set(bloom: &mut Bloom, bits: Bits) {
    for bit in bits {
        // Bit 0 is the lowest bit of the last byte.
        bloom.0[255 - usize::from(bit >> 3)] |= 1 << (bit & 7);
    }
}
