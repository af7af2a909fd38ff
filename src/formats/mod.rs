//! Files to blocks: bundles and test fixtures, alone, in folders or in archives.
//!
//! In: paths. Out: [`Document`]s, one file's text each, in a fixed order; and what they hold: [`Content`].
//! Every fault of a file is an [`InputError`]; faults of the block bytes inside are not looked at here.
//! Not here: execution.

mod bal_json;
mod block_test;
mod bundle;
mod cost;
pub mod genesis;
pub mod json;
mod network;
mod plain;
mod signed;
mod source;
mod state_test;

pub use block_test::{BlockTest, FixtureBlock};
pub use bundle::{Bundle, BundleState};
pub use cost::{DOCUMENT_MEMORY_MAX, check_rlp_len};
pub use genesis::Genesis;
pub use source::{Document, Progress, each_document, read_document, total_bytes};
pub use state_test::{StateCase, StateTest};

use alloy_primitives::Bytes;
use bundle::BundleJson;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use std::marker::PhantomData;
use std::path::PathBuf;

/// A file cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The operating system refused, or an archive or compressed file is damaged.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not JSON, or JSON of another shape.
    #[error("{name}: {error}")]
    Json {
        /// The document.
        name: String,
        /// Which field, what is wrong with it, and where.
        error: String,
    },
    /// A bundle whose parts do not fit together.
    #[error("{name}: {what}")]
    Bundle {
        /// The document.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A block bundle where tests are asked for.
    #[error("{name} is a block bundle, not a file of block tests; execute it with `balustrade run`")]
    NotTests {
        /// The document.
        name: String,
    },
    /// Nothing to execute was found.
    #[error("no JSON document in {path}")]
    Empty {
        /// The folder or archive.
        path: PathBuf,
    },
}

/// Whether a test of this name is wanted.
pub type NameFilter<'a> = &'a dyn Fn(&str) -> bool;

/// What a document holds.
#[derive(Debug)]
pub enum Content {
    /// One block with its surroundings.
    Bundle(Box<Bundle>),
    /// Block tests in the order of the file.
    Tests(Vec<BlockTest>),
}

impl Content {
    /// Parses a document of either kind; only tests whose name passes `filter` are read.
    ///
    /// # Errors
    /// [`InputError::Json`] and [`InputError::Bundle`].
    pub fn parse(document: &Document, filter: Option<NameFilter<'_>>) -> Result<Self, InputError> {
        // The first key tells a bundle from a map of tests without reading the rest twice.
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

/// A kind of test fixture: a file is an object of them by name.
pub trait TestFormat: Sized {
    /// One test as JSON writes it.
    type Json<'a>: serde::Deserialize<'a>;

    /// Converts what JSON says.
    ///
    /// # Errors
    /// A part that is kept as text until now does not parse.
    fn from_json(json: Self::Json<'_>, name: String) -> serde_json::Result<Self>;
}

/// Parses a file of tests; only those whose name passes `filter` are read.
///
/// # Errors
/// [`InputError::Json`].
pub fn parse_tests<T: TestFormat>(document: &Document, filter: Option<NameFilter<'_>>) -> Result<Vec<T>, InputError> {
    deserialize(document, || TestsOf { filter, format: PhantomData })
}

/// Parses a whole document. Where that fails, it is parsed once more, in a slower way that tells which field is at fault.
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

/// The RLP of a list that stands alone in its JSON form.
///
/// # Errors
/// [`InputError::Json`].
pub fn list_from_json(document: &Document) -> Result<Bytes, InputError> {
    bal_json::encode(&document.bytes).map_err(|error| json_error(document, &error))
}

/// A list as `balustrade bal record` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields that `bal record` writes")]
pub struct RecordedList {
    /// Its RLP.
    pub block_access_list: Bytes,
    /// The block's name.
    pub block: String,
}

/// Whether this is what `balustrade bal record` writes: an object that starts with the list. Bundles start otherwise.
pub fn is_recorded(json: &[u8]) -> bool {
    first_key(json).is_some_and(|key| key == "blockAccessList")
}

/// All lists of a file that `balustrade bal record` wrote.
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

/// Reads a map of tests, skipping what the filter does not name.
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
