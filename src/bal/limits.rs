//! What a list may hold in its block.
//!
//! In: numbers of the block. Out: [`Limits`], which the decoder checks on the way.
//! Spec: EIP-7928 (size constraint, index assignment), EIP-7954 (code size), EIP-3541 (reserved prefix).
//! Not here: how much gas a block has left; that is admission's question.

use super::{BalColumns, BalError, BalField, BalRule};
use alloy_primitives::Address;

/// Gas that EIP-7928 reckons for one item of a list.
pub const ITEM_COST: u64 = 2_000;

/// Longest code that Amsterdam deploys (EIP-7954), in bytes.
pub const CODE_LEN_MAX_AMSTERDAM: usize = 65_536;

/// Least gas that a read of a slot costs (EIP-7928): 1,900 in an access list and 100 for the warm read.
pub const READ_COST: u64 = 2_000;

/// What the decoder holds a list against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in the block: indices go from 0 to `tx_count + 1`.
    pub tx_count: usize,
    /// Most items (addresses and slots together); none where the block's gas limit is not to count.
    pub item_count_max: Option<u64>,
    /// Longest code in bytes.
    pub code_len_max: usize,
    /// Whether a code that starts with `0xef` must be a delegation (EIP-3541, from London on).
    pub ef_reserved: bool,
}

impl Limits {
    /// The limits of an Amsterdam block.
    pub const fn amsterdam(tx_count: usize, gas_limit: u64) -> Self {
        Self {
            tx_count,
            item_count_max: Some(gas_limit / ITEM_COST),
            code_len_max: CODE_LEN_MAX_AMSTERDAM,
            ef_reserved: true,
        }
    }

    /// Only what the format itself demands: for lists without their block, and for recorded lists of older forks.
    pub const fn format_only() -> Self {
        Self { tx_count: u32::MAX as usize, item_count_max: None, code_len_max: usize::MAX, ef_reserved: false }
    }

    /// Highest block access index: that of the work after the transactions.
    pub(super) fn index_max(&self) -> u32 {
        u32::try_from(self.tx_count.saturating_add(1)).unwrap_or(u32::MAX)
    }

    /// Most addresses and slots.
    pub(super) fn item_max(&self) -> usize {
        self.item_count_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
    }
}

impl BalColumns {
    /// Refuses a list that declares more storage reads than `gas` can pay, slots of the `free` accounts not counted.
    ///
    /// Every declared read must be accessed, each slot's first access costs a transaction [`READ_COST`] or more, and an
    /// access that is undone has still been paid: so no valid list declares more.
    ///
    /// # Errors
    /// [`BalRule::UnaffordableReads`] with the first account whose reads go beyond.
    pub fn check_reads_affordable(&self, gas: u64, free: &[Address]) -> Result<(), BalError> {
        let max = usize::try_from(gas / READ_COST).unwrap_or(usize::MAX);
        if self.slot_count() <= max {
            return Ok(());
        }
        let mut reads = 0;
        for (account, address) in self.addresses().iter() {
            if free.contains(address) {
                continue;
            }
            reads += self.slots(account).filter(|slot| self.is_read_only(*slot)).count();
            if reads > max {
                return Err(BalError {
                    rule: BalRule::UnaffordableReads { gas },
                    offset: 0,
                    address: Some(*address),
                    field: BalField::StorageReads,
                    slot: None,
                    index: None,
                });
            }
        }
        Ok(())
    }
}
