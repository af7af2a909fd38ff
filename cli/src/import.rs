//! `balustrade import`: executes the blocks of chain files on the head of a store and keeps them.
//!
//! In: chain files and a store. Out: the store with a new head, and totals.
//! The first invalid block ends the import; its parent is then the head. Afterwards the store is at a
//! checkpoint.
//! Not here: following the chain (`follow`), making a block durable (the library).

use super::engine::{Engine, modes};
use super::follow::{Feed, Keep};
use super::store::Opened;
use super::{ExecArgs, Status, interrupt, report};
use balustrade::WindowOptions;
use balustrade::formats::chain::ChainReader;
use clap::Args;
use std::path::{Path, PathBuf};

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
    let feed = |reader| Feed::of_files(reader, &opened.chain, args.until).map_err(|error| error.to_string());
    let (mut feed, engine) = match reader.and_then(feed).and_then(|feed| Ok((feed, engine?))) {
        Ok(both) => both,
        Err(error) => {
            report::complain(&error);
            return (opened, Status::Unusable);
        }
    };
    let (modes, json) = (modes(args.exec.mode), args.exec.json);
    // One block at a time, so that each is durable before the next is read.
    let mut keep = Keep { engine, opened, modes, window: WindowOptions::new(1), ahead_bytes: 0, json };
    let status = keep.run(&mut feed);
    (keep.opened, status)
}

#[cfg(test)]
pub mod tests {
    use super::super::devnet::Devnet;
    use super::super::engine::Chain;
    use super::super::testing::{Folder, GeneratedChain};
    use super::*;
    use alloy_primitives::B256;
    use balustrade::exec::wire::Header;
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
