//! Blocks that the node builds: `engine_getPayload`, `testing_buildBlockV1`.
//!
//! In: a parent, payload attributes, transactions. Out: a sealed block as a payload.
//! A payload of the Engine API is built when it is asked for, from the pool; a transaction that is not valid in it is
//! removed from the pool. `testing_buildBlockV1` skips nothing.
//! Not here: execution (the library).

use super::Handler;
use super::payload::{Attributes, Payload, Withdrawal, attributes_version};
use super::pool::Pooled;
use super::rpc::{Params, RpcError, code};
use super::tree::Known;
use super::value::{Data, Fixed, Wide};
use alloy_primitives::{B256, Bytes, FixedBytes, U256, keccak256};
use balustrade::arena::TxIndex;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::tx::effective_gas_price;
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::{Body, BuiltBlock};
use balustrade::{BlockError, InvalidBlock, next_base_fee, next_excess_blob_gas};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Identifies a payload that is to be built.
pub type PayloadId = FixedBytes<8>;

/// Payloads that are remembered.
const BUILDS_MAX: usize = 32;
/// Invalid transactions of the pool that one block meets before it is built without the pool.
const RETRIES: usize = 64;
/// Extra data of blocks that the node builds.
const EXTRA_DATA: &[u8] = b"balustrade";
/// The least gas limit of a block.
const GAS_LIMIT_MIN: u64 = 5_000;

/// A payload that is to be built.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Hash of the parent.
    pub parent: B256,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A built payload.
#[derive(Clone, Debug)]
struct Built {
    fork: Fork,
    payload: Payload,
    requests: Vec<Data>,
    value: U256,
}

/// The payloads that were asked for.
#[derive(Debug, Default)]
pub struct Builds(VecDeque<(PayloadId, Attempt, Option<Built>)>);

impl Builds {
    /// Notes a payload. Equal attempts have the same identifier, and are built once.
    pub fn start(&mut self, attempt: Attempt) -> PayloadId {
        // Structures of strings always serialize.
        let text = serde_json::to_vec(&(attempt.parent, &attempt.attributes)).unwrap_or_default();
        let id = PayloadId::from_slice(&keccak256(text)[..8]);
        if !self.0.iter().any(|(other, ..)| *other == id) {
            if self.0.len() == BUILDS_MAX {
                self.0.pop_front();
            }
            self.0.push_back((id, attempt, None));
        }
        id
    }
}

/// Where the transactions of a block come from.
enum Source {
    Given(Vec<Vec<u8>>),
    Pool,
}

impl Handler {
    pub(super) fn get_payload(&mut self, version: u8, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let Fixed(id) = params.get::<Fixed<8>>(0, "payloadId")?;
        let Some(position) = self.builds.0.iter().position(|(other, ..)| *other == id) else {
            return Err(RpcError::new(code::UNKNOWN_PAYLOAD, "Unknown payload"));
        };
        let (_, Attempt { parent, attributes }, built) = self.builds.0[position].clone();
        let number = self.node.tree.get(&parent).map_or(0, |parent| parent.header.number.saturating_add(1));
        let fork = self.node.rules(number, attributes.timestamp.0).fork;
        if !is_of_version(version, fork) {
            let message = format!("Unsupported fork: engine_getPayloadV{version} does not return {}", fork.name());
            return Err(RpcError::new(code::FORK, message));
        }
        let built = match built {
            Some(built) => built,
            None => {
                let built = self.build(&parent, &attributes, Source::Pool, EXTRA_DATA.into())?;
                self.builds.0[position].2 = Some(built.clone());
                built
            }
        };
        Ok(built.answer(version))
    }

    pub(super) fn testing_build_block(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(4)?;
        let Fixed(parent) = params.get::<Fixed<32>>(0, "parentBlockHash")?;
        let attributes: Attributes = params.get(1, "payloadAttributes")?;
        let source = match params.optional::<Vec<Data>>(2, "transactions")? {
            Some(transactions) => Source::Given(transactions.into_iter().map(|tx| tx.0.into()).collect()),
            None => Source::Pool,
        };
        let extra = params.optional::<Data>(3, "extraData")?.map_or_else(|| EXTRA_DATA.into(), |extra| extra.0);
        let Some(known) = self.node.tree.get(&parent) else { return Err(RpcError::params("the parent is not known")) };
        if attributes.timestamp.0 <= known.header.timestamp {
            return Err(RpcError::params("the timestamp is not later than that of the parent"));
        }
        let number = known.header.number.saturating_add(1);
        let fork = self.node.rules(number, attributes.timestamp.0).fork;
        // A target for the gas limit may be missing: the parent's gas limit then stays.
        let mut checked = attributes.clone();
        if attributes_version(fork) >= 4 {
            checked.target_gas_limit.get_or_insert_default();
        }
        let wrong = |error: RpcError| RpcError::params(error.message);
        checked.check_fields(attributes_version(fork), fork).map_err(wrong)?;
        let version = match fork {
            Fork::Amsterdam => 6,
            Fork::Osaka => 5,
            Fork::Prague => 4,
            Fork::Cancun => 3,
            _ => 2,
        };
        Ok(self.build(&parent, &attributes, source, extra)?.answer(version))
    }

    /// Builds a block on a known parent.
    fn build(
        &mut self,
        parent: &B256,
        attributes: &Attributes,
        source: Source,
        extra: Bytes,
    ) -> Result<Built, RpcError> {
        let unknown = || RpcError::new(code::UNKNOWN_PAYLOAD, "Unknown payload: its parent is forgotten");
        let known = self.node.tree.get(parent).cloned().ok_or_else(unknown)?;
        let number = known.header.number.saturating_add(1);
        let rules = self.node.rules(number, attributes.timestamp.0);
        if rules.fork < Fork::Paris {
            return Err(RpcError::params("blocks before the merge are not built"));
        }
        let template = template(&rules, &known, attributes, extra);
        let withdrawals: Vec<Vec<u8>> = attributes.withdrawals.iter().flatten().map(Withdrawal::encoded).collect();
        let built = match source {
            Source::Given(transactions) => {
                let body = Body { transactions: &transactions, withdrawals: &withdrawals };
                self.build_body(parent, &rules, &template, body)?
                    .map_err(|invalid| RpcError::params(invalid.to_string()))?
            }
            Source::Pool => self.build_from_pool(parent, &rules, &template, &withdrawals)?,
        };
        Built::new(rules.fork, built)
    }

    fn build_body(
        &mut self,
        parent: &B256,
        rules: &ChainRules,
        template: &Header,
        body: Body<'_>,
    ) -> Result<Result<BuiltBlock, InvalidBlock>, RpcError> {
        self.node.on(parent, |engine, db| match engine.build_on(db, rules, template, body) {
            Ok(built) => Ok(Ok(built)),
            Err(BlockError::Invalid(invalid)) => Ok(Err(*invalid)),
            Err(error) => Err(RpcError::server(error.to_string())),
        })
    }

    fn build_from_pool(
        &mut self,
        parent: &B256,
        rules: &ChainRules,
        template: &Header,
        withdrawals: &[Vec<u8>],
    ) -> Result<BuiltBlock, RpcError> {
        let senders = self.pool.senders();
        let nonces = |accounts: Vec<balustrade::ParentAccount>| accounts.iter().map(|account| account.nonce).collect();
        let nonces: Vec<u64> = self.node.at(parent, |view| view.accounts(&senders)).map(nonces)?;
        let base_fee = template.base_fee.unwrap_or_default();
        let mut chosen = self.pool.choose(&nonces, base_fee, template.gas_limit);
        for _ in 0..RETRIES {
            let transactions: Vec<Vec<u8>> = chosen.iter().map(|tx| tx.encoded.to_vec()).collect();
            let body = Body { transactions: &transactions, withdrawals };
            match self.build_body(parent, rules, template, body)? {
                Ok(built) => return Ok(built),
                Err(InvalidBlock::Tx { index, .. }) if (index.0 as usize) < chosen.len() => {
                    let Pooled { hash, .. } = chosen.swap_remove(index.0 as usize);
                    self.pool.remove(&hash);
                    // The sender's later transactions are gone, too.
                    let senders = self.pool.senders();
                    let nonces: Vec<u64> = self
                        .node
                        .at(parent, |view| view.accounts(&senders))?
                        .iter()
                        .map(|account| account.nonce)
                        .collect();
                    chosen = self.pool.choose(&nonces, base_fee, template.gas_limit);
                }
                Err(_) => break,
            }
        }
        let body = Body { transactions: &[], withdrawals };
        self.build_body(parent, rules, template, body)?.map_err(|invalid| RpcError::server(invalid.to_string()))
    }
}

/// The header fields that a builder chooses.
fn template(rules: &ChainRules, parent: &Known, attributes: &Attributes, extra_data: Bytes) -> Header {
    let since = |fork| rules.fork >= fork;
    let parent_header = &parent.header;
    let gas_limit = match attributes.target_gas_limit {
        // The limit moves by less than a 1,024th.
        Some(target) => {
            let step = (parent_header.gas_limit / 1_024).saturating_sub(1);
            let (low, high) =
                (parent_header.gas_limit.saturating_sub(step), parent_header.gas_limit.saturating_add(step));
            target.0.clamp(low, high).max(GAS_LIMIT_MIN)
        }
        None => parent_header.gas_limit,
    };
    Header {
        parent_hash: parent.hash,
        coinbase: attributes.suggested_fee_recipient.address(),
        number: parent_header.number.saturating_add(1),
        gas_limit,
        timestamp: attributes.timestamp.0,
        extra_data,
        mix_hash: attributes.prev_randao.0,
        base_fee: Some(next_base_fee(parent_header)),
        excess_blob_gas: since(Fork::Cancun).then(|| next_excess_blob_gas(rules, parent_header)),
        parent_beacon_root: attributes.parent_beacon_block_root.map(|root| root.0),
        slot_number: attributes.slot_number.map(|slot| slot.0),
        ..Header::default()
    }
}

impl Built {
    fn new(fork: Fork, built: BuiltBlock) -> Result<Self, RpcError> {
        let BuiltBlock { block, bal, requests, transactions: outcomes, .. } = built;
        let internal = |error| RpcError::new(code::INTERNAL, format!("the built block does not decode: {error}"));
        let block = Block::decode(block).map_err(internal)?;
        let base_fee = block.header.base_fee.unwrap_or_default();
        let mut value = U256::ZERO;
        for (row, outcome) in outcomes.iter().enumerate() {
            let price = effective_gas_price(block.transactions.row(TxIndex(row as u32)), base_fee);
            let tip = U256::from(price.saturating_sub(u128::from(base_fee)));
            value = value.saturating_add(tip.saturating_mul(U256::from(outcome.gas_paid)));
        }
        let payload = Payload::of_block(&block, Some(&bal));
        let requests = requests.into_iter().map(|request| Data(request.into())).collect();
        Ok(Self { fork, payload, requests, value })
    }

    /// The result of `engine_getPayload` in this version.
    fn answer(&self, version: u8) -> Value {
        if version == 1 {
            return json!(self.payload);
        }
        let mut answer = json!({"executionPayload": self.payload, "blockValue": Wide(self.value)});
        if version >= 3 {
            answer["blobsBundle"] = json!({"commitments": [], "proofs": [], "blobs": []});
            answer["shouldOverrideBuilder"] = json!(false);
        }
        if version >= 4 {
            answer["executionRequests"] = json!(self.requests);
        }
        debug_assert!(version == 2 || is_of_version(version, self.fork));
        answer
    }
}

/// Whether a version of `engine_getPayload` returns payloads of a fork.
fn is_of_version(version: u8, fork: Fork) -> bool {
    match version {
        1 => fork <= Fork::Paris,
        2 => fork <= Fork::Shanghai,
        3 => fork == Fork::Cancun,
        4 => fork == Fork::Prague,
        5 => fork == Fork::Osaka,
        _ => fork >= Fork::Amsterdam,
    }
}
