//! A store that gives wrong answers, fails or panics: the result is a typed error (or a correct outcome), the tries are
//! as before, and the executor remains usable.

mod hostile;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, BlockOutcome, Executor, Mode, Options};
use balustrade_cli::testing::WithNodes;
use hostile::cases::{self, Chain, ListedBlock, Visit, WitnessCase, shared, stored};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The fault that the store injects into its `at`th answer of the matching kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// A call fails.
    Fail,
    /// A call panics.
    Panic,
    /// An account has a wrong balance.
    Balance,
    /// An account has a wrong nonce.
    Nonce,
    /// An account has an unknown code hash.
    CodeHash,
    /// An account that exists is reported as missing.
    Absent,
    /// A slot has a wrong value.
    Slot,
    /// A code is missing.
    NoCode,
    /// A code has other bytes.
    Code,
    /// A node is missing.
    NoNode,
    /// A node has other bytes.
    Node,
    /// A node is an empty string.
    EmptyNode,
    /// A block hash is missing.
    NoBlockHash,
}

const LIES: [Lie; 13] = [
    Lie::Fail,
    Lie::Panic,
    Lie::Balance,
    Lie::Nonce,
    Lie::CodeHash,
    Lie::Absent,
    Lie::Slot,
    Lie::NoCode,
    Lie::Code,
    Lie::NoNode,
    Lie::Node,
    Lie::EmptyNode,
    Lie::NoBlockHash,
];

struct LyingStore<'a> {
    inner: &'a dyn StateStore,
    lie: Lie,
    at: usize,
    count: AtomicUsize,
}

impl<'a> LyingStore<'a> {
    fn new(inner: &'a dyn StateStore, lie: Lie, at: usize) -> Self {
        Self { inner, lie, at, count: AtomicUsize::new(0) }
    }

    /// Whether the store's fault is one of these and is due at this answer; counts the answers.
    fn lies(&self, kinds: &[Lie]) -> bool {
        kinds.contains(&self.lie) && self.count.fetch_add(1, Ordering::Relaxed) == self.at
    }

    fn call(&self) -> Result<(), StoreError> {
        if self.lies(&[Lie::Fail, Lie::Panic]) {
            assert!(self.lie != Lie::Panic, "the store panics as planned");
            return Err(StoreError::Failed("as planned".into()));
        }
        Ok(())
    }

    fn told(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.at
    }
}

impl StateStore for LyingStore<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.call()?;
        self.inner.accounts(addresses, out)?;
        for account in out {
            if self.lies(&[Lie::Balance, Lie::Nonce, Lie::CodeHash, Lie::Absent]) {
                match self.lie {
                    Lie::Balance => account.balance = account.balance.wrapping_add(U256::ONE),
                    Lie::Nonce => account.nonce = account.nonce.wrapping_add(1),
                    Lie::CodeHash => account.code_hash = B256::repeat_byte(7),
                    _ => *account = ParentAccount::default(),
                }
            }
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.call()?;
        self.inner.slots(slots, out)?;
        for value in out {
            if self.lies(&[Lie::Slot]) {
                *value = value.wrapping_add(U256::ONE);
            }
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.call()?;
        self.inner.codes(hashes, out)?;
        for code in out {
            if self.lies(&[Lie::NoCode, Lie::Code]) {
                *code = (self.lie == Lie::Code).then(|| Bytes::from_static(&[0x5b, 0x00]));
            }
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.call()?;
        if self.lies(&[Lie::NoBlockHash]) {
            return Err(StoreError::MissingBlockHash(numbers[0]));
        }
        self.inner.block_hashes(numbers, out)
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.call()?;
        self.inner.trie_nodes(nodes, out)?;
        for (node, NodeQuery { hash, .. }) in out.iter_mut().zip(nodes) {
            if self.lies(&[Lie::NoNode, Lie::Node, Lie::EmptyNode]) {
                match self.lie {
                    Lie::NoNode => return Err(StoreError::MissingNode(*hash)),
                    Lie::EmptyNode => *node = Bytes::new(),
                    _ => {
                        let mut bytes = node.to_vec();
                        let last = bytes.len() - 1;
                        bytes[last] ^= 1;
                        *node = bytes.into();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Asserts that two executions of one block agree.
fn assert_same(one: &BlockOutcome, two: &BlockOutcome) {
    assert!(one.receipts.iter().eq(two.receipts.iter()));
    assert_eq!((&one.bal, one.gas, one.state_root), (&two.bal, two.gas, two.state_root));
    assert_eq!((&one.changes, &one.requests), (&two.changes, &two.requests));
}

/// Injects every fault at every answer, up to the number of answers that the store gives. Returns how many runs ended
/// with a store error, with an invalid block, and without effect.
fn check_lies(input: &BlockInput<'_>, store: &dyn StateStore, tries: &mut StateTries) -> [usize; 3] {
    let mut counts = [0; 3];
    let root = tries.root();
    for (mode, threads) in [(Mode::Bal, 1), (Mode::Bal, 3), (Mode::Sequential, 1)] {
        let mut executor = Executor::new(threads).expect("threads");
        let honest = executor.execute(input, store, Some(tries), Options::new(mode)).expect("a valid block");
        tries.rollback();
        for lie in LIES {
            // The first answers are all tried, later ones in growing steps.
            let mut at = 0;
            loop {
                executor.forget_codes();
                let lying = LyingStore::new(store, lie, at);
                let result = executor.execute(input, &lying, Some(tries), Options::new(mode));
                match &result {
                    // The wrong answer had no effect on the block, or there was no such answer.
                    Ok(outcome) => {
                        assert_same(outcome, &honest);
                        tries.rollback();
                        counts[2] += 1;
                    }
                    Err(BlockError::Store(error)) => {
                        assert!(lie != Lie::Fail || *error == StoreError::Failed("as planned".into()), "{error}");
                        assert!(lie != Lie::Panic || matches!(error, StoreError::Failed(_)), "{error}");
                        counts[0] += 1;
                    }
                    Err(BlockError::Invalid(_)) => {
                        // Wrong values that no hash covers can only make the block look invalid.
                        let unsigned = [Lie::Balance, Lie::Nonce, Lie::CodeHash, Lie::Absent, Lie::Slot];
                        assert!(unsigned.contains(&lie), "{lie:?} at {at}: {result:?}");
                        counts[1] += 1;
                    }
                    Err(error) => panic!("{lie:?} at {at}: {error}"),
                }
                assert_eq!(tries.root(), root, "{lie:?} at {at}");
                if !lying.told() {
                    break;
                }
                at += 1 + at / 3;
            }
        }
        executor.forget_codes();
        let again = executor.execute(input, store, Some(tries), Options::new(mode)).expect("still usable");
        assert_same(&again, &honest);
        tries.rollback();
    }
    counts
}

/// Suppresses the messages of the injected panics.
fn silence_planned_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let planned = info.payload().downcast_ref::<&str>().is_some_and(|text| text.contains("as planned"));
        if !planned {
            default(info);
        }
    }));
}

/// Returns how many runs ended with a store error, with an invalid block, and without effect.
fn check_flat_states(each: impl FnOnce(Visit<'_>)) -> [usize; 3] {
    silence_planned_panics();
    let mut counts = [0; 3];
    let mut chains = 0;
    each(&mut |mut chain: Chain| {
        let mut executor = Executor::new(1).expect("threads");
        for block in chain.take_valid() {
            let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
            let found = check_lies(&chain.input(&block), &chain.store, &mut tries);
            chain.tries = tries;
            (0..3).for_each(|at| counts[at] += found[at]);
            chain.advance(&mut executor, &block).expect("a valid block");
        }
        chains += 1;
        if chains < 12 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("faults that gave a store error, an invalid block, no effect: {counts:?}");
    counts
}

#[test]
fn wrong_flat_state_gives_no_wrong_outcome() {
    let counts = check_flat_states(cases::each_stored);
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn wrong_flat_state_of_the_suite_gives_no_wrong_outcome() {
    let counts = check_flat_states(|visit| cases::each_fixture(0, 260, visit));
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

fn check_witness(case: &WitnessCase) {
    silence_planned_panics();
    let mut tries = StateTries::from_root(case.store.state_root());
    let input = BlockInput::new(&case.rules, case.block.rlp.clone()).with_list(case.block.bal.clone());
    let counts = check_lies(&input, &case.store, &mut tries);
    println!("faults that gave a store error, an invalid block, no effect: {counts:?}");
    assert!(counts[0] > 50, "{counts:?}");
}

#[test]
fn wrong_nodes_and_codes_give_no_wrong_outcome() {
    check_witness(&cases::witness(&stored("sample.json.gz")));
}

#[test]
#[ignore = "needs ../shared/bundles"]
fn wrong_nodes_and_codes_of_mainnet_give_no_wrong_outcome() {
    check_witness(&cases::witness(&shared("bundles/trie/mainnet-19840104.json.gz")));
}

fn check_missing_nodes(case: &WitnessCase) {
    let empty = balustrade::arena::store::WitnessStore::new(case.store.state_root(), [], []);
    let input = BlockInput::new(&case.rules, case.block.rlp.clone()).with_list(case.block.bal.clone());
    // Flat values of the whole witness, but no trie nodes below the top.
    let nodes = |nodes: &[NodeQuery], out: &mut [Bytes]| {
        // Answers for the root and most of its children, so that every shard lacks a node of its own.
        if nodes.len() <= 16 && case.store.trie_nodes(nodes, out).is_ok() && !nodes[0].hash[0].is_multiple_of(4) {
            return Ok(());
        }
        empty.trie_nodes(nodes, out)
    };
    let store = WithNodes { flat: &case.store, nodes };
    let errors = [1, 2, 3, 8, 16].map(|threads| {
        let mut executor = Executor::new(threads).expect("threads");
        let mut tries = StateTries::from_root(case.store.state_root());
        executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal)).map(drop)
    });
    assert!(matches!(errors[0], Err(BlockError::Store(StoreError::MissingNode(_)))), "{:?}", errors[0]);
    assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{errors:?}");
}

#[test]
fn without_nodes_every_thread_count_reports_the_same_missing_node() {
    check_missing_nodes(&cases::witness(&stored("sample.json.gz")));
}

#[test]
#[ignore = "needs ../shared/bundles"]
fn without_nodes_of_mainnet_every_thread_count_reports_the_same_missing_node() {
    check_missing_nodes(&cases::witness(&shared("bundles/trie/mainnet-19426587.json.gz")));
}

#[test]
fn an_empty_store_gives_no_outcome() {
    let mut done = 0;
    cases::each_stored(&mut |mut chain: Chain| {
        let Some(block): Option<ListedBlock> = chain.blocks.first().cloned() else { return ControlFlow::Continue(()) };
        let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
        let root = tries.root();
        for mode in [Mode::Bal, Mode::Sequential] {
            let mut executor = Executor::new(2).expect("threads");
            let nothing = MemoryStore::default();
            let result = executor.execute(&chain.input(&block), &nothing, Some(&mut tries), Options::new(mode));
            assert!(result.is_err(), "{}", chain.name);
            assert_eq!(tries.root(), root);
        }
        done += 1;
        if done < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(done, 10);
}
