//! `balustrade serve` over sockets: tokens, error codes, exchanges with documented answers, reorganizations, a chain that
//! a client builds, a store that survives kill -9.

mod node;

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use balustrade::bal::bal_hash;
use balustrade::exec::wire::{Block, Header};
use balustrade::trie::{StateTries, verify_account, verify_slot};
use balustrade::{BlockInput, Executor, Options, WitnessStore};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::testing::Folder;
use node::*;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn only_valid_tokens_open_the_engine_port() {
    let folder = Folder::new("serve-jwt");
    let node = Node::start(&folder);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (hs256, claims) = (r#"{"alg":"HS256"}"#, format!(r#"{{"iat":{now}}}"#));
    let good = token_now(0);
    let (message, _) = good.rsplit_once('.').expect("three parts");
    let other_payload = format!("{}.{}", hs256_part(&good, 0), hs256_part(&token_now(1), 1));
    let bad = [
        None,
        Some(String::new()),
        Some("x".to_owned()),
        Some(format!("{message}.")),
        Some(format!("{message}.AAAA")),
        Some(format!("{other_payload}.{}", hs256_part(&good, 2))),
        Some(token(&[0x5b; 32], hs256, &claims)),
        Some(token(&[0x5a; 32], r#"{"alg":"none"}"#, &claims)),
        Some(format!("{}.", token(&[0x5a; 32], r#"{"alg":"none"}"#, &claims).rsplit_once('.').expect("parts").0)),
        Some(token(&[0x5a; 32], r#"{"alg":"HS512"}"#, &claims)),
        Some(token(&[0x5a; 32], hs256, "{}")),
        Some(token(&[0x5a; 32], hs256, r#"{"iat":"now"}"#)),
        Some(token_now(-120)),
        Some(token_now(120)),
        Some("a".repeat(10_000)),
    ];
    let request = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    for token in bad {
        let answer = Client::new(node.engine, token.clone()).post(request);
        assert_eq!(answer.status, 401, "{token:?}: {}", String::from_utf8_lossy(&answer.body));
    }
    for late in [-50, 0, 50] {
        assert_eq!(Client::new(node.engine, Some(token_now(late))).post(request).status, 200, "{late}");
    }
    let mut public = node.public();
    assert_eq!(public.try_call("engine_exchangeCapabilities", json!([[]])), Err(-32601), "not on the public port");
    assert_eq!(public.call("eth_chainId", json!([])), "0x539");
    assert_eq!(public.get("/none").status, 404);
    // Two requests at once, the second in chunks, on one connection; then one that is larger than its port allows.
    let mut reader = std::io::BufReader::new(connect(node.http));
    let text = core::str::from_utf8(request).expect("text");
    let (start, end) = text.split_at(10);
    let both = format!(
        "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{text}POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{start}\r\n{:x};name=value\r\n{end}\r\n0\r\nTrailer: x\r\n\r\n",
        text.len(),
        start.len(),
        end.len(),
    );
    std::io::Write::write_all(reader.get_mut(), both.as_bytes()).expect("sent");
    for _ in 0..2 {
        let answer = read_answer(&mut reader).expect("an answer");
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).expect("JSON")["result"], "0x539");
    }
    let head = "POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n";
    std::io::Write::write_all(reader.get_mut(), head.as_bytes()).expect("sent");
    assert_eq!(read_answer(&mut reader).expect("an answer").status, 413);
    let (status, _) = node.stop();
    assert_eq!(status, Some(130));
}

/// The part of a token at a position.
fn hs256_part(token: &str, position: usize) -> String {
    token.split('.').nth(position).expect("a part").to_owned()
}

#[test]
fn malformed_calls_have_the_codes_of_the_specification() {
    let folder = Folder::new("serve-codes");
    let node = Node::start(&folder);
    let mut client = node.engine();
    let genesis = block(&mut client, "latest");
    let good = build(&mut client, &genesis, &[transaction(0, 0, COUNTER, 0, vec![0; 32])], 0);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut params = good.params.clone();
        change(&mut params);
        params
    };
    let field = |name: &'static str, value: Value| with(&move |params| params[0][name] = value.clone());
    let without =
        |name: &'static str| with(&move |params| drop(params[0].as_object_mut().expect("object").remove(name)));
    let attributes = |change: &dyn Fn(&mut Value)| {
        let mut attributes = attributes(0, GENESIS_TIME);
        change(&mut attributes);
        json!([forkchoice(&genesis["hash"]), attributes, null])
    };
    let lacks = |name: &'static str| attributes(&move |at| drop(at.as_object_mut().expect("object").remove(name)));
    let sets = |name: &'static str, value: Value| attributes(&move |at| at[name] = value.clone());
    let state = |name: &'static str, value: Value| {
        let mut state = forkchoice(&genesis["hash"]);
        state[name] = value;
        json!([state, null, null])
    };
    const NEW: &str = "engine_newPayloadV5";
    const UPDATE: &str = "engine_forkchoiceUpdatedV4";
    let unknown = json!(B256::repeat_byte(9));
    let mut table: Vec<(&str, Value, i64)> = vec![
        ("engine_none", json!([]), -32601),
        ("", json!([]), -32601),
        ("eth_none", json!([]), -32601),
        (NEW, json!([]), -32602),
        (NEW, json!([null, [], B256::ZERO, []]), -32602),
        (NEW, json!([7, [], B256::ZERO, []]), -32602),
        (NEW, json!([[], [], B256::ZERO, []]), -32602),
        (NEW, json!([{}, [], B256::ZERO, []]), -32602),
        (NEW, json!([good.payload]), -32602),
        (NEW, json!([good.payload, []]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b)]), -32602),
        (NEW, json!([good.payload, null, B256::repeat_byte(0x4b), []]), -32602),
        (NEW, json!([good.payload, [], null, []]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), null]), -32602),
        (NEW, json!([good.payload, ["0x12"], B256::repeat_byte(0x4b), []]), -32602),
        (NEW, json!([good.payload, [], "0x12", []]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), [""]]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), ["0x"]]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), ["0x01"]]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), ["0x0102", "0x0002"]]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), ["0x0102", "0x0103"]]), -32602),
        (NEW, json!([good.payload, [], B256::repeat_byte(0x4b), [], 1]), -32602),
        (NEW, field("unknown", json!("0x1")), -32602),
        (NEW, field("blockNumber", json!(1)), -32602),
        (NEW, field("blockNumber", json!("1")), -32602),
        (NEW, field("blockNumber", json!("0x01")), -32602),
        (NEW, field("blockNumber", json!("0x")), -32602),
        (NEW, field("gasLimit", json!("0x10000000000000000")), -32602),
        (NEW, field("parentHash", json!("0x12")), -32602),
        (NEW, field("parentHash", json!("00".repeat(32))), -32602),
        (NEW, field("logsBloom", json!("0x00")), -32602),
        (NEW, field("extraData", json!("0x0")), -32602),
        (NEW, field("transactions", json!({})), -32602),
        (NEW, field("transactions", json!(["0xzz"])), -32602),
        (NEW, field("withdrawals", json!(null)), -32602),
        (NEW, field("withdrawals", json!([{"index": "0x1"}])), -32602),
        (NEW, field("blockAccessList", json!(null)), -32602),
        (NEW, field("slotNumber", json!(null)), -32602),
        (NEW, without("blockAccessList"), -32602),
        (NEW, without("slotNumber"), -32602),
        (NEW, without("blobGasUsed"), -32602),
        (NEW, without("blockHash"), -32602),
        ("engine_newPayloadV1", json!([good.payload]), -32602),
        ("engine_newPayloadV3", good.params.clone(), -32602),
        ("engine_newPayloadV4", good.params.clone(), -32602),
        (UPDATE, json!([]), -32602),
        (UPDATE, json!([null]), -32602),
        (UPDATE, json!([{}]), -32602),
        (UPDATE, state("headBlockHash", json!("0x12")), -32602),
        (UPDATE, state("unknown", json!(1)), -32602),
        (UPDATE, json!([forkchoice(&genesis["hash"]), 7, null]), -32602),
        (UPDATE, json!([forkchoice(&genesis["hash"]), null, "0x12"]), -32602),
        (UPDATE, json!([forkchoice(&genesis["hash"]), null, null, null]), -32602),
        (UPDATE, state("safeBlockHash", unknown.clone()), -38002),
        (UPDATE, state("finalizedBlockHash", unknown.clone()), -38002),
        (UPDATE, lacks("withdrawals"), -38003),
        (UPDATE, lacks("parentBeaconBlockRoot"), -38003),
        (UPDATE, lacks("slotNumber"), -38003),
        (UPDATE, lacks("targetGasLimit"), -38003),
        (UPDATE, lacks("timestamp"), -38003),
        (UPDATE, sets("unknown", json!(1)), -38003),
        (UPDATE, sets("timestamp", json!(7)), -38003),
        (UPDATE, sets("timestamp", json!(format!("{GENESIS_TIME:#x}"))), -38003),
        ("engine_forkchoiceUpdatedV3", json!([forkchoice(&genesis["hash"]), attributes_v3()]), -38005),
        ("engine_getPayloadV6", json!(["0x0102030405060708"]), -38001),
        ("engine_getPayloadV6", json!(["0x01"]), -32602),
        ("engine_getPayloadV6", json!([]), -32602),
        ("engine_getPayloadBodiesByHashV2", json!([["0x12"]]), -32602),
        ("engine_getPayloadBodiesByHashV1", json!([vec![B256::ZERO; 2_000]]), -38004),
        ("engine_getPayloadBodiesByRangeV1", json!(["0x0", "0x1"]), -32602),
        ("engine_getPayloadBodiesByRangeV2", json!(["0x1", "0x0"]), -32602),
        ("engine_getPayloadBodiesByRangeV1", json!(["0x1", "0xfffff"]), -38004),
        ("engine_exchangeCapabilities", json!([7]), -32602),
        ("testing_buildBlockV1", json!([unknown, attributes(&|_| ())[1], [], null]), -32602),
        ("eth_getBlockByNumber", json!(["0x01", false]), -32602),
        ("eth_getBalance", json!(["0x12", "latest"]), -32602),
        ("eth_getBalance", json!([COUNTER, "0xffff"]), -32001),
        ("eth_getProof", json!([COUNTER, ["0x12"], "nothing"]), -32602),
        ("eth_sendRawTransaction", json!(["0x00"]), -32602),
        ("debug_executionWitness", json!(["0x0"]), -32602),
        ("debug_getRawBlock", json!([unknown]), -32001),
    ];
    // Amsterdam's blocks are not of the versions before.
    let mut old = good.payload.clone();
    for name in ["blockAccessList", "slotNumber"] {
        old.as_object_mut().expect("an object").remove(name);
    }
    table.push(("engine_newPayloadV4", json!([old, [], B256::repeat_byte(0x4b), []]), -38005));
    table.push(("engine_newPayloadV3", json!([old, [], B256::repeat_byte(0x4b)]), -38005));
    for name in ["blobGasUsed", "excessBlobGas"] {
        old.as_object_mut().expect("an object").remove(name);
    }
    table.push(("engine_newPayloadV2", json!([old]), -38005));
    old.as_object_mut().expect("an object").remove("withdrawals");
    table.push(("engine_newPayloadV1", json!([old]), -38005));
    assert!(table.len() >= 60);
    for (method, params, code) in table {
        let shown = params.to_string();
        assert_eq!(client.try_call(method, params).map(|_| 0), Err(code), "{method} {shown:.300}");
    }
    // The node is where it was, and takes the payload.
    send(&mut client, &good);
}

fn attributes_v3() -> Value {
    let mut attributes = attributes(0, GENESIS_TIME);
    for name in ["slotNumber", "targetGasLimit"] {
        attributes.as_object_mut().expect("an object").remove(name);
    }
    attributes
}

#[test]
fn an_exchange_with_a_consensus_client() {
    let folder = Folder::new("serve-exchange");
    let node = Node::start(&folder);
    let mut client = node.engine();
    let capabilities = client.call("engine_exchangeCapabilities", json!([["engine_newPayloadV5"]]));
    let capabilities = capabilities.as_array().expect("an array");
    assert!(capabilities.contains(&json!("engine_newPayloadV5")) && capabilities.len() == 21, "{capabilities:?}");
    let version = client.call("engine_getClientVersionV1", json!([{"code": "XX"}]));
    assert_eq!(version[0]["name"], "balustrade");
    let genesis = block(&mut client, "latest");
    assert_eq!((&genesis["number"], &genesis["hash"]), (&json!("0x0"), &node.head["hash"]));

    // A head that nobody has sent.
    let unknown = client.call("engine_forkchoiceUpdatedV4", json!([forkchoice(&json!(B256::repeat_byte(1))), null]));
    let syncing = json!({"status": "SYNCING", "latestValidHash": null, "validationError": null});
    assert_eq!(unknown, json!({"payloadStatus": syncing, "payloadId": null}));

    // Build on the genesis, from a transaction in the pool, and one that is invalid there.
    let hash = client.call("eth_sendRawTransaction", json!([transaction(0, 0, COUNTER, 0, vec![0; 32])]));
    client.call("eth_sendRawTransaction", json!([transaction(1, 5, COUNTER, 0, vec![0; 32])]));
    let start = json!([forkchoice(&genesis["hash"]), attributes(0, GENESIS_TIME), format!("0x{}", "ff".repeat(16))]);
    let started = client.call("engine_forkchoiceUpdatedV4", start.clone());
    assert_eq!(started["payloadStatus"]["status"], "VALID");
    assert_eq!(client.call("engine_forkchoiceUpdatedV4", start)["payloadId"], started["payloadId"], "the same build");
    assert_eq!(client.try_call("engine_getPayloadV5", json!([started["payloadId"]])), Err(-38005));
    let built = client.call("engine_getPayloadV6", json!([started["payloadId"]]));
    let first = made(&built);
    assert_eq!(first.payload["transactions"].as_array().map(Vec::len), Some(1));
    assert_eq!(built["blobsBundle"], json!({"commitments": [], "proofs": [], "blobs": []}));
    assert!(number_of(&built["blockValue"]) > 0, "{built}");

    // Its child comes first: the parent is not known.
    send(&mut client, &first);
    let second = build(&mut client, &as_parent(&first), &[], 2);
    let third = {
        send(&mut client, &second);
        build(&mut client, &as_parent(&second), &[], 3)
    };
    let other =
        Node::with(&Folder::new("serve-exchange-other"), &["--genesis", &folder.path("genesis.json"), "--quiet"]);
    let mut fresh = other.engine();
    assert_eq!(fresh.call("engine_newPayloadV5", second.params.clone()), syncing);
    send(&mut fresh, &first);
    send(&mut fresh, &second);
    drop(other);

    // A payload alone changes no head; the forkchoice does.
    assert_eq!(block(&mut client, "latest")["hash"], genesis["hash"]);
    assert_eq!(client.call("eth_getTransactionReceipt", json!([hash])), Value::Null);
    set_head(&mut client, &first.hash);
    let receipt = client.call("eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["blockHash"], &receipt["status"]), (&first.hash, &json!("0x1")));
    assert_eq!(client.call("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])), json!(B256::with_last_byte(1)));
    assert_eq!(client.call("eth_getStorageAt", json!([COUNTER, "0x0", "earliest"])), json!(B256::ZERO));

    // Wrong hashes: the payload is not a block.
    let mut wrong = third.params.clone();
    wrong[0]["blockHash"] = json!(B256::repeat_byte(7));
    let status = client.call("engine_newPayloadV5", wrong);
    assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &Value::Null), "{status}");
    let mut wrong = third.params.clone();
    wrong[1] = json!([B256::repeat_byte(1)]);
    let status = client.call("engine_newPayloadV5", wrong);
    assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &Value::Null), "{status}");
    let mut wrong = third.params.clone();
    wrong[0]["transactions"] = json!(["0x"]);
    let status = client.call("engine_newPayloadV5", wrong);
    assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &Value::Null), "{status}");

    // An invalid block, again, and a child of it.
    let invalid = rehashed(&third, |header| header.state_root = B256::repeat_byte(3));
    for _ in 0..2 {
        let status = client.call("engine_newPayloadV5", invalid.params.clone());
        assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &second.hash), "{status}");
        assert!(status["validationError"].as_str().is_some_and(|text| text.contains("state root")), "{status}");
    }
    let parent: B256 = invalid.hash.as_str().expect("text").parse().expect("a hash");
    let child = rehashed(&third, |header| {
        header.parent_hash = parent;
        header.number += 1;
        header.timestamp += 1;
    });
    let status = client.call("engine_newPayloadV5", child.params.clone());
    assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &second.hash), "{status}");
    let answer = client.call("engine_forkchoiceUpdatedV4", json!([forkchoice(&child.hash), null]));
    assert_eq!(answer["payloadStatus"]["status"], "INVALID");

    // A sibling takes over, with a safe and a finalized block; a block of the other branch is none.
    let sibling = build(&mut client, &as_parent(&first), &[transaction(2, 0, COUNTER, 0, vec![1; 32])], 9);
    send(&mut client, &sibling);
    set_head(&mut client, &second.hash);
    set_head(&mut client, &sibling.hash);
    let named = |safe: &Value, finalized: &Value| json!([{"headBlockHash": sibling.hash, "safeBlockHash": safe, "finalizedBlockHash": finalized}, null]);
    let answer = client.call("engine_forkchoiceUpdatedV4", named(&sibling.hash, &first.hash));
    assert_eq!(answer["payloadStatus"]["status"], "VALID");
    assert_eq!(block(&mut client, "safe")["hash"], sibling.hash);
    assert_eq!(block(&mut client, "finalized")["hash"], first.hash);
    assert_eq!(client.try_call("engine_forkchoiceUpdatedV4", named(&second.hash, &first.hash)), Err(-38002));

    // Refused attributes do not undo the update.
    let late = json!([forkchoice(&second.hash), attributes(2, 0), null]);
    assert_eq!(client.try_call("engine_forkchoiceUpdatedV4", late), Err(-38003));
    assert_eq!(block(&mut client, "latest")["hash"], second.hash);

    // Bodies.
    let hashes = json!([[first.hash, B256::ZERO, sibling.hash]]);
    let bodies = client.call("engine_getPayloadBodiesByHashV2", hashes.clone());
    assert_eq!(bodies[0]["blockAccessList"], first.payload["blockAccessList"]);
    assert_eq!((&bodies[1], &bodies[2]["transactions"]), (&Value::Null, &sibling.payload["transactions"]));
    assert!(client.call("engine_getPayloadBodiesByHashV1", hashes)[0].get("blockAccessList").is_none());
    let bodies = client.call("engine_getPayloadBodiesByRangeV2", json!(["0x1", "0x20"]));
    assert_eq!(bodies.as_array().map(Vec::len), Some(2));

    // Back by command, and forward again: the blocks above are forgotten.
    client.call("debug_setHead", json!(["0x1"]));
    assert_eq!(block(&mut client, "latest")["hash"], first.hash);
    assert_eq!(client.call("engine_getPayloadBodiesByHashV1", json!([[second.hash]])), json!([null]));
    send(&mut client, &second);

    // One line per executed payload, as other clients log slow blocks.
    let (status, lines) = node.stop();
    assert_eq!(status, Some(130));
    let objects: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let slow = objects.iter().filter(|object| object["msg"] == "Slow block");
    assert_eq!(slow.map(|object| object["block"]["number"].clone()).collect::<Vec<_>>(), [1, 2, 2, 2], "{lines:?}");
}

#[test]
fn reorganizations_of_every_depth_and_back() {
    let folder = Folder::new("serve-reorg");
    let node = Node::start(&folder);
    let mut client = node.engine();
    const DEPTH: u64 = 64;
    let base = block(&mut client, "latest");
    let mut branches: [Vec<Made>; 2] = [Vec::new(), Vec::new()];
    for (branch, blocks) in branches.iter_mut().enumerate() {
        let mut parent = base.clone();
        for number in 0..DEPTH {
            // The branches count different slots, from different accounts.
            let mut key = vec![0; 32];
            key[31] = branch as u8;
            let made =
                build(&mut client, &parent, &[transaction(branch as u64, number, COUNTER, 0, key)], branch as u64);
            send(&mut client, &made);
            parent = as_parent(&made);
            blocks.push(made);
        }
    }
    let counted = |client: &mut Client| {
        [0u8, 1].map(|slot| {
            let value = client.call("eth_getStorageAt", json!([COUNTER, format!("{slot:#x}"), "latest"]));
            value.as_str().expect("text").parse::<U256>().expect("a number").to::<u64>()
        })
    };
    for depth in 1..=DEPTH {
        for (branch, blocks) in branches.iter().enumerate() {
            let head = &blocks[depth as usize - 1];
            set_head(&mut client, &head.hash);
            assert_eq!(block(&mut client, "latest")["hash"], head.hash);
            let mut expected = [0, 0];
            expected[branch] = depth;
            assert_eq!(counted(&mut client), expected, "depth {depth}");
            assert_eq!(block(&mut client, "0x1")["hash"], blocks[0].hash);
        }
    }
    // Ancestors of the head, down to the genesis, become the head, too.
    for number in (0..DEPTH as usize).rev() {
        set_head(&mut client, &branches[1][number].hash);
    }
    set_head(&mut client, &base["hash"]);
    assert_eq!((counted(&mut client), block(&mut client, "latest")["number"].clone()), ([0, 0], json!("0x0")));
    set_head(&mut client, &branches[0][DEPTH as usize - 1].hash);
    assert_eq!(counted(&mut client), [DEPTH, 0]);
}

/// `BALUSTRADE_BLOCKS`: blocks of the chain (default 200).
#[test]
fn a_client_drives_a_chain_and_reads_it() {
    let blocks: u64 = std::env::var("BALUSTRADE_BLOCKS").map_or(200, |blocks| blocks.parse().expect("a number"));
    let folder = Folder::new("serve-chain");
    let node = Node::start(&folder);
    let (mut client, mut public) = (node.engine(), node.public());
    let mut parent = block(&mut client, "latest");
    let mut executor = Executor::new(1).expect("a thread");
    for number in 1..=blocks {
        let nonce = number - 1;
        let mut key = vec![0; 32];
        key[30..].copy_from_slice(&(number as u16).to_be_bytes());
        let to = Address::from_word(B256::from(U256::from(number * 7_919)));
        let mut transactions =
            vec![transaction(0, nonce, COUNTER, 0, key), transaction(1, nonce, to, number, Vec::new())];
        // BLOCKHASH of a block that lies some blocks back.
        let asked = U256::from(number.saturating_sub(number % 9 + 1)).to_be_bytes::<32>().to_vec();
        transactions.push(transaction(2, nonce, HASHES, 0, asked));
        let made = if number % 2 == 0 {
            build(&mut client, &parent, &transactions, number)
        } else {
            for transaction in &transactions {
                public.call("eth_sendRawTransaction", json!([transaction]));
            }
            let wanted = attributes(number - 1, number_of(&parent["timestamp"]));
            let started = client.call("engine_forkchoiceUpdatedV4", json!([forkchoice(&parent["hash"]), wanted, null]));
            made(&client.call("engine_getPayloadV6", json!([started["payloadId"]])))
        };
        assert_eq!(made.payload["transactions"].as_array().map(Vec::len), Some(3), "block {number}");
        send(&mut client, &made);
        set_head(&mut client, &made.hash);
        if number % 20 == 0 {
            read_everything(&mut public, number, &made, to, &mut executor);
        }
        parent = as_parent(&made);
    }
    assert_eq!(public.call("eth_blockNumber", json!([])), json!(format!("{blocks:#x}")));
    // The state some blocks ago, and of a block that is not kept any more.
    let back = blocks - 20;
    let nonce = public.call("eth_getTransactionCount", json!([signer(0).address, format!("{back:#x}")]));
    assert_eq!(number_of(&nonce), back);
    if blocks > 140 {
        assert_eq!(public.try_call("eth_getBalance", json!([COUNTER, "0x1"])), Err(4444));
    }
    let page = public.get("/");
    let text = String::from_utf8(page.body).expect("text");
    assert!(page.status == 200 && text.contains(&format!("block {blocks} ")), "{text}");
    let metrics = String::from_utf8(public.get("/metrics").body).expect("text");
    assert!(metrics.contains(&format!("balustrade_blocks_executed_total {blocks}\n")), "{metrics}");
    assert!(metrics.contains(&format!("balustrade_payloads_total{{status=\"valid\"}} {blocks}\n")), "{metrics}");
}

fn used_by(receipt: &Value) -> u64 {
    number_of(&receipt["gasUsed"])
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("text")).expect("hex").into()
}

/// Reads the head with every public method, and executes it statelessly from its witness.
fn read_everything(client: &mut Client, number: u64, made: &Made, to: Address, executor: &mut Executor) {
    let name = format!("{number:#x}");
    let whole = client.call("eth_getBlockByNumber", json!([name, true]));
    assert_eq!(client.call("eth_getBlockByHash", json!([made.hash, true])), whole);
    assert_eq!((&whole["hash"], &whole["stateRoot"]), (&made.hash, &made.payload["stateRoot"]));
    assert_eq!(whole["transactions"][1]["from"], json!(signer(1).address));
    assert_eq!(whole["transactions"][1]["to"], json!(to));
    assert_eq!(number_of(&client.call("eth_getBalance", json!([to, "latest"]))), number);
    assert_eq!(number_of(&client.call("eth_getBalance", json!([to, format!("{:#x}", number - 1)]))), 0);
    assert_eq!(client.call("eth_getCode", json!([HASHES, "latest"])), "0x5f35405f5500");
    assert_eq!(number_of(&client.call("eth_getTransactionCount", json!([signer(0).address]))), number);

    // The raw forms hash to what the header says.
    let raw = bytes(&client.call("debug_getRawBlock", json!([name])));
    let decoded = Block::decode(raw.clone()).expect("a block");
    let header = Header::decode(&bytes(&client.call("debug_getRawHeader", json!([name])))).expect("a header");
    assert_eq!((json!(header.hash()), &decoded.header), (made.hash.clone(), &header));
    let list = bytes(&client.call("debug_getRawBlockAccessList", json!([name])));
    assert_eq!(Some(bal_hash(&list)), header.block_access_list_hash);
    let shown = client.call("eth_getBlockAccessList", json!([name]));
    let accounts: Vec<&Value> = shown.as_array().expect("an array").iter().map(|row| &row["address"]).collect();
    assert!(accounts.contains(&&json!(to)) && accounts.contains(&&json!(COUNTER)), "{shown}");
    let receipts = client.call("debug_getRawReceipts", json!([name]));
    let receipts: Vec<Bytes> = receipts.as_array().expect("an array").iter().map(bytes).collect();
    let slices: Vec<&[u8]> = receipts.iter().map(|receipt| &receipt[..]).collect();
    assert_eq!(balustrade::trie::ordered_root(&slices), header.receipts_root);
    let receipts = client.call("eth_getBlockReceipts", json!([name]));
    let used: u64 = receipts.as_array().expect("an array").iter().map(|receipt| number_of(&receipt["gasUsed"])).sum();
    assert_eq!(number_of(&receipts[2]["cumulativeGasUsed"]), used);
    let hash = &whole["transactions"][2]["hash"];
    assert_eq!(client.call("eth_getTransactionReceipt", json!([hash])), receipts[2]);

    // Proofs against the state root, of the head and of its parent.
    for back in 0..2 {
        let header = bytes(&client.call("debug_getRawHeader", json!([format!("{:#x}", number - back)])));
        let root = Header::decode(&header).expect("a header").state_root;
        let slot = format!("{number:#x}");
        let proof = client.call("eth_getProof", json!([COUNTER, [slot], format!("{:#x}", number - back)]));
        let nodes = |value: &Value| value.as_array().expect("an array").iter().map(bytes).collect::<Vec<_>>();
        let account = verify_account(&root, &COUNTER, &nodes(&proof["accountProof"])).expect("a proof");
        let account = account.expect("the account exists");
        assert_eq!(json!(account.storage_root), proof["storageHash"]);
        let row = &proof["storageProof"][0];
        let value = verify_slot(&account.storage_root, &U256::from(number), &nodes(&row["proof"])).expect("a proof");
        assert_eq!((value, &row["key"]), (U256::from(1 - back), &json!(slot)));
        assert_eq!(json!(format!("{value:#x}")), row["value"]);
    }

    // Calls: a precompile, a contract, a value that the sender does not have, a contract that is created and reverts.
    let call = |client: &mut Client, call: Value| client.try_call("eth_call", json!([call, name]));
    let identity = json!({"to": Address::with_last_byte(4), "data": "0x010203"});
    assert_eq!(call(client, identity), Ok(json!("0x010203")));
    let first = json!({"from": signer(3).address, "to": COUNTER, "input": hex::encode_prefixed([0; 32])});
    assert_eq!(call(client, first), Ok(json!("0x")));
    assert_eq!(call(client, json!({"from": Address::repeat_byte(0x77), "to": to, "value": "0x1"})), Err(-32000));
    assert_eq!(call(client, json!({"input": "0x60015ffd"})), Err(3), "PUSH1 1 PUSH0 REVERT");
    assert_eq!(call(client, json!({"input": "0xfe"})), Err(-32000), "INVALID");
    assert_eq!(call(client, json!({"to": to, "unknown": 1})), Err(-32602));

    // Every instruction: three transactions, of which the second runs none.
    let trace = client.call("debug_traceBlockByHash", json!([made.hash]));
    assert_eq!(
        (trace[1]["result"]["failed"].clone(), trace[1]["result"]["gas"].clone()),
        (json!(false), json!(used_by(&receipts[1])))
    );
    let ops = |row: usize| trace[row]["result"]["structLogs"].as_array().expect("an array").iter();
    assert_eq!(
        ops(2).map(|log| log["op"].clone()).collect::<Vec<_>>(),
        ["PUSH0", "CALLDATALOAD", "BLOCKHASH", "PUSH0", "SSTORE", "STOP",]
    );
    assert_eq!((ops(0).count(), ops(1).count(), &trace[2]["txHash"]), (9, 0, hash));
    assert_eq!(client.try_call("debug_traceBlockByHash", json!([made.hash, {"tracer": "callTracer"}])), Err(-32602));

    // The witness has all that the block needs.
    let witness = client.call("debug_executionWitness", json!([name]));
    let part = |name: &str| witness[name].as_array().expect("an array").iter().map(bytes).collect::<Vec<Bytes>>();
    let headers: Vec<Header> = part("headers").iter().map(|rlp| Header::decode(rlp).expect("a header")).collect();
    let parent = headers.last().expect("the parent");
    assert_eq!(parent.hash(), header.parent_hash);
    assert!(headers.windows(2).all(|pair| pair[0].hash() == pair[1].parent_hash));
    let mut store = WitnessStore::new(parent.state_root, part("state"), part("codes"));
    headers.iter().for_each(|header| store.insert_block_hash(header.number, header.hash()));
    let (rules, mut tries) = (Devnet::rules(), StateTries::from_root(parent.state_root));
    let input = BlockInput::new(&rules, raw).with_list(list).with_parent(parent);
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::automatic()).expect("valid");
    assert_eq!(outcome.require_complete().expect("complete").state_root, Some(header.state_root));
}

#[test]
fn a_witness_comes_with_a_payload() {
    let folder = Folder::new("serve-witness");
    let node = Node::start(&folder);
    let mut client = node.engine();
    let genesis = block(&mut client, "latest");
    let first = build(&mut client, &genesis, &[transaction(0, 0, COUNTER, 0, vec![0; 32])], 0);
    let answer = client.call("engine_newPayloadWithWitnessV5", first.params.clone());
    assert_eq!((&answer["status"], &answer["latestValidHash"]), (&json!("VALID"), &first.hash));
    // [headers, codes, nodes, []]
    let rlp = bytes(&answer["witness"]);
    let mut rest = &rlp[..];
    let outer = alloy_rlp::Header::decode(&mut rest).expect("a list");
    assert!(outer.list && outer.payload_length == rest.len());
    let headers = alloy_rlp::Header::decode(&mut rest).expect("a list");
    let header = Header::decode(&rest[..headers.payload_length]).expect("one header");
    assert_eq!(json!(header.hash()), genesis["hash"]);
    set_head(&mut client, &first.hash);
    let other = client.call("debug_executionWitness", json!(["latest"]));
    let total: usize = ["codes", "state"].iter().map(|name| other[name].as_array().expect("an array").len()).sum();
    assert!(total > 10, "{other}");
    for name in ["codes", "state"] {
        for item in other[name].as_array().expect("an array").iter().map(bytes) {
            assert!(rlp.windows(item.len()).any(|window| window == &item[..]), "{name}");
        }
    }
    let invalid = rehashed(&build(&mut client, &as_parent(&first), &[], 0), |header| header.gas_used += 1);
    let answer = client.call("engine_newPayloadWithWitnessV5", invalid.params);
    assert_eq!((&answer["status"], &answer["witness"]), (&json!("INVALID"), &Value::Null));
}

/// `BALUSTRADE_KILLS`: kills of the node (default 6).
#[test]
fn a_killed_node_comes_back_at_the_last_proven_block() {
    let kills: u64 = std::env::var("BALUSTRADE_KILLS").map_or(6, |kills| kills.parse().expect("a number"));
    let folder = Folder::new("serve-kills");
    let genesis = folder.file("genesis.json", &genesis().to_string());
    let db = folder.path("db");
    let made =
        Command::new(env!("CARGO_BIN_EXE_balustrade")).args(["store", "init", &db, "--genesis", &genesis]).output();
    assert!(made.expect("the command runs").status.success());
    let mut head = Value::Null;
    let mut nonce = 0;
    for kill in 0..kills {
        let node = Node::with(&folder, &["--store", &db]);
        let mut client = node.engine();
        let mut parent = block(&mut client, "latest");
        assert!(head.is_null() || parent["hash"] == head, "kill {kill}: {parent} is not {head}");
        assert_eq!(node.head["hash"], parent["hash"]);
        for number in 0..4 {
            let made = build(&mut client, &parent, &[transaction(0, nonce, COUNTER, 0, vec![0; 32])], kill);
            send(&mut client, &made);
            set_head(&mut client, &made.hash);
            if number == 1 {
                // A reorganization of one block, and back.
                let sibling = build(&mut client, &parent, &[], 77);
                send(&mut client, &sibling);
                set_head(&mut client, &sibling.hash);
                set_head(&mut client, &made.hash);
            }
            nonce += 1;
            parent = as_parent(&made);
        }
        head = parent["hash"].clone();
        // At different moments, also within a call that nobody waits for.
        if kill % 2 == 1 {
            let made = build(&mut client, &parent, &[], 5);
            let invalid = rehashed(&made, |header| header.state_root = B256::ZERO);
            client.call("engine_newPayloadV5", invalid.params);
        }
        node.kill();
    }
    let node = Node::with(&folder, &["--store", &db]);
    let mut client = node.engine();
    assert_eq!(block(&mut client, "latest")["hash"], head);
    assert_eq!(number_of(&client.call("eth_getTransactionCount", json!([signer(0).address, "latest"]))), nonce);
    // Blocks of the log are known, and their receipts are not.
    let first = block(&mut client, "0x1");
    assert!(Block::decode(bytes(&client.call("debug_getRawBlock", json!([first["hash"]])))).is_ok());
    assert_eq!(client.try_call("eth_getBlockReceipts", json!(["0x1"])), Err(4444));
    let (status, _) = node.stop();
    assert_eq!(status, Some(130));
    let checked = Command::new(env!("CARGO_BIN_EXE_balustrade")).args(["store", "check", &db]).output();
    assert!(checked.expect("the command runs").status.success());
}

/// A generator of numbers for hostile requests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// `BALUSTRADE_HOSTILE`: number of requests (default 2,000).
#[test]
fn hostile_requests_leave_the_node_alive_and_bounded() {
    let count: u64 = std::env::var("BALUSTRADE_HOSTILE").map_or(2_000, |count| count.parse().expect("a number"));
    let folder = Folder::new("serve-hostile");
    let node = Node::start(&folder);
    let mut client = node.engine();
    let genesis = block(&mut client, "latest");
    let good = build(&mut client, &genesis, &[transaction(0, 0, COUNTER, 0, vec![0; 32])], 0);
    let memory = node.memory();
    let mut random = Random(0x5eed_0001);
    let good_text = good.params.to_string();
    let mut idle = Vec::new();
    for number in 0..count {
        let mut public = node.public();
        match random.below(14) {
            // Values of any depth, whole and cut.
            0 => {
                let depth = random.below(200_000) as usize;
                let body =
                    format!("{}{}", "[".repeat(depth), if number % 2 == 0 { "]".repeat(depth) } else { String::new() });
                public.post(body.as_bytes());
            }
            1 => {
                let depth = random.below(50_000) as usize;
                let params = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
                let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"engine_newPayloadV5","params":[{params}]}}"#);
                node.engine().post(body.as_bytes());
            }
            // A body that is announced and does not come; lengths that are no numbers.
            2 => {
                let lengths = ["18446744073709551615", "-1", "1e9", "99999999999999999999", "67108865", "9000000", " "];
                let length = lengths[random.below(lengths.len() as u64) as usize];
                let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
                raw(&node, number % 2 == 0, head.as_bytes());
            }
            3 => {
                let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
                raw(&node, false, head.as_bytes());
            }
            // Heads that do not end, have many fields, or are no text.
            4 => raw(&node, number % 2 == 0, &vec![b'A'; random.below(40_000) as usize]),
            5 => {
                let fields: String = (0..random.below(200)).map(|field| format!("X-{field}: 1\r\n")).collect();
                raw(&node, false, format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            }
            6 => {
                let bytes: Vec<u8> = (0..random.below(2_000)).map(|_| random.next() as u8).collect();
                raw(&node, number % 2 == 0, &bytes);
            }
            // Wrong tokens, with a large body that is not read.
            7 => {
                let body = vec![b'['; random.below(1 << 20) as usize];
                let token = if number % 2 == 0 { token_now(-100) } else { "x.y.z".to_owned() };
                let mut refused = Client::new(node.engine, Some(token));
                let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| refused.post(&body).status));
                // The peer may have closed the connection before the body was sent.
                assert!(matches!(answer, Ok(401) | Err(_)), "{answer:?}");
            }
            // A payload in which some bytes differ.
            8..=10 => {
                let mut text = good_text.clone().into_bytes();
                for _ in 0..=random.below(4) {
                    let place = random.below(text.len() as u64) as usize;
                    text[place] = b"0123456789abcdefxX\"{}[],:"[random.below(25) as usize];
                }
                let head = br#"{"jsonrpc":"2.0","id":1,"method":"engine_newPayloadV5","params":"#;
                let body = [&head[..], &text, b"}"].concat();
                assert_eq!(node.engine().post(&body).status, 200);
            }
            // Batches.
            11 => {
                let request = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",true]}"#;
                let batch = vec![request; random.below(1_200) as usize].join(",");
                assert_eq!(public.post(format!("[{batch}]").as_bytes()).status, 200);
            }
            // Numbers at the ends.
            12 => {
                let numbers = ["0x0", "0xffffffffffffffff", "0x7fffffffffffffff", "-1", "", "0x", "latest", "\u{fffd}"];
                let pick = |random: &mut Random| numbers[random.below(numbers.len() as u64) as usize];
                let params = json!([pick(&mut random), pick(&mut random), pick(&mut random)]);
                for method in ["eth_getBlockByNumber", "eth_getProof", "debug_setHead", "debug_executionWitness"] {
                    let _ = public.try_call(method, params.clone());
                }
                let _ = node.engine().try_call("engine_getPayloadBodiesByRangeV1", params);
            }
            // Connections that stay open.
            _ => {
                idle.push(connect(node.http));
                if idle.len() > 40 {
                    idle.clear();
                }
            }
        }
    }
    drop(idle);
    // Alive, where it was, and not much larger.
    let mut client = node.engine();
    assert_eq!(block(&mut client, "latest")["hash"], genesis["hash"]);
    send(&mut client, &good);
    set_head(&mut client, &good.hash);
    let grown = node.memory().saturating_sub(memory);
    assert!(grown < 512 << 20, "{} MiB more", grown >> 20);
    assert_eq!(node.stop().0, Some(130));
}

/// Sends bytes, and does not wait for an answer.
fn raw(node: &Node, to_engine: bool, bytes: &[u8]) {
    use std::io::Write;
    let mut stream = connect(if to_engine { node.engine } else { node.http });
    // The node may close the connection at any point.
    let _ = stream.write_all(bytes);
}
