//! Mutators: each makes one small change to the list, its bytes, the existence log, the header or the body of a block.
//!
//! A mutator returns whether it found something to change. Not here: resealing the commitments afterwards (`trial`).

mod accounts;
mod body;
mod bytes;
mod existence;
mod header;
mod rows;
mod slots;

use super::Rng;
use super::list::{Account, Rows};
use alloy_primitives::{Address, B256, Bytes, U256, address};
use balustrade::exec::wire::Header;

/// The part that a mutator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The list: every such mutant is invalid.
    List,
    /// The existence log: every such mutant is invalid.
    ExistenceLog,
    /// The header alone; the mutant may be another valid block.
    Header,
    /// Transactions or withdrawals; roots and list hash are resealed.
    Body,
}

/// A block taken apart.
#[derive(Clone, Debug)]
pub struct Parts {
    pub list: Vec<Account>,
    /// The list's bytes, if the mutator changes them directly.
    pub raw_list: Option<Vec<u8>>,
    /// The list's original bytes.
    pub original_list: Bytes,
    /// Claims of the existence log, right or wrong.
    pub existence: Vec<(Address, u32, bool)>,
    pub header: Header,
    pub transactions: Vec<Vec<u8>>,
    /// RLP of each withdrawal.
    pub withdrawals: Vec<Vec<u8>>,
}

impl Parts {
    /// The index of the last task.
    fn last_index(&self) -> u64 {
        self.transactions.len() as u64 + 1
    }

    fn any_index(&self, rng: &mut Rng) -> u64 {
        rng.below(self.transactions.len() + 2) as u64
    }
}

/// A mutator: its name and the change.
pub type Mutator = (&'static str, fn(&mut Parts, &mut Rng) -> bool);

/// All mutators.
const MUTATORS: [(Part, &[Mutator]); 9] = [
    (Part::List, accounts::MUTATORS),
    (Part::List, slots::READS),
    (Part::List, slots::CHANGES),
    (Part::List, rows::BALANCES),
    (Part::List, rows::NONCES_AND_CODES),
    (Part::List, bytes::MUTATORS),
    (Part::ExistenceLog, existence::MUTATORS),
    (Part::Header, header::MUTATORS),
    (Part::Body, body::MUTATORS),
];

/// Draws one of the mutators that change such a part.
pub fn draw(rng: &mut Rng, is_wanted: impl Fn(Part) -> bool) -> (Part, Mutator) {
    let wanted = MUTATORS.iter().filter(|(part, _)| is_wanted(*part));
    let all: Vec<_> = wanted.flat_map(|(part, mutators)| mutators.iter().map(|mutator| (*part, *mutator))).collect();
    all[rng.below(all.len())]
}

/// Names of all mutators.
pub fn names() -> impl Iterator<Item = &'static str> {
    MUTATORS.iter().flat_map(|(_, mutators)| mutators.iter().map(|(name, _)| *name))
}

/// Applies `change` to a random account among those for which `has` is true.
fn on_account(
    parts: &mut Parts,
    rng: &mut Rng,
    has: impl Fn(&Account) -> bool,
    change: impl FnOnce(&mut Account, &mut Rng) -> bool,
) -> bool {
    let found: Vec<usize> = (0..parts.list.len()).filter(|at| has(&parts.list[*at])).collect();
    rng.pick(&found).is_some_and(|at| change(&mut parts.list[found[at]], rng))
}

/// Selects one of the vectors of an account's entry.
type Field<T> = fn(&mut Account) -> &mut Vec<T>;

/// Applies `change` to this vector of a random account among those where it has at least `least` items.
fn on_list<T>(
    parts: &mut Parts,
    rng: &mut Rng,
    field: Field<T>,
    least: usize,
    change: impl FnOnce(&mut Vec<T>, &mut Rng) -> bool,
) -> bool {
    let mut found: Vec<&mut Vec<T>> = parts.list.iter_mut().map(field).filter(|list| list.len() >= least).collect();
    rng.pick(&found).is_some_and(|at| change(found[at], rng))
}

/// Removes a random item of this vector of a random account.
fn drop_item<T>(parts: &mut Parts, rng: &mut Rng, field: Field<T>) -> bool {
    take_item(parts, rng, field).is_some()
}

fn take_item<T>(parts: &mut Parts, rng: &mut Rng, field: Field<T>) -> Option<T> {
    let mut taken = None;
    on_list(parts, rng, field, 1, |items, rng| {
        taken = Some(items.remove(rng.below(items.len())));
        true
    });
    taken
}

/// Repeats a random item of this vector of a random account.
fn repeat_item<T: Clone>(parts: &mut Parts, rng: &mut Rng, field: Field<T>) -> bool {
    on_list(parts, rng, field, 1, repeat)
}

fn repeat<T: Clone>(items: &mut Vec<T>, rng: &mut Rng) -> bool {
    rng.pick(items).is_some_and(|at| {
        items.insert(at, items[at].clone());
        true
    })
}

/// Removes a random item.
fn remove<T>(items: &mut Vec<T>, rng: &mut Rng) -> bool {
    rng.pick(items).is_some_and(|at| {
        items.remove(at);
        true
    })
}

/// Swaps two different items.
fn swap<T: PartialEq>(items: &mut [T], rng: &mut Rng) -> bool {
    let (Some(a), Some(b)) = (rng.pick(items), rng.pick(items)) else { return false };
    items.swap(a, b);
    items[a] != items[b]
}

/// Reverses this vector of a random account.
fn reverse_items<T>(parts: &mut Parts, rng: &mut Rng, field: Field<T>) -> bool {
    on_list(parts, rng, field, 2, |items, _| {
        items.reverse();
        true
    })
}

/// Changes the value of a random row.
fn edit_row<V>(rows: &mut Rows<V>, rng: &mut Rng, change: impl FnOnce(&V, &mut Rng) -> V) -> bool {
    rng.pick(rows).is_some_and(|at| {
        rows[at].1 = change(&rows[at].1, rng);
        true
    })
}

/// Moves a row to a neighbouring index without a row, so that the order remains.
fn shift_row<V>(rows: &mut Rows<V>, rng: &mut Rng, last: u64) -> bool {
    let at = rng.below(rows.len());
    let index = rows[at].0;
    let new = if rng.below(2) == 0 { index.wrapping_sub(1) } else { index + 1 };
    if new > last || rows.iter().any(|row| row.0 == new) {
        return false;
    }
    rows[at].0 = new;
    rows.sort_by_key(|row| row.0);
    true
}

/// Repeats the last value at a later index: a no-op change.
fn add_no_op_row<V: Clone>(rows: &mut Rows<V>, rng: &mut Rng, last: u64) -> bool {
    let (index, value) = rows[rows.len() - 1].clone();
    let later = last - index;
    if later > 0 {
        rows.push((index + 1 + rng.below(later as usize) as u64, value));
    }
    later > 0
}

/// A near, distant or special value (such as zero); never the old one.
fn other_word(old: &U256, rng: &mut Rng) -> U256 {
    let new = match rng.below(8) {
        0 => U256::ZERO,
        1 => U256::MAX,
        2 => rng.word(),
        3 => old ^ (U256::ONE << rng.below(256)),
        4 | 5 => old.wrapping_sub(U256::ONE),
        _ => old.wrapping_add(U256::ONE),
    };
    if new == *old { old.wrapping_add(U256::ONE) } else { new }
}

/// An address that implementations treat specially.
fn special_address(rng: &mut Rng) -> Address {
    match rng.below(5) {
        // SYSTEM_ADDRESS, the caller of system contracts.
        0 => address!("fffffffffffffffffffffffffffffffffffffffe"),
        1 => Address::with_last_byte(1 + rng.below(17) as u8),
        2 => Address::ZERO,
        3 => Address::repeat_byte(0xff),
        _ => Address::from_word(B256::from(rng.word())),
    }
}

/// Flips one random bit.
fn flip_bit(bytes: &mut [u8], rng: &mut Rng) -> bool {
    rng.pick(bytes).is_some_and(|at| {
        bytes[at] ^= 1 << rng.below(8);
        true
    })
}
