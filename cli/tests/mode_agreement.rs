//! Verdicts that must not depend on the mode: block access lists with reads by system calls, and
//! ommers after the merge.

#[path = "../../tests/hostile/list.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses a part of it")]
mod list;

use alloy_primitives::{Address, U256, keccak256};
use balustrade::arena::store::MemoryStore;
use balustrade::bal::{self, BalError, BalRule, Limits};
use balustrade::exec::block::system::{HISTORY_STORAGE, SYSTEM_CONTRACTS};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::HeaderFault;
use balustrade::exec::wire::{Header, assemble};
use balustrade::trie::{EMPTY_ROOT, StateTries, ordered_root};
use balustrade::{BlockError, BlockInput, Executor, InvalidBlock, Mode, Options};
use balustrade_cli::devnet::asm::assemble as assemble_code;
use balustrade_cli::testing::{shared, template};
use list::{Account, encode};
use serde_json::Value;
use std::process::Command;

const MODES: [&str; 4] = ["bal", "sequential", "optimistic", "all"];

/// Runs the command; returns its exit status and its JSON lines.
fn balustrade(args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_balustrade")).args(args).output().expect("the command starts");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn case(name: &str) -> String {
    shared(&format!("cases/{name}.json.gz")).to_str().expect("text").to_owned()
}

/// In a block without transactions, a system contract calls another contract, which reads slots.
#[test]
fn every_mode_accepts_what_system_calls_read_in_other_accounts() {
    let reader = Address::repeat_byte(0x4e);
    let mut store = MemoryStore::default();
    let mut add = |address, code: Vec<u8>| {
        let hash = store.insert_code(code.into());
        store.insert_account(address, 1, U256::ZERO, hash, []);
    };
    for contract in SYSTEM_CONTRACTS {
        add(contract, vec![0x00]);
    }
    add(HISTORY_STORAGE, assemble_code(&format!("0 0 0 0 0 {reader} GAS CALL POP STOP")));
    add(reader, assemble_code("0 again: DUP1 SLOAD POP 1 ADD DUP1 9000 GT @again JUMPI STOP"));
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let mut tries = StateTries::from_memory(&store).expect("a small state");
    let mut executor = Executor::new(2).expect("threads");
    let built = executor.build(&rules, &template(Fork::Amsterdam), &[], &store, &mut tries).expect("valid");
    let columns = bal::decode(&built.bal, &Limits::format_only()).expect("recorded");
    assert_eq!(columns.slot_keys().as_slice().len(), 9_000);
    for mode in [Mode::Sequential, Mode::Optimistic, Mode::Bal] {
        let input = BlockInput::new(&rules, built.block.clone()).with_list(built.bal.clone());
        let result = executor.execute(&input, &store, Some(&mut tries), Options::new(mode));
        tries.rollback();
        assert!(result.is_ok(), "{mode:?}: {:?}", result.err());
    }
}

#[test]
#[ignore = "needs ../shared/cases"]
fn every_mode_accepts_the_edge_cases() {
    let path = case("edges");
    for mode in MODES {
        let (status, lines) = balustrade(&["blocktest", "--json", "--mode", mode, &path]);
        let summary = &lines.last().expect("a summary")["summary"];
        assert_eq!((status, &summary["passed"]), (Some(0), &17.into()), "{mode}: {lines:?}");
    }
}

#[test]
#[ignore = "needs ../shared/cases"]
fn every_mode_refuses_omitted_ommers_after_the_merge() {
    let path = case("ommers");
    for mode in MODES {
        let (status, lines) = balustrade(&["run", "--json", "--mode", mode, &path]);
        assert_eq!((status, &lines[0]["valid"]), (Some(1), &false.into()), "{mode}: {lines:?}");
        let error = lines[0]["error"].as_str().expect("an error");
        assert!(error.contains("the ommers hash does not match the body"), "{mode}: {error}");
    }
}

/// Executes an empty Amsterdam block with this list in `bal` mode on this state; returns the reason
/// of its rejection.
fn refusal(store: &MemoryStore, list: Vec<u8>, ommers_omitted: bool, change: impl FnOnce(&mut Header)) -> InvalidBlock {
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let mut header = Header {
        gas_limit: 60_000_000,
        number: 1,
        base_fee: Some(7),
        withdrawals_root: Some(EMPTY_ROOT),
        transactions_root: ordered_root(&[]),
        ommers_hash: balustrade::exec::rules::header::EMPTY_OMMERS_HASH,
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_root: Some(Default::default()),
        requests_hash: Some(Default::default()),
        block_access_list_hash: Some(keccak256(&list)),
        slot_number: Some(1),
        ..Header::default()
    };
    change(&mut header);
    let block = assemble::<Vec<u8>>(&header, &[]);
    let mut input = BlockInput::new(&rules, block.into()).with_list(list.into());
    input.ommers_omitted = ommers_omitted;
    let mut executor = Executor::new(1).expect("threads");
    match executor.execute(&input, store, None, Options::new(Mode::Bal)) {
        Err(BlockError::Invalid(invalid)) => *invalid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_nonempty_ommers_hash_after_the_merge_is_refused_even_if_ommers_are_omitted() {
    let refused = refusal(&MemoryStore::default(), encode(&[]), true, |header| header.ommers_hash = keccak256([0]));
    assert_eq!(refused, InvalidBlock::Header(HeaderFault::OmmersAfterMerge));
}

/// Whether a list with this many reads of one account is rejected before execution, in a block
/// without transactions.
fn is_unaffordable(store: &MemoryStore, reads: usize, deployed: Option<Address>) -> bool {
    let reads = (0..reads).map(U256::from).collect();
    let mut accounts = vec![Account { reads, ..Account::bare(Address::repeat_byte(0x99)) }];
    if let Some(address) = deployed {
        accounts.insert(0, Account { codes: vec![(0, vec![0].into())], ..Account::bare(address) });
    }
    match refusal(store, encode(&accounts), false, |_| ()) {
        InvalidBlock::Bal(BalError { rule: BalRule::UnaffordableSlots { .. }, .. }) => true,
        InvalidBlock::Bal(error) => panic!("{error}"),
        _ => false,
    }
}

#[test]
fn each_system_contract_with_nonstandard_code_may_read_15_000_slots() {
    let mut store = MemoryStore::default();
    assert!(is_unaffordable(&store, 1, None), "no contract, no reads");
    let hash = store.insert_code(vec![0].into());
    for (index, contract) in SYSTEM_CONTRACTS.into_iter().enumerate() {
        store.insert_account(contract, 1, U256::ZERO, hash, []);
        // 60 Mgas admit 30,000 items: from the second contract on, that bound applies.
        if index < 1 {
            assert!(!is_unaffordable(&store, 15_000, None));
            assert!(is_unaffordable(&store, 15_001, None));
        }
    }
    assert!(!is_unaffordable(&store, 29_999, None));
}

#[test]
fn a_system_contract_deployed_in_the_block_may_read_slots() {
    let store = MemoryStore::default();
    assert!(!is_unaffordable(&store, 15_000, Some(HISTORY_STORAGE)));
    assert!(is_unaffordable(&store, 15_001, Some(HISTORY_STORAGE)));
    assert!(is_unaffordable(&store, 1, Some(Address::repeat_byte(0x01))), "any other account's code pays nothing");
}
