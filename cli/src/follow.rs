//! What the commands share that follow a chain from its head: `import`, `replay`, `apply`, `run --store`.
//!
//! In: a chain, and blocks of chain files or of a store's log. Out: the blocks behind the head, in order, with progress and
//! totals; blocks executed and kept; why a command ended before the end of its blocks.
//! Blocks at or below the head are skipped, so that a command that was stopped goes on when it is called again.
//! Not here: reading files (`balustrade::formats::chain`), options.

use super::engine::{Accepted, Chain, Engine, Failure, List};
use super::report::{self, BlockRow, RunSummary};
use super::store::{Opened, head_json};
use super::{Status, interrupt};
use alloy_primitives::B256;
use balustrade::exec::wire::Header;
use balustrade::formats::chain::{ChainFileError, ChainItem, ChainReader};
use balustrade::{ApplyError, BlockInput, ChainRules, Fork, Mode, WindowOptions};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Why a command ended before the end of its blocks.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A signal, or standard output is closed.
    #[error("stopped by a signal")]
    Interrupted,
    /// An input cannot be read.
    #[error(transparent)]
    File(#[from] ChainFileError),
    /// A block at or below the head is not the chain's.
    #[error("block {number} of the file is {given}, that of the store is {known}: another chain")]
    OtherChain { number: u64, given: B256, known: B256 },
    /// A block above the head is not its child.
    #[error("block {number} ({hash}) is not the child of the head, block {head} ({head_hash}): its parent is {parent}")]
    NotAChild { number: u64, hash: B256, parent: B256, head: u64, head_hash: B256 },
    /// A block is invalid, or it could not be executed.
    #[error("block {number}: {failure}")]
    Block { number: u64, failure: Failure },
    /// A list could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The chain has no header of its head.
    #[error("the store has no head")]
    NoHead,
}

impl Stopped {
    pub const fn status(&self) -> Status {
        match self {
            Self::Block { failure: Failure::Invalid { .. }, .. } | Self::Apply(ApplyError::Invalid { .. }) => {
                Status::Failed
            }
            Self::Interrupted => Status::Good,
            _ => Status::Unusable,
        }
    }
}

/// A block behind the head.
#[derive(Debug)]
pub struct ChainBlock {
    /// The block with its list, if one is known.
    pub item: ChainItem,
    /// Its header.
    pub header: Header,
    /// How far its source is read, in units of [`Feed::bar`].
    position: u64,
}

impl ChainBlock {
    /// Its list, and its existence log before Cancun.
    pub fn list(&self) -> List<'_> {
        List { bal: self.item.bal.as_ref(), existence_log: self.item.existence_log.as_ref() }
    }

    /// Bytes of the block and its list.
    fn bytes(&self) -> usize {
        self.item.block.len() + self.item.bal.as_ref().map_or(0, |bal| bal.len())
    }
}

/// Where blocks come from.
enum Source {
    Files(Box<ChainReader>),
    /// Blocks in memory, and the number of those that were taken.
    Items(std::vec::IntoIter<ChainItem>, u64),
}

/// The blocks that follow a head, each the child of the one before it.
pub struct Feed {
    source: Source,
    until: Option<u64>,
    /// Number and hash of the last block that was returned, at first of the head.
    tip: (u64, B256),
    /// Number of blocks that the chain had already.
    pub skipped: u64,
}

impl Feed {
    fn new(source: Source, chain: &Chain, until: Option<u64>) -> Result<Self, Stopped> {
        let head = chain.head().ok_or(Stopped::NoHead)?;
        Ok(Self { source, until, tip: (head.number, chain.head_hash()), skipped: 0 })
    }

    /// The blocks of files up to block `until` that follow the head of `chain`.
    ///
    /// # Errors
    /// [`Stopped::NoHead`].
    pub fn of_files(reader: ChainReader, chain: &Chain, until: Option<u64>) -> Result<Self, Stopped> {
        Self::new(Source::Files(Box::new(reader)), chain, until)
    }

    /// Blocks in memory that follow the head of `chain`.
    ///
    /// # Errors
    /// [`Stopped::NoHead`].
    pub fn of_items(items: Vec<ChainItem>, chain: &Chain) -> Result<Self, Stopped> {
        Self::new(Source::Items(items.into_iter(), 0), chain, None)
    }

    /// A progress bar over the source.
    pub fn bar(&self) -> ProgressBar {
        match &self.source {
            Source::Files(reader) => report::progress_import(reader.bytes_total()),
            Source::Items(items, _) => report::progress_replay(items.len() as u64),
        }
    }

    /// The next item of the source, and how far it is read.
    fn read(&mut self) -> Option<(Result<ChainItem, ChainFileError>, u64)> {
        match &mut self.source {
            Source::Files(reader) => reader.next().map(|item| (item, reader.bytes_read())),
            Source::Items(items, taken) => {
                *taken += 1;
                items.next().map(|item| (Ok(item), *taken))
            }
        }
    }

    /// The next block that `chain` does not have yet; `None` at the end.
    ///
    /// # Errors
    /// [`Stopped`]: the source cannot be read, or its next block is not the child of the one before.
    pub fn next(&mut self, chain: &Chain) -> Result<Option<ChainBlock>, Stopped> {
        while interrupt::flow().is_continue() {
            let Some((item, position)) = self.read() else { return Ok(None) };
            let item = item?;
            let header = Header::of_block(&item.block).map_err(|error| {
                let failure = Failure::Invalid { what: error.to_string(), classes: Vec::new() };
                Stopped::Block { number: self.tip.0.saturating_add(1), failure }
            })?;
            if self.until.is_some_and(|until| header.number > until) {
                return Ok(None);
            }
            if self.is_known(&header, chain)? {
                self.skipped += 1;
                continue;
            }
            self.tip = (header.number, header.hash());
            return Ok(Some(ChainBlock { item, header, position }));
        }
        Err(Stopped::Interrupted)
    }

    /// The next blocks, until they have `bytes` bytes with their lists, or are `count`; at least one. Why there are no
    /// more of them is returned beside them.
    pub fn batch(&mut self, chain: &Chain, bytes: usize, count: usize) -> (Vec<ChainBlock>, Result<(), Stopped>) {
        let (mut blocks, mut total) = (Vec::new(), 0);
        while blocks.is_empty() || (total < bytes && blocks.len() < count) {
            match self.next(chain) {
                Ok(Some(block)) => {
                    total += block.bytes();
                    blocks.push(block);
                }
                Ok(None) => break,
                Err(stopped) => return (blocks, Err(stopped)),
            }
        }
        (blocks, Ok(()))
    }

    /// Whether a block is at or below the last one, where it must be the chain's.
    fn is_known(&self, header: &Header, chain: &Chain) -> Result<bool, Stopped> {
        let (number, given) = (header.number, header.hash());
        let (head, head_hash) = self.tip;
        if number <= head {
            let known = if number == head { Some(head_hash) } else { chain.block_hash(number) };
            return match known {
                Some(known) if known != given => Err(Stopped::OtherChain { number, given, known }),
                // Hashes of blocks before the first one of the chain are not known.
                _ => Ok(true),
            };
        }
        if number != head + 1 || header.parent_hash != head_hash {
            return Err(Stopped::NotAChild { number, hash: given, parent: header.parent_hash, head, head_hash });
        }
        Ok(false)
    }
}

/// What a command did so far.
#[derive(Debug)]
pub struct Totals {
    /// Blocks, gas and time.
    pub summary: RunSummary,
    /// Number of the blocks that came with their lists.
    lists: u64,
    started: Instant,
    /// What was done to the blocks: "verified".
    verb: &'static str,
}

impl Totals {
    /// Nothing yet. `verb` says in the summary for people what is done to blocks.
    pub fn new(verb: &'static str) -> Self {
        Self { summary: RunSummary::default(), lists: 0, started: Instant::now(), verb }
    }

    /// Adds blocks that took `time` together, and shows the speed so far beside the bar.
    pub fn add(&mut self, blocks: &[ChainBlock], time: Duration, bar: &ProgressBar) {
        let gas = blocks.iter().map(|block| block.header.gas_used).sum();
        self.summary.add_range(blocks.len() as u64, gas, time.as_nanos() as u64);
        self.lists += blocks.iter().filter(|block| block.item.bal.is_some()).count() as u64;
        let Some(last) = blocks.last() else { return };
        bar.set_position(last.position);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let per_s = |count: u64| count as f64 / seconds;
        let RunSummary { blocks, gas, .. } = self.summary;
        let (lists, ggas) = (per_s(self.lists), per_s(gas) / 1e9);
        let (number, blocks) = (last.header.number, per_s(blocks));
        bar.set_message(format!("block {number} {blocks:.0} blocks/s {ggas:.2} Ggas/s {lists:.0} lists/s"));
    }

    /// Prints the totals. `extra` is added to the JSON summary.
    pub fn finish(&self, chain: &Chain, skipped: u64, stopped: Option<&Stopped>, json: bool, extra: Value) -> Status {
        let seconds = self.started.elapsed().as_secs_f64();
        let status = stopped.map_or(Status::Good, Stopped::status);
        if let Some(stopped) = stopped.filter(|stopped| stopped.status() != Status::Good) {
            report::complain(stopped);
        }
        let head = chain.head();
        if json {
            let mut line = self.summary.json();
            let summary = &mut line["summary"];
            summary["lists"] = json!(self.lists);
            summary["skipped"] = json!(skipped);
            summary["elapsed_seconds"] = json!(seconds);
            summary["blocks_per_s"] = json!(self.summary.blocks as f64 / seconds.max(1e-9));
            summary["invalid"] = json!(u64::from(status == Status::Failed));
            summary["error"] = json!(stopped.map(ToString::to_string));
            summary["head"] = json!(head.map(|head| head_json(head, chain.head_hash())));
            for (key, value) in extra.as_object().into_iter().flatten() {
                summary[key] = value.clone();
            }
            report::json_line(&line);
            return status;
        }
        self.summary.lines(self.verb).iter().for_each(|line| report::line(line));
        if skipped > 0 {
            report::line(&format!("{} skipped: in the store already", report::counted(skipped, "block")));
        }
        if let Some(head) = head {
            report::line(&format!("head: block {} {}", head.number, chain.head_hash()));
        }
        status
    }
}

/// Prints the line of a block with `--json`.
fn print_row(block: &ChainBlock, rules: &ChainRules, accepted: &Accepted, json: bool) {
    if json {
        let name = block.header.number.to_string();
        report::json_line(&BlockRow::new(name, rules.fork.name().to_owned(), accepted, Vec::new()).json());
    }
}

/// Why a command ends with block `number`.
fn stopped(number: u64, failure: Failure) -> Stopped {
    match failure {
        Failure::Host(_) if interrupt::flow().is_break() => Stopped::Interrupted,
        failure => Stopped::Block { number, failure },
    }
}

/// How blocks are executed and kept.
#[derive(Debug)]
pub struct Keep<'a> {
    /// The executor.
    pub engine: Engine,
    /// The chain whose head moves.
    pub opened: Opened,
    /// The modes, of which [`super::engine::modes`] tells.
    pub modes: &'a [Option<Mode>],
    /// How blocks with lists are executed together.
    pub window: WindowOptions,
    /// Blocks are read before the clock starts, until they have so many bytes with their lists.
    pub ahead_bytes: usize,
    /// Whether a JSON line is printed for each block.
    pub json: bool,
}

impl Keep<'_> {
    /// Executes blocks up to the first that cannot be kept, writes a checkpoint and prints the totals.
    pub fn run(&mut self, feed: &mut Feed) -> Status {
        let (mut totals, bar) = (Totals::new("verified"), feed.bar());
        let mut stopped = self.blocks(feed, &mut totals, &bar).err();
        bar.finish_and_clear();
        if let Err(failure) = self.opened.chain.checkpoint() {
            let number = self.opened.chain.head().map_or(0, |head| head.number);
            stopped = Some(Stopped::Block { number, failure });
        }
        totals.finish(&self.opened.chain, feed.skipped, stopped.as_ref(), self.json, Value::Null)
    }

    fn blocks(&mut self, feed: &mut Feed, totals: &mut Totals, bar: &ProgressBar) -> Result<(), Stopped> {
        loop {
            let (blocks, end) = feed.batch(&self.opened.chain, self.ahead_bytes, usize::MAX);
            let mut rest = &blocks[..];
            while let Some((block, after)) = rest.split_first() {
                let together = rest.iter().take_while(|block| self.is_for_windows(block)).count();
                if together > 0 {
                    self.windows(&rest[..together], totals, bar)?;
                    rest = &rest[together..];
                    continue;
                }
                let (accepted, time) = self.block(block)?;
                totals.add(core::slice::from_ref(block), time, bar);
                print_row(block, &self.opened.config.rules_of(&block.header), &accepted, self.json);
                rest = after;
            }
            end?;
            if blocks.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether a block can be executed together with others, and may be.
    fn is_for_windows(&self, block: &ChainBlock) -> bool {
        self.window.blocks > 1
            && matches!(self.modes, [None | Some(Mode::Bal)])
            && block.item.bal.is_some()
            && self.opened.config.rules_of(&block.header).fork >= Fork::Cancun
    }

    /// Executes blocks with lists several at a time, and makes each the head.
    fn windows(&mut self, blocks: &[ChainBlock], totals: &mut Totals, bar: &ProgressBar) -> Result<(), Stopped> {
        let Self { engine, opened: Opened { chain, config }, window, json, .. } = self;
        let rules: Vec<ChainRules> = blocks.iter().map(|block| config.rules_of(&block.header)).collect();
        let inputs = blocks.iter().zip(&rules).map(|(block, rules)| {
            let mut input = BlockInput::new(rules, block.item.block.clone());
            input.bal = block.item.bal.clone();
            input
        });
        let (mut rest, mut start) = (blocks.iter().zip(&rules), Instant::now());
        let replayed = engine.replay(chain, inputs, *window, |accepted| {
            let time = start.elapsed();
            if let Some((block, rules)) = rest.next() {
                totals.add(core::slice::from_ref(block), time, bar);
                print_row(block, rules, &accepted, *json);
            }
            start = Instant::now();
        });
        let number = rest.next().map_or(0, |(block, _)| block.header.number);
        replayed.map_err(|failure| stopped(number, failure))
    }

    /// Executes a block in every requested mode and makes it the head. With several modes it is kept by one more
    /// execution, after their results were found equal. Returns the time of the execution that is kept; a list that is
    /// missing is recorded before.
    fn block(&mut self, block: &ChainBlock) -> Result<(Accepted, Duration), Stopped> {
        let Self { engine, opened: Opened { chain, config }, modes, .. } = self;
        let (number, rules) = (block.header.number, config.rules_of(&block.header));
        let stopped = |failure| stopped(number, failure);
        let mut first: Option<Accepted> = None;
        if modes.len() > 1 {
            for mode in *modes {
                let run = engine.execute_or_record(chain, &rules, &block.item.block, block.list(), *mode, false);
                let accepted = run.map_err(stopped)?;
                if let Some(what) = first.as_ref().and_then(|first| first.difference(&accepted)) {
                    return Err(stopped(Failure::Invalid { what, classes: Vec::new() }));
                }
                first.get_or_insert(accepted);
            }
        }
        let mode = if let [mode] = modes { *mode } else { None };
        let recorded = (mode == Some(Mode::Bal) && block.item.bal.is_none())
            .then(|| engine.complete_list(chain, &rules, &block.item.block, block.list()));
        let recorded = recorded.transpose().map_err(stopped)?;
        let list = recorded.as_ref().map_or_else(|| block.list(), |recorded| recorded.as_list());
        let start = Instant::now();
        let run = engine.execute_or_record(chain, &rules, &block.item.block, list, mode, true);
        Ok((run.map_err(stopped)?, start.elapsed()))
    }
}
