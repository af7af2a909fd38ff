//! Samples stacks while a block is executed repeatedly, and sorts them into stages and parts.
//!
//! In: a closure that executes the block once. Out: [`Samples`]: folded stacks by stage, samples
//! per stage and part. The innermost function of a stack that [`PLACES`] lists decides on stage and
//! part, so that it does not matter which thread ran a piece of work, or whether a waiting thread
//! took over other work. Samples outside of the executor (between two repeats) are dropped.
//! pprof keeps one address per function and stack, so that all code inlined into a hot function
//! would be attributed to that of the first sample. Many short sessions, each with its own first
//! sample, even this out.
//! Not here: drawing (`flame`), times of single instructions (`code`).

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::time::{Duration, Instant};

/// Requested samples per second of processor time; kernels may limit it to their timer frequency,
/// often 250.
const FREQUENCY: i32 = 997;
/// Length of one session.
const SESSION: Duration = Duration::from_millis(250);

/// The sampled stacks of one block.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Folded stacks, beginning with the stage, with their numbers of samples.
    pub stacks: BTreeMap<String, u64>,
    /// Samples by part, and by whether Keccak ran.
    pub parts: BTreeMap<(Part, bool), u64>,
    /// Samples by part, for each session.
    pub sessions: Vec<BTreeMap<Part, u64>>,
    /// Number of samples inside of the executor.
    pub inside: u64,
    /// Number of all samples.
    pub all: u64,
    /// Number of executions of the block.
    pub repeats: u64,
    /// Processor time of the process during the sampling, if the system reports it.
    pub cpu_ns: Option<u64>,
}

impl Samples {
    /// Standard deviation of a part's number of samples, estimated from the differences between the
    /// sessions; at least the square root of the number, the standard deviation of a count.
    pub fn deviation(&self, part: Part) -> f64 {
        let counts = self.sessions.iter().map(|session| session.get(&part).copied().unwrap_or_default() as f64);
        let (count, sum) = (self.sessions.len() as f64, counts.clone().sum::<f64>());
        let squares: f64 = counts.map(|samples| (samples - sum / count).powi(2)).sum();
        let variance = if count > 1.0 { count * squares / (count - 1.0) } else { 0.0 };
        variance.max(sum).sqrt()
    }

    /// Nanoseconds of processor time per execution that one sample represents.
    pub fn sample_ns(&self) -> f64 {
        let cpu_ns = match self.cpu_ns {
            Some(ns) => ns as f64,
            None => self.all as f64 * 1e9 / f64::from(FREQUENCY),
        };
        cpu_ns / self.all.max(1) as f64 / self.repeats.max(1) as f64
    }
}

/// The purpose of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Instructions and frames.
    Interpreter,
    /// Accounts and slots: parent state, ids, values before an index, journal.
    State,
    /// Keccak-256 of executed code and of the block access list.
    Hashing,
    /// Precompiles.
    Precompile,
    /// Validity, fees and settlement of transactions; system calls.
    Transaction,
    /// Comparison of the accesses with the block access list, receipts, commitments.
    Verify,
    /// Recovery of senders and authorities.
    Senders,
    /// State tries.
    Root,
    /// Decoding of bytes to columns.
    Decode,
    /// Distribution of tasks, and waiting for them.
    Schedule,
    /// None of these.
    Other,
}

impl Part {
    /// All parts in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::Interpreter,
        Self::State,
        Self::Hashing,
        Self::Precompile,
        Self::Transaction,
        Self::Verify,
        Self::Senders,
        Self::Root,
        Self::Decode,
        Self::Schedule,
        Self::Other,
    ];

    /// The part's name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::State => "state lookup",
            Self::Hashing => "hashing",
            Self::Precompile => "precompile",
            Self::Transaction => "transaction",
            Self::Verify => "verify",
            Self::Senders => "senders",
            Self::Root => "root",
            Self::Decode => "decode",
            Self::Schedule => "schedule",
            Self::Other => "other",
        }
    }
}

/// Assigns functions to stages and parts: prefix of `folder/file::function` relative to `src` (with
/// `cli/` in front for the command), stage, part. The innermost listed function of a stack decides,
/// and of several matching prefixes the first one. An empty stage stands for the stage of the
/// calling function.
const PLACES: &[(&str, &str, Part)] = &[
    ("cli/", OUTSIDE, Part::Other),
    ("trie/savepoint::rollback", OUTSIDE, Part::Other),
    ("trie/savepoint::commit", OUTSIDE, Part::Other),
    ("exec/evm/precompile", "execute", Part::Precompile),
    ("executor/recover::", "recover", Part::Senders),
    ("exec/senders", "recover", Part::Senders),
    ("executor/check::check_body_roots", "body_roots", Part::Verify),
    ("executor/check::compare_body_roots", "body_roots", Part::Verify),
    ("executor/check::", "decode", Part::Decode),
    ("exec/rules/header::", "decode", Part::Decode),
    ("executor/from_bal/parent_state::", "read", Part::State),
    ("exec/block/code_loader::load_expected", "read", Part::State),
    ("exec/block/code_loader::note", "read", Part::State),
    ("exec/block/code_loader", "", Part::State),
    ("executor/from_bal/list::", "decode", Part::Decode),
    ("executor/from_bal/feasible::", "decode", Part::Decode),
    ("executor/from_bal/root_task::", "root", Part::Root),
    ("executor/outcome::", "verify", Part::Verify),
    ("executor/sequential::check_", "verify", Part::Verify),
    ("executor/root::", "root", Part::Root),
    ("executor/by_index::", "root", Part::Root),
    ("exec/block/tasks/from_bal::merge", "verify", Part::Verify),
    ("exec/block/tasks/recording::", "execute", Part::Verify),
    ("exec/block/verify::", "execute", Part::Verify),
    ("exec/evm/state", "execute", Part::State),
    ("exec/block/providers::", "execute", Part::State),
    ("exec/evm/host::", "execute", Part::State),
    ("exec/block/optimistic/schedule::", "execute", Part::Schedule),
    ("exec/block/optimistic/effects::", "execute", Part::Verify),
    ("exec/block/optimistic", "execute", Part::State),
    ("exec/block/schedule::", "execute", Part::Schedule),
    ("exec/evm/lookup_cache::", "execute", Part::Hashing),
    ("exec/interpreter", "execute", Part::Interpreter),
    ("exec/evm/ids::", "", Part::State),
    ("exec/evm", "execute", Part::Interpreter),
    ("exec/tx", "execute", Part::Transaction),
    ("exec/block/system::", "execute", Part::Transaction),
    ("exec/block", "execute", Part::Transaction),
    ("exec/wire/receipt::", "verify", Part::Verify),
    ("exec/wire/bloom::", "verify", Part::Verify),
    ("exec/wire/transaction::signing", "recover", Part::Senders),
    ("exec/wire/transaction::hash", "recover", Part::Senders),
    ("exec/wire", "decode", Part::Decode),
    ("trie/ordered::", "", Part::Verify),
    ("trie", "root", Part::Root),
    ("bal::bal_hash", "list_hash", Part::Hashing),
    ("bal/reduce::code_hashes", "decode", Part::Hashing),
    ("bal/reduce::", "root", Part::Root),
    ("bal/record::", "execute", Part::Verify),
    ("bal/encode::", "execute", Part::Verify),
    ("bal/access::", "execute", Part::Verify),
    ("bal/columns::rows_per_index", "decode", Part::Decode),
    ("bal/columns::", "", Part::State),
    ("bal", "decode", Part::Decode),
    ("arena/store", "", Part::State),
    ("executor", "schedule", Part::Schedule),
];

/// A function that senders and a precompile share: its caller decides.
const SHARED: &str = "exec/senders/libsecp::ecrecover_point";

/// Functions that only call the next one and are left out of flamegraphs; some appear on one thread
/// only.
const PASSED_THROUGH: [&str; 5] = [
    "from_bal::run_with_list",
    "interpreter::drive",
    "interpreter::drive_observed",
    "tx::execute_tx_inner",
    "context::run_task",
];

/// The stage of functions that are not part of an execution.
const OUTSIDE: &str = "outside";

/// A function on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// `folder/file::function` relative to the library's `src`, or `cli/` and the same for the
    /// command; otherwise the crate's name; empty if it is unknown.
    place: String,
    /// Name of the function without its path.
    name: String,
    ours: bool,
}

impl Frame {
    /// Creates a frame from a symbol's demangled name and source file. The name of an inlined
    /// function has no path.
    fn new(name: &str, file: Option<&str>) -> Self {
        let function = shorten(name);
        let parts: Vec<&str> = file.unwrap_or_default().split('/').collect();
        let at = |piece: &str| parts.iter().position(|part| *part == piece);
        // Registry paths have the form registry/src/INDEX/CRATE-VERSION/...
        let registry = at("registry").and_then(|at| parts.get(at + 3)).copied();
        let krate = registry.map(|name| name.rsplit_once('-').map_or(name, |(name, _)| name));
        let is_std = file.is_some_and(|file| file.starts_with("/rustc/") || parts.contains(&"library"))
            || ["core::", "std::", "alloc::", "<core::"].iter().any(|path| name.starts_with(path));
        let ours = match (krate, file) {
            (Some(krate), _) => krate == "balustrade",
            (None, Some(_)) => !is_std && at("src").is_some_and(|src| !parts[..src].join("/").contains("jemalloc")),
            (None, None) => name.starts_with("balustrade::") || name.starts_with("balustrade_cli::"),
        };
        let module = match (ours, parts.iter().rposition(|part| *part == "src")) {
            // The command's sources are in `cli/src`, the library's in `src`.
            (true, Some(src)) if src > 0 && parts[src - 1] == "cli" => format!("cli/{}", parts[src + 1..].join("/")),
            (true, Some(src)) => parts[src + 1..].join("/"),
            (true, None) => {
                let module = name.split("::").skip(1).collect::<Vec<_>>().join("/");
                if name.starts_with("balustrade_cli::") { format!("cli/{module}") } else { module }
            }
            (false, _) if is_std => "std".to_owned(),
            (false, _) if parts.iter().any(|part| part.contains("jemalloc")) => "jemalloc".to_owned(),
            (false, _) => krate.unwrap_or_default().to_owned(),
        };
        let module = module.trim_end_matches(".rs").trim_end_matches("/mod");
        let place = if ours { format!("{module}::{function}") } else { module.to_owned() };
        Self { place, name: function, ours }
    }

    fn is_keccak(&self) -> bool {
        let has = |text: &str| text.contains("keccak") || text.contains("Keccak");
        has(&self.name) || has(&self.place)
    }

    /// The name in a flamegraph; `None` for functions that carry no information, such as closures
    /// and runtime layers.
    fn label(&self) -> Option<String> {
        let name = self.name.as_str();
        if name.is_empty() || name.starts_with(['{', '<']) && !self.ours {
            return None;
        }
        if self.ours {
            let module = self.place.rsplit("::").nth(1).unwrap_or_default();
            let file = module.rsplit('/').next().unwrap_or_default();
            let is_closure = name.starts_with(['{', '<']) || file.is_empty();
            return (!is_closure).then(|| format!("{file}::{name}"));
        }
        match self.place.as_str() {
            // Layers of the runtime are left out; functions without a known source (assembly, libc)
            // are shown.
            "std" | "rayon-core" | "rayon" => None,
            "" => Some(name.to_owned()),
            krate => Some(krate.to_owned()),
        }
    }
}

/// Sorts a stack: the number of frames to show, its stage, its part, and whether Keccak ran.
/// `frames` begin with the innermost function. `None` if the stack is not part of an execution.
fn place(frames: &[Frame]) -> Option<(usize, &'static str, Part, bool)> {
    let (mut part, mut stage, mut shown) = (None, "", 0);
    for (at, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.ours && frame.place != SHARED) {
        let Some(&(_, its_stage, its_part)) = PLACES.iter().find(|(piece, ..)| frame.place.starts_with(piece)) else {
            continue;
        };
        // Hashing for a precompile or a sender belongs to that part.
        let part = *part.get_or_insert(its_part);
        if its_stage == OUTSIDE && (stage.is_empty() || part == Part::Schedule) {
            return None;
        }
        if stage.is_empty() || (stage == "schedule" && its_stage != OUTSIDE && its_stage != stage) {
            stage = its_stage;
        }
        if its_stage == stage || its_stage.is_empty() {
            shown = at;
        } else {
            // A frame of another stage: the thread waits in it and runs other work meanwhile.
            break;
        }
    }
    let part = part?;
    let keccak = frames[..=shown].iter().any(Frame::is_keccak);
    let part = match part {
        Part::Interpreter | Part::State | Part::Transaction if keccak => Part::Hashing,
        part => part,
    };
    let stage = match (stage, part) {
        // A piece of the receipts' or the body's roots on another thread.
        ("", Part::Verify) => "verify",
        ("", _) => "execute",
        _ => stage,
    };
    Some((shown + 1, stage, part, keccak))
}

/// Samples all threads while `once` is called repeatedly for `length`.
///
/// # Errors
/// The outer error is that of `once`; the inner one is the profiler's reason why it cannot run.
pub fn sample<E>(length: Duration, mut once: impl FnMut() -> Result<(), E>) -> Result<Result<Samples, String>, E> {
    let mut samples = Samples::default();
    let mut names = Names::default();
    let begin = Instant::now();
    let mut cpu_ns = Some(0);
    while begin.elapsed() < length {
        let before = process_cpu_ns();
        let guard = match pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).build() {
            Ok(guard) => guard,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let session = Instant::now();
        while session.elapsed() < SESSION {
            once()?;
            samples.repeats += 1;
        }
        cpu_ns = cpu_ns.zip(process_cpu_ns()).zip(before).map(|((sum, after), before)| sum + (after - before));
        let report = match guard.report().build_unresolved() {
            Ok(report) => report,
            Err(error) => return Ok(Err(error.to_string())),
        };
        samples.sessions.push(BTreeMap::new());
        for (stack, count) in &report.data {
            let addresses: Vec<usize> = stack.frames.iter().map(|frame| frame.ip() as usize).collect();
            samples.add(&names.of_stack(&addresses), (*count).max(0) as u64);
        }
    }
    samples.cpu_ns = cpu_ns;
    Ok(Ok(samples))
}

impl Samples {
    fn add(&mut self, frames: &[Frame], count: u64) {
        self.all += count;
        let Some((shown, stage, part, keccak)) = place(frames) else { return };
        self.inside += count;
        *self.parts.entry((part, keccak)).or_default() += count;
        if let Some(session) = self.sessions.last_mut() {
            *session.entry(part).or_default() += count;
        }
        let mut folded = stage.to_owned();
        let mut last = String::new();
        for label in frames[..shown].iter().rev().filter_map(Frame::label) {
            // Consecutive frames with the same label (layers of one crate, a closure inside its
            // function) become one.
            if label != last && !PASSED_THROUGH.contains(&label.as_str()) {
                folded.push(';');
                folded.push_str(&label);
                last = label;
            }
        }
        *self.stacks.entry(folded).or_default() += count;
    }
}

/// Cache of the functions at each address, innermost inlined function first.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<usize, Vec<Frame>>,
}

impl Names {
    /// The functions of a stack, innermost first, without those of the profiler.
    fn of_stack(&mut self, addresses: &[usize]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(addresses.len() * 2);
        let mut at = 0;
        let mut is_leaf = true;
        while at < addresses.len() {
            // A return address is one instruction after its call; the resolver subtracts one from
            // every address, so the leaf's address is increased by one.
            let found = self.at(addresses[at] + usize::from(is_leaf));
            if found.iter().any(|frame| frame.name.contains("perf_signal_handler")) {
                // Frames further in belong to the profiler; the next frame out is the signal
                // trampoline.
                frames.clear();
                (at, is_leaf) = (at + 2, true);
                continue;
            }
            frames.extend_from_slice(found);
            (at, is_leaf) = (at + 1, false);
        }
        frames
    }

    fn at(&mut self, address: usize) -> &[Frame] {
        self.known.entry(address).or_insert_with(|| {
            let mut frames = Vec::new();
            backtrace::resolve(address as *mut c_void, |symbol| {
                if let Some(name) = symbol.name() {
                    frames.push(Frame::new(&format!("{name:#}"), symbol.filename().and_then(|file| file.to_str())));
                }
            });
            frames
        })
    }
}

/// Processor time that all threads of this process have used, in nanoseconds, from Linux's `/proc`.
fn process_cpu_ns() -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Shortens a function's name to the last piece of its path; paths in angle brackets are shortened
/// in the same way.
fn shorten(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut piece = String::new();
    let name = name.replace("::{{closure}}", "");
    for letter in name.chars().chain([' ']) {
        match letter {
            ':' => piece.clear(),
            // A semicolon separates frames in folded stacks, so it must not be in a name.
            ';' => piece.push(','),
            '<' | '>' | ',' | ' ' | '(' | ')' | '[' | ']' | '&' => {
                short.push_str(&piece);
                short.push(letter);
                piece.clear();
            }
            letter => piece.push(letter),
        }
    }
    // Arguments that are closures carry no information.
    let end = short.find('<').filter(|at| *at > 0 && short[*at..].contains('{')).unwrap_or(short.len());
    short[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(files: &[(&str, &str)]) -> Vec<Frame> {
        files.iter().map(|(name, file)| Frame::new(name, (!file.is_empty()).then_some(*file))).collect()
    }

    #[test]
    fn the_innermost_known_function_decides() {
        let stack = frames(&[
            ("__KeccakF1600", ""),
            ("core::ptr::write", "/rustc/0123/library/core/src/ptr/mod.rs"),
            ("keccak256_many", "/home/a/balustrade/src/arena/keccak/batch.rs"),
            ("run", "/home/a/balustrade/src/trie/hash.rs"),
            ("balustrade::executor::root::update_tries", "/home/a/balustrade/src/executor/root.rs"),
            ("execute", "/home/a/.cargo/registry/src/index/rayon-core-1.13.0/src/job.rs"),
            ("run_with_list", "/home/a/balustrade/src/exec/block/tasks/from_bal.rs"),
            ("execute", "/home/a/balustrade/src/executor/mod.rs"),
        ]);
        assert_eq!(place(&stack), Some((5, "root", Part::Root, true)));
        assert_eq!(place(&stack[5..6]), None);
        let mut samples = Samples::default();
        samples.add(&stack, 2);
        let folded = "root;root::update_tries;hash::run;batch::keccak256_many;__KeccakF1600";
        assert_eq!(samples.stacks, BTreeMap::from([(folded.to_owned(), 2)]));
    }

    #[test]
    fn parts_deviate_as_their_sessions_do() {
        let session = |count| BTreeMap::from([(Part::State, count)]);
        let samples = Samples { sessions: vec![session(100); 4], ..Samples::default() };
        assert_eq!(samples.deviation(Part::State), 20.0, "that of a count of 400");
        assert_eq!(samples.deviation(Part::Root), 0.0);
        let samples = Samples { sessions: vec![session(0), session(200)], ..Samples::default() };
        assert_eq!(samples.deviation(Part::State), 200.0);
    }

    #[test]
    fn hashing_in_code_is_hashing_and_precompiles_are_their_own() {
        let run = ("run", "src/exec/interpreter/tail/mod.rs");
        let task = ("work", "src/exec/block/tasks/from_bal.rs");
        let keccak = frames(&[("keccak256", ""), ("keccak", "src/exec/interpreter/ops/memory.rs"), run, task]);
        assert_eq!(place(&keccak), Some((4, "execute", Part::Hashing, true)));
        let registry = "/a/.cargo/registry/src/index/sha2-0.11.0/src/lib.rs";
        let precompile = frames(&[("compress", registry), ("run", "src/exec/evm/precompile/mod.rs"), run, task]);
        assert_eq!(place(&precompile), Some((4, "execute", Part::Precompile, false)));
        let point = ("ecrecover_point", "src/exec/senders/libsecp.rs");
        let precompile = frames(&[("ecmult", ""), point, ("ecrecover", "src/exec/evm/precompile/mod.rs"), run, task]);
        assert_eq!(place(&precompile), Some((5, "execute", Part::Precompile, false)));
        let sender = frames(&[("ecmult", ""), point, ("recover_scalar", "src/exec/senders/libsecp.rs"), task]);
        assert_eq!(place(&sender).map(|(_, stage, part, _)| (stage, part)), Some(("recover", Part::Senders)));
    }

    #[test]
    fn what_lies_between_two_executions_does_not_count() {
        let cli = ("once", "cli/src/profile/measure.rs");
        let execute = ("execute", "src/executor/mod.rs");
        assert_eq!(place(&frames(&[("drop_in_place", "/rustc/1/library/core/src/ptr/mod.rs"), cli])), None);
        assert_eq!(
            place(&frames(&[("put_item", "src/trie/shard.rs"), execute, cli])).map(|(_, stage, ..)| stage),
            Some("root")
        );
        assert_eq!(place(&frames(&[("rollback", "src/trie/savepoint.rs"), cli])), None);
    }

    #[test]
    fn every_place_exists_in_the_sources() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (place, ..) in PLACES {
            let file = place.split("::").next().unwrap_or_default();
            let source = if file == "cli/" { root.join("cli/src") } else { root.join("src").join(file) };
            assert!(source.is_dir() || source.with_extension("rs").is_file(), "{place} names no source file");
        }
    }

    #[test]
    fn frames_know_their_place_without_a_source_file() {
        let frame = Frame::new("balustrade::exec::tx::execute_tx", None);
        assert!(frame.ours && frame.place.starts_with("exec/tx"), "{frame:?}");
        let frame = Frame::new("balustrade_cli::profile::measure::once", None);
        assert!(frame.ours && frame.place.starts_with("cli/profile"), "{frame:?}");
        assert_eq!(Frame::new("memcpy", None).label().as_deref(), Some("memcpy"));
    }

    #[test]
    fn names_become_short() {
        assert_eq!(shorten("balustrade::executor::list::execute::{{closure}}::{{closure}}"), "execute");
        assert_eq!(shorten("a::binary<balustrade::a::handlers::Add, b::c::Block>"), "binary<Add, Block>");
        assert_eq!(shorten("<balustrade::x::Y as core::fmt::Debug>::fmt"), "<Y as Debug>fmt");
    }
}
