//! Ctrl-C: the running block is given up and says where it stood; a second one ends the process at once.
//!
//! Only commands that show single blocks install it; elsewhere Ctrl-C does what it does by default.

use balustrade::exec::cancel::CancelToken;
use std::sync::OnceLock;

/// What a shell expects of a process that ended on Ctrl-C.
pub const EXIT_CODE: u8 = 130;

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// The token that Ctrl-C cancels.
pub fn token() -> &'static CancelToken {
    TOKEN.get_or_init(CancelToken::new)
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
