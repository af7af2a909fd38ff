//! `balustrade bench`: measures the speed of the parts, each alone.
//!
//! In: workload files for the loop; the other inputs are generated and are the same on every
//! machine. Out: tables, or JSON lines and last `{"summary": {...}}`. Not here: other
//! implementations for comparison (a workspace member of its own).

mod bal;
mod block;
mod cost;
mod scaling;
mod senders;
mod store;
mod trie;

use super::bench_loop;
use super::bench_pool::{PoolError, pool};
use super::engine::Failure;
use super::loop_workload::BenchError;
use super::report::median;
use super::{Status, bench_senders, loop_parser, report};
use balustrade::arena::keccak::Width;
use balustrade::exec::interpreter::LoopKind;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The measurements.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure interpreter workloads: each is one call transaction, repeated on one thread
    Loop(LoopArgs),
    /// Measure sender recovery in batches against libsecp256k1 and k256; with bundles, its effect
    /// on whole blocks
    Senders(SendersArgs),
    /// Measure decoding, validating and hashing of block access lists of 50 KB, 500 KB and 5 MB
    Bal(BenchArgs),
    /// Measure state roots against the limit that Keccak sets, on one thread and on several
    Trie(TrieArgs),
    /// Measure generated blocks as a whole in every mode, on one thread and on several
    Block(BenchArgs),
    /// Measure how a block's time falls with the number of threads, and predict it for more threads
    /// than this machine has
    Scaling(scaling::ScalingArgs),
    /// Measure small and large generated blocks in sequential and in optimistic mode, and fit the
    /// cost model that chooses between them
    Cost(BenchArgs),
    /// Measure blocks on a delayed store: without prefetch, with prefetch before execution, and
    /// with prefetch during execution
    Store(store::StoreArgs),
}

/// Options that all benches share.
#[derive(Clone, Copy, Debug, Args)]
pub struct BenchArgs {
    /// Largest number of threads that is measured; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    /// The number of threads: the option's, or one per processor.
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
    /// Interpreter loops to run, separated by commas; each workload runs on every loop in turn
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), value_delimiter = ',',
        default_value = LoopKind::default().name())]
    loops: Vec<LoopKind>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `bench senders`.
#[derive(Debug, Args)]
pub struct SendersArgs {
    /// Bundles: files, folders, .tar.gz or .tar.zst archives; without any, generated signatures are
    /// measured
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `bench trie`.
#[derive(Debug, Args)]
pub struct TrieArgs {
    /// Number of accounts of the state; may be given several times
    #[arg(long, value_name = "N", default_values_t = [100_000, 1_000_000],
        value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    accounts: Vec<u64>,
    /// Keccak kernel to hash with (portable, avx2, avx512); by default the widest that this machine
    /// supports
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

/// Returns the Keccak kernel of this name.
fn width_of_name(name: &str) -> Result<Width, String> {
    let supported = || Width::supported().map(Width::name).collect::<Vec<_>>().join(", ");
    Width::of_name(name).ok_or_else(|| format!("this machine has {}", supported()))
}

/// Converts a result to a status and prints its error; `is_host` says whether the environment or
/// the measured code failed.
fn done<E: std::fmt::Display>(result: Result<(), E>, is_host: impl FnOnce(&E) -> bool) -> Status {
    let Err(error) = result else { return Status::Good };
    report::complain(&error);
    if is_host(&error) { Status::Unusable } else { Status::Failed }
}

fn is_host(failure: &Failure) -> bool {
    matches!(failure, Failure::Host(_))
}
