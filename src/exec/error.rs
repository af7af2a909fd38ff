//! Why a block is not what it claims to be: typed, located, the same for any thread count.
//!
//! Three kinds of failure, never mixed: the block is invalid ([`InvalidBlock`]); the host failed, by its store
//! ([`StoreError`], worth a retry) or by giving another state than the parent's ([`BlockError::ParentState`]); our own bug
//! (an assertion).
//! The parent's state is looked at before anything else. Precedence, the same for any number of threads; the first of this order is reported:
//! 1. the block's bytes; header alone, header beside its parent, ommers hash, ommers; roots of the body;
//! 2. the list: bytes, order, limits, what its slots and codes cost at least; then its hash; then the sidecar;
//! 3. tasks by block access index; at one index: the transaction itself, room in the block, the transaction on its
//!    state, the store, execution against the list;
//! 4. items that nobody accessed, accounts first; then deposit logs, gas used, receipts, bloom, requests, state root.
//!
//! Sequential execution compares lists after all tasks, and reports the first difference in list order.
//! Classes are those of the execution-spec tests. `tests/determinism.rs` tries every pair of levels.

use super::ommers::OmmerFault;
use super::tx::TxInvalid;
use super::wire::WireError;
use crate::arena::store::StoreError;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::bal::{BalError, Divergence};
use alloy_primitives::{Address, B256, U256};
use core::fmt;

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// The block or its list is invalid.
    #[error("invalid block: {0}")]
    Invalid(Box<InvalidBlock>),
    /// The store could not answer; the block may well be valid.
    #[error(transparent)]
    Store(StoreError),
    /// The tries do not hold the state after the parent: the host's mistake, which says nothing about the block. Nothing
    /// has run.
    #[error(
        "the state given has the root {actual}, the parent's header says {expected}: give the state after the parent \
         block; before a block is executed again, its own update has to be rolled back"
    )]
    ParentState {
        /// The `state_root` of the parent's header.
        expected: B256,
        /// The root of the tries, uncommitted updates included.
        actual: B256,
    },
    /// The caller gave up; the words say where the block stood.
    #[error("cancelled: {0}")]
    Cancelled(String),
}

impl From<StoreError> for BlockError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::GivenUp => {
                Self::Cancelled("while the parent state was read or the state root was computed".to_owned())
            }
            error => Self::Store(error),
        }
    }
}

impl From<InvalidBlock> for BlockError {
    fn from(invalid: InvalidBlock) -> Self {
        Self::Invalid(Box::new(invalid))
    }
}

/// What is wrong with a header, taken alone or beside its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum HeaderFault {
    #[error("the parent hash names another block")]
    ParentHash,
    #[error("the number is not the parent's plus one")]
    Number,
    #[error("the timestamp is not later than the parent's")]
    Timestamp,
    #[error("the gas limit {limit} is not within 1/1024 of the parent's, {parent}")]
    GasLimit { limit: u64, parent: u64 },
    #[error("gas used {used} exceeds the gas limit {limit}")]
    GasUsedAboveLimit { used: u64, limit: u64 },
    #[error("the gas limit {0} is below 5000")]
    GasLimitTooLow(u64),
    #[error("the gas limit {0} is 2^63 or more")]
    GasLimitTooBig(u64),
    #[error("extra data of {0} bytes, 32 are allowed")]
    ExtraData(usize),
    #[error("the extra data takes the wrong side of the DAO fork")]
    DaoExtraData,
    #[error("base fee {claimed:?}, the parent's gives {expected}")]
    BaseFee { claimed: Option<u64>, expected: u64 },
    #[error("difficulty {claimed}, the parent's gives {expected}")]
    Difficulty { claimed: U256, expected: U256 },
    #[error("difficulty or nonce are not those of a proof-of-stake block")]
    ProofOfStake,
    #[error("a proof-of-stake block has no ommers")]
    OmmersAfterMerge,
    #[error("the field {0} is missing in this fork, or does not exist in it")]
    FieldPresence(&'static str),
    #[error("excess blob gas {claimed:?}, the parent's gives {expected}")]
    ExcessBlobGas { claimed: Option<u64>, expected: u64 },
    #[error("blob gas used {claimed}, the transactions use {produced}")]
    BlobGasUsed { claimed: u64, produced: u64 },
    #[error("blob gas used {used} exceeds the limit {max}")]
    BlobGasAboveLimit { used: u64, max: u64 },
    #[error("the block of {0} bytes is over the size limit")]
    BlockSize(usize),
    #[error("the transactions root does not match the body")]
    TransactionsRoot,
    #[error("the withdrawals root does not match the body")]
    WithdrawalsRoot,
    #[error("the ommers hash does not match the body")]
    Ommers,
}

impl HeaderFault {
    pub(super) fn eest_classes(&self) -> &'static [&'static str] {
        match self {
            Self::ParentHash => &["BlockException.UNKNOWN_PARENT"],
            Self::Number => &["BlockException.INVALID_BLOCK_NUMBER"],
            Self::Timestamp => &["BlockException.INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT"],
            Self::GasLimit { .. } | Self::GasLimitTooLow(_) => &["BlockException.INVALID_GASLIMIT"],
            Self::GasUsedAboveLimit { .. } => {
                &["BlockException.INVALID_GAS_USED_ABOVE_LIMIT", "BlockException.INVALID_GAS_USED"]
            }
            Self::GasLimitTooBig(_) => &["BlockException.GASLIMIT_TOO_BIG", "BlockException.INVALID_GASLIMIT"],
            Self::ExtraData(_) => &["BlockException.EXTRA_DATA_TOO_BIG"],
            Self::DaoExtraData => &["BlockException.EXTRA_DATA_INVALID_DAO"],
            Self::BaseFee { .. } => &["BlockException.INVALID_BASEFEE_PER_GAS"],
            Self::Difficulty { .. } => &["BlockException.INVALID_DIFFICULTY"],
            Self::ProofOfStake => &["BlockException.IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS"],
            Self::OmmersAfterMerge => &["BlockException.IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS"],
            Self::FieldPresence("excess_blob_gas") => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INCORRECT_EXCESS_BLOB_GAS"]
            }
            Self::FieldPresence("blob_gas_used") => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INCORRECT_BLOB_GAS_USED"]
            }
            Self::FieldPresence("requests_hash") => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INVALID_REQUESTS"]
            }
            Self::FieldPresence(_) => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.RLP_STRUCTURES_ENCODING"]
            }
            Self::ExcessBlobGas { .. } => &["BlockException.INCORRECT_EXCESS_BLOB_GAS"],
            Self::BlobGasUsed { .. } => &["BlockException.INCORRECT_BLOB_GAS_USED"],
            Self::BlobGasAboveLimit { .. } => &[
                "BlockException.BLOB_GAS_USED_ABOVE_LIMIT",
                "TransactionException.TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
                "TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED",
            ],
            Self::BlockSize(_) => &["BlockException.RLP_BLOCK_LIMIT_EXCEEDED"],
            Self::TransactionsRoot => &["BlockException.INVALID_TRANSACTIONS_ROOT"],
            Self::WithdrawalsRoot => &["BlockException.INVALID_WITHDRAWALS_ROOT"],
            Self::Ommers => &["BlockException.INVALID_UNCLES_HASH", "BlockException.UNCLES_HASH_INVALID"],
        }
    }
}

/// One place where the list and the execution disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The account.
    pub address: Address,
    /// What about it.
    pub field: MismatchField,
    /// The slot's key, where it is about storage.
    pub slot: Option<U256>,
    /// Where in the block; nothing where it concerns the block as a whole (items that nobody accessed).
    pub index: Option<BlockAccessIndex>,
    /// What the list says; nothing where it says nothing.
    pub claimed: Option<U256>,
    /// What execution gave; nothing where it changed nothing.
    pub produced: Option<U256>,
}

/// What a [`Mismatch`] is about. Codes are compared by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MismatchField {
    /// Balance, wei.
    Balance,
    /// Nonce.
    Nonce,
    /// Code; the values are hashes.
    Code,
    /// A slot's value.
    Storage,
    /// Sidecar: whether the account exists (before Cancun).
    Existence,
    /// The account is listed but nothing accessed it.
    UnaccessedAccount,
    /// The slot is listed but nothing accessed it.
    UnaccessedSlot,
    /// The account was accessed but is not listed.
    UnlistedAccount,
    /// The slot was accessed but is not listed.
    UnlistedSlot,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field {
            MismatchField::Balance => "balance",
            MismatchField::Nonce => "nonce",
            MismatchField::Code => "code",
            MismatchField::Storage => "storage",
            MismatchField::Existence => "existence (sidecar)",
            MismatchField::UnaccessedAccount => "listed, but nothing accessed the account",
            MismatchField::UnaccessedSlot => "listed, but nothing accessed the slot",
            MismatchField::UnlistedAccount => "accessed, but the list lacks the account",
            MismatchField::UnlistedSlot => "accessed, but the list lacks the slot",
        };
        write!(f, "account {}", self.address)?;
        if let Some(slot) = self.slot {
            write!(f, ", slot {slot:#x}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", index {}", index.0)?;
        }
        write!(f, ": {what}")?;
        match (self.claimed, self.produced) {
            (None, None) => Ok(()),
            (claimed, produced) => {
                let show = |value: Option<U256>| value.map_or("no change".to_owned(), |value| format!("{value:#x}"));
                write!(f, ": the list claims {}, execution produced {}", show(claimed), show(produced))
            }
        }
    }
}

/// What is wrong with a block.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBlock {
    /// The block's bytes.
    #[error("malformed block: {0}")]
    Wire(WireError),
    /// The header.
    #[error("header: {0}")]
    Header(HeaderFault),
    /// An ommer.
    #[error("ommer {index}: {fault}")]
    Ommer {
        /// Which of the block's.
        index: usize,
        /// Why.
        fault: OmmerFault,
    },
    /// The list's bytes, shape or size.
    #[error("{0}")]
    Bal(BalError),
    /// The block must bring a list and brings none, or the other way round.
    #[error("the block access list is missing, or there is one in a fork without them")]
    BalPresence,
    /// The sidecar names an account that the list does not.
    #[error("the sidecar names {0}, which the block access list does not")]
    Sidecar(Address),
    /// The list is not the one that the header commits to.
    #[error("block access list hash {produced}, the header claims {claimed}")]
    BalHash {
        /// The header's.
        claimed: B256,
        /// keccak256 of the list's bytes.
        produced: B256,
    },
    /// A transaction.
    #[error("transaction {}: {fault}", index.0)]
    Tx {
        /// Which.
        index: TxIndex,
        /// Why.
        fault: TxInvalid,
    },
    /// The list and the execution disagree.
    #[error("block access list: {0}")]
    Mismatch(Box<Mismatch>),
    /// The given list and the recorded one differ; `a` is the given one.
    #[error("block access list: {0}")]
    Divergence(Box<Divergence>),
    /// A request contract has no code.
    #[error("the request contract {0} has no code")]
    SystemContractEmpty(Address),
    /// The call of a request contract failed.
    #[error("the call of the request contract {0} failed")]
    SystemCallFailed(Address),
    /// A deposit log that is not laid out as EIP-6110 demands.
    #[error("transaction {}: malformed deposit log", .0.0)]
    DepositLog(TxIndex),
    /// Gas used.
    #[error("gas used {produced}, the header claims {claimed}")]
    GasUsed {
        /// The header's.
        claimed: u64,
        /// Of the execution.
        produced: u64,
    },
    /// Receipts root.
    #[error("receipts root {produced}, the header claims {claimed}")]
    ReceiptsRoot {
        /// The header's.
        claimed: B256,
        /// Of the execution.
        produced: B256,
    },
    /// Logs bloom.
    #[error("the logs bloom does not match the logs")]
    LogsBloom,
    /// Requests hash.
    #[error("requests hash {produced}, the header claims {claimed}")]
    RequestsHash {
        /// The header's.
        claimed: B256,
        /// Of the execution.
        produced: B256,
    },
    /// State root.
    #[error("state root {produced}, the header claims {claimed}")]
    StateRoot {
        /// The header's.
        claimed: B256,
        /// Of the execution.
        produced: B256,
    },
}

impl InvalidBlock {
    /// The exception classes of the execution-spec tests that this fault answers to; the first is the narrowest.
    pub fn eest_classes(&self) -> Vec<&'static str> {
        match self {
            Self::Wire(error) => error.eest_classes().to_vec(),
            Self::Header(fault) => fault.eest_classes().to_vec(),
            Self::Ommer { fault, .. } => fault.eest_classes().to_vec(),
            Self::Bal(error) => vec![error.eest_class()],
            Self::Sidecar(_) => vec!["BlockException.INVALID_BLOCK_ACCESS_LIST"],
            Self::BalPresence => vec!["BlockException.INCORRECT_BLOCK_FORMAT"],
            Self::BalHash { .. } => {
                vec!["BlockException.INVALID_BAL_HASH", "BlockException.INVALID_BLOCK_ACCESS_LIST"]
            }
            Self::Tx { fault, .. } => vec![fault.eest_class()],
            Self::Mismatch(_) | Self::Divergence(_) => vec!["BlockException.INVALID_BLOCK_ACCESS_LIST"],
            Self::SystemContractEmpty(_) => vec!["BlockException.SYSTEM_CONTRACT_EMPTY"],
            Self::SystemCallFailed(_) => vec!["BlockException.SYSTEM_CONTRACT_CALL_FAILED"],
            Self::DepositLog(_) => vec!["BlockException.INVALID_DEPOSIT_EVENT_LAYOUT"],
            Self::GasUsed { .. } => vec!["BlockException.INVALID_GAS_USED"],
            Self::ReceiptsRoot { .. } => vec!["BlockException.INVALID_RECEIPTS_ROOT"],
            Self::LogsBloom => vec!["BlockException.INVALID_LOG_BLOOM"],
            Self::RequestsHash { .. } => vec!["BlockException.INVALID_REQUESTS"],
            Self::StateRoot { .. } => vec!["BlockException.INVALID_STATE_ROOT"],
        }
    }
}

impl From<HeaderFault> for InvalidBlock {
    fn from(fault: HeaderFault) -> Self {
        Self::Header(fault)
    }
}
