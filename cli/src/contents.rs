//! Visits the contents of a command's inputs one after another.
//!
//! In: paths. Out: bundles and tests, or the error of a document that cannot be read. Not here:
//! reading and parsing (`balustrade::formats`), progress bars.

use super::{Status, interrupt, report};
use balustrade::formats::{self, Content};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The status of a command whose inputs hold no block. Prints an error, unless one was printed
/// before or a signal came.
pub fn no_block(status: Status) -> Status {
    if status == Status::Good && interrupt::flow().is_continue() {
        report::complain(&"there is no block in the input");
    }
    Status::Unusable.max(status)
}

/// Calls `visit` for every document in `paths` with its name and its content, or with the reason
/// why a document or path cannot be read. Stops after Ctrl-C.
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
