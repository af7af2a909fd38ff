//! Dispatch loops: what runs the top frame of an [`Evm`].
//!
//! Contract. A loop takes up the running frame at `Frame::pc` with its stack, memory and gas as stored, and runs it
//! until it ends or enters an inner frame ([`Exit`]). Before it leaves with [`Exit::Enter`] it has stored pc (after the
//! instruction), stack height and gas; when it is run again the inner frame's result has been pushed.
//! Everything that touches state or costs more than a constant is a method of `Evm` (`host`, `call`), shared by all loops.

mod levm_loop;
mod match_loop;
pub mod observe;
pub mod opcode;
pub mod ops;
pub mod profile;
#[cfg(all(tail_calls, not(debug_assertions)))]
#[allow(unsafe_code)]
mod tail;
pub mod trace;

use super::evm::{Evm, Exit, FrameEnd, Status};
use super::halt::Halt;
use super::reference;
use super::watch::Watch;
use observe::{Observer, Unobserved};
use profile::OpcodeProfile;
use trace::Eip3155;

/// Which dispatch loop runs frames. All of them share host and state; ours share instruction bodies, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopKind {
    /// Handlers that jump to one another, over bytes or decoded code; the match loop where the compiler gives no jumps.
    #[default]
    Tail,
    /// The plain `match` loop.
    Match,
    /// LEVM's shape: a table of functions, all state in the frame.
    Levm,
    /// `revm-interpreter`'s instructions, see [`super::reference`].
    Reference,
}

impl LoopKind {
    /// All loops.
    pub const ALL: [Self; 4] = [Self::Tail, Self::Match, Self::Levm, Self::Reference];

    /// The name that `--loop` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tail => "tail",
            Self::Match => "match",
            Self::Levm => "levm",
            Self::Reference => "reference",
        }
    }

    /// The loop of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The loop on which a [`Watch`] observes frames, whatever loop was chosen.
const WATCHED_LOOP: LoopKind = LoopKind::Match;

/// How a worker runs frames: on which loop, observed by what. At most one observer is active: the trace, else the profile,
/// else the watch.
#[derive(Debug, Default)]
pub struct Runner {
    /// The loop.
    pub kind: LoopKind,
    /// EIP-3155 lines of the running transaction; `None` where it is not traced.
    pub trace: Option<Box<Eip3155<Vec<u8>>>>,
    /// Counts and times instructions; `None` where the block is not profiled.
    pub profile: Option<Box<OpcodeProfile>>,
    /// Access watcher for diagnosis; `None` in normal runs.
    pub watch: Option<Box<Watch>>,
}

impl From<LoopKind> for Runner {
    fn from(kind: LoopKind) -> Self {
        Self { kind, ..Self::default() }
    }
}

impl Runner {
    /// Runs the top frame, which has not run yet, and all frames that it enters; returns how the top frame ended.
    ///
    /// # Panics
    /// Outside a frame, and on one that was left by a panic.
    pub fn run(&mut self, evm: &mut Evm<'_>) -> FrameEnd {
        match self {
            Self { trace: Some(trace), kind, .. } => run_frames_observed(*kind, evm, &mut **trace),
            Self { profile: Some(profile), kind, .. } => run_frames_profiled(*kind, evm, profile),
            Self { watch: Some(watch), .. } => run_frames_observed(WATCHED_LOOP, evm, &mut **watch),
            Self { kind, .. } => run_frames(*kind, evm),
        }
    }

    /// The lines of the transaction that was traced last.
    pub fn take_trace(&mut self) -> Option<Vec<u8>> {
        self.trace.take().map(|trace| trace.into_inner())
    }
}

/// Runs the top frame, which has not run yet, and all frames that it enters, unobserved; returns how the top frame ended.
///
/// # Panics
/// Outside a frame, and on one that was left by a panic.
pub fn run_frames(kind: LoopKind, evm: &mut Evm<'_>) -> FrameEnd {
    match kind {
        #[cfg(all(tail_calls, not(debug_assertions)))]
        LoopKind::Tail => drive(evm, tail::run),
        #[cfg(not(all(tail_calls, not(debug_assertions))))]
        LoopKind::Tail => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        LoopKind::Match => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        LoopKind::Levm => drive(evm, levm_loop::run),
        LoopKind::Reference => reference::run_frames(evm),
    }
}

/// [`run_frames`], watched.
///
/// # Panics
/// As [`run_frames`].
pub fn run_frames_observed<O: Observer>(kind: LoopKind, evm: &mut Evm<'_>, observer: &mut O) -> FrameEnd {
    match kind {
        // The plain loop is what observers watch in place of those that only differ in dispatch.
        LoopKind::Tail | LoopKind::Match | LoopKind::Levm => drive_observed(evm, observer, match_loop::run),
        LoopKind::Reference => reference::run_frames_observed(evm, observer),
    }
}

/// What a profile of `kind` watches: decoded code cannot be, and loops that only differ in dispatch are not.
pub const fn profiled_name(kind: LoopKind) -> &'static str {
    match kind {
        LoopKind::Tail if cfg!(all(tail_calls, not(debug_assertions))) => "tail, code as bytes",
        LoopKind::Reference => LoopKind::Reference.name(),
        _ => LoopKind::Match.name(),
    }
}

/// [`run_frames`], profiled; a profile that is not timed runs what would be watched, alone.
fn run_frames_profiled(kind: LoopKind, evm: &mut Evm<'_>, profile: &mut OpcodeProfile) -> FrameEnd {
    match (kind, profile.is_timed()) {
        #[cfg(all(tail_calls, not(debug_assertions)))]
        (LoopKind::Tail, true) => drive_observed(evm, profile, tail::run_profiled),
        #[cfg(all(tail_calls, not(debug_assertions)))]
        (LoopKind::Tail, false) => drive(evm, tail::run_bytes),
        (LoopKind::Reference, false) => reference::run_frames(evm),
        (_, false) => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        (_, true) => run_frames_observed(kind, evm, profile),
    }
}

/// Runs the top frame and all frames that it enters, with `run` as the loop; returns how the top frame ended.
fn drive<'b>(evm: &mut Evm<'b>, run: fn(&mut Evm<'b>) -> Exit) -> FrameEnd {
    drive_observed(evm, &mut Unobserved, |evm, _| run(evm))
}

/// [`drive`] with an observer, which learns of frames here and of instructions in the loop.
fn drive_observed<'b, O: Observer>(
    evm: &mut Evm<'b>,
    observer: &mut O,
    mut run: impl FnMut(&mut Evm<'b>, &mut O) -> Exit,
) -> FrameEnd {
    let floor = evm.frames.len();
    evm.assert_frame_is_new();
    observer.enter(evm);
    loop {
        evm.arm_poll(evm.frames[evm.frames.len() - 1].gas.left);
        let exit = run(evm, observer);
        if exit == Exit::Enter {
            observer.enter(evm);
            continue;
        }
        let mut end = evm.finish_frame(exit);
        observer.leave(evm, &end);
        while end.status == Status::Halt(Halt::Fault) && evm.frames.len() >= floor {
            // No contract can catch a fault: it ends every frame.
            end = evm.finish_frame(Exit::Halt(Halt::Fault));
            observer.leave(evm, &end);
        }
        if evm.frames.len() < floor {
            return end;
        }
        let index = evm.frames.len() - 1;
        let (mut left, mut spilled) = (evm.frames[index].gas.left, evm.frames[index].gas.spilled);
        evm.settle_child(&end, &mut left, &mut spilled);
        let frame = &mut evm.frames[index];
        (frame.gas.left, frame.gas.spilled) = (left, spilled);
        evm.stack[frame.stack_base + frame.stack_len] = end.word();
        frame.stack_len += 1;
    }
}
