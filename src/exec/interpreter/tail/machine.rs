//! What handlers share: registers, the state of the frame that they run ([`Vm`]), access to stack words,
//! leaving the loop.
//!
//! This module and `handlers` read and write the stack and the memory through pointers. The safe reference
//! implementation of the same instructions is `match_loop`.
//!
//! Contract of every handler: what holds of the registers ([`Regs`]) when it is called, and again when it calls
//! the next handler. `run_form` establishes it after `Evm::assert_frame_fits`.
//! - `vm` points to the running `Vm`; its machine, table and code are live, and nothing else refers to them,
//!   except while a function out of line has been given `vm`.
//! - In byte form `pc` points to a byte of the frame's padded code. In decoded form it points to an instruction of
//!   `vm.decoded`, and `begin_block!` has compared the stack height with what its block needs.
//! - `sp` points into the frame's stack, which has `STACK_LIMIT` words from `vm.stack_base` on, or one past its end.
//! - `mem` points to the frame's memory, and `limit` is its length less 31, or 0.
//!
//! Duties of every handler:
//! - it accesses `n` words below `sp` only after the stack check for `n` (its own, or its block's), and writes
//!   at or above `sp` only after the check for room. So every access lies inside the frame's `STACK_LIMIT` words;
//! - it accesses memory only below `limit + 31`, which is the frame's memory length;
//! - it re-reads memory pointer and limit after anything that may have moved or grown the memory;
//! - it holds no value with a destructor and no local whose address escapes: only then is its last call a jump.
//!
//! What a group of handlers relies on in addition is in the header of its file.
//!
//! Words are always read and written as four 8-byte parts in general registers (volatile, so that the compiler
//! does not merge them): a wider load that spans two earlier stores must wait until they retire, which costs
//! more than the instruction itself.
//! Not here: the handlers themselves (`handlers`) and decoding (`decode`).
//! that spans two earlier stores waits for them to retire, which costs more than the instruction itself.

use super::decode::{Decoded, Instr, Need};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, Exit, STACK_LIMIT};
use crate::exec::interpreter::opcode::Info;
use crate::exec::interpreter::profile::OpcodeProfile;
use alloy_primitives::U256;

/// A handler executes one instruction and tail-calls the next handler. Its arguments are the registers.
///
/// # Safety
/// - The arguments are registers that satisfy the contract in this module's header.
/// - In decoded form, the handler is that of the instruction at `pc`; in byte form, that of the opcode there.
pub(super) type Handler = unsafe extern "C" fn(*const Instr, *mut U256, u64, *mut Vm, *mut u8, usize);

/// A word as limbs, least significant first.
pub(super) type Limbs = [u64; 4];

/// State of the frame that the handlers run, reached through one pointer.
#[derive(Debug)]
pub(super) struct Vm {
    /// The machine. Its lifetime is that of the borrow in `run`.
    pub(super) evm: *mut Evm<'static>,
    /// Handlers by opcode, for the block's fork.
    pub(super) table: *const [Handler; 256],
    /// In a profiled run the handlers that execute instructions; `table` then holds those that record them first.
    pub(super) noted: *const [Handler; 256],
    /// In a profiled run the profile, otherwise null.
    pub(super) profile: *mut OpcodeProfile,
    /// First word of the frame's stack.
    pub(super) stack_base: *mut U256,
    /// The frame's padded code.
    pub(super) code: *const u8,
    /// The decoded code if the frame runs in decoded form, otherwise null.
    pub(super) decoded: *const Decoded,
    /// The frame's analysed code.
    pub(super) source: *const crate::arena::code::Code,
    /// Copy of `Evm::poll_below`.
    pub(super) poll_below: u64,
    /// The frame's calldata. It moves when the memory column is reallocated; [`Regs::reload_memory`] then updates it.
    pub(super) input: *const u8,
    /// Length of the calldata in bytes.
    pub(super) input_len: usize,
    /// Gas left while a body runs out of line, and when the loop is left.
    pub(super) left: u64,
    /// Gas left when the frame last continued in byte form.
    pub(super) bytes_from: u64,
    /// One past the top of the stack, when the loop is left.
    pub(super) sp: *mut U256,
    /// Where execution continues after an inner frame, in the encoding of `Frame::pc`; or the destination of a
    /// dynamic jump.
    pub(super) pc: usize,
    /// How the loop was left: the variant of [`Exit`], then its fields. In parts, because a copy of the enum
    /// would be read with wider loads than it was written and would wait for the stores.
    kind: u64,
    first: usize,
    second: usize,
}

impl Vm {
    /// The state for a frame about to run in byte form.
    pub(super) fn new(
        evm: *mut Evm<'static>,
        table: *const [Handler; 256],
        stack_base: *mut U256,
        source: &crate::arena::code::Code,
    ) -> Self {
        Self {
            evm,
            table,
            noted: table,
            profile: core::ptr::null_mut(),
            stack_base,
            code: source.padded().as_ptr(),
            decoded: core::ptr::null(),
            source,
            poll_below: 0,
            input: core::ptr::null(),
            input_len: 0,
            left: 0,
            bytes_from: 0,
            sp: stack_base,
            pc: 0,
            kind: 0,
            first: 0,
            second: 0,
        }
    }

    /// Records how the loop is left.
    #[inline(always)]
    pub(super) fn set_exit(&mut self, exit: Exit) {
        (self.kind, self.first, self.second) = match exit {
            Exit::Enter => (0, 0, 0),
            Exit::Stop => (1, 0, 0),
            Exit::Return { offset, len } => (2, offset, len),
            Exit::Revert { offset, len } => (3, offset, len),
            Exit::Halt(halt) => (4 + halt as u64, 0, 0),
        };
    }

    /// How the loop was left, from the recorded parts.
    #[inline(always)]
    pub(super) fn exit(&self) -> Exit {
        let (offset, len) = (self.first, self.second);
        match self.kind {
            0 => Exit::Enter,
            1 => Exit::Stop,
            2 => Exit::Return { offset, len },
            3 => Exit::Revert { offset, len },
            halt => Exit::Halt(Halt::ALL[(halt - 4) as usize % Halt::ALL.len()]),
        }
    }
}

/// A handler's arguments as one value.
#[derive(Clone, Copy)]
pub(super) struct Regs {
    pub(super) pc: *const Instr,
    pub(super) sp: *mut U256,
    pub(super) gas: u64,
    pub(super) vm: *mut Vm,
    pub(super) mem: *mut u8,
    /// Offsets below it can be read and written as a whole word.
    pub(super) limit: usize,
}

/// Defines handlers: functions of the common signature whose body has the registers as one value.
///
/// The body is unsafe code. It relies on the contract in this module's header, which the caller of a [`Handler`]
/// guarantees, and on that in the header of the handler's file.
macro_rules! handler {
    ($(#[$attr:meta])* $name:ident [$($generics:tt)*] ($r:ident) $body:block) => {
        $(#[$attr])*
        pub(in crate::exec::interpreter::tail) unsafe extern "C" fn $name<$($generics)*>(
            pc: *const $crate::exec::interpreter::tail::decode::Instr,
            sp: *mut alloy_primitives::U256,
            gas: u64,
            vm: *mut $crate::exec::interpreter::tail::machine::Vm,
            mem: *mut u8,
            limit: usize,
        ) {
            #[allow(unused_mut)]
            let mut $r = $crate::exec::interpreter::tail::machine::Regs { pc, sp, gas, vm, mem, limit };
            // SAFETY: the caller guarantees the registers (see `machine`); the body or its block has checked
            // what the header of its file requires.
            unsafe { $body }
        }
    };
}
pub(super) use handler;

/// Tail-calls another handler with the same registers.
macro_rules! jump_to {
    ($handler:expr, $r:ident) => {
        return $handler($r.pc, $r.sp, $r.gas, $r.vm, $r.mem, $r.limit)
    };
}
pub(super) use jump_to;

/// The form of the code: bytes with every check in each handler, or decoded instructions with checks per block.
pub(super) trait Form {
    /// Whether stack height and static gas were checked at the beginning of the block.
    const DECODED: bool;
}

/// Code as deployed; `pc` points to the opcode byte.
pub(super) struct Bytes;
/// Code as [`Decoded`]; `pc` points to an [`Instr`].
pub(super) struct Block;

impl Form for Bytes {
    const DECODED: bool = false;
}
impl Form for Block {
    const DECODED: bool = true;
}

/// Reads a word of the stack, or a constant after an instruction.
///
/// # Safety
/// - `word` is aligned and can be read.
#[inline(always)]
pub(super) unsafe fn load(word: *const U256) -> Limbs {
    let limbs = word.cast::<u64>();
    // SAFETY: as the caller guarantees.
    unsafe {
        [
            limbs.read_volatile(),
            limbs.add(1).read_volatile(),
            limbs.add(2).read_volatile(),
            limbs.add(3).read_volatile(),
        ]
    }
}

/// Writes a word of the stack.
///
/// # Safety
/// - `word` is aligned and can be written.
#[inline(always)]
pub(super) unsafe fn store(word: *mut U256, value: Limbs) {
    let limbs = word.cast::<u64>();
    // SAFETY: as the caller guarantees.
    unsafe {
        limbs.write_volatile(value[0]);
        limbs.add(1).write_volatile(value[1]);
        limbs.add(2).write_volatile(value[2]);
        limbs.add(3).write_volatile(value[3]);
    }
}

impl Regs {
    /// The word `depth` below the top; the top is word 0.
    ///
    /// # Safety
    /// - `self` are a handler's registers, and more than `depth` words are on the stack.
    #[inline(always)]
    pub(super) unsafe fn peek(&self, depth: usize) -> Limbs {
        // SAFETY: the caller checked that the stack is more than `depth` words high.
        unsafe { load(self.sp.sub(depth + 1)) }
    }

    /// Overwrites the word `depth` below the top.
    ///
    /// # Safety
    /// - `self` are a handler's registers, and more than `depth` words are on the stack.
    #[inline(always)]
    pub(super) unsafe fn poke(&self, depth: usize, value: Limbs) {
        // SAFETY: as in `peek`.
        unsafe { store(self.sp.sub(depth + 1), value) }
    }

    /// Pushes a word.
    ///
    /// # Safety
    /// - `self` are a handler's registers, and the stack has room for a word.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, value: Limbs) {
        // SAFETY: the caller checked that there is room.
        unsafe {
            store(self.sp, value);
            self.sp = self.sp.add(1);
        }
    }

    /// Drops `count` words from the top.
    ///
    /// # Safety
    /// - `self` are a handler's registers, and `count` words are on the stack.
    #[inline(always)]
    pub(super) unsafe fn drop(&mut self, count: usize) {
        // SAFETY: the caller checked that `count` words are on the stack.
        self.sp = unsafe { self.sp.sub(count) };
    }

    /// Bytes of the frame's stack in use.
    ///
    /// # Safety
    /// - `self` are a handler's registers.
    #[inline(always)]
    pub(super) unsafe fn stack_bytes(&self) -> usize {
        // SAFETY: `vm` is live while handlers run.
        (self.sp as usize).wrapping_sub(unsafe { (*self.vm).stack_base } as usize)
    }

    /// Re-reads memory pointer and limit.
    ///
    /// # Safety
    /// - `self` are a handler's registers, except for `mem` and `limit`, and nothing else refers to the machine.
    #[inline(always)]
    pub(super) unsafe fn reload_memory(&mut self) {
        // SAFETY: `vm` and its machine are live, and no other reference to them is.
        let evm = unsafe { &mut *(*self.vm).evm };
        (self.mem, self.limit) = memory_of(evm);
        // SAFETY: as above.
        unsafe { ((*self.vm).input, (*self.vm).input_len) = input_of(evm) };
    }

    /// The requirements of the block that begins at the program counter.
    ///
    /// # Safety
    /// - `self` are a handler's registers in decoded form, and `pc` is at the first instruction of a block.
    #[inline(always)]
    pub(super) unsafe fn need(&self) -> *const Need {
        // SAFETY: in decoded form `pc` points into the instructions, here to a block's first.
        unsafe { (&raw const (*self.pc).operand).cast() }
    }

    /// The operand of the instruction at the program counter.
    ///
    /// # Safety
    /// - `self` are a handler's registers in decoded form.
    #[inline(always)]
    pub(super) unsafe fn operand(&self) -> u64 {
        // SAFETY: in decoded form `pc` points into the instructions.
        unsafe { (*self.pc).operand }
    }

    /// The prepaid gas of the instructions after this one in its block, if its operand holds it (in the lower half).
    ///
    /// # Safety
    /// - `self` are a handler's registers in decoded form.
    #[inline(always)]
    pub(super) unsafe fn rest(&self) -> u64 {
        // SAFETY: as in `operand`.
        unsafe { self.operand() & 0xffff_ffff }
    }

    /// The constant after an instruction that has one; it takes the place of two instructions.
    ///
    /// # Safety
    /// - `self` are a handler's registers in decoded form, and `pc` is at an instruction that was emitted with a word.
    #[inline(always)]
    pub(super) unsafe fn wide(&self) -> Limbs {
        // SAFETY: in decoded form `pc` points into the instructions, here to one that two with limbs follow.
        unsafe { load(self.pc.add(1).cast()) }
    }
}

/// Pointer to the running frame's memory, and one more than the last offset at which a whole word can be accessed.
#[inline(always)]
pub(super) fn memory_of(evm: &mut Evm<'_>) -> (*mut u8, usize) {
    let frame = evm.frame();
    let (base, len) = (frame.memory_base, frame.memory_len);
    // The frame's memory begins inside the column, or it is empty and never accessed.
    let pointer = evm.memory.as_mut_ptr().wrapping_add(base);
    (pointer, len.saturating_sub(31))
}

/// Pointer to the running frame's calldata, and its length.
#[inline(always)]
pub(super) fn input_of(evm: &Evm<'_>) -> (*const u8, usize) {
    let input = evm.input(evm.frames[evm.frames.len() - 1].input);
    (input.as_ptr(), input.len())
}

/// Continues with the next instruction: one further in decoded form, past the opcode and its immediate in byte form.
macro_rules! next {
    ($F:ident, $r:ident, $op:expr) => {{
        if $F::DECODED {
            $r.pc = $r.pc.add(1);
            let handler = (*$r.pc).head.handler;
            jump_to!(handler, $r)
        } else {
            let size = const { 1 + $crate::exec::interpreter::opcode::TABLE_CONST[$op as usize].immediate as usize };
            $r.pc = $r.pc.byte_add(size);
            let handler = (*(*$r.vm).table)[usize::from(*$r.pc.cast::<u8>())];
            jump_to!(handler, $r)
        }
    }};
}
pub(super) use next;

/// Continues `$n` instructions further, in decoded form.
macro_rules! skip {
    ($r:ident, $n:literal) => {{
        $r.pc = $r.pc.add($n);
        let handler = (*$r.pc).head.handler;
        jump_to!(handler, $r)
    }};
}
pub(super) use skip;

/// The checks before a body in byte form: stack height, room on the stack, static gas, which is charged.
macro_rules! settle {
    ($F:ident, $r:ident, $op:expr) => {
        if !$F::DECODED {
            let info = const { $crate::exec::interpreter::opcode::TABLE_CONST[$op as usize] };
            if let Some(halt) = $crate::exec::interpreter::tail::machine::unsettled(&$r, info) {
                match halt {
                    $crate::exec::evm::halt::Halt::OutOfGas => jump_to!(halt_out_of_gas, $r),
                    $crate::exec::evm::halt::Halt::StackUnderflow => jump_to!(halt_underflow, $r),
                    _ => jump_to!(halt_overflow, $r),
                }
            }
            $r.gas -= info.gas as u64;
        }
    };
}
pub(super) use settle;

/// The halt for the first check that fails, if one does.
///
/// # Safety
/// - `r` are a handler's registers.
#[inline(always)]
pub(super) unsafe fn unsettled(r: &Regs, info: Info) -> Option<Halt> {
    // SAFETY: `vm` is live.
    let used = unsafe { r.stack_bytes() };
    let (inputs, outputs) = (info.inputs as usize, info.outputs as usize);
    if inputs > 0 && used < inputs * 32 {
        return Some(Halt::StackUnderflow);
    }
    if outputs > inputs && used > (STACK_LIMIT - (outputs - inputs)) * 32 {
        return Some(Halt::StackOverflow);
    }
    if r.gas < info.gas as u64 { Some(Halt::OutOfGas) } else { None }
}

/// Leaves the loop; the caller has recorded the exit.
///
/// # Safety
/// - `r.vm` is live.
#[inline(always)]
pub(super) unsafe fn leave(r: Regs) {
    // SAFETY: `vm` is live.
    unsafe {
        (*r.vm).left = r.gas;
        (*r.vm).sp = r.sp;
    }
}

macro_rules! halts {
    ($($name:ident $halt:ident)*) => {$(
        handler! {
            #[cold]
            #[inline(never)]
            $name [] (r) {
                (*r.vm).set_exit(Exit::Halt(Halt::$halt));
                leave(r)
            }
        }
    )*};
}
halts! {
    halt_out_of_gas OutOfGas
    halt_underflow StackUnderflow
    halt_overflow StackOverflow
    halt_invalid_jump InvalidJump
    halt_invalid_opcode InvalidOpcode
}

/// Continues in byte form at byte `$at`. `gas` must be exact: nothing of it is prepaid.
macro_rules! enter_bytes {
    ($r:ident, $at:expr) => {{
        $r.pc = (*$r.vm).code.add($at).cast();
        (*$r.vm).decoded = core::ptr::null();
        (*$r.vm).bytes_from = $r.gas;
        let handler = (*(*$r.vm).table)[usize::from(*$r.pc.cast::<u8>())];
        jump_to!(handler, $r)
    }};
}
pub(super) use enter_bytes;

handler! {
    /// Continues in byte form at the same instruction. `gas` is exact: nothing of it is prepaid.
    #[cold]
    #[inline(never)]
    to_bytes_exact [] (r) {
        let at = (*(*r.vm).decoded).place(r.pc).pc as usize;
        enter_bytes!(r, at)
    }
}

/// Checks and charges the block that begins at the program counter, and continues after its first instruction.
/// After a jump back, which every loop contains, `$below` is the gas below which the cancel token is polled. It
/// is added to the block's gas, so that one comparison serves both checks. After a jump forward it is 0.
macro_rules! begin_block {
    ($r:ident, $below:expr) => {{
        let below: u64 = $below;
        let need = $r.need();
        if $r.gas < u64::from((*need).gas) + below
            || $r.stack_bytes().wrapping_sub(usize::from((*need).least)) > usize::from((*need).span)
        {
            if below != 0 {
                jump_to!($crate::exec::interpreter::tail::handlers::begin_unless_cancelled, $r)
            }
            jump_to!(to_bytes_exact, $r)
        }
        $r.gas -= u64::from((*need).gas);
        skip!($r, 1)
    }};
}
pub(super) use begin_block;

/// Jumps to a static target. The distance is the upper half of the operand, negative for a jump back.
macro_rules! jump_far {
    ($r:ident, $operand:expr) => {{
        let distance: isize = ($operand as i64 >> 32) as isize;
        jump_by!($r, distance)
    }};
}
pub(super) use jump_far;

/// Jumps `$distance` instructions further. One handler serves both directions, so that dispatch has one target
/// for both.
macro_rules! jump_by {
    ($r:ident, $distance:expr) => {{
        let distance: isize = $distance;
        $r.pc = $r.pc.offset(distance);
        // All ones for a jump back, otherwise zero.
        let back = (distance >> 63) as u64;
        begin_block!($r, (*$r.vm).poll_below & back)
    }};
}
pub(super) use jump_by;

/// A static JUMPI that takes the place of `$size` instructions. The lower half of its operand is the prepaid
/// gas of the rest of the block, which a taken jump returns; the upper half is the distance.
macro_rules! branch {
    ($r:ident, $taken:expr, $size:literal) => {{
        if $taken {
            let operand = $r.operand();
            $r.gas += operand & 0xffff_ffff;
            jump_far!($r, operand)
        }
        skip!($r, $size)
    }};
}
pub(super) use branch;
