//! Recovery of a block's senders and authorities from their signatures, in batches on the thread
//! pool.
//!
//! In: a block's transactions, and senders already known. Out: an address per signature, `None` for
//! an invalid one; either all of them before the first task ([`recover`]), or batch by batch while
//! tasks run ([`Recovering`]): workers recover batches until all are taken, then run tasks.
//! Not here: the elliptic curve (`exec::senders`).

mod batch_queue;

use self::batch_queue::BatchQueue;
use super::timeline::{Clock, Stage};
use crate::arena::cancel::CancelToken;
use crate::arena::keccak::keccak256_many;
use crate::arena::{Id, TxIndex};
use crate::exec::block::error::BlockError;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::senders::candidates::Candidates;
use crate::exec::senders::rows::{RecoveredBatches, SenderRows};
use crate::exec::senders::{SenderCache, Signature, recover_batch, recover_scalar, tx_signatures};
use crate::exec::wire::{Authorization, Block, SigningScratch, Transactions};
use alloy_primitives::{Address, B256};
use core::ops::Range;
use rayon::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Maximum signatures of a batch: enough groups of eight lanes for a batched inversion to pay.
const BATCH_MAX: usize = 64;
/// Minimum signatures of a batch, reached with many threads: two groups of lanes side by side.
const BATCH_MIN: usize = 16;

/// How senders and authorities are recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// In batches, eight signatures per SIMD register where the processor supports it.
    #[default]
    Batched,
    /// One at a time, by libsecp256k1 as in other clients; for comparison.
    OneByOne,
}

impl Recovery {
    fn run(self, signatures: &[Signature], out: &mut [Option<Address>]) {
        match self {
            Self::Batched => recover_batch(signatures, out),
            Self::OneByOne => {
                signatures.iter().zip(out).for_each(|(signature, out)| *out = recover_scalar(signature));
            }
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::OneByOne => "libsecp256k1",
        }
    }
}

/// Inputs of recovery besides the block.
#[derive(Clone, Copy, Default)]
pub(super) struct RecoveryContext<'a> {
    pub(super) cancel: Option<&'a CancelToken>,
    /// Senders recovered earlier, by transaction hash.
    pub(super) known: Option<&'a SenderCache>,
    pub(super) recovery: Recovery,
    /// Records the time of each batch.
    pub(super) clock: Option<&'a Clock>,
}

/// Senders by transaction, and authorities of the authorizations (EIP-7702) of all transactions, in
/// order.
pub(super) struct Recovered {
    pub(super) senders: Vec<Option<Address>>,
    pub(super) authorities: Vec<Option<Address>>,
    pub(super) candidates: Candidates,
}

impl Recovered {
    pub(super) fn rows(&self) -> SenderRows<'_> {
        let Self { senders, authorities, candidates } = self;
        SenderRows::Known { senders, authorities, candidates: Some(candidates) }
    }
}

/// Recovers all senders and authorities of a block.
///
/// # Errors
/// [`BlockError::Cancelled`] if the block was cancelled meanwhile.
pub(super) fn recover(
    rules: &ChainRules,
    block: &Block,
    context: RecoveryContext<'_>,
) -> Result<Recovered, BlockError> {
    let recovering = Recovering::new(rules, block, context, 2 * rayon::current_num_threads());
    (0..recovering.queue.batch_count()).into_par_iter().for_each(|batch| recovering.run(batch));
    recovering.check_complete()?;
    let (senders, authorities, candidates) = recovering.rows.into_rows();
    Ok(Recovered { senders, authorities, candidates })
}

/// Recovers the sender of one transaction and its authorities. All others count as invalid signatures.
pub(super) fn recover_one(
    rules: &ChainRules,
    block: &Block,
    tx: Option<TxIndex>,
    context: RecoveryContext<'_>,
) -> Recovered {
    let recovering = Recovering::new(rules, block, context, 1);
    let transactions = &block.transactions;
    let mut senders = vec![None; transactions.len()];
    let mut authorities = vec![None; transactions.all_authorizations().len()];
    if let Some(tx) = tx {
        let (row, rows) = (tx.index(), transactions.authorization_rows(tx));
        recovering.senders(row..row + 1, &mut senders[row..=row]);
        recovering.authorities(rows.clone(), &mut authorities[rows]);
    }
    Recovered { senders, authorities, candidates: Candidates::default() }
}

/// Work queue of signature batches of a block, shared by the workers. The last ones are those of candidates.
pub(super) struct Recovering<'a> {
    transactions: &'a Transactions,
    context: RecoveryContext<'a>,
    fork: Fork,
    /// The results so far.
    pub(super) rows: RecoveredBatches,
    sender_batch: usize,
    authority_batch: usize,
    queue: BatchQueue,
    /// Results of authority batches, until all of them are complete.
    authorities: Vec<OnceLock<Vec<Option<Address>>>>,
    is_cancelled: AtomicBool,
}

impl<'a> Recovering<'a> {
    /// Queues all batches: about `shares` batches of senders, fewer if they would be below the
    /// minimum size.
    pub(super) fn new(rules: &ChainRules, block: &'a Block, context: RecoveryContext<'a>, shares: usize) -> Self {
        let transactions = &block.transactions;
        let authorizations = transactions.all_authorizations().len();
        let (sender_batch, authority_batch) =
            (batch_for(transactions.len(), shares), batch_for(authorizations, shares));
        let candidates = match context.recovery {
            Recovery::Batched => Candidates::find(transactions, |count| batch_for(count, shares)),
            Recovery::OneByOne => Candidates::default(),
        };
        let candidate_batches = candidates.batch_count();
        let rows = RecoveredBatches::new(transactions.len(), sender_batch, candidates);
        let authorities: Vec<_> = (0..authorizations.div_ceil(authority_batch)).map(|_| OnceLock::new()).collect();
        if authorities.is_empty() {
            rows.set_authorities(Vec::new());
        }
        Self {
            transactions,
            context,
            fork: rules.fork,
            rows,
            sender_batch,
            authority_batch,
            queue: BatchQueue::new(transactions.len().div_ceil(sender_batch), authorities.len(), candidate_batches),
            authorities,
            is_cancelled: AtomicBool::new(false),
        }
    }

    /// Recovers batches until all are taken. Other threads may still be working on their last one.
    ///
    /// This never waits for another thread and never runs other jobs of the pool, so that waiting
    /// for a batch cannot deadlock.
    pub(super) fn help(&self) {
        self.help_while(|| true);
    }

    /// [`Self::help`] as long as a condition holds.
    pub(super) fn help_while(&self, go_on: impl Fn() -> bool) {
        while go_on()
            && let Some(batch) = self.queue.take()
        {
            self.run(batch);
        }
    }

    /// Whether recovery completed; to be called when all batches are done.
    ///
    /// # Errors
    /// [`BlockError::Cancelled`] if the block was cancelled meanwhile.
    pub(super) fn check_complete(&self) -> Result<(), BlockError> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            let place = "while the senders were recovered, before the task at index 0";
            return Err(BlockError::Cancelled(place.to_owned()));
        }
        Ok(())
    }

    fn run(&self, batch: usize) {
        let _filled = FillOnPanic { recovering: self, batch };
        if self.context.cancel.is_some_and(CancelToken::is_cancelled) {
            self.is_cancelled.store(true, Ordering::Relaxed);
            return self.fill(batch, Vec::new());
        }
        let start = self.context.clock.map_or(0, Clock::now);
        if let Some(batch) = self.queue.candidate_batch(batch) {
            self.rows.candidates().compute(batch);
        } else {
            let mut out = vec![None; self.rows(batch).len()];
            match self.queue.authority_batch(batch) {
                None => self.senders(self.rows(batch), &mut out),
                Some(_) => self.authorities(self.rows(batch), &mut out),
            }
            self.fill(batch, out);
        }
        if let Some(clock) = self.context.clock {
            clock.extend(Stage::Recover, start);
        }
    }

    /// Rows of a batch: of the transactions, or of all authorizations.
    fn rows(&self, batch: usize) -> Range<usize> {
        let (at, len, count) = match self.queue.authority_batch(batch) {
            None => (batch, self.sender_batch, self.transactions.len()),
            Some(at) => (at, self.authority_batch, self.transactions.all_authorizations().len()),
        };
        at * len..count.min((at + 1) * len)
    }

    /// Publishes the result of a batch of senders or authorities; missing rows count as invalid signatures. The last batch of
    /// authorities publishes all of them.
    fn fill(&self, batch: usize, mut rows: Vec<Option<Address>>) {
        if self.queue.candidate_batch(batch).is_some() {
            return;
        }
        rows.resize(self.rows(batch).len(), None);
        let Some(at) = self.queue.authority_batch(batch) else {
            return self.rows.set_senders(batch, rows);
        };
        if self.authorities[at].set(rows).is_ok() && self.queue.complete_authorities() {
            self.rows.set_authorities(self.authorities.iter().filter_map(OnceLock::get).flatten().copied().collect());
        }
    }

    fn senders(&self, range: Range<usize>, out: &mut [Option<Address>]) {
        let Self { transactions, context, fork, .. } = *self;
        let mut tx_hashes = Vec::new();
        if let Some(known) = context.known {
            transactions.hashes(range.clone(), &mut tx_hashes, &keccak256_many);
            for (out, hash) in out.iter_mut().zip(&tx_hashes) {
                *out = known.get(hash);
            }
            if out.iter().all(Option::is_some) {
                return;
            }
        }
        let signatures = tx_signatures(transactions, range, fork);
        let recover_many =
            |signatures: &[Signature], out: &mut [Option<Address>]| context.recovery.run(signatures, out);
        match context.known {
            Some(known) => known.recover_missing(&tx_hashes, &signatures, out, recover_many),
            None => recover_many(&signatures, out),
        }
    }

    fn authorities(&self, range: Range<usize>, out: &mut [Option<Address>]) {
        let mut hashes = Vec::with_capacity(out.len());
        let mut scratch = SigningScratch::default();
        self.transactions.authorization_hashes(range.clone(), &mut scratch, &mut hashes, &keccak256_many);
        let rows = &self.transactions.all_authorizations()[range];
        let signature = |(row, hash): (&Authorization, &B256)| Signature {
            hash: *hash,
            r: row.r,
            s: row.s,
            y_parity: row.y_parity == 1,
            low_s: true,
        };
        let signatures: Vec<_> = rows.iter().zip(&hashes).map(signature).collect();
        self.context.recovery.run(&signatures, out);
        for (out, row) in out.iter_mut().zip(rows) {
            if row.y_parity > 1 {
                *out = None;
            }
        }
    }
}

/// Publishes a batch whose recovery panicked, so that no thread waits for it forever.
struct FillOnPanic<'a, 'b> {
    recovering: &'a Recovering<'b>,
    batch: usize,
}

impl Drop for FillOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.recovering.fill(self.batch, Vec::new());
        }
    }
}

/// Signatures per batch when there are `count`: `count / shares` rounded up to a multiple of
/// [`BATCH_MIN`], at most [`BATCH_MAX`].
fn batch_for(count: usize, shares: usize) -> usize {
    count.div_ceil(shares).next_multiple_of(BATCH_MIN).clamp(BATCH_MIN, BATCH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fill_the_threads_and_the_lanes() {
        let on = |threads: usize, count: usize| batch_for(count, 2 * threads);
        assert_eq!((on(1, 1), on(1, 33), on(1, 5000)), (16, 32, 64));
        assert_eq!((on(2, 199), on(2, 60), on(16, 199), on(16, 5000)), (64, 16, 16, 64));
    }
}
