//! `state` and `trace` through the command: values at any place of a chain, from files and from a store; changes with their
//! transactions; one transaction executed alone.

mod command;

use balustrade_cli::testing::Folder;
use command::{balustrade, make_bundle, stderr, stdout};
use serde_json::Value;

/// The lines of a command that has to end with this status.
fn lines(expected: i32, line: &str) -> Vec<Value> {
    let args: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
    let output = balustrade(&args, "");
    assert_eq!(output.status.code(), Some(expected), "{line}: {}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn summary(line: &str) -> Value {
    lines(0, line).pop().unwrap_or_default()["summary"].take()
}

/// A store of 12 generated blocks, and what a transaction of block 2 writes to a slot.
fn store(folder: &Folder) -> (String, Value) {
    let (db, chain, lists) = (folder.path("db"), folder.path("chain"), folder.path("lists"));
    summary(&format!(
        "store init {db} --accounts 2000 --slots 6000 --accesses 100 --blocks 12 --chain-file {chain} --list-file {lists}"
    ));
    assert_eq!(summary(&format!("import {chain} --lists {lists} --store {db}"))["blocks"], 12);
    let rows = lines(0, &format!("state diff 1 2 --store {db}"));
    // System contracts, whose slots system calls write, have the lowest addresses.
    let change = rows.iter().rfind(|row| row["field"] == "slot").expect("a block writes slots").clone();
    (db, change)
}

#[test]
fn values_are_those_of_every_place_of_a_store() {
    let folder = Folder::new("past-store");
    let (db, change) = store(&folder);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (address, slot) = (text(&change["address"]), text(&change["slot"]));
    let at = |place: &str| summary(&format!("state get {address} {slot} --at {place} --store {db}"));
    assert_eq!(at("1")["slots"][0]["value"], change["before"]);
    assert_eq!(at("2")["slots"][0]["value"], change["after"]);
    assert_eq!(at("2:0")["slots"], at("1")["slots"]);
    let head = summary(&format!("get {address} {slot} --store {db}"));
    let found = at("12");
    assert_eq!((&found["nonce"], &found["balance"]), (&head["nonce"], &head["balance"]));
    assert_eq!(found["slots"][0]["value"], head["storageProof"][0]["value"]);

    // The change, the transaction that made it, and the values around it.
    let history = lines(0, &format!("state history {address} {slot} --store {db}"));
    let (last, rows) = history.split_last().expect("a summary");
    assert_eq!(last["summary"]["changes"], rows.len());
    let row = rows.iter().find(|row| row["block"] == 2).expect("the change");
    assert_eq!((&row["before"], &row["after"]), (&change["before"], &change["after"]));
    assert!(row["transaction"]["hash"].is_string());
    let index = row["index"].as_u64().expect("an index");
    assert_eq!(at(&format!("2:{index}"))["slots"][0]["value"], row["before"]);
    assert_eq!(at(&format!("2:{}", index + 1))["slots"][0]["value"], row["after"]);
    // One change follows the other.
    assert!(rows.windows(2).all(|two| two[0]["after"] == two[1]["before"]));

    // The transaction alone makes this change, and the list says the same.
    let task = summary(&format!("trace --store {db} --at 2:{index}"));
    assert_eq!(task["transaction"], row["transaction"]);
    assert_eq!((&task["mismatches"], &task["success"]), (&Value::Array(Vec::new()), &true.into()));
    let changes = task["changes"].as_array().expect("changes");
    assert!(changes.iter().any(|made| made["slot"] == change["slot"] && made["after"] == row["after"]));
    assert!(!task["calls"].as_array().expect("calls").is_empty());

    // Differences over several blocks are those between the values.
    let differences = lines(0, &format!("state diff 2:{index} 9 --only {address} --store {db}"));
    for row in differences.iter().filter(|row| row["field"] == "slot") {
        let slot = text(&row["slot"]);
        let value = |place: &str| {
            let found = summary(&format!("state get {address} {slot} --at {place} --store {db}"));
            found["slots"][0]["value"].clone()
        };
        assert_eq!((value(&format!("2:{index}")), value("9")), (row["before"].clone(), row["after"].clone()));
    }
    assert_eq!(lines(0, &format!("state diff 5 5 --store {db}")).len(), 1);

    for (line, what) in [
        (format!("state get {address} --at 13 --store {db}"), "block 13"),
        (format!("state diff 9 2 --store {db}"), "not behind"),
        (format!("state history {address} --from 3 --to 30 --store {db}"), "block 13"),
        (format!("trace --store {db} --at 2:9999"), "no index 9999"),
        (format!("trace --store {db} --at 2"), "N:INDEX"),
    ] {
        let output = balustrade(&line.split_whitespace().collect::<Vec<_>>(), "");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(what), "{line}: {}", stderr(&output));
    }
}

#[test]
fn a_transaction_of_a_bundle_has_the_lines_of_the_whole_trace() {
    let folder = Folder::new("past-bundle");
    let (block, all, one) = (folder.path("block.json.gz"), folder.path("all"), folder.path("one"));
    make_bundle(&block);
    summary(&format!("run {block} --trace {all}"));
    let all = std::fs::read_to_string(all).expect("written");
    let transactions: Vec<&str> = all.split_inclusive("}\n").collect();
    let ends: Vec<usize> = (0..transactions.len()).filter(|at| transactions[*at].starts_with("{\"output\":")).collect();
    assert!(ends.len() > 3);
    for tx in [0, 3, ends.len() - 1] {
        let task = summary(&format!("trace {block} --tx {tx} --out {one}"));
        let first = tx.checked_sub(1).map_or(0, |before| ends[before] + 1);
        assert_eq!(std::fs::read_to_string(&one).expect("written"), transactions[first..=ends[tx]].concat(), "{tx}");
        assert_eq!(task["transaction"]["index"], tx);
        assert!(task["execute_ns"].as_u64() > Some(0) && task["code"]["opcodes"].is_array());
    }
    // System calls, and what a person reads.
    assert!(summary(&format!("trace {block} --at 1:0"))["transaction"].is_null());
    let output = balustrade(&["trace", &block, "--tx", "1"], "");
    let text = stdout(&output);
    assert!(text.contains("success") && text.contains("  CALL 0x") && text.contains("as the list says"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    // The same block as a chain of files.
    let accounts = lines(0, &format!("state diff 0 1 --blocks {block}"));
    assert!(accounts.len() > 10);
    let output = balustrade(&["trace", &block, "--tx", "999999"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no index"), "{}", stderr(&output));
}
