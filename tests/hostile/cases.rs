//! Valid Amsterdam blocks with their parent states, from the shared folder.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use balustrade::arena::store::{MemoryStore, WitnessStore};
use balustrade::exec::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Block, Header};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, Executor, Mode, Options};
pub use balustrade_cli::testing::shared;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A block and its list.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    /// Whether it is valid at its place.
    pub valid: bool,
    /// RLP of the block.
    pub rlp: Bytes,
    /// RLP of its list.
    pub bal: Bytes,
}

/// Blocks on a state, which moves with them.
#[derive(Debug)]
pub struct Chain {
    /// Test or bundle.
    pub name: String,
    /// Amsterdam's.
    pub rules: ChainRules,
    /// State at the head.
    pub store: MemoryStore,
    /// Its tries.
    pub tries: StateTries,
    /// Header at the head.
    pub head: Header,
    /// Blocks still to come, in order; invalid ones do not move the head.
    pub blocks: Vec<ListedBlock>,
}

impl Chain {
    /// The valid blocks, taken out.
    pub fn take_valid(&mut self) -> Vec<ListedBlock> {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.retain(|block| block.valid);
        blocks
    }

    /// The executor's input for a block on the head.
    pub fn input<'a>(&'a self, block: &ListedBlock) -> BlockInput<'a> {
        BlockInput {
            rules: &self.rules,
            block: block.rlp.clone(),
            bal: Some(block.bal.clone()),
            sidecar: None,
            parent: Some(&self.head),
            ancestry: None,
            ommers_omitted: false,
            cancel: None,
            known_senders: None,
        }
    }

    /// Executes a valid block one transaction after another and makes it the head.
    pub fn advance(&mut self, executor: &mut Executor, block: &ListedBlock) -> Result<(), BlockError> {
        let mut tries = std::mem::replace(&mut self.tries, StateTries::empty());
        let result =
            executor.execute(&self.input(block), &self.store, Some(&mut tries), Options::new(Mode::Sequential));
        self.tries = tries;
        let outcome = result?;
        self.tries.commit();
        outcome.changes.apply_to(&mut self.store);
        self.store.insert_block_hash(outcome.number, outcome.hash);
        self.head = Header::of_block(&block.rlp).expect("executed");
        Ok(())
    }
}

fn rules() -> ChainRules {
    ChainRules { chain_id: 1, ..ChainRules::mainnet(Fork::Amsterdam) }
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

/// One test of a fixture file; nothing for other networks than Amsterdam.
fn chain_of_test(name: &str, test: &Value) -> Option<Chain> {
    if test["network"] != "Amsterdam" {
        return None;
    }
    let mut store = MemoryStore::default();
    fill(&mut store, &test["pre"]);
    let head = Block::decode(bytes(&test["genesisRLP"])?).ok()?.header;
    store.insert_block_hash(head.number, head.hash());
    let blocks = test["blocks"].as_array()?.iter().filter_map(|block| {
        let valid = block.get("expectException").is_none();
        Some(ListedBlock { valid, rlp: bytes(&block["rlp"])?, bal: bytes(&block["blockAccessListRlp"])? })
    });
    let blocks: Vec<_> = blocks.collect();
    let tries = StateTries::from_memory(&store).ok()?;
    Some(Chain { name: name.to_owned(), rules: rules(), store, tries, head, blocks })
}

fn chain_of_bundle(name: &str, bundle: &Value) -> Option<Chain> {
    let mut store = MemoryStore::default();
    for code in bundle["codes"].as_array().into_iter().flatten() {
        store.insert_code(bytes(code)?);
    }
    fill(&mut store, &bundle["preState"]);
    for header in bundle["headers"].as_array().into_iter().flatten().chain([&bundle["parentHeader"]]) {
        let header = Header::decode(&bytes(header)?).ok()?;
        store.insert_block_hash(header.number, header.hash());
    }
    for (number, hash) in bundle["blockHashes"].as_object().into_iter().flatten() {
        store.insert_block_hash(number.parse().ok()?, hash.as_str()?.parse().ok()?);
    }
    let head = Header::decode(&bytes(&bundle["parentHeader"])?).ok()?;
    let blocks =
        vec![ListedBlock { valid: true, rlp: bytes(&bundle["block"])?, bal: bytes(&bundle["blockAccessList"])? }];
    let tries = StateTries::from_memory(&store).ok()?;
    Some(Chain { name: name.to_owned(), rules: rules(), store, tries, head, blocks })
}

/// Calls `visit` with the chains of every `step`th fixture file, starting with file `first`.
pub fn each_fixture(first: usize, step: usize, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    let Some(path) = shared("fixtures/amsterdam.tar.zst") else { return };
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
            if let Some(chain) = chain_of_test(name, test)
                && visit(chain).is_break()
            {
                return;
            }
        }
    }
}

/// Calls `visit` with every block bundle whose compressed file has at most `bytes_max` bytes.
pub fn each_bundle(bytes_max: u64, visit: &mut dyn FnMut(Chain) -> ControlFlow<()>) {
    let Some(folder) = shared("blocks") else { return };
    let mut files: Vec<PathBuf> = folder.read_dir().expect("folder").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    files.sort();
    for path in files {
        if path.metadata().is_ok_and(|meta| meta.len() > bytes_max) {
            continue;
        }
        let bundle: Value =
            serde_json::from_reader(std::io::BufReader::new(GzDecoder::new(File::open(&path).expect("readable"))))
                .expect("JSON");
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if let Some(chain) = chain_of_bundle(&name, &bundle)
            && visit(chain).is_break()
        {
            return;
        }
    }
}

/// A block before Amsterdam whose parent state is a witness; its list was recorded.
#[derive(Debug)]
pub struct WitnessCase {
    /// The fork's rules on mainnet.
    pub rules: ChainRules,
    /// The block and its list.
    pub block: ListedBlock,
    /// Its parent state.
    pub store: WitnessStore,
}

/// A mainnet bundle with a witness.
pub fn witness(name: &str) -> Option<WitnessCase> {
    let path = shared(&format!("bundles/trie/{name}.json.gz"))?;
    let reader = std::io::BufReader::new(GzDecoder::new(File::open(path).ok()?));
    let bundle: Value = serde_json::from_reader(reader).ok()?;
    let all = |items: &Value| items.as_array().into_iter().flatten().filter_map(bytes).collect::<Vec<_>>();
    let root = bundle["preStateRoot"].as_str()?.parse().ok()?;
    let mut store = WitnessStore::new(root, all(&bundle["witness"]["state"]), all(&bundle["witness"]["codes"]));
    for header in all(&bundle["headers"]) {
        let header = Header::decode(&header).ok()?;
        store.insert_block_hash(header.number, header.hash());
    }
    let rules = ChainRules::mainnet(Fork::from_name(bundle["fork"].as_str()?)?);
    let block = ListedBlock { valid: true, rlp: bytes(&bundle["block"])?, bal: bytes(&bundle["blockAccessList"])? };
    Some(WitnessCase { rules, block, store })
}
