//! Execution witnesses: the bytes that a node or a prover hands over.
//!
//! In: the JSON of `debug_executionWitness`, `{state, codes, headers}` with hex strings, or the RLP
//! `[headers, codes, state, ...]` of go-ethereum's witnesses. Out: a store, the parent's header.
//! Nothing in a witness is trusted: nodes and codes are found by their hashes, headers by the hash in their child.
//! Spec: execution-apis, `debug_executionWitness`.
//! Not here: whether the witness suffices for the block (the execution asks for what it lacks).

use crate::failure::Failure;
use alloy_primitives::{B256, Bytes, keccak256, map::B256Map};
use alloy_rlp::Header as RlpHeader;
use balustrade::{Header, WitnessStore};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Ancestors that BLOCKHASH reaches.
const ANCESTORS_MAX: usize = 256;

/// A decoded witness.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    nodes: Vec<Bytes>,
    codes: Vec<Bytes>,
    /// RLP of headers.
    headers: Vec<Bytes>,
}

/// Why the bytes are no witness.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error("the witness is neither RLP nor JSON")]
    Format,
    #[error("the witness as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the witness as RLP: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    #[error("the witness lacks the header of the parent {0}")]
    NoParent(B256),
    #[error("a header of the witness: {0}")]
    Header(#[from] balustrade::errors::WireError),
}

impl From<WitnessError> for Failure {
    fn from(error: WitnessError) -> Self {
        Self::host(error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `state`, `codes` and `headers`")]
struct WitnessJson {
    state: ByteRows,
    #[serde(default)]
    codes: ByteRows,
    headers: Vec<Bytes>,
}

/// Nodes write an array, or a map from the hash to the bytes; the hash is computed again in both cases.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an array or a map of hex strings")]
enum ByteRows {
    Array(Vec<Bytes>),
    Map(BTreeMap<String, Bytes>),
}

impl Default for ByteRows {
    fn default() -> Self {
        Self::Array(Vec::new())
    }
}

impl From<ByteRows> for Vec<Bytes> {
    fn from(rows: ByteRows) -> Self {
        match rows {
            ByteRows::Array(rows) => rows,
            ByteRows::Map(rows) => rows.into_values().collect(),
        }
    }
}

impl Witness {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WitnessError> {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {
                let WitnessJson { state, codes, headers } = serde_json::from_slice(bytes)?;
                Ok(Self { nodes: state.into(), codes: codes.into(), headers })
            }
            Some(0xc0..) => Self::decode_rlp(bytes),
            _ => Err(WitnessError::Format),
        }
    }

    fn decode_rlp(mut bytes: &[u8]) -> Result<Self, WitnessError> {
        let mut outer = RlpHeader::decode_bytes(&mut bytes, true)?;
        if !bytes.is_empty() {
            return Err(alloy_rlp::Error::UnexpectedLength.into());
        }
        let mut list = RlpHeader::decode_bytes(&mut outer, true)?;
        let mut headers = Vec::new();
        while !list.is_empty() {
            let start = list;
            RlpHeader::decode_bytes(&mut list, true)?;
            headers.push(Bytes::copy_from_slice(&start[..start.len() - list.len()]));
        }
        let codes = strings(&mut outer)?;
        let nodes = strings(&mut outer)?;
        // What may follow, the keys, is not needed.
        Ok(Self { nodes, codes, headers })
    }

    /// The store below the state root of the header with the hash `parent`, and that header. The hashes of its ancestors
    /// are known as far as their headers are in the witness.
    pub(crate) fn into_store(self, parent: B256) -> Result<(WitnessStore, Header), WitnessError> {
        let by_hash: B256Map<&Bytes> = self.headers.iter().map(|rlp| (keccak256(rlp), rlp)).collect();
        let found = |hash: &B256| by_hash.get(hash).map(|rlp| Header::decode(rlp)).transpose();
        let parent_header = found(&parent)?.ok_or(WitnessError::NoParent(parent))?;
        let mut store = WitnessStore::new(parent_header.state_root, self.nodes, self.codes);
        let (mut hash, mut header) = (parent, parent_header.clone());
        for _ in 0..ANCESTORS_MAX {
            store.insert_block_hash(header.number, hash);
            let Some(number) = header.number.checked_sub(1) else { break };
            hash = header.parent_hash;
            // The parent's number and hash are known by its child's header alone.
            store.insert_block_hash(number, hash);
            let Some(next) = found(&hash)? else { break };
            header = next;
        }
        Ok((store, parent_header))
    }
}

/// The strings of the next list.
fn strings(at: &mut &[u8]) -> Result<Vec<Bytes>, alloy_rlp::Error> {
    let mut list = RlpHeader::decode_bytes(at, true)?;
    let mut rows = Vec::new();
    while !list.is_empty() {
        rows.push(Bytes::copy_from_slice(RlpHeader::decode_bytes(&mut list, false)?));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use balustrade::StateStore;

    fn chain() -> Vec<Header> {
        let mut chain = vec![Header { number: 5, ..Header::default() }];
        for number in 6..9 {
            let parent_hash = chain[chain.len() - 1].hash();
            chain.push(Header { number, parent_hash, ..Header::default() });
        }
        chain
    }

    fn rlp(header: &Header) -> Vec<u8> {
        let mut out = Vec::new();
        header.encode(&mut out);
        out
    }

    fn list(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        RlpHeader { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn both_formats_give_the_same_store() {
        let chain = chain();
        let headers: Vec<Vec<u8>> = chain.iter().map(rlp).collect();
        let hex: Vec<String> =
            headers.iter().map(|header| format!("{:?}", Bytes::from(header.clone()).to_string())).collect();
        let json =
            format!(r#"{{"state":{{"0x00":"0xc0"}},"codes":["0x6001"],"headers":[{}],"keys":null}}"#, hex.join(","));
        let code = [&[0x82][..], &[0x60, 0x01]].concat();
        let parts = [list(&headers.concat()), list(&code), list(&[0x81, 0xc0]), list(&[])];
        for bytes in [json.as_bytes(), &list(&parts.concat())] {
            let witness = Witness::decode(bytes).expect("a witness");
            assert_eq!((witness.nodes.len(), witness.codes.len(), witness.headers.len()), (1, 1, 4));
            let (store, parent) = witness.into_store(chain[3].hash()).expect("the parent is there");
            assert_eq!((parent.number, store.node_count()), (8, 1));
            let mut hashes = [B256::ZERO; 5];
            store.block_hashes(&[4, 5, 6, 7, 8], &mut hashes).expect("known ancestors");
            assert_eq!(hashes[1..], [0, 1, 2, 3].map(|row| chain[row].hash()));
            assert_eq!(hashes[0], chain[0].parent_hash);
            assert!(store.block_hashes(&[3], &mut hashes[..1]).is_err());
        }
    }

    #[test]
    fn headers_that_are_not_ancestors_are_not_believed() {
        let chain = chain();
        let other = Header { number: 7, gas_used: 1, ..Header::default() };
        let headers = [rlp(&chain[3]), rlp(&other)].map(Bytes::from).to_vec();
        let witness = Witness { headers, ..Witness::default() };
        let (store, _) = witness.into_store(chain[3].hash()).expect("the parent is there");
        let mut hash = [B256::ZERO];
        store.block_hashes(&[7], &mut hash).expect("named by its child");
        assert_eq!(hash[0], chain[2].hash());
        let unknown = Witness::default().into_store(B256::repeat_byte(7));
        assert!(matches!(unknown, Err(WitnessError::NoParent(_))));
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let good = list(&[list(&[]), list(&[]), list(&[])].concat());
        assert!(Witness::decode(&good).is_ok());
        for end in 1..good.len() {
            assert!(Witness::decode(&good[..end]).is_err(), "{end}");
        }
        let deep = "[".repeat(100_000);
        let deep = format!(r#"{{"state":{deep}"#);
        for bad in ["", "x", "{", r#"{"state":[1],"headers":[]}"#, r#"{"state":[]}"#, &deep] {
            assert!(Witness::decode(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(Witness::decode(&[good, vec![0]].concat()).is_err());
    }
}
