//! What the command does when its output cannot be written, is closed, or is cut off.

mod command;

use alloy_primitives::B256;
use balustrade_cli::testing::Folder;
use command::{balustrade, command, make_bundle, read_bundle, status, stderr, stdout, with_header, with_memory_max};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A block test and a state test whose forks are unknown, so that they are counted as skipped and
/// printed.
const BLOCK_TEST: &str = r#"{"a": {"network": "Utopia", "pre": {}, "genesisRLP": "0xc0", "blocks": [],
    "lastblockhash": "0x0000000000000000000000000000000000000000000000000000000000000000"}}"#;
const STATE_TEST: &str = r#"{"a": {"pre": {}, "env": {"currentCoinbase": "0x0000000000000000000000000000000000000000",
    "currentGasLimit": "0x1", "currentNumber": "0x1", "currentTimestamp": "0x1"}, "post": {"Utopia": [{
    "hash": "0x0000000000000000000000000000000000000000000000000000000000000000",
    "logs": "0x0000000000000000000000000000000000000000000000000000000000000000",
    "indexes": {"data": 0, "gas": 0, "value": 0}}]}}}"#;
const LOOP: &str = r#"{"name": "stop", "code": "00", "gas": 100000}"#;

/// Input files of every kind.
struct Inputs {
    folder: Folder,
    bundle: String,
}

impl Inputs {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let bundle = folder.path("bundle.json");
        make_bundle(&bundle);
        Self { folder, bundle }
    }

    /// Command lines of every subcommand that prints, except benches of generated blocks, which
    /// take minutes.
    fn command_lines(&self) -> Vec<Vec<String>> {
        let Self { folder, bundle } = self;
        let blocks = folder.file("block-test.json", BLOCK_TEST);
        let states = folder.file("state-test.json", STATE_TEST);
        let [empty, one] = [
            folder.file("empty.hex", "0xc0"),
            folder.file("one.hex", "0xdbda940000000000000000000000000000000000000001c0c0c0c0c0"),
        ];
        let made = folder.path("made.json");
        let looped = folder.file("loop.json", LOOP);
        let lines: Vec<Vec<&str>> = vec![
            vec!["--help"],
            vec!["--version"],
            vec!["bal", "show", "--help"],
            vec!["run", bundle],
            vec!["run", "--json", bundle],
            vec!["blocktest", &blocks],
            vec!["blocktest", "--json", &blocks],
            vec!["blocktest", "--geth", &blocks],
            vec!["statetest", &states],
            vec!["statetest", "--json", &states],
            vec!["statetest", "--geth", &states],
            vec!["profile", "--seconds", "0", bundle],
            vec!["profile", "--seconds", "0", "--json", bundle],
            vec!["determinism", bundle],
            vec!["determinism", "--json", bundle],
            vec!["bal", "show", &one],
            vec!["bal", "show", "--json", &one],
            vec!["bal", "diff", &empty, &one],
            vec!["bal", "diff", "--json", &empty, &one],
            vec!["bal", "record", bundle],
            vec!["bal", "verify", bundle],
            vec!["bal", "verify", "--json", bundle],
            vec!["chain", "mainnet"],
            vec!["chain", "--json", "mainnet"],
            vec!["bench", "loop", &looped],
            vec!["bench", "loop", "--json", &looped],
            vec!["bench", "senders", "--threads", "1", bundle],
            vec!["bench", "scaling", "--threads", "1", "--repeat", "1", bundle],
            vec!["bench", "store", "--threads", "1", "--repeat", "1", bundle],
            vec!["bench", "trie", "--threads", "1", "--accounts", "1000"],
            vec!["workload", "list"],
            vec!["workload", "transfers", "--gas", "1", "--accounts", "100", "--senders", "2", "--out", &made],
        ];
        lines.into_iter().map(|line| line.into_iter().map(str::to_owned).collect()).collect()
    }
}

fn as_strs(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

#[test]
fn a_full_disk_is_reported_and_exits_with_two() {
    for line in Inputs::new("output-full").command_lines() {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let output = command(&as_strs(&line)).stdout(full).output().expect("the command starts");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {error}");
        assert_eq!(
            error.matches("cannot write to standard output: No space left on device").count(),
            1,
            "{line:?}: {error}"
        );
    }
}

#[test]
fn a_closed_pipe_ends_without_a_message() {
    for line in Inputs::new("output-closed").command_lines() {
        let in_order = balustrade(&as_strs(&line), "");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(&as_strs(&line)).stdout(writer).output().expect("the command starts");
        assert_eq!(stderr(&output), stderr(&in_order), "{line:?}");
        assert_eq!(output.status.code(), in_order.status.code(), "{line:?}");
    }
}

#[test]
fn unwritable_files_exit_with_two() {
    let Inputs { folder, bundle } = &Inputs::new("output-files");
    for target in ["/dev/full", &folder.path("no/such/folder"), folder.0.to_str().expect("text")] {
        for line in [
            &["run", bundle, "--trace", target][..],
            &["run", bundle, "--slow-blocks", target],
            &["bal", "record", bundle, "--out", target],
            &["profile", "--seconds", "0", bundle, "--out", target],
            &["profile", "--seconds", "0", bundle, "--flamegraph", target],
            &["profile", "--seconds", "0", bundle, "--trace-events", target],
        ] {
            let output = balustrade(line, "");
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{line:?}: {error}");
            assert!(error.contains(&format!("cannot write {target}")), "{line:?}: {error}");
        }
        // Without samples there are no stacks to write, and a busy machine gives a short run none.
        let mut profiles = ["0.5", "4", "16", "64"]
            .map(|seconds| ["profile", "--seconds", seconds, bundle, "--folded", target])
            .into_iter()
            .map(|line| balustrade(&line, ""));
        let output = profiles.find(|output| output.status.code() != Some(0)).expect("samples");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("cannot write {target}")), "{}", stderr(&output));
    }
    let output = balustrade(&["workload", "transfers", "--gas", "1", "--out", "/dev/full"], "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    // No temporary file is left.
    let left = std::fs::read_dir(&folder.0).expect("readable").count();
    assert_eq!(left, 1, "only the bundle");
}

#[test]
fn special_files_are_written_directly() {
    let Inputs { folder, bundle } = &Inputs::new("output-special");
    let expected = stdout(&balustrade(&["bal", "record", bundle], ""));
    assert!(expected.contains("blockAccessListHash"));
    let output = balustrade(&["bal", "record", bundle, "--out", "/dev/stdout"], "");
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), expected.clone()));

    let fifo = folder.path("fifo");
    make_fifo(&fifo);
    let child = command(&["bal", "record", bundle, "--out", &fifo]).spawn().expect("the command starts");
    let mut text = String::new();
    File::open(&fifo).expect("the FIFO").read_to_string(&mut text).expect("text");
    assert_eq!(text, expected);
    assert_eq!(child.wait_with_output().expect("the command ends").status.code(), Some(0));
}

fn make_fifo(path: &str) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo is here").success());
}

#[test]
fn a_killed_command_leaves_no_file_under_the_final_name() {
    let Inputs { folder, bundle } = &Inputs::new("output-killed");
    let target = folder.path("target.json");
    let is_partial = |name: &str| name.starts_with(".target.json.") && name.ends_with(".partial");
    for line in [
        &["workload", "transfers", "--gas", "1", "--accounts", "100000", "--out", &target][..],
        &["run", bundle, "--repeat", "1000000", "--trace", &target],
        &["run", bundle, "--repeat", "1000000", "--slow-blocks", &target],
        &["bal", "record", bundle, bundle, bundle, bundle, "--out", &target],
        &["profile", bundle, "--seconds", "1000", "--out", &target],
    ] {
        let mut child = command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        let start = Instant::now();
        let names = || {
            let entries = std::fs::read_dir(&folder.0).expect("readable");
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        while !names().iter().any(|name| is_partial(name)) {
            assert!(child.try_wait().expect("its state").is_none(), "{line:?} ended before it wrote");
            assert!(start.elapsed() < Duration::from_secs(300), "{line:?} writes nothing");
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().expect("killed");
        child.wait().expect("the command ends");
        let names = names();
        assert!(!names.contains(&"target.json".to_owned()), "{line:?}: {names:?}");
        for name in names.iter().filter(|name| is_partial(name)) {
            std::fs::remove_file(folder.path(name)).expect("clean up");
        }
    }
}

#[test]
fn a_refused_block_leaves_its_trace_and_no_recorded_list() {
    let Inputs { folder, bundle } = &Inputs::new("output-refused");
    let good = folder.path("good.jsonl");
    assert_eq!(status(&["run", bundle, "--trace", &good]), Some(0));
    let good = std::fs::read_to_string(good).expect("written");
    assert!(good.lines().filter(|line| line.contains("\"pass\":true")).count() > 2);

    let bad = with_header(&read_bundle(bundle), |header| header.receipts_root = B256::repeat_byte(7));
    let bad = folder.file("bad.json", &bad.to_string());
    for mode in ["sequential", "optimistic", "bal", "all"] {
        let path = folder.path("bad.jsonl");
        assert_eq!(status(&["run", &bad, "--mode", mode, "--threads", "3", "--trace", &path]), Some(1), "{mode}");
        assert_eq!(std::fs::read_to_string(&path).expect("written"), good, "{mode}");
        std::fs::remove_file(&path).expect("clean up");
    }

    let out = folder.path("list.json");
    assert_eq!(status(&["bal", "record", &bad, "--out", &out]), Some(1));
    assert!(std::fs::metadata(&out).is_err(), "nothing was recorded");
    std::fs::write(&out, "of an earlier run").expect("written");
    assert_eq!(status(&["bal", "record", &bad, "--out", &out]), Some(1));
    assert_eq!(std::fs::read_to_string(&out).expect("there"), "of an earlier run");
}

/// The trace is larger than the memory that the process may have, so it must be written while it is
/// produced.
#[test]
fn traces_are_not_kept_in_memory() {
    let folder = Folder::new("output-trace");
    let bundle = folder.path("compute.json");
    let args = ["workload", "compute", "--gas", "12", "--accounts", "100", "--senders", "2", "--out", &bundle];
    assert_eq!(status(&args), Some(0));
    let path = folder.path("trace.jsonl");
    for (mode, target) in [("sequential", path.as_str()), ("optimistic", "/dev/null"), ("bal", "/dev/null")] {
        let args = ["run", &bundle, "--threads", "2", "--mode", mode, "--trace", target];
        let output = with_memory_max(&args, TRACE_MEMORY_MIB);
        assert_eq!(output.status.code(), Some(0), "{mode}: {}", stderr(&output));
    }
    let len = std::fs::metadata(&path).expect("written").len();
    assert!(len > TRACE_MEMORY_MIB << 20, "the trace of {len} bytes is too short to show anything");
}

/// Memory that the command needs apart from the trace, including the allocator's reserves.
const TRACE_MEMORY_MIB: u64 = 300;

#[test]
fn sigterm_prints_the_summary_and_exits_with_143() {
    let Inputs { bundle, .. } = &Inputs::new("output-sigterm");
    let child = command(&["run", "--json", "--repeat", "1000000", bundle]).spawn().expect("the command starts");
    std::thread::sleep(Duration::from_secs(2));
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.expect("kill is here").success());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    let text = stdout(&output);
    let last: Value = serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
    assert!(last["summary"].is_object(), "{text}");
}

#[test]
fn several_loops_are_measured_in_one_bench() {
    let folder = Folder::new("output-loops");
    let path = folder.file("loop.json", LOOP);
    let output = balustrade(&["bench", "loop", "--json", "--loop", "tail,match", &path], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let loops: Vec<&Value> = lines[..lines.len() - 1].iter().map(|line| &line["loop"]).collect();
    assert_eq!(loops, ["tail", "match"]);
    let summary = &lines[lines.len() - 1]["summary"];
    assert_eq!((&summary["loops"][0]["loop"], &summary["loops"][1]["loop"]), (&"tail".into(), &"match".into()));
    assert_eq!(lines[0]["output_hash"], lines[1]["output_hash"]);
}
