//! Types of alloy: `alloy_consensus::{Header, Block<TxEnvelope>, ReceiptEnvelope}`, `alloy_eip7928::BlockAccessList`,
//! `alloy_eips::eip7685::Requests`.
//!
//! In: columns. Out: rows, made field by field; nothing is encoded and decoded again. In the other direction blocks and
//! lists become RLP, which is what the executor takes.

mod block;
mod header;
mod list;
mod receipts;

use crate::executor::BlockOutcome;
use alloy_eips::eip7685::Requests;

impl From<&BlockOutcome> for Requests {
    fn from(outcome: &BlockOutcome) -> Self {
        outcome.to_requests()
    }
}

impl BlockOutcome {
    /// The requests, type byte first (EIP-7685).
    pub fn to_requests(&self) -> Requests {
        Requests::from_requests(self.requests.iter().cloned())
    }
}
