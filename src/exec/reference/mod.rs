//! The reference loop: `revm-interpreter`'s instructions on our own frames and our own arena-backed state.
//!
//! It answers two questions: does our loop do what another implementation does (same frames, same state, other
//! instructions), and how do two loops compare over exactly the same host. revm prices and runs instructions; entering
//! calls and creations, precompiles, journaling and the settling of a frame's gas are [`Evm`]'s, shared by all loops.
//!
//! One revm interpreter per depth, kept while the transaction runs. Memory is one buffer for all frames, as in
//! `Evm::memory`, and the two are the same allocation: it is swapped into revm's hands while instructions run.
//! Not here: speed. Inputs of the first frame, init code and outputs are copied where revm's types demand it.

mod fork;
mod host;

use self::fork::{Instructions, gas_params, gas_table, instructions, spec_id};
use self::host::{ReferenceHost, analysed};
use super::call::{CallKind, CallRequest, Entered};
use super::evm::{DEPTH_LIMIT, Evm, Exit, FrameEnd, FrameKind, Input, Status};
use super::fork::Fork;
use super::halt::Halt;
use super::interpreter::observe::{Observer, StepView, Unobserved};
use alloy_primitives::{Bytes, U256};
use core::cell::RefCell;
use core::ops::Range;
use revm_context_interface::CreateScheme;
use revm_interpreter::interpreter::{EthInterpreter, ExtBytecode};
use revm_interpreter::interpreter_types::{Jumps, LoopControl};
use revm_interpreter::{
    CallInput, CallInputs, CallScheme, CreateInputs, FrameInput, Gas, GasTable, InputsImpl, InstructionResult,
    Interpreter, InterpreterAction, InterpreterResult, SharedMemory,
};
use revm_primitives::hardfork::SpecId;
use std::rc::Rc;

/// Runs the top frame, which has not run yet, and all frames that it enters; returns how the top frame ended.
///
/// # Panics
/// Outside a frame, and on one that was left by a panic.
pub fn run_frames(evm: &mut Evm<'_>) -> FrameEnd {
    run_frames_observed(evm, &mut Unobserved)
}

/// [`run_frames`], watched. A halt's `step_end` has no gas left, whatever revm had charged by then.
///
/// # Panics
/// As [`run_frames`].
pub fn run_frames_observed<O: Observer>(evm: &mut Evm<'_>, observer: &mut O) -> FrameEnd {
    ReferenceLoop::new(evm, observer).run()
}

/// revm's interpreters for the frames above `floor`.
struct ReferenceLoop<'a, 'b, O> {
    observer: &'a mut O,
    host: ReferenceHost<'a, 'b>,
    instructions: Instructions<'a, 'b>,
    gas_table: GasTable,
    spec: SpecId,
    /// Index of the first frame in `Evm::frames`.
    floor: usize,
    /// One interpreter per frame from `floor` on; those of ended frames are kept for the next ones.
    pool: Vec<Interpreter>,
    /// revm's handle on the memory of all frames. Its bytes are in `Evm::memory` while no instruction runs.
    buffer: Rc<RefCell<Vec<u8>>>,
    /// Owner of the memory below the first frame.
    root: SharedMemory,
    /// The transaction's input; its bytes are shared by every run of the first frame.
    tx_input: Bytes,
}

impl<'a, 'b, O: Observer> ReferenceLoop<'a, 'b, O> {
    fn new(evm: &'a mut Evm<'b>, observer: &'a mut O) -> Self {
        evm.assert_frame_is_new();
        let fork = evm.rules.fork;
        let buffer = Rc::new(RefCell::new(Vec::new()));
        Self {
            observer,
            instructions: instructions(fork),
            gas_table: gas_table(fork),
            spec: spec_id(fork),
            floor: evm.frames.len() - 1,
            pool: Vec::new(),
            root: SharedMemory::new_with_buffer(Rc::clone(&buffer)),
            buffer,
            tx_input: Bytes::copy_from_slice(evm.tx.input),
            host: ReferenceHost { evm, gas_params: gas_params(fork), heir: None },
        }
    }

    fn run(mut self) -> FrameEnd {
        self.begin_frame();
        loop {
            let exit = match self.run_top() {
                InterpreterAction::NewFrame(input) => match self.enter(input) {
                    Ok(Entered::Frame) => {
                        self.step_end(self.depth() - 1, None);
                        self.begin_frame();
                        continue;
                    }
                    Ok(Entered::Done(end)) => {
                        self.resume(&end);
                        self.step_end(self.depth(), None);
                        continue;
                    }
                    Err(halt) => Exit::Halt(halt),
                },
                InterpreterAction::Return(result) => self.exit(&result),
            };
            self.step_end(self.depth(), if let Exit::Halt(halt) = exit { Some(halt) } else { None });
            let mut end = self.finish_frame(exit);
            // What stopped a frame from outside the EVM stops its callers too.
            while end.status == Status::Halt(Halt::Fault) && self.host.evm.frames.len() > self.floor {
                end = self.finish_frame(Exit::Halt(Halt::Fault));
            }
            if self.host.evm.frames.len() <= self.floor {
                return end;
            }
            self.end_child_memory();
            self.resume(&end);
        }
    }

    fn finish_frame(&mut self, exit: Exit) -> FrameEnd {
        let end = self.host.evm.finish_frame(exit);
        self.observer.leave(self.host.evm, &end);
        end
    }

    /// The frame at `depth` has run an instruction.
    fn step_end(&mut self, depth: usize, halt: Option<Halt>) {
        if O::ON {
            let gas_left = if halt.is_some() { 0 } else { self.host.evm.frames[self.floor + depth].gas.left };
            self.observer.step_end(self.host.evm, gas_left, halt);
        }
    }

    /// Index of the running frame in the pool.
    fn depth(&self) -> usize {
        self.host.evm.frames.len() - 1 - self.floor
    }

    /// Swaps the bytes of all frames' memory between `Evm::memory` and revm's buffer.
    fn swap_memory(&mut self) {
        core::mem::swap(&mut *self.buffer.borrow_mut(), &mut self.host.evm.memory);
    }

    /// Sets up an interpreter for a frame that was just pushed.
    fn begin_frame(&mut self) {
        let depth = self.depth();
        let evm = &mut *self.host.evm;
        let index = evm.frames.len() - 1;
        let frame = &evm.frames[index];
        evm.memory.resize(frame.memory_base, 0);
        let bytecode = ExtBytecode::new(analysed(&frame.code));
        let input = match (frame.kind, frame.input) {
            (FrameKind::Call { .. }, Input::Tx) => CallInput::Bytes(self.tx_input.clone()),
            (FrameKind::Create, Input::Tx) => CallInput::Bytes(Bytes::new()),
            (_, Input::Memory { start, len }) => CallInput::SharedBuffer(start..start + len),
        };
        let inputs = InputsImpl {
            target_address: frame.address,
            bytecode_address: None,
            caller_address: frame.caller,
            input,
            call_value: frame.value,
            depth: index,
        };
        let is_static = frame.is_static;
        self.swap_memory();
        let parent = match depth.checked_sub(1) {
            Some(parent) => &mut self.pool[parent].memory,
            None => &mut self.root,
        };
        let memory = parent.new_child_context();
        if self.pool.len() == depth {
            self.pool.push(Interpreter::invalid());
        }
        // Gas is set by `gas_in` before the first instruction.
        self.pool[depth].clear(memory, bytecode, inputs, is_static, self.spec, 0, 0);
        self.swap_memory();
        self.gas_in();
        self.observer.enter(self.host.evm);
    }

    /// Cuts the memory of an ended frame off.
    fn end_child_memory(&mut self) {
        let depth = self.depth();
        self.swap_memory();
        self.pool[depth].memory.free_child_context();
        self.swap_memory();
    }

    /// The running frame's gas, from our frame to revm's tracker. Memory's words stay as revm counted them.
    fn gas_in(&mut self) {
        let depth = self.depth();
        let evm = &mut *self.host.evm;
        let frame_gas = evm.frame().gas;
        let gas: &mut Gas = &mut self.pool[depth].gas;
        gas.set_remaining(frame_gas.left);
        gas.set_state_gas_spilled(frame_gas.spilled);
        // Never below zero between instructions: a frame that fails takes back no more than its own net.
        gas.set_reservoir(evm.gas.reservoir.max(0) as u64);
        gas.set_state_gas_spent(evm.gas.state_used);
        gas.set_refund(evm.gas.refund);
    }

    /// The way back. Not for a halt: its gas is void.
    fn gas_out(&mut self) {
        let gas = self.pool[self.depth()].gas;
        let evm = &mut *self.host.evm;
        let frame = evm.frame();
        frame.gas.left = gas.remaining();
        frame.gas.spilled = gas.state_gas_spilled();
        evm.gas.reservoir = gas.reservoir() as i64;
        evm.gas.state_used = gas.state_gas_spent();
        evm.gas.refund = gas.refunded();
    }

    /// Runs the top frame's interpreter until it ends or asks for another frame. The last instruction's `step_end` is
    /// still to come.
    fn run_top(&mut self) -> InterpreterAction {
        let depth = self.depth();
        if O::ON {
            return self.watch_top();
        }
        self.swap_memory();
        let action = self.pool[depth].run_plain(&self.instructions, &self.gas_table, &mut self.host);
        self.swap_memory();
        self.store_top(&action);
        action
    }

    /// [`Self::run_top`] step by step, with everything that an observer may read in its place before each event.
    fn watch_top(&mut self) -> InterpreterAction {
        let depth = self.depth();
        loop {
            let interpreter = &self.pool[depth];
            let view = StepView {
                pc: interpreter.bytecode.pc(),
                opcode: interpreter.bytecode.opcode(),
                gas_left: interpreter.gas.remaining(),
                stack: interpreter.stack.data(),
                memory_len: self.host.evm.frames[self.floor + depth].memory_len,
                depth: self.floor + depth + 1,
            };
            self.observer.step(self.host.evm, &view);
            self.swap_memory();
            let result = self.pool[depth].step(&self.instructions, &self.gas_table, &mut self.host);
            self.swap_memory();
            if let Err(reason) = result {
                let interpreter = &mut self.pool[depth];
                if interpreter.bytecode.action().is_none() {
                    interpreter.halt(reason);
                }
                let action = interpreter.take_next_action();
                self.store_top(&action);
                return action;
            }
            self.host.evm.frame().memory_len = self.memory_len(depth);
            self.gas_out();
            // A creation that failed its checks has cleared it.
            if self.pool[depth].return_data.0.is_empty() {
                self.host.evm.return_data.clear();
            }
            self.step_end(depth, None);
        }
    }

    /// Bytes of a frame's memory, as revm counted and paid for them.
    fn memory_len(&self, depth: usize) -> usize {
        self.pool[depth].gas.memory().words_num * 32
    }

    /// Brings our frame up to where revm's interpreter stopped.
    fn store_top(&mut self, action: &InterpreterAction) {
        let halted = action.instruction_result().is_some_and(|result| !result.is_ok_or_revert());
        // An expansion that could not be paid for was counted, too.
        if !halted {
            let depth = self.depth();
            self.host.evm.frame().memory_len = self.memory_len(depth);
            self.gas_out();
        }
    }

    /// How the top frame ended, in our words. Its output is put behind its memory, where `finish_frame` looks for it.
    fn exit(&mut self, result: &InterpreterResult) -> Exit {
        use InstructionResult as Result;
        let evm = &mut *self.host.evm;
        let offset = evm.frame().memory_len;
        let len = result.output.len();
        match result.result {
            Result::Return | Result::Revert => {
                let end = evm.frame().memory_base + offset;
                evm.memory.truncate(end);
                evm.memory.extend_from_slice(&result.output);
                if result.result == Result::Return {
                    Exit::Return { offset, len }
                } else {
                    Exit::Revert { offset, len }
                }
            }
            Result::Stop => Exit::Stop,
            Result::SelfDestruct => {
                // revm pays after it looked; the touch of RIPEMD-160 must not outlive what was never paid.
                if let Some((heir, beneficiary)) = self.host.heir.take() {
                    self.host.evm.bequeath(heir, &beneficiary);
                }
                Exit::Stop
            }
            halt => Exit::Halt(halt_of(halt)),
        }
    }

    /// Gives the outcome of a call or creation to the frame that asked for it.
    fn resume(&mut self, end: &FrameEnd) {
        let evm = &mut *self.host.evm;
        let mut gas = evm.frame().gas;
        evm.settle_child(end, &mut gas.left, &mut gas.spilled);
        evm.frame().gas = gas;
        let return_data = Bytes::copy_from_slice(&evm.return_data);
        let depth = self.depth();
        let interpreter: &mut Interpreter<EthInterpreter> = &mut self.pool[depth];
        interpreter.return_data.0 = return_data;
        // Never full: the instruction took at least three words.
        let _ = interpreter.stack.push(end.word());
        self.gas_in();
    }

    fn enter(&mut self, input: FrameInput) -> Result<Entered, Halt> {
        match input {
            FrameInput::Call(inputs) => self.enter_call(&inputs),
            FrameInput::Create(inputs) => self.enter_create(&inputs),
            FrameInput::Empty => Err(Halt::InvalidOpcode),
        }
    }

    fn enter_call(&mut self, inputs: &CallInputs) -> Result<Entered, Halt> {
        let evm = &mut *self.host.evm;
        let (code_hash, _) = &inputs.known_bytecode;
        let input = match &inputs.input {
            CallInput::SharedBuffer(range) => memory_range(range),
            // Calls made by an instruction take their input from memory.
            CallInput::Bytes(_) => (0, 0),
        };
        let request = CallRequest {
            kind: match inputs.scheme {
                CallScheme::Call => CallKind::Call,
                CallScheme::CallCode => CallKind::CallCode,
                CallScheme::DelegateCall => CallKind::DelegateCall,
                CallScheme::StaticCall => CallKind::StaticCall,
            },
            gas: inputs.gas_limit,
            to: evm.state.account_id(&inputs.bytecode_address)?,
            code: evm.state.codes.intern(*code_hash),
            value: inputs.transfer_value().unwrap_or(U256::ZERO),
            input: Input::Memory { start: input.0, len: input.1 },
            output: memory_range(&inputs.return_memory_offset),
            charged_new_account: inputs.charged_new_account_state_gas,
        };
        evm.enter_call(&request)
    }

    /// From Amsterdam on revm's instruction has checked balance, nonce and depth and loaded the destination;
    /// before, all of that is the frame's beginning.
    fn enter_create(&mut self, inputs: &CreateInputs) -> Result<Entered, Halt> {
        let evm = &mut *self.host.evm;
        evm.return_data.clear();
        let own = evm.frame().target;
        evm.state.load(own)?;
        let nonce = evm.state.nonce(own);
        if !evm.state.can_pay(own, inputs.value()) || nonce == u64::MAX || evm.frames.len() > DEPTH_LIMIT {
            return Ok(Entered::Done(FrameEnd {
                status: Status::Revert,
                left: inputs.gas_limit(),
                spilled: 0,
                refill_new_account: inputs.charged_create_state_gas(),
                created: None,
            }));
        }
        let created = match inputs.scheme() {
            CreateScheme::Custom { address } => address,
            CreateScheme::Create | CreateScheme::Create2 { .. } => inputs.created_address(nonce),
        };
        let destination = evm.state.account_id(&created)?;
        if evm.since(Fork::Berlin) {
            evm.state.warm(destination);
        }
        evm.state.load(destination)?;
        evm.state.set_nonce(own, nonce + 1);
        let initcode = evm.init_code_of(inputs.init_code());
        evm.enter_create(
            own,
            inputs.caller(),
            destination,
            created,
            inputs.value(),
            initcode,
            inputs.gas_limit(),
            inputs.charged_create_state_gas(),
        )
    }
}

/// Offset and length of a memory range; revm writes an empty one with an offset that means nothing.
fn memory_range(range: &Range<usize>) -> (usize, usize) {
    if range.is_empty() { (0, 0) } else { (range.start, range.len()) }
}

/// revm's reason for a halt in our words.
fn halt_of(result: InstructionResult) -> Halt {
    use InstructionResult as Result;
    match result {
        Result::OutOfGas
        | Result::MemoryOOG
        | Result::MemoryLimitOOG
        | Result::PrecompileOOG
        | Result::InvalidOperandOOG
        | Result::ReentrancySentryOOG => Halt::OutOfGas,
        Result::StackUnderflow => Halt::StackUnderflow,
        Result::StackOverflow => Halt::StackOverflow,
        Result::InvalidJump => Halt::InvalidJump,
        Result::CallNotAllowedInsideStatic | Result::StateChangeDuringStaticCall => Halt::StaticViolation,
        Result::OutOfOffset => Halt::ReturnDataOutOfBounds,
        Result::CreateInitCodeSizeLimit => Halt::InitcodeTooLarge,
        Result::FatalExternalError => Halt::Fault,
        // The rest are opcodes that this fork lacks, or that never exist.
        _ => Halt::InvalidOpcode,
    }
}
