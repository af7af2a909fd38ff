//! The reference loop: `revm-interpreter`'s instructions on our frames and state.
//!
//! In and out: as every loop (see the module above). It serves two purposes: to test our loops against another
//! implementation of the instructions on the same frames and state, and to compare the speed of two loops on
//! the same host.
//! Relies on: revm for charging and executing instructions, [`Evm`] for entering calls and creations, precompiles, the
//! journal and the settling of a frame's gas, which all loops share.
//! There is one revm interpreter per depth, kept while the transaction runs. The memory of all frames is one
//! buffer, the allocation of `Evm::memory`; it is swapped into revm's handle while instructions run.
//! Not here: speed. Inputs of the first frame, init code and outputs are copied where revm's types require it.

mod fork;
mod host;

use self::fork::{Instructions, gas_params, gas_table, instructions, spec_id};
use self::host::{ReferenceHost, analysed};
use super::observe::{Observer, StepView, Unobserved};
use crate::exec::evm::call::{CallKind, CallRequest, Entered};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{DEPTH_LIMIT, Evm, Exit, FrameEnd, FrameKind, Input, Status};
use crate::exec::rules::fork::Fork;
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

/// Runs the top frame, which must not have begun, and all frames that it enters; returns how the top frame ended.
///
/// # Panics
/// Outside a frame, and on a frame whose run was interrupted by a panic.
pub fn run_frames(evm: &mut Evm<'_>) -> FrameEnd {
    run_frames_observed(evm, &mut Unobserved)
}

/// [`run_frames`] with an observer. After a halt, `step_end` reports no gas left, whatever revm had charged until then.
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
    /// One interpreter per frame from `floor` on; those of ended frames are reused.
    pool: Vec<Interpreter>,
    /// revm's handle to the memory of all frames. While no instruction runs, the bytes are in `Evm::memory`.
    buffer: Rc<RefCell<Vec<u8>>>,
    /// Parent context of the first frame's memory.
    root: SharedMemory,
    /// The transaction's input, shared by all runs of a first frame.
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
            host: ReferenceHost { evm, gas_params: gas_params(fork), beneficiary: None },
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
            // A fault ends all frames, because it comes from outside the EVM.
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

    /// Reports that the frame at `depth` has executed an instruction.
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

    /// Removes the memory of an ended frame.
    fn end_child_memory(&mut self) {
        let depth = self.depth();
        self.swap_memory();
        self.pool[depth].memory.free_child_context();
        self.swap_memory();
    }

    /// Copies the running frame's gas to revm's interpreter. The number of memory words stays as revm counted it.
    fn gas_in(&mut self) {
        let depth = self.depth();
        let evm = &mut *self.host.evm;
        let frame_gas = evm.frame().gas;
        let gas: &mut Gas = &mut self.pool[depth].gas;
        gas.set_remaining(frame_gas.left);
        gas.set_state_gas_spilled(frame_gas.spilled);
        // Never negative between instructions: a failing frame returns at most what it added to the reservoir itself.
        gas.set_reservoir(evm.gas.reservoir.max(0) as u64);
        gas.set_state_gas_spent(evm.gas.state_used);
        gas.set_refund(evm.gas.refund);
    }

    /// Copies gas from revm's interpreter to the running frame. Not used after a halt, when all gas is consumed.
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

    /// Runs the top frame's interpreter until the frame ends or enters another. The `step_end` of the last
    /// instruction is left to the caller.
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

    /// [`Self::run_top`] one instruction at a time. Before each event, everything that an observer can read is
    /// up to date.
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
            // A creation that failed its checks has cleared the return data in revm only.
            if self.pool[depth].return_data.0.is_empty() {
                self.host.evm.return_data.clear();
            }
            self.step_end(depth, None);
        }
    }

    /// Bytes of a frame's memory, as revm counted and charged them.
    fn memory_len(&self, depth: usize) -> usize {
        self.pool[depth].gas.memory().words_num * 32
    }

    /// Copies the state of revm's interpreter to our frame after a run.
    fn store_top(&mut self, action: &InterpreterAction) {
        let halted = action.instruction_result().is_some_and(|result| !result.is_ok_or_revert());
        // After a halt revm's count may include an expansion that was not paid for.
        if !halted {
            let depth = self.depth();
            self.host.evm.frame().memory_len = self.memory_len(depth);
            self.gas_out();
        }
    }

    /// How the top frame ended, as an [`Exit`]. Its output is appended to its memory, from where `finish_frame`
    /// copies it.
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
                // Only now, because revm charges after the load: the touch of RIPEMD-160, which no revert
                // undoes, must not happen if the gas does not suffice.
                if let Some((beneficiary_id, beneficiary)) = self.host.beneficiary.take() {
                    self.host.evm.apply_selfdestruct(beneficiary_id, &beneficiary);
                }
                Exit::Stop
            }
            halt => Exit::Halt(halt_of(halt)),
        }
    }

    /// Returns the result of a call or creation to the frame that made it.
    fn resume(&mut self, end: &FrameEnd) {
        let evm = &mut *self.host.evm;
        let mut gas = evm.frame().gas;
        evm.settle_child(end, &mut gas.left, &mut gas.spilled);
        evm.frame().gas = gas;
        let return_data = Bytes::copy_from_slice(&evm.return_data);
        let depth = self.depth();
        let interpreter: &mut Interpreter<EthInterpreter> = &mut self.pool[depth];
        interpreter.return_data.0 = return_data;
        // There is room: the instruction popped at least three words.
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
            // Only the first frame has input as bytes; calls by instructions have it in memory.
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

    /// Enters a creation. Since Amsterdam revm's instruction has already checked balance, nonce and depth and
    /// loaded the destination; before, all of that is done here.
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

/// Offset and length of a memory range. revm gives an empty range an arbitrary offset, which is replaced by 0.
fn memory_range(range: &Range<usize>) -> (usize, usize) {
    if range.is_empty() { (0, 0) } else { (range.start, range.len()) }
}

/// revm's reason for a halt as a [`Halt`].
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
        // All others: opcodes that the fork does not define, or that no fork defines.
        _ => Halt::InvalidOpcode,
    }
}
