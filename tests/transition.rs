//! State transitions: for every valid block of the block tests, the state before it, the fields that a builder chooses and
//! its transactions give the block again, with its state, receipts, requests and block access list. For every block with
//! an invalid transaction, that one is rejected for the reason that the fixture names.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, PayloadView};
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::{Body, Transition, TransitionInput};
use balustrade::formats::{BlockTest, Content, FixtureBlock, each_document};
use balustrade::{ChainRules, Executor, Fork, MemoryStore, StateTries};
use balustrade_cli::testing::{shared, stored};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// One in this many tests of the suites runs; `BALUSTRADE_TRANSITION_EVERY=1` runs all.
const EVERY: u64 = 25;
/// Blocks of more gas are left out: they take seconds each without optimisation.
const GAS_MAX: u64 = 60_000_000;

/// The parts of a block from its RLP, whatever its transactions are.
struct Parts {
    header: Header,
    transactions: Vec<Vec<u8>>,
    ommers: Vec<Header>,
    withdrawals: Vec<Vec<u8>>,
}

impl Parts {
    /// `None` where the header or the structure of the block is malformed.
    fn of(rlp: &[u8]) -> Option<Self> {
        let list = |mut rlp: &[u8]| match alloy_rlp::Header::decode_raw(&mut rlp).ok()? {
            PayloadView::List(items) => Some(items.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()),
            PayloadView::String(_) => None,
        };
        let items = list(rlp)?;
        let [header, transactions, ommers, rest @ ..] = items.as_slice() else { return None };
        let transaction = |item: Vec<u8>| match item.first() {
            Some(0xc0..=0xff) => Some(item),
            _ => Bytes::decode(&mut item.as_slice()).ok().map(|bytes| bytes.to_vec()),
        };
        Some(Self {
            header: Header::decode(header).ok()?,
            transactions: list(transactions)?.into_iter().map(transaction).collect::<Option<_>>()?,
            ommers: list(ommers)?.iter().map(|ommer| Header::decode(ommer).ok()).collect::<Option<_>>()?,
            withdrawals: rest.first().map_or_else(|| Some(Vec::new()), |rlp| list(rlp))?,
        })
    }

    fn transition(&self, executor: &mut Executor, rules: &ChainRules, store: &MemoryStore) -> Transition {
        let distance = |ommer: &Header| self.header.number.saturating_sub(ommer.number);
        let ommers: Vec<_> = self.ommers.iter().map(|ommer| (ommer.coinbase, distance(ommer))).collect();
        let mut input = TransitionInput::new(rules, &self.header);
        input.body = Body { transactions: &self.transactions, withdrawals: &self.withdrawals };
        input.ommers = &ommers;
        let mut tries = StateTries::from_memory(store).expect("a state in memory");
        let root = tries.root();
        let transition = executor.transition(&input, store, &mut tries).expect("the store has everything");
        assert_eq!(tries.root(), root);
        transition
    }
}

/// The accounts of a store in one order.
fn accounts(store: &MemoryStore) -> BTreeMap<alloy_primitives::Address, (u64, U256, B256, BTreeMap<U256, U256>)> {
    let row = |account: &balustrade::MemoryAccount| {
        let storage = account.storage.iter().map(|(key, value)| (*key, *value)).collect();
        (account.nonce, account.balance, account.code_hash, storage)
    };
    store.iter().map(|(address, account)| (*address, row(account))).collect()
}

/// What was tried.
#[derive(Debug, Default)]
struct Counts {
    /// Valid blocks by fork.
    valid: BTreeMap<Fork, usize>,
    /// Blocks with an invalid transaction.
    rejected: usize,
    /// States after the last block that the fixture states.
    states: usize,
    /// Blocks that cannot be tried: too much gas, malformed, not on the head.
    left_out: usize,
}

/// A test's blocks on its state.
struct Run<'a> {
    executor: &'a mut Executor,
    test: &'a BlockTest,
    store: MemoryStore,
    head: B256,
    counts: &'a mut Counts,
}

impl Run<'_> {
    /// Tries every block of the test.
    fn blocks(&mut self) {
        for (position, block) in self.test.blocks.iter().enumerate() {
            let Some(parts) = Parts::of(&block.rlp).filter(|parts| parts.header.gas_used <= GAS_MAX) else {
                self.counts.left_out += 1;
                if block.expect_exception.is_none() {
                    return;
                }
                continue;
            };
            if parts.header.parent_hash != self.head && block.expect_exception.is_none() {
                self.counts.left_out += 1;
                return;
            }
            let network = self.test.network.as_ref().expect("filtered");
            let rules = network.rules(parts.header.number, parts.header.timestamp);
            match &block.expect_exception {
                None => self.valid(position, block, &parts, &rules),
                Some(expected) if expected.contains("TransactionException.") => {
                    self.invalid(expected, &parts, &rules);
                }
                Some(_) => {}
            }
        }
    }

    fn valid(&mut self, position: usize, block: &FixtureBlock, parts: &Parts, rules: &ChainRules) {
        let at = || format!("{}, block {position}", self.test.name);
        let transition = parts.transition(self.executor, rules, &self.store);
        assert_eq!((&transition.rejected, &transition.fault), (&Vec::new(), &None), "{}", at());
        assert_eq!(transition.included, (0..parts.transactions.len()).collect::<Vec<_>>(), "{}", at());
        let ommers_hash = parts.header.ommers_hash;
        assert_eq!(Header { ommers_hash, ..transition.header.clone() }, parts.header, "{}", at());
        if let Some(list) = &block.bal {
            assert_eq!(transition.bal, *list, "{}", at());
        }
        let hash = parts.header.hash();
        if parts.ommers.is_empty() {
            let decoded = Block::decode(transition.block.clone()).expect("sealed");
            assert_eq!(decoded.header_hash, hash, "{}", at());
        }
        transition.changes.apply_to(&mut self.store);
        if let Some(expected) = self.test.post_state_after(position) {
            assert!(accounts(&expected) == accounts(&self.store), "{}: another state", at());
            self.counts.states += 1;
        }
        self.store.insert_block_hash(parts.header.number, hash);
        self.head = hash;
        *self.counts.valid.entry(rules.fork).or_default() += 1;
    }

    fn invalid(&mut self, expected: &str, parts: &Parts, rules: &ChainRules) {
        let transition = parts.transition(self.executor, rules, &self.store);
        let classes: Vec<_> = transition.rejected.iter().flat_map(|rejected| rejected.reason.eest_classes()).collect();
        let named = expected.split('|').any(|class| classes.contains(&class));
        assert!(named, "{}: expected {expected}, found {:?}", self.test.name, transition.rejected);
        assert_eq!(
            transition.included.len() + transition.rejected.len(),
            parts.transactions.len(),
            "{}",
            self.test.name
        );
        self.counts.rejected += 1;
    }
}

/// Tries one in `every` tests of an archive.
fn each_block(path: &Path, every: u64, counts: &mut Counts) {
    let mut executor = Executor::new(1).expect("a thread");
    let chosen = |name: &str| {
        let hash = keccak256(name);
        u64::from_be_bytes(hash[..8].try_into().expect("eight bytes")).is_multiple_of(every)
    };
    let flow = each_document(path, &mut |_| (), &mut |document| {
        let Content::Tests(tests) = Content::parse(&document, Some(&chosen)).expect("a fixture") else {
            panic!("{} holds no tests", document.name)
        };
        for test in tests.iter().filter(|test| test.network.is_some()) {
            let genesis = Header::of_block(&test.genesis).expect("a genesis");
            let mut store = test.pre.clone();
            store.insert_block_hash(genesis.number, genesis.hash());
            Run { executor: &mut executor, test, store, head: genesis.hash(), counts: &mut *counts }.blocks();
        }
        ControlFlow::Continue(())
    });
    assert!(flow.is_ok(), "{}: {flow:?}", path.display());
}

#[test]
fn stored_chains_are_made_again() {
    let mut counts = Counts::default();
    each_block(&stored("chains.tar.zst"), 1, &mut counts);
    println!("{counts:?}");
    assert!(counts.valid.len() >= 13 && counts.left_out < 5, "{counts:?}");
}

#[test]
#[ignore = "needs ../shared/fixtures"]
fn blocks_of_the_suites_are_made_again() {
    let every = std::env::var("BALUSTRADE_TRANSITION_EVERY").ok();
    let every = every.map_or(EVERY, |every| every.parse().expect("a number"));
    let mut forks = BTreeMap::<Fork, usize>::new();
    // The suite of the Amsterdam draft has other gas rules.
    for suite in ["amsterdam", "legacy", "paris", "shanghai", "cancun", "prague", "osaka", "transitions", "benchmark"] {
        let file = if suite == "amsterdam" { "amsterdam.tar.zst".to_owned() } else { format!("eest-{suite}.tar.zst") };
        let mut counts = Counts::default();
        let start = std::time::Instant::now();
        each_block(&shared("fixtures").join(file), every, &mut counts);
        println!("{suite}: {counts:?} in {:.1} s", start.elapsed().as_secs_f64());
        counts.valid.iter().for_each(|(fork, count)| *forks.entry(*fork).or_default() += count);
    }
    assert!(forks.len() >= 10, "{forks:?}");
}

/// Rejected transactions leave no trace: the block of the others is the same as without them.
#[test]
fn rejected_transactions_leave_no_trace() {
    let mut compared = 0;
    let flow = each_document(&stored("chains.tar.zst"), &mut |_| (), &mut |document| {
        let Ok(Content::Tests(tests)) = Content::parse(&document, None) else { panic!("fixtures") };
        let mut executor = Executor::new(1).expect("a thread");
        for test in tests.iter().filter(|test| !test.blocks.is_empty()) {
            let Some(network) = &test.network else { continue };
            let Some(parts) = Parts::of(&test.blocks[0].rlp) else { continue };
            if test.blocks[0].expect_exception.is_some() || parts.transactions.is_empty() {
                continue;
            }
            let genesis = Header::of_block(&test.genesis).expect("a genesis");
            let mut store = test.pre.clone();
            store.insert_block_hash(genesis.number, genesis.hash());
            let rules = network.rules(parts.header.number, parts.header.timestamp);
            let alone = parts.transition(&mut executor, &rules, &store);
            // Every transaction a second time, whose nonce is then too low, and bytes that are no transaction.
            let mut doubled = Vec::new();
            for transaction in &parts.transactions {
                doubled.extend([vec![0x05], transaction.clone(), transaction.clone(), vec![], vec![0xc1, 0x80]]);
            }
            let count = parts.transactions.len();
            let with_others = Parts { transactions: doubled, ..parts };
            let among = with_others.transition(&mut executor, &rules, &store);
            assert_eq!(among.header, alone.header, "{}", test.name);
            assert_eq!((among.block, among.bal), (alone.block, alone.bal), "{}", test.name);
            assert_eq!((among.changes, among.gas), (alone.changes, alone.gas), "{}", test.name);
            assert_eq!((among.requests, among.logs_hash), (alone.requests, alone.logs_hash), "{}", test.name);
            assert_eq!(among.included, (0..count).map(|tx| 5 * tx + 1).collect::<Vec<_>>(), "{}", test.name);
            assert_eq!(among.rejected.len(), 4 * count, "{}", test.name);
            assert!(among.rejected.iter().map(|rejected| rejected.index).is_sorted());
            compared += 1;
        }
        ControlFlow::Continue(())
    });
    assert!(flow.is_ok() && compared >= 10, "{flow:?}, {compared}");
}

/// A reward is credited as it is given, to the block's and the ommers' beneficiaries.
#[test]
fn rewards_are_those_of_the_input() {
    use alloy_primitives::Address;
    let rules = ChainRules::mainnet(Fork::Frontier);
    let header = Header { number: 9, gas_limit: 5_000, coinbase: Address::repeat_byte(1), ..Header::default() };
    let store = MemoryStore::default();
    let mut tries = StateTries::from_memory(&store).expect("a state in memory");
    let mut executor = Executor::new(1).expect("a thread");
    let ommers = [(Address::repeat_byte(2), 1), (Address::repeat_byte(3), 8), (Address::repeat_byte(4), u64::MAX)];
    let mut balances = |reward: Option<u64>| {
        let mut input = TransitionInput::new(&rules, &header);
        (input.reward, input.ommers) = (reward.map(U256::from), &ommers);
        let transition = executor.transition(&input, &store, &mut tries).expect("an empty block");
        let mut after = MemoryStore::default();
        transition.changes.apply_to(&mut after);
        let balance = |byte| after.account(&Address::repeat_byte(byte)).map(|account| account.balance.to::<u64>());
        [1, 2, 3, 4].map(balance)
    };
    assert_eq!(balances(Some(3_200)), [Some(3_200 + 300), Some(2_800), Some(0), Some(0)]);
    assert_eq!(balances(Some(0)), [Some(0); 4]);
    assert_eq!(balances(None), [None; 4]);
}
