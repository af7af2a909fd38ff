//! Instructions that run out of line: safe bodies over the words that they take.
//!
//! In: the words by value, read as limbs into registers (the first is the lowest, the last the top), and the
//! gas left. Out: a [`Flow`], whose word is returned in the same way. Relies on: `ops`, which most bodies call.
//! Not here: the handlers around the bodies (`handlers::out_of_line`).

use crate::exec::evm::call::{CallKind, Step};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, Exit};
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::ops::{call, control, env, exp, log as logs, memory, storage};
use alloy_primitives::U256;

/// What the handler does after a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flow {
    /// Continue with the next instruction; there is no result.
    Next,
    /// Push this word and continue with the next instruction.
    Push(U256),
    /// Leave the loop: an inner frame was pushed, or the frame has ended.
    Leave(Exit),
}

/// An instruction that runs out of line.
pub(super) trait Body {
    /// Its opcode.
    const OP: u8;
    /// Executes it; `words` holds the words that it takes, followed by zeros. `left` is the frame's gas.
    fn run(evm: &mut Evm<'_>, left: &mut u64, words: &[U256; WINDOW]) -> Result<Flow, Halt>;
}

/// The most words that an instruction takes.
pub(super) const WINDOW: usize = 7;

macro_rules! bodies {
    ($($name:ident $kind:ident |$evm:ident, $left:ident, $w:ident| $body:expr;)*) => {$(
        pub(in crate::exec::interpreter::tail) struct $name;
        impl Body for $name {
            const OP: u8 = op::$name;
            #[inline(always)]
            fn run($evm: &mut Evm<'_>, $left: &mut u64, $w: &[U256; WINDOW]) -> Result<Flow, Halt> {
                bodies!(@$kind $body)
            }
        }
    )*};
    // The body returns the result word.
    (@push $body:expr) => { Ok(Flow::Push($body)) };
    // The body returns nothing.
    (@run $body:expr) => {{ $body; Ok(Flow::Next) }};
    // The body returns the [`Step`] of a call or creation.
    (@step $body:expr) => {
        Ok(match $body {
            Step::Enter => Flow::Leave(Exit::Enter),
            Step::Push(word) => Flow::Push(word),
        })
    };
    // The body ends the frame.
    (@leave $body:expr) => { Ok(Flow::Leave($body)) };
}

#[allow(non_camel_case_types, clippy::upper_case_acronyms)]
mod all {
    use super::*;

    bodies! {
        MULMOD push |evm, _left, w| evm.modulus.mulmod(w[2], w[1], w[0]);
        EXP push |evm, left, w| exp::exp(evm, left, w[1], w[0])?;
        KECCAK256 push |evm, left, w| memory::keccak(evm, left, w[1], w[0])?;
        ADDRESS push |evm, _left, _w| env::address(evm);
        BALANCE push |evm, left, w| env::balance(evm, left, w[0])?;
        ORIGIN push |evm, _left, _w| env::origin(evm);
        CALLER push |evm, _left, _w| env::caller(evm);
        CALLVALUE push |evm, _left, _w| env::callvalue(evm);
        CALLDATALOAD push |evm, _left, w| memory::calldataload(evm, w[0]);
        CALLDATACOPY run |evm, left, w| memory::calldatacopy(evm, left, w[2], w[1], w[0])?;
        CODESIZE push |evm, _left, _w| env::codesize(evm);
        CODECOPY run |evm, left, w| memory::codecopy(evm, left, w[2], w[1], w[0])?;
        GASPRICE push |evm, _left, _w| env::gasprice(evm);
        EXTCODESIZE push |evm, left, w| env::extcodesize(evm, left, w[0])?;
        EXTCODECOPY run |evm, left, w| memory::extcodecopy(evm, left, w[3], w[2], w[1], w[0])?;
        RETURNDATASIZE push |evm, _left, _w| env::returndatasize(evm);
        RETURNDATACOPY run |evm, left, w| memory::returndatacopy(evm, left, w[2], w[1], w[0])?;
        EXTCODEHASH push |evm, left, w| env::extcodehash(evm, left, w[0])?;
        BLOCKHASH push |evm, _left, w| env::blockhash(evm, w[0])?;
        COINBASE push |evm, _left, _w| env::coinbase(evm);
        TIMESTAMP push |evm, _left, _w| env::timestamp(evm);
        NUMBER push |evm, _left, _w| env::number(evm);
        PREVRANDAO push |evm, _left, _w| env::prevrandao(evm);
        GASLIMIT push |evm, _left, _w| env::gaslimit(evm);
        CHAINID push |evm, _left, _w| env::chainid(evm);
        SELFBALANCE push |evm, _left, _w| env::selfbalance(evm)?;
        BASEFEE push |evm, _left, _w| env::basefee(evm);
        BLOBHASH push |evm, _left, w| env::blobhash(evm, w[0]);
        BLOBBASEFEE push |evm, _left, _w| env::blobbasefee(evm);
        SLOTNUM push |evm, _left, _w| env::slotnum(evm);
        MSTORE8 run |evm, left, w| memory::mstore8(evm, left, w[1], w[0])?;
        MCOPY run |evm, left, w| memory::mcopy(evm, left, w[2], w[1], w[0])?;
        MSIZE push |evm, _left, _w| memory::msize(evm);
        SLOAD push |evm, left, w| storage::sload(evm, left, w[0])?;
        SSTORE run |evm, left, w| storage::sstore(evm, left, w[1], w[0])?;
        TLOAD push |evm, _left, w| storage::tload(evm, w[0]);
        TSTORE run |evm, _left, w| storage::tstore(evm, w[1], w[0])?;
        LOG0 run |evm, left, w| logs::log(evm, left, w[1], w[0], &[])?;
        LOG1 run |evm, left, w| logs::log(evm, left, w[2], w[1], &[w[0]])?;
        LOG2 run |evm, left, w| logs::log(evm, left, w[3], w[2], &[w[1], w[0]])?;
        LOG3 run |evm, left, w| logs::log(evm, left, w[4], w[3], &[w[2], w[1], w[0]])?;
        LOG4 run |evm, left, w| logs::log(evm, left, w[5], w[4], &[w[3], w[2], w[1], w[0]])?;
        CREATE step |evm, left, w| call::create(evm, left, [w[2], w[1], w[0]])?;
        CREATE2 step |evm, left, w| call::create2(evm, left, [w[3], w[2], w[1], w[0]])?;
        CALL step |evm, left, w| call::call(evm, left, CallKind::Call, [w[6], w[5], w[4], w[3], w[2], w[1], w[0]])?;
        CALLCODE step |evm, left, w| call::call(evm, left, CallKind::CallCode, [w[6], w[5], w[4], w[3], w[2], w[1], w[0]])?;
        DELEGATECALL step |evm, left, w| call::call_without_value(evm, left, CallKind::DelegateCall, [w[5], w[4], w[3], w[2], w[1], w[0]])?;
        STATICCALL step |evm, left, w| call::call_without_value(evm, left, CallKind::StaticCall, [w[5], w[4], w[3], w[2], w[1], w[0]])?;
        RETURN leave |evm, left, w| control::ret(evm, left, w[1], w[0])?;
        REVERT leave |evm, left, w| control::revert(evm, left, w[1], w[0])?;
        SELFDESTRUCT leave |evm, left, w| {
            call::selfdestruct(evm, left, w[0])?;
            Exit::Stop
        };
    }
}
pub(super) use all::*;
