//! Observers of a running loop. An observer is a type parameter of the loop, so that [`Unobserved`] costs nothing.
//!
//! In: the loop's events. In each frame: `enter`, then for each instruction `step` and `step_end`, then `leave`. An
//! instruction that enters an inner frame gets its `step_end` before that frame's `enter`. The gas in
//! `step_end` is the gas left after the instruction, without the gas passed to an inner frame. A callee without
//! code and a precompile are no frames; their unused gas has already been returned.
//! Not here: the observers for traces (`trace`), profiles (`profile`) and accesses (`watch`).

use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd};
use alloy_primitives::U256;

/// An instruction about to run, before any check or charge.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    /// Position in the code.
    pub pc: usize,
    /// The opcode byte.
    pub opcode: u8,
    /// Execution gas left before it.
    pub gas_left: u64,
    /// The frame's stack, top last.
    pub stack: &'a [U256],
    /// Bytes of the frame's memory.
    pub memory_len: usize,
    /// Depth of the frame; that of the outermost frame is 1 (EIP-3155).
    pub depth: usize,
}

/// Observes a loop. At every event the machine's return data, gas and depth are readable.
pub trait Observer {
    /// Whether events are used; if not, loops skip all work for them.
    const ON: bool;
    /// An instruction is about to run.
    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>);
    /// The instruction has ended: gas left, and the halt if it caused one.
    fn step_end(&mut self, evm: &Evm<'_>, gas_left: u64, halt: Option<Halt>);
    /// A frame is about to run its first instruction; [`Evm::depth`] counts it.
    fn enter(&mut self, evm: &Evm<'_>);
    /// A frame has ended and was popped.
    fn leave(&mut self, evm: &Evm<'_>, end: &FrameEnd);
}

/// No observer.
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
    /// Number of runs, by opcode.
    pub counts: Box<[u64; 256]>,
    /// Gas by opcode; gas passed to a callee counts for the call.
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
