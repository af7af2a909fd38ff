//! Tables of handlers: by opcode and form of the code, and for fused sequences.
//!
//! In: a fork and an opcode, or a sequence found by the decoder. Out: the handler. Not here: the handlers (`handlers`).

use super::bodies;
use super::handlers::*;
use super::machine::{Block, Bytes, Form, Handler, halt_invalid_opcode};
use crate::exec::interpreter::opcode::{TABLE_CONST, op};
use crate::exec::rules::fork::Fork;

/// The handler of an opcode, whether or not a fork defines it.
const fn handler<F: Form>(opcode: u8) -> Handler {
    macro_rules! out_of_line {
        ($($name:ident)*) => {
            match opcode {
                $(op::$name => return body::<bodies::$name, F>,)*
                _ => {}
            }
        };
    }
    out_of_line! {
        MULMOD EXP KECCAK256 ADDRESS BALANCE ORIGIN CALLER CALLVALUE CODESIZE GASPRICE EXTCODESIZE EXTCODECOPY RETURNDATASIZE RETURNDATACOPY EXTCODEHASH
        BLOCKHASH COINBASE TIMESTAMP NUMBER PREVRANDAO GASLIMIT CHAINID SELFBALANCE BASEFEE BLOBHASH BLOBBASEFEE
        SLOTNUM MSIZE SLOAD SSTORE TLOAD TSTORE LOG0 LOG1 LOG2 LOG3 LOG4 CREATE CALL CALLCODE RETURN
        DELEGATECALL CREATE2 STATICCALL REVERT SELFDESTRUCT
    }
    macro_rules! numbered {
        ($family:ident $first:ident; $($n:literal)*) => {
            match opcode.wrapping_sub(op::$first) as usize + 1 {
                $($n => return $family::<$n, F>,)*
                _ => {}
            }
        };
    }
    numbered!(dup DUP1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    numbered!(swap SWAP1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    macro_rules! pushes {
        ($($n:literal)*) => {
            match opcode.wrapping_sub(op::PUSH0) as usize {
                $($n => return push_bytes::<$n>,)*
                _ => {}
            }
        };
    }
    pushes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
    match opcode {
        op::STOP => stop,
        op::ADD => binary::<Add, F>,
        op::MUL => binary::<Mul, F>,
        op::SUB => binary::<Sub, F>,
        op::DIV => heavy::<Div, F>,
        op::SDIV => heavy::<Sdiv, F>,
        op::MOD => heavy::<Mod, F>,
        op::SMOD => heavy::<Smod, F>,
        op::ADDMOD => addmod::<F>,
        op::SIGNEXTEND => binary::<SignExtend, F>,
        op::LT => binary::<Lt, F>,
        op::GT => binary::<Gt, F>,
        op::SLT => binary::<Slt, F>,
        op::SGT => binary::<Sgt, F>,
        op::EQ => binary::<Eq, F>,
        op::AND => binary::<And, F>,
        op::OR => binary::<Or, F>,
        op::XOR => binary::<Xor, F>,
        op::BYTE => binary::<Byte, F>,
        op::SHL => binary::<Shl, F>,
        op::SHR => binary::<Shr, F>,
        op::SAR => binary::<Sar, F>,
        op::ISZERO => unary::<IsZero, F>,
        op::NOT => unary::<Not, F>,
        op::CLZ => unary::<Clz, F>,
        op::POP => pop::<F>,
        op::MLOAD => mload::<F>,
        op::MSTORE => mstore::<F>,
        op::MSTORE8 => mstore8::<F>,
        op::MCOPY => mcopy::<F>,
        op::CALLDATALOAD => calldataload::<F>,
        op::CALLDATASIZE => calldatasize::<F>,
        op::CALLDATACOPY => calldatacopy::<F>,
        op::CODECOPY => codecopy::<F>,
        op::JUMP => jump::<F>,
        op::JUMPI => jumpi::<F>,
        op::JUMPDEST => jumpdest_bytes,
        op::PC => pc_bytes,
        op::GAS => gas::<F>,
        op::DUPN => dupn::<F>,
        op::SWAPN => swapn::<F>,
        op::EXCHANGE => exchange::<F>,
        _ => halt_invalid_opcode,
    }
}

/// Handlers of a fork for code in byte form.
const fn of_fork(fork: Fork) -> [Handler; 256] {
    let mut table = [halt_invalid_opcode as Handler; 256];
    let mut opcode = 0;
    while opcode < 256 {
        if TABLE_CONST[opcode].defined(fork) {
            table[opcode] = handler::<Bytes>(opcode as u8);
        }
        opcode += 1;
    }
    table
}

static BYTES: [[Handler; 256]; Fork::ALL.len()] = {
    let mut tables = [[halt_invalid_opcode as Handler; 256]; Fork::ALL.len()];
    let mut index = 0;
    while index < Fork::ALL.len() {
        tables[index] = of_fork(Fork::ALL[index]);
        index += 1;
    }
    tables
};

static DECODED: [Handler; 256] = {
    let mut table = [halt_invalid_opcode as Handler; 256];
    let mut opcode = 0;
    while opcode < 256 {
        table[opcode] = handler::<Block>(opcode as u8);
        opcode += 1;
    }
    table
};

/// Handlers by opcode, for code in byte form.
pub(super) fn bytes(fork: Fork) -> &'static [Handler; 256] {
    &BYTES[fork as usize]
}

/// The handler of an instruction that is not fused, for decoded code.
pub(super) fn decoded(opcode: u8) -> Handler {
    DECODED[usize::from(opcode)]
}

/// The instructions that push (or swap) the words of a fused operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// PUSH of at most 8 bytes.
    Imm,
    /// DUPn.
    Dup,
    /// SWAP1.
    Swapped,
    /// DUPn, PUSH.
    DupImm,
    /// PUSH, DUPn.
    ImmDup,
    /// DUPm, DUPn.
    DupDup,
}

/// Handlers of an operation fused with the instructions that push its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct BinaryForms {
    /// By [`Source`].
    by_source: [Handler; 6],
    /// A PUSH of more than 8 bytes.
    pub(super) wide: Handler,
    /// A PUSH of more than 8 bytes, then DUPn.
    pub(super) wide_dup: Handler,
}

impl BinaryForms {
    const fn new<K: Binary>() -> Option<Self> {
        Some(Self {
            by_source: [
                binary_from::<K, FromImm>,
                binary_from::<K, FromDup>,
                binary_swapped::<K>,
                binary_from::<K, FromDupImm>,
                binary_from::<K, FromImmDup>,
                binary_from::<K, FromDupDup>,
            ],
            wide: binary_wide::<K>,
            wide_dup: binary_wide_dup::<K>,
        })
    }

    /// The handler if the words come from `source`.
    pub(super) fn of(&self, source: Source) -> Handler {
        self.by_source[source as usize]
    }
}

static FORMS: [Option<BinaryForms>; 32] = {
    let mut forms = [None; 32];
    macro_rules! fill {
        ($($op:ident $kind:ident)*) => { $(forms[op::$op as usize] = BinaryForms::new::<$kind>();)* };
    }
    fill!(ADD Add MUL Mul SUB Sub SIGNEXTEND SignExtend LT Lt GT Gt SLT Slt SGT Sgt EQ Eq AND And OR Or XOR Xor);
    fill!(BYTE Byte SHL Shl SHR Shr SAR Sar);
    forms
};

/// The fused forms of an operation; `None` if it has none.
pub(super) fn binary_forms(opcode: u8) -> Option<&'static BinaryForms> {
    FORMS.get(usize::from(opcode))?.as_ref()
}

/// The handler of an operation with words from `source` and the static JUMPI that its result decides;
/// `negated`: it jumps if the result is zero.
pub(super) fn branch_of(operation: u8, source: Source, negated: bool) -> Option<Handler> {
    macro_rules! from {
        ($kind:ident $from:ident) => {
            if negated { branch_from::<$kind, $from, true> } else { branch_from::<$kind, $from, false> }
        };
    }
    macro_rules! any {
        ($kind:ident) => {
            match source {
                Source::Imm => from!($kind FromImm),
                Source::Dup => from!($kind FromDup),
                Source::DupImm => from!($kind FromDupImm),
                Source::ImmDup => from!($kind FromImmDup),
                Source::DupDup => from!($kind FromDupDup),
                Source::Swapped => return None,
            }
        };
    }
    Some(match operation {
        op::LT => any!(Lt),
        op::GT => any!(Gt),
        op::SLT => any!(Slt),
        op::SGT => any!(Sgt),
        op::EQ => any!(Eq),
        op::AND => any!(And),
        _ => return None,
    })
}

/// The handler of a comparison and the static JUMPI after it; `negated` as in [`branch_of`].
pub(super) fn branch_compare_of(compare: u8, negated: bool) -> Handler {
    macro_rules! either {
        ($kind:ident) => {
            if negated { branch_compare::<$kind, true> } else { branch_compare::<$kind, false> }
        };
    }
    match compare {
        op::LT => either!(Lt),
        op::GT => either!(Gt),
        op::SLT => either!(Slt),
        op::SGT => either!(Sgt),
        _ => either!(Eq),
    }
}

/// The handler of SWAP1 and one of the divisions after it.
pub(super) fn heavy_swapped_of(opcode: u8) -> Option<Handler> {
    Some(match opcode {
        op::DIV => heavy_swapped::<Div>,
        op::SDIV => heavy_swapped::<Sdiv>,
        op::MOD => heavy_swapped::<Mod>,
        op::SMOD => heavy_swapped::<Smod>,
        _ => return None,
    })
}
