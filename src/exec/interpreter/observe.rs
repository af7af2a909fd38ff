//! What can be watched while a loop runs. An observer is a type parameter of the loop: one that is off costs nothing.
//!
//! Order of events in one frame: `enter`, then for each instruction `step` and `step_end`, then `leave`. An instruction
//! that enters an inner frame gets its `step_end` before that frame's `enter`. Gas in `step_end` is what is left
//! after the instruction, gas passed to a frame that was entered not counted; a callee without code or a precompile
//! is no frame, and its gas has already come back.

use crate::exec::evm::{Evm, FrameEnd};
use crate::exec::halt::Halt;
use alloy_primitives::U256;

/// An instruction that is about to run; nothing of it is checked or paid yet.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    /// Position in the code.
    pub pc: usize,
    /// The byte there.
    pub opcode: u8,
    /// Execution gas left before it.
    pub gas_left: u64,
    /// The frame's stack, top last.
    pub stack: &'a [U256],
    /// Bytes of the frame's memory.
    pub memory_len: usize,
    /// Depth of the frame, the outermost is 1 (EIP-3155).
    pub depth: usize,
}

/// Watches a loop. The return data, the gas and the depth of the machine can be read at every event.
pub trait Observer {
    /// Whether anything is watched: loops skip all preparation where not.
    const ON: bool;
    /// An instruction is about to run.
    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>);
    /// The instruction is over: gas left, and the halt that it caused.
    fn step_end(&mut self, evm: &Evm<'_>, gas_left: u64, halt: Option<Halt>);
    /// A frame is about to run its first instruction; [`Evm::depth`] counts it.
    fn enter(&mut self, evm: &Evm<'_>);
    /// A frame is over and popped.
    fn leave(&mut self, evm: &Evm<'_>, end: &FrameEnd);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    const ON: bool = false;
    #[inline(always)]
    fn step(&mut self, _: &Evm<'_>, _: &StepView<'_>) {}
    #[inline(always)]
    fn step_end(&mut self, _: &Evm<'_>, _: u64, _: Option<Halt>) {}
    #[inline(always)]
    fn enter(&mut self, _: &Evm<'_>) {}
    #[inline(always)]
    fn leave(&mut self, _: &Evm<'_>, _: &FrameEnd) {}
}

/// Counts instructions by opcode, and the gas spent in them.
#[derive(Clone, Debug)]
pub struct OpcodeCounter {
    /// Runs by opcode.
    pub counts: Box<[u64; 256]>,
    /// Gas by opcode; what a call passes on counts as the call's.
    pub gas: Box<[u64; 256]>,
    last: (u8, u64),
}

impl Default for OpcodeCounter {
    fn default() -> Self {
        Self { counts: Box::new([0; 256]), gas: Box::new([0; 256]), last: (0, 0) }
    }
}

impl Observer for OpcodeCounter {
    const ON: bool = true;
    fn step(&mut self, _: &Evm<'_>, step: &StepView<'_>) {
        self.counts[usize::from(step.opcode)] += 1;
        self.last = (step.opcode, step.gas_left);
    }
    fn step_end(&mut self, _: &Evm<'_>, gas_left: u64, _: Option<Halt>) {
        let (opcode, before) = self.last;
        self.gas[usize::from(opcode)] += before.saturating_sub(gas_left);
    }
    fn enter(&mut self, _: &Evm<'_>) {}
    fn leave(&mut self, _: &Evm<'_>, _: &FrameEnd) {}
}
