//! Receipts in their EIP-2718 encoding.
//!
//! In: outcome, gas and logs of each transaction. Out: `ReceiptLogs`, the parts that depend on
//! the logs alone, which can be computed for transactions in any order; [`ReceiptList`], all
//! encodings in block order in one buffer, and the block's bloom.
//! Spec: Yellow Paper 4.3.1, EIP-658 (status), EIP-2718.
//! Not here: the receipt trie.

use super::bloom::blooms;
use super::transaction::tx_type;
use crate::arena::{Id, Offsets, TxIndex};
use alloy_primitives::{Address, B256, Bloom};
use alloy_rlp::{Encodable, Header, length_of_length};

/// The outcome of a transaction in its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// From Byzantium on (EIP-658): whether the transaction succeeded.
    Status(bool),
    /// Before Byzantium: the state root after the transaction.
    StateRoot(B256),
}

/// One log, borrowed from the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRef<'a> {
    /// Address of the contract that emitted the log.
    pub address: &'a Address,
    /// At most four topics.
    pub topics: &'a [B256],
    /// Unindexed data.
    pub data: &'a [u8],
}

impl<'a> From<(&'a Address, &'a [B256], &'a [u8])> for LogRef<'a> {
    fn from((address, topics, data): (&'a Address, &'a [B256], &'a [u8])) -> Self {
        Self { address, topics, data }
    }
}

impl LogRef<'_> {
    fn payload_length(&self) -> usize {
        let topics_len = 33 * self.topics.len();
        21 + topics_len + length_of_length(topics_len) + self.data.length()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        Header { list: true, payload_length: self.payload_length() }.encode(out);
        self.address.encode(out);
        Header { list: true, payload_length: 33 * self.topics.len() }.encode(out);
        for topic in self.topics {
            topic.encode(out);
        }
        self.data.encode(out);
    }
}

/// Appends the RLP of a list of logs.
pub fn encode_logs<'a>(logs: impl Iterator<Item = LogRef<'a>> + Clone, out: &mut Vec<u8>) {
    Header { list: true, payload_length: logs_length(logs.clone()) }.encode(out);
    logs.for_each(|log| log.encode(out));
}

/// Length in bytes of the RLP of logs, without the list's header.
fn logs_length<'a>(logs: impl Iterator<Item = LogRef<'a>>) -> usize {
    logs.map(|log| log.payload_length()).map(|len| len + length_of_length(len)).sum()
}

/// The parts of some transactions' receipts that depend on the logs: per transaction the bloom and
/// the RLP of the list of logs.
#[derive(Clone, Debug, Default)]
pub struct ReceiptLogs {
    blooms: Vec<Bloom>,
    bytes: Vec<u8>,
    encoded: Offsets<TxIndex>,
}

impl ReceiptLogs {
    /// Encodes the logs of `count` transactions; `logs_of` returns the logs of each.
    pub fn of<'a, L>(count: usize, logs_of: impl Fn(usize) -> L) -> Self
    where
        L: Iterator<Item = LogRef<'a>> + Clone,
    {
        let blooms = blooms(count, |row| logs_of(row).map(|log| (log.address, log.topics)));
        let len = |row| {
            let payload = logs_length(logs_of(row));
            payload + length_of_length(payload)
        };
        let mut bytes = Vec::with_capacity((0..count).map(len).sum());
        let mut encoded = Offsets::with_capacity(count);
        for row in 0..count {
            encode_logs(logs_of(row), &mut bytes);
            encoded.close(bytes.len());
        }
        Self { blooms, bytes, encoded }
    }

    /// Bloom and RLP of the logs of transaction `row`.
    pub fn row(&self, row: usize) -> (&Bloom, &[u8]) {
        (&self.blooms[row], &self.bytes[self.encoded.range(TxIndex::new(row))])
    }
}

/// The receipts of a block, encoded one after another in a reusable buffer.
#[derive(Clone, Debug, Default)]
pub struct ReceiptList {
    bytes: Vec<u8>,
    encoded: Offsets<TxIndex>,
    bloom: Bloom,
}

impl ReceiptList {
    /// An empty list with capacity for `count` receipts whose encoded logs take `bytes` bytes.
    pub fn with_room_for(count: usize, bytes: usize) -> Self {
        /// Maximum bytes of a receipt without its logs.
        const FRAME: usize = 320;
        Self {
            bytes: Vec::with_capacity(bytes + count * FRAME),
            encoded: Offsets::with_capacity(count),
            bloom: Bloom::ZERO,
        }
    }

    /// Encodes the next transaction's receipt and adds its logs to the block's bloom.
    ///
    /// `cumulative_gas_used` is the gas paid for by all transactions up to this one; the last
    /// argument is a row of `ReceiptLogs`.
    pub fn push(
        &mut self,
        tx_type: u8,
        outcome: ReceiptOutcome,
        cumulative_gas_used: u64,
        (bloom, logs): (&Bloom, &[u8]),
    ) {
        self.bloom.accrue_bloom(bloom);
        let out = &mut self.bytes;
        if tx_type != tx_type::LEGACY {
            out.push(tx_type);
        }
        let outcome_len = match outcome {
            ReceiptOutcome::Status(_) => 1,
            ReceiptOutcome::StateRoot(_) => 33,
        };
        let payload_length = outcome_len + cumulative_gas_used.length() + bloom.length() + logs.len();
        Header { list: true, payload_length }.encode(out);
        match outcome {
            ReceiptOutcome::Status(success) => success.encode(out),
            ReceiptOutcome::StateRoot(root) => root.encode(out),
        }
        cumulative_gas_used.encode(out);
        bloom.encode(out);
        out.extend_from_slice(logs);
        self.encoded.close(self.bytes.len());
    }

    /// Appends the receipts of `others`, in order, which follow these in the block.
    pub fn extend(&mut self, others: &[Self]) {
        self.bytes.reserve(others.iter().map(|other| other.bytes.len()).sum());
        for other in others {
            let base = self.bytes.len();
            self.bytes.extend_from_slice(&other.bytes);
            for tx in 0..other.len() {
                self.encoded.close(base + other.encoded.range(TxIndex::new(tx)).end);
            }
            self.bloom.accrue_bloom(&other.bloom);
        }
    }

    /// Union of the blooms of all receipts: the required value of the header's `logs_bloom`.
    pub fn bloom(&self) -> &Bloom {
        &self.bloom
    }

    /// EIP-2718 encoding of one receipt: the value in the receipt trie.
    pub fn encoded(&self, tx: TxIndex) -> &[u8] {
        &self.bytes[self.encoded.range(tx)]
    }

    /// All encodings in block order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|tx| self.encoded(TxIndex::new(tx)))
    }

    /// Number of receipts.
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Whether there is no receipt.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Removes all receipts and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.encoded.clear();
        self.bloom = Bloom::ZERO;
    }
}
