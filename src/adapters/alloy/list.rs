//! Block access lists: from columns to `alloy_eip7928::BlockAccessList` and back.

use crate::arena::Id;
use crate::bal::{BalColumns, BalError, Changes, Limits, decode};
use crate::executor::BlockOutcome;
use alloy_eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange, SlotChanges,
    StorageChange,
};

impl BlockOutcome {
    /// The block access list (EIP-7928): the given one, or the recorded one.
    pub fn to_access_list(&self) -> BlockAccessList {
        let columns = decode(&self.bal, &Limits::format_only());
        BlockAccessList::from(&columns.expect("the list of an outcome was decoded or encoded here"))
    }
}

/// The rows of one account's or slot's changes.
fn changes<P: Id, V, R>(changes: &Changes<P, V>, of: P, row: impl Fn(BlockAccessIndex, &V) -> R) -> Vec<R> {
    changes.iter(of).map(|(index, value)| row(BlockAccessIndex::new(u64::from(index.0)), value)).collect()
}

impl From<&BalColumns> for BlockAccessList {
    fn from(columns: &BalColumns) -> Self {
        let account = |account| {
            let mut storage_changes = Vec::new();
            let mut storage_reads = Vec::new();
            for slot in columns.slots(account) {
                let key = columns.slot_keys()[slot];
                if columns.is_read_only(slot) {
                    storage_reads.push(key);
                } else {
                    let rows = changes(columns.storage(), slot, |index, value| StorageChange::new(index, *value));
                    storage_changes.push(SlotChanges::new(key, rows));
                }
            }
            let codes = columns.codes();
            AccountChanges {
                address: columns.addresses()[account],
                storage_changes,
                storage_reads,
                balance_changes: changes(columns.balances(), account, |index, value| BalanceChange::new(index, *value)),
                nonce_changes: changes(columns.nonces(), account, |index, value| NonceChange::new(index, *value)),
                code_changes: codes
                    .rows(account)
                    .map(|row| {
                        let index = BlockAccessIndex::new(u64::from(codes.index(row).0));
                        CodeChange::new(index, columns.code_shared(row))
                    })
                    .collect(),
            }
        };
        columns.addresses().ids().map(account).collect()
    }
}

impl TryFrom<&[AccountChanges]> for BalColumns {
    type Error = BalError;

    /// Checks the format of the list: order, duplicates, widths of indices. Limits of a block are not checked.
    fn try_from(list: &[AccountChanges]) -> Result<Self, BalError> {
        let mut encoded = Vec::new();
        alloy_rlp::encode_list(list, &mut encoded);
        decode(&encoded.into(), &Limits::format_only())
    }
}
