//! The options of `capture`.

use super::super::chain;
use super::ancestors::DEPTH_MAX;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::formats::json::Quantity;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  balustrade capture --rpc http://localhost:8545 23879620 --out blocks/
  balustrade capture --rpc http://localhost:8545 latest --out block.json.gz --strategy proofs
  balustrade capture --rpc http://localhost:8545 100..119 --out chain/ --fork Amsterdam --json
  balustrade run --mode all blocks/";

/// Options of `capture`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CaptureArgs {
    /// URL of the node's JSON-RPC, http or https
    #[arg(long, value_name = "URL")]
    pub rpc: String,
    /// A block, or the first and the last one of a range: numbers, or latest, safe, finalized
    #[arg(value_name = "BLOCK[..BLOCK]", value_parser = Blocks::parse)]
    pub blocks: Blocks,
    /// Write to this folder, or a single block to this file; a file whose name ends with .json is not compressed
    #[arg(long, value_name = "DIR|FILE")]
    pub out: PathBuf,
    /// Include at least this many headers of ancestors; more if the block needs them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=DEPTH_MAX))]
    pub headers: u64,
    /// How to read the parent state; by default from a witness, or by proofs from a node without that method
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyArg>,
    /// The chain of the node, whose schedule gives the rules: mainnet, sepolia, hoodi, holesky or a geth-style genesis
    /// file; by default the public chain with the node's chain id
    #[arg(long, value_name = "NAME|FILE", value_parser = chain::of_arg)]
    pub chain: Option<Box<ChainConfig>>,
    /// The rules of all blocks, for a chain that is not public: a fork such as Cancun, or a transition such as
    /// CancunToPragueAtTime15k
    #[arg(long, value_name = "NAME", conflicts_with = "chain")]
    pub fork: Option<String>,
    /// Most calls in one request; 1 for nodes that take no batches
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub batch: u16,
    /// Time limit of each request
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = super::super::run::seconds)]
    pub timeout: Duration,
    /// Number of threads that execute a block; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    pub json: bool,
}

/// Values of `--strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// debug_executionWitness: a few calls per block
    Witness,
    /// eth_getProof and eth_getCode for what the execution reads: some hundred calls or more, from any node that has the
    /// state of the parent
    Proofs,
}

/// A block as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its number.
    Number(u64),
    /// `latest`, `safe` or `finalized`.
    Tag(&'static str),
}

/// A block, or a range of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The first block.
    pub first: Place,
    /// The last one; `None`: only the first.
    pub last: Option<Place>,
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(tag) = ["latest", "safe", "finalized"].into_iter().find(|tag| *tag == text) {
            return Ok(Self::Tag(tag));
        }
        let number = Quantity::parse(text).and_then(|number| u64::try_from(number.0).ok());
        number.map(Self::Number).ok_or_else(|| format!("{text:?} is no block number, nor latest, safe or finalized"))
    }
}

impl Blocks {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("..") {
            Some((first, last)) => Ok(Self { first: Place::parse(first)?, last: Some(Place::parse(last)?) }),
            None => Ok(Self { first: Place::parse(text)?, last: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_numbers_tags_and_ranges() {
        let number = |number| Place::Number(number);
        assert_eq!(Blocks::parse("7"), Ok(Blocks { first: number(7), last: None }));
        assert_eq!(Blocks::parse("0x10..0x20"), Ok(Blocks { first: number(16), last: Some(number(32)) }));
        assert_eq!(Blocks::parse("9..latest"), Ok(Blocks { first: number(9), last: Some(Place::Tag("latest")) }));
        for wrong in ["", "..", "5..", "-1", "pending", "18446744073709551616", "1...2", "0x1_0"] {
            assert!(Blocks::parse(wrong).is_err(), "{wrong}");
        }
    }
}
