//! Optimistic execution gives the same outcome as sequential execution, for any number of threads and any timing.

mod chain;
mod race;
mod reads;
#[path = "../signed/mod.rs"]
mod signed;
mod stress;

use alloy_primitives::{Address, Bytes, U256};
use balustrade::arena::store::LatencyStore;
use balustrade::exec::block::error::BlockError;
use balustrade::exec::block::optimistic::Speculation;
use balustrade::exec::rules::fork::Fork;
use balustrade::{BlockOutcome, Executor, Mode};
use chain::{COINBASE, Chain, Draft, sender, word};
use std::time::Duration;

const THREADS: [usize; 4] = [1, 2, 4, 8];

/// Address of the contract under test.
const CONTRACT: Address = Address::repeat_byte(0xc0);

/// Asserts that two executions of one block agree.
fn assert_same(expected: &Result<BlockOutcome, BlockError>, found: &Result<BlockOutcome, BlockError>, what: &str) {
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(expected), Err(found)) => return assert_eq!(expected, found, "{what}"),
        (Ok(_), Err(error)) => panic!("{what}: optimistic execution refuses the block: {error}"),
        (Err(error), Ok(_)) => panic!("{what}: optimistic execution accepts a block that is invalid: {error}"),
    };
    assert!(expected.receipts.iter().eq(found.receipts.iter()), "{what}: receipts");
    let without_logs = |outcome: &BlockOutcome| -> Vec<_> {
        let of = |tx: &balustrade::exec::tx::TxOutcome| {
            (tx.success, tx.gas_paid, tx.gas_execution, tx.gas_state, tx.logs.len(), tx.created)
        };
        outcome.transactions.iter().map(of).collect()
    };
    assert_eq!(without_logs(expected), without_logs(found), "{what}: outcomes");
    assert_eq!(expected.gas, found.gas, "{what}: gas");
    assert_eq!(expected.requests, found.requests, "{what}: requests");
    assert_eq!(expected.bal, found.bal, "{what}: list");
    assert_eq!(expected.existence_log, found.existence_log, "{what}: existence log");
    assert_eq!(expected.changes, found.changes, "{what}: changes");
    assert_eq!(expected.state_root, found.state_root, "{what}: root");
    let speculation = found.speculation.expect("an optimistic run says how it went");
    assert_eq!(speculation.write_back_reads, 0, "{what}: reads in write-back");
    assert!(speculation.executions >= found.transactions.len(), "{what}: executions");
    assert!(speculation.conflicts <= speculation.re_executions, "{what}: {speculation:?}");
}

/// Runs a block with every number of threads, `repeats` times each, and compares it with sequential execution. Returns
/// the counts of each optimistic run.
fn compare(chain: &Chain, block: &Bytes, repeats: usize, what: &str) -> Vec<Speculation> {
    let mut executor = Executor::new(1).unwrap();
    let expected = chain.execute(&mut executor, block, &chain.store, Mode::Sequential);
    let mut runs = Vec::new();
    for threads in THREADS {
        let mut executor = Executor::new(threads).unwrap();
        for repeat in 0..repeats {
            let found = chain.execute(&mut executor, block, &chain.store, Mode::Optimistic);
            assert_same(&expected, &found, &format!("{what}, {threads} threads, run {repeat}"));
            runs.extend(found.ok().and_then(|found| found.speculation));
        }
    }
    runs
}

/// Runs a block once on a store that takes `micros` microseconds per read, so that the runs of workers overlap.
fn speculate_slowly(chain: &Chain, block: &Bytes, threads: usize, micros: u64) -> Speculation {
    let store = LatencyStore::new(&chain.store, Duration::from_micros(micros), Duration::ZERO);
    let mut executor = Executor::new(threads).unwrap();
    let expected = chain.execute(&mut executor, block, &chain.store, Mode::Sequential);
    let found = chain.execute(&mut executor, block, &store, Mode::Optimistic);
    assert_same(&expected, &found, "slow store");
    let speculation = found.unwrap().speculation.unwrap();
    let counts = store.counts();
    assert_eq!((counts.accounts, counts.slots), (speculation.account_reads, speculation.slot_reads));
    speculation
}

/// slot 0 += 1
const COUNTER: [u8; 9] = [0x5f, 0x54, 0x60, 0x01, 0x01, 0x5f, 0x55, 0x00, 0x00];

#[test]
fn transactions_that_write_one_slot_conflict_and_agree() {
    let mut chain = Chain::new(Fork::Cancun, 40);
    chain.deploy(CONTRACT, &COUNTER, [(0, 5)]);
    let drafts: Vec<_> = (0..40).map(|key| Draft::call(key, CONTRACT, Vec::new())).collect();
    let block = chain.build(&drafts);
    compare(&chain, &block, 20, "one slot");
    // On a machine that runs one thread at a time no two transactions overlap: several attempts.
    let mut attempts = (0..20).map(|_| speculate_slowly(&chain, &block, 4, 2_000));
    assert!(attempts.any(|speculation| speculation.conflicts > 0 && speculation.re_executions > 0));
}

#[test]
fn a_long_chain_of_reads_agrees() {
    // slot[calldata] = slot[calldata - 1] + 1
    let code = [0x5f, 0x35, 0x60, 0x01, 0x90, 0x03, 0x54, 0x60, 0x01, 0x01, 0x5f, 0x35, 0x55, 0x00];
    let mut chain = Chain::new(Fork::Cancun, 60);
    chain.deploy(CONTRACT, &code, [(0, 1)]);
    let drafts: Vec<_> = (0..60).map(|key| Draft::call(key, CONTRACT, word(key + 1))).collect();
    let block = chain.build(&drafts);
    compare(&chain, &block, 20, "chain of reads");
}

/// Init code of a child: slot 0 = NUMBER, slot 7 += 1; its runtime is SELFDESTRUCT(CALLER).
const CHILD: [u8; 26] = [
    0x43, 0x60, 0x00, 0x55, 0x60, 0x07, 0x54, 0x60, 0x01, 0x01, 0x60, 0x07, 0x55, 0x61, 0x33, 0xff, 0x60, 0x00, 0x52,
    0x60, 0x02, 0x60, 0x1e, 0xf3, 0x00, 0x00,
];

/// If the first word of calldata is 0: creates the child (CREATE2, salt 0, value 3) and stores its address in slot 1;
/// otherwise calls the address in slot 1 and stores the result in slot 2.
fn maker() -> Vec<u8> {
    let len = CHILD.len() as u8;
    let mut code = vec![0x60, 0x00, 0x35, 0x60, 0, 0x57, 0x60 + len - 1];
    code.extend(CHILD);
    code.extend([0x60, 0x00, 0x52]);
    code.extend([0x60, 0x00, 0x60, len, 0x60, 32 - len, 0x60, 0x03, 0xf5, 0x60, 0x01, 0x55, 0x00]);
    code[4] = code.len() as u8;
    code.push(0x5b);
    code.extend([0x60, 0x00].repeat(5));
    code.extend([0x60, 0x01, 0x54, 0x5a, 0xf1, 0x60, 0x02, 0x55, 0x00]);
    code
}

#[test]
fn fees_and_plain_transfers_do_not_serialize_a_block() {
    for fork in [Fork::London, Fork::Cancun, Fork::Amsterdam] {
        let mut chain = Chain::new(fork, 48);
        // One recipient that also sends, one that exists, one that does not exist.
        let recipients = [sender(47), Address::repeat_byte(0x11), Address::repeat_byte(0x22)];
        chain.store.insert_account(recipients[1], 0, U256::from(9), balustrade::arena::store::KECCAK_EMPTY, []);
        let drafts: Vec<_> =
            (0..48).map(|key| Draft::transfer(key, recipients[(key % 2) as usize], 100 + key)).collect();
        let block = chain.build(&drafts);
        compare(&chain, &block, 5, "transfers");
        let speculation = speculate_slowly(&chain, &block, 8, 1_000);
        // The last sender also receives, but does not conflict: its balance is enough without the other transfers.
        assert_eq!(speculation.conflicts, 0, "{fork:?}: {speculation:?}");

        let drafts: Vec<_> =
            (0..40).map(|key| Draft { nonce: Some(0), ..Draft::transfer(key, recipients[2], 1) }).collect();
        let block = chain.build(&drafts);
        compare(&chain, &block, 5, "transfers to a new account");
        if fork < Fork::Amsterdam {
            // In Amsterdam the first transfer to a new account pays for its state (EIP-8037), so that the others depend
            // on it.
            assert_eq!(speculate_slowly(&chain, &block, 8, 1_000).conflicts, 0, "{fork:?}");
        }
    }
}

/// Pays its caller 1 wei: CALL(gas, CALLER, 1).
const PAYER: [u8; 16] =
    [0x60, 0x00, 0x60, 0x00, 0x60, 0x00, 0x60, 0x00, 0x60, 0x01, 0x33, 0x5a, 0xf1, 0x50, 0x00, 0x00];

#[test]
fn payments_from_one_balance_conflict_only_if_it_may_be_too_small() {
    for fork in [Fork::Byzantium, Fork::London, Fork::Cancun, Fork::Amsterdam] {
        // Enough for all; enough for some; only the transfers of the block itself.
        for balance in [1_000u64, 9, 0] {
            let mut chain = Chain::new(fork, 40);
            let hash = chain.store.insert_code(Bytes::copy_from_slice(&PAYER));
            chain.store.insert_account(CONTRACT, 1, U256::from(balance), hash, []);
            let drafts: Vec<_> = (0..40)
                .map(|key| match key % 4 {
                    // Sends 1 wei and gets it back.
                    3 => Draft { value: 1, ..Draft::call(key, CONTRACT, Vec::new()) },
                    _ => Draft::call(key, CONTRACT, Vec::new()),
                })
                .collect();
            let block = chain.build(&drafts);
            compare(&chain, &block, 10, &format!("payments out of {balance}, {fork:?}"));
            let speculation = speculate_slowly(&chain, &block, 8, 500);
            if balance == 1_000 {
                assert_eq!(speculation.conflicts, 0, "{fork:?}: {speculation:?}");
            }
        }
    }
}

#[test]
fn senders_that_are_paid_in_the_block_that_they_pay_in_agree() {
    // Each sender sends most of its balance to the next, which could not pay for its own transaction otherwise.
    for fork in [Fork::Byzantium, Fork::Cancun, Fork::Amsterdam] {
        let mut chain = Chain::new(fork, 30);
        let gas = 300_000 * 101;
        for key in 1..30 {
            chain.store.insert_account(sender(key), 0, U256::from(gas), balustrade::arena::store::KECCAK_EMPTY, []);
        }
        let drafts: Vec<_> =
            (0..30).map(|key| Draft::transfer(key, sender((key + 1) % 30), 1_000_000 - 7 * key)).collect();
        let block = chain.build(&drafts);
        compare(&chain, &block, 20, &format!("chain of payments, {fork:?}"));
    }
}

#[test]
fn a_read_of_the_coinbase_balance_includes_all_earlier_fees() {
    // slot[calldata] = BALANCE(COINBASE)
    let code = [0x41, 0x31, 0x5f, 0x35, 0x55, 0x00];
    for fork in [Fork::Istanbul, Fork::Shanghai, Fork::Amsterdam] {
        let mut chain = Chain::new(fork, 30);
        chain.deploy(CONTRACT, &with_push0(fork, &code), []);
        let drafts: Vec<_> = (0..30)
            .map(|key| match key % 3 {
                0 => Draft::call(key, CONTRACT, word(key)),
                _ => Draft { tip: key, ..Draft::transfer(key, Address::repeat_byte(0x33), 1) },
            })
            .collect();
        let block = chain.build(&drafts);
        compare(&chain, &block, 20, "coinbase balance");
        let mut attempts = (0..20).map(|_| speculate_slowly(&chain, &block, 4, 2_000));
        assert!(attempts.any(|speculation| speculation.conflicts > 0));
    }
}

/// Replaces PUSH0, which does not exist before Shanghai, by PUSH1 0, which works in every position.
fn with_push0(fork: Fork, code: &[u8]) -> Vec<u8> {
    if fork >= Fork::Shanghai {
        return code.to_vec();
    }
    code.iter().flat_map(|op| if *op == 0x5f { vec![0x60, 0x00] } else { vec![*op] }).collect()
}

#[test]
fn zero_fees_and_zero_values_treat_empty_accounts_as_sequential_mode_does() {
    // An empty account that is still in the state (some remained long after EIP-161), touched by transfers of zero.
    let ghost = Address::repeat_byte(0x44);
    for fork in [Fork::Byzantium, Fork::London, Fork::Cancun] {
        let mut chain = Chain::new(fork, 20);
        chain.store.insert_account(ghost, 0, U256::ZERO, balustrade::arena::store::KECCAK_EMPTY, []);
        chain.store.insert_account(COINBASE, 0, U256::ZERO, balustrade::arena::store::KECCAK_EMPTY, []);
        for revived_by in [None, Some(3), Some(12)] {
            let drafts: Vec<_> = (0..20)
                .map(|key| {
                    let value = u64::from(revived_by == Some(key));
                    let tip = if fork >= Fork::London { value } else { 0 };
                    Draft { tip, nonce: Some(0), ..Draft::transfer(key, ghost, value) }
                })
                .collect();
            let block = chain.build(&drafts);
            compare(&chain, &block, 10, &format!("touches, {fork:?}"));
        }
    }
}

#[test]
fn of_several_invalid_transactions_the_first_is_reported() {
    let poor = 60;
    let base = Chain::new(Fork::Cancun, 30);
    let transfers = |count: u64| (0..count).map(|key| Draft::transfer(key, sender(poor), 7)).collect::<Vec<_>>();
    let late = Draft { nonce: Some(9), ..Draft::transfer(25, COINBASE, 1) };
    let cases: [(&str, Vec<Draft>); 5] = [
        ("nonce gap", [transfers(20), vec![late.clone()]].concat()),
        (
            "two faults",
            [transfers(5), vec![late.clone()], transfers(3), vec![Draft::transfer(poor, COINBASE, 1)]].concat(),
        ),
        // This sender has only what the others sent it, which is not enough.
        ("funds", [transfers(20), vec![Draft::transfer(poor, COINBASE, 1)]].concat()),
        ("room", (0..30).map(|key| Draft { gas_limit: 30_000_000, ..Draft::transfer(key, COINBASE, 1) }).collect()),
        ("intrinsic", [transfers(9), vec![Draft { gas_limit: 20_000, ..Draft::transfer(20, COINBASE, 1) }]].concat()),
    ];
    for (what, mut drafts) in cases {
        let mut nonces = std::collections::BTreeMap::<u64, u64>::new();
        for draft in &mut drafts {
            let next = nonces.entry(draft.key).or_default();
            draft.nonce.get_or_insert(*next);
            *next += 1;
        }
        let block = base.clone().assemble(&drafts);
        let error = base.execute(&mut Executor::new(1).unwrap(), &block, &base.store, Mode::Sequential);
        assert!(error.is_err(), "{what}");
        compare(&base, &block, 20, what);
    }
}
