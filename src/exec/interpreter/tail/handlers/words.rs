//! Arithmetic, comparisons and bitwise operations: alone, fused with the instructions that push their words,
//! and fused with the jump that they decide.
//!
//! Contract of this group, in addition to that of the registers (see `machine`):
//! - in byte form `settle!` compares the stack height with what the instruction takes, before any word is accessed;
//! - in decoded form the block's height check covers every word that the sequence reads, and room for its
//!   result; distances in operands are in bytes and were written by the decoder for that height;
//! - dropped words are above `sp`, but still inside the frame's stack: they are read before anything is pushed;
//! - forms with a wide constant are followed by two places that hold it, fused branches by one with the second operand.

use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::limbs;
use crate::exec::interpreter::tail::machine::*;
use alloy_primitives::U256;

/// An instruction that computes one word from two; `a` is the top of the stack.
pub(in crate::exec::interpreter::tail) trait Binary {
    const OP: u8;
    fn apply(a: Limbs, b: Limbs) -> Limbs;
}
/// An instruction that computes one word from one.
pub(in crate::exec::interpreter::tail) trait Unary {
    const OP: u8;
    fn apply(a: Limbs) -> Limbs;
}

macro_rules! words {
    ($trait:ident: $($name:ident $op:ident |$($arg:ident),*| $body:expr;)*) => {$(
        pub(in crate::exec::interpreter::tail) struct $name;
        impl $trait for $name {
            const OP: u8 = op::$op;
            #[inline(always)]
            fn apply($($arg: Limbs),*) -> Limbs {
                $body
            }
        }
    )*};
}
words! { Binary:
    Add ADD |a, b| limbs::add(a, b);
    Mul MUL |a, b| limbs::mul(a, b);
    Sub SUB |a, b| limbs::sub(a, b);
    SignExtend SIGNEXTEND |a, b| limbs::signextend(a, b);
    Lt LT |a, b| limbs::small(u64::from(limbs::lt(a, b)));
    Gt GT |a, b| limbs::small(u64::from(limbs::lt(b, a)));
    Slt SLT |a, b| limbs::small(u64::from(limbs::slt(a, b)));
    Sgt SGT |a, b| limbs::small(u64::from(limbs::slt(b, a)));
    Eq EQ |a, b| limbs::small(u64::from(limbs::eq(a, b)));
    And AND |a, b| [a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]];
    Or OR |a, b| [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]];
    Xor XOR |a, b| [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]];
    Byte BYTE |a, b| limbs::byte(a, b);
    Shl SHL |a, b| limbs::shl(a, b);
    Shr SHR |a, b| limbs::shr(a, b);
    Sar SAR |a, b| limbs::sar(a, b);
}
/// An operation too large for its handler: a frequent simple case in line, the rest out of line.
pub(in crate::exec::interpreter::tail) trait Heavy {
    const OP: u8;
    /// The result if a few instructions suffice, otherwise `None`.
    fn quick(a: Limbs, b: Limbs) -> Option<Limbs>;
    fn full(a: Limbs, b: Limbs) -> Limbs;
}

/// Whether both words are below 2^64 and the divisor is not zero.
#[inline(always)]
fn both_small(a: Limbs, b: Limbs) -> bool {
    a[1] | a[2] | a[3] | b[1] | b[2] | b[3] == 0 && b[0] != 0
}

macro_rules! heavy {
    ($($name:ident $op:ident |$a:ident, $b:ident| $quick:expr, |$c:ident, $d:ident| $full:expr;)*) => {$(
        pub(in crate::exec::interpreter::tail) struct $name;
        impl Heavy for $name {
            const OP: u8 = op::$op;
            #[inline(always)]
            fn quick($a: Limbs, $b: Limbs) -> Option<Limbs> {
                if both_small($a, $b) { Some(limbs::small($quick)) } else { None }
            }
            #[inline(always)]
            fn full($c: Limbs, $d: Limbs) -> Limbs {
                $full
            }
        }
    )*};
}
heavy! {
    Div DIV |a, b| a[0] / b[0], |a, b| limbs::div_rem(a, b).0;
    Mod MOD |a, b| a[0] % b[0], |a, b| limbs::div_rem(a, b).1;
    Sdiv SDIV |a, b| a[0] / b[0], |a, b| limbs::sdiv(a, b);
    Smod SMOD |a, b| a[0] % b[0], |a, b| limbs::smod(a, b);
}

/// Runs an operation out of line on the words at `a` and `b`; the result goes to `target`.
///
/// # Safety
/// - `a` and `b` can be read and `target` can be written, as four limbs each; they may be the same.
#[inline(never)]
unsafe extern "C" fn full<K: Heavy>(target: *mut U256, a: *const U256, b: *const U256) {
    // SAFETY: as the caller guarantees.
    unsafe {
        store(target, K::full(load(a), load(b)));
    }
}

handler! {
    heavy [K: Heavy, F: Form] (r) {
        settle!(F, r, K::OP);
        r.drop(1);
        let (a, b) = (load(r.sp), r.peek(0));
        match K::quick(a, b) {
            Some(word) => r.poke(0, word),
            None => full::<K>(r.sp.sub(1), r.sp, r.sp.sub(1)),
        }
        next!(F, r, K::OP)
    }
}
handler! {
    /// SWAP1, then the operation.
    heavy_swapped [K: Heavy] (r) {
        r.drop(1);
        let (a, b) = (r.peek(0), load(r.sp));
        match K::quick(a, b) {
            Some(word) => r.poke(0, word),
            None => full::<K>(r.sp.sub(1), r.sp.sub(1), r.sp),
        }
        skip!(r, 1)
    }
}

/// ADDMOD out of line, for words that are not both below the modulus. `target` holds the modulus and receives
/// the result.
///
/// # Safety
/// - `a` and `b` can be read and `target` can be read and written, as four limbs each.
#[inline(never)]
unsafe extern "C" fn addmod_full(target: *mut U256, b: *const U256, a: *const U256) {
    // SAFETY: as the caller guarantees.
    unsafe {
        store(target, limbs::addmod(load(a), load(b), load(target)));
    }
}

handler! {
    /// ADDMOD: in line if both words are below the modulus.
    addmod [F: Form] (r) {
        settle!(F, r, op::ADDMOD);
        r.drop(2);
        let (modulus, b, a) = (r.peek(0), load(r.sp), load(r.sp.add(1)));
        match limbs::addmod_of_reduced(a, b, modulus) {
            Some(word) => r.poke(0, word),
            None => addmod_full(r.sp.sub(1), r.sp, r.sp.add(1)),
        }
        next!(F, r, op::ADDMOD)
    }
}
words! { Unary:
    IsZero ISZERO |a| limbs::small(u64::from(limbs::is_zero(a)));
    Not NOT |a| [!a[0], !a[1], !a[2], !a[3]];
    Clz CLZ |a| limbs::clz(a);
}

handler! {
    unary [K: Unary, F: Form] (r) {
        settle!(F, r, K::OP);
        r.poke(0, K::apply(r.peek(0)));
        next!(F, r, K::OP)
    }
}
handler! {
    binary [K: Binary, F: Form] (r) {
        settle!(F, r, K::OP);
        let word = K::apply(r.peek(0), r.peek(1));
        r.drop(1);
        r.poke(0, word);
        next!(F, r, K::OP)
    }
}
/// Source of a fused operation's words: the operand, and the stack as it is before the sequence.
pub(in crate::exec::interpreter::tail) trait From {
    /// Words of the stack that the operation consumes.
    const DROPS: usize;
    /// Top and second word of the operation.
    ///
    /// # Safety
    /// - The distances in `operand` from `r.sp` lead to words of the frame's stack.
    unsafe fn words(r: &Regs, operand: u64) -> (Limbs, Limbs);
}

/// The word `bytes` below the end of the stack.
///
/// # Safety
/// - That word is on the frame's stack.
#[inline(always)]
unsafe fn below(r: &Regs, bytes: u64) -> Limbs {
    // SAFETY: as the caller guarantees.
    unsafe { load(r.sp.byte_sub((bytes & 0xffff) as usize)) }
}

macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident drops $drops:literal |$r:ident, $operand:ident| $a:expr, $b:expr;)*) => {$(
        $(#[$doc])*
        pub(in crate::exec::interpreter::tail) struct $name;
        impl From for $name {
            const DROPS: usize = $drops;
            #[inline(always)]
            unsafe fn words($r: &Regs, $operand: u64) -> (Limbs, Limbs) {
                // SAFETY: as the caller guarantees.
                unsafe { ($a, $b) }
            }
        }
    )*};
}
sources! {
    /// PUSH of at most 8 bytes, which are the operand.
    FromImm drops 1 |r, operand| limbs::small(operand), r.peek(0);
    /// DUPn; the operand is n in bytes of stack.
    FromDup drops 1 |r, operand| below(r, operand), r.peek(0);
    /// DUPn, PUSH: the immediate is on top.
    FromDupImm drops 0 |r, operand| limbs::small(operand >> 16), below(r, operand);
    /// PUSH, DUPn: the duplicate is on top.
    FromImmDup drops 0 |r, operand| below(r, operand), limbs::small(operand >> 16);
    /// DUPm, DUPn; the offsets count from the height before both.
    FromDupDup drops 0 |r, operand| below(r, operand), below(r, operand >> 16);
}

handler! {
    /// The instructions that push the words, then the operation.
    binary_from [K: Binary, S: From] (r) {
        let (a, b) = S::words(&r, r.operand());
        r.drop(S::DROPS);
        r.push(K::apply(a, b));
        skip!(r, 1)
    }
}
handler! {
    /// The same, then a static JUMPI. The words' operand is in the next instruction.
    branch_from [K: Binary, S: From, const NEGATED: bool] (r) {
        let (a, b) = S::words(&r, (*r.pc.add(1)).operand);
        r.drop(S::DROPS);
        let truth = !limbs::is_zero(K::apply(a, b));
        branch!(r, truth != NEGATED, 2)
    }
}
handler! {
    /// PUSH of more than 8 bytes, then the operation.
    binary_wide [K: Binary] (r) {
        r.poke(0, K::apply(r.wide(), r.peek(0)));
        skip!(r, 3)
    }
}
handler! {
    /// PUSH of more than 8 bytes, DUPn, then the operation. The operand is that of the DUP.
    binary_wide_dup [K: Binary] (r) {
        let top = below(&r, r.operand());
        r.push(K::apply(top, r.wide()));
        skip!(r, 3)
    }
}
handler! {
    /// SWAP1, then the operation.
    binary_swapped [K: Binary] (r) {
        let word = K::apply(r.peek(1), r.peek(0));
        r.drop(1);
        r.poke(0, word);
        skip!(r, 1)
    }
}
