//! Call tree: the calls and creations of a transaction, in the order in which they begin.
//!
//! In: the events of a loop. Out: [`Call`]s.
//! A call without a frame (to an account without code, to a precompile, or one that fails before its first instruction)
//! is recognised by the next instruction of its caller: no frame was entered in between.
//! Not here: a transaction that runs no code, which has no frame and no event.

use super::observe::{Observer, StepView};
use super::opcode::{self, op};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd, FrameKind, Status};
use alloy_primitives::{Address, Bytes, U256};

/// Calls that are kept; later ones are only counted.
const CALLS_MAX: usize = 1 << 18;
/// Bytes of an input or an output that are kept.
const DATA_MAX: usize = 4 << 10;
/// Bytes of all inputs and outputs that are kept; what comes later is kept without its bytes.
const DATA_SUM_MAX: usize = 64 << 20;

/// A call or a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Call {
    /// 1 for the transaction's own call, 2 for the calls of its code.
    pub depth: usize,
    /// The mnemonic of the instruction; CALL or CREATE for the transaction's own.
    pub kind: &'static str,
    /// The account whose code makes the call.
    pub from: Address,
    /// The account that is called: with DELEGATECALL and CALLCODE the one whose code runs, with creations the new one.
    /// `None` for a creation that failed before its first instruction.
    pub to: Option<Address>,
    /// Value in wei.
    pub value: U256,
    /// Gas that the callee was given; 0 for a call without a frame.
    pub gas: u64,
    /// Gas that it used, its own calls included. For a call without a frame, what the instruction cost.
    pub gas_used: u64,
    /// The first 4,096 bytes of the calldata or init code.
    pub input: Bytes,
    /// Length of the calldata or init code in bytes.
    pub input_len: usize,
    /// The first 4,096 bytes of the output.
    pub output: Bytes,
    /// Length of the output in bytes.
    pub output_len: usize,
    /// Why it failed; `None`: it succeeded.
    pub error: Option<&'static str>,
}

/// A call instruction whose result is not known yet.
#[derive(Clone, Debug)]
struct Pending {
    call: Call,
    gas_before: u64,
}

/// Observer that keeps the calls of a transaction. What it keeps is bounded by about 150 MiB.
#[derive(Clone, Debug, Default)]
pub struct CallTree {
    /// The calls, each before the calls that it makes.
    pub calls: Vec<Call>,
    /// Number of calls that were not kept.
    pub dropped: u64,
    data_sum: usize,
    /// The last instruction, if it is a call or a creation.
    pending: Option<Pending>,
    /// The frames in progress: their place in `calls`, if they are kept.
    open: Vec<Option<usize>>,
}

impl CallTree {
    /// The first bytes of some data, within the bounds, and its length.
    fn cut(&mut self, data: &[u8]) -> (Bytes, usize) {
        let kept = data.len().min(DATA_MAX);
        if self.data_sum + kept > DATA_SUM_MAX {
            return (Bytes::new(), data.len());
        }
        self.data_sum += kept;
        (Bytes::copy_from_slice(&data[..kept]), data.len())
    }

    fn push(&mut self, call: Call) -> Option<usize> {
        if self.calls.len() == CALLS_MAX {
            self.dropped += 1;
            return None;
        }
        self.calls.push(call);
        Some(self.calls.len() - 1)
    }

    /// Keeps the last call instruction as one without a frame.
    fn end_pending(&mut self, evm: &Evm<'_>, succeeded: bool) {
        let Some(Pending { mut call, .. }) = self.pending.take() else { return };
        (call.output, call.output_len) = self.cut(evm.return_data());
        if !succeeded {
            call.error = Some("failed before its first instruction");
        }
        if call.kind.starts_with("CREATE") {
            call.to = None;
        }
        self.push(call);
    }
}

impl Observer for CallTree {
    const ON: bool = true;

    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>) {
        self.end_pending(evm, step.stack.last().is_some_and(|word| !word.is_zero()));
        let Some(frame) = evm.frames.last() else { return };
        let operand = |from_top: usize| step.stack.len().checked_sub(from_top + 1).map(|at| step.stack[at]);
        let (to, value, data) = match step.opcode {
            op::CALL | op::CALLCODE => (operand(1), operand(2), (operand(3), operand(4))),
            op::DELEGATECALL => (operand(1), Some(frame.value), (operand(2), operand(3))),
            op::STATICCALL => (operand(1), Some(U256::ZERO), (operand(2), operand(3))),
            op::CREATE | op::CREATE2 => (Some(U256::ZERO), operand(0), (operand(1), operand(2))),
            _ => return,
        };
        let (Some(to), Some(value), (Some(offset), Some(len))) = (to, value, data) else { return };
        // Bytes beyond the memory, which the instruction has not extended yet, are zero.
        let memory = evm.memory.get(frame.memory_base..frame.memory_base + step.memory_len).unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(memory.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut input = memory[offset..offset.saturating_add(len.min(DATA_MAX)).min(memory.len())].to_vec();
        input.resize(len.min(DATA_MAX), 0);
        let (input, _) = self.cut(&input);
        let call = Call {
            depth: step.depth + 1,
            kind: opcode::name(step.opcode).unwrap_or_default(),
            from: frame.address,
            to: Some(Address::from_word(to.into())),
            value,
            gas: 0,
            gas_used: 0,
            input,
            input_len: len,
            output: Bytes::new(),
            output_len: 0,
            error: None,
        };
        self.pending = Some(Pending { call, gas_before: step.gas_left });
    }

    fn step_end(&mut self, _: &Evm<'_>, gas_left: u64, halt: Option<Halt>) {
        if halt.is_some() {
            self.pending = None;
        }
        if let Some(Pending { call, gas_before }) = &mut self.pending {
            call.gas_used = gas_before.saturating_sub(gas_left);
        }
    }

    fn enter(&mut self, evm: &Evm<'_>) {
        let Some(frame) = evm.frames.last() else { return };
        let is_creation = frame.kind == FrameKind::Create;
        let mut call = match self.pending.take() {
            Some(pending) => pending.call,
            None => {
                let data = if is_creation { frame.code.bytes() } else { evm.input(frame.input) };
                let (input, input_len) = self.cut(data);
                Call {
                    depth: evm.depth(),
                    kind: if is_creation { "CREATE" } else { "CALL" },
                    from: frame.caller,
                    to: Some(frame.address),
                    value: frame.value,
                    gas: 0,
                    gas_used: 0,
                    input,
                    input_len,
                    output: Bytes::new(),
                    output_len: 0,
                    error: None,
                }
            }
        };
        if is_creation {
            call.to = Some(frame.address);
        }
        call.gas = frame.gas.left;
        let place = self.push(call);
        self.open.push(place);
    }

    fn leave(&mut self, evm: &Evm<'_>, end: &FrameEnd) {
        self.end_pending(evm, true);
        let Some(place) = self.open.pop().flatten() else { return };
        let (output, output_len) = self.cut(evm.return_data());
        let call = &mut self.calls[place];
        call.gas_used = call.gas.saturating_sub(end.left);
        (call.output, call.output_len) = (output, output_len);
        call.error = match end.status {
            Status::Success => None,
            Status::Revert => Some("execution reverted"),
            Status::Halt(halt) => Some(halt.name()),
        };
    }
}
