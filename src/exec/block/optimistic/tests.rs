//! Unit tests of overlay and preload. Readers, cache and whole blocks: `tests/optimistic`.

use super::cache::{ReadCounts, SharedCache};
use super::overlay::{AccountVersions, AccountWrite, BalanceWrite, SlotVersions, Version};
use super::preload::Preload;
use super::reader::Reader;
use crate::arena::BlockAccessIndex;
use crate::arena::code::CodeArena;
use crate::arena::store::{KECCAK_EMPTY, LatencyStore, MemoryStore, ParentAccount, SlotQuery, StateStore};
use crate::bal::{ExistenceLog, ListedParents, RecordedKeys, Recorder};
use crate::exec::block::tasks::Recording;
use crate::exec::block::verify::ListChecked;
use crate::exec::evm::state::AccountState;
use alloy_primitives::{Address, Bytes, U256};
use core::time::Duration;

const fn at(index: u32) -> BlockAccessIndex {
    BlockAccessIndex(index)
}

fn rich(balance: u64) -> AccountState {
    AccountState { exists: true, balance: U256::from(balance), ..AccountState::default() }
}

/// 39 accounts; some have code or storage.
fn state() -> MemoryStore {
    let mut store = MemoryStore::default();
    for byte in 1..40u8 {
        let code = if byte % 3 == 0 { store.insert_code(Bytes::from(vec![byte])) } else { KECCAK_EMPTY };
        let slots = (0..u64::from(byte % 5)).map(|slot| (U256::from(slot), U256::from(slot + 1)));
        store.insert_account(Address::repeat_byte(byte), u64::from(byte), U256::from(1_000 + byte as u64), code, slots);
    }
    store
}

#[test]
fn a_read_returns_the_last_write_below_its_index_per_field() {
    let versions = AccountVersions::default();
    let parent = rich(100);
    assert_eq!(versions.read(at(9), &parent), (parent, Version::Parent));
    let nonce = AccountWrite { nonce: Some(7), ..AccountWrite::default() };
    let add = |amount: u64| AccountWrite { balance: BalanceWrite::Add(U256::from(amount)), ..AccountWrite::default() };
    let set = AccountWrite { balance: BalanceWrite::Set(U256::from(5)), ..AccountWrite::default() };
    versions.write_ahead(at(6), 0, set);
    versions.write_ahead(at(2), 0, add(10));
    versions.write_ahead(at(4), 1, nonce);
    versions.write_ahead(at(8), 0, add(1));
    let read = |index| {
        let (account, version) = versions.read(at(index), &parent);
        (account.nonce, account.balance.to::<u64>(), version)
    };
    let written = |index, incarnation| Version::Written { index: at(index), incarnation };
    assert_eq!(read(2), (0, 100, Version::Parent));
    assert_eq!(read(3), (0, 110, written(2, 0)));
    assert_eq!(read(6), (7, 110, written(4, 1)));
    assert_eq!(read(7), (7, 5, written(6, 0)));
    assert_eq!(read(9), (7, 6, written(8, 0)));
    versions.withdraw(at(6));
    assert_eq!(read(9), (7, 111, written(8, 0)));
    let (before, after) = versions.commit(at(2), 0, &add(10), &parent);
    assert_eq!((before, after.balance), (parent, U256::from(110)));
    assert_eq!(read(9), (7, 111, written(8, 0)));
}

#[test]
fn clearing_storage_zeroes_older_slot_values_only() {
    let slot = SlotVersions::default();
    assert_eq!(slot.read(at(5), None), None);
    assert_eq!(slot.read(at(5), Some(at(3))).map(|(value, _)| value), Some(U256::ZERO));
    slot.commit(at(2), 0, U256::from(22));
    slot.write_ahead(at(4), 0, U256::from(44));
    assert_eq!(slot.read(at(4), None).map(|(value, _)| value), Some(U256::from(22)));
    assert_eq!(slot.read(at(4), Some(at(3))).map(|(value, _)| value), Some(U256::ZERO));
    assert_eq!(slot.read(at(5), Some(at(3))).map(|(value, _)| value), Some(U256::from(44)));
    let account = AccountVersions::default();
    account.write_ahead(
        at(3),
        0,
        AccountWrite { storage_cleared: true, exists: Some(false), ..AccountWrite::default() },
    );
    assert_eq!((account.last_clearing(at(3)), account.last_clearing(at(4))), (None, Some(at(3))));
    account.withdraw(at(3));
    assert_eq!(account.last_clearing(at(4)), None);
}

#[test]
fn the_preload_holds_parent_values_of_changed_accounts_and_slots_only() {
    let store = LatencyStore::new(state(), Duration::ZERO, Duration::ZERO);
    let codes = CodeArena::default();
    let cache = SharedCache::default();
    let reader = Reader { store: &store, codes: &codes, worker: 0 };
    let mut counts = ReadCounts::default();
    let [written, read_only, made] = [3, 4, 0x77].map(Address::repeat_byte);
    let ids = [written, read_only, made].map(|address| cache.account_id(&address));
    let slots = [U256::from(0), U256::from(1)].map(|key| cache.slot_id(ids[0], &key));
    let new_slot = cache.slot_id(ids[2], &U256::from(5));
    for id in ids {
        cache.read_account(id, at(1), &reader, &mut counts).unwrap();
    }
    for id in slots {
        cache.read_slot(id, at(1), &reader, &mut counts).unwrap();
    }
    // Speculative writes must not appear among the parent values.
    cache.slot(slots[0]).versions.write_ahead(at(1), 0, U256::from(99));
    cache.slot(new_slot).versions.write_ahead(at(1), 0, U256::from(98));
    let made_write = AccountWrite { nonce: Some(1), exists: Some(true), ..AccountWrite::default() };
    cache.account(ids[2]).versions.write_ahead(at(1), 0, made_write);

    let mut recorder = Recorder::new();
    ids.iter().for_each(|id| recorder.touch_account(*id));
    slots.iter().for_each(|id| recorder.touch_slot(*id));
    recorder.slot(slots[0], at(1), U256::from(7));
    recorder.nonce(ids[2], at(1), 1);
    recorder.slot(new_slot, at(1), U256::from(8));
    let (addresses, slot_keys, slot_accounts) = cache.recorded_keys();
    let keys = RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts };
    let recording = Recording {
        list: recorder.finish(&keys),
        existence_log: ExistenceLog::default(),
        parents: ListedParents::default(),
        store_reads: (0, 0),
        checked: ListChecked::recorded(),
    };
    let asked = store.counts();
    let preload = Preload::new(&cache, &codes, &store, &recording);
    assert_eq!(preload.len(), (2, 1), "two accounts and one slot are changed and have parent values");
    let mut accounts = [ParentAccount::default(); 2];
    preload.accounts(&[written, made], &mut accounts).unwrap();
    assert_eq!((accounts[0].nonce, accounts[1].exists), (3, false));
    let mut values = [U256::MAX];
    preload.slots(&[SlotQuery { address: written, key: U256::from(0) }], &mut values).unwrap();
    assert_eq!(values[0], U256::from(1), "the parent value, not the speculative one");
    assert_eq!((preload.store_reads(), store.counts()), (0, asked));
    // Accounts that were only read are not held, and neither is a new account's slot, which no task read.
    preload.accounts(&[read_only], &mut accounts[..1]).unwrap();
    preload.slots(&[SlotQuery { address: made, key: U256::from(5) }], &mut values).unwrap();
    assert_eq!((preload.store_reads(), values[0]), (2, U256::ZERO));
}
