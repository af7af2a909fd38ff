//! Structured random programs.
//!
//! Fragments push their own operands, so that most programs execute many instructions before they fail. Some fragments
//! have raw bytes, undefined opcodes, very large offsets or invalid jumps.

use super::scenario::Source;
use alloy_primitives::{Address, U256};
use balustrade::exec::interpreter::opcode::{TABLE, op};
use balustrade::exec::rules::fork::Fork;

/// The fork, and the addresses that programs use.
pub struct Names {
    pub fork: Fork,
    pub addresses: Vec<Address>,
}

/// A program under construction.
struct Program<'n, 's, 'b> {
    source: &'s mut Source<'b>,
    names: &'n Names,
    code: Vec<u8>,
    /// Positions of PUSH2 operands that get the position of the next JUMPDEST.
    forward: Vec<usize>,
    /// Data to append to the code, each with the position of the PUSH2 operand that gets its offset.
    blobs: Vec<(usize, Vec<u8>)>,
    /// Nesting depth of init code.
    depth: usize,
    /// Whether the current fragment has an opcode that the fork lacks.
    undefined: bool,
}

/// Storage keys and transient keys: a small set, so that programs use the same ones repeatedly.
pub const KEYS: [u64; 6] = [0, 1, 2, 3, 0xff, u64::MAX];

impl Program<'_, '_, '_> {
    fn op(&mut self, opcode: u8) {
        self.undefined |= !TABLE[usize::from(opcode)].defined(self.names.fork);
        self.code.push(opcode);
    }

    /// Appends a fragment. A fragment with an opcode that the fork lacks is usually removed again.
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

    /// Pushes a value in wei, usually zero.
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

    /// Keeps the top word, drops it, or stores it where the outcome shows it.
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
                    op::ADD,
                    op::MUL,
                    op::SUB,
                    op::DIV,
                    op::SDIV,
                    op::MOD,
                    op::SMOD,
                    op::EXP,
                    op::SIGNEXTEND,
                    op::LT,
                    op::GT,
                    op::SLT,
                    op::SGT,
                    op::EQ,
                    op::AND,
                    op::OR,
                    op::XOR,
                    op::BYTE,
                    op::SHL,
                    op::SHR,
                    op::SAR,
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
                let opcode = self.source.pick(&[op::ISZERO, op::NOT, op::CLZ, op::CALLDATALOAD, op::BLOBHASH]);
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
                // Stack instructions, also on too few words.
                let depth = self.source.below(18) as u8;
                (0..depth).for_each(|index| self.number(u64::from(index)));
                let reach = if self.source.chance(230) { depth.clamp(1, 16) } else { 16 };
                let index = self.source.below(usize::from(reach)) as u8;
                match self.source.below(4) {
                    0 => self.op(op::DUP1 + index),
                    1 => self.op(op::SWAP1 + index),
                    2 => self.op(op::POP),
                    _ => {
                        // EIP-8024 on up to 40 words; some immediates name deeper words or are invalid.
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

    /// Short sequences that are frequent in compiled code, and that loops therefore fuse: instructions on a few words,
    /// some of them pushed right before their use. Sometimes the stack is too low.
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
                        op::ADD,
                        op::MUL,
                        op::SUB,
                        op::DIV,
                        op::MOD,
                        op::SIGNEXTEND,
                        op::LT,
                        op::GT,
                        op::SLT,
                        op::SGT,
                        op::EQ,
                        op::AND,
                        op::OR,
                        op::XOR,
                        op::BYTE,
                        op::SHL,
                        op::SHR,
                        op::SAR,
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
                    // A comparison decides a forward jump.
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

    /// Longer sequences as compilers emit them.
    fn idiom(&mut self) {
        match self.source.below(6) {
            0 => {
                // A dispatcher's branch: DUP1 PUSH4 EQ PUSH2 JUMPI, or with GT and LT.
                self.push_word();
                self.op(op::DUP1);
                self.push_word();
                let opcode = self.source.pick(&[op::EQ, op::LT, op::GT]);
                self.op(opcode);
                self.push_label();
                self.op(op::JUMPI);
            }
            1 => {
                // CALLVALUE DUP1 ISZERO PUSH2 JUMPI ... JUMPDEST POP
                self.op(op::CALLVALUE);
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
                self.op(op::ADD);
                self.op(op::SWAP1);
                self.op(op::JUMP);
                let position = self.code.len();
                Self::patch(&mut self.code, back, position);
                self.op(op::JUMPDEST);
            }
            3 => {
                // Jumps if (a op b) is false.
                self.push_word();
                self.push_word();
                let opcode = self.source.pick(&[op::LT, op::GT, op::SLT, op::SGT, op::EQ]);
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
                self.op(op::SHR);
                self.push_word();
                self.op(op::AND);
            }
            _ => {
                // Jumps to a 0x5b byte inside push data, which is invalid, or to a real JUMPDEST.
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

    /// PUSH2 of the position of the next JUMPDEST.
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
                op::ADDRESS,
                op::ORIGIN,
                op::CALLER,
                op::CALLVALUE,
                op::CALLDATASIZE,
                op::CODESIZE,
                op::GASPRICE,
                op::RETURNDATASIZE,
                op::COINBASE,
                op::TIMESTAMP,
                op::NUMBER,
                op::PREVRANDAO,
                op::GASLIMIT,
                op::CHAINID,
                op::SELFBALANCE,
                op::BASEFEE,
                op::BLOBBASEFEE,
                op::SLOTNUM,
                op::PC,
                op::MSIZE,
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

    /// Init code, most of which deploys a program.
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
                // Deploys zeros, or code with the forbidden first byte 0xef (EIP-3541).
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
                // A loop of a few rounds; its body may leave words on the stack.
                let rounds = 1 + self.source.below(6) as u64;
                self.number(rounds);
                let start = self.code.len();
                self.op(op::JUMPDEST);
                let body = self.source.below(4);
                (0..body).for_each(|_| self.fragment());
                self.number(1);
                self.op(op::SWAP1);
                self.op(op::SUB);
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
                self.code.push(op::INVALID);
                self.land();
            }
        }
    }

    fn ending(&mut self) {
        match self.source.below(8) {
            0 => self.op(op::STOP),
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
            _ if self.source.chance(100) => self.op(op::INVALID),
            _ => self.op(op::STOP),
        }
    }

    fn patch(code: &mut [u8], at: usize, position: usize) {
        code[at..at + 2].copy_from_slice(&(position as u16).to_be_bytes());
    }

    /// A JUMPDEST for the forward jumps so far.
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
pub fn program(source: &mut Source<'_>, names: &Names, depth: usize, fragments: usize) -> Vec<u8> {
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
    // Some programs end inside a PUSH.
    if program.source.chance(10) {
        program.op(op::DUP2);
        let push = op::PUSH0 + program.source.below(33) as u8;
        program.op(push);
    }
    program.finish()
}
