//! Addresses and slot keys to ids.
//!
//! In: an address or key. Out: its id. With a closed id map an address or key without an id is a fault; with a
//! growing one it gets the next id. Not here: the map itself (`ids`).

use super::TxState;
use super::rows::{AccountRow, SlotRow};
use crate::arena::{AccountId, SlotId};
use crate::exec::evm::halt::{Fault, Halt};
use crate::exec::evm::ids::IdMap;
use crate::exec::evm::precompile;
use alloy_primitives::{Address, U256};

/// The id map of a state: closed (shared, from a block access list) or growing (owned).
#[derive(Debug)]
pub enum StateIds<'b> {
    /// The ids of a block access list. An access to anything without an id is outside the list.
    Closed(&'b IdMap),
    /// Ids in the order of first access.
    Growing(Box<IdMap>),
}

impl StateIds<'_> {
    /// The id map.
    #[inline(always)]
    pub fn get(&self) -> &IdMap {
        match self {
            Self::Closed(id_map) => id_map,
            Self::Growing(id_map) => id_map,
        }
    }
}

impl TxState<'_> {
    /// Extends the row columns to one row per id, and sets the precompile numbers of new account rows.
    pub(super) fn grow_rows(&mut self) {
        let id_map = self.ids.get();
        for id in self.rows.accounts.len()..id_map.account_count() {
            let precompile = precompile::number(self.fork, &id_map.addresses()[AccountId(id as u32)]);
            self.rows.accounts.push(AccountRow { precompile, ..AccountRow::BLANK });
        }
        self.rows.slots.resize(id_map.slot_count(), SlotRow::BLANK);
    }

    /// The id of an address. With a closed id map, [`Fault::UnlistedAccount`] if it has none.
    #[inline]
    pub fn account_id(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match self.ids.get().account(address) {
            Some(id) => Ok(id),
            None => self.add_account(address),
        }
    }

    /// The id of an address; `None` if the id map is closed and does not contain it. That alone is no fault,
    /// because a block access list need not contain an address that is never accessed.
    pub fn account_id_if_known(&mut self, address: &Address) -> Option<AccountId> {
        match self.ids.get().account(address) {
            Some(id) => Some(id),
            None if matches!(self.ids, StateIds::Closed(_)) => None,
            None => self.add_account(address).ok(),
        }
    }

    #[cold]
    fn add_account(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match &mut self.ids {
            StateIds::Closed(_) => Err(self.fail(Fault::UnlistedAccount(*address))),
            StateIds::Growing(id_map) => {
                let id = id_map.add_account(*address);
                self.grow_rows();
                Ok(id)
            }
        }
    }

    /// The id of a slot. With a closed id map, [`Fault::UnlistedSlot`] if it has none.
    #[inline]
    pub fn slot_id(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match self.ids.get().slot(account, key) {
            Some(id) => Ok(id),
            None => self.add_slot(account, key),
        }
    }

    /// The id of a slot; `None` if the id map is closed and does not contain it. See [`Self::account_id_if_known`].
    pub(super) fn slot_id_if_known(&mut self, account: AccountId, key: &U256) -> Option<SlotId> {
        match self.ids.get().slot(account, key) {
            Some(id) => Some(id),
            None if matches!(self.ids, StateIds::Closed(_)) => None,
            None => self.add_slot(account, key).ok(),
        }
    }

    #[cold]
    fn add_slot(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match &mut self.ids {
            StateIds::Closed(id_map) => {
                let address = id_map.addresses()[account];
                Err(self.fail(Fault::UnlistedSlot(address, *key)))
            }
            StateIds::Growing(id_map) => {
                let id = id_map.add_slot(account, *key);
                self.rows.slots.resize(id_map.slot_count(), SlotRow::BLANK);
                Ok(id)
            }
        }
    }

    /// The address of an account id.
    #[inline]
    pub fn address(&self, id: AccountId) -> Address {
        self.ids.get().addresses()[id]
    }
}
