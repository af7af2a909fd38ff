//! Structured random programs: mostly valid code with loops, calls and creations, and some code that fails.

use alloy_primitives::{Address, U256};

/// A pseudo-random generator (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
    /// A random word; edge cases are frequent.
    pub(crate) fn word(&mut self) -> U256 {
        match self.below(10) {
            0 => U256::ZERO,
            1 => U256::MAX,
            2 => U256::from(1) << self.below(256),
            3 => (U256::from(1) << self.below(256)) - U256::from(1),
            4 => U256::MAX << self.below(256),
            5 | 6 => U256::from(self.below(40)),
            7 => U256::from(self.next()),
            8 => U256::from_limbs([self.next(), self.next(), 0, 0]),
            _ => U256::from_limbs([self.next(), self.next(), self.next(), self.next()]),
        }
    }
}

/// Assembles a random program.
pub(crate) struct Assembler<'a> {
    rng: &'a mut Rng,
    addresses: &'a [Address],
    code: Vec<u8>,
    height: u64,
    /// Positions of the jump destinations so far.
    labels: Vec<usize>,
}

impl<'a> Assembler<'a> {
    pub(crate) fn program(rng: &'a mut Rng, addresses: &'a [Address], size: usize) -> Vec<u8> {
        let mut assembler = Self { rng, addresses, code: Vec::new(), height: 0, labels: Vec::new() };
        assembler.fill(size, 0);
        assembler.finish();
        assembler.code
    }

    fn op(&mut self, opcode: u8) {
        self.code.push(opcode);
    }

    fn push(&mut self, word: U256) {
        let bytes: [u8; 32] = word.to_be_bytes();
        let mut len = word.byte_len().max(1);
        if self.rng.chance(10) {
            len = (len + self.rng.below(4) as usize).min(32);
        }
        self.op(0x5f + len as u8);
        self.code.extend_from_slice(&bytes[32 - len..]);
        self.height += 1;
    }

    fn push_small(&mut self, bound: u64) {
        let value = self.rng.below(bound);
        self.push(U256::from(value));
    }

    fn push_address(&mut self) {
        let address = if self.rng.chance(8) {
            Address::left_padding_from(&[self.rng.below(12) as u8])
        } else if self.rng.chance(8) {
            Address::from_word(self.rng.word().to_be_bytes().into())
        } else {
            self.rng.pick(self.addresses)
        };
        self.push(U256::from_be_slice(address.as_slice()));
    }

    /// Pushes an offset or length: usually small, sometimes beyond every limit.
    fn push_extent(&mut self, bound: u64) {
        match self.rng.below(60) {
            0 => {
                let word = self.rng.word();
                self.push(word);
            }
            1 => self.push_small(1 << 17),
            _ => self.push_small(bound),
        }
    }

    /// Pushes a constant, a computed word or a copy of a stack word.
    fn operand(&mut self) {
        if self.height > 2 && self.rng.chance(40) {
            let n = self.rng.below(self.height.min(16)) as u8;
            self.op(0x80 + n);
            self.height += 1;
        } else {
            let word = self.rng.word();
            self.push(word);
        }
    }

    fn fill(&mut self, size: usize, depth: usize) {
        let end = self.code.len() + size;
        while self.code.len() < end {
            self.snippet(depth);
        }
    }

    fn snippet(&mut self, depth: usize) {
        if self.height > 900 {
            while self.height > 10 {
                self.op(0x50);
                self.height -= 1;
            }
        }
        match self.rng.below(100) {
            0..=24 => self.arithmetic(),
            25..=36 => self.shuffle(),
            37..=50 => self.memory(),
            51..=58 => self.environment(),
            59..=67 => self.storage(),
            68..=74 => self.jump(depth),
            75..=79 => self.repeat(depth),
            80..=87 => self.call(),
            88 => self.create(),
            89..=91 => self.log(),
            92 => self.end(),
            93..=94 => self.dispatch(),
            95 => {
                let opcode = self.rng.below(256) as u8;
                self.op(opcode);
            }
            96 => {
                // EIP-8024, an undefined instruction before Amsterdam.
                let (opcode, immediate) = (self.rng.pick(&[0xe6, 0xe7, 0xe8]), self.rng.below(256) as u8);
                if self.height > 20 || self.rng.chance(5) {
                    self.op(opcode);
                    self.op(immediate);
                    self.height += u64::from(opcode == 0xe6);
                }
            }
            _ => {
                self.op(0x5b);
                self.labels.push(self.code.len() - 1);
            }
        }
    }

    fn arithmetic(&mut self) {
        match self.rng.below(12) {
            0 => {
                self.operand();
                let opcode = self.rng.pick(&[0x15, 0x19, 0x15, 0x1e]);
                self.op(opcode);
            }
            1 => {
                (0..3).for_each(|_| self.operand());
                let opcode = self.rng.pick(&[0x08, 0x09]);
                self.op(opcode);
                self.height -= 2;
            }
            kind => {
                if self.height == 0 || kind < 8 {
                    self.operand();
                }
                if kind < 4 && self.height > 0 {
                    self.op(0x90);
                    self.height = self.height.max(2);
                }
                if kind != 11 || self.height < 2 {
                    self.operand();
                }
                let opcode = self.rng.pick(&[
                    1, 2, 3, 4, 5, 6, 7, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c,
                    0x1d,
                ]);
                // Small operands for shift distances, byte and sign positions.
                if matches!(opcode, 0x0b | 0x1a..=0x1d) && self.rng.chance(70) {
                    self.op(0x50);
                    self.height -= 1;
                    self.push_small(270);
                }
                self.op(opcode);
                self.height = self.height.saturating_sub(1);
            }
        }
    }

    fn shuffle(&mut self) {
        if self.height < 3 {
            self.operand();
            return;
        }
        let within = self.height.min(16);
        match self.rng.below(7) {
            0 | 1 => {
                let n = self.rng.below(within) as u8;
                self.op(0x80 + n);
                self.height += 1;
            }
            2 | 3 => {
                let n = self.rng.below(within - 1) as u8;
                self.op(0x90 + n);
            }
            4 => {
                self.op(0x50);
                self.height -= 1;
            }
            5 => {
                let n = self.rng.below(within - 1) as u8;
                self.op(0x90 + n);
                self.op(0x50);
                self.height -= 1;
            }
            _ => {
                self.op(0x50);
                self.op(0x50);
                self.height -= 2;
            }
        }
    }

    fn memory(&mut self) {
        match self.rng.below(12) {
            0..=3 => {
                self.operand();
                self.push_extent(400);
                let opcode = self.rng.pick(&[0x52, 0x52, 0x53]);
                self.op(opcode);
                self.height -= 2;
            }
            4 | 5 => {
                self.push_extent(400);
                self.op(0x51);
            }
            6 => {
                self.push_extent(200);
                self.push_extent(200);
                self.op(0x20);
                self.height -= 1;
            }
            7 => {
                self.push_extent(100);
                self.op(0x35);
            }
            8 | 9 => {
                self.push_extent(100);
                self.push_extent(100);
                self.push_extent(200);
                let opcode = self.rng.pick(&[0x37, 0x39, 0x5e, 0x3e]);
                self.op(opcode);
                self.height -= 3;
            }
            10 => {
                self.push_extent(100);
                self.push_extent(100);
                self.push_extent(200);
                self.push_address();
                self.op(0x3c);
                self.height -= 4;
            }
            _ => {
                self.op(0x59);
                self.height += 1;
            }
        }
    }

    fn environment(&mut self) {
        match self.rng.below(4) {
            0 => {
                self.push_address();
                let opcode = self.rng.pick(&[0x31, 0x3b, 0x3f]);
                self.op(opcode);
            }
            1 => {
                self.push_small(400);
                let opcode = self.rng.pick(&[0x40, 0x49]);
                self.op(opcode);
            }
            _ => {
                let opcode = self.rng.pick(&[
                    0x30, 0x32, 0x33, 0x34, 0x36, 0x38, 0x3a, 0x3d, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
                    0x4a, 0x4b, 0x58, 0x59, 0x5a, 0x5a, 0x5f,
                ]);
                self.op(opcode);
                self.height += 1;
            }
        }
    }

    fn storage(&mut self) {
        let transient = self.rng.chance(20);
        if self.rng.chance(55) {
            if self.rng.chance(50) {
                self.push_small(3);
            } else {
                self.operand();
            }
            self.push_small(6);
            self.op(if transient { 0x5d } else { 0x55 });
            self.height -= 2;
        } else {
            self.push_small(6);
            self.op(if transient { 0x5c } else { 0x54 });
        }
    }

    fn push_label(&mut self, label: usize) {
        self.op(0x61);
        self.code.extend_from_slice(&(label as u16).to_be_bytes());
        self.height += 1;
    }

    /// A forward jump, conditional or not, with a constant or computed destination.
    fn jump(&mut self, depth: usize) {
        let conditional = self.rng.chance(60);
        if conditional {
            match self.rng.below(3) {
                0 => self.push_small(2),
                1 => {
                    self.operand();
                    self.operand();
                    let opcode = self.rng.pick(&[0x10, 0x11, 0x12, 0x13, 0x14]);
                    self.op(opcode);
                    self.height -= 1;
                }
                _ => self.operand(),
            }
            (0..self.rng.below(3)).for_each(|_| self.op(0x15));
        }
        let computed = self.rng.chance(20);
        self.push_label(0);
        let patch = self.code.len() - 2;
        if computed {
            self.push_small(50);
            self.op(0x01);
            self.height -= 1;
        }
        let offset = if computed { usize::from(self.code[self.code.len() - 2]) } else { 0 };
        self.op(if conditional { 0x57 } else { 0x56 });
        self.height -= 1 + u64::from(conditional);
        let height = self.height;
        if depth < 3 {
            let size = self.rng.below(30) as usize;
            self.fill(size, depth + 1);
        }
        // Both paths should reach the same stack height; if they do not, the rest may underflow, which is a test case,
        // too.
        while self.height > height {
            self.op(0x50);
            self.height -= 1;
        }
        let label = self.code.len();
        if !self.rng.chance(3) {
            self.op(0x5b);
            self.labels.push(label);
        }
        let target = (label.wrapping_sub(offset) as u16).to_be_bytes();
        self.code[patch..patch + 2].copy_from_slice(&target);
    }

    /// A counted loop.
    fn repeat(&mut self, depth: usize) {
        if depth >= 2 {
            return self.arithmetic();
        }
        self.push_small(12);
        let label = self.code.len();
        self.op(0x5b);
        let height = self.height;
        let size = self.rng.below(40) as usize;
        self.fill(size, depth + 1);
        while self.height > height {
            self.op(0x50);
            self.height -= 1;
        }
        while self.height < height {
            self.push_small(3);
        }
        // PUSH1 1, SWAP1, SUB or similar. A counter that wraps below zero loops until the gas is used.
        self.op(0x80);
        self.op(0x15);
        let exit = self.code.len() + 3 + 1 + 4 + 1 + 3 + 1;
        self.push_label(exit);
        self.op(0x57);
        self.code.extend_from_slice(&[0x60, 1, 0x90, 0x03, 0x80]);
        self.push_label(label);
        self.op(0x57);
        self.height = height;
        if self.code.len() == exit {
            self.op(0x5b);
        }
    }

    /// A selector comparison as compilers emit it.
    fn dispatch(&mut self) {
        self.push_small(3);
        self.op(0x80);
        self.op(0x63);
        let selector = self.rng.below(3) as u32;
        self.code.extend_from_slice(&selector.to_be_bytes());
        self.op(0x14);
        let target = self.code.len() + 3 + 1 + 2;
        self.op(0x61);
        self.code.extend_from_slice(&(target as u16).to_be_bytes());
        self.op(0x57);
        self.code.extend_from_slice(&[0x5a, 0x50, 0x5b, 0x50]);
        self.height -= 1;
    }

    fn call(&mut self) {
        let opcode = self.rng.pick(&[0xf1, 0xf1, 0xf1, 0xf2, 0xf4, 0xfa]);
        self.push_extent(70);
        self.push_extent(100);
        self.push_extent(70);
        self.push_extent(100);
        if matches!(opcode, 0xf1 | 0xf2) {
            match self.rng.below(10) {
                0 => self.push_small(2000),
                1 => {
                    let word = self.rng.word();
                    self.push(word);
                }
                _ => self.push_small(1),
            }
        }
        self.push_address();
        if self.rng.chance(70) {
            self.op(0x5a);
            self.height += 1;
        } else {
            self.push_small(60_000);
        }
        self.op(opcode);
        self.height -= if matches!(opcode, 0xf1 | 0xf2) { 6 } else { 5 };
    }

    fn create(&mut self) {
        // Init code that returns a few bytes of its memory, or fails.
        let init = self.rng.pick(&[
            0x60006000f3u64,
            0x60056000f3,
            0x60006000fd,
            0x60ef6000536001,
            0x6001600055,
            0x6002600202fe,
        ]);
        self.push(U256::from(init));
        self.push_small(64);
        self.op(0x52);
        self.height -= 2;
        let salted = self.rng.chance(50);
        if salted {
            self.push_small(3);
        }
        self.push_extent(64);
        self.push_extent(64);
        self.push_small(2);
        self.op(if salted { 0xf5 } else { 0xf0 });
        self.height -= if salted { 3 } else { 2 };
    }

    fn log(&mut self) {
        let topics = self.rng.below(5);
        (0..topics).for_each(|_| self.operand());
        self.push_extent(60);
        self.push_extent(100);
        self.op(0xa0 + topics as u8);
        self.height -= topics + 2;
    }

    /// An instruction that ends the frame, behind a condition that is rarely true.
    fn end(&mut self) {
        if self.rng.chance(70) {
            return self.environment();
        }
        self.finish();
        self.op(0x5b);
    }

    fn finish(&mut self) {
        self.push_extent(70);
        self.push_extent(200);
        match self.rng.below(12) {
            0 => self.op(0xfe),
            1 => {
                self.push_address();
                self.op(0xff);
                self.height -= 1;
            }
            2 => self.op(0x00),
            3 => self.op(0x56),
            4 | 5 => self.op(0xfd),
            _ => self.op(0xf3),
        }
        self.height = self.height.saturating_sub(2);
    }
}
