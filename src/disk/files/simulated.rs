//! A simulated disk for tests: it loses what was not synced, fails, and fills up.
//!
//! In: operations as [`Files`] and [`File`] have them. Out: their results, and, for any moment, the disk as a loss of
//! power would leave it: any subset of the sectors, lengths and names that were changed and not synced.
//! Not here: damage of synced data; [`Disk::flip`] makes it.

use super::{File, Files};
use crate::disk::error::DiskError;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a device writes at once.
pub const SECTOR: usize = 512;

/// Deterministic random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

type Watcher = Box<dyn FnMut(Disk) + Send>;

#[derive(Default)]
struct State {
    files: Vec<Content>,
    /// Names as the running process sees them.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<(String, Option<usize>)>,
    operations: u64,
    fail_at: Option<u64>,
    capacity: Option<usize>,
    random: u64,
    watcher: Option<Watcher>,
}

#[derive(Clone, Default)]
struct Content {
    /// Content as the running process sees it.
    cached: Vec<u8>,
    synced: Vec<u8>,
    /// Changes since the last sync, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Length(usize),
    /// Offset and bytes within one sector.
    Bytes(usize, Vec<u8>),
}

impl Content {
    /// Applies each unsynced change to the synced content, or drops it.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        for change in core::mem::take(&mut self.unsynced) {
            if !keep() {
                continue;
            }
            match change {
                Change::Length(length) => self.synced.resize(length, 0),
                Change::Bytes(offset, bytes) => {
                    // Bytes beyond the end were written with a length that was lost, or were cut off.
                    let end = self.synced.len().min(offset + bytes.len());
                    if let Some(place) = self.synced.get_mut(offset..end) {
                        place.copy_from_slice(&bytes[..end - offset]);
                    }
                }
            }
        }
    }
}

/// Whether to keep one change: all, none, or a random part.
fn keeper(random: &mut Random) -> impl FnMut() -> bool + use<> {
    let of_16 = [0, 1, 8, 8, 15, 16][random.below(6)];
    let mut random = Random(random.number());
    move || random.below(16) < of_16
}

impl core::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Disk")
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }
}

impl Disk {
    /// The files, as a process that runs now opens them.
    pub fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy that shares nothing with this disk. It has no faults and no watcher.
    pub fn copy(&self) -> Self {
        self.state().copy()
    }

    /// The disk after a loss of power: a random subset of the unsynced changes is kept.
    pub fn power_loss(&self, random: &mut Random) -> Self {
        let copy = self.copy();
        let mut state = copy.state();
        for file in &mut state.files {
            file.settle(keeper(random));
            file.cached.clone_from(&file.synced);
        }
        let mut keep = keeper(random);
        for (name, file) in core::mem::take(&mut state.unsynced_names) {
            if keep() {
                set(&mut state.synced_names, name, file);
            }
        }
        state.names = state.synced_names.clone();
        drop(state);
        copy
    }

    /// Calls `watcher` with a copy of the disk within every operation that changes it or makes changes durable: after
    /// the change was handed to the disk, and before a sync has any effect.
    pub fn watch(&self, watcher: impl FnMut(Self) + Send + 'static) {
        self.state().watcher = Some(Box::new(watcher));
    }

    /// Operations so far, reads included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Makes one operation fail: that with this number, counted from 0. A failed write or sync of a file keeps a
    /// random part of its changes, and later syncs do not repair it.
    pub fn fail_at(&self, operation: u64, random: &mut Random) {
        let mut state = self.state();
        state.fail_at = Some(operation);
        state.random = random.number();
    }

    /// Refuses writes that would make all files together longer than this.
    pub fn set_capacity(&self, bytes: usize) {
        self.state().capacity = Some(bytes);
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> usize {
        let state = self.state();
        state.names.values().map(|file| state.files[*file].cached.len()).sum()
    }

    /// Content of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.names.get(name).map(|file| state.files[*file].cached.clone()).unwrap_or_default()
    }

    /// Inverts one bit of a file, in what is durable, too.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut state = self.state();
        if let Some(file) = state.names.get(name).copied() {
            let file = &mut state.files[file];
            for content in [&mut file.cached, &mut file.synced] {
                if let Some(byte) = content.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: String, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(&name),
    };
}

impl State {
    fn copy(&self) -> Disk {
        Disk(Arc::new(Mutex::new(Self {
            files: self.files.clone(),
            names: self.names.clone(),
            synced_names: self.synced_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            ..Self::default()
        })))
    }

    /// Counts an operation; `true` if it must fail.
    fn fails(&mut self) -> bool {
        let number = self.operations;
        self.operations += 1;
        self.fail_at == Some(number)
    }

    fn watched(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            watcher(self.copy());
            self.watcher = Some(watcher);
        }
    }

    fn set_name(&mut self, name: &str, file: Option<usize>) {
        set(&mut self.names, name.to_owned(), file);
        self.unsynced_names.push((name.to_owned(), file));
        self.watched();
    }

    /// Hands changes of a file to the disk; a failed operation hands over a random part of them.
    fn change(&mut self, file: usize, changes: Vec<Change>, fails: bool) {
        let mut random = Random(self.random);
        let mut keep = keeper(&mut random);
        let content = &mut self.files[file];
        for change in changes {
            if fails && !keep() {
                continue;
            }
            match &change {
                Change::Length(length) => content.cached.resize(*length, 0),
                Change::Bytes(offset, bytes) => {
                    let end = content.cached.len().min(offset + bytes.len());
                    if let Some(place) = content.cached.get_mut(*offset..end) {
                        place.copy_from_slice(&bytes[..end - offset]);
                    }
                }
            }
            content.unsynced.push(change);
        }
        self.watched();
    }
}

fn fault(action: &'static str, name: &str) -> DiskError {
    DiskError::io(action, name, &io::Error::other("the simulated disk failed"))
}

impl Files for Disk {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut state = self.state();
        if state.fails() { Err(fault("list", "the folder")) } else { Ok(state.names.keys().cloned().collect()) }
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>, DiskError> {
        let mut state = self.state();
        if state.fails() {
            return Err(fault("create", name));
        }
        if state.names.contains_key(name) {
            return Err(DiskError::io("create", name, &io::ErrorKind::AlreadyExists.into()));
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.set_name(name, Some(file));
        Ok(Arc::new(SimulatedFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, DiskError> {
        let mut state = self.state();
        if state.fails() {
            return Err(fault("open", name));
        }
        let not_found = || DiskError::io("open", name, &io::ErrorKind::NotFound.into());
        let file = state.names.get(name).copied().ok_or_else(not_found)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.fails() {
            return Err(fault("remove", name));
        }
        if !state.names.contains_key(name) {
            return Err(DiskError::io("remove", name, &io::ErrorKind::NotFound.into()));
        }
        state.set_name(name, None);
        Ok(())
    }

    fn sync_names(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        let fails = state.fails();
        state.watched();
        if fails {
            // Names are in the journal of a file system, which does not drop them as the cache drops content.
            return Err(fault("sync", "the folder"));
        }
        for (name, file) in core::mem::take(&mut state.unsynced_names) {
            set(&mut state.synced_names, name, file);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Disk,
    name: String,
    file: usize,
}

impl File for SimulatedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        let mut state = self.disk.state();
        if state.fails() { Err(fault("measure", &self.name)) } else { Ok(state.files[self.file].cached.len() as u64) }
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let fails = state.fails();
        state.change(self.file, vec![Change::Length(bytes as usize)], fails);
        if fails { Err(fault("set the length of", &self.name)) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        if state.fails() {
            return Err(fault("read", &self.name));
        }
        let content = usize::try_from(offset).ok().and_then(|offset| state.files[self.file].cached.get(offset..));
        let bytes = content.and_then(|content| content.get(..out.len()));
        out.copy_from_slice(bytes.ok_or_else(|| DiskError::damaged(&self.name, offset, "the file ends too early"))?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let mut fails = state.fails();
        let mut offset = offset as usize;
        let end = offset + bytes.len();
        let length = state.files[self.file].cached.len();
        let used: usize = state.names.values().map(|file| state.files[*file].cached.len()).sum();
        let is_full = state.capacity.is_some_and(|capacity| used + end.saturating_sub(length) > capacity);
        fails |= is_full;
        let mut changes = Vec::new();
        if end > length {
            changes.push(Change::Length(end));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (sector, after) = rest.split_at(rest.len().min(SECTOR - offset % SECTOR));
            changes.push(Change::Bytes(offset, sector.to_vec()));
            offset += sector.len();
            rest = after;
        }
        if is_full {
            // The file does not grow.
            changes.retain(|change| matches!(change, Change::Bytes(..)));
        }
        state.change(self.file, changes, fails);
        match (is_full, fails) {
            (true, _) => Err(DiskError::io("write", &self.name, &io::ErrorKind::StorageFull.into())),
            (false, true) => Err(fault("write", &self.name)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let fails = state.fails();
        state.watched();
        let mut random = Random(state.random);
        let mut keep = keeper(&mut random);
        let content = &mut state.files[self.file];
        let is_length = |change: &&Change| matches!(change, Change::Length(_));
        let lengths: Vec<Change> = content.unsynced.iter().filter(is_length).cloned().collect();
        // A failed sync loses changes for good, as Linux does: the cached content is no longer written later. Lengths
        // are in the journal.
        content.settle(|| !fails || keep());
        if fails {
            content.unsynced = lengths;
        }
        if fails { Err(fault("sync", &self.name)) } else { Ok(()) }
    }
}
