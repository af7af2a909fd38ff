//! Signers: who signed each transaction and each authorization; all known beforehand, or batch by batch.
//!
//! Tasks may begin before the last batch is recovered: whoever asks for a signer waits, asleep, for its batch alone.
//! Nobody is stuck: a batch is filled by whoever took it, who waits for nothing meanwhile.
//! Not here: recovery, and who takes which batch (the library's entry point).

use crate::arena::{Id, TxIndex};
use alloy_primitives::Address;
use core::ops::Range;
use std::sync::OnceLock;

/// Signers of a block, `None` for each invalid signature.
#[derive(Clone, Copy, Debug)]
pub enum SenderRows<'b> {
    /// All of them.
    Known {
        /// By transaction.
        senders: &'b [Option<Address>],
        /// By authorization, all transactions in a row.
        authorities: &'b [Option<Address>],
    },
    /// They are being recovered.
    Arriving(&'b SignerBatches),
}

impl<'b> SenderRows<'b> {
    /// Who signed a transaction, awaited if need be.
    #[inline]
    pub fn sender(&self, tx: TxIndex) -> Option<Address> {
        match self {
            Self::Known { senders, .. } => senders[tx.index()],
            Self::Arriving(batches) => batches.sender(tx),
        }
    }

    /// Who signed these authorizations, awaited if need be.
    #[inline]
    pub fn authorities(&self, rows: Range<usize>) -> &'b [Option<Address>] {
        match self {
            Self::Known { authorities, .. } => &authorities[rows],
            Self::Arriving(_) if rows.is_empty() => &[],
            Self::Arriving(batches) => &batches.authorities()[rows],
        }
    }
}

/// Signers that arrive in batches: senders each with their batch, authorities all at once.
#[derive(Debug)]
pub struct SignerBatches {
    /// Transactions per batch.
    batch_len: usize,
    senders: Vec<OnceLock<Vec<Option<Address>>>>,
    authorities: OnceLock<Vec<Option<Address>>>,
}

impl SignerBatches {
    /// None of the signers of `tx_count` transactions, to come in batches of `batch_len`.
    pub fn new(tx_count: usize, batch_len: usize) -> Self {
        let senders = (0..tx_count.div_ceil(batch_len)).map(|_| OnceLock::new()).collect();
        Self { batch_len, senders, authorities: OnceLock::new() }
    }

    /// The senders of one batch are there.
    pub fn set_senders(&self, batch: usize, senders: Vec<Option<Address>>) {
        let _ = self.senders[batch].set(senders);
    }

    /// All authorities are there.
    pub fn set_authorities(&self, authorities: Vec<Option<Address>>) {
        let _ = self.authorities.set(authorities);
    }

    fn sender(&self, tx: TxIndex) -> Option<Address> {
        let (batch, place) = (tx.index() / self.batch_len, tx.index() % self.batch_len);
        self.senders[batch].wait()[place]
    }

    fn authorities(&self) -> &[Option<Address>] {
        self.authorities.wait()
    }

    /// Senders and authorities, when all batches are there; those of a batch that is not are left out.
    pub fn into_signers(self) -> (Vec<Option<Address>>, Vec<Option<Address>>) {
        let senders = self.senders.into_iter().filter_map(OnceLock::into_inner).flatten().collect();
        (senders, self.authorities.into_inner().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_waits_for_the_batch_of_that_signer_alone() {
        let batches = SignerBatches::new(5, 2);
        let signer = |byte| Some(Address::repeat_byte(byte));
        batches.set_senders(1, vec![signer(3), None]);
        let rows = SenderRows::Arriving(&batches);
        assert_eq!((rows.sender(TxIndex(2)), rows.sender(TxIndex(3))), (signer(3), None));
        assert!(rows.authorities(0..0).is_empty());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (rows.sender(TxIndex(4)), rows.authorities(1..2)[0]));
            batches.set_senders(2, vec![signer(5)]);
            batches.set_authorities(vec![None, signer(7)]);
            assert_eq!(waiting.join().ok(), Some((signer(5), signer(7))));
        });
        assert_eq!(batches.into_signers(), (vec![signer(3), None, signer(5)], vec![None, signer(7)]));
    }
}
