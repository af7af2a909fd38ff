//! Unsafe boundary to AWS-LC's big integers: modular exponentiation with an odd modulus.
//!
//! For every call below: pointers come from live slices or from AWS-LC itself, are checked for null before use,
//! belong to this call alone, and are freed once, when [`Number`] or [`Context`] is dropped. AWS-LC does not keep them.
//! Reference implementation: `aurora-engine-modexp`; the tests compare with it.
//! Not here: gas, padding, and the choice between this and other implementations.
#![allow(unsafe_code)]

use aws_lc_sys::{
    BIGNUM, BN_CTX, BN_CTX_free, BN_CTX_new, BN_bin2bn, BN_bn2bin_padded, BN_free, BN_mod_exp_mont, BN_new, BN_nnmod,
};
use core::ptr::{NonNull, null, null_mut};

struct Number(NonNull<BIGNUM>);

impl Number {
    fn new() -> Option<Self> {
        // SAFETY: no arguments; null if memory runs out.
        NonNull::new(unsafe { BN_new() }).map(Self)
    }

    fn from_be_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: reads `len` bytes of a live slice; a null destination asks for a new number.
        NonNull::new(unsafe { BN_bin2bn(bytes.as_ptr(), bytes.len(), null_mut()) }).map(Self)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: made by BN_new or BN_bin2bn and not freed elsewhere.
        unsafe { BN_free(self.0.as_ptr()) }
    }
}

struct Context(NonNull<BN_CTX>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by BN_CTX_new and not freed elsewhere.
        unsafe { BN_CTX_free(self.0.as_ptr()) }
    }
}

/// `base^exponent mod modulus`, written to `result` as big-endian bytes with leading zeros; the arguments are
/// big-endian.
///
/// `None`, with `result` undefined, for an even modulus, for a result that is longer than `result`, or if
/// memory runs out.
pub(super) fn power(base: &[u8], exponent: &[u8], modulus: &[u8], result: &mut [u8]) -> Option<()> {
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return None;
    }
    let (base, exponent) = (Number::from_be_bytes(base)?, Number::from_be_bytes(exponent)?);
    let (modulus, power) = (Number::from_be_bytes(modulus)?, Number::new()?);
    // SAFETY: no arguments; null if memory runs out.
    let context = Context(NonNull::new(unsafe { BN_CTX_new() })?);
    // SAFETY: four live numbers and a live context; reducing in place is allowed; a null Montgomery context asks
    // BN_mod_exp_mont to make its own. BN_bn2bin_padded writes `len` bytes of a live slice or nothing.
    let ok = unsafe {
        BN_nnmod(base.0.as_ptr(), base.0.as_ptr(), modulus.0.as_ptr(), context.0.as_ptr()) == 1
            && BN_mod_exp_mont(
                power.0.as_ptr(),
                base.0.as_ptr(),
                exponent.0.as_ptr(),
                modulus.0.as_ptr(),
                context.0.as_ptr(),
                null(),
            ) == 1
            && BN_bn2bin_padded(result.as_mut_ptr(), result.len(), power.0.as_ptr()) == 1
    };
    ok.then_some(())
}
