//! A small deterministic chain like a devnet, for a first run without any input files.
//!
//! Out: a genesis, and the signed transactions of block after block, of all types: transfers, token
//! transfers, storage and hash loops, deployments, blobs, delegated wallets, and withdrawals; about
//! 330 transactions and 30 Mgas per block under the final Amsterdam rules. As on a public chain, most
//! of the gas is spent on storage.
//! The blocks are the same on every machine: keys, amounts and targets come from fixed seeds.
//! Not here: sealing (headers need the results of execution).

pub mod asm;
pub mod contracts;
pub mod system_contracts;
pub mod transactions;

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use balustrade::arena::store::{EMPTY_ROOT, KECCAK_EMPTY, MemoryStore};
use balustrade::bal::bal_hash;
use balustrade::exec::block::verify::requests_hash;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::{EMPTY_OMMERS_HASH, next_base_fee, next_excess_blob_gas};
use balustrade::exec::wire::Header;
use balustrade::formats::network_chain;
use std::collections::BTreeMap;
use system_contracts::{FACTORY, SYSTEM_CONTRACTS};
use transactions::{Authorization, CHAIN_ID, Draft, Signer};

/// Number of blocks of the chain.
pub const BLOCKS: u64 = 60;

/// Gas limit of every block.
const GAS_LIMIT: u64 = 60_000_000;
/// Base fee of the first block in wei per gas.
const BASE_FEE: u64 = 1_000_000_000;
/// Timestamp of the genesis, and time between blocks, in seconds.
const GENESIS_TIME: u64 = 1_800_000_000;
const BLOCK_TIME: u64 = 12;

const TOKENS: [Address; 2] =
    [address!("00000000000000000000000000000000000070c0"), address!("00000000000000000000000000000000000070c1")];
const COINBASE: Address = address!("c01bba5ec01bba5ec01bba5ec01bba5ec01bba5e");
const COUNTERS: Address = address!("000000000000000000000000000000000000c0c0");
const HASHES: Address = address!("0000000000000000000000000000000000004a54");

const WALLET: Address = address!("0000000000000000000000000000000000007702");

/// Number of accounts with keys.
const SIGNERS: u64 = 500;
/// Number of accounts that delegate to the wallet: the last ones with keys. The others send and
/// receive.
const DELEGATORS: u64 = 40;
/// Number of withdrawals per block.
const WITHDRAWALS: u64 = 8;
/// Number of slots of the counters contract that are not zero at genesis.
const COUNTER_SLOTS: u64 = 40_000;
/// Balance of every account in each of the two tokens at genesis.
const TOKENS_OWNED: u64 = 1 << 40;

/// The purpose of a transaction.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Transfer,
    TransferToNew,
    TokenTransfer,
    TokenTransferToNew,
    Count,
    Hash,
    Deploy,
    DeployByFactory,
    /// Carries one to three blobs.
    Blob,
    /// Delegates an account to the wallet, and calls it to transfer tokens to three others.
    Delegate,
}

/// Number of transactions of each kind per block: 330 in all.
const MIX: [(Kind, u64); 10] = [
    (Kind::Transfer, 70),
    (Kind::TransferToNew, 6),
    (Kind::TokenTransfer, 220),
    (Kind::TokenTransferToNew, 9),
    (Kind::Count, 12),
    (Kind::Hash, 4),
    (Kind::Deploy, 2),
    (Kind::DeployByFactory, 2),
    (Kind::Blob, 3),
    (Kind::Delegate, 2),
];

/// The accounts with keys, their nonces, and the state of the random choices.
#[derive(Debug)]
pub struct Devnet {
    signers: Vec<Signer>,
    nonces: BTreeMap<Address, u64>,
    random: Random,
    /// Kinds that remain of the current shuffle of [`MIX`].
    deck: Vec<Kind>,
    load: u64,
    loops_percent: u64,
    token_code: Vec<u8>,
}

impl Default for Devnet {
    fn default() -> Self {
        Self::new(0, 100)
    }
}

impl Devnet {
    /// Creates the chain of this seed, with loops of `loops_percent` percent of the usual length;
    /// the chain of `run` has seed 0 and 100 percent.
    pub fn new(seed: u64, loops_percent: u64) -> Self {
        Self {
            signers: (0..SIGNERS).filter_map(Signer::new).collect(),
            nonces: BTreeMap::new(),
            random: Random(0x00ba_1057_4ade ^ seed),
            deck: Vec::new(),
            load: 0,
            loops_percent,
            token_code: contracts::token(),
        }
    }

    /// The rules of the chain: final Amsterdam.
    pub fn rules() -> ChainRules {
        ChainRules { chain_id: CHAIN_ID, ..ChainRules::mainnet(Fork::Amsterdam) }
    }

    /// The schedule that gives every block [`Self::rules`].
    pub fn config() -> ChainConfig {
        network_chain(Fork::Amsterdam.name(), CHAIN_ID).unwrap_or(ChainConfig::frontier(CHAIN_ID))
    }

    /// The genesis header for this state root.
    pub fn genesis_header(state_root: B256) -> Header {
        Header {
            ommers_hash: EMPTY_OMMERS_HASH,
            state_root,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            gas_limit: GAS_LIMIT,
            timestamp: GENESIS_TIME,
            base_fee: Some(BASE_FEE),
            withdrawals_root: Some(EMPTY_ROOT),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_root: Some(B256::ZERO),
            requests_hash: Some(requests_hash(&[])),
            block_access_list_hash: Some(bal_hash(&[alloy_rlp::EMPTY_LIST_CODE])),
            slot_number: Some(0),
            ..Header::default()
        }
    }

    /// The header fields of the block after `parent` that do not depend on its execution.
    pub fn template(parent: &Header) -> Header {
        let number = parent.number + 1;
        Header {
            parent_hash: parent.hash(),
            coinbase: COINBASE,
            number,
            gas_limit: GAS_LIMIT,
            timestamp: GENESIS_TIME + number * BLOCK_TIME,
            extra_data: Bytes::from_static(b"balustrade devnet"),
            mix_hash: keccak256(number.to_be_bytes()),
            base_fee: Some(next_base_fee(parent)),
            excess_blob_gas: Some(next_excess_blob_gas(&Self::rules(), parent)),
            parent_beacon_root: Some(keccak256([number.to_be_bytes(), [0; 8]].concat())),
            slot_number: Some(number),
            ..Header::default()
        }
    }

    /// The state of the genesis.
    pub fn genesis_state(&self) -> MemoryStore {
        let mut store = MemoryStore::default();
        for (address, code) in SYSTEM_CONTRACTS {
            let code_hash = store.insert_code(code.to_vec().into());
            store.insert_account(address, 1, U256::ZERO, code_hash, []);
        }
        let mut contract = |address, code: Vec<u8>, storage: Vec<(U256, U256)>| {
            let code_hash = store.insert_code(code.into());
            store.insert_account(address, 1, U256::ZERO, code_hash, storage);
        };
        for token in TOKENS {
            let owned = self.signers.iter().map(|signer| contracts::balance_slot(signer.address));
            contract(token, self.token_code.clone(), owned.map(|slot| (slot, U256::from(TOKENS_OWNED))).collect());
        }
        contract(
            COUNTERS,
            contracts::counters(),
            (0..COUNTER_SLOTS).map(|slot| (U256::from(slot), U256::ONE)).collect(),
        );
        contract(WALLET, contracts::wallet(), Vec::new());
        contract(HASHES, contracts::hashes(), vec![(U256::ZERO, U256::ONE)]);
        for signer in &self.signers {
            store.insert_account(signer.address, 0, U256::from(10).pow(U256::from(21)), KECCAK_EMPTY, []);
        }
        store
    }

    /// Runtime code of a contract that hashes in a loop, see [`Self::hashing_call`].
    pub fn hashing_code() -> Vec<u8> {
        contracts::hashes()
    }

    /// A transaction of the `signer`-th account that calls a copy of [`Self::hashing_code`] at `to`
    /// for `rounds` rounds; with 0 rounds it is a plain transfer to another account. EIP-2718
    /// encoded.
    pub fn hashing_call(&mut self, signer: usize, to: Address, rounds: u64, gas_limit: u64, base_fee: u64) -> Vec<u8> {
        let recipient = self.signers[(signer + 250) % self.signers.len()].address;
        let signer = &self.signers[signer % self.signers.len()];
        let nonce = self.nonces.entry(signer.address).or_default();
        let draft = Draft {
            tx_type: 2,
            nonce: *nonce,
            gas_limit,
            max_fee: 2 * base_fee + 1_000_000_000,
            priority_fee: 1_000_000_000,
            to: Some(if rounds == 0 { recipient } else { to }),
            value: U256::from(u64::from(rounds == 0)),
            input: if rounds == 0 { Vec::new() } else { contracts::two_words(rounds, rounds) },
            access: Vec::new(),
            blobs: Vec::new(),
            authorizations: Vec::new(),
        };
        *nonce += 1;
        draft.sign(signer)
    }

    /// The transactions of the next block for this base fee, EIP-2718 encoded.
    pub fn transactions(&mut self, base_fee: u64) -> Vec<Vec<u8>> {
        let count: u64 = MIX.iter().map(|(_, count)| count).sum();
        (0..count).map(|_| self.next(base_fee, u64::MAX).1).collect()
    }

    /// The next transaction for this base fee and at most `blobs_left` blobs: its sender, its
    /// EIP-2718 encoding, and its number of blobs.
    pub fn next(&mut self, base_fee: u64, blobs_left: u64) -> (Address, Vec<u8>, u64) {
        if self.deck.is_empty() {
            self.deck.extend(MIX.iter().flat_map(|(kind, count)| (0..*count).map(|_| *kind)));
            for i in (1..self.deck.len()).rev() {
                self.deck.swap(i, self.random.below(i as u64 + 1) as usize);
            }
            // Blocks differ in gas: loops have 70 to 130 % of their usual length.
            self.load = 70 + self.random.below(61);
        }
        let kind = self.deck.pop().unwrap_or(Kind::Transfer);
        self.transaction(kind, base_fee, blobs_left)
    }

    /// RLP of the withdrawals of block `number`: all but the last to accounts with keys, the last
    /// one to a new account.
    pub fn withdrawals(&self, number: u64) -> Vec<Vec<u8>> {
        let first = number * WITHDRAWALS;
        (first..first + WITHDRAWALS)
            .map(|index| {
                let user = self.signers[index as usize % self.signers.len()].address;
                let unknown = Address::from_slice(&keccak256(index.to_be_bytes())[12..]);
                let to = if index == first + WITHDRAWALS - 1 { unknown } else { user };
                transactions::withdrawal(index, 7 * index % 1_000_000, to, 18_000_000 + index)
            })
            .collect()
    }

    fn user(&mut self) -> usize {
        self.random.below(self.signers.len() as u64 - DELEGATORS) as usize
    }

    fn transaction(&mut self, kind: Kind, base_fee: u64, blobs_left: u64) -> (Address, Vec<u8>, u64) {
        let blobs = 1 + self.random.below(3);
        let kind = if matches!(kind, Kind::Blob) && blobs > blobs_left { Kind::Transfer } else { kind };
        let sender = self.user();
        let known = self.user();
        let known = self.signers[known].address;
        let unknown = Address::from_slice(&keccak256(self.random.next_u64().to_be_bytes())[12..]);
        let token = TOKENS[self.random.below(4).min(1) as usize];
        let amount = 1 + self.random.below(1_000);
        let rounds = ((self.load + self.random.below(20)) * self.loops_percent / 100).max(1);
        let first = self.random.below(COUNTER_SLOTS);
        let delegator = (SIGNERS - 1 - self.random.below(DELEGATORS)) as usize;
        // Gas limits cover execution and state gas under the rules of Amsterdam, with a margin.
        let (to, value, input, gas_limit) = match kind {
            Kind::Transfer => (Some(known), amount, Vec::new(), 21_000),
            Kind::TransferToNew => (Some(unknown), amount, Vec::new(), 210_000),
            Kind::TokenTransfer => (Some(token), 0, contracts::transfer_call(known, amount), 200_000),
            Kind::TokenTransferToNew => (Some(token), 0, contracts::transfer_call(unknown, amount), 200_000),
            Kind::Count => (Some(COUNTERS), 0, contracts::two_words(first, rounds), 3_500_000),
            Kind::Hash => (Some(HASHES), 0, contracts::two_words(self.random.next_u64(), 2 * rounds), 200_000),
            Kind::Deploy => (None, 0, contracts::init_code(&self.token_code), 1_500_000),
            Kind::DeployByFactory => {
                let mut input = U256::from(self.random.next_u64()).to_be_bytes_vec();
                input.extend_from_slice(&contracts::init_code(&self.token_code));
                (Some(FACTORY), 0, input, 1_500_000)
            }
            Kind::Blob => (Some(known), 0, B256::from(U256::from(amount)).to_vec(), 100_000),
            Kind::Delegate => {
                let payees = [sender, sender / 2, sender / 3].map(|payee| (token, self.signers[payee].address));
                (Some(self.signers[delegator].address), 0, contracts::batch_call(&payees, amount), 400_000)
            }
        };
        // Every transaction type occurs; the access list of a type 1 token transfer holds the slots
        // that it accesses.
        let tx_type = match kind {
            Kind::Blob => 3,
            Kind::Delegate => 4,
            _ => [2, 2, 2, 0, 1][self.random.below(5) as usize],
        };
        let Self { signers, nonces, random, .. } = self;
        let signer = &signers[sender];
        let access = matches!(kind, Kind::TokenTransfer)
            .then(|| (token, vec![contracts::balance_slot(signer.address), contracts::balance_slot(known)]))
            .filter(|_| tx_type == 1);
        let access = Vec::from_iter(access);
        let mut nonce_of = |address| {
            let nonce = nonces.entry(address).or_default();
            *nonce += 1;
            *nonce - 1
        };
        let mut draft = Draft {
            tx_type,
            nonce: nonce_of(signer.address),
            gas_limit,
            max_fee: 2 * base_fee + 1_000_000_000,
            priority_fee: 1_000_000_000,
            to,
            value: U256::from(value),
            input,
            access,
            ..Draft::default()
        };
        match kind {
            Kind::Blob => draft.blobs = (0..blobs).map(|_| transactions::blob_hash(random.next_u64())).collect(),
            Kind::Delegate => {
                let authority = &signers[delegator];
                draft.authorizations = vec![Authorization::new(authority, WALLET, nonce_of(authority.address))];
            }
            _ => {}
        }
        let blobs = draft.blobs.len() as u64;
        (signer.address, draft.sign(signer), blobs)
    }
}

/// The SplitMix64 generator, which gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `bound`, with a bias that is negligible here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }
}

/// The bijection of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every
/// bit of `z`.
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The inverse of [`mix`]. Its factors are the inverses of those in `mix` modulo 2^64.
pub const fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    z ^ (z >> 30) ^ (z >> 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_can_be_undone() {
        let mut random = Random(1);
        for z in [0, 1, u64::MAX].into_iter().chain((0..1_000).map(|_| random.next_u64())) {
            assert_eq!((unmix(mix(z)), mix(unmix(z))), (z, z));
        }
    }

    #[test]
    fn blocks_are_the_same_every_time_and_decode() {
        let (mut one, mut two) = (Devnet::default(), Devnet::default());
        for _ in 0..2 {
            let block = one.transactions(1_000_000_000);
            assert_eq!(block, two.transactions(1_000_000_000));
            assert_eq!(block.len(), 330);
            for transaction in block {
                balustrade::exec::wire::Transactions::decode_one(transaction.into()).expect("decodes");
            }
        }
        let genesis = Devnet::genesis_header(B256::ZERO);
        for header in [Devnet::template(&genesis), genesis] {
            assert_eq!(Devnet::config().rules_of(&header), Devnet::rules());
        }
        assert_eq!(one.genesis_state().len() as u64, SIGNERS + 5 + SYSTEM_CONTRACTS.len() as u64);
    }
}
