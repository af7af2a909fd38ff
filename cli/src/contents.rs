//! What lies in the inputs of a command, one content after the other.
//!
//! Not here: reading files (`input`), progress bars.

use super::{Status, interrupt, report};
use balustrade::formats::{self, Content};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The status of a command that found no block to work on. Says so, unless something else was reported before.
pub fn no_block(status: Status) -> Status {
    if status == Status::Good && interrupt::flow().is_continue() {
        report::complain(&"there is no block in the input");
    }
    Status::Unusable.max(status)
}

/// Calls `visit` with the content of every document below `paths`, with its name, or with why a document or a path cannot
/// be read; until Ctrl-C.
pub fn each_content(paths: &[PathBuf], visit: &mut dyn FnMut(&str, Result<Content, formats::InputError>)) {
    for path in paths {
        let read = formats::each_document(path, &mut report::reading(None), &mut |document| {
            visit(&document.name, Content::parse(&document, None));
            interrupt::flow()
        });
        match read {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(error) => visit(&path.display().to_string(), Err(error)),
        }
    }
}
