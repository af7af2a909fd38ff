//! Archives of blocks in e2store files: `era1` (blocks before the merge), `erae` and `ere` (all
//! blocks).
//!
//! In: a file. Out: the RLP of one block at a time. Headers lie beside their bodies in `era1`, and
//! before all bodies in the other two: two positions move through the file, one from header to
//! header and one from body to body, so that the same code reads all three without their indexes.
//! Receipts, total difficulties, proofs and unknown entries are skipped.
//! Spec: <https://github.com/eth-clients/e2store-format-specs> (`formats/era1.md`, `erae.md`,
//! `ere.md`), and <https://github.com/google/snappy/blob/main/framing_format.txt>.
//! Not here: whether header and body belong together, which execution checks; accumulators.

use super::super::cost::RLP_BYTES_MAX;
use super::error::{ChainFault, ChainFileError};
use crate::arena::rlp;
use alloy_primitives::Bytes;
use alloy_rlp::Header;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// First byte of an e2store file, which starts with a version entry.
pub(super) const FIRST_BYTE: u8 = VERSION[0];

const VERSION: [u8; 2] = [0x65, 0x32];
const COMPRESSED_HEADER: [u8; 2] = [0x03, 0x00];
const COMPRESSED_BODY: [u8; 2] = [0x04, 0x00];
/// The index at the end of `era1` and `erae` files.
const BLOCK_INDEX: [u8; 2] = [0x66, 0x32];
/// The index at the end of `ere` files.
const DYNAMIC_BLOCK_INDEX: [u8; 2] = [0x67, 0x32];

/// Length in bytes of an entry's type, length and reserved field.
const ENTRY_HEADER_LEN: u64 = 8;

/// The blocks of an e2store file.
pub(super) struct Archive {
    path: PathBuf,
    headers: Entries,
    bodies: Entries,
    /// Number of bodies read since the last index.
    unindexed: u64,
    /// Whether the last entry before the position of the bodies is an index.
    ends_with_index: bool,
}

/// A position in the file, before an entry.
struct Entries {
    file: BufReader<File>,
    offset: u64,
    file_len: u64,
}

/// An entry whose data come next.
struct Entry {
    kind: [u8; 2],
    offset: u64,
    len: u64,
}

impl Archive {
    /// Opens a file, which must be a regular one.
    pub(super) fn open(path: &Path) -> Result<Self, ChainFileError> {
        let entries = || -> Result<Entries, ChainFault> {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(ChainFault::Entry("an e2store archive must be a regular file"));
            }
            Ok(Entries { file: BufReader::with_capacity(1 << 16, file), offset: 0, file_len: meta.len() })
        };
        let start = || -> Result<Self, ChainFault> {
            let (mut headers, bodies) = (entries()?, entries()?);
            let version = headers.next()?;
            if !version.is_some_and(|entry| entry.kind == VERSION && entry.len == 0) {
                return Err(ChainFault::Entry("the first entry is not an empty version entry"));
            }
            headers.offset = ENTRY_HEADER_LEN;
            Ok(Self { path: path.to_owned(), headers, bodies, unindexed: 0, ends_with_index: false })
        };
        start().map_err(|fault| fault.at(path, 0))
    }

    /// Position of the bodies in bytes.
    pub(super) const fn offset(&self) -> u64 {
        self.bodies.offset
    }

    /// Reads the next block; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, ChainFileError> {
        let (header_at, header) = match self.headers.find(COMPRESSED_HEADER, "a header", |_, _| Ok(())) {
            Ok(Some((at, header))) => (at, Some(header)),
            Ok(None) => (self.headers.offset, None),
            Err(fault) => return Err(fault.at(&self.path, self.headers.offset)),
        };
        let (unindexed, ends_with_index) = (&mut self.unindexed, &mut self.ends_with_index);
        let body = self.bodies.find(COMPRESSED_BODY, "a body", |entry, data| {
            *ends_with_index = entry.kind == BLOCK_INDEX || entry.kind == DYNAMIC_BLOCK_INDEX;
            if *ends_with_index {
                check_index(entry, data, *unindexed)?;
                *unindexed = 0;
            }
            Ok(())
        });
        let body = body.map_err(|fault| fault.at(&self.path, self.bodies.offset))?;
        let fail = |offset, fault: ChainFault| Err(fault.at(&self.path, offset));
        match (header, body) {
            (Some(header), Some((body_at, body))) => {
                *unindexed += 1;
                let Some(header_len) = list_payload(&header).map(|_| header.len()) else {
                    return fail(header_at, ChainFault::NotAList("a header"));
                };
                let Some(parts) = list_payload(&body) else {
                    return fail(body_at, ChainFault::NotAList("a body"));
                };
                let payload_length = header_len + parts.len();
                let max = RLP_BYTES_MAX as u64;
                if payload_length as u64 + 9 > max {
                    return fail(body_at, ChainFault::TooLong { what: "a block", len: payload_length as u64 + 9, max });
                }
                let mut block = Vec::with_capacity(payload_length + 9);
                Header { list: true, payload_length }.encode(&mut block);
                block.extend_from_slice(&header);
                block.extend_from_slice(parts);
                Ok(Some(block.into()))
            }
            (None, None) if self.ends_with_index => Ok(None),
            (None, None) => fail(self.bodies.offset, ChainFault::Truncated("the archive, before its index")),
            (Some(_), None) => fail(header_at, ChainFault::Entry("a header without a body")),
            (None, Some((body_at, _))) => fail(body_at, ChainFault::Entry("a body without a header")),
        }
    }
}

impl Entries {
    /// Reads the next entry's header; `None` at the end. The data follow.
    fn next(&mut self) -> Result<Option<Entry>, ChainFault> {
        let left = self.file_len - self.offset;
        if left == 0 {
            return Ok(None);
        }
        if left < ENTRY_HEADER_LEN {
            return Err(ChainFault::Truncated("an entry"));
        }
        let mut header = [0; ENTRY_HEADER_LEN as usize];
        self.file.read_exact(&mut header)?;
        let [kind_0, kind_1, len_0, len_1, len_2, len_3, reserved_0, reserved_1] = header;
        let len = u64::from(u32::from_le_bytes([len_0, len_1, len_2, len_3]));
        if [reserved_0, reserved_1] != [0, 0] {
            return Err(ChainFault::Entry("an entry whose reserved bytes are not zero"));
        }
        if len > left - ENTRY_HEADER_LEN {
            return Err(ChainFault::Truncated("an entry"));
        }
        Ok(Some(Entry { kind: [kind_0, kind_1], offset: self.offset, len }))
    }

    /// Reads the next entry of this kind, called `what` in errors: its position and its decompressed
    /// data. Calls `other` with each entry before it and a reader of its data.
    fn find(
        &mut self,
        kind: [u8; 2],
        what: &'static str,
        mut other: impl FnMut(&Entry, &mut dyn Read) -> Result<(), ChainFault>,
    ) -> Result<Option<(u64, Vec<u8>)>, ChainFault> {
        while let Some(entry) = self.next()? {
            let mut data = (&mut self.file).take(entry.len);
            let found = if entry.kind == kind {
                Some(decompress(&mut data, what)?)
            } else {
                other(&entry, &mut data)?;
                None
            };
            let rest = data.limit();
            // An entry is shorter than 4 GiB.
            self.file.seek_relative(rest as i64)?;
            self.offset = entry.offset + ENTRY_HEADER_LEN + entry.len;
            if let Some(data) = found {
                return Ok(Some((entry.offset, data)));
            }
        }
        Ok(None)
    }
}

/// Decompresses the data of an entry, up to the limit of an item.
fn decompress(data: &mut dyn Read, what: &'static str) -> Result<Vec<u8>, ChainFault> {
    let max = RLP_BYTES_MAX as u64;
    let mut out = Vec::new();
    let read = snap::read::FrameDecoder::new(data).take(max + 1).read_to_end(&mut out);
    if let Err(error) = read {
        // The entry lies within the file; its compressed data end too early.
        let is_short = error.kind() == ErrorKind::UnexpectedEof;
        return Err(if is_short { ChainFault::Truncated(what) } else { ChainFault::Io(error) });
    }
    if out.len() as u64 > max {
        return Err(ChainFault::TooLong { what, len: out.len() as u64, max });
    }
    Ok(out)
}

/// Compares the number of blocks at the end of an index with the blocks before it. The data end with
/// that number, as 8 bytes, least significant first; the first 8 are the number of the first block.
fn check_index(entry: &Entry, data: &mut dyn Read, found: u64) -> Result<(), ChainFault> {
    let before = entry.len.checked_sub(8).filter(|before| *before >= 8);
    let before = before.ok_or(ChainFault::Entry("an index without the number of its blocks"))?;
    std::io::copy(&mut data.take(before), &mut std::io::sink())?;
    let mut count = [0; 8];
    data.read_exact(&mut count)?;
    let indexed = u64::from_le_bytes(count);
    if indexed == found { Ok(()) } else { Err(ChainFault::Index { indexed, found }) }
}

/// The payload of an RLP list that fills `bytes` exactly.
fn list_payload(bytes: &[u8]) -> Option<&[u8]> {
    let item = rlp::item(bytes, 0, bytes.len()).ok()?;
    (item.is_list && item.payload.end == bytes.len()).then(|| &bytes[item.payload])
}
