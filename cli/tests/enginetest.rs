//! `balustrade enginetest`: block tests as calls of the Engine API, and engine fixtures.

mod command;

use alloy_primitives::{B256, hex};
use balustrade::exec::wire::{Block, Header};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::testing::{Folder, GeneratedChain, has_shared, shared, stored};
use command::{balustrade, command, stderr, stdout};
use serde_json::{Map, Value, json};
use std::os::unix::process::CommandExt;

fn summary(args: &[&str]) -> Value {
    let output = balustrade(args, "");
    let text = stdout(&output);
    let last = text.lines().last().unwrap_or_else(|| panic!("{args:?}: {}", stderr(&output)));
    let mut summary = serde_json::from_str::<Value>(last).expect("JSON")["summary"].take();
    let failed = text.lines().filter(|line| line.contains("\"pass\":false") && !line.contains("\"skipped\""));
    summary["failures"] = failed.take(3).map(str::to_owned).collect();
    summary
}

#[test]
fn every_stored_block_test_passes_as_engine_calls() {
    let path = stored("chains.tar.zst");
    let summary = summary(&["enginetest", "--json", "--threads", "2", path.to_str().expect("text")]);
    assert_eq!(summary["failed"], 0, "{summary}");
    assert!(summary["passed"].as_u64() >= Some(20), "{summary}");
    assert!(summary["skipped"].as_u64() > Some(0), "chains before the merge are no payloads: {summary}");
}

/// `BALUSTRADE_ALL`: all tests, not a sample.
#[test]
#[ignore = "needs the suites in ../shared/fixtures"]
fn suites_pass_as_engine_calls() {
    assert!(has_shared());
    let all = std::env::var_os("BALUSTRADE_ALL").is_some();
    let samples = [
        ("amsterdam", "eip8024|eip7843|eip7708|invalid_matching_root|withdrawal"),
        ("eest-osaka", "eip7951|eip7939|eip7934"),
        ("eest-prague", "eip7685|eip7002|eip6110"),
        ("eest-cancun", "eip4844_blobs/excess_blob_gas|eip4788"),
        ("eest-shanghai", "eip4895|eip3860"),
        ("eest-paris", "security|eip3675"),
        ("eest-transitions", "."),
    ];
    for (suite, sample) in samples {
        let path = shared(&format!("fixtures/{suite}.tar.zst"));
        let pattern = if all { "." } else { sample };
        let summary = summary(&["enginetest", "--json", "--run", pattern, path.to_str().expect("text")]);
        println!("{suite}: {summary}");
        assert_eq!(summary["failed"], 0, "{suite}: {summary}");
        assert!(summary["passed"].as_u64() > Some(0), "{suite}: {summary}");
    }
}

/// A header as fixtures have it.
fn header_json(header: &Header) -> Value {
    let number = |value: u64| json!(format!("0x{value:02x}"));
    json!({
        "parentHash": header.parent_hash, "uncleHash": header.ommers_hash, "coinbase": header.coinbase,
        "stateRoot": header.state_root, "transactionsTrie": header.transactions_root,
        "receiptTrie": header.receipts_root, "bloom": header.logs_bloom, "difficulty": "0x00",
        "number": number(header.number), "gasLimit": number(header.gas_limit), "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp), "extraData": header.extra_data, "mixHash": header.mix_hash,
        "nonce": header.nonce, "baseFeePerGas": number(header.base_fee.expect("London")),
        "withdrawalsRoot": header.withdrawals_root, "blobGasUsed": number(header.blob_gas_used.expect("Cancun")),
        "excessBlobGas": number(header.excess_blob_gas.expect("Cancun")),
        "parentBeaconBlockRoot": header.parent_beacon_root, "requestsHash": header.requests_hash,
        "blockAccessListHash": header.block_access_list_hash, "slotNumber": number(header.slot_number.expect("Amsterdam")),
        "hash": header.hash(),
    })
}

/// A call of `engine_newPayloadV5`; the block produces no requests.
fn payload_json(block: &Block, list: &[u8]) -> Value {
    let header = &block.header;
    let number = |value: u64| json!(format!("{value:#x}"));
    let index = |row: usize| balustrade::arena::TxIndex(row as u32);
    let transactions =
        (0..block.transactions.len()).map(|row| hex::encode_prefixed(block.transactions.encoded(index(row))));
    let hashes = (0..block.transactions.len()).flat_map(|row| block.transactions.blob_hashes(index(row)));
    let withdrawals = block.withdrawals.iter().flatten().map(|row| {
        json!({
            "index": number(row.index), "validatorIndex": number(row.validator_index), "address": row.address,
            "amount": number(row.amount_gwei),
        })
    });
    let payload = json!({
        "parentHash": header.parent_hash, "feeRecipient": header.coinbase, "stateRoot": header.state_root,
        "receiptsRoot": header.receipts_root, "logsBloom": header.logs_bloom, "prevRandao": header.mix_hash,
        "blockNumber": number(header.number), "gasLimit": number(header.gas_limit), "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp), "extraData": header.extra_data,
        "baseFeePerGas": number(header.base_fee.expect("London")), "blockHash": block.header_hash,
        "transactions": transactions.collect::<Vec<_>>(), "withdrawals": withdrawals.collect::<Vec<_>>(),
        "blobGasUsed": number(header.blob_gas_used.expect("Cancun")),
        "excessBlobGas": number(header.excess_blob_gas.expect("Cancun")),
        "blockAccessList": hex::encode_prefixed(list), "slotNumber": number(header.slot_number.expect("Amsterdam")),
    });
    let params = json!([payload, hashes.collect::<Vec<_>>(), header.parent_beacon_root, []]);
    json!({"params": params, "newPayloadVersion": "5", "forkchoiceUpdatedVersion": "4"})
}

/// An engine fixture of the generated chain, and its genesis with the state.
fn fixture() -> (Value, Value) {
    let chain = GeneratedChain::new(2);
    let db = chain.db();
    let genesis = header_json(db.head());
    let mut pre = Map::new();
    for (address, account) in chain.state.iter() {
        let code = chain.state.code(&account.code_hash).map(hex::encode_prefixed).unwrap_or_else(|| "0x".to_owned());
        let storage: Map<String, Value> =
            account.storage.iter().map(|(key, value)| (format!("{key:#x}"), json!(format!("{value:#x}")))).collect();
        let fields = json!({
            "nonce": format!("{:#x}", account.nonce), "balance": format!("{:#x}", account.balance), "code": code,
            "storage": storage,
        });
        pre.insert(address.to_string(), fields);
    }
    let blocks: Vec<(Block, &[u8])> =
        chain.blocks.iter().map(|(block, list)| (Block::decode(block.clone()).expect("a block"), &list[..])).collect();
    let mut payloads: Vec<Value> = blocks.iter().map(|(block, list)| payload_json(block, list)).collect();
    // Before each valid payload, one that is refused with a code, and one that is not a block.
    let mut malformed = payloads[1].clone();
    malformed["params"][0].as_object_mut().expect("an object").remove("slotNumber");
    malformed["errorCode"] = json!("-32602");
    let mut invalid = payloads[1].clone();
    invalid["params"][0]["stateRoot"] = json!(B256::ZERO);
    invalid["validationError"] = json!("BlockException.INVALID_BLOCK_HASH|BlockException.INVALID_STATE_ROOT");
    payloads.insert(1, malformed);
    payloads.insert(2, invalid);
    let test = json!({
        "network": "Amsterdam", "config": {"chainid": format!("{:#x}", Devnet::rules().chain_id)},
        "genesisBlockHeader": genesis, "pre": pre, "engineNewPayloads": payloads,
        "lastblockhash": blocks[1].0.header_hash,
    });
    (test, json!({"network": "Amsterdam", "genesis": genesis, "pre": pre, "testCount": 1}))
}

#[test]
fn engine_fixtures_of_both_formats_run_and_wrong_ones_fail() {
    let folder = Folder::new("enginetest-fixtures");
    let (test, group) = fixture();
    let file = |name: &str, test: &Value| folder.file(name, &json!({"a_test": test}).to_string());
    let run = |path: &str| summary(&["enginetest", "--json", "--threads", "2", path]);
    let summary_of_good = run(&file("good.json", &test));
    assert_eq!((&summary_of_good["passed"], &summary_of_good["failed"]), (&json!(1), &json!(0)), "{summary_of_good}");

    let with = |change: &dyn Fn(&mut Value)| {
        let mut test = test.clone();
        change(&mut test);
        test
    };
    type Change<'c> = (&'c str, &'c dyn Fn(&mut Value));
    let wrong: [Change<'_>; 7] = [
        ("wrong head", &|test| test["lastblockhash"] = test["genesisBlockHeader"]["hash"].clone()),
        ("accepted an invalid payload", &|test| {
            test["engineNewPayloads"][0]["validationError"] = json!("BlockException.INVALID_GAS_USED");
        }),
        ("wrong code", &|test| test["engineNewPayloads"][1]["errorCode"] = json!("-38005")),
        ("refused a valid payload", &|test| {
            drop(test["engineNewPayloads"][1].as_object_mut().expect("object").remove("errorCode"));
        }),
        ("refused a valid payload", &|test| {
            drop(test["engineNewPayloads"][2].as_object_mut().expect("object").remove("validationError"));
        }),
        ("wrong code", &|test| test["engineNewPayloads"][2]["errorCode"] = json!(-32602)),
        ("genesis", &|test| test["pre"]["0x0000000000000000000000000000000000000001"] = json!({"balance": "0x1"})),
    ];
    for (position, (kind, change)) in wrong.into_iter().enumerate() {
        let summary = run(&file(&format!("wrong-{position}.json"), &with(change)));
        assert_eq!((&summary["failed"], &summary["passed"]), (&json!(1), &json!(0)), "{kind}: {summary}");
        assert!(summary["failures"].to_string().contains(kind), "{kind}: {summary}");
    }

    // The same test in the format that shares its state with others.
    let shares = with(&|test| {
        let test = test.as_object_mut().expect("an object");
        test.remove("pre");
        test.remove("genesisBlockHeader");
        test.insert("preHash".to_owned(), json!("0x0123456789abcdef"));
    });
    std::fs::create_dir(folder.0.join("pre_alloc")).expect("a folder");
    folder.file("pre_alloc/0x0123456789abcdef.json", &group.to_string());
    let path = file("shares.json", &shares);
    let groups = folder.path("pre_alloc");
    let passed = summary(&["enginetest", "--json", "--pre-alloc-dir", &groups, &path]);
    assert_eq!((&passed["passed"], &passed["failed"]), (&json!(1), &json!(0)), "{passed}");
    let lacks = summary(&["enginetest", "--json", &path]);
    assert_eq!(lacks["failed"], 1, "{lacks}");

    // As go-ethereum's tools print it.
    let output = command(&["enginetest", &folder.path("good.json")]).arg0("evm").output().expect("the command runs");
    let results: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&results[0]["name"], &results[0]["pass"]), (&json!("a_test"), &json!(true)), "{results}");
    assert_eq!(output.status.code(), Some(0));
}
