//! A store's folder: created as a whole, opened by one process, refused when it is no store or one of another format.

use super::*;
use crate::arena::store::StoreError;
use crate::disk::files::tests::{Temporary, methods};
use crate::disk::log::{Entry, RecordKind};
use crate::disk::pages::{Checkpoint, Head, PageId};
use alloy_primitives::Bytes;

fn description(pages: PagesKind) -> Description {
    Description::new(pages, 1024, 1, B256::repeat_byte(3)).expect("random bytes")
}

#[test]
fn a_store_is_created_closed_and_opened_again() {
    for pages in PagesKind::ALL {
        for reads in methods() {
            let parent = Temporary::new("store");
            let path = parent.0.join("db");
            let options = OpenOptions { reads, cache_bytes: 1 << 20, ..OpenOptions::default() };
            let description = description(pages);
            let mut store = Store::create(&path, description, &options).expect("a new folder");
            assert_eq!(store.description, description);
            assert_eq!(store.pages.head(), Ok(None));
            let in_use = Store::open(&path, &options).expect_err("it is open");
            assert_eq!(in_use, DiskError::InUse(path.display().to_string()));
            for block in 0..3 {
                let entry = Entry { kind: RecordKind::Block, block, hash: B256::ZERO, parts: &[b"list"] };
                assert_eq!(store.log.append(&entry), Ok(block + 1));
            }
            let head = Head { sequence: 1, record: 2, ..Head::default() };
            let page = [(PageId(4), vec![9; 1024])];
            let checkpoint = Checkpoint { head, pages: &page, units: &[], removed: &[], codes: &[], header: b"h" };
            store.pages.checkpoint(&checkpoint).expect("a checkpoint");
            drop(store);
            let (store, opened) = Store::open(&path, &options).expect("a closed store");
            assert_eq!(opened.cut_bytes, 0);
            assert_eq!(store.pages.head(), Ok(Some((head, Bytes::from_static(b"h")))));
            let mut out = [Bytes::new()];
            assert_eq!(store.pages.read(&[PageId(4)], &mut out), Ok(()));
            assert_eq!(out[0], vec![9; 1024]);
            let numbers: Vec<u64> = store.log.records(head.record + 1).map(|r| r.expect("whole").number).collect();
            assert_eq!(numbers, [3]);
        }
    }
}

#[test]
fn names_of_stores_differ() {
    assert_ne!(description(PagesKind::Files).id, description(PagesKind::Files).id);
}

#[test]
fn a_store_is_created_in_an_empty_folder_only() {
    let parent = Temporary::new("occupied");
    let path = parent.0.join("db");
    std::fs::create_dir(&path).expect("a new folder");
    std::fs::write(path.join("thesis.txt"), "text").expect("room");
    let create = || Store::create(&path, description(PagesKind::Files), &OpenOptions::default());
    assert_eq!(create().expect_err("occupied"), DiskError::Exists(path.display().to_string()));
    std::fs::remove_file(path.join("thesis.txt")).expect("it exists");
    // A folder of that name that no creation has made.
    let temporary = parent.0.join("db.new");
    std::fs::create_dir(&temporary).expect("a new folder");
    std::fs::write(temporary.join("thesis.txt"), "text").expect("room");
    assert_eq!(create().expect_err("occupied"), DiskError::Exists(temporary.display().to_string()));
    assert!(temporary.join("thesis.txt").exists());
    std::fs::remove_dir_all(&temporary).expect("it exists");
    // What an interrupted creation left.
    std::fs::create_dir(&temporary).expect("a new folder");
    for name in [LOCK, DESCRIPTION, "meta"] {
        std::fs::write(temporary.join(name), "part").expect("room");
    }
    create().expect("a new store");
    assert!(!temporary.exists());
    let slash = parent.0.join("other/");
    Store::create(&slash, description(PagesKind::Files), &OpenOptions::default()).expect("a new store");
    assert!(parent.0.join("other").join(DESCRIPTION).exists());
    assert!(Store::create(Path::new("/"), description(PagesKind::Files), &OpenOptions::default()).is_err());
    assert_eq!(create().expect_err("occupied"), DiskError::Exists(path.display().to_string()));
}

#[test]
fn what_is_no_store_is_refused_with_the_reason() {
    let folder = Temporary::new("none");
    let open = || Store::open(&folder.0, &OpenOptions::default()).expect_err("no store").to_string();
    assert!(open().contains("has no file STORE"), "{}", open());
    let text = description(PagesKind::Files).text();
    let write = |text: &str| std::fs::write(folder.0.join(DESCRIPTION), text).expect("room");
    for (text, reason) in [
        ("", "no description"),
        ("\u{0}\u{1}", "no description"),
        (&text[..text.len() / 2], "STORE"),
        (&text.replace("format 1", "format 2"), "has format 2, and this version reads format 1"),
        (&text.replace("page bytes 1024", "page bytes 2048"), "was changed"),
        (&text.replace("chain id 1", "chain id x"), "bad line `chain id`"),
        (&format!("{text}more\n"), "was changed"),
    ] {
        write(text);
        assert!(open().contains(reason), "{}", open());
    }
    // The description is right, and the files are missing.
    write(&text);
    assert!(open().contains("cannot open meta"), "{}", open());
}

#[test]
fn no_changed_byte_of_a_description_passes() {
    let description = description(PagesKind::Redb);
    let text = description.text();
    assert_eq!(Description::parse(&text, Path::new("db")), Ok(description));
    for at in 0..text.len() {
        for byte in [b'0', b'7', b'a', b' ', b'\n'] {
            let mut changed = text.clone().into_bytes();
            if changed[at] != byte {
                changed[at] = byte;
                let changed = String::from_utf8(changed).expect("ASCII");
                assert!(Description::parse(&changed, Path::new("db")).is_err(), "{changed}");
            }
        }
    }
}

#[test]
fn errors_of_the_disk_are_errors_of_the_store() {
    let damaged = DiskError::damaged("meta", 7, "neither slot is whole");
    assert!(
        matches!(StoreError::from(damaged), StoreError::Corrupt(text) if text.contains("meta is damaged at byte 7"))
    );
    let in_use = DiskError::InUse("db".into());
    assert!(matches!(StoreError::from(in_use), StoreError::Failed(text) if text.contains("another process")));
    let inner = StoreError::Corrupt("page 3 is missing".into());
    assert_eq!(StoreError::from(DiskError::from(inner.clone())), inner);
}
