//! JSON-RPC 2.0: envelopes, batches, parameters, errors.
//!
//! In: the body of a request, and a function that runs a method. Out: the body of the response.
//! Nothing here recurses: nested values are kept as text until a method reads them.
//! Not here: the methods.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Most requests of a batch.
pub const BATCH_MAX: usize = 1_000;
/// Most bytes of the responses of a batch, after which further requests of it are refused.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Codes of JSON-RPC, of the Engine API and of the public methods.
pub mod code {
    /// Not JSON.
    pub const PARSE: i64 = -32700;
    /// JSON, but no request.
    pub const REQUEST: i64 = -32600;
    /// Unknown method.
    pub const METHOD: i64 = -32601;
    /// Wrong parameters.
    pub const PARAMS: i64 = -32602;
    /// A bug.
    pub const INTERNAL: i64 = -32603;
    /// Any other error.
    pub const SERVER: i64 = -32000;
    /// Resource not found.
    pub const NOT_FOUND: i64 = -32001;
    /// Limit exceeded.
    pub const LIMIT: i64 = -32005;
    /// The payload is not known.
    pub const UNKNOWN_PAYLOAD: i64 = -38001;
    /// Safe or finalized block not on the chain of the head.
    pub const FORKCHOICE: i64 = -38002;
    /// Wrong payload attributes.
    pub const ATTRIBUTES: i64 = -38003;
    /// Too many entities in a request.
    pub const TOO_LARGE: i64 = -38004;
    /// The timestamp is of another fork.
    pub const FORK: i64 = -38005;
    /// The reorganization is too deep.
    pub const REORG: i64 = -38006;
    /// Pruned history (EIP-4444).
    pub const PRUNED: i64 = 4444;
    /// The execution reverted.
    pub const REVERTED: i64 = 3;
}

/// The error of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// One of [`code`].
    pub code: i64,
    /// Text for a person.
    pub message: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Wrong parameters.
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(code::PARAMS, message)
    }

    /// An error of the host, as the Engine API has it: the reason is in the data.
    pub fn server(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let data = Some(json!({"err": reason}));
        Self { code: code::SERVER, message: format!("Server error: {reason}"), data }
    }
}

/// The parameters of a request.
#[derive(Debug)]
pub struct Params<'a>(Vec<&'a RawValue>);

impl<'a> Params<'a> {
    /// The elements of an array.
    ///
    /// # Errors
    /// It is not an array.
    pub fn of_array(array: &'a RawValue) -> Result<Self, RpcError> {
        serde_json::from_str(array.get()).map(Self).map_err(|_| RpcError::params("the parameters are not an array"))
    }

    /// Checks the number of parameters; missing ones count as null.
    ///
    /// # Errors
    /// There are more.
    pub fn at_most(&self, max: usize) -> Result<(), RpcError> {
        if self.0.len() <= max {
            return Ok(());
        }
        Err(RpcError::params(format!("{} parameters, and the method takes {max}", self.0.len())))
    }

    /// The text of a parameter; `None` if it is missing or null.
    pub fn raw(&self, position: usize) -> Option<&'a RawValue> {
        self.0.get(position).copied().filter(|value| value.get() != "null")
    }

    /// A parameter that may be missing or null.
    ///
    /// # Errors
    /// It has another type.
    pub fn optional<T: DeserializeOwned>(&self, position: usize, name: &str) -> Result<Option<T>, RpcError> {
        let parse = |value: &RawValue| {
            serde_json::from_str(value.get()).map_err(|error| RpcError::params(format!("{name}: {}", plain(&error))))
        };
        self.raw(position).map(parse).transpose()
    }

    /// A parameter.
    ///
    /// # Errors
    /// It is missing, null, or has another type.
    pub fn get<T: DeserializeOwned>(&self, position: usize, name: &str) -> Result<T, RpcError> {
        self.optional(position, name)?.ok_or_else(|| RpcError::params(format!("{name} is missing")))
    }
}

/// The text of an error of bounded length: values of the input are quoted in it.
pub fn plain(error: &serde_json::Error) -> String {
    bounded(&error.to_string())
}

/// At most 300 bytes of a text.
pub fn bounded(text: &str) -> String {
    const MAX: usize = 300;
    let end = (0..=MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    if end == text.len() { text.to_owned() } else { format!("{} ...", &text[..end]) }
}

/// A request that was parsed.
#[derive(Deserialize)]
#[serde(expecting = "a request object")]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    // A null id is an id, and an absent one makes a notification.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

fn response(id: Option<&RawValue>, result: Result<Value, RpcError>) -> Vec<u8> {
    let (result, error) = match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    };
    // Values and texts always serialize.
    serde_json::to_vec(&Response { jsonrpc: "2.0", id, result, error }).unwrap_or_default()
}

/// Runs one request; `None` for a notification.
fn one(text: &str, call: &mut Call<'_>) -> Option<Vec<u8>> {
    let refuse = |id, message: &str| Some(response(id, Err(RpcError::new(code::REQUEST, message))));
    let Ok(request) = serde_json::from_str::<Request<'_>>(text) else {
        return refuse(None, "not a request object");
    };
    let is_id = |id: &&RawValue| {
        id.get() == "null" || id.get().starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
    };
    if request.id.is_some_and(|id| !is_id(&id)) {
        return refuse(None, "the id is neither a string nor a number");
    }
    if request.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return refuse(request.id, "`jsonrpc` is not \"2.0\"");
    }
    let Some(method) = request.method.and_then(|method| serde_json::from_str::<String>(method.get()).ok()) else {
        return refuse(request.id, "`method` is not a string");
    };
    let params = request.params.filter(|params| params.get() != "null");
    let params = params.map_or_else(|| Ok(Params(Vec::new())), Params::of_array);
    let result = params.and_then(|params| call(&method, &params));
    request.id.map(|id| response(Some(id), result))
}

/// Runs a method.
pub type Call<'c> = dyn FnMut(&str, &Params<'_>) -> Result<Value, RpcError> + 'c;

/// Runs the request or the batch in `body`; returns the body of the response, which is empty if there are notifications
/// alone.
pub fn answer(body: &[u8], call: &mut Call<'_>) -> Vec<u8> {
    let parse_error = |message: String| response(None, Err(RpcError::new(code::PARSE, message)));
    let Ok(text) = core::str::from_utf8(body) else { return parse_error("the body is not UTF-8".to_owned()) };
    let whole: &RawValue = match serde_json::from_str(text) {
        Ok(whole) => whole,
        Err(error) => return parse_error(plain(&error)),
    };
    if !whole.get().starts_with('[') {
        return one(whole.get(), call).unwrap_or_default();
    }
    let refuse = |message: &str| response(None, Err(RpcError::new(code::REQUEST, message)));
    let Ok(batch) = serde_json::from_str::<Vec<&RawValue>>(whole.get()) else { return refuse("not a batch") };
    if batch.is_empty() {
        return refuse("the batch is empty");
    }
    if batch.len() > BATCH_MAX {
        return refuse("the batch has more than 1,000 requests");
    }
    let mut out = Vec::new();
    for request in batch {
        let answer = if out.len() > BATCH_BYTES_MAX {
            let mut full =
                |_: &str, _: &Params<'_>| Err(RpcError::new(code::LIMIT, "the responses of the batch are too long"));
            one(request.get(), &mut full)
        } else {
            one(request.get(), call)
        };
        if let Some(answer) = answer {
            out.push(if out.is_empty() { b'[' } else { b',' });
            out.extend_from_slice(&answer);
        }
    }
    if !out.is_empty() {
        out.push(b']');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Value {
        let mut call = |method: &str, params: &Params<'_>| match method {
            "echo" => params.get::<Value>(0, "the value"),
            _ => Err(RpcError::new(code::METHOD, "unknown")),
        };
        let answer = answer(body.as_bytes(), &mut call);
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).expect("JSON") }
    }

    #[test]
    fn requests_batches_and_notifications() {
        assert_eq!(
            ask(r#"{"jsonrpc":"2.0","method":"echo","params":[7],"id":1}"#),
            json!({"jsonrpc": "2.0", "id": 1, "result": 7})
        );
        assert_eq!(ask(r#"{"jsonrpc":"2.0","method":"echo","params":[7]}"#), Value::Null);
        assert_eq!(ask(r#"{"jsonrpc":"2.0","method":"echo","params":[7],"id":null}"#)["id"], Value::Null);
        let batch = r#"[{"jsonrpc":"2.0","method":"echo","params":[1],"id":"a"},{"jsonrpc":"2.0","method":"echo"},3]"#;
        let answer = ask(batch);
        assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": "a", "result": 1}));
        assert_eq!((&answer[1]["error"]["code"], answer.as_array().map(Vec::len)), (&json!(code::REQUEST), Some(2)));
    }

    #[test]
    fn malformed_bodies_have_the_codes_of_the_specification() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let many = format!("[{}1]", "1,".repeat(BATCH_MAX));
        for (body, expected) in [
            ("", code::PARSE),
            ("{", code::PARSE),
            ("nonsense", code::PARSE),
            ("[]", code::REQUEST),
            ("1", code::REQUEST),
            ("{}", code::REQUEST),
            (many.as_str(), code::REQUEST),
            (r#"{"jsonrpc":"1.0","method":"echo","id":1}"#, code::REQUEST),
            (r#"{"jsonrpc":"2.0","method":7,"id":1}"#, code::REQUEST),
            (r#"{"jsonrpc":"2.0","id":1}"#, code::REQUEST),
            (r#"{"jsonrpc":"2.0","method":"echo","id":{}}"#, code::REQUEST),
            (r#"{"jsonrpc":"2.0","method":"echo","id":1,"id":2}"#, code::REQUEST),
            (r#"{"jsonrpc":"2.0","method":"none","id":1}"#, code::METHOD),
            (r#"{"jsonrpc":"2.0","method":"echo","id":1}"#, code::PARAMS),
            (r#"{"jsonrpc":"2.0","method":"echo","params":{"a":1},"id":1}"#, code::PARAMS),
            (r#"{"jsonrpc":"2.0","method":"echo","params":7,"id":1}"#, code::PARAMS),
        ] {
            assert_eq!(ask(body)["error"]["code"], expected, "{body}");
        }
        // A deep value ends in an error of the parser or of the envelope, not in an overflow of the stack.
        let answer = ask(&deep);
        let code = answer["error"]["code"].as_i64().or_else(|| answer[0]["error"]["code"].as_i64());
        assert!(matches!(code, Some(code::PARSE | code::REQUEST)), "{code:?}");
        let nested = format!(r#"{{"jsonrpc":"2.0","method":"echo","params":[{deep}],"id":1}}"#);
        assert!(ask(&nested)["error"]["code"].is_i64());
    }
}
