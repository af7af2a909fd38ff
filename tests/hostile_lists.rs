//! The worst lists that fit a block's gas limit: refused, in bounded time and memory.
//!
//! `cargo test --release --test hostile_lists -- --nocapture` prints the figures.

#![allow(unsafe_code, reason = "an allocator that counts")]

mod hostile;

use alloy_primitives::{Address, U256, keccak256};
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::exec::fork::{ChainRules, Fork};
use balustrade::exec::system::HISTORY_STORAGE;
use balustrade::exec::wire::{Header, assemble};
use balustrade::trie::{EMPTY_ROOT, StateTries, ordered_root};
use balustrade::{BlockError, BlockInput, Executor, InvalidBlock, Mode, Options};
use hostile::list::{Account, encode};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts what it is asked.
struct Counting<'a>(&'a MemoryStore, AtomicUsize);

impl StateStore for Counting<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.1.fetch_add(addresses.len(), Ordering::Relaxed);
        self.0.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.1.fetch_add(slots.len(), Ordering::Relaxed);
        self.0.slots(slots, out)
    }
    fn codes(
        &self,
        hashes: &[alloy_primitives::B256],
        out: &mut [Option<alloy_primitives::Bytes>],
    ) -> Result<(), StoreError> {
        self.0.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [alloy_primitives::B256]) -> Result<(), StoreError> {
        self.0.block_hashes(numbers, out)
    }
    fn trie_nodes(
        &self,
        hashes: &[alloy_primitives::B256],
        out: &mut [alloy_primitives::Bytes],
    ) -> Result<(), StoreError> {
        self.0.trie_nodes(hashes, out)
    }
}

fn address(number: usize) -> Address {
    let mut bytes = [0x10; 20];
    bytes[12..].copy_from_slice(&(number as u64).to_be_bytes());
    Address::from(bytes)
}

/// Keys all over the key space, ascending.
fn keys(count: usize) -> Vec<U256> {
    let step = U256::MAX / U256::from(count + 1);
    (1..=count).map(|at| step * U256::from(at)).collect()
}

/// The system's allocator, counting bytes in use.
struct Counted;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counters touch no memory of callers.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's duties are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's duties are those of the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Lists of a block with this gas limit and without transactions: what is wrong, and the list.
fn worst_lists(gas_limit: u64) -> Vec<(&'static str, Vec<u8>)> {
    let items = (gas_limit / 2_000) as usize;
    let reads_of = |address, count| Account { reads: keys(count), ..Account::bare(address) };
    let with_code = |number| Account {
        codes: vec![(0, vec![0x5b; 65_536].into()), (1, vec![0x5a; 65_536].into())],
        ..Account::bare(address(number))
    };
    vec![
        ("phantom reads of one contract", encode(&[reads_of(address(1), items - 1)])),
        ("phantom reads of a system contract", encode(&[reads_of(HISTORY_STORAGE, items - 1)])),
        ("phantom accounts", encode(&(0..items).map(|at| Account::bare(address(at))).collect::<Vec<_>>())),
        (
            "phantom balances",
            encode(
                &(0..items)
                    .map(|at| Account { balances: vec![(0, U256::MAX), (1, U256::ONE)], ..Account::bare(address(at)) })
                    .collect::<Vec<_>>(),
            ),
        ),
        ("one item too many, ten times over", encode(&[reads_of(address(1), items * 10)])),
        ("codes of 64 KiB", encode(&(0..300).map(with_code).collect::<Vec<_>>())),
    ]
}

#[test]
fn the_worst_lists_are_refused_cheaply() {
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let store = MemoryStore::default();
    println!("| gas limit | list | bytes | refused as | ms | rows asked of the store | memory at most, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for gas_limit in [60_000_000u64, 300_000_000] {
        for (what, list) in worst_lists(gas_limit) {
            let header = Header {
                gas_limit,
                number: 1,
                base_fee: Some(7),
                withdrawals_root: Some(EMPTY_ROOT),
                transactions_root: ordered_root(&[]),
                ommers_hash: balustrade::exec::header::EMPTY_OMMERS_HASH,
                blob_gas_used: Some(0),
                excess_blob_gas: Some(0),
                parent_beacon_root: Some(Default::default()),
                requests_hash: Some(Default::default()),
                block_access_list_hash: Some(keccak256(&list)),
                slot_number: Some(1),
                ..Header::default()
            };
            let block = assemble::<Vec<u8>>(&header, &[]);
            // A new one each time: nothing of an earlier list is there to be used again.
            let mut executor = Executor::new(2).expect("threads");
            let bytes = list.len();
            let input = BlockInput::new(&rules, block.into()).with_list(list.into());
            let counting = Counting(&store, AtomicUsize::new(0));
            let mut tries = StateTries::empty();
            let before = IN_USE.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let start = Instant::now();
            let result = executor.execute(&input, &counting, Some(&mut tries), Options::new(Mode::Bal));
            let elapsed = start.elapsed();
            let grown = PEAK.load(Ordering::Relaxed).saturating_sub(before);
            let Err(BlockError::Invalid(invalid)) = result else { panic!("{what}: {result:?}") };
            assert!(matches!(*invalid, InvalidBlock::Bal(_) | InvalidBlock::Mismatch(_)), "{what}: {invalid}");
            let asked = counting.1.load(Ordering::Relaxed);
            println!(
                "| {gas_limit} | {what} | {bytes} | {} | {:.1} | {asked} | {} |",
                hostile::trial::check_name(&invalid),
                elapsed.as_secs_f64() * 1e3,
                grown >> 20
            );
            // As `bal::decode` says of its columns, and as much again for names, rows and parent state.
            assert!(grown < 400 * bytes + (64 << 20), "{what}: {grown} bytes for a list of {bytes}");
        }
    }
}
