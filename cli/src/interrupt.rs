//! Handles Ctrl-C (SIGINT) and SIGTERM. The first signal cancels the running block, which reports
//! its position; the command then prints the totals so far. A second signal ends the process at
//! once.
//!
//! In: signals. Out: a cancelled token and an exit status. All commands that execute blocks from
//! files, and benches of blocks, install the handler. Not here: commands that execute none (block access lists alone,
//! benches of parts): both signals end them at once.

use super::{Status, output};
use balustrade::arena::cancel::CancelToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

static TOKEN: OnceLock<CancelToken> = OnceLock::new();
/// Exit status of the first signal; 0 before one came.
static EXIT_CODE: AtomicU8 = AtomicU8::new(0);

/// The token that a signal cancels.
pub fn token() -> &'static CancelToken {
    TOKEN.get_or_init(CancelToken::new)
}

/// The exit status that shells expect of a process that a signal ended: 128 plus the signal's
/// number. `None` without a signal.
pub fn exit_code() -> Option<u8> {
    Some(EXIT_CODE.load(Ordering::Relaxed)).filter(|code| *code != 0)
}

/// Whether to continue with the next block or document: `Break` after a signal, or once standard
/// output cannot be written.
pub fn flow() -> ControlFlow<()> {
    if token().is_cancelled() || output::is_lost() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Makes Ctrl-C and SIGTERM cancel [`token`].
///
/// # Errors
/// The status of the command, if the system refuses the handler or its thread; the reason is
/// printed.
pub fn install() -> Result<(), Status> {
    let started = Signals::new([SIGINT, SIGTERM])
        .and_then(|signals| std::thread::Builder::new().name("signals".to_owned()).spawn(|| handle(signals)).map(drop));
    started.map_err(|error| {
        output::complain(&format_args!("cannot start the thread that waits for signals: {error}"));
        Status::Unusable
    })
}

fn handle(mut signals: Signals) {
    for signal in signals.forever() {
        let code = 128 + signal as u8;
        if EXIT_CODE.swap(code, Ordering::Relaxed) != 0 {
            std::process::exit(i32::from(code));
        }
        token().cancel();
    }
}
