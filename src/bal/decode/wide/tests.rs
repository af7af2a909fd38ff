//! Tests the kernels against plain integer arithmetic.

use super::{is_available, load_word, mask_of, write_word};
use alloy_primitives::U256;
use proptest::collection::vec;
use proptest::prelude::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn loaded(bytes: &[u8], end: usize, len: usize) -> U256 {
    assert!(len <= 32 && len <= end && end <= bytes.len());
    let mut word = U256::ZERO;
    // SAFETY: the bounds were just checked.
    unsafe { write_word(&mut word, load_word(bytes, end, mask_of(len as u8))) };
    word
}

proptest! {
    #[test]
    fn words_load_from_any_position(bytes in vec(any::<u8>(), 0..80), end: prop::sample::Index, len in 0..=32usize) {
        let end = end.index(bytes.len() + 1);
        let len = len.min(end);
        if is_available() {
            // SAFETY: `is_available` has detected the features.
            let word = unsafe { loaded(&bytes, end, len) };
            prop_assert_eq!(word, U256::from_be_slice(&bytes[end - len..end]));
        }
    }

    #[test]
    fn is_less_is_the_order_of_integers(a: [u64; 4], b: [u64; 4], same in 0..5usize) {
        let (a, mut b) = (U256::from_limbs(a), b);
        b[4 - same..].copy_from_slice(&a.as_limbs()[4 - same..]);
        let b = U256::from_limbs(b);
        prop_assert_eq!(crate::bal::rlp::is_less(&a, &b), a < b);
    }
}
