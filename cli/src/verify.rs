//! `balustrade bal verify`: executes blocks and compares them with their block access lists.
//!
//! In: bundles, fixtures, folders and archives of them. Out: a line per block, followed by every
//! point of disagreement with the instructions that accessed it; with `--json` an object per block.
//! Not here: what a test expects: a block that a fixture declares invalid is reported as invalid.

use super::contents::no_block;
use super::engine::{Chain, Engine, Failure, List};
use super::explain::{self, Subject};
use super::{Status, input_path, interrupt, names_like, report};
use alloy_primitives::Bytes;
use balustrade::Mode;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::executor::{Diagnosis, Point};
use balustrade::formats::{self, Content, Expected, InputError};
use clap::Args;
use regex::Regex;
use serde_json::json;
use std::path::PathBuf;

/// Maximal number of lines of differences that are printed for one block; a block that is executed
/// with the rules of another fork has thousands.
const LINES_MAX: usize = 40;

const EXAMPLES: &str = "Examples:
  balustrade bal verify block.json.gz
  balustrade bal verify fixtures.tar.gz --run matching_root --json";

/// Options of `bal verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Bundles or fixtures: files, folders, .tar.gz or .tar.zst archives
    #[arg(value_name = "INPUT", required = true, value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Verify only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Number of threads that execute a block; by default one per processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object per block, with every disagreement; without it at most 40 lines of them
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(args: &VerifyArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let engine = match Engine::new(args.threads, Default::default()) {
        Ok(engine) => engine,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let mut verify = Verify { args, engine, is_empty: true, status: Status::Good };
    for path in args.inputs.iter().take_while(|_| interrupt::flow().is_continue()) {
        if let Err(error) = verify.path(path) {
            verify.unusable(&error);
        }
    }
    if verify.is_empty {
        verify.status = no_block(verify.status);
    }
    verify.status
}

/// Returns how many of these texts, from the first, have together at most [`LINES_MAX`] lines; at
/// least one, if there is any.
fn points_that_fit(points: &[String]) -> usize {
    let mut lines = 0;
    let fits = |point: &&String| {
        lines += point.lines().count();
        lines <= LINES_MAX
    };
    points.iter().take_while(fits).count().max(points.len().min(1))
}

struct Verify<'a> {
    args: &'a VerifyArgs,
    engine: Engine,
    /// Whether no block was found so far.
    is_empty: bool,
    status: Status,
}

impl Verify<'_> {
    fn path(&mut self, path: &std::path::Path) -> Result<(), InputError> {
        formats::each_document(path, &mut report::reading(None), &mut |document| {
            match Content::parse(&document, Some(&names_like(self.args.run.as_ref()))) {
                Ok(Content::Bundle(bundle)) => match Chain::of_bundle(&bundle) {
                    Ok(mut chain) => {
                        let list = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
                        self.block(&mut chain, &bundle.name, bundle.rules, &bundle.block, list, &bundle.expected);
                    }
                    Err(error) => self.unusable(&format_args!("{}: {error}", bundle.name)),
                },
                Ok(Content::Tests(tests)) => tests.iter().for_each(|test| match Chain::of_test(test) {
                    Ok(mut chain) => {
                        for (number, block) in test.blocks.iter().enumerate() {
                            let name = format!("{} #{}", test.name, number + 1);
                            let rules = chain.rules_of(test, block);
                            self.block(
                                &mut chain,
                                &name,
                                rules,
                                &block.rlp,
                                block.bal.as_ref().into(),
                                &Expected::default(),
                            );
                        }
                    }
                    Err(error) => self.unusable(&format_args!("{}: {error}", test.name)),
                }),
                Err(error) => self.unusable(&error),
            }
            interrupt::flow()
        })
        .map(drop)
    }

    fn block(
        &mut self,
        chain: &mut Chain,
        name: &str,
        rules: Option<ChainRules>,
        block: &Bytes,
        list: List<'_>,
        expected: &Expected,
    ) {
        if interrupt::flow().is_break() {
            return;
        }
        self.is_empty = false;
        let Some(rules) = rules else {
            return self.unusable(&format_args!("{name}: the fork is not supported"));
        };
        let Some(bal) = list.bal else {
            return self.unusable(&format_args!("{name}: there is no block access list"));
        };
        let (what, classes) = match self.engine.execute_or_record(chain, &rules, block, list, Some(Mode::Bal), true) {
            Ok(accepted) => {
                let subject = Subject { name, rules: &rules, block, list, expected, test: None };
                let lines = subject.differences(&accepted.outcome);
                if !lines.is_empty() {
                    let lines = lines.join("\n  ");
                    return self.unusable(&format_args!("{name}: {}\n  {lines}", explain::DISAGREEMENT));
                }
                if self.args.json {
                    report::json_line(&json!({"block": name, "valid": true, "divergences": []}));
                } else {
                    report::line(&format!("{name}: {}", console::style("valid").green()));
                }
                return;
            }
            Err(Failure::Host(what)) => return self.unusable(&format_args!("{name}: {what}")),
            Err(Failure::Invalid { what, classes }) => (what, classes),
        };
        self.status = self.status.max(Status::Failed);
        // A block or list that does not decode has no points to compare.
        let Diagnosis { points, stopped, .. } = match self.engine.diagnose(chain, &rules, block, bal) {
            Ok(diagnosis) => diagnosis,
            Err(Failure::Invalid { .. }) => Diagnosis { points: Vec::new(), stopped: None, produced: Bytes::new() },
            Err(Failure::Host(what)) => return self.unusable(&format_args!("{name}: {what}")),
        };
        let stopped = stopped.map(|(index, error)| (index.0, error.to_string()));
        if self.args.json {
            let stopped = stopped.map(|(index, error)| json!({"index": index, "error": error}));
            report::json_line(&json!({
                "block": name, "valid": false, "error": what, "classes": classes,
                "executionStopped": stopped, "divergences": points,
            }));
            return;
        }
        report::line(&format!("{name}: {}", console::style(what).red()));
        let lines: Vec<String> = points.iter().map(Point::to_string).collect();
        let shown = points_that_fit(&lines);
        for point in &lines[..shown] {
            report::line(&format!("  {}", point.replace('\n', "\n  ")));
        }
        if shown < lines.len() {
            report::line(&format!("  and {} more disagreements; --json prints all", lines.len() - shown));
        }
        if points.iter().any(|point| point.index.is_some()) {
            let end = "the index after them: end of the block";
            report::line(&format!("  (index 0: before the transactions; index n: transaction n-1; {end})"));
        }
        if let Some((index, error)) = stopped {
            report::line(&format!("  execution ended at index {index}: {error}"));
        }
    }

    fn unusable(&mut self, error: &dyn std::fmt::Display) {
        report::complain(error);
        self.status = Status::Unusable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_another_fork_does_not_fill_the_screen() {
        let points = |count: usize, text: &str| vec![text.to_owned(); count];
        assert_eq!(points_that_fit(&[]), 0);
        assert_eq!(points_that_fit(&points(7, "one")), 7);
        assert_eq!(points_that_fit(&points(3_000, "one")), LINES_MAX);
        assert_eq!(points_that_fit(&points(3_000, "one\ntwo\nthree")), LINES_MAX / 3);
        assert_eq!(points_that_fit(&points(2, &"line\n".repeat(100))), 1);
    }
}
