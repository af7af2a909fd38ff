//! Compares the profiles of two runs.
//!
//! In: profiles, and those that an earlier run with `--json` printed. Out: rows with both times,
//! marked if they differ by more than noise.
//! Not here: printing the comparison (`print`, `report`).

use super::data::{CodeRow, Profile};
use balustrade::formats::read_document;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Minimal difference that is marked, as a share of the longer time.
const SHARE_MIN: f64 = 0.05;
/// Minimal difference that is marked, as a share of the block's processor time. It does not apply to
/// the time of the block itself.
const OF_BLOCK_MIN: f64 = 0.01;
/// Minimal difference of sampled times that is marked, in standard errors.
const STANDARD_ERRORS: f64 = 3.0;
/// Possible relative error of the time of a clock reading. That time is subtracted from an
/// instruction's time once per run of the instruction.
const READING_ERROR: f64 = 0.15;

/// The differences of one block between two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The block of the other run, with its mode, threads and loop.
    pub against: String,
    /// All times of either run.
    pub rows: Vec<Difference>,
}

/// One time in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `block`, `stage`, `part`, `instruction` or `precompile`.
    pub group: &'static str,
    /// Name within the group.
    pub name: String,
    /// Nanoseconds in the other (earlier) run.
    pub before_ns: f64,
    /// Nanoseconds in this run.
    pub after_ns: f64,
    /// Largest difference that counts as noise, from the differences between the executions within
    /// each run.
    pub noise_ns: f64,
    /// Whether the times differ by more than noise.
    pub marked: bool,
}

/// Reads the profiles that a run with `--json` printed.
///
/// # Errors
/// A description: the file cannot be read, or contains no profile.
pub fn load(path: &Path) -> Result<Vec<Profile>, String> {
    /// The line of a block; other lines lack this field.
    #[derive(Deserialize)]
    #[serde(expecting = "a line that `balustrade profile --json` printed")]
    struct Probe {
        stacks: Option<IgnoredAny>,
    }
    let document = read_document(path).map_err(|error| error.to_string())?;
    let json_error = |error: serde_json::Error| format!("{}: {error}", path.display());
    let mut profiles = Vec::new();
    for line in document.bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let probe: Probe = serde_json::from_slice(line).map_err(json_error)?;
        if probe.stacks.is_some() {
            profiles.push(serde_json::from_slice(line).map_err(json_error)?);
        }
    }
    if profiles.is_empty() {
        return Err(format!("{} holds no profile; `balustrade profile --json` writes them", path.display()));
    }
    Ok(profiles)
}

/// Returns the other run's profile of the same block, by name; if both runs have a single block,
/// that block's.
pub fn counterpart<'a>(profile: &Profile, count: usize, others: &'a [Profile]) -> Option<&'a Profile> {
    let same = others.iter().find(|other| other.block == profile.block);
    same.or_else(|| others.first().filter(|_| count == 1 && others.len() == 1))
}

/// Compares a block's profile with that of the other run.
pub fn compare(base: &Profile, profile: &Profile) -> Comparison {
    let cpu_ns = profile.sampling.cpu_ns.max(profile.ns) as f64;
    let mut rows = Vec::new();
    let mut add = |group, name: &str, before_ns: f64, after_ns: f64, noise_ns: f64| {
        let by = (after_ns - before_ns).abs();
        let of_block = if group == "block" { 0.0 } else { OF_BLOCK_MIN * cpu_ns };
        let marked = by > noise_ns && by >= SHARE_MIN * before_ns.max(after_ns) && by > of_block;
        rows.push(Difference { group, name: name.to_owned(), before_ns, after_ns, noise_ns, marked });
    };
    add("block", "whole", base.ns as f64, profile.ns as f64, base.spread_ns.hypot(profile.spread_ns));
    for (name, before, after) in pairs(&base.stages, &profile.stages, |row| &row.stage) {
        let noise_ns = before.spread_ns.hypot(after.spread_ns);
        add("stage", &name, before.busy_ns as f64, after.busy_ns as f64, noise_ns);
    }
    for (name, before, after) in pairs(&base.sampling.parts, &profile.sampling.parts, |row| &row.part) {
        add("part", &name, before.ns, after.ns, STANDARD_ERRORS * before.error_ns.hypot(after.error_ns));
    }
    // Each run estimates the time of a clock reading again.
    let (reading_before, reading_after) = (base.code.reading_ns, profile.code.reading_ns);
    let reading_error = (reading_after - reading_before).abs() + READING_ERROR * reading_before.max(reading_after);
    for (group, before, after) in [
        ("instruction", &base.code.opcodes, &profile.code.opcodes),
        ("precompile", &base.code.precompiles, &profile.code.precompiles),
    ] {
        for (name, before, after) in pairs(before, after, |row: &CodeRow| &row.name) {
            let count = before.total.count.max(after.total.count);
            let noise_ns = before.spread_ns.hypot(after.spread_ns) + count * reading_error;
            add(group, &name, before.total.ns, after.total.ns, noise_ns);
        }
    }
    let against = format!("{} ({} mode, {} threads, {} loop)", base.block, base.mode, base.threads, base.loop_name);
    Comparison { against, rows }
}

/// Pairs the rows of both sides by name; a row that one side lacks is empty there.
fn pairs<R: Clone + Default>(before: &[R], after: &[R], name: impl Fn(&R) -> &String) -> Vec<(String, R, R)> {
    let mut pairs: BTreeMap<String, (R, R)> = BTreeMap::new();
    for row in before {
        pairs.entry(name(row).clone()).or_default().0 = row.clone();
    }
    for row in after {
        pairs.entry(name(row).clone()).or_default().1 = row.clone();
    }
    pairs.into_iter().map(|(name, (before, after))| (name, before, after)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::data::{CodeCell, CodeTimes, PartRow, Sampling, StageRow};
    use super::*;

    /// A block that spends `root_ns` on its root; each spread is a fiftieth of its time.
    fn profile(ns: u64, root_ns: u64, error_ns: f64) -> Profile {
        let part = PartRow { part: "root".to_owned(), samples: 4, ns: root_ns as f64, error_ns, ..PartRow::default() };
        let spread_ns = root_ns as f64 / 50.0;
        Profile {
            block: "a".to_owned(),
            ns,
            spread_ns: ns as f64 / 50.0,
            stages: vec![StageRow { stage: "root".to_owned(), busy_ns: root_ns, spread_ns, sum_ns: root_ns }],
            sampling: Sampling { samples: 100, cpu_ns: ns, parts: vec![part], ..Sampling::default() },
            ..Profile::default()
        }
    }

    /// The marks of a comparison, by group.
    fn marks(before: &Profile, after: &Profile) -> Vec<(&'static str, bool)> {
        compare(before, after).rows.iter().map(|row| (row.group, row.marked)).collect()
    }

    #[test]
    fn what_exceeds_noise_is_marked() {
        let before = profile(1000, 100, 20.0);
        let none = [("block", false), ("stage", false), ("part", false)];
        assert_eq!(marks(&before, &before), none);
        assert_eq!(marks(&before, &profile(1010, 104, 20.0)), none);
        // The part has few samples, so that its difference may be chance; the measured times have no
        // such error.
        let slower = [("block", true), ("stage", true), ("part", false)];
        assert_eq!(marks(&before, &profile(1100, 150, 20.0)), slower);
        assert_eq!(marks(&profile(1000, 100, 1.0), &profile(1100, 150, 1.0))[2], ("part", true));
        // The executions within each run differ as much as the two runs do.
        let noisy = |ns, root_ns| Profile { spread_ns: 150.0, ..profile(ns, root_ns, 20.0) };
        assert_eq!(marks(&noisy(1000, 100), &noisy(1100, 100)), none);
        // A difference that is small compared with the block is not marked, however exact it is.
        assert_eq!(marks(&profile(100_000, 100, 0.0), &profile(100_000, 200, 0.0)), none);
        assert_eq!(marks(&profile(1000, 0, 0.0), &profile(1000, 0, 0.0)), none);
    }

    #[test]
    fn the_time_of_clock_readings_is_no_difference_of_an_instruction() {
        let with = |count, ns, reading_ns| {
            let total = CodeCell { count, gas: 3.0 * count, ns };
            let row = CodeRow { name: "PUSH1".to_owned(), total, ..CodeRow::default() };
            let code = CodeTimes { reading_ns, opcodes: vec![row], ..CodeTimes::default() };
            Profile { ns: 10_000, code, ..Profile::default() }
        };
        let mark = |before: &Profile, after: &Profile| marks(before, after)[1];
        // The instruction ran 100 times, and 2 ns more were subtracted per reading of the clock.
        assert_eq!(mark(&with(100.0, 900.0, 8.0), &with(100.0, 700.0, 10.0)), ("instruction", false));
        assert_eq!(mark(&with(100.0, 900.0, 8.0), &with(100.0, 1_500.0, 8.0)), ("instruction", true));
        // The clock is read once per run of the instruction, so that its error is small here.
        assert_eq!(mark(&with(1.0, 900.0, 8.0), &with(1.0, 700.0, 10.0)), ("instruction", true));
    }

    #[test]
    fn a_block_finds_its_counterpart() {
        let named = |name: &str| Profile { block: name.to_owned(), ..Profile::default() };
        let others = [named("a"), named("b")];
        assert_eq!(counterpart(&named("b"), 1, &others).map(|other| other.block.as_str()), Some("b"));
        assert_eq!(counterpart(&named("c"), 1, &others), None);
        assert_eq!(counterpart(&named("c"), 1, &others[..1]).map(|other| other.block.as_str()), Some("a"));
    }

    #[test]
    fn saved_profiles_come_back() {
        let saved = profile(1000, 100, 20.0);
        let path = std::env::temp_dir().join(format!("balustrade-profile-{}.json", std::process::id()));
        let lines = format!("{}\n{{\"summary\": {{}}}}\n", serde_json::to_string(&saved).expect("plain data"));
        std::fs::write(&path, lines).expect("a temporary file");
        let loaded = load(&path);
        let _ = std::fs::remove_file(&path);
        assert_eq!(loaded, Ok(vec![saved]));
        assert!(load(&path).is_err());
    }
}
