//! Stores of Ethereum's state side by side: the same state, the same blocks, each block durable.
//!
//! In: numbers of rows. Out: a table, or JSON lines. See README.md.

mod contestants;
mod measure;
mod report;
#[cfg(test)]
mod tests;
mod workload;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures stores side by side.
#[derive(Debug, Parser)]
struct Args {
    /// Folder for the stores, on the device to be measured
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The block device of this folder, whose reads are counted
    #[arg(long, value_name = "NAME", default_value = "vda")]
    device: String,
    /// Number of accounts and slots of the state; may be given several times
    #[arg(long, value_name = "N", default_values_t = [1_000_000])]
    rows: Vec<u64>,
    /// Number of names that a block reads; it changes half of them
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    names: usize,
    /// Number of blocks with nothing in memory
    #[arg(long, value_name = "N", default_value_t = 5)]
    cold: u64,
    /// Number of blocks with new names, one after the other
    #[arg(long, value_name = "N", default_value_t = 120)]
    next: u64,
    /// Number of blocks of a store's turn among these
    #[arg(long, value_name = "N", default_value_t = 10)]
    turn: usize,
    /// Number of times that each block with names of earlier blocks is run
    #[arg(long, value_name = "N", default_value_t = 10)]
    warm: u64,
    /// Number of different blocks among these
    #[arg(long, value_name = "N", default_value_t = 4)]
    sets: u64,
    /// Measure these stores only: ours-files, ours-redb, nomt, rocksdb, mdbx, redb
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    store: Vec<String>,
    /// Leave the stores in the folder
    #[arg(long)]
    keep: bool,
    /// Print one JSON object per store
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    for rows in &args.rows {
        match measure::measure(&args, *rows) {
            Ok((workload, measured)) if args.json => report::json(&workload, &measured),
            Ok((workload, measured)) => report::table(&workload, &measured),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
