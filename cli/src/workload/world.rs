//! The world that all families share: accounts, keys, the state before the first block, and
//! signing.
//!
//! In: the common options. Out: addresses, contracts in the state, signed transactions. All random
//! choices come from one seed, so that equal options give equal bytes on every machine. Not here:
//! what a transaction does (the families).

use super::super::devnet::Random;
use super::super::devnet::system_contracts::SYSTEM_CONTRACTS;
use super::super::devnet::transactions::{Authorization, Draft, Signer};
use alloy_primitives::{Address, B256, U256, keccak256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};

/// Maximal fee of every transaction in wei per gas: far above the base fee, which does not rise in
/// generated workloads.
const MAX_FEE: u64 = 100_000_000_000;
/// Priority fee in wei per gas.
const PRIORITY_FEE: u64 = 1_000_000_000;
/// Balances in wei of an account with a key, and of one without.
const RICH: u128 = 10u128.pow(30);
const POOR: u128 = 1_000_000_000;

/// A signed transaction.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The account that signed it.
    pub sender: Address,
    /// Its EIP-2718 encoding.
    pub encoded: Vec<u8>,
    /// Number of its blobs.
    pub blobs: u64,
}

/// The fields of a transaction without sender, nonce and fees.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Value in wei.
    pub value: u64,
    /// Calldata, or init code of a creation.
    pub input: Vec<u8>,
    /// Gas limit.
    pub gas_limit: u64,
    /// Authorizations (EIP-7702); if there are any, the transaction has type 4.
    pub authorizations: Vec<Authorization>,
}

/// The accounts, keys and state of a workload.
#[derive(Debug)]
pub struct World {
    /// The only source of random numbers.
    pub random: Random,
    /// The state before the first block.
    pub store: MemoryStore,
    /// Requested gas of each block.
    pub gas: u64,
    /// Largest gas limit of a transaction. A family with larger ones raises it in
    /// [`super::Knobs::start`].
    pub tx_gas_max: u64,
    /// Number of blobs that still fit into the block.
    pub blobs_left: u64,
    accounts: u64,
    wallets: Wallets,
    fresh: u64,
    seed: u64,
}

/// The accounts with keys, with the nonces of their next transactions.
#[derive(Debug)]
pub struct Wallets {
    signers: Vec<Signer>,
    nonces: Vec<u64>,
}

impl World {
    /// Creates a state with the system contracts and `accounts` accounts with a balance, of which
    /// the first `senders` have keys.
    pub fn new(seed: u64, gas: u64, accounts: u64, senders: u64) -> Self {
        let mut store = MemoryStore::default();
        for (address, code) in SYSTEM_CONTRACTS {
            let code_hash = store.insert_code(code.to_vec().into());
            store.insert_account(address, 1, U256::ZERO, code_hash, []);
        }
        let mut world = Self {
            random: Random(0x776f_726b_6c6f_6164 ^ seed),
            store,
            gas,
            tx_gas_max: 1 << 24,
            blobs_left: 0,
            accounts,
            wallets: Wallets::new(senders.min(accounts)),
            fresh: 0,
            seed,
        };
        for index in 0..accounts {
            let wei = if index < world.senders() { RICH } else { POOR };
            world.store.insert_account(world.account(index), 0, U256::from(wei), KECCAK_EMPTY, []);
        }
        world
    }

    /// Number of accounts without code.
    pub const fn accounts(&self) -> u64 {
        self.accounts
    }

    /// Number of accounts with keys, which are the first ones.
    pub const fn senders(&self) -> u64 {
        self.wallets.len()
    }

    /// The account at `index`. Without a key its address is the last 20 bytes of keccak256(seed ‖
    /// index), both as 32-byte words, so that contracts can compute it.
    pub fn account(&self, index: u64) -> Address {
        self.wallets.address(index).unwrap_or_else(|| derived(self.seed, index))
    }

    /// The seed, for contracts that compute addresses.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns an address that has not been used.
    pub fn fresh(&mut self) -> Address {
        self.fresh += 1;
        derived(self.seed, u64::MAX - self.fresh)
    }

    /// Returns a random number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// Returns true with this probability in percent.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.random.below(100) < chance
    }

    /// Returns the index of a random account with a key.
    pub fn any_sender(&mut self) -> u64 {
        self.random.below(self.senders())
    }

    /// Adds a contract whose address is derived from its name.
    pub fn contract(&mut self, name: &str, code: Vec<u8>, storage: impl IntoIterator<Item = (U256, U256)>) -> Address {
        let address = contract_address(name);
        let code_hash = self.store.insert_code(code.into());
        self.store.insert_account(address, 1, U256::ZERO, code_hash, storage);
        address
    }

    /// Signs the delegation of the account of `sender` to `target` (EIP-7702).
    pub fn authorize(&mut self, sender: u64, target: Address) -> Authorization {
        self.wallets.authorize(sender, target)
    }

    /// Signs a transaction of `sender`.
    pub fn sign(&mut self, sender: u64, call: Call) -> Signed {
        self.wallets.sign(sender, call)
    }

    /// The usual gas of one transaction: a thirtieth of the block's gas, within these bounds.
    pub fn usual_tx_gas(&self, least: u64, most: u64) -> u64 {
        (self.gas / 30).clamp(least, most)
    }
}

impl Wallets {
    /// The first `count` accounts with keys, none of which has sent a transaction.
    pub fn new(count: u64) -> Self {
        let signers: Vec<Signer> = (0..count).filter_map(Signer::new).collect();
        Self { nonces: vec![0; signers.len()], signers }
    }

    /// Number of accounts.
    pub const fn len(&self) -> u64 {
        self.signers.len() as u64
    }

    /// The account at `index`; `None` if there are fewer.
    pub fn address(&self, index: u64) -> Option<Address> {
        self.signers.get(index as usize).map(|signer| signer.address)
    }

    /// Signs the delegation of the account of `sender` to `target` (EIP-7702).
    pub fn authorize(&mut self, sender: u64, target: Address) -> Authorization {
        let nonce = self.next_nonce(sender);
        Authorization::new(&self.signers[sender as usize], target, nonce)
    }

    /// Signs a transaction of `sender`.
    pub fn sign(&mut self, sender: u64, call: Call) -> Signed {
        let Call { to, value, input, gas_limit, authorizations } = call;
        let nonce = self.next_nonce(sender);
        let signer = &self.signers[sender as usize];
        let draft = Draft {
            tx_type: if authorizations.is_empty() { 2 } else { 4 },
            nonce,
            gas_limit,
            max_fee: MAX_FEE,
            priority_fee: PRIORITY_FEE,
            to,
            value: U256::from(value),
            input,
            authorizations,
            ..Draft::default()
        };
        Signed { sender: signer.address, encoded: draft.sign(signer), blobs: 0 }
    }

    fn next_nonce(&mut self, sender: u64) -> u64 {
        let nonce = &mut self.nonces[sender as usize];
        *nonce += 1;
        *nonce - 1
    }
}

/// The address of the contract of this name.
pub fn contract_address(name: &str) -> Address {
    Address::from_slice(&keccak256(name)[12..])
}

fn derived(seed: u64, index: u64) -> Address {
    Address::from_slice(&keccak256(words(&[seed, index]))[12..])
}

/// Calldata of numbers as 32-byte words.
pub fn words(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| U256::from(*number).to_be_bytes::<32>()).collect()
}

/// The slot of `key` in the mapping at `slot`.
pub fn mapping_slot(key: B256, slot: u64) -> U256 {
    keccak256([key.0, U256::from(slot).to_be_bytes()].concat()).into()
}
