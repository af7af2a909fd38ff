//! Mutators of storage reads and storage changes.

use super::{
    Mutator, Parts, add_no_op_row, drop_item, edit_row, on_account, on_list, other_word, repeat_item, reverse_items,
    shift_row, take_item,
};
use crate::hostile::Rng;
use crate::hostile::list::{Account, Rows};
use alloy_primitives::U256;

/// A changed slot: its key and its rows.
type Slot = (U256, Rows<U256>);

/// Adds a read in order, unless the account has the slot already.
fn add_read(account: &mut Account, key: U256) -> bool {
    if account.changes.iter().any(|change| change.0 == key) {
        return false;
    }
    account.reads.binary_search(&key).is_err_and(|at| {
        account.reads.insert(at, key);
        true
    })
}

/// Adds a changed slot in order, even if the account has the slot already.
fn add_change(account: &mut Account, slot: Slot) -> bool {
    account.changes.push(slot);
    account.changes.sort_by_key(|change| change.0);
    true
}

fn has_reads(account: &Account) -> bool {
    !account.reads.is_empty()
}

fn has_changes(account: &Account) -> bool {
    !account.changes.is_empty()
}

/// Applies `change` to a random changed slot.
fn on_slot(parts: &mut Parts, rng: &mut Rng, change: impl FnOnce(&mut Slot, &mut Rng) -> bool) -> bool {
    on_list(
        parts,
        rng,
        |a| &mut a.changes,
        1,
        |slots, rng| {
            let at = rng.below(slots.len());
            change(&mut slots[at], rng)
        },
    )
}

pub(super) const READS: &[Mutator] = &[
    ("read: drop", |parts, rng| drop_item(parts, rng, |a| &mut a.reads)),
    ("read: add a phantom", |parts, rng| {
        let key = if rng.below(2) == 0 { rng.word() } else { U256::from(rng.below(8)) };
        on_account(parts, rng, |_| true, |a, _| add_read(a, key))
    }),
    ("read: add a phantom beside a slot", |parts, rng| {
        on_account(
            parts,
            rng,
            |a| has_reads(a) || has_changes(a),
            |a, rng| {
                let keys: Vec<U256> = a.reads.iter().copied().chain(a.changes.iter().map(|change| change.0)).collect();
                add_read(a, keys[rng.below(keys.len())].wrapping_add(U256::ONE))
            },
        )
    }),
    ("read: add a hundred phantoms", |parts, rng| {
        on_account(parts, rng, |_| true, |a, rng| (0..100).fold(false, |added, _| add_read(a, rng.word()) || added))
    }),
    ("read: twice", |parts, rng| repeat_item(parts, rng, |a| &mut a.reads)),
    ("read: reverse", |parts, rng| reverse_items(parts, rng, |a| &mut a.reads)),
    ("read: becomes a change", |parts, rng| {
        let index = parts.any_index(rng);
        on_account(parts, rng, has_reads, |a, rng| {
            let key = a.reads.remove(rng.below(a.reads.len()));
            let value = if rng.below(2) == 0 { U256::ZERO } else { rng.word() };
            add_change(a, (key, vec![(index, value)]))
        })
    }),
    ("read: moves to another account", |parts, rng| {
        let Some(key) = take_item(parts, rng, |a| &mut a.reads) else { return false };
        on_account(parts, rng, |_| true, |a, _| add_read(a, key))
    }),
];

pub(super) const CHANGES: &[Mutator] = &[
    ("slot: drop", |parts, rng| drop_item(parts, rng, |a| &mut a.changes)),
    ("slot: change becomes a read", |parts, rng| {
        on_account(parts, rng, has_changes, |a, rng| {
            let (key, _) = a.changes.remove(rng.below(a.changes.len()));
            add_read(a, key)
        })
    }),
    ("slot: changed and read", |parts, rng| {
        on_account(parts, rng, has_changes, |a, rng| {
            a.reads.push(a.changes[rng.below(a.changes.len())].0);
            a.reads.sort();
            true
        })
    }),
    ("slot: add", |parts, rng| {
        let index = parts.any_index(rng);
        on_account(parts, rng, |_| true, |a, rng| add_change(a, (rng.word(), vec![(index, rng.word())])))
    }),
    ("slot: without changes", |parts, rng| {
        on_slot(parts, rng, |slot, _| {
            slot.1.clear();
            true
        })
    }),
    ("slot: twice", |parts, rng| repeat_item(parts, rng, |a| &mut a.changes)),
    ("slot: reverse", |parts, rng| reverse_items(parts, rng, |a| &mut a.changes)),
    ("slot: value", |parts, rng| on_slot(parts, rng, |slot, rng| edit_row(&mut slot.1, rng, other_word))),
    ("slot: drop a row", |parts, rng| {
        let mut long: Vec<&mut Slot> =
            parts.list.iter_mut().flat_map(|a| &mut a.changes).filter(|slot| slot.1.len() > 1).collect();
        rng.pick(&long).is_some_and(|at| {
            let rows = &mut long[at].1;
            rows.remove(rng.below(rows.len()));
            true
        })
    }),
    ("slot: add a no-op row", |parts, rng| {
        let last = parts.last_index();
        on_slot(parts, rng, |slot, rng| add_no_op_row(&mut slot.1, rng, last))
    }),
    ("slot: index", |parts, rng| {
        let last = parts.last_index();
        on_slot(parts, rng, |slot, rng| shift_row(&mut slot.1, rng, last))
    }),
    ("slot: another key", |parts, rng| {
        on_account(parts, rng, has_changes, |a, rng| {
            let at = rng.below(a.changes.len());
            let (key, rows) = a.changes.remove(at);
            add_change(a, (other_word(&key, rng), rows))
        })
    }),
    ("slot: moves to another account", |parts, rng| {
        let Some(slot) = take_item(parts, rng, |a| &mut a.changes) else { return false };
        on_account(parts, rng, |_| true, |a, _| add_change(a, slot))
    }),
];
