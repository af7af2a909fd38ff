//! The files of `tests/data` are what the generators of this repository write today: random chains as block tests and
//! state tests, and bundles of `balustrade workload`. With `BALUSTRADE_WRITE_DATA=1` this test writes the files.

mod empty_accounts;
mod hostile;
mod random;
mod signed;

use alloy_primitives::{B256, Bytes, U256, keccak256};
use balustrade::exec::rules::fork::Fork;
use balustrade::formats::{Document, StateTest, each_document, parse_tests};
use balustrade::trie::StateTries;
use balustrade::{Executor, Mode, Options};
use balustrade_cli::testing::{Folder, stored, workload};
use empty_accounts::{RECEIVERS, zero_transfers};
use flate2::Compression;
use flate2::write::GzEncoder;
use hostile::cases::ListedBlock;
use hostile::list::{self, Account};
use hostile::mutators::Parts;
use hostile::trial;
use random::block::{Forks, Generator, RandomBlock};
use random::bundle::bundle;
use random::check::Checker;
use random::fixture::{TestBlock, block_test, state_test};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// The documents of a file by name.
type Documents = BTreeMap<String, Value>;

fn read(path: &Path) -> Documents {
    let mut documents = Documents::new();
    let flow = each_document(path, &mut |_| (), &mut |document| {
        documents.insert(document.short_name(), serde_json::from_slice(&document.bytes).expect("JSON"));
        ControlFlow::Continue(())
    });
    assert!(flow.is_ok(), "{flow:?}");
    documents
}

fn writes() -> bool {
    std::env::var_os("BALUSTRADE_WRITE_DATA").is_some()
}

/// Compares these documents with those of a stored archive, or writes it.
fn check_archive(name: &str, documents: &Documents) {
    let path = stored(name);
    if writes() {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, document) in documents {
            let text = document.to_string() + "\n";
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, format!("{name}.json"), text.as_bytes()).expect("in memory");
        }
        let tar = archive.into_inner().expect("in memory");
        let file = std::fs::File::create(&path).expect("writable");
        let mut encoder = zstd::Encoder::new(file, 19).expect("zstd");
        encoder.write_all(&tar).and_then(|()| encoder.finish().map(drop)).expect("writable");
    }
    let found = read(&path);
    assert_eq!(found.keys().collect::<Vec<_>>(), documents.keys().collect::<Vec<_>>(), "{name}");
    for (test, document) in documents {
        // Not `assert_eq`: the documents are too long to print.
        assert!(found[test] == *document, "{name}: {test} is not what the generator writes");
    }
}

/// The forks since Spurious Dragon: transactions of earlier ones cannot have signatures with a chain id (EIP-155).
fn forks() -> impl Iterator<Item = Fork> {
    Fork::ALL.into_iter().filter(|fork| *fork >= Fork::SpuriousDragon)
}

fn chain(generator: &mut Generator, fork: Fork, seed: u64, blocks: usize) -> Vec<RandomBlock> {
    generator.chain(fork, seed, blocks).unwrap_or_else(|error| panic!("{}, seed {seed}: {}", fork.name(), error.error))
}

fn last_hash(chain: &[RandomBlock]) -> B256 {
    chain.last().expect("a block").built.header.hash()
}

/// One wrong block: the exception of the execution-spec tests, and the change.
type Fault = (&'static str, fn(&mut Parts));

fn balance(parts: &mut Parts) -> &mut Account {
    parts.list.iter_mut().find(|account| !account.balances.is_empty()).expect("a fee is paid")
}

const WRONG: B256 = B256::repeat_byte(0x11);

const MALFORMED_LIST: &str = "BlockException.INVALID_BLOCK_ACCESS_LIST|BlockException.INCORRECT_BLOCK_FORMAT";

const FAULTS: [Fault; 26] = [
    ("BlockException.UNKNOWN_PARENT", |parts| parts.header.parent_hash = WRONG),
    ("BlockException.INVALID_BLOCK_NUMBER", |parts| parts.header.number += 1),
    ("BlockException.INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT", |parts| parts.header.timestamp = 1),
    ("BlockException.INVALID_GASLIMIT", |parts| parts.header.gas_limit *= 2),
    ("BlockException.INVALID_GAS_USED_ABOVE_LIMIT", |parts| parts.header.gas_used = parts.header.gas_limit + 1),
    ("BlockException.EXTRA_DATA_TOO_BIG", |parts| parts.header.extra_data = vec![0; 33].into()),
    ("BlockException.INVALID_BASEFEE_PER_GAS", |parts| parts.header.base_fee = Some(1)),
    ("BlockException.IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS", |parts| parts.header.difficulty = U256::ONE),
    ("BlockException.IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS", |parts| parts.header.ommers_hash = WRONG),
    ("BlockException.INCORRECT_EXCESS_BLOB_GAS", |parts| parts.header.excess_blob_gas = Some(1)),
    ("BlockException.INCORRECT_BLOB_GAS_USED", |parts| parts.header.blob_gas_used = Some(17 << 17)),
    ("BlockException.INVALID_TRANSACTIONS_ROOT", |parts| parts.header.transactions_root = WRONG),
    ("BlockException.INVALID_WITHDRAWALS_ROOT", |parts| parts.header.withdrawals_root = Some(WRONG)),
    ("BlockException.INVALID_BAL_HASH", |parts| parts.header.block_access_list_hash = Some(WRONG)),
    ("BlockException.INVALID_GAS_USED", |parts| parts.header.gas_used -= 1),
    ("BlockException.INVALID_RECEIPTS_ROOT", |parts| parts.header.receipts_root = WRONG),
    ("BlockException.INVALID_LOG_BLOOM", |parts| parts.header.logs_bloom.0.0[7] ^= 2),
    ("BlockException.INVALID_REQUESTS", |parts| parts.header.requests_hash = Some(WRONG)),
    ("BlockException.INVALID_STATE_ROOT", |parts| parts.header.state_root = WRONG),
    // In these the header has the hash of the wrong list.
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| drop(parts.list.pop())),
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| balance(parts).balances[0].1 += U256::ONE),
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| balance(parts).balances[0].0 += 1),
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| balance(parts).reads.push(U256::MAX)),
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| parts.list.push(Account::bare([0xff; 20].into()))),
    ("BlockException.INVALID_BLOCK_ACCESS_LIST", |parts| parts.list.reverse()),
    (MALFORMED_LIST, |parts| parts.raw_list = Some(vec![0xc1, 0xc1])),
];

/// A block with each fault in turn.
fn invalid_blocks(valid: &TestBlock) -> Vec<TestBlock> {
    let bal = valid.bal.clone().expect("an Amsterdam block");
    let whole = ListedBlock { valid: true, rlp: valid.rlp.clone(), bal: bal.clone(), existence_log: None };
    let changed = |(exception, change): &Fault| {
        let mut parts = trial::take_apart(&whole);
        change(&mut parts);
        let wrong: Bytes = parts.raw_list.clone().unwrap_or_else(|| list::encode(&parts.list)).into();
        if wrong != bal {
            parts.header.block_access_list_hash = Some(keccak256(&wrong));
        }
        TestBlock { rlp: trial::assemble(&parts).into(), bal: Some(wrong), exception: Some(exception) }
    };
    let mut blocks: Vec<TestBlock> = FAULTS.iter().map(changed).collect();
    let cut = valid.rlp.slice(..valid.rlp.len() - 1);
    let exception = Some("BlockException.RLP_STRUCTURES_ENCODING");
    blocks.push(TestBlock { rlp: cut, exception, ..valid.clone() });
    blocks
}

/// Number of chains of a fork. Those before Cancun have existence logs, and Amsterdam's have lists.
fn count(fork: Fork) -> u64 {
    match fork {
        Fork::Amsterdam => 10,
        Fork::Constantinople | Fork::Petersburg | Fork::Cancun | Fork::Prague | Fork::Osaka => 1,
        _ => 3,
    }
}

/// Chains of three blocks each, and a chain of two blocks with invalid blocks between them. All of them are checked in
/// all modes and with all dispatch loops.
fn chains() -> Documents {
    let mut generator = Generator::new(Forks::All).expect("threads");
    let mut checker = Checker::new().expect("threads");
    let mut documents = Documents::new();
    for fork in forks() {
        for number in 0..count(fork) {
            let mut chain = chain(&mut generator, fork, 100 * fork as u64 + number, 3);
            for block in &mut chain {
                checker.check(block).unwrap_or_else(|difference| panic!("{}: {difference}", fork.name()));
            }
            let blocks: Vec<TestBlock> = chain.iter().map(TestBlock::valid).collect();
            let name = format!("{}-{number}", fork.name().to_lowercase());
            let test = block_test(&chain[0], &blocks, last_hash(&chain));
            documents.insert(name.clone(), json!({name: test}));
        }
    }
    let tally = checker.tally;
    assert!(tally.by_type.iter().all(|count| *count >= 10), "{tally}");
    assert!(tally.creations > 20 && tally.requests > 10 && tally.logs > 20 && tally.failed > 50, "{tally}");

    let chain = chain(&mut generator, Fork::Amsterdam, 1_000, 2);
    let mut blocks: Vec<TestBlock> = chain.iter().map(TestBlock::valid).collect();
    let invalid = invalid_blocks(&blocks[1]);
    blocks.splice(1..1, invalid);
    let test = block_test(&chain[0], &blocks, last_hash(&chain));
    documents.insert("invalid".to_owned(), json!({"invalid": test}));
    documents
}

#[test]
fn block_tests_are_what_the_generator_writes() {
    check_archive("chains.tar.zst", &chains());
}

/// Two transactions of each fork, with the results of sequential execution.
fn state_tests() -> Documents {
    let mut generator = Generator::new(Forks::All).expect("threads");
    let mut executor = Executor::new(1).expect("threads");
    let mut tests = serde_json::Map::new();
    for fork in forks() {
        for number in 0..2 {
            let blocks = chain(&mut generator, fork, 100 * fork as u64 + 50 + number, 3);
            let block = blocks.iter().find(|block| !block.types.is_empty()).expect("a transaction");
            let name = format!("{}-{number}", fork.name().to_lowercase());
            let unknown = json!({&name: state_test(block, Default::default())});
            let document = Document { name: name.clone(), bytes: unknown.to_string().into_bytes() };
            let test = parse_tests::<StateTest>(&document, None).expect("a state test").remove(0);
            let rules = test.cases[0].rules.expect("a known fork");
            let rlp = test.block(&rules, test.cases[0].transaction.as_ref().expect("signed"));
            let mut tries = StateTries::from_memory(&test.pre).expect("a small state");
            let done = executor.transact(&rules, rlp, &test.pre, &mut tries, Options::new(Mode::Sequential), None);
            let done = done.unwrap_or_else(|error| panic!("{name}: {error}"));
            tests.insert(name, state_test(block, (done.state_root, done.logs_hash)));
        }
    }
    Documents::from([("state".to_owned(), Value::Object(tests))])
}

#[test]
fn state_tests_are_what_the_generator_writes() {
    check_archive("state.tar.zst", &state_tests());
}

/// A block with an existence log: it creates empty accounts, as is possible before Spurious Dragon (EIP-161), which a
/// list cannot express.
#[test]
fn a_block_with_an_existence_log_is_what_the_generator_writes() {
    let mut executor = Executor::new(1).expect("threads");
    let mut block = zero_transfers(Fork::Homestead, &mut executor);
    let log = block.execute(&mut executor).expect("valid").existence_log;
    assert_eq!(log.existence.len(), RECEIVERS.len());
    let bundle = bundle(&block, Some(&log));
    let path = stored("existence-log.json.gz");
    if writes() {
        let file = std::fs::File::create(&path).expect("writable");
        let mut encoder = GzEncoder::new(file, Compression::best());
        writeln!(encoder, "{bundle}").and_then(|()| encoder.finish().map(drop)).expect("writable");
    }
    assert!(read(&path)["existence-log"] == bundle, "another block than the generator's");
}

/// Files of `balustrade workload`, with its options.
const WORKLOADS: [(&str, &str); 4] = [
    ("sample.json.gz", "devnet --gas 2 --accounts 300 --senders 60 --seed 3 --witness"),
    ("erc20.json.gz", "erc20 --gas 2 --accounts 200 --senders 40"),
    ("compute.json.gz", "compute --gas 30 --accounts 100 --senders 10"),
    ("deploy.json.gz", "deploy --gas 3 --accounts 100 --senders 10"),
];

#[test]
fn bundles_are_what_the_command_writes() {
    let folder = Folder::new("stored-data");
    for (name, options) in WORKLOADS {
        let (_, bytes) = workload(&folder, options).remove(0);
        let path = stored(name);
        if writes() {
            std::fs::write(&path, &bytes).expect("writable");
        }
        let made = folder.0.join(name);
        std::fs::write(&made, bytes).expect("writable");
        let [mut found, mut expected] = [&path, &made].map(|path| read(path).into_values().next().expect("a bundle"));
        // It names the version of the command.
        found["source"].take();
        expected["source"].take();
        assert!(found == expected, "{name} is not what `balustrade workload {options}` writes");
    }
}
