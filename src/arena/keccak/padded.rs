//! Padded messages: whole blocks that a kernel reads in place.
//!
//! In: up to [`LANES_MAX`] messages with Keccak's padding already applied. Out: their digests.
//! A trie stores its branches in this form, so that hashing a branch copies nothing.
//! Not here: queues of messages (`batch`).

use super::{LANES_MAX, RATE, Width, block_count, kernel};
use alloy_primitives::B256;

/// A buffer of `BYTES` bytes, a multiple of the rate, with a padded message: `0x01` after the last
/// byte, `0x80` in the last byte of the last block.
#[derive(Clone, Debug)]
pub struct PaddedBlocks<const BYTES: usize> {
    bytes: [u8; BYTES],
    len: usize,
}

impl<const BYTES: usize> Default for PaddedBlocks<BYTES> {
    fn default() -> Self {
        Self { bytes: [0; BYTES], len: 0 }
    }
}

impl<const BYTES: usize> PaddedBlocks<BYTES> {
    /// Copies a message of at most `BYTES - 1` bytes and pads it.
    ///
    /// # Panics
    /// When the message does not fit.
    pub fn set(&mut self, message: &[u8]) {
        let len = message.len();
        self.bytes[..len].copy_from_slice(message);
        self.pad(len);
    }

    /// The buffer, for writing a message in place; call [`Self::pad`] afterwards.
    pub fn bytes_mut(&mut self) -> &mut [u8; BYTES] {
        &mut self.bytes
    }

    /// Pads the message in the first `len` bytes.
    ///
    /// # Panics
    /// When there is no space for the padding.
    #[inline]
    pub fn pad(&mut self, len: usize) {
        let end = block_count(len) * RATE;
        self.bytes[len..end].fill(0);
        self.bytes[len] = 0x01;
        self.bytes[end - 1] |= 0x80;
        self.len = len;
    }

    /// The message without its padding.
    pub fn message(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The message with its padding, as whole blocks.
    pub fn blocks(&self) -> &[u8] {
        &self.bytes[..block_count(self.len) * RATE]
    }
}

/// Up to [`LANES_MAX`] padded messages, hashed together without copying. Equal block counts are
/// best: a call takes as long as its longest message.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<'a> {
    padded: [&'a [u8]; LANES_MAX],
    len: [usize; LANES_MAX],
    used: usize,
}

impl Default for Lanes<'_> {
    fn default() -> Self {
        Self { padded: [&[]; LANES_MAX], len: [0; LANES_MAX], used: 0 }
    }
}

impl<'a> Lanes<'a> {
    /// Adds a message of `len` bytes, stored with its padding at the start of `padded`.
    ///
    /// # Panics
    /// When all lanes are used, or `padded` is shorter than the padded message.
    #[inline]
    pub fn push(&mut self, padded: &'a [u8], len: usize) {
        let blocks = &padded[..block_count(len) * RATE];
        debug_assert!(blocks[len] & 0x01 == 1 && blocks[blocks.len() - 1] & 0x80 == 0x80, "message is not padded");
        self.padded[self.used] = blocks;
        self.len[self.used] = len;
        self.used += 1;
    }

    /// Digests of all messages, in the order of insertion; elements after the last message are
    /// unspecified.
    #[inline]
    pub fn hash(&self, width: Width) -> [B256; LANES_MAX] {
        let mut digests = [B256::ZERO; LANES_MAX];
        kernel::hash_padded(width, &self.padded, self.used, &self.len, &mut digests);
        digests
    }
}
