//! What lies in the inputs of a command, one content after the other.
//!
//! Not here: reading files (`input`), progress bars.

use super::input::{self, Content};
use super::interrupt;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Calls `visit` with the content of every document below `paths`, with its name, or with why a document or a path cannot
/// be read; until Ctrl-C.
pub fn each_content(paths: &[PathBuf], visit: &mut dyn FnMut(&str, Result<Content, input::InputError>)) {
    for path in paths {
        let read = input::each_document(path, &mut |_| (), &mut |document| {
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
