//! `workload list`: prints families and options from the description that the argument parser has
//! of them.

use super::super::report;
use super::{Common, WorkloadCommand};
use clap::{Args, Command, Subcommand};
use serde_json::json;

/// Options of `workload list`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ListArgs {
    /// Print one JSON object per line, the last one `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// An option: name, values, default, description.
type Knob = (String, String, String, String);

/// Prints all families and their options.
pub fn print(args: &ListArgs) {
    let workload = WorkloadCommand::augment_subcommands(Command::new("workload"));
    let common = Common::augment_args(Command::new("common"));
    let is_common = |name: &str| common.get_arguments().any(|arg| arg.get_id() == name);
    let families: Vec<(&Command, Vec<Knob>)> = workload
        .get_subcommands()
        .filter(|family| family.get_name() != "list")
        .map(|family| (family, knobs(family)))
        .collect();
    if args.json {
        for (family, knobs) in &families {
            let knobs = knobs.iter().map(|(flag, values, default, help)| {
                json!({"knob": flag, "values": values, "default": default, "help": help, "common": is_common(flag)})
            });
            let about = family.get_about().map(ToString::to_string);
            report::json_line(
                &json!({"family": family.get_name(), "about": about, "knobs": knobs.collect::<Vec<_>>()}),
            );
        }
        report::json_line(&json!({"summary": {"families": families.len()}}));
        return;
    }
    let mut table = report::plain_table();
    let row = |(flag, values, default, help): &Knob| {
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        [format!("  --{flag} {values}"), format!("{help}{default}")]
    };
    for (family, knobs) in &families {
        let about = family.get_about().map(ToString::to_string).unwrap_or_default();
        table.add_row([family.get_name(), &about]);
        table.add_rows(knobs.iter().filter(|knob| !is_common(&knob.0)).map(row));
    }
    table.add_row(["all families"]);
    table.add_rows(families.iter().take(1).flat_map(|(_, knobs)| knobs).filter(|knob| is_common(&knob.0)).map(row));
    report::line(&table.to_string());
}

fn knobs(family: &Command) -> Vec<Knob> {
    family
        .get_arguments()
        .filter(|arg| arg.get_id() != "help")
        .map(|arg| {
            let possible: Vec<String> =
                arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            let names = arg.get_value_names().map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
            let takes_value = arg.get_action().takes_values();
            let values = match (takes_value, possible.is_empty() || possible.len() > 4) {
                (false, _) => String::new(),
                (true, true) => names.unwrap_or_default().join(" "),
                (true, false) => possible.join("|"),
            };
            let defaults = arg.get_default_values().iter().filter_map(|value| value.to_str());
            let default = if takes_value { defaults.collect::<Vec<_>>().join(",") } else { String::new() };
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            (arg.get_long().unwrap_or_default().to_owned(), values, default, help)
        })
        .collect()
}
