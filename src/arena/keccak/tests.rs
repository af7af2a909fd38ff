//! All kernels against `tiny-keccak`, an independent implementation, over all lengths, widths and
//! lanes.

use super::*;
use alloy_primitives::{Address, U256};
use tiny_keccak::{Hasher, Keccak};

fn oracle(message: &[u8]) -> B256 {
    let mut hasher = Keccak::v256();
    hasher.update(message);
    let mut digest = [0; 32];
    hasher.finalize(&mut digest);
    B256::from(digest)
}

/// Deterministic pseudo-random bytes (xorshift), so that failures are reproducible.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

#[test]
fn every_length_in_every_width_and_lane() {
    let bytes = noise(1, 1200);
    for width in Width::supported() {
        let mut batch = Batch::new(width);
        // Eight rows per length fill all lanes with different messages.
        let rows: Vec<(usize, usize)> = (0..=1100).flat_map(|len| (0..8).map(move |lane| (len, lane))).collect();
        let mut out = vec![B256::ZERO; rows.len()];
        for (row, (len, lane)) in rows.iter().enumerate() {
            batch.push(&bytes[*lane..*lane + *len], row, &mut out);
        }
        batch.finish(&mut out);
        for (digest, (len, lane)) in out.iter().zip(&rows) {
            assert_eq!(*digest, oracle(&bytes[*lane..*lane + *len]), "{width:?} length {len} lane {lane}");
        }
    }
}

#[test]
fn one_message_of_every_length_alone() {
    let bytes = noise(3, 1200);
    for len in 0..=1100 {
        for offset in 0..8 {
            let message = &bytes[offset..offset + len];
            assert_eq!(keccak256(message), oracle(message), "length {len} offset {offset}");
            assert_eq!(scalar(message), oracle(message), "length {len} offset {offset}");
        }
    }
}

#[test]
fn long_messages_of_uneven_lengths_share_the_lanes() {
    for seed in 0..60u64 {
        let count = 1 + (seed as usize * 5) % 27;
        let messages: Vec<Vec<u8>> = (0..count)
            .map(|i| {
                noise(
                    seed * 100 + i as u64,
                    (i * i * 331 + seed as usize * 577) % [900, 3000, 26_000][seed as usize % 3],
                )
            })
            .collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let expected: Vec<B256> = messages.iter().map(|message| oracle(message)).collect();
        for width in Width::supported() {
            let mut out = vec![B256::ZERO; count];
            batch::hash_many(width, &slices, &mut out);
            assert_eq!(out, expected, "{width:?} seed {seed}");
        }
    }
    // Lengths around whole blocks: from three bytes less to four bytes more.
    let bytes = noise(7, 30 * RATE);
    for blocks in 4..28 {
        let slices: Vec<&[u8]> = (0..8).map(|i| &bytes[i..i + blocks * RATE + i - 3]).collect();
        let mut out = vec![B256::ZERO; 8];
        keccak256_many(&slices, &mut out);
        assert!(slices.iter().zip(&out).all(|(message, digest)| *digest == oracle(message)));
    }
}

#[test]
fn padded_messages_of_uneven_block_counts_share_the_lanes() {
    for seed in 0..200u64 {
        let count = 1 + seed as usize % LANES_MAX;
        let messages: Vec<PaddedBlocks<{ 4 * RATE }>> = (0..count)
            .map(|i| {
                let mut padded = PaddedBlocks::default();
                padded.set(&noise(seed * 10 + i as u64, (i * 211 + seed as usize * 61) % (4 * RATE)));
                padded
            })
            .collect();
        for width in Width::supported() {
            let mut lanes = Lanes::default();
            messages.iter().for_each(|padded| lanes.push(padded.blocks(), padded.message().len()));
            for (digest, padded) in lanes.hash(width).iter().zip(&messages) {
                assert_eq!(*digest, oracle(padded.message()), "{width:?} seed {seed}");
            }
        }
    }
}

#[test]
fn random_batches_of_mixed_lengths() {
    for seed in 0..40u64 {
        let count = (seed as usize * 7) % 61;
        let messages: Vec<Vec<u8>> =
            (0..count).map(|i| noise(seed * 1000 + i as u64, (i * 97 + seed as usize * 13) % 1101)).collect();
        let expected: Vec<B256> = messages.iter().map(|message| oracle(message)).collect();
        for width in Width::supported() {
            let mut out = vec![B256::ZERO; count];
            let mut batch = Batch::new(width);
            for (row, message) in messages.iter().enumerate() {
                batch.push(message, row, &mut out);
            }
            batch.finish(&mut out);
            assert_eq!(out, expected, "{width:?} seed {seed}");
        }
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut out = vec![B256::ZERO; count];
        keccak256_many(&slices, &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn key_columns() {
    for count in [0usize, 1, 3, 4, 7, 8, 9, 16, 61] {
        let addresses: Vec<Address> = (0..count).map(|i| Address::from_slice(&noise(i as u64, 20))).collect();
        let keys: Vec<U256> = (0..count).map(|i| U256::from_be_slice(&noise(i as u64, i % 33))).collect();
        let words: Vec<B256> = keys.iter().map(|key| B256::from(key.to_be_bytes::<32>())).collect();
        for width in Width::supported() {
            let mut out = vec![B256::ZERO; count];
            hash_addresses(width, &addresses, &mut out);
            assert!(out.iter().zip(&addresses).all(|(digest, address)| *digest == oracle(address.as_slice())));
            let mut slots = vec![B256::ZERO; count];
            hash_slots(width, &keys, &mut slots);
            assert!(slots.iter().zip(&words).all(|(digest, word)| *digest == oracle(word.as_slice())));
            hash_words(width, &words, &mut out);
            assert_eq!(out, slots);
        }
    }
}
