//! The public methods `debug_*`, and witnesses.
//!
//! In: parameters. Out: raw blocks, headers, receipts and lists; execution witnesses; a head that is moved back.
//! Spec: execution-apis, debug/*.yaml; `debug_executionWitness` is `{state, codes, headers}` with RLP headers.
//! Not here: how a witness is gathered from the tries (the library).

use super::super::engine::List;
use super::Handler;
use super::eth::header_rlp;
use super::node::pruned;
use super::rpc::{Params, RpcError, code};
use super::value::{Data, Number};
use alloy_primitives::{B256, Bytes, hex};
use alloy_rlp::Encodable;
use balustrade::bal::{self, Limits};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most bytes of the lines of a trace.
const TRACE_MAX: usize = 32 << 20;

/// What to return of a trace.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "a trace configuration")]
struct TraceConfig {
    tracer: Option<Value>,
    disable_stack: bool,
}

/// An EIP-3155 line: an instruction, or the end of a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(default)]
    pc: u64,
    op_name: Option<String>,
    #[serde(default, deserialize_with = "balustrade::formats::json::u64")]
    gas: u64,
    #[serde(default, deserialize_with = "balustrade::formats::json::u64")]
    gas_cost: u64,
    #[serde(default)]
    depth: u64,
    #[serde(default)]
    stack: Vec<String>,
    output: Option<String>,
    #[serde(default, deserialize_with = "balustrade::formats::json::u64")]
    gas_used: u64,
    #[serde(default)]
    pass: bool,
}

/// What a stateless execution of a block needs.
#[derive(Debug, Default)]
pub struct Witness {
    /// RLP of trie nodes.
    state: Vec<Bytes>,
    /// Codes of the accounts that the block accesses.
    codes: Vec<Bytes>,
    /// RLP of ancestors' headers, the parent's last.
    headers: Vec<Bytes>,
}

impl Handler {
    /// Runs a `debug` method; `None` if there is none of this name.
    pub(super) fn debug(&mut self, method: &str, params: &Params<'_>) -> Option<Result<Value, RpcError>> {
        Some(match method {
            "debug_getRawBlock" => self.raw_block(params),
            "debug_getRawHeader" => self.raw_header(params),
            "debug_getRawReceipts" => self.raw_receipts(params),
            "debug_getRawBlockAccessList" => self.list_of(params).map(|list| json!(Data(list))),
            "debug_traceBlockByHash" | "debug_traceBlockByNumber" => self.trace_block(params),
            "debug_executionWitness" | "debug_executionWitnessByBlockHash" => self.execution_witness(params),
            _ => return None,
        })
    }

    fn raw_block(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let known = self.known_block(params.raw(0))?;
        known.block.clone().map(|block| json!(Data(block))).ok_or_else(|| pruned("the body of the block is not kept"))
    }

    fn raw_header(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        Ok(json!(header_rlp(&self.known_block(params.raw(0))?.header)))
    }

    fn raw_receipts(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let known = self.known_block(params.raw(0))?;
        if known.header.number == 0 {
            return Ok(json!([]));
        }
        let results = known.results.as_ref().ok_or_else(|| pruned("the receipts of the block are not kept"))?;
        Ok(results.receipts.iter().map(|receipt| json!(hex::encode_prefixed(receipt))).collect())
    }

    fn execution_witness(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        // A second parameter, the mode in reth, chooses what is returned beside it; nothing is.
        params.at_most(2)?;
        let hash = self.known_block(params.raw(0))?.hash;
        let Witness { state, codes, headers } = self.witness_of(&hash)?;
        Ok(json!({"state": state, "codes": codes, "headers": headers}))
    }

    /// The witness of a known block.
    ///
    /// # Errors
    /// 4444: the state before it, or an ancestor, is not kept.
    pub(super) fn witness_of(&mut self, hash: &B256) -> Result<Witness, RpcError> {
        self.node.settle();
        let tree = &self.node.tree;
        let unknown = || RpcError::new(code::NOT_FOUND, "Resource not found: no such block");
        let known = tree.get(hash).cloned().ok_or_else(unknown)?;
        if known.header.number == 0 {
            return Err(RpcError::params("the genesis block is not executed"));
        }
        let gone = || pruned("the changes of the block are not kept");
        let changed = known.changed.clone().ok_or_else(gone)?;
        let list = known.list.clone().ok_or_else(gone)?;
        let mut headers = Vec::new();
        let lowest = known.results.as_ref().and_then(|results| results.lowest_hash).unwrap_or(u64::MAX);
        let mut at = known.header.parent_hash;
        loop {
            let parent = tree.get(&at).ok_or_else(|| pruned("an ancestor is not kept"))?;
            let mut rlp = Vec::with_capacity(700);
            parent.header.encode(&mut rlp);
            headers.push(Bytes::from(rlp));
            if parent.header.number <= lowest {
                break;
            }
            at = parent.header.parent_hash;
        }
        headers.reverse();
        let columns = bal::decode(&list, &Limits::format_only()).map_err(|error| {
            RpcError::new(code::INTERNAL, format!("block {}: {error}", Number(known.header.number).0))
        })?;
        let addresses = columns.addresses().as_slice();
        let slots = columns.slot_queries();
        self.node.at(&known.header.parent_hash, |view| {
            let hashes = view.accounts(addresses)?.into_iter().map(|account| account.code_hash).collect();
            let codes = view.codes(hashes)?;
            let mut state = view.witness(addresses, &slots, &changed)?;
            // The order of the nodes is not defined; sorting makes equal blocks give equal witnesses.
            state.sort_unstable();
            Ok(Witness { state, codes, headers: headers.clone() })
        })
    }

    /// The instructions of every transaction of a block.
    fn trace_block(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(2)?;
        let given = params.raw(0).ok_or_else(|| RpcError::params("the block is missing"))?;
        let known = self.known_block(Some(given))?;
        let config: TraceConfig = params.optional(1, "the configuration")?.unwrap_or_default();
        if config.tracer.is_some() {
            return Err(RpcError::params("there is no tracer but that of instructions; leave `tracer` out"));
        }
        if known.header.number == 0 {
            return Err(RpcError::params("the genesis block is not executed"));
        }
        let block = known.block.clone().ok_or_else(|| pruned("the body of the block is not kept"))?;
        let rules = self.node.config.rules_of(&known.header);
        let list = known.list.clone();
        let lines = self.node.on_chain(&known.header.parent_hash, |engine, chain| {
            // The list of a block before Amsterdam was recorded.
            let list = list.as_ref().filter(|_| known.header.block_access_list_hash.is_some());
            engine.trace_block(chain, &rules, &block, List::from(list), TRACE_MAX).map_err(super::node::of_failure)
        })?;
        let too_long = || RpcError::new(code::LIMIT, format!("the trace has more than {} MiB", TRACE_MAX >> 20));
        let lines = lines.ok_or_else(too_long)?;
        let mut hashes = known.transaction_hashes().iter();
        let (mut traces, mut logs) = (Vec::new(), Vec::new());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let internal = |error| RpcError::new(code::INTERNAL, format!("a trace line: {error}"));
            let line: Line = serde_json::from_slice(line).map_err(internal)?;
            match line {
                Line { op_name: Some(op), pc, gas, gas_cost, depth, stack, .. } => {
                    let mut log = json!({"pc": pc, "op": op, "gas": gas, "gasCost": gas_cost, "depth": depth});
                    if !config.disable_stack {
                        log["stack"] = json!(stack);
                    }
                    logs.push(log);
                }
                Line { output: Some(output), gas_used, pass, .. } => {
                    traces.push(json!({"txHash": hashes.next(), "result": {
                        "gas": gas_used,
                        "failed": !pass,
                        "returnValue": output,
                        "structLogs": core::mem::take(&mut logs),
                    }}));
                }
                Line { .. } => {}
            }
        }
        Ok(Value::Array(traces))
    }

    pub(super) fn set_head(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let Number(number) = params.get(0, "the block number")?;
        self.node.roll_back(number)?;
        Ok(Value::Null)
    }
}

/// RLP of a witness, as `engine_newPayloadWithWitness` returns it: [headers, codes, nodes, []].
pub fn witness_rlp(witness: &Witness) -> Bytes {
    let list = |items: Vec<Vec<u8>>| {
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: items.iter().map(Vec::len).sum() }.encode(&mut out);
        items.iter().for_each(|item| out.extend_from_slice(item));
        out
    };
    let strings = |items: &[Bytes]| {
        let encoded = items.iter().map(|item| {
            let mut out = Vec::new();
            item.encode(&mut out);
            out
        });
        list(encoded.collect())
    };
    let headers = list(witness.headers.iter().map(|header| header.to_vec()).collect());
    list(vec![headers, strings(&witness.codes), strings(&witness.state), list(Vec::new())]).into()
}
