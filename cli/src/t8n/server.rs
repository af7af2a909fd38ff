//! `balustrade t8n-server`: transitions over HTTP, without a process per block.
//!
//! In: POST requests with `{"state": {fork, chainid, reward}, "input": {alloc, env, txs, blobParams?}}`, optionally
//! `"trace": true` and `"output-basedir"`. Out: `{"alloc", "result", "body"}`; or status 400 and `{"error", "code"}`, where
//! the code is the exit status that `t8n` would have.
//! Each thread answers one request at a time, with an executor of its own.
//! Not here: the transition (`mod`).

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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use tiny_http::{Header, Method, Request, Response, Server};

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

/// Runs the command until the process is ended.
pub fn serve(args: &ServerArgs) -> Status {
    let server = match &args.uds {
        None => Server::http((args.host.as_str(), args.port)),
        Some(path) => {
            use std::os::unix::fs::FileTypeExt;
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                let _ = std::fs::remove_file(path);
            }
            Server::http_unix(path)
        }
    };
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            report::complain(&format_args!("cannot listen: {error}"));
            return Status::Unusable;
        }
    };
    let place = match &args.uds {
        Some(path) => path.display().to_string(),
        None => server.server_addr().to_ip().map_or(args.port, |address| address.port()).to_string(),
    };
    // In these words tools that start a server look for the port.
    report::line(&format!("Transition server listening on {place}"));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = None;
                while let Ok(request) = server.recv() {
                    respond(&mut own, request, args);
                }
            });
        }
    });
    Status::Unusable
}

/// Answers one request. An executor in which a panic happened is not used again.
fn respond(own: &mut Option<Executor>, mut request: Request, args: &ServerArgs) {
    let answered = if *request.method() == Method::Post {
        let mut executor = own.take();
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut executor, &mut request, args)));
        *own = executor.filter(|_| answered.is_ok());
        answered.unwrap_or_else(|_| Err(T8nError { code: Code::Evm, what: "an internal error".to_owned() }))
    } else {
        Err(T8nError { code: Code::Json, what: "requests are sent with POST".to_owned() })
    };
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err(error) => (400, json!({"error": error.to_string(), "code": error.code as u8}).to_string()),
    };
    let mut response = Response::from_string(body).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", "application/json") {
        response.add_header(header);
    }
    // A client that is gone needs no answer.
    let _ = request.respond(response);
}

fn answer(own: &mut Option<Executor>, request: &mut Request, args: &ServerArgs) -> Result<String, T8nError> {
    let document = Document::read("the request", request.as_reader())?;
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
