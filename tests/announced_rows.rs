//! What the executor announces to a store, and how many rows it asks for in a call.

mod hostile;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::store::{LatencyStore, MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::bal::{Limits, decode};
use balustrade::executor::PrefetchStrategy;
use balustrade::{BlockError, Executor, Mode, Options};
use hostile::cases::{Chain, bundle, stored};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What [`Listening::announce`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Error,
    Panic,
}

/// A store that records announcements and the numbers of rows in its calls.
struct Listening<'a> {
    inner: &'a MemoryStore,
    is_resident: bool,
    call_rows: usize,
    answer: Answer,
    announced: Mutex<Vec<(Vec<Address>, Vec<SlotQuery>)>>,
    /// Calls that came before an announcement.
    early: AtomicUsize,
    /// Greatest number of rows in a call.
    rows_max: AtomicUsize,
}

impl<'a> Listening<'a> {
    fn new(inner: &'a MemoryStore, is_resident: bool, call_rows: usize, answer: Answer) -> Self {
        let (announced, early, rows_max) = Default::default();
        Self { inner, is_resident, call_rows, answer, announced, early, rows_max }
    }

    fn note_call(&self, rows: usize) {
        let is_early = self.announced.lock().expect("no panic under the lock").is_empty();
        self.early.fetch_add(usize::from(is_early), Ordering::Relaxed);
        self.rows_max.fetch_max(rows, Ordering::Relaxed);
    }
}

impl StateStore for Listening<'_> {
    fn is_resident(&self) -> bool {
        self.is_resident
    }
    fn call_rows(&self) -> usize {
        if self.answer == Answer::Panic { panic!("no number") } else { self.call_rows }
    }
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.announced.lock().expect("no panic under the lock").push((accounts.to_vec(), slots.to_vec()));
        match self.answer {
            Answer::Good => Ok(()),
            Answer::Error => Err(StoreError::Failed("not ready".into())),
            Answer::Panic => panic!("no announcement"),
        }
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.note_call(addresses.len());
        self.inner.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.note_call(slots.len());
        self.inner.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.inner.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.inner.block_hashes(numbers, out)
    }
}

/// Every mode, with every way to read the parent state of a list.
fn ways() -> Vec<Options> {
    let of_list = PrefetchStrategy::ALL.map(|reads| Options::new(Mode::Bal).with_parent_reads(Some(reads)));
    of_list.into_iter().chain([Mode::Sequential, Mode::Optimistic].map(Options::new)).collect()
}

/// Executes the chain's first block on `store`, without tries.
fn execute(
    executor: &mut Executor,
    chain: &Chain,
    store: &dyn StateStore,
    options: Options,
    with_list: bool,
) -> Result<(), BlockError> {
    let mut input = chain.input(&chain.blocks[0]);
    input.bal = input.bal.filter(|_| with_list);
    executor.execute(&input, store, None, options).map(drop)
}

#[test]
fn the_rows_of_a_list_are_announced_once_before_they_are_read() {
    let chain = bundle(&stored("erc20.json.gz"));
    let columns = decode(&chain.blocks[0].bal, &Limits::format_only()).expect("a recorded list");
    let mut executor = Executor::new(2).expect("threads");
    for options in ways() {
        for is_resident in [true, false] {
            let store = Listening::new(&chain.store, is_resident, 128, Answer::Good);
            // Wrappers pass announcements on.
            let wrapped = LatencyStore::new(&store, Duration::ZERO, Duration::ZERO);
            execute(&mut executor, &chain, &wrapped, options, true).expect("valid");
            let announced = store.announced.into_inner().expect("no panic under the lock");
            assert_eq!(announced.len(), 1, "{options:?}");
            assert_eq!(announced[0].0, columns.addresses().as_slice(), "{options:?}");
            assert_eq!(announced[0].1, columns.slot_queries(), "{options:?}");
            assert_eq!(store.early.into_inner(), 0, "{options:?}");
        }
    }
}

#[test]
fn nothing_is_announced_without_a_correct_list() {
    let mut chain = bundle(&stored("erc20.json.gz"));
    let mut executor = Executor::new(2).expect("threads");
    for mode in [Mode::Sequential, Mode::Optimistic] {
        let store = Listening::new(&chain.store, false, 128, Answer::Good);
        execute(&mut executor, &chain, &store, Options::new(mode), false).expect("valid");
        assert_eq!(store.announced.into_inner().expect("no panic under the lock"), []);
    }
    let mut bal = chain.blocks[0].bal.to_vec();
    bal.pop();
    chain.blocks[0].bal = bal.into();
    for options in ways() {
        let store = Listening::new(&chain.store, false, 128, Answer::Good);
        execute(&mut executor, &chain, &store, options, true).expect_err("the list is cut");
        assert_eq!(store.announced.into_inner().expect("no panic under the lock"), [], "{options:?}");
    }
}

#[test]
fn an_error_or_a_panic_of_an_announcement_is_an_error_of_the_store() {
    let chain = bundle(&stored("erc20.json.gz"));
    let mut executor = Executor::new(2).expect("threads");
    for (answer, expected) in [(Answer::Error, "not ready"), (Answer::Panic, "it panicked: no announcement")] {
        for options in ways() {
            let store = Listening::new(&chain.store, false, 128, answer);
            let error = execute(&mut executor, &chain, &store, options, true).expect_err("the store failed");
            assert_eq!(error, BlockError::Store(StoreError::Failed(expected.into())), "{options:?}");
            assert_eq!(store.rows_max.into_inner(), 0, "{options:?}: nothing is read afterwards");
        }
    }
    // The executor is as usable as before.
    execute(&mut executor, &chain, &chain.store, Options::new(Mode::Bal), true).expect("valid");
}

#[test]
fn readers_ask_for_the_number_of_rows_that_the_store_prefers() {
    let chain = bundle(&stored("erc20.json.gz"));
    let columns = decode(&chain.blocks[0].bal, &Limits::format_only()).expect("a recorded list");
    let longest = columns.account_count().max(columns.slot_count());
    assert!(longest > 7, "{longest} rows");
    let mut executor = Executor::new(2).expect("threads");
    for reads in [PrefetchStrategy::Before, PrefetchStrategy::Beside] {
        for (call_rows, expected) in [(0, 1), (1, 1), (7, 7), (usize::MAX, longest)] {
            let store = Listening::new(&chain.store, false, call_rows, Answer::Good);
            let options = Options::new(Mode::Bal).with_parent_reads(Some(reads));
            execute(&mut executor, &chain, &store, options, true).expect("valid");
            assert_eq!(store.rows_max.into_inner(), expected, "{reads:?}, {call_rows} rows a call");
        }
    }
}
