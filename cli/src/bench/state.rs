//! `bench state`: measures the state on disk alone, without execution.
//!
//! In: sizes of generated states, a folder. Out per size: bytes on disk and in memory, the time to open;
//! blocks with nothing in memory: pages and batches, time of reading against the device's time for as
//! many pages, of the root, of the commit against an append and a sync of its bytes; blocks one after
//! the other, with the checkpoints that they cause.
//! The device's times are measured in the same turns.
//! Not here: other stores (a package of its own, `benches/stores`).

use super::super::engine::Failure;
use super::super::measure::device::{Counters, disk_bytes, drop_cached};
use super::super::measure::median;
use super::super::measure::stored::Stored;
use super::super::workload::state_changes::{ChangingBlock, ChangingState};
use super::super::{Status, interrupt, report};
use balustrade::DbError;
use balustrade::db::DiskOptions;
use balustrade::disk::pages::PageId;
use balustrade::disk::state::{Counts, PageReads};
use balustrade::disk::store::PagesKind;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of `bench state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// Folder for the states, on the device to be measured; each is removed after its measurement
    #[arg(long, value_name = "DIR")]
    disk: PathBuf,
    /// Number of accounts and slots of the state, 30 percent of them accounts; may be given several
    /// times
    #[arg(long, value_name = "N", default_values_t = [1_000_000, 10_000_000],
        value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    rows: Vec<u64>,
    /// Number of names that a block reads; it changes half of them
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    names: usize,
    /// Number of blocks with nothing in memory
    #[arg(long, value_name = "N", default_value_t = 7)]
    cold: u64,
    /// Number of blocks one after the other
    #[arg(long, value_name = "N", default_value_t = 150)]
    next: u64,
    /// Page store: files, or redb
    #[arg(long, value_name = "NAME", default_value = "files", value_parser = pages_of_name)]
    pages: PagesKind,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

fn pages_of_name(name: &str) -> Result<PagesKind, String> {
    [PagesKind::Files, PagesKind::Redb].into_iter().find(|kind| kind.name() == name).ok_or("files, or redb".to_owned())
}

/// A block with nothing in memory. Times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Cold {
    names: f64,
    pages: f64,
    batches: f64,
    open: f64,
    /// Finding, reading and checking.
    read: f64,
    read_cpu: f64,
    /// As many pages, read alone.
    device: f64,
    root: f64,
    commit: f64,
    /// The bytes of the record, appended and synced alone.
    append: f64,
}

/// A block after another one. Times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    ms: f64,
    cpu: f64,
    checkpoint: f64,
}

/// The figures of one size.
struct Size {
    rows: u64,
    fill_s: f64,
    new: (Counts, u64),
    end: (Counts, u64),
    cold: Vec<Cold>,
    next: Vec<Next>,
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn failed(error: DbError) -> Failure {
    Failure::Host(error.to_string())
}

fn refused(error: io::Error) -> Failure {
    Failure::Host(error.to_string())
}

/// Measures and prints.
pub(super) fn run(args: &StateArgs) -> Result<Status, Failure> {
    if let Err(status) = interrupt::install() {
        return Ok(status);
    }
    let mut sizes = Vec::new();
    for rows in &args.rows {
        let size = measure(args, *rows)?;
        if args.json {
            report::json_line(&size.json());
        }
        sizes.push(size);
    }
    if args.json {
        let cpu: Vec<f64> = sizes.iter().map(|size| size.of_next(|next| next.cpu)).collect();
        let (least, most) = cpu.iter().fold((f64::INFINITY, 0.0f64), |(a, b), cpu| (a.min(*cpu), b.max(*cpu)));
        report::json_line(&json!({"summary": {"cpu_ratio_between_sizes": most / least}}));
    } else {
        print(&sizes);
    }
    Ok(Status::Good)
}

fn measure(args: &StateArgs, rows: u64) -> Result<Size, Failure> {
    let folder = args.disk.join(format!("state-{rows}"));
    let options = DiskOptions { pages: args.pages, ..DiskOptions::default() };
    let changing = ChangingState::new(rows);
    let (accounts, slots) = changing.rows();
    let bar = report::progress_accounts(accounts);
    let start = Instant::now();
    Stored::fill(&folder, &options, changing.state(), |accounts| bar.inc(accounts as u64)).map_err(failed)?;
    bar.finish_and_clear();
    let mut size = Size {
        rows: accounts + slots,
        fill_s: start.elapsed().as_secs_f64(),
        new: Default::default(),
        end: Default::default(),
        cold: Vec::new(),
        next: Vec::new(),
    };
    let mut number = 0;
    let mut block = |seed: u64| {
        number += 1;
        changing.block(&changing.names(seed, args.names), number)
    };
    for seed in 0..args.cold {
        let cold = cold(&folder, &options, &block(seed), size.new.0.pages).map_err(failed)?;
        size.cold.push(cold.0);
        if seed == 0 {
            size.new = (cold.1, disk_bytes(&folder).map_err(refused)?);
        }
    }
    let mut stored = Stored::open(Stored::files(&folder, &options).map_err(failed)?, &options).map_err(failed)?;
    for seed in 0..args.next {
        size.next.push(next(&mut stored, &block(1_000_000 + seed)).map_err(failed)?);
        if interrupt::flow().is_break() {
            break;
        }
    }
    let start = Instant::now();
    stored.checkpoint(true).map_err(failed)?;
    if let Some(last) = size.next.last_mut() {
        last.checkpoint += ms(start);
    }
    size.end = (stored.state.counts(), disk_bytes(&folder).map_err(refused)?);
    drop(stored);
    std::fs::remove_dir_all(&folder).map_err(refused)?;
    Ok(size)
}

/// The processor time of this process in milliseconds.
fn cpu_ms() -> f64 {
    Counters::cpu_ns() as f64 / 1e6
}

/// One block with nothing in memory. `pages`: number of pages in the store, if it is known.
fn cold(folder: &Path, options: &DiskOptions, block: &ChangingBlock, pages: usize) -> Result<(Cold, Counts), DbError> {
    let of_system = |error: io::Error| DbError::Store(balustrade::StoreError::Failed(error.to_string()));
    let mut cold = Cold { names: block.names() as f64, ..Cold::default() };
    drop_cached(folder).map_err(of_system)?;
    let start = Instant::now();
    let (store, log) = Stored::files(folder, options)?;
    let mut stored = Stored::open((std::sync::Arc::clone(&store), log), options)?;
    cold.open = ms(start);
    let counts = stored.state.counts();
    drop_cached(folder).map_err(of_system)?;
    let before = stored.state.reads();
    let (cpu, start) = (cpu_ms(), Instant::now());
    let values = stored.read(block)?;
    (cold.read, cold.read_cpu) = (ms(start), cpu_ms() - cpu);
    let PageReads { batches, pages: read } = stored.state.reads();
    cold.pages = (read - before.pages) as f64;
    cold.batches = (batches - before.batches) as f64;
    let start = Instant::now();
    stored.root(block)?;
    cold.root = ms(start);
    let start = Instant::now();
    let bytes = stored.commit(block, &values)?;
    cold.commit = ms(start);
    stored.checkpoint(true)?;
    drop(stored);

    // As many other pages, spread in the same way; the first page of a file may be its head.
    let pages = pages.max(counts.pages) as u64;
    let wanted = read - before.pages;
    let mut ids: Vec<PageId> = (0..wanted).map(|at| PageId((at * (pages - 1) / wanted.max(1)) as u32)).collect();
    ids.dedup();
    let mut out = vec![alloy_primitives::Bytes::new(); ids.len()];
    drop_cached(folder).map_err(of_system)?;
    let start = Instant::now();
    store.read(&ids, &mut out)?;
    cold.device = ms(start) * wanted as f64 / ids.len().max(1) as f64;
    drop(store);
    cold.append = append(&folder.with_extension("append"), bytes).map_err(of_system)?;
    Ok((cold, counts))
}

/// Milliseconds in which so many bytes are appended to a file that has its length, and synced.
fn append(path: &Path, bytes: usize) -> io::Result<f64> {
    let mut file = File::create(path)?;
    let content = vec![1; bytes];
    file.write_all(&content)?;
    file.sync_all()?;
    let start = Instant::now();
    file.write_all(&content)?;
    file.sync_data()?;
    let elapsed = ms(start);
    drop(file);
    std::fs::remove_file(path)?;
    Ok(elapsed)
}

/// One block after another one.
fn next(stored: &mut Stored, block: &ChangingBlock) -> Result<Next, DbError> {
    let (cpu, start) = (cpu_ms(), Instant::now());
    let values = stored.read(block)?;
    stored.root(block)?;
    stored.commit(block, &values)?;
    let (ms_of_block, cpu) = (ms(start), cpu_ms() - cpu);
    let start = Instant::now();
    stored.checkpoint(false)?;
    Ok(Next { ms: ms_of_block, cpu, checkpoint: ms(start) })
}

impl Size {
    fn of_cold(&self, figure: impl Fn(&Cold) -> f64) -> f64 {
        median(&self.cold.iter().map(figure).collect::<Vec<_>>())
    }

    fn of_next(&self, figure: impl Fn(&Next) -> f64) -> f64 {
        median(&self.next.iter().map(figure).collect::<Vec<_>>())
    }

    /// Milliseconds of checkpoints per block.
    fn checkpoints(&self) -> f64 {
        self.next.iter().map(|next| next.checkpoint).sum::<f64>() / self.next.len().max(1) as f64
    }

    fn json(&self) -> serde_json::Value {
        let bytes = |(_, bytes): (Counts, u64)| bytes as f64 / self.rows as f64;
        json!({
            "rows": self.rows, "fill_s": self.fill_s,
            "bytes_per_row_new": bytes(self.new), "bytes_per_row": bytes(self.end),
            "crown_bytes_per_row": self.new.0.crown_bytes as f64 / self.rows as f64,
            "units": self.new.0.account_units + self.new.0.slot_units,
            "pages": self.end.0.pages, "free_pages": self.end.0.free_pages,
            "open_ms": self.of_cold(|cold| cold.open),
            "cold": {
                "blocks": self.cold.len(),
                "names": self.of_cold(|cold| cold.names),
                "pages": self.of_cold(|cold| cold.pages),
                "batches": self.of_cold(|cold| cold.batches),
                "read_ms": self.of_cold(|cold| cold.read),
                "read_cpu_ms": self.of_cold(|cold| cold.read_cpu),
                "device_ms": self.of_cold(|cold| cold.device),
                "over_device": self.of_cold(|cold| cold.read / cold.device),
                "root_ms": self.of_cold(|cold| cold.root),
                "commit_ms": self.of_cold(|cold| cold.commit),
                "append_ms": self.of_cold(|cold| cold.append),
                "over_append": self.of_cold(|cold| cold.commit / cold.append),
            },
            "next": {
                "blocks": self.next.len(),
                "ms": self.of_next(|next| next.ms),
                "cpu_ms": self.of_next(|next| next.cpu),
                "checkpoint_ms": self.checkpoints(),
            },
        })
    }
}

fn print(sizes: &[Size]) {
    type Figure = fn(&Size) -> String;
    let rows: [(&str, Figure); 18] = [
        ("accounts and slots", |size| size.rows.to_string()),
        ("filled, s", |size| format!("{:.0}", size.fill_s)),
        ("bytes on disk per row, new", |size| format!("{:.1}", size.new.1 as f64 / size.rows as f64)),
        ("bytes on disk per row, at the end", |size| format!("{:.1}", size.end.1 as f64 / size.rows as f64)),
        ("bytes in memory per row", |size| format!("{:.1}", size.new.0.crown_bytes as f64 / size.rows as f64)),
        ("opened, ms", |size| format!("{:.0}", size.of_cold(|cold| cold.open))),
        ("cold: names", |size| format!("{:.0}", size.of_cold(|cold| cold.names))),
        ("cold: pages", |size| format!("{:.0}", size.of_cold(|cold| cold.pages))),
        ("cold: batches", |size| format!("{:.0}", size.of_cold(|cold| cold.batches))),
        ("cold: read, ms", |size| format!("{:.1}", size.of_cold(|cold| cold.read))),
        ("cold: processor time of it, ms", |size| format!("{:.1}", size.of_cold(|cold| cold.read_cpu))),
        ("cold: read over device", |size| format!("{:.2}", size.of_cold(|cold| cold.read / cold.device))),
        ("cold: root, ms", |size| format!("{:.1}", size.of_cold(|cold| cold.root))),
        ("cold: commit, ms", |size| format!("{:.1}", size.of_cold(|cold| cold.commit))),
        ("cold: commit over append", |size| format!("{:.2}", size.of_cold(|cold| cold.commit / cold.append))),
        ("next: ms", |size| format!("{:.1}", size.of_next(|next| next.ms))),
        ("next: processor time, ms", |size| format!("{:.1}", size.of_next(|next| next.cpu))),
        ("next: checkpoints per block, ms", |size| format!("{:.1}", size.checkpoints())),
    ];
    let mut table = report::table();
    for (name, figure) in rows {
        table.add_row(std::iter::once(name.to_owned()).chain(sizes.iter().map(figure)));
    }
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    report::line("medians; cold: opened just before, no file in the page cache; next: one block after the other");
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Folder;
    use super::*;

    #[test]
    fn figures_of_a_small_state() {
        let folder = Folder::new("bench-state");
        let args = StateArgs {
            disk: folder.path("").into(),
            rows: vec![20_000],
            names: 400,
            cold: 2,
            next: 3,
            pages: PagesKind::Files,
            json: false,
        };
        let size = measure(&args, 20_000).expect("figures");
        assert_eq!((size.cold.len(), size.next.len()), (2, 3));
        assert!(size.cold.iter().all(|cold| cold.batches == 1.0 && cold.pages <= cold.names));
        assert_eq!(size.json()["cold"]["batches"], json!(1.0));
        assert!(size.new.0.accounts > 5_000 && size.new.1 > 0 && size.end.0.pages >= size.new.0.pages);
        assert_eq!(run(&args).expect("a table"), Status::Good);
        assert!(pages_of_name("none").is_err());
    }
}
