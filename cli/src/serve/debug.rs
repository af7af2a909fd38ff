//! The public methods `debug_*`, and witnesses.
//!
//! In: parameters. Out: raw blocks, headers, receipts and lists; execution witnesses; a head that is moved back.
//! Spec: execution-apis, debug/*.yaml; `debug_executionWitness` is `{state, codes, headers}` with RLP headers.
//! Not here: how a witness is gathered from the tries (the library).

use super::Handler;
use super::eth::header_rlp;
use super::node::pruned;
use super::rpc::{Params, RpcError, code};
use super::value::{Data, Number};
use alloy_primitives::{B256, Bytes, hex};
use alloy_rlp::Encodable;
use balustrade::bal::{self, Limits};
use serde_json::{Value, json};

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
        let columns = bal::decode(&list, &Limits::format_only())
            .map_err(|error| RpcError::new(code::INTERNAL, format!("block {}: {error}", Number(known.header.number).0)))?;
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
