//! Recovery of eight senders at a time in the lanes of AVX-512 registers, with the 52-bit
//! multipliers of AVX-512 IFMA.
//!
//! In: signatures. Out: addresses.
//! Unsafe boundary: [`recover()`], [`multiply()`] and [`complete()`] call code compiled for CPU features that [`available`] detects.
//! Reference implementation: `libsecp.rs`, with which the tests compare every result.
//! Not here: arithmetic modulo the group order (`scalar.rs`), a small part of the work, which is
//! not vectorised.
#![allow(unsafe_code)]
// Loops index several arrays of limbs, lanes or groups with the same variable.
#![allow(clippy::needless_range_loop)]

mod complete;
mod field;
mod generator;
mod group;
mod recover;
#[cfg(test)]
mod tests;

use core::arch::x86_64::__m512i;

use alloy_primitives::{Address, B256};

use super::{Candidate, Multiple, Signature};

/// Window width and length in bits of the halves of u2 (multiplier of the nonce point R), and of
/// the halves of u1 (multiplier of the generator G).
#[cfg(test)]
pub(super) const WIDTHS: ((u32, u32), (u32, u32)) =
    ((group::NONCE_WINDOW, recover::NONCE_BITS), (generator::WINDOW, recover::GENERATOR_BITS));

/// Whether this machine has the required CPU features.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx")
}

/// Recovers the signer of each signature into the element of `out` at the same position; `None` for
/// an invalid signature. Returns `false` and leaves `out` unchanged if the CPU features are
/// missing.
pub(super) fn recover(signatures: &[Signature], out: &mut [Option<Address>]) -> bool {
    if !available() {
        return false;
    }
    for (signatures, out) in signatures.chunks(recover::CHUNK).zip(out.chunks_mut(recover::CHUNK)) {
        // SAFETY: `available` detected the target features of `recover_chunk`.
        unsafe { recover::recover_chunk(signatures, out) };
    }
    true
}

/// Computes the part of each candidate's recovery that needs no message hash into the element of `out` at the same
/// position; `None` for an invalid candidate. Returns `false` and leaves `out` unchanged if the CPU features are missing.
pub(super) fn multiply(candidates: &[Candidate], out: &mut [Option<Multiple>]) -> bool {
    if !available() {
        return false;
    }
    for (candidates, out) in candidates.chunks(recover::CHUNK).zip(out.chunks_mut(recover::CHUNK)) {
        // SAFETY: `available` detected the target features of `multiply_chunk`.
        unsafe { recover::multiply_chunk(candidates, out) };
    }
    true
}

/// Completes a recovery: x and y of the public key as words, least significant first. `None` if the CPU features are
/// missing, in exceptional cases of the addition law, and if the key is the point at infinity.
pub(super) fn complete(multiple: &Multiple, hash: &B256, is_odd: bool) -> Option<([u64; 4], [u64; 4])> {
    // SAFETY: `available` detected the target features of `complete`.
    available().then(|| unsafe { complete::complete(multiple, hash, is_odd) }).flatten()
}

/// The eight lanes of a register, the lowest first.
#[inline(always)]
fn to_array(register: __m512i) -> [u64; 8] {
    // SAFETY: both are 64 bytes without padding, and every bit pattern is valid in both.
    unsafe { core::mem::transmute(register) }
}

/// A register with these eight lanes, the lowest first.
#[inline(always)]
fn from_array(lanes: [u64; 8]) -> __m512i {
    // SAFETY: both are 64 bytes without padding, and every bit pattern is valid in both.
    unsafe { core::mem::transmute(lanes) }
}
