//! Upper bound of the memory of a JSON document once it is parsed and executed, computed from its
//! text.
//!
//! In: the text. Out: a bound in bytes. A value of two or three bytes of text can become a row of
//! hundreds of bytes, so the length of the text alone gives no useful bound; values are counted
//! before anything is parsed. The constants are upper bounds of measurements on documents with a
//! single kind of value (`cli/tests/cli_inputs.rs` measures such documents).

/// Maximum memory of one document, in bytes. The command then stays below 4 GiB, code and threads
/// included.
pub const DOCUMENT_MEMORY_MAX: u64 = 3 << 30;

/// Bytes per value of the document: the widest rows, in arrays whose capacity has doubled, in the
/// maps made of them, and in the tries built from these.
const VALUE_BYTES: u64 = 768;
/// Bytes per byte of text: the text, the parts that are kept, and what is decoded from them.
const TEXT_BYTES: u64 = 4;

/// Maximum bytes of a block or of a block access list: each item, of at least one byte, becomes a
/// row of tens of bytes. Valid blocks are far smaller (EIP-7934 allows 8 MiB).
pub(super) const RLP_BYTES_MAX: usize = 64 << 20;

/// Checks the length in bytes of a block or a block access list.
///
/// # Errors
/// A message with the length and the limit.
pub fn check_rlp_len(what: &str, len: usize) -> Result<(), String> {
    if len <= RLP_BYTES_MAX {
        return Ok(());
    }
    Err(format!("{what} of {len} bytes; the limit is {RLP_BYTES_MAX} bytes"))
}

/// Upper bound of the document's memory in bytes, its text included.
pub(super) fn memory_max(json: &[u8]) -> u64 {
    values(json).saturating_mul(VALUE_BYTES).saturating_add((json.len() as u64).saturating_mul(TEXT_BYTES))
}

/// Upper bound of the number of values: each follows a comma or the start of an array or object,
/// except for the outermost one.
fn values(json: &[u8]) -> u64 {
    let mut count = 0;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'{' | b'[' => count += 1,
            b'"' => {
                // To the end of the string; an escaped byte does not end it.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (json, count) in [
            (&b""[..], 0),
            (b"[]", 1),
            (b"[1, 2, [3]]", 4),
            (br#"{"a,{[": "\",[", "b": {}}"#, 3),
            (br#"["\\", "\\\"", 1]"#, 3),
            (br#"["never closed, {}"#, 1),
            (br#"["\"#, 1),
        ] {
            assert_eq!(values(json), count, "{}", String::from_utf8_lossy(json));
        }
        assert_eq!(memory_max(b"[1,2]"), 2 * VALUE_BYTES + 5 * TEXT_BYTES);
    }
}
