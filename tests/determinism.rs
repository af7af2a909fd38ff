//! Determinism: the result of a block does not depend on the number of threads and the order of tasks, for valid and
//! invalid blocks; and of several errors the first in the order of docs/errors.md is reported.

mod hostile;

use alloy_primitives::{B256, U256, keccak256};
use balustrade::arena::cancel::CancelToken;
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockOutcome, Executor, InvalidBlock, Mode, Options};
use hostile::cases::{self, Chain, ListedBlock, Visit};
use hostile::mutators::Parts;
use hostile::{Rng, list, trial};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const MODES: [Mode; 3] = [Mode::Bal, Mode::Sequential, Mode::Optimistic];
const THREADS: [usize; 5] = [1, 2, 3, 8, 16];

/// Everything in the result of an execution, except times and workers, as text.
fn words_of(result: &Result<BlockOutcome, BlockError>) -> String {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return format!("{error:?}: {error}"),
    };
    let transactions: Vec<_> = outcome
        .transactions
        .iter()
        .map(|tx| (tx.success, tx.gas_paid, tx.gas_execution, tx.gas_state, tx.logs.len(), tx.created))
        .collect();
    format!(
        "{:?}",
        (
            (outcome.hash, outcome.number, outcome.state_root, outcome.gas, outcome.gas_used),
            outcome.receipts.iter().map(keccak256).collect::<Vec<_>>(),
            outcome.receipts.bloom(),
            (transactions, &outcome.requests, &outcome.bal),
            (&outcome.changes, &outcome.before, &outcome.unchecked, &outcome.existence_log),
        )
    )
}

fn execute(executor: &mut Executor, chain: &mut Chain, block: &ListedBlock, mode: Mode) -> String {
    let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
    let root = tries.root();
    let words = words_of(&executor.execute(&chain.input(block), &chain.store, Some(&mut tries), Options::new(mode)));
    tries.rollback();
    assert_eq!(tries.root(), root, "{}", chain.name);
    chain.tries = tries;
    words
}

/// Executors with all tested numbers of threads; those of the second half shuffle the tasks.
fn executors() -> Vec<Executor> {
    let shuffles = THREADS.map(|threads| (threads, None)).into_iter();
    let shuffles = shuffles.chain(THREADS.map(|threads| (threads, Some(threads as u64 * 0x9e37_79b9))));
    let make = |(threads, shuffle)| {
        let mut executor = Executor::new(threads).expect("threads");
        executor.shuffle_tasks(shuffle);
        executor
    };
    shuffles.map(make).collect()
}

/// Asserts that all executors give the same result for a block, in each mode.
fn assert_one_answer(executors: &mut [Executor], chain: &mut Chain, block: &ListedBlock) {
    for mode in MODES {
        let first = execute(&mut executors[0], chain, block, mode);
        for executor in &mut executors[1..] {
            let threads = executor.threads();
            assert_eq!(execute(executor, chain, block, mode), first, "{}, {mode:?}, {threads} threads", chain.name);
        }
    }
}

/// Returns the numbers of blocks and of mutants of them.
fn compare_answers(each: impl FnOnce(Visit<'_>)) -> [usize; 2] {
    let mut executors = executors();
    let mut rng = Rng(3);
    let mut counts = [0; 2];
    each(&mut |mut chain| {
        for block in std::mem::take(&mut chain.blocks) {
            assert_one_answer(&mut executors, &mut chain, &block);
            counts[0] += 1;
            if !block.valid {
                continue;
            }
            for _ in 0..2 {
                if let Some(mutant) = trial::draw(&mut chain, &block, &mut rng) {
                    assert_one_answer(&mut executors, &mut chain, &mutant.block);
                    counts[1] += 1;
                }
            }
            chain.advance(&mut executors[0], &block).expect("a valid block");
        }
        if counts[0] < 250 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("blocks, and mutants of them: {counts:?}");
    counts
}

#[test]
fn blocks_and_their_mutants_have_one_answer() {
    let [blocks, mutants] = compare_answers(cases::each_stored);
    assert!(blocks > 40 && mutants > 40);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn fixtures_and_their_mutants_have_one_answer() {
    let [blocks, mutants] = compare_answers(|visit| cases::each_fixture(3, 50, visit));
    assert!(blocks >= 250 && mutants > 250);
}

fn compare_answers_of_bundle(executors: &mut [Executor], mut chain: Chain) {
    let mut rng = Rng(5);
    for block in std::mem::take(&mut chain.blocks) {
        assert_one_answer(executors, &mut chain, &block);
        if let Some(mutant) = trial::draw(&mut chain, &block, &mut rng) {
            assert_one_answer(executors, &mut chain, &mutant.block);
        }
    }
}

#[test]
fn larger_blocks_and_their_mutants_have_one_answer() {
    let mut executors = executors();
    for name in ["erc20.json.gz", "deploy.json.gz"] {
        compare_answers_of_bundle(&mut executors, cases::bundle(&cases::stored(name)));
    }
}

#[test]
#[ignore = "needs ../shared/blocks"]
fn large_blocks_and_their_mutants_have_one_answer() {
    let mut executors = executors();
    let mut left = 3;
    cases::each_bundle(120_000, &mut |chain| {
        compare_answers_of_bundle(&mut executors, chain);
        left -= 1;
        if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(left, 0);
}

/// Positions in the order in which errors are reported (docs/errors.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Header,
    BodyRoots,
    ListBytes,
    ListHash,
    Task,
    Unaccessed,
    GasUsed,
    ReceiptsRoot,
    LogsBloom,
    RequestsHash,
    StateRoot,
}

const LEVELS: [Level; 11] = [
    Level::Header,
    Level::BodyRoots,
    Level::ListBytes,
    Level::ListHash,
    Level::Task,
    Level::Unaccessed,
    Level::GasUsed,
    Level::ReceiptsRoot,
    Level::LogsBloom,
    Level::RequestsHash,
    Level::StateRoot,
];

fn level_of(error: &BlockError) -> Level {
    let BlockError::Invalid(invalid) = error else { panic!("{error}") };
    match &**invalid {
        InvalidBlock::Header(
            balustrade::exec::rules::header::HeaderFault::TransactionsRoot
            | balustrade::exec::rules::header::HeaderFault::WithdrawalsRoot,
        ) => Level::BodyRoots,
        InvalidBlock::Header(_) => Level::Header,
        InvalidBlock::Bal(_) => Level::ListBytes,
        InvalidBlock::BalHash { .. } => Level::ListHash,
        InvalidBlock::Mismatch(mismatch) if mismatch.index.is_none() => Level::Unaccessed,
        InvalidBlock::Mismatch(_) | InvalidBlock::Divergence(_) => Level::Task,
        InvalidBlock::GasUsed { .. } => Level::GasUsed,
        InvalidBlock::ReceiptsRoot { .. } => Level::ReceiptsRoot,
        InvalidBlock::LogsBloom => Level::LogsBloom,
        InvalidBlock::RequestsHash { .. } => Level::RequestsHash,
        InvalidBlock::StateRoot { .. } => Level::StateRoot,
        other => panic!("{other}"),
    }
}

/// Adds a fault of this level to the block.
fn spoil(parts: &mut Parts, level: Level) {
    let wrong = B256::repeat_byte(0x11);
    let header = &mut parts.header;
    match level {
        Level::Header => header.timestamp = 0,
        Level::BodyRoots => header.transactions_root = wrong,
        Level::ListBytes => parts.raw_list = Some(vec![0xc1, 0xc1]),
        // Applied later, after the list's hash is sealed.
        Level::ListHash => {}
        Level::Task => {
            let account = parts.list.iter_mut().find(|account| !account.balances.is_empty()).expect("a fee");
            account.balances[0].1 += U256::ONE;
        }
        Level::Unaccessed => {
            let account = parts.list.iter_mut().find(|account| !account.balances.is_empty()).expect("a fee");
            account.reads.insert(0, U256::from(0x1234_5678));
            account.reads.sort();
        }
        Level::GasUsed => header.gas_used -= 1,
        Level::ReceiptsRoot => header.receipts_root = wrong,
        Level::LogsBloom => header.logs_bloom.0.0[7] ^= 2,
        Level::RequestsHash => header.requests_hash = Some(wrong),
        Level::StateRoot => header.state_root = wrong,
    }
}

/// The block with these faults; the list's hash matches the list unless that hash is one of the faults.
fn spoiled(block: &ListedBlock, faults: &[Level]) -> ListedBlock {
    let mut parts = trial::take_apart(block);
    faults.iter().for_each(|fault| spoil(&mut parts, *fault));
    let bal = parts.raw_list.clone().unwrap_or_else(|| list::encode(&parts.list));
    let hash = if faults.contains(&Level::ListHash) { B256::repeat_byte(0x11) } else { keccak256(&bal) };
    parts.header.block_access_list_hash = Some(hash);
    ListedBlock { valid: false, rlp: trial::assemble(&parts).into(), bal: bal.into(), existence_log: None }
}

/// Tries every pair of faults in four blocks.
fn try_pairs_of_faults(each: impl FnOnce(Visit<'_>)) {
    let mut executors: Vec<Executor> = [1, 2, 8].map(|threads| Executor::new(threads).expect("threads")).into();
    executors[2].shuffle_tasks(Some(77));
    let mut blocks = 0;
    each(&mut |mut chain| {
        let Some(block) = chain.take_valid().first().cloned() else { return ControlFlow::Continue(()) };
        let parts = trial::take_apart(&block);
        if parts.transactions.is_empty() || parts.list.iter().all(|account| account.balances.is_empty()) {
            return ControlFlow::Continue(());
        }
        for (at, first) in LEVELS.iter().enumerate() {
            for second in &LEVELS[at + 1..] {
                let wrong = spoiled(&block, &[*first, *second]);
                for mode in MODES {
                    for executor in &mut executors {
                        let result = executor.execute(&chain.input(&wrong), &chain.store, None, Options::new(mode));
                        let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
                        let with_root =
                            executor.execute(&chain.input(&wrong), &chain.store, Some(&mut tries), Options::new(mode));
                        chain.tries = tries;
                        let error = with_root.expect_err("two faults");
                        let found = level_of(&error);
                        // Modes that record the list find all differences of lists at once, including accesses.
                        let expected =
                            if mode != Mode::Bal && *first == Level::Unaccessed { Level::Task } else { *first };
                        assert_eq!(found, expected, "{mode:?}, {first:?} and {second:?}: {error}");
                        if *first < Level::StateRoot {
                            assert_eq!(result.map(drop), Err(error), "without tries");
                        }
                    }
                }
            }
        }
        blocks += 1;
        if blocks < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(blocks, 4);
}

#[test]
fn of_two_errors_the_earlier_level_is_reported_for_any_number_of_threads() {
    try_pairs_of_faults(cases::each_stored);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn of_two_errors_in_fixtures_the_earlier_level_is_reported_for_any_number_of_threads() {
    try_pairs_of_faults(|visit| cases::each_fixture(1, 130, visit));
}

#[test]
fn a_cancelled_block_stops_and_leaves_everything_as_before() {
    let mut chain = cases::bundle(&cases::stored("compute.json.gz"));
    let block = chain.blocks[0].clone();
    let root = chain.tries.root();
    let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
    let mut executor = Executor::new(2).expect("threads");
    for mode in MODES {
        let start = Instant::now();
        executor.execute(&chain.input(&block), &chain.store, Some(&mut tries), Options::new(mode)).expect("valid");
        let whole = start.elapsed();
        tries.rollback();
        let cancelled = CancelToken::new();
        cancelled.cancel();
        let late = CancelToken::new().with_deadline(Instant::now());
        let soon = CancelToken::new().with_deadline(Instant::now() + whole / 4);
        let from_outside = CancelToken::new();
        let canceller = std::thread::spawn({
            let token = from_outside.clone();
            move || {
                std::thread::sleep(Duration::from_millis(2));
                token.cancel();
            }
        });
        for token in [&cancelled, &late, &soon, &from_outside] {
            let input = chain.input(&block).with_cancel(token);
            let result = executor.execute(&input, &chain.store, Some(&mut tries), Options::new(mode));
            match result {
                Err(BlockError::Cancelled(at)) => {
                    assert!(at.contains("index") || at.contains("state root"), "{at}")
                }
                // The block may have finished before it was cancelled, on a machine that was suspended.
                Ok(_) => tries.rollback(),
                Err(error) => panic!("{error}"),
            }
            assert_eq!(tries.root(), root);
        }
        canceller.join().expect("it only sleeps");
        let input = chain.input(&block).with_cancel(&cancelled);
        let result = executor.execute(&input, &chain.store, Some(&mut tries), Options::new(mode));
        assert!(matches!(result, Err(BlockError::Cancelled(_))), "{mode:?}");
        executor.execute(&chain.input(&block), &chain.store, Some(&mut tries), Options::new(mode)).expect("usable");
        tries.rollback();
    }
}
