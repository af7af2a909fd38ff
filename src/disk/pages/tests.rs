//! All page stores answer as a model in maps does, closed and opened again; stores in files also after a crash, a
//! failure of the disk, and damage.
//!
//! `BALUSTRADE_CRASH_POINTS` sets how many losses of power are tried.

use super::*;
use crate::arena::input::Input;
use crate::disk::files::simulated::{Disk, Random};
use crate::disk::files::tests::{Temporary, crash_points, methods};
use crate::disk::files::{Files, Folder};
use crate::disk::sum::StoreId;
use alloy_primitives::keccak256;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const STORE: StoreId = StoreId(*b"a store of tests");
const PAGE_BYTES: usize = 512;
const CACHE_BYTES: usize = 1 << 20;

/// What a store must hold after a checkpoint, and which page numbers may be written next.
#[derive(Clone, Debug, Default)]
struct Model {
    head: Head,
    header: Bytes,
    pages: BTreeMap<PageId, Vec<u8>>,
    units: BTreeMap<UnitKey, UnitPlace>,
    codes: BTreeMap<B256, Bytes>,
    /// Numbers that may be given out, and the first checkpoint for which each may.
    free: Vec<(PageId, u64)>,
    pages_end: u32,
}

/// A checkpoint that owns its parts.
#[derive(Debug)]
struct Next {
    head: Head,
    pages: Vec<(PageId, Vec<u8>)>,
    units: Vec<(UnitKey, UnitPlace)>,
    removed: Vec<UnitKey>,
    codes: Vec<(B256, Bytes)>,
    header: Vec<u8>,
}

impl Next {
    fn checkpoint(&self) -> Checkpoint<'_> {
        let Self { head, pages, units, removed, codes, header } = self;
        Checkpoint { head: *head, pages, units, removed, codes, header }
    }
}

fn bytes(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.number() as u8).collect()
}

fn random_key(random: &mut Random) -> UnitKey {
    let owner = (random.below(2) == 0).then(|| keccak256([random.below(4) as u8]));
    let len = [0, 1, 2, 3, 5, 64][random.below(6)];
    let mut path = NodePath { nibbles: [0; 32], len };
    for i in 0..usize::from(len).min(4) {
        path.nibbles[i / 2] |= (random.below(16) as u8) << (4 * (1 - i % 2));
    }
    UnitKey { owner, path }
}

impl Model {
    /// The next checkpoint, and the model after it.
    fn next(&self, random: &mut Random) -> (Self, Next) {
        let mut after = self.clone();
        let sequence = self.head.sequence + 1;
        after.head = Head {
            sequence,
            number: random.number(),
            hash: B256::repeat_byte(random.number() as u8),
            state_root: B256::repeat_byte(random.number() as u8),
            record: random.number(),
        };
        let length = [0, 1, 600][random.below(3)];
        after.header = bytes(random, length).into();
        // Sometimes nothing changes, sometimes one page, sometimes most of a small store.
        let count = [0, 1, 3, 12][random.below(4)];
        let mut pages = Vec::new();
        for _ in 0..count {
            let free = after.free.iter().position(|(_, from)| *from <= sequence);
            let page = free.filter(|_| random.below(4) > 0).map_or_else(
                || {
                    after.pages_end += 1;
                    PageId(after.pages_end - 1)
                },
                |free| after.free.remove(free).0,
            );
            pages.push((page, bytes(random, PAGE_BYTES)));
        }
        for (page, content) in &pages {
            after.pages.insert(*page, content.clone());
        }
        let mut units = BTreeMap::new();
        for (page, _) in &pages {
            for index in 0..random.below(5) {
                let mut item = [0; 33];
                let length = [33, 33, 7, 0][random.below(4)];
                item[..length].copy_from_slice(&bytes(random, length));
                if random.below(2) == 0 {
                    item[0] = 0xa0;
                }
                let place = UnitPlace { page: *page, index: index as u16, leaves: random.number() as u16, item };
                units.insert(random_key(random), place);
            }
        }
        let gone = |random: &mut Random| random.below(6) == 0;
        let removed = self.units.keys().filter(|key| gone(random) && !units.contains_key(key));
        let mut removed: Vec<UnitKey> = removed.copied().collect();
        removed.extend(Some(random_key(random)).filter(|key| !units.contains_key(key) && !removed.contains(key)));
        for key in &removed {
            after.units.remove(key);
        }
        after.units.extend(units.iter().map(|(key, place)| (*key, *place)));
        // Pages that no unit names become free.
        let named: BTreeSet<PageId> = after.units.values().map(|place| place.page).collect();
        let unused: Vec<PageId> = after.pages.keys().filter(|page| !named.contains(page)).copied().collect();
        for page in unused {
            after.pages.remove(&page);
            after.free.push((page, sequence + 2));
        }
        let mut codes = Vec::new();
        for _ in 0..random.below(4) {
            let length = [0, 3, 900][random.below(3)];
            let code = Bytes::from(vec![random.below(8) as u8; length]);
            codes.push((keccak256(&code), code));
        }
        after.codes.extend(codes.iter().cloned());
        let header = after.header.to_vec();
        let next = Next { head: after.head, pages, units: units.into_iter().collect(), removed, codes, header };
        (after, next)
    }

    /// What a store holds besides pages; `Err` says what differs.
    fn compare(&self, store: &dyn PageStore) -> Result<(), String> {
        let head = (self.head.sequence > 0).then(|| (self.head, self.header.clone()));
        let found = store.head().map_err(|error| error.to_string())?;
        if found != head {
            return Err(format!("head {found:?} instead of {head:?}"));
        }
        let units = units_of(store).map_err(|error| error.to_string())?;
        if !units.iter().copied().eq(self.units.iter().map(|(key, place)| (*key, *place))) {
            return Err("other units".into());
        }
        let unknown = B256::repeat_byte(0x77);
        let hashes: Vec<B256> = self.codes.keys().copied().chain([unknown]).collect();
        let mut codes = vec![Some(Bytes::from_static(b"stale")); hashes.len()];
        store.codes(&hashes, &mut codes).map_err(|error| error.to_string())?;
        let expected = self.codes.values().cloned().map(Some).chain([None]);
        if codes.into_iter().eq(expected) { Ok(()) } else { Err("other codes".into()) }
    }

    fn pages_of(&self, store: &dyn PageStore) -> Result<Vec<Bytes>, StoreError> {
        let pages: Vec<PageId> = self.pages.keys().copied().collect();
        let mut out = vec![Bytes::new(); pages.len()];
        store.read(&pages, &mut out)?;
        Ok(out)
    }

    fn check(&self, store: &dyn PageStore) {
        self.compare(store).expect("the content of the model");
        let pages = self.pages_of(store).expect("all pages");
        assert!(pages.iter().eq(self.pages.values()), "pages of checkpoint {}", self.head.sequence);
    }
}

/// All units of a store, in the order of the parts.
pub(in crate::disk) fn units_of(store: &dyn PageStore) -> Result<Vec<(UnitKey, UnitPlace)>, StoreError> {
    let parts = Mutex::new(BTreeMap::new());
    store.units(&|part, units| {
        assert!(units.iter().all(|(key, _)| part_of(key) == part));
        assert!(parts.lock().expect("no panic").insert(part, units).is_none(), "part {part} comes once");
        Ok(())
    })?;
    Ok(parts.into_inner().expect("no panic").into_values().flatten().collect())
}

/// Runs random checkpoints on a store, which `open` opens again now and then, beside a model.
fn follows_the_model(mut store: Box<dyn PageStore>, open: Option<&dyn Fn() -> Box<dyn PageStore>>, seed: u64) {
    let mut random = Random(seed);
    let mut model = Model::default();
    model.check(&*store);
    for _ in 0..70 {
        let (after, next) = model.next(&mut random);
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        model = after;
        if let Some(open) = open.filter(|_| random.below(8) == 0) {
            drop(store);
            store = open();
        }
        model.check(&*store);
        // A number that does not follow, and a page of the wrong length, are refused and change nothing.
        let (_, mut next) = model.next(&mut random);
        next.head.sequence = next.head.sequence.wrapping_add([1, u64::MAX][random.below(2)]);
        assert!(store.checkpoint(&next.checkpoint()).is_err());
        let (_, mut next) = model.next(&mut random);
        next.pages.push((PageId(1 << 20), vec![0; PAGE_BYTES + 1]));
        assert!(store.checkpoint(&next.checkpoint()).is_err());
        assert!(matches!(store.read(&[PageId(1 << 30)], &mut [Bytes::new()]), Err(StoreError::Corrupt(_))));
    }
    model.check(&*store);
}

fn create_files(files: Arc<dyn Files>) -> Box<dyn PageStore> {
    Box::new(FilePages::create(files, STORE, PAGE_BYTES).expect("an empty disk"))
}

fn open_files(files: Arc<dyn Files>) -> Result<Box<dyn PageStore>, DiskError> {
    Ok(Box::new(FilePages::open(files, STORE, PAGE_BYTES)?))
}

fn create_redb(files: Arc<dyn Files>) -> Box<dyn PageStore> {
    Box::new(RedbPages::create(&*files, STORE, PAGE_BYTES, CACHE_BYTES).expect("an empty disk"))
}

fn open_redb(files: Arc<dyn Files>) -> Result<Box<dyn PageStore>, DiskError> {
    Ok(Box::new(RedbPages::open(&*files, STORE, PAGE_BYTES, CACHE_BYTES)?))
}

type Create = fn(Arc<dyn Files>) -> Box<dyn PageStore>;
type Open = fn(Arc<dyn Files>) -> Result<Box<dyn PageStore>, DiskError>;
/// The stores in files.
const STORES: [(Create, Open); 2] = [(create_files, open_files), (create_redb, open_redb)];

#[test]
fn the_store_in_memory_follows_the_model() {
    for seed in 0..4 {
        follows_the_model(Box::new(MemoryPages::new(PAGE_BYTES)), None, seed);
    }
}

#[test]
fn stores_on_the_simulated_disk_follow_the_model() {
    for (create, open) in STORES {
        for seed in 0..4 {
            let disk = Disk::default();
            let again = || open(disk.files()).expect("a store that was closed");
            follows_the_model(create(disk.files()), Some(&again), seed);
        }
    }
}

#[test]
fn stores_in_real_files_follow_the_model() {
    for (create, open) in STORES {
        for method in methods() {
            let folder = Temporary::new("pages");
            let files = || Arc::new(Folder::open(&folder.0, method).expect("a free folder"));
            follows_the_model(create(files()), Some(&|| open(files()).expect("a store that was closed")), 9);
        }
    }
}

#[test]
fn large_batches_are_read_in_order() {
    for (create, _) in STORES {
        let disk = Disk::default();
        let store = create(disk.files());
        let pages: Vec<(PageId, Vec<u8>)> =
            (0..3000).map(|page| (PageId(page), page.to_le_bytes().repeat(PAGE_BYTES / 4))).collect();
        let head = Head { sequence: 1, ..Head::default() };
        let checkpoint = Checkpoint { head, pages: &pages, units: &[], removed: &[], codes: &[], header: &[] };
        store.checkpoint(&checkpoint).expect("a checkpoint");
        let order: Vec<PageId> = (0..3000).map(|i| PageId(i * 7 % 3000)).collect();
        let mut out = vec![Bytes::new(); order.len()];
        store.read(&order, &mut out).expect("all pages");
        assert!(order.iter().zip(&out).all(|(page, bytes)| *bytes == page.0.to_le_bytes().repeat(PAGE_BYTES / 4)));
    }
}

/// Opens the store of a disk after a crash. It must be at one of the models; then it goes on from there, with
/// crashes within that, too, until `depth` is 0.
fn check_after_crash(disk: &Disk, open: Open, models: &[Model], random: &mut Random, depth: usize) -> usize {
    let mut points = 1;
    let store = open(disk.files()).expect("a store that a crash left");
    let sequence = store.head().expect("a head").map_or(0, |(head, _)| head.sequence);
    let model = models.iter().find(|model| model.head.sequence == sequence);
    let model = model.unwrap_or_else(|| panic!("checkpoint {sequence}"));
    model.check(&*store);
    drop(store);
    // What was seen once stays, whatever is lost after that.
    let disk = disk.power_loss(random);
    let store = open(disk.files()).expect("a store that was opened before");
    model.check(&*store);
    let (after, next) = model.next(random);
    if depth > 0 {
        let models = Arc::new(Mutex::new((vec![model.clone(), after.clone()], 0)));
        let shared = Arc::clone(&models);
        let mut chance = random.clone();
        disk.watch(move |disk| {
            let (models, points) = &mut *shared.lock().expect("no panic");
            *points += check_after_crash(&disk.power_loss(&mut chance), open, models, &mut chance, depth - 1);
        });
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        points += models.lock().expect("no panic").1;
    } else {
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
    }
    after.check(&*store);
    drop(store);
    after.check(&*open(disk.power_loss(random).files()).expect("a durable checkpoint"));
    points
}

fn crash_everywhere(create: Create, open: Open, goal: usize) {
    let points = Arc::new(AtomicUsize::new(0));
    let mut seed = 0;
    while points.load(Ordering::Relaxed) < goal {
        seed += 1;
        let mut random = Random(seed);
        let disk = Disk::default();
        let store = create(disk.files());
        let mut model = Model::default();
        // Some checkpoints before those that are interrupted, so that files are renewed and removed, too.
        for _ in 0..random.below(40) {
            let (after, next) = model.next(&mut random);
            store.checkpoint(&next.checkpoint()).expect("a checkpoint");
            model = after;
        }
        let models = Arc::new(Mutex::new(vec![model.clone()]));
        let (shared, counted) = (Arc::clone(&models), Arc::clone(&points));
        let mut chance = Random(seed ^ 0xffff);
        disk.watch(move |disk| {
            let models = shared.lock().expect("no panic");
            for _ in 0..2 {
                let disk = if chance.below(4) == 0 { disk.copy() } else { disk.power_loss(&mut chance) };
                let depth = usize::from(chance.below(16) == 0);
                let found = check_after_crash(&disk, open, &models, &mut chance, depth);
                counted.fetch_add(found, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            let (after, next) = model.next(&mut random);
            models.lock().expect("no panic").push(after.clone());
            store.checkpoint(&next.checkpoint()).expect("a checkpoint");
            // It was acknowledged: no crash may lead back.
            *models.lock().expect("no panic") = vec![after.clone()];
            model = after;
        }
    }
}

#[test]
fn a_loss_of_power_at_any_operation_leaves_one_of_two_checkpoints() {
    crash_everywhere(create_files, open_files, crash_points());
}

#[test]
fn the_database_survives_losses_of_power() {
    crash_everywhere(create_redb, open_redb, crash_points() / 20);
}

#[test]
fn a_failed_operation_leaves_one_of_two_checkpoints() {
    for (create, open) in STORES {
        let mut failures = 0;
        for seed in 0..120 {
            let mut random = Random(seed);
            let disk = Disk::default();
            let store = create(disk.files());
            let mut models = vec![Model::default()];
            for _ in 0..3 {
                let (after, next) = models[0].next(&mut random);
                store.checkpoint(&next.checkpoint()).expect("a checkpoint");
                models[0] = after;
            }
            if seed % 3 == 0 {
                disk.set_capacity(disk.bytes() + random.below(3000));
            } else {
                disk.fail_at(disk.operations() + random.below(40) as u64, &mut random);
            }
            for _ in 0..4 {
                let (after, next) = models[0].next(&mut random);
                match store.checkpoint(&next.checkpoint()) {
                    Ok(()) => models = vec![after],
                    Err(_) => {
                        failures += 1;
                        models.push(after);
                        assert!(store.checkpoint(&next.checkpoint()).is_err(), "what was written is unknown");
                        break;
                    }
                }
            }
            if models.len() == 1 {
                models[0].check(&*store);
            }
            drop(store);
            // The cache of the operating system may show what a failed sync has lost.
            check_after_crash(&disk.copy(), open, &models, &mut random, 0);
            check_after_crash(&disk.power_loss(&mut random), open, &models, &mut random, 0);
        }
        assert!(failures > 40, "{failures} checkpoints failed");
    }
}

#[test]
fn readers_answer_from_the_checkpoint_before_a_failed_one() {
    for operation in 0..30 {
        let mut random = Random(operation);
        let disk = Disk::default();
        let store = create_files(disk.files());
        let (model, next) = Model::default().next(&mut random);
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        disk.fail_at(disk.operations() + operation, &mut random);
        let (after, next) = model.next(&mut random);
        let made = store.checkpoint(&next.checkpoint());
        disk.fail_at(u64::MAX, &mut random);
        if made.is_ok() { after.check(&*store) } else { model.check(&*store) }
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_harmless() {
    let mut noticed = 0;
    for seed in 0..1500 {
        let mut random = Random(seed);
        let disk = Disk::default();
        let store = create_files(disk.files());
        let mut models = vec![Model::default()];
        for _ in 0..2 + seed % 7 * 6 {
            let (after, next) = models[models.len() - 1].next(&mut random);
            store.checkpoint(&next.checkpoint()).expect("a checkpoint");
            models.push(after);
        }
        drop(store);
        let names = disk.list().expect("names");
        let names: Vec<&String> = names.iter().filter(|name| !disk.content(name).is_empty()).collect();
        let name = names[random.below(names.len())];
        disk.flip(name, random.below(8 * disk.content(name).len()));
        let Ok(store) = open_files(disk.files()) else {
            noticed += 1;
            continue;
        };
        let last = &models[models.len() - 1];
        if name == "pages" {
            // Pages have no checksum here: their reader compares them with hashes.
            last.compare(&*store).expect("the content of the model");
            let pages = last.pages_of(&*store).expect("all pages");
            let bits: u32 = last
                .pages
                .values()
                .zip(&pages)
                .flat_map(|(a, b)| a.iter().zip(b))
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert!(bits <= 1);
        } else if last.compare(&*store).is_ok() {
            last.check(&*store);
        } else if name == "meta" {
            // The other slot is whole.
            models[models.len() - 2].check(&*store);
            noticed += 1;
        } else {
            let error = last.compare(&*store).expect_err("just compared");
            assert!(error.contains("damaged"), "seed {seed}, {name}: {error}");
            noticed += 1;
        }
    }
    assert!(noticed > 500, "{noticed}");
}

#[test]
fn the_checkpoint_before_the_last_one_stays_whole() {
    let mut random = Random(8);
    let disk = Disk::default();
    let store = create_files(disk.files());
    let models = Arc::new(Mutex::new(vec![Model::default()]));
    let fallbacks = Arc::new(AtomicUsize::new(0));
    let (shared, counted) = (Arc::clone(&models), Arc::clone(&fallbacks));
    disk.watch(move |disk| {
        // Within the next checkpoint: the slot of the last complete one is damaged.
        let models = shared.lock().expect("no panic");
        let [.., before, last, _] = &models[..] else { return };
        disk.flip("meta", 8 * 4096 * (last.head.sequence % 2) as usize + 77);
        match open_files(disk.files()) {
            Ok(store) if before.compare(&*store).is_ok() => {
                before.check(&*store);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(store) => models[models.len() - 1].check(&*store),
            // The slot of `before` is being overwritten.
            Err(error) => assert_eq!(error, DiskError::damaged("meta", 0, "neither slot is whole")),
        }
    });
    for _ in 0..60 {
        let (after, next) = {
            let mut models = models.lock().expect("no panic");
            let (after, next) = models[models.len() - 1].next(&mut random);
            models.push(after.clone());
            (after, next)
        };
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        after.check(&*store);
    }
    let fallbacks = fallbacks.load(Ordering::Relaxed);
    assert!(fallbacks > 300, "{fallbacks}");
}

#[test]
fn an_interrupted_checkpoint_never_becomes_whole_later() {
    let mut random = Random(11);
    let disk = Disk::default();
    let store = create_files(disk.files());
    let mut model = Model::default();
    for _ in 0..2 {
        let (after, next) = model.next(&mut random);
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        model = after;
    }
    let before = disk.content("meta");
    let (_, next) = model.next(&mut random);
    store.checkpoint(&next.checkpoint()).expect("a checkpoint");
    let whole = disk.content("meta");
    // Checkpoint 3 is in the second slot.
    for sector in (4096..8192).step_by(512).filter(|sector| before[*sector..][..512] != whole[*sector..][..512]) {
        let disk = disk.copy();
        let write = |content: &[u8]| {
            let meta = disk.open("meta").expect("it exists");
            meta.write_at(sector as u64, &content[sector..][..512]).expect("a working disk");
        };
        // One sector of the slot was not written; the next attempt writes only this sector, with the same content.
        write(&before);
        model.check(&*open_files(disk.files()).expect("the checkpoint before"));
        write(&whole);
        model.check(&*open_files(disk.files()).expect("the checkpoint before"));
    }
}

#[test]
fn files_of_another_store_are_refused() {
    for (create, _) in STORES {
        let disk = Disk::default();
        drop(create(disk.files()));
        let other = StoreId([7; 16]);
        assert!(matches!(
            FilePages::open(disk.files(), other, PAGE_BYTES),
            Err(DiskError::Damaged { .. } | DiskError::Io { .. })
        ));
        assert!(RedbPages::open(&disk, other, PAGE_BYTES, CACHE_BYTES).is_err());
    }
}

#[test]
fn files_that_are_no_longer_needed_are_removed() {
    let disk = Disk::default();
    let store = create_files(disk.files());
    let mut random = Random(5);
    let mut model = Model::default();
    for _ in 0..100 {
        let (after, next) = model.next(&mut random);
        store.checkpoint(&next.checkpoint()).expect("a checkpoint");
        model = after;
        // 32 snapshots and 31 deltas of each of two checkpoints, of which most are the same; 4 other files.
        let count = disk.list().expect("names").len();
        assert!(count <= 32 + 33 + 2 + 4, "{count} files");
    }
}

#[test]
fn a_header_that_is_too_long_is_refused_and_the_store_goes_on() {
    let disk = Disk::default();
    let store = create_files(disk.files());
    let mut random = Random(6);
    let (after, mut next) = Model::default().next(&mut random);
    let header = core::mem::replace(&mut next.header, vec![1; 5000]);
    assert!(matches!(store.checkpoint(&next.checkpoint()), Err(StoreError::Failed(_))));
    next.header = header;
    store.checkpoint(&next.checkpoint()).expect("a checkpoint");
    after.check(&*store);
}

#[test]
fn any_bytes_are_a_unit_or_none() {
    let mut random = Random(7);
    let mut units = 0;
    for _ in 0..20_000 {
        let length = random.below(120);
        let mut content = bytes(&mut random, length);
        if let [flags, rest @ ..] = &mut content[..] {
            *flags &= 15;
            if let Some(path) = rest.first_mut() {
                *path &= 15;
            }
        }
        let mut input = Input(&content);
        if let Some((key, place)) = encoding::unit(&mut input, Some(B256::ZERO)) {
            units += 1;
            let mut again = Vec::new();
            encoding::put_unit(&mut again, Some(B256::ZERO), &key, place.as_ref());
            assert_eq!(encoding::unit(&mut Input(&again), Some(B256::ZERO)), Some((key, place)));
        }
    }
    assert!(units > 1000, "{units}");
}
