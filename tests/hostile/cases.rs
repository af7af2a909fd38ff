//! Valid blocks with their parent states, from the shared folder: Amsterdam blocks with their block access lists, and
//! older blocks, whose lists and existence logs must be recorded first.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use balustrade::arena::store::{MemoryStore, WitnessStore};
use balustrade::bal::ExistenceLog;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Block, Header};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, Executor, Mode, Options};
pub use balustrade_cli::testing::shared;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A block, its list and its existence log.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    /// Whether it is valid on the head of its chain.
    pub valid: bool,
    /// RLP of the block.
    pub rlp: Bytes,
    /// RLP of its list; empty if the list must be recorded first.
    pub bal: Bytes,
    /// Creations and deletions of empty accounts, which a list cannot express; `None` for blocks of Cancun and later.
    pub existence_log: Option<ExistenceLog>,
}

/// A state and the blocks that are executed on it, one after another.
#[derive(Debug)]
pub struct Chain {
    /// Name of the test or bundle.
    pub name: String,
    /// Rules of all its blocks.
    pub rules: ChainRules,
    /// State after the head.
    pub store: MemoryStore,
    /// Tries of `store`.
    pub tries: StateTries,
    /// Whether the state is complete. If not, `tries` are not used and roots stay unchecked.
    pub is_complete: bool,
    /// Header of the head, if it is known.
    pub head: Option<Header>,
    /// Remaining blocks, in order; an invalid one leaves the head as it is.
    pub blocks: Vec<ListedBlock>,
}

impl Chain {
    /// Takes the blocks and returns the valid ones.
    pub fn take_valid(&mut self) -> Vec<ListedBlock> {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.retain(|block| block.valid);
        blocks
    }

    /// The executor's input for a block on the head.
    pub fn input<'a>(&'a self, block: &'a ListedBlock) -> BlockInput<'a> {
        let mut input = BlockInput::new(&self.rules, block.rlp.clone()).with_list(block.bal.clone());
        input.existence_log = block.existence_log.as_ref();
        input.parent = self.head.as_ref();
        input
    }

    /// The block with the list and the existence log that its execution on the head records.
    pub fn record(&mut self, executor: &mut Executor, block: &ListedBlock) -> Result<ListedBlock, BlockError> {
        let mut input = self.input(block);
        (input.bal, input.existence_log) = (None, None);
        let outcome = executor.execute(&input, &self.store, None, Options::new(Mode::Sequential))?;
        Ok(ListedBlock { bal: outcome.bal, existence_log: Some(outcome.existence_log), ..block.clone() })
    }

    /// Executes a valid block in sequential mode and makes it the head.
    pub fn advance(&mut self, executor: &mut Executor, block: &ListedBlock) -> Result<(), BlockError> {
        let mut tries = std::mem::replace(&mut self.tries, StateTries::empty());
        let given = self.is_complete.then_some(&mut tries);
        let result = executor.execute(&self.input(block), &self.store, given, Options::new(Mode::Sequential));
        self.tries = tries;
        let outcome = result?;
        self.tries.commit();
        outcome.changes.apply_to(&mut self.store);
        self.store.insert_block_hash(outcome.number, outcome.hash);
        self.head = Header::of_block(&block.rlp).ok();
        Ok(())
    }
}

/// Selects blocks by fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Blocks of Amsterdam.
    Amsterdam,
    /// Blocks before Cancun.
    PreCancun,
}

impl Age {
    /// The rules of a fork by its name; `None` for forks that are not selected.
    fn rules(self, fork: &str) -> Option<ChainRules> {
        let fork = Fork::from_name(fork)?;
        let is_wanted = match self {
            Self::Amsterdam => fork == Fork::Amsterdam,
            Self::PreCancun => fork < Fork::Cancun,
        };
        is_wanted.then(|| ChainRules { chain_id: 1, ..ChainRules::mainnet(fork) })
    }
}

fn bytes(value: &Value) -> Option<Bytes> {
    hex::decode(value.as_str()?).ok().map(Into::into)
}

fn word(value: &Value) -> U256 {
    let text = value.as_str().unwrap_or("0x0");
    let digits = text.trim_start_matches("0x");
    if digits.is_empty() { U256::ZERO } else { U256::from_str_radix(digits, 16).expect("quantity") }
}

fn fill(store: &mut MemoryStore, alloc: &Value) {
    for (address, account) in alloc.as_object().into_iter().flatten() {
        let address: Address = address.parse().expect("address");
        let code_hash: B256 = match account.get("codeHash").and_then(Value::as_str) {
            Some(hash) => hash.parse().expect("hash"),
            None => store.insert_code(account.get("code").and_then(bytes).unwrap_or_default()),
        };
        let slots = account.get("storage").and_then(Value::as_object).into_iter().flatten();
        let storage: Vec<_> = slots.map(|(key, value)| (word(&Value::from(key.as_str())), word(value))).collect();
        let (nonce, balance) = (word(&account["nonce"]).to(), word(&account["balance"]));
        store.insert_account(address, nonce, balance, code_hash, storage);
    }
}

/// One test of a fixture file; `None` for forks that are not selected.
fn chain_of_test(age: Age, name: &str, test: &Value) -> Option<Chain> {
    let rules = age.rules(test["network"].as_str()?)?;
    let mut store = MemoryStore::default();
    fill(&mut store, &test["pre"]);
    let head = Block::decode(bytes(&test["genesisRLP"])?).ok()?.header;
    store.insert_block_hash(head.number, head.hash());
    let blocks = test["blocks"].as_array()?.iter().filter_map(|block| {
        let valid = block.get("expectException").is_none();
        let bal = match age {
            Age::Amsterdam => bytes(&block["blockAccessListRlp"])?,
            Age::PreCancun => Bytes::new(),
        };
        Some(ListedBlock { valid, rlp: bytes(&block["rlp"])?, bal, existence_log: None })
    });
    let blocks: Vec<_> = blocks.collect();
    let tries = StateTries::from_memory(&store).ok()?;
    Some(Chain { name: name.to_owned(), rules, store, tries, is_complete: true, head: Some(head), blocks })
}

/// The block of a bundle with a flat pre-state; `None` for forks that are not selected, and for blocks whose ommers are
/// missing.
fn chain_of_bundle(age: Age, name: &str, bundle: &Value) -> Option<Chain> {
    let rules = age.rules(bundle["fork"].as_str()?)?;
    if bundle.get("ommersOmitted").is_some() || bundle.get("preState").is_none() {
        return None;
    }
    let mut store = MemoryStore::default();
    for code in bundle["codes"].as_array().into_iter().flatten() {
        store.insert_code(bytes(code)?);
    }
    fill(&mut store, &bundle["preState"]);
    let headers = bundle["headers"].as_array().into_iter().flatten().chain([&bundle["parentHeader"]]);
    for header in headers.filter_map(bytes) {
        let header = Header::decode(&header).ok()?;
        store.insert_block_hash(header.number, header.hash());
    }
    for (number, hash) in bundle["blockHashes"].as_object().into_iter().flatten() {
        store.insert_block_hash(number.parse().ok()?, hash.as_str()?.parse().ok()?);
    }
    let head = bytes(&bundle["parentHeader"]).and_then(|header| Header::decode(&header).ok());
    let existence_log = serde_json::from_value(bundle["blockAccessListSidecar"].clone()).ok();
    let bal = bytes(&bundle["blockAccessList"])?;
    let blocks = vec![ListedBlock { valid: true, rlp: bytes(&bundle["block"])?, bal, existence_log }];
    let tries = StateTries::from_memory(&store).ok()?;
    let is_complete = bundle["preStateComplete"] == true;
    Some(Chain { name: name.to_owned(), rules, store, tries, is_complete, head, blocks })
}

/// Calls `visit` with the Amsterdam chains of every `step`th fixture file, starting with file `first`.
pub fn each_fixture(first: usize, step: usize, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    let _ = each_of_archive(Age::Amsterdam, "amsterdam", first, step, visit);
}

/// As [`each_fixture`], for chains before Cancun, whose lists are not recorded yet.
pub fn each_older_fixture(first: usize, step: usize, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    for archive in ["eest-legacy", "eest-paris", "eest-shanghai"] {
        if each_of_archive(Age::PreCancun, archive, first, step, visit).is_break() {
            return;
        }
    }
}

fn each_of_archive(
    age: Age,
    archive: &str,
    first: usize,
    step: usize,
    visit: &mut dyn FnMut(Chain) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(path) = shared(&format!("fixtures/{archive}.tar.zst")) else { return ControlFlow::Continue(()) };
    let mut decoder = zstd::Decoder::new(File::open(path).expect("readable")).expect("zstd");
    decoder.window_log_max(27).expect("zstd");
    let mut archive = tar::Archive::new(decoder);
    let files = archive.entries().expect("tar").map(|entry| entry.expect("tar"));
    let is_json =
        |entry: &tar::Entry<'_, _>| entry.path().is_ok_and(|path| path.extension().is_some_and(|e| e == "json"));
    for mut entry in files.filter(is_json).skip(first).step_by(step) {
        let mut text = Vec::new();
        entry.read_to_end(&mut text).expect("readable");
        let file: Value = serde_json::from_slice(&text).expect("JSON");
        for (name, test) in file.as_object().into_iter().flatten() {
            if let Some(chain) = chain_of_test(age, name, test) {
                visit(chain)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Calls `visit` with every Amsterdam bundle whose compressed file has at most `bytes_max` bytes.
pub fn each_bundle(bytes_max: u64, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    each_of_folder(Age::Amsterdam, "blocks", bytes_max, visit);
}

/// As [`each_bundle`], for mainnet blocks before Cancun, whose existence logs are not recorded yet. Their states are
/// incomplete.
pub fn each_older_bundle(bytes_max: u64, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    each_of_folder(Age::PreCancun, "bundles/prestate", bytes_max, visit);
}

/// One bundle; `None` if its fork is neither Amsterdam nor before Cancun.
pub fn bundle(part: &str) -> Option<Chain> {
    let bundle = read_bundle(&shared(part)?);
    [Age::Amsterdam, Age::PreCancun].into_iter().find_map(|age| chain_of_bundle(age, part, &bundle))
}

fn read_bundle(path: &Path) -> Value {
    let file = File::open(path).expect("readable");
    serde_json::from_reader(std::io::BufReader::new(GzDecoder::new(file))).expect("JSON")
}

fn each_of_folder(age: Age, part: &str, bytes_max: u64, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    let Some(folder) = shared(part) else { return };
    let mut files: Vec<PathBuf> = folder.read_dir().expect("folder").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    files.sort();
    for path in files {
        if path.metadata().is_ok_and(|meta| meta.len() > bytes_max) {
            continue;
        }
        let bundle = read_bundle(&path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if let Some(chain) = chain_of_bundle(age, &name, &bundle)
            && visit(chain).is_break()
        {
            return;
        }
    }
}

/// A block before Amsterdam whose parent state is a witness, with its recorded list.
#[derive(Debug)]
pub struct WitnessCase {
    /// Mainnet's rules of its fork.
    pub rules: ChainRules,
    /// The block and its list.
    pub block: ListedBlock,
    /// Witness of its parent state.
    pub store: WitnessStore,
}

/// A mainnet bundle with a witness.
pub fn witness(name: &str) -> Option<WitnessCase> {
    let bundle = read_bundle(&shared(&format!("bundles/trie/{name}.json.gz"))?);
    let all = |items: &Value| items.as_array().into_iter().flatten().filter_map(bytes).collect::<Vec<_>>();
    let root = bundle["preStateRoot"].as_str()?.parse().ok()?;
    let mut store = WitnessStore::new(root, all(&bundle["witness"]["state"]), all(&bundle["witness"]["codes"]));
    for header in all(&bundle["headers"]) {
        let header = Header::decode(&header).ok()?;
        store.insert_block_hash(header.number, header.hash());
    }
    let rules = ChainRules::mainnet(Fork::from_name(bundle["fork"].as_str()?)?);
    let (rlp, bal) = (bytes(&bundle["block"])?, bytes(&bundle["blockAccessList"])?);
    let block = ListedBlock { valid: true, rlp, bal, existence_log: None };
    Some(WitnessCase { rules, block, store })
}
