//! `balustrade t8n`: executes transactions on a state and prints what a block of them holds, with the options, the JSON and
//! the exit statuses of go-ethereum's `evm t8n`.
//!
//! In: state, environment and transactions, from files or standard input. Out: result, state and body, to files, standard
//! output or standard error.
//! Relies on: `balustrade::Executor::transition`. Not here: protocol rules; the same over HTTP (`server`).

mod input;
mod output;
mod server;
mod trace;

pub use server::{ServerArgs, serve};

use super::output::{OutputFile, StderrData, finish};
use super::trace::{FieldArgs, LeftOut};
use super::{Status, report};
use alloy_primitives::Bytes;
use balustrade::exec::wire::Block;
use balustrade::executor::Transition;
use balustrade::formats::{Document, InputError, read_document};
use balustrade::{BlockError, Executor, LoopKind, StateTries, StoreError};
use clap::Args;
use input::{FORKS, Parts, Setting, Task, from_json};
use output::{Alloc, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use trace::TraceFiles;

/// Options of `t8n`.
#[derive(Debug, Args)]
#[command(after_help = help())]
pub struct T8nArgs {
    /// The state before the block: an object of accounts by address; `stdin`: the field `alloc` of standard input
    #[arg(long = "input.alloc", value_name = "FILE", default_value = "alloc.json")]
    input_alloc: String,
    /// The block's environment; `stdin`: the field `env` of standard input
    #[arg(long = "input.env", value_name = "FILE", default_value = "env.json")]
    input_env: String,
    /// The transactions: an array of objects, or a string with the hex of an RLP list; `stdin`: the field `txs` or
    /// `txsRlp` of standard input
    #[arg(long = "input.txs", value_name = "FILE", default_value = "txs.json")]
    input_txs: String,
    /// Blob parameters in place of the fork's (`target`, `max`, `baseFeeUpdateFraction`); by default the field
    /// `blobParams` of standard input, if there is one
    #[arg(long = "input.blobParams", value_name = "FILE")]
    input_blob_params: Option<String>,
    /// Folder of the output files, made if it is missing
    #[arg(long = "output.basedir", value_name = "DIR", default_value = ".")]
    basedir: PathBuf,
    /// File for the state after the block, or `stdout` or `stderr`; empty: none
    #[arg(long = "output.alloc", value_name = "FILE", default_value = "alloc.json")]
    output_alloc: String,
    /// File for the result, or `stdout` or `stderr`; empty: none
    #[arg(long = "output.result", value_name = "FILE", default_value = "result.json")]
    output_result: String,
    /// File for the RLP of the included transactions, or `stdout` or `stderr`; empty: none
    #[arg(long = "output.body", value_name = "FILE", default_value = "")]
    output_body: String,
    /// Name of the fork, or of a transition between two
    #[arg(long = "state.fork", value_name = "NAME", default_value = "GrayGlacier")]
    fork: String,
    /// Chain id (EIP-155)
    #[arg(long = "state.chainid", value_name = "N", default_value_t = 1)]
    chain_id: u64,
    /// Reward of the block in wei, before ommers; -1: none
    #[arg(long = "state.reward", value_name = "WEI", default_value_t = 0, allow_negative_numbers = true)]
    reward: i64,
    /// Write the EIP-3155 lines of each included transaction to `trace-INDEX-HASH.jsonl` in the folder of the output files
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    fields: FieldArgs,
    /// File for the number of executions of each instruction, or `stdout`
    #[arg(long = "opcode.count", value_name = "FILE")]
    opcode_count: Option<String>,
}

/// The end of the help: examples, and the forks, where execution-specs looks which ones are supported.
fn help() -> String {
    const EXAMPLES: &str = "Examples:
  balustrade t8n --state.fork Cancun --state.reward -1
  balustrade t8n --state.fork Prague --input.alloc stdin --input.env stdin --input.txs stdin";
    let mut forks = String::new();
    for line in FORKS.chunks(9) {
        forks.push_str("\n  ");
        forks.push_str(&line.join(", "));
    }
    format!(
        "{EXAMPLES}\n\nForks:{forks}\n  and transitions between two of them, such as CancunToPragueAtTime15k and BerlinToLondonAt5"
    )
}

/// The exit status of a failure, as in go-ethereum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The block cannot be executed.
    Evm = 2,
    /// The fork is unknown, or the environment does not fit it.
    Config = 3,
    /// A transaction asked for the hash of an ancestor that `blockHashes` lacks.
    MissingBlockHash = 4,
    /// Not JSON, or JSON of another structure.
    Json = 10,
    /// A file cannot be read or written.
    Io = 11,
    /// Not RLP, or RLP of another structure.
    Rlp = 12,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct T8nError {
    /// The kind.
    pub code: Code,
    what: String,
}

impl From<BlockError> for T8nError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Store(StoreError::MissingBlockHash(number)) => Self {
                code: Code::MissingBlockHash,
                what: format!("the hash of block {number} is read, and blockHashes lacks it"),
            },
            error => Self { code: Code::Evm, what: error.to_string() },
        }
    }
}

impl From<InputError> for T8nError {
    fn from(error: InputError) -> Self {
        let code = if matches!(error, InputError::Json { .. }) { Code::Json } else { Code::Io };
        Self { code, what: error.to_string() }
    }
}

impl T8nError {
    fn io(what: impl std::fmt::Display) -> Self {
        Self { code: Code::Io, what: what.to_string() }
    }
}

/// What is wanted besides the result.
#[derive(Clone, Copy, Debug, Default)]
struct Wants<'a> {
    /// Counts of instructions.
    counts: bool,
    /// Trace files in this folder, without these fields.
    traces: Option<(&'a Path, LeftOut)>,
}

/// Everything that a transition gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alloc: Option<Alloc<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opcode_count: Option<BTreeMap<String, u64>>,
}

/// Executes the task; its store is then the state after the block.
fn transform<'a>(executor: &mut Executor, task: &'a mut Task, wants: Wants<'_>) -> Result<Answer<'a>, T8nError> {
    let tries = StateTries::from_memory(&task.store);
    let mut tries = tries.map_err(|error| T8nError { code: Code::Evm, what: error.to_string() })?;
    let mut counted = None;
    if wants.counts {
        executor.start_profile(true);
        let mut input = task.input();
        // The loop that tells a STOP of the code from the end of the code.
        input.loop_kind = LoopKind::Match;
        let transition = executor.transition(&input, &task.store, &mut tries);
        let counts = output::opcode_counts(&executor.take_profile());
        counted = Some((transition?, counts));
    }
    let (transition, opcode_count): (Transition, _) = match (counted, wants.traces) {
        // Instructions cannot be counted and traced at once.
        (counted, Some((folder, left_out))) => {
            let files = TraceFiles::start(executor, folder, left_out);
            let transition = executor.transition(&task.input(), &task.store, &mut tries);
            executor.trace_to(None);
            let transition = transition?;
            files.finish(&transition).map_err(T8nError::io)?;
            (transition, counted.map(|(_, counts)| counts))
        }
        (Some((transition, counts)), None) => (transition, Some(counts)),
        (None, None) => (executor.transition(&task.input(), &task.store, &mut tries)?, None),
    };
    let block = Block::decode(transition.block.clone());
    let block = block.map_err(|error| T8nError { code: Code::Evm, what: error.to_string() })?;
    let result = Outcome::of(task, &transition, &block);
    transition.changes.apply_to(&mut task.store);
    Ok(Answer { alloc: Some(Alloc(&task.store)), result: Some(result), body: Some(output::body(&block)), opcode_count })
}

/// A new executor with one thread: a transition runs its transactions one after another.
fn executor() -> Result<Executor, T8nError> {
    Executor::new(1).map_err(|error| T8nError { code: Code::Evm, what: error.to_string() })
}

/// Runs the command. A failure ends the process with its exit status.
pub fn main(args: &T8nArgs) -> Status {
    let Err(error) = run(args) else { return Status::Good };
    report::complain(&error);
    let _ = finish(Status::Good);
    std::process::exit(error.code as i32)
}

/// The object on standard input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stdin<'a> {
    #[serde(borrow)]
    alloc: Option<&'a RawValue>,
    #[serde(borrow)]
    env: Option<&'a RawValue>,
    #[serde(borrow)]
    txs: Option<&'a RawValue>,
    #[serde(borrow)]
    txs_rlp: Option<&'a RawValue>,
    #[serde(borrow)]
    blob_params: Option<&'a RawValue>,
}

/// The value of an input option that names standard input.
const STDIN: &str = "stdin";

fn run(args: &T8nArgs) -> Result<(), T8nError> {
    let blob_params = args.input_blob_params.as_deref();
    let inputs = [Some(args.input_alloc.as_str()), Some(&args.input_env), Some(&args.input_txs), blob_params];
    let read = |path: &str| read_document(Path::new(path)).map_err(T8nError::from);
    let stdin = if inputs.contains(&Some(STDIN)) { Some(read("/dev/stdin")?) } else { None };
    let object: Option<Stdin<'_>> =
        stdin.as_ref().map(|document| from_json("standard input", text(document)?)).transpose()?;
    let files = inputs.map(|path| path.filter(|path| *path != STDIN && !path.is_empty()).map(read).transpose());
    let [alloc, env, txs, blobs] = files;
    let (alloc, env, txs, blobs) = (alloc?, env?, txs?, blobs?);
    let file = |document: &Option<Document>| document.as_ref().map(|document| text(document).map(str::to_owned));
    let field = |name: &str, value: Option<&RawValue>| match value {
        Some(value) => Ok(value.get().to_owned()),
        None => Err(T8nError { code: Code::Json, what: format!("the object on standard input has no field {name}") }),
    };
    let alloc = file(&alloc).unwrap_or_else(|| field("alloc", object.as_ref().and_then(|object| object.alloc)))?;
    let env = file(&env).unwrap_or_else(|| field("env", object.as_ref().and_then(|object| object.env)))?;
    let txs = file(&txs).unwrap_or_else(|| {
        let given = object.as_ref().and_then(|object| object.txs_rlp.filter(|rlp| rlp.get() != "\"\"").or(object.txs));
        Ok(given.map_or("[]", RawValue::get).to_owned())
    })?;
    let blobs = match (file(&blobs).transpose()?, object.as_ref().and_then(|object| object.blob_params)) {
        (Some(text), _) => Some(text),
        (None, Some(field)) => Some(field.get().to_owned()),
        (None, None) if blob_params == Some(STDIN) => Some(field("blobParams", None)?),
        (None, None) => None,
    };
    let setting = Setting { fork: args.fork.clone(), chain_id: args.chain_id, reward: args.reward };
    let parts = Parts { alloc: &alloc, env: &env, txs: &txs, blob_params: blobs.as_deref() };
    let mut task = Task::read(&setting, parts)?;
    let made = std::fs::create_dir_all(&args.basedir);
    made.map_err(|error| T8nError::io(format_args!("cannot make {}: {error}", args.basedir.display())))?;
    let traces = args.trace.then(|| (args.basedir.as_path(), args.fields.left_out(true)));
    let wants = Wants { counts: args.opcode_count.is_some(), traces };
    let mut executor = executor()?;
    let answer = transform(&mut executor, &mut task, wants)?;
    dispatch(args, answer)
}

/// The text of a document.
fn text(document: &Document) -> Result<&str, T8nError> {
    std::str::from_utf8(&document.bytes)
        .map_err(|error| T8nError { code: Code::Json, what: format!("{}: {error}", document.name) })
}

/// Writes each part where its option says.
fn dispatch(args: &T8nArgs, answer: Answer<'_>) -> Result<(), T8nError> {
    let Answer { alloc, result, body, opcode_count } = answer;
    let none = || Answer { alloc: None, result: None, body: None, opcode_count: None };
    let (mut stdout, mut stderr) = (none(), none());
    let write = |name: &str, part: &dyn Fn() -> serde_json::Result<String>| -> Result<(), T8nError> {
        let text = part().map_err(T8nError::io)?;
        let file = OutputFile::create(&args.basedir.join(name)).map_err(T8nError::io)?;
        file.complete(text.as_bytes()).map_err(T8nError::io)
    };
    match args.output_alloc.as_str() {
        "stdout" => stdout.alloc = alloc,
        "stderr" => stderr.alloc = alloc,
        "" => {}
        name => write(name, &|| serde_json::to_string_pretty(&alloc))?,
    }
    match args.output_result.as_str() {
        "stdout" => stdout.result = result,
        "stderr" => stderr.result = result,
        "" => {}
        name => write(name, &|| serde_json::to_string_pretty(&result))?,
    }
    match args.output_body.as_str() {
        "stdout" => stdout.body = body,
        "stderr" => stderr.body = body,
        "" => {}
        name => write(name, &|| serde_json::to_string_pretty(&body))?,
    }
    match args.opcode_count.as_deref() {
        Some("stdout") => stdout.opcode_count = opcode_count,
        Some(name) => write(name, &|| serde_json::to_string_pretty(&opcode_count))?,
        None => {}
    }
    let has_part = |answer: &Answer<'_>| {
        answer.alloc.is_some() || answer.result.is_some() || answer.body.is_some() || answer.opcode_count.is_some()
    };
    if has_part(&stdout) {
        report::line(&serde_json::to_string_pretty(&stdout).map_err(T8nError::io)?);
    }
    if has_part(&stderr) {
        let text = serde_json::to_string_pretty(&stderr).map_err(T8nError::io)?;
        // `StderrData` records its errors, and `output::finish` reports them.
        let _ = StderrData.write_all(text.as_bytes()).and_then(|()| StderrData.write_all(b"\n"));
    }
    Ok(())
}
