//! Writes EIP-3155 trace lines of executed blocks to a file or to standard error, and hashes them.
//!
//! In: lines, while a block is executed. Out: the written lines, and one hash per execution.
//! Lines are not kept in memory: two executions of a block are compared by the hashes of their
//! lines.
//! Not here: the content of a line (the library).

use super::output::{OutputError, OutputFile, StderrData};
use alloy_primitives::{B256, Keccak256};
use clap::Args;
use std::borrow::Cow;
use std::io::{BufWriter, Write};

/// The target of the lines.
#[derive(Debug)]
pub enum Lines {
    /// Complete lines to this file.
    File(OutputFile),
    /// The lines of one transaction to this file.
    OneTransaction {
        /// Index of the transaction in the block, from 0.
        tx: u32,
        /// Number of transactions that have ended so far.
        ended: u32,
        /// The file.
        file: OutputFile,
    },
    /// Complete lines in memory.
    Memory {
        /// The lines.
        bytes: Vec<u8>,
        /// Most bytes; lines beyond are dropped.
        max: usize,
        /// Whether a line was dropped.
        is_cut: bool,
    },
    /// Lines to standard error.
    Stderr {
        /// The fields that are left out.
        left_out: LeftOut,
        /// Buffered standard error.
        out: BufWriter<StderrData>,
    },
}

/// Options for the fields of the lines, under go-ethereum's names.
#[derive(Clone, Debug, Args)]
pub struct FieldArgs {
    /// Format of the trace; `json` is the only one
    #[arg(long = "trace.format", value_name = "FORMAT", value_parser = ["json"], hide = true)]
    _format: Option<String>,
    /// Leave the stack out of the trace
    #[arg(long = "trace.nostack", alias = "nostack", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", hide_default_value = true)]
    no_stack: bool,
    /// Leave the return data out of the trace; by default true for geth's forms of the commands and for `t8n`, else false
    #[arg(long = "trace.noreturndata", alias = "noreturndata", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    no_return_data: Option<bool>,
    /// Have the return data in the trace
    #[arg(long = "trace.returndata", conflicts_with = "no_return_data", hide = true)]
    return_data: bool,
    /// Accepted for compatibility: the trace never contains memory or storage
    #[arg(long = "trace.nomemory", alias = "nomemory", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = ["true"], hide = true)]
    _no_memory: Option<String>,
    #[arg(long = "trace.nostorage", alias = "nostorage", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = ["true"], hide = true)]
    _no_storage: Option<String>,
}

impl FieldArgs {
    /// The fields to leave out; `no_return_data` is the default for the return data.
    pub fn left_out(&self, no_return_data: bool) -> LeftOut {
        LeftOut {
            stack: self.no_stack,
            return_data: self.no_return_data.unwrap_or(no_return_data && !self.return_data),
        }
    }
}

/// Fields of a trace line that are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeftOut {
    /// The field `stack`.
    pub stack: bool,
    /// The field `returnData`.
    pub return_data: bool,
}

impl LeftOut {
    /// The line without these fields.
    pub fn of(self, line: &[u8]) -> Cow<'_, [u8]> {
        let mut line = Cow::Borrowed(line);
        if self.return_data {
            line = without(&line, b",\"returnData\":\"", b"\"").into();
        }
        if self.stack {
            line = without(&line, b",\"stack\":[", b"]").into();
        }
        line
    }
}

/// Receives the lines of one execution after another. The first failed write is kept and reported
/// by [`Self::finish`].
#[derive(Debug)]
pub struct Trace {
    lines: Lines,
    /// Whether lines are written and hashed, or hashed only.
    pub written: bool,
    hash: Keccak256,
    error: Option<OutputError>,
}

impl Trace {
    /// Creates a trace without lines; lines will be written.
    pub fn new(lines: Lines) -> Self {
        Self { lines, written: true, hash: Keccak256::new(), error: None }
    }

    /// Ends one execution; returns the Keccak-256 hash of its lines.
    pub fn take_hash(&mut self) -> B256 {
        if let Lines::Stderr { out, .. } = &mut self.lines {
            // `StderrData` records its errors itself.
            let _ = out.flush();
        }
        core::mem::take(&mut self.hash).finalize()
    }

    /// Ends the trace and returns its file, which is not completed; `None` for standard error.
    ///
    /// # Errors
    /// The first failed write.
    pub fn into_file(self) -> Result<Option<OutputFile>, OutputError> {
        match (self.error, self.lines) {
            (Some(error), _) => Err(error),
            (None, Lines::File(file) | Lines::OneTransaction { file, .. }) => Ok(Some(file)),
            (None, Lines::Stderr { .. } | Lines::Memory { .. }) => Ok(None),
        }
    }

    /// Ends the trace and returns its lines; `None` if it has none in memory, or some were dropped.
    pub fn into_memory(self) -> Option<Vec<u8>> {
        match self.lines {
            Lines::Memory { bytes, is_cut: false, .. } => Some(bytes),
            _ => None,
        }
    }
}

/// Each call of `write` is one line.
impl Write for Trace {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.hash.update(line);
        if !self.written || self.error.is_some() {
            return Ok(line.len());
        }
        if let Lines::OneTransaction { tx, ended, .. } = &mut self.lines {
            let is_wanted = ended == tx;
            *ended += u32::from(is_summary(line));
            if !is_wanted {
                return Ok(line.len());
            }
        }
        match &mut self.lines {
            Lines::File(file) | Lines::OneTransaction { file, .. } => {
                if let Err(error) = file.write_all(line) {
                    self.error = Some(file.fault(error));
                }
            }
            Lines::Memory { bytes, max, is_cut } => {
                *is_cut |= bytes.len() + line.len() > *max;
                if !*is_cut {
                    bytes.extend_from_slice(line);
                }
            }
            Lines::Stderr { left_out, out } => out.write_all(&left_out.of(line))?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a trace line is the last one of a transaction.
pub fn is_summary(line: &[u8]) -> bool {
    line.starts_with(b"{\"output\":")
}

/// Returns a trace line without the field that begins with `start` and ends with `end`.
fn without(line: &[u8], start: &[u8], end: &[u8]) -> Vec<u8> {
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|window| window == part);
    let Some(from) = find(line, start) else { return line.to_vec() };
    let Some(len) = find(&line[from + start.len()..], end) else { return line.to_vec() };
    [&line[..from], &line[from + start.len() + len + end.len()..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_from_a_trace_line() {
        let line = br#"{"pc":1,"stack":["0x1","0x2"],"returnData":"0xff","gasCost":"0x3"}"#;
        assert_eq!(without(line, b",\"stack\":[", b"]"), br#"{"pc":1,"returnData":"0xff","gasCost":"0x3"}"#);
        let both = without(&without(line, b",\"stack\":[", b"]"), b",\"returnData\":\"", b"\"");
        assert_eq!(both, br#"{"pc":1,"gasCost":"0x3"}"#);
        assert_eq!(without(&both, b",\"stack\":[", b"]"), both);
    }

    #[test]
    fn one_transaction_is_cut_out_of_a_trace() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lines");
        let file = OutputFile::create(&path).expect("writable");
        let mut trace = Trace::new(Lines::OneTransaction { tx: 1, ended: 0, file });
        for line in ["{\"pc\":0}", "{\"output\":0}", "{\"pc\":1}", "{\"output\":1}", "{\"pc\":2}", "{\"output\":2}"] {
            trace.write_all(format!("{line}\n").as_bytes()).expect("written");
        }
        trace.into_file().expect("written").expect("a file").finish().expect("renamed");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "{\"pc\":1}\n{\"output\":1}\n");
    }
}
