//! What a profile holds, as it is saved and read back.
//!
//! Units: nanoseconds and gas, per execution of the block.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The profile of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The block's name.
    pub block: String,
    /// Its fork.
    pub fork: String,
    /// How its tasks ran.
    pub mode: String,
    /// On how many threads.
    pub threads: usize,
    /// By which loop.
    #[serde(rename = "loop")]
    pub loop_name: String,
    /// Number of transactions.
    pub transactions: usize,
    /// Gas as the header says it.
    pub gas: u64,
    /// Executions that were timed without being watched.
    pub repeats: usize,
    /// Their median, raw bytes to last check.
    pub ns: u64,
    /// Their interquartile range. Zero in profiles that were saved without it.
    #[serde(default)]
    pub spread_ns: f64,
    /// The fastest.
    pub ns_min: u64,
    /// Stages, as medians over the timed executions.
    pub stages: Vec<StageRow>,
    /// Where processor time goes, by sampling.
    pub sampling: Sampling,
    /// Instructions and precompiles.
    pub code: CodeTimes,
    /// Hardware counters of the timed executions.
    pub counters: Counters,
    /// Folded stacks and their samples.
    pub stacks: BTreeMap<String, u64>,
    /// Stages and transactions of the median execution on their threads; not saved.
    #[serde(skip)]
    pub slices: Vec<Slice>,
}

impl Profile {
    /// Gas per nanosecond.
    pub fn ggas_per_s(&self) -> f64 {
        super::super::report::ggas_per_s(self.gas, self.ns)
    }
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// Time in which it was at work on any thread; stages overlap.
    pub busy_ns: u64,
    /// Interquartile range of that time over the executions.
    #[serde(default)]
    pub spread_ns: f64,
    /// Time on all threads together.
    pub sum_ns: u64,
}

/// What sampling found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Samples inside of the executor.
    pub samples: u64,
    /// Executions sampled.
    pub repeats: u64,
    /// Processor time of one execution on all threads.
    pub cpu_ns: u64,
    /// By purpose.
    pub parts: Vec<PartRow>,
    /// Why there are no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// Processor time for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartRow {
    /// What for.
    pub part: String,
    /// Samples.
    pub samples: u64,
    /// Time of one execution.
    pub ns: f64,
    /// Standard error of that time, from the differences between the sampling sessions.
    #[serde(default)]
    pub error_ns: f64,
    /// Of it in Keccak-256.
    pub keccak_ns: f64,
    /// Share of the execution's processor time, 0 to 1.
    pub share: f64,
}

/// Times of instructions and precompiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeTimes {
    /// The loop that was watched, and in which form.
    #[serde(rename = "loop")]
    pub loop_name: String,
    /// Executions that count.
    pub repeats: usize,
    /// What one clock reading costs in place; it is subtracted from all times here.
    pub reading_ns: f64,
    /// What it costs alone.
    pub reading_alone_ns: f64,
    /// Clock readings of one execution.
    pub readings: f64,
    /// Time of all tasks of one execution, watched.
    pub watched_ns: f64,
    /// The same in the same form when nobody watches.
    pub unwatched_ns: f64,
    /// The same in the form that runs unless it is profiled.
    pub shipped_ns: f64,
    /// Gas that frames lost by halting.
    pub burned_gas: u64,
    /// State gas that frames got back by reverting; the rows count it where it was spent.
    #[serde(default)]
    pub returned_gas: u64,
    /// Entering the first frames and leaving them.
    pub outside_ns: f64,
    /// By opcode; those that did not run are left out.
    pub opcodes: Vec<CodeRow>,
    /// By address.
    pub precompiles: Vec<CodeRow>,
}

/// One instruction or precompile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeRow {
    /// Opcode or number of the precompile.
    pub code: u16,
    /// Its name.
    pub name: String,
    /// On all workers.
    #[serde(flatten)]
    pub total: CodeCell,
    /// Interquartile range of the time on all workers over the executions.
    #[serde(default)]
    pub spread_ns: f64,
    /// By worker.
    pub workers: Vec<CodeCell>,
}

/// Runs, gas and time; averages where executions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeCell {
    /// Runs.
    pub count: f64,
    /// Gas, that of frames that it entered not counted.
    pub gas: f64,
    /// Time, that of frames that it entered and of the clock not counted.
    pub ns: f64,
}

impl CodeCell {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.gas += other.gas;
        self.ns += other.ns;
    }
}

impl CodeRow {
    /// Time per gas; nothing where it is free.
    pub fn ns_per_gas(&self) -> Option<f64> {
        (self.total.gas >= 1.0).then(|| self.total.ns / self.total.gas)
    }

    /// Time per run.
    pub fn ns_per_run(&self) -> f64 {
        self.total.ns / self.total.count.max(1.0)
    }
}

/// Hardware counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// By name, per execution, on all threads.
    pub values: BTreeMap<String, f64>,
    /// What the kernel refused, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// A stretch of time on one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// Which thread of the pool.
    pub thread: u32,
    /// A stage's name, or `task`.
    pub kind: &'static str,
    /// Block access index of a task.
    pub index: Option<u32>,
    /// Gas of a transaction.
    pub gas: Option<u64>,
    /// Start, nanoseconds since the block's bytes were handed over.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
}
