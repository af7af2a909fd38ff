//! Errors of chain files.

use super::super::InputError;
use std::path::{Path, PathBuf};

/// A chain file cannot be read, or it is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{} at byte {offset}: {fault}", path.display())]
pub struct ChainFileError {
    /// The file or the folder.
    pub path: PathBuf,
    /// Position of the damaged item in bytes; in a compressed RLP file, of the decompressed bytes.
    pub offset: u64,
    /// What is wrong there.
    pub fault: ChainFault,
}

/// What is wrong with a chain file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// An error of the operating system, or of a decompressor.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A bundle or a fixture that is not valid.
    #[error(transparent)]
    Document(#[from] InputError),
    /// The file holds no block, or the folder no chain file.
    #[error("no block here")]
    Empty,
    /// The first bytes are those of none of the formats.
    #[error("neither RLP, gzip, e2store nor JSON")]
    UnknownFormat,
    /// The file ends within an item.
    #[error("the file ends within {0}")]
    Truncated(&'static str),
    /// An item is longer than the limit.
    #[error("{what} of {len} bytes; the limit is {max} bytes")]
    TooLong {
        /// The item.
        what: &'static str,
        /// Its length in bytes, as far as it is known.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// An RLP list is expected.
    #[error("{0} that is no RLP list of the shortest encoding")]
    NotAList(&'static str),
    /// An entry of an e2store file is out of place or malformed.
    #[error("{0}")]
    Entry(&'static str),
    /// The index of an e2store file counts other blocks than the file has.
    #[error("the index counts {indexed} blocks, the file has {found}")]
    Index {
        /// Number of blocks according to the index.
        indexed: u64,
        /// Number of blocks before the index.
        found: u64,
    },
    /// A fixture with several tests, each of which is a chain of its own.
    #[error("{0} tests, each a chain of its own; a chain file holds one")]
    Tests(usize),
    /// The list file ends before the blocks.
    #[error("no list for block {0}")]
    NoList(u64),
    /// A list is not the one to which the header of its block commits.
    #[error("this list does not have the hash in the header of block {0}")]
    OtherList(u64),
    /// The list file goes on after the last block.
    #[error("more lists than blocks")]
    MoreLists,
}

impl ChainFault {
    /// The error with its place.
    pub(super) fn at(self, path: &Path, offset: u64) -> ChainFileError {
        ChainFileError { path: path.to_owned(), offset, fault: self }
    }
}
