//! Senders and authorities of a block, recovered in batches on the pool.

use super::timeline::{Clock, Stage};
use crate::arena::keccak::keccak256_many;
use crate::exec::cancel::CancelToken;
use crate::exec::error::BlockError;
use crate::exec::fork::{ChainRules, Fork};
use crate::exec::senders::{SenderCache, Signature, recover_batch, recover_scalar};
use crate::exec::wire::{Block, SigningScratch};
use alloy_primitives::{Address, B256};
use rayon::prelude::*;

/// Signatures of one pool task at most: enough lots of eight that a batched inversion pays.
const BATCH_MAX: usize = 64;
/// And at least, where there are many threads: two groups of lanes abreast.
const BATCH_MIN: usize = 16;

/// How signers are recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recovery {
    /// In batches, eight in the lanes of one register set where the machine can.
    #[default]
    Batched,
    /// One at a time, by libsecp256k1: what everybody else does, to compare with.
    OneByOne,
}

impl Recovery {
    /// As the command line writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::OneByOne => "libsecp256k1",
        }
    }
}

/// What recovery goes by besides the block.
#[derive(Clone, Copy, Default)]
pub(super) struct Means<'a> {
    pub(super) cancel: Option<&'a CancelToken>,
    /// Senders that the caller knows already.
    pub(super) known: Option<&'a SenderCache>,
    pub(super) recovery: Recovery,
    /// Learns when each thread was at it.
    pub(super) clock: Option<&'a Clock>,
}

/// Who signed each transaction, and each authorization of all transactions in a row.
pub(super) struct Signers {
    pub(super) senders: Vec<Option<Address>>,
    pub(super) authorities: Vec<Option<Address>>,
}

/// Recovers all signers of a block.
///
/// # Errors
/// [`BlockError::Cancelled`].
pub(super) fn recover(rules: &ChainRules, block: &Block, means: Means<'_>) -> Result<Signers, BlockError> {
    let now = || means.clock.map_or(0, Clock::now);
    let note = |start| {
        if let Some(clock) = means.clock {
            clock.extend(Stage::Recover, start);
        }
    };
    // A token once cancelled stays so: where a batch was passed over the end of this function sees it.
    let given_up = || means.cancel.is_some_and(CancelToken::is_cancelled);
    let recover_many = |signatures: &[Signature], out: &mut [Option<Address>]| match means.recovery {
        Recovery::Batched => recover_batch(signatures, out),
        Recovery::OneByOne => {
            signatures.iter().zip(out).for_each(|(signature, out)| *out = recover_scalar(signature));
        }
    };
    let transactions = &block.transactions;
    let low_s = rules.fork >= Fork::Homestead;
    let mut senders = vec![None; transactions.len()];
    let batch = batch_for(senders.len());
    senders.par_chunks_mut(batch).enumerate().for_each(|(chunk, out)| {
        if given_up() {
            return;
        }
        let start = now();
        let range = chunk * batch..chunk * batch + out.len();
        let mut tx_hashes = Vec::new();
        if let Some(known) = means.known {
            transactions.hashes(range.clone(), &mut tx_hashes, &keccak256_many);
            for (out, hash) in out.iter_mut().zip(&tx_hashes) {
                *out = known.get(hash);
            }
            if out.iter().all(Option::is_some) {
                return;
            }
        }
        let mut hashes = Vec::with_capacity(out.len());
        transactions.signing_hashes(range.clone(), &mut SigningScratch::default(), &mut hashes, &keccak256_many);
        let signatures: Vec<_> = transactions.rows()[range]
            .iter()
            .zip(&hashes)
            .map(|(tx, hash)| Signature { hash: *hash, r: tx.r, s: tx.s, y_parity: tx.y_parity, low_s })
            .collect();
        match means.known {
            Some(known) => known.recover_missing(&tx_hashes, &signatures, out, recover_many),
            None => recover_many(&signatures, out),
        }
        note(start);
    });
    let authorizations = transactions.all_authorizations();
    let mut authorities = vec![None; authorizations.len()];
    if !authorizations.is_empty() {
        let mut hashes = Vec::with_capacity(authorizations.len());
        transactions.authorization_hashes(&mut SigningScratch::default(), &mut hashes, &keccak256_many);
        let batch = batch_for(authorities.len());
        authorities.par_chunks_mut(batch).enumerate().for_each(|(chunk, out)| {
            if given_up() {
                return;
            }
            let start = now();
            let range = chunk * batch..chunk * batch + out.len();
            let signatures: Vec<_> = authorizations[range.clone()]
                .iter()
                .zip(&hashes[range.clone()])
                .map(|(row, hash): (_, &B256)| Signature {
                    hash: *hash,
                    r: row.r,
                    s: row.s,
                    y_parity: row.y_parity == 1,
                    low_s: true,
                })
                .collect();
            recover_many(&signatures, out);
            for (out, row) in out.iter_mut().zip(&authorizations[range]) {
                if row.y_parity > 1 {
                    *out = None;
                }
            }
            note(start);
        });
    }
    if given_up() {
        return Err(BlockError::Cancelled("while the senders were recovered, before the task at index 0".to_owned()));
    }
    Ok(Signers { senders, authorities })
}

/// Signatures of one pool task when there are `count`: whole pairs of lane groups, two tasks a thread where that leaves
/// enough for each.
fn batch_for(count: usize) -> usize {
    let share = count.div_ceil(2 * rayon::current_num_threads());
    share.next_multiple_of(BATCH_MIN).clamp(BATCH_MIN, BATCH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fill_the_threads_and_the_lanes() {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let on = |threads: usize, count: usize| pool(threads).install(|| batch_for(count));
        assert_eq!((on(1, 1), on(1, 33), on(1, 5000)), (16, 32, 64));
        assert_eq!((on(2, 199), on(2, 60), on(16, 199), on(16, 5000)), (64, 16, 16, 64));
    }
}
