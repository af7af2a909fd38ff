//! A page store in files of its own.
//!
//! In: checkpoints. Out: the last one that is complete.
//!
//! ```text
//! meta           two slots of 4 KiB, written in turn: head, header, lengths and checksums of the other files
//! pages          page n at offset n × bytes of a page
//! crown.*        units (`crown`)
//! codes*         codes (`codes`)
//! ```
//!
//! A checkpoint writes what neither slot names: pages with free numbers, the ends of the code files, new crown files.
//! It makes them durable, then writes the slot of the checkpoint before the last one, and makes that durable. So one
//! slot is whole at any moment, and all that it names.
//! Not here: which page numbers are free; checks of pages, which have no checksum.

mod codes;
mod crown;
mod meta;

use self::codes::{Codes, Ends};
use self::crown::{Change, Crown};
use self::meta::{DELTAS_MAX, SLOT_BYTES, Slot, slot_of};
use super::{Checkpoint, EachPart, Head, PARTS, PageId, PageStore, check};
use crate::arena::store::StoreError;
use crate::disk::error::DiskError;
use crate::disk::files::{File, Files};
use crate::disk::sum::StoreId;
use alloy_primitives::{B256, Bytes};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

const META: &str = "meta";
const PAGES: &str = "pages";
/// Most bytes of neighbouring pages that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Pages, units and codes in files.
#[derive(Debug)]
pub struct FilePages {
    files: Arc<dyn Files>,
    store: StoreId,
    page_bytes: usize,
    meta: Arc<dyn File>,
    pages: Arc<dyn File>,
    codes: Codes,
    /// The last complete checkpoint.
    slot: RwLock<Arc<Slot>>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    /// Whether a checkpoint failed; what the files hold behind the last complete one is then unknown.
    failed: bool,
    /// The checkpoint before the last complete one, if its slot is whole.
    older: Option<Arc<Slot>>,
}

impl Slot {
    fn ends(&self) -> Ends {
        Ends { index_bytes: self.index_bytes, index_sum: self.index_sum, codes_bytes: self.codes_bytes }
    }

    /// Names of the crown files.
    fn names(&self) -> impl Iterator<Item = String> {
        let parts = self.parts.iter().enumerate().filter(|(_, run)| run.sequence > 0);
        let parts = parts.map(|(part, run)| crown::part_name(part, run.sequence));
        parts.chain(self.deltas.iter().map(|run| crown::delta_name(run.sequence)))
    }
}

impl FilePages {
    /// Creates the files of an empty store and makes them durable.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn create(files: Arc<dyn Files>, store: StoreId, page_bytes: usize) -> Result<Self, DiskError> {
        files.create(PAGES)?.sync()?;
        let ends = Codes::create(&*files, &store)?;
        let empty = Slot {
            index_bytes: ends.index_bytes,
            index_sum: ends.index_sum,
            codes_bytes: ends.codes_bytes,
            ..Slot::default()
        };
        let meta = files.create(META)?;
        let mut slots = empty.encode(&store);
        slots.resize(2 * SLOT_BYTES, 0);
        meta.write_at(0, &slots)?;
        meta.sync()?;
        files.sync_names()?;
        Self::open(files, store, page_bytes)
    }

    /// Opens a store at its newest whole checkpoint, and removes the files of an interrupted one.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] if a file lacks what the checkpoint names; [`DiskError::Io`].
    pub fn open(files: Arc<dyn Files>, store: StoreId, page_bytes: usize) -> Result<Self, DiskError> {
        let meta = files.open(META)?;
        let mut found = [None, None];
        for (slot, found) in (0..).zip(&mut found) {
            let mut bytes = [0; SLOT_BYTES];
            meta.read_at(slot * SLOT_BYTES as u64, &mut bytes)?;
            *found = Slot::decode(&store, slot, &bytes).map(Arc::new);
        }
        found.sort_by_key(|slot| slot.as_ref().map(|slot| slot.head.sequence));
        let [older, newest] = found;
        let newest = newest.ok_or_else(|| DiskError::damaged(META, 0, "neither slot is whole"))?;
        // A process that was killed may have written the slot without making it durable.
        meta.write_at(slot_of(newest.head.sequence) * SLOT_BYTES as u64, &newest.encode(&store))?;
        if older.is_none() {
            // Part of a checkpoint that was interrupted may be here. Zeros keep it from becoming whole by a part of the
            // next attempt, of which some sectors may be the same.
            meta.write_at((1 - slot_of(newest.head.sequence)) * SLOT_BYTES as u64, &[0; SLOT_BYTES])?;
        }
        meta.sync()?;

        let needed: BTreeSet<String> = older.iter().chain([&newest]).flat_map(|slot| slot.names()).collect();
        for name in files.list()? {
            if name.starts_with(crown::PREFIX) && !needed.contains(&name) {
                files.remove(&name)?;
            }
        }
        Crown::open(&*files, store, &newest.parts, &newest.deltas)?;
        let codes = Codes::open(&*files, store, newest.ends())?;
        let pages = files.open(PAGES)?;
        let (slot, writer) = (RwLock::new(newest), Mutex::new(Writer { failed: false, older }));
        Ok(Self { files, store, page_bytes, meta, pages, codes, slot, writer })
    }

    fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the crown files of the last checkpoint. No checkpoint completes meanwhile, so none of them is removed.
    fn crown(&self) -> Result<Crown, DiskError> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        Crown::open(&*self.files, self.store, &slot.parts, &slot.deltas)
    }

    /// Writes all that the checkpoint names, and its slot; returns it.
    fn write(&self, last: &Slot, checkpoint: &Checkpoint<'_>) -> Result<Slot, DiskError> {
        let sequence = checkpoint.head.sequence;
        let mut slot = last.clone();
        slot.head = checkpoint.head;
        slot.header = Bytes::copy_from_slice(checkpoint.header);

        self.write_pages(checkpoint.pages)?;

        let (ends, places) = self.codes.append(last.ends(), checkpoint.codes)?;
        Ends { index_bytes: slot.index_bytes, index_sum: slot.index_sum, codes_bytes: slot.codes_bytes } = ends;

        let changed = checkpoint.units.iter().map(|(key, place)| (*key, Some(*place)));
        let removed = checkpoint.removed.iter().map(|key| (*key, None));
        let mut changes: Vec<Change> = changed.chain(removed).collect();
        changes.sort_by_key(|(key, _)| *key);
        slot.deltas.push(crown::write_delta(&*self.files, &self.store, sequence, &changes)?);
        let oldest = (0..PARTS).min_by_key(|part| slot.parts[*part].sequence).unwrap_or(0);
        let units = Crown::open(&*self.files, self.store, &slot.parts, &slot.deltas)?.part(oldest)?;
        slot.parts[oldest] = crown::write_part(&*self.files, &self.store, sequence, oldest, &units)?;
        let all_have = slot.parts.iter().map(|run| run.sequence).min().unwrap_or(0);
        slot.deltas.retain(|run| run.sequence > all_have);
        debug_assert!(slot.deltas.len() <= DELTAS_MAX, "each checkpoint renews the oldest of {PARTS} snapshots");
        self.files.sync_names()?;

        self.meta.write_at(slot_of(sequence) * SLOT_BYTES as u64, &slot.encode(&self.store))?;
        self.meta.sync()?;
        self.codes.publish(places);
        Ok(slot)
    }

    /// Writes pages, neighbours together, and makes them durable.
    fn write_pages(&self, pages: &[(PageId, Vec<u8>)]) -> Result<(), DiskError> {
        let mut order: Vec<&(PageId, Vec<u8>)> = pages.iter().collect();
        order.sort_by_key(|(page, _)| *page);
        let mut buffer = Vec::new();
        let mut rest = order.into_iter().peekable();
        while let Some((first, page)) = rest.next() {
            buffer.clear();
            buffer.extend_from_slice(page);
            let mut last = *first;
            while buffer.len() < WRITE_BYTES
                && let Some((next, page)) = rest.next_if(|(next, _)| Some(next.0) == last.0.checked_add(1))
            {
                buffer.extend_from_slice(page);
                last = *next;
            }
            self.pages.write_at(u64::from(first.0) * self.page_bytes as u64, &buffer)?;
        }
        if pages.is_empty() { Ok(()) } else { self.pages.sync() }
    }

    /// Removes the crown files that only `dropped` names.
    fn remove_files(&self, dropped: Option<&Slot>, kept: [&Slot; 2]) {
        let Some(dropped) = dropped else { return };
        let kept: BTreeSet<String> = kept.into_iter().flat_map(Slot::names).collect();
        for name in dropped.names().filter(|name| !kept.contains(name)) {
            // The checkpoint is complete without this. Opening the store removes what is left.
            let _ = self.files.remove(&name);
        }
    }
}

impl PageStore for FilePages {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn read(&self, pages: &[PageId], out: &mut [Bytes]) -> Result<(), StoreError> {
        let range = |page: &PageId| (u64::from(page.0) * self.page_bytes as u64, self.page_bytes as u32);
        let ranges: Vec<(u64, u32)> = pages.iter().map(range).collect();
        Ok(self.pages.read_many(&ranges, out)?)
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        Ok(self.codes.read(hashes, out)?)
    }

    fn head(&self) -> Result<Option<(Head, Bytes)>, StoreError> {
        let slot = self.slot();
        Ok((slot.head.sequence > 0).then(|| (slot.head, slot.header.clone())))
    }

    fn units(&self, each: &EachPart<'_>) -> Result<(), StoreError> {
        let crown = self.crown()?;
        (0..PARTS).into_par_iter().try_for_each(|part| match crown.part(part)? {
            units if units.is_empty() => Ok(()),
            units => each(part, units),
        })
    }

    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.failed {
            return Err(DiskError::FailedBefore("the page store").into());
        }
        let last = self.slot();
        check(checkpoint, last.head.sequence, self.page_bytes)?;
        meta::check_header(checkpoint.header)?;
        writer.failed = true;
        let slot = Arc::new(self.write(&last, checkpoint)?);
        writer.failed = false;
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&slot);
        let older = writer.older.replace(Arc::clone(&last));
        self.remove_files(older.as_deref(), [&last, &slot]);
        Ok(())
    }
}
