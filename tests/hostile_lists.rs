//! Blocks that are expensive by design: the largest block access lists that a block's gas limit allows are refused in
//! bounded time and memory, and accesses to large codes load no code that they do not need.
//!
//! `cargo test --release --test hostile_lists -- --nocapture` prints the figures.

#![allow(unsafe_code, reason = "an allocator that counts")]

mod hostile;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::exec::block::code_loader::AHEAD_BYTES_MAX;
use balustrade::exec::block::system::{HISTORY_STORAGE, SYSTEM_CONTRACTS};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Header, assemble};
use balustrade::formats::{BundleState, Content, Document};
use balustrade::trie::{EMPTY_ROOT, StateTries, ordered_root};
use balustrade::{BlockError, BlockInput, Executor, InvalidBlock, Mode, Options};
use balustrade_cli::testing::{Folder, workload};
use hostile::list::{Account, encode};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A store that counts the rows that are read.
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
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.0.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.0.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.0.trie_nodes(nodes, out)
    }
}

/// A state of contracts at the addresses of [`address`], each with a different code. The store generates a code when it
/// is read, and counts the reads.
struct Contracts {
    is_resident: bool,
    hashes: Vec<B256>,
    codes_asked: AtomicUsize,
}

/// Length of each code in bytes.
const CODE_LEN: usize = 24_576;

/// The code of the contract at `address(number)`.
fn code(number: usize) -> Vec<u8> {
    let mut code = vec![0x5b; CODE_LEN];
    code[CODE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    code
}

impl Contracts {
    fn new(count: usize, is_resident: bool) -> Self {
        let hashes = (0..count).map(|number| keccak256(code(number))).collect();
        Self { is_resident, hashes, codes_asked: AtomicUsize::new(0) }
    }
}

impl StateStore for Contracts {
    fn is_resident(&self) -> bool {
        self.is_resident
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        for (owner, out) in addresses.iter().zip(out) {
            let number = usize::from_be_bytes(owner[12..].try_into().expect("eight bytes"));
            if let Some(code_hash) = self.hashes.get(number).filter(|_| *owner == address(number)) {
                *out = ParentAccount { exists: true, nonce: 1, code_hash: *code_hash, ..ParentAccount::default() };
            }
        }
        Ok(())
    }
    fn slots(&self, _slots: &[SlotQuery], _out: &mut [U256]) -> Result<(), StoreError> {
        Ok(())
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.codes_asked.fetch_add(hashes.len(), Ordering::Relaxed);
        for (hash, out) in hashes.iter().zip(out) {
            let number = self.hashes.iter().position(|known| known == hash);
            *out = number.map(|number| code(number).into());
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

fn address(number: usize) -> Address {
    let mut bytes = [0x10; 20];
    bytes[12..].copy_from_slice(&(number as u64).to_be_bytes());
    Address::from(bytes)
}

/// Ascending keys, spread over the key space.
fn keys(count: usize) -> Vec<U256> {
    let step = U256::MAX / U256::from(count + 1);
    (1..=count).map(|at| step * U256::from(at)).collect()
}

/// The system's allocator with a counter of the bytes in use.
struct Counted;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counters access no memory of callers.
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

/// Lists of a block with this gas limit and without transactions: a name of the fault, and the list.
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

/// The largest lists of contracts with code: with and without a slot of each.
const CONTRACTS: usize = 5_000;

/// Cost of refusing a block.
struct Refusal {
    invalid: Box<InvalidBlock>,
    ms: f64,
    /// Peak of the bytes in use, minus those before.
    grown: usize,
}

/// Executes an empty block with this list, which is not its correct one, in `bal` mode on two threads.
fn refuse(
    gas_limit: u64,
    list: Vec<u8>,
    transactions: &[Vec<u8>],
    store: &dyn StateStore,
    tries: &mut StateTries,
) -> Refusal {
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let header = Header {
        gas_limit,
        number: 1,
        base_fee: Some(7),
        withdrawals_root: Some(EMPTY_ROOT),
        transactions_root: ordered_root(&transactions.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        ommers_hash: balustrade::exec::rules::header::EMPTY_OMMERS_HASH,
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_root: Some(Default::default()),
        requests_hash: Some(Default::default()),
        block_access_list_hash: Some(keccak256(&list)),
        slot_number: Some(1),
        ..Header::default()
    };
    let block = assemble(&header, transactions);
    // A new executor each time, so that no memory of an earlier list can be reused.
    let mut executor = Executor::new(2).expect("threads");
    let input = BlockInput::new(&rules, block.into()).with_list(list.into());
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let result = executor.execute(&input, store, Some(tries), Options::new(Mode::Bal));
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let grown = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let Err(BlockError::Invalid(invalid)) = result else { panic!("the wrong list is not refused: {result:?}") };
    Refusal { invalid, ms, grown }
}

/// Lets one test run at a time, because the allocator counts all threads.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_worst_lists_are_refused_cheaply() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let store = MemoryStore::default();
    println!("| gas limit | list | bytes | refused as | ms | rows asked of the store | memory at most, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for gas_limit in [60_000_000u64, 300_000_000] {
        for (what, list) in worst_lists(gas_limit) {
            let bytes = list.len();
            let counting = Counting(&store, AtomicUsize::new(0));
            let Refusal { invalid, ms, grown } = refuse(gas_limit, list, &[], &counting, &mut StateTries::empty());
            assert!(matches!(*invalid, InvalidBlock::Bal(_) | InvalidBlock::Mismatch(_)), "{what}: {invalid}");
            let asked = counting.1.load(Ordering::Relaxed);
            let check = hostile::trial::check_name(&invalid);
            println!("| {gas_limit} | {what} | {bytes} | {check} | {ms:.1} | {asked} | {} |", grown >> 20);
            // The bound of `bal::decode` for its columns, and as much again for ids, rows and parent state.
            assert!(grown < 400 * bytes + (64 << 20), "{what}: {grown} bytes for a list of {bytes}");
        }
    }
}

/// A transaction that buys 12,000,000 gas, signed by an account that does not exist.
fn transaction() -> Vec<u8> {
    let mut rlp = vec![0xe0, 0x80, 0x07, 0x83, 0xb7, 0x1b, 0x00, 0x94];
    rlp.extend_from_slice(address(0).as_slice());
    rlp.extend_from_slice(&[0x80, 0x80, 0x1b, 0x01, 0x01]);
    rlp
}

#[test]
fn few_codes_of_listed_contracts_are_loaded() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!(
        "| store | contracts of 24 KiB, each | refused as | ms | codes asked of the store | memory at most, MiB |"
    );
    println!("|---|---|---|---|---|---|");
    let transactions = vec![transaction(); 5];
    for is_resident in [true, false] {
        let store = Contracts::new(CONTRACTS, is_resident);
        for (what, transactions, reads) in [("bare", &[][..], vec![]), ("with a slot", &transactions[..], keys(1))] {
            store.codes_asked.store(0, Ordering::Relaxed);
            // Includes the system contracts, so that the first task succeeds.
            let mut listed = SYSTEM_CONTRACTS.map(Account::bare).to_vec();
            listed.sort_unstable_by_key(|account| account.address);
            listed.extend((0..CONTRACTS).map(|at| Account { reads: reads.clone(), ..Account::bare(address(at)) }));
            let list = encode(&listed);
            let mut tries = StateTries::empty();
            let Refusal { invalid, ms, grown } = refuse(60_000_000, list, transactions, &store, &mut tries);
            let asked = store.codes_asked.load(Ordering::Relaxed);
            let kind = if is_resident { "resident" } else { "not resident" };
            let check = hostile::trial::check_name(&invalid);
            println!("| {kind} | {what} | {check} | {ms:.1} | {asked} | {} |", grown >> 20);
            // The prefetch loads codes of accounts with slots, up to a bound and one batch per reader.
            let may_ask = if is_resident || reads.is_empty() { 0 } else { AHEAD_BYTES_MAX / CODE_LEN + 8 * 16 };
            assert!(asked <= may_ask, "{kind}, {what}: {asked} codes");
            assert!(grown < (40 << 20) + 2 * may_ask * CODE_LEN, "{kind}, {what}: {grown} bytes");
        }
    }
}

/// A store that notes the hashes of the codes that are read, in order.
struct RecordedCodes<'a>(&'a MemoryStore, Mutex<Vec<B256>>);

impl StateStore for RecordedCodes<'_> {
    fn is_resident(&self) -> bool {
        self.0.is_resident()
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.0.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.0.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.1.lock().expect("no panic in the store").extend_from_slice(hashes);
        self.0.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.0.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.0.trie_nodes(nodes, out)
    }
}

/// Contracts of `worst-code` in the test's blocks.
const LARGE_CODES: usize = 400;

#[test]
fn accesses_to_large_codes_load_only_the_codes_that_they_need() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = Folder::new("worst-code");
    println!(
        "| block of 60 Mgas | bal cold ms | sequential cold ms | codes asked of the store | memory at most, MiB |"
    );
    println!("|---|---|---|---|---|");
    for kind in ["balance", "hash", "size", "copy", "call", "init"] {
        let options =
            format!("worst-code --kind {kind} --contracts {LARGE_CODES} --gas 60 --accounts 400 --senders 60");
        let [(name, gzipped)] = &workload(&folder, &options)[..] else { panic!("one block") };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzipped[..]), &mut bytes).expect("gzip");
        let Ok(Content::Bundle(bundle)) = Content::parse(&Document { name: name.clone(), bytes }, None) else {
            panic!("{name}: no bundle")
        };
        let BundleState::Complete { store, .. } = &bundle.state else { panic!("the whole state") };
        let rules = bundle.rules.expect("a fork");
        let run = |mode: Mode| {
            let recorded = RecordedCodes(store, Mutex::default());
            let mut executor = Executor::new(2).expect("threads");
            let mut input = BlockInput::new(&rules, bundle.block.clone());
            if mode == Mode::Bal {
                input = input.with_list(bundle.bal.clone().expect("a list"));
            }
            let before = IN_USE.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let start = Instant::now();
            let outcome = executor.execute(&input, &recorded, None, Options::new(mode)).expect("a valid block");
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let grown = PEAK.load(Ordering::Relaxed).saturating_sub(before);
            (outcome.hash, ms, recorded.1.into_inner().expect("no panic in the store"), grown)
        };
        let (hash, bal_ms, asked, grown) = run(Mode::Bal);
        let (other_hash, sequential_ms, sequential_asked, _) = run(Mode::Sequential);
        assert_eq!(hash, other_hash);
        println!("| {kind} | {bal_ms:.1} | {sequential_ms:.1} | {} | {} |", asked.len(), grown >> 20);
        // The codes of the called contract and of the system contracts are needed in each block.
        let needed = if matches!(kind, "size" | "copy" | "call") { LARGE_CODES } else { 0 };
        let most = needed + 1 + SYSTEM_CONTRACTS.len();
        for (mode, mut asked) in [("bal", asked), ("sequential", sequential_asked)] {
            let reads = asked.len();
            asked.sort_unstable();
            asked.dedup();
            assert!((needed..=most).contains(&asked.len()), "{kind}: {} codes in {mode} mode", asked.len());
            // A code that several threads need at the same time may be read by each of them: by two workers and by
            // the prefetch.
            assert!(reads <= 3 * asked.len(), "{kind}: {reads} reads of {} codes in {mode} mode", asked.len());
        }
        assert!(grown < (120 << 20) + 4 * needed * CODE_LEN, "{kind}: {grown} bytes");
    }
}
