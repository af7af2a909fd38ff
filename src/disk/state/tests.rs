use super::DiskState;
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::keccak256;
use crate::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::disk::files::simulated::Random;
use crate::disk::pages::tests::units_of;
use crate::disk::pages::{Checkpoint, EachPart, Head, MemoryPages, PageId, PageStore};
use crate::trie::StateTries;
use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: usize = 4096;

fn address(i: usize) -> Address {
    Address::from_slice(&keccak256(i.to_be_bytes())[..20])
}

/// Nonce, balance and slots of an account.
type Account = (u64, U256, BTreeMap<U256, U256>);

/// Random changes of a model of the state; slots are drawn from few keys, so that they are also removed.
fn random_changes(model: &mut BTreeMap<Address, Account>, accounts: usize, random: &mut Random) -> StateChanges {
    let mut changes = StateChanges::default();
    let mut seen = HashSet::new();
    for _ in 0..=random.below(60) {
        let address = address(random.below(accounts));
        if !seen.insert(address) {
            continue;
        }
        let kind = random.below(10);
        let exists = model.contains_key(&address);
        if kind == 0 && exists {
            changes.push_account(address, AccountStatus::Deleted, None, None, None);
            model.remove(&address);
            continue;
        }
        let account = model.entry(address).or_default();
        let status = if kind == 1 && exists { AccountStatus::StorageCleared } else { AccountStatus::Kept };
        if status == AccountStatus::StorageCleared {
            account.2.clear();
        }
        let nonce = (random.below(2) == 0).then(|| random.number() >> random.below(64));
        let balance = (random.below(2) == 0).then(|| U256::from(random.number()) << random.below(190));
        (account.0, account.1) = (nonce.unwrap_or(account.0), balance.unwrap_or(account.1));
        changes.push_account(address, status, nonce, balance, None);
        let mut keys = HashSet::new();
        if random.below(4) == 0 {
            let held: Vec<U256> = account.2.keys().copied().collect();
            for key in held.into_iter().filter(|_| random.below(10) > 0) {
                keys.insert(key);
                account.2.remove(&key);
                changes.push_slot(key, U256::ZERO);
            }
        }
        let slots = [0, 0, 3, 30, 200][random.below(5)];
        for _ in 0..random.below(slots + 1) {
            let key = U256::from(random.below(400));
            if !keys.insert(key) {
                continue;
            }
            let value = U256::from(random.number()) << random.below(192);
            let value = if random.below(3) == 0 { U256::ZERO } else { value };
            if value.is_zero() {
                account.2.remove(&key)
            } else {
                account.2.insert(key, value)
            };
            changes.push_slot(key, value);
        }
    }
    changes
}

fn check_reads(disk: &DiskState, model: &BTreeMap<Address, Account>, accounts: usize, random: &mut Random) {
    let addresses: Vec<Address> = (0..30).map(|_| address(random.below(accounts + 5))).collect();
    let mut out = vec![ParentAccount::default(); addresses.len()];
    disk.accounts(&addresses, &mut out).expect("accounts");
    for (address, account) in addresses.iter().zip(&out) {
        let expected = model.get(address);
        assert_eq!(account.exists, expected.is_some());
        let (nonce, balance, slots) = expected.cloned().unwrap_or_default();
        assert_eq!((account.nonce, account.balance, account.has_storage), (nonce, balance, !slots.is_empty()));
    }
    let query = |i: usize| SlotQuery { address: addresses[i / 2], key: U256::from(i * 7 % 400) };
    let queries: Vec<SlotQuery> = (0..60).map(query).collect();
    let mut values = vec![U256::ZERO; queries.len()];
    disk.slots(&queries, &mut values).expect("slots");
    for (query, value) in queries.iter().zip(&values) {
        let expected = model.get(&query.address).and_then(|account| account.2.get(&query.key));
        assert_eq!(*value, expected.copied().unwrap_or_default());
    }
}

/// Random updates, checkpoints at once and beside updates, and openings: roots equal those of tries in memory, also when
/// tries read their nodes from the state on disk; all values equal those of a model.
#[test]
fn random_updates_are_those_of_tries_in_memory() {
    // Checkpoints that ended between two updates.
    let mut ended = 0;
    for seed in 1..=6 {
        let mut random = Random(seed * 7919);
        let accounts = [40, 300, 3000][seed as usize % 3];
        let pages: Arc<dyn PageStore> = Arc::new(MemoryPages::new(PAGE));
        let mut disk = DiskState::open(Arc::clone(&pages), 1 << 22).expect("an empty store");
        let (mut tries, mut lazy) = (StateTries::empty(), StateTries::empty());
        lazy.mark_stored();
        let mut model = BTreeMap::new();
        // Age of the tries at the checkpoint that is being made.
        let mut begun: Option<u32> = None;
        for step in 0..160 {
            let changes = random_changes(&mut model, accounts, &mut random);
            let root = tries.update(&changes, &MemoryStore::default()).expect("an update");
            tries.commit();
            assert_eq!(lazy.update(&changes, &disk), Ok(root), "seed {seed}, step {step}");
            lazy.commit();
            disk.apply(&changes).expect("read before");
            let head = Head { number: step, state_root: root, ..Head::default() };
            let mut is_stored = false;
            match random.below(10) {
                0 => {
                    disk.checkpoint(head, &Bytes::new(), true).expect("a checkpoint");
                    lazy.mark_stored();
                    (begun, is_stored) = (None, true);
                }
                1 | 2 => {
                    // Ends the checkpoint before.
                    disk.begin(head, &Bytes::new()).expect("a thread");
                    begun.replace(lazy.age()).into_iter().for_each(|age| lazy.mark_stored_at(age));
                    is_stored = true;
                }
                3 if disk.finish(random.below(2) == 0).expect("a checkpoint").is_some() => {
                    ended += 1;
                    begun.take().into_iter().for_each(|age| lazy.mark_stored_at(age));
                }
                _ => {}
            }
            lazy.evict([0, 1 << 14, 1 << 30][random.below(3)]);
            if is_stored && random.below(3) == 0 {
                // This waits for a checkpoint that was begun.
                drop(disk);
                disk = DiskState::open(Arc::clone(&pages), 1 << 22).expect("a store");
                assert_eq!(disk.checkpoint_root(), root);
                lazy.mark_stored();
                begun = None;
            }
            check_reads(&disk, &model, accounts, &mut random);
        }
        disk.finish(true).expect("a checkpoint");
        disk.check(|_| true).expect("all units are right");
        let slots: usize = model.values().map(|account| account.2.len()).sum();
        assert!(slots > 24, "some storage tries have units: {slots} slots");
    }
    assert!(ended > 6, "{ended} checkpoints ended between updates");
}

/// The units and their places depend on the state alone, not on the order in which it was made.
#[test]
fn units_depend_on_the_state_alone() {
    let mut random = Random(5);
    let mut model = BTreeMap::new();
    let small_steps: Arc<dyn PageStore> = Arc::new(MemoryPages::new(PAGE));
    let mut disk = DiskState::open(Arc::clone(&small_steps), 1 << 22).expect("an empty store");
    for _ in 0..60 {
        disk.apply(&random_changes(&mut model, 2000, &mut random)).expect("read before");
        disk.checkpoint(Head::default(), &Bytes::new(), false).expect("a checkpoint");
    }
    let at_once: Arc<dyn PageStore> = Arc::new(MemoryPages::new(PAGE));
    let mut whole = DiskState::open(Arc::clone(&at_once), 1 << 22).expect("an empty store");
    let mut changes = StateChanges::default();
    for (address, (nonce, balance, slots)) in &model {
        changes.push_account(*address, AccountStatus::Kept, Some(*nonce), Some(*balance), None);
        slots.iter().for_each(|(key, value)| changes.push_slot(*key, *value));
    }
    whole.apply(&changes).expect("nothing to read");
    whole.checkpoint(Head::default(), &Bytes::new(), false).expect("a checkpoint");
    let units = |pages: &dyn PageStore| {
        let units = units_of(pages).expect("units").into_iter();
        units.map(|(key, place)| (key, place.item, place.leaves)).collect::<Vec<_>>()
    };
    assert_eq!(units(&*small_steps), units(&*at_once));
    assert!(units(&*at_once).len() > 100);
}

/// Pages of another store, of which one bit of each page read can be flipped.
#[derive(Debug)]
struct Flipped {
    inner: MemoryPages,
    /// The bit, counted from the start of the page, plus one; 0: none.
    bit: AtomicU64,
}

impl PageStore for Flipped {
    fn page_bytes(&self) -> usize {
        self.inner.page_bytes()
    }
    fn read(&self, pages: &[PageId], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.inner.read(pages, out)?;
        if let Some(bit) = self.bit.load(Ordering::Relaxed).checked_sub(1) {
            for page in out {
                let mut bytes = page.to_vec();
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
                *page = bytes.into();
            }
        }
        Ok(())
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.inner.codes(hashes, out)
    }
    fn head(&self) -> Result<Option<(Head, Bytes)>, StoreError> {
        self.inner.head()
    }
    fn units(&self, each: &EachPart<'_>) -> Result<(), StoreError> {
        self.inner.units(each)
    }
    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError> {
        self.inner.checkpoint(checkpoint)
    }
}

/// A flipped bit in a page is an error or changes nothing; it never changes an answer.
#[test]
fn flipped_bits_never_change_an_answer() {
    let mut random = Random(9);
    let pages = Arc::new(Flipped { inner: MemoryPages::new(PAGE), bit: AtomicU64::new(0) });
    let mut disk = DiskState::open(Arc::<Flipped>::clone(&pages), 1 << 22).expect("an empty store");
    let mut model = BTreeMap::new();
    for _ in 0..30 {
        disk.apply(&random_changes(&mut model, 300, &mut random)).expect("read before");
    }
    disk.checkpoint(Head::default(), &Bytes::new(), false).expect("a checkpoint");
    let addresses: Vec<Address> = model.keys().copied().collect();
    let (mut errors, mut harmless) = (0, 0);
    for _ in 0..10_000 {
        pages.bit.store(1 + random.below(8 * PAGE) as u64, Ordering::Relaxed);
        disk.clear_cache();
        let address = addresses[random.below(addresses.len())];
        let mut out = [ParentAccount::default()];
        match disk.accounts(&[address], &mut out) {
            Err(StoreError::Corrupt(_)) => errors += 1,
            Err(error) => panic!("{error}"),
            Ok(()) => {
                let expected = &model[&address];
                assert_eq!((out[0].exists, out[0].nonce, out[0].balance), (true, expected.0, expected.1));
                harmless += 1;
            }
        }
    }
    assert!(errors > 100 && harmless > 100, "{errors} errors, {harmless} without effect");
}

/// All names of a block are read in one batch, at most one page per name.
#[test]
fn names_are_read_in_one_batch() {
    let pages: Arc<dyn PageStore> = Arc::new(MemoryPages::new(PAGE));
    let mut disk = DiskState::open(pages, 1 << 26).expect("an empty store");
    let mut changes = StateChanges::default();
    for i in 0..20_000 {
        changes.push_account(address(i), AccountStatus::Kept, Some(1), Some(U256::from(i)), None);
        let slots = if i % 100 == 0 { 300 } else { i % 3 };
        (1..=slots).for_each(|key| changes.push_slot(U256::from(key), U256::from(key)));
    }
    disk.apply(&changes).expect("nothing to read");
    disk.checkpoint(Head::default(), &Bytes::new(), false).expect("a checkpoint");
    let accounts: Vec<Address> = (0..500).map(|i| address(i * 37)).collect();
    let slots: Vec<SlotQuery> =
        (0..500).map(|i| SlotQuery { address: address(i * 100 % 20_000), key: U256::from(1 + i % 7) }).collect();
    let before = disk.reads();
    disk.load(&accounts, &slots).expect("units");
    let after = disk.reads();
    assert_eq!(after.batches - before.batches, 1);
    assert!(after.pages - before.pages <= (accounts.len() + slots.len()) as u64);
    let mut out = vec![ParentAccount::default(); accounts.len()];
    disk.accounts(&accounts, &mut out).expect("accounts");
    disk.slots(&slots, &mut vec![U256::ZERO; slots.len()]).expect("slots");
    assert_eq!(disk.reads(), after, "what was loaded is not read again");
}
