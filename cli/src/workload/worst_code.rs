//! Family `worst-code`: accesses to large codes, and large init codes that revert.
//!
//! In `bal` mode an account in the block access list does not tell whether its code is needed:
//! `balance` and `hash` need no code, `size`, `copy` and `call` need every one. Init codes of the
//! largest size cost little gas if they revert at once; a jump to their end requires the analysis
//! of all their jump destinations.

use super::super::devnet::asm::assemble;
use super::world::{Call, Signed, World, words};
use super::worst::each_account_code;
use super::{Family, Knobs};
use alloy_primitives::{Address, U256};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Options of `worst-code`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorstCode {
    /// What the transactions do
    #[arg(long, value_enum, default_value_t = Touch::Balance)]
    kind: Touch,
    /// Number of contracts, each with a different code
    #[arg(long, value_name = "N", default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    contracts: u64,
    /// Length of each contract's code in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 24_576, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    size: u64,
}

/// What the transactions of `worst-code` do to each contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Touch {
    /// Read the balance
    Balance,
    /// Read the code hash
    Hash,
    /// Read the code size
    Size,
    /// Copy a word of the code
    Copy,
    /// Call the contract
    Call,
    /// Use no contract: create with an init code of 128 KiB that reverts
    Init,
}

/// Index of the first contract among the accounts that [`World::account`] derives.
const FIRST_CONTRACT: u64 = 1 << 32;
/// Maximal length of init code in bytes (Amsterdam).
const INIT_CODE_LEN: u64 = 131_072;
/// Gas of an access including the loop around it (a lower bound), of a reverted creation, and of a
/// large init code in memory.
const ACCESS_GAS: u64 = 3_150;
const CREATION_GAS: u64 = 20_000;
const MEMORY_GAS: u64 = 65_000;
/// State gas of a new account (EIP-8037), which a creation must be able to pay although it reverts.
const ACCOUNT_GAS: u64 = 120 * 1_530;

impl Knobs for WorstCode {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        if self.kind == Touch::Init {
            let tx_gas = world.usual_tx_gas(200_000, 10_000_000);
            let to = world.contract("creator", creator_code(), []);
            let count = (tx_gas - 30_000 - MEMORY_GAS) / CREATION_GAS;
            return Box::new(Accesses { to, range: count, count, gas_limit: 2 * tx_gas + ACCOUNT_GAS });
        }
        for number in 0..self.contracts {
            // Code of STOP, the contract's number, and JUMPDESTs: all codes differ, and a call of
            // any ends at once.
            let mut code = vec![0x5b; self.size as usize];
            code[0] = 0;
            code[1..9].copy_from_slice(&number.to_be_bytes());
            let code_hash = world.store.insert_code(code.into());
            let address = world.account(FIRST_CONTRACT + number);
            world.store.insert_account(address, 1, U256::from(1), code_hash, []);
        }
        let access = match self.kind {
            Touch::Balance => "64 0 KECCAK256 BALANCE POP",
            Touch::Hash => "64 0 KECCAK256 EXTCODEHASH POP",
            Touch::Size => "64 0 KECCAK256 EXTCODESIZE POP",
            Touch::Copy => "32 0 96 64 0 KECCAK256 EXTCODECOPY",
            Touch::Call | Touch::Init => "0 0 0 0 0 64 0 KECCAK256 GAS CALL ISZERO @fail JUMPI",
        };
        let to = world.contract("toucher", each_account_code(access), []);
        let tx_gas = world.usual_tx_gas(100_000, 10_000_000);
        let count = ((tx_gas - 30_000) / ACCESS_GAS).clamp(1, self.contracts);
        Box::new(Accesses { to, range: self.contracts, count, gas_limit: 2 * tx_gas + 100_000 })
    }
}

struct Accesses {
    to: Address,
    /// Number of contracts in all.
    range: u64,
    /// Number of accesses or creations in one transaction.
    count: u64,
    gas_limit: u64,
}

impl Family for Accesses {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let first = FIRST_CONTRACT + world.below(self.range - self.count + 1);
        let input = words(&[first, self.count, world.seed()]);
        world.sign(sender, Call { to: Some(self.to), input, gas_limit: self.gas_limit, ..Call::default() })
    }
}

/// Code with calldata `first ‖ count ‖ seed`: makes `count` creations with an init code that jumps
/// over 128 KiB of JUMPDESTs and reverts.
fn creator_code() -> Vec<u8> {
    // PUSH3 (position of the last JUMPDEST), JUMP; JUMPDESTs; at the end JUMPDEST, PUSH1 0, PUSH1
    // 0, REVERT.
    let word = |start: &[u8], end: &[u8]| {
        let mut word = [0x5b; 32];
        word[..start.len()].copy_from_slice(start);
        word[32 - end.len()..].copy_from_slice(end);
        U256::from_be_bytes(word)
    };
    let end = [0x5b, 0x60, 0x00, 0x60, 0x00, 0xfd];
    let target = (INIT_CODE_LEN - end.len() as u64).to_be_bytes();
    let first = word(&[0x62, target[5], target[6], target[7], 0x56], &[]);
    let (filler, last, last_at) = (word(&[], &[]), word(&[], &end), INIT_CODE_LEN - 32);
    let doublings: String = (5..17).map(|power| 1u64 << power).map(|len| format!("{len} 0 {len} MCOPY\n")).collect();
    assemble(&format!(
        "{filler} 0 MSTORE
         {doublings}
         {first} 0 MSTORE
         {last} {last_at} MSTORE
         32 CALLDATALOAD                                     ; left
         each: DUP1 ISZERO @end JUMPI
         {INIT_CODE_LEN} 0 0 CREATE POP
         1 SWAP1 SUB @each JUMP
         end: STOP"
    ))
}
