//! Loading of codes: a code is loaded when it runs or its bytes are read, once per block, in every mode.

mod signed;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::exec::block::system::{BEACON_ROOTS, CONSOLIDATION_REQUESTS, WITHDRAWAL_REQUESTS};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::executor::PrefetchStrategy;
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, BlockOutcome, Executor, Mode, Options};
use balustrade_cli::devnet::asm::assemble;
use balustrade_cli::testing::template;
use signed::{Call, fund, secret};
use std::sync::Mutex;

/// A store that records the codes that are read from it.
struct Noting<'a> {
    inner: &'a MemoryStore,
    is_resident: bool,
    /// A code, and the false answer for it.
    lie: Option<(B256, Lie)>,
    asked: Mutex<Vec<B256>>,
}

/// A false answer for a code that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// The code is missing.
    Missing,
    /// The code has other bytes.
    Corrupt,
}

impl<'a> Noting<'a> {
    fn new(inner: &'a MemoryStore, is_resident: bool) -> Self {
        Self { inner, is_resident, lie: None, asked: Mutex::default() }
    }

    /// Number of reads of a code.
    fn times(&self, hash: B256) -> usize {
        self.asked.lock().expect("no panic").iter().filter(|asked| **asked == hash).count()
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl StateStore for Noting<'_> {
    fn is_resident(&self) -> bool {
        self.is_resident
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.inner.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.inner.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.asked.lock().expect("no panic").extend_from_slice(hashes);
        self.inner.codes(hashes, out)?;
        for (hash, code) in hashes.iter().zip(out) {
            match self.lie {
                Some((about, Lie::Missing)) if about == *hash => *code = None,
                Some((about, Lie::Corrupt)) if about == *hash => *code = Some(Bytes::from_static(&[0x00, 0x5b])),
                _ => {}
            }
        }
        Ok(())
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.inner.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.inner.trie_nodes(nodes, out)
    }
}

/// Every mode, every prefetch strategy, one thread and several.
fn ways() -> Vec<(Mode, Option<PrefetchStrategy>, usize)> {
    let mut ways = vec![(Mode::Sequential, None, 1), (Mode::Optimistic, None, 1), (Mode::Optimistic, None, 3)];
    for reads in PrefetchStrategy::ALL {
        ways.extend([1, 3].map(|threads| (Mode::Bal, Some(reads), threads)));
    }
    ways
}

/// A contract in the block access list whose code is needed or not, depending on the test.
const TARGET: Address = Address::repeat_byte(0x77);
/// Another contract in the list, of which only the balance is read.
const BYSTANDER: Address = Address::repeat_byte(0x78);

/// A block without transactions, whose first and last system calls run `access`.
struct World {
    rules: ChainRules,
    store: MemoryStore,
    tries: StateTries,
    target: B256,
    bystander: B256,
    block: Bytes,
    bal: Bytes,
}

impl World {
    fn new(access: &str) -> Self {
        let rules = ChainRules::mainnet(Fork::Amsterdam);
        let mut store = MemoryStore::default();
        let mut add = |address, code: Vec<u8>| {
            let hash = store.insert_code(code.into());
            store.insert_account(address, 1, U256::from(1), hash, []);
            hash
        };
        let text = format!("{TARGET} {access} {TARGET} {access} {BYSTANDER} BALANCE POP STOP");
        let code = assemble(&text);
        for system in [BEACON_ROOTS, WITHDRAWAL_REQUESTS, CONSOLIDATION_REQUESTS] {
            add(system, code.clone());
        }
        for system in balustrade::exec::block::system::SYSTEM_CONTRACTS {
            if ![BEACON_ROOTS, WITHDRAWAL_REQUESTS, CONSOLIDATION_REQUESTS].contains(&system) {
                add(system, vec![0x00]);
            }
        }
        let target = add(TARGET, vec![0x5b; 3_000]);
        let bystander = add(BYSTANDER, vec![0x5b; 2_999]);
        let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
        let mut executor = Executor::new(1).expect("threads");
        let built =
            executor.build(&rules, &template(Fork::Amsterdam), &Vec::new(), &store, &mut tries).expect("a block");
        Self { rules, store, tries, target, bystander, block: built.block, bal: built.bal }
    }

    fn execute(
        &mut self,
        store: &Noting<'_>,
        (mode, parent_reads, threads): (Mode, Option<PrefetchStrategy>, usize),
    ) -> Result<BlockOutcome, BlockError> {
        let mut executor = Executor::new(threads).expect("threads");
        let input = BlockInput::new(&self.rules, self.block.clone()).with_list(self.bal.clone());
        let options = Options::new(mode).with_parent_reads(parent_reads);
        let result = executor.execute(&input, store, Some(&mut self.tries), options);
        self.tries.rollback();
        result
    }
}

/// Instructions on the address on top of the stack, and whether they need the account's code.
const ACCESSES: [(&str, bool); 8] = [
    ("BALANCE POP", false),
    ("EXTCODEHASH POP", false),
    ("EXTCODESIZE POP", true),
    ("10 0 0 DUP4 EXTCODECOPY POP", true),
    ("0 0 0 0 0 DUP6 GAS CALL POP POP", true),
    ("0 0 0 0 DUP5 GAS DELEGATECALL POP POP", true),
    ("0 0 0 0 DUP5 GAS STATICCALL POP POP", true),
    ("0 0 0 0 0 DUP6 GAS CALLCODE POP POP", true),
];

#[test]
fn a_code_is_loaded_once_where_it_is_used_and_never_where_it_is_not() {
    for (access, is_use) in ACCESSES {
        let mut world = World::new(access);
        for way in ways() {
            for is_resident in [true, false] {
                let inner = world.store.clone();
                let store = Noting::new(&inner, is_resident);
                let outcome = world.execute(&store, way).unwrap_or_else(|error| panic!("{access} {way:?}: {error}"));
                assert_eq!(outcome.bal, world.bal, "{access} {way:?}");
                // Two tasks use the code: on several threads both may read it at the same time.
                let most = if way.2 == 1 { 1 } else { 2 };
                let times = if is_use { 1..=most } else { 0..=0 };
                assert!(times.contains(&store.times(world.target)), "{access} {way:?}");
                // The bystander's code may be loaded together with the target's, never alone.
                assert!(is_use || store.times(world.bystander) == 0, "{access} {way:?}");
            }
        }
    }
}

#[test]
fn a_missing_or_corrupt_code_is_an_error_of_the_store_only_where_it_is_used() {
    for (access, is_use) in ACCESSES {
        let mut world = World::new(access);
        for lie in [Lie::Missing, Lie::Corrupt] {
            for way in ways() {
                for is_resident in [true, false] {
                    let inner = world.store.clone();
                    let used = Noting { lie: Some((world.target, lie)), ..Noting::new(&inner, is_resident) };
                    let result = world.execute(&used, way);
                    match (is_use, lie, result) {
                        (false, _, Ok(outcome)) => assert_eq!(outcome.bal, world.bal),
                        (true, Lie::Missing, Err(BlockError::Store(StoreError::MissingCode(hash)))) => {
                            assert_eq!(hash, world.target);
                        }
                        (true, Lie::Corrupt, Err(BlockError::Store(StoreError::Corrupt(text)))) => {
                            assert!(text.contains(&world.target.to_string()), "{text}");
                        }
                        (.., result) => panic!("{access} {lie:?} {way:?}: {:?}", result.map(|outcome| outcome.gas)),
                    }
                    // No task needs the bystander's code, so that its error is not reported even if it is loaded.
                    let unused = Noting { lie: Some((world.bystander, lie)), ..Noting::new(&inner, is_resident) };
                    let outcome = world.execute(&unused, way).expect("valid");
                    assert_eq!(outcome.bal, world.bal, "{access} {lie:?} {way:?}");
                }
            }
        }
    }
}

/// BALANCE of 1,500 contracts with 24 KiB of code each, which nothing runs.
#[test]
fn balances_of_contracts_load_none_of_their_codes() {
    let rules = ChainRules { chain_id: 1, ..ChainRules::mainnet(Fork::Amsterdam) };
    let mut store = MemoryStore::default();
    let mut add = |address, code: Vec<u8>| {
        let hash = store.insert_code(code.into());
        store.insert_account(address, 1, U256::from(1), hash, []);
        hash
    };
    for system in balustrade::exec::block::system::SYSTEM_CONTRACTS {
        add(system, vec![0x00]);
    }
    let code = |number: u64| [&[0x5b; 24_568][..], &number.to_be_bytes()].concat();
    let address = |number: u64| Address::from_word(U256::from((1 << 40) + number).into());
    let large: Vec<B256> = (0..1_500).map(|number| add(address(number), code(number))).collect();
    let reader = Address::repeat_byte(0x4e);
    let base = 1u64 << 40;
    let text = format!("0 again: DUP1 {base} ADD BALANCE POP 1 ADD DUP1 1500 GT @again JUMPI STOP");
    add(reader, assemble(&text));
    fund(&mut store, 1);
    let call = Call { nonce: 0, gas: 10_000_000, to: Some(reader), value: 0, data: &[] };
    let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
    let mut executor = Executor::new(1).expect("threads");
    let built = executor
        .build(&rules, &template(Fork::Amsterdam), &[call.sign(&secret(0))], &store, &mut tries)
        .expect("a block");
    assert!(built.transactions[0].success && built.bal.len() > 20 * large.len(), "every contract is listed");
    let (block, bal) = (built.block, built.bal);
    let mut first: Option<BlockOutcome> = None;
    for (mode, parent_reads, threads) in ways() {
        for is_resident in [true, false] {
            let noting = Noting::new(&store, is_resident);
            let mut executor = Executor::new(threads).expect("threads");
            let input = BlockInput::new(&rules, block.clone()).with_list(bal.clone());
            let options = Options::new(mode).with_parent_reads(parent_reads);
            let outcome = executor.execute(&input, &noting, Some(&mut tries), options).expect("valid");
            tries.rollback();
            for hash in &large {
                assert_eq!(noting.times(*hash), 0, "{mode:?} {parent_reads:?}: a code that does not run");
            }
            assert!((1..10).contains(&noting.asked()), "{mode:?}: the reader's and the system contracts' codes");
            assert!(executor.codes().bytes_held() < 2 << 20, "{mode:?}");
            let Some(first) = &first else {
                first = Some(outcome);
                continue;
            };
            assert!(first.receipts.iter().eq(outcome.receipts.iter()), "{mode:?}");
            assert_eq!((&first.bal, first.gas, first.state_root), (&outcome.bal, outcome.gas, outcome.state_root));
            assert_eq!(first.changes, outcome.changes, "{mode:?}");
        }
    }
}
