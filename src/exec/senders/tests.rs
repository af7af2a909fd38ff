//! Tests of sender recovery.

use alloy_primitives::{address, b256, uint};

use super::*;

#[test]
fn the_transaction_of_eip_155_has_the_sender_of_the_eip() {
    let signature = Signature {
        hash: b256!("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"),
        r: uint!(0x28EF61340BD939BC2195FE537567866003E1A15D3C71FF63E1590620AA636276_U256),
        s: uint!(0x67CBE9D8997F761AECB703304B3800CCF555C9F3DC64214B297FB1966A3B6D83_U256),
        y_parity: false,
        low_s: true,
    };
    let mut out = [None];
    recover_batch(&[signature], &mut out);
    assert_eq!(out[0], Some(address!("9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F")));
}

/// A small generator of test numbers (xorshift64*): the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn word(&mut self) -> U256 {
        U256::from_limbs([self.next(), self.next(), self.next(), self.next()])
    }
}

/// Compares the batch with libsecp256k1, one by one.
fn agree(signatures: &[Signature]) {
    let mut out = vec![None; signatures.len()];
    recover_batch(signatures, &mut out);
    for (signature, found) in signatures.iter().zip(out) {
        assert_eq!(found, recover_scalar(signature), "{signature:?}");
    }
}

#[test]
fn random_signatures_agree() {
    let mut numbers = Numbers(1);
    for count in 1..=64 {
        let signatures: Vec<_> = (0..count)
            .map(|_| Signature {
                hash: numbers.word().into(),
                r: numbers.word(),
                s: numbers.word(),
                y_parity: numbers.next() & 1 == 1,
                low_s: numbers.next() & 1 == 1,
            })
            .collect();
        agree(&signatures);
    }
}
