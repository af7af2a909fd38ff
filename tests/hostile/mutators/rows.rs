//! Mutators of balance, nonce and code changes.

use super::{
    Field, Mutator, Parts, add_no_op_row, drop_item, edit_row, flip_bit, on_account, on_list, other_word, repeat_item,
    reverse_items, shift_row, take_item,
};
use crate::hostile::Rng;
use crate::hostile::list::{Account, Rows};
use alloy_primitives::{Bytes, U256};

/// Changes the value of a row of this field.
fn edit<V>(parts: &mut Parts, rng: &mut Rng, field: Field<(u64, V)>, change: impl FnOnce(&V, &mut Rng) -> V) -> bool {
    on_list(parts, rng, field, 1, |rows, rng| edit_row(rows, rng, change))
}

/// Moves a row of this field to another index.
fn shift<V>(parts: &mut Parts, rng: &mut Rng, field: Field<(u64, V)>) -> bool {
    let last = parts.last_index();
    on_list(parts, rng, field, 1, |rows, rng| shift_row(rows, rng, last))
}

/// Adds a row to this field of a random account, in order, at an index without a row.
fn add<V>(parts: &mut Parts, rng: &mut Rng, field: Field<(u64, V)>, value: V) -> bool {
    let last = parts.last_index();
    on_list(parts, rng, field, 0, |rows: &mut Rows<V>, rng| {
        let free: Vec<u64> = (0..=last).filter(|index| rows.iter().all(|row| row.0 != *index)).collect();
        rng.pick(&free).is_some_and(|at| {
            rows.push((free[at], value));
            rows.sort_by_key(|row| row.0);
            true
        })
    })
}

/// Adds a code change to an account whose code does not change.
fn add_code(parts: &mut Parts, rng: &mut Rng, code: Vec<u8>) -> bool {
    let index = parts.any_index(rng);
    on_account(
        parts,
        rng,
        |a| a.codes.is_empty(),
        |a, _| {
            a.codes.push((index, code.into()));
            true
        },
    )
}

/// Changes a random code that is not empty.
fn edit_code(parts: &mut Parts, rng: &mut Rng, change: impl FnOnce(&mut Vec<u8>, &mut Rng)) -> bool {
    let codes = parts.list.iter_mut().flat_map(|a: &mut Account| &mut a.codes).map(|(_, code)| code);
    let mut codes: Vec<&mut Bytes> = codes.filter(|code| !code.is_empty()).collect();
    rng.pick(&codes).is_some_and(|at| {
        let mut bytes = codes[at].to_vec();
        change(&mut bytes, rng);
        *codes[at] = bytes.into();
        true
    })
}

pub(super) const BALANCES: &[Mutator] = &[
    ("balance: value", |parts, rng| edit(parts, rng, |a| &mut a.balances, other_word)),
    ("balance: drop", |parts, rng| drop_item(parts, rng, |a| &mut a.balances)),
    ("balance: add", |parts, rng| {
        let value = if rng.below(2) == 0 { U256::ZERO } else { rng.word() >> 160 };
        add(parts, rng, |a| &mut a.balances, value)
    }),
    ("balance: add a no-op row", |parts, rng| {
        let last = parts.last_index();
        on_list(parts, rng, |a| &mut a.balances, 1, |rows, rng| add_no_op_row(rows, rng, last))
    }),
    ("balance: index", |parts, rng| shift(parts, rng, |a| &mut a.balances)),
    ("balance: moves one wei between accounts", |parts, rng| {
        let mut moved = [usize::MAX; 2];
        for (side, moved) in moved.iter_mut().enumerate() {
            let with: Vec<usize> = (0..parts.list.len()).filter(|at| !parts.list[*at].balances.is_empty()).collect();
            let Some(at) = rng.pick(&with) else { return false };
            *moved = with[at];
            let step = if side == 0 { U256::ONE } else { U256::MAX };
            edit_row(&mut parts.list[with[at]].balances, rng, |value, _| value.wrapping_add(step));
        }
        moved[0] != moved[1]
    }),
    ("balance: twice at an index", |parts, rng| repeat_item(parts, rng, |a| &mut a.balances)),
    ("balance: reverse", |parts, rng| reverse_items(parts, rng, |a| &mut a.balances)),
    ("index: beyond the block", |parts, rng| {
        let high = [parts.last_index() + 1, u64::from(u32::MAX), u64::MAX][rng.below(3)];
        on_list(
            parts,
            rng,
            |a| &mut a.balances,
            1,
            |rows, _| {
                rows.push((high, U256::ONE));
                true
            },
        )
    }),
];

pub(super) const NONCES_AND_CODES: &[Mutator] = &[
    ("nonce: value", |parts, rng| {
        edit(
            parts,
            rng,
            |a| &mut a.nonces,
            |value, rng| match rng.below(4) {
                0 => 0,
                1 => u64::MAX,
                2 => value.wrapping_sub(1),
                _ => value.wrapping_add(1),
            },
        )
    }),
    ("nonce: drop", |parts, rng| drop_item(parts, rng, |a| &mut a.nonces)),
    ("nonce: add", |parts, rng| {
        let value = rng.below(3) as u64;
        add(parts, rng, |a| &mut a.nonces, value)
    }),
    ("nonce: index", |parts, rng| shift(parts, rng, |a| &mut a.nonces)),
    ("code: byte", |parts, rng| {
        edit_code(parts, rng, |code, rng| {
            flip_bit(code, rng);
        })
    }),
    ("code: cut or grown", |parts, rng| {
        edit(
            parts,
            rng,
            |a| &mut a.codes,
            |code, rng| {
                let cut = rng.below(2) > 0 && !code.is_empty();
                if cut { code.slice(..code.len() - 1) } else { [code, &[0][..]].concat().into() }
            },
        )
    }),
    ("code: empty", |parts, rng| edit_code(parts, rng, |code, _| code.clear())),
    ("code: reserved prefix", |parts, rng| {
        let code = match rng.below(3) {
            0 => vec![0xef],
            1 => vec![0xef; 23],
            _ => [&[0xef, 0x01, 0x01][..], &[7; 20]].concat(),
        };
        add_code(parts, rng, code)
    }),
    ("code: a delegation out of nothing", |parts, rng| {
        let code = [&[0xef, 0x01, 0x00][..], &[rng.below(256) as u8; 20]].concat();
        add_code(parts, rng, code)
    }),
    ("code: too long", |parts, rng| add_code(parts, rng, vec![0x5b; 65_537])),
    ("code: also at another account", |parts, rng| {
        let codes: Vec<Bytes> = parts.list.iter().flat_map(|a| &a.codes).map(|(_, code)| code.clone()).collect();
        rng.pick(&codes).is_some_and(|at| add_code(parts, rng, codes[at].to_vec()))
    }),
    ("code: moves to another account", |parts, rng| {
        let Some((index, code)) = take_item(parts, rng, |a| &mut a.codes) else { return false };
        on_account(
            parts,
            rng,
            |a| a.codes.is_empty(),
            |a, _| {
                a.codes.push((index, code));
                true
            },
        )
    }),
    ("code: exchanged between two accounts", |parts, rng| {
        let with: Vec<usize> = (0..parts.list.len()).filter(|at| !parts.list[*at].codes.is_empty()).collect();
        let (Some(a), Some(b)) = (rng.pick(&with), rng.pick(&with)) else { return false };
        let [one, two] = [with[a], with[b]].map(|at| parts.list[at].codes[0].1.clone());
        let differ = one != two;
        parts.list[with[a]].codes[0].1 = two;
        parts.list[with[b]].codes[0].1 = one;
        differ
    }),
    ("code: add a no-op row", |parts, rng| {
        let last = parts.last_index();
        on_list(parts, rng, |a| &mut a.codes, 1, |rows, rng| add_no_op_row(rows, rng, last))
    }),
    ("code: drop", |parts, rng| drop_item(parts, rng, |a| &mut a.codes)),
    ("code: index", |parts, rng| shift(parts, rng, |a| &mut a.codes)),
];
