//! The two ports, and the command `serve`.
//!
//! In: HTTP requests. Out: the handler's answers; the status page on `/`, figures for Prometheus on `/metrics`.
//! Calls are answered one after another. The token of a request to the engine port is checked before its body is read.
//! Not here: HTTP itself (`http`).

use super::super::engine::Failure;
use super::super::http::{self, Head, Limits, Listener, Response, Service};
use super::super::{Status, chain, interrupt, loop_parser, output, report, store};
use super::jwt::Secret;
use super::stats::SharedStats;
use super::{Handler, Port, metrics, page, rpc};
use balustrade::StateDb;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use clap::Args;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const EXAMPLES: &str = "Examples:
  balustrade serve --genesis genesis.json --jwt-secret jwt.hex
  balustrade serve --store db --jwt-secret jwt.hex --http-port 8545 --threads 8
  balustrade serve --genesis genesis.json --jwt-secret jwt.hex --testing   # testing_buildBlockV1, debug_setHead";

/// Bounds of the engine port: a payload with a block and a list of 8 MiB each takes 32 MiB of hex.
const ENGINE: Limits = Limits { body: 64 << 20, bodies: 256 << 20, connections: 64 };
/// Bounds of the public port.
const PUBLIC: Limits = Limits { body: 8 << 20, bodies: 64 << 20, connections: 128 };
/// Bounds of the port of figures alone.
const METRICS: Limits = Limits { body: 0, bodies: 0, connections: 16 };
/// Time between two looks at whether a signal came.
const POLL: Duration = Duration::from_millis(20);

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    #[command(flatten)]
    source: Source,
    /// File of the secret that the consensus client shares, 32 bytes in hex; a missing file is written
    #[arg(long, value_name = "FILE")]
    jwt_secret: PathBuf,
    /// Address of the engine port
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    engine_addr: IpAddr,
    /// Engine port; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8551)]
    engine_port: u16,
    /// Address of the public port
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    http_addr: IpAddr,
    /// Public port, with the status page on `/` and figures for Prometheus on `/metrics`; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8545)]
    http_port: u16,
    /// A port with `/metrics` alone, at the address of the public port
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// Allow testing_buildBlockV1 and debug_setHead on the public port, too
    #[arg(long)]
    testing: bool,
    /// Do not print the cost of each payload
    #[arg(long)]
    quiet: bool,
    /// Number of threads that execute a block; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
}

/// Where the state is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Start in memory with the state of a genesis file in go-ethereum's format
    #[arg(long, value_name = "FILE")]
    genesis: Option<String>,
    /// Serve the store in this folder, which keeps every valid block
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Source {
    fn open(&self) -> Result<(StateDb, ChainConfig), String> {
        if let Some(folder) = &self.store {
            let fail = |error: String| format!("{}: {error}", folder.display());
            return store::open_db(folder, 1).map(|(db, config, _)| (db, config)).map_err(fail);
        }
        let name = self.genesis.as_deref().unwrap_or_default();
        let (config, genesis) = chain::read(name)?;
        let genesis = genesis.ok_or_else(|| format!("{name} is the name of a chain; give a genesis file"))?;
        let db = StateDb::at_genesis(genesis.state.clone(), |root| genesis.header_with(root));
        Ok((db.map_err(|error| format!("{name}: {error}"))?, config))
    }
}

/// The handler and what the ports read without it.
#[derive(Debug)]
struct Shared {
    handler: Mutex<Handler>,
    stats: SharedStats,
    start: Instant,
}

impl Shared {
    /// Answers a body. A bug ends one call, not the process.
    fn answer(&self, port: Port, body: &[u8]) -> Vec<u8> {
        let mut handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = catch_unwind(AssertUnwindSafe(|| handler.answer(port, body)));
        answered.unwrap_or_else(|_| {
            let error = json!({"code": rpc::code::INTERNAL, "message": "Internal error"});
            json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string().into_bytes()
        })
    }

    fn settle(&self) {
        let mut handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner);
        if catch_unwind(AssertUnwindSafe(|| handler.settle())).is_err() {
            output::complain(&"a bug: the last block could not be completed");
        }
    }

    fn metrics(&self) -> Response {
        let text = metrics::text(&self.stats.lock(), self.start.elapsed());
        Response { status: 200, content_type: "text/plain; version=0.0.4", body: text.into_bytes() }
    }
}

/// The engine port.
struct EnginePort(Arc<Shared>, Secret);

impl Service for EnginePort {
    fn refuse(&self, head: &Head) -> Option<Response> {
        // A clock before 1970 makes every token stale.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if let Err(error) = self.1.check(head.authorization.as_deref(), now) {
            self.0.stats.lock().unauthorized += 1;
            return Some(Response::text(401, &error.to_string()));
        }
        (head.method != "POST").then(|| Response::text(405, "send JSON-RPC requests by POST"))
    }

    fn answer(&self, _: &Head, body: &[u8]) -> Response {
        Response::json(self.0.answer(Port::Engine, body))
    }

    fn answered(&self) {
        self.0.settle();
    }
}

/// The public port.
struct PublicPort {
    shared: Arc<Shared>,
    testing: bool,
}

impl Service for PublicPort {
    fn refuse(&self, head: &Head) -> Option<Response> {
        match (head.method.as_str(), head.path.as_str()) {
            ("POST", "/") | ("GET" | "HEAD", "/" | "/metrics") => None,
            (_, "/" | "/metrics") => Some(Response::text(405, "send JSON-RPC requests by POST")),
            _ => Some(Response::text(404, "there are / and /metrics")),
        }
    }

    fn answer(&self, head: &Head, body: &[u8]) -> Response {
        if head.method == "POST" {
            return Response::json(self.shared.answer(Port::Public { testing: self.testing }, body));
        }
        let mut response = if head.path == "/metrics" {
            self.shared.metrics()
        } else {
            let html = page::html(&self.shared.stats.lock(), self.shared.start.elapsed());
            Response { status: 200, content_type: "text/html; charset=utf-8", body: html.into_bytes() }
        };
        if head.method == "HEAD" {
            response.body.clear();
        }
        response
    }
}

/// The port of figures alone.
struct MetricsPort(Arc<Shared>);

impl Service for MetricsPort {
    fn refuse(&self, head: &Head) -> Option<Response> {
        let is_known = head.method == "GET" && matches!(head.path.as_str(), "/metrics" | "/debug/metrics/prometheus");
        (!is_known).then(|| Response::text(404, "there is /metrics"))
    }

    fn answer(&self, _: &Head, _: &[u8]) -> Response {
        self.0.metrics()
    }
}

/// Runs the command.
pub fn main(args: &ServeArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    Status::of(serve(args))
}

fn serve(args: &ServeArgs) -> Result<(), String> {
    let secret = Secret::of_file(&args.jwt_secret).map_err(|error| error.to_string())?;
    let (db, config) = args.source.open()?;
    let handler = Handler::new(db, config, args.threads, args.loop_kind, !args.quiet)?;
    let stats = handler.node.stats.clone();
    let shared = Arc::new(Shared { handler: Mutex::new(handler), stats, start: Instant::now() });
    let listen = |name: &str, ip: IpAddr, port: u16, limits: Limits, service: Arc<dyn Service>| {
        let address = SocketAddr::new(ip, port);
        let listening =
            Listener::tcp(address).and_then(|(listener, bound)| http::serve(listener, limits, service).map(|()| bound));
        listening.map_err(|error| format!("{name} port {address}: {error}"))
    };
    let engine = EnginePort(Arc::clone(&shared), secret);
    let engine = listen("engine", args.engine_addr, args.engine_port, ENGINE, Arc::new(engine))?;
    let public = PublicPort { shared: Arc::clone(&shared), testing: args.testing };
    let public = listen("public", args.http_addr, args.http_port, PUBLIC, Arc::new(public))?;
    let metrics = args
        .metrics_port
        .map(|port| listen("metrics", args.http_addr, port, METRICS, Arc::new(MetricsPort(Arc::clone(&shared)))));
    let metrics = metrics.transpose()?;
    let (number, hash, _) = shared.stats.lock().head;
    output::note(&format_args!("head: block {number} {hash}"));
    output::note(&format_args!("engine API on http://{engine}, public methods and status on http://{public}"));
    // Other programs wait for this line.
    report::json_line(&json!({"serve": {
        "engine": engine.to_string(), "http": public.to_string(), "metrics": metrics.map(|address| address.to_string()),
        "head": {"number": number, "hash": hash},
    }}));
    // A closed standard output does not end a node: its figures are lost alone.
    while !interrupt::token().is_cancelled() {
        std::thread::sleep(POLL);
    }
    // A running call is cancelled by the signal, and is waited for.
    let mut handler = shared.handler.lock().unwrap_or_else(PoisonError::into_inner);
    let closed = handler.node.close();
    // The threads of the ports end with the process; no call may begin.
    std::mem::forget(handler);
    closed.map_err(|error| Failure::Host(error.message).to_string())
}
