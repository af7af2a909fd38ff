//! Execution witnesses in the forms that nodes give them.
//!
//! In: the JSON of `debug_executionWitness`. Out: trie nodes, codes and headers. Nodes and codes are arrays, or maps by
//! hash, whose keys are ignored; headers are RLP or JSON objects; `keys`, the preimages, are ignored.
//! Source: execution-apis#845, #847. Not here: whether anything in it is right; all of it is used by its hash alone.

use super::header::HeaderJson;
use alloy_primitives::Bytes;
use balustrade::Header;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// The nodes, codes and headers of a witness.
#[derive(Debug, Default)]
pub struct Witness {
    /// RLP of trie nodes.
    pub nodes: Vec<Bytes>,
    /// Contract codes.
    pub codes: Vec<Bytes>,
    /// Headers of ancestors, in any order.
    pub headers: Vec<Header>,
}

/// A witness as nodes write it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `state` and `codes`")]
pub struct WitnessJson {
    state: Option<Blobs>,
    codes: Option<Blobs>,
    headers: Option<Vec<AnyHeader>>,
}

/// Binary values: an array, or a map by hash.
#[derive(Debug)]
struct Blobs(Vec<Bytes>);

impl<'de> Deserialize<'de> for Blobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Blobs;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an array of hex strings, or an object of them by hash")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Blobs, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(Blobs(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Blobs, A::Error> {
                let mut values = Vec::new();
                while entries.next_key::<IgnoredAny>()?.is_some() {
                    values.push(entries.next_value()?);
                }
                Ok(Blobs(values))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a header as RLP in hex, or as an object")]
enum AnyHeader {
    Rlp(Bytes),
    Object(Box<HeaderJson>),
}

impl WitnessJson {
    /// Decodes the headers.
    ///
    /// # Errors
    /// In words: a header does not decode.
    pub fn read(self) -> Result<Witness, String> {
        let header = |header| match header {
            AnyHeader::Rlp(rlp) => Header::decode(&rlp).map_err(|error| format!("a header: {error}")),
            AnyHeader::Object(header) => header.header().ok_or_else(|| "a number of a header is too wide".to_owned()),
        };
        let values = |blobs: Option<Blobs>| blobs.map_or_else(Vec::new, |blobs| blobs.0);
        Ok(Witness {
            nodes: values(self.state),
            codes: values(self.codes),
            headers: self.headers.into_iter().flatten().map(header).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_a_witness_is_read() {
        let header = Header { number: 7, base_fee: Some(9), ..Header::default() };
        let mut rlp = Vec::new();
        header.encode(&mut rlp);
        let object = json!({
            "parentHash": header.parent_hash, "sha3Uncles": header.ommers_hash, "miner": header.coinbase,
            "stateRoot": header.state_root, "transactionsRoot": header.transactions_root,
            "receiptsRoot": header.receipts_root, "logsBloom": header.logs_bloom, "difficulty": "0x0", "number": "0x7",
            "gasLimit": "0x0", "gasUsed": "0x0", "timestamp": "0x0", "extraData": "0x", "mixHash": header.mix_hash,
            "nonce": "0x0000000000000000", "baseFeePerGas": "0x9", "withdrawalsRoot": null, "hash": header.hash(),
        });
        let list = json!(["0x01", "0x02"]);
        let map = json!({"0xaa": "0x01", "0xbb": "0x02"});
        for state in [&list, &map] {
            for keys in [json!(["0x03"]), json!(null), json!({"0xcc": "0x03"})] {
                for headers in [json!([Bytes::from(rlp.clone())]), json!([object])] {
                    let json = json!({"state": state, "codes": state, "keys": keys, "headers": headers});
                    let witness: WitnessJson = serde_json::from_value(json).expect("a witness");
                    let witness = witness.read().expect("headers");
                    assert_eq!(witness.nodes, [Bytes::from(vec![1]), Bytes::from(vec![2])]);
                    assert_eq!((witness.codes.len(), &witness.headers), (2, &vec![header.clone()]));
                }
            }
        }
        let bare: WitnessJson = serde_json::from_value(json!({"state": null})).expect("a witness");
        assert!(bare.read().is_ok_and(|witness| witness.nodes.is_empty() && witness.headers.is_empty()));
        for wrong in [json!({"state": 5}), json!({"headers": [5]}), json!({"state": ["0x1g"]}), json!([])] {
            assert!(serde_json::from_value::<WitnessJson>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
