//! Runs the command as a child process, and writes small inputs for it.

#![allow(dead_code, unreachable_pub, reason = "each test that includes this uses a part of it")]

use alloy_primitives::{Bytes, hex};
use balustrade::exec::wire::{Block, Header};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The command with these arguments and piped streams.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balustrade"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command to its end with this text on standard input.
pub fn balustrade(args: &[&str], stdin: &str) -> Output {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("the command starts");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("the command reads or ignores its input");
    child.wait_with_output().expect("the command ends")
}

/// Runs the command; returns its exit status.
pub fn status(args: &[&str]) -> Option<i32> {
    balustrade(args, "").status.code()
}

/// Runs the command with at most this much address space in MiB; `ulimit` counts in KiB.
pub fn with_memory_max(args: &[&str], mib: u64) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", &(mib << 10).to_string()]);
    shell.arg(env!("CARGO_BIN_EXE_balustrade")).args(args).stdin(Stdio::null());
    shell.output().expect("a shell is here")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes a bundle of a small block to `path`.
pub fn make_bundle(path: &str) {
    let args =
        ["workload", "erc20", "--gas", "1", "--accounts", "200", "--senders", "20", "--threads", "1", "--out", path];
    let output = balustrade(&args, "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Reads a bundle's JSON.
pub fn read_bundle(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

/// The bundle with a changed header: the whole block is executed, and it is invalid.
pub fn with_header(bundle: &Value, change: impl FnOnce(&mut Header)) -> Value {
    let rlp = Bytes::from(hex::decode(bundle["block"].as_str().expect("text")).expect("hex"));
    let mut header = Block::decode(rlp.clone()).expect("a block").header;
    let mut encoded = Vec::new();
    header.encode(&mut encoded);
    let mut payload = &rlp[..];
    alloy_rlp::Header::decode(&mut payload).expect("a list");
    assert!(payload.starts_with(&encoded));
    let body = payload[encoded.len()..].to_vec();
    change(&mut header);
    encoded.clear();
    header.encode(&mut encoded);
    let mut block = Vec::new();
    alloy_rlp::Header { list: true, payload_length: encoded.len() + body.len() }.encode(&mut block);
    block.extend(encoded);
    block.extend(body);
    let mut changed = bundle.clone();
    changed["block"] = hex::encode_prefixed(block).into();
    changed["hash"] = header.hash().to_string().into();
    changed
}
