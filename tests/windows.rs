//! Windows of blocks: the outcomes, roots and errors of several blocks executed together are those of one block at a time.

use alloy_primitives::{Bytes, U256};
use balustrade::bal::bal_hash;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::{Body, Check};
use balustrade::formats::{Content, FixtureBlock, each_document};
use balustrade::outcome::ReceiptList;
use balustrade::{
    BlockInput, BlockOutcome, DbError, Executor, MemoryStore, Mode, Options, ReplayError, Roots, StateChanges, StateDb,
    WindowOptions,
};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::testing::{Folder, shared, stored};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Number of transactions of each block.
const TRANSACTIONS: usize = 45;

/// A block with its list.
#[derive(Clone, Debug)]
struct Link {
    block: Bytes,
    list: Bytes,
}

impl Link {
    fn input<'a>(&self, rules: &'a ChainRules) -> BlockInput<'a> {
        BlockInput::new(rules, self.block.clone()).with_list(self.list.clone())
    }
}

fn genesis() -> StateDb {
    StateDb::at_genesis(Devnet::default().genesis_state(), Devnet::genesis_header).expect("a state")
}

/// The first blocks of a chain that deploys contracts and calls them, delegates accounts and pays withdrawals.
fn chain(count: usize) -> Vec<Link> {
    chain_of(&vec![TRANSACTIONS; count])
}

/// [`chain`] with these numbers of transactions.
fn chain_of(transactions: &[usize]) -> Vec<Link> {
    let mut devnet = Devnet::default();
    let rules = Devnet::rules();
    let (mut db, mut executor) = (genesis(), Executor::new(2).expect("threads"));
    transactions
        .iter()
        .map(|count| {
            let template = Devnet::template(db.head());
            let base_fee = template.base_fee.expect("London");
            let transactions: Vec<_> = (0..*count).map(|_| devnet.next(base_fee, 0).1).collect();
            let withdrawals = devnet.withdrawals(template.number);
            let body = Body { transactions: &transactions, withdrawals: &withdrawals };
            let (store, tries) = db.parts();
            let built = executor.build_body(&rules, &template, body, store, tries, None).expect("valid");
            let link = Link { block: built.block, list: built.bal };
            let outcome = db.execute(&mut executor, &link.input(&rules), Options::automatic()).expect("valid");
            db.commit(&outcome).expect("it was executed");
            link
        })
        .collect()
}

/// Everything in an outcome that does not depend on time and threads.
#[derive(Debug, PartialEq)]
struct Facts {
    ids: (u64, alloy_primitives::B256, Option<alloy_primitives::B256>),
    receipts: Vec<Vec<u8>>,
    transactions: Vec<(bool, u64, u64)>,
    requests: Vec<Vec<u8>>,
    gas_used: u64,
    reads: (usize, usize),
    changes: StateChanges,
    before: StateChanges,
    bal: Bytes,
    unchecked: usize,
}

fn receipts(list: &ReceiptList) -> Vec<Vec<u8>> {
    list.iter().map(<[u8]>::to_vec).collect()
}

fn facts(outcome: BlockOutcome) -> Facts {
    assert_eq!(outcome.mode, Mode::Bal);
    Facts {
        ids: (outcome.number, outcome.hash, outcome.state_root),
        receipts: receipts(&outcome.receipts),
        transactions: outcome.transactions.iter().map(|tx| (tx.success, tx.gas_paid, tx.gas_execution)).collect(),
        requests: outcome.requests,
        gas_used: outcome.gas_used,
        reads: (outcome.reads.accounts, outcome.reads.slots),
        changes: outcome.changes,
        before: outcome.before,
        bal: outcome.bal,
        unchecked: outcome.unchecked.len(),
    }
}

/// The outcomes of the generated chain.
fn replay(
    db: &mut StateDb,
    links: &[Link],
    threads: usize,
    window: WindowOptions,
) -> (Vec<Facts>, Option<String>, usize) {
    let rules = Devnet::rules();
    let mut executor = Executor::new(threads).expect("threads");
    outcomes_of(db, &mut executor, links.iter().map(|link| link.input(&rules)), window)
}

/// The outcomes of a chain, the error that ended it, and how many blocks were executed alone within their windows.
fn outcomes_of<'b>(
    db: &mut StateDb,
    executor: &mut Executor,
    blocks: impl Iterator<Item = BlockInput<'b>>,
    window: WindowOptions,
) -> (Vec<Facts>, Option<String>, usize) {
    let mut replay = db.replay(executor, blocks, Options::new(Mode::Bal), window);
    let (mut outcomes, mut error) = (Vec::new(), None);
    for outcome in &mut replay {
        match outcome {
            Ok(outcome) => outcomes.push(facts(outcome)),
            Err(ReplayError::Block(found)) => error = Some(format!("{found:?}")),
            Err(other) => panic!("{other}"),
        }
    }
    let alone = replay.alone();
    (outcomes, error, alone)
}

fn alone() -> WindowOptions {
    WindowOptions::new(1)
}

/// The block at `row` with another list, whose hash is in the header; the blocks after it have other parents.
fn with_list(links: &[Link], row: usize, list: Bytes) -> Vec<Link> {
    let mut links = links.to_vec();
    let block = Block::decode(links[row].block.clone()).expect("a block");
    let header = Header { block_access_list_hash: Some(bal_hash(&list)), ..block.header.clone() };
    links[row] = Link { block: resealed(&links[row].block, &header), list };
    links
}

/// A block with another header.
fn resealed(block: &Bytes, header: &Header) -> Bytes {
    let block = Block::decode(block.clone()).expect("a block");
    let transactions: Vec<&[u8]> = (0..block.transactions.len())
        .map(|tx| block.transactions.encoded(balustrade::arena::TxIndex(tx as u32)))
        .collect();
    let withdrawals: Vec<Vec<u8>> = block.withdrawals_encoded().map(<[u8]>::to_vec).collect();
    balustrade::exec::wire::assemble_with_withdrawals(header, &transactions, &withdrawals).into()
}

#[test]
fn a_window_gives_the_outcomes_of_one_block_at_a_time() {
    let links = chain(12);
    let mut db = genesis();
    let (expected, error, _) = replay(&mut db, &links, 1, alone());
    assert_eq!((expected.len(), error), (12, None));
    let head = (db.head_hash(), db.state_root());
    for threads in [1, 2, 3, 8] {
        for blocks in [1, 2, 7, 64] {
            let mut db = genesis();
            let (outcomes, error, alone) = replay(&mut db, &links, threads, WindowOptions::new(blocks));
            assert_eq!(outcomes, expected, "{threads} threads, {blocks} blocks");
            assert_eq!((error, alone), (None, 0), "{threads} threads, {blocks} blocks");
            assert_eq!((db.head_hash(), db.state_root()), head);
        }
    }
}

#[test]
fn a_window_can_be_reverted_and_executed_again() {
    let links = chain(9);
    let mut db = genesis();
    let (expected, ..) = replay(&mut db, &links, 2, WindowOptions::new(64));
    for number in [7, 3, 0] {
        db.revert_to(number).expect("within the window of reverts");
        let (outcomes, error, _) = replay(&mut db, &links[number as usize..], 2, WindowOptions::new(4));
        assert_eq!((outcomes.as_slice(), error), (&expected[number as usize..], None));
    }
}

#[test]
fn the_last_root_proves_the_end_of_the_window_and_the_other_roots_are_named_as_unchecked() {
    let links = chain(8);
    let mut db = genesis();
    let (expected, ..) = replay(&mut db, &links, 2, alone());
    for threads in [1, 2] {
        let mut db = genesis();
        let rules = Devnet::rules();
        let mut executor = Executor::new(threads).expect("threads");
        let blocks = links.iter().map(|link| link.input(&rules));
        let window = WindowOptions::new(8).with_roots(Roots::Last);
        let outcomes: Vec<_> = db
            .replay(&mut executor, blocks, Options::automatic(), window)
            .map(|outcome| outcome.expect("valid"))
            .collect();
        for (row, outcome) in outcomes.iter().enumerate() {
            let checks: Vec<_> = outcome.unchecked.iter().map(|unchecked| unchecked.check).collect();
            let open = if row == 7 { vec![] } else { vec![Check::ParentState, Check::StateRoot] };
            assert_eq!(checks, open, "block {row}");
            assert_eq!(outcome.changes, expected[row].changes);
        }
        assert_eq!(outcomes[7].state_root, expected[7].ids.2);
        let (_, tries) = db.parts();
        assert_eq!(tries.root(), expected[7].ids.2.expect("a root"));
    }
}

#[test]
fn a_bad_block_ends_the_window_with_the_error_of_that_block_alone() {
    let links = chain(6);
    for bad in 0..links.len() {
        // A value in the list is wrong: the block does not do what its list says.
        let mut list = links[bad].list.to_vec();
        let place = list.len() - 40 - bad;
        list[place] ^= 1;
        let header = Header::of_block(&links[bad].block).expect("a header");
        let wrong_root = Header { state_root: bal_hash(b"another state"), ..header };
        let mut other_root = links.clone();
        other_root[bad].block = resealed(&links[bad].block, &wrong_root);
        for links in [with_list(&links, bad, list.into()), other_root] {
            let mut db = genesis();
            let (before, expected, _) = replay(&mut db, &links, 1, alone());
            assert_eq!(before.len(), bad);
            let expected = expected.expect("the block is invalid");
            let head = db.head_hash();
            for threads in [1, 2, 3] {
                for roots in [Roots::Every, Roots::Last] {
                    let mut db = genesis();
                    let window = WindowOptions::new(64).with_roots(roots);
                    let (outcomes, error, alone) = replay(&mut db, &links, threads, window);
                    assert_eq!(outcomes, before);
                    assert_eq!(error.as_ref(), Some(&expected), "block {bad}");
                    assert_eq!(alone, 0);
                    assert_eq!(db.head_hash(), head);
                }
            }
            // The chain goes on with the right block.
            let (outcomes, error, _) = replay(&mut db, &self::chain(6)[bad..], 2, WindowOptions::new(64));
            assert_eq!((outcomes.len(), error), (6 - bad, None));
        }
    }
}

/// The first block takes far longer than the others together, and one behind it is wrong: the blocks behind the wrong one
/// are done long before, and none of them is kept.
#[test]
fn nothing_behind_a_wrong_block_is_kept_while_the_first_block_still_runs() {
    let links = chain_of(&[500, 1, 2, 1, 1, 2]);
    let wrong_root =
        Header { state_root: bal_hash(b"another state"), ..Header::of_block(&links[2].block).expect("a header") };
    let mut wrong = links.clone();
    wrong[2].block = resealed(&links[2].block, &wrong_root);
    let (expected, error, _) = replay(&mut genesis(), &wrong, 1, alone());
    assert_eq!((expected.len(), error.is_some()), (2, true));
    for threads in [2, 3, 8] {
        for roots in [Roots::Every, Roots::Last] {
            let mut db = genesis();
            let window = WindowOptions::new(64).with_roots(roots);
            let (outcomes, found, _) = replay(&mut db, &wrong, threads, window);
            assert_eq!((&outcomes, &found), (&expected, &error));
            assert_eq!(Some(db.state_root()), expected[1].ids.2);
            assert_eq!(db.parts().1.root(), db.state_root());
        }
    }
}

#[test]
fn windows_are_bounded_by_bytes() {
    let links = chain(5);
    let bytes: usize = links[..2].iter().map(|link| link.block.len() + link.list.len()).sum();
    let rules = Devnet::rules();
    let mut executor = Executor::new(2).expect("threads");
    let mut db = genesis();
    let mut taken = 0;
    let blocks = links.iter().map(|link| {
        taken += 1;
        link.input(&rules)
    });
    let window = WindowOptions::new(64).with_bytes(bytes);
    let mut replay = db.replay(&mut executor, blocks, Options::automatic(), window);
    replay.next().expect("a block").expect("valid");
    drop(replay);
    // Two blocks, and the one that was looked at.
    assert_eq!(taken, 3);
    assert_eq!(db.head().number, 2);
}

/// A consumer that sleeps holds back the source: no more blocks are taken from it than one window has beyond the outcomes
/// that were returned, and one that was looked at. So memory is bounded however long the chain is.
#[test]
fn a_consumer_that_sleeps_holds_back_the_source() {
    let links = chain(10);
    let rules = Devnet::rules();
    for blocks in [1usize, 3, 4] {
        let (taken, mut returned) = (AtomicUsize::new(0), 0);
        let source = links.iter().map(|link| {
            taken.fetch_add(1, Ordering::Relaxed);
            link.input(&rules)
        });
        let (mut db, mut executor) = (genesis(), Executor::new(2).expect("threads"));
        for outcome in db.replay(&mut executor, source, Options::automatic(), WindowOptions::new(blocks)) {
            outcome.expect("valid");
            std::thread::sleep(Duration::from_millis(5));
            let ahead = taken.load(Ordering::Relaxed) - returned;
            assert!(ahead <= blocks + 1, "{ahead} blocks ahead in windows of {blocks}");
            returned += 1;
        }
        assert_eq!(returned, links.len());
    }
}

#[test]
fn a_window_on_disk_is_durable() {
    let links = chain(6);
    let folder = Folder::new("windows");
    let path = folder.0.join("db");
    let options = balustrade::storage::DiskOptions::default();
    let state: MemoryStore = Devnet::default().genesis_state();
    let head = genesis().head().clone();
    drop(StateDb::create_from(&path, options, (1, None), &state, head).expect("an empty folder"));
    let (mut db, _) = StateDb::open(&path, options).expect("a store");
    let (expected, ..) = replay(&mut genesis(), &links, 1, alone());
    let (outcomes, error, alone) = replay(&mut db, &links[..4], 2, WindowOptions::new(3));
    assert_eq!((outcomes.as_slice(), error, alone), (&expected[..4], None, 0));
    drop(db);
    let (mut db, opened) = StateDb::open(&path, options).expect("a store");
    assert_eq!((db.head().number, opened.blocks), (4, 4));
    let (outcomes, error, _) = replay(&mut db, &links[4..], 2, WindowOptions::new(3));
    assert_eq!((outcomes.as_slice(), error), (&expected[4..], None));
    db.revert_to(1).expect("kept");
    assert_eq!(db.state_root(), expected[0].ids.2.expect("a root"));
    assert!(matches!(db.revert_to(7), Err(DbError::AboveHead { .. })));
    let account = db.account(expected[1].changes.addresses[0]).expect("readable");
    assert!(account.balance <= U256::MAX);
}

/// Executes the blocks of each test of an archive with lists, up to the first invalid block, alone and in windows. Returns
/// the number of chains, of their blocks, and of those that were executed alone.
fn check_archive(path: &Path, step: usize) -> (usize, usize, usize) {
    let mut executor = Executor::new(2).expect("threads");
    let (mut number, mut chains, mut blocks, mut alone) = (0, 0, 0, 0);
    let flow = each_document(path, &mut |_| (), &mut |document| {
        number += 1;
        if number % step != 0 {
            return ControlFlow::Continue(());
        }
        let Content::Tests(tests) = Content::parse(&document, None).unwrap_or_else(|error| panic!("{error}")) else {
            return ControlFlow::Continue(());
        };
        for test in &tests {
            let (Some(network), Ok(genesis)) = (&test.network, Block::decode(test.genesis.clone())) else { continue };
            let bad = test.blocks.iter().position(|block| block.expect_exception.is_some());
            let listed =
                test.blocks.iter().take(bad.map_or(usize::MAX, |bad| bad + 1)).take_while(|block| block.bal.is_some());
            let rules_of = |block: &FixtureBlock| {
                let header = Header::of_block(&block.rlp).unwrap_or_default();
                network.rules(header.number, header.timestamp)
            };
            let links: Vec<_> = listed.map(|block| (rules_of(block), block)).collect();
            if links.len() < 2 {
                continue;
            }
            let run = |executor: &mut Executor, window| {
                let mut db = StateDb::in_memory(test.pre.clone(), genesis.header.clone()).expect("a state");
                let inputs = links.iter().map(|(rules, block)| {
                    let input = BlockInput::new(rules, block.rlp.clone());
                    input.with_list(block.bal.clone().unwrap_or_default())
                });
                let (facts, error, alone) = outcomes_of(&mut db, executor, inputs, window);
                ((facts, error, db.state_root()), alone)
            };
            let (expected, _) = run(&mut executor, WindowOptions::new(1));
            chains += 1;
            blocks += expected.0.len();
            for window in [2, 64] {
                let (found, without) = run(&mut executor, WindowOptions::new(window));
                assert_eq!(found, expected, "{} in windows of {window}", test.name);
                alone += without;
            }
        }
        ControlFlow::Continue(())
    });
    assert!(flow.expect("readable").is_continue());
    (chains, blocks, alone)
}

#[test]
fn chains_of_block_tests_are_the_same_in_windows() {
    let (chains, blocks, alone) = check_archive(&stored("chains.tar.zst"), 1);
    assert!(chains > 0 && blocks >= 2 * chains, "{chains} chains, {blocks} blocks");
    assert_eq!(alone, 0);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn chains_of_the_suite_are_the_same_in_windows() {
    let (chains, blocks, alone) = check_archive(&shared("fixtures/amsterdam.tar.zst"), 1);
    println!("{chains} chains, {blocks} blocks, {alone} of them alone");
    assert!(chains > 100 && alone == 0, "{chains} chains, {blocks} blocks, {alone} alone");
}
