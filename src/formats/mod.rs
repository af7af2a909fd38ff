//! Readers of block files: bundles and test fixtures, as single files, in folders or in archives;
//! chain files, one block at a time ([`chain`]).
//!
//! In: paths. Out: [`Document`]s, one per file, in a fixed order, and their parsed [`Content`].
//! Every error in a file is an [`InputError`], or in a chain file a [`chain::ChainFileError`].
//! Not here: decoding of block bytes, execution.

mod bal_json;
mod block_test;
mod bundle;
pub mod chain;
mod cost;
pub mod genesis;
pub mod json;
mod network;
mod plain;
mod signed;
mod source;
mod state_test;
mod transaction;
mod tx_fields;

pub use block_test::{BlockTest, BlockTestJson, FixtureBlock};
pub use bundle::{Bundle, BundleState, Expected};
pub use cost::{DOCUMENT_MEMORY_MAX, check_rlp_len};
pub use genesis::Genesis;
pub use network::network_chain;
pub use source::{Document, Progress, each_document, read_document, total_bytes};
pub use state_test::{StateCase, StateTest, StateTestJson};
pub use transaction::{Signing, TransactionError, encode_transaction};

use alloy_primitives::Bytes;
use bundle::BundleJson;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use std::marker::PhantomData;
use std::path::PathBuf;

/// A file cannot be read or has the wrong format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// An error of the operating system, or a damaged archive or compressed file.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system or of the decoder.
        error: std::io::Error,
    },
    /// Not JSON, or JSON of a different structure.
    #[error("{name}: {error}")]
    Json {
        /// The document.
        name: String,
        /// Field, error, line and column.
        error: String,
    },
    /// A bundle whose parts are inconsistent.
    #[error("{name}: {what}")]
    Bundle {
        /// The document.
        name: String,
        /// The inconsistency.
        what: String,
    },
    /// A block bundle where block tests are expected.
    #[error("{name} is a block bundle, not a file of block tests; execute it with `balustrade run`")]
    NotTests {
        /// The document.
        name: String,
    },
    /// No JSON document was found.
    #[error("no JSON document in {path}")]
    Empty {
        /// The folder or archive.
        path: PathBuf,
    },
}

/// Whether to read the test of this name.
pub type NameFilter<'a> = &'a dyn Fn(&str) -> bool;

/// Parsed content of a document.
#[derive(Debug)]
pub enum Content {
    /// One block with its parent state.
    Bundle(Box<Bundle>),
    /// Block tests in the order of the file.
    Tests(Vec<BlockTest>),
}

impl Content {
    /// Parses a document of either kind. Only tests for whose name `filter` returns true are read.
    ///
    /// # Errors
    /// [`InputError::Json`] and [`InputError::Bundle`].
    pub fn parse(document: &Document, filter: Option<NameFilter<'_>>) -> Result<Self, InputError> {
        // The first key distinguishes a bundle from a map of tests, so the document is parsed only
        // once.
        let first_key = first_key(&document.bytes);
        if first_key.is_some_and(|key| BundleJson::has_key(&key)) {
            let json = deserialize(document, || PhantomData::<BundleJson>)?;
            let bundle = json.into_bundle(document.short_name());
            return bundle
                .map(|bundle| Self::Bundle(Box::new(bundle)))
                .map_err(|what| InputError::Bundle { name: document.name.clone(), what });
        }
        parse_tests(document, filter).map(Self::Tests)
    }
}

/// A kind of test fixture. A file is a JSON object of tests by name.
pub trait TestFormat: Sized {
    /// The JSON form of one test.
    type Json<'a>: serde::Deserialize<'a>;

    /// Converts one test.
    ///
    /// # Errors
    /// A part that was not parsed before, such as a block access list in JSON, is malformed.
    fn from_json(json: Self::Json<'_>, name: String) -> serde_json::Result<Self>;
}

/// Parses a file of tests. Only those for whose name `filter` returns true are read.
///
/// # Errors
/// [`InputError::Json`].
pub fn parse_tests<T: TestFormat>(document: &Document, filter: Option<NameFilter<'_>>) -> Result<Vec<T>, InputError> {
    deserialize(document, || TestsOf { filter, format: PhantomData })
}

/// Parses a whole document. If that fails, it is parsed again with a slower parser that reports the
/// path of the wrong field.
fn deserialize<'de, S: DeserializeSeed<'de>>(
    document: &'de Document,
    seed: impl Fn() -> S,
) -> Result<S::Value, InputError> {
    let parse = |seed: S| {
        let mut deserializer = serde_json::Deserializer::from_slice(&document.bytes);
        let value = seed.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| value)
    };
    parse(seed()).map_err(|error| {
        let mut track = serde_path_to_error::Track::new();
        let mut deserializer = serde_json::Deserializer::from_slice(&document.bytes);
        let again = seed().deserialize(serde_path_to_error::Deserializer::new(&mut deserializer, &mut track));
        let field = again.is_err().then(|| track.path());
        InputError::Json { name: document.name.clone(), error: plain::error(&error, field.as_ref()) }
    })
}

/// Converts a document that is a block access list in JSON to RLP.
///
/// # Errors
/// [`InputError::Json`].
pub fn list_from_json(document: &Document) -> Result<Bytes, InputError> {
    bal_json::encode(&document.bytes).map_err(|error| json_error(document, &error))
}

/// A block access list as written by `balustrade bal record`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields that `bal record` writes")]
pub struct RecordedList {
    /// RLP of the block access list.
    pub block_access_list: Bytes,
    /// The block's name.
    pub block: String,
}

/// Whether this was written by `balustrade bal record`: an object whose first key is
/// `blockAccessList`, which is never the first key of a bundle.
pub fn is_recorded(json: &[u8]) -> bool {
    first_key(json).is_some_and(|key| key == "blockAccessList")
}

/// All block access lists of a file written by `balustrade bal record`.
///
/// # Errors
/// [`InputError::Json`].
pub fn recorded_lists(document: &Document) -> Result<Vec<RecordedList>, InputError> {
    let lists = serde_json::Deserializer::from_slice(&document.bytes).into_iter().collect::<Result<_, _>>();
    lists.map_err(|error| json_error(document, &error))
}

fn json_error(document: &Document, error: &serde_json::Error) -> InputError {
    InputError::Json { name: document.name.clone(), error: plain::error(error, None) }
}

/// The first key of a JSON object.
fn first_key(bytes: &[u8]) -> Option<String> {
    let start = bytes.iter().position(|byte| *byte == b'{')? + 1;
    serde_json::Deserializer::from_slice(bytes.get(start..)?).into_iter::<String>().next()?.ok()
}

/// Reads a map of tests and skips those that the filter excludes.
struct TestsOf<'f, T> {
    filter: Option<NameFilter<'f>>,
    format: PhantomData<T>,
}

impl<'de, T: TestFormat> DeserializeSeed<'de> for TestsOf<'_, T> {
    type Value = Vec<T>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: TestFormat> Visitor<'de> for TestsOf<'_, T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of tests by name")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tests = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.filter.is_some_and(|filter| !filter(&name)) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let json: T::Json<'de> = map.next_value()?;
            tests.push(T::from_json(json, name).map_err(A::Error::custom)?);
        }
        Ok(tests)
    }
}

#[cfg(test)]
mod tests;
