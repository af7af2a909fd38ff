//! How the command handles malicious files (links that form cycles, FIFOs, documents that need far
//! more memory than bytes), and which errors it prints for files with other content.

mod command;

use balustrade_cli::testing::Folder;
use command::{balustrade, command, make_bundle, read_bundle, status, stderr, stdout, with_memory_max};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, ExitStatus, Output, Stdio};

fn summary(text: &str) -> Value {
    let last: Value = serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
    last["summary"].clone()
}

fn make_fifo(path: &str) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo is here").success());
}

#[test]
fn folders_are_visited_once_and_special_files_skipped() {
    let folder = Folder::new("inputs-folder");
    std::fs::create_dir(folder.path("inner")).expect("a folder");
    make_bundle(&folder.path("inner/bundle.json"));
    // Each level has two links to the first level: without a cycle check the number of paths is
    // infinite.
    for link in ["one", "two"] {
        symlink(&folder.0, folder.path(link)).expect("a link");
        symlink(&folder.0, folder.path(&format!("inner/{link}"))).expect("a link");
    }
    make_fifo(&folder.path("inner/fifo.json"));
    symlink("/dev/zero", folder.path("zero.json")).expect("a link");
    let all = folder.0.to_str().expect("text");
    for line in [&["run", "--json", all][..], &["determinism", "--json", all]] {
        let output = balustrade(line, "");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert_eq!(summary(&stdout(&output))["blocks"], 1, "{line:?}");
        for name in ["inner/fifo.json", "zero.json"] {
            assert!(error.contains(&format!("note: {} is no regular file: skipped", folder.path(name))), "{error}");
        }
    }
    // A FIFO that is named on the command line is read.
    let fifo = folder.path("inner/fifo.json");
    let child = command(&["run", "--json", &fifo]).spawn().expect("the command starts");
    let text = std::fs::read(folder.path("inner/bundle.json")).expect("readable");
    File::options().write(true).open(&fifo).expect("the FIFO").write_all(&text).expect("written");
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), &summary(&stdout(&output))["blocks"]), (Some(0), &1.into()));
}

/// Runs the command for a user who may have this many threads. The limit does not apply to root;
/// then the command runs as another user.
fn with_threads_max(args: &[&str], threads: u32) -> Output {
    let is_root = std::fs::metadata("/proc/self").expect("proc is here").uid() == 0;
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nproc={}", if is_root { threads } else { 1 }));
    if is_root {
        limited.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    limited.arg(env!("CARGO_BIN_EXE_balustrade")).args(args).stdin(Stdio::null());
    limited.output().expect("prlimit is here")
}

#[test]
fn a_refused_thread_exits_with_two() {
    let folder = Folder::new("inputs-threads");
    let bundle = folder.path("bundle.json");
    make_bundle(&bundle);
    let lines = [
        &["run", "--threads", "64", &bundle][..],
        &["profile", "--threads", "64", "--seconds", "0", &bundle],
        &["bal", "verify", "--threads", "64", &bundle],
        &["bal", "record", &bundle],
        &["blocktest", "--threads", "64", "/dev/null"],
        &["bench", "bal", "--threads", "64"],
        &["bench", "trie", "--threads", "64", "--accounts", "1000"],
        &["bench", "block", "--threads", "64"],
        &["bench", "senders", "--threads", "64"],
        &["bench", "senders", "--threads", "64", &bundle],
        &["bench", "store", "--threads", "64", &bundle],
        &["bench", "scaling", "--threads", "64", &bundle],
    ];
    // In each round one more thread is granted before one is refused.
    for threads in 1..8 {
        for line in lines {
            // `record` uses one thread per processor: seven threads are enough for two processors.
            if line[1] == "record" && threads > 3 {
                continue;
            }
            let output = with_threads_max(line, threads);
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{line:?} with {threads} threads: {error}");
            assert!(!error.contains("panicked"), "{line:?} with {threads} threads: {error}");
            // Without a document, only the threads of the suite are started, and the engine's are
            // not.
            let is_started = line[0] == "blocktest" && error.contains("/dev/null");
            assert!(is_started || error.contains("cannot start"), "{line:?} with {threads} threads: {error}");
        }
    }
    assert_eq!(status(&["run", "--threads", "100000", &bundle]), Some(2));
}

/// Writes a gzipped document: `head`, then `item` repeatedly until there are `bytes` of text, then
/// `tail`.
fn bomb(path: &str, head: &str, item: impl Fn(u64) -> String, tail: &str, bytes: usize) {
    let file = File::create(path).expect("writable");
    let mut gz = GzEncoder::new(std::io::BufWriter::new(file), Compression::fast());
    gz.write_all(head.as_bytes()).expect("written");
    let (mut written, mut number) = (0, 0);
    while written < bytes {
        let item = item(number);
        gz.write_all(item.as_bytes()).expect("written");
        (written, number) = (written + item.len(), number + 1);
    }
    gz.write_all(tail.as_bytes()).expect("written");
    gz.finish().and_then(|mut file| file.flush()).expect("written");
}

const HASH: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

/// The name of a kind of document, its head, the item of a number, and its tail.
type Kind = (&'static str, String, fn(u64) -> String, String);

/// Documents made of one kind of value, which takes many times its text in memory.
fn kinds() -> Vec<Kind> {
    let bundle = format!(r#"{{"chainId": 1, "fork": "Osaka", "number": 1, "hash": "{HASH}", "block": "0x""#);
    let test = format!(r#"{{"a": {{"network": "Osaka", "genesisRLP": "0x", "lastblockhash": "{HASH}""#);
    vec![
        ("codes", format!("{bundle}, \"codes\": [\"0x\""), |_| ",\"0x\"".to_owned(), "]}".to_owned()),
        (
            "accounts",
            format!("{bundle}, \"preStateComplete\": true, \"preState\": {{\"0x{:040x}\": {{}}", 0),
            |number| format!(",\"0x{:040x}\":{{}}", number + 1),
            "}}".to_owned(),
        ),
        (
            "slots",
            format!(
                "{bundle}, \"preStateComplete\": true, \"preState\": {{\"0x{:040x}\": {{\"storage\": {{\"0\": 1",
                1
            ),
            |number| format!(",\"{}\":1", number + 1),
            "}}}}".to_owned(),
        ),
        (
            "witness",
            format!("{bundle}, \"preStateRoot\": \"{HASH}\", \"witness\": {{\"state\": [\"0x\""),
            |number| format!(",\"0x{number:x}{}\"", if format!("{number:x}").len() % 2 == 1 { "0" } else { "" }),
            "]}}".to_owned(),
        ),
        (
            "blocks",
            format!("{test}, \"pre\": {{}}, \"blocks\": [{{\"rlp\":\"0x\"}}"),
            |_| ",{\"rlp\":\"0x\"}".to_owned(),
            "]}}".to_owned(),
        ),
        (
            "tests",
            format!("{test}, \"pre\": {{}}, \"blocks\": []}}"),
            |number| {
                format!(
                    r#","{number}":{{"network":"","genesisRLP":"","lastblockhash":"{HASH}","pre":{{}},"blocks":[]}}"#
                )
            },
            "}".to_owned(),
        ),
    ]
}

#[test]
fn documents_that_would_need_too_much_memory_are_refused_before_parsing() {
    let folder = Folder::new("inputs-bombs");
    for (name, head, item, tail) in kinds() {
        let path = folder.path(&format!("{name}.json.gz"));
        bomb(&path, &head, item, &tail, 400 << 20);
        // Enough for the text and the reader's own memory, but far less than the values would take.
        let output = with_memory_max(&["run", &path], 2_000);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains("MiB of memory once parsed; the limit is 3072 MiB"), "{name}: {error}");
        std::fs::remove_file(&path).expect("clean up");
    }
}

/// Runs the command with standard error in the file `errors`, because a pipe that is not read would fill and block it;
/// returns the exit status, standard error, and the peak memory in MiB, as Linux reports it.
fn with_peak(args: &[&str], errors: &str) -> (ExitStatus, String, u64) {
    let file = File::create(errors).expect("create");
    let mut child = command(args).stdout(Stdio::null()).stderr(file).spawn().expect("the command starts");
    let mut peak_kib = 0;
    while child.try_wait().expect("its state").is_none() {
        let counts = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = counts.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak_kib = peak_kib.max(peak.map_or(0, |kib| kib.parse().expect("a number")));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let status = child.wait().expect("the command ends");
    (status, std::fs::read_to_string(errors).expect("text"), peak_kib >> 10)
}

/// Documents near the limit, of the kinds that take the most memory, stay below 4 GiB.
#[test]
fn documents_below_the_limit_stay_within_its_memory() {
    let folder = Folder::new("inputs-largest");
    for (name, head, item, tail) in kinds() {
        let path = folder.path(&format!("{name}.json.gz"));
        // Each item of these kinds is one value or two.
        let text = item(1_000_000);
        let cost = text.bytes().filter(|byte| b",{[".contains(byte)).count() * 768 + text.len() * 4;
        bomb(&path, &head, item, &tail, (LARGEST_MIB << 20) / cost * text.len());
        let (status, error, peak_mib) = with_peak(&["run", &path], &folder.path("errors.txt"));
        assert!(peak_mib <= LARGEST_MIB as u64 * 4 / 3, "{name}: {peak_mib} MiB");
        let error = error.chars().take(10_000).collect::<String>();
        assert!(matches!(status.code(), Some(1 | 2)), "{name}: {status:?} {error}");
        assert!(!error.contains("once parsed") && !error.contains("panicked"), "{name}: {error}");
        std::fs::remove_file(&path).expect("clean up");
    }
}

/// A fraction of the limit: the bound is linear, and test machines may have little memory.
const LARGEST_MIB: usize = 768;

#[test]
fn inputs_without_work_exit_with_two() {
    let folder = Folder::new("inputs-nothing");
    let empty = folder.file("empty.json", "{}");
    for (line, message) in [
        (&["run", &empty][..], "there is no block in the input"),
        (&["profile", "--seconds", "0", &empty], "there is no block in the input"),
        (&["determinism", &empty], "there is no block in the input"),
        (&["bal", "verify", &empty], "there is no block in the input"),
        (&["bal", "record", &empty], "there is no block in the input"),
        (&["bal", "show", &empty], "there is no block access list in the input"),
        (&["bench", "store", "--threads", "1", &empty], "is no bundle"),
        (&["blocktest", &empty], "no test was run"),
        (&["blocktest"], "no test was run"),
        (&["blocktest", "--run", "nosuchtest", &empty], "no test was run"),
        (&["statetest", &empty], "no test was run"),
    ] {
        let output = balustrade(line, "");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {error}");
        assert!(error.contains(message), "{line:?}: {error}");
    }
    let output = balustrade(&["bench", "scaling", "--threads", "1", &empty], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(!stdout(&output).contains("NaN") && !stderr(&output).is_empty(), "{}", stdout(&output));
}

#[test]
fn a_bundle_of_another_block_is_refused_by_every_command() {
    let folder = Folder::new("inputs-hash");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    bundle["hash"] = HASH.into();
    let path = folder.file("bundle.json", &bundle.to_string());
    for line in [
        &["run", &path][..],
        &["bal", "verify", &path],
        &["bal", "record", &path],
        &["profile", "--seconds", "0", &path],
        &["determinism", &path],
    ] {
        let output = balustrade(line, "");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {error}");
        assert!(error.contains("bundle: holds block 0x") && error.contains(HASH), "{line:?}: {error}");
        assert!(!stdout(&output).contains(": valid"), "{line:?}");
    }
}

#[test]
fn every_field_of_a_bundle_is_documented() {
    let folder = Folder::new("inputs-documented");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    for key in read_bundle(&path).as_object().expect("fields").keys() {
        assert!(include_str!("../../docs/bundles.md").contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn errors_of_files_are_short_and_name_the_field() {
    let folder = Folder::new("inputs-errors");
    let bundle = |block: &str| format!(r#"{{"chainId": 1, "number": 1, "hash": "{HASH}", "block": "{block}"}}"#);
    let bad_hex = bundle(&format!("0x{}zz{}", "ab".repeat(16_000), "cd".repeat(16_000)));
    for (text, parts) in [
        (bad_hex.as_str(), &["field block", "64004 characters", "'z' at position 32002 is no hex digit"][..]),
        (&bundle("0x").replace("\"number\": 1", "\"number\": [1]"), &["field number", "expected a number"]),
        (&bundle("0x").replace("\"block\"", "\"blocks\""), &["missing field `block`"]),
        (r#"{"some test": 7}"#, &["field some test", "expected an object with the fields of a block test"]),
        (
            r#"{"t": {"network": "Osaka", "pre": {}, "genesisRLP": "0x", "blocks": [{"rlp": 1}]}}"#,
            &["field t.blocks[0].rlp"],
        ),
    ] {
        let path = folder.file("wrong.json", text);
        let output = balustrade(&["run", &path], "");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.len() < 500 && !error.contains("struct ") && !error.contains("Json"), "{error}");
    }
    // A failed run reports no speed.
    let output = balustrade(&["run", &folder.file("wrong.json", &bad_hex)], "");
    assert_eq!(stdout(&output), "");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let text = stdout(&balustrade(&["run", &path], ""));
    assert!(text.contains("1 block verified"), "{text}");
}

#[test]
fn a_dash_is_standard_input() {
    let folder = Folder::new("inputs-dash");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let text = std::fs::read_to_string(&path).expect("written");
    for args in [&["run", "--json", "-"][..], &["bal", "verify", "-"], &["bal", "show", "-"]] {
        let output = balustrade(args, &text);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(balustrade(&["run", "-"], "{}").status.code(), Some(2));
}

#[test]
fn lists_are_shown_with_indexes_and_run_names_bal_verify() {
    let folder = Folder::new("inputs-lists");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let shown = stdout(&balustrade(&["bal", "show", &path], ""));
    assert!(shown.contains("index n: transaction n-1"), "{shown}");
    assert!(shown.lines().any(|line| line == "  index 1: nonce 1"), "{shown}");
    assert!(!shown.contains('→'), "{shown}");
    let says = |output: &Output| stdout(output).contains("`balustrade bal verify` shows every disagreement");
    assert!(!says(&balustrade(&["run", &path], "")));
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
    bundle["blockAccessList"] = "0xc0".into();
    let path = folder.file("other.json", &bundle.to_string());
    let run = balustrade(&["run", &path], "");
    assert_eq!(run.status.code(), Some(1));
    assert!(says(&run), "{}", stdout(&run));
}

#[test]
fn a_block_under_the_rules_of_another_fork_is_explained_in_few_lines() {
    let folder = Folder::new("inputs-fork");
    let path = folder.path("bundle.json");
    make_bundle(&path);
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
    bundle["fork"] = "Cancun".into();
    let path = folder.file("other.json", &bundle.to_string());
    let run = balustrade(&["run", &path], "");
    let error = "header: the block has the field requests_hash, which Cancun blocks do not have";
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains(error), "{}", stderr(&run));
    let verify = balustrade(&["bal", "verify", &path], "");
    assert_eq!(verify.status.code(), Some(1));
    let text = stdout(&verify);
    assert!(text.contains(error) && text.lines().count() <= 45, "{text}");
}
