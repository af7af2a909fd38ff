//! Slots of a task: accessed set (EIP-2929), first load, values; and transient storage (EIP-1153).
//!
//! In: slot ids, or accounts and keys. Out: values as of now, and changes with journal records.
//! Relies on: the caller has loaded a slot before it reads or changes its value. Not here: keys to ids (`ids`).

use super::TxState;
use super::journal::Undo;
use super::rows::{SlotRow, flag};
use crate::arena::{AccountId, SlotId};
use crate::exec::evm::halt::Halt;
use alloy_primitives::U256;

impl TxState<'_> {
    /// The slot's id, if it is in the lookup cache, warm and loaded.
    #[inline(always)]
    pub fn ready_slot(&mut self, account: AccountId, key: &U256) -> Option<SlotId> {
        let id = self.rows.lookup_cache.slot(account, key)?;
        let row = &self.rows.slots[id];
        let ready =
            row.epoch == self.rows.epoch && row.flags & (flag::WARM | flag::LOADED) == flag::WARM | flag::LOADED;
        ready.then_some(id)
    }

    /// Stores a slot's id in the lookup cache, for [`Self::ready_slot`].
    #[inline]
    pub fn remember_slot(&mut self, account: AccountId, key: &U256, id: SlotId) {
        self.rows.lookup_cache.remember_slot(account, key, id);
    }

    #[inline]
    fn stamp_slot(&mut self, id: SlotId) -> &mut SlotRow {
        let row = &mut self.rows.slots[id];
        if row.epoch != self.rows.epoch {
            row.epoch = self.rows.epoch;
            row.flags = 0;
        }
        row
    }

    /// Whether the slot is in the accessed set (EIP-2929).
    #[inline]
    pub fn is_slot_warm(&mut self, id: SlotId) -> bool {
        self.stamp_slot(id).flags & flag::WARM != 0
    }

    /// The id of a slot if it has one, and whether the slot is in the accessed set. Does not extend the id map.
    #[inline]
    pub fn peek_slot(&mut self, account: AccountId, key: &U256) -> (Option<SlotId>, bool) {
        match self.ids.get().slot(account, key) {
            Some(id) => (Some(id), self.is_slot_warm(id)),
            None => (None, self.is_warm_outside(account, key)),
        }
    }

    #[cold]
    fn is_warm_outside(&self, account: AccountId, key: &U256) -> bool {
        self.rows.warm_outside.as_ref().is_some_and(|warm| warm.slots.contains(&(account, *key)))
    }

    /// Adds a slot to the accessed set before the first frame, whether or not the block access list contains
    /// it. Loads nothing.
    pub fn warm_slot_name(&mut self, account: AccountId, key: &U256) {
        match self.slot_id_if_known(account, key) {
            Some(id) => {
                self.warm_slot(id);
            }
            None => {
                self.rows.warm_outside.get_or_insert_default().slots.insert((account, *key));
            }
        }
    }

    /// Adds the slot to the accessed set; returns whether it was cold. Loads nothing.
    #[inline]
    pub fn warm_slot(&mut self, id: SlotId) -> bool {
        let row = self.stamp_slot(id);
        let cold = row.flags & flag::WARM == 0;
        if cold {
            row.flags |= flag::WARM;
            self.rows.undo.push(Undo::SlotWarm(id));
        }
        cold
    }

    /// Loads the slot if this task has not loaded it yet. From then on it counts as accessed (EIP-7928).
    #[inline]
    pub fn load_slot(&mut self, id: SlotId) -> Result<&SlotRow, Halt> {
        if self.stamp_slot(id).flags & flag::LOADED == 0 {
            self.load_slot_first(id)?;
        }
        Ok(&self.rows.slots[id])
    }

    #[cold]
    fn load_slot_first(&mut self, id: SlotId) -> Result<(), Halt> {
        let ids = self.ids.get();
        let account = ids.owners()[id];
        let (address, key) = (ids.addresses()[account], ids.keys()[id]);
        let owner = &self.rows.accounts[account];
        let is_created = owner.epoch == self.rows.epoch && owner.has(flag::CREATED);
        // A created account has no storage, except for storage from before its creation (see
        // `ChainRules::storage_collision`).
        let value = if is_created && !owner.has(flag::HAS_STORAGE) {
            U256::ZERO
        } else {
            match self.base.slot(id, account, &address, &key) {
                Ok(value) => value,
                Err(fault) => return Err(self.fail(fault)),
            }
        };
        let row = &mut self.rows.slots[id];
        row.flags |= flag::LOADED | if is_created { flag::CREATED } else { 0 };
        (row.value, row.start) = (value, value);
        self.rows.touched_slots.push(id);
        Ok(())
    }

    /// The row of a slot that is loaded in this task.
    #[inline]
    pub fn slot_row(&self, id: SlotId) -> &SlotRow {
        &self.rows.slots[id]
    }

    /// Sets the value of a loaded slot.
    #[inline]
    pub fn set_slot(&mut self, id: SlotId, value: U256) {
        let row = &mut self.rows.slots[id];
        if row.value != value {
            self.rows.undo.push(Undo::Slot(id, row.value));
            row.value = value;
        }
    }

    // Transient storage (EIP-1153).

    /// TLOAD: the transient value, zero if never set.
    pub fn transient(&self, account: AccountId, key: &U256) -> U256 {
        if self.rows.transient.is_empty() {
            return U256::ZERO;
        }
        self.rows
            .transient_index
            .get(&(account, *key))
            .map_or(U256::ZERO, |index| self.rows.transient[*index as usize].2)
    }

    /// TSTORE: sets the transient value, with a journal record.
    pub fn set_transient(&mut self, account: AccountId, key: U256, value: U256) {
        let next = self.rows.transient.len() as u32;
        let index = *self.rows.transient_index.entry((account, key)).or_insert(next);
        if index == next {
            self.rows.transient.push((account, key, U256::ZERO));
        }
        let slot = &mut self.rows.transient[index as usize].2;
        self.rows.undo.push(Undo::Transient(index, *slot));
        *slot = value;
    }
}
