//! Mutators of whole account entries of the list.

use super::{Mutator, Parts, flip_bit, on_account, remove, repeat, special_address, swap};
use crate::hostile::Rng;
use crate::hostile::list::Account;
use alloy_primitives::U256;

/// Adds an entry for an account that the block does not access, or that has an entry already.
fn add(parts: &mut Parts, account: Account) -> bool {
    let place = parts.list.binary_search_by_key(&account.address, |account| account.address);
    place.is_err_and(|at| {
        parts.list.insert(at, account);
        true
    })
}

fn add_with_balance(parts: &mut Parts, rng: &mut Rng, balance: impl FnOnce(&mut Rng) -> U256) -> bool {
    let mut account = Account::bare(special_address(rng));
    account.balances.push((parts.any_index(rng), balance(rng)));
    add(parts, account)
}

pub(super) const MUTATORS: &[Mutator] = &[
    ("account: drop", |parts, rng| remove(&mut parts.list, rng)),
    ("account: drop one without changes", |parts, rng| {
        let bare =
            |a: &Account| a.changes.is_empty() && a.balances.is_empty() && a.nonces.is_empty() && a.codes.is_empty();
        let found: Vec<usize> = (0..parts.list.len()).filter(|at| bare(&parts.list[*at])).collect();
        rng.pick(&found).is_some_and(|at| {
            parts.list.remove(found[at]);
            true
        })
    }),
    ("account: add a phantom", |parts, rng| add(parts, Account::bare(special_address(rng)))),
    ("account: add a phantom with a no-op balance", |parts, rng| add_with_balance(parts, rng, |_| U256::ZERO)),
    ("account: add one with a balance out of nothing", |parts, rng| {
        add_with_balance(parts, rng, |rng| rng.word() >> 128)
    }),
    ("account: twice", |parts, rng| repeat(&mut parts.list, rng)),
    ("account: swap two", |parts, rng| swap(&mut parts.list, rng)),
    ("account: exchange the entries of two", |parts, rng| {
        let before: Vec<_> = parts.list.iter().map(|account| account.address).collect();
        let swapped = swap(&mut parts.list, rng);
        parts.list.iter_mut().zip(before).for_each(|(account, address)| account.address = address);
        swapped
    }),
    ("account: another address", |parts, rng| {
        let changed = on_account(parts, rng, |_| true, |a, rng| flip_bit(&mut a.address.0[..], rng));
        parts.list.sort_by_key(|a| a.address);
        changed
    }),
    ("list: empty", |parts, _| {
        let had = !parts.list.is_empty();
        parts.list.clear();
        had
    }),
];
