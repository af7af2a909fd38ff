//! Dispatch loops: they run the top frame of an [`Evm`].
//!
//! In: a machine whose top frame has not begun. Out: how that frame ended ([`FrameEnd`]).
//! Contract of a loop: it continues the running frame at `Frame::pc` with the stored stack, memory and gas,
//! until the frame ends or enters an inner frame ([`Exit`]). Before it returns [`Exit::Enter`] it stores pc
//! (after the instruction), stack height and gas. When it is called for that frame again, the inner frame's
//! result has been pushed.
//! Relies on: `evm::host` and `evm::call`. All instructions that access state or whose gas is not constant are
//! methods of `Evm` there, shared by all loops. Not here: the machine itself (`evm`), transactions (`tx`).

pub mod calls;
#[cfg(feature = "reference-loop")]
mod levm_loop;
mod match_loop;
pub mod observe;
pub mod opcode;
pub mod ops;
pub mod profile;
#[cfg(feature = "reference-loop")]
pub mod reference;
#[cfg(all(tail_calls, not(debug_assertions)))]
#[allow(unsafe_code)]
mod tail;
pub mod trace;
pub mod watch;

use super::evm::halt::Halt;
use super::evm::machine::{Evm, Exit, FrameEnd, Status};
use calls::CallTree;
use observe::{Observer, Unobserved};
use profile::OpcodeProfile;
use trace::{Eip3155, TraceSink};
use watch::Watch;

/// The dispatch loop that runs frames. All loops share host and state; all but the reference loop share
/// instruction bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoopKind {
    /// Handlers that tail-call one another, over bytes or decoded code. Without compiler support for that: the
    /// match loop.
    #[default]
    Tail,
    /// The plain `match` loop.
    Match,
    /// LEVM's shape: a table of functions, with all state in the frame. Only with the feature `reference-loop`: it
    /// serves comparison alone. It is in the library because a loop needs the private state of the machine.
    #[cfg(feature = "reference-loop")]
    Levm,
    /// `revm-interpreter`'s instructions, see [`super::interpreter::reference`]. Only with the feature
    /// `reference-loop`.
    #[cfg(feature = "reference-loop")]
    Reference,
}

impl LoopKind {
    /// All loops.
    pub const ALL: [Self; 2 + 2 * cfg!(feature = "reference-loop") as usize] = [
        Self::Tail,
        Self::Match,
        #[cfg(feature = "reference-loop")]
        Self::Levm,
        #[cfg(feature = "reference-loop")]
        Self::Reference,
    ];

    /// The name that `--loop` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tail => "tail",
            Self::Match => "match",
            #[cfg(feature = "reference-loop")]
            Self::Levm => "levm",
            #[cfg(feature = "reference-loop")]
            Self::Reference => "reference",
        }
    }

    /// The loop of this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The loop that a [`Watch`] or a [`CallTree`] observes, whichever loop was chosen.
const WATCHED_LOOP: LoopKind = LoopKind::Match;

/// How a worker runs frames: the loop, and at most one observer. If several are given, the trace comes before
/// the profile, the profile before the call tree, and that before the watch.
#[derive(Debug, Default)]
pub struct Runner {
    /// The loop.
    pub kind: LoopKind,
    /// EIP-3155 trace of the running transaction; `None` unless it is traced.
    pub trace: Option<Box<Eip3155<TraceSink>>>,
    /// Counts and times instructions; `None` unless the block is profiled.
    pub profile: Option<Box<OpcodeProfile>>,
    /// Keeps the calls of the running transaction; `None` in normal runs.
    pub calls: Option<Box<CallTree>>,
    /// Access watcher for diagnosis; `None` in normal runs.
    pub watch: Option<Box<Watch>>,
}

impl From<LoopKind> for Runner {
    fn from(kind: LoopKind) -> Self {
        Self { kind, ..Self::default() }
    }
}

impl Runner {
    /// Runs the top frame, which must not have begun, and all frames that it enters; returns how the top frame ended.
    ///
    /// # Panics
    /// Outside a frame, and on a frame whose run was interrupted by a panic.
    pub fn run(&mut self, evm: &mut Evm<'_>) -> FrameEnd {
        match self {
            Self { trace: Some(trace), kind, .. } => run_frames_observed(*kind, evm, &mut **trace),
            Self { profile: Some(profile), kind, .. } => run_frames_profiled(*kind, evm, profile),
            Self { calls: Some(calls), .. } => run_frames_observed(WATCHED_LOOP, evm, &mut **calls),
            Self { watch: Some(watch), .. } => run_frames_observed(WATCHED_LOOP, evm, &mut **watch),
            Self { kind, .. } => run_frames(*kind, evm),
        }
    }
}

/// Runs the top frame, which must not have begun, and all frames that it enters, without an observer; returns
/// how the top frame ended.
///
/// # Panics
/// Outside a frame, and on a frame whose run was interrupted by a panic.
pub fn run_frames(kind: LoopKind, evm: &mut Evm<'_>) -> FrameEnd {
    match kind {
        #[cfg(all(tail_calls, not(debug_assertions)))]
        LoopKind::Tail => drive(evm, tail::run),
        #[cfg(not(all(tail_calls, not(debug_assertions))))]
        LoopKind::Tail => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        LoopKind::Match => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        #[cfg(feature = "reference-loop")]
        LoopKind::Levm => drive(evm, levm_loop::run),
        #[cfg(feature = "reference-loop")]
        LoopKind::Reference => reference::run_frames(evm),
    }
}

/// [`run_frames`] with an observer.
///
/// # Panics
/// As [`run_frames`].
pub fn run_frames_observed<O: Observer>(kind: LoopKind, evm: &mut Evm<'_>, observer: &mut O) -> FrameEnd {
    match kind {
        // Loops of ours differ in dispatch only: the match loop runs under observers in place of all of them.
        #[cfg(feature = "reference-loop")]
        LoopKind::Reference => reference::run_frames_observed(evm, observer),
        _ => drive_observed(evm, observer, match_loop::run),
    }
}

/// The name of the loop that a profile of `kind` measures. Decoded code cannot be profiled, so the tail-call loop is
/// profiled on bytes; loops that differ from the match loop in dispatch only are replaced by it.
pub const fn profiled_name(kind: LoopKind) -> &'static str {
    match kind {
        LoopKind::Tail if cfg!(all(tail_calls, not(debug_assertions))) => "tail, code as bytes",
        #[cfg(feature = "reference-loop")]
        LoopKind::Reference => LoopKind::Reference.name(),
        _ => LoopKind::Match.name(),
    }
}

/// [`run_frames`] with a profile. An untimed profile runs the same loop without an observer.
fn run_frames_profiled(kind: LoopKind, evm: &mut Evm<'_>, profile: &mut OpcodeProfile) -> FrameEnd {
    match (kind, profile.is_timed()) {
        #[cfg(all(tail_calls, not(debug_assertions)))]
        (LoopKind::Tail, true) => drive_observed(evm, profile, tail::run_profiled),
        #[cfg(all(tail_calls, not(debug_assertions)))]
        (LoopKind::Tail, false) => drive(evm, tail::run_bytes),
        #[cfg(feature = "reference-loop")]
        (LoopKind::Reference, false) => reference::run_frames(evm),
        (_, false) => drive(evm, |evm| match_loop::run(evm, &mut Unobserved)),
        (_, true) => run_frames_observed(kind, evm, profile),
    }
}

/// Runs the top frame and all frames that it enters, with `run` as the loop; returns how the top frame ended.
fn drive<'b>(evm: &mut Evm<'b>, run: fn(&mut Evm<'b>) -> Exit) -> FrameEnd {
    drive_observed(evm, &mut Unobserved, |evm, _| run(evm))
}

/// [`drive`] with an observer: frame events are reported here, instruction events by the loop.
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
            // A fault is not catchable by a contract: it ends every frame.
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
