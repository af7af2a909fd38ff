//! Random lists as alloy's nested types, and reference implementations of the columns' queries.

use crate::bal::{BalColumns, Limits, decode};
use alloy_eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, CodeChange, NonceChange, SlotChanges, StorageChange,
};
use alloy_primitives::{Address, Bytes, U256};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Transactions of the modelled block: enough for indices of one and of two bytes.
pub(super) const TX_COUNT: usize = 300;

/// Limits of the modelled block.
pub(super) fn limits() -> Limits {
    Limits { tx_count: TX_COUNT, ..Limits::format_only() }
}

pub(super) fn index(value: u32) -> BlockAccessIndex {
    BlockAccessIndex::new(u64::from(value))
}

pub(super) fn rlp(list: &[AccountChanges]) -> Bytes {
    let mut out = Vec::new();
    alloy_rlp::Encodable::encode(&list.to_vec(), &mut out);
    out.into()
}

pub(super) fn columns(list: &[AccountChanges]) -> BalColumns {
    decode(&rlp(list), &limits()).expect("a modelled list is valid")
}

/// Integers of every encoded length; boundary bytes are more frequent than in uniform random ones.
pub(super) fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        (0u64..300).prop_map(U256::from),
        any::<u64>().prop_map(U256::from),
        (any::<[u64; 4]>(), 0usize..256).prop_map(|(limbs, shift)| U256::from_limbs(limbs) >> shift),
        Just(U256::MAX),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![any::<[u8; 20]>().prop_map(Address::from), any::<u8>().prop_map(Address::with_last_byte)]
}

fn changes<V: core::fmt::Debug>(
    value: impl Strategy<Value = V>,
    min: usize,
) -> impl Strategy<Value = BTreeMap<u32, V>> {
    btree_map(0..TX_COUNT as u32 + 2, value, min..min + 4)
}

fn code() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![]), vec(any::<u8>(), 1..3), vec(any::<u8>(), 50..70), vec(any::<u8>(), 200..300)]
}

fn account() -> impl Strategy<Value = AccountChanges> {
    let slots = btree_map(word(), prop_oneof![Just(BTreeMap::new()), changes(word(), 1)], 0..12);
    (slots, changes(word(), 0), changes(any::<u64>(), 0), changes(code(), 0)).prop_map(
        |(slots, balances, nonces, codes)| AccountChanges {
            address: Address::ZERO,
            storage_changes: slots
                .iter()
                .filter(|(_, changes)| !changes.is_empty())
                .map(|(key, changes)| {
                    SlotChanges::new(*key, changes.iter().map(|(i, v)| StorageChange::new(index(*i), *v)).collect())
                })
                .collect(),
            storage_reads: slots.iter().filter(|(_, changes)| changes.is_empty()).map(|(key, _)| *key).collect(),
            balance_changes: balances.into_iter().map(|(i, v)| BalanceChange::new(index(i), v)).collect(),
            nonce_changes: nonces.into_iter().map(|(i, v)| NonceChange::new(index(i), v)).collect(),
            code_changes: codes.into_iter().map(|(i, v)| CodeChange::new(index(i), v.into())).collect(),
        },
    )
}

/// Random valid lists.
pub(super) fn list() -> impl Strategy<Value = Vec<AccountChanges>> {
    btree_map(address(), account(), 0..8).prop_map(|accounts| {
        accounts.into_iter().map(|(address, account)| AccountChanges { address, ..account }).collect()
    })
}

/// The value in force before `index`, by replaying a list of (index, value).
pub(super) fn before<V: Clone>(changes: impl Iterator<Item = (u64, V)>, index: u32) -> Option<V> {
    let mut value = None;
    for (at, new_value) in changes {
        if at < u64::from(index) {
            value = Some(new_value);
        }
    }
    value
}

/// The value of the change at exactly `index`.
pub(super) fn at<V>(mut changes: impl Iterator<Item = (u64, V)>, index: u32) -> Option<V> {
    changes.find(|(at, _)| *at == u64::from(index)).map(|(_, value)| value)
}

pub(super) fn balances(account: &AccountChanges) -> impl Iterator<Item = (u64, U256)> {
    account.balance_changes.iter().map(|c| (c.block_access_index.get(), c.post_balance))
}

pub(super) fn nonces(account: &AccountChanges) -> impl Iterator<Item = (u64, u64)> {
    account.nonce_changes.iter().map(|c| (c.block_access_index.get(), c.new_nonce))
}

pub(super) fn codes(account: &AccountChanges) -> impl Iterator<Item = (u64, Bytes)> {
    account.code_changes.iter().map(|c| (c.block_access_index.get(), c.new_code.clone()))
}

pub(super) fn slot_changes(slot: &SlotChanges) -> impl Iterator<Item = (u64, U256)> {
    slot.changes.iter().map(|c| (c.block_access_index.get(), c.new_value))
}
