//! Prints results: tables for people, JSON lines for scripts.
//!
//! In: results. Out: text on standard output; progress bars on standard error if it is a terminal.
//! Units: milliseconds and Mgas in tables, nanoseconds and gas in JSON.
//! Not here: writing to the streams (`output`).

use super::engine::Accepted;
use super::output;
use alloy_primitives::B256;
use balustrade::exec::block::admission::BlockGas;
use balustrade::exec::block::optimistic::Speculation;
use balustrade::executor::{Span, Stage, Unchecked};
use balustrade::formats::Progress;
use balustrade::{BlockOutcome, Mode};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;

pub use super::output::{complain, line};

/// The stages of a block in the order of the table's columns.
const STAGES: [Stage; 6] = [Stage::Decode, Stage::Read, Stage::Recover, Stage::Execute, Stage::Verify, Stage::Root];

/// A progress bar over `total` bytes of input; hidden if standard error is not a terminal.
pub fn progress_bytes(total: u64) -> ProgressBar {
    let style = "{bar:30} {bytes}/{total_bytes} {elapsed} {msg}";
    progress(total, style)
}

/// A progress bar over `total` blocks; hidden if standard error is not a terminal.
pub fn progress_blocks(total: u64) -> ProgressBar {
    progress(total, "{bar:30} {pos}/{len} blocks {elapsed} {msg}")
}

/// A progress bar over `total` bytes of chain files, with bytes per second and the time left; hidden
/// if standard error is not a terminal.
pub fn progress_import(total: u64) -> ProgressBar {
    progress(total, "{bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta} left {msg}")
}

/// A progress bar over `total` blocks of a store, with the time left; hidden if standard error is not a terminal.
pub fn progress_replay(total: u64) -> ProgressBar {
    progress(total, "{bar:20} {pos}/{len} blocks {eta} left {msg}")
}

/// A progress bar over `total` accounts; hidden if standard error is not a terminal.
pub fn progress_accounts(total: u64) -> ProgressBar {
    progress(total, "{bar:30} {pos}/{len} accounts {elapsed}, {eta} left")
}

/// Returns a bar for the units of a store.
pub fn progress_units(total: u64) -> ProgressBar {
    progress(total, "{bar:30} {pos}/{len} units {elapsed}, {eta} left")
}

/// Returns a line that says what is being done; hidden where standard error is no terminal. It is
/// drawn when its message is set, not by a thread of its own, which could disturb a measurement.
pub fn progress_message() -> ProgressBar {
    progress(0, "{msg}")
}

/// Returns a callback that moves the bar with the bytes that are read and reports skipped files.
pub fn reading(bar: Option<&ProgressBar>) -> impl FnMut(Progress<'_>) {
    move |progress| match (progress, bar) {
        (Progress::Read(bytes), Some(bar)) => bar.inc(bytes),
        (Progress::Read(_), None) => {}
        (Progress::Skipped(path), bar) => {
            let note = || output::note(&format_args!("{} is no regular file: skipped", path.display()));
            bar.map_or_else(note, |bar| bar.suspend(note));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only asks whether standard error is a terminal")]
fn progress(total: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// Prints one JSON object as a line on standard output.
pub fn json_line(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => output::stdout_failed(&error.into()),
    }
}

/// Formats a count with its noun: "1 block", "2 blocks".
pub fn counted(count: impl Into<u64>, noun: &str) -> String {
    let count = count.into();
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Gas per nanosecond, which equals Ggas per second; zero if no time passed.
pub fn ggas_per_s(gas: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { gas as f64 / ns as f64 }
}

/// One executed block, as a row of `run`.
#[derive(Clone, Debug)]
pub struct BlockRow {
    name: String,
    fork: String,
    mode: Mode,
    number: u64,
    hash: B256,
    transactions: usize,
    failed: usize,
    gas_used: u64,
    gas: BlockGas,
    state_root: Option<B256>,
    unchecked: Vec<Unchecked>,
    speculation: Option<Speculation>,
    timeline: Vec<Span>,
    elapsed_ns: u64,
    /// Time of every repeat in nanoseconds, in the order of execution.
    repeats_ns: Vec<u64>,
}

impl BlockRow {
    /// Creates the row of an accepted block from the repeat of median time.
    pub fn new(name: String, fork: String, accepted: &Accepted, repeats_ns: Vec<u64>) -> Self {
        let outcome = &accepted.outcome;
        Self {
            name,
            fork,
            mode: accepted.mode,
            number: outcome.number,
            hash: outcome.hash,
            transactions: outcome.transactions.len(),
            failed: outcome.transactions.iter().filter(|transaction| !transaction.success).count(),
            gas_used: outcome.gas_used,
            gas: outcome.gas,
            state_root: outcome.state_root,
            unchecked: outcome.unchecked.clone(),
            speculation: outcome.speculation,
            timeline: outcome.timeline.clone(),
            elapsed_ns: outcome.elapsed_ns,
            repeats_ns,
        }
    }

    /// The JSON object of the row.
    pub fn json(&self) -> Value {
        let stages = self.timeline.iter().map(|span| {
            let mut stage = json!({
                "stage": span.stage.name(), "start_ns": span.start_ns, "end_ns": span.end_ns,
            });
            if let Some(worker) = span.worker {
                stage["worker"] = json!(worker);
            }
            stage
        });
        let mut line = json!({
            "block": self.name,
            "fork": self.fork,
            "number": self.number,
            "hash": self.hash,
            "mode": self.mode.name(),
            "valid": true,
            "transactions": self.transactions,
            "failed": self.failed,
            "gas": self.gas_used,
            "execution_gas": self.gas.execution,
            "state_gas": self.gas.state,
            "paid_gas": self.gas.paid,
            "state_root": self.state_root,
            "seconds": self.elapsed_ns as f64 / 1e9,
            "ggas_per_s": ggas_per_s(self.gas_used, self.elapsed_ns),
            "stages": stages.collect::<Vec<_>>(),
            "unchecked": unchecked_json(&self.unchecked),
        });
        if let Some(tail_ns) = root_tail_ns(&self.timeline) {
            line["root_tail_ms"] = json!(tail_ns as f64 / 1e6);
        }
        if let Some(speculation) = &self.speculation {
            line["speculation"] = speculation_json(speculation);
        }
        if self.repeats_ns.len() > 1 {
            line["repeats_ns"] = json!(self.repeats_ns);
        }
        line
    }
}

/// Prints the checks that were not made, a line for each reason.
pub fn print_unchecked(unchecked: &[Unchecked]) {
    for checks in unchecked.chunk_by(|one, next| one.reason == next.reason) {
        let names: Vec<&str> = checks.iter().map(|unchecked| unchecked.check.name()).collect();
        line(&format!("unchecked: {} ({})", names.join(", "), checks[0].reason));
    }
}

/// Checks that were not made, as JSON objects.
pub fn unchecked_json(unchecked: &[Unchecked]) -> Value {
    unchecked.iter().map(|unchecked| json!({"check": unchecked.check.name(), "reason": unchecked.reason})).collect()
}

/// The times of one block in all modes.
#[derive(Clone, Debug)]
pub struct ModesRow {
    name: String,
    transactions: usize,
    gas_used: u64,
    /// Nanoseconds, in the order of [`ModesRow::MODES`].
    ns: [u64; 3],
    speculation: Speculation,
}

impl ModesRow {
    const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];

    /// Creates the row of a block that ran in every mode; `None` if a mode is missing.
    pub fn new(rows: &[BlockRow]) -> Option<Self> {
        let of = |mode| rows.iter().find(|row| row.mode == mode);
        let first = rows.first()?;
        let mut ns = [0; 3];
        for (ns, mode) in ns.iter_mut().zip(Self::MODES) {
            *ns = of(mode)?.elapsed_ns;
        }
        let speculation = of(Mode::Optimistic)?.speculation?;
        Some(Self {
            name: first.name.clone(),
            transactions: first.transactions,
            gas_used: first.gas_used,
            ns,
            speculation,
        })
    }

    /// How many times as fast as sequential execution a mode is; `place` is an index into
    /// [`Self::MODES`].
    fn speed_up(&self, place: usize) -> f64 {
        self.ns[0] as f64 / self.ns[place].max(1) as f64
    }

    /// The block's object in the field `compared` of the summary.
    pub fn json(&self) -> Value {
        json!({
            "block": self.name,
            "transactions": self.transactions,
            "gas": self.gas_used,
            "sequential_ns": self.ns[0],
            "optimistic_ns": self.ns[1],
            "bal_ns": self.ns[2],
            "optimistic_vs_sequential": self.speed_up(1),
            "bal_vs_sequential": self.speed_up(2),
            "executions": self.speculation.executions,
            "conflicts": self.speculation.conflicts,
            "re_executions": self.speculation.re_executions,
            "reads": self.speculation.account_reads + self.speculation.slot_reads,
            "reads_saved": self.speculation.reads_saved,
        })
    }
}

/// The table of `run --mode all`: a row per block with its median time in each mode and its
/// speculation counts.
pub fn modes_table(rows: &[ModesRow]) -> Table {
    let mut table = table();
    let mut header = ["block", "txs", "Mgas"].map(str::to_owned).to_vec();
    header.extend(["seq. ms", "opt. ms", "bal ms", "opt. ×", "bal ×", "repeats", "reads", "saved"].map(str::to_owned));
    table.set_header(header);
    for row in rows {
        let name = shortened(&row.name, NAME_MAX - 4);
        let mut cells = vec![name, row.transactions.to_string(), format!("{:.2}", row.gas_used as f64 / 1e6)];
        cells.extend(row.ns.map(|ns| format!("{:.3}", ns as f64 / 1e6)));
        cells.extend([1, 2].map(|place| format!("{:.2}", row.speed_up(place))));
        let Speculation { re_executions, account_reads, slot_reads, reads_saved, .. } = row.speculation;
        cells.extend([re_executions, account_reads + slot_reads, reads_saved].map(|count| count.to_string()));
        table.add_row(cells);
    }
    narrow(&mut table);
    right_align(&mut table, 1);
    table
}

/// The counts of speculative execution as JSON.
fn speculation_json(speculation: &Speculation) -> Value {
    let Speculation {
        workers,
        executions,
        conflicts,
        re_executions,
        account_reads,
        slot_reads,
        reads_saved,
        write_back_reads,
    } = *speculation;
    json!({
        "workers": workers,
        "executions": executions,
        "conflicts": conflicts,
        "re_executions": re_executions,
        "account_reads": account_reads,
        "slot_reads": slot_reads,
        "reads_saved": reads_saved,
        "write_back_reads": write_back_reads,
    })
}

/// Nanoseconds in which at least one thread worked on a stage; overlapping spans count once.
pub fn busy_ns(timeline: &[Span], stage: Stage) -> u64 {
    let mut runs: Vec<(u64, u64)> =
        timeline.iter().filter(|span| span.stage == stage).map(|span| (span.start_ns, span.end_ns)).collect();
    runs.sort_unstable();
    let mut busy = 0;
    let mut until = 0;
    for (start, end) in runs {
        busy += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    busy
}

/// The part of the state root's time that adds to the block's latency: nanoseconds from the end of
/// the last transaction to the end of the root. `None` if no root was computed.
pub fn root_tail_ns(timeline: &[Span]) -> Option<u64> {
    let end = |stage| timeline.iter().filter(|span| span.stage == stage).map(|span| span.end_ns).max();
    end(Stage::Root).map(|root| root.saturating_sub(end(Stage::Execute).unwrap_or(0)))
}

/// The checks that could not be made: one line per check and reason, with the number of blocks.
pub fn unchecked_lines(rows: &[BlockRow]) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for unchecked in rows.iter().flat_map(|row| &row.unchecked) {
        *counts.entry((unchecked.check.name(), unchecked.reason)).or_default() += 1;
    }
    let line =
        |((check, reason), count)| format!("unchecked in {}: {check} ({reason})", counted(count as u64, "block"));
    counts.into_iter().map(line).collect()
}

/// Maximal number of characters of a name in a table.
const NAME_MAX: usize = 20;
/// Maximal number of characters of a fork in a table.
const FORK_MAX: usize = 11;
/// Maximal number of stages with a column of their own in the table of `run`.
const STAGES_SHOWN: usize = 4;
/// Minimal share of the blocks' time, in percent, of a stage with a column of its own.
const SHARE_MIN: f64 = 5.0;

/// Shortens a name to at most `max` characters by leaving out its middle, since names of tests
/// differ at their end.
pub fn shortened(name: &str, max: usize) -> String {
    let count = name.chars().count();
    if count <= max {
        return name.to_owned();
    }
    let head = (max - 1) / 2;
    let tail = max - 1 - head;
    name.chars().take(head).chain(['…']).chain(name.chars().skip(count - tail)).collect()
}

/// Returns the value that all rows have, if they have the same.
fn common<'a>(rows: &'a [BlockRow], of: fn(&'a BlockRow) -> &'a str) -> Option<&'a str> {
    let first = of(rows.first()?);
    rows.iter().all(|row| of(row) == first).then_some(first)
}

/// Returns the line above [`block_table`]: fork and mode, where all rows have the same.
pub fn block_title(rows: &[BlockRow]) -> String {
    let fork = common(rows, |row| &row.fork).map(|fork| format!("{fork} rules, "));
    let mode = common(rows, |row| row.mode.name()).map(|mode| format!("{mode} mode, "));
    format!("{}{}shares of the block's time by stage", fork.unwrap_or_default(), mode.unwrap_or_default())
}

/// The table of `run`: a row per block, with the share of the block's time per stage in percent.
/// Stages overlap, so that the shares may add up to more than 100 %. To fit 100 columns, small stages
/// are summed as `other`, and columns in which all rows are the same are left out; JSON has all of
/// them.
pub fn block_table(rows: &[BlockRow]) -> Table {
    let (forks, modes) = (common(rows, |row| &row.fork).is_none(), common(rows, |row| row.mode.name()).is_none());
    let room = STAGES_SHOWN - 2 * usize::from(forks) - usize::from(modes);
    let shares: Vec<[f64; STAGES.len()]> = rows
        .iter()
        .map(|row| STAGES.map(|stage| 100.0 * busy_ns(&row.timeline, stage) as f64 / row.elapsed_ns.max(1) as f64))
        .collect();
    let mean = |stage: usize| shares.iter().map(|row| row[stage]).sum::<f64>() / rows.len().max(1) as f64;
    let mut shown: Vec<usize> = (0..STAGES.len()).filter(|stage| mean(*stage) >= SHARE_MIN).collect();
    shown.sort_by(|a, b| mean(*b).total_cmp(&mean(*a)));
    shown.truncate(room);
    shown.sort_unstable();

    let mut table = table();
    let mut header = vec!["block"];
    header.extend(forks.then_some("fork"));
    header.extend(modes.then_some("mode"));
    let texts = header.len();
    header.extend(["txs", "Mgas", "ms"]);
    header.extend(shown.iter().map(|stage| STAGES[*stage].name()));
    header.extend(["other", "tail ms", "Ggas/s"]);
    table.set_header(header);
    for (row, shares) in rows.iter().zip(shares) {
        let mut cells = vec![shortened(&row.name, NAME_MAX)];
        cells.extend(forks.then(|| shortened(&row.fork, FORK_MAX)));
        cells.extend(modes.then(|| row.mode.name().to_owned()));
        cells.extend([
            row.transactions.to_string(),
            format!("{:.2}", row.gas_used as f64 / 1e6),
            format!("{:.3}", row.elapsed_ns as f64 / 1e6),
        ]);
        cells.extend(shown.iter().map(|stage| format!("{:.0} %", shares[*stage])));
        let other: f64 = (0..STAGES.len()).filter(|stage| !shown.contains(stage)).map(|stage| shares[stage]).sum();
        cells.push(format!("{other:.0} %"));
        cells.push(root_tail_ns(&row.timeline).map_or_else(String::new, |ns| format!("{:.3}", ns as f64 / 1e6)));
        cells.push(format!("{:.2}", ggas_per_s(row.gas_used, row.elapsed_ns)));
        table.add_row(cells);
    }
    narrow(&mut table);
    right_align(&mut table, texts);
    table
}

/// Reduces the space between columns, so that a table of many columns fits 100 characters.
pub fn narrow(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((1, 0));
    }
}

/// The table style: lines around the table and below its header, none between rows, so that long
/// tables stay readable.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('═').junction('═'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// Creates an empty table in this style. Cells are coloured where standard output is a terminal, with
/// the exceptions that the variables `NO_COLOR` and `CLICOLOR_FORCE` make.
pub fn table() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    if console::colors_enabled() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Width of tables in characters. Cells of wider tables are broken into several lines.
const TABLE_WIDTH: u16 = 100;

/// Creates an empty table without lines, for names with descriptions.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).force_no_tty();
    table.set_width(TABLE_WIDTH).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// Formats a finished table: the header is bold, and all columns from index `first` on, which hold
/// numbers, are aligned to the right.
pub fn right_align(table: &mut Table, first: usize) {
    let width = table.lines().map(|line| console::measure_text_width(&line)).max().unwrap_or_default();
    if width > usize::from(TABLE_WIDTH) {
        narrow(table);
        table.set_width(TABLE_WIDTH).set_content_arrangement(ContentArrangement::Dynamic);
    }
    if let Some(header) = table.header() {
        let bold = |cell: &Cell| Cell::new(cell.content()).add_attribute(Attribute::Bold);
        let header: Vec<Cell> = header.cell_iter().map(bold).collect();
        table.set_header(header);
    }
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Totals of `run`.
#[derive(Clone, Debug, Default)]
pub struct RunSummary {
    /// Number of verified blocks.
    pub blocks: u64,
    /// Gas of the verified blocks.
    pub gas: u64,
    /// Time of the verified blocks in nanoseconds, from the raw bytes to the last check.
    pub ns: u64,
    /// Speed of the fastest block in Ggas/s.
    pub peak_ggas_per_s: f64,
    /// Number of blocks that were rejected although their file does not declare them invalid.
    pub invalid: u64,
    /// Number of blocks that a fixture declares invalid and that were rejected.
    pub refused_as_expected: u64,
}

impl RunSummary {
    /// Adds a verified block.
    pub fn add(&mut self, block: &BlockOutcome) {
        self.add_range(1, block.gas_used, block.elapsed_ns);
    }

    /// Adds verified blocks, of which only gas and time together are known.
    pub fn add_range(&mut self, blocks: u64, gas: u64, ns: u64) {
        self.blocks += blocks;
        self.gas += gas;
        self.ns += ns;
        self.peak_ggas_per_s = self.peak_ggas_per_s.max(ggas_per_s(gas, ns));
    }

    fn average_ms(&self) -> f64 {
        self.ns as f64 / 1e6 / self.blocks.max(1) as f64
    }

    /// The JSON object of the summary line.
    pub fn json(&self) -> Value {
        json!({"summary": {
            "blocks": self.blocks,
            "gas": self.gas,
            "seconds": self.ns as f64 / 1e9,
            "ggas_per_s": ggas_per_s(self.gas, self.ns),
            "average_ms": self.average_ms(),
            "peak_ggas_per_s": self.peak_ggas_per_s,
            "invalid": self.invalid,
            "refused_as_expected": self.refused_as_expected,
            "fallbacks": 0,
        }})
    }

    /// Whether no block was executed.
    pub const fn is_empty(&self) -> bool {
        self.blocks + self.refused_as_expected + self.invalid == 0
    }

    /// The summary for people: one line for each count that is not zero. `verb` says what was done to the blocks.
    pub fn lines(&self, verb: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.blocks > 0 {
            let blocks = counted(self.blocks, "block");
            lines.push(format!("{blocks} {verb}, {:.1} Mgas in {:.1} ms", self.gas as f64 / 1e6, self.ns as f64 / 1e6));
            lines.push(format!(
                "average {:.2} Ggas/s, {:.2} ms per block; peak {:.2} Ggas/s",
                ggas_per_s(self.gas, self.ns),
                self.average_ms(),
                self.peak_ggas_per_s,
            ));
        }
        if self.refused_as_expected > 0 {
            let blocks = counted(self.refused_as_expected, "invalid block");
            lines.push(format!("{blocks} rejected, as their files expect"));
        }
        if self.invalid > 0 {
            let invalid = format!("{} INVALID", counted(self.invalid, "block"));
            lines.push(console::style(invalid).red().bold().to_string());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, fork: &str, mode: Mode) -> BlockRow {
        let spans = STAGES.map(|stage| Span { stage, worker: None, thread: 0, start_ns: 0, end_ns: 20_000_000 });
        let small = Span { stage: Stage::Decode, worker: None, thread: 0, start_ns: 0, end_ns: 1_000 };
        BlockRow {
            name: name.to_owned(),
            fork: fork.to_owned(),
            mode,
            number: 1,
            hash: B256::ZERO,
            transactions: 999,
            failed: 0,
            gas_used: 36_000_000,
            gas: BlockGas::default(),
            state_root: None,
            unchecked: Vec::new(),
            speculation: None,
            timeline: spans.into_iter().map(|span| if span.stage == Stage::Decode { small } else { span }).collect(),
            elapsed_ns: 40_000_000,
            repeats_ns: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_blocks_fits_a_hundred_columns() {
        let long = "tests/amsterdam/eip7928/test_a.py::test_a[fork_Amsterdam-blockchain_test] #1";
        let width = |rows: &[BlockRow]| {
            let text = block_table(rows).to_string();
            assert!(text.contains("other") && !text.contains("decode"), "{text}");
            text.lines().map(|line| line.chars().count()).max()
        };
        let one = row(long, "CancunToPragueAtTime15k", Mode::Bal);
        assert!(width(std::slice::from_ref(&one)) <= Some(100), "{}", block_table(std::slice::from_ref(&one)));
        let two = [one, row("b", "Osaka", Mode::Sequential)];
        assert!(width(&two) <= Some(100), "{}", block_table(&two));
        assert_eq!(block_title(&two), "shares of the block's time by stage");
        assert!(block_title(&two[1..]).starts_with("Osaka rules, sequential mode, "));
        assert_eq!(shortened(long, 9), "test…] #1");
        assert_eq!(shortened("ten letter", 10), "ten letter");
    }

    #[test]
    fn the_table_of_modes_fits_a_hundred_columns() {
        let speculation = Speculation {
            re_executions: 1_234,
            account_reads: 40_000,
            slot_reads: 60_000,
            reads_saved: 55_555,
            ..Speculation::default()
        };
        let name = "tests/amsterdam/eip7928/test_a.py::test_a[fork_Amsterdam-blockchain_test] #1".to_owned();
        let ns = [1_234_567_890; 3];
        let text =
            modes_table(&[ModesRow { name, transactions: 2_345, gas_used: 300_000_000, ns, speculation }]).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn overlapping_workers_count_once() {
        let run = |stage, start_ns, end_ns| Span { stage, worker: Some(0), thread: 0, start_ns, end_ns };
        let (execute, root) = (Stage::Execute, Stage::Root);
        let timeline = [run(execute, 5, 10), run(execute, 0, 8), run(root, 0, 90), run(execute, 20, 21)];
        assert_eq!(busy_ns(&timeline, execute), 11);
        assert_eq!(busy_ns(&timeline, Stage::Read), 0);
    }

    #[test]
    fn a_root_behind_the_last_transaction_is_late() {
        let run = |stage, start_ns, end_ns| Span { stage, worker: None, thread: 0, start_ns, end_ns };
        let (execute, root) = (Stage::Execute, Stage::Root);
        assert_eq!(root_tail_ns(&[run(execute, 0, 9), run(execute, 1, 7), run(root, 2, 12)]), Some(3));
        assert_eq!(root_tail_ns(&[run(root, 0, 4), run(execute, 0, 9)]), Some(0));
        assert_eq!(root_tail_ns(&[run(execute, 0, 9)]), None);
    }

    #[test]
    fn speeds_are_gas_over_nanoseconds() {
        assert_eq!(ggas_per_s(3_000_000, 1_500_000), 2.0);
        assert_eq!(ggas_per_s(1, 0), 0.0);
    }
}
