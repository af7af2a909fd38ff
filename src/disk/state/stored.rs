//! The state of the last checkpoint.
//!
//! In: hashed keys. Out: the units that have their leaves, read in one batch, and values in them.
//! Not here: changes since the checkpoint (`overlay`).

use super::crown::{Branches, Child, Crown, Found};
use super::leaf::{AccountLeaf, SlotLeaf};
use super::unit::{Unit, find_leaf, root_hash};
use super::units::Units;
use crate::arena::path::{KEY_NIBBLES, NodePath};
use crate::arena::store::StoreError;
use crate::disk::pages::UnitKey;
use alloy_primitives::B256;
use std::sync::Arc;

/// Crown and pages of a checkpoint. Clones are the same checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) crown: Arc<Crown>,
    pub(super) units: Arc<Units>,
}

/// Where a leaf would be.
pub(super) enum At {
    Absent,
    Unit(UnitKey, Child),
}

impl Stored {
    /// Where the leaf of a hashed key would be.
    pub(super) fn locate(&self, owner: Option<&B256>, key: &B256) -> At {
        self.locate_prefix(owner, key, KEY_NIBBLES)
    }

    /// The unit that has all leaves whose hashed keys begin with the first `len` nibbles of `key`.
    pub(super) fn locate_prefix(&self, owner: Option<&B256>, key: &B256, len: usize) -> At {
        match self.crown.find(owner, key, len) {
            Found::Unit { depth, child } => {
                At::Unit(UnitKey { owner: owner.copied(), path: NodePath::new(&key.0, depth) }, child)
            }
            Found::Absent | Found::Branch { .. } => At::Absent,
        }
    }

    /// Where a slot is: in a unit of its storage trie, or with its account.
    pub(super) fn locate_slot(&self, owner: &B256, key: &B256) -> At {
        if self.crown.root(Some(owner)).is_some() { self.locate(Some(owner), key) } else { self.locate(None, owner) }
    }

    /// Calls `each` with the unit of each of these places, all read in one batch; `None` for absent keys.
    ///
    /// # Errors
    /// [`StoreError`], of a unit or of `each`.
    pub(super) fn with_units(
        &self,
        places: Vec<At>,
        mut each: impl FnMut(usize, Option<&Unit>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut wanted = Vec::with_capacity(places.len());
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            rows.push(match place {
                At::Absent => None,
                At::Unit(key, child) => {
                    wanted.push((key, child));
                    Some(wanted.len() - 1)
                }
            });
        }
        let units = self.units.many(&wanted)?;
        rows.into_iter().enumerate().try_for_each(|(row, unit)| each(row, unit.map(|unit| &units[unit])))
    }

    /// The leaf of an account in its unit. An account whose slots have units must have the root that the crown has.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(super) fn account_in<'a>(
        &self,
        unit: &'a Unit,
        key: &B256,
    ) -> Result<Option<(usize, &'a AccountLeaf)>, StoreError> {
        let found = find_leaf(&unit.accounts()?.leaves, key);
        if let Some((_, leaf)) = found {
            self.check_storage_root(leaf)?;
        }
        Ok(found)
    }

    /// Compares the storage root of an account with its units.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(super) fn check_storage_root(&self, leaf: &AccountLeaf) -> Result<(), StoreError> {
        let root = self.crown.root(Some(&leaf.key)).map(|root| root_hash(&root.item));
        let expected = leaf.has_large_storage().then_some(leaf.storage_root);
        if root == expected {
            return Ok(());
        }
        Err(StoreError::Corrupt(format!("the units of the storage of account {} have another root", leaf.key)))
    }

    /// The leaf of an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn account(&self, key: &B256) -> Result<Option<AccountLeaf>, StoreError> {
        let mut account = None;
        self.with_units(vec![self.locate(None, key)], |_, unit| {
            let found = unit.map(|unit| self.account_in(unit, key)).transpose()?.flatten();
            account = found.map(|(_, leaf)| leaf.clone());
            Ok(())
        })?;
        Ok(account)
    }

    /// The slots of an account, sorted by hashed key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn slots(&self, key: &B256) -> Result<Vec<SlotLeaf>, StoreError> {
        let Some(root) = self.crown.root(Some(key)) else {
            return Ok(self.account(key)?.map_or_else(Vec::new, |account| account.slots));
        };
        let mut wanted = Vec::new();
        self.crown.units(Some(*key), root, &mut wanted);
        let mut slots = Vec::new();
        for unit in self.units.many(&wanted)? {
            slots.extend_from_slice(&unit.slots()?.leaves);
        }
        Ok(slots)
    }
}
