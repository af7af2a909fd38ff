//! Compares the profiles of two runs.
//!
//! In: profiles, and those that an earlier run with `--json` printed. Out: rows with both times,
//! marked if they differ by more than noise.
//! Not here: printing the comparison (`print`, `report`).

use super::data::{CodeRow, Profile, Sampling};
use balustrade::formats::read_document;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Minimal difference that is marked, as a share of the earlier time.
const SHARE_MIN: f64 = 0.03;
/// Minimal difference that is marked, as a share of the block's processor time.
const OF_BLOCK_MIN: f64 = 0.005;

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
        let marked = by > noise_ns && by >= SHARE_MIN * before_ns && by >= OF_BLOCK_MIN * cpu_ns;
        rows.push(Difference { group, name: name.to_owned(), before_ns, after_ns, marked });
    };
    add("block", "whole", base.ns as f64, profile.ns as f64, 0.0);
    for (name, (before, after)) in pairs(
        base.stages.iter().map(|row| (row.stage.clone(), row.busy_ns as f64)),
        profile.stages.iter().map(|row| (row.stage.clone(), row.busy_ns as f64)),
    ) {
        add("stage", &name, before, after, 0.0);
    }
    let parts = |sampling: &Sampling| {
        sampling.parts.iter().map(|row| (row.part.clone(), row.ns)).collect::<Vec<_>>().into_iter()
    };
    for (name, (before, after)) in pairs(parts(&base.sampling), parts(&profile.sampling)) {
        let deviation = |sampling: &Sampling| {
            sampling.parts.iter().find(|row| row.part == name).map_or(0.0, |row| {
                // The standard deviation of a count is its square root.
                row.ns / (row.samples.max(1) as f64).sqrt()
            })
        };
        add("part", &name, before, after, 2.0 * deviation(&base.sampling).hypot(deviation(&profile.sampling)));
    }
    let codes =
        |rows: &[CodeRow]| rows.iter().map(|row| (row.name.clone(), row.total.ns)).collect::<Vec<_>>().into_iter();
    for (name, (before, after)) in pairs(codes(&base.code.opcodes), codes(&profile.code.opcodes)) {
        add("instruction", &name, before, after, 0.0);
    }
    for (name, (before, after)) in pairs(codes(&base.code.precompiles), codes(&profile.code.precompiles)) {
        add("precompile", &name, before, after, 0.0);
    }
    let against = format!("{} ({} mode, {} threads, {} loop)", base.block, base.mode, base.threads, base.loop_name);
    Comparison { against, rows }
}

/// Pairs the entries of both sides by name.
fn pairs(
    before: impl Iterator<Item = (String, f64)>,
    after: impl Iterator<Item = (String, f64)>,
) -> BTreeMap<String, (f64, f64)> {
    let mut pairs: BTreeMap<String, (f64, f64)> = before.map(|(name, ns)| (name, (ns, 0.0))).collect();
    for (name, ns) in after {
        pairs.entry(name).or_default().1 = ns;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::data::{PartRow, StageRow};
    use super::*;

    fn profile(ns: u64, root_ns: u64, samples: u64) -> Profile {
        let part = PartRow { part: "root".to_owned(), samples, ns: root_ns as f64, ..PartRow::default() };
        Profile {
            block: "a".to_owned(),
            ns,
            stages: vec![StageRow { stage: "root".to_owned(), busy_ns: root_ns, sum_ns: root_ns }],
            sampling: Sampling { samples: 100, cpu_ns: ns, parts: vec![part], ..Sampling::default() },
            ..Profile::default()
        }
    }

    #[test]
    fn what_exceeds_noise_is_marked() {
        let marks = |before: &Profile, after: &Profile| -> Vec<(&str, bool)> {
            compare(before, after).rows.iter().map(|row| (row.group, row.marked)).collect()
        };
        let before = profile(1000, 100, 4);
        assert_eq!(marks(&before, &profile(1010, 102, 4)), [("block", false), ("stage", false), ("part", false)]);
        // Four samples more or fewer are within two standard deviations; the measured times have no
        // such tolerance.
        assert_eq!(marks(&before, &profile(1100, 150, 6)), [("block", true), ("stage", true), ("part", false)]);
        let many = profile(1000, 100, 4_000);
        assert_eq!(marks(&many, &profile(1100, 150, 6_000))[2], ("part", true));
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
        let saved = profile(1000, 100, 4);
        let path = std::env::temp_dir().join(format!("balustrade-profile-{}.json", std::process::id()));
        let lines = format!("{}\n{{\"summary\": {{}}}}\n", serde_json::to_string(&saved).expect("plain data"));
        std::fs::write(&path, lines).expect("a temporary file");
        let loaded = load(&path);
        let _ = std::fs::remove_file(&path);
        assert_eq!(loaded, Ok(vec![saved]));
        assert!(load(&path).is_err());
    }
}
