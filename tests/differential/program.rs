//! Structured random scenarios: bytes in, a [`Scenario`] out. Equal bytes give equal scenarios.
//!
//! Programs are built from fragments that push what they need, so that most of them run for a while before something
//! goes wrong; raw bytes, undefined opcodes, absurd offsets and bad jumps are mixed in.

use super::world::{Account, COINBASE, Entry, ORIGIN, Scenario};
use alloy_primitives::{Address, Bytes, U256};
use balustrade::exec::fork::Fork;
use balustrade::exec::interpreter::opcode::TABLE;
use std::collections::BTreeMap;

/// Choices, read from bytes; zeros where they end.
#[derive(Debug)]
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn u16(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        if n <= 256 { usize::from(self.byte()) % n } else { self.u16() % n }
    }

    /// True in `n` of 256 cases; false where the bytes have ended.
    fn chance(&mut self, n: u8) -> bool {
        255 - self.byte() < n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

mod op {
    pub const ADDMOD: u8 = 0x08;
    pub const MULMOD: u8 = 0x09;
    pub const ISZERO: u8 = 0x15;
    pub const NOT: u8 = 0x19;
    pub const KECCAK256: u8 = 0x20;
    pub const BALANCE: u8 = 0x31;
    pub const CALLDATALOAD: u8 = 0x35;
    pub const CALLDATACOPY: u8 = 0x37;
    pub const CODECOPY: u8 = 0x39;
    pub const EXTCODESIZE: u8 = 0x3b;
    pub const EXTCODECOPY: u8 = 0x3c;
    pub const RETURNDATASIZE: u8 = 0x3d;
    pub const RETURNDATACOPY: u8 = 0x3e;
    pub const EXTCODEHASH: u8 = 0x3f;
    pub const BLOCKHASH: u8 = 0x40;
    pub const SELFBALANCE: u8 = 0x47;
    pub const BLOBHASH: u8 = 0x49;
    pub const POP: u8 = 0x50;
    pub const MLOAD: u8 = 0x51;
    pub const MSTORE: u8 = 0x52;
    pub const MSTORE8: u8 = 0x53;
    pub const SLOAD: u8 = 0x54;
    pub const SSTORE: u8 = 0x55;
    pub const JUMP: u8 = 0x56;
    pub const JUMPI: u8 = 0x57;
    pub const GAS: u8 = 0x5a;
    pub const JUMPDEST: u8 = 0x5b;
    pub const TLOAD: u8 = 0x5c;
    pub const TSTORE: u8 = 0x5d;
    pub const MCOPY: u8 = 0x5e;
    pub const PUSH0: u8 = 0x5f;
    pub const PUSH2: u8 = 0x61;
    pub const DUP1: u8 = 0x80;
    pub const DUP2: u8 = 0x81;
    pub const DUP6: u8 = 0x85;
    pub const SWAP1: u8 = 0x90;
    pub const LOG0: u8 = 0xa0;
    pub const CREATE: u8 = 0xf0;
    pub const CALL: u8 = 0xf1;
    pub const CALLCODE: u8 = 0xf2;
    pub const RETURN: u8 = 0xf3;
    pub const DELEGATECALL: u8 = 0xf4;
    pub const CREATE2: u8 = 0xf5;
    pub const STATICCALL: u8 = 0xfa;
    pub const REVERT: u8 = 0xfd;
    pub const SELFDESTRUCT: u8 = 0xff;
    pub const DUPN: u8 = 0xe6;
    pub const SWAPN: u8 = 0xe7;
    pub const EXCHANGE: u8 = 0xe8;
}

/// Names that programs may use.
struct Names {
    fork: Fork,
    addresses: Vec<Address>,
}

/// A program under construction.
struct Program<'n, 's, 'b> {
    source: &'s mut Source<'b>,
    names: &'n Names,
    code: Vec<u8>,
    /// Where a PUSH2 wants the position of the next JUMPDEST.
    forward: Vec<usize>,
    /// Data to be laid behind the code, and where a PUSH2 wants its position.
    blobs: Vec<(usize, Vec<u8>)>,
    /// Nesting of init code.
    depth: usize,
    /// The fragment under way holds an opcode that the fork lacks.
    undefined: bool,
}

/// Storage keys and transient keys come from a small set, so that they meet again.
const KEYS: [u64; 6] = [0, 1, 2, 3, 0xff, u64::MAX];

impl Program<'_, '_, '_> {
    fn op(&mut self, opcode: u8) {
        self.undefined |= !TABLE[usize::from(opcode)].defined(self.names.fork);
        self.code.push(opcode);
    }

    /// A fragment; one that the fork lacks an opcode for is mostly taken back.
    fn fragment(&mut self) {
        let start = self.code.len();
        let outer = core::mem::take(&mut self.undefined);
        self.any_fragment();
        if self.undefined && !self.source.chance(8) {
            self.code.truncate(start);
            self.forward.retain(|at| *at < start);
            self.blobs.retain(|(at, _)| *at < start);
        }
        self.undefined = outer;
    }

    fn push(&mut self, word: U256) {
        let len = word.byte_len();
        if len == 0 && self.names.fork >= Fork::Shanghai {
            return self.op(op::PUSH0);
        }
        let len = len.max(1);
        self.op(op::PUSH0 + len as u8);
        self.code.extend_from_slice(&word.to_be_bytes::<32>()[32 - len..]);
    }

    fn number(&mut self, number: u64) {
        self.push(U256::from(number));
    }

    fn word(&mut self) -> U256 {
        match self.source.below(12) {
            0 => U256::ZERO,
            1 => U256::ONE,
            2 => U256::MAX,
            3 => U256::ONE << self.source.below(256),
            4 => (U256::ONE << self.source.below(256)).wrapping_sub(U256::ONE),
            5 => U256::from(self.source.pick(&[2u64, 3, 31, 32, 33, 255, 256, 257, u64::MAX])),
            6 => U256::MAX - U256::from(self.source.byte()),
            7 => {
                let address = self.address();
                U256::from_be_slice(address.as_slice())
            }
            8..=9 => U256::from(self.source.byte()),
            _ => {
                let len = 1 + self.source.below(32);
                let bytes: Vec<u8> = (0..len).map(|_| self.source.byte()).collect();
                U256::from_be_slice(&bytes)
            }
        }
    }

    fn address(&mut self) -> Address {
        let index = self.source.below(self.names.addresses.len());
        self.names.addresses[index]
    }

    fn push_word(&mut self) {
        let word = self.word();
        self.push(word);
    }

    fn push_address(&mut self) {
        let address = self.address();
        self.push(U256::from_be_slice(address.as_slice()));
    }

    fn push_key(&mut self) {
        let key = self.source.pick(&KEYS);
        self.number(key);
    }

    fn push_offset(&mut self) {
        let offset = match self.source.byte() {
            0..=225 => U256::from(self.source.below(192)),
            226..=251 => U256::from(self.source.below(5_000)),
            252 => U256::from(u32::MAX) + U256::from(self.source.below(3)),
            253 => U256::from(u64::MAX) - U256::from(self.source.below(3)),
            254 => U256::from(1u64 << 62),
            _ => U256::MAX,
        };
        self.push(offset);
    }

    fn push_len(&mut self) {
        let len = match self.source.byte() {
            0..=60 => U256::ZERO,
            61..=225 => U256::from(self.source.below(100)),
            226..=250 => U256::from(self.source.below(1_500)),
            251..=252 => U256::from(self.source.pick(&[24_576u64, 24_577, 49_152, 49_153, 65_536, 65_537, 131_073])),
            253 => U256::from(u32::MAX),
            254 => U256::from(u64::MAX),
            _ => U256::MAX,
        };
        self.push(len);
    }

    /// A value of wei: mostly none.
    fn push_value(&mut self) {
        let value = self.source.pick(&[0u64, 0, 0, 1, 5, 1_000, u64::MAX]);
        self.number(value);
    }

    fn push_gas(&mut self) {
        match self.source.below(8) {
            0..=3 => self.op(op::GAS),
            4 => self.push(U256::MAX),
            5 => self.number(0),
            _ => {
                let gas = self.source.pick(&[1u64, 100, 700, 2_300, 5_000, 30_000, 100_000, 300_000]);
                self.number(gas);
            }
        }
    }

    /// Keeps the top, drops it, or writes it where it is seen afterwards.
    fn consume(&mut self) {
        match self.source.below(8) {
            0..=2 => {}
            3..=4 => self.op(op::POP),
            5..=6 => {
                self.push_offset();
                self.op(op::MSTORE);
            }
            _ => {
                self.push_key();
                self.op(op::SSTORE);
            }
        }
    }

    fn any_fragment(&mut self) {
        match self.source.byte() {
            0..=11 => self.run_of_stack_instructions(),
            12..=18 => self.idiom(),
            19..=24 => {
                // Two words, one opcode: arithmetic, comparison, bits, shifts.
                let opcode = self.source.pick(&[
                    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17,
                    0x18, 0x1a, 0x1b, 0x1c, 0x1d,
                ]);
                self.push_word();
                self.push_word();
                self.op(opcode);
                self.consume();
            }
            25..=28 => {
                (0..3).for_each(|_| self.push_word());
                let opcode = self.source.pick(&[op::ADDMOD, op::MULMOD]);
                self.op(opcode);
                self.consume();
            }
            29..=31 => {
                self.push_word();
                let opcode = self.source.pick(&[op::ISZERO, op::NOT, 0x1e, op::CALLDATALOAD, op::BLOBHASH]);
                self.op(opcode);
                self.consume();
            }
            32..=45 => self.environment(),
            46..=75 => self.memory(),
            76..=110 => self.storage(),
            111..=130 => {
                self.push_address();
                let opcode = self.source.pick(&[op::BALANCE, op::EXTCODESIZE, op::EXTCODEHASH]);
                self.op(opcode);
                self.consume();
            }
            131..=178 => self.call(),
            179..=200 => self.create(),
            201..=208 => {
                let topics = self.source.below(5) as u8;
                (0..topics).for_each(|_| self.push_word());
                self.push_len();
                self.push_offset();
                self.op(op::LOG0 + topics);
            }
            209..=222 => self.jump(),
            223..=232 => {
                // Stack shuffling, whether or not all the words are there.
                let depth = self.source.below(18) as u8;
                (0..depth).for_each(|index| self.number(u64::from(index)));
                let reach = if self.source.chance(230) { depth.clamp(1, 16) } else { 16 };
                let index = self.source.below(usize::from(reach)) as u8;
                match self.source.below(4) {
                    0 => self.op(op::DUP1 + index),
                    1 => self.op(op::SWAP1 + index),
                    2 => self.op(op::POP),
                    _ => {
                        // EIP-8024 on up to 40 words; immediates that name more, or nothing, too.
                        (0..22).for_each(|_| self.op(op::DUP1));
                        let opcode = self.source.pick(&[op::DUPN, op::SWAPN, op::EXCHANGE]);
                        self.op(opcode);
                        let near = self.source.below(24) as u8;
                        let immediate =
                            if self.source.chance(200) { near.wrapping_add(128) } else { self.source.byte() };
                        self.code.push(immediate);
                    }
                }
            }
            233..=247 => {
                self.op(op::GAS);
                self.consume();
            }
            248..=252 => self.ending(),
            _ => {
                let len = self.source.below(4);
                for _ in 0..len {
                    let byte = self.source.byte();
                    self.code.push(byte);
                }
            }
        }
    }

    /// What compilers write without a thought of it, and what loops therefore fuse: instructions on a few words, some
    /// of them pushed right before their use. Now and then the stack is not high enough.
    fn run_of_stack_instructions(&mut self) {
        let words = self.source.below(9);
        (0..words).for_each(|_| self.push_word());
        let count = 1 + self.source.below(24);
        for _ in 0..count {
            match self.source.below(16) {
                0..=2 => {
                    let reach = self.source.below(6) as u8;
                    self.op(op::DUP1 + reach);
                }
                3..=4 => {
                    let reach = self.source.below(5) as u8;
                    self.op(op::SWAP1 + reach);
                }
                5..=7 => {
                    let opcode = self.source.pick(&[
                        0x01, 0x02, 0x03, 0x04, 0x06, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1a, 0x1b,
                        0x1c, 0x1d,
                    ]);
                    self.op(opcode);
                }
                8 => {
                    let opcode = self.source.pick(&[op::ISZERO, op::ISZERO, op::NOT]);
                    self.op(opcode);
                }
                9 => self.op(op::POP),
                10..=11 => self.push_word(),
                12 => {
                    self.push_word();
                    self.push_word();
                }
                13 => {
                    self.push_offset();
                    let opcode = self.source.pick(&[op::MLOAD, op::MSTORE]);
                    self.op(opcode);
                }
                14 => {
                    // The value of a comparison decides on a jump ahead.
                    self.push_label();
                    self.op(op::JUMPI);
                }
                _ => {
                    let offset = self.source.below(192) as u64;
                    self.number(offset);
                    self.op(op::DUP1);
                    let opcode = self.source.pick(&[op::MLOAD, op::MSTORE]);
                    self.op(opcode);
                }
            }
        }
    }

    /// Whole sequences as compilers emit them.
    fn idiom(&mut self) {
        match self.source.below(6) {
            0 => {
                // A dispatcher's branch: DUP1 PUSH4 EQ PUSH2 JUMPI, or with GT and LT.
                self.push_word();
                self.op(op::DUP1);
                self.push_word();
                let opcode = self.source.pick(&[0x14, 0x10, 0x11]);
                self.op(opcode);
                self.push_label();
                self.op(op::JUMPI);
            }
            1 => {
                // CALLVALUE DUP1 ISZERO PUSH2 JUMPI ... JUMPDEST POP
                self.op(0x34);
                self.op(op::DUP1);
                self.op(op::ISZERO);
                self.push_label();
                self.op(op::JUMPI);
                self.number(0);
                self.op(op::POP);
                self.land();
                self.op(op::POP);
            }
            2 => {
                // A function call: the return address is pushed, the function jumps to it from the stack.
                self.op(op::PUSH2);
                let back = self.code.len();
                self.code.extend_from_slice(&[0, 0]);
                self.push_word();
                self.push_label();
                self.op(op::JUMP);
                self.land();
                self.number(1);
                self.op(0x01);
                self.op(op::SWAP1);
                self.op(op::JUMP);
                let position = self.code.len();
                Self::patch(&mut self.code, back, position);
                self.op(op::JUMPDEST);
            }
            3 => {
                // if (a op b) is false, go on elsewhere.
                self.push_word();
                self.push_word();
                let opcode = self.source.pick(&[0x10, 0x11, 0x12, 0x13, 0x14]);
                self.op(opcode);
                let negations = self.source.below(4);
                (0..negations).for_each(|_| self.op(op::ISZERO));
                self.push_label();
                self.op(op::JUMPI);
            }
            4 => {
                // Shift and mask a word of calldata.
                self.push_offset();
                self.op(op::CALLDATALOAD);
                self.number(0xe0);
                self.op(0x1c);
                self.push_word();
                self.op(0x16);
            }
            _ => {
                // Jump into push data that looks like a JUMPDEST, or to an honest one.
                let inside = self.source.chance(40);
                let start = self.code.len();
                self.number(start as u64 + if inside { 7 } else { 8 });
                while self.code.len() < start + 3 {
                    self.op(op::JUMPDEST);
                }
                self.op(op::JUMP);
                self.op(op::PUSH2);
                self.code.extend_from_slice(&[0x5b, 0x5b, 0x5b, op::JUMPDEST, op::JUMPDEST]);
            }
        }
    }

    /// PUSH2 of the next place to land.
    fn push_label(&mut self) {
        self.op(op::PUSH2);
        self.forward.push(self.code.len());
        self.code.extend_from_slice(&[0, 0]);
    }

    fn environment(&mut self) {
        if self.source.chance(40) {
            let number = self.source.pick(&[0u64, 999_743, 999_744, 999_999, 1_000_000, u64::MAX]);
            self.number(number);
            self.op(op::BLOCKHASH);
        } else {
            let opcode = self.source.pick(&[
                0x30,
                0x32,
                0x33,
                0x34,
                0x36,
                0x38,
                0x3a,
                op::RETURNDATASIZE,
                0x41,
                0x42,
                0x43,
                0x44,
                0x45,
                0x46,
                op::SELFBALANCE,
                0x48,
                0x4a,
                0x4b,
                0x58,
                0x59,
            ]);
            self.op(opcode);
        }
        self.consume();
    }

    fn memory(&mut self) {
        match self.source.below(10) {
            0..=1 => {
                self.push_word();
                self.push_offset();
                self.op(op::MSTORE);
            }
            2 => {
                self.push_word();
                self.push_offset();
                self.op(op::MSTORE8);
            }
            3 => {
                self.push_offset();
                self.op(op::MLOAD);
                self.consume();
            }
            4 => {
                self.push_len();
                self.push_offset();
                self.op(op::KECCAK256);
                self.consume();
            }
            5..=7 => {
                self.push_len();
                self.push_offset();
                self.push_offset();
                let opcode = self.source.pick(&[op::CALLDATACOPY, op::CODECOPY, op::MCOPY]);
                self.op(opcode);
            }
            8 => {
                self.push_len();
                self.push_offset();
                self.push_offset();
                self.push_address();
                self.op(op::EXTCODECOPY);
            }
            _ => self.return_data(),
        }
    }

    fn return_data(&mut self) {
        if self.source.chance(240) {
            self.op(op::RETURNDATASIZE);
            self.number(0);
        } else {
            self.push_len();
            self.push_offset();
        }
        self.push_offset();
        self.op(op::RETURNDATACOPY);
    }

    fn storage(&mut self) {
        match self.source.below(8) {
            0..=1 => {
                self.push_key();
                self.op(op::SLOAD);
                self.consume();
            }
            2..=5 => {
                let value = self.source.pick(&[0u64, 0, 1, 2, 3]);
                self.number(value);
                self.push_key();
                self.op(op::SSTORE);
            }
            6 => {
                self.push_key();
                self.op(op::TLOAD);
                self.consume();
            }
            _ => {
                self.push_word();
                self.push_key();
                self.op(op::TSTORE);
            }
        }
    }

    fn call(&mut self) {
        let kind = self.source.pick(&[op::CALL, op::CALL, op::CALL, op::CALLCODE, op::DELEGATECALL, op::STATICCALL]);
        self.push_len();
        self.push_offset();
        self.push_len();
        self.push_offset();
        if matches!(kind, op::CALL | op::CALLCODE) {
            self.push_value();
        }
        self.push_address();
        self.push_gas();
        self.op(kind);
        self.consume();
        if self.source.chance(60) {
            self.return_data();
        }
    }

    fn create(&mut self) {
        let initcode = if self.depth < 2 && self.source.chance(230) { self.initcode() } else { Vec::new() };
        let offset = self.source.below(64) as u64;
        let len = initcode.len() as u64;
        // CODECOPY(offset, blob, len)
        self.number(len);
        self.op(op::PUSH2);
        self.blobs.push((self.code.len(), initcode));
        self.code.extend_from_slice(&[0, 0]);
        self.number(offset);
        self.op(op::CODECOPY);
        let two = self.source.chance(128);
        if two {
            self.push_key();
        }
        if self.source.chance(245) {
            self.number(len)
        } else {
            self.push_len()
        }
        self.number(offset);
        self.push_value();
        self.op(if two { op::CREATE2 } else { op::CREATE });
        if self.source.chance(128) {
            // Call what was created, or address zero: (out, in, value, address, gas).
            (0..4).for_each(|_| self.number(0));
            self.push_value();
            self.op(op::DUP6);
            self.push_gas();
            self.op(op::CALL);
            self.consume();
        }
        self.consume();
    }

    /// Init code: it deploys a program, or does something else.
    fn initcode(&mut self) -> Vec<u8> {
        let (kind, names, depth) = (self.source.below(8), self.names, self.depth + 1);
        match kind {
            0..=3 => {
                let runtime = program(self.source, names, depth, 6);
                let mut inner = Program::new(self.source, names, depth);
                if inner.source.chance(100) {
                    inner.storage();
                }
                inner.number(runtime.len() as u64);
                inner.op(op::DUP1);
                inner.op(op::PUSH2);
                inner.blobs.push((inner.code.len(), runtime));
                inner.code.extend_from_slice(&[0, 0]);
                inner.number(0);
                inner.op(op::CODECOPY);
                inner.number(0);
                inner.op(op::RETURN);
                inner.finish()
            }
            4 => {
                // Zeros, or a forbidden first byte.
                let mut inner = Program::new(self.source, names, depth);
                if inner.source.chance(128) {
                    inner.number(0xef);
                    inner.number(0);
                    inner.op(op::MSTORE8);
                }
                inner.push_len();
                inner.number(0);
                inner.op(op::RETURN);
                inner.finish()
            }
            5 => {
                let len = self.source.below(12);
                (0..len).map(|_| self.source.byte()).collect()
            }
            _ => program(self.source, names, depth, 6),
        }
    }

    fn jump(&mut self) {
        match self.source.below(8) {
            0..=3 => {
                self.push_word();
                self.push_label();
                self.op(op::JUMPI);
            }
            4..=6 => {
                // A loop of a few rounds; its body may leave words behind.
                let rounds = 1 + self.source.below(6) as u64;
                self.number(rounds);
                let start = self.code.len();
                self.op(op::JUMPDEST);
                let body = self.source.below(4);
                (0..body).for_each(|_| self.fragment());
                self.number(1);
                self.op(op::SWAP1);
                self.op(0x03);
                self.op(op::DUP1);
                self.number(start as u64);
                self.op(op::JUMPI);
            }
            _ if self.source.chance(60) => {
                self.push_offset();
                self.op(op::JUMP);
            }
            _ => {
                self.push_label();
                self.op(op::JUMP);
                self.code.push(0xfe);
                self.land();
            }
        }
    }

    fn ending(&mut self) {
        match self.source.below(8) {
            0 => self.op(0x00),
            1..=3 => {
                self.push_len();
                self.push_offset();
                self.op(op::RETURN);
            }
            4..=5 => {
                self.push_len();
                self.push_offset();
                self.op(op::REVERT);
            }
            6 => {
                self.push_address();
                self.op(op::SELFDESTRUCT);
            }
            _ if self.source.chance(100) => self.op(0xfe),
            _ => self.op(0x00),
        }
    }

    fn patch(code: &mut [u8], at: usize, position: usize) {
        code[at..at + 2].copy_from_slice(&(position as u16).to_be_bytes());
    }

    /// A place that forward jumps may go to.
    fn land(&mut self) {
        if self.forward.is_empty() {
            return;
        }
        let position = self.code.len();
        self.op(op::JUMPDEST);
        for at in self.forward.drain(..) {
            Self::patch(&mut self.code, at, position);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        for (at, blob) in self.blobs {
            let position = self.code.len();
            Self::patch(&mut self.code, at, position);
            self.code.extend(blob);
        }
        self.code
    }
}

impl<'n, 's, 'b> Program<'n, 's, 'b> {
    fn new(source: &'s mut Source<'b>, names: &'n Names, depth: usize) -> Self {
        Self { source, names, code: Vec::new(), forward: Vec::new(), blobs: Vec::new(), depth, undefined: false }
    }
}

/// A program of up to `fragments` fragments.
fn program(source: &mut Source<'_>, names: &Names, depth: usize, fragments: usize) -> Vec<u8> {
    let count = 1 + source.below(fragments);
    let mut program = Program::new(source, names, depth);
    for _ in 0..count {
        program.fragment();
        if program.source.chance(100) {
            program.land();
        }
    }
    program.land();
    if program.source.chance(200) {
        program.ending();
    }
    // A PUSH at the very end is worth having, too.
    if program.source.chance(10) {
        program.op(op::DUP2);
        let push = op::PUSH0 + program.source.below(33) as u8;
        program.op(push);
    }
    program.finish()
}

/// Contract `index`.
pub fn contract(index: u8) -> Address {
    Address::left_padding_from(&[0xc0, 0xde, index])
}

fn balance(source: &mut Source<'_>) -> U256 {
    U256::from(source.pick(&[0u64, 0, 3, 2_000, 1_000_000_000, u64::MAX]))
}

fn storage(source: &mut Source<'_>) -> BTreeMap<U256, U256> {
    let count = source.below(4);
    (0..count).map(|_| (U256::from(source.pick(&KEYS)), U256::from(1 + source.below(3)))).collect()
}

/// The scenario that these choices give.
pub fn scenario(source: &mut Source<'_>) -> Scenario {
    // Amsterdam and its forerunner more often than the rest.
    let fork = match source.byte() {
        byte @ 0..=175 => Fork::ALL[usize::from(byte) % 16],
        176..=240 => Fork::Amsterdam,
        _ => Fork::Osaka,
    };
    // What decides most comes first, for inputs that end early.
    let gas = match source.byte() {
        0..=10 => source.u16() as u64 / 16,
        11..=50 => source.u16() as u64,
        51..=220 => 100_000 + 10 * source.u16() as u64,
        221..=252 => 1_000_000 + 30 * source.u16() as u64,
        _ => 16_000_000,
    };
    let reservoir = source.pick(&[0u64, 0, 1, 50_000, 97_920, 183_600, 300_000, 2_000_000]);
    let value = U256::from(source.pick(&[0u64, 0, 0, 1, 10]));
    let entry = source.byte();
    let runs_before = source.pick(&[0u32, 2, 8, 8]);
    let contracts = 1 + source.below(5) as u8;
    let mut addresses: Vec<Address> = (0..contracts).flat_map(|index| [contract(index); 4]).collect();
    addresses.extend([ORIGIN, COINBASE, Address::ZERO, Address::repeat_byte(0xee), Address::repeat_byte(0xdd)]);
    addresses
        .extend([1u8, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 0x11, 0x12].map(|low| Address::left_padding_from(&[low])));
    addresses.push(Address::left_padding_from(&[1, 0]));
    let mut accounts = BTreeMap::new();
    let fund = U256::from(source.pick(&[0u64, 10, 5_000, u64::MAX, u64::MAX]));
    accounts.insert(ORIGIN, Account { nonce: 1, balance: fund, ..Account::default() });
    accounts.insert(Address::repeat_byte(0xdd), Account { balance: balance(source), ..Account::default() });
    if source.chance(60) {
        accounts.insert(Address::left_padding_from(&[2]), Account { balance: U256::ONE, ..Account::default() });
    }
    // Designators (EIP-7702): to a contract, a precompile, nothing, themselves or each other.
    for low in 0..source.below(3) as u8 {
        let own = Address::left_padding_from(&[0x77, 0x02, low]);
        let target = match source.below(6) {
            0 => own,
            1 => Address::left_padding_from(&[0x77, 0x02, 1 - low]),
            2 => Address::left_padding_from(&[4]),
            3 => Address::repeat_byte(0xee),
            _ => contract(source.below(usize::from(contracts)) as u8),
        };
        let code = [&[0xef, 0x01, 0x00], target.as_slice()].concat().into();
        accounts.insert(own, Account { nonce: 1, balance: balance(source), code, storage: storage(source) });
        addresses.extend([own; 4]);
    }
    // Addresses that creations will want, taken in one way or another.
    for index in 0..contracts {
        for nonce in 1..3 {
            let created = contract(index).create(nonce);
            let account = match source.below(12) {
                0 => Account { balance: U256::from(7), ..Account::default() },
                1 => Account { nonce: 1, ..Account::default() },
                2 => Account { storage: [(U256::ONE, U256::ONE)].into(), ..Account::default() },
                3 => Account { code: Bytes::from_static(&[0x00]), ..Account::default() },
                4 => Account::default(),
                _ => continue,
            };
            accounts.insert(created, account);
            addresses.push(created);
        }
    }
    let names = Names { fork, addresses };
    for index in 0..contracts {
        let nonce = if source.chance(6) { u64::MAX - source.below(2) as u64 } else { 1 };
        let balance = balance(source);
        let storage = storage(source);
        let code = program(source, &names, 0, 14).into();
        accounts.insert(contract(index), Account { nonce, balance, code, storage });
    }
    let entry = match entry {
        240..=249 => Entry::StaticCall(contract(0)),
        210..=239 => Entry::Create(program(source, &names, 1, 14).into()),
        250.. => Entry::Call(names.addresses[source.below(names.addresses.len())]),
        _ => Entry::Call(contract(0)),
    };
    let mut access_list = Vec::new();
    for _ in 0..source.below(3) {
        let address = names.addresses[source.below(names.addresses.len())];
        let keys = (0..source.below(3)).map(|_| U256::from(source.pick(&KEYS))).collect();
        access_list.push((address, keys));
    }
    let faulty = source.chance(4).then(|| names.addresses[source.below(names.addresses.len())]);
    let input: Vec<u8> = (0..source.below(70)).map(|_| source.byte()).collect();
    Scenario { fork, accounts, entry, value, input: input.into(), gas, reservoir, access_list, runs_before, faulty }
}
