//! `balustrade profile`: measures where the time of a block goes.
//!
//! In: bundles and fixtures, as for `run`. Each block is executed repeatedly on its parent state,
//! in four rounds: warm-up, timing (timeline, stages, counters), sampling (flamegraph, parts), and
//! instruction timing. Out: tables or JSON lines, and files: an HTML report, a flamegraph, trace
//! events.
//! Not here: the measurements themselves (the submodules).

mod code;
mod compare;
mod counters;
mod data;
mod flame;
mod measure;
mod print;
mod report;
mod samples;
mod timeline;

use super::contents::{each_content, no_block};
use super::devnet::Devnet;
use super::engine::{Chain, Engine, Failure, List};
use super::output::{OutputError, OutputFile};
use super::{ExecArgs, ModeArg, Status, input_path, interrupt, report as out};
use balustrade::Mode;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::formats::{BlockTest, Bundle, Content};
use clap::Args;
pub use code::{Watched, code_times, faster_half};
use compare::Comparison;
pub use data::CodeTimes;
use data::Profile;
use measure::Block;
pub use print::code as print_code;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  balustrade profile block.json.gz --out report.html
  balustrade profile block.json.gz --json > before.json
  balustrade profile block.json.gz --against before.json";

/// Options of `profile`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    /// Bundles or fixtures: files, folders, .tar.gz or .tar.zst archives; without any, one
    /// generated block
    #[arg(value_name = "INPUT", value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Sample each block for this many seconds; timing the block and timing its instructions take
    /// half as long each
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = super::run::seconds)]
    seconds: Duration,
    /// Write a report with all results to this HTML file, which needs no network
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compare with the output of an earlier run with --json in this file
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write a flamegraph as SVG to this file
    #[arg(long, value_name = "FILE")]
    flamegraph: Option<PathBuf>,
    /// Write the sampled stacks to this file in the folded format of other flamegraph tools
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,
    /// Write the timeline to this file in Chrome's trace event format, for Perfetto or
    /// chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace_events: Option<PathBuf>,
    #[command(flatten)]
    exec: ExecArgs,
}

/// Runs the command.
pub fn main(args: &ProfileArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mode = match args.exec.mode {
        None => None,
        Some(ModeArg::Bal) => Some(Mode::Bal),
        Some(ModeArg::Sequential) => Some(Mode::Sequential),
        Some(ModeArg::Optimistic) => Some(Mode::Optimistic),
        Some(ModeArg::All) => {
            out::complain(&"profile looks at one mode at a time");
            return Status::Unusable;
        }
    };
    let files = match Files::create(args) {
        Ok(files) => files,
        Err(error) => {
            out::complain(&error);
            return Status::Unusable;
        }
    };
    let others = match args.against.as_deref().map(compare::load).transpose() {
        Ok(others) => others.unwrap_or_default(),
        Err(error) => {
            out::complain(&error);
            return Status::Unusable;
        }
    };
    // Hardware counters cover only threads that are started after the counters were opened.
    let counters = counters::Open::new();
    let engine = match Engine::new(args.exec.threads, args.exec.loop_kind) {
        Ok(engine) => engine,
        Err(error) => {
            out::complain(&error);
            return Status::Unusable;
        }
    };
    let measure = measure::Measure {
        engine,
        counters,
        loop_kind: args.exec.loop_kind,
        mode,
        length: args.seconds,
        progress: out::progress_message(),
    };
    let mut run = Run { args, measure, files, others, profiles: Vec::new(), invalid: 0, status: Status::Good };
    if args.inputs.is_empty() {
        run.devnet();
    } else {
        run.files();
    }
    run.finish()
}

/// The requested output files, which are opened before anything is measured.
#[derive(Default)]
struct Files {
    report: Option<OutputFile>,
    flamegraph: Option<OutputFile>,
    folded: Option<OutputFile>,
    trace_events: Option<OutputFile>,
}

impl Files {
    fn create(args: &ProfileArgs) -> Result<Self, OutputError> {
        let create = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::create).transpose();
        Ok(Self {
            report: create(&args.out)?,
            flamegraph: create(&args.flamegraph)?,
            folded: create(&args.folded)?,
            trace_events: create(&args.trace_events)?,
        })
    }
}

/// The state of the command between blocks.
struct Run<'a> {
    args: &'a ProfileArgs,
    measure: measure::Measure,
    files: Files,
    /// The profiles of the other run, to compare with.
    others: Vec<Profile>,
    profiles: Vec<Profile>,
    invalid: u64,
    status: Status,
}

impl Run<'_> {
    fn files(&mut self) {
        self.measure.progress.set_message("reading");
        each_content(&self.args.inputs, &mut |_, content| match content {
            Ok(Content::Bundle(bundle)) => self.bundle(&bundle),
            Ok(Content::Tests(tests)) => tests.iter().for_each(|test| self.test(test)),
            Err(error) => self.unusable(&error),
        });
    }

    /// Profiles the first block of the chain that `run` generates.
    fn devnet(&mut self) {
        let mut devnet = Devnet::default();
        let rules = Devnet::rules();
        let built = Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header).and_then(|mut chain| {
            let built = self.measure.engine.build_devnet(&mut chain, &mut devnet)?;
            Ok((chain, built))
        });
        match built {
            Ok((mut chain, built)) => self.block(
                &mut chain,
                Some(rules),
                &Block {
                    name: "devnet-01".to_owned(),
                    fork: Fork::Amsterdam.name(),
                    block: &built.block,
                    list: Some(&built.bal).into(),
                },
            ),
            Err(error) => self.unusable(&error),
        }
    }

    fn bundle(&mut self, bundle: &Bundle) {
        match Chain::of_bundle(bundle) {
            Ok(mut chain) => self.block(
                &mut chain,
                bundle.rules,
                &Block {
                    name: bundle.name.clone(),
                    fork: &bundle.fork_name,
                    block: &bundle.block,
                    list: List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() },
                },
            ),
            Err(error) => self.unusable(&format_args!("{}: {error}", bundle.name)),
        }
    }

    /// Profiles all valid blocks of a test; blocks that it declares invalid are skipped.
    fn test(&mut self, test: &BlockTest) {
        let mut chain = match Chain::of_test(test) {
            Ok(chain) => chain,
            Err(error) => return self.unusable(&format_args!("{}: {error}", test.name)),
        };
        for (number, block) in test.blocks.iter().enumerate().filter(|(_, block)| block.expect_exception.is_none()) {
            let rules = chain.rules_of(test, block);
            let list = block.bal.as_ref().into();
            let name = format!("{} #{}", test.name, number + 1);
            self.block(&mut chain, rules, &Block { name, fork: &test.network_name, block: &block.rlp, list });
            let Some(rules) = rules else { continue };
            if let Err(failure) = self.measure.advance(&mut chain, &rules, &block.rlp, list) {
                return self.refused(&test.name, &failure);
            }
        }
    }

    fn block(&mut self, chain: &mut Chain, rules: Option<ChainRules>, block: &Block<'_>) {
        let Some(rules) = rules else {
            return self.unusable(&format_args!("{}: the fork {} is not supported", block.name, block.fork));
        };
        self.measure.progress.reset();
        let profiled = self.measure.profile(chain, &rules, block);
        self.measure.progress.finish_and_clear();
        match profiled {
            Ok(profile) => {
                if self.args.exec.json {
                    out::json_line(&profile);
                } else {
                    print::profile(&profile);
                }
                self.profiles.push(profile);
            }
            Err(failure) => self.refused(&block.name, &failure),
        }
    }

    fn refused(&mut self, name: &str, failure: &Failure) {
        let status = match failure {
            Failure::Invalid { .. } => {
                self.invalid += 1;
                Status::Failed
            }
            Failure::Host(_) => Status::Unusable,
        };
        self.status = self.status.max(status);
        if self.args.exec.json {
            let kind = if status == Status::Failed { "invalid" } else { "host" };
            out::json_line(&json!({"block": name, "valid": false, "error": failure.to_string(), "kind": kind}));
        } else {
            out::complain(&format_args!("{name}: {failure}"));
        }
    }

    fn unusable(&mut self, error: &dyn std::fmt::Display) {
        self.measure.progress.suspend(|| out::complain(error));
        self.status = Status::Unusable;
    }

    /// For each profile the other run's profile of the same block, and the comparison with it.
    fn comparisons(&self) -> (Vec<Option<&Profile>>, Vec<Option<Comparison>>) {
        let count = self.profiles.len();
        let pair = |profile: &Profile| compare::counterpart(profile, count, &self.others);
        let bases: Vec<Option<&Profile>> = self.profiles.iter().map(pair).collect();
        let compare = |(base, profile): (&Option<&Profile>, &Profile)| base.map(|base| compare::compare(base, profile));
        let comparisons = bases.iter().zip(&self.profiles).map(compare).collect();
        (bases, comparisons)
    }

    fn print_comparisons(&self) {
        if self.args.against.is_none() {
            return;
        }
        let (_, comparisons) = self.comparisons();
        for (profile, comparison) in self.profiles.iter().zip(comparisons) {
            match comparison {
                Some(comparison) if self.args.exec.json => {
                    out::json_line(&json!({"block": profile.block, "comparison": comparison}));
                }
                Some(comparison) => print::comparison(&profile.block, &comparison),
                None => out::complain(&format_args!("the other run has no block {}", profile.block)),
            }
        }
    }

    /// Completes a requested file.
    fn write(
        &mut self,
        file: impl FnOnce(&mut Files) -> Option<OutputFile>,
        what: &str,
        text: impl FnOnce(&Self) -> Result<String, String>,
    ) {
        let Some(file) = file(&mut self.files) else { return };
        let path = file.path().display().to_string();
        match text(self) {
            Ok(text) => match file.complete(text.as_bytes()) {
                Ok(()) if !self.args.exec.json => out::line(&format!("{what}: {path}")),
                Ok(()) => {}
                Err(error) => self.unusable(&error),
            },
            Err(error) => self.unusable(&format_args!("cannot write {path}: {error}")),
        }
    }

    fn finish(mut self) -> Status {
        self.print_comparisons();
        if self.profiles.is_empty() {
            // A report without results must not replace the file of an earlier run.
            self.files = Files::default();
            self.status = no_block(self.status);
        }
        let page = |run: &Self| {
            let (bases, comparisons) = run.comparisons();
            Ok(report::html(&run.profiles, &bases, &comparisons))
        };
        self.write(|files| files.report.take(), "report", page);
        self.write(|files| files.flamegraph.take(), "flamegraph", |run| flame::svg(&run.profiles));
        self.write(|files| files.folded.take(), "folded stacks", |run| Ok(flame::folded(&run.profiles)));
        let events = |run: &Self| Ok(timeline::trace_events(&run.profiles).to_string());
        self.write(|files| files.trace_events.take(), "trace events", events);
        if self.args.exec.json {
            let gas: u64 = self.profiles.iter().map(|profile| profile.gas).sum();
            let ns: u64 = self.profiles.iter().map(|profile| profile.ns).sum();
            out::json_line(&json!({"summary": {
                "blocks": self.profiles.len(),
                "gas": gas,
                "seconds": ns as f64 / 1e9,
                "ggas_per_s": out::ggas_per_s(gas, ns),
                "invalid": self.invalid,
            }}));
        }
        self.status
    }
}
