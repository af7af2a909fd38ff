//! Workload files: one call transaction each.
//!
//! In: JSON files. Out: [`Workload`]s. Not here: running them.

use crate::PeersError;
use alloy_primitives::{Address, Bytes, U256, address};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Sender of the transaction.
pub(crate) const SENDER: Address = address!("1000000000000000000000000000000000000001");
/// The called contract.
pub(crate) const TARGET: Address = address!("2000000000000000000000000000000000000002");
/// Balance of the sender, in wei.
pub(crate) const SENDER_BALANCE: U256 = U256::from_limbs([1 << 60, 0, 0, 0]);
/// Balance of the target, in wei.
pub(crate) const TARGET_BALANCE: U256 = U256::from_limbs([1_000_000_000, 0, 0, 0]);
/// Gas limit of the block.
pub(crate) const BLOCK_GAS_LIMIT: u64 = 30_000_000_000;

/// A call of a contract.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Workload {
    /// Name, unique within its group.
    pub(crate) name: String,
    /// Group over which geometric means are formed.
    #[serde(default)]
    pub(crate) group: String,
    /// Runtime code of the target.
    code: Hex,
    /// Input of the call.
    #[serde(default)]
    calldata: Hex,
    /// Gas limit of the transaction.
    pub(crate) gas: u64,
    /// Other accounts that the code uses; an entry for the target itself gives its storage.
    #[serde(default)]
    accounts: Vec<WorkloadAccount>,
}

#[derive(Clone, Debug, Deserialize)]
struct WorkloadAccount {
    address: Hex,
    #[serde(default)]
    balance: U256,
    #[serde(default)]
    code: Hex,
    #[serde(default)]
    storage: BTreeMap<String, String>,
}

/// An account of the state before the call.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) address: Address,
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code: Bytes,
    pub(crate) storage: Vec<(U256, U256)>,
}

#[derive(Clone, Debug, Default)]
struct Hex(Bytes);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        alloy_primitives::hex::decode(&text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

impl Workload {
    /// The target's code.
    pub(crate) fn code(&self) -> &Bytes {
        &self.code.0
    }

    /// The call's input.
    pub(crate) fn calldata(&self) -> &Bytes {
        &self.calldata.0
    }

    /// The state before the call: sender, target and the others.
    pub(crate) fn state(&self) -> Result<Vec<Account>, String> {
        let mut target = Account {
            address: TARGET,
            nonce: 1,
            balance: TARGET_BALANCE,
            code: self.code().clone(),
            storage: Vec::new(),
        };
        let sender =
            Account { address: SENDER, nonce: 0, balance: SENDER_BALANCE, code: Bytes::new(), storage: Vec::new() };
        let mut state = vec![sender];
        for other in &self.accounts {
            let address = Address::try_from(other.address.0.as_ref()).map_err(|error| format!("address: {error}"))?;
            let mut storage = Vec::new();
            for (key, value) in &other.storage {
                let word = |text: &str| U256::from_str_radix(text.trim_start_matches("0x"), 16);
                let slot = word(key).and_then(|key| Ok((key, word(value)?)));
                storage.push(slot.map_err(|error| format!("storage: {error}"))?);
            }
            if address == TARGET {
                target.storage = storage;
            } else {
                let code = other.code.0.clone();
                state.push(Account { address, nonce: 1, balance: other.balance, code, storage });
            }
        }
        state.push(target);
        Ok(state)
    }
}

/// All workloads of files and folders, in order of name.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<Workload>, PeersError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |error: std::io::Error| PeersError::Input { path: path.clone(), reason: error.to_string() };
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if entry.extension().is_some_and(|extension| extension == "json") {
                files.push(entry);
            }
        }
    }
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(path: &Path) -> Result<Workload, PeersError> {
    let failed = |reason: String| PeersError::Input { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let workload: Workload = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    workload.state().map_err(failed)?;
    Ok(workload)
}
