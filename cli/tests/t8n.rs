//! `t8n` and `t8n-server`: inputs and outputs in every form, exit statuses, and how tools recognise the command when it is
//! called `evm`.

use alloy_primitives::{B256, Bytes, U256, hex, keccak256};
use balustrade::arena::TxIndex;
use balustrade::exec::wire::{Block, Header};
use balustrade::formats::{BlockTest, Content, each_document};
use balustrade::{Fork, MemoryStore};
use balustrade_cli::testing::{Folder, stored};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

const KEY: &str = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";
const SENDER: &str = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b";

fn run_with(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // The command may end before it has read everything.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// The options for a transition from standard input to standard output.
fn streams(fork: &str) -> Vec<String> {
    let mut args = vec!["t8n".to_owned(), "--state.fork".to_owned(), fork.to_owned()];
    args.extend(["alloc", "env", "txs"].map(|part| format!("--input.{part}=stdin")));
    args.extend(["alloc", "result", "body"].map(|part| format!("--output.{part}=stdout")));
    args
}

fn transition(fork: &str, more: &[&str], input: &Value) -> Value {
    let args = streams(fork);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let output = run_with(&args, &input.to_string());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), complaint.as_str()), (Some(0), ""), "{fork}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// One transfer with a key, and code that stores the hash of block 0.
fn small(fork: &str) -> Value {
    let mut env = json!({
        "currentCoinbase": "0xb94f5374fce5edbc8e2a8697c15331677e6ebf0b", "currentGasLimit": "0x1000000",
        "currentNumber": "1", "currentTimestamp": 1000, "blockHashes": {"0x00": format!("0x{}", "11".repeat(32))},
    });
    let proof_of_work = ["Frontier", "Homestead", "EIP150", "EIP158", "Byzantium", "Istanbul", "Berlin", "London"];
    if proof_of_work.contains(&fork) {
        env["currentDifficulty"] = json!("0x20000");
    } else {
        env["currentRandom"] = json!("0x0");
        env["withdrawals"] = json!([]);
        env["parentBeaconBlockRoot"] = json!("0x00");
        env["slotNumber"] = json!("0x7");
    }
    env["currentBaseFee"] = json!("0x7");
    let transaction = |nonce: u64, to: &str| {
        json!({"type": "0x0", "nonce": format!("{nonce:#x}"), "gasPrice": "0xa", "gas": "0x30d40", "value": "0x1",
            "input": "0x", "to": to, "secretKey": KEY, "v": "0x0", "r": "0x0", "s": "0x0"})
    };
    json!({
        "alloc": {
            SENDER: {"balance": "0xde0b6b3a7640000"},
            // NUMBER - 1, BLOCKHASH, SSTORE in slot 0.
            "0x1000000000000000000000000000000000000000": {"balance": "1", "code": "0x600143034060005500", "nonce": "0x1"},
        },
        "env": env,
        "txs": [
            transaction(0, "0x2000000000000000000000000000000000000000"),
            transaction(5, "0x2000000000000000000000000000000000000000"),
            transaction(1, "0x1000000000000000000000000000000000000000"),
        ],
    })
}

#[test]
fn a_transaction_that_cannot_stand_is_rejected() {
    for fork in ["Frontier", "EIP158", "London", "Merge", "Cancun", "Osaka", "BPO5"] {
        let done = transition(fork, &["--state.reward=-1"], &small(fork));
        let result = &done["result"];
        assert_eq!(result["rejected"][0]["index"], 1, "{fork}");
        let error = result["rejected"][0]["error"].as_str().expect("text");
        assert!(error.contains("nonce too high"), "{fork}: {error}");
        assert_eq!(
            (result["rejected"].as_array().map(Vec::len), &result["receipts"][1]["transactionIndex"]),
            (Some(1), &json!("0x1"))
        );
        assert_eq!(result["receipts"].as_array().map(Vec::len), Some(2), "{fork}");
        assert_eq!(result["receipts"][0]["gasUsed"], "0x5208");
        let is_byzantium = fork != "Frontier" && fork != "EIP158";
        assert_eq!(result["receipts"][0]["root"] == "0x", is_byzantium, "{fork}");
        let slot = format!("0x{}", "00".repeat(32));
        let written = &done["alloc"]["0x1000000000000000000000000000000000000000"]["storage"][slot];
        assert_eq!(written, &json!(format!("0x{}", "11".repeat(32))), "{fork}");
        assert_eq!(done["alloc"][SENDER]["nonce"], "0x2");
        let body = hex::decode(done["body"].as_str().expect("hex")).expect("hex");
        assert_eq!(body[0], 0xf8, "{fork}");
        assert_eq!(result["currentBaseFee"].is_null(), ["Frontier", "EIP158"].contains(&fork), "{fork}");
        assert_eq!(result["currentDifficulty"].is_null(), !["Frontier", "EIP158", "London"].contains(&fork), "{fork}");
        // The body gives the same result without signing.
        let mut again = small(fork);
        again["txs"] = done["body"].clone();
        let second = transition(fork, &["--state.reward=-1"], &again);
        assert_eq!(second["result"]["stateRoot"], result["stateRoot"], "{fork}");
        assert!(second["result"].get("rejected").is_none());
    }
}

#[test]
fn rewards_ommers_and_withdrawals_are_credited() {
    let mut input = small("Berlin");
    input["env"]["ommers"] = json!([{"delta": 1, "address": "0x3000000000000000000000000000000000000000"}]);
    input["env"]["currentNumber"] = json!(5);
    input["txs"] = json!([]);
    let done = transition("Berlin", &["--state.reward", "3200"], &input);
    assert_eq!(done["alloc"]["0x3000000000000000000000000000000000000000"]["balance"], "0xaf0");
    assert_eq!(done["alloc"]["0xb94f5374fce5edbc8e2a8697c15331677e6ebf0b"]["balance"], "0xce4");
    // A reward of zero creates the beneficiary before Spurious Dragon; -1 does not.
    let beneficiary = |done: &Value| done["alloc"].get("0xb94f5374fce5edbc8e2a8697c15331677e6ebf0b").is_some();
    input["env"]["ommers"] = json!([]);
    assert!(beneficiary(&transition("Homestead", &["--state.reward", "0"], &input)));
    assert!(!beneficiary(&transition("Homestead", &["--state.reward", "-1"], &input)));

    let mut input = small("Shanghai");
    input["env"]["withdrawals"] = json!([{"index": "0x0", "validatorIndex": "0x0", "amount": "0x2",
        "address": "0x3000000000000000000000000000000000000000"}]);
    let done = transition("Shanghai", &[], &input);
    assert_eq!(done["alloc"]["0x3000000000000000000000000000000000000000"]["balance"], "0x77359400");
    assert!(done["result"]["withdrawalsRoot"].is_string());
}

#[test]
fn what_the_parent_determines_is_computed() {
    let mut input = small("London");
    for field in ["currentBaseFee", "currentDifficulty"] {
        input["env"].as_object_mut().expect("an object").remove(field);
    }
    for (field, value) in [
        ("parentBaseFee", "0x3b9aca00"),
        ("parentGasUsed", "0xf42400"),
        ("parentGasLimit", "0xf42400"),
        ("parentDifficulty", "0x20000"),
        ("parentTimestamp", "0x3d9"),
        ("parentUncleHash", "0x00"),
    ] {
        input["env"][field] = json!(value);
    }
    let done = transition("London", &[], &input);
    assert_eq!(done["result"]["currentBaseFee"], "0x430e2340");
    assert_eq!(done["result"]["currentDifficulty"], "0x20000");

    let mut input = small("Cancun");
    input["env"]["parentExcessBlobGas"] = json!("0x60000");
    input["env"]["parentBlobGasUsed"] = json!("0x20000");
    assert_eq!(transition("Cancun", &[], &input)["result"]["currentExcessBlobGas"], "0x20000");
    input["blobParams"] = json!({"target": "0x1", "max": "0x2", "baseFeeUpdateFraction": "0x32f0ed"});
    assert_eq!(transition("Cancun", &[], &input)["result"]["currentExcessBlobGas"], "0x60000");
    // Two forks in one name: the time decides.
    let mut input = small("Cancun");
    for (time, has_requests) in [(14_999, false), (15_000, true)] {
        input["env"]["currentTimestamp"] = json!(time);
        let done = transition("CancunToPragueAtTime15k", &[], &input);
        assert_eq!(done["result"]["requestsHash"].is_string(), has_requests, "{time}");
        // The request contracts are missing in this state.
        assert_eq!(done["result"]["blockException"].is_string(), has_requests, "{time}");
    }
}

#[test]
fn files_are_read_and_written() {
    let folder = Folder::new("t8n-files");
    let input = small("Berlin");
    let files = ["alloc", "env", "txs"].map(|part| folder.file(&format!("{part}.json"), &input[part].to_string()));
    let out = folder.path("some/out");
    let mut args: Vec<String> = vec!["t8n".into(), "--state.fork=Berlin".into(), "--trace".into()];
    args.extend(["alloc", "env", "txs"].iter().zip(&files).map(|(part, file)| format!("--input.{part}={file}")));
    args.extend([
        format!("--output.basedir={out}"),
        "--output.body=txs.rlp".into(),
        "--opcode.count=opcodes.json".into(),
    ]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run_with(&args, "");
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
    let read = |name: &str| std::fs::read_to_string(format!("{out}/{name}")).expect(name);
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).expect(name);
    let streamed = transition("Berlin", &["--state.reward=0"], &input);
    assert_eq!(json("result.json"), streamed["result"]);
    assert_eq!(json("alloc.json"), streamed["alloc"]);
    assert_eq!(json("txs.rlp"), streamed["body"]);
    assert_eq!(
        json("opcodes.json"),
        json!({"PUSH1": 2, "NUMBER": 1, "SUB": 1, "BLOCKHASH": 1, "SSTORE": 1, "STOP": 1})
    );
    for (index, lines) in [(0, 1), (1, 8)] {
        let hash = json("result.json")["receipts"][index]["transactionHash"].as_str().expect("a hash").to_owned();
        let trace = read(&format!("trace-{index}-{hash}.jsonl"));
        let trace: Vec<Value> = trace.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(trace.len(), lines);
        assert!(trace[lines - 1]["output"].is_string() && trace[lines - 1]["gasUsed"].is_string());
        assert!(trace[..lines - 1].iter().all(|line| line["opName"].is_string() && line.get("returnData").is_none()));
    }
    let mut left: Vec<_> =
        std::fs::read_dir(&out).expect("there").map(|entry| entry.expect("a file").file_name()).collect();
    left.sort();
    assert_eq!(left.len(), 6, "{left:?}");
    // The parts on standard error.
    let mut args = streams("Berlin");
    args.extend(["--output.result=stderr".into(), "--output.alloc=".into(), "--output.body=".into()]);
    args.retain(|arg| !arg.ends_with("=stdout"));
    let output = run_with(&args.iter().map(String::as_str).collect::<Vec<_>>(), &input.to_string());
    let shown: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((shown["result"].is_object(), output.stdout.len()), (true, 0));
}

#[test]
fn failures_have_the_exit_statuses_of_geth() {
    let status = |fork: &str, more: &[&str], input: &str| {
        let args = streams(fork);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let output = run_with(&args, input);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.starts_with("error: ") && complaint.lines().count() == 1, "{complaint}");
        assert!(complaint.len() < 1_000, "{complaint}");
        output.status.code()
    };
    let changed = |fork: &str, path: &str, value: Value| {
        let mut input = small(fork);
        let (parent, field) = path.rsplit_once('/').expect("a path");
        let parent = input.pointer_mut(parent).expect("there");
        match value {
            Value::Null => drop(parent.as_object_mut().expect("an object").remove(field)),
            value => parent[field] = value,
        }
        input.to_string()
    };
    // 2: the state lacks a code.
    let account = json!({"balance": "0x1", "codeHash": format!("0x{}", "22".repeat(32))});
    let code = changed("Berlin", "/alloc/0x1000000000000000000000000000000000000000", account);
    assert_eq!(status("Berlin", &[], &code), Some(2));
    // 3: the environment does not fit the fork.
    for (fork, path, value) in [
        ("Utopia", "/env/x", json!(1)),
        ("PragueToCancunAtTime15k", "/env/x", json!(1)),
        ("Merge", "/env/currentRandom", Value::Null),
        ("Merge", "/env/currentDifficulty", json!("0x1")),
        ("Berlin", "/env/currentDifficulty", Value::Null),
        ("London", "/env/currentBaseFee", Value::Null),
        ("Shanghai", "/env/withdrawals", Value::Null),
        ("Cancun", "/env/parentBeaconBlockRoot", Value::Null),
        ("Amsterdam", "/env/slotNumber", Value::Null),
        ("Berlin", "/env/ommers", json!([{"delta": 9, "address": SENDER}])),
    ] {
        assert_eq!(status(fork, &[], &changed(fork, path, value)), Some(3), "{fork} {path}");
    }
    // 4: BLOCKHASH of a block whose hash is not given.
    assert_eq!(status("Berlin", &[], &changed("Berlin", "/env/blockHashes", json!({}))), Some(4));
    // 10: not the JSON that it should be.
    let deep = "[".repeat(200_000);
    for input in ["", "{", "[]", "{}", &deep, &format!("{{\"alloc\": {deep}"), &small("Berlin").to_string()[1..]] {
        assert_eq!(status("Berlin", &[], input), Some(10), "{}", &input[..input.len().min(20)]);
    }
    let nested = |open: &str, close: &str| {
        let text = format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        small("Berlin").to_string().replacen("\"currentNumber\":\"1\"", &format!("\"currentNumber\":{text}"), 1)
    };
    assert_eq!(status("Berlin", &[], &nested("[", "]")), Some(10));
    for (path, value) in [
        ("/env/currentNumber", json!("0x10000000000000000")),
        ("/env/currentNumber", json!(-1)),
        ("/env/currentNumber", json!(1.5)),
        ("/env/currentNumber", Value::Null),
        ("/env/currentCoinbase", json!("0x01")),
        ("/env/blockHashes", json!([1])),
        ("/env/withdrawals", json!([{}])),
        ("/alloc/0x1000000000000000000000000000000000000000", json!({"balance": format!("0x{}", "f".repeat(65))})),
        ("/alloc/0x1000000000000000000000000000000000000000", json!({"code": "0x6"})),
        ("/alloc/some", json!({})),
        ("/txs", json!({})),
        ("/txs", json!([{"nonce": "x"}])),
        ("/txs", json!([{"nonce": "0x0", "secretKey": format!("0x{}", "00".repeat(32))}])),
    ] {
        assert_eq!(status("Berlin", &[], &changed("Berlin", path, value)), Some(10), "{path}");
    }
    // 11: files.
    let input = small("Berlin").to_string();
    assert_eq!(status("Berlin", &["--input.blobParams=no/such/file.json"], &input), Some(11));
    assert_eq!(status("Berlin", &["--opcode.count=no/such/folder/file.json"], &input), Some(11));
    assert_eq!(status("Berlin", &["--output.basedir=/dev/null/x", "--trace"], &input), Some(11));
    // 12: RLP.
    for rlp in ["0x00", "0xc1", "0xf9ffff", "0x83010203"] {
        assert_eq!(status("Berlin", &[], &changed("Berlin", "/txs", json!(rlp))), Some(12), "{rlp}");
    }
    // Usage.
    assert_eq!(run_with(&["t8n", "--state.reward=much"], "").status.code(), Some(2));
}

#[test]
fn the_largest_numbers_are_no_error() {
    let most = "0xffffffffffffffff";
    for fork in ["Frontier", "London", "Cancun", "Amsterdam"] {
        let mut input = small(fork);
        for field in ["currentGasLimit", "currentNumber", "currentTimestamp", "currentBaseFee", "currentExcessBlobGas"]
        {
            input["env"][field] = json!(most);
        }
        input["env"]["blockHashes"] = json!({"0xfffffffffffffffe": "0x1"});
        let wide = format!("0x{}", "f".repeat(64));
        input["alloc"]["0xb94f5374fce5edbc8e2a8697c15331677e6ebf0b"] = json!({"balance": wide, "nonce": most});
        input["env"]["withdrawals"] = json!([]);
        let done = transition(
            fork,
            &["--state.reward", "9223372036854775807", "--state.chainid", "18446744073709551615"],
            &input,
        );
        assert!(done["result"]["stateRoot"].is_string(), "{fork}");
        let wide_fields =
            json!([{"nonce": wide, "gasPrice": wide, "gas": wide, "value": wide, "chainId": wide, "secretKey": KEY}]);
        input["txs"] = wide_fields;
        assert_eq!(transition(fork, &[], &input)["result"]["rejected"][0]["index"], 0, "{fork}");
    }
}

#[test]
fn tools_recognise_the_command_called_evm() {
    let folder = Folder::new("t8n-evm");
    let evm = folder.0.join("evm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_balustrade"), &evm).expect("a link");
    let run = |program: &std::path::Path, args: &[&str]| {
        let start = Instant::now();
        let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect("the command runs");
        println!("{args:?}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let version = env!("CARGO_PKG_VERSION");
    for flag in ["-v", "--version"] {
        let (status, out, err) = run(&evm, &[flag]);
        assert_eq!((status, out, err), (Some(0), format!("evm version balustrade-{version}\n"), String::new()));
    }
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_balustrade"));
    assert_eq!(run(own, &["--version"]), (Some(0), format!("balustrade {version}\n"), String::new()));
    assert_ne!(run(own, &["-v"]).0, Some(0));
    for program in [own, &evm] {
        let (status, help, err) = run(program, &["t8n", "--help"]);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        for fork in Fork::ALL {
            assert!(help.contains(fork.name()), "{fork:?}");
        }
        for fork in ["EIP150", "EIP158", "ConstantinopleFix", "Merge", "BPO1", "BPO2", "BPO3", "BPO4", "BPO5"] {
            assert!(help.contains(fork), "{fork}");
        }
    }
    // As execution-specs calls it.
    let input = small("Cancun");
    let args = streams("Cancun");
    let mut words = vec!["--verbosity".to_owned(), "100".to_owned()];
    words.extend(args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run_with(&words, &input.to_string());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let chains = stored("chains.tar.zst");
    let chains = chains.to_str().expect("text");
    let (status, out, _) = run(&evm, &["--verbosity", "100", "blocktest", "--workers", "2", "--run", "cancun", chains]);
    let results: Vec<Value> = serde_json::from_str(&out).expect("an array");
    assert!(status == Some(0) && !results.is_empty() && results.iter().all(|result| result["pass"] == true));
    let (status, out, _) = run(&evm, &["blocktest", "--human", "--dump", "--run", "cancun", chains]);
    assert!(status == Some(0) && out.contains("[PASS] ") && out.ends_with("0 tests failed.\n"), "{out}");
    assert_eq!(run(&evm, &["statetest", "no/such/file.json"]).0, Some(1));
}

/// A decoded transaction in JSON.
fn transaction_json(block: &Block, tx: usize) -> Value {
    let (tx, all) = (TxIndex(tx as u32), &block.transactions);
    let row = all.row(tx);
    let number = |number: U256| json!(format!("{number:#x}"));
    let parity = u64::from(row.y_parity);
    let v = match (row.tx_type, row.chain_id) {
        (0, Some(id)) => U256::from(id) * U256::from(2) + U256::from(35 + parity),
        (0, None) => U256::from(27 + parity),
        _ => U256::from(parity),
    };
    let mut json = json!({
        "type": number(U256::from(row.tx_type)), "nonce": number(U256::from(row.nonce)),
        "gas": number(U256::from(row.gas_limit)), "to": row.to, "value": number(row.value),
        "input": Bytes::copy_from_slice(all.input(tx)), "v": number(v), "r": number(row.r), "s": number(row.s),
    });
    if let Some(id) = row.chain_id {
        json["chainId"] = number(U256::from(id));
    }
    if row.tx_type < 2 {
        json["gasPrice"] = number(U256::from(row.max_fee_per_gas));
    } else {
        json["maxFeePerGas"] = number(U256::from(row.max_fee_per_gas));
        json["maxPriorityFeePerGas"] = number(U256::from(row.max_priority_fee_per_gas));
    }
    if row.tx_type > 0 {
        let keys = |keys: &[U256]| keys.iter().map(|key| B256::from(*key)).collect::<Vec<_>>();
        let entries = all.access_list(tx).map(|(address, list)| json!({"address": address, "storageKeys": keys(list)}));
        json["accessList"] = entries.collect();
    }
    if row.tx_type == 3 {
        json["maxFeePerBlobGas"] = number(U256::from(row.max_fee_per_blob_gas));
        json["blobVersionedHashes"] = json!(all.blob_hashes(tx));
    }
    if row.tx_type == 4 {
        let authorization = |row: &balustrade::exec::wire::Authorization| {
            json!({"chainId": number(row.chain_id), "address": row.address, "nonce": number(U256::from(row.nonce)),
                "v": number(U256::from(row.y_parity)), "yParity": number(U256::from(row.y_parity)),
                "r": number(row.r), "s": number(row.s)})
        };
        json["authorizationList"] = all.authorizations(tx).iter().map(authorization).collect();
    }
    json
}

/// A state in JSON.
fn alloc_json(store: &MemoryStore) -> Value {
    let account = |(address, account): (&alloy_primitives::Address, &balustrade::MemoryAccount)| {
        let storage =
            account.storage.iter().map(|(key, value)| (B256::from(*key).to_string(), json!(B256::from(*value))));
        let code = store.code(&account.code_hash).cloned().unwrap_or_default();
        let fields = json!({"balance": account.balance.to_string(), "nonce": account.nonce, "code": code,
            "storage": Value::Object(storage.collect())});
        (address.to_string(), fields)
    };
    Value::Object(store.iter().map(account).collect())
}

/// The input of `t8n` for the first block of a test, and its header.
fn first_block(test: &BlockTest) -> (Value, Header) {
    let block = Block::decode(test.blocks[0].rlp.clone()).expect("a valid block");
    let genesis = Header::of_block(&test.genesis).expect("a genesis");
    let header = block.header.clone();
    let hex = |number: u64| format!("{number:#04x}");
    let mut env = json!({
        "currentCoinbase": header.coinbase, "currentGasLimit": hex(header.gas_limit),
        "currentNumber": hex(header.number), "currentTimestamp": hex(header.timestamp),
        "currentDifficulty": header.difficulty, "currentRandom": header.mix_hash,
        "blockHashes": {hex(genesis.number): genesis.hash()},
    });
    if let Some(base_fee) = header.base_fee {
        env["currentBaseFee"] = json!(hex(base_fee));
    }
    if let Some(excess) = header.excess_blob_gas {
        env["currentExcessBlobGas"] = json!(hex(excess));
        env["parentBeaconBlockRoot"] = json!(header.parent_beacon_root);
    }
    if let Some(slot) = header.slot_number {
        env["slotNumber"] = json!(hex(slot));
    }
    if let Some(withdrawals) = &block.withdrawals {
        let row = |row: &balustrade::exec::wire::Withdrawal| {
            json!({"index": row.index, "validatorIndex": hex(row.validator_index), "address": row.address,
                "amount": hex(row.amount_gwei)})
        };
        env["withdrawals"] = withdrawals.iter().map(row).collect();
    }
    let txs: Vec<Value> = (0..block.transactions.len()).map(|tx| transaction_json(&block, tx)).collect();
    (json!({"alloc": alloc_json(&test.pre), "env": env, "txs": txs}), header)
}

/// The first valid block of the stored chains, per fork.
fn each_first_block(mut visit: impl FnMut(&BlockTest, Value, Header)) {
    let mut seen = Vec::new();
    let flow = each_document(&stored("chains.tar.zst"), &mut |_| (), &mut |document| {
        let Ok(Content::Tests(tests)) = Content::parse(&document, None) else { panic!("fixtures") };
        for test in &tests {
            let usable =
                test.network.is_some() && test.blocks.first().is_some_and(|block| block.expect_exception.is_none());
            if usable && !seen.contains(&test.network_name) {
                seen.push(test.network_name.clone());
                let (input, header) = first_block(test);
                visit(test, input, header);
            }
        }
        ControlFlow::Continue(())
    });
    assert!(flow.is_ok() && seen.len() >= 13, "{flow:?}: {seen:?}");
}

fn reward_of(fork: Fork) -> String {
    format!("--state.reward={}", if fork >= Fork::Paris { -1 } else { fork.rules().block_reward as i64 })
}

#[test]
fn stored_blocks_are_made_again() {
    each_first_block(|test, input, header| {
        let name = &test.network_name;
        let rules = test.network.as_ref().expect("filtered").rules(header.number, header.timestamp);
        let chain_id = format!("--state.chainid={}", rules.chain_id);
        let done = transition(name, &[&reward_of(rules.fork), &chain_id], &input);
        let result = &done["result"];
        assert!(result.get("rejected").is_none(), "{name}: {}", result["rejected"]);
        for (field, expected) in [
            ("stateRoot", json!(header.state_root)),
            ("txRoot", json!(header.transactions_root)),
            ("receiptsRoot", json!(header.receipts_root)),
            ("logsBloom", json!(header.logs_bloom)),
            ("gasUsed", json!(format!("{:#x}", header.gas_used))),
            ("withdrawalsRoot", json!(header.withdrawals_root)),
            ("requestsHash", json!(header.requests_hash)),
            ("blockAccessListHash", json!(header.block_access_list_hash)),
            ("blobGasUsed", json!(header.blob_gas_used.map(|gas| format!("{gas:#x}")))),
        ] {
            assert_eq!(result.get(field).unwrap_or(&Value::Null), &expected, "{name}: {field}");
        }
        if let Some(hash) = header.block_access_list_hash {
            let list = hex::decode(result["blockAccessList"].as_str().expect("hex")).expect("hex");
            assert_eq!(keccak256(list), hash);
        }
    });
}

/// A server, ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server; returns the place where it listens.
fn serve(args: &[&str]) -> (Server, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .arg("t8n-server")
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it listens");
    let place = line.trim().strip_prefix("Transition server listening on ").expect("the place").to_owned();
    (Server(child), place)
}

/// Sends one request; returns the status and the body.
fn send(mut stream: impl Read + Write, method: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    // A long body comes in chunks, each after its length.
    let json = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        let (mut rest, mut whole) = (body, String::new());
        while let Some((length, chunk)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).expect("a length");
            whole.push_str(&chunk[..length]);
            rest = chunk.get(length + 2..).unwrap_or_default();
        }
        whole
    } else {
        body.to_owned()
    };
    (status, serde_json::from_str(&json).expect("JSON"))
}

#[test]
fn a_server_answers_as_the_command() {
    let folder = Folder::new("t8n-server");
    let (_server, port) = serve(&["--port", "0"]);
    let connect = || TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    let request = |fork: &str| json!({"state": {"fork": fork, "chainid": 1, "reward": 0}, "input": small(fork)});
    for fork in ["Berlin", "Cancun", "Berlin"] {
        let (status, answer) = send(connect(), "POST", &request(fork).to_string());
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer, transition(fork, &["--state.reward=0"], &small(fork)), "{fork}");
    }
    let mut traced = request("Berlin");
    (traced["trace"], traced["output-basedir"]) = (json!(true), json!(folder.0));
    assert_eq!(send(connect(), "POST", &traced.to_string()).0, 200);
    assert_eq!(std::fs::read_dir(&folder.0).expect("there").count(), 2);
    // Wrong requests are answered, and the server goes on.
    let (deep, unknown) = ("[".repeat(100_000), request("Utopia").to_string());
    for (body, code) in [("", 10), ("{", 10), ("{}", 10), (deep.as_str(), 10), (unknown.as_str(), 3)] {
        let (status, answer) = send(connect(), "POST", body);
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{answer}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(send(connect(), "GET", "").0, 400);
    assert_eq!(send(connect(), "POST", &request("Berlin").to_string()).0, 200);

    let path = folder.path("socket");
    let (_server, place) = serve(&["--uds", &path]);
    assert_eq!(place, path);
    let stream = UnixStream::connect(&path).expect("it listens");
    let (status, answer) = send(stream, "POST", &request("Cancun").to_string());
    assert_eq!((status, answer["result"]["receipts"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(
        Command::new(env!("CARGO_BIN_EXE_balustrade"))
            .args(["t8n-server", "--uds", "/no/such/folder/socket"])
            .stderr(Stdio::null())
            .status()
            .expect("it ends")
            .code(),
        Some(2)
    );
}
