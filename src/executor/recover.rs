//! Senders and authorities of a block, recovered in batches on the pool.

use super::timeline::{Clock, Stage};
use crate::arena::keccak::keccak256_many;
use crate::exec::fork::{ChainRules, Fork};
use crate::exec::senders::{Signature, recover_batch};
use crate::exec::wire::{Block, SigningScratch};
use alloy_primitives::{Address, B256};
use rayon::prelude::*;

/// Signatures of one pool task: enough lots of eight that a batched inversion pays, few enough that all threads work.
const BATCH: usize = 64;

/// Who signed each transaction, and each authorization of all transactions in a row.
pub(super) struct Signers {
    pub(super) senders: Vec<Option<Address>>,
    pub(super) authorities: Vec<Option<Address>>,
}

/// Recovers all signers of a block.
pub(super) fn recover(rules: &ChainRules, block: &Block) -> Signers {
    recover_timed(rules, block, None)
}

/// The same; `clock` learns when each thread was at it.
pub(super) fn recover_timed(rules: &ChainRules, block: &Block, clock: Option<&Clock>) -> Signers {
    let now = || clock.map_or(0, Clock::now);
    let note = |start| {
        if let Some(clock) = clock {
            clock.extend(Stage::Recover, start);
        }
    };
    let transactions = &block.transactions;
    let low_s = rules.fork >= Fork::Homestead;
    let mut senders = vec![None; transactions.len()];
    senders.par_chunks_mut(BATCH).enumerate().for_each(|(chunk, out)| {
        let start = now();
        let first = chunk * BATCH;
        let mut hashes = Vec::with_capacity(out.len());
        transactions.signing_hashes(
            first..first + out.len(),
            &mut SigningScratch::default(),
            &mut hashes,
            &keccak256_many,
        );
        let signatures: Vec<_> = transactions.rows()[first..first + out.len()]
            .iter()
            .zip(&hashes)
            .map(|(tx, hash)| Signature { hash: *hash, r: tx.r, s: tx.s, y_parity: tx.y_parity, low_s })
            .collect();
        recover_batch(&signatures, out);
        note(start);
    });
    let authorizations = transactions.all_authorizations();
    let mut authorities = vec![None; authorizations.len()];
    if !authorizations.is_empty() {
        let mut hashes = Vec::with_capacity(authorizations.len());
        transactions.authorization_hashes(&mut SigningScratch::default(), &mut hashes, &keccak256_many);
        authorities.par_chunks_mut(BATCH).enumerate().for_each(|(chunk, out)| {
            let start = now();
            let range = chunk * BATCH..chunk * BATCH + out.len();
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
            recover_batch(&signatures, out);
            for (out, row) in out.iter_mut().zip(&authorizations[range]) {
                if row.y_parity > 1 {
                    *out = None;
                }
            }
            note(start);
        });
    }
    Signers { senders, authorities }
}
