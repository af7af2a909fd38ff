//! Decoding of blocks from RLP into typed columns, and encoding of receipts and signing payloads.
//!
//! In: the RLP of a block, `[header, transactions, ommers, withdrawals?]`. Out: [`Block`], whose
//! variable-sized parts (calldata, access lists, authorizations) are ranges of the input or rows of
//! shared columns; also receipts, blooms and signing payloads, encoded.
//! Relies on: nothing but the bytes.
//! Not here: rules of a fork, recovery of senders, roots.

mod block;
mod bloom;
mod error;
mod header;
mod receipt;
mod rlp;
mod transaction;

pub use block::{Block, Withdrawal, assemble, assemble_with_ommers, assemble_with_withdrawals, header_alone};
pub use error::{Field, WireError, WireErrorKind};
pub use header::Header;
pub use receipt::{LogRef, ReceiptList, ReceiptLogs, ReceiptOutcome, encode_logs};
pub use rlp::Span;
pub use transaction::{AccessId, Authorization, HashBatch, SigningScratch, Transaction, Transactions, tx_type};

#[cfg(test)]
mod tests;
