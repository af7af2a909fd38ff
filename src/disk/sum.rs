//! Checksums of the parts of a store.
//!
//! In: bytes, and where they are. Out: CRC-32C that starts from the name of the store and the place of the bytes, so
//! that a part of another store, or one written to the wrong place, does not pass.
//! Not here: protection against an attacker who can write the files.

use crc32c::{crc32c, crc32c_append};

/// 16 random bytes that name a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub [u8; 16]);

impl StoreId {
    /// The state of a checksum at the start of a part: `kind` names the kind of part, `place` its place.
    pub(super) fn sum(&self, kind: &str, place: &[u64]) -> u32 {
        let mut sum = crc32c_append(crc32c(&self.0), kind.as_bytes());
        for number in place {
            sum = extend(sum, &number.to_le_bytes());
        }
        sum
    }
}

/// The checksum `sum` continued over `bytes`.
pub(super) fn extend(sum: u32, bytes: &[u8]) -> u32 {
    crc32c_append(sum, bytes)
}
