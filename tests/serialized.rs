//! The JSON form of an outcome (feature `serde`).

use balustrade::arena::TxIndex;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, Executor, Mode, Options};
use balustrade_cli::devnet::Devnet;

#[test]
fn an_outcome_as_json() {
    let mut devnet = Devnet::default();
    let rules = Devnet::rules();
    let mut store = devnet.genesis_state();
    let mut tries = StateTries::from_memory(&store).expect("a state");
    let parent = Devnet::genesis_header(tries.root());
    store.insert_block_hash(0, parent.hash());
    let template = Devnet::template(&parent);
    let transactions = devnet.transactions(template.base_fee.expect("London"));
    let mut executor = Executor::new(1).expect("a thread");
    let built = executor.build(&rules, &template, &transactions, &store, &mut tries).expect("valid transactions");
    tries.rollback();
    let input = BlockInput::new(&rules, built.block).with_list(built.bal.clone()).with_parent(&parent);
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal)).expect("a valid block");

    let json = serde_json::to_value(&outcome).expect("JSON");
    assert_eq!(json["hash"], outcome.hash.to_string());
    assert_eq!(json["mode"], Mode::Bal.name());
    assert_eq!(json["bal"], built.bal.to_string());
    assert_eq!(json["gas"]["paid"], outcome.gas.paid);
    let receipts = json["receipts"].as_array().expect("a list");
    assert_eq!(receipts.len(), transactions.len());
    let first = alloy_primitives::hex::encode_prefixed(outcome.receipts.encoded(TxIndex(0)));
    assert_eq!(receipts[0], first);
    assert_eq!(json["transactions"].as_array().map(Vec::len), Some(transactions.len()));
    assert_eq!(json["changes"]["addresses"].as_array().map(Vec::len), Some(outcome.changes.addresses.len()));
    assert_eq!(json["timeline"][0]["stage"], outcome.timeline[0].stage.name());
    let checks: Vec<&str> = outcome.unchecked.iter().map(|unchecked| unchecked.check.name()).collect();
    let written = json["unchecked"].as_array().expect("a list").iter().map(|unchecked| &unchecked["check"]);
    assert!(written.eq(checks.iter()), "{checks:?}");
}
