//! Point evaluation (EIP-4844): a KZG proof that a committed polynomial has the value y at z.
//!
//! In: versioned hash, z, y, commitment, proof. Out: whether the proof is valid under `[tau]_2` of the ceremony.
//! Relies on: `blst` for BLS12-381. The specification's check `e(C - [y]G1, G2) = e(proof, [tau]G2 - [z]G2)` is
//! computed as `e(C - [y]G1 + [z]proof, G2) = e(proof, [tau]G2)`: the multiplication by z moves to G1, where it
//! is cheaper, and both points of G2 are fixed, so that their lines are computed once per process.
//!
//! Unsafe boundary: `blst` is C. For every call below: all pointers come from live references to `blst`'s own
//! plain structs or to arrays of the length that the function reads or writes, and `blst` keeps none of them.
//! Points are checked to be in their group before they are used. Reference implementation: `revm-precompile`;
//! the tests compare with it.
//! Not here: gas.
#![allow(unsafe_code)]

use blst::{
    BLS12_381_G1, BLS12_381_G2, BLST_ERROR, blst_fp6, blst_fp12, blst_fp12_finalverify, blst_miller_loop_lines,
    blst_p1, blst_p1_add_or_double, blst_p1_affine, blst_p1_affine_in_g1, blst_p1_affine_is_inf, blst_p1_cneg,
    blst_p1_from_affine, blst_p1_mult, blst_p1_to_affine, blst_p1_uncompress, blst_p2_affine, blst_p2_uncompress,
    blst_precompute_lines, blst_scalar, blst_scalar_fr_check, blst_scalar_from_bendian,
};
use revm_precompile::bls12_381_const::TRUSTED_SETUP_TAU_G2_BYTES;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// Lines of the Miller loop of one fixed point of G2.
type Lines = [blst_fp6; 68];

/// Whether the proof in `input` is valid. False for any length other than 192 bytes (the layout of EIP-4844).
pub(super) fn holds(input: &[u8]) -> bool {
    checked(input) == Some(true)
}

fn checked(input: &[u8]) -> Option<bool> {
    let input: &[u8; 192] = input.try_into().ok()?;
    let (versioned_hash, rest) = input.split_first_chunk::<32>()?;
    let (z, rest) = rest.split_first_chunk::<32>()?;
    let (y, rest) = rest.split_first_chunk::<32>()?;
    let (commitment, proof) = rest.split_first_chunk::<48>()?;
    let mut hash = Sha256::digest(commitment);
    hash[0] = 1;
    if hash.as_slice() != versioned_hash {
        return Some(false);
    }
    let (z, y) = (scalar(z)?, scalar(y)?);
    let (commitment, proof) = (g1(commitment)?, g1(proof.first_chunk()?)?);
    // SAFETY: reads a constant that blst defines.
    let generator = unsafe { BLS12_381_G1 };
    let left = sum(&sum(&projective(&commitment), &negative(&product(&generator, &y))), &product(&proof, &z));
    let left = affine(&left);
    // The line functions do not handle infinity: a pairing with infinity is one, and the other is not one, as
    // tau is not 0.
    if is_infinity(&left) || is_infinity(&proof) {
        return Some(is_infinity(&left) && is_infinity(&proof));
    }
    let (generator_lines, tau_lines) = setup();
    let (left, right) = (miller_loop(generator_lines, &left), miller_loop(tau_lines, &proof));
    // SAFETY: two live field elements.
    Some(unsafe { blst_fp12_finalverify(&left, &right) })
}

/// Lines of G2's generator and of `[tau]G2`, computed at the first call.
fn setup() -> &'static (Lines, Lines) {
    static SETUP: OnceLock<(Lines, Lines)> = OnceLock::new();
    SETUP.get_or_init(|| {
        let mut tau = blst_p2_affine::default();
        let lines = |point: &blst_p2_affine| {
            let mut lines = [blst_fp6::default(); 68];
            // SAFETY: writes 68 lines, as many as the array has.
            unsafe { blst_precompute_lines(lines.as_mut_ptr(), point) };
            lines
        };
        // SAFETY: reads 96 bytes, the array's length; the generator is a constant that blst defines.
        unsafe {
            let error = blst_p2_uncompress(&mut tau, TRUSTED_SETUP_TAU_G2_BYTES.as_ptr());
            debug_assert_eq!(error, BLST_ERROR::BLST_SUCCESS, "the ceremony's point");
            (lines(&BLS12_381_G2), lines(&tau))
        }
    })
}

/// A compressed point of G1; `None` unless the encoding is canonical and the point in the group. Infinity is allowed.
fn g1(bytes: &[u8; 48]) -> Option<blst_p1_affine> {
    let mut point = blst_p1_affine::default();
    // SAFETY: reads 48 bytes, the array's length.
    let ok = unsafe {
        blst_p1_uncompress(&mut point, bytes.as_ptr()) == BLST_ERROR::BLST_SUCCESS && blst_p1_affine_in_g1(&point)
    };
    ok.then_some(point)
}

/// A scalar; `None` unless it is below the group order.
fn scalar(bytes: &[u8; 32]) -> Option<blst_scalar> {
    let mut scalar = blst_scalar::default();
    // SAFETY: reads 32 bytes, the array's length.
    let ok = unsafe {
        blst_scalar_from_bendian(&mut scalar, bytes.as_ptr());
        blst_scalar_fr_check(&scalar)
    };
    ok.then_some(scalar)
}

fn projective(point: &blst_p1_affine) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: two live points.
    unsafe { blst_p1_from_affine(&mut out, point) };
    out
}

fn affine(point: &blst_p1) -> blst_p1_affine {
    let mut out = blst_p1_affine::default();
    // SAFETY: two live points.
    unsafe { blst_p1_to_affine(&mut out, point) };
    out
}

fn is_infinity(point: &blst_p1_affine) -> bool {
    // SAFETY: a live point.
    unsafe { blst_p1_affine_is_inf(point) }
}

fn sum(a: &blst_p1, b: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: three live points; the addition law is complete.
    unsafe { blst_p1_add_or_double(&mut out, a, b) };
    out
}

fn negative(point: &blst_p1) -> blst_p1 {
    let mut out = *point;
    // SAFETY: a live point.
    unsafe { blst_p1_cneg(&mut out, true) };
    out
}

/// A point of G1 times a scalar.
fn product(point: &blst_p1_affine, scalar: &blst_scalar) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: reads 256 bits of the scalar, its length.
    unsafe { blst_p1_mult(&mut out, &projective(point), scalar.b.as_ptr(), 256) };
    out
}

fn miller_loop(lines: &Lines, point: &blst_p1_affine) -> blst_fp12 {
    let mut out = blst_fp12::default();
    // SAFETY: reads 68 lines, as many as the array has.
    unsafe { blst_miller_loop_lines(&mut out, lines.as_ptr(), point) };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::evm::precompile::tests::{Random, agree};
    use crate::exec::rules::fork::Fork;
    use alloy_primitives::{hex, uint};
    use blst::blst_p1_compress;

    fn input(z: &[u8], y: &[u8], commitment: &[u8], proof: &[u8]) -> Vec<u8> {
        let mut hash = Sha256::digest(commitment).to_vec();
        hash[0] = 1;
        [&hash, z, y, commitment, proof].concat()
    }

    fn compressed(point: &blst_p1) -> [u8; 48] {
        let mut bytes = [0; 48];
        // SAFETY: writes 48 bytes, the array's length.
        unsafe { blst_p1_compress(bytes.as_mut_ptr(), point) };
        bytes
    }

    #[test]
    fn proofs_agree_with_revm() {
        // consensus-specs, verify_kzg_proof_case_correct_proof_4_4.
        let commitment =
            hex!("8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7");
        let z = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000");
        let y = hex!("1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9");
        let proof =
            hex!("a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c");
        let valid = input(&z, &y, &commitment, &proof);
        assert_eq!(agree(Fork::Cancun, 10, &valid).unwrap().len(), 64);

        let mut random = Random::new(30);
        for _ in 0..120 {
            let mut wrong = valid.clone();
            wrong[random.below(192)] ^= 1 << random.below(8);
            agree(Fork::Prague, 10, &wrong);
            // With the versioned hash of the modified commitment.
            let wrong = input(&wrong[32..64], &wrong[64..96], &wrong[96..144], &wrong[144..]);
            agree(Fork::Osaka, 10, &wrong);
        }
        agree(Fork::Osaka, 10, &valid[..191]);
        agree(Fork::Osaka, 10, &[&valid[..], &[0]].concat());
    }

    #[test]
    fn constant_polynomials_and_infinity_agree_with_revm() {
        let mut random = Random::new(31);
        let order = uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256);
        let mut infinity = [0; 48];
        infinity[0] = 0xc0;
        // SAFETY: reads a constant that blst defines.
        let generator = unsafe { BLS12_381_G1 };
        let zero = [0; 32];
        for case in 0..30 {
            let word = (random.word() % order).to_be_bytes::<32>();
            let z = (random.word() % order).to_be_bytes::<32>();
            // The proof of a constant polynomial is infinity.
            let constant = compressed(&product(&generator, &scalar(&word).unwrap()));
            assert!(agree(Fork::Osaka, 10, &input(&z, &word, &constant, &infinity)).is_some());
            for (z, y, commitment, proof) in [
                (&z, &zero, &infinity, &infinity),
                (&z, &word, &infinity, &infinity),
                (&zero, &word, &constant, &infinity),
                (&z, &word, &constant, &constant),
                (&z, &zero, &constant, &infinity),
                (&zero, &zero, &infinity, &constant),
            ] {
                agree(Fork::Osaka, 10, &input(z, y, commitment, proof));
            }
            // Scalars not below the order; encodings of no point or of a point outside the group; other flags.
            for edge in [order, order + alloy_primitives::U256::ONE, alloy_primitives::U256::MAX] {
                let edge = edge.to_be_bytes::<32>();
                agree(Fork::Osaka, 10, &input(&edge, &word, &constant, &infinity));
                agree(Fork::Osaka, 10, &input(&z, &edge, &constant, &infinity));
            }
            let mut noise = random.bytes(48);
            noise[0] = [0x80, 0xa0, 0xc0, 0xe0, 0x00][case % 5] | (noise[0] & 0x0f);
            agree(Fork::Osaka, 10, &input(&z, &word, &noise, &infinity));
            agree(Fork::Osaka, 10, &input(&z, &word, &constant, &noise));
        }
    }
}
