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
