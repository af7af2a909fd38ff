//! Decoding of a block: header, transactions, ommers, withdrawals.
//!
//! In: the block's RLP. Out: [`Block`], which holds the input, because its columns contain ranges
//! of it.
//! Spec: Yellow Paper 4.3, EIP-4895.
//! Not here: whether a fork requires or allows a part of the block.

use super::error::{Field, WireError};
use super::header::Header;
use super::rlp::{Cursor, Span};
use super::transaction::Transactions;
use crate::arena::keccak::keccak256;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::Encodable;

/// One EIP-4895 withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Number of the withdrawal, counted over all withdrawals of the chain.
    pub index: u64,
    /// Index of the validator.
    pub validator_index: u64,
    /// The credited address.
    pub address: Address,
    /// Amount in gwei.
    pub amount_gwei: u64,
    /// The withdrawal's RLP (the withdrawal trie's value) as a range of the block's bytes.
    pub encoded: Span,
}

/// A decoded block; its variable-sized parts are ranges of `raw`.
#[derive(Clone, Debug)]
pub struct Block {
    /// The block's RLP.
    pub raw: Bytes,
    /// The header.
    pub header: Header,
    /// keccak256 of the header's RLP: the block hash.
    pub header_hash: B256,
    /// The transactions.
    pub transactions: Transactions,
    /// Headers of the ommers; always empty since Paris.
    pub ommers: Vec<Header>,
    /// Withdrawals; `None` if the body has no such list (before Shanghai).
    pub withdrawals: Option<Vec<Withdrawal>>,
    ommers_encoded: Span,
}

impl Block {
    /// Decodes a block that fills `bytes` exactly. Calldata is not copied: the block shares `bytes`.
    ///
    /// # Errors
    /// [`WireError`] with the first violated rule, its field and its byte offset.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut outer = Cursor::new(&bytes, Field::Block)?;
        let mut at = outer.list(Field::Block)?;
        outer.finish(Field::Block)?;

        let header_start = at.offset();
        let header = Header::read(&mut at)?;
        let header_hash = keccak256(&bytes[header_start..at.offset()]);
        let transactions = Transactions::read(&mut at, &bytes)?;
        let ommers_start = at.offset();
        let mut list = at.list(Field::OmmerList)?;
        let mut ommers = Vec::new();
        while !list.is_done() {
            ommers.push(Header::read(&mut list)?);
        }
        let ommers_encoded = Span::new(ommers_start, at.offset());
        let withdrawals = if at.is_done() { None } else { Some(read_withdrawals(&mut at)?) };
        at.finish(Field::Block)?;
        Ok(Self { raw: bytes.clone(), header, header_hash, transactions, ommers, withdrawals, ommers_encoded })
    }

    /// Length of the block's RLP in bytes (limited by EIP-7934).
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.raw.len()
    }

    /// keccak256 of the ommer list's RLP: the required value of the header's `ommers_hash`.
    pub fn ommers_hash(&self) -> B256 {
        keccak256(&self.raw[self.ommers_encoded.range()])
    }

    /// RLP of the withdrawals in order: the values of the withdrawal trie.
    pub fn withdrawals_encoded(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.withdrawals.as_deref().unwrap_or_default().iter().map(|row| &self.raw[row.encoded.range()])
    }
}

/// Encodes a block without ommers from its header and its transactions in their EIP-2718 encoding.
/// It has an empty list of withdrawals if the header has a withdrawals root.
pub fn assemble<T: AsRef<[u8]>>(header: &Header, transactions: &[T]) -> Vec<u8> {
    assemble_with_withdrawals(header, transactions, &[])
}

/// Like [`assemble`], with withdrawals, given as RLP each. They are ignored if the header has no
/// withdrawals root.
pub fn assemble_with_withdrawals<T: AsRef<[u8]>>(
    header: &Header,
    transactions: &[T],
    withdrawals: &[Vec<u8>],
) -> Vec<u8> {
    assemble_with_ommers(header, transactions, &[], withdrawals)
}

/// Like [`assemble_with_withdrawals`], with ommers.
pub fn assemble_with_ommers<T: AsRef<[u8]>>(
    header: &Header,
    transactions: &[T],
    ommers: &[Header],
    withdrawals: &[Vec<u8>],
) -> Vec<u8> {
    let mut items = Vec::new();
    for transaction in transactions {
        match transaction.as_ref() {
            legacy @ [0xc0..=0xff, ..] => items.extend_from_slice(legacy),
            typed => typed.encode(&mut items),
        }
    }
    let mut payload = Vec::with_capacity(items.len() + 1_000);
    header.encode(&mut payload);
    put_list(&items, &mut payload);
    let mut headers = Vec::new();
    ommers.iter().for_each(|ommer| ommer.encode(&mut headers));
    put_list(&headers, &mut payload);
    if header.withdrawals_root.is_some() {
        put_list(&withdrawals.concat(), &mut payload);
    }
    let mut out = Vec::with_capacity(payload.len() + 5);
    put_list(&payload, &mut out);
    out
}

/// The RLP of a list that has only the header of a block: [`Header::of_block`] reads it, [`Block::decode`] does not.
pub fn header_alone(header: &Header) -> Vec<u8> {
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    header.encode(&mut payload);
    put_list(&payload, &mut out);
    out
}

fn put_list(payload: &[u8], out: &mut Vec<u8>) {
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

fn read_withdrawals(outer: &mut Cursor<'_>) -> Result<Vec<Withdrawal>, WireError> {
    let mut list = outer.list(Field::WithdrawalList)?;
    let mut rows = Vec::with_capacity(list.count(Field::Withdrawal)?);
    while !list.is_done() {
        let start = list.offset();
        let mut at = list.list(Field::Withdrawal)?;
        let row = Withdrawal {
            index: at.u64(Field::WithdrawalIndex)?,
            validator_index: at.u64(Field::WithdrawalValidator)?,
            address: at.address(Field::WithdrawalAddress)?,
            amount_gwei: at.u64(Field::WithdrawalAmount)?,
            encoded: Span::new(start, list.offset()),
        };
        at.finish(Field::Withdrawal)?;
        rows.push(row);
    }
    Ok(rows)
}
