//! EIP-3155 lines of a transition, one file per included transaction.
//!
//! In: lines, while transactions run. Out: `trace-INDEX-HASH.jsonl` in a folder; the index counts the included
//! transactions.
//! Not here: the content of a line (the library).

use super::super::trace::{LeftOut, is_summary};
use alloy_primitives::keccak256;
use balustrade::arena::{Id, TxIndex};
use balustrade::exec::wire::Block;
use balustrade::executor::Transition;
use balustrade::{Executor, TraceSink};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::{NamedTempFile, TempPath};

/// The files of a transition.
#[derive(Debug)]
pub struct TraceFiles {
    folder: PathBuf,
    lines: Arc<Mutex<Lines>>,
}

/// Receives the lines: each call of `write` is one.
#[derive(Debug)]
struct Lines {
    folder: PathBuf,
    left_out: LeftOut,
    /// The file of the running transaction.
    current: Option<BufWriter<NamedTempFile>>,
    /// The complete files, in the order of the transactions.
    done: Vec<TempPath>,
    error: Option<io::Error>,
}

impl TraceFiles {
    /// Makes the executor write its lines to files in this folder, under temporary names until [`Self::finish`].
    pub fn start(executor: &mut Executor, folder: &Path, left_out: LeftOut) -> Self {
        let lines = Lines { folder: folder.to_owned(), left_out, current: None, done: Vec::new(), error: None };
        let lines = Arc::new(Mutex::new(lines));
        executor.trace_to(Some(TraceSink::new(Arc::clone(&lines))));
        Self { folder: folder.to_owned(), lines }
    }

    /// Gives the files their names.
    ///
    /// # Errors
    /// A line could not be written, or a file cannot be renamed.
    pub fn finish(self, transition: &Transition) -> io::Result<()> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = lines.error.take() {
            return Err(error);
        }
        let block = Block::decode(transition.block.clone()).map_err(io::Error::other)?;
        for (tx, file) in lines.done.drain(..).enumerate() {
            let hash = keccak256(block.transactions.encoded(TxIndex::new(tx)));
            file.persist(self.folder.join(format!("trace-{tx}-{hash}.jsonl"))).map_err(|error| error.error)?;
        }
        Ok(())
    }
}

impl Lines {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.current {
            Some(file) => file,
            None => {
                let file = tempfile::Builder::new().prefix(".trace-").suffix(".partial").tempfile_in(&self.folder)?;
                self.current.insert(BufWriter::new(file))
            }
        };
        file.write_all(&self.left_out.of(line))?;
        if is_summary(line)
            && let Some(file) = self.current.take()
        {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            self.done.push(file.into_temp_path());
        }
        Ok(())
    }
}

impl Write for Lines {
    /// The first error is kept and ends the trace.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.error.is_none()
            && let Err(error) = self.put(line)
        {
            self.error = Some(error);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
