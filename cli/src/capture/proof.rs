//! Calls of `eth_getProof` (EIP-1186) and their answers.
//!
//! Not here: whether a proof is right; its nodes are used by their hashes alone.

use super::node::hex;
use super::rpc::Call;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde_json::json;

/// Longest answers in bytes: a proof of an account, that of a slot.
const ACCOUNT: u64 = 1 << 18;
const SLOT: u64 = 1 << 17;

/// An answer of `eth_getProof` (EIP-1186), of which the trie nodes alone are used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `accountProof` and `storageProof`")]
pub struct ProofJson {
    /// RLP of nodes from the state root down.
    pub account_proof: Vec<Bytes>,
    /// Proofs of the slots.
    #[serde(default)]
    pub storage_proof: Vec<SlotProofJson>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `proof`")]
pub struct SlotProofJson {
    /// RLP of nodes from the storage root down.
    pub proof: Vec<Bytes>,
}

/// The call for the proof of an account and some of its slots after block `number`.
pub fn proof_call(address: &Address, keys: &[U256], number: u64) -> Call {
    let keys: Vec<B256> = keys.iter().map(|key| B256::from(*key)).collect();
    let bytes = ACCOUNT + SLOT * keys.len() as u64;
    Call::new("eth_getProof", vec![json!(address), json!(keys), json!(hex(number))], bytes)
}
