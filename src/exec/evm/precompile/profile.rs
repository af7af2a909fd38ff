//! How often each precompile runs, for how much gas, for how long.
//!
//! In: a clock reading before each run, then its gas and outcome. Out: one [`PrecompileRow`] per precompile.
//! Not here: instructions (`interpreter::profile`), which leave out of a call's row what is counted here.

use quanta::Clock;

/// Totals of one instruction or precompile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Runs.
    pub count: u64,
    /// Gas, what a frame that it entered used not counted. A callee's stipend counts as the call's rebate (wrapping), so
    /// that the sum over all rows is what was spent; state gas counts where it was taken from the frame's gas (EIP-8037).
    pub gas: u64,
    /// Ticks of the profile's clock.
    pub ticks: u64,
    /// Clock readings in these ticks.
    pub readings: u64,
}

impl Row {
    /// Adds another worker's.
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
    /// Its address as a number.
    pub number: u16,
    /// Runs that failed: they cost all gas given.
    pub failed: u64,
    /// The rest.
    pub row: Row,
}

/// What one worker measures of precompiles; lies in the machine, since they run inside of calls.
#[derive(Clone, Debug, Default)]
pub struct PrecompileProfile {
    clock: Clock,
    rows: Vec<PrecompileRow>,
    total: Row,
}

impl PrecompileProfile {
    /// The time before a run.
    pub fn now(&self) -> u64 {
        self.clock.raw()
    }

    /// Notes a run that began at `start`.
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

    /// All precompiles that ran, by number.
    pub fn rows(&self) -> Vec<PrecompileRow> {
        let mut rows = self.rows.clone();
        rows.sort_unstable_by_key(|row| row.number);
        rows
    }
}
