//! A page store in an embedded database, the crate `redb`.
//!
//! In: checkpoints, each of which is one write transaction. Out: what the last committed transaction left.
//! Slower than `files` by design: the database keeps trees of its own over pages and units. It is a second, independent
//! implementation of a durable store.

use super::encoding::{HEAD_BYTES, head, put_head, put_unit, unit};
use super::{Checkpoint, EachPart, Head, PageId, PageStore, UnitKey, UnitPlace, check, part_of};
use crate::arena::input::Input;
use crate::arena::store::StoreError;
use crate::disk::error::DiskError;
use crate::disk::files::{File, Files};
use crate::disk::sum::StoreId;
use alloy_primitives::{B256, Bytes};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::io;
use std::sync::Arc;

/// Name of the file.
const FILE: &str = "pages.redb";
const PAGES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("pages");
/// Units by [`unit_key`].
const UNITS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("units");
const CODES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("codes");
/// One row: the name of the store, the head, the header.
const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("head");
/// Most threads that read one batch.
const THREADS_MAX: usize = 32;
/// Fewest reads for which a thread is started.
const READS_PER_THREAD: usize = 64;

/// Pages, units and codes in a database.
#[derive(Debug)]
pub struct RedbPages {
    database: Database,
    store: StoreId,
    page_bytes: usize,
}

fn failed(error: impl Into<redb::Error>) -> DiskError {
    DiskError::Database { file: FILE, reason: error.into().to_string() }
}

/// A file as the database uses it.
#[derive(Debug)]
struct Backend(Arc<dyn File>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes().map_err(io::Error::other)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out).map_err(io::Error::other)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes).map_err(io::Error::other)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync().map_err(io::Error::other)
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes).map_err(io::Error::other)
    }
}

impl RedbPages {
    /// Creates the database of an empty store. `cache_bytes` bounds the memory for its pages.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn create(files: &dyn Files, store: StoreId, page_bytes: usize, cache_bytes: usize) -> Result<Self, DiskError> {
        let file = files.create(FILE)?;
        let pages = Self::with_file(file, store, page_bytes, cache_bytes)?;
        let write = pages.database.begin_write().map_err(failed)?;
        write.open_table(PAGES).map_err(failed)?;
        write.open_table(UNITS).map_err(failed)?;
        write.open_table(CODES).map_err(failed)?;
        write.open_table(HEAD).map_err(failed)?.insert((), &store.0[..]).map_err(failed)?;
        write.commit().map_err(failed)?;
        files.sync_names()?;
        Ok(pages)
    }

    /// Opens the database of a store.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] if it belongs to another store; other [`DiskError`]s.
    pub fn open(files: &dyn Files, store: StoreId, page_bytes: usize, cache_bytes: usize) -> Result<Self, DiskError> {
        let pages = Self::with_file(files.open(FILE)?, store, page_bytes, cache_bytes)?;
        pages.row()?;
        Ok(pages)
    }

    fn with_file(
        file: Arc<dyn File>,
        store: StoreId,
        page_bytes: usize,
        cache_bytes: usize,
    ) -> Result<Self, DiskError> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = builder.create_with_backend(Backend(file)).map_err(failed)?;
        Ok(Self { database, store, page_bytes })
    }

    /// Head and header of the last checkpoint.
    fn row(&self) -> Result<Option<(Head, Bytes)>, DiskError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(HEAD).map_err(failed)?;
        let row = table.get(()).map_err(failed)?;
        let bytes = row.as_ref().map(|row| row.value()).unwrap_or_default();
        let Some(content) = bytes.strip_prefix(&self.store.0) else {
            return Err(DiskError::damaged(FILE, 0, "the database belongs to another store"));
        };
        if content.is_empty() {
            return Ok(None);
        }
        let mut input = Input(content);
        let head = head(&mut input).ok_or_else(|| DiskError::damaged(FILE, 0, "the row of the head is too short"))?;
        Ok(Some((head, Bytes::copy_from_slice(input.0))))
    }

    fn write(&self, checkpoint: &Checkpoint<'_>) -> Result<(), DiskError> {
        // The durability of a transaction is immediate unless it is lowered.
        let mut write = self.database.begin_write().map_err(failed)?;
        // Opening after a crash does not read the whole file.
        write.set_quick_repair(true);
        {
            let mut table = write.open_table(PAGES).map_err(failed)?;
            for (page, bytes) in checkpoint.pages {
                table.insert(page.0, &bytes[..]).map_err(failed)?;
            }
            let mut table = write.open_table(UNITS).map_err(failed)?;
            for key in checkpoint.removed {
                table.remove(&unit_key(key)[..]).map_err(failed)?;
            }
            let mut value = Vec::new();
            for (key, place) in checkpoint.units {
                value.clear();
                put_unit(&mut value, None, key, Some(place));
                table.insert(&unit_key(key)[..], &value[..]).map_err(failed)?;
            }
            let mut table = write.open_table(CODES).map_err(failed)?;
            for (hash, code) in checkpoint.codes {
                if table.get(&hash.0).map_err(failed)?.is_none() {
                    table.insert(&hash.0, &code[..]).map_err(failed)?;
                }
            }
            let mut row = Vec::with_capacity(self.store.0.len() + HEAD_BYTES + checkpoint.header.len());
            row.extend(self.store.0);
            put_head(&mut row, &checkpoint.head);
            row.extend_from_slice(checkpoint.header);
            write.open_table(HEAD).map_err(failed)?.insert((), &row[..]).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// Passes the keys to `read`, on several threads if there are many, with the output of each.
    fn batch<K: Sync, V: Send>(
        keys: &[K],
        out: &mut [V],
        read: impl Fn(&K) -> Result<V, DiskError> + Sync,
    ) -> Result<(), DiskError> {
        let part = |keys: &[K], out: &mut [V]| {
            keys.iter().zip(out).try_for_each(|(key, out)| {
                *out = read(key)?;
                Ok(())
            })
        };
        let threads = (keys.len() / READS_PER_THREAD).min(THREADS_MAX);
        if threads <= 1 {
            return part(keys, out);
        }
        let chunk = keys.len().div_ceil(threads);
        let part = &part;
        std::thread::scope(|scope| {
            let parts = keys.chunks(chunk).zip(out.chunks_mut(chunk));
            let threads: Vec<_> = parts.map(|(keys, out)| scope.spawn(move || part(keys, out))).collect();
            threads.into_iter().try_for_each(|thread| {
                let ended_early = |_| DiskError::Database { file: FILE, reason: "a reader thread ended early".into() };
                thread.join().map_err(ended_early)?
            })
        })
    }
}

/// The key of a unit in the database: in the order of [`UnitKey`], the account trie before all owners.
fn unit_key(key: &UnitKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(66);
    out.push(u8::from(key.owner.is_some()));
    out.extend(key.owner.iter().flatten());
    out.extend(key.path.nibbles);
    out.push(key.path.len);
    out
}

impl PageStore for RedbPages {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn read(&self, pages: &[PageId], out: &mut [Bytes]) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(PAGES).map_err(failed)?;
        let page = |page: &PageId| {
            let found = table.get(page.0).map_err(failed)?;
            let found = found.ok_or_else(|| DiskError::damaged(FILE, 0, "a page is missing"))?;
            Ok(Bytes::copy_from_slice(found.value()))
        };
        Ok(Self::batch(pages, out, page)?)
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(CODES).map_err(failed)?;
        let code = |hash: &B256| {
            let found = table.get(&hash.0).map_err(failed)?;
            Ok(found.map(|code| Bytes::copy_from_slice(code.value())))
        };
        Ok(Self::batch(hashes, out, code)?)
    }

    fn head(&self) -> Result<Option<(Head, Bytes)>, StoreError> {
        Ok(self.row()?)
    }

    fn units(&self, each: &EachPart<'_>) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(UNITS).map_err(failed)?;
        let mut units: Vec<(UnitKey, UnitPlace)> = Vec::new();
        for row in table.iter().map_err(failed)? {
            let (_, value) = row.map_err(failed)?;
            let Some((key, Some(place))) = unit(&mut Input(value.value()), None) else {
                return Err(DiskError::damaged(FILE, 0, "a row of the table of units is no unit").into());
            };
            if let Some(part) = units.last().map(|(last, _)| part_of(last)).filter(|part| *part != part_of(&key)) {
                each(part, core::mem::take(&mut units))?;
            }
            units.push((key, place));
        }
        units.last().map(|(last, _)| part_of(last)).map_or(Ok(()), |part| each(part, units))
    }

    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError> {
        let last = self.row()?.map_or(0, |(head, _)| head.sequence);
        check(checkpoint, last, self.page_bytes)?;
        Ok(self.write(checkpoint)?)
    }
}
