//! Names to ids: in a closed universe a name outside is a fault, in a growing one it gets an id.

use super::TxState;
use super::rows::{AccountRow, SlotRow};
use crate::arena::{AccountId, SlotId};
use crate::exec::evm::halt::{Fault, Halt};
use crate::exec::evm::ids::IdMap;
use crate::exec::evm::precompile;
use alloy_primitives::{Address, U256};

/// Names: shared and closed (block access list), or owned and growing.
#[derive(Debug)]
pub enum Names<'b> {
    /// The list's names; a name that is not there is an access outside the list.
    Closed(&'b IdMap),
    /// Names as they are met.
    Growing(Box<IdMap>),
}

impl Names<'_> {
    /// The names known now.
    #[inline(always)]
    pub fn get(&self) -> &IdMap {
        match self {
            Self::Closed(universe) => universe,
            Self::Growing(universe) => universe,
        }
    }
}

impl TxState<'_> {
    /// Gives every name its row.
    pub(super) fn grow_rows(&mut self) {
        let universe = self.names.get();
        for id in self.accounts.len()..universe.account_count() {
            let precompile = precompile::number(self.fork, &universe.addresses()[AccountId(id as u32)]);
            self.accounts.push(AccountRow { precompile, ..AccountRow::BLANK });
        }
        self.slots.resize(universe.slot_count(), SlotRow::BLANK);
    }

    /// The id of an address. With a closed universe an address outside is a fault.
    #[inline]
    pub fn account_id(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match self.names.get().account(address) {
            Some(id) => Ok(id),
            None => self.add_account(address),
        }
    }

    /// The id of an address if it can have one: a name that nobody uses need not be in the list.
    pub fn account_id_if_known(&mut self, address: &Address) -> Option<AccountId> {
        match self.names.get().account(address) {
            Some(id) => Some(id),
            None if matches!(self.names, Names::Closed(_)) => None,
            None => self.add_account(address).ok(),
        }
    }

    #[cold]
    fn add_account(&mut self, address: &Address) -> Result<AccountId, Halt> {
        match &mut self.names {
            Names::Closed(_) => Err(self.fail(Fault::UnlistedAccount(*address))),
            Names::Growing(universe) => {
                let id = universe.add_account(*address);
                self.grow_rows();
                Ok(id)
            }
        }
    }

    /// The id of a slot. With a closed universe a slot outside is a fault.
    #[inline]
    pub fn slot_id(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match self.names.get().slot(account, key) {
            Some(id) => Ok(id),
            None => self.add_slot(account, key),
        }
    }

    /// The id of a slot if it can have one, see [`Self::account_id_if_known`].
    pub(super) fn slot_id_if_known(&mut self, account: AccountId, key: &U256) -> Option<SlotId> {
        match self.names.get().slot(account, key) {
            Some(id) => Some(id),
            None if matches!(self.names, Names::Closed(_)) => None,
            None => self.add_slot(account, key).ok(),
        }
    }

    #[cold]
    fn add_slot(&mut self, account: AccountId, key: &U256) -> Result<SlotId, Halt> {
        match &mut self.names {
            Names::Closed(universe) => {
                let address = universe.addresses()[account];
                Err(self.fail(Fault::UnlistedSlot(address, *key)))
            }
            Names::Growing(universe) => {
                let id = universe.add_slot(account, *key);
                self.slots.resize(universe.slot_count(), SlotRow::BLANK);
                Ok(id)
            }
        }
    }

    /// The address behind an id.
    #[inline]
    pub fn address(&self, id: AccountId) -> Address {
        self.names.get().addresses()[id]
    }
}
