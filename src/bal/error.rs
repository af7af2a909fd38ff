//! Why a list is refused, and where.
//!
//! In: the decoder's findings. Out: [`BalError`]: rule, byte, account, field, slot, index.
//! Spec: EIP-7928 "Ordering, Uniqueness and Determinism" and "Block Access List Size Constraint".
//! Not here: disagreement between a well-formed list and an execution (`exec`), or between two lists (`diff`).

use crate::arena::BlockAccessIndex;
use alloy_primitives::{Address, U256};
use core::fmt;

/// The rule of RLP or EIP-7928 that a list breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BalRule {
    /// No bytes at all, or more than 4 GiB.
    #[error("the list must have between 1 and 2^32 - 1 bytes")]
    InputLength,
    /// An item runs past the end of the list around it, or of the input.
    #[error("the item runs past the end of what holds it")]
    Truncated,
    /// Bytes follow the outermost list.
    #[error("bytes follow the list")]
    TrailingBytes,
    /// A string stands where a list must.
    #[error("expected a list, found a string")]
    ExpectedList,
    /// A list stands where a string must.
    #[error("expected a string, found a list")]
    ExpectedString,
    /// A length written in more bytes than it needs.
    #[error("the length is not written in its shortest form")]
    NonCanonicalLength,
    /// A byte below 0x80 written with a length.
    #[error("a single byte below 0x80 must stand for itself")]
    NonCanonicalByte,
    /// An integer with a leading zero byte (zero is the empty string).
    #[error("the integer has a leading zero byte")]
    LeadingZero,
    /// An integer wider than its field: 256 bits for slots and values, 64 for nonces, 32 for indices.
    #[error("the integer is wider than {bits} bits")]
    IntegerTooWide {
        /// Width of the field.
        bits: u16,
    },
    /// An address that has not 20 bytes.
    #[error("an address must have 20 bytes")]
    AddressLength,
    /// A tuple with too few or too many items.
    #[error("the entry must have exactly {expected} items")]
    FieldCount {
        /// Items that the entry must have.
        expected: u8,
    },
    /// Addresses do not ascend.
    #[error("accounts must ascend by address")]
    AccountOrder,
    /// An address twice.
    #[error("the account is listed twice")]
    DuplicateAccount,
    /// Slots do not ascend, in `storage_changes` or in `storage_reads`.
    #[error("slots must ascend")]
    SlotOrder,
    /// A slot twice in `storage_changes`, or twice in `storage_reads`.
    #[error("the slot is listed twice")]
    DuplicateSlot,
    /// A slot both in `storage_changes` and in `storage_reads`.
    #[error("the slot is listed as changed and as read")]
    SlotChangedAndRead,
    /// A slot in `storage_changes` without any change.
    #[error("a changed slot must have a change")]
    EmptySlotChanges,
    /// Indices of a change list do not ascend.
    #[error("indices must ascend")]
    IndexOrder,
    /// An index twice in a change list.
    #[error("the index is listed twice")]
    DuplicateIndex,
    /// An index beyond the work after the last transaction.
    #[error("the index exceeds the block's last index {max}")]
    IndexBeyondBlock {
        /// `n + 1` for `n` transactions.
        max: u32,
    },
    /// A code longer than any that can be deployed.
    #[error("the code exceeds {max} bytes")]
    CodeTooLong {
        /// The fork's limit in bytes.
        max: usize,
    },
    /// A code that starts with 0xef and is not a delegation (EIP-3541, EIP-7702).
    #[error("a code that starts with 0xef must be a delegation of 23 bytes")]
    ReservedCode,
    /// More storage accesses than the block can pay, see [`BalColumns::check_affordable`](super::BalColumns::check_affordable).
    #[error("the list declares more storage reads and changes than {gas} gas can pay, at 2000 each")]
    UnaffordableSlots {
        /// What transactions and system calls may spend on execution.
        gas: u64,
    },
    /// More deployed code than the block's transactions can pay.
    #[error("the list declares more code than {gas} state gas can pay")]
    UnaffordableCode {
        /// What the transactions may spend on state.
        gas: u64,
    },
    /// More addresses and slots than the block's gas limit admits.
    #[error("the list holds more than {max} addresses and slots, the block's gas limit / 2000")]
    ItemLimit {
        /// Gas limit / 2000.
        max: u64,
    },
}

/// The part of an account's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub enum BalField {
    /// The account's entry itself: its address, or its presence.
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

/// A list that is not well-formed: which rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BalError {
    /// The rule broken.
    pub rule: BalRule,
    /// Where in the input: the first byte of the offending item.
    pub offset: usize,
    /// The account whose entry is at fault; none before the first address is known.
    pub address: Option<Address>,
    /// Part of that entry.
    pub field: BalField,
    /// The slot, in the two storage parts.
    pub slot: Option<U256>,
    /// The block access index, where one was read.
    pub index: Option<BlockAccessIndex>,
}

impl BalError {
    /// The name that EEST fixtures use for this class of invalid block.
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
