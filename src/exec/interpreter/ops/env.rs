//! Instructions that read the environment: the frame, the transaction, the block and other accounts.

use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::address_to_word;
use crate::exec::evm::machine::{Evm, Input};
use alloy_primitives::{B256, U256};

/// ADDRESS.
#[inline]
pub fn address(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.frame().address)
}

/// ORIGIN.
#[inline]
pub fn origin(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.tx.origin)
}

/// CALLER.
#[inline]
pub fn caller(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.frame().caller)
}

/// CALLVALUE.
#[inline]
pub fn callvalue(evm: &mut Evm<'_>) -> U256 {
    evm.frame().value
}

/// CALLDATASIZE.
#[inline]
pub fn calldatasize(evm: &mut Evm<'_>) -> U256 {
    U256::from(match evm.frame().input {
        Input::Tx => evm.tx.input.len(),
        Input::Memory { len, .. } => len,
    })
}

/// CODESIZE.
#[inline]
pub fn codesize(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.frame().code.len())
}

/// GASPRICE.
#[inline]
pub fn gasprice(evm: &mut Evm<'_>) -> U256 {
    evm.tx.gas_price
}

/// RETURNDATASIZE (EIP-211).
#[inline]
pub fn returndatasize(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.return_data.len())
}

/// BALANCE.
#[inline]
pub fn balance(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.balance(left, &address)
}

/// EXTCODESIZE.
#[inline]
pub fn extcodesize(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.ext_code_size(left, &address).map(U256::from)
}

/// EXTCODEHASH (EIP-1052).
#[inline]
pub fn extcodehash(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.ext_code_hash(left, &address).map(B256::into)
}

/// BLOCKHASH.
#[inline]
pub fn blockhash(evm: &mut Evm<'_>, number: U256) -> Result<U256, Halt> {
    evm.block_hash(&number).map(B256::into)
}

/// COINBASE.
#[inline]
pub fn coinbase(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.block.coinbase)
}

/// TIMESTAMP.
#[inline]
pub fn timestamp(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.timestamp)
}

/// NUMBER.
#[inline]
pub fn number(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.number)
}

/// DIFFICULTY, from the merge on PREVRANDAO (EIP-4399).
#[inline]
pub fn prevrandao(evm: &mut Evm<'_>) -> U256 {
    evm.block.difficulty
}

/// GASLIMIT.
#[inline]
pub fn gaslimit(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.gas_limit)
}

/// CHAINID (EIP-1344).
#[inline]
pub fn chainid(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.chain_id)
}

/// SELFBALANCE (EIP-1884).
#[inline]
pub fn selfbalance(evm: &mut Evm<'_>) -> Result<U256, Halt> {
    evm.self_balance()
}

/// BASEFEE (EIP-3198).
#[inline]
pub fn basefee(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.base_fee)
}

/// BLOBHASH (EIP-4844): zero if the transaction has no blob of this index.
#[inline]
pub fn blobhash(evm: &mut Evm<'_>, index: U256) -> U256 {
    let hash = usize::try_from(index).ok().and_then(|index| evm.tx.blob_hashes.get(index));
    hash.map_or(U256::ZERO, |hash| (*hash).into())
}

/// BLOBBASEFEE (EIP-7516).
#[inline]
pub fn blobbasefee(evm: &mut Evm<'_>) -> U256 {
    evm.block.blob_base_fee
}

/// SLOTNUM (EIP-7843).
#[inline]
pub fn slotnum(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.slot_number)
}
