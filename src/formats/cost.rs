//! How much memory a JSON document may take once it is parsed and executed on, from its text alone.
//!
//! A value of two or three bytes of text can become a row of hundreds of bytes: the text's length says little. So values
//! are counted before anything is parsed. The figures are upper bounds of what was measured on documents made of one kind
//! of value (`tests/cli_inputs.rs` measures such documents).

/// Most memory that one document may take: the command stays below 4 GiB, code and threads included.
pub const DOCUMENT_MEMORY_MAX: u64 = 3 << 30;

/// Bytes for each value of the document: the widest rows, in arrays that doubled, in the maps made of them, and in the
/// tries built from these.
const VALUE_BYTES: u64 = 768;
/// Bytes for each byte of text: itself, what is kept of it, and what is decoded from that.
const TEXT_BYTES: u64 = 4;

/// Most bytes of a block or of an access list: their items, of one byte at least, become rows of tens of bytes. No block
/// comes near it (EIP-7934 allows 8 MiB).
pub(super) const RLP_BYTES_MAX: usize = 64 << 20;

/// Refuses a block or list that is too long to be one.
///
/// # Errors
/// In words, with the limit.
pub fn check_rlp_len(what: &str, len: usize) -> Result<(), String> {
    if len <= RLP_BYTES_MAX {
        return Ok(());
    }
    Err(format!("{what} of {len} bytes; the limit is {RLP_BYTES_MAX} bytes"))
}

/// Most bytes that this document may take in memory, its text included.
pub(super) fn memory_max(json: &[u8]) -> u64 {
    values(json).saturating_mul(VALUE_BYTES).saturating_add((json.len() as u64).saturating_mul(TEXT_BYTES))
}

/// Number of values, from above: all but the outermost one follow a comma or open an array or an object.
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
