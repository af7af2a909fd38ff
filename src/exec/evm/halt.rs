//! Exceptional halts of a frame, and faults: reasons outside the EVM for which the executor stops a task.
//!
//! Not here: STOP, RETURN and REVERT (`machine::Exit`), and errors of the block (`block`).

use crate::arena::store::StoreError;
use alloy_primitives::{Address, U256};

/// An exceptional halt: all gas of the frame is consumed and its changes are reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Halt {
    /// Gas ran out.
    OutOfGas,
    /// Fewer words on the stack than the instruction takes.
    StackUnderflow,
    /// More than 1,024 words on the stack.
    StackOverflow,
    /// The destination of a jump is not a JUMPDEST.
    InvalidJump,
    /// The opcode is INVALID or not defined in this fork.
    InvalidOpcode,
    /// A state change inside a static call (EIP-214).
    StaticViolation,
    /// RETURNDATACOPY beyond the return data (EIP-211).
    ReturnDataOutOfBounds,
    /// A creation at an address with code, a nonce or storage (EIP-684, EIP-7610).
    CreateCollision,
    /// Deployed code above the size limit (EIP-170, EIP-7954).
    CodeTooLarge,
    /// Init code above the size limit (EIP-3860).
    InitcodeTooLarge,
    /// Deployed code that begins with 0xef (EIP-3541).
    InvalidCodePrefix,
    /// A precompile rejected its input.
    Precompile,
    /// The executor stops for a reason outside the EVM, see [`Fault`].
    Fault,
}

impl Halt {
    /// All halts, in the order of their discriminants.
    pub const ALL: [Self; 13] = [
        Self::OutOfGas,
        Self::StackUnderflow,
        Self::StackOverflow,
        Self::InvalidJump,
        Self::InvalidOpcode,
        Self::StaticViolation,
        Self::ReturnDataOutOfBounds,
        Self::CreateCollision,
        Self::CodeTooLarge,
        Self::InitcodeTooLarge,
        Self::InvalidCodePrefix,
        Self::Precompile,
        Self::Fault,
    ];

    /// The text for traces, in geth's wording where geth has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfGas => "out of gas",
            Self::StackUnderflow => "stack underflow",
            Self::StackOverflow => "stack limit reached 1024 (1023)",
            Self::InvalidJump => "invalid jump destination",
            Self::InvalidOpcode => "invalid opcode",
            Self::StaticViolation => "write protection",
            Self::ReturnDataOutOfBounds => "return data out of bounds",
            Self::CreateCollision => "contract address collision",
            Self::CodeTooLarge => "max code size exceeded",
            Self::InitcodeTooLarge => "max initcode size exceeded",
            Self::InvalidCodePrefix => "invalid code: must not begin with 0xef",
            Self::Precompile => "precompile failed",
            Self::Fault => "executor fault",
        }
    }
}

/// A reason outside the EVM for which execution of a task stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An account that is not in the block access list was accessed.
    #[error("account {0} was accessed but is not in the block access list")]
    UnlistedAccount(Address),
    /// A slot that is not in the block access list was accessed: the account, the slot's key.
    #[error("slot {1:#x} of {0} was accessed but is not in the block access list")]
    UnlistedSlot(Address, U256),
    /// The store failed to answer a read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller cancelled the block, or another task has already determined its result.
    #[error("execution was cancelled")]
    Cancelled,
    /// An optimistic worker read a value that the transaction of this index, not finished yet, may still change.
    #[error("read a value that transaction {0}, not finished yet, may still write")]
    Blocked(u32),
}
