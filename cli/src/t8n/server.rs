//! `balustrade t8n-server`: transitions over HTTP, without a process per block.
//!
//! In: POST requests with `{"state": {fork, chainid, reward}, "input": {alloc, env, txs, blobParams?}}`, optionally
//! `"trace": true` and `"output-basedir"`. Out: `{"alloc", "result", "body"}`; or status 400 and `{"error", "code"}`, where
//! the code is the exit status that `t8n` would have.
//! Not here: the transition (`mod`), HTTP (`http`).

use super::super::http::{self, Head, Limits, Listener, Response, Service};
use super::super::trace::FieldArgs;
use super::super::{Status, report};
use super::input::{Parts, Setting, Task, from_json};
use super::{Code, T8nError, Wants, executor, text, transform};
use balustrade::Executor;
use balustrade::formats::Document;
use balustrade::formats::json::Quantity;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::net::ToSocketAddrs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

const EXAMPLES: &str = "Examples:
  balustrade t8n-server --port 3000
  balustrade t8n-server --port 0        # the system chooses the port, which is printed
  balustrade t8n-server --uds t8n.sock";

/// Options of `t8n-server`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServerArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// TCP port; 0: the system chooses it
    #[arg(long, value_name = "N", default_value_t = 3000)]
    port: u16,
    /// Listen on this Unix socket instead; a socket left there by an earlier server is removed
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    uds: Option<PathBuf>,
    /// Write the EIP-3155 lines of each included transaction to `trace-INDEX-HASH.jsonl`, also if a request does not ask
    #[arg(long)]
    trace: bool,
    /// Folder of the trace files of requests that name none
    #[arg(long = "output.basedir", value_name = "DIR", default_value = ".")]
    basedir: PathBuf,
    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    state: StateJson,
    #[serde(borrow)]
    input: InputJson<'a>,
    #[serde(default)]
    trace: bool,
    #[serde(rename = "output-basedir")]
    basedir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `fork`, `chainid` and `reward`")]
struct StateJson {
    fork: String,
    #[serde(alias = "chainId", alias = "chain_id")]
    chainid: Option<Quantity>,
    #[serde(default)]
    reward: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `alloc`, `env` and `txs`")]
struct InputJson<'a> {
    #[serde(borrow)]
    alloc: &'a RawValue,
    #[serde(borrow)]
    env: &'a RawValue,
    #[serde(borrow)]
    txs: &'a RawValue,
    #[serde(borrow)]
    blob_params: Option<&'a RawValue>,
}

/// A body may hold a large state.
const LIMITS: Limits = Limits { body: 512 << 20, bodies: 2 << 30, connections: 64 };

/// Runs the command until the process is ended.
pub fn serve(args: ServerArgs) -> Status {
    let (listener, place) = match listen(&args) {
        Ok(listening) => listening,
        Err(error) => {
            report::complain(&format_args!("cannot listen: {error}"));
            return Status::Unusable;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let idle = (0..threads).map(|_| None).collect();
    let server = Server { args, executors: Mutex::new(idle), freed: Condvar::new() };
    if let Err(error) = http::serve(listener, LIMITS, Arc::new(server)) {
        report::complain(&format_args!("cannot listen: {error}"));
        return Status::Unusable;
    }
    // In these words tools that start a server look for the port.
    report::line(&format!("Transition server listening on {place}"));
    loop {
        std::thread::park();
    }
}

/// The socket of the options, and its port or path.
fn listen(args: &ServerArgs) -> std::io::Result<(Listener, String)> {
    #[cfg(unix)]
    if let Some(path) = &args.uds {
        use std::os::unix::fs::FileTypeExt;
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            let _ = std::fs::remove_file(path);
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        return Ok((Listener::Unix(listener), path.display().to_string()));
    }
    let mut addresses = (args.host.as_str(), args.port).to_socket_addrs()?;
    let address = addresses.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let (listener, bound) = Listener::tcp(address)?;
    Ok((listener, bound.port().to_string()))
}

/// Answers requests, as many at a time as there are processors.
struct Server {
    args: ServerArgs,
    /// Executors that no request uses; `None`: not created yet.
    executors: Mutex<Vec<Option<Executor>>>,
    freed: Condvar,
}

impl Service for Server {
    fn refuse(&self, _: &Head) -> Option<Response> {
        None
    }

    /// An executor in which a panic happened is not used again.
    fn answer(&self, head: &Head, body: &[u8]) -> Response {
        let answered = if head.method == "POST" {
            let idle = self.executors.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = self.freed.wait_while(idle, |idle| idle.is_empty());
            let mut executor = idle.unwrap_or_else(PoisonError::into_inner).pop().flatten();
            let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut executor, body, &self.args)));
            let executor = executor.filter(|_| answered.is_ok());
            self.executors.lock().unwrap_or_else(PoisonError::into_inner).push(executor);
            self.freed.notify_one();
            answered.unwrap_or_else(|_| Err(T8nError { code: Code::Evm, what: "an internal error".to_owned() }))
        } else {
            Err(T8nError { code: Code::Json, what: "requests are sent with POST".to_owned() })
        };
        match answered {
            Ok(body) => Response::json(body.into_bytes()),
            Err(error) => {
                let body = json!({"error": error.to_string(), "code": error.code as u8}).to_string();
                Response { status: 400, ..Response::json(body.into_bytes()) }
            }
        }
    }
}

fn answer(own: &mut Option<Executor>, body: &[u8], args: &ServerArgs) -> Result<String, T8nError> {
    let document = Document::read("the request", body)?;
    let asked: RequestJson<'_> = from_json("the request", text(&document)?)?;
    let chain_id = asked.state.chainid.map_or(1, |id| id.0.saturating_to());
    let setting = Setting { fork: asked.state.fork, chain_id, reward: asked.state.reward };
    let InputJson { alloc, env, txs, blob_params } = asked.input;
    let parts = Parts {
        alloc: alloc.get(),
        env: env.get(),
        txs: txs.get(),
        blob_params: blob_params.map(RawValue::get).filter(|json| *json != "null"),
    };
    let mut task = Task::read(&setting, parts)?;
    let folder = asked.basedir.as_deref().unwrap_or(&args.basedir);
    let traces = (asked.trace || args.trace).then(|| (folder, args.fields.left_out(true)));
    let own = match own {
        Some(executor) => executor,
        None => own.insert(executor()?),
    };
    let answer = transform(own, &mut task, Wants { counts: false, traces })?;
    serde_json::to_string(&answer).map_err(T8nError::io)
}
