//! Pointers of the host, turned into references and slices.
//!
//! In: a pointer that a function of the header was given. Out: a reference, or `BAL_USAGE` for a null pointer or a struct
//! of another size.
//! Relies on: the contract of the header, that a pointer which is not null points to an object of its type that lives
//! and is not changed during the call.

#![allow(unsafe_code, reason = "pointers of the host")]

use crate::failure::Failure;
use crate::types::{BalBytes, BalOptions, BalRules, BalStore, BalSummary};
use core::ptr::NonNull;

/// A struct of the header that begins with its size.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `u32`, and every bit pattern is a value of it.
pub(crate) unsafe trait Sized32: Copy {
    /// Its name in the header.
    const NAME: &'static str;
}

// SAFETY: `repr(C)`, first field `size: u32`, integers, raw pointers and optional function pointers alone.
unsafe impl Sized32 for BalStore {
    const NAME: &'static str = "bal_store";
}
// SAFETY: `repr(C)`, first field `size: u32`, integers alone.
unsafe impl Sized32 for BalOptions {
    const NAME: &'static str = "bal_options";
}
// SAFETY: `repr(C)`, first field `size: u32`, integers alone.
unsafe impl Sized32 for BalRules {
    const NAME: &'static str = "bal_rules";
}
// SAFETY: `repr(C)`, first field `size: u32`, integers alone.
unsafe impl Sized32 for BalSummary {
    const NAME: &'static str = "bal_summary";
}

/// The object behind a pointer.
///
/// # Safety
/// `pointer` is null or points to a `T` that lives for `'a` and that nobody changes meanwhile but through
/// interior mutability.
pub(crate) unsafe fn object<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: null is tested by `as_ref`; else the caller guarantees a live object that is not changed.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::usage(format!("{name} is null")))
}

/// Where a function writes its result to; the memory there need not hold a value.
pub(crate) struct Place<T>(NonNull<T>);

impl<T> Place<T> {
    /// Writes the result.
    pub(crate) fn set(&self, value: T) {
        // SAFETY: `place` requires memory for a `T` that nobody else uses.
        unsafe { self.0.write(value) }
    }
}

/// The place behind a pointer.
///
/// # Safety
/// `pointer` is null or points to memory for a `T` that nobody else uses while the [`Place`] lives.
pub(crate) unsafe fn place<T>(pointer: *mut T, name: &str) -> Result<Place<T>, Failure> {
    NonNull::new(pointer).map(Place).ok_or_else(|| Failure::usage(format!("{name} is null")))
}

/// A copy of a struct that begins with its size, after a test of that size.
///
/// # Safety
/// `pointer` is null or points to a struct that begins with a `u32`; if that number is the size of `T`, to a `T`.
pub(crate) unsafe fn sized<T: Sized32>(pointer: *const T) -> Result<T, Failure> {
    let name = T::NAME;
    // SAFETY: the first field of each `Sized32` is a `u32`, and the caller guarantees at least that one.
    let size = *unsafe { object(pointer.cast::<u32>(), name) }?;
    if size as usize != size_of::<T>() {
        return Err(Failure::usage(format!("{name}.size is {size}, this library expects {}", size_of::<T>())));
    }
    // SAFETY: the host says by the size that the whole struct is there.
    unsafe { object(pointer, name) }.copied()
}

/// The bytes that a host lends for a call; a null pointer with length zero is the empty slice.
///
/// # Safety
/// Unless the length is zero, `bytes.ptr` is null or points to `bytes.len` bytes that live for `'a` and are not changed.
pub(crate) unsafe fn bytes<'a>(bytes: BalBytes, name: &str) -> Result<&'a [u8], Failure> {
    if bytes.len == 0 {
        return Ok(&[]);
    }
    if bytes.ptr.is_null() {
        return Err(Failure::usage(format!("{name}.ptr is null, {name}.len is {}", bytes.len)));
    }
    if bytes.len > isize::MAX as usize {
        return Err(Failure::usage(format!("{name}.len is {}, more than there can be", bytes.len)));
    }
    // SAFETY: not null, at most `isize::MAX` bytes, live and unchanged by the caller's guarantee.
    Ok(unsafe { core::slice::from_raw_parts(bytes.ptr, bytes.len) })
}

/// Gives an object to the host.
pub(crate) fn give<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back that [`give`] gave, and drops it; null is ignored.
///
/// # Safety
/// `pointer` is null or from [`give`], and nobody uses it any more.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: from `Box::into_raw`, and not freed before, by the caller's guarantee.
        let object = unsafe { Box::from_raw(pointer) };
        // A panic of a destructor must not leave the function either.
        let _ = crate::failure::caught(|| {
            drop(object);
            Ok(())
        });
    }
}
