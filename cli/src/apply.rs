//! `balustrade apply`: moves a chain's state forward by headers and block access lists alone.
//!
//! In: chain files with lists, and a store or the state that the first file has. Out: the store with a new head, totals,
//! and which checks were not made.
//! Not here: applying (`StateDb::apply`), following the chain (`follow`).

use super::follow::{ChainBlock, Feed, Stopped, Totals};
use super::replay::SourceArgs;
use super::store::Opened;
use super::{Status, interrupt, report};
use balustrade::{Applied, ListedBlock, Roots, Unchecked};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  balustrade apply chain/                           # bundles of consecutive blocks
  balustrade apply chain.rlp.gz --lists lists --store db
  balustrade apply chain.rlp.gz --lists lists --store db --each --json";

/// Bytes of blocks and lists that are applied together.
const RANGE_BYTES: usize = 64 << 20;

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApplyArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Compare the state root after every N blocks; by default after 64 MiB of blocks and lists
    #[arg(long, value_name = "N", conflicts_with = "each", value_parser = clap::value_parser!(u32).range(1..))]
    range: Option<u32>,
    /// Compare the state root after each block
    #[arg(long)]
    each: bool,
    /// Stop after block N
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(args: &ApplyArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    match args.source.open(args.to) {
        Ok((opened, feed)) => run(args, opened, feed),
        Err(error) => {
            report::complain(&error);
            Status::Unusable
        }
    }
}

fn run(args: &ApplyArgs, mut opened: Opened, mut feed: Feed) -> Status {
    let (mut totals, bar) = (Totals::new("applied by their lists"), feed.bar());
    let mut unchecked = Vec::new();
    let mut stopped = ranges(args, &mut opened, &mut feed, &mut totals, &bar, &mut unchecked).err();
    bar.finish_and_clear();
    if let Err(failure) = opened.chain.checkpoint() {
        let number = opened.chain.head().map_or(0, |head| head.number);
        stopped = Some(Stopped::Block { number, failure });
    }
    let extra = json!({"unchecked": report::unchecked_json(&unchecked)});
    let status = totals.finish(&opened.chain, feed.skipped, stopped.as_ref(), args.json, extra);
    if !args.json {
        report::print_unchecked(&unchecked);
    }
    status
}

/// Applies ranges of blocks up to the first that is invalid.
fn ranges(
    args: &ApplyArgs,
    opened: &mut Opened,
    feed: &mut Feed,
    totals: &mut Totals,
    bar: &ProgressBar,
    unchecked: &mut Vec<Unchecked>,
) -> Result<(), Stopped> {
    let (bytes, count) = args.range.map_or((RANGE_BYTES, usize::MAX), |count| (usize::MAX, count as usize));
    let roots = if args.each { Roots::Every } else { Roots::Last };
    loop {
        let (blocks, end) = feed.batch(&opened.chain, bytes, count);
        if matches!(end, Err(Stopped::Interrupted)) || blocks.is_empty() {
            return end;
        }
        let listed = |block: &ChainBlock| ListedBlock {
            rules: opened.config.rules_of(&block.header),
            block: block.item.block.clone(),
            bal: block.item.bal.clone(),
        };
        let listed: Vec<ListedBlock> = blocks.iter().map(listed).collect();
        let number = blocks[0].header.number;
        let db = opened.chain.db().map_err(|failure| Stopped::Block { number, failure })?;
        let before = db.head().number;
        let start = Instant::now();
        let applied = db.apply(&listed, roots);
        let time = start.elapsed();
        let done = (db.head().number - before) as usize;
        totals.add(&blocks[..done], time, bar);
        let Applied { unchecked: more, .. } = applied?;
        unchecked.extend(more.into_iter().filter(|check| !unchecked.contains(check)).collect::<Vec<_>>());
        end?;
    }
}
