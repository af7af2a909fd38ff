//! Errors of the files of a store, with the file, the place in it, and what to do.

use crate::arena::store::StoreError;
use std::io;

/// A file of a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused an operation.
    #[error("cannot {action} {file}: {reason}")]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// Name or path of the file.
        file: String,
        /// The class of the error: no space left, no permission.
        kind: io::ErrorKind,
        /// The message of the operating system.
        reason: String,
    },
    /// Bytes of a file are not those that were written.
    #[error(
        "{file} is damaged at byte {place}: {what}; restore the store from a copy, or delete the folder and create the \
         store again"
    )]
    Damaged {
        /// Name of the file.
        file: String,
        /// Offset in bytes.
        place: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A record of the log is damaged, and records behind it are whole.
    #[error(
        "{file} is damaged at byte {place}: record {record} of the log{} {what}, and {behind}; restore the store from a \
         copy, or open it with `cut` to remove this record and all later ones",
        shown_block(.block)
    )]
    LogDamaged {
        /// Name of the segment.
        file: String,
        /// Offset of the record in bytes.
        place: u64,
        /// Number of the record.
        record: u64,
        /// Number of the block in the record before; `None` if there is no such record.
        block: Option<u64>,
        /// What is wrong with the record.
        what: &'static str,
        /// How it is known that the record was once complete.
        behind: String,
    },
    /// The log does not reach the record that the caller needs.
    #[error(
        "the log holds records {first} to {last}, and record {needed} is needed; restore the store from a copy, or open \
         it with `cut` to go on without the missing records"
    )]
    LogIncomplete {
        /// Number of the first record.
        first: u64,
        /// Number of the last record; `first - 1` for an empty log.
        last: u64,
        /// Number of the needed record.
        needed: u64,
    },
    /// An earlier write failed, so the file's content is unknown.
    #[error("an earlier write to {0} failed; close the store and open it again")]
    FailedBefore(&'static str),
    /// A record, a header or a code is longer than the format allows.
    #[error("{what} of {bytes} bytes is too long; the greatest length is {limit} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The greatest length.
        limit: usize,
    },
    /// A checkpoint does not follow the present one, or a page has the wrong length.
    #[error("the checkpoint is refused: {0}")]
    Checkpoint(String),
    /// Another process has opened the store.
    #[error("the store {0} is in use by another process; wait until that process has ended")]
    InUse(String),
    /// The folder is not empty, so no store is created in it.
    #[error("{0} exists and is not empty; name another folder for the new store")]
    Exists(String),
    /// The folder has no description of a store.
    #[error("{path} is no store: {reason}; create a store there, or name another folder")]
    NoStore {
        /// Path of the folder.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// The store was written by another version of the library.
    #[error("the store {path} has format {found}, and this version reads format {supported}; create the store again")]
    Format {
        /// Path of the folder.
        path: String,
        /// The format of the store.
        found: String,
        /// The format of this version.
        supported: u32,
    },
    /// The embedded database reports an error.
    #[error("the database {file} failed: {reason}")]
    Database {
        /// Name of the file.
        file: &'static str,
        /// The message of the database.
        reason: String,
    },
    /// The page store reports an error.
    #[error(transparent)]
    Pages(#[from] StoreError),
}

fn shown_block(block: &Option<u64>) -> String {
    block.map_or_else(String::new, |block| format!(" (after the record of block {block})"))
}

impl DiskError {
    /// The error of an operation on `file`.
    pub(super) fn io(action: &'static str, file: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { action, file: file.into(), kind: error.kind(), reason: error.to_string() }
    }

    /// The error for damage in `file` at offset `place`.
    pub(super) fn damaged(file: impl Into<String>, place: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.into(), place, what }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        let text = error.to_string();
        match error {
            DiskError::Damaged { .. } | DiskError::LogDamaged { .. } | DiskError::LogIncomplete { .. } => {
                Self::Corrupt(text)
            }
            DiskError::Pages(error) => error,
            _ => Self::Failed(text),
        }
    }
}
