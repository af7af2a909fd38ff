//! Signature recovery: the senders of transactions and the authorities of authorizations (EIP-7702).
//!
//! In: signatures as message hash, r, s and y parity. Out: one address per signature, or `None` for an invalid one.
//! Relies on: AVX-512 IFMA where the CPU has it (eight signatures in parallel lanes); libsecp256k1 elsewhere, and for
//! single signatures.
//! Spec: SEC 1 section 4.1.6 (recovery), yellow paper appendix F, EIP-2 (low s), EIP-155 and EIP-7702 (callers).
//! Not here: legacy v and EIP-155 (the caller converts v into a parity), the pool that runs batches (`executor`).
//!
//! Time per signature by batch size, on a Zen 5 core at 4.1 GHz (minimum of many runs):
//!
//! | batch | µs per signature | |
//! |---|--:|---|
//! | 1 | 26 | libsecp256k1; a group of eight lanes takes 28 µs for any number of signatures |
//! | 2 | 14 | |
//! | 8 | 4.0 | one group of lanes |
//! | 16 | 3.2 | two interleaved groups: the smallest batch worth a task of its own in a pool |
//! | 64 and more | 3.0 | up to 128 signatures share one inversion |
//!
//! So a block's transactions and authorizations are batched together, with a small first batch where workers wait for
//! it. Calls of the ECRECOVER precompile come one at a time; the larger part of their work is done in batches for
//! signatures that calldata contains ([`candidates`]), other ones go to libsecp256k1.
//! There is no AVX2 version. By operation count (not measured), its 32-bit multipliers need 25 multiplications and 25
//! additions per lane for a product, against about 25 multiplications in total for the scalar code of libsecp256k1.

mod cache;
pub mod candidates;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod libsecp;
pub mod rows;
#[cfg(target_arch = "x86_64")]
mod scalar;

pub use cache::SenderCache;
pub use libsecp::{ecrecover_point, recover_scalar};

use crate::arena::keccak::keccak256_many;
use crate::exec::rules::fork::Fork;
use crate::exec::wire::{SigningScratch, Transaction, Transactions};
use alloy_primitives::{Address, B256, U256};
#[cfg(target_arch = "x86_64")]
use candidates::{Candidate, Multiple};
use core::ops::Range;

/// Half of the group order, rounded down: the largest valid s of a transaction from Homestead on (EIP-2).
pub const HALF_ORDER: U256 =
    U256::from_limbs([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff]);

/// One signature to recover.
///
/// It is valid when r and s are in 1..=n-1 (s at most n/2 if `low_s`), r itself is the x coordinate of a curve point,
/// and the recovered key is not the point at infinity. n is the order of the group of secp256k1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Hash of the signed message.
    pub hash: B256,
    /// x coordinate of the nonce point.
    pub r: U256,
    /// s of the signature.
    pub s: U256,
    /// Whether the y coordinate of the nonce point is odd.
    pub y_parity: bool,
    /// Whether s above n/2 is invalid (EIP-2): true for transactions from Homestead on and for EIP-7702 authorizations,
    /// false for Frontier transactions and for the ECRECOVER precompile in every fork.
    pub low_s: bool,
}

/// Recovers the signers of `signatures` into the elements of `out` at the same positions, `None` for invalid
/// signatures. If one slice is longer, its surplus elements are ignored.
pub fn recover_batch(signatures: &[Signature], out: &mut [Option<Address>]) {
    // For a single signature libsecp256k1 is faster: 26 us, against 28 us for a group of eight lanes.
    #[cfg(target_arch = "x86_64")]
    if signatures.len() > 1 && ifma::recover(signatures, out) {
        return;
    }
    for (signature, out) in signatures.iter().zip(out) {
        *out = recover_scalar(signature);
    }
}

/// The signatures of these transactions, with the rule of the fork for s. Transactions are rows of the block.
///
/// # Panics
/// If the block has fewer transactions.
pub fn tx_signatures(transactions: &Transactions, rows: Range<usize>, fork: Fork) -> Vec<Signature> {
    let low_s = fork >= Fork::Homestead;
    let mut hashes = Vec::with_capacity(rows.len());
    transactions.signing_hashes(rows.clone(), &mut SigningScratch::default(), &mut hashes, &keccak256_many);
    let signature =
        |(tx, hash): (&Transaction, &B256)| Signature { hash: *hash, r: tx.r, s: tx.s, y_parity: tx.y_parity, low_s };
    transactions.rows()[rows].iter().zip(&hashes).map(signature).collect()
}

#[cfg(test)]
mod tests;
