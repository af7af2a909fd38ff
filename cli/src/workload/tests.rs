//! Checks of every family with a small state: all modes accept the blocks, the blocks have the
//! requested gas, equal seeds give equal bytes, and both forms of bundles work.

use super::super::engine::{Chain, Engine};
use super::super::testing::{self, Folder};
use super::*;
use balustrade::Mode;
use balustrade::formats::{Content, Document};

/// Every family, with options that make a small state.
const LINES: [&str; 24] = [
    "devnet",
    "transfers",
    "transfers --hot 50 --new 20",
    "erc20",
    "erc20 --tokens 1 --hot 80",
    "amm --pools 5",
    "amm --pools 1 --hot 100",
    "compute",
    "storage --slots 2000",
    "deploy",
    "deploy --size 200",
    "7702",
    "precompiles",
    "calldata --size 2000",
    "worst-trie --slots 10000 --deletes 20",
    "worst-trie --shape deep --slots 10000 --deletes 20",
    "worst-trie --shape accounts",
    "worst-list",
    "worst-code --contracts 300 --size 2000",
    "worst-code --kind hash --contracts 300 --size 2000",
    "worst-code --kind size --contracts 300 --size 2000",
    "worst-code --kind copy --contracts 300 --size 2000",
    "worst-code --kind call --contracts 300 --size 2000",
    "worst-code --kind init",
];

/// The bundles of a family with a small state.
fn make(folder: &str, options: &str) -> Vec<(String, Vec<u8>)> {
    testing::workload(&Folder::new(folder), &format!("{options} --accounts 400 --senders 60 --threads 2"))
}

/// Executes a written bundle in all modes; returns the gas used and the number of failed
/// transactions.
fn execute(engine: &mut Engine, name: &str, gzipped: &[u8]) -> (u64, usize) {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzipped), &mut bytes).expect("gzip");
    let document = Document { name: name.to_owned(), bytes };
    let Ok(Content::Bundle(bundle)) = Content::parse(&document, None) else { panic!("{name}: no bundle") };
    let rules = bundle.rules.expect("a fork");
    let mut chain = Chain::of_bundle(&bundle).expect("a state with the root that the file says");
    let mut first = None;
    for mode in [Mode::Sequential, Mode::Optimistic, Mode::Bal] {
        let list = bundle.bal.as_ref().into();
        let accepted =
            engine.execute_or_record(&mut chain, &rules, &bundle.block, list, Some(mode), false).expect("valid");
        assert!(accepted.outcome.unchecked.is_empty(), "{name}");
        assert_eq!(accepted.outcome.hash, bundle.hash);
        let first = first.get_or_insert(accepted);
        assert_eq!(first.outcome.bal, *bundle.bal.as_ref().expect("a list"));
    }
    let outcome = first.expect("three modes").outcome;
    (outcome.gas_used, outcome.transactions.iter().filter(|transaction| !transaction.success).count())
}

#[test]
fn every_family_reaches_the_requested_gas_and_runs_in_every_mode() {
    let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
    for (number, line) in LINES.into_iter().enumerate() {
        for (name, bytes) in make(&format!("fill-{number}"), &format!("{line} --gas 3 --blocks 2")) {
            let (gas, failed) = execute(&mut engine, &name, &bytes);
            // The gas differs from the request by at most half of the largest transaction.
            assert!((2_850_000..=3_150_000).contains(&gas), "{line}: {gas}");
            assert_eq!(failed, 0, "{line}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_bytes_and_different_seeds_different_bytes() {
    for (number, line) in LINES.into_iter().enumerate().filter(|(number, _)| number % 3 == 0) {
        let make =
            |turn: u32, seed: u64| make(&format!("seed-{number}-{turn}"), &format!("{line} --gas 1 --seed {seed}"));
        let bytes = |files: Vec<(String, Vec<u8>)>| files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
        let (one, again, other) = (bytes(make(0, 7)), bytes(make(1, 7)), bytes(make(2, 8)));
        assert_eq!(one, again, "{line}");
        assert_ne!(one, other, "{line}");
    }
}

#[test]
fn a_witness_gives_the_same_results_as_the_whole_state() {
    let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
    for line in ["devnet", "erc20", "worst-trie --shape deep --slots 10000 --deletes 50", "deploy --size 200"] {
        let complete = make("complete", &format!("{line} --gas 2 --blocks 2"));
        let witness = make("witness", &format!("{line} --gas 2 --blocks 2 --witness"));
        for ((name, complete), (_, witness)) in complete.iter().zip(&witness) {
            assert_eq!(execute(&mut engine, name, complete), execute(&mut engine, name, witness), "{line}");
        }
    }
}

#[test]
fn several_blocks_do_not_go_into_one_file() {
    assert_eq!(testing::workload_status("transfers --blocks 2 --out x.json"), Status::Unusable);
}
