//! Structured random scenarios: bytes in, a [`Scenario`] out. Equal bytes give equal scenarios.
//!
//! Not here: the programs that the accounts carry (`program`).

use super::program::{KEYS, Names, program};
use super::world::{Account, COINBASE, Entry, ORIGIN, Scenario};
use alloy_primitives::{Address, Bytes, U256};
use balustrade::exec::rules::fork::Fork;
use std::collections::BTreeMap;

/// Random choices read from bytes; zeros after their end.
#[derive(Debug)]
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn u16(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        if n <= 256 { usize::from(self.byte()) % n } else { self.u16() % n }
    }

    /// True in `n` of 256 cases; false after the end of the bytes.
    pub fn chance(&mut self, n: u8) -> bool {
        255 - self.byte() < n
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Address of contract `index`.
pub fn contract(index: u8) -> Address {
    Address::left_padding_from(&[0xc0, 0xde, index])
}

fn balance(source: &mut Source<'_>) -> U256 {
    U256::from(source.pick(&[0u64, 0, 3, 2_000, 1_000_000_000, u64::MAX]))
}

fn storage(source: &mut Source<'_>) -> BTreeMap<U256, U256> {
    let count = source.below(4);
    (0..count).map(|_| (U256::from(source.pick(&KEYS)), U256::from(1 + source.below(3)))).collect()
}

/// Builds the scenario that these choices give.
pub fn scenario(source: &mut Source<'_>) -> Scenario {
    // Amsterdam and Osaka more often than the other forks.
    let fork = match source.byte() {
        byte @ 0..=175 => Fork::ALL[usize::from(byte) % 16],
        176..=240 => Fork::Amsterdam,
        _ => Fork::Osaka,
    };
    // The most important choices come first, because short inputs end early.
    let gas = match source.byte() {
        0..=10 => source.u16() as u64 / 16,
        11..=50 => source.u16() as u64,
        51..=220 => 100_000 + 10 * source.u16() as u64,
        221..=252 => 1_000_000 + 30 * source.u16() as u64,
        _ => 16_000_000,
    };
    let reservoir = source.pick(&[0u64, 0, 1, 50_000, 97_920, 183_600, 300_000, 2_000_000]);
    let value = U256::from(source.pick(&[0u64, 0, 0, 1, 10]));
    let entry = source.byte();
    // Work at which no code is decoded, only reached parts are, or all is.
    let work_before = source.pick(&[0u64, 1 << 10, 1 << 12, 1 << 12, 1 << 40, 1 << 40]);
    // About half of the bits are set.
    let reached_before = (source.u16() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let contracts = 1 + source.below(5) as u8;
    let mut addresses: Vec<Address> = (0..contracts).flat_map(|index| [contract(index); 4]).collect();
    addresses.extend([ORIGIN, COINBASE, Address::ZERO, Address::repeat_byte(0xee), Address::repeat_byte(0xdd)]);
    addresses
        .extend([1u8, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 0x11, 0x12].map(|low| Address::left_padding_from(&[low])));
    addresses.push(Address::left_padding_from(&[1, 0]));
    let mut accounts = BTreeMap::new();
    let fund = U256::from(source.pick(&[0u64, 10, 5_000, u64::MAX, u64::MAX]));
    accounts.insert(ORIGIN, Account { nonce: 1, balance: fund, ..Account::default() });
    accounts.insert(Address::repeat_byte(0xdd), Account { balance: balance(source), ..Account::default() });
    if source.chance(60) {
        accounts.insert(Address::left_padding_from(&[2]), Account { balance: U256::ONE, ..Account::default() });
    }
    // Delegation designators (EIP-7702) to a contract, a precompile, a missing account, themselves or each other.
    for low in 0..source.below(3) as u8 {
        let own = Address::left_padding_from(&[0x77, 0x02, low]);
        let target = match source.below(6) {
            0 => own,
            1 => Address::left_padding_from(&[0x77, 0x02, 1 - low]),
            2 => Address::left_padding_from(&[4]),
            3 => Address::repeat_byte(0xee),
            _ => contract(source.below(usize::from(contracts)) as u8),
        };
        let code = [&[0xef, 0x01, 0x00], target.as_slice()].concat().into();
        accounts.insert(own, Account { nonce: 1, balance: balance(source), code, storage: storage(source) });
        addresses.extend([own; 4]);
    }
    // Accounts at addresses of later creations: with balance, nonce, storage or code, or empty.
    for index in 0..contracts {
        for nonce in 1..3 {
            let created = contract(index).create(nonce);
            let account = match source.below(12) {
                0 => Account { balance: U256::from(7), ..Account::default() },
                1 => Account { nonce: 1, ..Account::default() },
                2 => Account { storage: [(U256::ONE, U256::ONE)].into(), ..Account::default() },
                3 => Account { code: Bytes::from_static(&[0x00]), ..Account::default() },
                4 => Account::default(),
                _ => continue,
            };
            accounts.insert(created, account);
            addresses.push(created);
        }
    }
    let names = Names { fork, addresses };
    for index in 0..contracts {
        let nonce = if source.chance(6) { u64::MAX - source.below(2) as u64 } else { 1 };
        let balance = balance(source);
        let storage = storage(source);
        let code = program(source, &names, 0, 14).into();
        accounts.insert(contract(index), Account { nonce, balance, code, storage });
    }
    let entry = match entry {
        240..=249 => Entry::StaticCall(contract(0)),
        210..=239 => Entry::Create(program(source, &names, 1, 14).into()),
        250.. => Entry::Call(names.addresses[source.below(names.addresses.len())]),
        _ => Entry::Call(contract(0)),
    };
    let mut access_list = Vec::new();
    for _ in 0..source.below(3) {
        let address = names.addresses[source.below(names.addresses.len())];
        let keys = (0..source.below(3)).map(|_| U256::from(source.pick(&KEYS))).collect();
        access_list.push((address, keys));
    }
    let faulty = source.chance(4).then(|| names.addresses[source.below(names.addresses.len())]);
    let input: Vec<u8> = (0..source.below(70)).map(|_| source.byte()).collect();
    Scenario {
        fork,
        accounts,
        entry,
        value,
        input: input.into(),
        gas,
        reservoir,
        access_list,
        work_before,
        reached_before,
        faulty,
    }
}
