//! The measurement: all stores take turns on the same blocks.
//!
//! In: sizes, stores. Out: samples of three kinds of blocks per store. Values that stores return are
//! compared with the model after each block, and the roots of those that compute Ethereum's with each
//! other. An unequal value ends the run.

use super::Args;
use super::contestants::{Contestant, Failure, Mdbx, NomtStore, Ours, Redb, Rocks};
use super::workload::{Model, Rows};
use alloy_primitives::B256;
use balustrade::disk::store::PagesKind;
use balustrade_cli::measure::device::{Counters, disk_bytes, drop_cached};
use balustrade_cli::workload::state_changes::{ChangingBlock, ChangingState, Names};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a block finds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the store was opened just before, and its files were dropped from the page cache.
    Cold,
    /// Names that no block had; the store and the page cache as the blocks before left them.
    Next,
    /// Names of earlier blocks.
    Warm,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Cold, Self::Next, Self::Warm];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Next => "next",
            Self::Warm => "warm",
        }
    }
}

/// One block on one store; times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) read: f64,
    pub(crate) root: f64,
    pub(crate) durable: f64,
    /// Deferred work after the block.
    pub(crate) later: f64,
    /// Counters of all but the deferred work.
    pub(crate) counters: Counters,
}

impl Sample {
    pub(crate) fn total(&self) -> f64 {
        self.read + self.root + self.durable
    }
}

/// All measurements of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// Samples of each kind, in the order of [`Kind::ALL`].
    pub(crate) samples: [Vec<Sample>; 3],
    /// Deferred work that was left after the last [`Kind::Next`] block, in milliseconds.
    pub(crate) rest: f64,
    /// Bytes on disk of the new state.
    pub(crate) filled_bytes: u64,
    /// Bytes on disk at the end.
    pub(crate) bytes: u64,
    /// Seconds in which the state was filled in.
    pub(crate) fill: f64,
    /// Milliseconds in which the store was opened, nothing in memory; the median.
    pub(crate) open: Vec<f64>,
}

struct Run<'a> {
    args: &'a Args,
    stores: Vec<Box<dyn Contestant>>,
    measured: Vec<Measured>,
    number: u64,
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn in_store<T>(name: &str, result: Result<T, Failure>) -> Result<T, Failure> {
    result.map_err(|error| format!("{name}: {error}").into())
}

/// The stores in a folder, those that `wanted` names; all if it names none.
fn stores(folder: &Path, rows: u64, wanted: &[String]) -> Result<Vec<Box<dyn Contestant>>, Failure> {
    let of = |name: &str| -> PathBuf { folder.join(name) };
    let mut stores: Vec<Box<dyn Contestant>> = vec![
        Box::new(Ours::new(of("ours-files"), PagesKind::Files)),
        Box::new(Ours::new(of("ours-redb"), PagesKind::Redb)),
        Box::new(NomtStore::new(of("nomt"), rows)?),
        Box::new(Rocks::new(of("rocksdb"))?),
        Box::new(Mdbx::new(of("mdbx"))?),
        Box::new(Redb::new(of("redb"))?),
    ];
    let is_wanted = |store: &dyn Contestant| {
        wanted.is_empty() || wanted.iter().any(|name| store.folder().file_name().is_some_and(|of| of == &name[..]))
    };
    stores.retain(|store| is_wanted(&**store));
    Ok(stores)
}

/// Measures all stores with a state of `rows` rows.
///
/// # Errors
/// Those of the stores; a value or root that is not what it must be.
pub(crate) fn measure(args: &Args, rows: u64) -> Result<(ChangingState, Vec<Measured>), Failure> {
    let workload = ChangingState::new(rows);
    let folder = args.dir.join(format!("stores-{rows}"));
    if folder.exists() {
        return Err(format!("{} exists", folder.display()).into());
    }
    std::fs::create_dir_all(&folder)?;
    let stores = stores(&folder, rows, &args.store)?;
    let measured = stores.iter().map(|store| Measured { name: store.name(), ..Measured::default() }).collect();
    let mut run = Run { args, stores, measured, number: 0 };
    run.fill(&workload)?;
    let mut model = Model::new(workload.state());
    run.cold(&workload, &mut model)?;
    run.next(&workload, &mut model)?;
    run.warm(&workload, &mut model)?;
    for (store, measured) in run.stores.iter_mut().zip(&mut run.measured) {
        in_store(measured.name, store.close())?;
        measured.bytes = disk_bytes(store.folder())?;
    }
    drop(run.stores);
    if !args.keep {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok((workload, run.measured))
}

impl Run<'_> {
    fn fill(&mut self, workload: &ChangingState) -> Result<(), Failure> {
        let mut roots = Vec::new();
        for (store, measured) in self.stores.iter_mut().zip(&mut self.measured) {
            let start = Instant::now();
            let root = in_store(measured.name, store.fill(workload.state()))?;
            roots.extend(root.filter(|_| store.has_state_root()));
            measured.fill = start.elapsed().as_secs_f64();
            measured.filled_bytes = disk_bytes(store.folder())?;
            eprintln!("{}: filled in {:.0} s", measured.name, measured.fill);
        }
        one_root(&roots)
    }

    fn block(
        &mut self,
        workload: &ChangingState,
        model: &mut Model<'_>,
        names: &Names,
    ) -> Result<(ChangingBlock, Rows), Failure> {
        self.number += 1;
        let block = workload.block(names, self.number);
        let before = model.before(&block)?;
        model.apply(&block);
        Ok((block, before))
    }

    /// Runs blocks on the store in this row, one after the other. Returns the roots.
    fn run(&mut self, row: usize, blocks: &[(ChangingBlock, Rows)], kind: Option<Kind>) -> Result<Vec<B256>, Failure> {
        let (store, measured) = (&mut self.stores[row], &mut self.measured[row]);
        let mut roots = Vec::new();
        for (block, before) in blocks {
            let counters = Counters::now(&self.args.device)?;
            let start = Instant::now();
            let rows = in_store(measured.name, store.read(block))?;
            let read = ms(start);
            let start = Instant::now();
            let root = in_store(measured.name, store.root(block, kind == Some(Kind::Cold)))?;
            let root_ms = ms(start);
            let start = Instant::now();
            in_store(measured.name, store.commit(block))?;
            let durable = ms(start);
            let counters = Counters::now(&self.args.device)?.since(&counters);
            let start = Instant::now();
            in_store(measured.name, store.later(false))?;
            let later = ms(start);
            if rows != *before {
                return Err(format!("{}: other values before block {}", measured.name, block.number).into());
            }
            roots.extend(root.filter(|_| store.has_state_root()));
            if let Some(kind) = kind {
                measured.samples[kind as usize].push(Sample { read, root: root_ms, durable, later, counters });
            }
        }
        Ok(roots)
    }

    /// Runs blocks on every store and compares the roots.
    fn all(&mut self, blocks: &[(ChangingBlock, Rows)], kind: Option<Kind>) -> Result<(), Failure> {
        let mut roots: Vec<Vec<B256>> = Vec::new();
        for row in 0..self.stores.len() {
            let of_store = self.run(row, blocks, kind)?;
            if self.stores[row].has_state_root() {
                roots.push(of_store);
            }
        }
        (0..blocks.len()).try_for_each(|block| one_root(&roots.iter().map(|roots| roots[block]).collect::<Vec<_>>()))
    }

    fn cold(&mut self, workload: &ChangingState, model: &mut Model<'_>) -> Result<(), Failure> {
        for seed in 0..self.args.cold {
            let block = self.block(workload, model, &workload.names(1_000_000 + seed, self.args.names))?;
            let mut roots = Vec::new();
            for row in 0..self.stores.len() {
                let (store, measured) = (&mut self.stores[row], &mut self.measured[row]);
                drop_cached(store.folder())?;
                let start = Instant::now();
                in_store(measured.name, store.open())?;
                measured.open.push(ms(start));
                // Opening has read files.
                drop_cached(store.folder())?;
                roots.extend(self.run(row, core::slice::from_ref(&block), Some(Kind::Cold))?);
                in_store(self.measured[row].name, self.stores[row].close())?;
            }
            one_root(&roots)?;
        }
        for (store, measured) in self.stores.iter_mut().zip(&self.measured) {
            in_store(measured.name, store.open())?;
        }
        Ok(())
    }

    fn next(&mut self, workload: &ChangingState, model: &mut Model<'_>) -> Result<(), Failure> {
        let seeds: Vec<u64> = (0..self.args.next).collect();
        for turn in seeds.chunks(self.args.turn) {
            let names = turn.iter().map(|seed| workload.names(2_000_000 + seed, self.args.names));
            let blocks: Result<Vec<_>, _> = names.map(|names| self.block(workload, model, &names)).collect();
            self.all(&blocks?, Some(Kind::Next))?;
        }
        for (store, measured) in self.stores.iter_mut().zip(&mut self.measured) {
            let start = Instant::now();
            in_store(measured.name, store.later(true))?;
            measured.rest = ms(start);
        }
        Ok(())
    }

    fn warm(&mut self, workload: &ChangingState, model: &mut Model<'_>) -> Result<(), Failure> {
        let names: Vec<Names> =
            (0..self.args.sets).map(|seed| workload.names(3_000_000 + seed, self.args.names)).collect();
        for round in 0..=self.args.warm {
            let blocks: Result<Vec<_>, _> = names.iter().map(|names| self.block(workload, model, names)).collect();
            self.all(&blocks?, (round > 0).then_some(Kind::Warm))?;
        }
        Ok(())
    }
}

fn one_root(roots: &[B256]) -> Result<(), Failure> {
    if roots.windows(2).all(|pair| pair[0] == pair[1]) {
        Ok(())
    } else {
        Err(format!("different roots: {roots:?}").into())
    }
}
