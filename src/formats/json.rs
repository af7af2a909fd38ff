//! Common parts of the JSON formats of genesis files, fixtures and bundles: quantities and
//! allocations.
//!
//! In: JSON values. Out: numbers, accounts.
//! Not here: the document formats.

use crate::arena::store::MemoryStore;
use alloy_primitives::{Address, B256, Bytes, U256};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A number written as `0x` hex of any length (`0x` alone is zero), as decimal digits in a string, or as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quantity(pub U256);

impl Quantity {
    /// Parses the text forms.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some("") => return Some(Self(U256::ZERO)),
            Some(digits) => (digits, 16),
            None if text.is_empty() => return None,
            None => (text, 10),
        };
        // `from_str_radix` skips underscores and accepts digits of other radices, which the formats
        // do not allow.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        U256::from_str_radix(digits, radix).ok().map(Self)
    }

    fn u64<E: Error>(self) -> Result<u64, E> {
        u64::try_from(self.0).map_err(|_| E::custom("the number is wider than 64 bits"))
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a string of 0x hex or decimal digits")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text).ok_or_else(|| E::custom(format_args!("not a 256-bit number: {text:?}")))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Quantity, E> {
                Ok(Quantity(U256::from(value)))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// `deserialize_with` for numbers below 2^64.
pub fn u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Quantity::deserialize(deserializer)?.u64()
}

/// `deserialize_with` for numbers below 2^256.
pub fn u256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
    Quantity::deserialize(deserializer).map(|quantity| quantity.0)
}

/// The entries of a JSON object in the order of the file: cheaper than a map, and keeps duplicates.
#[derive(Clone, Debug)]
pub struct Entries<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<K, V>(core::marker::PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Map<K, V> {
            type Value = Entries<K, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Map(core::marker::PhantomData))
    }
}

/// One account of an allocation. Fixtures have `code`; bundles have `codeHash`, with the codes in a
/// separate list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of an account")]
pub struct AllocAccount {
    #[serde(default, deserialize_with = "u64")]
    nonce: u64,
    #[serde(default, deserialize_with = "u256")]
    balance: U256,
    #[serde(default)]
    code: Bytes,
    code_hash: Option<B256>,
    #[serde(default)]
    storage: Entries<Quantity, Quantity>,
}

/// An allocation: the accounts of a genesis, of a fixture's `pre` section or of a bundle's
/// `preState`.
pub type Alloc = Entries<Address, AllocAccount>;

impl Alloc {
    /// Converts to a store. `codes`: the codes that accounts refer to by hash.
    pub fn into_store(self, codes: Vec<Bytes>) -> MemoryStore {
        let mut store = MemoryStore::default();
        for code in codes {
            store.insert_code(code);
        }
        for (address, account) in self.0 {
            let code_hash = account.code_hash.unwrap_or_else(|| store.insert_code(account.code));
            let storage = account.storage.0.into_iter().map(|(key, value)| (key.0, value.0));
            store.insert_account(address, account.nonce, account.balance, code_hash, storage);
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_in_every_spelling() {
        let parse = |text| Quantity::parse(text).map(|quantity| quantity.0);
        assert_eq!(parse("0x"), Some(U256::ZERO));
        assert_eq!(parse("0x0010"), Some(U256::from(16)));
        assert_eq!(parse("10"), Some(U256::from(10)));
        let wide = format!("0x{}", "f".repeat(65));
        for bad in ["", "0x_1", "-1", "0b1", "a", "1_0", &wide] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(serde_json::from_str::<Quantity>("7").ok(), Some(Quantity(U256::from(7))));
        assert!(serde_json::from_str::<Quantity>("-7").is_err());
    }
}
