//! Documents read by one thread and worked on by several; results in the order of the documents.
//!
//! In: paths. Out: one result per document, on the caller's thread. Memory is bounded: as many documents wait as there
//! are workers. Not here: what the work is.

use super::input::{Document, InputError, each_document, total_bytes};
use super::{interrupt, report};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Reads the documents of `paths` and calls `work` on each, in `workers` threads with a state of their own from
/// `start`; `collect` gets the results in order. Files that cannot be read are results too. Ctrl-C ends the reading;
/// what is at work then ends soon by itself.
pub fn each_in_parallel<W, R: Send>(
    paths: &[PathBuf],
    workers: usize,
    start: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, Document) -> R + Sync,
    mut collect: impl FnMut(Result<R, InputError>),
) {
    let bar = report::progress_bytes(total_bytes(paths));
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
            for path in paths {
                let read = each_document(path, &mut |bytes| bar_of_reader.inc(bytes), &mut |document| {
                    number += 1;
                    match documents.send((number - 1, document)) {
                        Ok(()) => interrupt::flow(),
                        Err(_) => ControlFlow::Break(()),
                    }
                });
                match read {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return,
                    Err(error) => {
                        number += 1;
                        if results.send((number - 1, Err(error))).is_err() {
                            return;
                        }
                    }
                }
            }
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

/// `paths`, or where there are none the file names on standard input, one per line.
///
/// # Errors
/// Standard input cannot be read as text.
pub fn paths_or_stdin(paths: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    if !paths.is_empty() {
        return Ok(paths.to_vec());
    }
    let mut names = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            names.push(line.trim().into());
        }
    }
    Ok(names)
}
