//! P256VERIFY (EIP-7951): verifies an ECDSA signature over secp256r1 for a hash given by the caller.
//!
//! In: hash, r, s and the public key's x and y, 32 big-endian bytes each. Out: whether the signature is valid.
//! Relies on: AWS-LC, through `aws-lc-rs`. It rejects r or s that are zero or not below n, coordinates that are not
//! canonical and points that are not on the curve. It takes 34 us; the `p256` crate takes 190 (0.13) or 145 (0.14).
//! Not here: gas.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// Whether `input` is a hash, a valid signature for it, and the signer's public key. False for any length other
/// than 160 bytes.
pub(super) fn verify(input: &[u8]) -> bool {
    let Some((hash, rest)) = input.split_first_chunk::<32>() else {
        return false;
    };
    let Some((signature, key)) = rest.split_first_chunk::<64>() else {
        return false;
    };
    if key.len() != 64 {
        return false;
    }
    // SEC 1 section 2.3.3: 4 marks an uncompressed point.
    let mut point = [4; 65];
    point[1..].copy_from_slice(key);
    // The digest is given by the caller: nothing is hashed here.
    let Ok(digest) = Digest::import_less_safe(hash, &SHA256) else {
        return false;
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify_digest(&digest, signature).is_ok()
}
