//! The state in pages, with the crown and the latest changes in memory.
//!
//! In: a page store; changes of committed blocks. Out: accounts, slots, codes and trie nodes of the
//! state after the last committed block, each proven by the crown; checkpoints.
//! Reads go to the changes since the last checkpoint, then to units in memory, then to pages, those
//! of a call in one batch. A checkpoint is made at once, or on a thread of its own beside the next blocks. Trie nodes are those of the last checkpoint: tries that use this store hold
//! all nodes that changed after it.
//! Not here: the log, which brings a checkpoint up to date (`log`).

mod checkpoint;
mod crown;
mod leaf;
mod merge;
mod overlay;
mod stored;
mod subtrie;
#[cfg(test)]
mod tests;
mod unit;
mod units;

pub use checkpoint::Written;
pub use units::PageReads;

use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::{hash_addresses, hash_slots};
use crate::arena::path::{NodePath, NodeQuery};
use crate::arena::store::{EMPTY_ROOT, KECCAK_EMPTY, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::disk::pages::{Head, PageId, PageStore};
use alloy_primitives::{Address, B256, Bytes, U256};
use checkpoint::Running;
use crown::{Branches, Child, Crown, Found};
use leaf::{AccountLeaf, Leaf};
use overlay::{AccountChange, Fields, Overlay};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use stored::{At, Stored};
use unit::{Unit, find_leaf};
use units::Units;

/// A state over a page store.
#[derive(Debug)]
pub struct DiskState {
    stored: Stored,
    /// Changes since the last checkpoint, or since the one that is being made was begun.
    overlay: Overlay,
    /// Changes that the checkpoint that is being made writes.
    frozen: Option<Arc<Overlay>>,
    running: Option<Running>,
    head: Head,
    header: Bytes,
    /// Pages that may be written.
    free: Vec<PageId>,
    /// Pages that the last checkpoint freed; the one before may still name them.
    freed: Vec<PageId>,
    next_page: u32,
    /// The error of a failed checkpoint; the state cannot be used after it.
    failed: Option<StoreError>,
}

/// Bytes that a page may have: at least the largest leaf with its row in the table; at most what 16 bits express.
const PAGE_BYTES: core::ops::RangeInclusive<usize> = 2_048..=32_768;
/// Units that one step of [`DiskState::check`] reads.
const CHECKED_TOGETHER: usize = 4096;

/// Sizes of a state in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub accounts: usize,
    /// Units that hold them.
    pub account_units: usize,
    /// Slots that do not lie with their accounts.
    pub slots: usize,
    /// Units that hold them.
    pub slot_units: usize,
    /// Pages, free ones included.
    pub pages: usize,
    /// Pages that are free, or will be after the next checkpoint.
    pub free_pages: usize,
    /// Memory in bytes of the branches above all units.
    pub crown_bytes: usize,
}

impl DiskState {
    /// Opens the state of the last checkpoint. An empty page store gives the empty state. `cache_bytes` bounds the units
    /// that are kept in memory.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the units do not give the checkpoint's state root; [`StoreError::Failed`] if pages have
    /// fewer than 2,048 or more than 32,768 bytes.
    pub fn open(pages: Arc<dyn PageStore>, cache_bytes: u64) -> Result<Self, StoreError> {
        if !PAGE_BYTES.contains(&pages.page_bytes()) {
            let (bytes, least, most) = (pages.page_bytes(), PAGE_BYTES.start(), PAGE_BYTES.end());
            return Err(StoreError::Failed(format!("pages of {bytes} bytes; a page has {least} to {most} bytes")));
        }
        let (head, header) = pages.head()?.unwrap_or_default();
        let parts = Mutex::new((Vec::new(), Vec::new()));
        pages.units(&|part, units| {
            let crown = Crown::of_part(&units)?;
            let mut pages: Vec<PageId> = units.iter().map(|(_, place)| place.page).collect();
            pages.sort_unstable();
            pages.dedup();
            let (crowns, used) = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner);
            crowns.push((part, crown));
            used.append(&mut pages);
            Ok(())
        })?;
        let (crowns, mut used) = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let crown = Crown::join(crowns);
        let expected = if head.sequence == 0 { EMPTY_ROOT } else { head.state_root };
        if crown.state_root() != expected {
            return Err(StoreError::Corrupt(format!(
                "the units have the state root {}, the checkpoint {expected}",
                crown.state_root()
            )));
        }
        used.par_sort_unstable();
        used.dedup();
        let next_page = used.last().map_or(0, |page| page.0 + 1);
        let mut free = Vec::new();
        let mut next = 0;
        for page in &used {
            free.extend((next..page.0).map(PageId));
            next = page.0 + 1;
        }
        let stored = Stored { crown: Arc::new(crown), units: Arc::new(Units::new(pages, cache_bytes)) };
        // The checkpoint before this one may name any page that this one does not.
        Ok(Self {
            stored,
            overlay: Overlay::default(),
            frozen: None,
            running: None,
            head,
            header,
            free: Vec::new(),
            freed: free,
            next_page,
            failed: None,
        })
    }

    /// The last checkpoint; its `sequence` is 0 for an empty store.
    pub fn checkpoint_head(&self) -> Head {
        self.head
    }

    /// RLP of the header of the last checkpoint's block.
    pub fn checkpoint_header(&self) -> &Bytes {
        &self.header
    }

    /// State root of the last checkpoint.
    pub fn checkpoint_root(&self) -> B256 {
        self.stored.crown.state_root()
    }

    /// Bytes of the changes since the last checkpoint, or since the one that is being made was begun.
    pub fn changed_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Whether nothing changed since the last checkpoint.
    pub fn is_clean(&self) -> bool {
        self.overlay.is_empty() && self.frozen.is_none()
    }

    /// Pages read so far.
    pub fn reads(&self) -> PageReads {
        self.stored.units.reads()
    }

    /// Drops the units that are kept in memory.
    pub fn clear_cache(&self) {
        self.stored.units.clear();
    }

    /// Adds the changes of a committed block.
    ///
    /// # Errors
    /// [`StoreError`] if the accounts before it cannot be read.
    pub fn apply(&mut self, changes: &StateChanges) -> Result<(), StoreError> {
        let mut keys = vec![B256::ZERO; changes.addresses.len()];
        hash_addresses(self.stored.units.width, &changes.addresses, &mut keys);
        let mut slot_keys = vec![B256::ZERO; changes.slot_keys.len()];
        hash_slots(self.stored.units.width, &changes.slot_keys, &mut slot_keys);
        self.apply_hashed(changes, &keys, &slot_keys)
    }

    /// [`Self::apply`] with the hashes of all keys; the unhashed ones are ignored.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_hashed(
        &mut self,
        changes: &StateChanges,
        keys: &[B256],
        slot_keys: &[B256],
    ) -> Result<(), StoreError> {
        let before = self.fields(keys)?;
        for (row, (key, before)) in keys.iter().zip(before).enumerate() {
            let change = self.overlay.entry(*key, before);
            if changes.statuses[row] == AccountStatus::Deleted {
                *change = AccountChange { fields: None, is_cleared: true, slots: Default::default() };
                continue;
            }
            let before = change.fields.unwrap_or(Fields { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY });
            change.fields = Some(Fields {
                nonce: changes.nonces[row].unwrap_or(before.nonce),
                balance: changes.balances[row].unwrap_or(before.balance),
                code_hash: changes.code_hashes[row].unwrap_or(before.code_hash),
            });
            if changes.statuses[row] == AccountStatus::StorageCleared {
                change.is_cleared = true;
                change.slots.clear();
            }
            let rows = changes.slot_starts[row] as usize..changes.slot_starts[row + 1] as usize;
            let count = rows.len();
            change.slots.extend(rows.map(|slot| (slot_keys[slot], changes.slot_values[slot])));
            self.overlay.add_slots(count);
        }
        self.overlay.codes.extend(changes.codes.iter().cloned());
        Ok(())
    }

    /// Makes every later call fail with this error, which is returned.
    pub(crate) fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed.insert(error).clone()
    }

    /// The slots of an account that are not zero, by hashed key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn storage(&self, key: &B256) -> Result<Vec<(B256, U256)>, StoreError> {
        self.usable()?;
        let mut slots: HashMap<B256, U256> = HashMap::new();
        let mut is_cleared = false;
        for change in self.changes(key) {
            for (key, value) in &change.slots {
                slots.entry(*key).or_insert(*value);
            }
            is_cleared |= change.is_cleared;
            if is_cleared {
                break;
            }
        }
        if !is_cleared {
            for slot in self.stored.slots(key)? {
                slots.entry(slot.key).or_insert(slot.value);
            }
        }
        Ok(slots.into_iter().filter(|(_, value)| !value.is_zero()).collect())
    }

    /// Units in the account trie and in storage tries, and their leaves.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let add = |units: &mut usize, leaves: &mut usize, root: &Child| {
            self.stored.crown.visit(NodePath::default(), root, &mut |_, _, place| {
                *units += 1;
                *leaves += place.leaves as usize;
            });
        };
        if let Some(root) = self.stored.crown.root(None) {
            add(&mut counts.account_units, &mut counts.accounts, root);
        }
        for root in self.stored.crown.storages.values() {
            add(&mut counts.slot_units, &mut counts.slots, root);
        }
        counts.pages = self.next_page as usize;
        counts.free_pages = self.free.len() + self.freed.len();
        counts.crown_bytes = self.stored.crown.bytes();
        counts
    }

    /// Reads every unit and compares it with the hash that the branch above it holds. `progress` gets the number of units
    /// of each step, and says whether to go on.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for the first wrong unit, [`StoreError::Cancelled`].
    pub fn check(&self, mut progress: impl FnMut(usize) -> bool) -> Result<(), StoreError> {
        let mut wanted = Vec::new();
        if let Some(root) = self.stored.crown.root(None) {
            self.stored.crown.units(None, root, &mut wanted);
        }
        self.stored
            .crown
            .storages
            .iter()
            .for_each(|(owner, root)| self.stored.crown.units(Some(*owner), root, &mut wanted));
        for group in wanted.chunks(CHECKED_TOGETHER) {
            for unit in self.stored.units.many(group)? {
                let Unit::Accounts(unit) = unit else { continue };
                for leaf in &unit.leaves {
                    self.stored.check_storage_root(leaf)?;
                }
            }
            if !progress(group.len()) {
                return Err(StoreError::Cancelled);
            }
        }
        Ok(())
    }

    /// Fails after a failed checkpoint, or after [`Self::fail`].
    fn usable(&self) -> Result<(), StoreError> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// [`Stored::with_units`], unless a checkpoint has failed.
    fn with_units(
        &self,
        places: Vec<At>,
        each: impl FnMut(usize, Option<&Unit>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.usable()?;
        self.stored.with_units(places, each)
    }

    /// The changes of an account since the last checkpoint, newest first.
    fn changes(&self, key: &B256) -> impl Iterator<Item = &AccountChange> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.accounts.get(key));
        self.overlay.accounts.get(key).into_iter().chain(frozen)
    }

    /// Fields of accounts before the changes in the overlay.
    fn fields(&self, keys: &[B256]) -> Result<Vec<Option<Fields>>, StoreError> {
        let mut out = vec![None; keys.len()];
        let mut rows = Vec::with_capacity(keys.len());
        for (row, key) in keys.iter().enumerate() {
            match self.changes(key).next() {
                Some(change) => out[row] = change.fields,
                None => rows.push(row),
            }
        }
        let places = rows.iter().map(|row| self.stored.locate(None, &keys[*row])).collect();
        self.with_units(places, |row, unit| {
            let Some(unit) = unit else { return Ok(()) };
            let row = rows[row];
            if let Some((_, leaf)) = self.stored.account_in(unit, &keys[row])? {
                let AccountLeaf { nonce, balance, code_hash, .. } = *leaf;
                out[row] = Some(Fields { nonce, balance, code_hash });
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Whether a changed account has storage.
    fn has_storage(&self, key: &B256) -> Result<bool, StoreError> {
        let mut changed = 0;
        let mut is_cleared = false;
        for change in self.changes(key) {
            if changed == 0 && change.slots.values().any(|value| !value.is_zero()) {
                return Ok(true);
            }
            changed += change.slots.len();
            is_cleared = change.is_cleared;
            if is_cleared {
                break;
            }
        }
        let root = self.stored.crown.root(Some(key)).filter(|_| !is_cleared);
        if root.is_some_and(|root| self.stored.crown.count(root) > changed) {
            return Ok(true);
        }
        Ok(!self.storage(key)?.is_empty())
    }

    /// Owners and keys of slots, hashed. Consecutive queries of one account hash its address once.
    fn hash_queries(&self, slots: &[SlotQuery]) -> Vec<(B256, B256)> {
        let mut addresses: Vec<Address> = slots.iter().map(|slot| slot.address).collect();
        addresses.dedup();
        let mut owners = vec![B256::ZERO; addresses.len()];
        hash_addresses(self.stored.units.width, &addresses, &mut owners);
        let plain: Vec<U256> = slots.iter().map(|slot| slot.key).collect();
        let mut keys = vec![B256::ZERO; plain.len()];
        hash_slots(self.stored.units.width, &plain, &mut keys);
        let mut at = 0;
        let pairs = slots.iter().zip(keys).map(|(slot, key)| {
            at += usize::from(addresses[at] != slot.address);
            (owners[at], key)
        });
        pairs.collect()
    }

    /// Reads the units of all these accounts and slots in one batch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        let mut keys = vec![B256::ZERO; accounts.len()];
        hash_addresses(self.stored.units.width, accounts, &mut keys);
        let mut places: Vec<At> = keys.iter().map(|key| self.stored.locate(None, key)).collect();
        places.extend(self.hash_queries(slots).iter().map(|(owner, key)| self.stored.locate_slot(owner, key)));
        self.with_units(places, |_, _| Ok(()))
    }

    /// RLP of a trie node of the last checkpoint's state.
    fn node(&self, query: &NodeQuery, unit: Option<&Unit>) -> Result<Bytes, StoreError> {
        let missing = || StoreError::MissingNode(query.hash);
        let owner = (query.owner != B256::ZERO).then_some(&query.owner);
        let Some(unit) = unit else {
            let key = B256::from(query.path.nibbles);
            let len = query.path.len as usize;
            let Found::Branch { branch, top } = self.stored.crown.find(owner, &key, len) else { return Err(missing()) };
            return self.stored.crown.node(branch, top, len).map(Bytes::from).ok_or_else(missing);
        };
        let rlp = match (unit, owner) {
            (Unit::Accounts(unit), None) => unit.nodes.find(&query.path, |row| &unit.leaves[row].key),
            (Unit::Slots(unit), Some(_)) => unit.nodes.find(&query.path, |row| &unit.leaves[row].key),
            (Unit::Accounts(unit), Some(owner)) => find_leaf(&unit.leaves, owner).and_then(|(row, leaf)| {
                let at = unit.storage.binary_search_by_key(&row, |(row, _)| *row).ok()?;
                unit.storage[at].1.find(&query.path, |slot| leaf.slots[slot].key())
            }),
            (Unit::Slots(_), None) => None,
        };
        rlp.map(Bytes::copy_from_slice).ok_or_else(missing)
    }
}

impl StateStore for DiskState {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        let mut keys = vec![B256::ZERO; addresses.len()];
        hash_addresses(self.stored.units.width, addresses, &mut keys);
        let changed = |key: &B256| self.changes(key).next();
        let place = |key: &B256| if changed(key).is_some() { At::Absent } else { self.stored.locate(None, key) };
        self.with_units(keys.iter().map(place).collect(), |row, unit| {
            let key = &keys[row];
            out[row] = ParentAccount::default();
            if let Some(change) = changed(key) {
                if let Some(Fields { nonce, balance, code_hash }) = change.fields {
                    let has_storage = self.has_storage(key)?;
                    out[row] = ParentAccount { exists: true, nonce, balance, code_hash, has_storage };
                }
            } else if let Some((_, leaf)) = unit.map(|unit| self.stored.account_in(unit, key)).transpose()?.flatten() {
                let AccountLeaf { nonce, balance, code_hash, .. } = *leaf;
                let has_storage = leaf.storage_root != EMPTY_ROOT;
                out[row] = ParentAccount { exists: true, nonce, balance, code_hash, has_storage };
            }
            Ok(())
        })
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        let keys = self.hash_queries(slots);
        let changed = |(owner, key): &(B256, B256)| {
            let value = |change: &AccountChange| {
                change.slots.get(key).copied().or_else(|| change.is_cleared.then_some(U256::ZERO))
            };
            self.changes(owner).find_map(value)
        };
        let values: Vec<Option<U256>> = keys.iter().map(changed).collect();
        let places = keys.iter().zip(&values).map(|((owner, key), value)| match value {
            Some(_) => At::Absent,
            None => self.stored.locate_slot(owner, key),
        });
        self.with_units(places.collect(), |row, unit| {
            let (owner, key) = &keys[row];
            out[row] = match (values[row], unit) {
                (Some(value), _) => value,
                (None, None) => U256::ZERO,
                (None, Some(Unit::Slots(unit))) => {
                    find_leaf(&unit.leaves, key).map_or(U256::ZERO, |(_, slot)| slot.value)
                }
                (None, Some(unit)) => {
                    let account = self.stored.account_in(unit, owner)?;
                    let slot = account.and_then(|(_, leaf)| find_leaf(&leaf.slots, key));
                    slot.map_or(U256::ZERO, |(_, slot)| slot.value)
                }
            };
            Ok(())
        })
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.usable()?;
        self.stored.units.pages.codes(hashes, out)?;
        for (hash, out) in hashes.iter().zip(out).filter(|(_, out)| out.is_none()) {
            let frozen = || self.frozen.as_ref()?.codes.get(hash);
            *out = self.overlay.codes.get(hash).or_else(frozen).cloned();
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], _: &mut [B256]) -> Result<(), StoreError> {
        numbers.first().map_or(Ok(()), |number| Err(StoreError::MissingBlockHash(*number)))
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        let place = |query: &NodeQuery| {
            let key = B256::from(query.path.nibbles);
            let owner = (query.owner != B256::ZERO).then_some(&query.owner);
            match owner {
                Some(owner) if !self.stored.crown.storages.contains_key(owner) => self.stored.locate(None, owner),
                _ => self.stored.locate_prefix(owner, &key, query.path.len as usize),
            }
        };
        self.with_units(nodes.iter().map(place).collect(), |row, unit| {
            out[row] = self.node(&nodes[row], unit)?;
            Ok(())
        })
    }
}
