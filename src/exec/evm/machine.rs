//! The machine of one worker: state, frames, memory and stack, shared by all frames and re-used by all tasks.
//!
//! Both kinds of dispatch loop run on it: our own (`interpreter`) and the reference loop. A loop runs the top frame until
//! it ends or enters another frame; [`Evm::finish_frame`] ends a frame the same way for all loops.
//! Not here: what instructions do (`host`), calls and creations (`call`), transactions (`tx`).

use super::gas::{FrameGas, TxGas, words};
use super::halt::{Fault, Halt};
use super::lookup_cache::KeccakCache;
use super::modular::KeptModulus;
use super::precompile::profile::PrecompileProfile;
use super::state::{Checkpoint, TxState};
use crate::arena::AccountId;
use crate::arena::cancel::{CancelToken, POLL_GAS};
use crate::arena::code::{Code, EMPTY_CODE};
use crate::arena::keccak::keccak256;
use crate::exec::rules::fork::{ChainRules, Fork, ForkRules};
use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;

/// Most words on one frame's stack.
pub const STACK_LIMIT: usize = 1024;
/// Deepest frame, counted from 0.
pub const DEPTH_LIMIT: usize = 1024;

/// What instructions see of the block.
#[derive(Clone, Debug, Default)]
pub struct BlockEnv {
    /// EIP-155.
    pub chain_id: u64,
    /// Height.
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
    /// Fee recipient.
    pub coinbase: Address,
    /// Gas limit.
    pub gas_limit: u64,
    /// Wei per gas; 0 before London.
    pub base_fee: u64,
    /// DIFFICULTY before the merge, PREVRANDAO after.
    pub difficulty: U256,
    /// Wei per blob gas (EIP-4844).
    pub blob_base_fee: U256,
    /// EIP-7843.
    pub slot_number: u64,
}

/// What instructions see of the transaction.
#[derive(Clone, Debug, Default)]
pub struct TxEnv<'b> {
    /// ORIGIN.
    pub origin: Address,
    /// GASPRICE: the effective price, wei.
    pub gas_price: U256,
    /// BLOBHASH.
    pub blob_hashes: &'b [B256],
    /// Calldata or init code of the first frame.
    pub input: &'b [u8],
}

/// Where a frame's calldata lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The transaction's own input.
    Tx,
    /// A range of the shared memory: `start` (absolute) and length. It belongs to a frame below and does not move,
    /// but the memory as a whole may be reallocated.
    Memory {
        /// Absolute offset in the memory of all frames.
        start: usize,
        /// Bytes.
        len: usize,
    },
}

/// A frame's code: the arena's, or init code that lives as long as its frame.
#[derive(Clone, Debug)]
pub enum CodeRef<'b> {
    /// Deployed code.
    Arena(&'b Code),
    /// Init code.
    Init(Arc<Code>),
}

impl core::ops::Deref for CodeRef<'_> {
    type Target = Code;
    #[inline]
    fn deref(&self) -> &Code {
        match self {
            Self::Arena(code) => code,
            Self::Init(code) => code,
        }
    }
}

/// Why a frame was entered, and what its caller wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A message call; its output goes to `ret_len` bytes at `ret_offset` of the caller's memory.
    Call {
        /// Offset within the caller's memory.
        ret_offset: usize,
        /// Bytes wanted.
        ret_len: usize,
    },
    /// A creation; the new contract is the frame's target.
    Create,
}

/// One call or creation in progress. Only [`Evm::enter_call`] and [`Evm::enter_create`] make one.
///
/// The tail-call loop relies on where its stack and memory lie: see `Evm::assert_frame_fits`.
#[derive(Clone, Debug)]
pub struct Frame<'b> {
    /// What runs.
    pub(in crate::exec) code: CodeRef<'b>,
    /// Why.
    pub(in crate::exec) kind: FrameKind,
    /// ADDRESS: whose storage it is.
    pub(in crate::exec) target: AccountId,
    /// ADDRESS.
    pub(in crate::exec) address: Address,
    /// CALLER.
    pub(in crate::exec) caller: Address,
    /// CALLVALUE.
    pub(in crate::exec) value: U256,
    /// Calldata.
    pub(in crate::exec) input: Input,
    /// Whether state changes are forbidden (EIP-214).
    pub(in crate::exec) is_static: bool,
    /// Whether the caller was charged a new account's state gas for this frame: it gets it back if the frame fails.
    pub(in crate::exec) charged_new_account: bool,
    /// Gas.
    pub(in crate::exec) gas: FrameGas,
    /// Where to go on after an inner frame; loop-private.
    pub(in crate::exec) pc: usize,
    /// First word of this frame's stack in `Evm::stack`.
    pub(in crate::exec) stack_base: usize,
    /// Words on the stack, kept here while an inner frame runs.
    pub(in crate::exec) stack_len: usize,
    /// First byte of this frame's memory in `Evm::memory`.
    pub(in crate::exec) memory_base: usize,
    /// Bytes of memory, a multiple of 32, kept here while an inner frame runs.
    pub(in crate::exec) memory_len: usize,
    /// What a failure goes back to.
    pub(in crate::exec) checkpoint: Checkpoint,
}

/// How a loop left the top frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Another frame was pushed; run that one first. The loop stored pc, stack and gas in its frame.
    Enter,
    /// Ended without output.
    Stop,
    /// Ended with output: a range of the frame's own memory.
    Return {
        /// Offset within the frame's memory.
        offset: usize,
        /// Bytes; the memory is already large enough.
        len: usize,
    },
    /// Undone, with output; gas left goes back.
    Revert {
        /// Offset within the frame's memory.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// Undone, all gas gone.
    Halt(Halt),
}

/// Success, revert or halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Changes stand.
    Success,
    /// Changes undone, gas left returned.
    Revert,
    /// Changes undone, gas gone.
    Halt(Halt),
}

/// An ended frame, as its caller sees it. The output lies in [`Evm::return_data()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEnd {
    /// How it ended.
    pub status: Status,
    /// Execution gas that goes back to the caller.
    pub left: u64,
    /// State gas drawn from `left` that now counts as the caller's (EIP-8037); 0 unless it succeeded.
    pub spilled: u64,
    /// Whether a charge for a new account must be returned to the caller.
    pub refill_new_account: bool,
    /// The contract created, if a creation succeeded.
    pub created: Option<Address>,
}

impl FrameEnd {
    /// The word that the instruction pushes: 1 or the created address on success, else 0.
    pub fn word(&self) -> U256 {
        match (self.status, self.created) {
            (Status::Success, Some(address)) => U256::from_be_slice(address.as_slice()),
            (Status::Success, None) => U256::ONE,
            _ => U256::ZERO,
        }
    }
}

/// The machine of one worker.
///
/// The public fields hold what a transaction works on; no memory safety depends on them. Frames, memory and stack are
/// private, because the tail-call loop accesses memory and stack through pointers: see `Evm::assert_frame_fits`.
#[derive(Debug)]
pub struct Evm<'b> {
    /// Constants of the fork.
    pub(in crate::exec) rules: &'static ForkRules,
    /// The chain's configuration for this block.
    pub(in crate::exec) chain: &'b ChainRules,
    /// The block.
    pub(in crate::exec) block: &'b BlockEnv,
    /// The transaction.
    pub tx: TxEnv<'b>,
    /// State as this worker's transaction sees it.
    pub state: TxState<'b>,
    /// Gas that all frames of the transaction share.
    pub gas: TxGas,
    /// Frames, the running one last.
    pub(in crate::exec) frames: Vec<Frame<'b>>,
    /// Memory of all frames, end to end.
    pub(in crate::exec) memory: Vec<u8>,
    /// Stacks of all frames, each with room for a full one; grows with the depth reached.
    pub(in crate::exec) stack: Vec<U256>,
    /// Output of the last ended inner frame.
    pub(in crate::exec) return_data: Vec<u8>,
    /// Init codes of ended frames: memory for the next ones.
    init_codes: Vec<Arc<Code>>,
    /// Hashes of mapping keys.
    pub(in crate::exec) hashes: Box<KeccakCache>,
    /// The modulus of the last MULMOD.
    #[cfg_attr(not(all(tail_calls, not(debug_assertions))), expect(dead_code, reason = "for the tail-call loop"))]
    pub(in crate::exec) modulus: KeptModulus,
    /// Who may stop this block.
    pub cancel: Option<&'b CancelToken>,
    /// Gas of the running frame below which its loop calls [`Self::poll`] at the next JUMPDEST; 0: never.
    pub(in crate::exec) poll_below: u64,
    /// Counts and times precompiles; nothing where the block is not profiled.
    pub(in crate::exec) precompiles: Option<Box<PrecompileProfile>>,
}

/// Memory of an [`Evm`] that outlives the block.
#[derive(Debug, Default)]
pub struct EvmScratch {
    memory: Vec<u8>,
    frames: Vec<Frame<'static>>,
    stack: Vec<U256>,
    return_data: Vec<u8>,
    hashes: Box<KeccakCache>,
    init_codes: Vec<Arc<Code>>,
    /// Counts and times the precompiles of all that runs on this memory; nothing where they are not profiled.
    pub(in crate::exec) precompiles: Option<Box<PrecompileProfile>>,
}

impl EvmScratch {
    /// Forgets the remembered hashes: the next block computes all of its own (benches).
    pub fn forget_hashes(&mut self) {
        self.hashes.clear();
    }
}

/// Memory that a worker keeps between blocks, bytes; a block that needed more gives the rest back.
const MEMORY_KEPT: usize = 4 << 20;
/// Init codes whose memory a worker keeps, and the most bytes that each may hold.
const INIT_CODES_KEPT: usize = 32;
const INIT_CODE_KEPT: usize = 256 << 10;

/// The memory of a frame column without its frames, for frames of another lifetime.
#[expect(clippy::unnecessary_filter_map, reason = "a filter would keep the lifetime")]
fn emptied<'to>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'to>> {
    frames.clear();
    // Collected in place: nothing is allocated.
    frames.into_iter().filter_map(|_| None).collect()
}

impl<'b> Evm<'b> {
    /// A machine over `state`.
    pub fn new(scratch: EvmScratch, chain: &'b ChainRules, block: &'b BlockEnv, state: TxState<'b>) -> Self {
        let EvmScratch { memory, frames, stack, return_data, hashes, init_codes, precompiles } = scratch;
        Self {
            rules: chain.fork_rules(),
            chain,
            block,
            tx: TxEnv::default(),
            state,
            gas: TxGas::default(),
            frames: emptied(frames),
            memory,
            stack,
            return_data,
            init_codes,
            hashes,
            modulus: KeptModulus::default(),
            cancel: None,
            poll_below: 0,
            precompiles,
        }
    }

    /// Output of the last ended inner frame; after the outermost frame its own.
    #[inline]
    pub fn return_data(&self) -> &[u8] {
        &self.return_data
    }

    /// The block's fork.
    #[inline]
    pub fn fork(&self) -> Fork {
        self.rules.fork
    }

    /// Frames in progress: 0 outside a transaction, 1 in its first frame.
    #[inline]
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Checks that no instruction of the top frame has run: what runs frames leaves none behind that has, unless a panic
    /// interrupted it. Such a frame must not go on, because the result of the frame that it entered is missing.
    ///
    /// # Panics
    /// Where it is not so, and outside a frame.
    pub(in crate::exec) fn assert_frame_is_new(&self) {
        let frame = &self.frames[self.frames.len() - 1];
        assert!(frame.pc == 0 && frame.stack_len == 0, "the top frame has not run yet");
    }

    /// Checks what the pointers of the tail-call loop rely on, for the running frame:
    /// - its stack, a full one, lies inside the stack column, and no more than that is in use;
    /// - its memory lies inside the memory column.
    ///
    /// The methods of this crate that change a frame, the stack or the memory keep it so; a loop that was left by a panic
    /// may not have.
    ///
    /// # Panics
    /// Where it is not so, and outside a frame.
    #[cfg_attr(not(all(tail_calls, not(debug_assertions))), allow(dead_code, reason = "for the tail-call loop"))]
    #[inline(always)]
    pub(in crate::exec) fn assert_frame_fits(&self) {
        let frame = &self.frames[self.frames.len() - 1];
        let fits = |base: usize, len: usize, column: usize| base <= column && len <= column - base;
        let stack_fits = frame.stack_len <= STACK_LIMIT && fits(frame.stack_base, STACK_LIMIT, self.stack.len());
        let memory_fits = fits(frame.memory_base, frame.memory_len, self.memory.len());
        assert!(stack_fits && memory_fits, "a frame lies inside the columns");
    }

    /// Gives the memory back for the next block.
    pub fn into_scratch(mut self) -> (EvmScratch, super::state::StateScratch) {
        self.memory.clear();
        self.memory.shrink_to(MEMORY_KEPT);
        self.frames.clear();
        let Self { memory, frames, stack, return_data, hashes, init_codes, precompiles, state, .. } = self;
        let frames = emptied(frames);
        let scratch = EvmScratch { memory, frames, stack, return_data, hashes, init_codes, precompiles };
        (scratch, state.into_scratch())
    }

    /// Stops execution where the caller has given up.
    #[inline(always)]
    pub(in crate::exec) fn check_cancelled(&mut self) -> Result<(), Halt> {
        match self.cancel {
            Some(token) if token.is_cancelled() => Err(self.state.fail(Fault::Cancelled)),
            _ => Ok(()),
        }
    }

    /// Arms the loop's looks at the token for a frame with this gas.
    #[inline(always)]
    pub(in crate::exec) fn arm_poll(&mut self, left: u64) {
        self.poll_below = match self.cancel {
            Some(_) => left.saturating_sub(POLL_GAS),
            None => 0,
        };
    }

    /// Looks at the token, where a loop has no frame to enter, and arms the next look.
    #[cold]
    #[inline(never)]
    pub(in crate::exec) fn poll(&mut self, left: u64) -> Result<(), Halt> {
        self.arm_poll(left);
        self.check_cancelled()
    }

    /// Whether the block's fork is `fork` or later.
    #[inline(always)]
    pub(in crate::exec) fn since(&self, fork: Fork) -> bool {
        self.rules.fork >= fork
    }

    /// The running frame.
    ///
    /// # Panics
    /// Outside a frame: a loop is only ever started on one.
    #[inline(always)]
    pub(in crate::exec) fn frame(&mut self) -> &mut Frame<'b> {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// Calldata of a frame.
    #[inline]
    pub(in crate::exec) fn input(&self, input: Input) -> &[u8] {
        match input {
            Input::Tx => self.tx.input,
            Input::Memory { start, len } => &self.memory[start..start + len],
        }
    }

    /// Makes the running frame's memory at least `len` bytes long (a multiple of 32); new bytes are zero.
    /// The gas is the caller's matter.
    #[inline]
    pub(in crate::exec) fn grow_memory(&mut self, len: usize) {
        let last = self.frames.len() - 1;
        let frame = &mut self.frames[last];
        let (base, old) = (frame.memory_base, frame.memory_len);
        if len > old {
            let end = base + len;
            if self.memory.len() < end {
                // Doubling, so that growing word by word stays linear.
                self.memory.resize(end.max(self.memory.len() * 2).max(4096), 0);
            }
            // An inner frame that is gone may have written here.
            let new = &mut self.memory[base + old..end];
            match new.first_chunk_mut::<32>() {
                // Word by word is how most memory grows.
                Some(word) if len - old == 32 => *word = [0; 32],
                _ => new.fill(0),
            }
            // Last: no panic on the way leaves a frame that claims more memory than there is.
            frame.memory_len = len;
        }
    }

    /// Charges for memory up to `offset + len` and grows it. `left` is the frame's gas.
    /// Returns the offset and length as indices; a zero length touches nothing and gives offset 0.
    #[inline(always)]
    pub(in crate::exec) fn expand(&mut self, left: &mut u64, offset: U256, len: U256) -> Result<(usize, usize), Halt> {
        let ([offset, o1, o2, o3], [len, l1, l2, l3]) = (offset.into_limbs(), len.into_limbs());
        let saturate = |low: u64, high: u64| if high == 0 { low } else { u64::MAX };
        self.expand_range(left, saturate(offset, o1 | o2 | o3), saturate(len, l1 | l2 | l3))
    }

    /// [`Self::expand`] for an offset and length that were saturated.
    #[inline(always)]
    pub(in crate::exec) fn expand_range(
        &mut self,
        left: &mut u64,
        offset: u64,
        len: u64,
    ) -> Result<(usize, usize), Halt> {
        if len == 0 {
            return Ok((0, 0));
        }
        // Beyond 2^32 bytes the gas exceeds 2^45: no transaction can pay.
        if (offset | len) >> 32 != 0 {
            return Err(Halt::OutOfGas);
        }
        self.expand_to(left, offset + len)?;
        Ok((offset as usize, len as usize))
    }

    /// Charges for memory up to `end` bytes and grows it.
    #[inline(always)]
    pub(in crate::exec) fn expand_to(&mut self, left: &mut u64, end: u64) -> Result<(), Halt> {
        let old = self.frame().memory_len as u64;
        if end > old {
            let new_words = words(end);
            let cost = super::gas::memory_gas(new_words) - super::gas::memory_gas(old / 32);
            *left = left.checked_sub(cost).ok_or(Halt::OutOfGas)?;
            self.grow_memory(new_words as usize * 32);
        }
        Ok(())
    }

    /// Ends the running frame: output to `Self::return_data` and to the caller's memory, changes kept or undone,
    /// a created contract deployed. The caller's gas is settled by [`Self::settle_child`].
    pub(in crate::exec) fn finish_frame(&mut self, exit: Exit) -> FrameEnd {
        let last = self.frames.len() - 1;
        let frame = &self.frames[last];
        let (kind, memory_base, checkpoint, charged) =
            (frame.kind, frame.memory_base, frame.checkpoint, frame.charged_new_account);
        let mut gas = frame.gas;
        let (mut status, offset, len) = match exit {
            Exit::Enter | Exit::Stop => (Status::Success, 0, 0),
            Exit::Return { offset, len } => (Status::Success, offset, len),
            Exit::Revert { offset, len } => (Status::Revert, offset, len),
            Exit::Halt(halt) => (Status::Halt(halt), 0, 0),
        };
        let start = memory_base + offset;
        self.return_data.clear();
        if len > 0 {
            self.return_data.extend_from_slice(&self.memory[start..start + len]);
        }
        let mut created = None;
        if kind == FrameKind::Create && status == Status::Success {
            let (target, address) = (self.frames[last].target, self.frames[last].address);
            match self.deploy(target, &mut gas) {
                Ok(()) => created = Some(address),
                Err(halt) => status = Status::Halt(halt),
            }
            self.return_data.clear();
        }
        if status != Status::Success {
            self.state.revert(checkpoint);
            self.gas = gas.at_entry;
            gas.left += gas.spilled;
            gas.spilled = 0;
            if matches!(status, Status::Halt(_)) {
                gas.left = 0;
                self.return_data.clear();
            }
        }
        if kind == FrameKind::Create {
            self.keep_init_code();
        }
        // In place: a frame is some 300 bytes.
        self.frames.truncate(last);
        if let FrameKind::Call { ret_offset, ret_len } = kind
            && let Some(caller) = self.frames.last()
        {
            let len = ret_len.min(self.return_data.len());
            let start = caller.memory_base + ret_offset;
            self.memory[start..start + len].copy_from_slice(&self.return_data[..len]);
        }
        FrameEnd {
            status,
            left: gas.left,
            spilled: gas.spilled,
            refill_new_account: status != Status::Success && charged,
            created,
        }
    }

    /// Ends the running frame, a creation, but for what its caller sees, and keeps its code's memory.
    fn keep_init_code(&mut self) {
        if let Some(Frame { code: CodeRef::Init(code), .. }) = self.frames.pop()
            && self.init_codes.len() < INIT_CODES_KEPT
            && code.room() <= INIT_CODE_KEPT
        {
            self.init_codes.push(code);
        }
    }

    /// Init code that lies in the memory column; copied to where that of an ended frame was, if there is one.
    pub(in crate::exec) fn init_code_at(&mut self, range: core::ops::Range<usize>) -> Arc<Code> {
        let spare = self.init_codes.pop();
        refilled(spare, &self.memory[range])
    }

    /// `Self::init_code_at` for bytes that lie elsewhere.
    pub fn init_code_of(&mut self, bytes: &[u8]) -> Arc<Code> {
        refilled(self.init_codes.pop(), bytes)
    }

    /// Gives an ended frame's gas to its caller (EIP-150, EIP-8037).
    #[inline]
    pub(in crate::exec) fn settle_child(&mut self, end: &FrameEnd, left: &mut u64, spilled: &mut u64) {
        *left += end.left;
        *spilled += end.spilled;
        if end.status == Status::Success {
            self.gas.repay(left, spilled);
        }
        if end.refill_new_account {
            self.gas.refill(left, spilled, self.rules.state_new_account);
        }
    }

    /// Stores the code that a creation returned (in `Self::return_data`).
    fn deploy(&mut self, target: AccountId, gas: &mut FrameGas) -> Result<(), Halt> {
        let len = self.return_data.len();
        if len > self.rules.code_size_max {
            return Err(Halt::CodeTooLarge);
        }
        if self.since(Fork::London) && self.return_data.first() == Some(&0xef) {
            return Err(Halt::InvalidCodePrefix);
        }
        let bytes = len as u64;
        let execution =
            if self.since(Fork::Amsterdam) { 6 * words(bytes) } else { self.rules.code_deposit_byte * bytes };
        match gas.left.checked_sub(execution) {
            Some(left) => gas.left = left,
            // Frontier: a contract that cannot pay for its code is created without any.
            None if !self.since(Fork::Homestead) => {
                return Ok(());
            }
            None => return Err(Halt::OutOfGas),
        }
        let state = self.rules.state_code_byte * bytes;
        if !self.gas.charge_state(&mut gas.left, &mut gas.spilled, state) {
            return Err(Halt::OutOfGas);
        }
        let code = if len == 0 {
            EMPTY_CODE
        } else {
            self.state.codes.insert(keccak256(&self.return_data), &self.return_data)
        };
        if code != EMPTY_CODE {
            self.state.set_code(target, code);
        }
        Ok(())
    }
}

fn refilled(spare: Option<Arc<Code>>, bytes: &[u8]) -> Arc<Code> {
    if let Some(mut spare) = spare
        && let Some(code) = Arc::get_mut(&mut spare)
    {
        code.refill_init(bytes);
        return spare;
    }
    Arc::new(Code::init(bytes))
}

/// The tail-call loop trusts frames, stack and memory: code outside the crate reads what it needs through methods,
///
/// ```
/// use balustrade::exec::evm::machine::Evm;
/// fn read<'e>(evm: &'e Evm<'_>) -> (usize, &'e [u8]) {
///     (evm.depth(), evm.return_data())
/// }
/// ```
///
/// and cannot change them:
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Evm;
/// fn shorten_the_stack(evm: &mut Evm<'_>) {
///     evm.stack.truncate(1);
/// }
/// ```
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Evm;
/// fn shorten_the_memory(evm: &mut Evm<'_>) {
///     evm.memory.clear();
/// }
/// ```
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Evm;
/// fn remove_a_frame(evm: &mut Evm<'_>) {
///     evm.frames.pop();
/// }
/// ```
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Frame;
/// fn move_the_stack(frame: &mut Frame<'_>) {
///     frame.stack_base = usize::MAX;
/// }
/// ```
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Frame;
/// fn lengthen_the_stack(frame: &mut Frame<'_>) {
///     frame.stack_len = 2_000;
/// }
/// ```
///
/// ```compile_fail,E0616
/// use balustrade::exec::evm::machine::Frame;
/// fn lengthen_the_memory(frame: &mut Frame<'_>) {
///     frame.memory_len = 1 << 40;
/// }
/// ```
///
/// Growing the memory is the loops' affair, and so is a loop's own entry:
///
/// ```compile_fail,E0624
/// use balustrade::exec::evm::machine::Evm;
/// fn grow(evm: &mut Evm<'_>) {
///     evm.grow_memory(usize::MAX);
/// }
/// ```
///
/// ```compile_fail
/// use balustrade::exec::evm::machine::Evm;
/// fn run(evm: &mut Evm<'_>) {
///     balustrade::exec::interpreter::tail::run(evm);
/// }
/// ```
///
/// ```compile_fail,E0603
/// use balustrade::exec::evm::machine::{Evm, Exit};
/// fn end_with_another_word(evm: &mut Evm<'_>) {
///     balustrade::exec::interpreter::drive(evm, |_| Exit::Enter);
/// }
/// ```
#[cfg(doctest)]
mod the_machine_is_private {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::CodeId;
    use crate::arena::code::CodeArena;
    use crate::exec::evm::call::{CallKind, CallRequest, Entered};
    use crate::exec::evm::state::{Base, BaseAccount, StateScratch};

    /// Every account has the same code.
    struct OneCode(CodeId);

    impl Base for OneCode {
        fn account(&mut self, _: AccountId, _: &Address) -> Result<BaseAccount, Fault> {
            Ok(BaseAccount { exists: true, nonce: 1, code: self.0, ..BaseAccount::default() })
        }
        fn slot(&mut self, _: crate::arena::SlotId, _: AccountId, _: &Address, _: &U256) -> Result<U256, Fault> {
            Ok(U256::ZERO)
        }
        fn code(&mut self, _: CodeId, _: &CodeArena) -> Result<(), Fault> {
            Ok(())
        }
        fn block_hash(&mut self, _: u64) -> Result<B256, Fault> {
            Ok(B256::ZERO)
        }
    }

    /// Hands `work` a machine in its first frame.
    fn in_a_frame(work: impl FnOnce(&mut Evm<'_>)) {
        let codes = CodeArena::default();
        let code = codes.insert_hashing([0x5b, 0x00]);
        let (chain, block) = (ChainRules::mainnet(Fork::Osaka), BlockEnv::default());
        let state = TxState::new(StateScratch::default(), None, Box::new(OneCode(code)), &codes, Fork::Osaka);
        let mut evm = Evm::new(EvmScratch::default(), &chain, &block, state);
        let to = evm.state.account_id(&Address::repeat_byte(1)).expect("names grow");
        evm.state.load(to).expect("there are accounts");
        let request = CallRequest {
            kind: CallKind::Call,
            gas: 100_000,
            to,
            code,
            value: U256::ZERO,
            input: Input::Tx,
            output: (0, 0),
            charged_new_account: false,
        };
        assert_eq!(evm.enter_call(&request), Ok(Entered::Frame));
        evm.assert_frame_fits();
        evm.assert_frame_is_new();
        work(&mut evm);
    }

    #[test]
    #[should_panic(expected = "a frame lies inside the columns")]
    fn a_short_stack_is_refused() {
        in_a_frame(|evm| {
            evm.stack.truncate(STACK_LIMIT - 1);
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "a frame lies inside the columns")]
    fn more_words_than_a_stack_holds_are_refused() {
        in_a_frame(|evm| {
            evm.frame().stack_len = STACK_LIMIT + 1;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "a frame lies inside the columns")]
    fn memory_beyond_the_column_is_refused() {
        in_a_frame(|evm| {
            evm.frame().memory_len = evm.memory.len() + 32;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "a frame lies inside the columns")]
    fn a_base_whose_end_overflows_is_refused() {
        in_a_frame(|evm| {
            evm.frame().stack_base = usize::MAX - 10;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "the top frame has not run yet")]
    fn a_frame_that_a_panic_interrupted_does_not_go_on() {
        in_a_frame(|evm| {
            evm.frame().pc = 1;
            crate::exec::interpreter::run_frames(Default::default(), evm);
        });
    }

    #[test]
    #[should_panic(expected = "calldata lies below the frame")]
    fn calldata_above_the_callers_memory_is_refused() {
        in_a_frame(|evm| {
            evm.grow_memory(64);
            let frame = evm.frame();
            let (to, code) = (frame.target, EMPTY_CODE);
            let request = CallRequest {
                kind: CallKind::Call,
                gas: 1_000,
                to,
                code,
                value: U256::ZERO,
                input: Input::Memory { start: 32, len: 64 },
                output: (0, 0),
                charged_new_account: false,
            };
            // Empty code gets no frame, and so no memory beside which its calldata could lie.
            assert!(matches!(evm.enter_call(&request), Ok(Entered::Done(_))));
            let code = evm.state.load(to).expect("it is loaded").code;
            let _ = evm.enter_call(&CallRequest { code, ..request });
        });
    }

    #[test]
    fn memory_that_cannot_grow_leaves_its_length() {
        in_a_frame(|evm| {
            evm.grow_memory(64);
            let grown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evm.grow_memory(usize::MAX / 2 + 1)));
            assert!(grown.is_err());
            assert_eq!(evm.frame().memory_len, 64);
            evm.assert_frame_fits();
        });
    }
}
