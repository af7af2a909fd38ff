//! Errors of the JSON reader for a person: which field, what was expected, and no more of a value than tells what it is.
//!
//! In: the reader's error and the path of the field. Out: one short line.

use std::fmt::Write;

/// Letters of a quoted value that are shown; longer ones are cut.
const EXCERPT: usize = 40;

/// What the reader says of a wrong type, missing field or damaged text, with the field that it was at.
pub(super) fn error(error: &serde_json::Error, field: Option<&serde_path_to_error::Path>) -> String {
    // Fields are followed by what was parsed last: the whole document is no field.
    let field = field.map(ToString::to_string).filter(|path| path != ".");
    let what = shortened(&error.to_string());
    field.map_or_else(|| what.clone(), |field| format!("field {}: {what}", shortened(&field)))
}

/// The message with every long quoted value cut to an excerpt, its length, and the place of the first letter in it that is
/// no hex digit, where it should be hex.
fn shortened(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some(start) = rest.find('"') {
        let (before, quoted) = rest.split_at(start + 1);
        out.push_str(before);
        let len = end_of_quoted(quoted);
        let (value, after) = quoted.split_at(len);
        push_excerpt(&mut out, value);
        rest = after;
        if let Some(after) = after.strip_prefix('"') {
            out.push('"');
            rest = after;
            describe(&mut out, value);
        }
    }
    // Keys stand in backquotes; they can be long as well.
    push_rest(&mut out, rest);
    out
}

/// Length of the quoted text at the beginning, an escaped quote being part of it.
fn end_of_quoted(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().find(|(_, letter)| match letter {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        '\\' => {
            is_escaped = true;
            false
        }
        letter => *letter == '"',
    });
    end.map_or(text.len(), |(at, _)| at)
}

fn push_excerpt(out: &mut String, value: &str) {
    match value.char_indices().nth(EXCERPT) {
        Some((at, _)) => {
            out.push_str(&value[..at]);
            out.push('…');
        }
        None => out.push_str(value),
    }
}

/// Words without spaces longer than an excerpt are cut as well.
fn push_rest(out: &mut String, rest: &str) {
    for (place, word) in rest.split(' ').enumerate() {
        if place > 0 {
            out.push(' ');
        }
        match word.char_indices().nth(4 * EXCERPT) {
            Some(_) => push_excerpt(out, word),
            None => out.push_str(word),
        }
    }
}

/// Adds what the excerpt does not show.
fn describe(out: &mut String, value: &str) {
    let letters = value.chars().count();
    let mut notes = Vec::new();
    if letters > EXCERPT {
        notes.push(format!("{letters} characters"));
    }
    if let Some(digits) = value.strip_prefix("0x") {
        match digits.chars().enumerate().find(|(_, digit)| !digit.is_ascii_hexdigit()) {
            Some((at, digit)) => notes.push(format!("{digit:?} at position {} is no hex digit", at + 2)),
            None if letters > EXCERPT && letters % 2 == 1 => notes.push("an odd number of hex digits".to_owned()),
            None => {}
        }
    }
    if !notes.is_empty() {
        let _ = write!(out, " ({})", notes.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_bad_digits_located() {
        let hex = format!("0x{}g{}", "ab".repeat(500), "cd".repeat(500));
        let message = format!("invalid value: string \"{hex}\", expected hex at line 1 column 9");
        let expected = format!(
            "invalid value: string \"{}…\" (2003 characters, 'g' at position 1002 is no hex digit), \
             expected hex at line 1 column 9",
            &hex[..EXCERPT]
        );
        assert_eq!(shortened(&message), expected);
        assert_eq!(shortened("string \"short\", expected a map"), "string \"short\", expected a map");
        assert!(shortened(&format!("a \"{}", "x".repeat(9_999))).len() < 100);
        assert!(shortened(&"y".repeat(9_999)).len() < 100);
        assert!(shortened(&format!("key `{}`", "ü".repeat(9_999))).len() < 200);
        assert_eq!(shortened("a \"b\\\"c\" d"), "a \"b\\\"c\" d");
    }
}
