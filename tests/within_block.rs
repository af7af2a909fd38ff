//! Within blocks: each task executed alone does what it does in the whole block, with the same EIP-3155 lines; and the state
//! at each index is the one that execution sees.

use alloy_primitives::{Address, Bytes, U256};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::store::{ParentAccount, SlotQuery, StateStore};
use balustrade::errors::MismatchField;
use balustrade::exec::wire::Header;
use balustrade::formats::{BlockTest, Content, each_document};
use balustrade::list::{Limits, decode};
use balustrade::outcome::{FieldChange, TaskAlone};
use balustrade::{
    BlockError, BlockInput, BlockOutcome, ChainRules, Executor, Fork, KECCAK_EMPTY, Mode, Options, StateDb,
    StateWithin, StoreError, TraceSink,
};
use balustrade_cli::testing::{shared, stored};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Number of blocks and tasks that were compared.
#[derive(Debug, Default)]
struct Count {
    blocks: usize,
    tasks: usize,
}

/// A value of the state.
type Name = (Address, MismatchField, Option<U256>);

/// Values of the state that changed so far, after the tasks so far.
type Values = BTreeMap<Name, U256>;

fn lines(sink: &Arc<Mutex<Vec<u8>>>) -> Vec<u8> {
    std::mem::take(&mut *sink.lock().expect("no panic"))
}

fn account(state: &dyn StateStore, address: Address) -> Result<ParentAccount, StoreError> {
    let mut out = [ParentAccount::default()];
    state.accounts(&[address], &mut out)?;
    Ok(out[0])
}

fn value(state: &dyn StateStore, (address, field, slot): Name) -> U256 {
    let account = account(state, address).expect("in memory");
    match (field, slot) {
        (MismatchField::Balance, _) => account.balance,
        (MismatchField::Nonce, _) => U256::from(account.nonce),
        (MismatchField::Code, _) => account.code_hash.into(),
        (_, Some(key)) => {
            let mut out = [U256::ZERO];
            state.slots(&[SlotQuery { address, key }], &mut out).expect("in memory");
            out[0]
        }
        (field, None) => panic!("{field:?}"),
    }
}

/// Executes each task of a block alone and compares it with the block, of which `outcome` and `traced` are known.
fn check_tasks(
    executor: &mut Executor,
    db: &StateDb,
    input: &BlockInput<'_>,
    outcome: &BlockOutcome,
    sink: &Arc<Mutex<Vec<u8>>>,
    traced: &[u8],
) -> usize {
    let (rules, list) = (input.rules, decode(&outcome.bal, &Limits::format_only()).expect("canonical"));
    let tasks = outcome.transactions.len() as u32 + 2;
    let mut rows = list.rows_per_index(tasks as usize - 2);
    let mut after = Values::new();
    let mut produced = Vec::new();
    let options = Options::new(Mode::Bal);
    for index in (0..tasks).map(BlockAccessIndex) {
        executor.trace_to(Some(TraceSink::new(sink.clone())));
        let run = executor.execute_task(input, db.store(), index, options, false).expect("valid");
        executor.trace_to(None);
        let TaskAlone { changes, mismatches, outcome: done, .. } = &run.expect("an index of the block").task;
        produced.extend(lines(sink));
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(changes.len(), std::mem::take(&mut rows[index.0 as usize]) as usize, "index {}", index.0);
        // The state before the task has what earlier tasks left, and the values that this one found.
        let state =
            StateWithin::new(db.store(), rules.fork, &outcome.bal, &outcome.existence_log, index).expect("a list");
        for (name, expected) in &after {
            assert_eq!(value(&state, *name), *expected, "index {}, {name:?}", index.0);
        }
        for FieldChange { address, field, slot, before, after: new, .. } in changes.iter().cloned() {
            let name = (address, field, slot);
            assert_eq!(value(&state, name), before, "index {}, {name:?}", index.0);
            after.insert(name, new);
        }
        // Before Cancun, SELFDESTRUCT clears the storage, which the list says by an empty code.
        let cleared = changes.iter().filter(|change| {
            change.field == MismatchField::Code
                && change.after == U256::from_be_bytes(KECCAK_EMPTY.0)
                && rules.fork < Fork::Cancun
        });
        for change in cleared {
            let of_account = |name: &Name| name.0 == change.address && name.1 == MismatchField::Storage;
            after.iter_mut().filter(|(name, _)| of_account(name)).for_each(|(_, value)| *value = U256::ZERO);
        }
        if let Some(tx) = (index.0 as usize).checked_sub(1).filter(|tx| *tx < outcome.transactions.len()) {
            let whole = &outcome.transactions[tx];
            assert_eq!((done.success, done.gas_paid), (whole.success, whole.gas_paid));
            // The calls are those of the trace: one frame per transaction with code.
            let run = executor.execute_task(input, db.store(), index, options, true).expect("valid").expect("an index");
            let calls = run.task.calls.expect("they were asked for").calls;
            assert!(calls.first().is_none_or(|call| call.depth == 1), "{calls:?}");
            assert!(calls.windows(2).all(|two| two[1].depth <= two[0].depth + 1 && two[1].depth > 1), "{calls:?}");
            assert_eq!(calls.first().is_none_or(|call| call.error.is_none()), whole.success || calls.is_empty());
        }
    }
    assert!(produced == traced, "{}\n---\n{}", String::from_utf8_lossy(&produced), String::from_utf8_lossy(traced));
    let end = BlockAccessIndex(tasks);
    assert!(executor.execute_task(input, db.store(), end, options, false).expect("no error").is_none());
    tasks as usize
}

/// Compares all blocks of a test up to the first invalid one.
fn check_test(executor: &mut Executor, test: &BlockTest, count: &mut Count) {
    let Some(network) = &test.network else { return };
    let genesis = Header::of_block(&test.genesis).expect("a genesis");
    let mut db = StateDb::in_memory(test.pre.clone(), genesis).expect("the state of the genesis").with_window(0);
    let sink = Arc::new(Mutex::new(Vec::new()));
    for block in &test.blocks {
        let Ok(header) = Header::of_block(&block.rlp) else { return };
        let rules: ChainRules = network.rules(header.number, header.timestamp);
        let mut input = BlockInput::new(&rules, block.rlp.clone());
        input.bal = block.bal.clone();
        executor.trace_to(Some(TraceSink::new(sink.clone())));
        let outcome = db.execute(executor, &input, Options::new(Mode::Sequential));
        executor.trace_to(None);
        let (Ok(outcome), traced) = (outcome, lines(&sink)) else { return };
        input.bal = Some(outcome.bal.clone());
        input.existence_log = Some(&outcome.existence_log);
        count.tasks += check_tasks(executor, &db, &input, &outcome, &sink, &traced);
        count.blocks += 1;
        db.commit(&outcome).expect("it was executed");
    }
}

fn check_archive(path: &Path, each: usize) -> Count {
    let (mut count, mut documents) = (Count::default(), 0);
    let mut executor = Executor::new(2).expect("threads");
    let read = each_document(path, &mut |_| (), &mut |document| {
        documents += 1;
        if documents % each == 0
            && let Ok(Content::Tests(tests)) = Content::parse(&document, None)
        {
            tests.iter().for_each(|test| check_test(&mut executor, test, &mut count));
        }
        ControlFlow::Continue(())
    });
    assert!(read.is_ok(), "{read:?}");
    count
}

#[test]
fn tasks_alone_do_what_they_do_in_their_block() {
    let count = check_archive(&stored("chains.tar.zst"), 1);
    assert!(count.blocks >= 40 && count.tasks >= 400, "{count:?}");
}

/// One in eight documents of the suite.
#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn tasks_alone_do_what_they_do_in_the_blocks_of_the_suite() {
    let count = check_archive(&shared("fixtures/amsterdam.tar.zst"), 8);
    println!("{count:?}");
    assert!(count.blocks > 500, "{count:?}");
}

#[test]
fn a_task_needs_a_list_and_a_wrong_list_is_named() {
    let mut executor = Executor::new(1).expect("threads");
    let mut found = 0;
    let read = each_document(&stored("chains.tar.zst"), &mut |_| (), &mut |document| {
        let Ok(Content::Tests(tests)) = Content::parse(&document, None) else { return ControlFlow::Continue(()) };
        for test in &tests {
            let Some(network) = &test.network else { continue };
            let genesis = Header::of_block(&test.genesis).expect("a genesis");
            let mut db = StateDb::in_memory(test.pre.clone(), genesis).expect("the state of the genesis");
            let Some(block) = test.blocks.first() else { continue };
            let header = Header::of_block(&block.rlp).expect("a header");
            let rules = network.rules(header.number, header.timestamp);
            let mut input = BlockInput::new(&rules, block.rlp.clone());
            let (index, options) = (BlockAccessIndex(1), Options::new(Mode::Bal));
            let missing = executor.execute_task(&input, db.store(), index, options, false);
            assert!(matches!(missing, Err(BlockError::Invalid(_))), "{missing:?}");
            if header.block_access_list_hash.is_some() {
                input.bal = block.bal.clone();
            }
            let Ok(outcome) = db.execute(&mut executor, &input, Options::new(Mode::Sequential)) else { continue };
            if outcome.transactions.is_empty() {
                continue;
            }
            // A list without any entry lacks the first sender.
            input.bal = Some(Bytes::from_static(&[0xc0]));
            input.existence_log = None;
            let wrong = executor.execute_task(&input, db.store(), index, options, false);
            assert!(matches!(wrong, Err(BlockError::Invalid(_))), "{wrong:?}");
            found += 1;
        }
        ControlFlow::Continue(())
    });
    assert!(read.is_ok() && found > 3, "{found}");
}
