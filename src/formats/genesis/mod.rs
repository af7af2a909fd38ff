//! Genesis files in go-ethereum's format: fork schedule, genesis header and genesis state.
//!
//! In: JSON. Out: [`Genesis`]; [`Genesis::seal`] computes the state root and the complete header.
//! Keys are case-insensitive, as in Go.
//! Not here: the rules of a schedule (`exec::rules::chain`, `exec::rules::fork`), execution.

#[cfg(test)]
mod tests;

use super::json::{self, Alloc, Entries, Quantity};
use crate::arena::store::MemoryStore;
use crate::exec::block::verify::requests_hash;
use crate::exec::rules::chain::{ChainConfig, ChainError, Step};
use crate::exec::rules::fork::{BlobSchedule, Fork};
use crate::exec::rules::header::{EMPTY_OMMERS_HASH, INITIAL_BASE_FEE};
use crate::exec::wire::Header;
use crate::trie::{EMPTY_ROOT, StateTries, TrieError};
use alloy_primitives::{Address, B64, B256, U256};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::json;
use serde_json::value::RawValue;

/// Gas limit that go-ethereum substitutes for zero.
const DEFAULT_GAS_LIMIT: u64 = 4_712_388;

/// Why a genesis file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Not JSON, or JSON of a different structure.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A required field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The `config` section is invalid or unsupported.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The state's tries cannot be built.
    #[error("the state: {0}")]
    State(#[from] TrieError),
}

/// A chain's genesis: configuration, state and header.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The chain's configuration, with a consistent fork schedule.
    pub config: ChainConfig,
    /// The state that the first block builds on.
    pub state: MemoryStore,
    /// The header without the state root.
    header: Header,
}

/// The header fields that a file sets; the others follow from the fork schedule.
#[derive(Default)]
struct Fields {
    gas_limit: Option<u64>,
    difficulty: Option<U256>,
    base_fee: Option<u64>,
    excess_blob_gas: u64,
    blob_gas_used: u64,
    slot_number: u64,
    header: Header,
}

impl Genesis {
    /// Reads a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`]; an inconsistent or unsupported fork schedule is [`GenesisError::Chain`].
    pub fn from_json(json: &[u8]) -> Result<Self, GenesisError> {
        let entries: Entries<String, &RawValue> = serde_json::from_slice(json)?;
        let mut config = None;
        let mut alloc: Option<Alloc> = None;
        let mut fields = Fields::default();
        for (key, value) in entries.0 {
            if value.get() == "null" {
                continue;
            }
            let header = &mut fields.header;
            match key.to_ascii_lowercase().as_str() {
                "config" => config = Some(read_config(value)?),
                "alloc" => alloc = Some(parse(value)?),
                "nonce" => header.nonce = B64::from(quantity_u64(value)?),
                "timestamp" => header.timestamp = quantity_u64(value)?,
                "extradata" => header.extra_data = parse(value)?,
                "mixhash" => header.mix_hash = parse(value)?,
                "coinbase" => header.coinbase = parse(value)?,
                "number" => header.number = quantity_u64(value)?,
                "gasused" => header.gas_used = quantity_u64(value)?,
                "parenthash" => header.parent_hash = parse(value)?,
                "gaslimit" => fields.gas_limit = Some(quantity_u64(value)?),
                "difficulty" => fields.difficulty = Some(quantity(value)?),
                "basefeepergas" => fields.base_fee = Some(quantity_u64(value)?),
                "excessblobgas" => fields.excess_blob_gas = quantity_u64(value)?,
                "blobgasused" => fields.blob_gas_used = quantity_u64(value)?,
                "slotnumber" => fields.slot_number = quantity_u64(value)?,
                _ => {}
            }
        }
        let config = config.ok_or(GenesisError::Missing("config"))?;
        let header = fields.into_header(&config)?;
        let state = alloc.ok_or(GenesisError::Missing("alloc"))?.into_store(Vec::new());
        Ok(Self { config, state, header })
    }

    /// Builds the state's tries. Returns the header with their root, and the tries.
    ///
    /// # Errors
    /// [`GenesisError::State`] if the tries cannot be built.
    pub fn seal(&self) -> Result<(Header, StateTries), GenesisError> {
        let tries = StateTries::from_memory(&self.state)?;
        Ok((self.header_with(tries.root()), tries))
    }

    /// The header with this state root.
    pub fn header_with(&self, state_root: B256) -> Header {
        Header { state_root, ..self.header.clone() }
    }
}

/// Reads a chain's schedule from the `config` section of a genesis file, whose other sections may be
/// missing.
///
/// # Errors
/// [`GenesisError`], but not [`GenesisError::State`].
pub fn chain_from_json(json: &[u8]) -> Result<ChainConfig, GenesisError> {
    let entries: Entries<String, &RawValue> = serde_json::from_slice(json)?;
    let config = entries.0.into_iter().find(|(key, _)| key.eq_ignore_ascii_case("config"));
    read_config(config.ok_or(GenesisError::Missing("config"))?.1)
}

/// Writes a chain's schedule as the `config` section of a genesis file. [`chain_from_json`] reads the
/// same schedule from it.
pub fn chain_to_json(chain: &ChainConfig) -> String {
    let mut config = serde_json::Map::new();
    let mut set = |key: &str, value: serde_json::Value| drop(config.insert(key.to_owned(), value));
    set("chainId", chain.chain_id.into());
    for (step, at) in chain.schedule() {
        set(step.key(), at.into());
    }
    set("daoForkSupport", chain.dao_support.into());
    if let Some(difficulty) = chain.terminal_total_difficulty {
        set("terminalTotalDifficulty", difficulty.to_string().into());
    }
    set("depositContractAddress", chain.deposit_contract.to_string().into());
    if let Some(active) = chain.storage_collision {
        set("storageCollision", active.into());
    }
    let blobs = Step::BLOBS.into_iter().filter_map(|step| Some((step, chain.blobs[step as usize]?)));
    let blobs = blobs.map(|(step, BlobSchedule { target, max, base_fee_update_fraction })| {
        let schedule = json!({"target": target, "max": max, "baseFeeUpdateFraction": base_fee_update_fraction});
        (step.key().trim_end_matches("Time").to_owned(), schedule)
    });
    set("blobSchedule", serde_json::Value::Object(blobs.collect()));
    format!("{:#}\n", json!({"config": config}))
}

impl Fields {
    /// The header without the state root; the fork schedule determines which optional fields are
    /// present.
    fn into_header(self, config: &ChainConfig) -> Result<Header, GenesisError> {
        let gas_limit = self.gas_limit.ok_or(GenesisError::Missing("gasLimit"))?;
        let difficulty = self.difficulty.ok_or(GenesisError::Missing("difficulty"))?;
        // The fork is taken from number and time alone: a difficulty of zero does not make a
        // genesis a proof-of-stake block.
        let fork = config.rules(self.header.number, self.header.timestamp).fork;
        let since = |since: Fork| fork >= since;
        Ok(Header {
            ommers_hash: EMPTY_OMMERS_HASH,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            gas_limit: if gas_limit == 0 { DEFAULT_GAS_LIMIT } else { gas_limit },
            difficulty,
            base_fee: since(Fork::London).then(|| self.base_fee.unwrap_or(INITIAL_BASE_FEE)),
            withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT),
            blob_gas_used: since(Fork::Cancun).then_some(self.blob_gas_used),
            excess_blob_gas: since(Fork::Cancun).then_some(self.excess_blob_gas),
            parent_beacon_root: since(Fork::Cancun).then_some(B256::ZERO),
            requests_hash: since(Fork::Prague).then(|| requests_hash(&[])),
            block_access_list_hash: since(Fork::Amsterdam).then_some(EMPTY_OMMERS_HASH),
            slot_number: since(Fork::Amsterdam).then_some(self.slot_number),
            ..self.header
        })
    }
}

/// JSON form of blob parameters (EIP-7840).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `target`, `max` and `baseFeeUpdateFraction`")]
pub struct BlobScheduleJson {
    #[serde(deserialize_with = "json::u64")]
    target: u64,
    #[serde(deserialize_with = "json::u64")]
    max: u64,
    #[serde(deserialize_with = "json::u64")]
    base_fee_update_fraction: u64,
}

impl From<BlobScheduleJson> for BlobSchedule {
    fn from(json: BlobScheduleJson) -> Self {
        Self { target: json.target, max: json.max, base_fee_update_fraction: json.base_fee_update_fraction }
    }
}

/// Reads and checks the `config` section. An unknown key is an error if its name is that of a fork
/// (`...Block`, `...Time`), and ignored otherwise.
fn read_config(json: &RawValue) -> Result<ChainConfig, GenesisError> {
    let entries: Entries<String, &RawValue> = serde_json::from_str(json.get())?;
    let mut chain = ChainConfig::frontier(0);
    for (key, value) in entries.0 {
        if value.get() == "null" {
            continue;
        }
        if let Some(step) = Step::from_key(&key) {
            chain = chain.with(step, quantity_u64(value)?);
            continue;
        }
        let lower = key.to_ascii_lowercase();
        match lower.as_str() {
            "chainid" => chain.chain_id = quantity_u64(value)?,
            // Not a key of go-ethereum: whether EIP-7610 is in force in all forks.
            "storagecollision" => chain.storage_collision = Some(parse(value)?),
            "daoforksupport" => chain.dao_support = parse(value)?,
            "terminaltotaldifficulty" => chain.terminal_total_difficulty = Some(quantity(value)?),
            "depositcontractaddress" => chain.deposit_contract = parse::<Address>(value)?,
            "blobschedule" => read_blob_schedules(value, &mut chain)?,
            "clique" => return Err(ChainError::Unsupported("proof of authority").into()),
            "enableverkleatgenesis" | "enableubtatgenesis" if parse(value)? => {
                return Err(ChainError::Unsupported("binary or Verkle tries").into());
            }
            _ if lower.ends_with("block") || lower.ends_with("time") => {
                return Err(ChainError::UnknownFork(key).into());
            }
            _ => {}
        }
    }
    chain.check()?;
    Ok(chain)
}

fn read_blob_schedules(json: &RawValue, chain: &mut ChainConfig) -> Result<(), GenesisError> {
    let entries: Entries<String, Option<BlobScheduleJson>> = serde_json::from_str(json.get())?;
    for (name, schedule) in entries.0 {
        let step = Step::from_key(&format!("{name}Time")).filter(|step| Step::BLOBS.contains(step));
        let step = step.ok_or(ChainError::UnknownFork(name))?;
        if let Some(schedule) = schedule {
            chain.blobs[step as usize] = Some(schedule.into());
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(value: &RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(value.get())
}

/// A number in any of the text forms, up to 256 bits: total difficulties are written as JSON
/// numbers beyond the range of u64.
fn quantity(value: &RawValue) -> Result<U256, serde_json::Error> {
    let text = value.get().trim_matches('"');
    let number = Quantity::parse(text).ok_or_else(|| serde_json::Error::custom(format!("not a number: {text}")))?;
    Ok(number.0)
}

fn quantity_u64(value: &RawValue) -> Result<u64, serde_json::Error> {
    u64::try_from(quantity(value)?).map_err(|_| serde_json::Error::custom("the number is wider than 64 bits"))
}
