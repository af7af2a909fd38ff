//! Sender rows: the sender of each transaction and the authority of each authorization of a block.
//!
//! In: recovered addresses, all at once or in batches. Out: senders by transaction, authorities by authorization.
//! Tasks may start before all batches are recovered: a task that needs an address sleeps until its batch is stored.
//! There is no deadlock: the thread that took a batch waits for nothing until it has stored it.
//! Not here: recovery (`recover_batch`), and which thread takes which batch (`executor`).

use super::candidates::Candidates;
use crate::arena::{Id, TxIndex};
use alloy_primitives::Address;
use core::ops::Range;
use std::sync::OnceLock;

/// Senders and authorities of a block, `None` for each invalid signature.
#[derive(Clone, Copy, Debug)]
pub enum SenderRows<'b> {
    /// All were recovered before the tasks.
    Known {
        /// Senders by transaction.
        senders: &'b [Option<Address>],
        /// Authorities by authorization, of all transactions in block order.
        authorities: &'b [Option<Address>],
        /// Signatures that calls of ECRECOVER may check.
        candidates: Option<&'b Candidates>,
    },
    /// They are recovered while tasks run.
    Arriving(&'b RecoveredBatches),
}

impl<'b> SenderRows<'b> {
    /// The sender of a transaction; blocks until its batch is recovered.
    ///
    /// # Panics
    /// If the block has no such transaction.
    #[inline]
    pub fn sender(&self, tx: TxIndex) -> Option<Address> {
        match self {
            Self::Known { senders, .. } => senders[tx.index()],
            Self::Arriving(batches) => batches.sender(tx),
        }
    }

    /// Signatures that calls of ECRECOVER may check; some may not be computed yet.
    pub fn candidates(&self) -> Option<&'b Candidates> {
        match self {
            Self::Known { candidates, .. } => *candidates,
            Self::Arriving(batches) => Some(&batches.candidates),
        }
    }

    /// The authorities of these authorizations; blocks until all authorities are recovered, unless `rows` is empty.
    ///
    /// # Panics
    /// If the block has fewer authorizations.
    #[inline]
    pub fn authorities(&self, rows: Range<usize>) -> &'b [Option<Address>] {
        match self {
            Self::Known { authorities, .. } => &authorities[rows],
            Self::Arriving(_) if rows.is_empty() => &[],
            Self::Arriving(batches) => &batches.authorities()[rows],
        }
    }
}

/// Senders and authorities while they are recovered: senders become available batch by batch, authorities all at once.
#[derive(Debug)]
pub struct RecoveredBatches {
    /// Transactions per batch.
    batch_len: usize,
    senders: Vec<OnceLock<Vec<Option<Address>>>>,
    authorities: OnceLock<Vec<Option<Address>>>,
    candidates: Candidates,
}

impl RecoveredBatches {
    /// Empty rows for `tx_count` transactions, with senders in batches of `batch_len`.
    pub fn new(tx_count: usize, batch_len: usize, candidates: Candidates) -> Self {
        let senders = (0..tx_count.div_ceil(batch_len)).map(|_| OnceLock::new()).collect();
        Self { batch_len, senders, authorities: OnceLock::new(), candidates }
    }

    /// Stores the senders of one batch and wakes the tasks that wait for it. A second call for the same batch has no
    /// effect.
    pub fn set_senders(&self, batch: usize, senders: Vec<Option<Address>>) {
        let _ = self.senders[batch].set(senders);
    }

    /// Stores all authorities and wakes the tasks that wait for them. A second call has no effect.
    pub fn set_authorities(&self, authorities: Vec<Option<Address>>) {
        let _ = self.authorities.set(authorities);
    }

    /// Signatures that calls of ECRECOVER may check.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    fn sender(&self, tx: TxIndex) -> Option<Address> {
        let (batch, place) = (tx.index() / self.batch_len, tx.index() % self.batch_len);
        self.senders[batch].wait()[place]
    }

    fn authorities(&self) -> &[Option<Address>] {
        self.authorities.wait()
    }

    /// Senders, authorities and candidates, once all batches are stored. Batches that are not stored are omitted.
    pub fn into_rows(self) -> (Vec<Option<Address>>, Vec<Option<Address>>, Candidates) {
        let senders = self.senders.into_iter().filter_map(OnceLock::into_inner).flatten().collect();
        (senders, self.authorities.into_inner().unwrap_or_default(), self.candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_only_for_the_batch_of_its_sender() {
        let batches = RecoveredBatches::new(5, 2, Candidates::default());
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
        let (senders, authorities, _) = batches.into_rows();
        assert_eq!((senders, authorities), (vec![signer(3), None, signer(5)], vec![None, signer(7)]));
    }
}
