//! Instructions that run out of line: safe bodies over a window of the stack.
//!
//! A body gets the words that it takes, the top last, and leaves its result in the first of them.

use crate::exec::call::{CallKind, Step};
use crate::exec::evm::{Evm, Exit};
use crate::exec::halt::Halt;
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::ops::{arithmetic, call, control, env, log as logs, memory, storage};
use alloy_primitives::U256;

/// What follows a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flow {
    /// The next instruction.
    Next,
    /// An inner frame was pushed, or the frame is over.
    Leave(Exit),
}

/// An instruction out of line.
pub(super) trait Body {
    /// Which.
    const OP: u8;
    /// Runs it on its window.
    fn run(evm: &mut Evm<'_>, left: &mut u64, words: &mut [U256]) -> Result<Flow, Halt>;
}

macro_rules! bodies {
    ($($name:ident |$evm:ident, $left:ident, $w:ident| $body:expr;)*) => {$(
        pub(in crate::exec::interpreter::tail) struct $name;
        impl Body for $name {
            const OP: u8 = op::$name;
            #[inline(always)]
            fn run($evm: &mut Evm<'_>, $left: &mut u64, $w: &mut [U256]) -> Result<Flow, Halt> {
                $body;
                #[allow(unreachable_code)]
                Ok(Flow::Next)
            }
        }
    )*};
}

macro_rules! copy {
    ($body:path, $evm:ident, $left:ident, $w:ident) => {
        $body($evm, $left, $w[2], $w[1], $w[0])?
    };
}

/// The result of a call or creation that entered no frame goes into the first word of its window.
#[inline(always)]
fn entered(step: Step, words: &mut [U256]) -> Flow {
    match step {
        Step::Enter => Flow::Leave(Exit::Enter),
        Step::Push(word) => {
            words[0] = word;
            Flow::Next
        }
    }
}

/// The words of a window from the top down.
#[inline(always)]
fn from_top<const N: usize>(words: &[U256]) -> [U256; N] {
    core::array::from_fn(|depth| words[N - 1 - depth])
}

#[allow(non_camel_case_types, clippy::upper_case_acronyms)]
mod all {
    use super::*;

    bodies! {
        DIV |_evm, _left, w| w[0] = arithmetic::div(w[1], w[0]);
        SDIV |_evm, _left, w| w[0] = arithmetic::sdiv(w[1], w[0]);
        MOD |_evm, _left, w| w[0] = arithmetic::rem(w[1], w[0]);
        SMOD |_evm, _left, w| w[0] = arithmetic::smod(w[1], w[0]);
        ADDMOD |_evm, _left, w| w[0] = arithmetic::addmod(w[2], w[1], w[0]);
        MULMOD |_evm, _left, w| w[0] = arithmetic::mulmod(w[2], w[1], w[0]);
        EXP |evm, left, w| w[0] = arithmetic::exp(evm, left, w[1], w[0])?;
        KECCAK256 |evm, left, w| w[0] = memory::keccak(evm, left, w[1], w[0])?;
        ADDRESS |evm, _left, w| w[0] = env::address(evm);
        BALANCE |evm, left, w| w[0] = env::balance(evm, left, w[0])?;
        ORIGIN |evm, _left, w| w[0] = env::origin(evm);
        CALLER |evm, _left, w| w[0] = env::caller(evm);
        CALLVALUE |evm, _left, w| w[0] = env::callvalue(evm);
        CALLDATALOAD |evm, _left, w| w[0] = memory::calldataload(evm, w[0]);
        CALLDATASIZE |evm, _left, w| w[0] = env::calldatasize(evm);
        CALLDATACOPY |evm, left, w| copy!(memory::calldatacopy, evm, left, w);
        CODESIZE |evm, _left, w| w[0] = env::codesize(evm);
        CODECOPY |evm, left, w| copy!(memory::codecopy, evm, left, w);
        GASPRICE |evm, _left, w| w[0] = env::gasprice(evm);
        EXTCODESIZE |evm, left, w| w[0] = env::extcodesize(evm, left, w[0])?;
        EXTCODECOPY |evm, left, w| memory::extcodecopy(evm, left, w[3], w[2], w[1], w[0])?;
        RETURNDATASIZE |evm, _left, w| w[0] = env::returndatasize(evm);
        RETURNDATACOPY |evm, left, w| copy!(memory::returndatacopy, evm, left, w);
        EXTCODEHASH |evm, left, w| w[0] = env::extcodehash(evm, left, w[0])?;
        BLOCKHASH |evm, _left, w| w[0] = env::blockhash(evm, w[0])?;
        COINBASE |evm, _left, w| w[0] = env::coinbase(evm);
        TIMESTAMP |evm, _left, w| w[0] = env::timestamp(evm);
        NUMBER |evm, _left, w| w[0] = env::number(evm);
        PREVRANDAO |evm, _left, w| w[0] = env::prevrandao(evm);
        GASLIMIT |evm, _left, w| w[0] = env::gaslimit(evm);
        CHAINID |evm, _left, w| w[0] = env::chainid(evm);
        SELFBALANCE |evm, _left, w| w[0] = env::selfbalance(evm)?;
        BASEFEE |evm, _left, w| w[0] = env::basefee(evm);
        BLOBHASH |evm, _left, w| w[0] = env::blobhash(evm, w[0]);
        BLOBBASEFEE |evm, _left, w| w[0] = env::blobbasefee(evm);
        SLOTNUM |evm, _left, w| w[0] = env::slotnum(evm);
        MLOAD |evm, left, w| w[0] = memory::mload(evm, left, w[0])?;
        MSTORE |evm, left, w| memory::mstore(evm, left, w[1], w[0])?;
        MSTORE8 |evm, left, w| memory::mstore8(evm, left, w[1], w[0])?;
        MCOPY |evm, left, w| copy!(memory::mcopy, evm, left, w);
        MSIZE |evm, _left, w| w[0] = memory::msize(evm);
        SLOAD |evm, left, w| w[0] = storage::sload(evm, left, w[0])?;
        SSTORE |evm, left, w| storage::sstore(evm, left, w[1], w[0])?;
        TLOAD |evm, _left, w| w[0] = storage::tload(evm, w[0]);
        TSTORE |evm, _left, w| storage::tstore(evm, w[1], w[0])?;
        LOG0 |evm, left, w| logs::log(evm, left, w[1], w[0], &[])?;
        LOG1 |evm, left, w| logs::log(evm, left, w[2], w[1], &[w[0]])?;
        LOG2 |evm, left, w| logs::log(evm, left, w[3], w[2], &[w[1], w[0]])?;
        LOG3 |evm, left, w| logs::log(evm, left, w[4], w[3], &[w[2], w[1], w[0]])?;
        LOG4 |evm, left, w| logs::log(evm, left, w[5], w[4], &[w[3], w[2], w[1], w[0]])?;
        CREATE |evm, left, w| return Ok(entered(call::create(evm, left, from_top(w))?, w));
        CREATE2 |evm, left, w| return Ok(entered(call::create2(evm, left, from_top(w))?, w));
        CALL |evm, left, w| return Ok(entered(call::call(evm, left, CallKind::Call, from_top(w))?, w));
        CALLCODE |evm, left, w| return Ok(entered(call::call(evm, left, CallKind::CallCode, from_top(w))?, w));
        DELEGATECALL |evm, left, w| {
            return Ok(entered(call::call_without_value(evm, left, CallKind::DelegateCall, from_top(w))?, w));
        };
        STATICCALL |evm, left, w| {
            return Ok(entered(call::call_without_value(evm, left, CallKind::StaticCall, from_top(w))?, w));
        };
        RETURN |evm, left, w| return Ok(Flow::Leave(control::ret(evm, left, w[1], w[0])?));
        REVERT |evm, left, w| return Ok(Flow::Leave(control::revert(evm, left, w[1], w[0])?));
        SELFDESTRUCT |evm, left, w| {
            call::selfdestruct(evm, left, w[0])?;
            return Ok(Flow::Leave(Exit::Stop));
        };
    }
}
pub(super) use all::*;
