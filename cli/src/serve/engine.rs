//! The Engine API: `engine_*`.
//!
//! In: parameters. Out: results, and errors with the codes of the specification.
//! Spec: execution-apis, engine/*.md.
//! Not here: authentication (`jwt`), building (`build`).

use super::Handler;
use super::build::{Attempt, PayloadId};
use super::debug::witness_rlp;
use super::node::Verdict;
use super::payload::{Attributes, Beside, ForkchoiceState, Payload, Withdrawal, check_requests};
use super::rpc::{Params, RpcError, code};
use super::tree::{Invalid, Known};
use super::value::{Data, Fixed, Number};
use alloy_primitives::{B256, Bytes};
use balustrade::exec::wire::Block;
use serde_json::{Value, json};

/// All methods of the Engine API but `engine_exchangeCapabilities`.
pub const CAPABILITIES: [&str; 22] = [
    "engine_newPayloadV1",
    "engine_newPayloadV2",
    "engine_newPayloadV3",
    "engine_newPayloadV4",
    "engine_newPayloadV5",
    "engine_newPayloadWithWitnessV5",
    "engine_forkchoiceUpdatedV1",
    "engine_forkchoiceUpdatedV2",
    "engine_forkchoiceUpdatedV3",
    "engine_forkchoiceUpdatedV4",
    "engine_getPayloadV1",
    "engine_getPayloadV2",
    "engine_getPayloadV3",
    "engine_getPayloadV4",
    "engine_getPayloadV5",
    "engine_getPayloadV6",
    "engine_getPayloadBodiesByHashV1",
    "engine_getPayloadBodiesByHashV2",
    "engine_getPayloadBodiesByRangeV1",
    "engine_getPayloadBodiesByRangeV2",
    "engine_getClientVersionV1",
    "engine_exchangeCapabilities",
];

/// Most bodies of a request.
const BODIES_MAX: u64 = 1_024;

/// Status of a payload.
struct Status {
    status: &'static str,
    latest_valid: Option<B256>,
    error: Option<String>,
}

impl Status {
    fn json(&self) -> Value {
        json!({"status": self.status, "latestValidHash": self.latest_valid, "validationError": self.error})
    }

    const fn valid(hash: B256) -> Self {
        Self { status: "VALID", latest_valid: Some(hash), error: None }
    }

    const fn syncing() -> Self {
        Self { status: "SYNCING", latest_valid: None, error: None }
    }

    const fn invalid(latest_valid: Option<B256>, error: String) -> Self {
        Self { status: "INVALID", latest_valid, error: Some(error) }
    }

    fn of_invalid(invalid: &Invalid) -> Self {
        Self::invalid(invalid.latest_valid, invalid.reason.clone())
    }
}

impl Handler {
    /// Runs a method of the Engine API; `None` if there is none of this name.
    pub(super) fn engine(&mut self, method: &str, params: &Params<'_>) -> Option<Result<Value, RpcError>> {
        Some(match method {
            "engine_newPayloadV1" => self.new_payload(1, params, false),
            "engine_newPayloadV2" => self.new_payload(2, params, false),
            "engine_newPayloadV3" => self.new_payload(3, params, false),
            "engine_newPayloadV4" => self.new_payload(4, params, false),
            "engine_newPayloadV5" => self.new_payload(5, params, false),
            "engine_newPayloadWithWitnessV5" => self.new_payload(5, params, true),
            "engine_forkchoiceUpdatedV1" => self.forkchoice_updated(1, params),
            "engine_forkchoiceUpdatedV2" => self.forkchoice_updated(2, params),
            "engine_forkchoiceUpdatedV3" => self.forkchoice_updated(3, params),
            "engine_forkchoiceUpdatedV4" => self.forkchoice_updated(4, params),
            "engine_getPayloadV1" => self.get_payload(1, params),
            "engine_getPayloadV2" => self.get_payload(2, params),
            "engine_getPayloadV3" => self.get_payload(3, params),
            "engine_getPayloadV4" => self.get_payload(4, params),
            "engine_getPayloadV5" => self.get_payload(5, params),
            "engine_getPayloadV6" => self.get_payload(6, params),
            "engine_getPayloadBodiesByHashV1" => self.bodies_by_hash(params, false),
            "engine_getPayloadBodiesByHashV2" => self.bodies_by_hash(params, true),
            "engine_getPayloadBodiesByRangeV1" => self.bodies_by_range(params, false),
            "engine_getPayloadBodiesByRangeV2" => self.bodies_by_range(params, true),
            "engine_exchangeCapabilities" => exchange_capabilities(params),
            "engine_getClientVersionV1" => Ok(json!([client_version()])),
            _ => return None,
        })
    }

    fn new_payload(&mut self, version: u8, params: &Params<'_>, with_witness: bool) -> Result<Value, RpcError> {
        params.at_most(match version {
            1 | 2 => 1,
            3 => 3,
            _ => 4,
        })?;
        let payload: Payload = params.get(0, "executionPayload")?;
        let mut beside = Beside::default();
        let mut blob_hashes = None;
        if version >= 3 {
            blob_hashes = Some(params.get::<Vec<Fixed<32>>>(1, "expectedBlobVersionedHashes")?);
            beside.parent_beacon_root = Some(params.get::<Fixed<32>>(2, "parentBeaconBlockRoot")?.0);
        }
        if version >= 4 {
            let requests = params.get::<Vec<Data>>(3, "executionRequests")?;
            let requests: Vec<Vec<u8>> = requests.into_iter().map(|request| request.0.into()).collect();
            check_requests(&requests)?;
            beside.requests = Some(requests);
        }
        let fork = self.node.rules(payload.block_number.0, payload.timestamp.0).fork;
        payload.check_fields(version, fork)?;
        let hash = payload.block_hash.0;
        let status = self.judge(&payload, &beside, blob_hashes.as_deref())?;
        let mut stats = self.node.stats.lock();
        let [valid, invalid, syncing] = &mut stats.payloads;
        *match status.status {
            "VALID" => valid,
            "INVALID" => invalid,
            _ => syncing,
        } += 1;
        drop(stats);
        let mut answer = status.json();
        if with_witness {
            answer["witness"] = match status.status {
                "VALID" => json!(Data(witness_rlp(&self.witness_of(&hash)?))),
                _ => Value::Null,
            };
        }
        Ok(answer)
    }

    /// Status of a payload whose fields are those of its version.
    fn judge(
        &mut self,
        payload: &Payload,
        beside: &Beside,
        blob_hashes: Option<&[Fixed<32>]>,
    ) -> Result<Status, RpcError> {
        let (header, block) = match payload.to_block(beside) {
            Ok(block) => block,
            Err(error) => return Ok(Status::invalid(None, error.to_string())),
        };
        let decoded = match Block::decode(block.clone()) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Status::invalid(None, format!("malformed block: {error}"))),
        };
        if let Some(expected) = blob_hashes {
            let found = (0..decoded.transactions.len())
                .flat_map(|tx| decoded.transactions.blob_hashes(balustrade::arena::TxIndex(tx as u32)));
            if !found.eq(expected.iter().map(|hash| &hash.0)) {
                let reason = "the blob versioned hashes of the transactions are not those that are expected";
                return Ok(Status::invalid(None, reason.to_owned()));
            }
        }
        drop(decoded);
        let hash = payload.block_hash.0;
        if self.node.tree.get(&hash).is_some() {
            return Ok(Status::valid(hash));
        }
        if let Some(invalid) = self.node.tree.invalid(&hash) {
            return Ok(Status::of_invalid(invalid));
        }
        if let Some(parent) = self.node.tree.invalid(&header.parent_hash) {
            let reason = format!("the parent is invalid: {}", parent.reason);
            let invalid = Invalid {
                latest_valid: parent.latest_valid,
                reason: super::rpc::bounded(&reason),
                classes: Vec::new(),
            };
            let status = Status::of_invalid(&invalid);
            self.node.tree.insert_invalid(hash, invalid);
            return Ok(status);
        }
        if self.node.tree.get(&header.parent_hash).is_none() {
            return Ok(Status::syncing());
        }
        let latest_valid = self.node.latest_valid(&header.parent_hash);
        let list: Option<Bytes> = payload.block_access_list.as_ref().map(|list| list.0.clone());
        match self.node.execute(header, block, list) {
            Ok(Verdict::Valid) => Ok(Status::valid(hash)),
            Ok(Verdict::Invalid(reason)) => Ok(Status::invalid(Some(latest_valid), reason)),
            // The parent is known, but its state is too far away.
            Err(error) if matches!(error.code, code::PRUNED | code::REORG) => Ok(Status::syncing()),
            Err(error) => Err(error),
        }
    }

    fn forkchoice_updated(&mut self, version: u8, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(if version >= 4 { 3 } else { 2 })?;
        let state: ForkchoiceState = params.get(0, "forkchoiceState")?;
        let attributes = params.raw(1);
        if attributes.is_some_and(|attributes| !attributes.get().starts_with('{')) {
            return Err(RpcError::params("payloadAttributes is neither an object nor null"));
        }
        params.optional::<Fixed<16>>(2, "custodyColumns")?;
        let answer = |status: &Status, id: Option<PayloadId>| {
            Ok(json!({"payloadStatus": status.json(), "payloadId": id.map(Fixed)}))
        };
        let head = state.head_block_hash.0;
        if let Some(invalid) = self.node.tree.invalid(&head) {
            return answer(&Status::of_invalid(invalid), None);
        }
        let Some(known) = self.node.tree.get(&head).cloned() else { return answer(&Status::syncing(), None) };
        let named = |hash: Fixed<32>| Some(hash.0).filter(|hash| !hash.is_zero());
        let (safe, finalized) = (named(state.safe_block_hash), named(state.finalized_block_hash));
        for (what, hash, before) in
            [("safe", safe, self.node.tree.safe), ("finalized", finalized, self.node.tree.finalized)]
        {
            let Some(hash) = hash else { continue };
            // A block that was named before may be forgotten by now.
            let is_forgotten = before == Some(hash) && self.node.tree.get(&hash).is_none();
            if !is_forgotten && !self.node.tree.is_ancestor(&hash, &head) {
                let message = format!("Invalid forkchoice state: the {what} block is not an ancestor of the head");
                return Err(RpcError::new(code::FORKCHOICE, message));
            }
        }
        self.node.set_head(head)?;
        (self.node.tree.safe, self.node.tree.finalized) = (safe, finalized);
        let id = match attributes {
            None => None,
            Some(attributes) => {
                let invalid = |error| {
                    let what = super::rpc::plain(&error);
                    RpcError::new(code::ATTRIBUTES, format!("Invalid payload attributes: {what}"))
                };
                let attributes: Attributes = serde_json::from_str(attributes.get()).map_err(invalid)?;
                Some(self.start_build(version, &known, attributes)?)
            }
        };
        answer(&Status::valid(head), id)
    }

    /// Notes that a payload is to be built on the head.
    fn start_build(&mut self, version: u8, head: &Known, attributes: Attributes) -> Result<PayloadId, RpcError> {
        let number = head.header.number.saturating_add(1);
        let fork = self.node.rules(number, attributes.timestamp.0).fork;
        attributes.check_fields(version, fork)?;
        if attributes.timestamp.0 <= head.header.timestamp {
            let message = "Invalid payload attributes: the timestamp is not later than that of the head";
            return Err(RpcError::new(code::ATTRIBUTES, message));
        }
        Ok(self.builds.start(Attempt { parent: head.hash, attributes }))
    }

    fn bodies_by_hash(&mut self, params: &Params<'_>, with_lists: bool) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let hashes: Vec<Fixed<32>> = params.get(0, "blockHashes")?;
        if hashes.len() as u64 > BODIES_MAX {
            return Err(RpcError::new(code::TOO_LARGE, format!("Too large request: at most {BODIES_MAX} bodies")));
        }
        let body = |hash: &Fixed<32>| self.node.tree.get(&hash.0).and_then(|known| body_of(known, with_lists));
        Ok(hashes.iter().map(body).collect())
    }

    fn bodies_by_range(&mut self, params: &Params<'_>, with_lists: bool) -> Result<Value, RpcError> {
        params.at_most(2)?;
        let Number(start) = params.get(0, "start")?;
        let Number(count) = params.get(1, "count")?;
        if start == 0 || count == 0 {
            return Err(RpcError::params("start and count have to be positive"));
        }
        if count > BODIES_MAX {
            return Err(RpcError::new(code::TOO_LARGE, format!("Too large request: at most {BODIES_MAX} bodies")));
        }
        let last = self.node.tree.head().header.number.min(start.saturating_add(count - 1));
        let body = |number| self.node.tree.canonical(number).and_then(|known| body_of(known, with_lists));
        Ok((start..=last).map(body).collect())
    }
}

/// The body of a block; `None` if it is not kept.
fn body_of(known: &Known, with_lists: bool) -> Option<Value> {
    let block = Block::decode(known.block.clone()?).ok()?;
    let list = known.list.as_ref().filter(|_| known.header.block_access_list_hash.is_some());
    let payload = Payload::of_block(&block, None);
    let mut body = json!({"transactions": payload.transactions, "withdrawals": Withdrawal::of_block(&block)});
    if with_lists {
        body["blockAccessList"] = json!(list.map(|list| Data(list.clone())));
    }
    Some(body)
}

fn exchange_capabilities(params: &Params<'_>) -> Result<Value, RpcError> {
    params.at_most(1)?;
    params.get::<Vec<String>>(0, "the capabilities")?;
    let ours = CAPABILITIES.iter().filter(|method| **method != "engine_exchangeCapabilities");
    Ok(ours.copied().collect())
}

/// `ClientVersionV1`.
pub fn client_version() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    // The commit is not known to a build from a package.
    json!({"code": "BA", "name": "balustrade", "version": format!("v{version}"), "commit": "0x00000000"})
}
