//! Prints a profile as tables for people.

use super::super::report::{self, right_align, table};
use super::compare::{Comparison, Difference};
use super::data::{CodeRow, CodeTimes, Profile, TransactionRow};
use comfy_table::{Cell, Color};

/// Maximal number of instructions that are shown; the others are summed up in one line.
const ROWS_MAX: usize = 24;
/// Largest number of threads that have a column each; with more the table would not fit 100 columns.
const WORKERS_MAX: usize = 2;

/// Maximal number of characters of an instruction's or precompile's name.
const NAME_MAX: usize = 20;
/// Maximal number of transactions and of contracts that are shown.
const COSTLIEST: usize = 8;

/// Prints the profile of one block.
pub fn profile(profile: &Profile) {
    report::line(&format!(
        "{} ({}, {} mode, {} threads, {} loop)\n{} transactions, {:.2} Mgas in {:.3} ms, {:.2} Ggas/s (median of {}, best {:.3} ms)",
        profile.block,
        profile.fork,
        profile.mode,
        profile.threads,
        profile.loop_name,
        profile.transactions,
        profile.gas as f64 / 1e6,
        ms(profile.ns as f64),
        profile.ggas_per_s(),
        profile.repeats,
        ms(profile.ns_min as f64),
    ));
    stages(profile);
    parts(profile);
    counters(profile);
    code(&profile.code, &profile.loop_name);
    contracts(&profile.code);
    transactions(profile);
}

fn ms(ns: f64) -> f64 {
    ns / 1e6
}

fn stages(profile: &Profile) {
    let mut rows = table();
    rows.set_header(["stage", "at work ms", "% of block", "sum over threads ms"]);
    for row in &profile.stages {
        rows.add_row([
            row.stage.clone(),
            format!("{:.3}", ms(row.busy_ns as f64)),
            format!("{:.1}", 100.0 * row.busy_ns as f64 / profile.ns.max(1) as f64),
            format!("{:.3}", ms(row.sum_ns as f64)),
        ]);
    }
    right_align(&mut rows, 1);
    report::line(&rows.to_string());
}

fn parts(profile: &Profile) {
    let sampling = &profile.sampling;
    if let Some(why) = &sampling.unavailable {
        return report::line(&format!("no samples: {why}"));
    }
    let mut rows = table();
    rows.set_header(["processor time for", "ms", "%", "of it Keccak ms", "samples"]);
    for row in &sampling.parts {
        rows.add_row([
            row.part.clone(),
            format!("{:.3}", ms(row.ns)),
            format!("{:.1}", 100.0 * row.share),
            format!("{:.3}", ms(row.keccak_ns)),
            row.samples.to_string(),
        ]);
    }
    right_align(&mut rows, 1);
    report::line(&rows.to_string());
    report::line(&format!(
        "{:.3} ms of processor time per execution, from {} samples of {} executions",
        ms(sampling.cpu_ns as f64),
        sampling.samples,
        sampling.repeats
    ));
}

fn counters(profile: &Profile) {
    let values = &profile.counters.values;
    if !values.is_empty() {
        let text: Vec<String> = values.iter().map(|(name, count)| format!("{name} {:.3} M", count / 1e6)).collect();
        report::line(&format!("hardware counters per execution: {}", text.join(", ")));
    }
    if let Some(why) = &profile.counters.unavailable {
        report::line(&format!("hardware counters: {why}"));
    }
}

/// Prints the instructions and precompiles that took the most time.
pub fn code(code: &CodeTimes, loop_name: &str) {
    // The name may go on with the form of the loop.
    if code.loop_name.starts_with(loop_name) {
        report::line(&format!("instructions, timed in the {} loop", code.loop_name));
    } else {
        let timed = &code.loop_name;
        report::line(&format!(
            "instructions, timed in the {timed} loop: the {loop_name} loop cannot be timed by instruction"
        ));
    }
    let mut rows: Vec<(&CodeRow, &str)> = code.opcodes.iter().map(|row| (row, "")).collect();
    rows.extend(code.precompiles.iter().map(|row| (row, "precompile ")));
    rows.sort_by(|(a, _), (b, _)| b.total.ns.total_cmp(&a.total.ns));
    let all: f64 = rows.iter().map(|(row, _)| row.total.ns).sum();
    let workers = code.opcodes.iter().map(|row| row.workers.len()).max().unwrap_or(0);
    let mut shown = table();
    let mut header = ["instruction", "count", "gas", "ms", "%", "ns per run", "ns per gas"].map(str::to_owned).to_vec();
    let by_worker = (2..=WORKERS_MAX).contains(&workers);
    if by_worker {
        header.extend((0..workers).map(|worker| format!("ms on {worker}")));
    }
    shown.set_header(header);
    for (row, kind) in rows.iter().take(ROWS_MAX) {
        let mut cells = vec![
            report::shortened(&format!("{kind}{}", row.name), NAME_MAX),
            format!("{:.0}", row.total.count),
            format!("{:.0}", row.total.gas),
            format!("{:.3}", ms(row.total.ns)),
            format!("{:.1}", 100.0 * row.total.ns / all.max(1.0)),
            format!("{:.1}", row.ns_per_run()),
            row.ns_per_gas().map_or_else(String::new, |per_gas| format!("{per_gas:.2}")),
        ];
        if by_worker {
            cells.extend(row.workers.iter().map(|worker| format!("{:.3}", ms(worker.ns))));
        }
        shown.add_row(cells);
    }
    report::narrow(&mut shown);
    right_align(&mut shown, 1);
    report::line(&shown.to_string());
    if rows.len() > ROWS_MAX {
        let rest: f64 = rows[ROWS_MAX..].iter().map(|(row, _)| row.total.ns).sum();
        report::line(&format!("and {} more with {:.3} ms", rows.len() - ROWS_MAX, ms(rest)));
    }
    report::line(&format!(
        "over {} executions; {:.1} ns per clock reading subtracted (alone it takes {:.1})\n\
         all tasks take {:.3} ms with this measurement, {:.3} ms in the same form of the loop without it,\n\
         and {:.3} ms in the form that runs outside of profiling",
        code.repeats,
        code.reading_ns,
        code.reading_alone_ns,
        ms(code.watched_ns),
        ms(code.unwatched_ns),
        ms(code.shipped_ns),
    ));
}

/// The contracts that took the most time.
fn contracts(code: &CodeTimes) {
    if code.contracts.is_empty() {
        return;
    }
    let all: f64 = code.contracts.iter().map(|row| row.total.ns).sum();
    let mut shown = table();
    shown.set_header(["contract", "code", "frames", "gas", "ms", "%"]);
    for row in code.contracts.iter().take(COSTLIEST) {
        shown.add_row([
            row.address.to_string(),
            if row.code_hash.is_zero() { "init code".to_owned() } else { row.code_hash.to_string()[..10].to_owned() },
            format!("{:.0}", row.total.count),
            format!("{:.0}", row.total.gas),
            format!("{:.3}", ms(row.total.ns)),
            format!("{:.1}", 100.0 * row.total.ns / all.max(1.0)),
        ]);
    }
    right_align(&mut shown, 2);
    report::line(&shown.to_string());
    rest(code.contracts.len(), "contract", code.contracts.iter().skip(COSTLIEST).map(|row| row.total.ns).sum());
}

/// The transactions that took the most time.
fn transactions(profile: &Profile) {
    let mut rows: Vec<&TransactionRow> = profile.transaction_rows.iter().collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|row| core::cmp::Reverse(row.ns));
    let all: u64 = rows.iter().map(|row| row.ns).sum();
    let mut shown = table();
    shown.set_header(["tx", "hash", "to", "gas", "ms", "%"]);
    for row in rows.iter().take(COSTLIEST) {
        shown.add_row([
            row.index.to_string(),
            report::shortened(&row.hash.to_string(), 19),
            row.to.map_or("creation".to_owned(), |to| report::shortened(&to.to_string(), 19)),
            row.gas.to_string(),
            format!("{:.3}", ms(row.ns as f64)),
            format!("{:.1}", 100.0 * row.ns as f64 / all.max(1) as f64),
        ]);
    }
    right_align(&mut shown, 3);
    report::line(&shown.to_string());
    rest(rows.len(), "transaction", rows.iter().skip(COSTLIEST).map(|row| row.ns as f64).sum());
}

/// The line below a table of the costliest rows: how many others there are.
fn rest(count: usize, noun: &str, ns: f64) {
    if count > COSTLIEST {
        let others = count - COSTLIEST;
        let plural = if others == 1 { "" } else { "s" };
        report::line(&format!("and {others} more {noun}{plural} with {:.3} ms; --json and --out have all", ms(ns)));
    }
}

/// Prints the differences from the other run: marked rows, in descending order of the difference.
pub fn comparison(block: &str, comparison: &Comparison) {
    let mut rows: Vec<&Difference> = comparison.rows.iter().filter(|row| row.marked || row.group == "block").collect();
    let by = |row: &Difference| (row.after_ns - row.before_ns).abs();
    rows.sort_by(|a, b| (b.group == "block").cmp(&(a.group == "block")).then(by(b).total_cmp(&by(a))));
    let mut shown = table();
    shown.set_header(["what", "before ms", "now ms", "difference ms", "change"]);
    for row in rows {
        let change = match row.before_ns {
            before_ns if before_ns > 0.0 => format!("{:+.1} %", 100.0 * (row.after_ns / before_ns - 1.0)),
            _ if row.after_ns > 0.0 => "new".to_owned(),
            _ => String::new(),
        };
        let (mark, color) = match row.marked {
            true if row.after_ns > row.before_ns => ("slower ", Color::Red),
            true => ("faster ", Color::Green),
            false => ("", Color::Reset),
        };
        let cells = [
            format!("{mark}{}: {}", row.group, row.name),
            format!("{:.3}", ms(row.before_ns)),
            format!("{:.3}", ms(row.after_ns)),
            format!("{:+.3}", ms(row.after_ns - row.before_ns)),
            change,
        ];
        shown.add_row(cells.map(|cell| Cell::new(cell).fg(color)));
    }
    right_align(&mut shown, 1);
    report::line(&format!("{block} against {}", comparison.against));
    report::line(&shown.to_string());
    let rest = comparison.rows.iter().filter(|row| !row.marked).count();
    report::line(&format!("{rest} others differ by no more than noise"));
}
