//! A client of `balustrade serve`, written from the Engine API's specification, and nodes to talk to.

#![allow(dead_code, unreachable_pub, reason = "each test that includes this uses a part of it")]

use alloy_primitives::{Address, B256, U256, hex};
use balustrade::exec::wire::Header;
use balustrade::formats::genesis::chain_to_json;
use balustrade_cli::devnet::Devnet;
use balustrade_cli::devnet::system_contracts::SYSTEM_CONTRACTS;
use balustrade_cli::devnet::transactions::{Draft, Signer};
use balustrade_cli::testing::Folder;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Timestamp of the genesis.
pub const GENESIS_TIME: u64 = 1_000;
/// Accounts with money at genesis.
pub const SIGNERS: u64 = 8;
/// The secret of all nodes.
const SECRET: [u8; 32] = [0x5a; 32];
/// Increments the slot whose key is the first word of calldata: PUSH0 CALLDATALOAD DUP1 SLOAD PUSH1 1 ADD SWAP1 SSTORE STOP.
const COUNTER_CODE: &str = "0x5f3580546001019055 00";
/// A contract with [`COUNTER_CODE`].
pub const COUNTER: Address = Address::repeat_byte(0xc0);
/// A contract that stores BLOCKHASH(calldata word) in slot 0: PUSH0 CALLDATALOAD BLOCKHASH PUSH0 SSTORE STOP.
pub const HASHES: Address = Address::repeat_byte(0xb1);

/// A genesis file of a chain that is in Amsterdam from the start.
pub fn genesis() -> Value {
    let mut genesis: Value = serde_json::from_str(&chain_to_json(&Devnet::config())).expect("JSON");
    let mut alloc = Map::new();
    for (address, code) in SYSTEM_CONTRACTS {
        alloc
            .insert(address.to_string(), json!({"balance": "0x0", "nonce": "0x1", "code": hex::encode_prefixed(code)}));
    }
    for index in 0..SIGNERS {
        alloc.insert(signer(index).address.to_string(), json!({"balance": "0x3635c9adc5dea00000"}));
    }
    let counter = COUNTER_CODE.replace(' ', "");
    alloc.insert(COUNTER.to_string(), json!({"balance": "0x0", "nonce": "0x1", "code": counter}));
    alloc.insert(HASHES.to_string(), json!({"balance": "0x0", "nonce": "0x1", "code": "0x5f35405f5500"}));
    let fields = json!({
        "alloc": alloc, "gasLimit": "0x3938700", "difficulty": "0x0", "timestamp": format!("{GENESIS_TIME:#x}"),
        "extraData": "0x", "baseFeePerGas": "0x3b9aca00",
    });
    genesis.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    genesis
}

/// An account with a key.
pub fn signer(index: u64) -> Signer {
    Signer::new(index).expect("a key")
}

/// A signed transaction of the `index`-th account.
pub fn transaction(index: u64, nonce: u64, to: Address, value: u64, input: Vec<u8>) -> String {
    let draft = Draft {
        tx_type: 2,
        nonce,
        gas_limit: 400_000,
        max_fee: 20_000_000_000,
        priority_fee: 1_000_000_000,
        to: Some(to),
        value: U256::from(value),
        input,
        ..Draft::default()
    };
    hex::encode_prefixed(draft.sign(&signer(index)))
}

/// A token for this secret and time.
pub fn token(secret: &[u8], header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key");
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A valid token, or one that was issued `late` seconds from now.
pub fn token_now(late: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    token(&SECRET, r#"{"typ":"JWT","alg":"HS256"}"#, &format!(r#"{{"iat":{}}}"#, now + late))
}

/// A running node.
pub struct Node {
    pub child: Child,
    pub engine: SocketAddr,
    pub http: SocketAddr,
    pub head: Value,
    reader: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Node {
    /// Starts a node on the genesis of the tests.
    pub fn start(folder: &Folder) -> Self {
        let path = folder.file("genesis.json", &genesis().to_string());
        Self::with(folder, &["--genesis", &path])
    }

    /// Starts a node with these options.
    pub fn with(folder: &Folder, options: &[&str]) -> Self {
        let secret = folder.file("jwt.hex", &hex::encode_prefixed(SECRET));
        let fixed =
            ["serve", "--jwt-secret", &secret, "--engine-port", "0", "--http-port", "0", "--testing", "--threads", "2"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_balustrade"))
            .args(fixed)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("text");
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the node does not start: {line}"));
        let address = |name: &str| first["serve"][name].as_str().expect("an address").parse().expect("an address");
        let (engine, http, head) = (address("engine"), address("http"), first["serve"]["head"].clone());
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect());
        Self { child, engine, http, head, reader: Some(reader) }
    }

    /// A connection to the engine port.
    pub fn engine(&self) -> Client {
        Client { is_fresh: true, ..Client::new(self.engine, None) }
    }

    /// A connection to the public port.
    pub fn public(&self) -> Client {
        Client::new(self.http, None)
    }

    /// Memory of the process in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
    }

    /// Ends the node as Ctrl-C does; returns its exit status and the lines that it printed.
    pub fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
        let status = self.child.wait().expect("it ends");
        (status.code(), self.lines())
    }

    /// Ends the node at once.
    pub fn kill(mut self) {
        self.child.kill().expect("a process of ours");
        self.child.wait().expect("it has ended");
        self.lines();
    }

    fn lines(&mut self) -> Vec<String> {
        self.reader.take().map(|reader| reader.join().expect("a thread")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
    /// Whether each request has a new token.
    is_fresh: bool,
    stream: Option<BufReader<TcpStream>>,
}

/// The answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    stream.set_write_timeout(Some(Duration::from_secs(60))).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Reads one response; `None` if the connection ended before it.
pub fn read_answer(reader: &mut BufReader<TcpStream>) -> Option<Answer> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field).ok()? == 0 {
            return None;
        }
        if field.trim().is_empty() {
            break;
        }
        if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Answer { status, body })
}

impl Client {
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token, is_fresh: false, stream: None }
    }

    /// Sends a request; a connection that the node closed is opened again.
    pub fn post(&mut self, body: &[u8]) -> Answer {
        let fresh = self.is_fresh.then(|| token_now(0));
        let token = fresh
            .as_ref()
            .or(self.token.as_ref())
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\n{token}Content-Length: {}\r\n\r\n",
            body.len()
        );
        for _ in 0..3 {
            let mut reader = self.stream.take().unwrap_or_else(|| BufReader::new(connect(self.address)));
            let sent = reader.get_mut().write_all(head.as_bytes()).and_then(|()| reader.get_mut().write_all(body));
            if let Some(answer) = read_answer(&mut reader) {
                if sent.is_ok() && answer.status == 200 {
                    self.stream = Some(reader);
                }
                return answer;
            }
        }
        panic!("the node does not answer");
    }

    /// Gets a page.
    pub fn get(&mut self, path: &str) -> Answer {
        let mut reader = BufReader::new(connect(self.address));
        let head = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        reader.get_mut().write_all(head.as_bytes()).expect("sent");
        read_answer(&mut reader).expect("an answer")
    }

    /// Calls a method: its result, or the code of its error.
    pub fn try_call(&mut self, method: &str, params: Value) -> Result<Value, i64> {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        let answer = self.post(body.as_bytes());
        assert_eq!(answer.status, 200, "{method}: {}", String::from_utf8_lossy(&answer.body));
        let mut answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
        match answer.get("error") {
            Some(error) => Err(error["code"].as_i64().expect("a code")),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method that has to succeed.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.try_call(method, params).unwrap_or_else(|code| panic!("{method} {shown:.400}: {code}"))
    }
}

/// A built block, as the calls that bring it to a node need it.
#[derive(Clone, Debug)]
pub struct Made {
    pub payload: Value,
    pub hash: Value,
    pub params: Value,
}

/// Payload attributes of the block after one with this number and time.
pub fn attributes(number: u64, timestamp: u64) -> Value {
    json!({
        "timestamp": format!("{:#x}", timestamp + 12),
        "prevRandao": B256::repeat_byte(number as u8),
        "suggestedFeeRecipient": Address::repeat_byte(0xfe),
        "withdrawals": [{
            "index": format!("{number:#x}"), "validatorIndex": "0x1", "address": Address::repeat_byte(0xaa), "amount": "0x5",
        }],
        "parentBeaconBlockRoot": B256::repeat_byte(0x4b),
        "slotNumber": format!("{:#x}", number + 1),
        "targetGasLimit": "0x3938700",
    })
}

pub fn number_of(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().expect("text").trim_start_matches("0x"), 16).expect("hex")
}

/// The parameters of `engine_newPayloadV5` for a result of `engine_getPayloadV6`.
pub fn made(built: &Value) -> Made {
    let payload = built["executionPayload"].clone();
    let params = json!([payload, [], B256::repeat_byte(0x4b), built["executionRequests"]]);
    Made { hash: payload["blockHash"].clone(), params, payload }
}

/// Builds a block on `parent` with these transactions. `extra` makes siblings differ.
pub fn build(client: &mut Client, parent: &Value, transactions: &[String], extra: u64) -> Made {
    let (number, time) = (number_of(&parent["number"]), number_of(&parent["timestamp"]));
    let params = json!([parent["hash"], attributes(number, time), transactions, format!("0x{extra:016x}")]);
    made(&client.call("testing_buildBlockV1", params))
}

/// What [`build`] needs of a block.
pub fn as_parent(made: &Made) -> Value {
    json!({"hash": made.hash, "number": made.payload["blockNumber"], "timestamp": made.payload["timestamp"]})
}

/// A block of the node.
pub fn block(client: &mut Client, name: &str) -> Value {
    client.call("eth_getBlockByNumber", json!([name, false]))
}

pub fn forkchoice(head: &Value) -> Value {
    json!({"headBlockHash": head, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO})
}

/// Sends a block, which has to be valid.
pub fn send(client: &mut Client, made: &Made) {
    let status = client.call("engine_newPayloadV5", made.params.clone());
    assert_eq!(status, json!({"status": "VALID", "latestValidHash": made.hash, "validationError": null}));
}

/// Makes a block the head.
pub fn set_head(client: &mut Client, hash: &Value) {
    let answer = client.call("engine_forkchoiceUpdatedV4", json!([forkchoice(hash), null, null]));
    let status = json!({"status": "VALID", "latestValidHash": hash, "validationError": null});
    assert_eq!(answer, json!({"payloadStatus": status, "payloadId": null}));
}

/// The payload with changed fields and the hash that fits them.
pub fn rehashed(made: &Made, change: impl FnOnce(&mut Header)) -> Made {
    let text = |name: &str| made.payload[name].as_str().expect("text").to_owned();
    let number = |name: &str| number_of(&made.payload[name]);
    let bytes = |name: &str| hex::decode(text(name)).expect("hex");
    let items: Vec<Vec<u8>> = made.payload["transactions"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|tx| hex::decode(tx.as_str().expect("text")).expect("hex"))
        .collect();
    let withdrawals: Vec<Vec<u8>> = made.payload["withdrawals"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|row| {
            balustrade_cli::devnet::transactions::withdrawal(
                number_of(&row["index"]),
                number_of(&row["validatorIndex"]),
                row["address"].as_str().expect("text").parse().expect("an address"),
                number_of(&row["amount"]),
            )
        })
        .collect();
    let root = |items: &[Vec<u8>]| balustrade::trie::ordered_root(&items.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let requests: Vec<Vec<u8>> = made.params[3]
        .as_array()
        .expect("an array")
        .iter()
        .map(|request| hex::decode(request.as_str().expect("text")).expect("hex"))
        .collect();
    let mut header = Header {
        parent_hash: text("parentHash").parse().expect("a hash"),
        ommers_hash: balustrade::exec::rules::header::EMPTY_OMMERS_HASH,
        coinbase: text("feeRecipient").parse().expect("an address"),
        state_root: text("stateRoot").parse().expect("a hash"),
        transactions_root: root(&items),
        receipts_root: text("receiptsRoot").parse().expect("a hash"),
        logs_bloom: alloy_primitives::Bloom::from_slice(&bytes("logsBloom")),
        number: number("blockNumber"),
        gas_limit: number("gasLimit"),
        gas_used: number("gasUsed"),
        timestamp: number("timestamp"),
        extra_data: bytes("extraData").into(),
        mix_hash: text("prevRandao").parse().expect("a hash"),
        base_fee: Some(number("baseFeePerGas")),
        withdrawals_root: Some(root(&withdrawals)),
        blob_gas_used: Some(number("blobGasUsed")),
        excess_blob_gas: Some(number("excessBlobGas")),
        parent_beacon_root: Some(B256::repeat_byte(0x4b)),
        requests_hash: Some(balustrade::exec::block::verify::requests_hash(&requests)),
        block_access_list_hash: Some(balustrade::bal::bal_hash(&bytes("blockAccessList"))),
        slot_number: Some(number("slotNumber")),
        ..Header::default()
    };
    assert_eq!(json!(header.hash()), made.hash, "the conversion is that of the node");
    change(&mut header);
    let mut payload = made.payload.clone();
    let quantity = |value: u64| json!(format!("{value:#x}"));
    payload["parentHash"] = json!(header.parent_hash);
    payload["stateRoot"] = json!(header.state_root);
    payload["receiptsRoot"] = json!(header.receipts_root);
    payload["blockNumber"] = quantity(header.number);
    payload["gasUsed"] = quantity(header.gas_used);
    payload["gasLimit"] = quantity(header.gas_limit);
    payload["timestamp"] = quantity(header.timestamp);
    payload["extraData"] = json!(header.extra_data);
    payload["blockHash"] = json!(header.hash());
    let mut params = made.params.clone();
    params[0] = payload.clone();
    Made { hash: payload["blockHash"].clone(), payload, params }
}
