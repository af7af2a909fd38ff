//! What a transition writes: the result, the state after it, the included transactions, counts of instructions.
//!
//! In: the library's [`Transition`]. Out: JSON in the form of go-ethereum's `evm t8n`.
//! Not here: where the JSON goes (`mod`, `server`).

use super::input::Task;
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use balustrade::arena::{Id, TxIndex};
use balustrade::errors::TxInvalid;
use balustrade::exec::interpreter::opcode;
use balustrade::exec::interpreter::profile::WorkerProfile;
use balustrade::exec::tx::effective_gas_price;
use balustrade::exec::wire::{Block, LogRef, ReceiptLogs};
use balustrade::executor::{Rejection, Transition};
use balustrade::{Fork, InvalidBlock, KECCAK_EMPTY, MemoryStore};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Stands for the block's hash in receipts and logs, as go-ethereum has it: the hash is not known here.
const BLOCK_HASH: B256 = {
    let mut hash = [0; 32];
    (hash[0], hash[1]) = (0x13, 0x37);
    B256::new(hash)
};

/// A number as hex without leading zeros.
#[derive(Clone, Copy, Debug)]
pub struct Hex(U256);

impl From<u64> for Hex {
    fn from(number: u64) -> Self {
        Self(U256::from(number))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// The part `result`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    state_root: B256,
    tx_root: B256,
    receipts_root: B256,
    logs_hash: B256,
    logs_bloom: Bloom,
    receipts: Vec<Receipt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedTx>,
    current_difficulty: Option<Hex>,
    gas_used: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_base_fee: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals_root: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_excess_blob_gas: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_hash: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Vec<Bytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_access_list: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_access_list_hash: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_exception: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    r#type: Hex,
    /// The state root after the transaction before Byzantium, else `0x`.
    root: Bytes,
    status: Hex,
    cumulative_gas_used: Hex,
    logs_bloom: Bloom,
    logs: Vec<Log>,
    transaction_hash: B256,
    contract_address: Address,
    gas_used: Hex,
    effective_gas_price: Hex,
    block_hash: B256,
    transaction_index: Hex,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: Hex,
    transaction_hash: B256,
    transaction_index: Hex,
    block_hash: B256,
    log_index: Hex,
    removed: bool,
}

#[derive(Debug, Serialize)]
struct RejectedTx {
    index: usize,
    error: String,
}

impl Outcome {
    /// The result of a transition; `block` is its decoded block.
    pub fn of(task: &Task, transition: &Transition, block: &Block) -> Self {
        let header = &transition.header;
        let since = |fork: Fork| task.rules.fork >= fork;
        let requests = || transition.requests.iter().map(|request| request.clone().into()).collect();
        let rejected = transition.rejected.iter();
        Self {
            state_root: header.state_root,
            tx_root: header.transactions_root,
            receipts_root: header.receipts_root,
            logs_hash: transition.logs_hash,
            logs_bloom: header.logs_bloom,
            receipts: receipts(transition, block),
            rejected: rejected.map(|tx| RejectedTx { index: tx.index, error: rejection(&tx.reason) }).collect(),
            current_difficulty: (!since(Fork::Paris)).then_some(Hex(header.difficulty)),
            gas_used: header.gas_used.into(),
            current_base_fee: header.base_fee.map(Hex::from),
            withdrawals_root: header.withdrawals_root,
            current_excess_blob_gas: header.excess_blob_gas.map(Hex::from),
            blob_gas_used: header.blob_gas_used.map(Hex::from),
            requests_hash: header.requests_hash,
            requests: since(Fork::Prague).then(requests),
            block_access_list: since(Fork::Amsterdam).then(|| transition.bal.clone()),
            block_access_list_hash: header.block_access_list_hash,
            block_exception: transition.fault.as_deref().map(exception),
        }
    }
}

fn receipts(transition: &Transition, block: &Block) -> Vec<Receipt> {
    let count = transition.transactions.len();
    let logs_of = |tx: usize| transition.logs.of(TxIndex::new(tx));
    let blooms = ReceiptLogs::of(count, |tx| logs_of(tx).map(LogRef::from));
    let base_fee = transition.header.base_fee.unwrap_or_default();
    let block_number = Hex::from(transition.header.number);
    let mut hashes = Vec::new();
    block.transactions.hashes(0..count, &mut hashes, &balustrade::arena::keccak::keccak256_many);
    let (mut cumulative_gas_used, mut log_index) = (0u64, 0u64);
    let mut rows = Vec::with_capacity(count);
    for (tx, outcome) in transition.transactions.iter().enumerate() {
        let row = block.transactions.row(TxIndex::new(tx));
        cumulative_gas_used = cumulative_gas_used.saturating_add(outcome.gas_paid);
        let (transaction_hash, transaction_index) = (hashes[tx], Hex::from(tx as u64));
        let log = |(address, topics, data): (&Address, &[B256], &[u8])| {
            log_index += 1;
            Log {
                address: *address,
                topics: topics.to_vec(),
                data: Bytes::copy_from_slice(data),
                block_number,
                transaction_hash,
                transaction_index,
                block_hash: BLOCK_HASH,
                log_index: Hex::from(log_index - 1),
                removed: false,
            }
        };
        rows.push(Receipt {
            r#type: Hex::from(u64::from(row.tx_type)),
            root: transition.receipt_roots.as_ref().map_or_else(Bytes::new, |roots| roots[tx].into()),
            status: Hex::from(u64::from(outcome.success)),
            cumulative_gas_used: cumulative_gas_used.into(),
            logs_bloom: *blooms.row(tx).0,
            logs: logs_of(tx).map(log).collect(),
            transaction_hash,
            contract_address: outcome.created.unwrap_or_default(),
            gas_used: outcome.gas_paid.into(),
            effective_gas_price: Hex(U256::from(effective_gas_price(row, base_fee))),
            block_hash: BLOCK_HASH,
            transaction_index,
        });
    }
    rows
}

/// The text of a rejection: go-ethereum's words, by which the exception mapper of execution-specs knows it, then ours.
fn rejection(reason: &Rejection) -> String {
    match reason {
        Rejection::Invalid(fault) => format!("{}: {fault}", geth_words(fault)),
        _ => reason.to_string(),
    }
}

/// What go-ethereum says about a transaction that breaks this rule.
fn geth_words(fault: &TxInvalid) -> &'static str {
    match fault {
        TxInvalid::TypeNotInFork(_) => "transaction type not supported",
        TxInvalid::InvalidSignature => "invalid transaction v, r, s values",
        TxInvalid::ChainId(_) => "invalid chain id for signer",
        TxInvalid::GasLimitMax { .. } => "transaction gas limit too high",
        TxInvalid::IntrinsicGas { .. } => "intrinsic gas too low",
        TxInvalid::FloorGas { .. } => "insufficient gas for floor data gas cost",
        TxInvalid::PriorityFeeAboveCap => "max priority fee per gas higher than max fee per gas",
        TxInvalid::FeeCapBelowBaseFee => "max fee per gas less than block base fee",
        TxInvalid::InitcodeSize(_) => "max initcode size exceeded",
        TxInvalid::NonceTooLow { .. } => "nonce too low",
        TxInvalid::NonceTooHigh { .. } => "nonce too high",
        TxInvalid::NonceMax => "nonce has max value",
        TxInvalid::SenderNotEoa => "sender not an eoa",
        TxInvalid::InsufficientFunds => "insufficient funds for gas * price + value",
        TxInvalid::NoBlobs => "blob transaction missing blob hashes",
        TxInvalid::TooManyBlobs(_) => "blob transaction has too many blobs",
        TxInvalid::BlobVersion => "blob has invalid hash version",
        TxInvalid::BlobFeeCap => "max fee per blob gas less than block blob gas fee",
        TxInvalid::CannotCreate(3) => "input string too short for common.Address, decoding into (types.BlobTx).To",
        TxInvalid::CannotCreate(_) => "input string too short for common.Address, decoding into (types.SetCodeTx).To",
        TxInvalid::NoAuthorizations => "EIP-7702 transaction with empty auth list",
        TxInvalid::GasAllowance(_) => "gas limit reached",
        TxInvalid::BlobAllowance => "blob gas would exceed maximum allowance",
        _ => "invalid transaction",
    }
}

/// The text of a fault of the whole block, again with go-ethereum's words first.
fn exception(fault: &InvalidBlock) -> String {
    let words = match fault {
        InvalidBlock::SystemContractEmpty(_) | InvalidBlock::SystemCallFailed(_) => "system call failed to execute",
        InvalidBlock::DepositLog(_) => "failed to parse deposit logs",
        InvalidBlock::Bal(_) => "invalid block access list",
        _ => "invalid block",
    };
    format!("{words}: {fault}")
}

/// A whole state as JSON, sorted by address and by slot.
#[derive(Debug)]
pub struct Alloc<'a>(pub &'a MemoryStore);

impl Serialize for Alloc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Account<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<&'a Bytes>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            storage: BTreeMap<B256, B256>,
            balance: Hex,
            #[serde(skip_serializing_if = "Option::is_none")]
            nonce: Option<Hex>,
        }
        let Self(store) = self;
        let mut accounts: Vec<_> = store.iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| **address);
        let mut map = serializer.serialize_map(Some(accounts.len()))?;
        for (address, account) in accounts {
            let slot = |(key, value): (&U256, &U256)| (B256::from(*key), B256::from(*value));
            let code = (account.code_hash != KECCAK_EMPTY).then(|| store.code(&account.code_hash)).flatten();
            map.serialize_entry(
                address,
                &Account {
                    code,
                    storage: account.storage.iter().map(slot).collect(),
                    balance: Hex(account.balance),
                    nonce: (account.nonce > 0).then_some(account.nonce.into()),
                },
            )?;
        }
        map.end()
    }
}

/// The RLP of a list of the included transactions.
pub fn body(block: &Block) -> Bytes {
    let mut items = Vec::new();
    for tx in 0..block.transactions.len() {
        match block.transactions.encoded(TxIndex::new(tx)) {
            legacy @ [0xc0..=0xff, ..] => items.extend_from_slice(legacy),
            typed => alloy_rlp::Encodable::encode(typed, &mut items),
        }
    }
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: items.len() }.encode(&mut out);
    out.extend_from_slice(&items);
    out.into()
}

/// How often each instruction ran, by its name; an undefined one by its number as hex. The end of a code counts for none,
/// as in the executable specification.
pub fn opcode_counts(profiles: &[WorkerProfile]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for number in 0..=u8::MAX {
        let mut count = profiles.iter().map(|profile| profile.opcodes.rows()[usize::from(number)].count).sum::<u64>();
        if number == opcode::op::STOP {
            count -= profiles.iter().map(|profile| profile.opcodes.implicit_stops()).sum::<u64>();
        }
        if count > 0 {
            let name = opcode::name(number).map_or_else(|| format!("{number:#04x}"), str::to_owned);
            counts.insert(name, count);
        }
    }
    counts
}
