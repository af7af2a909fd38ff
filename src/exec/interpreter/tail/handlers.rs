//! The instructions as handlers, each in both forms of code. Duties: see `machine`.

use super::bodies::{self, Body, Flow};
use super::limbs;
use super::machine::*;
use crate::exec::evm::Exit;
use crate::exec::halt::Halt;
use crate::exec::interpreter::opcode::{TABLE_CONST, decode_pair, decode_single, op};
use alloy_primitives::U256;

/// Marks a `Frame::pc` that counts decoded instructions instead of bytes.
pub(super) const DECODED_PC: usize = 1 << 63;

// Bodies out of line.

/// Runs a body on its window; true where the loop is to be left.
#[inline(never)]
unsafe extern "C" fn outlined<B: Body>(vm: *mut Vm, sp: *mut U256) -> bool {
    let info = const { TABLE_CONST[B::OP as usize] };
    let (inputs, outputs) = (info.inputs as usize, info.outputs as usize);
    // SAFETY: `vm` and its machine are live and nobody else looks at them while the body runs; the words were checked.
    unsafe {
        let first = sp.sub(inputs);
        // Written out: `array::from_fn` goes through memory.
        let word = |index: usize| U256::from_limbs(if index < inputs { load(first.add(index)) } else { [0; 4] });
        let words = [word(0), word(1), word(2), word(3), word(4), word(5), word(6)];
        let vm = &mut *vm;
        let mut left = vm.left;
        let flow = B::run(&mut *vm.evm, &mut left, &words);
        vm.left = left;
        match flow {
            Ok(Flow::Next) => return false,
            Ok(Flow::Push(word)) => {
                debug_assert_eq!(outputs, 1);
                store(first, word.into_limbs());
                return false;
            }
            Ok(Flow::Leave(exit)) => vm.set_exit(exit),
            Err(halt) => vm.set_exit(Exit::Halt(halt)),
        }
        true
    }
}

/// Whether an instruction may grow the frame's memory.
const fn grows_memory(opcode: u8) -> bool {
    matches!(
        opcode,
        op::KECCAK256
            | op::CALLDATACOPY
            | op::CODECOPY
            | op::EXTCODECOPY
            | op::RETURNDATACOPY
            | op::MLOAD
            | op::MSTORE
            | op::MSTORE8
            | op::MCOPY
            | op::LOG0
            ..=op::LOG4 | op::CREATE | op::CREATE2 | op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL
    )
}

handler! {
    /// Stores what a resumed frame needs and leaves.
    #[inline(never)]
    leave_after [B: Body, F: Form] (r) {
        let info = const { TABLE_CONST[B::OP as usize] };
        r.drop(info.inputs as usize);
        r.gas = (*r.vm).left;
        (*r.vm).pc = if F::DECODED {
            ((*(*r.vm).decoded).index(r.pc) + 1) | DECODED_PC
        } else {
            r.pc as usize - (*r.vm).code as usize + 1
        };
        leave(r)
    }
}

/// After a body: stack pointer, memory, gas, next.
macro_rules! after_body {
    ($B:ident, $F:ident, $r:ident, $rest:expr) => {{
        let info = const { TABLE_CONST[$B::OP as usize] };
        $r.sp = $r.sp.sub(info.inputs as usize).add(info.outputs as usize);
        $r.gas = (*$r.vm).left;
        if const { grows_memory($B::OP) } {
            $r.reload_memory();
        }
        if $F::DECODED {
            let rest: u64 = $rest;
            if $r.gas < rest {
                $r.pc = $r.pc.add(1);
                jump_to!(to_bytes_exact, $r)
            }
            $r.gas -= rest;
        }
        next!($F, $r, $B::OP)
    }};
}

handler! {
    /// Any instruction with a body out of line.
    body [B: Body, F: Form] (r) {
        settle!(F, r, B::OP);
        let rest = if F::DECODED { r.operand() & 0xffff_ffff } else { 0 };
        (*r.vm).left = r.gas + rest;
        if outlined::<B>(r.vm, r.sp) {
            jump_to!(leave_after::<B, F>, r)
        }
        after_body!(B, F, r, rest)
    }
}

handler! {
    /// The same where the static gas is paid and, in decoded form, the operand says something else than the rest.
    #[inline(never)]
    body_settled [B: Body, F: Form] (r) {
        let rest = if F::DECODED { u64::from((*(*r.vm).decoded).place(r.pc.add(1)).rest) } else { 0 };
        (*r.vm).left = r.gas + rest;
        if outlined::<B>(r.vm, r.sp) {
            jump_to!(leave_after::<B, F>, r)
        }
        after_body!(B, F, r, rest)
    }
}

// Arithmetic and bits.

/// An instruction that computes one word from two; `a` is the top.
pub(super) trait Binary {
    const OP: u8;
    fn apply(a: Limbs, b: Limbs) -> Limbs;
}
/// An instruction that computes one word from one.
pub(super) trait Unary {
    const OP: u8;
    fn apply(a: Limbs) -> Limbs;
}

macro_rules! words {
    ($trait:ident: $($name:ident $op:ident |$($arg:ident),*| $body:expr;)*) => {$(
        pub(super) struct $name;
        impl $trait for $name {
            const OP: u8 = op::$op;
            #[inline(always)]
            fn apply($($arg: Limbs),*) -> Limbs {
                $body
            }
        }
    )*};
}
words! { Binary:
    Add ADD |a, b| limbs::add(a, b);
    Mul MUL |a, b| limbs::mul(a, b);
    Sub SUB |a, b| limbs::sub(a, b);
    SignExtend SIGNEXTEND |a, b| limbs::signextend(a, b);
    Lt LT |a, b| limbs::small(u64::from(limbs::lt(a, b)));
    Gt GT |a, b| limbs::small(u64::from(limbs::lt(b, a)));
    Slt SLT |a, b| limbs::small(u64::from(limbs::slt(a, b)));
    Sgt SGT |a, b| limbs::small(u64::from(limbs::slt(b, a)));
    Eq EQ |a, b| limbs::small(u64::from(limbs::eq(a, b)));
    And AND |a, b| [a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]];
    Or OR |a, b| [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]];
    Xor XOR |a, b| [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]];
    Byte BYTE |a, b| limbs::byte(a, b);
    Shl SHL |a, b| limbs::shl(a, b);
    Shr SHR |a, b| limbs::shr(a, b);
    Sar SAR |a, b| limbs::sar(a, b);
}
/// An operation too large for its handler: the common small case in line, the rest out of line.
pub(super) trait Heavy {
    const OP: u8;
    /// The result where it takes a few instructions.
    fn quick(a: Limbs, b: Limbs) -> Option<Limbs>;
    fn full(a: Limbs, b: Limbs) -> Limbs;
}

/// Quotient and remainder of words below 2^64 with a divisor that is not zero.
#[inline(always)]
fn both_small(a: Limbs, b: Limbs) -> bool {
    a[1] | a[2] | a[3] | b[1] | b[2] | b[3] == 0 && b[0] != 0
}

macro_rules! heavy {
    ($($name:ident $op:ident |$a:ident, $b:ident| $quick:expr, |$c:ident, $d:ident| $full:expr;)*) => {$(
        pub(super) struct $name;
        impl Heavy for $name {
            const OP: u8 = op::$op;
            #[inline(always)]
            fn quick($a: Limbs, $b: Limbs) -> Option<Limbs> {
                if both_small($a, $b) { Some(limbs::small($quick)) } else { None }
            }
            #[inline(always)]
            fn full($c: Limbs, $d: Limbs) -> Limbs {
                $full
            }
        }
    )*};
}
heavy! {
    Div DIV |a, b| a[0] / b[0], |a, b| limbs::div_rem(a, b).0;
    Mod MOD |a, b| a[0] % b[0], |a, b| limbs::div_rem(a, b).1;
    Sdiv SDIV |a, b| a[0] / b[0], |a, b| limbs::sdiv(a, b);
    Smod SMOD |a, b| a[0] % b[0], |a, b| limbs::smod(a, b);
}

/// Runs an operation out of line: the words at `a` and `b` into `target`.
#[inline(never)]
unsafe extern "C" fn full<K: Heavy>(target: *mut U256, a: *const U256, b: *const U256) {
    // SAFETY: the caller's words lie inside the frame's stack, or in the decoded code's pool.
    unsafe {
        store(target, K::full(load(a), load(b)));
    }
}

handler! {
    heavy [K: Heavy, F: Form] (r) {
        settle!(F, r, K::OP);
        r.drop(1);
        let (a, b) = (load(r.sp), r.peek(0));
        match K::quick(a, b) {
            Some(word) => r.poke(0, word),
            None => full::<K>(r.sp.sub(1), r.sp, r.sp.sub(1)),
        }
        next!(F, r, K::OP)
    }
}
handler! {
    /// SWAP1, then the operation.
    heavy_swapped [K: Heavy] (r) {
        r.drop(1);
        let (a, b) = (r.peek(0), load(r.sp));
        match K::quick(a, b) {
            Some(word) => r.poke(0, word),
            None => full::<K>(r.sp.sub(1), r.sp.sub(1), r.sp),
        }
        skip!(r, 1)
    }
}

words! { Unary:
    IsZero ISZERO |a| limbs::small(u64::from(limbs::is_zero(a)));
    Not NOT |a| [!a[0], !a[1], !a[2], !a[3]];
    Clz CLZ |a| limbs::clz(a);
}

handler! {
    unary [K: Unary, F: Form] (r) {
        settle!(F, r, K::OP);
        r.poke(0, K::apply(r.peek(0)));
        next!(F, r, K::OP)
    }
}
handler! {
    binary [K: Binary, F: Form] (r) {
        settle!(F, r, K::OP);
        let word = K::apply(r.peek(0), r.peek(1));
        r.drop(1);
        r.poke(0, word);
        next!(F, r, K::OP)
    }
}
handler! {
    /// PUSH of at most 8 bytes, then the operation.
    binary_imm [K: Binary] (r) {
        r.poke(0, K::apply(limbs::small(r.operand()), r.peek(0)));
        skip!(r, 1)
    }
}
handler! {
    /// PUSH of more than 8 bytes, then the operation; the operand points to the word.
    binary_wide [K: Binary] (r) {
        let word = load(r.operand() as *const U256);
        r.poke(0, K::apply(word, r.peek(0)));
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, then the operation; the operand is n in bytes of stack.
    binary_dup [K: Binary] (r) {
        let a = load(r.sp.byte_sub(r.operand() as usize));
        r.poke(0, K::apply(a, r.peek(0)));
        skip!(r, 1)
    }
}
handler! {
    /// SWAP1, then the operation.
    binary_swapped [K: Binary] (r) {
        let word = K::apply(r.peek(1), r.peek(0));
        r.drop(1);
        r.poke(0, word);
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, PUSH, operation: the immediate is on top.
    binary_dup_imm [K: Binary] (r) {
        let operand = r.operand();
        let b = load(r.sp.byte_sub((operand & 0xffff) as usize));
        r.push(K::apply(limbs::small(operand >> 16), b));
        skip!(r, 1)
    }
}
handler! {
    /// PUSH, DUPn, operation: the duplicate is on top.
    binary_imm_dup [K: Binary] (r) {
        let operand = r.operand();
        let a = load(r.sp.byte_sub((operand & 0xffff) as usize));
        r.push(K::apply(a, limbs::small(operand >> 16)));
        skip!(r, 1)
    }
}
handler! {
    /// DUPm, DUPn, operation; the offsets count from the height before both.
    binary_dup_dup [K: Binary] (r) {
        let operand = r.operand();
        let a = load(r.sp.byte_sub((operand & 0xffff) as usize));
        let b = load(r.sp.byte_sub((operand >> 16 & 0xffff) as usize));
        r.push(K::apply(a, b));
        skip!(r, 1)
    }
}

// Stack.

handler! {
    pop [F: Form] (r) {
        settle!(F, r, op::POP);
        r.drop(1);
        next!(F, r, op::POP)
    }
}
handler! {
    pop_many [] (r) {
        r.sp = r.sp.byte_sub(r.operand() as usize);
        skip!(r, 1)
    }
}
handler! {
    /// PUSH0 to PUSH32 in byte form.
    push_bytes [const N: usize] (r) {
        let gas = const { if N == 0 { 2 } else { 3 } };
        if r.stack_bytes() >= crate::exec::evm::STACK_LIMIT * 32 {
            jump_to!(halt_overflow, r)
        }
        if r.gas < gas {
            jump_to!(halt_out_of_gas, r)
        }
        r.gas -= gas;
        // The code is padded: all N bytes can be read, and limbs are read only where they begin inside them.
        let data = r.pc.cast::<u8>().add(1);
        let mut word = [0; 4];
        let (full, part) = const { (N / 8, N % 8) };
        let mut limb = 0;
        while limb < full {
            word[limb] = u64::from_be_bytes(data.add(N - 8 * (limb + 1)).cast::<[u8; 8]>().read_unaligned());
            limb += 1;
        }
        let mut index = 0;
        while index < part {
            word[full] = word[full] << 8 | u64::from(*data.add(index));
            index += 1;
        }
        r.push(word);
        r.pc = r.pc.byte_add(N + 1);
        let handler = (*(*r.vm).table)[usize::from(*r.pc.cast::<u8>())];
        jump_to!(handler, r)
    }
}
handler! {
    push [] (r) {
        r.push(limbs::small(r.operand()));
        skip!(r, 1)
    }
}
handler! {
    push_wide [] (r) {
        r.push(load(r.operand() as *const U256));
        skip!(r, 1)
    }
}
handler! {
    /// Two pushes of at most 4 bytes.
    push_push [] (r) {
        let operand = r.operand();
        r.push(limbs::small(operand & 0xffff_ffff));
        r.push(limbs::small(operand >> 32));
        skip!(r, 1)
    }
}
handler! {
    dup [const N: usize, F: Form] (r) {
        settle!(F, r, op::DUP1 + N as u8 - 1);
        r.push(r.peek(N - 1));
        next!(F, r, op::DUP1)
    }
}
handler! {
    dup_dup [] (r) {
        let operand = r.operand();
        let first = load(r.sp.byte_sub((operand >> 16) as usize));
        r.push(first);
        r.push(load(r.sp.byte_sub((operand & 0xffff) as usize)));
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, PUSH.
    dup_push [] (r) {
        let operand = r.operand();
        r.push(load(r.sp.byte_sub((operand & 0xffff) as usize)));
        r.push(limbs::small(operand >> 16));
        skip!(r, 1)
    }
}
handler! {
    swap [const N: usize, F: Form] (r) {
        settle!(F, r, op::SWAP1 + N as u8 - 1);
        let (top, other) = (r.peek(0), r.peek(N));
        r.poke(N, top);
        r.poke(0, other);
        next!(F, r, op::SWAP1)
    }
}
handler! {
    /// SWAPn, POP: the top replaces word n.
    swap_pop [] (r) {
        let top = r.peek(0);
        r.drop(1);
        store(r.sp.byte_sub(r.operand() as usize), top);
        skip!(r, 1)
    }
}
/// Height check of EIP-8024's instructions, in byte form.
macro_rules! settle_deep {
    ($r:ident, $need:expr) => {
        if $r.stack_bytes() < $need * 32 {
            jump_to!(halt_underflow, $r)
        }
    };
}
handler! {
    dupn [F: Form] (r) {
        settle!(F, r, op::DUPN);
        let n = if F::DECODED {
            r.operand() as usize
        } else {
            let Some(n) = decode_single(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, n);
            n
        };
        r.push(r.peek(n - 1));
        next!(F, r, op::DUPN)
    }
}
handler! {
    swapn [F: Form] (r) {
        settle!(F, r, op::SWAPN);
        let n = if F::DECODED {
            r.operand() as usize
        } else {
            let Some(n) = decode_single(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, n + 1);
            n
        };
        let (top, other) = (r.peek(0), r.peek(n));
        r.poke(n, top);
        r.poke(0, other);
        next!(F, r, op::SWAPN)
    }
}
handler! {
    exchange [F: Form] (r) {
        settle!(F, r, op::EXCHANGE);
        let (n, m) = if F::DECODED {
            ((r.operand() & 0xffff) as usize, (r.operand() >> 16) as usize)
        } else {
            let Some((n, m)) = decode_pair(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, m.max(n) + 1);
            (n, m)
        };
        let (first, second) = (r.peek(n), r.peek(m));
        r.poke(n, second);
        r.poke(m, first);
        next!(F, r, op::EXCHANGE)
    }
}

// Memory: in line where no byte is new.

#[inline(always)]
unsafe fn read_word(mem: *const u8, offset: usize) -> Limbs {
    // SAFETY: the caller checked that 32 bytes from `offset` belong to the frame.
    unsafe {
        let limb = |index: usize| u64::from_be_bytes(mem.add(offset + 8 * index).cast::<[u8; 8]>().read_unaligned());
        [limb(3), limb(2), limb(1), limb(0)]
    }
}

#[inline(always)]
unsafe fn write_word(mem: *mut u8, offset: usize, word: Limbs) {
    // SAFETY: as in `read_word`. Volatile keeps the halves in general registers.
    unsafe {
        let at = mem.add(offset).cast::<[u8; 8]>();
        at.write_unaligned(word[3].to_be_bytes());
        at.add(1).write_unaligned(word[2].to_be_bytes());
        at.add(2).write_unaligned(word[1].to_be_bytes());
        at.add(3).write_unaligned(word[0].to_be_bytes());
    }
}

handler! {
    mload [F: Form] (r) {
        settle!(F, r, op::MLOAD);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(body_settled::<bodies::MLOAD, F>, r)
        }
        r.poke(0, read_word(r.mem, offset[0] as usize));
        next!(F, r, op::MLOAD)
    }
}
handler! {
    mstore [F: Form] (r) {
        settle!(F, r, op::MSTORE);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(body_settled::<bodies::MSTORE, F>, r)
        }
        write_word(r.mem, offset[0] as usize, r.peek(1));
        r.drop(2);
        next!(F, r, op::MSTORE)
    }
}
handler! {
    mstore8 [F: Form] (r) {
        settle!(F, r, op::MSTORE8);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(body_settled::<bodies::MSTORE8, F>, r)
        }
        *r.mem.add(offset[0] as usize) = r.peek(1)[0] as u8;
        r.drop(2);
        next!(F, r, op::MSTORE8)
    }
}
handler! {
    /// In line where both ranges lie inside the memory.
    mcopy [F: Form] (r) {
        settle!(F, r, op::MCOPY);
        let (target, source, len) = (r.peek(0), r.peek(1), r.peek(2));
        let above = target[1] | target[2] | target[3] | source[1] | source[2] | source[3] | len[1] | len[2] | len[3];
        let further = target[0] | source[0] | len[0];
        // Below 2^32 each, so that no sum wraps; the memory is 31 bytes longer than the limit, where there is any.
        let inside = (above | further >> 32 == 0)
            && r.limit > 0
            && target[0].max(source[0]) + len[0] <= r.limit as u64 + 31;
        let cost = 3 * len[0].div_ceil(32);
        if !inside || r.gas < cost {
            jump_to!(body_settled::<bodies::MCOPY, F>, r)
        }
        r.gas -= cost;
        if len[0] == 32 {
            write_word(r.mem, target[0] as usize, read_word(r.mem, source[0] as usize));
        } else {
            core::ptr::copy(r.mem.add(source[0] as usize), r.mem.add(target[0] as usize), len[0] as usize);
        }
        r.drop(3);
        next!(F, r, op::MCOPY)
    }
}
handler! {
    /// PUSH, MLOAD.
    mload_at [] (r) {
        let offset = r.operand();
        if offset as usize >= r.limit {
            r.push(limbs::small(offset));
            jump_to!(body_settled::<bodies::MLOAD, Block>, r)
        }
        r.push(read_word(r.mem, offset as usize));
        skip!(r, 1)
    }
}
handler! {
    /// PUSH, MSTORE.
    mstore_at [] (r) {
        let offset = r.operand();
        if offset as usize >= r.limit {
            r.push(limbs::small(offset));
            jump_to!(body_settled::<bodies::MSTORE, Block>, r)
        }
        write_word(r.mem, offset as usize, r.peek(0));
        r.drop(1);
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, MLOAD.
    mload_dup [] (r) {
        let offset = load(r.sp.byte_sub(r.operand() as usize));
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            r.push(offset);
            jump_to!(body_settled::<bodies::MLOAD, Block>, r)
        }
        r.push(read_word(r.mem, offset[0] as usize));
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, MSTORE.
    mstore_dup [] (r) {
        let offset = load(r.sp.byte_sub(r.operand() as usize));
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            r.push(offset);
            jump_to!(body_settled::<bodies::MSTORE, Block>, r)
        }
        write_word(r.mem, offset[0] as usize, r.peek(0));
        r.drop(1);
        skip!(r, 1)
    }
}

// Control.

handler! {
    stop [] (r) {
        (*r.vm).set_exit(Exit::Stop);
        leave(r)
    }
}

/// Settles the block that begins at the program counter and goes on behind its first instruction.
macro_rules! begin_block {
    ($r:ident) => {{
        let need = $r.operand();
        let used = $r.stack_bytes();
        let (gas, least, span) = (need & 0xffff_ffff, (need >> 32 & 0xffff) as usize, (need >> 48) as usize);
        // With the moment of the next look at the caller's token on top, one comparison serves both.
        if $r.gas < gas + (*$r.vm).poll_below || used.wrapping_sub(least) > span {
            jump_to!(begin_otherwise, $r)
        }
        $r.gas -= gas;
        skip!($r, 1)
    }};
}

handler! {
    /// The first instruction of a block: code's first byte, or a JUMPDEST.
    begin [] (r) {
        begin_block!(r)
    }
}
/// Looks whether the caller has given up; true where the loop is to be left.
#[cold]
#[inline(never)]
unsafe extern "C" fn given_up(vm: *mut Vm, gas: u64) -> bool {
    // SAFETY: `vm` and its machine are live and nobody else looks at them meanwhile.
    unsafe {
        let evm = &mut *(*vm).evm;
        let result = evm.poll(gas);
        (*vm).poll_below = evm.poll_below;
        result.map_err(|halt| (*vm).set_exit(Exit::Halt(halt))).is_err()
    }
}

handler! {
    /// A block that cannot begin: it is time to look at the caller's token, or gas or stack do not suffice.
    #[cold]
    #[inline(never)]
    begin_otherwise [] (r) {
        let gas = r.operand() & 0xffff_ffff;
        let below = (*r.vm).poll_below;
        if below == 0 || r.gas >= gas + below {
            jump_to!(to_bytes_exact, r)
        }
        // What is left behind the block's own gas, so that the same block begins when it is tried again.
        if given_up(r.vm, r.gas.saturating_sub(gas)) {
            return leave(r);
        }
        let handler = (*r.pc).handler;
        jump_to!(handler, r)
    }
}
handler! {
    jumpdest_bytes [] (r) {
        settle!(Bytes, r, op::JUMPDEST);
        if r.gas < (*r.vm).poll_below && given_up(r.vm, r.gas) {
            return leave(r);
        }
        next!(Bytes, r, op::JUMPDEST)
    }
}

/// Goes to a destination on the stack.
macro_rules! jump_dynamic {
    ($F:ident, $r:ident, $to:expr) => {{
        let to: Limbs = $to;
        if !limbs::is_small(to) {
            jump_to!(halt_invalid_jump, $r)
        }
        if $F::DECODED {
            let decoded = &*(*$r.vm).decoded;
            let Some(target) = decoded.target(to[0] as usize) else { jump_to!(halt_invalid_jump, $r) };
            $r.pc = target;
            begin_block!($r)
        } else {
            if !(*(*$r.vm).source).is_jumpdest(to[0] as usize) {
                jump_to!(halt_invalid_jump, $r)
            }
            $r.pc = (*$r.vm).code.add(to[0] as usize).cast();
            let handler = (*(*$r.vm).table)[usize::from(op::JUMPDEST)];
            jump_to!(handler, $r)
        }
    }};
}

handler! {
    jump [F: Form] (r) {
        settle!(F, r, op::JUMP);
        let to = r.peek(0);
        r.drop(1);
        jump_dynamic!(F, r, to)
    }
}
handler! {
    jumpi [F: Form] (r) {
        settle!(F, r, op::JUMPI);
        let (to, condition) = (r.peek(0), r.peek(1));
        r.drop(2);
        if !limbs::is_zero(condition) {
            if F::DECODED {
                r.gas += r.operand();
            }
            jump_dynamic!(F, r, to)
        }
        next!(F, r, op::JUMPI)
    }
}
handler! {
    /// PUSH, JUMP; the operand is the distance in instructions.
    jump_static [] (r) {
        r.pc = r.pc.offset(r.operand() as isize);
        begin_block!(r)
    }
}

/// Takes a static JUMPI: the operand is the rest of this block's gas, and the distance.
macro_rules! branch {
    ($r:ident, $taken:expr) => {{
        if $taken {
            let operand = $r.operand();
            $r.gas += operand & 0xffff_ffff;
            $r.pc = $r.pc.offset((operand as i64 >> 32) as isize);
            begin_block!($r)
        }
        skip!($r, 1)
    }};
}
handler! {
    /// PUSH, JUMPI.
    branch_if [] (r) {
        let taken = !limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken)
    }
}
handler! {
    /// ISZERO, PUSH, JUMPI.
    branch_unless [] (r) {
        let taken = limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken)
    }
}
handler! {
    /// Comparison, PUSH, JUMPI, with an ISZERO between where `NEGATED`.
    branch_compare [K: Binary, const NEGATED: bool] (r) {
        let truth = K::apply(r.peek(0), r.peek(1))[0] != 0;
        r.drop(2);
        branch!(r, truth != NEGATED)
    }
}
handler! {
    /// DUP1, PUSH4, EQ, PUSH, JUMPI: a function selector's test. The selector stands in the next instruction's operand.
    branch_selector [] (r) {
        let taken = limbs::eq(r.peek(0), limbs::small((*r.pc.add(1)).operand));
        if taken {
            let operand = r.operand();
            r.gas += operand & 0xffff_ffff;
            r.pc = r.pc.offset((operand as i64 >> 32) as isize);
            begin_block!(r)
        }
        skip!(r, 2)
    }
}
handler! {
    pc_bytes [] (r) {
        settle!(Bytes, r, op::PC);
        r.push(limbs::small((r.pc as usize - (*r.vm).code as usize) as u64));
        next!(Bytes, r, op::PC)
    }
}
handler! {
    gas [F: Form] (r) {
        settle!(F, r, op::GAS);
        let left = if F::DECODED { r.gas + r.operand() } else { r.gas };
        r.push(limbs::small(left));
        next!(F, r, op::GAS)
    }
}
