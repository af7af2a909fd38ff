//! ECRECOVER, and its results in the block so far.
//!
//! In: hash, v, r and s as words. Out: the signer's address as a word.
//! Transactions of one block often pass the same signed message on, such as the prices of an oracle: a recovery is done
//! once per worker and block. Other recoveries use what was computed for signatures in calldata (`senders::candidates`).
//! Not here: gas, recovery itself (`senders`).

use super::padded;
use crate::arena::keccak::keccak256;
use crate::exec::senders::candidates::Candidates;
use crate::exec::senders::ecrecover_point;
use ahash::RandomState;
use alloy_primitives::{B256, U256};
use hashbrown::HashMap;

/// Maximum results that are kept: 80 KiB per worker.
const RESULTS_MAX: usize = 512;

/// Results by input. They hold in every block, but are kept for one: a client executes each block once.
pub(in crate::exec::evm) type Results = HashMap<[u8; 128], Option<B256>, RandomState>;

/// What a worker knows of recoveries in the block.
#[derive(Debug, Default)]
pub struct Recoveries<'b> {
    /// Signatures of the block that calls may check.
    pub candidates: Option<&'b Candidates>,
    pub(in crate::exec::evm) results: Results,
}

impl Recoveries<'_> {
    /// The address as a word; `None` if v is neither 27 nor 28 or the signature is invalid. Input beyond 128 bytes is
    /// ignored, missing bytes are zero.
    pub(super) fn ecrecover(&mut self, input: &[u8]) -> Option<B256> {
        let input: [u8; 128] = padded(input, 0);
        let [hash, v, r, s]: [B256; 4] = core::array::from_fn(|index| B256::new(padded(&input, 32 * index)));
        let is_parity = v[..31].iter().all(|byte| *byte == 0) && matches!(v[31], 27 | 28);
        if !is_parity {
            return None;
        }
        if let Some(result) = self.results.get(&input) {
            return *result;
        }
        let (r, s, is_odd) = (U256::from_be_bytes(r.0), U256::from_be_bytes(s.0), v[31] == 28);
        let point = match self.candidates {
            Some(candidates) => candidates.recover(&hash, &r, &s, is_odd),
            None => ecrecover_point(&hash, &r, &s, is_odd),
        };
        let result = point.map(|point| {
            let mut hash = keccak256(point);
            hash[..12].fill(0);
            hash
        });
        if self.results.len() < RESULTS_MAX {
            self.results.insert(input, result);
        }
        result
    }
}
