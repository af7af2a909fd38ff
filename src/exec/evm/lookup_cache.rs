//! Small direct-mapped tables: names to ids, before the universe's own tables; and inputs to hashes.
//!
//! A contract asks for the same few slots and accounts again and again; a hit costs one compare of limbs and no hash.
//! Names are looked up as stack words, limb by limb: a word just pushed is read back as it was written.
//! Relies on: an id, once given, means the same name until [`LookupCache::clear`]. Not here: warmth, values.

use crate::arena::keccak::keccak256;
use crate::arena::{AccountId, SlotId};
use alloy_primitives::{B256, U256, b256};

const SLOT_LINES: usize = 256;
const ACCOUNT_LINES: usize = 64;
/// An owner or id that no universe gives.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct SlotLine {
    key: [u64; 4],
    owner: u32,
    id: u32,
}

#[derive(Clone, Copy, Debug)]
struct AccountLine {
    low: u64,
    middle: u64,
    high: u32,
    id: u32,
}

/// The table.
#[derive(Debug)]
pub struct LookupCache {
    slots: [SlotLine; SLOT_LINES],
    accounts: [AccountLine; ACCOUNT_LINES],
}

impl Default for LookupCache {
    fn default() -> Self {
        Self {
            slots: [SlotLine { key: [0; 4], owner: NOBODY, id: NOBODY }; SLOT_LINES],
            accounts: [AccountLine { low: 0, middle: 0, high: 0, id: NOBODY }; ACCOUNT_LINES],
        }
    }
}

impl LookupCache {
    /// Forgets all names.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[inline(always)]
    fn slot_line(owner: AccountId, key: &[u64; 4]) -> usize {
        (key[0] as usize ^ (key[0] >> 8) as usize ^ (owner.0 as usize).wrapping_mul(37)) % SLOT_LINES
    }

    /// The slot of this owner and key, if it was seen lately.
    #[inline(always)]
    pub fn slot(&self, owner: AccountId, key: &U256) -> Option<SlotId> {
        let key = key.as_limbs();
        let line = &self.slots[Self::slot_line(owner, key)];
        let differs = (line.key[0] ^ key[0])
            | (line.key[1] ^ key[1])
            | (line.key[2] ^ key[2])
            | (line.key[3] ^ key[3])
            | u64::from(line.owner ^ owner.0);
        (differs == 0).then_some(SlotId(line.id))
    }

    /// Remembers a slot.
    #[inline]
    pub fn remember_slot(&mut self, owner: AccountId, key: &U256, id: SlotId) {
        let key = *key.as_limbs();
        self.slots[Self::slot_line(owner, &key)] = SlotLine { key, owner: owner.0, id: id.0 };
    }

    /// The account that a word names (its upper 12 bytes do not count), if it was seen lately.
    #[inline(always)]
    pub fn account(&self, word: &U256) -> Option<AccountId> {
        let [low, middle, high, _] = *word.as_limbs();
        let line = &self.accounts[low as usize % ACCOUNT_LINES];
        let differs = (line.low ^ low) | (line.middle ^ middle) | u64::from(line.high ^ high as u32);
        (differs == 0 && line.id != NOBODY).then_some(AccountId(line.id))
    }

    /// Remembers an account.
    #[inline]
    pub fn remember_account(&mut self, word: &U256, id: AccountId) {
        let [low, middle, high, _] = *word.as_limbs();
        self.accounts[low as usize % ACCOUNT_LINES] = AccountLine { low, middle, high: high as u32, id: id.0 };
    }
}

const HASH_LINES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct HashLine {
    input: [u64; 8],
    hash: B256,
}

/// The input of zeros with its own hash.
const ZEROS: HashLine =
    HashLine { input: [0; 8], hash: b256!("ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5") };

/// Hashes of 64-byte inputs, kept for the worker's life: where Solidity puts a mapping's entry is keccak256(key . slot),
/// and the same few keys are asked for again and again, within a transaction and across blocks.
#[derive(Debug)]
pub struct KeccakCache {
    lines: Vec<HashLine>,
    /// Lines written since the last [`KeccakCache::clear`], some more than once; beyond so many nobody counts.
    written: Vec<u16>,
}

impl Default for KeccakCache {
    fn default() -> Self {
        // Every line is true from the start.
        Self { lines: vec![ZEROS; HASH_LINES], written: Vec::with_capacity(HASH_LINES) }
    }
}

impl KeccakCache {
    /// Forgets all hashes, at the price of the lines that were written.
    pub fn clear(&mut self) {
        if self.written.len() < HASH_LINES {
            self.written.iter().for_each(|index| self.lines[usize::from(*index)] = ZEROS);
        } else {
            self.lines.fill(ZEROS);
        }
        self.written.clear();
    }

    /// keccak256 of 64 bytes.
    #[inline]
    pub fn keccak(&mut self, input: &[u8; 64]) -> B256 {
        let (limbs, _) = input.as_chunks::<8>();
        let words: [u64; 8] = core::array::from_fn(|index| u64::from_ne_bytes(limbs[index]));
        // A mapping's key differs in its last bytes, its slot in the very last.
        let mixed =
            (words[3] ^ words[2].rotate_left(23) ^ words[7].rotate_left(41)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (mixed >> 54) as usize % HASH_LINES;
        let line = &mut self.lines[index];
        let mut differs = 0;
        for (own, other) in line.input.iter().zip(&words) {
            differs |= own ^ other;
        }
        if differs != 0 {
            *line = HashLine { input: words, hash: keccak256(input) };
            if self.written.len() < HASH_LINES {
                self.written.push(index as u16);
            }
        }
        line.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_hashes_are_true() {
        let mut memo = KeccakCache::default();
        for round in 0..3_000u64 {
            let mut input = [0; 64];
            input[24..32].copy_from_slice(&(round % 700).to_be_bytes());
            input[63] = (round % 3) as u8;
            assert_eq!(memo.keccak(&input), keccak256(input));
        }
        assert_eq!(memo.written.len(), HASH_LINES);
        memo.clear();
        assert!(memo.lines.iter().all(|line| line.input == ZEROS.input && line.hash == keccak256([0; 64])));
        memo.keccak(&[7; 64]);
        assert_eq!(memo.written.len(), 1);
        memo.clear();
        assert!(memo.lines.iter().all(|line| line.input == ZEROS.input && line.hash == ZEROS.hash));
    }

    #[test]
    fn a_line_answers_for_its_own_name_only() {
        let mut table = LookupCache::default();
        assert_eq!(table.slot(AccountId(0), &U256::ZERO), None);
        assert_eq!(table.account(&U256::ZERO), None);
        let key = U256::from_limbs([7, 0, 0, 1]);
        table.remember_slot(AccountId(3), &key, SlotId(9));
        assert_eq!(table.slot(AccountId(3), &key), Some(SlotId(9)));
        assert_eq!(table.slot(AccountId(4), &key), None);
        assert_eq!(table.slot(AccountId(3), &U256::from(7)), None);
        let word = U256::from_limbs([1, 2, 3 | 9 << 32, 4]);
        table.remember_account(&word, AccountId(5));
        assert_eq!(table.account(&U256::from_limbs([1, 2, 3, 0])), Some(AccountId(5)));
        assert_eq!(table.account(&U256::from_limbs([1, 2, 4, 0])), None);
        table.clear();
        assert_eq!(table.account(&word), None);
    }
}
