//! Eight recoveries in the lanes of AVX-512 registers, with the 52-bit multipliers of AVX-512 IFMA.
//!
//! In: signatures. Out: addresses. Twin: `libsecp.rs`, which every test compares with.
//! Relies on: the caller having asked [`available`].
//! Not here: arithmetic modulo the group order (`scalar.rs`), which is a small part and stays scalar.
#![allow(unsafe_code)]
// One index runs over the limbs, lanes or groups of several arrays at once.
#![allow(clippy::needless_range_loop)]

mod field;
mod generator;
mod group;
mod recover;
#[cfg(test)]
mod tests;

use core::arch::x86_64::__m512i;

use alloy_primitives::Address;

use super::Signature;

/// Window and length in bits of the halves of u2 (of the nonce point) and of u1 (of the generator).
#[cfg(test)]
pub(super) const WIDTHS: ((u32, u32), (u32, u32)) =
    ((group::NONCE_WINDOW, recover::NONCE_BITS), (generator::WINDOW, recover::GENERATOR_BITS));

/// Whether this machine has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx")
}

/// Recovers the signers of paired signatures and results; false, and nothing done, without the instructions.
pub(super) fn recover(signatures: &[Signature], out: &mut [Option<Address>]) -> bool {
    if !available() {
        return false;
    }
    for (signatures, out) in signatures.chunks(recover::CHUNK).zip(out.chunks_mut(recover::CHUNK)) {
        // SAFETY: the target features of `recover_chunk` were found on this machine just above.
        unsafe { recover::recover_chunk(signatures, out) };
    }
    true
}

/// The lanes of a register.
#[inline(always)]
fn to_array(register: __m512i) -> [u64; 8] {
    // SAFETY: both are 64 bytes without padding, and every bit pattern is valid in both.
    unsafe { core::mem::transmute(register) }
}

/// A register of eight lanes.
#[inline(always)]
fn from_array(lanes: [u64; 8]) -> __m512i {
    // SAFETY: both are 64 bytes without padding, and every bit pattern is valid in both.
    unsafe { core::mem::transmute(lanes) }
}
