//! Storage and transient storage of the frame's target. The first word argument is the top of the stack.

use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::Evm;
use alloy_primitives::U256;

/// SLOAD: the value of the slot; charges all of its gas.
#[inline]
pub fn sload(evm: &mut Evm<'_>, left: &mut u64, key: U256) -> Result<U256, Halt> {
    evm.sload(left, &key)
}

/// SSTORE: sets the value of the slot; charges all of its gas.
#[inline]
pub fn sstore(evm: &mut Evm<'_>, left: &mut u64, key: U256, value: U256) -> Result<(), Halt> {
    evm.sstore(left, &key, &value)
}

/// TLOAD (EIP-1153): the transient value of the key.
#[inline]
pub fn tload(evm: &mut Evm<'_>, key: U256) -> U256 {
    evm.tload(&key)
}

/// TSTORE (EIP-1153): sets the transient value of the key.
#[inline]
pub fn tstore(evm: &mut Evm<'_>, key: U256, value: U256) -> Result<(), Halt> {
    evm.tstore(key, value)
}
