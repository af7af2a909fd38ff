//! The state before a random block.
//!
//! In: a random generator and the rules. Out: funded senders, contracts with random programs, contracts with a purpose
//! (tokens, counters, forwarders), delegated accounts (EIP-7702), the system contracts with their real codes and filled
//! queues, and accounts at addresses of later creations.

use super::devnet::Random;
use super::devnet::asm::assemble;
use super::devnet::contracts;
use super::devnet::system_contracts::{FACTORY, SYSTEM_CONTRACTS};
use super::devnet::transactions::Signer;
use super::differential::program::{KEYS, Names, program};
use super::differential::random_bytes;
use super::differential::scenario::Source;
use alloy_primitives::{Address, Bytes, U256, address, keccak256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::rules::fork::{ChainRules, Fork, MAINNET_DEPOSIT_CONTRACT};

/// EIP-7002: withdrawal requests.
pub const WITHDRAWAL_REQUESTS: Address = address!("00000961ef480eb55e80d19ad83579a64c007002");
/// EIP-7251: consolidation requests.
pub const CONSOLIDATION_REQUESTS: Address = address!("0000bbddc7ce488642fb579f8b00f3a590007251");
/// EIP-8282: builder deposits.
pub const BUILDER_DEPOSITS: Address = address!("0000bff46984e3725691fa540a8c7589300d8282");
/// EIP-8282: builder exits.
pub const BUILDER_EXITS: Address = address!("000064d678505ad48f8ccb093bc65613800e8282");
/// EIP-4788: beacon roots.
const BEACON_ROOTS: Address = address!("000f3df6d732807ef1319fb7b8bb8522d0beac02");
/// EIP-2935: block hashes.
const HISTORY: Address = address!("0000f90827f1c53a10cb7a02335b175320002935");
/// The caller of system contracts (EIP-4788 and all later ones).
const SYSTEM_ADDRESS: Address = address!("fffffffffffffffffffffffffffffffffffffffe");

/// The request contracts, with the number of slots that a queued request takes.
const QUEUES: [(Address, u64); 4] =
    [(WITHDRAWAL_REQUESTS, 3), (CONSOLIDATION_REQUESTS, 4), (BUILDER_DEPOSITS, 6), (BUILDER_EXITS, 3)];

/// Number of accounts with keys.
pub const SIGNERS: usize = 28;
/// The first signers are the usual authorities (EIP-7702), this many; the others are the usual senders.
pub const AUTHORITIES: usize = 6;

/// The state before one block, and the addresses that its transactions use.
#[derive(Debug)]
pub struct World {
    pub store: MemoryStore,
    /// Addresses that programs and transactions use; frequent ones are repeated.
    pub addresses: Vec<Address>,
    /// Contracts with random programs.
    pub contracts: Vec<Address>,
    /// Contracts with a purpose, and the calldata that each expects.
    pub purposeful: Vec<(Address, Purpose)>,
    /// Number of signers after the [`AUTHORITIES`] that have funds and send transactions.
    pub senders: usize,
    /// Next nonce of each signer.
    pub nonces: Vec<u64>,
    pub coinbase: Address,
}

/// What a contract expects as calldata.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// A token transfer.
    Token,
    /// Two words: the first slot or a seed, and a count.
    TwoWords,
    /// Deposit data: 48, 32, 8 and 96 bytes.
    Deposit,
    /// An address, then any data, which is forwarded with the value to that address.
    Forward,
}

/// Address of contract `index` with a random program.
fn contract(index: usize) -> Address {
    Address::left_padding_from(&[0xc0, 0xde, index as u8])
}

/// A deposit contract that logs its calldata in the format of EIP-6110, with an increasing index.
fn deposit_contract() -> Vec<u8> {
    assemble(
        "CALLDATASIZE 184 EQ @good JUMPI 0 0 REVERT
         good: 0xa0 0 MSTORE 0x100 0x20 MSTORE 0x140 0x40 MSTORE 0x180 0x60 MSTORE 0x200 0x80 MSTORE
         48 0xa0 MSTORE 32 0x100 MSTORE 8 0x140 MSTORE 96 0x180 MSTORE 8 0x200 MSTORE
         48 0 0xc0 CALLDATACOPY 32 48 0x120 CALLDATACOPY 8 80 0x160 CALLDATACOPY 96 88 0x1a0 CALLDATACOPY
         0 SLOAD 1 ADD DUP1 0 SSTORE 192 SHL 0x220 MSTORE
         0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5 0x240 0 LOG1 STOP",
    )
}

/// Forwards the value and the calldata after the first word to the address in that word; returns the result, or
/// reverts.
fn forwarder() -> Vec<u8> {
    assemble(
        "32 CALLDATASIZE SUB DUP1 32 0 CALLDATACOPY
         0 0 DUP3 0 CALLVALUE 0 CALLDATALOAD GAS CALL
         RETURNDATASIZE 0 0 RETURNDATACOPY
         @good JUMPI RETURNDATASIZE 0 REVERT
         good: RETURNDATASIZE 0 RETURN",
    )
}

fn delegation(target: Address) -> Bytes {
    [&[0xef, 0x01, 0x00], target.as_slice()].concat().into()
}

impl World {
    /// Generates a state for a block with these rules.
    pub fn draw(random: &mut Random, rules: &ChainRules, signers: &[Signer]) -> Self {
        let fork = rules.fork;
        let contracts: Vec<Address> = (0..1 + random.below(6) as usize).map(contract).collect();
        let senders = 1 + random.below((SIGNERS - AUTHORITIES) as u64) as usize;
        let mut world = Self {
            store: MemoryStore::default(),
            addresses: contracts.iter().flat_map(|address| [*address; 4]).collect(),
            contracts,
            purposeful: Vec::new(),
            senders,
            nonces: (0..SIGNERS).map(|_| [0, 0, 1, 5, 300][random.below(5) as usize]).collect(),
            coinbase: Address::ZERO,
        };
        world.addresses.extend([Address::ZERO, Address::repeat_byte(0xee), Address::repeat_byte(0xdd)]);
        world
            .addresses
            .extend([1u8, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 0x11, 0x12].map(|low| Address::left_padding_from(&[low])));
        world.addresses.push(Address::left_padding_from(&[1, 0]));
        world.addresses.extend(signers[..AUTHORITIES + senders.min(4)].iter().map(|signer| signer.address));
        world.system_contracts(random, fork);
        world.choose_coinbase(random, signers);
        world.with_purpose(random, rules);
        world.fund(random, fork, signers);
        world.creation_targets(random, fork, signers);
        world.programs(random, fork);
        world
    }

    fn insert(&mut self, address: Address, nonce: u64, balance: U256, code: Bytes, storage: Vec<(U256, U256)>) {
        let code_hash = self.store.insert_code(code);
        self.store.insert_account(address, nonce, balance, code_hash, storage);
    }

    fn system_contracts(&mut self, random: &mut Random, fork: Fork) {
        if fork < Fork::Cancun {
            return;
        }
        for (address, code) in SYSTEM_CONTRACTS {
            let mut storage = Vec::new();
            if let Some((_, width)) = QUEUES.iter().find(|(queue, _)| *queue == address) {
                storage = queue(random, *width);
            }
            self.insert(address, 1, U256::ZERO, code.to_vec().into(), storage);
            self.addresses.push(address);
        }
        self.addresses.push(SYSTEM_ADDRESS);
        for address in [HISTORY, BEACON_ROOTS] {
            if random.below(2) == 0 {
                let slots = (0..8).map(|slot| (U256::from(slot), U256::from(random.next_u64())));
                let slots: Vec<_> = slots.collect();
                if let Some(account) = self.store.account_mut(&address) {
                    account.storage.extend(slots);
                }
            }
        }
    }

    fn choose_coinbase(&mut self, random: &mut Random, signers: &[Signer]) {
        let fresh = Address::from_slice(&keccak256(random.next_u64().to_be_bytes())[12..]);
        self.coinbase = match random.below(10) {
            0 => self.contracts[0],
            1 => signers[AUTHORITIES].address,
            2 => signers[0].address,
            3 => Address::left_padding_from(&[1 + random.below(17) as u8]),
            4 => Address::ZERO,
            5 => self.addresses[random.below(self.addresses.len() as u64) as usize],
            _ => fresh,
        };
        self.addresses.extend([self.coinbase; 2]);
    }

    /// Adds the contracts with a purpose; codes that use PUSH0 only from Shanghai on.
    fn with_purpose(&mut self, random: &mut Random, rules: &ChainRules) {
        if rules.fork < Fork::Shanghai {
            return;
        }
        let named = |low: u8| Address::left_padding_from(&[0x70, 0xc0, low]);
        let token: Vec<(U256, U256)> = Vec::new();
        let counters = (0..random.below(40)).map(|slot| (U256::from(slot), U256::ONE)).collect();
        let all = [
            (named(0), Purpose::Token, contracts::token(), token),
            (named(1), Purpose::TwoWords, contracts::counters(), counters),
            (named(2), Purpose::TwoWords, contracts::hashes(), vec![]),
            (named(3), Purpose::Forward, forwarder(), vec![]),
            (rules.deposit_contract, Purpose::Deposit, deposit_contract(), vec![]),
        ];
        debug_assert_eq!(rules.deposit_contract, MAINNET_DEPOSIT_CONTRACT);
        for (address, purpose, code, storage) in all {
            if random.below(4) > 0 {
                let balance = U256::from([0u64, 0, 1_000_000][random.below(3) as usize]);
                self.insert(address, 1, balance, code.into(), storage);
                self.purposeful.push((address, purpose));
                self.addresses.push(address);
            }
        }
    }

    fn fund(&mut self, random: &mut Random, fork: Fork, signers: &[Signer]) {
        let ether = U256::from(10).pow(U256::from(18));
        for (index, signer) in signers.iter().enumerate().take(AUTHORITIES + self.senders) {
            let balance = match random.below(16) {
                0 => ether / U256::from(100),
                1 => ether,
                _ => ether * U256::from(10_000),
            };
            let mut code = Bytes::new();
            if index < AUTHORITIES && fork >= Fork::Prague && random.below(2) == 0 {
                code = delegation(self.delegate(random, signers));
            }
            // A delegated account has a nonce, because it has sent a transaction or an authorization before.
            let nonce = &mut self.nonces[index];
            *nonce = (*nonce).max(u64::from(!code.is_empty()));
            let nonce = *nonce;
            let storage = if code.is_empty() { vec![] } else { storage(random) };
            if index >= AUTHORITIES || random.below(4) > 0 || !code.is_empty() {
                self.insert(signer.address, nonce, balance, code, storage);
            } else {
                self.nonces[index] = 0;
            }
        }
        // Token balances of the first senders.
        let holders: Vec<_> = signers[AUTHORITIES..AUTHORITIES + self.senders]
            .iter()
            .map(|signer| (contracts::balance_slot(signer.address), U256::from(random.below(5_000))))
            .filter(|(_, balance)| !balance.is_zero())
            .collect();
        if let Some((token, _)) = self.purposeful.iter().find(|(_, purpose)| matches!(purpose, Purpose::Token))
            && let Some(account) = self.store.account_mut(token)
        {
            account.storage.extend(holders);
        }
    }

    /// A random delegation target: an authority, a precompile, a missing account, the zero address, or any other
    /// address in use.
    pub fn delegate(&self, random: &mut Random, signers: &[Signer]) -> Address {
        match random.below(12) {
            0 => signers[random.below(AUTHORITIES as u64) as usize].address,
            1 => Address::left_padding_from(&[1 + random.below(17) as u8]),
            2 => Address::repeat_byte(0xee),
            3 => Address::ZERO,
            4 => self.addresses[random.below(self.addresses.len() as u64) as usize],
            _ => self.contracts[random.below(self.contracts.len() as u64) as usize],
        }
    }

    /// Adds accounts at addresses of later creations of contracts and senders.
    fn creation_targets(&mut self, random: &mut Random, fork: Fork, signers: &[Signer]) {
        let creators: Vec<(Address, u64)> = self
            .contracts
            .iter()
            .map(|address| (*address, 1))
            .chain((AUTHORITIES..AUTHORITIES + self.senders).map(|index| (signers[index].address, self.nonces[index])))
            .collect();
        for (creator, nonce) in creators {
            if random.below(8) > 0 {
                continue;
            }
            let created = creator.create(nonce + random.below(3));
            match random.below(4) {
                0 => self.insert(created, 1, U256::ZERO, Bytes::new(), vec![]),
                1 => self.insert(created, 1, U256::ZERO, Bytes::from_static(&[0x00]), storage(random)),
                // From Paris on no chain has empty accounts (EIP-7523).
                2 if fork < Fork::Paris => self.store.insert_account(created, 0, U256::ZERO, KECCAK_EMPTY, []),
                _ => self.insert(created, 0, U256::from(7), Bytes::new(), vec![]),
            }
            self.addresses.push(created);
        }
    }

    fn programs(&mut self, random: &mut Random, fork: Fork) {
        let names = Names { fork, addresses: self.addresses.clone() };
        for address in self.contracts.clone() {
            let len = 200 << random.below(4);
            let bytes = random_bytes(random.next_u64(), len as usize);
            let code = program(&mut Source(&bytes), &names, 0, 14);
            let nonce = if random.below(64) == 0 { u64::MAX - 1 } else { 1 };
            let balance = U256::from([0u64, 0, 3, 2_000, 1_000_000_000, u64::MAX][random.below(6) as usize]);
            let storage = storage(random);
            self.insert(address, nonce, balance, code.into(), storage);
        }
        if random.below(2) == 0 {
            self.insert(Address::repeat_byte(0xdd), 0, U256::from(5), Bytes::new(), vec![]);
        }
        if random.below(4) == 0 && self.store.account(&Address::left_padding_from(&[2])).is_none() {
            self.insert(Address::left_padding_from(&[2]), 0, U256::ONE, Bytes::new(), vec![]);
        }
    }
}

fn storage(random: &mut Random) -> Vec<(U256, U256)> {
    let count = random.below(4);
    let slot = |random: &mut Random| {
        (U256::from(KEYS[random.below(KEYS.len() as u64) as usize]), U256::from(1 + random.below(3)))
    };
    (0..count).map(|_| slot(random)).collect()
}

/// Slots of a request contract: 0 excess, 1 count of the last block, 2 head, 3 tail, then the queue.
fn queue(random: &mut Random, width: u64) -> Vec<(U256, U256)> {
    let mut slots = Vec::new();
    if random.below(3) > 0 {
        return slots;
    }
    let (head, waiting) = (random.below(3), random.below(24));
    slots.push((U256::ZERO, U256::from(random.below(60))));
    slots.push((U256::from(2), U256::from(head)));
    slots.push((U256::from(3), U256::from(head + waiting)));
    for request in head..head + waiting {
        for slot in 0..width {
            slots.push((
                U256::from(4 + request * width + slot),
                U256::from_be_bytes(keccak256([request as u8, slot as u8]).0),
            ));
        }
    }
    slots.retain(|(_, value)| !value.is_zero());
    slots
}

/// The factory of EIP-7997.
pub const CREATE2_FACTORY: Address = FACTORY;
