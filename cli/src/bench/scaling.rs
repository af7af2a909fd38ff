//! `bench scaling`: measures how a block's time falls with the number of threads, and predicts it
//! for more threads.
//!
//! In: bundles, or blocks of the chain that `run` generates. Out: per block the time in `bal` mode
//! on 1 to N threads (measured alternately, medians); the times that a simulation of the one-thread
//! run predicts for more threads, and its error where both are known; the critical path, the
//! largest transaction, and the effect of other task orders.
//! Relies on: one thread runs its jobs one after another, so that a span's length is its work.
//! Not here: the simulation (`model`).

pub(super) mod model;

use super::super::contents::no_block;
use super::super::engine::{Accepted, Engine, Failure};
use super::super::measure::median;
use super::super::{Status, report};
use super::blocks::{Subject, each_block, engines};
use super::{BenchArgs, wrong};
use balustrade::bal::{self, Limits};
use balustrade::exec::block::tasks::task_order;
use balustrade::exec::wire::Block;
use balustrade::executor::{Span, Stage};
use balustrade::{BlockOutcome, Mode};
use clap::Args;
use model::{Through, Work};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Number of generated blocks if no input is given.
const BLOCKS: usize = 4;
/// Number of runs before the measured ones: code is analysed after a few runs.
const WARM_UP: usize = 2;
/// Numbers of threads for which times are predicted.
const PREDICTED: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// Options of `bench scaling`.
#[derive(Debug, Args)]
pub struct ScalingArgs {
    /// Bundles: files, folders, .tar.gz or .tar.zst archives; without any, blocks of the generated
    /// chain
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Number of runs of each block on each number of threads; the median is reported
    #[arg(long, value_name = "K", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    #[command(flatten)]
    bench: BenchArgs,
}

/// An order in which threads claim tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The order of the executor: long transactions first by gas limit, the others in block order.
    Executed,
    /// Block order.
    Block,
    /// Descending gas limit.
    GasLimit,
    /// Descending estimate from gas limit and block access list.
    Estimated,
    /// Descending measured time, which is not known before execution: the bound for all orders.
    Known,
}

impl Order {
    const ALL: [Self; 5] = [Self::Executed, Self::Block, Self::GasLimit, Self::Estimated, Self::Known];

    const fn name(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Block => "block",
            Self::GasLimit => "gas_limit",
            Self::Estimated => "longest_estimated",
            Self::Known => "longest_known",
        }
    }
}

/// The measured and predicted times of one block.
struct Row {
    block: String,
    transactions: usize,
    gas: u64,
    /// Median time in nanoseconds for each number of threads, beginning with one.
    measured_ns: Vec<f64>,
    /// Work per task on two threads over that on one thread: how much two threads slow each other
    /// down.
    slowdown: Option<f64>,
    work: Work,
    /// Gas limit of each task; 0 for the system phases.
    limits: Vec<u64>,
    /// Estimated duration of each task, in arbitrary units.
    estimates: Vec<f64>,
}

impl Row {
    fn order(&self, order: Order, threads: usize) -> Vec<usize> {
        let mut tasks: Vec<usize> = (0..self.work.tasks.len()).collect();
        match order {
            Order::Executed => {
                let order = task_order(self.transactions, |row| self.limits[row + 1], threads);
                if !order.is_empty() {
                    tasks = order.into_iter().map(|index| index as usize).collect();
                }
            }
            Order::Block => {}
            Order::GasLimit => tasks.sort_by_key(|task| core::cmp::Reverse(self.limits[*task])),
            Order::Estimated => tasks.sort_by(|one, two| self.estimates[*two].total_cmp(&self.estimates[*one])),
            Order::Known => tasks.sort_by(|one, two| self.work.tasks[*two].total_cmp(&self.work.tasks[*one])),
        }
        tasks
    }

    fn predicted(&self, threads: usize, order: Order) -> f64 {
        self.work.simulate(threads, &self.order(order, threads))
    }

    /// Relative error of the prediction for two threads: predicted over measured time, minus 1.
    fn error(&self) -> Option<f64> {
        self.measured_ns.get(1).map(|measured| self.predicted(2, Order::Executed) / measured - 1.0)
    }

    /// Index of the transaction of a task; `None` for a system phase.
    fn transaction(&self, task: usize) -> Option<usize> {
        (1..=self.transactions).contains(&task).then(|| task - 1)
    }

    fn through(&self) -> String {
        match self.work.critical_path().through {
            Through::Task(task) => {
                self.transaction(task).map_or_else(|| "a system phase".to_owned(), |tx| format!("transaction {tx}"))
            }
            Through::Root => "the state root".to_owned(),
            Through::Beside => "list hash or body roots".to_owned(),
        }
    }

    fn json(&self) -> Value {
        let (largest, largest_ns) = self.work.largest_task();
        let path = self.work.critical_path();
        let measured = self
            .measured_ns
            .iter()
            .enumerate()
            .map(|(at, ns)| json!({"threads": at + 1, "ns": ns, "speed_up": self.measured_ns[0] / ns}));
        let predicted = PREDICTED.map(|threads| {
            let orders = Order::ALL.map(|order| (order.name().to_owned(), json!(self.predicted(threads, order))));
            let ns = self.predicted(threads, Order::Executed);
            json!({
                "threads": threads, "ns": ns, "speed_up": self.measured_ns[0] / ns,
                "orders_ns": Value::Object(orders.into_iter().collect()),
            })
        });
        let Work { decode, list_hash, body_roots, read, recover, root, verify, tasks, .. } = &self.work;
        json!({
            "block": self.block, "transactions": self.transactions, "gas": self.gas,
            "measured": measured.collect::<Vec<_>>(), "predicted": predicted,
            "error_2": self.error(), "slowdown_2": self.slowdown,
            "critical_path_ns": path.ns, "critical_path_through": self.through(),
            "largest_transaction": self.transaction(largest), "largest_ns": largest_ns,
            "work_ns": {
                "decode": decode, "list_hash": list_hash, "body_roots": body_roots, "read": read, "recover": recover,
                "execute": tasks.iter().sum::<f64>(), "root": root, "verify_and_rest": verify,
            },
        })
    }
}

/// What is kept of an execution.
struct Run {
    elapsed_ns: u64,
    timeline: Vec<Span>,
    /// Nanoseconds of each task.
    tasks_ns: Vec<u64>,
}

impl Run {
    fn of(accepted: &Accepted) -> Self {
        let BlockOutcome { elapsed_ns, timeline, tasks, .. } = &accepted.outcome;
        let tasks_ns = tasks.iter().map(|task| task.end_ns - task.start_ns).collect();
        Self { elapsed_ns: *elapsed_ns, timeline: timeline.clone(), tasks_ns }
    }
}

/// Median of a figure over the runs.
fn over(runs: &[Run], figure: impl Fn(&Run) -> u64) -> f64 {
    median(&runs.iter().map(|run| figure(run) as f64).collect::<Vec<_>>())
}

/// Runs the command.
pub(super) fn run(args: &ScalingArgs) -> Result<Status, Failure> {
    // One engine per number of threads, beginning with one thread.
    let mut engines = engines(1..=args.bench.threads())?;
    let mut bench = Bench { args, rows: Vec::new() };
    let measure = &mut |engines: &mut [Engine], subject: &mut Subject<'_>| bench.measure(engines, subject);
    let status = each_block(&args.inputs, BLOCKS, &mut engines, measure);
    Ok(if bench.rows.is_empty() { no_block(status) } else { bench.print_all(status) })
}

struct Bench<'a> {
    args: &'a ScalingArgs,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Measures a block on every number of threads alternately.
    fn measure(&mut self, engines: &mut [Engine], subject: &mut Subject<'_>) -> Result<(), Failure> {
        let ways = engines.len();
        let execute = |subject: &mut Subject<'_>, way: usize| subject.execute(&mut engines[way], Mode::Bal);
        let runs = subject.in_turns((self.args.repeat as usize, WARM_UP), ways, execute, Run::of)?;
        let single = &runs[0];
        let task_work = |runs: &[Run]| over(runs, |run| run.tasks_ns.iter().sum());
        let decoded = Block::decode(subject.block.clone()).map_err(|error| wrong(error.to_string()))?;
        let list = subject.list.bal.ok_or_else(|| wrong("the block has no list".to_owned()))?;
        let columns = bal::decode(list, &Limits::format_only()).map_err(|error| wrong(error.to_string()))?;
        let transactions = decoded.transactions.len();
        let signatures = transactions + decoded.transactions.all_authorizations().len();
        let work = work_of(single, signatures, columns.account_count().max(columns.slot_count()));
        let rows_at = columns.rows_per_index(transactions);
        let limits = decoded.transactions.rows().iter().map(|tx| tx.gas_limit);
        let limits: Vec<u64> = [0].into_iter().chain(limits).chain([0]).collect();
        let estimates = rows_at.iter().zip(&limits).map(|(rows, limit)| estimate(*limit, *rows)).collect();
        let row = Row {
            block: subject.name.to_owned(),
            transactions,
            gas: decoded.header.gas_used,
            measured_ns: runs.iter().map(|runs| over(runs, |run| run.elapsed_ns)).collect(),
            slowdown: runs.get(1).map(|two| task_work(two) / task_work(single)),
            work,
            limits,
            estimates,
        };
        if self.args.bench.json {
            report::json_line(&row.json());
        }
        self.rows.push(row);
        Ok(())
    }

    fn print_all(self, status: Status) -> Status {
        let errors: Vec<f64> = self.rows.iter().filter_map(Row::error).map(f64::abs).collect();
        let mean_error = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let total = |time: &dyn Fn(&Row) -> f64| self.rows.iter().map(time).sum::<f64>();
        let one = total(&|row| row.measured_ns[0]);
        let curve: Vec<(usize, [f64; Order::ALL.len()])> = PREDICTED
            .iter()
            .map(|threads| (*threads, Order::ALL.map(|order| one / total(&|row| row.predicted(*threads, order)))))
            .collect();
        let measured: Vec<f64> = (0..self.threads()).map(|at| one / total(&|row| row.measured_ns[at])).collect();
        if self.args.bench.json {
            let predicted = curve.iter().map(|(threads, speed_ups)| {
                let orders = Order::ALL.iter().zip(speed_ups).map(|(order, up)| (order.name().to_owned(), json!(up)));
                json!({"threads": threads, "speed_up": Value::Object(orders.collect())})
            });
            report::json_line(&json!({"summary": {
                "blocks": self.rows.len(), "measured_speed_up": measured,
                "predicted": predicted.collect::<Vec<_>>(), "mean_error_2": mean_error,
            }}));
        } else {
            self.print(&curve, &measured, mean_error);
        }
        status
    }

    fn threads(&self) -> usize {
        self.args.bench.threads()
    }

    fn print(&self, curve: &[(usize, [f64; Order::ALL.len()])], measured: &[f64], mean_error: f64) {
        let mut table = report::table();
        let mut header = ["block", "txs", "Mgas", "ms on 1"].map(str::to_owned).to_vec();
        header.extend((2..=self.threads()).map(|threads| format!("x on {threads}")));
        header.extend(PREDICTED.map(|threads| format!("~x on {threads}")));
        header.extend(["error %", "slower", "path ms", "through", "largest tx", "its ms"].map(str::to_owned));
        table.set_header(header);
        for row in &self.rows {
            let speed_up = |ns: f64| format!("{:.2}", row.measured_ns[0] / ns);
            let (largest, largest_ns) = row.work.largest_task();
            let mut cells = vec![
                row.block.clone(),
                row.transactions.to_string(),
                format!("{:.1}", row.gas as f64 / 1e6),
                format!("{:.2}", row.measured_ns[0] / 1e6),
            ];
            cells.extend(row.measured_ns[1..].iter().map(|ns| speed_up(*ns)));
            cells.extend(PREDICTED.map(|threads| speed_up(row.predicted(threads, Order::Executed))));
            cells.push(row.error().map_or_else(String::new, |error| format!("{:+.1}", 100.0 * error)));
            cells.push(row.slowdown.map_or_else(String::new, |slowdown| format!("{slowdown:.2}")));
            cells.push(format!("{:.2}", row.work.critical_path().ns / 1e6));
            cells.push(row.through());
            cells.push(row.transaction(largest).map_or_else(|| "system".to_owned(), |tx| tx.to_string()));
            cells.push(format!("{:.2}", largest_ns / 1e6));
            table.add_row(cells);
        }
        report::right_align(&mut table, 1);
        report::line(&table.to_string());
        report::line(
            "x: speed-up over one thread, measured; ~x: predicted from the run on one thread; path: critical path;",
        );
        report::line("slower: work of the tasks on two threads over that on one");
        let list = |figures: &[f64]| figures.iter().map(|figure| format!("{figure:.2}")).collect::<Vec<_>>().join(" ");
        report::line(&format!("all blocks, measured from one thread on: {}", list(measured)));
        for (at, order) in Order::ALL.iter().enumerate() {
            let speed_ups: Vec<f64> = curve.iter().map(|(_, speed_ups)| speed_ups[at]).collect();
            report::line(&format!(
                "all blocks, predicted on {PREDICTED:?}, order {}: {}",
                order.name(),
                list(&speed_ups)
            ));
        }
        if self.threads() > 1 {
            report::line(&format!("mean error of the prediction for two threads: {:.1} %", 100.0 * mean_error));
        }
    }
}

/// The work of each stage and each task on one thread: medians over the runs, in nanoseconds.
fn work_of(runs: &[Run], signatures: usize, rows: usize) -> Work {
    let stage = |stage: Stage| over(runs, |run| report::busy_ns(&run.timeline, stage));
    let task = |at: usize| over(runs, |run| run.tasks_ns.get(at).copied().unwrap_or(0));
    let tasks = (0..runs[0].tasks_ns.len()).map(task).collect();
    let mut work = Work { tasks, signatures, rows, ..Work::of_stages(stage) };
    // Time outside of all stages is serial: sealing, merging the workers' results, and gaps between
    // the stages.
    work.verify = (over(runs, |run| run.elapsed_ns) - work.total()).max(0.0);
    work
}

/// Estimates the duration of a task before execution, in units of gas: the geometric mean of an
/// upper bound, the gas limit, and a lower bound, the cost of its rows in the block access list.
fn estimate(gas_limit: u64, rows: u32) -> f64 {
    /// Gas per row of the list, and gas of a transaction without rows.
    const ROW_GAS: f64 = 5_000.0;
    const BASE_GAS: f64 = 12_000.0;
    let least = BASE_GAS + ROW_GAS * f64::from(rows);
    (least * (gas_limit as f64).max(least)).sqrt()
}
