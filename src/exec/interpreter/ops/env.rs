//! Instructions that read the environment: the frame, the transaction, the block and other accounts.

use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::address_to_word;
use crate::exec::evm::machine::{Evm, Input};
use alloy_primitives::{B256, U256};

/// ADDRESS: the contract whose storage the frame accesses.
#[inline]
pub fn address(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.frame().address)
}

/// ORIGIN: the sender of the transaction.
#[inline]
pub fn origin(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.tx.origin)
}

/// CALLER: the address that made the call.
#[inline]
pub fn caller(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.frame().caller)
}

/// CALLVALUE: the value of the call in wei.
#[inline]
pub fn callvalue(evm: &mut Evm<'_>) -> U256 {
    evm.frame().value
}

/// CALLDATASIZE, in bytes.
#[inline]
pub fn calldatasize(evm: &mut Evm<'_>) -> U256 {
    U256::from(match evm.frame().input {
        Input::Tx => evm.tx.input.len(),
        Input::Memory { len, .. } => len,
    })
}

/// CODESIZE: the length of the running code in bytes.
#[inline]
pub fn codesize(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.frame().code.len())
}

/// GASPRICE: the effective gas price in wei.
#[inline]
pub fn gasprice(evm: &mut Evm<'_>) -> U256 {
    evm.tx.gas_price
}

/// RETURNDATASIZE (EIP-211), in bytes.
#[inline]
pub fn returndatasize(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.return_data.len())
}

/// BALANCE of an account in wei; charges all of its gas.
#[inline]
pub fn balance(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.balance(left, &address)
}

/// EXTCODESIZE of an account in bytes; charges all of its gas.
#[inline]
pub fn extcodesize(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.ext_code_size(left, &address).map(U256::from)
}

/// EXTCODEHASH (EIP-1052) of an account; charges all of its gas.
#[inline]
pub fn extcodehash(evm: &mut Evm<'_>, left: &mut u64, address: U256) -> Result<U256, Halt> {
    evm.ext_code_hash(left, &address).map(B256::into)
}

/// BLOCKHASH: zero for blocks other than the last 256.
#[inline]
pub fn blockhash(evm: &mut Evm<'_>, number: U256) -> Result<U256, Halt> {
    evm.block_hash(&number).map(B256::into)
}

/// COINBASE: address of the fee recipient.
#[inline]
pub fn coinbase(evm: &mut Evm<'_>) -> U256 {
    address_to_word(&evm.block.coinbase)
}

/// TIMESTAMP of the block, in seconds since 1970.
#[inline]
pub fn timestamp(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.timestamp)
}

/// NUMBER: height of the block.
#[inline]
pub fn number(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.number)
}

/// DIFFICULTY; since the merge PREVRANDAO (EIP-4399).
#[inline]
pub fn prevrandao(evm: &mut Evm<'_>) -> U256 {
    evm.block.difficulty
}

/// GASLIMIT of the block.
#[inline]
pub fn gaslimit(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.gas_limit)
}

/// CHAINID (EIP-1344) of the chain.
#[inline]
pub fn chainid(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.chain_id)
}

/// SELFBALANCE (EIP-1884): balance of the frame's target in wei.
#[inline]
pub fn selfbalance(evm: &mut Evm<'_>) -> Result<U256, Halt> {
    evm.self_balance()
}

/// BASEFEE (EIP-3198): base fee of the block in wei per gas.
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

/// BLOBBASEFEE (EIP-7516): base fee of the block in wei per blob gas.
#[inline]
pub fn blobbasefee(evm: &mut Evm<'_>) -> U256 {
    evm.block.blob_base_fee
}

/// SLOTNUM (EIP-7843): slot number of the block in the consensus layer.
#[inline]
pub fn slotnum(evm: &mut Evm<'_>) -> U256 {
    U256::from(evm.block.slot_number)
}
