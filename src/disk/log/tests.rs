//! The log keeps every acknowledged record, whatever interrupts it, and refuses what is damaged.
//!
//! `BALUSTRADE_CRASH_POINTS` sets how many losses of power are tried.

use super::*;
use crate::disk::files::simulated::{Disk, Random};
use crate::disk::files::tests::crash_points;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const STORE: StoreId = StoreId(*b"a store of tests");

/// A record as a model keeps it.
type Model = Vec<(RecordKind, u64, B256, Vec<Vec<u8>>)>;

fn random_record(random: &mut Random) -> (RecordKind, u64, B256, Vec<Vec<u8>>) {
    let kind = [RecordKind::Block, RecordKind::Revert][random.below(2)];
    let part = |random: &mut Random| {
        let length = [0, 1, 30, 700][random.below(4)];
        // The magic of a record in a part must not confuse the search for records.
        let bytes: Vec<u8> = (0..length).map(|i| RECORD_MAGIC[i % 4] ^ (random.below(8) == 0) as u8).collect();
        bytes
    };
    let count = random.below(5);
    let parts = (0..count).map(|_| part(random)).collect();
    (kind, random.number(), B256::repeat_byte(random.number() as u8), parts)
}

fn append(log: &mut Log, record: &(RecordKind, u64, B256, Vec<Vec<u8>>)) -> Result<u64, DiskError> {
    let (kind, block, hash, parts) = record;
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    log.append(&Entry { kind: *kind, block: *block, hash: *hash, parts: &parts })
}

/// Checks that the log holds the records of the model from number `from` on, up to its own end.
fn check(log: &Log, model: &Model, from: u64) {
    let records: Vec<Record> = log.records(from).collect::<Result<_, _>>().expect("whole records");
    assert_eq!(records.len() as u64, log.next() - from);
    for (number, record) in (from..).zip(records) {
        let (kind, block, hash, parts) = &model[number as usize - 1];
        assert_eq!((record.number, record.kind, record.block, record.hash), (number, *kind, *block, *hash));
        assert!(record.parts.iter().eq(parts), "record {number}");
    }
}

fn options(random: &mut Random) -> LogOptions {
    LogOptions { segment_bytes: [200, 2000, 1 << 20][random.below(3)], group: 1 + random.below(4) as u32, cut: false }
}

fn create(disk: &Disk, options: LogOptions) -> Log {
    Log::create(disk.files(), STORE, options, 1).expect("an empty disk")
}

fn open(disk: &Disk, options: LogOptions, from: u64) -> Result<(Log, LogOpened), DiskError> {
    Log::open(disk.files(), STORE, options, from)
}

#[test]
fn records_come_back_in_order_from_any_number_on() {
    let mut random = Random(1);
    for _ in 0..40 {
        let disk = Disk::default();
        let mut model = Model::new();
        let mut log = create(&disk, options(&mut random));
        let mut first = 1;
        for _ in 0..60 {
            let record = random_record(&mut random);
            model.push(record);
            assert_eq!(append(&mut log, &model[model.len() - 1]), Ok(model.len() as u64));
            match random.below(12) {
                0 => {
                    log.sync().expect("a sync");
                    drop(log);
                    let from = first + random.below(model.len() + 2 - first as usize) as u64;
                    let (opened, found) = open(&disk, options(&mut random), from).expect("a whole log");
                    assert_eq!((found.cut_bytes, opened.next()), (0, model.len() as u64 + 1));
                    log = opened;
                }
                1 => {
                    let needed = first + random.below(model.len() + 2 - first as usize) as u64;
                    log.prune(needed).expect("a removal");
                    assert!(log.first() <= needed.max(first));
                    first = log.first();
                }
                _ => {}
            }
            let from = first + random.below(model.len() + 2 - first as usize) as u64;
            check(&log, &model, from);
        }
        check(&log, &model, first);
        assert!(log.read(model.len() as u64 + 1).is_err());
        if first > 1 {
            assert!(matches!(log.read(first - 1), Err(DiskError::LogIncomplete { .. })));
            assert!(matches!(open(&disk, LogOptions::default(), first - 1), Err(DiskError::LogIncomplete { .. })));
        }
    }
}

/// Opens the log of a disk after a crash, with all that must be there; then goes on with it.
fn check_after_crash(disk: &Disk, options: LogOptions, model: &Model, acknowledged: u64, random: &mut Random) {
    let from = 1 + random.below(acknowledged as usize + 1) as u64;
    // A process that is killed later, and then power is lost: what the log showed once stays.
    let (log, _) = open(disk, options, from).expect("a log that a crash left");
    assert!(log.next() > acknowledged, "{acknowledged} records were acknowledged, {} are there", log.next() - 1);
    assert!(log.next() <= model.len() as u64 + 1);
    check(&log, model, from);
    let next = log.next();
    let disk = disk.power_loss(random);
    let (mut log, opened) = open(&disk, options, from).expect("a log that was opened before");
    assert_eq!((log.next(), opened.cut_bytes), (next, 0));
    let mut model = model[..next as usize - 1].to_vec();
    model.push(random_record(random));
    append(&mut log, &model[model.len() - 1]).expect("an append");
    log.sync().expect("a sync");
    let disk = disk.power_loss(random);
    let (log, _) = open(&disk, options, from).expect("a synced log");
    assert_eq!(log.next(), model.len() as u64 + 1);
    check(&log, &model, from);
}

#[test]
fn a_loss_of_power_at_any_operation_loses_no_acknowledged_record() {
    let points = Arc::new(AtomicUsize::new(0));
    let mut seed = 0;
    while points.load(Ordering::Relaxed) < crash_points() {
        seed += 1;
        let mut random = Random(seed);
        let options = options(&mut random);
        let disk = Disk::default();
        let mut log = create(&disk, options);
        let model = Arc::new(Mutex::new(Model::new()));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (watched, known, counted) = (Arc::clone(&model), Arc::clone(&acknowledged), Arc::clone(&points));
        let mut chance = Random(seed ^ 0xffff);
        disk.watch(move |disk| {
            let model = watched.lock().expect("no panic");
            let acknowledged = known.load(Ordering::Relaxed);
            for _ in 0..2 {
                let disk = if chance.below(4) == 0 { disk.copy() } else { disk.power_loss(&mut chance) };
                check_after_crash(&disk, options, &model, acknowledged, &mut chance);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        for i in 1..=20 {
            let record = random_record(&mut random);
            model.lock().expect("no panic").push(record.clone());
            append(&mut log, &record).expect("a working disk");
            if options.group == 1 || random.below(6) == 0 {
                log.sync().expect("a working disk");
                acknowledged.store(i, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn after_a_failed_operation_the_log_refuses_appends_and_loses_nothing() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let options = LogOptions { group: 1 + random.below(3) as u32, ..options(&mut random) };
        let disk = Disk::default();
        let mut log = create(&disk, options);
        let mut model = Model::new();
        let mut acknowledged = 0;
        if seed % 2 == 0 {
            disk.fail_at(disk.operations() + random.below(30) as u64, &mut random);
        } else {
            disk.set_capacity(disk.bytes() + random.below(4000));
        }
        let mut failed = false;
        for _ in 0..20 {
            model.push(random_record(&mut random));
            let appended = append(&mut log, &model[model.len() - 1]).and_then(|_| log.sync());
            if appended.is_ok() {
                assert!(!failed, "the content of the file is unknown");
                acknowledged = model.len() as u64;
            } else {
                assert!(!failed || appended == Err(DiskError::FailedBefore("the log")));
                if failed {
                    model.pop();
                }
                failed = true;
            }
        }
        check(&log, &model, log.next() - log.next().min(acknowledged));
        // `copy` has no faults. The cache of the operating system may show records that a failed sync has lost.
        check_after_crash(&disk.copy(), options, &model, acknowledged, &mut random);
        check_after_crash(&disk.power_loss(&mut random), options, &model, acknowledged, &mut random);
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let mut seen = [0; 2];
    for seed in 0..1000 {
        let mut random = Random(seed);
        let options = LogOptions { group: 1, ..options(&mut random) };
        let disk = Disk::default();
        let mut log = create(&disk, options);
        let mut model = Model::new();
        for _ in 0..10 {
            model.push(random_record(&mut random));
            append(&mut log, &model[model.len() - 1]).expect("a working disk");
        }
        drop(log);
        let names = disk.list().expect("names");
        let name = &names[random.below(names.len())];
        disk.flip(name, random.below(8 * disk.content(name).len()));
        match open(&disk, options, 1) {
            Ok((log, opened)) => {
                // The last record cannot be told from one that was never complete.
                assert!(opened.cut_bytes > 0 && log.next() == model.len() as u64, "seed {seed}");
                check(&log, &model, 1);
                seen[0] += 1;
            }
            Err(error) => {
                let DiskError::LogDamaged { file, record, .. } = &error else { panic!("{error}") };
                assert_eq!(file, name);
                let (log, opened) = open(&disk, LogOptions { cut: true, ..options }, 1).expect("cut as asked for");
                assert!(opened.cut_bytes > 0);
                assert_eq!(log.next(), *record);
                check(&log, &model, 1);
                // Once cut, the log is whole.
                drop(log);
                open(&disk, options, 1).expect("a whole log");
                seen[1] += 1;
            }
        }
        // A log that is open already notices when it reads.
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn damage_after_opening_is_noticed_when_it_is_read() {
    let disk = Disk::default();
    let mut log = create(&disk, LogOptions::default());
    for _ in 0..3 {
        append(&mut log, &(RecordKind::Block, 7, B256::ZERO, vec![vec![1; 100]])).expect("a working disk");
    }
    disk.flip(&name(1), 8 * 250);
    assert!(log.read(1).is_ok());
    assert!(matches!(log.read(2), Err(DiskError::LogDamaged { record: 2, .. })));
    assert_eq!(log.records(1).filter(Result::is_ok).count(), 1, "nothing comes after an error");
}

#[test]
fn records_of_other_stores_and_places_do_not_pass() {
    let disk = Disk::default();
    let options = LogOptions { segment_bytes: 200, ..LogOptions::default() };
    let mut log = create(&disk, options);
    let model = vec![(RecordKind::Block, 7, B256::ZERO, vec![vec![1; 150]]); 4];
    for record in &model {
        append(&mut log, record).expect("a working disk");
    }
    let copy = disk.copy();
    let other = Log::open(copy.files(), StoreId([1; 16]), options, 1);
    assert!(matches!(other, Err(DiskError::LogDamaged { record: 1, .. })));
    check(&open(&copy, options, 1).expect("the refusal has changed nothing").0, &model, 1);
    // One segment under the name of another.
    let copy = disk.copy();
    let content = copy.content(&name(2));
    copy.open(&name(3)).and_then(|file| file.write_at(0, &content)).expect("a working disk");
    let error = open(&copy, options, 1).expect_err("the name is part of each checksum");
    assert!(matches!(error, DiskError::LogDamaged { record: 3, place: 0, .. }), "{error}");
    // A segment is missing.
    let copy = disk.copy();
    copy.remove(&name(2)).expect("it exists");
    assert!(matches!(open(&copy, options, 1), Err(DiskError::LogDamaged { record: 2, .. })));
    let (log, _) = open(&copy, LogOptions { cut: true, ..options }, 1).expect("cut as asked for");
    assert_eq!(log.next(), 2);
    // All are missing.
    let empty = Disk::default();
    assert!(matches!(open(&empty, options, 1), Err(DiskError::LogIncomplete { needed: 1, .. })));
    let (log, _) = open(&empty, LogOptions { cut: true, ..options }, 9).expect("cut as asked for");
    assert_eq!((log.first(), log.next()), (9, 9));
    // The checkpoint includes records that the log lacks.
    assert!(matches!(open(&disk, options, 6), Err(DiskError::LogIncomplete { last: 4, needed: 5, .. })));
    let (log, _) = open(&disk, LogOptions { cut: true, ..options }, 6).expect("cut as asked for");
    assert_eq!((log.first(), log.next()), (6, 6));
}

#[test]
fn too_many_parts_are_refused_and_the_log_goes_on() {
    let disk = Disk::default();
    let mut log = create(&disk, LogOptions::default());
    let refused = append(&mut log, &(RecordKind::Block, 7, B256::ZERO, vec![Vec::new(); 256]));
    assert!(matches!(refused, Err(DiskError::TooLong { bytes: 256, .. })));
    let record = (RecordKind::Block, 7, B256::ZERO, vec![Vec::new(); 255]);
    assert_eq!(append(&mut log, &record), Ok(1));
    check(&log, &vec![record], 1);
}

#[test]
fn no_bytes_panic() {
    let mut random = Random(3);
    let mut opened = 0;
    for round in 0..3000 {
        let disk = Disk::default();
        let options = LogOptions { segment_bytes: 400, group: 1, cut: random.below(2) == 0 };
        let mut log = create(&disk, options);
        for _ in 0..random.below(6) {
            append(&mut log, &random_record(&mut random)).expect("a working disk");
        }
        drop(log);
        let names = disk.list().expect("names");
        let name = &names[random.below(names.len())];
        let mut content = disk.content(name);
        for _ in 0..random.below(4) {
            let at = random.below(content.len() + 1);
            match random.below(4) {
                0 => content.truncate(at),
                1 => content.extend((0..random.below(90)).map(|_| random.number() as u8)),
                2 => content[at..].iter_mut().take(9).for_each(|byte| *byte = random.number() as u8),
                _ => content = (0..at).map(|_| random.number() as u8).collect(),
            }
        }
        let file = disk.open(name).expect("it exists");
        file.set_bytes(0).and_then(|()| file.write_at(0, &content)).expect("a working disk");
        if let Ok((log, _)) = open(&disk, options, random.below(8) as u64) {
            opened += log.records(log.first()).filter(Result::is_ok).count();
        }
        assert!(round < 100 || opened > 0);
    }
    // A body of any bytes.
    for _ in 0..3000 {
        let body: Vec<u8> = (0..random.below(120)).map(|_| (random.number() & random.number() & 3) as u8).collect();
        if let Some(record) = decode(1, &body.clone().into()) {
            let parts: usize = record.parts.iter().map(|part| part.len() + 4).sum();
            assert_eq!(parts + BODY_START, body.len());
        }
    }
}
