//! Checkpoints: the changes since the last one are merged into units, packed into pages and written.
//!
//! In: a [`DiskState`] with changes. Out: the page store at the new state.
//! The new state root is computed from the units alone and compared with that of the block before
//! anything is written. A page with a replaced unit is written anew elsewhere with its other units,
//! so pages stay full and no page in use is overwritten.

use super::DiskState;
use super::crown::Place;
use super::leaf::{AccountLeaf, INLINE_SLOTS, Leaf, SlotLeaf};
use super::merge::{Change, Merge, NewUnit, Sub, drop_storage, merged};
use super::overlay::{AccountChange, Overlay};
use super::subtrie::{Leaves, build};
use super::unit::{entry_len, fill_storage_roots, item_at, read_table, root_hash, write_leaves, write_page};
use crate::arena::keccak::Width;
use crate::arena::store::{EMPTY_ROOT, StoreError};
use crate::disk::pages::{Checkpoint, Head, PageId, UnitKey, UnitPlace};
use crate::trie::ItemBytes;
use alloy_primitives::{B256, Bytes, U256};
use rayon::prelude::*;
use std::collections::HashSet;

/// Units that one task hashes.
const HASHED_TOGETHER: usize = 64;

/// A unit to be written.
struct Packed {
    key: UnitKey,
    leaves: u16,
    item: ItemBytes,
    bytes: Vec<u8>,
}

/// A page to be written.
type NewPage = (PageId, Vec<u8>);

/// What a checkpoint wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Pages.
    pub pages: usize,
    /// Units in them.
    pub units: usize,
    /// Pages that are free now or after the next checkpoint.
    pub free: usize,
}

/// The items of new units.
fn items<L: Leaf>(new: &[NewUnit<L>], width: Width) -> Vec<ItemBytes> {
    let chunks: Vec<Vec<ItemBytes>> = new
        .par_chunks(HASHED_TOGETHER)
        .map(|chunk| {
            let tries: Vec<Leaves<'_, L>> =
                chunk.iter().map(|unit| Leaves { depth: unit.key.path.len as usize, leaves: &unit.leaves }).collect();
            let built = build(&tries, width).into_iter();
            chunk.iter().zip(built).map(|(unit, (_, item))| item_at(&unit.key.path, item)).collect()
        })
        .collect();
    chunks.into_iter().flatten().collect()
}

fn packed<L: Leaf>(new: Vec<NewUnit<L>>, items: Vec<ItemBytes>) -> impl Iterator<Item = Packed> {
    new.into_iter().zip(items).map(|(unit, item)| Packed {
        bytes: write_leaves(&unit.key.path, &unit.leaves),
        leaves: unit.leaves.len() as u16,
        key: unit.key,
        item,
    })
}

/// A place that is replaced once the unit is in a page.
fn unplaced<L>(new: &[NewUnit<L>], items: &[ItemBytes]) -> impl Fn(u32) -> (ItemBytes, Place) + use<L> {
    let leaves: Vec<u16> = new.iter().map(|unit| unit.leaves.len() as u16).collect();
    let items = items.to_vec();
    move |row| {
        let row = row as usize;
        (items[row], Place { page: PageId(u32::MAX), index: 0, leaves: leaves[row] })
    }
}

impl DiskState {
    /// Writes all changes as the state after the block `head` with this header (RLP). `expected`: the state root must be
    /// that of `head`; otherwise `head` gets the one that results.
    ///
    /// # Errors
    /// [`StoreError`]. Every later call then fails, too; the page store is at this checkpoint or at the one before.
    pub fn checkpoint(&mut self, head: Head, header: &Bytes, expected: bool) -> Result<Written, StoreError> {
        self.usable()?;
        let result = self.try_checkpoint(head, header, expected);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn try_checkpoint(&mut self, mut head: Head, header: &Bytes, expected: bool) -> Result<Written, StoreError> {
        let Overlay { accounts, codes, .. } = core::mem::take(&mut self.overlay);
        let mut accounts: Vec<(B256, AccountChange)> = accounts.into_iter().collect();
        accounts.par_sort_unstable_by_key(|(key, _)| *key);
        self.load_changed(&accounts)?;
        let width = self.units.width;
        let mut dead: Vec<(UnitKey, Place)> = Vec::new();

        // Storage tries, and the leaves of their accounts.
        let mut new_slots: Vec<NewUnit<SlotLeaf>> = Vec::new();
        let mut leaves: Vec<AccountLeaf> = Vec::with_capacity(accounts.len());
        let mut deleted: Vec<B256> = Vec::new();
        let mut large: Vec<usize> = Vec::new();
        for (key, change) in accounts {
            match self.merge_account(key, change, &mut new_slots, &mut dead)? {
                None => deleted.push(key),
                Some((leaf, is_large)) => {
                    if is_large {
                        large.push(leaves.len());
                    }
                    leaves.push(leaf);
                }
            }
        }
        let slot_items = items(&new_slots, width);
        let new = unplaced(&new_slots, &slot_items);
        for row in large {
            let leaf = &mut leaves[row];
            let Some(mut root) = self.crown.storages.get(&leaf.key).copied() else { continue };
            self.crown.settle(&mut root, 0, &new);
            leaf.storage_root = root_hash(&root.item);
            self.crown.storages.insert(leaf.key, root);
        }
        leaves.par_chunks_mut(HASHED_TOGETHER).for_each(|leaves| drop(fill_storage_roots(leaves, width)));

        // The account trie.
        let mut changes: Vec<Change<AccountLeaf>> = leaves.into_iter().map(|leaf| (leaf.key, Some(leaf))).collect();
        changes.extend(deleted.into_iter().map(|key| (key, None)));
        changes.par_sort_unstable_by_key(|(key, _)| *key);
        let mut new_accounts: Vec<NewUnit<AccountLeaf>> = Vec::new();
        let root = self.crown.accounts;
        let mut merge =
            Merge { crown: &mut self.crown, units: &self.units, owner: None, new: &mut new_accounts, dead: &mut dead };
        let sub = merge.merge(root, 0, &changes)?;
        let mut root = merge.top(sub);
        let account_items = items(&new_accounts, width);
        if let Some(root) = &mut root {
            self.crown.settle(root, 0, &unplaced(&new_accounts, &account_items));
        }
        self.crown.accounts = root;
        let state_root = self.crown.state_root();
        if expected && state_root != head.state_root {
            return Err(StoreError::Corrupt(format!(
                "the checkpoint of block {} has the state root {state_root}, its header {}",
                head.number, head.state_root
            )));
        }
        head.state_root = state_root;
        head.sequence = self.head.sequence + 1;

        let mut units: Vec<Packed> = packed(new_accounts, account_items).chain(packed(new_slots, slot_items)).collect();
        let vacated = self.add_neighbours(&dead, &mut units)?;
        units.par_sort_unstable_by_key(|unit| unit.key);
        let mut removed: HashSet<UnitKey> = dead.iter().map(|(key, _)| *key).collect();
        for unit in &units {
            removed.remove(&unit.key);
        }
        let removed: Vec<UnitKey> = removed.into_iter().collect();

        let (pages, places) = self.pack(&units);
        let codes: Vec<(B256, Bytes)> = codes.into_iter().collect();
        let checkpoint = Checkpoint { head, pages: &pages, units: &places, removed: &removed, codes: &codes, header };
        self.units.pages.checkpoint(&checkpoint)?;
        for (key, place) in &places {
            let UnitPlace { page, index, leaves, .. } = *place;
            self.crown.move_unit(key, Place { page, index, leaves });
        }
        let written = Written { pages: pages.len(), units: units.len(), free: self.free.len() + vacated.len() };
        self.free.append(&mut self.freed);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.freed = vacated;
        (self.head, self.header) = (head, header.clone());
        Ok(written)
    }

    /// Reads all units that the changes of these accounts touch, in one batch.
    fn load_changed(&self, accounts: &[(B256, AccountChange)]) -> Result<(), StoreError> {
        let mut places = Vec::new();
        for (key, change) in accounts {
            places.push(self.locate(None, key));
            if self.crown.storages.contains_key(key) && !change.is_cleared {
                places.extend(change.slots.keys().map(|slot| self.locate(Some(key), slot)));
            }
        }
        self.with_units(places, |_, _| Ok(()))
    }

    /// The leaf of a changed account, and whether its slots have units; `None` if it was deleted.
    fn merge_account(
        &mut self,
        key: B256,
        change: AccountChange,
        new: &mut Vec<NewUnit<SlotLeaf>>,
        dead: &mut Vec<(UnitKey, Place)>,
    ) -> Result<Option<(AccountLeaf, bool)>, StoreError> {
        let mut old: Option<AccountLeaf> = None;
        self.with_units(vec![self.locate(None, &key)], |_, unit| {
            let found = unit.map(|unit| self.account_in(unit, &key)).transpose()?.flatten();
            old = found.map(|(_, leaf)| leaf.clone());
            Ok(())
        })?;
        if change.fields.is_none() || change.is_cleared {
            drop_storage(&mut self.crown, &key, dead);
        }
        let Some(fields) = change.fields else { return Ok(None) };
        let mut slots: Vec<Change<SlotLeaf>> = change
            .slots
            .iter()
            .map(|(key, value)| (*key, (*value != U256::ZERO).then_some(SlotLeaf { key: *key, value: *value })))
            .collect();
        slots.sort_unstable_by_key(|(key, _)| *key);
        let mut leaf = AccountLeaf {
            key,
            nonce: fields.nonce,
            balance: fields.balance,
            code_hash: fields.code_hash,
            storage_root: EMPTY_ROOT,
            slots: Vec::new(),
        };
        let root = self.crown.storages.get(&key).copied();
        let mut merge = Merge { crown: &mut self.crown, units: &self.units, owner: Some(key), new, dead };
        let sub = if root.is_some() {
            merge.merge(root, 0, &slots)?
        } else {
            let old = old.filter(|_| !change.is_cleared).map_or_else(Vec::new, |leaf| leaf.slots);
            let all = merged(&old, &slots);
            if all.len() <= INLINE_SLOTS { Sub::Leaves(all) } else { merge.place(all, 0) }
        };
        let sub = match sub {
            Sub::Leaves(leaves) if leaves.len() <= INLINE_SLOTS => {
                leaf.slots = leaves;
                Sub::Empty
            }
            sub => sub,
        };
        match merge.top(sub) {
            Some(root) => {
                self.crown.storages.insert(key, root);
                Ok(Some((leaf, true)))
            }
            None => {
                self.crown.storages.remove(&key);
                Ok(Some((leaf, false)))
            }
        }
    }

    /// Adds the other units of all pages that hold a replaced unit to `units`. Returns these pages.
    fn add_neighbours(&self, dead: &[(UnitKey, Place)], units: &mut Vec<Packed>) -> Result<Vec<PageId>, StoreError> {
        let mut vacated: Vec<PageId> = dead.iter().map(|(_, place)| place.page).collect();
        vacated.sort_unstable();
        vacated.dedup();
        let bytes = self.units.read_pages(&vacated)?;
        for (page, bytes) in vacated.iter().zip(&bytes) {
            for (index, entry) in read_table(bytes)?.into_iter().enumerate() {
                self.units.forget(*page, index as u16);
                if let Some((item, Place { page: at, index: row, leaves })) = self.crown.unit(&entry.key)
                    && (at, usize::from(row)) == (*page, index)
                {
                    let bytes = bytes.get(entry.bytes).unwrap_or_default().to_vec();
                    units.push(Packed { key: entry.key, leaves, item, bytes });
                }
            }
        }
        Ok(vacated)
    }

    /// Distributes sorted units over free pages.
    fn pack(&mut self, units: &[Packed]) -> (Vec<NewPage>, Vec<(UnitKey, UnitPlace)>) {
        let len = self.units.pages.page_bytes();
        let mut pages = Vec::new();
        let mut places = Vec::with_capacity(units.len());
        let mut start = 0;
        while start < units.len() {
            let (mut end, mut used) = (start, 2);
            while let Some(unit) = units.get(end) {
                used += entry_len(&unit.key) + unit.bytes.len();
                if used > len {
                    break;
                }
                end += 1;
            }
            let page = self.free.pop().unwrap_or_else(|| {
                self.next_page += 1;
                PageId(self.next_page - 1)
            });
            let group = &units[start..end];
            let table: Vec<(UnitKey, u16, &[u8])> =
                group.iter().map(|unit| (unit.key, unit.leaves, &unit.bytes[..])).collect();
            pages.push((page, write_page(&table, len)));
            for (index, unit) in group.iter().enumerate() {
                let Packed { key, leaves, item, .. } = *unit;
                places.push((key, UnitPlace { page, index: index as u16, leaves, item }));
            }
            start = end;
        }
        (pages, places)
    }

    /// The slots of an account in the pages, sorted by hashed key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn stored_slots(&self, key: &B256) -> Result<Vec<SlotLeaf>, StoreError> {
        let mut slots = Vec::new();
        if let Some(root) = self.crown.storages.get(key) {
            let mut wanted = Vec::new();
            self.crown.units(Some(*key), root, &mut wanted);
            for unit in self.units.many(&wanted)? {
                slots.extend_from_slice(&unit.slots()?.leaves);
            }
            return Ok(slots);
        }
        self.with_units(vec![self.locate(None, key)], |_, unit| {
            let leaf = unit.map(|unit| self.account_in(unit, key)).transpose()?.flatten();
            slots = leaf.map_or_else(Vec::new, |(_, leaf)| leaf.slots.clone());
            Ok(())
        })?;
        Ok(slots)
    }
}
