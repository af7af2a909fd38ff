//! Blocks: from the columns of the decoder to `Block<TxEnvelope>`, and from there to an input of the executor.
//!
//! Transaction hashes are not computed: alloy does it when they are asked for.

use crate::arena::{Id, TxIndex};
use crate::exec::rules::fork::ChainRules;
use crate::exec::wire::{Block, Transaction, Transactions, WireError, tx_type};
use crate::executor::BlockInput;
use alloy_consensus::transaction::TxEip4844Variant;
use alloy_consensus::{
    Block as AlloyBlock, BlockBody, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, TxKind};

impl<'a> BlockInput<'a> {
    /// A block of alloy's types, encoded; without a list, whose parent is not at hand. Sidecars of blob transactions are
    /// left out, as they are no part of a block.
    pub fn from_alloy(rules: &'a ChainRules, block: &AlloyBlock<TxEnvelope>) -> Self {
        let has_sidecar = |tx: &TxEnvelope| matches!(tx, TxEnvelope::Eip4844(tx) if tx.tx().sidecar().is_some());
        let encoded = if block.body.transactions.iter().any(has_sidecar) {
            alloy_rlp::encode(block.clone().map_transactions(without_sidecar))
        } else {
            alloy_rlp::encode(block)
        };
        Self::new(rules, encoded.into())
    }
}

fn without_sidecar(tx: TxEnvelope) -> TxEnvelope {
    match tx {
        TxEnvelope::Eip4844(tx) => {
            let (tx, signature, hash) = tx.into_parts();
            let tx = TxEip4844Variant::TxEip4844(tx.into());
            TxEnvelope::Eip4844(Signed::new_unchecked(tx, signature, hash))
        }
        tx => tx,
    }
}

impl TryFrom<&BlockInput<'_>> for AlloyBlock<TxEnvelope> {
    type Error = WireError;

    /// Decodes the block into columns and makes rows of them.
    fn try_from(input: &BlockInput<'_>) -> Result<Self, WireError> {
        Block::decode(input.block.clone()).map(|block| rows(&block))
    }
}

fn rows(block: &Block) -> AlloyBlock<TxEnvelope> {
    let transactions = &block.transactions;
    let withdrawal = |row: &crate::exec::wire::Withdrawal| Withdrawal {
        index: row.index,
        validator_index: row.validator_index,
        address: row.address,
        amount: row.amount_gwei,
    };
    let body = BlockBody {
        transactions: (0..transactions.len()).map(|tx| transaction(transactions, TxIndex::new(tx))).collect(),
        ommers: block.ommers.iter().map(Into::into).collect(),
        withdrawals: block.withdrawals.as_ref().map(|rows| Withdrawals::new(rows.iter().map(withdrawal).collect())),
    };
    AlloyBlock { header: (&block.header).into(), body }
}

fn transaction(transactions: &Transactions, tx: TxIndex) -> TxEnvelope {
    let row: &Transaction = transactions.row(tx);
    let signature = Signature::new(row.r, row.s, row.y_parity);
    let input = transactions.input_bytes(tx);
    let kind = row.to.map_or(TxKind::Create, TxKind::Call);
    // The decoder requires both of the types that have them.
    let (chain_id, to) = (row.chain_id.unwrap_or_default(), row.to.unwrap_or(Address::ZERO));
    let (nonce, gas_limit, value) = (row.nonce, row.gas_limit, row.value);
    let (max_fee_per_gas, max_priority_fee_per_gas) = (row.max_fee_per_gas, row.max_priority_fee_per_gas);
    match row.tx_type {
        tx_type::ACCESS_LIST => {
            let access_list = access_list(transactions, tx);
            let gas_price = max_fee_per_gas;
            let tx = TxEip2930 { chain_id, nonce, gas_price, gas_limit, to: kind, value, access_list, input };
            TxEnvelope::Eip2930(Signed::new_unhashed(tx, signature))
        }
        tx_type::DYNAMIC_FEE => {
            let tx = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: kind,
                value,
                access_list: access_list(transactions, tx),
                input,
            };
            TxEnvelope::Eip1559(Signed::new_unhashed(tx, signature))
        }
        tx_type::BLOB => {
            let tx = TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list: access_list(transactions, tx),
                blob_versioned_hashes: transactions.blob_hashes(tx).to_vec(),
                max_fee_per_blob_gas: row.max_fee_per_blob_gas,
                input,
            };
            TxEnvelope::Eip4844(Signed::new_unhashed(TxEip4844Variant::TxEip4844(tx), signature))
        }
        tx_type::SET_CODE => {
            let tx = TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list: access_list(transactions, tx),
                authorization_list: authorizations(transactions, tx),
                input,
            };
            TxEnvelope::Eip7702(Signed::new_unhashed(tx, signature))
        }
        _ => {
            let (chain_id, gas_price) = (row.chain_id, max_fee_per_gas);
            let tx = TxLegacy { chain_id, nonce, gas_price, gas_limit, to: kind, value, input };
            TxEnvelope::Legacy(Signed::new_unhashed(tx, signature))
        }
    }
}

fn access_list(transactions: &Transactions, tx: TxIndex) -> AccessList {
    let entries = transactions.access_list(tx).map(|(address, keys)| AccessListItem {
        address: *address,
        storage_keys: keys.iter().map(|key| B256::from(*key)).collect(),
    });
    AccessList(entries.collect())
}

fn authorizations(transactions: &Transactions, tx: TxIndex) -> Vec<SignedAuthorization> {
    let rows = transactions.authorizations(tx).iter().map(|row| {
        let inner = Authorization { chain_id: row.chain_id, address: row.address, nonce: row.nonce };
        SignedAuthorization::new_unchecked(inner, row.y_parity, row.r, row.s)
    });
    rows.collect()
}
