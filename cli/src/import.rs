//! `balustrade import`: executes the blocks of chain files on the head of a store and keeps them.
//!
//! In: chain files and a store. Out: the store with a new head, and totals.
//! Blocks at or below the head are skipped, so that an import that was stopped goes on when it is
//! called again. The first invalid block ends the import; its parent is then the head.
//! Afterwards the store is at a checkpoint.
//! Not here: reading files (`balustrade::formats::chain`), making a block durable (the library).

use super::engine::{Accepted, Engine, Failure, List, modes};
use super::report::{self, BlockRow, RunSummary};
use super::store::{Opened, head_json};
use super::{ExecArgs, Status, interrupt};
use alloy_primitives::B256;
use balustrade::Mode;
use balustrade::exec::wire::Header;
use balustrade::formats::chain::{ChainFileError, ChainItem, ChainReader};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  balustrade import chain.rlp.gz --store db
  balustrade import mainnet-era1/ --store db --until 1000000
  balustrade import chain.rlp --lists lists.rlp --store db --json";

/// Options of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Chain files in block order: RLP as `geth export` writes it, also gzipped; era1, erae and ere
    /// archives; bundles; test fixtures; or folders of them
    #[arg(value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// File with the RLP of one block access list for each block whose header commits to one, in
    /// block order, also gzipped; without it lists come from bundles and fixtures, or are recorded
    #[arg(long, value_name = "FILE")]
    lists: Option<PathBuf>,
    /// Write blocks to disk in groups of N; after a crash, up to N - 1 blocks have to be imported again
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sync: u32,
    /// Stop after the block with this number
    #[arg(long, value_name = "N")]
    until: Option<u64>,
    #[command(flatten)]
    exec: ExecArgs,
}

/// Why an import ended before the end of its files.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// A signal, or standard output is closed.
    #[error("stopped by a signal")]
    Interrupted,
    /// An input cannot be read.
    #[error(transparent)]
    File(#[from] ChainFileError),
    /// A block at or below the head is not the store's.
    #[error("block {number} of the file is {given}, that of the store is {known}: another chain")]
    OtherChain { number: u64, given: B256, known: B256 },
    /// A block above the head is not its child.
    #[error("block {number} ({hash}) is not the child of the head, block {head} ({head_hash}): its parent is {parent}")]
    NotAChild { number: u64, hash: B256, parent: B256, head: u64, head_hash: B256 },
    /// A block is invalid, or it could not be executed.
    #[error("block {number}: {failure}")]
    Block { number: u64, failure: Failure },
    /// The store has no header of its head.
    #[error("the store has no head")]
    NoHead,
}

impl Stopped {
    const fn status(&self) -> Status {
        match self {
            Self::Block { failure: Failure::Invalid { .. }, .. } => Status::Failed,
            Self::Interrupted => Status::Good,
            _ => Status::Unusable,
        }
    }
}

/// An import in progress.
struct Import<'a> {
    engine: Engine,
    opened: Opened,
    modes: &'a [Option<Mode>],
    until: Option<u64>,
    json: bool,
    totals: RunSummary,
    skipped: u64,
    started: Instant,
}

/// Runs the command on the store that `open` opens: it gets the folder and the number of blocks that
/// are made durable at once.
pub fn main(args: &ImportArgs, open: impl FnOnce(&Path, u32) -> Result<Opened, String>) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    match open(&args.store, args.sync) {
        Ok(opened) => run(args, opened).1,
        Err(error) => {
            report::complain(&format_args!("{}: {error}", args.store.display()));
            Status::Unusable
        }
    }
}

/// Imports into an open store and returns it.
fn run(args: &ImportArgs, opened: Opened) -> (Opened, Status) {
    let reader = ChainReader::open(&args.inputs, args.lists.as_deref()).map_err(|error| error.to_string());
    let engine = Engine::new(args.exec.threads, args.exec.loop_kind).map_err(|error| error.to_string());
    let (mut reader, engine) = match reader.and_then(|reader| Ok((reader, engine?))) {
        Ok(both) => both,
        Err(error) => {
            report::complain(&error);
            return (opened, Status::Unusable);
        }
    };
    let mut import = Import {
        engine,
        opened,
        modes: modes(args.exec.mode),
        until: args.until,
        json: args.exec.json,
        totals: RunSummary::default(),
        skipped: 0,
        started: Instant::now(),
    };
    let bar = report::progress_import(reader.bytes_total());
    let mut stopped = import.blocks(&mut reader, &bar).err();
    bar.finish_and_clear();
    if let Err(failure) = import.opened.chain.checkpoint() {
        let number = import.opened.chain.head().map_or(0, |head| head.number);
        stopped = Some(Stopped::Block { number, failure });
    }
    let status = import.finish(stopped.as_ref());
    (import.opened, status)
}

impl Import<'_> {
    /// Imports the blocks of the files up to the first that cannot be kept.
    fn blocks(&mut self, reader: &mut ChainReader, bar: &ProgressBar) -> Result<(), Stopped> {
        while let Some(item) = reader.next() {
            if interrupt::flow().is_break() {
                return Err(Stopped::Interrupted);
            }
            let item = item?;
            let header = Header::of_block(&item.block).map_err(|error| {
                let number = self.opened.chain.head().map_or(0, |head| head.number.saturating_add(1));
                let failure = Failure::Invalid { what: error.to_string(), classes: Vec::new() };
                Stopped::Block { number, failure }
            })?;
            if self.until.is_some_and(|until| header.number > until) {
                return Ok(());
            }
            if self.is_known(&header)? {
                self.skipped += 1;
            } else {
                let accepted = self.block(&item, &header)?;
                self.totals.add(&accepted.outcome);
                if self.json {
                    let fork = self.opened.config.rules_of(&header).fork.name().to_owned();
                    report::json_line(&BlockRow::new(format!("{}", header.number), fork, &accepted, Vec::new()).json());
                }
            }
            bar.set_position(reader.bytes_read());
            bar.set_message(self.speed(&header));
        }
        Ok(())
    }

    /// Whether a block is at or below the head, where it must be the store's.
    fn is_known(&self, header: &Header) -> Result<bool, Stopped> {
        let chain = &self.opened.chain;
        let head = chain.head().ok_or(Stopped::NoHead)?;
        let (number, given) = (header.number, header.hash());
        if number <= head.number {
            let known = if number == head.number { Some(chain.head_hash()) } else { chain.block_hash(number) };
            return match known {
                Some(known) if known != given => Err(Stopped::OtherChain { number, given, known }),
                // Hashes of blocks before the first one of the store are not known.
                _ => Ok(true),
            };
        }
        let head_hash = chain.head_hash();
        if number != head.number + 1 || header.parent_hash != head_hash {
            let (parent, head) = (header.parent_hash, head.number);
            return Err(Stopped::NotAChild { number, hash: given, parent, head, head_hash });
        }
        Ok(false)
    }

    /// Executes a block in every requested mode and makes it the head. With several modes it is kept
    /// by one more execution, after their results were found equal.
    fn block(&mut self, item: &ChainItem, header: &Header) -> Result<Accepted, Stopped> {
        let Self { engine, opened: Opened { chain, config }, .. } = self;
        let rules = config.rules_of(header);
        let list = List { bal: item.bal.as_ref(), existence_log: item.existence_log.as_ref() };
        let mut run = |mode, keep| {
            let run = engine.execute_or_record(chain, &rules, &item.block, list, mode, keep);
            run.map_err(|failure| match failure {
                Failure::Host(_) if interrupt::flow().is_break() => Stopped::Interrupted,
                failure => Stopped::Block { number: header.number, failure },
            })
        };
        let [mode] = self.modes else {
            let mut first: Option<Accepted> = None;
            for mode in self.modes {
                let accepted = run(*mode, false)?;
                if let Some(what) = first.as_ref().and_then(|first| first.difference(&accepted)) {
                    let failure = Failure::Invalid { what, classes: Vec::new() };
                    return Err(Stopped::Block { number: header.number, failure });
                }
                first.get_or_insert(accepted);
            }
            return run(None, true);
        };
        run(*mode, true)
    }

    /// The text beside the progress bar.
    fn speed(&self, header: &Header) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let blocks = self.totals.blocks as f64 / seconds;
        let ggas = self.totals.gas as f64 / 1e9 / seconds;
        format!("block {} {blocks:.0} blocks/s {ggas:.2} Ggas/s", header.number)
    }

    /// Prints the totals.
    fn finish(&self, stopped: Option<&Stopped>) -> Status {
        let seconds = self.started.elapsed().as_secs_f64();
        let status = stopped.map_or(Status::Good, Stopped::status);
        if let Some(stopped) = stopped.filter(|stopped| stopped.status() != Status::Good) {
            report::complain(stopped);
        }
        let head = self.opened.chain.head();
        if self.json {
            let mut line = self.totals.json();
            let summary = &mut line["summary"];
            summary["skipped"] = json!(self.skipped);
            summary["elapsed_seconds"] = json!(seconds);
            summary["blocks_per_s"] = json!(self.totals.blocks as f64 / seconds.max(1e-9));
            summary["invalid"] = json!(u64::from(status == Status::Failed));
            summary["error"] = json!(stopped.map(ToString::to_string));
            summary["head"] = json!(head.map(|head| head_json(head, self.opened.chain.head_hash())));
            report::json_line(&line);
            return status;
        }
        self.totals.lines().iter().for_each(|line| report::line(line));
        if self.skipped > 0 {
            report::line(&format!("{} skipped: in the store already", report::counted(self.skipped, "block")));
        }
        if let Some(head) = head {
            report::line(&format!("head: block {} {}", head.number, self.opened.chain.head_hash()));
        }
        status
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::devnet::Devnet;
    use super::super::engine::Chain;
    use super::super::testing::{Folder, GeneratedChain};
    use super::*;
    use clap::Parser;
    use std::cell::RefCell;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ImportArgs,
    }

    fn genesis() -> Chain {
        Chain::at_genesis(Devnet::default().genesis_state(), Devnet::genesis_header).expect("a genesis")
    }

    /// The first blocks of the generated chain with their lists.
    fn generated(count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let chain = GeneratedChain::new(count);
        chain.blocks.iter().map(|(block, list)| (block.to_vec(), list.to_vec())).collect()
    }

    /// Runs the command on a store on disk.
    pub fn status(line: &str) -> Status {
        let words = std::iter::once("import").chain(line.split_whitespace());
        main(&Line::try_parse_from(words).expect("a command line").args, super::super::store::open)
    }

    /// A store in memory that lives from one call of the command to the next.
    struct Store(RefCell<Option<Opened>>);

    impl Store {
        fn new() -> Self {
            Self(RefCell::new(Some(Opened { chain: genesis(), config: Devnet::config() })))
        }

        /// Runs the command; returns its status and the number of the head.
        fn import(&self, line: &str) -> (Status, u64) {
            let words = std::iter::once("import").chain(line.split_whitespace());
            let Line { args } = Line::try_parse_from(words).expect("a command line");
            let opened = self.0.take().expect("a store");
            let (opened, status) = super::run(&args, opened);
            let number = opened.chain.head().expect("a head").number;
            self.0.replace(Some(opened));
            (status, number)
        }
    }

    #[test]
    fn an_import_stops_and_goes_on() {
        let folder = Folder::new("import-resume");
        let blocks = generated(4);
        let rlp: Vec<u8> = blocks.iter().flat_map(|(block, _)| block.clone()).collect();
        let lists: Vec<u8> = blocks.iter().flat_map(|(_, list)| list.clone()).collect();
        let (chain, list) = (folder.path("chain.rlp"), folder.path("lists"));
        std::fs::write(&chain, rlp).expect("writable");
        std::fs::write(&list, lists).expect("writable");
        let store = Store::new();
        assert_eq!(store.import(&format!("{chain} --store db --until 2")), (Status::Good, 2));
        assert_eq!(store.import(&format!("{chain} --store db --lists {list} --until 3")), (Status::Good, 3));
        assert_eq!(store.import(&format!("{chain} --store db --mode all --lists {list}")), (Status::Good, 4));
        assert_eq!(store.import(&format!("{chain} --store db --json")), (Status::Good, 4));
        // A file that starts above the head, and one of another chain.
        let after = folder.path("after.rlp");
        std::fs::write(&after, &blocks[2].0).expect("writable");
        assert_eq!(Store::new().import(&format!("{after} --store db")), (Status::Unusable, 0));
        let mut other = blocks[0].0.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        let extra = other.windows(9).position(|window| window == b"balustrad").expect("the extra data");
        other[extra] ^= 1;
        std::fs::write(&after, &other).expect("writable");
        assert_eq!(store.import(&format!("{after} --store db")), (Status::Unusable, 4));
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_unusable() {
        let Line { args } = Line::try_parse_from(["import", "a.rlp", "--store", "db", "--sync", "7"]).expect("options");
        let open = |path: &Path, sync| Err(format!("{} {sync}", path.display()));
        assert_eq!(main(&args, open), Status::Unusable);
    }

    #[test]
    fn the_first_invalid_block_ends_the_import() {
        let folder = Folder::new("import-invalid");
        let blocks = generated(3);
        // The header commits to other extra data, so that the block has another hash but no fault of form; its state
        // root and its parent are right, the base fee is not.
        let mut header = Header::of_block(&blocks[1].0).expect("a header");
        let mut encoded = Vec::new();
        header.encode(&mut encoded);
        let at = blocks[1].0.windows(encoded.len()).position(|window| window == encoded).expect("the header");
        header.state_root = B256::ZERO;
        let mut changed = Vec::new();
        header.encode(&mut changed);
        let mut bad = blocks[1].0.clone();
        bad[at..at + encoded.len()].copy_from_slice(&changed);
        let chain = folder.path("chain.rlp");
        std::fs::write(&chain, [&blocks[0].0, &bad, &blocks[2].0].map(Vec::as_slice).concat()).expect("writable");
        let store = Store::new();
        assert_eq!(store.import(&format!("{chain} --store db")), (Status::Failed, 1));
        // With the right block it goes on.
        std::fs::write(&chain, [&blocks[0].0, &blocks[1].0, &blocks[2].0].map(Vec::as_slice).concat())
            .expect("writable");
        assert_eq!(store.import(&format!("{chain} --store db --mode sequential")), (Status::Good, 3));
        // A file that ends within a block: the blocks before it are kept.
        std::fs::write(&chain, [&blocks[0].0[..], &blocks[1].0[..99]].concat()).expect("writable");
        assert_eq!(Store::new().import(&format!("{chain} --store db")), (Status::Unusable, 1));
    }
}
