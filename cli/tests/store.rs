//! Stores on disk through the command: created, filled, queried, checked, reverted, and killed in between.

mod command;

use balustrade_cli::testing::{Folder, stored};
use command::{balustrade, status};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The summary of a command that has to end with status 0.
fn summary(args: &[&str]) -> Value {
    let output = balustrade(args, "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().expect("a summary");
    serde_json::from_str::<Value>(last).expect("JSON")["summary"].clone()
}

/// Creates a store with a generated state, and `blocks` blocks on it in the files `chain` and `lists`.
fn generated(folder: &Folder, name: &str, blocks: u64) -> [String; 3] {
    let [db, chain, lists] = ["db", "chain", "lists"].map(|what| folder.path(&format!("{name}-{what}")));
    let count = blocks.to_string();
    let options = ["--accounts", "3000", "--slots", "9000", "--accesses", "200", "--json", "--blocks", &count];
    let files = ["--chain-file", &chain, "--list-file", &lists];
    let made = summary(&[&["store", "init", &db][..], &options, &files].concat());
    assert_eq!(made["head"]["number"], 0);
    [db, chain, lists]
}

#[test]
fn a_store_is_filled_queried_and_reverted() {
    let folder = Folder::new("store-command");
    let [db, chain, lists] = generated(&folder, "one", 6);
    let imported = summary(&["import", &chain, "--lists", &lists, "--store", &db, "--until", "4", "--json"]);
    assert_eq!((&imported["blocks"], &imported["head"]["number"]), (&4.into(), &4.into()));
    let head = summary(&["store", "stat", &db, "--json"])["head"].clone();
    assert_eq!(head, imported["head"]);
    let rest = summary(&["import", &chain, "--lists", &lists, "--store", &db, "--json"]);
    assert_eq!((&rest["blocks"], &rest["skipped"], &rest["head"]["number"]), (&2.into(), &4.into(), &6.into()));
    assert_eq!(summary(&["store", "check", &db, "--json"])["error"], Value::Null);
    assert_eq!(status(&["get", "--store", &db, "0x0000f90827f1c53a10cb7a02335b175320002935", "0", "--proof"]), Some(0));
    let back = summary(&["revert", "--store", &db, "--to", "4", "--json"]);
    assert_eq!(back["head"], head);
    assert_eq!(summary(&["store", "stat", &db, "--json"])["head"], head);
    let again = summary(&["import", &chain, "--lists", &lists, "--store", &db, "--json"]);
    assert_eq!(again["head"], rest["head"]);
    // A byte of a page is changed: the check names it.
    let pages = std::fs::read_dir(&db).expect("a folder").map(|file| file.expect("a file").path());
    let pages = pages.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pages")));
    for path in pages {
        let mut bytes = std::fs::read(&path).expect("pages");
        bytes.chunks_mut(64).for_each(|part| part[0] ^= 1);
        std::fs::write(&path, bytes).expect("pages");
    }
    assert_eq!(status(&["store", "check", &db]), Some(1));
    assert_eq!(status(&["store", "stat", &folder.path("nothing")]), Some(2));
}

#[test]
fn tests_pass_with_their_states_on_disk() {
    let folder = Folder::new("store-blocktest");
    let states = folder.path("states");
    std::fs::create_dir(&states).expect("a folder");
    let chains = stored("chains.tar.zst");
    let summary = summary(&["blocktest", "--json", "--store", &states, chains.to_str().expect("text")]);
    assert_eq!((&summary["failed"], summary["passed"].as_u64() > Some(30)), (&0.into(), true), "{summary}");
    assert_eq!(std::fs::read_dir(&states).expect("a folder").count(), 0, "each state is removed");
}

/// `BALUSTRADE_KILLS`: kills of the importing process (default 10).
#[test]
fn a_killed_import_loses_no_block_and_goes_on() {
    let kills: u64 = std::env::var("BALUSTRADE_KILLS").map_or(10, |kills| kills.parse().expect("a number"));
    let folder = Folder::new("store-kills");
    let [db, chain, lists] = generated(&folder, "killed", 40);
    let import = ["import", &chain, "--lists", &lists, "--store", &db, "--json"];
    let back = || summary(&["revert", "--store", &db, "--to", "0", "--json"])["head"].clone();
    let stat = || summary(&["store", "stat", &db, "--json"])["head"].clone();
    let genesis = stat();
    let expected = summary(&import)["head"].clone();
    assert_eq!(back(), genesis);
    let mut head = 0;
    for kill in 0..kills {
        let mut process = Command::new(env!("CARGO_BIN_EXE_balustrade"))
            .args(import)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        // A block's line is printed when the block is durable.
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = output.lines().map_while(Result::ok).filter(|line| !line.starts_with("{\"summary"));
        // After some blocks, so that a slow machine makes progress, too; then at different moments.
        let mut reported = lines.by_ref().take(kill as usize * 13 % 12).count();
        std::thread::sleep(Duration::from_micros(kill * 397 % 5003));
        process.kill().expect("a process of ours");
        // The last line may be cut.
        reported += lines.filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        process.wait().expect("it has ended");
        let now = stat();
        let number = now["number"].as_u64().expect("a number");
        assert!(
            number >= head + reported as u64,
            "{reported} blocks from {head} on were reported, the head is {number}"
        );
        head = number;
        if now == expected {
            assert_eq!(status(&["store", "check", &db]), Some(0));
            assert_eq!(back(), genesis);
            head = 0;
        }
    }
    assert_eq!(summary(&import)["head"], expected);
    assert_eq!(status(&["store", "check", &db]), Some(0));
}
