//! The state within a block: before the task at a block access index.
//!
//! In: the state before the block, its block access list (EIP-7928), an index. Out: accounts, slots and codes before that
//! task. Nothing is executed; the values are those that the list claims.
//! Not here: the state root and proofs within a block, which no list has.

use crate::arena::BlockAccessIndex;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::bal::{self, BalColumns, ExistenceColumns, ExistenceLog, Limits, ListedValues};
use crate::exec::block::error::InvalidBlock;
use crate::exec::evm::ids::IdMap;
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256, Bytes, U256};

/// The state before the task at an index of a block, as a store.
pub struct StateWithin<'a> {
    base: &'a dyn StateStore,
    list: BalColumns,
    existence_log: ExistenceColumns,
    clears_storage: bool,
    /// keccak256 of each code row of the list.
    code_hashes: Vec<B256>,
    names: IdMap,
    /// The index; values are those before its task.
    pub index: BlockAccessIndex,
}

impl core::fmt::Debug for StateWithin<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StateWithin").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<'a> StateWithin<'a> {
    /// The state before the task at `index` of a block of this fork: `base` is the state before the block, `bal` the RLP of
    /// its list, and `existence_log` what the list cannot express before Cancun. An index behind the last one gives the
    /// state after the block.
    ///
    /// # Errors
    /// [`InvalidBlock::Bal`] or [`InvalidBlock::Existence`] if the list or the log does not decode. Their hash and their
    /// limits are not checked.
    pub fn new(
        base: &'a dyn StateStore,
        fork: Fork,
        bal: &Bytes,
        existence_log: &ExistenceLog,
        index: BlockAccessIndex,
    ) -> Result<Self, InvalidBlock> {
        let list = bal::decode(bal, &Limits::format_only()).map_err(InvalidBlock::Bal)?;
        let last = BlockAccessIndex(u32::MAX);
        let existence_log = existence_log.resolve(&list, last).map_err(InvalidBlock::Existence)?;
        let mut names = IdMap::default();
        names.fill(list.addresses().as_slice(), list.slot_keys().as_slice(), list.slot_accounts().as_slice());
        let (code_hashes, clears_storage) = (bal::code_hashes(&list), fork < Fork::Cancun);
        Ok(Self { base, list, existence_log, clears_storage, code_hashes, names, index })
    }

    /// The list.
    pub fn list(&self) -> &BalColumns {
        &self.list
    }

    fn values(&self) -> ListedValues<'_> {
        let Self { list: bal, existence_log, clears_storage, .. } = self;
        ListedValues { bal, existence_log, clears_storage: *clears_storage }
    }

    /// The value of a slot that is not the one of `base`.
    fn slot(&self, slot: &SlotQuery) -> Option<U256> {
        let (values, account) = (self.values(), self.names.account(&slot.address)?);
        match self.names.slot(account, &slot.key) {
            Some(id) => values.slot_before(id, account, self.index),
            // Slots that a SELFDESTRUCT clears need not be listed.
            None => {
                let cleared = self.clears_storage && self.list.storage_cleared_before(account, self.index).is_some();
                cleared.then_some(U256::ZERO)
            }
        }
    }
}

impl StateStore for StateWithin<'_> {
    fn is_resident(&self) -> bool {
        self.base.is_resident()
    }
    fn call_rows(&self) -> usize {
        self.base.call_rows()
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.base.accounts(addresses, out)?;
        for (address, out) in addresses.iter().zip(out) {
            let Some(id) = self.names.account(address) else { continue };
            let (account, code) = self.values().account_before(id, out, self.index);
            *out = match account.exists {
                true => {
                    ParentAccount { code_hash: code.map_or(account.code_hash, |row| self.code_hashes[row]), ..account }
                }
                false => ParentAccount::default(),
            };
        }
        Ok(())
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.base.slots(slots, out)?;
        for (slot, out) in slots.iter().zip(out) {
            *out = self.slot(slot).unwrap_or(*out);
        }
        Ok(())
    }
    fn codes_are_checked(&self) -> bool {
        self.base.codes_are_checked()
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.base.codes(hashes, out)?;
        for (hash, out) in hashes.iter().zip(out).filter(|(_, out)| out.is_none()) {
            let row = self.code_hashes.iter().position(|listed| listed == hash);
            *out = row.map(|row| self.list.code_shared(row));
        }
        Ok(())
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.base.block_hashes(numbers, out)
    }
}
