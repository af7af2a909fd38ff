//! Block headers and bodies in the JSON of nodes.
//!
//! In: the objects of `eth_getBlockByNumber` and of witnesses. Out: [`Header`]s and withdrawals. What is read is only
//! right if it has the hash that is expected: callers compare it.
//! Not here: the calls (`node`).

use alloy_primitives::{Address, B64, B256, Bloom, Bytes};
use alloy_rlp::Encodable;
use balustrade::Header;
use balustrade::formats::json::Quantity;
use serde::Deserialize;

/// A header as nodes write it. Fields of later forks are absent or null before them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a header")]
pub struct HeaderJson {
    parent_hash: B256,
    sha3_uncles: B256,
    #[serde(alias = "coinbase")]
    miner: Address,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    #[serde(default)]
    difficulty: Quantity,
    number: Quantity,
    gas_limit: Quantity,
    gas_used: Quantity,
    timestamp: Quantity,
    #[serde(default)]
    extra_data: Bytes,
    #[serde(default)]
    mix_hash: Option<B256>,
    #[serde(default)]
    nonce: Option<B64>,
    base_fee_per_gas: Option<Quantity>,
    withdrawals_root: Option<B256>,
    blob_gas_used: Option<Quantity>,
    excess_blob_gas: Option<Quantity>,
    parent_beacon_block_root: Option<B256>,
    requests_hash: Option<B256>,
    #[serde(alias = "balHash")]
    block_access_list_hash: Option<B256>,
    slot_number: Option<Quantity>,
}

impl HeaderJson {
    /// The header; `None` if a number does not fit its field.
    pub fn header(self) -> Option<Header> {
        let number = |value: Quantity| u64::try_from(value.0).ok();
        // The outer `None`: too wide; the inner one: absent.
        let optional = |value: Option<Quantity>| value.map_or(Some(None), |value| number(value).map(Some));
        Some(Header {
            parent_hash: self.parent_hash,
            ommers_hash: self.sha3_uncles,
            coinbase: self.miner,
            state_root: self.state_root,
            transactions_root: self.transactions_root,
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            difficulty: self.difficulty.0,
            number: number(self.number)?,
            gas_limit: number(self.gas_limit)?,
            gas_used: number(self.gas_used)?,
            timestamp: number(self.timestamp)?,
            extra_data: self.extra_data,
            mix_hash: self.mix_hash.unwrap_or_default(),
            nonce: self.nonce.unwrap_or_default(),
            base_fee: optional(self.base_fee_per_gas)?,
            withdrawals_root: self.withdrawals_root,
            blob_gas_used: optional(self.blob_gas_used)?,
            excess_blob_gas: optional(self.excess_blob_gas)?,
            parent_beacon_root: self.parent_beacon_block_root,
            requests_hash: self.requests_hash,
            block_access_list_hash: self.block_access_list_hash,
            slot_number: optional(self.slot_number)?,
        })
    }
}

/// A withdrawal (EIP-4895) as nodes write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a withdrawal")]
pub struct WithdrawalJson {
    index: Quantity,
    validator_index: Quantity,
    address: Address,
    amount: Quantity,
}

impl WithdrawalJson {
    /// The RLP of the withdrawal.
    pub fn rlp(&self) -> Vec<u8> {
        let fields: [&dyn Encodable; 4] = [&self.index.0, &self.validator_index.0, &self.address, &self.amount.0];
        let payload_length = fields.iter().map(|field| field.length()).sum();
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
        fields.iter().for_each(|field| field.encode(&mut out));
        out
    }
}

/// A block without its transactions' contents, as nodes write it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a block object")]
pub struct BlockJson {
    /// The block's hash.
    pub hash: B256,
    /// Hashes of the transactions.
    #[serde(default)]
    pub transactions: Vec<B256>,
    /// Hashes of the ommers.
    #[serde(default)]
    pub uncles: Vec<B256>,
    /// The withdrawals, since Shanghai.
    #[serde(default)]
    pub withdrawals: Option<Vec<WithdrawalJson>>,
    /// The header's fields.
    #[serde(flatten)]
    pub header: HeaderJson,
}
