//! Receipts in their EIP-2718 encoding.
//!
//! In: outcome, gas and logs of each transaction in block order. Out: [`ReceiptList`]: all encodings in one buffer, the
//! block's bloom. Spec: yellow paper 4.3.1, EIP-658 (status), EIP-2718. Not here: the receipt trie.

use super::bloom::BloomBuilder;
use super::transaction::tx_type;
use crate::arena::{Id, Offsets, TxIndex};
use alloy_primitives::{Address, B256, Bloom};
use alloy_rlp::{Encodable, Header, length_of_length};

/// How a transaction ended, as its receipt says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// Byzantium and later (EIP-658): whether it succeeded.
    Status(bool),
    /// Before Byzantium: the state root after the transaction.
    StateRoot(B256),
}

/// One log, borrowed from wherever the executor keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRef<'a> {
    /// Who logged.
    pub address: &'a Address,
    /// At most four.
    pub topics: &'a [B256],
    /// Free data.
    pub data: &'a [u8],
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

/// Length of the RLP of logs without the list's header.
fn logs_length<'a>(logs: impl Iterator<Item = LogRef<'a>>) -> usize {
    logs.map(|log| log.payload_length()).map(|len| len + length_of_length(len)).sum()
}

/// The receipts of a block, encoded one after another in a reused buffer.
#[derive(Clone, Debug, Default)]
pub struct ReceiptList {
    bytes: Vec<u8>,
    encoded: Offsets<TxIndex>,
    bloom: Bloom,
}

impl ReceiptList {
    /// Encodes the next transaction's receipt and adds its logs to the block's bloom.
    ///
    /// `cumulative_gas_used` is what all senders up to this one paid for.
    pub fn push<'a>(
        &mut self,
        tx_type: u8,
        outcome: ReceiptOutcome,
        cumulative_gas_used: u64,
        logs: impl Iterator<Item = LogRef<'a>> + Clone,
        blooms: &mut BloomBuilder,
    ) {
        let mut bloom = Bloom::ZERO;
        logs.clone().for_each(|log| blooms.accrue(&mut bloom, log.address, log.topics));
        let logs_len = logs_length(logs.clone());
        self.bloom.accrue_bloom(&bloom);

        let out = &mut self.bytes;
        if tx_type != tx_type::LEGACY {
            out.push(tx_type);
        }
        let outcome_len = match outcome {
            ReceiptOutcome::Status(_) => 1,
            ReceiptOutcome::StateRoot(_) => 33,
        };
        let payload_length =
            outcome_len + cumulative_gas_used.length() + bloom.length() + logs_len + length_of_length(logs_len);
        Header { list: true, payload_length }.encode(out);
        match outcome {
            ReceiptOutcome::Status(success) => success.encode(out),
            ReceiptOutcome::StateRoot(root) => root.encode(out),
        }
        cumulative_gas_used.encode(out);
        bloom.encode(out);
        encode_logs(logs, out);
        self.encoded.close(self.bytes.len());
    }

    /// Appends the receipts of `others`, which follow on these.
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

    /// Union of the blooms of all receipts: what the header's `logs_bloom` must be.
    pub fn bloom(&self) -> &Bloom {
        &self.bloom
    }

    /// EIP-2718 encoding of one receipt: the receipt trie's value.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Forgets all receipts and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.encoded.clear();
        self.bloom = Bloom::ZERO;
    }
}
