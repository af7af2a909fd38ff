//! Tests of sender recovery through its interface: every result is compared with libsecp256k1's.

#[cfg(target_arch = "x86_64")]
pub(super) mod exceptional;
pub(super) mod reference;
#[cfg(target_arch = "x86_64")]
mod scalars;

use alloy_primitives::{address, b256, uint};

use super::*;
use reference::{N, Numbers, P};

/// Recovers a batch, asserts that each result equals libsecp256k1's, and returns the results.
fn agree(signatures: &[Signature]) -> Vec<Option<Address>> {
    let mut out = vec![None; signatures.len()];
    recover_batch(signatures, &mut out);
    for (i, (signature, found)) in signatures.iter().zip(&out).enumerate() {
        assert_eq!(*found, recover_scalar(signature), "signature {i} of {}: {signature:?}", signatures.len());
    }
    out
}

/// A valid signature: r is the x coordinate of a curve point.
fn valid(numbers: &mut Numbers) -> Signature {
    Signature {
        hash: numbers.word().into(),
        r: numbers.point().0 % N,
        s: numbers.scalar() >> 1,
        y_parity: numbers.next() & 1 == 1,
        low_s: true,
    }
}

/// A signature of random numbers: for half of them, r is not the x coordinate of a curve point.
pub(super) fn random(numbers: &mut Numbers) -> Signature {
    Signature {
        hash: numbers.word().into(),
        r: numbers.word(),
        s: numbers.word(),
        y_parity: numbers.next() & 1 == 1,
        low_s: numbers.next() & 1 == 1,
    }
}

fn order_mul(a: U256, b: U256) -> U256 {
    a.mul_mod(b, N)
}

fn order_sub(a: U256, b: U256) -> U256 {
    a.add_mod(N - b % N, N)
}

/// The signature with multipliers u1 of G and u2 of R = tG.
fn signature_of(t: U256, u1: U256, u2: U256) -> Signature {
    let (x, y) = reference::multiply(t, reference::G).unwrap_or_default();
    let r = x % N;
    let hash = order_mul(order_sub(U256::ZERO, u1), r).into();
    Signature { hash, r, s: order_mul(u2, r), y_parity: y.bit(0), low_s: false }
}

/// A signature whose key is the point at infinity.
fn infinity(numbers: &mut Numbers) -> Signature {
    let (t, u2) = (numbers.scalar(), numbers.scalar());
    signature_of(t, order_sub(U256::ZERO, order_mul(t, u2)), u2)
}

#[test]
fn the_transaction_of_eip_155_has_the_sender_of_the_eip() {
    let signature = Signature {
        hash: b256!("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"),
        r: uint!(0x28EF61340BD939BC2195FE537567866003E1A15D3C71FF63E1590620AA636276_U256),
        s: uint!(0x67CBE9D8997F761AECB703304B3800CCF555C9F3DC64214B297FB1966A3B6D83_U256),
        y_parity: false,
        low_s: true,
    };
    let sender = Some(address!("9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"));
    assert_eq!(agree(&[signature]), [sender]);
    assert_eq!(agree(&[signature; 9]), [sender; 9]);
}

#[test]
fn random_signatures_agree_at_every_batch_size() {
    let mut numbers = Numbers(1);
    for count in 0..=64 {
        let mixed: Vec<_> = (0..count)
            .map(|_| if numbers.next() & 1 == 1 { valid(&mut numbers) } else { random(&mut numbers) })
            .collect();
        agree(&mixed);
        let all_valid: Vec<_> = (0..count).map(|_| valid(&mut numbers)).collect();
        assert!(agree(&all_valid).iter().all(Option::is_some));
    }
}

#[test]
fn random_signatures_agree_over_several_chunks() {
    let mut numbers = Numbers(2);
    for count in [127, 128, 129, 255, 256, 257, 1000, 4001] {
        agree(&(0..count).map(|_| random(&mut numbers)).collect::<Vec<_>>());
    }
}

#[test]
fn all_combinations_of_edge_values_agree() {
    let one = U256::ONE;
    let half = HALF_ORDER;
    let mut edges: Vec<_> = [U256::ZERO, half, N, P - N, P, U256::MAX]
        .into_iter()
        .flat_map(|edge| {
            [
                edge.wrapping_sub(U256::from(2)),
                edge.wrapping_sub(one),
                edge,
                edge.wrapping_add(one),
                edge.wrapping_add(U256::from(2)),
            ]
        })
        .collect();
    edges.extend([reference::G.unwrap_or_default().0, one << 128, one << 255, (one << 129) - one]);
    let hashes = [U256::ZERO, one, N - one, N, N + one, P, U256::MAX, half];
    let mut signatures = Vec::new();
    for &r in &edges {
        for &s in &edges {
            for &hash in &hashes {
                for bits in 0..4 {
                    let hash = hash.into();
                    signatures.push(Signature { hash, r, s, y_parity: bits & 1 == 1, low_s: bits & 2 == 2 });
                }
            }
        }
    }
    let valid_count = agree(&signatures).iter().flatten().count();
    assert!(valid_count > 1000, "{valid_count} of {}", signatures.len());
}

#[test]
fn low_s_is_required_only_where_the_signature_says_so() {
    let mut numbers = Numbers(3);
    for s in [HALF_ORDER, HALF_ORDER + U256::ONE, N - U256::ONE] {
        let any_s = Signature { s, low_s: false, ..valid(&mut numbers) };
        let low_s = Signature { low_s: true, ..any_s };
        let out = agree(&[any_s, low_s, any_s, low_s]);
        assert!(out[0].is_some());
        assert_eq!(out[1].is_some(), s == HALF_ORDER);
        assert!(ecrecover_point(&any_s.hash, &any_s.r, &any_s.s, any_s.y_parity).is_some());
    }
}

#[test]
fn an_invalid_signature_does_not_affect_the_others() {
    let mut numbers = Numbers(4);
    for count in [2, 3, 8, 9, 16, 17, 24, 40, 130] {
        let good: Vec<_> = (0..count).map(|_| valid(&mut numbers)).collect();
        let expected = agree(&good);
        for bad in 0..count {
            let infinity = infinity(&mut numbers);
            let broken = [
                Signature { r: U256::ZERO, ..good[bad] },
                Signature { s: U256::ZERO, ..good[bad] },
                Signature { r: N, ..good[bad] },
                Signature { s: U256::MAX, ..good[bad] },
                Signature { r: U256::from(5), ..good[bad] }, // 5^3 + 7 is not a square
                infinity,
            ];
            let broken = broken[bad % broken.len()];
            let mut mixed = good.clone();
            mixed[bad] = broken;
            let mut out = vec![Some(Address::ZERO); count];
            recover_batch(&mixed, &mut out);
            let mut wanted = expected.clone();
            wanted[bad] = None;
            assert_eq!(out, wanted, "{count} signatures, lane {bad}: {broken:?}");
        }
    }
}

#[test]
fn elements_beyond_the_shorter_slice_are_ignored() {
    let mut numbers = Numbers(5);
    let signatures: Vec<_> = (0..10).map(|_| valid(&mut numbers)).collect();
    let mut out = vec![Some(Address::ZERO); 12];
    recover_batch(&signatures, &mut out);
    assert_eq!(out[10..], [Some(Address::ZERO); 2]);
    let mut short = [None; 3];
    recover_batch(&signatures, &mut short);
    assert_eq!(short[..], out[..3]);
}

/// Wycheproof's vectors are for verification. Recovery agrees with a valid vector if one of the two
/// parities gives its key, and with an invalid one if neither does. Signatures whose nonce point
/// has x = r + n are valid, but their key cannot be recovered here.
#[test]
fn wycheproof_vectors_agree() {
    let number = |hex: &str| U256::from_str_radix(hex, 16).unwrap_or_default();
    let mut key = Address::ZERO;
    let (mut signatures, mut wanted) = (Vec::new(), Vec::new());
    for line in include_str!("wycheproof.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(' ').collect();
        if let ["key", x, y] = fields[..] {
            let mut point = [0; 64];
            point[..32].copy_from_slice(&number(x).to_be_bytes::<32>());
            point[32..].copy_from_slice(&number(y).to_be_bytes::<32>());
            key = Address::from_raw_public_key(&point);
        } else if let [hash, r, s, result] = fields[..] {
            for y_parity in [false, true] {
                let hash = number(hash).into();
                signatures.push(Signature { hash, r: number(r), s: number(s), y_parity, low_s: false });
            }
            wanted.push((key, result == "valid", number(r)));
        }
    }
    let found = agree(&signatures);
    assert_eq!(wanted.len(), 538);
    let mut beyond_order = 0;
    for (found, (key, verifies, r)) in found.as_chunks::<2>().0.iter().zip(wanted) {
        let recovered = found.contains(&Some(key));
        if verifies && !recovered {
            assert!(r < P - N, "only keys with x = r + n cannot be recovered: {r}");
            beyond_order += 1;
        } else {
            assert_eq!(recovered, verifies, "r = {r}");
        }
    }
    assert!(beyond_order > 0);
}
