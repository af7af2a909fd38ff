//! `bal record`: records the block access list of any block of any fork.
//!
//! In: bundles and block tests. Out: a JSON object per block `{blockAccessList,
//! blockAccessListHash, blockAccessListSidecar, block}`; the first three fields may be added to a
//! bundle unchanged. Not here: how a list is recorded (the library).

use super::super::contents::no_block;
use super::super::engine::{Chain, Engine, Failure, List};
use super::super::output::OutputFile;
use super::super::{Status, input_path, interrupt, loop_parser, names_like, report};
use alloy_primitives::{B256, Bytes};
use balustrade::Mode;
use balustrade::bal::{ExistenceLog, bal_hash};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::formats::{self, Content, Document};
use clap::Args;
use regex::Regex;
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  balustrade bal record block.json.gz --out list.json
  balustrade bal show list.json";

/// Options of `bal record`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
    #[command(flatten)]
    blocks: BlockArgs,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The blocks to record, and how to execute them.
#[derive(Debug, Args)]
struct BlockArgs {
    /// Bundles or block tests: files, folders, .tar.gz or .tar.zst archives
    #[arg(value_name = "INPUT", required = true, value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Record only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Interpreter loop to run
    #[arg(long = "loop", value_name = "NAME", value_parser = loop_parser(), default_value = LoopKind::default().name())]
    loop_kind: LoopKind,
}

/// The JSON object of one block.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recorded<'a> {
    block_access_list: &'a Bytes,
    block_access_list_hash: B256,
    #[serde(rename = "blockAccessListSidecar")]
    block_access_list_existence_log: &'a ExistenceLog,
    block: &'a str,
}

/// A block whose parent is the chain's head.
struct Step<'a> {
    name: &'a str,
    rules: Option<ChainRules>,
    block: &'a Bytes,
    list: List<'a>,
    /// Whether the file declares the block invalid.
    is_invalid: bool,
}

/// Runs `bal record`.
pub fn record(args: &RecordArgs) -> Status {
    let mut file = match args.out.as_deref().map(OutputFile::create).transpose() {
        Ok(file) => file,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mut written = Ok(());
    let status = each_block(&args.blocks, &mut |engine, chain, step| {
        let rules = step.rules.ok_or_else(unsupported)?;
        // A given list is not used, so that the output is what the execution recorded; the header
        // of an Amsterdam block commits to its list in any case. A block that is declared invalid
        // is executed with its list, which may be the only invalid part.
        let list = if step.is_invalid { step.list } else { List::default() };
        let accepted = engine.execute_or_record(chain, &rules, step.block, list, Some(Mode::Sequential), true)?;
        let recorded = Recorded {
            block_access_list: &accepted.outcome.bal,
            block_access_list_hash: bal_hash(&accepted.outcome.bal),
            block_access_list_existence_log: &accepted.outcome.existence_log,
            block: step.name,
        };
        match &mut file {
            None => report::json_line(&recorded),
            Some(file) if written.is_ok() => {
                let line = serde_json::to_writer(&mut *file, &recorded).map_err(std::io::Error::from);
                written = line.and_then(|()| file.write_all(b"\n")).map_err(|error| file.fault(error));
            }
            Some(_) => {}
        }
        Ok(())
    });
    // If no list was recorded, no file is created.
    let complete = |file: OutputFile| if file.is_empty() { Ok(()) } else { file.finish().map(drop) };
    match written.and_then(|()| file.map_or(Ok(()), complete)) {
        Ok(()) => status,
        Err(error) => {
            report::complain(&error);
            Status::Unusable
        }
    }
}

fn unsupported() -> Failure {
    Failure::Host("the fork is not supported".into())
}

/// Calls `visit` for every block of the inputs, with the chain at the block's parent; returns the
/// highest status. The rejection of a block that is declared invalid is a success.
fn each_block(
    args: &BlockArgs,
    visit: &mut dyn FnMut(&mut Engine, &mut Chain, &Step<'_>) -> Result<(), Failure>,
) -> Status {
    let (mut status, mut is_empty) = (Status::Good, true);
    let mut engine = match Engine::new(None, args.loop_kind) {
        Ok(engine) => engine,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let mut on_block = |chain: &mut Chain, step: &Step<'_>| {
        if interrupt::flow().is_break() {
            return;
        }
        is_empty = false;
        let Err(failure) = visit(&mut engine, chain, step) else { return };
        let fault = match failure {
            Failure::Invalid { .. } if step.is_invalid => return,
            Failure::Invalid { .. } => Status::Failed,
            Failure::Host(_) => Status::Unusable,
        };
        report::complain(&format_args!("{}: {failure}", step.name));
        status = status.max(fault);
    };
    let mut faults = Status::Good;
    for path in &args.inputs {
        let read = formats::each_document(path, &mut report::reading(None), &mut |document| {
            if let Err(error) = blocks_of(&document, args.run.as_ref(), &mut on_block) {
                report::complain(&error);
                faults = Status::Unusable;
            }
            interrupt::flow()
        });
        match read {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => {
                report::complain(&error);
                faults = Status::Unusable;
            }
        }
    }
    let status = status.max(faults);
    if is_empty { no_block(status) } else { status }
}

fn blocks_of(
    document: &Document,
    filter: Option<&Regex>,
    visit: &mut dyn FnMut(&mut Chain, &Step<'_>),
) -> Result<(), Box<dyn std::error::Error>> {
    match Content::parse(document, Some(&names_like(filter)))? {
        Content::Bundle(bundle) => {
            let mut chain = Chain::of_bundle(&bundle).map_err(|error| format!("{}: {error}", bundle.name))?;
            let step = Step {
                name: &bundle.name,
                rules: bundle.rules,
                block: &bundle.block,
                list: List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() },
                is_invalid: false,
            };
            visit(&mut chain, &step);
        }
        Content::Tests(tests) => {
            for test in &tests {
                let mut chain = Chain::of_test(test).map_err(|error| format!("{}: {error}", test.name))?;
                for (number, block) in test.blocks.iter().enumerate() {
                    let step = Step {
                        name: &format!("{} #{}", test.name, number + 1),
                        rules: chain.rules_of(test, block),
                        block: &block.rlp,
                        list: block.bal.as_ref().into(),
                        is_invalid: block.expect_exception.is_some(),
                    };
                    visit(&mut chain, &step);
                }
            }
        }
    }
    Ok(())
}
