//! Output: JSON lines or a table.
//!
//! In: rows of named values. Out: standard output: with `--json` one object per line and nothing else, else the columns
//! that the command selected, as text. A row is printed as soon as it is measured, because a comparison takes long; the
//! tables of `balustrade bench` are drawn from all rows at the end, with widths that fit them.
//! Not here: computing figures.

use serde_json::{Value, json};

/// Named values in the order in which they are printed.
pub(crate) type Row = Vec<(String, Value)>;

/// A [`Row`] from `"name": value` pairs.
macro_rules! row {
    ($($name:literal: $value:expr),* $(,)?) => {
        vec![$(($name.to_owned(), serde_json::json!($value))),*]
    };
}
pub(crate) use row;

/// A report on standard output.
pub(crate) struct Report {
    json: bool,
    columns: Vec<String>,
    header: bool,
}

impl Report {
    /// `columns` are those of the table; with `json` every value of a row is printed.
    pub(crate) fn new(json: bool, columns: &[&str]) -> Self {
        Self { json, columns: columns.iter().map(|name| (*name).to_owned()).collect(), header: false }
    }

    /// Prints a row.
    pub(crate) fn row(&mut self, row: &Row) {
        if self.json {
            println!("{}", object(row));
            return;
        }
        if !self.header {
            self.header = true;
            println!("{}", line(self.columns.iter().map(|name| (name.clone(), name.len()))));
        }
        let value =
            |name: &String| row.iter().find(|(found, _)| found == name).map_or(Value::Null, |(_, value)| value.clone());
        println!("{}", line(self.columns.iter().map(|name| (text(&value(name)), name.len()))));
    }

    /// The next row gets a new heading.
    pub(crate) fn section(&mut self) {
        if !self.json {
            println!();
        }
        self.header = false;
    }

    /// Prints the summary as the last line.
    pub(crate) fn summary(&self, summary: &Row) {
        if self.json {
            println!("{{\"summary\":{}}}", object(summary));
            return;
        }
        println!();
        for (name, value) in summary {
            println!("{name:32} {}", text(value));
        }
    }
}

fn object(row: &Row) -> String {
    let members: Vec<String> =
        row.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", members.join(","))
}

const FIRST_WIDTH: usize = 30;
const WIDTH: usize = 9;

fn line(cells: impl Iterator<Item = (String, usize)>) -> String {
    let mut line = String::new();
    for (index, (cell, title_len)) in cells.enumerate() {
        if index == 0 {
            line.push_str(&format!("{cell:FIRST_WIDTH$}"));
        } else {
            let width = WIDTH.max(title_len);
            line.push_str(&format!(" {cell:>width$}"));
        }
    }
    line
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.2}"),
            _ => number.to_string(),
        },
        value => value.to_string(),
    }
}

/// The value rounded to three decimals; `null` for NaN.
pub(crate) fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_keep_their_order() {
        let row = row! { "b": 1, "a": "x\"", "c": rounded(f64::NAN), "d": rounded(1.23456) };
        assert_eq!(object(&row), r#"{"b":1,"a":"x\"","c":null,"d":1.235}"#);
    }
}
