//! Blocks executed on uncommitted parents: they have the same roots as blocks committed one by one, each can be rolled
//! back alone, and a block that fails at any point leaves the uncommitted ones below it unchanged.

mod signed;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::cancel::CancelToken;
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::EMPTY_OMMERS_HASH;
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade::executor::Body;
use balustrade::trie::{Savepoint, StateTries, TrieError, ordered_root};
use balustrade::{BlockError, BlockInput, BlockOutcome, Executor, InvalidBlock, Mode, Options, StateChanges};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::testing::WithNodes;
use signed::Call;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Modes with their numbers of threads.
const MODES: [(Mode, &[usize]); 3] = [(Mode::Bal, &[1, 3]), (Mode::Sequential, &[1]), (Mode::Optimistic, &[3])];

/// A block of the generated chain, with the state before it and the roots before and after it.
struct Link {
    rules: ChainRules,
    parent: Header,
    block: Bytes,
    bal: Bytes,
    /// The header fields and, below, the transactions from which the block was built.
    template: Header,
    transactions: Vec<Vec<u8>>,
    store: MemoryStore,
    before: B256,
    after: B256,
}

impl Link {
    fn input(&self) -> BlockInput<'_> {
        BlockInput::new(&self.rules, self.block.clone()).with_list(self.bal.clone()).with_parent(&self.parent)
    }

    fn run(&self, executor: &mut Executor, tries: &mut StateTries, mode: Mode) -> Result<BlockOutcome, BlockError> {
        executor.execute(&self.input(), &self.store, Some(tries), Options::new(mode))
    }

    /// The same block with another state root in its header.
    fn with_wrong_root(&self) -> Bytes {
        let block = Block::decode(self.block.clone()).expect("made here");
        let header = Header { state_root: B256::repeat_byte(0xee), ..block.header.clone() };
        let withdrawals: Vec<Vec<u8>> = block.withdrawals_encoded().map(<[u8]>::to_vec).collect();
        balustrade::exec::wire::assemble_with_withdrawals(&header, &self.transactions, &withdrawals).into()
    }
}

/// The first blocks of the generated chain, each committed before the next one.
fn links(count: usize) -> Vec<Link> {
    let mut devnet = Devnet::default();
    let rules = Devnet::rules();
    let mut store = devnet.genesis_state();
    let mut tries = StateTries::from_memory(&store).expect("a state");
    let mut parent = Devnet::genesis_header(tries.root());
    store.insert_block_hash(0, parent.hash());
    let mut executor = Executor::new(2).expect("threads");
    (0..count)
        .map(|_| {
            let template = Devnet::template(&parent);
            let transactions = devnet.transactions(template.base_fee.expect("London"));
            let withdrawals = devnet.withdrawals(template.number);
            let body = Body { transactions: &transactions, withdrawals: &withdrawals };
            let before = tries.root();
            let built = executor.build_body(&rules, &template, body, &store, &mut tries, None).expect("valid");
            assert_eq!(tries.root(), before);
            let link = Link {
                rules,
                parent: parent.clone(),
                block: built.block,
                bal: built.bal,
                template,
                transactions,
                store: store.clone(),
                before,
                after: built.header.state_root,
            };
            let outcome = link.run(&mut executor, &mut tries, Mode::Sequential).expect("valid");
            tries.commit();
            assert_eq!(tries.root(), link.after);
            outcome.changes.apply_to(&mut store);
            store.insert_block_hash(outcome.number, outcome.hash);
            parent = built.header;
            link
        })
        .collect()
}

fn tries_at(link: &Link) -> StateTries {
    StateTries::from_memory(&link.store).expect("a state")
}

#[test]
fn stacked_blocks_have_the_roots_of_blocks_committed_one_by_one() {
    let links = links(3);
    for (mode, threads) in MODES {
        for threads in threads {
            let mut executor = Executor::new(*threads).expect("threads");
            let mut tries = tries_at(&links[0]);
            let mut savepoints: Vec<Savepoint> = Vec::new();
            for link in &links {
                savepoints.push(tries.savepoint());
                let outcome = link.run(&mut executor, &mut tries, mode).expect("valid");
                assert_eq!(outcome.state_root, Some(link.after));
                outcome.require_complete().expect("tries and parent are given");
                assert_eq!(tries.root(), link.after, "{mode:?}");
            }
            // Rolls back the last block and executes it again, then the last two, then all of them.
            for undone in (0..links.len()).rev() {
                tries.rollback_to(savepoints[undone]).expect("a valid savepoint");
                assert_eq!(tries.root(), links[undone].before, "{mode:?}");
                // The savepoints above it are discarded, its own is not.
                for (at, link) in links.iter().enumerate().skip(undone) {
                    savepoints[at] = tries.savepoint();
                    link.run(&mut executor, &mut tries, mode).expect("valid");
                }
                assert_eq!(tries.root(), links[2].after, "{mode:?}");
            }
            tries.rollback_to(savepoints[2]).expect("a valid savepoint");
            tries.commit();
            assert_eq!(tries.rollback_to(savepoints[2]), Err(TrieError::StaleSavepoint));
            tries.rollback();
            assert_eq!(tries.root(), links[2].before, "two blocks are committed, {mode:?}");
            links[2].run(&mut executor, &mut tries, mode).expect("valid");
            tries.rollback();
            assert_eq!(tries.root(), links[2].before, "{mode:?}");
        }
    }
}

#[test]
fn the_whole_stack_is_rolled_back_to_the_last_commit() {
    let links = links(2);
    let mut executor = Executor::new(2).expect("threads");
    let mut tries = tries_at(&links[0]);
    let start = tries.savepoint();
    links.iter().for_each(|link| drop(link.run(&mut executor, &mut tries, Mode::Bal).expect("valid")));
    tries.rollback();
    assert_eq!(tries.root(), links[0].before);
    tries.rollback_to(start).expect("the state of the last commit stays marked");
    assert_eq!(tries.root(), links[0].before);
}

/// A store that fails from its `n`th call on.
struct FailingStore<'a> {
    store: &'a dyn StateStore,
    calls_left: AtomicUsize,
}

impl<'a> FailingStore<'a> {
    fn new(store: &'a dyn StateStore, calls: usize) -> Self {
        Self { store, calls_left: AtomicUsize::new(calls) }
    }

    fn call(&self) -> Result<(), StoreError> {
        let left = self.calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| StoreError::Failed("as planned".into()))
    }
}

impl StateStore for FailingStore<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.call()?;
        self.store.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.call()?;
        self.store.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.call()?;
        self.store.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.call()?;
        self.store.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.call()?;
        self.store.trie_nodes(nodes, out)
    }
}

#[test]
fn a_block_that_fails_leaves_the_uncommitted_ones_below_it() {
    let links = links(2);
    let (first, second) = (&links[0], &links[1]);
    for (mode, threads) in MODES {
        for threads in threads {
            let what = format!("{mode:?} on {threads} threads");
            let mut executor = Executor::new(*threads).expect("threads");
            let mut tries = tries_at(first);
            first.run(&mut executor, &mut tries, mode).expect("valid");
            let options = Options::new(mode);

            let mut wrong = second.input();
            wrong.block = second.with_wrong_root();
            let result = executor.execute(&wrong, &second.store, Some(&mut tries), options);
            let Err(BlockError::Invalid(invalid)) = result else { panic!("{what}: {result:?}") };
            assert!(matches!(*invalid, InvalidBlock::StateRoot { produced, .. } if produced == second.after), "{what}");
            assert_eq!(tries.root(), first.after, "{what}");

            let mut undecodable = second.input();
            undecodable.block = Bytes::from_static(&[0xc0]);
            let result = executor.execute(&undecodable, &second.store, Some(&mut tries), options);
            assert!(matches!(result, Err(BlockError::Invalid(_))), "{what}: {result:?}");
            assert_eq!(tries.root(), first.after, "{what}");

            for calls in [0, 1, 2, 5] {
                let failing = FailingStore::new(&second.store, calls);
                let result = executor.execute(&second.input(), &failing, Some(&mut tries), options);
                assert!(matches!(result, Err(BlockError::Store(_))), "{what}: {result:?}");
                assert_eq!(tries.root(), first.after, "{what}");
            }

            let token = CancelToken::new();
            token.cancel();
            let result =
                executor.execute(&second.input().with_cancel(&token), &second.store, Some(&mut tries), options);
            assert!(matches!(result, Err(BlockError::Cancelled(_))), "{what}: {result:?}");
            assert_eq!(tries.root(), first.after, "{what}");

            second.run(&mut executor, &mut tries, mode).expect("still valid");
            assert_eq!(tries.root(), second.after, "{what}");
            tries.rollback();
            assert_eq!(tries.root(), first.before, "{what}");
        }
    }
}

#[test]
fn building_and_transacting_leave_the_uncommitted_blocks_below() {
    let links = links(2);
    let (first, second) = (&links[0], &links[1]);
    let mut executor = Executor::new(2).expect("threads");
    let mut tries = tries_at(first);
    first.run(&mut executor, &mut tries, Mode::Bal).expect("valid");

    // Builds on the uncommitted state, which is unchanged afterwards, whether building succeeds or not.
    let mut body = second.transactions.clone();
    executor.build(&second.rules, &second.template, &body, &second.store, &mut tries).expect("valid");
    assert_eq!(tries.root(), first.after);
    let failing = FailingStore::new(&second.store, 3);
    executor.build(&second.rules, &second.template, &body, &failing, &mut tries).expect_err("the store fails");
    assert_eq!(tries.root(), first.after);
    body.push(body[0].clone());
    executor.build(&second.rules, &second.template, &body, &second.store, &mut tries).expect_err("a nonce twice");
    assert_eq!(tries.root(), first.after);

    let options = Options::new(Mode::Sequential);
    let twice: Bytes = assemble(&second.template, &body).into();
    let result = executor.transact(&second.rules, twice, &second.store, &mut tries, options, None);
    assert!(matches!(result, Err(BlockError::Invalid(_))), "{result:?}");
    assert_eq!(tries.root(), first.after);
    let before = tries.savepoint();
    let block = second.block.clone();
    let done = executor.transact(&second.rules, block, &second.store, &mut tries, options, None).expect("valid");
    assert_eq!(tries.root(), done.state_root);
    assert_ne!(tries.root(), first.after);
    tries.rollback_to(before).expect("a valid savepoint");
    assert_eq!(tries.root(), first.after);
    tries.rollback();
    assert_eq!(tries.root(), first.before);
}

/// A store with flat values in memory and trie nodes by hash; all calls for nodes after the first `calls` ones fail.
fn node_store<'a>(flat: &'a MemoryStore, nodes: &'a BTreeMap<B256, Bytes>, calls: usize) -> impl StateStore + 'a {
    let calls_left = AtomicUsize::new(calls);
    let nodes = move |queries: &[NodeQuery], out: &mut [Bytes]| {
        let left = calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| StoreError::Failed("as planned".into()))?;
        for (NodeQuery { hash, .. }, out) in queries.iter().zip(out) {
            *out = nodes.get(hash).cloned().ok_or(StoreError::MissingNode(*hash))?;
        }
        Ok(())
    };
    WithNodes { flat, nodes }
}

/// Every node of a state by hash.
fn all_nodes(store: &MemoryStore, tries: &mut StateTries) -> BTreeMap<B256, Bytes> {
    let addresses: Vec<Address> = store.iter().map(|(address, _)| *address).collect();
    let slots: Vec<SlotQuery> = store
        .iter()
        .flat_map(|(address, account)| account.storage.keys().map(|key| SlotQuery { address: *address, key: *key }))
        .collect();
    let nodes = tries.witness(store, &addresses, &slots, &StateChanges::default()).expect("in memory");
    nodes.into_iter().map(|node| (keccak256(&node), node)).collect()
}

#[test]
fn an_update_that_fails_while_it_resolves_nodes_leaves_the_uncommitted_blocks_below() {
    let links = links(2);
    let (first, second) = (&links[0], &links[1]);
    let nodes = all_nodes(&first.store, &mut tries_at(first));
    let mut refused = 0;
    for (mode, threads) in [(Mode::Bal, 1), (Mode::Bal, 3), (Mode::Sequential, 1)] {
        let mut executor = Executor::new(threads).expect("threads");
        // The tries start with the root hash only, so that both blocks read nodes from the store.
        let mut tries = StateTries::from_root(first.before);
        let options = Options::new(mode);
        executor
            .execute(&first.input(), &node_store(&first.store, &nodes, usize::MAX), Some(&mut tries), options)
            .expect("valid");
        // The first calls are all tried, later ones in growing steps.
        let mut calls = 0;
        loop {
            assert_eq!(tries.root(), first.after);
            match executor.execute(
                &second.input(),
                &node_store(&second.store, &nodes, calls),
                Some(&mut tries),
                options,
            ) {
                Ok(outcome) => {
                    assert_eq!(outcome.state_root, Some(second.after));
                    break;
                }
                Err(BlockError::Store(StoreError::Failed(_))) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            calls += 1 + calls / 2;
        }
        assert_eq!(tries.root(), second.after);
        tries.rollback();
        assert_eq!(tries.root(), first.before);
    }
    assert!(refused > 3, "the second block needs nodes of its own: {refused}");
}

/// A transaction without replay protection, gas price and value, with the signature (1, 1), and its sender.
fn free_transaction(to: Address) -> (Vec<u8>, Address) {
    Call { nonce: 0, gas: 21_000, to: Some(to), value: 0, data: &[] }.free()
}

/// Before Byzantium a block updates the tries once per transaction, because each receipt has a state root.
#[test]
fn blocks_of_several_updates_are_undone_whole() {
    let rules = ChainRules::mainnet(Fork::Frontier);
    let mut store = MemoryStore::default();
    let transactions = [1, 2, 3].map(|to| free_transaction(Address::repeat_byte(to)));
    for (_, sender) in &transactions {
        store.insert_account(*sender, 0, U256::ONE, keccak256([]), []);
    }
    for mode in [Mode::Sequential, Mode::Optimistic] {
        let mut store = store.clone();
        let mut tries = StateTries::from_memory(&store).expect("a state");
        let genesis = tries.root();
        let mut executor = Executor::new(2).expect("threads");
        let mut roots = vec![genesis];
        let mut attempts = 0;
        for (number, (transaction, _)) in (1..).zip(&transactions) {
            let mut header = Header {
                number,
                gas_limit: 1_000_000,
                difficulty: U256::from(1 << 20),
                ommers_hash: EMPTY_OMMERS_HASH,
                coinbase: Address::repeat_byte(0xcb),
                transactions_root: ordered_root(&[transaction.as_slice()]),
                ..Header::default()
            };
            // The errors give the header's correct values; each failed attempt leaves the blocks below unchanged.
            let outcome = loop {
                let block: Bytes = assemble(&header, &[transaction]).into();
                let input = BlockInput::new(&rules, block);
                match executor.execute(&input, &store, Some(&mut tries), Options::new(mode)) {
                    Ok(outcome) => break outcome,
                    Err(BlockError::Invalid(invalid)) => match *invalid {
                        InvalidBlock::GasUsed { produced, .. } => header.gas_used = produced,
                        InvalidBlock::ReceiptsRoot { produced, .. } => header.receipts_root = produced,
                        InvalidBlock::StateRoot { produced, .. } => header.state_root = produced,
                        other => panic!("{other}"),
                    },
                    Err(error) => panic!("{error}"),
                }
                assert_eq!(tries.root(), roots[roots.len() - 1], "{mode:?}, block {number}");
                attempts += 1;
            };
            assert_ne!(tries.root(), roots[roots.len() - 1]);
            roots.push(tries.root());
            outcome.changes.apply_to(&mut store);
        }
        assert_eq!(attempts, 9, "three wrong fields in each of three headers");
        assert_eq!(StateTries::from_memory(&store).expect("a state").root(), tries.root(), "{mode:?}");
        tries.rollback();
        assert_eq!(tries.root(), genesis);
    }
}
