//! Profile of precompiles: runs, gas and time.
//!
//! In: a clock reading before each run, then its gas and outcome. Out: one [`PrecompileRow`] per precompile.
//! Not here: the profile of instructions (`interpreter::profile`), whose rows for calls exclude what is counted here.

use quanta::Clock;

/// Totals of one instruction or precompile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Number of runs.
    pub count: u64,
    /// Gas, excluding what frames entered by the instruction used. A callee's stipend is subtracted from the call's gas
    /// (wrapping), so that the sum over all rows is the gas spent. State gas counts where it was taken from the
    /// frame's gas (EIP-8037).
    pub gas: u64,
    /// Time in ticks of the profile's clock.
    pub ticks: u64,
    /// Number of clock readings whose cost these ticks include.
    pub readings: u64,
}

impl Row {
    /// Adds the totals of another worker.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.gas = self.gas.wrapping_add(other.gas);
        self.ticks += other.ticks;
        self.readings += other.readings;
    }
}

/// One precompile's totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrecompileRow {
    /// The precompile's number: its address as an integer.
    pub number: u16,
    /// Runs that failed; each consumed all gas passed to it.
    pub failed: u64,
    /// Runs, gas and time, failed runs included.
    pub row: Row,
}

/// One worker's profile of precompiles. It is part of the `Evm`, because precompiles run inside of calls.
#[derive(Clone, Debug, Default)]
pub struct PrecompileProfile {
    clock: Clock,
    rows: Vec<PrecompileRow>,
    total: Row,
}

impl PrecompileProfile {
    /// The clock's reading in ticks, to be taken before a run.
    pub fn now(&self) -> u64 {
        self.clock.raw()
    }

    /// Adds a run that began at `start` (ticks).
    pub fn add(&mut self, number: u16, start: u64, gas: u64, success: bool) {
        let run = Row { count: 1, gas, ticks: self.clock.raw().saturating_sub(start), readings: 1 };
        self.total.add(&run);
        let at = self.rows.iter().position(|row| row.number == number).unwrap_or_else(|| {
            self.rows.push(PrecompileRow { number, ..PrecompileRow::default() });
            self.rows.len() - 1
        });
        self.rows[at].row.add(&run);
        self.rows[at].failed += u64::from(!success);
    }

    /// The sum over all runs.
    #[inline(always)]
    pub(in crate::exec) fn total(&self) -> Row {
        self.total
    }

    /// The rows of all precompiles that ran, ordered by number.
    pub fn rows(&self) -> Vec<PrecompileRow> {
        let mut rows = self.rows.clone();
        rows.sort_unstable_by_key(|row| row.number);
        rows
    }
}
