//! Sample lists: valid, deterministic, with the proportions of lists of full blocks.
//!
//! In: a seed and a size in bytes. Out: a list of about that size. For benchmarks, tests and
//! `balustrade bench`.
//! Relies on: `record`, which sorts the randomly drawn entries.
//! Not here: blocks that would produce such a list.
//!
//! The proportions are those of large real blocks (12,600 accounts, 57,000 changed slots, 113,000
//! changes and 36,000 reads per 5 MB): most accounts have only balance and nonce changes, one in
//! eight is a contract with dozens of slots; keys are hashes or small numbers, values have all
//! lengths.

use super::{RecordedKeys, RecordedList, Recorder};
use crate::arena::{AccountId, BlockAccessIndex, Column, SlotId};
use alloy_primitives::{Address, U256};

/// Number of transactions of a sample list's block.
pub const TX_COUNT: usize = 1_000;

/// Average RLP size in bytes of an account with its slots.
const BYTES_PER_ACCOUNT: usize = 390;

/// A list of about `len_bytes` bytes; equal seeds give equal lists.
pub fn list(seed: u64, len_bytes: usize) -> RecordedList {
    let mut draw = Draw { state: seed };
    let mut recorder = Recorder::new();
    let mut addresses: Column<AccountId, Address> = Column::default();
    let mut slot_keys: Column<SlotId, U256> = Column::default();
    let mut slot_accounts: Column<SlotId, AccountId> = Column::default();
    for _ in 0..(len_bytes / BYTES_PER_ACCOUNT).max(1) {
        let mut address = [0; 20];
        address.copy_from_slice(&draw.word().to_be_bytes::<32>()[..20]);
        let account = addresses.push(Address::from(address));
        recorder.touch_account(account);
        for index in draw.indices(2) {
            recorder.balance(account, index, draw.word() >> 176);
        }
        if draw.below(2) == 0 {
            for index in draw.indices(1) {
                recorder.nonce(account, index, draw.below(100_000));
            }
        }
        if draw.below(100) == 0 {
            let code: Vec<u8> = (0..100 + draw.below(500)).map(|i| (i % 0xee) as u8).collect();
            recorder.code(account, BlockAccessIndex(1 + draw.below(TX_COUNT as u64) as u32), &code);
        }
        if draw.below(8) != 0 {
            continue;
        }
        // Keys are small ascending numbers (plain variables) or random words (mapping slots).
        let mut small_key = 0;
        for _ in 0..20 + draw.below(80) {
            small_key += 1 + draw.below(3);
            let key = if draw.below(4) == 0 { U256::from(small_key) } else { draw.word() };
            let slot = slot_keys.push(key);
            slot_accounts.push(account);
            recorder.touch_slot(slot);
            if draw.below(8) < 5 {
                for index in draw.indices(2) {
                    let shift = [0, 0, 96, 128, 192, 250][draw.below(6) as usize];
                    recorder.slot(slot, index, draw.word() >> shift);
                }
            }
        }
    }
    let recorded = RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts };
    recorder.finish(&recorded)
}

/// SplitMix64 (Steele, Lea, Flood 2014): deterministic on all platforms; the statistical quality
/// suffices here.
struct Draw {
    state: u64,
}

impl Draw {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn word(&mut self) -> U256 {
        U256::from_limbs([self.next(), self.next(), self.next(), self.next()])
    }

    /// One to `most` (at most 2) random indices of the block.
    fn indices(&mut self, most: u64) -> impl Iterator<Item = BlockAccessIndex> + use<> {
        let count = 1 + self.below(most);
        let drawn = [self.below(TX_COUNT as u64 + 2), self.below(TX_COUNT as u64 + 2)];
        drawn.into_iter().take(count as usize).map(|index| BlockAccessIndex(index as u32))
    }
}
