//! Limits on the content of a list, derived from its block.
//!
//! In: transaction count and gas of the block. Out: [`Limits`], which the decoder checks while it
//! decodes; [`BalColumns::check_affordable`], a check after decoding.
//! Spec: EIP-7928 (size constraint, index assignment), EIP-7954 (code size), EIP-3541 (reserved prefix).
//! Not here: the gas left in a block during execution (admission in `exec`).

use super::{BalColumns, BalError, BalField, BalRule};
use crate::arena::{BlockAccessIndex, Id};
use alloy_primitives::Address;

/// Gas per list item (address or slot) in EIP-7928's size constraint.
pub const ITEM_COST: u64 = 2_000;

/// Maximum length of deployed code in Amsterdam (EIP-7954), in bytes.
pub const CODE_LEN_MAX_AMSTERDAM: usize = 65_536;

/// Minimum gas for reading a slot (EIP-7928): 1,900 for its key in a transaction's access list
/// (EIP-2930) and 100 for the warm read.
pub const READ_COST: u64 = 2_000;

/// Limits that the decoder enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in the block; block access indices go from 0 to `tx_count + 1`.
    pub tx_count: usize,
    /// Maximum number of items (addresses and slots together); `None`: not limited by the block's
    /// gas limit.
    pub item_count_max: Option<u64>,
    /// Maximum code length in bytes.
    pub code_len_max: usize,
    /// Whether a code that starts with `0xef` must be a delegation designator (EIP-3541, from
    /// London on; EIP-7702).
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

    /// Limits of the format alone: for lists without a block, and for recorded lists of older
    /// forks.
    pub const fn format_only() -> Self {
        Self { tx_count: u32::MAX as usize, item_count_max: None, code_len_max: usize::MAX, ef_reserved: false }
    }

    /// Highest block access index: that of the system calls after the transactions.
    pub(super) fn index_max(&self) -> u32 {
        u32::try_from(self.tx_count.saturating_add(1)).unwrap_or(u32::MAX)
    }

    /// Maximum number of addresses and slots together.
    pub(super) fn item_max(&self) -> usize {
        self.item_count_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
    }
}

/// Upper bounds, in gas, on what a block can spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasBudget {
    /// Transactions in the block.
    pub tx_count: usize,
    /// Execution gas of all transactions, and of those system calls that can read storage of any
    /// account.
    pub execution: u64,
    /// State gas of all transactions (EIP-8037).
    pub state: u64,
    /// Gas of any kind of all system calls, which can deploy code as well.
    pub system: u64,
    /// State gas per byte of deployed code.
    pub code_byte: u64,
}

/// Maximum length in bytes of code that can be set without state gas for its bytes: a delegation
/// that replaces another one (EIP-7702).
const FREE_CODE_LEN_MAX: u32 = 23;

impl BalColumns {
    /// Rejects a list that declares more storage accesses or more code than the block's gas can pay
    /// for. Reads of the `free` accounts (system contracts) are not counted, nor are changes before
    /// and after the transactions.
    ///
    /// No valid list is rejected: every slot that is declared as read must be accessed, by a
    /// transaction or by a system call, and every change of a slot at a transaction's index is an
    /// access in that transaction. The first access of a slot in a transaction or system call costs
    /// at least [`READ_COST`], also if it is reverted. Listed code was deployed by a transaction
    /// that did not revert, so its state gas was not refunded.
    ///
    /// # Errors
    /// [`BalRule::UnaffordableSlots`] with the first account whose slots exceed the budget;
    /// [`BalRule::UnaffordableCode`].
    pub(crate) fn check_affordable(&self, budget: &GasBudget, free: &[Address]) -> Result<(), BalError> {
        let error = |rule, address, field| BalError { rule, offset: 0, address, field, slot: None, index: None };
        let of_tx = |index: &&BlockAccessIndex| (1..=budget.tx_count).contains(&index.index());
        let slots_max = usize::try_from(budget.execution / READ_COST).unwrap_or(usize::MAX);
        if self.slot_count() + self.storage.len() > slots_max {
            let mut accesses = 0;
            for (account, address) in self.addresses().iter() {
                let is_free = free.contains(address);
                for slot in self.slots(account) {
                    let rows = self.storage.indices(slot);
                    accesses += match rows {
                        [] => usize::from(!is_free),
                        rows => rows.iter().filter(of_tx).count(),
                    };
                }
                if accesses > slots_max {
                    let rule = BalRule::UnaffordableSlots { gas: budget.execution };
                    return Err(error(rule, Some(*address), BalField::StorageReads));
                }
            }
        }
        let mut bytes = [0u64; 2];
        for (index, code) in self.codes.indices.iter().zip(&self.codes.values) {
            if code.len > FREE_CODE_LEN_MAX {
                bytes[usize::from(of_tx(&index))] += u64::from(code.len);
            }
        }
        for (bytes, gas) in bytes.into_iter().zip([budget.system, budget.state]) {
            if bytes.saturating_mul(budget.code_byte) > gas {
                return Err(error(BalRule::UnaffordableCode { gas }, None, BalField::CodeChanges));
            }
        }
        Ok(())
    }
}
