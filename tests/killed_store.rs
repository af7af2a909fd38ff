//! A store in real files, whose process is killed at any moment (SIGKILL), again and again.
//!
//! In: a child process that appends records and makes checkpoints, and reports what was acknowledged. Out: after each
//! kill every acknowledged record and checkpoint is there, for both page stores.
//! `BALUSTRADE_KILLS` sets how often each is killed. Not here: losses of power, which need a simulated disk
//! (`disk/*/tests.rs`).

use alloy_primitives::{B256, Bytes};
use balustrade::disk::log::{Entry, Record, RecordKind};
use balustrade::disk::pages::{Checkpoint, Head, PageId, UnitKey, UnitPlace};
use balustrade::disk::store::{Description, OpenOptions, PagesKind, Store};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Names the folder of the store to the child process.
const FOLDER: &str = "BALUSTRADE_KILLED_STORE";
const PAGE_BYTES: usize = 1024;
/// Records between two checkpoints.
const RECORDS: u64 = 7;

fn options() -> OpenOptions {
    let mut options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    // Small, so that segments begin often.
    options.log.segment_bytes = 20_000;
    options
}

fn part(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + number as usize % 300)
}

fn check_record(record: &Record) {
    assert_eq!((record.kind, record.block), (RecordKind::Block, record.number));
    assert_eq!(record.parts, [part(record.number)]);
}

/// The page of a checkpoint. Its number is free again two checkpoints after it is no longer used.
fn page(sequence: u64) -> (PageId, Vec<u8>) {
    (PageId((sequence % 3) as u32), sequence.to_le_bytes().repeat(PAGE_BYTES / 8))
}

fn unit(sequence: u64) -> (UnitKey, UnitPlace) {
    let key = UnitKey { owner: None, path: Default::default() };
    (key, UnitPlace { page: page(sequence).0, index: 0, leaves: sequence as u16, item: [0; 33] })
}

/// Checks all that the store holds; returns the numbers of the last record and of the last checkpoint.
fn check(store: &Store) -> (u64, u64) {
    let head = store.pages.head().expect("a head");
    let (sequence, last) = head.map_or((0, 0), |(head, _)| (head.sequence, head.record));
    let found = Mutex::new(Vec::new());
    let each = |_, units| {
        found.lock().expect("no panic").extend(units);
        Ok(())
    };
    store.pages.units(&each).expect("units");
    let expected: Vec<_> = (sequence > 0).then(|| unit(sequence)).into_iter().collect();
    assert_eq!(found.into_inner().expect("no panic"), expected);
    if sequence > 0 {
        let mut out = [Bytes::new()];
        store.pages.read(&[page(sequence).0], &mut out).expect("the page");
        assert_eq!(out[0], page(sequence).1);
        let (hash, code) = code(sequence);
        let mut out = [None];
        store.pages.codes(&[hash], &mut out).expect("the code");
        assert_eq!(out, [Some(code)]);
    }
    let mut number = store.log.first();
    for record in store.log.records(number) {
        let record = record.expect("a whole record");
        assert_eq!(record.number, number);
        check_record(&record);
        number += 1;
    }
    assert!(number > last, "the log reaches the checkpoint");
    (number - 1, sequence)
}

fn code(sequence: u64) -> (B256, Bytes) {
    let code = Bytes::from(part(sequence));
    (alloy_primitives::keccak256(&code), code)
}

/// What the child process does: writes until it is killed, and reports each acknowledged record.
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (mut store, _) = Store::open(Path::new(&folder), &options()).expect("a store");
    let (_, mut sequence) = check(&store);
    loop {
        let number = store.log.next();
        let part = part(number);
        let entry = Entry { kind: RecordKind::Block, block: number, hash: B256::ZERO, parts: &[&part] };
        assert_eq!(store.log.append(&entry), Ok(number));
        if number.is_multiple_of(RECORDS) {
            sequence += 1;
            let head = Head { sequence, number, record: number, ..Head::default() };
            let (pages, units, codes) = ([page(sequence)], [unit(sequence)], [code(sequence)]);
            let checkpoint =
                Checkpoint { head, pages: &pages, units: &units, removed: &[], codes: &codes, header: b"header" };
            store.pages.checkpoint(&checkpoint).expect("a checkpoint");
            store.log.prune(number.saturating_sub(5 * RECORDS)).expect("a removal");
        }
        // Not `println`, whose output the test harness collects.
        let mut out = std::fs::OpenOptions::new().write(true).open("/dev/stdout").expect("a pipe");
        // One write, so that a kill does not cut the line.
        let line = format!("acknowledged {number} {sequence}\n");
        out.write_all(line.as_bytes()).expect("the parent reads");
    }
}

fn kill_again_and_again(pages: PagesKind) {
    let name = format!("balustrade-killed-{}-{}", pages.name(), std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    let description = Description::new(pages, PAGE_BYTES as u32, 1, B256::ZERO).expect("random bytes");
    drop(Store::create(&folder, description, &options()).expect("a new folder"));
    let kills = std::env::var("BALUSTRADE_KILLS").map_or(10, |kills| kills.parse().expect("a number"));
    let mut acknowledged = (0, 0);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_process", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut next = || {
            let numbers = output.find_map(|line| Some(line.strip_prefix("acknowledged ")?.to_owned()))?;
            let (record, sequence) = numbers.split_once(' ').expect("two numbers");
            Some((record.parse().expect("a number"), sequence.parse().expect("a number")))
        };
        // After some records, so that a slow machine makes progress, too; then at different moments.
        for _ in 0..1 + kill * 13 % 40 {
            acknowledged = next().expect("the child process runs until it is killed");
        }
        std::thread::sleep(Duration::from_micros(kill * 397 % 3001));
        child.kill().expect("a process of ours");
        child.wait().expect("it has ended");
        while let Some(numbers) = next() {
            acknowledged = numbers;
        }
        let (store, _) = Store::open(&folder, &options()).expect("a store whose process was killed");
        let (record, sequence) = check(&store);
        assert!(record >= acknowledged.0 && sequence >= acknowledged.1, "{record} {sequence} {acknowledged:?}");
    }
    assert!(acknowledged.1 > 0, "at least one checkpoint was made");
    std::fs::remove_dir_all(&folder).expect("a folder of ours");
}

#[test]
#[cfg(unix)]
fn stores_survive_kills() {
    // One after the other: a process that starts has the open files of its parent, and so its locks, for a moment.
    kill_again_and_again(PagesKind::Files);
    kill_again_and_again(PagesKind::Redb);
}
