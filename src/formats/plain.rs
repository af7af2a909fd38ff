//! Readable JSON errors: the field, the expected type, and an excerpt of the value.
//!
//! In: the parser's error and the path of the field. Out: one short line.

use std::fmt::Write;

/// Maximum characters shown of a quoted value.
const EXCERPT: usize = 40;

/// The parser's message about a wrong type, a missing field or malformed JSON, with the path of the
/// field.
pub(super) fn error(error: &serde_json::Error, field: Option<&serde_path_to_error::Path>) -> String {
    // The path `.` is the whole document, not a field.
    let field = field.map(ToString::to_string).filter(|path| path != ".");
    let what = shortened(&error.to_string());
    field.map_or_else(|| what.clone(), |field| format!("field {}: {what}", shortened(&field)))
}

/// The message with every long quoted value replaced by an excerpt and its length, and for hex
/// strings the position of the first character that is no hex digit.
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
    // Keys are in backquotes and can be long, too.
    push_rest(&mut out, rest);
    out
}

/// Length of the quoted text at the beginning; an escaped quote does not end it.
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

/// Appends `rest`, shortening words of more than four times [`EXCERPT`] characters.
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

/// Appends the length of a shortened value and the position of a wrong hex digit.
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
