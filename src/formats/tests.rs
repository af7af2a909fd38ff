//! Reads the documents of `tests/data`, and in tests that are ignored by default those of the shared folder: its blocks decode, form a chain and encode to the same bytes.
//! Damaged files give typed errors.

use super::*;
use crate::exec::rules::chain::ChainConfig;
use crate::exec::wire::{Block, Header};
use alloy_primitives::{B256, Bytes};
use balustrade_cli::testing::{shared, stored};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn contents(path: &Path, visit: &mut dyn FnMut(Content)) -> Result<(), InputError> {
    let mut parsed = Ok(());
    let flow = each_document(path, &mut |_| (), &mut |document| match Content::parse(&document, None) {
        Ok(content) => {
            visit(content);
            ControlFlow::Continue(())
        }
        Err(error) => {
            parsed = Err(error);
            ControlFlow::Break(())
        }
    });
    parsed.and(flow.map(|_| ()))
}

fn decode_and_encode(name: &str, rlp: &Bytes) -> Block {
    let block = Block::decode(rlp.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(block.header.hash(), block.header_hash, "{name}");
    let mut header = Vec::new();
    block.header.encode(&mut header);
    assert!(rlp.windows(header.len()).take(16).any(|window| window == header), "{name}: header encodes differently");
    block
}

/// Checks that valid blocks decode and form a chain to the last hash. Returns the numbers of tests,
/// of valid blocks, and of invalid blocks refused by decoding.
fn check_suite(path: &Path) -> [usize; 3] {
    let archive = path.display();
    let mut counts = [0; 3];
    contents(path, &mut |content| {
        let Content::Tests(tests) = content else { panic!("{archive} holds tests") };
        for test in tests {
            counts[0] += 1;
            let network = test.network.as_ref().unwrap_or_else(|| panic!("{} is unknown", test.network_name));
            let genesis = decode_and_encode(&test.name, &test.genesis);
            let mut head: B256 = genesis.header_hash;
            for block in &test.blocks {
                match (&block.expect_exception, Block::decode(block.rlp.clone())) {
                    (None, _) => {
                        let decoded = decode_and_encode(&test.name, &block.rlp);
                        assert_eq!(decoded.header.parent_hash, head, "{}", test.name);
                        assert!(
                            [1, 1337]
                                .contains(&network.rules(decoded.header.number, decoded.header.timestamp).chain_id)
                        );
                        let hash = decoded.header.block_access_list_hash;
                        if let (Some(bal), Some(hash)) = (&block.bal, hash) {
                            assert_eq!(alloy_primitives::keccak256(bal), hash, "{}", test.name);
                        }
                        assert_eq!(block.bal.is_some(), hash.is_some(), "{}", test.name);
                        head = decoded.header_hash;
                        counts[1] += 1;
                    }
                    (Some(expected), Err(error)) => {
                        let classes = error.eest_classes();
                        assert!(expected.split('|').any(|name| classes.contains(&name)), "{}: {error}", test.name);
                        counts[2] += 1;
                    }
                    (Some(_), Ok(_)) => {}
                }
            }
            assert_eq!(head, test.last_block_hash, "{}", test.name);
        }
    })
    .unwrap_or_else(|error| panic!("{archive}: {error}"));
    eprintln!("{archive}: tests, valid blocks, blocks refused by decoding: {counts:?}");
    counts
}

#[test]
fn block_tests_decode() {
    let [tests, valid, refused] = check_suite(&stored("chains.tar.zst"));
    assert!(tests > 30 && valid > 100 && refused == 1);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn amsterdam_suite_decodes() {
    let [tests, valid, _] = check_suite(&shared("fixtures/amsterdam.tar.zst"));
    assert_eq!(tests, 12_075);
    assert!(valid > 14_000);
}

#[test]
#[ignore = "needs ../shared/fixtures/eest-amsterdam-devnet5.tar.zst"]
fn draft_suite_has_lists_that_hash_to_their_headers() {
    check_suite(&shared("fixtures/eest-amsterdam-devnet5.tar.zst"));
}

#[test]
#[ignore = "needs ../shared/fixtures"]
fn older_suites_decode() {
    for suite in ["legacy", "paris", "shanghai", "cancun", "prague", "osaka", "transitions", "benchmark"] {
        check_suite(&shared(&format!("fixtures/eest-{suite}.tar.zst")));
    }
}

/// Returns the numbers of cases whose transaction decodes, and does not.
fn check_state_tests(path: &Path) -> [usize; 2] {
    let mut cases = [0; 2];
    let flow = each_document(path, &mut |_| (), &mut |document| {
        let tests: Vec<StateTest> = parse_tests(&document, None).unwrap_or_else(|error| panic!("{error}"));
        for test in &tests {
            for case in &test.cases {
                let rules = case.rules.unwrap_or_else(|| panic!("{} is unknown", case.fork_name));
                let transaction = case.transaction.as_ref().expect("the suite has signed transactions");
                let block = Block::decode(test.block(&rules, transaction));
                assert!(block.is_ok() || case.expect_exception.is_some(), "{}: {block:?}", test.name);
                cases[usize::from(block.is_err())] += 1;
            }
        }
        ControlFlow::Continue(())
    });
    assert!(flow.is_ok());
    cases
}

#[test]
fn state_tests_give_blocks_of_one_transaction() {
    let [decoded, refused] = check_state_tests(&stored("state.tar.zst"));
    assert!(decoded > 20 && refused == 0);
}

#[test]
#[ignore = "needs ../shared/fixtures/eest-state.tar.zst"]
fn state_tests_of_the_suite_give_blocks_of_one_transaction() {
    let cases = check_state_tests(&shared("fixtures/eest-state.tar.zst"));
    assert!(cases.iter().all(|count| *count > 0), "{cases:?}");
}

/// Checks that bundles hold a witness (kind 0), a partial (1) or a complete state (2).
fn check_bundles(paths: impl IntoIterator<Item = (PathBuf, usize)>) {
    for (path, kind) in paths {
        let folder = path.display();
        let mut found_any = false;
        contents(&path, &mut |content| {
            let Content::Bundle(bundle) = content else { panic!("{folder} holds bundles") };
            found_any = true;
            let found = match &bundle.state {
                BundleState::Witness { nodes, .. } => {
                    assert!(!nodes.is_empty());
                    0
                }
                BundleState::Partial(_) => 1,
                BundleState::Complete { store, root } => {
                    assert!(!store.is_empty() && root.is_some());
                    2
                }
            };
            assert_eq!(found, kind, "{}", bundle.name);
            let block = decode_and_encode(&bundle.name, &bundle.block);
            assert_eq!(block.header_hash, bundle.hash, "{}", bundle.name);
            assert!(bundle.rules.is_some() && bundle.bal.is_some(), "{}", bundle.name);
            // The fork of a mainnet block is that of its chain at its number and time.
            if bundle.chain_id != 1337 && kind < 2 {
                let chain = ChainConfig::of_chain_id(bundle.chain_id).expect("a public chain");
                assert_eq!(Some(chain.rules_of(&block.header)), bundle.rules, "{}", bundle.name);
            }
            if let Some(parent) = &bundle.parent_header {
                assert_eq!(Header::decode(parent).map(|header| header.hash()), Ok(block.header.parent_hash));
            }
        })
        .unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert!(found_any, "{folder}");
    }
}

#[test]
fn bundles_with_a_witness_and_with_a_complete_state() {
    let kinds = [("sample.json.gz", 0), ("existence-log.json.gz", 2), ("erc20.json.gz", 2), ("deploy.json.gz", 2)];
    check_bundles(kinds.map(|(name, kind)| (stored(name), kind)));
}

#[test]
#[ignore = "needs ../shared/blocks and ../shared/bundles"]
fn mainnet_bundles_of_all_three_kinds() {
    let kinds = [("bundles/trie", 0), ("bundles/prestate", 1), ("blocks", 2)];
    check_bundles(kinds.map(|(folder, kind)| (shared(folder), kind)));
}

const TEST_FILE: &str = r#"{"a[fork]": {"network": "Cancun", "pre": {"0x0000000000000000000000000000000000000001":
    {"nonce": "0x01", "balance": "0x", "code": "0x00", "storage": {"0x01": "0x02", "0x02": "0x00"}}},
    "genesisRLP": "0xc0", "lastblockhash": "0x0000000000000000000000000000000000000000000000000000000000000000",
    "config": {"chainid": "0x01"}, "postState": {}, "blocks": [{"rlp": "0xc0", "expectException": "A|B"}]}}"#;

fn parse(text: &[u8]) -> Result<Content, InputError> {
    Content::parse(&Document { name: "folder/some.json".into(), bytes: text.to_vec() }, None)
}

#[test]
fn damaged_json_is_a_typed_error() {
    assert!(matches!(parse(TEST_FILE.as_bytes()), Ok(Content::Tests(tests)) if tests.len() == 1));
    for end in 0..TEST_FILE.len() {
        assert!(matches!(parse(&TEST_FILE.as_bytes()[..end]), Err(InputError::Json { .. })), "cut at {end}");
    }
    for at in 0..TEST_FILE.len() {
        let mut text = TEST_FILE.as_bytes().to_vec();
        text[at] = b'}';
        let _ = parse(&text);
    }
    let no_root = r#"{"network": "mainnet", "chainId": 1, "fork": "Osaka", "number": 1, "block": "0xc0",
        "hash": "0x0000000000000000000000000000000000000000000000000000000000000000", "witness": {"state": []}}"#;
    assert!(matches!(parse(no_root.as_bytes()), Err(InputError::Bundle { .. })));
}

#[test]
fn the_filter_skips_tests_unread() {
    let filter = |name: &str| name.starts_with('b');
    let document = Document { name: "some.json".into(), bytes: TEST_FILE.replace("0xc0", "nonsense").into() };
    assert!(matches!(Content::parse(&document, Some(&filter)), Ok(Content::Tests(tests)) if tests.is_empty()));
    assert_eq!(document.short_name(), "some");
}

#[test]
fn files_folders_and_archives_hold_the_same_documents() {
    let folder = std::env::temp_dir().join(format!("balustrade-input-{}", std::process::id()));
    let inner = folder.join("in/.meta");
    std::fs::create_dir_all(&inner).expect("temporary folder");
    std::fs::write(folder.join("in/b.json"), TEST_FILE).expect("write");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(TEST_FILE.as_bytes()).expect("compress");
    std::fs::write(folder.join("in/a.json.gz"), gz.finish().expect("compress")).expect("write");
    std::fs::write(inner.join("index.json"), "not a test").expect("write");
    std::fs::write(folder.join("in/readme.txt"), "not a test").expect("write");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all("suite", folder.join("in")).expect("archive");
    let tar = tar.into_inner().expect("archive");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).expect("compress");
    std::fs::write(folder.join("s.tar.gz"), gz.finish().expect("compress")).expect("write");
    std::fs::write(folder.join("s.tar.zst"), zstd::encode_all(tar.as_slice(), 1).expect("compress")).expect("write");
    std::fs::write(folder.join("cut.tar.zst"), &zstd::encode_all(tar.as_slice(), 1).expect("compress")[..60])
        .expect("write");

    for source in ["in", "s.tar.gz", "s.tar.zst"] {
        let mut names = Vec::new();
        let mut read = 0;
        let flow = each_document(
            &folder.join(source),
            &mut |progress| {
                if let Progress::Read(bytes) = progress {
                    read += bytes
                }
            },
            &mut |document| {
                assert_eq!(document.bytes, TEST_FILE.as_bytes());
                names.push(document.short_name());
                ControlFlow::Continue(())
            },
        );
        assert!(flow.is_ok_and(|flow| flow.is_continue()));
        names.sort();
        assert_eq!(names, ["a", "b"], "{source}");
        assert_eq!(read, total_bytes(&[folder.join(source)]), "{source}");
    }
    let mut ignore = |_: Document| ControlFlow::Continue(());
    assert!(matches!(each_document(&folder.join("cut.tar.zst"), &mut |_| (), &mut ignore), Err(InputError::Io { .. })));
    assert!(matches!(each_document(&folder.join("none.json"), &mut |_| (), &mut ignore), Err(InputError::Io { .. })));
    assert!(each_document(&folder.join("in/.meta"), &mut |_| (), &mut ignore).is_ok());
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).expect("temporary folder");
    assert!(matches!(each_document(&empty, &mut |_| (), &mut ignore), Err(InputError::Empty { .. })));
    std::fs::remove_dir_all(&folder).expect("clean up");
}

/// Blocks of an earlier draft of Amsterdam with different gas rules: state roots computed from
/// their block access lists alone must be those of the headers.
#[test]
#[ignore = "needs ../shared/fixtures/eest-amsterdam-devnet5.tar.zst"]
fn lists_of_the_april_draft_give_the_state_roots_of_their_headers() {
    use crate::bal::{self, Limits};
    use crate::trie::StateTries;
    let path = shared("fixtures/eest-amsterdam-devnet5.tar.zst");
    let mut proven = 0;
    contents(&path, &mut |content| {
        let Content::Tests(tests) = content else { panic!("the archive holds tests") };
        for test in tests {
            let mut store = test.pre.clone();
            let mut tries = StateTries::from_memory(&store).expect("a state in memory has tries");
            for block in test.blocks.iter().filter(|block| block.expect_exception.is_none()) {
                let header = Header::of_block(&block.rlp).unwrap_or_else(|error| panic!("{}: {error}", test.name));
                // Blocks before the fork have no block access list, so the state of blocks after
                // them is not known.
                let Some(list) = &block.bal else { break };
                let columns =
                    bal::decode(list, &Limits::format_only()).unwrap_or_else(|error| panic!("{}: {error}", test.name));
                assert_eq!(Some(bal::bal_hash(list)), header.block_access_list_hash, "{}", test.name);
                assert_eq!(bal::encode(&columns), *list, "{}", test.name);
                let changes = columns.state_changes(&store).expect("a store in memory answers");
                let root = tries.update(&changes, &store).expect("all nodes are in memory");
                assert_eq!(root, header.state_root, "{}", test.name);
                tries.commit();
                changes.apply_to(&mut store);
                proven += 1;
            }
        }
    })
    .expect("the archive can be read");
    assert!(proven > 5_000, "{proven} blocks");
}
