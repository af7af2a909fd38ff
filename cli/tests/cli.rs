//! The command line's contract: exit statuses, JSON lines, summaries.

mod command;

use balustrade_cli::testing::{Folder, stored};
use command::{balustrade, status};
use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// Parses all lines of standard output as JSON; returns them with the summary of the last one.
fn json_lines(output: &Output) -> (Vec<Value>, Value) {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let summary = lines.last().expect("a summary")["summary"].clone();
    (lines, summary)
}

/// A bundle with an empty pre-state and the given block and block access list.
fn bundle(block: &str, bal: &str) -> String {
    let hash = "0x0000000000000000000000000000000000000000000000000000000000000000";
    format!(
        r#"{{"network": "mainnet", "chainId": 1, "fork": "Osaka", "number": "1", "hash": "{hash}", "block": "{block}",
            "blockAccessList": "{bal}", "preState": {{}}}}"#
    )
}

#[test]
fn unreadable_files_and_wrong_usage_exit_with_two() {
    let folder = Folder::new("cli-two");
    let broken = folder.file("broken.json", "{\"network\": \"mainnet\", ");
    let not_hex = folder.file("hex.json", &bundle("0xzz", "0xc0"));
    let fork = folder.file("fork.json", &bundle("0xc0", "0xc0").replace("Osaka", "Utopia"));
    let bundled = folder.file("bundle.json", &bundle("0xc0", "0xc0"));
    let cut = folder.file("cut.tar.zst", "not an archive");
    for path in [broken.as_str(), not_hex.as_str(), fork.as_str(), cut.as_str(), "no/such/file.json"] {
        assert_eq!(status(&["run", path]), Some(2), "{path}");
        let output = balustrade(&["run", "--json", path], "");
        assert_eq!(json_lines(&output).1["blocks"], 0, "{path}");
    }
    for path in [broken.as_str(), bundled.as_str(), "no/such/file.json"] {
        assert_eq!(status(&["blocktest", path]), Some(2), "{path}");
        assert_eq!(status(&["statetest", path]), Some(2), "{path}");
    }
    for usage in
        [&["frobnicate"][..], &["run", "--mode", "x"], &["run", "--threads", "0"], &["blocktest", "--run", "("]]
    {
        assert_eq!(status(usage), Some(2), "{usage:?}");
    }
}

#[test]
fn malformed_block_and_list_bytes_exit_with_one() {
    let folder = Folder::new("cli-one");
    for (name, block) in
        [("list.json", "0xc0"), ("string.json", "0x80"), ("empty.json", "0x"), ("cut.json", "0xf90200c0")]
    {
        let path = folder.file(name, &bundle(block, "0xc0"));
        let output = balustrade(&["run", "--json", &path], "");
        assert_eq!(output.status.code(), Some(1), "{name}");
        let (lines, summary) = json_lines(&output);
        assert_eq!((&lines[0]["valid"], &summary["invalid"]), (&Value::Bool(false), &Value::from(1)), "{name}");
        assert!(lines[0]["error"].as_str().is_some_and(|error| error.contains("malformed")), "{}", lines[0]);
    }
    let list = folder.file("list.hex", "0xc1c1");
    assert_eq!(status(&["bal", "show", &list]), Some(1));
}

#[test]
fn block_access_lists_are_shown_and_compared() {
    let folder = Folder::new("cli-lists");
    let empty = folder.file("empty.hex", "0xc0\n");
    let one = folder.file("one.hex", "0xdbda940000000000000000000000000000000000000001c0c0c0c0c0");
    assert_eq!(status(&["bal", "show", &empty, &one]), Some(0));
    assert_eq!(status(&["bal", "diff", &one, &one]), Some(0));
    let output = balustrade(&["bal", "diff", "--json", &empty, &one], "");
    assert_eq!(output.status.code(), Some(1));
    let point: Value = serde_json::from_slice(&output.stdout).expect("one point");
    assert_eq!(point["address"], "0x0000000000000000000000000000000000000001");
}

/// The path of a file of `tests/data`.
fn data(name: &str) -> String {
    stored(name).to_str().expect("text").to_owned()
}

#[test]
fn tests_run_from_an_archive_and_from_paths_on_standard_input() {
    let path = &data("chains.tar.zst");
    for (args, stdin) in [(vec!["blocktest", "--json", path], ""), (vec!["blocktest", "--json"], path)] {
        let output = balustrade(&args, stdin);
        let (lines, summary) = json_lines(&output);
        assert_eq!(output.status.code(), Some(0), "{summary}");
        assert_eq!((&summary["failed"], &summary["skipped"], &summary["fallbacks"]), (&0.into(), &0.into(), &0.into()));
        assert_eq!(summary["passed"], lines.len() - 1);
        assert!(lines[..lines.len() - 1].iter().all(|line| line["pass"] == true && line["name"].is_string()));
    }
    let none = balustrade(&["blocktest", "--json", "--run", "no such test", path], "");
    assert_eq!((none.status.code(), &json_lines(&none).1["passed"]), (Some(2), &0.into()));
}

#[test]
fn a_block_runs_in_every_mode() {
    let path = &data("sample.json.gz");
    let output = balustrade(&["run", "--json", "--mode", "all", "--threads", "2", "--repeat", "2", path], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let (lines, summary) = json_lines(&output);
    let modes: Vec<&Value> = lines[..lines.len() - 1].iter().map(|line| &line["mode"]).collect();
    assert_eq!(modes, ["sequential", "optimistic", "bal"]);
    assert_eq!((&summary["blocks"], &summary["fallbacks"]), (&3.into(), &0.into()));
    let compared = &summary["compared"][0];
    assert_eq!((&compared["block"], &compared["executions"]), (&lines[0]["block"], &lines[0]["transactions"]));
    assert!(compared["bal_vs_sequential"].as_f64() > Some(0.0));
    for line in &lines[..3] {
        let stages = line["stages"].as_array().expect("stages");
        for stage in ["decode", "recover", "execute", "root", "verify"] {
            let found = stages.iter().find(|span| span["stage"] == stage).unwrap_or_else(|| panic!("{stage}"));
            assert!(found["start_ns"].as_u64() <= found["end_ns"].as_u64());
        }
        assert_eq!(line["repeats_ns"].as_array().map(Vec::len), Some(2));
    }
}

/// A bundle of `tests/data`, decompressed.
fn unpacked(name: &str) -> Value {
    let file = std::fs::File::open(stored(name)).expect("readable");
    serde_json::from_reader(flate2::read::GzDecoder::new(file)).expect("JSON")
}

#[test]
fn a_recorded_list_and_its_existence_log_run_in_bal_mode() {
    // A block in which touched empty accounts are deleted (EIP-161), which a block access list cannot
    // express.
    let mut bundle = unpacked("existence-log.json.gz");
    let log = bundle.as_object_mut().and_then(|fields| fields.remove("blockAccessListSidecar"));
    let folder = Folder::new("cli-record");
    let path = folder.file("bundle.json", &bundle.to_string());
    let recorded_path = folder.file("recorded.json", "");
    let output = balustrade(&["bal", "record", &path, "--out", &recorded_path], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let recorded: Value = serde_json::from_slice(&std::fs::read(&recorded_path).expect("written")).expect("one object");
    assert!(recorded["blockAccessListSidecar"]["existence"].as_array().is_some_and(|events| !events.is_empty()));
    assert_eq!(log.as_ref(), Some(&recorded["blockAccessListSidecar"]));
    assert_eq!(status(&["bal", "show", &recorded_path]), Some(0));

    for name in ["blockAccessList", "blockAccessListHash", "blockAccessListSidecar"] {
        bundle[name] = recorded[name].clone();
    }
    let path = folder.file("bundle.json", &bundle.to_string());
    assert_eq!(status(&["run", "--mode", "bal", &path]), Some(0));
    assert_eq!(status(&["bal", "verify", &path]), Some(0));
    bundle["blockAccessListSidecar"]["existence"] = Value::Array(Vec::new());
    let path = folder.file("bundle.json", &bundle.to_string());
    assert_eq!(status(&["run", "--mode", "bal", &path]), Some(1));
    assert_eq!(status(&["bal", "verify", &path]), Some(1));
}

#[test]
fn recorded_lists_equal_those_of_the_bundles() {
    for name in ["existence-log.json.gz", "deploy.json.gz", "sample.json.gz"] {
        let bundle = unpacked(name);
        let output = balustrade(&["bal", "record", &data(name)], "");
        let recorded: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(recorded["blockAccessList"], bundle["blockAccessList"], "{name}");
    }
}

#[test]
fn traces_are_equal_in_every_mode_and_with_every_loop() {
    let block = &data("sample.json.gz");
    let folder = Folder::new("cli-trace");
    let mut traces = Vec::new();
    for mode in ["sequential", "optimistic", "bal", "all"] {
        for kind in ["tail", "reference"] {
            let path = folder.file("trace.jsonl", "");
            let args = ["run", "--mode", mode, "--loop", kind, "--threads", "4", "--trace", &path, block];
            assert_eq!(status(&args), Some(0), "{args:?}");
            traces.push(std::fs::read_to_string(&path).expect("written"));
        }
    }
    assert!(traces.iter().all(|trace| *trace == traces[0]));
    let lines: Vec<Value> = traces[0].lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ends: Vec<&Value> = lines.iter().filter(|line| line.get("pass").is_some()).collect();
    assert!(lines.len() > ends.len() && lines.iter().any(|line| line["opName"] == "SSTORE"));
    assert!(ends.iter().enumerate().all(|(tx, end)| end["transactionIndex"] == tx && end["gasUsed"].is_string()));
}

#[test]
fn bench_bal_prints_its_figures() {
    let output = balustrade(&["bench", "bal", "--json", "--threads", "1"], "");
    assert_eq!(output.status.code(), Some(0));
    let (lines, summary) = json_lines(&output);
    assert_eq!(lines.len(), 4);
    assert!(lines[..3].iter().all(|line| line["decode_ns"].as_f64() > Some(0.0)));
    assert!(summary["hash_share_min"].as_f64() > Some(0.0));
}

#[test]
fn wrong_lists_are_explained() {
    let path = &data("chains.tar.zst");
    let output = balustrade(&["bal", "verify", "--json", "--run", "invalid", path], "");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut explained = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["valid"] == true {
            continue;
        }
        assert!(line["classes"].as_array().is_some_and(|classes| !classes.is_empty()), "{line}");
        for point in line["divergences"].as_array().expect("points") {
            assert!(point["address"].is_string() && point["field"].is_string() && point["touches"].is_array());
            explained += 1;
        }
    }
    assert!(explained > 0, "{text}");
    let output = balustrade(&["bal", "verify", "--run", "invalid", path], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains(": claimed "));
}

#[test]
fn damaged_bundles_never_panic() {
    let folder = Folder::new("cli-damaged");
    let text = unpacked("deploy.json.gz").to_string();
    // At a dozen positions: cut off there, or with one byte changed there.
    for at in (0..text.len()).step_by(text.len() / 12) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
        let changed = String::from_utf8(bytes).expect("text");
        for (name, text) in [("cut.json", &text[..at]), ("changed.json", changed.as_str())] {
            let path = folder.file(name, text);
            for command in [&["run", "--json"][..], &["bal", "verify", "--json"]] {
                let output = balustrade(&[command, &[path.as_str()]].concat(), "");
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(matches!(output.status.code(), Some(0..=2)), "{name} at {at}: {error}");
                assert!(!error.contains("panicked"), "{name} at {at}: {error}");
            }
        }
    }
}

#[test]
fn a_block_is_cancelled_after_its_time_limit() {
    let path = &data("compute.json.gz");
    let output = balustrade(&["run", "--json", "--time-limit", "0.001", path], "");
    assert_eq!(output.status.code(), Some(2));
    let (lines, _) = json_lines(&output);
    assert!(lines[0]["error"].as_str().is_some_and(|error| error.contains("cancelled")), "{}", lines[0]);
    let output = balustrade(&["run", "--json", "--time-limit", "600", path], "");
    assert_eq!(output.status.code(), Some(0));
    for wrong in ["-1", "soon", "NaN", "1e99"] {
        assert_eq!(status(&["run", "--time-limit", wrong, path]), Some(2), "{wrong}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_makes_a_run_exit_with_130() {
    let path = &data("compute.json.gz");
    let child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .args(["run", "--json", "--repeat", "1000000", path])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is here");
    assert!(sent.success());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let (lines, _) = json_lines(&output);
    assert!(lines[0]["error"].as_str().is_some_and(|error| error.contains("cancelled: ")), "{}", lines[0]);
}
