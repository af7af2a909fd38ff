//! Reads documents in one thread and processes them in several; results come in the order of the
//! documents.
//!
//! In: paths, given or read from standard input line by line; each line is processed when it
//! arrives, so that a program may wait for one result before it sends the next path. Out: one
//! result per document, on the caller's thread.
//! Memory is bounded: at most as many documents are queued as there are workers, and all documents
//! together take at most the memory of one document of the largest permitted size.
//! Not here: how a document is processed.

use super::{interrupt, report};
use balustrade::formats::{DOCUMENT_MEMORY_MAX, Document, InputError, each_document, total_bytes};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

/// The source of the paths.
#[derive(Clone, Copy, Debug)]
pub enum Paths<'a> {
    /// From the command line.
    Given(&'a [PathBuf]),
    /// From standard input, one per line; blank lines are skipped, or end the list.
    Lines {
        /// Whether a blank line ends the list.
        until_blank: bool,
    },
}

impl Paths<'_> {
    /// Calls `visit` with each path until it returns `Break`.
    fn each(self, mut visit: impl FnMut(std::io::Result<PathBuf>) -> ControlFlow<()>) {
        let until_blank = match self {
            Self::Given(paths) => {
                let _ = paths.iter().try_for_each(|path| visit(Ok(path.clone())));
                return;
            }
            Self::Lines { until_blank } => until_blank,
        };
        let mut input = std::io::stdin().lock();
        loop {
            let flow = match path_line(&mut input) {
                Ok(None) => return,
                Ok(Some(line)) if !line.trim().is_empty() => visit(Ok(line.trim().into())),
                Ok(Some(_)) if until_blank => return,
                Ok(Some(_)) => ControlFlow::Continue(()),
                // Reading stops at the first error, for example text that is not UTF-8.
                Err(error) => {
                    let _ = visit(Err(error));
                    return;
                }
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// A progress bar over the total size of the inputs, or a hidden one where the size is not
    /// known.
    fn progress(&self) -> ProgressBar {
        match self {
            Self::Given(paths) => report::progress_bytes(total_bytes(paths)),
            Self::Lines { .. } => ProgressBar::hidden(),
        }
    }
}

/// Maximal length in bytes of a line that names a path; it exceeds the path limits of all supported
/// systems.
const PATH_LINE_MAX: u64 = 1 << 16;

/// Returns the next line, or `None` at the end of the input.
fn path_line(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    if Read::take(&mut *input, PATH_LINE_MAX).read_line(&mut line)? as u64 == PATH_LINE_MAX && !line.ends_with('\n') {
        return Err(std::io::Error::new(ErrorKind::InvalidData, format!("a line of more than {PATH_LINE_MAX} bytes")));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Memory budget for documents that are queued or processed: [`DOCUMENT_MEMORY_MAX`] bytes.
#[derive(Debug, Default)]
struct Budget {
    taken: Mutex<u64>,
    returned: Condvar,
}

/// A part of the budget, released when dropped.
#[derive(Debug)]
struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until `bytes` of the budget, at most [`DOCUMENT_MEMORY_MAX`], are free.
    fn take(&self, bytes: u64) -> Share<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut u64| *taken > 0 && taken.saturating_add(bytes) > DOCUMENT_MEMORY_MAX;
        *self.returned.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Share { budget: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_one();
    }
}

/// Reads the documents of `paths` and calls `work` on each in one of `workers` threads, each with
/// its own state from `start`. `collect` receives the results in the order of the documents,
/// including those of files that cannot be read. Ctrl-C ends the reading; work in progress is
/// cancelled by its own token.
///
/// # Errors
/// The system refuses a thread; then nothing was read.
pub fn each_in_parallel<W, R: Send>(
    paths: Paths<'_>,
    workers: usize,
    start: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, Document) -> R + Sync,
    mut collect: impl FnMut(Result<R, InputError>),
) -> std::io::Result<()> {
    let bar = paths.progress();
    let budget = &Budget::default();
    let (documents, queue) = sync_channel::<(usize, Document, Share<'_>)>(workers);
    let queue = Mutex::new(queue);
    let (results, finished) = channel::<(usize, Result<R, InputError>)>();
    let started = std::thread::scope(|scope| {
        // If a thread is refused, `documents` is dropped on return: the workers find the queue
        // closed and end.
        for _ in 0..workers {
            let results = results.clone();
            let (queue, start, work) = (&queue, &start, &work);
            let worker = move || {
                let mut state = start();
                loop {
                    // A poisoned lock is harmless: the worker panicked while it received, and the
                    // queue is unchanged.
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, document, _share)) = next else { break };
                    // After Ctrl-C the queue is drained without work, since the reader may be
                    // blocked on the budget.
                    if interrupt::flow().is_break() {
                        continue;
                    }
                    if results.send((number, Ok(work(&mut state, document)))).is_err() {
                        break;
                    }
                }
            };
            std::thread::Builder::new().name("worker".to_owned()).spawn_scoped(scope, worker)?;
        }
        let bar_of_reader = bar.clone();
        let reader = move || {
            let mut number = 0;
            let mut next = || {
                number += 1;
                number - 1
            };
            paths.each(|path| {
                let read =
                    path.map_err(|error| InputError::Io { path: "standard input".into(), error }).and_then(|path| {
                        each_document(&path, &mut report::reading(Some(&bar_of_reader)), &mut |document| {
                            let share = budget.take(document.memory_max());
                            match documents.send((next(), document, share)) {
                                Ok(()) => interrupt::flow(),
                                Err(_) => ControlFlow::Break(()),
                            }
                        })
                    });
                match read {
                    Ok(flow) => flow,
                    Err(error) => match results.send((next(), Err(error))) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    },
                }
            });
        };
        std::thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, reader)?;
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (number, result) in finished {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                bar.suspend(|| collect(result));
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    started
}
