//! Computes the timeline of a block: slices by thread, and the file for Perfetto and
//! chrome://tracing.

use super::code::interquartile_range;
use super::data::{Profile, Slice, StageRow, TransactionRow};
use crate::report::busy_ns;
use alloy_primitives::{Bytes, keccak256};
use balustrade::BlockOutcome;
use balustrade::arena::{Id, TxIndex};
use balustrade::exec::wire::Block;
use balustrade::executor::{Span, Stage};
use serde_json::{Value, json};

/// The kind of a task's slice.
pub const TASK: &str = "task";

/// Returns the stages and tasks of an execution, sorted by thread and start; of two with the same
/// start the longer one comes first.
pub fn slices(outcome: &BlockOutcome) -> Vec<Slice> {
    let stages = outcome.timeline.iter().map(|span| Slice {
        thread: span.thread,
        kind: span.stage.name(),
        index: None,
        gas: None,
        start_ns: span.start_ns,
        end_ns: span.end_ns,
    });
    let tasks = outcome.tasks.iter().map(|task| Slice {
        thread: task.thread,
        kind: TASK,
        index: Some(task.index.0),
        gas: (task.index.0 as usize)
            .checked_sub(1)
            .and_then(|tx| outcome.transactions.get(tx))
            .map(|transaction| transaction.gas_paid),
        start_ns: task.start_ns,
        end_ns: task.end_ns,
    });
    let mut slices: Vec<Slice> = stages.chain(tasks).collect();
    slices.sort_by_key(|slice| (slice.thread, slice.start_ns, core::cmp::Reverse(slice.end_ns), slice.index));
    slices
}

/// Returns the stages in the order in which they begin, with medians over the executions with these
/// timelines.
pub fn stages(timelines: &[&[Span]]) -> Vec<StageRow> {
    let median = |mut ns: Vec<u64>| {
        ns.sort_unstable();
        ns.get(ns.len() / 2).copied().unwrap_or_default()
    };
    let sum_ns = |timeline: &[Span], stage| {
        let spans = timeline.iter().filter(|span| span.stage == stage);
        spans.map(|span| span.end_ns.saturating_sub(span.start_ns)).sum()
    };
    let row = |&stage: &Stage| {
        let busy: Vec<u64> = timelines.iter().map(|timeline| busy_ns(timeline, stage)).collect();
        StageRow {
            stage: stage.name().to_owned(),
            spread_ns: interquartile_range(busy.iter().map(|ns| *ns as f64).collect()),
            busy_ns: median(busy),
            sum_ns: median(timelines.iter().map(|timeline| sum_ns(timeline, stage)).collect()),
        }
    };
    Stage::ALL.iter().map(row).collect()
}

/// Returns the transactions of a block in order, with the median times of their tasks over these
/// executions. A task that an execution repeated counts with the sum of its times.
pub fn transactions(block: &Bytes, outcomes: &[&BlockOutcome]) -> Vec<TransactionRow> {
    let (Ok(block), Some(first)) = (Block::decode(block.clone()), outcomes.first()) else { return Vec::new() };
    let mut times = vec![vec![0u64; outcomes.len()]; first.transactions.len()];
    for (run, outcome) in outcomes.iter().enumerate() {
        for task in &outcome.tasks {
            let of_tx = (task.index.0 as usize).checked_sub(1).and_then(|tx| times.get_mut(tx));
            if let Some(times) = of_tx {
                times[run] += task.end_ns.saturating_sub(task.start_ns);
            }
        }
    }
    let rows = times.into_iter().zip(&first.transactions).enumerate().map(|(index, (mut ns, outcome))| {
        ns.sort_unstable();
        let tx = TxIndex::new(index);
        TransactionRow {
            index,
            hash: keccak256(block.transactions.encoded(tx)),
            to: block.transactions.row(tx).to,
            gas: outcome.gas_paid,
            ns: ns[ns.len() / 2],
        }
    });
    rows.collect()
}

/// The name of a task: a transaction, or the phase before or after the transactions.
pub fn task_name(index: u32, transactions: usize) -> String {
    match index {
        0 => "before the transactions".to_owned(),
        index if index as usize > transactions => "after the transactions".to_owned(),
        index => format!("transaction {}", index - 1),
    }
}

/// All blocks in Chrome's trace event format: a process per block, a row per thread, times in
/// microseconds.
pub fn trace_events(profiles: &[Profile]) -> Value {
    let mut events = Vec::new();
    for (process, profile) in profiles.iter().enumerate() {
        let name = format!("{} ({}, {} threads)", profile.block, profile.mode, profile.threads);
        events.push(json!({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}));
        for thread in 0..profile.threads {
            let name = format!("worker {thread}");
            events
                .push(json!({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": name}}));
        }
        for slice in &profile.slices {
            let mut event = json!({
                "ph": "X", "cat": slice.kind, "name": slice.kind, "pid": process, "tid": slice.thread,
                "ts": slice.start_ns as f64 / 1e3, "dur": slice.end_ns.saturating_sub(slice.start_ns) as f64 / 1e3,
            });
            if let Some(index) = slice.index {
                event["name"] = json!(task_name(index, profile.transactions));
                event["args"] = json!({"block_access_index": index, "gas": slice.gas});
            }
            events.push(event);
        }
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"})
}
