//! Chains of blocks from files, one block at a time.
//!
//! In: files and folders: RLP chain files as `geth export` writes them, also gzipped; `era1`, `erae`
//! and `ere` archives; bundles; block tests. The format of a file is found by its first bytes. Lists
//! come from bundles and fixtures, or from a second file. Out: [`ChainItem`]s in the order of the
//! files; a [`ChainFileError`] with file and position ends them. Memory is bounded: one block of at
//! most 64 MiB, or one JSON document.
//! Not here: whether a block is valid, or a child of the one before it.

mod e2store;
mod error;
mod rlp;
#[cfg(test)]
mod tests;

pub use error::{ChainFault, ChainFileError};

use super::source::{Found, read_document};
use super::{Content, InputError};
use crate::arena::keccak::keccak256;
use crate::bal::ExistenceLog;
use crate::exec::wire::Header;
use alloy_primitives::Bytes;
use e2store::Archive;
use rlp::RlpLists;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A block of a chain file.
#[derive(Clone, Debug)]
pub struct ChainItem {
    /// The block's RLP, not yet decoded.
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928), if one is known.
    pub bal: Option<Bytes>,
    /// Account events of a block before Cancun that a block access list cannot express.
    pub existence_log: Option<ExistenceLog>,
}

/// The blocks of files and folders. The first error is the last item.
pub struct ChainReader {
    /// The files that are left, the next one last.
    files: Vec<PathBuf>,
    current: Option<OpenFile>,
    lists: Option<Lists>,
    bytes_before: u64,
    bytes_total: u64,
    is_done: bool,
}

/// The file that is being read.
struct OpenFile {
    path: PathBuf,
    len: u64,
    blocks: Blocks,
    is_empty: bool,
}

enum Blocks {
    Rlp(Box<RlpLists>),
    Archive(Box<Archive>),
    /// The blocks of a bundle or of a block test.
    Document(VecDeque<ChainItem>),
}

/// The file of block access lists.
struct Lists {
    path: PathBuf,
    lists: RlpLists,
}

impl std::fmt::Debug for ChainReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ChainReader").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ChainReader {
    /// Opens chain files. Of a folder, the files with the extensions `.rlp`, `.era1`, `.erae`,
    /// `.ere` and `.json` are read, also with `.gz` behind `.rlp` and `.json`, in the order of their
    /// names, in which numbers are compared by value.
    ///
    /// `lists`: a file with the RLP of one block access list for each block whose header commits to
    /// one, in block order, also gzipped. Such a list replaces that of a bundle.
    ///
    /// # Errors
    /// [`ChainFileError`]: a folder or the file of lists cannot be read, or a folder has no chain
    /// file.
    pub fn open(paths: &[PathBuf], lists: Option<&Path>) -> Result<Self, ChainFileError> {
        let mut files = Vec::new();
        for path in paths {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let mut found = Found::new(|path| is_chain_file(path).then_some(()));
            found.collect(path).map_err(|error| ChainFault::from(error).at(path, 0))?;
            if found.files.is_empty() {
                return Err(ChainFault::Empty.at(path, 0));
            }
            let start = files.len();
            files.extend(found.files.into_iter().map(|(path, ())| path));
            files[start..].sort_by(|one, two| by_numbers(&one.to_string_lossy(), &two.to_string_lossy()));
        }
        let bytes_total = files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
        let lists = lists.map(|path| {
            let lists = File::open(path).and_then(RlpLists::new).map_err(|error| ChainFault::from(error).at(path, 0));
            lists.map(|lists| Lists { path: path.to_owned(), lists })
        });
        let lists = lists.transpose()?;
        files.reverse();
        Ok(Self { files, current: None, lists, bytes_before: 0, bytes_total, is_done: false })
    }

    /// The file that is read next, before it is opened.
    pub fn next_file(&self) -> Option<&Path> {
        self.files.last().map(PathBuf::as_path)
    }

    /// Bytes on disk of all files of blocks.
    pub const fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes of these files that were read so far, without those that are buffered.
    pub fn bytes_read(&mut self) -> u64 {
        self.bytes_before + self.current.as_mut().map_or(0, OpenFile::bytes_read)
    }

    /// The next block with its list.
    fn read(&mut self) -> Result<Option<ChainItem>, ChainFileError> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.pop() else { break };
                self.current = Some(OpenFile::open(path)?);
            }
            let Some(file) = &mut self.current else { break };
            if let Some(item) = file.next()? {
                return self.with_list(item).map(Some);
            }
            self.bytes_before += file.len;
            self.current = None;
        }
        match &mut self.lists {
            Some(Lists { path, lists }) => match lists.first_byte() {
                Ok(None) => Ok(None),
                Ok(Some(_)) => Err(ChainFault::MoreLists.at(path, lists.offset())),
                Err(error) => Err(ChainFault::from(error).at(path, lists.offset())),
            },
            None => Ok(None),
        }
    }

    /// Takes the next list of the file of lists for a block whose header commits to one. A block
    /// whose header does not decode gets none; its execution reports the error.
    fn with_list(&mut self, item: ChainItem) -> Result<ChainItem, ChainFileError> {
        let Some(Lists { path, lists }) = &mut self.lists else { return Ok(item) };
        let Ok(header) = Header::of_block(&item.block) else { return Ok(item) };
        let Some(hash) = header.block_access_list_hash else { return Ok(item) };
        let offset = lists.offset();
        let fail = |fault: ChainFault| fault.at(path, offset);
        let list = lists.next("a block access list").map_err(fail)?;
        let list = list.ok_or_else(|| fail(ChainFault::NoList(header.number)))?;
        if keccak256(&list) != hash {
            return Err(fail(ChainFault::OtherList(header.number)));
        }
        Ok(ChainItem { bal: Some(list), ..item })
    }
}

impl Iterator for ChainReader {
    type Item = Result<ChainItem, ChainFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let item = self.read().transpose();
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl OpenFile {
    /// Opens a file and finds its format by its first bytes.
    fn open(path: PathBuf) -> Result<Self, ChainFileError> {
        let open = || -> Result<(u64, Blocks), ChainFileError> {
            let fail = |fault: ChainFault| fault.at(&path, 0);
            let file = File::open(&path).map_err(|error| fail(error.into()))?;
            let len = file.metadata().map_err(|error| fail(error.into()))?.len();
            let mut lists = RlpLists::new(file).map_err(|error| fail(error.into()))?;
            let blocks = match lists.first_byte().map_err(|error| fail(error.into()))? {
                None => return Err(fail(ChainFault::Empty)),
                Some(0xc0..) => Blocks::Rlp(Box::new(lists)),
                Some(e2store::FIRST_BYTE) => Blocks::Archive(Box::new(Archive::open(&path)?)),
                Some(b'{' | b'\n' | b'\r' | b'\t' | b' ') => Blocks::Document(document(&path).map_err(fail)?),
                Some(_) => return Err(fail(ChainFault::UnknownFormat)),
            };
            Ok((len, blocks))
        };
        let (len, blocks) = open()?;
        Ok(Self { path, len, blocks, is_empty: true })
    }

    fn next(&mut self) -> Result<Option<ChainItem>, ChainFileError> {
        let rlp = |block| ChainItem { block, bal: None, existence_log: None };
        let item = match &mut self.blocks {
            Blocks::Rlp(lists) => {
                let offset = lists.offset();
                lists.next("a block").map_err(|fault| fault.at(&self.path, offset))?.map(rlp)
            }
            Blocks::Archive(archive) => archive.next()?.map(rlp),
            Blocks::Document(items) => items.pop_front(),
        };
        if item.is_none() && self.is_empty {
            return Err(ChainFault::Empty.at(&self.path, 0));
        }
        self.is_empty = false;
        Ok(item)
    }

    fn bytes_read(&mut self) -> u64 {
        match &mut self.blocks {
            Blocks::Rlp(lists) => lists.bytes_read(),
            Blocks::Archive(archive) => archive.offset(),
            Blocks::Document(_) => self.len,
        }
    }
}

/// Reads the blocks of a bundle or of a file with one block test.
fn document(path: &Path) -> Result<VecDeque<ChainItem>, ChainFault> {
    let document = read_document(path)?;
    match Content::parse(&document, None)? {
        Content::Bundle(bundle) => {
            let item = ChainItem { block: bundle.block, bal: bundle.bal, existence_log: bundle.existence_log };
            Ok([item].into())
        }
        Content::Tests(mut tests) => match (tests.pop(), tests.len()) {
            (Some(test), 0) => {
                let blocks = test.blocks.into_iter();
                Ok(blocks.map(|block| ChainItem { block: block.rlp, bal: block.bal, existence_log: None }).collect())
            }
            (None, _) => Err(InputError::Empty { path: path.to_owned() }.into()),
            (Some(_), others) => Err(ChainFault::Tests(others + 1)),
        },
    }
}

/// Whether a file of a folder is read, by its extension.
fn is_chain_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = name.strip_suffix(".gz");
    let is_archive = [".era1", ".erae", ".ere"].iter().any(|suffix| name.ends_with(suffix));
    is_archive || [".rlp", ".json"].iter().any(|suffix| plain.unwrap_or(name).ends_with(suffix))
}

/// Compares names; digits that follow one another are compared as numbers.
fn by_numbers(one: &str, two: &str) -> Ordering {
    fn next(text: &str) -> Option<(&str, &str)> {
        let first = text.chars().next()?;
        let len = if first.is_ascii_digit() {
            text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len())
        } else {
            first.len_utf8()
        };
        Some(text.split_at(len))
    }
    let (mut one_left, mut two_left) = (one, two);
    loop {
        match (next(one_left), next(two_left)) {
            (Some((one_part, one_rest)), Some((two_part, two_rest))) => {
                let both = [one_part, two_part].map(|part| part.trim_start_matches('0'));
                let are_numbers =
                    [one_part, two_part].iter().all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
                let order = if are_numbers {
                    both[0].len().cmp(&both[1].len()).then_with(|| both[0].cmp(both[1]))
                } else {
                    one_part.cmp(two_part)
                };
                if order.is_ne() {
                    return order;
                }
                (one_left, two_left) = (one_rest, two_rest);
            }
            // Names that differ only in leading zeros still have an order.
            (one_rest, two_rest) => {
                return one_rest.is_some().cmp(&two_rest.is_some()).then_with(|| one.cmp(two));
            }
        }
    }
}
