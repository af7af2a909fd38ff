//! The `balustrade` command as a library: its binary, its tests and its benches share it.
//!
//! In: the command line. Out: tables for people or JSON lines for scripts, and an exit status: 0:
//! success; 1: a block or its block access list is invalid, or a test failed; 2: an input cannot be
//! read, the usage is wrong, the fork is not supported, a state store failed, or output cannot be
//! written; 130 after Ctrl-C and 143 after SIGTERM. `t8n` has those of go-ethereum's.
//! Relies on: the `balustrade` library. Not here: protocol rules.

// `pub` marks the items that a module offers to its sibling modules. Only the modules that tests
// and benches use are public.
#![allow(unreachable_pub)]

mod apply;
mod bal;
mod bench;
mod blocktest;
mod capture;
mod chain;
mod contents;
mod determinism;
pub mod devnet;
mod engine;
mod enginetest;
mod explain;
mod follow;
mod hash_watch;
mod http;
mod import;
mod interrupt;
pub mod measure;
mod output;
mod past;
mod pipeline;
mod profile;
mod replay;
mod report;
mod run;
pub mod serve;
mod slow_block;
mod state;
mod statetest;
mod store;
mod suite;
mod t8n;
pub mod testing;
mod trace;
mod transaction;
mod verify;
pub mod workload;

use balustrade::exec::interpreter::LoopKind;
use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use regex::Regex;
use std::path::PathBuf;
use std::process::ExitCode;

/// Executes Ethereum blocks in parallel, driven by their block access lists (EIP-7928).
#[derive(Debug, Parser)]
#[command(name = "balustrade", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// Accepted for compatibility with go-ethereum's `evm`; has no effect
    #[arg(long, value_name = "N", global = true, hide = true)]
    verbosity: Option<u32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Execute blocks from bundles and test fixtures (files, folders, archives); without an input,
    /// a generated chain of 60 blocks
    Run(run::RunArgs),
    /// Run EEST block tests from files, folders, .tar.gz and .tar.zst archives; without an input,
    /// file names are read from standard input
    Blocktest(blocktest::BlocktestArgs),
    /// Run EEST engine tests, and block tests as calls of the Engine API, in process
    Enginetest(enginetest::EnginetestArgs),
    /// Run EEST and GeneralStateTests state tests from the same kinds of input as `blocktest`
    Statetest(statetest::StatetestArgs),
    /// Execute transactions on a state and print what a block of them holds, as go-ethereum's `evm t8n`: execution-specs
    /// fills fixtures with it
    T8n(Box<t8n::T8nArgs>),
    /// Answer the requests of `t8n` over HTTP
    T8nServer(t8n::ServerArgs),
    /// Measure where the time of a block goes: stages, parts, instructions, a timeline, a
    /// flamegraph
    Profile(profile::ProfileArgs),
    /// Execute blocks in every mode with 1 to 16 threads, in block order and shuffled, and check
    /// that all results are equal
    Determinism(determinism::DeterminismArgs),
    /// Show, record, compare and verify block access lists
    #[command(subcommand)]
    Bal(bal::BalCommand),
    /// Write bundles of blocks from a node, by execution witness or by proofs, each executed in every mode first
    Capture(capture::CaptureArgs),
    /// Show the fork schedule of a chain, and the genesis block of a geth-style genesis file
    Chain(chain::ChainArgs),
    /// Create a store of a chain's state on disk, and show what it holds
    #[command(subcommand, after_help = store::EXAMPLES)]
    Store(store::StoreCommand),
    /// Execute the blocks of chain files on a store and keep them; called again, it goes on after the
    /// store's head
    Import(import::ImportArgs),
    /// Execute the blocks of chain files, or the blocks of a store again, and measure it
    Replay(replay::ReplayArgs),
    /// Move the state of a chain forward by headers and block access lists alone, without execution
    Apply(apply::ApplyArgs),
    /// Run an execution node: the Engine API for a consensus client or a benchmark, and public methods
    Serve(serve::ServeArgs),
    /// Undo the last blocks of a store
    Revert(store::RevertArgs),
    /// Show an account and slots of a store, with proofs on request
    Get(store::GetArgs),
    /// Look into a chain: accounts and slots at any place, who changed them, what differs between two places
    #[command(subcommand, after_help = state::EXAMPLES)]
    State(state::StateCommand),
    /// Execute one transaction of a block without those before it: calls, changes, instructions, EIP-3155 lines
    Trace(transaction::TraceArgs),
    /// Measure the parts: interpreter loop, sender recovery, block access list decoding, state
    /// root, whole blocks
    #[command(subcommand, after_help = BENCH_EXAMPLES)]
    Bench(bench::BenchCommand),
    /// Generate bundles for measurements: blocks with state, block access list and expected roots;
    /// equal options give equal bytes
    #[command(subcommand, after_help = workload::EXAMPLES)]
    Workload(workload::WorkloadCommand),
    /// Print the completion script of a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page in roff format
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// The command whose page is printed, such as `bal verify`; without it the page of the whole
        /// program
        command: Vec<String>,
    },
}

const EXAMPLES: &str = "Examples:
  balustrade run                                  # a generated chain of 60 blocks
  balustrade workload erc20 --out blocks/         # make a block of token transfers
  balustrade run --mode all blocks/               # execute it in every mode and compare the results
  balustrade profile blocks/ --out report.html    # where does the time go?
  balustrade bal verify block.json.gz             # where do a block and its list differ?";

const BENCH_EXAMPLES: &str = "Examples:
  balustrade bench trie
  balustrade bench block --json
  balustrade bench scaling blocks/";

const COMPLETIONS_EXAMPLES: &str = "Examples:
  balustrade completions bash   # to ~/.local/share/bash-completion/completions/balustrade
  balustrade completions zsh    # to a file _balustrade in a folder of $fpath
  balustrade completions fish   # to ~/.config/fish/completions/balustrade.fish";

const MAN_EXAMPLES: &str = "Examples:
  balustrade man              # to be read with `| man -l -`
  balustrade man bal verify";

/// Options that all executing commands share.
#[derive(Clone, Copy, Debug, Args)]
struct ExecArgs {
    /// How to execute; by default `bal` where the block has a block access list, else `optimistic`
    /// or `sequential`, whichever the cost model predicts to be faster
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// Number of threads that execute a block; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Returns the parser of `--loop`, which lists the loops in the help.
fn loop_parser() -> impl TypedValueParser<Value = LoopKind> {
    let value = |kind: LoopKind| {
        let value = PossibleValue::new(kind.name());
        match kind {
            LoopKind::Tail => value.help("handlers that call one another in tail position"),
            LoopKind::Match => value.help("one `match` in a loop"),
            LoopKind::Levm => value.help("a table of functions, as in LEVM"),
            LoopKind::Reference => value.help("the instructions of revm-interpreter"),
            _ => value,
        }
    };
    PossibleValuesParser::new(LoopKind::ALL.map(value))
        .try_map(|name| LoopKind::from_name(&name).ok_or("there is no such loop"))
}

/// Returns the parser of an input: a path, or `-` for standard input.
fn input_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| if path.as_os_str() == "-" { PathBuf::from("/dev/stdin") } else { path })
}

/// Returns a filter for `--run`: whether a test's name matches. Without a pattern every name
/// matches.
fn names_like(pattern: Option<&Regex>) -> impl Fn(&str) -> bool {
    move |name| pattern.is_none_or(|pattern| pattern.is_match(name))
}

/// Values of `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Transactions run in parallel from the block access list; a missing list of a block before
    /// Amsterdam is recorded first, outside the measured time
    Bal,
    /// Transactions run one after another; the block access list is recorded
    Sequential,
    /// Transactions run in parallel by speculation, without a block access list; the list is
    /// recorded
    Optimistic,
    /// Each block runs in every mode, and all modes must agree
    All,
}

/// How a command ended. Of several results the highest is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    #[default]
    Good,
    /// A block or its block access list is invalid, or a test failed.
    Failed,
    /// The environment failed, not a block: a file, the arguments, a store, the output.
    Unusable,
}

impl Status {
    /// The status of work that only the environment can fail; prints its error.
    fn of(done: Result<(), String>) -> Self {
        match done {
            Ok(()) => Self::Good,
            Err(error) => {
                report::complain(&error);
                Self::Unusable
            }
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Whether the command was called `evm`, like go-ethereum's: it then accepts and prints what tools
/// that run `evm` expect.
fn is_called_evm() -> bool {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    path.is_some_and(|path| path.file_stem().is_some_and(|stem| stem == "evm"))
}

/// What the command prints if it is called `evm` and asked for its version alone, in the form by which tools recognise
/// go-ethereum's.
fn evm_version() -> Option<String> {
    let mut args = std::env::args_os().skip(1);
    let asks = args.next().is_some_and(|arg| ["-v", "--version"].iter().any(|version| arg == *version));
    (asks && args.next().is_none() && is_called_evm())
        .then(|| format!("evm version balustrade-{}", env!("CARGO_PKG_VERSION")))
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    if let Some(version) = evm_version() {
        report::line(&version);
        return output::finish(Status::Good).into();
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(answer) => return output::finish(print_answer(&answer)).into(),
    };
    let command = match command {
        Command::Blocktest(args) if is_called_evm() => Command::Blocktest(args.called_evm()),
        Command::Enginetest(args) if is_called_evm() => Command::Enginetest(args.called_evm()),
        Command::Statetest(args) if is_called_evm() => Command::Statetest(args.called_evm()),
        command => command,
    };
    let status = output::finish(run(command));
    interrupt::exit_code().map_or_else(|| status.into(), ExitCode::from)
}

/// Prints the result of argument parsing that is no command: help, version, or a usage error.
fn print_answer(answer: &clap::Error) -> Status {
    let printed = answer.print();
    if answer.use_stderr() {
        return Status::Unusable;
    }
    if let Err(error) = printed {
        output::stdout_failed(&error);
    }
    Status::Good
}

fn run(command: Command) -> Status {
    // The tries of whole states are built outside of executors, on rayon's global pool. Starting
    // its threads here reports a refusal by the system as an error.
    if let Err(error) = rayon::ThreadPoolBuilder::new().build_global() {
        report::complain(&format_args!("cannot start threads: {error}"));
        return Status::Unusable;
    }
    match command {
        Command::Run(args) => run::main(&args),
        Command::Blocktest(args) => blocktest::main(&args),
        Command::Enginetest(args) => enginetest::main(&args),
        Command::Statetest(args) => statetest::main(&args),
        Command::T8n(args) => t8n::main(&args),
        Command::T8nServer(args) => t8n::serve(args),
        Command::Profile(args) => profile::main(&args),
        Command::Determinism(args) => determinism::main(&args),
        Command::Bal(command) => bal::main(&command),
        Command::Capture(args) => capture::main(&args),
        Command::Chain(args) => chain::main(&args),
        Command::Store(command) => store::main(&command),
        Command::Import(args) => import::main(&args, store::open),
        Command::Replay(args) => replay::main(&args),
        Command::Apply(args) => apply::main(&args),
        Command::Serve(args) => serve::main(&args),
        Command::Revert(args) => store::on_head(&args.store, |db| store::revert(&args, db)),
        Command::Get(args) => store::on_head(&args.store, |db| store::get(&args, db)),
        Command::State(command) => state::main(&command),
        Command::Trace(args) => transaction::main(&args),
        Command::Bench(command) => bench::main(&command),
        Command::Workload(command) => workload::main(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "balustrade", &mut script);
            report::line(String::from_utf8_lossy(&script).trim_end());
            Status::Good
        }
        Command::Man { command } => match manual_page(&command) {
            Ok(page) => {
                report::line(page.trim_end());
                Status::Good
            }
            Err(error) => {
                report::complain(&error);
                Status::Unusable
            }
        },
    }
}

/// Returns the manual page of a command in roff format.
fn manual_page(path: &[String]) -> Result<String, String> {
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for name in path {
        command = command.find_subcommand_mut(name).ok_or_else(|| format!("there is no command {}", path.join(" ")))?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(|error| error.to_string())?;
    String::from_utf8(page).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_loops_and_has_examples_that_parse() {
        let mut root = Cli::command();
        root.build();
        let mut help = |path: &[&str]| {
            let command = path.iter().fold(&mut root, |at, name| at.find_subcommand_mut(name).expect("a command"));
            command.render_long_help().to_string()
        };
        let run = help(&["run"]);
        for kind in LoopKind::ALL {
            assert!(run.contains(&format!("- {}:", kind.name())), "{run}");
        }
        let mut examples = 0;
        let mut paths: Vec<Vec<String>> = vec![Vec::new()];
        let mut all = Cli::command();
        all.build();
        for command in all.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name().to_owned();
            match name.as_str() {
                "bal" => {
                    paths.extend(["show", "record", "diff", "verify"].map(|part| vec![name.clone(), part.to_owned()]))
                }
                _ => paths.push(vec![name]),
            }
        }
        for path in paths {
            let text = help(&path.iter().map(String::as_str).collect::<Vec<_>>());
            let (_, after) = text.split_once("Examples:").unwrap_or_else(|| panic!("{path:?} has no examples"));
            for line in after.lines().filter(|line| line.starts_with("  balustrade ")) {
                let words = line.split("  #").next().unwrap_or(line).split_whitespace();
                assert!(Cli::try_parse_from(words).is_ok(), "{line}");
                examples += 1;
            }
        }
        assert!(examples >= 30, "{examples}");
    }

    #[test]
    fn the_documentation_names_every_command_and_option() {
        const PAGE: &str = include_str!("../../docs/commands.md");
        fn names(command: &clap::Command, out: &mut Vec<String>) {
            out.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("`--{long}")));
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                out.push(inner.get_name().to_owned());
                names(inner, out);
            }
        }
        let mut found = Vec::new();
        names(&Cli::command(), &mut found);
        assert!(found.len() > 100, "{found:?}");
        let missing: Vec<&String> = found.iter().filter(|name| !PAGE.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_command_has_a_manual_page_and_completions() {
        let page = |words: &str| manual_page(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(page("").expect("a page").contains("balustrade"));
        assert!(page("bal verify").expect("a page").contains("\\-\\-threads"));
        assert_eq!(page("bal nothing"), Err("there is no command bal nothing".to_owned()));
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "balustrade", &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(script.contains("determinism") && script.contains("folded"), "{shell}");
        }
    }

    #[test]
    fn the_highest_status_is_reported() {
        assert!(Status::Good < Status::Failed && Status::Failed < Status::Unusable);
        assert_eq!([Status::Good, Status::Failed, Status::Unusable].map(|status| status as u8), [0, 1, 2]);
    }
}
