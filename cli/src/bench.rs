//! `balustrade bench`: how fast the parts are, each measured alone.
//!
//! In: workload files for the loop, nothing for the others: their inputs are made up, the same everywhere.
//! Out: tables, or JSON lines and last `{"summary": {...}}`. Not here: peers (a workspace member of their own).

mod bal;
mod block;
mod cost;
mod scaling;
mod senders;
mod store;
mod trie;

use super::bench_loop;
use super::engine::Failure;
use super::loop_workload::BenchError;
use super::report::median;
use super::{Status, bench_senders, loop_parser, report};
use balustrade::arena::keccak::Width;
use balustrade::exec::interpreter::LoopKind;
use balustrade::executor::pool_builder;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Interpreter workloads, each one call transaction, again and again on one thread
    Loop(LoopArgs),
    /// Sender recovery in batches, beside libsecp256k1 and k256; with blocks, what it does for each whole block
    Senders(SendersArgs),
    /// Decoding, validating and hashing access lists of 50 KB, 500 KB and 5 MB
    Bal(BenchArgs),
    /// State roots beside the limit that Keccak sets, on one thread and on several
    Trie(TrieArgs),
    /// Whole generated blocks in every mode, on one thread and on several
    Block(BenchArgs),
    /// How a block's time falls with the number of threads: measured, and predicted beyond this machine
    Scaling(scaling::ScalingArgs),
    /// Small and large generated blocks in order and ahead of it: where speculation begins to pay
    Cost(BenchArgs),
    /// Blocks on a store that takes its time: no prefetch, prefetch before execution, prefetch beside it
    Store(store::StoreArgs),
}

/// Options of every bench.
#[derive(Clone, Copy, Debug, Args)]
pub struct BenchArgs {
    /// Threads of what can use several; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    /// The number of threads that these options mean.
    fn threads(self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, |count| count.get());
        self.threads.map_or_else(all, usize::from)
    }
}

/// Options of `bench loop`.
#[derive(Debug, Args)]
pub struct LoopArgs {
    /// Workload files `{name, code, calldata, gas, accounts}`, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Which interpreter loops run, one after the other; several are separated by commas
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), value_delimiter = ',',
        default_value = LoopKind::default().name())]
    loops: Vec<LoopKind>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `bench senders`.
#[derive(Debug, Args)]
pub struct SendersArgs {
    /// Bundles: files, folders, .tar.gz or .tar.zst archives
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `bench trie`.
#[derive(Debug, Args)]
pub struct TrieArgs {
    /// Accounts of the state; may be given several times
    #[arg(long, value_name = "N", default_values_t = [100_000, 1_000_000],
        value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    accounts: Vec<u64>,
    /// Hash with this kernel (portable, avx2, avx512) instead of the machine's widest
    #[arg(long, value_name = "KERNEL", value_parser = width_of_name, default_value = Width::detect().name())]
    keccak: Width,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Runs the command.
pub fn main(command: &BenchCommand) -> Status {
    match command {
        BenchCommand::Loop(args) => match bench_loop::run(&args.paths, args.bench.json, &args.loops) {
            Ok(()) => Status::Good,
            Err(error) => {
                report::complain(&error);
                if matches!(error, BenchError::Transaction { .. }) { Status::Failed } else { Status::Unusable }
            }
        },
        BenchCommand::Senders(args) if !args.inputs.is_empty() => senders::run(&args.inputs, args.bench),
        BenchCommand::Senders(args) => {
            let is_host = |error: &bench_senders::BenchError| matches!(error, bench_senders::BenchError::Pool(_));
            done(bench_senders::run(args.bench.json, args.bench.threads()), is_host)
        }
        BenchCommand::Bal(args) => {
            let is_host = |error: &bal::BalBenchError| matches!(error, bal::BalBenchError::Pool(_));
            done(bal::run(args.json, args.threads()), is_host)
        }
        BenchCommand::Block(args) => done(block::run(args.json, args.threads()), is_host),
        BenchCommand::Scaling(args) => scaling::main(args),
        BenchCommand::Cost(args) => done(cost::run(args.json, args.threads()), is_host),
        BenchCommand::Store(args) => store::main(args),
        BenchCommand::Trie(args) => {
            let is_host = |error: &trie::TrieBenchError| matches!(error, trie::TrieBenchError::Pool(_));
            done(trie::run(&args.accounts, args.bench.json, args.bench.threads(), args.keccak), is_host)
        }
    }
}

/// The Keccak kernel of that name.
fn width_of_name(name: &str) -> Result<Width, String> {
    let supported = || Width::supported().map(Width::name).collect::<Vec<_>>().join(", ");
    Width::of_name(name).ok_or_else(|| format!("this machine has {}", supported()))
}

/// Good, or the status of the error that is printed: the host may be at fault, or what was measured.
fn done<E: std::fmt::Display>(result: Result<(), E>, is_host: impl FnOnce(&E) -> bool) -> Status {
    let Err(error) = result else { return Status::Good };
    report::complain(&error);
    if is_host(&error) { Status::Unusable } else { Status::Failed }
}

fn is_host(failure: &Failure) -> bool {
    matches!(failure, Failure::Host(_))
}

/// The system refuses threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {error}")]
pub(super) struct PoolError {
    threads: usize,
    error: rayon::ThreadPoolBuildError,
}

/// A pool of this many threads.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool, PoolError> {
    let threads = threads.max(1);
    pool_builder(threads).build().map_err(|error| PoolError { threads, error })
}
