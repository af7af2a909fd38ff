//! `balustrade trace`: one transaction of a block, executed without those before it.
//!
//! In: a block with its list (a bundle, chain files, or a store), and which transaction. Out: gas, calls, changed values,
//! a profile of its instructions, and its EIP-3155 lines in a file. Its changes are compared with the list.
//! The transaction runs several times: for its time, for the lines, for the calls, and for the profile.
//! Not here: traces of whole blocks (`run --trace`).

use super::engine::{Chain, Engine, Failure, List, OwnedList};
use super::output::{self, OutputFile};
use super::past::{PastArgs, Position};
use super::profile::{self, Watched};
use super::state::{Cause, Field};
use super::trace::Lines;
use super::{Status, input_path, interrupt, report};
use alloy_primitives::{B256, Bytes, U256, hex};
use balustrade::ChainRules;
use balustrade::arena::BlockAccessIndex;
use balustrade::exec::interpreter::{LoopKind, profiled_name};
use balustrade::exec::wire::{Block, Header};
use balustrade::executor::TaskOutcome;
use balustrade::formats::{self, Content};
use balustrade::outcome::{Call, CallTree, FieldChange, TaskAlone};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  balustrade trace block.json.gz --tx 57
  balustrade trace block.json.gz --tx 57 --out lines.jsonl     # EIP-3155
  balustrade trace --store db --at 120:58 --json               # index 58 is transaction 57";

/// Executions of each form of the loop for the profile.
const PROFILE_RUNS: usize = 5;
/// Calls that are printed; `--json` has all.
const CALLS_SHOWN: usize = 200;
/// Levels of the call tree that are indented.
const LEVELS_SHOWN: usize = 12;

/// Options of `trace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    /// A bundle, a test fixture, or chain files in block order whose first one has its complete state
    #[arg(value_name = "BLOCK", value_parser = input_path(), required_unless_present = "store", conflicts_with = "store")]
    inputs: Vec<PathBuf>,
    /// Folder of a store, with the blocks of its log
    #[arg(long, value_name = "DIR", requires = "at")]
    store: Option<PathBuf>,
    /// The transaction, counted from 0, of the only block
    #[arg(long, value_name = "N", required_unless_present = "at", conflicts_with = "at")]
    tx: Option<u32>,
    /// The block and the block access index of the task: 1 is transaction 0; 0 and the last index are system calls
    #[arg(long, value_name = "N:INDEX", value_parser = task)]
    at: Option<Position>,
    /// Write the EIP-3155 lines of the transaction to this file: those that `run --trace` writes for it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = super::loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Parses the value of `--at`.
fn task(text: &str) -> Result<Position, String> {
    let at = Position::parse(text).map_err(|error| error.to_string())?;
    if at.index == u32::MAX { Err("an index is needed: N:INDEX".to_owned()) } else { Ok(at) }
}

/// A block, at whose parent the chain is.
struct Subject {
    chain: Chain,
    rules: ChainRules,
    block: Bytes,
    list: OwnedList,
    index: u32,
}

/// Everything that is known about the task.
struct Findings {
    cause: Cause,
    block: u64,
    plain: TaskOutcome,
    calls: Option<CallTree>,
    code: profile::CodeTimes,
}

/// Runs the command.
pub fn main(args: &TraceArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let done = subject(args).map_err(Failure::Host).and_then(|subject| run(args, subject));
    match done {
        Ok(findings) => {
            if args.json {
                report::json_line(&json!({"summary": findings.json()}));
            } else {
                findings.print();
            }
            if findings.plain.task.mismatches.is_empty() { Status::Good } else { Status::Failed }
        }
        Err(failure) => {
            report::complain(&failure);
            if matches!(failure, Failure::Invalid { .. }) { Status::Failed } else { Status::Unusable }
        }
    }
}

/// Reads the block and its parent state.
fn subject(args: &TraceArgs) -> Result<Subject, String> {
    if let [path] = &args.inputs[..]
        && path.is_file()
        && let Ok(document) = formats::read_document(path)
        && let Ok(Content::Bundle(bundle)) = Content::parse(&document, None)
    {
        let words = |error: &dyn std::fmt::Display| format!("{}: {error}", bundle.name);
        let header = Header::of_block(&bundle.block).map_err(|error| words(&error))?;
        let index = match (args.tx, args.at) {
            (Some(tx), _) => tx.saturating_add(1),
            (None, Some(at)) if at.block == header.number => at.index,
            _ => return Err(words(&format_args!("is block {}", header.number))),
        };
        let mut chain = Chain::of_bundle(&bundle).map_err(|error| words(&error))?;
        let rules = bundle.rules.ok_or_else(|| words(&"the fork is not supported"))?;
        let given = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
        let list = if given.is_complete(&rules) {
            OwnedList::of(given)
        } else {
            output::note(&format_args!("{} has no block access list: it is executed to record it", bundle.name));
            let mut engine = Engine::new(None, LoopKind::default()).map_err(|error| words(&error))?;
            let recorded = engine.complete_list(&mut chain, &rules, &bundle.block, given);
            recorded.map_err(|error| words(&error))?
        };
        return Ok(Subject { chain, rules, block: bundle.block.clone(), list, index });
    }
    let at = args.at.map(|at| at.block);
    let past = PastArgs { blocks: args.inputs.clone(), store: args.store.clone() };
    let mut past = past.open(at, at)?;
    let position = match (args.at, args.tx, past.last() - past.head()) {
        (Some(at), ..) => at,
        (None, Some(tx), 1) => Position { block: past.last(), index: tx.saturating_add(1) },
        (None, _, blocks) => return Err(format!("there are {blocks} blocks: name one with --at N:INDEX")),
    };
    let list = past.list(position.block)?;
    let block = past.block(position.block)?;
    let (rules, block) = (past.rules(&block.header), block.item.block.clone());
    Ok(Subject { chain: past.chain, rules, block, list, index: position.index })
}

fn run(args: &TraceArgs, mut subject: Subject) -> Result<Findings, Failure> {
    let host = |error: &dyn std::fmt::Display| Failure::Host(error.to_string());
    let mut engine = Engine::new(None, args.loop_kind)?;
    let block = Block::decode(subject.block.clone()).map_err(|error| host(&error))?;
    let tasks = block.transactions.len() as u32 + 2;
    let Subject { chain, rules, block: bytes, list, index } = &mut subject;
    let index = *index;
    let task = |engine: &mut Engine, keeps_calls: bool| -> Result<TaskOutcome, Failure> {
        let outcome = engine.execute_task(chain, rules, bytes, list.as_list(), BlockAccessIndex(index), keeps_calls)?;
        outcome.ok_or_else(|| {
            let transactions = report::counted(u64::from(tasks - 2), "transaction");
            Failure::Host(format!("the block has {transactions}: there is no index {index}"))
        })
    };
    if let Some(path) = &args.out {
        // First, so that the lines up to an error are kept.
        engine.start_trace(Lines::File(OutputFile::create(path).map_err(|error| host(&error))?));
        let traced = task(&mut engine, false);
        engine.finish_trace().map_err(|error| host(&error))?;
        traced?;
    }
    let plain = task(&mut engine, false)?;
    let calls = task(&mut engine, true)?.task.calls;
    let (mut watched, mut alone, mut shipped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PROFILE_RUNS {
        shipped.push(task(&mut engine, false)?.executed.as_nanos() as u64);
        for timed in [false, true] {
            engine.start_profile(timed);
            let outcome = task(&mut engine, false)?;
            let tasks_ns = outcome.executed.as_nanos() as u64;
            let run = Watched { workers: engine.take_profile(), tasks_ns, timed };
            if timed { watched.push(run) } else { alone.push(tasks_ns) }
        }
    }
    let (unwatched, shipped) = (profile::faster_half(alone), profile::faster_half(shipped));
    let code = profile::code_times(watched, unwatched, shipped, profiled_name(args.loop_kind));
    Ok(Findings { cause: Cause::new(&block, index), block: block.header.number, plain, calls, code })
}

impl Findings {
    fn json(&self) -> Value {
        let TaskOutcome { task, unchecked, decoded, executed, .. } = &self.plain;
        let TaskAlone { outcome, output, requests, .. } = task;
        let change = |change: &FieldChange| {
            let (field, mut row) = (Field::of_change(change), json!({"address": change.address}));
            field.add_to(&mut row, change.before, change.after);
            row
        };
        let log = |(address, topics, data): (_, &[B256], &[u8])| json!({"address": address, "topics": topics, "data": hex::encode_prefixed(data)});
        let CallTree { calls, dropped, .. } = self.calls.clone().unwrap_or_default();
        json!({
            "block": self.block, "index": self.cause.index, "transaction": self.cause.json(),
            "success": outcome.success, "gas_used": outcome.gas_paid, "gas_execution": outcome.gas_execution,
            "gas_state": outcome.gas_state, "created": outcome.created, "output": output,
            "requests": requests.iter().map(hex::encode_prefixed).collect::<Vec<_>>(),
            "logs": task.logs().map(log).collect::<Vec<_>>(),
            "changes": task.changes.iter().map(change).collect::<Vec<_>>(),
            "mismatches": task.mismatches.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unchecked": report::unchecked_json(unchecked),
            "calls": calls, "calls_not_kept": dropped, "code": self.code,
            "decode_ns": decoded.as_nanos() as u64, "execute_ns": executed.as_nanos() as u64,
        })
    }

    fn print(&self) {
        let TaskOutcome { task, unchecked, decoded, executed, .. } = &self.plain;
        let TaskAlone { outcome, changes, mismatches, .. } = task;
        report::line(&format!("{}, block {}, index {}", self.cause.text(), self.block, self.cause.index));
        let (decode, execute) = (decoded.as_secs_f64() * 1e3, executed.as_secs_f64() * 1e3);
        let times = format!("block and list decoded in {decode:.3} ms, executed in {execute:.3} ms");
        if self.cause.is_transaction() {
            let status = if outcome.success { "success" } else { "failed" };
            let logs = report::counted(task.logs().len() as u64, "log");
            report::line(&format!("{status}, {} gas, {logs}; {times}", outcome.gas_paid));
        } else {
            report::line(&times);
        }
        if let Some(CallTree { calls, dropped, .. }) = &self.calls {
            calls.iter().take(CALLS_SHOWN).for_each(|call| report::line(&call_text(call)));
            let more = calls.len().saturating_sub(CALLS_SHOWN) as u64 + dropped;
            if more > 0 {
                report::line(&format!("and {} more; --json has {}", report::counted(more, "call"), calls.len()));
            }
        }
        for same in changes.chunk_by(|a, b| a.address == b.address) {
            report::line(&same[0].address.to_string());
            same.iter().for_each(|change| {
                report::line(&Field::of_change(change).change(change.before, change.after));
            });
        }
        if mismatches.is_empty() {
            report::line(&format!("{}, as the list says", report::counted(changes.len() as u64, "change")));
        }
        for mismatch in mismatches {
            report::line(&format!("differs from the list: {}", console::style(mismatch).red()));
        }
        report::print_unchecked(unchecked);
        if !self.code.opcodes.is_empty() {
            profile::print_code(&self.code, &self.code.loop_name);
        }
    }
}

/// A call as a line: what is called, with which selector and value, and how it ended.
fn call_text(call: &Call) -> String {
    let indent = "  ".repeat(call.depth.min(LEVELS_SHOWN));
    let to = call.to.map_or_else(|| "nothing".to_owned(), |to| to.to_string());
    let selector = call.input.get(..4).filter(|_| !call.kind.starts_with("CREATE")).map(hex::encode_prefixed);
    let data = match (selector, call.input_len) {
        (_, 0) => String::new(),
        (Some(selector), len) => format!(" {selector} ({len} bytes)"),
        (None, len) => format!(" {len} bytes"),
    };
    let value = if call.value == U256::ZERO { String::new() } else { format!(" value {}", call.value) };
    let error = call.error.map_or_else(String::new, |error| format!(", {error}"));
    format!("{indent}{} {to}{data}{value}, {} gas{error}", call.kind, call.gas_used)
}
