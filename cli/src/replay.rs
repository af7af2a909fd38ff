//! `balustrade replay`: executes a chain's blocks from bytes in memory and measures it.
//!
//! In: chain files with a store or with the state that their first file has; or the blocks in the log of a store, which are
//! executed again on the states of then, in memory. Out: totals, whose time begins when the bytes of blocks and lists are
//! in memory and ends with the last root; with files and a store, the store with a new head.
//! Not here: following the chain (`follow`), single blocks and their stages (`run`).

use super::engine::{Chain, Engine, modes};
use super::follow::{Feed, Keep};
use super::store::{self, Opened};
use super::{ExecArgs, Status, interrupt, report};
use balustrade::formats::chain::ChainReader;
use balustrade::{Roots, WindowOptions};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  balustrade replay chain/                          # bundles of consecutive blocks
  balustrade replay chain.rlp.gz --lists lists --store db
  balustrade replay --store db --from 900 --json    # blocks of the store again; writes nothing";

/// Bytes of blocks and lists that are read before they are executed.
const AHEAD_BYTES: usize = 256 << 20;

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// With a store and without files: execute the blocks of its log from block N on; by default from
    /// the first that is kept
    #[arg(long, value_name = "N", requires = "store", conflicts_with = "inputs")]
    from: Option<u64>,
    /// Stop after block N
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Execute up to N consecutive blocks with block access lists together; 1: block after block
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    window: u16,
    /// State roots that are compared: of every block, or of the last block of each window
    #[arg(long, value_enum, value_name = "WHICH", default_value = "every")]
    roots: RootsArg,
    #[command(flatten)]
    exec: ExecArgs,
}

/// Values of `--roots`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RootsArg {
    /// That of every block
    Every,
    /// That of the last block of each window; it proves the state at its end
    Last,
}

/// The blocks to follow, and the state that they start from.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Chain files in block order: RLP as `geth export` writes it, also gzipped; era1, erae and ere
    /// archives; bundles; test fixtures; or folders of them. Without a store the first file has to be
    /// a bundle with its complete state, or a test fixture
    #[arg(value_name = "FILE", required_unless_present = "store")]
    pub inputs: Vec<PathBuf>,
    /// Folder of the store whose head the blocks follow, and which keeps them
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// File with the RLP of one block access list for each block whose header commits to one, in
    /// block order, also gzipped; without it lists come from bundles and fixtures, or are recorded
    #[arg(long, value_name = "FILE", requires = "inputs")]
    pub lists: Option<PathBuf>,
}

impl SourceArgs {
    /// Opens the files, and the store or the state of the first file.
    ///
    /// # Errors
    /// In words: a file cannot be read, or has no state to start from; the store cannot be opened.
    pub fn open(&self, until: Option<u64>) -> Result<(Opened, Feed), String> {
        let reader = ChainReader::open(&self.inputs, self.lists.as_deref()).map_err(|error| error.to_string())?;
        let opened = match (&self.store, reader.next_file()) {
            (Some(dir), _) => store::open(dir, 1).map_err(|error| format!("{}: {error}", dir.display()))?,
            (None, Some(first)) => store::of_first_file(first)?,
            (None, None) => return Err("there is no file".to_owned()),
        };
        let feed = Feed::of_files(reader, &opened.chain, until).map_err(|error| error.to_string())?;
        Ok((opened, feed))
    }
}

/// Runs the command.
pub fn main(args: &ReplayArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let opened = match &args.source.store {
        Some(dir) if args.source.inputs.is_empty() => {
            of_log(dir, args.from, args.to).map_err(|error| format!("{}: {error}", dir.display()))
        }
        _ => args.source.open(args.to),
    };
    let engine = || Engine::new(args.exec.threads, args.exec.loop_kind).map_err(|error| error.to_string());
    match opened.and_then(|opened| Ok((opened, engine()?))) {
        Ok(((opened, mut feed), engine)) => {
            let roots = match args.roots {
                RootsArg::Every => Roots::Every,
                RootsArg::Last => Roots::Last,
            };
            let window = WindowOptions::new(usize::from(args.window)).with_roots(roots);
            let (modes, json) = (modes(args.exec.mode), args.exec.json);
            Keep { engine, opened, modes, window, ahead_bytes: AHEAD_BYTES, json }.run(&mut feed)
        }
        Err(error) => {
            report::complain(&error);
            Status::Unusable
        }
    }
}

/// The blocks of a store's log, and the state before the first of them in memory.
fn of_log(dir: &Path, from: Option<u64>, to: Option<u64>) -> Result<(Opened, Feed), String> {
    let (db, config, _) = store::open_db(dir, 1)?;
    let numbers = store::logged(&db, from, to)?;
    let items = store::log_items(&db, numbers.clone())?;
    let db = db.detached(numbers.start() - 1).map_err(|error| error.to_string())?;
    let opened = Opened { chain: Chain::of_db(db), config };
    let feed = Feed::of_items(items, &opened.chain).map_err(|error| error.to_string())?;
    Ok((opened, feed))
}
