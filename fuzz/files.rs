//! Fuzz targets of the file readers, shared by cargo-fuzz and by `tests/hostile_files.rs`.
//!
//! In: bytes of a file. Out: nothing; a panic is a finding.

#![allow(unreachable_pub, reason = "a module of several crates")]

use balustrade::exec::wire::Header;
use balustrade::formats::{
    BlockTest, Content, Document, StateTest, is_recorded, list_from_json, parse_tests, recorded_lists,
};

fn document(bytes: &[u8]) -> Document {
    Document { name: "fuzz/input.json".to_owned(), bytes: bytes.to_vec() }
}

/// Parses the bytes as a bundle or as tests; anything else must be a typed error with a text.
pub fn content(bytes: &[u8]) {
    match Content::parse(&document(bytes), None) {
        Ok(Content::Bundle(bundle)) => {
            let _ = Header::of_block(&bundle.block);
            assert!(bundle.block_hashes.is_sorted());
        }
        Ok(Content::Tests(tests)) => {
            let rules = |test: &BlockTest| test.network.as_ref().map(|network| network.rules(1, 1));
            tests.iter().filter_map(rules).for_each(drop);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Parses the bytes as state tests and builds the block of each case; the block's header is decoded again.
pub fn state_tests(bytes: &[u8]) {
    for test in parse_tests::<StateTest>(&document(bytes), None).unwrap_or_default() {
        for case in &test.cases {
            if let (Some(rules), Ok(transaction)) = (&case.rules, &case.transaction) {
                let _ = Header::of_block(&test.block(rules, transaction));
            }
        }
    }
}

/// Parses the bytes as block access lists in their JSON forms.
pub fn lists(bytes: &[u8]) {
    let document = document(bytes);
    let _ = list_from_json(&document);
    if is_recorded(bytes) {
        let _ = recorded_lists(&document);
    }
}
