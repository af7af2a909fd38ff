//! Hostile files: damaged, deeply nested or very long ones are typed errors, or are read correctly.

#[path = "../fuzz/files.rs"]
mod files;

use balustrade::formats::{self, Content, Document, InputError};
use balustrade_cli::testing::shared;
use flate2::read::GzDecoder;
use std::io::Read;

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

#[test]
fn damaged_bundles_and_tests() {
    let mut rng = Rng(23);
    let mut count = 0;
    let mut try_all = |text: &[u8], times: usize| {
        run_all(text);
        for _ in 0..times {
            run_all(&damage(text, &mut rng));
            count += 1;
        }
    };
    for part in ["bundles/prestate/mainnet-46147.json.gz", "bundles/prestate/mainnet-2688148.json.gz"] {
        let Some(path) = shared(part) else { continue };
        let mut text = Vec::new();
        GzDecoder::new(std::fs::File::open(path).expect("readable")).read_to_end(&mut text).expect("readable");
        let document = Document { name: part.to_owned(), bytes: text.clone() };
        assert!(matches!(Content::parse(&document, None), Ok(Content::Bundle(_))), "{part}");
        try_all(&text, 1500);
    }
    for (part, every) in [("fixtures/amsterdam.tar.zst", 400), ("fixtures/eest-state.tar.zst", 500)] {
        let Some(path) = shared(part) else { continue };
        let mut number = 0;
        let read = formats::each_document(&path, &mut |_| (), &mut |document| {
            number += 1;
            if number % every == 0 && document.bytes.len() < 200_000 {
                try_all(&document.bytes, 30);
            }
            std::ops::ControlFlow::Continue(())
        });
        assert!(read.is_ok());
    }
    println!("{count} damaged documents");
}

#[test]
fn input_that_is_not_json_is_a_typed_error() {
    for text in [&b""[..], b"{", b"\xff\xfe", b"{\"chainId\": 1}", b"[]", b"{\"a\": 1} x"] {
        let document = Document { name: "file".to_owned(), bytes: text.to_vec() };
        assert!(matches!(Content::parse(&document, None), Err(InputError::Json { .. })), "{text:?}");
    }
}
