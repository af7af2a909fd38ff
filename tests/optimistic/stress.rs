//! Random blocks over a few contracts and accounts, with many conflicts.

use super::chain::{COINBASE, Chain, Draft, sender, word};
use super::{compare, maker};
use alloy_primitives::Address;
use balustrade::exec::rules::fork::Fork;

/// A pseudo-random generator with a fixed seed, so that every run has the same blocks.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// By the first two words of calldata: slot[a] = slot[b] + BALANCE(a as address) + 1, then a call of that address with
/// value 1.
const MIXER: [u8; 33] = [
    0x60, 0x20, 0x35, 0x54, 0x60, 0x00, 0x35, 0x31, 0x01, 0x60, 0x01, 0x01, 0x60, 0x00, 0x35, 0x55, 0x60, 0x00, 0x60,
    0x00, 0x60, 0x00, 0x60, 0x00, 0x60, 0x01, 0x60, 0x00, 0x35, 0x61, 0xff, 0xff, 0xf1,
];

fn draft(random: &mut Random, keys: u64) -> Draft {
    let key = random.below(keys);
    let maker_address = Address::repeat_byte(0xc0);
    let mixer = Address::with_last_byte(0xa0 + random.below(3) as u8);
    let tip = random.below(3);
    let draft = match random.below(8) {
        0 => Draft::transfer(key, sender(random.below(keys)), random.below(2)),
        1 => Draft::transfer(key, COINBASE, random.below(2)),
        2 => Draft::transfer(key, Address::with_last_byte(0x70 + random.below(6) as u8), random.below(2)),
        3 | 4 => Draft::call(key, maker_address, word(random.below(2))),
        5 => Draft { to: None, input: vec![0x33, 0xff], ..Draft::transfer(key, COINBASE, random.below(3)) },
        _ => Draft::call(key, mixer, [word(0x70 + random.below(6)), word(0x70 + random.below(6))].concat()),
    };
    Draft { tip, gas_limit: 900_000, ..draft }
}

#[test]
fn random_blocks_agree_in_every_fork() {
    let forks = [
        Fork::Byzantium,
        Fork::Petersburg,
        Fork::Istanbul,
        Fork::Berlin,
        Fork::London,
        Fork::Paris,
        Fork::Shanghai,
        Fork::Cancun,
        Fork::Prague,
        Fork::Osaka,
        Fork::Amsterdam,
    ];
    let mut random = Random(0x5eed_0f5e_edf0);
    for round in 0..22 {
        let fork = forks[round % forks.len()];
        // Few keys give long chains of transactions of one sender, many keys give none.
        let keys = [3, 12, 40][round % 3];
        let mut chain = Chain::new(fork, keys);
        chain.deploy(Address::repeat_byte(0xc0), &maker(), []);
        for mixer in 0..3 {
            chain.deploy(Address::with_last_byte(0xa0 + mixer), &MIXER, [(0x70, 1), (0x71, 2)]);
        }
        let drafts: Vec<_> = (0..60).map(|_| draft(&mut random, keys)).collect();
        let block = chain.build(&drafts);
        compare(&chain, &block, 3, &format!("round {round}, {fork:?}"));
    }
}
