//! Ctrl-C and SIGTERM: the running block is given up and says where it stood, what was done so far is summed up; a second
//! signal ends the process at once.
//!
//! All commands that execute blocks of files install it; elsewhere (lists alone, benches) both do what they do by default.

use super::{Status, output};
use balustrade::arena::cancel::CancelToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

static TOKEN: OnceLock<CancelToken> = OnceLock::new();
/// The exit status of the signal that came; 0 before one came.
static EXIT_CODE: AtomicU8 = AtomicU8::new(0);

/// The token that a signal cancels.
pub fn token() -> &'static CancelToken {
    TOKEN.get_or_init(CancelToken::new)
}

/// What a shell expects of a process that a signal ended: 128 and the signal's number. None where no signal came.
pub fn exit_code() -> Option<u8> {
    Some(EXIT_CODE.load(Ordering::Relaxed)).filter(|code| *code != 0)
}

/// Whether to go on with the next block or document: not after a signal, and not once standard output cannot be written.
pub fn flow() -> ControlFlow<()> {
    if token().is_cancelled() || output::is_lost() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Makes Ctrl-C and SIGTERM cancel [`token`].
///
/// # Errors
/// The status of the command, where the system refuses the handler or its thread; the reason is printed.
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
