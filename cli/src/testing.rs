//! Inputs for tests: a temporary folder per test, generated bundles, headers to seal, the files of `tests/data`, and the
//! shared folder of large suites beside the checkout.

use crate::Status;
use crate::devnet::Devnet;
use crate::workload::{self, WorkloadCommand};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::bal::BalColumns;
use balustrade::executor::Body;
use balustrade::{
    BlockInput, Executor, Fork, Header, MemoryStore, Mode, Options, ParentAccount, SlotQuery, StateDb, StateStore,
    StoreError,
};
use clap::Parser;
use serde_json::Value;
use std::path::PathBuf;

/// A folder in the system's temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Creates a folder; `name` must be unique among the tests.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("balustrade-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    /// The path of a file in the folder; the file need not exist.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A header to seal: block 1 of a chain of this fork, with a gas limit of 60 million.
pub fn template(fork: Fork) -> Header {
    Header {
        number: 1,
        timestamp: 12,
        gas_limit: 60_000_000,
        base_fee: (fork >= Fork::London).then_some(7),
        excess_blob_gas: (fork >= Fork::Cancun).then_some(0),
        parent_beacon_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
        slot_number: (fork >= Fork::Amsterdam).then_some(1),
        ..Header::default()
    }
}

/// The Cancun header of block 0, the parent of [`template`]'s block, with this state root.
pub fn cancun_parent(state_root: B256) -> Header {
    Header {
        gas_limit: 60_000_000,
        base_fee: Some(7),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        state_root,
        ..Header::default()
    }
}

/// The first blocks of the generated chain ([`Devnet`]).
#[derive(Clone, Debug)]
pub struct GeneratedChain {
    /// State of the genesis.
    pub state: MemoryStore,
    /// Blocks with their block access lists, both in RLP.
    pub blocks: Vec<(Bytes, Bytes)>,
}

impl GeneratedChain {
    /// Builds `count` blocks, and executes each.
    ///
    /// # Panics
    /// If a block is invalid.
    pub fn new(count: usize) -> Self {
        let mut devnet = Devnet::default();
        let chain = Self { state: devnet.genesis_state(), blocks: Vec::new() };
        let (mut db, mut executor) = (chain.db(), Executor::new(2).expect("threads"));
        let rules = Devnet::rules();
        let next = || {
            let template = Devnet::template(db.head());
            let transactions = devnet.transactions(template.base_fee.expect("London"));
            let body = Body { transactions: &transactions, withdrawals: &devnet.withdrawals(template.number) };
            let (store, tries) = db.parts();
            let block = executor.build_body(&rules, &template, body, store, tries, None).expect("valid").block;
            let input = BlockInput::new(&rules, block.clone());
            let outcome = db.execute(&mut executor, &input, Options::new(Mode::Sequential)).expect("valid");
            let outcome = outcome.require_complete().expect("the parent and the tries are given");
            db.commit(&outcome).expect("it was executed");
            (block, outcome.bal)
        };
        let blocks = std::iter::repeat_with(next).take(count).collect();
        Self { blocks, ..chain }
    }

    /// The state of the genesis in memory.
    ///
    /// # Panics
    /// Never: the genesis header has the root of the state.
    pub fn db(&self) -> StateDb {
        StateDb::at_genesis(self.state.clone(), Devnet::genesis_header).expect("a state")
    }
}

/// A store with the flat values of one store and trie nodes from elsewhere.
pub struct WithNodes<'a, F> {
    /// Answers for accounts, slots, codes and block hashes.
    pub flat: &'a dyn StateStore,
    /// Answers for trie nodes, as [`StateStore::trie_nodes`].
    pub nodes: F,
}

impl<F> std::fmt::Debug for WithNodes<'_, F> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WithNodes").finish_non_exhaustive()
    }
}

impl<F: Fn(&[NodeQuery], &mut [Bytes]) -> Result<(), StoreError> + Send + Sync> StateStore for WithNodes<'_, F> {
    fn call_rows(&self) -> usize {
        self.flat.call_rows()
    }
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.flat.announce(accounts, slots)
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.flat.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.flat.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.flat.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.flat.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        (self.nodes)(nodes, out)
    }
}

/// A block access list in the JSON form of the execution-spec-tests.
pub fn list_json(list: &BalColumns) -> Value {
    crate::bal::to_json(list)
}

#[derive(Debug, Parser)]
struct WorkloadLine {
    #[command(subcommand)]
    command: WorkloadCommand,
}

/// The files that `balustrade workload OPTIONS --out FOLDER` writes, by name.
///
/// # Panics
/// If the options are wrong or the command fails.
pub fn workload(folder: &Folder, options: &str) -> Vec<(String, Vec<u8>)> {
    let out = folder.0.join(format!("workload-{}", options.replace(' ', "-")));
    assert_eq!(workload_status(&format!("{options} --json --out {}", out.display())), Status::Good, "{options}");
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&out)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("readable")))
        .collect();
    files.sort();
    files
}

/// Runs `balustrade workload OPTIONS`.
///
/// # Panics
/// If the options cannot be parsed.
pub(crate) fn workload_status(options: &str) -> Status {
    let words = std::iter::once("workload").chain(options.split_whitespace());
    workload::main(&WorkloadLine::try_parse_from(words).expect("a command line").command)
}

/// The path of a file of `tests/data`, which is part of the repository.
pub fn stored(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

/// The path of a part of the shared folder, which is `../shared` next to the checkout or named by
/// `BALUSTRADE_SHARED`. Tests that call this are marked `#[ignore]` with what they need.
///
/// # Panics
/// It does not exist.
pub fn shared(part: &str) -> PathBuf {
    let path = shared_root().join(part);
    assert!(path.exists(), "{} does not exist; BALUSTRADE_SHARED may name another folder", path.display());
    path
}

/// Whether the shared folder exists.
pub fn has_shared() -> bool {
    shared_root().exists()
}

fn shared_root() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("BALUSTRADE_SHARED").map_or_else(beside, PathBuf::from)
}
