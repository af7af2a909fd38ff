//! Ctrl-C stops every command that executes blocks, in a block whose execution would take years.
#![cfg(unix)]

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rlp::Encodable;
use balustrade::arena::store::MemoryStore;
use balustrade::exec::rules::header::EMPTY_OMMERS_HASH;
use balustrade::exec::senders::{Signature, recover_scalar};
use balustrade::exec::wire::{Header, assemble};
use balustrade::trie::{StateTries, ordered_root};
use balustrade_cli::testing::Folder;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More gas than any machine executes in a year.
const GAS_FOR_YEARS: u64 = 1 << 61;
/// Time within which a command must stop; generous, since other processes may run at the same time.
const SOON: Duration = Duration::from_secs(3);
/// An account whose code loops forever.
const LOOPING: Address = Address::repeat_byte(0xaa);
/// JUMPDEST PUSH1 0 JUMP.
const LOOP: &str = "5b600056";

fn rlp_list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

/// A call of [`LOOPING`] without replay protection and with the signature (1, 1), and its sender.
fn transaction() -> (Vec<u8>, Address) {
    let mut fields = Vec::new();
    [0, 0, GAS_FOR_YEARS].iter().for_each(|number| number.encode(&mut fields));
    LOOPING.encode(&mut fields);
    U256::ZERO.encode(&mut fields);
    [0u8; 0].as_slice().encode(&mut fields);
    let hash = keccak256(rlp_list(&fields));
    [27u64, 1, 1].iter().for_each(|field| field.encode(&mut fields));
    let signature = Signature { hash, r: U256::ONE, s: U256::ONE, y_parity: false, low_s: true };
    (rlp_list(&fields), recover_scalar(&signature).expect("x = 1 is on the curve"))
}

/// RLP of a block access list with these accounts and no slots.
fn list_of(names: &[Address]) -> Bytes {
    let account = |name: &Address| {
        let mut fields = Vec::new();
        name.encode(&mut fields);
        fields.extend([alloy_rlp::EMPTY_LIST_CODE; 5]);
        rlp_list(&fields)
    };
    rlp_list(&names.iter().flat_map(account).collect::<Vec<_>>()).into()
}

/// Writes a bundle of the looping block and a block test with it; returns their paths.
fn write_files(folder: &Folder) -> (String, String) {
    let (transaction, sender) = transaction();
    let header = Header {
        number: 12_300_000,
        gas_limit: GAS_FOR_YEARS * 2,
        gas_used: GAS_FOR_YEARS,
        difficulty: U256::from(1 << 20),
        ommers_hash: EMPTY_OMMERS_HASH,
        transactions_root: ordered_root(&[&transaction]),
        ..Header::default()
    };
    let block = Bytes::from(assemble(&header, std::slice::from_ref(&transaction)));
    let mut names = [LOOPING, sender, Address::ZERO];
    names.sort_unstable();
    let code = LOOP;
    let state = serde_json::json!({
        sender.to_string(): {"nonce": "0x0", "balance": "0x1", "codeHash": keccak256([])},
        LOOPING.to_string(): {"nonce": "0x1", "codeHash": keccak256(hex::decode(code).expect("hex"))},
    });
    let bundle = serde_json::json!({
        "chainId": 1, "fork": "Berlin", "number": header.number, "hash": header.hash(), "block": block,
        "codes": [format!("0x{code}")], "preState": state, "blockAccessList": list_of(&names),
    });
    let genesis = Header { gas_limit: header.gas_limit, number: header.number - 1, ..Header::default() };
    let mut store = MemoryStore::default();
    let hash = store.insert_code(hex::decode(code).expect("hex").into());
    store.insert_account(LOOPING, 1, U256::ZERO, hash, []);
    store.insert_account(sender, 0, U256::ONE, keccak256([]), []);
    let genesis = Header { state_root: StateTries::from_memory(&store).expect("tries").root(), ..genesis };
    // The child of that genesis; everything but its execution is valid.
    let child = Header {
        parent_hash: genesis.hash(),
        timestamp: 13,
        // The minimal difficulty plus the difficulty bomb of that block number.
        difficulty: U256::from(2_147_614_720u64),
        ..header
    };
    let child = assemble(&child, &[transaction]);
    let test = serde_json::json!({"looping": {
        "network": "Berlin", "genesisRLP": Bytes::from(assemble::<Vec<u8>>(&genesis, &[])),
        "pre": {
            sender.to_string(): {"nonce": "0x0", "balance": "0x1", "code": "0x"},
            LOOPING.to_string(): {"nonce": "0x1", "balance": "0x0", "code": format!("0x{code}")},
        },
        "blocks": [{"rlp": Bytes::from(child)}],
        "lastblockhash": B256::ZERO,
    }});
    (folder.file("bundle.json", &bundle.to_string()), folder.file("test.json", &test.to_string()))
}

/// Runs a command, interrupts it, and returns its status and its output.
fn interrupt(args: &[&str]) -> (Option<i32>, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(Duration::from_millis(1500));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is here");
    assert!(sent.success());
    let start = Instant::now();
    let output = child.wait_with_output().expect("the command ends");
    assert!(start.elapsed() < SOON, "{args:?}");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn ctrl_c_stops_every_executing_command_and_reports_its_position() {
    let folder = Folder::new("cancellation");
    let (bundle, test) = write_files(&folder);
    let (bundle, test) = (bundle.as_str(), test.as_str());
    let commands: [&[&str]; 8] = [
        &["run", "--mode", "bal", bundle],
        &["run", "--mode", "sequential", bundle],
        &["run", "--mode", "optimistic", "--threads", "2", bundle],
        &["run", test],
        &["bal", "verify", bundle],
        &["bal", "record", bundle],
        &["blocktest", "--mode", "sequential", test],
        &["blocktest", "--mode", "all", "--json", test],
    ];
    for args in commands {
        let (status, text) = interrupt(args);
        assert_eq!(status, Some(130), "{args:?}: {text}");
        assert!(text.contains("cancelled: ") && text.contains("index 1"), "{args:?}: {text}");
    }
}
