//! One invalid list per rule: the error contains the rule and its position.

use super::model::index;
use crate::bal::{BalError, BalField, BalRule, Limits, decode};
use alloy_eip7928::{AccountChanges, BalanceChange, CodeChange, NonceChange, SlotChanges, StorageChange};
use alloy_primitives::{Address, Bytes, U256, hex};

const LIMITS: Limits = Limits { tx_count: 2, item_count_max: Some(11), code_len_max: 24, ef_reserved: true };

fn word(value: u64) -> U256 {
    U256::from(value)
}

fn slot(key: u64, indices: &[u32]) -> SlotChanges {
    SlotChanges::new(word(key), indices.iter().map(|i| StorageChange::new(index(*i), word(9))).collect())
}

/// Two accounts with entries in every part.
fn list() -> Vec<AccountChanges> {
    let account = |byte| AccountChanges {
        address: Address::with_last_byte(byte),
        storage_changes: vec![slot(1, &[0, 1]), slot(5, &[2])],
        storage_reads: vec![word(3), word(4)],
        balance_changes: vec![BalanceChange::new(index(1), word(7)), BalanceChange::new(index(3), word(8))],
        nonce_changes: vec![NonceChange::new(index(1), 1), NonceChange::new(index(2), 2)],
        code_changes: vec![CodeChange::new(index(1), Bytes::from_static(&[0x60]))],
    };
    vec![account(1), account(2)]
}

/// Makes the second account invalid and returns the error, which must contain its address.
fn broken(change: impl FnOnce(&mut AccountChanges)) -> BalError {
    let mut list = list();
    change(&mut list[1]);
    let error = decode(&super::model::rlp(&list), &LIMITS).expect_err("the list is broken");
    assert_eq!(error.address, Some(list[1].address), "{error}");
    assert_eq!(error.eest_class(), "BlockException.INVALID_BLOCK_ACCESS_LIST");
    error
}

fn assert_at(error: &BalError, rule: BalRule, field: BalField, slot: Option<u64>, index: Option<u32>) {
    assert_eq!((error.rule, error.field), (rule, field), "{error}");
    assert_eq!(error.slot, slot.map(word), "{error}");
    assert_eq!(error.index.map(|index| index.0), index, "{error}");
}

#[test]
fn the_unbroken_list_is_valid() {
    assert!(decode(&super::model::rlp(&list()), &LIMITS).is_ok());
    assert_eq!(decode(&Bytes::from_static(&[0xc0]), &LIMITS).unwrap().item_count(), 0);
}

#[test]
fn order_of_accounts() {
    let error = broken(|account| account.address = Address::ZERO);
    assert_at(&error, BalRule::AccountOrder, BalField::Account, None, None);
    let error = broken(|account| account.address = Address::with_last_byte(1));
    assert_at(&error, BalRule::DuplicateAccount, BalField::Account, None, None);
}

#[test]
fn order_of_slots() {
    let error = broken(|account| account.storage_changes.swap(0, 1));
    assert_at(&error, BalRule::SlotOrder, BalField::StorageChanges, Some(1), None);
    let error = broken(|account| account.storage_changes[1] = slot(1, &[0]));
    assert_at(&error, BalRule::DuplicateSlot, BalField::StorageChanges, Some(1), None);
    let error = broken(|account| account.storage_changes[1] = slot(5, &[]));
    assert_at(&error, BalRule::EmptySlotChanges, BalField::StorageChanges, Some(5), None);
    let error = broken(|account| account.storage_reads.swap(0, 1));
    assert_at(&error, BalRule::SlotOrder, BalField::StorageReads, Some(3), None);
    let error = broken(|account| account.storage_reads = vec![word(3), word(3)]);
    assert_at(&error, BalRule::DuplicateSlot, BalField::StorageReads, Some(3), None);
    let error = broken(|account| account.storage_reads = vec![word(3), word(5), word(6)]);
    assert_at(&error, BalRule::SlotChangedAndRead, BalField::StorageReads, Some(5), None);
}

#[test]
fn order_and_bound_of_indices() {
    let error = broken(|account| account.storage_changes[0] = slot(1, &[1, 0]));
    assert_at(&error, BalRule::IndexOrder, BalField::StorageChanges, Some(1), Some(0));
    let error = broken(|account| account.balance_changes[1].block_access_index = index(1));
    assert_at(&error, BalRule::DuplicateIndex, BalField::BalanceChanges, None, Some(1));
    let error = broken(|account| account.nonce_changes[1].block_access_index = index(4));
    assert_at(&error, BalRule::IndexBeyondBlock { max: 3 }, BalField::NonceChanges, None, Some(4));
    let error = broken(|account| account.code_changes[0].block_access_index = index(u32::MAX));
    assert_at(&error, BalRule::IndexBeyondBlock { max: 3 }, BalField::CodeChanges, None, Some(u32::MAX));
    let wide = alloy_eip7928::BlockAccessIndex::new(1 << 32);
    let error = broken(|account| account.code_changes[0].block_access_index = wide);
    assert_at(&error, BalRule::IntegerTooWide { bits: 32 }, BalField::CodeChanges, None, None);
}

#[test]
fn codes() {
    let with_code = |code: &[u8]| {
        let code = Bytes::copy_from_slice(code);
        move |account: &mut AccountChanges| account.code_changes[0].new_code = code
    };
    let error = broken(with_code(&[0; 25]));
    assert_at(&error, BalRule::CodeTooLong { max: 24 }, BalField::CodeChanges, None, Some(1));
    for reserved in [&[0xef][..], &[0xef, 1, 0], &[0xef; 23]] {
        let error = broken(with_code(reserved));
        assert_at(&error, BalRule::ReservedCode, BalField::CodeChanges, None, Some(1));
    }
    let mut delegation = [7; 23];
    delegation[..3].copy_from_slice(&[0xef, 1, 0]);
    for legal in [&[][..], &[0; 24], &delegation] {
        let mut list = list();
        with_code(legal)(&mut list[1]);
        assert!(decode(&super::model::rlp(&list), &LIMITS).is_ok());
    }
}

#[test]
fn item_limit() {
    // Two accounts with four slots each are ten items.
    let bytes = super::model::rlp(&list());
    let error = decode(&bytes, &Limits { item_count_max: Some(9), ..LIMITS }).unwrap_err();
    assert_at(&error, BalRule::ItemLimit { max: 9 }, BalField::StorageReads, None, None);
    assert_eq!(error.eest_class(), "BlockException.BLOCK_ACCESS_LIST_GAS_LIMIT_EXCEEDED");
    assert_eq!(Limits::amsterdam(2, 49_999).item_count_max, Some(24));
}

/// The RLP of an account's entry with the given parts.
fn entry(parts: &str) -> Vec<u8> {
    let body = [hex!("94").to_vec(), vec![0x11; 20], hex::decode(parts).unwrap()].concat();
    let wrap = |body: Vec<u8>| {
        let len = body.len() as u8;
        [if len < 56 { vec![0xc0 + len] } else { vec![0xf8, len] }, body].concat()
    };
    wrap(wrap(body))
}

#[test]
fn encoding() {
    use BalRule::*;
    let cases: &[(Vec<u8>, BalRule, usize)] = &[
        (vec![], InputLength, 0),
        (hex!("80").to_vec(), ExpectedList, 0),
        (hex!("c080").to_vec(), TrailingBytes, 1),
        (hex!("c1").to_vec(), Truncated, 0),
        (hex!("f837").to_vec(), NonCanonicalLength, 0),
        (hex!("f80100").to_vec(), NonCanonicalLength, 0),
        (hex!("f90038").to_vec(), NonCanonicalLength, 0),
        (hex!("ffffffffffffffffff").to_vec(), Truncated, 0),
        (hex!("c180").to_vec(), ExpectedList, 1),
        (hex!("c1c0").to_vec(), Truncated, 2),
        (hex!("c3c281ff").to_vec(), AddressLength, 2),
        (hex!("c2c1c0").to_vec(), ExpectedString, 2),
        (entry("c0c0c0c0"), Truncated, 27),
        (entry("c0c0c0c0c0c0"), FieldCount { expected: 6 }, 28),
        (entry("c08080c0c0"), ExpectedList, 24),
        // storage_reads: zero as a byte, one with a length, a leading zero, 33 bytes, a list.
        (entry("c0c100c0c0c0"), LeadingZero, 25),
        (entry("c0c28101c0c0c0"), NonCanonicalByte, 25),
        (entry("c0c3820001c0c0c0"), LeadingZero, 25),
        (entry(&format!("c0e2a1{}c0c0c0", "11".repeat(33))), IntegerTooWide { bits: 256 }, 27),
        (entry("c0c1c0c0c0c0"), ExpectedString, 25),
        (entry("c0c282ffc0c0c0"), Truncated, 25),
        // storage_changes: a slot without its list, a change with three items or one, a third item of the slot.
        (entry("c2c101c0c0c0c0"), Truncated, 26),
        (entry("c7c601c4c3010203c0c0c0c0"), FieldCount { expected: 2 }, 30),
        (entry("c5c401c2c101c0c0c0c0"), Truncated, 29),
        (entry("c7c601c3c2010203c0c0c0c0"), FieldCount { expected: 2 }, 30),
        // nonces: nine bytes.
        (entry("c0c0c0cccb0189010203040506070809c0"), IntegerTooWide { bits: 64 }, 29),
        // indices: zero as a byte, with a length, with a leading zero, five bytes.
        (entry("c0c0c3c20001c0c0"), LeadingZero, 27),
        (entry("c0c0c4c3810101c0c0"), NonCanonicalByte, 27),
        (entry("c0c0c5c482000101c0c0"), LeadingZero, 27),
        (entry("c0c0c8c785010203040501c0c0"), IntegerTooWide { bits: 32 }, 27),
        // codes: a short code in long form.
        (entry("c0c0c0c0c5c401b80160"), NonCanonicalLength, 30),
    ];
    for (bytes, rule, offset) in cases {
        let error = decode(&bytes.clone().into(), &LIMITS).expect_err(&hex::encode(bytes));
        assert_eq!((error.rule, error.offset), (*rule, *offset), "{error} in {}", hex::encode(bytes));
    }
}

#[test]
fn errors_are_formatted() {
    let error = broken(|account| account.storage_changes[0] = slot(1, &[1, 0]));
    assert_eq!(
        error.to_string(),
        format!(
            "block access list, byte {}, account {}, storage_changes, slot 0x1, index 0: indices must ascend",
            error.offset,
            Address::with_last_byte(2)
        )
    );
}
