//! The data of a profile, in the form in which it is saved and read.
//!
//! Units: nanoseconds and gas, per execution of the block. Not here: measuring and printing.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The profile of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Name of the block.
    pub block: String,
    /// Name of its fork.
    pub fork: String,
    /// Mode in which its tasks ran.
    pub mode: String,
    /// Number of threads.
    pub threads: usize,
    /// Name of the interpreter loop.
    #[serde(rename = "loop")]
    pub loop_name: String,
    /// Number of transactions.
    pub transactions: usize,
    /// Gas used, as in the header.
    pub gas: u64,
    /// Number of executions that were timed without instruction measurement.
    pub repeats: usize,
    /// Median of their times, from the raw bytes to the last check.
    pub ns: u64,
    /// Interquartile range of their times; zero in profiles that were saved without it.
    #[serde(default)]
    pub spread_ns: f64,
    /// The shortest of their times.
    pub ns_min: u64,
    /// Stages; each time is the median over the timed executions.
    pub stages: Vec<StageRow>,
    /// Processor time by purpose, from sampling.
    pub sampling: Sampling,
    /// Times of instructions and precompiles.
    pub code: CodeTimes,
    /// Transactions in block order, with medians over the timed executions.
    #[serde(default)]
    pub transaction_rows: Vec<TransactionRow>,
    /// Hardware counters of the timed executions.
    pub counters: Counters,
    /// Folded stacks with their numbers of samples.
    pub stacks: BTreeMap<String, u64>,
    /// Stages and tasks of the execution of median time by thread; not saved.
    #[serde(skip)]
    pub slices: Vec<Slice>,
}

impl Profile {
    /// Gas per nanosecond, which equals Ggas per second.
    pub fn ggas_per_s(&self) -> f64 {
        super::super::report::ggas_per_s(self.gas, self.ns)
    }
}

/// The times of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Name of the stage.
    pub stage: String,
    /// Time in which at least one thread worked on it; stages overlap.
    pub busy_ns: u64,
    /// Interquartile range of that time over the executions.
    #[serde(default)]
    pub spread_ns: f64,
    /// Sum of its times over all threads.
    pub sum_ns: u64,
}

/// The result of sampling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Number of samples inside of the executor.
    pub samples: u64,
    /// Number of executions that were sampled.
    pub repeats: u64,
    /// Processor time of one execution on all threads.
    pub cpu_ns: u64,
    /// Processor time by purpose.
    pub parts: Vec<PartRow>,
    /// Why there are no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// Processor time of one purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartRow {
    /// Name of the purpose.
    pub part: String,
    /// Number of samples.
    pub samples: u64,
    /// Time per execution.
    pub ns: f64,
    /// Standard error of that time, from the differences between the sampling sessions.
    #[serde(default)]
    pub error_ns: f64,
    /// The part of this time that was spent in Keccak-256.
    pub keccak_ns: f64,
    /// Share of the execution's processor time, 0 to 1.
    pub share: f64,
}

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionRow {
    /// Index in the block, from 0.
    pub index: usize,
    /// Hash of the transaction.
    pub hash: B256,
    /// Recipient; `None` for a creation.
    pub to: Option<Address>,
    /// Gas that the sender paid for.
    pub gas: u64,
    /// Time of its task on its thread.
    pub ns: u64,
}

/// Times of instructions and precompiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeTimes {
    /// The loop whose instructions were timed, and its form.
    #[serde(rename = "loop")]
    pub loop_name: String,
    /// Number of executions that are included.
    pub repeats: usize,
    /// Cost of one clock reading between other instructions; it is subtracted from all times here.
    pub reading_ns: f64,
    /// Cost of one clock reading alone.
    pub reading_alone_ns: f64,
    /// Number of clock readings per execution.
    pub readings: f64,
    /// Time of all tasks of one execution with instruction measurement.
    pub watched_ns: f64,
    /// The same in the same form of the loop without measurement.
    pub unwatched_ns: f64,
    /// The same in the form of the loop that runs outside of profiling.
    pub shipped_ns: f64,
    /// Gas that frames lost by exceptional halts.
    pub burned_gas: u64,
    /// State gas that frames got back when they reverted. The rows count it at the instructions
    /// that spent it.
    #[serde(default)]
    pub returned_gas: u64,
    /// Time of entering and leaving the outermost frames.
    pub outside_ns: f64,
    /// One row per opcode that was executed.
    pub opcodes: Vec<CodeRow>,
    /// One row per precompile that was called.
    pub precompiles: Vec<CodeRow>,
    /// One row per contract and code that ran, the most time first.
    #[serde(default)]
    pub contracts: Vec<ContractRow>,
}

/// The figures of one contract, without those of frames that it entered, but with those of
/// precompiles that it called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContractRow {
    /// The account whose storage the frames access.
    pub address: Address,
    /// Hash of the code that ran; after a DELEGATECALL the code of another account. Zero for init
    /// code.
    pub code_hash: B256,
    /// Number of frames, their gas and their time, on all workers.
    #[serde(flatten)]
    pub total: CodeCell,
}

/// The figures of one instruction or precompile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeRow {
    /// Opcode, or address of the precompile.
    pub code: u16,
    /// Name of the instruction or precompile.
    pub name: String,
    /// Sum over all workers.
    #[serde(flatten)]
    pub total: CodeCell,
    /// Interquartile range over the executions of the time on all workers.
    #[serde(default)]
    pub spread_ns: f64,
    /// Figures per worker.
    pub workers: Vec<CodeCell>,
}

/// Count, gas and time of an execution; means where executions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeCell {
    /// Number of executions of the instruction or precompile.
    pub count: f64,
    /// Gas, without that of frames that it entered.
    pub gas: f64,
    /// Time, without that of frames that it entered and of clock readings.
    pub ns: f64,
}

impl CodeCell {
    /// Adds the figures of another worker.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.gas += other.gas;
        self.ns += other.ns;
    }
}

impl CodeRow {
    /// Time per gas; `None` if it used none.
    pub fn ns_per_gas(&self) -> Option<f64> {
        (self.total.gas >= 1.0).then(|| self.total.ns / self.total.gas)
    }

    /// Time per execution of the instruction or precompile.
    pub fn ns_per_run(&self) -> f64 {
        self.total.ns / self.total.count.max(1.0)
    }
}

/// Results of the hardware counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Counts by name, per execution, summed over all threads.
    pub values: BTreeMap<String, f64>,
    /// Why counters are missing, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// An interval of work on one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// Index of the thread in the pool.
    pub thread: u32,
    /// Name of the stage, or `task`.
    pub kind: &'static str,
    /// Block access index (EIP-7928) of a task.
    pub index: Option<u32>,
    /// Gas of a transaction.
    pub gas: Option<u64>,
    /// Start in nanoseconds since the executor received the block's bytes.
    pub start_ns: u64,
    /// End in nanoseconds since the executor received the block's bytes.
    pub end_ns: u64,
}
