//! Mutators of the existence log's claims. For a block of Cancun or later every claim is wrong.

use super::{Mutator, Parts, flip_bit, remove, repeat, special_address};
use crate::hostile::Rng;
use alloy_primitives::Address;

/// Adds a claim in order, even if there is one for this address and index already.
fn insert(parts: &mut Parts, claim: (Address, u32, bool)) -> bool {
    parts.existence.binary_search(&claim).is_err_and(|at| {
        parts.existence.insert(at, claim);
        true
    })
}

/// Adds a claim for an address and index that have none.
fn add(parts: &mut Parts, claim: (Address, u32, bool)) -> bool {
    let (address, index, _) = claim;
    let says_something = parts.existence.iter().any(|own| (own.0, own.1) == (address, index));
    !says_something && insert(parts, claim)
}

/// Changes a claim and moves it to its position in the order.
fn edit(parts: &mut Parts, rng: &mut Rng, change: impl FnOnce(&mut (Address, u32, bool), &mut Rng)) -> bool {
    let Some(at) = rng.pick(&parts.existence) else { return false };
    let old = parts.existence.remove(at);
    let mut new = old;
    change(&mut new, rng);
    new != old && add(parts, new)
}

fn listed(parts: &Parts, rng: &mut Rng) -> Option<Address> {
    rng.pick(&parts.list).map(|at| parts.list[at].address)
}

fn index(parts: &Parts, rng: &mut Rng) -> u32 {
    parts.any_index(rng) as u32
}

/// Indices that no block of this many transactions has.
fn beyond(parts: &Parts, rng: &mut Rng) -> u32 {
    [parts.last_index() as u32 + 1, 4_000_000_000, u32::MAX][rng.below(3)]
}

pub(super) const MUTATORS: &[Mutator] = &[
    ("existence: add a claim", |parts, rng| {
        let claim = listed(parts, rng).map(|address| (address, index(parts, rng), rng.below(2) == 0));
        claim.is_some_and(|claim| add(parts, claim))
    }),
    ("existence: add a deletion after the block", |parts, rng| {
        let last = parts.last_index() as u32;
        listed(parts, rng).is_some_and(|address| add(parts, (address, last, false)))
    }),
    ("existence: add a claim about an account that is not listed", |parts, rng| {
        let claim = (special_address(rng), index(parts, rng), rng.below(2) == 0);
        parts.list.iter().all(|account| account.address != claim.0) && add(parts, claim)
    }),
    ("existence: add a claim beyond the block", |parts, rng| {
        let claim = listed(parts, rng).map(|address| (address, beyond(parts, rng), rng.below(2) == 0));
        claim.is_some_and(|claim| add(parts, claim))
    }),
    ("existence: drop", |parts, rng| remove(&mut parts.existence, rng)),
    ("existence: empty", |parts, _| {
        let had = !parts.existence.is_empty();
        parts.existence.clear();
        had
    }),
    ("existence: the opposite", |parts, rng| edit(parts, rng, |claim, _| claim.2 = !claim.2)),
    ("existence: another index", |parts, rng| {
        let other = index(parts, rng);
        edit(parts, rng, |claim, _| claim.1 = other)
    }),
    ("existence: an index beyond the block", |parts, rng| {
        let other = beyond(parts, rng);
        edit(parts, rng, |claim, _| claim.1 = other)
    }),
    ("existence: another listed account", |parts, rng| {
        let other = listed(parts, rng);
        other.is_some_and(|other| edit(parts, rng, |claim, _| claim.0 = other))
    }),
    ("existence: another address", |parts, rng| {
        edit(parts, rng, |claim, rng| {
            flip_bit(&mut claim.0.0[..], rng);
        })
    }),
    ("existence: twice", |parts, rng| repeat(&mut parts.existence, rng)),
    ("existence: contradiction", |parts, rng| {
        let claim = rng.pick(&parts.existence).map(|at| parts.existence[at]);
        claim.is_some_and(|(address, index, exists)| insert(parts, (address, index, !exists)))
    }),
    ("existence: reverse", |parts, _| {
        parts.existence.reverse();
        parts.existence.len() > 1
    }),
];
