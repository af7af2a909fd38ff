//! Calls, creations and SELFDESTRUCT: converts stack words to the arguments of `evm::call` and `evm::host`.

use crate::exec::evm::call::{CallArgs, CallKind, Step};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::word_to_address;
use crate::exec::evm::machine::Evm;
use alloy_primitives::U256;

/// A word as an offset, a length or an amount of gas, saturated to 64 bits: more than any transaction can pay for.
#[inline(always)]
fn saturate(word: &U256) -> u64 {
    let limbs = word.as_limbs();
    if limbs[1] | limbs[2] | limbs[3] == 0 { limbs[0] } else { u64::MAX }
}

/// CALL and CALLCODE; `words` from the top of the stack downwards.
#[inline(always)]
pub fn call(evm: &mut Evm<'_>, left: &mut u64, kind: CallKind, words: [U256; 7]) -> Result<Step, Halt> {
    let [gas, to, value, in_offset, in_len, out_offset, out_len] = words;
    let limbs = value.as_limbs();
    let args = CallArgs {
        kind,
        gas: saturate(&gas),
        to,
        value,
        transfers: limbs[0] | limbs[1] | limbs[2] | limbs[3] != 0,
        input: (saturate(&in_offset), saturate(&in_len)),
        output: (saturate(&out_offset), saturate(&out_len)),
    };
    evm.call(left, &args)
}

/// DELEGATECALL and STATICCALL; `words` from the top of the stack downwards.
#[inline(always)]
pub fn call_without_value(evm: &mut Evm<'_>, left: &mut u64, kind: CallKind, words: [U256; 6]) -> Result<Step, Halt> {
    let [gas, to, in_offset, in_len, out_offset, out_len] = words;
    call(evm, left, kind, [gas, to, U256::ZERO, in_offset, in_len, out_offset, out_len])
}

/// CREATE; `words` from the top of the stack downwards.
#[inline]
pub fn create(evm: &mut Evm<'_>, left: &mut u64, words: [U256; 3]) -> Result<Step, Halt> {
    let [value, offset, len] = words;
    evm.create(left, value, offset, len, None)
}

/// CREATE2 (EIP-1014); `words` from the top of the stack downwards.
#[inline]
pub fn create2(evm: &mut Evm<'_>, left: &mut u64, words: [U256; 4]) -> Result<Step, Halt> {
    let [value, offset, len, salt] = words;
    evm.create(left, value, offset, len, Some(salt))
}

/// SELFDESTRUCT; `beneficiary` is the address in the low 20 bytes of the word.
#[inline]
pub fn selfdestruct(evm: &mut Evm<'_>, left: &mut u64, beneficiary: U256) -> Result<(), Halt> {
    evm.selfdestruct(left, &word_to_address(&beneficiary))
}
