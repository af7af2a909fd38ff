//! The structures of the Engine API, and their conversion from and to blocks.
//!
//! In: execution payloads, payload attributes, forkchoice states as JSON. Out: headers and block bytes; payloads of blocks.
//! One type serves all versions of a structure: later fields are optional, and [`Payload::check_fields`] and
//! [`Attributes::check_fields`] say which a version needs.
//! Spec: execution-apis, engine/{paris,shanghai,cancun,prague,amsterdam}.md.
//! Not here: whether a block is valid.

use super::rpc::{RpcError, code};
use super::value::{Data, Fixed, Number, Wide};
use alloy_primitives::{B256, Bloom, Bytes, U256};
use alloy_rlp::Encodable;
use balustrade::arena::TxIndex;
use balustrade::bal::bal_hash;
use balustrade::exec::block::verify::requests_hash;
use balustrade::exec::rules::fork::Fork;
use balustrade::exec::rules::header::EMPTY_OMMERS_HASH;
use balustrade::exec::wire::{Block, Header, assemble_with_withdrawals};
use balustrade::trie::ordered_root;
use serde::{Deserialize, Serialize};

/// `ExecutionPayloadV1` to `ExecutionPayloadV4`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an execution payload")]
pub struct Payload {
    /// Hash of the parent's header.
    pub parent_hash: Fixed<32>,
    /// Beneficiary of fees.
    pub fee_recipient: Fixed<20>,
    /// Root of the state after the block.
    pub state_root: Fixed<32>,
    /// Root of the receipts.
    pub receipts_root: Fixed<32>,
    /// Union of the receipts' blooms.
    pub logs_bloom: Fixed<256>,
    /// Randomness of the beacon chain.
    pub prev_randao: Fixed<32>,
    /// Block number.
    pub block_number: Number,
    /// Gas limit.
    pub gas_limit: Number,
    /// Gas used.
    pub gas_used: Number,
    /// Unix time in seconds.
    pub timestamp: Number,
    /// Arbitrary bytes.
    pub extra_data: Data,
    /// Base fee in wei per gas.
    pub base_fee_per_gas: Wide,
    /// Hash of the header.
    pub block_hash: Fixed<32>,
    /// EIP-2718 encodings.
    pub transactions: Vec<Data>,
    /// From version 2 on, from Shanghai on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// From version 3 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_gas_used: Option<Number>,
    /// From version 3 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess_blob_gas: Option<Number>,
    /// RLP of the block access list, from version 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_access_list: Option<Data>,
    /// From version 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_number: Option<Number>,
}

/// `WithdrawalV1`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a withdrawal")]
pub struct Withdrawal {
    /// Number over all withdrawals of the chain.
    pub index: Number,
    /// Index of the validator.
    pub validator_index: Number,
    /// The credited address.
    pub address: Fixed<20>,
    /// Amount in gwei.
    pub amount: Number,
}

impl Withdrawal {
    /// RLP, as the withdrawal trie has it.
    pub fn encoded(&self) -> Vec<u8> {
        let (index, validator, amount) = (self.index.0, self.validator_index.0, self.amount.0);
        let address = self.address.address();
        let payload_length = index.length() + validator.length() + address.length() + amount.length();
        let mut out = Vec::with_capacity(payload_length + 2);
        alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
        index.encode(&mut out);
        validator.encode(&mut out);
        address.encode(&mut out);
        amount.encode(&mut out);
        out
    }

    /// All withdrawals of a block; `None` before Shanghai.
    pub fn of_block(block: &Block) -> Option<Vec<Self>> {
        let convert = |row: &balustrade::exec::wire::Withdrawal| Self {
            index: Number(row.index),
            validator_index: Number(row.validator_index),
            address: row.address.into(),
            amount: Number(row.amount_gwei),
        };
        block.withdrawals.as_ref().map(|rows| rows.iter().map(convert).collect())
    }
}

/// What a block has beside the payload.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Root of the parent beacon block, from Cancun on.
    pub parent_beacon_root: Option<B256>,
    /// Execution requests, type byte first, from Prague on.
    pub requests: Option<Vec<Vec<u8>>>,
}

/// Why a payload is not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABlock {
    /// A transaction has no bytes.
    #[error("transaction {0} is empty")]
    EmptyTransaction(usize),
    /// The base fee does not fit a header.
    #[error("the base fee per gas is wider than 64 bits")]
    BaseFee,
    /// The header of these fields has another hash.
    #[error("the block hash is {found}, the payload claims {claimed}")]
    BlockHash {
        /// The payload's.
        claimed: B256,
        /// That of the header.
        found: B256,
    },
}

/// `version`s of `engine_newPayload` that a fork needs.
pub const fn payload_version(fork: Fork) -> u8 {
    match fork {
        Fork::Shanghai => 2,
        Fork::Cancun => 3,
        Fork::Prague | Fork::Osaka => 4,
        Fork::Amsterdam => 5,
        _ => 1,
    }
}

impl Payload {
    /// Checks that the payload has the fields of a version of `engine_newPayload`; `fork` is that of its timestamp.
    ///
    /// # Errors
    /// -32602: a field is missing, or is not one of the version; -38005: the fork is not the version's.
    pub fn check_fields(&self, version: u8, fork: Fork) -> Result<(), RpcError> {
        let expect = |name: &str, present: bool, expected: bool| match (present, expected) {
            (false, true) => Err(RpcError::params(format!("the execution payload lacks the field {name}"))),
            (true, false) => Err(RpcError::params(format!("the execution payload has the field {name}"))),
            _ => Ok(()),
        };
        let needs = payload_version(fork);
        let has_withdrawals = self.withdrawals.is_some();
        let wants_withdrawals = match version {
            1 => false,
            2 => {
                if needs > 2 {
                    has_withdrawals
                } else {
                    needs == 2
                }
            }
            _ => true,
        };
        expect("withdrawals", has_withdrawals, wants_withdrawals)?;
        expect("blobGasUsed", self.blob_gas_used.is_some(), version >= 3)?;
        expect("excessBlobGas", self.excess_blob_gas.is_some(), version >= 3)?;
        expect("blockAccessList", self.block_access_list.is_some(), version >= 5)?;
        expect("slotNumber", self.slot_number.is_some(), version >= 5)?;
        if needs == version || (version == 2 && needs == 1) {
            return Ok(());
        }
        let name = fork.name();
        Err(RpcError::new(
            code::FORK,
            format!("Unsupported fork: the timestamp is of {name}, use engine_newPayloadV{needs}"),
        ))
    }

    /// The block's header and its RLP.
    ///
    /// # Errors
    /// [`NotABlock`].
    pub fn to_block(&self, beside: &Beside) -> Result<(Header, Bytes), NotABlock> {
        if let Some(position) = self.transactions.iter().position(|transaction| transaction.0.is_empty()) {
            return Err(NotABlock::EmptyTransaction(position));
        }
        let withdrawals: Option<Vec<Vec<u8>>> =
            self.withdrawals.as_ref().map(|rows| rows.iter().map(Withdrawal::encoded).collect());
        let transactions: Vec<&[u8]> = self.transactions.iter().map(|transaction| &transaction.0[..]).collect();
        let root = |rows: &Vec<Vec<u8>>| ordered_root(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let header = Header {
            parent_hash: self.parent_hash.0,
            ommers_hash: EMPTY_OMMERS_HASH,
            coinbase: self.fee_recipient.address(),
            state_root: self.state_root.0,
            transactions_root: ordered_root(&transactions),
            receipts_root: self.receipts_root.0,
            logs_bloom: Bloom(self.logs_bloom.0),
            number: self.block_number.0,
            gas_limit: self.gas_limit.0,
            gas_used: self.gas_used.0,
            timestamp: self.timestamp.0,
            extra_data: self.extra_data.0.clone(),
            mix_hash: self.prev_randao.0,
            base_fee: Some(u64::try_from(self.base_fee_per_gas.0).map_err(|_| NotABlock::BaseFee)?),
            withdrawals_root: withdrawals.as_ref().map(root),
            blob_gas_used: self.blob_gas_used.map(|gas| gas.0),
            excess_blob_gas: self.excess_blob_gas.map(|gas| gas.0),
            parent_beacon_root: beside.parent_beacon_root,
            requests_hash: beside.requests.as_deref().map(requests_hash),
            block_access_list_hash: self.block_access_list.as_ref().map(|list| bal_hash(&list.0)),
            slot_number: self.slot_number.map(|slot| slot.0),
            ..Header::default()
        };
        let (claimed, found) = (self.block_hash.0, header.hash());
        if claimed != found {
            return Err(NotABlock::BlockHash { claimed, found });
        }
        let block = assemble_with_withdrawals(&header, &transactions, &withdrawals.unwrap_or_default());
        Ok((header, block.into()))
    }

    /// The payload of a block. `list` is that of a block from Amsterdam on.
    pub fn of_block(block: &Block, list: Option<&Bytes>) -> Self {
        let header = &block.header;
        let transaction = |row| Data(Bytes::copy_from_slice(block.transactions.encoded(TxIndex(row as u32))));
        Self {
            parent_hash: header.parent_hash.into(),
            fee_recipient: header.coinbase.into(),
            state_root: header.state_root.into(),
            receipts_root: header.receipts_root.into(),
            logs_bloom: Fixed(header.logs_bloom.0),
            prev_randao: header.mix_hash.into(),
            block_number: Number(header.number),
            gas_limit: Number(header.gas_limit),
            gas_used: Number(header.gas_used),
            timestamp: Number(header.timestamp),
            extra_data: Data(header.extra_data.clone()),
            base_fee_per_gas: Wide(U256::from(header.base_fee.unwrap_or_default())),
            block_hash: block.header_hash.into(),
            transactions: (0..block.transactions.len()).map(transaction).collect(),
            withdrawals: Withdrawal::of_block(block),
            blob_gas_used: header.blob_gas_used.map(Number),
            excess_blob_gas: header.excess_blob_gas.map(Number),
            block_access_list: header.block_access_list_hash.and(list).map(|list| Data(list.clone())),
            slot_number: header.slot_number.map(Number),
        }
    }
}

/// Checks execution requests (EIP-7685).
///
/// # Errors
/// -32602: one is empty, or the types do not ascend.
pub fn check_requests(requests: &[Vec<u8>]) -> Result<(), RpcError> {
    if requests.iter().any(|request| request.len() < 2) {
        return Err(RpcError::params("an execution request is empty"));
    }
    if requests.windows(2).any(|pair| pair[0][0] >= pair[1][0]) {
        return Err(RpcError::params("the types of the execution requests do not ascend"));
    }
    Ok(())
}

/// `ForkchoiceStateV1`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a forkchoice state")]
pub struct ForkchoiceState {
    /// The head of the chain.
    pub head_block_hash: Fixed<32>,
    /// A safe ancestor of it; zero if there is none.
    pub safe_block_hash: Fixed<32>,
    /// A finalized ancestor of it; zero if there is none.
    pub finalized_block_hash: Fixed<32>,
}

/// `PayloadAttributesV1` to `PayloadAttributesV4`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "payload attributes")]
pub struct Attributes {
    /// Unix time of the block in seconds.
    pub timestamp: Number,
    /// Randomness of the beacon chain.
    pub prev_randao: Fixed<32>,
    /// Beneficiary of fees.
    pub suggested_fee_recipient: Fixed<20>,
    /// From version 2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// From version 3 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_beacon_block_root: Option<Fixed<32>>,
    /// From version 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_number: Option<Number>,
    /// From version 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_gas_limit: Option<Number>,
}

/// The version of `engine_forkchoiceUpdated` that takes attributes of a fork.
pub const fn attributes_version(fork: Fork) -> u8 {
    match fork {
        Fork::Shanghai => 2,
        Fork::Cancun | Fork::Prague | Fork::Osaka => 3,
        Fork::Amsterdam => 4,
        _ => 1,
    }
}

impl Attributes {
    /// Checks that the attributes have the fields of a version; `fork` is that of their timestamp. Version 2 takes
    /// attributes of Paris, too.
    ///
    /// # Errors
    /// -38003: a field is missing, or is not one of the version; -38005: the fork is not the version's.
    pub fn check_fields(&self, version: u8, fork: Fork) -> Result<(), RpcError> {
        let needs = attributes_version(fork);
        let expect = |name: &str, present: bool, expected: bool| {
            let what = if expected { "lack" } else { "have" };
            let message = format!("Invalid payload attributes: they {what} the field {name}");
            if present == expected { Ok(()) } else { Err(RpcError::new(code::ATTRIBUTES, message)) }
        };
        let has_withdrawals = self.withdrawals.is_some();
        let wants_withdrawals = match version {
            1 => false,
            2 => {
                if needs > 2 {
                    has_withdrawals
                } else {
                    needs == 2
                }
            }
            _ => true,
        };
        expect("withdrawals", has_withdrawals, wants_withdrawals)?;
        expect("parentBeaconBlockRoot", self.parent_beacon_block_root.is_some(), version >= 3)?;
        expect("slotNumber", self.slot_number.is_some(), version >= 4)?;
        expect("targetGasLimit", self.target_gas_limit.is_some(), version >= 4)?;
        if needs == version || (version == 2 && needs == 1) {
            return Ok(());
        }
        let message = format!("Unsupported fork: the timestamp of the attributes is of {}", fork.name());
        Err(RpcError::new(code::FORK, message))
    }
}
