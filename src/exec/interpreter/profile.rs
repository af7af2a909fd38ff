//! Profile of instructions: runs, gas and time by opcode, correct across frames.
//!
//! In: the events of a loop. Out: one [`Row`] per opcode. One clock reading per instruction divides the time into
//! intervals. An interval belongs to the instruction that began it. After an instruction that enters a frame,
//! the time until the frame's first instruction belongs to it, and so does the time after the frame's end until
//! the next instruction. Ending a frame counts for the instruction that ends it. So neither time nor gas of a
//! callee counts for its call; a called precompile has a row of its own.
//! The same intervals are also summed by contract ([`ContractRow`]), from the events at the beginning and the end of
//! each frame.
//! The cost of clock readings is included. Readers may subtract it: one reading alone costs
//! [`OpcodeProfile::reading_ticks`]. In a loop part of it overlaps with other work, so a comparison with a run under
//! [`OpcodeProfile::untimed`] is more precise.
//! Relies on: a time-stamp counter of constant rate, the same on all processors (`quanta` falls back to the
//! system's clock).
//! Not here: the time of a transaction outside of code; wall time of tasks (`TaskSpan`).

use super::observe::{Observer, StepView};
use super::opcode::op;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd, Status};
pub use crate::exec::evm::precompile::profile::{PrecompileProfile, PrecompileRow, Row};
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256};
use quanta::Clock;

/// Index of the row for time between frames and outside of instructions, after the 256 rows of opcodes.
pub const OUTSIDE: usize = 256;

/// Totals of one contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractRow {
    /// ADDRESS of its frames: the account whose storage they access.
    pub address: Address,
    /// Hash of the code that ran. After a DELEGATECALL this is the code of another account.
    pub code_hash: B256,
    /// Number of frames, and their gas and time without those of inner frames. Called precompiles and gas burned by
    /// exceptional halts are included. The time from a call to the first instruction of the inner frame counts for
    /// the inner frame.
    pub row: Row,
}

/// One worker's profile of instructions.
#[derive(Clone, Debug)]
pub struct OpcodeProfile {
    clock: Clock,
    rows: Box<[Row; OUTSIDE + 1]>,
    contracts: HashMap<(Address, B256), Row>,
    /// The contract of the running frame, and what the frame used since it was entered or continued.
    contract: (Address, B256),
    frame: Row,
    burned_gas: u64,
    returned_gas: u64,
    implicit_stops: u64,
    /// The row to which the running interval belongs; the tick at which the interval began is in `since`.
    current: usize,
    since: u64,
    /// Gas left before the running instruction, and after it.
    gas_before: u64,
    gas_after: u64,
    /// For each frame in progress the row that was current when it was entered, and the caller's contract; both
    /// become current again when the frame ends.
    callers: Vec<(usize, (Address, B256))>,
    /// Totals of precompiles that were already subtracted from the rows of their calls.
    precompiles: Row,
    /// Whether an instruction of the current frame is running.
    is_open: bool,
    is_timed: bool,
}

impl Default for OpcodeProfile {
    fn default() -> Self {
        Self {
            clock: Clock::new(),
            rows: Box::new([Row::default(); OUTSIDE + 1]),
            contracts: HashMap::default(),
            contract: (Address::ZERO, B256::ZERO),
            frame: Row::default(),
            burned_gas: 0,
            returned_gas: 0,
            implicit_stops: 0,
            current: OUTSIDE,
            since: 0,
            gas_before: 0,
            gas_after: 0,
            callers: Vec::with_capacity(64),
            precompiles: Row::default(),
            is_open: false,
            is_timed: true,
        }
    }
}

impl OpcodeProfile {
    /// A profile that measures nothing: frames run on the loop that a profile would measure, without the observer. The
    /// difference in time is the cost of observing.
    pub fn untimed() -> Self {
        Self { is_timed: false, ..Self::default() }
    }

    /// Whether it measures time; if not, it is the baseline of [`Self::untimed`].
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Rows by opcode, then [`OUTSIDE`].
    pub fn rows(&self) -> &[Row; OUTSIDE + 1] {
        &self.rows
    }

    /// Rows by contract, ordered by address and code hash.
    pub fn contracts(&self) -> Vec<ContractRow> {
        let row = |(&(address, code_hash), &row): (&(Address, B256), &Row)| ContractRow { address, code_hash, row };
        let mut rows: Vec<ContractRow> = self.contracts.iter().map(row).collect();
        rows.sort_unstable_by_key(|row| (row.address, row.code_hash));
        rows
    }

    /// Gas consumed by exceptional halts beyond the cost of their instructions.
    pub fn burned_gas(&self) -> u64 {
        self.burned_gas
    }

    /// State gas that frames got back when they reverted (EIP-8037). The rows count it at the
    /// instructions that spent it: the gas spent in total is the gas of all rows plus
    /// [`Self::burned_gas`] minus this.
    pub fn returned_gas(&self) -> u64 {
        self.returned_gas
    }

    /// How many of the STOPs in the rows are no instruction of the code, but its end. Only the loops that step through
    /// bytes with their position count them, such as the match loop.
    pub fn implicit_stops(&self) -> u64 {
        self.implicit_stops
    }

    /// Converts ticks to nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        self.clock.delta_as_nanos(0, ticks)
    }

    /// Ends the running interval and begins one that belongs to `row`.
    #[inline(always)]
    fn turn_to(&mut self, row: usize) {
        let now = self.clock.raw();
        // The counters of two processors may differ by a few ticks.
        let ticks = now.saturating_sub(self.since);
        for ended in [&mut self.rows[self.current], &mut self.frame] {
            ended.ticks += ticks;
            ended.readings += 1;
        }
        (self.current, self.since) = (row, now);
    }

    #[inline(always)]
    fn begin(&mut self, opcode: u8, gas_left: u64) {
        self.turn_to(usize::from(opcode));
        self.rows[self.current].count += 1;
        self.gas_before = gas_left;
    }

    #[inline(always)]
    pub(super) fn end(&mut self, gas_left: u64, precompiles: Option<&PrecompileProfile>) {
        self.gas_after = gas_left;
        self.add_gas(self.gas_before.saturating_sub(gas_left));
        // Only instructions from CREATE to STATICCALL can have run a precompile.
        if self.current >= usize::from(op::CREATE)
            && let Some(precompiles) = precompiles
            && precompiles.total().count != self.precompiles.count
        {
            self.take_out(precompiles.total());
        }
    }

    /// Adds gas (wrapping, so that it can be subtracted) to the row of the running instruction and to its frame.
    #[inline(always)]
    fn add_gas(&mut self, gas: u64) {
        for row in [&mut self.rows[self.current], &mut self.frame] {
            row.gas = row.gas.wrapping_add(gas);
        }
    }

    /// Subtracts new precompile runs from the row of the running instruction.
    #[cold]
    fn take_out(&mut self, total: Row) {
        let row = &mut self.rows[self.current];
        row.gas = row.gas.wrapping_sub(total.gas - self.precompiles.gas);
        let (readings, ticks) = (total.readings - self.precompiles.readings, total.ticks - self.precompiles.ticks);
        row.readings += readings;
        self.frame.readings += readings;
        // The interval is still running: moving its beginning excludes the precompiles' time from it.
        self.since += ticks;
        self.frame.ticks += ticks;
        self.precompiles = total;
    }

    /// Adds what the running frame used to its contract's row.
    fn flush_frame(&mut self) {
        let used = core::mem::take(&mut self.frame);
        self.contracts.entry(self.contract).or_default().add(&used);
    }

    /// Counts the gas that changes at a frame's end, after its last instruction. `left` is the gas that
    /// the frame returns.
    fn settle(&mut self, is_halted: bool, left: u64) {
        if is_halted {
            self.burned_gas += self.gas_after;
            self.frame.gas = self.frame.gas.wrapping_add(self.gas_after);
            return;
        }
        // At the end the code deposit is charged, and a revert returns state gas.
        self.add_gas(self.gas_after.saturating_sub(left));
        self.returned_gas += left.saturating_sub(self.gas_after);
    }

    /// Called before a frame's first instruction, and before the first one after an inner frame.
    #[cfg_attr(not(tail_calls), expect(dead_code, reason = "used by the tail-call loop"))]
    pub(super) fn resume(&mut self) {
        self.is_open = false;
    }

    /// Ends the previous instruction and begins the next one, given the gas left before it.
    #[cfg_attr(not(tail_calls), expect(dead_code, reason = "used by the tail-call loop"))]
    #[inline(always)]
    pub(super) fn next(&mut self, opcode: u8, gas_left: u64, precompiles: Option<&PrecompileProfile>) {
        if self.is_open {
            self.end(gas_left, precompiles);
        }
        self.is_open = true;
        self.begin(opcode, gas_left);
    }

    /// Ticks charged to an instruction that takes no time: the cost of the clock reading and of the bookkeeping
    /// around it. The median over batches, measured on the calling thread by this call, which takes a few
    /// hundred microseconds.
    pub fn reading_ticks() -> f64 {
        const BATCH: u64 = 256;
        let mut profile = Self::default();
        let mut batches = [0; 257];
        for batch in &mut batches {
            let start = profile.clock.raw();
            for step in 0..BATCH {
                profile.begin(step as u8, BATCH - step);
                profile.end(BATCH - step - 1, None);
            }
            *batch = profile.clock.raw().saturating_sub(start);
        }
        batches.sort_unstable();
        std::hint::black_box(&profile);
        batches[batches.len() / 2] as f64 / BATCH as f64
    }
}

impl Observer for OpcodeProfile {
    const ON: bool = true;

    #[inline(always)]
    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>) {
        if step.opcode == op::STOP {
            let is_end = evm.frames.last().is_some_and(|frame| step.pc >= frame.code.len());
            self.implicit_stops += u64::from(is_end);
        }
        self.begin(step.opcode, step.gas_left);
    }

    #[inline(always)]
    fn step_end(&mut self, evm: &Evm<'_>, gas_left: u64, _: Option<Halt>) {
        self.end(gas_left, evm.precompiles.as_deref());
    }

    fn enter(&mut self, evm: &Evm<'_>) {
        let Some(frame) = evm.frames.last() else { return };
        if self.callers.is_empty() {
            // A new transaction: the time between two transactions counts for no row.
            (self.current, self.since) = (OUTSIDE, self.clock.raw());
            self.frame = Row::default();
            if let Some(precompiles) = &evm.precompiles {
                self.precompiles = precompiles.total();
            }
        } else {
            self.add_gas(frame.gas.left.wrapping_neg());
            self.flush_frame();
        }
        self.callers.push((self.current, self.contract));
        self.contract = (frame.address, frame.code.hash());
        self.frame.count = 1;
    }

    fn leave(&mut self, _: &Evm<'_>, end: &FrameEnd) {
        self.settle(matches!(end.status, Status::Halt(_)), end.left);
        let (caller, contract) = self.callers.pop().unwrap_or((OUTSIDE, self.contract));
        self.turn_to(caller);
        self.flush_frame();
        self.contract = contract;
    }
}

/// All profiles of one worker.
#[derive(Clone, Debug, Default)]
pub struct WorkerProfile {
    /// Instructions.
    pub opcodes: OpcodeProfile,
    /// Precompiles.
    pub precompiles: PrecompileProfile,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_gas_that_a_revert_gives_back_is_no_gas_of_the_revert() {
        let mut profile = OpcodeProfile::default();
        profile.begin(op::SSTORE, 100_000);
        profile.end(60_000, None);
        profile.begin(op::REVERT, 60_000);
        profile.end(59_990, None);
        profile.settle(false, 97_490);
        let gas = |opcode: u8| profile.rows()[usize::from(opcode)].gas;
        assert_eq!((gas(op::SSTORE), gas(op::REVERT)), (40_000, 10));
        assert_eq!((profile.burned_gas(), profile.returned_gas()), (0, 37_500));
        assert_eq!(gas(op::SSTORE) + gas(op::REVERT) - profile.returned_gas(), 100_000 - 97_490);
    }
}
