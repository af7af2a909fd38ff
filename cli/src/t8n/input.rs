//! What a transition reads: state, environment and transactions, in the JSON of go-ethereum's `evm t8n` and of
//! execution-specs.
//!
//! In: the text of each part, a fork's name. Out: [`Task`], from which the library's [`TransitionInput`] is made.
//! Numbers are `0x` hex of any length, decimal digits in a string, or JSON numbers.
//! Not here: where the text comes from (`mod`, `server`).

use super::{Code, T8nError};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::{Decodable, Encodable, PayloadView};
use balustrade::chain::ChainConfig;
use balustrade::exec::rules::header::next_difficulty;
use balustrade::executor::{Body, TransitionInput};
use balustrade::formats::genesis::BlobScheduleJson;
use balustrade::formats::json::{self, Alloc, Entries, Quantity};
use balustrade::formats::{Signing, encode_transaction, network_chain};
use balustrade::{ChainRules, Fork, Header, MemoryStore, next_base_fee, next_excess_blob_gas};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The rules and the rewards of a transition: the options `--state.*`, or `state` of a request.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name of the fork or of a transition between two forks, see [`FORKS`].
    pub fork: String,
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Reward in wei of a block without ommers; negative: none.
    pub reward: i64,
}

/// The parts of the input as JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The state before the block.
    pub alloc: &'a str,
    /// The block's environment.
    pub env: &'a str,
    /// An array of transactions, or a string with the hex of an RLP list.
    pub txs: &'a str,
    /// Blob parameters in place of the fork's.
    pub blob_params: Option<&'a str>,
}

/// The names of the forks as tools that call `t8n` spell them, oldest first.
pub const FORKS: &[&str] = &[
    "Frontier",
    "Homestead",
    "EIP150",
    "TangerineWhistle",
    "EIP158",
    "SpuriousDragon",
    "Byzantium",
    "Constantinople",
    "ConstantinopleFix",
    "Petersburg",
    "Istanbul",
    "MuirGlacier",
    "Berlin",
    "London",
    "ArrowGlacier",
    "GrayGlacier",
    "Merge",
    "Paris",
    "Shanghai",
    "Cancun",
    "Prague",
    "Osaka",
    "BPO1",
    "BPO2",
    "BPO3",
    "BPO4",
    "BPO5",
    "Amsterdam",
];

/// A transition, ready to run.
#[derive(Debug)]
pub struct Task {
    /// The rules of the block.
    pub rules: ChainRules,
    /// The header's fields that the input determines.
    pub template: Header,
    /// The state before the block, and the hashes of its ancestors.
    pub store: MemoryStore,
    /// EIP-2718 encodings of the transactions.
    pub transactions: Vec<Vec<u8>>,
    withdrawals: Vec<Vec<u8>>,
    ommers: Vec<(Address, u64)>,
    reward: Option<U256>,
}

impl Task {
    /// Reads the parts.
    ///
    /// # Errors
    /// A part is not the JSON that it should be, lacks what the fork needs, or contradicts it.
    pub fn read(setting: &Setting, parts: Parts<'_>) -> Result<Self, T8nError> {
        let env: Env = from_json("env", parts.env)?;
        let alloc: Alloc = from_json("alloc", parts.alloc)?;
        let blobs: Option<BlobScheduleJson> =
            parts.blob_params.map(|text| from_json("blobParams", text)).transpose()?;
        let chain = network_chain(&setting.fork, setting.chain_id).ok_or_else(|| unknown_fork(&setting.fork))?;
        // As for fixtures: they were filled with EIP-7610 in all forks.
        let chain = ChainConfig { storage_collision: Some(true), ..chain };
        let mut rules = chain.rules(env.number, env.timestamp);
        if let Some(blobs) = blobs {
            rules.blob_schedule = blobs.into();
        }
        let template = env.header(&rules)?;
        let mut store = alloc.into_store(Vec::new());
        for (number, hash) in &env.block_hashes.0 {
            store.insert_block_hash(number.0, hash.0);
        }
        let signing = Signing { chain_id: setting.chain_id, protects: rules.fork >= Fork::SpuriousDragon };
        let far = env.ommers.iter().find(|ommer| ommer.delta.0 > 8);
        if let Some(far) = far {
            return Err(config(format!("the ommer delta {} is above 8, where the reward ends", far.delta.0)));
        }
        let reward = u64::try_from(setting.reward).ok();
        Ok(Self {
            template,
            store,
            transactions: transactions(parts.txs, signing)?,
            withdrawals: env.withdrawals.iter().flatten().map(Withdrawal::encode).collect(),
            ommers: env.ommers.iter().map(|ommer| (ommer.address, ommer.delta.0)).collect(),
            // A reward of zero creates the beneficiary before Spurious Dragon. Proof of stake has no reward.
            reward: reward.filter(|reward| *reward > 0 || rules.fork < Fork::Paris).map(U256::from),
            rules,
        })
    }

    /// The input of the library.
    pub fn input(&self) -> TransitionInput<'_> {
        let mut input = TransitionInput::new(&self.rules, &self.template);
        input.body = Body { transactions: &self.transactions, withdrawals: &self.withdrawals };
        (input.ommers, input.reward) = (&self.ommers, self.reward);
        input
    }
}

fn unknown_fork(name: &str) -> T8nError {
    let name: String = name.chars().take(60).collect();
    config(format!("the fork {name:?} is not known; the known ones are {}", FORKS.join(", ")))
}

/// An error of the kind "configuration".
fn config(what: impl Into<String>) -> T8nError {
    T8nError { code: Code::Config, what: what.into() }
}

/// Parses a part of the input.
pub fn from_json<'a, T: Deserialize<'a>>(part: &str, text: &'a str) -> Result<T, T8nError> {
    serde_json::from_str(text).map_err(|error| T8nError { code: Code::Json, what: format!("{part}: {error}") })
}

/// The EIP-2718 encodings of the transactions in a JSON array or in RLP.
fn transactions(text: &str, signing: Signing) -> Result<Vec<Vec<u8>>, T8nError> {
    if text.trim_start().starts_with('"') {
        let bytes: Bytes = from_json("txs", text)?;
        return rlp_list(&bytes);
    }
    let list: Option<Vec<&RawValue>> = from_json("txs", text)?;
    let encode = |(index, json): (usize, &&RawValue)| {
        let encoded = encode_transaction(json.get(), signing);
        encoded
            .map(|bytes| bytes.to_vec())
            .map_err(|error| T8nError { code: Code::Json, what: format!("transaction {index}: {error}") })
    };
    list.iter().flatten().enumerate().map(encode).collect()
}

/// The transactions in the RLP of a list as in the body of a block: legacy ones are lists, typed ones strings.
fn rlp_list(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, T8nError> {
    let malformed = |error: alloy_rlp::Error| T8nError { code: Code::Rlp, what: format!("txs: {error}") };
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let items = match alloy_rlp::Header::decode_raw(&mut bytes).map_err(malformed)? {
        PayloadView::List(items) if bytes.is_empty() => items,
        PayloadView::List(_) => return Err(malformed(alloy_rlp::Error::UnexpectedLength)),
        PayloadView::String(_) => return Err(malformed(alloy_rlp::Error::UnexpectedString)),
    };
    let transaction = |mut item: &[u8]| match item.first() {
        Some(0xc0..=0xff) => Ok(item.to_vec()),
        _ => Bytes::decode(&mut item).map(|bytes| bytes.to_vec()).map_err(malformed),
    };
    items.into_iter().map(transaction).collect()
}

/// A number of at most 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Narrow(u64);

impl<'de> Deserialize<'de> for Narrow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::u64(deserializer).map(Self)
    }
}

/// A hash, also in the short forms of a number.
#[derive(Clone, Copy, Debug, Default)]
struct Hash(B256);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Quantity::deserialize(deserializer).map(|number| Self(number.0.into()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a block's environment")]
struct Env {
    #[serde(rename = "currentCoinbase")]
    coinbase: Address,
    #[serde(rename = "currentGasLimit", deserialize_with = "json::u64")]
    gas_limit: u64,
    #[serde(rename = "currentNumber", deserialize_with = "json::u64")]
    number: u64,
    #[serde(rename = "currentTimestamp", deserialize_with = "json::u64")]
    timestamp: u64,
    current_difficulty: Option<Quantity>,
    current_random: Option<Hash>,
    current_base_fee: Option<Narrow>,
    current_excess_blob_gas: Option<Narrow>,
    parent_difficulty: Option<Quantity>,
    parent_base_fee: Option<Narrow>,
    parent_gas_used: Option<Narrow>,
    parent_gas_limit: Option<Narrow>,
    parent_timestamp: Option<Narrow>,
    parent_uncle_hash: Option<Hash>,
    parent_excess_blob_gas: Option<Narrow>,
    parent_blob_gas_used: Option<Narrow>,
    parent_beacon_block_root: Option<Hash>,
    parent_hash: Option<Hash>,
    #[serde(default)]
    block_hashes: Entries<Narrow, Hash>,
    #[serde(default)]
    ommers: Vec<Ommer>,
    withdrawals: Option<Vec<Withdrawal>>,
    #[serde(alias = "currentSlotNumber")]
    slot_number: Option<Narrow>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `delta` and `address`")]
struct Ommer {
    delta: Narrow,
    address: Address,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a withdrawal")]
struct Withdrawal {
    index: Narrow,
    validator_index: Narrow,
    address: Address,
    amount: Narrow,
}

impl Withdrawal {
    /// Its RLP (EIP-4895).
    fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        self.index.0.encode(&mut fields);
        self.validator_index.0.encode(&mut fields);
        self.address.encode(&mut fields);
        self.amount.0.encode(&mut fields);
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut out);
        out.extend_from_slice(&fields);
        out
    }
}

impl Env {
    /// The header's fields that the environment determines: given, or computed from the parent's.
    fn header(&self, rules: &ChainRules) -> Result<Header, T8nError> {
        let since = |fork: Fork| rules.fork >= fork;
        let (base_fee, difficulty) = (self.base_fee(rules)?, self.difficulty(rules)?);
        if since(Fork::Paris) && self.current_random.is_none() {
            return Err(config("currentRandom is missing, which every proof-of-stake block has"));
        }
        if since(Fork::Shanghai) && self.withdrawals.is_none() {
            return Err(config("withdrawals are missing, which every block has from Shanghai on"));
        }
        if !since(Fork::Shanghai) && self.withdrawals.as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(config("withdrawals exist from Shanghai on"));
        }
        let root = self.parent_beacon_block_root.map(|root| root.0);
        if since(Fork::Cancun) && root.is_none() {
            return Err(config("parentBeaconBlockRoot is missing, which every block has from Cancun on"));
        }
        let slot = self.slot_number.map(|slot| slot.0);
        if since(Fork::Amsterdam) && slot.is_none() {
            return Err(config("slotNumber is missing, which every block has from Amsterdam on"));
        }
        let parent = self.number.checked_sub(1);
        let hash_of = |number: u64| self.block_hashes.0.iter().find(|(at, _)| at.0 == number).map(|(_, hash)| hash.0);
        let parent_hash = parent.and_then(hash_of).or(self.parent_hash.map(|hash| hash.0));
        Ok(Header {
            parent_hash: parent_hash.unwrap_or_default(),
            coinbase: self.coinbase,
            difficulty,
            number: self.number,
            gas_limit: self.gas_limit,
            timestamp: self.timestamp,
            mix_hash: self.current_random.map(|random| random.0).unwrap_or_default(),
            base_fee,
            excess_blob_gas: since(Fork::Cancun).then(|| self.excess_blob_gas(rules)),
            parent_beacon_root: root.filter(|_| since(Fork::Cancun)),
            slot_number: slot.filter(|_| since(Fork::Amsterdam)),
            ..Header::default()
        })
    }

    /// The base fee in wei per gas, from London on.
    fn base_fee(&self, rules: &ChainRules) -> Result<Option<u64>, T8nError> {
        if rules.fork < Fork::London {
            return Ok(None);
        }
        if let Some(given) = self.current_base_fee {
            return Ok(Some(given.0));
        }
        let parent = (self.parent_base_fee, self.parent_gas_used, self.parent_gas_limit);
        let (Some(base_fee), Some(gas_used), Some(gas_limit)) = parent else {
            return Err(config(
                "currentBaseFee is missing, and so is one of parentBaseFee, parentGasUsed and parentGasLimit, from which \
                 it is computed",
            ));
        };
        let parent =
            Header { base_fee: Some(base_fee.0), gas_used: gas_used.0, gas_limit: gas_limit.0, ..Header::default() };
        Ok(Some(next_base_fee(&parent)))
    }

    /// The difficulty; zero from Paris on.
    fn difficulty(&self, rules: &ChainRules) -> Result<U256, T8nError> {
        let given = self.current_difficulty.map(|difficulty| difficulty.0);
        if rules.fork >= Fork::Paris {
            return match given {
                Some(difficulty) if !difficulty.is_zero() => {
                    Err(config("currentDifficulty is not zero, as that of every proof-of-stake block"))
                }
                _ => Ok(U256::ZERO),
            };
        }
        if let Some(given) = given {
            return Ok(given);
        }
        let (Some(difficulty), Some(timestamp)) = (self.parent_difficulty, self.parent_timestamp) else {
            return Err(config(
                "currentDifficulty is missing, and so is one of parentDifficulty and parentTimestamp, from which it is \
                 computed",
            ));
        };
        let Some(parent_number) = self.number.checked_sub(1) else {
            return Err(config("currentDifficulty is missing, and block 0 has no parent to compute it from"));
        };
        if self.timestamp <= timestamp.0 {
            let (current, parent) = (self.timestamp, timestamp.0);
            return Err(config(format!("currentTimestamp {current} is not later than parentTimestamp {parent}")));
        }
        let uncles = self.parent_uncle_hash.map(|hash| hash.0).filter(|hash| !hash.is_zero());
        let parent = Header {
            difficulty: difficulty.0,
            timestamp: timestamp.0,
            number: parent_number,
            ommers_hash: uncles.unwrap_or(balustrade::exec::rules::header::EMPTY_OMMERS_HASH),
            ..Header::default()
        };
        Ok(next_difficulty(rules, self.number, self.timestamp, &parent))
    }

    /// The excess blob gas. What is missing of the parent counts as zero, as for a parent before Cancun.
    fn excess_blob_gas(&self, rules: &ChainRules) -> u64 {
        let number = |field: Option<Narrow>| field.map(|field| field.0);
        let parent = Header {
            excess_blob_gas: number(self.parent_excess_blob_gas),
            blob_gas_used: number(self.parent_blob_gas_used),
            base_fee: number(self.parent_base_fee),
            ..Header::default()
        };
        number(self.current_excess_blob_gas).unwrap_or_else(|| next_excess_blob_gas(rules, &parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fork_is_known_by_its_name() {
        let names: Vec<&str> = FORKS.iter().copied().filter(|name| network_chain(name, 1).is_none()).collect();
        assert!(names.is_empty(), "{names:?}");
        for fork in Fork::ALL {
            assert!(FORKS.iter().any(|name| Fork::from_name(name) == Some(fork)), "{fork:?}");
        }
    }

    #[test]
    fn rlp_lists_of_transactions() {
        let legacy = [&[0xc3][..], &[1, 2, 3]].concat();
        let list = [&[0xc0 + 4 + 3][..], &legacy, &[0x82, 0x02, 0xc0]].concat();
        assert_eq!(rlp_list(&list).ok(), Some(vec![legacy, vec![0x02, 0xc0]]));
        assert_eq!(rlp_list(&[]).map(|list| list.len()).ok(), Some(0));
        for wrong in [&[0x82, 1, 2][..], &[0xc2, 1], &[0xc1, 1, 0], &[0xc1, 0x82]] {
            assert!(rlp_list(wrong).is_err_and(|error| error.code == Code::Rlp), "{wrong:?}");
        }
    }
}
