//! Hostile files: damaged, deeply nested or very long ones are typed errors, or are read correctly.

#[path = "../fuzz/files.rs"]
mod files;

use balustrade::formats::{self, Content, Document, InputError};
use balustrade_cli::testing::{shared, stored};
use std::path::{Path, PathBuf};

fn run_all(bytes: &[u8]) {
    files::content(bytes);
    files::state_tests(bytes);
    files::lists(bytes);
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Texts that are inserted at random positions.
const PIECES: [&str; 20] = [
    "null",
    "-1",
    "1e400",
    "0.5",
    "18446744073709551616",
    "\"0x\"",
    "\"0xg\"",
    "\"\"",
    "{}",
    "[]",
    "[[",
    "{\"a\":",
    "\"",
    "\\",
    "\\ud800",
    ",",
    ":",
    "true",
    "\u{0}",
    "\"0x-1\"",
];

fn damage(text: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(text.len().max(1)).min(text.len());
        let end = (at + rng.below(40)).min(text.len());
        match rng.below(6) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => drop(text.splice(at..end, PIECES[rng.below(PIECES.len())].bytes())),
            3 => drop(text.splice(at..at, PIECES[rng.below(PIECES.len())].bytes())),
            4 => {
                // Repeats a key or a value.
                let piece = text[at..end].to_vec();
                drop(text.splice(at..at, piece));
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
    }
    text
}

/// A value nested `depth` deep.
fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    [&open.repeat(depth), inner, &close.repeat(depth)].concat()
}

#[test]
fn nothing_nested_overflows_the_stack() {
    for depth in [10, 127, 128, 129, 1_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"pre\":", "}]")] {
            let value = nested(open, "1", close, depth);
            run_all(value.as_bytes());
            // As a value that the reader skips, keeps as text, or parses.
            for key in ["_info", "blockAccessList", "pre", "preState", "blocks", "block"] {
                run_all(format!("{{\"test\":{{\"{key}\":{value}}}}}").as_bytes());
                run_all(format!("{{\"{key}\":{value}}}").as_bytes());
            }
            // Truncated before the first closing bracket.
            run_all(&value.as_bytes()[..value.len() / 2]);
        }
    }
}

#[test]
fn huge_numbers_and_strings_cost_no_more_than_their_length() {
    let start = std::time::Instant::now();
    for digits in ["f", "0", "9", "z"] {
        let huge = digits.repeat(20 << 20);
        for text in [
            format!("{{\"chainId\":\"0x{huge}\"}}"),
            format!("{{\"chainId\":\"{huge}\"}}"),
            format!("{{\"chainId\":{huge}}}"),
            format!("{{\"chainId\":1,\"block\":\"0x{huge}\"}}"),
            format!("{{\"{huge}\":1}}"),
            format!("[{{\"address\":\"0x{huge}\"}}]"),
        ] {
            files::content(text.as_bytes());
            files::lists(text.as_bytes());
        }
    }
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}

/// Reads every bundle, and damages of it.
fn damage_bundles(paths: &[PathBuf], times: usize) {
    let mut rng = Rng(23);
    for path in paths {
        let document = formats::read_document(path).expect("readable");
        assert!(matches!(Content::parse(&document, None), Ok(Content::Bundle(_))), "{}", path.display());
        run_all(&document.bytes);
        (0..times).for_each(|_| run_all(&damage(&document.bytes, &mut rng)));
    }
}

/// Reads every `every`th document of an archive of tests, and damages of it; returns the number of these documents.
fn damage_archive(path: &Path, every: usize, times: usize) -> usize {
    let mut rng = Rng(29);
    let (mut number, mut taken) = (0, 0);
    let read = formats::each_document(path, &mut |_| (), &mut |document| {
        number += 1;
        if number % every == 0 && document.bytes.len() < 300_000 {
            run_all(&document.bytes);
            (0..times).for_each(|_| run_all(&damage(&document.bytes, &mut rng)));
            taken += 1;
        }
        std::ops::ControlFlow::Continue(())
    });
    assert!(read.is_ok());
    taken
}

#[test]
fn damaged_bundles_and_tests() {
    damage_bundles(&["existence-log.json.gz", "deploy.json.gz"].map(stored), 400);
    assert!(damage_archive(&stored("chains.tar.zst"), 2, 30) > 10);
    assert_eq!(damage_archive(&stored("state.tar.zst"), 1, 100), 1);
}

#[test]
#[ignore = "needs ../shared/bundles and ../shared/fixtures"]
fn damaged_bundles_and_tests_of_the_suites() {
    damage_bundles(
        &["46147", "2688148"].map(|number| shared(&format!("bundles/prestate/mainnet-{number}.json.gz"))),
        1500,
    );
    assert!(damage_archive(&shared("fixtures/amsterdam.tar.zst"), 100, 30) > 4);
    assert!(damage_archive(&shared("fixtures/eest-state.tar.zst"), 500, 30) > 2);
}

#[test]
fn input_that_is_not_json_is_a_typed_error() {
    for text in [&b""[..], b"{", b"\xff\xfe", b"{\"chainId\": 1}", b"[]", b"{\"a\": 1} x"] {
        let document = Document { name: "file".to_owned(), bytes: text.to_vec() };
        assert!(matches!(Content::parse(&document, None), Err(InputError::Json { .. })), "{text:?}");
    }
}
