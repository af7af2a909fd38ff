//! Transactions of a block: one row each; variable-sized parts in shared columns, calldata as
//! ranges of the input.
//!
//! In: the transaction list of a block, or one transaction in its EIP-2718 encoding. Out: [`Transactions`].
//! Spec: EIP-155, 2718, 2930, 1559, 4844 (without the blob sidecar), 7702.
//! Relies on: the signed fields are contiguous in the encoding, so a signing payload is
//! `[type] ‖ list header ‖ slice` (in legacy transactions with EIP-155 followed by the chain id and two empty
//! strings).
//! Not here: a fork's validity rules, recovery of senders.

use super::error::{Field, WireError, WireErrorKind as Kind};
use super::rlp::{Cursor, Span};
use crate::arena::{Id, Offsets, TxIndex};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Encodable;
use core::ops::Range;

/// EIP-2718 transaction types.
pub mod tx_type {
    /// Legacy transactions, from before EIP-2718: encoded without a type byte.
    pub const LEGACY: u8 = 0;
    /// EIP-2930: transactions with an access list.
    pub const ACCESS_LIST: u8 = 1;
    /// EIP-1559: maximum fee and priority fee.
    pub const DYNAMIC_FEE: u8 = 2;
    /// EIP-4844: blob transactions.
    pub const BLOB: u8 = 3;
    /// EIP-7702: transactions with an authorization list.
    pub const SET_CODE: u8 = 4;
}

/// A function that computes keccak256 of a batch of messages. Both slices have the same length.
pub type HashBatch<'a> = &'a (dyn Fn(&[&[u8]], &mut [B256]) + Sync);

/// Position of an entry (EIP-2930) among the access-list entries of all transactions of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessId(pub u32);

impl Id for AccessId {
    fn new(index: usize) -> Self {
        Self(index as u32)
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The fixed-size fields of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// One of [`tx_type`].
    pub tx_type: u8,
    /// The chain id; `None` for legacy signatures without EIP-155.
    pub chain_id: Option<u64>,
    /// The sender's nonce.
    pub nonce: u64,
    /// Gas limit of the transaction.
    pub gas_limit: u64,
    /// Maximum fee in wei per gas; the gas price of types 0 and 1.
    pub max_fee_per_gas: u128,
    /// Maximum priority fee in wei per gas; the gas price of types 0 and 1.
    pub max_priority_fee_per_gas: u128,
    /// Maximum fee in wei per blob gas; zero unless the type is 3.
    pub max_fee_per_blob_gas: u128,
    /// The recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Transferred value in wei.
    pub value: U256,
    /// Signature: parity of the y coordinate of the nonce point R.
    pub y_parity: bool,
    /// Signature: x coordinate of R; its range is not checked here.
    pub r: U256,
    /// Signature: s; its range is not checked here.
    pub s: U256,
    /// Calldata or initcode, as a range of the bytes.
    pub input: Span,
    /// EIP-2718 encoding as a range of the bytes: the value in the transaction trie, and the input
    /// of the transaction hash.
    pub encoded: Span,
    /// The signed fields, without a list header, as a range of the bytes.
    unsigned: Span,
}

/// One EIP-7702 authorization. Only the ranges required by the EIP's encoding are checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The chain id; zero: valid on every chain.
    pub chain_id: U256,
    /// The address to whose code the authority delegates.
    pub address: Address,
    /// Required nonce of the authority.
    pub nonce: u64,
    /// Parity of the y coordinate of R; with a value above one no authority can be recovered.
    pub y_parity: u8,
    /// Signature: x coordinate of R; its range is not checked here.
    pub r: U256,
    /// Signature: s; its range is not checked here.
    pub s: U256,
}

impl Authorization {
    /// Appends the signing payload `0x05 ‖ rlp([chain_id, address, nonce])` to `out`.
    pub fn signing_payload(&self, out: &mut Vec<u8>) {
        out.push(5);
        let payload_length = self.chain_id.length() + self.address.length() + self.nonce.length();
        alloy_rlp::Header { list: true, payload_length }.encode(out);
        self.chain_id.encode(out);
        self.address.encode(out);
        self.nonce.encode(out);
    }
}

/// All transactions of a block.
///
/// ```text
/// rows[tx] ─ fixed-size fields and ranges of `raw`
/// access_of_tx.range(tx) ─► access_addresses[..] ─ keys_of_access.range(entry) ─► access_keys[..]
/// blobs_of_tx.range(tx) ─► blob_hashes[..]      authorizations_of_tx.range(tx) ─► authorizations[..]
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    raw: Bytes,
    rows: Vec<Transaction>,
    access_of_tx: Offsets<TxIndex>,
    access_addresses: Vec<Address>,
    keys_of_access: Offsets<AccessId>,
    access_keys: Vec<U256>,
    blobs_of_tx: Offsets<TxIndex>,
    blob_hashes: Vec<B256>,
    authorizations_of_tx: Offsets<TxIndex>,
    authorizations: Vec<Authorization>,
}

/// Working memory of [`Transactions::signing_hashes`] and [`Transactions::authorization_hashes`],
/// for reuse.
#[derive(Clone, Debug, Default)]
pub struct SigningScratch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl SigningScratch {
    fn hash(&self, out: &mut Vec<B256>, hash_batch: HashBatch<'_>) {
        let mut start = 0;
        let messages: Vec<&[u8]> =
            self.ends.iter().map(|end| &self.bytes[core::mem::replace(&mut start, *end)..*end]).collect();
        let first = out.len();
        out.resize(first + messages.len(), B256::ZERO);
        hash_batch(&messages, &mut out[first..]);
    }
}

impl Transactions {
    /// Decodes one transaction in its EIP-2718 encoding.
    ///
    /// # Errors
    /// [`WireError`] with the first violated rule, its field and its byte offset.
    pub fn decode_one(raw: Bytes) -> Result<Self, WireError> {
        let mut transactions = Self { raw: raw.clone(), ..Self::default() };
        let mut at = Cursor::new(&raw, Field::Transaction)?;
        if at.next_is_list() {
            transactions.push_legacy(&mut at)?;
            at.finish(Field::Transaction)?;
        } else {
            transactions.push_typed(&raw, Span::new(0, raw.len()))?;
        }
        Ok(transactions)
    }

    /// Decodes the transaction list of a block; `raw` is the cursor's input.
    pub(super) fn read(outer: &mut Cursor<'_>, raw: &Bytes) -> Result<Self, WireError> {
        let mut at = outer.list(Field::TransactionList)?;
        let count = at.count(Field::Transaction)?;
        let mut transactions = Self {
            raw: raw.clone(),
            rows: Vec::with_capacity(count),
            access_of_tx: Offsets::with_capacity(count),
            blobs_of_tx: Offsets::with_capacity(count),
            authorizations_of_tx: Offsets::with_capacity(count),
            ..Self::default()
        };
        while !at.is_done() {
            if at.next_is_list() {
                transactions.push_legacy(&mut at)?;
            } else {
                let encoded = at.string(Field::Transaction)?;
                transactions.push_typed(raw, encoded)?;
            }
        }
        Ok(transactions)
    }

    fn push_legacy(&mut self, outer: &mut Cursor<'_>) -> Result<(), WireError> {
        let start = outer.offset();
        let mut at = outer.list(Field::Transaction)?;
        let unsigned_start = at.offset();
        let nonce = at.u64(Field::Nonce)?;
        let gas_price = at.u128(Field::GasPrice)?;
        let gas_limit = at.u64(Field::GasLimit)?;
        let to = recipient(&mut at)?;
        let value = at.u256(Field::Value)?;
        let input = at.string(Field::Input)?;
        let unsigned = Span::new(unsigned_start, at.offset());
        let v_error = at.error(Field::SignatureV, Kind::InvalidRecoveryValue);
        let v = at.u128(Field::SignatureV)?;
        let (y_parity, chain_id) = match v {
            27 | 28 => (v == 28, None),
            35.. => ((v - 35) % 2 == 1, Some(u64::try_from((v - 35) / 2).map_err(|_| v_error)?)),
            _ => return Err(v_error),
        };
        let r = at.u256(Field::SignatureR)?;
        let s = at.u256(Field::SignatureS)?;
        at.finish(Field::Transaction)?;
        self.close_ragged();
        self.rows.push(Transaction {
            tx_type: tx_type::LEGACY,
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: gas_price,
            max_priority_fee_per_gas: gas_price,
            max_fee_per_blob_gas: 0,
            to,
            value,
            y_parity,
            r,
            s,
            input,
            encoded: Span::new(start, outer.offset()),
            unsigned,
        });
        Ok(())
    }

    fn push_typed(&mut self, raw: &[u8], encoded: Span) -> Result<(), WireError> {
        let range = encoded.range();
        let fail = |kind| WireError { field: Field::Transaction, offset: range.start, kind };
        let tx_type = *raw[range.clone()].first().ok_or_else(|| fail(Kind::Truncated))?;
        if !(tx_type::ACCESS_LIST..=tx_type::SET_CODE).contains(&tx_type) {
            return Err(fail(Kind::UnknownTransactionType(tx_type)));
        }
        let mut outer = Cursor::within(raw, range.start + 1, range.end, Field::Transaction)?;
        let mut at = outer.list(Field::Transaction)?;
        outer.finish(Field::Transaction)?;

        let unsigned_start = at.offset();
        let chain_id = Some(at.u64(Field::ChainId)?);
        let nonce = at.u64(Field::Nonce)?;
        let (max_priority_fee_per_gas, max_fee_per_gas) = if tx_type == tx_type::ACCESS_LIST {
            let gas_price = at.u128(Field::GasPrice)?;
            (gas_price, gas_price)
        } else {
            (at.u128(Field::MaxPriorityFee)?, at.u128(Field::MaxFee)?)
        };
        let gas_limit = at.u64(Field::GasLimit)?;
        let missing_recipient = at.error(Field::To, Kind::MissingRecipient(tx_type));
        let to = recipient(&mut at)?;
        if to.is_none() && tx_type >= tx_type::BLOB {
            return Err(missing_recipient);
        }
        let value = at.u256(Field::Value)?;
        let input = at.string(Field::Input)?;
        self.read_access_list(&mut at)?;
        let max_fee_per_blob_gas = if tx_type == tx_type::BLOB { self.read_blobs(&mut at)? } else { 0 };
        if tx_type == tx_type::SET_CODE {
            self.read_authorizations(&mut at)?;
        }
        let unsigned = Span::new(unsigned_start, at.offset());
        let parity_error = at.error(Field::SignatureV, Kind::InvalidRecoveryValue);
        let y_parity = match at.u8(Field::SignatureV)? {
            0 => false,
            1 => true,
            _ => return Err(parity_error),
        };
        let r = at.u256(Field::SignatureR)?;
        let s = at.u256(Field::SignatureS)?;
        at.finish(Field::Transaction)?;
        self.close_ragged();
        self.rows.push(Transaction {
            tx_type,
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            max_fee_per_blob_gas,
            to,
            value,
            y_parity,
            r,
            s,
            input,
            encoded,
            unsigned,
        });
        Ok(())
    }

    fn read_access_list(&mut self, outer: &mut Cursor<'_>) -> Result<(), WireError> {
        let mut entries = outer.list(Field::AccessList)?;
        while !entries.is_done() {
            let mut entry = entries.list(Field::AccessList)?;
            self.access_addresses.push(entry.address(Field::AccessListAddress)?);
            let mut keys = entry.list(Field::AccessListKey)?;
            entry.finish(Field::AccessList)?;
            while !keys.is_done() {
                self.access_keys.push(U256::from_be_bytes(keys.hash(Field::AccessListKey)?.0));
            }
            self.keys_of_access.close(self.access_keys.len());
        }
        Ok(())
    }

    fn read_blobs(&mut self, outer: &mut Cursor<'_>) -> Result<u128, WireError> {
        let max_fee_per_blob_gas = outer.u128(Field::MaxFeePerBlobGas)?;
        let mut hashes = outer.list(Field::BlobHashes)?;
        while !hashes.is_done() {
            self.blob_hashes.push(hashes.hash(Field::BlobHashes)?);
        }
        Ok(max_fee_per_blob_gas)
    }

    fn read_authorizations(&mut self, outer: &mut Cursor<'_>) -> Result<(), WireError> {
        let mut entries = outer.list(Field::AuthorizationList)?;
        while !entries.is_done() {
            let mut entry = entries.list(Field::AuthorizationList)?;
            self.authorizations.push(Authorization {
                chain_id: entry.u256(Field::AuthorizationChainId)?,
                address: entry.address(Field::AuthorizationAddress)?,
                nonce: entry.u64(Field::AuthorizationNonce)?,
                y_parity: entry.u8(Field::AuthorizationParity)?,
                r: entry.u256(Field::AuthorizationR)?,
                s: entry.u256(Field::AuthorizationS)?,
            });
            entry.finish(Field::AuthorizationList)?;
        }
        Ok(())
    }

    fn close_ragged(&mut self) {
        self.access_of_tx.close(self.access_addresses.len());
        self.blobs_of_tx.close(self.blob_hashes.len());
        self.authorizations_of_tx.close(self.authorizations.len());
    }

    /// Number of transactions.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no transaction.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The transactions in block order.
    #[inline]
    pub fn rows(&self) -> &[Transaction] {
        &self.rows
    }

    /// The transaction at a position.
    ///
    /// # Panics
    /// When `tx` is not below [`Self::len`].
    #[inline]
    pub fn row(&self, tx: TxIndex) -> &Transaction {
        &self.rows[tx.index()]
    }

    /// Calldata or initcode.
    #[inline]
    pub fn input(&self, tx: TxIndex) -> &[u8] {
        &self.raw[self.row(tx).input.range()]
    }

    /// Calldata or initcode as a reference-counted slice of the block's bytes, without a copy.
    pub fn input_bytes(&self, tx: TxIndex) -> Bytes {
        self.raw.slice(self.row(tx).input.range())
    }

    /// EIP-2718 encoding: the value in the transaction trie; its keccak256 is the transaction hash.
    #[inline]
    pub fn encoded(&self, tx: TxIndex) -> &[u8] {
        &self.raw[self.row(tx).encoded.range()]
    }

    /// The transaction's access-list entries: each address with its storage keys.
    pub fn access_list(&self, tx: TxIndex) -> impl ExactSizeIterator<Item = (&Address, &[U256])> {
        self.access_of_tx.range(tx).map(|entry| {
            (&self.access_addresses[entry], &self.access_keys[self.keys_of_access.range(AccessId::new(entry))])
        })
    }

    /// Number of addresses and of storage keys in the transaction's access list, duplicates counted.
    pub fn access_list_counts(&self, tx: TxIndex) -> (usize, usize) {
        let Range { start, end } = self.access_of_tx.range(tx);
        if start == end {
            return (0, 0);
        }
        let first = self.keys_of_access.range(AccessId::new(start)).start;
        let last = self.keys_of_access.range(AccessId::new(end - 1)).end;
        (end - start, last - first)
    }

    /// Addresses of all access-list entries of the block, including duplicates.
    pub fn access_addresses(&self) -> &[Address] {
        &self.access_addresses
    }

    /// Storage keys of all access-list entries of the block, including duplicates.
    pub fn access_keys(&self) -> &[U256] {
        &self.access_keys
    }

    /// Versioned hashes of the transaction's blobs.
    #[inline]
    pub fn blob_hashes(&self, tx: TxIndex) -> &[B256] {
        &self.blob_hashes[self.blobs_of_tx.range(tx)]
    }

    /// Number of blobs in the block.
    #[inline]
    pub fn blob_count(&self) -> usize {
        self.blob_hashes.len()
    }

    /// The transaction's authorizations.
    #[inline]
    pub fn authorizations(&self, tx: TxIndex) -> &[Authorization] {
        &self.authorizations[self.authorizations_of_tx.range(tx)]
    }

    /// Rows of the transaction's authorizations in [`Self::all_authorizations`].
    #[inline]
    pub fn authorization_rows(&self, tx: TxIndex) -> Range<usize> {
        self.authorizations_of_tx.range(tx)
    }

    /// Authorizations of the whole block, in block order.
    #[inline]
    pub fn all_authorizations(&self) -> &[Authorization] {
        &self.authorizations
    }

    /// Appends the signing payload to `out`; its keccak256 is the signing hash.
    pub fn signing_payload(&self, tx: TxIndex, out: &mut Vec<u8>) {
        let row = self.row(tx);
        let unsigned = &self.raw[row.unsigned.range()];
        let chain_id = row.chain_id.filter(|_| row.tx_type == tx_type::LEGACY);
        if row.tx_type != tx_type::LEGACY {
            out.push(row.tx_type);
        }
        let payload_length = unsigned.len() + chain_id.map_or(0, |id| id.length() + 2);
        alloy_rlp::Header { list: true, payload_length }.encode(out);
        out.extend_from_slice(unsigned);
        if let Some(id) = chain_id {
            id.encode(out);
            out.extend_from_slice(&[alloy_rlp::EMPTY_STRING_CODE; 2]);
        }
    }

    /// Appends the transaction hashes of the transactions in `range` to `out`.
    pub fn hashes(&self, range: Range<usize>, out: &mut Vec<B256>, hash_batch: HashBatch<'_>) {
        let messages: Vec<&[u8]> = range.map(|tx| self.encoded(TxIndex::new(tx))).collect();
        let first = out.len();
        out.resize(first + messages.len(), B256::ZERO);
        hash_batch(&messages, &mut out[first..]);
    }

    /// Appends the signing hashes of the transactions in `range` to `out`.
    pub fn signing_hashes(
        &self,
        range: Range<usize>,
        scratch: &mut SigningScratch,
        out: &mut Vec<B256>,
        hash_batch: HashBatch<'_>,
    ) {
        scratch.bytes.clear();
        scratch.ends.clear();
        for tx in range {
            self.signing_payload(TxIndex::new(tx), &mut scratch.bytes);
            scratch.ends.push(scratch.bytes.len());
        }
        scratch.hash(out, hash_batch);
    }

    /// Appends the signing hashes of these rows of [`Self::all_authorizations`] to `out`.
    pub fn authorization_hashes(
        &self,
        rows: Range<usize>,
        scratch: &mut SigningScratch,
        out: &mut Vec<B256>,
        hash_batch: HashBatch<'_>,
    ) {
        scratch.bytes.clear();
        scratch.ends.clear();
        for authorization in &self.authorizations[rows] {
            authorization.signing_payload(&mut scratch.bytes);
            scratch.ends.push(scratch.bytes.len());
        }
        scratch.hash(out, hash_batch);
    }
}

/// The recipient: 20 bytes, or the empty string for a creation.
fn recipient(at: &mut Cursor<'_>) -> Result<Option<Address>, WireError> {
    let offset = at.offset();
    match at.bytes(Field::To)? {
        [] => Ok(None),
        bytes => <[u8; 20]>::try_from(bytes).map(|bytes| Some(Address::new(bytes))).map_err(|_| WireError {
            field: Field::To,
            offset,
            kind: Kind::WrongLength { expected: 20, found: bytes.len() },
        }),
    }
}
