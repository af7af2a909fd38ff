//! `peers differential`: random Amsterdam blocks, sealed by us, executed by revm and ethrex.
//!
//! In: a number of blocks and a seed. Out: the differences. Each peer executes each block sequentially and driven by
//! its block access list, and checks gas used, receipts root, logs bloom, requests hash, list hash and state root
//! against the header, as in `peers block`. Our own modes are compared first, as in `examples/random_blocks.rs`.
//! A difference that is a known defect of a peer, or an open question of the specification, is counted under its reason
//! ([`KNOWN`]). After any other difference the run ends with status 1, and the block is written as a bundle.

use crate::block::case::Case;
use crate::block::{PEERS, contestants};
use crate::report::{Report, Row, row};
use crate::{PeersError, threads};
use clap::Args;
use random::block::{Forks, Generator, RandomBlock};
use random::bundle::bundle;
use random::check::Checker;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

#[path = "../../../tests/random/mod.rs"]
mod random;

/// Options of `differential`.
#[derive(Debug, Args)]
pub(crate) struct DifferentialArgs {
    /// Number of blocks
    count: u64,
    /// Seed of the first block; the others have the following numbers
    #[arg(default_value_t = 1)]
    seed: u64,
    /// Folder to which blocks that differ are written
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    bundles: PathBuf,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// A known difference.
#[allow(dead_code, reason = "not constructed while the table is empty")]
struct Known {
    /// Prefix of the arrangement's name.
    who: &'static str,
    /// Part of the peer's error text.
    says: &'static str,
    /// Whether the block contains the cause.
    has_cause: fn(&RandomBlock) -> bool,
    /// Why the peer differs.
    reason: &'static str,
}

/// Every known difference, with its cause.
const KNOWN: &[Known] = &[];

/// Runs the command.
pub(crate) fn main(args: &DifferentialArgs) -> Result<(), PeersError> {
    let threads = threads::bind(None)?;
    let mut generator = Generator::new(Forks::Amsterdam).map_err(PeersError::Threads)?;
    let mut checker = Checker::new().map_err(PeersError::Threads)?;
    let mut report = Report::new(args.json, &["seed", "who", "difference", "known as"]);
    let mut known: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut executions, mut differences) = (0u64, 0u64);
    for seed in (0..args.count).map(|offset| args.seed.wrapping_add(offset)) {
        let mut block = match generator.block(seed) {
            Ok(block) => block,
            Err(error) => {
                differences += 1;
                report.row(&row! { "seed": seed, "who": "builder", "difference": error.error });
                continue;
            }
        };
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if let Err(difference) = checker.check(&mut block) {
            found.push(("balustrade", difference.to_string()));
        }
        let case = Rc::new(case_of(&block));
        for mut peer in contestants(&case, threads, |name| PEERS.contains(&name))
            .map_err(|(who, difference)| PeersError::Mismatch { what: case.name.clone(), who, difference })?
        {
            executions += 1;
            let name = peer.name();
            let run = catch_unwind(AssertUnwindSafe(|| {
                peer.prepare();
                peer.run().map(drop)
            }));
            match run {
                Ok(Ok(())) => {}
                Ok(Err(difference)) => found.push((name, difference)),
                Err(_) => found.push((name, "a panic".to_owned())),
            }
        }
        let mut is_new = false;
        for (who, difference) in found {
            let cause = KNOWN.iter().find(|known| {
                who.starts_with(known.who) && difference.contains(known.says) && (known.has_cause)(&block)
            });
            let mut row: Row = row! { "seed": seed, "who": who, "difference": difference };
            match cause {
                Some(cause) => {
                    *known.entry(cause.reason).or_default() += 1;
                    row.extend(row! { "known as": cause.reason });
                }
                None => {
                    differences += 1;
                    is_new = true;
                }
            }
            report.row(&row);
        }
        if is_new {
            write(&args.bundles, &block)?;
        }
    }
    report.section();
    for (reason, count) in &known {
        report.row(&row! { "known as": reason, "difference": format!("{count} times") });
    }
    report.summary(&row! {
        "blocks": checker.tally.blocks,
        "transactions": checker.tally.transactions,
        "gas": checker.tally.gas,
        "peer_executions": executions,
        "known_differences": known.values().sum::<u64>(),
        "differences": differences,
    });
    match differences {
        0 => Ok(()),
        _ => Err(PeersError::Mismatch {
            what: format!("{} blocks from seed {}", args.count, args.seed),
            who: "peers",
            difference: format!("{differences} differences that are not known"),
        }),
    }
}

fn case_of(block: &RandomBlock) -> Case {
    let RandomBlock { seed, rules, parent, store, block_hashes, built, types, .. } = block;
    Case {
        name: format!("random-{seed}"),
        family: "random".to_owned(),
        rules: *rules,
        block: built.block.clone(),
        list: built.bal.clone(),
        header: built.header.clone(),
        parent: Some(parent.clone()),
        transactions: types.len(),
        store: store.clone(),
        codes: store.iter_codes().map(|(hash, code)| (*hash, code.clone())).collect(),
        block_hashes: block_hashes.clone(),
    }
}

fn write(folder: &Path, block: &RandomBlock) -> Result<(), PeersError> {
    let path = folder.join(format!("random-{}.json", block.seed));
    std::fs::write(&path, bundle(block, None).to_string())
        .map_err(|error| PeersError::Input { path: path.clone(), reason: error.to_string() })
}
