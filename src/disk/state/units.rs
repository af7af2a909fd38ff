//! Units in memory: read from pages in batches, checked once, kept within a bound.

use super::crown::{Child, Link};
use super::unit::{Unit, Wanted, load};
use crate::arena::keccak::Width;
use crate::arena::store::StoreError;
use crate::disk::pages::{PageId, PageStore, UnitKey};
use alloy_primitives::Bytes;
use core::sync::atomic::{AtomicU64, Ordering};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes that a unit takes in the cache besides those of its leaves and nodes.
const UNIT_OVERHEAD: usize = 256;

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<(PageId, u16), Unit> for Weight {
    fn weight(&self, _: &(PageId, u16), unit: &Unit) -> u64 {
        (unit.bytes() + UNIT_OVERHEAD) as u64
    }
}

/// Numbers of calls and pages read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageReads {
    /// Batches of pages.
    pub batches: u64,
    /// Pages.
    pub pages: u64,
}

/// Reads units and keeps the last ones.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) pages: Arc<dyn PageStore>,
    cache: Cache<(PageId, u16), Unit, Weight>,
    pub(super) width: Width,
    batches: AtomicU64,
    pages_read: AtomicU64,
}

impl Units {
    /// Keeps units of at most about `bytes_max` bytes.
    pub(super) fn new(pages: Arc<dyn PageStore>, bytes_max: u64) -> Self {
        let cache = Cache::with_weighter((bytes_max / 4096).max(64) as usize, bytes_max, Weight);
        let [batches, pages_read] = Default::default();
        Self { pages, cache, width: Width::detect(), batches, pages_read }
    }

    /// Most bytes of a unit's leaves: two units of this size fit into a page.
    pub(super) fn unit_bytes_max(&self) -> usize {
        self.pages.page_bytes() / 2 - 80
    }

    pub(super) fn reads(&self) -> PageReads {
        PageReads { batches: self.batches.load(Ordering::Relaxed), pages: self.pages_read.load(Ordering::Relaxed) }
    }

    /// Drops what is stored at a place that will be written anew.
    pub(super) fn forget(&self, page: PageId, index: u16) {
        self.cache.remove(&(page, index));
    }

    /// Drops all units.
    pub(super) fn clear(&self) {
        self.cache.clear();
    }

    /// Pages in one batch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn read_pages(&self, pages: &[PageId]) -> Result<Vec<Bytes>, StoreError> {
        let mut bytes = vec![Bytes::new(); pages.len()];
        if !pages.is_empty() {
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.pages_read.fetch_add(pages.len() as u64, Ordering::Relaxed);
            self.pages.read(pages, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Units in one batch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn many(&self, wanted: &[(UnitKey, Child)]) -> Result<Vec<Unit>, StoreError> {
        let mut units: Vec<Option<Unit>> = Vec::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for (row, (_, child)) in wanted.iter().enumerate() {
            let Link::Unit(place) = child.link else {
                return Err(StoreError::Failed("a unit without a place was read".into()));
            };
            let unit = self.cache.get(&(place.page, place.index));
            if unit.is_none() {
                missing.push((place.page, place.index, row));
            }
            units.push(unit);
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            let mut pages: Vec<PageId> = missing.iter().map(|(page, ..)| *page).collect();
            pages.dedup();
            let bytes = self.read_pages(&pages)?;
            let mut page = 0;
            let groups: Vec<_> = missing.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).collect();
            let mut asked: Vec<Wanted<'_>> = Vec::with_capacity(groups.len());
            for group in &groups {
                let (number, index, row) = group[0];
                while pages[page] != number {
                    page += 1;
                }
                let (key, child) = &wanted[row];
                asked.push(Wanted { key: *key, item: child.item, index, page: &bytes[page] });
            }
            for (unit, group) in load(&asked, self.width)?.into_iter().zip(groups) {
                for (_, _, row) in group {
                    units[*row] = Some(unit.clone());
                }
                self.cache.insert((group[0].0, group[0].1), unit);
            }
        }
        units.into_iter().map(|unit| unit.ok_or_else(|| StoreError::Failed("a unit was not read".into()))).collect()
    }

    /// One unit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn one(&self, key: UnitKey, child: Child) -> Result<Unit, StoreError> {
        self.many(&[(key, child)])?.pop().ok_or_else(|| StoreError::Failed("a unit was not read".into()))
    }
}
