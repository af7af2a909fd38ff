//! A page store in memory: for states that need not outlive the process, and the reference for the other stores.

use super::{Checkpoint, EachPart, Head, PageId, PageStore, UnitKey, UnitPlace, check, part_of};
use crate::arena::store::StoreError;
use alloy_primitives::{B256, Bytes};
use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Pages, units and codes in maps.
#[derive(Debug)]
pub struct MemoryPages {
    page_bytes: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    head: Option<(Head, Bytes)>,
    pages: HashMap<PageId, Bytes>,
    units: BTreeMap<UnitKey, UnitPlace>,
    codes: HashMap<B256, Bytes>,
}

impl MemoryPages {
    /// An empty store with pages of `page_bytes` bytes.
    pub fn new(page_bytes: usize) -> Self {
        Self { page_bytes, state: RwLock::default() }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PageStore for MemoryPages {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn read(&self, pages: &[PageId], out: &mut [Bytes]) -> Result<(), StoreError> {
        let state = self.state();
        for (page, out) in pages.iter().zip(out) {
            let found = state.pages.get(page);
            *out = found.cloned().ok_or_else(|| StoreError::Corrupt(format!("page {} is missing", page.0)))?;
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        let state = self.state();
        for (hash, out) in hashes.iter().zip(out) {
            *out = state.codes.get(hash).cloned();
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<(Head, Bytes)>, StoreError> {
        Ok(self.state().head.clone())
    }

    fn units(&self, each: &EachPart<'_>) -> Result<(), StoreError> {
        let units: Vec<(UnitKey, UnitPlace)> = self.state().units.iter().map(|(key, place)| (*key, *place)).collect();
        let parts = units.chunk_by(|(a, _), (b, _)| part_of(a) == part_of(b));
        parts.into_iter().try_for_each(|units| each(part_of(&units[0].0), units.to_vec()))
    }

    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        check(checkpoint, state.head.as_ref().map_or(0, |(head, _)| head.sequence), self.page_bytes)?;
        for (page, bytes) in checkpoint.pages {
            state.pages.insert(*page, Bytes::copy_from_slice(bytes));
        }
        for key in checkpoint.removed {
            state.units.remove(key);
        }
        state.units.extend(checkpoint.units.iter().copied());
        state.codes.extend(checkpoint.codes.iter().cloned());
        state.head = Some((checkpoint.head, Bytes::copy_from_slice(checkpoint.header)));
        Ok(())
    }
}
