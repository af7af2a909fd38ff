//! Codes by hash: a file of codes, and an index of their hashes and places.
//!
//! In: codes that a checkpoint brings. Out: codes by keccak256.
//! Both files only grow. The index is read when the store is opened and takes about 80 bytes of memory per code; the
//! code itself is read, and checked against its checksum, when it is asked for.
//!
//! ```text
//! codes          the bytes of all codes
//! codes.index    runs, one per checkpoint: number of entries, entries, checksum continued from the run before
//!                entry: hash, offset in `codes`, length, checksum of the code
//! ```

use crate::arena::input::Input;
use crate::disk::error::DiskError;
use crate::disk::files::{File, Files};
use crate::disk::sum::{StoreId, extend};
use alloy_primitives::map::B256Map;
use alloy_primitives::{B256, Bytes};
use std::sync::{Arc, PoisonError, RwLock};

const CODES: &str = "codes";
const INDEX: &str = "codes.index";
/// Bytes that are written to the file of codes at once, unless one code is longer.
const WRITE_BYTES: usize = 1 << 20;

/// Where a code is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    bytes: u32,
    sum: u32,
}

/// Lengths of both files at a checkpoint, and the checksum of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub index_bytes: u64,
    pub index_sum: u32,
    pub codes_bytes: u64,
}

/// The codes of a store.
#[derive(Debug)]
pub(super) struct Codes {
    store: StoreId,
    codes: Arc<dyn File>,
    index: Arc<dyn File>,
    places: RwLock<B256Map<Place>>,
}

impl Codes {
    /// Creates both files, empty.
    pub(super) fn create(files: &dyn Files, store: &StoreId) -> Result<Ends, DiskError> {
        files.create(CODES)?.sync()?;
        files.create(INDEX)?.sync()?;
        Ok(Ends { index_bytes: 0, index_sum: store.sum("codes", &[]), codes_bytes: 0 })
    }

    /// Opens both files and reads the index up to where a checkpoint ends.
    pub(super) fn open(files: &dyn Files, store: StoreId, ends: Ends) -> Result<Self, DiskError> {
        let (codes, index) = (files.open(CODES)?, files.open(INDEX)?);
        for (file, bytes) in [(&codes, ends.codes_bytes), (&index, ends.index_bytes)] {
            let found = file.bytes()?;
            if found < bytes {
                return Err(DiskError::damaged(file.name(), found, "the file is too short"));
            }
        }
        let mut content = vec![0; ends.index_bytes as usize];
        index.read_at(0, &mut content)?;
        let mut places = B256Map::default();
        let places_read = read_index(&store, &content, &mut places);
        if places_read != Some(ends.index_sum) {
            return Err(DiskError::damaged(INDEX, 0, "the checksum of the index is wrong"));
        }
        Ok(Self { store, codes, index, places: RwLock::new(places) })
    }

    /// Appends the codes that are not stored yet behind the ends of the last checkpoint, and makes them durable.
    /// Returns the new ends and the places, which [`Self::publish`] makes readable.
    pub(super) fn append(&self, ends: Ends, codes: &[(B256, Bytes)]) -> Result<(Ends, Vec<(B256, Place)>), DiskError> {
        let mut new: B256Map<Place> = B256Map::default();
        let mut run = vec![0; 4];
        let mut buffer = Vec::new();
        let mut end = ends.codes_bytes;
        {
            let stored = self.places.read().unwrap_or_else(PoisonError::into_inner);
            for (hash, code) in codes {
                if stored.contains_key(hash) || new.contains_key(hash) {
                    continue;
                }
                let too_long = || DiskError::TooLong { what: "a code", bytes: code.len(), limit: u32::MAX as usize };
                let bytes = u32::try_from(code.len()).map_err(|_| too_long())?;
                let offset = end + buffer.len() as u64;
                let sum = extend(self.store.sum("code", &[offset]), code);
                new.insert(*hash, Place { offset, bytes, sum });
                run.extend(hash);
                run.extend(offset.to_le_bytes());
                run.extend(bytes.to_le_bytes());
                run.extend(sum.to_le_bytes());
                buffer.extend_from_slice(code);
                if buffer.len() >= WRITE_BYTES {
                    self.codes.write_at(end, &buffer)?;
                    end += buffer.len() as u64;
                    buffer.clear();
                }
            }
        }
        if new.is_empty() {
            return Ok((ends, Vec::new()));
        }
        self.codes.write_at(end, &buffer)?;
        self.codes.sync()?;
        run[..4].copy_from_slice(&(new.len() as u32).to_le_bytes());
        let index_sum = extend(ends.index_sum, &run);
        run.extend(index_sum.to_le_bytes());
        self.index.write_at(ends.index_bytes, &run)?;
        self.index.sync()?;
        let codes_bytes = end + buffer.len() as u64;
        let index_bytes = ends.index_bytes + run.len() as u64;
        Ok((Ends { index_bytes, index_sum, codes_bytes }, new.into_iter().collect()))
    }

    /// Makes codes of a complete checkpoint readable.
    pub(super) fn publish(&self, places: Vec<(B256, Place)>) {
        self.places.write().unwrap_or_else(PoisonError::into_inner).extend(places);
    }

    /// Codes by hash; `None` for those that are not stored.
    pub(super) fn read(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), DiskError> {
        let found: Vec<Option<Place>> = {
            let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
            hashes.iter().map(|hash| places.get(hash).copied()).collect()
        };
        let ranges: Vec<(u64, u32)> = found.iter().flatten().map(|place| (place.offset, place.bytes)).collect();
        let mut codes = vec![Bytes::new(); ranges.len()];
        self.codes.read_many(&ranges, &mut codes)?;
        let mut codes = codes.into_iter();
        for (place, out) in found.iter().zip(out) {
            *out = place.and_then(|_| codes.next());
            if let (Some(place), Some(code)) = (place, out)
                && extend(self.store.sum("code", &[place.offset]), code) != place.sum
            {
                return Err(DiskError::damaged(CODES, place.offset, "the checksum of the code is wrong"));
            }
        }
        Ok(())
    }
}

/// Reads all runs; returns the checksum of the last one, `None` if they are damaged.
fn read_index(store: &StoreId, content: &[u8], places: &mut B256Map<Place>) -> Option<u32> {
    let mut input = Input(content);
    let mut sum = store.sum("codes", &[]);
    while !input.0.is_empty() {
        let run = input.0;
        let count = input.u32()?;
        for _ in 0..count {
            places.insert(input.hash()?, Place { offset: input.u64()?, bytes: input.u32()?, sum: input.u32()? });
        }
        sum = extend(sum, &run[..run.len() - input.0.len()]);
        if input.u32()? != sum {
            return None;
        }
    }
    Some(sum)
}
