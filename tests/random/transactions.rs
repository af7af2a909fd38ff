//! Random unsigned transactions on a [`World`]. Before they are signed, the builder may leave out some or change gas
//! limits.

use super::devnet::Random;
use super::devnet::contracts;
use super::devnet::transactions::{Authorization, CHAIN_ID, Draft, Signer, blob_hash};
use super::differential::program::{KEYS, Names, program};
use super::differential::random_bytes;
use super::differential::scenario::Source;
use super::world::{
    AUTHORITIES, BUILDER_DEPOSITS, BUILDER_EXITS, CONSOLIDATION_REQUESTS, CREATE2_FACTORY, Purpose,
    WITHDRAWAL_REQUESTS, World,
};
use alloy_primitives::{Address, U256, keccak256};
use balustrade::exec::rules::fork::{ChainRules, Fork, TX_GAS_LIMIT_MAX};

/// A draft and the index of its sender among the signers.
#[derive(Clone, Debug)]
pub struct Unsigned {
    pub sender: usize,
    pub draft: Draft,
}

/// Generates transactions one after another.
pub struct Drafter<'a> {
    pub random: &'a mut Random,
    pub world: &'a mut World,
    pub rules: &'a ChainRules,
    pub signers: &'a [Signer],
    pub base_fee: u64,
    pub block_gas: u64,
    /// Number of blobs that still fit into the block.
    pub blobs_left: u64,
}

impl Drafter<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn address(&mut self) -> Address {
        let at = self.below(self.world.addresses.len());
        self.world.addresses[at]
    }

    fn fresh(&mut self) -> Address {
        Address::from_slice(&keccak256(self.random.next_u64().to_be_bytes())[12..])
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        random_bytes(self.random.next_u64(), len)[..len].to_vec()
    }

    /// A random program, as init code or as runtime code.
    fn program(&mut self, depth: usize) -> Vec<u8> {
        let len = 100 << self.below(4);
        let bytes = self.bytes(len);
        let names = Names { fork: self.rules.fork, addresses: self.world.addresses.clone() };
        program(&mut Source(&bytes), &names, depth, 12)
    }

    fn gas_limit(&mut self) -> u64 {
        let gas = match self.below(16) {
            0 => 21_000 + self.random.below(5_000),
            1..=3 => 30_000 + self.random.below(100_000),
            4..=10 => 100_000 + self.random.below(500_000),
            11..=14 => 500_000 + self.random.below(1_500_000),
            // Above the bound of EIP-7825; the gas beyond it is state gas (EIP-8037).
            _ if self.rules.fork >= Fork::Amsterdam => TX_GAS_LIMIT_MAX + self.random.below(2_000_000),
            _ => 3_000_000,
        };
        gas.min(self.block_gas)
    }

    /// The next transaction.
    pub fn next(&mut self) -> Unsigned {
        // Most senders are plain accounts; some are authorities, whose nonces delegated code may have changed.
        let sender =
            if self.one_in(12) { self.below(AUTHORITIES) } else { AUTHORITIES + self.below(self.world.senders) };
        let mut draft = Draft { gas_limit: self.gas_limit(), ..Draft::default() };
        self.fill_call(&mut draft);
        self.fill_type(&mut draft);
        self.fill_fees(&mut draft);
        let nonce = &mut self.world.nonces[sender];
        draft.nonce = *nonce;
        *nonce += 1;
        if draft.tx_type == 4 {
            self.authorize(&mut draft);
        }
        Unsigned { sender, draft }
    }

    /// Recipient, value and input.
    fn fill_call(&mut self, draft: &mut Draft) {
        let value = self.pick(&[0u64, 0, 0, 1, 1_000, 1 << 40]);
        draft.value = U256::from(value);
        let request_kinds = if self.rules.fork >= Fork::Prague { 4 } else { 0 };
        draft.to = Some(match self.below(28 + request_kinds) {
            0..=3 => {
                let at = self.below(self.signers.len());
                self.signers[at].address
            }
            4 => self.fresh(),
            5..=6 => self.address(),
            7..=8 => {
                let len = self.pick(&[0, 32, 64, 96, 128, 160, 192, 213, 384]);
                draft.input = self.bytes(len);
                Address::left_padding_from(&[1 + self.below(18) as u8])
            }
            9..=11 => {
                draft.to = None;
                let enough = self.pick(&[0, 1_000_000, 1_000_000, 2_000_000]);
                draft.gas_limit = draft.gas_limit.max(enough).min(self.block_gas);
                draft.input = match self.below(4) {
                    0 => contracts::init_code(&self.program(0)),
                    1 => self.program(0),
                    _ => self.program(1),
                };
                return;
            }
            12 if self.rules.fork >= Fork::Cancun => {
                draft.value = U256::ZERO;
                draft.input = U256::from(self.below(3)).to_be_bytes_vec();
                let init_code = if self.one_in(2) { contracts::init_code(&self.program(0)) } else { self.program(1) };
                draft.input.extend(init_code);
                CREATE2_FACTORY
            }
            13..=17 if !self.world.purposeful.is_empty() => self.fill_purposeful(draft),
            28.. => self.fill_request(draft),
            _ => {
                let len = self.pick(&[0, 0, 4, 36, 68, 100]);
                draft.input = self.bytes(len);
                let at = self.below(self.world.contracts.len());
                self.world.contracts[at]
            }
        });
    }

    fn fill_purposeful(&mut self, draft: &mut Draft) -> Address {
        let (address, purpose) = self.pick(&self.world.purposeful.clone());
        draft.value = U256::ZERO;
        draft.gas_limit = draft.gas_limit.max(300_000);
        match purpose {
            Purpose::Token => {
                let to = self.address();
                draft.input = contracts::transfer_call(to, self.random.below(3_000));
            }
            Purpose::TwoWords => {
                draft.input = contracts::two_words(self.random.below(50), self.random.below(60));
            }
            Purpose::Deposit => {
                let len = if self.one_in(8) { 183 } else { 184 };
                draft.input = self.bytes(len);
            }
            Purpose::Forward => {
                let to = if self.rules.fork >= Fork::Prague && self.one_in(2) {
                    self.fill_request(draft)
                } else {
                    draft.value = U256::from(self.pick(&[0u64, 1]));
                    self.address()
                };
                draft.input.splice(0..0, to.into_word().0);
            }
        }
        address
    }

    /// A call of a request contract, usually with the right fee and length.
    fn fill_request(&mut self, draft: &mut Draft) -> Address {
        let kinds = if self.rules.fork >= Fork::Amsterdam { 4 } else { 2 };
        draft.gas_limit = draft.gas_limit.max(if self.one_in(4) { 100_000 } else { 2_000_000 }).min(self.block_gas);
        let fee = self.pick(&[0u64, 1, 10, 1_000_000]);
        draft.value = U256::from(fee);
        let (to, len) = match self.below(kinds) {
            0 => (WITHDRAWAL_REQUESTS, 56),
            1 => (CONSOLIDATION_REQUESTS, 96),
            2 => (BUILDER_DEPOSITS, 184),
            _ => (BUILDER_EXITS, 48),
        };
        let len = self.pick(&[len, len, len, len, len, len, 0, len - 1]);
        draft.input = self.bytes(len);
        if to == BUILDER_DEPOSITS && len == 184 {
            // The amount in gwei, which the value must cover.
            let gwei = 1_000_000_000 + self.random.below(3);
            draft.input[80..88].copy_from_slice(&gwei.to_be_bytes());
            draft.value += U256::from(gwei) * U256::from(1_000_000_000u64);
        }
        to
    }

    fn fill_type(&mut self, draft: &mut Draft) {
        let fork = self.rules.fork;
        let types: u8 = match fork {
            fork if fork < Fork::Berlin => 1,
            Fork::Berlin => 2,
            Fork::London | Fork::Paris | Fork::Shanghai => 3,
            Fork::Cancun => 4,
            _ => 5,
        };
        draft.tx_type = self.below(usize::from(types)) as u8;
        // A creation has neither blobs nor authorizations.
        if draft.tx_type >= 3 && draft.to.is_none() {
            draft.tx_type = 2;
        }
        if draft.tx_type == 3 {
            let blobs = 1 + self.random.below(3);
            if blobs > self.blobs_left {
                draft.tx_type = 2;
            } else {
                self.blobs_left -= blobs;
                draft.blobs = (0..blobs).map(|_| blob_hash(self.random.next_u64())).collect();
            }
        }
        if draft.tx_type > 0 && self.one_in(2) {
            draft.access = (0..self.below(4))
                .map(|_| {
                    let address = self.address();
                    let keys = (0..self.below(3)).map(|_| U256::from(self.pick(&KEYS))).collect();
                    (address, keys)
                })
                .collect();
        }
    }

    fn fill_fees(&mut self, draft: &mut Draft) {
        // Some transactions pay no fee to the coinbase, so that it is not accessed.
        draft.priority_fee = self.pick(&[0, 0, 1, 1_000_000_000]);
        draft.max_fee = self.base_fee + self.pick(&[0, draft.priority_fee, 2_000_000_000]);
        draft.priority_fee = draft.priority_fee.min(draft.max_fee);
    }

    /// One to three authorizations, some of them invalid.
    fn authorize(&mut self, draft: &mut Draft) {
        for _ in 0..1 + self.below(3) {
            let authority =
                if self.one_in(8) { AUTHORITIES + self.below(self.world.senders) } else { self.below(AUTHORITIES) };
            let target = self.world.delegate(self.random, self.signers);
            let chain = self.pick(&[CHAIN_ID, CHAIN_ID, CHAIN_ID, 0, 5]);
            let wrong = self.one_in(8);
            let nonce = &mut self.world.nonces[authority];
            let claimed = *nonce + u64::from(wrong);
            if !wrong && chain != 5 {
                *nonce += 1;
            }
            draft.authorizations.push(Authorization::for_chain(chain, &self.signers[authority], target, claimed));
        }
    }
}
