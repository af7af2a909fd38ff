//! EEST and GeneralStateTests state tests: one transaction on a state, per fork.
//!
//! In: the JSON value of one test. Out: [`StateTest`]. The transaction is taken from the test's
//! signed bytes, or signed here if the test has none.
//! Not here: execution.

use super::TestFormat;
use super::block_test::ConfigJson;
use super::cost::check_rlp_len;
use super::json::{self, Alloc, Entries};
use super::network::fixture_network;
use super::signed;
use crate::arena::store::MemoryStore;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::wire::{Header, assemble};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

/// A state, a block environment, and transactions with the expected result of each.
#[derive(Clone, Debug)]
pub struct StateTest {
    /// The test's name.
    pub name: String,
    /// State before the transaction.
    pub pre: MemoryStore,
    /// One transaction on one fork each.
    pub cases: Vec<StateCase>,
    env: Env,
}

/// One transaction on one fork.
#[derive(Clone, Debug)]
pub struct StateCase {
    /// The fork's name.
    pub fork_name: String,
    /// Its rules; `None` if it is not supported.
    pub rules: Option<ChainRules>,
    /// Indexes of data, gas limit and value among those of the test.
    pub indexes: [u64; 3],
    /// The signed transaction in its EIP-2718 encoding, or why it could not be signed.
    pub transaction: Result<Bytes, String>,
    /// Expected state root after the transaction.
    pub state_root: B256,
    /// Expected keccak256 of the RLP of the logs.
    pub logs_hash: B256,
    /// Names of the accepted exceptions, joined by `|`; `None` for a valid transaction.
    pub expect_exception: Option<String>,
}

impl StateTest {
    /// The RLP of a block with only the given transaction; the header's commitments are zero.
    pub fn block(&self, rules: &ChainRules, transaction: &Bytes) -> Bytes {
        let env = &self.env;
        let since = |fork: Fork| rules.fork >= fork;
        let header = Header {
            coinbase: env.coinbase,
            difficulty: if since(Fork::Paris) { U256::ZERO } else { env.difficulty },
            number: env.number,
            gas_limit: env.gas_limit,
            timestamp: env.timestamp,
            mix_hash: env.random.unwrap_or_default().into(),
            base_fee: since(Fork::London).then_some(env.base_fee),
            withdrawals_root: since(Fork::Shanghai).then_some(B256::ZERO),
            blob_gas_used: since(Fork::Cancun).then_some(0),
            excess_blob_gas: since(Fork::Cancun).then_some(env.excess_blob_gas),
            parent_beacon_root: since(Fork::Cancun).then_some(B256::ZERO),
            requests_hash: since(Fork::Prague).then_some(B256::ZERO),
            block_access_list_hash: since(Fork::Amsterdam).then_some(B256::ZERO),
            slot_number: since(Fork::Amsterdam).then_some(env.slot_number),
            ..Header::default()
        };
        assemble(&header, &[transaction]).into()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "an object with the fields of a block's environment")]
struct Env {
    #[serde(rename = "currentCoinbase")]
    coinbase: Address,
    #[serde(rename = "currentGasLimit", deserialize_with = "json::u64")]
    gas_limit: u64,
    #[serde(rename = "currentNumber", deserialize_with = "json::u64")]
    number: u64,
    #[serde(rename = "currentTimestamp", deserialize_with = "json::u64")]
    timestamp: u64,
    #[serde(rename = "currentDifficulty", default, deserialize_with = "json::u256")]
    difficulty: U256,
    #[serde(rename = "currentRandom")]
    random: Option<U256>,
    /// 10 wei if absent, as in older fixtures.
    #[serde(rename = "currentBaseFee", default = "base_fee_of_old_fixtures", deserialize_with = "json::u64")]
    base_fee: u64,
    #[serde(rename = "currentExcessBlobGas", default, deserialize_with = "json::u64")]
    excess_blob_gas: u64,
    #[serde(rename = "currentSlotNumber", alias = "slotNumber", default, deserialize_with = "json::u64")]
    slot_number: u64,
}

const fn base_fee_of_old_fixtures() -> u64 {
    10
}

/// The fields of a test's JSON that are read.
#[derive(Deserialize)]
#[serde(expecting = "an object with the fields of a state test")]
pub struct StateTestJson<'a> {
    env: Env,
    pre: Alloc,
    #[serde(borrow)]
    transaction: Option<&'a RawValue>,
    post: Entries<String, Vec<PostJson>>,
    #[serde(default)]
    config: ConfigJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of an expected result")]
struct PostJson {
    hash: B256,
    logs: B256,
    #[serde(rename = "txbytes")]
    transaction: Option<Bytes>,
    indexes: IndexesJson,
    expect_exception: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `data`, `gas` and `value`")]
struct IndexesJson {
    #[serde(deserialize_with = "json::u64")]
    data: u64,
    #[serde(deserialize_with = "json::u64")]
    gas: u64,
    #[serde(deserialize_with = "json::u64")]
    value: u64,
}

impl TestFormat for StateTest {
    type Json<'a> = StateTestJson<'a>;

    fn from_json(json: StateTestJson<'_>, name: String) -> serde_json::Result<Self> {
        let mut cases = Vec::new();
        // Cases may share data, but each signed transaction has its own copy, so their total length
        // is limited.
        let mut transaction_bytes = 0;
        for (fork_name, posts) in json.post.0 {
            let network = fixture_network(&fork_name, json.config.chain_id(), json.config.blob_schedules());
            let rules = network.map(|network| network.rules(json.env.number, json.env.timestamp));
            for post in posts {
                let indexes = [post.indexes.data, post.indexes.gas, post.indexes.value];
                let transaction = match (post.transaction, json.transaction) {
                    (Some(bytes), _) => Ok(bytes),
                    (None, Some(fields)) => signed::transaction(fields.get(), indexes, json.config.chain_id()),
                    (None, None) => Err("the test has no transaction".to_owned()),
                };
                transaction_bytes += transaction.as_ref().map_or(0, |bytes| bytes.len());
                check_rlp_len("transactions of a test", transaction_bytes).map_err(serde_json::Error::custom)?;
                cases.push(StateCase {
                    fork_name: fork_name.clone(),
                    rules,
                    indexes,
                    transaction,
                    state_root: post.hash,
                    logs_hash: post.logs,
                    expect_exception: post.expect_exception,
                });
            }
        }
        Ok(Self { name, pre: json.pre.into_store(Vec::new()), cases, env: json.env })
    }
}
