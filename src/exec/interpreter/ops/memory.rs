//! Memory, copies into it, and its Keccak-256 hash. The first word argument is the top of the stack.

use crate::arena::keccak::keccak256;
use crate::exec::evm::gas::{memory_gas, words};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::charge;
use crate::exec::evm::machine::{Evm, Input};
use alloy_primitives::U256;

/// An offset as an index, saturated: larger values lie beyond every source.
#[inline(always)]
fn saturate(offset: &U256) -> usize {
    let limbs = offset.as_limbs();
    if limbs[1] | limbs[2] | limbs[3] == 0 { limbs[0] as usize } else { usize::MAX }
}

/// Copies `source[offset..]` to `target`, with zeros beyond the end of the source.
#[inline]
fn copy_padded(target: &mut [u8], source: &[u8], offset: usize) {
    let rest = source.get(offset..).unwrap_or_default();
    let len = rest.len().min(target.len());
    let (head, tail) = target.split_at_mut(len);
    head.copy_from_slice(&rest[..len]);
    tail.fill(0);
}

/// Gas for `len` bytes at `price` per word; [`Halt::OutOfGas`] if the length is too large for any transaction.
#[inline]
fn per_word(len: &U256, price: u64) -> Result<u64, Halt> {
    let limbs = len.as_limbs();
    if limbs[1] | limbs[2] | limbs[3] | limbs[0] >> 32 == 0 { Ok(words(limbs[0]) * price) } else { Err(Halt::OutOfGas) }
}

/// MLOAD: the big-endian word at `offset`.
#[inline]
pub fn mload(evm: &mut Evm<'_>, left: &mut u64, offset: U256) -> Result<U256, Halt> {
    let (offset, len) = evm.expand(left, offset, U256::from_limbs([32, 0, 0, 0]))?;
    let start = evm.frame().memory_base + offset;
    let word = evm.memory[start..start + len].first_chunk::<32>();
    Ok(word.map_or(U256::ZERO, |word| U256::from_be_bytes(*word)))
}

/// MSTORE: stores a word at `offset`, big-endian.
#[inline]
pub fn mstore(evm: &mut Evm<'_>, left: &mut u64, offset: U256, value: U256) -> Result<(), Halt> {
    let (offset, len) = evm.expand(left, offset, U256::from_limbs([32, 0, 0, 0]))?;
    let start = evm.frame().memory_base + offset;
    evm.memory[start..start + len].copy_from_slice(&value.to_be_bytes::<32>());
    Ok(())
}

/// MSTORE8: stores the least significant byte.
#[inline]
pub fn mstore8(evm: &mut Evm<'_>, left: &mut u64, offset: U256, value: U256) -> Result<(), Halt> {
    let (offset, _) = evm.expand(left, offset, U256::ONE)?;
    let start = evm.frame().memory_base + offset;
    evm.memory[start] = value.as_limbs()[0] as u8;
    Ok(())
}

/// MCOPY (EIP-5656): copies within the memory; the ranges may overlap.
#[inline]
pub fn mcopy(evm: &mut Evm<'_>, left: &mut u64, target: U256, source: U256, len: U256) -> Result<(), Halt> {
    charge(left, per_word(&len, 3)?)?;
    let further = if target < source { source } else { target };
    let (_, len_bytes) = evm.expand(left, further, len)?;
    if len_bytes > 0 {
        // Both are below the end of the memory that was just paid for.
        let base = evm.frame().memory_base;
        let (target, source) = (base + saturate(&target), base + saturate(&source));
        evm.memory.copy_within(source..source + len_bytes, target);
    }
    Ok(())
}

/// KECCAK256: the hash of a range of the memory.
#[inline]
pub fn keccak(evm: &mut Evm<'_>, left: &mut u64, offset: U256, len: U256) -> Result<U256, Halt> {
    charge(left, per_word(&len, 6)?)?;
    let (offset, len) = evm.expand(left, offset, len)?;
    let start = evm.frame().memory_base + offset;
    let input = &evm.memory[start..start + len];
    let hash = match <&[u8; 64]>::try_from(input) {
        Ok(pair) => evm.hashes.keccak(pair),
        Err(_) => keccak256(input),
    };
    Ok(hash.into())
}

/// First part of copy instructions: charges, expands the memory, and returns the absolute range of the target.
#[inline]
fn copy_target(evm: &mut Evm<'_>, left: &mut u64, target: U256, len: U256) -> Result<core::ops::Range<usize>, Halt> {
    charge(left, per_word(&len, 3)?)?;
    let (target, len) = evm.expand(left, target, len)?;
    let start = evm.frame().memory_base + target;
    Ok(start..start + len)
}

/// CALLDATALOAD: zeros beyond the end of the calldata.
#[inline]
pub fn calldataload(evm: &mut Evm<'_>, offset: U256) -> U256 {
    let input = evm.frame().input;
    let data = evm.input(input);
    let offset = saturate(&offset);
    if let Some(word) = data.get(offset..).and_then(<[u8]>::first_chunk::<32>) {
        return U256::from_be_bytes(*word);
    }
    let mut word = [0; 32];
    copy_padded(&mut word, data, offset);
    U256::from_be_bytes(word)
}

/// CALLDATACOPY: zeros beyond the end of the calldata.
#[inline]
pub fn calldatacopy(evm: &mut Evm<'_>, left: &mut u64, target: U256, offset: U256, len: U256) -> Result<(), Halt> {
    let range = copy_target(evm, left, target, len)?;
    match evm.frame().input {
        Input::Tx => copy_padded(&mut evm.memory[range], evm.tx.input, saturate(&offset)),
        Input::Memory { start, len } => {
            // Calldata is in the memory of a frame below, so it ends before this frame's memory begins.
            let (below, own) = evm.memory.split_at_mut(evm.frames[evm.frames.len() - 1].memory_base);
            let base = below.len();
            let source = below.get(start..start + len).unwrap_or_default();
            if !range.is_empty() {
                copy_padded(&mut own[range.start - base..range.end - base], source, saturate(&offset));
            }
        }
    }
    Ok(())
}

/// CODECOPY: zeros beyond the end of the code.
#[inline]
pub fn codecopy(evm: &mut Evm<'_>, left: &mut u64, target: U256, offset: U256, len: U256) -> Result<(), Halt> {
    let range = copy_target(evm, left, target, len)?;
    let frame = &evm.frames[evm.frames.len() - 1];
    copy_padded(&mut evm.memory[range], frame.code.bytes(), saturate(&offset));
    Ok(())
}

/// RETURNDATACOPY (EIP-211): a range beyond the return data halts, even if it is empty.
#[inline]
pub fn returndatacopy(evm: &mut Evm<'_>, left: &mut u64, target: U256, offset: U256, len: U256) -> Result<(), Halt> {
    let available = evm.return_data.len();
    let end = saturate(&offset).saturating_add(saturate(&len));
    if end > available {
        return Err(Halt::ReturnDataOutOfBounds);
    }
    let range = copy_target(evm, left, target, len)?;
    let offset = saturate(&offset);
    let len = range.len();
    evm.memory[range].copy_from_slice(&evm.return_data[offset..offset + len]);
    Ok(())
}

/// EXTCODECOPY. All costs are charged at once, because the account counts as accessed only if all are paid (EIP-7928).
pub fn extcodecopy(
    evm: &mut Evm<'_>,
    left: &mut u64,
    address: U256,
    target: U256,
    offset: U256,
    len: U256,
) -> Result<(), Halt> {
    let copy = per_word(&len, 3)?;
    let len = u32::try_from(len).map_err(|_| Halt::OutOfGas)? as usize;
    let start = if len == 0 { 0 } else { u32::try_from(target).map_err(|_| Halt::OutOfGas)? as usize };
    let old = evm.frame().memory_len as u64 / 32;
    let new = if len == 0 { old } else { words((start + len) as u64).max(old) };
    let code = evm.ext_code(left, &address, copy + memory_gas(new) - memory_gas(old))?;
    evm.grow_memory(new as usize * 32);
    let start = evm.frame().memory_base + start;
    copy_padded(&mut evm.memory[start..start + len], code.bytes(), saturate(&offset));
    Ok(())
}

/// MSIZE: the size of the memory in bytes, a multiple of 32.
#[inline]
pub fn msize(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.frame().memory_len)
}
