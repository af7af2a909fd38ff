//! The kernels against the plain arithmetic that they stand for.

use super::{is_less, load_word, push_word};
use alloy_primitives::U256;
use proptest::collection::vec;
use proptest::prelude::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn loaded(bytes: &[u8], end: usize, len: usize) -> U256 {
    assert!(len <= 32 && len <= end && end <= bytes.len());
    let mut words = Vec::with_capacity(1);
    // SAFETY: the bounds were just checked, and the vector has room for one word.
    unsafe { push_word(&mut words, load_word(bytes, end, len as u8)) };
    words[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn is_less_wide(a: &U256, b: &U256) -> bool {
    let (a, b) = (a.to_be_bytes::<32>(), b.to_be_bytes::<32>());
    // SAFETY: both words lie in their arrays.
    unsafe { is_less(load_word(&a, 32, 32), load_word(&b, 32, 32)) }
}

fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi2")
}

proptest! {
    #[test]
    fn words_load_at_any_place(bytes in vec(any::<u8>(), 0..80), end: prop::sample::Index, len in 0..=32usize) {
        let end = end.index(bytes.len() + 1);
        let len = len.min(end);
        if is_available() {
            // SAFETY: the CPU has the features.
            let word = unsafe { loaded(&bytes, end, len) };
            prop_assert_eq!(word, U256::from_be_slice(&bytes[end - len..end]));
        }
    }

    #[test]
    fn order_is_that_of_integers(a: [u64; 4], b: [u64; 4], same in 0..5usize) {
        let (a, mut b) = (U256::from_limbs(a), b);
        b[4 - same..].copy_from_slice(&a.as_limbs()[4 - same..]);
        let b = U256::from_limbs(b);
        prop_assert_eq!(crate::bal::rlp::is_less(&a, &b), a < b);
        if is_available() {
            // SAFETY: the CPU has the features.
            prop_assert_eq!(unsafe { is_less_wide(&a, &b) }, a < b);
        }
    }
}
