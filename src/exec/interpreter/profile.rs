//! Profile: how often each instruction and precompile runs, for how much gas, for how long.
//!
//! In: the events of a loop. Out: one [`Row`] per opcode, correct across frames. One clock reading per instruction splits
//! time into intervals: each belongs to the instruction that began it, and one that enters a frame owns what follows until
//! the frame's first instruction, then again what follows the frame's end. Ending a frame counts for the instruction that
//! ends it. So nothing of a callee counts for its call, neither time nor gas; a precompile called has a row of its own.
//! What reading the clock costs is left to the reader to subtract: alone it costs [`OpcodeProfile::reading_ticks`]; in a
//! loop part of it runs beside other work, so that a run compared with [`OpcodeProfile::untimed`] tells more.
//! Relies on: a time-stamp counter that runs at one rate on all processors (`quanta` falls back to the system's clock).
//! Not here: what a transaction does outside of code; wall time of tasks (`TaskSpan`).

use super::observe::{Observer, StepView};
use super::opcode::op;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd, Status};
pub use crate::exec::evm::precompile::profile::{PrecompileProfile, PrecompileRow, Row};
use quanta::Clock;

/// The row of what runs between frames and outside of any instruction, after those of the 256 opcodes.
pub const OUTSIDE: usize = 256;

/// What one worker measures of instructions.
#[derive(Clone, Debug)]
pub struct OpcodeProfile {
    clock: Clock,
    rows: Box<[Row; OUTSIDE + 1]>,
    burned_gas: u64,
    returned_gas: u64,
    /// The row that the running interval belongs to, and when it began.
    current: usize,
    since: u64,
    /// Gas before and after the running instruction.
    gas_before: u64,
    gas_after: u64,
    /// The rows that suspended frames go on with.
    callers: Vec<usize>,
    /// Of precompiles, what their calls no longer hold.
    precompiles: Row,
    /// Whether an instruction of this frame runs.
    is_open: bool,
    is_timed: bool,
}

impl Default for OpcodeProfile {
    fn default() -> Self {
        Self {
            clock: Clock::new(),
            rows: Box::new([Row::default(); OUTSIDE + 1]),
            burned_gas: 0,
            returned_gas: 0,
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
    /// One that measures nothing: loops run as they are watched, but alone. What watching costs is the difference.
    pub fn untimed() -> Self {
        Self { is_timed: false, ..Self::default() }
    }

    /// Whether it measures.
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Rows by opcode, then [`OUTSIDE`].
    pub fn rows(&self) -> &[Row; OUTSIDE + 1] {
        &self.rows
    }

    /// Gas that frames lost by halting, beyond what their instructions cost.
    pub fn burned_gas(&self) -> u64 {
        self.burned_gas
    }

    /// State gas that frames got back by reverting (EIP-8037); the rows still count it where it was spent. What was spent
    /// in the end is the rows' gas, plus [`Self::burned_gas`], minus this.
    pub fn returned_gas(&self) -> u64 {
        self.returned_gas
    }

    /// Ticks as nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        self.clock.delta_as_nanos(0, ticks)
    }

    /// Ends the running interval and begins one of `row`.
    #[inline(always)]
    fn turn_to(&mut self, row: usize) {
        let now = self.clock.raw();
        let ended = &mut self.rows[self.current];
        // Two processors' counters may be a few ticks apart.
        ended.ticks += now.saturating_sub(self.since);
        ended.readings += 1;
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
        let row = &mut self.rows[self.current];
        row.gas = row.gas.wrapping_add(self.gas_before.saturating_sub(gas_left));
        // Only calls, CREATE to STATICCALL, can have run one.
        if self.current >= usize::from(op::CREATE)
            && let Some(precompiles) = precompiles
            && precompiles.total().count != self.precompiles.count
        {
            self.take_out(precompiles.total());
        }
    }

    /// Takes what the precompiles took out of the running instruction.
    #[cold]
    fn take_out(&mut self, total: Row) {
        let row = &mut self.rows[self.current];
        row.gas = row.gas.wrapping_sub(total.gas - self.precompiles.gas);
        row.readings += total.readings - self.precompiles.readings;
        // The interval goes on; what it will have too much is taken off its beginning.
        self.since += total.ticks - self.precompiles.ticks;
        self.precompiles = total;
    }

    /// Counts the gas by which a frame's end differs from its last instruction. `left` is what the frame hands back.
    fn settle(&mut self, is_halted: bool, left: u64) {
        if is_halted {
            self.burned_gas += self.gas_after;
            return;
        }
        // A deployed code is paid for at the end; a revert gives state gas back.
        let row = &mut self.rows[self.current];
        row.gas = row.gas.wrapping_add(self.gas_after.saturating_sub(left));
        self.returned_gas += left.saturating_sub(self.gas_after);
    }

    /// Before a frame's first instruction, or the one after an inner frame.
    #[cfg_attr(not(tail_calls), expect(dead_code, reason = "for the tail-call loop"))]
    pub(super) fn resume(&mut self) {
        self.is_open = false;
    }

    /// The next instruction, with the gas left before it; ends the one before it.
    #[cfg_attr(not(tail_calls), expect(dead_code, reason = "for the tail-call loop"))]
    #[inline(always)]
    pub(super) fn next(&mut self, opcode: u8, gas_left: u64, precompiles: Option<&PrecompileProfile>) {
        if self.is_open {
            self.end(gas_left, precompiles);
        }
        self.is_open = true;
        self.begin(opcode, gas_left);
    }

    /// Ticks that an instruction which takes no time is charged: the clock and the bookkeeping around it. The median over
    /// batches, measured on this thread now; a few hundred microseconds.
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
    fn step(&mut self, _: &Evm<'_>, step: &StepView<'_>) {
        self.begin(step.opcode, step.gas_left);
    }

    #[inline(always)]
    fn step_end(&mut self, evm: &Evm<'_>, gas_left: u64, _: Option<Halt>) {
        self.end(gas_left, evm.precompiles.as_deref());
    }

    fn enter(&mut self, evm: &Evm<'_>) {
        if self.callers.is_empty() {
            // A new transaction: what lies between two of them is nobody's.
            (self.current, self.since) = (OUTSIDE, self.clock.raw());
            if let Some(precompiles) = &evm.precompiles {
                self.precompiles = precompiles.total();
            }
        } else if let Some(frame) = evm.frames.last() {
            let row = &mut self.rows[self.current];
            row.gas = row.gas.wrapping_sub(frame.gas.left);
        }
        self.callers.push(self.current);
    }

    fn leave(&mut self, _: &Evm<'_>, end: &FrameEnd) {
        self.settle(matches!(end.status, Status::Halt(_)), end.left);
        let caller = self.callers.pop().unwrap_or(OUTSIDE);
        self.turn_to(caller);
    }
}

/// Everything that one worker measures.
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
