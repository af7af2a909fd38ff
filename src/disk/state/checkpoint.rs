//! Checkpoints: the changes since the last one are merged into units, packed into pages and written.
//!
//! In: a [`DiskState`] with changes. Out: the page store at the new state.
//! The changes are frozen first; those of later blocks belong to the next checkpoint. The checkpoint is
//! then made from what no block changes: the frozen changes, the crown and the pages of the checkpoint
//! before. The state moves to the new crown when the page store is at the new checkpoint.
//! The new state root is computed from the units alone and compared with that of the block before
//! anything is written. A page with a replaced unit is written anew elsewhere with its other units,
//! so pages stay full and no page in use is overwritten.

use super::DiskState;
use super::crown::{Branches, Draft, Edit, Place};
use super::leaf::{AccountLeaf, INLINE_SLOTS, Leaf, SlotLeaf};
use super::merge::{Change, Merge, NewUnit, Sub, drop_storage, merged};
use super::overlay::{AccountChange, Overlay};
use super::stored::Stored;
use super::subtrie::{Leaves, build};
use super::unit::{entry_len, fill_storage_roots, item_at, read_table, root_hash, write_leaves, write_page};
use super::units::Units;
use crate::arena::keccak::Width;
use crate::arena::store::{EMPTY_ROOT, StoreError};
use crate::disk::pages::{Checkpoint, Head, PageId, UnitKey, UnitPlace};
use crate::trie::ItemBytes;
use alloy_primitives::{B256, Bytes, U256};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Name of the threads that make checkpoints.
const THREAD: &str = "checkpoint";
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

/// What a checkpoint is made from.
#[derive(Debug)]
struct Work {
    stored: Stored,
    frozen: Arc<Overlay>,
    head: Head,
    header: Bytes,
    /// Whether the state root must be that of `head`.
    expected: bool,
    free: Vec<PageId>,
    next_page: u32,
}

/// What a checkpoint changes in memory when the page store is at it.
#[derive(Debug)]
struct Made {
    edit: Edit,
    head: Head,
    header: Bytes,
    free: Vec<PageId>,
    next_page: u32,
    /// Pages that the checkpoint no longer uses, and the number of units in each.
    vacated: Vec<(PageId, usize)>,
    written: Written,
}

/// A checkpoint that is being made on a thread of its own. Dropping it waits for the thread.
#[derive(Debug)]
pub(super) struct Running(Option<JoinHandle<Result<Made, StoreError>>>);

impl Running {
    fn start(work: Work) -> Result<Self, StoreError> {
        let failed = |error: &dyn core::fmt::Display| StoreError::Failed(format!("cannot start a thread: {error}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads()).thread_name(|_| THREAD.into()).build();
        let pool = pool.map_err(|error| failed(&error))?;
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || pool.install(|| work.run()));
        Ok(Self(Some(thread.map_err(|error| failed(&error))?)))
    }

    fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(mut self) -> Result<Made, StoreError> {
        let ended = self.0.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| Err(StoreError::Failed("the thread of a checkpoint died".into())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `drop` returns no error. The store opens at this checkpoint if it is complete, else at the one before.
        self.0.take().map(JoinHandle::join);
    }
}

/// Threads of a checkpoint beside blocks: a quarter of the processors.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get().div_ceil(4))
}

impl DiskState {
    /// Writes all changes as the state after the block `head` with this header (RLP). `expected`: the state root must be
    /// that of `head`; otherwise `head` gets the one that results. Waits for a checkpoint that is being made first.
    ///
    /// # Errors
    /// [`StoreError`]. Every later call then fails, too; the page store is at this checkpoint or at the one before.
    pub fn checkpoint(&mut self, head: Head, header: &Bytes, expected: bool) -> Result<Written, StoreError> {
        self.finish(true)?;
        let made = self.freeze(head, header, expected).run();
        self.keep(made)
    }

    /// Begins [`Self::checkpoint`] on a thread of its own. Later changes belong to the next checkpoint.
    /// [`Self::finish`] ends it.
    ///
    /// # Errors
    /// As [`Self::checkpoint`], for the checkpoint before this one; [`StoreError::Failed`] if there is no thread.
    pub fn begin(&mut self, head: Head, header: &Bytes) -> Result<(), StoreError> {
        self.finish(true)?;
        let work = self.freeze(head, header, true);
        match Running::start(work) {
            Ok(running) => {
                self.running = Some(running);
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends a checkpoint that was begun, if its thread is ready; `waits`: when it is. `None` if there is none.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub fn finish(&mut self, waits: bool) -> Result<Option<Written>, StoreError> {
        self.usable()?;
        let running = self.running.take_if(|running| waits || running.is_finished());
        running.map(|running| self.keep(running.join())).transpose()
    }

    fn freeze(&mut self, mut head: Head, header: &Bytes, expected: bool) -> Work {
        let frozen = Arc::new(core::mem::take(&mut self.overlay));
        self.frozen = Some(Arc::clone(&frozen));
        head.sequence = self.head.sequence + 1;
        let (free, next_page) = (self.free.clone(), self.next_page);
        Work { stored: self.stored.clone(), frozen, head, header: header.clone(), expected, free, next_page }
    }

    /// Moves to the checkpoint that was made.
    fn keep(&mut self, made: Result<Made, StoreError>) -> Result<Written, StoreError> {
        let Made { edit, head, header, free, next_page, vacated, written } = made.map_err(|error| self.fail(error))?;
        let Some(crown) = Arc::get_mut(&mut self.stored.crown) else {
            return Err(self.fail(StoreError::Failed("the crown is in use".into())));
        };
        crown.apply(edit);
        for (page, units) in &vacated {
            (0..*units).for_each(|index| self.stored.units.forget(*page, index as u16));
        }
        self.free = free;
        self.free.append(&mut self.freed);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.freed = vacated.into_iter().map(|(page, _)| page).collect();
        self.frozen = None;
        (self.head, self.header, self.next_page) = (head, header, next_page);
        Ok(written)
    }
}

impl Work {
    fn run(self) -> Result<Made, StoreError> {
        let Self { stored, frozen, mut head, header, expected, mut free, mut next_page } = self;
        let mut accounts: Vec<(&B256, &AccountChange)> = frozen.accounts.iter().collect();
        accounts.par_sort_unstable_by_key(|(key, _)| **key);
        load_changed(&stored, &accounts)?;
        let width = stored.units.width;
        let mut crown = Draft::new(Arc::clone(&stored.crown));
        let mut dead: Vec<(UnitKey, Place)> = Vec::new();

        // Storage tries, and the leaves of their accounts.
        let mut new_slots: Vec<NewUnit<SlotLeaf>> = Vec::new();
        let mut leaves: Vec<AccountLeaf> = Vec::with_capacity(accounts.len());
        let mut deleted: Vec<B256> = Vec::new();
        let mut large: Vec<usize> = Vec::new();
        for (key, change) in accounts {
            match merge_account(&stored, &mut crown, *key, change, &mut new_slots, &mut dead)? {
                None => deleted.push(*key),
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
            let Some(mut root) = crown.root(Some(&leaf.key)).copied() else { continue };
            crown.settle(&mut root, 0, &new);
            leaf.storage_root = root_hash(&root.item);
            crown.set_root(Some(leaf.key), Some(root));
        }
        leaves.par_chunks_mut(HASHED_TOGETHER).for_each(|leaves| drop(fill_storage_roots(&mut [leaves], width)));

        // The account trie.
        let mut changes: Vec<Change<AccountLeaf>> = leaves.into_iter().map(|leaf| (leaf.key, Some(leaf))).collect();
        changes.extend(deleted.into_iter().map(|key| (key, None)));
        changes.par_sort_unstable_by_key(|(key, _)| *key);
        let mut new_accounts: Vec<NewUnit<AccountLeaf>> = Vec::new();
        let root = crown.root(None).copied();
        let (units, owner) = (&*stored.units, None);
        let mut merge = Merge { crown: &mut crown, units, owner, new: &mut new_accounts, dead: &mut dead };
        let sub = merge.merge(root, 0, &changes)?;
        let mut root = merge.top(sub);
        let account_items = items(&new_accounts, width);
        if let Some(root) = &mut root {
            crown.settle(root, 0, &unplaced(&new_accounts, &account_items));
        }
        crown.set_root(None, root);
        let state_root = crown.state_root();
        if expected && state_root != head.state_root {
            return Err(StoreError::Corrupt(format!(
                "the checkpoint of block {} has the state root {state_root}, its header {}",
                head.number, head.state_root
            )));
        }
        head.state_root = state_root;

        let mut units: Vec<Packed> = packed(new_accounts, account_items).chain(packed(new_slots, slot_items)).collect();
        let vacated = add_neighbours(&stored.units, &crown, &dead, &mut units)?;
        units.par_sort_unstable_by_key(|unit| unit.key);
        let mut removed: HashSet<UnitKey> = dead.iter().map(|(key, _)| *key).collect();
        for unit in &units {
            removed.remove(&unit.key);
        }
        let removed: Vec<UnitKey> = removed.into_iter().collect();

        let mut next = || {
            free.pop().unwrap_or_else(|| {
                next_page += 1;
                PageId(next_page - 1)
            })
        };
        let (pages, places) = pack(&units, stored.units.pages.page_bytes(), &mut next);
        let codes: Vec<(B256, Bytes)> = frozen.codes.iter().map(|(hash, code)| (*hash, code.clone())).collect();
        let (units_of, codes) = (&places[..], &codes[..]);
        let checkpoint = Checkpoint { head, pages: &pages, units: units_of, removed: &removed, codes, header: &header };
        stored.units.pages.checkpoint(&checkpoint)?;
        for (key, place) in &places {
            let UnitPlace { page, index, leaves, .. } = *place;
            crown.move_unit(key, Place { page, index, leaves });
        }
        let written = Written { pages: pages.len(), units: units.len(), free: free.len() + vacated.len() };
        Ok(Made { edit: crown.into_edit(), head, header, free, next_page, vacated, written })
    }
}

/// Reads all units that the changes of these accounts touch, in one batch.
fn load_changed(stored: &Stored, accounts: &[(&B256, &AccountChange)]) -> Result<(), StoreError> {
    let mut places = Vec::new();
    for (key, change) in accounts {
        places.push(stored.locate(None, key));
        if stored.crown.root(Some(key)).is_some() && !change.is_cleared {
            places.extend(change.slots.keys().map(|slot| stored.locate(Some(key), slot)));
        }
    }
    stored.with_units(places, |_, _| Ok(()))
}

/// The leaf of a changed account, and whether its slots have units; `None` if it was deleted.
fn merge_account(
    stored: &Stored,
    crown: &mut Draft,
    key: B256,
    change: &AccountChange,
    new: &mut Vec<NewUnit<SlotLeaf>>,
    dead: &mut Vec<(UnitKey, Place)>,
) -> Result<Option<(AccountLeaf, bool)>, StoreError> {
    let old = stored.account(&key)?;
    if change.fields.is_none() || change.is_cleared {
        drop_storage(crown, &key, dead);
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
    let root = crown.root(Some(&key)).copied();
    let mut merge = Merge { crown: &mut *crown, units: &stored.units, owner: Some(key), new, dead };
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
    let top = merge.top(sub);
    if top.is_some() || root.is_some() {
        crown.set_root(Some(key), top);
    }
    Ok(Some((leaf, top.is_some())))
}

/// Adds the other units of all pages that hold a replaced unit to `new`. Returns these pages, and the number of units
/// in each.
///
/// # Errors
/// [`StoreError`].
fn add_neighbours(
    units: &Units,
    crown: &Draft,
    dead: &[(UnitKey, Place)],
    new: &mut Vec<Packed>,
) -> Result<Vec<(PageId, usize)>, StoreError> {
    let mut vacated: Vec<PageId> = dead.iter().map(|(_, place)| place.page).collect();
    vacated.sort_unstable();
    vacated.dedup();
    let mut counted = Vec::with_capacity(vacated.len());
    for (page, bytes) in vacated.iter().zip(&units.read_pages(&vacated)?) {
        let entries = read_table(bytes)?;
        counted.push((*page, entries.len()));
        for (index, entry) in entries.into_iter().enumerate() {
            if let Some((item, Place { page: at, index: row, leaves })) = crown.unit(&entry.key)
                && (at, usize::from(row)) == (*page, index)
            {
                let bytes = bytes.get(entry.bytes).unwrap_or_default().to_vec();
                new.push(Packed { key: entry.key, leaves, item, bytes });
            }
        }
    }
    Ok(counted)
}

/// Distributes sorted units over pages of `len` bytes; `next` returns the number of a free page.
fn pack(units: &[Packed], len: usize, next: &mut dyn FnMut() -> PageId) -> (Vec<NewPage>, Vec<(UnitKey, UnitPlace)>) {
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
        let page = next();
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
