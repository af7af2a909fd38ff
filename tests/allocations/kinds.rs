//! Kinds of transactions: the contract that each calls, and the input of the `i`-th transaction of a block.
//!
//! Not here: the senders, and the state before the block.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::{Encodable, Header};
use balustrade::exec::interpreter::opcode::op;
use balustrade_cli::devnet::asm::Asm;
use balustrade_cli::devnet::contracts;

/// A kind of transaction.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Runtime code of the contract at [`Kind::target`]; empty for an account without code.
    pub(crate) code: Vec<u8>,
    /// Calldata, or init code, of the `i`-th transaction.
    pub(crate) input: fn(u64) -> Vec<u8>,
    pub(crate) shape: Shape,
    pub(crate) value: u64,
    /// Whether its transactions are expected to fail.
    pub(crate) fails: bool,
}

/// Type of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Call,
    /// With an access list (EIP-2930).
    Listed,
    Create,
    /// With two authorizations (EIP-7702).
    SetCode,
}

const OTHER: Address = Address::repeat_byte(0x0d);

fn nothing(_: u64) -> Vec<u8> {
    Vec::new()
}

fn number(i: u64) -> Vec<u8> {
    U256::from(i).to_be_bytes_vec()
}

/// Init code that deploys `runtime`.
fn init_code(runtime: &[u8]) -> Vec<u8> {
    contracts::init_code(runtime)
}

fn program(build: impl FnOnce(&mut Asm)) -> Vec<u8> {
    let mut asm = Asm::default();
    build(&mut asm);
    asm.build()
}

/// Stores `bytes` in memory at offset 0.
fn store(asm: &mut Asm, bytes: &[u8]) {
    for (index, word) in bytes.chunks(32).enumerate() {
        let mut padded = [0; 32];
        padded[..word.len()].copy_from_slice(word);
        asm.push_bytes(&padded).push(32 * index as u64).ops(&[op::MSTORE]);
    }
}

/// Calls precompile `number` with `input`, then copies its return data.
fn precompile(asm: &mut Asm, number: u64, input: &[u8]) {
    store(asm, input);
    asm.push(64).push(0x400).push(input.len() as u64).push(0).push(number).ops(&[op::GAS, op::STATICCALL, op::POP]);
    asm.ops(&[op::RETURNDATASIZE]).push(0).push(0x800).ops(&[op::RETURNDATACOPY]);
}

/// `target` calls itself by STATICCALL and DELEGATECALL in turn, with a depth counter that decreases at each level.
fn nested() -> Vec<u8> {
    program(|asm| {
        let (end, delegate) = (asm.label(), asm.label());
        asm.push(0).ops(&[op::CALLDATALOAD, op::DUP1, op::ISZERO]).jump_if(end);
        asm.push(1).ops(&[op::SWAP1, op::SUB, op::DUP1]).push(0).ops(&[op::MSTORE]);
        asm.push(1).ops(&[op::AND]).jump_if(delegate);
        asm.push(32).push(0).push(32).push(0).ops(&[op::ADDRESS, op::GAS, op::STATICCALL, op::POP]);
        asm.push(32).push(0).ops(&[op::RETURN]);
        asm.bind(delegate).push(32).push(0).push(32).push(0);
        asm.ops(&[op::ADDRESS, op::GAS, op::DELEGATECALL, op::POP]);
        asm.push(32).push(0).push(0).ops(&[op::RETURNDATACOPY]).push(32).push(0).ops(&[op::RETURN]);
        asm.bind(end).push(64).push(0).ops(&[op::RETURN]);
    })
}

/// CREATE, and CREATE2 with the calldata's word as salt, of contracts that store, log and deploy code; then one that
/// reverts and one that destroys itself.
fn creator() -> Vec<u8> {
    let runtime = program(|asm| {
        asm.push(1).push(0).ops(&[op::SSTORE, op::STOP]);
    });
    let init = init_code(&runtime);
    let doomed = program(|asm| {
        asm.ops(&[op::CALLER, op::SELFDESTRUCT]);
    });
    let failing = program(|asm| {
        asm.push(3).push(0).ops(&[op::REVERT]);
    });
    program(|asm| {
        for init in [&init, &doomed, &failing] {
            store(asm, init);
            asm.push(init.len() as u64).push(0).push(1).ops(&[op::CREATE, op::POP]);
            asm.push(0).ops(&[op::CALLDATALOAD]).push(init.len() as u64).push(0).push(0).ops(&[op::CREATE2, op::POP]);
        }
    })
}

/// An RLP list around encoded items.
fn list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

impl Kind {
    fn call(name: &'static str, code: Vec<u8>, input: fn(u64) -> Vec<u8>) -> Self {
        Self { name, code, input, shape: Shape::Call, value: 0, fails: false }
    }

    /// The account that this kind calls.
    pub(crate) fn target(&self) -> Address {
        Address::from_word(alloy_primitives::keccak256(self.name))
    }

    /// The authorities of its authorizations (EIP-7702).
    pub(crate) fn authorities(&self) -> Vec<Address> {
        let count = if self.shape == Shape::SetCode { 2 } else { 0 };
        (0..count).map(|index| Address::repeat_byte(0xa0 + index)).collect()
    }

    /// EIP-2718 encoding of the `i`-th transaction. The signature is a placeholder, because senders are given.
    pub(crate) fn transaction(&self, i: u64) -> Vec<u8> {
        let mut fields = Vec::new();
        let tx_type = match self.shape {
            Shape::SetCode => 4,
            Shape::Listed => 1,
            Shape::Call | Shape::Create => 0,
        };
        if tx_type > 0 {
            1u64.encode(&mut fields);
        }
        i.encode(&mut fields);
        if tx_type == 4 {
            0u64.encode(&mut fields);
        }
        10u64.encode(&mut fields);
        4_000_000u64.encode(&mut fields);
        match self.shape {
            Shape::Create => Bytes::new().encode(&mut fields),
            _ => self.target().encode(&mut fields),
        }
        U256::from(self.value).encode(&mut fields);
        Bytes::from((self.input)(i)).encode(&mut fields);
        if tx_type > 0 {
            let keys: Vec<u8> = (0..4u64).flat_map(|key| alloy_rlp::encode(B256::from(U256::from(key)))).collect();
            let mut entry = Vec::new();
            self.target().encode(&mut entry);
            entry.extend_from_slice(&list(&keys));
            fields.extend_from_slice(&list(&list(&entry)));
        }
        if tx_type == 4 {
            let authorizations: Vec<u8> = (self.authorities().iter())
                .flat_map(|_| {
                    let mut row = Vec::new();
                    U256::ZERO.encode(&mut row);
                    OTHER.encode(&mut row);
                    // One authorization per authority and transaction, with ascending nonces.
                    i.encode(&mut row);
                    for field in [0u64, 1, 1] {
                        field.encode(&mut row);
                    }
                    list(&row)
                })
                .collect();
            fields.extend_from_slice(&list(&authorizations));
        }
        for part in [if tx_type == 0 { 27u64 } else { 0 }, 1, 1] {
            part.encode(&mut fields);
        }
        let mut out = if tx_type == 0 { Vec::new() } else { vec![tx_type] };
        out.extend_from_slice(&list(&fields));
        out
    }
}

/// Kinds that must allocate nothing.
pub(crate) fn all() -> Vec<Kind> {
    let word = |value: u8| [[0; 31].as_slice(), &[value]].concat();
    let signed = [vec![7; 32], word(27), vec![9; 64]].concat();
    let points = [word(1), word(2), word(1), word(2)].concat();
    let compression = [&[0, 0, 0, 12][..], &[0x5a; 208], &[1]].concat();
    vec![
        Kind { value: 1, ..Kind::call("transfer", Vec::new(), nothing) },
        Kind::call("token transfer", contracts::token(), |i| contracts::transfer_call(OTHER, i % 3)),
        Kind::call("nested calls", nested(), |i| number(20 + i % 7)),
        Kind { value: 9, ..Kind::call("creations", creator(), number) },
        Kind {
            shape: Shape::Create,
            ..Kind::call("creation transaction", Vec::new(), |_| init_code(&contracts::token()))
        },
        Kind::call(
            "logs",
            program(|asm| {
                asm.ops(&[op::CALLDATASIZE]).push(0).push(0).ops(&[op::CALLDATACOPY]);
                for topics in 0..5u8 {
                    for topic in 0..topics {
                        asm.push(u64::from(topic));
                    }
                    asm.push(100).push(0).ops(&[op::LOG0 + topics]);
                }
            }),
            number,
        ),
        Kind::call(
            "storage",
            program(|asm| {
                for slot in 0..20u64 {
                    asm.push(0).ops(&[op::CALLDATALOAD, op::DUP1]).push(slot).ops(&[op::ADD]);
                    asm.ops(&[op::DUP1, op::SLOAD]).push(1).ops(&[op::ADD, op::SWAP1, op::SSTORE, op::POP]);
                    asm.push(slot).push(slot).ops(&[op::TSTORE]).push(slot).ops(&[op::TLOAD, op::POP]);
                }
            }),
            number,
        ),
        Kind {
            shape: Shape::Listed,
            ..Kind::call("access list", contracts::counters(), |_| contracts::two_words(0, 6))
        },
        Kind {
            shape: Shape::SetCode,
            ..Kind::call("delegations", contracts::counters(), |_| contracts::two_words(0, 1))
        },
        Kind::call("ecrecover", program(|asm| precompile(asm, 1, &signed)), nothing),
        Kind::call("sha256", program(|asm| precompile(asm, 2, &[3; 150])), nothing),
        Kind::call("ripemd160", program(|asm| precompile(asm, 3, &[3; 150])), nothing),
        Kind::call("identity", program(|asm| precompile(asm, 4, &[3; 150])), nothing),
        Kind::call("bn254 addition", program(|asm| precompile(asm, 6, &points)), nothing),
        Kind::call("bn254 multiplication", program(|asm| precompile(asm, 7, &points[32..])), nothing),
        Kind::call("blake2f", program(|asm| precompile(asm, 9, &compression)), nothing),
        Kind::call("p256 verification", program(|asm| precompile(asm, 0x100, &[1; 160])), nothing),
        Kind::call("hash loop", contracts::hashes(), |i| contracts::two_words(i, 40)),
        Kind::call(
            "memory and copies",
            program(|asm| {
                asm.push(1).push(100_000).ops(&[op::MSTORE]).push(5_000).push(0).push(64).ops(&[op::CODECOPY]);
                asm.push(4_000)
                    .push(3)
                    .push(64)
                    .ops(&[op::CALLDATACOPY])
                    .push(9_000)
                    .push(40)
                    .push(2)
                    .ops(&[op::MCOPY]);
                asm.push(700).push(0).push(0).ops(&[op::ADDRESS, op::EXTCODECOPY]);
            }),
            number,
        ),
        Kind {
            fails: true,
            ..Kind::call(
                "revert with data",
                program(|asm| {
                    asm.push(7).push(7).ops(&[op::SSTORE]).push(500).push(0).ops(&[op::REVERT]);
                }),
                nothing,
            )
        },
        Kind {
            fails: true,
            ..Kind::call(
                "out of gas",
                program(|asm| {
                    let again = asm.label();
                    asm.bind(again).push(3).push(0).ops(&[op::SSTORE]).jump(again);
                }),
                nothing,
            )
        },
        Kind { fails: true, ..Kind::call("invalid instruction", vec![op::INVALID], nothing) },
    ]
}

/// Precompiles whose libraries allocate; their allocations are counted and bounded.
pub(crate) fn by_library() -> Vec<Kind> {
    let word = |value: u8| [[0; 31].as_slice(), &[value]].concat();
    let power = [word(1), word(1), word(32), vec![5, 77], vec![0xfb; 32]].concat();
    vec![
        Kind::call("modular exponentiation", program(|asm| precompile(asm, 5, &power)), nothing),
        Kind::call("bn254 pairing", program(|asm| precompile(asm, 8, &[0; 192])), nothing),
        Kind::call("bls12-381 addition", program(|asm| precompile(asm, 0x0b, &[0; 256])), nothing),
    ]
}
