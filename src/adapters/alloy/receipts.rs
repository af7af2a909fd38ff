//! Receipts: `ReceiptEnvelope`s from the columns of an outcome, and encoded receipts from envelopes.

use crate::arena::{Id, TxIndex};
use crate::exec::wire::{LogRef, ReceiptList, ReceiptLogs, ReceiptOutcome};
use crate::executor::BlockOutcome;
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_primitives::{B256, Bloom, Bytes, Log};
use alloy_rlp::{Decodable, Header};

impl BlockOutcome {
    /// The receipts. Logs come from the columns; status, gas and bloom are copied out of the encoded receipts.
    pub fn to_receipts(&self) -> Vec<ReceiptEnvelope> {
        (0..self.receipts.len()).map(TxIndex::new).map(|tx| self.receipt(tx)).collect()
    }

    fn receipt(&self, tx: TxIndex) -> ReceiptEnvelope {
        let frame = Frame::read(self.receipts.encoded(tx)).expect("encoded by `ReceiptList::push`");
        let log = |(address, topics, data): (&_, &[B256], &[u8])| {
            Log::new_unchecked(*address, topics.to_vec(), Bytes::copy_from_slice(data))
        };
        let receipt = Receipt {
            status: frame.status,
            cumulative_gas_used: frame.cumulative_gas_used,
            logs: self.logs.of(tx).map(log).collect(),
        };
        ReceiptEnvelope::from_typed(frame.tx_type, ReceiptWithBloom::new(receipt, frame.bloom))
    }
}

/// The parts of a receipt besides its logs.
struct Frame {
    tx_type: TxType,
    status: Eip658Value,
    cumulative_gas_used: u64,
    bloom: Bloom,
}

impl Frame {
    fn read(encoded: &[u8]) -> Option<Self> {
        let (tx_type, mut list) = match encoded {
            [tx_type @ ..0x80, rest @ ..] => (*tx_type, rest),
            legacy => (0, legacy),
        };
        let mut payload = Header::decode_bytes(&mut list, true).ok()?;
        let status = match Header::decode_bytes(&mut payload, false).ok()? {
            [] => Eip658Value::Eip658(false),
            [1] => Eip658Value::Eip658(true),
            root => Eip658Value::PostState(B256::try_from(root).ok()?),
        };
        let cumulative_gas_used = u64::decode(&mut payload).ok()?;
        let bloom = Bloom::decode(&mut payload).ok()?;
        Some(Self { tx_type: TxType::try_from(tx_type).ok()?, status, cumulative_gas_used, bloom })
    }
}

impl From<&[ReceiptEnvelope]> for ReceiptList {
    /// Encodes the receipts; blooms are computed from the logs.
    fn from(receipts: &[ReceiptEnvelope]) -> Self {
        let logs_of = |row: usize| {
            receipts[row].logs().iter().map(|log| LogRef {
                address: &log.address,
                topics: log.data.topics(),
                data: &log.data.data,
            })
        };
        let logs = ReceiptLogs::of(receipts.len(), logs_of);
        let mut list = Self::default();
        for (row, receipt) in receipts.iter().enumerate() {
            let status = match receipt.as_receipt().map(|receipt| receipt.status) {
                Some(Eip658Value::PostState(root)) => ReceiptOutcome::StateRoot(root),
                _ => ReceiptOutcome::Status(receipt.is_success()),
            };
            list.push(receipt.tx_type() as u8, status, receipt.cumulative_gas_used(), logs.row(row));
        }
        list
    }
}
