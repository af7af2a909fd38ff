//! `balustrade bal`: shows, records, compares and verifies block access lists.
//!
//! In: block access lists as files of their own (RLP bytes, hex, the fixtures' JSON form, or the
//! output of `bal record`), or those of bundles and block tests. Out: text for people, or JSON in
//! the fixtures' form.
//! Not here: execution (`record` and `verify` execute blocks).

mod record;

use super::verify::{self, VerifyArgs};
use super::{Status, input_path, names_like, report};
use alloy_primitives::{Bytes, hex};
use balustrade::arena::AccountId;
use balustrade::bal::{self, BalColumns, Changes, Limits};
use balustrade::formats::{self, Content, Document, InputError};
use clap::{Args, Subcommand};
use regex::Regex;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The subcommands of `balustrade bal`.
#[derive(Debug, Subcommand)]
pub enum BalCommand {
    /// Print block access lists
    Show(ShowArgs),
    /// Execute blocks and write their block access lists, with an existence log for what a list
    /// cannot express before Cancun
    Record(record::RecordArgs),
    /// Print every point in which two block access lists differ; the exit status is 1 if there is
    /// one
    Diff(DiffArgs),
    /// Execute blocks and print every point in which the block access list and the execution
    /// differ, with the instructions that accessed it; the exit status is 1 if a block is invalid
    Verify(VerifyArgs),
}

const SHOW_EXAMPLES: &str = "Examples:
  balustrade bal show block.json.gz
  balustrade bal show list.rlp --json";

const DIFF_EXAMPLES: &str = "Examples:
  balustrade bal diff ours.rlp theirs.rlp
  balustrade bal diff list.json block.json.gz --json";

/// Options of `bal show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct ShowArgs {
    /// Files with one list (RLP, hex or JSON), bundles or fixtures; also folders and archives of
    /// bundles and fixtures
    #[arg(value_name = "INPUT", required = true, value_parser = input_path())]
    inputs: Vec<PathBuf>,
    /// Show only the tests whose name matches this regular expression; by default all
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Print one JSON object per list
    #[arg(long)]
    json: bool,
}

/// Options of `bal diff`.
#[derive(Debug, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub struct DiffArgs {
    /// A file with exactly one block access list (the first one of the comparison)
    a: PathBuf,
    /// A file with exactly one block access list (the second one of the comparison)
    b: PathBuf,
    /// Print one JSON object per point of difference
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(command: &BalCommand) -> Status {
    match command {
        BalCommand::Show(args) => show(args),
        BalCommand::Diff(args) => diff(args),
        BalCommand::Record(args) => record::record(args),
        BalCommand::Verify(args) => verify::main(args),
    }
}

fn show(args: &ShowArgs) -> Status {
    let (mut status, mut is_empty) = (Status::Good, true);
    for path in &args.inputs {
        let read = each_list(path, args.run.as_ref(), &mut |name, bytes| {
            is_empty = false;
            match bal::decode(bytes, &Limits::format_only()) {
                Ok(columns) if args.json => {
                    let hash = bal::bal_hash(bytes);
                    report::json_line(&json!({"name": name, "hash": hash, "blockAccessList": to_json(&columns)}));
                }
                Ok(columns) => {
                    let (len, hash) = (bytes.len(), bal::bal_hash(bytes));
                    report::line(&format!("{name}: {len} bytes, hash {hash}\n{}", bal::show(&columns)));
                }
                Err(error) => {
                    report::complain(&format_args!("{name}: {error}"));
                    status = status.max(Status::Failed);
                }
            }
        });
        if let Err(error) = read {
            report::complain(&error);
            status = Status::Unusable;
        }
    }
    if is_empty && status == Status::Good {
        report::complain(&"there is no block access list in the input");
        return Status::Unusable;
    }
    status
}

fn diff(args: &DiffArgs) -> Status {
    let mut sides = Vec::new();
    for path in [&args.a, &args.b] {
        let mut lists = Vec::new();
        if let Err(error) = each_list(path, None, &mut |_, bytes| lists.push(bytes.clone())) {
            report::complain(&error);
            return Status::Unusable;
        }
        let [bytes] = lists.as_slice() else {
            report::complain(&format_args!("{}: {} lists where one is needed", path.display(), lists.len()));
            return Status::Unusable;
        };
        match bal::decode(bytes, &Limits::format_only()) {
            Ok(columns) => sides.push(columns),
            Err(error) => {
                report::complain(&format_args!("{}: {error}", path.display()));
                return Status::Failed;
            }
        }
    }
    let points = bal::diff(&sides[0], &sides[1]);
    for point in &points {
        if args.json {
            report::json_line(point);
        } else {
            report::line(&point.to_string());
        }
    }
    if points.is_empty() { Status::Good } else { Status::Failed }
}

/// Calls `visit` with the name and the RLP of every block access list in the documents of `path`.
fn each_list(path: &Path, filter: Option<&Regex>, visit: &mut dyn FnMut(&str, &Bytes)) -> Result<(), InputError> {
    let mut parsed = Ok(());
    let flow = formats::each_document(path, &mut report::reading(None), &mut |document| {
        parsed = lists_of(document, filter, visit);
        if parsed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    parsed.and(flow.map(|_| ()))
}

fn lists_of(document: Document, filter: Option<&Regex>, visit: &mut dyn FnMut(&str, &Bytes)) -> Result<(), InputError> {
    let text = document.bytes.trim_ascii();
    match text.first() {
        Some(b'{') if formats::is_recorded(text) => {
            for recorded in formats::recorded_lists(&document)? {
                visit(&recorded.block, &recorded.block_access_list);
            }
        }
        Some(b'{') => match Content::parse(&document, Some(&names_like(filter)))? {
            Content::Bundle(bundle) => {
                if let Some(list) = &bundle.bal {
                    visit(&bundle.name, list);
                }
            }
            Content::Tests(tests) => {
                for test in &tests {
                    let lists = test.blocks.iter().enumerate().filter_map(|(i, block)| Some((i, block.bal.as_ref()?)));
                    lists.for_each(|(i, list)| visit(&format!("{} #{}", test.name, i + 1), list));
                }
            }
        },
        Some(b'[') => visit(&document.name, &formats::list_from_json(&document)?),
        _ => match hex::decode(text) {
            Ok(bytes) => visit_raw(&document.name, bytes.into(), visit)?,
            // The file is not text: its bytes are the RLP of a list.
            Err(_) => visit_raw(&document.name, document.bytes.into(), visit)?,
        },
    }
    Ok(())
}

/// Calls `visit` with a list that is the only content of its file.
fn visit_raw(name: &str, bytes: Bytes, visit: &mut dyn FnMut(&str, &Bytes)) -> Result<(), InputError> {
    formats::check_rlp_len("a block access list", bytes.len())
        .map_err(|what| InputError::Bundle { name: name.to_owned(), what })?;
    visit(name, &bytes);
    Ok(())
}

/// Encodes a list in the JSON form of the execution-spec-tests.
pub fn to_json(list: &BalColumns) -> Value {
    let accounts = list.addresses().iter().map(|(account, address)| {
        let (reads, changed): (Vec<_>, Vec<_>) = list.slots(account).partition(|slot| list.is_read_only(*slot));
        let key = |slot| list.slot_keys()[slot];
        let storage = changed.into_iter().map(|slot| {
            json!({"slot": key(slot), "slotChanges": changes(list.storage(), slot, "postValue", |value| json!(value))})
        });
        json!({
            "address": address,
            "storageChanges": storage.collect::<Vec<_>>(),
            "storageReads": reads.into_iter().map(key).collect::<Vec<_>>(),
            "balanceChanges": changes(list.balances(), account, "postBalance", |value| json!(value)),
            "nonceChanges": changes(list.nonces(), account, "postNonce", |value| json!(format!("{value:#x}"))),
            "codeChanges": code_changes(list, account),
        })
    });
    accounts.collect()
}

fn changes<P: balustrade::arena::Id, V>(
    list: &Changes<P, V>,
    parent: P,
    name: &str,
    value: impl Fn(&V) -> Value,
) -> Vec<Value> {
    list.iter(parent)
        .map(|(index, new)| json!({"blockAccessIndex": format!("{:#x}", index.0), name: value(new)}))
        .collect()
}

fn code_changes(list: &BalColumns, account: AccountId) -> Vec<Value> {
    let rows = list.codes().rows(account);
    rows.map(|row| {
        let index = format!("{:#x}", list.codes().index(row).0);
        json!({"blockAccessIndex": index, "newCode": hex::encode_prefixed(list.code_bytes(row))})
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two accounts with every kind of change.
    const JSON: &str = r#"[{"address": "0x0000000000000000000000000000000000000001", "storageChanges": [],
        "storageReads": ["0x1"], "balanceChanges": [{"blockAccessIndex": "0x0", "postBalance": "0x100"}],
        "nonceChanges": [], "codeChanges": []}, {"address": "0x0000000000000000000000000000000000000002",
        "storageChanges": [{"slot": "0x0", "slotChanges": [{"blockAccessIndex": "0x1", "postValue": "0x0"}]}],
        "storageReads": [], "balanceChanges": [], "nonceChanges": [{"blockAccessIndex": "0x1", "postNonce": "0x2"}],
        "codeChanges": [{"blockAccessIndex": "0x1", "newCode": "0x00"}]}]"#;

    fn lists(bytes: &[u8]) -> Vec<Bytes> {
        let mut found = Vec::new();
        let document = Document { name: "some/list".into(), bytes: bytes.to_vec() };
        lists_of(document, None, &mut |_, list| found.push(list.clone())).expect("readable");
        found
    }

    #[test]
    fn json_hex_and_bytes_are_the_same_list() {
        let from_json = lists(JSON.as_bytes());
        let hex = format!("{}\n", hex::encode_prefixed(&from_json[0]));
        assert_eq!(lists(hex.as_bytes()), from_json);
        assert_eq!(lists(&from_json[0]), from_json);
        let columns = bal::decode(&from_json[0], &Limits::format_only()).expect("a list");
        let original: Value = serde_json::from_str(JSON).expect("JSON");
        assert_eq!(to_json(&columns), original);
    }
}
