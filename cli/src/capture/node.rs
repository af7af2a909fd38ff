//! What a capture asks a node for: blocks, headers, block access lists, witnesses, hints.
//!
//! In: block numbers. Out: blocks and headers, as far as one answer can be checked alone. A node without `debug` methods
//! is asked for the same by `eth` methods; which ones it lacks is remembered.
//! Not here: proofs (`proofs`), links between headers (`ancestors`).

use super::header::{BlockJson, HeaderJson};
use super::rpc::{Call, Client, RpcError};
use super::witness::{Witness, WitnessJson};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::Header;
use balustrade::arena::TxIndex;
use balustrade::arena::keccak::keccak256;
use balustrade::bal::bal_hash;
use balustrade::exec::wire::{Block, assemble_with_ommers};
use balustrade::formats::json::Quantity;
use balustrade::formats::{Document, list_from_json};
use balustrade::trie::ordered_root;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest answers in bytes: a number; a header; a block or a list (64 MiB in hex); a witness.
const SMALL: u64 = 1 << 14;
const HEADER: u64 = 1 << 20;
const BLOCK: u64 = 140 << 20;
const WITNESS: u64 = 1 << 29;

/// A number as calls take it.
pub fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// A block, and the call that gave it.
#[derive(Debug)]
pub struct Fetched {
    /// The block's RLP; its header and body fit each other.
    pub block: Bytes,
    /// The decoded block.
    pub decoded: Block,
    /// The call.
    pub call: Call,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its connection.
    pub client: Client,
    lacks_raw_block: AtomicBool,
    lacks_raw_header: AtomicBool,
}

impl Node {
    /// The node behind a connection.
    pub const fn new(client: Client) -> Self {
        Self { client, lacks_raw_block: AtomicBool::new(false), lacks_raw_header: AtomicBool::new(false) }
    }

    /// The chain id (EIP-155).
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn chain_id(&self) -> Result<u64, RpcError> {
        let call = Call::new("eth_chainId", vec![], SMALL);
        let id: Quantity = self.client.call(&call)?;
        u64::try_from(id.0).map_err(|_| call.wrong("the chain id has more than 64 bits"))
    }

    /// The number of the block with a tag: `latest`, `safe` or `finalized`.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn number_of(&self, tag: &str) -> Result<u64, RpcError> {
        #[derive(Deserialize)]
        struct Numbered {
            number: Quantity,
        }
        let call = Call::new("eth_getBlockByNumber", vec![json!(tag), json!(false)], BLOCK);
        let block: Numbered = self.client.call(&call)?;
        u64::try_from(block.number.0).map_err(|_| call.wrong("the block number has more than 64 bits"))
    }

    /// `ask` unless the node is known to lack its method; `None` if it does.
    fn unless<T>(lacks: &AtomicBool, ask: impl FnOnce() -> Result<T, RpcError>) -> Result<Option<T>, RpcError> {
        if lacks.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match ask() {
            Err(error) if error.is_unknown_method() => {
                lacks.store(true, Ordering::Relaxed);
                Ok(None)
            }
            asked => asked.map(Some),
        }
    }

    /// Block `number`.
    ///
    /// # Errors
    /// [`RpcError`]: a call failed, or what it gave is not this block with its whole body.
    pub fn block(&self, number: u64) -> Result<Fetched, RpcError> {
        let call = Call::new("debug_getRawBlock", vec![json!(hex(number))], BLOCK);
        let raw = Self::unless(&self.lacks_raw_block, || self.client.call::<Bytes>(&call))?;
        let (call, block) = match raw {
            Some(block) => (call, block),
            None => self.assembled(number)?,
        };
        let decoded = Block::decode(block.clone()).map_err(|error| call.wrong(format!("the block: {error}")))?;
        let header = &decoded.header;
        if header.number != number {
            return Err(call.wrong(format!("the block has the number {}", header.number)));
        }
        let transactions = &decoded.transactions;
        let rows: Vec<&[u8]> = (0..transactions.len()).map(|tx| transactions.encoded(TxIndex(tx as u32))).collect();
        let withdrawals = decoded.withdrawals.is_some();
        let rows_of_withdrawals: Vec<&[u8]> = decoded.withdrawals_encoded().collect();
        let roots = [
            ("transactions root", Some(header.transactions_root), Some(ordered_root(&rows))),
            ("withdrawals root", header.withdrawals_root, withdrawals.then(|| ordered_root(&rows_of_withdrawals))),
            ("ommers hash", Some(header.ommers_hash), Some(decoded.ommers_hash())),
        ];
        for (name, claimed, found) in roots {
            if claimed != found {
                return Err(call.wrong(format!("the body does not have the {name} of the header")));
            }
        }
        Ok(Fetched { block, decoded, call })
    }

    /// Block `number` from its header, the bytes of its transactions, its ommers and its withdrawals.
    fn assembled(&self, number: u64) -> Result<(Call, Bytes), RpcError> {
        let call = Call::new("eth_getBlockByNumber", vec![json!(hex(number)), json!(false)], BLOCK);
        let BlockJson { hash, transactions, uncles, withdrawals, header } = self.client.call(&call)?;
        let header = checked(&call, header, Some(hash))?;
        let raw: Vec<Call> = transactions
            .iter()
            .map(|hash| Call::new("eth_getRawTransactionByHash", vec![json!(hash)], BLOCK))
            .collect();
        let bytes: Vec<Bytes> = self.client.calls(&raw)?;
        for ((call, bytes), hash) in raw.iter().zip(&bytes).zip(&transactions) {
            if keccak256(bytes) != *hash {
                return Err(call.wrong("the transaction has another hash"));
            }
        }
        let index = |index: usize| vec![json!(hex(number)), json!(hex(index as u64))];
        let asked: Vec<Call> =
            (0..uncles.len()).map(|at| Call::new("eth_getUncleByBlockNumberAndIndex", index(at), HEADER)).collect();
        let ommers: Vec<HeaderJson> = self.client.calls(&asked)?;
        let ommers = ommers.into_iter().zip(&asked).zip(&uncles);
        let ommers: Vec<Header> =
            ommers.map(|((header, call), hash)| checked(call, header, Some(*hash))).collect::<Result<_, _>>()?;
        let withdrawals: Vec<Vec<u8>> = withdrawals.iter().flatten().map(|withdrawal| withdrawal.rlp()).collect();
        Ok((call, assemble_with_ommers(&header, &bytes, &ommers, &withdrawals).into()))
    }

    /// Headers by number, each with the call that gave it. Their hashes are not compared with anything.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn headers(&self, numbers: &[u64]) -> Result<Vec<(Header, Call)>, RpcError> {
        let raw: Vec<Call> =
            numbers.iter().map(|number| Call::new("debug_getRawHeader", vec![json!(hex(*number))], HEADER)).collect();
        if let Some(headers) = Self::unless(&self.lacks_raw_header, || self.client.calls::<Bytes>(&raw))? {
            let decode = |(rlp, call): (Bytes, Call)| match Header::decode(&rlp) {
                Ok(header) => Ok((header, call)),
                Err(error) => Err(call.wrong(format!("the header: {error}"))),
            };
            return headers.into_iter().zip(raw).map(decode).collect();
        }
        let asked = |number: &u64| Call::new("eth_getBlockByNumber", vec![json!(hex(*number)), json!(false)], BLOCK);
        let calls: Vec<Call> = numbers.iter().map(asked).collect();
        let blocks: Vec<HeaderJson> = self.client.calls(&calls)?;
        blocks.into_iter().zip(calls).map(|(header, call)| Ok((checked(&call, header, None)?, call))).collect()
    }

    /// The block access list of block `number`, whose header has the hash `claimed`. `None`: the node does not have it.
    ///
    /// # Errors
    /// [`RpcError`]: a call failed, or the list has another hash.
    pub fn list(&self, number: u64, claimed: B256) -> Result<Option<Bytes>, RpcError> {
        let call = Call::new("debug_getRawBlockAccessList", vec![json!(hex(number))], BLOCK);
        let (call, list) = match self.client.call::<Bytes>(&call) {
            Ok(list) => (call, list),
            Err(error) if error.is_refusal() => {
                let call = Call::new("eth_getBlockAccessList", vec![json!(hex(number))], BLOCK);
                let json = match self.client.call::<Box<RawValue>>(&call) {
                    Ok(json) => json,
                    Err(error) if error.is_refusal() => return Ok(None),
                    Err(error) => return Err(error),
                };
                let document = Document { name: "the list".to_owned(), bytes: json.get().as_bytes().to_vec() };
                let list = list_from_json(&document).map_err(|error| call.wrong(error.to_string()))?;
                (call, list)
            }
            Err(error) => return Err(error),
        };
        match bal_hash(&list) {
            found if found == claimed => Ok(Some(list)),
            found => Err(call.wrong(format!("the list has the hash {found}, the header has {claimed}"))),
        }
    }

    /// The call for the witness of block `number`.
    pub fn witness_call(number: u64) -> Call {
        Call::new("debug_executionWitness", vec![json!(hex(number))], WITNESS)
    }

    /// The witness of block `number`, of which nothing is checked.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn witness(&self, number: u64) -> Result<Witness, RpcError> {
        let call = Self::witness_call(number);
        let json: WitnessJson = self.client.call(&call)?;
        json.read().map_err(|what| call.wrong(what))
    }

    /// Accounts and slots that block `number` may touch, as `prestateTracer` names them: what is asked for first. Nothing
    /// else of its answer is used. Empty where the node refuses.
    ///
    /// # Errors
    /// [`RpcError`] if the call itself failed.
    pub fn touched(&self, number: u64) -> Result<BTreeMap<Address, Vec<U256>>, RpcError> {
        #[derive(Deserialize)]
        struct Traced {
            result: BTreeMap<Address, Touched>,
        }
        #[derive(Deserialize)]
        struct Touched {
            #[serde(default)]
            storage: BTreeMap<B256, serde::de::IgnoredAny>,
        }
        let tracer = json!({"tracer": "prestateTracer"});
        let call = Call::new("debug_traceBlockByNumber", vec![json!(hex(number)), tracer], WITNESS);
        let traces: Vec<Traced> = match self.client.call::<Box<RawValue>>(&call) {
            // Another form is as good as no hint.
            Ok(json) => serde_json::from_str(json.get()).unwrap_or_default(),
            Err(error) if error.is_refusal() => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut touched: BTreeMap<Address, Vec<U256>> = BTreeMap::new();
        for (address, account) in traces.into_iter().flat_map(|trace| trace.result) {
            let keys = touched.entry(address).or_default();
            keys.extend(account.storage.into_keys().map(|key| U256::from_be_bytes(key.0)));
        }
        Ok(touched)
    }
}

/// The header of an answer, if it has the hash `expected`, where one is known.
fn checked(call: &Call, header: HeaderJson, expected: Option<B256>) -> Result<Header, RpcError> {
    let header = header.header().ok_or_else(|| call.wrong("a number of the header has more than 64 bits"))?;
    match expected {
        Some(expected) if header.hash() != expected => {
            Err(call.wrong(format!("the header hashes to {}, the answer says {expected}", header.hash())))
        }
        _ => Ok(header),
    }
}
