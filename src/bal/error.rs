//! Errors of an invalid list: the broken rule and its position.
//!
//! In: rule violations found by the decoder. Out: [`BalError`]: rule, byte offset, account, field,
//! slot, index.
//! Spec: EIP-7928 "Ordering, Uniqueness and Determinism" and "Block Access List Size Constraint".
//! Not here: mismatches between a well-formed list and an execution (`exec`), or between two lists
//! (`diff`).

use crate::arena::BlockAccessIndex;
use alloy_primitives::{Address, U256};
use core::fmt;

/// The rule of RLP or EIP-7928 that a list violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BalRule {
    /// Empty input, or 4 GiB and more.
    #[error("the list must have between 1 and 2^32 - 1 bytes")]
    InputLength,
    /// An item extends past the end of its enclosing list, or of the input.
    #[error("the item extends past the end of its enclosing list")]
    Truncated,
    /// There are bytes after the outermost list.
    #[error("bytes follow the list")]
    TrailingBytes,
    /// A string where a list is required.
    #[error("expected a list, found a string")]
    ExpectedList,
    /// A list where a string is required.
    #[error("expected a string, found a list")]
    ExpectedString,
    /// A length that is not in its shortest encoding.
    #[error("the length is not written in its shortest form")]
    NonCanonicalLength,
    /// A single byte below 0x80 that is encoded with a length prefix.
    #[error("a single byte below 0x80 must be encoded as itself")]
    NonCanonicalByte,
    /// An integer with a leading zero byte. (Zero is the empty string.)
    #[error("the integer has a leading zero byte")]
    LeadingZero,
    /// An integer wider than its field: 256 bits for slots and values, 64 for nonces, 32 for indices.
    #[error("the integer is wider than {bits} bits")]
    IntegerTooWide {
        /// Width of the field in bits.
        bits: u16,
    },
    /// An address whose length is not 20 bytes.
    #[error("an address must have 20 bytes")]
    AddressLength,
    /// An entry (account, slot or change) with too few or too many items.
    #[error("the entry must have exactly {expected} items")]
    FieldCount {
        /// Required number of items.
        expected: u8,
    },
    /// Accounts are not in ascending order of address.
    #[error("accounts must ascend by address")]
    AccountOrder,
    /// An address is listed twice.
    #[error("the account is listed twice")]
    DuplicateAccount,
    /// Slots of `storage_changes` or of `storage_reads` are not in ascending order.
    #[error("slots must ascend")]
    SlotOrder,
    /// A slot is listed twice in `storage_changes`, or twice in `storage_reads`.
    #[error("the slot is listed twice")]
    DuplicateSlot,
    /// A slot is listed both in `storage_changes` and in `storage_reads`.
    #[error("the slot is listed as changed and as read")]
    SlotChangedAndRead,
    /// An entry of `storage_changes` contains no change.
    #[error("a changed slot must have a change")]
    EmptySlotChanges,
    /// Indices of a change list are not in ascending order.
    #[error("indices must ascend")]
    IndexOrder,
    /// An index occurs twice in a change list.
    #[error("the index is listed twice")]
    DuplicateIndex,
    /// A block access index above the block's last one, that of the system calls after the
    /// transactions.
    #[error("the index exceeds the block's last index {max}")]
    IndexBeyondBlock {
        /// `n + 1` for `n` transactions.
        max: u32,
    },
    /// A code longer than the fork's maximum for deployed code.
    #[error("the code exceeds {max} bytes")]
    CodeTooLong {
        /// The fork's maximum in bytes.
        max: usize,
    },
    /// A code that starts with 0xef and is not a delegation designator (EIP-3541, EIP-7702).
    #[error("a code that starts with 0xef must be a delegation of 23 bytes")]
    ReservedCode,
    /// More storage accesses than the block's gas can pay for, see
    /// `BalColumns::check_affordable`.
    #[error("the list declares more storage reads and changes than {gas} gas can pay, at 2000 each")]
    UnaffordableSlots {
        /// Execution gas available to transactions and system calls.
        gas: u64,
    },
    /// More deployed code than the block's state gas can pay for.
    #[error("the list declares more code than {gas} state gas can pay")]
    UnaffordableCode {
        /// State gas available to the transactions, or gas available to the system calls.
        gas: u64,
    },
    /// More addresses and slots than the block's gas limit allows (EIP-7928).
    #[error("the list holds more than {max} addresses and slots, the block's gas limit / 2000")]
    ItemLimit {
        /// Maximum number of items: gas limit / 2,000.
        max: u64,
    },
}

/// A part of an account's entry in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub enum BalField {
    /// The entry itself: its address, or whether the account is listed.
    Account,
    /// `storage_changes`.
    StorageChanges,
    /// `storage_reads`.
    StorageReads,
    /// `balance_changes`.
    BalanceChanges,
    /// `nonce_changes`.
    NonceChanges,
    /// `code_changes`.
    CodeChanges,
}

impl fmt::Display for BalField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Account => "account",
            Self::StorageChanges => "storage_changes",
            Self::StorageReads => "storage_reads",
            Self::BalanceChanges => "balance_changes",
            Self::NonceChanges => "nonce_changes",
            Self::CodeChanges => "code_changes",
        })
    }
}

/// A rule violation in a list and its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct BalError {
    /// The violated rule.
    pub rule: BalRule,
    /// Byte offset in the input of the first byte of the offending item; 0 for checks after
    /// decoding.
    pub offset: usize,
    /// The account of the offending entry; `None` while its address is not decoded.
    pub address: Option<Address>,
    /// The part of that entry.
    pub field: BalField,
    /// The slot, for the two storage parts.
    pub slot: Option<U256>,
    /// The block access index of the change, if it was decoded.
    pub index: Option<BlockAccessIndex>,
}

impl BalError {
    /// The exception name that fixtures of the execution-spec-tests (EEST) use for this error.
    pub const fn eest_class(&self) -> &'static str {
        match self.rule {
            BalRule::ItemLimit { .. } => "BlockException.BLOCK_ACCESS_LIST_GAS_LIMIT_EXCEEDED",
            _ => "BlockException.INVALID_BLOCK_ACCESS_LIST",
        }
    }
}

impl fmt::Display for BalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block access list, byte {}", self.offset)?;
        if let Some(address) = self.address {
            write!(f, ", account {address}, {}", self.field)?;
        }
        if let Some(slot) = self.slot {
            write!(f, ", slot {slot:#x}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", index {}", index.0)?;
        }
        write!(f, ": {}", self.rule)
    }
}
