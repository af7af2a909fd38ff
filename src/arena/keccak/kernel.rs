//! Dispatch of padded messages to the vector kernels.
//!
//! In: up to eight messages and a [`Width`]. Out: their digests.
//! Relies on: `x4` and `x8`; the scalar path serves all other cases.
//! Not here: collecting messages (`batch`).

use super::{LANES_MAX, RATE, Width, keccak256, scalar};
use alloy_primitives::B256;

/// Hashes the first `used` of eight padded messages; `len[i]` is the unpadded length of message
/// `i`. The four-lane kernel requires equal block counts; with unequal ones, messages are hashed
/// one by one.
///
/// # Panics
/// When the length of a message is not a multiple of the rate.
#[inline]
pub(super) fn hash_padded(
    width: Width,
    messages: &[&[u8]; LANES_MAX],
    used: usize,
    len: &[usize; LANES_MAX],
    digests: &mut [B256; LANES_MAX],
) {
    let Some((first, messages)) = messages[..used].first().zip(messages.get(..used)) else { return };
    match width {
        #[cfg(target_arch = "x86_64")]
        Width::Eight if width.is_supported() => {
            let mut lanes = [*first; 8];
            for (lane, message) in lanes.iter_mut().zip(messages) {
                *lane = message;
            }
            super::x8::hash(&lanes, digests);
        }
        #[cfg(target_arch = "x86_64")]
        Width::Four if width.is_supported() && messages.iter().all(|message| message.len() == first.len()) => {
            for (messages, digests) in messages.chunks(4).zip(digests.chunks_exact_mut(4)) {
                let mut lanes = [*first; 4];
                lanes[..messages.len()].copy_from_slice(messages);
                super::x4::hash(&lanes, digests.try_into().expect("chunks of four"));
            }
        }
        _ => {
            for ((message, len), digest) in messages.iter().zip(len).zip(digests) {
                *digest = scalar(&message[..*len]);
            }
        }
    }
}

/// Hashes eight padded messages of one block each in parallel. Returns `false` and leaves `digests`
/// unchanged unless `width` is [`Width::Eight`] and supported.
#[inline]
pub(crate) fn hash_eight_blocks(
    width: Width,
    blocks: &[&[u8; RATE]; LANES_MAX],
    digests: &mut [B256; LANES_MAX],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if width == Width::Eight && width.is_supported() {
        super::x8::hash_blocks(blocks, digests);
        return true;
    }
    let _ = (width, blocks, digests);
    false
}

/// Hashes eight messages of any lengths; in parallel if `width` is [`Width::Eight`] and supported.
pub(super) fn hash_uneven(width: Width, messages: &[&[u8]; LANES_MAX]) -> [B256; LANES_MAX] {
    #[cfg(target_arch = "x86_64")]
    if width == Width::Eight && width.is_supported() {
        let mut tails = [[0; RATE]; LANES_MAX];
        for (tail, message) in tails.iter_mut().zip(messages) {
            let rest = &message[message.len() / RATE * RATE..];
            tail[..rest.len()].copy_from_slice(rest);
            // Padding of Keccak, not of SHA-3: a 1 bit, zeros, a 1 bit at the block's end.
            tail[rest.len()] = 1;
            tail[RATE - 1] |= 0x80;
        }
        let mut digests = [B256::ZERO; LANES_MAX];
        super::x8::hash_uneven(messages, &tails, &mut digests);
        return digests;
    }
    messages.map(keccak256)
}
