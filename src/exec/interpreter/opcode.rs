//! The instruction table: name, static gas, stack effect, immediate bytes and first fork of every opcode.
//!
//! Metering, analysis, tracing and tests read this table and no other. Sources: the Yellow Paper, and the EIP
//! named beside each later instruction.
//! Static gas is what an instruction costs in every fork. It is 0 for instructions whose whole price depends on
//! the fork or on the state (storage, accounts, calls, creations, logs): `host` and `call` charge all of it.
//! Not here: dynamic gas and instruction bodies.

use crate::exec::rules::fork::Fork;

/// What a loop needs of an instruction before it runs the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Mnemonic; empty if no fork defines the opcode.
    pub name: &'static str,
    /// Static gas, the same in every fork.
    pub gas: u16,
    /// Words that must be on the stack.
    pub inputs: u8,
    /// Words that replace the inputs.
    pub outputs: u8,
    /// Bytes of code after the opcode that belong to the instruction.
    pub immediate: u8,
    /// First fork that defines it; meaningless if the name is empty.
    pub since: Fork,
}

impl Info {
    const UNDEFINED: Self = Self { name: "", gas: 0, inputs: 0, outputs: 0, immediate: 0, since: Fork::Amsterdam };

    /// Whether the instruction exists in `fork`.
    #[inline]
    pub const fn defined(&self, fork: Fork) -> bool {
        !self.name.is_empty() && self.since as u8 <= fork as u8
    }
}

macro_rules! opcodes {
    ($($byte:literal $name:ident $gas:literal $inputs:literal $outputs:literal $immediate:literal $since:ident)*) => {
        /// Opcode bytes by mnemonic.
        pub mod op {
            $(#[doc = stringify!($name)] pub const $name: u8 = $byte;)*
        }
        /// [`TABLE`] for use in constants.
        pub(super) const TABLE_CONST: [Info; 256] = {
            let mut table = [Info::UNDEFINED; 256];
            $(
                assert!(table[$byte].name.is_empty(), "an instruction stands twice in the table");
                table[$byte] = Info {
                    name: stringify!($name), gas: $gas, inputs: $inputs, outputs: $outputs, immediate: $immediate,
                    since: Fork::$since,
                };
            )*
            table
        };
        /// All instructions, by opcode byte.
        pub static TABLE: [Info; 256] = TABLE_CONST;
    };
}

opcodes! {
//  byte name         gas in out imm since
    0x00 STOP           0 0 0 0 Frontier
    0x01 ADD            3 2 1 0 Frontier
    0x02 MUL            5 2 1 0 Frontier
    0x03 SUB            3 2 1 0 Frontier
    0x04 DIV            5 2 1 0 Frontier
    0x05 SDIV           5 2 1 0 Frontier
    0x06 MOD            5 2 1 0 Frontier
    0x07 SMOD           5 2 1 0 Frontier
    0x08 ADDMOD         8 3 1 0 Frontier
    0x09 MULMOD         8 3 1 0 Frontier
    0x0a EXP           10 2 1 0 Frontier
    0x0b SIGNEXTEND     5 2 1 0 Frontier
    0x10 LT             3 2 1 0 Frontier
    0x11 GT             3 2 1 0 Frontier
    0x12 SLT            3 2 1 0 Frontier
    0x13 SGT            3 2 1 0 Frontier
    0x14 EQ             3 2 1 0 Frontier
    0x15 ISZERO         3 1 1 0 Frontier
    0x16 AND            3 2 1 0 Frontier
    0x17 OR             3 2 1 0 Frontier
    0x18 XOR            3 2 1 0 Frontier
    0x19 NOT            3 1 1 0 Frontier
    0x1a BYTE           3 2 1 0 Frontier
    0x1b SHL            3 2 1 0 Constantinople
    0x1c SHR            3 2 1 0 Constantinople
    0x1d SAR            3 2 1 0 Constantinople
    0x1e CLZ            5 1 1 0 Osaka
    0x20 KECCAK256     30 2 1 0 Frontier
    0x30 ADDRESS        2 0 1 0 Frontier
    0x31 BALANCE        0 1 1 0 Frontier
    0x32 ORIGIN         2 0 1 0 Frontier
    0x33 CALLER         2 0 1 0 Frontier
    0x34 CALLVALUE      2 0 1 0 Frontier
    0x35 CALLDATALOAD   3 1 1 0 Frontier
    0x36 CALLDATASIZE   2 0 1 0 Frontier
    0x37 CALLDATACOPY   3 3 0 0 Frontier
    0x38 CODESIZE       2 0 1 0 Frontier
    0x39 CODECOPY       3 3 0 0 Frontier
    0x3a GASPRICE       2 0 1 0 Frontier
    0x3b EXTCODESIZE    0 1 1 0 Frontier
    0x3c EXTCODECOPY    0 4 0 0 Frontier
    0x3d RETURNDATASIZE 2 0 1 0 Byzantium
    0x3e RETURNDATACOPY 3 3 0 0 Byzantium
    0x3f EXTCODEHASH    0 1 1 0 Constantinople
    0x40 BLOCKHASH     20 1 1 0 Frontier
    0x41 COINBASE       2 0 1 0 Frontier
    0x42 TIMESTAMP      2 0 1 0 Frontier
    0x43 NUMBER         2 0 1 0 Frontier
    0x44 PREVRANDAO     2 0 1 0 Frontier
    0x45 GASLIMIT       2 0 1 0 Frontier
    0x46 CHAINID        2 0 1 0 Istanbul
    0x47 SELFBALANCE    5 0 1 0 Istanbul
    0x48 BASEFEE        2 0 1 0 London
    0x49 BLOBHASH       3 1 1 0 Cancun
    0x4a BLOBBASEFEE    2 0 1 0 Cancun
    0x4b SLOTNUM        2 0 1 0 Amsterdam
    0x50 POP            2 1 0 0 Frontier
    0x51 MLOAD          3 1 1 0 Frontier
    0x52 MSTORE         3 2 0 0 Frontier
    0x53 MSTORE8        3 2 0 0 Frontier
    0x54 SLOAD          0 1 1 0 Frontier
    0x55 SSTORE         0 2 0 0 Frontier
    0x56 JUMP           8 1 0 0 Frontier
    0x57 JUMPI         10 2 0 0 Frontier
    0x58 PC             2 0 1 0 Frontier
    0x59 MSIZE          2 0 1 0 Frontier
    0x5a GAS            2 0 1 0 Frontier
    0x5b JUMPDEST       1 0 0 0 Frontier
    0x5c TLOAD        100 1 1 0 Cancun
    0x5d TSTORE       100 2 0 0 Cancun
    0x5e MCOPY          3 3 0 0 Cancun
    0x5f PUSH0          2 0 1 0 Shanghai
    0x60 PUSH1 3 0 1 1 Frontier    0x61 PUSH2 3 0 1 2 Frontier    0x62 PUSH3 3 0 1 3 Frontier
    0x63 PUSH4 3 0 1 4 Frontier    0x64 PUSH5 3 0 1 5 Frontier    0x65 PUSH6 3 0 1 6 Frontier
    0x66 PUSH7 3 0 1 7 Frontier    0x67 PUSH8 3 0 1 8 Frontier    0x68 PUSH9 3 0 1 9 Frontier
    0x69 PUSH10 3 0 1 10 Frontier  0x6a PUSH11 3 0 1 11 Frontier  0x6b PUSH12 3 0 1 12 Frontier
    0x6c PUSH13 3 0 1 13 Frontier  0x6d PUSH14 3 0 1 14 Frontier  0x6e PUSH15 3 0 1 15 Frontier
    0x6f PUSH16 3 0 1 16 Frontier  0x70 PUSH17 3 0 1 17 Frontier  0x71 PUSH18 3 0 1 18 Frontier
    0x72 PUSH19 3 0 1 19 Frontier  0x73 PUSH20 3 0 1 20 Frontier  0x74 PUSH21 3 0 1 21 Frontier
    0x75 PUSH22 3 0 1 22 Frontier  0x76 PUSH23 3 0 1 23 Frontier  0x77 PUSH24 3 0 1 24 Frontier
    0x78 PUSH25 3 0 1 25 Frontier  0x79 PUSH26 3 0 1 26 Frontier  0x7a PUSH27 3 0 1 27 Frontier
    0x7b PUSH28 3 0 1 28 Frontier  0x7c PUSH29 3 0 1 29 Frontier  0x7d PUSH30 3 0 1 30 Frontier
    0x7e PUSH31 3 0 1 31 Frontier  0x7f PUSH32 3 0 1 32 Frontier
    0x80 DUP1 3 1 2 0 Frontier     0x81 DUP2 3 2 3 0 Frontier     0x82 DUP3 3 3 4 0 Frontier
    0x83 DUP4 3 4 5 0 Frontier     0x84 DUP5 3 5 6 0 Frontier     0x85 DUP6 3 6 7 0 Frontier
    0x86 DUP7 3 7 8 0 Frontier     0x87 DUP8 3 8 9 0 Frontier     0x88 DUP9 3 9 10 0 Frontier
    0x89 DUP10 3 10 11 0 Frontier  0x8a DUP11 3 11 12 0 Frontier  0x8b DUP12 3 12 13 0 Frontier
    0x8c DUP13 3 13 14 0 Frontier  0x8d DUP14 3 14 15 0 Frontier  0x8e DUP15 3 15 16 0 Frontier
    0x8f DUP16 3 16 17 0 Frontier
    0x90 SWAP1 3 2 2 0 Frontier    0x91 SWAP2 3 3 3 0 Frontier    0x92 SWAP3 3 4 4 0 Frontier
    0x93 SWAP4 3 5 5 0 Frontier    0x94 SWAP5 3 6 6 0 Frontier    0x95 SWAP6 3 7 7 0 Frontier
    0x96 SWAP7 3 8 8 0 Frontier    0x97 SWAP8 3 9 9 0 Frontier    0x98 SWAP9 3 10 10 0 Frontier
    0x99 SWAP10 3 11 11 0 Frontier 0x9a SWAP11 3 12 12 0 Frontier 0x9b SWAP12 3 13 13 0 Frontier
    0x9c SWAP13 3 14 14 0 Frontier 0x9d SWAP14 3 15 15 0 Frontier 0x9e SWAP15 3 16 16 0 Frontier
    0x9f SWAP16 3 17 17 0 Frontier
    0xa0 LOG0           0 2 0 0 Frontier
    0xa1 LOG1           0 3 0 0 Frontier
    0xa2 LOG2           0 4 0 0 Frontier
    0xa3 LOG3           0 5 0 0 Frontier
    0xa4 LOG4           0 6 0 0 Frontier
    // EIP-8024: the immediate decides how many words are needed; the table has the least.
    0xe6 DUPN           3 0 1 1 Amsterdam
    0xe7 SWAPN          3 0 0 1 Amsterdam
    0xe8 EXCHANGE       3 0 0 1 Amsterdam
    0xf0 CREATE         0 3 1 0 Frontier
    0xf1 CALL           0 7 1 0 Frontier
    0xf2 CALLCODE       0 7 1 0 Frontier
    0xf3 RETURN         0 2 0 0 Frontier
    0xf4 DELEGATECALL   0 6 1 0 Homestead
    0xf5 CREATE2        0 4 1 0 Constantinople
    0xfa STATICCALL     0 6 1 0 Byzantium
    0xfd REVERT         0 2 0 0 Byzantium
    0xfe INVALID        0 0 0 0 Frontier
    0xff SELFDESTRUCT   0 1 0 0 Frontier
}

/// The mnemonic of an opcode; `None` if no fork defines it. (Traces print "opcode 0x.. not defined" then.)
pub fn name(opcode: u8) -> Option<&'static str> {
    let name = TABLE[usize::from(opcode)].name;
    (!name.is_empty()).then_some(name)
}

/// DUPN, SWAPN (EIP-8024): the position from the top, counted from 1, of the item that DUPN copies; one less
/// than that of the item that SWAPN swaps with the top. `None` for an invalid immediate.
#[inline]
pub const fn decode_single(immediate: u8) -> Option<usize> {
    match immediate {
        91..=127 => None,
        _ => Some(immediate.wrapping_add(145) as usize),
    }
}

/// EXCHANGE (EIP-8024): the positions from the top, counted from 1 and each less one, of the two items that it
/// swaps. `None` for an invalid immediate.
#[inline]
pub const fn decode_pair(immediate: u8) -> Option<(usize, usize)> {
    if immediate >= 82 && immediate <= 127 {
        return None;
    }
    let k = (immediate ^ 143) as usize;
    let (q, r) = (k / 16, k % 16);
    Some(if q < r { (q + 1, r + 1) } else { (r + 1, 29 - q) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_their_numbering() {
        for n in 1..=32u8 {
            let push = TABLE[usize::from(0x5f + n)];
            assert_eq!((push.name, push.immediate), (format!("PUSH{n}").as_str(), n));
        }
        for n in 1..=16u8 {
            let (dup, swap) = (TABLE[usize::from(0x7f + n)], TABLE[usize::from(0x8f + n)]);
            assert_eq!((dup.name, dup.inputs, dup.outputs), (format!("DUP{n}").as_str(), n, n + 1));
            assert_eq!((swap.name, swap.inputs, swap.outputs), (format!("SWAP{n}").as_str(), n + 1, n + 1));
        }
        assert!(!TABLE[0x5f].defined(Fork::Paris) && TABLE[0x5f].defined(Fork::Shanghai));
        assert!(!TABLE[0x0c].defined(Fork::Amsterdam));
    }

    #[test]
    fn immediates_of_eip_8024_cover_their_ranges() {
        let singles: std::collections::BTreeSet<_> = (0..=255).filter_map(decode_single).collect();
        assert_eq!((singles.first(), singles.last(), singles.len()), (Some(&17), Some(&235), 219));
        let pairs: std::collections::BTreeSet<_> = (0..=255).filter_map(decode_pair).collect();
        assert_eq!(pairs.len(), 210);
        assert!(pairs.iter().all(|(n, m)| 1 <= *n && n < m && n + m <= 30));
        assert_eq!(decode_pair(0x8e), Some((1, 2)));
    }
}
