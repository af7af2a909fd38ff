//! Documents read by one thread and worked on by several; results in the order of the documents.
//!
//! In: paths, or their names on standard input, each one taken when it comes: whoever feeds them one by one gets a result
//! before it sends the next. Out: one result per document, on the caller's thread. Memory is bounded: as many documents
//! wait as there are workers. Not here: what the work is.

use super::input::{Document, InputError, each_document, total_bytes};
use super::{interrupt, report};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};

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
        for line in std::io::stdin().lock().lines() {
            let flow = match line {
                Ok(line) if !line.trim().is_empty() => visit(Ok(line.trim().into())),
                Ok(_) if until_blank => return,
                Ok(_) => ControlFlow::Continue(()),
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

/// Reads the documents of `paths` and calls `work` on each, in `workers` threads with a state of their own from
/// `start`; `collect` gets the results in order. Files that cannot be read are results too. Ctrl-C ends the reading;
/// what is at work then ends soon by itself.
pub fn each_in_parallel<W, R: Send>(
    paths: Paths<'_>,
    workers: usize,
    start: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, Document) -> R + Sync,
    mut collect: impl FnMut(Result<R, InputError>),
) {
    let bar = paths.progress();
    let (documents, queue) = sync_channel::<(usize, Document)>(workers);
    let queue = Mutex::new(queue);
    let (results, finished) = channel::<(usize, Result<R, InputError>)>();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let results = results.clone();
            let (queue, start, work) = (&queue, &start, &work);
            scope.spawn(move || {
                let mut state = start();
                loop {
                    // A worker that died while it waited leaves nothing half done behind.
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, document)) = next else { break };
                    // The reader may still wait for room: the queue is emptied, and nothing of it done.
                    if interrupt::flow().is_break() {
                        continue;
                    }
                    if results.send((number, Ok(work(&mut state, document)))).is_err() {
                        break;
                    }
                }
            });
        }
        let bar_of_reader = bar.clone();
        scope.spawn(move || {
            let mut number = 0;
            let mut next = || {
                number += 1;
                number - 1
            };
            paths.each(|path| {
                let read =
                    path.map_err(|error| InputError::Io { path: "standard input".into(), error }).and_then(|path| {
                        each_document(&path, &mut |bytes| bar_of_reader.inc(bytes), &mut |document| match documents
                            .send((next(), document))
                        {
                            Ok(()) => interrupt::flow(),
                            Err(_) => ControlFlow::Break(()),
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
        });
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (number, result) in finished {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                bar.suspend(|| collect(result));
            }
        }
    });
    bar.finish_and_clear();
}
