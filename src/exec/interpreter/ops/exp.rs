//! EXP, whose gas depends on the byte length of its exponent.

use super::arithmetic::pow;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::charge;
use crate::exec::evm::machine::Evm;
use alloy_primitives::U256;

/// EXP (Yellow Paper; 50 gas per exponent byte since EIP-160).
#[inline]
pub fn exp(evm: &mut Evm<'_>, left: &mut u64, base: U256, exponent: U256) -> Result<U256, Halt> {
    charge(left, evm.rules.exp_byte * exponent.byte_len() as u64)?;
    Ok(pow(base, exponent))
}
