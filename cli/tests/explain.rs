//! Rejected blocks are explained: the first transaction and the accounts that differ, and one file with everything.
//! Results that a file states and that its valid block does not have are reported.

mod command;

use alloy_primitives::{B256, Bytes, hex};
use alloy_rlp::{Decodable, Encodable, Header};
use balustrade_cli::testing::{Folder, shared};
use command::{balustrade, make_bundle, read_bundle, status, stderr, stdout, with_header};
use serde_json::Value;

/// The bundle with one unit more of cumulative gas in the receipts from this transaction on.
fn with_more_gas(bundle: &Value, transaction: usize) -> Value {
    let mut changed = bundle.clone();
    for receipt in &mut changed["receipts"].as_array_mut().expect("receipts")[transaction..] {
        let bytes = hex::decode(receipt.as_str().expect("text")).expect("hex");
        let type_len = usize::from(bytes[0] < 0x80);
        let mut fields = Header::decode_bytes(&mut &bytes[type_len..], true).expect("a list");
        let status = Bytes::decode(&mut fields).expect("a status");
        let gas = u64::decode(&mut fields).expect("gas");
        let mut payload = Vec::new();
        status.encode(&mut payload);
        (gas + 1).encode(&mut payload);
        payload.extend_from_slice(fields);
        let mut out = bytes[..type_len].to_vec();
        Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend(payload);
        *receipt = hex::encode_prefixed(out).into();
    }
    changed
}

#[test]
fn the_first_differing_transaction_is_named_and_one_file_explains_the_block() {
    let folder = Folder::new("explain");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let bundle = read_bundle(&path);
    let more_gas = with_more_gas(&bundle, 3);
    for (name, bad, cause) in [
        ("gas used", with_header(&more_gas, |header| header.gas_used += 1), "transaction 3 (0x"),
        (
            "receipts root",
            with_header(&more_gas, |header| header.receipts_root = B256::repeat_byte(7)),
            "the file says",
        ),
        (
            "receipts root",
            with_header(&bundle, |header| header.receipts_root = B256::repeat_byte(7)),
            "execution and file agree in: receipts, requests",
        ),
        (
            "state root",
            with_header(&bundle, |header| header.state_root = B256::repeat_byte(7)),
            "agree in: receipts, requests, block access list",
        ),
    ] {
        let bad = folder.file("bad.json", &bad.to_string());
        for mode in ["bal", "sequential", "optimistic"] {
            let output = balustrade(&["run", &bad, "--mode", mode], "");
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(error.contains(name) && error.contains(cause), "{mode}: {error}");
        }
        let json = stdout(&balustrade(&["run", &bad, "--json"], ""));
        let line: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
        assert!(line["causes"][0].as_str().is_some_and(|text| text.contains(cause)), "{line}");
    }

    let bad = with_header(&more_gas, |header| header.gas_used += 1);
    let (bad, file) = (folder.file("bad.json", &bad.to_string()), folder.path("bad.md"));
    assert_eq!(status(&["run", &bad, "--explain", &file]), Some(1));
    let text = std::fs::read_to_string(&file).expect("written");
    let lists = bundle["receipts"].as_array().expect("receipts").iter().map(|receipt| receipt.as_str().expect("text"));
    for receipt in lists {
        assert!(text.contains(receipt), "the receipts of the execution are in the file");
    }
    for part in ["| gas used |", "(differs)", "0 differences from the execution", "## Changed accounts"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, trace) = text.split_once("## Trace of transaction 3").expect("a trace");
    let summaries: Vec<&str> = trace.lines().filter(|line| line.contains("transactionIndex")).collect();
    assert!(matches!(summaries.as_slice(), [one] if one.contains("\"transactionIndex\":3}")), "{summaries:?}");
    assert!(trace.lines().filter(|line| line.contains("\"opName\"")).count() > 10);

    // The file of an earlier run stays if no block is rejected.
    assert_eq!(status(&["run", &path, "--explain", &file]), Some(0));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
}

#[test]
fn a_file_that_contradicts_its_valid_block_is_reported() {
    let folder = Folder::new("explain-contradiction");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let bundle = read_bundle(&path);
    let with = |key: &str, value: Value| {
        let mut changed = bundle.clone();
        changed[key] = value;
        changed
    };
    let mut senders = bundle["senders"].clone();
    senders[2] = "0x1111111111111111111111111111111111111111".into();
    let mut fewer = bundle["receipts"].clone();
    fewer.as_array_mut().expect("receipts").pop();
    let count = bundle["receipts"].as_array().expect("receipts").len();
    let (missing, hash) = (format!("the block has {count} receipts, the file {}", count - 1), B256::repeat_byte(2));
    for (changed, part) in [
        (with_more_gas(&bundle, 5), "transaction 5 (0x"),
        (with("receipts", fewer), missing.as_str()),
        (with("senders", senders), "transaction 2 (0x"),
        (with("requests", vec!["0x00aa"].into()), "requests: none, the file says 0x00aa"),
        (with("blockAccessListHash", hash.to_string().into()), "the file says 0x0202"),
    ] {
        let changed = folder.file("changed.json", &changed.to_string());
        for command in [&["run"][..], &["bal", "verify"]] {
            let output = balustrade(&[command, &[&changed]].concat(), "");
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(part) && error.contains("its file says something else"), "{part}: {error}");
        }
    }
    // A field of the wrong form is an error of the file.
    let wrong = folder.file("wrong.json", &with("receipts", "0x".into()).to_string());
    let output = balustrade(&["run", &wrong], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("field receipts"), "{}", stderr(&output));
}

#[test]
#[ignore = "needs ../shared/cases"]
fn accounts_that_differ_from_a_fixtures_state_are_named() {
    let path = shared("cases/edges.json.gz");
    let folder = Folder::new("explain-accounts");
    let document = balustrade::formats::read_document(&path).expect("readable");
    let tests: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let valid = |test: &Value| test["blocks"].as_array().is_some_and(|blocks| matches!(blocks.as_slice(), [_]));
    let (name, test) =
        tests.as_object().expect("tests").iter().find(|(_, test)| valid(test)).expect("one of one block");
    let mut test = test.clone();
    let block = with_header(&serde_json::json!({"block": test["blocks"][0]["rlp"]}), |header| {
        header.state_root = B256::repeat_byte(7);
    });
    test["blocks"][0]["rlp"] = block["block"].clone();
    let run = |test: &Value| {
        let path = folder.file("test.json", &serde_json::json!({ name: test }).to_string());
        let outputs = [balustrade(&["run", &path], ""), balustrade(&["blocktest", &path], "")];
        assert!(outputs.iter().all(|output| output.status.code() == Some(1)));
        [stderr(&outputs[0]), stdout(&outputs[1])]
    };
    for text in run(&test) {
        assert!(text.contains("state root 0x") && text.contains("state after the block"), "{text}");
    }
    let (address, account) =
        test["postState"].as_object_mut().expect("accounts").iter_mut().next().expect("an account");
    let address = address.to_lowercase();
    account["balance"] = "0x1234567".into();
    for text in run(&test) {
        let line = text.lines().find(|line| line.to_lowercase().contains(&format!("account {address}: balance")));
        assert!(line.is_some_and(|line| line.contains("the file says 19088743")), "{text}");
    }
}
