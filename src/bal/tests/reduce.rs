//! Tests `reduce` against the nested list, and for any number of threads.

use super::model::{columns, index, list};
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::store::{KECCAK_EMPTY, MemoryStore, ParentAccount};
use crate::bal::{BalColumns, ExistenceLog, ListedChanges, code_hashes, reduce, sample};
use alloy_eip7928::{AccountChanges, BalanceChange, CodeChange, NonceChange, SlotChanges, StorageChange};
use alloy_primitives::{Address, B256, U256, keccak256};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Post-state of an account: the input of the state trie update.
#[derive(Debug, PartialEq)]
struct Naive {
    balance: Option<U256>,
    nonce: Option<u64>,
    code_hash: Option<B256>,
    slots: BTreeMap<U256, U256>,
}

fn naive(list: &[AccountChanges]) -> BTreeMap<Address, Naive> {
    let reduced = list.iter().filter(|account| account.has_changes()).map(|account| {
        let slots = account.storage_changes.iter().map(|slot| (slot.slot, slot.changes.last().unwrap().new_value));
        let naive = Naive {
            balance: account.balance_post_state(),
            nonce: account.nonce_post_state(),
            code_hash: account.code_post_state().map(keccak256),
            slots: slots.collect(),
        };
        (account.address, naive)
    });
    reduced.collect()
}

fn by_address(changes: &StateChanges) -> BTreeMap<Address, Naive> {
    let entries = changes.addresses.iter().enumerate().map(|(row, address)| {
        let naive = Naive {
            balance: changes.balances[row],
            nonce: changes.nonces[row],
            code_hash: changes.code_hashes[row],
            slots: changes.slots(row).collect(),
        };
        (*address, naive)
    });
    entries.collect()
}

/// The changes of a list over the empty state.
fn reduced(bal: &BalColumns) -> StateChanges {
    bal.state_changes(&MemoryStore::default()).expect("a store in memory")
}

proptest! {
    #[test]
    fn reduced_columns_equal_the_reduced_list(list in list()) {
        let changes = reduced(&columns(&list));
        prop_assert!(changes.addresses.is_sorted());
        prop_assert!((0..changes.len()).all(|row| changes.slots(row).is_sorted_by_key(|(key, _)| key)));
        prop_assert_eq!(by_address(&changes), naive(&list));
        let codes = list.iter().filter_map(|account| account.code_post_state());
        prop_assert_eq!(changes.codes, codes.map(|code| (keccak256(code), code.clone())).collect::<Vec<_>>());
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let sample = sample::list(3, 2_000_000);
    let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(&sample.bytes).unwrap();
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| reduced(&sample.columns))
    };
    let one = with_threads(1);
    assert_eq!(by_address(&one), naive(&list));
    for threads in [2, 3, 8] {
        assert_eq!(with_threads(threads), one, "{threads} threads");
    }
}

#[test]
fn accounts_left_without_nonce_balance_and_code_are_deleted() {
    let index = index(1);
    let account = |byte| AccountChanges::new(Address::with_last_byte(byte));
    let bal = columns(&[
        account(1).with_balance_change(BalanceChange::new(index, U256::ZERO)),
        account(2).with_balance_change(BalanceChange::new(index, U256::ZERO)),
        account(3).with_balance_change(BalanceChange::new(index, U256::from(5))),
        account(4).with_code_change(CodeChange::new(index, Default::default())),
    ]);
    let mut store = MemoryStore::default();
    for (byte, nonce, code_hash) in [(1, 0, KECCAK_EMPTY), (2, 3, KECCAK_EMPTY), (3, 0, B256::repeat_byte(7))] {
        store.insert_account(Address::with_last_byte(byte), nonce, U256::from(9), code_hash, []);
    }
    store.insert_account(Address::with_last_byte(4), 0, U256::from(9), B256::repeat_byte(7), []);
    let statuses = bal.state_changes(&store).expect("a store in memory").statuses;
    use AccountStatus::{Deleted, Kept};
    assert_eq!(statuses, [Deleted, Kept, Kept, Kept]);
}

#[test]
fn before_cancun_a_cleared_storage_and_the_existence_log_count() {
    let [index_1, index_2, index_3] = [1, 2, 3].map(index);
    let slot =
        |key: u64, at, value: u64| SlotChanges::new(U256::from(key), vec![StorageChange::new(at, U256::from(value))]);
    let account = |byte| AccountChanges::new(Address::with_last_byte(byte));
    // The storage of account 1 is cleared at index 2, between its two writes; the account is created again at index 3.
    let bal = columns(&[
        account(1)
            .with_storage_change(slot(1, index_1, 10))
            .with_storage_change(slot(2, index_3, 20))
            .with_nonce_change(NonceChange::new(index_3, 1))
            .with_code_change(CodeChange::new(index_2, Default::default())),
        account(2),
        account(3),
        account(4).with_balance_change(BalanceChange::new(index_1, U256::ZERO)),
    ]);
    let address = Address::with_last_byte;
    // Account 2 is created although it is empty, account 3 is removed without a change, account 4 stays although it
    // is empty.
    let log = ExistenceLog { existence: vec![(address(2), 1, true), (address(3), 2, false), (address(4), 1, true)] };
    let parent = |exists| ParentAccount { exists, nonce: 0, balance: U256::from(9), ..ParentAccount::default() };
    let listed = ListedChanges {
        bal: &bal,
        existence_log: &log.resolve(&bal, crate::arena::BlockAccessIndex(4)).expect("canonical"),
        parents: &vec![parent(true), parent(false), parent(true), parent(true)].into(),
        code_hashes: &code_hashes(&bal),
        clears_storage: true,
    };
    let changes = reduce(&listed);
    use AccountStatus::{Deleted, Kept, StorageCleared};
    // Accounts of the log alone follow those with a changed field or slot.
    assert_eq!(changes.addresses, [1, 4, 2, 3].map(address));
    assert_eq!(changes.statuses, [StorageCleared, Kept, Kept, Deleted]);
    assert_eq!(changes.slots(0).collect::<Vec<_>>(), [(U256::from(1), U256::ZERO), (U256::from(2), U256::from(20))]);
    assert!((1..4).all(|row| changes.slots(row).len() == 0));

    let since_cancun = reduce(&ListedChanges { clears_storage: false, ..listed });
    assert_eq!(since_cancun.statuses[0], Kept);
    assert_eq!(since_cancun.slots(0).next(), Some((U256::from(1), U256::from(10))));
}
