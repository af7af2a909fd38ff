//! Families `compute`, `storage` and `calldata`: loops of hashing, arithmetic and memory; slots
//! that are read and written; calldata that no code reads.

use super::super::devnet::asm::assemble;
use super::world::{Call, Signed, World, mapping_slot, words};
use super::{Family, Knobs};
use alloy_primitives::{Address, B256, U256};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Options of `compute`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Compute {
    /// Instructions of the loops
    #[arg(long, value_enum, default_value_t = ComputeKind::Mix)]
    kind: ComputeKind,
    /// Gas of each transaction in thousands; by default a thirtieth of the block's gas, at least 50
    /// and at most 2,000
    #[arg(long, value_name = "KGAS", value_parser = clap::value_parser!(u64).range(50..=15_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_kgas: Option<u64>,
}

/// Instructions of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ComputeKind {
    /// A chain of Keccak hashes of 64 bytes
    Keccak,
    /// Products, quotients, remainders, powers and shifts of 256-bit words
    Arithmetic,
    /// Copies within memory
    Memory,
    /// All kinds, one kind per transaction in turn
    Mix,
}

/// The loops: kind, body of a round on the stack `left x`, and gas of a round including the loop
/// around it.
const LOOPS: [(ComputeKind, &str, u64); 3] = [
    (ComputeKind::Keccak, "0 MSTORE 64 0 KECCAK256", 91),
    (
        ComputeKind::Arithmetic,
        "0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f DUP2 DUP3 MULMOD ADD
         DUP1 1000003 SWAP1 DIV XOR DUP1 65537 SWAP1 MOD ADD DUP1 DUP1 MUL ADD
         3 DUP2 EXP XOR DUP1 17 SAR ADD DUP1 5 SHL XOR",
        213,
    ),
    (ComputeKind::Memory, "DUP1 0 MSTORE 1024 16 2048 MCOPY 1024 2048 8 MCOPY 0 MLOAD ADD", 275),
];

impl Knobs for Compute {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let tx_gas = self.tx_kgas.map_or_else(|| world.usual_tx_gas(50_000, 2_000_000), |kgas| kgas * 1_000);
        let chosen = LOOPS.iter().filter(|(kind, ..)| self.kind == ComputeKind::Mix || self.kind == *kind);
        let loops = chosen
            .map(|(kind, body, round_gas)| {
                let address = world.contract(&format!("{kind:?}"), loop_code(body), [(U256::ZERO, U256::from(1))]);
                (address, tx_gas.saturating_sub(30_000).max(1) / round_gas)
            })
            .collect();
        Box::new(Loops { loops, turn: 0, gas_limit: 2 * tx_gas + 100_000 })
    }
}

struct Loops {
    /// Contract, and number of rounds per transaction.
    loops: Vec<(Address, u64)>,
    turn: usize,
    gas_limit: u64,
}

impl Family for Loops {
    fn next(&mut self, world: &mut World) -> Signed {
        self.turn += 1;
        let (address, rounds) = self.loops[self.turn % self.loops.len()];
        let sender = world.any_sender();
        let input = words(&[world.random.next_u64(), rounds]);
        world.sign(sender, Call { to: Some(address), input, gas_limit: self.gas_limit, ..Call::default() })
    }
}

/// Code with calldata `x ‖ rounds`; the last x is stored in slot 0.
fn loop_code(body: &str) -> Vec<u8> {
    assemble(&format!(
        "32 CALLDATALOAD 0 CALLDATALOAD                         ; left x
         each: DUP2 ISZERO @end JUMPI
         {body}
         SWAP1 1 SWAP1 SUB SWAP1 @each JUMP
         end: 0 SSTORE STOP"
    ))
}

/// Options of `storage`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Storage {
    /// Number of slots in the contract's mapping
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    slots: u64,
    /// Percentage of transactions that only read
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = super::percent())]
    reads: u64,
}

/// Gas of a slot that is read, and of one that is also written, including the loop around it.
const READ_GAS: u64 = 2_240;
const WRITE_GAS: u64 = 12_240;

impl Knobs for Storage {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let storage: Vec<_> = (0..self.slots)
            .map(|index| (mapping_slot(B256::from(U256::from(index)), 0), U256::from(index + 1)))
            .collect();
        // One contract for both, so that reads and writes access the same storage trie.
        let address = world.contract("slots", storage_code(), storage);
        Box::new(Slots { address, tx_gas: world.usual_tx_gas(60_000, 2_000_000), knobs: self.clone() })
    }
}

struct Slots {
    address: Address,
    tx_gas: u64,
    knobs: Storage,
}

impl Family for Slots {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let write = u64::from(!world.percent(self.knobs.reads));
        let count = ((self.tx_gas - 20_000) / if write == 1 { WRITE_GAS } else { READ_GAS }).clamp(1, self.knobs.slots);
        let first = world.below(self.knobs.slots - count + 1);
        let input = words(&[first, count, write]);
        let gas_limit = 2 * self.tx_gas + 100_000;
        world.sign(sender, Call { to: Some(self.address), input, gas_limit, ..Call::default() })
    }
}

/// Code with calldata `first ‖ count ‖ write`: adds up the mapping's values at these keys, and adds
/// one to each value if `write` is 1.
fn storage_code() -> Vec<u8> {
    assemble(
        "0 32 CALLDATALOAD 0 CALLDATALOAD                       ; sum left index
         64 CALLDATALOAD @write JUMPI
         read: DUP2 ISZERO @end JUMPI
         DUP1 0 MSTORE 64 0 KECCAK256 SLOAD
         DUP4 ADD SWAP3 POP
         1 ADD SWAP1 1 SWAP1 SUB SWAP1 @read JUMP
         write: DUP2 ISZERO @end JUMPI
         DUP1 0 MSTORE 64 0 KECCAK256 DUP1 SLOAD
         1 ADD SWAP1 SSTORE
         1 ADD SWAP1 1 SWAP1 SUB SWAP1 @write JUMP
         end: POP POP 0 MSTORE 32 0 RETURN",
    )
}

/// Options of `calldata`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Calldata {
    /// Length of each transaction's calldata in bytes; by default what a thirtieth of the block's
    /// gas pays for, at most 100,000
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=120_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Percentage of the bytes that are zero
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = super::percent())]
    zeros: u64,
}

/// Floor price per byte of calldata in gas (EIP-7976).
const CALLDATA_FLOOR: u64 = 64;

impl Knobs for Calldata {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let size = self.size.unwrap_or(world.usual_tx_gas(50_000, 6_400_000) / CALLDATA_FLOOR);
        Box::new(Data { size, zeros: self.zeros })
    }
}

struct Data {
    size: u64,
    zeros: u64,
}

impl Family for Data {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let input = (0..self.size).map(|_| {
            let byte = (world.below(255) + 1) as u8;
            if world.percent(self.zeros) { 0 } else { byte }
        });
        let input = input.collect();
        let index = world.below(world.accounts());
        let (to, gas_limit) = (Some(world.account(index)), 50_000 + CALLDATA_FLOOR * self.size);
        world.sign(sender, Call { to, input, gas_limit, ..Call::default() })
    }
}
