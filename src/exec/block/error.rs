//! Errors of block execution: typed, with their position in the block, and independent of the thread count.
//!
//! There are three kinds of failure, besides cancellation:
//! - The block is invalid: [`InvalidBlock`].
//! - The host failed: its store returned an error ([`StoreError`], a retry may succeed), or it supplied a state that is
//!   not the parent's ([`BlockError::ParentState`]).
//! - This library has a bug: two checks contradict each other ([`InternalFault`]). The block is not accepted.
//!
//! The root of the given state is checked before anything else. Of several errors the first in this order is
//! reported, for any number of threads:
//! 1. block encoding; header alone, header against its parent, ommers hash, ommers; roots of the body;
//! 2. block access list (BAL): encoding, order, limits, minimum gas cost of its slots and codes; then its hash; then
//!    the existence log; then store errors, where accounts and slots are read before the tasks or beside them;
//! 3. tasks in order of block access index; at one index: checks of the transaction alone, gas left in the block,
//!    checks of the transaction against the state, store errors (a task reads the codes that it needs), differences
//!    between execution and BAL;
//! 4. listed items that no task accessed, accounts first; then deposit logs, gas used, receipts root, logs bloom,
//!    requests hash, state root.
//!
//! Sequential execution compares the recorded BAL with the given one after all tasks. It reports the first difference
//! in list order, then the first difference between the existence logs.
//! Exception classes are those of the execution-spec tests. `tests/determinism.rs` tests every pair of levels.
//! Not here: faults of a header or an ommer (`rules`), of a transaction (`tx`), of an encoding (`wire`, `bal`).

use crate::arena::store::StoreError;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::bal::{BalError, Divergence, ExistenceFault};
use crate::exec::rules::header::HeaderFault;
use crate::exec::rules::ommers::OmmerFault;
use crate::exec::tx::TxInvalid;
use crate::exec::wire::WireError;
use alloy_primitives::{Address, B256, U256};
use core::fmt;

/// Why a block has no outcome.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The block or its block access list is invalid.
    #[error("invalid block: {0}")]
    Invalid(Box<InvalidBlock>),
    /// The store failed. This says nothing about whether the block is valid.
    #[error(transparent)]
    Store(StoreError),
    /// The tries do not hold the state after the parent block. This is an error of the host and says nothing about the
    /// block. No task has run.
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
    /// The caller cancelled the block. The text says how far execution had come.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// Two checks of this library contradict each other. The block is not accepted; whether it is valid is unknown.
    #[error("internal error: {0}")]
    Internal(InternalFault),
}

/// A contradiction inside this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InternalFault {
    /// For the task at this index, the fast comparison with the block access list found a difference and the complete
    /// comparison found none.
    #[error("at index {}, the two comparisons of the task with the block access list disagree", .0.0)]
    Comparison(BlockAccessIndex),
    /// A task ended without an error and without a `TaskChecked`.
    #[error("a task was not compared with the block access list")]
    UncheckedTask,
    /// The transactions root and the withdrawals root were not compared with the header.
    #[error("the roots of the body were not checked")]
    UncheckedBody,
    /// The recorded block access list exceeds the block's item limit (EIP-7928), and its decoder accepts it.
    #[error("the recorded block access list is over its item limit, and the decoder accepts it")]
    ItemLimit,
    /// The recorded existence log is not canonical.
    #[error("the recorded existence log: {0}")]
    RecordedExistence(ExistenceFault),
    /// The recorded existence log differs from the given one, and the search for the first difference found none.
    #[error("the recorded existence log differs from the given one, but no differing event was found")]
    ExistenceComparison,
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

/// One difference between the block access list and the execution. [`Divergence`] says why this is a type of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The account.
    pub address: Address,
    /// What differs.
    pub field: MismatchField,
    /// Key of the slot; `None` where the difference is not about storage.
    pub slot: Option<U256>,
    /// Block access index of the task; `None` for listed items that no task accessed.
    pub index: Option<BlockAccessIndex>,
    /// The listed value (the hash of a code, 0 or 1 for existence); `None` where no change is listed.
    pub claimed: Option<U256>,
    /// The value after execution, in the same form; `None` where execution changed nothing.
    pub produced: Option<U256>,
}

/// The subject of a [`Mismatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MismatchField {
    /// Balance in wei.
    Balance,
    /// Nonce.
    Nonce,
    /// Code. The values are keccak256 hashes.
    Code,
    /// A slot's value.
    Storage,
    /// Existence log: whether the account exists (before Cancun).
    Existence,
    /// The account is listed, but no task accessed it.
    UnaccessedAccount,
    /// The slot is listed, but no task accessed it.
    UnaccessedSlot,
    /// A task accessed the account, but it is not listed.
    UnlistedAccount,
    /// A task accessed the slot, but it is not listed.
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

/// Why a block is invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBlock {
    /// The block's encoding is invalid.
    #[error("malformed block: {0}")]
    Wire(WireError),
    /// The header breaks a rule, alone or against its parent.
    #[error("header: {0}")]
    Header(HeaderFault),
    /// An ommer is invalid.
    #[error("ommer {index}: {fault}")]
    Ommer {
        /// Position among the block's ommers, from 0.
        index: usize,
        /// The rule that it breaks.
        fault: OmmerFault,
    },
    /// The block access list is malformed, out of order or too large.
    #[error("{0}")]
    Bal(BalError),
    /// No block access list is given, but the execution mode or the comparison needs one.
    #[error("the block access list is missing")]
    BalPresence,
    /// The existence log fails its checks before execution.
    #[error("existence log: {0}")]
    Existence(ExistenceFault),
    /// The block access list does not have the hash in the header.
    #[error("block access list hash {produced}, the header claims {claimed}")]
    BalHash {
        /// The header's hash.
        claimed: B256,
        /// keccak256 of the list's RLP.
        produced: B256,
    },
    /// A transaction is invalid.
    #[error("transaction {}: {fault}", index.0)]
    Tx {
        /// Position in the block, from 0.
        index: TxIndex,
        /// The rule that it breaks.
        fault: TxInvalid,
    },
    /// The block access list and the execution differ.
    #[error("block access list: {0}")]
    Mismatch(Box<Mismatch>),
    /// The given and the recorded block access list differ; `a` is the given one.
    #[error("block access list: {0}")]
    Divergence(Box<Divergence>),
    /// A request contract has no code (EIP-7002, 7251, 8282).
    #[error("the request contract {0} has no code")]
    SystemContractEmpty(Address),
    /// The system call of a request contract reverted or halted (EIP-7002, 7251, 8282).
    #[error("the call of the request contract {0} failed")]
    SystemCallFailed(Address),
    /// A log of the deposit contract does not have the layout of EIP-6110.
    #[error("transaction {}: malformed deposit log", .0.0)]
    DepositLog(TxIndex),
    /// The gas used differs from the header's.
    #[error("gas used {produced}, the header claims {claimed}")]
    GasUsed {
        /// The header's value.
        claimed: u64,
        /// The value from execution.
        produced: u64,
    },
    /// The receipts root differs from the header's.
    #[error("receipts root {produced}, the header claims {claimed}")]
    ReceiptsRoot {
        /// The header's value.
        claimed: B256,
        /// The value from execution.
        produced: B256,
    },
    /// The logs bloom differs from the header's.
    #[error("the logs bloom does not match the logs")]
    LogsBloom,
    /// The requests hash (EIP-7685) differs from the header's.
    #[error("requests hash {produced}, the header claims {claimed}")]
    RequestsHash {
        /// The header's value.
        claimed: B256,
        /// The value from execution.
        produced: B256,
    },
    /// The state root differs from the header's.
    #[error("state root {produced}, the header claims {claimed}")]
    StateRoot {
        /// The header's value.
        claimed: B256,
        /// The value from execution.
        produced: B256,
    },
}

impl InvalidBlock {
    /// Exception classes of the execution-spec tests that apply to this error, the most specific first.
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
