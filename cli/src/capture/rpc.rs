//! JSON-RPC over HTTP: calls of a node, one by one or in batches.
//!
//! In: calls. Out: their answers, parsed; or an [`RpcError`], which names the call.
//! Nothing about an answer is trusted here but its form: its length is limited before it is parsed, and nesting by the
//! parser. A node that asks to wait (HTTP 429 or 503, or the JSON-RPC errors that providers use for it) is asked again a
//! few times, each time after a bounded wait.
//! Not here: the meaning of an answer (`node`, `proofs`).

use super::super::report::shortened;
use balustrade::arena::cancel::CancelToken;
use balustrade::formats::{DOCUMENT_MEMORY_MAX, Document};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ureq::Agent;

/// How often a call is repeated that the node refused for its rate.
const RETRIES: u32 = 5;
/// Longest wait before a call is repeated; a node that asks for more is not waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The first wait, where the node says nothing about it; each further one takes twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Longest answer to a call or a batch, decompressed.
const BYTES_MAX: u64 = 1 << 29;
/// Characters of a text in a call's parameters, and of an error's text, that are shown.
const SHOWN: usize = 18;
const TEXT_SHOWN: usize = 200;

/// A call: a method and its parameters.
#[derive(Clone, Debug)]
pub struct Call {
    method: &'static str,
    params: Vec<Value>,
    /// Longest answer in bytes.
    bytes_max: u64,
}

impl Call {
    /// A call whose answer has at most `bytes_max` bytes.
    pub const fn new(method: &'static str, params: Vec<Value>, bytes_max: u64) -> Self {
        Self { method, params, bytes_max }
    }

    /// The error of an answer to this call that is not what it should be.
    pub fn wrong(&self, what: impl Into<String>) -> RpcError {
        self.fault(Fault::Answer(what.into()))
    }

    fn fault(&self, fault: Fault) -> RpcError {
        RpcError { call: self.to_string(), fault }
    }
}

impl fmt::Display for Call {
    /// The method and its parameters, shortened.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Value| match value {
            Value::String(text) => format!("\"{}\"", shortened(text, SHOWN)),
            Value::Array(items) if items.len() > 1 => format!("[{} items]", items.len()),
            Value::Array(items) => match items.first().and_then(Value::as_str) {
                Some(text) => format!("[\"{}\"]", shortened(text, SHOWN)),
                None => "[]".to_owned(),
            },
            other => shortened(&other.to_string(), 2 * SHOWN),
        };
        let params: Vec<String> = self.params.iter().map(shown).collect();
        write!(out, "{}({})", self.method, params.join(", "))
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {fault}")]
pub struct RpcError {
    /// The method and its parameters, shortened.
    call: String,
    fault: Fault,
}

impl RpcError {
    /// Whether the node does not have the method.
    pub fn is_unknown_method(&self) -> bool {
        const TEXTS: [&str; 6] =
            ["does not exist", "not found", "not supported", "unsupported", "not available", "not enabled"];
        match &self.fault {
            Fault::Remote { code: -32601 | -32604, .. } => true,
            Fault::Remote { message, .. } => {
                let message = message.to_lowercase();
                message.contains("method") && TEXTS.iter().any(|text| message.contains(text))
            }
            _ => false,
        }
    }

    /// Whether the node answered that it will not serve the call.
    pub const fn is_refusal(&self) -> bool {
        matches!(self.fault, Fault::Remote { .. } | Fault::Null)
    }

    /// Whether Ctrl-C ended the call.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self.fault, Fault::Cancelled)
    }

    /// How many more calls were in the same request.
    fn with_others(mut self, others: usize) -> Self {
        if others > 0 {
            self.call = format!("{} and {others} more", self.call);
        }
        self
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Transport(String),
    #[error("no complete answer within {0} s; --timeout sets another limit")]
    Timeout(u64),
    #[error("HTTP status {status}: {text}")]
    Status { status: u16, text: String },
    #[error("the node limits the rate of calls, also after {RETRIES} repetitions; a smaller --batch may help")]
    Rate,
    #[error("the node asks to wait {0} s before the next call")]
    Wait(u64),
    #[error("the answer has more than {0} bytes")]
    TooLong(u64),
    #[error("the answer would take more than {0} MiB of memory")]
    TooLarge(u64),
    #[error("the answer is no JSON-RPC: {0}")]
    NoJsonRpc(String),
    #[error("the node answers error {code}: {message}")]
    Remote { code: i64, message: String },
    #[error("the node has nothing (null)")]
    Null,
    #[error("{0}")]
    Answer(String),
    #[error("stopped by a signal")]
    Cancelled,
}

/// What a node sent for a request.
enum Reply {
    Body(Vec<u8>),
    /// It asks to repeat the request, after this time if it says one.
    Later(Option<Duration>),
}

/// The answer to one call, not yet parsed.
#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Remote>,
}

#[derive(Deserialize)]
struct Remote {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Remote {
    /// Whether a provider says so that its limit of calls is exceeded.
    const fn is_rate(&self) -> bool {
        matches!(self.code, 429 | -32005 | -32029)
    }
}

/// A node.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    timeout: Duration,
    /// Most calls in one request.
    batch: usize,
    cancel: &'static CancelToken,
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Client {
    /// The node at `url` (`http` or `https`). Each request may take `timeout`, and hold `batch` calls.
    ///
    /// # Errors
    /// The URL has another scheme.
    pub fn new(url: &str, timeout: Duration, batch: usize, cancel: &'static CancelToken) -> Result<Self, String> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            return Err("--rpc takes a URL that begins with http:// or https://".to_owned());
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("balustrade/", env!("CARGO_PKG_VERSION")));
        let agent = config.build().new_agent();
        let (calls, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { agent, url: url.to_owned(), timeout, batch: batch.max(1), cancel, calls, bytes })
    }

    /// Calls so far, and bytes of their answers.
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Makes one call.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, RpcError> {
        let mut answers = self.request(std::slice::from_ref(call))?;
        answers.pop().unwrap_or_else(|| Err(call.fault(Fault::Null)))
    }

    /// Makes calls, in requests of at most as many as the client was made for; the answers are in the order of the calls.
    ///
    /// # Errors
    /// The [`RpcError`] of the first call that failed.
    pub fn calls<T: DeserializeOwned>(&self, calls: &[Call]) -> Result<Vec<T>, RpcError> {
        let mut answers = Vec::with_capacity(calls.len());
        for calls in calls.chunks(self.batch) {
            for answer in self.request(calls)? {
                answers.push(answer?);
            }
        }
        Ok(answers)
    }

    /// Sends one request until the node does not ask to repeat it.
    fn request<T: DeserializeOwned>(&self, calls: &[Call]) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let Some(first) = calls.first() else { return Ok(Vec::new()) };
        let fault = |fault| first.fault(fault).with_others(calls.len() - 1);
        let object = |(id, call): (usize, &Call)| json!({"jsonrpc": "2.0", "id": id, "method": call.method, "params": call.params});
        let request = match calls {
            [call] => object((0, call)),
            calls => calls.iter().enumerate().map(object).collect(),
        };
        let request = request.to_string();
        let bytes_max = calls.iter().fold(0, |sum: u64, call| sum.saturating_add(call.bytes_max)).min(BYTES_MAX);
        self.calls.fetch_add(calls.len() as u64, Ordering::Relaxed);
        for attempt in 0..=RETRIES {
            let wait = match self.send(&request, bytes_max).map_err(fault)? {
                Reply::Later(wait) => wait,
                Reply::Body(body) => match read(&body, calls).map_err(fault)? {
                    Some(answers) => return Ok(answers),
                    None => None,
                },
            };
            match wait {
                Some(wait) if wait > WAIT_MAX => return Err(fault(Fault::Wait(wait.as_secs()))),
                _ if attempt == RETRIES => break,
                wait => self.sleep(wait.unwrap_or(WAIT_FIRST * 2u32.pow(attempt))).map_err(fault)?,
            }
        }
        Err(fault(Fault::Rate))
    }

    /// Sends one request and receives its whole answer.
    fn send(&self, request: &str, bytes_max: u64) -> Result<Reply, Fault> {
        if self.cancel.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        let sent = self.agent.post(&self.url).header("content-type", "application/json").send(request);
        let mut response = sent.map_err(|error| self.transport(error))?;
        let status = response.status().as_u16();
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wait = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        if status == 429 || status == 503 && wait.is_some() {
            return Ok(Reply::Later(wait));
        }
        let mut body = Vec::new();
        let received = response.body_mut().as_reader().take(bytes_max.saturating_add(1)).read_to_end(&mut body);
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if body.len() as u64 > bytes_max {
            return Err(Fault::TooLong(bytes_max));
        }
        // Some nodes answer errors of JSON-RPC with the status of an HTTP error.
        if status != 200 && !body.starts_with(b"{\"jsonrpc\"") {
            return Err(Fault::Status { status, text: excerpt(&body) });
        }
        match received {
            Ok(_) => {
                let document = Document { name: String::new(), bytes: body };
                if document.memory_max() > DOCUMENT_MEMORY_MAX {
                    return Err(Fault::TooLarge(DOCUMENT_MEMORY_MAX >> 20));
                }
                Ok(Reply::Body(document.bytes))
            }
            Err(error) => Err(self.transport(ureq::Error::from(error))),
        }
    }

    fn transport(&self, error: ureq::Error) -> Fault {
        match error {
            ureq::Error::Timeout(_) => Fault::Timeout(self.timeout.as_secs()),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Fault::Timeout(self.timeout.as_secs())
            }
            error => Fault::Transport(shortened(&error.to_string(), TEXT_SHOWN)),
        }
    }

    /// Waits, unless a signal comes.
    fn sleep(&self, wait: Duration) -> Result<(), Fault> {
        let start = Instant::now();
        while start.elapsed() < wait {
            if self.cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(50).min(wait.saturating_sub(start.elapsed())));
        }
        Ok(())
    }
}

/// The beginning of a text that a node sent.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_SHOWN)]);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Reads the answers to a request, in the order of the calls. `None`: the node limits the rate of calls.
fn read<T: DeserializeOwned>(body: &[u8], calls: &[Call]) -> Result<Option<Vec<Result<T, RpcError>>>, Fault> {
    let malformed = |error: serde_json::Error| Fault::NoJsonRpc(shortened(&error.to_string(), TEXT_SHOWN));
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    // A node may also answer a batch with one error.
    let mut answers: Vec<Answer<'_>> = if is_list && calls.len() > 1 {
        serde_json::from_slice(body).map_err(malformed)?
    } else {
        vec![serde_json::from_slice(body).map_err(malformed)?]
    };
    if answers.iter().any(|answer| answer.error.as_ref().is_some_and(Remote::is_rate)) {
        return Ok(None);
    }
    if !is_list && calls.len() > 1 {
        let error = answers.pop().and_then(|answer| answer.error);
        return Err(match error {
            Some(Remote { code, message }) => Fault::Remote { code, message: excerpt(message.as_bytes()) },
            None => Fault::NoJsonRpc("one answer to a batch; --batch 1 sends calls one by one".to_owned()),
        });
    }
    answers.sort_by_key(|answer| answer.id);
    let ids = answers.iter().map(|answer| answer.id);
    if answers.len() != calls.len() || (calls.len() > 1 && !ids.eq((0..calls.len() as u64).map(Some))) {
        return Err(Fault::NoJsonRpc(format!("{} answers to {} calls, or with other ids", answers.len(), calls.len())));
    }
    let parsed = answers.into_iter().zip(calls).map(|(answer, call)| match answer {
        Answer { error: Some(Remote { code, message }), .. } => {
            Err(call.fault(Fault::Remote { code, message: excerpt(message.as_bytes()) }))
        }
        Answer { result: None, .. } => Err(call.fault(Fault::Null)),
        Answer { result: Some(result), .. } => serde_json::from_str(result.get()).map_err(|error| {
            call.wrong(format!("the answer has another form: {}", shortened(&error.to_string(), TEXT_SHOWN)))
        }),
    });
    Ok(Some(parsed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call::new(
            "eth_getProof",
            vec![json!(format!("0x{}", "ab".repeat(20))), json!(["0x1", "0x2"]), json!("0x10")],
            100,
        )
    }

    #[test]
    fn a_call_is_named_with_short_parameters() {
        assert_eq!(call().to_string(), "eth_getProof(\"0xababab…babababab\", [2 items], \"0x10\")");
    }

    #[test]
    fn answers_are_sorted_by_id_and_errors_name_their_call() {
        let calls = [call(), Call::new("eth_chainId", vec![], 100)];
        let read = |text: &str| read::<String>(text.as_bytes(), &calls);
        let answers = read(r#"[{"id":1,"result":"b"},{"id":0,"result":"a"}]"#).expect("well-formed").expect("no limit");
        assert_eq!(answers, [Ok("a".to_owned()), Ok("b".to_owned())]);
        let answers = read(r#"[{"id":0,"result":null},{"id":1,"error":{"code":-32601,"message":"x"}}]"#);
        let answers = answers.expect("well-formed").expect("no limit");
        assert!(answers[0].as_ref().is_err_and(|error| error.to_string().contains("nothing (null)")));
        assert!(answers[1].as_ref().is_err_and(RpcError::is_unknown_method), "{answers:?}");
        assert!(read(r#"[{"id":0,"error":{"code":-32005,"message":"limit"}}]"#).expect("well-formed").is_none());
        for wrong in ["", "{}", "[]", r#"[{"id":0,"result":"a"}]"#, r#"[{"id":0,"result":"a"},{"id":0,"result":"a"}]"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }

    #[test]
    fn other_schemes_are_refused() {
        let client = |url| Client::new(url, Duration::from_secs(1), 1, super::super::super::interrupt::token());
        assert!(client("ftp://localhost").is_err() && client("localhost:8545").is_err());
        assert!(client("HTTP://localhost:8545").is_ok());
    }
}
