//! Real files: all ways to read give the same bytes; one process at a time. Simulated files: what they keep.

use super::simulated::{Disk, Random, SECTOR};
use super::{Files, Folder, ReadMethod};
use crate::disk::error::DiskError;
use alloy_primitives::Bytes;
use std::path::PathBuf;

/// A folder below the system's one for temporary files; removed when dropped.
pub(in crate::disk) struct Temporary(pub(in crate::disk) PathBuf);

impl Temporary {
    pub(in crate::disk) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("balustrade-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The read methods that this machine has; threads always.
pub(in crate::disk) fn methods() -> Vec<ReadMethod> {
    let folder = Temporary::new("methods");
    let ring = Folder::open(&folder.0, ReadMethod::Ring).is_ok();
    if ring { vec![ReadMethod::Threads, ReadMethod::Ring] } else { vec![ReadMethod::Threads] }
}

#[test]
fn threads_and_ring_read_the_same_bytes_as_single_reads() {
    let mut random = Random(1);
    let content: Vec<u8> = (0..1 << 20).map(|_| random.number() as u8).collect();
    for method in methods() {
        let folder = Temporary::new("reads");
        let files = Folder::open(&folder.0, method).expect("an empty folder");
        assert_eq!(files.uses_ring(), method == ReadMethod::Ring);
        let file = files.create("f").expect("a new file");
        file.write_at(0, &content).expect("room");
        file.sync().expect("a sync");
        // More than one queue holds, also none, and one.
        for count in [0, 1, 3, 5, 64, 700] {
            let range = |_| {
                let bytes = random.below(5000);
                (random.below(content.len() - bytes + 1) as u64, bytes as u32)
            };
            let ranges: Vec<(u64, u32)> = (0..count).map(range).collect();
            let mut out = vec![Bytes::new(); count];
            file.read_many(&ranges, &mut out).expect("the file is long enough");
            for ((offset, bytes), read) in ranges.iter().zip(&out) {
                let mut single = vec![0; *bytes as usize];
                file.read_at(*offset, &mut single).expect("the file is long enough");
                assert_eq!(*read, single);
                assert_eq!(*read, content[*offset as usize..][..*bytes as usize]);
            }
        }
        // Several callers at the same time.
        std::thread::scope(|scope| {
            for start in 0..4 {
                let (file, content) = (&file, &content);
                scope.spawn(move || {
                    let ranges: Vec<(u64, u32)> = (0..300).map(|i| (start * 7 + i * 1000, 512)).collect();
                    let mut out = vec![Bytes::new(); ranges.len()];
                    file.read_many(&ranges, &mut out).expect("the file is long enough");
                    for ((offset, _), read) in ranges.iter().zip(&out) {
                        assert_eq!(*read, content[*offset as usize..][..512]);
                    }
                });
            }
        });
    }
}

#[test]
fn a_read_beyond_the_end_names_file_and_place() {
    for method in methods() {
        let folder = Temporary::new("end");
        let files = Folder::open(&folder.0, method).expect("an empty folder");
        let file = files.create("short").expect("a new file");
        file.write_at(0, &[7; 100]).expect("room");
        for count in [1, 40] {
            let mut ranges = vec![(0, 100); count];
            ranges[count - 1] = (90, 20);
            let mut out = vec![Bytes::new(); count];
            let error = file.read_many(&ranges, &mut out).expect_err("the file ends before");
            assert_eq!(error, DiskError::damaged("short", 90, "the file ends too early"), "{method:?}");
            // The next batch is not disturbed.
            file.read_many(&ranges[..count - 1], &mut out[..count - 1]).expect("the file is long enough");
        }
    }
}

#[test]
fn a_second_opening_is_refused_until_the_first_ends() {
    let folder = Temporary::new("lock");
    let first = Folder::open(&folder.0, ReadMethod::Threads).expect("a free folder");
    let second = Folder::open(&folder.0, ReadMethod::Threads);
    assert_eq!(second.expect_err("the folder is locked"), DiskError::InUse(folder.0.display().to_string()));
    drop(first);
    Folder::open(&folder.0, ReadMethod::Threads).expect("a free folder");
}

#[test]
fn names_are_created_once_and_removed() {
    let folder = Temporary::new("names");
    let real = Folder::open(&folder.0, ReadMethod::Threads).expect("an empty folder");
    let simulated = Disk::default();
    for files in [&real as &dyn Files, &simulated] {
        files.create("a").expect("a new name").write_at(3, b"xy").expect("room");
        let kind = |result: Result<_, DiskError>| match result {
            Err(DiskError::Io { kind, .. }) => Some(kind),
            _ => None,
        };
        assert_eq!(kind(files.create("a").map(drop)), Some(std::io::ErrorKind::AlreadyExists));
        assert_eq!(kind(files.open("b").map(drop)), Some(std::io::ErrorKind::NotFound));
        assert_eq!(kind(files.remove("b")), Some(std::io::ErrorKind::NotFound));
        let file = files.open("a").expect("it exists");
        let mut content = [1; 5];
        file.read_at(0, &mut content).expect("5 bytes");
        assert_eq!(content, *b"\0\0\0xy");
        file.set_bytes(2).expect("shorter");
        file.set_bytes(4).expect("longer");
        assert_eq!(file.bytes().expect("a length"), 4);
        file.read_at(0, &mut content[..4]).expect("4 bytes");
        assert_eq!(content[..4], [0; 4]);
        assert!(files.list().expect("names").contains(&"a".to_owned()));
        files.remove("a").expect("it exists");
        files.sync_names().expect("a sync");
        assert!(!files.list().expect("names").contains(&"a".to_owned()));
    }
}

#[test]
fn the_simulated_disk_keeps_what_was_synced_and_any_part_of_the_rest() {
    let disk = Disk::default();
    let file = disk.create("f").expect("a new file");
    file.write_at(0, &[1; 4 * SECTOR]).expect("room");
    file.sync().expect("a sync");
    let mut random = Random(2);
    let lost = |random: &mut Random| (0..50).any(|_| disk.power_loss(random).names_of().is_empty());
    assert!(lost(&mut random), "a name that was not synced may be lost");
    disk.sync_names().expect("a sync");
    file.write_at(0, &[2; 6 * SECTOR]).expect("room");
    let mut seen = [[false; 2]; 4];
    let mut lengths = [false; 2];
    for _ in 0..1000 {
        let content = disk.power_loss(&mut random).content("f");
        for (sector, seen) in content.chunks(SECTOR).zip(&mut seen) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is written at once");
            seen[usize::from(sector[0] - 1)] = true;
        }
        assert!([4, 6].contains(&(content.len() / SECTOR)));
        lengths[usize::from(content.len() > 4 * SECTOR)] = true;
    }
    assert_eq!((seen, lengths), ([[true; 2]; 4], [true; 2]));
    // A failed sync loses changes that a later sync does not bring back.
    let copy = disk.copy();
    copy.fail_at(1, &mut random);
    let file = copy.open("f").expect("it exists");
    file.sync().expect_err("the disk fails");
    file.sync().expect("the next one succeeds");
    assert_eq!(copy.content("f"), vec![2; 6 * SECTOR]);
    let kept = copy.power_loss(&mut random).content("f");
    assert_eq!(copy.power_loss(&mut random).content("f"), kept, "nothing is left to write");
}

impl Disk {
    fn names_of(&self) -> Vec<String> {
        self.list().expect("names")
    }
}

/// How many losses of power the tests of crashes try, each.
pub(in crate::disk) fn crash_points() -> usize {
    std::env::var("BALUSTRADE_CRASH_POINTS").map_or(2000, |points| points.parse().expect("a number"))
}
