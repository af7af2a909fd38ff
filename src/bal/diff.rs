//! All differences between two lists.
//!
//! In: two lists. Out: all [`Divergence`]s, ordered by account; within it, account, slots by key,
//! balances, nonces, codes.
//! Relies on: the order of both lists, so that one merge per level finds all differences.
//! Not here: which list is right, and which opcode caused the difference (`exec`).

use super::{BalColumns, BalField, Changes};
use crate::arena::{AccountId, BlockAccessIndex, Id, SlotId};
use alloy_primitives::{Address, Bytes, U256};
use core::cmp::Ordering;
use core::fmt;

/// The content of one list at the position of a [`Divergence`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[non_exhaustive]
pub enum DivergenceValue {
    /// The account or the read slot is listed: `true` in JSON.
    Listed(bool),
    /// A slot value, or a balance in wei.
    Word(U256),
    /// A nonce.
    Nonce(u64),
    /// A code.
    Code(Bytes),
}

impl fmt::Display for DivergenceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(_) => f.write_str("listed"),
            Self::Word(word) => write!(f, "{word:#x}"),
            Self::Nonce(nonce) => write!(f, "{nonce}"),
            Self::Code(code) => write!(f, "{code}"),
        }
    }
}

/// One difference between lists `a` and `b`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Divergence {
    /// The account.
    pub address: Address,
    /// Part of its entry; `Account`: only one of the lists contains the account.
    pub field: BalField,
    /// The slot, for the two storage parts.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub slot: Option<U256>,
    /// The block access index, for change lists.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub index: Option<u32>,
    /// Content of `a`; `None`: absent.
    pub a: Option<DivergenceValue>,
    /// Content of `b`; `None`: absent.
    pub b: Option<DivergenceValue>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.field)?;
        if let Some(slot) = self.slot {
            write!(f, " slot {slot:#x}")?;
        }
        if let Some(index) = self.index {
            write!(f, " index {index}")?;
        }
        let side = |value: &Option<DivergenceValue>| value.as_ref().map_or("absent".to_owned(), ToString::to_string);
        write!(f, ": {} | {}", side(&self.a), side(&self.b))
    }
}

/// All differences between two lists; empty if they are equal.
///
/// An account or slot that only one list contains is reported with all of its entries.
pub fn diff(a: &BalColumns, b: &BalColumns) -> Vec<Divergence> {
    let mut found = Vec::new();
    merge(
        a.addresses.as_slice(),
        b.addresses.as_slice(),
        |address| *address,
        |address, at_a, at_b| {
            let mut accounts = Accounts {
                address,
                a: at_a.map(|id| (a, AccountId::new(id))),
                b: at_b.map(|id| (b, AccountId::new(id))),
                found: &mut found,
            };
            accounts.diff();
        },
    );
    found
}

type Side<'a> = Option<(&'a BalColumns, AccountId)>;

/// One account of `a`, `b` or both.
struct Accounts<'a, 'f> {
    address: Address,
    a: Side<'a>,
    b: Side<'a>,
    found: &'f mut Vec<Divergence>,
}

impl<'a> Accounts<'a, '_> {
    fn diff(&mut self) {
        let listed = |side: Side<'_>| side.map(|_| DivergenceValue::Listed(true));
        self.report(BalField::Account, None, None, listed(self.a), listed(self.b));
        self.slots();
        self.changes(BalField::BalanceChanges, |bal| &bal.balances, |_, value| DivergenceValue::Word(*value));
        self.changes(BalField::NonceChanges, |bal| &bal.nonces, |_, value| DivergenceValue::Nonce(*value));
        self.changes(
            BalField::CodeChanges,
            |bal| &bal.codes,
            |bal, range| {
                DivergenceValue::Code(bal.blob.slice(range.start as usize..(range.start + range.len) as usize))
            },
        );
    }

    fn report(
        &mut self,
        field: BalField,
        slot: Option<U256>,
        index: Option<BlockAccessIndex>,
        a: Option<DivergenceValue>,
        b: Option<DivergenceValue>,
    ) {
        if a != b {
            let index = index.map(|index| index.0);
            self.found.push(Divergence { address: self.address, field, slot, index, a, b });
        }
    }

    fn slots(&mut self) {
        let ids = |side: Side<'_>| side.map_or(0..0, |(bal, account)| bal.slot_offsets.range(account));
        let keys = |side: Side<'a>| side.map_or(&[][..], |(bal, _)| &bal.slot_keys.as_slice()[ids(side)]);
        let (a, b) = (self.a, self.b);
        let (first_a, first_b) = (ids(a).start, ids(b).start);
        merge(
            keys(a),
            keys(b),
            |key| *key,
            |key, at_a, at_b| {
                let slot_a = a.zip(at_a).map(|((bal, _), at)| (bal, SlotId::new(first_a + at)));
                let slot_b = b.zip(at_b).map(|((bal, _), at)| (bal, SlotId::new(first_b + at)));
                self.rows(
                    (BalField::StorageChanges, Some(key)),
                    slot_a.map(|(bal, slot)| (&bal.storage, slot)),
                    slot_b.map(|(bal, slot)| (&bal.storage, slot)),
                    |_, value| DivergenceValue::Word(*value),
                );
                let read = |side: Option<(&BalColumns, SlotId)>| {
                    side.filter(|(bal, slot)| bal.is_read_only(*slot)).map(|_| DivergenceValue::Listed(true))
                };
                self.report(BalField::StorageReads, Some(key), None, read(slot_a), read(slot_b));
            },
        );
    }

    fn changes<V: 'a>(
        &mut self,
        field: BalField,
        list: impl Fn(&'a BalColumns) -> &'a Changes<AccountId, V>,
        value: impl Fn(&BalColumns, &V) -> DivergenceValue,
    ) {
        let (a, b) = (self.a, self.b);
        let bals = [a.map(|(bal, _)| bal), b.map(|(bal, _)| bal)];
        self.rows(
            (field, None),
            a.map(|(bal, account)| (list(bal), account)),
            b.map(|(bal, account)| (list(bal), account)),
            |side, row| bals[side].map_or(DivergenceValue::Listed(false), |bal| value(bal, row)),
        );
    }

    fn rows<P: Id, V>(
        &mut self,
        (field, slot): (BalField, Option<U256>),
        a: Option<(&Changes<P, V>, P)>,
        b: Option<(&Changes<P, V>, P)>,
        value: impl Fn(usize, &V) -> DivergenceValue,
    ) {
        let indices = |side: Option<(&Changes<P, V>, P)>| side.map_or(0..0, |(list, parent)| list.rows(parent));
        let (rows_a, rows_b) = (indices(a), indices(b));
        merge(
            a.map_or(&[][..], |(list, parent)| list.indices(parent)),
            b.map_or(&[][..], |(list, parent)| list.indices(parent)),
            |index| *index,
            |index, at_a, at_b| {
                let value_a = a.zip(at_a).map(|((list, _), at)| value(0, &list.values[rows_a.start + at]));
                let value_b = b.zip(at_b).map(|((list, _), at)| value(1, &list.values[rows_b.start + at]));
                self.report(field, slot, Some(index), value_a, value_b);
            },
        );
    }
}

/// Merges two ascending slices by key; calls `visit` for each key with its position in either
/// slice.
fn merge<T, K: Ord + Copy>(
    a: &[T],
    b: &[T],
    key: impl Fn(&T) -> K,
    mut visit: impl FnMut(K, Option<usize>, Option<usize>),
) {
    let (mut at_a, mut at_b) = (0, 0);
    loop {
        let order = match (a.get(at_a), b.get(at_b)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(in_a), Some(in_b)) => key(in_a).cmp(&key(in_b)),
        };
        let (use_a, use_b) = (order.is_le(), order.is_ge());
        let next = if use_a { key(&a[at_a]) } else { key(&b[at_b]) };
        visit(next, use_a.then_some(at_a), use_b.then_some(at_b));
        at_a += usize::from(use_a);
        at_b += usize::from(use_b);
    }
}
