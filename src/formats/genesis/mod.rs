//! Genesis files in go-ethereum's form: a chain's schedule, its first header and its first state.
//!
//! In: JSON. Out: [`Genesis`]; [`Genesis::seal`] computes the state root by our own tries and with it the header, whose
//! hash names the chain. Keys are taken in any case of letters, as Go takes them.
//! Not here: the rules that a schedule selects (`exec::rules::chain`, `exec::rules::fork`), execution.

#[cfg(test)]
mod tests;

use super::json::{self, Alloc, Entries, Quantity};
use crate::arena::store::MemoryStore;
use crate::exec::block::verify::requests_hash;
use crate::exec::rules::chain::{ChainConfig, ChainError, Step};
use crate::exec::rules::fork::{BlobSchedule, Fork};
use crate::exec::rules::header::EMPTY_OMMERS_HASH;
use crate::exec::wire::Header;
use crate::trie::{EMPTY_ROOT, StateTries, TrieError};
use alloy_primitives::{Address, B64, B256, U256, b256};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::value::RawValue;

/// keccak256 of an empty list's RLP: the access list hash of a genesis block that begins in Amsterdam.
const EMPTY_LIST_HASH: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
/// What go-ethereum takes for a gas limit of zero.
const DEFAULT_GAS_LIMIT: u64 = 4_712_388;
/// EIP-1559: the base fee of a genesis block that names none.
const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// Why a genesis file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Not JSON, or JSON of another shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A part that no genesis can do without.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The schedule.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The state.
    #[error("the state: {0}")]
    State(#[from] TrieError),
}

/// A chain's beginning.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The chain, its schedule checked.
    pub config: ChainConfig,
    /// The state that the first block builds on.
    pub state: MemoryStore,
    /// The header but for the state root.
    header: Header,
}

/// The part of a header that a file chooses; everything else follows from the schedule.
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
    /// [`GenesisError`]; a schedule that cannot be followed is [`GenesisError::Chain`].
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

    /// The header, with the state root that the state's tries have, and these tries.
    ///
    /// # Errors
    /// [`GenesisError::State`].
    pub fn seal(&self) -> Result<(Header, StateTries), GenesisError> {
        let tries = StateTries::from_memory(&self.state)?;
        Ok((self.header_with(tries.root()), tries))
    }

    /// The header over a state with this root.
    pub fn header_with(&self, state_root: B256) -> Header {
        Header { state_root, ..self.header.clone() }
    }
}

impl Fields {
    /// Everything but the state root; which fields there are is the schedule's word.
    fn into_header(self, config: &ChainConfig) -> Result<Header, GenesisError> {
        let gas_limit = self.gas_limit.ok_or(GenesisError::Missing("gasLimit"))?;
        let difficulty = self.difficulty.ok_or(GenesisError::Missing("difficulty"))?;
        // A header of difficulty zero would count as one of proof of stake, which a genesis need not be.
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
            block_access_list_hash: since(Fork::Amsterdam).then_some(EMPTY_LIST_HASH),
            slot_number: since(Fork::Amsterdam).then_some(self.slot_number),
            ..self.header
        })
    }
}

/// Blob parameters as JSON writes them.
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

/// The `config` section, checked. Keys that are no fork's are ignored; a fork that is not known is an error.
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

/// A number in any spelling, whatever its width: total difficulties are plain numbers that no float can hold.
fn quantity(value: &RawValue) -> Result<U256, serde_json::Error> {
    let text = value.get().trim_matches('"');
    let number = Quantity::parse(text).ok_or_else(|| serde_json::Error::custom(format!("not a number: {text}")))?;
    Ok(number.0)
}

fn quantity_u64(value: &RawValue) -> Result<u64, serde_json::Error> {
    u64::try_from(quantity(value)?).map_err(|_| serde_json::Error::custom("the number is wider than 64 bits"))
}
