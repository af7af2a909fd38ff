//! Writes bundles: a block with its state, in the format that `run` and other readers of bundles
//! take. `capture` writes its bundles through [`Target`] and [`write_document`], too.
//!
//! In: a block and the chain before it. Out: a JSON file, gzipped unless its name ends with
//! `.json`; equal blocks give equal bytes. The state is streamed in order of addresses, so that the
//! JSON text is never in memory as a whole. Not here: reading (`balustrade::formats`).

use super::super::engine::Failure;
use super::super::output::{OutputError, OutputFile};
use super::WorkloadError;
use super::generator::{Generator, Made};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::TxIndex;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryAccount, MemoryStore};
use balustrade::bal::{self, BalColumns, Limits};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The part of the pre-state that a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole pre-state.
    Complete,
    /// The accounts and slots that the block reads, and the trie nodes that it needs.
    Witness,
}

/// The target of the bundles.
#[derive(Clone, Debug)]
pub enum Target {
    /// A folder; each bundle has a file with its name.
    Folder(PathBuf),
    /// This file, for a single bundle.
    File(PathBuf),
}

impl Target {
    /// Interprets the value of `--out`; a missing folder is created.
    ///
    /// # Errors
    /// `out` is a file but there are several blocks, or the folder cannot be created.
    pub fn new(out: &Path, blocks: u64) -> Result<Self, WorkloadError> {
        let name = out.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_special = out.metadata().is_ok_and(|found| !found.is_dir() && !found.is_file());
        if !out.is_dir() && (is_special || name.ends_with(".json") || name.ends_with(".json.gz")) {
            let single = Ok(Self::File(out.to_owned()));
            return if blocks == 1 {
                single
            } else {
                Err(WorkloadError::Usage("--out is a file, and there are several blocks"))
            };
        }
        std::fs::create_dir_all(out).map_err(|error| OutputError { path: out.to_owned(), error })?;
        Ok(Self::Folder(out.to_owned()))
    }

    /// Path of the bundle with this name.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(format!("{name}.json.gz")),
            Self::File(file) => file.clone(),
        }
    }
}

/// Writes a block whose parent is the head of `generator`; returns the length of the file in bytes.
pub fn write(
    path: &Path,
    family: &str,
    made: &Made,
    form: Form,
    generator: &mut Generator,
) -> Result<u64, WorkloadError> {
    let columns = bal::decode(&made.built.bal, &Limits::format_only())
        .map_err(|error| Failure::Host(format!("the generated block access list: {error}")))?;
    let witness = match form {
        Form::Complete => None,
        Form::Witness => Some(generator.chain.witness(
            columns.addresses().as_slice(),
            &columns.slot_queries(),
            &made.outcome.changes,
        )?),
    };
    let store = generator.chain.memory().ok_or_else(|| Failure::Host("the chain has no state".into()))?;
    let state = match form {
        Form::Complete => PreState { store, only: None },
        Form::Witness => PreState { store, only: Some(&columns) },
    };
    Ok(write_document(path, &Document { family, made, generator, state, witness })?)
}

/// Writes a bundle's JSON, gzipped unless the name ends with `.json`; returns the length of the file in bytes.
///
/// # Errors
/// The file cannot be written; a file of that name is then unchanged.
pub fn write_document(path: &Path, document: &impl Serialize) -> Result<u64, OutputError> {
    let file = OutputFile::create(path)?;
    let failed = |error| OutputError { path: path.to_owned(), error };
    let file = if path.extension().is_some_and(|extension| extension == "json") {
        serialize(file, document).map_err(failed)?
    } else {
        serialize(GzEncoder::new(file, Compression::default()), document).and_then(GzEncoder::finish).map_err(failed)?
    };
    file.finish()
}

fn serialize<W: Write>(mut writer: W, document: &impl Serialize) -> std::io::Result<W> {
    serde_json::to_writer(&mut writer, document)?;
    writer.write_all(b"\n")?;
    Ok(writer)
}

/// The JSON document of a bundle.
struct Document<'a> {
    family: &'a str,
    made: &'a Made,
    generator: &'a Generator,
    state: PreState<'a>,
    witness: Option<Vec<Bytes>>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { family, made, generator, state, witness } = self;
        let (built, outcome) = (&made.built, &made.outcome);
        let parent = generator.chain.head().cloned().unwrap_or_default();
        let mut parent_rlp = Vec::new();
        parent.encode(&mut parent_rlp);
        let parent_rlp = Bytes::from(parent_rlp);
        let schedule = generator.rules.blob_schedule;
        let codes = state.codes();
        let receipts: Vec<Bytes> = outcome.receipts.iter().map(Bytes::copy_from_slice).collect();
        let requests: Vec<Bytes> = outcome.requests.iter().cloned().map(Bytes::from).collect();
        let (accounts, slots) = state.size();

        let mut out = serializer.serialize_struct("Bundle", 24)?;
        out.serialize_field("network", "balustrade-workload")?;
        out.serialize_field("chainId", &generator.rules.chain_id)?;
        out.serialize_field("fork", generator.rules.fork.name())?;
        out.serialize_field("family", family)?;
        out.serialize_field(
            "blobSchedule",
            &json!({
                "target": schedule.target, "max": schedule.max,
                "baseFeeUpdateFraction": schedule.base_fee_update_fraction,
            }),
        )?;
        out.serialize_field("number", &outcome.number)?;
        out.serialize_field("hash", &outcome.hash)?;
        out.serialize_field("source", &format!("{}, block {}", generator.source, outcome.number))?;
        out.serialize_field(
            "verified",
            &[
                "gasUsed",
                "receiptsRoot",
                "logsBloom",
                "requestsHash",
                "blobGasUsed",
                "stateRoot",
                "balStateRoot",
                "balReplay",
            ],
        )?;
        out.serialize_field("block", &built.block)?;
        out.serialize_field("parentHeader", &parent_rlp)?;
        out.serialize_field("headers", &[&parent_rlp])?;
        out.serialize_field("preStateRoot", &parent.state_root)?;
        if let Some(nodes) = witness {
            // The order of the nodes is not defined; sorting makes equal blocks give equal files.
            let nodes: BTreeSet<&Bytes> = nodes.iter().collect();
            out.serialize_field("witness", &json!({"state": nodes, "codes": codes}))?;
        } else {
            out.serialize_field("preStateComplete", &true)?;
            out.serialize_field("codes", &codes)?;
        }
        out.serialize_field("blockHashes", &BTreeMap::from([(parent.number.to_string(), parent.hash())]))?;
        out.serialize_field("senders", &made.senders)?;
        out.serialize_field("preState", state)?;
        out.serialize_field("receipts", &receipts)?;
        out.serialize_field("requests", &requests)?;
        out.serialize_field("blockAccessList", &built.bal)?;
        out.serialize_field("blockAccessListHash", &built.header.block_access_list_hash)?;
        out.serialize_field(
            "stats",
            &json!({
                "transactions": outcome.transactions.len(), "failed": made.failed(), "gasUsed": outcome.gas_used,
                "executionGas": outcome.gas.execution, "stateGas": outcome.gas.state, "paidGas": outcome.gas.paid,
                "logs": (0..outcome.transactions.len()).map(|tx| outcome.logs.of(TxIndex(tx as u32)).len()).sum::<usize>(),
                "listBytes": built.bal.len(), "listItems": made.list_items, "accounts": accounts, "slots": slots,
            }),
        )?;
        out.end()
    }
}

/// The accounts of a state: all of them, or those of a block access list.
#[derive(Clone, Copy)]
struct PreState<'a> {
    store: &'a MemoryStore,
    only: Option<&'a BalColumns>,
}

impl<'a> PreState<'a> {
    /// The accounts in order of address.
    fn accounts(&self) -> Vec<(&'a Address, &'a MemoryAccount)> {
        let mut accounts: Vec<_> = match self.only {
            None => self.store.iter().collect(),
            Some(columns) => columns
                .addresses()
                .as_slice()
                .iter()
                .filter_map(|address| Some((address, self.store.account(address)?)))
                .collect(),
        };
        accounts.sort_unstable_by_key(|(address, _)| **address);
        accounts
    }

    fn codes(&self) -> Vec<Bytes> {
        let wanted: BTreeSet<B256> = self.accounts().into_iter().map(|(_, account)| account.code_hash).collect();
        wanted.iter().filter_map(|hash| self.store.code(hash)).cloned().collect()
    }

    /// Numbers of accounts and of slots.
    fn size(&self) -> (usize, usize) {
        let accounts = self.accounts();
        (accounts.len(), accounts.iter().map(|(address, account)| self.slots(address, account).len()).sum())
    }

    /// The slots of an account, in order of key: all of them, or those of the block access list.
    fn slots(&self, address: &Address, account: &MemoryAccount) -> Vec<(U256, U256)> {
        let mut slots: Vec<(U256, U256)> = match self.only {
            None => account.storage.iter().map(|(key, value)| (*key, *value)).collect(),
            Some(columns) => {
                let keys = columns.find(address).into_iter().flat_map(|id| columns.slots(id));
                keys.map(|slot| columns.slot_keys()[slot])
                    .filter_map(|key| Some((key, *account.storage.get(&key)?)))
                    .collect()
            }
        };
        slots.sort_unstable();
        slots
    }
}

impl Serialize for PreState<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let accounts = self.accounts();
        let mut out = serializer.serialize_map(Some(accounts.len()))?;
        for (address, account) in accounts {
            let storage = Storage(self.slots(address, account));
            out.serialize_entry(address, &Account { account, storage })?;
        }
        out.end()
    }
}

struct Account<'a> {
    account: &'a MemoryAccount,
    storage: Storage,
}

impl Serialize for Account<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let MemoryAccount { nonce, balance, code_hash, .. } = self.account;
        debug_assert_ne!(*code_hash, B256::ZERO, "{KECCAK_EMPTY} stands for no code");
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("nonce", &U256::from(*nonce))?;
        out.serialize_entry("balance", balance)?;
        out.serialize_entry("codeHash", code_hash)?;
        if !self.storage.0.is_empty() {
            out.serialize_entry("storage", &self.storage)?;
        }
        out.end()
    }
}

struct Storage(Vec<(U256, U256)>);

impl Serialize for Storage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
