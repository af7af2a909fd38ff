//! RLP lists one after another: chain files as `geth export` writes them, and files of block access
//! lists as `ethrex import-bench --export-bal` writes them; either may be gzipped.
//!
//! In: a stream. Out: the bytes of one list at a time. Memory is bounded by the length limit of one
//! list, and by the bytes that are there: a length alone reserves nothing.
//! Spec: Yellow Paper, appendix B.
//! Not here: what is inside of the lists.

use super::super::cost::RLP_BYTES_MAX;
use super::error::ChainFault;
use alloy_primitives::Bytes;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};

/// First bytes of a gzip stream (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes of a list that are reserved before the first of them is read.
const RESERVED_MAX: u64 = 1 << 16;

/// A stream of RLP lists.
pub(super) struct RlpLists {
    reader: Source,
    /// Position of the next list in the decompressed bytes.
    offset: u64,
}

enum Source {
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

impl Source {
    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(reader) => reader,
        }
    }
}

impl RlpLists {
    /// Starts to read a file, decompressing it if it starts as a gzip stream does.
    pub(super) fn new(file: File) -> std::io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 16, file);
        let is_gzip = file.fill_buf()?.starts_with(&GZIP_MAGIC);
        let reader = if is_gzip {
            Source::Gzip(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))))
        } else {
            Source::Plain(file)
        };
        Ok(Self { reader, offset: 0 })
    }

    /// Position of the next list in the decompressed bytes.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The first byte of the next list; `None` at the end.
    pub(super) fn first_byte(&mut self) -> std::io::Result<Option<u8>> {
        Ok(self.reader.reader().fill_buf()?.first().copied())
    }

    /// Number of bytes of the file that were read so far; 0 for a file that has no position.
    pub(super) fn bytes_read(&mut self) -> u64 {
        let file = match &mut self.reader {
            Source::Plain(reader) => reader.get_mut(),
            Source::Gzip(reader) => reader.get_mut().get_mut().get_mut(),
        };
        file.stream_position().unwrap_or(0)
    }

    /// Reads the next list, called `what` in errors; `None` at the end.
    pub(super) fn next(&mut self, what: &'static str) -> Result<Option<Bytes>, ChainFault> {
        let reader = self.reader.reader();
        let mut bytes = Vec::new();
        if read_up_to(reader, 1, &mut bytes)? == 0 {
            return Ok(None);
        }
        let first = bytes[0];
        let len = match first {
            0xc0..0xf8 => u64::from(first - 0xc0),
            0xf8.. => {
                let width = u64::from(first - 0xf7);
                if read_up_to(reader, width, &mut bytes)? < width {
                    return Err(ChainFault::Truncated(what));
                }
                // At most 8 bytes, so the shift cannot overflow.
                let len = bytes[1..].iter().fold(0u64, |len, digit| len << 8 | u64::from(*digit));
                if bytes[1] == 0 || len < 56 {
                    return Err(ChainFault::NotAList(what));
                }
                len
            }
            _ => return Err(ChainFault::NotAList(what)),
        };
        let max = RLP_BYTES_MAX as u64;
        let total = len.saturating_add(bytes.len() as u64);
        if total > max {
            return Err(ChainFault::TooLong { what, len: total, max });
        }
        bytes.reserve_exact(len.min(RESERVED_MAX) as usize);
        if read_up_to(reader, len, &mut bytes)? < len {
            return Err(ChainFault::Truncated(what));
        }
        self.offset += bytes.len() as u64;
        Ok(Some(bytes.into()))
    }
}

/// Appends the next `len` bytes to `out`, or fewer at the end of the stream; returns their number.
fn read_up_to(reader: &mut dyn BufRead, len: u64, out: &mut Vec<u8>) -> std::io::Result<u64> {
    reader.take(len).read_to_end(out).map(|count| count as u64)
}
