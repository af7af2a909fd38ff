//! `balustrade enginetest`: runs EEST engine tests, and block tests as calls of the Engine API.
//!
//! In: fixtures `blockchain_test_engine`, `blockchain_test_engine_x` (with its folder of pre-allocation groups) and
//! `blockchain_test`. Out: results, printed by `suite`.
//! Each test has a handler of its own, which is called in process. A test passes if each payload is answered as the
//! fixture says, and the head is at the end the fixture's last block.
//! Not here: the Engine API (`serve`).

use super::engine::Engine;
use super::serve::{Handler, Port};
use super::suite::{self, GethArgs, Outcome, SuiteArgs, TestFailure, TestResult};
use super::{Status, interrupt, loop_parser, names_like};
use alloy_primitives::{Address, B64, B256, Bloom, Bytes};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::{ChainConfig, Step};
use balustrade::exec::wire::{Block, Header};
use balustrade::formats::genesis::BlobScheduleJson;
use balustrade::formats::json::{Alloc, Entries, Quantity};
use balustrade::formats::{
    BlockTest, BlockTestJson, Document, InputError, TestFormat, network_chain, parse_tests, read_document,
};
use balustrade::{Fork, MemoryStore, StateDb};
use clap::Args;
use regex::Regex;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  balustrade enginetest fixtures/blockchain_tests_engine
  balustrade enginetest engine_x/ --pre-alloc-dir engine_x/pre_alloc
  balustrade enginetest suite.tar.zst --run eip7928 --json";

/// Options of `enginetest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EnginetestArgs {
    /// Fixture files, folders, .tar.gz or .tar.zst archives; without any, paths are read from
    /// standard input, one per line
    paths: Vec<PathBuf>,
    /// Run only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Folder of the pre-allocation groups that tests of the format blockchain_test_engine_x name
    #[arg(long, value_name = "DIR")]
    pre_alloc_dir: Option<PathBuf>,
    /// Number of threads that execute a block; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    geth: GethArgs,
}

impl EnginetestArgs {
    /// Returns the options with the meaning that they have for go-ethereum's `evm`.
    pub fn called_evm(self) -> Self {
        Self { json: false, geth: self.geth.called_evm(self.json), ..self }
    }
}

/// Runs the command.
pub fn main(args: &EnginetestArgs) -> Status {
    let geth = &args.geth;
    let exec = SuiteArgs { threads: args.threads, loop_kind: args.loop_kind, json: args.json, geth };
    suite::run(&args.paths, exec, |worker, document| {
        // Groups may lie below the folder of the tests.
        if is_group(document) {
            return Ok(Vec::new());
        }
        let tests: Vec<AnyTest> = parse_tests(document, Some(&names_like(args.run.as_ref())))?;
        let wanted = tests.into_iter().take_while(|_| interrupt::flow().is_continue());
        let results = wanted.map(|test| {
            let ended = worker.run_owned(|engine| test.run(engine, args.pre_alloc_dir.as_deref()));
            let (state_root, outcome) = ended.unwrap_or_else(|failure| (None, Outcome::Failed(failure)));
            if geth.trace {
                geth.write_root(state_root.unwrap_or_default(), Some(matches!(outcome, Outcome::Passed)));
            }
            let (name, network, blocks) = test.describe();
            TestResult { name, network, blocks, state_root, outcome }
        });
        Ok(results.collect())
    })
}

/// State root of the head at the end, and whether the test passed.
type Ended = Result<(Option<B256>, Outcome), TestFailure>;

/// A test of either format.
enum AnyTest {
    Engine(Box<EngineTest>),
    Block(Box<BlockTest>),
}

/// A test that has calls of the Engine API.
struct EngineTest {
    name: String,
    network_name: String,
    network: Option<ChainConfig>,
    start: Start,
    payloads: Vec<PayloadCall>,
    last_block_hash: B256,
}

/// Where a test begins.
enum Start {
    /// At its own genesis.
    Own(MemoryStore, Box<Header>),
    /// At that of a group.
    Group(String),
}

/// One call of `engine_newPayload`.
struct PayloadCall {
    version: u8,
    forkchoice_version: u8,
    params: String,
    block_hash: B256,
    expected: Expected,
}

/// The answer that a test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// `VALID`.
    Valid,
    /// `INVALID`, for one of these exceptions, joined by `|`.
    Invalid(String),
    /// An error with this code.
    Error(i64),
    /// Anything but `VALID`: a block that cannot be written as a payload; the exceptions.
    Refused(String),
}

/// The keys that tell the formats apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a test")]
struct Probe<'a> {
    #[serde(borrow)]
    engine_new_payloads: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of an engine test")]
struct EngineTestJson<'a> {
    network: String,
    pre: Option<Alloc>,
    pre_hash: Option<String>,
    genesis_block_header: Option<HeaderJson>,
    #[serde(borrow)]
    engine_new_payloads: Vec<PayloadJson<'a>>,
    lastblockhash: B256,
    #[serde(default)]
    config: ConfigJson,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the chain's configuration")]
struct ConfigJson {
    #[serde(rename = "chainid", alias = "chainId", default)]
    chain_id: Option<Quantity>,
    #[serde(default)]
    blob_schedule: Entries<String, BlobScheduleJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a payload call")]
struct PayloadJson<'a> {
    #[serde(borrow)]
    params: &'a RawValue,
    new_payload_version: Quantity,
    forkchoice_updated_version: Quantity,
    validation_error: Option<Value>,
    error_code: Option<Value>,
}

/// A pre-allocation group.
#[derive(Deserialize)]
#[serde(expecting = "a pre-allocation group with `pre` and `genesis`")]
struct GroupJson {
    pre: Alloc,
    genesis: HeaderJson,
}

/// A header as fixtures have it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a header")]
struct HeaderJson {
    parent_hash: B256,
    uncle_hash: B256,
    coinbase: Address,
    state_root: B256,
    transactions_trie: B256,
    receipt_trie: B256,
    bloom: Bloom,
    difficulty: Quantity,
    number: Quantity,
    gas_limit: Quantity,
    gas_used: Quantity,
    timestamp: Quantity,
    extra_data: Bytes,
    mix_hash: B256,
    nonce: B64,
    base_fee_per_gas: Option<Quantity>,
    withdrawals_root: Option<B256>,
    blob_gas_used: Option<Quantity>,
    excess_blob_gas: Option<Quantity>,
    parent_beacon_block_root: Option<B256>,
    requests_hash: Option<B256>,
    block_access_list_hash: Option<B256>,
    slot_number: Option<Quantity>,
    hash: B256,
}

impl HeaderJson {
    /// The header.
    fn header(self) -> Result<Header, String> {
        let number = |quantity: Quantity| u64::try_from(quantity.0).map_err(|_| "a header field is wider than 64 bits");
        let optional = |quantity: Option<Quantity>| quantity.map(number).transpose();
        let header = Header {
            parent_hash: self.parent_hash,
            ommers_hash: self.uncle_hash,
            coinbase: self.coinbase,
            state_root: self.state_root,
            transactions_root: self.transactions_trie,
            receipts_root: self.receipt_trie,
            logs_bloom: self.bloom,
            difficulty: self.difficulty.0,
            number: number(self.number)?,
            gas_limit: number(self.gas_limit)?,
            gas_used: number(self.gas_used)?,
            timestamp: number(self.timestamp)?,
            extra_data: self.extra_data,
            mix_hash: self.mix_hash,
            nonce: self.nonce,
            base_fee: optional(self.base_fee_per_gas)?,
            withdrawals_root: self.withdrawals_root,
            blob_gas_used: optional(self.blob_gas_used)?,
            excess_blob_gas: optional(self.excess_blob_gas)?,
            parent_beacon_root: self.parent_beacon_block_root,
            requests_hash: self.requests_hash,
            block_access_list_hash: self.block_access_list_hash,
            slot_number: optional(self.slot_number)?,
        };
        match header.hash() {
            hash if hash == self.hash => Ok(header),
            found => Err(format!("the genesis header has the hash {found}, the file says {}", self.hash)),
        }
    }
}

impl TestFormat for AnyTest {
    type Json<'a> = &'a RawValue;

    fn from_json(json: &RawValue, name: String) -> serde_json::Result<Self> {
        let probe: Probe<'_> = serde_json::from_str(json.get())?;
        if probe.engine_new_payloads.is_none() {
            let json: BlockTestJson<'_> = serde_json::from_str(json.get())?;
            return BlockTest::from_json(json, name).map(|test| Self::Block(Box::new(test)));
        }
        let json: EngineTestJson<'_> = serde_json::from_str(json.get())?;
        let chain_id = json.config.chain_id.map_or(1, |id| id.0.saturating_to());
        let network = chain_of(&json.network, chain_id, &json.config.blob_schedule.0);
        let start = match (json.pre, json.genesis_block_header, json.pre_hash) {
            (Some(pre), Some(genesis), _) => {
                Start::Own(pre.into_store(Vec::new()), Box::new(genesis.header().map_err(serde_json::Error::custom)?))
            }
            (_, _, Some(group)) => Start::Group(group),
            _ => return Err(serde_json::Error::custom("neither `pre` with `genesisBlockHeader` nor `preHash`")),
        };
        let payloads = json.engine_new_payloads.iter().map(PayloadCall::of_json).collect::<Result<_, _>>()?;
        Ok(Self::Engine(Box::new(EngineTest {
            name,
            network_name: json.network,
            network,
            start,
            payloads,
            last_block_hash: json.lastblockhash,
        })))
    }
}

impl PayloadCall {
    fn of_json(json: &PayloadJson<'_>) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", expecting = "an execution payload")]
        struct Hash {
            block_hash: B256,
        }
        let params: Vec<&RawValue> = serde_json::from_str(json.params.get())?;
        let payload = params.first().ok_or_else(|| serde_json::Error::custom("a call without parameters"))?;
        let Hash { block_hash } = serde_json::from_str(payload.get())?;
        let version = |quantity: Quantity| quantity.0.saturating_to::<u8>();
        // An error is a name, or a list of names.
        let names = json.validation_error.as_ref().map(|error| match error {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
            error => error.as_str().unwrap_or_default().to_owned(),
        });
        let code = match &json.error_code {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.parse().map_err(serde_json::Error::custom)?),
            Some(code) => Some(code.as_i64().ok_or_else(|| serde_json::Error::custom("errorCode is not a number"))?),
        };
        let expected = match (code, names) {
            (Some(code), _) => Expected::Error(code),
            (None, Some(names)) => Expected::Invalid(names),
            (None, None) => Expected::Valid,
        };
        Ok(Self {
            version: version(json.new_payload_version),
            forkchoice_version: version(json.forkchoice_updated_version),
            params: json.params.get().to_owned(),
            block_hash,
            expected,
        })
    }
}

/// The chain of a fixture's network; `None` if a fork in its name is unknown. EIP-7610 is in force in all forks, as for
/// block tests.
fn chain_of(network: &str, chain_id: u64, schedules: &[(String, BlobScheduleJson)]) -> Option<ChainConfig> {
    let chain = ChainConfig { storage_collision: Some(true), ..network_chain(network, chain_id)? };
    let with_blobs = |chain: ChainConfig, (fork, schedule): &(String, BlobScheduleJson)| match Step::from_key(&format!(
        "{fork}Time"
    )) {
        Some(step) => chain.with_blobs(step, (*schedule).into()),
        None => chain,
    };
    Some(schedules.iter().fold(chain, with_blobs))
}

/// Whether a document is a pre-allocation group.
fn is_group(document: &Document) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keys<'a> {
        #[serde(borrow)]
        pre: Option<&'a RawValue>,
        #[serde(borrow)]
        network: Option<&'a RawValue>,
    }
    let keys = serde_json::from_slice::<Keys<'_>>(&document.bytes);
    keys.is_ok_and(|keys| keys.pre.is_some() && keys.network.is_some())
}

/// Reads a pre-allocation group.
fn read_group(folder: Option<&Path>, name: &str) -> Result<(MemoryStore, Header), TestFailure> {
    let folder = folder.ok_or_else(|| TestFailure::host("the test needs --pre-alloc-dir"))?;
    // A name is one part of a path.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(TestFailure::new("genesis", "preHash is not the name of a file"));
    }
    let path = folder.join(format!("{name}.json"));
    let document = read_document(&path).map_err(|error: InputError| TestFailure::host(error.to_string()))?;
    let group = serde_json::from_slice::<GroupJson>(&document.bytes);
    let group = group.map_err(|error| TestFailure::host(format!("{}: {error}", path.display())))?;
    let header = group.genesis.header().map_err(|error| TestFailure::new("genesis", error))?;
    Ok((group.pre.into_store(Vec::new()), header))
}

impl AnyTest {
    /// Name, network and number of blocks.
    fn describe(&self) -> (String, String, usize) {
        match self {
            Self::Engine(test) => (test.name.clone(), test.network_name.clone(), test.payloads.len()),
            Self::Block(test) => (test.name.clone(), test.network_name.clone(), test.blocks.len()),
        }
    }

    fn run(&self, engine: Engine, groups: Option<&Path>) -> (Option<Engine>, Ended) {
        let network = match self {
            Self::Engine(test) => &test.network,
            Self::Block(test) => &test.network,
        };
        let Some(network) = network else {
            let name = self.describe().1;
            let skipped = Outcome::Skipped(format!("the network {name} is not supported"));
            return (Some(engine), Ok((None, skipped)));
        };
        if network.rules(1, u64::MAX).fork < Fork::Paris {
            let skipped = Outcome::Skipped("blocks before the merge are no payloads".to_owned());
            return (Some(engine), Ok((None, skipped)));
        }
        let start = match self {
            Self::Engine(test) => match &test.start {
                Start::Own(pre, genesis) => Ok((pre.clone(), (**genesis).clone())),
                Start::Group(name) => read_group(groups, name),
            },
            Self::Block(test) => {
                let genesis = Block::decode(test.genesis.clone());
                let genesis = genesis.map_err(|error| TestFailure::new("genesis", error.to_string()));
                genesis.map(|genesis| (test.pre.clone(), genesis.header))
            }
        };
        let db = start.and_then(|(state, header)| {
            StateDb::in_memory(state, header).map_err(|error| TestFailure::new("genesis", error.to_string()))
        });
        let db = match db {
            Ok(db) => db,
            Err(failure) => return (Some(engine), Err(failure)),
        };
        let handler = match Handler::with_engine(engine, db, network.clone(), false) {
            Ok(handler) => handler,
            Err(error) => return (None, Err(TestFailure::host(error))),
        };
        let mut driver = Driver { handler, executed: 0 };
        let ended = match self {
            Self::Engine(test) => driver.run_engine(test),
            Self::Block(test) => driver.run_blocks(test),
        };
        (Some(driver.handler.into_engine()), ended)
    }
}

/// Calls a handler.
struct Driver {
    handler: Handler,
    executed: usize,
}

impl Driver {
    /// The result of a call, or its error.
    fn call(&mut self, method: &str, params: &str) -> Result<Result<Value, (i64, String)>, TestFailure> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let answer = self.handler.answer(Port::Engine, body.as_bytes());
        let broken = |what: &str| TestFailure::new("answer", format!("{method}: {what}"));
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| broken("the answer is not JSON"))?;
        if let Some(error) = answer.get("error") {
            let code = error["code"].as_i64().ok_or_else(|| broken("an error without a code"))?;
            return Ok(Err((code, error["message"].as_str().unwrap_or_default().to_owned())));
        }
        Ok(Ok(answer["result"].take()))
    }

    /// Makes a block the head, which has to be valid.
    fn set_head(&mut self, version: u8, hash: B256) -> Result<(), TestFailure> {
        let state = json!({"headBlockHash": hash, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO});
        let params = json!([state, null]).to_string();
        let answer = self.call(&format!("engine_forkchoiceUpdatedV{version}"), &params)?;
        match answer {
            Ok(answer) if answer["payloadStatus"]["status"] == "VALID" => Ok(()),
            Ok(answer) => Err(TestFailure::new("forkchoice", answer["payloadStatus"].to_string())),
            Err((code, message)) => Err(TestFailure::new("forkchoice", format!("{code}: {message}"))),
        }
    }

    fn run_engine(&mut self, test: &EngineTest) -> Ended {
        if let Some(first) = test.payloads.first() {
            let genesis = self.handler.head().0;
            self.set_head(first.forkchoice_version, genesis)?;
        }
        for payload in &test.payloads {
            let PayloadCall { version, forkchoice_version, params, block_hash, expected } = payload;
            self.payload(*version, params, *block_hash, expected)?;
            if *expected == Expected::Valid {
                self.set_head(*forkchoice_version, *block_hash)?;
            }
        }
        self.end(test.last_block_hash)
    }

    fn run_blocks(&mut self, test: &BlockTest) -> Ended {
        for block in &test.blocks {
            let expected = block.expect_exception.clone().map_or(Expected::Valid, Expected::Refused);
            // A block that does not decode is no payload.
            let decoded = match (Block::decode(block.rlp.clone()), &expected) {
                (Ok(decoded), _) => decoded,
                (Err(error), Expected::Valid) => return Err(TestFailure::new("malformed block", error.to_string())),
                (Err(_), _) => continue,
            };
            let (version, params) = self.handler.payload_call(&decoded, block.bal.as_ref());
            self.payload(version, &params, decoded.header_hash, &expected)?;
            if expected == Expected::Valid {
                let forkchoice_version = match version {
                    1 | 2 => version,
                    3 | 4 => 3,
                    _ => 4,
                };
                self.set_head(forkchoice_version, decoded.header_hash)?;
            }
        }
        self.end(test.last_block_hash)
    }

    /// Sends a payload and compares the answer.
    fn payload(&mut self, version: u8, params: &str, hash: B256, expected: &Expected) -> Result<(), TestFailure> {
        self.executed += 1;
        let number = self.executed;
        let wrong = |kind, what: String| Err(TestFailure::new(kind, format!("payload {number} of the test: {what}")));
        let answer = self.call(&format!("engine_newPayloadV{version}"), params)?;
        let status = answer.as_ref().map(|answer| answer["status"].as_str().unwrap_or_default().to_owned());
        match (expected, &answer, status.as_deref()) {
            (Expected::Valid, Ok(answer), Ok("VALID")) => {
                if answer["latestValidHash"] == json!(hash) {
                    return Ok(());
                }
                wrong("latest valid hash", format!("expected {hash}: {answer}"))
            }
            (Expected::Valid, Ok(answer), _) => wrong("refused a valid payload", answer.to_string()),
            (Expected::Valid, Err((code, message)), _) => {
                wrong("refused a valid payload", format!("{code}: {message}"))
            }
            (Expected::Error(expected), Err((code, _)), _) if code == expected => Ok(()),
            (Expected::Error(expected), answer, _) => wrong("wrong code", format!("expected {expected}: {answer:?}")),
            (Expected::Refused(_) | Expected::Invalid(_), Ok(_), Ok("VALID")) => {
                wrong("accepted an invalid payload", format!("expected {expected:?}"))
            }
            (Expected::Invalid(_), answer, Ok(status)) if status != "INVALID" => {
                wrong("wrong status", format!("{answer:?}"))
            }
            (Expected::Invalid(_), Err((code, message)), _) => wrong("wrong status", format!("{code}: {message}")),
            (Expected::Invalid(names) | Expected::Refused(names), answer, _) => {
                // Only an execution knows the exceptions.
                let found = self.handler.exceptions_of(&hash);
                if found.is_empty() || names.split('|').any(|name| found.contains(&name)) {
                    return Ok(());
                }
                wrong("wrong exception", format!("expected {names}, found {found:?}: {answer:?}"))
            }
        }
    }

    fn end(&mut self, expected: B256) -> Ended {
        self.handler.settle();
        let (found, root) = self.handler.head();
        if found == expected {
            return Ok((Some(root), Outcome::Passed));
        }
        Err(TestFailure::new("wrong head", format!("expected {expected}, found {found}")))
    }
}
