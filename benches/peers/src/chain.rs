//! `peers chain`: a chain of generated blocks, each block once, as a client follows it.
//!
//! In: families of workloads, the size of the state. Out: per family the time of all blocks, from the raw bytes of blocks and
//! lists to the state after them in memory: ours one by one and in windows, revm sequentially, ethrex driven by the list.
//! Each contestant has a state of its own, which every block changes, and keeps its caches of codes from block to block. The
//! contestants take turns, some blocks at a time. Every contestant checks each block as in `peers block`.
//! The peers apply a block's changes to their maps from our columns; what they computed was compared with the header before.
//! Not here: single blocks (`block`).

use crate::block::case::Case;
use crate::block::ethrex::{self, Ethrex};
use crate::block::revm::{self, Revm, RevmFlat};
use crate::block::{Arrangement, resident};
use crate::measure::{Clock, Stopwatch};
use crate::report::{Report, rounded, row};
use crate::{CommonArgs, PeersError, threads};
use alloy_primitives::Bytes;
use balustrade::arena::store::KECCAK_EMPTY;
use balustrade::{Binding, BlockInput, Executor, MemoryStore, Options, StateChanges, StateDb, WindowOptions};
use balustrade_cli::measure::median;
use balustrade_cli::workload;
use clap::Args;
use std::rc::Rc;
use std::sync::Arc;

/// Blocks of one turn: a window of ours.
const TURN: usize = 64;

/// Options of `chain`.
#[derive(Debug, Args)]
pub(crate) struct ChainArgs {
    /// Families of workloads, separated by commas
    #[arg(value_name = "FAMILIES", value_delimiter = ',', default_value = "devnet,erc20,storage")]
    families: Vec<String>,
    /// Gas of each block in millions
    #[arg(long, value_name = "MGAS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    gas: u64,
    /// Number of blocks of each chain
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    blocks: u64,
    /// Number of accounts in the state, without contracts
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100..=20_000_000))]
    accounts: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// A block of the chain, and what it changes.
struct Link {
    case: Rc<Case>,
    changes: StateChanges,
}

/// A contestant that follows the chain.
enum Follower {
    Ours { name: &'static str, db: Box<StateDb>, executor: Box<Executor>, window: WindowOptions },
    Revm(Box<Revm>),
    Ethrex(Box<Ethrex>),
}

impl Follower {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours { name, .. } => name,
            Self::Revm(revm) => revm.name(),
            Self::Ethrex(ethrex) => ethrex.name(),
        }
    }

    /// Executes and checks the next blocks and makes their changes.
    fn follow(&mut self, links: &[Link]) -> Result<(), String> {
        match self {
            Self::Ours { db, executor, window, .. } => {
                let inputs = links.iter().map(|link| {
                    let Case { rules, block, list, .. } = &*link.case;
                    BlockInput::new(rules, block.clone()).with_list(list.clone())
                });
                for outcome in db.replay(executor, inputs, Options::automatic(), *window) {
                    let outcome = outcome.map_err(|error| error.to_string())?;
                    outcome.require_complete().map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            Self::Revm(revm) => links.iter().try_for_each(|link| revm.follow(&link.case, &link.changes)),
            Self::Ethrex(ethrex) => links.iter().try_for_each(|link| ethrex.follow(&link.case, &link.changes)),
        }
    }
}

/// Runs the command.
pub(crate) fn main(args: &ChainArgs) -> Result<(), PeersError> {
    let threads = threads::bind(args.common.threads)?;
    let columns = ["family", "blocks", "mgas", "who", "ms_block", "mgas_per_s", "to_windows"];
    let mut report = Report::new(args.common.json, &columns);
    for family in &args.families {
        one_chain(family, threads, args, &mut report)?;
    }
    report.summary(&row! { "families": args.families.len(), "threads": threads });
    Ok(())
}

fn one_chain(family: &str, threads: usize, args: &ChainArgs, report: &mut Report) -> Result<(), PeersError> {
    let made = |reason: String| PeersError::Input { path: family.into(), reason };
    let mut generator =
        workload::generator(family, args.gas, args.accounts).map_err(|error| made(error.to_string()))?;
    let state = generator.chain.memory().ok_or_else(|| made("no state".to_owned()))?.clone();
    let head = generator.chain.head().ok_or_else(|| made("no header".to_owned()))?.clone();
    let first = Rc::new(case(family, generator.rules, (Bytes::new(), Bytes::new()), state));
    let failed = |who, difference| PeersError::Mismatch { what: family.to_owned(), who, difference };

    let tries = Rc::new(resident(&first).map_err(|error| failed("ethrex-trie", error))?);
    let flat = Arc::new(ethrex::flat(&first, &tries));
    let mut ethrex = Ethrex::new(&first, ethrex::Way::List, &flat, &tries);
    drop(flat);
    ethrex.prepare();
    let flat = Arc::new(RevmFlat::new(&first));
    let mut revm = Revm::new(&first, revm::Way::Sequential, threads, &flat, &tries);
    drop((flat, tries));
    revm.prepare();
    let ours = |name, window| -> Result<Follower, String> {
        let db = StateDb::in_memory(first.store.clone(), head.clone()).map_err(|error| error.to_string())?;
        let executor = Executor::builder().threads(threads).binding(Binding::OneEach).build();
        let executor = executor.map_err(|error| error.to_string())?;
        Ok(Follower::Ours { name, db: Box::new(db), executor: Box::new(executor), window })
    };
    let mut followers = [
        ours("windows", WindowOptions::new(TURN)).map_err(made)?,
        ours("one by one", WindowOptions::new(1)).map_err(made)?,
        Follower::Revm(Box::new(revm)),
        Follower::Ethrex(Box::new(ethrex)),
    ];
    drop(first);

    let (mut blocks, mut gas) = (0, 0);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); followers.len()];
    while blocks < args.blocks {
        let mut links = Vec::new();
        for _ in 0..TURN.min((args.blocks - blocks) as usize) {
            let block = generator.next_block().map_err(|error| made(error.to_string()))?;
            generator.advance(&block).map_err(|error| made(error.to_string()))?;
            gas += block.outcome.gas_used;
            blocks += 1;
            let bytes = (block.built.block, block.built.bal);
            let mut case = case(family, generator.rules, bytes, MemoryStore::default());
            let codes = block.outcome.changes.codes.iter().filter(|(hash, _)| *hash != KECCAK_EMPTY);
            case.codes = codes.cloned().collect();
            links.push(Link { case: Rc::new(case), changes: block.outcome.changes });
        }
        for (follower, times) in followers.iter_mut().zip(&mut times) {
            let watch = Stopwatch::start(Clock::for_threads(threads));
            follower.follow(&links).map_err(|error| failed(follower.name(), error))?;
            times.push(watch.ns() / links.len() as f64);
        }
    }
    for (follower, own) in followers.iter().zip(&times) {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, windows)| own / windows).collect();
        let ns = median(own);
        report.row(&row! {
            "family": family, "blocks": blocks, "mgas": rounded(gas as f64 / 1e6), "who": follower.name(),
            "ms_block": rounded(ns / 1e6), "mgas_per_s": rounded(gas as f64 / blocks as f64 / ns * 1e3),
            "to_windows": rounded(median(&ratios)),
        });
    }
    report.section();
    Ok(())
}

/// A block on a state that the contestants have.
fn case(family: &str, rules: balustrade::ChainRules, (block, list): (Bytes, Bytes), store: MemoryStore) -> Case {
    let header = balustrade::Header::of_block(&block).unwrap_or_default();
    let codes = store.iter_codes().map(|(hash, code)| (*hash, code.clone())).collect();
    let hashes = [(header.number.saturating_sub(1), header.parent_hash)];
    Case {
        name: format!("{family} {}", header.number),
        family: family.to_owned(),
        rules,
        transactions: 0,
        block,
        list,
        header,
        parent: None,
        store,
        codes,
        block_hashes: hashes.to_vec(),
    }
}
