//! Batches: messages are collected by block count until a kernel call is full.
//!
//! In: messages in any order, each with the row of its digest. Out: digests, written to these rows
//! of the caller's slice.
//! [`Batch`] hashes messages of more than four blocks (contract codes) one by one;
//! [`keccak256_many`] groups them by length.
//! Not here: the kernels (`kernel`).

use super::kernel::hash_uneven;
use super::padded::{Lanes, PaddedBlocks};
use super::{LANES_MAX, RATE, Width, block_count, keccak256};
use alloy_primitives::{Address, B256, U256};

/// Most blocks of a queued message. For longer ones, [`keccak256_many`] sorts by length and
/// [`Batch`] hashes one by one.
const BLOCKS_MAX: usize = 4;

/// Queue of messages with the same block count, copied and padded, with the rows of their digests.
#[derive(Clone, Debug, Default)]
struct Queue<const BYTES: usize> {
    messages: [PaddedBlocks<BYTES>; LANES_MAX],
    rows: [usize; LANES_MAX],
    used: usize,
}

impl<const BYTES: usize> Queue<BYTES> {
    #[inline]
    fn push(&mut self, width: Width, message: &[u8], row: usize, out: &mut [B256]) {
        self.messages[self.used].set(message);
        self.rows[self.used] = row;
        self.used += 1;
        if self.used == LANES_MAX {
            self.flush(width, out);
        }
    }

    fn flush(&mut self, width: Width, out: &mut [B256]) {
        let mut lanes = Lanes::default();
        for message in &self.messages[..self.used] {
            lanes.push(message.blocks(), message.message().len());
        }
        let digests = lanes.hash(width);
        for (row, digest) in self.rows[..self.used].iter().zip(digests) {
            out[*row] = digest;
        }
        self.used = 0;
    }
}

/// Collects messages and hashes [`LANES_MAX`] messages of equal block count together. Does not
/// allocate.
#[derive(Clone, Debug)]
pub struct Batch {
    width: Width,
    one: Queue<RATE>,
    two: Queue<{ 2 * RATE }>,
    three: Queue<{ 3 * RATE }>,
    four: Queue<{ BLOCKS_MAX * RATE }>,
}

impl Batch {
    /// An empty batch that will use `width`.
    pub fn new(width: Width) -> Self {
        Self { width, one: Queue::default(), two: Queue::default(), three: Queue::default(), four: Queue::default() }
    }

    /// Adds a message. Its digest is written to `out[row]` by this call, a later one, or
    /// [`Self::finish`]. The message is copied.
    ///
    /// # Panics
    /// When `row`, or the row of a queued message, is not below `out.len()`.
    #[inline]
    pub fn push(&mut self, message: &[u8], row: usize, out: &mut [B256]) {
        match block_count(message.len()) {
            1 => self.one.push(self.width, message, row, out),
            2 => self.two.push(self.width, message, row, out),
            3 => self.three.push(self.width, message, row, out),
            4 => self.four.push(self.width, message, row, out),
            _ => out[row] = keccak256(message),
        }
    }

    /// Hashes all queued messages. The batch is then empty and can be used again.
    ///
    /// # Panics
    /// When the row of a queued message is not below `out.len()`.
    pub fn finish(&mut self, out: &mut [B256]) {
        self.one.flush(self.width, out);
        self.two.flush(self.width, out);
        self.three.flush(self.width, out);
        self.four.flush(self.width, out);
    }
}

/// Keccak-256 of every message, with the widest kernel that this machine supports. `out[i]` is the
/// digest of `messages[i]`.
///
/// # Panics
/// When the two slices differ in length.
pub fn keccak256_many(messages: &[&[u8]], out: &mut [B256]) {
    assert_eq!(messages.len(), out.len(), "one digest per message");
    hash_many(Width::detect(), messages, out);
}

/// [`keccak256_many`] with a given width.
pub(super) fn hash_many(width: Width, messages: &[&[u8]], out: &mut [B256]) {
    let mut batch = Batch::new(width);
    let mut long = Vec::new();
    for (row, message) in messages.iter().enumerate() {
        if block_count(message.len()) > BLOCKS_MAX && width == Width::Eight {
            long.push(row);
        } else {
            batch.push(message, row, out);
        }
    }
    batch.finish(out);
    // Long messages are mostly receipts and codes. Sorting puts messages of similar length into one
    // kernel call; for a single message the kernel is no faster than scalar code.
    long.sort_unstable_by_key(|row| messages[*row].len());
    for rows in long.chunks(LANES_MAX) {
        if rows.len() == 1 {
            out[rows[0]] = keccak256(messages[rows[0]]);
            continue;
        }
        let mut lanes = [&[][..]; LANES_MAX];
        for (lane, row) in lanes.iter_mut().zip(rows) {
            *lane = messages[*row];
        }
        let digests = hash_uneven(width, &lanes);
        for (row, digest) in rows.iter().zip(digests) {
            out[*row] = digest;
        }
    }
}

/// Hashes `count` messages of `N` bytes, `N` below the rate. For keys (at most 32 bytes) the
/// eight-lane kernel loads only the key's words; otherwise the padding is written once and reused
/// for all messages.
///
/// # Panics
/// When `out.len()` is not `count`, or `N` is not below the rate.
#[inline]
pub(crate) fn hash_fixed<const N: usize>(
    width: Width,
    count: usize,
    message: impl Fn(usize) -> [u8; N],
    out: &mut [B256],
) {
    assert_eq!(count, out.len(), "one digest per message");
    #[cfg(target_arch = "x86_64")]
    if N <= 32 && width == Width::Eight && width.is_supported() {
        for (chunk, out) in out.chunks_mut(LANES_MAX).enumerate() {
            let mut keys = [[0; 32]; LANES_MAX];
            for (i, key) in keys[..out.len()].iter_mut().enumerate() {
                key[..N].copy_from_slice(&message(chunk * LANES_MAX + i));
                if N < 32 {
                    key[N] = 0x01;
                }
            }
            let mut digests = [B256::ZERO; LANES_MAX];
            super::x8::hash_keys(&keys, N == 32, &mut digests);
            out.copy_from_slice(&digests[..out.len()]);
        }
        return;
    }
    let mut lanes: [PaddedBlocks<RATE>; LANES_MAX] = Default::default();
    for lane in &mut lanes {
        lane.pad(N);
    }
    for (chunk, out) in out.chunks_mut(LANES_MAX).enumerate() {
        let mut padded = Lanes::default();
        for (i, lane) in lanes[..out.len()].iter_mut().enumerate() {
            if let Some(place) = lane.bytes_mut().first_chunk_mut() {
                *place = message(chunk * LANES_MAX + i);
            }
            padded.push(lane.blocks(), N);
        }
        let digests = padded.hash(width);
        out.copy_from_slice(&digests[..out.len()]);
    }
}

/// Hashed account keys: keccak256 of each address.
///
/// # Panics
/// When the two slices differ in length.
pub fn hash_addresses(width: Width, addresses: &[Address], out: &mut [B256]) {
    hash_fixed(width, addresses.len(), |row| addresses[row].into_array(), out);
}

/// Hashed storage keys: keccak256 of each key as 32 bytes, most significant first.
///
/// # Panics
/// When the two slices differ in length.
pub fn hash_slots(width: Width, keys: &[U256], out: &mut [B256]) {
    hash_fixed(width, keys.len(), |row| keys[row].to_be_bytes::<32>(), out);
}

/// Keccak-256 of 32-byte words; `out[i]` is the digest of `words[i]`.
///
/// # Panics
/// When the two slices differ in length.
pub fn hash_words(width: Width, words: &[B256], out: &mut [B256]) {
    hash_fixed(width, words.len(), |row| words[row].0, out);
}
