//! Jump destinations, RETURN and REVERT.

use crate::arena::code::Code;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, Exit};
use alloy_primitives::U256;

/// The code position of a jump destination; [`Halt::InvalidJump`] if it is no JUMPDEST.
#[inline(always)]
pub fn destination(code: &Code, to: &U256) -> Result<usize, Halt> {
    let limbs = to.as_limbs();
    let pc = limbs[0] as usize;
    if limbs[1] | limbs[2] | limbs[3] == 0 && code.is_jumpdest(pc) { Ok(pc) } else { Err(Halt::InvalidJump) }
}

/// RETURN: the exit with the output range; expands the memory to it.
#[inline]
pub fn ret(evm: &mut Evm<'_>, left: &mut u64, offset: U256, len: U256) -> Result<Exit, Halt> {
    let (offset, len) = evm.expand(left, offset, len)?;
    Ok(Exit::Return { offset, len })
}

/// REVERT (EIP-140): the exit with the output range; expands the memory to it.
#[inline]
pub fn revert(evm: &mut Evm<'_>, left: &mut u64, offset: U256, len: U256) -> Result<Exit, Halt> {
    let (offset, len) = evm.expand(left, offset, len)?;
    Ok(Exit::Revert { offset, len })
}
