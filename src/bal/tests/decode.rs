//! Tests decoding and encoding against `alloy-eip7928`: equal lists, equal verdicts.

use super::model::{self, TX_COUNT, limits, list, rlp};
use crate::arena::BlockAccessIndex;
use crate::bal::decode::decode_portable;
use crate::bal::{BalColumns, BalError, Limits, bal_hash, decode, decode_into, encode, sample};
use alloy_eip7928::AccountChanges;
use alloy_primitives::{Bytes, U256};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Whether alloy decodes and validates the bytes.
fn alloy_accepts(bytes: &[u8], tx_count: usize) -> bool {
    alloy_rlp::decode_exact::<Vec<AccountChanges>>(bytes)
        .is_ok_and(|list| alloy_eip7928::validate_block_access_list(&list, tx_count).is_ok())
}

/// The result of the portable decoder, after checking that the AVX-512 decoder (if available)
/// agrees with it.
fn verdict(bytes: &Bytes, limits: &Limits) -> Result<BalColumns, BalError> {
    let mut portable = BalColumns::default();
    let verdict = decode_portable(&mut portable, bytes, limits).map(|()| portable);
    #[cfg(target_arch = "x86_64")]
    if crate::bal::decode::wide::is_available() {
        let mut columns = BalColumns { blob: bytes.clone(), ..BalColumns::default() };
        let is_valid = crate::bal::decode::wide::try_decode(&mut columns, bytes, limits).is_some();
        assert_eq!(is_valid, verdict.is_ok(), "{:?}", verdict.err());
        if let Ok(portable) = &verdict {
            assert_eq!(&columns, portable);
            assert_eq!(columns.slot_accounts(), portable.slot_accounts());
        }
    }
    assert_eq!(decode(bytes, limits), verdict);
    verdict
}

/// A mutation of a list's bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index),
    Insert(Index, u8),
    Copy(Index, Index, usize),
    Truncate(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), Just(0u8), Just(0x7f), Just(0x80), Just(0x81), Just(0xc0), Just(0xf8)];
    let place = any::<Index>;
    prop_oneof![
        (place(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (place(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        place().prop_map(Damage::Remove),
        (place(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (place(), place(), 1..40usize).prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
        place().prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let len = bytes.len();
    if len == 0 {
        return;
    }
    match damage {
        Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
        Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
        Damage::Remove(at) => drop(bytes.remove(at.index(len))),
        Damage::Insert(at, byte) => bytes.insert(at.index(len), *byte),
        Damage::Copy(from, to, count) => {
            let (from, to) = (from.index(len), to.index(len));
            let count = (*count).min(len - from.max(to));
            bytes.copy_within(from..from + count, to);
        }
        Damage::Truncate(at) => bytes.truncate(at.index(len)),
    }
}

/// Mutates the content of a list, which is then encoded correctly.
fn disorder(list: &mut [AccountChanges], kind: u8, account: Index, place: Index) {
    if list.is_empty() {
        return;
    }
    let len = list.len();
    if kind == 0 {
        return list.swap(account.index(len), place.index(len));
    }
    let account = &mut list[account.index(len)];
    let at = |len: usize| (len > 0).then(|| place.index(len));
    match kind {
        1 => drop(at(account.storage_reads.len()).map(|i| account.storage_reads.swap(0, i))),
        2 => drop(at(account.storage_changes.len()).map(|i| account.storage_changes.swap(0, i))),
        3 => drop(at(account.storage_changes.len()).map(|i| account.storage_changes[i].changes.clear())),
        4 => drop(at(account.storage_changes.len()).map(|i| {
            let slot = account.storage_changes[i].slot;
            account.storage_reads.push(slot);
            account.storage_reads.sort();
        })),
        5 => drop(at(account.storage_reads.len()).map(|i| account.storage_reads.insert(i, account.storage_reads[i]))),
        6 => drop(at(account.balance_changes.len()).map(|i| account.balance_changes.swap(0, i))),
        7 => drop(
            at(account.nonce_changes.len()).map(|i| account.nonce_changes.insert(i, account.nonce_changes[i].clone())),
        ),
        8 => drop(at(account.code_changes.len()).map(|i| account.code_changes.swap(0, i))),
        9 => drop(at(account.balance_changes.len()).map(|i| {
            account.balance_changes[i].block_access_index = model::index(TX_COUNT as u32 + 2 - (i as u32 & 1));
        })),
        _ => drop(at(account.nonce_changes.len()).map(|i| {
            account.nonce_changes[i].block_access_index = alloy_eip7928::BlockAccessIndex::new(1 << 32);
        })),
    }
}

/// Asserts that columns have the same content as the nested list.
fn assert_same(columns: &BalColumns, list: &[AccountChanges]) {
    assert_eq!(columns.account_count(), list.len());
    let mut reads = 0;
    for (account, expected) in columns.addresses().ids().zip(list) {
        assert_eq!(columns.addresses()[account], expected.address);
        assert_eq!(columns.find(&expected.address), Some(account));
        for index in [0, 1, 2, 127, 128, 129, 255, 256, 300, 301] {
            let id = BlockAccessIndex(index);
            assert_eq!(columns.balance_before(account, id), model::before(model::balances(expected), index));
            assert_eq!(columns.nonce_before(account, id), model::before(model::nonces(expected), index));
            let code = model::before(model::codes(expected), index);
            assert_eq!(columns.code_before(account, id), code.as_ref().map(|code| &code[..]));
            assert_eq!(columns.balance_at(account, id), model::at(model::balances(expected), index));
            assert_eq!(columns.nonce_at(account, id), model::at(model::nonces(expected), index));
            assert_eq!(
                columns.code_at(account, id),
                model::at(model::codes(expected), index).as_ref().map(|code| &code[..])
            );
        }
        assert_eq!(columns.balance_post(account), expected.balance_post_state());
        assert_eq!(columns.nonce_post(account), expected.nonce_post_state());
        assert_eq!(columns.code_post(account), expected.code_post_state().map(|code| &code[..]));
        let keys: Vec<U256> = columns.slots(account).map(|slot| columns.slot_keys()[slot]).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.len(), expected.storage_changes.len() + expected.storage_reads.len());
        for key in &expected.storage_reads {
            let slot = columns.find_slot(account, key).expect("a listed slot");
            assert!(columns.is_read_only(slot) && columns.slot_accounts()[slot] == account);
            reads += 1;
        }
        for change in &expected.storage_changes {
            let slot = columns.find_slot(account, &change.slot).expect("a listed slot");
            assert_eq!(columns.slot_accounts()[slot], account);
            let rows: Vec<_> = columns.storage().iter(slot).map(|(i, v)| (u64::from(i.0), *v)).collect();
            assert_eq!(rows, model::slot_changes(change).collect::<Vec<_>>());
            for index in [0, 1, 128, 301] {
                let id = BlockAccessIndex(index);
                assert_eq!(columns.slot_before(slot, id), model::before(model::slot_changes(change), index));
                assert_eq!(columns.slot_at(slot, id), model::at(model::slot_changes(change), index));
            }
            assert_eq!(columns.slot_post(slot), change.changes.last().map(|change| change.new_value));
        }
    }
    assert_eq!(columns.read_count(), reads);
    assert_eq!(columns.item_count() as u64, alloy_eip7928::total_bal_items(list));
}

/// Reference implementation: row counts per index from the nested list.
fn naive_rows_per_index(list: &[AccountChanges]) -> Vec<u32> {
    let mut counts = vec![0; TX_COUNT + 2];
    for account in list {
        let slots = account.storage_changes.iter().flat_map(|slot| model::slot_changes(slot).map(|row| row.0));
        let fields = model::balances(account).map(|row| row.0).chain(model::nonces(account).map(|row| row.0));
        for index in slots.chain(fields).chain(model::codes(account).map(|row| row.0)) {
            counts[index as usize] += 1;
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn columns_have_the_content_of_the_list(list in list()) {
        let bytes = rlp(&list);
        let columns = verdict(&bytes, &limits()).unwrap();
        assert_same(&columns, &list);
        prop_assert_eq!(columns.rows_per_index(TX_COUNT), naive_rows_per_index(&list));
        prop_assert_eq!(encode(&columns), bytes.clone());
        prop_assert_eq!(bal_hash(&bytes), alloy_eip7928::compute_block_access_list_hash(&list));
    }

    #[test]
    fn verdicts_on_mutated_bytes_equal_alloys(list in list(), damages in vec(damage(), 1..4)) {
        let mut bytes = rlp(&list).to_vec();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        let verdict = verdict(&bytes.clone().into(), &limits());
        prop_assert_eq!(verdict.is_ok(), alloy_accepts(&bytes, TX_COUNT), "{:?}", verdict.err());
        if let Ok(columns) = verdict {
            prop_assert_eq!(encode(&columns).to_vec(), bytes);
        }
    }

    #[test]
    fn verdicts_on_mutated_content_equal_alloys(mut list in list(), kind in 0..11u8, account: Index, place: Index) {
        disorder(&mut list, kind, account, place);
        let bytes = rlp(&list);
        let verdict = verdict(&bytes, &limits());
        prop_assert_eq!(verdict.is_ok(), alloy_accepts(&bytes, TX_COUNT), "{:?}", verdict.err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(prop_oneof![any::<u8>(), 0xc0..=0xffu8, 0x80..=0x82u8], 0..200)) {
        let verdict = verdict(&bytes.clone().into(), &Limits::amsterdam(3, 30_000_000));
        prop_assert!(verdict.is_err() || alloy_accepts(&bytes, 3));
    }

    #[test]
    fn item_limits_are_exact(list in list(), less in 0..3u64) {
        let items = alloy_eip7928::total_bal_items(&list);
        let limits = Limits { item_count_max: Some(items.saturating_sub(less)), ..limits() };
        prop_assert_eq!(verdict(&rlp(&list), &limits).is_ok(), less == 0 || items == 0);
    }

    #[test]
    fn reused_columns_keep_nothing_of_the_first_list(first in list(), second in list()) {
        let mut columns = BalColumns::default();
        decode_into(&mut columns, &rlp(&first), &limits()).unwrap();
        prop_assert!(decode_into(&mut columns, &Bytes::from_static(&[0xc1, 0x80]), &limits()).is_err());
        prop_assert_eq!(&columns, &BalColumns::default());
        decode_into(&mut columns, &rlp(&second), &limits()).unwrap();
        assert_same(&columns, &second);
    }
}

#[test]
fn large_lists_agree_with_alloy() {
    for (seed, bytes) in [(1, 50_000), (2, 500_000)] {
        let sample = sample::list(seed, bytes);
        let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(&sample.bytes).unwrap();
        assert!(alloy_accepts(&sample.bytes, sample::TX_COUNT));
        let limits = Limits { tx_count: sample::TX_COUNT, ..Limits::format_only() };
        let columns = verdict(&sample.bytes, &limits).unwrap();
        assert_eq!(columns, sample.columns);
        assert_same(&columns, &list);
        assert_eq!(encode(&columns), sample.bytes);
    }
}

/// The list with most memory per byte: accounts with the 128 reads that take one byte each.
fn many_short_reads(accounts: u32) -> Bytes {
    let reads: Vec<U256> = (0..128).map(U256::from).collect();
    let account = |i: u32| {
        AccountChanges::new(alloy_primitives::Address::left_padding_from(&i.to_be_bytes()))
            .extend_storage_reads(reads.iter().copied())
    };
    rlp(&(0..accounts).map(account).collect::<Vec<_>>())
}

/// One slot with a change at every index; changes take three bytes below index 128, and more above.
fn many_short_changes(tx_count: u32) -> Bytes {
    let change = |i| alloy_eip7928::StorageChange::new(model::index(i), U256::ZERO);
    let slot = alloy_eip7928::SlotChanges::new(U256::ZERO, (0..tx_count).map(change).collect());
    rlp(&[AccountChanges::new(alloy_primitives::Address::ZERO).with_storage_change(slot)])
}

/// Change lists longer than the AVX-512 decoder's buffer, valid ones and ones with a duplicate
/// index at any position.
#[test]
fn long_change_lists_decode_alike_in_both_decoders() {
    let rows = TX_COUNT as u32 + 2;
    let value = |i: u32| U256::MAX >> (i * 7 % 256);
    for (kind, broken) in (0..3 * rows).map(|case| (case % 3, (case >= 3).then_some(case / 3))) {
        let index_of = |i: u32| model::index(if broken == Some(i) { i - 1 } else { i });
        let storage = (0..rows).map(|i| alloy_eip7928::StorageChange::new(index_of(i), value(i))).collect();
        let mut account = AccountChanges::new(alloy_primitives::Address::ZERO);
        match kind {
            0 => account = account.with_storage_change(alloy_eip7928::SlotChanges::new(U256::ZERO, storage)),
            1 => {
                account.balance_changes =
                    (0..rows).map(|i| alloy_eip7928::BalanceChange::new(index_of(i), value(i))).collect();
            }
            _ => {
                account.nonce_changes =
                    (0..rows).map(|i| alloy_eip7928::NonceChange::new(index_of(i), u64::MAX >> (i % 64))).collect();
            }
        }
        assert_eq!(verdict(&rlp(&[account]), &limits()).is_ok(), broken.is_none(), "{broken:?}");
    }
}

/// Bytes of memory allocated by the columns.
fn capacity_bytes(columns: &mut BalColumns) -> usize {
    let (id, word) = (size_of::<u32>(), size_of::<U256>());
    let accounts = columns.addresses.as_mut_vec().capacity() * (20 + 4 * id);
    let slots =
        columns.slot_keys.as_mut_vec().capacity() * word + columns.slot_accounts.as_mut_vec().capacity() * 2 * id;
    let BalColumns { storage, balances, nonces, codes, scratch, .. } = columns;
    let words = storage.values.capacity()
        + balances.values.capacity()
        + scratch.changed_keys.capacity()
        + scratch.read_keys.capacity();
    let rows = [&storage.indices, &balances.indices, &nonces.indices, &codes.indices].map(Vec::capacity);
    accounts
        + slots
        + words * word
        + (nonces.values.capacity() + codes.values.capacity()) * 8
        + (rows.iter().sum::<usize>() + scratch.row_ends.capacity() + scratch.merged_ends.capacity()) * id
}

#[test]
fn memory_is_bounded_by_the_input() {
    for bytes in [many_short_reads(1), many_short_reads(5_000), many_short_changes(100), many_short_changes(100_000)] {
        let mut columns = BalColumns::default();
        decode_into(&mut columns, &bytes, &Limits::format_only()).unwrap();
        let capacity = capacity_bytes(&mut columns);
        assert!(capacity < 128 * bytes.len() + (64 << 10), "{capacity} bytes for {}", bytes.len());
        // 60 Mgas allow 30,000 items; decoding stops before the columns contain more.
        let limits = Limits::amsterdam(200_000, 60_000_000);
        let mut columns = BalColumns::default();
        let _verdict = decode_into(&mut columns, &bytes, &limits);
        let capacity = capacity_bytes(&mut columns);
        assert!(capacity < 200 * 30_000 + 48 * bytes.len(), "{capacity} bytes for {}", bytes.len());
    }
}
