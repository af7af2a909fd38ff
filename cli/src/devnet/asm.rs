//! A small assembler with opcodes, minimal pushes and labels.
//!
//! In: calls in program order, or a program as text ([`assemble`]). Out: bytecode. Not here: checks
//! of the stack.

use alloy_primitives::U256;
use balustrade::exec::interpreter::opcode::{name, op};
use std::collections::BTreeMap;

/// Assembles a program given as text: opcode names; numbers (decimal or `0x` hex) as minimal
/// pushes; `name:` defines a label; `@name` pushes its position; `;` begins a comment up to the end
/// of the line. Any other word becomes INVALID.
pub fn assemble(program: &str) -> Vec<u8> {
    let mut asm = Asm::default();
    let mut labels: BTreeMap<&str, Label> = BTreeMap::new();
    let words = program.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    for word in words {
        if let Some(label) = word.strip_suffix(':') {
            let label = *labels.entry(label).or_insert_with(|| asm.label());
            asm.bind(label);
        } else if let Some(label) = word.strip_prefix('@') {
            let label = *labels.entry(label).or_insert_with(|| asm.label());
            asm.push_label(label);
        } else if let Ok(number) = word.parse::<U256>() {
            asm.push_bytes(&number.to_be_bytes_trimmed_vec());
        } else {
            let code = (0..=u8::MAX).find(|byte| name(*byte) == Some(word));
            debug_assert!(code.is_some(), "no opcode: {word}");
            asm.ops(&[code.unwrap_or(op::INVALID)]);
        }
    }
    debug_assert!(asm.bound.iter().all(Option::is_some), "a label without a place");
    asm.build()
}

/// A position in the code, defined by [`Asm::bind`].
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// Code under construction. Label references take two bytes.
#[derive(Clone, Debug, Default)]
pub struct Asm {
    code: Vec<u8>,
    bound: Vec<Option<u16>>,
    references: Vec<(usize, Label)>,
}

impl Asm {
    /// Appends opcodes.
    pub fn ops(&mut self, ops: &[u8]) -> &mut Self {
        self.code.extend_from_slice(ops);
        self
    }

    /// Pushes a number with the shortest push.
    pub fn push(&mut self, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        self.push_bytes(&bytes[value.leading_zeros() as usize / 8..])
    }

    /// Pushes up to 32 bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(bytes.len() <= 32);
        self.code.push(op::PUSH0 + bytes.len() as u8);
        self.ops(bytes)
    }

    /// Creates a label, to be bound later.
    pub fn label(&mut self) -> Label {
        self.bound.push(None);
        Label(self.bound.len() - 1)
    }

    /// Binds `label` to the current position and appends a JUMPDEST.
    pub fn bind(&mut self, label: Label) -> &mut Self {
        self.bound[label.0] = Some(self.code.len() as u16);
        self.ops(&[op::JUMPDEST])
    }

    /// Jumps to `label`.
    pub fn jump(&mut self, label: Label) -> &mut Self {
        self.push_label(label).ops(&[op::JUMP])
    }

    /// Jumps to `label` if the top of the stack is not zero.
    pub fn jump_if(&mut self, label: Label) -> &mut Self {
        self.push_label(label).ops(&[op::JUMPI])
    }

    fn push_label(&mut self, label: Label) -> &mut Self {
        self.code.push(op::PUSH2);
        self.references.push((self.code.len(), label));
        self.ops(&[0, 0])
    }

    /// Returns the code with its labels resolved; the position of an unbound label is zero.
    pub fn build(&self) -> Vec<u8> {
        let mut code = self.code.clone();
        for (at, label) in &self.references {
            code[*at..at + 2].copy_from_slice(&self.bound[label.0].unwrap_or_default().to_be_bytes());
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn labels_resolve_forward_and_backward() {
        let mut asm = Asm::default();
        let (start, end) = (asm.label(), asm.label());
        asm.bind(start).push(0).push(1).push(0x100).jump_if(end).jump(start).bind(end).ops(&[op::STOP]);
        assert_eq!(asm.build(), hex!("5b 5f 6001 610100 61000f57 61000056 5b 00"));
        let text = "start: 0 1 0x100 @end JUMPI ; a comment: @nowhere\n @start JUMP end: STOP";
        assert_eq!(assemble(text), asm.build());
        assert_eq!(assemble("KECCAK256 0xff00000000000000000000"), hex!("20 6aff00000000000000000000"));
    }
}
