//! Tests the recorder with the rows of known lists, passed in another order and with other ids.

use super::model::{self, columns, list, rlp};
use crate::arena::{AccountId, BlockAccessIndex, Column, Id, SlotId};
use crate::bal::{AccessSet, BalColumns, RecordedKeys, Recorder};
use alloy_primitives::{Address, U256};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Accounts and slots of a list under permuted ids, with further accounts and slots that are never
/// accessed.
struct Shuffled {
    addresses: Column<AccountId, Address>,
    slot_keys: Column<SlotId, U256>,
    slot_accounts: Column<SlotId, AccountId>,
    /// New id of each of the list's accounts and slots.
    accounts: Vec<AccountId>,
    slots: Vec<SlotId>,
}

/// A permutation of `0..count`, determined by `seed`.
fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|i| alloy_primitives::keccak256([seed.to_le_bytes(), i.to_le_bytes()].concat()));
    order
}

impl Shuffled {
    fn new(bal: &BalColumns, seed: u64) -> Self {
        let mut shuffled = Self {
            addresses: vec![Address::repeat_byte(0xaa)].into(),
            slot_keys: vec![U256::MAX].into(),
            slot_accounts: vec![AccountId(0)].into(),
            accounts: vec![AccountId(0); bal.account_count()],
            slots: vec![SlotId(0); bal.slot_count()],
        };
        for account in permutation(bal.account_count(), seed) {
            shuffled.accounts[account] = shuffled.addresses.push(bal.addresses()[AccountId::new(account)]);
        }
        for slot in permutation(bal.slot_count(), seed) {
            shuffled.slots[slot] = shuffled.slot_keys.push(bal.slot_keys()[SlotId::new(slot)]);
            shuffled.slot_accounts.push(shuffled.accounts[bal.slot_accounts()[SlotId::new(slot)].index()]);
        }
        shuffled
    }

    fn recorded(&self) -> RecordedKeys<'_> {
        RecordedKeys { addresses: &self.addresses, slot_keys: &self.slot_keys, slot_accounts: &self.slot_accounts }
    }

    /// Records the rows of the indices for which `worker` is true, in index order.
    fn record(&self, bal: &BalColumns, recorder: &mut Recorder, worker: impl Fn(u32) -> bool) {
        for index in (0..model::TX_COUNT as u32 + 2).filter(|index| worker(*index)).map(BlockAccessIndex) {
            for (account, id) in bal.addresses().ids().zip(&self.accounts) {
                recorder.touch_account(*id);
                if let Some(balance) = bal.balance_at(account, index) {
                    recorder.balance(*id, index, !balance);
                    recorder.balance(*id, index, balance);
                }
                if let Some(nonce) = bal.nonce_at(account, index) {
                    recorder.nonce(*id, index, nonce);
                }
                if let Some(code) = bal.code_at(account, index) {
                    recorder.code(*id, index, code);
                }
            }
            for (slot, id) in bal.slot_keys().ids().zip(&self.slots) {
                recorder.touch_slot(*id);
                if let Some(value) = bal.slot_at(slot, index) {
                    recorder.slot(*id, index, value);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_recorder_builds_the_list(list in list(), seed: u64) {
        let bal = columns(&list);
        let shuffled = Shuffled::new(&bal, seed);
        let mut recorder = Recorder::new();
        shuffled.record(&bal, &mut recorder, |_| true);
        let recorded = recorder.finish(&shuffled.recorded());
        prop_assert_eq!(&recorded.bytes, &rlp(&list));
        prop_assert_eq!(&recorded.columns, &bal);
        recorder.clear();
        prop_assert_eq!(recorder.finish(&shuffled.recorded()).bytes.to_vec(), vec![0xc0]);
    }

    #[test]
    fn merged_recorders_build_the_list(list in list(), seed: u64, owners in vec(0..3u8, model::TX_COUNT + 2)) {
        let bal = columns(&list);
        let shuffled = Shuffled::new(&bal, seed);
        let mut whole = Recorder::new();
        for worker in [2, 0, 1] {
            let mut recorder = Recorder::new();
            shuffled.record(&bal, &mut recorder, |index| owners[index as usize] == worker);
            whole.merge(&recorder);
        }
        prop_assert_eq!(whole.finish(&shuffled.recorded()).bytes, rlp(&list));
    }

    #[test]
    fn access_sets_are_sets(a in vec(0..500u32, 0..50), b in vec(0..700u32, 0..50)) {
        let set = |ids: &[u32]| {
            let mut set = AccessSet::<SlotId>::with_room_for(100);
            let mut naive = BTreeSet::new();
            for id in ids {
                assert_eq!(set.insert(SlotId(*id)), naive.insert(SlotId(*id)));
            }
            (set, naive)
        };
        let ((mut set, mut naive), (other, other_naive)) = (set(&a), set(&b));
        set.union_with(&other);
        naive.extend(other_naive);
        prop_assert_eq!(set.count(), naive.len());
        prop_assert!(set.iter().eq(naive.iter().copied()));
        let missing = (0..600).map(SlotId).find(|id| !naive.contains(id));
        prop_assert_eq!(set.first_missing(600), missing);
        prop_assert!((0..800).map(SlotId).all(|id| set.contains(id) == naive.contains(&id)));
    }
}

#[test]
fn a_touched_slot_lists_its_account() {
    let addresses = vec![Address::with_last_byte(9), Address::with_last_byte(3)].into();
    let slot_keys = vec![U256::from(5)].into();
    let slot_accounts = vec![AccountId(1)].into();
    let recorded = RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts };
    let mut recorder = Recorder::new();
    recorder.touch_slot(SlotId(0));
    let columns = recorder.finish(&recorded).columns;
    assert_eq!(columns.addresses().as_slice(), &[Address::with_last_byte(3)]);
    assert_eq!((columns.slot_count(), columns.read_count()), (1, 1));
}
