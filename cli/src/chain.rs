//! `balustrade chain` and the option `--chain`: a public chain by name, or a geth-style genesis
//! file.
//!
//! In: a name or a path. Out: the chain's fork schedule; for a genesis file also its genesis block,
//! with the state root computed by the library's tries.
//! Not here: which schedules are valid (the library).

use super::{Status, report};
use balustrade::exec::rules::chain::{ChainConfig, ChainError};
use balustrade::formats::Genesis;
use balustrade::formats::{InputError, read_document};
use clap::Args;
use serde_json::json;

const EXAMPLES: &str = "Examples:
  balustrade chain mainnet
  balustrade chain genesis.json --json";

/// Options of `chain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChainArgs {
    /// A chain's name (mainnet, sepolia, hoodi, holesky), or the path of a genesis file in
    /// go-ethereum's format
    #[arg(value_name = "NAME|FILE")]
    chain: String,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Returns the chain of this name; or the chain of the genesis file at this path, with its genesis.
pub fn read(name_or_path: &str) -> Result<(ChainConfig, Option<Genesis>), String> {
    match ChainConfig::named(name_or_path) {
        Ok(chain) => Ok((chain, None)),
        Err(unknown @ ChainError::UnknownChain(_)) => match read_document(name_or_path.as_ref()) {
            Ok(document) => {
                let genesis =
                    Genesis::from_json(&document.bytes).map_err(|error| format!("{name_or_path}: {error}"))?;
                Ok((genesis.config.clone(), Some(genesis)))
            }
            Err(InputError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(unknown.to_string())
            }
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the value of `--chain`: a name or the path of a genesis file.
pub fn of_arg(name_or_path: &str) -> Result<Box<ChainConfig>, String> {
    read(name_or_path).map(|(chain, _)| Box::new(chain))
}

/// Runs the command.
pub fn main(args: &ChainArgs) -> Status {
    let shown = read(&args.chain).and_then(|(chain, genesis)| {
        let sealed = genesis.map(|genesis| genesis.seal().map(|(header, _)| (genesis.state.len(), header)));
        Ok((chain, sealed.transpose().map_err(|error| error.to_string())?))
    });
    let (chain, genesis) = match shown {
        Ok(shown) => shown,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let unit = |by_time| if by_time { "timestamp" } else { "block" };
    if args.json {
        for (step, at) in chain.schedule() {
            report::json_line(&json!({"step": step.key(), "by": unit(step.is_by_time()), "at": at}));
        }
        let mut summary = json!({"chain_id": chain.chain_id, "deposit_contract": chain.deposit_contract});
        if let Some(difficulty) = chain.terminal_total_difficulty {
            summary["terminal_total_difficulty"] = json!(difficulty);
        }
        if let Some((accounts, header)) = genesis {
            summary["genesis_hash"] = json!(header.hash());
            summary["state_root"] = json!(header.state_root);
            summary["accounts"] = json!(accounts);
        }
        report::json_line(&json!({"summary": summary}));
        return Status::Good;
    }
    let mut table = report::table();
    table.set_header(["step", "by", "from"]);
    for (step, at) in chain.schedule() {
        table.add_row([step.key().to_owned(), unit(step.is_by_time()).to_owned(), at.to_string()]);
    }
    report::right_align(&mut table, 2);
    report::line(&table.to_string());
    report::line(&format!("chain id {}", chain.chain_id));
    if let Some((accounts, header)) = genesis {
        report::line(&format!("genesis {}, state root {}, {accounts} accounts", header.hash(), header.state_root));
    }
    Status::Good
}
