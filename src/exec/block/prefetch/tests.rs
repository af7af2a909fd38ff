//! Reading order, waiting, errors and cancellation, on a store that records its calls.

use super::*;
use crate::arena::code::CodeArena;
use crate::arena::path::NodeQuery;
use crate::arena::store::{CALL_ROWS, MemoryStore, StateStore};
use crate::bal::{RecordedKeys, Recorder};
use alloy_primitives::{Address, B256, Bytes};
use core::time::Duration;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of listed accounts. Each has a slot 7, and every third one a balance change at an index of its own.
const ACCOUNTS: usize = 3 * CALL_ROWS + 5;

fn address(number: usize) -> Address {
    Address::left_padding_from(&(number as u32 + 1).to_be_bytes())
}

fn columns() -> BalColumns {
    let addresses: Column<AccountId, Address> = (0..ACCOUNTS).map(address).collect::<Vec<_>>().into();
    let slot_keys: Column<SlotId, U256> = vec![U256::from(7); ACCOUNTS].into();
    let slot_accounts: Column<SlotId, AccountId> = addresses.ids().collect::<Vec<_>>().into();
    let mut recorder = Recorder::new();
    for id in addresses.ids() {
        recorder.touch_account(id);
        recorder.touch_slot(SlotId(id.0));
        if id.0.is_multiple_of(3) {
            // Accounts later in the list change earlier in the block.
            recorder.balance(id, BlockAccessIndex(1 + (ACCOUNTS as u32 - id.0)), U256::from(5));
        }
    }
    recorder
        .finish(&RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts })
        .columns
}

fn id_map(bal: &BalColumns) -> IdMap {
    let mut id_map = IdMap::default();
    id_map.fill(bal.addresses().as_slice(), bal.slot_keys().as_slice(), bal.slot_accounts().as_slice());
    id_map
}

/// One legacy transaction to `to`. Its signature is invalid, which does not matter here.
fn transaction_to(to: Address) -> Transactions {
    let mut rlp = vec![0xdd, 0x80, 0x80, 0x80, 0x94];
    rlp.extend_from_slice(to.as_slice());
    rlp.extend_from_slice(&[0x80, 0x80, 0x1b, 0x01, 0x01]);
    Transactions::decode_one(rlp.into()).unwrap()
}

/// A store whose values are the number in the address. Calls for some addresses fail, and all calls block while
/// `closed` is set.
#[derive(Default)]
struct Probe {
    bad: Vec<Address>,
    bad_slots: Vec<Address>,
    closed: AtomicBool,
    /// Set when the first call begins.
    is_called: AtomicBool,
    calls: Mutex<Vec<usize>>,
}

impl Probe {
    fn answer(&self, names: &[Address], bad: &[Address]) -> Result<(), StoreError> {
        self.is_called.store(true, Ordering::Release);
        while self.closed.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.calls.lock().unwrap().push(names.len());
        match names.iter().find(|name| bad.contains(name)) {
            Some(name) => Err(StoreError::Failed(name.to_string())),
            None => Ok(()),
        }
    }
}

fn number_of(address: &Address) -> u64 {
    u64::from_be_bytes(address[12..].try_into().unwrap())
}

impl StateStore for Probe {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.answer(addresses, &self.bad)?;
        for (address, out) in addresses.iter().zip(out) {
            *out = ParentAccount { exists: true, nonce: number_of(address), ..ParentAccount::default() };
        }
        Ok(())
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        let owners: Vec<Address> = slots.iter().map(|slot| slot.address).collect();
        assert!(owners.is_sorted(), "the slots of one account are adjacent");
        self.answer(&owners, &self.bad_slots)?;
        for (owner, out) in owners.iter().zip(out) {
            *out = U256::from(1_000 + number_of(owner));
        }
        Ok(())
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        MemoryStore::default().codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        MemoryStore::default().block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        MemoryStore::default().trie_nodes(nodes, out)
    }
}

fn read_all(prefetch: &Prefetch<'_>) {
    while prefetch.read_next() != Progress::Done {}
}

#[test]
fn rows_needed_early_are_read_first_and_rows_without_a_known_index_last() {
    let bal = columns();
    let (accounts, slots) = first_needs(&bal, &id_map(&bal), &transaction_to(address(1)));
    let last = (ACCOUNTS - 1) / 3 * 3;
    assert_eq!(accounts[AccountId::new(last)], 1 + (ACCOUNTS - last) as u32);
    assert_eq!(accounts[AccountId(1)], 1, "the first transaction is sent to it");
    assert_eq!((accounts[AccountId(2)], slots[SlotId(2)]), (u32::MAX, u32::MAX));
    assert_eq!(slots[SlotId(1)], 1, "a slot that is only read has the index of its account");
    let rows: Rows<AccountId, PrefetchedAccount> = Rows::new(&accounts, 4);
    assert_eq!(rows.batches.len(), ACCOUNTS.div_ceil(4));
    let mut first = rows.ids(0).to_vec();
    assert!(first.is_sorted());
    first.retain(|id| id.0 != 1);
    assert_eq!(first, [last - 6, last - 3, last].map(AccountId::new));
    assert!(rows.order.iter().rev().take(10).all(|id| accounts[*id] == u32::MAX));
    for id in accounts.ids() {
        let (batch, place) = rows.find(id);
        assert_eq!(rows.ids(batch)[place], id);
    }
}

#[test]
fn every_row_is_read_once_for_any_number_of_readers() {
    let bal = columns();
    let id_map = id_map(&bal);
    let codes = CodeArena::default();
    for readers in [1, 2, 8] {
        let store = Probe::default();
        let loader = CodeLoader::new(&store, &codes);
        let prefetch = Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, false);
        let last_accounts = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    loop {
                        match prefetch.read_next() {
                            Progress::Done => break,
                            Progress::AllAccounts => *last_accounts.lock().unwrap() += 1,
                            Progress::Some => {}
                        }
                    }
                });
            }
            // Tasks that start immediately wait for the rows that they need.
            for id in bal.addresses().ids() {
                assert_eq!(prefetch.account(id).unwrap().0.nonce, u64::from(id.0) + 1);
                assert_eq!(prefetch.slot(SlotId(id.0)).unwrap(), U256::from(1_001 + id.0));
            }
        });
        assert_eq!(*last_accounts.lock().unwrap(), 1);
        let calls = store.calls.lock().unwrap();
        assert_eq!((calls.len(), calls.iter().sum::<usize>()), (prefetch.batch_count(), 2 * ACCOUNTS));
        assert_eq!(prefetch.first_error(), None);
        assert_eq!(prefetch.parents().unwrap().len(), ACCOUNTS);
    }
}

#[test]
fn a_batch_that_a_task_waits_for_is_read_next() {
    let bal = columns();
    let id_map = id_map(&bal);
    let codes = CodeArena::default();
    let store = Probe::default();
    let loader = CodeLoader::new(&store, &codes);
    let prefetch = &Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, false);
    let last = *prefetch.slots.order.last().unwrap();
    std::thread::scope(|scope| {
        let task = scope.spawn(move || prefetch.slot(last));
        while !prefetch.queue.is_wanted() {
            std::thread::yield_now();
        }
        assert_eq!(prefetch.read_next(), Progress::Some);
        assert_eq!(task.join().unwrap(), Ok(U256::from(1_001 + last.0)));
    });
    assert_eq!(store.calls.lock().unwrap().len(), 1);
    read_all(prefetch);
    assert_eq!(store.calls.lock().unwrap().len(), prefetch.batch_count(), "nothing is read twice");
}

#[test]
fn of_several_errors_the_first_in_reading_order_is_reported() {
    let bal = columns();
    let id_map = id_map(&bal);
    let codes = CodeArena::default();
    let failed = |id: AccountId| StoreError::Failed(bal.addresses()[id].to_string());
    let store = Probe::default();
    let loader = CodeLoader::new(&store, &codes);
    let order = Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, false).accounts.order;
    let (early, late) = (order[CALL_ROWS + 3], order[2 * CALL_ROWS + 3]);
    for (bad, bad_slots, expected) in [
        (vec![late, early], vec![order[0]], early),
        (vec![late], vec![early], late),
        (vec![], vec![late, order[2]], order[2]),
    ] {
        let name = |id: &AccountId| bal.addresses()[*id];
        for readers in [1, 2, 8] {
            for _ in 0..20 {
                let store = Probe {
                    bad: bad.iter().map(name).collect(),
                    bad_slots: bad_slots.iter().map(name).collect(),
                    ..Probe::default()
                };
                let loader = CodeLoader::new(&store, &codes);
                let prefetch = Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, false);
                std::thread::scope(|scope| {
                    (0..readers).for_each(|_| drop(scope.spawn(|| read_all(&prefetch))));
                    // A waiting task gets the value, the store's error, or the cancellation.
                    for id in bal.addresses().ids() {
                        match prefetch.slot(SlotId(id.0)) {
                            Ok(value) => assert_eq!(value, U256::from(1_001 + id.0)),
                            Err(fault) => assert!(matches!(fault, Fault::Store(_) | Fault::Cancelled)),
                        }
                    }
                });
                assert_eq!(prefetch.first_error(), Some(&failed(expected)), "{readers} readers");
            }
        }
    }
}

#[test]
fn waiting_tasks_are_cancelled_when_reading_stops() {
    let bal = columns();
    let id_map = id_map(&bal);
    let codes = CodeArena::default();
    let store = Probe { closed: AtomicBool::new(true), ..Probe::default() };
    let loader = CodeLoader::new(&store, &codes);
    let prefetch = &Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(prefetch));
        // Otherwise the reader may begin with the batch that the task waits for, and none is wanted.
        while !store.is_called.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let last = prefetch.slots.order[ACCOUNTS - 1];
        let task = scope.spawn(move || prefetch.slot(last));
        while !prefetch.queue.is_wanted() {
            std::thread::yield_now();
        }
        prefetch.stop();
        assert_eq!(task.join().unwrap(), Err(Fault::Cancelled));
        store.closed.store(false, Ordering::Release);
        reader.join().unwrap();
    });
    assert_eq!(store.calls.lock().unwrap().len(), 1, "the running call ended and no other one was made");
}

#[test]
fn on_demand_each_row_is_read_by_the_task_that_needs_it_and_kept() {
    let bal = columns();
    let id_map = id_map(&bal);
    let codes = CodeArena::default();
    let store = Probe { bad: vec![address(9)], ..Probe::default() };
    let loader = CodeLoader::new(&store, &codes);
    let prefetch = Prefetch::new(&bal, &id_map, &Transactions::default(), &loader, true);
    for _ in 0..3 {
        assert_eq!(prefetch.account(AccountId(4)).unwrap().0.nonce, 5);
        assert_eq!(prefetch.slot(SlotId(9)).unwrap(), U256::from(1_010));
    }
    assert_eq!(*store.calls.lock().unwrap(), [1, 1]);
    for _ in 0..2 {
        assert!(matches!(prefetch.account(AccountId(9)), Err(Fault::Store(_))), "the task gets the error");
    }
    assert_eq!(prefetch.first_error(), None);
}
