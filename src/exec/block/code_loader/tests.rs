//! Which codes are loaded together, how often the store is asked for each, and which task gets an error.

use super::*;
use crate::arena::keccak::keccak256;
use crate::arena::path::NodeQuery;
use crate::arena::store::{MemoryStore, ParentAccount, SlotQuery};
use crate::arena::{Column, SlotId};
use crate::bal::{RecordedKeys, Recorder};
use alloy_primitives::{Address, U256};

/// Number of listed accounts. Those with an even number have a slot.
const ACCOUNTS: u32 = 60;

fn code_of(account: u32) -> Bytes {
    let mut code = vec![0x5b; 1_000];
    code[..4].copy_from_slice(&account.to_be_bytes());
    code.into()
}

/// A store that returns [`code_of`] each account and records its calls.
#[derive(Default)]
struct Probe {
    /// A call for one of these hashes fails.
    failing: Vec<B256>,
    /// Hashes that the store does not have.
    lacking: Vec<B256>,
    /// Hashes for which the store returns other bytes.
    corrupt: Vec<B256>,
    calls: Mutex<Vec<Vec<B256>>>,
}

impl Probe {
    fn asked(&self) -> Vec<B256> {
        self.calls.lock().unwrap().concat()
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl StateStore for Probe {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        MemoryStore::default().accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        MemoryStore::default().slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(hashes.to_vec());
        if let Some(hash) = hashes.iter().find(|hash| self.failing.contains(hash)) {
            return Err(StoreError::Failed(hash.to_string()));
        }
        for (hash, out) in hashes.iter().zip(out) {
            let code = (0..ACCOUNTS).map(code_of).find(|code| keccak256(code) == *hash);
            *out = match code {
                Some(_) if self.corrupt.contains(hash) => Some(Bytes::from_static(&[0])),
                code => code.filter(|_| !self.lacking.contains(hash)),
            };
        }
        Ok(())
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        MemoryStore::default().block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        MemoryStore::default().trie_nodes(nodes, out)
    }
}

fn columns() -> BalColumns {
    let address = |number: u32| Address::left_padding_from(&(number + 1).to_be_bytes());
    let addresses: Column<AccountId, Address> = (0..ACCOUNTS).map(address).collect::<Vec<_>>().into();
    let owners: Vec<AccountId> = (0..ACCOUNTS).step_by(2).map(AccountId).collect();
    let slot_keys: Column<SlotId, U256> = vec![U256::from(7); owners.len()].into();
    let slot_accounts: Column<SlotId, AccountId> = owners.into();
    let mut recorder = Recorder::new();
    addresses.ids().for_each(|id| recorder.touch_account(id));
    slot_keys.ids().for_each(|id| recorder.touch_slot(id));
    recorder
        .finish(&RecordedKeys { addresses: &addresses, slot_keys: &slot_keys, slot_accounts: &slot_accounts })
        .columns
}

/// Runs `test` on a loader with all accounts registered, and the arena's id of each account's code.
fn with_loader(store: &Probe, test: impl FnOnce(&CodeLoader<'_>, &[CodeId])) {
    let bal = columns();
    let codes = CodeArena::default();
    let ids: Vec<CodeId> = (0..ACCOUNTS).map(|account| codes.intern(keccak256(code_of(account)))).collect();
    let loader = CodeLoader::new(store, &codes);
    let expectation = Expectation::new(&bal, &IdMap::default(), &Transactions::default());
    loader.note((0..ACCOUNTS).map(AccountId).zip(ids.iter().copied()), &expectation);
    test(&loader, &ids);
}

fn hash(account: u32) -> B256 {
    keccak256(code_of(account))
}

/// Whether an account's code is expected to be needed.
fn is_expected(account: u32) -> bool {
    account.is_multiple_of(2)
}

fn known(loader: &CodeLoader<'_>, ids: &[CodeId]) -> Vec<u32> {
    (0..ACCOUNTS).filter(|account| loader.codes().get(ids[*account as usize]).is_some()).collect()
}

#[test]
fn a_code_comes_with_others_of_its_class_and_each_is_asked_for_once() {
    for first in [10, 11] {
        let store = Probe::default();
        with_loader(&store, |loader, ids| {
            assert_eq!(store.calls(), 0, "registering accounts loads no code");
            loader.load(ids[first]).unwrap();
            let loaded = known(loader, ids);
            assert_eq!((store.calls(), loaded.len()), (1, BATCH));
            assert!(loaded.contains(&(first as u32)));
            assert!(loaded.iter().all(|account| is_expected(*account) == is_expected(first as u32)), "{loaded:?}");

            for id in ids {
                if loader.codes().get(*id).is_none() {
                    loader.load(*id).unwrap();
                }
            }
            let mut asked = store.asked();
            asked.sort_unstable();
            asked.dedup();
            assert_eq!((asked.len(), store.asked().len()), (ids.len(), ids.len()));
            assert_eq!(store.calls(), 4, "two calls for the 30 codes of each class");
        });
    }
}

#[test]
fn readers_load_expected_codes_only() {
    let store = Probe::default();
    with_loader(&store, |loader, ids| {
        while loader.load_expected() {}
        let expected: Vec<u32> = (0..ACCOUNTS).filter(|account| is_expected(*account)).collect();
        assert_eq!((known(loader, ids), store.calls()), (expected, 2));
    });
    let store = Probe::default();
    with_loader(&store, |loader, _| {
        loader.stop();
        assert!(!loader.load_expected());
        assert_eq!(store.calls(), 0);
    });
}

#[test]
fn the_task_that_needs_a_code_gets_its_error() {
    let all = |accounts: [u32; 2]| accounts.map(hash).to_vec();
    let failed = |account| Fault::Store(StoreError::Failed(hash(account).to_string()));
    let missing = |account| Fault::Store(StoreError::MissingCode(hash(account)));
    let (bad, good) = (44, [40, 42, 46]);
    for (store, expected) in [
        (Probe { failing: all([bad, 45]), ..Probe::default() }, Some(failed(bad))),
        (Probe { lacking: all([bad, 45]), ..Probe::default() }, Some(missing(bad))),
        (Probe { corrupt: all([bad, 45]), ..Probe::default() }, None),
    ] {
        with_loader(&store, |loader, ids| {
            while loader.load_expected() {}
            for account in good {
                // Another code of the same batch may have failed: the task calls the store again.
                loader.load(ids[account as usize]).unwrap();
            }
            for _ in 0..2 {
                let Err(fault) = loader.load(ids[bad as usize]) else { panic!("account {bad} has no code to run") };
                match &expected {
                    Some(expected) => assert_eq!(fault, *expected),
                    None => assert!(matches!(fault, Fault::Store(StoreError::Corrupt(_))), "{fault:?}"),
                }
            }
            assert!(loader.codes().get(ids[bad as usize]).is_none());
        });
    }
}

#[test]
fn bytes_loaded_ahead_are_bounded() {
    let store = Probe::default();
    with_loader(&store, |loader, ids| {
        loader.lock().ahead_bytes = AHEAD_BYTES_MAX;
        assert!(!loader.load_expected());
        loader.load(ids[8]).unwrap();
        assert_eq!(store.asked(), [hash(8)], "only the needed code is loaded");
    });
}

#[test]
fn a_code_of_an_unlisted_account_is_loaded_alone() {
    let store = Probe::default();
    let codes = CodeArena::default();
    let loader = CodeLoader::new(&store, &codes);
    let id = codes.intern(hash(3));
    loader.load(id).unwrap();
    assert_eq!(store.asked(), [hash(3)]);
    assert_eq!(codes.get(id).map(|code| code.bytes().to_vec()), Some(code_of(3).to_vec()));
}

#[test]
fn a_code_that_several_threads_load_is_counted_once() {
    let alone = Probe::default();
    let mut held = 0;
    with_loader(&alone, |loader, ids| {
        ids.iter().for_each(|id| loader.load(*id).unwrap());
        held = loader.codes().bytes_held();
    });
    for _ in 0..20 {
        let store = Probe::default();
        with_loader(&store, |loader, ids| {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for id in ids {
                            loader.load(*id).unwrap();
                            assert!(loader.codes().get(*id).is_some());
                        }
                    });
                }
                scope.spawn(|| while loader.load_expected() {});
            });
            assert_eq!(loader.codes().bytes_held(), held);
        });
    }
}
