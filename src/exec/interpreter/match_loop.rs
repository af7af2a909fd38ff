//! The plain loop: one `match` over the opcode, every check in its place, no unsafe code.
//!
//! In and out: as every loop (see the module above). It is the reference implementation of the tail-call loop, and the
//! loop that runs under observers. For each instruction it checks, in this order, that the fork defines it,
//! that the stack has enough words and room, and that the gas covers its static cost; then the body runs.
//! Not here: instruction bodies (`ops`).

use super::observe::{Observer, StepView};
use super::opcode::{TABLE, decode_pair, decode_single, op};
use super::ops::{arithmetic, bitwise, call, control, env, exp, log, memory, storage};
use crate::exec::evm::call::{CallKind, Step};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::charge;
use crate::exec::evm::machine::{Evm, Exit, STACK_LIMIT};
use alloy_primitives::U256;

/// State of the running frame that the loop keeps outside of it.
pub(super) struct Registers {
    /// Position of the next instruction.
    pub(super) pc: usize,
    /// Execution gas left.
    pub(super) left: u64,
    /// One past the top of the stack, in the machine's stack column.
    pub(super) top: usize,
}

/// Runs the top frame until it ends or enters another frame.
pub(super) fn run<O: Observer>(evm: &mut Evm<'_>, observer: &mut O) -> Exit {
    let frame = evm.frame();
    let code = frame.code.clone();
    let base = frame.stack_base;
    let mut regs = Registers { pc: frame.pc, left: frame.gas.left, top: base + frame.stack_len };
    loop {
        let opcode = code.padded()[regs.pc];
        if O::ON {
            let view = StepView {
                pc: regs.pc,
                opcode,
                gas_left: regs.left,
                stack: &evm.stack[base..regs.top],
                memory_len: evm.frames[evm.frames.len() - 1].memory_len,
                depth: evm.frames.len(),
            };
            observer.step(evm, &view);
        }
        let outcome = step(evm, &mut regs, &code, base, opcode);
        if O::ON {
            observer.step_end(evm, regs.left, outcome.err());
        }
        let exit = match outcome {
            Ok(None) => continue,
            Ok(Some(exit)) => exit,
            Err(halt) => Exit::Halt(halt),
        };
        // If the instruction entered an inner frame, that is now on top of the running one.
        let index = evm.frames.len() - if exit == Exit::Enter { 2 } else { 1 };
        let frame = &mut evm.frames[index];
        (frame.pc, frame.stack_len, frame.gas.left) = (regs.pc, regs.top - base, regs.left);
        return exit;
    }
}

/// Words that DUPN, SWAPN or EXCHANGE needs on the stack, from its immediate (EIP-8024).
fn deep_inputs(opcode: u8, immediate: u8) -> Result<usize, Halt> {
    let need = match opcode {
        op::DUPN => decode_single(immediate),
        op::SWAPN => decode_single(immediate).map(|n| n + 1),
        op::EXCHANGE => decode_pair(immediate).map(|(n, m)| n.max(m) + 1),
        _ => Some(0),
    };
    need.ok_or(Halt::InvalidOpcode)
}

/// Executes one instruction.
#[inline(always)]
pub(super) fn step(
    evm: &mut Evm<'_>,
    regs: &mut Registers,
    code: &crate::arena::code::Code,
    base: usize,
    opcode: u8,
) -> Result<Option<Exit>, Halt> {
    let info = &TABLE[usize::from(opcode)];
    if !info.defined(evm.rules.fork) {
        return Err(Halt::InvalidOpcode);
    }
    let height = regs.top - base;
    let immediate = code.padded()[regs.pc + 1];
    if height < usize::from(info.inputs).max(deep_inputs(opcode, immediate)?) {
        return Err(Halt::StackUnderflow);
    }
    if height - usize::from(info.inputs) + usize::from(info.outputs) > STACK_LIMIT {
        return Err(Halt::StackOverflow);
    }
    charge(&mut regs.left, u64::from(info.gas))?;
    let at = regs.pc;
    regs.pc += 1 + usize::from(info.immediate);

    macro_rules! pop {
        () => {{
            regs.top -= 1;
            evm.stack[regs.top]
        }};
    }
    macro_rules! push {
        ($word:expr) => {{
            let word = $word;
            evm.stack[regs.top] = word;
            regs.top += 1;
        }};
    }
    macro_rules! unary {
        ($body:expr) => {{
            let a = pop!();
            push!($body(a))
        }};
    }
    macro_rules! binary {
        ($body:expr) => {{
            let (a, b) = (pop!(), pop!());
            push!($body(a, b))
        }};
    }
    macro_rules! ternary {
        ($body:expr) => {{
            let (a, b, c) = (pop!(), pop!(), pop!());
            push!($body(a, b, c))
        }};
    }
    macro_rules! copy {
        ($body:expr) => {{
            let (target, offset, len) = (pop!(), pop!(), pop!());
            $body(evm, &mut regs.left, target, offset, len)?
        }};
    }
    macro_rules! enter {
        ($body:expr; $($kind:expr)?; $count:literal) => {{
            let words: [U256; $count] = core::array::from_fn(|_| pop!());
            match $body(evm, &mut regs.left, $($kind,)? words)? {
                Step::Enter => return Ok(Some(Exit::Enter)),
                Step::Push(word) => push!(word),
            }
        }};
    }
    match opcode {
        op::STOP => return Ok(Some(Exit::Stop)),
        op::ADD => binary!(arithmetic::add),
        op::MUL => binary!(arithmetic::mul),
        op::SUB => binary!(arithmetic::sub),
        op::DIV => binary!(arithmetic::div),
        op::SDIV => binary!(arithmetic::sdiv),
        op::MOD => binary!(arithmetic::rem),
        op::SMOD => binary!(arithmetic::smod),
        op::ADDMOD => ternary!(arithmetic::addmod),
        op::MULMOD => ternary!(arithmetic::mulmod),
        op::EXP => {
            let (base, exponent) = (pop!(), pop!());
            push!(exp::exp(evm, &mut regs.left, base, exponent)?);
        }
        op::SIGNEXTEND => binary!(arithmetic::signextend),
        op::LT => binary!(bitwise::lt),
        op::GT => binary!(bitwise::gt),
        op::SLT => binary!(bitwise::slt),
        op::SGT => binary!(bitwise::sgt),
        op::EQ => binary!(bitwise::eq),
        op::ISZERO => unary!(bitwise::iszero),
        op::AND => binary!(bitwise::and),
        op::OR => binary!(bitwise::or),
        op::XOR => binary!(bitwise::xor),
        op::NOT => unary!(bitwise::not),
        op::BYTE => binary!(bitwise::byte),
        op::SHL => binary!(bitwise::shl),
        op::SHR => binary!(bitwise::shr),
        op::SAR => binary!(bitwise::sar),
        op::CLZ => unary!(bitwise::clz),
        op::KECCAK256 => {
            let (offset, len) = (pop!(), pop!());
            push!(memory::keccak(evm, &mut regs.left, offset, len)?);
        }
        op::ADDRESS => push!(env::address(evm)),
        op::BALANCE => {
            let address = pop!();
            push!(env::balance(evm, &mut regs.left, address)?);
        }
        op::ORIGIN => push!(env::origin(evm)),
        op::CALLER => push!(env::caller(evm)),
        op::CALLVALUE => push!(env::callvalue(evm)),
        op::CALLDATALOAD => {
            let offset = pop!();
            push!(memory::calldataload(evm, offset));
        }
        op::CALLDATASIZE => push!(env::calldatasize(evm)),
        op::CALLDATACOPY => copy!(memory::calldatacopy),
        op::CODESIZE => push!(env::codesize(evm)),
        op::CODECOPY => copy!(memory::codecopy),
        op::GASPRICE => push!(env::gasprice(evm)),
        op::EXTCODESIZE => {
            let address = pop!();
            push!(env::extcodesize(evm, &mut regs.left, address)?);
        }
        op::EXTCODECOPY => {
            let (address, target, offset, len) = (pop!(), pop!(), pop!(), pop!());
            memory::extcodecopy(evm, &mut regs.left, address, target, offset, len)?;
        }
        op::RETURNDATASIZE => push!(env::returndatasize(evm)),
        op::RETURNDATACOPY => copy!(memory::returndatacopy),
        op::EXTCODEHASH => {
            let address = pop!();
            push!(env::extcodehash(evm, &mut regs.left, address)?);
        }
        op::BLOCKHASH => {
            let number = pop!();
            push!(env::blockhash(evm, number)?);
        }
        op::COINBASE => push!(env::coinbase(evm)),
        op::TIMESTAMP => push!(env::timestamp(evm)),
        op::NUMBER => push!(env::number(evm)),
        op::PREVRANDAO => push!(env::prevrandao(evm)),
        op::GASLIMIT => push!(env::gaslimit(evm)),
        op::CHAINID => push!(env::chainid(evm)),
        op::SELFBALANCE => push!(env::selfbalance(evm)?),
        op::BASEFEE => push!(env::basefee(evm)),
        op::BLOBHASH => {
            let index = pop!();
            push!(env::blobhash(evm, index));
        }
        op::BLOBBASEFEE => push!(env::blobbasefee(evm)),
        op::SLOTNUM => push!(env::slotnum(evm)),
        op::POP => regs.top -= 1,
        op::MLOAD => {
            let offset = pop!();
            push!(memory::mload(evm, &mut regs.left, offset)?);
        }
        op::MSTORE => {
            let (offset, value) = (pop!(), pop!());
            memory::mstore(evm, &mut regs.left, offset, value)?;
        }
        op::MSTORE8 => {
            let (offset, value) = (pop!(), pop!());
            memory::mstore8(evm, &mut regs.left, offset, value)?;
        }
        op::SLOAD => {
            let key = pop!();
            push!(storage::sload(evm, &mut regs.left, key)?);
        }
        op::SSTORE => {
            let (key, value) = (pop!(), pop!());
            storage::sstore(evm, &mut regs.left, key, value)?;
        }
        op::JUMP => {
            let to = pop!();
            regs.pc = control::destination(code, &to)?;
        }
        op::JUMPI => {
            let (to, condition) = (pop!(), pop!());
            if !condition.is_zero() {
                regs.pc = control::destination(code, &to)?;
            }
        }
        op::PC => push!(U256::from(at)),
        op::MSIZE => push!(memory::msize(evm)),
        op::GAS => push!(U256::from(regs.left)),
        op::JUMPDEST => {
            if regs.left < evm.poll_below {
                evm.poll(regs.left)?;
            }
        }
        op::TLOAD => {
            let key = pop!();
            push!(storage::tload(evm, key));
        }
        op::TSTORE => {
            let (key, value) = (pop!(), pop!());
            storage::tstore(evm, key, value)?;
        }
        op::MCOPY => copy!(memory::mcopy),
        op::PUSH0..=op::PUSH32 => {
            push!(U256::from_be_slice(&code.padded()[at + 1..regs.pc]));
        }
        op::DUP1..=op::DUP16 => push!(evm.stack[regs.top - usize::from(opcode - op::DUP1) - 1]),
        op::SWAP1..=op::SWAP16 => evm.stack.swap(regs.top - 1, regs.top - usize::from(opcode - op::SWAP1) - 2),
        op::LOG0..=op::LOG4 => {
            let (offset, len) = (pop!(), pop!());
            let mut topics = [U256::ZERO; 4];
            let topics = &mut topics[..usize::from(opcode - op::LOG0)];
            for topic in topics.iter_mut() {
                *topic = pop!();
            }
            log::log(evm, &mut regs.left, offset, len, topics)?;
        }
        op::DUPN => {
            let n = decode_single(immediate).ok_or(Halt::InvalidOpcode)?;
            push!(evm.stack[regs.top - n]);
        }
        op::SWAPN => {
            let n = decode_single(immediate).ok_or(Halt::InvalidOpcode)?;
            evm.stack.swap(regs.top - 1, regs.top - n - 1);
        }
        op::EXCHANGE => {
            let (n, m) = decode_pair(immediate).ok_or(Halt::InvalidOpcode)?;
            evm.stack.swap(regs.top - n - 1, regs.top - m - 1);
        }
        op::CREATE => enter!(call::create;; 3),
        op::CALL => enter!(call::call; CallKind::Call; 7),
        op::CALLCODE => enter!(call::call; CallKind::CallCode; 7),
        op::RETURN => {
            let (offset, len) = (pop!(), pop!());
            return control::ret(evm, &mut regs.left, offset, len).map(Some);
        }
        op::DELEGATECALL => enter!(call::call_without_value; CallKind::DelegateCall; 6),
        op::CREATE2 => enter!(call::create2;; 4),
        op::STATICCALL => enter!(call::call_without_value; CallKind::StaticCall; 6),
        op::REVERT => {
            let (offset, len) = (pop!(), pop!());
            return control::revert(evm, &mut regs.left, offset, len).map(Some);
        }
        op::SELFDESTRUCT => {
            let beneficiary = pop!();
            call::selfdestruct(evm, &mut regs.left, beneficiary)?;
            return Ok(Some(Exit::Stop));
        }
        _ => return Err(Halt::InvalidOpcode),
    }
    Ok(None)
}
