//! Documents read by one thread and worked on by several; results in the order of the documents.
//!
//! In: paths, or their names on standard input, each one taken when it comes: whoever feeds them one by one gets a result
//! before it sends the next. Out: one result per document, on the caller's thread. Memory is bounded: as many documents
//! wait as there are workers, and together they take no more memory than the largest document may. Not here: what the work is.

use super::{interrupt, report};
use balustrade::formats::{DOCUMENT_MEMORY_MAX, Document, InputError, each_document, total_bytes};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

/// Where the paths come from.
#[derive(Clone, Copy, Debug)]
pub enum Paths<'a> {
    /// From the command line.
    Given(&'a [PathBuf]),
    /// From standard input, one per line; blank lines are passed over, or end the list.
    Lines {
        /// Whether a blank line is the end.
        until_blank: bool,
    },
}

impl Paths<'_> {
    /// Calls `visit` with each path until it breaks.
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
                // What is no text now will be none later.
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

    /// A bar over all that is to be read, where that is known.
    fn progress(&self) -> ProgressBar {
        match self {
            Self::Given(paths) => report::progress_bytes(total_bytes(paths)),
            Self::Lines { .. } => ProgressBar::hidden(),
        }
    }
}

/// Most bytes of a line that names a path; longer ones are no path on any system.
const PATH_LINE_MAX: u64 = 1 << 16;

/// The next line, or nothing at the end.
fn path_line(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    if Read::take(&mut *input, PATH_LINE_MAX).read_line(&mut line)? as u64 == PATH_LINE_MAX && !line.ends_with('\n') {
        return Err(std::io::Error::new(ErrorKind::InvalidData, format!("a line of more than {PATH_LINE_MAX} bytes")));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Memory for the documents that wait or are worked on: that of one document of the largest size.
#[derive(Debug, Default)]
struct Budget {
    taken: Mutex<u64>,
    returned: Condvar,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until there is room for `bytes`, at most [`DOCUMENT_MEMORY_MAX`].
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

/// Reads the documents of `paths` and calls `work` on each, in `workers` threads with a state of their own from
/// `start`; `collect` gets the results in order. Files that cannot be read are results too. Ctrl-C ends the reading;
/// what is at work then ends soon by itself.
///
/// # Errors
/// The system refuses a thread; nothing was read then.
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
        // Where a thread is refused, `documents` is dropped on the way out: the workers find the queue closed and end.
        for _ in 0..workers {
            let results = results.clone();
            let (queue, start, work) = (&queue, &start, &work);
            let worker = move || {
                let mut state = start();
                loop {
                    // A worker that died while it waited leaves nothing half done behind.
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, document, _share)) = next else { break };
                    // The reader may still wait for room: the queue is emptied, and nothing of it done.
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
