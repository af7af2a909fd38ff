//! The bundle of a captured block.
//!
//! In: the block, its list, what was read of the parent state, the outcome of our own execution. Out: the JSON that `run`
//! reads. Of the state it holds the trie nodes that can be reached from the parent's state root, and the codes of accounts
//! in them, sorted: equal blocks give equal bytes.
//! Not here: writing files (`workload::bundle`).

use alloy_primitives::{Address, B256, Bytes};
use balustrade::arena::node::{self, Child};
use balustrade::bal::bal_hash;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::MAINNET_DEPOSIT_CONTRACT;
use balustrade::{
    BlockOutcome, ChainRules, EMPTY_ROOT, ExistenceLog, Fork, Header, KECCAK_EMPTY, NodeQuery, StateStore, WitnessStore,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a bundle is made from.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The chain's name, or `chain` with its id.
    pub network: &'a str,
    /// The block's rules.
    pub rules: &'a ChainRules,
    /// How the state was read.
    pub strategy: &'static str,
    /// The block's RLP.
    pub block: &'a Bytes,
    /// Headers of ancestors, the parent first.
    pub headers: &'a [Header],
    /// What was read of the parent state.
    pub state: &'a WitnessStore,
    /// The outcome of the execution on that state.
    pub outcome: &'a BlockOutcome,
}

/// The JSON object. Its first key must be one of a bundle.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleJson<'a> {
    network: &'a str,
    chain_id: u64,
    fork: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_schedule: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_contract: Option<Address>,
    number: u64,
    hash: B256,
    source: String,
    verified: [&'static str; 5],
    block: &'a Bytes,
    parent_header: &'a Bytes,
    headers: Vec<&'a Bytes>,
    pre_state_root: B256,
    witness: WitnessJson<'a>,
    receipts: Vec<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Vec<Bytes>>,
    block_access_list: &'a Bytes,
    block_access_list_hash: B256,
    #[serde(rename = "blockAccessListSidecar", skip_serializing_if = "Option::is_none")]
    existence_log: Option<&'a ExistenceLog>,
    stats: Value,
}

#[derive(Serialize)]
struct WitnessJson<'a> {
    state: &'a BTreeSet<Bytes>,
    codes: &'a BTreeSet<Bytes>,
}

/// The JSON of a bundle, and how many trie nodes and codes it has.
///
/// # Errors
/// It cannot be serialized.
pub fn bundle_json(parts: &Parts<'_>) -> serde_json::Result<(Vec<u8>, usize, usize)> {
    let Parts { network, rules, strategy, block, headers, state, outcome } = *parts;
    let (nodes, codes) = reachable(state);
    let encoded: Vec<Bytes> = headers.iter().map(encoded).collect();
    let parent_header = encoded.first().cloned().unwrap_or_default();
    let schedule = rules.blob_schedule;
    let schedule = json!({
        "target": schedule.target, "max": schedule.max, "baseFeeUpdateFraction": schedule.base_fee_update_fraction,
    });
    let document = BundleJson {
        network,
        chain_id: rules.chain_id,
        fork: rules.fork.name(),
        blob_schedule: (rules.fork >= Fork::Cancun).then_some(schedule),
        deposit_contract: (rules.deposit_contract != assumed_deposit_contract(rules.chain_id))
            .then_some(rules.deposit_contract),
        number: outcome.number,
        hash: outcome.hash,
        source: format!("balustrade {} capture --strategy {strategy}", env!("CARGO_PKG_VERSION")),
        verified: ["gasUsed", "receiptsRoot", "logsBloom", "requestsHash", "stateRoot"],
        block,
        parent_header: &parent_header,
        headers: encoded.iter().rev().collect(),
        pre_state_root: state.state_root(),
        witness: WitnessJson { state: &nodes, codes: &codes },
        receipts: outcome.receipts.iter().map(Bytes::copy_from_slice).collect(),
        requests: (rules.fork >= Fork::Prague).then(|| outcome.requests.iter().cloned().map(Bytes::from).collect()),
        block_access_list: &outcome.bal,
        block_access_list_hash: bal_hash(&outcome.bal),
        existence_log: (rules.fork < Fork::Cancun).then_some(&outcome.existence_log),
        stats: json!({
            "transactions": outcome.transactions.len(), "gasUsed": outcome.gas_used, "listBytes": outcome.bal.len(),
            "accounts": outcome.reads.accounts, "slots": outcome.reads.slots,
        }),
    };
    Ok((serde_json::to_vec(&document)?, nodes.len(), codes.len()))
}

fn encoded(header: &Header) -> Bytes {
    let mut rlp = Vec::new();
    header.encode(&mut rlp);
    rlp.into()
}

/// The deposit contract that readers of a bundle assume where it names none.
fn assumed_deposit_contract(chain_id: u64) -> Address {
    ChainConfig::of_chain_id(chain_id).map_or(MAINNET_DEPOSIT_CONTRACT, |chain| chain.deposit_contract)
}

/// The trie nodes that can be reached from the state root through others, and the codes of the accounts in them.
fn reachable(state: &WitnessStore) -> (BTreeSet<Bytes>, BTreeSet<Bytes>) {
    let (mut nodes, mut codes) = (BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    let mut next = vec![(state.state_root(), true)];
    while let Some((hash, accounts)) = next.pop() {
        let mut rlp = [Bytes::new()];
        let query = NodeQuery { hash, ..NodeQuery::default() };
        if !seen.insert((hash, accounts)) || state.trie_nodes(&[query], &mut rlp).is_err() {
            continue;
        }
        let [rlp] = rlp;
        let mut embedded = vec![&rlp[..]];
        while let Some(rlp) = embedded.pop() {
            let mut child = |child: &Child<'_>| match child {
                Child::Hash(hash) => next.push((**hash, accounts)),
                Child::Empty | Child::Embedded(_) => {}
            };
            // A node that does not decode is an error of the execution that reads it.
            match node::decode(rlp) {
                Ok(node::Node::Branch(children)) => {
                    children.iter().for_each(&mut child);
                    embedded.extend(children.iter().filter_map(inner));
                }
                Ok(node::Node::Extension { child: below, .. }) => {
                    child(&below);
                    embedded.extend(inner(&below));
                }
                Ok(node::Node::Leaf { value, .. }) if accounts => {
                    let Ok(account) = node::decode_account(value) else { continue };
                    if account.storage_root != EMPTY_ROOT {
                        next.push((account.storage_root, false));
                    }
                    let mut code = [None];
                    if account.code_hash != KECCAK_EMPTY && state.codes(&[account.code_hash], &mut code).is_ok() {
                        codes.extend(code.into_iter().flatten());
                    }
                }
                Ok(node::Node::Leaf { .. }) | Err(_) => {}
            }
        }
        nodes.insert(rlp);
    }
    (nodes, codes)
}

fn inner<'a>(child: &Child<'a>) -> Option<&'a [u8]> {
    match child {
        Child::Embedded(rlp) => Some(rlp),
        Child::Empty | Child::Hash(_) => None,
    }
}
