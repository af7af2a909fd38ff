//! `balustrade bench`: measures the speed of the parts, each alone.
//!
//! In: workload files for the loop; the other inputs are generated and are the same on every
//! machine. Out: tables, or JSON lines and last `{"summary": {...}}`. Not here: other
//! implementations for comparison (a workspace member of its own).

mod bal;
mod block;
mod blocks;
mod cost;
mod loops;
mod scaling;
mod senders;
mod state;
mod store;
mod stream;
mod trie;
mod window;

use super::engine::Failure;
use super::measure::PoolError;
use super::{Status, loop_parser, report};
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
    /// Measure blocks whose codes are met for the first time: all codes new, a stream of blocks, and all codes known
    Stream(stream::StreamArgs),
    /// Measure the state on disk alone: cold blocks, blocks one after the other, checkpoints, sizes
    State(state::StateArgs),
    /// Measure generated chains, block after block and several blocks at a time
    Window(window::WindowArgs),
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

    /// The numbers of threads of a comparison: one, and [`Self::threads`].
    fn thread_counts(self) -> Vec<usize> {
        if self.threads() > 1 { vec![1, self.threads()] } else { vec![1] }
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
    let done = match command {
        BenchCommand::Loop(args) => return loops::run(&args.paths, args.bench.json, &args.loops),
        BenchCommand::Senders(args) if args.inputs.is_empty() => senders::run(args.bench),
        BenchCommand::Senders(args) => senders::run_blocks(&args.inputs, args.bench),
        BenchCommand::Bal(args) => bal::run(*args),
        BenchCommand::Block(args) => block::run(*args),
        BenchCommand::Scaling(args) => scaling::run(args),
        BenchCommand::Cost(args) => cost::run(*args),
        BenchCommand::Store(args) => store::run(args),
        BenchCommand::Stream(args) => stream::run(args),
        BenchCommand::State(args) => state::run(args),
        BenchCommand::Window(args) => window::run(args),
        BenchCommand::Trie(args) => trie::run(&args.accounts, args.bench, args.keccak),
    };
    done.unwrap_or_else(|failure| {
        report::complain(&failure);
        blocks::failed(&failure)
    })
}

/// A result is wrong, or implementations differ in it.
fn wrong(what: String) -> Failure {
    Failure::Invalid { what, classes: Vec::new() }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Host(error.to_string())
    }
}

/// Returns the Keccak kernel of this name.
fn width_of_name(name: &str) -> Result<Width, String> {
    let supported = || Width::supported().map(Width::name).collect::<Vec<_>>().join(", ");
    Width::of_name(name).ok_or_else(|| format!("this machine has {}", supported()))
}
