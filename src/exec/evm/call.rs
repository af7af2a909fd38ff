//! Calls and creations: their gas, and the frames that they enter.
//!
//! In: the stack arguments of a call or creation instruction. Out: a pushed frame, or the result of a call without one.
//! Our own loops use `call` and `create`, which charge all gas and then use [`Evm::enter_call`] or
//! [`Evm::enter_create`]. The reference loop charges gas by itself and calls the latter two.
//! Sources: EIP-150, 161, 214, 684, 2929, 3860, 7610, 7702, 7708, 8037, 8038.
//! Not here: running a frame (`interpreter`) and ending it (`machine`).

use super::gas::{FrameGas, words};
use super::halt::Halt;
use super::host::charge;
use super::machine::{CodeRef, DEPTH_LIMIT, Evm, Frame, FrameEnd, FrameKind, Input, Status};
use super::precompile;
use super::state::flag;
use crate::arena::code::{Code, EMPTY_CODE};
use crate::arena::keccak::keccak256;
use crate::arena::{AccountId, CodeId};
use crate::exec::rules::fork::{CALL_STIPEND, Fork, INITCODE_WORD};
use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;

/// One of the four call instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// CALL.
    Call,
    /// CALLCODE.
    CallCode,
    /// DELEGATECALL (EIP-7).
    DelegateCall,
    /// STATICCALL (EIP-214).
    StaticCall,
}

/// The stack arguments of a call instruction.
#[derive(Clone, Copy, Debug)]
pub struct CallArgs {
    /// The instruction.
    pub kind: CallKind,
    /// Requested gas; saturated to 64 bits.
    pub gas: u64,
    /// The callee's address: the low 20 bytes of the word.
    pub to: U256,
    /// Value in wei; zero for DELEGATECALL and STATICCALL.
    pub value: U256,
    /// Whether the value is not zero.
    pub transfers: bool,
    /// Calldata: offset and length in memory, saturated to 64 bits.
    pub input: (u64, u64),
    /// Where the output goes: offset and length in memory, saturated to 64 bits.
    pub output: (u64, u64),
}

/// A call whose gas has been charged.
#[derive(Clone, Copy, Debug)]
pub struct CallRequest {
    /// The instruction.
    pub kind: CallKind,
    /// Gas for the callee, stipend included.
    pub gas: u64,
    /// The callee; its account is loaded.
    pub to: AccountId,
    /// Code to run: the callee's, or that of the account to which it delegates (EIP-7702).
    pub code: CodeId,
    /// Value in wei.
    pub value: U256,
    /// Where the calldata is.
    pub input: Input,
    /// Where the output goes in the caller's memory: offset and length.
    pub output: (usize, usize),
    /// Whether the caller was charged state gas for a new account (EIP-8037).
    pub charged_new_account: bool,
}

/// Whether a call or creation pushed a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// A frame was pushed.
    Frame,
    /// It has already ended: a call to empty code or to a precompile, or the call or creation failed before its first
    /// instruction.
    Done(FrameEnd),
}

/// What a call or creation instruction does after it was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame was pushed: store the registers and leave with [`super::machine::Exit::Enter`].
    Enter,
    /// Push this word and continue with the next instruction.
    Push(U256),
}

/// The largest part of `gas` that a call may pass on: all but one 64th (EIP-150).
#[inline]
fn all_but_one_64th(gas: u64) -> u64 {
    gas - gas / 64
}

impl<'b> Evm<'b> {
    /// The four call instructions: charges their gas and enters the call.
    pub fn call(&mut self, left: &mut u64, args: &CallArgs) -> Result<Step, Halt> {
        let request = self.price_call(left, args)?;
        match self.enter_call(&request)? {
            Entered::Frame => Ok(Step::Enter),
            Entered::Done(end) => Ok(Step::Push(self.settle_done(&end, left))),
        }
    }

    /// Settles the gas of a call or creation that pushed no frame; returns the word to push.
    fn settle_done(&mut self, end: &FrameEnd, left: &mut u64) -> U256 {
        let last = self.frames.len() - 1;
        let mut spilled = self.frames[last].gas.spilled;
        self.settle_child(end, left, &mut spilled);
        self.frames[last].gas.spilled = spilled;
        end.word()
    }

    /// Charges a call instruction. The callee is loaded only after all costs that do not depend on its state
    /// were charged.
    fn price_call(&mut self, left: &mut u64, args: &CallArgs) -> Result<CallRequest, Halt> {
        let rules = self.rules;
        let transfers = args.transfers;
        if args.kind == CallKind::Call && transfers && self.frame().is_static {
            return Err(Halt::StaticViolation);
        }
        let input = self.expand_range(left, args.input.0, args.input.1)?;
        let output = self.expand_range(left, args.output.0, args.output.1)?;
        let value_cost = if transfers { rules.call_value } else { 0 };
        let to = self.access_word(left, &args.to, rules.call, value_cost)?;
        let code = self.resolve_delegation(left, to)?;

        let mut charged_new_account = false;
        if args.kind == CallKind::Call {
            let brings_into_being = if self.since(Fork::SpuriousDragon) {
                transfers && self.state.is_empty(to)
            } else {
                !self.state.exists(to)
            };
            if brings_into_being {
                charge(left, rules.new_account)?;
                if rules.state_new_account > 0 {
                    let last = self.frames.len() - 1;
                    let spilled = &mut self.frames[last].gas.spilled;
                    if !self.gas.charge_state(left, spilled, rules.state_new_account) {
                        return Err(Halt::OutOfGas);
                    }
                    charged_new_account = true;
                }
            }
        }
        let gas = if self.since(Fork::TangerineWhistle) { args.gas.min(all_but_one_64th(*left)) } else { args.gas };
        charge(left, gas)?;
        let start = self.frame().memory_base + input.0;
        Ok(CallRequest {
            kind: args.kind,
            gas: gas + if transfers { CALL_STIPEND } else { 0 },
            to,
            code,
            // Zero instead of a copy where possible: the words were just written limb by limb, and a wider read
            // of them would wait.
            value: if transfers { args.value } else { U256::ZERO },
            input: Input::Memory { start, len: input.1 },
            output,
            charged_new_account,
        })
    }

    /// The code that a call to `to` runs. For a delegation designator (EIP-7702), charges for the target's
    /// account, loads it and returns its code; the target's own designator is not followed.
    pub(in crate::exec) fn resolve_delegation(&mut self, left: &mut u64, to: AccountId) -> Result<CodeId, Halt> {
        let code = self.state.row(to).code;
        if code == EMPTY_CODE || !self.since(Fork::Prague) {
            return Ok(code);
        }
        let Some(target) = self.state.code(code)?.delegation() else {
            return Ok(code);
        };
        let target = self.access_account(left, &target, 0, 0)?;
        let code = self.state.row(target).code;
        // A delegation to a precompile's address runs no code: the account has none, and the precompile is not called.
        Ok(code)
    }

    /// Enters a call whose gas was charged. Checks depth and balance; if they do not suffice, the call's gas is
    /// returned.
    pub fn enter_call(&mut self, request: &CallRequest) -> Result<Entered, Halt> {
        self.check_cancelled()?;
        self.return_data.clear();
        let refused = FrameEnd {
            status: Status::Revert,
            left: request.gas,
            spilled: 0,
            refill_new_account: request.charged_new_account,
            created: None,
        };
        if self.frames.len() > DEPTH_LIMIT {
            return Ok(Entered::Done(refused));
        }
        let to_address = self.state.address(request.to);
        let transfers = !request.value.is_zero();
        // Below the first frame of a transaction there is no other: its caller is the sender, which matters
        // only for a value transfer. (The caller of a system call may have no id.)
        let (own, own_address, own_caller, own_value, own_static) = match self.frames.last() {
            Some(frame) => (frame.target, frame.address, frame.caller, frame.value, frame.is_static),
            None => {
                let origin = self.tx.origin;
                let own = if transfers { self.state.account_id(&origin)? } else { request.to };
                (own, origin, origin, U256::ZERO, false)
            }
        };
        if matches!(request.kind, CallKind::Call | CallKind::CallCode) && transfers {
            self.state.load(own)?;
            if !self.state.can_pay(own, request.value) {
                return Ok(Entered::Done(refused));
            }
        }
        let checkpoint = self.state.checkpoint();
        let at_entry = self.gas;
        match request.kind {
            CallKind::Call if transfers => {
                self.state.transfer(own, request.to, request.value);
                self.log_transfer(&own_address, &to_address, &request.value);
            }
            CallKind::Call | CallKind::StaticCall => self.state.touch(request.to),
            CallKind::CallCode | CallKind::DelegateCall => {}
        }
        if self.state.precompile(request.to) != 0 {
            return self.run_precompile(request, checkpoint).map(Entered::Done);
        }
        if request.code == EMPTY_CODE {
            let end = FrameEnd { status: Status::Success, refill_new_account: false, ..refused };
            return Ok(Entered::Done(end));
        }
        let code = self.state.code(request.code)?;
        let (target, address, caller, value) = match request.kind {
            CallKind::Call | CallKind::StaticCall => (request.to, to_address, own_address, request.value),
            CallKind::CallCode => (own, own_address, own_address, request.value),
            CallKind::DelegateCall => (own, own_address, own_caller, own_value),
        };
        self.push_frame(Frame {
            code: CodeRef::Arena(code),
            kind: FrameKind::Call { ret_offset: request.output.0, ret_len: request.output.1 },
            target,
            address,
            caller,
            value,
            input: request.input,
            is_static: own_static || request.kind == CallKind::StaticCall,
            charged_new_account: request.charged_new_account,
            gas: FrameGas { left: request.gas, spilled: 0, at_entry },
            pc: 0,
            stack_base: 0,
            stack_len: 0,
            memory_base: 0,
            memory_len: 0,
            checkpoint,
        });
        Ok(Entered::Frame)
    }

    /// Pushes a frame; its stack and memory begin where the caller's end.
    ///
    /// # Panics
    /// If its calldata does not lie below its own memory: the tail-call loop copies from the one to the other.
    fn push_frame(&mut self, mut frame: Frame<'b>) {
        if let Some(caller) = self.frames.last() {
            // The loop may not have stored the caller's stack height yet, so the caller keeps room for a full stack.
            frame.stack_base = caller.stack_base + super::machine::STACK_LIMIT;
            frame.memory_base = caller.memory_base + caller.memory_len;
        }
        if let Input::Memory { start, len } = frame.input {
            assert!(start <= frame.memory_base && len <= frame.memory_base - start, "calldata is below the frame");
        }
        let stack_end = frame.stack_base + super::machine::STACK_LIMIT;
        if self.stack.len() < stack_end {
            self.stack.resize(stack_end, U256::ZERO);
        }
        self.frames.push(frame);
    }

    fn run_precompile(
        &mut self,
        request: &CallRequest,
        checkpoint: super::state::Checkpoint,
    ) -> Result<FrameEnd, Halt> {
        let number = self.state.precompile(request.to);
        let started = self.precompiles.as_ref().map(|profile| profile.now());
        // Both are taken out while the precompile runs, because its input may be borrowed from the machine's memory.
        let mut output = core::mem::take(&mut self.return_data);
        let mut recoveries = core::mem::take(&mut self.recoveries);
        let input = self.input(request.input);
        let used = precompile::run(self.rules.fork, number, input, request.gas, &mut recoveries, &mut output);
        (self.return_data, self.recoveries) = (output, recoveries);
        let (status, left) = match used {
            Some(gas) => (Status::Success, request.gas - gas),
            None => {
                self.state.revert(checkpoint);
                (Status::Halt(Halt::Precompile), 0)
            }
        };
        if let (Some(started), Some(profile)) = (started, &mut self.precompiles) {
            profile.add(self.state.precompile(request.to), started, request.gas - left, status == Status::Success);
        }
        if let Some(caller) = self.frames.last() {
            let len = request.output.1.min(self.return_data.len());
            let start = caller.memory_base + request.output.0;
            self.memory[start..start + len].copy_from_slice(&self.return_data[..len]);
        }
        Ok(FrameEnd {
            status,
            left,
            spilled: 0,
            refill_new_account: status != Status::Success && request.charged_new_account,
            created: None,
        })
    }

    /// CREATE (`salt` is `None`) and CREATE2: charges their gas and enters the creation.
    pub fn create(
        &mut self,
        left: &mut u64,
        value: U256,
        offset: U256,
        len: U256,
        salt: Option<U256>,
    ) -> Result<Step, Halt> {
        let rules = self.rules;
        if self.frame().is_static {
            return Err(Halt::StaticViolation);
        }
        charge(left, rules.create)?;
        let (offset, len) = self.expand(left, offset, len)?;
        let mut per_word = 0;
        if self.since(Fork::Shanghai) {
            if len > rules.initcode_size_max {
                return Err(Halt::InitcodeTooLarge);
            }
            per_word += INITCODE_WORD;
        }
        if salt.is_some() {
            per_word += 6;
        }
        charge(left, per_word * words(len as u64))?;

        self.return_data.clear();
        let (own, address) = (self.frame().target, self.frame().address);
        self.state.load(own)?;
        let nonce = self.state.nonce(own);
        let balance_too_low = !value.is_zero() && !self.state.can_pay(own, value);
        if balance_too_low || nonce == u64::MAX || self.frames.len() > DEPTH_LIMIT {
            return Ok(Step::Push(U256::ZERO));
        }
        let start = self.frame().memory_base + offset;
        let created = match salt {
            None => address.create(nonce),
            Some(salt) => address.create2(B256::from(salt.to_be_bytes()), keccak256(&self.memory[start..start + len])),
        };
        let destination = self.state.account_id(&created)?;
        if self.since(Fork::Berlin) {
            self.state.warm(destination);
        }
        let mut charged_new_account = false;
        self.state.load(destination)?;
        if rules.state_new_account > 0 && self.state.is_empty(destination) {
            let last = self.frames.len() - 1;
            if !self.gas.charge_state(left, &mut self.frames[last].gas.spilled, rules.state_new_account) {
                return Err(Halt::OutOfGas);
            }
            charged_new_account = true;
        }
        let gas = if self.since(Fork::TangerineWhistle) { all_but_one_64th(*left) } else { *left };
        *left -= gas;
        self.state.set_nonce(own, nonce + 1);
        let initcode = self.init_code_at(start..start + len);
        match self.enter_create(own, address, destination, created, value, initcode, gas, charged_new_account)? {
            Entered::Frame => Ok(Step::Enter),
            Entered::Done(end) => Ok(Step::Push(self.settle_done(&end, left))),
        }
    }

    /// Enters a creation whose gas was charged. The creator's nonce was already incremented; the destination is loaded.
    #[expect(clippy::too_many_arguments, reason = "one call per loop; each has all values at hand")]
    pub fn enter_create(
        &mut self,
        creator: AccountId,
        creator_address: Address,
        destination: AccountId,
        created: Address,
        value: U256,
        initcode: Arc<Code>,
        gas: u64,
        charged_new_account: bool,
    ) -> Result<Entered, Halt> {
        self.check_cancelled()?;
        self.return_data.clear();
        let row = *self.state.load(destination)?;
        // EIP-684; EIP-7610 for an account with storage but without code and nonce.
        let storage_collides = self.chain.storage_collision && row.has(flag::HAS_STORAGE);
        if self.state.nonce(destination) != 0 || row.code != EMPTY_CODE || storage_collides {
            return Ok(Entered::Done(FrameEnd {
                status: Status::Halt(Halt::CreateCollision),
                left: 0,
                spilled: 0,
                refill_new_account: charged_new_account,
                created: None,
            }));
        }
        let checkpoint = self.state.checkpoint();
        let at_entry = self.gas;
        self.state.set_flag(destination, flag::CREATED);
        self.state.touch(destination);
        if self.since(Fork::SpuriousDragon) {
            self.state.set_nonce(destination, 1);
        }
        self.state.load(creator)?;
        self.state.transfer(creator, destination, value);
        self.log_transfer(&creator_address, &created, &value);
        self.push_frame(Frame {
            code: CodeRef::Init(initcode),
            kind: FrameKind::Create,
            target: destination,
            address: created,
            caller: creator_address,
            value,
            input: Input::Memory { start: 0, len: 0 },
            is_static: false,
            charged_new_account,
            gas: FrameGas { left: gas, spilled: 0, at_entry },
            pc: 0,
            stack_base: 0,
            stack_len: 0,
            memory_base: 0,
            memory_len: 0,
            checkpoint,
        });
        Ok(Entered::Frame)
    }
}
