//! The state that `balustrade store init` starts with; `revert` and `get`.
//!
//! In: a genesis file, a bundle, or the sizes of a generated state; an open store. Out: [`Initial`]: the
//! state, the header of its block, and the chain's fork schedule; values and proofs at the head.
//! Not here: writing the store (the library), importing blocks (`import`).

use super::devnet::Devnet;
use super::engine::{Chain, Engine, Failure};
use super::workload::state::{Sizes, State};
use super::workload::state_blocks::StateBlocks;
use super::{Status, chain, interrupt, report};
use alloy_primitives::{Address, B256, U256};
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::ommers::Ancestor;
use balustrade::exec::wire::Header;
use balustrade::executor::Body;
use balustrade::formats::json::Quantity;
use balustrade::formats::{self, Bundle, BundleState, Content};
use balustrade::{EMPTY_ROOT, MemoryStore, ParentAccount, StateDb, StateTries, StoreError};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  balustrade store init db --genesis genesis.json
  balustrade store init db --bundle block.json.gz       # the state before this block
  balustrade store init db --accounts 10000000 --slots 50000000";

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
/// their RLP to `chain_file`, and that of their block access lists to `list_file`; both can be imported
/// into a store that starts with the same state.
///
/// # Errors
/// [`Failure`]: a block cannot be built, or is not valid on the head; a file cannot be written.
pub fn build_blocks(
    engine: &mut Engine,
    chain: &mut Chain,
    blocks: &mut StateBlocks<'_>,
    count: u64,
    [chain_file, list_file]: [&mut dyn Write; 2],
) -> Result<(), Failure> {
    let rules = Devnet::rules();
    for _ in 0..count {
        let template = chain.head().map(|head| blocks.template(head));
        let template = template.ok_or_else(|| Failure::Host("the chain has no head to build on".into()))?;
        let transactions = blocks.transactions();
        let built = engine.build(chain, &rules, &template, Body { transactions: &transactions, withdrawals: &[] })?;
        engine.execute_or_record(chain, &rules, &built.block, Some(&built.bal).into(), None, true)?;
        let written = chain_file.write_all(&built.block).and_then(|()| list_file.write_all(&built.bal));
        written.map_err(|error| Failure::Host(error.to_string()))?;
        if interrupt::flow().is_break() {
            break;
        }
    }
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
    /// The block and those before it, newest first, as far as they are known.
    pub ancestors: Vec<Ancestor>,
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
    let ancestors = vec![Ancestor::of_header(header.clone())];
    Ok(Whole { state: genesis.state, header, config, ancestors })
}

fn of_bundle(path: &Path) -> Result<Whole, String> {
    let document = formats::read_document(path).map_err(|error| error.to_string())?;
    let fail = |what: &str| format!("{}: {what}", path.display());
    match Content::parse(&document, None).map_err(|error| error.to_string())? {
        Content::Bundle(bundle) => whole(*bundle).map_err(|what| fail(&what)),
        Content::Tests(_) => Err(fail("block tests, not a bundle")),
    }
}

/// The state before the block of a bundle.
fn whole(bundle: Bundle) -> Result<Whole, String> {
    let BundleState::Complete { store: state, .. } = bundle.state else {
        return Err("the bundle has only the part of the state that its block reads".to_owned());
    };
    let header = bundle.parent_header.ok_or("the bundle has no parentHeader")?;
    let header = Header::decode(&header).map_err(|error| format!("the parent's header: {error}"))?;
    let found = StateTries::from_memory(&state).map_err(|error| error.to_string())?.root();
    if found != header.state_root {
        return Err(format!("the state has the root {found}, the parent's header has {}", header.state_root));
    }
    let config = bundle.chain.ok_or_else(|| format!("the fork {} is not supported", bundle.fork_name))?;
    Ok(Whole { state, header, config, ancestors: bundle.ancestors })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Folder};
    use super::*;
    use balustrade::exec::interpreter::LoopKind;
    use balustrade::formats::chain::ChainReader;
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

    #[test]
    fn built_blocks_are_valid_on_the_same_state() {
        let state = State::new(Sizes { accounts: 2_000, contracts: 200, slots: 3_000, senders: 20, seed: 5 });
        let genesis = || {
            let blocks = StateBlocks::new(&state, 300, 50);
            Chain::at_genesis(state.to_memory(), |root| blocks.genesis_header(root)).expect("a genesis")
        };
        let (mut chain, mut blocks) = (genesis(), StateBlocks::new(&state, 300, 50));
        let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
        let (mut rlp, mut lists) = (Vec::new(), Vec::new());
        build_blocks(&mut engine, &mut chain, &mut blocks, 3, [&mut rlp, &mut lists]).expect("valid blocks");
        let folder = Folder::new("store-blocks");
        let [rlp_path, lists_path] = [("chain.rlp", rlp), ("lists", lists)].map(|(name, bytes)| {
            let path = PathBuf::from(folder.path(name));
            std::fs::write(&path, bytes).expect("writable");
            path
        });
        let mut imported = genesis();
        for item in ChainReader::open(&[rlp_path], Some(&lists_path)).expect("a file") {
            let item = item.expect("a block");
            let list = item.bal.as_ref().into();
            engine.execute_or_record(&mut imported, &Devnet::rules(), &item.block, list, None, true).expect("valid");
        }
        assert_eq!(imported.head().expect("a head").number, 3);
        assert_eq!(imported.head_hash(), chain.head_hash());
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
        assert_eq!(whole.ancestors.len(), 1);
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
