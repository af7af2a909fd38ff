//! Reasons why a transaction is invalid, and their exception classes in the execution-spec tests.
//!
//! Not here: the checks (`validity`, `block::admission`).

use crate::exec::wire::tx_type;

/// Why a transaction, and with it its block, is invalid. Variants correspond to exceptions of the execution-spec tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TxInvalid {
    #[error("type {0} does not exist in this fork")]
    TypeNotInFork(u8),
    #[error("the signature is invalid: no sender can be recovered")]
    InvalidSignature,
    #[error("the chain id {0} is not valid on this chain in this fork")]
    ChainId(u64),
    #[error("the gas limit {limit} exceeds the maximum per transaction, {max}")]
    GasLimitMax { limit: u64, max: u64 },
    #[error("the gas limit {limit} does not cover the intrinsic gas {intrinsic}")]
    IntrinsicGas { limit: u64, intrinsic: u64 },
    #[error("the gas limit {limit} does not cover the calldata floor {floor}")]
    FloorGas { limit: u64, floor: u64 },
    #[error("the priority fee exceeds the fee cap")]
    PriorityFeeAboveCap,
    #[error("the fee cap is below the block's base fee")]
    FeeCapBelowBaseFee,
    #[error("init code of {0} bytes is over the limit")]
    InitcodeSize(usize),
    #[error("the nonce {tx} is below the sender's nonce {state}")]
    NonceTooLow { tx: u64, state: u64 },
    #[error("the nonce {tx} is above the sender's nonce {state}")]
    NonceTooHigh { tx: u64, state: u64 },
    #[error("the nonce is 2^64 - 1 and cannot be incremented")]
    NonceMax,
    #[error("the sender has code that is no delegation")]
    SenderNotEoa,
    #[error("the sender cannot pay for gas, value and blobs")]
    InsufficientFunds,
    #[error("a blob transaction without blobs")]
    NoBlobs,
    #[error("{0} blobs are more than one transaction may carry")]
    TooManyBlobs(usize),
    #[error("a blob hash has an unknown version")]
    BlobVersion,
    #[error("the blob fee cap is below the block's blob base fee")]
    BlobFeeCap,
    #[error("a transaction of type {0} cannot create a contract")]
    CannotCreate(u8),
    #[error("an empty authorization list")]
    NoAuthorizations,
    #[error("the gas limit exceeds the block's gas left in the {0} dimension")]
    GasAllowance(&'static str),
    #[error("the block's blobs exceed its limit")]
    BlobAllowance,
}

impl TxInvalid {
    /// The exception class in the execution-spec tests.
    pub fn eest_class(&self) -> &'static str {
        match self {
            Self::TypeNotInFork(1) => "TransactionException.TYPE_1_TX_PRE_FORK",
            Self::TypeNotInFork(2) => "TransactionException.TYPE_2_TX_PRE_FORK",
            Self::TypeNotInFork(3) => "TransactionException.TYPE_3_TX_PRE_FORK",
            Self::TypeNotInFork(_) => "TransactionException.TYPE_4_TX_PRE_FORK",
            Self::InvalidSignature => "TransactionException.INVALID_SIGNATURE_VRS",
            Self::ChainId(_) => "TransactionException.INVALID_CHAINID",
            Self::GasLimitMax { .. } => "TransactionException.GAS_LIMIT_EXCEEDS_MAXIMUM",
            Self::IntrinsicGas { .. } => "TransactionException.INTRINSIC_GAS_TOO_LOW",
            Self::FloorGas { .. } => "TransactionException.INTRINSIC_GAS_BELOW_FLOOR_GAS_COST",
            Self::PriorityFeeAboveCap => "TransactionException.PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS",
            Self::FeeCapBelowBaseFee => "TransactionException.INSUFFICIENT_MAX_FEE_PER_GAS",
            Self::InitcodeSize(_) => "TransactionException.INITCODE_SIZE_EXCEEDED",
            Self::NonceTooLow { .. } => "TransactionException.NONCE_MISMATCH_TOO_LOW",
            Self::NonceTooHigh { .. } => "TransactionException.NONCE_MISMATCH_TOO_HIGH",
            Self::NonceMax => "TransactionException.NONCE_IS_MAX",
            Self::SenderNotEoa => "TransactionException.SENDER_NOT_EOA",
            Self::InsufficientFunds => "TransactionException.INSUFFICIENT_ACCOUNT_FUNDS",
            Self::NoBlobs => "TransactionException.TYPE_3_TX_ZERO_BLOBS",
            Self::TooManyBlobs(_) => "TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED",
            Self::BlobVersion => "TransactionException.TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH",
            Self::BlobFeeCap => "TransactionException.INSUFFICIENT_MAX_FEE_PER_BLOB_GAS",
            Self::CannotCreate(tx_type::BLOB) => "TransactionException.TYPE_3_TX_CONTRACT_CREATION",
            Self::CannotCreate(_) => "TransactionException.TYPE_4_TX_CONTRACT_CREATION",
            Self::NoAuthorizations => "TransactionException.TYPE_4_EMPTY_AUTHORIZATION_LIST",
            Self::GasAllowance(_) => "TransactionException.GAS_ALLOWANCE_EXCEEDED",
            Self::BlobAllowance => "TransactionException.TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
        }
    }

    /// Whether the fault takes precedence over [`Self::GasAllowance`]. The transaction and the fork alone determine
    /// every such fault.
    pub fn is_static(&self) -> bool {
        matches!(
            self,
            Self::TypeNotInFork(_)
                | Self::InvalidSignature
                | Self::ChainId(_)
                | Self::GasLimitMax { .. }
                | Self::IntrinsicGas { .. }
                | Self::FloorGas { .. }
                | Self::InitcodeSize(_)
                | Self::CannotCreate(_)
                | Self::NoAuthorizations
                | Self::NoBlobs
                | Self::TooManyBlobs(_)
                | Self::BlobVersion
        )
    }
}
