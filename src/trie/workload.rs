//! States and blocks for measuring: made up, deterministic, shaped like the main chain's.
//!
//! In: a number of accounts, and how many accounts and slots a block changes. Out: columns. One account in a hundred
//! is a contract; their sizes fall as one over their rank, so that a few hold most slots and are written most.
//! Not here: clocks (the benches and the command line have them).

use super::{Fate, StateUpdate};
use crate::arena::store::KECCAK_EMPTY;
use alloy_primitives::{Address, B256, U256};

/// Owned columns of a [`StateUpdate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateColumns {
    /// See [`StateUpdate::addresses`].
    pub addresses: Vec<Address>,
    /// See [`StateUpdate::fates`].
    pub fates: Vec<Fate>,
    /// See [`StateUpdate::nonces`].
    pub nonces: Vec<Option<u64>>,
    /// See [`StateUpdate::balances`].
    pub balances: Vec<Option<U256>>,
    /// See [`StateUpdate::code_hashes`].
    pub code_hashes: Vec<Option<B256>>,
    /// See [`StateUpdate::slot_starts`].
    pub slot_starts: Vec<u32>,
    /// See [`StateUpdate::slot_keys`].
    pub slot_keys: Vec<U256>,
    /// See [`StateUpdate::slot_values`].
    pub slot_values: Vec<U256>,
}

impl UpdateColumns {
    /// The borrowed form.
    pub fn as_update(&self) -> StateUpdate<'_> {
        StateUpdate {
            addresses: &self.addresses,
            fates: &self.fates,
            nonces: &self.nonces,
            balances: &self.balances,
            code_hashes: &self.code_hashes,
            slot_starts: &self.slot_starts,
            slot_keys: &self.slot_keys,
            slot_values: &self.slot_values,
            hashed_addresses: None,
            hashed_slots: None,
        }
    }

    /// Adds an account without slots so far.
    pub fn push_account(
        &mut self,
        address: Address,
        fate: Fate,
        nonce: Option<u64>,
        balance: Option<U256>,
        code_hash: Option<B256>,
    ) {
        if self.slot_starts.is_empty() {
            self.slot_starts.push(0);
        }
        self.addresses.push(address);
        self.fates.push(fate);
        self.nonces.push(nonce);
        self.balances.push(balance);
        self.code_hashes.push(code_hash);
        self.slot_starts.push(self.slot_keys.len() as u32);
    }

    /// Adds a slot to the account added last.
    ///
    /// # Panics
    /// When no account was added yet.
    pub fn push_slot(&mut self, key: U256, value: U256) {
        self.slot_keys.push(key);
        self.slot_values.push(value);
        *self.slot_starts.last_mut().expect("an account") = self.slot_keys.len() as u32;
    }
}

/// The shape of a made-up state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Accounts of the state; as many slots on top.
    pub accounts: u64,
}

/// splitmix64: a different, repeatable number for every input.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn word(seed: u64) -> U256 {
    U256::from_limbs([mix(seed), mix(seed ^ 1 << 60), mix(seed ^ 2 << 60), mix(seed ^ 3 << 60)])
}

/// A balance of at most a thousand ether.
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

    /// Slots that contract `rank` holds.
    pub fn slot_count(&self, rank: u64) -> u64 {
        (self.accounts / (12 * (rank + 1))).max(8)
    }

    fn slot_key(rank: u64, slot: u64) -> U256 {
        word(rank << 32 | slot)
    }

    /// A contract drawn in proportion to its size.
    fn draw_contract(&self, draw: u64) -> u64 {
        let contracts = self.contracts() as f64;
        let uniform = (draw >> 11) as f64 / (1u64 << 53) as f64;
        ((contracts.powf(uniform) - 1.0) as u64).min(self.contracts() - 1)
    }

    /// The whole state, as the update that makes it.
    pub fn state(&self) -> UpdateColumns {
        let mut columns = UpdateColumns::default();
        for account in 0..self.accounts {
            let contract = account < self.contracts();
            let code_hash = if contract { B256::from(word(account ^ 0xc0de)) } else { KECCAK_EMPTY };
            let (nonce, balance) = (mix(account) % 200, balance(account));
            columns.push_account(self.address(account), Fate::Kept, Some(nonce), Some(balance), Some(code_hash));
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
    pub fn block(&self, block: u64, accounts: usize, slots: usize) -> UpdateColumns {
        let mut draws = (0u64..).map(|i| mix(block << 40 ^ i ^ 0xb10c << 48));
        let mut draw = move || draws.next().unwrap_or_default();
        let mut contracts = std::collections::BTreeMap::<u64, std::collections::BTreeMap<U256, U256>>::new();
        let contract_count = (accounts / 5).clamp(1, self.contracts() as usize);
        while contracts.len() < contract_count {
            // Some of the small ones too: the first visits are uniform.
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
        let mut columns = UpdateColumns::default();
        for (rank, slots) in &contracts {
            columns.push_account(self.address(*rank), Fate::Kept, None, Some(balance(draw())), None);
            slots.iter().for_each(|(key, value)| columns.push_slot(*key, *value));
        }
        let mut seen = std::collections::BTreeSet::new();
        while columns.addresses.len() < accounts {
            let plain = self.contracts() + draw() % (self.accounts - self.contracts()).max(1);
            let what = draw() % 100;
            let account = if what < 10 { self.accounts + draw() % (1 << 31) } else { plain };
            if seen.insert(account) {
                let fate = if what == 99 { Fate::Deleted } else { Fate::Kept };
                let nonce = Some(mix(draw()) % 300);
                columns.push_account(self.address(account), fate, nonce, Some(balance(draw())), None);
            }
        }
        columns
    }
}
