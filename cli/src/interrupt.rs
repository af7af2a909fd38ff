//! Ctrl-C: the running block is given up and says where it stood, what was done so far is summed up; a second one ends
//! the process at once.
//!
//! All commands that execute blocks of files install it; elsewhere (lists alone, benches) Ctrl-C does what it does by
//! default.

use balustrade::exec::cancel::CancelToken;
use std::ops::ControlFlow;
use std::sync::OnceLock;

/// What a shell expects of a process that ended on Ctrl-C.
pub const EXIT_CODE: u8 = 130;

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// The token that Ctrl-C cancels.
pub fn token() -> &'static CancelToken {
    TOKEN.get_or_init(CancelToken::new)
}

/// Whether to go on with the next block or document.
pub fn flow() -> ControlFlow<()> {
    if token().is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Makes Ctrl-C cancel [`token`].
pub fn install() {
    // Where a handler is refused, Ctrl-C ends the process as it does without one.
    let _ = ctrlc::set_handler(|| {
        if token().is_cancelled() {
            std::process::exit(i32::from(EXIT_CODE));
        }
        token().cancel();
    });
}
