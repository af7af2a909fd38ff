//! Lists the library's public interface, one item a line, or compares it with a stored list.
//!
//! `public_api RUSTDOC.json` prints the list; `public_api RUSTDOC.json LIST.txt` prints the differences and ends with
//! status 1 if there are any. `scripts/public-api` makes the rustdoc JSON. Its format changes between versions of Rust:
//! with another version than that of `public-api` the program says so and ends with status 3.

use public_api::Builder;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// The format that the pinned version of `public-api` reads.
const FORMAT_VERSION: u64 = 57;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let json = arguments.next().ok_or("usage: public_api RUSTDOC.json [LIST.txt]")?;
    let version =
        serde_json::from_reader::<_, serde_json::Value>(std::fs::File::open(&json)?)?["format_version"].as_u64();
    if version != Some(FORMAT_VERSION) {
        println!("{json} has format {version:?}, this program reads {FORMAT_VERSION}");
        return Ok(ExitCode::from(3));
    }
    let api = Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    let found: BTreeSet<String> = api.items().map(ToString::to_string).collect();
    let Some(list) = arguments.next() else {
        found.iter().for_each(|item| println!("{item}"));
        return Ok(ExitCode::SUCCESS);
    };
    let listed = std::fs::read_to_string(&list)?;
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    found.difference(&listed).for_each(|item| println!("+ {item}"));
    listed.difference(&found).for_each(|item| println!("- {item}"));
    if found != listed {
        println!("the public interface differs from {list}; if that is intended, write the new list to it");
        return Ok(ExitCode::FAILURE);
    }
    println!("the public interface has {} items, as listed in {list}", found.len());
    Ok(ExitCode::SUCCESS)
}
