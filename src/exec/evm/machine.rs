//! The EVM instance of one worker: state, frames, memory and stack, shared by all frames and reused by all tasks.
//!
//! In: a state ([`TxState`]), the block's environment and rules. Out: per frame a [`FrameEnd`]; changes stay in
//! the state.
//! Relies on: a dispatch loop (`interpreter`), which runs the top frame until it ends or enters another frame.
//! All loops run on this machine, and `Evm::finish_frame` ends a frame in the same way for all of them.
//! Not here: effects of instructions (`host`), calls and creations (`call`), transactions (`tx`).

use super::gas::{FrameGas, TxGas, words};
use super::halt::{Fault, Halt};
use super::lookup_cache::KeccakCache;
use super::modular::KeptModulus;
use super::precompile::profile::PrecompileProfile;
use super::precompile::{Recoveries, Results};
use super::state::{Checkpoint, TxState};
use crate::arena::AccountId;
use crate::arena::cancel::{CancelToken, POLL_GAS};
use crate::arena::code::{Code, EMPTY_CODE};
use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::arena::keccak::keccak256;
use crate::exec::rules::fork::{ChainRules, Fork, ForkRules};
use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;

/// The most words on one frame's stack.
pub const STACK_LIMIT: usize = 1024;
/// The depth of the deepest frame; the first frame of a transaction has depth 0.
pub const DEPTH_LIMIT: usize = 1024;

/// The block's environment, as instructions read it.
#[derive(Clone, Debug, Default)]
pub struct BlockEnv {
    /// CHAINID (EIP-155, EIP-1344).
    pub chain_id: u64,
    /// NUMBER: height of the block.
    pub number: u64,
    /// TIMESTAMP, in seconds since 1970.
    pub timestamp: u64,
    /// COINBASE: address of the fee recipient.
    pub coinbase: Address,
    /// GASLIMIT of the block.
    pub gas_limit: u64,
    /// BASEFEE (EIP-3198), wei per gas; 0 before London.
    pub base_fee: u64,
    /// DIFFICULTY before the merge, PREVRANDAO since (EIP-4399).
    pub difficulty: U256,
    /// BLOBBASEFEE, wei per blob gas (EIP-4844, EIP-7516).
    pub blob_base_fee: U256,
    /// SLOTNUM: the consensus layer's slot number (EIP-7843).
    pub slot_number: u64,
}

/// The transaction's environment, as instructions read it.
#[derive(Clone, Debug, Default)]
pub struct TxEnv<'b> {
    /// ORIGIN: the sender.
    pub origin: Address,
    /// GASPRICE: the effective price, wei.
    pub gas_price: U256,
    /// BLOBHASH: the versioned hashes of the transaction's blobs (EIP-4844).
    pub blob_hashes: &'b [B256],
    /// Calldata or init code of the first frame.
    pub input: &'b [u8],
}

/// Where a frame's calldata is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The transaction's own input.
    Tx,
    /// A range of the shared memory, in a frame below. It does not move within that memory, but the memory as a
    /// whole may be reallocated.
    Memory {
        /// Absolute offset in the memory of all frames.
        start: usize,
        /// Length in bytes.
        len: usize,
    },
}

/// A frame's code.
#[derive(Clone, Debug)]
pub enum CodeRef<'b> {
    /// Deployed code, in the code arena.
    Arena(&'b Code),
    /// Init code of a creation; it lives as long as its frame.
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

/// Whether a frame is a call or a creation, and where its output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A message call; its output goes to `ret_len` bytes at `ret_offset` of the caller's memory.
    Call {
        /// Offset within the caller's memory.
        ret_offset: usize,
        /// Length in bytes; longer output is cut off in the caller's memory.
        ret_len: usize,
    },
    /// A creation; the new contract is the frame's target.
    Create,
}

/// One call or creation in progress. Only [`Evm::enter_call`] and [`Evm::enter_create`] create frames.
///
/// The tail-call loop relies on the positions of its stack and memory: see `Evm::assert_frame_fits`.
#[derive(Clone, Debug)]
pub struct Frame<'b> {
    /// The code that runs.
    pub(in crate::exec) code: CodeRef<'b>,
    /// Call or creation.
    pub(in crate::exec) kind: FrameKind,
    /// Account of ADDRESS: its storage is accessed.
    pub(in crate::exec) target: AccountId,
    /// ADDRESS: the address of `target`.
    pub(in crate::exec) address: Address,
    /// CALLER: the address that made the call.
    pub(in crate::exec) caller: Address,
    /// CALLVALUE: the value of the call in wei.
    pub(in crate::exec) value: U256,
    /// Where the calldata is.
    pub(in crate::exec) input: Input,
    /// Whether state changes are forbidden (EIP-214).
    pub(in crate::exec) is_static: bool,
    /// Whether the caller was charged state gas for a new account; it is returned to the caller if the frame fails.
    pub(in crate::exec) charged_new_account: bool,
    /// Gas of the frame, and the transaction's gas state at its beginning.
    pub(in crate::exec) gas: FrameGas,
    /// Where execution continues after an inner frame; each loop has its own encoding.
    pub(in crate::exec) pc: usize,
    /// First word of this frame's stack in `Evm::stack`.
    pub(in crate::exec) stack_base: usize,
    /// Words on the stack, stored here while an inner frame runs.
    pub(in crate::exec) stack_len: usize,
    /// First byte of this frame's memory in `Evm::memory`.
    pub(in crate::exec) memory_base: usize,
    /// Bytes of memory, a multiple of 32.
    pub(in crate::exec) memory_len: usize,
    /// The point to which the state is reverted if the frame fails.
    pub(in crate::exec) checkpoint: Checkpoint,
}

/// How a loop left the top frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Another frame was pushed and runs first. The loop has stored pc, stack height and gas in the frame that it left.
    Enter,
    /// STOP, SELFDESTRUCT or the end of the code: success without output.
    Stop,
    /// RETURN: success with output, a range of the frame's own memory.
    Return {
        /// Offset within the frame's memory.
        offset: usize,
        /// Length in bytes; the memory has been expanded to the end of the range.
        len: usize,
    },
    /// REVERT: changes are reverted, output is returned, and gas left goes back to the caller.
    Revert {
        /// Offset within the frame's memory.
        offset: usize,
        /// Length in bytes; the memory has been expanded to the end of the range.
        len: usize,
    },
    /// Exceptional halt: changes are reverted and all gas is consumed.
    Halt(Halt),
}

/// How a frame ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its changes are kept.
    Success,
    /// Its changes are reverted, gas left goes back to the caller.
    Revert,
    /// Its changes are reverted, all of its gas is consumed.
    Halt(Halt),
}

/// The result of a frame, as its caller sees it. The output is in [`Evm::return_data()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEnd {
    /// How it ended.
    pub status: Status,
    /// Execution gas that goes back to the caller.
    pub left: u64,
    /// State gas taken from `left` that now counts as the caller's (EIP-8037); 0 unless the frame succeeded.
    pub spilled: u64,
    /// Whether the charge for a new account must be returned to the caller.
    pub refill_new_account: bool,
    /// The address of the created contract, if this was a creation and it succeeded.
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

/// The EVM instance of one worker.
///
/// Public fields hold the transaction's data; no memory safety depends on them. Frames, memory and stack are private,
/// because the tail-call loop accesses memory and stack through pointers: see `Evm::assert_frame_fits`.
#[derive(Debug)]
pub struct Evm<'b> {
    /// Constants of the fork.
    pub(in crate::exec) rules: &'static ForkRules,
    /// The chain's configuration for this block.
    pub(in crate::exec) chain: &'b ChainRules,
    /// The block's environment.
    pub(in crate::exec) block: &'b BlockEnv,
    /// The transaction's environment.
    pub tx: TxEnv<'b>,
    /// The state as the running transaction sees it.
    pub state: TxState<'b>,
    /// Gas state that all frames of the transaction share.
    pub gas: TxGas,
    /// Frames, outermost first; the last one is running.
    pub(in crate::exec) frames: Vec<Frame<'b>>,
    /// Memory of all frames, one after the other.
    pub(in crate::exec) memory: Vec<u8>,
    /// Stacks of all frames, each with room for `STACK_LIMIT` words; grows with the depth reached.
    pub(in crate::exec) stack: Vec<U256>,
    /// Output of the inner frame that ended last.
    pub(in crate::exec) return_data: Vec<u8>,
    /// Init codes of ended frames, whose memory is reused for new ones.
    init_codes: Vec<Arc<Code>>,
    /// Cache of the hashes of mapping keys.
    pub(in crate::exec) hashes: Box<KeccakCache>,
    /// The modulus of the last MULMOD and its reciprocal.
    #[cfg_attr(not(all(tail_calls, not(debug_assertions))), expect(dead_code, reason = "used by the tail-call loop"))]
    pub(in crate::exec) modulus: KeptModulus,
    /// The token by which the caller can cancel the block.
    pub cancel: Option<&'b CancelToken>,
    /// What is known of the recoveries by ECRECOVER in this block.
    pub recoveries: Recoveries<'b>,
    /// If the running frame's gas is below this, its loop calls [`Self::poll`] at the next JUMPDEST; 0: never.
    pub(in crate::exec) poll_below: u64,
    /// Counts and times precompiles; `None` unless the block is profiled.
    pub(in crate::exec) precompiles: Option<Box<PrecompileProfile>>,
}

/// Memory of an [`Evm`], kept between blocks.
#[derive(Debug, Default)]
pub struct EvmScratch {
    memory: Vec<u8>,
    frames: Vec<Frame<'static>>,
    stack: Vec<U256>,
    return_data: Vec<u8>,
    hashes: Box<KeccakCache>,
    init_codes: Vec<Arc<Code>>,
    /// Empty between blocks.
    recoveries: Results,
    /// Counts and times the precompiles of all blocks that use this memory; `None` unless they are profiled.
    pub(in crate::exec) precompiles: Option<Box<PrecompileProfile>>,
}

/// Without the counters of a profile.
impl HeapBytes for EvmScratch {
    fn heap_bytes(&self) -> usize {
        let Self { memory, frames, stack, return_data, hashes, init_codes, recoveries, precompiles: _ } = self;
        let codes: usize = init_codes.iter().map(|code| size_of::<Code>() + code.room()).sum();
        codes + sum_heap_bytes([memory, frames, stack, return_data, hashes, init_codes]) + recoveries.allocation_size()
    }
}

impl EvmScratch {
    /// Empties the cache of Keccak-256 hashes, so that the next block computes all of them (for benchmarks).
    pub fn forget_hashes(&mut self) {
        self.hashes.clear();
    }
}

/// Bytes of memory that a worker keeps between blocks; memory above that is freed.
const MEMORY_KEPT: usize = 4 << 20;
/// The number of init codes whose memory a worker keeps, and the most bytes that each may hold.
const INIT_CODES_KEPT: usize = 32;
const INIT_CODE_KEPT: usize = 256 << 10;

/// The memory of a frame column without its frames, for frames of another lifetime.
#[expect(clippy::unnecessary_filter_map, reason = "`filter` would keep the lifetime")]
fn emptied<'to>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'to>> {
    frames.clear();
    // `collect` reuses the allocation: nothing is allocated.
    frames.into_iter().filter_map(|_| None).collect()
}

impl<'b> Evm<'b> {
    /// A machine over `state`, with the memory of `scratch`.
    pub fn new(scratch: EvmScratch, chain: &'b ChainRules, block: &'b BlockEnv, state: TxState<'b>) -> Self {
        let EvmScratch { memory, frames, stack, return_data, hashes, init_codes, recoveries, precompiles } = scratch;
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
            recoveries: Recoveries { candidates: None, results: recoveries },
            poll_below: 0,
            precompiles,
        }
    }

    /// Output of the inner frame that ended last; after the outermost frame, its own output.
    #[inline]
    pub fn return_data(&self) -> &[u8] {
        &self.return_data
    }

    /// The block's fork.
    #[inline]
    pub fn fork(&self) -> Fork {
        self.rules.fork
    }

    /// The number of frames in progress: 0 outside a transaction, 1 in its first frame.
    #[inline]
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Checks that no instruction of the top frame has run. Code that runs frames leaves none behind that has
    /// begun, unless a panic interrupted it. Such a frame must not continue: the result of the frame that it
    /// entered is missing.
    ///
    /// # Panics
    /// If an instruction has run, and outside a frame.
    pub(in crate::exec) fn assert_frame_is_new(&self) {
        let frame = &self.frames[self.frames.len() - 1];
        assert!(frame.pc == 0 && frame.stack_len == 0, "the top frame has not begun");
    }

    /// Checks what the pointers of the tail-call loop rely on, for the running frame:
    /// - its stack, with room for `STACK_LIMIT` words, lies inside the stack column, and at most that many
    ///   words are in use;
    /// - its memory lies inside the memory column.
    ///
    /// The methods of this crate that change a frame, the stack or the memory preserve this, but a panic inside
    /// a loop may have broken it.
    ///
    /// # Panics
    /// If a condition does not hold, and outside a frame.
    #[cfg_attr(not(all(tail_calls, not(debug_assertions))), allow(dead_code, reason = "used by the tail-call loop"))]
    #[inline(always)]
    pub(in crate::exec) fn assert_frame_fits(&self) {
        let frame = &self.frames[self.frames.len() - 1];
        let fits = |base: usize, len: usize, column: usize| base <= column && len <= column - base;
        let stack_fits = frame.stack_len <= STACK_LIMIT && fits(frame.stack_base, STACK_LIMIT, self.stack.len());
        let memory_fits = fits(frame.memory_base, frame.memory_len, self.memory.len());
        assert!(stack_fits && memory_fits, "the frame is inside the columns");
    }

    /// Ends the block: returns the memory for the next one.
    pub fn into_scratch(mut self) -> (EvmScratch, super::state::StateScratch) {
        self.memory.clear();
        self.memory.shrink_to(MEMORY_KEPT);
        self.frames.clear();
        self.recoveries.results.clear();
        let Self { memory, frames, stack, return_data, hashes, init_codes, recoveries, precompiles, state, .. } = self;
        let (frames, recoveries) = (emptied(frames), recoveries.results);
        let scratch = EvmScratch { memory, frames, stack, return_data, hashes, init_codes, recoveries, precompiles };
        (scratch, state.into_scratch())
    }

    /// [`Fault::Cancelled`] if the caller has cancelled the block.
    #[inline(always)]
    pub(in crate::exec) fn check_cancelled(&mut self) -> Result<(), Halt> {
        match self.cancel {
            Some(token) if token.is_cancelled() => Err(self.state.fail(Fault::Cancelled)),
            _ => Ok(()),
        }
    }

    /// Sets `poll_below` for a frame with this gas: the loop polls the cancel token once it has used `POLL_GAS` of it.
    #[inline(always)]
    pub(in crate::exec) fn arm_poll(&mut self, left: u64) {
        self.poll_below = match self.cancel {
            Some(_) => left.saturating_sub(POLL_GAS),
            None => 0,
        };
    }

    /// Polls the cancel token from inside a loop, and sets the gas of the next poll.
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
    /// Outside a frame. Loops are only started on a frame.
    #[inline(always)]
    pub(in crate::exec) fn frame(&mut self) -> &mut Frame<'b> {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// The bytes of a frame's calldata.
    #[inline]
    pub(in crate::exec) fn input(&self, input: Input) -> &[u8] {
        match input {
            Input::Tx => self.tx.input,
            Input::Memory { start, len } => &self.memory[start..start + len],
        }
    }

    /// Extends the running frame's memory to at least `len` bytes (a multiple of 32); new bytes are zero.
    /// The caller has charged the gas.
    #[inline]
    pub(in crate::exec) fn grow_memory(&mut self, len: usize) {
        let last = self.frames.len() - 1;
        let frame = &mut self.frames[last];
        let (base, old) = (frame.memory_base, frame.memory_len);
        if len > old {
            let end = base + len;
            if self.memory.len() < end {
                // At least doubled, so that growing word by word takes linear time.
                self.memory.resize(end.max(self.memory.len() * 2).max(4096), 0);
            }
            // An inner frame that has ended may have written here.
            let new = &mut self.memory[base + old..end];
            match new.first_chunk_mut::<32>() {
                // The most frequent growth is by one word.
                Some(word) if len - old == 32 => *word = [0; 32],
                _ => new.fill(0),
            }
            // Set last, so that a panic above cannot leave a frame with more memory than the column has.
            frame.memory_len = len;
        }
    }

    /// Charges for memory up to `offset + len` and extends it. `left` is the frame's gas.
    /// Returns offset and length as indices. A length of zero charges nothing and returns offset 0.
    #[inline(always)]
    pub(in crate::exec) fn expand(&mut self, left: &mut u64, offset: U256, len: U256) -> Result<(usize, usize), Halt> {
        let ([offset, o1, o2, o3], [len, l1, l2, l3]) = (offset.into_limbs(), len.into_limbs());
        let saturate = |low: u64, high: u64| if high == 0 { low } else { u64::MAX };
        self.expand_range(left, saturate(offset, o1 | o2 | o3), saturate(len, l1 | l2 | l3))
    }

    /// [`Self::expand`] for an offset and a length that are already saturated to 64 bits.
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
        // Beyond 2^32 bytes the gas exceeds 2^45, which no transaction can pay.
        if (offset | len) >> 32 != 0 {
            return Err(Halt::OutOfGas);
        }
        self.expand_to(left, offset + len)?;
        Ok((offset as usize, len as usize))
    }

    /// Charges for memory up to `end` bytes and extends it.
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

    /// Ends the running frame: copies its output to `Self::return_data` and to the caller's memory, keeps or
    /// reverts its changes, and deploys a created contract. [`Self::settle_child`] settles the caller's gas.
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
        // `truncate` instead of `pop`: a frame has about 300 bytes, which `pop` would copy.
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

    /// Pops the running frame, a creation, and keeps the memory of its init code for reuse.
    fn keep_init_code(&mut self) {
        if let Some(Frame { code: CodeRef::Init(code), .. }) = self.frames.pop()
            && self.init_codes.len() < INIT_CODES_KEPT
            && code.room() <= INIT_CODE_KEPT
        {
            self.init_codes.push(code);
        }
    }

    /// Init code copied from a range of the memory column, into the memory of an ended frame's init code if
    /// there is one.
    pub(in crate::exec) fn init_code_at(&mut self, range: core::ops::Range<usize>) -> Arc<Code> {
        let spare = self.init_codes.pop();
        refilled(spare, &self.memory[range])
    }

    /// `Self::init_code_at` for bytes outside the memory column.
    pub fn init_code_of(&mut self, bytes: &[u8]) -> Arc<Code> {
        refilled(self.init_codes.pop(), bytes)
    }

    /// Returns an ended frame's gas to its caller (EIP-150, EIP-8037).
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

    /// Deploys the code that a creation returned (in `Self::return_data`) and charges for it.
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
            // Frontier: a contract that cannot pay the code deposit is created without code.
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

/// The tail-call loop relies on frames, stack and memory. Code outside the crate reads them through methods,
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
/// Only the loops extend the memory, and code outside the crate cannot start a single loop:
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
/// fn end_with_another_exit(evm: &mut Evm<'_>) {
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
    use crate::exec::evm::state::{AccountState, StateProvider, StateScratch};

    /// A state provider in which every account has the same code.
    struct OneCode(CodeId);

    impl StateProvider for OneCode {
        fn account(&mut self, _: AccountId, _: &Address) -> Result<AccountState, Fault> {
            Ok(AccountState { exists: true, nonce: 1, code: self.0, ..AccountState::default() })
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

    /// Calls `work` with a machine in its first frame.
    fn in_a_frame(work: impl FnOnce(&mut Evm<'_>)) {
        let codes = CodeArena::default();
        let code = codes.insert_hashing([0x5b, 0x00]);
        let (chain, block) = (ChainRules::mainnet(Fork::Osaka), BlockEnv::default());
        let state = TxState::new(StateScratch::default(), None, Box::new(OneCode(code)), &codes, Fork::Osaka);
        let mut evm = Evm::new(EvmScratch::default(), &chain, &block, state);
        let to = evm.state.account_id(&Address::repeat_byte(1)).expect("the id map grows");
        evm.state.load(to).expect("the provider has every account");
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
    #[should_panic(expected = "the frame is inside the columns")]
    fn a_short_stack_is_refused() {
        in_a_frame(|evm| {
            evm.stack.truncate(STACK_LIMIT - 1);
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "the frame is inside the columns")]
    fn a_stack_above_the_limit_is_refused() {
        in_a_frame(|evm| {
            evm.frame().stack_len = STACK_LIMIT + 1;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "the frame is inside the columns")]
    fn memory_beyond_the_column_is_refused() {
        in_a_frame(|evm| {
            evm.frame().memory_len = evm.memory.len() + 32;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "the frame is inside the columns")]
    fn a_base_whose_end_overflows_is_refused() {
        in_a_frame(|evm| {
            evm.frame().stack_base = usize::MAX - 10;
            evm.assert_frame_fits();
        });
    }

    #[test]
    #[should_panic(expected = "the top frame has not begun")]
    fn a_frame_interrupted_by_a_panic_does_not_continue() {
        in_a_frame(|evm| {
            evm.frame().pc = 1;
            crate::exec::interpreter::run_frames(Default::default(), evm);
        });
    }

    #[test]
    #[should_panic(expected = "calldata is below the frame")]
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
            // A call to empty code pushes no frame, so its calldata is not checked.
            assert!(matches!(evm.enter_call(&request), Ok(Entered::Done(_))));
            let code = evm.state.load(to).expect("it is loaded").code;
            let _ = evm.enter_call(&CallRequest { code, ..request });
        });
    }

    #[test]
    fn failed_memory_growth_keeps_the_length() {
        in_a_frame(|evm| {
            evm.grow_memory(64);
            let grown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evm.grow_memory(usize::MAX / 2 + 1)));
            assert!(grown.is_err());
            assert_eq!(evm.frame().memory_len, 64);
            evm.assert_frame_fits();
        });
    }
}
