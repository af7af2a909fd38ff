//! Reads of the parent state in `bal` mode: every prefetch strategy gives the same outcome and the same error; reads
//! overlap with execution and with the state root.

use super::chain::{Chain, Draft, sender, word};
use super::{CONTRACT, COUNTER, THREADS, maker};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{LatencyStore, ParentAccount, SlotQuery, StateStore, StoreError, WitnessStore};
use balustrade::arena::{Id, TxIndex};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Block, assemble};
use balustrade::executor::{BuiltBlock, PrefetchStrategy};
use balustrade::{
    BlockError, BlockInput, BlockOutcome, Executor, InvalidBlock, Mode, Options, StateChanges, StateTries,
};
use balustrade_cli::testing::WithNodes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WITH_READERS: [PrefetchStrategy; 2] = [PrefetchStrategy::Before, PrefetchStrategy::Beside];

/// Executes a block in `bal` mode.
fn execute(
    executor: &mut Executor,
    rules: &ChainRules,
    built: &BuiltBlock,
    store: &dyn StateStore,
    tries: &mut StateTries,
    reads: Option<PrefetchStrategy>,
) -> Result<BlockOutcome, BlockError> {
    let input = BlockInput::new(rules, built.block.clone()).with_list(built.bal.clone());
    executor.execute(&input, store, Some(tries), Options::new(Mode::Bal).with_parent_reads(reads))
}

/// An instrumented store: it may fail for some accounts, or delay answers.
#[derive(Default)]
struct Probe<'a> {
    inner: Option<&'a dyn StateStore>,
    bad_accounts: Vec<Address>,
    bad_slots: Vec<Address>,
    /// Reads of slots wait until a block hash (or a trie node) is read.
    slots_wait_for_hash: bool,
    slots_wait_for_node: bool,
    hash_asked: AtomicBool,
    node_asked: AtomicBool,
    calls: AtomicUsize,
}

impl Probe<'_> {
    fn inner(&self) -> &dyn StateStore {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.expect("a store")
    }
}

fn wait_for(flag: &AtomicBool) -> Result<(), StoreError> {
    let start = Instant::now();
    while !flag.load(Ordering::Acquire) {
        if start.elapsed() > Duration::from_secs(2) {
            return Err(StoreError::Failed("no other stage made progress beside the reads".into()));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

impl StateStore for Probe<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        if let Some(bad) = addresses.iter().find(|address| self.bad_accounts.contains(address)) {
            return Err(StoreError::Failed(format!("account {bad}")));
        }
        self.inner().accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        if self.slots_wait_for_hash {
            wait_for(&self.hash_asked)?;
        }
        if self.slots_wait_for_node {
            wait_for(&self.node_asked)?;
        }
        if let Some(bad) = slots.iter().find(|slot| self.bad_slots.contains(&slot.address)) {
            return Err(StoreError::Failed(format!("slot of {}", bad.address)));
        }
        self.inner().slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.inner().codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.hash_asked.store(true, Ordering::Release);
        self.inner().block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.node_asked.store(true, Ordering::Release);
        self.inner().trie_nodes(nodes, out)
    }
}

/// A block whose transactions share a slot, create and destroy a contract, and transfer to each other.
fn mixed(fork: Fork) -> (Chain, BuiltBlock) {
    let mut chain = Chain::new(fork, 40);
    let counter = Address::repeat_byte(0xc1);
    chain.deploy(CONTRACT, &maker(), []);
    chain.deploy(counter, &COUNTER, [(0, 5)]);
    let drafts: Vec<_> = (0..40)
        .map(|key| match key % 4 {
            0 => Draft::call(key, CONTRACT, word(key / 4 % 2)),
            1 => Draft::call(key, counter, Vec::new()),
            _ => Draft::transfer(key, sender((key * 7) % 40), 3),
        })
        .collect();
    let built = chain.build_listed(&drafts);
    (chain, built)
}

#[test]
fn every_prefetch_strategy_gives_one_outcome() {
    for fork in [Fork::Petersburg, Fork::Shanghai, Fork::Cancun, Fork::Amsterdam] {
        let (chain, built) = mixed(fork);
        let expected = chain.execute(&mut Executor::new(1).unwrap(), &built.block, &chain.store, Mode::Sequential);
        let expected = expected.unwrap();
        for threads in THREADS {
            let mut executor = Executor::new(threads).unwrap();
            for (reads, micros) in PrefetchStrategy::ALL.into_iter().flat_map(|reads| [(reads, 0), (reads, 20)]) {
                let store = LatencyStore::new(&chain.store, Duration::from_micros(micros), Duration::ZERO);
                let mut tries = StateTries::from_memory(&chain.store).unwrap();
                executor.forget_codes();
                let found = execute(&mut executor, &chain.rules(), &built, &store, &mut tries, Some(reads)).unwrap();
                let what = format!("{fork:?}, {reads:?}, {threads} threads");
                assert!(expected.receipts.iter().eq(found.receipts.iter()), "{what}");
                assert_eq!((&expected.changes, &expected.bal), (&found.changes, &found.bal), "{what}");
                assert_eq!((expected.state_root, expected.gas), (found.state_root, found.gas), "{what}");
            }
        }
    }
}

#[test]
fn reads_of_a_store_that_is_not_resident_overlap_with_execution() {
    // The first transaction reads a block hash; the second needs a slot, whose read waits until then.
    let mut chain = Chain::new(Fork::Cancun, 2);
    let hasher = Address::repeat_byte(0xb0);
    chain.deploy(hasher, &[0x60, 0x01, 0x43, 0x03, 0x40, 0x50, 0x00], []);
    chain.deploy(CONTRACT, &COUNTER, [(0, 5)]);
    chain.store.insert_block_hash(19_999_999, B256::repeat_byte(9));
    let drafts = [Draft::call(0, hasher, Vec::new()), Draft::call(1, CONTRACT, Vec::new())];
    let built = chain.build_listed(&drafts);
    for threads in THREADS {
        let mut executor = Executor::new(threads).unwrap();
        let mut run = |reads| {
            let store = Probe { inner: Some(&chain.store), slots_wait_for_hash: true, ..Probe::default() };
            let mut tries = StateTries::from_memory(&chain.store).unwrap();
            execute(&mut executor, &chain.rules(), &built, &store, &mut tries, reads).map(drop)
        };
        assert_eq!(run(None), Ok(()), "{threads} threads");
        if threads == 2 {
            let before = run(Some(PrefetchStrategy::Before));
            assert!(matches!(before, Err(BlockError::Store(StoreError::Failed(_)))), "{before:?}");
        }
    }
}

#[test]
fn reads_of_a_store_that_is_not_resident_overlap_with_the_state_root() {
    let (chain, built) = mixed(Fork::Amsterdam);
    let addresses: Vec<Address> = chain.store.iter().map(|(address, _)| *address).collect();
    let slots: Vec<SlotQuery> = chain
        .store
        .iter()
        .flat_map(|(address, account)| account.storage.keys().map(|key| SlotQuery { address: *address, key: *key }))
        .collect();
    let mut tries = StateTries::from_memory(&chain.store).unwrap();
    let nodes = tries.witness(&chain.store, &addresses, &slots, &StateChanges::default()).unwrap();
    let behind = WitnessStore::new(tries.root(), nodes, []);
    let nodes = |nodes: &[NodeQuery], out: &mut [Bytes]| behind.trie_nodes(nodes, out);
    let both = WithNodes { flat: &chain.store, nodes };
    for threads in THREADS {
        let store = Probe { inner: Some(&both), slots_wait_for_node: true, ..Probe::default() };
        let mut tries = StateTries::from_root(behind.state_root());
        let mut executor = Executor::new(threads).unwrap();
        let outcome = execute(&mut executor, &chain.rules(), &built, &store, &mut tries, None).unwrap();
        assert_eq!(outcome.state_root, Some(built.header.state_root), "{threads} threads");
    }
}

#[test]
fn errors_of_the_store_come_before_tasks_and_after_the_list_hash_for_any_timing() {
    let mut chain = Chain::new(Fork::Amsterdam, 40);
    // The last transaction is invalid: its task fails for every behaviour of the store.
    let late = Draft { nonce: Some(9), ..Draft::transfer(25, sender(3), 1) };
    let drafts: Vec<_> = (0..12).map(|key| Draft::transfer(key, sender(39 - key), 7)).chain([late]).collect();
    let built = chain.clone().build_listed(&drafts[..12]);
    let invalid = BuiltBlock { block: chain.assemble_under(built.header.clone(), &drafts), ..built.clone() };
    let bad_hash = {
        let mut bal = built.bal.to_vec();
        let last = bal.len() - 1;
        bal[last] ^= 1;
        BuiltBlock { bal: bal.into(), ..built.clone() }
    };
    let run = |built: &BuiltBlock, bad: &[u64], reads, threads, micros| {
        let inner = LatencyStore::new(&chain.store, Duration::from_micros(micros), Duration::ZERO);
        let bad_accounts = bad.iter().map(|key| sender(*key)).collect();
        let store = Probe { inner: Some(&inner), bad_accounts, ..Probe::default() };
        let mut tries = StateTries::from_memory(&chain.store).unwrap();
        let root = tries.root();
        let mut executor = Executor::new(threads).unwrap();
        let result = execute(&mut executor, &chain.rules(), built, &store, &mut tries, Some(reads)).map(drop);
        assert_eq!(tries.root(), root);
        result
    };
    for reads in
        [PrefetchStrategy::OnePass, PrefetchStrategy::Before, PrefetchStrategy::Beside, PrefetchStrategy::OnDemand]
    {
        for threads in THREADS {
            for micros in [0, 50] {
                let what = format!("{reads:?}, {threads} threads, {micros} µs");
                let failed = run(&built, &[8, 5], reads, threads, micros);
                assert!(matches!(failed, Err(BlockError::Store(_))), "{what}: {failed:?}");
                assert_eq!(failed, run(&built, &[8, 5], reads, 1, 0), "{what}");
                // An invalid block on a store that fails: the store's error comes first, because it concerns the
                // reads. On demand, an earlier task reads the failing account.
                let failed = run(&invalid, &[8], reads, threads, micros);
                assert!(matches!(failed, Err(BlockError::Store(_))), "{what}: {failed:?}");
                let refused = run(&invalid, &[], reads, threads, micros);
                let is_tx = matches!(&refused, Err(BlockError::Invalid(invalid)) if matches!(**invalid, InvalidBlock::Tx { .. }));
                assert!(is_tx, "{what}: {refused:?}");
                let refused = run(&bad_hash, &[8], reads, threads, micros);
                let is_list = matches!(&refused, Err(BlockError::Invalid(invalid))
                    if matches!(**invalid, InvalidBlock::BalHash { .. } | InvalidBlock::Bal(_)));
                assert!(is_list, "{what}: {refused:?}");
            }
        }
    }
}

#[test]
fn a_wrong_list_is_refused_for_its_hash_on_a_slow_store() {
    let (chain, built) = mixed(Fork::Amsterdam);
    let mut header = built.header.clone();
    header.block_access_list_hash = Some(B256::repeat_byte(7));
    let transactions = Block::decode(built.block.clone()).unwrap().transactions;
    let transactions: Vec<Vec<u8>> =
        (0..transactions.len()).map(|tx| transactions.encoded(TxIndex::new(tx)).to_vec()).collect();
    let block = assemble(&header, &transactions).into();
    let wrong = BuiltBlock { block, ..built };
    for reads in WITH_READERS {
        let store = LatencyStore::new(&chain.store, Duration::from_millis(3), Duration::ZERO);
        let mut tries = StateTries::from_memory(&chain.store).unwrap();
        let mut executor = Executor::new(2).unwrap();
        let result = execute(&mut executor, &chain.rules(), &wrong, &store, &mut tries, Some(reads));
        let is_hash =
            matches!(&result, Err(BlockError::Invalid(invalid)) if matches!(**invalid, InvalidBlock::BalHash { .. }));
        assert!(is_hash, "{reads:?}: {:?}", result.err());
    }
}
