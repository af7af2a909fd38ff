//! Synthetic states and blocks for benchmarks: deterministic, with the proportions of mainnet.
//!
//! In: a number of accounts, and how many accounts and slots a block changes. Out: columns. One
//! account in a hundred is a contract; its number of slots is inversely proportional to its rank,
//! so that a few contracts have most of the slots and of the writes. [`measure`] times updates of a
//! state by blocks; [`permutation_ns`] times a Keccak permutation, for the lower bound of these
//! times.

use super::count::HashCount;
use super::error::TrieError;
use super::tries::StateTries;
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::{LANES_MAX, Lanes, PaddedBlocks, RATE, Width};
use crate::arena::store::{KECCAK_EMPTY, MemoryStore};
use alloy_primitives::{Address, B256, U256};
use std::time::Instant;

/// Parameters of a synthetic state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Number of accounts; the state has about as many slots.
    pub accounts: u64,
}

/// splitmix64: a deterministic bijection of 64-bit numbers.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn word(seed: u64) -> U256 {
    U256::from_limbs([mix(seed), mix(seed ^ 1 << 60), mix(seed ^ 2 << 60), mix(seed ^ 3 << 60)])
}

/// A balance in wei, below 1,000 ether.
fn balance(seed: u64) -> U256 {
    U256::from(mix(seed) % 1_000_000) * U256::from(1_000_000_000_000_007u64)
}

impl Workload {
    /// Number of contracts: the accounts `0..contracts`.
    pub fn contracts(&self) -> u64 {
        (self.accounts / 100).max(1)
    }

    /// Address of an account.
    pub fn address(&self, account: u64) -> Address {
        let (a, b) = (mix(account ^ 0xadd4), mix(account ^ 0xadd5_0000_0000));
        let mut address = [0; 20];
        address[..8].copy_from_slice(&a.to_be_bytes());
        address[8..16].copy_from_slice(&b.to_be_bytes());
        address[16..].copy_from_slice(&(account as u32).to_be_bytes());
        Address::from(address)
    }

    /// Number of slots of contract `rank`.
    pub fn slot_count(&self, rank: u64) -> u64 {
        (self.accounts / (12 * (rank + 1))).max(8)
    }

    fn slot_key(rank: u64, slot: u64) -> U256 {
        word(rank << 32 | slot)
    }

    /// Draws a contract with a probability proportional to its size.
    fn draw_contract(&self, draw: u64) -> u64 {
        let contracts = self.contracts() as f64;
        let uniform = (draw >> 11) as f64 / (1u64 << 53) as f64;
        ((contracts.powf(uniform) - 1.0) as u64).min(self.contracts() - 1)
    }

    /// The whole state, as changes of the empty state.
    pub fn state(&self) -> StateChanges {
        let mut columns = StateChanges::default();
        for account in 0..self.accounts {
            let contract = account < self.contracts();
            let code_hash = if contract { B256::from(word(account ^ 0xc0de)) } else { KECCAK_EMPTY };
            let (nonce, balance) = (mix(account) % 200, balance(account));
            columns.push_account(
                self.address(account),
                AccountStatus::Kept,
                Some(nonce),
                Some(balance),
                Some(code_hash),
            );
            if contract {
                for slot in 0..self.slot_count(account) {
                    columns.push_slot(Self::slot_key(account, slot), U256::from(mix(slot ^ account << 32) >> 8));
                }
            }
        }
        columns
    }

    /// Block number `block` on top of the state: `accounts` changed accounts (one in five a contract), `slots`
    /// changed slots. Three quarters of the slots and nearly all accounts exist already; one slot in twenty is
    /// deleted, one account in a hundred.
    pub fn block(&self, block: u64, accounts: usize, slots: usize) -> StateChanges {
        let mut draws = (0u64..).map(|i| mix(block << 40 ^ i ^ 0xb10c << 48));
        let mut draw = move || draws.next().unwrap_or_default();
        let mut contracts = std::collections::BTreeMap::<u64, std::collections::BTreeMap<U256, U256>>::new();
        let contract_count = (accounts / 5).clamp(1, self.contracts() as usize);
        while contracts.len() < contract_count {
            // Half of the contracts are drawn uniformly, so that small ones occur too.
            let uniform = contracts.len() * 2 < contract_count;
            let rank = if uniform { draw() % self.contracts() } else { self.draw_contract(draw()) };
            contracts.entry(rank).or_default();
            if !uniform && contracts.len() < contract_count && draw() % 64 == 0 {
                contracts.entry(draw() % self.contracts()).or_default();
            }
        }
        let ranks: Vec<u64> = contracts.keys().copied().collect();
        let mut left = slots;
        while left > 0 {
            let rank = if left.is_multiple_of(2) {
                ranks[draw() as usize % ranks.len()]
            } else {
                let rank = self.draw_contract(draw());
                ranks[ranks.partition_point(|other| *other < rank).min(ranks.len() - 1)]
            };
            let held = self.slot_count(rank);
            let what = draw() % 20;
            let slot = if what < 15 { draw() % held } else { held + draw() % (1 << 30) };
            let value = if what == 0 { U256::ZERO } else { U256::from(draw() >> 8 | 1) };
            let known = contracts.entry(rank).or_default().insert(Self::slot_key(rank, slot), value).is_some();
            left -= usize::from(!known);
        }
        let mut columns = StateChanges::default();
        for (rank, slots) in &contracts {
            columns.push_account(self.address(*rank), AccountStatus::Kept, None, Some(balance(draw())), None);
            slots.iter().for_each(|(key, value)| columns.push_slot(*key, *value));
        }
        let mut seen = std::collections::BTreeSet::new();
        while columns.addresses.len() < accounts {
            let plain = self.contracts() + draw() % (self.accounts - self.contracts()).max(1);
            let what = draw() % 100;
            let account = if what < 10 { self.accounts + draw() % (1 << 31) } else { plain };
            if seen.insert(account) {
                let status = if what == 99 { AccountStatus::Deleted } else { AccountStatus::Kept };
                let nonce = Some(mix(draw()) % 300);
                columns.push_account(self.address(account), status, nonce, Some(balance(draw())), None);
            }
        }
        columns
    }
}

/// Time of one permutation in full batches of `width`, in nanoseconds: the best of several runs
/// over four-block messages in the L1 cache.
pub fn permutation_ns(width: Width) -> f64 {
    const CALLS: usize = 100;
    let mut messages: [PaddedBlocks<{ 4 * RATE }>; LANES_MAX] = Default::default();
    messages.iter_mut().enumerate().for_each(|(i, message)| message.set(&[i as u8; 532]));
    let mut best = f64::INFINITY;
    for _ in 0..40 {
        let start = Instant::now();
        for _ in 0..CALLS {
            let mut lanes = Lanes::default();
            messages.iter().for_each(|message| lanes.push(message.blocks(), message.message().len()));
            std::hint::black_box(lanes.hash(width));
        }
        let ns = start.elapsed().as_nanos() as f64;
        best = best.min(ns / (CALLS * LANES_MAX * 4) as f64);
    }
    best
}

/// Times of updates by blocks of one kind, see [`measure`].
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Nanoseconds of each update, root included, in the order of rounds, then blocks.
    pub update_ns: Vec<f64>,
    /// Nanoseconds of the very first update, on memory not accessed before.
    pub cold_ns: f64,
    /// Nanoseconds of each rollback.
    pub rollback_ns: Vec<f64>,
    /// Hashes computed by all updates of one round.
    pub count: HashCount,
    /// State root after each block on the initial state.
    pub roots: Vec<B256>,
}

impl Measured {
    /// Median nanoseconds of an update.
    pub fn median_ns(&self) -> f64 {
        median(&self.update_ns)
    }

    /// Mean over the blocks of the best time of each, in nanoseconds: less sensitive to other load
    /// on the machine than [`Self::median_ns`].
    pub fn best_ns(&self) -> f64 {
        let blocks = self.roots.len();
        let best = |block| self.update_ns.iter().skip(block).step_by(blocks).copied().fold(f64::INFINITY, f64::min);
        (0..blocks).map(best).sum::<f64>() / blocks as f64
    }

    /// Mean number of permutations of an update.
    pub fn permutations(&self) -> f64 {
        self.count.permutations as f64 / self.roots.len() as f64
    }

    /// `ns` divided by the Keccak lower bound: permutations times `permutation_ns`, divided by the
    /// number of threads.
    pub fn over_limit(&self, ns: f64, permutation_ns: f64, threads: usize) -> f64 {
        ns * threads as f64 / (self.permutations() * permutation_ns)
    }
}

/// The median of `times`; zero if empty.
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Applies every block to the committed state of `tries` and rolls it back, `rounds` times after a
/// warm-up round. On the threads of the current rayon pool.
///
/// # Errors
/// [`TrieError`] if a block is malformed or the state is not wholly in memory.
pub fn measure(tries: &mut StateTries, blocks: &[StateChanges], rounds: usize) -> Result<Measured, TrieError> {
    let store = MemoryStore::default();
    let mut measured = Measured {
        update_ns: Vec::with_capacity(rounds * blocks.len()),
        cold_ns: 0.0,
        rollback_ns: Vec::with_capacity(rounds * blocks.len()),
        count: HashCount::default(),
        roots: Vec::with_capacity(blocks.len()),
    };
    for round in 0..=rounds {
        for (i, block) in blocks.iter().enumerate() {
            let start = Instant::now();
            let root = tries.update(block, &store)?;
            let updated = Instant::now();
            tries.rollback();
            let rolled_back = updated.elapsed().as_nanos() as f64;
            let ns = updated.duration_since(start).as_nanos() as f64;
            if round == 0 {
                measured.roots.push(root);
                measured.count += tries.hash_count();
                measured.cold_ns = if i == 0 { ns } else { measured.cold_ns };
            } else {
                measured.update_ns.push(ns);
                measured.rollback_ns.push(rolled_back);
            }
        }
    }
    Ok(measured)
}
