//! The test commands when they are called as go-ethereum's `evm`, directly and by goevmlab; and the
//! chains of `--chain`.

use alloy_primitives::U256;
use balustrade::{ChainRules, Executor, Fork, Header, MemoryStore, StateTries};
use balustrade_cli::testing::{Folder, stored};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().expect("the command runs")
}

fn balustrade(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_balustrade"), args)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Parses all lines as JSON.
fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// A state test as fuzzers write them, without a signature. Its transaction calls code that stores
/// 1 in slot 0.
fn state_test(root: &str) -> String {
    format!(
        r#"{{"fuzzed": {{
        "env": {{"currentCoinbase": "0xb94f5374fce5edbc8e2a8697c15331677e6ebf0b", "currentTimestamp": "0x03e8",
            "currentNumber": "0x01", "currentGasLimit": "0x26e1f476fe1e22", "currentDifficulty": "0x20000",
            "previousHash": "0x8cdd18828c27f10a8ba8e361faa8e34791ed3692f5784a35b7bbe3db838dcea8"}},
        "pre": {{
            "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b": {{"nonce": "0x00", "balance": "0x57505a1a0d706535",
                "storage": {{}}, "code": ""}},
            "0x1000000000000000000000000000000000000000": {{"nonce": "0x1c", "balance": "0x01", "storage": {{}},
                "code": "0x6001600055"}}}},
        "transaction": {{"sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b", "gasLimit": ["0x2dc6c0"],
            "secretKey": "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8", "nonce": "0x00",
            "data": [""], "to": "0x1000000000000000000000000000000000000000", "gasPrice": "0x0a", "value": ["0x00"]}},
        "post": {{"Byzantium": [{{"hash": "{root}", "indexes": {{"gas": 0, "data": 0, "value": 0}},
            "logs": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"}}]}}}}}}"#
    )
}

const NO_ROOT: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn results_contain_the_state_root() {
    let folder = Folder::new("geth-json");
    let path = folder.file("test.json", &state_test(NO_ROOT));
    let output = balustrade(&["statetest", "--json", &path]);
    assert_eq!(output.status.code(), Some(1));
    let found = lines(&output.stdout);
    assert_eq!(
        (&found[0]["name"], &found[0]["pass"], &found[0]["fork"]),
        (&"fuzzed".into(), &false.into(), &"Byzantium".into())
    );
    assert!(found[0]["error"].is_string() && found[1]["summary"]["failed"] == 1, "{found:?}");
    let root = found[0]["stateRoot"].as_str().expect("a root").to_owned();

    let path = folder.file("test.json", &state_test(&root));
    let output = balustrade(&["statetest", "--json", &path]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert_eq!(lines(&output.stdout)[0]["stateRoot"], root.as_str());
    for (filter, count) in [
        (&["--run", "^fuzz"][..], 1),
        (&["--run", "other"], 0),
        (&["--fork", "Byzantium", "--index", "0"], 1),
        (&["--fork", "London"], 0),
        (&["--statetest.index", "1"], 0),
    ] {
        let output = balustrade(&[&["statetest", "--json"], filter, &[path.as_str()]].concat());
        assert_eq!(lines(&output.stdout).len(), count + 1, "{filter:?}");
    }
}

#[test]
fn statetest_output_has_the_form_of_evm() {
    let folder = Folder::new("geth-shape");
    let path = folder.file("test.json", &state_test(NO_ROOT));
    let output = balustrade(&["statetest", "--geth", &path]);
    // go-ethereum's exit status is 0 if a test fails, and 1 if it cannot be read.
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    let results: Vec<Value> = serde_json::from_str(&shown).expect("an array");
    let root = results[0]["stateRoot"].as_str().expect("a root");
    assert_eq!((results.len(), &results[0]["pass"]), (1, &Value::Bool(false)));
    let places: Vec<usize> = ["\"name\"", "\"pass\"", "\"stateRoot\": \"0x", "\"fork\"", "\"error\""]
        .map(|key| shown.find(key).expect(key))
        .to_vec();
    assert!(places.is_sorted(), "{shown}");
    assert_eq!(text(&output.stderr), format!("{{\"stateRoot\": \"{root}\"}}\n"));
    for broken in [folder.file("broken.json", "{"), "no/such/file.json".to_owned()] {
        assert_eq!(balustrade(&["statetest", "--geth", &broken]).status.code(), Some(1));
        assert_eq!(balustrade(&["statetest", &broken]).status.code(), Some(2));
    }

    #[cfg(unix)]
    {
        let evm = folder.0.join("evm");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_balustrade"), &evm).expect("a link");
        let by_name = run(evm.to_str().expect("text"), &["statetest", &path]);
        assert_eq!((by_name.status.code(), by_name.stdout), (Some(0), output.stdout));
    }
}

/// The calls of goevmlab: the trace on standard error, the root after it.
#[test]
fn a_trace_ends_with_the_state_root() {
    let folder = Folder::new("geth-trace");
    let path = folder.file("test.json", &state_test(NO_ROOT));
    let flags = ["--trace", "--trace.format=json", "--trace.nomemory=true", "--trace.noreturndata=true"];
    let output = balustrade(&[&["statetest", "--geth"], &flags[..], &[path.as_str()]].concat());
    let trace = lines(&output.stderr);
    let names: Vec<&str> = trace.iter().filter_map(|line| line["opName"].as_str()).collect();
    assert_eq!(names, ["PUSH1", "PUSH1", "SSTORE", "STOP"]);
    assert!(trace[..names.len()].iter().all(|line| line["depth"] == 1 && line["gas"].is_string()));
    assert!(trace.iter().all(|line| line.get("returnData").is_none()));
    assert_eq!(trace[2]["stack"], serde_json::json!(["0x1", "0x0"]));
    assert!(trace.last().is_some_and(|end| end["stateRoot"].is_string()));
    // Without the option for it, the return data is part of the trace in this command's own form.
    let output = balustrade(&["statetest", "--json", "--trace", "--trace.nostack", &path]);
    let trace = lines(&output.stderr);
    assert!(trace[0].get("returnData").is_some() && trace[0].get("stack").is_none());
    assert!(trace.last().is_some_and(|end| end["stateRoot"].is_string()));
    assert_eq!(balustrade(&["statetest", "--trace", "--trace.format=md", &path]).status.code(), Some(2));
}

/// goevmlab keeps one process: it sends a path, reads up to the state root, and only then sends the
/// next path.
#[test]
fn paths_on_standard_input_are_answered_one_by_one() {
    let folder = Folder::new("geth-batch");
    let path = folder.file("test.json", &state_test(NO_ROOT));
    let mut child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .args(["statetest", "--geth"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    for _ in 0..3 {
        writeln!(stdin, "{path}").expect("it reads");
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it answers");
        let end: Value = serde_json::from_str(&line).expect("JSON");
        assert!(end["stateRoot"].is_string(), "{line}");
    }
    // A blank line ends the input.
    writeln!(stdin).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let arrays: Vec<Vec<Value>> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect::<Result<_, _>>().expect("arrays");
    assert_eq!(arrays.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn blocktest_output_has_the_form_of_evm() {
    let path = stored("chains.tar.zst");
    let path = path.to_str().expect("text");
    let filter = ["--run", "cancun|shanghai"];
    let output = balustrade(&[&["blocktest", "--geth"], &filter[..], &[path]].concat());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let results: Vec<Value> = serde_json::from_slice(&output.stdout).expect("an array");
    assert!(!results.is_empty());
    for result in &results {
        assert!(result["pass"] == true && result["stateRoot"].is_string() && result["fork"].is_string(), "{result}");
    }
    let output = balustrade(&[&["blocktest", "--json", "--trace"], &filter[..], &[path]].concat());
    let ends = lines(&output.stderr).into_iter().filter(|line| line.get("stateRoot").is_some());
    assert_eq!(ends.filter(|end| end["pass"] == true).count(), results.len());
    assert_eq!(lines(&output.stdout)[0]["stateRoot"], results[0]["stateRoot"]);
}

#[test]
fn chains_are_found_by_name_and_by_genesis_file() {
    let folder = Folder::new("geth-chain");
    let genesis = folder.file(
        "genesis.json",
        r#"{"config": {"homesteadBlock": 3, "ethash": {}}, "gasLimit": "0x0", "difficulty": "0x20000",
            "alloc": {"0100000000000000000000000000000000000000": {"balance": "1", "storage": {
                "0x0100000000000000000000000000000000000000000000000000000000000000":
                "0x0100000000000000000000000000000000000000000000000000000000000000"}}}}"#,
    );
    let output = balustrade(&["chain", "--json", &genesis]);
    let summary = &lines(&output.stdout)[1]["summary"];
    assert_eq!(summary["genesis_hash"], "0x89c99d90b79719238d2645c7642f2c9295246e80775b38cfd162b696817fbd50");
    let output = balustrade(&["chain", "--json", "mainnet"]);
    let london = lines(&output.stdout).into_iter().find(|line| line["step"] == "londonBlock").expect("scheduled");
    assert_eq!((&london["at"], &london["by"]), (&12_965_000.into(), &"block".into()));
    let disordered = folder
        .file("disordered.json", r#"{"config": {"eip150Block": 3}, "alloc": {}, "gasLimit": 1, "difficulty": 1}"#);
    for wrong in ["goerli", "no/such/file.json", disordered.as_str()] {
        assert_eq!(balustrade(&["chain", wrong]).status.code(), Some(2), "{wrong}");
        assert_eq!(balustrade(&["run", "--chain", wrong]).status.code(), Some(2), "{wrong}");
    }

    let template = Header { number: 1, gas_limit: 5_000, difficulty: U256::from(1 << 17), ..Header::default() };
    let store = MemoryStore::default();
    let mut tries = StateTries::from_memory(&store).expect("a small state");
    let rules = ChainRules::mainnet(Fork::Frontier);
    let built = Executor::new(1).expect("a thread").build(&rules, &template, &Vec::new(), &store, &mut tries);
    let built = built.expect("valid");
    let bundle = serde_json::json!({
        "chainId": 1, "number": 1, "hash": built.header.hash(), "block": built.block, "blockAccessList": built.bal,
        "preState": {},
    });
    let bundle = folder.file("first.json", &bundle.to_string());
    let bundle = bundle.as_str();
    let output = balustrade(&["run", "--json", "--chain", "mainnet", bundle]);
    assert_eq!((output.status.code(), &lines(&output.stdout)[0]["fork"]), (Some(0), &"Frontier".into()));
    assert_eq!(balustrade(&["run", "--json", "--chain", "sepolia", bundle]).status.code(), Some(2));
}
