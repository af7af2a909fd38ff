//! The public methods: `eth_*`, `net_*`, `web3_*`.
//!
//! In: parameters. Out: blocks, transactions, receipts, accounts and proofs as JSON.
//! Spec: execution-apis. Blocks and states that are not kept: 4444. Lists of blocks before Amsterdam: -32001.
//! Not here: `debug` methods.

use super::Handler;
use super::call::Call;
use super::json::{block_json, list_json, receipt_json, receipts_of};
use super::node::{View, pruned};
use super::rpc::{Params, RpcError, code};
use super::tree::Known;
use super::value::{Data, Fixed, Number, Wide, quantity};
use alloy_primitives::{B256, U256, hex};
use balustrade::bal::{self, Limits};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most slots of a proof.
const SLOTS_MAX: usize = 4_096;

/// A block as a parameter: a number, a name, or a hash (EIP-1898).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a block number, name or hash")]
struct BlockObject {
    block_hash: Option<Fixed<32>>,
    block_number: Option<String>,
    require_canonical: Option<bool>,
}

impl Handler {
    /// Runs a public method; `None` if there is none of this name.
    pub(super) fn eth(&mut self, method: &str, params: &Params<'_>) -> Option<Result<Value, RpcError>> {
        Some(match method {
            "eth_chainId" => Ok(json!(Number(self.node.config.chain_id))),
            "net_version" => Ok(json!(self.node.config.chain_id.to_string())),
            "web3_clientVersion" => Ok(json!(client_name())),
            "eth_syncing" => Ok(json!(false)),
            "eth_blockNumber" => Ok(json!(Number(self.node.tree.head().header.number))),
            "eth_gasPrice" => Ok(json!(Number(self.node.tree.head().header.base_fee.unwrap_or_default()))),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => self.get_block(params),
            "eth_getBlockReceipts" => self.block_receipts(params),
            "eth_getTransactionReceipt" => self.transaction_receipt(params),
            "eth_getBalance" => {
                self.account_field(params, |view, address| Ok(json!(Wide(view.account(address)?.balance))))
            }
            "eth_getTransactionCount" => {
                self.account_field(params, |view, address| Ok(json!(Number(view.account(address)?.nonce))))
            }
            "eth_getCode" => self.account_field(params, |view, address| Ok(json!(Data(view.code(address)?)))),
            "eth_getStorageAt" => self.storage_at(params),
            "eth_getProof" => self.proof(params),
            "eth_getBlockAccessList" => self.block_access_list(params),
            "eth_call" => self.call_message(params),
            "eth_sendRawTransaction" => self.send_raw_transaction(params),
            _ => return None,
        })
    }

    /// The block of a parameter; `None` if there is none yet, or no block has the hash.
    pub(super) fn block(&self, value: Option<&RawValue>) -> Result<Option<Arc<Known>>, RpcError> {
        let tree = &self.node.tree;
        let wrong = || RpcError::params("not a block number, name or hash");
        let Some(value) = value else { return Ok(Some(Arc::clone(tree.head()))) };
        if value.get().starts_with('{') {
            let object: BlockObject =
                serde_json::from_str(value.get()).map_err(|error| RpcError::params(super::rpc::plain(&error)))?;
            return match (object.block_hash, object.block_number) {
                (Some(hash), None) => {
                    let known = tree.get(&hash.0).cloned();
                    let must = object.require_canonical == Some(true);
                    Ok(known.filter(|known| !must || tree.is_canonical(known)))
                }
                (None, Some(text)) => self.block_of_text(&text),
                _ => Err(wrong()),
            };
        }
        let text: String = serde_json::from_str(value.get()).map_err(|_| wrong())?;
        self.block_of_text(&text)
    }

    fn block_of_text(&self, text: &str) -> Result<Option<Arc<Known>>, RpcError> {
        let tree = &self.node.tree;
        let named = |hash: Option<B256>| hash.and_then(|hash| tree.get(&hash)).cloned();
        match text {
            "latest" | "pending" => return Ok(Some(Arc::clone(tree.head()))),
            "safe" => return Ok(named(tree.safe)),
            "finalized" => return Ok(named(tree.finalized)),
            _ => {}
        }
        if text.len() == 66 {
            let hash = super::value::data(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let hash = hash.ok_or_else(|| RpcError::params("not a block hash"))?;
            return Ok(tree.get(&B256::from(hash)).cloned());
        }
        let number = match text {
            "earliest" => Some(0),
            text => quantity(text).map(|number| number.saturating_to::<u64>()),
        };
        let number = number.ok_or_else(|| RpcError::params("not a block number, name or hash"))?;
        if number < tree.oldest() {
            return Err(pruned(&format!("the oldest block that is kept is {}", tree.oldest())));
        }
        Ok(tree.canonical(number).cloned())
    }

    /// The block of a parameter, which has to exist.
    pub(super) fn known_block(&self, value: Option<&RawValue>) -> Result<Arc<Known>, RpcError> {
        self.block(value)?.ok_or_else(|| RpcError::new(code::NOT_FOUND, "Resource not found: no such block"))
    }

    fn get_block(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(2)?;
        let given = params.raw(0).ok_or_else(|| RpcError::params("the block is missing"))?;
        let whole = params.optional::<bool>(1, "whether transactions are returned whole")?.unwrap_or_default();
        let Some(known) = self.block(Some(given))? else { return Ok(Value::Null) };
        block_json(&known, whole)
    }

    fn block_receipts(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let given = params.raw(0).ok_or_else(|| RpcError::params("the block is missing"))?;
        let Some(known) = self.block(Some(given))? else { return Ok(Value::Null) };
        receipts_of(&known, &self.node.config).map(Value::Array)
    }

    fn transaction_receipt(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let Fixed(hash) = params.get::<Fixed<32>>(0, "the transaction hash")?;
        let tree = &self.node.tree;
        let head = tree.head().header.number;
        for number in (tree.oldest()..=head).rev() {
            let Some(known) = tree.canonical(number) else { continue };
            let Some(position) = known.transaction_hashes().iter().position(|other| *other == hash) else { continue };
            return receipt_json(known, &self.node.config, position);
        }
        Ok(Value::Null)
    }

    fn account_field(
        &mut self,
        params: &Params<'_>,
        read: impl FnOnce(&mut View<'_>, alloy_primitives::Address) -> Result<Value, RpcError>,
    ) -> Result<Value, RpcError> {
        params.at_most(2)?;
        let address = params.get::<Fixed<20>>(0, "the address")?.address();
        let known = self.known_block(params.raw(1))?;
        self.node.at(&known.hash, |view| read(view, address))
    }

    fn storage_at(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(3)?;
        let address = params.get::<Fixed<20>>(0, "the address")?.address();
        let key = slot_key(&params.get::<String>(1, "the slot")?)?;
        let known = self.known_block(params.raw(2))?;
        self.node.at(&known.hash, |view| Ok(json!(B256::from(view.slot(address, key)?))))
    }

    fn proof(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(3)?;
        let address = params.get::<Fixed<20>>(0, "the address")?.address();
        let texts = params.get::<Vec<String>>(1, "the slots")?;
        if texts.len() > SLOTS_MAX {
            return Err(RpcError::new(code::LIMIT, format!("at most {SLOTS_MAX} slots")));
        }
        let keys = texts.iter().map(|text| slot_key(text)).collect::<Result<Vec<_>, _>>()?;
        let known = self.known_block(params.raw(2))?;
        let proof = self.node.at(&known.hash, |view| view.prove(address, &keys))?;
        let (balance, code_hash, nonce, storage_hash) =
            proof.account.map_or((U256::ZERO, balustrade::KECCAK_EMPTY, 0, balustrade::EMPTY_ROOT), |account| {
                (account.balance, account.code_hash, account.nonce, account.storage_root)
            });
        // A key is returned in the form in which it was given.
        let slots = proof
            .slots
            .iter()
            .zip(&texts)
            .map(|(slot, text)| json!({"key": text, "value": Wide(slot.value), "proof": slot.nodes}));
        Ok(json!({
            "address": address,
            "accountProof": proof.nodes,
            "balance": Wide(balance),
            "codeHash": code_hash,
            "nonce": Number(nonce),
            "storageHash": storage_hash,
            "storageProof": slots.collect::<Vec<_>>(),
        }))
    }

    /// The RLP of the access list of a block from Amsterdam on.
    pub(super) fn list_of(&self, params: &Params<'_>) -> Result<alloy_primitives::Bytes, RpcError> {
        params.at_most(1)?;
        let known = self.known_block(params.raw(0))?;
        if known.header.block_access_list_hash.is_none() {
            return Err(RpcError::new(code::NOT_FOUND, "Resource not found: the block is before Amsterdam"));
        }
        known.list.clone().ok_or_else(|| pruned("the list is not kept"))
    }

    fn block_access_list(&self, params: &Params<'_>) -> Result<Value, RpcError> {
        let list = self.list_of(params)?;
        let columns = bal::decode(&list, &Limits::format_only());
        columns.map(|columns| list_json(&columns)).map_err(|error| RpcError::new(code::INTERNAL, error.to_string()))
    }

    fn call_message(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(2)?;
        let call: Call = params.get(0, "the call")?;
        let known = self.known_block(params.raw(1))?;
        let rules = self.node.config.rules_of(&known.header);
        self.node.at(&known.hash, |view| view.call(&call, &rules, &known.header))
    }

    fn send_raw_transaction(&mut self, params: &Params<'_>) -> Result<Value, RpcError> {
        params.at_most(1)?;
        let Data(encoded) = params.get(0, "the transaction")?;
        let (head, chain_id) = (self.node.tree.head().hash, self.node.config.chain_id);
        let Self { node, pool, .. } = self;
        if pool.len() >= 1_024 {
            // What was included makes room.
            let senders = pool.senders();
            let accounts = node.at(&head, |view| view.accounts(&senders))?;
            pool.forget_below(&accounts.iter().map(|account| account.nonce).collect::<Vec<_>>());
        }
        let nonce_of = |sender| node.at(&head, |view| view.account(sender)).map(|account| account.nonce);
        pool.insert(encoded, chain_id, nonce_of).map(|hash| json!(hash))
    }
}

/// The key of a slot: up to 32 bytes, with or without leading zeros.
fn slot_key(text: &str) -> Result<U256, RpcError> {
    let digits = text.strip_prefix("0x").filter(|digits| (1..=64).contains(&digits.len()));
    let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let key = digits.and_then(|digits| U256::from_str_radix(digits, 16).ok());
    key.ok_or_else(|| RpcError::params("a slot is 0x and up to 64 hex digits"))
}

/// `web3_clientVersion`.
pub fn client_name() -> String {
    format!("balustrade/v{}/{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

/// The RLP of a header.
pub fn header_rlp(header: &balustrade::Header) -> String {
    let mut out = Vec::with_capacity(700);
    header.encode(&mut out);
    hex::encode_prefixed(out)
}
