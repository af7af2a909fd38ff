//! The contracts of the generated chain.
//!
//! Out: runtime codes and the calldata for calling them. Token: balances in a mapping, transfers
//! with a log. Counters: increments a range of slots. Hashes: a chain of hashes, products and
//! remainders. Wallet: a batch of token transfers; accounts delegate to it (EIP-7702).
//! Not here: signing the calls (`transactions`).

use super::asm::{Asm, assemble};
use alloy_primitives::{Address, B256, U256, b256, keccak256};
use balustrade::exec::interpreter::opcode::op;

/// keccak256("Transfer(address,address,uint256)").
const TRANSFER_TOPIC: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Selector of `transfer(address,uint256)`.
const TRANSFER_SELECTOR: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

/// Runtime code of a token: `transfer(address,uint256)`, balances at keccak256(holder ‖ 0); reverts
/// if the balance is too low.
pub fn token() -> Vec<u8> {
    let mut asm = Asm::default();
    let (transfer, fail) = (asm.label(), asm.label());
    asm.push(0).ops(&[op::CALLDATALOAD]).push(224).ops(&[op::SHR]);
    asm.push_bytes(&TRANSFER_SELECTOR).ops(&[op::EQ]).jump_if(transfer);
    asm.bind(fail).push(0).push(0).ops(&[op::REVERT]);
    asm.bind(transfer);
    // Memory 0..32 holds the address, 32..64 the mapping's slot, zero.
    asm.ops(&[op::CALLER]).push(0).ops(&[op::MSTORE]).push(64).push(0).ops(&[op::KECCAK256]);
    asm.ops(&[op::DUP1, op::SLOAD]).push(36).ops(&[op::CALLDATALOAD]); // from_key balance amount
    asm.ops(&[op::DUP1, op::DUP3, op::LT]).jump_if(fail);
    asm.ops(&[op::SWAP1, op::DUP2, op::SWAP1, op::SUB, op::SWAP1, op::SWAP2, op::SSTORE]); // amount
    asm.push(4).ops(&[op::CALLDATALOAD]).push(0).ops(&[op::MSTORE]).push(64).push(0).ops(&[op::KECCAK256]);
    asm.ops(&[op::DUP1, op::SLOAD, op::DUP3, op::ADD, op::SWAP1, op::SSTORE]); // amount
    asm.push(0).ops(&[op::MSTORE]);
    asm.push(4).ops(&[op::CALLDATALOAD, op::CALLER]).push_bytes(TRANSFER_TOPIC.as_slice());
    asm.push(32).push(0).ops(&[op::LOG3]);
    asm.push(1).push(0).ops(&[op::MSTORE]).push(32).push(0).ops(&[op::RETURN]);
    asm.build()
}

/// Calldata of a token transfer.
pub fn transfer_call(to: Address, amount: u64) -> Vec<u8> {
    let mut call = TRANSFER_SELECTOR.to_vec();
    call.extend_from_slice(to.into_word().as_slice());
    call.extend_from_slice(&U256::from(amount).to_be_bytes::<32>());
    call
}

/// The slot of `holder`'s balance in a token.
pub fn balance_slot(holder: Address) -> U256 {
    let mut key = [0; 64];
    key[12..32].copy_from_slice(holder.as_slice());
    keccak256(key).into()
}

/// Storage-heavy runtime code: adds one to each of `count` slots from `first` on; calldata `first ‖
/// count`.
pub fn counters() -> Vec<u8> {
    let mut asm = Asm::default();
    let (each, end) = (asm.label(), asm.label());
    asm.push(32).ops(&[op::CALLDATALOAD]).push(0).ops(&[op::CALLDATALOAD]); // left slot
    asm.bind(each).ops(&[op::DUP2, op::ISZERO]).jump_if(end);
    asm.ops(&[op::DUP1, op::SLOAD]).push(1).ops(&[op::ADD, op::DUP2, op::SSTORE]);
    asm.push(1).ops(&[op::ADD, op::SWAP1]).push(1).ops(&[op::SWAP1, op::SUB, op::SWAP1]).jump(each);
    asm.bind(end).ops(&[op::STOP]);
    asm.build()
}

/// Compute-heavy runtime code: `count` rounds of KECCAK256, MULMOD and arithmetic; calldata `seed ‖
/// count`. The last hash is stored in slot 0.
pub fn hashes() -> Vec<u8> {
    let mut asm = Asm::default();
    let (each, end) = (asm.label(), asm.label());
    asm.push(0).ops(&[op::CALLDATALOAD]).push(0).ops(&[op::MSTORE]);
    asm.push(32).ops(&[op::CALLDATALOAD]); // left
    asm.bind(each).ops(&[op::DUP1, op::ISZERO]).jump_if(end);
    asm.push(32).push(0).ops(&[op::KECCAK256]); // left hash
    asm.push(0xffff_fffb).ops(&[op::DUP2, op::DUP4, op::MULMOD, op::XOR]).push(0).ops(&[op::MSTORE]);
    asm.push(1).ops(&[op::SWAP1, op::SUB]).jump(each);
    asm.bind(end).push(0).ops(&[op::MLOAD]).push(0).ops(&[op::SSTORE, op::STOP]);
    asm.build()
}

/// Runtime code of a wallet for delegations (EIP-7702): calldata `(token ‖ recipient ‖ amount)*`;
/// each entry is a token transfer from the account that runs the code. Reverts if one fails.
pub fn wallet() -> Vec<u8> {
    assemble(
        "0                                                   ; offset
         each: DUP1 CALLDATASIZE EQ @end JUMPI
         0xa9059cbb 224 SHL 0 MSTORE                         ; transfer(address,uint256)
         DUP1 32 ADD CALLDATALOAD 4 MSTORE
         DUP1 64 ADD CALLDATALOAD 36 MSTORE
         32 0 68 0 0 DUP6 CALLDATALOAD GAS CALL ISZERO @fail JUMPI
         96 ADD @each JUMP
         fail: 0 0 REVERT
         end: STOP",
    )
}

/// Calldata of a wallet: token transfers `(token, recipient)` of `amount` each.
pub fn batch_call(transfers: &[(Address, Address)], amount: u64) -> Vec<u8> {
    let words = |(token, to): &(Address, Address)| [token.into_word(), to.into_word(), B256::from(U256::from(amount))];
    transfers.iter().flat_map(words).flat_map(|word| word.0).collect()
}

/// Calldata of two 32-byte words.
pub fn two_words(first: u64, second: u64) -> Vec<u8> {
    [U256::from(first), U256::from(second)].iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}

/// Init code that deploys `runtime`.
pub fn init_code(runtime: &[u8]) -> Vec<u8> {
    let deploy = |offset: u64| {
        let mut asm = Asm::default();
        asm.push(runtime.len() as u64).ops(&[op::DUP1]).push(offset).push(0).ops(&[op::CODECOPY]);
        asm.push(0).ops(&[op::RETURN]);
        asm.build()
    };
    // The offset of the runtime code is the length of the copying code. It stays below 256, so that
    // its push has the same width for either value.
    let mut code = deploy(deploy(0xff).len() as u64);
    code.extend_from_slice(runtime);
    code
}
