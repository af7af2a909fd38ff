//! A generated state with many millions of accounts, which is never in memory as a whole.
//!
//! In: numbers of accounts, contracts, slots and senders, and a seed. Out: the leaves of its tries in
//! the order of hashed keys, from which a store is filled; and the same state as a [`StateStore`].
//! The address of account `i` is a bijection of `i`, so that an address tells its account without a
//! table. Contract `k` has slots `0..n` with `n` in inverse proportion to `k + 1`, as the sizes of
//! contracts on public chains are skewed. Codes are a few that read and add to the slots that the
//! calldata names.
//! Relies on: the system contracts and keys of the generated chain. Not here: blocks on this state
//! (`state_blocks`), tries.

use super::super::devnet::asm::assemble;
use super::super::devnet::system_contracts::SYSTEM_CONTRACTS;
use super::super::devnet::transactions::Signer;
use super::super::devnet::{Random, mix, unmix};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::keccak::{Width, hash_addresses, hash_slots};
use balustrade::arena::store::KECCAK_EMPTY;
use balustrade::{AccountStatus, MemoryStore, ParentAccount, SlotQuery, StateChanges, StateStore, StoreError};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;

/// Balance in wei of an account with a key.
const RICH: u128 = 10u128.pow(30);
/// Number of different codes.
const CODES: u64 = 8;
/// Number of rows that are sorted at once: 64 MiB.
const ROWS_MAX: u64 = 1 << 22;
/// Number of keys that are hashed at once.
const CHUNK: u64 = 1 << 12;

/// The sizes of a generated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Number of accounts, without senders and system contracts.
    pub accounts: u64,
    /// Number of contracts among them; at most `accounts`.
    pub contracts: u64,
    /// Number of slots of all contracts, reached within `contracts` slots.
    pub slots: u64,
    /// Number of accounts that send transactions.
    pub senders: u64,
    /// Seed of addresses and values.
    pub seed: u64,
}

/// A generated state.
#[derive(Debug)]
pub struct State {
    sizes: Sizes,
    /// Number of slots of the largest contract, without the one that each contract has.
    largest: u64,
    /// Senders and system contracts.
    fixed: MemoryStore,
    codes: Vec<(B256, Bytes)>,
}

/// A leaf of the account trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// keccak256 of the address.
    pub hashed: B256,
    /// The address.
    pub address: Address,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code.
    pub code_hash: B256,
    /// Number of slots; their keys are `0..slots`.
    pub slots: u64,
}

/// A leaf of a storage trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLeaf {
    /// keccak256 of the key as 32 bytes.
    pub hashed: B256,
    /// The key.
    pub key: U256,
    /// The value.
    pub value: U256,
}

/// A part of a state, as changes of the empty state.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Accounts and slots.
    pub changes: StateChanges,
    /// keccak256 of each address.
    pub keys: Vec<B256>,
    /// keccak256 of each slot's key.
    pub slot_keys: Vec<B256>,
}

impl Chunk {
    fn push(&mut self, leaf: &Leaf) {
        let Leaf { hashed, address, nonce, balance, code_hash, .. } = *leaf;
        self.keys.push(hashed);
        self.changes.push_account(address, AccountStatus::Kept, Some(nonce), Some(balance), Some(code_hash));
    }

    fn push_slot(&mut self, slot: &SlotLeaf) {
        self.slot_keys.push(slot.hashed);
        self.changes.push_slot(slot.key, slot.value);
    }
}

impl State {
    /// Creates a state of these sizes. Takes memory for the senders only.
    pub fn new(sizes: Sizes) -> Self {
        let sizes = Sizes { contracts: sizes.contracts.min(sizes.accounts), ..sizes };
        let mut fixed = MemoryStore::default();
        for (address, code) in SYSTEM_CONTRACTS {
            let code_hash = fixed.insert_code(code.to_vec().into());
            fixed.insert_account(address, 1, U256::ZERO, code_hash, []);
        }
        for signer in (0..sizes.senders).filter_map(Signer::new) {
            fixed.insert_account(signer.address, 0, U256::from(RICH), KECCAK_EMPTY, []);
        }
        // The harmonic number in units of 2^-32, by which the largest contract has its part of the slots.
        let harmonic: u64 = (1..=sizes.contracts).map(|rank| (1 << 32) / rank).sum();
        let extra = sizes.slots.saturating_sub(sizes.contracts);
        let largest = (u128::from(extra) << 32) / u128::from(harmonic.max(1));
        let codes = (0..CODES).map(code).map(|code| (keccak256(&code), code)).collect();
        Self { sizes, largest: largest as u64, fixed, codes }
    }

    /// The sizes.
    pub const fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Every code of the state with its keccak256.
    pub fn codes(&self) -> impl Iterator<Item = (B256, Bytes)> + '_ {
        self.codes.iter().cloned().chain(self.fixed.iter_codes().map(|(hash, code)| (*hash, code.clone())))
    }

    /// Number of accounts, with senders and system contracts.
    pub fn account_count(&self) -> u64 {
        self.sizes.accounts + self.fixed.len() as u64
    }

    /// The address of the account at `index`; contracts come first.
    pub const fn address(&self, index: u64) -> Address {
        let id = mix(index ^ self.sizes.seed);
        let (one, two) = (mix(id ^ ADDRESS_PARTS[0]).to_be_bytes(), mix(id ^ ADDRESS_PARTS[1]).to_be_bytes());
        let id = id.to_be_bytes();
        let mut address = [0; 20];
        let mut at = 0;
        while at < 20 {
            address[at] = if at < 8 {
                id[at]
            } else if at < 16 {
                one[at - 8]
            } else {
                two[at - 16]
            };
            at += 1;
        }
        Address::new(address)
    }

    /// The index of the account with this address; `None` if no generated account has it.
    pub fn index(&self, address: &Address) -> Option<u64> {
        let id = u64::from_be_bytes(address.0[..8].try_into().ok()?);
        let index = unmix(id) ^ self.sizes.seed;
        (index < self.sizes.accounts && self.address(index) == *address).then_some(index)
    }

    /// Number of slots of the account at `index`: at least one for a contract.
    pub const fn slots_of(&self, index: u64) -> u64 {
        if index < self.sizes.contracts { 1 + self.largest / (index + 1) } else { 0 }
    }

    /// Value of the slot `key` of the account at `index`, which has this slot.
    fn value(&self, index: u64, key: u64) -> U256 {
        // From one byte, like flags and counters, up to 24, like balances and addresses.
        let word = mix(mix(index) ^ key ^ self.sizes.seed);
        U256::from(word | 1) << ((word >> 57) & 0x80)
    }

    /// The account at `index`.
    fn account(&self, index: u64, hashed: B256) -> Leaf {
        let (address, slots) = (self.address(index), self.slots_of(index));
        let word = mix(index ^ !self.sizes.seed);
        let (nonce, code_hash) = match slots {
            0 => ((word & 0x3ff) >> (word >> 60), KECCAK_EMPTY),
            _ => (1, self.codes[(word % CODES) as usize].0),
        };
        let balance = U256::from(word) << (word & 31);
        Leaf { hashed, address, nonce, balance, code_hash, slots }
    }

    /// The ranges of the first two bytes of hashed addresses of which each has about `rows` accounts.
    pub fn ranges(&self, rows: u64) -> impl Iterator<Item = Range<u32>> {
        split(0..PREFIXES, self.account_count().div_ceil(rows.max(1)))
    }

    /// The leaves of the account trie whose hashed addresses begin with two bytes in `range`, in order.
    /// Takes 16 bytes of memory per account, for at most 4,194,304 accounts.
    pub fn leaves(&self, range: Range<u32>) -> impl Iterator<Item = Leaf> + '_ {
        let hashes = |indexes: &[u64], out: &mut [B256]| {
            let addresses: Vec<Address> = indexes.iter().map(|index| self.address(*index)).collect();
            hash_addresses(Width::detect(), &addresses, out);
        };
        let parts = self.sizes.accounts * u64::from(range.end - range.start) / u64::from(PREFIXES) / ROWS_MAX;
        let generated = InHashOrder::new(self.sizes.accounts, split(range.clone(), parts + 1).collect(), hashes);
        let mut generated = generated.map(|(hashed, index)| self.account(index, hashed)).peekable();
        let mut fixed: Vec<Leaf> = self
            .fixed
            .iter()
            .map(|(address, account)| Leaf {
                hashed: keccak256(address),
                address: *address,
                nonce: account.nonce,
                balance: account.balance,
                code_hash: account.code_hash,
                slots: 0,
            })
            .collect();
        fixed.retain(|leaf| range.contains(&prefix(&leaf.hashed)));
        fixed.sort_unstable_by_key(|leaf| leaf.hashed);
        let mut fixed = fixed.into_iter().peekable();
        std::iter::from_fn(move || match (generated.peek(), fixed.peek()) {
            (Some(one), Some(two)) if two.hashed < one.hashed => fixed.next(),
            (Some(_), _) => generated.next(),
            (None, _) => fixed.next(),
        })
    }

    /// The leaves of an account's storage trie, in order. Takes 16 bytes of memory per slot, for at
    /// most 4,194,304 slots.
    pub fn slot_leaves<'a>(&'a self, leaf: &Leaf) -> impl Iterator<Item = SlotLeaf> + use<'a> {
        let hashes = |keys: &[u64], out: &mut [B256]| {
            let keys: Vec<U256> = keys.iter().map(|key| U256::from(*key)).collect();
            hash_slots(Width::detect(), &keys, out);
        };
        // Accounts that are not generated have no slots.
        let index = self.index(&leaf.address).unwrap_or_default();
        let ranges = split(0..PREFIXES, leaf.slots / ROWS_MAX + 1).collect();
        InHashOrder::new(leaf.slots, ranges, hashes).map(move |(hashed, key)| SlotLeaf {
            hashed,
            key: U256::from(key),
            value: self.value(index, key),
        })
    }

    /// The whole state as changes of the empty state, in the order of hashed keys, at most `rows`
    /// accounts and slots at a time. An account with more slots is continued in the next chunk. The
    /// first chunk has all codes.
    pub fn chunks(&self, rows: usize) -> impl Iterator<Item = Chunk> + '_ {
        let mut leaves = self.leaves(0..PREFIXES);
        let mut continued = None;
        let mut codes = Some(self.codes().collect());
        std::iter::from_fn(move || {
            let mut chunk = Chunk::default();
            chunk.changes.codes = codes.take().unwrap_or_default();
            while chunk.keys.len() + chunk.slot_keys.len() < rows.max(2) {
                let (leaf, mut slots) = match continued.take() {
                    Some(continued) => continued,
                    None => match leaves.next() {
                        Some(leaf) => (leaf, self.slot_leaves(&leaf).peekable()),
                        None => break,
                    },
                };
                chunk.push(&leaf);
                let left = rows.max(2) - chunk.keys.len() - chunk.slot_keys.len();
                slots.by_ref().take(left).for_each(|slot| chunk.push_slot(&slot));
                if slots.peek().is_some() {
                    continued = Some((leaf, slots));
                }
            }
            (!chunk.keys.is_empty()).then_some(chunk)
        })
    }

    /// The whole state in memory, for tests and small sizes.
    pub fn to_memory(&self) -> MemoryStore {
        let mut store = self.fixed.clone();
        for (_, code) in &self.codes {
            store.insert_code(code.clone());
        }
        for leaf in self.leaves(0..PREFIXES) {
            if self.fixed.account(&leaf.address).is_none() {
                let slots = self.slot_leaves(&leaf).map(|slot| (slot.key, slot.value));
                store.insert_account(leaf.address, leaf.nonce, leaf.balance, leaf.code_hash, slots);
            }
        }
        store
    }
}

impl StateStore for State {
    fn is_resident(&self) -> bool {
        true
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.fixed.accounts(addresses, out)?;
        for (address, out) in addresses.iter().zip(out) {
            if let Some(index) = self.index(address) {
                let Leaf { nonce, balance, code_hash, slots, .. } = self.account(index, B256::ZERO);
                *out = ParentAccount { exists: true, nonce, balance, code_hash, has_storage: slots > 0 };
            }
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        for (slot, out) in slots.iter().zip(out) {
            let found = self.index(&slot.address).zip(u64::try_from(slot.key).ok());
            let found = found.filter(|(index, key)| *key < self.slots_of(*index));
            *out = found.map_or(U256::ZERO, |(index, key)| self.value(index, key));
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.fixed.codes(hashes, out)?;
        for (hash, out) in hashes.iter().zip(out) {
            if let Some((_, code)) = self.codes.iter().find(|(known, _)| known == hash) {
                *out = Some(code.clone());
            }
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.fixed.block_hashes(numbers, out)
    }
}

/// Constants that make the second and the third part of an address from the first.
const ADDRESS_PARTS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// Number of values of the first two bytes of a hash.
pub const PREFIXES: u32 = 1 << 16;

/// The first two bytes of a hash as a number.
fn prefix(hash: &B256) -> u32 {
    u32::from(u16::from_be_bytes([hash[0], hash[1]]))
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// Splits a range into `parts` of about equal length, at least one.
fn split(range: Range<u32>, parts: u64) -> impl Iterator<Item = Range<u32>> {
    let len = u64::from(range.end.saturating_sub(range.start));
    let parts = parts.clamp(1, len.max(1));
    let at = move |part: u64| range.start + (len * part / parts) as u32;
    (0..parts).map(move |part| at(part)..at(part + 1))
}

/// The numbers `0..count` in the order of their hashes. For each range of prefixes all hashes are
/// computed, and those in the range are sorted.
struct InHashOrder<H> {
    count: u64,
    hashes: H,
    ranges: VecDeque<Range<u32>>,
    /// First 8 bytes of the hash and the number, of the present range.
    rows: Vec<(u64, u64)>,
    /// Number of rows whose hashes are in `ready`, or were before.
    taken: usize,
    /// The next hashes with their numbers, the next one last.
    ready: Vec<(B256, u64)>,
}

impl<H: Fn(&[u64], &mut [B256]) + Sync> InHashOrder<H> {
    /// `hashes` computes the hashes of numbers.
    fn new(count: u64, ranges: VecDeque<Range<u32>>, hashes: H) -> Self {
        Self { count, hashes, ranges, rows: Vec::new(), taken: 0, ready: Vec::new() }
    }

    fn hash(&self, numbers: &[u64]) -> Vec<B256> {
        let mut out = vec![B256::ZERO; numbers.len()];
        (self.hashes)(numbers, &mut out);
        out
    }

    /// Computes and sorts the rows of a range.
    fn sorted(&self, range: &Range<u32>) -> Vec<(u64, u64)> {
        let rows_of = |chunk: u64| {
            let numbers: Vec<u64> = (chunk * CHUNK..self.count.min((chunk + 1) * CHUNK)).collect();
            let hashes = self.hash(&numbers);
            let rows = hashes.into_iter().zip(numbers).filter(|(hash, _)| range.contains(&prefix(hash)));
            rows.map(|(hash, number)| (u64::from_be_bytes(first_bytes(&hash.0)), number)).collect::<Vec<_>>()
        };
        let chunks = self.count.div_ceil(CHUNK);
        let mut rows: Vec<(u64, u64)> = match chunks {
            0 | 1 => (0..chunks).flat_map(rows_of).collect(),
            _ => (0..chunks).into_par_iter().flat_map_iter(rows_of).collect(),
        };
        let order = |one: &(u64, u64), two: &(u64, u64)| {
            one.0.cmp(&two.0).then_with(|| self.hash(&[one.1]).cmp(&self.hash(&[two.1])))
        };
        if chunks > 1 {
            rows.par_sort_unstable_by(order)
        } else {
            rows.sort_unstable_by(order)
        }
        rows
    }
}

impl<H: Fn(&[u64], &mut [B256]) + Sync> Iterator for InHashOrder<H> {
    type Item = (B256, u64);

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            if self.taken == self.rows.len() {
                let range = self.ranges.pop_front()?;
                self.rows = Vec::new();
                self.rows = self.sorted(&range);
                self.taken = 0;
            }
            let end = self.rows.len().min(self.taken + CHUNK as usize);
            let numbers: Vec<u64> = self.rows[self.taken..end].iter().map(|row| row.1).collect();
            self.ready = self.hash(&numbers).into_iter().zip(numbers).rev().collect();
            self.taken = end;
        }
        self.ready.pop()
    }
}

/// Code of `kind`, with calldata of words `2 key + write`: reads each slot, and adds one to it if
/// `write` is 1. Bytes behind the program make codes of different lengths, from 128 bytes on.
fn code(kind: u64) -> Bytes {
    let mut code = assemble(
        "0                                                      ; offset
         each: DUP1 CALLDATASIZE EQ @end JUMPI
         DUP1 CALLDATALOAD DUP1 1 SHR SWAP1 1 AND @write JUMPI  ; offset key
         SLOAD POP 32 ADD @each JUMP
         write: DUP1 SLOAD 1 ADD SWAP1 SSTORE 32 ADD @each JUMP
         end: STOP",
    );
    let mut random = Random(kind);
    code.resize_with(128 << kind, || random.next_u64() as u8);
    code.into()
}

/// A word of the calldata of a contract: the slot, and whether it is written.
pub fn access(key: u64, write: bool) -> [u8; 32] {
    U256::from(2 * key + u64::from(write)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use balustrade::StateTries;
    use balustrade::disk::pages::Head;
    use balustrade::disk::pages::memory::MemoryPages;
    use balustrade::disk::state::DiskState;
    use std::sync::Arc;

    const SIZES: Sizes = Sizes { accounts: 20_000, contracts: 1_000, slots: 30_000, senders: 50, seed: 7 };

    #[test]
    fn leaves_are_all_accounts_and_slots_in_the_order_of_their_hashes() {
        let state = State::new(SIZES);
        let all: Vec<Leaf> = state.leaves(0..PREFIXES).collect();
        assert_eq!(all.len() as u64, state.account_count());
        assert!(all.is_sorted_by(|one, two| one.hashed < two.hashed));
        let in_ranges: Vec<Leaf> = state.ranges(3_000).flat_map(|range| state.leaves(range)).collect();
        assert_eq!(in_ranges, all);
        let mut slots = 0;
        for leaf in &all {
            assert_eq!(leaf.hashed, keccak256(leaf.address));
            let of_leaf: Vec<SlotLeaf> = state.slot_leaves(leaf).collect();
            assert_eq!(of_leaf.len() as u64, leaf.slots);
            assert!(of_leaf.is_sorted_by(|one, two| one.hashed < two.hashed));
            for slot in &of_leaf {
                assert_eq!(slot.hashed, keccak256(slot.key.to_be_bytes::<32>()));
                assert!(!slot.value.is_zero());
            }
            slots += leaf.slots;
        }
        assert!(slots.abs_diff(SIZES.slots) <= SIZES.contracts, "{slots}");
        let largest = all.iter().map(|leaf| leaf.slots).max().expect("leaves");
        assert!(largest > slots / 10 && largest == state.slots_of(0), "{largest}");
    }

    #[test]
    fn chunks_fill_a_store_of_pages() {
        let state = State::new(SIZES);
        let memory = state.to_memory();
        let root = StateTries::from_memory(&memory).expect("tries").root();
        for rows in [900, 1 << 20] {
            let mut pages = DiskState::open(Arc::new(MemoryPages::new(4_096)), 1 << 20).expect("an empty store");
            let (mut filled, mut accounts) = (MemoryStore::default(), 0);
            for (number, chunk) in state.chunks(rows).enumerate() {
                let Chunk { changes, keys, slot_keys } = chunk;
                assert!(keys.len() + slot_keys.len() <= rows && keys.is_sorted());
                accounts += keys.len();
                changes.apply_to(&mut filled);
                pages.apply_hashed(&changes, &keys, &slot_keys).expect("applied");
                if number % 10 == 9 {
                    let head = Head { sequence: pages.checkpoint_head().sequence + 1, ..Head::default() };
                    pages.checkpoint(head, &Bytes::new(), false).expect("written");
                }
            }
            assert!(accounts as u64 >= state.account_count());
            let head = Head { sequence: pages.checkpoint_head().sequence + 1, state_root: root, ..Head::default() };
            pages.checkpoint(head, &Bytes::new(), true).expect("the root of the state");
            assert_eq!(StateTries::from_memory(&filled).expect("tries").root(), root);
            assert_eq!(filled.iter_codes().len(), memory.iter_codes().len());
        }
    }

    #[test]
    fn small_ranges_give_the_same_order() {
        let numbers = 30_000;
        let hashes = |keys: &[u64], out: &mut [B256]| {
            out.iter_mut().zip(keys).for_each(|(out, key)| *out = keccak256(key.to_be_bytes()));
        };
        let order = |parts| InHashOrder::new(numbers, split(0..PREFIXES, parts).collect(), hashes).collect::<Vec<_>>();
        let one = order(1);
        assert_eq!(one.len() as u64, numbers);
        assert_eq!(order(7), one);
        assert_eq!(order(60), one);
        assert!(split(3..9, u64::MAX).eq((3..9).map(|at| at..at + 1)) && split(5..5, 3).eq(std::iter::once(5..5)));
        // Equal first bytes are ordered by the rest of the hash.
        let equal = |keys: &[u64], out: &mut [B256]| {
            out.iter_mut().zip(keys).for_each(|(out, key)| *out = B256::from(U256::from(numbers - key)));
        };
        let ordered =
            InHashOrder::new(numbers, std::iter::once(0..PREFIXES).collect(), equal).map(|(_, number)| number);
        assert!(ordered.eq((0..numbers).rev()));
    }

    #[test]
    fn the_store_answers_what_the_leaves_hold() {
        let state = State::new(SIZES);
        let memory = state.to_memory();
        assert_eq!(memory.len() as u64, state.account_count());
        let unknown = [Address::ZERO, Address::with_last_byte(9), state.address(SIZES.accounts)];
        let addresses: Vec<Address> = memory.iter().map(|(address, _)| *address).chain(unknown).collect();
        let of = |store: &dyn StateStore| {
            let mut accounts = vec![ParentAccount::default(); addresses.len()];
            store.accounts(&addresses, &mut accounts).expect("answers");
            let keys = [0u64, 1, 30, 5_000].map(U256::from).into_iter().chain([U256::MAX]);
            let queries: Vec<SlotQuery> = addresses
                .iter()
                .flat_map(|address| keys.clone().map(|key| SlotQuery { address: *address, key }))
                .collect();
            let mut slots = vec![U256::ZERO; queries.len()];
            store.slots(&queries, &mut slots).expect("answers");
            let hashes: Vec<B256> = accounts.iter().map(|account| account.code_hash).collect();
            let mut codes = vec![None; hashes.len()];
            store.codes(&hashes, &mut codes).expect("answers");
            (accounts, slots, codes)
        };
        assert!(of(&state) == of(&memory));
        // Equal sizes give equal states, other seeds other ones.
        let root = |sizes| StateTries::from_memory(&State::new(sizes).to_memory()).expect("tries").root();
        assert_eq!(root(SIZES), root(SIZES));
        assert_ne!(root(SIZES), root(Sizes { seed: 8, ..SIZES }));
    }

    #[test]
    fn degenerate_sizes_are_possible() {
        for (accounts, contracts, slots) in [(0, 0, 0), (1, 5, 3), (3, 0, 100), (10, 10, 0)] {
            let state = State::new(Sizes { accounts, contracts, slots, senders: 2, seed: 0 });
            assert_eq!(state.leaves(0..PREFIXES).count() as u64, accounts + 2 + SYSTEM_CONTRACTS.len() as u64);
        }
        assert_eq!(State::new(SIZES).leaves(5..5).count(), 0);
    }
}
