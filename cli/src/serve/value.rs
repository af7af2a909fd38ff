//! Values of the Engine API and of the public methods: `DATA` and `QUANTITY`, read strictly.
//!
//! In: JSON strings. Out: bytes and numbers. A string without `0x`, of another length, or with leading zeros is refused.
//! Spec: execution-apis, "Encoding".

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256, hex};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes of any length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(pub Bytes);

/// `N` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fixed<const N: usize>(pub FixedBytes<N>);

/// A number below 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number(pub u64);

/// A number below 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wide(pub U256);

impl Fixed<20> {
    /// As an address.
    pub const fn address(self) -> Address {
        Address(self.0)
    }
}

impl From<Address> for Fixed<20> {
    fn from(address: Address) -> Self {
        Self(address.0)
    }
}

impl From<B256> for Fixed<32> {
    fn from(hash: B256) -> Self {
        Self(hash)
    }
}

/// Calls `parse` with a string.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<P>(&'static str, P);
    impl<T, P: Fn(&str) -> Option<T>> Visitor<'_> for Text<P> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::custom(format_args!("not {}", self.0)))
        }
    }
    deserializer.deserialize_str(Text(expected, parse))
}

/// Parses a `QUANTITY`.
pub fn quantity(text: &str) -> Option<U256> {
    let digits = text.strip_prefix("0x")?;
    let is_canonical = digits == "0" || !(digits.is_empty() || digits.starts_with('0'));
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_canonical && is_hex && digits.len() <= 64 { U256::from_str_radix(digits, 16).ok() } else { None }
}

/// Parses `DATA`.
pub fn data(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").filter(|digits| !digits.starts_with("0x"))?).ok()
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "0x and an even number of hex digits", data).map(|bytes| Self(bytes.into()))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| <[u8; N]>::try_from(data(text)?).ok();
        text(deserializer, "0x and the hex digits of a fixed number of bytes", parse).map(|bytes| Self(bytes.into()))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| u64::try_from(quantity(text)?).ok();
        text(deserializer, "0x and the hex digits of a number below 2^64 without leading zeros", parse).map(Self)
    }
}

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "0x and the hex digits of a number below 2^256 without leading zeros", quantity).map(Self)
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_prefixed(&self.0))
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_prefixed(self.0))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl Serialize for Wide {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_values_are_read() {
        let number = |text: &str| serde_json::from_str::<Number>(text).map(|number| number.0).ok();
        assert_eq!(number("\"0x0\""), Some(0));
        assert_eq!(number("\"0xffffffffffffffff\""), Some(u64::MAX));
        for bad in
            ["\"0x\"", "\"0x00\"", "\"0x01\"", "\"1\"", "1", "null", "\"0x10000000000000000\"", "\"0x-1\"", "\"0x_1\""]
        {
            assert_eq!(number(bad), None, "{bad}");
        }
        let fixed = |text: &str| serde_json::from_str::<Fixed<2>>(text).map(|bytes| bytes.0.0).ok();
        assert_eq!(fixed("\"0x0102\""), Some([1, 2]));
        for bad in ["\"0102\"", "\"0x01\"", "\"0x010203\"", "\"0x0x0102\"", "[1,2]", "\"0x010g\""] {
            assert_eq!(fixed(bad), None, "{bad}");
        }
        let data = |text: &str| serde_json::from_str::<Data>(text).map(|data| data.0.to_vec()).ok();
        assert_eq!(data("\"0x\""), Some(vec![]));
        for bad in ["\"\"", "\"0x0\"", "\"01\"", "[1]", "7"] {
            assert_eq!(data(bad), None, "{bad}");
        }
        let wide = Wide(U256::MAX);
        let json = serde_json::to_string(&wide).expect("JSON");
        assert_eq!(serde_json::from_str::<Wide>(&json).ok(), Some(wide));
    }
}
