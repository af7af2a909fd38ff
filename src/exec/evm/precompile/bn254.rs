//! BN254's group operations and pairing check (EIP-196, EIP-197).
//!
//! In: points as the precompiles encode them: coordinates of 32 big-endian bytes, the origin for infinity, imaginary
//! parts first in G2. Out: a point or a verdict; `None` for coordinates not below the field modulus and for points
//! outside their group.
//! Relies on: `ark-bn254` for fields, curves, lines and the final exponentiation. Differences from its own
//! group law, which does more work:
//!
//! - one inversion, by `ruint`'s Lehmer GCD, where a result is converted to affine coordinates; sums use affine
//!   coordinates throughout;
//! - scalars are split into two halves by the curve's endomorphism (GLV), each in signed windows of five bits;
//! - membership in G2 is tested with one multiplication by the curve's 63-bit seed (Dai, Lin, Zhao, Zhou, "Fast
//!   subgroup membership testing for G1, G2 and GT on pairing-friendly curves", 2022, section 5.1) instead of
//!   one by 127 bits;
//! - all pairs share one Miller loop, whatever their number; the check of a single pair is known to fail.
//!
//! Reference implementation: `revm-precompile`, which uses `ark-bn254` without these changes; the tests compare
//! with it.
//! Not here: gas and padding.

use alloy_primitives::{U256, U512};
use ark_bn254::{Bn254, Config, Fq, Fq2, Fq12, Fr, G1Affine, G1Projective, G2Affine, G2Projective, g1};
use ark_ec::bn::{BnConfig, G2Prepared};
use ark_ec::pairing::{MillerLoopOutput, Pairing};
use ark_ec::scalar_mul::glv::GLVConfig;
use ark_ec::{AdditiveGroup, AffineRepr};
use ark_ff::{BigInt, Field, One, PrimeField, Zero};

/// Bytes of a pair: a point of G1 (64), a point of G2 (128).
pub(super) const PAIR: usize = 192;

/// `2^256` squared, as a field element: converts the inverse of a Montgomery form into the Montgomery form of
/// the inverse.
const R_SQUARED: Fq = Fq::new(Fq::R2);

/// The seed x of the curve in signed digits, most significant first.
const SEED: [i8; 64] = signed_digits(Config::X[0]);

/// Reads a coordinate; `None` if it is not below the field modulus.
fn coordinate(bytes: &[u8]) -> Option<Fq> {
    Fq::from_bigint(BigInt::new(U256::try_from_be_slice(bytes)?.into_limbs()))
}

fn g1(bytes: &[u8]) -> Option<G1Affine> {
    let (x, y) = bytes.split_at_checked(32)?;
    let point = G1Affine::new_unchecked(coordinate(x)?, coordinate(y)?);
    // The cofactor is 1, so every point on the curve is in the group. Infinity counts as on the curve.
    point.is_on_curve().then_some(point)
}

fn g2(bytes: &[u8]) -> Option<G2Affine> {
    let mut numbers = [Fq::ZERO; 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<32>().0) {
        *number = coordinate(bytes)?;
    }
    let [x_imaginary, x_real, y_imaginary, y_real] = numbers;
    let point = G2Affine::new_unchecked(Fq2::new(x_real, x_imaginary), Fq2::new(y_real, y_imaginary));
    (point.is_on_curve() && in_g2(&point)).then_some(point)
}

fn encode(point: G1Affine) -> [u8; 64] {
    let mut bytes = [0; 64];
    // `ark-bn254`, too, represents infinity by the coordinates of the origin.
    bytes[..32].copy_from_slice(&U256::from_limbs(point.x.into_bigint().0).to_be_bytes::<32>());
    bytes[32..].copy_from_slice(&U256::from_limbs(point.y.into_bigint().0).to_be_bytes::<32>());
    bytes
}

/// The inverse of a field element; 0 for 0.
fn inverse(element: Fq) -> Fq {
    let modulus = U256::from_limbs(Fq::MODULUS.0);
    let inverse = U256::from_limbs(element.0.0).inv_mod(modulus).unwrap_or(U256::ZERO);
    Fq::new_unchecked(BigInt::new(inverse.into_limbs())) * R_SQUARED
}

/// Sum of two points, 64 bytes each.
pub(super) fn add(input: &[u8; 128]) -> Option<[u8; 64]> {
    let (a, b) = (g1(&input[..64])?, g1(&input[64..])?);
    if a.is_zero() {
        return Some(encode(b));
    }
    if b.is_zero() {
        return Some(encode(a));
    }
    let slope = if a.x != b.x {
        (b.y - a.y) * inverse(b.x - a.x)
    } else if a.y == b.y {
        // The order is odd, so y is not 0 and the tangent is not vertical.
        let square = a.x.square();
        (square.double() + square) * inverse(a.y.double())
    } else {
        return Some([0; 64]);
    };
    let x = slope.square() - a.x - b.x;
    Some(encode(G1Affine::new_unchecked(x, slope * (a.x - x) - a.y)))
}

/// Product of a point (64 bytes) and a scalar (32 bytes), which need not be below the group order.
pub(super) fn mul(input: &[u8; 96]) -> Option<[u8; 64]> {
    let point = g1(&input[..64])?;
    let scalar = U256::from_be_slice(&input[64..]).reduce_mod(U256::from_limbs(Fr::MODULUS.0));
    if point.is_zero() || scalar.is_zero() {
        return Some([0; 64]);
    }
    let product = product(&point, scalar);
    let inverse = inverse(product.z);
    let square = inverse.square();
    Some(encode(G1Affine::new_unchecked(product.x * square, product.y * square * inverse)))
}

/// GLV decomposition: `scalar = first + LAMBDA * second` modulo the group order, for a scalar below it. `first` is not
/// negative, and both are below 2^127 in absolute value. The lattice of pairs that represent 0 has the basis
/// (147946756881789319000765030803803410728, -9931322734385697763), (9931322734385697763,
/// 147946756881789319010696353538189108491); the scalar's coordinates in it are rounded down.
fn split(scalar: U256) -> (u128, i128) {
    const ORDER: U256 = U256::from_limbs(Fr::MODULUS.0);
    const A: u128 = 147946756881789319000765030803803410728;
    const B: u128 = 9931322734385697763;
    const C: u128 = A + B;
    let quotient = |numerator: u128| {
        let product: U512 = scalar.widening_mul(U256::from(numerator));
        (product / U512::from(ORDER)).to::<u128>()
    };
    let (q, s) = (quotient(C), quotient(B));
    // The results fit 128 bits, so arithmetic modulo 2^128 is exact.
    let first = scalar.wrapping_to::<u128>().wrapping_sub(q.wrapping_mul(A)).wrapping_sub(s.wrapping_mul(B));
    let second = q.wrapping_mul(B).wrapping_sub(s.wrapping_mul(C));
    (first, second as i128)
}

/// Digits of a number below 2^127 in width-5 non-adjacent form, least significant first: each is 0 or odd with
/// an absolute value below 16, and at least four zeros follow each digit that is not 0.
fn windows(mut number: u128) -> [i8; 128] {
    let mut digits = [0; 128];
    let mut place = 0;
    while number != 0 {
        let zeros = number.trailing_zeros() as usize;
        number >>= zeros;
        place += zeros;
        let low = (number & 31) as i8;
        let digit = if low > 16 { low - 32 } else { low };
        digits[place] = digit;
        number = number.wrapping_sub(i128::from(digit) as u128);
    }
    digits
}

fn product(point: &G1Affine, scalar: U256) -> G1Projective {
    let (first, second) = split(scalar);
    // P, 3P, ..., 15P.
    let twice = point.into_group().double();
    let mut multiples = [point.into_group(); 8];
    for at in 1..8 {
        multiples[at] = multiples[at - 1] + twice;
    }
    // Converted to affine coordinates with one inversion. None is infinity, because the order is a large prime.
    let mut below = [Fq::one(); 8];
    for at in 1..8 {
        below[at] = below[at - 1] * multiples[at - 1].z;
    }
    let mut inverse = inverse(below[7] * multiples[7].z);
    let mut table = [*point; 8];
    for at in (0..8).rev() {
        let own = inverse * below[at];
        inverse *= multiples[at].z;
        let square = own.square();
        table[at] = G1Affine::new_unchecked(multiples[at].x * square, multiples[at].y * square * own);
    }
    let images = table.map(|point| G1Affine::new_unchecked(point.x * g1::Config::ENDO_COEFFS[0], point.y));

    let (digits, image_digits) = (windows(first), windows(second.unsigned_abs()));
    let sign = if second < 0 { -1 } else { 1 };
    let mut sum = G1Projective::zero();
    for place in (0..128).rev() {
        sum.double_in_place();
        for (digit, table) in [(digits[place], &table), (image_digits[place] * sign, &images)] {
            if digit != 0 {
                let point = table[usize::from(digit.unsigned_abs() / 2)];
                sum += if digit < 0 { -point } else { point };
            }
        }
    }
    sum
}

/// A number in non-adjacent form: digits -1, 0 and 1, no two adjacent ones different from 0, most significant first.
const fn signed_digits(number: u64) -> [i8; 64] {
    let (mut number, mut digits, mut place) = (number as u128, [0; 64], 64);
    while number != 0 {
        place -= 1;
        if number % 2 == 1 {
            let digit = 2 - (number % 4) as i8;
            digits[place] = digit;
            number = if digit == 1 { number - 1 } else { number + 1 };
        }
        number /= 2;
    }
    digits
}

/// The endomorphism psi of the twist: untwist, Frobenius, twist.
fn psi(point: &G2Projective) -> G2Projective {
    let mut image = *point;
    for number in [&mut image.x, &mut image.y, &mut image.z] {
        number.conjugate_in_place();
    }
    image.x *= Config::TWIST_MUL_BY_Q_X;
    image.y *= Config::TWIST_MUL_BY_Q_Y;
    image
}

/// Whether a point of the twist lies in the group of prime order r:
/// `[x + 1]Q + psi([x]Q) + psi^2([x]Q) = psi^3([2x]Q)`.
///
/// On that group psi is multiplication by p, and the equation holds modulo r. It holds nowhere else: the norm of the
/// difference of its sides in Z[psi] (psi^2 - [6x^2 + 1]psi + [p] = 0) has no common divisor with the cofactor
/// 2p - r, so among the points whose order divides the cofactor only 0 satisfies it.
fn in_g2(point: &G2Affine) -> bool {
    let mut multiple = G2Projective::zero();
    for digit in SEED {
        multiple.double_in_place();
        match digit {
            1 => multiple += point,
            -1 => multiple += -*point,
            _ => {}
        }
    }
    let first = psi(&multiple);
    let second = psi(&first);
    multiple + point + first + second == psi(&second).double()
}

/// Whether the product of the pairings is one. `None` for a length that is no multiple of [`PAIR`]; empty input
/// gives one.
pub(super) fn pairing(input: &[u8]) -> Option<bool> {
    let (pairs, []) = input.as_chunks::<PAIR>() else {
        return None;
    };
    let mut points = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let (p, q) = (g1(&pair[..64])?, g2(&pair[64..])?);
        // A pairing with infinity on either side is one.
        if !p.is_zero() && !q.is_zero() {
            points.push((p, q));
        }
    }
    Some(match points.len() {
        0 => true,
        // A single pair without infinity: both orders are the prime r and the pairing is not degenerate, so it
        // is not one.
        1 => false,
        _ => is_one(&points),
    })
}

/// Whether the product of the optimal ate pairings of all pairs (Vercauteren 2010) is one. `ark-ec` computes it for
/// four pairs at a time.
fn is_one(points: &[(G1Affine, G2Affine)]) -> bool {
    let lines: Vec<_> = points.iter().map(|(_, q)| G2Prepared::<Config>::from(q).ell_coeffs).collect();
    let mut product = Fq12::one();
    let mut step = 0;
    let evaluate = |product: &mut Fq12, step: &mut usize| {
        for ((p, _), lines) in points.iter().zip(&lines) {
            let (mut constant, mut slope, last) = lines[*step];
            constant.mul_assign_by_fp(&p.y);
            slope.mul_assign_by_fp(&p.x);
            product.mul_by_034(&constant, &slope, &last);
        }
        *step += 1;
    };
    for (index, digit) in Config::ATE_LOOP_COUNT.iter().rev().skip(1).enumerate() {
        if index > 0 {
            product.square_in_place();
        }
        evaluate(&mut product, &mut step);
        if *digit != 0 {
            evaluate(&mut product, &mut step);
        }
    }
    // The two lines through the images of Q under Frobenius.
    evaluate(&mut product, &mut step);
    evaluate(&mut product, &mut step);
    Bn254::final_exponentiation(MillerLoopOutput(product)).is_some_and(|value| value.0.is_one())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::evm::precompile::tests::{Random, agree};
    use crate::exec::rules::fork::Fork;
    use ark_ec::{CurveConfig, CurveGroup, PrimeGroup};

    fn bytes(numbers: &[Fq]) -> Vec<u8> {
        numbers.iter().flat_map(|number| U256::from_limbs(number.into_bigint().0).to_be_bytes::<32>()).collect()
    }

    fn pair(p: G1Affine, q: G2Affine) -> Vec<u8> {
        bytes(&[p.x, p.y, q.x.c1, q.x.c0, q.y.c1, q.y.c0])
    }

    fn scalar(random: &mut Random) -> Fr {
        Fr::from_be_bytes_mod_order(&random.bytes(32))
    }

    /// A random point of the twist; it is in the group only with negligible probability.
    fn on_the_twist(random: &mut Random) -> G2Affine {
        loop {
            let [real, imaginary] = [0, 1].map(|_| Fq::from_be_bytes_mod_order(&random.bytes(32)));
            if let Some(point) = G2Affine::get_point_from_x_unchecked(Fq2::new(real, imaginary), true) {
                return point;
            }
        }
    }

    #[test]
    fn split_scalars_recombine() {
        let mut random = Random::new(20);
        for _ in 0..2_000 {
            let whole = scalar(&mut random);
            let (first, second) = split(U256::from_limbs(whole.into_bigint().0));
            assert!(first < 1 << 127 && second.unsigned_abs() < 1 << 127);
            let half = Fr::from(second.unsigned_abs());
            let half = if second < 0 { -half } else { half };
            assert_eq!(Fr::from(first) + half * g1::Config::LAMBDA, whole);
        }
    }

    #[test]
    fn digits_recombine() {
        let mut random = Random::new(21);
        for number in [0, 1, 15, 16, 17, 31, 32, (1 << 127) - 1, 1 << 126].into_iter().chain((0..500).map(|_| {
            let shift = 1 + random.below(127);
            random.word().wrapping_to::<u128>() >> shift
        })) {
            let digits = windows(number);
            assert!(digits.iter().all(|digit| *digit == 0 || (digit % 2 != 0 && digit.abs() < 16)));
            // The most significant digit may have the weight 2^127.
            let sum =
                digits.iter().rev().fold(0i128, |sum, digit| sum.wrapping_mul(2).wrapping_add(i128::from(*digit)));
            assert_eq!(sum as u128, number);
        }
        assert_eq!(SEED.iter().fold(0i128, |sum, digit| 2 * sum + i128::from(*digit)), i128::from(Config::X[0]));
    }

    #[test]
    fn membership_agrees_with_a_multiplication_by_the_order() {
        let mut random = Random::new(22);
        let generator = G2Projective::generator();
        let cofactor = U256::from_limbs(ark_bn254::g2::Config::COFACTOR.try_into().unwrap());
        // The only small prime factor of the cofactor: points of that order are the most likely to pass by mistake.
        let small = U256::from(10_069);
        assert_eq!(cofactor % small, U256::ZERO);
        for _ in 0..30 {
            let member = (generator * scalar(&mut random)).into_affine();
            assert!(in_g2(&member));
            let stranger = on_the_twist(&mut random);
            assert_eq!(in_g2(&stranger), stranger.is_in_correct_subgroup_assuming_on_curve());
            let of_cofactor_order = stranger.mul_bigint(Fr::MODULUS).into_affine();
            assert!(!in_g2(&of_cofactor_order));
            let of_small_order = of_cofactor_order.mul_bigint((cofactor / small).into_limbs());
            if !of_small_order.is_zero() {
                assert!(!in_g2(&of_small_order.into_affine()));
                assert!(!in_g2(&(of_small_order + member).into_affine()));
            }
        }
    }

    #[test]
    fn pairings_agree_with_revm() {
        let mut random = Random::new(23);
        let (one, two) = (G1Projective::generator(), G2Projective::generator());
        let infinity = (G1Affine::identity(), G2Affine::identity());
        for count in 0..7 {
            let mut input = Vec::new();
            let mut sum = Fr::ZERO;
            for _ in 0..count {
                let (a, b) = (scalar(&mut random), scalar(&mut random));
                sum += a * b;
                input.extend(pair((one * a).into_affine(), (two * b).into_affine()));
            }
            agree(Fork::Osaka, 8, &input);
            // The pair that makes the product one.
            input.extend(pair((one * -sum).into_affine(), two.into_affine()));
            assert_eq!(agree(Fork::Osaka, 8, &input).unwrap()[31], 1, "{count}");
            for extra in
                [pair(infinity.0, two.into_affine()), pair(one.into_affine(), infinity.1), pair(infinity.0, infinity.1)]
            {
                let with = [input.as_slice(), &extra].concat();
                assert_eq!(agree(Fork::Byzantium, 8, &with).unwrap()[31], 1);
                agree(Fork::Istanbul, 8, &extra);
            }
            // A length that is no multiple of a pair; a flipped bit; a point of the twist outside the group.
            agree(Fork::Osaka, 8, &input[1..]);
            for _ in 0..4 {
                let mut wrong = input.clone();
                wrong[random.below(input.len())] ^= 1 << random.below(8);
                agree(Fork::Osaka, 8, &wrong);
            }
            let stranger = pair(one.into_affine(), on_the_twist(&mut random));
            assert_eq!(agree(Fork::Osaka, 8, &[input.as_slice(), &stranger].concat()), None);
            assert_eq!(agree(Fork::Osaka, 8, &pair(infinity.0, on_the_twist(&mut random))), None);
        }
        // Coordinates not below the modulus are rejected in every position, also in place of infinity's zeros.
        let valid = pair(one.into_affine(), two.into_affine());
        for place in 0..6 {
            for input in [&valid, &vec![0; PAIR]] {
                let mut input = input.clone();
                let word = &mut input[32 * place..32 * place + 32];
                let sum = U256::from_be_slice(word) + U256::from_limbs(Fq::MODULUS.0);
                word.copy_from_slice(&sum.to_be_bytes::<32>());
                assert_eq!(agree(Fork::Osaka, 8, &input), None);
            }
        }
    }
}
