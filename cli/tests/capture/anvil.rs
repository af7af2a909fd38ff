//! `capture` against a real node: anvil, from its package `@foundry-rs/anvil`. It ends at Osaka, has no execution
//! witnesses, and its genesis header has the root of the empty state: blocks from the second on are captured by proofs.

use alloy_primitives::hex;
use balustrade_cli::devnet::asm::assemble;
use balustrade_cli::testing::Folder;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A running node, which ends when it is dropped.
struct Anvil {
    child: Child,
    address: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Anvil {
    /// `None`: it is not in the path.
    fn start(hardfork: &str) -> Option<Self> {
        let mut command = Command::new("anvil");
        command.args(["--port", "0", "--hardfork", hardfork, "--no-mining", "--order", "fifo"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.find_map(|line| line.ok()?.strip_prefix("Listening on ").map(str::to_owned));
        // The rest of its output is read, so that it does not wait for the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address: address.expect("it says where it listens") })
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let answer: Value = serde_json::from_str(body).expect("JSON");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }
}

#[test]
fn a_real_anvil_is_captured() {
    for hardfork in ["shanghai", "cancun"] {
        let Some(node) = Anvil::start(hardfork) else {
            println!("skipped: anvil is not in the path (npm install @foundry-rs/anvil)");
            return;
        };
        check(&node, hardfork);
    }
}

/// Blocks with payments, a deployment, calls that write slots, and an empty one.
fn check(node: &Anvil, hardfork: &str) {
    let accounts = node.call("eth_accounts", json!([]));
    let from = |account: usize| accounts[account].clone();
    // Writes one more to the slot of the caller, to one by the block's number, and reads the hash of an earlier block.
    let runtime =
        assemble("CALLER SLOAD 1 ADD CALLER SSTORE NUMBER NUMBER SSTORE 2 NUMBER SUB BLOCKHASH 7 SSTORE STOP");
    let init = assemble(&format!("{} @code 0 CODECOPY {} 0 RETURN code:", runtime.len(), runtime.len()));
    // The label is one JUMPDEST, which is not part of the code.
    let init = [&init[..init.len() - 1], &runtime[..]].concat();
    node.call("evm_mine", json!([]));
    let deployed = node.call(
        "eth_sendTransaction",
        json!([{"from": from(0), "data": hex::encode_prefixed(&init), "gas": "0x100000"}]),
    );
    for account in 1..9 {
        node.call(
            "eth_sendTransaction",
            json!([{"from": from(account), "to": from(account + 1), "value": "0x1", "gas": "0x5208"}]),
        );
    }
    node.call("evm_mine", json!([]));
    let contract = node.call("eth_getTransactionReceipt", json!([deployed]))["contractAddress"].clone();
    assert!(contract.is_string(), "{contract}");
    for _ in 0..3 {
        for account in 0..9 {
            node.call("eth_sendTransaction", json!([{"from": from(account), "to": contract, "gas": "0x30000"}]));
        }
        node.call("evm_mine", json!([]));
    }
    node.call("evm_mine", json!([]));
    let folder = Folder::new(&format!("capture-anvil-{hardfork}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_balustrade"));
    command.args([
        "capture",
        "--rpc",
        &format!("http://{}", node.address),
        "2..latest",
        "--threads",
        "2",
        "--json",
        "--fork",
    ]);
    let name = format!("{}{}", hardfork[..1].to_uppercase(), &hardfork[1..]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = command.arg(name).arg("--out").arg(&folder.0).output().expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(std::fs::read_dir(&folder.0).expect("a folder").count(), 5, "{text}");
}
