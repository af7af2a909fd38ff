//! Blocks, transactions, receipts and lists in the JSON of the public methods.
//!
//! In: known blocks. Out: JSON values.
//! Spec: execution-apis, schemas.

use super::node::pruned;
use super::payload::Withdrawal;
use super::rpc::{RpcError, code};
use super::tree::{Known, Results};
use super::value::{Data, Number, Wide};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use balustrade::arena::{Id, TxIndex};
use balustrade::bal::{BalColumns, Changes};
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::{Fork, GAS_PER_BLOB};
use balustrade::exec::rules::header::blob_base_fee;
use balustrade::exec::senders::{recover_batch, tx_signatures};
use balustrade::exec::tx::effective_gas_price;
use balustrade::exec::wire::{Block, Header, tx_type};
use serde_json::{Value, json};
use std::sync::Arc;

/// A block with the hashes of its transactions, and who sent them.
struct Body {
    block: Block,
    hashes: Vec<B256>,
    senders: Vec<Option<Address>>,
}

impl Body {
    fn of(known: &Known) -> Result<Self, RpcError> {
        let bytes = known.block.clone().ok_or_else(|| pruned("the body of the block is not kept"))?;
        let block = Block::decode(bytes).map_err(|error| RpcError::new(code::INTERNAL, error.to_string()))?;
        let hashes = known.transaction_hashes().to_vec();
        let signatures = tx_signatures(&block.transactions, 0..block.transactions.len(), Fork::Homestead);
        let mut senders = vec![None; signatures.len()];
        recover_batch(&signatures, &mut senders);
        Ok(Self { block, hashes, senders })
    }

    fn results(known: &Known) -> Result<&Arc<Results>, RpcError> {
        known.results.as_ref().ok_or_else(|| pruned("the receipts of the block are not kept"))
    }

    /// The transaction at a position.
    fn transaction(&self, position: usize) -> Value {
        let index = TxIndex(position as u32);
        let (transactions, header) = (&self.block.transactions, &self.block.header);
        let row = transactions.row(index);
        let is_legacy = row.tx_type == tx_type::LEGACY;
        let v = match (is_legacy, row.chain_id) {
            (false, _) => U256::from(row.y_parity),
            (true, None) => U256::from(27 + u64::from(row.y_parity)),
            (true, Some(id)) => U256::from(id) * U256::from(2) + U256::from(35 + u64::from(row.y_parity)),
        };
        let mut json = json!({
            "type": Number(row.tx_type.into()),
            "hash": self.hashes[position],
            "nonce": Number(row.nonce),
            "blockHash": self.block.header_hash,
            "blockNumber": Number(header.number),
            "blockTimestamp": Number(header.timestamp),
            "transactionIndex": Number(position as u64),
            "from": self.senders[position],
            "to": row.to,
            "value": Wide(row.value),
            "gas": Number(row.gas_limit),
            "gasPrice": Wide(U256::from(effective_gas_price(row, header.base_fee.unwrap_or_default()))),
            "input": Data(transactions.input_bytes(index)),
            "v": Wide(v),
            "r": Wide(row.r),
            "s": Wide(row.s),
        });
        let mut set = |name: &str, value: Value| json[name] = value;
        if let Some(id) = row.chain_id {
            set("chainId", json!(Number(id)));
        }
        if is_legacy {
            return json;
        }
        set("yParity", json!(Number(row.y_parity.into())));
        let entry = |(address, keys): (&Address, &[U256])| json!({"address": address, "storageKeys": keys.iter().map(|key| B256::from(*key)).collect::<Vec<_>>()});
        set("accessList", transactions.access_list(index).map(entry).collect());
        if row.tx_type >= tx_type::DYNAMIC_FEE {
            set("maxFeePerGas", json!(Wide(U256::from(row.max_fee_per_gas))));
            set("maxPriorityFeePerGas", json!(Wide(U256::from(row.max_priority_fee_per_gas))));
        }
        if row.tx_type == tx_type::BLOB {
            set("maxFeePerBlobGas", json!(Wide(U256::from(row.max_fee_per_blob_gas))));
            set("blobVersionedHashes", json!(transactions.blob_hashes(index)));
        }
        if row.tx_type == tx_type::SET_CODE {
            let authorizations = transactions.authorizations(index).iter().map(|row| {
                json!({
                    "chainId": Wide(row.chain_id), "address": row.address, "nonce": Number(row.nonce),
                    "yParity": Number(row.y_parity.into()), "r": Wide(row.r), "s": Wide(row.s),
                })
            });
            set("authorizationList", authorizations.collect());
        }
        json
    }

    /// The receipt of the transaction at a position. `before`: the gas paid by those before it, and their number of logs.
    fn receipt(&self, results: &Results, blob_fee: U256, position: usize, before: (u64, usize)) -> Value {
        let index = TxIndex(position as u32);
        let (transactions, header) = (&self.block.transactions, &self.block.header);
        let (row, outcome) = (transactions.row(index), &results.transactions[position]);
        let mut bloom = Bloom::ZERO;
        let logs: Vec<Value> = results
            .logs
            .of(index)
            .enumerate()
            .map(|(number, (address, topics, data))| {
                bloom.accrue_raw_log(*address, topics);
                json!({
                    "removed": false,
                    "logIndex": Number((before.1 + number) as u64),
                    "transactionIndex": Number(position as u64),
                    "transactionHash": self.hashes[position],
                    "blockHash": self.block.header_hash,
                    "blockNumber": Number(header.number),
                    "blockTimestamp": Number(header.timestamp),
                    "address": address,
                    "data": Data(Bytes::copy_from_slice(data)),
                    "topics": topics,
                })
            })
            .collect();
        let mut json = json!({
            "type": Number(row.tx_type.into()),
            "transactionHash": self.hashes[position],
            "transactionIndex": Number(position as u64),
            "blockHash": self.block.header_hash,
            "blockNumber": Number(header.number),
            "from": self.senders[position],
            "to": row.to,
            "cumulativeGasUsed": Number(before.0 + outcome.gas_paid),
            "gasUsed": Number(outcome.gas_paid),
            "contractAddress": outcome.created,
            "logs": logs,
            "logsBloom": bloom,
            "status": Number(outcome.success.into()),
            "effectiveGasPrice": Wide(U256::from(effective_gas_price(row, header.base_fee.unwrap_or_default()))),
        });
        if row.tx_type == tx_type::BLOB {
            json["blobGasUsed"] = json!(Number(transactions.blob_hashes(index).len() as u64 * GAS_PER_BLOB));
            json["blobGasPrice"] = json!(Wide(blob_fee));
        }
        json
    }
}

/// The fields of a header.
pub fn header_json(header: &Header) -> Value {
    let mut json = json!({
        "hash": header.hash(),
        "parentHash": header.parent_hash,
        "sha3Uncles": header.ommers_hash,
        "miner": header.coinbase,
        "stateRoot": header.state_root,
        "transactionsRoot": header.transactions_root,
        "receiptsRoot": header.receipts_root,
        "logsBloom": header.logs_bloom,
        "difficulty": Wide(header.difficulty),
        "number": Number(header.number),
        "gasLimit": Number(header.gas_limit),
        "gasUsed": Number(header.gas_used),
        "timestamp": Number(header.timestamp),
        "extraData": Data(header.extra_data.clone()),
        "mixHash": header.mix_hash,
        "nonce": header.nonce,
    });
    let later = [
        ("baseFeePerGas", header.base_fee.map(|fee| json!(Number(fee)))),
        ("withdrawalsRoot", header.withdrawals_root.map(|root| json!(root))),
        ("blobGasUsed", header.blob_gas_used.map(|gas| json!(Number(gas)))),
        ("excessBlobGas", header.excess_blob_gas.map(|gas| json!(Number(gas)))),
        ("parentBeaconBlockRoot", header.parent_beacon_root.map(|root| json!(root))),
        ("requestsHash", header.requests_hash.map(|hash| json!(hash))),
        ("blockAccessListHash", header.block_access_list_hash.map(|hash| json!(hash))),
        ("slotNumber", header.slot_number.map(|slot| json!(Number(slot)))),
    ];
    for (name, value) in later {
        if let Some(value) = value {
            json[name] = value;
        }
    }
    json
}

/// A block; with `whole`, its transactions are objects, else hashes.
///
/// # Errors
/// 4444: its body is not kept.
pub fn block_json(known: &Known, whole: bool) -> Result<Value, RpcError> {
    let mut json = header_json(&known.header);
    let body = if whole {
        let body = Body::of(known)?;
        json["transactions"] = (0..body.hashes.len()).map(|position| body.transaction(position)).collect();
        body.block
    } else {
        let bytes = known.block.clone().ok_or_else(|| pruned("the body of the block is not kept"))?;
        json["transactions"] = json!(known.transaction_hashes());
        Block::decode(bytes).map_err(|error| RpcError::new(code::INTERNAL, error.to_string()))?
    };
    json["size"] = json!(Number(body.encoded_len() as u64));
    json["uncles"] = json!(body.ommers.iter().map(Header::hash).collect::<Vec<_>>());
    if let Some(withdrawals) = Withdrawal::of_block(&body) {
        json["withdrawals"] = json!(withdrawals);
    }
    Ok(json)
}

/// All receipts of a block.
///
/// # Errors
/// 4444: they are not kept.
pub fn receipts_of(known: &Known, config: &ChainConfig) -> Result<Vec<Value>, RpcError> {
    if known.header.number == 0 {
        return Ok(Vec::new());
    }
    let results = Body::results(known)?;
    let body = Body::of(known)?;
    let blob_fee = blob_fee(&known.header, config);
    let mut before = (0, 0);
    let receipt = |position: usize| {
        let json = body.receipt(results, blob_fee, position, before);
        before.0 += results.transactions[position].gas_paid;
        before.1 += results.logs.of(TxIndex(position as u32)).len();
        json
    };
    Ok((0..body.hashes.len()).map(receipt).collect())
}

/// The receipt of one transaction of a block.
///
/// # Errors
/// 4444: it is not kept.
pub fn receipt_json(known: &Known, config: &ChainConfig, position: usize) -> Result<Value, RpcError> {
    let results = Body::results(known)?;
    let body = Body::of(known)?;
    let gas = results.transactions[..position].iter().map(|outcome| outcome.gas_paid).sum();
    let logs = (0..position).map(|row| results.logs.of(TxIndex(row as u32)).len()).sum();
    Ok(body.receipt(results, blob_fee(&known.header, config), position, (gas, logs)))
}

fn blob_fee(header: &Header, config: &ChainConfig) -> U256 {
    header.excess_blob_gas.map_or(U256::ZERO, |excess| blob_base_fee(&config.rules_of(header), excess))
}

/// A block access list.
pub fn list_json(list: &BalColumns) -> Value {
    fn changes<P: Id, V>(changes: &Changes<P, V>, parent: P, name: &str, value: impl Fn(usize) -> Value) -> Vec<Value> {
        let change = |row| json!({"index": Number(changes.index(row).0.into()), name: value(row)});
        changes.rows(parent).map(change).collect()
    }
    let accounts = list.addresses().iter().map(|(account, address)| {
        let (reads, changed): (Vec<_>, Vec<_>) = list.slots(account).partition(|slot| list.is_read_only(*slot));
        let key = |slot| B256::from(list.slot_keys()[slot]);
        let storage = changed.into_iter().map(|slot| {
            let value = |row| json!(B256::from(*list.storage().value(row)));
            json!({"key": key(slot), "changes": changes(list.storage(), slot, "value", value)})
        });
        json!({
            "address": address,
            "storageChanges": storage.collect::<Vec<_>>(),
            "storageReads": reads.into_iter().map(key).collect::<Vec<_>>(),
            "balanceChanges": changes(list.balances(), account, "value", |row| json!(Wide(*list.balances().value(row)))),
            "nonceChanges": changes(list.nonces(), account, "value", |row| json!(Number(*list.nonces().value(row)))),
            "codeChanges": changes(list.codes(), account, "code", |row| json!(Data(list.code_shared(row)))),
        })
    });
    accounts.collect()
}
