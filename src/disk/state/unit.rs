//! Units: small subtries, in pages and in memory.
//!
//! In: bytes of pages, and the item that the branch above a unit holds. Out: leaves and nodes that
//! are proven by that item. A page holds whole units:
//!
//! ```text
//! unit count u16 | per unit: 0, or 1 and the owner 32 | path length, path | leaf count u16 | length in bytes u16 |
//! the leaves of each unit
//! ```
//!
//! Integers are little-endian. A page has no checksum: each unit is compared with its hash.

use super::leaf::{AccountLeaf, Leaf, SlotLeaf, corrupt, whole};
use super::subtrie::{Leaves, Nodes, build, root_of};
use crate::arena::input::Input;
use crate::arena::keccak::Width;
use crate::arena::path::{KEY_NIBBLES, NodePath};
use crate::arena::store::StoreError;
use crate::disk::pages::UnitKey;
use crate::trie::ItemBytes;
use alloy_primitives::B256;
use core::ops::Range;
use rayon::prelude::*;
use std::sync::Arc;

/// Most leaves of a unit.
pub(super) const UNIT_LEAVES: usize = 32;

/// Units that one task checks.
const CHECKED_TOGETHER: usize = 32;

/// A unit in a page: its position, its number of leaves, and where its leaves are.
#[derive(Clone, Debug)]
pub(super) struct UnitEntry {
    pub(super) key: UnitKey,
    pub(super) leaves: u16,
    pub(super) bytes: Range<usize>,
}

/// Reads the table of units of a page.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn read_table(page: &[u8]) -> Result<Vec<UnitEntry>, StoreError> {
    let mut rest = Input(page);
    let count = whole(rest.u16())?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let owner = match whole(rest.u8())? {
            0 => None,
            1 => Some(whole(rest.hash())?),
            _ => return Err(corrupt("unknown kind of unit")),
        };
        let len = whole(rest.u8())?;
        let digits = whole(rest.take(usize::from(len).div_ceil(2)))?;
        let mut key = [0; 32];
        key.get_mut(..digits.len()).ok_or_else(|| corrupt("a path of more than 64 nibbles"))?.copy_from_slice(digits);
        let path = NodePath::new(&key, len as usize);
        if path.nibbles != key || len as usize > KEY_NIBBLES {
            return Err(corrupt("a path with a wrong last nibble"));
        }
        let (leaves, bytes) = (whole(rest.u16())?, whole(rest.u16())?.into());
        entries.push(UnitEntry { key: UnitKey { owner, path }, leaves, bytes: 0..bytes });
    }
    let mut at = page.len() - rest.0.len();
    for entry in &mut entries {
        entry.bytes = at..at + entry.bytes.end;
        at = entry.bytes.end;
    }
    if at > page.len() { Err(corrupt("units exceed the page")) } else { Ok(entries) }
}

/// Bytes of a unit's row in the table of its page.
pub(super) fn entry_len(key: &UnitKey) -> usize {
    1 + if key.owner.is_some() { 32 } else { 0 } + 1 + usize::from(key.path.len).div_ceil(2) + 4
}

/// A page of these units, padded with zeros to `len` bytes.
pub(super) fn write_page(units: &[(UnitKey, u16, &[u8])], len: usize) -> Vec<u8> {
    let mut page = Vec::with_capacity(len);
    page.extend_from_slice(&(units.len() as u16).to_le_bytes());
    for (key, leaves, bytes) in units {
        match &key.owner {
            None => page.push(0),
            Some(owner) => {
                page.push(1);
                page.extend_from_slice(&owner.0);
            }
        }
        page.push(key.path.len);
        page.extend_from_slice(&key.path.nibbles[..usize::from(key.path.len).div_ceil(2)]);
        page.extend_from_slice(&leaves.to_le_bytes());
        page.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    }
    units.iter().for_each(|(_, _, bytes)| page.extend_from_slice(bytes));
    debug_assert!(page.len() <= len);
    page.resize(len, 0);
    page
}

/// The bytes of a unit's leaves.
pub(super) fn write_leaves<L: Leaf>(path: &NodePath, leaves: &[L]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(leaves.iter().map(Leaf::page_len).sum());
    leaves.iter().for_each(|leaf| leaf.write(usize::from(path.len) / 2, &mut bytes));
    bytes
}

fn read_leaves<L: Leaf>(entry: &UnitEntry, page: &[u8]) -> Result<Vec<L>, StoreError> {
    let bytes = page.get(entry.bytes.clone()).ok_or_else(|| corrupt("a unit exceeds the page"))?;
    let mut input = Input(bytes);
    if entry.leaves == 0 {
        return Err(corrupt("a unit without leaves"));
    }
    let leaves: Vec<L> =
        (0..entry.leaves).map(|_| L::read(&entry.key.path, &mut input)).collect::<Result<_, StoreError>>()?;
    if !input.0.is_empty() || !leaves.is_sorted_by(|a, b| a.key() < b.key()) {
        return Err(corrupt("a unit with leaves out of order or bytes behind them"));
    }
    Ok(leaves)
}

/// A unit of slots.
#[derive(Debug)]
pub(super) struct SlotUnit {
    pub(super) leaves: Vec<SlotLeaf>,
    pub(super) nodes: Nodes,
}

/// A unit of accounts, with the nodes of the storage tries that lie with them, by row.
#[derive(Debug)]
pub(super) struct AccountUnit {
    pub(super) leaves: Vec<AccountLeaf>,
    pub(super) nodes: Nodes,
    pub(super) storage: Vec<(usize, Nodes)>,
}

/// A unit in memory whose leaves are proven.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    Accounts(Arc<AccountUnit>),
    Slots(Arc<SlotUnit>),
}

/// The leaf with this key.
pub(super) fn find_leaf<'a, L: Leaf>(leaves: &'a [L], key: &B256) -> Option<(usize, &'a L)> {
    let row = leaves.binary_search_by(|leaf| leaf.key().cmp(key)).ok()?;
    Some((row, &leaves[row]))
}

impl Unit {
    pub(super) fn accounts(&self) -> Result<&AccountUnit, StoreError> {
        match self {
            Self::Accounts(unit) => Ok(unit),
            Self::Slots(_) => Err(corrupt("a unit of slots in the account trie")),
        }
    }

    pub(super) fn slots(&self) -> Result<&SlotUnit, StoreError> {
        match self {
            Self::Slots(unit) => Ok(unit),
            Self::Accounts(_) => Err(corrupt("a unit of accounts in a storage trie")),
        }
    }

    /// Bytes of memory, without those of the allocator.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Accounts(unit) => {
                let slots: usize = unit.leaves.iter().map(|leaf| leaf.slots.len()).sum();
                let storage: usize = unit.storage.iter().map(|(_, nodes)| nodes.bytes()).sum();
                unit.leaves.len() * size_of::<AccountLeaf>()
                    + slots * size_of::<SlotLeaf>()
                    + storage
                    + unit.nodes.bytes()
            }
            Self::Slots(unit) => unit.leaves.len() * size_of::<SlotLeaf>() + unit.nodes.bytes(),
        }
    }
}

/// Computes the storage roots of the accounts that hold their slots, those of all units together; returns for each unit the
/// nodes of these storage tries, by row of its leaves.
pub(super) fn fill_storage_roots(units: &mut [&mut [AccountLeaf]], width: Width) -> Vec<Vec<(usize, Nodes)>> {
    let with_slots = |(unit, leaves): (usize, &&mut [AccountLeaf])| {
        (0..leaves.len()).filter(|row| !leaves[*row].slots.is_empty()).map(|row| (unit, row)).collect::<Vec<_>>()
    };
    let rows: Vec<(usize, usize)> = units.iter().enumerate().flat_map(with_slots).collect();
    let tries: Vec<Leaves<'_, SlotLeaf>> =
        rows.iter().map(|(unit, row)| Leaves { depth: 0, leaves: &units[*unit][*row].slots }).collect();
    let built = build(&tries, width);
    let mut storage: Vec<Vec<(usize, Nodes)>> = units.iter().map(|_| Vec::new()).collect();
    for ((unit, row), (nodes, item)) in rows.into_iter().zip(built) {
        units[unit][row].storage_root = root_of(&item);
        storage[unit].push((row, nodes));
    }
    storage
}

/// A unit to be read from its page and checked.
pub(super) struct Wanted<'a> {
    pub(super) key: UnitKey,
    /// The item in the branch above it, or of the root.
    pub(super) item: ItemBytes,
    pub(super) index: u16,
    pub(super) page: &'a [u8],
}

/// Compares the item of a unit with the one that was asked for.
fn check(wanted: &Wanted<'_>, item: ItemBytes) -> Result<(), StoreError> {
    let UnitKey { owner, path } = wanted.key;
    let item = item_at(&path, item);
    if item == wanted.item {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "the unit at {} of {} has the hash {}, the branch above it {}",
        alloy_primitives::hex::encode(&path.nibbles[..usize::from(path.len).div_ceil(2)]),
        owner.map_or_else(|| "the account trie".to_owned(), |owner| format!("the storage of {owner}")),
        alloy_primitives::hex::encode(&item[1..]),
        alloy_primitives::hex::encode(&wanted.item[1..]),
    )))
}

/// Reads and checks units, on the threads of the current rayon pool.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn load(wanted: &[Wanted<'_>], width: Width) -> Result<Vec<Unit>, StoreError> {
    let chunks: Vec<Vec<Unit>> =
        wanted.par_chunks(CHECKED_TOGETHER).map(|chunk| load_chunk(chunk, width)).collect::<Result<_, StoreError>>()?;
    Ok(chunks.into_iter().flatten().collect())
}

fn load_chunk(wanted: &[Wanted<'_>], width: Width) -> Result<Vec<Unit>, StoreError> {
    let entry_of = |wanted: &Wanted<'_>| {
        let entry = read_table(wanted.page)?.into_iter().nth(wanted.index as usize);
        entry.filter(|entry| entry.key == wanted.key).ok_or_else(|| corrupt("another unit at this place"))
    };
    let entries: Vec<UnitEntry> = wanted.iter().map(entry_of).collect::<Result<_, StoreError>>()?;
    let mut accounts: Vec<(usize, Vec<AccountLeaf>)> = Vec::new();
    let mut slots: Vec<(usize, Vec<SlotLeaf>)> = Vec::new();
    for (row, (entry, wanted)) in entries.iter().zip(wanted).enumerate() {
        match entry.key.owner {
            None => accounts.push((row, read_leaves(entry, wanted.page)?)),
            Some(_) => slots.push((row, read_leaves(entry, wanted.page)?)),
        }
    }
    let mut units: Vec<Option<Unit>> = vec![None; wanted.len()];

    let mut leaves: Vec<&mut [AccountLeaf]> = accounts.iter_mut().map(|(_, leaves)| leaves.as_mut_slice()).collect();
    let storage = fill_storage_roots(&mut leaves, width);
    let depth = |row: usize| entries[row].key.path.len as usize;
    let tries: Vec<_> = accounts.iter().map(|(row, leaves)| Leaves { depth: depth(*row), leaves }).collect();
    let built = build(&tries, width);
    for (((row, leaves), storage), (nodes, item)) in accounts.into_iter().zip(storage).zip(built) {
        check(&wanted[row], item)?;
        units[row] = Some(Unit::Accounts(Arc::new(AccountUnit { leaves, nodes, storage })));
    }
    let tries: Vec<_> = slots.iter().map(|(row, leaves)| Leaves { depth: depth(*row), leaves }).collect();
    let built = build(&tries, width);
    for ((row, leaves), (nodes, item)) in slots.into_iter().zip(built) {
        check(&wanted[row], item)?;
        units[row] = Some(Unit::Slots(Arc::new(SlotUnit { leaves, nodes })));
    }
    units.into_iter().map(|unit| unit.ok_or_else(|| corrupt("no unit"))).collect()
}

/// The item by which a unit at `path` is referred to: a root's is always its hash.
pub(super) fn item_at(path: &NodePath, item: ItemBytes) -> ItemBytes {
    if path.len > 0 { item } else { hash_item(&root_of(&item)) }
}

/// The hash in the item of a root.
pub(super) fn root_hash(item: &ItemBytes) -> B256 {
    B256::from_slice(&item[1..])
}

/// The item of a node with this hash.
pub(super) fn hash_item(hash: &B256) -> ItemBytes {
    let mut item = [0xa0; 33];
    item[1..].copy_from_slice(&hash.0);
    item
}
