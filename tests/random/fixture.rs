//! Random chains as test fixtures in the JSON formats of the execution-spec tests (EEST).

use super::block::RandomBlock;
use alloy_primitives::{B256, Bytes, U256};
use balustrade::arena::TxIndex;
use balustrade::arena::store::MemoryStore;
use balustrade::exec::rules::fork::Fork;
use balustrade::exec::wire::{Block, assemble};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A block of a block test.
#[derive(Clone, Debug)]
pub struct TestBlock {
    pub rlp: Bytes,
    /// RLP of its block access list; `None` before Amsterdam.
    pub bal: Option<Bytes>,
    /// The exception of an invalid block.
    pub exception: Option<&'static str>,
}

impl TestBlock {
    pub fn valid(block: &RandomBlock) -> Self {
        let bal = (block.rules.fork >= Fork::Amsterdam).then(|| block.built.bal.clone());
        Self { rlp: block.built.block.clone(), bal, exception: None }
    }
}

/// The `pre` section of a fixture.
fn alloc(store: &MemoryStore) -> Value {
    let codes: BTreeMap<&B256, &Bytes> = store.iter_codes().collect();
    let accounts: BTreeMap<_, _> = store
        .iter()
        .map(|(address, account)| {
            let slots: BTreeMap<U256, U256> = account.storage.iter().map(|(key, value)| (*key, *value)).collect();
            let code = codes.get(&account.code_hash).map_or_else(Bytes::new, |code| (*code).clone());
            let nonce = U256::from(account.nonce);
            (*address, json!({"nonce": nonce, "balance": account.balance, "code": code, "storage": slots}))
        })
        .collect();
    json!(accounts)
}

fn config(block: &RandomBlock) -> Value {
    let (rules, schedule) = (&block.rules, block.rules.blob_schedule);
    let mut config = json!({"network": rules.fork.name(), "chainid": U256::from(rules.chain_id)});
    if rules.fork >= Fork::Cancun {
        config["blobSchedule"][rules.fork.name()] = json!({
            "target": U256::from(schedule.target), "max": U256::from(schedule.max),
            "baseFeeUpdateFraction": U256::from(schedule.base_fee_update_fraction),
        });
    }
    config
}

/// A block test: these blocks on the parent state of `first`, whose parent is the genesis. The last block is valid.
pub fn block_test(first: &RandomBlock, blocks: &[TestBlock], last_hash: B256) -> Value {
    let blocks: Vec<Value> = blocks
        .iter()
        .map(|block| {
            let mut fields = json!({"rlp": block.rlp});
            if let Some(bal) = &block.bal {
                fields["blockAccessListRlp"] = json!(bal);
            }
            if let Some(exception) = block.exception {
                fields["expectException"] = json!(exception);
            }
            fields
        })
        .collect();
    json!({
        "network": first.rules.fork.name(),
        "config": config(first),
        "genesisRLP": Bytes::from(assemble::<Vec<u8>>(&first.parent, &[])),
        "pre": alloc(&first.store),
        "blocks": blocks,
        "lastblockhash": last_hash,
    })
}

/// A state test of the first transaction of a block. `results` are the expected state root and hash of the logs.
pub fn state_test(block: &RandomBlock, (root, logs): (B256, B256)) -> Value {
    let header = &block.built.header;
    let decoded = Block::decode(block.built.block.clone()).expect("a generated block");
    let transaction = Bytes::copy_from_slice(decoded.transactions.encoded(TxIndex(0)));
    let mut env: Map<String, Value> = Map::new();
    let mut set = |name: &str, value: Value| env.insert(name.to_owned(), value);
    set("currentCoinbase", json!(header.coinbase));
    set("currentGasLimit", json!(U256::from(header.gas_limit)));
    set("currentNumber", json!(U256::from(header.number)));
    set("currentTimestamp", json!(U256::from(header.timestamp)));
    set("currentDifficulty", json!(header.difficulty));
    set("currentRandom", json!(header.mix_hash));
    set("currentBaseFee", json!(U256::from(header.base_fee.unwrap_or_default())));
    set("currentExcessBlobGas", json!(U256::from(header.excess_blob_gas.unwrap_or_default())));
    set("currentSlotNumber", json!(U256::from(header.slot_number.unwrap_or_default())));
    let result = json!({
        "hash": root, "logs": logs, "txbytes": transaction, "indexes": {"data": 0, "gas": 0, "value": 0},
    });
    json!({
        "env": env,
        "config": config(block),
        "pre": alloc(&block.store),
        "post": {block.rules.fork.name(): [result]},
    })
}
