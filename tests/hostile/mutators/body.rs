//! Mutators of transactions and withdrawals.

use super::{Mutator, flip_bit, remove, repeat, special_address, swap};

pub(super) const MUTATORS: &[Mutator] = &[
    ("body: drop a transaction", |parts, rng| remove(&mut parts.transactions, rng)),
    ("body: a transaction twice", |parts, rng| repeat(&mut parts.transactions, rng)),
    ("body: swap two transactions", |parts, rng| swap(&mut parts.transactions, rng)),
    ("body: flip a bit of a transaction", |parts, rng| {
        rng.pick(&parts.transactions).is_some_and(|at| flip_bit(&mut parts.transactions[at], rng))
    }),
    ("body: drop a withdrawal", |parts, rng| remove(&mut parts.withdrawals, rng)),
    ("body: add a withdrawal of nothing", |parts, rng| {
        let mut payload = vec![0x01, 0x01, 0x94];
        payload.extend_from_slice(special_address(rng).as_slice());
        payload.push(0x80);
        let mut withdrawal = vec![0xc0 + payload.len() as u8];
        withdrawal.extend(payload);
        parts.withdrawals.push(withdrawal);
        true
    }),
];
