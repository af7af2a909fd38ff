//! Tests `reduce` against the nested list, and for any number of threads.

use super::model::{columns, list};
use crate::bal::{Reduced, code_hashes, reduce, reduce_into, sample};
use alloy_eip7928::AccountChanges;
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

fn by_address(bal: &crate::bal::BalColumns, reduced: &Reduced) -> BTreeMap<Address, Naive> {
    let entries = reduced.accounts.iter().enumerate().map(|(position, account)| {
        assert!(bal.is_changed(*account));
        let slots = reduced.slot_range(position).map(|at| {
            assert_eq!(bal.slot_accounts()[reduced.slots[at]], *account);
            (bal.slot_keys()[reduced.slots[at]], reduced.slot_values[at])
        });
        let naive = Naive {
            balance: reduced.balances[position],
            nonce: reduced.nonces[position],
            code_hash: reduced.code_hash(position),
            slots: slots.collect(),
        };
        (bal.addresses()[*account], naive)
    });
    entries.collect()
}

proptest! {
    #[test]
    fn reduced_columns_equal_the_reduced_list(list in list()) {
        let bal = columns(&list);
        let reduced = reduce(&bal);
        prop_assert!(reduced.accounts.is_sorted() && reduced.slots.is_sorted());
        prop_assert_eq!(by_address(&bal, &reduced), naive(&list));
    }
}

proptest! {
    #[test]
    fn reused_columns_keep_nothing_of_the_first_list(first in list(), second in list()) {
        let (first, second) = (columns(&first), columns(&second));
        let mut reduced = reduce(&first);
        reduce_into(&mut reduced, &second, code_hashes(&second));
        prop_assert_eq!(reduced, reduce(&second));
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let sample = sample::list(3, 2_000_000);
    let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(&sample.bytes).unwrap();
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| reduce(&sample.columns))
    };
    let one = with_threads(1);
    assert_eq!(by_address(&sample.columns, &one), naive(&list));
    for threads in [2, 3, 8] {
        assert_eq!(with_threads(threads), one, "{threads} threads");
    }
}
