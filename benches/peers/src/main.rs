//! Balustrade side by side with revm, ethrex and alloy, in one process and one run.
//!
//! In: the command line. Out: a table, or one JSON object per line, the last one `{"summary": {...}}`. A figure is
//! printed only if gas, outputs and roots are equal; a mismatch is an error. A ratio is peer time / our time.
//! All contestants use the same allocator and the same build options. Exit status: 0 success, 1 results differ, 2 usage
//! error or unreadable input.
//! Not here: the measurements of the command's own `bench`.

mod bal;
mod block;
mod chain;
mod convert;
mod differential;
mod ethrex_flat;
mod ethrex_tries;
mod flame;
mod loops;
mod measure;
mod report;
mod threads;
mod trie;

use balustrade_cli::measure::PoolError;
use balustrade_cli::measure::workload::BenchError;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs Balustrade and other implementations side by side.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Interpreter workloads: revm (bare interpreter and whole transactions) and LEVM
    Loop(loops::LoopArgs),
    /// State roots: ethrex-trie and alloy-trie
    Trie(trie::TrieArgs),
    /// Block access lists: alloy-eip7928 and ethrex-common
    Bal(bal::BalArgs),
    /// Whole blocks: revm and ethrex, sequential and driven by the list
    Block(block::BlockArgs),
    /// Chains of generated blocks, each block once: revm sequentially, ethrex driven by the list
    Chain(chain::ChainArgs),
    /// Random blocks: revm and ethrex, sequential and driven by the list, must agree with us
    Differential(differential::DifferentialArgs),
}

/// Options of every comparison.
#[derive(Clone, Copy, Debug, Args)]
struct CommonArgs {
    /// Threads for all contestants; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
    /// Interleaved rounds; medians are taken over them
    #[arg(long, value_name = "K", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// Options of comparisons whose contestants can be sampled.
#[derive(Clone, Debug, Args)]
struct FlameArgs {
    /// After the measurement, sample each contestant alone for some seconds and draw its flamegraph into this folder
    #[arg(long, value_name = "FOLDER")]
    flamegraphs: Option<PathBuf>,
}

/// Errors that end a comparison.
#[derive(Debug, thiserror::Error)]
enum PeersError {
    /// Contestants disagree, or one refuses an input that the others accept.
    #[error("{what}: {who}: {difference}")]
    Mismatch {
        /// The workload or block.
        what: String,
        /// The contestant that differs.
        who: &'static str,
        /// The difference.
        difference: String,
    },
    /// An input cannot be read.
    #[error("{}: {reason}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// A workload cannot be read.
    #[error(transparent)]
    Workload(#[from] BenchError),
    /// The system refuses threads.
    #[error("threads: {0}")]
    Threads(String),
}

impl From<PoolError> for PeersError {
    fn from(error: PoolError) -> Self {
        Self::Threads(error.to_string())
    }
}

impl PeersError {
    fn status(&self) -> u8 {
        match self {
            Self::Mismatch { .. } => 1,
            Self::Input { .. } | Self::Workload(_) | Self::Threads(_) => 2,
        }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Loop(args) => loops::main(&args),
        Command::Trie(args) => trie::main(&args),
        Command::Bal(args) => bal::main(&args),
        Command::Chain(args) => chain::main(&args),
        Command::Block(args) => block::main(&args),
        Command::Differential(args) => differential::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.status())
        }
    }
}
