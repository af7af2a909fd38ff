//! Why a frame ended otherwise than by its own word.

use crate::arena::store::StoreError;
use alloy_primitives::{Address, U256};

/// An exceptional halt: the frame's gas is gone and its changes are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Halt {
    /// Gas ran out.
    OutOfGas,
    /// Fewer words on the stack than the instruction takes.
    StackUnderflow,
    /// More than 1,024 words on the stack.
    StackOverflow,
    /// A jump to something that is no JUMPDEST.
    InvalidJump,
    /// No such instruction in this fork, or INVALID.
    InvalidOpcode,
    /// A state change inside a static call (EIP-214).
    StaticViolation,
    /// RETURNDATACOPY beyond the return data (EIP-211).
    ReturnDataOutOfBounds,
    /// A creation on an address with code, nonce or storage (EIP-684, 7610).
    CreateCollision,
    /// Deployed code over the limit (EIP-170, 7954).
    CodeTooLarge,
    /// Init code over the limit (EIP-3860).
    InitcodeTooLarge,
    /// Deployed code that begins with 0xef (EIP-3541).
    InvalidCodePrefix,
    /// A precompile refused its input.
    Precompile,
    /// Not the contract's doing: the executor stops, see [`Fault`].
    Fault,
}

impl Halt {
    /// All of them, in order.
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

    /// A name for traces, in geth's wording where it has one.
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

/// Why execution of a task had to stop for a reason outside the EVM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An account that the block access list does not name was accessed.
    #[error("account {0} was accessed but the block access list does not name it")]
    UnlistedAccount(Address),
    /// A slot that the block access list does not name was accessed.
    #[error("slot {1:#x} of {0} was accessed but the block access list does not name it")]
    UnlistedSlot(Address, U256),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another task already decided the block's fate; this one was given up.
    #[error("execution was cancelled")]
    Cancelled,
    /// An optimistic worker read a value that an unfinished transaction may still change.
    #[error("read a value that transaction {0} is about to write")]
    Blocked(u32),
}
