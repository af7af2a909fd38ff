//! `replay`, `apply`, `run --store` and `store export` through the command: the same head by every way, in memory and on
//! disk; bad blocks named; stopped and continued.

mod command;

use alloy_primitives::hex;
use balustrade::formats::read_document;
use balustrade_cli::testing::{Folder, shared, workload};
use command::{balustrade, command, status, stderr, with_header};
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;

fn parse(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let last = text.lines().last().unwrap_or_else(|| panic!("a summary: {}", stderr(output)));
    serde_json::from_str::<Value>(last).expect("JSON")["summary"].clone()
}

/// The summary of a command that has to end with this status.
fn ends(expected: i32, line: &str) -> Value {
    let args: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
    let output = balustrade(&args, "");
    assert_eq!(output.status.code(), Some(expected), "{line}: {}", stderr(&output));
    parse(&output)
}

fn summary(line: &str) -> Value {
    ends(0, line)
}

/// Creates stores with the same generated state, and 30 blocks on it in the files `chain` and `lists`.
fn generated<const N: usize>(folder: &Folder) -> ([String; N], String, String) {
    let sizes = "--accounts 3000 --slots 9000 --accesses 200";
    let (chain, lists) = (folder.path("chain"), folder.path("lists"));
    let dbs = std::array::from_fn(|at| {
        let db = folder.path(&format!("db-{at}"));
        let blocks = match at {
            0 => format!("--blocks 30 --chain-file {chain} --list-file {lists}"),
            _ => String::new(),
        };
        assert_eq!(summary(&format!("store init {db} {sizes} {blocks}"))["head"]["number"], 0);
        db
    });
    (dbs, chain, lists)
}

fn head(db: &str) -> Value {
    summary(&format!("store stat {db}"))["head"].clone()
}

#[test]
fn every_way_through_a_chain_ends_at_the_same_head() {
    let folder = Folder::new("replay-ways");
    let ([a, b, c, d, e], chain, lists) = generated(&folder);
    let imported = summary(&format!("import {chain} --lists {lists} --store {a}"));
    assert_eq!((&imported["blocks"], &imported["lists"]), (&30.into(), &30.into()));

    // Lists alone, in parts; then the rest of the chain.
    let part = summary(&format!("apply {chain} --lists {lists} --store {b} --range 7 --to 20"));
    assert_eq!((&part["blocks"], &part["head"]["number"]), (&20.into(), &20.into()));
    let checks: Vec<&str> =
        part["unchecked"].as_array().expect("checks").iter().filter_map(|one| one["check"].as_str()).collect();
    assert_eq!(checks, ["transactions", "gas", "receipts_root", "requests", "state_root"]);
    let rest = summary(&format!("apply {chain} --lists {lists} --store {b} --each"));
    assert_eq!((&rest["blocks"], &rest["skipped"], &rest["head"]), (&10.into(), &20.into(), &imported["head"]));
    assert!(rest["seconds"].as_f64() > Some(0.0) && rest["gas"].as_u64() > Some(0));
    let replayed = summary(&format!("replay {chain} --lists {lists} --store {c} --window 1"));
    assert_eq!((&replayed["blocks"], &replayed["head"]), (&30.into(), &imported["head"]));
    for db in [&b, &c] {
        assert_eq!(head(db), imported["head"]);
        assert_eq!(status(&["store", "check", db]), Some(0));
    }

    // Blocks of the log again, which changes nothing.
    for (range, mode, blocks) in [("", "bal", 30), ("--from 11 --to 20", "sequential", 10), ("--to 3", "all", 3)] {
        let again = summary(&format!("replay --store {b} {range} --mode {mode}"));
        assert_eq!(again["blocks"], blocks, "{range}");
        assert_eq!((head(&b), &again["invalid"]), (imported["head"].clone(), &0.into()));
    }
    for range in ["--from 0", "--to 31", "--from 9 --to 8"] {
        assert!(
            unusable(&format!("replay --store {b} {range}")).contains("the log has the blocks 1 to 30, not all of")
        );
    }

    // Out of one store and into another.
    let (out, out_lists) = (folder.path("out.rlp.gz"), folder.path("out-lists"));
    let exported = summary(&format!("store export {b} --out {out} --lists {out_lists}"));
    assert_eq!((&exported["blocks"], &exported["from"], &exported["to"]), (&30.into(), &1.into(), &30.into()));
    assert_eq!(std::fs::read(&out_lists).expect("lists"), std::fs::read(&lists).expect("lists"));
    assert_eq!(summary(&format!("import {out} --lists {out_lists} --store {d}"))["head"], imported["head"]);
    let plain = folder.path("plain.rlp");
    summary(&format!("store export {b} --from 5 --to 6 --out {plain}"));
    let whole = std::fs::read(&chain).expect("the chain");
    let part = std::fs::read(&plain).expect("a part");
    assert!(whole.windows(part.len()).any(|window| window == part));

    // `run` executes on the head of a store and keeps nothing.
    let ran = summary(&format!("run {chain} --store {e} --mode optimistic"));
    assert_eq!((&ran["blocks"], &head(&e)["number"]), (&30.into(), &0.into()));
    assert_eq!(ends(1, &format!("run {chain} --store {e} --mode bal"))["invalid"], 1, "the lists are missing");
}

/// Bundles of consecutive blocks in a folder of their own, in block order.
fn bundles(folder: &Folder, count: u32) -> Vec<String> {
    let options = format!("erc20 --gas 1 --accounts 200 --senders 20 --threads 1 --blocks {count}");
    workload(folder, &options).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_folder_of_bundles_is_a_chain_that_starts_with_the_state_of_the_first() {
    let folder = Folder::new("replay-bundles");
    let paths = bundles(&folder, 12);
    let chain = paths[0].rsplit_once('/').expect("a folder").0;
    let replayed = summary(&format!("replay {chain} --window 1"));
    let applied = summary(&format!("apply {chain}"));
    for summary in [&replayed, &applied] {
        assert_eq!((&summary["blocks"], &summary["head"]["number"]), (&12.into(), &12.into()));
        assert!(summary["seconds"].as_f64() > Some(0.0));
    }
    assert_eq!((&replayed["gas"], &replayed["head"]), (&applied["gas"], &applied["head"]));
    assert_eq!(summary(&format!("replay {chain} --mode all"))["head"], applied["head"]);
    assert_eq!(summary(&format!("apply {chain} --each"))["head"], applied["head"]);

    // The second block is missing; the chain file has no state to start from.
    let (first, third) = (&paths[0], &paths[2]);
    assert_eq!(ends(2, &format!("apply {first} {third}"))["blocks"], 1);
    let rlp = folder.path("chain.rlp");
    let document = read_document(first.as_ref()).expect("a bundle");
    let bundle: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let block = hex::decode(bundle["block"].as_str().expect("text")).expect("hex");
    std::fs::write(&rlp, block).expect("written");
    for name in ["apply", "replay"] {
        assert!(unusable(&format!("{name} {rlp}")).contains("without --store the first file has to have its state"));
        assert_eq!(status(&[name]), Some(2));
    }
    // Lists are needed to apply, not to replay.
    let db = folder.path("db");
    summary(&format!("store init {db} --bundle {first}"));
    assert!(unusable(&format!("apply {rlp} --store {db}")).contains("block 1 has no block access list"));
    assert_eq!(summary(&format!("replay {rlp} --store {db} --mode bal"))["head"]["number"], 1);
    // Windows of blocks give the same head.
    for options in ["", "--window 5", "--window 64 --roots last", "--window 3 --roots last --threads 1"] {
        let together = summary(&format!("replay {chain} {options}"));
        assert_eq!((&together["blocks"], &together["gas"]), (&replayed["blocks"], &replayed["gas"]), "{options}");
        assert_eq!(together["head"], replayed["head"], "{options}");
    }
    assert_eq!(status(&["replay", chain, "--window", "0"]), Some(2));
}

/// What a command complains of that has to end with status 2.
fn unusable(line: &str) -> String {
    let args: Vec<&str> = line.split_whitespace().collect();
    let output = balustrade(&args, "");
    assert_eq!(output.status.code(), Some(2), "{line}");
    stderr(&output)
}

#[test]
fn the_first_bad_block_is_named_and_those_before_it_count() {
    let folder = Folder::new("replay-bad");
    let paths = bundles(&folder, 10);
    let chain = folder.path("bad");
    std::fs::create_dir(&chain).expect("a folder");
    // Block 5 claims another state root, and those behind it follow its new hash.
    let mut parent_hash = None;
    for (number, path) in (1..).zip(&paths) {
        let document = read_document(path.as_ref()).expect("a bundle");
        let mut bundle: Value = serde_json::from_slice(&document.bytes).expect("JSON");
        if number >= 5 {
            bundle = with_header(&bundle, |header| {
                match parent_hash {
                    None => header.state_root.0[0] ^= 1,
                    Some(hash) => header.parent_hash = hash,
                }
                parent_hash = Some(header.hash());
            });
        }
        std::fs::write(format!("{chain}/{number}.json"), bundle.to_string()).expect("written");
    }
    for line in ["replay", "replay --mode sequential", "apply --each", "apply --range 5"] {
        let summary = ends(1, &format!("{line} {chain}"));
        let error = summary["error"].as_str().expect("an error");
        let counts = (&summary["blocks"], &summary["invalid"], &summary["head"]["number"]);
        assert_eq!(counts, (&4.into(), &1.into(), &4.into()), "{line}: {error}");
        assert!(error.starts_with("block 5: ") && error.contains("state root"), "{line}: {error}");
    }
    // The state after block 10 is right, and only its root is compared.
    assert_eq!(summary(&format!("apply {chain}"))["blocks"], 10);
}

/// Runs the command, interrupts it, and returns its output.
#[cfg(unix)]
fn interrupted(line: &str) -> Output {
    let args: Vec<&str> = line.split_whitespace().collect();
    let child = command(&args).spawn().expect("the command starts");
    std::thread::sleep(Duration::from_millis(400));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is here");
    assert!(sent.success());
    child.wait_with_output().expect("the command ends")
}

/// `BALUSTRADE_KILLS`: interruptions (default 4).
#[cfg(unix)]
#[test]
fn a_stopped_replay_goes_on_where_it_stopped() {
    let stops: u32 = std::env::var("BALUSTRADE_KILLS").map_or(4, |stops| stops.parse().expect("a number"));
    let folder = Folder::new("replay-stops");
    let ([whole, stopped], chain, lists) = generated(&folder);
    let expected = summary(&format!("import {chain} --lists {lists} --store {whole}"))["head"].clone();
    let mut reached = 0;
    for round in 0..stops {
        let name = ["replay", "apply --range 2"][round as usize % 2];
        let output = interrupted(&format!("{name} {chain} --lists {lists} --store {stopped} --json"));
        let summary = parse(&output);
        let number = summary["head"]["number"].as_u64().expect("a number");
        assert_eq!(number, reached + summary["blocks"].as_u64().expect("a number"));
        // After the last block the command may have ended before the signal came.
        let status = output.status.code();
        assert!(status == Some(130) || (number == 30 && status == Some(0)), "{status:?} {summary}");
        assert_eq!(head(&stopped), summary["head"]);
        reached = number;
        summary_until(&format!("replay {chain} --lists {lists} --store {stopped}"), &mut reached);
    }
    assert_eq!(summary(&format!("apply {chain} --lists {lists} --store {stopped}"))["head"], expected);
}

/// Goes on by two blocks, if so many are left.
fn summary_until(line: &str, reached: &mut u64) {
    *reached = (*reached + 2).min(30);
    assert_eq!(summary(&format!("{line} --to {reached}"))["head"]["number"], *reached);
}

#[test]
#[ignore = "needs ../shared/blocks"]
fn the_shared_chain_is_replayed_and_applied() {
    let files: Vec<String> =
        (1..=15).map(|number| shared(&format!("blocks/devnet-{number:02}.json.gz")).display().to_string()).collect();
    let files = files.join(" ");
    let replayed = summary(&format!("replay {files} --window 1"));
    let applied = summary(&format!("apply {files}"));
    assert_eq!((&replayed["blocks"], &applied["blocks"]), (&15.into(), &15.into()));
    assert_eq!((&replayed["gas"], &replayed["head"]), (&applied["gas"], &applied["head"]));
}
