//! Counts of mutants by mutator and check, and findings; printed as a table.

use std::collections::BTreeMap;

/// The result of a mutant in all modes.
#[derive(Debug)]
pub enum Verdict {
    /// All modes accept: the mutant is another valid block.
    Equivalent,
    /// All modes refuse.
    Refused {
        /// The check that refused it in `bal` mode.
        check: String,
        /// Whether the errors of `bal` mode and of the modes that record lists share an exception class.
        same_class: bool,
    },
}

/// Counts of one mutator.
#[derive(Clone, Debug, Default)]
struct Row {
    mutants: usize,
    root_resealed: usize,
    equivalent: usize,
    other_class: usize,
    checks: BTreeMap<String, usize>,
}

/// Counts of all mutators, and findings.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: BTreeMap<&'static str, Row>,
    /// Mutants that are equal to the original.
    pub unchanged: usize,
    /// Findings: kind, and a description with the block.
    pub findings: Vec<(&'static str, String)>,
}

impl Report {
    /// Counts a mutant.
    pub fn add(&mut self, mutator: &'static str, root_resealed: bool, verdict: Verdict) {
        let row = self.rows.entry(mutator).or_default();
        row.mutants += 1;
        row.root_resealed += usize::from(root_resealed);
        match verdict {
            Verdict::Equivalent => row.equivalent += 1,
            Verdict::Refused { check, same_class } => {
                row.other_class += usize::from(!same_class);
                *row.checks.entry(check).or_default() += 1;
            }
        }
    }

    /// Adds a finding.
    pub fn finding(&mut self, kind: &'static str, what: String) {
        self.findings.push((kind, what));
    }

    /// Adds the counts and findings of another report.
    pub fn merge(&mut self, other: Self) {
        for (name, row) in other.rows {
            let own = self.rows.entry(name).or_default();
            own.mutants += row.mutants;
            own.root_resealed += row.root_resealed;
            own.equivalent += row.equivalent;
            own.other_class += row.other_class;
            for (check, count) in row.checks {
                *own.checks.entry(check).or_default() += count;
            }
        }
        self.unchanged += other.unchanged;
        self.findings.extend(other.findings);
    }

    /// Number of mutants.
    pub fn total(&self) -> usize {
        self.rows.values().map(|row| row.mutants).sum()
    }

    /// Number of mutants of this mutator.
    pub fn count_of(&self, mutator: &str) -> usize {
        self.rows.get(mutator).map_or(0, |row| row.mutants)
    }

    /// Number of mutants whose state root was recomputed from the wrong list.
    pub fn resealed(&self) -> usize {
        self.rows.values().map(|row| row.root_resealed).sum()
    }

    /// Markdown: one row per mutator, then one per check.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| mutator | mutants | state root resealed | another valid block | other class | caught by |\n|---|---|---|---|---|---|\n",
        );
        let mut by_check: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, row) in &self.rows {
            let mut checks: Vec<(&str, usize)> =
                row.checks.iter().map(|(name, count)| (name.as_str(), *count)).collect();
            checks.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            checks.iter().for_each(|(name, count)| *by_check.entry(name).or_default() += count);
            let checks: Vec<String> = checks.iter().map(|(name, count)| format!("{name} {count}")).collect();
            out += &format!(
                "| {name} | {} | {} | {} | {} | {} |\n",
                row.mutants,
                row.root_resealed,
                row.equivalent,
                row.other_class,
                checks.join(", ")
            );
        }
        out += "\n| check | mutants caught |\n|---|---|\n";
        for (name, count) in by_check {
            out += &format!("| {name} | {count} |\n");
        }
        out
    }
}
