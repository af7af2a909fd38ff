//! A node for tests: answers JSON-RPC over HTTP/1.1 from a [`World`], truthfully or not.

use super::world::{Served, World};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::Header;
use balustrade::bal::{self, BalColumns, Limits};
use balustrade::exec::wire::Block;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The form of a witness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Nodes and codes as maps by hash, else as arrays.
    pub(crate) maps: bool,
    /// Headers as objects, else as RLP.
    pub(crate) objects: bool,
    /// `keys`: absent, null, or filled.
    pub(crate) keys: u8,
    /// Without headers.
    pub(crate) no_headers: bool,
}

/// What is wrong with the answer to one method.
pub(crate) enum Fault {
    /// Changes the result.
    Lie(Box<dyn Fn(&mut Value) + Send + Sync>),
    /// Sends nothing and keeps the connection.
    Stall,
    /// Sends half of the answer and closes the connection.
    Truncate,
    /// An HTTP status, with a `Retry-After` header.
    Status(u16, Option<&'static str>),
    /// As above, as often as this; then the truth.
    Busy(usize),
    /// These bytes as the body.
    Body(Vec<u8>),
    /// A body without an end.
    Endless,
    /// An error of JSON-RPC.
    Error(i64, &'static str),
}

/// How the node behaves.
#[derive(Default)]
pub(crate) struct Behaviour {
    pub(crate) shape: Shape,
    /// Methods that it does not have.
    pub(crate) lacks: Vec<&'static str>,
    /// What is wrong with the answers to one method.
    pub(crate) fault: Option<(&'static str, Fault)>,
}

/// A node that runs until it is dropped.
pub(crate) struct Mock {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// The methods of all calls, in order.
    pub(crate) log: Arc<Mutex<Vec<String>>>,
}

struct Server {
    world: Arc<World>,
    behaviour: Behaviour,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<String>>>,
    busy: AtomicUsize,
}

impl Mock {
    pub(crate) fn start(world: &Arc<World>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, log) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (world, busy) = (world.clone(), AtomicUsize::new(0));
        let server = Arc::new(Server { world, behaviour, stop: stop.clone(), log: log.clone(), busy });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stop.load(Ordering::Relaxed) {
                    break;
                }
                let server = server.clone();
                // A client that goes away is no error of the node.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        Self { address, stop, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often a method was called.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|called| *called == method).count()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

impl Server {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        loop {
            let (mut length, mut line) = (0, String::new());
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            if !self.answer(&serde_json::from_slice(&body)?, &mut writer)? {
                return Ok(());
            }
        }
    }

    /// Answers a request; returns whether the connection stays open.
    fn answer(&self, request: &Value, out: &mut TcpStream) -> std::io::Result<bool> {
        let calls: Vec<&Value> = request.as_array().map_or_else(|| vec![request], |calls| calls.iter().collect());
        let methods: Vec<&str> = calls.iter().map(|call| call["method"].as_str().expect("a method")).collect();
        self.log.lock().expect("no panic").extend(methods.iter().map(|method| (*method).to_owned()));
        let fault = self.behaviour.fault.as_ref().filter(|(method, _)| methods.contains(method));
        let mut answers: Vec<Value> = calls.iter().map(|call| self.result(call)).collect();
        // The order of a batch's answers is free.
        answers.reverse();
        let body = if request.is_array() { json!(answers) } else { answers.swap_remove(0) }.to_string().into_bytes();
        let head = |status: u16, length: usize, more: &str| {
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n")
        };
        match fault.map(|(_, fault)| fault) {
            Some(Fault::Stall) => {
                while !self.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(false);
            }
            Some(Fault::Truncate) => {
                out.write_all(head(200, body.len(), "").as_bytes())?;
                out.write_all(&body[..body.len() / 2])?;
                return Ok(false);
            }
            Some(Fault::Status(status, retry)) => {
                let more = retry.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
                out.write_all(head(*status, 4, &more).as_bytes())?;
                out.write_all(b"busy")?;
            }
            Some(Fault::Busy(times)) if self.busy.fetch_add(1, Ordering::Relaxed) < *times => {
                out.write_all(head(429, 0, "retry-after: 0\r\n").as_bytes())?;
            }
            Some(Fault::Body(body)) => {
                out.write_all(head(200, body.len(), "").as_bytes())?;
                out.write_all(body)?;
            }
            Some(Fault::Endless) => {
                out.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")?;
                while !self.stop.load(Ordering::Relaxed) {
                    out.write_all(b"10000\r\n")?;
                    out.write_all(&[b' '; 0x10000])?;
                    out.write_all(b"\r\n")?;
                }
                return Ok(false);
            }
            Some(Fault::Lie(_) | Fault::Busy(_) | Fault::Error(..)) | None => {
                out.write_all(head(200, body.len(), "").as_bytes())?;
                out.write_all(&body)?;
            }
        }
        Ok(true)
    }

    fn result(&self, call: &Value) -> Value {
        let (id, method) = (&call["id"], call["method"].as_str().expect("a method"));
        let error =
            |code: i64, message: &str| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
        if self.behaviour.lacks.contains(&method) {
            return error(-32601, "the method does not exist/is not available");
        }
        let fault = self.behaviour.fault.as_ref().filter(|(at, _)| *at == method).map(|(_, fault)| fault);
        if let Some(Fault::Error(code, message)) = fault {
            return error(*code, message);
        }
        let Some(mut result) = self.method(method, &call["params"]) else {
            return error(-32602, "invalid params");
        };
        if let Some(Fault::Lie(lie)) = fault {
            lie(&mut result);
        }
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    }

    fn method(&self, method: &str, params: &Value) -> Option<Value> {
        let world = &self.world;
        let quantity = |value: &Value| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
        let number = |value: &Value| match value.as_str() {
            Some("latest" | "safe" | "finalized") => Some(world.last()),
            _ => quantity(value),
        };
        let header = |number: Option<u64>| world.headers.get(&number?);
        let block = |number: Option<u64>| world.blocks.get(&number?);
        Some(match method {
            "eth_chainId" => json!(format!("{:#x}", world.chain_id)),
            "eth_getBlockByNumber" => match header(number(&params[0])) {
                Some(header) => block_json(header, world.blocks.get(&header.number)),
                None => Value::Null,
            },
            "eth_getUncleByBlockNumberAndIndex" => {
                let served = block(number(&params[0]))?;
                block_json(served.ommers.get(quantity(&params[1])? as usize)?, None)
            }
            "eth_getRawTransactionByHash" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).ok()?;
                let mut all = world.blocks.values().flat_map(|block| &block.transactions);
                json!(all.find(|transaction| keccak256(transaction) == hash))
            }
            "debug_getRawBlock" => json!(block(number(&params[0])).map(|block| &block.block)),
            "debug_getRawHeader" => json!(header(number(&params[0])).map(rlp)),
            "debug_getRawBlockAccessList" => json!(&block(number(&params[0]))?.list),
            "eth_getBlockAccessList" => list_json(&block(number(&params[0]))?.list),
            "debug_traceBlockByNumber" => {
                let touched = &block(number(&params[0]))?.touched;
                let account = |keys: &Vec<U256>| {
                    let keys = keys.iter().map(|key| (B256::from(*key), B256::ZERO));
                    json!({"balance": "0x0", "storage": keys.collect::<BTreeMap<_, _>>()})
                };
                // As real ones do, it leaves out what system calls touch: here every other account.
                let some = touched.iter().step_by(2).map(|(address, keys)| (*address, account(keys)));
                json!([{"txHash": B256::ZERO, "result": some.collect::<BTreeMap<_, _>>()}])
            }
            "eth_getCode" => {
                let address: Address = serde_json::from_value(params[0].clone()).ok()?;
                json!(world.state(number(&params[1])?)?.code(&address))
            }
            "eth_getProof" => {
                let address: Address = serde_json::from_value(params[0].clone()).ok()?;
                let keys: Vec<B256> = serde_json::from_value(params[1].clone()).ok()?;
                let slots: Vec<U256> = keys.iter().map(|key| U256::from_be_bytes(key.0)).collect();
                let (account, proofs) = world.state(number(&params[2])?)?.prove(&address, &slots);
                let proofs: Vec<Value> = keys
                    .iter()
                    .zip(proofs)
                    .map(|(key, proof)| json!({"key": key, "value": "0x0", "proof": proof}))
                    .collect();
                json!({"address": address, "accountProof": account, "storageProof": proofs})
            }
            "debug_executionWitness" => self.witness(block(number(&params[0]))?),
            _ => return None,
        })
    }

    fn witness(&self, served: &Served) -> Value {
        let Shape { maps, objects, keys, no_headers } = self.behaviour.shape;
        let blobs = |blobs: &[Bytes]| {
            if maps {
                json!(blobs.iter().map(|blob| (keccak256(blob), blob)).collect::<BTreeMap<_, _>>())
            } else {
                json!(blobs)
            }
        };
        let mut witness = json!({"state": blobs(&served.nodes), "codes": blobs(&served.codes)});
        if !no_headers {
            let below = self.world.headers.range(..served.header.number).rev().take(3);
            let header =
                |(_, header): (&u64, &Header)| if objects { block_json(header, None) } else { json!(rlp(header)) };
            witness["headers"] = below.map(header).collect();
        }
        match keys {
            0 => {}
            1 => witness["keys"] = Value::Null,
            _ => witness["keys"] = blobs(&[Bytes::from_static(&[1; 20])]),
        }
        witness
    }
}

fn rlp(header: &Header) -> Bytes {
    let mut rlp = Vec::new();
    header.encode(&mut rlp);
    rlp.into()
}

/// The object of a header as nodes write it; with the hashes of its transactions, if the block is given.
fn block_json(header: &Header, block: Option<&Served>) -> Value {
    let hex = |number: u64| format!("{number:#x}");
    let mut json = json!({
        "hash": header.hash(), "parentHash": header.parent_hash, "sha3Uncles": header.ommers_hash,
        "miner": header.coinbase, "stateRoot": header.state_root, "transactionsRoot": header.transactions_root,
        "receiptsRoot": header.receipts_root, "logsBloom": header.logs_bloom, "difficulty": header.difficulty,
        "number": hex(header.number), "gasLimit": hex(header.gas_limit), "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp), "extraData": header.extra_data, "mixHash": header.mix_hash,
        "nonce": header.nonce, "baseFeePerGas": header.base_fee.map(hex), "withdrawalsRoot": header.withdrawals_root,
        "blobGasUsed": header.blob_gas_used.map(hex), "excessBlobGas": header.excess_blob_gas.map(hex),
        "parentBeaconBlockRoot": header.parent_beacon_root, "requestsHash": header.requests_hash,
        "blockAccessListHash": header.block_access_list_hash, "slotNumber": header.slot_number.map(hex),
        "size": "0x1",
    });
    if let Some(block) = block {
        json["transactions"] = block.transactions.iter().map(|transaction| json!(keccak256(transaction))).collect();
        json["uncles"] = block.ommers.iter().map(|ommer| json!(ommer.hash())).collect();
        let decoded = Block::decode(block.block.clone()).expect("valid");
        let withdrawal = |row: &balustrade::exec::wire::Withdrawal| {
            json!({"index": hex(row.index), "validatorIndex": hex(row.validator_index), "address": row.address,
                   "amount": hex(row.amount_gwei)})
        };
        json["withdrawals"] = json!(decoded.withdrawals.map(|rows| rows.iter().map(withdrawal).collect::<Vec<_>>()));
    }
    json
}

/// The JSON of a list as `eth_getBlockAccessList` gives it.
fn list_json(list: &Bytes) -> Value {
    let columns: BalColumns = bal::decode(list, &Limits::format_only()).expect("a list");
    let mut text = balustrade_cli::testing::list_json(&columns).to_string();
    // The names of execution-apis.
    for (fixtures, apis) in [
        ("slotChanges", "changes"),
        ("slot", "key"),
        ("blockAccessIndex", "index"),
        ("postValue", "value"),
        ("postBalance", "value"),
        ("postNonce", "value"),
        ("newCode", "code"),
    ] {
        text = text.replace(&format!("\"{fixtures}\""), &format!("\"{apis}\""));
    }
    serde_json::from_str(&text).expect("JSON")
}
