//! Race tests of the parts of optimistic execution: parent state readers, shared cache, overlay, preload of the tries.
//!
//! Each test runs one part on several threads at once and compares it with the parent state or with sequential
//! execution.

use super::chain::{Chain, Draft, word};
use super::{CHILD, CONTRACT, COUNTER, compare, maker, speculate_slowly};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use balustrade::arena::code::CodeArena;
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{
    KECCAK_EMPTY, LatencyStore, MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError, WitnessStore,
};
use balustrade::arena::{BlockAccessIndex, Id, TxIndex};
use balustrade::exec::block::optimistic::cache::{ReadCounts, SharedCache};
use balustrade::exec::block::optimistic::reader::Reader;
use balustrade::exec::block::optimistic::{Preload, Speculated, run_optimistic};
use balustrade::exec::block::tasks::{BlockContext, WorkerScratch};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::Fork;
use balustrade::exec::senders::rows::SenderRows;
use balustrade::exec::wire::Block;
use balustrade::{AccountStatus, Executor, Mode, StateChanges, StateTries};
use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

const WORKERS: u32 = 4;

/// A few accounts with code and storage.
fn state() -> MemoryStore {
    let mut store = MemoryStore::default();
    for byte in 1..60u8 {
        let code = if byte % 3 == 0 { store.insert_code(Bytes::from(vec![byte])) } else { KECCAK_EMPTY };
        let slots = (0..u64::from(byte % 5)).map(|slot| (U256::from(slot), U256::from(slot + 1)));
        store.insert_account(Address::repeat_byte(byte), u64::from(byte), U256::from(1_000 + byte as u64), code, slots);
    }
    store
}

/// The same state as trie nodes by hash.
fn behind_tries(store: &MemoryStore) -> WitnessStore {
    let addresses: Vec<Address> = store.iter().map(|(address, _)| *address).collect();
    let slots: Vec<SlotQuery> = store
        .iter()
        .flat_map(|(address, account)| account.storage.keys().map(|key| SlotQuery { address: *address, key: *key }))
        .collect();
    let mut tries = StateTries::from_memory(store).unwrap();
    let nodes = tries.witness(store, &addresses, &slots, &StateChanges::default()).unwrap();
    WitnessStore::new(tries.root(), nodes, [])
}

/// Runs `work` on all workers at once, each with its own copy of the reader.
fn on_all_workers(store: &dyn StateStore, codes: &CodeArena, work: impl Fn(Reader<'_>) + Sync) {
    let reader = Reader { store, codes, worker: u32::MAX };
    let barrier = Barrier::new(WORKERS as usize);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(Reader { worker, ..reader });
            });
        }
    });
}

fn assert_reader_gives_canonical_accounts(store: &dyn StateStore) {
    let canonical = state();
    let codes = CodeArena::default();
    on_all_workers(store, &codes, |reader| {
        for byte in 0..70u8 {
            let address = Address::repeat_byte(byte);
            let mut expected = [ParentAccount::default()];
            canonical.accounts(&[address], &mut expected).unwrap();
            let account = reader.account(&address).unwrap();
            let found = ParentAccount {
                exists: account.exists,
                nonce: account.nonce,
                balance: account.balance,
                code_hash: codes.hash(account.code),
                has_storage: account.has_storage,
            };
            assert_eq!(found, expected[0]);
            assert_eq!(reader.accounts(&[address]).unwrap(), [account]);
        }
    });
}

fn assert_reader_gives_canonical_slots(store: &dyn StateStore) {
    let canonical = state();
    let codes = CodeArena::default();
    on_all_workers(store, &codes, |reader| {
        for (byte, slot) in (0..70u8).flat_map(|byte| (0..6).map(move |slot| (byte, slot))) {
            let (address, key) = (Address::repeat_byte(byte), U256::from(slot));
            let mut expected = [U256::ZERO];
            canonical.slots(&[SlotQuery { address, key }], &mut expected).unwrap();
            assert_eq!(reader.slot(&address, &key).unwrap(), expected[0]);
        }
    });
}

#[test]
fn reader_equals_canonical_state_for_accounts_snapshot_backed() {
    assert_reader_gives_canonical_accounts(&state());
}

#[test]
fn reader_equals_canonical_state_for_accounts_trie_backed() {
    assert_reader_gives_canonical_accounts(&behind_tries(&state()));
}

#[test]
fn reader_equals_canonical_state_for_slots_snapshot_backed() {
    assert_reader_gives_canonical_slots(&state());
}

#[test]
fn reader_equals_canonical_state_for_slots_trie_backed() {
    assert_reader_gives_canonical_slots(&behind_tries(&state()));
}

#[test]
fn copies_of_a_reader_are_independent() {
    let store = LatencyStore::new(state(), Duration::ZERO, Duration::ZERO);
    let codes = CodeArena::default();
    // The copies read in different orders; no read of one affects another.
    on_all_workers(&store, &codes, |reader| {
        for step in 0..60 {
            let byte = 1 + ((step + 15 * reader.worker) % 59) as u8;
            assert_eq!(reader.account(&Address::repeat_byte(byte)).unwrap().nonce, u64::from(byte));
            let slot = reader.slot(&Address::repeat_byte(byte), &U256::ZERO).unwrap();
            assert_eq!(slot, U256::from(!byte.is_multiple_of(5)));
        }
    });
    let each = 60 * WORKERS as usize;
    assert_eq!((store.counts().accounts, store.counts().slots), (each, each));
}

/// A store that records each read with the worker that made it.
struct Witnessed<'a> {
    inner: &'a dyn StateStore,
    worker: &'a (dyn Fn() -> u32 + Sync),
    accounts: Mutex<BTreeMap<Address, Vec<u32>>>,
    slots: Mutex<BTreeMap<(Address, U256), Vec<u32>>>,
}

impl<'a> Witnessed<'a> {
    fn new(inner: &'a dyn StateStore, worker: &'a (dyn Fn() -> u32 + Sync)) -> Self {
        Self { inner, worker, accounts: Mutex::default(), slots: Mutex::default() }
    }

    /// Asserts that every filled entry of the cache was filled by one read, by the worker that the entry names.
    fn assert_agrees_with(&self, cache: &SharedCache) {
        let (addresses, keys, owners) = cache.recorded_keys();
        let (asked_accounts, asked_slots) = (self.accounts.lock().unwrap(), self.slots.lock().unwrap());
        let mut filled = (0, 0);
        for (id, address) in addresses.iter() {
            let Some(worker) = cache.account(id).parent.reader() else { continue };
            assert_eq!(asked_accounts[address], [worker], "{address}");
            filled.0 += 1;
        }
        for (id, key) in keys.iter() {
            let Some(worker) = cache.slot(id).parent.reader() else { continue };
            assert_eq!(asked_slots[&(addresses[owners[id]], *key)], [worker]);
            filled.1 += 1;
        }
        assert_eq!(filled, (asked_accounts.len(), asked_slots.len()));
    }
}

impl StateStore for Witnessed<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        let worker = (self.worker)();
        for address in addresses {
            self.accounts.lock().unwrap().entry(*address).or_default().push(worker);
        }
        // Long enough that all workers want the same entry.
        std::thread::sleep(Duration::from_micros(100));
        self.inner.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        let worker = (self.worker)();
        for slot in slots {
            self.slots.lock().unwrap().entry((slot.address, slot.key)).or_default().push(worker);
        }
        std::thread::sleep(Duration::from_micros(100));
        self.inner.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.inner.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.inner.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.inner.trie_nodes(nodes, out)
    }
}

#[test]
fn workers_that_read_one_account_fill_one_entry_under_their_real_ids() {
    thread_local!(static WORKER: core::cell::Cell<u32> = const { core::cell::Cell::new(u32::MAX) });
    let canonical = state();
    let worker = || WORKER.get();
    let store = Witnessed::new(&canonical, &worker);
    let codes = CodeArena::default();
    let cache = SharedCache::default();
    let total = Mutex::new(ReadCounts::default());
    on_all_workers(&store, &codes, |reader| {
        WORKER.set(reader.worker);
        let mut counts = ReadCounts::default();
        for step in 0..40 {
            // In the first half all workers read the same account; in the second half they read in different orders.
            let byte = if step < 20 { step } else { 20 + (step + 5 * reader.worker) % 20 };
            let account = cache.account_id(&Address::repeat_byte(byte as u8));
            let slot = cache.slot_id(account, &U256::from(1));
            cache.read_account(account, BlockAccessIndex(1), &reader, &mut counts).unwrap();
            cache.read_slot(slot, BlockAccessIndex(1), &reader, &mut counts).unwrap();
        }
        total.lock().unwrap().add(&counts);
    });
    let total = total.into_inner().unwrap();
    assert_eq!((total.account_reads, total.slot_reads, total.asked), (40, 40, WORKERS as usize * 80));
    store.assert_agrees_with(&cache);
    let workers: std::collections::BTreeSet<_> =
        cache.recorded_keys().0.ids().filter_map(|id| cache.account(id).parent.reader()).collect();
    assert!(workers.len() > 1 && workers.iter().all(|worker| *worker < WORKERS), "{workers:?}");
}

/// Runs a block's tasks in optimistic mode on `threads` threads, without the other stages of a block.
fn speculate<T>(
    chain: &Chain,
    block: &Bytes,
    store: &dyn StateStore,
    threads: usize,
    look: impl FnOnce(&Speculated, &CodeArena) -> T + Send,
) -> T
where
    T: Send,
{
    let block = Block::decode(block.clone()).unwrap();
    let rules = chain.rules();
    let senders: Vec<Option<Address>> =
        (0..block.transactions.len()).map(|tx| chain.sender_of(&block.transactions, TxIndex::new(tx))).collect();
    let signers = SenderRows::Known { senders: &senders, authorities: &[], candidates: None };
    let context = BlockContext::new(&rules, &block, signers, LoopKind::default());
    let codes = CodeArena::default();
    let scratches: Vec<Mutex<WorkerScratch>> = (0..threads).map(|_| Mutex::default()).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let speculated = run_optimistic(&context, store, &codes, &scratches, Instant::now()).unwrap();
        look(&speculated, &codes)
    })
}

#[test]
fn whole_blocks_fill_each_entry_once_under_the_ids_of_their_workers() {
    let mut chain = Chain::new(Fork::Cancun, 48);
    let counters: Vec<Address> = (0..6).map(|byte| Address::repeat_byte(0xc1 + byte)).collect();
    counters.iter().for_each(|counter| chain.deploy(*counter, &COUNTER, [(0, 5)]));
    let drafts: Vec<_> = (0..48).map(|key| Draft::call(key, counters[key as usize % 6], Vec::new())).collect();
    let block = chain.build(&drafts);
    for threads in [1, 2, 4, 8] {
        let worker = || rayon::current_thread_index().map_or(u32::MAX, |index| index as u32);
        let store = Witnessed::new(&chain.store, &worker);
        speculate(&chain, &block, &store, threads, |speculated, _| {
            store.assert_agrees_with(&speculated.cache);
            let counts = &speculated.speculation;
            let asked = (store.accounts.lock().unwrap().len(), store.slots.lock().unwrap().len());
            assert_eq!((counts.account_reads, counts.slot_reads), asked);
        });
    }
}

/// Asserts that the preload of a block that was run on `threads` threads has the parent values of exactly the accounts
/// and slots that the block writes, except slots that no task could read. Returns the numbers of accounts and slots,
/// and of such slots.
fn assert_preload_is_canonical(chain: &Chain, block: &Bytes, threads: usize) -> ((usize, usize), usize) {
    speculate(chain, block, &chain.store, threads, |speculated, codes| {
        let counted = LatencyStore::new(&chain.store, Duration::ZERO, Duration::ZERO);
        let preload = Preload::new(&speculated.cache, codes, &counted, &speculated.recording);
        let bal = &speculated.recording.list.columns;
        let mut written = (0, 0);
        let mut unread = 0;
        for id in bal.addresses().ids().filter(|id| bal.is_changed(*id)) {
            let address = bal.addresses()[id];
            let [mut found, mut expected] = [[ParentAccount::default()]; 2];
            preload.accounts(&[address], &mut found).unwrap();
            chain.store.accounts(&[address], &mut expected).unwrap();
            assert_eq!(found, expected, "{address}");
            written.0 += 1;
            for slot in bal.slots(id).filter(|slot| !bal.is_read_only(*slot)) {
                let query = SlotQuery { address, key: bal.slot_keys()[slot] };
                let [mut found, mut expected] = [[U256::MAX]; 2];
                let before = preload.store_reads();
                preload.slots(&[query], &mut found).unwrap();
                chain.store.slots(&[query], &mut expected).unwrap();
                assert_eq!(found, expected, "{query:?}");
                unread += preload.store_reads() - before;
                written.1 += 1;
            }
        }
        assert_eq!(counted.counts().accounts, 0, "every written account was read by a task");
        assert_eq!(counted.counts().slots, unread);
        let (accounts, slots) = preload.len();
        assert!(accounts >= written.0, "the existence log may have more accounts");
        assert_eq!(slots + unread, written.1);
        (preload.len(), unread)
    })
}

#[test]
fn slots_read_speculatively_reach_the_preload() {
    // slot[calldata] += 1; slot 99 is read but not written, so that the preload must not have it.
    let code = [0x60, 99, 0x54, 0x50, 0x5f, 0x35, 0x54, 0x60, 0x01, 0x01, 0x5f, 0x35, 0x55, 0x00];
    let mut chain = Chain::new(Fork::Cancun, 40);
    chain.deploy(CONTRACT, &code, (0..120).map(|slot| (slot, slot + 1)));
    let drafts: Vec<_> = (0..40).map(|key| Draft::call(key, CONTRACT, word(key % 20))).collect();
    let block = chain.build(&drafts);
    for threads in [1, 2, 4, 8] {
        for _ in 0..5 {
            let ((accounts, slots), unread) = assert_preload_is_canonical(&chain, &block, threads);
            // 40 senders and the coinbase; of the contract only slots change.
            assert_eq!((accounts, slots, unread), (42, 20, 0));
        }
    }
    for run in compare(&chain, &block, 5, "slots") {
        assert_eq!((run.slot_reads, run.write_back_reads), (21, 0), "each slot is read once, by a task");
    }
}

#[test]
fn created_and_destroyed_accounts_preload_nothing_stale() {
    for fork in [Fork::Petersburg, Fork::Istanbul, Fork::Shanghai, Fork::Cancun, Fork::Amsterdam] {
        let mut chain = Chain::new(fork, 24);
        chain.deploy(CONTRACT, &maker(), []);
        // Accounts that the block creates have neither fields nor slots in the parent state, except an old balance.
        let child = CONTRACT.create2([0; 32], keccak256(CHILD));
        chain.store.insert_account(child, 0, U256::from(77), KECCAK_EMPTY, []);
        let drafts: Vec<_> = (0..24).map(|key| Draft::call(key, CONTRACT, word(key % 2))).collect();
        let block = chain.build(&drafts);
        for threads in [1, 2, 4, 8] {
            for _ in 0..5 {
                // The maker's two slots were read; the child's slots were not, because a new account has none.
                let ((_, slots), unread) = assert_preload_is_canonical(&chain, &block, threads);
                assert_eq!(slots, 2, "{fork:?}");
                assert!(unread <= 2, "{fork:?}: {unread}");
            }
        }
        for run in compare(&chain, &block, 10, &format!("create and destroy, {fork:?}")) {
            assert_eq!(run.write_back_reads, 0, "{fork:?}");
        }
        speculate_slowly(&chain, &block, 4, 500);
        let outcome = chain.execute(&mut Executor::new(4).unwrap(), &block, &chain.store, Mode::Optimistic).unwrap();
        let row = outcome.changes.addresses.iter().position(|address| *address == child).unwrap();
        // Before Cancun the last transaction destroys it; from Cancun on it remains and is created only once.
        assert_eq!(outcome.changes.statuses[row] == AccountStatus::Kept, fork >= Fork::Cancun, "{fork:?}");
    }
}

#[test]
fn readers_start_from_the_state_after_the_pre_execution_system_calls() {
    // A beacon roots contract that keeps its input: slot 0 = calldata. The transactions read that slot through it.
    let beacon = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
    // if CALLER is the system: sstore(0, calldataload 0); else return sload 0
    let code = [
        0x33, 0x73, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xfe, 0x14, 0x60, 0x21, 0x57, 0x5f, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3,
    ];
    let mut code = code.to_vec();
    code[24] = code.len() as u8;
    code.extend([0x5b, 0x5f, 0x35, 0x5f, 0x55, 0x00]);
    // slot[caller] = what the beacon contract returns
    let mut reader = vec![0x60, 0x20, 0x5f, 0x5f, 0x5f, 0x73];
    reader.extend(beacon);
    reader.extend([0x5a, 0xfa, 0x50, 0x5f, 0x51, 0x33, 0x55, 0x00]);
    for fork in [Fork::Cancun, Fork::Prague, Fork::Amsterdam] {
        let mut chain = Chain::new(fork, 16);
        chain.deploy(beacon, &code, [(0, 1)]);
        chain.deploy(CONTRACT, &reader, []);
        let drafts: Vec<_> = (0..16).map(|key| Draft::call(key, CONTRACT, Vec::new())).collect();
        let block = chain.build(&drafts);
        for run in compare(&chain, &block, 10, "system calls") {
            assert_eq!(run.conflicts, 0, "the transactions read the value that the system call wrote");
        }
        let outcome = chain.execute(&mut Executor::new(4).unwrap(), &block, &chain.store, Mode::Optimistic).unwrap();
        let row = outcome.changes.addresses.iter().position(|address| *address == CONTRACT).unwrap();
        assert_eq!(outcome.changes.slots(row).len(), 16);
        assert!(outcome.changes.slots(row).all(|(_, value)| value == U256::from_be_bytes([0xbe; 32])));
    }
}

#[test]
fn blocks_of_repeated_reads_run_without_conflict() {
    // Reads slots 0 to 3 and the balance of another account.
    let mut code = Vec::new();
    for slot in 0..4 {
        code.extend([0x60, slot, 0x54, 0x50]);
    }
    code.extend([0x60, 0x99, 0x31, 0x50, 0x00]);
    let mut chain = Chain::new(Fork::Cancun, 32);
    chain.deploy(CONTRACT, &code, [(0, 1), (1, 2), (2, 3)]);
    let drafts: Vec<_> = (0..32).map(|key| Draft::call(key, CONTRACT, Vec::new())).collect();
    let block = chain.build(&drafts);
    for run in compare(&chain, &block, 10, "repeated reads") {
        assert_eq!((run.conflicts, run.re_executions), (0, 0));
        assert_eq!(run.slot_reads, 4);
        // Senders, coinbase, contract, the account whose balance is read, the contracts of the two system calls.
        assert!(run.account_reads <= 32 + 5, "{run:?}");
        assert!(run.reads_saved >= 31 * 6, "{run:?}");
    }
    let run = speculate_slowly(&chain, &block, 8, 500);
    assert_eq!((run.conflicts, run.re_executions, run.slot_reads), (0, 0, 4));
}

#[test]
fn blocks_on_both_sides_of_a_precompile_activation_boundary_agree() {
    // slot[caller] = gas of a call with value 1 of the address in calldata. Its balance is read first, so that a
    // precompile, which is always warm, and a plain account differ from Berlin on. The call creates a plain account.
    let code = [
        0x5f, 0x35, 0x31, 0x50, 0x5a, 0x5f, 0x5f, 0x5f, 0x5f, 0x60, 0x01, 0x5f, 0x35, 0x61, 0xff, 0xff, 0xf1, 0x50,
        0x5a, 0x90, 0x03, 0x33, 0x55, 0x00,
    ];
    let code: Vec<u8> = code.iter().flat_map(|op| if *op == 0x5f { vec![0x60, 0x00] } else { vec![*op] }).collect();
    // The last fork without the precompile, the first one with it, its address.
    for (before, after, precompile) in [
        (Fork::Petersburg, Fork::Istanbul, 0x09),
        (Fork::Shanghai, Fork::Cancun, 0x0a),
        (Fork::Cancun, Fork::Prague, 0x0b),
        (Fork::Prague, Fork::Osaka, 0x100),
    ] {
        let costs = [before, after].map(|fork| {
            let mut chain = Chain::new(fork, 16);
            chain.deploy(CONTRACT, &code, []);
            let drafts: Vec<_> = (0..16).map(|key| Draft::call(key, CONTRACT, word(precompile))).collect();
            let block = chain.build(&drafts);
            compare(&chain, &block, 10, &format!("precompile {precompile:#x}, {fork:?}"));
            let run = speculate_slowly(&chain, &block, 4, 500);
            assert!(run.executions >= 16);
            let outcome = chain.execute(&mut Executor::new(2).unwrap(), &block, &chain.store, Mode::Optimistic);
            let outcome = outcome.unwrap();
            let row = outcome.changes.addresses.iter().position(|address| *address == CONTRACT).unwrap();
            outcome.changes.slots(row).map(|(_, value)| value).collect::<Vec<_>>()
        });
        assert_ne!(costs[0], costs[1], "{precompile:#x} is a plain account in {before:?}, a precompile in {after:?}");
    }
}
