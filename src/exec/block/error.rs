//! Why a block is not what it claims to be: typed, located, the same for any thread count.
//!
//! Three kinds of failure, never mixed: the block is invalid ([`InvalidBlock`]); the host failed, by its store
//! ([`StoreError`], worth a retry) or by giving another state than the parent's ([`BlockError::ParentState`]); our own bug
//! ([`InternalFault`]: two checks contradict each other, and the block is not
//! accepted).
//! The parent's state is looked at before anything else. Precedence, the same for any number of threads; the first of this order is reported:
//! 1. the block's bytes; header alone, header beside its parent, ommers hash, ommers; roots of the body;
//! 2. the list: bytes, order, limits, what its slots and codes cost at least; then its hash; then the existence log; then the
//!    store, where accounts and slots are read before or beside the tasks;
//! 3. tasks by block access index; at one index: the transaction itself, room in the block, the transaction on its
//!    state, the store (codes are read by the tasks that need them), execution against the list;
//! 4. items that nobody accessed, accounts first; then deposit logs, gas used, receipts, bloom, requests, state root.
//!
//! Sequential execution compares lists after all tasks, and reports the first difference in list order, then the first
//! one of the existence log.
//! Classes are those of the execution-spec tests. `tests/determinism.rs` tries every pair of levels.

use crate::arena::store::StoreError;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::bal::{BalError, Divergence, ExistenceFault};
use crate::exec::rules::header::HeaderFault;
use crate::exec::rules::ommers::OmmerFault;
use crate::exec::tx::TxInvalid;
use crate::exec::wire::WireError;
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
    /// Two checks of this library contradict each other. The block is not accepted, and nothing is said about whether it
    /// is valid.
    #[error("internal error: {0}")]
    Internal(InternalFault),
}

/// A contradiction inside this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InternalFault {
    /// The quick comparison of a task with the list found a difference, the complete one found none.
    #[error("at index {}, the two comparisons of the task with the block access list disagree", .0.0)]
    Comparison(BlockAccessIndex),
    /// A task ended without an error and without the proof that it did what the list claims.
    #[error("a task was not compared with the block access list")]
    UncheckedTask,
    /// The roots of the body were not compared with the header.
    #[error("the roots of the body were not checked")]
    UncheckedBody,
    /// The recorded list has more items than the block's limit, and its decoder found no fault in it.
    #[error("the recorded block access list is over its item limit, and the decoder accepts it")]
    ItemLimit,
    /// The recorded existence log is not canonical.
    #[error("the recorded existence log: {0}")]
    RecordedExistence(ExistenceFault),
    /// The recorded existence log is not the given one, and no difference was found.
    #[error("the recorded existence log is not the given one, and no difference is found")]
    SidecarComparison,
}

impl From<InternalFault> for BlockError {
    fn from(fault: InternalFault) -> Self {
        Self::Internal(fault)
    }
}

impl From<StoreError> for BlockError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled => {
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
    /// Existence log: whether the account exists (before Cancun).
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
            MismatchField::Existence => "existence",
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
                let show = |value: Option<U256>| match value {
                    None => "no change".to_owned(),
                    Some(nonce) if self.field == MismatchField::Nonce => nonce.to_string(),
                    Some(value) => format!("{value:#x}"),
                };
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
    /// The block must bring a list and brings none.
    #[error("there is no block access list")]
    BalPresence,
    /// The existence log is refused before the block runs.
    #[error("existence log: {0}")]
    Existence(ExistenceFault),
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
            Self::Existence(_) => vec!["BlockException.INVALID_BLOCK_ACCESS_LIST"],
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

#[cfg(feature = "serde")]
impl serde::Serialize for BlockError {
    /// An object of `kind` (`invalid`, `store`, `host`, `cancelled` or `internal`), `message`, and `classes` as
    /// [`InvalidBlock::eest_classes`] gives them.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let (kind, classes) = match self {
            Self::Invalid(invalid) => ("invalid", invalid.eest_classes()),
            Self::Store(_) => ("store", Vec::new()),
            Self::Cancelled(_) => ("cancelled", Vec::new()),
            Self::ParentState { .. } => ("host", Vec::new()),
            Self::Internal(_) => ("internal", Vec::new()),
        };
        let mut fields = serializer.serialize_struct("BlockError", 3)?;
        fields.serialize_field("kind", kind)?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("classes", &classes)?;
        fields.end()
    }
}

impl From<HeaderFault> for InvalidBlock {
    fn from(fault: HeaderFault) -> Self {
        Self::Header(fault)
    }
}
