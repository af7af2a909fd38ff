//! `balustrade store`, `revert` and `get`: stores of a chain's state on disk.
//!
//! In: a genesis file, a bundle, or the sizes of a generated state; the folder of a store. Out: a store;
//! values and proofs at its head.
//! Beside the files of the library, the folder has `chain.json`: the chain's fork schedule.
//! Not here: the files of a store (the library), importing blocks (`import`).

use super::devnet::Devnet;
use super::engine::{Chain, Engine, Failure};
use super::output::{OutputError, OutputFile};
use super::workload::state::{Sizes, State};
use super::workload::state_blocks::StateBlocks;
use super::{Status, chain, interrupt, report};
use alloy_primitives::{Address, B256, U256};
use balustrade::db::{DiskOptions, NewState};
use balustrade::disk::store::Store;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::Body;
use balustrade::formats::chain::ChainItem;
use balustrade::formats::genesis::{chain_from_json, chain_to_json};
use balustrade::formats::json::Quantity;
use balustrade::formats::{self, Bundle, BundleState, Content};
use balustrade::{DbError, EMPTY_ROOT, MemoryStore, ParentAccount, StateChanges, StateDb, StateTries, StoreError};
use clap::{Args, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Text below the help of `store` and `store init`.
pub const EXAMPLES: &str = "Examples:
  balustrade store init db --genesis genesis.json
  balustrade store init db --bundle block.json.gz       # the state before this block
  balustrade store init db --accounts 10000000 --slots 50000000
  balustrade store init db --accounts 9999 --blocks 5 --chain-file c --list-file l
  balustrade store stat db --json
  balustrade store check db                             # reads every page
  balustrade store export db --out chain.rlp.gz --lists lists.gz";

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Create a store from a genesis file, a bundle or a generated state
    Init(InitArgs),
    /// Show the head of a store, its size and its page store
    Stat(StatArgs),
    /// Read every page of a store and compare it with the state root of the head
    Check(StatArgs),
    /// Write the blocks of a store's log as a chain file, as `geth export` does
    Export(ExportArgs),
}

/// Options of `store export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the store
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// First block; by default the first that the log has
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Last block; by default the head
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Write the RLP of the blocks to this file; compressed if its name ends with .gz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the RLP of the block access list of each block whose header commits to one to this file;
    /// compressed if its name ends with .gz
    #[arg(long, value_name = "FILE")]
    lists: Option<PathBuf>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Options of `store init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Folder of the store, which must not exist or be empty
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    blocks: BlockArgs,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Options of `store stat` and `store check`.
#[derive(Debug, Args)]
pub struct StatArgs {
    /// Folder of the store
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// File of the fork schedule in the folder of a store.
const CHAIN_FILE: &str = "chain.json";
/// Rows of a generated state that are added at once.
const CHUNK_ROWS: usize = 1 << 20;
/// Percentage of the slots that generated blocks write.
const WRITES_PERCENT: u64 = 50;

/// Runs the command.
pub fn main(command: &StoreCommand) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let done = match command {
        StoreCommand::Init(args) => init(args),
        StoreCommand::Stat(args) => stat(args),
        StoreCommand::Check(args) => return check(args),
        StoreCommand::Export(args) => export(args),
    };
    Status::of(done)
}

/// Creates a store.
fn init(args: &InitArgs) -> Result<(), String> {
    let initial = args.initial()?;
    let config = initial.config();
    let fail = |error: DbError| format!("{}: {error}", args.dir.display());
    let db = create(&args.dir, &initial).map_err(fail)?;
    if args.json {
        report::json_line(&json!({"summary": {"head": head_json(db.head(), db.head_hash())}}));
    } else {
        report::line(&format!("head: block {} {}", db.head().number, db.head_hash()));
        report::line(&format!("state root {}", db.state_root()));
    }
    let BlockArgs { blocks: Some(count), chain_file: Some(chain_file), list_file: Some(list_file) } = &args.blocks
    else {
        return Ok(());
    };
    let Initial::Generated { state, accesses } = &initial else { return Ok(()) };
    let mut blocks = StateBlocks::new(state, *accesses, WRITES_PERCENT);
    let mut files = [OutputFile::create(chain_file), OutputFile::create(list_file)]
        .into_iter()
        .collect::<Result<Vec<OutputFile>, _>>()
        .map_err(|error| error.to_string())?;
    let mut chain = Chain::of_db(db.with_schedule(config));
    let built = Engine::new(None, LoopKind::default())
        .and_then(|mut engine| build_blocks(&mut engine, &mut chain, &mut blocks, *count, &mut files));
    built.and_then(|()| chain.revert_to(0)).and_then(|()| chain.checkpoint()).map_err(|error| error.to_string())?;
    files.into_iter().try_for_each(|file| file.finish().map(drop)).map_err(|error| error.to_string())
}

/// Creates the state of a store, and before it is complete the file of the schedule.
fn create(dir: &Path, initial: &Initial) -> Result<StateDb, DbError> {
    let config = initial.config();
    let schedule = || {
        let file = OutputFile::create(&dir.join(CHAIN_FILE));
        let written = file.and_then(|file| file.complete(chain_to_json(&config).as_bytes()));
        written.map_err(|error| StoreError::Failed(error.to_string()))?;
        // Makes the name durable.
        let synced = File::open(dir).and_then(|folder| folder.sync_all());
        synced.map_err(|error| StoreError::Failed(format!("cannot sync {}: {error}", dir.display())))
    };
    match initial {
        Initial::Whole(whole) => {
            let Whole { state, header, .. } = &**whole;
            let ids = (config.chain_id, (header.number == 0).then(|| header.hash()));
            let hashes = state.iter_block_hashes().map(|(number, hash)| (*number, *hash));
            let fill = |new: &mut NewState<'_>| {
                schedule()?;
                Ok(new.add(&StateChanges::from_memory(state))?)
            };
            StateDb::create(dir, DiskOptions::default(), ids, hashes, fill, |_| header.clone())
        }
        Initial::Generated { state, .. } => {
            let bar = report::progress_accounts(state.account_count());
            let fill = |new: &mut NewState<'_>| {
                schedule()?;
                for chunk in state.chunks(CHUNK_ROWS) {
                    if interrupt::flow().is_break() {
                        return Err(StoreError::Cancelled.into());
                    }
                    new.add_hashed(&chunk.changes, &chunk.keys, &chunk.slot_keys)?;
                    bar.inc(chunk.keys.len() as u64);
                }
                Ok(())
            };
            let header = |root| initial.header(root);
            let db = StateDb::create(dir, DiskOptions::default(), (config.chain_id, None), [], fill, header);
            bar.finish_and_clear();
            db
        }
    }
}

/// A store that is open, and the schedule of its chain.
#[derive(Debug)]
pub struct Opened {
    /// The chain at the head of the store.
    pub chain: Chain,
    /// The chain's fork schedule.
    pub config: ChainConfig,
}

/// Opens the store in a folder, whose commits are synced in groups of `sync` blocks.
///
/// # Errors
/// In words: the folder is no store, or the store cannot be opened.
pub fn open(dir: &Path, sync: u32) -> Result<Opened, String> {
    let (db, config, _) = open_db(dir, sync)?;
    Ok(Opened { chain: Chain::of_db(db), config })
}

/// The state in memory before the first block of a chain file, which is a bundle with its complete state or a file of one
/// block test.
///
/// # Errors
/// In words: the file cannot be read, or has no such state.
pub fn of_first_file(path: &Path) -> Result<Opened, String> {
    let fail = |what: &str| format!("{}: {what}", path.display());
    let content = formats::read_document(path).and_then(|document| Content::parse(&document, None));
    let content = content.map_err(|error| format!("{error}; without --store the first file has to have its state"))?;
    match content {
        Content::Bundle(bundle) => {
            let Whole { state, header, config } = whole(*bundle).map_err(|what| fail(&what))?;
            let db = StateDb::in_memory(state, header).map_err(|error| fail(&error.to_string()))?;
            Ok(Opened { chain: Chain::of_db(db.with_window(0).with_schedule(config.clone())), config })
        }
        Content::Tests(tests) => {
            let [test] = &tests[..] else { return Err(fail("more than one block test")) };
            let config = test.network.clone().ok_or_else(|| fail("the fork of the test is not supported"))?;
            let chain = Chain::of_test(test).map_err(|error| fail(&error.to_string()))?;
            Ok(Opened { chain, config })
        }
    }
}

/// The blocks `from` to `to`, if the log of a store has all of them; without bounds, all that it has.
///
/// # Errors
/// In words, with the blocks that the log has.
pub fn logged(db: &StateDb, from: Option<u64>, to: Option<u64>) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = (db.oldest() + 1, db.head().number);
    let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
    if first > last {
        return Err(format!("the log has no blocks; the head is block {last}"));
    }
    if from < first || from > to || to > last {
        return Err(format!("the log has the blocks {first} to {last}, not all of {from} to {to}"));
    }
    Ok(from..=to)
}

/// The blocks of a store's log with these numbers, and their lists.
///
/// # Errors
/// In words: the log does not have all of them.
pub fn log_items(db: &StateDb, numbers: RangeInclusive<u64>) -> Result<Vec<ChainItem>, String> {
    let item = |number| {
        let block = db.block(number).map_err(|error| error.to_string())?;
        Ok(ChainItem { block: block.block, bal: Some(block.bal), existence_log: Some(block.existence_log) })
    };
    numbers.map(item).collect()
}

/// Calls `run` with the store in a folder.
pub fn on_head(dir: &Path, run: impl FnOnce(&mut StateDb) -> Status) -> Status {
    match open_db(dir, 1) {
        Ok((mut db, ..)) => run(&mut db),
        Err(error) => {
            report::complain(&format_args!("{}: {error}", dir.display()));
            Status::Unusable
        }
    }
}

/// Opens a store with its chain's fork schedule.
///
/// # Errors
/// In words: the folder is no store, or the store cannot be opened.
pub fn open_db(dir: &Path, sync: u32) -> Result<(StateDb, ChainConfig, balustrade::db::Opened), String> {
    let mut options = DiskOptions::default();
    options.files.log.group = sync;
    let (db, opened) = StateDb::open(dir, options).map_err(|error| error.to_string())?;
    let file = dir.join(CHAIN_FILE);
    let json = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let config = chain_from_json(&json).map_err(|error| format!("{CHAIN_FILE}: {error}"))?;
    Ok((db.with_schedule(config.clone()), config, opened))
}

/// Prints what a store holds.
fn stat(args: &StatArgs) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", args.dir.display());
    let description = Store::describe(&args.dir).map_err(|error| error.to_string())?;
    let (db, config, opened) = open_db(&args.dir, 1).map_err(|error| fail(&error))?;
    let files = args.dir.read_dir().map_err(|error| fail(&error))?;
    let bytes: u64 = files.filter_map(|file| file.ok()?.metadata().ok()).map(|meta| meta.len()).sum();
    let checkpoint = db.disk().map(|disk| disk.checkpoint_head().number);
    let counts = db.disk().map(|disk| disk.counts()).unwrap_or_default();
    let units = counts.account_units + counts.slot_units;
    let fork = config.rules_of(db.head()).fork.name();
    let pages = description.pages.name();
    if args.json {
        report::json_line(&json!({"summary": {
            "head": head_json(db.head(), db.head_hash()), "chain_id": config.chain_id, "fork": fork,
            "checkpoint": checkpoint, "blocks_applied": opened.blocks, "bytes_cut": opened.cut_bytes,
            "pages": pages, "page_bytes": description.page_bytes, "bytes": bytes,
            "accounts": counts.accounts, "slots_in_units": counts.slots, "units": units, "page_count": counts.pages,
            "free_pages": counts.free_pages, "crown_bytes": counts.crown_bytes,
        }}));
        return Ok(());
    }
    report::line(&format!("head: block {} {}", db.head().number, db.head_hash()));
    report::line(&format!("state root {}", db.state_root()));
    report::line(&format!("chain id {}, fork of the head {fork}", config.chain_id));
    let checkpoint = checkpoint.map_or_else(|| "none".to_owned(), |number| format!("block {number}"));
    let applied = report::counted(opened.blocks, "block");
    report::line(&format!("checkpoint: {checkpoint}; {applied} of the log applied, {} bytes cut", opened.cut_bytes));
    let (accounts, slots) = (counts.accounts, counts.slots);
    report::line(&format!("{accounts} accounts; {slots} slots besides those that lie with their accounts"));
    report::line(&format!(
        "pages: {pages}, {} of {} bytes, {} of them free; {units} units",
        counts.pages, description.page_bytes, counts.free_pages
    ));
    report::line(&format!("{bytes} bytes on disk; {} bytes of branches in memory", counts.crown_bytes));
    Ok(())
}

/// Compares all of a store with the state root of its head. Opening compares the log and the branches above all units;
/// this reads the units.
fn check(args: &StatArgs) -> Status {
    let (db, ..) = match open_db(&args.dir, 1) {
        Ok(opened) => opened,
        Err(error) => {
            report::complain(&format_args!("{}: {error}", args.dir.display()));
            return Status::Unusable;
        }
    };
    let Some(disk) = db.disk() else { return Status::Unusable };
    let counts = disk.counts();
    let units = counts.account_units + counts.slot_units;
    let bar = report::progress_units(units as u64);
    let result = disk.check(|units| {
        bar.inc(units as u64);
        interrupt::flow().is_continue()
    });
    bar.finish_and_clear();
    let (status, error) = match &result {
        Ok(()) => (Status::Good, None),
        Err(StoreError::Cancelled) => (Status::Unusable, Some("stopped by a signal".to_owned())),
        Err(error) => (Status::Failed, Some(error.to_string())),
    };
    if let Some(error) = &error {
        report::complain(&format_args!("{}: {error}", args.dir.display()));
    }
    if args.json {
        report::json_line(&json!({"summary": {
            "head": head_json(db.head(), db.head_hash()), "units": units, "pages": counts.pages, "error": error,
        }}));
    } else if status == Status::Good {
        let (units, pages) = (report::counted(units as u64, "unit"), report::counted(counts.pages as u64, "page"));
        report::line(&format!("{units} in {pages} have the hashes of the state root {}", db.state_root()));
    }
    status
}

/// A file of RLP that is being written.
enum RlpFile {
    Plain(OutputFile),
    Gzip(GzEncoder<OutputFile>),
}

impl RlpFile {
    fn create(path: &Path) -> Result<Self, OutputError> {
        let file = OutputFile::create(path)?;
        let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
        Ok(if is_gzip { Self::Gzip(GzEncoder::new(file, Compression::default())) } else { Self::Plain(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        match self {
            Self::Plain(file) => file.write_all(bytes).map_err(|error| file.fault(error)),
            Self::Gzip(file) => file.write_all(bytes).map_err(|error| file.get_ref().fault(error)),
        }
    }

    fn finish(self) -> Result<u64, OutputError> {
        match self {
            Self::Plain(file) => file.finish(),
            Self::Gzip(file) => {
                let path = file.get_ref().path().to_owned();
                file.finish().map_err(|error| OutputError { path, error })?.finish()
            }
        }
    }
}

/// Writes blocks of the log, and their lists.
fn export(args: &ExportArgs) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", args.dir.display());
    let (db, ..) = open_db(&args.dir, 1).map_err(|error| fail(&error))?;
    let numbers = logged(&db, args.from, args.to).map_err(|error| fail(&error))?;
    let unwritable = |error: OutputError| error.to_string();
    let mut blocks = RlpFile::create(&args.out).map_err(unwritable)?;
    let mut lists = args.lists.as_deref().map(RlpFile::create).transpose().map_err(unwritable)?;
    let bar = report::progress_blocks(numbers.end() - numbers.start() + 1);
    let mut count = 0u64;
    for number in numbers.clone() {
        if interrupt::flow().is_break() {
            return Err("stopped by a signal; no file was written".to_owned());
        }
        let logged = db.block(number).map_err(|error| fail(&error))?;
        let decoded = Block::decode(logged.block.clone());
        let decoded = decoded.map_err(|_| fail(&format_args!("the log has only the header of block {number}")))?;
        blocks.write(&logged.block).map_err(unwritable)?;
        if let Some(lists) = lists.as_mut().filter(|_| decoded.header.block_access_list_hash.is_some()) {
            lists.write(&logged.bal).map_err(unwritable)?;
        }
        count += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bytes = blocks.finish().map_err(unwritable)?;
    lists.map(RlpFile::finish).transpose().map_err(unwritable)?;
    let (from, to) = numbers.into_inner();
    if args.json {
        report::json_line(&json!({"summary": {"blocks": count, "from": from, "to": to, "bytes": bytes}}));
    } else {
        report::line(&format!("blocks {from} to {to}: {bytes} bytes in {}", args.out.display()));
    }
    Ok(())
}

/// Where the state comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Start with the state of a genesis file in go-ethereum's format
    #[arg(long, value_name = "FILE")]
    genesis: Option<String>,
    /// Start with the complete state of a bundle, which is the state before its block
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Start with a generated state of N accounts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    accounts: Option<u64>,
}

/// Options of a generated state.
#[derive(Clone, Copy, Debug, Args)]
struct SizeArgs {
    /// Number of contracts among the generated accounts; by default a tenth of them
    #[arg(long, value_name = "N", requires = "accounts")]
    contracts: Option<u64>,
    /// Number of slots of the generated contracts; by default five per account
    #[arg(long, value_name = "N", requires = "accounts", value_parser = clap::value_parser!(u64).range(0..=10_000_000_000))]
    slots: Option<u64>,
    /// Number of further accounts, with keys, that send the transactions of generated blocks
    #[arg(long, value_name = "N", requires = "accounts", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    senders: u64,
    /// Number of accounts and slots that each generated block accesses, which determines the gas limit
    #[arg(long, value_name = "N", requires = "accounts", default_value_t = 2_500,
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    accesses: u64,
    /// Seed of the generated state
    #[arg(long, value_name = "N", requires = "accounts", default_value_t = 0)]
    seed: u64,
}

/// Blocks on a generated state.
#[derive(Clone, Debug, Args)]
struct BlockArgs {
    /// Also build N blocks on the generated state, which are undone afterwards: they can be imported
    #[arg(long, value_name = "N", requires_all = ["accounts", "chain_file", "list_file"],
        value_parser = clap::value_parser!(u64).range(1..=1_000))]
    blocks: Option<u64>,
    /// Write the RLP of the blocks to this file
    #[arg(long, value_name = "FILE", requires = "blocks")]
    chain_file: Option<PathBuf>,
    /// Write the RLP of their block access lists to this file
    #[arg(long, value_name = "FILE", requires = "blocks")]
    list_file: Option<PathBuf>,
}

const REVERT_EXAMPLES: &str = "Examples:
  balustrade revert --store db --to 1000";

/// Options of `revert`.
#[derive(Debug, Args)]
#[command(after_help = REVERT_EXAMPLES)]
pub struct RevertArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Undo all blocks above the block with this number, which becomes the head
    #[arg(long, value_name = "N")]
    to: u64,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

const GET_EXAMPLES: &str = "Examples:
  balustrade get --store db 0x0000f90827f1c53a10cb7a02335b175320002935
  balustrade get --store db 0x0000f90827f1c53a10cb7a02335b175320002935 0 1 --proof --json";

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub struct GetArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The account
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Keys of slots of the account, decimal or with 0x
    #[arg(value_name = "SLOT", value_parser = slot_key)]
    slots: Vec<U256>,
    /// Also print the trie nodes that prove these values against the state root (EIP-1186), from the
    /// root down
    #[arg(long)]
    proof: bool,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Parses the key of a slot.
fn slot_key(text: &str) -> Result<U256, String> {
    Quantity::parse(text).map(|key| key.0).ok_or_else(|| "neither a decimal number nor one with 0x, below 2^256".into())
}

/// The head of a store as JSON.
pub fn head_json(head: &Header, hash: B256) -> Value {
    json!({"number": head.number, "hash": hash, "state_root": head.state_root})
}

/// Runs `revert` on an open store.
pub fn revert(args: &RevertArgs, db: &mut StateDb) -> Status {
    let before = db.head().number;
    if let Err(error) = db.revert_to(args.to) {
        report::complain(&error);
        return Status::Unusable;
    }
    let reverted = before - db.head().number;
    if args.json {
        let head = head_json(db.head(), db.head_hash());
        report::json_line(&json!({"summary": {"reverted": reverted, "head": head}}));
    } else {
        report::line(&format!("{} undone", report::counted(reverted, "block")));
        report::line(&format!("head: block {} {}", db.head().number, db.head_hash()));
    }
    Status::Good
}

/// Runs `get` on an open store.
pub fn get(args: &GetArgs, db: &mut StateDb) -> Status {
    match values(args, db) {
        Ok(value) if args.json => report::json_line(&json!({"summary": value})),
        Ok(value) => print_values(&value),
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    }
    Status::Good
}

/// The account and its slots in the form of `eth_getProof` (EIP-1186), with the head.
fn values(args: &GetArgs, db: &mut StateDb) -> Result<Value, StoreError> {
    let ParentAccount { exists, nonce, balance, code_hash, .. } = db.account(args.address)?;
    let mut value = json!({
        "head": head_json(db.head(), db.head_hash()), "address": args.address, "exists": exists,
        "nonce": nonce, "balance": balance, "codeHash": code_hash,
    });
    let slots = args.slots.iter().map(|key| Ok(json!({"key": key, "value": db.slot(args.address, *key)?})));
    let mut slots = slots.collect::<Result<Vec<Value>, StoreError>>()?;
    if args.proof {
        let proof = db.prove(args.address, &args.slots)?;
        value["storageHash"] = json!(proof.account.map_or(EMPTY_ROOT, |account| account.storage_root));
        value["accountProof"] = json!(proof.nodes);
        for (slot, proof) in slots.iter_mut().zip(&proof.slots) {
            slot["proof"] = json!(proof.nodes);
        }
    }
    value["storageProof"] = json!(slots);
    Ok(value)
}

/// Prints what [`values`] returned.
fn print_values(value: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let nodes = |nodes: &Value| {
        nodes.as_array().into_iter().flatten().for_each(|node| report::line(&format!("  node {}", text(node))));
    };
    let head = &value["head"];
    report::line(&format!("block {} {}", text(&head["number"]), text(&head["hash"])));
    report::line(&format!("state root {}", text(&head["state_root"])));
    if value["exists"] == json!(false) {
        report::line(&format!("{} does not exist", text(&value["address"])));
    }
    for (name, key) in
        [("nonce", "nonce"), ("balance", "balance"), ("code hash", "codeHash"), ("storage root", "storageHash")]
    {
        if let Some(found) = value.get(key) {
            report::line(&format!("{name} {}", text(found)));
        }
    }
    nodes(&value["accountProof"]);
    for slot in value["storageProof"].as_array().into_iter().flatten() {
        report::line(&format!("slot {} {}", text(&slot["key"]), text(&slot["value"])));
        nodes(&slot["proof"]);
    }
}

/// A state to start with.
#[derive(Debug)]
pub enum Initial {
    /// A state in memory.
    Whole(Box<Whole>),
    /// A generated state, whose leaves are streamed.
    Generated {
        /// The state.
        state: Box<State>,
        /// Number of accounts and slots that each block accesses.
        accesses: u64,
    },
}

/// Builds `count` blocks on a generated state, each on the one before, from the chain's head on. Writes
/// their RLP to the first file, and that of their block access lists to the second; both can be imported
/// into a store that starts with the same state.
///
/// # Errors
/// [`Failure`]: a block cannot be built, or is not valid on the head; a file cannot be written.
fn build_blocks(
    engine: &mut Engine,
    chain: &mut Chain,
    blocks: &mut StateBlocks<'_>,
    count: u64,
    files: &mut [OutputFile],
) -> Result<(), Failure> {
    let rules = Devnet::rules();
    let bar = report::progress_blocks(count);
    for _ in 0..count {
        let template = chain.head().map(|head| blocks.template(head));
        let template = template.ok_or_else(|| Failure::Host("the chain has no head to build on".into()))?;
        let transactions = blocks.transactions();
        let built = engine.build(chain, &rules, &template, Body { transactions: &transactions, withdrawals: &[] })?;
        engine.execute_or_record(chain, &rules, &built.block, Some(&built.bal).into(), None, true)?;
        for (file, bytes) in files.iter_mut().zip([&built.block, &built.bal]) {
            file.write_all(bytes).map_err(|error| Failure::Host(file.fault(error).to_string()))?;
        }
        bar.inc(1);
        if interrupt::flow().is_break() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A state in memory and its block.
#[derive(Debug)]
pub struct Whole {
    /// The state after the block.
    pub state: MemoryStore,
    /// Header of the block, with the root of the state.
    pub header: Header,
    /// The chain's fork schedule.
    pub config: ChainConfig,
}

impl InitArgs {
    /// Reads the state that the options name.
    ///
    /// # Errors
    /// In words: the file cannot be read, it lacks a part of the state, or its state root is not that
    /// of the header.
    pub fn initial(&self) -> Result<Initial, String> {
        if let Some(path) = &self.source.bundle {
            return of_bundle(path).map(|whole| Initial::Whole(Box::new(whole)));
        }
        if let Some(name_or_path) = &self.source.genesis {
            return of_genesis(name_or_path).map(|whole| Initial::Whole(Box::new(whole)));
        }
        let accounts = self.source.accounts.unwrap_or_default();
        let SizeArgs { contracts, slots, senders, accesses, seed } = self.sizes;
        let contracts = contracts.unwrap_or(accounts / 10).min(accounts);
        let slots = slots.unwrap_or(5 * accounts);
        let state = State::new(Sizes { accounts, contracts, slots, senders, seed });
        Ok(Initial::Generated { state: Box::new(state), accesses })
    }
}

impl Initial {
    /// The chain's fork schedule.
    pub fn config(&self) -> ChainConfig {
        match self {
            Self::Whole(whole) => whole.config.clone(),
            Self::Generated { .. } => Devnet::config(),
        }
    }

    /// The header of the state's block, for the root of the state.
    pub fn header(&self, state_root: B256) -> Header {
        match self {
            Self::Whole(whole) => Header { state_root, ..whole.header.clone() },
            Self::Generated { state, accesses } => StateBlocks::new(state, *accesses, 0).genesis_header(state_root),
        }
    }
}

fn of_genesis(name_or_path: &str) -> Result<Whole, String> {
    let (config, genesis) = chain::read(name_or_path)?;
    let genesis = genesis.ok_or_else(|| {
        format!("the state of the genesis of {name_or_path} is not a part of this program: give its genesis file")
    })?;
    let (header, _) = genesis.seal().map_err(|error| format!("{name_or_path}: {error}"))?;
    Ok(Whole { state: genesis.state, header, config })
}

fn of_bundle(path: &Path) -> Result<Whole, String> {
    let document = formats::read_document(path).map_err(|error| error.to_string())?;
    let fail = |what: &str| format!("{}: {what}", path.display());
    match Content::parse(&document, None).map_err(|error| error.to_string())? {
        Content::Bundle(bundle) => {
            let whole = whole(*bundle).map_err(|what| fail(&what))?;
            let found = StateTries::from_memory(&whole.state).map_err(|error| fail(&error.to_string()))?.root();
            if found != whole.header.state_root {
                let expected = whole.header.state_root;
                return Err(fail(&format!("the state has the root {found}, the parent's header has {expected}")));
            }
            Ok(whole)
        }
        Content::Tests(_) => Err(fail("block tests, not a bundle")),
    }
}

/// The state before the block of a bundle, whose root is not computed.
fn whole(bundle: Bundle) -> Result<Whole, String> {
    let BundleState::Complete { store: state, .. } = bundle.state else {
        return Err("the bundle has only the part of the state that its block reads".to_owned());
    };
    let header = bundle.parent_header.ok_or("the bundle has no parentHeader")?;
    let header = Header::decode(&header).map_err(|error| format!("the parent's header: {error}"))?;
    let config = bundle.chain.ok_or_else(|| format!("the fork {} is not supported", bundle.fork_name))?;
    Ok(Whole { state, header, config })
}

#[cfg(test)]
mod tests {
    use super::super::import;
    use super::super::testing::{self, Folder};
    use super::*;
    use balustrade::trie::verify_account;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: InitArgs,
    }

    fn initial(options: &str) -> Result<Initial, String> {
        let words = ["init", "db"].into_iter().chain(options.split_whitespace());
        let Line { args } = Line::try_parse_from(words).expect("a command line");
        assert_eq!(args.dir, Path::new("db"));
        args.initial()
    }

    #[derive(Debug, Parser)]
    struct RevertLine {
        #[command(flatten)]
        args: RevertArgs,
    }

    #[derive(Debug, Parser)]
    struct GetLine {
        #[command(flatten)]
        args: GetArgs,
    }

    #[test]
    fn values_and_their_proofs_at_the_head() {
        let state = State::new(Sizes { accounts: 300, contracts: 30, slots: 500, senders: 3, seed: 1 });
        let blocks = StateBlocks::new(&state, 100, 50);
        let mut db = StateDb::at_genesis(state.to_memory(), |root| blocks.genesis_header(root)).expect("a state");
        let get = |words: &str| {
            let words = ["get", "--store", "db"].into_iter().chain(words.split_whitespace());
            GetLine::try_parse_from(words).map(|line| line.args)
        };
        let args = get(&format!("{} 0 0x3 99999 --proof", state.address(0))).expect("options");
        let value = values(&args, &mut db).expect("values");
        let slots = value["storageProof"].as_array().expect("slots");
        assert_eq!(slots.len(), 3);
        assert_eq!(slots[2]["value"], json!("0x0"));
        let proof = db.prove(state.address(0), &args.slots).expect("a proof");
        let account =
            verify_account(&db.state_root(), &state.address(0), &proof.nodes).expect("proven").expect("there");
        assert_eq!(value["storageHash"], json!(account.storage_root));
        assert_eq!(value["codeHash"], json!(account.code_hash));
        for (slot, proof) in slots.iter().zip(&proof.slots) {
            assert_eq!(slot["value"], json!(proof.value));
            assert_eq!(slot["proof"], json!(proof.nodes));
        }
        assert_eq!(super::get(&args, &mut db), Status::Good);
        let absent = values(&get(&Address::ZERO.to_string()).expect("options"), &mut db).expect("values");
        assert_eq!((&absent["exists"], &absent["nonce"]), (&json!(false), &json!(0)));
        assert_eq!(absent["head"]["state_root"], json!(db.state_root()));
        assert!(get("0x12").is_err() && get(&format!("{} 0xg", Address::ZERO)).is_err());

        let revert = |to| RevertLine::try_parse_from(["revert", "--store", "db", "--to", to]).expect("options").args;
        assert_eq!(super::revert(&revert("0"), &mut db), Status::Good);
        assert_eq!(super::revert(&revert("1"), &mut db), Status::Unusable);
        assert_eq!([args.store, revert("1").store], ["db", "db"].map(PathBuf::from));
    }

    #[derive(Debug, Parser)]
    struct StoreLine {
        #[command(subcommand)]
        command: StoreCommand,
    }

    fn store(words: &str) -> Status {
        let words = std::iter::once("store").chain(words.split_whitespace());
        super::main(&StoreLine::try_parse_from(words).expect("a command line").command)
    }

    #[test]
    fn a_generated_store_takes_the_blocks_that_were_built_on_it() {
        let folder = Folder::new("store-blocks");
        let [db, chain, lists] = ["db", "chain.rlp", "lists"].map(|name| folder.path(name));
        let sizes = "--accounts 2000 --contracts 200 --slots 3000 --senders 20 --seed 5 --accesses 300";
        let line = format!("init {db} {sizes} --blocks 3 --chain-file {chain} --list-file {lists}");
        assert_eq!(store(&line), Status::Good);
        assert_eq!(store(&format!("init {db} {sizes}")), Status::Unusable, "the folder is not empty");
        let number = || on_head_of(&db, |db| db.head().number);
        assert_eq!(number(), 0);
        let import = |options: &str| import::tests::status(&format!("{chain} --store {db} {options}"));
        assert_eq!(import("--until 2"), Status::Good);
        assert_eq!(number(), 2);
        assert_eq!(import(&format!("--lists {lists} --sync 5 --mode bal")), Status::Good);
        assert_eq!(number(), 3);
        let root = on_head_of(&db, |db| db.state_root());
        let revert = RevertLine::try_parse_from(["revert", "--store", &db, "--to", "1"]).expect("options").args;
        assert_eq!(on_head(&revert.store, |db| super::revert(&revert, db)), Status::Good);
        assert_eq!(number(), 1);
        assert_eq!(import("--mode sequential"), Status::Good);
        assert_eq!(on_head_of(&db, |db| db.state_root()), root);
        assert_eq!(store(&format!("stat {db} --json")), Status::Good);
        assert_eq!(store(&format!("stat {}", folder.path("none"))), Status::Unusable);
    }

    fn on_head_of<T>(dir: &str, run: impl FnOnce(&mut StateDb) -> T) -> T {
        let (mut db, ..) = open_db(Path::new(dir), 1).expect("a store");
        run(&mut db)
    }

    #[test]
    fn a_store_whose_state_is_complete_has_its_schedule() {
        let folder = Folder::new("store-schedule");
        let path = folder
            .file("genesis.json", r#"{"config": {"chainId": 5}, "gasLimit": "0x1", "difficulty": "0x1", "alloc": {}}"#);
        let sources = [format!("--genesis {path}"), "--accounts 9 --slots 9".to_owned()];
        for (db, source) in ["whole", "generated"].map(|name| folder.0.join(name)).iter().zip(sources) {
            let initial = initial(&source).expect("a state");
            // A process may end directly after this.
            drop(create(db, &initial).expect("a new folder"));
            let (_, config, _) = open_db(db, 1).expect("a store");
            assert_eq!(config, initial.config());
        }
    }

    #[test]
    fn a_store_starts_with_the_state_before_the_block_of_a_bundle() {
        let folder = Folder::new("store-of-bundle");
        let bundles = testing::workload(&folder, "erc20 --gas 1 --accounts 200 --senders 20 --threads 1 --blocks 2");
        let (db, bundle) = (folder.path("db"), &bundles[0].0);
        assert_eq!(store(&format!("init {db} --bundle {bundle}")), Status::Good);
        let blocks = Path::new(bundle).parent().expect("a folder").display();
        assert_eq!(import::tests::status(&format!("{blocks} --store {db}")), Status::Good);
        assert_eq!(on_head_of(&db, |db| db.head().number), 2);
    }

    #[test]
    fn a_bundle_gives_the_state_before_its_block() {
        let folder = Folder::new("store-bundle");
        let (path, _) = testing::workload(&folder, "erc20 --gas 1 --accounts 200 --senders 20 --threads 1").remove(0);
        let Ok(Initial::Whole(whole)) = initial(&format!("--bundle {path}")) else { panic!("a whole state") };
        assert_eq!((whole.header.number, whole.config.chain_id), (0, Devnet::rules().chain_id));
        assert_eq!(whole.config.rules_of(&Devnet::template(&whole.header)), Devnet::rules());
        assert_eq!(StateTries::from_memory(&whole.state).expect("tries").root(), whole.header.state_root);
        let witness = "erc20 --gas 1 --accounts 200 --senders 20 --threads 1 --witness";
        let (path, _) = testing::workload(&folder, witness).remove(0);
        let partial = initial(&format!("--bundle {path}"));
        assert!(partial.is_err_and(|error| error.contains("only the part")));
        assert!(initial("--bundle missing.json").is_err());
    }

    #[test]
    fn a_genesis_file_gives_state_header_and_schedule() {
        let folder = Folder::new("store-genesis");
        let path = folder.file(
            "genesis.json",
            r#"{"config": {"chainId": 5, "homesteadBlock": 0}, "gasLimit": "0x1000", "difficulty": "0x1",
                "alloc": {"0x00000000000000000000000000000000000000aa": {"balance": "0x5"}}}"#,
        );
        let Ok(Initial::Whole(whole)) = initial(&format!("--genesis {path}")) else { panic!("a whole state") };
        assert_eq!((whole.header.number, whole.header.gas_limit, whole.config.chain_id), (0, 0x1000, 5));
        assert_eq!(StateTries::from_memory(&whole.state).expect("tries").root(), whole.header.state_root);
        let named = initial("--genesis mainnet");
        assert!(named.is_err_and(|error| error.contains("give its genesis file")));
    }

    #[test]
    fn a_generated_state_has_the_sizes_of_the_options() {
        let generated = initial("--accounts 1000 --seed 3").expect("a state");
        let header = generated.header(B256::with_last_byte(1));
        assert_eq!((header.number, header.state_root), (0, B256::with_last_byte(1)));
        assert_eq!(generated.config().rules_of(&header), Devnet::rules());
        let Initial::Generated { state, .. } = generated else { panic!("a generated state") };
        let sizes = Sizes { accounts: 1_000, contracts: 100, slots: 5_000, senders: 2_000, seed: 3 };
        assert_eq!(*state.sizes(), sizes);
        let parse = |options: &str| Line::try_parse_from(["init", "db"].into_iter().chain(options.split_whitespace()));
        assert!(parse("").is_err() && parse("--slots 5").is_err() && parse("--accounts 5 --genesis a.json").is_err());
    }
}
