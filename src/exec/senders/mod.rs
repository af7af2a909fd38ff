//! Senders: the addresses that signed a block's transactions and authorizations.
//!
//! In: signatures, already taken apart (message hash, r, s, y parity). Out: one address per signature, or `None`.
//! Spec: SEC 1 section 4.1.6 (recovery), yellow paper appendix F, EIP-2 (low s), EIP-155 and EIP-7702 (callers).
//! Relies on: AVX-512 IFMA where the machine has it (eight signatures in lanes), libsecp256k1 elsewhere and for one alone.
//! Not here: legacy v and EIP-155 (the caller turns v into a parity before it comes here), the pool that runs batches.
//!
//! What pays, measured on a Zen 5 core at 4.1 GHz (least of many runs; libsecp256k1: 26 us a signature):
//!
//! | batch | us a signature | |
//! |---|--:|---|
//! | 1 | 26 | libsecp256k1: eight lanes take 28 us, however many of them are used |
//! | 2 | 14 | |
//! | 8 | 4.0 | one group of lanes |
//! | 16 | 3.2 | two groups abreast: the smallest task worth its own place in a pool |
//! | 64 and more | 3.0 | the inversions are shared by up to 128 |
//!
//! So a block's transactions and authorizations go in together, a first small batch where workers wait for it. The
//! ECRECOVER precompile does not gain: its calls become known one at a time, and one alone is libsecp256k1's. Only a
//! caller that knows several ahead should batch them (with `low_s` off). There is no AVX2 form: with its
//! 32-bit multipliers a product is 25 multiplications and 25 additions a lane, against about 25 multiplications in all for
//! the scalar code of libsecp256k1; counted, not built.

mod cache;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod libsecp;
#[cfg(target_arch = "x86_64")]
pub mod rows;
mod scalar;

pub use cache::SenderCache;
pub use libsecp::{ecrecover_point, recover_scalar};

use alloy_primitives::{Address, B256, U256};

/// Half of the group order, rounded down: the largest s of a transaction from Homestead on (EIP-2).
pub const HALF_ORDER: U256 =
    U256::from_limbs([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff]);

/// One signature to recover.
///
/// Valid when r and s lie in 1..n-1 (s at most n/2 if `low_s`), r itself is the x coordinate of a curve point, and the
/// recovered key is not the point at infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Hash of the signed message.
    pub hash: B256,
    /// x coordinate of the nonce point.
    pub r: U256,
    /// Second half of the signature.
    pub s: U256,
    /// Whether the y coordinate of the nonce point is odd.
    pub y_parity: bool,
    /// Whether s above n/2 is refused: true for transactions from Homestead on and for EIP-7702 authorizations, false
    /// for Frontier transactions and for the ECRECOVER precompile in every fork.
    pub low_s: bool,
}

/// Recovers the signers of `signatures` into `out`, `None` for each invalid one. The slices are paired item by item; if
/// one is longer, its surplus is left alone.
pub fn recover_batch(signatures: &[Signature], out: &mut [Option<Address>]) {
    // Eight lanes cost a little more than one of libsecp256k1's recoveries, however many of them are used.
    #[cfg(target_arch = "x86_64")]
    if signatures.len() > 1 && ifma::recover(signatures, out) {
        return;
    }
    for (signature, out) in signatures.iter().zip(out) {
        *out = recover_scalar(signature);
    }
}

#[cfg(test)]
mod tests;
