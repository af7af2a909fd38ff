//! Tests `diff` against a comparison of two maps with the full content of the lists.

use super::model::{self, columns, index, list};
use crate::bal::{BalField, Divergence, DivergenceValue, diff, show};
use alloy_eip7928::{AccountChanges, BalanceChange, StorageChange};
use alloy_primitives::{Address, U256};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Point = (Address, BalField, Option<U256>, Option<u32>);

/// The full content of a list, by position.
fn points(list: &[AccountChanges]) -> BTreeMap<Point, DivergenceValue> {
    let mut points = BTreeMap::new();
    for account in list {
        let mut say = |field, slot, index: Option<u64>, value| {
            points.insert((account.address, field, slot, index.map(|index| index as u32)), value);
        };
        say(BalField::Account, None, None, DivergenceValue::Listed(true));
        for slot in &account.storage_changes {
            for (index, value) in model::slot_changes(slot) {
                say(BalField::StorageChanges, Some(slot.slot), Some(index), DivergenceValue::Word(value));
            }
        }
        for key in &account.storage_reads {
            say(BalField::StorageReads, Some(*key), None, DivergenceValue::Listed(true));
        }
        model::balances(account)
            .for_each(|(i, v)| say(BalField::BalanceChanges, None, Some(i), DivergenceValue::Word(v)));
        model::nonces(account).for_each(|(i, v)| say(BalField::NonceChanges, None, Some(i), DivergenceValue::Nonce(v)));
        model::codes(account).for_each(|(i, v)| say(BalField::CodeChanges, None, Some(i), DivergenceValue::Code(v)));
    }
    points
}

fn naive(a: &[AccountChanges], b: &[AccountChanges]) -> BTreeSet<String> {
    let (a, b) = (points(a), points(b));
    let places: BTreeSet<Point> = a.keys().chain(b.keys()).copied().collect();
    places
        .into_iter()
        .filter(|place| a.get(place) != b.get(place))
        .map(|place| {
            let (address, field, slot, index) = place;
            let (a, b) = (a.get(&place).cloned(), b.get(&place).cloned());
            format!("{:?}", Divergence { address, field, slot, index, a, b })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_divergences_are_found(a in list(), b in list(), keep in any::<u8>()) {
        // Lists with common accounts: some of `a`'s accounts, with one part changed.
        let mut mixed: BTreeMap<Address, AccountChanges> = b.into_iter().map(|acc| (acc.address, acc)).collect();
        for (i, account) in a.iter().enumerate().filter(|(i, _)| keep >> (i % 8) & 1 == 1) {
            let mut account = account.clone();
            match i % 4 {
                0 => account.balance_changes.clear(),
                1 => drop(account.storage_reads.pop()),
                2 => account.storage_changes.iter_mut().for_each(|slot| slot.changes[0].new_value ^= U256::from(1)),
                _ => account.nonce_changes.clear(),
            }
            mixed.insert(account.address, account);
        }
        let b: Vec<_> = mixed.into_values().collect();
        let found = diff(&columns(&a), &columns(&b));
        let as_text: BTreeSet<String> = found.iter().map(|divergence| format!("{divergence:?}")).collect();
        prop_assert_eq!(found.len(), as_text.len());
        prop_assert_eq!(as_text, naive(&a, &b));
        prop_assert!(diff(&columns(&a), &columns(&a)).is_empty());
    }
}

fn two_lists() -> (Vec<AccountChanges>, Vec<AccountChanges>) {
    let a = AccountChanges::new(Address::with_last_byte(1))
        .with_storage_change(alloy_eip7928::SlotChanges::new(
            U256::from(2),
            vec![StorageChange::new(index(1), U256::from(0x10))],
        ))
        .with_balance_change(BalanceChange::new(index(1), U256::from(7)));
    let b = AccountChanges::new(Address::with_last_byte(1)).with_storage_read(U256::from(2));
    (vec![a], vec![b])
}

#[test]
fn divergences_are_formatted() {
    let (a, b) = two_lists();
    let found = diff(&columns(&a), &columns(&b));
    let address = Address::with_last_byte(1);
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            format!("{address} storage_changes slot 0x2 index 1: 0x10 | absent"),
            format!("{address} storage_reads slot 0x2: absent | listed"),
            format!("{address} balance_changes index 1: 0x7 | absent"),
        ]
    );
    assert_eq!(
        serde_json::to_value(&found[1]).unwrap(),
        serde_json::json!({"address": address, "field": "storageReads", "slot": "0x2", "a": null, "b": true})
    );
}

#[test]
fn lists_are_formatted() {
    let (a, _) = two_lists();
    assert_eq!(
        show(&columns(&a)).to_string(),
        format!(
            "1 accounts, 1 slots (1 changed, 0 read), 2 changes\n\
             index 0: before the transactions; index n: transaction n-1; the index after them: end of the block\n\n\
             {}\n  index 1: slot 0x2 = 0x10\n  index 1: balance 7 wei\n",
            Address::with_last_byte(1)
        )
    );
}
