//! The blocks of a chain and the states before them: what `state` and `trace` look into.
//!
//! In: chain files with the state that their first file has, or the log of a store; a position in the chain. Out: the state
//! there as a store, the blocks with their lists.
//! The state moves forward block by block. A block with a list is applied without execution, one without a list is executed,
//! which records it. Either way the state root after it is compared with its header. A store is not changed.
//! Not here: what is read there.

use super::engine::{Chain, Engine, List, OwnedList};
use super::follow::Feed;
use super::store::{self, Opened};
use super::{interrupt, output};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::store::StateStore;
use balustrade::bal::ExistenceLog;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::wire::Header;
use balustrade::formats::chain::{ChainItem, ChainReader};
use balustrade::{ChainRules, Fork, ListedBlock, Roots, StateWithin};
use clap::Args;
use std::path::PathBuf;

/// Above the last index of every block: the state after the block.
const END: u32 = u32::MAX;

/// A place in a chain: before the task at an index of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the block.
    pub block: u64,
    /// Block access index: 0 is before the block, 1 before its first transaction, [`u32::MAX`] after the block.
    pub index: u32,
}

impl Position {
    /// Parses `N` (after block N) or `N:INDEX` (before the task at this index of block N).
    ///
    /// # Errors
    /// One of them is not an unsigned integer.
    pub fn parse(text: &str) -> Result<Self, std::num::ParseIntError> {
        match text.split_once(':') {
            Some((block, index)) => Ok(Self { block: block.parse()?, index: index.parse()? }),
            None => Ok(Self { block: text.parse()?, index: END }),
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            END => write!(f, "after block {}", self.block),
            index => write!(f, "before index {index} of block {}", self.block),
        }
    }
}

/// Where a chain is.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct PastArgs {
    /// Chain files in block order, or folders of them; the first has to be a bundle with its complete state, or a test
    /// fixture
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "store")]
    pub blocks: Vec<PathBuf>,
    /// Folder of a store, with the blocks of its log
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl PastArgs {
    /// Opens the chain at the state before block `from`, or before its first block. `to` is the last block that is needed.
    ///
    /// # Errors
    /// In words: files cannot be read, or the chain does not have these blocks.
    pub fn open(&self, from: Option<u64>, to: Option<u64>) -> Result<Past, String> {
        let engine = Engine::new(None, LoopKind::default()).map_err(|error| error.to_string())?;
        let (opened, blocks) = match &self.store {
            Some(dir) => of_log(dir, from, to).map_err(|error| format!("{}: {error}", dir.display()))?,
            None => of_files(&self.blocks, to)?,
        };
        let Opened { chain, config } = opened;
        let mut past = Past { engine, chain, config, blocks };
        if let Some(from) = from {
            past.advance_to(from.saturating_sub(1))?;
        }
        Ok(past)
    }
}

/// All blocks of chain files up to block `to`, and the state before the first.
fn of_files(paths: &[PathBuf], to: Option<u64>) -> Result<(Opened, Vec<PastBlock>), String> {
    let reader = ChainReader::open(paths, None).map_err(|error| error.to_string())?;
    let first = reader.next_file().ok_or("there is no file")?;
    let opened = store::of_first_file(first)?;
    let mut feed = Feed::of_files(reader, &opened.chain, to).map_err(|error| error.to_string())?;
    let mut blocks = Vec::new();
    while let Some(block) = feed.next(&opened.chain).map_err(|error| error.to_string())? {
        blocks.push(PastBlock { header: block.header, item: block.item });
    }
    Ok((opened, blocks))
}

/// Blocks of a store's log, and the state before the first of them in memory.
fn of_log(dir: &std::path::Path, from: Option<u64>, to: Option<u64>) -> Result<(Opened, Vec<PastBlock>), String> {
    let (db, config, _) = store::open_db(dir, 1)?;
    let words = |error: balustrade::DbError| error.to_string();
    let last = db.head().number;
    // Block `last + 1` stands for the state after the head.
    let from = from.unwrap_or(db.oldest() + 1).min(last + 1);
    let items = store::log_items(&db, from..=to.unwrap_or(last).min(last))?;
    let block = |item: ChainItem| {
        let header = Header::of_block(&item.block).map_err(|error| error.to_string())?;
        Ok(PastBlock { header, item })
    };
    let blocks = items.into_iter().map(block).collect::<Result<Vec<PastBlock>, String>>()?;
    let db = db.detached(from.saturating_sub(1)).map_err(words)?;
    Ok((Opened { chain: Chain::of_db(db), config }, blocks))
}

/// A block of a chain with its list, if it has one.
#[derive(Debug)]
pub struct PastBlock {
    /// Its header.
    pub header: Header,
    /// Its RLP and its list.
    pub item: ChainItem,
}

/// A chain whose state moves forward.
#[derive(Debug)]
pub struct Past {
    /// Executes blocks without lists.
    pub engine: Engine,
    /// The state before the next block.
    pub chain: Chain,
    config: ChainConfig,
    blocks: Vec<PastBlock>,
}

impl Past {
    /// Number of the block after which the state is.
    pub fn head(&self) -> u64 {
        self.chain.head().map_or(0, |head| head.number)
    }

    /// Number of the last block.
    pub fn last(&self) -> u64 {
        self.blocks.last().map_or_else(|| self.head(), |block| block.header.number)
    }

    /// A block with this number.
    ///
    /// # Errors
    /// In words: there is none.
    pub fn block(&self, number: u64) -> Result<&PastBlock, String> {
        let found = self.blocks.iter().find(|block| block.header.number == number);
        found.ok_or_else(|| match self.blocks.first() {
            Some(first) => {
                format!("block {number} is not here: the blocks are {} to {}", first.header.number, self.last())
            }
            None => format!("block {number} is not here: there are no blocks above block {}", self.head()),
        })
    }

    /// The rules of a block.
    pub fn rules(&self, header: &Header) -> ChainRules {
        self.config.rules_of(header)
    }

    /// Moves the state forward until it is after block `number`.
    ///
    /// # Errors
    /// In words: there is no such block or it is below the state, or a block is not valid.
    pub fn advance_to(&mut self, number: u64) -> Result<(), String> {
        if number < self.head() {
            return Err(format!("the state before block {} is not here", number + 1));
        }
        while self.head() < number {
            if interrupt::flow().is_break() {
                return Err("stopped by a signal".to_owned());
            }
            self.step(self.head() + 1)?;
        }
        Ok(())
    }

    /// Moves the state forward by the next block.
    fn step(&mut self, number: u64) -> Result<(), String> {
        let PastBlock { header, item } = self.block(number)?;
        let (rules, ChainItem { block, bal, existence_log }) = (self.rules(header), item.clone());
        let words = |error: &dyn std::fmt::Display| format!("block {number}: {error}");
        if rules.fork >= Fork::Cancun && bal.is_some() {
            let db = self.chain.db().map_err(|error| words(&error))?;
            return db
                .apply(&[ListedBlock { rules, block, bal }], Roots::Last)
                .map(drop)
                .map_err(|error| error.to_string());
        }
        let list = List { bal: bal.as_ref(), existence_log: existence_log.as_ref() };
        let run = self.engine.execute_or_record(&mut self.chain, &rules, &block, list, None, true);
        run.map(drop).map_err(|error| words(&error))
    }

    /// The list of block `number`, to whose parent the state is moved. A list that is missing is recorded.
    ///
    /// # Errors
    /// As [`Self::advance_to`].
    pub fn list(&mut self, number: u64) -> Result<OwnedList, String> {
        self.advance_to(number.saturating_sub(1))?;
        let PastBlock { header, item } = self.block(number)?;
        let (rules, ChainItem { block, bal, existence_log }) = (self.rules(header), item.clone());
        let list = List { bal: bal.as_ref(), existence_log: existence_log.as_ref() };
        if list.is_complete(&rules) {
            return Ok(OwnedList::of(list));
        }
        output::note(&format_args!("block {number} has no block access list: it is executed to record it"));
        let recorded = self.engine.complete_list(&mut self.chain, &rules, &block, list);
        recorded.map_err(|error| format!("block {number}: {error}"))
    }

    /// Calls `read` with the state at a position.
    ///
    /// # Errors
    /// As [`Self::advance_to`], and those of `read`.
    pub fn at<T>(
        &mut self,
        position: Position,
        read: impl FnOnce(&dyn StateStore) -> Result<T, balustrade::StoreError>,
    ) -> Result<T, String> {
        let words = |error: balustrade::StoreError| error.to_string();
        let Position { block, index } = position;
        if index == 0 || index == END {
            self.advance_to(if index == 0 { block.saturating_sub(1) } else { block })?;
            return read(self.chain.store()).map_err(words);
        }
        let list = self.list(block)?;
        let fork = self.rules(&self.block(block)?.header).fork;
        let state = within(self.chain.store(), fork, &list, index)?;
        read(&state).map_err(words)
    }
}

/// The state before the task at an index of the block with this list, on the state before that block.
///
/// # Errors
/// In words: the list does not decode.
pub fn within<'a>(
    before: &'a dyn StateStore,
    fork: Fork,
    list: &OwnedList,
    index: u32,
) -> Result<StateWithin<'a>, String> {
    let List { bal, existence_log } = list.as_list();
    let (nothing, no_log) = (Default::default(), ExistenceLog::default());
    let (bal, log) = (bal.unwrap_or(&nothing), existence_log.unwrap_or(&no_log));
    StateWithin::new(before, fork, bal, log, BlockAccessIndex(index)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_and_parsed() {
        let at = |text: &str| Position::parse(text).expect("a position");
        assert!(at("6") < at("7:0") && at("7:0") < at("7:1") && at("7:1") < at("7"));
        assert_eq!(
            (at("7:3").to_string(), at("7").to_string()),
            ("before index 3 of block 7".to_owned(), "after block 7".to_owned())
        );
        assert!(Position::parse("7:").is_err() && Position::parse("x").is_err());
    }
}
