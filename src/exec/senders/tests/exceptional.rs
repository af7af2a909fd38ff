//! Signatures constructed so that one lane meets an exceptional case of the addition law, or has no
//! key.
//!
//! With a nonce point R = tG of known t, the multipliers u1 and u2 can be chosen freely: z = -u1 r,
//! s = u2 r. So any partial sum of the four sequences of digits can be made equal to plus or minus
//! the multiple that is added next.

use super::reference::{LAMBDA, N, Numbers};
use super::*;
use crate::exec::senders::ifma::WIDTHS;
use crate::exec::senders::scalar::{regular, split};

/// The last digits of both halves of `k`, for windows of `width` bits, as numbers mod n.
fn last_digits(k: U256, width: u32, bits: u32) -> [U256; 2] {
    let (k1, k2) = split(k.as_limbs());
    [k1, k2].map(|half| {
        let window = U256::from(regular(half, bits)[0] & ((1 << width) - 1));
        order_sub(U256::from(2) * window + U256::ONE, U256::ONE << width)
    })
}

/// A signature in which addition `step` of the last four (R, lambda R, G, lambda G) adds the
/// partial sum to itself (`inverse` false), or its inverse, which gives infinity (`inverse` true).
pub(in crate::exec::senders) fn exceptional(numbers: &mut Numbers, step: usize, inverse: bool) -> Signature {
    let ((nonce_width, nonce_bits), (generator_width, generator_bits)) = WIDTHS;
    loop {
        let t = U256::from(1 + numbers.next() % 1000);
        let u1 = numbers.scalar();
        let [g, lambda_g] = last_digits(u1, generator_width, generator_bits);
        let lambda_g = order_mul(lambda_g, LAMBDA);
        // The last nonce digits depend on u2, which is computed from them: guess them, and try
        // again if the guess is wrong.
        let guess = order_sub(U256::from(2 * (numbers.next() % 32) + 1), U256::from(32));
        let (added, later) = match step {
            0 => (order_mul(guess, t), None),
            1 => (order_mul(order_mul(guess, t), LAMBDA), Some(g.add_mod(lambda_g, N))),
            2 => (g, Some(lambda_g)),
            _ => (lambda_g, Some(U256::ZERO)),
        };
        let Some(later) = later else {
            // For the first of the four additions, the three later ones must be known: guess lambda
            // R's digit as well.
            let other = order_sub(U256::from(2 * (numbers.next() % 32) + 1), U256::from(32));
            let later = g.add_mod(lambda_g, N).add_mod(order_mul(order_mul(other, t), LAMBDA), N);
            let u2 = solve(t, u1, added, later, inverse);
            if last_digits(u2, nonce_width, nonce_bits) == [guess, other] {
                return signature_of(t, u1, u2);
            }
            continue;
        };
        let u2 = solve(t, u1, added, later, inverse);
        let fits = step > 1 || last_digits(u2, nonce_width, nonce_bits)[1] == guess;
        if fits && !u2.is_zero() {
            return signature_of(t, u1, u2);
        }
    }
}

/// Solves u1 + t u2 - later - added = added (or -added) for u2.
fn solve(t: U256, u1: U256, added: U256, later: U256, inverse: bool) -> U256 {
    let before = if inverse { order_sub(U256::ZERO, added) } else { added };
    let sum = before.add_mod(added, N).add_mod(later, N);
    order_mul(order_sub(sum, u1), t.inv_mod(N).unwrap_or_default())
}

#[test]
fn constructed_exceptional_cases_agree_in_every_lane() {
    let mut numbers = Numbers(6);
    for lane in 0..8 {
        for inverse in [false, true] {
            let mut signatures: Vec<_> = (0..32).map(|_| valid(&mut numbers)).collect();
            for step in 0..4 {
                signatures[8 * step + lane] = exceptional(&mut numbers, step, inverse);
            }
            // Only infinity after the last addition makes the result invalid.
            let wanted = |i| !inverse || i != 24 + lane;
            assert!(agree(&signatures).iter().enumerate().all(|(i, out)| out.is_some() == wanted(i)));
        }
    }
}

#[test]
fn small_nonces_and_multipliers_agree() {
    // R = tG with small t and small multipliers: all partial sums are small multiples of G and
    // lambda G.
    let mut signatures = Vec::new();
    for t in 1..=6u64 {
        for u1 in 0..6u64 {
            for u2 in 1..6u64 {
                for (t, u2) in [(U256::from(t), U256::from(u2)), (N - U256::from(t), N - U256::from(u2))] {
                    signatures.push(signature_of(t, U256::from(u1), u2));
                    signatures.push(signature_of(order_mul(t, LAMBDA), U256::from(u1), u2));
                    signatures.push(signature_of(t, order_mul(U256::from(u1), LAMBDA), u2));
                    signatures.push(signature_of(t, order_sub(U256::ZERO, order_mul(t, u2)), u2));
                }
            }
        }
    }
    let out = agree(&signatures);
    assert!(out.iter().filter(|out| out.is_none()).count() >= 180);
}
