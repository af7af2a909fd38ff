//! Measures one block in several rounds of executions.
//!
//! In: a block on its chain. Out: its [`Profile`]. Between two executions only analysed code is
//! kept: no hashes, senders or state. The block access list and existence log that a block before
//! Amsterdam needs for `bal` mode are recorded before the first round.
//! Not here: the command's inputs and outputs (`mod`).

use super::super::engine::{Accepted, Chain, Engine, Failure, List};
use super::code::{Watched, code_times, faster_half, interquartile_range};
use super::counters;
use super::data::{CodeTimes, PartRow, Profile, Sampling};
use super::samples::{self, Part, Samples};
use super::timeline;
use alloy_primitives::Bytes;
use balustrade::bal::ExistenceLog;
use balustrade::exec::interpreter::{LoopKind, profiled_name};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::{BlockOutcome, Mode};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// Number of executions before the measured ones: code is analysed after a few.
const WARM_UP: usize = 4;
/// Minimal and maximal number of executions per round.
const RUNS_MIN: usize = 5;
const RUNS_MAX: usize = 2_000;

/// One block to profile.
#[derive(Debug)]
pub struct Block<'a> {
    /// Name of the block.
    pub name: String,
    /// Name of its fork, as in the file.
    pub fork: &'a str,
    /// RLP of the block.
    pub block: &'a Bytes,
    /// Its block access list and existence log, where given.
    pub list: List<'a>,
}

/// Measures blocks.
#[derive(Debug)]
pub struct Measure {
    /// The engine that executes the blocks.
    pub engine: Engine,
    /// Hardware counters of the timed executions.
    pub counters: counters::Open,
    /// The interpreter loop that is profiled.
    pub loop_kind: LoopKind,
    /// The mode; `None`: as [`Engine::execute_or_record`] chooses.
    pub mode: Option<Mode>,
    /// Duration of the sampling; the other rounds take half of it each.
    pub length: Duration,
    /// Shows which round runs.
    pub progress: ProgressBar,
}

/// A block with everything that it needs in its mode.
struct Job<'a> {
    rules: &'a ChainRules,
    block: &'a Bytes,
    bal: Option<Bytes>,
    existence_log: Option<ExistenceLog>,
    mode: Option<Mode>,
}

/// Sum of the times of all tasks of an execution, in nanoseconds.
fn tasks_ns(outcome: &BlockOutcome) -> u64 {
    outcome.tasks.iter().map(|task| task.end_ns.saturating_sub(task.start_ns)).sum()
}

impl Measure {
    /// Executes a block once and makes it the head.
    ///
    /// # Errors
    /// [`Failure`]: the block is rejected.
    pub fn advance(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        list: List<'_>,
    ) -> Result<(), Failure> {
        self.engine.execute_or_record(chain, rules, block, list, None, true).map(drop)
    }

    /// Profiles a block on the chain's head, which does not change.
    ///
    /// # Errors
    /// [`Failure`]: the block is rejected, or the execution was cancelled.
    pub fn profile(&mut self, chain: &mut Chain, rules: &ChainRules, block: &Block<'_>) -> Result<Profile, Failure> {
        let mut job = Job {
            rules,
            block: block.block,
            bal: block.list.bal.cloned(),
            existence_log: block.list.existence_log.cloned(),
            mode: self.mode,
        };
        let is_bal = job.mode.map_or(job.bal.is_some(), |mode| mode == Mode::Bal);
        if is_bal && rules.fork < Fork::Amsterdam && (job.bal.is_none() || job.existence_log.is_none()) {
            let recorded =
                self.once(chain, &Job { bal: None, existence_log: None, mode: Some(Mode::Sequential), ..job })?;
            job = Job {
                rules,
                block: block.block,
                bal: Some(block.list.bal.unwrap_or(&recorded.outcome.bal).clone()),
                existence_log: Some(block.list.existence_log.cloned().unwrap_or(recorded.outcome.existence_log)),
                mode: self.mode,
            };
        }
        self.say(block, "warming up", Duration::ZERO);
        for _ in 0..WARM_UP {
            self.once(chain, &job)?;
        }

        self.say(block, "timing it alone", self.length / 2);
        self.counters.start();
        let mut timed = self.repeat(chain, &job, self.length / 2, |_, accepted| accepted)?;
        let counters = self.counters.stop(timed.len());
        timed.sort_by_key(|accepted| accepted.outcome.elapsed_ns);
        let shipped_ns = faster_half(timed.iter().map(|accepted| tasks_ns(&accepted.outcome)).collect());
        let (repeats, ns_min) = (timed.len(), timed[0].outcome.elapsed_ns);
        let spread_ns = interquartile_range(timed.iter().map(|run| run.outcome.elapsed_ns as f64).collect());
        let stages = timeline::stages(&timed.iter().map(|run| run.outcome.timeline.as_slice()).collect::<Vec<_>>());
        let outcomes: Vec<&BlockOutcome> = timed.iter().map(|accepted| &accepted.outcome).collect();
        let transaction_rows = timeline::transactions(block.block, &outcomes);
        let median = timed.swap_remove(timed.len() / 2);
        drop(timed);

        self.say(block, "sampling", self.length);
        let sampled = samples::sample(self.length, || self.once(chain, &job).map(drop))?;
        let (sampling, stacks) = match sampled {
            Ok(samples) => (sampling(&samples), samples.stacks),
            Err(why) => (Sampling { unavailable: Some(why), ..Sampling::default() }, Default::default()),
        };
        self.say(block, "timing instructions", self.length / 2);
        let code = self.code(chain, &job, shipped_ns)?;
        let outcome = &median.outcome;
        Ok(Profile {
            block: block.name.clone(),
            fork: block.fork.to_owned(),
            mode: median.mode.name().to_owned(),
            threads: self.engine.threads(),
            loop_name: self.loop_kind.name().to_owned(),
            transactions: outcome.transactions.len(),
            gas: outcome.gas_used,
            repeats,
            ns: outcome.elapsed_ns,
            ns_min,
            spread_ns,
            stages,
            sampling,
            code,
            transaction_rows,
            counters,
            stacks,
            slices: timeline::slices(outcome),
        })
    }

    /// Shows what is being done with a block, and for about how long.
    fn say(&self, block: &Block<'_>, what: &str, length: Duration) {
        let seconds = if length.is_zero() { String::new() } else { format!(", {:.1} s", length.as_secs_f64()) };
        self.progress.set_message(format!("{}: {what}{seconds}", block.name));
    }

    /// Measures the instructions: executions with and without measurement alternate. `shipped_ns`
    /// is the time of all tasks of an execution in the form of the loop that runs outside of
    /// profiling.
    fn code(&mut self, chain: &mut Chain, job: &Job<'_>, shipped_ns: f64) -> Result<CodeTimes, Failure> {
        let mut timed = false;
        self.engine.start_profile(timed);
        let runs = self.repeat(chain, job, self.length / 2, |engine, accepted| {
            let run = Watched { workers: engine.take_profile(), tasks_ns: tasks_ns(&accepted.outcome), timed };
            timed = !timed;
            engine.start_profile(timed);
            run
        });
        self.engine.take_profile();
        let (watched, alone): (Vec<_>, Vec<_>) = runs?.into_iter().partition(|run| run.timed);
        let unwatched_ns = faster_half(alone.iter().map(|run| run.tasks_ns).collect());
        Ok(code_times(watched, unwatched_ns, shipped_ns, profiled_name(self.loop_kind)))
    }

    /// Executes repeatedly for `length`, within the bounds of a round; `keep` maps each execution
    /// to the result that is returned.
    fn repeat<T>(
        &mut self,
        chain: &mut Chain,
        job: &Job<'_>,
        length: Duration,
        mut keep: impl FnMut(&mut Engine, Accepted) -> T,
    ) -> Result<Vec<T>, Failure> {
        let mut runs = Vec::new();
        let begin = Instant::now();
        while runs.len() < RUNS_MIN || (begin.elapsed() < length && runs.len() < RUNS_MAX) {
            let accepted = self.once(chain, job)?;
            runs.push(keep(&mut self.engine, accepted));
        }
        Ok(runs)
    }

    fn once(&mut self, chain: &mut Chain, job: &Job<'_>) -> Result<Accepted, Failure> {
        self.engine.forget_hashes();
        let list = List { bal: job.bal.as_ref(), existence_log: job.existence_log.as_ref() };
        self.engine.execute_or_record(chain, job.rules, job.block, list, job.mode, false)
    }
}

/// Converts samples to times of one execution.
fn sampling(samples: &Samples) -> Sampling {
    let sample_ns = samples.sampled.sample_ns();
    let rows = Part::ALL.into_iter().map(|part| {
        let of = |keccak| samples.parts.get(&(part, keccak)).copied().unwrap_or_default();
        let count = of(false) + of(true);
        PartRow {
            part: part.name().to_owned(),
            samples: count,
            ns: count as f64 * sample_ns,
            error_ns: samples.deviation(part) * sample_ns,
            keccak_ns: of(true) as f64 * sample_ns,
            share: count as f64 / samples.inside.max(1) as f64,
        }
    });
    Sampling {
        samples: samples.inside,
        repeats: samples.sampled.repeats,
        cpu_ns: (samples.inside as f64 * sample_ns) as u64,
        parts: rows.collect(),
        unavailable: None,
    }
}
