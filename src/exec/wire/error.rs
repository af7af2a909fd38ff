//! Errors in the encoding of a block.
//!
//! Out: [`WireError`]: the field, the byte offset and the violated rule.
//! Not here: rules that depend on a fork or a state.

/// The bytes are not a canonically encoded block, header or transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed block bytes: {field} at byte {offset}: {kind}")]
#[non_exhaustive]
pub struct WireError {
    /// The field in which the error occurred.
    pub field: Field,
    /// Byte offset of the offending item from the start of the input.
    pub offset: usize,
    /// The violated rule.
    pub kind: WireErrorKind,
}

/// The encoding rule that an item violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// The item extends past the end of its list, or an item is missing.
    #[error("the bytes end too early")]
    Truncated,
    /// The RLP header is not the shortest one: a single byte with a length prefix, a long form for
    /// a short length, or a length with a leading zero.
    #[error("the RLP header is not in its shortest form")]
    NonCanonicalHeader,
    /// An integer with a leading zero byte.
    #[error("the integer has a leading zero")]
    LeadingZero,
    /// An integer that does not fit its type.
    #[error("the integer is wider than {0} bits")]
    TooWide(u16),
    /// A fixed-size field with another size.
    #[error("expected {expected} bytes, found {found}")]
    WrongLength {
        /// Required size in bytes.
        expected: usize,
        /// Actual size in bytes.
        found: usize,
    },
    /// A string where a list is required.
    #[error("expected a list, found a string")]
    ExpectedList,
    /// A list where a string is required.
    #[error("expected a string, found a list")]
    ExpectedString,
    /// Items or bytes after the last expected one.
    #[error("unexpected bytes follow")]
    TrailingBytes,
    /// An EIP-2718 type byte that no known fork defines.
    #[error("unknown transaction type {0:#04x}")]
    UnknownTransactionType(u8),
    /// EIP-4844 and EIP-7702 transactions cannot create contracts.
    #[error("a transaction of type {0} needs a recipient")]
    MissingRecipient(u8),
    /// The recovery value is not valid: not a parity of 0 or 1, or, in a legacy transaction,
    /// neither 27 or 28 nor one of EIP-155 with a 64-bit chain id.
    #[error("the signature's recovery value is out of range")]
    InvalidRecoveryValue,
    /// The input is 4 GiB or longer; offsets are 32 bits wide.
    #[error("4 GiB or more in one block")]
    TooLarge,
}

macro_rules! fields {
    ($($name:ident => $text:literal),* $(,)?) => {
        /// A field of a block, for error messages; its text form is a dotted path such as
        /// `header.gas_limit`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs)]
        pub enum Field { $($name),* }

        impl core::fmt::Display for Field {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(match self { $(Self::$name => $text),* })
            }
        }
    };
}

fields! {
    Block => "block",
    BlockHeader => "header",
    ParentHash => "header.parent_hash",
    OmmersHash => "header.ommers_hash",
    Coinbase => "header.coinbase",
    StateRoot => "header.state_root",
    TransactionsRoot => "header.transactions_root",
    ReceiptsRoot => "header.receipts_root",
    LogsBloom => "header.logs_bloom",
    Difficulty => "header.difficulty",
    Number => "header.number",
    HeaderGasLimit => "header.gas_limit",
    GasUsed => "header.gas_used",
    Timestamp => "header.timestamp",
    ExtraData => "header.extra_data",
    MixHash => "header.mix_hash",
    HeaderNonce => "header.nonce",
    BaseFee => "header.base_fee_per_gas",
    WithdrawalsRoot => "header.withdrawals_root",
    BlobGasUsed => "header.blob_gas_used",
    ExcessBlobGas => "header.excess_blob_gas",
    ParentBeaconRoot => "header.parent_beacon_block_root",
    RequestsHash => "header.requests_hash",
    BlockAccessListHash => "header.block_access_list_hash",
    SlotNumber => "header.slot_number",
    TransactionList => "transactions",
    Transaction => "transaction",
    ChainId => "transaction.chain_id",
    Nonce => "transaction.nonce",
    GasPrice => "transaction.gas_price",
    MaxPriorityFee => "transaction.max_priority_fee_per_gas",
    MaxFee => "transaction.max_fee_per_gas",
    GasLimit => "transaction.gas_limit",
    To => "transaction.to",
    Value => "transaction.value",
    Input => "transaction.input",
    AccessList => "transaction.access_list",
    AccessListAddress => "transaction.access_list.address",
    AccessListKey => "transaction.access_list.storage_key",
    MaxFeePerBlobGas => "transaction.max_fee_per_blob_gas",
    BlobHashes => "transaction.blob_versioned_hashes",
    AuthorizationList => "transaction.authorization_list",
    AuthorizationChainId => "transaction.authorization_list.chain_id",
    AuthorizationAddress => "transaction.authorization_list.address",
    AuthorizationNonce => "transaction.authorization_list.nonce",
    AuthorizationParity => "transaction.authorization_list.y_parity",
    AuthorizationR => "transaction.authorization_list.r",
    AuthorizationS => "transaction.authorization_list.s",
    SignatureV => "transaction.signature.v",
    SignatureR => "transaction.signature.r",
    SignatureS => "transaction.signature.s",
    OmmerList => "ommers",
    WithdrawalList => "withdrawals",
    Withdrawal => "withdrawal",
    WithdrawalIndex => "withdrawal.index",
    WithdrawalValidator => "withdrawal.validator_index",
    WithdrawalAddress => "withdrawal.address",
    WithdrawalAmount => "withdrawal.amount",
}

impl WireError {
    /// The exception names of the execution-spec-tests that correspond to this error. They classify
    /// malformed bytes as a block-level error; some suites expect the transaction rule that the
    /// malformed field would violate instead.
    pub fn eest_classes(&self) -> &'static [&'static str] {
        const FORMAT: &str = "BlockException.INCORRECT_BLOCK_FORMAT";
        const RLP: &str = "BlockException.RLP_STRUCTURES_ENCODING";
        match (self.field, self.kind) {
            (Field::GasPrice | Field::MaxFee | Field::MaxPriorityFee, WireErrorKind::TooWide(_)) => {
                &[RLP, FORMAT, "TransactionException.GASLIMIT_PRICE_PRODUCT_OVERFLOW"]
            }
            (Field::GasLimit, WireErrorKind::TooWide(_)) => &[RLP, FORMAT, "TransactionException.GASLIMIT_OVERFLOW"],
            (Field::Value, WireErrorKind::TooWide(_)) => &[RLP, FORMAT, "TransactionException.VALUE_OVERFLOW"],
            (Field::Nonce, WireErrorKind::TooWide(_)) => &[
                RLP,
                FORMAT,
                "TransactionException.NONCE_OVERFLOW",
                "TransactionException.NONCE_TOO_BIG",
                "TransactionException.NONCE_IS_MAX",
            ],
            (_, WireErrorKind::MissingRecipient(3)) => {
                &[RLP, FORMAT, "TransactionException.TYPE_3_TX_CONTRACT_CREATION"]
            }
            (_, WireErrorKind::MissingRecipient(_)) => {
                &[RLP, FORMAT, "TransactionException.TYPE_4_TX_CONTRACT_CREATION"]
            }
            (Field::SignatureV | Field::SignatureR | Field::SignatureS, _) => {
                &[RLP, FORMAT, "TransactionException.INVALID_SIGNATURE_VRS"]
            }
            (
                Field::AuthorizationList
                | Field::AuthorizationChainId
                | Field::AuthorizationAddress
                | Field::AuthorizationNonce
                | Field::AuthorizationParity
                | Field::AuthorizationR
                | Field::AuthorizationS,
                _,
            ) => &[RLP, FORMAT, "TransactionException.TYPE_4_INVALID_AUTHORIZATION_FORMAT"],
            _ => &[RLP, FORMAT],
        }
    }
}
