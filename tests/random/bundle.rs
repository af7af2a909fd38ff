//! A random block as a bundle: a JSON document that `balustrade run` takes.

use super::block::RandomBlock;
use alloy_primitives::{B256, Bytes, U256};
use balustrade::bal::ExistenceLog;
use balustrade::exec::wire::Header;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The bundle with the complete pre-state. `existence_log` is that of blocks before Cancun.
pub fn bundle(block: &RandomBlock, existence_log: Option<&ExistenceLog>) -> Value {
    let RandomBlock { seed, rules, parent, store, block_hashes, built, .. } = block;
    let accounts: BTreeMap<_, _> = store
        .iter()
        .map(|(address, account)| {
            let slots: BTreeMap<U256, U256> = account.storage.iter().map(|(key, value)| (*key, *value)).collect();
            let fields = json!({
                "nonce": U256::from(account.nonce), "balance": account.balance, "codeHash": account.code_hash,
                "storage": slots,
            });
            (*address, fields)
        })
        .collect();
    let codes: BTreeMap<&B256, &Bytes> = store.iter_codes().collect();
    let schedule = rules.blob_schedule;
    let parent_rlp = encoded(parent);
    let mut bundle = json!({
        "network": "balustrade-random",
        "chainId": rules.chain_id,
        "fork": rules.fork.name(),
        "family": "random",
        "number": built.header.number,
        "hash": built.header.hash(),
        "source": format!("random block, seed {seed}"),
        "blobSchedule": {
            "target": schedule.target, "max": schedule.max, "baseFeeUpdateFraction": schedule.base_fee_update_fraction,
        },
        "block": built.block,
        "parentHeader": parent_rlp,
        "headers": [parent_rlp],
        "preStateRoot": parent.state_root,
        "preStateComplete": true,
        "codes": codes.values().collect::<Vec<_>>(),
        "blockHashes": block_hashes.iter().copied().collect::<BTreeMap<u64, B256>>(),
        "preState": accounts,
        "blockAccessList": built.bal,
    });
    if let Some(existence_log) = existence_log.filter(|existence_log| !existence_log.is_empty()) {
        bundle["blockAccessListSidecar"] = json!(existence_log);
    }
    bundle
}

fn encoded(header: &Header) -> Bytes {
    let mut rlp = Vec::new();
    header.encode(&mut rlp);
    rlp.into()
}
