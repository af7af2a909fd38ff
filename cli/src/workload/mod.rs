//! `balustrade workload`: generates blocks for measurements.
//!
//! In: a family, its options, the sizes of block and state, a seed. Out: bundles in the documented
//! format, each with its state, its block access list and the roots that the library's sequential
//! execution computed and all modes confirmed.
//! Families: the mix of the generated chain (`mix`); transfers, tokens and swaps (`tokens`); loops
//! (`loops`); deployments and delegations (`codes`); precompiles (`precompiles`); worst cases
//! (`worst`, `worst_code`). States too large for a bundle, and blocks on them: `state`, `state_blocks`;
//! changes of such states without execution: `state_changes`.
//! Not here: executing bundles (`run`).

pub mod bundle;
mod codes;
mod generator;
mod list;
mod loops;
mod mix;
mod precompiles;
pub mod state;
pub mod state_blocks;
pub mod state_changes;
#[cfg(test)]
mod tests;
mod tokens;
mod world;
mod worst;
mod worst_code;

use super::engine::{Engine, Failure};
use super::output::OutputError;
use super::{Status, interrupt, report};
use balustrade::exec::interpreter::LoopKind;
use bundle::{Form, Target};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use generator::Generator;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use world::{Signed, World};

/// Text below the help of `workload`.
pub const EXAMPLES: &str = "Examples:
  balustrade workload erc20 --out erc20.json.gz
  balustrade workload worst-trie --gas 60 --accounts 1000000 --witness --out trie.json.gz
  balustrade workload calldata --blocks 10 --seed 7 --out blocks";

/// The family to generate.
#[derive(Debug, Subcommand)]
pub enum WorkloadCommand {
    /// List the families and their options
    List(list::ListArgs),
    /// Generate the mix of the generated chain: every transaction type, tokens, loops, deployments,
    /// blobs, withdrawals
    Devnet(Making<mix::Devnet>),
    /// Generate value transfers among many accounts
    Transfers(Making<tokens::Transfers>),
    /// Generate token transfers, with uniform recipients or to one hot account
    Erc20(Making<tokens::Erc20>),
    /// Generate swaps in constant-product pools through a router
    Amm(Making<tokens::Amm>),
    /// Generate loops of hashes, arithmetic and memory copies
    Compute(Making<loops::Compute>),
    /// Generate reads and writes of slots of a large mapping
    Storage(Making<loops::Storage>),
    /// Generate contract deployments; state gas fills the block
    Deploy(Making<codes::Deploy>),
    /// Generate EIP-7702 delegations to a wallet, which makes a batch of token transfers
    #[command(name = "7702")]
    SetCode(Making<codes::SetCode>),
    /// Generate calls of all precompiles or of some
    Precompiles(Making<precompiles::Precompiles>),
    /// Generate large calldata that no code reads
    Calldata(Making<loops::Calldata>),
    /// Generate the most trie node changes for the gas: scattered slots, long shared key prefixes,
    /// or scattered accounts
    WorstTrie(Making<worst::WorstTrie>),
    /// Generate the most block access list items for the gas
    WorstList(Making<worst::WorstList>),
    /// Generate accesses to large codes (balance, hash, size, copy or call), or large init codes
    /// that revert
    WorstCode(Making<worst_code::WorstCode>),
}

/// The options of a family and those that all families share.
#[derive(Debug, Args)]
pub struct Making<K: Args> {
    #[command(flatten)]
    knobs: K,
    #[command(flatten)]
    common: Common,
}

/// Options of all families.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Common {
    /// Gas of each block in millions
    #[arg(long, value_name = "MGAS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    gas: u64,
    /// Number of accounts in the state, without contracts
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=20_000_000))]
    accounts: u64,
    /// Number of accounts that send transactions
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    senders: u64,
    /// Number of blocks, each the child of the one before
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    blocks: u64,
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write only the trie nodes and the state that a block needs, instead of its whole pre-state
    #[arg(long)]
    #[serde(skip)]
    witness: bool,
    /// Write to this folder, or for a single block to this file; files whose names end with .json
    /// are not compressed
    #[arg(long, value_name = "DIR|FILE")]
    #[serde(skip)]
    out: PathBuf,
    /// Number of threads that verify the blocks; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    #[serde(skip)]
    threads: Option<u16>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// The options of a family. Its transactions depend on them and on the world only.
pub trait Knobs: Args + Serialize {
    /// Adds the family's contracts to the world and returns the source of its transactions.
    fn start(&self, world: &mut World) -> Box<dyn Family>;
}

/// A source of transactions without end, all of which succeed.
pub trait Family {
    /// Returns the next transaction.
    fn next(&mut self, world: &mut World) -> Signed;

    /// RLP of the withdrawals of block `number`; by default none.
    fn withdrawals(&mut self, _number: u64) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// Parser of a percentage, 0 to 100.
fn percent() -> RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(0..=100)
}

/// Runs the command.
pub(crate) fn main(command: &WorkloadCommand) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let result = match command {
        WorkloadCommand::List(args) => {
            list::print(args);
            return Status::Good;
        }
        WorkloadCommand::Devnet(making) => making.make("devnet"),
        WorkloadCommand::Transfers(making) => making.make("transfers"),
        WorkloadCommand::Erc20(making) => making.make("erc20"),
        WorkloadCommand::Amm(making) => making.make("amm"),
        WorkloadCommand::Compute(making) => making.make("compute"),
        WorkloadCommand::Storage(making) => making.make("storage"),
        WorkloadCommand::Deploy(making) => making.make("deploy"),
        WorkloadCommand::SetCode(making) => making.make("7702"),
        WorkloadCommand::Precompiles(making) => making.make("precompiles"),
        WorkloadCommand::Calldata(making) => making.make("calldata"),
        WorkloadCommand::WorstTrie(making) => making.make("worst-trie"),
        WorkloadCommand::WorstList(making) => making.make("worst-list"),
        WorkloadCommand::WorstCode(making) => making.make("worst-code"),
    };
    match result {
        Ok(()) => Status::Good,
        Err(error) => {
            report::complain(&error);
            if matches!(error, WorkloadError::Block(Failure::Invalid { .. })) {
                Status::Failed
            } else {
                Status::Unusable
            }
        }
    }
}

/// Why a workload was not generated.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A block could not be built, or the modes disagree on it.
    #[error(transparent)]
    Block(#[from] Failure),
    /// A file or a folder could not be written.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// The options contradict each other.
    #[error("{0}")]
    Usage(&'static str),
}

impl<K: Knobs> Making<K> {
    /// Creates the generator of these options at its genesis.
    fn generator(&self, family: &str) -> Result<Generator, WorkloadError> {
        let Common { gas, accounts, senders, seed, threads, .. } = self.common;
        let engine = Engine::new(threads, LoopKind::default())?;
        let mut world = World::new(seed, gas * 1_000_000, accounts, senders);
        let started = self.knobs.start(&mut world);
        Ok(Generator::new(engine, world, started, self.source(family))?)
    }

    /// The command line that generates the same blocks.
    fn source(&self, family: &str) -> String {
        let mut words = format!("balustrade {} workload {family}", env!("CARGO_PKG_VERSION"));
        for knobs in [serde_json::to_value(&self.common), serde_json::to_value(&self.knobs)] {
            let Ok(serde_json::Value::Object(knobs)) = knobs else { continue };
            for (name, value) in knobs {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                words.push_str(&format!(" --{name} {value}"));
            }
        }
        words
    }

    fn make(&self, family: &str) -> Result<(), WorkloadError> {
        let Common { gas, blocks, witness, json, .. } = self.common;
        let target = Target::new(&self.common.out, blocks)?;
        let form = if witness { Form::Witness } else { Form::Complete };
        let mut generator = self.generator(family)?;
        let bar = report::progress_blocks(blocks);
        let mut rows = Vec::new();
        for number in 1..=blocks {
            let made = generator.next_block()?;
            let name = format!("{family}-{gas}m-{number:02}");
            let path = target.path(&name);
            let file_bytes = bundle::write(&path, family, &made, form, &mut generator)?;
            generator.advance(&made)?;
            let row = json!({
                "block": name, "file": path, "file_bytes": file_bytes, "hash": made.built.header.hash(),
                "transactions": made.outcome.transactions.len(), "failed": made.failed(),
                "gas_asked": gas * 1_000_000, "gas": made.outcome.gas_used, "execution_gas": made.outcome.gas.execution,
                "state_gas": made.outcome.gas.state, "block_bytes": made.built.block.len(),
                "list_bytes": made.built.bal.len(), "list_items": made.list_items, "bound": made.bound.name(),
                "state_root": made.outcome.state_root,
            });
            if json {
                report::json_line(&row);
            }
            rows.push(row);
            bar.inc(1);
            if interrupt::flow().is_break() {
                break;
            }
        }
        bar.finish_and_clear();
        if json {
            report::json_line(&json!({"summary": {"blocks": rows.len(), "source": generator.source}}));
        } else {
            report::line(&table(&rows).to_string());
        }
        Ok(())
    }
}

/// The generator of a family with its default options, blocks of `gas` million gas and a state of `accounts` accounts.
///
/// # Errors
/// There is no such family, or its generator cannot be made.
pub fn generator(family: &str, gas: u64, accounts: u64) -> Result<Generator, Failure> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        workload: WorkloadCommand,
    }
    let host = |what: String| Failure::Host(what);
    let (gas, accounts) = (gas.to_string(), accounts.to_string());
    let words = ["workload", family, "--gas", &gas, "--accounts", &accounts, "--out", "none"];
    let line = <Line as clap::Parser>::try_parse_from(words).map_err(|error| host(error.to_string()))?;
    let generator = match line.workload {
        WorkloadCommand::Devnet(making) => making.generator(family),
        WorkloadCommand::Transfers(making) => making.generator(family),
        WorkloadCommand::Erc20(making) => making.generator(family),
        WorkloadCommand::Amm(making) => making.generator(family),
        WorkloadCommand::Compute(making) => making.generator(family),
        WorkloadCommand::Storage(making) => making.generator(family),
        WorkloadCommand::Deploy(making) => making.generator(family),
        WorkloadCommand::SetCode(making) => making.generator(family),
        WorkloadCommand::Precompiles(making) => making.generator(family),
        WorkloadCommand::Calldata(making) => making.generator(family),
        WorkloadCommand::WorstTrie(making) => making.generator(family),
        WorkloadCommand::WorstList(making) => making.generator(family),
        WorkloadCommand::WorstCode(making) => making.generator(family),
        WorkloadCommand::List(_) => return Err(host(format!("{family} is no family of workloads"))),
    };
    generator.map_err(|error| host(error.to_string()))
}

/// A table with a row per block.
fn table(rows: &[serde_json::Value]) -> comfy_table::Table {
    let mut table = report::table();
    table.set_header(["file", "txs", "failed", "Mgas", "state Mgas", "KB", "list KB", "items", "bound by"]);
    let number = |row: &serde_json::Value, key: &str| row[key].as_u64().unwrap_or_default();
    for row in rows {
        let scaled = |key: &str, unit: f64| format!("{:.2}", number(row, key) as f64 / unit);
        table.add_row([
            row["file"].as_str().unwrap_or_default().to_owned(),
            number(row, "transactions").to_string(),
            number(row, "failed").to_string(),
            scaled("gas", 1e6),
            scaled("state_gas", 1e6),
            scaled("block_bytes", 1e3),
            scaled("list_bytes", 1e3),
            number(row, "list_items").to_string(),
            row["bound"].as_str().unwrap_or_default().to_owned(),
        ]);
    }
    report::right_align(&mut table, 1);
    table
}
