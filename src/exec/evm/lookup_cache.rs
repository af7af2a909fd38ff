//! Small direct-mapped caches: addresses and slot keys to ids, in front of the id map's hash tables; and
//! Keccak-256 hashes of 64-byte inputs.
//!
//! Contracts access the same few slots and accounts repeatedly. A hit costs one comparison of limbs and no hash.
//! Keys are compared limb by limb as stack words, because a word that was just pushed is read fastest in the
//! width in which it was written.
//! Relies on: an id keeps its meaning until [`LookupCache::clear`]. Not here: accessed sets (EIP-2929) and values.

use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::keccak::keccak256;
use crate::arena::{AccountId, SlotId};
use alloy_primitives::{B256, U256, b256};

const SLOT_LINES: usize = 256;
const ACCOUNT_LINES: usize = 64;
/// An owner or id that the id map never assigns; marks an empty line.
const UNASSIGNED: u32 = u32::MAX;

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

/// Direct-mapped cache of account and slot ids.
#[derive(Debug)]
pub struct LookupCache {
    slots: [SlotLine; SLOT_LINES],
    accounts: [AccountLine; ACCOUNT_LINES],
}

impl Default for LookupCache {
    fn default() -> Self {
        Self {
            slots: [SlotLine { key: [0; 4], owner: UNASSIGNED, id: UNASSIGNED }; SLOT_LINES],
            accounts: [AccountLine { low: 0, middle: 0, high: 0, id: UNASSIGNED }; ACCOUNT_LINES],
        }
    }
}

impl LookupCache {
    /// Empties the cache.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[inline(always)]
    fn slot_line(owner: AccountId, key: &[u64; 4]) -> usize {
        (key[0] as usize ^ (key[0] >> 8) as usize ^ (owner.0 as usize).wrapping_mul(37)) % SLOT_LINES
    }

    /// The id of this slot, if the cache holds it.
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

    /// Stores a slot's id, replacing the line's previous entry.
    #[inline]
    pub fn remember_slot(&mut self, owner: AccountId, key: &U256, id: SlotId) {
        let key = *key.as_limbs();
        self.slots[Self::slot_line(owner, &key)] = SlotLine { key, owner: owner.0, id: id.0 };
    }

    /// The account whose address is the low 20 bytes of `word` (the upper 12 are ignored), if the cache holds it.
    #[inline(always)]
    pub fn account(&self, word: &U256) -> Option<AccountId> {
        let [low, middle, high, _] = *word.as_limbs();
        let line = &self.accounts[low as usize % ACCOUNT_LINES];
        let differs = (line.low ^ low) | (line.middle ^ middle) | u64::from(line.high ^ high as u32);
        (differs == 0 && line.id != UNASSIGNED).then_some(AccountId(line.id))
    }

    /// Stores an account's id, replacing the line's previous entry.
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

/// The initial line: 64 zero bytes and their hash.
const ZEROS: HashLine =
    HashLine { input: [0; 8], hash: b256!("ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5") };

/// Keccak-256 hashes of 64-byte inputs, kept for the life of the worker: Solidity stores a mapping's entry at
/// keccak256(key . slot), and the same few keys recur within a transaction and across blocks.
#[derive(Debug)]
pub struct KeccakCache {
    lines: Vec<HashLine>,
    /// Indices of lines written since the last [`KeccakCache::clear`], possibly repeated. When it holds
    /// `HASH_LINES` entries, no more are added and `clear` resets all lines.
    written: Vec<u16>,
}

impl HeapBytes for KeccakCache {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.lines, &self.written])
    }
}

impl Default for KeccakCache {
    fn default() -> Self {
        // Every line is a correct pair of input and hash from the start.
        Self { lines: vec![ZEROS; HASH_LINES], written: Vec::with_capacity(HASH_LINES) }
    }
}

impl KeccakCache {
    /// Removes all hashes; resets only the lines that were written.
    pub fn clear(&mut self) {
        if self.written.len() < HASH_LINES {
            self.written.iter().for_each(|index| self.lines[usize::from(*index)] = ZEROS);
        } else {
            self.lines.fill(ZEROS);
        }
        self.written.clear();
    }

    /// The Keccak-256 hash of `input`, from the cache or computed and stored.
    #[inline]
    pub fn keccak(&mut self, input: &[u8; 64]) -> B256 {
        let (limbs, _) = input.as_chunks::<8>();
        let words: [u64; 8] = core::array::from_fn(|index| u64::from_ne_bytes(limbs[index]));
        // Mapping keys differ in their last bytes; slot numbers in the last byte.
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
    fn cached_hashes_are_correct() {
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
    fn a_cache_line_matches_only_its_own_key() {
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
