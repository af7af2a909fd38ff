//! A block access list that cannot be decoded makes its block invalid; it is never an error of the
//! host (execution-apis#869).

use alloy_primitives::{Address, Bytes, U256, hex, keccak256};
use balustrade::arena::store::MemoryStore;
use balustrade::exec::block::system::SYSTEM_CONTRACTS;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Header, assemble};
use balustrade::executor::BuiltBlock;
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, Executor, InvalidBlock, Mode, Options};
use balustrade_cli::testing::{Folder, template};
use std::process::Command;

/// An empty Amsterdam block on a state that holds only the system contracts.
fn empty_block(rules: &ChainRules) -> (MemoryStore, StateTries, BuiltBlock) {
    let mut store = MemoryStore::default();
    let hash = store.insert_code(vec![0].into());
    SYSTEM_CONTRACTS.iter().for_each(|contract| store.insert_account(*contract, 1, U256::ZERO, hash, []));
    let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
    let template = Header { coinbase: Address::repeat_byte(0xcb), ..template(rules.fork) };
    let mut executor = Executor::new(1).expect("threads");
    let built = executor.build(rules, &template, &[], &store, &mut tries).expect("an empty block is valid");
    (store, tries, built)
}

/// The block with another list, to which its header commits.
fn with_list(built: &BuiltBlock, list: &[u8]) -> Bytes {
    let header = Header { block_access_list_hash: Some(keccak256(list)), ..built.header.clone() };
    assemble::<Vec<u8>>(&header, &[]).into()
}

/// The cases `empty_byte_string`, `rlp_non_list` and `rlp_truncated_list` of the
/// execution-spec-tests, and a few more.
fn undecodable(valid: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no bytes", vec![]),
        ("an empty string", vec![0x80]),
        ("a string", vec![0x83, 1, 2, 3]),
        ("a list cut off", valid[..valid.len() - 1].to_vec()),
        ("bytes after the list", [valid, &[0]].concat()),
        ("an account that is no list", vec![0xc1, 0x01]),
        ("an account without fields", vec![0xc1, 0xc0]),
        ("a length that is too long", vec![0xff; 9]),
        ("text", b"not a list".to_vec()),
    ]
}

#[test]
fn undecodable_lists_make_the_block_invalid_in_every_mode() {
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let (store, mut tries, built) = empty_block(&rules);
    let mut executor = Executor::new(2).expect("threads");
    for (what, list) in undecodable(&built.bal) {
        let input = BlockInput::new(&rules, with_list(&built, &list)).with_list(list.into());
        for mode in [Mode::Bal, Mode::Sequential, Mode::Optimistic] {
            let result = executor.execute(&input, &store, Some(&mut tries), Options::new(mode));
            let Err(BlockError::Invalid(invalid)) = result else { panic!("{what}, {mode:?}: {result:?}") };
            if mode == Mode::Bal {
                assert!(matches!(*invalid, InvalidBlock::Bal(_)), "{what}: {invalid}");
            }
        }
    }
    let input = BlockInput::new(&rules, built.block.clone());
    let missing = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal));
    let Err(BlockError::Invalid(invalid)) = missing else { panic!("{missing:?}") };
    assert!(matches!(*invalid, InvalidBlock::BalPresence), "{invalid}");
}

#[test]
fn the_command_exits_with_one() {
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let (store, _, built) = empty_block(&rules);
    let folder = Folder::new("undecodable-lists");
    let accounts = store.iter().map(|(address, account)| {
        let account = serde_json::json!({"nonce": "0x1", "balance": "0x0", "codeHash": account.code_hash});
        (address.to_string().to_lowercase(), account)
    });
    let state: serde_json::Map<_, _> = accounts.collect();
    for (what, list) in undecodable(&built.bal).into_iter().chain([("the list itself", built.bal.to_vec())]) {
        let block = with_list(&built, &list);
        let bundle = serde_json::json!({
            "network": "amsterdam-test", "chainId": 1, "fork": "Amsterdam", "number": "1",
            "hash": Header::of_block(&block).expect("a header").hash(),
            "block": hex::encode_prefixed(&block), "blockAccessList": hex::encode_prefixed(&list),
            "preState": state, "preStateComplete": true, "codes": ["0x00"],
        });
        let path = folder.file("bundle.json", &bundle.to_string());
        let output = Command::new(env!("CARGO_BIN_EXE_balustrade"))
            .args(["run", "--mode", "bal", "--json", &path])
            .output()
            .expect("the command starts");
        let expected = if what == "the list itself" { 0 } else { 1 };
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(expected), "{what}: {text}");
    }
}
