//! Recovery of single signatures with libsecp256k1: used without AVX-512 IFMA, and as reference in tests of the lanes.
//!
//! In: one [`Signature`]. Out: its signer's address or public key, or `None`.
//! Relies on: libsecp256k1 rejecting r or s that is 0 or at least n, an r that is no x coordinate of a curve point, and
//! the point at infinity as result.
//! Not here: batches, and recovery ids 2 and 3 (x = r + n), which Ethereum does not have.

use crate::arena::keccak::keccak256;
use alloy_primitives::{Address, B256, U256};
use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use super::{HALF_ORDER, Signature};

/// Address of the signer of one signature; `None` if the signature is invalid by the rules of [`Signature`].
pub fn recover_scalar(signature: &Signature) -> Option<Address> {
    if signature.low_s && signature.s > HALF_ORDER {
        return None;
    }
    let point = ecrecover_point(&signature.hash, &signature.r, &signature.s, signature.y_parity)?;
    Some(Address::from_slice(&keccak256(point)[12..]))
}

/// Public key of the signer (x then y, 32 big-endian bytes each), which the ECRECOVER precompile hashes. s may be any
/// value in 1..=n-1. `None` if the signature is invalid.
pub fn ecrecover_point(hash: &B256, r: &U256, s: &U256, y_parity: bool) -> Option<[u8; 64]> {
    let mut compact = [0u8; 64];
    compact[..32].copy_from_slice(&r.to_be_bytes::<32>());
    compact[32..].copy_from_slice(&s.to_be_bytes::<32>());
    let id = if y_parity { RecoveryId::One } else { RecoveryId::Zero };
    let key =
        RecoverableSignature::from_compact(&compact, id).ok()?.recover_ecdsa(Message::from_digest(hash.0)).ok()?;
    let mut point = [0u8; 64];
    point.copy_from_slice(&key.serialize_uncompressed()[1..]);
    Some(point)
}
